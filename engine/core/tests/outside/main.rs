//! What members write of the world outside: repositories, triggers, runs that are handed to GitHub. What is refused, what says
//! nothing new, and what the views make of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "functions of tests fail by panicking")]

#[path = "../building/mod.rs"]
mod building;
mod offering;
mod rivals;

use building::*;
use offering::*;
use wfengine_core::command::{Command, Refusal};
use wfengine_core::scheduler::{Action, Allow, Config, Presence, Scheduler, order_of};
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
    let frozen = Frozen {
        repository: "o/r".into(),
        ref_name: "refs/heads/main".into(),
        sha: "5".into(),
        ..Frozen::default()
    };
    let flow = workflow(tag, &["build"]);
    let submission = RunSubmitted { origin: Origin::Discovery, tags: vec![tag.into()], frozen, ..flow };
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
fn one_trigger_seen_by_two_is_one_run_and_the_author_of_its_submission_says_where_its_sources_are() {
    let (mut alice, mut bob) = two();
    let (run, ..) = fire(&mut alice, "p2p-eligible");
    let (plain, submission) = due("p2p-eligible");
    let sources = Some(BlobId::from_bytes([3; 32]));
    let trigger = TriggerFired { sources, sources_len: 9, ..plain.clone() };
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
    assert!(known.is_asked_by(&alice.peer()) && known.is_asked_by(&bob.peer()));
    let by_bob = known.submission().unwrap().author == bob.peer();
    assert_eq!(known.trigger.as_deref(), Some(if by_bob { &trigger } else { &plain }));
    alice.sync_from(&bob);
    let (author, other) = if by_bob { (&mut bob, &mut alice) } else { (&mut alice, &mut bob) };
    let elsewhere = Some(BlobId::from_bytes([4; 32]));
    other.write(TriggerFired { sources: elsewhere, ..trigger.clone() });
    author.sync_from(other);
    author.write(trigger.clone());
    author.write(TriggerFired { sources: elsewhere, ..trigger.clone() });
    let pushed = Trigger::Push { before: "4".into() };
    let second = author.write(TriggerFired { trigger: pushed, sources: elsewhere, ..trigger.clone() });
    let known = author.run(&run);
    assert_eq!(
        known.trigger.as_deref(),
        Some(&trigger),
        "the first that the author of the submission shared"
    );
    assert_eq!(known.void, [second], "a run has one cause");
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
    let seen =
        |conclusion| DispatchFollowed { run, intent, id: "9".into(), url: "https://x/9".into(), conclusion };
    alice.ask(Command::Follow(seen(None)));
    assert_eq!(alice.run(&run).status, Status::InProgress);
    alice.ask(Command::Follow(seen(Some(Conclusion::Failure))));
    let ended = alice.run(&run);
    assert_eq!((ended.status, ended.jobs[&job].status), (Status::Failed, Status::Failed));
    assert_eq!(ended.jobs[&job].reason, "on GitHub: https://x/9");
    assert_eq!(alice.try_ask(Command::Follow(seen(Some(Conclusion::Success)))), Ok(vec![]), "it ended");
}

#[test]
fn what_github_shows_of_a_run_is_said_by_who_handed_it_over_and_by_nobody_else() {
    let (mut alice, mut bob) = two();
    let (run, submission, _) = fire(&mut alice, "p2p-eligible");
    let intent = alice.ask(Command::Intend(dispatch(run, submission)));
    bob.sync_from(&alice);
    let (id, url) = ("9".to_owned(), "https://elsewhere/9".to_owned());
    let lie = DispatchFollowed { run, intent, id, url, conclusion: Some(Conclusion::Success) };
    let refused = bob.try_ask(Command::Follow(lie.clone())).unwrap_err().to_string();
    assert_eq!(refused, "another peer handed the run to GitHub");
    let lie = bob.write(lie);
    alice.sync_from(&bob);
    let known = alice.run(&run);
    assert_eq!((known.status, known.dispatches[0].url(), &known.void), (Status::Assigned, "", &vec![lie]));
}

