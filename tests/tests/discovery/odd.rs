//! Repositories and files that are not as one would wish: renamed, deleted, switched off, too large, no files at all.

use std::time::Duration;

use wfengine_discovery::scope::Scope;
use wfengine_discovery::{Options, Report};
use wfengine_storage_format::ScanOutcome;
use wfengine_tests::standin::{Bucket, Entry, Fault, FaultRule, RepositoryOptions, Standin};

use crate::files::workflow;
use crate::node::{Caches, Node};
use crate::world::World;

const CI: &str = ".github/workflows/ci.yml";
const NAMES: [&str; 3] = ["octo/a", "octo/b", "octo/c"];

async fn scene() -> Option<(World, Node)> {
    let world = World::new().await?;
    for name in NAMES {
        world.repository(name, &[(CI, &workflow("p2p-only", "push"))]);
    }
    let node = world.node("alice");
    Some((world, node))
}

fn status<'r>(report: &'r Report, repository: &str) -> Option<&'r str> {
    let line = report.workflows.iter().find(|line| line.repo == repository);
    line.map(|line| line.status.as_str())
}

/// A round in which something happens after the list was read and before the repository in the middle is looked at.
async fn round_while(world: &World, node: &mut Node, happens: impl FnOnce(&Standin)) -> Report {
    let first = "/repos/octo/a/git/trees/*";
    world.github.fault(FaultRule::new(first, Fault::Slow(Duration::from_millis(400))));
    let left = world.github.faults_left();
    let then = async {
        world.until_faults_left(left - 1).await;
        happens(&world.github);
    };
    tokio::join!(node.round(), then).0
}

#[tokio::test]
async fn a_repository_renamed_while_it_is_scanned_is_the_same_one() {
    let Some((world, mut node)) = scene().await else { return };
    assert_eq!(node.round().await.submitted, 3);
    let id = node.knows("octo/b").expect("known").key;
    let pushed = world.push("octo/b", &[("src/a.txt", "a")]);
    let report = round_while(&world, &mut node, |github| github.rename_repository("octo/b", "octo/z")).await;
    assert_eq!((report.problems.as_slice(), report.submitted), ([].as_slice(), 1), "{report:#?}");
    // from here on it has its new name, and what ran does not run again
    for caches in [Caches::Kept, Caches::Lost] {
        let report = node.round().await;
        assert_eq!((report.submitted, report.vanished.len()), (0, 0), "{report:#?}");
        assert_eq!(status(&report, "z"), Some("known"));
        node = node.restarted(caches);
    }
    assert!(node.knows("octo/b").is_none());
    assert_eq!(node.knows("octo/z").map(|known| (known.key, known.workflows.len())), Some((id, 1)));
    let runs = node.runs();
    let of_push = runs.iter().filter(|run| run.trigger.as_ref().is_some_and(|trigger| trigger.sha == pushed));
    assert_eq!((runs.len(), of_push.count()), (4, 1));
}

#[tokio::test]
async fn a_renamed_repository_is_found_under_the_name_that_was_asked_for() {
    let Some((world, node)) = scene().await else { return };
    let mut node = node.looking_at(vec![Scope::repository("octo/b").expect("a name")]);
    assert_eq!(node.round().await.submitted, 1);
    world.github.rename_repository("octo/b", "octo/z");
    let report = node.round().await;
    assert_eq!((report.repositories.as_slice(), report.submitted), (["octo/z".to_owned()].as_slice(), 0));
    world.push("octo/z", &[("src/a.txt", "a")]);
    assert_eq!(node.round().await.submitted, 1);
}

#[tokio::test]
async fn another_repository_under_a_former_name_is_another_one() {
    let Some((world, mut node)) = scene().await else { return };
    assert_eq!(node.round().await.submitted, 3);
    world.github.rename_repository("octo/b", "octo/z");
    world.repository("octo/b", &[(CI, &workflow("p2p-only", "push"))]);
    let report = node.round().await;
    assert_eq!((report.submitted, status(&report, "b")), (1, Some("submitted")), "{report:#?}");
    assert_eq!(status(&report, "z"), Some("known"));
    assert_eq!(node.round().await.submitted, 0);
}

#[tokio::test]
async fn a_repository_deleted_while_it_is_scanned_is_said_and_the_rest_goes_on() {
    let Some((world, mut node)) = scene().await else { return };
    assert_eq!(node.round().await.submitted, 3);
    for name in ["octo/a", "octo/c"] {
        world.push(name, &[("src/a.txt", "a")]);
    }
    let report = round_while(&world, &mut node, |github| github.delete_repository("octo/b")).await;
    assert_eq!(report.submitted, 2, "{report:#?}");
    let [problem] = report.problems.as_slice() else { panic!("{:#?}", report.problems) };
    assert!(problem.repository == "octo/b" && problem.what.contains("404"), "{problem:?}");
    let known = node.knows("octo/b").expect("still known");
    let look = known.looks.values().next().map(|look| &look.outcome);
    assert!(matches!(look, Some(ScanOutcome::Failed(_))), "{look:?}");
    assert_eq!(known.workflows.len(), 1, "nobody knows whether its workflows are gone");
    let report = node.round().await;
    assert_eq!((report.problems.len(), report.repositories.len()), (0, 2), "it is in no list any more");
}

