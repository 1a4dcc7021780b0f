//! Jobs are shown beside their commit: as check runs by an app, as statuses by anybody else, through the life of a job.

use wfengine_core::command::Command;
use wfengine_discovery::{OutsideOptions, Reports};
use wfengine_storage_format::{Conclusion, JobStarted};
use wfengine_tests::standin::{Fault, FaultRule, Level, Logged, Selection, TokenKind};

use crate::files::workflow;
use crate::node::{Caches, Node};
use crate::world::World;

const CI: &str = ".github/workflows/ci.yml";

fn showing(reports: Reports) -> OutsideOptions {
    let details_url = Some("https://lab.example/runs/{run}".to_owned());
    OutsideOptions { reports, details_url, ..OutsideOptions::default() }
}

async fn scene(token: impl FnOnce(&World) -> String) -> Option<(World, Node)> {
    let world = World::new().await?;
    world.repository("octo/one", &[(CI, &workflow("p2p-only", "push"))]);
    let mut node = world.node("alice").with_token(token(&world));
    let report = node.round().await;
    assert_eq!(report.submitted, 1, "{report:#?}");
    Some((world, node))
}

fn installation(world: &World, permissions: &[(&str, Level)]) -> String {
    let permissions = permissions.iter().map(|(name, level)| ((*name).to_owned(), *level)).collect();
    let kind =
        TokenKind::Installation { owner: "octo".to_owned(), repositories: Selection::All, permissions };
    world.github.token(&kind)
}

fn app(world: &World) -> String {
    installation(world, &[("checks", Level::Write), ("contents", Level::Read)])
}

/// What happens to the one job, with its status as GitHub's list of statuses says it.
async fn live(node: &Node, conclusion: Conclusion, mut after_each: impl AsyncFnMut(&str)) {
    let id = node.runs()[0].id;
    after_each("pending").await;
    let (job, claim) = node.claim(id).await;
    after_each("pending").await;
    node.ask(Command::Start(JobStarted { run: id, job, claim })).await;
    after_each("pending").await;
    node.complete(id, job, claim, conclusion).await;
    after_each(if conclusion == Conclusion::Success { "success" } else { "failure" }).await;
}

#[tokio::test]
async fn an_app_shows_a_job_as_one_check_run_through_its_life() {
    let Some((world, node)) = scene(app).await else { return };
    let mut outside = node.outside(showing(Reports::Checks));
    live(&node, Conclusion::Success, async |_| {
        assert_eq!(outside.tend().await, [""; 0]);
        assert_eq!(outside.tend().await, [""; 0], "what did not change is not said again");
    })
    .await;
    let asked = world.asked_since(0).into_iter().filter(|asked| asked.path.contains("/check-runs"));
    let asked: Vec<Logged> = asked.collect();
    let methods: Vec<&str> = asked.iter().map(|asked| asked.method.as_str()).collect();
    assert_eq!(methods, ["POST", "PATCH", "PATCH", "PATCH"]);
    let shown = world.check_run(&asked[1].path, &app(&world)).await;
    assert_eq!(
        (shown["status"].as_str(), shown["conclusion"].as_str()),
        (Some("completed"), Some("success"))
    );
    let run = node.runs()[0].clone();
    assert_eq!(shown["name"], "wfengine / a");
    assert_eq!(shown["head_sha"], run.trigger.as_ref().expect("a trigger").sha.as_str());
    assert_eq!(shown["details_url"], format!("https://lab.example/runs/{}", run.id));
    let summary = shown["output"]["summary"].as_str().unwrap_or_default();
    assert!(summary.contains("It took 1500 ms"), "{summary}");
}

#[tokio::test]
async fn a_restart_makes_no_second_check_run() {
    let Some((world, mut node)) = scene(app).await else { return };
    node.outside(showing(Reports::Checks)).tend().await;
    for caches in [Caches::Kept, Caches::Lost] {
        node = node.restarted(caches);
        assert_eq!(node.outside(showing(Reports::Checks)).tend().await, [""; 0]);
    }
    let id = node.runs()[0].id;
    let (job, claim) = node.claim(id).await;
    node.complete(id, job, claim, Conclusion::Failure).await;
    node.outside(showing(Reports::Checks)).tend().await;
    let made = world.asked_for("/check-runs");
    assert_eq!(made.len(), 1);
    let asked = world.asked_since(0).into_iter().rfind(|asked| asked.path.contains("/check-runs/"));
    let shown = world.check_run(&asked.expect("updated").path, &app(&world)).await;
    assert_eq!(shown["conclusion"], "failure");
}

#[tokio::test]
async fn anybody_else_sets_statuses() {
    for conclusion in [Conclusion::Success, Conclusion::Failure] {
        let Some((world, node)) = scene(World::token).await else { return };
        let mut outside = node.outside(showing(Reports::Statuses));
        let mut expected = Vec::new();
        live(&node, conclusion, async |state| {
            expected.push(state.to_owned());
            assert_eq!(outside.tend().await, [""; 0]);
        })
        .await;
        let set = world.github.statuses();
        assert_eq!(set.iter().map(|set| set.state.clone()).collect::<Vec<_>>(), expected);
        let sha = node.runs()[0].trigger.as_ref().expect("a trigger").sha.clone();
        assert!(set.iter().all(|set| set.context == "wfengine / a" && set.sha == sha), "{set:#?}");
        let last = set.last().and_then(|set| set.description.clone()).unwrap_or_default();
        assert!(last.contains("on lab") || last.contains("on "), "{last}");
    }
}

#[tokio::test]
async fn a_report_that_failed_is_made_up_for_and_says_what_is_so_by_then() {
    let Some((world, node)) = scene(World::token).await else { return };
    let mut outside = node.outside(showing(Reports::Statuses));
    world
        .github
        .fault(FaultRule::new("/repos/octo/one/statuses/*", Fault::HtmlPage { status: 502 }).times(2));
    let said = outside.tend().await;
    assert!(said.len() == 1 && said[0].contains("502"), "{said:?}");
    let moment = world.moment();
    outside.tend().await;
    assert_eq!(world.moment(), moment, "it is left alone for a while");
    let id = node.runs()[0].id;
    let (job, claim) = node.claim(id).await;
    world.pass(60);
    let said = outside.tend().await;
    assert!(said.len() == 1 && said[0].contains("502"), "{said:?}");
    node.complete(id, job, claim, Conclusion::Success).await;
    world.pass(60);
    assert_eq!(outside.tend().await, [""; 0]);
    let states: Vec<String> = world.github.statuses().into_iter().map(|set| set.state).collect();
    assert_eq!(states, ["success"]);
}

#[tokio::test]
async fn without_the_permission_it_is_named_once_and_not_asked_for_again() {
    let reads = |world: &World| installation(world, &[("contents", Level::Read)]);
    for (reports, needs) in [(Reports::Checks, "checks=write"), (Reports::Statuses, "statuses=write")] {
        let Some((world, node)) = scene(reads).await else { return };
        let mut outside = node.outside(showing(reports));
        let moment = world.moment();
        let said = outside.tend().await;
        assert!(said.len() == 1 && said[0].contains(needs), "{said:?}");
        live(&node, Conclusion::Success, async |_| {
            assert_eq!(outside.tend().await, said, "the same complaint");
        })
        .await;
        assert_eq!(world.asked_since(moment).len(), 1, "{:#?}", world.asked_since(moment));
    }
}
