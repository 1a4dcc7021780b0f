//! One push is one run: whoever saw it, however often, and whatever was forgotten.

use std::collections::{BTreeMap, BTreeSet};

use wfengine_core::views::run::Run;
use wfengine_discovery::{Dispatch, DispatchError, Host, Options, Policies, Policy};
use wfengine_storage_format::{RunId, Trigger};

use crate::files::workflow;
use crate::node::{Caches, exchange};
use crate::world::World;

const CI: &str = ".github/workflows/ci.yml";

fn with(policy: Policy) -> Options {
    Options { policies: Policies { default: policy, ..Policies::default() }, ..Options::default() }
}

fn sha(run: &Run) -> String {
    run.trigger.as_ref().map(|trigger| trigger.sha.clone()).unwrap_or_default()
}

#[tokio::test]
async fn a_pushed_workflow_is_submitted_once_and_a_changed_one_again() {
    let Some(world) = World::new().await else { return };
    world.repository("octo/one", &[(CI, &workflow("p2p-only", "push"))]);
    let first = world.github.head("octo/one", "main").expect("a commit");
    let mut node = world.node("alice");
    assert_eq!(node.round().await.submitted, 1);
    assert_eq!(node.round().await.submitted, 0);
    world.pass(300);
    let second = world.push("octo/one", &[(CI, &workflow("p2p-only, web-scraping", "push"))]);
    assert_eq!(node.round().await.submitted, 1, "one push of a changed file is one run");
    let third = world.push("octo/one", &[("src/a.txt", "a")]);
    assert_eq!(node.round().await.submitted, 1, "and so is a push of something else");
    for caches in [Caches::Kept, Caches::Lost] {
        node = node.restarted(caches);
        assert_eq!(node.round().await.submitted, 0, "{caches:?}");
    }
    let runs = node.runs();
    assert_eq!(runs.iter().map(sha).collect::<Vec<_>>(), [first, second, third]);
    assert!(runs.iter().all(|run| run.submissions.len() == 1 && !run.conflict));
}

#[tokio::test]
async fn two_members_that_both_saw_a_push_end_with_one_run() {
    let Some(world) = World::new().await else { return };
    world.repository("octo/one", &[(CI, &workflow("p2p-only", "push"))]);
    let mut alice = world.node("alice");
    let mut bob = alice.joined_by(&world, "bob").await;
    assert_eq!((alice.round().await.submitted, bob.round().await.submitted), (1, 1));
    world.push("octo/one", &[("src/a.txt", "a")]);
    assert_eq!((alice.round().await.submitted, bob.round().await.submitted), (1, 1));
    exchange(&alice, &bob).await;
    for node in [&alice, &bob] {
        let runs = node.runs();
        assert_eq!(runs.len(), 2);
        assert!(runs.iter().all(|run| run.submissions.len() == 2 && !run.conflict), "{runs:#?}");
    }
    let ids = |runs: Vec<Run>| -> BTreeMap<RunId, _> {
        runs.iter().map(|run| (run.id, (run.canonical, sha(run)))).collect()
    };
    assert_eq!(ids(alice.runs()), ids(bob.runs()));
    assert_eq!(alice.lab.ledger.store.watcher().view_digest(), bob.lab.ledger.store.watcher().view_digest());
    // what one has seen the other need not submit, whether as a push or as new content
    let changed = workflow("p2p-only, web-scraping", "push");
    for (runs, file) in [(3, ("src/a.txt", "b")), (4, (CI, changed.as_str()))] {
        world.push("octo/one", &[file]);
        assert_eq!(alice.round().await.submitted, 1);
        exchange(&alice, &bob).await;
        assert_eq!(bob.round().await.submitted, 0, "{file:?}");
        bob = bob.restarted(Caches::Lost);
        assert_eq!((bob.round().await.submitted, bob.runs().len()), (0, runs));
    }
}

#[tokio::test]
async fn a_member_that_begins_late_starts_what_was_pushed_since_somebody_looked() {
    let Some(world) = World::new().await else { return };
    world.repository("octo/one", &[(CI, &workflow("p2p-only", "push"))]);
    let mut alice = world.node("alice").wishing(with(Policy::OnTrigger));
    alice.round().await;
    let mut bob = alice.joined_by(&world, "bob").await.wishing(with(Policy::OnTrigger));
    let stood = alice.knows("octo/one").and_then(|known| known.seen?.refs).expect("where the refs stood");
    let lines = alice.lab.blobs().read(&stood).expect("a blob");
    // alice is gone; her blob was fetched before
    drop(alice);
    bob.lab.blobs().put(&lines).expect("kept");
    let pushed = world.push("octo/one", &[("src/a.txt", "a")]);
    assert_eq!(bob.round().await.submitted, 1);
    assert_eq!(bob.runs().iter().map(sha).collect::<Vec<_>>(), [pushed]);
}

#[tokio::test]
async fn a_push_that_ran_as_new_content_does_not_run_again_when_the_cache_is_lost() {
    let Some(world) = World::new().await else { return };
    world.repository("octo/one", &[(CI, &workflow("p2p-only", "push"))]);
    let mut node = world.node("alice");
    assert_eq!(node.round().await.submitted, 1);
    world.push("octo/one", &[(CI, &workflow("p2p-only, web-scraping", "push"))]);
    assert_eq!(node.round().await.submitted, 1);
    let mut node = node.restarted(Caches::Lost);
    let report = node.round().await;
    assert_eq!((report.submitted, node.runs().len()), (0, 2), "{report:#?}");
}

