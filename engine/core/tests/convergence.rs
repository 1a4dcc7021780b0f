//! One set of events gives one set of views: whatever the order of arrival, however often something arrives, and whether or not
//! finished runs left memory in between. An independent oracle says what the views must be.
//!
//! The histories come from real nodes; what honest nodes never write is sealed past `decide`. Arrival orders are not causal:
//! frames wait in [`Pending`] as they do in a running node. A failing order prints its seed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "functions of tests fail by panicking")]

mod building;
mod oracle;

use std::collections::BTreeSet;

use building::*;
use proptest::prelude::*;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wfengine_core::command::Command;
use wfengine_core::pending::Pending;
use wfengine_core::time::WallMs;
use wfengine_core::views::job::Status;
use wfengine_core::views::runs::NoHistory;
use wfengine_core::{Admitted, Views};
use wfengine_storage_format::*;

struct Story {
    cluster: ClusterId,
    frames: Vec<VerifiedFrame>,
    /// Tasks by what happens to them.
    runs: Vec<(&'static str, RunId)>,
}

fn sync_all(nodes: &mut [&mut Node]) {
    for _ in 0..2 {
        for from in 0..nodes.len() {
            for to in 0..nodes.len() {
                if from != to {
                    let source = nodes[from].clone();
                    nodes[to].sync_from(&source);
                }
            }
        }
    }
}

/// Everything the design says must converge, in about a hundred frames.
fn story() -> Story {
    let mut runs = Vec::new();
    let mut alice = Node::founding("alice");
    let cluster = alice.log.cluster();
    let key = signer("invite");
    for (name, roles) in [
        ("bob", Roles::ALL),
        ("dave", Roles::MEMBER),
        ("erin", Roles::ALL),
        ("mallory", Roles::ALL),
        ("quentin", Roles::ALL),
    ] {
        alice.ask(Command::Admit(admitted(peer(name), roles)));
    }
    let invite = alice.ask(Command::Invite(invited(&key, Roles::MEMBER)));
    let join = |name| Node::joining(name, cluster);
    let (mut bob, mut carol, mut dave) = (join("bob"), join("carol"), join("dave"));
    let (mut erin, mut mallory, mut quentin) = (join("erin"), join("mallory"), join("quentin"));
    macro_rules! sync {
        ($($node:ident),*) => { sync_all(&mut [$(&mut $node),*]) };
    }
    sync!(alice, bob, dave, erin, mallory, quentin);

    // two admissions by one invite, concurrently: carol's or zoe's holds
    bob.ask(Command::Admit(admitted_by_invite(&cluster, peer("carol"), invite, &key)));
    dave.ask(Command::Admit(admitted_by_invite(&cluster, peer("zoe"), invite, &key)));
    let mut zoe = join("zoe");
    sync!(alice, bob, carol, dave, erin, mallory, quentin, zoe);
    let (late, _) = {
        zoe.write(PeerDescribed { name: "zoe".into(), addresses: vec![], version: "1".into() });
        let body = task("by zoe");
        let run = body.run();
        zoe.write(body);
        let body = task("by carol");
        carol.write(body.clone());
        (run, body.run())
    };
    runs.push(("whoever was admitted", late));

    // a heavier weight and a submission that does not know of it
    alice.ask(Command::Label(PeerLabelled { peer: peer("dave"), labels: vec!["fast".into()], weight: 3 }));
    let (ranked_before, ranked_job) = bob.submit_task("ranked before");
    sync!(alice, bob, dave, erin);
    dave.claim(ranked_before, ranked_job);

    // rival claims of one epoch; both execute; the results differ
    let (rival, job) = alice.submit_task("rival");
    sync!(alice, bob, dave);
    for (node, result) in [(&mut bob, "1"), (&mut dave, "2"), (&mut alice, "1")] {
        let claim = node.claim(rival, job);
        node.ask(Command::Start(JobStarted { run: rival, job, claim }));
        node.ask(Command::Complete(completed(rival, job, claim, Conclusion::Success, result)));
    }
    runs.push(("rival", rival));
    sync!(alice, bob, dave, erin);

    // released, claimed anew by two; the greater epoch wins over a late completion of the first epoch
    let (anew, job) = bob.submit_task("anew");
    sync!(alice, bob, dave);
    let first = bob.claim(anew, job);
    let other = dave.claim(anew, job);
    dave.ask(Command::Start(JobStarted { run: anew, job, claim: other }));
    bob.ask(Command::Release(JobReleased { run: anew, job, claim: first, reason: ReleaseReason::Draining }));
    sync!(alice, bob);
    let second = alice.claim(anew, job);
    bob.restart(1);
    let third = bob.claim(anew, job);
    alice.ask(Command::Complete(completed(anew, job, second, Conclusion::Failure, "")));
    dave.ask(Command::Complete(completed(anew, job, other, Conclusion::Success, "")));
    bob.ask(Command::Start(JobStarted { run: anew, job, claim: third }));
    bob.write(StepFinished {
        run: anew,
        job,
        claim: third,
        number: 1,
        name: "make".into(),
        conclusion: Conclusion::Success,
        duration_ms: 1,
    });
    bob.ask(Command::Abort(JobAborted {
        run: anew,
        job,
        claim: third,
        by: AbortReason::Stopped,
        steps_done: 2,
    }));
    runs.push(("anew", anew));
    sync!(alice, bob, dave, erin, quentin);

    // cancel after, before and beside a completion
    for order in ["cancel after", "cancel before", "cancel beside"] {
        let (run, job) = alice.submit_task(order);
        let claim = alice.claim(run, job);
        sync!(alice, bob);
        let submission = alice.run(&run).canonical.unwrap();
        let cancel = RunCancelled { run, submission, reason: order.into() };
        let done = completed(run, job, claim, Conclusion::Success, "");
        match order {
            "cancel after" => {
                alice.write(done);
                bob.sync_from(&alice);
                bob.write(cancel);
            }
            "cancel before" => {
                bob.write(cancel);
                alice.sync_from(&bob);
                alice.ask(Command::Complete(completed(run, job, claim, Conclusion::Cancelled, "")));
            }
            _ => {
                alice.write(done);
                bob.write(cancel);
            }
        }
        runs.push((order, run));
    }
    // cancelled, failed, given up, and all of them at once
    for (n, what) in ["cancelled", "failed", "expired", "all at once"].into_iter().enumerate() {
        let (run, job) = erin.submit_task(what);
        sync!(alice, bob, erin);
        let submission = erin.run(&run).canonical.unwrap();
        let failed = |claim| JobFailed {
            run,
            job,
            claim,
            submission,
            error: "lost".into(),
            infrastructure: true,
            retry: n > 2,
        };
        if n == 0 || n == 3 {
            erin.ask(Command::Cancel { run, reason: "no".into() });
        }
        if n == 1 || n == 3 {
            let claim = bob.claim(run, job);
            bob.ask(Command::Fail(failed(Some(claim))));
            alice.write(failed(None));
        }
        if n == 2 || n == 3 {
            dave.write_raw(Kind::from_number(0x7abc), b"unknown");
            alice.write(RunExpired { run, submission, waited_ms: 9 });
        }
        runs.push((what, run));
    }
    sync!(alice, bob, dave, erin);

    // a matrix with fail-fast, planned twice alike and twice differently; priorities; one run submitted by two
    let (build, other) = (planned("build", &["a", "b", "c"]), planned("build", &["a", "d"]));
    let flow = workflow("flow", &["build", "deploy"]);
    let run = flow.run();
    alice.ask(Command::Submit {
        submission: Box::new(flow.clone()),
        plan: vec![build.clone()],
        blobs: vec![],
    });
    let named_otherwise = RunSubmitted { name: "the same".into(), ..flow };
    dave.ask(Command::Submit {
        submission: Box::new(named_otherwise),
        plan: vec![build.clone()],
        blobs: vec![],
    });
    sync!(alice, bob, dave);
    for (leg, conclusion) in [(0, Conclusion::Success), (1, Conclusion::Failure)] {
        let job = job_of(&run, &build, leg);
        let claim = bob.claim(run, job);
        bob.ask(Command::Start(JobStarted { run, job, claim }));
        bob.ask(Command::Complete(completed(run, job, claim, conclusion, "")));
    }
    let consumed = bob.run(&run).jobs.values().filter_map(|job| Some(job.result.as_ref()?.id)).collect();
    let submission = bob.run(&run).canonical.unwrap();
    let plan = |consumed, jobs| JobsPlanned { run, submission, rules_version: 1, consumed, jobs };
    bob.ask(Command::Plan(plan(consumed, vec![planned("deploy", &["x"])])));
    alice.ask(Command::Plan(plan(vec![], vec![planned("deploy", &["x", "y"]), other])));
    alice.ask(Command::Prioritise { run, priority_milli: 1000 });
    dave.ask(Command::Prioritise { run, priority_milli: 2000 });
    alice.write(completed(run, job_of(&run, &build, 2), submission, Conclusion::Success, "no claim"));
    runs.push(("flow", run));
    let (conflict, _) = alice.submit_task("conflict");
    bob.write(RunSubmitted { metadata_json: "{}".into(), ..task("conflict") });
    runs.push(("conflict", conflict));

    // void bodies and kinds nobody knows
    carol.write_raw(Kind::RUN_SUBMITTED, &[0xff; 9]);
    carol.write_raw(Kind::PEER_REVOKED, b"nonsense");
    sync!(alice, bob, carol, dave, erin, quentin);

    // alice starts anew; dave goes on under another key; quentin leaves by himself and goes on writing
    alice.restart(1);
    alice.write(PeerDescribed { name: "alice".into(), addresses: vec!["a:1".into()], version: "1".into() });
    let to = signer("dave's new key");
    let signature = to.sign(&rotation_statement(&cluster, &dave.peer(), &to.peer_id()));
    let cuts = dave.cuts_of(&dave.peer());
    dave.ask(Command::Rotate(KeyRotated { to: to.peer_id(), signature, cuts }));
    dave.write(task("above its rotation"));
    let mut dave_again = Node::joining("dave's new key", cluster);
    dave_again.sync_from(&dave);
    let (rotated, job) = dave_again.submit_task("by dave's new key");
    dave_again.claim(rotated, job);
    runs.push(("rotated", rotated));
    quentin.submit_task("before leaving");
    let cuts = quentin.cuts_of(&quentin.peer());
    quentin.ask(Command::Revoke(PeerRevoked { peer: quentin.peer(), reason: "bye".into(), cuts }));
    quentin.write(task("after leaving"));

    // bob and erin revoke each other, concurrently; erin, cut off, lets frank in, who submits and revokes bob once more
    let (contested, contested_job) = erin.submit_task("contested");
    sync!(bob, erin);
    erin.claim(contested, contested_job);
    bob.revoke(erin.peer());
    erin.revoke(bob.peer());
    erin.write(admitted(peer("frank"), Roles::ALL));
    let mut frank = join("frank");
    frank.sync_from(&erin);
    frank.submit_task("by frank");
    frank.revoke(bob.peer());
    erin.claim_body(contested, contested_job);
    let (of_both, job) = bob.submit_task("seen by all");
    frank.sync_from(&bob);
    let claim = frank.claim_body(of_both, job);
    frank.write(claim);
    runs.push(("contested", contested));

    // mallory forks: two frames at one place, each with what the other does not have; some name one, some the other
    mallory.submit_task("before the fork");
    let mut twin = mallory.clone();
    mallory.submit_task("in one branch");
    mallory.write(admitted(peer("zack"), Roles::ALL));
    twin.submit_task("in the other branch");
    twin.submit_task("in the other branch, later");
    twin.write(PeerLabelled { peer: peer("alice"), labels: vec!["forked".into()], weight: 2 });
    alice.sync_from(&mallory);
    carol.sync_from(&twin);
    let (named_one, job) = alice.submit_task("names one branch");
    alice.claim(named_one, job);
    carol.write(task("names the other branch"));
    alice.sync_from(&carol);
    for proof in alice.proofs.clone() {
        // others may have proved the same at the same time: every proof stands in the story, asked for or not
        if alice.try_ask(Command::ProveFork(proof.clone())).unwrap().is_empty() {
            alice.write(proof.clone());
        }
        assert_eq!(alice.try_ask(Command::ProveFork(proof)), Ok(vec![]), "a fork is proved once");
    }
    runs.push(("names one branch", named_one));
    carol.write_raw(Kind::from_number(0x9001), b"critical");
    let nodes = [&alice, &bob, &carol, &dave, &dave_again, &erin, &frank, &mallory, &quentin, &twin, &zoe];
    Story { cluster, frames: all_frames(&nodes), runs }
}

/// A node that sees nothing but what arrives.
fn receiver(cluster: ClusterId, frames: &[VerifiedFrame]) -> (Node, Pending) {
    let mut node = Node::joining("a reader", cluster);
    let mut pending = Pending::default();
    for frame in frames {
        node.receive(&mut pending, frame.clone());
    }
    (node, pending)
}

fn shuffled(frames: &[VerifiedFrame], seed: u64) -> Vec<VerifiedFrame> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut order = frames.to_vec();
    if seed.is_multiple_of(3) {
        order.shuffle(&mut rng);
    } else {
        // close to the order of writing: what is late is late by a little
        for place in 1..order.len() {
            let other = place.saturating_sub(rng.random_range(0..12));
            order.swap(place, other);
        }
    }
    order
}

