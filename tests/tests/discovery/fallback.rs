//! Runs that no peer takes are handed to GitHub: once, followed there, and only where their workflow says so.

use std::collections::BTreeMap;

use wfengine_core::command::Command;
use wfengine_core::views::job::Status;
use wfengine_core::views::run::Run;
use wfengine_discovery::{Dispatch, OutsideOptions};
use wfengine_storage_format::{Effect, EffectIntended, EffectOutcome, Origin, RunId, RunSubmitted};
use wfengine_tests::standin::{Bucket, ErrorCase, Fault, FaultRule, Level, Selection, TokenKind};

use crate::files::workflow;
use crate::node::{Caches, Node, exchange};
use crate::world::World;

const CI: &str = ".github/workflows/ci.yml";
const DISPATCHES: &str = "/repos/octo/one/actions/workflows/ci.yml/dispatches";

fn falling_back() -> OutsideOptions {
    OutsideOptions { falls_back: true, ..OutsideOptions::default() }
}

fn asking_a_ref() -> OutsideOptions {
    OutsideOptions { asks_a_ref: true, ..falling_back() }
}

/// One repository with one workflow, which was submitted.
async fn scene_of(path: &str, text: &str) -> Option<(World, Node, RunId)> {
    let world = World::new().await?;
    world.repository("octo/one", &[(path, text)]);
    let mut node = world.node("alice");
    let report = node.round().await;
    assert_eq!(report.submitted, 1, "{report:#?}");
    let run = node.runs()[0].id;
    Some((world, node, run))
}

async fn scene() -> Option<(World, Node, RunId)> {
    scene_of(CI, &workflow("p2p-eligible", "workflow_dispatch")).await
}

#[track_caller]
fn run(node: &Node, id: RunId) -> Run {
    wfengine_discovery::Host::watcher(&*node.lab).run(&id).expect("known")
}

fn outcome(run: &Run) -> Option<EffectOutcome> {
    run.dispatches.first().and_then(|dispatch| dispatch.outcome.clone())
}

#[tokio::test]
async fn a_run_is_handed_over_once_and_its_end_is_followed() {
    for (ended, status) in
        [("success", Status::Completed), ("failure", Status::Failed), ("cancelled", Status::Cancelled)]
    {
        let Some((world, mut node, id)) = scene().await else { return };
        let mut outside = node.outside(falling_back());
        outside.hand_over(id).await.expect("handed over");
        assert!(outside.hand_over(id).await.is_err(), "once");
        let handed = run(&node, id);
        assert_eq!(handed.status, Status::Assigned);
        assert!(handed.reason.starts_with("on GitHub: http"), "{}", handed.reason);
        let [dispatched] = world.github.dispatches().try_into().expect("one dispatch");
        assert_eq!(
            (dispatched.repository.as_str(), dispatched.reference.as_str()),
            ("octo/one", "refs/heads/main")
        );
        for caches in [Caches::Kept, Caches::Lost] {
            drop(outside);
            node = node.restarted(caches);
            assert_eq!(node.round().await.submitted, 0);
            outside = node.outside(falling_back());
            assert!(outside.hand_over(id).await.is_err(), "once, also after a restart");
        }
        assert_eq!(outside.tend().await, [""; 0]);
        assert_eq!(run(&node, id).status, Status::Assigned, "GitHub has not begun");
        world.github.start_run(dispatched.run);
        assert_eq!(outside.tend().await, [""; 0]);
        assert_eq!(run(&node, id).status, Status::InProgress);
        world.github.finish_run(dispatched.run, ended);
        assert_eq!(outside.tend().await, [""; 0]);
        assert_eq!(run(&node, id).status, status);
        let (events, moment) = (node.lab.events(), world.moment());
        assert_eq!(outside.tend().await, [""; 0]);
        assert_eq!((node.lab.events(), world.moment()), (events, moment), "what ended is left alone");
        assert_eq!(world.dispatches_asked().len(), 1);
    }
}

