//! The autoscaler: starts GitHub's runners in containers when jobs wait for them, and sees to it that nothing of them is left.
//!
//! ```text
//! GitHub ─look─▶ board ─┐
//! engine ─list─────────┼─▶ scale (which runners are missing) ─▶ RunnerIntended ─▶ register, create, start ─▶ RunnerStarted
//! log ────view─────────┘   reconcile (what to do about each one) ─▶ drain, end, clean ─▶ RunnerExited, RunnerRemoved
//! ```
//!
//! [`scale`], [`reconcile`], [`demand`], [`allocation`], [`idle`] and [`backoff`] are pure. [`look`] asks GitHub, [`Containers`] is what
//! is needed of an engine, [`Autoscaler`] drives it all in steps. What it needs of the node it runs in is [`Host`].
//!
//! Deliberately not here: how GitHub and the engine are spoken to, members' own jobs, timers.
//!
//! Invariants: an intent is in the log before anything exists; what exists and is in no log is removed; no secret is in a name, a label,
//! a log or an event; nothing here has to be remembered, for a new process finds everything again in the three lists.

pub mod allocation;
pub mod backoff;
pub mod board;
pub mod container;
pub mod demand;
pub mod docker_needs;
pub mod driver;
pub mod firewall;
pub mod idle;
pub mod look;
pub mod pool;
pub mod port;
pub mod reconcile;
pub mod scale;
mod work;

pub use driver::{
    Autoscaler, Parts, PoolStatus, RefusedShown, RunnerShown, Stepped, TroubleShown, Wants, name_prefix,
};
pub use look::{Looked, Looker, SharedBoard};
pub use pool::{Policy, Pool};
pub use port::{Containers, Host};
pub use work::Fault;
