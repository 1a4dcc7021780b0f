//! Bodies about one job: claims, progress and results.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Bounded, json_fits, list_fits, name_fits, text_fits};
use crate::id::{BlobId, EventId, JobId, RunId};
use crate::limits::JSON_BYTES_MAX;

/// How an execution ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Conclusion {
    /// Everything that had to succeed did.
    Success,
    /// A step failed.
    Failure,
    /// It was stopped on request.
    Cancelled,
    /// Its condition was false.
    Skipped,
}

impl fmt::Display for Conclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Conclusion::Success => "success",
            Conclusion::Failure => "failure",
            Conclusion::Cancelled => "cancelled",
            Conclusion::Skipped => "skipped",
        })
    }
}

/// A node said that it runs a job. Concurrent claims are all kept; the greatest token is effective.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JobClaimed {
    /// Of which run.
    pub run: RunId,
    /// Which job.
    pub job: JobId,
    /// The submission whose clock head ranks the peers.
    pub submission: EventId,
    /// 1 for the first claim, one more than the claim it supersedes after that.
    pub epoch: u32,
    /// The lost claim it takes over from.
    pub supersedes: Option<EventId>,
}

impl Bounded for JobClaimed {
    fn broken_bound(&self) -> Option<&'static str> {
        let first = self.epoch == 1 && self.supersedes.is_none();
        let later = self.epoch > 1 && self.supersedes.is_some();
        (!first && !later).then_some("epoch")
    }
}

/// Why a claim was given back without a result.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ReleaseReason {
    /// The node is shutting down.
    Draining,
    /// An earlier claim fills the concurrency group.
    GroupFull,
    /// A greater token was seen before the work began.
    Superseded,
    /// The program that held the job did not extend its lease.
    LeaseEnded,
    /// The program gave it back.
    GivenBack,
    /// The node cannot run it; the text says why.
    Unable(String),
}

/// A claim was given back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JobReleased {
    /// Of which run.
    pub run: RunId,
    /// Which job.
    pub job: JobId,
    /// The author's own claim.
    pub claim: EventId,
    /// Why.
    pub reason: ReleaseReason,
}

impl Bounded for JobReleased {
    fn broken_bound(&self) -> Option<&'static str> {
        match &self.reason {
            ReleaseReason::Unable(why) if !text_fits(why) => Some("reason"),
            _ => None,
        }
    }
}

/// The first step of a claim began.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JobStarted {
    /// Of which run.
    pub run: RunId,
    /// Which job.
    pub job: JobId,
    /// The author's own claim.
    pub claim: EventId,
}

impl Bounded for JobStarted {
    fn broken_bound(&self) -> Option<&'static str> {
        None
    }
}

/// A step ended. Optional: for people who watch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StepFinished {
    /// Of which run.
    pub run: RunId,
    /// Which job.
    pub job: JobId,
    /// The author's own claim.
    pub claim: EventId,
    /// From 1.
    pub number: u32,
    /// What people call it.
    pub name: String,
    /// How it ended.
    pub conclusion: Conclusion,
    /// How long it took.
    pub duration_ms: u64,
}

impl Bounded for StepFinished {
    fn broken_bound(&self) -> Option<&'static str> {
        (!text_fits(&self.name)).then_some("name")
    }
}

/// A job has a conclusion.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JobCompleted {
    /// Of which run.
    pub run: RunId,
    /// Which job.
    pub job: JobId,
    /// The author's own claim.
    pub claim: EventId,
    /// How it ended.
    pub conclusion: Conclusion,
    /// Outputs by name, sorted by name.
    pub outputs: Vec<(String, String)>,
    /// The result of a task as JSON text; empty means none.
    pub result_json: String,
    /// Its log.
    pub log: Option<BlobId>,
    /// Bytes of the log.
    pub log_len: u64,
    /// What the steps wrote for people to read first.
    pub summary: Option<BlobId>,
    /// What the job leaves behind: name, blob, bytes; sorted by name.
    pub artifacts: Vec<(String, BlobId, u64)>,
    /// How long it took.
    pub duration_ms: u64,
    /// What people should know of it, for example a dropped output.
    pub notes: Vec<String>,
}

impl Bounded for JobCompleted {
    fn broken_bound(&self) -> Option<&'static str> {
        let outputs_len: usize = self.outputs.iter().map(|(name, value)| name.len() + value.len()).sum();
        if !list_fits(&self.outputs)
            || outputs_len > JSON_BYTES_MAX
            || !self.outputs.iter().all(|(name, _)| name_fits(name))
            || !self.outputs.windows(2).all(|pair| pair[0].0 < pair[1].0)
        {
            Some("outputs")
        } else if !json_fits(&self.result_json) {
            Some("result")
        } else if !list_fits(&self.artifacts)
            || !self.artifacts.iter().all(|(name, _, _)| name_fits(name))
            || !self.artifacts.windows(2).all(|pair| pair[0].0 < pair[1].0)
        {
            Some("artifacts")
        } else if !list_fits(&self.notes) || self.notes.iter().map(String::len).sum::<usize>() > 8 * 1024 {
            Some("notes")
        } else {
            None
        }
    }
}

/// Why an execution stopped before its end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AbortReason {
    /// A claim with a greater token was seen.
    Superseded,
    /// The run was cancelled.
    Cancelled,
    /// Somebody else completed the job.
    Completed,
    /// The node is stopping.
    Stopped,
    /// The node failed to go on; the text says why.
    Fault(String),
}

/// An execution stopped before its end. Ends one claim, not the job.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JobAborted {
    /// Of which run.
    pub run: RunId,
    /// Which job.
    pub job: JobId,
    /// The author's own claim.
    pub claim: EventId,
    /// Why.
    pub by: AbortReason,
    /// Steps that were done.
    pub steps_done: u32,
}

impl Bounded for JobAborted {
    fn broken_bound(&self) -> Option<&'static str> {
        match &self.by {
            AbortReason::Fault(why) if !text_fits(why) => Some("reason"),
            _ => None,
        }
    }
}

/// No execution of the job will conclude.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JobFailed {
    /// Of which run.
    pub run: RunId,
    /// Which job.
    pub job: JobId,
    /// The claim that failed, if one did.
    pub claim: Option<EventId>,
    /// A submission of the run.
    pub submission: EventId,
    /// What happened, for people.
    pub error: String,
    /// Whether the hosts failed (claims lost again and again) and not the work.
    pub infrastructure: bool,
    /// Whether the run may be submitted again.
    pub retry: bool,
}

impl Bounded for JobFailed {
    fn broken_bound(&self) -> Option<&'static str> {
        (!text_fits(&self.error)).then_some("error")
    }
}
