//! Whole-system tests: the harness they share, the stand-in for GitHub, the stand-in for its runners, and what nodes of tests have.

pub mod harness;
pub mod ledger;
pub mod runner_image;
pub mod standin;
pub mod virtual_time;
