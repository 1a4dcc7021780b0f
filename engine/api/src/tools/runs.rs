//! Tools of this program's own: runs, logs, history, discovery, and why things are as they are.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::shared::{Nothing, named, wishes};
use super::{Context, Effect, Flow, Tool, tool};
use crate::answers::{
    DiscoveryView, FoundView, HistoryView, OwnerView, Progress, RunView, StatusView, Submitted, WhyView,
};
use crate::failure::Failure;
use crate::request::{Request, Wishes};

/// Lines of a log that one call gives.
const LINES_MAX: usize = 10_000;

pub(super) fn tools() -> Vec<Tool> {
    vec![
        tool("node_status", Effect::Reads, "This node in figures: what waits, runs and is done, who is connected.", node_status),
        tool("list_runs", Effect::Reads, "Runs, newest first, with their jobs.", list_runs),
        tool("get_run", Effect::Reads, "One run with its jobs, claims and results.", run),
        tool(
            "submit_workflow",
            Effect::Adds,
            "Submits a workflow by its text. The rule of ownership says which host runs it. With an id the same content is submitted once, wherever it is submitted.",
            submit_workflow,
        ),
        tool(
            "wait_for_run",
            Effect::Reads,
            "Waits until a run, with its retries, has ended, and tells meanwhile what happens in it.",
            wait_for_run,
        ),
        tool("cancel_run", Effect::Ends, "Cancels a run or task.", cancel_run),
        tool("rerun", Effect::Adds, "Submits an ended run again as its next attempt.", rerun),
        tool("set_run_priority", Effect::Sets, "Changes the priority of a run or task; the lower one runs first.", set_priority),
        tool("get_run_logs", Effect::Reads, "The last lines that a run or job has printed so far.", logs),
        tool("why", Effect::Reads, "Why each job of a run is where it is, in a paragraph, with the ranking of the peers.", why),
        tool("owner", Effect::Reads, "The ranking of the peers for jobs, with distances; for all open jobs if none is named.", owner),
        tool("replay", Effect::Reads, "The history: signed events, of a run or of all, by author and kind.", replay),
        tool(
            "list_conflicts",
            Effect::Reads,
            "Runs where hosts disagreed: other content under one id, two plans of one job, more than one result.",
            list_conflicts,
        ),
        tool(
            "discover_workflows",
            Effect::Adds,
            "Looks once for tagged workflows in the repositories that the credential sees, and submits what is due.",
            discover,
        )
        .open_world(),
        tool("list_discovered", Effect::Reads, "Tagged workflows that members found.", list_discovered),
    ]
}

async fn node_status(context: Context, _: Nothing) -> Result<StatusView, Failure> {
    context.ask(Request::Status).await
}

