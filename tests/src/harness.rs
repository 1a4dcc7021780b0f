//! The simulator: whole clusters in virtual time, driven by one seed.
//!
//! A [`Simulation`] holds nodes that run the product's own log, views and scheduler over a [`disk`] that loses what was not
//! committed and a [`network`] that delays, loses, doubles and cuts. [`plan::Plan`] draws from the seed what is submitted and which
//! faults happen; [`checks`] knows nothing of that and only looks at what nodes do. After the faults the cluster is left alone until
//! it is quiet; then every invariant must hold.
//!
//! Legal faults: crash with loss of everything uncommitted and a later start under a new incarnation; messages delayed,
//! reordered, doubled, lost; the cluster cut in two for a while; a node that stands still; executors that hang, fail or break down;
//! programs that die. Not simulated: damaged disks, lying peers.
//!
//! Invariants: one seed, one history, to the byte; driving is bounded, so a bug cannot hang the suite.

pub mod chance;
pub mod checks;
pub mod disk;
pub mod executor;
pub mod network;
pub mod node;
pub mod plan;
pub mod simulation;
pub mod workflows;

pub use checks::Violation;
pub use plan::{Faults, Plan, Setup};
pub use simulation::{Outcome, Simulation};
