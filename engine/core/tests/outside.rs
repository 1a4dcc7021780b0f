//! What members write of the world outside: repositories, triggers, runs that are handed to GitHub. What is refused, what says
//! nothing new, and what the views make of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "functions of tests fail by panicking")]

mod building;

use building::*;
use wfengine_core::command::{Command, Refusal};
use wfengine_core::scheduler::{Action, Config, Presence, Scheduler};
use wfengine_core::time::{Monotonic, Now, WallMs};
use wfengine_core::views::job::Status;
use wfengine_core::views::repositories::RepositoryKey;
use wfengine_storage_format::*;

fn repository(name: &str) -> RepositoryRef {
    RepositoryRef { source: "github.com".into(), id: "7".into(), name: name.to_owned() }
}

fn scanned(head: &str) -> RepositoryScanned {
    RepositoryScanned {
        repository: repository("o/r"),
        outcome: ScanOutcome::Scanned,
        default_branch: "main".into(),
        head: head.into(),
        refs: None,
        files: 2,
        problems: vec![],
    }
}

fn found(content: u8) -> WorkflowFound {
    WorkflowFound {
        repository: repository("o/r"),
        path: "ci.yml".into(),
        source: BlobId::from_bytes([content; 32]),
        name: "ci".into(),
        tags: vec!["p2p-eligible".into()],
        remarks: vec![],
    }
}

/// A run that discovery would submit, with these tags.
fn due(tag: &str) -> (TriggerFired, RunSubmitted) {
    let submission =
        RunSubmitted { origin: Origin::Discovery, tags: vec![tag.into()], ..workflow(tag, &["build"]) };
    let trigger = TriggerFired {
        run: submission.run(),
        repository: repository("o/r"),
        path: "ci.yml".into(),
        trigger: Trigger::Found,
        git_ref: "refs/heads/main".into(),
        sha: "5".into(),
        sources: None,
        sources_len: 0,
    };
    (trigger, submission)
}

fn fire(node: &mut Node, tag: &str) -> (RunId, EventId, JobId) {
    let (trigger, submission) = due(tag);
    let (run, plan) = (submission.run(), planned("build", &["a"]));
    let job = job_of(&run, &plan, 0);
    let (trigger, submission) = (Box::new(trigger), Box::new(submission));
    node.ask(Command::Fire { trigger, submission, plan: vec![plan], blobs: vec![] });
    (run, node.run(&run).canonical.unwrap(), job)
}

fn dispatch(run: RunId, submission: EventId) -> EffectIntended {
    let effect = Effect::Dispatch {
        repository: repository("o/r"),
        path: "ci.yml".into(),
        git_ref: "refs/heads/main".into(),
    };
    EffectIntended { run, submission, effect }
}

fn two() -> (Node, Node) {
    let mut alice = Node::founding("alice");
    alice.ask(Command::Admit(admitted(peer("bob"), Roles::MEMBER)));
    let mut bob = Node::joining("bob", alice.log.cluster());
    bob.sync_from(&alice);
    (alice, bob)
}

#[test]
fn a_look_that_saw_nothing_new_is_not_written_but_each_member_says_once_that_it_sees_the_repository() {
    let (mut alice, mut bob) = two();
    let asks = |node: &mut Node, scan| node.try_ask(Command::Scan(scan)).unwrap().len();
    assert_eq!(asks(&mut alice, scanned("1")), 1);
    assert_eq!(asks(&mut alice, scanned("1")), 0);
    bob.sync_from(&alice);
    assert_eq!((asks(&mut bob, scanned("1")), asks(&mut bob, scanned("1"))), (1, 0));
    assert_eq!(asks(&mut bob, scanned("2")), 1);
    alice.sync_from(&bob);
    assert_eq!(asks(&mut alice, scanned("2")), 0, "bob said so");
    let failed = RepositoryScanned { outcome: ScanOutcome::Failed("404".into()), ..scanned("2") };
    assert_eq!((asks(&mut alice, failed.clone()), asks(&mut alice, failed)), (1, 0));
    assert_eq!(asks(&mut alice, scanned("2")), 1, "it can be seen again");
    let renamed = RepositoryScanned { repository: repository("o/new"), ..scanned("2") };
    assert_eq!(asks(&mut alice, renamed), 1);
    let key = RepositoryKey::of(&repository("whatever"));
    let known = alice.views.repositories().get(&key).unwrap();
    assert_eq!((known.name.as_str(), known.looks.len()), ("o/new", 2));
}

