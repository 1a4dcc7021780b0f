//! Workflows of GitHub's side: what a push starts, dispatches, runs, cancelling, switching off.

use serde_json::json;
use wfengine_tests::standin::Progress;

use crate::{WORKFLOW, assert_contract_kept, one_repository};

const WITH_INPUTS: &str = "on:\n  workflow_dispatch:\n    inputs:\n      level:\n        type: choice\n        required: true\n        options: [low, high]\n\
                           jobs:\n  a:\n    runs-on: [self-hosted, p2p]\n    steps:\n    - run: echo\n";

#[tokio::test]
async fn a_push_starts_what_it_triggers() {
    let (standin, client) = one_repository().await;
    let files: [(&str, Option<&[u8]>); 3] = [
        (".github/workflows/manual.yaml", Some(WITH_INPUTS.as_bytes())),
        (".github/workflows/wrong.yml", Some(b"on: push\njobs: nothing\n")),
        (".github/workflows/notes.txt", Some(b"on: push\n")),
    ];
    let head = standin.push("octo/one", "main", &files, "more\n\nwords");
    let runs = client.read(&format!("/repos/octo/one/actions/runs?head_sha={head}")).await.json();
    assert_eq!(runs["total_count"], 1);
    let run = &runs["workflow_runs"][0];
    assert_eq!(
        (&run["event"], &run["status"], &run["head_branch"], &run["display_title"]),
        (&json!("push"), &json!("queued"), &json!("main"), &json!("more"))
    );
    assert!(run["id"].as_u64().is_some_and(|id| id > u64::from(u32::MAX)));
    assert_eq!(run["run_number"], 2);
    let jobs = client.read(&format!("/repos/octo/one/actions/runs/{}/jobs", run["id"])).await.json();
    assert_eq!(
        (&jobs["total_count"], &jobs["jobs"][0]["name"], &jobs["jobs"][0]["labels"]),
        (&json!(1), &json!("build"), &json!(["ubuntu-latest"]))
    );
    let job = client.read(&format!("/repos/octo/one/actions/jobs/{}", jobs["jobs"][0]["id"])).await.json();
    assert_eq!(job["status"], "queued");
    let workflows = client.read("/repos/octo/one/actions/workflows").await.json();
    let paths: Vec<_> =
        workflows["workflows"].as_array().expect("a list").iter().map(|file| file["path"].clone()).collect();
    assert_eq!(
        paths,
        [".github/workflows/ci.yml", ".github/workflows/manual.yaml", ".github/workflows/wrong.yml"]
    );
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn runs_are_moved_by_tests_and_cancelled_by_clients() {
    let (standin, client) = one_repository().await;
    let run = standin.runs()[0].id;
    let path = format!("/repos/octo/one/actions/runs/{run}");
    standin.start_run(run);
    assert_eq!(client.read(&path).await.json()["status"], "in_progress");
    standin.finish_run(run, "success");
    let ended = client.read(&path).await.json();
    assert_eq!((&ended["status"], &ended["conclusion"]), (&json!("completed"), &json!("success")));
    let refused = client.send("POST", &format!("{path}/cancel"), None).await.expect("an answer");
    assert_eq!(refused.status, 409);

    standin.push("octo/one", "main", &[("a", Some(b"x"))], "again");
    let next = standin.runs()[1].id;
    let queued = client
        .read("/repos/octo/one/actions/runs?status=queued&event=push&branch=main&actor=octocat")
        .await
        .json();
    assert_eq!((&queued["total_count"], &queued["workflow_runs"][0]["id"]), (&json!(1), &json!(next.0)));
    let cancel = client
        .send("POST", &format!("/repos/octo/one/actions/runs/{next}/cancel"), None)
        .await
        .expect("an answer");
    assert_eq!((cancel.status, cancel.json()), (202, json!({})));
    let info = standin.runs()[1].clone();
    assert_eq!(
        (info.progress, info.conclusion.as_deref(), info.is_cancelled_by_client),
        (Progress::Completed, Some("cancelled"), true)
    );
    for (created, count) in
        [("%3E=2026-01-02", 2), ("%3C2026-01-02", 0), ("2026-01-01..2026-01-03", 2), ("2026-01-02", 2)]
    {
        let found = client.read(&format!("/repos/octo/one/actions/runs?created={created}")).await.json();
        assert_eq!(found["total_count"], count, "{created}");
    }
    assert_eq!(client.read("/repos/octo/one/actions/runs/1").await.status, 404);
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn a_dispatch_makes_a_run_or_says_why_not() {
    let (standin, client) = one_repository().await;
    standin.push(
        "octo/one",
        "main",
        &[(".github/workflows/manual.yml", Some(WITH_INPUTS.as_bytes()))],
        "manual",
    );
    standin.push(
        "octo/one",
        "main",
        &[(
            ".github/workflows/push.yml",
            Some(b"on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n    - run: echo\n"),
        )],
        "push",
    );
    let before = standin.runs().len();
    let dispatch = |file: &str, body: serde_json::Value| {
        let path = format!("/repos/octo/one/actions/workflows/{file}/dispatches");
        let client = client.clone();
        async move { client.change("POST", &path, &body).await }
    };
    let message =
        |reply: &crate::client::Reply| reply.json()["message"].as_str().unwrap_or_default().to_owned();
    for (file, body, expected) in [
        ("push.yml", json!({ "ref": "main" }), "Workflow does not have 'workflow_dispatch' trigger"),
        ("manual.yml", json!({ "ref": "gone" }), "No ref found for: gone"),
        ("manual.yml", json!({ "ref": "main" }), "Required input 'level' not provided"),
        (
            "manual.yml",
            json!({ "ref": "main", "inputs": { "level": "low", "x": "1" } }),
            "Unexpected inputs provided: [\"x\"]",
        ),
        (
            "manual.yml",
            json!({ "ref": "main", "inputs": { "level": "none" } }),
            "Provided value 'none' for input 'level'",
        ),
    ] {
        let refused = dispatch(file, body).await;
        assert_eq!(refused.status, 422);
        assert!(message(&refused).starts_with(expected), "{}", message(&refused));
    }
    assert_eq!(dispatch("gone.yml", json!({ "ref": "main" })).await.status, 404);
    assert_eq!(standin.runs().len(), before);

    let inputs = json!({ "level": "low" });
    let made = dispatch("manual.yml", json!({ "ref": "main", "inputs": inputs })).await;
    assert_eq!((made.status, made.body.len(), made.header("content-type")), (204, 0, None));
    let detailed = dispatch(
        "manual.yml",
        json!({ "ref": "refs/heads/main", "inputs": inputs, "return_run_details": true }),
    )
    .await;
    let dispatches = standin.dispatches();
    assert_eq!(dispatches.len(), 2);
    assert_eq!(
        (dispatches[0].workflow.as_str(), &dispatches[0].inputs),
        (".github/workflows/manual.yml", &inputs)
    );
    assert_eq!((detailed.status, &detailed.json()["workflow_run_id"]), (200, &json!(dispatches[1].run.0)));
    let run = standin.runs().into_iter().find(|run| run.id == dispatches[1].run).expect("the run");
    assert_eq!(
        (run.event.as_str(), run.head.as_str(), run.progress),
        ("workflow_dispatch", "main", Progress::Queued)
    );
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn a_workflow_that_is_switched_off_is_not_started() {
    let (standin, client) = one_repository().await;
    let workflows = client.read("/repos/octo/one/actions/workflows").await.json();
    let id = workflows["workflows"][0]["id"].clone();
    let switch = |what: &'static str| {
        let (client, path) = (client.clone(), format!("/repos/octo/one/actions/workflows/{id}/{what}"));
        async move { client.send("PUT", &path, None).await.expect("an answer").status }
    };
    assert_eq!(switch("disable").await, 204);
    assert!(standin.is_workflow_disabled("octo/one", ".github/workflows/ci.yml"));
    let shown = client.read("/repos/octo/one/actions/workflows/ci.yml").await.json();
    assert_eq!((&shown["state"], &shown["name"]), (&json!("disabled_manually"), &json!("CI")));
    let before = standin.runs().len();
    standin.push("octo/one", "main", &[("a", Some(b"x"))], "off");
    assert_eq!(standin.runs().len(), before);
    let refused = client
        .change("POST", "/repos/octo/one/actions/workflows/ci.yml/dispatches", &json!({ "ref": "main" }))
        .await;
    assert_eq!(refused.status, 422);
    assert_eq!(switch("enable").await, 204);
    standin.push(
        "octo/one",
        "main",
        &[("a", Some(b"y")), (".github/workflows/ci.yml", Some(WORKFLOW.as_bytes()))],
        "on",
    );
    assert_eq!(standin.runs().len(), before + 1);
    let of_workflow = client.read(&format!("/repos/octo/one/actions/workflows/{id}/runs?per_page=1")).await;
    assert_eq!(of_workflow.json()["workflow_runs"].as_array().map(Vec::len), Some(1));
    assert!(of_workflow.link("next").is_some_and(|next| next.contains("/repositories/")));
    assert_contract_kept(&standin);
}