#[test]
fn the_story_holds_what_it_is_told_for() {
    let story = story();
    let chains: BTreeSet<ChainId> = story.frames.iter().map(|frame| frame.header().chain).collect();
    assert!(chains.len() >= 12, "{} chains", chains.len());
    let (node, pending) = receiver(story.cluster, &story.frames);
    assert!(pending.is_empty(), "{:?}", pending.needs().collect::<Vec<_>>());
    let status = |what| {
        let (_, run) = story.runs.iter().find(|(name, _)| *name == what).unwrap();
        node.run(run).status
    };
    assert_eq!(status("cancel after"), Status::Completed);
    assert_eq!(status("cancel before"), Status::Cancelled);
    assert_eq!(status("cancel beside"), Status::Completed);
    assert_eq!(status("failed"), Status::Failed);
    assert_eq!(status("expired"), Status::Expired);
    assert_eq!(status("all at once"), Status::Cancelled);
    let run = |what| node.run(&story.runs.iter().find(|(name, _)| *name == what).unwrap().1);
    assert!(run("flow").divergent_plan && !run("flow").conflict && run("conflict").conflict);
    let rival = run("rival").jobs.values().next().unwrap();
    assert_eq!((rival.claims.len(), rival.duplicates.len(), rival.divergent), (3, 2, true));
    let roster = node.views.authority().roster();
    let is_member = |name| roster.member(&peer(name)).is_some();
    assert!(is_member("bob") && !is_member("erin") && !is_member("frank") && !is_member("dave"));
    assert!(is_member("mallory") && !is_member("zack") && is_member("dave's new key"));
    assert!(is_member("carol") != is_member("zoe"));
    assert_eq!(roster.forked_chains().len(), 1);
    assert!(node.views.void_len() >= 2 && node.views.must_upgrade().is_some());
}

