//! The values that answers are made of: what `--json` prints. Field names are stable; fields may be added.

pub(crate) mod runners;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use wfengine_core::views::Views;
use wfengine_core::views::job::{ClaimState, Job};
use wfengine_core::views::run::Run;
use wfengine_storage_format::{RunSpec, Trigger};

/// A run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunView {
    /// 64 hexadecimal digits.
    pub(crate) id: String,
    /// The id given with `--task-id` or `--id`; empty otherwise.
    pub(crate) given_id: String,
    pub(crate) name: String,
    /// Status word: pending, assigned, in_progress, completed, failed, cancelled, skipped, expired.
    pub(crate) status: String,
    /// In words; may be empty.
    pub(crate) reason: String,
    /// `workflow` or `task`.
    pub(crate) kind: String,
    /// Path of the workflow file; empty for a task.
    pub(crate) path: String,
    /// The program's own name for the kind of work; empty for a workflow.
    pub(crate) workflow_id: String,
    /// `owner/name`, full ref and commit of its sources; empty where none is known.
    pub(crate) repository: String,
    pub(crate) git_ref: String,
    pub(crate) sha: String,
    /// Why it exists: `found`, `push`, `schedule` or `dispatch` if discovery submitted it, else `hand`.
    pub(crate) trigger: String,
    /// Where people see it at GitHub, if it was handed over; empty while that is not known.
    pub(crate) github: Option<String>,
    pub(crate) attempt: u32,
    pub(crate) tags: Vec<String>,
    /// Lower runs first, 0.001 to 1000.
    pub(crate) priority: f64,
    /// Name of the peer that submitted it.
    pub(crate) submitted_by: String,
    /// Milliseconds since 1970, as the submitter's clock said.
    pub(crate) submitted_ms: u64,
    /// Event id of the canonical submission.
    pub(crate) submission: String,
    /// JSON object given by the submitter, or null.
    pub(crate) metadata: serde_json::Value,
    pub(crate) inputs: BTreeMap<String, serde_json::Value>,
    /// Submissions under one id ask for different things.
    pub(crate) conflict: bool,
    /// Two plans of one job differ.
    pub(crate) divergent_plan: bool,
    /// A job was planned from a result that is no longer the canonical one.
    pub(crate) stale_input: bool,
    /// Jobs of the file that are not planned yet.
    pub(crate) waiting_jobs: Vec<String>,
    pub(crate) jobs: Vec<JobView>,
}

/// A job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct JobView {
    pub(crate) id: String,
    pub(crate) run: String,
    /// The job's id in the workflow file.
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) matrix: BTreeMap<String, serde_json::Value>,
    pub(crate) runs_on: Vec<String>,
    pub(crate) needs: Vec<String>,
    /// Name of the peer that holds or completed it; null while nobody does.
    pub(crate) peer: Option<String>,
    pub(crate) claims: Vec<ClaimView>,
    /// success, failure, cancelled, skipped; null while it is open.
    pub(crate) conclusion: Option<String>,
    pub(crate) outputs: BTreeMap<String, String>,
    /// A task's result, or null.
    pub(crate) result: serde_json::Value,
    /// Blob of the log, or null.
    pub(crate) log: Option<String>,
    pub(crate) duration_ms: Option<u64>,
    pub(crate) notes: Vec<String>,
    /// Peers whose result is not the canonical one.
    pub(crate) duplicates: Vec<String>,
    pub(crate) divergent: bool,
    pub(crate) result_superseded: bool,
}

/// A claim on a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ClaimView {
    pub(crate) id: String,
    pub(crate) peer: String,
    pub(crate) epoch: u32,
    pub(crate) band: u8,
    pub(crate) rank: u32,
    /// Bits, 0 to 256.
    pub(crate) distance: u32,
    pub(crate) started: bool,
    pub(crate) steps_done: u32,
    /// held, released, aborted, completed or failed, with the reason if there is one.
    pub(crate) state: String,
    pub(crate) effective: bool,
}

