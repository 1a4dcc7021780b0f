//! Jobs with real processes, through the crate's front door: nothing here reaches into the executor.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "the harness is test code too"
)]

mod checkout;
mod endings;
mod harness;
mod origin;
mod steps;
