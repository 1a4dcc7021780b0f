//! The clients that are handed to users, in JavaScript and Python, run their own tests against a node.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod house;
#[path = "../../tests/tests/requirements/mod.rs"]
mod requirements;

use std::path::PathBuf;
use std::process::Command;

use house::{House, Live};
use requirements::{Requirement, require};

/// A node of its own, without credentials, and a command that is told of it.
fn served(program: PathBuf, folder: &str) -> (House, Live, Command) {
    let house = House::new();
    let mut live = house.begin(&["serve", "--listen", "127.0.0.1:0", "--no-lan", "--http", "127.0.0.1:0"]);
    let line = live.wait_for("programs ask at");
    let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
    let token = std::fs::read_to_string(house.data().join("http-token")).unwrap();
    let mut command = Command::new(program);
    let clients = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../engine/api/clients");
    command.current_dir(clients.join(folder));
    command.env("WFENGINE_NODE", url).env("WFENGINE_TOKEN", token).env("HOME", house.path(""));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    for variable in ["GITHUB_TOKEN", "GH_TOKEN", "DOCKER_HOST"] {
        command.env_remove(variable);
    }
    (house, live, command)
}

#[track_caller]
fn passes(mut command: Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_javascript_client_does_what_the_documents_show() {
    let what = "the JavaScript client";
    let (Some(node), Some(_)) = (require(Requirement::McpNode, what), require(Requirement::Documents, what))
    else {
        return;
    };
    let (_house, live, mut command) = served(node, "javascript");
    command.args(["--test", "test/"]);
    passes(command);
    live.stop().ends(0);
}

#[test]
fn the_python_client_does_what_the_documents_show() {
    let what = "the Python client";
    let (Some(python), Some(_), Some(_)) = (
        require(Requirement::Python, what),
        require(Requirement::Documents, what),
        // its runners' calls are made as well
        require(Requirement::Docker, what),
    ) else {
        return;
    };
    let (_house, live, mut command) = served(python, "python");
    command.args(["-m", "unittest", "-q", "test_wfengine"]);
    passes(command);
    live.stop().ends(0);
}
