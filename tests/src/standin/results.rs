//! Commit statuses and check runs: what clients write back to GitHub.

use std::collections::BTreeMap;

use serde_json::Value;

use super::ids::{AccountId, CheckRunId, InstallationId, RepositoryId, StatusId};

/// One commit status; they are only ever added.
#[derive(Debug, Clone)]
pub(crate) struct CommitStatus {
    pub(crate) id: StatusId,
    pub(crate) repository: RepositoryId,
    pub(crate) sha: String,
    pub(crate) state: String,
    pub(crate) context: String,
    pub(crate) description: Option<String>,
    pub(crate) target_url: Option<String>,
    pub(crate) creator: Option<AccountId>,
    pub(crate) at: u64,
}

/// One check run.
#[derive(Debug, Clone)]
pub(crate) struct CheckRun {
    pub(crate) id: CheckRunId,
    pub(crate) repository: RepositoryId,
    pub(crate) installation: InstallationId,
    pub(crate) sha: String,
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) conclusion: Option<String>,
    pub(crate) external_id: Option<String>,
    pub(crate) details_url: Option<String>,
    pub(crate) started_at: Option<String>,
    pub(crate) completed_at: Option<String>,
    /// As it was last given.
    pub(crate) output: Value,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// In the order of their making.
    pub(crate) statuses: Vec<CommitStatus>,
    pub(crate) check_runs: BTreeMap<CheckRunId, CheckRun>,
}

impl Results {
    /// The latest of each context, the newest first.
    pub(crate) fn latest(&self, repository: RepositoryId, sha: &str) -> Vec<&CommitStatus> {
        let mut latest: Vec<&CommitStatus> = Vec::new();
        for status in self.of_commit(repository, sha) {
            if !latest.iter().any(|known| known.context == status.context) {
                latest.push(status);
            }
        }
        latest
    }

    /// All of a commit, the newest first.
    pub(crate) fn of_commit(
        &self,
        repository: RepositoryId,
        sha: &str,
    ) -> impl Iterator<Item = &CommitStatus> {
        let of = move |status: &&CommitStatus| status.repository == repository && status.sha == sha;
        self.statuses.iter().rev().filter(of)
    }
}

/// A commit status that somebody set, for tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusSet {
    /// `owner/name`.
    pub repository: String,
    /// The commit.
    pub sha: String,
    /// `error`, `failure`, `pending`, `success`.
    pub state: String,
    /// What it is about.
    pub context: String,
    /// A sentence.
    pub description: Option<String>,
}
