//! Executing a claimed job: from the run's frozen values to steps on this host, and from their outcome to a report.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use wfengine_core::ownership::Token;
use wfengine_core::scheduler::{Execution, NOT_ALLOWED_ANY_MORE, StopReason};
use wfengine_core::views::run::Run;
use wfengine_executor::{
    Control, DropReason, Ending, Gate, JobError, JobEvent, JobIdentity, JobInput, JobOutcome, Limits, Stop,
    Workspace, environment, run_job,
};
use wfengine_storage_format::limits::JSON_BYTES_MAX;
use wfengine_storage_format::{
    Conclusion, EventId, JobCompleted, JobId, PeerId, RunId, RunSpec, StepFinished,
};

use super::feed::What;
use super::planning::{load, results_of};
use super::{Node, held};

/// Between TERM and KILL for a step that is told to stop.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// How long a step that ended waits for a sign of its job's start in the log.
const START_WAIT: Duration = Duration::from_secs(2);

/// A job that runs here.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) job: JobId,
    pub(super) log_path: PathBuf,
    control: watch::Sender<Control>,
}

impl Running {
    /// Orders it to end. The execution reads the latest order alone, so a gentler one takes no sharper one back.
    fn stop(&self, stop: Stop) {
        self.control.send_if_modified(|control| {
            let is_sharper = matches!(control, Control::Stop(before) if before.grace < stop.grace);
            if !is_sharper {
                *control = Control::Stop(stop);
            }
            !is_sharper
        });
    }
}

/// Ends what an earlier process of this node left behind.
pub(super) fn clear_leftovers(node: &Node) {
    let work = node.home.data.work_dir();
    if let Err(error) = wfengine_executor::clear_leftovers(&work, &tracking_prefix(&node.peer_id())) {
        tracing::warn!(%error, path = %work.display(), "leftovers of earlier jobs were not removed");
    }
    let _ = std::fs::remove_dir_all(log_dir(node));
}

/// Names a data directory's jobs among all processes of the host.
pub(crate) fn tracking_prefix(peer: &PeerId) -> String {
    format!("wfe{}", peer.short())
}

fn log_dir(node: &Node) -> PathBuf {
    node.home.data.path().join("logs")
}

impl Node {
    /// Where the log of a job that runs here is being written.
    pub(crate) fn running_log(&self, job: &JobId) -> Option<PathBuf> {
        held(&self.running)
            .values()
            .find(|running| running.job == *job)
            .map(|running| running.log_path.clone())
    }
}

/// Begins an execution. Its end is reported to the scheduler.
pub(super) fn begin(node: &Arc<Node>, run: RunId, job: JobId, claim: EventId, token: Token) {
    let (control, controlled) = watch::channel(Control::Continue);
    let log_path = log_dir(node).join(format!("{claim}.log"));
    held(&node.running).insert(claim, Running { job, log_path: log_path.clone(), control });
    let executing = Arc::clone(node);
    let execution = async move {
        let node = executing;
        let report = execute(&node, run, job, claim, token, log_path.clone(), controlled).await;
        if let Execution::Unable { why } | Execution::Faulted { why, .. } = &report {
            tracing::warn!(%run, %job, why, "the job was not executed");
            node.news.tell(run, job, What::Ended { conclusion: format!("not executed: {why}") });
        }
        node.report(claim, report);
        held(&node.running).remove(&claim);
        let _ = std::fs::remove_file(log_path);
    };
    // on a thread of its own: hashing a workspace or a slow disk under the log must not make the node late. None of the pool for
    // blocking calls, whose threads an execution waits for
    let runtime = tokio::runtime::Handle::current();
    let thread = std::thread::Builder::new().name("wfengine-job".to_owned());
    if let Err(error) = thread.spawn(move || runtime.block_on(execution)) {
        held(&node.running).remove(&claim);
        // there may be one later
        let why = format!("no thread for it: {error}");
        tracing::warn!(%run, %job, why, "the job was not executed");
        node.report(claim, Execution::Faulted { why, steps_done: 0 });
    }
}

/// Tells an execution, or the program that holds a task, to stop.
pub(super) fn stop(node: &Arc<Node>, claim: &EventId, reason: StopReason) {
    let reason = match reason {
        StopReason::Cancelled => wfengine_executor::StopReason::Cancelled,
        StopReason::Draining => wfengine_executor::StopReason::Shutdown,
        StopReason::Superseded | StopReason::Completed | StopReason::LeaseEnded => {
            wfengine_executor::StopReason::ClaimLost
        }
    };
    let told = held(&node.running).get(claim).map(|running| {
        running.stop(Stop { reason, grace: STOP_GRACE });
    });
    if told.is_none() {
        // a program's task: the program finds out when it reports
        node.report(*claim, Execution::Stopped { steps_done: 0 });
    }
}

/// Kills every execution.
pub(super) fn kill_all(node: &Node) {
    for running in held(&node.running).values() {
        running.stop(Stop { reason: wfengine_executor::StopReason::Shutdown, grace: Duration::ZERO });
    }
}

/// Asked before each step: is the claim still the greatest?
struct ClaimGate {
    node: Arc<Node>,
    claim: EventId,
}

