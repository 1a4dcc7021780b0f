//! The audit: what is whole replays clean and to the same views; whatever is altered, dropped, moved or doubled is named.

#![expect(clippy::unwrap_used, reason = "this file is a test: it stops at the first surprise")]

mod building;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use building::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wfengine_core::command::Command;
use wfengine_core::replay::{
    Alone, AloneReport, CannotReplan, Checked, Checking, Expected, Finding, Moment, Place, Planner, Replan,
    Replayer, Report, Reread, Subject, What, check_frame, diff,
};
use wfengine_core::time::WallMs;
use wfengine_core::views::VIEWS_VERSION;
use wfengine_core::views::job::Status;
use wfengine_core::views::runs::Sharing;
use wfengine_storage_format::*;

/// An export in memory, by offset.
struct Export<'a>(&'a [u8]);

impl Reread for Export<'_> {
    fn reread(&self, handle: u64) -> Option<Vec<u8>> {
        let at = usize::try_from(handle).ok()?;
        let head = self.0.get(at - EXPORT_RECORD_HEAD_LEN..at)?.first_chunk::<4>()?;
        Some(self.0.get(at..at + u32::from_le_bytes(*head) as usize)?.to_vec())
    }
}

struct Story {
    cluster: ClusterId,
    frames: Vec<VerifiedFrame>,
    alice: Node,
    run: RunId,
    submission: EventId,
    completed: EventId,
}

/// Three members, a workflow with two jobs, tasks with rival claims, a cancel, and a member that is revoked.
fn story() -> Story {
    let mut alice = Node::founding("alice");
    let cluster = alice.log.cluster();
    for name in ["bob", "carol"] {
        alice.ask(Command::Admit(admitted(peer(name), Roles::MEMBER)));
    }
    let (mut bob, mut carol) = (Node::joining("bob", cluster), Node::joining("carol", cluster));
    bob.sync_from(&alice);
    carol.sync_from(&alice);
    bob.write(PeerDescribed { name: "bob".into(), addresses: vec![], version: "1".into() });
    let (build, test) =
        (planned("build", &["1", "2"]), PlannedKey { needs: vec!["build".into()], ..planned("test", &[""]) });
    let submission = workflow("ci", &["build", "test"]);
    let run = submission.run();
    let submit =
        Command::Submit { submission: Box::new(submission), plan: vec![build.clone()], blobs: vec![] };
    let submission = bob.ask(submit);
    let mut consumed = Vec::new();
    for (leg, node) in [&mut alice, &mut carol].into_iter().enumerate() {
        node.sync_from(&bob);
        let job = job_of(&run, &build, leg);
        let claim = node.claim(run, job);
        node.ask(Command::Start(JobStarted { run, job, claim }));
        consumed.push(node.ask(Command::Complete(completed(run, job, claim, Conclusion::Success, ""))));
    }
    bob.sync_from(&alice);
    bob.sync_from(&carol);
    bob.ask(Command::Plan(JobsPlanned {
        run,
        submission,
        rules_version: 1,
        consumed: consumed.clone(),
        jobs: vec![test.clone()],
    }));
    let job = job_of(&run, &test, 0);
    let claim = bob.claim(run, job);
    bob.ask(Command::Complete(completed(run, job, claim, Conclusion::Failure, "")));
    let (rival, task) = carol.submit_task("rival");
    for node in [&mut alice, &mut bob] {
        node.sync_from(&carol);
        let claim = node.claim(rival, task);
        node.ask(Command::Complete(completed(
            rival,
            task,
            claim,
            Conclusion::Success,
            &node.clock.to_string(),
        )));
    }
    alice.sync_from(&bob);
    for n in 0..20 {
        let (run, job) = alice.submit_task(&format!("task {n}"));
        match n % 3 {
            0 => drop(alice.claim(run, job)),
            1 => drop(alice.ask(Command::Cancel { run, reason: "not wanted".into() })),
            _ => {}
        }
    }
    carol.restart(1);
    carol.submit_task("after a restart");
    alice.sync_from(&carol);
    alice.write_raw(Kind::from_number(0x7abc), b"unknown");
    alice.revoke(peer("carol"));
    let frames = alice.stored.frames.clone();
    Story { cluster, frames, alice, run, submission, completed: consumed[0] }
}