#[test]
fn a_workflow_is_there_until_it_vanishes_and_its_schedules_begin_with_its_content() {
    let (mut alice, mut bob) = two();
    alice.ask(Command::Find(found(1)));
    let since = |node: &Node| {
        let key = RepositoryKey::of(&repository("o/r"));
        node.views.repositories().get(&key).unwrap().workflows.get("ci.yml").map(|found| found.since_ms)
    };
    let first = since(&alice).unwrap();
    assert_eq!(alice.try_ask(Command::Find(found(1))), Ok(vec![]));
    alice.ask(Command::Find(WorkflowFound { remarks: vec!["runs twice".into()], ..found(1) }));
    assert_eq!(since(&alice), Some(first));
    alice.ask(Command::Find(found(2)));
    assert!(since(&alice).unwrap() > first);
    bob.sync_from(&alice);
    let gone = WorkflowVanished { repository: repository("o/r"), path: "ci.yml".into() };
    bob.ask(Command::Vanish(gone.clone()));
    assert_eq!((since(&bob), bob.try_ask(Command::Vanish(gone))), (None, Ok(vec![])));
}

#[test]
fn members_say_what_they_look_at_and_whoever_is_no_submitter_says_nothing() {
    let mut alice = Node::founding("alice");
    alice.ask(Command::Admit(admitted(peer("eve"), Roles::NONE)));
    let watch = |scopes: &[&str]| DiscoveryChanged {
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        interval_ms: 1,
    };
    assert_eq!(alice.try_ask(Command::Watch(watch(&[]))), Ok(vec![]), "it never looked");
    alice.ask(Command::Watch(watch(&["all"])));
    assert_eq!(alice.views.repositories().watchers().count(), 1);
    alice.ask(Command::Watch(watch(&[])));
    assert_eq!(alice.views.repositories().watchers().count(), 0);
    let mut eve = Node::joining("eve", alice.log.cluster());
    eve.sync_from(&alice);
    assert!(matches!(eve.try_ask(Command::Find(found(1))), Err(Refusal::Role { .. })));
    eve.write(found(1));
    assert_eq!(eve.views.repositories().all().count(), 0);
}

#[test]
fn one_trigger_seen_by_two_is_one_run_that_knows_where_its_sources_are() {
    let (mut alice, mut bob) = two();
    let (run, ..) = fire(&mut alice, "p2p-eligible");
    let (mut trigger, submission) = due("p2p-eligible");
    (trigger.sources, trigger.sources_len) = (Some(BlobId::from_bytes([3; 32])), 9);
    let again = Command::Fire {
        trigger: Box::new(trigger.clone()),
        submission: Box::new(submission.clone()),
        plan: vec![],
        blobs: vec![],
    };
    assert_eq!(alice.try_ask(again.clone()), Ok(vec![]));
    // bob did not hear of it
    bob.ask(again);
    bob.sync_from(&alice);
    let known = bob.run(&run);
    assert_eq!((known.submissions.len(), known.conflict), (2, false));
    assert_eq!(known.trigger.as_deref(), Some(&trigger), "the one that shares the sources");
    let other = TriggerFired { run: RunId::from_bytes([1; 32]), ..trigger };
    let wrong = Command::Fire {
        trigger: Box::new(other),
        submission: Box::new(submission),
        plan: vec![],
        blobs: vec![],
    };
    assert!(matches!(bob.try_ask(wrong), Err(Refusal::Pointless(_))));
}

