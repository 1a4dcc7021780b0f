//! What the older programs printed: JSON on several lines with the fields that their documents show first, and lines of text.
//!
//! Invariant: a text is made from the answer alone, so that the same answer always reads the same.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use wfengine_api::{Exit, Failure};

use crate::terminal;

/// Fields of the answers in the order in which the documents and programs show them; all others follow.
const FIRST: &[&str] = &[
    "success",
    "repo",
    "total_workflows",
    "running",
    "start_time",
    "iterations",
    "active_runners",
    "queued_workflows",
    "repositories_monitored",
    "last_check",
    "failed",
    "pending",
    "task",
    "task_id",
    "workflow_id",
    "name",
    "workflow_file",
    "inputs",
    "should_bypass_github",
    "is_p2p_only",
    "tags",
    "priority",
    "status",
    "created_at",
    "peer_id",
    "node_id",
    "vector",
    "merkle_root",
    "merkle_clock",
    "pending_tasks",
    "assigned_tasks",
    "completed_tasks",
    "queue_size",
    "known_peers",
];

/// The same for a runner's container, whose state comes before its name.
const FIRST_OF_CONTAINER: &[&str] = &["container_id", "repo", "status", "created_at"];

/// A value whose objects begin with what people look for.
struct Shown<'v>(&'v Value);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Array(items) => serializer.collect_seq(items.iter().map(Shown)),
            Value::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                let wanted = if fields.contains_key("container_id") { FIRST_OF_CONTAINER } else { FIRST };
                let first = wanted.iter().filter_map(|name| fields.get_key_value(*name));
                let others = fields.iter().filter(|(name, _)| !wanted.contains(&name.as_str()));
                for (name, value) in first.chain(others) {
                    map.serialize_entry(name, &Shown(value))?;
                }
                map.end()
            }
            plain => plain.serialize(serializer),
        }
    }
}

/// A JSON document on several lines.
pub(super) fn document(value: &Value) -> Result<Exit, Failure> {
    terminal::raw(&format!("{}\n", pretty(value)?));
    Ok(Exit::Success)
}

fn pretty(value: &Value) -> Result<String, Failure> {
    serde_json::to_string_pretty(&Shown(value))
        .map(|text| terminal::escaped(&text).into_owned())
        .map_err(|error| Failure::new(Exit::Failure, format!("BUG: an answer is no JSON: {error}")))
}

/// Lines on stdout.
pub(super) fn lines(lines: &[String]) -> Result<Exit, Failure> {
    lines.iter().for_each(|line| terminal::line(line));
    Ok(Exit::Success)
}

/// What a tool says of itself: the older command lines did not.
pub(super) fn bare(mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|name, _| !matches!(name.as_str(), "tool" | "timestamp"));
    }
    value
}

/// A part of an answer; null if it has none.
pub(super) fn part(value: &Value, name: &str) -> Value {
    value.get(name).cloned().unwrap_or_default()
}

/// A field as people read it.
pub(super) fn word(value: &Value, name: &str) -> String {
    match value.get(name) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(yes)) => if *yes { "Yes" } else { "No" }.to_owned(),
        Some(Value::Array(items)) => {
            let word = |item: &Value| item.as_str().map_or_else(|| item.to_string(), str::to_owned);
            items.iter().map(word).collect::<Vec<_>>().join(", ")
        }
        Some(other) => other.to_string(),
    }
}

/// `Label: value`, one for each field.
pub(super) fn labelled(value: &Value, fields: &[(&str, &str)]) -> Vec<String> {
    fields.iter().map(|(label, name)| format!("{label}: {}", word(value, name))).collect()
}

/// `p2p-workflow status`.
pub(super) fn scheduler_status(status: &Value) -> Vec<String> {
    let mut lines = labelled(
        status,
        &[
            ("Peer ID", "peer_id"),
            ("Pending Tasks", "pending_tasks"),
            ("Assigned Tasks", "assigned_tasks"),
            ("Completed Tasks", "completed_tasks"),
            ("Queue Size", "queue_size"),
            ("Known Peers", "known_peers"),
        ],
    );
    lines.extend(labelled(&part(status, "merkle_clock"), &[("Merkle Clock Hash", "merkle_root")]));
    lines
}

/// `p2p-workflow submit`.
pub(super) fn task_submitted(task: &Value) -> Vec<String> {
    labelled(task, &[("Task ID", "task_id"), ("Task Hash", "task_hash"), ("Priority", "priority")])
}

