//! A host that runs jobs of GitHub and jobs that members submitted, and shares itself between them.

use std::sync::{Arc, Mutex};

use wfengine_tests::standin::Progress;

use crate::cluster::{end, until_all_jobs_ended, until_at_work, until_job, until_looked};
use crate::house::{House, Said, text, until};
use crate::lab::{LABELS, Lab};

/// Which side something is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Github,
    Members,
}

/// Something began or ended, by the clock of this machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Change {
    at_ns: i64,
    side: Side,
    begins: bool,
}

/// Begins and ends of a pool's containers.
struct Diary(Arc<Mutex<Vec<Change>>>);

impl Diary {
    fn begin(lab: &Lab) -> Self {
        let labels = [("dev.wfengine.pool", lab.pool.as_str())];
        let mut events = lab.runtime.block_on(lab.engine.events(&labels)).unwrap();
        let changes = Arc::new(Mutex::new(Vec::new()));
        let writing = Arc::clone(&changes);
        lab.runtime.spawn(async move {
            while let Some(Ok(event)) = events.next().await {
                let begins = event.action == "start";
                if begins || event.action == "die" {
                    let change = Change { at_ns: event.unix_ns, side: Side::Github, begins };
                    writing.lock().unwrap().push(change);
                }
            }
        });
        Self(changes)
    }

    /// With the members' jobs of a house, in order.
    fn with(&self, house: &House) -> Vec<Change> {
        let mut all = self.0.lock().unwrap().clone();
        for line in times(house) {
            let (what, at) = line.split_once(' ').unwrap();
            all.push(Change {
                at_ns: at.trim().parse().unwrap(),
                side: Side::Members,
                begins: what == "begin",
            });
        }
        all.sort_by_key(|change| change.at_ns);
        all
    }
}

fn times(house: &House) -> Vec<String> {
    let written = std::fs::read_to_string(house.desk().join("times")).unwrap_or_default();
    written.lines().map(str::to_owned).collect()
}

/// The most that was at work at one moment.
fn most<'a>(changes: impl IntoIterator<Item = &'a Change>) -> i32 {
    let (mut now, mut most) = (0, 0);
    for change in changes {
        now += if change.begins { 1 } else { -1 };
        most = most.max(now);
    }
    most
}

/// A workflow that takes a while and writes down when.
fn put_task(house: &House) {
    house.put_script(
        "task.yml",
        "echo \"begin $(date +%s%N)\" >> {desk}/times\nsleep 1\necho \"end $(date +%s%N)\" >> {desk}/times",
    );
}

/// A workflow whose runs end when so many of them are at work at once.
fn put_gate(house: &House, name: &str, count: usize) {
    let script = format!(
        "echo here >> {{desk}}/{name}.at\nuntil [ $(wc -l < {{desk}}/{name}.at) -ge {count} ]; do sleep 0.05; done"
    );
    house.put_script(&format!("{name}.yml"), &script);
}

fn at_gate(house: &House, name: &str) -> usize {
    std::fs::read_to_string(house.desk().join(format!("{name}.at"))).map_or(0, |text| text.lines().count())
}

fn submit(house: &House, workflow: &str, count: usize) {
    for _ in 0..count {
        house.ask(&["submit", workflow]).ends(0);
    }
}

#[track_caller]
fn until_runs_completed(house: &House, count: usize) {
    until(&format!("{count} runs are completed"), || {
        let runs = house.json(&["list"]);
        let completed = runs.iter().filter(|run| text(run, "status") == "completed").count();
        (completed == count).then_some(())
    });
}

/// Lines of the share, without the others.
fn lines_of_share(said: &Said) -> Vec<String> {
    let is_of = |line: &&str| line.starts_with("P2P workflows:") || line.starts_with("Allocating ");
    said.out.lines().filter(is_of).map(str::to_owned).collect()
}

#[test]
fn members_jobs_get_their_half_while_githubs_queue_is_full() {
    let Some(lab) = Lab::new(&["octo/one"], "the share of members' jobs") else { return };
    let house = House::new();
    put_task(&house);
    let diary = Diary::begin(&lab);
    let node = lab.start(&house, &["--max-runners", "4"]);
    until_looked(&lab, &house, 1);
    lab.standin.queue_jobs("octo/one", "build do-slow-3", &LABELS, 12);
    // without jobs of members, all of it is GitHub's
    until_at_work(&lab, 4);
    submit(&house, "task.yml", 6);
    until_runs_completed(&house, 6);
    until_all_jobs_ended(&lab);
    lab.every_job_was_done_once();
    lab.until_nothing_is_left();
    let said = end(&lab, &house, node);
    let all = diary.with(&house);
    let of =
        |side| all.iter().copied().filter(move |change: &Change| change.side == side).collect::<Vec<_>>();
    let (github, members) = (of(Side::Github), of(Side::Members));
    assert_eq!((github.len(), members.len()), (24, 12), "{all:?}");
    assert!(most(&all) <= 4, "{} at once: {all:?}", most(&all));
    assert_eq!(most(&github), 4, "{all:?}");
    // until the last of GitHub's jobs began, its queue was full
    let emptied = github.iter().rfind(|change| change.begins).unwrap().at_ns;
    let meanwhile: Vec<Change> = members.iter().copied().filter(|change| change.at_ns < emptied).collect();
    assert!(meanwhile.iter().any(|change| !change.begins), "none was done meanwhile: {all:?}");
    assert!(most(&meanwhile) <= 2, "{all:?}");
    assert_eq!(most(&meanwhile), 2, "half of it was theirs: {all:?}");
    // the document's lines, each when something is other than before
    let lines = lines_of_share(&said);
    assert!(
        lines.contains(&"Allocating 2 runners for P2P tasks, 2 for GitHub workflows".to_owned()),
        "{lines:?}"
    );
    let pairs: Vec<&[String]> = lines.chunks(2).collect();
    for pair in &pairs {
        assert!(pair[0].starts_with("P2P workflows: ") && pair[1].starts_with("Allocating "), "{lines:?}");
        assert!(pair[0].contains(" pending, ") && pair[0].ends_with(" assigned"), "{lines:?}");
    }
    assert!(pairs.windows(2).all(|two| two[0] != two[1]), "{lines:?}");
    assert!(lines.iter().any(|line| line.ends_with("pending, 2 assigned")), "{lines:?}");
}

