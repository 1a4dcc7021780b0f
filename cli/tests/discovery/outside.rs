//! What is done at GitHub: what leaves and what never does, what is taken as ours, and what is asked for once.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use wfengine_tests::standin::{ErrorCase, Fault, FaultRule, Logged};

use crate::checkout::{Github, PATH, workflow};
use crate::house::{House, Live, text, until};
use crate::requirements::{Requirement, require};
use crate::{runs, until_runs};

const ON: &str = "[push, workflow_dispatch]";
const ONE: &str = "octo/one";

/// A house that takes no job itself, and watches one repository with a workflow that may fall back.
fn watching(more: &[&str]) -> (Github, House) {
    let github = Github::with_repository(ONE, &[(PATH, &workflow("p2p-eligible", ON)), ("data.txt", "x")]);
    let house = House::new();
    house.ask(&["pause"]).ends(0);
    watch(&house, more);
    (github, house)
}

fn watch(house: &House, more: &[&str]) {
    let watch = ["discover", "watch", "--repo", ONE, "--interval", "1"];
    house.ask(&[watch.as_slice(), more].concat()).ends(0);
}

fn has_git() -> bool {
    require(Requirement::Git, "handing over to the stand-in for GitHub").is_some()
}

fn asked(github: &Github, method: &str, part: &str) -> Vec<Logged> {
    let fits = |request: &Logged| request.method == method && request.bare_path().contains(part);
    github.standin.requests().into_iter().filter(fits).collect()
}

fn outcomes(house: &House) -> Vec<Json> {
    house.json(&["replay", "--kind", "EffectDone"])
}

fn whole(github: &Github, house: &House, serving: Live) {
    serving.stop().ends(0);
    house.ask(&["replay", "--verify"]).ends(0);
    github.is_content();
}

#[test]
fn a_branch_that_moved_on_to_what_is_for_peers_alone_is_never_dispatched() {
    if !has_git() {
        return;
    }
    let (github, house) = watching(&["--fallback-after", "4s"]);
    let mut serving = github.serve(&house);
    until_runs(&house, 1, "pending");
    github.push(ONE, &[(PATH, &workflow("p2p-only", ON))]);
    serving.wait_for("the branch moved on since: GitHub would run another commit");
    let status = house.ask(&["status"]).ends(0).out;
    assert!(status.contains("the branch moved on since"), "{status}");
    until("asked a few times more", || (asked(&github, "GET", "/branches/main").len() > 2).then_some(()));
    assert_eq!(asked(&github, "POST", "/dispatches").len(), 0);
    assert!(house.json(&["replay", "--kind", "EffectIntended"]).is_empty(), "nothing was even meant");
    assert!(runs(&house).iter().all(|run| text(run, "status") == "pending"));
    whole(&github, &house, serving);
}

#[test]
fn a_push_between_the_question_and_the_dispatch_is_noticed_and_githubs_run_is_cancelled() {
    if !has_git() {
        return;
    }
    let (github, house) = watching(&["--fallback-after", "1s"]);
    // the answer is of before, and comes late
    let late = Fault::Slow(Duration::from_secs(3));
    github.standin.fault(FaultRule::new("/repos/octo/one/branches/main", late).method("GET"));
    let mut serving = github.serve(&house);
    github.until("where the branch stands was asked", |_| {
        (!asked(&github, "GET", "/branches/main").is_empty()).then_some(())
    });
    github.push(ONE, &[(PATH, &workflow("p2p-only", ON))]);
    serving.wait_for("somebody pushed at that moment");
    let dispatched = github.standin.dispatches();
    assert_eq!(dispatched.len(), 1);
    let there = github.standin.runs().into_iter().find(|run| run.id == dispatched[0].run).unwrap();
    assert!(there.is_cancelled_by_client, "{there:?}");
    serving.wait_for("the branch moved on since");
    assert!(runs(&house).iter().all(|run| text(run, "status") == "pending"), "it is no result of ours");
    assert_eq!(github.standin.dispatches().len(), 1);
    // the one window that is open still, so `Github::is_content` does not hold here: GitHub takes the name of a branch and no commit,
    // and what is pushed between the answer and the dispatch it was asked to run, until it was told to cancel it
    serving.stop().ends(0);
    house.ask(&["replay", "--verify"]).ends(0);
    assert_eq!(github.standin.requests_during_limits().len(), 0);
    assert_eq!(github.standin.contract_problems(), [""; 0]);
}

#[test]
fn a_hand_over_whose_answer_was_lost_is_found_again_and_not_repeated() {
    if !has_git() {
        return;
    }
    let (github, house) = watching(&["--fallback-after", "1s"]);
    github.standin.fault(FaultRule::new("*/dispatches", Fault::LostAnswer).method("POST"));
    let serving = github.serve(&house);
    let dispatched = github.until("it is dispatched", |standin| standin.dispatches().first().cloned());
    until("what came of it is in the log", || (outcomes(&house).len() == 2).then_some(()));
    github.standin.finish_run(dispatched.run, "success");
    until_runs(&house, 1, "completed");
    assert_eq!(github.standin.dispatches().len(), 1);
    whole(&github, &house, serving);
}

