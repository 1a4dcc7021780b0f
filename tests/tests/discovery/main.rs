//! Discovery against the stand-in for GitHub, as one whole: real logs and caches on disk, real git, a clock that only moves when
//! somebody waits or a test says so.
//!
//! Every test has a [`world::World`], which looks back when it ends: no request during a limit, nothing against GitHub's
//! description, no dispatch of a workflow that is for peers alone.

#![expect(clippy::expect_used, clippy::panic, reason = "what is missing fails the test, with the reason")]

#[path = "../standin/client.rs"]
#[expect(dead_code, reason = "the tests of the stand-in use all of it")]
mod asking;
mod budgets;
mod cold_and_warm;
mod day;
mod door;
mod doubles;
mod fallback;
mod faults;
mod files;
mod lab;
mod many;
mod node;
mod odd;
mod once;
mod pages;
mod reports;
#[path = "../requirements/mod.rs"]
mod requirements;
mod world;

use requirements::{Requirement, require};