#[tokio::test]
async fn the_inputs_and_the_branch_go_with_it() {
    let on = "{workflow_dispatch: {inputs: {module: {required: true}, level: {default: low}}}}";
    let Some(world) = World::new().await else { return };
    world.repository("octo/one", &[(CI, &workflow("p2p-eligible", on))]);
    world.github.push("octo/one", "release/1", &[("a", Some(b"a"))], "a release");
    let mut node = world.node("alice");
    node.round().await;
    let inputs = BTreeMap::from([("module".to_owned(), "x".into())]);
    let wanted =
        Dispatch { repository: "octo/one", workflow: "CI", git_ref: Some("release/1".to_owned()), inputs };
    let (id, _) = node.discovery.dispatch(wanted).await.expect("started");
    node.outside(falling_back()).hand_over(id).await.expect("handed over");
    let dispatched = &world.github.dispatches()[0];
    assert_eq!(dispatched.inputs, serde_json::json!({ "module": "x", "level": "low" }));
    assert_eq!(dispatched.reference, "refs/heads/release/1");
}

#[tokio::test]
async fn an_answer_that_was_lost_is_looked_for_and_nothing_is_sent_again() {
    let Some((world, mut node, id)) = scene().await else { return };
    world.github.fault(FaultRule::new(DISPATCHES, Fault::LostAnswer));
    node.outside(falling_back()).hand_over(id).await.expect("it may have worked");
    assert!(matches!(outcome(&run(&node, id)), Some(EffectOutcome::Unknown(_))));
    let reason = run(&node, id).reason;
    assert!(reason.starts_with("handed to GitHub, which may have it or not"), "{reason}");
    node = node.restarted(Caches::Lost);
    let mut outside = node.outside(falling_back());
    assert!(outside.hand_over(id).await.is_err());
    assert_eq!(outside.tend().await, [""; 0]);
    let [dispatched] = world.github.dispatches().try_into().expect("it worked");
    world.github.start_run(dispatched.run);
    outside.tend().await;
    assert_eq!(run(&node, id).status, Status::InProgress);
    world.github.finish_run(dispatched.run, "success");
    outside.tend().await;
    assert_eq!(run(&node, id).status, Status::Completed);
    assert_eq!(world.dispatches_asked().len(), 1);
}

#[tokio::test]
async fn a_lost_answer_is_found_also_where_the_clock_is_wrong() {
    for seconds in [-10_800, 10_800] {
        let Some((world, mut node, _)) = scene().await else { return };
        node = node.with_clock_wrong_by(seconds);
        let id = node.runs()[0].id;
        world.github.fault(FaultRule::new(DISPATCHES, Fault::LostAnswer));
        node.outside(falling_back()).hand_over(id).await.expect("it may have worked");
        node = node.restarted(Caches::Lost);
        let mut outside = node.outside(falling_back());
        for _ in 0..3 {
            outside.tend().await;
            assert!(outside.hand_over(id).await.is_err(), "GitHub has it");
            world.pass(900);
        }
        world.github.finish_run(world.github.dispatches()[0].run, "success");
        outside.tend().await;
        assert_eq!(world.dispatches_asked().len(), 1);
        assert_eq!(run(&node, id).status, Status::Completed);
    }
}

/// Two runs of one workflow and commit, whose hand-overs nobody answered.
async fn two_lost(world: &World, node: &mut Node) -> [RunId; 2] {
    let wanted =
        || Dispatch { repository: "octo/one", workflow: "ci.yml", git_ref: None, inputs: BTreeMap::new() };
    let (first, _) = node.discovery.dispatch(wanted()).await.expect("started");
    let (second, _) = node.discovery.dispatch(wanted()).await.expect("started");
    world.github.fault(FaultRule::new(DISPATCHES, Fault::LostAnswer).times(2));
    [first, second]
}

