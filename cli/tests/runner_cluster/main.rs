//! Runners of a whole cluster against a real Docker Engine: members that share GitHub's queue and take each other's place, a host that
//! shares its capacity between GitHub and the members' own jobs, and every verb of `runner` as somebody types it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by failing")]
#![allow(unreachable_pub, dead_code, reason = "modules of a test")]

mod absent;
mod cluster;
#[path = "../schemas/documents.rs"]
mod documents;
mod floors;
#[path = "../house/mod.rs"]
mod house;
#[path = "../autoscaler/lab.rs"]
mod lab;
mod members;
mod replaced;
#[path = "../../../tests/tests/requirements/mod.rs"]
mod requirements;
mod share;
mod verbs;
