//! Whole-system tests: the harness they share, and the stand-in for GitHub.

pub mod harness;
pub mod standin;
