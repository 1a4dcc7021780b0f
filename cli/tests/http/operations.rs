//! The REST interface: every operation does what it says, and a mistake is told as at the other doors.

use serde_json::{Value as Json, json};

use crate::house::text;
use crate::raw::Served;

#[test]
fn runs_are_submitted_shown_cancelled_and_run_again() {
    let served = Served::new();
    served.house.put_script("ci.yml", "echo hello; exit 3");
    let source = std::fs::read_to_string(served.house.desk().join("ci.yml")).unwrap();
    let body = json!({ "path": "ci.yml", "source": source, "priority": 1.5 });
    let submitted = served.post("/api/v1/runs", &body).is(200).json();
    let id = text(&submitted["run"], "id").to_owned();
    served.house.until_status(&id, "failed");
    let shown = served.get(&format!("/api/v1/runs/{}", &id[..12])).is(200).json();
    assert_eq!(shown, served.house.show(&id));
    assert_eq!(shown["priority"], 1.5);
    let logs = served.get(&format!("/api/v1/runs/{id}/logs?lines=1")).is(200).json();
    assert_eq!((&logs["truncated"], logs["lines"].as_array().unwrap().len()), (&true.into(), 1));
    let why = served.get(&format!("/api/v1/runs/{id}/why")).is(200).json();
    assert!(text(&why["jobs"][0], "text").contains("job"), "{why}");
    let events =
        served.get(&format!("/api/v1/runs/{id}/events?kinds=JobClaimed&kinds=JobCompleted")).is(200).json();
    assert_eq!(events["events"].as_array().unwrap().len(), 2, "{events}");
    let again = served.post(&format!("/api/v1/runs/{id}/rerun"), &json!({})).is(200).json();
    assert_eq!(again["run"]["attempt"], 2);
    let listed = served.get("/api/v1/runs?limit=1&status=failed").is(200).json();
    assert_eq!(listed["count"], 1);
    let ended = served.post(&format!("/api/v1/runs/{id}/cancel"), &json!({ "reason": "late" }));
    assert_eq!(ended.is(409).problem()["kind"], "conflict");
}

#[test]
fn runs_are_listed_part_by_part() {
    let served = Served::new();
    for n in 0..7 {
        served
            .post(
                "/api/v1/tasks",
                &json!({ "id": format!("t{n}"), "tags": [format!("even-{}", n % 2 == 0)] }),
            )
            .is(200);
    }
    served.post("/api/v1/runs/t3/cancel", &json!({})).is(200);
    let parts = |filter: &str| {
        let (mut ids, mut after) = (Vec::new(), String::new());
        loop {
            let part = served.get(&format!("/api/v1/runs?limit=2{filter}{after}")).is(200).json();
            let runs = part["runs"].as_array().unwrap();
            assert!(runs.len() <= 2, "{part}");
            ids.extend(runs.iter().map(|run| text(run, "given_id").to_owned()));
            let Some(next) = part["next"].as_str() else { return ids };
            after = format!("&after={next}");
        }
    };
    assert_eq!(parts(""), ["t6", "t5", "t4", "t3", "t2", "t1", "t0"]);
    assert_eq!(parts("&status=pending&tag=even-false"), ["t5", "t1"]);
    assert_eq!(parts("&status=cancelled"), ["t3"]);
    let problem = served.get("/api/v1/runs?after=somewhere").is(400).problem();
    assert!(text(&problem, "detail").contains("next"), "{problem}");
}

#[test]
fn one_key_submits_once() {
    let served = Served::new();
    served.house.put_script("ci.yml", "true");
    let source = std::fs::read_to_string(served.house.desk().join("ci.yml")).unwrap();
    let bearer = format!("Bearer {}", served.token);
    let submit = |key: &str, source: &str| {
        let headers =
            [("Authorization", &*bearer), ("Content-Type", "application/json"), ("Idempotency-Key", key)];
        let body = json!({ "path": "ci.yml", "source": source }).to_string();
        served.ask_with("POST", "/api/v1/runs", &headers, &body)
    };
    let first = submit("a", &source).is(200).json();
    let second = submit("a", &source).is(200).json();
    let other = submit("b", &source).is(200).json();
    assert_eq!(first["run"]["id"], second["run"]["id"]);
    assert_eq!((&first["already_so"], &second["already_so"]), (&false.into(), &true.into()));
    assert_ne!(first["run"]["id"], other["run"]["id"]);
    submit("a", &format!("{source}\n# other")).is(409);
    submit(&"k".repeat(201), &source).is(400);
}

#[test]
fn tasks_go_from_one_program_to_another() {
    let served = Served::new();
    let post = |path: &str, body: Json| served.post(path, &body);
    post("/api/v1/tasks", json!({ "id": "t", "tags": ["p2p-only"], "metadata": { "n": 1 } })).is(200);
    let taken = post("/api/v1/tasks/next", json!({ "lease_ms": 60_000 })).is(200).json();
    let task = &taken["task"];
    assert_eq!((&task["task_id"], &task["metadata"]["n"]), (&"t".into(), &1.into()));
    post("/api/v1/tasks/t/extend", json!({ "lease_ms": 90_000 })).is(200);
    post("/api/v1/tasks/t/release", json!({ "fencing_token": task["fencing_token"] })).is(200);
    assert_eq!(post("/api/v1/tasks/t/complete", json!({})).is(409).problem()["kind"], "conflict");
    post("/api/v1/tasks/next", json!({ "id": "t" })).is(200);
    post("/api/v1/tasks/t/complete", json!({ "result": [1, 2] })).is(200);
    assert_eq!(served.house.one(&["task", "result", "t"])["result"], json!([1, 2]));
    assert_eq!(post("/api/v1/tasks/next", json!({})).is(200).json()["task"], Json::Null);
}