/// A run's jobs as its file lists them, legs of a matrix in their order.
pub(crate) fn in_file_order(run: &Run) -> Vec<&Job> {
    let mut jobs: Vec<&Job> = run.jobs.values().collect();
    jobs.sort_by_cached_key(|job| {
        let key = run.job_keys().iter().position(|key| *key == job.key);
        let leg = run.parts.get(&job.key).and_then(|part| part.jobs.iter().position(|id| *id == job.id));
        (key, leg)
    });
    jobs
}

impl RunView {
    pub(crate) fn of(run: &Run, views: &Views) -> Self {
        let submitted = run.submitted.as_ref();
        let submission = run.submission();
        let json = |text: &str| serde_json::from_str(text).unwrap_or(serde_json::Value::Null);
        let (kind, path, workflow_id) = match submitted.map(|submitted| &submitted.spec) {
            Some(RunSpec::Workflow(spec)) => ("workflow", spec.path.clone(), String::new()),
            Some(RunSpec::Task { workflow_id }) => ("task", String::new(), workflow_id.clone()),
            None => ("unknown", String::new(), String::new()),
        };
        let given = submitted.and_then(|submitted| submitted.trigger_key.strip_prefix(b"id:"));
        Self {
            id: run.id.to_string(),
            given_id: given.map(|id| String::from_utf8_lossy(id).into_owned()).unwrap_or_default(),
            name: run.name().to_owned(),
            status: run.status.name().to_owned(),
            reason: run.reason.clone(),
            kind: kind.to_owned(),
            path,
            workflow_id,
            repository: submitted.map(|submitted| submitted.frozen.repository.clone()).unwrap_or_default(),
            git_ref: submitted.map(|submitted| submitted.frozen.ref_name.clone()).unwrap_or_default(),
            sha: submitted.map(|submitted| submitted.frozen.sha.clone()).unwrap_or_default(),
            trigger: trigger_word(run).to_owned(),
            github: run.dispatched().map(|dispatch| dispatch.url().to_owned()),
            attempt: submitted.map_or(0, |submitted| submitted.attempt),
            tags: submitted.map(|submitted| submitted.tags.clone()).unwrap_or_default(),
            priority: f64::from(run.priority_milli) / 1000.0,
            submitted_by: submission.map(|found| views.peer_name(&found.author)).unwrap_or_default(),
            submitted_ms: submission.map_or(0, |found| found.time_ms),
            submission: run.canonical.map(|id| id.to_string()).unwrap_or_default(),
            metadata: submitted.map(|submitted| json(&submitted.metadata_json)).unwrap_or_default(),
            inputs: submitted
                .map(|s| s.frozen.inputs.iter().map(|(name, value)| (name.clone(), json(value))).collect())
                .unwrap_or_default(),
            conflict: run.conflict,
            divergent_plan: run.divergent_plan,
            stale_input: run.stale_input,
            waiting_jobs: run.unplanned_keys(),
            jobs: in_file_order(run).into_iter().map(|job| JobView::of(run, job, views)).collect(),
        }
    }
}

fn trigger_word(run: &Run) -> &'static str {
    match run.trigger.as_ref().map(|fired| &fired.trigger) {
        None => "hand",
        Some(Trigger::Found) => "found",
        Some(Trigger::Push { .. }) => "push",
        Some(Trigger::Schedule { .. }) => "schedule",
        Some(Trigger::Dispatch) => "dispatch",
    }
}