fn export(frames: &[VerifiedFrame], scope: ExportScope, views: Option<(u32, Hash32)>) -> Vec<u8> {
    let header = ExportHeader { cluster: frames[0].header().cluster, scope };
    let mut bytes = Vec::new();
    let mut writer = ExportWriter::begin(header, &mut bytes);
    frames.iter().for_each(|frame| writer.frame(frame, &mut bytes).unwrap());
    writer.finish(&signer("alice"), views, &mut bytes).unwrap();
    bytes
}

fn items(bytes: &[u8]) -> Vec<ExportItem> {
    let mut reader = ExportReader::new();
    reader.push(bytes);
    reader.end();
    std::iter::from_fn(|| reader.next_item()).collect()
}

fn check(frame: &ExportedFrame) -> (Place, Checked) {
    let place = Place { frame: frame.number, offset: Some(frame.offset) };
    (place, check_frame(&frame.bytes, Checking::Signatures))
}

fn audit(bytes: &[u8]) -> Report {
    let items = items(bytes);
    let cluster = items.iter().find_map(|item| match item {
        ExportItem::Header(header) => Some(header.cluster),
        ExportItem::Frame(frame) => {
            SignedFrame::decode(&frame.bytes).ok().map(|frame| frame.header().cluster)
        }
        _ => None,
    });
    let mut replayer = Replayer::new(cluster.unwrap_or(ClusterId::from_bytes([0; 32])), Export(bytes), 4);
    let mut expected = Expected::default();
    for item in items {
        match item {
            ExportItem::Header(_) => {}
            ExportItem::Frame(frame) => {
                let (place, checked) = check(&frame);
                replayer.take(place, checked);
            }
            ExportItem::Trailer(trailer) => expected.trailer = Some(trailer),
            ExportItem::Damage(damage) => replayer.note_finding(damage.into()),
        }
    }
    replayer.finish(&expected)
}

fn audit_alone(cluster: ClusterId, run: RunId, bytes: &[u8]) -> AloneReport {
    let mut alone = Alone::new(cluster, run);
    let mut expected = Expected::default();
    for item in items(bytes) {
        match item {
            ExportItem::Header(_) => {}
            ExportItem::Frame(frame) => {
                let (place, checked) = check(&frame);
                alone.take(place, checked);
            }
            ExportItem::Trailer(trailer) => expected.trailer = Some(trailer),
            ExportItem::Damage(damage) => alone.note_finding(damage.into()),
        }
    }
    alone.finish(&expected)
}

/// Frames in any order and number, each under its place in the list, without a container around them.
fn replayed(cluster: ClusterId, frames: &[VerifiedFrame]) -> Replayer<Frames> {
    let bytes: Vec<Vec<u8>> = frames.iter().map(|frame| frame.bytes().to_vec()).collect();
    let checked: Vec<_> = bytes.iter().map(|bytes| check_frame(bytes, Checking::Signatures)).collect();
    let mut replayer = Replayer::new(cluster, Frames(bytes), 4);
    for (frame, checked) in (0..).zip(checked) {
        replayer.take(Place { frame, offset: None }, checked);
    }
    replayer.settle();
    replayer
}

fn whats(findings: &[Finding]) -> BTreeSet<What> {
    findings.iter().map(|finding| finding.what).collect()
}

