//! Runs and their jobs: how they stand, what a follower sees of them, where their jobs lie and why, and tasks handed to programs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wfengine_core::views::Views;
use wfengine_core::views::job::{ClaimState, Job};
use wfengine_core::views::run::Run;
use wfengine_storage_format::{RunSpec, Trigger};

/// A run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RunView {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The id given with `--task-id` or `--id`; empty otherwise.
    pub given_id: String,
    /// What people call it; empty without a valid submission.
    pub name: String,
    /// Status word: pending, assigned, in_progress, completed, failed, cancelled, skipped, expired.
    pub status: String,
    /// In words; may be empty.
    pub reason: String,
    /// `workflow`, `task`, or `unknown` without a valid submission.
    pub kind: String,
    /// Path of the workflow file; empty for a task.
    pub path: String,
    /// The program's own name for the kind of work; empty for a workflow.
    pub workflow_id: String,
    /// `owner/name` of its sources; empty where none is known.
    pub repository: String,
    /// Full ref of its sources, such as `refs/heads/main`; empty where none is known.
    pub git_ref: String,
    /// Commit of its sources, in hexadecimal digits; empty where none is known.
    pub sha: String,
    /// Why it exists: `found`, `push`, `schedule` or `dispatch` if discovery submitted it, else `hand`.
    pub trigger: String,
    /// Where people see it at GitHub, if it was handed over; empty while that is not known; null: not handed over.
    pub github: Option<String>,
    /// 1 for the first submission, one more for each re-run; 0 without a valid submission.
    pub attempt: u32,
    /// Routing tags in their canonical spelling and free labels, in the order found.
    pub tags: Vec<String>,
    /// Lower runs first, 0.001 to 1000.
    #[schemars(range(min = 0.001, max = 1000))]
    pub priority: f64,
    /// Name of the peer that submitted it.
    pub submitted_by: String,
    /// Milliseconds since 1970, as the submitter's clock said.
    pub submitted_ms: u64,
    /// Event id of the canonical submission.
    pub submission: String,
    /// JSON object given by the submitter, or null.
    pub metadata: serde_json::Value,
    /// Inputs of the workflow by name; empty for a task.
    pub inputs: BTreeMap<String, serde_json::Value>,
    /// Submissions under one id ask for different things.
    pub conflict: bool,
    /// Two plans of one job differ.
    pub divergent_plan: bool,
    /// A job was planned from a result that is no longer the canonical one.
    pub stale_input: bool,
    /// Jobs of the file that are not planned yet.
    pub waiting_jobs: Vec<String>,
    /// Jobs that are planned, in the order of the file; one alone where a single job was asked for.
    pub jobs: Vec<JobView>,
}

/// A part of the runs, newest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RunsView {
    /// Those that fit.
    pub runs: Vec<RunView>,
    /// Where the next part begins; null: nothing is left. With a filter there may be a next part where this one is not full.
    pub next: Option<String>,
}

/// A job.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct JobView {
    /// 64 hexadecimal digits; the task hash of the ownership rule.
    pub id: String,
    /// Id of its run, 64 hexadecimal digits.
    pub run: String,
    /// The job's id in the workflow file.
    pub key: String,
    /// What people call it.
    pub name: String,
    /// Status word: pending, assigned, in_progress, completed, failed, cancelled, skipped, expired.
    pub status: String,
    /// Why it has this status, in words; may be empty.
    pub reason: String,
    /// Values of its leg of the matrix by key; empty without a matrix.
    pub matrix: BTreeMap<String, serde_json::Value>,
    /// Labels that a peer must have to run it; empty: none.
    pub runs_on: Vec<String>,
    /// Ids in the workflow file of the jobs that it needs.
    pub needs: Vec<String>,
    /// Name of the peer that holds or completed it; null while nobody does.
    pub peer: Option<String>,
    /// Valid claims on it, in canonical order.
    pub claims: Vec<ClaimView>,
    /// success, failure, cancelled, skipped; null while it is open.
    pub conclusion: Option<String>,
    /// Outputs by name; empty while it has no result.
    pub outputs: BTreeMap<String, String>,
    /// A task's result, or null.
    pub result: serde_json::Value,
    /// Blob of the log, 64 hexadecimal digits, or null.
    pub log: Option<String>,
    /// How long its execution took, in milliseconds; 0 for a task; null while it has no result.
    pub duration_ms: Option<u64>,
    /// What people should know of its result, such as a dropped output.
    pub notes: Vec<String>,
    /// Names of the peers whose result is not the canonical one.
    pub duplicates: Vec<String>,
    /// A result that is not the canonical one differs from it in conclusion, outputs or `result`.
    pub divergent: bool,
    /// The canonical result is not the one that came first.
    pub result_superseded: bool,
}

