//! The HTTP door, asked byte by byte: what is let through, what is refused, and that nobody who asks holds anything.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod alerts;
mod attacks;
mod document;
#[path = "../house/mod.rs"]
mod house;
mod live;
mod metrics;
mod operations;
mod raw;
mod remote;
#[path = "../../../tests/tests/requirements/mod.rs"]
mod requirements;
