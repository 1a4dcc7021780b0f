//! The autoscaler against a real Docker Engine: a service that stands in for GitHub, runners that stand in for GitHub's, and the program
//! as somebody sees it who types commands.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by failing")]
#![allow(unreachable_pub, dead_code, reason = "modules of a test")]

mod burst;
#[path = "../house/mod.rs"]
mod house;
mod lab;
#[path = "../../../tests/tests/requirements/mod.rs"]
mod requirements;
