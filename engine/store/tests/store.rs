//! The store against a real disk: what was acknowledged is there, however the process ended.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::path::Path;
use std::sync::Arc;

use wfengine_core::command::{Command, Refusal};
use wfengine_core::seal::Author;
use wfengine_core::time::WallMs;
use wfengine_core::views::job::Status;
use wfengine_storage_format::{
    ChainId, ClusterFounded, ClusterId, Conclusion, EventId, Frozen, Grant, Hash32, IdPrefix, Incarnation,
    JobClaimed, JobCompleted, JobId, JobStarted, Origin, PeerAdmitted, Placement, Roles, RunId, RunSpec,
    RunSubmitted, Signer,
};
use wfengine_store::{AskError, DataDir, FrameOutcome, Lookup, Purpose, Store, StoreError};

const NOW: WallMs = WallMs(1_700_000_000_000);

struct Home {
    _dir: tempfile::TempDir,
    data: DataDir,
    signer: Signer,
    cluster: ClusterId,
}

impl Home {
    fn new(seed: u8) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path().join("data")).unwrap();
        let signer = Signer::from_seed(&[seed; 32]);
        let chain = ChainId { author: signer.peer_id(), incarnation: Incarnation::from_bytes([0xf0; 16]) };
        let author = Author { signer: signer.clone(), chain };
        let body = ClusterFounded { name: "home".into(), nonce: [seed; 16], system: vec!["linux".into()] };
        let cluster = Store::found(&data, &author, body, NOW).unwrap();
        Self { _dir: dir, data, signer, cluster }
    }

    fn log_dir(&self) -> std::path::PathBuf {
        self.data.cluster_dir(&self.cluster)
    }

    fn open(&self, fresh: u8) -> Store {
        open_as(&self.log_dir(), &self.signer, Purpose::Serve, fresh)
    }
}

fn open_as(dir: &Path, signer: &Signer, purpose: Purpose, fresh: u8) -> Store {
    Store::open(dir, signer.clone(), purpose, Incarnation::from_bytes([fresh; 16]), "boot-1").unwrap().0
}

fn task(id: &str) -> RunSubmitted {
    RunSubmitted {
        trigger_key: format!("id:{id}").into_bytes(),
        attempt: 1,
        name: id.to_owned(),
        spec: RunSpec::Task { workflow_id: "w".into() },
        frozen: Frozen::default(),
        tags: vec![],
        metadata_json: String::new(),
        priority_milli: 3000,
        placement: Placement::Rule,
        origin: Origin::Hand,
        retries: 0,
        backoff_ms: (0, 0),
        rerun_of: None,
    }
}

fn submit(store: &Store, id: &str) -> RunId {
    let submission = Box::new(task(id));
    let run = submission.run();
    let receipt = store
        .recorder()
        .ask_blocking(Command::Submit { submission, plan: vec![], blobs: vec![] }, NOW)
        .unwrap();
    assert_eq!(receipt.events.len(), 1);
    run
}

fn finish(store: &Store, run: RunId) {
    let recorder = store.recorder();
    let (job, submission): (JobId, _) = {
        let views = store.watcher().views();
        let known = views.runs().live(&run).unwrap();
        (*known.jobs.keys().next().unwrap(), known.canonical.unwrap())
    };
    let claim = JobClaimed { run, job, submission, epoch: 1, supersedes: None };
    let claim = recorder.ask_blocking(Command::Claim(claim), NOW).unwrap().events[0];
    recorder.ask_blocking(Command::Start(JobStarted { run, job, claim }), NOW).unwrap();
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
    recorder.ask_blocking(Command::Complete(done), NOW).unwrap();
}

#[test]
fn what_was_acknowledged_survives_reopening() {
    let home = Home::new(1);
    let store = home.open(1);
    let runs: Vec<RunId> = (0..50).map(|n| submit(&store, &format!("t{n}"))).collect();
    finish(&store, runs[7]);
    let (digest, clock) = (store.watcher().view_digest(), store.watcher().frontier().clock_hash());
    store.close().unwrap();
    drop(store);
    let store = home.open(2);
    assert_eq!(store.watcher().view_digest(), digest);
    assert_eq!(store.watcher().frontier().clock_hash(), clock);
    assert_eq!(store.watcher().run(&runs[7]).unwrap().status, Status::Completed);
    assert_eq!(store.watcher().events_of_run(&runs[7]).unwrap().len(), 4);
}

