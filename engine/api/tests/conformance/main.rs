//! The Model Context Protocol's own conformance runner against the server and the HTTP door of this crate, with what that runner expects
//! to be offered (`fixture.rs`). What a node offers is tried with the node.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod fixture;
#[path = "../../../../tests/tests/requirements/mod.rs"]
#[allow(dead_code, reason = "every test file uses another part of it")]
mod requirements;
mod runner;

use std::sync::Arc;
use std::thread;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use wfengine_api::http::{Gate, Token, serve_offer};
use wfengine_api::{Asked, Environment, Failure, GitFacts, Handlers, Items, Request};

use fixture::Fixture;

/// What the fixture has no use for, and why.
const EXPECTED: &str = include_str!("expected-failures.yml");
const TOKEN: &str = "wfe_conformance";

/// Nobody: what is offered needs no node.
struct Nobody;

impl Handlers for Nobody {
    fn handle(&self, _: Request, _: Items) -> Asked<'_> {
        Box::pin(async { Err(Failure::refused("there is no node here")) })
    }

    fn now_ms(&self) -> u64 {
        0
    }

    fn environment(&self) -> Environment {
        Environment::default()
    }

    fn checkout_of(&self, _: &str) -> GitFacts {
        GitFacts::default()
    }
}

/// Serves the fixture while `use_it` is at it.
fn served<T>(use_it: impl FnOnce(&str) -> T) -> T {
    let (ready, address) = std::sync::mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let gate = Gate {
                hosts: [address.to_string()].into(),
                origins: [].into(),
                token: Token::new(TOKEN),
                submit_token: None,
            };
            ready.send(address).unwrap();
            let stop = async {
                let _ = stopped.await;
            };
            serve_offer(listener, None, Arc::new(Nobody), Arc::new(Fixture), gate, stop).await;
        });
    });
    let address = address.recv().unwrap();
    let used = use_it(&format!("http://{address}"));
    drop(stop);
    serving.join().unwrap();
    used
}

#[test]
fn the_server_passes_what_the_protocols_runner_asks() {
    let what = "the protocol's conformance runner against the server";
    let Some(judged) = served(|url| runner::judged(what, url, TOKEN, EXPECTED)) else { return };
    // all of it is judged, and what must not fail for want of an offer does not
    assert!(judged.passed.len() >= 22, "{judged:?}");
    assert!(judged.failed.len() <= 10, "{judged:?}");
    for scenario in [
        "server-initialize",
        "ping",
        "tools-call-with-progress",
        "tools-call-error",
        "dns-rebinding-protection",
    ] {
        assert!(judged.passed.iter().any(|passed| passed == scenario), "{scenario}: {judged:?}");
    }
}

#[test]
fn every_expected_failure_has_a_reason() {
    runner::every_failure_has_a_reason(EXPECTED);
}
