//! The protocol's own conformance runner against a node, with what a node offers. With what the runner expects, the same server is tried
//! in `engine/api`.

use crate::clients::Served;
use crate::runner;

/// What a node does not offer, and why.
const EXPECTED: &str = include_str!("expected-failures.yml");

#[test]
fn a_node_passes_what_of_the_protocols_runner_is_for_it() {
    let served = Served::new();
    let what = "the protocol's conformance runner against a node";
    let Some(judged) = runner::judged(what, &served.url, served.token.trim(), EXPECTED) else { return };
    assert!(judged.failed.len() <= 26, "{judged:?}");
    for scenario in [
        "server-initialize",
        "ping",
        "tools-list",
        "resources-list",
        "prompts-list",
        "dns-rebinding-protection",
    ] {
        assert!(judged.passed.iter().any(|passed| passed == scenario), "{scenario}: {judged:?}");
    }
}

#[test]
fn every_expected_failure_of_a_node_has_a_reason() {
    runner::every_failure_has_a_reason(EXPECTED);
}