#[tokio::test]
async fn of_two_lost_answers_each_finds_its_own_run() {
    let Some((world, mut node, _)) = scene().await else { return };
    let ids = two_lost(&world, &mut node).await;
    let mut outside = node.outside(falling_back());
    for id in ids {
        outside.hand_over(id).await.expect("it may have worked");
        assert_eq!(outside.tend().await, [""; 0]);
    }
    let dispatched = world.github.dispatches();
    world.github.finish_run(dispatched[0].run, "success");
    world.github.finish_run(dispatched[1].run, "failure");
    assert_eq!(outside.tend().await, [""; 0]);
    assert_eq!(ids.map(|id| run(&node, id).status), [Status::Completed, Status::Failed]);
    assert_eq!(world.dispatches_asked().len(), 2);
}

#[tokio::test]
async fn which_of_two_runs_is_whose_is_not_guessed() {
    let Some((world, mut node, _)) = scene().await else { return };
    let ids = two_lost(&world, &mut node).await;
    let mut outside = node.outside(falling_back());
    for id in ids {
        outside.hand_over(id).await.expect("it may have worked");
    }
    let dispatched = world.github.dispatches();
    world.github.finish_run(dispatched[0].run, "success");
    world.github.finish_run(dispatched[1].run, "failure");
    for _ in 0..2 {
        let said = outside.tend().await;
        assert!(said.len() == 2 && said[0].contains("GitHub has 2 runs of it"), "{said:?}");
        world.pass(900);
    }
    for id in ids {
        assert_eq!(run(&node, id).status, Status::Assigned, "visibly open");
        assert!(outside.hand_over(id).await.is_err());
    }
    assert_eq!(world.dispatches_asked().len(), 2);
}

#[tokio::test]
async fn a_node_that_stopped_before_it_sent_anything_finds_that_out() {
    let Some((world, mut node, id)) = scene().await else { return };
    let known = run(&node, id);
    let trigger = known.trigger.clone().expect("a trigger");
    let effect = Effect::Dispatch {
        repository: trigger.repository.clone(),
        path: trigger.path.clone(),
        git_ref: trigger.git_ref.clone(),
    };
    let submission = known.canonical.expect("a submission");
    node.ask(Command::Intend(EffectIntended { run: id, submission, effect })).await;
    node = node.restarted(Caches::Kept);
    let mut outside = node.outside(falling_back());
    assert!(outside.hand_over(id).await.is_err());
    outside.tend().await;
    assert!(matches!(outcome(&run(&node, id)), Some(EffectOutcome::Unknown(_))));
    assert_eq!(run(&node, id).status, Status::Assigned, "it may be there");
    world.pass(900);
    let said = outside.tend().await;
    assert!(said.len() == 1 && said[0].contains("does not show it"), "{said:?}");
    assert_eq!(run(&node, id).status, Status::Pending, "it is not, and peers may have it");
    assert_eq!(world.dispatches_asked().len(), 0);
    outside.hand_over(id).await.expect("nobody has it");
    assert_eq!((world.dispatches_asked().len(), world.github.dispatches().len()), (1, 1));
}

#[tokio::test]
async fn what_github_refuses_goes_back_to_the_peers_and_is_not_asked_for_again() {
    let Some((world, node, id)) = scene().await else { return };
    world.github.fault(FaultRule::new(DISPATCHES, Fault::Error(ErrorCase::DispatchWithoutTrigger)));
    let mut outside = node.outside(falling_back());
    let refused = outside.hand_over(id).await.expect_err("refused");
    assert!(refused.contains("422"), "{refused}");
    let known = run(&node, id);
    assert!(
        matches!(outcome(&known), Some(EffectOutcome::Refused(why)) if why.contains("workflow_dispatch"))
    );
    assert_eq!((known.status, known.dispatched()), (Status::Pending, None));
    assert!(outside.hand_over(id).await.is_err(), "it would be refused again");
    // and a peer may have it
    node.claim(id).await;
    assert_eq!(run(&node, id).status, Status::Assigned);
    assert!(outside.hand_over(id).await.is_err());
    outside.tend().await;
    assert_eq!((world.dispatches_asked().len(), world.github.dispatches().len()), (1, 0));
}