#[test]
fn a_whole_log_replays_clean_and_to_the_same_views() {
    let mut story = story();
    let digest = story.alice.views.digest();
    let bytes = export(&story.frames, ExportScope::Whole, Some((VIEWS_VERSION, digest)));
    let report = audit(&bytes);
    assert_eq!(report.findings.list(), []);
    assert_eq!(report.views, (VIEWS_VERSION, digest));
    assert_eq!(report.clock_hash, story.alice.log.clock_hash());
    assert_eq!((report.frames, report.events), (story.frames.len() as u64, story.alice.log.events_len()));
    assert_eq!(report.chains.len(), 4);
    assert_eq!((report.members, report.not_folded), (2, 1));
    let wrong = export(&story.frames, ExportScope::Whole, Some((VIEWS_VERSION, [9; 32])));
    assert_eq!(whats(audit(&wrong).findings.list()), BTreeSet::from([What::Mismatch]));
    let newer = export(&story.frames, ExportScope::Whole, Some((99, [9; 32])));
    assert!(
        audit(&newer).is_clean() && audit(&newer).notes.iter().any(|note| note.contains("views version 99"))
    );
}

#[test]
fn trust_can_be_pinned() {
    let story = story();
    let finish = |expected: &Expected| replayed(story.cluster, &story.frames).finish(expected);
    let head = Some(story.alice.log.clock_hash());
    assert!(finish(&Expected { cluster: Some(story.cluster), head, ..Expected::default() }).is_clean());
    let before = Some(*story.completed.as_bytes());
    assert!(finish(&Expected { head: before, ..Expected::default() }).is_clean());
    for expected in [
        Expected { cluster: Some(ClusterId::from_bytes([1; 32])), ..Expected::default() },
        Expected { head: Some([1; 32]), ..Expected::default() },
        Expected { views: Some((VIEWS_VERSION, [1; 32])), ..Expected::default() },
    ] {
        assert_eq!(whats(finish(&expected).findings.list()), BTreeSet::from([What::Mismatch]));
    }
}

#[test]
fn five_hundred_flipped_bytes_are_each_named() {
    let mut story = story();
    let digest = story.alice.views.digest();
    let bytes = export(&story.frames, ExportScope::Whole, Some((VIEWS_VERSION, digest)));
    let mut frames = Vec::new();
    for item in items(&bytes) {
        if let ExportItem::Frame(frame) = item {
            frames.push((frame.number, frame.offset, frame.offset + frame.bytes.len() as u64));
        }
    }
    let mut rng = ChaCha8Rng::seed_from_u64(0xf11b);
    for _ in 0..500 {
        let at = rng.random_range(0..bytes.len());
        let mut altered = bytes.clone();
        altered[at] ^= 1 << rng.random_range(0..8);
        let report = audit(&altered);
        let named = match frames.iter().find(|(_, begin, end)| (*begin..*end).contains(&(at as u64))) {
            // in a frame: that frame is damaged
            Some((number, ..)) => report.findings.list().iter().any(|finding| {
                finding.what == What::Damaged && finding.place.is_some_and(|place| place.frame == *number)
            }),
            // in the head of a record: the record that begins there; else the header or the trailer
            None => report.findings.list().iter().any(|finding| {
                let record = frames.iter().find(|(_, begin, _)| (*begin - 16..*begin).contains(&(at as u64)));
                finding.what == What::Damaged
                    && record
                        .is_none_or(|(_, begin, _)| finding.detail.contains(&format!("byte {}", begin - 16)))
            }),
        };
        assert!(named, "byte {at}: {:#?}", report.findings);
        // nothing is dropped in silence: what is not admitted is named
        let unreachable =
            report.findings.list().iter().filter(|finding| finding.what == What::Unreachable).count();
        let damaged = report.findings.list().iter().filter(|finding| finding.what == What::Damaged).count();
        assert!(
            report.frames_admitted + (unreachable + damaged) as u64 >= story.frames.len() as u64 || at < 82,
            "byte {at}"
        );
    }
}

