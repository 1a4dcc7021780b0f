//! Things at the engine that no event speaks of: ours are removed, those of others are not touched.

use std::collections::BTreeMap;

use wfengine_docker::{ContainerSpec, Network, NetworkSpec};

use crate::bench::Bench;
use crate::house::until;

/// An intent that is in no log.
fn unknown_intent() -> String {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).unwrap();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A runner's things as a node makes them: a network, a volume and a container that runs.
fn make(bench: &Bench, name: &str, peer: &str, has_container: bool) {
    let pairs = [
        ("dev.wfengine.managed", "1"),
        ("dev.wfengine.peer", peer),
        ("dev.wfengine.runner", name),
        ("dev.wfengine.pool", &bench.lab.pool),
        ("dev.wfengine.scope", crate::bench::REPOSITORY),
    ];
    let mut labels: BTreeMap<String, String> =
        pairs.into_iter().map(|(label, value)| (label.to_owned(), value.to_owned())).collect();
    labels.insert("dev.wfengine.intent".to_owned(), unknown_intent());
    let network = NetworkSpec {
        name: name.to_owned(),
        labels: labels.clone(),
        bridge_interface: None,
        is_internal: false,
        containers_may_talk: false,
    };
    let spec = ContainerSpec {
        labels: labels.clone(),
        command: Some(vec!["idle".to_owned()]),
        network: Network::Named(name.to_owned()),
        ..ContainerSpec::hardened(bench.lab.image.id.as_str())
    };
    let engine = &bench.lab.engine;
    bench.lab.runtime.block_on(async {
        engine.create_network(&network).await.unwrap();
        engine.create_volume(name, &labels).await.unwrap();
        if has_container {
            let id = engine.create_container(name, &spec).await.unwrap();
            engine.start_container(&id).await.unwrap();
        }
    });
}

#[test]
fn what_no_event_speaks_of_is_removed_and_what_is_anothers_is_not_touched() {
    let Some(bench) = Bench::new("containers of a log that is gone") else { return };
    bench.house.ask(&["init", "--name", "alpha"]).ends(0);
    let named = |what: &str| format!("wfengine-{}-{what}", bench.lab.pool);
    let (alone, parts, of_another) = (named("alone"), named("parts"), named("another"));
    let another = format!("{}x", &bench.peer()[1..]);
    make(&bench, &of_another, &another, true);
    make(&bench, &parts, bench.peer(), false);
    make(&bench, &alone, bench.peer(), true);
    let node = bench.start(&["--max-runners", "1"]);
    until("those of a log that is gone are removed", || {
        let left = bench.lab.left();
        left.values().all(|names| *names == [of_another.as_str()]).then_some(())
    });
    // a job comes and goes, and who looked at everything again leaves it alone
    bench.queue("build");
    bench.lab.until_all_jobs_ended();
    bench.until_status("the log says that it is gone", |status| status["runners"] == serde_json::json!([]));
    let containers = bench.lab.containers();
    assert_eq!(containers.len(), 1, "{containers:?}");
    assert_eq!(containers[0].status, wfengine_docker::Status::Running);
    assert_eq!(bench.left(), "cnv");
    bench.lab.every_job_was_done_once();
    bench.story(node);
}
