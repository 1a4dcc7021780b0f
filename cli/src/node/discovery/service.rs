//! The loop: a node that serves looks for workflows as its settings say, and `discover monitor` does so while it is asked.

use std::sync::Arc;
use std::time::Duration;

use wfengine_core::command::Command;
use wfengine_discovery::Report;
use wfengine_storage_format::DiscoveryChanged;

use super::{Environment, Node, Wishes, discovery};
use crate::error::Failure;

/// After a round that could not even begin.
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// Looks as the settings say, until the node stops. Settings may change meanwhile.
pub(crate) fn begin(node: &Arc<Node>, variables: Environment) {
    let node = Arc::clone(node);
    tokio::spawn(async move {
        tokio::select! {
            () = node.stopped() => {}
            () = node.left() => {}
            () = look(&node, &variables) => {}
        }
    });
}

async fn look(node: &Arc<Node>, variables: &Environment) {
    let mut changes = node.settings_changes();
    loop {
        let wishes = node.settings().discovery;
        announce(node, &wishes).await;
        if !wishes.on {
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = rounds(node, &wishes, variables, |line| tracing::info!("{line}")) => {}
        }
    }
}

/// Tells the members what this node looks at.
async fn announce(node: &Arc<Node>, wishes: &Wishes) {
    let scopes = if wishes.on { wishes.scopes().unwrap_or_default() } else { Vec::new() };
    let shown = |scope: &wfengine_discovery::Scope| scope.to_string().chars().take(200).collect();
    let body = DiscoveryChanged {
        interval_ms: if scopes.is_empty() { 0 } else { wishes.interval_s.saturating_mul(1_000) },
        scopes: scopes.iter().map(shown).take(64).collect(),
    };
    if let Err(error) = node.ask(Command::Watch(body)).await {
        tracing::warn!(%error, "members were not told what this node looks at");
    }
}

/// Looks again and again.
async fn rounds(node: &Arc<Node>, wishes: &Wishes, variables: &Environment, mut say: impl FnMut(&str)) {
    let mut said = String::new();
    loop {
        let made = discovery(node, wishes, variables, true, false).await;
        let (mut discovery, notes) = match made {
            Ok((discovery, _, notes)) => (discovery, notes),
            Err(failure) => {
                let text = format!("discovery cannot begin: {failure}");
                if said != text {
                    tracing::warn!("{text}");
                    said = text;
                }
                tokio::time::sleep(TRY_AGAIN.min(Duration::from_secs(wishes.interval_s))).await;
                continue;
            }
        };
        notes.iter().for_each(|note| say(note));
        loop {
            let report = discovery.round().await;
            for line in news(&report, &mut said) {
                say(&line);
            }
            tokio::time::sleep(Duration::from_secs(wishes.interval_s)).await;
        }
    }
}

/// Lines for a round that differs from the one before; `said` is what the one before was.
fn news(report: &Report, said: &mut String) -> Vec<String> {
    let mut lines: Vec<String> = report
        .workflows
        .iter()
        .filter(|line| !line.runs.is_empty())
        .map(|line| {
            format!(
                "submitted {}/{}/{} ({})",
                line.owner,
                line.repo,
                line.workflow_path,
                line.tags.join(", ")
            )
        })
        .collect();
    lines.extend(report.vanished.iter().map(|gone| format!("gone: {gone}")));
    let fingerprint = report.fingerprint();
    if *said != fingerprint {
        lines.extend(report.problems.iter().map(|problem| {
            let path = if problem.path.is_empty() { String::new() } else { format!("/{}", problem.path) };
            format!("{}{path}: {}", problem.repository, problem.what)
        }));
        lines.push(format!(
            "Discovery: {} workflows in {} repositories, {} submitted",
            report.discovered(),
            report.repositories.len(),
            report.submitted
        ));
        *said = fingerprint;
    } else if report.submitted > 0 {
        lines.push(format!("Discovery: {} submitted", report.submitted));
    }
    lines
}

/// Looks again and again for somebody who watches; ends when the watcher leaves.
pub(crate) async fn monitor(
    node: &Arc<Node>,
    wishes: &Wishes,
    variables: &Environment,
    dry_run: bool,
    mut say: impl FnMut(String),
    gone: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let (mut discovery, _, notes) = discovery(node, wishes, variables, true, dry_run).await?;
    notes.into_iter().for_each(&mut say);
    let mut said = String::new();
    let watching = async {
        loop {
            let report = discovery.round().await;
            news(&report, &mut said).into_iter().for_each(&mut say);
            tokio::time::sleep(Duration::from_secs(wishes.interval_s)).await;
        }
    };
    tokio::select! {
        () = watching => {}
        () = gone => {}
        () = node.stopped() => {}
        () = node.left() => {}
    }
    Ok(())
}
