//! What the verbs of `runner` answer. The fields that the older program's document shows come first, in its order and meaning.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A pool as it was turned on.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PoolView {
    /// The pool's name on this host.
    pub name: String,
    /// Owners and repositories, or `all` that the credential sees.
    pub scopes: Vec<String>,
    /// Labels that its runners register with.
    pub labels: Vec<String>,
    /// Image of its containers.
    pub image: String,
    /// Runners at once on this host, 1 to 1,000.
    pub max_runners: u32,
    /// Runners at once on all hosts; null: no bound.
    pub cluster_max: Option<u32>,
    /// Runners kept waiting for jobs at this hour.
    pub min_idle: u32,
    /// Seconds between two looks at GitHub, 1 to 86,400.
    pub interval_s: u64,
    /// Network of its containers: own, none, host, or the name of a network at the engine.
    pub network: String,
    /// How runners register: jit or token.
    pub registration: String,
    /// Every setting of it, as kept.
    pub settings: serde_json::Value,
}

/// The autoscaler was turned on.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StartedView {
    /// Always true: what fails is answered with an error.
    pub success: bool,
    /// Whether a node serves here, so that it works already.
    pub running: bool,
    /// One sentence.
    pub message: String,
    /// The pool that was turned on, then the others that are on.
    pub pools: Vec<PoolView>,
    /// Remarks for people.
    pub notes: Vec<String>,
}

/// The autoscaler, or a pool of it, was turned off.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StoppedView {
    /// Always true: what fails is answered with an error.
    pub success: bool,
    /// Whether a pool is still on.
    pub running: bool,
    /// One sentence.
    pub message: String,
    /// Names of the pools that were turned off.
    pub pools: Vec<String>,
    /// Names of runners that finish their job first.
    pub draining: Vec<String>,
    /// Remarks for people.
    pub notes: Vec<String>,
}

/// How the autoscaler of this host gets on.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RunnerStatusView {
    /// A pool is on and a node serves here.
    pub running: bool,
    /// When the first pool that is on was turned on, RFC 3339; null while all are off.
    pub start_time: Option<String>,
    /// Looks at GitHub by the pools that are at work, since each began.
    pub iterations: u64,
    /// Runners of this host that have not ended.
    pub active_runners: u64,
    /// Jobs that are queued and that a pool here serves.
    pub queued_workflows: u64,
    /// Repositories that its pools look at.
    pub repositories_monitored: u64,
    /// RFC 3339; null before the first look.
    pub last_check: Option<String>,
    /// Runners started by this host, ever.
    pub provisioned_runners: u64,
    /// Pools of this host, those that are off among them.
    pub pools: Vec<PoolStatusView>,
    /// Runners of all members that are not removed yet.
    pub runners: Vec<RunnerView>,
    /// Queued jobs that get no runner here.
    pub refused: Vec<RefusedJobView>,
    /// What keeps pools from getting on.
    pub troubles: Vec<RunnerTroubleView>,
    /// GitHub's limits by their resource: `limit`, `remaining` and `resets_in_s`.
    pub github: BTreeMap<String, serde_json::Value>,
    /// The engine: its `socket`; empty while no pool works here.
    pub docker: BTreeMap<String, serde_json::Value>,
    /// The share of the cluster's own jobs; null where no pool shares this host with them.
    pub p2p: Option<P2pShareView>,
}

/// The share of the cluster's own jobs.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct P2pShareView {
    /// Jobs of the cluster that wait for room on this host.
    pub pending: u64,
    /// Runners' places on this host that are kept for them.
    pub share: u64,
    /// Jobs of the cluster that run on this host.
    pub running: u64,
}

/// How a pool gets on.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PoolStatusView {
    /// The pool's name on this host.
    pub name: String,
    /// It starts runners.
    pub on: bool,
    /// Owners and repositories, or `all` that the credential sees.
    pub scopes: Vec<String>,
    /// Labels that its runners register with.
    pub labels: Vec<String>,
    /// Image of its containers.
    pub image: String,
    /// Runners at once on this host.
    pub max: u32,
    /// Runners at once on all hosts; null: no bound.
    pub cluster_max: Option<u32>,
    /// Runners kept waiting for jobs at this hour.
    pub idle_min: u32,
    /// Seconds between two looks at GitHub.
    pub interval_s: u64,
    /// Runners that count: starting, idle and busy.
    pub active: u64,
    /// Runners that are not connected to GitHub yet.
    pub starting: u64,
    /// Runners that wait for a job.
    pub idle: u64,
    /// Runners that run a job.
    pub busy: u64,
    /// Runners that finish their job and take no other.
    pub draining: u64,
    /// Jobs queued at GitHub that the pool serves.
    pub waiting_jobs: u64,
    /// Runners of the pool on other hosts, as they said.
    pub elsewhere: u64,
    /// Its condition in words; null while it gets on.
    pub trouble: Option<String>,
}

/// A runner.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RunnerView {
    /// Name of the runner and of its container.
    pub name: String,
    /// Name of its pool.
    pub pool: String,
    /// Where it is registered: `owner/name` or an organisation.
    pub scope: String,
    /// starting, offline, idle, busy or ended while its pool is at work on this host; otherwise intended, started or exited.
    pub phase: String,
    /// The first 12 digits of its container's id; null before it is made.
    pub container: Option<String>,
    /// GitHub's number; null while it is not known.
    pub runner: Option<u64>,
    /// It runs a job; known on this host alone.
    pub busy: bool,
    /// What it was started for: `owner/name run/job`, `idle` or `asked`.
    pub cause: String,
    /// The job that it ran, as `owner/name run/job`; null while that is not known.
    pub job: Option<String>,
    /// Labels that it registers with.
    pub labels: Vec<String>,
    /// Name of the member whose runner it is.
    pub peer: String,
    /// Image of its container; empty before that is made.
    pub image: String,
    /// How it ended, in words; null while it has not.
    pub end: Option<String>,
    /// When its container was started, or when it was intended if it is not yet, RFC 3339.
    pub since: Option<String>,
}

