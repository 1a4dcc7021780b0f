//! A serving node: commands go through it, it drains, it can be killed.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod house;

use house::{House, is_alive, pid_in, text, until};
use rustix::process::Signal;

/// A step that says that it began and ends when the file `go` is on the desk.
const GATED: &str =
    "echo $$ > {desk}/pid\necho began\nuntil [ -e {desk}/go ]; do sleep 0.02; done\necho went on";

#[test]
fn what_the_program_says_of_itself_can_be_read_by_programs() {
    let house = House::new();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--no-lan", "--no-http"];
    let mut command = house.command(&serve);
    command.env("WFENGINE_LOG", "trace").env("WFENGINE_LOG_FORMAT", "json");
    let mut live = house::Live::start(command);
    live.wait_for("serves on UDP");
    let said = live.stop().ends(0);
    let lines: Vec<serde_json::Value> =
        said.err.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(!lines.is_empty(), "{said:?}");
    for line in &lines {
        assert!(["timestamp", "level", "target"].iter().all(|field| line[field].is_string()), "{line}");
    }
    // what is wrong is said, and the command is done all the same
    let mut command = house.command(&["list"]);
    command.env("WFENGINE_LOG", "wfengine=loud").env("WFENGINE_LOG_FORMAT", "xml");
    house::Live::start(command).end().ends(0).complains(&[
        "WFENGINE_LOG=wfengine=loud",
        "WFENGINE_LOG_FORMAT=xml",
        "json",
    ]);
}

#[test]
fn commands_go_through_the_serving_node() {
    let house = House::new();
    house.put_script("hello.yml", "echo good morning");
    let node = house.serve();
    let status = house.one(&["status"]);
    assert_eq!(status.get("serving").unwrap(), true);
    assert_eq!(status.get("pid").unwrap(), node.pid());
    let submitted = house.one(&["submit", "hello.yml", "--id", "one"]);
    assert_eq!(text(submitted.get("run").unwrap(), "given_id"), "one");
    house.until_status("one", "completed");
    let ran = house.ask(&["run", "hello.yml"]).ends(0);
    assert!(ran.out.contains("good morning"), "{ran:?}");
    assert!(house.ask(&["logs", "one"]).ends(0).out.contains("good morning"));
    node.stop().ends(0);
    assert_eq!(house.one(&["status"]).get("serving").unwrap(), false);
}

#[test]
fn with_json_and_wait_a_submission_prints_one_document() {
    let house = House::new();
    house.put_script("bad.yml", "exit 1");
    let _node = house.serve();
    let documents = house.json_of(&["submit", "bad.yml", "--wait"], 1);
    assert_eq!(documents.len(), 1, "{documents:?}");
    assert_eq!(text(&documents[0], "status"), "failed");
    let followed = house.json_of(&["submit", "bad.yml", "--follow"], 1);
    assert!(followed.len() > 1 && text(followed.last().unwrap(), "status") == "failed", "{followed:?}");
}

#[test]
fn without_a_node_nobody_waits_for_a_submission_and_it_is_kept() {
    let house = House::new();
    house.put_script("hello.yml", "true");
    house.ask(&["submit", "hello.yml", "--id", "one", "--wait"]).ends(4).complains(&["wfengine serve"]);
    assert_eq!(text(&house.show("one"), "status"), "pending");
    house.ask(&["logs", "-f", "one"]).ends(4).complains(&["wfengine serve"]);
    let _node = house.serve();
    house.until_status("one", "completed");
}

#[test]
fn one_id_names_one_content() {
    let house = House::new();
    house.put_script("hello.yml", "true");
    house.put_script("other.yml", "false");
    let _node = house.serve();
    house.ask(&["submit", "hello.yml", "--id", "one", "--wait"]).ends(0);
    let again = house.one(&["submit", "hello.yml", "--id", "one"]);
    assert_eq!(again.get("already_so").unwrap(), true);
    house.ask(&["submit", "other.yml", "--id", "one"]).ends(3).complains(&["`one`", "other content"]);
}

#[test]
fn a_second_node_on_the_directory_is_refused_with_who_has_it() {
    let house = House::new();
    let node = house.serve();
    house.ask(&["serve", "--listen", "127.0.0.1:0"]).ends(3).complains(&[&node.pid().to_string(), "in use"]);
    house.ask(&["status"]).ends(0);
}

#[test]
fn a_stop_signal_lets_what_runs_finish_and_begins_nothing_new() {
    let house = House::new();
    house.put_script("gated.yml", GATED);
    house.put_script("next.yml", "true");
    let mut node = house.serve();
    house.ask(&["submit", "gated.yml", "--id", "gated"]).ends(0);
    pid_in(&house.desk().join("pid"));
    node.signal(Signal::TERM);
    node.wait_for("second signal");
    house.ask(&["submit", "next.yml", "--id", "next"]).ends(0);
    assert!(house.ask(&["why", "next"]).ends(0).out.contains("shutting down"));
    house.put("go", "");
    node.end().ends(0);
    assert_eq!(text(&house.show("gated"), "status"), "completed");
    assert_eq!(text(&house.show("next"), "status"), "pending");
}

