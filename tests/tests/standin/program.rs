//! The stand-in as a program, driven from outside.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Stdio};

use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use crate::{client::Client, processes::Process};

#[tokio::test]
async fn the_program_serves_a_folder_and_is_driven_over_http() {
    let fixture = tempfile::tempdir().expect("a folder");
    let repository = fixture.path().join("octo/one");
    fs::create_dir_all(repository.join(".github/workflows")).expect("folders");
    fs::create_dir_all(repository.join(".git")).expect("folders");
    fs::write(repository.join(".git/config"), "not ours").expect("a file");
    fs::write(repository.join(".github/workflows/ci.yml"), crate::WORKFLOW).expect("a file");
    fs::write(repository.join("run.sh"), "#!/bin/sh\n").expect("a file");
    fs::set_permissions(repository.join("run.sh"), fs::Permissions::from_mode(0o755)).expect("permissions");
    fs::create_dir_all(fixture.path().join("octo/empty")).expect("folders");

    let mut program = Command::new(env!("CARGO_BIN_EXE_github-standin"))
        .arg("--fixture")
        .arg(fixture.path())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program");
    let mut lines = BufReader::new(program.stdout.take().expect("its output")).lines();
    let mut line = async || lines.next_line().await.expect("text").expect("a line");
    let (url, token) = (line().await, line().await);
    assert_eq!(line().await, "");
    assert_eq!(line().await, "repositories: octo/empty, octo/one");
    while !line().await.contains("/_standin/state") {}
    assert_eq!(line().await, "");
    assert!(line().await.starts_with("a runner"));
    let [build, queue, start, look] = [line().await, line().await, line().await, line().await];
    assert!(build.starts_with("rustc") && look.contains("/_standin/jobs"), "{build}\n{look}");
    assert_eq!(line().await, "");

    let client = Client::at(&url).with_token(&token);
    let tree = client.read("/repos/octo/one/git/trees/main?recursive=1").await.json();
    let entries: Vec<_> = tree["tree"]
        .as_array()
        .expect("entries")
        .iter()
        .map(|entry| (entry["path"].clone(), entry["mode"].clone()))
        .collect();
    assert_eq!(entries.len(), 4, "{entries:?}");
    assert_eq!(entries[3], (json!("run.sh"), json!("100755")));
    assert_eq!(line().await, "200 GET /repos/octo/one/git/trees/main?recursive=1  user:octo core");

    let order = async |what: &str, body: serde_json::Value| {
        client.change("POST", &format!("/_standin/{what}"), &body).await
    };
    let pushed = order(
        "push",
        json!({ "repository": "octo/one", "files": { "a": "x", "run.sh": null }, "message": "by hand" }),
    )
    .await
    .json();
    let head = client.read("/repos/octo/one/commits/main").await.json();
    assert_eq!((&head["sha"], &head["commit"]["message"]), (&pushed["sha"], &json!("by hand")));
    let runs = client.read("/_standin/runs").await.json();
    let run = runs[1]["id"].clone();
    assert_eq!(
        (&runs[1]["status"], order("finish-run", json!({ "run": run })).await.status),
        (&json!("queued"), 200)
    );
    assert_eq!(
        client.read(&format!("/repos/octo/one/actions/runs/{run}")).await.json()["conclusion"],
        "success"
    );
    assert_eq!(order("exhaust", json!({ "bucket": "core", "identity": token })).await.status, 200);
    assert_eq!(client.read("/user").await.status, 403);
    order("advance", json!({ "seconds": 3_600 })).await;
    assert_eq!(client.read("/user").await.status, 200);
    order("fault", json!({ "path": "/user", "error": "unicorn" })).await;
    assert_eq!(client.read("/user").await.status, 502);
    order("repository", json!({ "name": "octo/new", "private": true })).await;
    order("rename", json!({ "from": "octo/new", "to": "octo/newer" })).await;
    assert_eq!(client.read("/repos/octo/newer").await.json()["private"], true);
    let eve = order("token", json!({ "user": "eve" })).await.json();
    let eve = client.with_token(eve["token"].as_str().expect("a token"));
    assert_eq!(eve.read("/repos/octo/newer").await.status, 404);
    let state = client.read("/_standin/state").await.json();
    assert_eq!((&state["contract_problems"], &state["requests_during_limits"]), (&json!([]), &json!([])));
    let wrong = order("push", json!({ "repository": "octo/gone", "files": {} })).await;
    assert_eq!(
        (wrong.status, wrong.json()),
        (400, json!({ "message": "the stand-in has no repository octo/gone" }))
    );
    assert_eq!(order("dance", json!({})).await.status, 400);
    tries_a_runner_as_printed(&client, [&build, &queue, &start]).await;
}

/// The lines do what they say: what `curl` would send, and the program with the environment that stands there.
async fn tries_a_runner_as_printed(client: &Client, lines: [&str; 3]) {
    let [build, queue, run] = lines;
    let source = build.rsplit(' ').next().expect("a path");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    assert!(workspace.join(source).is_file(), "{source}");
    let sent = async |line: &str| {
        let (_, rest) = line.split_once("-d '").expect("a body");
        let (body, url) = rest.split_once("' ").expect("an address");
        let body = serde_json::from_str(body).expect("JSON");
        let url = url.split_whitespace().next().expect("an address");
        let (_, path) = url.split_once("/_standin/").expect("a path");
        client.change("POST", &format!("/_standin/{path}"), &body).await.json()
    };
    sent(queue).await;
    let token = sent(run).await;
    let url = run.split_whitespace().find_map(|word| word.strip_prefix("REPO_URL=")).expect("an address");
    let variables = [("REPO_URL", url), ("EPHEMERAL", "1"), ("RUNNER_TOKEN", token.as_str().expect("text"))];
    let ended = Process::start(&variables).ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    assert!(run.ends_with("./standin-runner") && run.contains("EPHEMERAL=1"), "{run}");
    let jobs = client.read("/_standin/jobs").await.json();
    let job = jobs.as_array().and_then(|jobs| jobs.last()).expect("a job");
    assert_eq!((&job["conclusion"], &job["handed_out"]), (&json!("success"), &json!(1)));
}

#[tokio::test]
async fn what_is_wrong_with_the_command_line_is_said() {
    for (arguments, code) in
        [(vec!["--port"], 2), (vec!["--loud"], 2), (vec!["--contract", "gone.json"], 1), (vec!["--help"], 0)]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_github-standin"));
        let output = command.args(&arguments).stdin(Stdio::null()).output().await.expect("the program");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
}