#[tokio::test]
async fn what_moved_on_since_is_not_handed_over() {
    let Some((world, node, id)) = scene().await else { return };
    // what is there now is for peers alone
    world.push("octo/one", &[(CI, &workflow("p2p-only", "workflow_dispatch"))]);
    let mut outside = node.outside(falling_back());
    let refused = outside.hand_over(id).await.expect_err("the branch is elsewhere");
    assert!(refused.contains("moved on"), "{refused}");
    assert_eq!((run(&node, id).status, run(&node, id).dispatches.len()), (Status::Pending, 0));
    assert_eq!(world.dispatches_asked().len(), 0);
}

#[tokio::test]
async fn what_is_pushed_at_that_very_moment_is_stopped_again() {
    let Some((world, node, id)) = scene().await else { return };
    let mut outside = node.outside(falling_back());
    let slow = Fault::Slow(std::time::Duration::from_millis(400));
    world.github.fault(FaultRule::new("/repos/octo/one/branches/main", slow));
    let push = async {
        world.until_faults_left(0).await;
        world.push("octo/one", &[("src/a.txt", "a")]);
    };
    let (refused, ()) = tokio::join!(outside.hand_over(id), push);
    let refused = refused.expect_err("another commit");
    assert!(refused.contains("pushed at that moment") && refused.contains("told to cancel"), "{refused}");
    let [at_github] = world.github.runs().try_into().expect("one run");
    assert!(at_github.is_cancelled_by_client);
    assert_eq!(run(&node, id).status, Status::Pending);
    assert!(outside.hand_over(id).await.is_err(), "the branch is elsewhere");
    assert_eq!(world.dispatches_asked().len(), 1);
}

#[tokio::test]
async fn a_token_that_may_not_dispatch_is_told_what_it_needs_and_asked_once() {
    let Some((world, node, id)) = scene().await else { return };
    let token = world.github.token(&TokenKind::FineGrained {
        user: "octo".to_owned(),
        owner: "octo".to_owned(),
        repositories: Selection::All,
        permissions: vec![("actions".to_owned(), Level::Read), ("contents".to_owned(), Level::Read)],
    });
    let node = node.with_token(token);
    let mut outside = node.outside(falling_back());
    for _ in 0..3 {
        let refused = outside.hand_over(id).await.expect_err("refused");
        assert!(
            refused.contains("the permission actions=write") && refused.contains(DISPATCHES),
            "{refused}"
        );
        world.pass(600);
    }
    let said = outside.tend().await;
    assert!(said.len() == 1 && said[0].contains("nothing is handed to GitHub"), "{said:?}");
    assert_eq!((run(&node, id).status, world.dispatches_asked().len()), (Status::Pending, 1));
}

#[tokio::test]
async fn an_overloaded_github_may_have_it_or_not_and_shows_which() {
    for status in [500, 502] {
        let Some((world, node, id)) = scene().await else { return };
        world.github.fault(FaultRule::new(DISPATCHES, Fault::HtmlPage { status }));
        let mut outside = node.outside(falling_back());
        outside.hand_over(id).await.expect("nobody knows");
        assert!(matches!(outcome(&run(&node, id)), Some(EffectOutcome::Unknown(_))));
        outside.tend().await;
        assert!(outside.hand_over(id).await.is_err(), "it may be there");
        assert_eq!(world.dispatches_asked().len(), 1);
        world.pass(900);
        outside.tend().await;
        outside.hand_over(id).await.expect("it is not there");
        assert_eq!((world.dispatches_asked().len(), world.github.dispatches().len()), (2, 1));
    }
}

