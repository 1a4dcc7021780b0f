//! Whole nodes on hosts of their own: they join, part, meet again, die, and let nobody in who was not asked.
//!
//! Each test has its own namespaces and data directories and starts the program as people do. Tests run one after another: their
//! bounds are the product's, and two clusters at once on two cores would measure each other. What is printed are the times that
//! the bounds are compared with. Needs namespaces; without them every test says that it did not run.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it measured, and its helpers fail loudly"
)]

#[path = "../../tests/tests/requirements/mod.rs"]
mod requirements;

mod netns;

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use netns::{Host, Network, Process, until};
use requirements::{Requirement, require};
use rustix::process::Signal;
use serde_json::{Value as Json, json};
use wfengine_protocol::JoinLine;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Waits for its turn; nothing if there are no namespaces here.
fn network(what: &str) -> Option<(MutexGuard<'static, ()>, Network)> {
    let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let ip = require(Requirement::Namespaces, what)?;
    Some((turn, Network::new(ip)))
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// The printed line's words without the program's name.
fn join_words(line: &str) -> Vec<String> {
    let mut words = line.split_whitespace().map(str::to_owned);
    assert_eq!(words.next().as_deref(), Some("wfengine"), "the printed line: {line}");
    words.collect()
}

/// Lets a host in by the line that another one prints, and waits until they see each other.
fn join(host: &Host, inviter: &Host) -> Process {
    let line = inviter.says(&["peer", "invite"]);
    let words = join_words(&line);
    let process = host.start(&words.iter().map(String::as_str).collect::<Vec<_>>());
    until("the joiner is connected", seconds(10), || host.connected().contains(&inviter.name).then_some(()));
    process
}

/// One job, one step.
fn workflow(script: &str) -> String {
    format!(
        "on: workflow_dispatch\njobs:\n  only:\n    runs-on: ubuntu-latest\n    steps:\n      - run: {}\n",
        json!(script)
    )
}

fn submit(host: &Host, file: &str) -> String {
    host.json(&["submit", file])["run"]["id"].as_str().unwrap().to_owned()
}

fn submit_task(host: &Host, id: &str) -> Result<Json, String> {
    let wishes = json!({
        "name": null, "inputs": {}, "metadata": null, "priority_milli": null, "retries": 0, "backoff_ms": [0, 0],
        "id": null, "repository": { "repository": "", "git_ref": "", "sha": "" }, "actor": "",
    });
    let task = json!({ "task_id": id, "workflow_id": "count", "tags": [], "wishes": wishes, "copies": 0 });
    host.try_ask(&json!({ "task_submit": task }))
}

/// The run's only job, once it is planned.
fn job(run: &Json) -> Option<&Json> {
    run["jobs"].as_array()?.first()
}

fn is_over(run: &Json) -> bool {
    !["pending", "assigned", "in_progress"].contains(&run["status"].as_str().unwrap())
}

#[test]
fn a_second_host_joins_with_one_line_and_runs_a_job() {
    let Some((_turn, mut network)) = network("a second host by three commands") else { return };
    let (a, b) = (network.host("a"), network.host("b"));
    network.connect(&[&a, &b]);
    let file = network.file("where.yml", &workflow("echo \"here is $(hostname)\""));

    let begun = Instant::now();
    let serving = a.spawn(&["serve"]);
    until("the first host serves", seconds(10), || serving.said().contains("serves on UDP").then_some(()));
    let line = a.says(&["peer", "invite"]);
    let words = join_words(&line);
    let mut joining = b.spawn(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let run = until("the second host ran a job", seconds(60), || {
        assert!(joining.ended().is_none(), "the second host: {}", joining.said());
        let id = submit(&a, &file);
        let run = until("the run ended", seconds(30), || Some(a.show(&id)).filter(is_over));
        (job(&run)?["peer"] == "b").then_some(id)
    });
    println!("second host: b ran a job {:.1} s after the first command", begun.elapsed().as_secs_f64());
    assert!(begun.elapsed() < seconds(60));

    let shown = a.json(&["show", &run]);
    let job = job(&shown).unwrap();
    assert_eq!((&shown["status"], &job["peer"], &job["conclusion"]), (&json!("completed"), &json!("b"), &json!("success")));
    assert_eq!(job["claims"].as_array().unwrap().len(), 1, "{job}");
    assert!(a.says(&["logs", &run]).contains("here is b"));
    // what was asked for and nothing else: the default port, the default folder
    assert!(serving.said().contains(":4433"), "{}", serving.said());
    assert!(joining.said().contains("runs jobs that any member submits"), "{}", joining.said());
}

#[test]
fn hosts_that_were_apart_agree_within_seconds() {
    const EACH: usize = 1_000;
    let Some((_turn, mut network)) = network("1,000 submissions on each side of a cut") else { return };
    let (a, b) = (network.host("a"), network.host("b"));
    let segment = network.connect(&[&a, &b]);
    let _serving = a.start(&["serve"]);
    let _joined = join(&b, &a);
    for host in [&a, &b] {
        host.says(&["pause"]);
    }
    until("equal before the cut", seconds(10), || (a.state() == b.state()).then_some(()));

    segment.cut(&b);
    let cut = Instant::now();
    thread::scope(|scope| {
        for host in [&a, &b] {
            scope.spawn(move || {
                for number in 0..EACH {
                    submit_task(host, &format!("{}-{number}", host.name)).unwrap();
                }
            });
        }
    });
    println!("apart: {EACH} submissions on each side in {:.1} s", cut.elapsed().as_secs_f64());
    until("both noticed", seconds(60), || (a.is_connected(&[]) && b.is_connected(&[])).then_some(()));
    println!("apart: noticed by both {:.1} s after the cut", cut.elapsed().as_secs_f64());
    assert_ne!(a.state(), b.state());

    segment.mend(&b);
    let mended = Instant::now();
    until("connected again", seconds(60), || (a.is_connected(&[&b]) && b.is_connected(&[&a])).then_some(()));
    let connected = Instant::now();
    until("equal again", seconds(30), || (a.state() == b.state()).then_some(()));
    println!(
        "apart: equal {:.2} s after the connection, {:.2} s after the cable was back (connected after {:.2} s)",
        connected.elapsed().as_secs_f64(),
        mended.elapsed().as_secs_f64(),
        (connected - mended).as_secs_f64()
    );
    assert!(connected.elapsed() < seconds(5), "equal only {:?} after the connection", connected.elapsed());
    assert_eq!(a.json(&["clock"])["merkle_root"], b.json(&["clock"])["merkle_root"]);
    for host in [&a, &b] {
        let runs = host.ask(&json!({ "list": { "status": null, "peer": null, "tag": null, "since_ms": null, "limit": 5000 } }));
        let runs = runs.as_array().unwrap();
        let given: BTreeSet<&str> = runs.iter().map(|run| run["given_id"].as_str().unwrap()).collect();
        let ids: BTreeSet<&str> = runs.iter().map(|run| run["id"].as_str().unwrap()).collect();
        let submissions: BTreeSet<&str> = runs.iter().map(|run| run["submission"].as_str().unwrap()).collect();
        assert_eq!((runs.len(), ids.len(), given.len(), submissions.len()), (2 * EACH, 2 * EACH, 2 * EACH, 2 * EACH));
        for (side, number) in ["a", "b"].iter().flat_map(|side| (0..EACH).map(move |number| (side, number))) {
            assert!(given.contains(format!("{side}-{number}").as_str()), "{side}-{number} is lost on {}", host.name);
        }
        assert!(runs.iter().all(|run| run["conflict"] == false && run["status"] == "pending"));
    }
}

#[test]
fn experiment() {
    let Some((_turn, mut network)) = network("x") else { return };
    let (a, b) = (network.host("a"), network.host("b"));
    let segment = network.connect(&[&a, &b]);
    let _serving = a.start(&["serve"]);
    let _joined = join(&b, &a);
    for host in [&a, &b] {
        host.says(&["pause"]);
    }
    for (round, length) in std::env::var("CUTS").unwrap_or_default().split(',').filter_map(|word| word.parse().ok()).enumerate() {
        until("equal before the cut", seconds(60), || (a.state() == b.state() && a.is_connected(&[&b]) && b.is_connected(&[&a])).then_some(()));
        segment.cut(&b);
        let cut = Instant::now();
        for host in [&a, &b] {
            for number in 0..100 {
                submit_task(host, &format!("{}-{round}-{number}", host.name)).unwrap();
            }
        }
        let mut noticed = None;
        while cut.elapsed() < seconds(length) {
            thread::park_timeout(Duration::from_millis(20));
            if noticed.is_none() && a.is_connected(&[]) && b.is_connected(&[]) { noticed = Some(cut.elapsed()); }
        }
        segment.mend(&b);
        let mended = Instant::now();
        until("connected again", seconds(60), || (a.is_connected(&[&b]) && b.is_connected(&[&a])).then_some(()));
        let connected = mended.elapsed();
        until("equal again", seconds(60), || (a.state() == b.state()).then_some(()));
        println!("cut {length} s: noticed {noticed:?}, connected {connected:?}, equal {:?}", mended.elapsed());
    }
}
