//! Random histories: jobs, cancellations, runners that misbehave, an engine and a GitHub that fail, and processes that end anywhere.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::{Duration, Instant};

use wfengine_autoscaler::container::LABEL_INTENT;
use wfengine_autoscaler::{Host, Pool};
use wfengine_tests::harness::chance::Chance;
use wfengine_tests::standin::{ErrorCase, Fault, FaultRule, Options, Progress, RunnerPatience};

use crate::node::{Lived, Node};
use crate::world::{World, pool};
use crate::yard::{Conduct, Thing};

const RUNNERS_MAX: u32 = 3;
const STEPS: u32 = 200;
/// A history takes some ten seconds of a processor.
const SEEDS: u64 = 10;
const REPOSITORIES: [&str; 2] = ["octo/one", "octo/two"];
/// After so long without a fault nothing is left.
const QUIET_S: u64 = 3 * 3_600;

fn small_pool() -> Pool {
    let mut pool = pool(RUNNERS_MAX, 30);
    pool.policy.start_timeout_ms = 60_000;
    pool.policy.idle_timeout_ms = 120_000;
    pool.policy.job_timeout_ms = 600_000;
    pool
}

/// What must hold at every moment.
fn check(world: &World, seed: u64, step: u32) {
    let (running_most, ..) = world.yard.figures();
    assert!(
        running_most <= RUNNERS_MAX as usize,
        "seed {seed}, step {step}: {running_most} containers ran at once"
    );
    let twice = world.github.jobs().iter().filter(|job| job.handed_out > 1).count();
    assert_eq!(twice, 0, "seed {seed}, step {step}: handed out twice");
}

/// What may be left over only for a while: containers that no event speaks of, registrations without a container, all of it at the end.
async fn settle_down(world: &World, mut node: Node, seed: u64) -> Node {
    world.yard.heal();
    world.github.clear_faults();
    let end = world.passed() + Duration::from_secs(QUIET_S);
    let is_quiet = |node: &Node| {
        world.open_jobs() == 0
            && world.yard.left() == (0, 0, 0)
            && world.github.runners().is_empty()
            && node.live_runners() == 0
    };
    while world.passed() < end && !is_quiet(&node) {
        if node.live_for(60).await == Lived::Cut {
            node = node.restarted().await;
        }
    }
    let intents: BTreeSet<String> = {
        let views = node.member.watcher().views();
        views.runners().live().map(|runner| runner.intent.to_string()).collect()
    };
    let unspoken = world.yard.listed().into_iter().filter(|container| {
        container.labels.get(LABEL_INTENT).is_none_or(|intent| !intents.contains(intent))
    });
    assert_eq!(
        unspoken.map(|container| container.name).collect::<Vec<_>>(),
        Vec::<String>::new(),
        "seed {seed}"
    );
    let open: Vec<_> =
        world.github.jobs().into_iter().filter(|job| job.progress != Progress::Completed).collect();
    assert!(
        is_quiet(&node),
        "seed {seed}: left after {QUIET_S} s: jobs {open:?}, containers, networks and volumes {:?}, registrations {:?}, status {:#?}",
        world.yard.left(),
        world.github.runners(),
        node.scaler.status(),
    );
    node
}