#[test]
fn a_dropped_frame_and_all_that_hangs_on_it_is_named() {
    let story = story();
    let whole = export(&story.frames, ExportScope::Whole, None);
    let ExportItem::Trailer(trailer) = items(&whole).pop().unwrap() else {
        panic!("an export ends with its trailer")
    };
    for dropped in 0..story.frames.len() {
        let mut frames = story.frames.clone();
        frames.remove(dropped);
        let mut replayer = replayed(story.cluster, &frames);
        let report = replayer.finish(&Expected { trailer: Some(trailer.clone()), ..Expected::default() });
        let tail = story.frames[dropped].header();
        let missing = report.findings.list().iter().any(|finding| {
            let names_chain = finding.detail.contains(&tail.chain.to_string());
            names_chain && matches!(finding.what, What::Missing | What::Mismatch | What::Unreachable)
        });
        assert!(missing, "{dropped}: {:#?}", report.findings);
        let unreachable =
            report.findings.list().iter().filter(|finding| finding.what == What::Unreachable).count();
        assert_eq!(report.frames_admitted + unreachable as u64, frames.len() as u64);
    }
}

#[test]
fn moved_and_doubled_frames_are_named_and_folded_all_the_same() {
    let story = story();
    let digest = |replayer: &mut Replayer<Frames>| replayer.finish(&Expected::default());
    let clean = digest(&mut replayed(story.cluster, &story.frames));
    assert!(clean.is_clean());
    let mut moved = story.frames.clone();
    moved.reverse();
    let report = digest(&mut replayed(story.cluster, &moved));
    assert_eq!(whats(report.findings.list()), BTreeSet::from([What::OutOfOrder]));
    assert_eq!((report.views, report.clock_hash), (clean.views, clean.clock_hash));
    let mut doubled = story.frames.clone();
    doubled.insert(9, story.frames[5].clone());
    let report = digest(&mut replayed(story.cluster, &doubled));
    assert_eq!(whats(report.findings.list()), BTreeSet::from([What::Doubled]));
    assert_eq!(report.findings.list()[0].place, Some(Place { frame: 9, offset: None }));
    assert_eq!(report.views, clean.views);
}

#[test]
fn a_forged_branch_is_named() {
    let story = story();
    let mut frames = story.frames.clone();
    let victim = frames.iter().position(|frame| frame.header().chain.author == peer("bob")).unwrap();
    let other = {
        let header = frames[victim].header().clone();
        let parents = frames[victim].events()[0].1.parents.clone();
        let height = frames[victim].events()[0].1.height;
        let mut builder =
            FrameBuilder::new(Some(story.cluster), header.chain, header.first_seq, header.prev, parents);
        builder.push(height, 7, vec![], vec![], Kind::from_number(0x7777), vec![1]);
        builder.sign(&signer("bob")).unwrap()
    };
    frames.insert(victim + 1, other);
    let report = replayed(story.cluster, &frames).finish(&Expected::default());
    assert_eq!(whats(report.findings.list()), BTreeSet::from([What::Forked]));
    // a frame of another cluster, and an author nobody admitted
    let stranger = Node::founding("mallory").stored.frames.remove(0);
    let mut zoe = Node::joining("zoe", story.cluster);
    zoe.sync_from(&story.alice);
    let unknown = zoe.frame_of(Kind::from_number(0x7777), b"", vec![]);
    let report = replayed(story.cluster, &[&story.frames[..], &[stranger, unknown]].concat())
        .finish(&Expected::default());
    assert_eq!(whats(report.findings.list()), BTreeSet::from([What::Rejected, What::Unreachable]));
    assert!(report.findings.list().iter().any(|finding| finding.detail.contains("never admitted")));
}

