//! Many jobs and few runners.

use std::time::Duration;

use crate::house::{House, text, until};
use crate::lab::{LABELS, Lab, files_with};

/// A figure of the node that serves in a house, by its line.
fn figure(house: &House, sample: &str) -> f64 {
    let url = text(&house.one(&["status"]), "http").to_owned();
    let token = std::fs::read_to_string(house.data().join("http-token")).unwrap();
    let asked = ureq::get(format!("{url}/metrics")).header("Authorization", format!("Bearer {token}")).call();
    let told = asked.unwrap().body_mut().read_to_string().unwrap();
    let line = told.lines().find(|line| line.rsplit_once(' ').is_some_and(|(name, _)| name == sample));
    let line = line.unwrap_or_else(|| panic!("no {sample} in {told}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn twenty_jobs_in_three_repositories_are_done_once_by_three_runners_at_a_time() {
    let repositories = ["octo/one", "octo/two", "octo/three"];
    let Some(lab) = Lab::new(&repositories, "twenty jobs on three runners") else { return };
    let house = House::new();
    let node = lab.start(&house, &["--max-runners", "3"]);
    for (repository, count) in repositories.iter().zip([7, 7, 6]) {
        lab.standin.queue_jobs(repository, "build do-slow-1.5", &LABELS, count);
    }
    lab.until_all_jobs_ended();
    lab.every_job_was_done_once();
    lab.until_nothing_is_left();
    let (most, started) = {
        let watched = lab.watched.lock().unwrap();
        (watched.most, watched.started)
    };
    assert_eq!((most, started), (3, 20));
    let status = until("the log says that all of them are gone", || {
        Some(lab.status(&house)).filter(|status| status["runners"] == serde_json::json!([]))
    });
    assert_eq!(status["provisioned_runners"], 20, "{status}");
    assert_eq!((&status["running"], &status["active_runners"]), (&true.into(), &0.into()));
    for (sample, expected) in [
        ("wfengine_runner_start_seconds_count", 20.0),
        ("provisioned_runners", 20.0),
        ("active_runners", 0.0),
        ("queued_workflows", 0.0),
        ("repositories_monitored", 3.0),
    ] {
        assert_eq!(figure(&house, sample), expected, "{sample}");
    }
    // each of them took a while, and none of them long
    let started = figure(&house, "wfengine_runner_start_seconds_sum");
    assert!(started > 0.0 && started < 20.0 * 60.0, "{started}");
    assert!(figure(&house, "iterations") > 0.0);
    let [limit, remaining] = ["limit", "remaining"]
        .map(|name| figure(&house, &format!("wfengine_github_requests_{name}{{resource=\"core\"}}")));
    assert!(remaining > 0.0 && remaining < limit, "{remaining} of {limit}");
    let said = node.stop().ends(0);
    assert!(said.out.contains("At capacity: 3/3 runners active"), "{said:?}");
    // no secret is written anywhere: not by the node, not in its log
    for secret in [lab.token.as_str(), "jit-", "encoded_jit_config"] {
        assert!(!said.out.contains(secret) && !said.err.contains(secret), "{secret}");
    }
    assert_eq!(files_with(&house.data(), &lab.token), [""; 0]);
    house.ask(&["replay", "--verify"]).ends(0);
    let story = house.ask(&["replay"]).ends(0).out;
    assert!(story.contains("intended for octo/one") && story.contains("removed"), "{story}");
    lab.is_content();
}

#[test]
fn a_runner_starts_within_five_seconds_of_its_job() {
    let Some(lab) = Lab::new(&["octo/one"], "how soon a runner starts") else { return };
    let house = House::new();
    let node = lab.start(&house, &[]);
    until("the first look was made", || lab.status(&house)["iterations"].as_u64().filter(|looks| *looks > 0));
    for round in 0..3 {
        let jobs = lab.standin.queue_jobs("octo/one", "build", &LABELS, 1);
        assert!(lab.runtime.block_on(
            lab.standin.wait_until(Duration::from_secs(30), |standin| {
                standin.job(jobs[0]).completed_at.is_some()
            })
        ));
        let job = lab.standin.job(jobs[0]);
        let waited = job.started_at.unwrap() - job.queued_at;
        assert!(waited <= 5, "round {round}: {waited} s");
    }
    lab.until_nothing_is_left();
    let listed = lab.command(&house, &["--json", "runner", "list-containers"]);
    assert_eq!(crate::house::Live::start(listed).end().ends(0).out.trim(), "[]");
    node.stop().ends(0);
    let name = {
        let story = house.ask(&["replay"]).ends(0).out;
        let at = story.find("wfengine-").unwrap();
        story[at..].split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).next().unwrap().to_owned()
    };
    // what it printed is kept after its container
    let log = house.ask(&["runner", "logs", &name]).ends(0);
    assert!(log.out.contains("Listening for Jobs") && log.out.contains("completed with result"), "{log:?}");
    let _ = text;
    lab.is_content();
}