#[test]
fn what_one_side_does_not_use_flows_to_the_other() {
    let Some(lab) = Lab::new(&["octo/one"], "the flow of unused shares") else { return };
    let house = House::new();
    put_gate(&house, "four", 4);
    put_gate(&house, "three", 3);
    let node = lab.start(&house, &["--max-runners", "4"]);
    until_looked(&lab, &house, 1);
    // nothing at GitHub: four at once, of which two would be their half
    submit(&house, "four.yml", 4);
    until_runs_completed(&house, 4);
    // one job at GitHub: three at once
    let job = lab.standin.queue_jobs("octo/one", "build do-slow-20", &LABELS, 1)[0];
    until_at_work(&lab, 1);
    submit(&house, "three.yml", 4);
    until("three are at work at once", || (at_gate(&house, "three") >= 3).then_some(()));
    assert_eq!(lab.standin.job(job).progress, Progress::InProgress);
    until_runs_completed(&house, 8);
    lab.standin.cancel_job(job);
    // none of members: all four are GitHub's
    lab.standin.queue_jobs("octo/one", "build do-slow-4", &LABELS, 4);
    until_at_work(&lab, 4);
    until_all_jobs_ended(&lab);
    lab.until_nothing_is_left();
    end(&lab, &house, node);
}

#[test]
fn one_runner_for_both_sides_takes_turns() {
    let Some(lab) = Lab::new(&["octo/one"], "turns where there is one runner") else { return };
    let house = House::new();
    put_task(&house);
    let diary = Diary::begin(&lab);
    let node = lab.start(&house, &["--max-runners", "1"]);
    until_looked(&lab, &house, 1);
    lab.standin.queue_jobs("octo/one", "build do-slow-4", &LABELS, 1);
    until_at_work(&lab, 1);
    // both wait while the one is taken
    lab.standin.queue_jobs("octo/one", "build do-slow-0.5", &LABELS, 4);
    submit(&house, "task.yml", 4);
    until_runs_completed(&house, 4);
    until_all_jobs_ended(&lab);
    lab.every_job_was_done_once();
    lab.until_nothing_is_left();
    end(&lab, &house, node);
    let all = diary.with(&house);
    assert_eq!(most(&all), 1, "{all:?}");
    let begun: Vec<Side> = all.iter().filter(|change| change.begins).map(|change| change.side).collect();
    assert_eq!(begun.len(), 9);
    let turns: Vec<Side> = (0..9).map(|at| if at % 2 == 0 { Side::Github } else { Side::Members }).collect();
    assert_eq!(begun, turns);
}

#[test]
fn the_nodes_own_slots_come_back_and_are_left_alone_without_a_share() {
    let Some(lab) = Lab::new(&["octo/one"], "the node's own slots") else { return };
    let house = House::new();
    for name in ["first", "second", "third"] {
        put_gate(&house, name, 3);
    }
    let node = lab.serve(&house, &["--slots", "3"]);
    lab.turn_on(&house, &["--max-runners", "1"]).ends(0);
    let job = lab.standin.queue_jobs("octo/one", "build do-slow-6", &LABELS, 1)[0];
    until_at_work(&lab, 1);
    // the one place there is has a job of GitHub's
    submit(&house, "first.yml", 3);
    until("they wait", || {
        let p2p = lab.status(&house)["p2p"].clone();
        (p2p["pending"] == 3 && p2p["running"] == 0).then_some(())
    });
    assert_eq!(at_gate(&house, "first"), 0);
    assert_eq!(lab.standin.job(job).progress, Progress::InProgress);
    house.ask(&["runner", "stop"]).ends(0);
    until_runs_completed(&house, 3);
    until_job(&lab, job, "is done", |job| job.conclusion.as_deref() == Some("success"));
    lab.until_nothing_is_left();
    // nothing is kept for members, and nothing taken from them
    lab.turn_on(&house, &["--max-runners", "1", "--no-p2p"]).ends(0);
    let jobs = lab.standin.queue_jobs("octo/one", "build do-slow-4", &LABELS, 2);
    until_at_work(&lab, 1);
    submit(&house, "second.yml", 3);
    until_runs_completed(&house, 6);
    assert_eq!(lab.status(&house)["p2p"], serde_json::Value::Null);
    for job in jobs {
        until_job(&lab, job, "is done", |job| job.conclusion.as_deref() == Some("success"));
    }
    house.ask(&["runner", "stop"]).ends(0);
    lab.until_nothing_is_left();
    submit(&house, "third.yml", 3);
    until_runs_completed(&house, 9);
    let said = end(&lab, &house, node);
    assert!(
        lines_of_share(&said).iter().any(|line| line == "P2P workflows: 3 pending, 0 assigned"),
        "{said:?}"
    );
}
