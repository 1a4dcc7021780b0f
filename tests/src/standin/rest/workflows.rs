//! Workflow files of a repository: list, look, switch, dispatch.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use wfengine_workflow::{InputError, resolve_inputs};

use super::shapes::{node_id, web};
use crate::standin::{
    actions::{Cause, WorkflowFile},
    answer::{Answer, Outcome},
    call::Call,
    clock::iso,
    git::GitRepository,
    log::Dispatched,
    request::encoded,
    state::State,
    webhooks::payload,
};

const DOCS: &str = "/actions/workflows#create-a-workflow-dispatch-event";
const INPUTS_MAX: usize = 25;

pub(crate) fn shape(state: &State, base: &str, file: &WorkflowFile) -> Value {
    let full_name = state
        .repositories
        .get(&file.repository)
        .map_or_else(String::new, |repository| state.full_name(repository));
    let head = state.repositories.get(&file.repository).map_or("main", |repository| repository.git.head());
    let page = format!("{}/{full_name}", web(base));
    json!({
        "id": file.id.0,
        "node_id": node_id("W", file.id.0),
        "name": file.name,
        "path": file.path,
        "state": if file.is_disabled { "disabled_manually" } else { "active" },
        "created_at": iso(file.created_at),
        "updated_at": iso(file.created_at),
        "url": format!("{base}/repos/{full_name}/actions/workflows/{}", file.id),
        "html_url": format!("{page}/blob/{}/{}", encoded(head), encoded(&file.path)),
        "badge_url": format!("{page}/workflows/{}/badge.svg", encoded(&file.name)),
    })
}

pub(super) fn list(state: &mut State, call: &Call<'_>) -> Outcome {
    let repository = call.repository(state)?.id;
    let files = state.workflows_of(repository);
    let path = call.path_by_id("/actions/workflows");
    call.wrapped_list("workflows", &files, &path, |file| shape(state, &call.base, file))
}

/// The workflow that a path names by number or by file name.
pub(super) fn named(state: &mut State, call: &Call<'_>) -> Result<WorkflowFile, Answer> {
    let repository = call.repository(state)?.id;
    let name = call.parameter("workflow_id");
    let files = state.workflows_of(repository);
    let is_named = |file: &&WorkflowFile| match name.parse::<u64>() {
        Ok(id) => file.id.0 == id,
        Err(_) => file.path == name || file.path.rsplit('/').next() == Some(name),
    };
    files.iter().find(is_named).cloned().ok_or_else(Answer::not_found)
}

pub(super) fn one(state: &mut State, call: &Call<'_>) -> Outcome {
    let file = named(state, call)?;
    Ok(Answer::json(200, shape(state, &call.base, &file)))
}

pub(super) fn disable(state: &mut State, call: &Call<'_>) -> Outcome {
    switch(state, call, true)
}

pub(super) fn enable(state: &mut State, call: &Call<'_>) -> Outcome {
    switch(state, call, false)
}

fn switch(state: &mut State, call: &Call<'_>, is_disabled: bool) -> Outcome {
    let id = named(state, call)?.id;
    if let Some(file) = state.actions.workflows.get_mut(&id) {
        file.is_disabled = is_disabled;
    }
    Ok(Answer::empty(204))
}

/// What a dispatch asks for.
#[derive(Deserialize)]
struct Wanted {
    r#ref: Option<String>,
    #[serde(default)]
    inputs: Map<String, Value>,
    #[serde(default)]
    return_run_details: bool,
}

pub(super) fn dispatch(state: &mut State, call: &Call<'_>) -> Outcome {
    let refused = |message: &str| Answer::error(422, message, DOCS);
    let wanted: Wanted = call.body()?;
    let reference = wanted.r#ref.ok_or_else(|| refused("Invalid request.\n\n\"ref\" wasn't supplied."))?;
    if wanted.inputs.len() > INPUTS_MAX {
        return Err(refused(&format!(
            "Invalid request.\n\nNo more than {INPUTS_MAX} properties are allowed."
        )));
    }
    let file = named(state, call)?;
    if file.is_disabled {
        return Err(refused("Cannot trigger a 'workflow_dispatch' on a disabled workflow"));
    }
    let repository = call.repository(state)?;
    let (name, sha) = named_reference(&repository.git, &reference)
        .and_then(|(name, id)| Some((name, state.objects.peeled(id)?)))
        .ok_or_else(|| refused(&format!("No ref found for: {reference}")))?;
    let (id, full_name) = (repository.id, state.full_name(repository));
    let no_trigger = || refused("Workflow does not have 'workflow_dispatch' trigger");
    let workflow = state.workflow_at(id, sha, &file.path).ok_or_else(no_trigger)?;
    let is_for_peers_only = state.text_at(sha, &file.path).is_some_and(|text| text.contains("p2p-only"));
    if !workflow.triggers.iter().any(|trigger| trigger.event == "workflow_dispatch") {
        return Err(no_trigger());
    }
    let given: BTreeMap<String, Value> =
        wanted.inputs.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    resolve_inputs(&workflow, &given).map_err(|error| refused(&input_message(&error)))?;

    let actor = call.identity.user();
    let cause = Cause { event: "workflow_dispatch", head: &name, actor };
    let body = payload::workflow_dispatch(state, id, &file.path, &reference, &wanted.inputs, actor);
    state.emit(id, "workflow_dispatch", None, body);
    let run = state.start_run(id, file.id, &workflow, sha, &cause).ok_or_else(no_trigger)?;
    state.dispatched.push(Dispatched {
        at: state.now(),
        repository: full_name.clone(),
        workflow: file.path,
        reference,
        inputs: Value::Object(wanted.inputs),
        run,
        is_for_peers_only,
    });
    if !wanted.return_run_details {
        return Ok(Answer::empty(204));
    }
    let body = json!({
        "workflow_run_id": run.0,
        "run_url": format!("{}/repos/{full_name}/actions/runs/{run}", call.base),
        "html_url": format!("{}/{full_name}/actions/runs/{run}", web(&call.base)),
    });
    Ok(Answer::json(200, body))
}

/// A branch or tag, by its short or full name; never a commit.
fn named_reference(
    git: &GitRepository,
    reference: &str,
) -> Option<(String, crate::standin::git::object::ObjectId)> {
    let short =
        reference.trim_start_matches("refs/").trim_start_matches("heads/").trim_start_matches("tags/");
    let names = [reference.to_owned(), format!("refs/heads/{reference}"), format!("refs/tags/{reference}")];
    names.iter().find_map(|name| git.reference(name)).map(|id| (short.to_owned(), id))
}

fn input_message(error: &InputError) -> String {
    match error {
        InputError::Unknown { name, .. } => format!("Unexpected inputs provided: [\"{name}\"]"),
        InputError::Missing { name, .. } => format!("Required input '{name}' not provided"),
        InputError::WrongType { name, value, .. } => {
            format!("Provided value '{value}' for input '{name}' not in the list of allowed values")
        }
        InputError::TooMany(_) | InputError::Default { .. } => error.to_string(),
    }
}