#[test]
fn a_run_is_handed_over_once_by_who_submitted_it_and_then_claimed_by_nobody() {
    let (mut alice, mut bob) = two();
    let (run, submission, job) = fire(&mut alice, "p2p-eligible");
    bob.sync_from(&alice);
    let refused = bob.try_ask(Command::Intend(dispatch(run, submission))).unwrap_err().to_string();
    assert_eq!(refused, "only the author of the run's canonical submission may do that");
    let intent = alice.ask(Command::Intend(dispatch(run, submission)));
    assert_eq!((alice.run(&run).status, alice.run(&run).reason.as_str()), (Status::Assigned, "on GitHub"));
    let refused = alice.try_ask(Command::Intend(dispatch(run, submission))).unwrap_err().to_string();
    assert_eq!(refused, "the run was handed to GitHub before");
    let claim = alice.claim_body(run, job);
    assert!(matches!(alice.try_ask(Command::Claim(claim)), Err(Refusal::NotEligible { .. })));
    let lost = EffectOutcome::Unknown("the connection was lost".into());
    alice.ask(Command::Conclude(EffectDone { run, intent, outcome: lost }));
    assert!(alice.run(&run).reason.contains("may have it or not"));
    let done = EffectOutcome::Done { id: "9".into(), url: "https://x/9".into() };
    alice.ask(Command::Conclude(EffectDone { run, intent, outcome: done.clone() }));
    assert_eq!(alice.try_ask(Command::Conclude(EffectDone { run, intent, outcome: done })), Ok(vec![]));
    bob.sync_from(&alice);
    let seen =
        |conclusion| DispatchFollowed { run, intent, id: "9".into(), url: "https://x/9".into(), conclusion };
    bob.ask(Command::Follow(seen(None)));
    assert_eq!(bob.run(&run).status, Status::InProgress);
    bob.ask(Command::Follow(seen(Some(Conclusion::Failure))));
    let ended = bob.run(&run);
    assert_eq!((ended.status, ended.jobs[&job].status), (Status::Failed, Status::Failed));
    assert_eq!(ended.jobs[&job].reason, "on GitHub: https://x/9");
    assert_eq!(bob.try_ask(Command::Follow(seen(Some(Conclusion::Success)))), Ok(vec![]), "it ended");
}

#[test]
fn a_refused_hand_over_gives_the_run_back_to_the_peers_for_good() {
    let mut alice = Node::founding("alice");
    let (run, submission, job) = fire(&mut alice, "p2p-eligible");
    let intent = alice.ask(Command::Intend(dispatch(run, submission)));
    let outcome = EffectOutcome::Refused("422".into());
    alice.ask(Command::Conclude(EffectDone { run, intent, outcome }));
    assert_eq!(alice.run(&run).status, Status::Pending);
    assert!(alice.try_ask(Command::Intend(dispatch(run, submission))).is_err());
    alice.claim(run, job);
    assert_eq!(alice.run(&run).status, Status::Assigned);
}

#[test]
fn what_must_not_leave_the_peers_or_is_under_way_is_not_handed_over_and_no_fold_believes_it() {
    let mut alice = Node::founding("alice");
    let (run, submission, _) = fire(&mut alice, "p2p-only");
    let refused = alice.try_ask(Command::Intend(dispatch(run, submission))).unwrap_err().to_string();
    assert_eq!(refused, "the run never leaves the peers");
    let lie = alice.write(dispatch(run, submission));
    assert!(alice.run(&run).dispatches.is_empty() && alice.run(&run).void == [lie]);
    let by_hand = workflow("by hand", &["build"]);
    let run = by_hand.run();
    let submission =
        alice.ask(Command::Submit { submission: Box::new(by_hand), plan: vec![], blobs: vec![] });
    assert!(alice.try_ask(Command::Intend(dispatch(run, submission))).is_err());
    let (run, submission, job) = fire(&mut alice, "p2p-eligible");
    alice.claim(run, job);
    let refused = alice.try_ask(Command::Intend(dispatch(run, submission))).unwrap_err().to_string();
    assert_eq!(refused, "a peer has a job of the run");
}

#[test]
fn a_job_is_shown_beside_its_commit_by_one_intent() {
    let mut alice = Node::founding("alice");
    let (run, submission, job) = fire(&mut alice, "p2p-only");
    let check = EffectIntended { run, submission, effect: Effect::Check { job } };
    let intent = alice.ask(Command::Intend(check.clone()));
    assert_eq!(alice.try_ask(Command::Intend(check)), Ok(vec![]));
    let outcome = EffectOutcome::Done { id: "4".into(), url: String::new() };
    alice.ask(Command::Conclude(EffectDone { run, intent, outcome: outcome.clone() }));
    assert_eq!(alice.run(&run).checks[0].outcome, Some(outcome.clone()));
    assert_eq!(alice.run(&run).status, Status::Pending, "showing a job moves nothing");
    let none = EffectDone { run, intent: submission, outcome };
    assert!(matches!(alice.try_ask(Command::Conclude(none)), Err(Refusal::Pointless(_))));
}

