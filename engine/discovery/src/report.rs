//! What came of one round of discovery: for people, and as JSON.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One tagged workflow.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WorkflowLine {
    /// Its repository's owner.
    pub owner: String,
    /// Its repository's name without the owner.
    pub repo: String,
    /// Its path, by which it is known.
    pub workflow_id: String,
    /// What people call it.
    pub workflow_name: String,
    /// Its path.
    pub workflow_path: String,
    /// Routing tags and free labels.
    pub tags: Vec<String>,
    /// The runs it started in this round.
    pub runs: Vec<String>,
    /// `submitted`, `known`, or why it was not submitted.
    pub status: String,
    /// What people should know.
    pub remarks: Vec<String>,
}

/// Something that could not be done or read; the rest went on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Which repository, or what was listed.
    pub repository: String,
    /// Which file; empty when it is not about one.
    pub path: String,
    /// What is the matter, and what to do.
    pub what: String,
}

/// Requests that a round made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Requests {
    /// All of them.
    pub total: u64,
    /// Of these, answered with "not modified", which cost nothing.
    pub not_modified: u64,
    /// Points of GraphQL.
    pub graphql_points: u64,
}

/// What came of a round.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// What was looked at, as scopes.
    pub scopes: Vec<String>,
    /// Repositories that were looked at.
    pub repositories: Vec<String>,
    /// Repositories that were not, by reason.
    pub skipped: BTreeMap<String, Vec<String>>,
    /// Workflow files that were seen.
    pub files: u64,
    /// Tagged workflows.
    pub workflows: Vec<WorkflowLine>,
    /// Tagged workflows that are gone.
    pub vanished: Vec<String>,
    /// Files whose tags name peers and GitHub: GitHub wins.
    pub for_github: Vec<String>,
    /// What could not be done or read.
    pub problems: Vec<Problem>,
    /// Runs that were submitted.
    pub submitted: u64,
    /// Whether nothing was to be changed.
    pub dry_run: bool,
    /// Whether nothing at all could be listed.
    pub failed: bool,
    /// What it cost.
    pub requests: Requests,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

impl Report {
    /// Tagged workflows that were seen.
    pub fn discovered(&self) -> u64 {
        self.workflows.len() as u64
    }

    /// Notes that a repository was not looked at.
    pub fn skip(&mut self, repository: &str, why: &str) {
        self.skipped.entry(why.to_owned()).or_default().push(repository.to_owned());
    }

    /// Notes a problem, without what steers a terminal.
    pub fn problem(&mut self, repository: &str, path: &str, what: impl ToString) {
        let clean =
            |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1_000).collect();
        let problem =
            Problem { repository: clean(repository), path: clean(path), what: clean(&what.to_string()) };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// What a watcher of rounds tells apart: the same twice is said once.
    pub fn fingerprint(&self) -> String {
        let workflows: Vec<String> = self
            .workflows
            .iter()
            .map(|line| {
                format!("{}/{}:{}:{}", line.owner, line.repo, line.workflow_path, line.tags.join(","))
            })
            .collect();
        let skipped: Vec<String> =
            self.skipped.iter().map(|(why, names)| format!("{why}:{}", names.join(","))).collect();
        format!("{workflows:?}{skipped:?}{:?}{:?}", self.problems, self.failed)
    }
}
