//! `runner start`, `stop`, `provision`, `stop-container` and `logs` in a node that serves, and where none does.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;

use crate::cluster::{
    end, intents, registered, rules_of, until_all_jobs_ended, until_at_work, until_job, until_looked,
    until_waiting,
};
use crate::documents::Schemas;
use crate::house::{House, Live, is_alive, text, until};
use crate::lab::{LABELS, Lab};

#[track_caller]
pub fn has_fields(answer: &Json, fields: &[&str]) {
    for field in fields {
        assert!(answer.get(field).is_some(), "no `{field}` in {answer}");
    }
}

/// What `runner start` of another pool of this lab says.
fn other_pool(lab: &Lab, name: &str, more: &[&str]) -> Vec<String> {
    let url = lab.standin.runner_url();
    let port = url.rsplit(':').next().unwrap().trim_end_matches('/');
    let mut arguments: Vec<String> = lab.start_arguments(port, more).into_iter().map(str::to_owned).collect();
    let at = arguments.iter().position(|argument| *argument == lab.pool).unwrap();
    arguments[at] = name.to_owned();
    arguments
}

/// Names of a pool's containers.
fn containers(lab: &Lab, pool: &str) -> Vec<String> {
    let listed = lab.runtime.block_on(lab.engine.containers(&[("dev.wfengine.pool", pool)])).unwrap();
    listed.into_iter().map(|state| state.name).collect()
}

#[test]
fn a_pool_that_is_started_again_takes_its_new_options_and_keeps_its_runners() {
    let Some(lab) = Lab::new(&["octo/one"], "a pool that is started again") else { return };
    let house = House::new();
    let node = lab.serve(&house, &[]);
    let first = lab.turn_on(&house, &["--json", "--max-runners", "2"]).ends(0).json().remove(0);
    has_fields(&first, &["success", "running", "message", "pools", "notes"]);
    Schemas::new(&house).hold("runner start", std::slice::from_ref(&first));
    assert_eq!((&first["success"], &first["running"]), (&true.into(), &true.into()), "{first}");
    assert_eq!(first["pools"][0]["max_runners"], 2);
    lab.standin.queue_jobs("octo/one", "build do-slow-5", &LABELS, 6);
    until_at_work(&lab, 2);
    let before = containers(&lab, &lab.pool);
    let again =
        lab.turn_on(&house, &["--json", "--max-runners", "4", "--labels", "more"]).ends(0).json().remove(0);
    assert_eq!(again["pools"][0]["max_runners"], 4, "{again}");
    // those at work are taken over, and there is room for two more
    until_at_work(&lab, 4);
    let after = containers(&lab, &lab.pool);
    assert!(before.iter().all(|name| after.contains(name)), "{before:?} {after:?}");
    assert_eq!(after.len(), 4, "{after:?}");
    // a pool with other labels beside it: each takes its own jobs
    let other = format!("{}x", lab.pool);
    let _swept = Swept { lab: &lab, pool: other.clone() };
    let said = Live::start(lab.command(
        &house,
        &other_pool(&lab, &other, &["--labels", "gpu"]).iter().map(String::as_str).collect::<Vec<_>>(),
    ))
    .end()
    .ends(0);
    assert!(said.out.contains(&format!("pool {other} is on")) && said.out.contains(&lab.pool), "{said:?}");
    let gpu = lab.standin.queue_jobs("octo/one", "heavy do-slow-2", &["self-hosted", "gpu"], 2);
    let more = lab.standin.queue_jobs("octo/one", "light", &["self-hosted", "more"], 2);
    until_all_jobs_ended(&lab);
    lab.every_job_was_done_once();
    let all = intents(&house);
    let pool_of = |job: &wfengine_tests::standin::JobId| {
        let name = lab.standin.job(*job).runner_name.unwrap();
        all.iter().find(|intent| intent.name == name).unwrap().pool.clone()
    };
    assert!(gpu.iter().all(|job| pool_of(job) == other), "{all:?}");
    assert!(more.iter().all(|job| pool_of(job) == lab.pool), "{all:?}");
    assert_eq!((all.len(), registered(&lab)), (10, 10), "{all:?}");
    let status = lab.status(&house);
    assert_eq!(status["pools"].as_array().unwrap().len(), 2, "{status}");
    // one of them goes on when the other stops
    let stopped = house.one(&["runner", "stop", "--pool", &other]);
    has_fields(&stopped, &["success", "running", "message", "pools", "draining"]);
    assert_eq!(
        (&stopped["running"], &stopped["pools"][0]),
        (&true.into(), &other.clone().into()),
        "{stopped}"
    );
    lab.standin.queue_jobs("octo/one", "build", &LABELS, 1);
    until_all_jobs_ended(&lab);
    let unknown = house.ask(&["runner", "stop", "--pool", "nowhere"]).ends(1);
    assert!(unknown.err.contains("no pool nowhere") && unknown.err.contains(&other), "{unknown:?}");
    house.ask(&["runner", "stop"]).ends(0);
    lab.until_nothing_is_left();
    until("nothing of the other is left", || containers(&lab, &other).is_empty().then_some(()));
    end(&lab, &house, node);
}

