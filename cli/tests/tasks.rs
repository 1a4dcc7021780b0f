//! Tasks for programs: order, leases, results, and one id for one content.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod house;

use std::time::{Duration, Instant};

use house::{House, is_alive, pid_in, text, until};
use rustix::process::Signal;
use serde_json::Value as Json;

fn submit(house: &House, id: &str, more: &[&str]) {
    house.ask(&[&["task", "submit", "--task-id", id], more].concat()).ends(0);
}

/// Takes the next task; `None` when there is none.
fn next(house: &House, more: &[&str]) -> Option<Json> {
    let answer = house.one(&[&["task", "next"], more].concat());
    answer.get("task").unwrap().as_object().map(|task| Json::Object(task.clone()))
}

/// Takes tasks until there are none; their ids.
fn take_all(house: &House) -> Vec<String> {
    std::iter::from_fn(|| next(house, &[])).map(|task| text(&task, "task_id").to_owned()).collect()
}

#[test]
fn tasks_leave_by_priority_and_in_order_of_submission_where_it_is_equal() {
    for serves in [false, true] {
        let house = House::new();
        let node = serves.then(|| house.serve());
        submit(&house, "scrape", &["--priority", "3.0"]);
        submit(&house, "generate", &["--priority", "1.0"]);
        submit(&house, "process", &["--priority", "2.0"]);
        assert_eq!(take_all(&house), ["generate", "process", "scrape"], "with a node: {serves}");
        for id in ["low", "mid", "high"] {
            let urgency = if id == "low" {
                "2"
            } else if id == "mid" {
                "5"
            } else {
                "9"
            };
            submit(&house, id, &["--urgency", urgency]);
        }
        assert_eq!(take_all(&house), ["high", "mid", "low"], "with a node: {serves}");
        let ids: Vec<String> = (0..6).map(|n| format!("equal-{n}")).collect();
        ids.iter().for_each(|id| submit(&house, id, &[]));
        assert_eq!(take_all(&house), ids, "with a node: {serves}");
        drop(node);
    }
}

#[test]
fn a_changed_priority_changes_the_order() {
    let house = House::new();
    submit(&house, "first", &[]);
    submit(&house, "second", &[]);
    house.ask(&["priority", "second", "1"]).ends(0);
    assert_eq!(take_all(&house), ["second", "first"]);
}

#[test]
fn without_a_node_a_task_stays_with_whoever_took_it_as_long_as_the_lease() {
    let house = House::new();
    submit(&house, "one", &["--metadata", "{\"from\":\"here\"}"]);
    let task = next(&house, &["--lease", "1h"]).unwrap();
    assert_eq!(task.pointer("/metadata/from").unwrap(), "here");
    // other commands open and close the node in between
    house.ask(&["list"]).ends(0);
    assert!(next(&house, &[]).is_none());
    house.ask(&["task", "result", "one"]).ends(1).complains(&["no result"]);
    house.ask(&["task", "complete", "one", "--result", "{\"ok\":1}"]).ends(0);
    assert_eq!(house.ask(&["task", "result", "one"]).ends(0).out, "{\"ok\":1}\n");
    house.ask(&["task", "complete", "one"]).ends(3).complains(&["already completed"]);
}

#[test]
fn without_a_node_a_result_after_the_lease_counts_while_nobody_else_took_the_task() {
    const LEASE: Duration = Duration::from_millis(500);
    let house = House::new();
    submit(&house, "late", &[]);
    next(&house, &["--lease", "500ms"]).unwrap();
    let taken = Instant::now();
    until("the lease is over", || (taken.elapsed() > LEASE).then_some(()));
    house.ask(&["task", "extend", "late"]).ends(3).complains(&["the lease of task late is over"]);
    house.ask(&["task", "complete", "late", "--result", "1"]).ends(0);
    submit(&house, "lost", &[]);
    let first = next(&house, &["--lease", "500ms"]).unwrap();
    let taken = Instant::now();
    until("the lease is over", || (taken.elapsed() > LEASE).then_some(()));
    let second = next(&house, &[]).expect("the lease was over");
    assert_eq!((text(&second, "task_id"), text(&second, "run")), ("lost", text(&first, "run")));
    let token = text(&first, "fencing_token");
    house.ask(&["task", "complete", "lost", "--fencing-token", token]).ends(3).complains(&["somebody else"]);
    house.ask(&["task", "complete", "lost"]).ends(0);
}