#[test]
fn many_submissions_in_flight_share_transactions_and_lose_nothing() {
    let home = Home::new(1);
    let store = home.open(1);
    let answers: Vec<_> = (0..30_000)
        .map(|n| {
            let submission = Box::new(task(&format!("t{n}")));
            store
                .recorder()
                .ask_later(Command::Submit { submission, plan: vec![], blobs: vec![] }, NOW)
                .unwrap()
        })
        .collect();
    for answer in answers {
        answer.blocking_recv().unwrap().unwrap();
    }
    let frontier = store.watcher().frontier().clone();
    assert_eq!(frontier.events_len, 30_001);
    assert!(frontier.frames_len < 15_000, "{} frames", frontier.frames_len);
    let digest = store.watcher().view_digest();
    store.close().unwrap();
    drop(store);
    // past a checkpoint and several runs of the index
    let store = home.open(2);
    assert_eq!(store.watcher().view_digest(), digest);
    let run = task("t12345").run();
    let found = store.watcher().candidates(&IdPrefix::hexadecimal(&run.to_string()[..12]).unwrap()).unwrap();
    assert_eq!(found, vec![Lookup::Run(run)]);
    assert_eq!(store.watcher().events_of_run(&run).unwrap().len(), 1);
}

#[test]
fn a_command_goes_on_with_the_chain_only_after_a_clean_close_of_the_same_file() {
    let home = Home::new(1);
    let dir = home.log_dir();
    let first = open_as(&dir, &home.signer, Purpose::Command, 1);
    submit(&first, "a");
    let chain = first.chain();
    first.close().unwrap();
    drop(first);
    let second = open_as(&dir, &home.signer, Purpose::Command, 2);
    assert_eq!(second.chain(), chain);
    submit(&second, "b");
    second.close().unwrap();
    drop(second);
    assert_ne!(open_as(&dir, &home.signer, Purpose::Serve, 3).chain(), chain);
    let other_boot =
        Store::open(&dir, home.signer.clone(), Purpose::Command, Incarnation::from_bytes([4; 16]), "boot-2");
    assert_ne!(other_boot.unwrap().0.chain(), chain);
    let copy = home.data.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    std::fs::copy(dir.join("log.redb"), copy.join("log.redb")).unwrap();
    let (copied, opened) =
        Store::open(&copy, home.signer.clone(), Purpose::Command, Incarnation::from_bytes([5; 16]), "boot-1")
            .unwrap();
    assert!(opened.moved);
    assert_ne!(copied.chain(), chain);
}

#[test]
fn a_second_opening_is_told_that_the_log_is_in_use() {
    let home = Home::new(1);
    let _store = home.open(1);
    let second = Store::open(
        &home.log_dir(),
        home.signer.clone(),
        Purpose::Serve,
        Incarnation::from_bytes([2; 16]),
        "boot-1",
    );
    assert!(matches!(second, Err(StoreError::Locked { .. })));
}

