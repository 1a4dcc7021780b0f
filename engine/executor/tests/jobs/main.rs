//! Jobs with real processes, through the crate's front door: nothing here reaches into the executor.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "the harness is test code too")]

mod endings;
mod harness;
mod steps;
