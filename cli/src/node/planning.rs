//! Planning on the scheduler's behalf: jobs whose needs have ended, and runs that are submitted again.

use std::collections::BTreeMap;
use std::sync::Arc;

use wfengine_api::{Exit, Failure};
use wfengine_core::command::Command;
use wfengine_core::views::job::Job;
use wfengine_core::views::run::Run;
use wfengine_storage_format::limits::LIST_LEN_MAX;
use wfengine_storage_format::{
    BlobId, EventId, JobsPlanned, PlannedKey, RunId, RunSpec, RunSubmitted, TriggerFired, WorkflowSpec,
};
use wfengine_workflow::{Conclusion, LegResult, NeedsResult, Workflow};

use super::Node;
use crate::submission::{planned, read_workflow};

/// The bytes of plan that one event takes, with room for its envelope.
const PLAN_BYTES_MAX: usize = 48 * 1024;

/// Plans what can be planned of a run and writes it. A run that cannot be planned fails visibly.
pub(super) async fn plan_more(node: Arc<Node>, id: RunId) {
    let planned = plan_run(&node, id).await;
    if let Err(failure) = &planned {
        tracing::warn!(run = %id, %failure, "the run's next jobs were not planned");
        node.news.tell(
            id,
            wfengine_storage_format::JobId::from_bytes([0; 32]),
            super::feed::What::Line(wfengine_executor::log::LogLine {
                offset_ms: 0,
                step: 0,
                stream: wfengine_executor::log::Stream::Note,
                text: format!("planning failed: {failure}").into_bytes(),
            }),
        );
        if failure.exit == Exit::BadInput {
            // the file itself forbids the next jobs: no later attempt can mend that
            let reason = format!("its next jobs cannot be planned: {failure}");
            let reason: String = reason.chars().take(1000).collect();
            if let Err(error) = node.ask(Command::Cancel { run: id, reason }).await {
                tracing::warn!(%error, "a run that cannot be planned was not cancelled");
            }
        }
    }
    node.schedule(|scheduler, _, now| scheduler.handle_planned(id, planned.is_ok(), now));
}

async fn plan_run(node: &Arc<Node>, id: RunId) -> Result<(), Failure> {
    let Some(run) = node.watcher().run(&id) else { return Ok(()) };
    let (Some(submitted), Some(canonical)) = (run.submitted.clone(), run.canonical) else { return Ok(()) };
    let RunSpec::Workflow(spec) = submitted.spec.clone() else { return Ok(()) };
    let workflow = load(node, &spec).await?;
    let (results, consumed) = results_of(&run);
    let keys = planned(&workflow, &submitted, &results)?;
    let fresh: Vec<PlannedKey> =
        keys.into_iter().filter(|planned| !run.parts.contains_key(&planned.key)).collect();
    for jobs in in_events(fresh) {
        let body = JobsPlanned {
            run: id,
            submission: canonical,
            rules_version: spec.rules_version,
            consumed: consumed.clone(),
            jobs,
        };
        node.ask(Command::Plan(body)).await?;
    }
    Ok(())
}

/// Cuts a plan so that each part fits an event.
fn in_events(keys: Vec<PlannedKey>) -> Vec<Vec<PlannedKey>> {
    let mut events: Vec<Vec<PlannedKey>> = Vec::new();
    let mut room = 0;
    for key in keys {
        let bytes = wfengine_storage_format::to_canonical(&key).len();
        match events.last_mut().filter(|event| bytes <= room && event.len() < LIST_LEN_MAX) {
            Some(event) => {
                room -= bytes;
                event.push(key);
            }
            None => {
                room = PLAN_BYTES_MAX.saturating_sub(bytes);
                events.push(vec![key]);
            }
        }
    }
    events
}

/// The workflow of a run, its source brought here if need be.
pub(super) async fn load(node: &Arc<Node>, spec: &WorkflowSpec) -> Result<Workflow, Failure> {
    let source = blob(node, spec.source).await?;
    read_workflow(&source, &spec.path)
}

