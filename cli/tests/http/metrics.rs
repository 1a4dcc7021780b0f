//! `/metrics` after a scripted run: every figure has the value that follows from it, and a parser that nobody here wrote reads it.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value as Json, json};
use wfengine_tests::standin::{Options, RepositoryOptions, Standin, StandinClock, TokenKind};

use crate::house::{House, Live, text, until};
use crate::raw::Served;
use crate::requirements::{Requirement, require};

/// Prints every sample as one JSON document per line.
const PARSER: &str = "
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    for sample in family.samples:
        print(json.dumps([family.type, sample.name, sample.labels, sample.value]))
";

pub(crate) fn told(served: &Served) -> String {
    let answer = served.get("/metrics").is(200);
    assert!(answer.head.contains("application/openmetrics-text; version=1.0.0"), "{answer:?}");
    answer.body
}

/// A sample's value, by its line.
fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(name, _)| name == sample));
    let line = line.unwrap_or_else(|| panic!("no {sample} in {text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn figures_follow_from_what_was_done() {
    let served = Served::new();
    served.house.put_script("ci.yml", "true");
    served.house.put_script("bad.yml", "exit 1");
    served.house.ask(&["submit", "ci.yml", "--name", "good", "--wait"]).ends(0);
    served.house.ask(&["submit", "bad.yml", "--name", "bad", "--wait"]).ends(1);
    for id in ["a", "b", "c"] {
        served.post("/api/v1/tasks", &json!({ "id": id })).is(200);
    }
    served.post("/api/v1/tasks/next", &json!({ "id": "a" })).is(200);
    served.post("/api/v1/tasks/a/complete", &json!({})).is(200);
    served.post("/api/v1/runs/c/cancel", &json!({})).is(200);
    let text = told(&served);
    for (sample, expected) in [
        ("wfengine_runs{status=\"completed\"}", 2.0),
        ("wfengine_runs{status=\"failed\"}", 1.0),
        ("wfengine_runs{status=\"cancelled\"}", 1.0),
        ("wfengine_runs{status=\"pending\"}", 1.0),
        ("wfengine_queue_jobs", 1.0),
        ("wfengine_jobs_here", 0.0),
        ("wfengine_claims_total{outcome=\"won\"}", 3.0),
        ("wfengine_claims_total{outcome=\"lost\"}", 0.0),
        ("wfengine_claims_total{outcome=\"conflicting\"}", 0.0),
        ("wfengine_run_seconds_count{repository=\"\",workflow=\"good\"}", 1.0),
        ("wfengine_run_seconds_count{repository=\"\",workflow=\"bad\"}", 1.0),
        ("wfengine_job_start_seconds_count{repository=\"\",workflow=\"a\"}", 1.0),
        ("wfengine_peers", 0.0),
        ("wfengine_peers_connected", 0.0),
        ("wfengine_paused", 0.0),
        ("active_runners", 0.0),
        ("queued_workflows", 0.0),
        ("repositories_monitored", 0.0),
        ("iterations", 0.0),
        ("provisioned_runners", 0.0),
    ] {
        assert_eq!(value(&text, sample), expected, "{sample}");
    }
    assert_eq!(
        value(&text, "wfengine_log_events"),
        served.house.one(&["status"])["events"].as_f64().unwrap()
    );
    assert!(value(&text, "wfengine_disk_free_bytes") > 0.0);
    let watermark =
        |level: &str| value(&text, &format!("wfengine_disk_watermark_bytes{{level=\"{level}\"}}"));
    assert_eq!((watermark("low"), watermark("critical")), (1_073_741_824.0, 268_435_456.0));
    assert_eq!(value(&text, "wfengine_replication_sent_bytes_total"), 0.0);
    assert_eq!(value(&text, "wfengine_replication_received_bytes_total"), 0.0);
    assert!(value(&text, "wfengine_commit_seconds_count") > 5.0);
    // a job that took no time at all is in the buckets from its own upwards
    let all = value(&text, "wfengine_run_seconds_bucket{le=\"+Inf\",repository=\"\",workflow=\"good\"}");
    assert_eq!(all, 1.0);
}

#[test]
fn what_went_to_a_peer_and_what_came_from_it_are_counted() {
    let served = Served::new();
    let line = text(&served.house.one(&["peer", "invite"]), "join_line").to_owned();
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    let second = House::new();
    let begin =
        [&words[..], &["--listen", "127.0.0.1:0", "--no-lan", "--no-http", "--name", "second"]].concat();
    let mut peer = Live::start(second.command(&begin));
    peer.wait_for("serves on UDP");
    served.house.ask(&["task", "submit", "--task-id", "here"]).ends(0);
    second.ask(&["task", "submit", "--task-id", "there"]).ends(0);
    let own = until("both tasks are here and what was sent is counted", || {
        let text = told(&served);
        let has = |sample: &str| text.lines().any(|line| line == sample);
        let both = has("wfengine_runs{status=\"pending\"} 2.0");
        let equal = has("wfengine_peer_lacks_events{peer=\"second\"} 0.0")
            && has("wfengine_peer_owes_events{peer=\"second\"} 0.0");
        Some(text).filter(|_| both && equal)
    });
    // the cluster's founding, the member's admission and a task went there; a task and what the member says of itself came
    assert!(value(&own, "wfengine_replication_sent_bytes_total") > 500.0, "{own}");
    assert!(value(&own, "wfengine_replication_received_bytes_total") > 100.0, "{own}");
    assert_eq!(value(&own, "wfengine_peers_connected"), 1.0);
    let sent = value(&own, "wfengine_replication_sent_bytes_total");
    let size = 8 * 1024;
    let padding = format!("{{\"padding\": \"{}\"}}", "x".repeat(size));
    served.house.ask(&["task", "submit", "--task-id", "large", "--metadata", &padding]).ends(0);
    until("a large task was sent", || {
        let now = value(&told(&served), "wfengine_replication_sent_bytes_total");
        (now >= sent + size as f64).then_some(())
    });
    peer.stop().ends(0);
}

#[test]
fn what_is_left_of_githubs_limit_is_told_by_a_node_that_asked_it() {
    if require(Requirement::Git, "what is left of GitHub's limit").is_none() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = Options { clock: StandinClock::real(), ..Options::default() };
    let github = runtime.block_on(Standin::start(options)).unwrap();
    github.add_user("octo");
    github.add_repository("octo/one", &RepositoryOptions::default());
    let served = Served::new();
    let before = told(&served);
    assert!(!before.contains("wfengine_github_requests_remaining{"), "{before}");
    served.house.put("token", github.token(&TokenKind::classic("octo")));
    let look = ["discover", "once", "--owner", "octo", "--token-file", "token", "--api", &github.base_url()];
    served.house.ask(&look).ends(0);
    let text = told(&served);
    let [limit, remaining, reset] = ["requests_limit", "requests_remaining", "reset_seconds"]
        .map(|name| value(&text, &format!("wfengine_github_{name}{{resource=\"core\"}}")));
    assert!(limit > 0.0 && remaining < limit && remaining > limit - 100.0, "{remaining} of {limit}");
    assert!(reset > 0.0 && reset <= 3_700.0, "{reset}");
}

#[test]
fn a_parser_from_elsewhere_reads_them() {
    let Some(python) = require(Requirement::Prometheus, "figures read by Prometheus' own parser") else {
        return;
    };
    let served = Served::new();
    served.house.ask(&["task", "submit", "--task-id", "t"]).ends(0);
    let text = told(&served);
    let mut parser = Command::new(python)
        .args(["-c", PARSER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    parser.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = parser.wait_with_output().unwrap();
    assert!(output.status.success(), "{text}");
    let mut kinds: BTreeMap<String, String> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let sample: Json = serde_json::from_str(line).unwrap();
        kinds.insert(sample[1].as_str().unwrap().to_owned(), sample[0].as_str().unwrap().to_owned());
    }
    for (name, kind) in [
        ("wfengine_claims_total", "counter"),
        ("wfengine_commit_seconds_bucket", "histogram"),
        ("wfengine_queue_jobs", "gauge"),
        ("iterations", "gauge"),
    ] {
        assert_eq!(kinds.get(name).map(String::as_str), Some(kind), "{kinds:?}");
    }
}
