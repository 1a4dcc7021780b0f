//! The program at a terminal and in a pipe: what is cut, what is coloured, what goes on.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by failing")]

#[path = "../house/mod.rs"]
mod house;

mod completing;
mod pty;
mod tables;
mod watching;