#[test]
fn a_thousand_orders_of_arrival_give_the_same_views() {
    let story = story();
    let (mut first, _) = receiver(story.cluster, &story.frames);
    let expected = first.shown();
    let digest = first.views.digest();
    let check = |seed: u64| {
        let (mut node, pending) = receiver(story.cluster, &shuffled(&story.frames, seed));
        assert!(pending.is_empty(), "seed {seed}: {:?}", pending.needs().collect::<Vec<_>>());
        let same = node.views.digest() == digest && (!seed.is_multiple_of(10) || node.shown() == expected);
        assert!(same, "seed {seed}: {}", difference(&expected, &node.shown()));
    };
    std::thread::scope(|scope| {
        scope.spawn(|| (0..500).for_each(check));
        scope.spawn(|| (500..1000).for_each(check));
    });
}

/// The first lines in which two texts differ.
fn difference(expected: &str, found: &str) -> String {
    let (expected, found): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    let at = (1..expected.len().min(found.len())).find(|at| expected[*at] != found[*at]).unwrap_or(0);
    let around = |lines: &[&str]| lines[at.saturating_sub(30)..lines.len().min(at + 5)].join("\n");
    format!("line {at}\nexpected:\n{}\nfound:\n{}", around(&expected), around(&found))
}

#[test]
fn admitting_twice_equals_once() {
    let story = story();
    for seed in 0..20 {
        let order = shuffled(&story.frames, seed);
        let (mut once, _) = receiver(story.cluster, &order);
        let (mut again, mut pending) = receiver(story.cluster, &order);
        let doubled: Vec<VerifiedFrame> =
            order.iter().flat_map(|frame| [frame.clone(), frame.clone()]).collect();
        let (mut at_once, _) = receiver(story.cluster, &doubled);
        for frame in shuffled(&story.frames, seed + 1) {
            again.receive(&mut pending, frame);
        }
        for twice in [&mut again, &mut at_once] {
            assert!(
                twice.shown() == once.shown(),
                "seed {seed}: {}",
                difference(&once.shown(), &twice.shown())
            );
            assert_eq!(twice.log.to_parts(), once.log.to_parts(), "seed {seed}");
            assert_eq!(twice.views.void_len(), once.views.void_len());
            assert_eq!(twice.views.unknown(), once.views.unknown());
        }
    }
}

