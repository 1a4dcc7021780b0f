//! The autoscaler and everything that can go wrong between it and GitHub, or between it and the engine, as somebody sees it who types
//! commands: a real Docker Engine, a service that stands in for GitHub with its faults, runners that stand in for GitHub's.
//!
//! Not here: what a container may do, members that share the work, processes that are killed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by failing")]
#![allow(unreachable_pub, dead_code, reason = "modules of a test")]

mod begin;
mod broken;
mod conditions;
mod documents;
mod engine;
mod hints;
#[path = "../house/mod.rs"]
mod house;
#[path = "../autoscaler/lab.rs"]
mod lab;
mod limits;
mod moves;
mod proxy;
mod queue;
mod refusals;
#[path = "../../../tests/tests/requirements/mod.rs"]
mod requirements;
