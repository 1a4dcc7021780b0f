//! Runners that are none: containers that never connect or never work, runners that crash, registrations that nobody stands behind,
//! containers that nobody registered.

use wfengine_tests::standin::{Fault, FaultRule, RunnerId};

use crate::bench::{Bench, intents};
use crate::house::until;

/// One runner at a time, which has to be connected soon.
const ONE_SOON: [&str; 4] = ["--max-runners", "1", "--start-timeout", "3s"];

/// A runner that is ordered to misbehave takes the only place there is; the job is done by its replacement.
fn is_replaced(order: &str, end: &str) {
    let Some(bench) = Bench::new(&format!("runners that are to do {order}")) else { return };
    bench.lab.standin.order_runners(order, 1);
    let node = bench.start(&ONE_SOON);
    bench.queue("build");
    bench.until_all_is_over();
    bench.lab.every_job_was_done_once();
    assert_eq!(bench.started(), 2);
    assert_eq!(bench.lab.watched.lock().unwrap().most, 1);
    let story = bench.story(node);
    assert_eq!(intents(&story), 2, "{story}");
    assert!(story.contains(end), "{story}");
}

#[test]
fn a_runner_that_never_connects_is_replaced() {
    is_replaced("never-connects", "failed: it never connected to GitHub");
}

#[test]
fn a_runner_that_takes_no_job_is_replaced() {
    is_replaced("never-polls", "failed: jobs waited for it and it took none");
}

#[test]
fn a_runner_that_crashes_before_its_job_is_reported_and_another_one_does_it() {
    let Some(bench) = Bench::new("runners that crash before a job") else { return };
    bench.lab.standin.order_runners("crash-first", 1);
    let node = bench.start(&ONE_SOON);
    bench.queue("build");
    bench.until_trouble("Container failed to start");
    bench.until_all_is_over();
    bench.lab.every_job_was_done_once();
    bench.until_status("what failed is healed", |status| status["troubles"] == serde_json::json!([]));
    let story = bench.story(node);
    assert_eq!(intents(&story), 2, "{story}");
    assert!(story.contains("failed: ended with 134"), "{story}");
}

#[test]
fn a_runner_that_is_too_old_says_so() {
    let Some(bench) = Bench::new("runners that are too old") else { return };
    bench.lab.standin.order_runners("deprecated", 1);
    let node = bench.start(&ONE_SOON);
    bench.queue("build");
    bench.until_trouble("its version is too old for GitHub");
    bench.until_all_is_over();
    bench.lab.every_job_was_done_once();
    let story = bench.story(node);
    assert!(story.contains("its version is too old for GitHub (7)"), "{story}");
}

#[test]
fn a_runner_that_crashes_in_its_job_takes_the_job_along_and_nothing_else() {
    let Some(bench) = Bench::new("runners that crash in a job") else { return };
    let node = bench.start(&ONE_SOON);
    let job = bench.queue("build do-slow-3 do-crash");
    bench.lab.until_all_jobs_ended();
    let lost = bench.lab.standin.job(job);
    assert_eq!((lost.conclusion.as_deref(), lost.handed_out), (Some("failure"), 1), "{lost:?}");
    // GitHub does not let the registration go before it has given the job up
    bench.until_all_is_over();
    let next = bench.queue("build");
    bench.until_all_is_over();
    assert_eq!(bench.lab.standin.job(next).conclusion.as_deref(), Some("success"));
    let story = bench.story(node);
    assert_eq!(intents(&story), 2, "{story}");
    assert!(story.contains(&format!("failed after job {} of octo/one: ended with 134", job.0)), "{story}");
}

#[test]
fn a_job_that_never_ends_is_ended_when_its_time_is_over_and_holds_nobody_off() {
    let Some(bench) = Bench::new("jobs that never end") else { return };
    let node = bench.start(&["--max-runners", "1", "--job-timeout", "3s"]);
    let job = bench.queue("build do-never-ends");
    bench.lab.until_all_jobs_ended();
    let lost = bench.lab.standin.job(job);
    assert_eq!((lost.conclusion.as_deref(), lost.handed_out), (Some("failure"), 1), "{lost:?}");
    bench.until_all_is_over();
    let status = bench.status();
    assert_eq!(status["troubles"], serde_json::json!([]), "{status}");
    let story = bench.story(node);
    let end = format!("failed after job {} of octo/one: its job took longer than the pool allows", job.0);
    assert!(story.contains(&end), "{story}");
}

fn only_runner(bench: &Bench) -> RunnerId {
    let runners = bench.lab.standin.runners();
    assert_eq!(runners.len(), 1, "{runners:?}");
    runners[0].id
}

#[test]
fn a_registration_whose_container_somebody_removed_is_deleted() {
    let Some(bench) = Bench::new("containers that somebody removes") else { return };
    let node = bench.start(&["--max-runners", "1"]);
    let name = bench.provision();
    bench.until_registered(true);
    assert!(bench.lab.runtime.block_on(bench.lab.engine.remove_container(&name)).unwrap());
    bench.until_all_is_over();
    // its place is free again
    bench.queue("build");
    bench.until_all_is_over();
    bench.lab.every_job_was_done_once();
    let story = bench.story(node);
    assert!(story.contains(&format!("runner {name} failed: its container is gone")), "{story}");
}

#[test]
fn a_runner_whose_registration_somebody_deleted_goes_and_another_one_works() {
    let Some(bench) = Bench::new("registrations that somebody deletes") else { return };
    let node = bench.start(&["--max-runners", "1"]);
    bench.provision();
    bench.until_registered(true);
    bench.lab.standin.remove_runner(only_runner(&bench));
    bench.until_all_is_over();
    bench.queue("build");
    bench.until_all_is_over();
    bench.lab.every_job_was_done_once();
    bench.story(node);
}

#[test]
fn a_container_that_goes_on_without_a_registration_is_ended() {
    let Some(bench) = Bench::new("containers without a registration") else { return };
    bench.lab.standin.order_runners("never-connects", 1);
    let node = bench.start(&["--max-runners", "1"]);
    bench.provision();
    let hello = || bench.lab.standin.runner_requests().iter().any(|request| request.what == "hello");
    until("it was told never to connect", || hello().then_some(()));
    bench.lab.standin.remove_runner(only_runner(&bench));
    bench.until_all_is_over();
    let story = bench.story(node);
    assert!(story.contains("failed: GitHub has no such runner any more"), "{story}");
}

#[test]
fn a_registration_whose_answer_was_lost_is_deleted_even_if_that_answer_is_lost_too() {
    let Some(bench) = Bench::new("answers of GitHub that are lost") else { return };
    let lost = |path, method| FaultRule::new(path, Fault::LostAnswer).method(method);
    bench.lab.standin.fault(lost("/repos/*/actions/runners/generate-jitconfig", "POST"));
    bench.lab.standin.fault(lost("/repos/*/actions/runners/*", "DELETE"));
    let node = bench.start(&["--max-runners", "1"]);
    bench.queue("build");
    bench.until_all_is_over();
    bench.lab.every_job_was_done_once();
    assert_eq!(bench.lab.standin.faults_left(), 0);
    assert_eq!(bench.started(), 1);
    let story = bench.story(node);
    assert_eq!(intents(&story), 2, "{story}");
    assert!(story.contains(" never started: "), "{story}");
}