#[test]
fn a_second_signal_stops_at_once_and_the_next_node_runs_the_job_again() {
    let house = House::new();
    house.put_script("gated.yml", GATED);
    let mut node = house.serve();
    house.ask(&["submit", "gated.yml", "--id", "gated"]).ends(0);
    let step = pid_in(&house.desk().join("pid"));
    node.signal(Signal::INT);
    node.wait_for("second signal");
    node.signal(Signal::INT);
    node.end().ends(0);
    until("the step is gone", || (!is_alive(step)).then_some(()));
    assert_ne!(text(&house.show("gated"), "status"), "in_progress");
    house.put("go", "");
    let _node = house.serve();
    let run = house.until_status("gated", "completed");
    assert!(run.pointer("/jobs/0/claims").unwrap().as_array().unwrap().len() >= 2, "{run}");
}

#[test]
fn grace_bounds_how_long_a_drain_waits() {
    let house = House::new();
    house.put_script("gated.yml", GATED);
    let node = house.serve_with(&["--grace", "200ms"]);
    house.ask(&["submit", "gated.yml", "--id", "gated"]).ends(0);
    let step = pid_in(&house.desk().join("pid"));
    node.stop().ends(0);
    until("the step is gone", || (!is_alive(step)).then_some(()));
    assert_eq!(text(&house.show("gated"), "status"), "pending");
}

#[test]
fn a_killed_node_leaves_no_step_behind_and_the_next_one_takes_the_job_up() {
    let house = House::new();
    house.put_script("gated.yml", GATED);
    let mut node = house.serve();
    house.ask(&["submit", "gated.yml", "--id", "gated"]).ends(0);
    let step = pid_in(&house.desk().join("pid"));
    node.kill();
    // its socket is still there and nobody answers
    house.ask(&["list"]).ends(0);
    until("the step is gone", || (!is_alive(step)).then_some(()));
    house.put("go", "");
    let _node = house.serve();
    house.until_status("gated", "completed");
    house.ask(&["replay", "--verify"]).ends(0);
}

#[test]
fn a_cancelled_run_stops_its_step() {
    let house = House::new();
    house.put_script("gated.yml", GATED);
    let _node = house.serve();
    let mut follower = house.begin(&["submit", "gated.yml", "--id", "gated", "--follow"]);
    follower.wait_for("began");
    let step = pid_in(&house.desk().join("pid"));
    house.ask(&["cancel", "gated", "--reason", "not needed"]).ends(0);
    follower.end().ends(1);
    until("the step is gone", || (!is_alive(step)).then_some(()));
    let run = house.show("gated");
    assert_eq!((text(&run, "status"), text(&run, "reason")), ("cancelled", "not needed"));
    house.ask(&["cancel", "gated"]).ends(0);
}

#[test]
fn a_paused_node_claims_nothing_until_it_is_resumed() {
    let house = House::new();
    house.put_script("hello.yml", "true");
    let _node = house.serve();
    house.ask(&["pause"]).ends(0);
    house.ask(&["submit", "hello.yml", "--id", "one"]).ends(0);
    assert!(house.ask(&["why", "one"]).ends(0).out.contains("wfengine resume"));
    assert_eq!(text(&house.show("one"), "status"), "pending");
    house.ask(&["resume"]).ends(0);
    house.until_status("one", "completed");
}

#[test]
fn a_failed_run_is_submitted_again_as_often_as_it_may_be() {
    let house = House::new();
    house.put_script("bad.yml", "exit 1");
    let _node = house.serve();
    house.ask(&["submit", "bad.yml", "--id", "bad", "--retries", "2", "--backoff", "50ms..100ms"]).ends(0);
    until("the third attempt has failed", || {
        let run = house.show("bad");
        (run.get("attempt").unwrap() == 3 && text(&run, "status") == "failed").then_some(())
    });
    house.ask(&["rerun", "bad"]).ends(0);
    until("the rerun has failed", || {
        let run = house.show("bad");
        (run.get("attempt").unwrap() == 4 && text(&run, "status") == "failed").then_some(())
    });
    assert_eq!(house.json(&["list", "--status", "failed"]).len(), 4);
}

#[test]
fn whoever_waits_for_a_run_with_retries_is_told_of_each_attempt_and_ends_as_the_last_one_does() {
    let house = House::new();
    house.put_script(
        "flaky.yml",
        "if [ -e {desk}/once ]; then echo second try; else touch {desk}/once; echo first try; exit 1; fi",
    );
    house.put_script("bad.yml", "exit 1");
    let _node = house.serve();
    let patient = ["--retries", "2", "--backoff", "50ms..100ms"];
    let said = house.ask(&[&["submit", "flaky.yml", "--follow"], patient.as_slice()].concat()).ends(0);
    for part in ["first try", "second try", "completed (attempt 2)"] {
        assert!(said.out.contains(part), "`{part}` is not in {said:?}");
    }
    let said = said.complains(&["attempt 1 failed", "attempt 2 (of up to 3)"]);
    assert!(!said.err.contains("attempt 2 failed"), "{said:?}");
    // with --json the run as it ended is the one document all the same
    let bad = [&["--json", "submit", "bad.yml", "--id", "bad", "--wait"], patient.as_slice()].concat();
    let said = house.ask(&bad).ends(1).complains(&["attempt 1 failed", "attempt 2 failed", "attempt 3"]);
    let documents = said.json();
    assert_eq!(documents.len(), 1, "{documents:?}");
    assert_eq!((text(&documents[0], "status"), documents[0].get("attempt").unwrap()), ("failed", &3.into()));
    // whoever comes later goes through the same attempts
    let again = house.ask(&["submit", "bad.yml", "--id", "bad", "--wait"]).ends(1);
    let again = again.complains(&["going on with attempt 2 (of up to 3)", "going on with attempt 3"]);
    assert!(again.out.contains("failed (attempt 3)"), "{again:?}");
}