#[test]
fn a_run_that_was_deleted_at_github_ends_here_and_is_not_asked_for_again() {
    if !has_git() {
        return;
    }
    let (github, house) = watching(&["--fallback-after", "1s"]);
    let mut serving = github.serve(&house);
    let dispatched = github.until("it is dispatched", |standin| standin.dispatches().first().cloned());
    github.standin.start_run(dispatched.run);
    until_runs(&house, 1, "in_progress");
    let path = format!("/repos/octo/one/actions/runs/{}", dispatched.run);
    github.standin.fault(FaultRule::new(&path, Fault::Error(ErrorCase::NotFoundOrHidden)).always());
    serving.wait_for("somebody deleted it at GitHub");
    until_runs(&house, 1, "cancelled");
    let before = asked(&github, "GET", &path).len();
    let looks = || asked(&github, "GET", "/git/trees/").len();
    let seen = looks();
    until("a few looks later", || (looks() > seen + 3).then_some(()));
    assert_eq!(asked(&github, "GET", &path).len(), before);
    whole(&github, &house, serving);
}

#[test]
fn a_hand_over_goes_on_while_a_round_takes_its_time_and_while_the_settings_change() {
    if !has_git() {
        return;
    }
    let (github, house) = watching(&["--fallback-after", "2s"]);
    let serving = github.serve(&house);
    until_runs(&house, 1, "pending");
    // from now on no round comes to its end, and the dispatch takes a while
    let (long, longer) = (Fault::Slow(Duration::from_secs(3)), Fault::Slow(Duration::from_secs(25)));
    github.standin.fault(FaultRule::new("*/dispatches", long).method("POST"));
    github.standin.fault(FaultRule::new("/repos/octo/one", longer).always());
    let begun = Instant::now();
    let dispatched = github.until("it is dispatched", |standin| standin.dispatches().first().cloned());
    watch(&house, &["--fallback-after", "2s", "--policy", "manual"]);
    let done = until("what came of it is in the log", || outcomes(&house).into_iter().next());
    assert!(begun.elapsed() < Duration::from_secs(20), "it waited for the round");
    assert!(done.to_string().contains(&dispatched.run.to_string()), "{done}");
    github.standin.finish_run(dispatched.run, "failure");
    until_runs(&house, 1, "failed");
    assert_eq!((github.standin.dispatches().len(), outcomes(&house).len()), (1, 1));
    github.standin.clear_faults();
    whole(&github, &house, serving);
}

#[test]
fn check_runs_are_asked_for_once_where_github_refuses_them() {
    if !has_git() {
        return;
    }
    let github = Github::with_repository(ONE, &[("data.txt", "x")]);
    let house = House::new();
    watch(&house, &["--report", "checks"]);
    let mut serving = github.serve(&house);
    until("the repository was looked at", || {
        (!house.json(&["replay", "--kind", "RepositoryScanned"]).is_empty()).then_some(())
    });
    github.push(ONE, &[(PATH, &workflow("p2p-only", "push"))]);
    serving.wait_for("jobs are not shown at GitHub");
    until_runs(&house, 1, "completed");
    for (count, content) in [(2, "y"), (3, "z")] {
        github.push(ONE, &[("data.txt", content)]);
        until_runs(&house, count, "completed");
    }
    let looks = || asked(&github, "GET", "/git/trees/").len();
    let seen = looks();
    until("a few looks later", || (looks() > seen + 3).then_some(()));
    assert_eq!(asked(&github, "POST", "/check-runs").len(), 1);
    let status = house.ask(&["status"]).ends(0).out;
    assert!(status.contains("octo/one: jobs are not shown at GitHub"), "{status}");
    let said = serving.stop().ends(0);
    assert_eq!(said.err.matches("jobs are not shown at GitHub").count(), 1, "{said:?}");
    github.is_content();
}

#[test]
fn reports_begin_with_what_is_due_from_then_on() {
    if !has_git() {
        return;
    }
    let github = Github::with_repository(ONE, &[(PATH, &workflow("p2p-only", "push")), ("data.txt", "x")]);
    let house = House::new();
    watch(&house, &[]);
    let serving = github.serve(&house);
    until_runs(&house, 1, "completed");
    watch(&house, &["--report", "statuses"]);
    let sha = github.push(ONE, &[("data.txt", "y")]);
    until_runs(&house, 2, "completed");
    github.until("the new one is shown", |standin| {
        standin.statuses().iter().any(|status| status.state == "success").then_some(())
    });
    assert!(github.standin.statuses().iter().all(|status| status.sha == sha), "the old one is not");
    whole(&github, &house, serving);
}