/// A claim on a job.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ClaimView {
    /// Id of the claim's event, 64 hexadecimal digits.
    pub id: String,
    /// Name of the peer that claims.
    pub peer: String,
    /// 1 for the first claim, one more for each that takes over from another.
    #[schemars(range(min = 1))]
    pub epoch: u32,
    /// 0: the submission knew the peer as a member; 1: the peer joined later.
    #[schemars(range(min = 0, max = 1))]
    pub band: u8,
    /// Place in the ranking of its band; 0 is the nearest.
    pub rank: u32,
    /// Bits between the job's key and the peer, 0 to 256.
    #[schemars(range(min = 0, max = 256))]
    pub distance: u32,
    /// Its first step began.
    pub started: bool,
    /// Steps that ended.
    pub steps_done: u32,
    /// held, released, aborted, completed or failed, with the reason if there is one.
    pub state: String,
    /// It has the greatest fencing token of all claims on the job.
    pub effective: bool,
    /// When it was made, milliseconds since 1970, as the peer's clock said.
    pub time_ms: u64,
}

/// A run's jobs as its file lists them, legs of a matrix in their order.
pub fn in_file_order(run: &Run) -> Vec<&Job> {
    let mut jobs: Vec<&Job> = run.jobs.values().collect();
    jobs.sort_by_cached_key(|job| {
        let key = run.job_keys().iter().position(|key| *key == job.key);
        let leg = run.parts.get(&job.key).and_then(|part| part.jobs.iter().position(|id| *id == job.id));
        (key, leg)
    });
    jobs
}