#[test]
fn an_attempt_that_is_cancelled_is_the_last_one() {
    let house = House::new();
    house.put_script(
        "gated.yml",
        "if [ -e {desk}/once ]; then echo $$ > {desk}/pid; sleep 600; else touch {desk}/once; exit 1; fi",
    );
    let _node = house.serve();
    let follower = house.begin(&[
        "submit",
        "gated.yml",
        "--id",
        "one",
        "--follow",
        "--retries",
        "5",
        "--backoff",
        "50ms",
    ]);
    pid_in(&house.desk().join("pid"));
    house.ask(&["cancel", "one"]).ends(0);
    let said = follower.end().ends(1);
    assert!(said.out.contains("cancelled (attempt 2)") && !said.err.contains("attempt 3"), "{said:?}");
}

#[test]
fn whoever_waits_for_the_next_attempt_may_leave_and_is_told_when_the_node_does() {
    let house = House::new();
    house.put_script("bad.yml", "exit 1");
    let node = house.serve();
    let submit =
        ["submit", "bad.yml", "--id", "bad", "--wait", "--retries", "1", "--backoff", "1h"].as_slice();
    let mut impatient = house.begin(submit);
    impatient
        .wait_for("attempt 1 failed, waiting for attempt 2 (of up to 2), which is submitted after 1h00m");
    impatient.signal(Signal::INT);
    impatient.end().ends(1).complains(&["the run goes on, and is submitted again if it fails"]);
    let mut patient = house.begin(submit);
    patient.wait_for("waiting for attempt 2");
    node.stop().ends(0);
    patient.end().ends(4).complains(&["the node stops", "once it is back"]);
    house.ask(submit).ends(4).complains(&["attempt 2 (of up to 2) is to follow", "wfengine serve"]);
}

#[test]
fn a_followed_log_shows_the_jobs_that_are_planned_later_too() {
    let house = House::new();
    house.put_script("unused.yml", "true");
    let gate = format!("until [ -e {}/go ]; do sleep 0.02; done", house.desk().display());
    house.put(
        "two.yml",
        format!("on: push\njobs:\n  first:\n    runs-on: ubuntu-latest\n    outputs: {{legs: '${{{{ steps.s.outputs.legs }}}}'}}\n    steps:\n      - id: s\n        run: |\n          echo first began; {gate}; echo 'legs=[7]' >> $GITHUB_OUTPUT\n  later:\n    needs: first\n    runs-on: ubuntu-latest\n    strategy: {{matrix: {{leg: '${{{{ fromJSON(needs.first.outputs.legs) }}}}'}}}}\n    steps: [{{run: 'echo leg ${{{{ matrix.leg }}}} began'}}]\n"),
    );
    let _node = house.serve();
    house.ask(&["submit", "two.yml", "--id", "two"]).ends(0);
    let mut follower = house.begin(&["logs", "-f", "two"]);
    follower.wait_for("first began");
    house.put("go", "");
    let said = follower.end().ends(0);
    assert!(said.out.contains("leg 7 began"), "{said:?}");
}

#[test]
fn a_data_directory_whose_socket_would_have_too_long_a_path_is_refused_with_what_to_do() {
    let house = House::new();
    let data = house.path(&"long".repeat(40));
    let data = data.to_str().unwrap();
    let said = house
        .ask(&["--data-dir", data, "serve", "--listen", "127.0.0.1:0"])
        .complains(&["control.sock", "--data-dir"]);
    assert_ne!(said.code(), 0, "{said:?}");
}

#[test]
fn commands_at_once_all_have_their_answer_while_the_node_goes() {
    let house = House::new();
    let node = house.serve();
    let submit = |id: String| house.begin(&["task", "submit", "--task-id", &id]);
    let before: Vec<_> = (0..12).map(|n| submit(format!("t{n}"))).collect();
    node.signal(Signal::TERM);
    let meanwhile: Vec<_> = (0..12).map(|n| submit(format!("u{n}"))).collect();
    node.end().ends(0);
    for one in before.into_iter().chain(meanwhile) {
        one.end().ends(0);
    }
    assert_eq!(house.json(&["list"]).len(), 24);
    house.ask(&["replay", "--verify"]).ends(0);
}
