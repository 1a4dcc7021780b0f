//! Whole clusters in virtual time: every seed is one history, and every invariant must hold in all of them.
//!
//! `WFENGINE_SIM_SEEDS=N` runs N seeds of each suite, `WFENGINE_SIM_FIRST=S` begins with seed S.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test may fail it")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wfengine_core::scheduler::Timing;
use wfengine_tests::harness::checks::Sometimes;
use wfengine_tests::harness::workflows::Shape;
use wfengine_tests::harness::{Faults, Outcome, Setup, Simulation, Violation};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs seeds on all processors and adds up what happened. The first failing seed is printed with the command that runs it
/// alone.
fn run(test: &str, seeds: u64, setup: impl Fn(u64) -> Setup + Sync) -> Sometimes {
    let first = number("WFENGINE_SIM_FIRST").unwrap_or(0);
    let seeds = number("WFENGINE_SIM_SEEDS").unwrap_or(seeds);
    let next = AtomicU64::new(first);
    let worker = || {
        let mut sometimes = Sometimes::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
                return Ok(sometimes);
            }
            match Simulation::run(seed, setup(seed)) {
                Ok(outcome) => sometimes.add(&outcome.sometimes),
                Err(violation) => {
                    next.store(u64::MAX / 2, Ordering::Relaxed);
                    return Err((seed, violation));
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let results: Vec<Result<Sometimes, (u64, Violation)>> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut sometimes = Sometimes::default();
    for result in results {
        match result {
            Ok(more) => sometimes.add(&more),
            Err((seed, violation)) => panic!(
                "seed {seed}: {violation}\nto run it alone: WFENGINE_SIM_FIRST={seed} WFENGINE_SIM_SEEDS=1 \
                 cargo test -p wfengine-tests --test simulation {test} -- --exact"
            ),
        }
    }
    sometimes
}

/// Plants a bug: some seed must catch it, or the suite proves nothing about it.
fn is_caught(seeds: u64, setup: impl Fn(u64) -> Setup) -> Violation {
    for seed in 0..seeds {
        if let Err(violation) = Simulation::run(seed, setup(seed)) {
            return violation;
        }
    }
    panic!("{seeds} seeds did not notice the planted bug");
}

fn crowded() -> Setup {
    Setup {
        runs: 16,
        submitted_over_ms: 4_000,
        shapes: vec![Shape::Group, Shape::Group, Shape::Matrix(4), Shape::Task],
        ..Setup::calm()
    }
}

#[test]
fn without_faults_the_nearest_peer_claims_each_job_once() {
    let sometimes = run("without_faults_the_nearest_peer_claims_each_job_once", 60, |_| Setup::calm());
    assert_eq!((sometimes.takeovers, sometimes.duplicates, sometimes.rivals), (0, 0, 0));
    assert!(sometimes.jobs > 0);
}

#[test]
fn without_faults_groups_and_limits_hold() {
    let sometimes = run("without_faults_groups_and_limits_hold", 30, |_| crowded());
    assert_eq!((sometimes.duplicates, sometimes.given_up), (0, 0));
}

#[test]
fn with_faults_everything_ends_and_all_agree() {
    let sometimes = run("with_faults_everything_ends_and_all_agree", 300, Setup::stormy);
    println!("{sometimes:?}");
    // a suite in which these never happen proves little; giving a job up takes five losses of one job and has tests of its own
    let all = number("WFENGINE_SIM_SEEDS").is_none_or(|seeds| seeds >= 300);
    let rare = [
        sometimes.takeovers,
        sometimes.duplicates,
        sometimes.rivals,
        sometimes.cancelled,
        sometimes.retried,
        sometimes.aborted,
        sometimes.released,
    ];
    assert!(!all || rare.iter().all(|times| *times > 0), "{sometimes:?}");
}

#[test]
fn five_nodes_with_faults_agree_too() {
    run("five_nodes_with_faults_agree_too", 20, |seed| Setup { nodes: 5, ..Setup::stormy(seed) });
}

#[test]
fn a_node_alone_needs_nobody() {
    run("a_node_alone_needs_nobody", 10, |seed| Setup { nodes: 1, ..Setup::stormy(seed) });
}

#[test]
fn one_seed_is_one_history() {
    let run = || -> Result<Outcome, Violation> { Simulation::run(11, Setup::stormy(11)) };
    assert_eq!(run(), run());
}

#[test]
fn a_scheduler_that_does_not_wait_its_turn_is_caught() {
    let timing = Timing { turn: Duration::ZERO, ..Timing::default() };
    let violation = is_caught(20, |_| Setup { timing, ..Setup::calm() });
    assert!(matches!(violation, Violation::Unexcused { .. }), "{violation}");
}

#[test]
fn a_scheduler_that_does_not_settle_is_caught() {
    let timing = Timing { settle: Duration::ZERO, ..Timing::default() };
    let violation = is_caught(60, |_| Setup { timing, ..crowded() });
    assert!(matches!(violation, Violation::Unexcused { .. }), "{violation}");
}

#[test]
fn a_scheduler_that_takes_over_from_the_living_is_caught() {
    let timing = Timing { unnamed_max: Duration::from_millis(1_500), ..Timing::default() };
    let violation = is_caught(20, |_| Setup { timing, ..Setup::calm() });
    assert!(matches!(violation, Violation::Unexcused { .. }), "{violation}");
}

#[test]
fn a_scheduler_that_never_takes_over_is_caught() {
    let never = Duration::from_secs(1_000_000);
    let timing = Timing { grace_min: never, grace_max: never, unnamed_max: never, ..Timing::default() };
    let crashes = |seed| Setup {
        timing,
        faults: Faults { broken_executor_permille: 400, ..Faults::none() },
        ..Setup::stormy(seed)
    };
    let violation = is_caught(60, crashes);
    assert!(matches!(violation, Violation::NotQuiet { .. }), "{violation}");
}

#[test]
fn an_executor_that_does_not_ask_whether_it_may_go_on_is_caught() {
    let violation = is_caught(60, |seed| Setup { executors_never_stop: true, ..Setup::stormy(seed) });
    assert!(
        matches!(violation, Violation::StepAfterBetter { .. } | Violation::NotQuiet { .. }),
        "{violation}"
    );
}

#[test]
fn a_node_that_announces_before_its_commit_is_caught() {
    let setup = |seed| Setup {
        announces_before_commit: true,
        runs: 60,
        faults: Faults { crashes: 30, ..Faults::none() },
        ..Setup::stormy(seed)
    };
    let violation = is_caught(60, setup);
    println!("{violation}");
}
