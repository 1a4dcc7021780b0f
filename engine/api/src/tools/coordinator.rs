//! Tools of the coordinator's dialect, but for those about peers (`workflows`): files, the lower number first, six status words.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wfengine_workflow::{Workflow, tags};

use super::shared::{
    LEASE_MS, LISTED_MAX, Nothing, counts, id_of, my_runs, named, open_runs, peer_of, priority_milli, runs,
    seconds, status, total, wishes,
};
use super::{Context, Effect, Files, Tool, tool};
use crate::answers::{OwnerView, RunView, Submitted, TaskView};
use crate::failure::Failure;
use crate::request::{HeldBy, Listing, Request, Wishes};

/// Words of this dialect. Two of ours are none of its: what was skipped is complete, what expired has failed.
const STATUSES: [&str; 6] = ["pending", "assigned", "in_progress", "completed", "failed", "cancelled"];
/// Bytes of a workflow file.
const FILE_BYTES_MAX: u64 = 512 * 1024;

pub(super) fn tools() -> Vec<Tool> {
    vec![
        tool(
            "submit_p2p_workflow",
            Effect::Adds,
            "Submits a workflow file. The rule of ownership says which host runs it, and a node there does. Over a network the file's text is sent as source: a path is only read where the caller started this process.",
            submit,
        ),
        tool(
            "assign_p2p_workflows",
            Effect::Reads,
            "Which waiting runs lie with which peer. Assignment is by rule and goes on all the time, on every node: this call moves nothing.",
            assign,
        ),
        tool(
            "get_p2p_workflow_status",
            Effect::Reads,
            "A run or task, as this dialect has it.",
            workflow_status,
        ),
        tool(
            "list_p2p_workflows",
            Effect::Reads,
            "Runs and tasks, newest first and 10,000 at most, with a status or at a peer if asked for; list_runs goes through all of them part by part.",
            list,
        ),
        tool(
            "update_p2p_workflow_status",
            Effect::Ends,
            "Records what became of a task: in_progress takes or keeps it, pending gives it back, completed and failed end it, cancelled ends a run as well. The jobs of a workflow file end by themselves.",
            update,
        ),
        tool("get_p2p_stats", Effect::Reads, "Figures of this node.", stats),
        tool(
            "parse_workflow_tags",
            Effect::Reads,
            "Reads a workflow file and says whether its tags send it to peers.",
            parse_tags,
        ),
        tool("get_my_p2p_workflows", Effect::Reads, "Open runs and tasks that this node holds.", mine),
    ]
}

/// A run or task with the fields of this dialect.
#[derive(Serialize, JsonSchema)]
struct Task {
    workflow_id: String,
    name: String,
    /// Path of the workflow file; empty for a task.
    workflow_file: String,
    /// Inputs as given and by default; of a task what its data say.
    inputs: BTreeMap<String, Value>,
    /// The lower one runs first.
    priority: f64,
    tags: Vec<String>,
    /// pending, assigned, in_progress, completed, failed or cancelled.
    status: String,
    /// Name of the peer that holds or completed it; null while nobody does.
    assigned_peer: Option<String>,
    /// When it was submitted, seconds since 1970.
    created_at: f64,
    /// When the peer that holds or completed it took it, seconds since 1970; null while nobody does.
    started_at: Option<f64>,
    /// When it ended, seconds since 1970, as far as the peer that completed it said; null while it is open.
    completed_at: Option<f64>,
    /// A task's result, or outputs of a workflow's jobs by job and name; null while there is none.
    result: Value,
    /// Why it did not end well; null if it did, or is open.
    error: Option<String>,
}

fn status_word(status: &str) -> &str {
    match status {
        "skipped" => "completed",
        "expired" => "failed",
        other => other,
    }
}

