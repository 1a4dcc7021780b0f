//! What a node refuses to write, one test for each refusal; and what it says is so already.

#![allow(clippy::unwrap_used, clippy::panic, reason = "functions of tests fail by panicking")]

mod building;

use building::*;
use wfengine_core::command::{Command, Decision, Refusal, decide};
use wfengine_core::views::job::Status;
use wfengine_storage_format::limits::{BLOBS_MAX, TEXT_BYTES_MAX};
use wfengine_storage_format::*;

/// Alice founds; dave is an executor and submitter, guest a member without roles.
fn cluster() -> (Node, Node, Node) {
    let mut alice = Node::founding("alice");
    for (name, roles) in [("dave", Roles::MEMBER), ("guest", Roles::NONE)] {
        alice.ask(Command::Admit(admitted(peer(name), roles)));
    }
    let join = |name| {
        let mut node = Node::joining(name, alice.log.cluster());
        node.sync_from(&alice);
        node
    };
    let (dave, guest) = (join("dave"), join("guest"));
    (alice, dave, guest)
}

fn submit(submission: RunSubmitted) -> Command {
    Command::Submit { submission: Box::new(submission), plan: vec![], blobs: vec![] }
}

fn is_so(node: &Node, command: Command) -> bool {
    decide(&node.views, &node.author.chain, &command) == Ok(Decision::AlreadySo)
}

macro_rules! assert_refused {
    ($node:expr, $command:expr, $refusal:pat) => {
        let refusal = $node.try_ask($command).unwrap_err();
        assert!(matches!(refusal, $refusal), "{refusal:?}");
    };
}

#[test]
fn an_unknown_critical_kind_stops_claims_plans_completions_and_admissions_only() {
    let (mut alice, _, _) = cluster();
    let (run, job) = alice.submit_task("a");
    let claim = alice.claim(run, job);
    alice.write_raw(Kind::from_number(0x9000), b"");
    let body = alice.claim_body(run, job);
    let plan = JobsPlanned { run, submission: claim, rules_version: 1, consumed: vec![], jobs: vec![] };
    let done = completed(run, job, claim, Conclusion::Success, "");
    for command in [
        Command::Claim(body),
        Command::Complete(done),
        Command::Plan(plan),
        Command::Admit(admitted(peer("x"), Roles::NONE)),
    ] {
        assert_refused!(alice, command, Refusal::MustUpgrade { .. });
    }
    alice.submit_task("another");
    alice.ask(Command::Release(JobReleased { run, job, claim, reason: ReleaseReason::Draining }));
    alice.ask(Command::Cancel { run, reason: String::new() });
}

#[test]
fn whoever_lacks_the_role_is_told_which() {
    let (mut alice, mut dave, mut guest) = cluster();
    let (run, job) = alice.submit_task("a");
    guest.sync_from(&alice);
    dave.sync_from(&alice);
    let submission = alice.run(&run).canonical.unwrap();
    let claim = guest.claim_body(run, job);
    let plan =
        JobsPlanned { run, submission, rules_version: 1, consumed: vec![], jobs: vec![planned("a", &["x"])] };
    let failed = JobFailed {
        run,
        job,
        claim: None,
        submission,
        error: String::new(),
        infrastructure: true,
        retry: false,
    };
    let cancel = Command::Cancel { run, reason: String::new() };
    let label = PeerLabelled { peer: peer("dave"), labels: vec![], weight: 2 };
    let asked = [
        (submit(task("b")), "submitter"),
        (Command::Claim(claim), "executor"),
        (Command::Fail(failed), "executor"),
        (Command::Plan(plan), "submitter"),
        (cancel.clone(), "operator"),
        (Command::Prioritise { run, priority_milli: 1 }, "operator"),
        (Command::Invite(invited(&signer("i"), Roles::NONE)), "admin"),
        (Command::Admit(admitted(peer("x"), Roles::NONE)), "admin"),
        (Command::Label(label), "admin"),
        (Command::Revoke(PeerRevoked { peer: peer("dave"), reason: String::new(), cuts: vec![] }), "admin"),
    ];
    for (command, needed) in asked {
        match guest.try_ask(command) {
            Err(Refusal::Role { role, .. }) => assert_eq!(role, needed),
            other => panic!("{needed}: {other:?}"),
        }
    }
    assert_refused!(dave, cancel.clone(), Refusal::Role { role: "operator", .. });
    alice.ask(cancel);
}

