//! The stand-in for GitHub behaves as GitHub does, seen from the other end of a connection.
//!
//! Where `WFENGINE_CORPUS` is set, every request and every answer of these tests is also held against GitHub's own description;
//! each test ends by asking for what was wrong.

#![expect(clippy::expect_used, clippy::panic, reason = "what is missing fails the test, with the reason")]

mod actions;
mod client;
mod contents;
mod faults;
mod git;
mod graphql;
mod identity;
mod limits;
mod lists;
mod processes;
mod program;
#[path = "../requirements/mod.rs"]
mod requirements;
mod results;
mod runners;
mod webhooks;

use client::Client;
use requirements::{Requirement, require};
use wfengine_tests::standin::{ContractSource, Options, RepositoryOptions, Standin, TokenKind};

/// A workflow that GitHub and this system both accept.
const WORKFLOW: &str = "name: CI\non: [push, workflow_dispatch]\njobs:\n  build:\n    runs-on: ubuntu-latest\n    steps:\n    - run: make\n";

async fn standin() -> Standin {
    Standin::start(Options::default()).await.expect("a stand-in")
}

/// A stand-in with one public repository, one file and one workflow in it, and its owner's token.
async fn one_repository() -> (Standin, Client) {
    let standin = standin().await;
    standin.add_repository("octo/one", &RepositoryOptions::default());
    let files: [(&str, Option<&[u8]>); 2] =
        [("README.md", Some(b"# one\n")), (".github/workflows/ci.yml", Some(WORKFLOW.as_bytes()))];
    standin.push("octo/one", "main", &files, "first");
    let client = Client::new(&standin).with_token(&standin.token(&TokenKind::classic("octo")));
    (standin, client)
}

/// The end of every test: nothing was against GitHub's description.
#[track_caller]
fn assert_contract_kept(standin: &Standin) {
    assert_eq!(standin.contract_problems(), Vec::<String>::new());
}

#[tokio::test]
async fn a_description_that_is_not_there_stops_the_start() {
    let contract = ContractSource::File("gone.json".into());
    let failed = Standin::start(Options { contract, ..Options::default() }).await;
    assert!(failed.is_err_and(|error| error.to_string().contains("gone.json")));
}

#[tokio::test]
async fn the_injected_errors_are_those_of_the_corpus() {
    let Some(corpus) = require(Requirement::Corpus, "the stand-in's errors compared with error-bodies.json")
    else {
        return;
    };
    let text = std::fs::read_to_string(corpus.join("error-bodies.json")).expect("the file");
    let described: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let standin = standin().await;
    let client = Client::new(&standin).with_token(&standin.token(&TokenKind::classic("octo")));
    for case in wfengine_tests::standin::ErrorCase::ALL {
        let of_case = |known: &&serde_json::Value| known["name"] == case.name();
        let known = described["cases"].as_array().into_iter().flatten().find(of_case);
        let known = known.unwrap_or_else(|| panic!("{} is not described", case.name()));
        standin.fault(wfengine_tests::standin::FaultRule::new(
            "/user",
            wfengine_tests::standin::Fault::Error(case),
        ));
        let reply = client.read("/user").await;
        assert_eq!(known["status"], reply.status, "{}", case.name());
        match known["body_text"].as_str() {
            Some(text) => assert_eq!(reply.text(), text),
            None => assert_eq!(reply.json(), known["body"], "{}", case.name()),
        }
    }
}
