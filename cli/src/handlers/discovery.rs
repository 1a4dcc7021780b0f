//! Discovery: look, watch, list, dispatch.

use std::collections::BTreeMap;
use std::sync::Arc;

use wfengine_api::answers::{
    ClockView, DiscoveryView, FoundView, Progress, SchedulerView, Submitted, WatchView,
};
use wfengine_api::{Environment, Failure, GithubWishes, Items};
use wfengine_core::views::repositories::Repository;
use wfengine_discovery::Report;

use super::runs::item;
use crate::node::discovery::{self, Wishes};
use crate::node::{Mode, Node};

pub(super) async fn once(
    node: &Arc<Node>,
    wishes: Wishes,
    variables: &Environment,
    dry_run: bool,
) -> Result<DiscoveryView<Report>, Failure> {
    let wishes = as_watched(node, wishes);
    let (report, notes) = discovery::once(node, &wishes, variables, dry_run).await?;
    let status = super::cluster::status(node);
    let clock: ClockView = super::cluster::clock(node);
    Ok(DiscoveryView {
        discovered: report.discovered(),
        submitted: report.submitted,
        taskqueue_drained: 0,
        scheduler: SchedulerView {
            peer_id: status.peer,
            merkle_clock: clock,
            pending_tasks: status.pending,
            assigned_tasks: status.assigned + status.in_progress,
            completed_tasks: status.completed,
            queue_size: status.queue_size,
            known_peers: status.known_peers,
        },
        timestamp: node.clock.wall().0 as f64 / 1_000.0,
        report,
        notes,
    })
}

/// What a command leaves open is as this host watches, if it does.
fn as_watched(node: &Node, wishes: Wishes) -> Wishes {
    let watched = node.settings().discovery;
    if watched.on { wishes.or(watched) } else { wishes }
}

pub(super) async fn monitor(
    node: &Arc<Node>,
    wishes: Wishes,
    variables: &Environment,
    dry_run: bool,
    items: Items,
) -> Result<(), Failure> {
    let wishes = as_watched(node, wishes);
    let (said, mut to_say) = tokio::sync::mpsc::unbounded_channel();
    let forward = {
        let items = items.clone();
        async move {
            while let Some(text) = to_say.recv().await {
                if items.send(item(&Progress::Note { text })).await.is_err() {
                    return;
                }
            }
        }
    };
    let gone = items.closed();
    let say = move |text| {
        // whoever listened may have left
        let _ = said.send(text);
    };
    let (watched, ()) =
        tokio::join!(discovery::monitor(node, &wishes, variables, dry_run, say, gone), forward);
    watched
}

pub(super) fn watch(node: &Node, wishes: Option<Wishes>) -> Result<WatchView, Failure> {
    let settings = node.change_settings(|settings| settings.discovery = wishes.unwrap_or_default())?;
    let watched = settings.discovery;
    let scopes = if watched.on { watched.scopes()? } else { Vec::new() };
    Ok(WatchView {
        scopes: scopes.iter().map(ToString::to_string).collect(),
        interval_s: watched.interval_s,
        serving: node.mode != Mode::Command,
    })
}

pub(super) fn discovered(node: &Node) -> Vec<FoundView> {
    let views = node.watcher().views();
    let of = |repository: &Repository| -> Vec<FoundView> {
        let found = repository.workflows.iter().map(|(path, found)| FoundView {
            repository: repository.name.clone(),
            source: repository.key.source.clone(),
            path: path.clone(),
            name: found.name.clone(),
            tags: found.tags.clone(),
            remarks: found.remarks.clone(),
            workflow: found.source.to_string(),
            found_by: views.peer_name(&found.author),
            since_ms: found.since_ms,
            head: repository.seen.as_ref().map(|seen| seen.head.clone()).unwrap_or_default(),
        });
        found.collect()
    };
    views.repositories().all().flat_map(of).collect()
}

pub(super) async fn dispatch(
    node: &Arc<Node>,
    repository: &str,
    workflow: &str,
    git_ref: Option<String>,
    inputs: BTreeMap<String, serde_json::Value>,
    github: GithubWishes,
    variables: &Environment,
) -> Result<Submitted, Failure> {
    let wanted = discovery::Dispatch { repository, workflow, git_ref, inputs };
    let (run, notes) = discovery::dispatch(node, wanted, github, variables).await?;
    Ok(Submitted { run: super::runs::view(node, &run)?, already_so: false, notes, copies: Vec::new() })
}