fn task_of(run: &RunView) -> Task {
    let taken = |job: &crate::answers::JobView| {
        let claim = job.claims.iter().find(|claim| claim.effective);
        claim.map(|claim| claim.time_ms)
    };
    let started_ms = run.jobs.iter().filter_map(taken).min();
    let word = status_word(&run.status).to_owned();
    let is_open = matches!(word.as_str(), "pending" | "assigned" | "in_progress");
    let ended = |job: &crate::answers::JobView| Some(taken(job)? + job.duration_ms?);
    let ended_ms = run.jobs.iter().filter_map(ended).max().filter(|_| !is_open);
    let outputs = || {
        let of = run.jobs.iter().filter(|job| !job.outputs.is_empty());
        let outputs: serde_json::Map<String, Value> =
            of.map(|job| (job.key.clone(), serde_json::json!(job.outputs))).collect();
        if outputs.is_empty() { Value::Null } else { Value::Object(outputs) }
    };
    let result = match run.kind.as_str() {
        "task" => run.jobs.first().map(|job| job.result.clone()).unwrap_or_default(),
        _ => outputs(),
    };
    // a task has no inputs of its own: one that was taken over from the older coordinator keeps them in its data
    let of_data = run.metadata.get("inputs").filter(|_| run.kind == "task").and_then(Value::as_object);
    let inputs = of_data.into_iter().flatten().chain(&run.inputs);
    let failed = matches!(word.as_str(), "failed" | "cancelled");
    Task {
        workflow_id: id_of(run),
        name: run.name.clone(),
        workflow_file: run.path.clone(),
        inputs: inputs.map(|(name, value)| (name.clone(), value.clone())).collect(),
        priority: run.priority,
        tags: run.tags.clone(),
        assigned_peer: peer_of(run),
        created_at: seconds(run.submitted_ms),
        started_at: started_ms.map(seconds),
        completed_at: ended_ms.map(seconds),
        result,
        error: failed.then(|| if run.reason.is_empty() { word.clone() } else { run.reason.clone() }),
        status: word,
    }
}

/// A workflow file's path as runs show it, and its text.
async fn read(context: &Context, path: &str, source: Option<String>) -> Result<String, Failure> {
    named("workflow_file", path)?;
    if let Some(source) = source {
        if source.len() as u64 > FILE_BYTES_MAX {
            return Err(Failure::bad_input(format!(
                "source: {} bytes, and {FILE_BYTES_MAX} are allowed",
                source.len()
            )));
        }
        return Ok(source);
    }
    if context.files == Files::Sent {
        return Err(Failure::bad_input(format!(
            "workflow_file {path}: files of this host are not read for callers over a network; send the text as `source`"
        )));
    }
    if !(path.ends_with(".yml") || path.ends_with(".yaml")) {
        return Err(Failure::bad_input(format!(
            "workflow_file {path}: expected a file named *.yml or *.yaml"
        )));
    }
    let io = |error: std::io::Error| Failure::io("read", std::path::Path::new(path), &error);
    let file = tokio::fs::metadata(path).await.map_err(io)?;
    if !file.is_file() || file.len() > FILE_BYTES_MAX {
        return Err(Failure::bad_input(format!(
            "workflow_file {path}: expected a file of at most {FILE_BYTES_MAX} bytes"
        )));
    }
    tokio::fs::read_to_string(path).await.map_err(io)
}

