//! `run`: here and now, alone or beside others, interrupted or killed.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod house;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use house::{House, is_alive, pid_in, text, until};
use rustix::process::Signal;

#[test]
fn a_run_prints_its_steps_the_conclusion_the_peer_and_what_to_type_next() {
    let house = House::new();
    house.ask(&["init", "--name", "alpha"]).ends(0);
    house.put_script("hello.yml", "echo good morning");
    let said = house.ask(&["run", "hello.yml"]).ends(0);
    for part in ["good morning", "job: completed on alpha", "next: wfengine show "] {
        assert!(said.out.contains(part), "`{part}` is not in {said:?}");
    }
    assert!(said.err.contains("ubuntu-latest"), "{said:?}");
    let listed = house.json(&["list"]);
    assert_eq!(listed.len(), 1);
    assert_eq!(text(&listed[0], "status"), "completed");
}

#[test]
fn the_exit_status_of_a_run_is_its_conclusion() {
    let house = House::new();
    house.put_script("good.yml", "true");
    house.put_script("bad.yml", "exit 3");
    house.put("slow.yml", "on: push\njobs:\n  a:\n    runs-on: self-hosted\n    steps:\n      - run: sleep 600\n        timeout-minutes: 0.005\n");
    house.ask(&["run", "good.yml"]).ends(0);
    house.ask(&["run", "bad.yml"]).ends(1);
    let slow = house.json_of(&["run", "slow.yml"], 1);
    assert_eq!(text(slow.last().unwrap(), "status"), "failed");
}

#[test]
fn with_json_every_line_of_a_run_is_a_document_and_the_last_one_is_the_run() {
    let house = House::new();
    house.put_script("hello.yml", "echo one; echo two >&2");
    let documents = house.json(&["run", "hello.yml"]);
    let (last, before) = documents.split_last().unwrap();
    assert_eq!((text(last, "status"), text(last, "kind")), ("completed", "workflow"));
    assert!(before.iter().all(|progress| progress.get("what").is_some()), "{before:?}");
    let lines: Vec<&str> = before
        .iter()
        .filter(|progress| text(progress, "what") == "line")
        .map(|line| text(line, "text"))
        .collect();
    assert!(lines.contains(&"one") && lines.contains(&"two"), "{lines:?}");
}

#[test]
fn the_second_of_two_runs_on_one_data_directory_goes_through_the_first_and_both_finish() {
    let house = House::new();
    house.put_script("first.yml", "echo first began\nuntil [ -e {desk}/go ]; do sleep 0.02; done");
    house.put_script("second.yml", "echo second began");
    let mut first = house.begin(&["run", "first.yml"]);
    first.wait_for("first began");
    let second = house.ask(&["run", "second.yml"]).ends(0);
    assert!(second.out.contains("second began"), "{second:?}");
    assert_eq!(house.json(&["list"]).len(), 2);
    house.put("go", "");
    let first = first.end().ends(0);
    assert!(!first.out.contains("second began"), "{first:?}");
}

#[test]
fn a_run_that_others_go_through_stays_until_they_have_finished() {
    let house = House::new();
    house.put_script("first.yml", "echo first began\nuntil [ -e {desk}/go ]; do sleep 0.02; done");
    house.put_script("second.yml", "echo second began\nuntil [ -e {desk}/go2 ]; do sleep 0.02; done");
    let mut first = house.begin(&["run", "first.yml"]);
    first.wait_for("first began");
    let mut second = house.begin(&["run", "second.yml"]);
    second.wait_for("second began");
    house.put("go", "");
    // said as soon as it is so, though the process stays
    first.wait_for("next: wfengine show");
    assert!(first.goes_on() && second.goes_on());
    house.put("go2", "");
    second.end().ends(0);
    first.end().ends(0);
}

#[test]
fn first_commands_at_once_found_one_cluster_with_one_identity() {
    let house = House::new();
    house.put_script("hello.yml", "true");
    let all: Vec<_> = (0..4).map(|_| house.begin(&["run", "hello.yml"])).collect();
    for one in all {
        one.end().ends(0);
    }
    let listed = house.json(&["list"]);
    assert_eq!(listed.len(), 4, "{listed:?}");
    let clock = house.one(&["clock"]);
    assert_eq!(clock.get("vector").unwrap().as_object().unwrap().len(), 1, "{clock}");
    house.ask(&["replay", "--verify"]).ends(0);
}

#[test]
fn an_interrupted_run_is_cancelled_with_the_reason_and_its_step_is_gone() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let house = House::new();
        house.put_script("long.yml", "echo $$ > {desk}/pid\necho began\nsleep 600");
        let mut run = house.begin(&["run", "long.yml"]);
        run.wait_for("began");
        let step = pid_in(&house.desk().join("pid"));
        run.signal(signal);
        run.end().ends(1);
        until("the step is gone", || (!is_alive(step)).then_some(()));
        let run = house.json(&["list"]).remove(0);
        assert_eq!(text(&run, "status"), "cancelled", "{run}");
        assert!(text(&run, "reason").contains("wfengine run"), "{run}");
    }
}