#[test]
fn a_task_that_was_given_back_is_offered_again_with_a_greater_token() {
    let house = House::new();
    submit(&house, "one", &[]);
    let first = next(&house, &[]).unwrap();
    house.ask(&["task", "release", "one"]).ends(0);
    let second = next(&house, &[]).unwrap();
    let epoch = |task: &Json| text(task, "fencing_token").split('-').next().unwrap().parse::<u32>().unwrap();
    assert!(epoch(&second) > epoch(&first), "{first} {second}");
    assert_eq!(text(&second, "idempotency_key"), text(&first, "idempotency_key"));
}

#[test]
fn the_same_id_with_the_same_content_is_the_same_run_and_with_other_content_is_refused() {
    let house = House::new();
    submit(&house, "one", &["--workflow-id", "w", "--metadata", "{\"a\":1}"]);
    let same = ["task", "submit", "--task-id", "one", "--workflow-id", "w", "--metadata", "{\"a\":1}"];
    let again = house.one(&same);
    assert_eq!(again.get("already_so").unwrap(), true);
    let other = ["task", "submit", "--task-id", "one", "--workflow-id", "w", "--metadata", "{\"a\":2}"];
    house.ask(&other).ends(3).complains(&["`one`", "other content", "metadata"]);
    // what would be lost silently is refused
    let tagged = [&same[..], &["--tags", "p2p-only", "--priority", "9"]].concat();
    house.ask(&tagged).ends(3).complains(&["`one`", "tags, priority"]);
    next(&house, &[]).unwrap();
    house.ask(&["task", "complete", "one"]).ends(0);
    // also when it has ended
    house.ask(&other).ends(3).complains(&["`one`", "other content"]);
    assert_eq!(house.one(&same).get("already_so").unwrap(), true);
    assert_eq!(house.json(&["list"]).len(), 1);
}

#[test]
fn a_given_id_is_accepted_wherever_ids_are() {
    let house = House::new();
    submit(&house, "mine", &[]);
    for verb in ["show", "why", "owner", "logs"] {
        house.ask(&[verb, "mine"]).ends(0);
    }
    house.ask(&["priority", "mine", "2.5"]).ends(0);
    assert_eq!(house.show("mine").get("priority").unwrap(), 2.5);
    house.ask(&["rerun", "mine"]).ends(3).complains(&["pending"]);
    house.ask(&["cancel", "mine"]).ends(0);
    assert_eq!(text(&house.show("mine"), "status"), "cancelled");
    house.ask(&["rerun", "mine"]).ends(0);
    let again = house.show("mine");
    assert_eq!((text(&again, "status"), again.get("attempt").unwrap()), ("pending", &Json::from(2)));
    next(&house, &[]).unwrap();
    house.ask(&["task", "fail", "mine", "--error", "no luck"]).ends(0);
    let failed = house.show("mine");
    assert!(text(&failed, "status") == "failed" && text(&failed, "reason").contains("no luck"), "{failed}");
}

#[test]
fn a_lease_that_ends_offers_the_task_to_another_and_the_first_finds_out() {
    for serves in [false, true] {
        let house = House::new();
        let node = serves.then(|| house.serve());
        submit(&house, "one", &[]);
        let first = next(&house, &["--lease", "300ms"]).unwrap();
        let second = next(&house, &["--wait", "--lease", "1h"]).unwrap();
        assert_eq!(text(&second, "run"), text(&first, "run"));
        assert_ne!(text(&second, "fencing_token"), text(&first, "fencing_token"));
        let extended = house.one(&["task", "extend", "one", "--lease", "2h"]);
        assert_eq!(extended.get("lease_ms").unwrap(), 7_200_000);
        assert!(next(&house, &[]).is_none());
        house.ask(&["task", "complete", "one"]).ends(0);
        house.ask(&["task", "extend", "one"]).ends(3).complains(&["completed"]);
        drop(node);
    }
}

