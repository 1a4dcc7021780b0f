//! Whole-system tests: the harness they share.

pub mod harness;