#[test]
fn a_run_that_left_memory_comes_back_with_a_late_event() {
    let story = story();
    let (mut never, _) = receiver(story.cluster, &story.frames);
    for seed in 0..20 {
        let mut node = Node::joining("a reader", story.cluster);
        let mut pending = Pending::default();
        for (at, frame) in shuffled(&story.frames, seed).into_iter().enumerate() {
            node.receive(&mut pending, frame);
            if at.is_multiple_of(7) {
                node.views.runs_mut().let_go(at % 3);
            }
        }
        assert_eq!(node.views.digest(), never.views.digest(), "seed {seed}");
        node.views.runs_mut().let_go(0);
        assert!(node.views.runs().finished().len() > 5);
        assert_eq!(node.views.digest(), never.views.digest(), "seed {seed}");
        for run in never.views.runs().all_live() {
            let again = node.views.runs().run(&run.id, node.views.authority(), &node.stored);
            let shows = !run.submissions.is_empty();
            assert!(!shows || again.as_ref() == Some(run), "seed {seed}");
        }
    }
}

/// Tasks that several execute who are cut off below what they wrote: one forks, two are revoked. Then somebody new comes.
fn story_of_cuts() -> Story {
    let mut alice = Node::founding("alice");
    let cluster = alice.log.cluster();
    for name in ["bob", "carol", "dave"] {
        alice.ask(Command::Admit(admitted(peer(name), Roles::MEMBER)));
    }
    let tasks: Vec<_> = (0..12).map(|n| alice.submit_task(&format!("task {n}"))).collect();
    let joined = |name, from: &Node| {
        let mut node = Node::joining(name, cluster);
        node.sync_from(from);
        node
    };
    let [mut bob, mut carol, mut dave] = ["bob", "carol", "dave"].map(|name| joined(name, &alice));
    let execute = |node: &mut Node, tasks: &[(RunId, JobId)], result: &str| {
        for (run, job) in tasks {
            let claim = node.claim(*run, *job);
            node.ask(Command::Complete(completed(*run, *job, claim, Conclusion::Success, result)));
        }
    };
    execute(&mut bob, &tasks[..8], "bob's");
    execute(&mut carol, &tasks[2..4], "carol's");
    let mut twin = carol.clone();
    execute(&mut carol, &tasks[4..10], "carol's");
    execute(&mut twin, &tasks[4..], "the twin's");
    execute(&mut dave, &tasks[6..], "dave's");
    // whoever refuses the twin's branch knows no submission of this run
    let refused = twin.submit_task("the twin's own");
    dave.sync_from(&twin);
    execute(&mut dave, &[refused], "dave's");
    for node in [&bob, &carol, &dave, &twin] {
        alice.sync_from(node);
    }
    let revoke_half = |alice: &mut Node, who: &Node| {
        let mut cuts = alice.cuts_of(&who.peer());
        cuts.iter_mut().for_each(|cut| cut.length /= 2);
        alice.write(PeerRevoked { peer: who.peer(), reason: "half".into(), cuts });
    };
    revoke_half(&mut alice, &bob);
    let proof = alice.proofs.remove(0);
    alice.ask(Command::ProveFork(proof));
    alice.ask(Command::Admit(admitted(peer("erin"), Roles::MEMBER)));
    revoke_half(&mut alice, &dave);
    let (mut erin, mut pending) = (Node::joining("erin", cluster), Pending::default());
    all_frames(&[&alice, &twin]).into_iter().for_each(|frame| erin.receive(&mut pending, frame));
    let (run, job) = erin.submit_task("erin's");
    execute(&mut erin, &[tasks[9], tasks[11], (run, job)], "erin's");
    Story { cluster, frames: all_frames(&[&alice, &bob, &carol, &twin, &dave, &erin]), runs: Vec::new() }
}

