//! Runners that are turned away, cancelled, deleted, lost.

use std::{path::Path, time::Duration};

use serde_json::json;
use wfengine_tests::standin::{Fault, FaultRule, Progress, RunnerChange, RunnerPatience, Standin};

use super::{PATIENCE, Process, all_done, configuration, one_repository, online};
use crate::assert_contract_kept;

const REPOSITORY: &str = "repos/octo/one";

async fn busy(standin: &Standin, name: &str) {
    let is_busy = |standin: &Standin| {
        standin.runners().iter().any(|runner| runner.name == name && runner.job.is_some())
    };
    assert!(standin.wait_until(PATIENCE, is_busy).await, "{name}: {:?}", standin.runner_events());
}

#[tokio::test]
async fn a_configuration_opens_one_session_ever() {
    let (standin, client) = one_repository().await;
    let blob = configuration(&client, REPOSITORY, "wf-1", &["p2p"]).await;
    assert!(standin.runners()[0].secret.is_some());
    let first = Process::configured(&blob);
    online(&standin, "wf-1").await;
    assert_eq!(standin.runners()[0].secret, None, "used");
    let second = Process::configured(&blob).ended().await;
    assert_eq!(second.code, Some(5), "{}", second.text);
    // not even after the first has died
    first.killed().await;
    let third = Process::configured(&blob).ended().await;
    assert_eq!(third.code, Some(5), "{}", third.text);
    standin.remove_runner(standin.runners()[0].id);
    let fourth = Process::configured(&blob).ended().await;
    assert_eq!(fourth.code, Some(1), "{}", fourth.text);
    assert!(fourth.text.contains("has been deleted from the server"), "{}", fourth.text);
    let unused = configuration(&client, REPOSITORY, "wf-2", &["p2p"]).await;
    standin.remove_runner(standin.runners()[0].id);
    assert_eq!(Process::configured(&unused).ended().await.code, Some(1), "deleted before it was used");
    assert_eq!(Process::configured("no base64!").ended().await.code, Some(1));
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn a_configuration_is_seen_neither_in_the_environment_nor_on_the_command_line() {
    let (standin, client) = one_repository().await;
    standin.order_runners("never-polls", 1);
    let blob = configuration(&client, REPOSITORY, "wf-1", &["p2p"]).await;
    let process = Process::configured(&blob);
    online(&standin, "wf-1").await;
    for file in ["environ", "cmdline"] {
        let path = Path::new("/proc").join(process.id().to_string()).join(file);
        let bytes = std::fs::read(path).expect("a file of the kernel");
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(&blob) && !text.contains("JITCONFIG"), "{file}: {text}");
    }
    process.killed().await;
}

#[tokio::test]
async fn a_token_that_ended_or_is_for_elsewhere_registers_nobody() {
    let (standin, _) = one_repository().await;
    standin.add_repository("octo/two", &Default::default());
    let (url, token) = (format!("{}/octo/one", standin.base_url()), standin.registration_token("octo/one"));
    let register = async |url: &str, token: &str| {
        let variables =
            [("REPO_URL", url), ("RUNNER_TOKEN", token), ("RUNNER_NAME", "wf-1"), ("EPHEMERAL", "1")];
        Process::start(&variables).ended().await
    };
    let elsewhere = register(&format!("{}/octo/two", standin.base_url()), &token).await;
    assert_eq!(elsewhere.code, Some(1), "{}", elsewhere.text);
    standin.clock().advance(Duration::from_secs(3_600));
    let late = register(&url, &token).await;
    assert_eq!(late.code, Some(1), "{}", late.text);
    assert!(late.text.contains("Http response code: 404"), "{}", late.text);
    assert!(standin.runners().is_empty());
    let nobody = Process::start(&[("REPO_URL", &url)]).ended().await;
    assert_eq!(nobody.code, Some(1), "without a token: {}", nobody.text);
}

