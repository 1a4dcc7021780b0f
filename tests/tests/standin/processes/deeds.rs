//! What runners do on order, and that they do it.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    process::Command,
};
use wfengine_tests::{
    runner_image::runner_program,
    standin::{Progress, RunnerChange, Standin},
};

use super::{Ended, PATIENCE, Process, configuration, one_repository, online};

const REPOSITORY: &str = "repos/octo/one";

/// One job of this name and these labels, done by a runner with the same.
async fn done(name: &str, labels: &[&str]) -> (Ended, wfengine_tests::standin::JobInfo) {
    let (standin, client) = one_repository().await;
    let run =
        wfengine_tests::standin::WantedRun::new(vec![wfengine_tests::standin::WantedJob::new(name, labels)]);
    standin.queue_run("octo/one", &run);
    let blob = configuration(&client, REPOSITORY, "wf-1", labels).await;
    let ended = Process::configured(&blob).ended().await;
    let job = standin.jobs().last().expect("a job").clone();
    (ended, job)
}

fn said<'l>(log: &'l [String], start: &str) -> &'l str {
    let found = log.iter().find_map(|line| line.strip_prefix(start));
    found.unwrap_or_else(|| panic!("{start} is not in {log:#?}"))
}

#[tokio::test]
async fn a_label_or_a_name_says_what_goes_wrong_in_the_job() {
    let (ended, job) = done("build do-fail", &["p2p"]).await;
    assert_eq!((ended.code, job.conclusion.as_deref()), (Some(0), Some("failure")), "{}", ended.text);
    let (ended, job) = done("build", &["p2p", "do-exit-137"]).await;
    assert_eq!((ended.code, job.progress), (Some(137), Progress::InProgress));
    let (ended, job) = done("do-fill-3 do-allocate-16 do-threads-4 do-fork-3 do-flood-2", &["p2p"]).await;
    assert_eq!((ended.code, job.conclusion.as_deref()), (Some(0), Some("success")), "{}", ended.text);
    for (start, rest) in
        [("fill: ", "3 MiB"), ("allocate: ", "16 MiB"), ("fork: ", "3 processes"), ("threads: ", "4 threads")]
    {
        assert_eq!(said(&job.log, start), rest);
    }
    assert!(ended.text.matches('x').count() >= 2 * 1_023, "flooded");
}

#[tokio::test]
async fn a_runner_says_what_it_sees_and_whom_it_reaches() {
    let (standin, client) = one_repository().await;
    let port = standin.base_url().rsplit(':').next().expect("a port").to_owned();
    standin.queue_jobs("octo/one", &format!("do-inspect do-scan-{port}-1"), &["p2p"], 1);
    let blob = configuration(&client, REPOSITORY, "wf-1", &["p2p"]).await;
    let ended = Process::configured(&blob).ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    let log = standin.jobs()[0].log.clone();
    assert_eq!(said(&log, &format!("scan: loopback 127.0.0.1:{port} ")), "reached");
    assert_eq!(said(&log, "scan: loopback 127.0.0.1:1 "), "refused");
    assert_eq!(said(&log, "inspect: environment="), "TMPDIR", "nothing of the configuration");
    assert_eq!(said(&log, "inspect: work_writable="), "yes");
    assert_eq!(said(&log, "inspect: work_entries="), "0");
    assert_eq!(said(&log, "inspect: tmp_runs_programs="), "yes");
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel's word");
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")).expect("a number");
    assert_eq!(said(&log, "inspect: uid="), uid.split_whitespace().next().expect("a number"));
    for name in ["cap_eff", "no_new_privs", "seccomp", "docker_socket", "docker_answers", "root_writable"] {
        assert!(!said(&log, &format!("inspect: {name}=")).is_empty(), "{name}");
    }
}

