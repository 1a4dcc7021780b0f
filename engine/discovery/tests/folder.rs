//! Discovery over a folder of checkouts: no GitHub, everything else as it is.

#![expect(clippy::unwrap_used, reason = "functions of tests fail by panicking")]

mod lab;

use lab::{Checkout, Lab, MONDAY_S, over, workflow};
use wfengine_discovery::{Options, Policies, Policy};
use wfengine_git::Repository;
use wfengine_storage_format::Trigger;

const CI: &str = ".github/workflows/ci.yml";

struct Scene {
    _top: tempfile::TempDir,
    node: std::path::PathBuf,
    owner: std::path::PathBuf,
    one: Checkout,
}

/// A folder `lab` with the checkout `one`, which has a tagged workflow for pushes and one that is not tagged.
///
/// `None` on a host without git; the tests of the whole name that at their end.
fn scene(on: &str) -> Option<Scene> {
    lab::git()?;
    let top = tempfile::tempdir().unwrap();
    let owner = top.path().join("lab");
    let one = Checkout::new(owner.join("one"));
    one.write(CI, &workflow("p2p-only", on))
        .write(".github/workflows/other.yml", "on: push\njobs: {a: {runs-on: x}}\n");
    one.write("src/a.txt", "a").commit("first");
    Some(Scene { node: top.path().join("node"), owner, one, _top: top })
}

fn with(policy: Policy) -> Options {
    Options { policies: Policies { default: policy, ..Policies::default() }, ..Options::default() }
}

#[tokio::test]
async fn new_content_runs_once_and_a_restart_submits_nothing_twice() {
    let Some(scene) = scene("[push, workflow_dispatch]") else { return };
    let lab = Lab::open(&scene.node);
    let mut discovery = over(&lab, &scene.owner, Options::default());
    let report = discovery.round().await;
    assert_eq!((report.discovered(), report.submitted, report.files), (1, 1, 2), "{report:?}");
    assert_eq!(report.problems, []);
    let line = &report.workflows[0];
    assert_eq!((line.owner.as_str(), line.repo.as_str(), line.workflow_path.as_str()), ("lab", "one", CI));
    assert_eq!(
        (line.status.as_str(), line.tags.as_slice()),
        ("submitted", ["p2p-only".to_owned()].as_slice())
    );
    let events = lab.events();
    let again = discovery.round().await;
    assert_eq!((again.submitted, again.workflows[0].status.as_str(), lab.events()), (0, "known", events));
    drop((discovery, lab));
    // the node starts anew, its cache is lost
    std::fs::remove_file(scene.node.join("cache.redb")).unwrap();
    let lab = Lab::open(&scene.node);
    let report = over(&lab, &scene.owner, Options::default()).round().await;
    assert_eq!((report.submitted, lab.all_runs().len()), (0, 1));
}

#[tokio::test]
async fn a_changed_file_runs_again_and_a_push_starts_what_listens_for_it_once() {
    let Some(scene) = scene("push") else { return };
    let lab = Lab::open(&scene.node);
    let mut discovery = over(&lab, &scene.owner, Options::default());
    discovery.round().await;
    let second = scene.one.write("src/a.txt", "b").commit("second");
    assert_eq!(discovery.round().await.submitted, 1);
    let run = lab.all_runs().pop().unwrap();
    let submitted = run.submitted.clone().unwrap();
    assert_eq!(
        (submitted.frozen.sha.as_str(), submitted.frozen.event_name.as_str()),
        (second.as_str(), "push")
    );
    assert!(matches!(&run.trigger.as_ref().unwrap().trigger, Trigger::Push { before } if before.len() == 40));
    assert_eq!(submitted.frozen.actor, "lab", "whom a commit names is nobody's login");
    // a push that changes the workflow is one run, not two
    scene.one.write(CI, &workflow("p2p-only, web-scraping", "push")).commit("third");
    let report = discovery.round().await;
    assert_eq!((report.submitted, lab.all_runs().len()), (1, 3), "{report:?}");
    scene.one.git(&["rm", "--quiet", CI]);
    scene.one.commit("gone");
    let report = discovery.round().await;
    assert_eq!((report.discovered(), report.vanished.len(), report.submitted), (0, 1, 0));
    let views = lab.store.watcher().views();
    let known: Vec<_> = views.repositories().all().collect();
    assert!(known.len() == 1 && known[0].name == "lab/one" && known[0].workflows.is_empty());
}