/// Folds frames as a store does, beside a fold of one event after the other: those that are committed in one go are stored, then
/// folded in one go, and after each go the views are the same. Between them finished runs leave memory, and the views are restored
/// from what a checkpoint keeps. Says how often an authority event stood between others of one go.
fn fold_together(
    cluster: ClusterId,
    mut frames: &[VerifiedFrame],
    rng: &mut ChaCha8Rng,
    forgets: bool,
) -> usize {
    let (mut one, mut again) = (Node::joining("a reader", cluster), Node::joining("a store", cluster));
    let (mut mixed, len_max) = (0, *[1, 4, 16, 64, usize::MAX].choose(rng).unwrap());
    while !frames.is_empty() {
        let (chunk, rest) = frames.split_at(rng.random_range(1..=frames.len().min(len_max)));
        let mut events = Vec::new();
        for frame in chunk {
            let of_frame = Admitted::of_kept_frame(frame, WallMs(1));
            again.stored.keep(frame, &of_frame);
            events.extend(of_frame);
        }
        for event in &events {
            one.views.apply(event, &NoHistory);
        }
        again.views.apply_all(&events, &again.stored);
        let left = frames.len();
        assert_eq!(one.views.digest(), again.views.digest(), "{} of the last {left} frames", chunk.len());
        let mut kinds = events.iter().skip_while(|event| event.run().is_none());
        let amid = kinds.any(|event| event.kind.is_authority()) && kinds.any(|event| event.run().is_some());
        mixed += usize::from(amid);
        if forgets {
            again.views.runs_mut().let_go(rng.random_range(0..6));
            if rest.is_empty() || rng.random_ratio(1, 4) {
                again.views = restored(&again);
            }
        }
        frames = rest;
    }
    assert_same_views(&mut one, &mut again);
    mixed
}

/// Views as they come back from a checkpoint.
fn restored(node: &Node) -> Views {
    let mut events: Vec<_> = node.views.events().collect();
    events.sort_by_key(|event| (!event.kind.is_authority(), event.order()));
    let mut views = Views::new(node.log.cluster());
    views.apply_all(events, &NoHistory);
    views.runs_mut().restore_finished(node.views.runs().finished().clone());
    views.restore_leftovers(node.views.leftovers());
    views.restore_runners(node.views.runners().parts());
    views
}

/// Whether two views of the same events are the same, byte for byte.
fn assert_same_views(one: &mut Node, other: &mut Node) {
    let run = |node: &Node, id: &RunId| {
        let run = node.views.runs().run(id, node.views.authority(), &node.stored);
        to_canonical(&run.unwrap())
    };
    let ids = |node: &Node| {
        let runs = node.views.runs();
        let ids = runs.all_live().map(|run| run.id).chain(runs.finished().keys().copied());
        ids.collect::<BTreeSet<_>>()
    };
    assert_eq!(ids(one), ids(other));
    for id in ids(one) {
        assert!(run(one, &id) == run(other, &id), "run {id}");
    }
    assert_eq!(one.views.leftovers(), other.views.leftovers());
    if other.views.runs().finished().is_empty() {
        let (one, other) = (one.shown(), other.shown());
        assert!(one == other, "{}", difference(&one, &other));
    }
}

