//! Runs and jobs of GitHub's side: list, look, cancel.

use serde_json::{Value, json};

use super::{
    runners::DEFAULT_GROUP,
    shapes::{self, node_id, web},
    workflows,
};
use crate::standin::{
    actions::{Job, Progress, Run},
    answer::{Answer, Outcome},
    call::Call,
    clock::iso,
    ids::{JobId, RunId},
    state::State,
};

/// A list with a filter ends after so many runs.
const FILTERED_MAX: usize = 1_000;
/// The number of a fork that is not kept here.
const FORK_ID: u64 = 999_999_999;
const FILTERS: [&str; 7] = ["actor", "branch", "check_suite_id", "created", "event", "head_sha", "status"];

/// `workflow-run`.
pub(crate) fn shape(state: &State, base: &str, run: &Run) -> Value {
    let repository = state.repositories.get(&run.repository);
    let full_name = repository.map_or_else(String::new, |repository| state.full_name(repository));
    let link = repository.map_or(Value::Null, |repository| shapes::repository_link(state, base, repository));
    let url = format!("{base}/repos/{full_name}/actions/runs/{}", run.id);
    let actor = run.actor.and_then(|id| state.accounts.get(&id));
    let actor = actor.map_or(Value::Null, |actor| shapes::account(base, actor));
    let head =
        run.head_repository.as_deref().map_or_else(|| link.clone(), |from| forked(state, base, &link, from));
    let title = run.commit.message.lines().next().unwrap_or_default();
    let suite = run.id.0 + 1;
    json!({
        "id": run.id.0, "name": run.workflow_name, "node_id": node_id("WFR", run.id.0),
        "check_suite_id": suite, "check_suite_node_id": node_id("CS", suite),
        "head_branch": run.head, "head_sha": run.sha.to_string(), "path": run.path,
        "display_title": if run.event == "push" { title } else { &run.workflow_name },
        "run_number": run.number, "run_attempt": 1, "event": run.event,
        "status": run.progress.name(), "conclusion": run.conclusion,
        "workflow_id": run.workflow.0, "url": url,
        "html_url": format!("{}/{full_name}/actions/runs/{}", web(base), run.id),
        "pull_requests": [], "referenced_workflows": [],
        "created_at": iso(run.created_at), "updated_at": iso(run.updated_at), "run_started_at": iso(run.created_at),
        "actor": actor, "triggering_actor": actor,
        "jobs_url": format!("{url}/jobs"), "logs_url": format!("{url}/logs"),
        "check_suite_url": format!("{base}/repos/{full_name}/check-suites/{suite}"),
        "artifacts_url": format!("{url}/artifacts"), "cancel_url": format!("{url}/cancel"),
        "rerun_url": format!("{url}/rerun"), "previous_attempt_url": null,
        "workflow_url": format!("{base}/repos/{full_name}/actions/workflows/{}", run.workflow),
        "head_commit": shapes::commit_summary(run.sha, &run.commit),
        "repository": link, "head_repository": head,
    })
}

/// The repository that a pull request comes from; one that is not kept here is written like the one it was forked from.
fn forked(state: &State, base: &str, origin: &Value, from: &str) -> Value {
    let (owner, name) = from.split_once('/').unwrap_or(("", from));
    if let Some(known) = state.repository_id(from).ok().and_then(|id| state.repositories.get(&id)) {
        return shapes::repository_link(state, base, known);
    }
    let mut shown = origin.clone();
    shown["id"] = FORK_ID.into();
    shown["full_name"] = from.into();
    shown["name"] = name.into();
    shown["fork"] = true.into();
    shown["owner"]["login"] = owner.into();
    shown
}

/// `job`. GitHub says when a job started from the moment it is queued.
pub(crate) fn job_shape(state: &State, base: &str, job: &Job) -> Value {
    let run = state.actions.runs.get(&job.run);
    let repository = run.and_then(|run| state.repositories.get(&run.repository));
    let full_name = repository.map_or_else(String::new, |repository| state.full_name(repository));
    let url = format!("{base}/repos/{full_name}");
    json!({
        "id": job.id.0, "run_id": job.run.0, "run_attempt": 1, "node_id": node_id("CR", job.id.0),
        "workflow_name": run.map(|run| &run.workflow_name), "head_branch": run.map(|run| &run.head),
        "head_sha": run.map(|run| run.sha.to_string()),
        "run_url": format!("{url}/actions/runs/{}", job.run),
        "url": format!("{url}/actions/jobs/{}", job.id),
        "html_url": format!("{}/{full_name}/actions/runs/{}/job/{}", web(base), job.run, job.id),
        "status": job.progress.name(), "conclusion": job.conclusion,
        "created_at": iso(job.created_at), "started_at": iso(job.started_at.unwrap_or(job.created_at)),
        "completed_at": job.completed_at.map(iso),
        "name": job.name, "steps": [], "labels": job.labels,
        "check_run_url": format!("{url}/check-runs/{}", job.id),
        "runner_id": job.runner.as_ref().map(|(id, _)| id.0),
        "runner_name": job.runner.as_ref().map(|(_, name)| name),
        "runner_group_id": job.runner.as_ref().map(|_| DEFAULT_GROUP),
        "runner_group_name": job.runner.as_ref().map(|_| "Default"),
    })
}