#[test]
fn a_task_of_a_killed_program_goes_to_another_once_its_lease_has_ended() {
    for serves in [true, false] {
        let house = House::new();
        let node = serves.then(|| house.serve());
        submit(&house, "one", &[]);
        let program = "echo $$ > pid; exec sleep 600";
        let mut held = house.begin(&["work", "--lease", "1s", "--", "sh", "-c", program]);
        let child = pid_in(&house.desk().join("pid"));
        held.kill();
        let next = ["--json", "task", "next", "--wait", "--lease", "10m"];
        let other = house.begin(&next).end().ends(0).json();
        assert_eq!(text(other[0].get("task").unwrap(), "task_id"), "one", "with a node: {serves}");
        let pid = rustix::process::Pid::from_raw(child).unwrap();
        let _ = rustix::process::kill_process(pid, Signal::KILL);
        drop(node);
    }
}

#[test]
fn a_program_that_waits_is_handed_a_task_that_is_submitted_later() {
    for serves in [false, true] {
        let house = House::new();
        let node = serves.then(|| house.serve());
        let waiting = house.begin(&["--json", "task", "next", "--wait"]);
        submit(&house, "late", &[]);
        let said = waiting.end().ends(0).json();
        assert_eq!(text(said[0].get("task").unwrap(), "task_id"), "late");
        drop(node);
    }
}

#[test]
fn only_tasks_with_the_tags_asked_for_are_handed_out() {
    let house = House::new();
    submit(&house, "plain", &[]);
    submit(&house, "tagged", &["--tags", "P2P_Eligible,gpu"]);
    for spelling in ["p2p-eligible", "p2p_eligible", "gpu"] {
        assert_eq!(text(&next(&house, &["--tags", spelling]).unwrap(), "task_id"), "tagged");
        house.ask(&["task", "release", "tagged"]).ends(0);
    }
    assert!(next(&house, &["--tags", "web-scraping"]).is_none());
    house.ask(&["task", "submit", "--task-id", "hub", "--tags", "github-api"]).ends(3).complains(&["GitHub"]);
}

#[test]
fn a_task_that_failed_for_now_is_offered_again_after_its_backoff() {
    let house = House::new();
    let _node = house.serve();
    submit(&house, "one", &["--retries", "1", "--backoff", "50ms..100ms"]);
    let first = next(&house, &["--wait"]).unwrap();
    house.ask(&["task", "fail", "one", "--error", "no luck", "--retry"]).ends(0);
    let second = next(&house, &["--wait"]).unwrap();
    assert_eq!((text(&second, "task_id"), second.get("attempt").unwrap()), ("one", &2.into()));
    assert_eq!(text(&second, "idempotency_key"), text(&first, "idempotency_key"));
}

#[test]
fn a_failed_task_that_is_cancelled_is_not_tried_again() {
    let house = House::new();
    let _node = house.serve();
    submit(&house, "again", &["--retries", "3", "--backoff", "1h..1h"]);
    submit(&house, "once", &[]);
    for id in ["again", "once"] {
        next(&house, &["--wait"]).unwrap();
        house.ask(&["task", "fail", id, "--error", "no luck", "--retry"]).ends(0);
    }
    house.ask(&["cancel", "once"]).ends(3).complains(&["already failed"]);
    house.ask(&["cancel", "again"]).ends(0);
    assert_eq!(text(&house.show("again"), "status"), "cancelled");
}

#[test]
fn work_runs_a_command_for_each_task_and_keeps_what_it_prints() {
    for serves in [false, true] {
        let house = House::new();
        let node = serves.then(|| house.serve());
        submit(&house, "json", &[]);
        submit(&house, "text", &[]);
        submit(&house, "bad", &[]);
        let script = r#"cat > "$WFENGINE_TASK_ID.in"; test -n "$WFENGINE_FENCING_TOKEN" && test -n "$WFENGINE_IDEMPOTENCY_KEY" || exit 9
            case $WFENGINE_TASK_ID in json) echo '{"n":1}';; text) echo two;; *) exit 3;; esac"#;
        let said = house.ask(&["work", "--until-empty", "--", "sh", "-c", script]).ends(0);
        assert_eq!(said.out, "json: completed\ntext: completed\nbad: failed\n");
        assert_eq!(house.ask(&["task", "result", "json"]).ends(0).out, "{\"n\":1}\n");
        assert_eq!(house.ask(&["task", "result", "text"]).ends(0).out, "\"two\"\n");
        house.ask(&["task", "result", "bad"]).ends(1);
        let given: Json =
            serde_json::from_slice(&std::fs::read(house.desk().join("json.in")).unwrap()).unwrap();
        assert_eq!(text(&given, "task_id"), "json");
        drop(node);
    }
}