#[test]
fn events_folded_together_give_the_views_of_one_after_the_other() {
    for (name, story) in [("everything", story()), ("cuts", story_of_cuts())] {
        let mut mixed = 0;
        for seed in 0..40 {
            println!("{name}, seed {seed}");
            let (node, _) = receiver(story.cluster, &shuffled(&story.frames, seed));
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            for forgets in [false, true] {
                mixed += fold_together(story.cluster, &node.stored.frames, &mut rng, forgets);
            }
        }
        assert!(mixed >= 10, "{name}: an authority event stood amid others {mixed} times");
    }
}

#[test]
fn the_story_is_as_the_oracle_says() {
    let story = story();
    let (node, _) = receiver(story.cluster, &story.frames);
    oracle::compare(story.cluster, &story.frames, &node);
}

/// One step of a random history: who, what, and two numbers to choose by.
type Step = (u8, u8, u8, u8);

const NAMES: [&str; 5] = ["alice", "bob", "carol", "dave", "erin"];

/// Lets five nodes do what the steps say, mostly sense, sometimes not, and seldom telling each other.
fn random_history(steps: &[Step]) -> (ClusterId, Vec<VerifiedFrame>) {
    let mut alice = Node::founding("alice");
    let cluster = alice.log.cluster();
    let all =
        [("bob", Roles::ALL), ("carol", Roles::MEMBER), ("dave", Roles::MEMBER), ("auditor", Roles::NONE)];
    for (name, roles) in all {
        alice.write(admitted(peer(name), roles));
    }
    // something to quarrel about from the first step on
    alice.write(task("task 0"));
    let flow = discovered(0);
    let (run, plan) = (flow.run(), vec![planned("build", &["a", "b"])]);
    let submission = alice.write(flow);
    alice.write(JobsPlanned { run, submission, rules_version: 1, consumed: vec![], jobs: plan });
    let mut nodes = vec![alice];
    nodes.extend(NAMES[1..].iter().map(|name| Node::joining(name, cluster)));
    for at in 1..4 {
        let source = nodes[0].clone();
        nodes[at].sync_from(&source);
    }
    let mut twins = 0;
    for (number, &(who, what, a, b)) in steps.iter().enumerate() {
        let (at, a, b) = (usize::from(who) % nodes.len(), usize::from(a), usize::from(b));
        let other = nodes[a % nodes.len()].clone();
        let node = &mut nodes[at];
        // erin is let in by chance, and knows nothing before
        if node.log.chains().is_empty() || !node.views.authority().roster().was_ever_member(&node.peer()) {
            node.sync_from(&other);
            continue;
        }
        // two processes with one identity and one incarnation: from here on the chain forks
        if what % 20 == 4 && b % 4 == 1 && twins < 3 {
            let twin = node.clone();
            twins += 1;
            nodes.push(twin);
            continue;
        }
        step(node, &other, usize::from(what), a, b, number);
    }
    let frames = all_frames(&nodes.iter().collect::<Vec<_>>());
    let mut auditor = Node::joining("auditor", cluster);
    let mut pending = Pending::default();
    for frame in frames {
        auditor.receive(&mut pending, frame);
    }
    for proof in auditor.proofs.clone() {
        auditor.write(proof);
    }
    nodes.push(auditor);
    (cluster, all_frames(&nodes.iter().collect::<Vec<_>>()))
}

fn write(node: &mut Node, body: impl Into<Body>) {
    node.write(body);
}

/// A run that discovery submitted; of every third the tags forbid that it leaves the peers.
fn discovered(n: usize) -> RunSubmitted {
    let tag = if n % 3 == 2 { "p2p-only" } else { "p2p-eligible" };
    let flow = workflow(&format!("flow {n}"), &["build", "test"]);
    let (sha, ref_name) = ("5".to_owned(), "refs/heads/main".to_owned());
    let (repository, actor) = (repository(0).name, "ann".to_owned());
    let frozen = Frozen { repository, ref_name, sha, actor, ..Frozen::default() };
    RunSubmitted { origin: Origin::Discovery, tags: vec![tag.to_owned()], frozen, ..flow }
}

fn repository(n: usize) -> RepositoryRef {
    let name = format!("owner/{}", n % 3);
    RepositoryRef { source: "github.com".into(), id: (n % 2).to_string(), name }
}