#[test]
fn a_mistake_is_told_alike_at_every_door() {
    let served = Served::new();
    served.post("/api/v1/tasks", &json!({ "id": "done" })).is(200);
    served.post("/api/v1/tasks/next", &json!({})).is(200);
    served.post("/api/v1/tasks/done/complete", &json!({})).is(200);
    // tool, arguments, the same on the command line, HTTP status, kind
    let table: [(&str, Json, &[&str], u16, &str); 6] = [
        ("get_run", json!({ "id": "feedbeef" }), &["show", "feedbeef"], 404, "unknown"),
        ("why", json!({ "id": "nothing" }), &["why", "nothing"], 404, "unknown"),
        ("list_runs", json!({ "status": "well" }), &["list", "--status", "well"], 400, "bad_input"),
        ("list_runs", json!({ "peer": "nobody" }), &["list", "--peer", "nobody"], 404, "unknown"),
        ("complete_task", json!({ "id": "done" }), &["task", "complete", "done"], 409, "conflict"),
        ("cancel_run", json!({ "id": "done" }), &["cancel", "done"], 409, "conflict"),
    ];
    for (tool, arguments, command, status, kind) in table {
        let problem = served.post(&format!("/api/v1/tools/{tool}"), &arguments).is(status).problem();
        assert_eq!(problem["kind"], kind, "{problem}");
        let said = served.house.ask(command);
        assert_ne!(said.code(), 0);
        assert!(said.err.contains(text(&problem, "detail")), "{said:?} is not {problem}");
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool, "arguments": arguments } });
        let headers = [
            ("Authorization", &*format!("Bearer {}", served.token)),
            ("Content-Type", "application/json"),
            ("Accept", "application/json, text/event-stream"),
            ("MCP-Protocol-Version", "2025-11-25"),
        ];
        let told = served.ask_with("POST", "/mcp", &headers, &call.to_string()).is(200).json();
        assert_eq!(told["result"]["isError"], true, "{told}");
        let document: Json = serde_json::from_str(text(&told["result"]["content"][0], "text")).unwrap();
        assert_eq!((&document["error"], &document["kind"]), (&problem["detail"], &problem["kind"]));
        // a command that asks this node from elsewhere
        let url = format!("http://{}", served.address);
        let elsewhere = [&["--node", &url, "--token", &served.token], command].concat();
        let afar = served.house.ask(&elsewhere);
        assert_eq!((afar.code(), &afar.err), (said.code(), &said.err), "{command:?}");
    }
}

#[test]
fn what_is_not_understood_is_told_what_is_wrong() {
    let served = Served::new();
    let bearer = format!("Bearer {}", served.token);
    let json = [("Authorization", &*bearer), ("Content-Type", "application/json")];
    for (method, path, body, status, part) in [
        ("GET", "/api/v1/runs?limt=1", "", 400, "limt"),
        ("GET", "/api/v1/runs?limit=x", "", 400, "limit=x"),
        ("GET", "/api/v1/runs?limit=1&limit=2", "", 400, "twice"),
        ("POST", "/api/v1/tasks", "{", 400, "the body"),
        ("POST", "/api/v1/tasks", "[]", 400, "JSON object"),
        ("POST", "/api/v1/tasks", "{\"id\":\"t\",\"colour\":1}", 400, "colour"),
        ("POST", "/api/v1/tasks", "{\"id\":\"\"}", 400, "id"),
        ("POST", "/api/v1/runs/t/cancel", "{\"id\":\"u\"}", 400, "in the path"),
        ("DELETE", "/api/v1/runs", "", 405, "DELETE"),
        ("GET", "/api/v1/nothing", "", 404, "openapi"),
        ("POST", "/api/v1/tools/get_runs", "{}", 404, "get_runs"),
        ("POST", "/api/v1/control", "{\"nothing\":1}", 400, "not understood"),
    ] {
        let problem = served.ask_with(method, path, &json, body).is(status).problem();
        assert!(text(&problem, "detail").contains(part), "{path}: {problem}");
    }
    let near = served.post("/api/v1/tools/get_runs", &json!({})).problem();
    assert!(near["candidates"].as_array().unwrap().contains(&"get_run".into()), "{near}");
}

#[test]
fn the_document_names_every_operation_and_they_answer() {
    let served = Served::new();
    let document = served.get("/api/v1/openapi.json").is(200).json();
    let mut asked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(operation["summary"].is_string() && operation["responses"]["200"].is_object(), "{path}");
            if method == "get" && !path.contains('{') && !path.contains("runners") {
                served.get(path).is(200);
                asked += 1;
            }
        }
    }
    assert!(asked >= 8, "{asked}");
}

#[test]
fn a_node_that_stops_ends_its_streams_and_says_so_to_nobody_new() {
    let served = Served::new();
    let mut events = served.events("/api/v1/live/events");
    let Served { live, address, .. } = served;
    live.stop().ends(0);
    // whatever is told last, the stream ends
    while events.next().is_some() {}
    assert!(std::net::TcpStream::connect(address).is_err());
}