impl Gate for ClaimGate {
    async fn may_start(&mut self, number: u32) -> bool {
        let may = self.node.look(|scheduler, views, _| scheduler.may_go_on(views, &self.claim));
        if may {
            self.node.report(self.claim, Execution::Step { number, percent: None });
        }
        may
    }
}

async fn execute(
    node: &Arc<Node>,
    id: RunId,
    job: JobId,
    claim: EventId,
    token: Token,
    log_path: PathBuf,
    controlled: watch::Receiver<Control>,
) -> Execution {
    let unable = |why: String| Execution::Unable { why };
    let Some(run) = node.watcher().run(&id) else { return unable("the run is not known".to_owned()) };
    let Some(submitted) = run.submitted.clone() else { return unable("the submission is void".to_owned()) };
    if !node.look(|scheduler, _, _| scheduler.executes(&run)) {
        return unable(NOT_ALLOWED_ANY_MORE.to_owned());
    }
    let RunSpec::Workflow(spec) = &submitted.spec else { return unable("a task needs a program".to_owned()) };
    let workflow = match load(node, spec).await {
        Ok(workflow) => workflow,
        Err(failure) => return unable(failure.to_string()),
    };
    if let Some(found) = workflow.unsupported().first() {
        return unable(format!("{} is not supported by this version: {}", found.key, found.why));
    }
    let Some(planned) = run.jobs.get(&job) else { return unable("the job is not planned".to_owned()) };
    let Some(definition) = workflow.job_definition(&planned.key) else {
        return unable(format!("the workflow has no job {}", planned.key));
    };
    let (results, _) = results_of(&run);
    let needs = results.into_iter().filter(|(key, _)| planned.needs.contains(key)).collect();
    let contexts =
        match definition.contexts(&wfengine_workflow::thaw(&submitted), &planned.leg.matrix, &needs) {
            Ok(contexts) => contexts,
            Err(diagnostic) => return unable(diagnostic.to_string()),
        };
    let lent = held(&node.lent).get(&id).cloned();
    let (workspace, host_environment) = match lent {
        Some(lent) => (Workspace::Lent(lent.workspace), lent.environment),
        None => (Workspace::Fresh, environment::visible_of_host(std::env::vars_os(), &[])),
    };
    if let Some(dir) = log_path.parent()
        && let Err(error) = std::fs::create_dir_all(dir)
    {
        return unable(format!("no folder for logs at {}: {error}", dir.display()));
    }
    let name = node.home.name().unwrap_or_default();
    let input = JobInput {
        definition,
        contexts,
        identity: JobIdentity {
            run_id: id.to_string(),
            job_id: job.to_string(),
            job_key: planned.key.clone(),
            fencing_token: token.text(),
            idempotency_key: idempotency_key(&run, &job),
            tracking_prefix: tracking_prefix(&node.peer_id()),
            peer_name: name,
        },
        workspace,
        temp_root: node.home.data.work_dir(),
        log_path,
        host_environment,
        limits: Limits { outputs_bytes_max: JSON_BYTES_MAX - 4096, ..Limits::default() },
        started_ms: node.clock.wall().0,
        notes: Vec::new(),
        sources: super::sources::RunSources::of(node, &run),
    };
    node.news.tell(id, job, What::Started { name: planned.leg.name.clone() });
    let begun = node.clock.monotonic();
    let mut steps_done = 0;
    let (ended_steps, to_record) = mpsc::unbounded_channel();
    let recording = tokio::spawn(record_steps(Arc::clone(node), to_record));
    let mut events = |event: JobEvent| {
        let what = match event {
            JobEvent::StepStarted { number, name } => {
                if number == 1 {
                    node.report(claim, Execution::Started);
                }
                What::Step { number, name }
            }
            JobEvent::Line(line) => What::Line(line),
            JobEvent::StepFinished(step) => {
                steps_done = step.number;
                if let Some(body) = step_body(id, job, claim, &step) {
                    let _ = ended_steps.send(body);
                }
                What::StepEnded(step)
            }
        };
        node.news.tell(id, job, what);
    };
    let mut gate = ClaimGate { node: Arc::clone(node), claim };
    let outcome = run_job(input, &mut events, controlled, &mut gate).await;
    drop(ended_steps);
    let _ = recording.await;
    let duration_ms = u64::try_from((node.clock.monotonic() - begun).as_millis()).unwrap_or(u64::MAX);
    match outcome {
        Ok(outcome) => conclude(node, id, job, claim, outcome, duration_ms, steps_done).await,
        Err(error @ (JobError::Folders { .. } | JobError::Log { .. })) => {
            Execution::Faulted { why: error.to_string(), steps_done }
        }
        Err(error @ JobError::Program { .. }) => unable(error.to_string()),
    }
}

/// The same for every claim and attempt of a job, so that an effect outside can be recognised as the same.
fn idempotency_key(run: &Run, job: &JobId) -> String {
    let first =
        run.submitted.as_ref().map(|submitted| wfengine_storage_format::run_id(&submitted.trigger_key, 1));
    match (first, run.jobs.get(job)) {
        (Some(first), Some(planned)) => {
            wfengine_storage_format::job_id(&first, &planned.key, &planned.leg.matrix).to_string()
        }
        _ => job.to_string(),
    }
}

