//! Tasks in this program's own dialect: work that programs take, do and report.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::shared::{LEASE_MS, named, object_text, priority_milli, wishes};
use super::{Context, Effect, Tool, tool};
use crate::answers::{PeersView, RunView, Submitted, TaskView};
use crate::failure::Failure;
use crate::request::{HeldBy, Request, Wishes};

pub(super) fn tools() -> Vec<Tool> {
    vec![
        tool(
            "submit_task",
            Effect::Sets,
            "Submits a task for a program of some member to take. The same id with the same content is the same task, wherever it is submitted.",
            submit,
        ),
        tool(
            "take_task",
            Effect::Adds,
            "Takes the next task that this node may claim, or the one that is named, and holds it for lease_ms; null if there is none.",
            take,
        ),
        tool("complete_task", Effect::Ends, "Records the result of a task that this node holds.", complete),
        tool(
            "fail_task",
            Effect::Ends,
            "Records that a task failed; with retry it may be offered again.",
            fail,
        ),
        tool("release_task", Effect::Sets, "Gives a task back, for another program to take.", release),
        tool("extend_task", Effect::Sets, "Holds a task for longer.", extend),
        tool(
            "list_peers",
            Effect::Reads,
            "Members, and addresses that this node was told to connect to.",
            peers,
        ),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Submit {
    /// Names the task in the whole cluster; 1 to 256 bytes.
    #[schemars(length(min = 1, max = 256))]
    id: String,
    /// What kind of work it is, for the program that takes it.
    #[serde(default)]
    workflow_id: String,
    /// What people call it; null: its id.
    #[serde(default)]
    name: Option<String>,
    /// Routing tags and labels.
    #[serde(default)]
    tags: Vec<String>,
    /// The lower one runs first; above 0, at most 1000; null: 3.
    #[serde(default)]
    #[schemars(range(min = 0.001, max = 1000))]
    priority: Option<f64>,
    /// Data for the program that takes it.
    #[serde(default)]
    metadata: Option<serde_json::Map<String, Value>>,
    /// Submit again up to so many times when it fails.
    #[serde(default)]
    retries: u32,
}

async fn submit(context: Context, input: Submit) -> Result<Submitted, Failure> {
    named("id", &input.id)?;
    let wishes = Wishes {
        name: input.name,
        metadata: object_text("metadata", input.metadata.map(Value::Object).as_ref())?,
        priority_milli: input.priority.map(priority_milli).transpose()?,
        retries: input.retries,
        backoff_ms: (10_000, 300_000),
        ..wishes(&context)
    };
    let request = Request::TaskSubmit {
        task_id: input.id,
        workflow_id: input.workflow_id,
        tags: input.tags,
        wishes,
        copies: 0,
    };
    context.ask(request).await
}

const fn lease_default() -> u64 {
    LEASE_MS
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Take {
    /// Only this one; null: the next.
    #[serde(default)]
    id: Option<String>,
    /// Only tasks with all of these tags.
    #[serde(default)]
    tags: Vec<String>,
    /// How long it is held, in milliseconds.
    #[serde(default = "lease_default")]
    #[schemars(range(min = 1))]
    lease_ms: u64,
}

#[derive(Serialize, JsonSchema)]
struct Taken {
    /// null: there is none.
    task: Option<TaskView>,
}

async fn take(context: Context, input: Take) -> Result<Taken, Failure> {
    let Take { id, tags, lease_ms } = input;
    let request = match id {
        Some(id) => Request::TaskTake { id, lease_ms },
        None => Request::TaskNext { wait: false, lease_ms, tags },
    };
    Ok(Taken { task: context.ask(request).await? })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Complete {
    /// The task.
    #[schemars(length(min = 1, max = 256))]
    id: String,
    /// The fencing token it was handed out with: refused if it was handed to somebody else since.
    #[serde(default)]
    fencing_token: Option<String>,
    /// Its result, any JSON.
    #[serde(default)]
    result: Option<Value>,
}

async fn complete(context: Context, input: Complete) -> Result<RunView, Failure> {
    named("id", &input.id)?;
    let task = HeldBy { id: input.id, token: input.fencing_token, token_of: None };
    let result_json = input.result.map(|result| result.to_string()).unwrap_or_default();
    context.ask(Request::TaskComplete { task, result_json }).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Fail {
    /// The task.
    #[schemars(length(min = 1, max = 256))]
    id: String,
    /// The fencing token it was handed out with.
    #[serde(default)]
    fencing_token: Option<String>,
    /// What went wrong, for people to read.
    error: String,
    /// Let it be submitted again if it has retries left.
    #[serde(default)]
    retry: bool,
}

async fn fail(context: Context, input: Fail) -> Result<RunView, Failure> {
    named("id", &input.id)?;
    let task = HeldBy { id: input.id, token: input.fencing_token, token_of: None };
    context.ask(Request::TaskFail { task, error: input.error, retry: input.retry }).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Release {
    /// The task.
    #[schemars(length(min = 1, max = 256))]
    id: String,
    /// The fencing token it was handed out with.
    #[serde(default)]
    fencing_token: Option<String>,
}

async fn release(context: Context, input: Release) -> Result<RunView, Failure> {
    named("id", &input.id)?;
    let task = HeldBy { id: input.id, token: input.fencing_token, token_of: None };
    context.ask(Request::TaskRelease { task }).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Extend {
    /// The task.
    #[schemars(length(min = 1, max = 256))]
    id: String,
    /// The fencing token it was handed out with.
    #[serde(default)]
    fencing_token: Option<String>,
    /// How long from now, in milliseconds.
    #[serde(default = "lease_default")]
    #[schemars(range(min = 1))]
    lease_ms: u64,
}

#[derive(Serialize, JsonSchema)]
struct Extended {
    id: String,
    /// How long it is held from now, in milliseconds.
    lease_ms: u64,
}

async fn extend(context: Context, input: Extend) -> Result<Extended, Failure> {
    named("id", &input.id)?;
    let task = HeldBy { id: input.id.clone(), token: input.fencing_token, token_of: None };
    context.ask::<Value>(Request::TaskExtend { task, lease_ms: input.lease_ms }).await?;
    Ok(Extended { id: input.id, lease_ms: input.lease_ms })
}

async fn peers(context: Context, _: super::shared::Nothing) -> Result<PeersView, Failure> {
    context.ask(Request::Peers).await
}
