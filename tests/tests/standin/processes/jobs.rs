//! Which runner gets which job, and what everybody sees of it.

use serde_json::json;
use wfengine_tests::standin::{
    Progress, RepositoryOptions, Role, RunnerChange, TokenKind, WantedJob, WantedRun,
};

use super::{PATIENCE, Process, all_done, configuration, one_repository, online};
use crate::assert_contract_kept;

const REPOSITORY: &str = "repos/octo/one";

#[tokio::test]
async fn a_configuration_takes_one_job_and_is_gone() {
    let (standin, client) = one_repository().await;
    standin.add_hook("octo/one", "http://127.0.0.1:1/", None, &["workflow_job", "workflow_run"]);
    standin.hold();
    let jobs = standin.queue_jobs("octo/one", "build", &["P2P"], 1);
    let blob = configuration(&client, REPOSITORY, "wf-1", &["p2p", "linux"]).await;
    let ended = Process::configured(&blob).ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    for line in [
        "√ Connected to GitHub",
        "Listening for Jobs",
        "Running job: build 1",
        "Job build 1 completed with result: Succeeded",
        "√ Removed .credentials",
        "Runner listener exit with 0 return code",
    ] {
        assert!(ended.text.contains(line), "{line} is not in {}", ended.text);
    }
    let job = standin.job(jobs[0]);
    assert_eq!(
        (job.progress, job.conclusion.as_deref(), job.runner_name.as_deref(), job.handed_out),
        (Progress::Completed, Some("success"), Some("wf-1"), 1)
    );
    assert!(job.started_at.is_some() && job.completed_at.is_some() && job.waited.is_some());
    assert_eq!(job.log[0], "build 1 on wf-1");
    assert!(standin.runners().is_empty());
    let changes: Vec<RunnerChange> = standin.runner_events().iter().map(|event| event.change).collect();
    let expected =
        [RunnerChange::Registered, RunnerChange::Online, RunnerChange::Busy(jobs[0]), RunnerChange::Finished];
    assert_eq!(changes, expected);

    let run = standin.runs()[0].clone();
    assert_eq!((run.progress, run.conclusion.as_deref()), (Progress::Completed, Some("success")));
    let shown = client.read(&format!("/repos/octo/one/actions/jobs/{}", jobs[0])).await.json();
    assert_eq!(
        (&shown["runner_name"], &shown["runner_id"], &shown["runner_group_name"]),
        (&json!("wf-1"), &json!(job.runner.map(|id| id.0)), &json!("Default"))
    );
    let told: Vec<_> = standin.held().iter().map(|told| (told.event.clone(), told.action.clone())).collect();
    let told: Vec<_> =
        told.iter().map(|(event, action)| (event.as_str(), action.as_deref().unwrap_or(""))).collect();
    assert_eq!(
        told,
        [
            ("workflow_run", "requested"),
            ("workflow_job", "queued"),
            ("workflow_run", "in_progress"),
            ("workflow_job", "in_progress"),
            ("workflow_job", "completed"),
            ("workflow_run", "completed"),
        ]
    );
    assert!(standin.requests().iter().all(|request| !request.path.contains("_runner")), "logged apart");
    let asked: Vec<String> = standin.runner_requests().into_iter().map(|request| request.what).collect();
    assert!(asked.starts_with(&["hello".to_owned(), "session".to_owned()]), "{asked:?}");
    assert!(standin.runner_requests().iter().all(|request| request.runner == "wf-1"));
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn both_ways_of_the_third_party_image_register() {
    let (standin, client) = one_repository().await;
    standin.add_organization("org");
    standin.add_repository("org/two", &RepositoryOptions::default());
    let of_repository = standin.queue_jobs("octo/one", "a", &["self-hosted", "gpu"], 1)[0];
    let ended = Process::registering(&standin, "octo/one", "wf-1", "gpu, other").ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    assert!(ended.text.contains("√ Runner successfully added"), "{}", ended.text);
    assert_eq!(standin.job(of_repository).runner_name.as_deref(), Some("wf-1"));

    let of_organization = standin.queue_jobs("org/two", "b", &["self-hosted", "linux", "x64"], 1)[0];
    let (host, token) = (standin.base_url(), standin.registration_token("org"));
    let variables = [
        ("RUNNER_SCOPE", "org"),
        ("ORG_NAME", "org"),
        ("GITHUB_HOST", host.trim_start_matches("http://")),
        ("RUNNER_TOKEN", &token),
        ("RUNNER_NAME", "wf-2"),
        ("RUNNER_LABELS", "a"),
        ("LABELS", "unheard"),
        ("EPHEMERAL", "false"),
    ];
    let ended = Process::start(&variables).ended().await;
    assert_eq!(ended.code, Some(0), "any text means ephemeral: {}", ended.text);
    assert_eq!(standin.job(of_organization).runner_name.as_deref(), Some("wf-2"));
    assert!(standin.runners().is_empty());
    let list = client.read("/repos/octo/one/actions/runners").await.json();
    assert_eq!(list["total_count"], 0);
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn labels_and_scope_decide_who_gets_a_job() {
    let (standin, client) = one_repository().await;
    standin.add_member("org", "octo", Role::Admin);
    standin.add_repository("org/two", &RepositoryOptions::private());
    standin.add_repository("org/three", &RepositoryOptions::private());
    let admin = TokenKind::Classic { user: "octo".into(), scopes: vec!["admin:org".into()] };
    let admin = client.with_token(&standin.token(&admin));
    let labels = ["wfengine", "Linux"];
    let blob = configuration(&admin, "orgs/org", "wf-1", &labels).await;
    let unserved = standin.queue_jobs("org/two", "gpu", &["wfengine", "gpu"], 1)[0];
    let elsewhere = standin.queue_jobs("octo/one", "elsewhere", &["wfengine"], 1)[0];
    let hosted = standin.queue_jobs("org/three", "hosted", &["self-hosted", "linux"], 1)[0];
    let process = Process::configured(&blob);
    online(&standin, "wf-1").await;
    let served = standin.queue_jobs("org/three", "served", &["LINUX", "wfengine"], 1)[0];
    let ended = process.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    assert_eq!(standin.job(served).conclusion.as_deref(), Some("success"));
    for waiting in [unserved, elsewhere, hosted] {
        let job = standin.job(waiting);
        assert_eq!((job.progress, job.handed_out), (Progress::Queued, 0), "{}", job.name);
    }
    let polls = standin.runner_requests().iter().filter(|request| request.what == "job").count();
    assert_eq!(polls, 1, "the one that waited was answered when the job came");
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn a_job_goes_to_any_idle_runner_and_to_one_only() {
    let (standin, client) = one_repository().await;
    let mut processes = Vec::new();
    for name in ["wf-1", "wf-2"] {
        let blob = configuration(&client, REPOSITORY, name, &["p2p"]).await;
        processes.push((name, Process::configured(&blob)));
        online(&standin, name).await;
    }
    let job = standin.queue_jobs("octo/one", "one", &["p2p"], 1)[0];
    all_done(&standin).await;
    assert_eq!(standin.job(job).handed_out, 1);
    let idle = standin.runners();
    assert_eq!((idle.len(), idle[0].is_busy), (1, false));
    let taken = standin.job(job).runner_name.expect("a runner");
    assert_ne!(idle[0].name, taken);

    // somebody else is faster the next time
    let other = standin.add_runner("octo/one", "other", &["p2p"]);
    let run = standin.queue_run("octo/one", &WantedRun::new(vec![WantedJob::new("taken", &["p2p", "late"])]));
    let next = standin.jobs().last().expect("a job").id;
    standin.take_job(other, next);
    assert_eq!(
        standin.runs().iter().find(|of| of.id == run).map(|of| of.progress),
        Some(Progress::InProgress)
    );
    assert_eq!(
        client.read("/repos/octo/one/actions/runners?name=other").await.json()["runners"][0]["busy"],
        true
    );
    standin.end_job(next, "failure");
    let job = standin.job(next);
    assert_eq!((job.conclusion.as_deref(), job.runner_name.as_deref()), (Some("failure"), Some("other")));
    assert_eq!(standin.runners().len(), 2, "the idle one waits on");

    // the idle one is deleted, and its process learns it
    let path = format!("/repos/octo/one/actions/runners/{}", idle[0].id);
    assert_eq!(client.send("DELETE", &path, None).await.expect("an answer").status, 204);
    for (name, process) in processes {
        let ended = process.ended().await;
        let expected = if name == taken { 0 } else { 1 };
        assert_eq!(ended.code, Some(expected), "{}", ended.text);
    }
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn twenty_jobs_and_five_runners_each_job_once() {
    let (standin, _) = one_repository().await;
    let jobs = standin.queue_jobs("octo/one", "many", &["p2p"], 20);
    let (url, token) = (format!("{}/octo/one", standin.base_url()), standin.registration_token("octo/one"));
    let names = ["wf-1", "wf-2", "wf-3", "wf-4", "wf-5"];
    let processes: Vec<Process> = names
        .iter()
        .map(|name| {
            let variables = [
                ("REPO_URL", url.as_str()),
                ("RUNNER_TOKEN", &token),
                ("RUNNER_NAME", name),
                ("LABELS", "p2p"),
            ];
            Process::start(&variables)
        })
        .collect();
    all_done(&standin).await;
    for job in jobs {
        let job = standin.job(job);
        assert_eq!((job.conclusion.as_deref(), job.handed_out), (Some("success"), 1), "{}", job.name);
    }
    let given = standin.runner_events();
    let given = given.iter().filter(|event| matches!(event.change, RunnerChange::Busy(_))).count();
    assert_eq!(given, 20);
    // not ephemeral: they stay, idle
    let is_idle = |standin: &wfengine_tests::standin::Standin| {
        standin.runners().iter().filter(|runner| runner.is_online && !runner.is_busy).count() == 5
    };
    assert!(standin.wait_until(PATIENCE, is_idle).await, "{:?}", standin.runners());
    for process in processes {
        process.killed().await;
    }
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn a_run_in_progress_hides_queued_jobs() {
    let (standin, client) = one_repository().await;
    let jobs = standin.queue_jobs("octo/one", "part", &["p2p"], 3);
    let runner = standin.add_runner("octo/one", "wf-1", &["p2p"]);
    standin.take_job(runner, jobs[0]);
    let count = async |status: &str| {
        let path = format!("/repos/octo/one/actions/runs?status={status}");
        client.read(&path).await.json()["total_count"].clone()
    };
    assert_eq!((count("queued").await, count("in_progress").await), (json!(0), json!(1)));
    let run = standin.job(jobs[0]).run;
    standin.add_jobs(run, &[WantedJob::new("needed", &["p2p"])]);
    let shown = client.read(&format!("/repos/octo/one/actions/runs/{run}/jobs")).await.json();
    let states: Vec<_> = shown["jobs"]
        .as_array()
        .expect("jobs")
        .iter()
        .map(|job| job["status"].as_str().expect("a status").to_owned())
        .collect();
    assert_eq!(states, ["in_progress", "queued", "queued", "queued"]);
    standin.end_job(jobs[0], "success");
    for job in &standin.jobs()[1..] {
        standin.cancel_job(job.id);
    }
    assert_eq!(standin.runs()[0].conclusion.as_deref(), Some("cancelled"));
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn a_pull_request_from_a_fork_says_where_it_comes_from() {
    let (standin, client) = one_repository().await;
    standin.set_private("octo/one", false);
    let jobs = vec![WantedJob::new("build", &["p2p"])];
    let run = standin.queue_run("octo/one", &WantedRun::from_fork("eve/one", jobs));
    let shown = client.read(&format!("/repos/octo/one/actions/runs/{run}")).await.json();
    assert_eq!(
        (&shown["event"], &shown["head_repository"]["full_name"], &shown["repository"]["full_name"]),
        (&json!("pull_request"), &json!("eve/one"), &json!("octo/one"))
    );
    assert_eq!(
        (&shown["head_repository"]["fork"], &shown["repository"]["private"]),
        (&json!(true), &json!(false))
    );
    standin.add_repository("eve/one", &RepositoryOptions { is_fork: true, ..RepositoryOptions::default() });
    let shown = client.read("/repos/octo/one/actions/runs?event=pull_request").await.json();
    assert_eq!(shown["workflow_runs"][0]["head_repository"]["owner"]["login"], "eve");
    assert_contract_kept(&standin);
}