#[test]
fn what_others_wrote_on_a_refused_branch_stays_part_of_the_log() {
    // bob signs two frames for one place; carol builds on the one that alice refuses
    let mut alice = Node::founding("alice");
    let cluster = alice.log.cluster();
    for name in ["bob", "carol"] {
        alice.ask(Command::Admit(admitted(peer(name), Roles::MEMBER)));
    }
    let (mut bob, mut carol) = (Node::joining("bob", cluster), Node::joining("carol", cluster));
    bob.sync_from(&alice);
    carol.sync_from(&alice);
    let mut twin = bob.clone();
    bob.submit_task("one");
    twin.submit_task("other");
    alice.sync_from(&bob);
    carol.sync_from(&twin);
    carol.submit_task("carol's");
    alice.sync_from(&carol);
    let branch: Vec<VerifiedFrame> = carol.stored.frames.clone();
    let mut pending = wfengine_core::pending::Pending::default();
    branch.into_iter().for_each(|frame| alice.receive(&mut pending, frame));
    let proof = alice.proofs.pop().unwrap();
    alice.ask(Command::ProveFork(proof));
    let digest = alice.views.digest();
    let mut replayer = replayed(cluster, &alice.stored.frames);
    let report = replayer.finish(&Expected { views: Some((VIEWS_VERSION, digest)), ..Expected::default() });
    assert_eq!(report.findings.list(), []);
    assert_eq!((report.events, report.clock_hash), (alice.log.events_len(), alice.log.clock_hash()));
    assert!(report.notes.iter().any(|note| note.contains("fork proof")), "{:?}", report.notes);
}

#[test]
fn one_run_is_proved_alone() {
    let story = story();
    let belongs = |frame: &&VerifiedFrame| {
        frame.events().iter().any(|(_, event)| {
            event.kind.is_authority() || Body::decode(event.kind, &event.body).run() == Some(story.run)
        })
    };
    let frames: Vec<VerifiedFrame> = story.frames.iter().filter(belongs).cloned().collect();
    assert!(frames.len() < story.frames.len() / 2);
    let scope = ExportScope::Run(story.run);
    let report = audit_alone(story.cluster, story.run, &export(&frames, scope, None));
    assert_eq!(report.findings.list(), []);
    assert_eq!(report.run.as_ref(), story.alice.views.runs().live(&story.run));
    assert_eq!(report.run.unwrap().status, Status::Failed);
    for dropped in 0..frames.len() {
        let mut fewer = frames.clone();
        let frame = fewer.remove(dropped);
        let whole = export(&frames, scope, None);
        let Some(ExportItem::Trailer(trailer)) = items(&whole).pop() else { panic!() };
        let mut alone = Alone::new(story.cluster, story.run);
        for (number, frame) in (0..).zip(&fewer) {
            alone.take(
                Place { frame: number, offset: None },
                check_frame(frame.bytes(), Checking::Signatures),
            );
        }
        let report = alone.finish(&Expected { trailer: Some(trailer), ..Expected::default() });
        // what nobody names may go; the container counts the frames then
        let names = |frame: &VerifiedFrame, id: &EventId| {
            frame.events().iter().any(|(_, event)| event.refs.contains(id))
        };
        let named = frame.events().iter().any(|(id, _)| fewer.iter().any(|other| names(other, id)));
        assert!(!named || !report.findings.is_empty(), "{dropped}");
    }
    let mut twice = frames.clone();
    twice.push(frames[1].clone());
    let report = audit_alone(story.cluster, story.run, &export(&twice, scope, None));
    assert_eq!(whats(report.findings.list()), BTreeSet::from([What::Doubled]));
}

