//! What the older coordinator kept, taken over with `import kit`.

use serde_json::{Value as Json, json};

use crate::house::{House, text};
use crate::requirements::{Requirement, require};

pub fn entry(id: &str, priority: f64, status: &str, created_at: f64) -> Json {
    json!({
        "workflow_id": id, "name": format!("work {id}"), "workflow_file": format!("{id}.yml"),
        "inputs": { "url": "https://example.com" }, "priority": priority, "tags": ["p2p-workflow", "data-collection"],
        "status": status, "assigned_peer": "peer-1", "created_at": created_at, "started_at": null,
        "completed_at": null, "result": null, "error": null,
    })
}

fn state(entries: Vec<Json>) -> Json {
    let listed: serde_json::Map<String, Json> =
        entries.into_iter().map(|entry| (text(&entry, "workflow_id").to_owned(), entry)).collect();
    json!({
        "peer_id": "peer-1", "peer_list": ["peer-1", "peer-2", "host-3:9000"],
        "merkle_clock": { "peer_id": "peer-1", "head_hash": null, "logical_clock": 0, "nodes": [] },
        "workflows": listed, "saved_at": 1.0,
    })
}

pub fn put(house: &House, entries: Vec<Json>) {
    house.put("state.json", state(entries).to_string());
}

pub const IMPORT: [&str; 3] = ["import", "kit", "state.json"];

/// The status word of each workflow that an import names, by id.
fn statuses(imported: &Json) -> Vec<(String, String)> {
    let workflows = imported["workflows"].as_array().unwrap();
    workflows.iter().map(|of| (text(of, "workflow_id").to_owned(), text(of, "status").to_owned())).collect()
}

