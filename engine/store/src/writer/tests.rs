//! Damage that the writer meets while it writes: whoever waits is told what it means, and the next start finds everything that
//! was acknowledged, or says what is damaged.

use std::collections::BTreeMap;

use redb::{ReadableDatabase, ReadableTable};
use wfengine_core::views::runs::Finished;
use wfengine_storage_format::{
    ChainCut, Conclusion, JobClaimed, JobCompleted, PeerRevoked, RunId, VerifiedFrame, job_id, sha256,
};

use super::*;
use crate::home::{Home, NOW, end, folded_anew, frames, signer, submission, submit, task};
use crate::index::INDEX;
use crate::open::Store;
use crate::recorder::Recorder;

/// A run that alice ended while bob executed it. It left her memory, its events are found through the index on disk alone, and
/// what bob wrote did not reach her yet.
struct Late {
    home: Home,
    alice: Store,
    run: RunId,
    /// The number of the frame that submitted it.
    submitted: u64,
    /// As alice remembers it.
    ended: Finished,
    of_bob: Vec<VerifiedFrame>,
}

fn late() -> Late {
    let home = Home::new();
    let (alice, _) = home.open(1).unwrap();
    let bob = home.with_bob(&alice);
    let (submitted, begun) = (frames_len(&alice), frames_len(&bob));
    let run = submit(&alice, "late");
    bob.recorder().take_blocking(frames(&alice, submitted), signer(1).peer_id(), NOW).unwrap();
    complete(&bob, run);
    let of_bob = frames(&bob, begun + 1);
    assert_eq!(of_bob.len(), 2);
    end(&alice, run);
    flush_index(&alice);
    let ended = let_go(&alice, run);
    Late { home, alice, run, submitted, ended, of_bob }
}

fn frames_len(store: &Store) -> u64 {
    store.watcher().shared.file.frames_len().unwrap()
}

fn complete(store: &Store, run: RunId) {
    let job = job_id(&run, "task", &BTreeMap::new());
    let submission = store.watcher().views().runs().live(&run).unwrap().canonical.unwrap();
    let claim = JobClaimed { run, job, submission, epoch: 1, supersedes: None };
    let claim = store.recorder().ask_blocking(Command::Claim(claim), NOW).unwrap().events[0];
    let done = JobCompleted {
        run,
        job,
        claim,
        conclusion: Conclusion::Success,
        outputs: vec![],
        result_json: String::new(),
        log: None,
        log_len: 0,
        summary: None,
        artifacts: vec![],
        duration_ms: 1,
        notes: vec![],
    };
    store.recorder().ask_blocking(Command::Complete(done), NOW).unwrap();
}

fn let_go(store: &Store, run: RunId) -> Finished {
    let mut views = store.watcher().shared.views.write().unwrap();
    views.runs_mut().let_go(0);
    views.runs().finished().get(&run).unwrap().clone()
}

/// Writes the part of the index that is in memory to the disk, as a commit does when it is large.
fn flush_index(store: &Store) {
    let file = &store.watcher().shared.file;
    let mut index = file.index.write().unwrap();
    let (state, tail) = &mut *index;
    let transaction = file.database.begin_write().unwrap();
    flush(&transaction, state, tail, file.frames_len().unwrap()).unwrap();
    let bytes = sealed(&postcard::to_stdvec(state).unwrap());
    transaction.open_table(META).unwrap().insert("index", bytes.as_slice()).unwrap();
    transaction.commit().unwrap();
    tail.clear();
}

/// Flips a bit in every block of the index.
fn rot_index(store: &Store) {
    let database = &store.watcher().shared.file.database;
    let read = database.begin_read().unwrap().open_table(INDEX).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut table = transaction.open_table(INDEX).unwrap();
    for item in read.iter().unwrap() {
        let (key, value) = item.unwrap();
        let mut damaged = value.value().to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        table.insert(key.value(), damaged.as_slice()).unwrap();
    }
    drop(table);
    transaction.commit().unwrap();
}

/// Flips a bit in a stored frame.
fn rot_frame(store: &Store, number: u64) {
    let transaction = store.watcher().shared.file.database.begin_write().unwrap();
    let mut table = transaction.open_table(FRAMES).unwrap();
    let mut value = table.get(number).unwrap().unwrap().value().to_vec();
    *value.last_mut().unwrap() ^= 1;
    table.insert(number, value.as_slice()).unwrap();
    drop(table);
    transaction.commit().unwrap();
}

/// What somebody who waited for an answer is told.
fn told<T, E: Into<AskError>>(recorder: &Recorder, answer: oneshot::Receiver<Result<T, E>>) -> AskError {
    match answer.blocking_recv() {
        Ok(Ok(_)) => panic!("it was acknowledged"),
        Ok(Err(error)) => error.into(),
        Err(_) => recorder.stopped().into(),
    }
}

/// The text of an error after which the process exits with status 70, and whoever asked does not ask again.
fn unfolded(error: AskError) -> String {
    match error {
        AskError::Store(error @ StoreError::Unfolded { .. }) => error.to_string(),
        other => panic!("{other}"),
    }
}