#[test]
fn the_state_at_a_moment_is_the_causal_past() {
    let story = story();
    let mut replayer = replayed(story.cluster, &story.frames);
    replayer.finish(&Expected::default());
    let at = |moment| replayer.state(&replayer.selection(&moment).unwrap());
    let submitted = at(Moment::Event(story.submission));
    assert_eq!(submitted.views.runs().len(), 1);
    assert_eq!(submitted.views.runs().live(&story.run).unwrap().status, Status::Pending);
    let completed = at(Moment::Event(story.completed));
    let run = completed.views.runs().live(&story.run).unwrap();
    assert_eq!(run.jobs.values().filter(|job| job.status == Status::Completed).count(), 1);
    let changes = diff(&submitted.views, &completed.views);
    // the plan came after the submission: the run and its two legs
    assert_eq!(changes.len(), 3, "{changes:#?}");
    assert!(matches!(changes[0].subject, Subject::Run(run) if run == story.run));
    assert_eq!(changes.iter().filter(|change| change.before.is_none()).count(), 2);
    assert!(
        changes.iter().any(|change| change.after.as_ref().unwrap().starts_with("completed, ")),
        "{changes:#?}"
    );
    let everything = at(Moment::Time(WallMs(u64::MAX)));
    assert_eq!(everything.events, story.alice.log.events_len());
    let revoked = diff(&completed.views, &everything.views);
    assert!(
        revoked
            .iter()
            .any(|change| change.subject == Subject::Member(peer("carol")) && change.after.is_none())
    );
    assert_eq!(at(Moment::Time(WallMs(0))).events, 0);
    assert!(replayer.selection(&Moment::Event(EventId::from_bytes([1; 32]))).is_err());
}

#[test]
fn history_is_told_in_canonical_order() {
    let story = story();
    let mut replayer = replayed(story.cluster, &story.frames);
    replayer.finish(&Expected::default());
    let told: Vec<_> = replayer.history().map(|event| (event.order(), event.id)).collect();
    let mut expected: Vec<_> = story
        .frames
        .iter()
        .flat_map(|frame| frame.events())
        .map(|(id, event)| ((event.height, event.chain, event.seq), *id))
        .collect();
    expected.sort_unstable();
    assert_eq!(told, expected);
    // a run that left memory comes back as it was
    assert!(!replayer.views().runs().is_empty());
    assert_eq!(replayer.run(&story.run).as_ref(), story.alice.views.runs().live(&story.run));
    assert!(replayer.events_of_run(&story.run).windows(2).all(|pair| pair[0].order() < pair[1].order()));
}

struct Again(u32);

impl Planner for Again {
    fn plan(&self, asked: &Replan<'_>) -> Result<Vec<PlannedKey>, CannotReplan> {
        if asked.rules_version != self.0 {
            return Err(CannotReplan::OtherRules { recorded: asked.rules_version, ours: self.0 });
        }
        let mut plan = vec![planned("build", &["1", "2"])];
        if asked.results.get("build").is_some_and(|legs| legs.len() == 2) {
            plan.push(PlannedKey { needs: vec!["build".into()], ..planned("test", &[""]) });
        }
        Ok(plan)
    }
}

struct Otherwise;

impl Planner for Otherwise {
    fn plan(&self, _: &Replan<'_>) -> Result<Vec<PlannedKey>, CannotReplan> {
        Ok(vec![planned("build", &["1"])])
    }
}

#[test]
fn recorded_plans_are_made_again() {
    let story = story();
    let mut replayer = replayed(story.cluster, &story.frames);
    let replanned = replayer.replan(&Again(1));
    assert_eq!((replanned.agreed, replanned.differ), (2, 0));
    assert!(replayer.findings().is_empty());
    assert_eq!(replayer.replan(&Again(2)).not_tried.values().sum::<u64>(), 2);
    let replanned = replayer.replan(&Otherwise);
    assert_eq!(replanned.differ, 2);
    let details: Vec<&str> =
        replayer.findings().list().iter().map(|finding| finding.detail.as_str()).collect();
    assert!(
        details[0].contains("1 legs and not 2") && details[1].contains("cannot be planned yet"),
        "{details:?}"
    );
}