pub(super) fn list(state: &mut State, call: &Call<'_>) -> Outcome {
    let repository = call.repository(state)?.id;
    let runs: Vec<&Run> = state.actions.runs.values().filter(|run| run.repository == repository).collect();
    filtered(state, call, runs, &call.path_by_id("/actions/runs"))
}

pub(super) fn of_workflow(state: &mut State, call: &Call<'_>) -> Outcome {
    let file = workflows::named(state, call)?;
    let runs: Vec<&Run> = state.actions.runs.values().filter(|run| run.workflow == file.id).collect();
    filtered(state, call, runs, &call.path_by_id(&format!("/actions/workflows/{}/runs", file.id)))
}

/// The newest first.
fn filtered(state: &State, call: &Call<'_>, mut runs: Vec<&Run>, path: &str) -> Outcome {
    let query = |name: &str| call.request.query(name);
    let is = |name: &str, value: &str| query(name).is_none_or(|wanted| wanted == value);
    runs.retain(|run| {
        let actor = run.actor.map(|id| state.login(id)).unwrap_or_default();
        let is_status = query("status")
            .is_none_or(|wanted| wanted == run.progress.name() || run.conclusion.as_deref() == Some(wanted));
        is_status
            && is("branch", &run.head)
            && is("event", &run.event)
            && is("head_sha", &run.sha.to_string())
            && is("check_suite_id", &(run.id.0 + 1).to_string())
            && is("actor", actor)
            && query("created").is_none_or(|wanted| is_created(run.created_at, wanted))
    });
    runs.reverse();
    if FILTERS.iter().any(|name| query(name).is_some()) {
        runs.truncate(FILTERED_MAX);
    }
    call.wrapped_list("workflow_runs", &runs, path, |run| shape(state, &call.base, run))
}

/// `>=2026-01-02`, `<2026-01-02T03:04:05Z`, `a..b`, or one day; times in this form compare as texts.
fn is_created(at: u64, wanted: &str) -> bool {
    let at = iso(at);
    let bound = |text: &str| at.get(..text.len()).map(|at| at.cmp(text));
    if let Some((from, to)) = wanted.split_once("..") {
        let is_after = from == "*" || bound(from).is_some_and(|order| order.is_ge());
        return is_after && (to == "*" || bound(to).is_some_and(|order| order.is_le()));
    }
    for (sign, fits) in [
        (">=", [false, true, true]),
        ("<=", [true, true, false]),
        (">", [false, false, true]),
        ("<", [true, false, false]),
    ] {
        if let Some(text) = wanted.strip_prefix(sign) {
            return bound(text).is_some_and(|order| fits[(order as i8 + 1) as usize]);
        }
    }
    at.starts_with(wanted)
}

fn named<'s>(state: &'s State, call: &Call<'_>) -> Result<&'s Run, Answer> {
    let repository = call.repository(state)?.id;
    let id: RunId = call.number("run_id")?;
    let run = state.actions.runs.get(&id).filter(|run| run.repository == repository);
    run.ok_or_else(Answer::not_found)
}

pub(super) fn one(state: &mut State, call: &Call<'_>) -> Outcome {
    let run = named(state, call)?;
    Ok(Answer::json(200, shape(state, &call.base, run)))
}

pub(super) fn cancel(state: &mut State, call: &Call<'_>) -> Outcome {
    let run = named(state, call)?;
    let id = run.id;
    if run.progress == Progress::Completed {
        let message = "Cannot cancel a workflow run that is completed.";
        return Err(Answer::error(409, message, "/actions/workflow-runs#cancel-a-workflow-run"));
    }
    state.actions.cancelled.push(id);
    state.move_run(id, Progress::Completed, Some("cancelled")).map_err(|_| Answer::not_found())?;
    Ok(Answer::json(202, json!({})))
}

pub(super) fn jobs(state: &mut State, call: &Call<'_>) -> Outcome {
    let id = named(state, call)?.id;
    let jobs = state.actions.jobs_of(id);
    let path = call.path_by_id(&format!("/actions/runs/{id}/jobs"));
    call.wrapped_list("jobs", &jobs, &path, |job| job_shape(state, &call.base, job))
}

pub(super) fn job(state: &mut State, call: &Call<'_>) -> Outcome {
    let repository = call.repository(state)?.id;
    let id: JobId = call.number("job_id")?;
    let job = state.actions.jobs.get(&id).ok_or_else(Answer::not_found)?;
    let is_here = state.actions.runs.get(&job.run).is_some_and(|run| run.repository == repository);
    if !is_here {
        return Err(Answer::not_found());
    }
    Ok(Answer::json(200, job_shape(state, &call.base, job)))
}
