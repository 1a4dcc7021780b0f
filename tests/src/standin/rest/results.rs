//! Commit statuses and check runs.

use serde::Deserialize;
use serde_json::{Value, json};

use super::shapes::{self, node_id, web};
use crate::standin::{
    accounts::Grant,
    answer::{Answer, Outcome},
    call::Call,
    clock::iso,
    git::object::ObjectId,
    ids::CheckRunId,
    results::{CheckRun, CommitStatus},
    state::State,
    webhooks::payload,
};

/// GitHub takes no more statuses for one commit and context.
const STATUSES_MAX: usize = 1_000;

fn status_shape(state: &State, base: &str, status: &CommitStatus) -> Value {
    let repository = state.repositories.get(&status.repository);
    let full_name = repository.map_or_else(String::new, |repository| state.full_name(repository));
    let creator = status.creator.and_then(|id| state.accounts.get(&id));
    let creator = creator.map_or(Value::Null, |creator| shapes::account(base, creator));
    json!({
        "url": format!("{base}/repos/{full_name}/statuses/{}", status.sha),
        "avatar_url": creator["avatar_url"], "id": status.id.0, "node_id": node_id("SC", status.id.0),
        "state": status.state, "description": status.description, "target_url": status.target_url,
        "context": status.context, "created_at": iso(status.at), "updated_at": iso(status.at),
        "creator": creator,
    })
}

/// A status to be set.
#[derive(Deserialize)]
struct NewStatus {
    state: Option<String>,
    target_url: Option<String>,
    description: Option<String>,
    context: Option<String>,
}

pub(super) fn create_status(state: &mut State, call: &Call<'_>) -> Outcome {
    let wanted: NewStatus = call.body()?;
    let invalid = |field: &str, code: &str| Answer::validation_failed("Status", field, code);
    let is_state = |text: &String| ["error", "failure", "pending", "success"].contains(&text.as_str());
    let new_state = wanted.state.filter(is_state).ok_or_else(|| invalid("state", "custom"))?;
    if wanted.description.as_ref().is_some_and(|text| text.chars().count() > 140) {
        return Err(invalid("description", "custom"));
    }
    let repository = call.repository(state)?;
    let sha = call.parameter("sha");
    let id = sha.parse::<ObjectId>().ok().filter(|id| repository.git.owns(*id));
    if id.and_then(|id| state.objects.commit(id)).is_none() {
        return Err(Answer::error(422, &format!("No commit found for SHA: {sha}"), "/commits/statuses"));
    }
    let (repository, context) = (repository.id, wanted.context.unwrap_or_else(|| "default".to_owned()));
    let earlier = state.results.of_commit(repository, sha).filter(|status| status.context == context).count();
    if earlier >= STATUSES_MAX {
        return Err(Answer::validation_failed("Status", "base", "custom"));
    }
    let status = CommitStatus {
        id: state.ids.status(),
        repository,
        sha: sha.to_owned(),
        state: new_state,
        context,
        description: wanted.description,
        target_url: wanted.target_url,
        creator: call.identity.user(),
        at: state.now(),
    };
    let body = status_shape(state, &call.base, &status);
    state.results.statuses.push(status);
    let location = body["url"].as_str().unwrap_or_default().to_owned();
    Ok(Answer::json(201, body).with("location", location))
}

fn commit_named(state: &State, call: &Call<'_>) -> Result<ObjectId, Answer> {
    let repository = call.repository(state)?;
    let name = call.parameter("ref");
    let found = repository.git.resolve(&state.objects, name);
    found.ok_or_else(|| Answer::error(404, &format!("No commit found for SHA: {name}"), "/commits/statuses"))
}

pub(super) fn statuses(state: &mut State, call: &Call<'_>) -> Outcome {
    let sha = commit_named(state, call)?.to_string();
    let repository = call.repository(state)?.id;
    let statuses: Vec<&CommitStatus> = state.results.of_commit(repository, &sha).collect();
    let path = call.path_by_id(&format!("/commits/{sha}/statuses"));
    call.list(&statuses, &path, |status| status_shape(state, &call.base, status))
}

