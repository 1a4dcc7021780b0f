//! Runs, their logs and the history as documents with addresses.

use rmcp::model::{ReadResourceResult, Resource, ResourceContents, ResourceTemplate};
use serde_json::{Value, json};

use crate::answers::{DigestView, RunsView};
use crate::failure::Failure;
use crate::request::{Listing, Request};
use crate::tools::{self, Context};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain";
/// Frames of the log that count as its latest; each holds some events.
const LATEST: u64 = 200;
/// Runs that are listed; all can be read.
const LISTED_MAX: usize = 100;

pub(super) async fn listed(context: &Context) -> Result<Vec<Resource>, Failure> {
    let mut found = vec![
        Resource::new("wfengine://status", "status").with_title("This node").with_mime_type(JSON),
        Resource::new("wfengine://history", "history")
            .with_title("The latest events of the log")
            .with_mime_type(JSON),
    ];
    let wanted = Listing { limit: LISTED_MAX, ..Listing::default() };
    let part: RunsView = context.ask(Request::List(wanted)).await?;
    found.extend(part.runs.iter().map(|run| {
        Resource::new(format!("wfengine://runs/{}", run.id), run.name.clone())
            .with_description(format!("{} of {}, {}", run.kind, run.submitted_by, run.status))
            .with_mime_type(JSON)
    }));
    Ok(found)
}

pub(super) fn templates() -> Vec<ResourceTemplate> {
    vec![
        ResourceTemplate::new("wfengine://runs/{id}", "run")
            .with_description("A run with its jobs; the id may be shortened to a unique beginning")
            .with_mime_type(JSON),
        ResourceTemplate::new("wfengine://runs/{id}/log", "log")
            .with_description("What a run has printed")
            .with_mime_type(TEXT),
        ResourceTemplate::new("wfengine://runs/{id}/history", "history")
            .with_description("The signed events of a run")
            .with_mime_type(JSON),
    ]
}

/// Whether a part of an address of this template names a run.
pub(super) fn names_run(template: &str, part: &str) -> Result<bool, Failure> {
    let known: Vec<String> = templates().into_iter().map(|known| known.uri_template.clone()).collect();
    if known.iter().any(|known| known == template) {
        return Ok(part == "id");
    }
    let mut failure = Failure::unknown(format!("{template}: there is no such template"));
    failure.candidates = known;
    Err(failure)
}

/// Ids of the listed runs that begin so, the newest first.
pub(super) async fn runs(context: &Context, begun: &str) -> Result<Vec<String>, Failure> {
    let ids = listed(context).await?.into_iter();
    let ids = ids.filter_map(|listed| Some(listed.uri.strip_prefix("wfengine://runs/")?.to_owned()));
    Ok(ids.filter(|id| id.starts_with(begun)).collect())
}

async fn call(context: &Context, tool: &str, arguments: Value) -> Result<Value, Failure> {
    let Value::Object(arguments) = arguments else { return Ok(Value::Null) };
    tools::find(tool)?.call(context.clone(), arguments).await
}

pub(super) async fn read(context: &Context, uri: &str) -> Result<ReadResourceResult, Failure> {
    let unknown = || Failure::unknown(format!("{uri}: there is no such resource"));
    let path = uri.strip_prefix("wfengine://").ok_or_else(unknown)?;
    let parts: Vec<&str> = path.split('/').collect();
    let document = match parts.as_slice() {
        ["status"] => call(context, "node_status", json!({})).await?,
        ["history"] => {
            let frames = context.ask::<DigestView>(Request::Digest).await?.frames;
            call(context, "replay", json!({ "from": frames.saturating_sub(LATEST), "limit": 1_000 })).await?
        }
        ["runs", id] => call(context, "get_run", json!({ "id": id })).await?,
        ["runs", id, "history"] => call(context, "replay", json!({ "run": id, "limit": 1_000 })).await?,
        ["runs", id, "log"] => {
            let logs = call(context, "get_run_logs", json!({ "id": id, "lines": 10_000 })).await?;
            let lines = logs["lines"].as_array().cloned().unwrap_or_default();
            let text: Vec<String> = lines
                .iter()
                .map(|line| {
                    let part = |name: &str| line[name].as_str().unwrap_or_default();
                    format!("{}: {}", part("job"), part("text"))
                })
                .collect();
            let contents = ResourceContents::text(text.join("\n"), uri).with_mime_type(TEXT);
            return Ok(ReadResourceResult::new(vec![contents]));
        }
        _ => return Err(unknown()),
    };
    let text = serde_json::to_string_pretty(&document).unwrap_or_default();
    Ok(ReadResourceResult::new(vec![ResourceContents::text(text, uri).with_mime_type(JSON)]))
}