const fn priority_default() -> f64 {
    5.0
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SubmitFile {
    /// Path of the file, as runs show it; it is read if source is not given.
    #[schemars(length(min = 1, max = 256))]
    workflow_file: String,
    /// The file's text, at most 512 KiB.
    #[serde(default)]
    source: Option<String>,
    /// What to call the run; null: as the file says.
    #[serde(default)]
    name: Option<String>,
    /// Inputs of `on.workflow_dispatch` by name.
    #[serde(default)]
    inputs: Option<BTreeMap<String, Value>>,
    /// The lower one runs first; above 0, at most 1000: 1 critical, 3 normal, 5 background.
    #[serde(default = "priority_default")]
    #[schemars(range(min = 0.001, max = 1000))]
    priority: f64,
}

#[derive(Serialize, JsonSchema)]
struct SubmittedFile {
    success: bool,
    /// The run, 64 hexadecimal digits.
    workflow_id: String,
    /// One sentence.
    message: String,
    /// `pending`, or further if a host took it at once.
    status: String,
    /// Remarks on the file.
    notes: Vec<String>,
}

async fn submit(context: Context, input: SubmitFile) -> Result<SubmittedFile, Failure> {
    let source = read(&context, &input.workflow_file, input.source.clone()).await?;
    let repository = match (context.files, input.source.is_some()) {
        (Files::Own, false) => context.handlers.checkout_of(&input.workflow_file),
        _ => crate::request::GitFacts::default(),
    };
    let wishes = Wishes {
        name: input.name,
        inputs: input.inputs.unwrap_or_default(),
        priority_milli: Some(priority_milli(input.priority)?),
        repository,
        ..wishes(&context)
    };
    let submitted: Submitted =
        context.ask(Request::Submit { path: input.workflow_file.clone(), source, wishes, copies: 0 }).await?;
    Ok(SubmittedFile {
        success: true,
        workflow_id: submitted.run.id,
        message: format!("Workflow submitted: {}", input.workflow_file),
        status: status_word(&submitted.run.status).to_owned(),
        notes: submitted.notes,
    })
}

#[derive(Serialize, JsonSchema)]
struct AssignedPeer {
    workflow_id: String,
    /// Name of the peer that the rule ranks first, or that holds it.
    assigned_peer: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct AssignAnswer {
    success: bool,
    /// Open runs whose peer the rule names.
    assigned_count: u64,
    workflow_ids: Vec<String>,
    /// One sentence.
    message: String,
    /// The same with the peers.
    assignments: Vec<AssignedPeer>,
}

async fn assign(context: Context, _: Nothing) -> Result<AssignAnswer, Failure> {
    let owners: Vec<OwnerView> = context.ask(Request::Owner { ids: Vec::new() }).await?;
    let listed = open_runs(&context).await?;
    let ids: BTreeMap<&str, String> = listed.iter().map(|run| (run.id.as_str(), id_of(run))).collect();
    let mut seen = BTreeSet::new();
    let assignments: Vec<AssignedPeer> = owners
        .iter()
        .filter(|owner| seen.insert(owner.run.clone()))
        .map(|owner| AssignedPeer {
            workflow_id: ids.get(owner.run.as_str()).cloned().unwrap_or_else(|| owner.run.clone()),
            assigned_peer: owner
                .holder
                .clone()
                .or_else(|| owner.ranked.first().map(|ranked| ranked.peer.clone())),
        })
        .collect();
    Ok(AssignAnswer {
        success: true,
        assigned_count: assignments.len() as u64,
        workflow_ids: assignments.iter().map(|of| of.workflow_id.clone()).collect(),
        message: format!(
            "{} open workflows lie with a peer by the rule, which is asked all the time: nothing had to be moved",
            assignments.len()
        ),
        assignments,
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WorkflowId {
    /// Run or task; a unique beginning of at least four digits is enough.
    #[schemars(length(min = 1, max = 256))]
    workflow_id: String,
}

#[derive(Serialize, JsonSchema)]
struct StatusAnswer {
    success: bool,
    #[serde(flatten)]
    task: Task,
}

async fn workflow_status(context: Context, input: WorkflowId) -> Result<StatusAnswer, Failure> {
    named("workflow_id", &input.workflow_id)?;
    let run: RunView = context.ask(Request::Show { id: input.workflow_id }).await?;
    Ok(StatusAnswer { success: true, task: task_of(&run) })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Only with this status: pending, assigned, in_progress, completed, failed or cancelled.
    #[serde(default)]
    status: Option<String>,
    /// Only at this peer, by name or id.
    #[serde(default)]
    peer_id: Option<String>,
}

/// What was asked for.
#[derive(Serialize, JsonSchema)]
struct Filters {
    status: Option<String>,
    peer_id: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Listed {
    success: bool,
    count: u64,
    workflows: Vec<Task>,
    filters: Filters,
}

fn known_status(status: &str) -> Result<(), Failure> {
    if STATUSES.contains(&status) {
        return Ok(());
    }
    let mut failure = Failure::bad_input(format!("status {status}: expected one of {}", STATUSES.join(", ")));
    failure.candidates = STATUSES.map(str::to_owned).to_vec();
    Err(failure)
}

async fn list(context: Context, input: Wanted) -> Result<Listed, Failure> {
    if let Some(status) = &input.status {
        known_status(status)?;
    }
    // two of our words are one of this dialect's
    let words: Vec<Option<String>> = match input.status.as_deref() {
        Some("completed") => vec![Some("completed".to_owned()), Some("skipped".to_owned())],
        Some("failed") => vec![Some("failed".to_owned()), Some("expired".to_owned())],
        other => vec![other.map(str::to_owned)],
    };
    let mut listed = Vec::new();
    for status in words {
        let wanted = Listing { status, peer: input.peer_id.clone(), limit: LISTED_MAX, ..Listing::default() };
        listed.extend(runs(&context, wanted).await?);
    }
    listed.sort_by_key(|run| std::cmp::Reverse(run.submitted_ms));
    listed.truncate(LISTED_MAX);
    let workflows: Vec<Task> = listed.iter().map(task_of).collect();
    Ok(Listed {
        success: true,
        count: workflows.len() as u64,
        workflows,
        filters: Filters { status: input.status, peer_id: input.peer_id },
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Update {
    /// Run or task.
    #[schemars(length(min = 1, max = 256))]
    workflow_id: String,
    /// pending, assigned, in_progress, completed, failed or cancelled.
    status: String,
    /// With completed: its result, any JSON.
    #[serde(default)]
    result: Option<Value>,
    /// With failed or cancelled: what went wrong.
    #[serde(default)]
    error: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Updated {
    success: bool,
    workflow_id: String,
    /// The status as it is now.
    new_status: String,
    /// One sentence.
    message: String,
}

async fn update(context: Context, input: Update) -> Result<Updated, Failure> {
    named("workflow_id", &input.workflow_id)?;
    known_status(&input.status)?;
    let id = input.workflow_id.clone();
    let before: RunView = context.ask(Request::Show { id: id.clone() }).await?;
    let now = status_word(&before.status);
    let done = |new_status: &str, message: String| Updated {
        success: true,
        workflow_id: input.workflow_id.clone(),
        new_status: new_status.to_owned(),
        message,
    };
    if now == input.status && now != "in_progress" {
        // the same report once more changes nothing; another one would be lost
        let recorded = before.jobs.iter().map(|job| &job.result).find(|result| !result.is_null());
        let is_another =
            input.result.as_ref().is_some_and(|result| !result.is_null() && recorded != Some(result));
        if now == "completed" && is_another {
            return Err(Failure::conflict(format!(
                "{id} is {now} already, with another result, and that is final"
            )));
        }
        return Ok(done(now, format!("{id} is {now} already")));
    }
    let is_open = matches!(now, "pending" | "assigned" | "in_progress");
    if !is_open {
        return Err(Failure::conflict(format!("{id} is {now}, and that is final")));
    }
    if before.kind != "task" && input.status != "cancelled" {
        return Err(Failure::conflict(format!(
            "{id} is {now}: the jobs of a workflow file are run by the nodes and end by themselves; it can be cancelled"
        )));
    }
    let held = HeldBy { id: id.clone(), token: None, token_of: None };
    let error = input.error.clone().unwrap_or_default();
    let after: RunView = match input.status.as_str() {
        "completed" => {
            let result_json = input.result.as_ref().map(ToString::to_string).unwrap_or_default();
            take(&context, &before).await?;
            context.ask(Request::TaskComplete { task: held, result_json }).await?
        }
        "failed" => {
            let error = if error.is_empty() { "failed, as a program said".to_owned() } else { error };
            take(&context, &before).await?;
            context.ask(Request::TaskFail { task: held, error, retry: false }).await?
        }
        "cancelled" => {
            let reason = if error.is_empty() { "cancelled by a program".to_owned() } else { error };
            context.ask(Request::Cancel { id: id.clone(), reason }).await?
        }
        "pending" => context.ask(Request::TaskRelease { task: held }).await?,
        _ => {
            take(&context, &before).await?;
            context.ask::<Value>(Request::TaskExtend { task: held, lease_ms: LEASE_MS }).await?;
            context.ask(Request::Show { id: id.clone() }).await?
        }
    };
    let new = status_word(&after.status).to_owned();
    Ok(done(&new, format!("{id} is {new}")))
}

/// Whoever reports on a task that waits has taken it, if it is the next one here.
async fn take(context: &Context, run: &RunView) -> Result<(), Failure> {
    if run.status != "pending" {
        return Ok(());
    }
    let request = Request::TaskTake { id: run.id.clone(), lease_ms: LEASE_MS };
    context.ask::<Option<TaskView>>(request).await?.map(|_| ()).ok_or_else(|| {
        Failure::conflict(format!(
            "{} waits, and this node may not take it: `wfengine why {}` says why",
            id_of(run),
            run.id.get(..12).unwrap_or(&run.id)
        ))
    })
}

#[derive(Serialize, JsonSchema)]
struct Stats {
    success: bool,
    /// Name of this node's peer.
    peer_id: String,
    /// Runs and tasks, ever.
    total_workflows: u64,
    /// Jobs in this node's queue.
    queue_size: u64,
    /// Members, this node included.
    peer_count: u64,
    /// Height of the log.
    merkle_clock_height: u64,
    /// Runs and tasks by status; all six words are there.
    status_counts: BTreeMap<String, u64>,
    /// Open runs and tasks that this node holds.
    my_workflows: u64,
}

async fn stats(context: Context, _: Nothing) -> Result<Stats, Failure> {
    let node = status(&context).await?;
    let mut words: BTreeMap<String, u64> = STATUSES.iter().map(|word| ((*word).to_owned(), 0)).collect();
    for (word, count) in counts(&node) {
        *words.entry(status_word(word).to_owned()).or_default() += count;
    }
    Ok(Stats {
        success: true,
        total_workflows: total(&node),
        queue_size: node.queue_size,
        peer_count: node.known_peers + 1,
        merkle_clock_height: node.height,
        status_counts: words,
        my_workflows: my_runs(&context, &node.peer).await?.len() as u64,
        peer_id: node.peer,
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ParseFile {
    /// Path of the file; it is read if source is not given.
    #[schemars(length(min = 1, max = 256))]
    workflow_file: String,
    /// The file's text, at most 512 KiB.
    #[serde(default)]
    source: Option<String>,
}

/// What the file says of itself.
#[derive(Serialize, JsonSchema)]
struct Metadata {
    name: String,
    /// Routing tags and free labels.
    tags: Vec<String>,
    /// Ids of the jobs, in the file's order.
    jobs: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Parsed {
    success: bool,
    workflow_file: String,
    /// Its tags send it to peers.
    is_p2p: bool,
    /// null if the file could not be read.
    metadata: Option<Metadata>,
    /// p2p-only, p2p-eligible, github-only or none; null if the file could not be read.
    routing: Option<String>,
    /// What people should be told of its tags.
    warnings: Vec<String>,
    /// Why it could not be read; null if it could.
    error: Option<String>,
}

async fn parse_tags(context: Context, input: ParseFile) -> Result<Parsed, Failure> {
    let unread = |error: String| Parsed {
        success: false,
        workflow_file: input.workflow_file.clone(),
        is_p2p: false,
        metadata: None,
        routing: None,
        warnings: Vec::new(),
        error: Some(error),
    };
    // this dialect answers so, and fails only where the call itself is wrong
    if context.files == Files::Sent && input.source.is_none() {
        read(&context, &input.workflow_file, None).await?;
    }
    let source = match read(&context, &input.workflow_file, input.source.clone()).await {
        Ok(source) => source,
        Err(failure) => return Ok(unread(failure.message)),
    };
    let workflow = match Workflow::read(source.as_bytes(), &input.workflow_file) {
        Ok(workflow) => workflow,
        Err(errors) => {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            return Ok(unread(lines.join("\n")));
        }
    };
    let found = tags::of(&workflow);
    Ok(Parsed {
        success: true,
        is_p2p: matches!(found.routing, tags::Routing::P2pOnly | tags::Routing::P2pEligible),
        metadata: Some(Metadata {
            name: workflow.display_name().to_owned(),
            tags: found.words(),
            jobs: workflow.jobs.iter().map(|job| job.id.clone()).collect(),
        }),
        routing: Some(found.routing.name().to_owned()),
        warnings: found.warnings.iter().map(ToString::to_string).collect(),
        error: None,
        workflow_file: input.workflow_file,
    })
}

#[derive(Serialize, JsonSchema)]
struct Mine {
    success: bool,
    count: u64,
    /// Name of this node's peer.
    peer_id: String,
    workflows: Vec<Task>,
}

async fn mine(context: Context, _: Nothing) -> Result<Mine, Failure> {
    let node = status(&context).await?;
    let workflows: Vec<Task> = my_runs(&context, &node.peer).await?.iter().map(task_of).collect();
    Ok(Mine { success: true, count: workflows.len() as u64, peer_id: node.peer, workflows })
}

#[cfg(test)]
mod tests;
