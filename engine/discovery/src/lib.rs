//! Discovery: finds tagged workflows in repositories and has them run when they are due, once.
//!
//! ```text
//! source ─look─▶ files ─verdict─▶ tagged workflows ─plan─▶ what is due ─Host::ask─▶ TriggerFired, RunSubmitted
//!    ▲                                  │
//!    └── GitHub, or a folder            └─────────────▶ WorkflowFound / Vanished, RepositoryScanned
//! ```
//!
//! [`plan`] is pure: views, refs and instants in, [`Due`] out. [`Cycle`](cycle::Discovery) is the driver: it looks, asks the plan, and writes
//! commands. What it needs of the node it runs in is [`Host`]; where repositories are is [`source`].
//!
//! Deliberately not here: who runs a job (the scheduler), what a workflow file means (`wfengine-workflow`), how GitHub is spoken to
//! (`wfengine-github`).
//!
//! Invariants: the trigger key makes one trigger one run, whoever saw it and however often, so nothing here has to happen exactly
//! once; local memory only saves work; a repository that cannot be read is reported, and the rest goes on.

pub mod cycle;
pub mod due;
pub mod host;
pub mod memory;
pub mod outside;
pub mod plan;
pub mod policy;
pub mod report;
pub mod scope;
pub mod source;
pub mod verdict;

pub use cycle::{Discovery, Dispatch, DispatchError, Options};
pub use due::Due;
pub use host::{Host, HostError};
pub use memory::Memory;
pub use outside::{Doubles, Outside, OutsideOptions, Reports};
pub use policy::{Policies, Policy, Priorities};
pub use report::Report;
pub use scope::{Scope, covers};
pub use verdict::{Tagged, Verdict};