fn disturb(world: &World, chance: &mut Chance) {
    let now = world.passed();
    match chance.between(0, 100) {
        0..30 => {
            let repository = REPOSITORIES[usize::from(chance.happens(400))].to_owned();
            let seconds = (0..chance.between(1, 4)).map(|_| chance.between(5, 120)).collect();
            world.yard.now(&Thing::Queue { repository, seconds });
        }
        30..38 => {
            let jobs = world.github.jobs();
            let open: Vec<_> = jobs.iter().filter(|job| job.progress != Progress::Completed).collect();
            if !open.is_empty() {
                let at = chance.between(0, open.len() as u64) as usize;
                world.yard.now(&Thing::Cancel(open[at].id));
            }
        }
        38..52 => {
            let conducts =
                [Conduct::EndsFirst, Conduct::NeverConnects, Conduct::NeverAsks, Conduct::DiesAtWork];
            world.yard.order(conducts[chance.between(0, 4) as usize]);
        }
        52..57 => world.yard.lose_until(now + Duration::from_secs(chance.between(1, 90))),
        57..62 => {
            let (failing, unanswered) = (chance.between(0, 3) as u32, chance.between(0, 2) as u32);
            world.yard.fail_creates(failing, unanswered);
        }
        62..70 => {
            let fault = match chance.between(0, 4) {
                0 => Fault::Error(ErrorCase::Unicorn),
                1 => Fault::LostAnswer,
                2 => Fault::HtmlPage { status: 502 },
                _ => Fault::InvalidJson,
            };
            let method = ["GET", "POST", "DELETE"][chance.between(0, 3) as usize];
            world.github.fault(FaultRule::new("/repos/*", fault).method(method).times(chance.between(1, 6)));
        }
        70..73 => {
            let there = world.yard.listed();
            if !there.is_empty() {
                let at = chance.between(0, there.len() as u64) as usize;
                world.yard.lose_container(&there[at].name);
            }
        }
        73..76 => {
            // one of ours is deleted by hand
            let idle: Vec<_> = world.github.runners().into_iter().filter(|runner| !runner.is_busy).collect();
            if let Some(runner) = idle.first() {
                world.github.remove_runner(runner.id);
            }
        }
        _ => {}
    }
}

async fn live_through(seed: u64) -> (usize, u32) {
    let world = World::new(Options::default(), seed).await;
    world.github.set_runner_patience(RunnerPatience { offline_seconds: 30, lost_seconds: 120 });
    for name in REPOSITORIES {
        world.repository(name);
    }
    let mut chance = Chance::new(seed, "history");
    let mut node = world.node(small_pool()).await;
    let mut restarts = 0;
    for step in 0..STEPS {
        disturb(&world, &mut chance);
        match chance.between(0, 100) {
            // between two steps
            0..4 => {
                node = node.restarted().await;
                restarts += 1;
            }
            // in the middle of whatever comes next
            4..12 => world.cuts.plan(chance.between(1, 40)),
            _ => {}
        }
        if node.live_for(chance.between(0, 31)).await == Lived::Cut {
            node = node.restarted().await;
            restarts += 1;
        }
        check(&world, seed, step);
        if step == STEPS / 2 {
            node = settle_down(&world, node, seed).await;
        }
    }
    node = settle_down(&world, node, seed).await;
    check(&world, seed, STEPS);
    let jobs = world.jobs().len();
    // the log is read anew once more
    drop(node.restarted().await);
    (jobs, restarts)
}

/// `WFENGINE_SEEDS` asks for more of them, or, as `7..8`, for certain ones.
fn seeds() -> Range<u64> {
    let Ok(asked) = std::env::var("WFENGINE_SEEDS") else { return 0..SEEDS };
    let read =
        |text: &str| text.trim().parse::<u64>().expect("WFENGINE_SEEDS is a number, or two with .. between");
    match asked.split_once("..") {
        Some((first, end)) => read(first)..read(end),
        None => 0..read(&asked),
    }
}

async fn live_through_all(is_even: bool) -> String {
    let (began, mut jobs, mut restarts, mut histories) = (Instant::now(), 0, 0, 0);
    for seed in seeds().filter(|seed| (seed % 2 == 0) == is_even) {
        let (of_seed, restarts_of_seed) = live_through(seed).await;
        (jobs, restarts, histories) = (jobs + of_seed, restarts + restarts_of_seed, histories + 1);
    }
    let took = began.elapsed();
    format!("{histories} histories of {STEPS} steps: {jobs} jobs, {restarts} restarts; {took:?}")
}

#[tokio::test]
async fn random_histories_leave_nothing_behind_and_do_each_job_once() {
    println!("{}", live_through_all(true).await);
}

#[tokio::test]
async fn more_random_histories() {
    println!("{}", live_through_all(false).await);
}
