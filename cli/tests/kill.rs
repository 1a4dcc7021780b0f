//! kill -9 at random moments of a node that takes submissions: whatever was acknowledged is there afterwards, and the log is whole.
//!
//! `WFENGINE_KILLS` says how often (20 unless set), `WFENGINE_SEED` repeats the moments of an earlier run as far as the machine lets
//! them repeat. What happens to a disk without power is not shown here: the kernel lives on and writes what it was given.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by failing")]

mod house;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use house::{House, PATIENCE, text};

/// Programs that submit at once.
const SUBMITTERS: usize = 3;
/// The acknowledged ids are asked for in full every so many kills, and at the end.
const LOOK_EVERY: u64 = 10;

/// A number of an environment variable.
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// splitmix64.
fn draw(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % below
}

/// Submits until it is told to stop: tasks and workflows in turn. Only what ended with status 0 is acknowledged.
fn submit(house: &House, stop: &AtomicBool, counter: &AtomicU64, acknowledged: &Sender<(String, String)>) {
    while !stop.load(Ordering::Relaxed) {
        let n = counter.fetch_add(1, Ordering::Relaxed);
        let id = format!("s{n}");
        let note = format!("{{\"n\":{n}}}");
        let said = if n.is_multiple_of(3) {
            house.ask(&["--json", "submit", "w.yml", "--id", &id, "--metadata", &note])
        } else {
            house.ask(&["--json", "task", "submit", "--task-id", &id, "--metadata", &note])
        };
        assert!(!said.err.contains("panicked") && !said.err.contains("corrupt"), "{said:?}");
        match said.code() {
            0 => {
                let run = text(said.json()[0].get("run").unwrap(), "id").to_owned();
                acknowledged.send((id, run)).unwrap();
            }
            // the node was killed before it answered: nothing was promised
            4 => {}
            // it was killed, and another command is at work there
            3 if said.err.contains("in use by process") => {}
            _ => panic!("{said:?}"),
        }
    }
}

/// Everything acknowledged is there, once, with its content, and the log proves itself.
fn check(house: &House, acknowledged: &BTreeMap<String, String>) {
    let listed = house.json(&["list", "--limit", "10000"]);
    let mut found = BTreeMap::new();
    for run in &listed {
        let before = found.insert(text(run, "given_id").to_owned(), run);
        assert!(before.is_none(), "twice: {run}");
    }
    for (id, run) in acknowledged {
        let known = found.get(id).unwrap_or_else(|| panic!("{id} was acknowledged as run {run} and is gone"));
        assert_eq!(text(known, "id"), run);
        assert_eq!(format!("s{}", known.pointer("/metadata/n").unwrap()), *id);
    }
    house.ask(&["replay", "--verify"]).ends(0);
}

#[test]
fn nothing_acknowledged_is_lost_by_kills_at_random_moments() {
    let kills = number("WFENGINE_KILLS").unwrap_or(20);
    let seed = number("WFENGINE_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("WFENGINE_SEED={seed} WFENGINE_KILLS={kills}");
    let mut chance = seed;
    let house = House::new();
    house.put_script("w.yml", "true");
    house.ask(&["init", "--name", "alpha"]).ends(0);
    let (stop, counter) = (AtomicBool::new(false), AtomicU64::new(0));
    let (sender, receiver) = channel();
    let mut acknowledged = BTreeMap::new();
    thread::scope(|scope| {
        let stop_all = Stop(&stop);
        for _ in 0..SUBMITTERS {
            let sender = sender.clone();
            let (house, stop, counter) = (&house, &stop, &counter);
            scope.spawn(move || submit(house, stop, counter, &sender));
        }
        for kill in 1..=kills {
            let mut node = house.serve_among_others();
            // some submissions, and a moment more: in the middle of one
            for _ in 0..=draw(&mut chance, 6) {
                let (id, run) = receiver.recv_timeout(PATIENCE).unwrap();
                acknowledged.insert(id, run);
            }
            let moment = Duration::from_micros(draw(&mut chance, 20_000));
            if let Ok((id, run)) = receiver.recv_timeout(moment) {
                acknowledged.insert(id, run);
            }
            node.kill();
            if kill.is_multiple_of(LOOK_EVERY) {
                let _node = house.serve_among_others();
                acknowledged.extend(receiver.try_iter());
                check(&house, &acknowledged);
            }
        }
        drop(stop_all);
    });
    acknowledged.extend(receiver.try_iter());
    assert!(acknowledged.len() as u64 >= kills, "only {} submissions", acknowledged.len());
    check(&house, &acknowledged);
    let node = house.serve();
    check(&house, &acknowledged);
    node.stop().ends(0);
    house.ask(&["status"]).ends(0);
}

/// Ends the submitters, also by a panic.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