const fn limit_default() -> usize {
    50
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListRuns {
    /// pending, assigned, in_progress, completed, failed, cancelled, skipped or expired.
    #[serde(default)]
    #[schemars(extend("enum" = ["pending", "assigned", "in_progress", "completed", "failed", "cancelled", "skipped", "expired", null]))]
    status: Option<String>,
    /// Only with a job at this peer, by name or id.
    #[serde(default)]
    peer: Option<String>,
    /// Only with this tag.
    #[serde(default)]
    tag: Option<String>,
    /// Only of so many milliseconds ago at most.
    #[serde(default)]
    since_ms: Option<u64>,
    /// At most so many.
    #[serde(default = "limit_default")]
    #[schemars(range(min = 1, max = 10_000))]
    limit: usize,
}

#[derive(Serialize, JsonSchema)]
struct Runs {
    /// Newest first.
    runs: Vec<RunView>,
    count: u64,
}

async fn list_runs(context: Context, input: ListRuns) -> Result<Runs, Failure> {
    let ListRuns { status, peer, tag, since_ms, limit } = input;
    let runs: Vec<RunView> = context.ask(Request::List { status, peer, tag, since_ms, limit }).await?;
    Ok(Runs { count: runs.len() as u64, runs })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Id {
    /// Run, job, event, or an id given at submission; a unique beginning of at least four digits is enough.
    #[schemars(length(min = 1, max = 256))]
    id: String,
}

async fn run(context: Context, input: Id) -> Result<RunView, Failure> {
    named("id", &input.id)?;
    context.ask(Request::Show { id: input.id }).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SubmitWorkflow {
    /// What runs show as the file's path, such as ci.yml.
    #[schemars(length(min = 1, max = 256))]
    path: String,
    /// The file's text, at most 512 KiB.
    source: String,
    /// What to call the run; null: as the file says.
    #[serde(default)]
    name: Option<String>,
    /// Inputs of `on.workflow_dispatch` by name.
    #[serde(default)]
    inputs: BTreeMap<String, Value>,
    /// The lower one runs first; above 0, at most 1000; null: 3.
    #[serde(default)]
    #[schemars(range(min = 0.001, max = 1000))]
    priority: Option<f64>,
    /// Submit at most once under this id.
    #[serde(default)]
    id: Option<String>,
    /// Submit again up to so many times when it fails.
    #[serde(default)]
    retries: u32,
}

async fn submit_workflow(context: Context, input: SubmitWorkflow) -> Result<Submitted, Failure> {
    named("path", &input.path)?;
    let wishes = Wishes {
        name: input.name,
        inputs: input.inputs,
        priority_milli: input.priority.map(super::shared::priority_milli).transpose()?,
        id: input.id,
        retries: input.retries,
        backoff_ms: (10_000, 300_000),
        ..wishes(&context)
    };
    context.ask(Request::Submit { path: input.path, source: input.source, wishes, copies: 0 }).await
}

async fn wait_for_run(context: Context, input: Id) -> Result<RunView, Failure> {
    named("id", &input.id)?;
    let told = context.progress.clone();
    let each = |progress: Progress| {
        let text = match progress {
            Progress::Note { text } => text,
            Progress::JobStarted { name, peer, .. } => format!("{name} begins at {peer}"),
            Progress::StepEnded { name, conclusion, .. } => format!("{name}: {conclusion}"),
            Progress::JobEnded { name, conclusion, .. } => format!("{name} ended: {conclusion}"),
            _ => return Flow::GoesOn,
        };
        match told.as_ref().map(|told| told.send(text)) {
            // whoever asked is gone
            Some(Err(_)) => Flow::Ends,
            _ => Flow::GoesOn,
        }
    };
    let ended = context.stream(Request::Wait { id: input.id, logs: true }, each).await?;
    ended.ok_or_else(|| Failure::unreachable("nobody waits for the run any more"))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Cancel {
    /// Run or task.
    #[schemars(length(min = 1, max = 256))]
    id: String,
    /// Why, for others to read.
    #[serde(default)]
    reason: Option<String>,
}

async fn cancel_run(context: Context, input: Cancel) -> Result<RunView, Failure> {
    named("id", &input.id)?;
    let reason = input.reason.unwrap_or_else(|| "cancelled by a program".to_owned());
    context.ask(Request::Cancel { id: input.id, reason }).await
}

async fn rerun(context: Context, input: Id) -> Result<Submitted, Failure> {
    named("id", &input.id)?;
    context.ask(Request::Rerun { id: input.id }).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SetPriority {
    /// Run or task.
    #[schemars(length(min = 1, max = 256))]
    id: String,
    /// The lower one runs first; above 0, at most 1000.
    #[schemars(range(min = 0.001, max = 1000))]
    priority: f64,
}

async fn set_priority(context: Context, input: SetPriority) -> Result<RunView, Failure> {
    named("id", &input.id)?;
    let priority_milli = super::shared::priority_milli(input.priority)?;
    context.ask(Request::Prioritise { id: input.id, priority_milli }).await
}

const fn lines_default() -> usize {
    1_000
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Logs {
    /// Run or job.
    #[schemars(length(min = 1, max = 256))]
    id: String,
    /// Lines at most, the last ones.
    #[serde(default = "lines_default")]
    #[schemars(range(min = 1, max = 10_000))]
    lines: usize,
}

/// A line of a log.
#[derive(Serialize, JsonSchema)]
struct Line {
    /// Name of the job.
    job: String,
    /// Number of the step, from 1.
    step: u32,
    /// out, err or note.
    stream: String,
    /// Milliseconds since the job began.
    offset_ms: u64,
    text: String,
}

#[derive(Serialize, JsonSchema)]
struct LogLines {
    lines: Vec<Line>,
    /// There are earlier lines.
    truncated: bool,
}

async fn logs(context: Context, input: Logs) -> Result<LogLines, Failure> {
    named("id", &input.id)?;
    let limit = input.lines.clamp(1, LINES_MAX);
    let mut lines = std::collections::VecDeque::new();
    let mut truncated = false;
    let each = |progress: Progress| {
        if let Progress::Line { name, step, stream, offset_ms, text, .. } = progress {
            if lines.len() == limit {
                lines.pop_front();
                truncated = true;
            }
            lines.push_back(Line { job: name, step, stream, offset_ms, text });
        }
        Flow::GoesOn
    };
    context.stream::<_, Value>(Request::Logs { id: input.id, follow: false }, each).await?;
    Ok(LogLines { lines: lines.into(), truncated })
}

#[derive(Serialize, JsonSchema)]
struct Reasons {
    /// One for each job.
    jobs: Vec<WhyView>,
}

async fn why(context: Context, input: Id) -> Result<Reasons, Failure> {
    named("id", &input.id)?;
    Ok(Reasons { jobs: context.ask(Request::Why { id: input.id }).await? })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Ids {
    /// Runs or jobs; empty: all open jobs.
    #[serde(default)]
    #[schemars(inner(length(min = 1, max = 256)))]
    ids: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Owners {
    /// One for each job.
    jobs: Vec<OwnerView>,
}

async fn owner(context: Context, input: Ids) -> Result<Owners, Failure> {
    for id in &input.ids {
        named("ids", id)?;
    }
    Ok(Owners { jobs: context.ask(Request::Owner { ids: input.ids }).await? })
}

const fn events_default() -> usize {
    100
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Replay {
    /// Of this run alone.
    #[serde(default)]
    run: Option<String>,
    /// By this peer alone, by name or id.
    #[serde(default)]
    author: Option<String>,
    /// Of these kinds alone, such as JobClaimed.
    #[serde(default)]
    kinds: Vec<String>,
    /// Where to begin: 0, or the next of the part before.
    #[serde(default)]
    from: u64,
    /// Events at most.
    #[serde(default = "events_default")]
    #[schemars(range(min = 1, max = 1_000))]
    limit: usize,
}

async fn replay(context: Context, input: Replay) -> Result<HistoryView, Failure> {
    let Replay { run, author, kinds, from, limit } = input;
    context.ask(Request::History { run, author, kinds, from, limit }).await
}

async fn list_conflicts(context: Context, _: Nothing) -> Result<Runs, Failure> {
    let mut runs = super::shared::runs(&context).await?;
    runs.retain(RunView::is_contradicted);
    Ok(Runs { count: runs.len() as u64, runs })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Discover {
    /// A user or organisation; null: all repositories that the credential sees, or what this host watches.
    #[serde(default)]
    owner: Option<String>,
    /// Repositories, `owner/name`.
    #[serde(default)]
    repositories: Vec<String>,
    /// Submit nothing.
    #[serde(default)]
    dry_run: bool,
}

/// A tagged workflow of a repository.
#[derive(Serialize, JsonSchema)]
struct Discovered {
    /// Tagged workflows that were seen.
    discovered: u64,
    /// Runs that were submitted.
    submitted: u64,
    /// All of it: what was looked at and skipped, what was found, what it cost.
    report: BTreeMap<String, Value>,
    /// Remarks for people.
    notes: Vec<String>,
}

async fn discover(context: Context, input: Discover) -> Result<Discovered, Failure> {
    let mut settings = json!({ "on": true, "repositories": input.repositories });
    if let Some(owner) = &input.owner {
        named("owner", owner)?;
        settings["owners"] = json!([owner]);
    }
    let variables = context.handlers.environment();
    let request = Request::Discover { wishes: settings, variables, dry_run: input.dry_run };
    let found: DiscoveryView = context.ask(request).await?;
    let report = match found.report {
        Value::Object(report) => report.into_iter().collect(),
        _ => BTreeMap::new(),
    };
    Ok(Discovered { discovered: found.discovered, submitted: found.submitted, report, notes: found.notes })
}

#[derive(Serialize, JsonSchema)]
struct Found {
    workflows: Vec<FoundView>,
    count: u64,
}

async fn list_discovered(context: Context, _: Nothing) -> Result<Found, Failure> {
    let workflows: Vec<FoundView> = context.ask(Request::Discovered).await?;
    Ok(Found { count: workflows.len() as u64, workflows })
}
