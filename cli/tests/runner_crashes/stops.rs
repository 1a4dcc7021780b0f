//! A node that ends while its runners go on: killed or stopped, while they start, while they run, while they end.

use crate::bench::{Bench, intents, name_in};
use crate::house::until;
use crate::proxy::{Moment, Trap};

/// The start of a container, kept waiting.
const STARTING: Trap = Trap { method: "POST", path: "*/containers/*/start", moment: Moment::Held };

fn busy(status: &serde_json::Value) -> bool {
    status["runners"].as_array().unwrap().iter().any(|runner| runner["busy"] == true)
}

#[test]
fn a_runner_that_works_is_adopted_and_its_end_is_recorded() {
    let Some(bench) = Bench::new("a node killed while a job runs") else { return };
    let mut node = bench.start(&["--max-runners", "1"]);
    let job = bench.queue("build do-slow-8");
    bench.until_status("the runner has its job", busy);
    node.kill();
    assert_eq!(bench.left(), "cnv");
    let node = bench.serve();
    bench.until_status("the next process sees its job", busy);
    assert!(bench.lab.standin.job(job).completed_at.is_none(), "the job ended before it was looked at");
    bench.until_all_is_over();
    bench.lab.every_job_was_done_once();
    assert_eq!(bench.started(), 1);
    let story = bench.story(node);
    assert_eq!(intents(&story), 1, "{story}");
    let ended = format!("ended with code 0 after job {} of octo/one", job.0);
    assert!(story.contains(&ended), "{story}");
    let log = bench.logs(&name_in(&story)).ends(0);
    assert!(log.out.contains("completed with result: Succeeded"), "{log:?}");
}

#[test]
fn a_runner_that_ended_while_nobody_served_is_concluded_by_the_next_process() {
    let Some(bench) = Bench::new("a container that ends while nobody serves") else { return };
    let mut node = bench.start(&["--max-runners", "1"]);
    let job = bench.queue("build do-slow-2");
    bench.until_job_runs(job);
    node.kill();
    until("the container ends", || {
        let containers = bench.lab.containers();
        (containers.len() == 1 && containers[0].status.is_over()).then_some(())
    });
    assert_eq!(bench.left(), "cnv");
    let node = bench.serve();
    bench.until_all_is_over();
    bench.lab.every_job_was_done_once();
    assert_eq!(bench.started(), 1);
    let story = bench.story(node);
    assert!(story.contains("ended with code 0"), "{story}");
    let log = bench.logs(&name_in(&story)).ends(0);
    assert!(log.out.contains("completed with result: Succeeded"), "{log:?}");
}

#[test]
fn a_node_that_stops_while_a_runner_starts_brings_it_to_its_start() {
    let Some(bench) = Bench::new("a node that stops while a runner starts") else { return };
    let mut node = bench.start(&["--max-runners", "1"]);
    bench.engine_door.set(STARTING, node.pid());
    bench.queue("build do-slow-1");
    bench.engine_door.until_sprung();
    node.signal(rustix::process::Signal::TERM);
    // it waits for what it has begun
    assert!(node.goes_on());
    bench.engine_door.let_go();
    node.end().ends(0);
    let story = bench.house.ask(&["replay"]).ends(0).out;
    assert!(story.contains(" started in container "), "{story}");
    let node = bench.serve();
    bench.until_all_is_over();
    bench.lab.every_job_was_done_once();
    assert_eq!(bench.started(), 1);
    assert_eq!(intents(&bench.story(node)), 1);
}

#[test]
fn a_node_does_not_wait_for_ever_for_a_start_that_hangs() {
    let Some(bench) = Bench::new("a node that stops while a start hangs") else { return };
    let node = bench.start(&["--max-runners", "1"]);
    bench.engine_door.set(STARTING, node.pid());
    bench.queue("build");
    bench.engine_door.until_sprung();
    let said = node.stop().ends(0);
    assert!(said.err.contains("the next start goes on with it"), "{said:?}");
    assert_eq!(bench.left(), "cnv");
    let node = bench.serve();
    bench.until_all_is_over();
    bench.lab.every_job_was_done_once();
    // who was asked to start it comes too late
    bench.engine_door.let_go();
    assert_eq!(bench.started(), 1);
    assert_eq!(intents(&bench.story(node)), 2);
    assert_eq!(bench.left(), "");
}

#[test]
fn a_node_that_stops_leaves_its_runners_to_their_jobs() {
    let Some(bench) = Bench::new("a node that stops while a runner works") else { return };
    let node = bench.start(&["--max-runners", "1"]);
    let job = bench.queue("build do-slow-6");
    bench.until_job_runs(job);
    node.stop().ends(0);
    assert_eq!(bench.left(), "cnv");
    assert!(bench.lab.standin.job(job).completed_at.is_none(), "it waited for the job");
    let node = bench.serve();
    bench.until_all_is_over();
    bench.lab.every_job_was_done_once();
    assert_eq!(bench.started(), 1);
    assert_eq!(intents(&bench.story(node)), 1);
}
