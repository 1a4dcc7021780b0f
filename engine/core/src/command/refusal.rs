//! Why a command becomes no events.

use wfengine_storage_format::{EventId, JobId, Kind, PeerId, RunId};

use crate::views::job::Status;
use crate::views::runners::Phase;

/// Why a command was not turned into events. The log is unchanged and the caller may try again.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// The log holds events of a kind that must be understood before anything is decided.
    #[error(
        "the log holds events of {kind:?}, which this version does not understand: upgrade wfengine on this host"
    )]
    MustUpgrade {
        /// Which kind.
        kind: Kind,
    },
    /// The asking peer lacks a role.
    #[error("peer {peer} is not {article} {role} of this cluster{hint}")]
    Role {
        /// Who asked.
        peer: String,
        /// Grammar for the text.
        article: &'static str,
        /// The missing role.
        role: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// No such run.
    #[error("no run {0} is known here")]
    UnknownRun(RunId),
    /// No such job.
    #[error("run {run} has no job {job}")]
    UnknownJob {
        /// The run.
        run: RunId,
        /// The job asked for.
        job: JobId,
    },
    /// The same trigger key was submitted with other content.
    #[error(
        "`{name}` was submitted before with other content as run {run}: choose another id, or cancel and re-run it"
    )]
    Conflict {
        /// What it was called.
        name: String,
        /// The run that holds the key.
        run: RunId,
    },
    /// Another claim on the job is greater or still held.
    #[error("job {job} is claimed by {holder} (epoch {epoch})")]
    Claimed {
        /// Which job.
        job: JobId,
        /// By whom.
        holder: String,
        /// How often it was claimed.
        epoch: u32,
    },
    /// The claim is not this node's, has ended, or was never valid.
    #[error("claim {claim} on job {job} is not held by this node: {why}")]
    NotHeld {
        /// Which job.
        job: JobId,
        /// Which claim.
        claim: EventId,
        /// What is the matter.
        why: &'static str,
    },
    /// The run or job has ended.
    #[error("{what} is already {status}")]
    Ended {
        /// Which run or job.
        what: String,
        /// How.
        status: Status,
    },
    /// The run was cancelled: the job may only be completed as cancelled.
    #[error("run {0} was cancelled: its jobs can only be completed as cancelled")]
    Cancelled(RunId),
    /// This peer may not run the job.
    #[error("job {job} cannot run here: {why}")]
    NotEligible {
        /// Which job.
        job: JobId,
        /// Why not.
        why: &'static str,
    },
    /// The peer is no member.
    #[error("peer {0} is not a member of this cluster")]
    NotAMember(String),
    /// The invite is unknown, used up, or the signature is not its.
    #[error("the invite does not let {peer} in: {why}")]
    Invite {
        /// Who knocked.
        peer: PeerId,
        /// What is the matter.
        why: &'static str,
    },
    /// The event would break a bound of the format.
    #[error("cannot be written: {0}")]
    Format(String),
    /// What caused a run is not what its submission says.
    #[error("the trigger and the submission differ in the {what}")]
    TriggerDisagrees {
        /// In what.
        what: &'static str,
    },
    /// No such runner.
    #[error("no runner was intended as {0} here: write the intent first, and name the event that came of it")]
    UnknownRunner(EventId),
    /// The runner is another member's.
    #[error("runner {name} is {author}'s: ask on that host, only its author says what becomes of it")]
    ForeignRunner {
        /// What it is called.
        name: String,
        /// Whose it is.
        author: String,
    },
    /// The name is a live runner's.
    #[error(
        "a runner {name} of {author} is not removed yet: choose another name, or wait until it is removed"
    )]
    RunnerNameTaken {
        /// The name.
        name: String,
        /// Whose runner has it.
        author: String,
    },
    /// The pool that a runner is intended for takes none.
    #[error("pool {pool} of this node {}: turn it on with `wfengine runner start`", if *.is_known { "is off" } else { "is unknown" })]
    PoolOff {
        /// The pool.
        pool: String,
        /// Whether it ever was on.
        is_known: bool,
    },
    /// Something of the runner may still run.
    #[error("runner {name} is {phase}: record how it ended before recording that it is removed")]
    RunnerNotExited {
        /// What it is called.
        name: String,
        /// How far it got.
        phase: Phase,
    },
    /// Nothing would change.
    #[error("{0}")]
    Pointless(&'static str),
}
