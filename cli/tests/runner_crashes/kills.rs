//! The node killed at every step of a runner's life, and started again.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread;

use crate::bench::{Bench, intents};
use crate::proxy::{Moment, Trap};

/// Nodes at once.
const WORKERS: usize = 4;
/// Engine's paths begin with its version.
const ENGINE: bool = true;
const GITHUB: bool = false;

/// What brings a runner to the point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    /// A job waits: the runner starts, does it, ends by itself.
    Job,
    /// No job comes: it leaves GitHub, is stopped.
    Idle,
}

/// A request in a runner's life.
struct Point {
    life: Life,
    is_engine: bool,
    method: &'static str,
    path: &'static str,
    /// What the next process finds at the engine if it never happened, and if it did: containers, networks, volumes.
    left: [&'static str; 2],
    /// Runners that the log intends in the end, in both cases: another one for the job, or the same.
    intents: [usize; 2],
}

const fn point(
    life: Life,
    is_engine: bool,
    (method, path): (&'static str, &'static str),
    left: [&'static str; 2],
    intents: [usize; 2],
) -> Point {
    Point { life, is_engine, method, path, left, intents }
}

const POINTS: [Point; 13] = [
    point(Life::Job, ENGINE, ("POST", "*/networks/create"), ["", "n"], [2, 2]),
    point(Life::Job, ENGINE, ("POST", "*/volumes/create"), ["n", "nv"], [2, 2]),
    point(Life::Job, GITHUB, ("POST", "*/generate-jitconfig"), ["nv", "nv"], [2, 2]),
    point(Life::Job, ENGINE, ("POST", "*/containers/create"), ["nv", "cnv"], [2, 2]),
    point(Life::Job, ENGINE, ("PUT", "*/archive"), ["cnv", "cnv"], [2, 2]),
    // from here on it goes its way, whoever looks
    point(Life::Job, ENGINE, ("POST", "*/containers/*/start"), ["cnv", "cnv"], [2, 1]),
    point(Life::Job, ENGINE, ("GET", "*/containers/*/logs"), ["cnv", "cnv"], [1, 1]),
    point(Life::Job, ENGINE, ("DELETE", "*/containers/*"), ["cnv", "nv"], [1, 1]),
    point(Life::Job, ENGINE, ("DELETE", "*/networks/*"), ["nv", "v"], [1, 1]),
    point(Life::Job, ENGINE, ("DELETE", "*/volumes/*"), ["v", ""], [1, 1]),
    point(Life::Idle, GITHUB, ("DELETE", "*/actions/runners/*"), ["cnv", "cnv"], [2, 2]),
    point(Life::Idle, ENGINE, ("POST", "*/containers/*/stop"), ["cnv", "cnv"], [2, 2]),
    // the log does not know yet that it is gone
    point(Life::Idle, GITHUB, ("GET", "*/actions/runners/*"), ["", ""], [2, 2]),
];

const LEFT_UNSHOWN: &str = "a node killed at each step of a runner's life";

#[test]
fn a_node_killed_at_any_step_of_a_runners_life_leaves_no_orphan_and_does_no_job_twice() {
    if Bench::new(LEFT_UNSHOWN).is_none() {
        return;
    }
    let cases = POINTS.iter().flat_map(|point| [(point, Moment::Before), (point, Moment::After)]);
    let cases = Mutex::new(cases.collect::<VecDeque<_>>());
    let failed = Mutex::new(Vec::new());
    let next = || cases.lock().unwrap().pop_front();
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((point, moment)) = next() {
                    if catch_unwind(AssertUnwindSafe(|| killed_at(point, moment))).is_err() {
                        failed.lock().unwrap().push(format!("{moment:?} {} {}", point.method, point.path));
                    }
                }
            });
        }
    });
    assert_eq!(failed.into_inner().unwrap(), [""; 0], "nodes killed at these points failed");
}

fn killed_at(point: &Point, moment: Moment) {
    let which = format!("{moment:?} {} {}", point.method, point.path);
    let at = usize::from(moment == Moment::After);
    let bench = Bench::new(LEFT_UNSHOWN).unwrap();
    let mut node = bench.start(&["--max-runners", "1", "--idle-timeout", "1s"]);
    let door = if point.is_engine { &bench.engine_door } else { &bench.github_door };
    let trap = Trap { method: point.method, path: point.path, moment };
    match point.life {
        Life::Job => {
            door.set(trap, node.pid());
            bench.queue("build");
        }
        Life::Idle => {
            bench.provision();
            door.set(trap, node.pid());
        }
    }
    door.until_sprung();
    node.kill();
    assert_eq!(bench.left(), point.left[at], "{which}");
    let registered = bench.lab.standin.runners().len();
    match (point.path, moment) {
        ("*/generate-jitconfig", Moment::Before) | ("*/actions/runners/*", Moment::After) => {
            assert_eq!(registered, 0, "{which}");
        }
        ("*/generate-jitconfig", _) | ("*/containers/create" | "*/archive", _) => {
            assert_eq!(registered, 1, "{which}");
        }
        _ => {}
    }

    let node = bench.serve();
    if point.life == Life::Idle {
        bench.until_all_is_over();
        bench.queue("build");
    }
    bench.until_all_is_over();
    bench.lab.every_job_was_done_once();
    let expected = if point.life == Life::Idle { 2 } else { 1 };
    assert_eq!(bench.started(), expected, "containers started, {which}");
    let story = bench.story(node);
    // a busy engine may refuse a start, which is tried again by another runner
    let refused = story.lines().filter(|line| line.contains("never started: the engine")).count();
    assert_eq!(intents(&story) - refused, point.intents[at], "{which}: {story}");
}
