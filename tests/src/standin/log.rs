//! What was asked, in order. Tests read it; nothing in the stand-in depends on it.

use super::limits::Bucket;

/// One request and its answer.
#[derive(Debug, Clone)]
pub struct Logged {
    /// When, by the stand-in's clock.
    pub at: u64,
    /// Whose: `user:octocat`, `installation:48000002`, `app:1`, `address:127.0.0.1`.
    pub identity: String,
    /// `GET` and so on.
    pub method: String,
    /// Path and query, without `/api/v3`.
    pub path: String,
    /// The status that was sent; 0 when the connection was closed without one.
    pub status: u16,
    /// What it was counted for; absent for git and for what does not count.
    pub bucket: Option<Bucket>,
    /// Name of the operation in GitHub's description, where there is one.
    pub operation: Option<&'static str>,
    /// Whether it came with `if-none-match`.
    pub is_conditional: bool,
    /// Whether it was git over HTTP.
    pub is_git: bool,
}

impl Logged {
    /// The path without its query.
    pub fn bare_path(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }
}

/// A workflow that was dispatched through the API.
#[derive(Debug, Clone)]
pub struct Dispatched {
    /// When, by the stand-in's clock.
    pub at: u64,
    /// `owner/name`.
    pub repository: String,
    /// The path of the workflow file.
    pub workflow: String,
    /// The reference given.
    pub reference: String,
    /// The inputs given.
    pub inputs: serde_json::Value,
    /// The run it made.
    pub run: super::ids::RunId,
    /// What the branch held there was tagged for peers alone.
    pub is_for_peers_only: bool,
}

/// A request of a runner's process. GitHub's contract does not know it, and no limit counts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunnerRequest {
    /// When, by the stand-in's clock.
    pub at: u64,
    /// `register`, `session`, `job`, `completed` and so on.
    pub what: String,
    /// The name of the runner, where it is known.
    pub runner: String,
    /// The status that was sent; 0 while there is none.
    pub status: u16,
}
