//! What the verbs of `runner` answer. The fields that the older program's document shows come first, in its order and meaning.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::node::autoscaler::{RunnerWishes, network_word};

/// A pool as it was turned on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PoolView {
    pub(crate) name: String,
    /// Owners and repositories, or `all` that the credential sees.
    pub(crate) scopes: Vec<String>,
    pub(crate) labels: Vec<String>,
    pub(crate) image: String,
    pub(crate) max_runners: u32,
    /// On all hosts; null: no bound.
    pub(crate) cluster_max: Option<u32>,
    /// Runners kept waiting for jobs at this hour.
    pub(crate) min_idle: u32,
    pub(crate) interval_s: u64,
    /// own, none, host, or the name of a network.
    pub(crate) network: String,
    /// jit or token.
    pub(crate) registration: String,
    /// Every setting of it, as kept.
    pub(crate) settings: serde_json::Value,
}

impl PoolView {
    /// The view of a pool at a unix second.
    pub(crate) fn of(wishes: &RunnerWishes, now_s: u64) -> Self {
        let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            name: wishes.pool.clone(),
            scopes: wishes.scopes(),
            labels: wishes.all_labels(),
            image: wishes.container.image.clone(),
            max_runners: wishes.max_runners,
            cluster_max: Some(wishes.cluster_max).filter(|max| *max > 0),
            min_idle: wishes.min_idle.at(now_s),
            interval_s: wishes.interval_s,
            network: network_word(&wishes.network.mode).to_owned(),
            registration: word(serde_json::json!(wishes.as_pool().policy.registration())),
            settings: serde_json::json!(wishes),
        }
    }
}

/// The autoscaler was turned on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StartedView {
    pub(crate) success: bool,
    /// Whether a node serves here, so that it works already.
    pub(crate) running: bool,
    /// One sentence.
    pub(crate) message: String,
    /// The pool that was turned on, then the others that are on.
    pub(crate) pools: Vec<PoolView>,
    /// Remarks for people.
    pub(crate) notes: Vec<String>,
}

/// The autoscaler, or a pool of it, was turned off.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StoppedView {
    pub(crate) success: bool,
    /// Whether a pool is still on.
    pub(crate) running: bool,
    /// One sentence.
    pub(crate) message: String,
    /// Names of the pools that were turned off.
    pub(crate) pools: Vec<String>,
    /// Names of runners that finish their job first.
    pub(crate) draining: Vec<String>,
    pub(crate) notes: Vec<String>,
}

/// How the autoscaler of this host gets on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RunnerStatusView {
    pub(crate) running: bool,
    /// RFC 3339; null while it is off.
    pub(crate) start_time: Option<String>,
    /// Looks since then.
    pub(crate) iterations: u64,
    /// Runners with a container that runs.
    pub(crate) active_runners: u64,
    /// Jobs that are queued and that a pool here serves.
    pub(crate) queued_workflows: u64,
    pub(crate) repositories_monitored: u64,
    /// RFC 3339; null before the first look.
    pub(crate) last_check: Option<String>,
    /// Runners started by this host, ever.
    pub(crate) provisioned_runners: u64,
    pub(crate) pools: Vec<PoolStatusView>,
    pub(crate) runners: Vec<RunnerView>,
    /// Queued jobs that get no runner here.
    pub(crate) refused: Vec<RefusedJobView>,
    pub(crate) troubles: Vec<RunnerTroubleView>,
    /// Figures of GitHub's limits by their resource: `remaining`, `limit`, `reset` and the like.
    pub(crate) github: BTreeMap<String, serde_json::Value>,
    /// The engine: its socket, version and what it cannot enforce.
    pub(crate) docker: BTreeMap<String, serde_json::Value>,
    /// Runs of the cluster's own that wait, and the share of the capacity kept for them.
    pub(crate) p2p: Option<P2pShareView>,
}

/// The share of the cluster's own jobs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct P2pShareView {
    pub(crate) pending: u64,
    pub(crate) share: u64,
    pub(crate) running: u64,
}

/// How a pool gets on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PoolStatusView {
    pub(crate) name: String,
    pub(crate) on: bool,
    pub(crate) scopes: Vec<String>,
    pub(crate) labels: Vec<String>,
    pub(crate) image: String,
    pub(crate) max: u32,
    /// null: no bound.
    pub(crate) cluster_max: Option<u32>,
    /// At this hour.
    pub(crate) idle_min: u32,
    pub(crate) interval_s: u64,
    /// Runners that count: starting, idle and busy.
    pub(crate) active: u64,
    pub(crate) starting: u64,
    pub(crate) idle: u64,
    pub(crate) busy: u64,
    /// Runners that finish their job and take no other.
    pub(crate) draining: u64,
    pub(crate) waiting_jobs: u64,
    /// Runners of the pool on other hosts, as they said.
    pub(crate) elsewhere: u64,
    /// Its condition in words, if it does not get on.
    pub(crate) trouble: Option<String>,
}