/// What bob wrote reaches alice in one transaction with a submission of her own, and cannot be folded. Says what she is told.
fn meets_damage(late: &Late) -> String {
    let (recorder, watcher) = (late.alice.recorder(), late.alice.watcher());
    // while the views are read, the writer is busy with another submission
    let reading = watcher.views();
    let len = frames_len(&late.alice);
    let before = recorder.ask_later(submission("before"), NOW).unwrap();
    while frames_len(&late.alice) == len && recorder.fatal().is_none() {
        std::thread::yield_now();
    }
    let taken = recorder.take_later(late.of_bob.clone(), signer(2).peer_id(), NOW).unwrap();
    let asked = recorder.ask_later(submission("beside"), NOW).unwrap();
    let beside = task("beside").run();
    std::thread::scope(|scope| {
        let seen = scope.spawn(|| {
            while !watcher.views().runs().contains(&beside) && recorder.fatal().is_none() {
                std::thread::yield_now();
            }
            recorder.fatal().is_some()
        });
        drop(reading);
        assert!(seen.join().unwrap(), "views that are behind the log were shown for the log's");
    });
    before.blocking_recv().unwrap().unwrap();
    let text = unfolded(told(recorder, taken));
    assert_eq!(unfolded(told(recorder, asked)), text);
    assert_eq!(unfolded(recorder.ask_blocking(submission("after"), NOW).unwrap_err()), text);
    assert_eq!(recorder.fatal().unwrap().to_string(), text);
    // not half of the run, but the run as it was
    assert_eq!(watcher.views().runs().finished().get(&late.run), Some(&late.ended));
    assert_eq!(late.alice.close().unwrap_err().to_string(), text);
    text
}

#[test]
fn a_late_event_that_meets_a_damaged_index_stops_the_writer_and_nothing_is_lost() {
    let late = late();
    rot_index(&late.alice);
    let text = meets_damage(&late);
    assert!(text.contains("corrupt at index") && text.contains("the checksum of a block"), "{text}");
    assert!(late.alice.watcher().events_of_run(&late.run).is_err(), "an index that is gone has no answers");
    let Late { home, alice, run, ended, of_bob, .. } = late;
    drop(alice);
    let (alice, _) = home.open(3).unwrap();
    let known: Vec<EventId> =
        alice.watcher().events_of_run(&run).unwrap().iter().map(|event| event.id).collect();
    assert!(of_bob.iter().all(|frame| known.contains(&frame.header().last)));
    assert_ne!(alice.watcher().run(&run).unwrap().status, ended.status);
    assert_eq!(alice.watcher().view_digest(), folded_anew(&alice));
    // whoever asks once more finds that it is there
    assert!(alice.recorder().ask_blocking(submission("beside"), NOW).unwrap().already_so);
    assert!(!alice.recorder().ask_blocking(submission("after"), NOW).unwrap().already_so);
}

#[test]
fn a_late_event_that_meets_a_damaged_frame_stops_the_writer_and_the_next_start_names_it() {
    let late = late();
    rot_frame(&late.alice, late.submitted);
    let place = format!("corrupt at frame {}", late.submitted);
    let text = meets_damage(&late);
    assert!(text.contains(&place), "{text}");
    let Late { home, alice, .. } = late;
    drop(alice);
    let error = home.open(3).map(drop).unwrap_err();
    assert!(error.to_string().contains(&place), "{error}");
}

#[test]
fn a_revocation_whose_runs_cannot_be_read_back_is_not_reported_as_refused() {
    let Late { home, alice, run, of_bob, .. } = late();
    let (recorder, bob) = (alice.recorder(), signer(2).peer_id());
    recorder.take_blocking(of_bob.clone(), bob, NOW).unwrap();
    flush_index(&alice);
    let ended = let_go(&alice, run);
    rot_index(&alice);
    let cuts = vec![ChainCut { incarnation: of_bob[0].header().chain.incarnation, length: 0 }];
    let revoked = PeerRevoked { peer: bob, reason: String::new(), cuts };
    let text = unfolded(recorder.ask_blocking(Command::Revoke(revoked), NOW).unwrap_err());
    assert!(text.contains("corrupt at index"), "{text}");
    assert_eq!(alice.watcher().views().runs().finished().get(&run), Some(&ended));
    drop(alice);
    let (alice, _) = home.open(3).unwrap();
    assert!(alice.watcher().views().authority().roster().member(&bob).is_none());
    assert_ne!(alice.watcher().run(&run).unwrap().status, ended.status);
    assert_eq!(alice.watcher().view_digest(), folded_anew(&alice));
}

#[test]
fn an_index_that_cannot_be_merged_is_built_anew_by_the_next_start() {
    let home = Home::new();
    let (alice, _) = home.open(1).unwrap();
    let fill = |store: &Store, round: u32| {
        let mut index = store.watcher().shared.file.index.write().unwrap();
        for n in 0..u32::try_from(TAIL_ENTRIES_MAX).unwrap() {
            index.1.insert(sha256(&[round.to_le_bytes(), n.to_le_bytes()].concat()), 0);
        }
    };
    // seven runs of the index; the eighth is merged with them
    for round in 0..7 {
        fill(&alice, round);
        submit(&alice, &format!("task {round}"));
    }
    rot_index(&alice);
    fill(&alice, 7);
    let error = alice.recorder().ask_blocking(submission("task 7"), NOW).unwrap_err();
    assert!(matches!(error, AskError::Store(StoreError::OutcomeUnknown { .. })), "{error}");
    assert!(error.to_string().contains("the checksum of a block"), "{error}");
    drop(alice);
    let (alice, _) = home.open(2).unwrap();
    assert_eq!(alice.watcher().view_digest(), folded_anew(&alice));
    fill(&alice, 8);
    submit(&alice, "task 8");
    assert_eq!(alice.watcher().events_of_run(&task("task 3").run()).unwrap().len(), 1);
}