#[test]
fn what_may_fall_back_is_not_disabled_and_what_is_for_peers_alone_is() {
    if !has_git() {
        return;
    }
    let only = ".github/workflows/only.yml";
    let files =
        [(PATH, &*workflow("p2p-eligible", ON)), (only, &*workflow("p2p-only", "push")), ("data.txt", "x")];
    let github = Github::with_repository(ONE, &files);
    let house = House::new();
    watch(&house, &["--doubles", "disable"]);
    let mut serving = github.serve(&house);
    serving.wait_for("show.yml: is not disabled at GitHub, for it may fall back there");
    github
        .until("the other one is disabled", |standin| standin.is_workflow_disabled(ONE, only).then_some(()));
    assert!(!github.standin.is_workflow_disabled(ONE, PATH));
    assert_eq!(asked(&github, "PUT", "/disable").len(), 1);
    whole(&github, &house, serving);
}

#[test]
fn a_double_is_cancelled_although_the_first_try_failed() {
    if !has_git() {
        return;
    }
    let github = Github::with_repository(ONE, &[("data.txt", "x")]);
    let house = House::new();
    watch(&house, &["--doubles", "cancel"]);
    let serving = github.serve(&house);
    until("the repository was looked at", || {
        (!house.json(&["replay", "--kind", "RepositoryScanned"]).is_empty()).then_some(())
    });
    // four times: reading is repeated by itself
    let fails = Fault::Error(ErrorCase::Unicorn);
    github.standin.fault(FaultRule::new("/repos/octo/one/actions/runs", fails).method("GET").times(4));
    let sha = github.push(ONE, &[(PATH, &workflow("p2p-only", "push"))]);
    let double = github.until("GitHub's own run is cancelled", |standin| {
        standin.runs().into_iter().find(|run| run.is_cancelled_by_client)
    });
    assert_eq!((double.sha, double.event.as_str(), github.standin.faults_left()), (sha, "push", 0));
    whole(&github, &house, serving);
}

#[test]
fn a_webhook_of_a_run_hastens_a_look_at_it_and_not_at_the_repository() {
    if !has_git() {
        return;
    }
    let github = Github::with_repository(ONE, &[(PATH, &workflow("p2p-eligible", ON)), ("data.txt", "x")]);
    let house = House::new();
    house.ask(&["pause"]).ends(0);
    let secret = house.path("secret");
    std::fs::write(&secret, "a secret").unwrap();
    let secret = secret.display().to_string();
    let watch = ["discover", "watch", "--repo", ONE, "--interval", "3600", "--fallback-after", "1s"];
    let hook = ["--webhook", "127.0.0.1:0", "--webhook-secret-file", &secret];
    house.ask(&[watch.as_slice(), &hook].concat()).ends(0);
    let mut serving = github.serve(&house);
    let line = serving.wait_for("webhooks are heard at ");
    let address = line.split("heard at ").nth(1).unwrap().trim().split('/').next().unwrap().to_owned();
    let url = format!("http://{address}/webhooks/github");
    let dispatched = github.until("it is dispatched", |standin| standin.dispatches().first().cloned());
    github.standin.add_hook(ONE, &url, Some("a secret"), &["workflow_run"]);
    let path = format!("/actions/runs/{}", dispatched.run);
    let follows = || asked(&github, "GET", &path).len();
    // right after a look of its own the next one is a quarter of a minute away
    let seen = follows();
    until("it was followed", || (follows() > seen).then_some(()));
    let trees = asked(&github, "GET", "/git/trees/").len();
    let begun = Instant::now();
    github.standin.finish_run(dispatched.run, "success");
    until_runs(&house, 1, "completed");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(asked(&github, "GET", "/git/trees/").len(), trees, "the repository was not looked at");
    whole(&github, &house, serving);
}

/// A request as some other member makes it.
fn post(github: &Github, path: &str, body: &Json) -> String {
    let base = github.standin.base_url();
    let host = base.trim_start_matches("http://");
    let body = body.to_string();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: test\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        github.token,
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_ref_that_another_member_made_keeps_a_run_here_and_one_of_our_own_does_not() {
    if !has_git() {
        return;
    }
    let (github, house) = watching(&["--fallback-after", "4s", "--arbiter-ref"]);
    let mut serving = github.serve(&house);
    let run = until_runs(&house, 1, "pending").remove(0);
    let name = format!("refs/wfengine/claims/{}", text(&run, "id"));
    let claim = serde_json::json!({ "ref": name, "sha": text(&run, "sha") });
    let made = post(&github, "/repos/octo/one/git/refs", &claim);
    assert!(made.starts_with("HTTP/1.1 201"), "{made}");
    serving.wait_for("another member has handed it over");
    let refused = outcomes(&house).remove(0);
    assert!(refused.to_string().contains("another member has handed it over"), "{refused}");
    // of the next commit the ref is ours, and the first dispatch is turned away
    let away = Fault::Status { status: 409, body: serde_json::json!({ "message": "not now" }) };
    github.standin.fault(FaultRule::new("*/dispatches", away).method("POST"));
    github.push(ONE, &[("data.txt", "y")]);
    let dispatched = github.until("it is dispatched", |standin| standin.dispatches().first().cloned());
    assert_eq!(github.standin.dispatches().len(), 1);
    assert_eq!(asked(&github, "POST", "/dispatches").len(), 2);
    github.standin.finish_run(dispatched.run, "success");
    until_runs(&house, 1, "completed");
    whole(&github, &house, serving);
}