#[tokio::test]
async fn a_repository_deleted_between_its_look_and_its_clone_is_said() {
    let Some((world, mut node)) = scene().await else { return };
    world.push("octo/b", &[(CI, &workflow("p2p-only, b", "push"))]);
    // the last request before git
    world.github.fault(FaultRule::new("/repos/octo/b/git/blobs/*", Fault::Slow(Duration::from_millis(400))));
    let gone = async {
        world.until_faults_left(0).await;
        world.github.delete_repository("octo/b");
    };
    let (report, ()) = tokio::join!(node.round(), gone);
    assert_eq!(report.submitted, 2, "{report:#?}");
    let [problem] = report.problems.as_slice() else { panic!("{:#?}", report.problems) };
    assert!(problem.repository == "octo/b" && problem.what.contains("not started"), "{problem:?}");
}

#[tokio::test]
async fn an_empty_repository_is_no_problem_and_what_comes_into_it_is_found() {
    let Some((world, mut node)) = scene().await else { return };
    world.github.add_repository("octo/empty", &RepositoryOptions::default());
    let report = node.round().await;
    assert_eq!(
        (report.problems.len(), report.repositories.len(), report.submitted),
        (0, 4, 3),
        "{report:#?}"
    );
    assert!(world.asked_for("/repos/octo/empty/git/trees/main").iter().all(|asked| asked.status == 409));
    world.push("octo/empty", &[(CI, &workflow("p2p-only", "push"))]);
    assert_eq!(node.round().await.submitted, 1);
}

#[tokio::test]
async fn a_conflict_that_speaks_of_something_else_empties_nothing() {
    let Some((world, mut node)) = scene().await else { return };
    node.round().await;
    let body = serde_json::json!({ "message": "Repository is being moved." });
    let conflict = Fault::Status { status: 409, body };
    world.github.fault(FaultRule::new("/repos/octo/b/git/trees/*", conflict));
    let report = node.round().await;
    assert_eq!(report.vanished, [""; 0]);
    let [problem] = report.problems.as_slice() else { panic!("{:#?}", report.problems) };
    assert!(problem.what.contains("being moved"), "{problem:?}");
}

#[tokio::test]
async fn a_tree_that_was_cut_is_read_folder_by_folder() {
    let Some((world, mut node)) = scene().await else { return };
    world.push("octo/b", &[(".wfengine/workflows/own.yml", &workflow("p2p-only, own", "push"))]);
    world.github.set_trees_cut("octo/b", true);
    world.github.set_trees_cut("octo/c", true);
    let report = node.round().await;
    assert_eq!((report.discovered(), report.submitted, report.problems.len()), (4, 4, 0), "{report:#?}");
    let moment = world.moment();
    let report = node.round().await;
    assert_eq!((report.discovered(), report.submitted), (4, 0));
    let changed = world.asked_since(moment).into_iter().filter(|asked| asked.status == 200).count();
    assert_eq!(changed, 0, "nothing is read twice");
    world.push_bytes("octo/b", &[(".wfengine/workflows/own.yml", None)]);
    assert_eq!(node.round().await.vanished.len(), 1);
}

