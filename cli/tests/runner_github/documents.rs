//! What `list-workflows`, `status` and `list-containers` print, against the older program's document.

use serde_json::{Value as Json, json};

use crate::begin::{queue, start, until_done, until_service};
use crate::house::{House, Live, until};
use crate::lab::{LABELS, Lab};

/// The fields of an object as they stand in a text, in order.
fn fields(text: &str, indent: &str) -> Vec<String> {
    let field = |line: &str| {
        let rest = line.strip_prefix(indent)?.strip_prefix('"')?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    text.lines().filter_map(field).collect()
}

fn said(lab: &Lab, house: &House, verb: &str) -> (String, Json) {
    let text = Live::start(lab.command(house, &["runner", verb])).end().ends(0).out;
    let document = serde_json::from_str(&text).unwrap();
    (text, document)
}

#[test]
fn list_workflows_prints_the_documents_array_with_and_without_a_node() {
    let Some(lab) = Lab::new(&["octo/one", "octo/two", "octo/three"], "queues as a document") else { return };
    let house = House::new();
    // two that wait, one that runs, one that failed; two that run; nothing
    for _ in 0..2 {
        lab.standin.queue_jobs("octo/one", "build", &LABELS, 2);
    }
    let theirs = ["a", "b", "c", "d"].map(|name| lab.standin.add_runner("octo/one", name, &["linux"]));
    let running = queue(&lab, "octo/one", "build");
    lab.standin.take_job(theirs[0], running);
    let failed = queue(&lab, "octo/one", "build");
    lab.standin.take_job(theirs[1], failed);
    lab.standin.end_job(failed, "failure");
    let others = ["e", "f"].map(|name| lab.standin.add_runner("octo/two", name, &["linux"]));
    for runner in others {
        let job = queue(&lab, "octo/two", "build");
        lab.standin.take_job(runner, job);
    }
    let wanted = json!([
        {"repo": "octo/one", "total_workflows": 4, "running": 1, "failed": 1, "pending": 2},
        {"repo": "octo/three", "total_workflows": 0, "running": 0, "failed": 0, "pending": 0},
        {"repo": "octo/two", "total_workflows": 2, "running": 2, "failed": 0, "pending": 0},
    ]);
    let documented = ["repo", "total_workflows", "running", "failed", "pending"];
    let held_against = |(text, document): (String, Json)| {
        let rows = document.as_array().unwrap().clone();
        let shown: Vec<Json> = rows
            .iter()
            .map(|row| {
                documented
                    .iter()
                    .map(|field| ((*field).to_owned(), row[field].clone()))
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            })
            .collect();
        assert_eq!(Json::from(shown), wanted);
        assert_eq!(fields(&text, "    ")[..5], documented, "{text}");
        rows
    };
    // nobody serves here, and no pool was ever on
    let rows = held_against(said(&lab, &house, "list-workflows"));
    assert_eq!((&rows[0]["queued_jobs"], &rows[2]["queued_jobs"]), (&4.into(), &0.into()), "{rows:?}");
    // it started nothing
    assert!(lab.standin.runners().iter().all(|runner| !runner.name.starts_with("wfengine")));
    // a node that serves, with a pool that can take none of them
    let node = lab.serve(&house, &[]);
    held_against(said(&lab, &house, "list-workflows"));
    node.stop().ends(0);
    lab.is_content();
}

#[test]
fn status_and_list_containers_tell_of_a_job_that_runs() {
    let Some(lab) = Lab::new(&["octo/one", "octo/two"], "the state as a document") else { return };
    let house = House::new();
    let off = lab.status(&house);
    assert_eq!(
        (&off["running"], &off["start_time"], &off["active_runners"]),
        (&false.into(), &Json::Null, &0.into())
    );
    let node = start(&lab, &house, &["--max-runners", "1"]);
    let job = queue(&lab, "octo/one", "build do-slow-6");
    until_service(&lab, "it has begun", |standin| standin.job(job).started_at.is_some());
    let waiting = queue(&lab, "octo/two", "build");
    let status = until("the runner is seen at work with its job, the other job waiting", || {
        let status = lab.status(&house);
        let has_it = |runner: &Json| runner["busy"] == true && !runner["job"].is_null();
        let is_busy = status["runners"].as_array().unwrap().iter().any(has_it);
        (is_busy && status["queued_workflows"] == 1).then_some(status)
    });
    let (text, containers) = said(&lab, &house, "list-containers");
    let text_of_status = Live::start(lab.command(&house, &["runner", "status"])).end().ends(0).out;
    let documented = [
        "running",
        "start_time",
        "iterations",
        "active_runners",
        "queued_workflows",
        "repositories_monitored",
        "last_check",
        "provisioned_runners",
    ];
    assert_eq!(fields(&text_of_status, "  ")[..8], documented, "{text_of_status}");
    assert_eq!((&status["running"], &status["active_runners"]), (&true.into(), &1.into()), "{status}");
    assert_eq!((&status["repositories_monitored"], &status["provisioned_runners"]), (&2.into(), &1.into()));
    assert!(status["iterations"].as_u64().unwrap() > 0);
    let is_time = |value: &Json| {
        let text = value.as_str().unwrap_or_default();
        text.len() == "2024-01-15T10:30:00Z".len() && text.ends_with('Z') && text.as_bytes()[10] == b'T'
    };
    assert!(is_time(&status["start_time"]) && is_time(&status["last_check"]), "{status}");
    let runner = lab.standin.runners().remove(0);
    let shown = &status["runners"][0];
    assert_eq!(
        (&shown["name"], &shown["scope"], &shown["runner"], &shown["phase"]),
        (&runner.name.as_str().into(), &"octo/one".into(), &runner.id.0.into(), &"busy".into()),
        "{status}"
    );
    assert!(shown["job"].as_str().unwrap().starts_with("octo/one "), "{status}");
    let at_engine = lab.containers().remove(0);
    let listed = containers.as_array().unwrap();
    assert_eq!(listed.len(), 1, "{containers}");
    assert_eq!(fields(&text, "    ")[..4], ["container_id", "repo", "status", "created_at"], "{text}");
    assert_eq!(listed[0]["container_id"], at_engine.id[..12]);
    assert_eq!((&listed[0]["repo"], &listed[0]["status"]), (&"octo/one".into(), &"running".into()));
    assert!(is_time(&listed[0]["created_at"]), "{containers}");
    assert_eq!((&listed[0]["name"], &listed[0]["busy"]), (&runner.name.as_str().into(), &true.into()));
    assert_eq!(listed[0]["job"], shown["job"], "{containers}");
    assert_eq!((&listed[0]["runner"], &listed[0]["known"]), (&runner.id.0.into(), &true.into()));
    until_done(&lab, job);
    until_done(&lab, waiting);
    lab.until_nothing_is_left();
    node.stop().ends(0);
    let (_, none) = said(&lab, &house, "list-containers");
    assert_eq!(none, json!([]));
    lab.is_content();
}
