//! Each tool of the older programs does what it says: its effect is seen through another door.

use serde_json::{Value as Json, json};

use crate::clients::{Client, Kind, Served};
use crate::fields::{check, has};
use crate::house::text;

const HASH_OF_PEER_1: &str = "37effc81d805811d59f99c1376b393b25529b7482c39ad866c49791b62dc44bb";

/// Calls a tool and checks the fields that its document names.
#[track_caller]
fn call(client: &mut Client, tool: &str, arguments: Json) -> Json {
    let result = client.call(tool, arguments);
    check(tool, &result);
    result
}

/// The quick-start dialect: urgencies, kebab case.
fn scheduler(kind: Kind) {
    let served = Served::new();
    let Some(mut client) = Client::connect(kind, &served, "the scheduler's tools") else { return };
    let (house, client) = (&served.house, &mut client);
    let task = |id: &str, urgency: u32, tags: &[&str]| json!({ "task_id": id, "workflow_id": "w", "name": id, "tags": tags, "priority": urgency });
    for (id, urgency) in [("low", 2), ("high", 9), ("mid", 5)] {
        let done = call(client, "p2p_submit_task", task(id, urgency, &["p2p-only", "gpu"]));
        assert_eq!((&done["success"], &done["priority"]), (&true.into(), &urgency.into()), "{done}");
        assert_eq!(done["unknown_tags"], json!(["gpu"]));
        let run = house.show(id);
        assert_eq!(done["task_hash"], run["jobs"][0]["id"]);
        assert_eq!(run["submitted_by"], house.one(&["status"])["peer"]);
    }
    let status = call(client, "p2p_scheduler_status", json!({}));
    assert_eq!((&status["pending_tasks"], &status["tool"]), (&3.into(), &"p2p_scheduler_status".into()));
    has(&status["merkle_clock"], &[("node_id", "string"), ("vector", "object"), ("merkle_root", "string")]);
    let clock = call(client, "p2p_get_merkle_clock", json!({}));
    let shown = house.one(&["clock"]);
    assert_eq!((&clock["merkle_root"], &clock["vector"]), (&shown["merkle_root"], &shown["vector"]));
    let taken = call(client, "p2p_get_next_task", json!({}));
    has(
        &taken["task"],
        &[
            ("task_id", "string"),
            ("workflow_id", "string"),
            ("name", "string"),
            ("tags", "array"),
            ("priority", "integer"),
            ("task_hash", "string"),
            ("assigned_peer", "string"),
        ],
    );
    assert_eq!((&taken["task"]["task_id"], &taken["task"]["priority"]), (&"high".into(), &9.into()));
    assert!(matches!(text(&house.show("high"), "status"), "assigned" | "in_progress"));
    let stale = client
        .fails("p2p_mark_task_complete", json!({ "task_id": "high", "fencing_token": "somebody else's" }));
    assert_eq!(stale["kind"], "conflict", "{stale}");
    call(client, "p2p_mark_task_complete", json!({ "task_id": "high", "result": { "pages": 3 } }));
    let done = house.one(&["task", "result", "high"]);
    assert_eq!((&done["status"], &done["result"]["pages"]), (&"completed".into(), &3.into()));
    for (next, id) in [("mid", "mid"), ("low", "low")] {
        assert_eq!(call(client, "p2p_get_next_task", json!({}))["task"]["task_id"], next);
        call(client, "p2p_mark_task_complete", json!({ "task_id": id }));
    }
    let none = call(client, "p2p_get_next_task", json!({}));
    assert_eq!((&none["task"], &none["message"]), (&Json::Null, &"No tasks available".into()));
    let checked = call(client, "p2p_check_workflow_tags", json!({ "tags": ["p2p-only", "code-generation"] }));
    assert_eq!((&checked["should_bypass_github"], &checked["is_p2p_only"]), (&true.into(), &true.into()));
    let checked = call(client, "p2p_check_workflow_tags", json!({ "tags": ["unit-test", "github-api"] }));
    assert_eq!((&checked["should_bypass_github"], &checked["is_p2p_only"]), (&false.into(), &false.into()));
    let me = text(&status, "peer_id").to_owned();
    let updated = call(
        client,
        "p2p_update_peer_state",
        json!({ "peer_id": me, "clock_data": { "node_id": me, "vector": {}, "merkle_root": null } }),
    );
    assert!(text(&updated, "message").contains("changes nothing"), "{updated}");
    let nobody = client.fails(
        "p2p_update_peer_state",
        json!({ "peer_id": "nobody", "clock_data": { "node_id": "nobody", "vector": {}, "merkle_root": null } }),
    );
    assert_eq!((&nobody["kind"], &nobody["tool"]), (&"unknown".into(), &"p2p_update_peer_state".into()));
    // all of it is in the log, signed
    let kinds = house.json(&["replay", "--kind", "JobCompleted"]);
    assert_eq!(kinds.len(), 3, "{kinds:?}");
}