fn at(ms: u64) -> Now {
    Now { wall: WallMs(ms), monotonic: Monotonic(ms) }
}

/// Asks the scheduler at each of its due times up to `until_ms`; gives the runs to hand over, with the time.
fn handed_over(scheduler: &mut Scheduler, node: &Node, from_ms: u64, until_ms: u64) -> Vec<(u64, RunId)> {
    let (mut found, mut now) = (Vec::new(), from_ms);
    while now <= until_ms {
        scheduler.handle_timer(&node.views, at(now));
        while scheduler.poll_command().is_some() {}
        while scheduler.poll_datagram().is_some() {}
        while let Some(action) = scheduler.poll_action() {
            if let Action::HandOver { run } = action {
                found.push((now, run));
            }
        }
        now += 1_000;
    }
    found
}

#[test]
fn a_run_that_may_leave_and_that_nobody_takes_is_due_for_github_after_ten_minutes() {
    let (mut alice, mut bob) = two();
    let (run, ..) = fire(&mut alice, "p2p-eligible");
    fire(&mut alice, "p2p-only");
    bob.sync_from(&alice);
    let mut scheduler = Scheduler::open(alice.author.chain, Config::default(), &alice.views, at(0));
    let due = handed_over(&mut scheduler, &alice, 0, 1_300_000);
    assert_eq!(due, [(600_000, run), (1_200_000, run)], "again while nobody wrote that it was");
    let mut elsewhere = Scheduler::open(bob.author.chain, Config::default(), &bob.views, at(0));
    assert_eq!(handed_over(&mut elsewhere, &bob, 0, 1_300_000), [], "not bob's submission");
}

#[test]
fn a_claim_stops_the_wait_for_github_and_its_end_begins_it_anew() {
    let mut alice = Node::founding("alice");
    let (run, _, job) = fire(&mut alice, "p2p-eligible");
    let mut scheduler = Scheduler::open(alice.author.chain, Config::default(), &alice.views, at(0));
    assert_eq!(handed_over(&mut scheduler, &alice, 0, 500_000), []);
    let mut tell = |node: &mut Node, command: Command, now: u64| {
        let before = node.stored.frames.len();
        let id = node.ask(command);
        for frame in &node.stored.frames[before..] {
            for event in wfengine_core::Admitted::of_kept_frame(frame, WallMs(now)) {
                scheduler.handle_event(&node.views, &event, at(now));
            }
        }
        id
    };
    let body = alice.claim_body(run, job);
    let claim = tell(&mut alice, Command::Claim(body), 500_000);
    let reason = ReleaseReason::Draining;
    tell(&mut alice, Command::Release(JobReleased { run, job, claim, reason }), 900_000);
    assert_eq!(handed_over(&mut scheduler, &alice, 900_000, 1_500_000), [(1_500_000, run)]);
}

#[test]
fn a_duty_is_the_nearest_living_members_among_those_that_share_it() {
    let (mut alice, mut bob) = two();
    alice.sync_from(&bob);
    bob.sync_from(&alice);
    let both = [alice.peer(), bob.peer()];
    let scheduler = |node: &Node| Scheduler::open(node.author.chain, Config::default(), &node.views, at(0));
    let (mut one, mut two) = (scheduler(&alice), scheduler(&bob));
    let places = |one: &Scheduler, two: &Scheduler| -> Vec<(usize, usize)> {
        let of = |what: usize| {
            let what = what.to_string();
            (one.place_for_duty("scan", &what, both), two.place_for_duty("scan", &what, both))
        };
        (0..40).map(of).collect()
    };
    assert!(places(&one, &two).iter().all(|places| *places == (0, 0)), "neither knows the other to live");
    one.handle_peer(&alice.views, bob.peer(), Presence::Alive, at(1));
    two.handle_peer(&bob.views, alice.peer(), Presence::Alive, at(1));
    let together = places(&one, &two);
    assert!(together.iter().all(|(a, b)| a + b == 1), "each is one member's: {together:?}");
    let of_alice = together.iter().filter(|(a, _)| *a == 0).count();
    assert!((8..=32).contains(&of_alice), "{of_alice} of 40");
    one.handle_peer(&alice.views, bob.peer(), Presence::Down, at(2));
    assert!(places(&one, &two).iter().all(|(a, _)| *a == 0));
}