impl RunView {
    /// The run as the views show it.
    pub fn of(run: &Run, views: &Views) -> Self {
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
    /// A job of the run as the views show it.
    pub fn of(run: &Run, job: &Job, views: &Views) -> Self {
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
                    time_ms: claim.time_ms,
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
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum Progress {
    /// A remark.
    Note {
        /// For people, in words.
        text: String,
    },
    /// The run was submitted.
    Submitted {
        /// Id of the run, 64 hexadecimal digits.
        run: String,
    },
    /// A job begins.
    JobStarted {
        /// Id of the job, 64 hexadecimal digits.
        job: String,
        /// What people call the job.
        name: String,
        /// Name of the peer that executes it.
        peer: String,
    },
    /// A step begins.
    Step {
        /// Id of the job, 64 hexadecimal digits.
        job: String,
        /// Number of the step in its job, from 1.
        #[schemars(range(min = 1))]
        number: u32,
        /// What people call the step.
        name: String,
    },
    /// A line of a log.
    Line {
        /// Id of the job, 64 hexadecimal digits.
        job: String,
        /// What people call the job; may be empty.
        name: String,
        /// Number of the step that it belongs to, from 1; 0: the job itself.
        step: u32,
        /// `out` or `err` for what the step wrote there, `note` for what the engine says.
        stream: String,
        /// Milliseconds since the job began.
        offset_ms: u64,
        /// The line without its line feed; what is no UTF-8 is replaced.
        text: String,
    },
    /// A step ended.
    StepEnded {
        /// Id of the job, 64 hexadecimal digits.
        job: String,
        /// Number of the step in its job, from 1.
        #[schemars(range(min = 1))]
        number: u32,
        /// What people call the step.
        name: String,
        /// success, failure, cancelled or skipped.
        conclusion: String,
        /// How long it took, in milliseconds.
        duration_ms: u64,
    },
    /// A job ended.
    JobEnded {
        /// Id of the job, 64 hexadecimal digits.
        job: String,
        /// What people call the job; may be empty.
        name: String,
        /// success, failure, cancelled or skipped; without a result `stopped`, or `not executed:` and why.
        conclusion: String,
    },
}

/// A submission was accepted.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Submitted {
    /// The run as it is now.
    pub run: RunView,
    /// It was submitted before with the same content.
    pub already_so: bool,
    /// Remarks for people.
    pub notes: Vec<String>,
    /// Names of the other peers that hold it; empty where no copies were asked for.
    pub copies: Vec<String>,
}

/// Why a job is where it is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WhyView {
    /// Id of its run, 64 hexadecimal digits.
    pub run: String,
    /// Id of the job, 64 hexadecimal digits; empty where the text is about the whole run.
    pub job: String,
    /// What people call the job, or the run if the text is about that.
    pub name: String,
    /// Status word of the job, or of the run if the text is about that.
    pub status: String,
    /// One paragraph.
    pub text: String,
    /// Peers that the job may be offered to: members that the submission knew, then later ones, each nearest first.
    pub order: Vec<RankView>,
}

/// A peer's place in the ranking of a job.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RankView {
    /// Name of the peer.
    pub peer: String,
    /// Its id, 52 base32 characters.
    pub peer_id: String,
    /// 0: the submission knew the peer as a member; 1: the peer joined later.
    #[schemars(range(min = 0, max = 1))]
    pub band: u8,
    /// Place in the ranking of its band; 0 is the nearest.
    pub rank: u32,
    /// Bits between the job's key and the peer, 0 to 256.
    #[schemars(range(min = 0, max = 256))]
    pub distance: u32,
    /// Whether it is alive; null where this process cannot know.
    pub alive: Option<bool>,
    /// Why it does not take the job, in words, as far as it said; null: it said nothing.
    pub declined: Option<String>,
}

/// Who a job lies with.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct OwnerView {
    /// Id of its run, 64 hexadecimal digits.
    pub run: String,
    /// Id of the job, 64 hexadecimal digits.
    pub job: String,
    /// What people call the job.
    pub name: String,
    /// Status word of the job.
    pub status: String,
    /// The job's key, `SHA-256(head ‖ task_hash)`, 64 hexadecimal digits.
    pub key: String,
    /// Peers that the job may be offered to: members that the submission knew, then later ones, each nearest first.
    pub ranked: Vec<RankView>,
    /// Name of the peer that holds or completed it; null while nobody does.
    pub holder: Option<String>,
}

/// A task handed to a program.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TaskView {
    /// The id that it was submitted under.
    pub task_id: String,
    /// Id of its run, 64 hexadecimal digits.
    pub run: String,
    /// Id of its one job, 64 hexadecimal digits.
    pub job: String,
    /// The program's own name for the kind of work; may be empty.
    pub workflow_id: String,
    /// What people call it.
    pub name: String,
    /// Routing tags in their canonical spelling and free labels, in the order given.
    pub tags: Vec<String>,
    /// Lower runs first, 0.001 to 1000.
    #[schemars(range(min = 0.001, max = 1000))]
    pub priority: f64,
    /// JSON object given by the submitter, or null.
    pub metadata: serde_json::Value,
    /// 1 for the first submission, one more for each re-run.
    #[schemars(range(min = 1))]
    pub attempt: u32,
    /// The task's hash in the ownership rule, 64 hexadecimal digits.
    pub task_hash: String,
    /// Name of the peer that holds it: this node.
    pub assigned_peer: String,
    /// Greater than every earlier claim's: the claim's epoch, a hyphen and the claim's id.
    pub fencing_token: String,
    /// The same for every claim and attempt, 64 hexadecimal digits.
    pub idempotency_key: String,
    /// How long it is held unless that is extended, in milliseconds.
    pub lease_ms: u64,
}
