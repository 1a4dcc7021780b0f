//! Bodies about repositories: who looks for workflows, what a look found, and what made a run due.

use serde::{Deserialize, Serialize};

use super::{Bounded, list_fits, name_fits, names_fit, text_fits};
use crate::id::{BlobId, RunId};
use crate::limits::{NAME_BYTES_MAX, PROBLEMS_MAX, REMARKS_MAX};

/// A repository as its source knows it. `source` and `id` name it for good; `name` may change.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct RepositoryRef {
    /// Where it lives: the host of a GitHub, such as `github.com`, or `path` for a folder of checkouts.
    pub source: String,
    /// What names it there: GitHub's number, or `folder/name` for a checkout.
    pub id: String,
    /// `owner/name`, as people call it.
    pub name: String,
}

impl RepositoryRef {
    fn broken_bound(&self) -> bool {
        let fits = |text: &str| !text.is_empty() && name_fits(text);
        !(fits(&self.source) && fits(&self.id) && fits(&self.name))
    }
}

/// How far a look at a repository got.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ScanOutcome {
    /// Its workflow files were read.
    Scanned,
    /// It could not be read; the text says why.
    Failed(String),
}

/// A member looked at a repository and saw something new, or saw it for the first time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RepositoryScanned {
    /// Which.
    pub repository: RepositoryRef,
    /// How far it got.
    pub outcome: ScanOutcome,
    /// The branch that schedules and dispatches run on; empty when unknown.
    pub default_branch: String,
    /// That branch's commit, hexadecimal; empty when unknown.
    pub head: String,
    /// Branches and tags with their commits, sorted lines `commit ref`: what later pushes are told from.
    pub refs: Option<BlobId>,
    /// Workflow files it has, tagged or not.
    pub files: u32,
    /// Files that cannot be read as workflows, with the reason.
    pub problems: Vec<(String, String)>,
}

impl Bounded for RepositoryScanned {
    fn broken_bound(&self) -> Option<&'static str> {
        let problem_fits = |(path, why): &(String, String)| text_fits(path) && text_fits(why);
        let outcome_fits = match &self.outcome {
            ScanOutcome::Scanned => true,
            ScanOutcome::Failed(why) => text_fits(why),
        };
        if self.repository.broken_bound() {
            Some("repository")
        } else if !outcome_fits {
            Some("outcome")
        } else if !name_fits(&self.default_branch) || !name_fits(&self.head) {
            Some("branch or commit")
        } else if self.problems.len() > PROBLEMS_MAX || !self.problems.iter().all(problem_fits) {
            Some("problems")
        } else {
            None
        }
    }
}

/// A tagged workflow is in a repository, with this content.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WorkflowFound {
    /// Where.
    pub repository: RepositoryRef,
    /// The file's path in it.
    pub path: String,
    /// Its bytes.
    pub source: BlobId,
    /// What people call it.
    pub name: String,
    /// Canonical routing tags and free labels, in the order found.
    pub tags: Vec<String>,
    /// What people should know: that GitHub runs it too, or that it cannot fall back.
    pub remarks: Vec<String>,
}

impl Bounded for WorkflowFound {
    fn broken_bound(&self) -> Option<&'static str> {
        if self.repository.broken_bound() {
            Some("repository")
        } else if self.path.is_empty() || !text_fits(&self.path) {
            Some("path")
        } else if !name_fits(&self.name) || !names_fit(&self.tags) {
            Some("name or tags")
        } else if self.remarks.len() > REMARKS_MAX || !self.remarks.iter().all(|text| text_fits(text)) {
            Some("remarks")
        } else {
            None
        }
    }
}

/// A tagged workflow is no longer in its repository, or no longer tagged.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WorkflowVanished {
    /// Where it was.
    pub repository: RepositoryRef,
    /// The file's path.
    pub path: String,
}

impl Bounded for WorkflowVanished {
    fn broken_bound(&self) -> Option<&'static str> {
        if self.repository.broken_bound() {
            Some("repository")
        } else {
            (self.path.is_empty() || !text_fits(&self.path)).then_some("path")
        }
    }
}

/// What made a workflow due.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Trigger {
    /// Its content was new.
    Found,
    /// A branch or tag came to stand at a commit.
    Push {
        /// Where it stood before, hexadecimal; empty when it is new.
        before: String,
    },
    /// A schedule came due.
    Schedule {
        /// Its five fields.
        cron: String,
        /// The zone they are meant in.
        timezone: String,
        /// The instant, seconds since 1970.
        due_s: u64,
    },
    /// Somebody asked for it.
    Dispatch,
}

/// A workflow became due: why this run exists, and where the sources of its commit are. An event of the run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TriggerFired {
    /// The run that it started.
    pub run: RunId,
    /// The workflow's repository.
    pub repository: RepositoryRef,
    /// Its path there.
    pub path: String,
    /// What happened.
    pub trigger: Trigger,
    /// The full ref it happened on.
    pub git_ref: String,
    /// The commit, hexadecimal.
    pub sha: String,
    /// The commit's objects as one git pack without history, if members share it.
    pub sources: Option<BlobId>,
    /// Bytes of that pack.
    pub sources_len: u64,
}

impl Bounded for TriggerFired {
    fn broken_bound(&self) -> Option<&'static str> {
        let trigger_fits = match &self.trigger {
            Trigger::Found | Trigger::Dispatch => true,
            Trigger::Push { before } => name_fits(before),
            Trigger::Schedule { cron, timezone, .. } => name_fits(cron) && name_fits(timezone),
        };
        if self.repository.broken_bound() {
            Some("repository")
        } else if self.path.is_empty() || !text_fits(&self.path) {
            Some("path")
        } else if !trigger_fits || self.git_ref.len() > NAME_BYTES_MAX || !name_fits(&self.sha) {
            Some("trigger, ref or sha")
        } else {
            None
        }
    }
}

/// A member began, changed or ended looking for workflows. Its last word counts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DiscoveryChanged {
    /// What it looks at: `owner:NAME`, `repository:OWNER/NAME`, `path:FOLDER`, or `all`; empty: nothing any more.
    pub scopes: Vec<String>,
    /// How often, in milliseconds.
    pub interval_ms: u64,
}

impl Bounded for DiscoveryChanged {
    fn broken_bound(&self) -> Option<&'static str> {
        (!list_fits(&self.scopes) || !names_fit(&self.scopes)).then_some("scopes")
    }
}