/// The datasets dialect: lower first, snake case.
fn workflows(kind: Kind) {
    let served = Served::new();
    let Some(mut client) = Client::connect(kind, &served, "the datasets dialect's tools") else { return };
    let (house, client) = (&served.house, &mut client);
    let begun = call(
        client,
        "initialize_p2p_scheduler",
        json!({ "peer_id": "my-peer", "peers": ["peer2", "peer3:4500"] }),
    );
    assert_eq!(begun["status"]["peer_id"], "my-peer");
    let peers = house.one(&["peer", "list"]);
    assert_eq!(peers["addresses"], json!(["peer2:4433", "peer3:4500"]), "{peers}");
    assert_eq!(house.one(&["status"])["peer"], "my-peer");
    let again = call(client, "initialize_p2p_scheduler", json!({}));
    has(
        &again["status"],
        &[
            ("peer_id", "string"),
            ("num_peers", "integer"),
            ("clock", "object"),
            ("queue_size", "integer"),
            ("assigned_workflows", "integer"),
            ("total_workflows", "integer"),
        ],
    );
    has(
        &again["status"]["clock"],
        &[
            ("peer_id", "string"),
            ("counter", "integer"),
            ("parent_hash", "string null"),
            ("timestamp", "number"),
            ("hash", "string"),
        ],
    );
    assert_eq!(again["status"]["peer_id"], "my-peer", "the name stays");
    let scheduled = call(
        client,
        "schedule_p2p_workflow",
        json!({
            "workflow_id": "wf1", "name": "Web Scraping Task", "tags": ["p2p_eligible", "web_scrape"],
            "priority": 2.0, "metadata": { "url": "https://example.com" },
        }),
    );
    let result = &scheduled["result"];
    has(
        result,
        &[
            ("success", "boolean"),
            ("workflow_id", "string"),
            ("assigned_peer", "string"),
            ("is_local", "boolean"),
            ("queue_size", "integer"),
            ("clock_hash", "string"),
        ],
    );
    assert_eq!(
        (&result["assigned_peer"], &result["is_local"]),
        (&"my-peer".into(), &true.into()),
        "{result}"
    );
    let shown = house.show("wf1");
    assert_eq!((&shown["priority"], &shown["metadata"]["url"]), (&2.0.into(), &"https://example.com".into()));
    assert_eq!(shown["tags"], json!(["p2p-eligible", "web-scraping"]));
    let refused = client.call(
        "schedule_p2p_workflow",
        json!({ "workflow_id": "wf2", "name": "Tests", "tags": ["unit_test"], "priority": 1.0 }),
    );
    assert_eq!(
        (&refused["success"], &refused["result"]["success"], &refused["result"]["reason"]),
        (&false.into(), &false.into(), &"Workflow requires GitHub API".into())
    );
    house.ask(&["show", "wf2"]).ends(2);
    for wrong in [
        json!({ "workflow_id": "x", "name": "x", "tags": [] }),
        json!({ "workflow_id": "", "name": "x", "tags": ["p2p_only"] }),
        json!({ "workflow_id": "x", "name": "x", "tags": ["p2p_only"], "priority": 0 }),
        json!({ "workflow_id": "x", "name": "x", "tags": ["p2p_only"], "colour": 1 }),
    ] {
        assert_eq!(client.fails("schedule_p2p_workflow", wrong)["kind"], "bad_input");
    }
    let status = call(client, "get_p2p_scheduler_status", json!({}));
    assert_eq!(status["status"]["total_workflows"], 1);
    let taken = call(client, "get_next_p2p_workflow", json!({}));
    has(
        &taken["workflow"],
        &[
            ("workflow_id", "string"),
            ("name", "string"),
            ("tags", "array"),
            ("priority", "number"),
            ("created_at", "number"),
            ("metadata", "object"),
        ],
    );
    assert_eq!(taken["workflow"]["tags"], json!(["p2p_eligible", "web_scrape"]));
    let assigned = call(client, "get_assigned_workflows", json!({}));
    assert_eq!((&assigned["assigned_workflows"], &assigned["count"]), (&json!(["wf1"]), &1.into()));
    assert!(matches!(text(&house.show("wf1"), "status"), "assigned" | "in_progress"));
    assert_eq!(call(client, "get_next_p2p_workflow", json!({}))["workflow"], Json::Null);
    let added = call(client, "add_p2p_peer", json!({ "peer_id": "peer4" }));
    assert_eq!(added["num_peers"], 3);
    assert!(house.one(&["peer", "list"])["addresses"].as_array().unwrap().contains(&"peer4:4433".into()));
    let removed = call(client, "remove_p2p_peer", json!({ "peer_id": "peer4" }));
    assert_eq!(removed["num_peers"], 2);
    assert!(text(&removed, "message").contains("no member was revoked"), "{removed}");
    assert_eq!(house.one(&["peer", "list"])["addresses"], json!(["peer2:4433", "peer3:4500"]));
    assert_eq!(client.fails("remove_p2p_peer", json!({ "peer_id": "peer4" }))["kind"], "unknown");
    let member = client.fails("remove_p2p_peer", json!({ "peer_id": "my-peer" }));
    assert_eq!(member["kind"], "conflict", "{member}");
    let other = "b".repeat(64);
    let distance =
        call(client, "calculate_peer_distance", json!({ "hash1": HASH_OF_PEER_1, "hash2": other }));
    assert_eq!(distance["distance"], house.one(&["distance", HASH_OF_PEER_1, &other])["distance"]);
    let wrong = client.fails("calculate_peer_distance", json!({ "hash1": "peer-1", "hash2": other }));
    assert!(text(&wrong, "error").contains("64 hexadecimal digits"), "{wrong}");
    let tags = call(client, "get_workflow_tags", json!({}));
    assert_eq!(
        tags["tags"],
        json!([
            "p2p_only",
            "p2p_eligible",
            "github_api",
            "unit_test",
            "code_gen",
            "web_scrape",
            "data_processing"
        ])
    );
    assert_eq!(tags["descriptions"].as_object().unwrap().len(), 7);
    let merged =
        call(client, "merge_merkle_clock", json!({ "other_peer_id": "my-peer", "other_counter": 7 }));
    assert_eq!(merged["new_clock"]["hash"], house.one(&["clock"])["merkle_root"]);
    assert_eq!(
        client.fails("merge_merkle_clock", json!({ "other_peer_id": "peer9", "other_counter": 7 }))["kind"],
        "unknown"
    );
}