pub(super) fn combined_status(state: &mut State, call: &Call<'_>) -> Outcome {
    let sha = commit_named(state, call)?.to_string();
    let repository = call.repository(state)?;
    let latest = state.results.latest(repository.id, &sha);
    let has = |wanted: &[&str]| latest.iter().any(|status| wanted.contains(&status.state.as_str()));
    let combined = match (latest.is_empty(), has(&["error", "failure"]), has(&["pending"])) {
        (true, ..) => "pending",
        (false, true, _) => "failure",
        (false, false, true) => "pending",
        (false, false, false) => "success",
    };
    let path = call.path_by_id(&format!("/commits/{sha}/status"));
    let (shown, links) = call.page(&latest, &path);
    let url = format!("{}/repos/{}", call.base, state.full_name(repository));
    let body = json!({
        "state": combined,
        "statuses": shown.iter().map(|status| status_shape(state, &call.base, status)).collect::<Value>(),
        "sha": sha, "total_count": latest.len(),
        "repository": shapes::repository_link(state, &call.base, repository),
        "commit_url": format!("{url}/commits/{sha}"), "url": format!("{url}/commits/{sha}/status"),
    });
    let answer = Answer::json(200, body);
    Ok(match links {
        Some(links) => answer.with("link", links),
        None => answer,
    })
}

/// `check-run`, with what webhooks want besides.
pub(crate) fn check_run_shape(state: &State, base: &str, run: &CheckRun) -> Value {
    let repository = state.repositories.get(&run.repository);
    let full_name = repository.map_or_else(String::new, |repository| state.full_name(repository));
    let url = format!("{base}/repos/{full_name}/check-runs/{}", run.id);
    let page = format!("{}/{full_name}/runs/{}", web(base), run.id);
    let owner = state.installations.get(&run.installation).and_then(|at| state.accounts.get(&at.owner));
    let app = json!({
        "id": 1, "slug": "wfengine", "node_id": node_id("A", 1), "name": "wfengine", "description": null,
        "owner": owner.map_or(Value::Null, |owner| shapes::account(base, owner)),
        "external_url": format!("{}/apps/wfengine", web(base)),
        "html_url": format!("{}/apps/wfengine", web(base)),
        "created_at": iso(0), "updated_at": iso(0), "permissions": { "checks": "write" }, "events": [],
    });
    let suite = run.id.0 + 1;
    let output = |field: &str| run.output.get(field).cloned().unwrap_or(Value::Null);
    let annotations = run.output["annotations"].as_array().map_or(0, Vec::len);
    json!({
        "id": run.id.0, "node_id": node_id("CR", run.id.0), "head_sha": run.sha, "name": run.name,
        "url": url, "html_url": page, "details_url": run.details_url.clone().unwrap_or(page),
        "external_id": run.external_id.clone().unwrap_or_default(),
        "status": run.status, "conclusion": run.conclusion,
        "started_at": run.started_at, "completed_at": run.completed_at,
        "output": {
            "title": output("title"), "summary": output("summary"), "text": output("text"),
            "annotations_count": annotations, "annotations_url": format!("{url}/annotations"),
        },
        "check_suite": { "id": suite },
        "app": app, "pull_requests": [],
    })
}

/// A check run to be made, or what changes of one.
#[derive(Deserialize)]
struct Given {
    name: Option<String>,
    head_sha: Option<String>,
    status: Option<String>,
    conclusion: Option<String>,
    external_id: Option<String>,
    details_url: Option<String>,
    started_at: Option<String>,
    completed_at: Option<String>,
    output: Option<Value>,
}

