//! `/metrics` after a scripted run: every figure has the value that follows from it, and a parser that nobody here wrote reads it.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value as Json, json};

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

fn told(served: &Served) -> String {
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
    assert!(value(&text, "wfengine_commit_seconds_count") > 5.0);
    // a job that took no time at all is in the buckets from its own upwards
    let all = value(&text, "wfengine_run_seconds_bucket{le=\"+Inf\",repository=\"\",workflow=\"good\"}");
    assert_eq!(all, 1.0);
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
