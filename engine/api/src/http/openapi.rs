//! The OpenAPI 3.1 document, from the table of operations and the schemas of the tools.

use std::sync::LazyLock;

use axum::Json;
use axum::http::Method;
use serde_json::{Map, Value, json};

use super::operations::{OPERATIONS, Operation};
use crate::tools::{self, Tool};

static DOCUMENT: LazyLock<Value> = LazyLock::new(made);

pub(super) async fn document() -> Json<Value> {
    Json(DOCUMENT.clone())
}

fn problem() -> Value {
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail", "kind", "candidates"],
        "properties": {
            "type": { "type": "string", "description": "urn:wfengine:problem: and the kind" },
            "title": { "type": "string", "description": "The status in words" },
            "status": { "type": "integer", "description": "The HTTP status" },
            "detail": { "type": "string", "description": "What, where, what to do" },
            "kind": { "type": "string", "description": "One word for programs: bad_input, unknown, conflict, refused, busy and the like" },
            "candidates": {
                "type": "array", "items": { "type": "string" }, "description": "Ids or words that may have been meant",
            },
        },
    })
}

const PROBLEMS: [(&str, &str); 12] = [
    ("400", "What was given is wrong"),
    ("401", "A token is needed, or it is another node's"),
    ("403", "The rules refuse it"),
    ("404", "What was named is not known here"),
    ("405", "There is no such operation"),
    ("408", "The request took too long to arrive"),
    ("409", "It is in a state that does not allow this"),
    ("413", "The body is too large"),
    ("421", "The request was sent to a name that is not this node's"),
    ("429", "Too much is asked at once"),
    ("500", "It failed; the log may say why"),
    ("503", "Another node, GitHub or the engine is needed and not there"),
];

fn responses(schema: &Value) -> Value {
    let mut all = Map::new();
    all.insert(
        "200".to_owned(),
        json!({ "description": "It is as asked", "content": { "application/json": { "schema": schema } } }),
    );
    for (status, what) in PROBLEMS {
        let content =
            json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
        all.insert(status.to_owned(), json!({ "description": what, "content": content }));
    }
    Value::Object(all)
}

fn names_in(path: &str) -> Vec<&str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect()
}

/// Names within the whole document: two paths may lead to one tool.
fn operation_id(operation: &Operation) -> String {
    let words: Vec<&str> = operation.path.split(['/', '{', '}']).filter(|word| !word.is_empty()).collect();
    format!("{}_{}", operation.method.as_str().to_ascii_lowercase(), words.join("_"))
}

fn described(operation: &Operation, tool: &Tool) -> Value {
    let empty = Map::new();
    let properties = tool.input.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let required: Vec<&str> = tool
        .input
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let in_path = names_in(operation.path);
    let mut parameters: Vec<Value> = Vec::new();
    for name in &in_path {
        // a path has no nulls
        let mut schema = json!({ "type": "string", "minLength": 1 });
        if let Some(text) = properties.get(*name).and_then(|schema| schema.get("description")) {
            schema["description"] = text.clone();
        }
        parameters.push(json!({ "name": name, "in": "path", "required": true, "schema": schema }));
    }
    let rest = properties.iter().filter(|(name, _)| !in_path.contains(&name.as_str()));
    let mut described = json!({
        "operationId": operation_id(operation),
        "summary": tool.description,
        "tags": [operation.path.split('/').nth(1).unwrap_or_default()],
        "responses": responses(&Value::Object((*tool.output).clone())),
    });
    if operation.method == Method::GET {
        parameters.extend(rest.map(|(name, schema)| {
            json!({ "name": name, "in": "query", "required": required.contains(&name.as_str()), "schema": schema })
        }));
    } else {
        let body: Map<String, Value> = rest.map(|(name, schema)| (name.clone(), schema.clone())).collect();
        let needed: Vec<&&str> = required.iter().filter(|name| body.contains_key(**name)).collect();
        let is_needed = !needed.is_empty();
        let schema = json!({
            "type": "object", "properties": body, "required": needed, "additionalProperties": false,
        });
        described["requestBody"] =
            json!({ "required": is_needed, "content": { "application/json": { "schema": schema } } });
        if tool.name == "submit_workflow" {
            parameters.push(json!({
                "name": "Idempotency-Key", "in": "header", "required": false,
                "schema": { "type": "string", "minLength": 1, "maxLength": 200 },
                "description": "Submits once under this key, on this node and everywhere; the same as an id",
            }));
        }
    }
    described["parameters"] = Value::Array(parameters);
    described
}

fn made() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in OPERATIONS {
        let Ok(tool) = tools::find(operation.tool) else { continue };
        let entry = paths.entry(format!("/api/v1{}", operation.path)).or_insert_with(|| json!({}));
        entry[operation.method.as_str().to_ascii_lowercase()] = described(operation, tool);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "wfengine",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A node of a leaderless workflow engine. Everything that a tool can do is also at POST /api/v1/tools/NAME; live streams are at /api/v1/live/events and /api/v1/live/runs/{id} as server-sent events.",
        },
        "paths": paths,
        "components": {
            "schemas": { "Problem": problem() },
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
        "security": [{ "token": [] }],
    })
}