/// The coordinator's dialect: files, six status words.
fn coordinator(kind: Kind) {
    let served = Served::new();
    let what = "the coordinator's tools";
    let Some(mut client) = Client::connect(kind, &served, what) else { return };
    let (house, client) = (&served.house, &mut client);
    let is_local = matches!(kind, Kind::PythonStdio | Kind::NodeStdio);
    let file = "name: P2P-Workflow Scrape\non:\n  workflow_dispatch:\n    inputs:\n      page:\n        default: one\nlabels: [p2p-workflow, data-collection]\njobs:\n  scrape:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo page ${{ inputs.page }}\n";
    house.put("scrape.yml", file);
    let path = house.desk().join("scrape.yml").display().to_string();
    let of_file = |mut arguments: Json| {
        arguments["workflow_file"] = path.clone().into();
        if !is_local {
            arguments["source"] = file.into();
        }
        arguments
    };
    let parsed = call(client, "parse_workflow_tags", of_file(json!({})));
    assert_eq!(
        (&parsed["is_p2p"], &parsed["metadata"]["name"]),
        (&true.into(), &"P2P-Workflow Scrape".into())
    );
    assert_eq!(parsed["metadata"]["jobs"], json!(["scrape"]));
    assert!(parsed["metadata"]["tags"].as_array().unwrap().contains(&"data-collection".into()), "{parsed}");
    if is_local {
        let missing = call(client, "parse_workflow_tags", json!({ "workflow_file": "none.yml" }));
        assert_eq!((&missing["success"], &missing["is_p2p"]), (&false.into(), &false.into()));
    } else {
        let elsewhere = client.fails("submit_p2p_workflow", json!({ "workflow_file": "/etc/passwd" }));
        assert!(text(&elsewhere, "error").contains("source"), "{elsewhere}");
    }
    let submitted = call(
        client,
        "submit_p2p_workflow",
        of_file(json!({ "inputs": { "page": "two" }, "priority": 3.0, "name": "Scrape" })),
    );
    let id = text(&submitted, "workflow_id").to_owned();
    let ended = house.until_status(&id, "completed");
    assert_eq!((&ended["inputs"]["page"], &ended["name"]), (&"two".into(), &"Scrape".into()));
    let status = call(client, "get_p2p_workflow_status", json!({ "workflow_id": id }));
    assert_eq!((&status["status"], status["priority"].as_f64()), (&"completed".into(), Some(3.0)));
    let times = ["created_at", "started_at", "completed_at"].map(|of| status[of].as_f64().unwrap());
    assert!(times[0] <= times[1] && times[1] <= times[2], "{status}");
    let final_state =
        client.fails("update_p2p_workflow_status", json!({ "workflow_id": id, "status": "failed" }));
    assert_eq!(final_state["kind"], "conflict", "{final_state}");
    assert_eq!(
        client.fails("get_p2p_workflow_status", json!({ "workflow_id": "feedbeef" }))["kind"],
        "unknown"
    );
    // tasks go through all the words
    for id in ["a", "b", "c"] {
        house.one(&["task", "submit", "--task-id", id, "--tags", "p2p-workflow"]);
    }
    let assigned = call(client, "assign_p2p_workflows", json!({}));
    assert_eq!(
        (&assigned["assigned_count"], assigned["workflow_ids"].as_array().unwrap().len()),
        (&3.into(), 3)
    );
    let mine = text(&house.one(&["status"]), "peer").to_owned();
    assert!(
        assigned["assignments"].as_array().unwrap().iter().all(|of| of["assigned_peer"] == mine.as_str())
    );
    let mut update = |id: &str, status: &str, more: Json| {
        let mut arguments = json!({ "workflow_id": id, "status": status });
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        call(client, "update_p2p_workflow_status", arguments)
    };
    assert_eq!(update("a", "in_progress", json!({}))["new_status"], "in_progress");
    assert_eq!(update("a", "pending", json!({}))["new_status"], "pending");
    assert_eq!(update("a", "completed", json!({ "result": { "n": 1 } }))["new_status"], "completed");
    assert_eq!(update("b", "failed", json!({ "error": "no such page" }))["new_status"], "failed");
    assert_eq!(update("c", "cancelled", json!({}))["new_status"], "cancelled");
    assert_eq!(house.one(&["task", "result", "a"])["result"]["n"], 1);
    assert_eq!(house.show("b")["status"], "failed");
    assert_eq!(house.show("c")["status"], "cancelled");
    let failed = call(client, "get_p2p_workflow_status", json!({ "workflow_id": "b" }));
    assert!(text(&failed, "error").contains("no such page"), "{failed}");
    let listed = call(client, "list_p2p_workflows", json!({ "status": "completed" }));
    assert_eq!((&listed["count"], &listed["filters"]["status"]), (&2.into(), &"completed".into()));
    let wrong = client.fails("list_p2p_workflows", json!({ "status": "done" }));
    assert!(wrong["candidates"].as_array().unwrap().contains(&"completed".into()), "{wrong}");
    house.one(&["task", "submit", "--task-id", "d"]);
    house.one(&["task", "next"]);
    let mine = call(client, "get_my_p2p_workflows", json!({}));
    assert_eq!((&mine["count"], &mine["workflows"][0]["workflow_id"]), (&1.into(), &"d".into()));
    let stats = call(client, "get_p2p_stats", json!({}));
    let counts = &stats["status_counts"];
    assert_eq!(
        (&counts["completed"], &counts["failed"], &counts["cancelled"], &counts["pending"]),
        (&2.into(), &1.into(), &1.into(), &0.into())
    );
    assert_eq!((&stats["total_workflows"], &stats["my_workflows"]), (&5.into(), &1.into()));
    // a beat of the node may come in between
    assert!(stats["merkle_clock_height"].as_u64() <= house.one(&["clock"])["height"].as_u64(), "{stats}");
}