#[test]
fn a_command_that_takes_longer_than_the_lease_keeps_its_task() {
    for serves in [false, true] {
        let house = House::new();
        let node = serves.then(|| house.serve());
        submit(&house, "long", &[]);
        let said = house
            .ask(&["work", "--lease", "300ms", "--count", "1", "--", "sh", "-c", "sleep 1; echo 1"])
            .ends(0);
        assert_eq!(said.out, "long: completed\n", "with a node: {serves}");
        assert_eq!(house.show("long").pointer("/jobs/0/claims").unwrap().as_array().unwrap().len(), 1);
        drop(node);
    }
}

#[test]
fn a_command_may_report_on_its_own_task_and_on_others() {
    const WFENGINE: &str = env!("CARGO_BIN_EXE_wfengine");
    for serves in [false, true] {
        let house = House::new();
        let node = serves.then(|| house.serve());
        submit(&house, "other", &[]);
        next(&house, &["--lease", "1h"]).unwrap();
        submit(&house, "own", &[]);
        submit(&house, "last", &[]);
        // the token in the environment is of the command's own task
        let script = format!(
            r#"[ "$WFENGINE_TASK_ID" = own ] || exit 0
            {WFENGINE} task extend other && {WFENGINE} task complete other --result 1 || exit 8
            {WFENGINE} task complete own --result 2 || exit 9"#
        );
        let said = house.ask(&["work", "--until-empty", "--", "sh", "-c", &script]).ends(0);
        assert_eq!(said.out, "last: completed\n", "with a node: {serves}: {said:?}");
        assert!(said.err.contains("own: what its command said was not taken"), "{said:?}");
        assert_eq!(house.ask(&["task", "result", "other"]).ends(0).out, "1\n");
        assert_eq!(house.ask(&["task", "result", "own"]).ends(0).out, "2\n");
        drop(node);
    }
}

#[test]
fn a_command_of_an_earlier_attempt_cannot_end_a_later_one() {
    const WFENGINE: &str = env!("CARGO_BIN_EXE_wfengine");
    let house = House::new();
    let _node = house.serve();
    submit(&house, "one", &["--retries", "1", "--backoff", "10ms..20ms"]);
    let script = format!(
        "echo $$ > pid; while [ ! -e go ]; do sleep 0.05; done; {WFENGINE} task complete one; echo $? > code"
    );
    let work = house.begin(&["work", "--count", "1", "--", "sh", "-c", &script]);
    pid_in(&house.desk().join("pid"));
    house.ask(&["task", "fail", "one", "--error", "an operator says so", "--retry"]).ends(0);
    let second = next(&house, &["--wait"]).unwrap();
    assert_eq!(second.get("attempt").unwrap(), 2);
    house.put("go", "");
    work.end().ends(0);
    assert_eq!(std::fs::read_to_string(house.desk().join("code")).unwrap().trim(), "3");
    assert_eq!(text(&house.show("one"), "status"), "in_progress");
}

#[test]
fn work_that_slept_through_its_lease_ends_the_command_and_goes_on() {
    let house = House::new();
    submit(&house, "one", &[]);
    let work = house.begin(&[
        "work",
        "--lease",
        "500ms",
        "--count",
        "1",
        "--",
        "sh",
        "-c",
        "echo $$ > pid; exec sleep 600",
    ]);
    let child = pid_in(&house.desk().join("pid"));
    let process = rustix::process::Pid::from_raw(work.pid()).unwrap();
    rustix::process::kill_process(process, Signal::STOP).unwrap();
    let stopped = Instant::now();
    until("the lease is over", || (stopped.elapsed() > Duration::from_secs(1)).then_some(()));
    rustix::process::kill_process(process, Signal::CONT).unwrap();
    work.end().ends(0).complains(&["one: its command was stopped", "no longer held here"]);
    until("the command is gone", || (!is_alive(child)).then_some(()));
    assert_eq!(text(&next(&house, &[]).unwrap(), "task_id"), "one", "others may have it");
}

