//! Workflows, their runs and jobs, as GitHub Actions shows them.

use serde::Deserialize;

use super::{Account, Repository, open::or_default, open_enum};
use crate::client::{Entry, Page};

open_enum! {
    /// How far a run or job is.
    Progress {
        /// It waits for a runner.
        Queued = "queued",
        /// It runs.
        InProgress = "in_progress",
        /// It has ended.
        Completed = "completed",
        /// It waits for a rule, such as an approval.
        Waiting = "waiting",
        /// It was asked for.
        Requested = "requested",
        /// It waits for others of its group.
        Pending = "pending",
    }
}

open_enum! {
    /// How a run or job has ended.
    Conclusion {
        /// Well.
        Success = "success",
        /// Badly.
        Failure = "failure",
        /// Neither.
        Neutral = "neutral",
        /// Somebody stopped it.
        Cancelled = "cancelled",
        /// It was not needed.
        Skipped = "skipped",
        /// It took too long.
        TimedOut = "timed_out",
        /// Somebody has to act first.
        ActionRequired = "action_required",
        /// GitHub gave it up.
        Stale = "stale",
        /// It could not start.
        StartupFailure = "startup_failure",
    }
}

/// A workflow as GitHub knows it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Workflow {
    /// The id.
    pub id: u64,
    /// The name in the file, or its path.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// The path of the file.
    #[serde(default, deserialize_with = "or_default")]
    pub path: String,
    /// `active`, `disabled_manually`, `disabled_inactivity`, `disabled_fork`, `deleted`.
    #[serde(default, deserialize_with = "or_default")]
    pub state: String,
}

/// A run of a workflow.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct WorkflowRun {
    /// The id.
    pub id: u64,
    /// The name of the workflow.
    #[serde(default)]
    pub name: Option<String>,
    /// The title of this run.
    #[serde(default)]
    pub display_title: Option<String>,
    /// The workflow.
    #[serde(default)]
    pub workflow_id: Option<u64>,
    /// The file, sometimes with `@ref`.
    #[serde(default)]
    pub path: Option<String>,
    /// What started it: `push`, `workflow_dispatch`, …
    #[serde(default)]
    pub event: Option<String>,
    /// The branch or tag.
    #[serde(default)]
    pub head_branch: Option<String>,
    /// The commit.
    #[serde(default)]
    pub head_sha: Option<String>,
    /// Counted within the workflow.
    #[serde(default)]
    pub run_number: Option<u64>,
    /// From 1; more when it was started again.
    #[serde(default)]
    pub run_attempt: Option<u64>,
    /// How far it is.
    #[serde(default)]
    pub status: Option<Progress>,
    /// How it ended.
    #[serde(default)]
    pub conclusion: Option<Conclusion>,
    /// The page of the run.
    #[serde(default)]
    pub html_url: Option<String>,
    /// When it was made, RFC 3339.
    #[serde(default)]
    pub created_at: Option<String>,
    /// When it last changed.
    #[serde(default)]
    pub updated_at: Option<String>,
    /// Who started it.
    #[serde(default)]
    pub actor: Option<Account>,
    /// Where the commit comes from, which may be a fork.
    #[serde(default)]
    pub head_repository: Option<RepositoryNamed>,
}

impl WorkflowRun {
    /// Whether its commit comes from elsewhere than this repository (`owner/name`): from a fork, a deleted fork, or from where
    /// GitHub does not say. What strangers wrote is not to be taken for one's own.
    pub fn is_foreign(&self, full_name: &str) -> bool {
        let head = self.head_repository.as_ref().map(|head| head.full_name.as_str());
        !head.is_some_and(|head| head.eq_ignore_ascii_case(full_name))
    }
}

/// A repository as others mention it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RepositoryNamed {
    /// The id.
    #[serde(default)]
    pub id: Option<u64>,
    /// `owner/name`.
    #[serde(default, deserialize_with = "or_default")]
    pub full_name: String,
}

impl From<Repository> for RepositoryNamed {
    fn from(repository: Repository) -> Self {
        Self { id: Some(repository.id), full_name: repository.full_name }
    }
}

/// A step of a job.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Step {
    /// Its name.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// From 1.
    #[serde(default)]
    pub number: Option<u64>,
    /// How far it is.
    #[serde(default)]
    pub status: Option<Progress>,
    /// How it ended.
    #[serde(default)]
    pub conclusion: Option<Conclusion>,
}

/// A job of a run.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Job {
    /// The id.
    pub id: u64,
    /// The run.
    #[serde(default)]
    pub run_id: Option<u64>,
    /// The attempt of the run.
    #[serde(default)]
    pub run_attempt: Option<u64>,
    /// The name, matrix values included.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// The name of the workflow.
    #[serde(default)]
    pub workflow_name: Option<String>,
    /// The branch or tag.
    #[serde(default)]
    pub head_branch: Option<String>,
    /// The commit.
    #[serde(default)]
    pub head_sha: Option<String>,
    /// How far it is.
    #[serde(default)]
    pub status: Option<Progress>,
    /// How it ended.
    #[serde(default)]
    pub conclusion: Option<Conclusion>,
    /// What `runs-on` asks for.
    #[serde(default, deserialize_with = "or_default")]
    pub labels: Vec<String>,
    /// Who runs it; 0 and absent mean nobody yet.
    #[serde(default)]
    pub runner_id: Option<u64>,
    /// Its name.
    #[serde(default)]
    pub runner_name: Option<String>,
    /// The steps, as far as known.
    #[serde(default, deserialize_with = "or_default")]
    pub steps: Vec<Step>,
    /// The page of the job.
    #[serde(default)]
    pub html_url: Option<String>,
    /// When it was made, RFC 3339.
    #[serde(default)]
    pub created_at: Option<String>,
    /// When it began.
    #[serde(default)]
    pub started_at: Option<String>,
    /// When it ended.
    #[serde(default)]
    pub completed_at: Option<String>,
}

/// A wrapped page and what it is wrapped in.
macro_rules! page {
    ($(#[$meta:meta])* $name:ident, $field:ident: $item:ident) => {
        $(#[$meta])*
        #[derive(Deserialize)]
        pub(crate) struct $name {
            #[serde(default = "Vec::new")]
            $field: Vec<Entry<$item>>,
        }

        impl Page for $name {
            type Item = $item;

            fn entries(self) -> Vec<Entry<$item>> {
                self.$field
            }
        }
    };
}

page!(
    /// A page of workflows.
    Workflows, workflows: Workflow
);
page!(
    /// A page of runs.
    WorkflowRuns, workflow_runs: WorkflowRun
);
page!(
    /// A page of jobs.
    Jobs, jobs: Job
);

pub(super) use page;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_ones_own_only_where_github_says_so() {
        let foreign = |head: &str| {
            let body = format!(r#"{{"id": 1, "event": "pull_request"{head}}}"#);
            serde_json::from_str::<WorkflowRun>(&body).expect("a run").is_foreign("Octo/one")
        };
        assert!(!foreign(r#", "head_repository": {"full_name": "octo/One"}"#));
        assert!(foreign(r#", "head_repository": {"full_name": "stranger/one"}"#));
        assert!(foreign(r#", "head_repository": {"full_name": null}"#));
        assert!(foreign(r#", "head_repository": null"#) && foreign(""));
    }
}