/// `p2p-workflow next`.
pub(super) fn task_taken(answer: &Value) -> Vec<String> {
    let task = part(answer, "task");
    if task.is_null() {
        return vec![word(answer, "message")];
    }
    labelled(
        &task,
        &[
            ("Task ID", "task_id"),
            ("Workflow ID", "workflow_id"),
            ("Name", "name"),
            ("Tags", "tags"),
            ("Priority", "priority"),
            ("Task Hash", "task_hash"),
            ("Assigned Peer", "assigned_peer"),
        ],
    )
}

/// The same as JSON: with a task there is no message.
pub(super) fn task_document(answer: &Value) -> Value {
    let task = part(answer, "task");
    if task.is_null() {
        return serde_json::json!({ "task": null, "message": part(answer, "message") });
    }
    serde_json::json!({ "task": task })
}

/// `p2p-workflow check-tags`.
pub(super) fn tags_checked(answer: &Value) -> Vec<String> {
    labelled(answer, &[("Should Bypass GitHub", "should_bypass_github"), ("P2P Only", "is_p2p_only")])
}

/// `p2p-workflow clock`.
pub(super) fn vector_clock(clock: &Value) -> Vec<String> {
    let mut lines = labelled(clock, &[("Node ID", "node_id"), ("Merkle Root", "merkle_root")]);
    lines.push("Vector:".to_owned());
    let vector = part(clock, "vector");
    let authors = vector.as_object().into_iter().flatten();
    lines.extend(authors.map(|(author, events)| format!("  {author}: {events}")));
    lines
}

/// `p2p status` and `p2p init` of the datasets program.
pub(super) fn counter_status(status: &Value) -> Vec<String> {
    let mut lines = labelled(status, &[("Peer ID", "peer_id"), ("Peers", "num_peers")]);
    let clock = part(status, "clock");
    lines.extend(labelled(&clock, &[("Clock Counter", "counter"), ("Clock Hash", "hash")]));
    lines.extend(labelled(
        status,
        &[
            ("Queue Size", "queue_size"),
            ("Assigned Workflows", "assigned_workflows"),
            ("Total Workflows", "total_workflows"),
        ],
    ));
    lines
}

/// `p2p schedule`, where it was not refused.
pub(super) fn scheduled(result: &Value) -> Vec<String> {
    let mut lines = labelled(
        result,
        &[("Workflow ID", "workflow_id"), ("Assigned Peer", "assigned_peer"), ("Local", "is_local")],
    );
    if result.get("is_local") == Some(&Value::Bool(true)) {
        lines.extend(labelled(result, &[("Queue Size", "queue_size")]));
    }
    lines.extend(labelled(result, &[("Clock Hash", "clock_hash")]));
    lines
}

/// `p2p next` of the datasets program.
pub(super) fn workflow_taken(answer: &Value) -> Vec<String> {
    let workflow = part(answer, "workflow");
    if workflow.is_null() {
        return vec![word(answer, "message")];
    }
    labelled(
        &workflow,
        &[
            ("Workflow ID", "workflow_id"),
            ("Name", "name"),
            ("Tags", "tags"),
            ("Priority", "priority"),
            ("Metadata", "metadata"),
        ],
    )
}

/// `p2p tags`.
pub(super) fn tags_listed(answer: &Value) -> Vec<String> {
    let descriptions = part(answer, "descriptions");
    let tags = part(answer, "tags");
    let names = tags.as_array().into_iter().flatten().filter_map(Value::as_str);
    names.map(|name| format!("{name}: {}", word(&descriptions, name))).collect()
}

/// `p2p assigned`.
pub(super) fn assigned(answer: &Value) -> Vec<String> {
    let mut lines = labelled(answer, &[("Assigned Workflows", "count")]);
    let ids = part(answer, "assigned_workflows");
    let ids = ids.as_array().into_iter().flatten().filter_map(Value::as_str);
    lines.extend(ids.map(|id| format!("  {id}")));
    lines
}

