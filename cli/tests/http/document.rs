//! The OpenAPI document, tried by a program that nobody here wrote.

use std::process::Command;

use crate::raw::Served;
use crate::requirements::{Requirement, require};

/// What every answer has to be, whatever is sent: none of 5xx, and each of a status, a kind and a shape that the document names.
const CHECKS: &str =
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";

#[test]
fn no_request_that_the_document_allows_or_forbids_is_answered_otherwise_than_it_says() {
    let Some(program) = require(Requirement::Schemathesis, "the HTTP interface, tried by its document")
    else {
        return;
    };
    let served = Served::new();
    let mut command = Command::new(program);
    command.arg("run").arg(format!("http://{}/api/v1/openapi.json", served.address));
    command.args(["--header", &format!("Authorization: Bearer {}", served.token)]);
    command.args(["--checks", CHECKS, "--phases", "examples,coverage,fuzzing,stateful"]);
    // the same cases every time
    command.args(["--max-examples", "40", "--seed", "20", "--no-color"]);
    let output = command.current_dir(served.house.desk()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("Tested: "), "{said}");
    served.get("/api/v1/status").is(200);
    served.house.ask(&["replay", "--verify"]).ends(0);
}
