//! Workflows that GitHub runs as well: said, and where it is wished for stopped there.

use wfengine_discovery::{Doubles, OutsideOptions};
use wfengine_tests::standin::{Level, Progress, RunInfo, Selection, TokenKind};

use crate::files::{untagged, workflow};
use crate::node::{Caches, Node};
use crate::world::World;

const CI: &str = ".github/workflows/ci.yml";

fn wishing(doubles: Doubles) -> OutsideOptions {
    OutsideOptions { doubles, ..OutsideOptions::default() }
}

/// A tagged workflow that GitHub starts for pushes too, and one that is none of our business.
async fn scene() -> Option<(World, Node)> {
    let world = World::new().await?;
    let files = [(CI, workflow("p2p-only", "push")), (".github/workflows/theirs.yml", untagged(1))];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    world.repository("octo/one", &files);
    let mut node = world.node("alice");
    let report = node.round().await;
    assert!(report.workflows[0].remarks[0].starts_with("runs twice"), "{report:#?}");
    Some((world, node))
}

fn cancelled(world: &World) -> Vec<RunInfo> {
    world.github.runs().into_iter().filter(|run| run.is_cancelled_by_client).collect()
}

#[tokio::test]
async fn left_alone_nothing_is_asked_of_github() {
    let Some((world, node)) = scene().await else { return };
    let moment = world.moment();
    node.claim(node.runs()[0].id).await;
    assert_eq!(node.outside(wishing(Doubles::Leave)).tend().await, [""; 0]);
    assert_eq!(world.moment(), moment);
}

#[tokio::test]
async fn githubs_queued_run_of_the_same_commit_is_cancelled_once_a_peer_has_a_job() {
    let Some((world, node)) = scene().await else { return };
    assert_eq!(world.github.runs().len(), 2, "GitHub queued both");
    let mut outside = node.outside(wishing(Doubles::Cancel));
    assert_eq!(outside.tend().await, [""; 0]);
    assert_eq!(cancelled(&world).len(), 0, "nobody has begun");
    node.claim(node.runs()[0].id).await;
    assert_eq!(outside.tend().await, [""; 0]);
    let [one] = cancelled(&world).try_into().expect("one of the two");
    assert_eq!((one.path.as_str(), one.conclusion.as_deref()), (CI, Some("cancelled")));
    let moment = world.moment();
    assert_eq!(outside.tend().await, [""; 0]);
    assert_eq!(world.moment(), moment, "it is looked for once");
}

#[tokio::test]
async fn a_run_that_github_has_begun_or_of_another_commit_goes_on() {
    let Some((world, mut node)) = scene().await else { return };
    let first = world.github.runs().into_iter().find(|run| run.path == CI).expect("a run");
    world.github.start_run(first.id);
    world.push("octo/one", &[("src/a.txt", "a")]);
    node.claim(node.runs()[0].id).await;
    let mut outside = node.outside(wishing(Doubles::Cancel));
    assert_eq!(outside.tend().await, [""; 0]);
    assert_eq!(cancelled(&world).len(), 0);
    assert_eq!(node.round().await.submitted, 1);
    node.claim(node.runs()[1].id).await;
    assert_eq!(outside.tend().await, [""; 0]);
    let [one] = cancelled(&world).try_into().expect("that of the second commit");
    assert!(one.sha != first.sha && one.path == CI);
    let states: Vec<Progress> = world.github.runs().iter().map(|run| run.progress).collect();
    assert_eq!(states.iter().filter(|state| **state == Progress::Completed).count(), 1);
}

#[tokio::test]
async fn a_workflow_that_runs_twice_is_disabled_there_and_no_other() {
    let Some((world, mut node)) = scene().await else { return };
    let mut outside = node.outside(wishing(Doubles::Disable));
    assert_eq!(outside.tend().await, [""; 0]);
    assert!(world.github.is_workflow_disabled("octo/one", CI));
    assert!(!world.github.is_workflow_disabled("octo/one", ".github/workflows/theirs.yml"));
    let moment = world.moment();
    outside.tend().await;
    assert_eq!(world.moment(), moment, "once");
    drop(outside);
    // here it runs as before
    world.push("octo/one", &[("src/a.txt", "a")]);
    assert_eq!(node.round().await.submitted, 1);
    let of_github = world.github.runs().into_iter().filter(|run| run.path == CI).count();
    assert_eq!(of_github, 1, "the one from before");
    node = node.restarted(Caches::Kept);
    assert_eq!(node.outside(wishing(Doubles::Disable)).tend().await, [""; 0]);
}

#[tokio::test]
async fn a_workflow_that_github_does_not_start_by_itself_stays_enabled() {
    let Some(world) = World::new().await else { return };
    world.repository("octo/one", &[(CI, &workflow("p2p-eligible", "workflow_dispatch"))]);
    let mut node = world.node("alice");
    node.round().await;
    assert_eq!(node.outside(wishing(Doubles::Disable)).tend().await, [""; 0]);
    assert!(!world.github.is_workflow_disabled("octo/one", CI));
}

#[tokio::test]
async fn a_workflow_that_may_fall_back_is_not_disabled_there() {
    let Some(world) = World::new().await else { return };
    world.repository("octo/one", &[(CI, &workflow("p2p-eligible", "[push, workflow_dispatch]"))]);
    let mut node = world.node("alice");
    node.round().await;
    let said = node.outside(wishing(Doubles::Disable)).tend().await;
    assert!(said.len() == 1 && said[0].contains("may fall back"), "{said:?}");
    assert!(!world.github.is_workflow_disabled("octo/one", CI));
}

#[tokio::test]
async fn without_the_permission_it_is_named_and_asked_for_once() {
    for (doubles, needs) in [(Doubles::Cancel, "actions="), (Doubles::Disable, "actions=write")] {
        let Some((world, node)) = scene().await else { return };
        let token = world.github.token(&TokenKind::FineGrained {
            user: "octo".to_owned(),
            owner: "octo".to_owned(),
            repositories: Selection::All,
            permissions: vec![("contents".to_owned(), Level::Read)],
        });
        world.github.set_private("octo/one", true);
        let node = node.with_token(token);
        node.claim(node.runs()[0].id).await;
        let mut outside = node.outside(wishing(doubles));
        let moment = world.moment();
        let said = outside.tend().await;
        assert!(said.len() == 1 && said[0].contains(needs), "{said:?}");
        world.pass(600);
        assert_eq!(outside.tend().await, said);
        assert_eq!(world.asked_since(moment).len(), 1);
    }
}