impl Given {
    fn apply(self, run: &mut CheckRun, now: &str) {
        run.name = self.name.unwrap_or_else(|| run.name.clone());
        run.external_id = self.external_id.or(run.external_id.take());
        run.details_url = self.details_url.or(run.details_url.take());
        run.started_at = self.started_at.or(run.started_at.take());
        if let Some(status) = self.status {
            run.status = status;
        }
        if let Some(output) = self.output {
            run.output = output;
        }
        if self.conclusion.is_some() || self.completed_at.is_some() {
            run.conclusion = self.conclusion.or(run.conclusion.take());
            run.completed_at = self.completed_at.or_else(|| Some(now.to_owned()));
            "completed".clone_into(&mut run.status);
        } else if run.status != "completed" {
            run.conclusion = None;
            run.completed_at = None;
        }
    }
}

pub(super) fn create_check_run(state: &mut State, call: &Call<'_>) -> Outcome {
    let Grant::Installation { id: installation, .. } = call.identity.grant else {
        return Err(Answer::error(403, "You must authenticate via a GitHub App.", "/checks/runs"));
    };
    let given: Given = call.body()?;
    let missing =
        |field: &str| Answer::unprocessable(&format!("Invalid request.\n\n\"{field}\" wasn't supplied."));
    let name = given.name.clone().ok_or_else(|| missing("name"))?;
    let sha = given.head_sha.clone().ok_or_else(|| missing("head_sha"))?;
    if given.status.as_deref() == Some("completed") && given.conclusion.is_none() {
        return Err(missing("conclusion"));
    }
    let repository = call.repository(state)?;
    let id = sha.parse::<ObjectId>().ok().filter(|id| repository.git.owns(*id));
    if id.and_then(|id| state.objects.commit(id)).is_none() {
        return Err(Answer::error(422, &format!("No commit found for SHA: {sha}"), "/checks/runs"));
    }
    let repository = repository.id;
    let now = iso(state.now());
    let mut run = CheckRun {
        id: state.ids.check_run(),
        repository,
        installation,
        sha,
        name,
        status: "queued".to_owned(),
        conclusion: None,
        external_id: None,
        details_url: None,
        started_at: Some(now.clone()),
        completed_at: None,
        output: json!({}),
    };
    given.apply(&mut run, &now);
    let body = check_run_shape(state, &call.base, &run);
    let action = if run.status == "completed" { "completed" } else { "created" };
    let told = payload::check_run(state, &run, action);
    state.results.check_runs.insert(run.id, run);
    state.emit(repository, "check_run", Some(action), told);
    let location = body["url"].as_str().unwrap_or_default().to_owned();
    Ok(Answer::json(201, body).with("location", location))
}

fn check_run_named(state: &State, call: &Call<'_>) -> Result<CheckRun, Answer> {
    let repository = call.repository(state)?.id;
    let id: CheckRunId = call.number("check_run_id")?;
    let run = state.results.check_runs.get(&id).filter(|run| run.repository == repository);
    run.cloned().ok_or_else(Answer::not_found)
}

pub(super) fn check_run(state: &mut State, call: &Call<'_>) -> Outcome {
    let run = check_run_named(state, call)?;
    Ok(Answer::json(200, check_run_shape(state, &call.base, &run)))
}

pub(super) fn update_check_run(state: &mut State, call: &Call<'_>) -> Outcome {
    let mut run = check_run_named(state, call)?;
    let is_own = matches!(call.identity.grant, Grant::Installation { id, .. } if id == run.installation);
    if !is_own {
        return Err(Answer::error(
            403,
            "Invalid app_id `1` - check run can only be modified by the GitHub App that created it.",
            "/checks/runs",
        ));
    }
    let given: Given = call.body()?;
    let was_completed = run.status == "completed";
    given.apply(&mut run, &iso(state.now()));
    let body = check_run_shape(state, &call.base, &run);
    if run.status == "completed" && !was_completed {
        let told = payload::check_run(state, &run, "completed");
        state.emit(run.repository, "check_run", Some("completed"), told);
    }
    state.results.check_runs.insert(run.id, run);
    Ok(Answer::json(200, body))
}
