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
    runner_fields(said);
    assert_eq!(document(&said.out)["running"], false);
}

#[track_caller]
fn runner_fields(said: &Said) {
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
}

pub fn runner_stopped(_: &[String], said: &Said) {
    assert_eq!(said.out, "no pool was on: nothing is started here\n");
}

/// The block of `p2p-discover once`; more may follow it.
pub fn discovered(_: &[String], said: &Said) {
    let wanted = [
        "Discovery Results:",
        "  Workflows discovered: ",
        "  Workflows submitted: ",
        "",
        "Scheduler Status:",
        "  Pending tasks: ",
        "  Assigned tasks: ",
        "  Completed tasks: ",
        "  Known peers: ",
    ];
    let mut lines = said.out.lines();
    for label in wanted {
        let number = lines.next().and_then(|line| line.strip_prefix(label));
        let number = number.unwrap_or_else(|| panic!("no `{label}` in its place: {said:?}"));
        assert_eq!(number.parse::<u64>().is_ok(), label.ends_with(": "), "{said:?}");
    }
}

pub fn discovered_document(_: &[String], said: &Said) {
    let document = document(&said.out);
    assert!(document["discovered"].is_u64() && document["submitted"].is_u64(), "{document}");
}

pub fn started(_: &[String], said: &Said) {
    assert!(said.out.starts_with("pool default is on: looks every "), "{said:?}");
}

pub fn started_behind(words: &[String], said: &Said) {
    started(words, said);
    assert!(said.out.contains("its node is process "), "{said:?}");
}

pub fn started_with_settings(words: &[String], said: &Said) {
    started(words, said);
    assert!(said.out.contains("\n  network   own\n"), "{said:?}");
}

pub fn runner_status_on(_: &[String], said: &Said) {
    runner_fields(said);
    let status = document(&said.out);
    assert_eq!(status["running"], true, "{status}");
    assert!(is_time(&status["start_time"]), "{status}");
    for field in ["iterations", "active_runners", "queued_workflows", "repositories_monitored"] {
        assert!(status[field].is_u64(), "{field}: {status}");
    }
}

/// As `2024-01-15T10:30:00Z`.
fn is_time(value: &Json) -> bool {
    let text = value.as_str().unwrap_or_default();
    text.len() == "2024-01-15T10:30:00Z".len() && text.ends_with('Z') && text.as_bytes()[10] == b'T'
}

/// Every object of a list begins with these fields, in this order.
#[track_caller]
fn rows_begin_with(said: &Said, wanted: &[&str]) -> Vec<Json> {
    let rows: Vec<Json> = document(&said.out).as_array().unwrap().clone();
    let names: Vec<&str> =
        said.out.lines().filter_map(|line| line.strip_prefix("    \"")?.split('"').next()).collect();
    let begins = names.windows(wanted.len()).filter(|begin| *begin == wanted).count();
    assert!(begins == rows.len() && names.starts_with(wanted), "{said:?}");
    rows
}

pub fn queues_listed(_: &[String], said: &Said) {
    let counts = ["total_workflows", "running", "failed", "pending"];
    for row in rows_begin_with(said, &[["repo"].as_slice(), &counts].concat()) {
        assert!(row["repo"].is_string() && counts.iter().all(|count| row[*count].is_u64()), "{row}");
    }
}

pub fn containers_listed(_: &[String], said: &Said) {
    for row in rows_begin_with(said, &["container_id", "repo", "status", "created_at"]) {
        assert_eq!(row["container_id"].as_str().unwrap().len(), 12, "{row}");
        assert_eq!((&row["status"], is_time(&row["created_at"])), (&"running".into(), true), "{row}");
    }
}

/// The container that a line names, if it does.
pub fn container_in(said: &Said) -> Option<String> {
    let (_, rest) = said.out.split_once("container ")?;
    let id: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
    (id.len() == 12).then_some(id)
}

pub fn provisioned(_: &[String], said: &Said) {
    assert!(said.out.starts_with("owner/repo: runner wfengine-"), "{said:?}");
    assert!(container_in(said).is_some(), "{said:?}");
}

pub fn container_stopped(_: &[String], said: &Said) {
    assert!(said.out.starts_with("wfengine-") && said.out.ends_with(" is stopped\n"), "{said:?}");
}

pub fn pool_stopped(_: &[String], said: &Said) {
    assert_eq!(said.out, "pool default starts no more runners\n");
}