impl JobView {
    pub(crate) fn of(run: &Run, job: &Job, views: &Views) -> Self {
        let json = |text: &str| serde_json::from_str(text).unwrap_or(serde_json::Value::Null);
        let result = job.result.as_ref();
        let peer = result.map(|result| result.peer).or_else(|| job.holder().map(|claim| claim.peer()));
        Self {
            id: job.id.to_string(),
            run: run.id.to_string(),
            key: job.key.clone(),
            name: job.leg.name.clone(),
            status: job.status.name().to_owned(),
            reason: job.reason.clone(),
            matrix: job.leg.matrix.iter().map(|(key, value)| (key.clone(), json(value))).collect(),
            runs_on: job.leg.runs_on.clone(),
            needs: job.needs.clone(),
            peer: peer.map(|peer| views.peer_name(&peer)),
            claims: job
                .claims
                .iter()
                .map(|claim| ClaimView {
                    id: claim.id.to_string(),
                    peer: views.peer_name(&claim.peer()),
                    epoch: claim.epoch,
                    band: claim.band,
                    rank: claim.rank,
                    distance: claim.distance,
                    started: claim.started,
                    steps_done: claim.steps_done,
                    state: claim_state(&claim.state),
                    effective: job.effective == Some(claim.id),
                })
                .collect(),
            conclusion: job.conclusion().map(|conclusion| conclusion.to_string()),
            outputs: result.map(|result| result.outputs.iter().cloned().collect()).unwrap_or_default(),
            result: result.map(|result| json(&result.result_json)).unwrap_or_default(),
            log: result.and_then(|result| result.log).map(|(log, _)| log.to_string()),
            duration_ms: result.map(|result| result.duration_ms),
            notes: result.map(|result| result.notes.clone()).unwrap_or_default(),
            duplicates: job.duplicates.iter().map(|other| views.peer_name(&other.peer)).collect(),
            divergent: job.divergent,
            result_superseded: job.result_superseded,
        }
    }
}

fn claim_state(state: &ClaimState) -> String {
    match state {
        ClaimState::Held => "held".to_owned(),
        ClaimState::Released(why) => format!("released: {why}"),
        ClaimState::Aborted(why) => format!("aborted: {why}"),
        ClaimState::Completed => "completed".to_owned(),
        ClaimState::Failed => "failed".to_owned(),
    }
}

/// Something a follower of a run sees.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub(crate) enum Progress {
    /// A remark.
    Note { text: String },
    /// The run was submitted.
    Submitted { run: String },
    /// A job begins.
    JobStarted { job: String, name: String, peer: String },
    /// A step begins.
    Step { job: String, number: u32, name: String },
    /// A line of a log. `stream` is `out`, `err` or `note`.
    Line { job: String, name: String, step: u32, stream: String, offset_ms: u64, text: String },
    /// A step ended.
    StepEnded { job: String, number: u32, name: String, conclusion: String, duration_ms: u64 },
    /// A job ended.
    JobEnded { job: String, name: String, conclusion: String },
}

/// A submission was accepted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Submitted {
    pub(crate) run: RunView,
    /// It was submitted before with the same content.
    pub(crate) already_so: bool,
    pub(crate) notes: Vec<String>,
    /// Names of the other peers that hold it.
    pub(crate) copies: Vec<String>,
}

/// Why a job is where it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WhyView {
    pub(crate) run: String,
    pub(crate) job: String,
    pub(crate) name: String,
    pub(crate) status: String,
    /// One paragraph.
    pub(crate) text: String,
    pub(crate) order: Vec<RankView>,
}

/// A peer's place in the ranking of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RankView {
    pub(crate) peer: String,
    pub(crate) peer_id: String,
    pub(crate) band: u8,
    pub(crate) rank: u32,
    /// Bits, 0 to 256.
    pub(crate) distance: u32,
    /// null where this process cannot know.
    pub(crate) alive: Option<bool>,
    /// Why it does not take the job, as far as it said.
    pub(crate) declined: Option<String>,
}

/// Who a job lies with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OwnerView {
    pub(crate) run: String,
    pub(crate) job: String,
    pub(crate) name: String,
    pub(crate) status: String,
    /// `SHA-256(head ‖ task_hash)`.
    pub(crate) key: String,
    /// Nearest first.
    pub(crate) ranked: Vec<RankView>,
    /// Who holds or completed it.
    pub(crate) holder: Option<String>,
}

