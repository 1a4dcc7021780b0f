//! The chapter of the runners: a pool is turned on, one runner lives its whole life, others end otherwise.

use wfengine_storage_format::{
    Body, EventId, PoolChanged, RunnerCause, RunnerEnd, RunnerExited, RunnerIntended, RunnerJob,
    RunnerRemoved, RunnerStarted,
};

use super::log::patched;
use super::{Author, Log, Saying, blob};

pub(super) fn tell(log: &mut Log, alice: &mut Author) {
    let labels = ["self-hosted", "linux", "x64"].map(str::to_owned).to_vec();
    let pool = PoolChanged {
        pool: "default".to_owned(),
        is_on: true,
        source: "github.com".to_owned(),
        scopes: vec!["example".to_owned(), "octo/hello".to_owned()],
        labels: labels.clone(),
        runners_max: 10,
        cluster_max: 0,
        idle_min: 2,
        interval_ms: 120_000,
        policy_json: r#"{"image":"ghcr.io/actions/actions-runner","memory":4294967296}"#.to_owned(),
    };
    log.say(alice, &[], Saying::of(pool.clone(), &[]));
    let off = PoolChanged {
        is_on: false,
        source: String::new(),
        scopes: Vec::new(),
        labels: Vec::new(),
        runners_max: 0,
        idle_min: 0,
        interval_ms: 0,
        policy_json: String::new(),
        ..pool.clone()
    };
    log.write("PoolChanged-off", alice, &[], vec![(Saying::of(off, &[]), "ok")]);
    let cause =
        RunnerCause::Job { repository: "example/widgets".to_owned(), run: 30_433_642, job: 399_444_496 };
    let intended = RunnerIntended {
        pool: "default".to_owned(),
        name: "wfengine-default-1a2b3c4d".to_owned(),
        source: "github.com".to_owned(),
        scope: "example/widgets".to_owned(),
        labels,
        cause,
    };
    let intent = log.say(alice, &[], Saying::of(intended.clone(), &[]));
    let otherwise = [("idle", RunnerCause::Idle), ("asked", RunnerCause::Asked)].map(|(name, cause)| {
        let (name, scope) = (format!("wfengine-default-{name}"), "example".to_owned());
        (Saying::of(RunnerIntended { name, scope, cause, ..intended.clone() }, &[]), "ok")
    });
    let idle = log.write("RunnerIntended-otherwise", alice, &[], otherwise.into());
    let started = RunnerStarted {
        intent,
        runner: 23,
        container: "5f0c2b8a41d7e6934c1b0a9f8e7d6c5b4a39281706f5e4d3c2b1a0918273645f".to_owned(),
        image: "sha256:9d8c7b6a594837261504f3e2d1c0b9a8978685746352413029181706f5e4d3c2".to_owned(),
    };
    log.say(alice, &[], Saying::of(started.clone(), &[]));
    let ran = RunnerJob { repository: "example/widgets".to_owned(), run: 30_433_642, job: 399_444_496 };
    let end = RunnerEnd::Done { exit_code: -1 };
    let exited = RunnerExited { intent, end, log: Some(blob("printed")), ran: Some(ran) };
    log.say(alice, &[], Saying::of(exited, &[]).keeping(&[blob("printed")]));
    let ends: [(EventId, RunnerEnd); 3] = [
        (idle, RunnerEnd::Failed { what: "the listener crashed".to_owned() }),
        (idle, RunnerEnd::NeverStarted { what: "no space left on device".to_owned() }),
        (idle, RunnerEnd::Stopped { why: "the pool is smaller now".to_owned() }),
    ];
    let ends =
        ends.map(|(intent, end)| (Saying::of(RunnerExited { intent, end, log: None, ran: None }, &[]), "ok"));
    log.write("RunnerExited-otherwise", alice, &[], ends.into());
    log.say(alice, &[], Saying::of(RunnerRemoved { intent }, &[]));

    let mut bound = |file: &str, body: Body, from: &[u8], to: &[u8]| {
        let (kind, bytes) = patched(body, from, to);
        log.write(file, alice, &[], vec![(Saying::raw(kind, &bytes), "void:bound")]);
    };
    bound("void-pool-nameless", pool.into(), b"\x07default", b"\x00");
    let bare = RunnerIntended { labels: vec!["x".to_owned()], cause: RunnerCause::Idle, ..intended };
    bound("void-runner-without-labels", bare.into(), b"\x01\x01x", b"\x00");
    let container = [&[64], started.container.as_bytes()].concat();
    bound("void-runner-without-container", started.clone().into(), &container, b"\x00");
}