#[test]
fn frames_travel_between_stores_in_any_order_and_the_views_agree() {
    let home = Home::new(1);
    let alice = home.open(1);
    let bob = Signer::from_seed(&[2; 32]);
    let grant = Grant::Direct { roles: Roles::MEMBER, labels: vec![] };
    let admitted =
        PeerAdmitted { peer: bob.peer_id(), name: "bob".into(), system: vec!["linux".into()], grant };
    alice.recorder().ask_blocking(Command::Admit(admitted), NOW).unwrap();
    let first: Vec<_> =
        alice.watcher().frames(0, 10).unwrap().into_iter().map(|stored| stored.frame).collect();
    let elsewhere = tempfile::tempdir().unwrap();
    let dir = elsewhere.path().join("log");
    Store::create(&dir, home.cluster, &first, NOW).unwrap();
    let bob_store = open_as(&dir, &bob, Purpose::Serve, 9);
    for n in 0..20 {
        submit(&alice, &format!("a{n}"));
        submit(&bob_store, &format!("b{n}"));
    }
    let mut of_alice: Vec<_> =
        alice.watcher().frames(2, 100).unwrap().into_iter().map(|stored| stored.frame).collect();
    let of_bob: Vec<_> =
        bob_store.watcher().frames(2, 100).unwrap().into_iter().map(|stored| stored.frame).collect();
    of_alice.reverse();
    let (a, b) = (home.signer.peer_id(), bob.peer_id());
    let outcomes = bob_store.recorder().take_blocking(of_alice, a, NOW).unwrap();
    assert!(matches!(outcomes[0], FrameOutcome::Waiting(_)));
    assert_eq!(outcomes.last(), Some(&FrameOutcome::Admitted));
    let outcomes = alice.recorder().take_blocking(of_bob.clone(), b, NOW).unwrap();
    assert!(outcomes.iter().all(|outcome| *outcome == FrameOutcome::Admitted), "{outcomes:?}");
    let outcomes = alice.recorder().take_blocking(of_bob, b, NOW).unwrap();
    assert!(outcomes.iter().all(|outcome| *outcome == FrameOutcome::Duplicate));
    // the frames that waited are woken one batch after another; a command answers after all of them
    submit(&bob_store, "last");
    let last = bob_store.watcher().chain_frames(&bob_store.chain(), 20, 1).unwrap();
    alice.recorder().take_blocking(last.into_iter().map(|stored| stored.frame).collect(), b, NOW).unwrap();
    assert_eq!(alice.watcher().view_digest(), bob_store.watcher().view_digest());
    assert_eq!(alice.watcher().frontier().clock_hash(), bob_store.watcher().frontier().clock_hash());
}

#[test]
fn a_refusal_changes_nothing() {
    let home = Home::new(1);
    let store = home.open(1);
    let before = store.watcher().frontier().events_len;
    let cancel = Command::Cancel { run: task("nobody").run(), reason: String::new() };
    let refused = store.recorder().ask_blocking(cancel, NOW);
    assert!(matches!(refused, Err(AskError::Refused(Refusal::UnknownRun(_)))));
    assert_eq!(store.watcher().frontier().events_len, before);
}

#[test]
fn subscribers_hear_of_commits_after_the_views_show_them() {
    let home = Home::new(1);
    let store = Arc::new(home.open(1));
    let mut news = store.watcher().subscribe();
    let run = submit(&store, "a");
    let heard = news.blocking_recv().unwrap();
    assert_eq!(heard.events[0].body.run(), Some(run));
    assert!(store.watcher().views().runs().contains(&run));
}

/// What can be read of a log.
#[derive(PartialEq, Eq)]
struct Seen {
    frames: Vec<(u64, Vec<u8>)>,
    digest: Hash32,
    /// The events of some runs, found through the index.
    indexed: Vec<Vec<EventId>>,
}

impl Seen {
    fn of(store: &Store, runs: &[RunId]) -> Result<Self, StoreError> {
        // decoded and hashed, not only read
        store.watcher().frames(0, 100_000)?;
        let events_of = |run: &RunId| {
            let events = store.watcher().events_of_run(run)?;
            Ok(events.iter().map(|event| event.id).collect())
        };
        Ok(Self {
            frames: store.watcher().raw_frames(0, 100_000)?,
            digest: store.watcher().view_digest(),
            indexed: runs.iter().map(events_of).collect::<Result<_, StoreError>>()?,
        })
    }
}