#[test]
fn unknown_runs_and_jobs_are_named() {
    let (mut alice, _, _) = cluster();
    let nowhere = RunId::from_bytes([1; 32]);
    let job = JobId::from_bytes([1; 32]);
    let claim = EventId::from_bytes([1; 32]);
    assert_refused!(alice, Command::Cancel { run: nowhere, reason: String::new() }, Refusal::UnknownRun(_));
    let (run, _) = alice.submit_task("a");
    assert_refused!(alice, Command::Start(JobStarted { run, job, claim }), Refusal::UnknownJob { .. });
}

#[test]
fn one_trigger_key_is_one_run() {
    let (mut alice, _, _) = cluster();
    alice.submit_task("a");
    assert!(is_so(&alice, submit(task("a"))));
    let other = RunSubmitted { metadata_json: "{\"x\":1}".into(), ..task("a") };
    assert_refused!(alice, submit(other), Refusal::Conflict { .. });
}

#[test]
fn a_held_claim_is_not_claimed_again_and_a_lost_one_only_by_superseding_it() {
    let (mut alice, mut dave, _) = cluster();
    let (run, job) = alice.submit_task("a");
    let first = alice.claim_body(run, job);
    assert_refused!(
        alice,
        Command::Claim(JobClaimed { epoch: 2, supersedes: Some(first.submission), ..first.clone() }),
        Refusal::Pointless(_)
    );
    let claim = alice.claim(run, job);
    assert_refused!(alice, Command::Claim(first), Refusal::Claimed { epoch: 1, .. });
    let again = alice.claim_body(run, job);
    assert_refused!(alice, Command::Claim(again), Refusal::Claimed { epoch: 1, .. });
    dave.sync_from(&alice);
    let greater = dave.claim(run, job);
    alice.sync_from(&dave);
    assert_eq!(alice.run(&run).jobs[&job].effective, Some(greater));
    assert_refused!(alice, Command::Start(JobStarted { run, job, claim }), Refusal::Claimed { epoch: 2, .. });
}

#[test]
fn only_the_holder_speaks_for_a_claim_and_only_once() {
    let (mut alice, mut dave, _) = cluster();
    let (run, job) = alice.submit_task("a");
    let claim = alice.claim(run, job);
    dave.sync_from(&alice);
    let release = Command::Release(JobReleased { run, job, claim, reason: ReleaseReason::GivenBack });
    assert_refused!(
        dave,
        release.clone(),
        Refusal::NotHeld { why: "it is of another peer or of an earlier start of this one", .. }
    );
    let nothing = EventId::from_bytes([3; 32]);
    assert_refused!(
        alice,
        Command::Start(JobStarted { run, job, claim: nothing }),
        Refusal::NotHeld { why: "no such claim is valid", .. }
    );
    alice.ask(Command::Start(JobStarted { run, job, claim }));
    assert!(is_so(&alice, Command::Start(JobStarted { run, job, claim })));
    alice.ask(release.clone());
    assert_refused!(alice, release, Refusal::NotHeld { why: "it has ended", .. });
    let claim = alice.claim(run, job);
    alice.restart(1);
    let done = completed(run, job, claim, Conclusion::Success, "");
    assert_refused!(alice, Command::Complete(done), Refusal::NotHeld { .. });
}

#[test]
fn what_has_ended_is_not_begun_cancelled_or_hurried() {
    let (mut alice, _, _) = cluster();
    let (run, job) = alice.submit_task("a");
    let claim = alice.claim(run, job);
    alice.ask(Command::Complete(completed(run, job, claim, Conclusion::Success, "")));
    let claim = alice.claim_body(run, job);
    let plan =
        JobsPlanned { run, submission: claim.submission, rules_version: 1, consumed: vec![], jobs: vec![] };
    for command in [
        Command::Claim(claim),
        Command::Plan(plan),
        Command::Cancel { run, reason: String::new() },
        Command::Prioritise { run, priority_milli: 1 },
    ] {
        assert_refused!(alice, command, Refusal::Ended { status: Status::Completed, .. });
    }
    assert!(is_so(&alice, Command::Expire { run, waited_ms: 1 }));
    alice.views.runs_mut().let_go(0);
    assert_refused!(alice, Command::Cancel { run, reason: String::new() }, Refusal::Ended { .. });
    assert!(is_so(&alice, submit(task("a"))));
}

