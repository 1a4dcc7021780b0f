//! Git, as far as workflows need it: refs, trees, files of a commit, changed paths, and a commit's objects as one pack.
//!
//! Runs the git program; it is the reference for its own format, and hosts that build software have it. Nothing of the host's or a
//! user's configuration takes part, no hook runs, no helper is asked for credentials, and no command reaches another repository or
//! host unless it was told which ([`Reach`]). What git answers is bounded before it is read. A command is a process group of its own,
//! which is over when the future that ran it is over or dropped.
//!
//! ```text
//! Repository ─┐ which commands        Git: program, variables, settings        one process group
//! Remote ─────┴──────────────────▶ command ──────────────────────────────▶ running
//! ```
//!
//! Deliberately not here: what a ref or a file means, and which credential opens what.

mod command;
mod listing;
mod pack;
mod remote;
mod repository;
mod running;

pub use command::{ANSWER_BYTES_MAX, Git, GitError, PROGRAM, Reach};
pub use listing::{Refs, RefsError, TreeEntry};
pub use pack::{PackError, Packed};
pub use remote::{Along, Remote};
pub use repository::{CommitFacts, Repository};
