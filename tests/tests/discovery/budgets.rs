//! Budgets that are spent: another way is taken, or what was seen before is shown; nothing wrong is written.

use wfengine_discovery::scope::Scope;
use wfengine_tests::standin::{Bucket, Options, PrimaryLimits};

use crate::cold_and_warm::{assert_found, scene};
use crate::files::workflow;
use crate::node::Caches;
use crate::world::World;

const STALE: &str = "a limit of GitHub holds";

#[tokio::test]
async fn when_core_is_spent_a_first_round_finds_the_same_through_graphql() {
    let Some(world) = World::new().await else { return };
    let scene = scene(&world);
    let mut node = world.node("alice");
    world.github.exhaust(Bucket::Core, "user:octo");
    let report = node.round().await;
    assert_found(&report, &scene.tagged);
    assert!(!report.failed && report.submitted > 0, "{report:#?}");
    assert!((1..=5).contains(&report.requests.graphql_points), "{:?}", report.requests);
    let asked = world.asked_since(0);
    let refused = asked.iter().filter(|logged| logged.status == 403).count();
    assert!(refused <= 1 && asked.len() <= 5, "{asked:#?}");
    println!(
        "core spent: {} requests, {} points of GraphQL",
        report.requests.total, report.requests.graphql_points
    );
    // an hour later everything is as it was, and what was submitted stays submitted
    world.pass(3_700);
    let events = node.lab.events();
    let report = node.round().await;
    assert_found(&report, &scene.tagged);
    assert_eq!(report.submitted, 0);
    assert_eq!(node.lab.events(), events, "both ways see the same");
}

#[tokio::test]
async fn when_graphql_is_spent_too_the_last_listing_is_shown_and_nothing_vanishes() {
    let Some(world) = World::new().await else { return };
    let scene = scene(&world);
    let mut node = world.node("alice");
    node.round().await;
    let mut node = node.restarted(Caches::Kept);
    world.github.exhaust(Bucket::Core, "user:octo");
    world.github.exhaust(Bucket::Graphql, "user:octo");
    let (events, moment) = (node.lab.events(), world.moment());
    let report = node.round().await;
    assert_found(&report, &scene.tagged);
    let stale = report.problems.iter().filter(|problem| problem.what.contains(STALE));
    assert_eq!(stale.count(), report.repositories.len(), "{:#?}", report.problems);
    assert_eq!((report.vanished.len(), report.submitted, node.lab.events()), (0, 0, events));
    // one refusal for each budget is enough to know
    let asked = world.asked_since(moment);
    assert_eq!(asked.iter().filter(|logged| logged.status != 304).count(), 2, "{asked:#?}");
    world.pass(3_700);
    let report = node.round().await;
    assert_found(&report, &scene.tagged);
    assert!(!report.problems.iter().any(|problem| problem.what.contains(STALE)), "{:#?}", report.problems);
}

#[tokio::test]
async fn without_anything_kept_a_limit_is_a_problem_and_no_empty_listing() {
    let Some(world) = World::new().await else { return };
    world.repository("octo/one", &[(".github/workflows/ci.yml", &workflow("p2p-only", "push"))]);
    let mut node = world.node("alice");
    node.round().await;
    let mut node = node.restarted(Caches::Lost);
    world.github.exhaust(Bucket::Core, "user:octo");
    world.github.exhaust(Bucket::Graphql, "user:octo");
    let events = node.lab.events();
    let report = node.round().await;
    assert!(report.failed && report.problems[0].what.contains("holds until"), "{report:#?}");
    assert_eq!((report.vanished.len(), node.lab.events()), (0, events));
}

#[tokio::test]
async fn a_budget_too_small_for_a_first_round_is_not_spent_on_it() {
    let primary = PrimaryLimits { user: 100, ..PrimaryLimits::default() };
    let Some(world) = World::with(Options { primary, ..Options::default() }).await else { return };
    let scene = scene(&world);
    let mut node = world.node("alice");
    let report = node.round().await;
    assert_found(&report, &scene.tagged);
    assert!(report.requests.graphql_points > 0 && report.requests.total < 50, "{:?}", report.requests);
}

#[tokio::test]
async fn one_repository_by_name_is_found_through_graphql_too() {
    let Some(world) = World::new().await else { return };
    for name in ["octo/one", "octo/two"] {
        world.repository(name, &[(".github/workflows/ci.yml", &workflow("p2p-only", "push"))]);
    }
    let scopes = vec![Scope::repository("Octo/two").expect("a name")];
    let mut node = world.node("alice").looking_at(scopes);
    world.github.exhaust(Bucket::Core, "user:octo");
    let report = node.round().await;
    assert_eq!(report.repositories, ["octo/two"], "{report:#?}");
    assert_eq!((report.discovered(), report.submitted), (1, 1));
}

#[tokio::test]
async fn a_limit_is_no_news_for_the_log() {
    let primary = PrimaryLimits { user: 100, ..PrimaryLimits::default() };
    let Some(world) = World::with(Options { primary, ..Options::default() }).await else { return };
    let scene = scene(&world);
    // the listing comes from one interface and is kept, the looks from the other and are not
    let mut node = world.node("alice");
    assert_found(&node.round().await, &scene.tagged);
    world.github.exhaust(Bucket::Core, "user:octo");
    world.github.exhaust(Bucket::Graphql, "user:octo");
    let events = node.lab.events();
    for _ in 0..3 {
        let report = node.round().await;
        assert!(report.problems.iter().all(|problem| problem.what.contains("limit")), "{report:#?}");
        assert_eq!((report.vanished.len(), report.submitted, node.lab.events()), (0, 0, events));
        world.pass(300);
    }
    world.pass(3_700);
    let report = node.round().await;
    assert_found(&report, &scene.tagged);
    assert_eq!(report.submitted, 0);
}