/// A queued job without a runner here.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RefusedJobView {
    /// Its repository, `owner/name`.
    pub repo: String,
    /// GitHub's number of the job.
    pub job: String,
    /// Labels that it asks for; empty where they are not said.
    pub labels: Vec<String>,
    /// Why it gets no runner here, in words.
    pub why: String,
    /// What would let it run, in words.
    pub remedy: String,
    /// Where people see it; null where that is not said.
    pub url: Option<String>,
}

/// What keeps the autoscaler from getting on.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RunnerTroubleView {
    /// What is the matter, in words.
    pub what: String,
    /// What to do, in words.
    pub remedy: String,
    /// The pool, repository or image it is about; empty: all.
    pub about: String,
    /// How often in a row.
    pub times: u64,
    /// Since when, RFC 3339; null where that is not known.
    pub since: Option<String>,
    /// When it is tried again, RFC 3339; null: when somebody did something.
    pub next_try: Option<String>,
}

/// What is queued and runs in a repository.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct QueueView {
    /// The repository, `owner/name`.
    pub repo: String,
    /// Sum of running, failed and pending.
    pub total_workflows: u64,
    /// Runs in progress.
    pub running: u64,
    /// Runs of the last `since_days` of the pool, one unless set otherwise, that failed; at most 1,000.
    pub failed: u64,
    /// Runs that are queued.
    pub pending: u64,
    /// Queued jobs, whoever serves them.
    pub queued_jobs: u64,
    /// Of these, those that a pool of this host serves.
    pub served_jobs: u64,
    /// The others: number by labels and reason.
    pub unserved: BTreeMap<String, u64>,
    /// Why that is not all there is to know, or null.
    pub problem: Option<String>,
}

/// A container of this host's runners.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RunnerContainerView {
    /// The first 12 digits of its id.
    pub container_id: String,
    /// Where its runner is registered: `owner/name` or an organisation.
    pub repo: String,
    /// As the engine says it: created, running, exited …
    pub status: String,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// Name of the container.
    pub name: String,
    /// Name of its runner's pool.
    pub pool: String,
    /// Image that it was made from.
    pub image: String,
    /// GitHub's number; null while it is not known.
    pub runner: Option<u64>,
    /// Its runner runs a job.
    pub busy: bool,
    /// The job that its runner runs; null where that is not known.
    pub job: Option<String>,
    /// Whether the log of events knows it.
    pub known: bool,
}

/// Runners that somebody asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ProvisionView {
    /// By repository.
    pub results: BTreeMap<String, ProvisionedView>,
    /// Remarks for people.
    pub notes: Vec<String>,
}

/// What became of one.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ProvisionedView {
    /// provisioned, failed or token_failed.
    pub status: String,
    /// The first 12 digits of its container's id; null without one.
    pub container_id: Option<String>,
    /// GitHub gave it a registration.
    pub token_generated: bool,
    /// Runs of the repository that are not done.
    pub workflows: u64,
    /// The runner's name; empty without one.
    pub name: String,
    /// One sentence; what to do, if it failed.
    pub message: String,
}

impl ProvisionedView {
    /// Whether the runner runs.
    pub fn is_success(&self) -> bool {
        self.status == "provisioned"
    }
}

/// A runner that is replaced.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RotatedRunnerView {
    /// Name of the runner.
    pub name: String,
    /// Name of its pool.
    pub pool: String,
    /// draining: it goes as soon as it has no job.
    pub what: String,
    /// Why, in words.
    pub why: String,
}

/// Which runners are replaced.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RotatedView {
    /// Always true: what fails is answered with an error.
    pub success: bool,
    /// One sentence.
    pub message: String,
    /// The runners that are replaced.
    pub runners: Vec<RotatedRunnerView>,
    /// Remarks for people.
    pub notes: Vec<String>,
}

/// A container was stopped.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ContainerStoppedView {
    /// Always true: what fails is answered with an error.
    pub success: bool,
    /// One sentence.
    pub message: String,
}

/// A line that a runner's container wrote.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RunnerLogLine {
    /// `out`, `err`, or `note` for what this program says about the log.
    pub stream: String,
    /// The line without its line feed.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of an object's fields in the order in which they are printed.
    fn fields(value: &impl Serialize) -> Vec<String> {
        let text = serde_json::to_string_pretty(value).unwrap();
        let field = |line: &str| Some(line.strip_prefix("  \"")?.split_once('"')?.0.to_owned());
        text.lines().filter_map(field).collect()
    }

    #[test]
    fn the_fields_of_the_document_come_first() {
        assert_eq!(
            fields(&RunnerStatusView::default()).get(..8).unwrap(),
            [
                "running",
                "start_time",
                "iterations",
                "active_runners",
                "queued_workflows",
                "repositories_monitored",
                "last_check",
                "provisioned_runners"
            ]
        );
        let queue = fields(&QueueView::default());
        assert_eq!(queue.get(..5).unwrap(), ["repo", "total_workflows", "running", "failed", "pending"]);
        let container = fields(&RunnerContainerView::default());
        assert_eq!(container.get(..4).unwrap(), ["container_id", "repo", "status", "created_at"]);
        assert_eq!(fields(&StartedView::default()).get(..3).unwrap(), ["success", "running", "message"]);
        assert_eq!(fields(&StoppedView::default()).get(..3).unwrap(), ["success", "running", "message"]);
    }
}
