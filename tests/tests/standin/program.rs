//! The stand-in as a program, driven from outside.

use std::{fs, os::unix::fs::PermissionsExt, process::Stdio};

use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use crate::client::Client;

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
