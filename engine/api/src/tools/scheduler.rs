//! Seven tools of the scheduler in the quick-start dialect: priorities are urgencies (10 runs first), tags are in kebab case, answers
//! carry the tool's name and the time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wfengine_workflow::tags::{is_p2p_only, should_bypass_github};

use super::shared::{
    LEASE_MS, Nothing, VectorClock, named, object_text, status, synced_with, unknown_tags, urgency_milli,
    urgency_of, wishes,
};
use super::{Context, Effect, Tool, tool};
use crate::answers::{ClockView, RunView, Submitted, TaskView};
use crate::failure::Failure;
use crate::request::{HeldBy, Request, Wishes};

pub(super) fn tools() -> Vec<Tool> {
    vec![
        tool(
            "p2p_scheduler_status",
            Effect::Reads,
            "The scheduler of this node: its clock, and how many runs and tasks wait, are held and are done.",
            scheduler_status,
        ),
        tool(
            "p2p_submit_task",
            Effect::Sets,
            "Submits a task for a program of some member to take. The same task_id with the same content is the same task, on whatever node it is submitted. Words that are no routing tags are kept as labels and listed in unknown_tags.",
            submit_task,
        ),
        tool(
            "p2p_get_next_task",
            Effect::Adds,
            "Takes the most urgent task that this node may claim and holds it for lease_ms; afterwards it is offered again, unless it was ended. null if there is none.",
            next_task,
        ),
        tool(
            "p2p_mark_task_complete",
            Effect::Ends,
            "Records the result of a task that this node holds.",
            mark_task_complete,
        ),
        tool(
            "p2p_check_workflow_tags",
            Effect::Reads,
            "What routing tags mean together: whether work with them goes to peers, and whether to peers only.",
            check_workflow_tags,
        ),
        tool(
            "p2p_update_peer_state",
            Effect::Sets,
            "Says how this node's log and a member's compare. What a member knows comes from its signed events, which are exchanged all the time; the clock that is given is compared with and changes nothing.",
            update_peer_state,
        )
        .open_world(),
        tool(
            "p2p_get_merkle_clock",
            Effect::Reads,
            "This node's merkle clock, computed from its log.",
            merkle_clock,
        ),
    ]
}

#[derive(Serialize, JsonSchema)]
struct SchedulerStatus {
    /// Name of this node's peer.
    peer_id: String,
    merkle_clock: VectorClock,
    /// Runs and tasks that nobody holds.
    pending_tasks: u64,
    /// Runs and tasks that a peer holds.
    assigned_tasks: u64,
    /// Runs and tasks that ended well.
    completed_tasks: u64,
    /// Jobs in this node's queue.
    queue_size: u64,
    /// Members besides this node.
    known_peers: u64,
    /// The tool's name.
    tool: String,
    /// Seconds since 1970.
    timestamp: f64,
}

async fn scheduler_status(context: Context, _: Nothing) -> Result<SchedulerStatus, Failure> {
    let status = status(&context).await?;
    let clock: ClockView = context.ask(Request::Clock).await?;
    Ok(SchedulerStatus {
        peer_id: status.peer,
        merkle_clock: clock.into(),
        pending_tasks: status.pending,
        assigned_tasks: status.assigned + status.in_progress,
        completed_tasks: status.completed,
        queue_size: status.queue_size,
        known_peers: status.known_peers,
        tool: "p2p_scheduler_status".to_owned(),
        timestamp: context.now_s(),
    })
}

