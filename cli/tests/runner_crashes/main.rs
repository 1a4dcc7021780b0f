//! Runners and everything that can go away under them: the node, killed at every step of a runner's life; the engine; the container;
//! the registration; the runner itself. Against a real Docker Engine, with a service that stands in for GitHub.
//!
//! Invariants: every job was done once, whatever happened; nothing is left, at the engine and at GitHub; the log proves itself.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test says what went wrong by failing"
)]
#![allow(unreachable_pub, dead_code, reason = "modules of a test")]

mod bench;
mod engine_away;
mod ghosts;
#[path = "../house/mod.rs"]
mod house;
mod kills;
#[path = "../autoscaler/lab.rs"]
mod lab;
mod proxy;
#[path = "../../../tests/tests/requirements/mod.rs"]
mod requirements;
mod stops;
mod strangers;
