//! The autoscaler as one whole in virtual time: real logs on disk, the stand-in for GitHub over HTTP, containers in memory, and a
//! clock that moves only when somebody waits. A day takes a minute or two of a processor.
//!
//! Not here: a real engine and real processes, which the tests of the program have.
//!
//! Every test has a [`world::World`], which looks back when it ends: no request during a limit, nothing against GitHub's description,
//! no job handed out twice.

#![expect(clippy::expect_used, reason = "what is missing fails the test, with the reason")]

mod cuts;
mod day;
mod floors;
mod looks;
mod member;
mod node;
mod seeds;
mod world;
mod yard;