/// A task handed to a program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TaskView {
    pub(crate) task_id: String,
    pub(crate) run: String,
    pub(crate) job: String,
    pub(crate) workflow_id: String,
    pub(crate) name: String,
    pub(crate) tags: Vec<String>,
    pub(crate) priority: f64,
    pub(crate) metadata: serde_json::Value,
    pub(crate) attempt: u32,
    /// The task's hash in the ownership rule.
    pub(crate) task_hash: String,
    pub(crate) assigned_peer: String,
    /// Greater than every earlier claim's.
    pub(crate) fencing_token: String,
    /// The same for every claim and attempt.
    pub(crate) idempotency_key: String,
    pub(crate) lease_ms: u64,
}

/// This node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StatusView {
    pub(crate) peer: String,
    pub(crate) peer_id: String,
    pub(crate) cluster: String,
    pub(crate) serving: bool,
    pub(crate) paused: bool,
    pub(crate) pid: u32,
    /// UDP address, or null when not serving.
    pub(crate) listen: Option<String>,
    pub(crate) data_dir: String,
    pub(crate) pending: u64,
    pub(crate) assigned: u64,
    pub(crate) in_progress: u64,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) queue_size: u64,
    pub(crate) known_peers: u64,
    pub(crate) connected_peers: u64,
    pub(crate) runs_here: u64,
    pub(crate) clock_hash: String,
    pub(crate) height: u64,
    pub(crate) events: u64,
    /// The automerge documents that follow the log, or null when not serving.
    pub(crate) documents: Option<DocumentsView>,
    pub(crate) allows: AllowView,
    /// What it looks for workflows in, as scopes.
    pub(crate) discovers: Vec<String>,
    /// Why that does not get on, if so.
    pub(crate) discovery_trouble: Option<String>,
    /// Why it claims nothing, if so.
    pub(crate) declines: Option<String>,
}

/// The automerge documents kept behind the log, in figures since the node started. They decide nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DocumentsView {
    /// Documents that are open, one a chain.
    pub(crate) open: u64,
    /// Changes that automerge took one by one.
    pub(crate) changes: u64,
    /// Documents made from stored frames in one go.
    pub(crate) rebuilt: u64,
    /// How often automerge and this node did not come to the same; anything but 0 is a fault of the software.
    pub(crate) disagreements: u64,
    /// Chains without a document until the node starts anew.
    pub(crate) given_up: u64,
}

impl fmt::Display for DocumentsView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} open, {} changes", grouped(self.open), grouped(self.changes))?;
        if self.rebuilt > 0 {
            write!(f, ", {} made from the log", grouped(self.rebuilt))?;
        }
        if self.disagreements > 0 {
            write!(f, ", {} DISAGREEMENTS WITH THE LOG", grouped(self.disagreements))?;
        }
        if self.given_up > 0 {
            write!(f, ", {} GIVEN UP", grouped(self.given_up))?;
        }
        if self.disagreements + self.given_up > 0 {
            write!(f, ": please report what the node printed; the log itself is not touched")?;
        }
        Ok(())
    }
}

/// A number with commas between its thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The merkle clock.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ClockView {
    pub(crate) node_id: String,
    /// Number of events by author.
    pub(crate) vector: BTreeMap<String, u64>,
    pub(crate) merkle_root: String,
    pub(crate) heads: Vec<String>,
    pub(crate) height: u64,
}

/// What a round of discovery came to, with the fields of the older program first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DiscoveryView {
    pub(crate) discovered: u64,
    pub(crate) submitted: u64,
    /// There is no queue beside the log: always 0.
    pub(crate) taskqueue_drained: u64,
    pub(crate) scheduler: SchedulerView,
    /// Seconds since 1970.
    pub(crate) timestamp: f64,
    pub(crate) report: wfengine_discovery::Report,
    pub(crate) notes: Vec<String>,
}

