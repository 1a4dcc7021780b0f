//! The audit at the end: `replay --verify` on every node, as an operator would type it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use wfengine_api::{Exit, Failure};

use super::cluster::Cluster;

/// What `replay --verify` found at one node.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Proved {
    /// Name of the node.
    pub(super) node: String,
    /// Exit status 0, and the report says so too.
    pub(super) clean: bool,
    /// Hash of everything that its views hold, 64 hexadecimal digits; null where that was not compared.
    pub(super) view_digest: Option<String>,
    /// Events in its log.
    pub(super) events: u64,
    /// What is wrong with it.
    pub(super) findings: Vec<String>,
}

/// The part of its report that is read here.
#[derive(Deserialize)]
struct Report {
    clean: bool,
    view_digest: Option<String>,
    events: u64,
    findings: Vec<Finding>,
}

#[derive(Deserialize)]
struct Finding {
    what: String,
    detail: String,
}

/// Runs `wfengine --json replay --verify` as a process beside every node that is up. Each reads the log through the node's
/// control socket, recomputes everything, and compares with what the node holds.
pub(super) async fn replay_verify(cluster: &Cluster) -> Result<Vec<Proved>, Failure> {
    let mut proving = JoinSet::new();
    for member in cluster.up() {
        let (node, ended) = (member.name.to_owned(), cluster.ended(&member.dir, &["replay", "--verify"]));
        proving.spawn(async move {
            let (status, printed, said) = ended.await?;
            let report: Report = serde_json::from_slice(&printed).map_err(|error| {
                let text = format!(
                    "`replay --verify` of {node} ended with {status} and no report ({error}): {said}"
                );
                Failure::new(Exit::Failure, text)
            })?;
            let findings = report
                .findings
                .iter()
                .map(|finding| format!("{}: {}", finding.what, finding.detail))
                .collect();
            Ok::<_, Failure>(Proved {
                node,
                clean: report.clean && status.success(),
                view_digest: report.view_digest,
                events: report.events,
                findings,
            })
        });
    }
    let mut proofs = Vec::new();
    while let Some(proved) = proving.join_next().await {
        proofs.push(
            proved.map_err(|error| {
                Failure::new(Exit::Failure, format!("BUG: an audit broke off: {error}"))
            })??,
        );
    }
    proofs.sort_by(|a, b| a.node.cmp(&b.node));
    Ok(proofs)
}
