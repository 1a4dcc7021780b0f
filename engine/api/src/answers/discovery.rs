//! Tagged workflows of repositories: a round of discovery, what is watched, and what was found.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ClockView;

/// What a round of discovery came to, with the fields of the older program first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DiscoveryView<R = serde_json::Value> {
    /// Tagged workflows that were seen.
    pub discovered: u64,
    /// Runs that were submitted.
    pub submitted: u64,
    /// There is no queue beside the log: always 0.
    pub taskqueue_drained: u64,
    /// The node after the round, in the older program's terms.
    pub scheduler: SchedulerView,
    /// When the round was over, in seconds since 1970.
    pub timestamp: f64,
    /// What was looked at, what was found, and what could not be done or read.
    pub report: R,
    /// Remarks for people.
    pub notes: Vec<String>,
}

/// The scheduler as the older program says it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SchedulerView {
    /// Name of this node.
    pub peer_id: String,
    /// The merkle clock.
    pub merkle_clock: ClockView,
    /// Runs with the status pending.
    pub pending_tasks: u64,
    /// Runs with the status assigned or in_progress.
    pub assigned_tasks: u64,
    /// Runs with the status completed.
    pub completed_tasks: u64,
    /// Open jobs that this node knows of.
    pub queue_size: u64,
    /// Members of the cluster besides this node.
    pub known_peers: u64,
}

/// What this host looks at.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WatchView {
    /// What it looks at: `all`, or each `owner:`, `repository:` and `path:`; empty: nothing.
    pub scopes: Vec<String>,
    /// Seconds between two looks.
    pub interval_s: u64,
    /// Whether a node serves here, so that it looks already.
    pub serving: bool,
}

/// A tagged workflow of a repository.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FoundView {
    /// `owner/name`, as it was called last.
    pub repository: String,
    /// The host of a GitHub, or `path` for a checkout in a folder.
    pub source: String,
    /// Path of the file in the repository.
    pub path: String,
    /// What people call the workflow.
    pub name: String,
    /// Routing tags in their canonical spelling and free labels, in the order found.
    pub tags: Vec<String>,
    /// What people should know of it, such as that GitHub runs it as well.
    pub remarks: Vec<String>,
    /// Blob of the file, 64 hexadecimal digits.
    pub workflow: String,
    /// Name of the member that found it.
    pub found_by: String,
    /// When it was first found with this content, in milliseconds since 1970, as the finder's clock said.
    pub since_ms: u64,
    /// Commit of the default branch when members last wrote it down; empty when unknown.
    pub head: String,
}
