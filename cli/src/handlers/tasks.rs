//! Tasks: runs of one opaque job, for programs that do their own work.

use std::sync::Arc;
use std::time::Duration;

use wfengine_core::command::Command;
use wfengine_core::scheduler::Execution;
use wfengine_core::views::job::{ClaimState, Status};
use wfengine_storage_format::{
    Conclusion, EventId, JobCompleted, JobFailed, JobId, JobReleased, ReleaseReason, RunId,
};

use super::resolve;
use super::runs::{item, refuse_other_content, view, wait_for_copies};
use crate::node::{Handed, Node, Wanted};
use crate::submission::task;
use wfengine_api::answers::{Progress, RunView, Submitted, TaskView};
use wfengine_api::{Failure, HeldBy, Items, Wishes};
use wfengine_workflow::tags::Tag;

pub(super) async fn submit(
    node: &Arc<Node>,
    task_id: &str,
    workflow_id: &str,
    tags: &[String],
    wishes: &Wishes,
    copies: u32,
) -> Result<Submitted, Failure> {
    let (submission, notes) = task(task_id, workflow_id, tags, wishes)?;
    let run = submission.run();
    refuse_other_content(node, &submission, wishes)?;
    let command = Command::Submit { submission: Box::new(submission), plan: Vec::new(), blobs: Vec::new() };
    let receipt = node.ask(command).await?;
    let copies = wait_for_copies(node, &run, Vec::new(), copies).await?;
    Ok(Submitted { run: view(node, &run)?, already_so: receipt.already_so, notes, copies })
}

pub(super) async fn next(
    node: &Arc<Node>,
    wait: bool,
    lease_ms: u64,
    tags: Vec<String>,
    items: &Items,
) -> Result<Option<TaskView>, Failure> {
    if lease_ms == 0 {
        return Err(Failure::bad_input("--lease: expected more than nothing"));
    }
    let tags =
        tags.into_iter().map(|tag| Tag::parse(&tag).map_or(tag, |known| known.name().to_owned())).collect();
    let wanted = Wanted { tags, only: None, lease: Duration::from_millis(lease_ms), waits: wait };
    let asked = node.next_task(wanted);
    let handed = tokio::select! {
        biased;
        () = items.closed() => None,
        handed = asked => handed,
        () = node.left(), if wait => {
            return Err(Failure::unreachable("the process that this command went through has ended; ask again"));
        }
    };
    if handed.is_none()
        && let Some(decline) = node.look(|scheduler, _, now| scheduler.declines_all(now.monotonic))
    {
        let text = format!("this node claims nothing: it {}", decline.text());
        let _ = items.send(item(&Progress::Note { text })).await;
    }
    // nobody would do what was handed to somebody who has left
    if let Some(handed) = handed.filter(|_| items.is_closed()) {
        node.report(handed.claim, Execution::GivenBack);
    }
    Ok(handed.and_then(|handed| describe(node, handed, lease_ms)))
}

/// Takes one task if it may be claimed here now.
pub(super) async fn take(
    node: &Arc<Node>,
    id: &str,
    lease_ms: u64,
    items: &Items,
) -> Result<Option<TaskView>, Failure> {
    let only = Some(resolve::target(node, id)?.run);
    let wanted = Wanted { tags: Vec::new(), only, lease: Duration::from_millis(lease_ms), waits: false };
    let mut commits = node.watcher().subscribe();
    let Some(handed) = node.next_task(wanted).await else { return Ok(None) };
    let mut unheard = Unheard { node, claim: Some(handed.claim) };
    // whoever takes one task by its name sees it at work
    let is_waiting = || node.watcher().run(&handed.run).is_some_and(|run| run.status == Status::Assigned);
    while is_waiting() {
        tokio::select! {
            _ = commits.recv() => {}
            () = node.stopped() => return Err(node.stopped_with("the node stops: ask again once it is back")),
        }
    }
    let described = describe(node, handed, lease_ms).filter(|_| !items.is_closed());
    if described.is_some() {
        unheard.claim = None;
    }
    Ok(described)
}