#[test]
fn a_lease_that_was_extended_through_another_command_outlives_it() {
    let house = House::new();
    submit(&house, "first", &[]);
    submit(&house, "second", &[]);
    // it answers others while it works
    let work = house.begin(&[
        "work",
        "--count",
        "1",
        "--",
        "sh",
        "-c",
        "echo $$ > pid; while [ ! -e go ]; do sleep 0.05; done",
    ]);
    pid_in(&house.desk().join("pid"));
    assert_eq!(text(&next(&house, &["--lease", "1s"]).unwrap(), "task_id"), "second");
    let taken = Instant::now();
    house.ask(&["task", "extend", "second", "--lease", "1h"]).ends(0);
    std::fs::write(house.desk().join("go"), "").unwrap();
    work.end().ends(0);
    until("the first lease is over", || (taken.elapsed() > Duration::from_millis(1_100)).then_some(()));
    assert!(next(&house, &[]).is_none(), "it was taken away");
    house.ask(&["task", "complete", "second"]).ends(0);
}

#[test]
fn a_command_that_does_not_exist_costs_no_task() {
    let house = House::new();
    submit(&house, "one", &[]);
    let said = house.ask(&["work", "--until-empty", "--", "no-such-command-here"]);
    assert_ne!(said.code(), 0, "{said:?}");
    assert!(said.err.contains("no-such-command-here"), "{said:?}");
    assert_eq!(text(&house.show("one"), "status"), "pending");
}

#[test]
fn work_that_is_interrupted_gives_its_task_back_and_ends_its_command() {
    for serves in [false, true] {
        let house = House::new();
        let node = serves.then(|| house.serve());
        submit(&house, "one", &[]);
        let work = house.begin(&["work", "--", "sh", "-c", "echo $$ > pid; exec sleep 600"]);
        let child = pid_in(&house.desk().join("pid"));
        work.stop().ends(1).complains(&["given back"]);
        until("the command is gone", || (!is_alive(child)).then_some(()));
        assert_eq!(text(&house.show("one"), "status"), "pending", "with a node: {serves}");
        assert_eq!(text(&next(&house, &["--wait"]).unwrap(), "task_id"), "one");
        drop(node);
    }
}

#[test]
fn ctrl_c_at_a_terminal_reaches_the_command_too_and_still_fails_no_task() {
    let house = House::new();
    submit(&house, "one", &[]);
    let work = house.begin(&["work", "--", "sh", "-c", "echo $$ > pid; exec sleep 600"]);
    let child = pid_in(&house.desk().join("pid"));
    // a terminal sends the signal to everybody in the foreground
    let group = rustix::process::Pid::from_raw(work.pid()).unwrap();
    rustix::process::kill_process_group(group, Signal::INT).unwrap();
    work.end().ends(1);
    until("the command is gone", || (!is_alive(child)).then_some(()));
    assert_eq!(text(&house.show("one"), "status"), "pending");
}

#[test]
fn a_paused_node_says_why_it_hands_out_nothing() {
    let house = House::new();
    submit(&house, "one", &[]);
    house.ask(&["pause"]).ends(0);
    let said = house.ask(&["task", "next"]).ends(0).complains(&["paused", "wfengine resume"]);
    assert!(said.out.contains("No tasks available"), "{said:?}");
    house.ask(&["resume"]).ends(0);
    assert!(next(&house, &[]).is_some());
}

#[test]
fn whoever_lost_a_task_cannot_end_it_for_the_next_holder() {
    let house = House::new();
    let _node = house.serve();
    submit(&house, "one", &[]);
    let first = next(&house, &["--wait"]).unwrap();
    house.ask(&["task", "release", "one"]).ends(0);
    let second = next(&house, &["--wait"]).unwrap();
    let (stale, fresh) = (text(&first, "fencing_token"), text(&second, "fencing_token"));
    assert_ne!(stale, fresh);
    let stale = ["task", "complete", "one", "--fencing-token", stale];
    house.ask(&stale).ends(3).complains(&["handed to somebody else"]);
    house.ask(&["task", "complete", "one", "--fencing-token", fresh, "--result", "2"]).ends(0);
    assert_eq!(house.ask(&["task", "result", "one"]).ends(0).out, "2\n");
}
