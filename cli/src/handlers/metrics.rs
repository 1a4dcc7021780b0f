//! Figures of this node: what it counts, and what its views say now.

use std::collections::BTreeMap;
use std::sync::Arc;

use wfengine_api::Failure;
use wfengine_api::answers::runners::RunnerStatusView;
use wfengine_api::answers::{Metric, MetricKind};
use wfengine_core::views::job::Status;
use wfengine_github::Budget;
use wfengine_storage_format::PeerId;
use wfengine_store::disk::{FREE_CRITICAL_BYTES, FREE_LOW_BYTES, free_bytes};

use crate::node::{Node, autoscaler};

pub(super) async fn metrics(node: &Arc<Node>) -> Result<Vec<Metric>, Failure> {
    let mut all = node.meter.metrics();
    let status = super::cluster::status(node);
    let gauge = |name: &str, help: &str, value: f64| Metric::one(MetricKind::Gauge, name, help, value);
    all.extend([
        gauge("wfengine_queue_jobs", "Open jobs in this node's queue", status.queue_size as f64),
        gauge("wfengine_jobs_here", "Jobs that this node holds", status.runs_here as f64),
        gauge("wfengine_peers", "Members besides this node", status.known_peers as f64),
        gauge("wfengine_peers_connected", "Members that are connected", status.connected_peers as f64),
        gauge("wfengine_log_events", "Events in this node's log", status.events as f64),
        gauge(
            "wfengine_paused",
            "1 while this node claims nothing because somebody said so",
            f64::from(u8::from(status.paused)),
        ),
    ]);
    let mut counts: BTreeMap<Status, u64> = Status::ALL.iter().map(|status| (*status, 0)).collect();
    {
        let views = node.watcher().views();
        for run in views.runs().all_live() {
            *counts.entry(run.status).or_default() += 1;
        }
        for finished in views.runs().finished().values() {
            *counts.entry(finished.status).or_default() += 1;
        }
    }
    let runs =
        counts.into_iter().map(|(status, count)| (vec![("status", status.name().to_owned())], count as f64));
    all.push(Metric::of(
        MetricKind::Gauge,
        "wfengine_runs",
        "Runs and tasks that this node knows, by status",
        runs.collect(),
    ));
    let connected = node.network().map(|network| network.connected()).unwrap_or_default();
    let names: Vec<String> =
        connected.iter().map(|link| node.watcher().views().peer_name(&link.peer)).collect();
    // two members of one name are told apart by their ids
    let name = |peer: PeerId| {
        let name = node.watcher().views().peer_name(&peer);
        let is_alone = names.iter().filter(|other| **other == name).count() == 1;
        if is_alone { name } else { peer.to_string() }
    };
    let (mut lacks, mut owes, mut round_trips) = (Vec::new(), Vec::new(), Vec::new());
    for link in connected {
        let label = || vec![("peer", name(link.peer))];
        round_trips.push((label(), link.rtt_ms / 1_000.0));
        if let Some(standing) = link.standing {
            lacks.push((label(), standing.lacks as f64));
            owes.push((label(), standing.owes as f64));
        }
    }
    all.extend([
        Metric::of(
            MetricKind::Gauge,
            "wfengine_peer_lacks_events",
            "Events here that a connected peer has not",
            lacks,
        ),
        Metric::of(
            MetricKind::Gauge,
            "wfengine_peer_owes_events",
            "Events of a connected peer that are not here",
            owes,
        ),
        Metric::of(
            MetricKind::Gauge,
            "wfengine_peer_round_trip_seconds",
            "Round trip to a connected peer, in seconds",
            round_trips,
        ),
    ]);
    if let Some(free) = free_bytes(node.home.data.path()) {
        all.push(gauge("wfengine_disk_free_bytes", "Free bytes where the log lies", free as f64));
    }
    let watermarks = [("low", FREE_LOW_BYTES), ("critical", FREE_CRITICAL_BYTES)];
    all.extend([
        Metric::of(
            MetricKind::Gauge,
            "wfengine_disk_watermark_bytes",
            "Free bytes that the log should have: below low somebody should make room, below critical at once",
            watermarks.map(|(level, bytes)| (vec![("level", level.to_owned())], bytes as f64)).into(),
        ),
        Metric::one(
            MetricKind::Counter,
            "wfengine_replication_sent_bytes",
            "Bytes of messages that went to peers",
            node.network().map_or(0, |network| network.sent_bytes()) as f64,
        ),
    ]);
    let runners = autoscaler::status(node).await?;
    all.extend(documented(&runners));
    all.extend(github(node));
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}

/// What is left of GitHub's limits. Of several credentials the one that is nearest to its end is told.
fn github(node: &Node) -> [Metric; 3] {
    let mut budgets: BTreeMap<String, Budget> = BTreeMap::new();
    for (bucket, budget) in node.github_budgets() {
        let kept = budgets.entry(bucket.to_string()).or_insert(budget);
        if budget.remaining < kept.remaining {
            *kept = budget;
        }
    }
    let of = |name: &str, help: &str, value: fn(&Budget) -> f64| {
        let samples =
            budgets.iter().map(|(resource, budget)| (vec![("resource", resource.clone())], value(budget)));
        Metric::of(MetricKind::Gauge, name, help, samples.collect())
    };
    [
        of("wfengine_github_requests_limit", "Requests that GitHub answers between two resets", |budget| {
            budget.limit as f64
        }),
        of(
            "wfengine_github_requests_remaining",
            "Requests that GitHub still answers until the reset",
            |budget| budget.remaining as f64,
        ),
        of("wfengine_github_reset_seconds", "Seconds until GitHub's limit is reset", |budget| {
            budget.resets_in.as_secs_f64().round()
        }),
    ]
}

/// The five figures of the older program's document, under its names.
fn documented(runners: &RunnerStatusView) -> [Metric; 5] {
    [
        ("active_runners", "Runners that have not ended", runners.active_runners),
        (
            "queued_workflows",
            "Jobs that are queued at GitHub and served by a pool here",
            runners.queued_workflows,
        ),
        (
            "repositories_monitored",
            "Repositories that are looked at for queued jobs",
            runners.repositories_monitored,
        ),
        ("iterations", "Looks at GitHub's queue since the autoscaler was turned on", runners.iterations),
        ("provisioned_runners", "Runners started by this host, ever", runners.provisioned_runners),
    ]
    .map(|(name, help, value)| Metric::one(MetricKind::Gauge, name, help, value as f64))
}
