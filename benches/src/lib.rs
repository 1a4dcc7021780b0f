//! One bench per question, in `benches/`; here is what they share: timing, histories to measure on, nodes.
//!
//! Every figure stands beside a reference that was measured in the same run, in turns, because absolute figures of a shared machine
//! say little. Sizes and seeds are fixed. `README.md` holds the figures of one machine and the goals.
//!
//! Deliberately not here: statistics beyond median and percentiles, baselines that fail a build.

#![expect(clippy::print_stdout, reason = "a bench reports on stdout")]
#![expect(clippy::expect_used, reason = "a bench stops when what it measures is wrong")]

// as in the binary
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod bare;
pub mod history;
pub mod measure;
pub mod node;
