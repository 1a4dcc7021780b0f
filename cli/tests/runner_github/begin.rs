//! How these tests begin pools, and what they ask again and again.

use std::process::Command;
use std::time::Duration;

use serde_json::Value as Json;
use wfengine_tests::standin::{JobId, JobInfo, RunnerChange, Standin};

use crate::house::{House, Live, until};
use crate::lab::{LABELS, Lab};

/// Generous: it is reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// What turns the lab's pool on, with these options in place of those that the lab has.
pub fn start_command(lab: &Lab, house: &House, options: &[&str]) -> Command {
    let url = lab.standin.runner_url();
    let port = url.rsplit(':').next().unwrap().trim_end_matches('/').to_owned();
    let mut arguments: Vec<String> = lab.start_arguments(&port, &[]).into_iter().map(str::to_owned).collect();
    for pair in options.chunks(2) {
        let given: Vec<String> = pair.iter().map(|part| (*part).to_owned()).collect();
        match arguments.iter().position(|known| *known == given[0]) {
            Some(at) => arguments[at + 1].clone_from(&given[1]),
            None => arguments.extend(given),
        }
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    lab.command(house, &arguments)
}

/// Turns the pool on in a house, whose node becomes this process.
pub fn start(lab: &Lab, house: &House, options: &[&str]) -> Live {
    let mut command = start_command(lab, house, options);
    command.args(["--listen", "127.0.0.1:0", "--no-lan"]);
    let mut live = Live::start(command);
    live.wait_for("serves on UDP");
    live
}

/// Waits until GitHub was looked at so many times more.
pub fn until_looks(lab: &Lab, house: &House, more: u64) {
    let looks = || lab.status(house)["iterations"].as_u64().unwrap();
    let before = looks();
    until("GitHub was looked at", || (looks() >= before + more).then_some(()));
}

/// Waits until the service is as a test wants it.
#[track_caller]
pub fn until_service(lab: &Lab, what: &str, is_so: impl Fn(&Standin) -> bool) {
    assert!(
        lab.runtime.block_on(lab.standin.wait_until(PATIENCE, is_so)),
        "{what}: {:?} {:?}",
        lab.standin.jobs(),
        lab.standin.runners()
    );
}

/// Waits until a job has ended; it was done, once.
#[track_caller]
pub fn until_done(lab: &Lab, job: JobId) -> JobInfo {
    until_service(lab, "the job has ended", |standin| standin.job(job).completed_at.is_some());
    let job = lab.standin.job(job);
    assert_eq!((job.conclusion.as_deref(), job.handed_out), (Some("success"), 1), "{job:?}");
    job
}

/// Queues one job.
pub fn queue(lab: &Lab, repository: &str, name: &str) -> JobId {
    lab.standin.queue_jobs(repository, name, &LABELS, 1)[0]
}

/// Waits for a trouble whose words hold a text.
#[track_caller]
pub fn until_trouble(lab: &Lab, house: &House, part: &str) -> Json {
    let mut seen = Json::Null;
    let begun = std::time::Instant::now();
    while begun.elapsed() < PATIENCE {
        seen = lab.status(house);
        if let Some(trouble) = trouble_in(&seen, part) {
            return trouble;
        }
    }
    panic!("no trouble `{part}` in {seen}")
}

/// The trouble whose words hold a text.
pub fn trouble_in(status: &Json, part: &str) -> Option<Json> {
    let troubles = status["troubles"].as_array().unwrap();
    troubles.iter().find(|trouble| trouble["what"].as_str().unwrap().contains(part)).cloned()
}

/// Waits until nothing is wrong any more.
#[track_caller]
pub fn until_no_trouble(lab: &Lab, house: &House) {
    let mut seen = Json::Null;
    let begun = std::time::Instant::now();
    while begun.elapsed() < PATIENCE {
        seen = lab.status(house);
        if seen["troubles"] == serde_json::json!([]) {
            return;
        }
    }
    panic!("troubles are left: {seen}")
}

/// Requests whose path without the query ends so, by a method.
pub fn requests(lab: &Lab, method: &str, end: &str) -> usize {
    let all = lab.standin.requests();
    all.iter().filter(|request| request.method == method && request.bare_path().ends_with(end)).count()
}

/// How many configurations were asked for, for a repository.
pub fn configurations(lab: &Lab, repository: &str) -> usize {
    requests(lab, "POST", &format!("/{repository}/actions/runners/generate-jitconfig"))
}

/// Names of runners that were ever registered, in order.
pub fn registered(lab: &Lab) -> Vec<String> {
    let events = lab.standin.runner_events();
    let made = events.into_iter().filter(|event| event.change == RunnerChange::Registered);
    made.map(|event| event.name).collect()
}

/// Waits until the service's clock has gone on so far. For what must not happen in that time.
pub fn until_clock(lab: &Lab, seconds: u64) {
    let from = lab.standin.clock().now();
    until("time has passed", || (lab.standin.clock().now() >= from + seconds).then_some(()));
}