#[tokio::test]
async fn what_needs_inputs_when_it_is_found_still_runs_for_pushes() {
    let Some(scene) = scene("{workflow_dispatch: {inputs: {module: {required: true}}}, push: {}}") else {
        return;
    };
    let lab = Lab::open(&scene.node);
    let mut discovery = over(&lab, &scene.owner, Options::default());
    let report = discovery.round().await;
    assert_eq!((report.submitted, report.workflows[0].status.as_str()), (0, "needs input: module"));
    scene.one.write("src/a.txt", "b").commit("second");
    assert_eq!(discovery.round().await.submitted, 1);
    assert_eq!(discovery.round().await.submitted, 0);
    assert_eq!(lab.runs()[0].0, "push");
}

#[tokio::test]
async fn a_push_that_brings_the_first_workflow_starts_it() {
    let Some(scene) = scene("push") else { return };
    scene.one.git(&["rm", "--quiet", CI]);
    scene.one.commit("without");
    let lab = Lab::open(&scene.node);
    let mut discovery = over(&lab, &scene.owner, with(Policy::OnTrigger));
    assert_eq!(discovery.round().await.discovered(), 0);
    let pushed = scene.one.write(CI, &workflow("p2p-only", "push")).commit("with");
    assert_eq!((discovery.round().await.submitted, discovery.round().await.submitted), (1, 0));
    assert_eq!(lab.all_runs()[0].submitted.as_ref().unwrap().frozen.sha, pushed);
}

#[tokio::test]
async fn more_refs_than_one_round_looks_at_all_start_their_runs() {
    let Some(scene) = scene("push") else { return };
    let lab = Lab::open(&scene.node);
    let mut discovery = over(&lab, &scene.owner, with(Policy::OnTrigger));
    discovery.round().await;
    for number in 0..40 {
        scene.one.git(&["tag", &format!("v{number}")]);
    }
    let first = discovery.round().await;
    assert!(first.problems[0].what.starts_with("40 refs moved at once"), "{first:?}");
    let second = discovery.round().await;
    assert_eq!((first.submitted, second.submitted, discovery.round().await.submitted), (32, 8, 0));
}

#[tokio::test]
async fn a_push_that_could_not_be_started_is_started_in_the_next_round() {
    let Some(scene) = scene("push") else { return };
    let lab = Lab::open(&scene.node);
    let mut discovery = over(&lab, &scene.owner, with(Policy::OnTrigger));
    discovery.round().await;
    let pushed = scene.one.write("src/a.txt", "b").commit("second");
    // the object is unreadable for a while
    let object = scene.one.folder.join(".git/objects").join(&pushed[..2]).join(&pushed[2..]);
    let aside = scene.one.folder.join("aside");
    std::fs::rename(&object, &aside).unwrap();
    let report = discovery.round().await;
    assert_eq!(report.submitted, 0);
    assert!(!report.problems.is_empty(), "{report:?}");
    std::fs::rename(&aside, &object).unwrap();
    assert_eq!(discovery.round().await.submitted, 1);
    assert_eq!(lab.all_runs()[0].submitted.as_ref().unwrap().frozen.sha, pushed);
}

#[tokio::test]
async fn a_new_branch_at_a_commit_that_was_there_changes_no_paths() {
    let Some(scene) = scene("{push: {paths: ['src/**']}}") else { return };
    let lab = Lab::open(&scene.node);
    let mut discovery = over(&lab, &scene.owner, with(Policy::OnTrigger));
    discovery.round().await;
    scene.one.git(&["branch", "copy"]);
    assert_eq!(discovery.round().await.submitted, 0);
}

#[tokio::test]
async fn pushes_are_filtered_by_branch_tag_and_path() {
    let Some(scene) = scene("{push: {branches: [main, 'release/**'], tags: ['v*'], paths: ['src/**']}}")
    else {
        return;
    };
    let lab = Lab::open(&scene.node);
    let mut discovery = over(&lab, &scene.owner, with(Policy::OnTrigger));
    assert_eq!(discovery.round().await.submitted, 0, "what was pushed before the first look is history");
    let one = &scene.one;
    one.write("README.md", "x").commit("no path");
    assert_eq!(discovery.round().await.submitted, 0);
    one.write("src/b.txt", "x").commit("a path");
    assert_eq!(discovery.round().await.submitted, 1);
    one.git(&["checkout", "--quiet", "-b", "feature"]);
    one.write("src/c.txt", "x").commit("elsewhere");
    assert_eq!(discovery.round().await.submitted, 0);
    one.git(&["checkout", "--quiet", "-b", "release/1"]);
    one.git(&["tag", "v1"]);
    one.git(&["tag", "x1"]);
    one.git(&["checkout", "--quiet", "main"]);
    let report = discovery.round().await;
    assert_eq!((report.submitted, report.problems.len()), (2, 0), "{report:?}");
    let refs: Vec<String> = lab.runs().into_iter().map(|(_, git_ref, _)| git_ref).collect();
    assert_eq!(refs, ["refs/heads/main", "refs/heads/release/1", "refs/tags/v1"]);
    one.git(&["branch", "--quiet", "-D", "release/1"]);
    assert_eq!(discovery.round().await.submitted, 0, "a deleted branch starts nothing");
}

