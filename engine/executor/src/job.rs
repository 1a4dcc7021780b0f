//! What goes into a job and what comes out of it. No behaviour: `drive` runs it.
//!
//! Invariant: nothing that leaves here holds a masked value.

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc};

use wfengine_workflow::{Conclusion, Contexts, JobDefinition};

use crate::{
    console::StepAnnotation,
    control::StopReason,
    environment::JobIdentity,
    folders::Workspace,
    log::{LOG_BYTES_MAX, LogLine, LogSummary},
    sources::Sources,
};

/// What a job may use up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the steps' lines in the log.
    pub log_bytes_max: u64,
    /// Bytes of one environment file other than the summary.
    pub environment_file_bytes_max: usize,
    /// Bytes of the summary of one step.
    pub summary_bytes_max: usize,
    /// Bytes of all outputs of the job, names included. They become part of an event.
    pub outputs_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            log_bytes_max: LOG_BYTES_MAX,
            environment_file_bytes_max: 1 << 20,
            summary_bytes_max: 1 << 20,
            outputs_bytes_max: 48 << 10,
        }
    }
}

/// A job to run.
#[derive(Debug)]
pub struct JobInput<'a> {
    /// The job.
    pub definition: JobDefinition<'a>,
    /// What planning froze: [`JobDefinition::contexts`]. The executor adds runner, env, steps, the job's status and the
    /// fields of github that only a host knows.
    pub contexts: Contexts,
    /// Who the job is.
    pub identity: JobIdentity,
    /// Where its steps start.
    pub workspace: Workspace,
    /// Where its folders are made; created if need be. Belongs to one node.
    pub temp_root: PathBuf,
    /// Where its log is written; must not exist. Stays after the job.
    pub log_path: PathBuf,
    /// The variables of the host that steps see: see [`crate::environment::visible_of_host`].
    pub host_environment: BTreeMap<String, String>,
    /// What it may use up.
    pub limits: Limits,
    /// Wall time now, in ms, for the log's first line.
    pub started_ms: u64,
    /// Lines the caller wants at the head of the log.
    pub notes: Vec<String>,
    /// Who brings the commits that its steps check out; without it only what was lent is there.
    pub sources: Option<Arc<dyn Sources>>,
}

impl JobInput<'_> {
    /// Where the programs of the executor's own are looked for.
    pub(crate) fn search_path(&self) -> &str {
        self.host_environment.get("PATH").map_or("", String::as_str)
    }
}

/// What happens in a job, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum JobEvent {
    /// A step begins.
    StepStarted {
        /// Its number, counted from 1.
        number: u32,
        /// Its name.
        name: String,
    },
    /// A line was printed; masked. Told also when the log is full; a follower of the file sees it right after.
    Line(LogLine),
    /// A step is over, or was skipped.
    StepFinished(StepResult),
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepResult {
    /// Its number, counted from 1.
    pub number: u32,
    /// Its `id`, if it has one.
    pub id: Option<String>,
    /// Its name, masked.
    pub name: String,
    /// Before `continue-on-error`.
    pub outcome: Conclusion,
    /// After `continue-on-error`.
    pub conclusion: Conclusion,
    /// How long it ran.
    pub duration_ms: u64,
    /// Its process's status, 128 + signal for a death by signal; `None` if it had no process.
    pub exit_code: Option<i32>,
    /// What it wrote to `GITHUB_STEP_SUMMARY`, masked.
    pub summary: Option<String>,
}

/// Why a job ended when it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its last step was reached.
    Complete,
    /// Its `timeout-minutes` passed; its conclusion is `cancelled`, as on GitHub.
    TimedOut,
    /// It was told to stop, or the gate closed (`ClaimLost`).
    Stopped(StopReason),
}

/// An output that is not handed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedOutput {
    /// Its name.
    pub name: String,
    /// Why.
    pub why: DropReason,
}

/// Why an output is not handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// It holds a masked value.
    Masked,
    /// There is no room for it within [`Limits::outputs_bytes_max`].
    TooLong,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq)]
pub struct JobOutcome {
    /// Success, failure or cancelled.
    pub conclusion: Conclusion,
    /// Why it ended when it did.
    pub ending: Ending,
    /// Its outputs.
    pub outputs: BTreeMap<String, String>,
    /// Outputs that were left out.
    pub dropped_outputs: Vec<DroppedOutput>,
    /// All steps, skipped ones too.
    pub steps: Vec<StepResult>,
    /// What was remarked.
    pub annotations: Vec<StepAnnotation>,
    /// The log.
    pub log: LogSummary,
}

/// Why there is no outcome: this host could not do its part. The job may be run elsewhere.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Its folders cannot be made.
    #[error(
        "no folders for the job in {path}: {source}; check that the disk has room and the folder is writable"
    )]
    Folders {
        /// The root given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program that its steps need is missing. Nothing was started.
    #[error(
        "`{program}` is not on this host (looked in PATH: {search_path}), and the job checks out a repository: install it"
    )]
    Program {
        /// The program's name.
        program: &'static str,
        /// Where it was looked for.
        search_path: String,
    },
    /// Its log cannot be written.
    #[error("the job's log {path} cannot be written: {source}; check that the disk has room")]
    Log {
        /// The path given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