/// A task that was handed to somebody who has not heard of it: it is given back, also where whoever asked has left.
struct Unheard<'a> {
    node: &'a Node,
    claim: Option<EventId>,
}

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        if let Some(claim) = self.claim {
            self.node.report(claim, Execution::GivenBack);
        }
    }
}

fn describe(node: &Node, handed: Handed, lease_ms: u64) -> Option<TaskView> {
    let run = view(node, &handed.run).ok()?;
    let key = node.watcher().run(&handed.run).and_then(|run| {
        run.submitted.map(|submitted| wfengine_storage_format::run_id(&submitted.trigger_key, 1))
    });
    Some(TaskView {
        task_id: if run.given_id.is_empty() { run.id.clone() } else { run.given_id.clone() },
        run: run.id,
        job: handed.job.to_string(),
        workflow_id: run.workflow_id,
        name: run.name,
        tags: run.tags,
        priority: run.priority,
        metadata: run.metadata,
        attempt: run.attempt,
        task_hash: handed.job.to_string(),
        assigned_peer: node.watcher().views().peer_name(&node.peer_id()),
        fencing_token: handed.token.text(),
        idempotency_key: key.map(|key| key.to_string()).unwrap_or_default(),
        lease_ms,
    })
}

/// A task with the claim that is held on it here.
struct HeldTask {
    run: RunId,
    job: JobId,
    claim: EventId,
    submission: EventId,
}

/// Finds the task and the claim this node, or an earlier command of it, holds.
fn held(node: &Node, task: &HeldBy) -> Result<HeldTask, Failure> {
    let id = task.id.as_str();
    let target = resolve::target(node, id)?;
    let run = node
        .watcher()
        .run(&target.run)
        .ok_or_else(|| Failure::unknown(format!("no task {id} is known here")))?;
    if !run.is_task() {
        return Err(Failure::conflict(format!(
            "run {} is a workflow: its jobs end by themselves",
            target.run.short()
        )));
    }
    let job = run.jobs.values().next().ok_or_else(|| Failure::bad_input(format!("task {id} has no job")))?;
    if job.status.is_terminal() {
        return Err(Failure::conflict(format!("task {id} is already {}", job.status)));
    }
    let holder = job.holder().ok_or_else(|| {
        Failure::conflict(format!("task {id} is held by nobody: take it with `wfengine task next`"))
    })?;
    if holder.chain != node.store.chain() {
        if holder.peer() == node.peer_id() {
            return Err(Failure::conflict(format!(
                "task {id} was handed out before this node was started anew, and that claim counts no more: take it again with `wfengine task next`"
            )));
        }
        let who = node.watcher().views().peer_name(&holder.peer());
        return Err(Failure::conflict(format!("task {id} is held by {who}: ask there")));
    }
    // a step or a command of `work` may report on other tasks than the one it was started for, but on no later attempt of its own
    let told_for: Option<RunId> = task.token_of.as_ref().and_then(|of| of.parse().ok());
    let trigger = run.submitted.as_ref().map(|submitted| &submitted.trigger_key);
    let is_of_this = told_for.is_none_or(|of| {
        let told_for = node.watcher().run(&of).and_then(|told_for| told_for.submitted);
        of == run.id || told_for.is_some_and(|submitted| Some(&submitted.trigger_key) == trigger)
    });
    let token = task.token.as_ref().filter(|_| is_of_this);
    if token.is_some_and(|token| *token != holder.token().text()) {
        return Err(Failure::conflict(format!(
            "task {id} was handed to somebody else since: its lease had ended, and this result does not count"
        )));
    }
    let submission = run.canonical.unwrap_or(holder.id);
    Ok(HeldTask { run: run.id, job: job.id, claim: holder.id, submission })
}

/// Whether the scheduler of this process handed the task out: then the report goes through it.
fn is_scheduled(node: &Node, claim: &EventId) -> bool {
    node.look(|scheduler, _, _| scheduler.held_claims().contains(claim))
}