#[test]
fn after_a_cancel_a_job_may_only_end_as_cancelled() {
    let (mut alice, _, _) = cluster();
    let (run, job) = alice.submit_task("a");
    let claim = alice.claim(run, job);
    alice.ask(Command::Cancel { run, reason: "no".into() });
    assert!(is_so(&alice, Command::Cancel { run, reason: "no".into() }));
    assert_refused!(alice, Command::Start(JobStarted { run, job, claim }), Refusal::Cancelled(_));
    let done = |conclusion| Command::Complete(completed(run, job, claim, conclusion, ""));
    assert_refused!(alice, done(Conclusion::Success), Refusal::Cancelled(_));
    alice.ask(done(Conclusion::Cancelled));
}

#[test]
fn a_claim_that_the_folds_would_call_void_is_not_written() {
    let (mut alice, mut dave, _) = cluster();
    let here = RunSubmitted { placement: Placement::Author, ..task("here") };
    let run = here.run();
    alice.ask(submit(here));
    dave.sync_from(&alice);
    let job = *dave.run(&run).jobs.keys().next().unwrap();
    let body = dave.claim_body(run, job);
    assert_refused!(dave, Command::Claim(body), Refusal::NotEligible { .. });
    alice.claim(run, job);
    let flow = workflow("flow", &["build"]);
    let run = flow.run();
    let mut on_gpu = planned("build", &["x"]);
    on_gpu.legs[0].runs_on = vec!["gpu".into()];
    alice.ask(Command::Submit { submission: Box::new(flow), plan: vec![on_gpu.clone()], blobs: vec![] });
    let body = alice.claim_body(run, job_of(&run, &on_gpu, 0));
    assert_refused!(alice, Command::Claim(body.clone()), Refusal::NotEligible { .. });
    let unknown = JobClaimed { submission: EventId::from_bytes([1; 32]), ..body };
    assert_refused!(alice, Command::Claim(unknown), Refusal::NotEligible { .. });
}

#[test]
fn a_node_that_gave_its_claim_back_often_may_claim_again() {
    let (mut alice, _, _) = cluster();
    let (run, job) = alice.submit_task("a");
    for number in 1..=12 {
        let claim = alice.claim(run, job);
        assert_eq!(alice.run(&run).jobs[&job].effective, Some(claim), "claim {number}");
        alice.ask(Command::Release(JobReleased { run, job, claim, reason: ReleaseReason::GroupFull }));
    }
    // lost after it started, again and again: six claims are looked at, five of them lost
    for number in 2..=7 {
        let claim = alice.claim(run, job);
        alice.ask(Command::Start(JobStarted { run, job, claim }));
        alice.restart(number);
    }
    assert_eq!(alice.run(&run).jobs[&job].lost_after_start(), 5);
    let before = alice.run(&run).jobs[&job].effective;
    let body = alice.claim_body(run, job);
    let seventh = alice.write(body);
    let shown = &alice.run(&run).jobs[&job];
    assert!(shown.is_used_up(&alice.peer()) && shown.void == [seventh] && shown.effective == before);
}

#[test]
fn only_members_are_revoked_and_labelled_and_only_members_give_up() {
    let (mut alice, _, mut guest) = cluster();
    let nobody = peer("nobody");
    let revoke = Command::Revoke(PeerRevoked { peer: nobody, reason: String::new(), cuts: vec![] });
    assert_refused!(alice, revoke, Refusal::NotAMember(_));
    let label = Command::Label(PeerLabelled { peer: nobody, labels: vec![], weight: 1 });
    assert_refused!(alice, label, Refusal::NotAMember(_));
    let (run, _) = alice.submit_task("a");
    guest.sync_from(&alice);
    guest.revoke(guest.peer());
    assert_refused!(guest, Command::Expire { run, waited_ms: 1 }, Refusal::NotAMember(_));
    alice.ask(Command::Expire { run, waited_ms: 1 });
}