/// An object, or a list of them, for `--format text`: a line for each plain field, a blank one between two objects.
pub(super) fn plain_text(value: &Value) -> Vec<String> {
    let of_one = |fields: &serde_json::Map<String, Value>| -> Vec<String> {
        let is_plain = |value: &Value| match value {
            Value::Array(items) => !items.is_empty() && items.iter().all(Value::is_string),
            other => !other.is_object(),
        };
        let first = FIRST.iter().filter_map(|name| fields.get_key_value(*name));
        let others = fields.iter().filter(|(name, _)| !FIRST.contains(&name.as_str()));
        let shown = first.chain(others).filter(|(_, value)| is_plain(value));
        shown.map(|(name, _)| format!("{name}: {}", word(&Value::Object(fields.clone()), name))).collect()
    };
    match value {
        Value::Object(fields) => of_one(fields),
        Value::Array(items) if items.is_empty() => vec!["none".to_owned()],
        Value::Array(items) => {
            let mut lines = Vec::new();
            for item in items {
                if !lines.is_empty() {
                    lines.push(String::new());
                }
                lines.extend(plain_text(item));
            }
            lines
        }
        Value::String(text) => vec![text.clone()],
        other => vec![other.to_string()],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_begins_with_the_fields_that_the_older_ones_show() {
        let status = json!({
            "last_check": null, "docker": {}, "running": true, "start_time": "t", "iterations": 42,
            "active_runners": 3, "queued_workflows": 5, "repositories_monitored": 10,
        });
        let text = pretty(&json!([status])).unwrap();
        let names: Vec<&str> =
            text.lines().filter_map(|line| line.trim().strip_prefix('"')?.split('"').next()).collect();
        assert_eq!(
            names,
            [
                "running",
                "start_time",
                "iterations",
                "active_runners",
                "queued_workflows",
                "repositories_monitored",
                "last_check",
                "docker"
            ]
        );
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!([status]));
    }

    #[test]
    fn the_schedulers_status_reads_as_it_did() {
        let status = json!({
            "peer_id": "a", "pending_tasks": 1, "assigned_tasks": 2, "completed_tasks": 3, "queue_size": 4,
            "known_peers": 5, "merkle_clock": { "merkle_root": "ab" }, "tool": "x", "timestamp": 1.5,
        });
        let wanted = "Peer ID: a\nPending Tasks: 1\nAssigned Tasks: 2\nCompleted Tasks: 3\nQueue Size: 4\nKnown Peers: 5\nMerkle Clock Hash: ab";
        assert_eq!(scheduler_status(&status).join("\n"), wanted);
        let shown = bare(status);
        assert!(shown.get("tool").is_none() && shown.get("timestamp").is_none(), "{shown}");
    }

    #[test]
    fn tags_tasks_and_clocks_read_as_they_did() {
        let checked = json!({ "should_bypass_github": true, "is_p2p_only": false, "tags": [] });
        assert_eq!(tags_checked(&checked), ["Should Bypass GitHub: Yes", "P2P Only: No"]);
        let task = json!({ "task_id": "t", "task_hash": "ff", "priority": 8 });
        assert_eq!(task_submitted(&task), ["Task ID: t", "Task Hash: ff", "Priority: 8"]);
        let none = json!({ "task": null, "message": "No tasks available", "tool": "x" });
        assert_eq!(task_taken(&none), ["No tasks available"]);
        assert_eq!(task_document(&none), json!({ "task": null, "message": "No tasks available" }));
        let taken =
            json!({ "task": { "task_id": "t", "tags": ["p2p-only", "code-generation"] }, "message": null });
        assert_eq!(task_taken(&taken).get(3).unwrap(), "Tags: p2p-only, code-generation");
        assert_eq!(
            task_document(&taken),
            json!({ "task": { "task_id": "t", "tags": ["p2p-only", "code-generation"] } })
        );
        let clock = json!({ "node_id": "a", "vector": { "a": 3 }, "merkle_root": "ff" });
        assert_eq!(vector_clock(&clock), ["Node ID: a", "Merkle Root: ff", "Vector:", "  a: 3"]);
    }

    #[test]
    fn the_datasets_programs_answers_read_in_lines() {
        let local = json!({ "workflow_id": "wf1", "assigned_peer": "a", "is_local": true, "queue_size": 1, "clock_hash": "ff" });
        assert_eq!(
            scheduled(&local),
            ["Workflow ID: wf1", "Assigned Peer: a", "Local: Yes", "Queue Size: 1", "Clock Hash: ff"]
        );
        let remote = json!({ "workflow_id": "wf1", "assigned_peer": "b", "is_local": false, "queue_size": null, "clock_hash": "ff" });
        assert_eq!(scheduled(&remote).len(), 4);
        let tags = json!({ "tags": ["p2p_only"], "descriptions": { "p2p_only": "on peers" } });
        assert_eq!(tags_listed(&tags), ["p2p_only: on peers"]);
        let ids = json!({ "assigned_workflows": ["wf1"], "count": 1 });
        assert_eq!(assigned(&ids), ["Assigned Workflows: 1", "  wf1"]);
        assert_eq!(
            workflow_taken(&json!({ "workflow": null, "message": "No workflows in queue" })),
            ["No workflows in queue"]
        );
    }

    #[test]
    fn text_leaves_out_what_has_parts() {
        let rows =
            json!([{ "repo": "o/a", "pending": 2, "unserved": {} }, { "repo": "o/b", "labels": ["x", "y"] }]);
        assert_eq!(plain_text(&rows), ["repo: o/a", "pending: 2", "", "repo: o/b", "labels: x, y"]);
        assert_eq!(plain_text(&json!([])), ["none"]);
    }
}