/// Flips one byte at a time of the file of a log with so many submissions: every damage is reported or changes nothing.
fn flip_bytes_of_a_log(submissions: usize, positions: usize) {
    let home = Home::new(1);
    let store = home.open(1);
    let runs: Vec<RunId> = (0..submissions).map(|n| submit(&store, &format!("t{n}"))).collect();
    let asked: Vec<RunId> = runs.iter().step_by(submissions / 20).copied().collect();
    let undamaged = Seen::of(&store, &asked).unwrap();
    assert!(undamaged.indexed.iter().all(|events| events.len() == 1));
    store.close().unwrap();
    let whole = std::fs::read(home.log_dir().join("log.redb")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.redb");
    // a linear congruential generator: any spread of positions does, as long as it is the same every time
    let (mut state, mut reported, mut unharmed) = (0x2545_f491_4f6c_dd1d_u64, 0, 0);
    for n in 0..positions {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let position = usize::try_from(state >> 33).unwrap() % whole.len();
        let mut damaged = whole.clone();
        damaged[position] ^= 1 << (n % 8);
        std::fs::write(&path, &damaged).unwrap();
        let fresh = Incarnation::from_bytes([9; 16]);
        let opened = Store::open(dir.path(), home.signer.clone(), Purpose::Command, fresh, "boot-1");
        match opened.and_then(|(store, _)| Seen::of(&store, &asked)) {
            Err(error) => {
                assert!(!error.to_string().is_empty());
                reported += 1;
            }
            Ok(seen) => {
                assert!(seen.frames == undamaged.frames, "byte {position} changed an event unnoticed");
                assert!(seen == undamaged, "byte {position} changed the views or the index unnoticed");
                unharmed += 1;
            }
        }
    }
    assert_eq!(reported + unharmed, positions);
    assert!(reported > 0 && unharmed > 0, "{reported} reported, {unharmed} unharmed");
}

#[test]
fn flipped_bytes_of_the_file_are_reported_or_change_nothing() {
    flip_bytes_of_a_log(40, 500);
}

#[test]
fn flipped_bytes_of_a_file_with_a_checkpoint_and_an_index_are_reported_or_change_nothing() {
    flip_bytes_of_a_log(6_000, 100);
}

#[test]
fn a_log_whose_frames_name_a_refused_branch_of_a_fork_opens_again() {
    let home = Home::new(1);
    let alice = home.open(1);
    let bob = Signer::from_seed(&[2; 32]);
    let grant = Grant::Direct { roles: Roles::MEMBER, labels: vec![] };
    let admitted = PeerAdmitted { peer: bob.peer_id(), name: "bob".into(), system: vec![], grant };
    alice.recorder().ask_blocking(Command::Admit(admitted), NOW).unwrap();
    let frames = |store: &Store, from| -> Vec<_> {
        store.watcher().frames(from, 100).unwrap().into_iter().map(|stored| stored.frame).collect()
    };
    let first = frames(&alice, 0);
    let dir = tempfile::tempdir().unwrap();
    // one directory, copied: the same chain goes on twice
    let branch = |name: &str| {
        let dir = dir.path().join(name);
        Store::create(&dir, home.cluster, &first, NOW).unwrap();
        let store = open_as(&dir, &bob, Purpose::Serve, 9);
        submit(&store, name);
        frames(&store, 2)
    };
    let (one, other) = (branch("one"), branch("other"));
    let reader_dir = dir.path().join("reader");
    Store::create(&reader_dir, home.cluster, &first, NOW).unwrap();
    let reader_key = Signer::from_seed(&[3; 32]);
    let reader = open_as(&reader_dir, &reader_key, Purpose::Serve, 8);
    let take = |frames| reader.recorder().take_blocking(frames, bob.peer_id(), NOW).unwrap();
    // alice knows the other branch, and names its tip
    alice.recorder().take_blocking(other.clone(), bob.peer_id(), NOW).unwrap();
    submit(&alice, "upon the other");
    // both in one transaction
    assert_eq!(take([one, other].concat()), [FrameOutcome::Admitted, FrameOutcome::Forked]);
    assert_eq!(take(frames(&alice, 3)), [FrameOutcome::Admitted]);
    let (digest, clock) = (reader.watcher().view_digest(), reader.watcher().frontier().clock_hash());
    reader.close().unwrap();
    drop(reader);
    let reader = open_as(&reader_dir, &reader_key, Purpose::Serve, 7);
    assert_eq!(reader.watcher().view_digest(), digest);
    assert_eq!(reader.watcher().frontier().clock_hash(), clock);
}
