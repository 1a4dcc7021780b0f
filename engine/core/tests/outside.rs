//! What members write of the world outside: repositories, triggers, runs that are handed to GitHub. What is refused, what says
//! nothing new, and what the views make of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "functions of tests fail by panicking")]

mod building;

use building::*;
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
fn rival(eve: &mut Node, than: EventId, less: bool, asks: &RunSubmitted) {
    let rivals = (0..64).map(|n| RunSubmitted { priority_milli: 1_000 + n, ..asks.clone() });
    let found = rivals.into_iter().find_map(|body| {
        let mut tried = eve.clone();
        ((tried.write(body) < than) == less).then_some(tried)
    });
    *eve = found.unwrap();
}

/// The same file's path and name with other content, for another repository.
fn other_content(of: &RunSubmitted) -> RunSubmitted {
    let mut other = of.clone();
    let RunSpec::Workflow(spec) = &mut other.spec else { panic!() };
    spec.source = BlobId::from_bytes([66; 32]);
    other
}

#[test]
fn a_rival_submission_does_not_choose_what_is_fetched_or_dispatched_for_another() {
    let (trigger, submission) = due("p2p-eligible");
    let theirs = TriggerFired { repository: repository("eve/r"), ..trigger.clone() };
    for less in [false, true] {
        let (mut alice, mut eve) = two();
        // of the same height as alice's and folded in either order
        eve.write(theirs.clone());
        let (run, own, _) = fire(&mut alice, "p2p-eligible");
        rival(&mut eve, own, less, &submission);
        eve.write(TriggerFired { sha: "6".into(), ..trigger.clone() });
        eve.write(TriggerFired { path: "evil.yml".into(), ..trigger.clone() });
        eve.write(TriggerFired { git_ref: "refs/heads/evil".into(), ..trigger.clone() });
        alice.sync_from(&eve);
        let known = alice.run(&run);
        assert_eq!((known.submission().unwrap().author == eve.peer(), known.void.len()), (less, 4));
        // what eve says of her own submission is not borne out by it
        assert_eq!(known.trigger.as_deref(), (!less).then_some(&trigger));
        assert_eq!(
            alice.try_ask(Command::Intend(dispatch(run, own))).is_err(),
            less,
            "only who is canonical"
        );
    }
    let mut alice = Node::founding("alice");
    let (run, own, _) = fire(&mut alice, "p2p-eligible");
    let mut elsewhere = dispatch(run, own);
    let Effect::Dispatch { git_ref, .. } = &mut elsewhere.effect else { panic!() };
    *git_ref = "refs/heads/other".into();
    let refused = alice.try_ask(Command::Intend(elsewhere)).unwrap_err().to_string();
    assert_eq!(refused, "the run is of another workflow or ref");
}

#[test]
fn a_trigger_that_contradicts_its_submission_is_refused() {
    let mut alice = Node::founding("alice");
    let (trigger, submission) = due("p2p-eligible");
    let asks = |trigger: TriggerFired, submission: &RunSubmitted| Command::Fire {
        trigger: Box::new(trigger),
        submission: Box::new(submission.clone()),
        plan: vec![],
        blobs: vec![],
    };
    let wrong = [
        ("repository", TriggerFired { repository: repository("o/other"), ..trigger.clone() }),
        ("path", TriggerFired { path: "other.yml".into(), ..trigger.clone() }),
        ("ref", TriggerFired { git_ref: "refs/heads/other".into(), ..trigger.clone() }),
        ("commit", TriggerFired { sha: "6".into(), ..trigger.clone() }),
    ];
    for (what, trigger) in wrong {
        assert_eq!(alice.try_ask(asks(trigger, &submission)), Err(Refusal::TriggerDisagrees { what }));
    }
    let by_hand = RunSubmitted { origin: Origin::Hand, ..submission };
    let refused = alice.try_ask(asks(trigger, &by_hand));
    assert_eq!(refused, Err(Refusal::TriggerDisagrees { what: "origin" }));
}

#[test]
fn a_run_is_a_nodes_own_only_while_it_executes_what_the_node_submitted() {
    let (trigger, submission) = due("p2p-eligible");
    let mut counted = submission.clone();
    counted.frozen.run_number = 7;
    let mut said_otherwise = submission.clone();
    said_otherwise.frozen.event_json = "{\"evil\":true}".into();
    let at_home = trigger.repository.clone();
    let elsewhere = RepositoryRef { source: "ghe.eve.example".into(), ..at_home.clone() };
    let cases = [
        ("it counts runs otherwise", counted, &at_home, true),
        ("another file", other_content(&submission), &at_home, false),
        ("another event", said_otherwise, &at_home, false),
        ("fewer tags", RunSubmitted { tags: vec![], ..submission.clone() }, &at_home, false),
        ("another host of the same name", submission.clone(), &elsewhere, false),
    ];
    for (what, asks, place, is_own) in cases {
        let (mut alice, mut eve) = two();
        let (run, own, _) = fire(&mut alice, "p2p-eligible");
        rival(&mut eve, own, true, &asks);
        eve.write(TriggerFired { repository: place.clone(), ..trigger.clone() });
        alice.sync_from(&eve);
        let known = alice.run(&run);
        assert_eq!(known.submission().unwrap().author, eve.peer());
        assert_eq!(Allow::default().covers(known, &alice.peer()), is_own, "{what}");
        let allowing = |peer: &Node| Allow { peers: [peer.peer()].into(), ..Allow::default() };
        assert!(allowing(&eve).covers(known, &peer("carol")), "{what}");
        assert_eq!(allowing(&alice).covers(known, &peer("carol")), is_own, "{what}");
    }
}

