//! What runners are allowed, against a real Docker Engine: how their containers are made, what a job sees from inside, where its secrets
//! are, which limits hold, which jobs are refused, which images and contracts are taken.
//!
//! Who starts how many runners when, and what is tidied up after whom, stands in the other test of the autoscaler.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by failing")]
#![allow(unreachable_pub, dead_code, reason = "modules of a test")]

mod contracts;
mod engine_api;
mod golden;
#[path = "../house/mod.rs"]
mod house;
mod images;
mod isolation;
#[path = "../autoscaler/lab.rs"]
mod lab;
mod limits;
mod refusals;
#[path = "../../../tests/tests/requirements/mod.rs"]
mod requirements;
mod secrets;

use serde_json::Value as Json;
use wfengine_tests::standin::{JobId, JobInfo, Progress};

use house::{House, Live, Said, until};
use lab::Lab;

/// The port at which containers reach the service.
fn port(lab: &Lab) -> String {
    lab.standin.runner_url().rsplit(':').next().unwrap().trim_end_matches('/').to_owned()
}

/// `runner start` of the lab's pool, without some of the options that each of these tests gives, and with others.
fn start_command(lab: &Lab, house: &House, without: &[&str], more: &[&str]) -> std::process::Command {
    let port = port(lab);
    let mut words = lab.start_arguments(&port, &[]).into_iter();
    let mut arguments = Vec::new();
    while let Some(word) = words.next() {
        if without.contains(&word) {
            words.next();
        } else {
            arguments.push(word);
        }
    }
    arguments.extend(more);
    lab.command(house, &arguments)
}

/// As [`Lab::start`], without some options.
fn start_without(lab: &Lab, house: &House, without: &[&str], more: &[&str]) -> Live {
    let more = [&["--listen", "127.0.0.1:0", "--no-lan"], more].concat();
    let mut live = Live::start(start_command(lab, house, without, &more));
    live.wait_for("serves on UDP");
    live
}

/// A start that is refused: nothing of it stays.
#[track_caller]
fn start_is_refused(lab: &Lab, house: &House, more: &[&str]) -> Said {
    let said = Live::start(start_command(lab, house, &[], more)).end();
    assert!(!said.status.success(), "{said:?}");
    assert!(lab.left().is_empty(), "{:?}", lab.left());
    said
}

/// The name of the runner that has a job, once it has it.
fn runner_of(lab: &Lab, job: JobId) -> String {
    until("a runner has the job", || {
        let job = lab.standin.job(job);
        job.runner_name.filter(|_| job.progress == Progress::InProgress)
    })
}

/// One job through its end.
fn through(lab: &Lab, repository: &str, name: &str) -> JobInfo {
    let job = lab.standin.queue_jobs(repository, name, &lab::LABELS, 1)[0];
    ended(lab, job)
}

/// A job, once it has ended.
fn ended(lab: &Lab, job: JobId) -> JobInfo {
    until("the job has ended", || {
        let job = lab.standin.job(job);
        (job.progress == Progress::Completed).then_some(job)
    })
}

/// What a job said of itself with `do-inspect`: the last one of each name.
fn inspected<'a>(job: &'a JobInfo, name: &str) -> &'a str {
    let given = |line: &'a String| line.strip_prefix("inspect: ")?.strip_prefix(name)?.strip_prefix('=');
    job.log.iter().find_map(given).unwrap_or_else(|| panic!("no {name} in {:#?}", job.log))
}

/// What is kept of a runner's output, and how it ended.
fn kept(house: &House, runner: &str) -> String {
    let said = house.ask(&["runner", "logs", runner]).ends(0);
    said.out + &said.err
}

/// What is kept of a runner, once the log says that it has ended like this.
fn kept_once(house: &House, runner: &str, end: &str) -> String {
    until(&format!("{runner}: {end}"), || Some(kept(house, runner)).filter(|kept| kept.contains(end)))
}

/// A list in an answer.
fn list<'a>(answer: &'a Json, field: &str) -> &'a [Json] {
    answer[field].as_array().unwrap_or_else(|| panic!("no list `{field}` in {answer}"))
}