fn ids(house: &House, count: usize) -> Vec<String> {
    let next = || {
        let task = house.one(&["task", "next"])["task"].clone();
        text(&task, "task_id").to_owned()
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn what_ended_has_ended_so_and_what_waits_waits_in_its_order() {
    let house = House::new();
    let mut done = entry("done", 1.0, "completed", 1.0);
    done["result"] = json!({ "rows": 10 });
    let mut failed = entry("failed", 1.0, "failed", 2.0);
    failed["error"] = json!("no such page");
    let cancelled = entry("cancelled", 1.0, "cancelled", 3.0);
    let entries = vec![
        entry("scrape", 3.0, "assigned", 10.0),
        entry("generate", 1.0, "pending", 11.0),
        entry("process", 2.0, "in_progress", 12.0),
        entry("elder", 3.0, "pending", 9.0),
        done,
        failed,
        cancelled,
    ];
    put(&house, entries);
    let imported = house.one(&IMPORT);
    assert_eq!(
        (&imported["success"], &imported["coordinator"]),
        (&true.into(), &"peer-1".into()),
        "{imported}"
    );
    let wanted = [
        ("done", "completed"),
        ("failed", "failed"),
        ("cancelled", "cancelled"),
        ("generate", "pending"),
        ("process", "pending"),
        ("elder", "pending"),
        ("scrape", "pending"),
    ];
    assert_eq!(statuses(&imported), wanted.map(|(id, status)| (id.to_owned(), status.to_owned())));
    assert_eq!(house.one(&["task", "result", "done"])["result"], json!({ "rows": 10 }));
    assert!(text(&house.show("failed"), "reason").contains("no such page"));
    let shown = house.show("scrape");
    assert_eq!(text(&shown, "name"), "work scrape");
    assert_eq!((&shown["priority"], &shown["tags"]), (&3.0.into(), &json!(["p2p-only", "data-collection"])));
    assert_eq!(shown["metadata"]["inputs"], json!({ "url": "https://example.com" }));
    assert_eq!(house.one(&["peer", "list"])["addresses"], json!(["host-3:9000", "peer-2:4433"]));
    // in the older dialect it reads as it was
    let said = crate::document(&house, "ipfs-kit p2p workflow status scrape");
    assert_eq!(
        (&shown["metadata"]["workflow_file"], &said["inputs"]),
        (&"scrape.yml".into(), &json!({ "url": "https://example.com" }))
    );
    assert_eq!(ids(&house, 4), ["generate", "process", "elder", "scrape"]);
    assert_eq!(house.one(&["task", "next"])["task"], Json::Null);
    house.ask(&["replay", "--verify"]).ends(0);
}

#[test]
fn the_same_file_twice_changes_nothing_and_a_later_one_goes_on() {
    let house = House::new();
    put(&house, vec![entry("a", 3.0, "pending", 1.0), entry("b", 1.0, "completed", 2.0)]);
    let first = house.ask(&IMPORT).ends(0);
    assert!(
        first.out.contains("2 workflows of coordinator peer-1 imported, 0 known before, 0 not"),
        "{first:?}"
    );
    let before = house.one(&["clock"]);
    let again = house.ask(&IMPORT).ends(0);
    assert!(
        again.out.contains("0 workflows of coordinator peer-1 imported, 2 known before, 0 not"),
        "{again:?}"
    );
    assert_eq!(house.one(&["clock"]), before);
    put(&house, vec![entry("a", 3.0, "completed", 1.0), entry("b", 1.0, "completed", 2.0)]);
    assert_eq!(house.one(&IMPORT)["workflows"][1]["already_so"], false);
    assert_eq!(text(&house.show("a"), "status"), "completed");
    // what was not imported is left alone
    house.ask(&["task", "submit", "--task-id", "c"]).ends(0);
    put(&house, vec![entry("c", 3.0, "completed", 1.0)]);
    let missed = house.ask(&IMPORT).ends(1);
    assert!(missed.out.contains("not imported: c: its id names other work here"), "{missed:?}");
    assert_eq!(text(&house.show("c"), "status"), "pending");
}

#[test]
fn an_import_that_was_broken_off_is_gone_on_with() {
    let house = House::new();
    // submitted, and then the host lost power
    put(&house, vec![entry("a", 3.0, "pending", 1.0)]);
    house.ask(&IMPORT).ends(0);
    // taken as well
    assert_eq!(ids(&house, 1), ["a"]);
    put(&house, vec![entry("a", 3.0, "failed", 1.0)]);
    assert_eq!(statuses(&house.one(&IMPORT)), [("a".to_owned(), "failed".to_owned())]);
}

#[test]
fn a_node_that_serves_is_not_given_what_has_ended() {
    let house = House::new();
    let node = house.serve_with(&["--no-lan", "--http", "127.0.0.1:0"]);
    put(&house, vec![entry("a", 3.0, "pending", 1.0), entry("b", 1.0, "completed", 2.0)]);
    let refused = house.ask(&IMPORT).ends(3);
    let stop = format!("kill {}", node.pid());
    refused.complains(&["some of these workflows have ended", &stop]);
    assert!(house.json(&["list"]).is_empty(), "nothing was written");
    put(&house, vec![entry("a", 3.0, "pending", 1.0)]);
    house.ask(&IMPORT).ends(0);
    node.stop().ends(0);
    house.ask(&["pause"]).ends(0);
    put(&house, vec![entry("b", 1.0, "completed", 2.0)]);
    house.ask(&IMPORT).ends(3).complains(&["claims nothing", "wfengine resume"]);
    house.ask(&["resume"]).ends(0);
    house.ask(&IMPORT).ends(0);
    house.ask(&["replay", "--verify"]).ends(0);
}

#[test]
fn with_their_files_those_that_wait_are_runs() {
    let house = House::new();
    std::fs::create_dir(house.desk().join("flows")).unwrap();
    let workflow = "on:\n  workflow_dispatch:\n    inputs:\n      url: {}\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo got ${{ inputs.url }}\n";
    house.put("flows/a.yml", workflow);
    put(&house, vec![entry("a", 3.0, "assigned", 1.0), entry("b", 3.0, "pending", 2.0)]);
    let with_files = [IMPORT.as_slice(), &["--files", "flows"]].concat();
    let imported = house.one(&with_files);
    let kinds: Vec<&str> =
        imported["workflows"].as_array().unwrap().iter().map(|of| text(of, "kind")).collect();
    assert_eq!(kinds, ["workflow", "task"], "{imported}");
    assert_eq!(house.one(&IMPORT)["workflows"][0]["already_so"], true);
    let node = house.serve_with(&["--no-lan", "--http", "127.0.0.1:0"]);
    house.until_status("a", "completed");
    assert!(house.ask(&["logs", "a"]).ends(0).out.contains("got https://example.com"));
    node.stop().ends(0);
    house.ask(&[IMPORT.as_slice(), &["--files", "none"]].concat()).ends(2).complains(&["--files none"]);
}

#[test]
fn a_file_that_says_nothing_of_the_kind_writes_nothing() {
    let house = House::new();
    let mut wrong = entry("a", 3.0, "pending", 1.0);
    wrong["priority"] = json!(-1);
    put(&house, vec![wrong]);
    house.ask(&IMPORT).ends(2).complains(&["state.json: workflows.a.priority", "above 0", "found -1"]);
    house.put("state.json", "{\n  \"peer_id\": ");
    house.ask(&IMPORT).ends(2).complains(&["state.json:2:", "not JSON"]);
    house.ask(&["import", "kit", "none.json"]).ends(2).complains(&["none.json"]);
    house.put("state.json", vec![b' '; 16 * 1024 * 1024 + 1]);
    house.ask(&IMPORT).ends(2).complains(&["state.json", "16 MiB"]);
    assert!(!house.data().exists(), "a bad file opens nothing");
    // a result that no event can hold
    let mut long = entry("a", 3.0, "completed", 1.0);
    long["result"] = json!("x".repeat(40_000));
    put(&house, vec![long]);
    let said = house.ask(&IMPORT).ends(1);
    assert!(said.out.contains("not imported: a: its result has 40002 bytes"), "{said:?}");
    assert!(house.json(&["list"]).is_empty());
}

#[test]
fn a_file_that_the_older_program_wrote_is_taken_over() {
    let wanted = "a state file that the older coordinator wrote";
    let Some(folder) = require(Requirement::Documents, wanted) else { return };
    let house = House::new();
    let file = folder.join("kit-state-example.json").display().to_string();
    let imported = house.one(&["import", "kit", &file]);
    assert_eq!(
        statuses(&imported),
        [
            ("66e2c65a1004b193".to_owned(), "completed".to_owned()),
            ("04504328f7ae29e1".to_owned(), "pending".to_owned())
        ]
    );
    assert_eq!(imported["clock_events_left"], 8);
    assert_eq!(house.one(&["task", "result", "66e2c65a1004b193"])["result"], json!({ "rows": 10 }));
    assert_eq!(ids(&house, 1), ["04504328f7ae29e1"]);
}