/// What is written of the world outside.
fn step_outside(node: &mut Node, known: &wfengine_core::views::run::Run, a: usize, b: usize) {
    let (run, Some(submission)) = (known.id, known.canonical) else { return };
    let intent = known.dispatches.get(a % known.dispatches.len().max(1)).map(|dispatch| dispatch.intent);
    let named =
        if a.is_multiple_of(5) { known.submissions.last().map_or(submission, |s| s.id) } else { submission };
    let (path, git_ref) = ("ci.yml".to_owned(), "refs/heads/main".to_owned());
    let outcome = match a % 3 {
        0 => EffectOutcome::Done { id: "7".into(), url: "u".into() },
        1 => EffectOutcome::Refused("no".into()),
        _ => EffectOutcome::Unknown("lost".into()),
    };
    match (b / 8 % 8, intent) {
        (0 | 1, _) => {
            let effect = Effect::Dispatch { repository: repository(a), path, git_ref };
            write(node, EffectIntended { run, submission: named, effect });
        }
        (2, _) => {
            let effect = Effect::Check { job: job_id(&run, "build", &Default::default()) };
            write(node, EffectIntended { run, submission: named, effect });
        }
        (3 | 4, Some(intent)) => write(node, EffectDone { run, intent, outcome }),
        (5 | 6, Some(intent)) => {
            let conclusion = [None, Some(Conclusion::Success), Some(Conclusion::Failure)][a % 3];
            write(node, DispatchFollowed { run, intent, id: "7".into(), url: "u".into(), conclusion });
        }
        (_, _) => {
            let (sha, sources) = ("5".to_owned(), (a % 2 == 1).then(|| BlobId::from_bytes([9; 32])));
            let (repository, trigger) = (repository(if a % 4 == 1 { 1 } else { a % 2 * 3 }), Trigger::Found);
            write(
                node,
                TriggerFired { run, repository, path, trigger, git_ref, sha, sources, sources_len: 1 },
            );
        }
    }
}

/// What is written of repositories.
fn step_repository(node: &mut Node, a: usize, b: usize) {
    let (repository, path) = (repository(a), format!("p{}", b / 8 % 2));
    match b / 16 % 4 {
        0 => {
            let outcome =
                if a.is_multiple_of(3) { ScanOutcome::Failed("404".into()) } else { ScanOutcome::Scanned };
            write(
                node,
                RepositoryScanned {
                    repository,
                    outcome,
                    default_branch: "main".into(),
                    head: format!("{b}"),
                    refs: None,
                    files: 1,
                    problems: vec![],
                },
            );
        }
        1 => {
            let (source, name) = (BlobId::from_bytes([u8::try_from(b % 3).unwrap(); 32]), "n".to_owned());
            write(node, WorkflowFound { repository, path, source, name, tags: vec![], remarks: vec![] });
        }
        2 => write(node, WorkflowVanished { repository, path }),
        _ => {
            let scopes = if a.is_multiple_of(2) { vec![] } else { vec![format!("owner:{a}")] };
            write(node, DiscoveryChanged { scopes, interval_ms: 1 });
        }
    }
}

/// What is written of runners, sometimes of another's, and sometimes without naming the intent in its refs.
fn step_runner(node: &mut Node, a: usize, b: usize) {
    let known: Vec<EventId> = node.views.runners().all().map(|runner| runner.intent).collect();
    let name = format!("p{}", a % 2);
    let intent = known.get(a % known.len().max(1)).copied();
    let ends = [
        RunnerEnd::Done { exit_code: 0 },
        RunnerEnd::Failed { what: "f".into() },
        RunnerEnd::NeverStarted { what: "n".into() },
        RunnerEnd::Stopped { why: "s".into() },
    ];
    match (b % 8, intent) {
        (0, _) => write(node, pool(&name, !a.is_multiple_of(3))),
        (3, Some(intent)) => write(node, started(intent, b as u64)),
        (4 | 5, Some(intent)) => write(node, exited(intent, ends[b / 8 % 4].clone())),
        (6, Some(intent)) => write(node, RunnerRemoved { intent }),
        (7, Some(intent)) => drop(node.write_naming(started(intent, b as u64), vec![])),
        _ => write(node, runner(&name, &format!("r{b}"))),
    }
}

