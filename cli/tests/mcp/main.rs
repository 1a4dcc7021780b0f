//! The Model Context Protocol, spoken by the official clients: Python's and TypeScript's, each over standard input and over HTTP.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod clients;
mod conformance;
mod dialects;
mod fields;
#[path = "../house/mod.rs"]
mod house;
#[path = "../autoscaler/lab.rs"]
#[allow(unreachable_pub, dead_code, reason = "every test uses another part of it")]
mod lab;
#[path = "../../../tests/tests/requirements/mod.rs"]
mod requirements;
#[path = "../../../engine/api/tests/conformance/runner.rs"]
mod runner;
mod runners;
mod surroundings;