#[test]
fn a_second_signal_ends_a_run_whose_step_ignores_the_first() {
    let house = House::new();
    house.put_script(
        "stubborn.yml",
        "trap '' TERM INT\necho $$ > {desk}/pid\necho began\nwhile :; do sleep 0.1; done",
    );
    let mut run = house.begin(&["run", "stubborn.yml"]);
    run.wait_for("began");
    let step = pid_in(&house.desk().join("pid"));
    run.signal(Signal::INT);
    run.wait_for("second signal");
    run.signal(Signal::INT);
    run.end().ends(1);
    until("the step is gone", || (!is_alive(step)).then_some(()));
    let run = house.json(&["list"]).remove(0);
    assert_eq!(text(&run, "status"), "cancelled", "{run}");
}

#[test]
fn a_run_whose_reader_goes_away_is_cancelled() {
    let house = House::new();
    house.put_script("chatty.yml", "echo $$ > {desk}/pid\nwhile :; do echo tick; sleep 0.02; done");
    let mut child =
        house.command(&["run", "chatty.yml"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("tick") {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0, "it ended too soon");
    }
    drop(out);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let step = pid_in(&house.desk().join("pid"));
    until("the step is gone", || (!is_alive(step)).then_some(()));
    let run = house.json(&["list"]).remove(0);
    assert_eq!(text(&run, "status"), "cancelled", "{run}");
}

#[test]
fn a_killed_run_reaches_an_end_with_a_reason_and_no_other_run_resumes_it() {
    let house = House::new();
    house.put_script("long.yml", "echo $$ > {desk}/pid\necho x >> {desk}/began\necho began\nsleep 600");
    house.put_script("other.yml", "echo other began");
    let mut run = house.begin(&["run", "long.yml"]);
    run.wait_for("began");
    let step = pid_in(&house.desk().join("pid"));
    run.kill();
    let listed = house.json(&["list"]);
    assert_eq!(listed.len(), 1);
    assert_eq!(text(&listed[0], "status"), "cancelled", "{listed:?}");
    assert!(text(&listed[0], "reason").contains("ended before it did"), "{listed:?}");
    until("the step is gone", || (!is_alive(step)).then_some(()));
    house.ask(&["run", "other.yml"]).ends(0);
    assert_eq!(text(&house.show(text(&listed[0], "id")), "status"), "cancelled");
    assert_eq!(std::fs::read_to_string(house.desk().join("began")).unwrap(), "x\n");
    house.ask(&["replay", "--verify"]).ends(0);
}

#[test]
fn a_failing_leg_ends_the_others_of_its_matrix() {
    let house = House::new();
    house.put(
        "matrix.yml",
        "on: push\njobs:\n  m:\n    runs-on: ubuntu-latest\n    strategy:\n      matrix: {leg: [good, bad]}\n    steps:\n      - run: |\n          if [ ${{ matrix.leg }} = bad ]; then until [ -e began ]; do sleep 0.02; done; exit 1; fi\n          touch began; sleep 600\n  after:\n    needs: m\n    runs-on: ubuntu-latest\n    steps: [{run: touch after}]\n",
    );
    let documents = house.json_of(&["run", "matrix.yml"], 1);
    let run = documents.last().unwrap();
    let statuses: Vec<(&str, &str)> = run
        .get("jobs")
        .unwrap()
        .as_array()
        .unwrap()
        .iter()
        .map(|job| (text(job, "name"), text(job, "status")))
        .collect();
    assert_eq!(statuses, [("m (good)", "cancelled"), ("m (bad)", "failed"), ("after", "skipped")], "{run}");
    assert!(!house.desk().join("after").exists());
}

#[test]
fn jobs_of_one_concurrency_group_do_not_overlap() {
    let house = House::new();
    house.put(
        "group.yml",
        "on: push\njobs:\n  a: &a\n    runs-on: ubuntu-latest\n    concurrency: one\n    steps: [{run: 'mkdir alone && sleep 0.1 && rmdir alone'}]\n  b: *a\n",
    );
    house.ask(&["run", "group.yml"]).ends(0);
}

#[test]
fn inputs_are_checked_before_anything_is_written() {
    let house = House::new();
    house.put(
        "inputs.yml",
        "on:\n  workflow_dispatch:\n    inputs:\n      who: {type: string, required: true}\n      size: {type: choice, options: [s, m], default: s}\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps: [{run: 'echo ${{ inputs.who }} ${{ inputs.size }}'}]\n",
    );
    for (arguments, complaint) in [
        (vec![], "'who' is required"),
        (vec!["--input", "who"], "NAME=VALUE"),
        (vec!["--input", "who=me", "--input", "size=l"], "'s' or 'm'"),
        (vec!["--input", "who=me", "--input", "what=1"], "'what'"),
        (vec!["--inputs", "[1]"], "JSON object"),
        (vec!["--inputs", "{"], "not JSON"),
    ] {
        house.ask(&[vec!["run", "inputs.yml"], arguments].concat()).ends(2).complains(&[complaint]);
    }
    assert!(!house.data().exists());
    let said =
        house.ask(&["run", "inputs.yml", "--inputs", "{\"who\":\"you\"}", "--input", "size=m"]).ends(0);
    assert!(said.out.contains("you m"), "{said:?}");
}

#[test]
fn a_workflow_may_come_through_a_pipe() {
    let house = House::new();
    house.put_script("hello.yml", "echo through the pipe");
    let file = std::fs::File::open(house.desk().join("hello.yml")).unwrap();
    let mut command = house.command(&["run", "/dev/stdin"]);
    command.stdin(file);
    let said = house::Live::start(command).end().ends(0);
    assert!(said.out.contains("through the pipe"), "{said:?}");
}