#[tokio::test]
async fn orders_reach_runners_before_they_have_a_job() {
    let (standin, client) = one_repository().await;
    standin.queue_jobs("octo/one", "waits", &["p2p"], 1);
    let start = async |order: &str, name: &str| {
        standin.order_runners(order, 1);
        Process::configured(&configuration(&client, REPOSITORY, name, &["p2p"]).await)
    };
    let crashed = start("crash-first", "wf-1").await.ended().await;
    assert_eq!(crashed.code, None, "a signal: {}", crashed.text);
    let deprecated = start("deprecated", "wf-2").await.ended().await;
    assert_eq!(deprecated.code, Some(1), "{}", deprecated.text);
    standin.order_runners("deprecated", 1);
    let blob = configuration(&client, REPOSITORY, "wf-3", &["p2p"]).await;
    let variables = [
        ("ACTIONS_RUNNER_INPUT_JITCONFIG", blob.as_str()),
        ("ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE", "1"),
    ];
    assert_eq!(Process::start(&variables).ended().await.code, Some(7));
    let deaf = start("never-polls", "wf-4").await;
    online(&standin, "wf-4").await;
    let silent = start("never-connects", "wf-5").await;
    let is_greeted = |standin: &Standin| {
        let greeted = |request: &&wfengine_tests::standin::RunnerRequest| {
            request.runner == "wf-5" && request.what == "hello"
        };
        standin.runner_requests().iter().filter(greeted).count() == 1
    };
    assert!(standin.wait_until(PATIENCE, is_greeted).await);
    let online: Vec<String> =
        standin.runners().into_iter().filter(|runner| runner.is_online).map(|runner| runner.name).collect();
    assert_eq!(online, ["wf-4"]);
    assert_eq!(standin.jobs()[0].handed_out, 0, "nobody asked for it");
    deaf.killed().await;
    silent.killed().await;
}

#[tokio::test]
async fn a_service_that_is_not_there_is_worth_another_try() {
    let (standin, client) = one_repository().await;
    let blob = configuration(&client, REPOSITORY, "wf-1", &["p2p"]).await;
    drop(standin);
    let variables = [("ACTIONS_RUNNER_INPUT_JITCONFIG", blob.as_str()), ("STANDIN_RETRY_SECONDS", "0")];
    let ended = Process::start(&variables).ended().await;
    assert_eq!(ended.code, Some(2), "{}", ended.text);
}

#[tokio::test]
async fn one_that_never_ends_does_not_heed_a_cancellation() {
    let (standin, client) = one_repository().await;
    let job = standin.queue_jobs("octo/one", "x", &["p2p", "do-never-ends"], 1)[0];
    let blob = configuration(&client, REPOSITORY, "wf-1", &["p2p", "do-never-ends"]).await;
    let process = Process::configured(&blob);
    let is_busy = |standin: &Standin| !standin.job(job).log.is_empty();
    assert!(standin.wait_until(PATIENCE, is_busy).await);
    standin.cancel_job(job);
    let is_told_again = |standin: &Standin| {
        standin.runner_requests().iter().filter(|request| request.what == "presence").count() > 2
    };
    assert!(standin.wait_until(PATIENCE, is_told_again).await, "{:?}", standin.runner_requests());
    assert!(standin.runners()[0].is_busy, "as far as the service knows");
    process.killed().await;
    let is_offline = |standin: &Standin| {
        standin.clock().advance(Duration::from_secs(600));
        !standin.runners()[0].is_busy
    };
    assert!(standin.wait_until(PATIENCE, is_offline).await);
    assert_eq!(standin.job(job).conclusion.as_deref(), Some("cancelled"), "as it ended first");
    assert!(standin.runner_events().iter().any(|event| event.change == RunnerChange::Offline));
}

#[tokio::test]
async fn the_sidecar_answers_a_ping() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("docker.sock");
    let mut command = Command::new(runner_program().expect("the program"));
    command.arg("sidecar").arg(&socket).stdout(std::process::Stdio::piped()).kill_on_drop(true);
    let mut sidecar = command.spawn().expect("a process");
    let mut line = [0; 13];
    let mut output = sidecar.stdout.take().expect("its output");
    output.read_exact(&mut line).await.expect("a line");
    assert_eq!(&line, b"API listen on");
    let mut stream = UnixStream::connect(&socket).await.expect("a connection");
    stream.write_all(b"GET /_ping HTTP/1.1\r\nhost: docker\r\n\r\n").await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("OK"), "{answer}");
}
