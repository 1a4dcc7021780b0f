//! Live streams, and clients that leave them.

use serde_json::json;

use crate::house::text;
use crate::raw::Served;

#[test]
fn events_come_as_they_are_written_and_from_any_place() {
    let served = Served::new();
    let mut events = served.events("/api/v1/live/events");
    served.post("/api/v1/tasks", &json!({ "id": "t" })).is(200);
    let (name, event) = events.next().unwrap();
    assert_eq!((name.as_str(), text(&event, "kind")), ("item", "RunSubmitted"));
    let whole: Vec<_> = served.house.json(&["replay"]);
    let from_the_start = served.events("/api/v1/live/events?from=0").take(whole.len());
    let ids: Vec<String> = from_the_start.map(|(_, event)| text(&event, "id").to_owned()).collect();
    let told: Vec<String> = whole.iter().map(|event| text(event, "id").to_owned()).collect();
    assert_eq!(ids, told);
    served.get("/api/v1/live/events?from=x").is(400);
    served.get("/api/v1/live/events?from=1000000").is(400);
}

#[test]
fn a_stream_that_broke_off_goes_on_where_it_was() {
    let served = Served::new();
    served.post("/api/v1/tasks", &json!({ "id": "one" })).is(200);
    let whole = served.house.json(&["replay"]).len();
    let (ids, seen): (Vec<String>, Vec<String>) =
        served.events("/api/v1/live/events?from=0").placed().take(whole).unzip();
    served.post("/api/v1/tasks", &json!({ "id": "two" })).is(200);
    // what a browser does by itself
    let mut on = served.events_after("/api/v1/live/events?from=0", ids.last().unwrap()).placed();
    let (_, event) = on.next().unwrap();
    assert!(!seen.contains(&event) && event.contains("RunSubmitted") && event.contains("two"), "{event}");
    // from any event on nothing is missed
    let again = served.events_after("/api/v1/live/events", &ids[0]).placed();
    let again: Vec<String> = again.take(whole).map(|(_, event)| event).collect();
    assert!(seen.iter().skip(1).all(|event| again.contains(event)), "{again:?}");
    let bearer = format!("Bearer {}", served.token);
    for wrong in ["x", "1000000"] {
        let headers = [("Authorization", &*bearer), ("Last-Event-ID", wrong)];
        served.ask_with("GET", "/api/v1/live/events", &headers, "").is(400);
    }
}

#[test]
fn a_client_that_stops_reading_is_sent_away() {
    let served = Served::new();
    served
        .house
        .put_script("ci.yml", "yes 'a line that is of some length, as lines of logs are' | head -n 200000");
    let source = std::fs::read_to_string(served.house.desk().join("ci.yml")).unwrap();
    served.post("/api/v1/runs", &json!({ "path": "ci.yml", "source": source, "id": "r" })).is(200);
    let mut open: Vec<_> = (0..63).map(|_| served.events("/api/v1/live/events")).collect();
    // it reads the head, and not one byte of many megabytes
    open.push(served.events("/api/v1/live/runs/r"));
    assert_eq!(served_streams(&served), 64);
    crate::house::until("its place is free", || (served_streams(&served) < 64).then_some(()));
    // the others, which had nothing to read, are still there
    served.post("/api/v1/tasks", &json!({ "id": "t" })).is(200);
    assert_eq!(open[0].next().unwrap().0, "item");
}

#[test]
fn a_run_is_followed_to_its_end() {
    let served = Served::new();
    served.house.put_script("ci.yml", "echo one; echo two; exit 3");
    let source = std::fs::read_to_string(served.house.desk().join("ci.yml")).unwrap();
    let submitted =
        served.post("/api/v1/runs", &json!({ "path": "ci.yml", "source": source })).is(200).json();
    let id = text(&submitted["run"], "id");
    let all: Vec<_> = served.events(&format!("/api/v1/live/runs/{id}")).collect();
    let (name, last) = all.last().unwrap();
    assert_eq!((name.as_str(), &last["status"]), ("end", &"failed".into()));
    let lines: Vec<&str> = all
        .iter()
        .filter(|(_, item)| item["what"] == "line" && item["stream"] == "out")
        .map(|(_, item)| text(item, "text"))
        .collect();
    assert_eq!(lines, ["one", "two"]);
    served.get("/api/v1/live/runs/feedbeef").is(404);
}

#[test]
fn streams_are_bounded_and_those_of_clients_that_left_are_free_again() {
    let served = Served::new();
    let mut open: Vec<_> = (0..64).map(|_| served.events("/api/v1/live/events")).collect();
    let problem = served.get("/api/v1/live/events").is(429).problem();
    assert_eq!(problem["kind"], "busy");
    // other questions are answered meanwhile
    served.get("/api/v1/status").is(200);
    open.truncate(10);
    let mut again = crate::house::until("a stream is free again", || {
        let told = served.post("/api/v1/tasks", &json!({ "id": "t" }));
        assert_eq!(told.status, 200);
        let refused = served.ask_with(
            "GET",
            "/api/v1/live/events?from=0",
            &[("Authorization", &format!("Bearer {}x", served.token))],
            "",
        );
        assert_eq!(refused.status, 401);
        (served_streams(&served) < 64).then(|| served.events("/api/v1/live/events?from=0"))
    });
    assert_eq!(text(&again.next().unwrap().1, "kind"), "ClusterFounded");
}

/// Streams that the door still holds, as far as one more says: it is refused at 64.
fn served_streams(served: &Served) -> usize {
    use std::io::{BufRead, BufReader, Write};
    let mut stream = served.connect();
    let head = format!(
        "GET /api/v1/live/events HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
        served.address, served.token
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    if line.contains(" 429 ") { 64 } else { 0 }
}

#[test]
fn whoever_comes_late_is_told_every_line_once() {
    let served = Served::new();
    let script = "for n in 1 2 3; do echo line $n; done; until test -e {desk}/go; do sleep 0.05; done; for n in 4 5 6; do echo line $n; done";
    served.house.put_script("ci.yml", script);
    let source = std::fs::read_to_string(served.house.desk().join("ci.yml")).unwrap();
    served.post("/api/v1/runs", &json!({ "path": "ci.yml", "source": source, "id": "r" })).is(200);
    let logged = |count: usize| {
        let logs = served.get("/api/v1/runs/r/logs").is(200).json();
        (logs["lines"].as_array().unwrap().iter().filter(|line| line["stream"] == "out").count() == count)
            .then_some(())
    };
    crate::house::until("it has printed", || logged(3));
    let mut late = served.house.begin(&["--json", "submit", "ci.yml", "--id", "r", "--follow"]);
    let mut stream = served.events("/api/v1/live/runs/r");
    // both listen
    stream.next().unwrap();
    served.house.put("go", "");
    let said = late.wait_for("line 6");
    assert!(said.contains("line 6"));
    let out = late.end().ends(0).out;
    for n in 1..=6 {
        assert_eq!(out.matches(&format!("\"line {n}\"")).count(), 1, "line {n} in {out}");
    }
    let rest: Vec<_> = stream.filter(|(_, item)| item["stream"] == "out").collect();
    assert!(rest.len() >= 3, "{rest:?}");
}