/// What an event says of a step that ended. `None` for what was skipped: the log tells of it, an event would only cost.
fn step_body(
    run: RunId,
    job: JobId,
    claim: EventId,
    step: &wfengine_executor::StepResult,
) -> Option<StepFinished> {
    if step.outcome == wfengine_workflow::Conclusion::Skipped {
        return None;
    }
    Some(StepFinished {
        run,
        job,
        claim,
        number: step.number,
        name: step.name.chars().take(256).collect(),
        conclusion: conclusion(step.conclusion),
        duration_ms: step.duration_ms,
    })
}

/// Writes down steps as they end, after the start of their job. For people who watch: a refusal means that the claim has ended.
async fn record_steps(node: Arc<Node>, mut steps: mpsc::UnboundedReceiver<StepFinished>) {
    let mut changes = node.changes();
    while let Some(step) = steps.recv().await {
        let stands = || {
            let views = node.watcher().views();
            let claim =
                views.runs().live_job(&step.run, &step.job).and_then(|(_, job)| job.claim(&step.claim));
            claim.map(|claim| (claim.started, claim.is_held()))
        };
        // a start that was refused, because the job had ended elsewhere, is never seen
        let goes_on = || node.look(|scheduler, views, _| scheduler.may_go_on(views, &step.claim));
        while stands() == Some((false, true)) && goes_on() {
            match tokio::time::timeout(START_WAIT, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => break,
            }
        }
        let _ = node.ask(wfengine_core::command::Command::FinishStep(step)).await;
    }
}

fn conclusion(of: wfengine_workflow::Conclusion) -> Conclusion {
    match of {
        wfengine_workflow::Conclusion::Success => Conclusion::Success,
        wfengine_workflow::Conclusion::Failure => Conclusion::Failure,
        wfengine_workflow::Conclusion::Cancelled => Conclusion::Cancelled,
        wfengine_workflow::Conclusion::Skipped => Conclusion::Skipped,
    }
}

async fn conclude(
    node: &Arc<Node>,
    run: RunId,
    job: JobId,
    claim: EventId,
    outcome: JobOutcome,
    duration_ms: u64,
    steps_done: u32,
) -> Execution {
    let stopped = matches!(
        outcome.ending,
        Ending::Stopped(wfengine_executor::StopReason::ClaimLost | wfengine_executor::StopReason::Shutdown)
    );
    if stopped {
        node.news.tell(run, job, What::Ended { conclusion: "stopped".to_owned() });
        return Execution::Stopped { steps_done };
    }
    let mut notes: Vec<String> = outcome
        .dropped_outputs
        .iter()
        .map(|dropped| match dropped.why {
            DropReason::Masked => format!("output {} holds a masked value and was dropped", dropped.name),
            DropReason::TooLong => format!("output {} is too long and was dropped", dropped.name),
        })
        .collect();
    if outcome.ending == Ending::TimedOut {
        notes.push("its timeout-minutes passed".to_owned());
    }
    if outcome.log.cut {
        notes.push("its log was cut at the bound".to_owned());
    }
    notes.truncate(64);
    let summary: String = outcome.steps.iter().filter_map(|step| step.summary.clone()).collect();
    let said: Vec<_> = outcome.annotations.iter().map(|said| &said.annotation).collect();
    let annotations =
        if said.is_empty() { Vec::new() } else { serde_json::to_vec(&said).unwrap_or_default() };
    let (blobs, log_path) = (node.blobs.clone(), outcome.log.path.clone());
    let kept = tokio::task::spawn_blocking(move || {
        let log = blobs.put_file(&log_path)?;
        let summary = if summary.is_empty() { None } else { Some(blobs.put(summary.as_bytes())?) };
        let mut artifacts = Vec::new();
        if !annotations.is_empty() {
            let name = wfengine_discovery::outside::ANNOTATIONS.to_owned();
            artifacts.push((name, blobs.put(&annotations)?, annotations.len() as u64));
        }
        Ok::<_, wfengine_store::BlobError>((log, summary, artifacts))
    })
    .await;
    let ((log, log_len), summary, artifacts) = match kept {
        Ok(Ok(kept)) => kept,
        Ok(Err(error)) => {
            return Execution::Faulted { why: format!("its log was not kept: {error}"), steps_done };
        }
        Err(error) => {
            return Execution::Faulted { why: format!("its log was not kept: {error}"), steps_done };
        }
    };
    node.news.tell(run, job, What::Ended { conclusion: outcome.conclusion.name().to_owned() });
    let outputs: BTreeMap<String, String> = outcome.outputs;
    Execution::Finished(Box::new(JobCompleted {
        run,
        job,
        claim,
        conclusion: conclusion(outcome.conclusion),
        outputs: outputs.into_iter().collect(),
        result_json: String::new(),
        log: Some(log),
        log_len,
        summary,
        artifacts,
        duration_ms,
        notes,
    }))
}
