//! Whoever may not ask is refused before anything is read, and whoever asks too much or too slowly holds nothing.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::house::{text, until};
use crate::raw::{Served, answer};

#[test]
fn a_name_that_was_rebound_to_this_host_is_refused() {
    let served = Served::new();
    let bearer = format!("Bearer {}", served.token);
    let port = served.address.rsplit(':').next().unwrap();
    for host in ["evil.test", &format!("evil.test:{port}"), "127.0.0.1", "127.0.0.1:1", ""] {
        let answer =
            served.ask_with("GET", "/api/v1/status", &[("Host", host), ("Authorization", &bearer)], "");
        // the library itself refuses a request without a name
        assert!(matches!(answer.status, 421 | 400), "{host}: {answer:?}");
    }
    let own = [format!("localhost:{port}"), format!("127.0.0.1:{port}"), format!("LOCALHOST:{port}")];
    for host in own {
        served.ask_with("GET", "/api/v1/status", &[("Host", &host), ("Authorization", &bearer)], "").is(200);
    }
    // an absolute target names the host as well
    let target = format!("http://evil.test:{port}/api/v1/status");
    served.ask_with("GET", &target, &[("Authorization", &bearer)], "").is(421);
    let problem = served.ask_with("GET", "/healthz", &[("Host", "evil.test")], "").is(421).problem();
    assert!(text(&problem, "detail").contains("--http-host"), "{problem}");
}

#[test]
fn a_name_and_an_origin_that_are_allowed_pass() {
    let served = Served::with(&["--http-host", "node.example:443", "--http-origin", "https://pages.example"]);
    let bearer = format!("Bearer {}", served.token);
    served
        .ask_with("GET", "/api/v1/status", &[("Host", "node.example:443"), ("Authorization", &bearer)], "")
        .is(200);
    // as clients say it
    let named = [("Host", "node.example"), ("Origin", "https://node.example"), ("Authorization", &*bearer)];
    served.ask_with("GET", "/api/v1/status", &named, "").is(200);
    let other = [("Host", "node.example:444"), ("Authorization", &*bearer)];
    served.ask_with("GET", "/api/v1/status", &other, "").is(421);
    let headers = [("Authorization", &*bearer), ("Origin", "https://pages.example")];
    let answer = served.ask_with("GET", "/api/v1/status", &headers, "").is(200);
    assert!(answer.head.contains("access-control-allow-origin: https://pages.example"), "{answer:?}");
    let headers = [("Origin", "https://pages.example"), ("Access-Control-Request-Method", "POST")];
    let asked = served.ask_with("OPTIONS", "/api/v1/runs", &headers, "").is(204);
    assert!(asked.head.contains("access-control-allow-headers: authorization"), "{asked:?}");
    // the MCP door too; and what is wrong may be read there
    let asked = served.ask_with("OPTIONS", "/mcp", &[headers[0], headers[1]], "").is(204);
    assert!(asked.head.contains("access-control-allow-origin: https://pages.example"), "{asked:?}");
    let refused = served.ask_with("GET", "/api/v1/status", &[headers[0]], "").is(401);
    assert!(refused.head.contains("access-control-allow-origin: https://pages.example"), "{refused:?}");
    let headers = [("Authorization", &*bearer), ("Origin", "http://pages.example")];
    let refused = served.ask_with("GET", "/api/v1/status", &headers, "").is(403);
    assert!(!refused.head.contains("access-control-allow-origin"), "{refused:?}");
}

#[test]
fn a_page_of_another_site_is_refused() {
    let served = Served::new();
    let bearer = format!("Bearer {}", served.token);
    for (name, value) in [
        ("Origin", "http://evil.test"),
        ("Origin", "null"),
        ("Origin", "http://127.0.0.1:1"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ] {
        let answer =
            served.ask_with("GET", "/api/v1/status", &[("Authorization", &bearer), (name, value)], "");
        let problem = answer.is(403).problem();
        assert_eq!(problem["kind"], "cross_site", "{name}: {value}");
        // the MCP door is behind the same gate
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }).to_string();
        let headers = [
            ("Authorization", &*bearer),
            ("Content-Type", "application/json"),
            ("Accept", "application/json, text/event-stream"),
            (name, value),
        ];
        served.ask_with("POST", "/mcp", &headers, &body).is(403);
    }
    let own = format!("http://{}", served.address);
    served.ask_with("GET", "/api/v1/status", &[("Authorization", &bearer), ("Origin", &own)], "").is(200);
    // what a page can send without asking first is not understood
    let headers = [("Authorization", &*bearer), ("Content-Type", "text/plain")];
    served.ask_with("POST", "/api/v1/tasks", &headers, "{\"id\":\"x\"}").is(400);
    served.house.ask(&["show", "x"]).ends(2);
}