#[tokio::test]
async fn branches_tags_and_paths_are_those_of_the_pushed_commit() {
    let Some(world) = World::new().await else { return };
    let on = "{push: {branches: [main, 'release/**'], tags: ['v*'], paths: ['src/**']}}";
    world.repository("octo/one", &[(CI, &workflow("p2p-only", on)), ("src/a.txt", "a")]);
    let mut node = world.node("alice").wishing(with(Policy::OnTrigger));
    assert_eq!(node.round().await.submitted, 0, "what was pushed before the first look is history");
    world.push("octo/one", &[("README.md", "no path")]);
    assert_eq!(node.round().await.submitted, 0);
    let changes: [(&str, Option<&[u8]>); 1] = [("src/b.txt", Some(b"b"))];
    world.github.push("octo/one", "feature", &changes, "elsewhere");
    assert_eq!(node.round().await.submitted, 0);
    let release = world.github.push("octo/one", "release/1", &changes, "a release");
    world.github.annotated_tag("octo/one", "v1", "release/1");
    world.github.tag("octo/one", "x1", "release/1");
    let report = node.round().await;
    assert_eq!((report.submitted, report.problems.len()), (2, 0), "{report:#?}");
    let refs: BTreeSet<(String, String)> = node
        .runs()
        .iter()
        .map(|run| (run.submitted.as_ref().expect("submitted").frozen.ref_name.clone(), sha(run)))
        .collect();
    let expected = ["refs/heads/release/1", "refs/tags/v1"].map(|name| (name.to_owned(), release.clone()));
    assert_eq!(refs, BTreeSet::from(expected));
    // history that was rewritten is a push like any other
    world.github.force_push(
        "octo/one",
        "release/1",
        &[(CI, Some(workflow("p2p-only", on).as_bytes())), ("src/c", Some(b"c"))],
        "anew",
    );
    assert_eq!(node.round().await.submitted, 1);
    world.github.delete_branch("octo/one", "release/1");
    assert_eq!(node.round().await.submitted, 0, "a deleted branch starts nothing");
}

#[tokio::test]
async fn a_schedule_missed_while_asleep_fires_once() {
    let Some(world) = World::new().await else { return };
    let on = "{schedule: [{cron: '0 6 * * *', timezone: Europe/Berlin}]}";
    world.repository("octo/one", &[(CI, &workflow("p2p-only", on))]);
    let mut node = world.node("alice").wishing(with(Policy::OnTrigger));
    assert_eq!(node.round().await.submitted, 0);
    let mut node = node.restarted(Caches::Lost);
    world.pass(3 * 86_400);
    assert_eq!(node.round().await.submitted, 1);
    assert_eq!(node.round().await.submitted, 0);
    let mut node = node.restarted(Caches::Lost);
    assert_eq!(node.round().await.submitted, 0);
    let run = node.runs().pop().expect("a run");
    let trigger = run.trigger.as_ref().expect("a trigger").trigger.clone();
    let Trigger::Schedule { due_s, timezone, .. } = trigger else { panic!("{trigger:?}") };
    // it is 03:04 UTC on the 5th of January: the last time was at 06:00 in Berlin on the 4th
    assert_eq!((due_s, timezone.as_str()), (1_767_502_800, "Europe/Berlin"));
}

#[tokio::test]
async fn a_workflow_is_dispatched_by_hand_and_a_missing_input_is_named() {
    let Some(world) = World::new().await else { return };
    let on = "{workflow_dispatch: {inputs: {module: {required: true}}}}";
    world.repository("octo/one", &[(CI, &workflow("p2p-only", on))]);
    let mut node = world.node("alice");
    let report = node.round().await;
    assert_eq!(report.workflows[0].status, "needs input: module");
    let asked = |inputs: &[(&str, &str)]| Dispatch {
        repository: "octo/one",
        workflow: "ci.yml",
        git_ref: None,
        inputs: inputs.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect(),
    };
    let refused = node.discovery.dispatch(asked(&[])).await;
    assert_eq!(refused.err(), Some(DispatchError::NotStarted("needs input: module".to_owned())));
    let (run, _) = node.discovery.dispatch(asked(&[("module", "x")])).await.expect("started");
    assert_eq!(node.runs().iter().map(|run| run.id).collect::<Vec<_>>(), [run]);
    let elsewhere = Dispatch { git_ref: Some("gone".to_owned()), ..asked(&[("module", "x")]) };
    let refused = node.discovery.dispatch(elsewhere).await;
    assert!(matches!(refused, Err(DispatchError::NoRef { .. })), "{refused:?}");
    assert_eq!(world.dispatches_asked().len(), 0, "GitHub has nothing to do with it");
}

#[tokio::test]
async fn what_is_gone_from_the_default_branch_vanishes_and_comes_back() {
    let Some(world) = World::new().await else { return };
    world.repository("octo/one", &[(CI, &workflow("p2p-only", "push"))]);
    let mut node = world.node("alice");
    node.round().await;
    world.push_bytes("octo/one", &[(CI, None)]);
    let report = node.round().await;
    assert_eq!((report.discovered(), report.vanished.len(), report.submitted), (0, 1, 0));
    assert!(node.knows("octo/one").is_some_and(|known| known.workflows.is_empty()));
    world.push("octo/one", &[(CI, &workflow("p2p-only", "push"))]);
    let report = node.round().await;
    assert_eq!((report.discovered(), report.vanished.len()), (1, 0));
    assert!(node.knows("octo/one").is_some_and(|known| known.workflows.len() == 1));
    // the whole branch is another one
    world.github.push("octo/one", "next", &[(CI, None), ("b", Some(b"b"))], "without it");
    world.github.set_default_branch("octo/one", "next");
    let report = node.round().await;
    assert_eq!((report.discovered(), report.vanished.len()), (0, 1), "{report:#?}");
}