const fn urgency_default() -> u32 {
    5
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SubmitTask {
    /// Names the task in the whole cluster; 1 to 256 bytes.
    #[schemars(length(min = 1, max = 256))]
    task_id: String,
    /// What kind of work it is, for the program that takes it.
    #[schemars(length(min = 1, max = 256))]
    workflow_id: String,
    /// What people call it.
    name: String,
    /// Routing tags and labels.
    #[serde(default)]
    tags: Vec<String>,
    /// Urgency: 10 runs first, 1 last.
    #[serde(default = "urgency_default")]
    #[schemars(range(min = 1, max = 10))]
    priority: u32,
    /// Data for the program that takes it.
    #[serde(default)]
    metadata: Option<serde_json::Map<String, Value>>,
}

#[derive(Serialize, JsonSchema)]
struct TaskSubmitted {
    success: bool,
    task_id: String,
    /// The task's hash in the ownership rule, 64 hexadecimal digits.
    task_hash: String,
    /// Urgency: 10 runs first, 1 last.
    priority: u32,
    /// It was submitted before with the same content.
    already_so: bool,
    /// Words that are no routing tags: kept as labels.
    unknown_tags: Vec<String>,
    /// The tool's name.
    tool: String,
    /// Seconds since 1970.
    timestamp: f64,
}

async fn submit_task(context: Context, input: SubmitTask) -> Result<TaskSubmitted, Failure> {
    named("task_id", &input.task_id)?;
    let unknown_tags = unknown_tags(&input.tags);
    let wishes = Wishes {
        name: Some(input.name),
        metadata: object_text("metadata", input.metadata.map(Value::Object).as_ref())?,
        priority_milli: Some(urgency_milli(input.priority)?),
        ..wishes(&context)
    };
    let request = Request::TaskSubmit {
        task_id: input.task_id.clone(),
        workflow_id: input.workflow_id,
        tags: input.tags,
        wishes,
        copies: 0,
    };
    let submitted: Submitted = context.ask(request).await?;
    Ok(TaskSubmitted {
        success: true,
        task_id: input.task_id,
        task_hash: submitted.run.jobs.first().map(|job| job.id.clone()).unwrap_or_default(),
        priority: urgency_of(submitted.run.priority),
        already_so: submitted.already_so,
        unknown_tags,
        tool: "p2p_submit_task".to_owned(),
        timestamp: context.now_s(),
    })
}

const fn lease_default() -> u64 {
    LEASE_MS
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NextTask {
    /// How long the task is held, in milliseconds.
    #[serde(default = "lease_default")]
    #[schemars(range(min = 1))]
    lease_ms: u64,
    /// Only tasks with all of these tags.
    #[serde(default)]
    tags: Vec<String>,
}

/// A task that was handed out.
#[derive(Serialize, JsonSchema)]
struct Task {
    task_id: String,
    workflow_id: String,
    name: String,
    tags: Vec<String>,
    /// Urgency: 10 runs first, 1 last.
    priority: u32,
    /// The task's hash in the ownership rule, 64 hexadecimal digits.
    task_hash: String,
    /// Name of the peer that holds it: this one.
    assigned_peer: String,
    /// Greater than every earlier holder's; whoever ends the task may give it.
    fencing_token: String,
    /// The same for every holder and attempt.
    idempotency_key: String,
    /// How long it is held, in milliseconds.
    lease_ms: u64,
    /// The submitter's data, or null.
    metadata: Value,
}

#[derive(Serialize, JsonSchema)]
struct TaskTaken {
    /// null: there is none.
    task: Option<Task>,
    /// Why there is none; null if there is one.
    message: Option<String>,
    /// The tool's name.
    tool: String,
    /// Seconds since 1970.
    timestamp: f64,
}

async fn next_task(context: Context, input: NextTask) -> Result<TaskTaken, Failure> {
    let request = Request::TaskNext { wait: false, lease_ms: input.lease_ms, tags: input.tags };
    let taken: Option<TaskView> = context.ask(request).await?;
    let task = taken.map(|task| Task {
        task_id: task.task_id,
        workflow_id: task.workflow_id,
        name: task.name,
        tags: task.tags,
        priority: urgency_of(task.priority),
        task_hash: task.task_hash,
        assigned_peer: task.assigned_peer,
        fencing_token: task.fencing_token,
        idempotency_key: task.idempotency_key,
        lease_ms: task.lease_ms,
        metadata: task.metadata,
    });
    let message = task.is_none().then(|| "No tasks available".to_owned());
    Ok(TaskTaken { task, message, tool: "p2p_get_next_task".to_owned(), timestamp: context.now_s() })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CompleteTask {
    /// The task.
    #[schemars(length(min = 1, max = 256))]
    task_id: String,
    /// The fencing token it was handed out with: refused if it was handed to somebody else since.
    #[serde(default)]
    fencing_token: Option<String>,
    /// Its result, any JSON.
    #[serde(default)]
    result: Option<Value>,
}

#[derive(Serialize, JsonSchema)]
struct TaskCompleted {
    success: bool,
    task_id: String,
    /// The tool's name.
    tool: String,
    /// Seconds since 1970.
    timestamp: f64,
}

async fn mark_task_complete(context: Context, input: CompleteTask) -> Result<TaskCompleted, Failure> {
    named("task_id", &input.task_id)?;
    let task = HeldBy { id: input.task_id.clone(), token: input.fencing_token, token_of: None };
    let result_json = input.result.map(|result| result.to_string()).unwrap_or_default();
    let _: RunView = context.ask(Request::TaskComplete { task, result_json }).await?;
    Ok(TaskCompleted {
        success: true,
        task_id: input.task_id,
        tool: "p2p_mark_task_complete".to_owned(),
        timestamp: context.now_s(),
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CheckTags {
    /// The tags, in any accepted spelling.
    tags: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct TagsChecked {
    /// Work with these tags goes to peers.
    should_bypass_github: bool,
    /// Work with these tags never goes to GitHub.
    is_p2p_only: bool,
    /// The tags as they were given.
    tags: Vec<String>,
    /// Those of them that are no routing tags.
    unknown_tags: Vec<String>,
    /// The tool's name.
    tool: String,
    /// Seconds since 1970.
    timestamp: f64,
}

async fn check_workflow_tags(context: Context, input: CheckTags) -> Result<TagsChecked, Failure> {
    let words = || input.tags.iter().map(String::as_str);
    Ok(TagsChecked {
        should_bypass_github: should_bypass_github(words()),
        is_p2p_only: is_p2p_only(words()),
        unknown_tags: unknown_tags(&input.tags),
        tool: "p2p_check_workflow_tags".to_owned(),
        timestamp: context.now_s(),
        tags: input.tags,
    })
}

/// A clock as a member of the older program knows it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ClockData {
    /// Whose clock it is.
    #[serde(default)]
    node_id: String,
    /// Number of events by author.
    #[serde(default)]
    vector: std::collections::BTreeMap<String, u64>,
    /// Its hash; null if it has none.
    #[serde(default)]
    merkle_root: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PeerState {
    /// Name or id of a member.
    #[schemars(length(min = 1, max = 256))]
    peer_id: String,
    /// What it says of its clock.
    clock_data: ClockData,
}

#[derive(Serialize, JsonSchema)]
struct PeerStateUpdated {
    success: bool,
    peer_id: String,
    /// How the logs compare, and that nothing was changed by this call.
    message: String,
    /// The tool's name.
    tool: String,
    /// Seconds since 1970.
    timestamp: f64,
}

async fn update_peer_state(context: Context, input: PeerState) -> Result<PeerStateUpdated, Failure> {
    let mut message = synced_with(&context, &input.peer_id).await?;
    let ours: ClockView = context.ask(Request::Clock).await?;
    let given = input.clock_data;
    let of = if given.node_id.is_empty() { &input.peer_id } else { &given.node_id };
    if given.merkle_root.as_ref() == Some(&ours.merkle_root) {
        message.push_str("; the clock that was given is this node's own");
    } else {
        let ahead = |(author, events): (&String, &u64)| {
            events.saturating_sub(ours.vector.get(author).copied().unwrap_or(0))
        };
        let ahead: u64 = given.vector.iter().map(ahead).sum();
        message.push_str(&format!(
            "; by the clock that was given {of} knows {ahead} events more than this node"
        ));
    }
    message.push_str(". Events come by themselves, signed by whoever wrote them; this call changes nothing");
    Ok(PeerStateUpdated {
        success: true,
        peer_id: input.peer_id,
        message,
        tool: "p2p_update_peer_state".to_owned(),
        timestamp: context.now_s(),
    })
}

#[derive(Serialize, JsonSchema)]
struct MerkleClock {
    /// Name of this node's peer.
    node_id: String,
    /// Number of events by author: by name, by id where two share one.
    vector: std::collections::BTreeMap<String, u64>,
    /// SHA-256 over the heads of the log, 64 hexadecimal digits.
    merkle_root: String,
    /// The tool's name.
    tool: String,
    /// Seconds since 1970.
    timestamp: f64,
}

async fn merkle_clock(context: Context, _: Nothing) -> Result<MerkleClock, Failure> {
    let clock: ClockView = context.ask(Request::Clock).await?;
    Ok(MerkleClock {
        node_id: clock.node_id,
        vector: clock.vector,
        merkle_root: clock.merkle_root,
        tool: "p2p_get_merkle_clock".to_owned(),
        timestamp: context.now_s(),
    })
}