/// A runner.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RunnerView {
    /// Of the runner and of its container.
    pub(crate) name: String,
    pub(crate) pool: String,
    /// Where it is registered: `owner/name` or an organisation.
    pub(crate) scope: String,
    /// intended, starting, idle, busy, draining, exited, removing …
    pub(crate) phase: String,
    /// The first 12 digits; null before it is made.
    pub(crate) container: Option<String>,
    /// GitHub's number; null while it is not known.
    pub(crate) runner: Option<u64>,
    pub(crate) busy: bool,
    /// What it was started for: `owner/name run/job`, `idle` or `asked`.
    pub(crate) cause: String,
    /// The job that it runs or ran, as far as known.
    pub(crate) job: Option<String>,
    pub(crate) labels: Vec<String>,
    /// The member whose runner it is.
    pub(crate) peer: String,
    pub(crate) image: String,
    /// How it ended; null while it has not.
    pub(crate) end: Option<String>,
    /// Since when it is in this phase, RFC 3339.
    pub(crate) since: Option<String>,
}

/// A queued job without a runner here.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RefusedJobView {
    pub(crate) repo: String,
    /// Its name, or its number.
    pub(crate) job: String,
    pub(crate) labels: Vec<String>,
    pub(crate) why: String,
    pub(crate) remedy: String,
    pub(crate) url: Option<String>,
}

/// What keeps the autoscaler from getting on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RunnerTroubleView {
    pub(crate) what: String,
    pub(crate) remedy: String,
    /// The pool, repository or image it is about; empty: all.
    pub(crate) about: String,
    pub(crate) times: u64,
    /// RFC 3339.
    pub(crate) since: Option<String>,
    /// When it is tried again, RFC 3339; null: when somebody did something.
    pub(crate) next_try: Option<String>,
}

/// What is queued and runs in a repository.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct QueueView {
    pub(crate) repo: String,
    pub(crate) total_workflows: u64,
    pub(crate) running: u64,
    pub(crate) failed: u64,
    pub(crate) pending: u64,
    /// Queued jobs, whoever serves them.
    pub(crate) queued_jobs: u64,
    /// Of these, those that a pool of this host serves.
    pub(crate) served_jobs: u64,
    /// The others, by what they ask for.
    pub(crate) unserved: BTreeMap<String, u64>,
    /// Why that is not all there is to know, if so.
    pub(crate) problem: Option<String>,
}

/// A container of this host's runners.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RunnerContainerView {
    /// The first 12 digits.
    pub(crate) container_id: String,
    /// Where its runner is registered: `owner/name` or an organisation.
    pub(crate) repo: String,
    /// As the engine says it: created, running, exited …
    pub(crate) status: String,
    /// RFC 3339.
    pub(crate) created_at: String,
    pub(crate) name: String,
    pub(crate) pool: String,
    pub(crate) image: String,
    /// GitHub's number; null while it is not known.
    pub(crate) runner: Option<u64>,
    pub(crate) busy: bool,
    pub(crate) job: Option<String>,
    /// Whether the log of events knows it.
    pub(crate) known: bool,
}

/// Runners that somebody asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ProvisionView {
    /// By repository.
    pub(crate) results: BTreeMap<String, ProvisionedView>,
    pub(crate) notes: Vec<String>,
}

/// What became of one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ProvisionedView {
    /// provisioned, failed or token_failed.
    pub(crate) status: String,
    /// The first 12 digits; null without one.
    pub(crate) container_id: Option<String>,
    pub(crate) token_generated: bool,
    /// Runs of the repository that are not done.
    pub(crate) workflows: u64,
    /// The runner's name; empty without one.
    pub(crate) name: String,
    /// One sentence; what to do, if it failed.
    pub(crate) message: String,
}

impl ProvisionedView {
    pub(crate) fn is_success(&self) -> bool {
        self.status == "provisioned"
    }
}

/// A runner that is replaced.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RotatedRunnerView {
    pub(crate) name: String,
    pub(crate) pool: String,
    /// draining: it goes as soon as it has no job.
    pub(crate) what: String,
    pub(crate) why: String,
}

/// Which runners are replaced.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RotatedView {
    pub(crate) success: bool,
    /// One sentence.
    pub(crate) message: String,
    pub(crate) runners: Vec<RotatedRunnerView>,
    pub(crate) notes: Vec<String>,
}

/// A container was stopped.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ContainerStoppedView {
    pub(crate) success: bool,
    pub(crate) message: String,
}

/// A line that a runner's container wrote.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct RunnerLogLine {
    /// `out`, `err`, or `note` for what this program says about the log.
    pub(crate) stream: String,
    pub(crate) text: String,
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

    #[test]
    fn a_pool_shows_its_labels_and_what_counts_at_this_hour() {
        let pool =
            PoolView::of(&RunnerWishes { labels: vec!["gpu".to_owned()], ..RunnerWishes::default() }, 0);
        assert_eq!(
            (pool.name.as_str(), pool.network.as_str(), pool.registration.as_str()),
            ("default", "own", "jit")
        );
        assert_eq!(
            (pool.labels.first().unwrap().as_str(), pool.labels.last().unwrap().as_str()),
            ("self-hosted", "gpu")
        );
        assert_eq!((pool.min_idle, pool.cluster_max), (0, None));
    }
}