/// The bytes of a blob, fetched from a peer if they are not here.
pub(crate) async fn blob(node: &Node, id: BlobId) -> Result<Vec<u8>, Failure> {
    if !node.blobs.has(&id) {
        match node.network() {
            Some(network) => {
                network.fetch_blob(id).await.map_err(|error| Failure::unreachable(error.to_string()))?;
            }
            None => {
                return Err(Failure::unreachable(format!(
                    "blob {id} is not on this host and no node is running to fetch it: start `wfengine serve`"
                )));
            }
        }
    }
    let blobs = node.blobs.clone();
    let read = tokio::task::spawn_blocking(move || blobs.read(&id)).await;
    read.map_err(|error| Failure::new(Exit::Failure, format!("BUG: reading a blob failed: {error}")))?
        .map_err(Failure::from)
}

fn conclusion_of(job: &Job) -> Option<Conclusion> {
    job.conclusion().map(|conclusion| match conclusion {
        wfengine_storage_format::Conclusion::Success => Conclusion::Success,
        wfengine_storage_format::Conclusion::Failure => Conclusion::Failure,
        wfengine_storage_format::Conclusion::Cancelled => Conclusion::Cancelled,
        wfengine_storage_format::Conclusion::Skipped => Conclusion::Skipped,
    })
}

/// The results of the run's finished keys, and the completions they come from.
pub(crate) fn results_of(run: &Run) -> (BTreeMap<String, NeedsResult>, Vec<EventId>) {
    let (mut results, mut consumed) = (BTreeMap::new(), Vec::new());
    for key in run.finished_keys() {
        let legs: Vec<LegResult> = run
            .jobs_of(key)
            .filter_map(|job| {
                let outputs = job.result.as_ref().map(|result| result.outputs.iter().cloned().collect());
                Some(LegResult {
                    conclusion: conclusion_of(job)?,
                    continue_on_error: job.leg.continue_on_error,
                    outputs: outputs.unwrap_or_default(),
                })
            })
            .collect();
        consumed.extend(run.jobs_of(key).filter_map(|job| job.result.as_ref()).map(|result| result.id));
        results.insert(key.to_owned(), NeedsResult::of_legs(&legs));
    }
    consumed.truncate(4 * LIST_LEN_MAX);
    (results, consumed)
}

/// Submits a run again as a further attempt, on the scheduler's behalf.
pub(super) async fn submit_again(node: Arc<Node>, id: RunId, attempt: u32) {
    let submitted = async {
        let Attempt { submission, trigger, plan, blobs } = next_of(&node, id, attempt).await?;
        node.ask(Command::Retry { of: id, submission, trigger, plan, blobs }).await?;
        Ok::<(), Failure>(())
    };
    if let Err(failure) = submitted.await {
        tracing::warn!(run = %id, attempt, %failure, "the run was not submitted again");
    }
}

/// Submits a run again with the same content; says the new run's id.
pub(crate) async fn rerun(node: &Arc<Node>, id: RunId, attempt: u32) -> Result<RunId, Failure> {
    let Attempt { submission, trigger, plan, blobs } = next_of(node, id, attempt).await?;
    let again = submission.run();
    let command = match trigger {
        Some(trigger) => Command::Fire { trigger, submission, plan, blobs },
        None => Command::Submit { submission, plan, blobs },
    };
    node.ask(command).await?;
    Ok(again)
}

/// A further attempt of a run.
struct Attempt {
    submission: Box<RunSubmitted>,
    /// Why it exists, if discovery found the run.
    trigger: Option<Box<TriggerFired>>,
    /// What can be planned at once.
    plan: Vec<PlannedKey>,
    /// What the submission needs.
    blobs: Vec<BlobId>,
}

async fn next_of(node: &Arc<Node>, id: RunId, attempt: u32) -> Result<Attempt, Failure> {
    let run =
        node.watcher().run(&id).ok_or_else(|| Failure::bad_input(format!("no run {id} is known here")))?;
    let Some((submission, trigger)) = run.again(attempt) else {
        return Err(Failure::refused(format!("run {id} was never validly submitted")));
    };
    let (plan, blobs) = match &submission.spec {
        RunSpec::Task { .. } => (Vec::new(), Vec::new()),
        RunSpec::Workflow(spec) => {
            let workflow = load(node, spec).await?;
            (planned(&workflow, &submission, &BTreeMap::new())?, vec![spec.source])
        }
    };
    Ok(Attempt { submission: Box::new(submission), trigger: trigger.map(Box::new), plan, blobs })
}