/// Removes what a failed test left of a second pool.
struct Swept<'a> {
    lab: &'a Lab,
    pool: String,
}

impl Drop for Swept<'_> {
    fn drop(&mut self) {
        let labels = [("dev.wfengine.pool", self.pool.as_str())];
        let engine = &self.lab.engine;
        self.lab.runtime.block_on(async {
            for container in engine.containers(&labels).await.unwrap_or_default() {
                let _ = engine.remove_container(&container.id).await;
            }
            for network in engine.networks(&labels).await.unwrap_or_default() {
                let _ = engine.remove_network(&network.name).await;
            }
            for volume in engine.volumes(&labels).await.unwrap_or_default() {
                let _ = engine.remove_volume(&volume.name).await;
            }
        });
    }
}

#[test]
fn a_pool_survives_its_node_and_one_in_the_background_is_started_for_it() {
    let Some(lab) = Lab::new(&["octo/one"], "a pool that survives its node") else { return };
    let house = House::new();
    // no node serves: this process becomes it
    let node = lab.start(&house, &[]);
    until_looked(&lab, &house, 1);
    let long = lab.standin.queue_jobs("octo/one", "build do-slow-6", &LABELS, 1)[0];
    until_at_work(&lab, 1);
    node.stop().ends(0);
    let told = lab.status(&house);
    assert_eq!((&told["running"], &told["pools"][0]["on"]), (&false.into(), &true.into()), "{told}");
    let node = lab.serve(&house, &[]);
    lab.standin.queue_jobs("octo/one", "build", &LABELS, 2);
    until_all_jobs_ended(&lab);
    lab.every_job_was_done_once();
    lab.until_nothing_is_left();
    assert_eq!((registered(&lab), lab.watched.lock().unwrap().started), (3, 3));
    assert!(lab.standin.job(long).runner_name.is_some());
    node.stop().ends(0);
    // turned off while no node serves, it stays off
    let stopped = house.one(&["runner", "stop"]);
    assert_eq!((&stopped["success"], &stopped["running"]), (&true.into(), &false.into()), "{stopped}");
    assert_eq!(rules_of(&house), [""; 0]);
    let node = lab.serve(&house, &[]);
    assert_eq!(lab.status(&house)["running"], false);
    node.stop().ends(0);
    // a node of its own, that outlives the command
    let started = lab.turn_on(&house, &["--background", "--listen", "127.0.0.1:0", "--no-lan"]).ends(0);
    let pid: i32 =
        started.out.split("its node is process ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let _ended = Ended(pid);
    assert!(is_alive(pid));
    assert_eq!(lab.status(&house)["running"], true);
    lab.standin.queue_jobs("octo/one", "build", &LABELS, 1);
    until_all_jobs_ended(&lab);
    lab.every_job_was_done_once();
    lab.until_nothing_is_left();
    house.ask(&["runner", "stop"]).ends(0);
    until("the rules are gone", || rules_of(&house).is_empty().then_some(()));
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    until("it has ended", || (!is_alive(pid)).then_some(()));
    house.ask(&["replay", "--verify"]).ends(0);
    lab.is_content();
}

/// A process that no test outlives.
struct Ended(i32);

impl Drop for Ended {
    fn drop(&mut self) {
        if is_alive(self.0) {
            let _ = kill_process(Pid::from_raw(self.0).unwrap(), Signal::KILL);
        }
    }
}

#[test]
fn stop_lets_jobs_finish_and_leaves_no_rule_of_the_firewall() {
    let Some(lab) = Lab::new(&["octo/one"], "a pool that is stopped") else { return };
    let house = House::new();
    let node = lab.start(&house, &["--max-runners", "2"]);
    let jobs = lab.standin.queue_jobs("octo/one", "build do-slow-4", &LABELS, 3);
    until_at_work(&lab, 2);
    let rules = rules_of(&house);
    assert!(
        rules.iter().any(|rule| rule.ends_with("-j REJECT --reject-with icmp-port-unreachable")),
        "{rules:?}"
    );
    let stopped = house.one(&["runner", "stop"]);
    assert_eq!((&stopped["success"], &stopped["running"]), (&true.into(), &false.into()), "{stopped}");
    assert_eq!(stopped["draining"].as_array().unwrap().len(), 2, "{stopped}");
    lab.until_nothing_is_left();
    for job in &jobs[..2] {
        assert_eq!(lab.standin.job(*job).conclusion.as_deref(), Some("success"));
    }
    assert_eq!(lab.standin.job(jobs[2]).handed_out, 0);
    assert_eq!(lab.watched.lock().unwrap().started, 2);
    until("the rules are gone", || rules_of(&house).is_empty().then_some(()));
    let again = house.ask(&["runner", "stop"]).ends(0);
    assert!(again.out.contains("no pool was on"), "{again:?}");
    assert_eq!(lab.status(&house)["running"], false);
    node.stop().ends(0);
    lab.standin.cancel_job(jobs[2]);
    lab.is_content();
}

#[test]
fn runners_are_provisioned_and_stopped_by_hand() {
    let Some(lab) = Lab::new(&["octo/one", "octo/two"], "runners that are asked for") else { return };
    let house = House::new();
    let nobody = house.ask(&["runner", "provision"]).ends(3);
    assert!(nobody.err.contains("wfengine runner start"), "{nobody:?}");
    let node = lab.start(&house, &["--max-runners", "3"]);
    until_looked(&lab, &house, 1);
    let idle = house.ask(&["runner", "provision"]).ends(0);
    assert!(idle.out.contains("nothing is queued"), "{idle:?}");
    let one = house.one(&["runner", "provision", "--repo", "octo/one"]);
    let mut schemas = Schemas::new(&house);
    has_fields(&one, &["success", "data", "message"]);
    schemas.hold("runner provision", std::slice::from_ref(&one));
    has_fields(&one["data"], &["repo", "container_id", "token_generated"]);
    assert_eq!((&one["success"], text(&one["data"], "repo")), (&true.into(), "octo/one"), "{one}");
    let by_id = text(&one["data"], "container_id").to_owned();
    let two = house.ask(&["runner", "provision", "--repo", "octo/two"]).ends(0);
    let by_name = two.out.split("runner ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    until_waiting(&lab, 2);
    let listed = house.one(&["runner", "list-containers"]);
    for container in listed.as_array().unwrap() {
        has_fields(container, &["container_id", "repo", "status", "created_at", "name", "pool", "known"]);
        assert_eq!(
            (text(container, "status"), &container["known"]),
            ("running", &true.into()),
            "{container}"
        );
    }
    assert!(
        listed.as_array().unwrap().iter().any(|container| text(container, "container_id") == by_id),
        "{listed}"
    );
    // the third one never connects, so that a job waits at capacity
    lab.standin.order_runners("never-connects", 1);
    house.ask(&["runner", "provision", "--repo", "octo/one"]).ends(0);
    let full = house.ask(&["runner", "provision", "--repo", "octo/two"]).ends(1);
    assert!(
        full.out.contains("At capacity: 3/3 runners active") && full.out.contains("--max-runners"),
        "{full:?}"
    );
    let full = house.json_of(&["runner", "provision", "--repo", "octo/two"], 1).remove(0);
    assert_eq!((&full["success"], text(&full["data"], "status")), (&false.into(), "failed"), "{full}");
    // one by the beginning of its id, one by its name
    let gone = house.one(&["runner", "stop-container", "--container", &by_id[..6]]);
    has_fields(&gone, &["success", "message"]);
    schemas.hold("runner provision", &[full]);
    schemas.hold("runner stop-container", &[gone]);
    until_waiting(&lab, 1);
    house.ask(&["runner", "stop-container", "--container", &by_name]).ends(0);
    until_waiting(&lab, 0);
    let unknown = house.ask(&["runner", "stop-container", "--container", "0000nothing"]).ends(1);
    assert!(unknown.err.contains("no runner 0000nothing"), "{unknown:?}");
    // one with a job goes by force only, and GitHub hears nothing of it
    let job = lab.standin.queue_jobs("octo/two", "build do-slow-60", &LABELS, 1)[0];
    let busy = until_job(&lab, job, "has begun", |job| job.started_at.is_some()).runner_name.unwrap();
    until("the node sees it at work", || {
        let runners = lab.status(&house)["runners"].clone();
        let is_busy = |runner: &Json| text(runner, "name") == busy && runner["busy"] == true;
        runners.as_array()?.iter().any(is_busy).then_some(())
    });
    let refused = house.ask(&["runner", "stop-container", "--container", &busy]).ends(3);
    assert!(refused.err.contains("has a job") && refused.err.contains("--force"), "{refused:?}");
    assert!(lab.standin.job(job).completed_at.is_none());
    house.ask(&["runner", "stop-container", "--container", &busy, "--force"]).ends(0);
    until_job(&lab, job, "has failed", |job| job.conclusion.as_deref() == Some("failure"));
    // for every repository where something waits
    lab.standin.order_runners("never-connects", 1);
    lab.standin.queue_jobs("octo/one", "build", &LABELS, 1);
    let status = until("its runner never connects", || {
        let status = lab.status(&house);
        (status["queued_workflows"] == 1 && status["active_runners"].as_u64() >= Some(1)).then_some(status)
    });
    assert_eq!(status["running"], true);
    let all = house.one(&["runner", "provision"]);
    has_fields(&all, &["success", "results"]);
    schemas.hold("runner provision", std::slice::from_ref(&all));
    has_fields(&all["results"]["octo/one"], &["status", "container_id", "workflows", "token_generated"]);
    assert_eq!(text(&all["results"]["octo/one"], "status"), "provisioned", "{all}");
    until_all_jobs_ended(&lab);
    let queues = Live::start(lab.command(&house, &["--json", "runner", "list-workflows"]))
        .end()
        .ends(0)
        .json()
        .remove(0);
    schemas.hold("runner list-workflows", std::slice::from_ref(&queues));
    for queue in queues.as_array().unwrap() {
        has_fields(queue, &["repo", "total_workflows", "running", "failed", "pending"]);
    }
    let failed: Vec<u64> =
        queues.as_array().unwrap().iter().map(|queue| queue["failed"].as_u64().unwrap()).collect();
    assert_eq!((queues.as_array().unwrap().len(), failed.iter().sum::<u64>()), (2, 1), "{queues}");
    for state in lab.containers() {
        house.ask(&["runner", "stop-container", "--container", &state.name, "--force"]).ends(0);
    }
    end(&lab, &house, node);
}

#[test]
fn logs_are_shown_while_a_runner_runs_and_after_it_is_gone() {
    let Some(lab) = Lab::new(&["octo/one"], "logs of runners") else { return };
    let house = House::new();
    let node = lab.start(&house, &[]);
    let job = lab.standin.queue_jobs("octo/one", "build do-slow-5", &LABELS, 1)[0];
    let name = until_job(&lab, job, "has begun", |job| job.started_at.is_some()).runner_name.unwrap();
    let logs = ["runner", "logs", name.as_str()];
    let now = until("it has printed something", || {
        Some(house.ask(&logs).ends(0)).filter(|said| said.out.contains("Listening for Jobs"))
    });
    assert!(!now.out.contains("completed with result"), "{now:?}");
    let unknown = house.ask(&["runner", "logs", "wfengine-nobody"]).ends(1);
    assert!(unknown.err.contains("no runner wfengine-nobody") && unknown.err.contains(&name), "{unknown:?}");
    // it follows until the container ends
    let followed = house.ask(&["runner", "logs", &name, "--follow"]).ends(0);
    assert!(
        followed.out.contains("Listening for Jobs") && followed.out.contains("completed with result"),
        "{followed:?}"
    );
    lab.until_nothing_is_left();
    let kept = until("its end is in the log", || {
        Some(house.ask(&logs).ends(0)).filter(|said| said.err.contains("done (0)"))
    });
    assert!(
        kept.out.contains("Listening for Jobs") && kept.out.contains("completed with result"),
        "{kept:?}"
    );
    assert_eq!(kept.out, followed.out, "what is kept is what was followed");
    let lines = house.json(&logs);
    for line in &lines {
        has_fields(line, &["stream", "text"]);
    }
    Schemas::new(&house).hold("runner logs", &lines);
    end(&lab, &house, node);
    // also when no node serves any more
    assert_eq!(house.ask(&logs).ends(0).out, kept.out);
}