#[tokio::test]
async fn files_that_are_no_workflows_are_named_with_their_reason() {
    let Some((world, mut node)) = scene().await else { return };
    let entry = |text: &str| Entry::File(text.as_bytes().to_vec());
    let huge = "# P2P: p2p-only\n".repeat(40_000);
    let changes = [
        (".github/workflows/binary.yml", Entry::File(b"# P2P: p2p-only\0\n".to_vec())),
        (".github/workflows/huge.yml", entry(&huge)),
        (".github/workflows/broken.yml", entry("# P2P: p2p-only\non: push\nnames: x\njobs: {}\n")),
        (".github/workflows/yaml.yml", entry("# P2P: p2p-only\non: [push\n")),
        (".github/workflows/latin1.yml", Entry::File(b"# P2P: p2p-only \xe9\non: push\n".to_vec())),
        (".github/workflows/empty.yml", entry("")),
        (".github/workflows/link.yml", Entry::Symlink("ci.yml".to_owned())),
        (".github/workflows/sub.yml", Entry::Submodule("1".repeat(40))),
        (".github/workflows/run.yml", Entry::Executable(workflow("p2p-only", "push").into_bytes())),
        (".github/workflows/folder.yml/x.yml", entry(&workflow("p2p-only", "push"))),
    ];
    world.github.push_entries("octo/b", "main", &changes, "odd ones");
    let report = node.round().await;
    let said = |file: &str| {
        let problem = report.problems.iter().find(|problem| problem.path.ends_with(file));
        problem.map(|problem| problem.what.clone()).unwrap_or_default()
    };
    assert_eq!(said("binary.yml"), "it is binary");
    assert!(said("huge.yml").contains("at most 524288"), "{}", said("huge.yml"));
    assert!(
        said("broken.yml").contains("names") && said("broken.yml").contains(":3:"),
        "{}",
        said("broken.yml")
    );
    for file in ["yaml.yml", "latin1.yml", "empty.yml"] {
        assert!(!said(file).is_empty(), "{file}: {:#?}", report.problems);
    }
    for file in ["link.yml", "sub.yml", "folder.yml"] {
        assert!(said(file).contains("not a file"), "{file}: {:#?}", report.problems);
    }
    // a file that may be executed is a file
    assert_eq!((report.discovered(), report.submitted), (4, 4), "{report:#?}");
    assert_eq!(report.problems.len(), 9, "{:#?}", report.problems);
    let blobs = world.asked_since(0).into_iter().filter(|asked| asked.path.contains("/blobs/")).count();
    assert!(blobs <= 3 + 6, "what is too large or no file is not fetched: {blobs}");
}

#[tokio::test]
async fn what_graphql_gives_no_text_of_waits_for_its_budget_and_nothing_is_lost() {
    let Some((world, node)) = scene().await else { return };
    let latin = b"# P2P: p2p-only\n# caf\xe9\non: push\njobs: {}\n";
    let changes = [
        (".github/workflows/latin1.yml", Entry::File(latin.to_vec())),
        (".github/workflows/link.yml", Entry::Symlink("ci.yml".to_owned())),
        (".github/workflows/run.yml", Entry::Executable(workflow("p2p-only", "push").into_bytes())),
        (".github/workflows/huge.yml", Entry::File("# P2P: p2p-only\n".repeat(40_000).into_bytes())),
    ];
    world.github.push_entries("octo/b", "main", &changes, "odd ones");
    let mut node = node;
    let before = node.round().await;
    assert_eq!((before.discovered(), before.submitted), (4, 4), "{before:#?}");
    let (events, mut node) = (node.lab.events(), node.restarted(Caches::Lost));
    world.github.exhaust(Bucket::Core, "user:octo");
    let report = node.round().await;
    let problem = report.problems.first().expect("a problem");
    assert!(problem.repository == "octo/b" && problem.what.contains("limit"), "{report:#?}");
    assert_eq!((report.vanished.len(), report.submitted, node.lab.events()), (0, 0, events));
    assert_eq!((status(&report, "a"), status(&report, "c")), (Some("known"), Some("known")));
    world.pass(3_700);
    world.github.push("octo/b", "main", &[(".github/workflows/latin1.yml", None)], "away");
    node.round().await;
    // what is left is seen by both ways alike
    let (problems, events) = (node.round().await.problems, node.lab.events());
    let mut node = node.restarted(Caches::Lost);
    world.github.exhaust(Bucket::Core, "user:octo");
    let report = node.round().await;
    assert!(report.requests.graphql_points > 0);
    assert_eq!((report.discovered(), report.submitted, report.problems), (4, 0, problems));
    assert_eq!(node.lab.events(), events);
}

#[tokio::test]
async fn a_workflow_that_breaks_has_not_vanished() {
    let Some((world, mut node)) = scene().await else { return };
    node.round().await;
    world.push("octo/b", &[(CI, "# P2P: p2p-only\non: [push\n")]);
    let report = node.round().await;
    assert_eq!((report.vanished.len(), report.submitted), (0, 0));
    assert_eq!(node.knows("octo/b").map(|known| known.workflows.len()), Some(1));
    world.push("octo/b", &[(CI, &workflow("p2p-only, mended", "push"))]);
    assert_eq!(node.round().await.submitted, 1);
}

