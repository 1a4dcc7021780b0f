//! The bodies of webhooks: what the description requires, and little more.

use serde_json::{Map, Value, json};

use super::Hook;
use crate::standin::{
    actions::Job,
    git::object::ObjectId,
    ids::{AccountId, JobId, RepositoryId, RunId},
    rest::shapes,
    rest::{check_run_shape, hook_shape, job_shape, run_shape, workflow_shape},
    results::CheckRun,
    state::State,
};

const NOTHING: &str = "0000000000000000000000000000000000000000";

fn repository(state: &State, id: RepositoryId) -> Value {
    let of = state.repositories.get(&id);
    of.map_or(Value::Null, |of| shapes::repository(state, &state.base, None, of))
}

fn account(state: &State, id: Option<AccountId>, owner_of: RepositoryId) -> Value {
    let id = id.or_else(|| state.repositories.get(&owner_of).map(|of| of.owner));
    let found = id.and_then(|id| state.accounts.get(&id));
    found.map_or(Value::Null, |account| shapes::account(&state.base, account))
}

/// What a reference was and is; all zeros in bodies where it did not exist.
pub(crate) struct Moved<'a> {
    pub(crate) reference: &'a str,
    pub(crate) before: Option<ObjectId>,
    pub(crate) after: Option<ObjectId>,
    pub(crate) is_forced: bool,
    pub(crate) pusher: &'a str,
}

pub(crate) fn push(state: &State, id: RepositoryId, moved: &Moved<'_>) -> Value {
    let text = |id: Option<ObjectId>| id.map_or_else(|| NOTHING.to_owned(), |id| id.to_string());
    let of = state.repositories.get(&id);
    let page = of.map_or_else(String::new, |of| format!("{}/{}", state.base, state.full_name(of)));
    let head = moved.after.and_then(|id| {
        let peeled = state.objects.peeled(id)?;
        let mut shown = shapes::commit_summary(peeled, &state.objects.commit(peeled)?);
        shown["distinct"] = true.into();
        shown["url"] = format!("{page}/commit/{peeled}").into();
        for list in ["added", "removed", "modified"] {
            shown[list] = json!([]);
        }
        Some(shown)
    });
    let commits: Vec<&Value> = head.iter().collect();
    let pusher = state.account(moved.pusher).map(|account| account.id);
    json!({
        "ref": moved.reference, "before": text(moved.before), "after": text(moved.after),
        "created": moved.before.is_none(), "deleted": moved.after.is_none(), "forced": moved.is_forced,
        "base_ref": null,
        "compare": format!("{page}/compare/{:.12}...{:.12}", text(moved.before), text(moved.after)),
        "commits": commits, "head_commit": head, "repository": repository(state, id),
        "pusher": { "name": moved.pusher, "email": format!("{}@users.noreply.github.com", moved.pusher) },
        "sender": account(state, pusher, id),
    })
}

pub(crate) fn workflow_dispatch(
    state: &State,
    id: RepositoryId,
    workflow: &str,
    reference: &str,
    inputs: &Map<String, Value>,
    sender: Option<AccountId>,
) -> Value {
    json!({
        "inputs": inputs, "ref": reference, "workflow": workflow, "repository": repository(state, id),
        "sender": account(state, sender, id),
    })
}

pub(crate) fn workflow_run(state: &State, id: RunId, action: &str) -> Option<Value> {
    let run = state.actions.runs.get(&id)?;
    let workflow = state.actions.workflows.get(&run.workflow)?;
    let mut shown = run_shape(state, &state.base, run);
    if action == "requested" {
        shown["status"] = "queued".into();
    }
    Some(json!({
        "action": action, "workflow_run": shown,
        "workflow": workflow_shape(state, &state.base, workflow),
        "repository": repository(state, run.repository), "sender": account(state, run.actor, run.repository),
    }))
}

pub(crate) fn workflow_job(state: &State, id: JobId, action: &str) -> Option<Value> {
    let job: &Job = state.actions.jobs.get(&id)?;
    let run = state.actions.runs.get(&job.run)?;
    let mut shown = job_shape(state, &state.base, job);
    if action == "in_progress" {
        // the description wants at least one step of a job that runs
        shown["steps"] = json!([{
            "name": "Set up job", "status": "in_progress", "conclusion": null, "number": 1,
            "started_at": shown["started_at"], "completed_at": null,
        }]);
    }
    Some(json!({
        "action": action, "workflow_job": shown,
        "repository": repository(state, run.repository), "sender": account(state, run.actor, run.repository),
    }))
}

pub(crate) fn check_run(state: &State, run: &CheckRun, action: &str) -> Value {
    let mut shown = check_run_shape(state, &state.base, run);
    let full_name =
        state.repositories.get(&run.repository).map_or_else(String::new, |of| state.full_name(of));
    let suite = shown["check_suite"]["id"].clone();
    let suite_number = suite.as_u64().unwrap_or_default();
    shown["check_suite"] = json!({
        "id": suite, "node_id": shapes::node_id("CS", suite_number), "head_branch": null,
        "head_sha": run.sha, "status": run.status, "conclusion": run.conclusion, "before": null,
        "after": run.sha, "pull_requests": [], "app": shown["app"],
        "url": format!("{}/repos/{full_name}/check-suites/{suite}", state.base),
        "created_at": shown["started_at"], "updated_at": shown["started_at"],
    });
    json!({
        "action": action, "check_run": shown, "repository": repository(state, run.repository),
        "sender": account(state, None, run.repository),
    })
}

pub(crate) fn ping(state: &State, hook: &Hook) -> Value {
    json!({
        "zen": "Keep it logically awesome.", "hook_id": hook.id.0, "hook": hook_shape(state, &state.base, hook),
        "repository": repository(state, hook.repository), "sender": account(state, None, hook.repository),
    })
}
