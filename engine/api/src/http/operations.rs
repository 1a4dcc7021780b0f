//! The REST interface: one table from which the routes, the rights and the OpenAPI document are made.
//!
//! An operation is a tool: its path and its query or body together are the tool's arguments.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::access::Passed;
use super::{Place, Shared, problem};
use crate::failure::Failure;
use crate::tools::{self, Context, Effect, Files, Object, Tool};

/// What a token has to open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    /// Everything.
    All,
    /// Submissions.
    Submits,
    /// Submissions, as far as what is sent is one.
    SubmitsIfSent,
}

/// One operation.
pub(super) struct Operation {
    pub(super) method: Method,
    /// Below `/api/v1`, with the names of arguments in braces.
    pub(super) path: &'static str,
    pub(super) tool: &'static str,
    pub(super) access: Access,
}

const fn reads(path: &'static str, tool: &'static str) -> Operation {
    Operation { method: Method::GET, path, tool, access: Access::All }
}

const fn does(path: &'static str, tool: &'static str) -> Operation {
    Operation { method: Method::POST, path, tool, access: Access::All }
}

const fn submits(path: &'static str, tool: &'static str) -> Operation {
    Operation { method: Method::POST, path, tool, access: Access::Submits }
}

pub(super) const OPERATIONS: &[Operation] = &[
    reads("/status", "node_status"),
    reads("/clock", "p2p_get_merkle_clock"),
    reads("/peers", "list_peers"),
    reads("/tags", "get_workflow_tags"),
    reads("/runs", "list_runs"),
    submits("/runs", "submit_workflow"),
    reads("/runs/{id}", "get_run"),
    does("/runs/{id}/cancel", "cancel_run"),
    does("/runs/{id}/rerun", "rerun"),
    does("/runs/{id}/priority", "set_run_priority"),
    reads("/runs/{id}/logs", "get_run_logs"),
    reads("/runs/{id}/why", "why"),
    reads("/runs/{run}/events", "replay"),
    reads("/events", "replay"),
    reads("/owners", "owner"),
    reads("/conflicts", "list_conflicts"),
    submits("/tasks", "submit_task"),
    does("/tasks/next", "take_task"),
    does("/tasks/{id}/complete", "complete_task"),
    does("/tasks/{id}/fail", "fail_task"),
    does("/tasks/{id}/release", "release_task"),
    does("/tasks/{id}/extend", "extend_task"),
    reads("/workflows", "list_discovered"),
    does("/workflows/discover", "discover_workflows"),
    reads("/runners", "runner_get_status"),
    reads("/runners/queues", "runner_list_workflows"),
    reads("/runners/containers", "runner_list_containers"),
    does("/runners/start", "runner_start_autoscaler"),
    does("/runners/stop", "runner_stop_autoscaler"),
    does("/runners/provision", "runner_provision_for_workflow"),
    does("/runners/containers/{container}/stop", "runner_stop_container"),
];

/// Tools that only submit. Those of two older dialects that do so too tell of the queue or of who holds what.
const SUBMITTING: [&str; 3] = ["submit_workflow", "submit_task", "p2p_submit_task"];

/// What a request needs.
pub(super) fn access(method: &Method, path: &str) -> Access {
    let Some(path) = path.strip_prefix("/api/v1") else { return Access::All };
    if path == "/control" {
        return Access::SubmitsIfSent;
    }
    if let Some(tool) = path.strip_prefix("/tools/") {
        let submits = method == Method::POST && SUBMITTING.contains(&tool);
        return if submits { Access::Submits } else { Access::All };
    }
    let found = OPERATIONS.iter().find(|known| known.method == *method && known.path == path);
    found.map_or(Access::All, |found| found.access)
}

pub(super) fn routes(mut router: Router<Shared>) -> Router<Shared> {
    for operation in OPERATIONS {
        let path = format!("/api/v1{}", operation.path);
        router = if operation.method == Method::GET {
            let answer = move |State(shared): State<Shared>,
                               Extension(passed): Extension<Passed>,
                               Path(path): Path<HashMap<String, String>>,
                               query: RawQuery| async move {
                let tool = tools::find(operation.tool);
                let arguments = tool.and_then(|tool| Ok((tool, queried(tool, &path, query.0.as_deref())?)));
                answered(&shared, passed, arguments).await
            };
            router.route(&path, get(answer))
        } else {
            let answer = move |State(shared): State<Shared>,
                               Extension(passed): Extension<Passed>,
                               Path(path): Path<HashMap<String, String>>,
                               headers: HeaderMap,
                               body: Bytes| async move {
                let tool = tools::find(operation.tool);
                let arguments = tool.and_then(|tool| Ok((tool, sent(tool, &path, &headers, &body)?)));
                answered(&shared, passed, arguments).await
            };
            router.route(&path, post(answer))
        };
    }
    let named = |State(shared): State<Shared>,
                 Extension(passed): Extension<Passed>,
                 Extension(place): Extension<Arc<Place>>,
                 Path(name): Path<String>,
                 headers: HeaderMap,
                 body: Bytes| async move {
        let tool = tools::find(&name);
        let arguments = tool.and_then(|tool| {
            let arguments = sent(tool, &HashMap::new(), &headers, &body)?;
            if tool.waits {
                place.waits()?;
            }
            Ok((tool, arguments))
        });
        answered(&shared, passed, arguments).await
    };
    router.route("/api/v1/tools", get(listed)).route("/api/v1/tools/{name}", post(named))
}