/// Tasks of bob's that alice and carol both execute or alice ends, more than stay in memory; what carol wrote arrives when they
/// ended long ago, and then half of it is revoked.
fn busy_story() -> Node {
    let mut alice = Node::founding("alice");
    let cluster = alice.log.cluster();
    for name in ["bob", "carol"] {
        alice.ask(Command::Admit(admitted(peer(name), Roles::MEMBER)));
    }
    let (mut bob, mut carol) = (Node::joining("bob", cluster), Node::joining("carol", cluster));
    bob.sync_from(&alice);
    let tasks: Vec<(RunId, JobId)> = (0..1_500).map(|n| bob.submit_task(&format!("task {n}"))).collect();
    alice.sync_from(&bob);
    carol.sync_from(&bob);
    let (both, ended) = tasks.split_at(500);
    let (ended, later) = ended.split_at(905);
    let execute = |node: &mut Node, conclusion| {
        for (n, (run, job)) in both.iter().enumerate() {
            let claim = node.claim(*run, *job);
            node.ask(Command::Complete(completed(*run, *job, claim, conclusion, &format!("{}", n % 3))));
        }
    };
    let cancel = |node: &mut Node, runs: &[(RunId, JobId)]| {
        for (run, _) in runs {
            node.ask(Command::Cancel { run: *run, reason: String::new() });
        }
    };
    execute(&mut carol, Conclusion::Failure);
    execute(&mut alice, Conclusion::Success);
    cancel(&mut alice, ended);
    for n in 0..400 {
        let task = alice.submit_task(&format!("task {n} of alice"));
        cancel(&mut alice, &[task]);
    }
    alice.sync_from(&carol);
    let mut cuts = alice.cuts_of(&carol.peer());
    cuts.iter_mut().for_each(|cut| cut.length /= 2);
    alice.write(PeerRevoked { peer: carol.peer(), reason: "half".into(), cuts });
    cancel(&mut alice, later);
    for n in 400..2_000 {
        let task = alice.submit_task(&format!("task {n} of alice"));
        cancel(&mut alice, &[task]);
    }
    alice
}

/// How often the folding of many runs was shared.
static SHARED: AtomicUsize = AtomicUsize::new(0);

fn on_four_threads(work: &(dyn Fn() + Sync)) {
    SHARED.fetch_add(1, Ordering::Relaxed);
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
}

#[test]
fn several_threads_fold_to_the_same_views_as_one() {
    let mut alice = busy_story();
    let bytes: Vec<Vec<u8>> = alice.stored.frames.iter().map(|frame| frame.bytes().to_vec()).collect();
    let checked: Vec<_> = bytes.iter().map(|bytes| check_frame(bytes, Checking::HashesOnly)).collect();
    let replayed = |sharing: Option<&'static Sharing>, runs_kept| {
        let replayer = Replayer::new(alice.log.cluster(), Frames(bytes.clone()), runs_kept);
        let mut replayer = match sharing {
            Some(sharing) => replayer.sharing(sharing),
            None => replayer,
        };
        for (frame, checked) in (0..).zip(&checked) {
            replayer.take(Place { frame, offset: None }, checked.clone());
        }
        let report = replayer.finish(&Expected::default());
        (replayer, report)
    };
    let (alone, expected) = replayed(None, 300);
    assert!(expected.is_clean(), "{:#?}", expected.findings);
    assert_eq!(expected.views.1, alice.views.digest());
    let is_as_expected = |replayer: &Replayer<Frames>| {
        alice.views.runs().all_live().all(|run| replayer.run(&run.id).as_ref() == Some(run))
    };
    assert!(is_as_expected(&alone));
    // shared with others, with nobody, and by somebody who leaves all of it to the caller
    let ways: [&'static Sharing; 3] = [&on_four_threads, &|work| work(), &|_| ()];
    for (way, sharing) in ways.into_iter().enumerate() {
        for runs_kept in [300, usize::MAX] {
            let (shared, report) = replayed(Some(sharing), runs_kept);
            assert_eq!(report, expected, "way {way}");
            let left = shared.views().runs().finished();
            assert_eq!(left.len() > 1_000, runs_kept == 300, "{} runs left memory", left.len());
            assert!(is_as_expected(&shared), "way {way}");
        }
    }
    // before and after carol's part of it arrived
    assert_eq!(SHARED.load(Ordering::Relaxed), 4);
}
