//! Lists that come in pages, and what goes wrong with them: nothing vanishes for want of a line.

use std::collections::BTreeSet;
use std::time::Duration;

use wfengine_discovery::{Options, Policies, Policy, Report};
use wfengine_tests::standin::{Fault, FaultRule, RepositoryOptions};

use crate::files::workflow;
use crate::node::Node;
use crate::world::World;

const LIST: &str = "/user/repos";
const CI: &str = ".github/workflows/ci.yml";
/// A page holds 100.
const REPOSITORIES: usize = 203;

fn name(number: usize) -> String {
    format!("octo/r{number:03}")
}

/// Three pages, with a tagged workflow in the repositories around each seam.
async fn scene() -> Option<(World, Node, BTreeSet<String>)> {
    let world = World::new().await?;
    let mut tagged = BTreeSet::new();
    for number in 0..REPOSITORIES {
        world.github.add_repository(&name(number), &RepositoryOptions::default());
        if [98, 99, 100, 101, 199, 200, 202].contains(&number) {
            world.push(&name(number), &[(CI, &workflow("p2p-only", "push"))]);
            tagged.insert(name(number));
        }
    }
    let policies = Policies { default: Policy::Manual, ..Policies::default() };
    let mut node = world.node("alice").wishing(Options { policies, ..Options::default() });
    let report = node.round().await;
    assert_eq!(found(&report), tagged, "{:#?}", report.problems);
    assert_eq!(report.repositories.len(), REPOSITORIES);
    Some((world, node, tagged))
}

fn found(report: &Report) -> BTreeSet<String> {
    report.workflows.iter().map(|line| format!("{}/{}", line.owner, line.repo)).collect()
}

/// Everything that was ever found is still known, and the next round shows all of it again.
async fn assert_nothing_is_lost(world: World, mut node: Node, tagged: BTreeSet<String>) {
    for name in &tagged {
        assert_eq!(node.knows(name).map(|known| known.workflows.len()), Some(1), "{name}");
    }
    world.github.clear_faults();
    let report = node.round().await;
    assert_eq!((found(&report), report.repositories.len()), (tagged, REPOSITORIES));
    assert_eq!(report.problems, []);
}

#[tokio::test]
async fn an_item_that_comes_on_two_pages_is_one_repository() {
    let Some((world, mut node, tagged)) = scene().await else { return };
    world.github.fault(FaultRule::new(LIST, Fault::RepeatedItem).always());
    let report = node.round().await;
    let names: BTreeSet<&String> = report.repositories.iter().collect();
    assert_eq!(names.len(), report.repositories.len(), "no repository is looked at twice");
    assert_eq!(report.vanished, [""; 0]);
    assert_nothing_is_lost(world, node, tagged).await;
}

#[tokio::test]
async fn an_item_that_slipped_between_two_pages_has_not_vanished() {
    let Some((world, mut node, tagged)) = scene().await else { return };
    world.github.fault(FaultRule::new(LIST, Fault::SkippedItem).always());
    let report = node.round().await;
    let missing: Vec<String> = tagged.difference(&found(&report)).cloned().collect();
    assert_eq!(missing, [name(100)], "the fault was there");
    assert_eq!(report.vanished, [""; 0]);
    assert_nothing_is_lost(world, node, tagged).await;
}

#[tokio::test]
async fn an_empty_page_in_the_middle_ends_nothing() {
    let Some((world, mut node, tagged)) = scene().await else { return };
    world.github.fault(FaultRule::new(LIST, Fault::EmptyPage).after(1));
    let report = node.round().await;
    assert_eq!((report.repositories.len(), report.vanished.len()), (REPOSITORIES - 100, 0));
    assert_nothing_is_lost(world, node, tagged).await;
}

#[tokio::test]
async fn a_page_that_cannot_be_had_fails_the_listing_and_nothing_else() {
    let Some((world, mut node, tagged)) = scene().await else { return };
    // the pages after the first are others than those that are kept
    world.pass(60);
    for number in [150, 202] {
        world.push(&name(number), &[("src/a.txt", "a")]);
    }
    let events = node.lab.events();
    for fault in [
        Fault::HtmlPage { status: 502 },
        Fault::CutBody { after_bytes: 1_000 },
        Fault::InvalidJson,
        Fault::HugeBody { bytes: 20 << 20 },
        Fault::RedirectLoop,
        Fault::LostAnswer,
    ] {
        world.github.fault(FaultRule::new(LIST, fault.clone()).after(1).always());
        let report = node.round().await;
        assert!(report.failed && report.problems.len() == 1, "{fault:?}: {:#?}", report.problems);
        assert_eq!((report.vanished.len(), node.lab.events()), (0, events), "{fault:?}");
        world.github.clear_faults();
    }
    assert_nothing_is_lost(world, node, tagged).await;
}

#[tokio::test]
async fn a_slow_page_is_waited_for() {
    let Some((world, mut node, tagged)) = scene().await else { return };
    world.github.fault(FaultRule::new(LIST, Fault::Slow(Duration::from_millis(100))));
    assert_eq!(found(&node.round().await), tagged);
    assert_nothing_is_lost(world, node, tagged).await;
}