/// What eve submits under the trigger key of another's run, with an id that is less or greater than that one's.
#[test]
fn a_refused_hand_over_gives_the_run_back_to_the_peers_and_says_why() {
    let mut alice = Node::founding("alice");
    let (run, submission, job) = fire(&mut alice, "p2p-eligible");
    let intent = alice.ask(Command::Intend(dispatch(run, submission)));
    let outcome = EffectOutcome::Refused("422".into());
    alice.ask(Command::Conclude(EffectDone { run, intent, outcome }));
    let known = alice.run(&run);
    assert_eq!((known.status, known.reason.as_str()), (Status::Pending, "GitHub did not take it: 422"));
    assert_eq!(known.jobs[&job].reason, known.reason);
    alice.claim(run, job);
    assert_eq!((alice.run(&run).status, alice.run(&run).reason.as_str()), (Status::Assigned, ""));
}

#[test]
fn a_run_is_handed_over_again_only_after_refusals_and_five_times_at_most() {
    let (mut alice, mut bob) = two();
    let (run, submission, _) = fire(&mut alice, "p2p-eligible");
    let asks = |alice: &mut Node| alice.try_ask(Command::Intend(dispatch(run, submission)));
    let conclude = |alice: &mut Node, intent, outcome| {
        alice.ask(Command::Conclude(EffectDone { run, intent, outcome }));
    };
    let before = "the run was handed to GitHub before";
    for n in 0..5 {
        let intent = asks(&mut alice).unwrap()[0];
        assert_eq!(asks(&mut alice).unwrap_err().to_string(), before, "nobody knows what came of it");
        if n == 2 {
            conclude(&mut alice, intent, EffectOutcome::Unknown("lost".into()));
            assert_eq!(asks(&mut alice).unwrap_err().to_string(), before, "it may have happened");
        }
        conclude(&mut alice, intent, EffectOutcome::Refused("busy".into()));
    }
    assert_eq!(alice.run(&run).reason, "GitHub did not take it (asked 5 times): busy");
    assert_eq!(asks(&mut alice).unwrap_err().to_string(), "GitHub refused the run too often");
    let sixth = alice.write(dispatch(run, submission));
    assert_eq!((alice.run(&run).dispatches.len(), &alice.run(&run).void), (5, &vec![sixth]));
    bob.sync_from(&alice);
    assert_eq!(bob.shown(), alice.shown());
    let (run, submission, _) = fire(&mut alice, "p2p-eligible, too");
    let intent = alice.ask(Command::Intend(dispatch(run, submission)));
    let done = EffectOutcome::Done { id: "9".into(), url: String::new() };
    alice.ask(Command::Conclude(EffectDone { run, intent, outcome: done }));
    assert_eq!(alice.try_ask(Command::Intend(dispatch(run, submission))).unwrap_err().to_string(), before);
}

#[test]
fn a_hand_over_of_unknown_outcome_that_turns_out_refused_gives_the_run_back_and_it_can_expire() {
    const DAY: u64 = 86_400_000;
    let (mut alice, mut bob) = two();
    let (run, submission, job) = fire(&mut alice, "p2p-eligible");
    let intent = alice.ask(Command::Intend(dispatch(run, submission)));
    let conclude = |outcome| Command::Conclude(EffectDone { run, intent, outcome });
    let lost = EffectOutcome::Unknown("lost".into());
    alice.ask(conclude(lost.clone()));
    assert_eq!(alice.try_ask(conclude(lost)), Ok(vec![]), "that was said before");
    bob.sync_from(&alice);
    // bob may not run alice's jobs, and alice is gone
    let mut scheduler = Scheduler::open(bob.author.chain, Config::default(), &bob.views, at(0));
    assert!(!asks_to_expire(&mut scheduler, &bob, 0, 2 * DAY), "GitHub may have it");
    let absent = EffectOutcome::Refused("GitHub's listing does not show it after 30 minutes".into());
    let heard = bob.stored.frames.len();
    alice.ask(conclude(absent));
    bob.sync_from(&alice);
    hear(&bob, &mut scheduler, heard, 2 * DAY);
    assert_eq!(bob.run(&run).status, Status::Pending);
    assert!(bob.run(&run).reason.ends_with("does not show it after 30 minutes"));
    let mut claiming = bob.clone();
    claiming.claim(run, job);
    assert_eq!(claiming.run(&run).status, Status::Assigned);
    assert!(asks_to_expire(&mut scheduler, &bob, 2 * DAY, 3 * DAY + 2_000_000));
    bob.ask(Command::Expire { run, waited_ms: DAY });
    assert_eq!(bob.run(&run).status, Status::Expired);
}