#[tokio::test]
async fn while_a_limit_holds_nothing_is_meant_and_nothing_is_lost() {
    let Some((world, mut node, id)) = scene().await else { return };
    world.github.exhaust(Bucket::Core, "user:octo");
    world.github.exhaust(Bucket::Graphql, "user:octo");
    node.round().await;
    let mut outside = node.outside(falling_back());
    let refused = outside.hand_over(id).await.expect_err("a limit holds");
    assert!(refused.contains("limit"), "{refused}");
    assert_eq!(run(&node, id).dispatches.len(), 0);
    world.pass(3_700);
    outside.hand_over(id).await.expect("handed over");
    assert_eq!(world.dispatches_asked().len(), 1);
}

#[tokio::test]
async fn a_dispatch_that_a_limit_refused_is_not_sent_again_behind_anybodys_back() {
    for case in [ErrorCase::SecondaryLimitWithRetryAfter, ErrorCase::SecondaryLimitWithoutRetryAfter] {
        let Some((world, node, id)) = scene().await else { return };
        world.github.fault(FaultRule::new(DISPATCHES, Fault::Error(case)));
        let mut outside = node.outside(falling_back());
        outside.hand_over(id).await.expect_err("refused");
        assert_eq!((world.dispatches_asked().len(), run(&node, id).status), (1, Status::Pending));
        assert!(matches!(outcome(&run(&node, id)), Some(EffectOutcome::Refused(_))));
        outside.hand_over(id).await.expect_err("the limit holds");
        world.pass(120);
        outside.hand_over(id).await.expect("handed over");
        assert_eq!((world.dispatches_asked().len(), world.github.dispatches().len()), (2, 1));
    }
}

#[tokio::test]
async fn what_is_for_peers_alone_never_leaves_them() {
    let never = [
        (CI, workflow("p2p-only", "[push, workflow_dispatch]")),
        (CI, workflow("p2p-eligible, p2p-only", "workflow_dispatch")),
        (CI, workflow("p2p-eligible", "push")),
        (".wfengine/workflows/ci.yml", workflow("p2p-eligible", "workflow_dispatch")),
        // GitHub refuses a file with such a key, so it is for peers alone
        (CI, format!("labels: [p2p-eligible]\n{}", workflow("p2p-eligible", "workflow_dispatch"))),
    ];
    for (path, text) in never {
        let Some((world, node, id)) = scene_of(path, &text).await else { return };
        for options in [falling_back(), asking_a_ref()] {
            let mut outside = node.outside(options);
            outside.hand_over(id).await.expect_err("for peers alone");
            assert_eq!(outside.tend().await, [""; 0]);
        }
        assert_eq!(run(&node, id).dispatches.len(), 0);
        assert_eq!((world.dispatches_asked().len(), world.github.dispatches().len()), (0, 0), "{text}");
        let references = world.github.references("octo/one");
        assert!(references.iter().all(|(name, _)| name.starts_with("refs/heads/")), "{references:?}");
    }
}

#[tokio::test]
async fn what_somebody_submitted_by_hand_never_leaves_the_peers() {
    let Some((world, node, id)) = scene().await else { return };
    let discovered = run(&node, id).submitted.clone().expect("submitted");
    let by_hand = RunSubmitted {
        trigger_key: b"id:by-hand".to_vec(),
        origin: Origin::Hand,
        ..RunSubmitted::clone(&discovered)
    };
    let id = by_hand.run();
    node.ask(Command::Submit { submission: Box::new(by_hand), plan: vec![], blobs: vec![] }).await;
    let mut outside = node.outside(falling_back());
    outside.hand_over(id).await.expect_err("nobody found it");
    assert_eq!((run(&node, id).dispatches.len(), world.dispatches_asked().len()), (0, 0));
}