#[tokio::test]
async fn a_taken_name_is_refused_or_replaced() {
    let (standin, client) = one_repository().await;
    let token = standin.registration_token("octo/one");
    let register = async |replace: bool| {
        let body = json!({
            "token": token, "url": format!("{}/octo/one", standin.base_url()), "name": "WF-1",
            "labels": ["p2p"], "ephemeral": true, "replace": replace,
        });
        client.change("POST", "/_runner/register", &body).await
    };
    configuration(&client, REPOSITORY, "wf-1", &["p2p"]).await;
    assert_eq!(register(false).await.status, 409);
    let made = register(true).await;
    assert_eq!(made.status, 200);
    let changes: Vec<RunnerChange> = standin.runner_events().iter().map(|event| event.change).collect();
    assert_eq!(changes, [RunnerChange::Registered, RunnerChange::Replaced, RunnerChange::Registered]);
    let labels = &standin.runners()[0].labels;
    assert_eq!(*labels, ["self-hosted", "Linux", "X64", "p2p"]);
    // who says goodbye is offline at once, and may come back: only configurations are for once
    let proof = json!({ "agent": made.json()["agent"], "secret": made.json()["secret"] });
    let session = client.change("POST", "/_runner/session", &proof).await.json();
    assert!(standin.runners()[0].is_online);
    assert_eq!(client.change("POST", "/_runner/bye", &session).await.status, 200);
    assert!(!standin.runners()[0].is_online);
    let path = format!("/_runner/job?session={}", session["session"].as_str().expect("text"));
    assert_eq!(client.read(&path).await.status, 410);
    assert_eq!(client.change("POST", "/_runner/session", &proof).await.status, 200);
    assert_eq!(client.read("/_runner/job?session=guessed").await.status, 401);
    assert_eq!(client.change("POST", "/_runner/dance", &proof).await.status, 404);
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn a_job_is_cancelled_while_queued_and_while_it_runs() {
    let (standin, client) = one_repository().await;
    let queued = standin.queue_jobs("octo/one", "queued", &["p2p"], 1)[0];
    standin.cancel_job(queued);
    let blob = configuration(&client, REPOSITORY, "wf-1", &["p2p"]).await;
    let process = Process::configured(&blob);
    online(&standin, "wf-1").await;
    assert_eq!(standin.job(queued).handed_out, 0);
    let running = standin.queue_jobs("octo/one", "do-slow-600", &["p2p"], 1)[0];
    busy(&standin, "wf-1").await;
    let run = standin.job(running).run;
    let path = format!("/repos/octo/one/actions/runs/{run}/cancel");
    assert_eq!(client.send("POST", &path, None).await.expect("an answer").status, 202);
    let ended = process.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    assert!(ended.text.contains("completed with result: Canceled"), "{}", ended.text);
    assert_eq!(standin.job(running).conclusion.as_deref(), Some("cancelled"));
    assert!(standin.runners().is_empty());
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn a_busy_runner_cannot_be_deleted_and_one_removed_all_the_same_learns_it() {
    let (standin, client) = one_repository().await;
    let job = standin.queue_jobs("octo/one", "do-slow-600", &["p2p"], 1)[0];
    let process = Process::registering(&standin, "octo/one", "wf-1", "p2p");
    busy(&standin, "wf-1").await;
    let id = standin.runners()[0].id;
    let path = format!("/repos/octo/one/actions/runners/{id}");
    assert_eq!(client.read(&path).await.json()["busy"], true);
    assert_eq!(client.send("DELETE", &path, None).await.expect("an answer").status, 422);
    standin.remove_runner(id);
    let ended = process.ended().await;
    assert_eq!(ended.code, Some(1), "{}", ended.text);
    assert_eq!(client.send("DELETE", &path, None).await.expect("an answer").status, 404);
    assert_eq!(standin.job(job).progress, Progress::InProgress, "nobody said how it ended");
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn a_runner_that_dies_with_its_job_fails_it_by_the_clock() {
    let (standin, client) = one_repository().await;
    standin.set_runner_patience(RunnerPatience { offline_seconds: 30, lost_seconds: 300 });
    let job = standin.queue_jobs("octo/one", "do-crash", &["p2p"], 1)[0];
    let blob = configuration(&client, REPOSITORY, "wf-1", &["p2p"]).await;
    let ended = Process::configured(&blob).ended().await;
    assert_eq!(ended.code, None, "a signal: {}", ended.text);
    let state = || (standin.runners()[0].is_online, standin.runners()[0].is_busy, standin.job(job).progress);
    // its end is seen by its connections alone
    let path = format!("/repos/octo/one/actions/runners/{}", standin.runners()[0].id);
    assert_eq!(state(), (true, true, Progress::InProgress));
    let is_offline = |standin: &Standin| {
        standin.clock().advance(Duration::from_secs(30));
        !standin.runners()[0].is_online
    };
    assert!(standin.wait_until(PATIENCE, is_offline).await);
    assert_eq!(state(), (false, true, Progress::InProgress));
    assert_eq!(client.send("DELETE", &path, None).await.expect("an answer").status, 422);
    standin.clock().advance(Duration::from_secs(300));
    assert_eq!(state(), (false, false, Progress::Completed));
    let lost = standin.job(job);
    assert_eq!(lost.conclusion.as_deref(), Some("failure"));
    assert!(lost.log.last().is_some_and(|line| line.contains("lost communication")), "{:?}", lost.log);
    assert_eq!(client.send("DELETE", &path, None).await.expect("an answer").status, 204);
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn a_ghost_is_offline_until_it_is_forgotten() {
    let (standin, client) = one_repository().await;
    let path = "/repos/octo/one/actions/runners/generate-jitconfig";
    standin.fault(FaultRule::new(path, Fault::LostAnswer));
    let wanted = json!({ "name": "wf-1", "runner_group_id": 1, "labels": ["p2p"] });
    assert!(client.send("POST", path, Some(&wanted)).await.is_err(), "the answer is lost");
    let listed = client.read("/repos/octo/one/actions/runners").await.json();
    assert_eq!((&listed["total_count"], &listed["runners"][0]["status"]), (&json!(1), &json!("offline")));
    assert_eq!(client.change("POST", path, &wanted).await.status, 409, "its name is taken");
    standin.clock().advance(Duration::from_secs(86_400));
    assert!(standin.runners().is_empty());
    assert_eq!(standin.runner_events().last().map(|event| event.change), Some(RunnerChange::Forgotten));
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn a_slow_job_outlives_any_jump_of_the_clock() {
    let (standin, client) = one_repository().await;
    let job = standin.queue_jobs("octo/one", "do-slow-0.5", &["p2p"], 1)[0];
    let blob = configuration(&client, REPOSITORY, "wf-1", &["p2p"]).await;
    let process = Process::configured(&blob);
    busy(&standin, "wf-1").await;
    let is_connected =
        |standin: &Standin| standin.runner_requests().iter().any(|request| request.what == "presence");
    assert!(standin.wait_until(PATIENCE, is_connected).await);
    standin.clock().advance(Duration::from_secs(80_000));
    assert!(standin.runners().iter().all(|runner| runner.is_online), "it is there");
    all_done(&standin).await;
    assert_eq!(
        (process.ended().await.code, standin.job(job).conclusion.as_deref()),
        (Some(0), Some("success"))
    );
}