/// Tools of runners where there is neither an engine nor a credential: each says what is missing. With both: `runners.rs`.
fn runners_without_an_engine(kind: Kind) {
    let served = Served::new();
    let Some(mut client) = Client::connect(kind, &served, "the runners' tools") else { return };
    let client = &mut client;
    let status = call(client, "runner_get_status", json!({}));
    has(
        &status["data"],
        &[
            ("running", "boolean"),
            ("start_time", "string null"),
            ("iterations", "integer"),
            ("active_runners", "integer"),
            ("queued_workflows", "integer"),
            ("repositories_monitored", "integer"),
            ("last_check", "string null"),
        ],
    );
    assert_eq!(status["data"]["running"], false);
    let wrong = client.fails("runner_start_autoscaler", json!({ "interval": 60 }));
    assert!(text(&wrong, "error").contains("poll_interval"), "{wrong}");
    let wrong = client.fails("runner_provision_for_workflow", json!({ "repo": "not a repository" }));
    assert_eq!(wrong["kind"], "bad_input", "{wrong}");
    let stopped = call(client, "runner_stop_autoscaler", json!({}));
    assert_eq!(stopped["running"], false);
}

macro_rules! for_each_client {
    ($($name:ident: $scenario:ident, $kind:ident;)*) => {
        $(#[test]
        fn $name() {
            $scenario(Kind::$kind);
        })*
    };
}

for_each_client! {
    scheduler_through_python_at_stdio: scheduler, PythonStdio;
    scheduler_through_python_over_http: scheduler, PythonHttp;
    scheduler_through_typescript_at_stdio: scheduler, NodeStdio;
    scheduler_through_typescript_over_http: scheduler, NodeHttp;
    workflows_through_python_at_stdio: workflows, PythonStdio;
    workflows_through_python_over_http: workflows, PythonHttp;
    workflows_through_typescript_at_stdio: workflows, NodeStdio;
    workflows_through_typescript_over_http: workflows, NodeHttp;
    coordinator_through_python_at_stdio: coordinator, PythonStdio;
    coordinator_through_python_over_http: coordinator, PythonHttp;
    coordinator_through_typescript_at_stdio: coordinator, NodeStdio;
    coordinator_through_typescript_over_http: coordinator, NodeHttp;
    runners_through_python_over_http: runners_without_an_engine, PythonHttp;
    runners_through_typescript_at_stdio: runners_without_an_engine, NodeStdio;
}