#[test]
fn a_rival_that_becomes_canonical_while_a_claim_settles_is_not_executed() {
    // the nearest peer begins at once, all others wait for claims that were written at the same time
    let found = (0..64).find_map(|n| {
        let (mut alice, eve) = two();
        let tag = format!("flow {n}");
        let (run, own, job) = fire(&mut alice, &tag);
        let order = order_of(&alice.views, alice.run(&run), &alice.run(&run).jobs[&job]);
        (order[0].peer == eve.peer()).then_some((alice, eve, run, own, tag))
    });
    let (mut alice, mut eve, run, own, tag) = found.unwrap();
    rival(&mut eve, own, true, &other_content(&due(&tag).1));
    let mut scheduler = Scheduler::open(alice.author.chain, Config::default(), &alice.views, at(0));
    let asked = |scheduler: &mut Scheduler, alice: &mut Node, now| {
        scheduler.handle_timer(&alice.views, at(now));
        let mut commands = Vec::new();
        while let Some((id, command)) = scheduler.poll_command() {
            commands.push(command.clone());
            let answer = tell(alice, scheduler, command, now);
            scheduler.handle_committed(&alice.views, id, answer, at(now));
        }
        commands
    };
    let claims = asked(&mut scheduler, &mut alice, 0);
    assert!(matches!(claims[..], [Command::Claim(_)]), "{claims:?}");
    assert!(scheduler.executes(alice.run(&run)));
    let before = alice.stored.frames.len();
    alice.sync_from(&eve);
    hear(&alice, &mut scheduler, before, 100);
    let ends = asked(&mut scheduler, &mut alice, 1_000);
    assert!(matches!(ends[..], [Command::Release(_)]), "{ends:?}");
    assert!(!scheduler.executes(alice.run(&run)));
    let mut actions = std::iter::from_fn(|| scheduler.poll_action());
    assert!(!actions.any(|action| matches!(action, Action::Execute { .. })));
    assert!(asked(&mut scheduler, &mut alice, 100_000).is_empty(), "it is not claimed again");
}

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
fn a_node_submits_no_failed_run_again_that_it_would_not_execute() {
    let (mut alice, mut bob) = two();
    let (_, mut submission) = due("p2p-eligible");
    submission.retries = 1;
    let (run, plan) = (submission.run(), vec![planned("build", &["a"])]);
    let job = job_of(&run, &plan[0], 0);
    alice.ask(Command::Submit { submission: Box::new(submission), plan, blobs: vec![] });
    let claim = alice.claim(run, job);
    alice.ask(Command::Complete(completed(run, job, claim, Conclusion::Failure, "")));
    bob.sync_from(&alice);
    for (allow, does) in [(Allow::default(), false), (Allow::any(), true)] {
        let config = Config { allow, ..Config::default() };
        let mut scheduler = Scheduler::open(bob.author.chain, config, &bob.views, at(0));
        (1..120).for_each(|s| scheduler.handle_timer(&bob.views, at(s * 1_000)));
        let asked = std::iter::from_fn(|| scheduler.poll_action())
            .any(|action| matches!(action, Action::Resubmit { .. }));
        assert_eq!(asked, does);
    }
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

/// Whether the scheduler gives a run up at one of its due times.
fn asks_to_expire(scheduler: &mut Scheduler, node: &Node, from_ms: u64, until_ms: u64) -> bool {
    let (mut found, mut now) = (false, from_ms);
    while now <= until_ms {
        scheduler.handle_timer(&node.views, at(now));
        while let Some((id, command)) = scheduler.poll_command() {
            found |= matches!(command, Command::Expire { .. });
            scheduler.handle_committed(&node.views, id, Ok(vec![]), at(now));
        }
        while scheduler.poll_datagram().is_some() {}
        now += 60_000;
    }
    found
}

/// Tells the scheduler the events of the frames after so many.
fn hear(node: &Node, scheduler: &mut Scheduler, after: usize, now: u64) {
    for frame in &node.stored.frames[after..] {
        for event in wfengine_core::Admitted::of_kept_frame(frame, WallMs(now)) {
            scheduler.handle_event(&node.views, &event, at(now));
        }
    }
}

/// A command is asked, and the scheduler hears of its events.
fn tell(
    node: &mut Node,
    scheduler: &mut Scheduler,
    command: Command,
    now: u64,
) -> Result<Vec<EventId>, Refusal> {
    let before = node.stored.frames.len();
    let ids = node.try_ask(command)?;
    hear(node, scheduler, before, now);
    Ok(ids)
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
    let body = alice.claim_body(run, job);
    let claim = tell(&mut alice, &mut scheduler, Command::Claim(body), 500_000).unwrap()[0];
    let release = Command::Release(JobReleased { run, job, claim, reason: ReleaseReason::Draining });
    tell(&mut alice, &mut scheduler, release, 900_000).unwrap();
    assert_eq!(handed_over(&mut scheduler, &alice, 900_000, 1_500_000), [(1_500_000, run)]);
}

#[test]
fn what_github_refused_is_offered_to_it_again_each_time_after_twice_the_wait() {
    let mut alice = Node::founding("alice");
    let (run, submission, _) = fire(&mut alice, "p2p-eligible");
    let mut scheduler = Scheduler::open(alice.author.chain, Config::default(), &alice.views, at(0));
    let mut now = 0;
    for wait in [600_000, 1_200_000, 2_400_000, 4_800_000, 9_600_000] {
        let due = handed_over(&mut scheduler, &alice, now, now + wait);
        assert_eq!(due, [(now + wait, run)]);
        now += wait;
        let intent = tell(&mut alice, &mut scheduler, Command::Intend(dispatch(run, submission)), now);
        let (intent, outcome) = (intent.unwrap()[0], EffectOutcome::Refused("busy".into()));
        let done = EffectDone { run, intent, outcome };
        tell(&mut alice, &mut scheduler, Command::Conclude(done), now).unwrap();
    }
    assert_eq!(handed_over(&mut scheduler, &alice, now, now + 40_000_000), [], "it was asked often enough");
}

#[test]
fn why_says_whose_turn_it_is_to_hand_a_run_to_github_and_what_came_of_it() {
    let (mut alice, mut bob) = two();
    let (run, submission, job) = fire(&mut alice, "p2p-eligible");
    bob.sync_from(&alice);
    let mut scheduler = Scheduler::open(bob.author.chain, Config::default(), &bob.views, at(0));
    let why = |scheduler: &Scheduler, node: &Node, now| {
        let text = scheduler.why(&node.views, &run, &job, at(now)).unwrap().text;
        text.replace(&node.views.peer_name(&peer("alice")), "alice")
    };
    let says = |text: String, expected: &str| assert!(text.ends_with(expected), "{text}");
    let only = "only alice may hand it to GitHub";
    says(
        why(&scheduler, &bob, 1),
        &format!("waits: {only}, and alice was not heard of since this node started."),
    );
    let reason = scheduler.waits_for_absent(&bob.views, bob.run(&run), Monotonic(1));
    assert!(reason.is_some_and(|reason| reason.starts_with("waits: only ")));
    scheduler.handle_peer(&bob.views, alice.peer(), Presence::Alive, at(2));
    assert_eq!(scheduler.waits_for_absent(&bob.views, bob.run(&run), Monotonic(3)), None);
    says(why(&scheduler, &bob, 3), &format!("If no peer takes it, {only}."));
    scheduler.handle_peer(&bob.views, alice.peer(), Presence::Down, at(1_000));
    says(why(&scheduler, &bob, 721_000), &format!("waits: {only}, and alice was not heard of for 12 min."));
    let own = Scheduler::open(alice.author.chain, Config::default(), &alice.views, at(0));
    says(why(&own, &alice, 1_000), "If no peer takes it, this node hands it to GitHub in 9 min.");
    let intent = alice.ask(Command::Intend(dispatch(run, submission)));
    bob.sync_from(&alice);
    let silent = ", and alice was not heard of for 1 h 0 min: no peer takes it meanwhile.";
    let about = "alice was about to hand it to GitHub and has not said what came of it";
    says(why(&scheduler, &bob, 3_601_000), &format!("{about}{silent}"));
    let conclude = |outcome| Command::Conclude(EffectDone { run, intent, outcome });
    alice.ask(conclude(EffectOutcome::Unknown("lost".into())));
    bob.sync_from(&alice);
    let unknown = "Whether GitHub has it is not known (lost); only alice can find out";
    says(why(&scheduler, &bob, 3_601_000), &format!("{unknown}{silent}"));
    alice.ask(conclude(EffectOutcome::Refused("busy".into())));
    bob.sync_from(&alice);
    let text = why(&scheduler, &bob, 61_000);
    assert!(text.contains("GitHub did not take it from alice: busy. It waits: only alice"), "{text}");
    let (only_here, _, job) = fire(&mut alice, "p2p-only");
    let own = Scheduler::open(alice.author.chain, Config::default(), &alice.views, at(0));
    assert!(!own.why(&alice.views, &only_here, &job, at(1)).unwrap().text.contains("GitHub"));
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