#[test]
fn a_hand_over_that_github_refused_and_was_seen_there_all_the_same_stands() {
    let mut alice = Node::founding("alice");
    let (run, submission, _) = fire(&mut alice, "p2p-eligible");
    let intent = alice.ask(Command::Intend(dispatch(run, submission)));
    let outcome = EffectOutcome::Refused("not in the listing".into());
    alice.ask(Command::Conclude(EffectDone { run, intent, outcome }));
    let (id, url) = ("9".to_owned(), "https://x/9".to_owned());
    alice.ask(Command::Follow(DispatchFollowed { run, intent, id, url, conclusion: None }));
    assert_eq!(alice.run(&run).status, Status::InProgress);
    assert!(alice.try_ask(Command::Intend(dispatch(run, submission))).is_err());
}

#[test]
fn a_further_attempt_of_a_run_that_discovery_found_knows_its_sources_and_may_leave_too() {
    let (mut alice, mut bob) = two();
    let (run, first, job) = fire(&mut alice, "p2p-eligible");
    let claim = alice.claim(run, job);
    alice.ask(Command::Complete(completed(run, job, claim, Conclusion::Failure, "")));
    bob.sync_from(&alice);
    // by hand, whoever asks
    let (submission, trigger) = bob.run(&run).again(2).unwrap();
    let again = submission.run();
    assert_eq!((submission.attempt, submission.rerun_of), (2, Some(first)));
    let (submission, trigger) = (Box::new(submission), Box::new(trigger.unwrap()));
    let plan = vec![planned("build", &["a"])];
    bob.ask(Command::Fire { trigger, submission, plan, blobs: vec![] });
    let known = bob.run(&again);
    let expected = TriggerFired { run: again, ..due("p2p-eligible").0 };
    assert_eq!((known.trigger.as_deref(), known.void.len()), (Some(&expected), 0));
    let submission = known.canonical.unwrap();
    bob.ask(Command::Intend(dispatch(again, submission)));
}

#[test]
fn a_retry_of_a_run_that_discovery_found_says_again_why_it_exists() {
    let mut alice = Node::founding("alice");
    let (trigger, mut submission) = due("p2p-eligible");
    submission.retries = 1;
    let (run, plan) = (submission.run(), vec![planned("build", &["a"])]);
    let job = job_of(&run, &plan[0], 0);
    let (trigger, submission) = (Box::new(trigger), Box::new(submission));
    alice.ask(Command::Fire { trigger, submission, plan: plan.clone(), blobs: vec![] });
    let retry = |alice: &Node| {
        let (submission, trigger) = alice.run(&run).again(2).unwrap();
        let (submission, trigger) = (Box::new(submission), trigger.map(Box::new));
        Command::Retry { of: run, submission, trigger, plan: plan.clone(), blobs: vec![] }
    };
    assert!(matches!(alice.try_ask(retry(&alice.clone())), Err(Refusal::Pointless(_))), "it has not failed");
    let claim = alice.claim(run, job);
    alice.ask(Command::Complete(completed(run, job, claim, Conclusion::Failure, "")));
    assert_eq!(alice.try_ask(retry(&alice.clone())).unwrap().len(), 3, "trigger, submission, plan");
    let next = alice.views.runs().all_live().find(|next| next.id != run).unwrap();
    assert_eq!(next.trigger.as_ref().map(|trigger| trigger.run), Some(next.id));
    assert!(next.is_discovered() && alice.try_ask(retry(&alice.clone())).is_ok());
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