async fn settled(
    node: &Arc<Node>,
    run: RunId,
    claim: EventId,
    report: Execution,
    command: Command,
) -> Result<RunView, Failure> {
    let wanted = match &report {
        Execution::Finished(_) => "its result",
        Execution::Failed { .. } => "its failure",
        _ => "that it was given back",
    };
    if is_scheduled(node, &claim) {
        let mut commits = node.watcher().subscribe();
        node.report(claim, report);
        loop {
            let ended = node.watcher().run(&run).is_none_or(|run| {
                run.jobs.values().all(|job| job.claim(&claim).is_none_or(|claim| !claim.is_held()))
            });
            if ended {
                break;
            }
            tokio::select! {
                _ = commits.recv() => {}
                () = node.stopped() => {
                    return Err(node.stopped_with("the node stops: look with `wfengine show` before asking again"));
                }
            }
        }
        // what came first counts: the end of the lease, a cancelled run, another report
        let state = node.watcher().run(&run).and_then(|run| {
            let claims: Vec<_> = run.jobs.values().filter_map(|job| job.claim(&claim)).collect();
            claims.first().map(|claim| claim.state.clone())
        });
        let counts = match &state {
            Some(ClaimState::Completed) => wanted == "its result",
            Some(ClaimState::Failed) => wanted == "its failure",
            Some(ClaimState::Released(_)) => wanted == "that it was given back",
            _ => false,
        };
        if !counts {
            let became = match state {
                Some(ClaimState::Released(why) | ClaimState::Aborted(why)) => {
                    format!("it was taken back: {why}")
                }
                Some(ClaimState::Completed) => "it is completed already".to_owned(),
                Some(ClaimState::Failed) => "it has failed already".to_owned(),
                Some(ClaimState::Held) | None => "nobody holds it any more".to_owned(),
            };
            return Err(Failure::conflict(format!(
                "{wanted} came too late for run {} and does not count: {became}",
                run.short()
            )));
        }
    } else {
        node.ask(command).await?;
    }
    view(node, &run)
}

pub(super) async fn complete(
    node: &Arc<Node>,
    task_ref: &HeldBy,
    result_json: String,
) -> Result<RunView, Failure> {
    if !result_json.is_empty() {
        serde_json::from_str::<serde_json::Value>(&result_json)
            .map_err(|error| Failure::bad_input(format!("--result is not JSON: {error}")))?;
    }
    let task = held(node, task_ref)?;
    let body = JobCompleted {
        run: task.run,
        job: task.job,
        claim: task.claim,
        conclusion: Conclusion::Success,
        outputs: Vec::new(),
        result_json,
        log: None,
        log_len: 0,
        summary: None,
        artifacts: Vec::new(),
        duration_ms: 0,
        notes: Vec::new(),
    };
    let report = Execution::Finished(Box::new(body.clone()));
    settled(node, task.run, task.claim, report, Command::Complete(body)).await
}

pub(super) async fn fail(
    node: &Arc<Node>,
    task_ref: &HeldBy,
    error: String,
    retry: bool,
) -> Result<RunView, Failure> {
    let task = held(node, task_ref)?;
    let body = JobFailed {
        run: task.run,
        job: task.job,
        claim: Some(task.claim),
        submission: task.submission,
        error: error.clone(),
        infrastructure: false,
        retry,
    };
    settled(node, task.run, task.claim, Execution::Failed { error, retry }, Command::Fail(body)).await
}

pub(super) async fn release(node: &Arc<Node>, task_ref: &HeldBy) -> Result<RunView, Failure> {
    let task = held(node, task_ref)?;
    let body =
        JobReleased { run: task.run, job: task.job, claim: task.claim, reason: ReleaseReason::GivenBack };
    settled(node, task.run, task.claim, Execution::GivenBack, Command::Release(body)).await
}

pub(super) fn extend(node: &Node, task_ref: &HeldBy, lease_ms: u64) -> Result<(), Failure> {
    let task = held(node, task_ref)?;
    let length = Duration::from_millis(lease_ms);
    if node.schedule(|scheduler, _, now| scheduler.handle_extend(task.claim, length, now)) {
        // as long after the end of this process, where it is only a command
        node.keep_lease(task.claim, length);
        return Ok(());
    }
    if node.extend_kept_lease(&task.claim, length)? {
        return Ok(());
    }
    Err(Failure::conflict(format!(
        "the lease of task {} is over: take it again with `wfengine task next`",
        task_ref.id
    )))
}