#[test]
fn an_invite_is_looked_at_before_anybody_is_let_in() {
    let (mut alice, mut dave, _) = cluster();
    let (cluster, key) = (alice.log.cluster(), signer("invite"));
    let invite = alice.ask(Command::Invite(invited(&key, Roles::MEMBER)));
    dave.sync_from(&alice);
    let with = |peer, invite, key: &Signer| Command::Admit(admitted_by_invite(&cluster, peer, invite, key));
    let carol = peer("carol");
    let why = |node: &mut Node, command| match node.try_ask(command) {
        Err(Refusal::Invite { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    let nothing = EventId::from_bytes([4; 32]);
    assert_eq!(why(&mut dave, with(carol, nothing, &key)), "no such invite is known here");
    assert_eq!(why(&mut dave, with(carol, invite, &signer("guess"))), "the signature is not the invite's");
    dave.ask(with(carol, invite, &key));
    assert!(is_so(&dave, with(carol, invite, &key)));
    assert_eq!(why(&mut dave, with(peer("zoe"), invite, &key)), "it was used before; ask for a new one");
    alice.sync_from(&dave);
    alice.revoke(carol);
    let again = Command::Admit(admitted(carol, Roles::MEMBER));
    assert!(why(&mut alice, again).starts_with("it was revoked"));
    let mut only_admin = Node::joining("frank", cluster);
    alice.ask(Command::Admit(admitted(peer("frank"), Roles::NONE.with(Role::Admin))));
    only_admin.sync_from(&alice);
    assert_refused!(only_admin, Command::Invite(invited(&key, Roles::ALL)), Refusal::Pointless(_));
}

#[test]
fn what_no_other_node_would_take_is_not_sealed() {
    let (mut alice, _, _) = cluster();
    let before = alice.log.events_len();
    let nameless = RunSubmitted { trigger_key: b"sourceless".to_vec(), ..task("a") };
    assert_refused!(alice, submit(nameless), Refusal::Format(_));
    let plan = vec![planned("build", &["same", "same"])];
    let submission = Box::new(workflow("w", &["build"]));
    assert_refused!(alice, Command::Submit { submission, plan, blobs: vec![] }, Refusal::Format(_));
    let blobs = vec![BlobId::from_bytes([1; 32]); BLOBS_MAX + 1];
    let command = Command::Submit { submission: Box::new(task("b")), plan: vec![], blobs };
    assert_refused!(alice, command, Refusal::Format(_));
    let unknown = RunSubmitted { rerun_of: Some(EventId::from_bytes([6; 32])), ..task("c") };
    assert_refused!(alice, submit(unknown), Refusal::Format(_));
    assert_eq!(alice.log.events_len(), before);
    let (run, _) = alice.submit_task("d");
    let reason = "x".repeat(TEXT_BYTES_MAX + 1);
    assert_refused!(alice, Command::Cancel { run, reason }, Refusal::Format(_));
}

#[test]
fn saying_the_same_again_writes_nothing() {
    let (mut alice, _, _) = cluster();
    let described = PeerDescribed { name: "a".into(), addresses: vec![], version: "1".into() };
    alice.ask(Command::Describe(described.clone()));
    assert!(is_so(&alice, Command::Describe(described)));
    assert!(is_so(&alice, Command::Admit(admitted(peer("dave"), Roles::ALL))));
    let flow = workflow("flow", &["build"]);
    let run = flow.run();
    let plan = vec![planned("build", &["x"])];
    let submission =
        alice.ask(Command::Submit { submission: Box::new(flow), plan: plan.clone(), blobs: vec![] });
    assert!(is_so(
        &alice,
        Command::Plan(JobsPlanned { run, submission, rules_version: 1, consumed: vec![], jobs: plan })
    ));
    assert!(is_so(&alice, Command::Prioritise { run, priority_milli: 3000 }));
}