async fn listed() -> Json<Value> {
    let of = |tool: &Tool| {
        json!({
            "name": tool.name,
            "description": tool.description,
            "input_schema": &*tool.input,
            "output_schema": &*tool.output,
            "reads_only": tool.effect == Effect::Reads,
        })
    };
    Json(json!({ "tools": tools::all().iter().map(of).collect::<Vec<_>>() }))
}

async fn answered(
    shared: &Shared,
    passed: Passed,
    call: Result<(&'static Tool, Object), Failure>,
) -> Response {
    let context = Context {
        handlers: shared.handlers.clone(),
        progress: None,
        files: Files::Sent,
        actor: "http".to_owned(),
    };
    let outcome = match call {
        Ok((tool, arguments)) => tool.call(context, arguments).await,
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(value) => {
            let mut response = (StatusCode::OK, Json(passed.may_see(value))).into_response();
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(failure) => problem::of(&failure),
    }
}

fn property<'t>(tool: &'t Tool, name: &str) -> Option<&'t Value> {
    tool.input.get("properties")?.get(name)
}

/// The types that a schema allows.
pub(super) fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// A text of a path or query as the schema has it.
fn typed(name: &str, text: &str, schema: &Value) -> Result<Value, Failure> {
    let types = types(schema);
    let wrong = |expected: &str| Failure::bad_input(format!("{name}={text}: expected {expected}"));
    if types.contains(&"integer") {
        return text
            .parse::<u64>()
            .map(Value::from)
            .map_err(|_| wrong("a whole number that is not negative"));
    }
    if types.contains(&"number") {
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
        return number.map(Value::from).ok_or_else(|| wrong("a number"));
    }
    if types.contains(&"boolean") {
        return text.parse::<bool>().map(Value::from).map_err(|_| wrong("true or false"));
    }
    Ok(Value::String(text.to_owned()))
}

fn of_path(tool: &Tool, path: &HashMap<String, String>) -> Result<Object, Failure> {
    let mut arguments = Object::new();
    for (name, text) in path {
        let schema = property(tool, name).cloned().unwrap_or_default();
        arguments.insert(name.clone(), typed(name, text, &schema)?);
    }
    Ok(arguments)
}

fn queried(tool: &Tool, path: &HashMap<String, String>, query: Option<&str>) -> Result<Object, Failure> {
    let mut arguments = of_path(tool, path)?;
    for (name, text) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let Some(schema) = property(tool, &name) else {
            return Err(Failure::bad_input(format!("{name}: there is no such parameter")));
        };
        if path.contains_key(&*name) {
            return Err(Failure::bad_input(format!("{name} is in the path already")));
        }
        if types(schema).contains(&"array") {
            let items = schema.get("items").cloned().unwrap_or_default();
            let list = arguments.entry(name.to_string()).or_insert_with(|| json!([]));
            if let Value::Array(list) = list {
                list.push(typed(&name, &text, &items)?);
            }
        } else if arguments.insert(name.to_string(), typed(&name, &text, schema)?).is_some() {
            return Err(Failure::bad_input(format!("{name} is given twice")));
        }
    }
    Ok(arguments)
}

fn sent(
    tool: &Tool,
    path: &HashMap<String, String>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Object, Failure> {
    let mut arguments = of_path(tool, path)?;
    if !body.is_empty() {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        // a page of another site can send any other kind without asking first
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(Failure::bad_input(format!("content-type {kind:?}: expected application/json")));
        }
        let sent: Value =
            serde_json::from_slice(body).map_err(|error| Failure::bad_input(format!("the body: {error}")))?;
        let Value::Object(sent) = sent else {
            return Err(Failure::bad_input("the body: expected a JSON object"));
        };
        for (name, value) in sent {
            if path.contains_key(&name) {
                return Err(Failure::bad_input(format!("{name} is in the path already")));
            }
            arguments.insert(name, value);
        }
    }
    // one key, one submission: what is submitted under an id is submitted once, here and everywhere
    if let Some(key) = headers.get("idempotency-key")
        && tool.name == "submit_workflow"
        && arguments.get("id").is_none_or(Value::is_null)
    {
        let key = key.to_str().ok().filter(|key| (1..=200).contains(&key.len()));
        let key =
            key.ok_or_else(|| Failure::bad_input("idempotency-key: expected 1 to 200 visible characters"))?;
        arguments.insert("id".to_owned(), Value::from(format!("key:{key}")));
    }
    Ok(arguments)
}