#[tokio::test]
async fn a_schedule_missed_while_asleep_fires_once() {
    let Some(scene) = scene("{schedule: [{cron: '0 6 * * *'}]}") else { return };
    let lab = Lab::open(&scene.node);
    let mut discovery = over(&lab, &scene.owner, with(Policy::OnTrigger));
    discovery.round().await;
    lab.pass(5 * 3_600);
    assert_eq!(discovery.round().await.submitted, 0);
    lab.pass(3 * 86_400 + 2 * 3_600);
    assert_eq!(discovery.round().await.submitted, 1);
    assert_eq!(discovery.round().await.submitted, 0);
    let run = lab.all_runs().pop().unwrap();
    let due = MONDAY_S + 3 * 86_400 + 6 * 3_600;
    let trigger = run.trigger.as_ref().unwrap().trigger.clone();
    assert_eq!(trigger, Trigger::Schedule { cron: "0 6 * * *".into(), timezone: "UTC".into(), due_s: due });
    lab.pass(86_400);
    assert_eq!(discovery.round().await.submitted, 1);
}

#[tokio::test]
async fn an_edit_that_leaves_a_schedule_alone_does_not_begin_it_anew() {
    let Some(scene) = scene("{schedule: [{cron: '0 6 * * *'}]}") else { return };
    let lab = Lab::open(&scene.node);
    let mut discovery = over(&lab, &scene.owner, with(Policy::OnTrigger));
    discovery.round().await;
    lab.pass(6 * 3_600 + 60);
    let text = workflow("p2p-only, other", "{schedule: [{cron: '0 6 * * *'}, {cron: '30 5 * * *'}]}");
    scene.one.write(CI, &text).commit("edited at six");
    let report = discovery.round().await;
    assert_eq!(report.submitted, 1, "six o'clock was due, half past five is new: {report:?}");
    scene.one.git(&["rm", "--quiet", CI]);
    scene.one.commit("gone");
    discovery.round().await;
    lab.pass(86_400);
    scene.one.write(CI, &text).commit("there again");
    assert_eq!(discovery.round().await.submitted, 0, "nobody missed what was not there");
}

#[tokio::test]
async fn policies_hold_per_owner_and_repository() {
    let Some(scene) = scene("push") else { return };
    let two = Checkout::new(scene.owner.join("two"));
    two.write(CI, &workflow("p2p-eligible", "push")).commit("first");
    let by_name = [("lab", Policy::Manual), ("lab/two", Policy::OnDiscovery)];
    let by_name = by_name.into_iter().map(|(name, policy)| (name.to_owned(), policy)).collect();
    let options = Options { policies: Policies { default: Policy::Auto, by_name }, ..Options::default() };
    let lab = Lab::open(&scene.node);
    let mut discovery = over(&lab, &scene.owner, options);
    let report = discovery.round().await;
    assert_eq!((report.discovered(), report.submitted), (2, 1));
    for checkout in [&scene.one, &two] {
        checkout.write("x", "y").commit("more");
    }
    assert_eq!(discovery.round().await.submitted, 0);
    let submitted = lab.all_runs()[0].submitted.clone().unwrap();
    assert_eq!((submitted.frozen.repository.as_str(), submitted.priority_milli), ("lab/two", 2_500));
}

