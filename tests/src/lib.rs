//! Whole-system tests: the harness they share, the stand-in for GitHub, and the stand-in for its runners.

pub mod harness;
pub mod runner_image;
pub mod standin;