/// The scheduler as the older program says it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SchedulerView {
    pub(crate) peer_id: String,
    pub(crate) merkle_clock: ClockView,
    pub(crate) pending_tasks: u64,
    pub(crate) assigned_tasks: u64,
    pub(crate) completed_tasks: u64,
    pub(crate) queue_size: u64,
    pub(crate) known_peers: u64,
}

/// What this host looks at.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WatchView {
    /// Empty: nothing.
    pub(crate) scopes: Vec<String>,
    pub(crate) interval_s: u64,
    /// Whether a node serves here, so that it looks already.
    pub(crate) serving: bool,
}

/// A tagged workflow of a repository.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FoundView {
    pub(crate) repository: String,
    /// The host of a GitHub, or `path`.
    pub(crate) source: String,
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) tags: Vec<String>,
    pub(crate) remarks: Vec<String>,
    /// Blob of the file.
    pub(crate) workflow: String,
    pub(crate) found_by: String,
    pub(crate) since_ms: u64,
    /// Commit of the default branch when members last wrote it down; empty when unknown.
    pub(crate) head: String,
}

/// An invite.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct InviteView {
    /// The complete command for the other host.
    pub(crate) join_line: String,
    pub(crate) expires_ms: u64,
    pub(crate) addresses: Vec<String>,
    pub(crate) allow_jobs: bool,
}

/// Members and addresses.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PeersView {
    pub(crate) peers: Vec<PeerView>,
    /// Addresses this host was told to connect to.
    pub(crate) addresses: Vec<String>,
}

/// A member.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PeerView {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) me: bool,
    pub(crate) roles: Vec<String>,
    pub(crate) labels: Vec<String>,
    pub(crate) weight: u16,
    pub(crate) alive: Option<bool>,
    /// Where it is connected, or null.
    pub(crate) connected: Option<String>,
    pub(crate) rtt_ms: Option<f64>,
    pub(crate) addresses: Vec<String>,
    pub(crate) version: String,
}

/// Whose jobs run here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AllowView {
    pub(crate) any: bool,
    pub(crate) peers: Vec<String>,
    pub(crate) repositories: Vec<String>,
}

/// What peers hold.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SyncView {
    pub(crate) clock_hash: String,
    pub(crate) events: u64,
    pub(crate) peers: Vec<SyncPeer>,
    /// Names of the peers that hold this node's head and sources, when waited for.
    pub(crate) copies: Vec<String>,
}

/// One peer's part of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SyncPeer {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) rtt_ms: f64,
    /// Events here that it did not say it has and that were not sent to it; null before it said anything.
    pub(crate) lacks: Option<u64>,
    /// Events that were sent to it and that it has not said yet that it has; null before it said anything.
    pub(crate) unconfirmed: Option<u64>,
    /// Events there that this node lacks; null before it said anything.
    pub(crate) owes: Option<u64>,
}

/// What became of imported frames.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Imported {
    pub(crate) admitted: u64,
    pub(crate) duplicate: u64,
    pub(crate) waiting: u64,
    pub(crate) refused: Vec<String>,
}

/// The published views in one hash.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DigestView {
    pub(crate) cluster: String,
    pub(crate) view_digest: String,
    pub(crate) views_version: u32,
    pub(crate) clock_hash: String,
    pub(crate) events: u64,
    pub(crate) frames: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_say_what_is_wrong_with_them_and_nothing_else() {
        let well = DocumentsView { open: 3, changes: 1_204, rebuilt: 0, disagreements: 0, given_up: 0 };
        assert_eq!(well.to_string(), "3 open, 1,204 changes");
        let rebuilt = DocumentsView { rebuilt: 2, changes: 12_345_678, ..well.clone() };
        assert_eq!(rebuilt.to_string(), "3 open, 12,345,678 changes, 2 made from the log");
        let wrong = DocumentsView { disagreements: 2, given_up: 1, ..well };
        assert_eq!(
            wrong.to_string(),
            "3 open, 1,204 changes, 2 DISAGREEMENTS WITH THE LOG, 1 GIVEN UP: please report what the node printed; \
             the log itself is not touched"
        );
    }
}