#[test]
fn without_the_token_nothing_is_told() {
    let served = Served::new();
    let wrong = "A".repeat(43);
    for given in
        [None, Some("Bearer"), Some("Bearer "), Some("Basic YTpi"), Some(&*format!("Bearer {wrong}"))]
    {
        let headers: Vec<(&str, &str)> = given.map(|given| ("Authorization", given)).into_iter().collect();
        for path in ["/api/v1/status", "/api/v1/none", "/mcp", "/api/v1/live/events", "/metrics"] {
            let answer = served.ask_with("GET", path, &headers, "").is(401);
            assert!(answer.head.contains("www-authenticate: bearer"), "{answer:?}");
            assert!(!answer.body.contains(&served.token));
        }
    }
    let health = served.ask_with("GET", "/healthz", &[], "").is(200);
    assert_eq!(health.body, "ok\n");
    let document = served.ask_with("GET", "/api/v1/openapi.json", &[], "").is(200).json();
    assert_eq!(document["openapi"], "3.1.0");
    // the secrets are this user's alone, and stay over a restart
    for file in ["http-token", "http-submit-token"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(served.house.data().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn the_submitting_token_submits_and_does_nothing_else() {
    let served = Served::new();
    served.submitting("POST", "/api/v1/tasks", &json!({ "id": "t" })).is(200);
    let task = json!({ "task_id": "u", "workflow_id": "w", "name": "n", "tags": [], "priority": 5 });
    served.submitting("POST", "/api/v1/tools/p2p_submit_task", &task).is(200);
    for (method, path, body) in [
        ("GET", "/api/v1/runs", json!({})),
        ("POST", "/api/v1/tasks/next", json!({})),
        ("POST", "/api/v1/runs/t/cancel", json!({})),
        ("POST", "/api/v1/tools/cancel_run", json!({ "id": "t" })),
        ("POST", "/api/v1/control", json!("status")),
        ("POST", "/mcp", json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" })),
        ("GET", "/api/v1/live/events", json!({})),
    ] {
        let problem = served.submitting(method, path, &body).is(403).problem();
        assert_eq!(problem["kind"], "refused", "{path}");
    }
    assert_eq!(served.house.show("t")["status"], "pending");
}

#[test]
fn whoever_only_submits_learns_nothing_and_is_nobody() {
    let served = Served::new();
    served.submitting("POST", "/api/v1/tasks", &json!({ "id": "t" })).is(200);
    served.post("/api/v1/tasks/next", &json!({})).is(200);
    served.post("/api/v1/tasks/t/complete", &json!({ "result": "secret" })).is(200);
    served.post("/api/v1/tasks", &json!({ "id": "u" })).is(200);
    served.post("/api/v1/tasks/next", &json!({ "id": "u" })).is(200);
    served.post("/api/v1/tasks/u/fail", &json!({ "error": "secret words" })).is(200);
    // the same once more is no question for what came of it
    for id in ["t", "u"] {
        let again = served.submitting("POST", "/api/v1/tasks", &json!({ "id": id })).is(200);
        let (already, status) = (&again.json()["already_so"], &again.json()["run"]["status"]);
        assert_eq!((already, status), (&json!(true), &json!("pending")));
        assert!(!again.body.contains("secret"), "{again:?}");
    }
    for tool in ["schedule_p2p_workflow", "submit_p2p_workflow"] {
        served.submitting("POST", &format!("/api/v1/tools/{tool}"), &json!({})).is(403);
    }
    let wishes = |copies: u32| {
        let wishes = json!({
            "name": null, "inputs": {}, "metadata": null, "priority_milli": null, "retries": 0, "backoff_ms": [1, 1],
            "id": "f", "repository": { "repository": "bank/vault", "git_ref": "refs/heads/main", "sha": "" },
            "actor": "root",
        });
        served.house.put_script("ci.yml", "true");
        let source = std::fs::read_to_string(served.house.desk().join("ci.yml")).unwrap();
        json!({ "submit": { "path": "ci.yml", "source": source, "wishes": wishes, "copies": copies } })
    };
    served.submitting("POST", "/api/v1/control", &wishes(1)).is(403);
    let told = served.submitting("POST", "/api/v1/control", &wishes(0)).is(200);
    assert!(told.body.contains("done"), "{told:?}");
    assert_eq!(served.house.show("f")["repository"], "");
}

#[test]
fn what_is_too_large_is_refused_before_it_is_read() {
    let served = Served::new();
    let bearer = format!("Bearer {}", served.token);
    // one that says so is not waited for
    let mut stream = served.connect();
    let head = format!(
        "POST /api/v1/tasks HTTP/1.1\r\nHost: {}\r\nAuthorization: {bearer}\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n",
        served.address
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let told = answer(stream);
    assert_eq!(told.status, 413, "{told:?}");
    // one that does not is cut off
    let mut stream = served.connect();
    let head = format!(
        "POST /api/v1/tasks HTTP/1.1\r\nHost: {}\r\nAuthorization: {bearer}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        served.address
    );
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x1_0000], b"\r\n"].concat();
    let sent = (0..64).take_while(|_| stream.write_all(&chunk).is_ok()).count();
    let told = answer(stream);
    assert!(told.status == 413 || (told.status == 0 && sent < 64), "{sent} chunks: {told:?}");
    // and so is a head
    let long = "x".repeat(64 * 1024);
    let told = served.ask_with("GET", "/api/v1/status", &[("Authorization", &bearer), ("X-Long", &long)], "");
    assert!(matches!(told.status, 431 | 0), "{told:?}");
    served.get("/api/v1/status").is(200);
}

#[test]
fn slow_clients_are_sent_away_and_hold_up_nobody() {
    let served = Served::new();
    let begun = Instant::now();
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = served.connect();
        stream.write_all(b"GET /api/v1/status HTTP/1.1\r\nHost: ").unwrap();
        slow.push(stream);
    }
    // meanwhile others are answered and the log is written
    for n in 0..20 {
        served.post("/api/v1/tasks", &json!({ "id": format!("t{n}") })).is(200);
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    for stream in slow {
        let told = answer(stream);
        assert!(matches!(told.status, 0 | 408), "{told:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
}

#[test]
fn no_path_leads_out_of_the_interface() {
    let served = Served::new();
    for path in [
        "/../../etc/passwd",
        "/api/v1/../../../etc/passwd",
        "/api/v1/runs/..%2f..%2fetc%2fpasswd",
        "/api/v1/tools/..%2Fstatus",
        "//etc/passwd",
        "/api/v1/runs/%00",
    ] {
        let told = served.get(path);
        assert!(matches!(told.status, 400 | 404 | 405), "{path}: {told:?}");
        assert!(!told.body.contains("root:"), "{path}");
    }
    let asked = json!({ "workflow_file": "/etc/passwd" });
    for tool in ["submit_p2p_workflow", "parse_workflow_tags"] {
        let problem = served.post(&format!("/api/v1/tools/{tool}"), &asked).is(400).problem();
        assert!(text(&problem, "detail").contains("source"), "{problem}");
    }
}

#[test]
fn a_door_that_others_could_hear_is_not_opened() {
    let house = crate::house::House::new();
    let said = house.ask(&["serve", "--listen", "127.0.0.1:0", "--no-lan", "--http", "0.0.0.0:8080"]).ends(3);
    said.complains(&["--http 0.0.0.0:8080", "TLS", "--http-host"]);
    house.ask(&["serve", "--http", "nowhere"]).ends(2).complains(&["--http nowhere", "127.0.0.1:8080"]);
}

#[test]
fn a_port_that_is_taken_is_passed_over_and_the_next_one_is_shown() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let house = crate::house::House::new();
    let mut live =
        house.begin(&["serve", "--listen", "127.0.0.1:0", "--no-lan", "--http", &address.to_string()]);
    let line = live.wait_for("programs ask at");
    let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
    let port: u16 = url.rsplit(':').next().unwrap().parse().unwrap();
    assert!(port > address.port() && port <= address.port() + 100, "{line}");
    assert_eq!(house.one(&["status"])["http"], url.as_str());
    live.stop().ends(0);
    assert!(house.one(&["status"])["http"].is_null());
    let mut without = house.begin(&["serve", "--listen", "127.0.0.1:0", "--no-lan", "--no-http"]);
    without.wait_for("serves on UDP");
    until("it answers", || house.one(&["status"])["serving"].as_bool().filter(|serving| *serving));
    assert!(house.one(&["status"])["http"].is_null());
    without.stop().ends(0);
}