#[tokio::test]
async fn nothing_is_handed_over_unasked_or_while_a_peer_has_it_or_after_its_end() {
    let Some((world, node, id)) = scene().await else { return };
    let refused = node.outside(OutsideOptions::default()).hand_over(id).await.expect_err("not asked for");
    assert!(refused.contains("hands nothing"), "{refused}");
    let other = node.joined_by(&world, "bob").await;
    exchange(&node, &other).await;
    let refused = other.outside(falling_back()).hand_over(id).await.expect_err("another's run");
    assert!(refused.contains("not this node's"), "{refused}");
    node.claim(id).await;
    let refused = node.outside(falling_back()).hand_over(id).await.expect_err("claimed");
    assert!(refused.contains("a peer has a job"), "{refused}");
    node.ask(Command::Cancel { run: id, reason: "enough".to_owned() }).await;
    node.outside(falling_back()).hand_over(id).await.expect_err("cancelled");
    assert_eq!((run(&node, id).dispatches.len(), world.dispatches_asked().len()), (0, 0));
}

/// Two members that do not hear each other, each with its own submission of the same run.
async fn rivals() -> Option<(World, Node, Node, RunId)> {
    let world = World::new().await?;
    world.repository("octo/one", &[(CI, &workflow("p2p-eligible", "workflow_dispatch"))]);
    let mut carol = world.node("carol");
    let mut dave = carol.joined_by(&world, "dave").await;
    assert_eq!((carol.round().await.submitted, dave.round().await.submitted), (1, 1));
    let id = carol.runs()[0].id;
    assert_eq!(dave.runs()[0].id, id);
    Some((world, carol, dave, id))
}

#[tokio::test]
async fn rival_members_that_ask_a_ref_hand_over_once() {
    let Some((world, carol, dave, id)) = rivals().await else { return };
    let (mut one, mut other) = (carol.outside(asking_a_ref()), dave.outside(asking_a_ref()));
    one.hand_over(id).await.expect("handed over");
    let refused = other.hand_over(id).await.expect_err("the ref is there");
    assert!(refused.contains("another member"), "{refused}");
    assert_eq!((world.dispatches_asked().len(), world.github.dispatches().len()), (1, 1));
    let references = world.github.references("octo/one");
    assert!(
        references.iter().any(|(name, _)| name == &format!("refs/wfengine/claims/{id}")),
        "{references:?}"
    );
    world.github.finish_run(world.github.dispatches()[0].run, "success");
    one.tend().await;
    exchange(&carol, &dave).await;
    for node in [&carol, &dave] {
        let known = run(node, id);
        let standing = known.dispatches.iter().filter(|dispatch| dispatch.stands()).count();
        assert_eq!((known.status, known.submissions.len(), standing), (Status::Completed, 2, 1));
    }
    assert_eq!(carol.lab.ledger.store.watcher().view_digest(), dave.lab.ledger.store.watcher().view_digest());
}

#[tokio::test]
async fn rival_members_that_ask_nobody_may_double_and_still_end_with_one_run() {
    let Some((world, carol, dave, id)) = rivals().await else { return };
    for node in [&carol, &dave] {
        node.outside(falling_back()).hand_over(id).await.expect("handed over");
    }
    let dispatched = world.github.dispatches();
    assert_eq!(dispatched.len(), 2, "without a ref nobody can know");
    exchange(&carol, &dave).await;
    for (at, node) in [&carol, &dave].into_iter().enumerate() {
        let known = run(node, id);
        assert_eq!((known.submissions.len(), known.dispatches.len()), (2, 2));
        assert!(node.outside(falling_back()).hand_over(id).await.is_err());
        world.github.finish_run(dispatched[at].run, "success");
        node.outside(falling_back()).tend().await;
    }
    exchange(&carol, &dave).await;
    for node in [&carol, &dave] {
        assert_eq!(run(node, id).status, Status::Completed);
    }
    assert_eq!(carol.lab.ledger.store.watcher().view_digest(), dave.lab.ledger.store.watcher().view_digest());
    assert_eq!(world.dispatches_asked().len(), 2);
}
