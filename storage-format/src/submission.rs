//! The body of `RunSubmitted`: everything a run may ever look at, frozen when it was asked for.

use serde::{Deserialize, Serialize};

use crate::body::{Bounded, json_fits, list_fits, name_fits, names_fit, text_fits};
use crate::hash::run_id;
use crate::id::{BlobId, EventId, RunId};
use crate::limits::{PRIORITY_MILLI_MAX, TRIGGER_KEY_BYTES_MAX};

/// Where a run's jobs may be executed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Placement {
    /// By whom the ownership rule names.
    Rule,
    /// Here and now, by the author of the submission (`wfengine run`).
    Author,
}

/// Where a submission comes from; decides whether it may fall back to GitHub or expire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Origin {
    /// A person or a program asked for it: it waits as long as it takes.
    Hand,
    /// Discovery found it.
    Discovery,
    /// Carried over from the cluster its author left.
    Carried,
}

/// A workflow file and all that its planning may read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WorkflowSpec {
    /// The file's path as its author knew it.
    pub path: String,
    /// Its bytes.
    pub source: BlobId,
    /// Workflow files that it calls, by the name it calls them, sorted by name.
    pub called: Vec<(String, BlobId)>,
    /// The ids of all jobs in the file, in the file's order: the run is over when each of them is.
    pub job_keys: Vec<String>,
    /// Version of the planning rules the submitter used.
    pub rules_version: u32,
}

/// What a run consists of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RunSpec {
    /// The jobs of a workflow file.
    Workflow(WorkflowSpec),
    /// One opaque job, handed to a program that asks for work.
    Task {
        /// The program's own name for the kind of work.
        workflow_id: String,
    },
}

/// Values that planning and execution may read; nothing else of the outside world.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Frozen {
    /// Name of the event, as GitHub spells it.
    pub event_name: String,
    /// The event's payload as JSON text; empty means `{}`, or that it is a blob.
    pub event_json: String,
    /// The event's payload when it is too long to stand here.
    pub event_blob: Option<BlobId>,
    /// Inputs by name, as JSON texts, sorted by name.
    pub inputs: Vec<(String, String)>,
    /// Configuration variables, sorted by name.
    pub vars: Vec<(String, String)>,
    /// Who caused it.
    pub actor: String,
    /// `owner/name`, or empty.
    pub repository: String,
    /// Full git ref, or empty.
    pub ref_name: String,
    /// Commit, or empty.
    pub sha: String,
    /// Number of this run among the runs of its workflow, from 1.
    pub run_number: u64,
}

/// A run was asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunSubmitted {
    /// What caused the run, beginning with its source: `id:`, `github:`, `path:` or `random:`. The same key is the same run.
    pub trigger_key: Vec<u8>,
    /// 1 for the first; a re-run is a new submission with the next number.
    pub attempt: u32,
    /// What people call it.
    pub name: String,
    /// What it consists of.
    pub spec: RunSpec,
    /// What it may read.
    pub frozen: Frozen,
    /// Canonical routing tags and free labels, in the order found.
    pub tags: Vec<String>,
    /// The submitter's own data as JSON text; empty means none.
    pub metadata_json: String,
    /// Lower runs first, in thousandths, 1 to 1,000,000.
    pub priority_milli: u32,
    /// Where it may run.
    pub placement: Placement,
    /// Where it comes from.
    pub origin: Origin,
    /// How often a failed run is submitted again.
    pub retries: u32,
    /// Shortest and longest wait before such a re-run, in milliseconds.
    pub backoff_ms: (u64, u64),
    /// The attempt before this one.
    pub rerun_of: Option<EventId>,
}

impl RunSubmitted {
    /// The run's id.
    pub fn run(&self) -> RunId {
        run_id(&self.trigger_key, self.attempt)
    }
}

impl Bounded for RunSubmitted {
    fn broken_bound(&self) -> Option<&'static str> {
        let frozen = &self.frozen;
        let pairs_fit = |pairs: &[(String, String)]| {
            list_fits(pairs)
                && pairs.iter().all(|(name, value)| name_fits(name) && json_fits(value))
                && pairs.windows(2).all(|pair| pair[0].0 < pair[1].0)
        };
        let known_source = ["id:", "github:", "path:", "random:"]
            .iter()
            .any(|source| self.trigger_key.starts_with(source.as_bytes()));
        let spec_fits = match &self.spec {
            RunSpec::Workflow(spec) => {
                let called_sorted = spec.called.windows(2).all(|pair| pair[0].0 < pair[1].0);
                text_fits(&spec.path)
                    && names_fit(&spec.job_keys)
                    && !spec.job_keys.is_empty()
                    && list_fits(&spec.called)
                    && spec.called.iter().all(|(name, _)| text_fits(name))
                    && called_sorted
            }
            RunSpec::Task { workflow_id } => name_fits(workflow_id),
        };
        let frozen_texts =
            [&frozen.event_name, &frozen.actor, &frozen.repository, &frozen.ref_name, &frozen.sha];
        if self.trigger_key.len() > TRIGGER_KEY_BYTES_MAX || !known_source {
            Some("trigger key")
        } else if self.attempt == 0 {
            Some("attempt")
        } else if !name_fits(&self.name) {
            Some("name")
        } else if !spec_fits {
            Some("workflow")
        } else if !names_fit(&self.tags) {
            Some("tags")
        } else if !json_fits(&self.metadata_json) || !json_fits(&frozen.event_json) {
            Some("metadata or event payload")
        } else if !pairs_fit(&frozen.inputs) || !pairs_fit(&frozen.vars) {
            Some("inputs or vars")
        } else if frozen_texts.iter().any(|text| !name_fits(text)) {
            Some("event name, actor, repository, ref or sha")
        } else if self.priority_milli == 0 || self.priority_milli > PRIORITY_MILLI_MAX {
            Some("priority")
        } else if self.backoff_ms.0 > self.backoff_ms.1 {
            Some("backoff")
        } else {
            None
        }
    }
}
