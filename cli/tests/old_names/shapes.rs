//! Shapes that the documents and programs showed, held against what is printed.

use serde_json::Value as Json;

use crate::house::Said;

/// Holds what a command line printed against what it was to print.
pub type Shape = fn(&[String], &Said);

/// One label a line, in this order, each with something behind it.
#[track_caller]
fn labels(said: &Said, wanted: &[&str]) {
    let lines: Vec<&str> = said.out.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(lines.len(), wanted.len(), "{said:?}");
    for (line, label) in lines.iter().zip(wanted) {
        let rest = line.strip_prefix(label).and_then(|rest| rest.strip_prefix(':'));
        assert!(rest.is_some(), "`{label}` is not what `{line}` begins with");
    }
}

#[track_caller]
fn document(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[track_caller]
fn has(document: &Json, fields: &[&str]) {
    for field in fields {
        assert!(document.get(field).is_some(), "no `{field}` in {document}");
    }
}

/// A line of text, then JSON that says success.
#[track_caller]
fn text_then_json(said: &Said, fields: &[&str]) {
    let (first, rest) = said.out.split_once('\n').unwrap();
    assert!(!first.is_empty() && !first.starts_with('{'), "{said:?}");
    let document = document(rest);
    assert_eq!(document["success"], true, "{document}");
    has(&document, fields);
}

#[track_caller]
fn json(said: &Said, fields: &[&str]) {
    has(&document(&said.out), fields);
}

pub fn scheduler_status(_: &[String], said: &Said) {
    let wanted = [
        "Peer ID",
        "Pending Tasks",
        "Assigned Tasks",
        "Completed Tasks",
        "Queue Size",
        "Known Peers",
        "Merkle Clock Hash",
    ];
    labels(said, &wanted);
}

pub fn task_submitted(words: &[String], said: &Said) {
    labels(said, &["Task ID", "Task Hash", "Priority"]);
    let hash = said.out.lines().nth(1).unwrap().trim_start_matches("Task Hash: ");
    assert!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{said:?}");
    assert!(said.out.ends_with(&format!("Priority: {}\n", words.last().unwrap())), "{said:?}");
}

pub fn task_taken(_: &[String], said: &Said) {
    let wanted = ["Task ID", "Workflow ID", "Name", "Tags", "Priority", "Task Hash", "Assigned Peer"];
    labels(said, &wanted);
}

pub fn task_completed(_: &[String], said: &Said) {
    labels(said, &["Task ID", "Status"]);
}

pub fn tags_checked(_: &[String], said: &Said) {
    assert_eq!(said.out, "Should Bypass GitHub: Yes\nP2P Only: Yes\n");
}

pub fn clock(words: &[String], said: &Said) {
    if words.iter().any(|word| word == "--json") {
        json(said, &["node_id", "vector", "merkle_root"]);
    } else {
        labels(said, &["Node ID", "Merkle Root", "Vector"]);
    }
}

pub fn counter_status(_: &[String], said: &Said) {
    let wanted = [
        "Peer ID",
        "Peers",
        "Clock Counter",
        "Clock Hash",
        "Queue Size",
        "Assigned Workflows",
        "Total Workflows",
    ];
    labels(said, &wanted);
}

pub fn initialized(_: &[String], said: &Said) {
    assert!(said.out.starts_with("this node is my-peer; 2 peers were named\nPeer ID: my-peer\n"), "{said:?}");
}

pub fn scheduled(_: &[String], said: &Said) {
    labels(said, &["Workflow ID", "Assigned Peer", "Local", "Queue Size", "Clock Hash"]);
    assert!(said.out.contains("Local: Yes\n"), "{said:?}");
}

pub fn workflow_taken(_: &[String], said: &Said) {
    labels(said, &["Workflow ID", "Name", "Tags", "Priority", "Metadata"]);
    assert!(said.out.contains("Workflow ID: wf1\n") && said.out.contains("Tags: p2p_eligible, code_gen\n"));
}

pub fn peer_changed(words: &[String], said: &Said) {
    assert!(said.out.contains(words.last().unwrap()) && said.out.contains("\nPeers: "), "{said:?}");
}

pub fn tags_listed(_: &[String], said: &Said) {
    let wanted =
        ["p2p_only", "p2p_eligible", "github_api", "unit_test", "code_gen", "web_scrape", "data_processing"];
    labels(said, &wanted);
}

pub fn assigned(_: &[String], said: &Said) {
    assert_eq!(said.out, "Assigned Workflows: 1\n  wf1\n");
}

pub fn file_submitted(_: &[String], said: &Said) {
    text_then_json(said, &["workflow_id", "message", "status"]);
}

pub fn files_assigned(_: &[String], said: &Said) {
    text_then_json(said, &["assigned_count", "workflow_ids", "message"]);
}

pub fn file_status(_: &[String], said: &Said) {
    let wanted = [
        "success",
        "workflow_id",
        "name",
        "workflow_file",
        "inputs",
        "priority",
        "tags",
        "status",
        "assigned_peer",
        "created_at",
        "started_at",
        "completed_at",
        "result",
        "error",
    ];
    json(said, &wanted);
}

pub fn files_listed(_: &[String], said: &Said) {
    json(said, &["success", "count", "workflows", "filters"]);
}

pub fn file_updated(_: &[String], said: &Said) {
    text_then_json(said, &["workflow_id", "new_status", "message"]);
    assert!(said.out.contains("\"new_status\": \"cancelled\""), "{said:?}");
}

pub fn kit_peer_changed(_: &[String], said: &Said) {
    text_then_json(said, &["peer_id", "message"]);
}

pub fn kit_peers(_: &[String], said: &Said) {
    json(said, &["success", "count", "peers"]);
}

pub fn kit_stats(_: &[String], said: &Said) {
    let wanted = [
        "success",
        "peer_id",
        "total_workflows",
        "queue_size",
        "peer_count",
        "merkle_clock_height",
        "status_counts",
        "my_workflows",
    ];
    json(said, &wanted);
}

pub fn runner_status(_: &[String], said: &Said) {
    let shown: Vec<&str> =
        said.out.lines().filter_map(|line| line.strip_prefix("  \"")?.split('"').next()).take(7).collect();
    let wanted = [
        "running",
        "start_time",
        "iterations",
        "active_runners",
        "queued_workflows",
        "repositories_monitored",
        "last_check",
    ];
    assert_eq!(shown, wanted, "{said:?}");
    assert_eq!(document(&said.out)["running"], false);
}

pub fn runner_stopped(_: &[String], said: &Said) {
    assert_eq!(said.out, "no pool was on: nothing is started here\n");
}