fn step(node: &mut Node, other: &Node, what: usize, a: usize, b: usize, number: usize) {
    let flow = discovered;
    let run_of = |n: usize| match n % 8 {
        0..=2 => task("task 0").run(),
        3 => task("task 1").run(),
        4 => flow(1).run(),
        5 => flow(2).run(),
        _ => flow(0).run(),
    };
    let legs = [["a", "b"], ["a", "c"]];
    let run = run_of(a);
    let known = node.views.runs().live(&run).cloned();
    let submission = known.as_ref().and_then(|known| known.canonical);
    let job = known.as_ref().and_then(|known| known.jobs.values().nth(b % known.jobs.len().max(1)).cloned());
    let conclusion = [Conclusion::Success, Conclusion::Failure, Conclusion::Cancelled, Conclusion::Skipped];
    let own = job.as_ref().and_then(|job| {
        job.claims.iter().rfind(|claim| b.is_multiple_of(5) || claim.chain == node.author.chain).cloned()
    });
    match what % 20 {
        0 if b.is_multiple_of(2) => write(node, task(&format!("task {}", a % 2))),
        0 => {
            // two finders count runs for themselves; of every fourth the event differs as well
            let mut found = flow(a % 3);
            found.frozen.run_number = b as u64;
            if b % 8 == 3 {
                found.frozen.actor = "eve".to_owned();
            }
            write(node, found);
        }
        1 | 2 if b.is_multiple_of(3) => node.restart(u8::try_from(number % 200).unwrap() + 1),
        3 => write(node, admitted(peer(NAMES[a % 5]), [Roles::ALL, Roles::MEMBER, Roles::NONE][b % 3])),
        4 if b.is_multiple_of(4) => {
            node.revoke(peer(NAMES[a % 5]));
        }
        4 if b % 4 == 2 => node.proofs.clone().into_iter().for_each(|proof| {
            node.write(proof);
        }),
        5 => {
            let (labels, weight) = (vec![format!("l{b}")], u16::try_from(b % 4 + 1).unwrap());
            node.write(PeerLabelled { peer: peer(NAMES[a % 5]), labels, weight });
        }
        6..=8 => node.sync_from(other),
        9 => (0..3).for_each(|more| step_runner(node, a + more, b + 3 * more)),
        _ => {
            let Some(submission) = submission else { return };
            match (what % 20, job) {
                (10, _) => {
                    let jobs = vec![planned(["build", "test", "task", "lint"][b % 4], &legs[a / 4 % 2])];
                    node.write(JobsPlanned { run, submission, rules_version: 1, consumed: vec![], jobs });
                }
                (11, _) if b.is_multiple_of(8) => {
                    write(node, RunCancelled { run, submission, reason: "r".into() })
                }
                (11, _) if b % 8 == 1 => write(node, RunExpired { run, submission, waited_ms: 1 }),
                (11, _) if b % 8 < 6 => {
                    if let Some(known) = &known {
                        step_outside(node, known, a, b);
                    }
                }
                (11, _) => step_repository(node, a, b),
                (12, _) => write(node, PriorityChanged { run, submission, priority_milli: 1 + b as u32 }),
                (1 | 2 | 13, Some(job)) => write(node, node.claim_body(run, job.id)),
                (14, Some(job)) => {
                    // not what is effective but what there is
                    let before = job.claims.get(b % job.claims.len().max(1));
                    let (epoch, supersedes) =
                        (before.map_or(0, |claim| claim.epoch) + 1, before.map(|c| c.id));
                    node.write(JobClaimed { run, job: job.id, submission, epoch, supersedes });
                }
                (15, Some(job)) => {
                    let claim = own.filter(|_| b.is_multiple_of(2)).map(|claim| claim.id);
                    let (error, infrastructure) = (format!("e{b}"), a.is_multiple_of(2));
                    node.write(JobFailed {
                        run,
                        job: job.id,
                        claim,
                        submission,
                        error,
                        infrastructure,
                        retry: false,
                    });
                }
                (_, Some(job)) => {
                    let Some(claim) = own.map(|claim| claim.id) else { return };
                    let job = job.id;
                    match what % 20 {
                        16 => node.write(JobReleased { run, job, claim, reason: ReleaseReason::Draining }),
                        17 => node.write(JobStarted { run, job, claim }),
                        18 => node.write(JobAborted {
                            run,
                            job,
                            claim,
                            by: AbortReason::Stopped,
                            steps_done: 0,
                        }),
                        _ => node.write(completed(run, job, claim, conclusion[b % 4], &format!("{}", a % 2))),
                    };
                }
                _ => {}
            }
        }
    }
}

/// As many histories as fit into a test of seconds, or as `PROPTEST_CASES` asks for.
fn config() -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let default = ProptestConfig::default();
    ProptestConfig { cases: if asked { default.cases } else { 60 }, max_shrink_iters: 400, ..default }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_histories_converge_to_what_the_oracle_says(
        steps in proptest::collection::vec(any::<Step>(), 0..140),
    ) {
        let (cluster, frames) = random_history(&steps);
        let (mut first, pending) = receiver(cluster, &frames);
        prop_assert!(pending.is_empty());
        oracle::compare(cluster, &frames, &first);
        let expected = first.shown();
        for seed in 0..4 {
            let (mut node, _) = receiver(cluster, &shuffled(&frames, seed));
            let found = node.shown();
            prop_assert!(found == expected, "order {}: {}", seed, difference(&expected, &found));
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            for forgets in [false, true] {
                fold_together(cluster, &node.stored.frames, &mut rng, forgets);
            }
        }
    }
}