#[tokio::test]
async fn what_cannot_be_submitted_is_reported_and_the_rest_goes_on() {
    let Some(scene) = scene("push") else { return };
    let bad = Checkout::new(scene.owner.join("bad"));
    bad.write(".github/workflows/broken.yml", "on: push\nnames: x\njobs: {}\n");
    bad.write(".github/workflows/binary.yml", "a\0b");
    bad.write(".github/workflows/huge.yml", &"# x\n".repeat(200_000));
    bad.write(
        ".github/workflows/uses.yml",
        "# P2P: p2p-only\non: push\njobs: {a: {runs-on: x, steps: [{uses: a/b@v1}]}}\n",
    );
    let on = "{workflow_dispatch: {inputs: {module: {required: true}}}}";
    bad.write(".wfengine/workflows/input.yml", &workflow("p2p-only", on));
    bad.write(".github/workflows/both.yml", &workflow("p2p-only, unit-test", "push"));
    std::os::unix::fs::symlink("broken.yml", bad.folder.join(".github/workflows/link.yml")).unwrap();
    bad.commit("first");
    Checkout::new(scene.owner.join("empty"));
    let damaged = Checkout::new(scene.owner.join("damaged"));
    damaged.write(CI, &workflow("p2p-only", "push")).commit("first");
    std::fs::remove_dir_all(damaged.folder.join(".git/objects")).unwrap();
    let lab = Lab::open(&scene.node);
    let mut discovery = over(&lab, &scene.owner, Options::default());
    let report = discovery.round().await;
    assert_eq!(report.submitted, 1, "{report:#?}");
    let said = |path: &str| {
        let problem = report.problems.iter().find(|problem| problem.path.ends_with(path));
        problem.map(|problem| problem.what.clone()).unwrap_or_default()
    };
    assert!(said("broken.yml").contains("names"), "{report:#?}");
    assert_eq!(said("binary.yml"), "it is binary");
    assert!(said("huge.yml").contains("at most 524288"), "{}", said("huge.yml"));
    assert!(said("link.yml").contains("link"), "{report:#?}");
    assert!(report.problems.iter().any(|problem| problem.repository == "lab/damaged"), "{report:#?}");
    let status = |path: &str| {
        let line = report.workflows.iter().find(|line| line.workflow_path.ends_with(path));
        line.map(|line| line.status.clone()).unwrap_or_default()
    };
    assert!(status("uses.yml").starts_with("cannot run here: "), "{report:#?}");
    assert_eq!(status("input.yml"), "needs input: module");
    assert_eq!(report.for_github, ["lab/bad/.github/workflows/both.yml: p2p-only, unit-test"]);
    let fingerprint = discovery.round().await.fingerprint();
    assert_eq!(fingerprint, discovery.round().await.fingerprint());
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let Some(scene) = scene("push") else { return };
    let lab = Lab::open(&scene.node);
    let events = lab.events();
    let options = Options { dry_run: true, ..Options::default() };
    let report = over(&lab, &scene.owner, options).round().await;
    assert_eq!((report.discovered(), report.submitted, lab.events()), (1, 0, events));
    assert_eq!(report.workflows[0].status, "would be submitted");
}

#[tokio::test]
async fn a_repository_is_left_to_the_member_whose_turn_it_is() {
    let Some(scene) = scene("push") else { return };
    let lab = Lab::open(&scene.node);
    lab.before.store(1, std::sync::atomic::Ordering::Relaxed);
    let by_turns = Options { by_turns: true, ..Options::default() };
    let report = over(&lab, &scene.owner, by_turns).round().await;
    assert_eq!(report.skipped["another member looks at it"], ["lab/one"]);
    let report = over(&lab, &scene.owner, Options::default()).round().await;
    assert_eq!(report.submitted, 1, "asked for by hand it is looked at all the same");
}

#[tokio::test]
async fn the_sources_of_the_commit_are_shared_as_a_pack() {
    let Some(scene) = scene("push") else { return };
    let lab = Lab::open(&scene.node);
    over(&lab, &scene.owner, Options::default()).round().await;
    let run = lab.all_runs().pop().unwrap();
    let trigger = run.trigger.clone().unwrap();
    let blob = trigger.sources.unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let pack = elsewhere.path().join("pack");
    std::fs::write(&pack, wfengine_discovery::Host::blobs(&*lab).read(&blob).unwrap()).unwrap();
    assert_eq!(std::fs::metadata(&pack).unwrap().len(), trigger.sources_len);
    let other = Repository::bare(&lab::git().unwrap(), &elsewhere.path().join("r")).await.unwrap();
    other.unpack(&pack, &trigger.sha).await.unwrap();
    let entries = other.entries(&trigger.sha, &["src"]).await.unwrap();
    assert_eq!(entries[0].path, "src/a.txt");
    let small = Options { sources_bytes_max: 10, ..Options::default() };
    scene.one.write("src/a.txt", "more").commit("second");
    let report = over(&lab, &scene.owner, small).round().await;
    assert_eq!(report.submitted, 1);
    assert!(report.problems[0].what.contains("not shared with members"), "{report:?}");
}

#[tokio::test]
async fn a_quiet_repository_is_left_out_but_its_schedules_are_not() {
    let Some(scene) = scene("{schedule: [{cron: '0 6 * * *'}]}") else { return };
    let lab = Lab::open(&scene.node);
    let options = Options { since_days: Some(1), ..with(Policy::OnTrigger) };
    let mut discovery = over(&lab, &scene.owner, options);
    let report = discovery.round().await;
    assert_eq!(report.repositories, ["lab/one"], "the first look is at all of them");
    lab.pass(7 * 3_600);
    let report = discovery.round().await;
    assert_eq!(report.skipped["no push for 1 days"], ["lab/one"]);
    assert_eq!((report.submitted, report.discovered()), (1, 1), "{report:?}");
}