#[tokio::test]
async fn archived_disabled_and_forked_repositories_are_left_out_and_counted() {
    let Some((world, mut node)) = scene().await else { return };
    let fork = RepositoryOptions { is_fork: true, ..RepositoryOptions::default() };
    world.github.add_repository("octo/fork", &fork);
    world.push("octo/fork", &[(CI, &workflow("p2p-only", "push"))]);
    world.github.set_archived("octo/a", true);
    world.github.set_disabled("octo/b", true);
    let expected = [
        ("a fork: name it with --repo to look at it", vec!["octo/fork"]),
        ("archived", vec!["octo/a"]),
        ("disabled by GitHub", vec!["octo/b"]),
    ];
    let skipped = |report: &Report| -> Vec<(String, Vec<String>)> {
        report.skipped.iter().map(|(why, names)| (why.clone(), names.clone())).collect()
    };
    let expected: Vec<(String, Vec<String>)> = expected
        .into_iter()
        .map(|(why, names)| (why.to_owned(), names.into_iter().map(str::to_owned).collect()))
        .collect();
    let moment = world.moment();
    let report = node.round().await;
    assert_eq!((skipped(&report), report.submitted), (expected.clone(), 1), "{report:#?}");
    let asked = world.asked_since(moment);
    assert!(asked.iter().all(|asked| !asked.path.contains("/git/") || asked.path.contains("octo/c")));
    let mut other = node.joined_by(&world, "bob").await;
    world.github.exhaust(Bucket::Core, "user:octo");
    let report = other.round().await;
    assert_eq!(skipped(&report), expected, "{report:#?}");
    world.pass(3_700);
    let mut node = node.looking_at(vec![Scope::repository("octo/fork").expect("a name")]);
    assert_eq!(node.round().await.submitted, 1, "by name it is looked at");
}

#[tokio::test]
async fn repositories_without_a_push_for_so_many_days_are_looked_at_once() {
    let Some((world, node)) = scene().await else { return };
    let mut node = node.wishing(Options { since_days: Some(7), ..Options::default() });
    world.pass(30 * 86_400);
    let pushed = world.push("octo/b", &[("src/a.txt", "a")]);
    let report = node.round().await;
    assert_eq!((report.submitted, report.skipped.len()), (3, 0), "the first look is at all of them");
    world.pass(300);
    let moment = world.moment();
    let report = node.round().await;
    let skipped: Vec<_> = report.skipped.values().flatten().collect();
    assert_eq!(skipped, ["octo/a", "octo/c"], "{report:#?}");
    assert_eq!((report.discovered(), report.repositories.len()), (3, 1), "what was found there is shown");
    let asked = world.asked_since(moment);
    assert!(asked.iter().all(|asked| !asked.path.contains("octo/a")), "{asked:#?}");
    world.push("octo/a", &[("src/a.txt", "a")]);
    assert_eq!(node.round().await.submitted, 1, "a push brings it back");
    assert!(node.runs().iter().any(|run| run.trigger.as_ref().is_some_and(|trigger| trigger.sha == pushed)));
}

#[tokio::test]
async fn what_was_pushed_while_nobody_looked_runs_however_long_ago_that_was() {
    let Some((world, node)) = scene().await else { return };
    let mut node = node.wishing(Options { since_days: Some(7), ..Options::default() });
    assert_eq!(node.round().await.submitted, 3);
    world.pass(3_600);
    // the host sleeps for a month
    let pushed = world.push("octo/b", &[("src/a.txt", "a")]);
    world.pass(30 * 86_400);
    let mut node = node.restarted(Caches::Kept);
    let report = node.round().await;
    assert_eq!(report.submitted, 1, "{report:#?}");
    let skipped: Vec<_> = report.skipped.values().flatten().collect();
    assert_eq!(skipped, ["octo/a", "octo/c"]);
    let last = node.runs().pop().and_then(|run| Some(run.trigger?.sha.clone()));
    assert_eq!(last, Some(pushed));
    assert_eq!(node.round().await.repositories.len(), 0, "then it is quiet");
}

#[tokio::test]
async fn a_date_that_something_in_between_puts_in_changes_nothing() {
    for seconds in [-7_200, 7_200] {
        let Some((world, node)) = scene().await else { return };
        world.github.fault(FaultRule::new("*", Fault::SkewedDate { seconds }).always());
        live_through_limits(world, node).await;
    }
}

#[tokio::test]
async fn a_host_whose_clock_is_wrong_obeys_limits_all_the_same() {
    for seconds in [-10_800, 10_800] {
        let Some((world, node)) = scene().await else { return };
        live_through_limits(world, node.with_clock_wrong_by(seconds)).await;
    }
}

async fn live_through_limits(world: World, mut node: Node) {
    assert_eq!(node.round().await.submitted, 3);
    world.push("octo/b", &[("src/a.txt", "a")]);
    assert_eq!(node.round().await.submitted, 1);
    world.github.exhaust(Bucket::Core, "user:octo");
    world.github.exhaust(Bucket::Graphql, "user:octo");
    for _ in 0..14 {
        let report = node.round().await;
        assert_eq!((report.vanished.len(), report.submitted), (0, 0));
        world.pass(300);
    }
    world.push("octo/b", &[("src/a.txt", "b")]);
    world.pass(3 * 3_600);
    assert_eq!(node.round().await.submitted, 1);
}
