//! Bodies about runners: what pools members keep, and the life of each runner from intent to removal.
//!
//! The intent is in the log before anything is registered or created, so that whatever a crash leaves behind has an event that it
//! belongs to. No body holds a token, a registration secret or a JIT configuration.

use serde::{Deserialize, Serialize};

use super::{Bounded, name_fits, names_fit, text_fits};
use crate::id::{BlobId, EventId};
use crate::limits::{POLICY_BYTES_MAX, RUNNER_LABELS_MAX};

fn is_name(text: &str) -> bool {
    !text.is_empty() && name_fits(text)
}

fn labels_fit(labels: &[String]) -> bool {
    labels.len() <= RUNNER_LABELS_MAX && names_fit(labels)
}

/// A member began, changed or ended keeping a pool of runners. Its last word on a pool counts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PoolChanged {
    /// The pool's name among its author's.
    pub pool: String,
    /// Whether it starts runners.
    pub is_on: bool,
    /// The host of the GitHub it serves.
    pub source: String,
    /// What it serves there: `owner` or `owner/name`; empty: all that its credential sees.
    pub scopes: Vec<String>,
    /// Labels of its runners.
    pub labels: Vec<String>,
    /// Runners that it has at most on its author's host; 0: none.
    pub runners_max: u32,
    /// Runners that pools of this name have at most in the whole cluster; 0: no such bound.
    pub cluster_max: u32,
    /// Runners that it keeps waiting for work.
    pub idle_min: u32,
    /// How often it looks for queued jobs, in milliseconds.
    pub interval_ms: u64,
    /// How its containers are made, as a JSON text: read by its author alone, shown to all.
    pub policy_json: String,
}

impl Bounded for PoolChanged {
    fn broken_bound(&self) -> Option<&'static str> {
        if !is_name(&self.pool) {
            Some("pool")
        } else if !name_fits(&self.source) {
            Some("source")
        } else if !names_fit(&self.scopes) {
            Some("scopes")
        } else if !labels_fit(&self.labels) {
            Some("labels")
        } else {
            (self.policy_json.len() > POLICY_BYTES_MAX).then_some("policy_json")
        }
    }
}

/// Why a runner is wanted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RunnerCause {
    /// A job of GitHub's waits for one.
    Job {
        /// `owner/name`.
        repository: String,
        /// GitHub's number of the run.
        run: u64,
        /// GitHub's number of the job.
        job: u64,
    },
    /// The pool keeps some waiting for work.
    Idle,
    /// Somebody asked for it.
    Asked,
}

/// A member is about to register a runner and make its container.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunnerIntended {
    /// Which of its author's pools.
    pub pool: String,
    /// What the runner, its container and all that belongs to it are called.
    pub name: String,
    /// The host of the GitHub it registers at.
    pub source: String,
    /// Where it registers there: `owner/name`, or an organisation.
    pub scope: String,
    /// Its labels.
    pub labels: Vec<String>,
    /// Why it is wanted.
    pub cause: RunnerCause,
}

impl Bounded for RunnerIntended {
    fn broken_bound(&self) -> Option<&'static str> {
        let cause_fits = match &self.cause {
            RunnerCause::Job { repository, .. } => is_name(repository),
            RunnerCause::Idle | RunnerCause::Asked => true,
        };
        if ![&self.pool, &self.name, &self.source, &self.scope].iter().all(|text| is_name(text)) {
            Some("pool, name, source or scope")
        } else if self.labels.is_empty() || !labels_fit(&self.labels) {
            Some("labels")
        } else {
            (!cause_fits).then_some("cause")
        }
    }
}

/// A runner's container runs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunnerStarted {
    /// The `RunnerIntended`.
    pub intent: EventId,
    /// GitHub's number of the registration; 0 when it is not known.
    pub runner: u64,
    /// The engine's id of the container.
    pub container: String,
    /// The engine's id of the image; empty when it is not known.
    pub image: String,
}

impl Bounded for RunnerStarted {
    fn broken_bound(&self) -> Option<&'static str> {
        (!is_name(&self.container) || !name_fits(&self.image)).then_some("container or image")
    }
}

/// How a runner came to its end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RunnerEnd {
    /// Its program ended by itself.
    Done {
        /// With which code.
        exit_code: i64,
    },
    /// It started and broke.
    Failed {
        /// How.
        what: String,
    },
    /// It never ran.
    NeverStarted {
        /// Why.
        what: String,
    },
    /// It was stopped.
    Stopped {
        /// Why.
        why: String,
    },
}

/// The job of GitHub's that a runner ran.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunnerJob {
    /// `owner/name`.
    pub repository: String,
    /// GitHub's number of the run.
    pub run: u64,
    /// GitHub's number of the job.
    pub job: u64,
}

/// A runner came to its end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunnerExited {
    /// The `RunnerIntended`.
    pub intent: EventId,
    /// How it ended.
    pub end: RunnerEnd,
    /// What it printed.
    pub log: Option<BlobId>,
    /// What it ran, if that is known.
    pub ran: Option<RunnerJob>,
}

impl Bounded for RunnerExited {
    fn broken_bound(&self) -> Option<&'static str> {
        let end_fits = match &self.end {
            RunnerEnd::Done { .. } => true,
            RunnerEnd::Failed { what } | RunnerEnd::NeverStarted { what } => text_fits(what),
            RunnerEnd::Stopped { why } => text_fits(why),
        };
        if !end_fits {
            Some("end")
        } else {
            self.ran.as_ref().is_some_and(|ran| !is_name(&ran.repository)).then_some("ran")
        }
    }
}

/// A runner's container, network, volume and registration are gone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunnerRemoved {
    /// The `RunnerIntended`.
    pub intent: EventId,
}

impl Bounded for RunnerRemoved {
    fn broken_bound(&self) -> Option<&'static str> {
        None
    }
}
