//! A simulated day: 1,600 jobs in bursts over twenty repositories, ten runners, limits of all kinds.

use std::time::{Duration, Instant};

use wfengine_tests::harness::chance::Chance;
use wfengine_tests::standin::{JobInfo, Options, SecondaryLimits};

use crate::world::{World, pool};
use crate::yard::Thing;

const REPOSITORIES: u64 = 20;
const JOBS: usize = 1_600;
const RUNNERS_MAX: u32 = 10;
const INTERVAL_S: u64 = 120;
const DAY_S: u64 = 86_400;
/// From the end of a job until the next runner in its place has one: the container ends, is seen, what waits is asked for again, the
/// next container starts and connects.
const TURNAROUND_S: f64 = 8.0;
/// Start and connection of a runner, and the pace of what is asked.
const SLACK_S: f64 = 20.0;

fn name(number: u64) -> String {
    format!("octo/r{number:02}")
}

/// Bursts over the day. Two of them are far more than there are runners. From when to when everybody is refused: a runner that is being
/// started then waits for the end, and no look tells of it.
fn plan(world: &World) -> Vec<(Duration, Duration)> {
    let mut chance = Chance::new(4, "day");
    let mut left = JOBS;
    let mut bursts: Vec<(u64, usize)> = vec![(9 * 3_600, 100), (15 * 3_600 + 77, 100)];
    left -= 200;
    while left > 0 {
        let size = (chance.between(1, 31) as usize).min(left);
        bursts.push((chance.between(60, DAY_S - 1_200), size));
        left -= size;
    }
    for (at_s, mut size) in bursts {
        let first = chance.between(0, REPOSITORIES);
        while size > 0 {
            let jobs = (chance.between(1, 17) as usize).min(size);
            size -= jobs;
            let seconds = (0..jobs).map(|_| chance.between(20, 400)).collect();
            let repository = name((first + chance.between(0, 3)) % REPOSITORIES);
            world.yard.plan(Duration::from_secs(at_s), Thing::Queue { repository, seconds });
        }
    }
    for hour in [3, 11, 20] {
        world.yard.plan(Duration::from_secs(hour * 3_600 + 100), Thing::Exhaust);
    }
    let mut refused = Vec::new();
    for (hour, seconds, says_how_long) in
        [(1, 60, true), (6, 90, false), (9, 60, true), (13, 45, true), (18, 200, false)]
    {
        let from = Duration::from_secs(hour * 3_600 + 130);
        world.yard.plan(from, Thing::Secondary(seconds, says_how_long));
        refused.push((from, from + Duration::from_secs(seconds + 1)));
    }
    refused
}

fn length_s(job: &JobInfo) -> f64 {
    job.name.split(' ').nth(1).and_then(|text| text.parse().ok()).expect("a length")
}

/// When each of these jobs could begin at the earliest, in this order: ten runners, each job as soon as one is free, none while a
/// limit holds, and none before `seen_after_s` have passed since it was queued.
fn ideal(jobs: &[&JobInfo], began_s: u64, limits: &[(Duration, Duration)], seen_after_s: u64) -> Vec<f64> {
    let mut free = vec![0.0_f64; RUNNERS_MAX as usize];
    let mut starts = Vec::new();
    for job in jobs {
        free.sort_by(f64::total_cmp);
        let mut start = free[0].max((job.queued_at - began_s + seen_after_s) as f64);
        while let Some((_, until)) =
            limits.iter().find(|(from, until)| from.as_secs_f64() <= start && start < until.as_secs_f64())
        {
            start = until.as_secs_f64();
        }
        free[0] = start + length_s(job) + TURNAROUND_S;
        starts.push(start);
    }
    starts
}

/// For each job: how much later it began than it could have, how long it waited, when it was queued.
///
/// A job is seen within an interval. Which moment of it decides whether a limit meets its runner, or that of a job before it, so that
/// the latest of what each of them would have made possible counts.
fn lateness(jobs: &[&JobInfo], began_s: u64, limits: &[(Duration, Duration)]) -> Vec<(f64, f64, f64)> {
    let mut latest = vec![0.0_f64; jobs.len()];
    for seen_after_s in (0..=INTERVAL_S).step_by(5) {
        for (latest, start) in latest.iter_mut().zip(ideal(jobs, began_s, limits, seen_after_s)) {
            *latest = latest.max(start);
        }
    }
    let of = |(job, latest): (&&JobInfo, f64)| {
        let start = (job.started_at.expect("it began") - began_s) as f64;
        let queued = (job.queued_at - began_s) as f64;
        (start - latest, start - queued, queued)
    };
    jobs.iter().zip(latest).map(of).collect()
}

#[tokio::test]
async fn a_day_of_1600_jobs_without_a_request_during_a_limit() {
    let options = Options { secondary: Some(SecondaryLimits::default()), ..Options::default() };
    let world = World::new(options, 4).await;
    let began_s = world.github.clock().now();
    for number in 0..REPOSITORIES {
        world.repository(&name(number));
    }
    let mut limits = plan(&world);
    let mut node = world.node(pool(RUNNERS_MAX, INTERVAL_S)).await;
    let began = Instant::now();
    node.live_until(Duration::from_secs(DAY_S + 2 * 3_600)).await;
    let took = began.elapsed();

    let jobs = world.github.jobs();
    assert_eq!(jobs.len(), JOBS);
    let not_once: Vec<&JobInfo> = jobs
        .iter()
        .filter(|job| job.handed_out != 1 || job.conclusion.as_deref() != Some("success"))
        .collect();
    assert!(not_once.is_empty(), "{} of them, such as {:?}", not_once.len(), not_once.first());
    let (running_most, there_most, started) = world.yard.figures();
    assert!(running_most <= RUNNERS_MAX as usize, "{running_most} containers ran at once");
    assert_eq!(world.asked_in_vain(), []);
    let beside = world.github.requests_during_limits().len();
    assert_eq!(world.yard.left(), (0, 0, 0), "containers, networks, volumes");
    assert_eq!(world.github.runners().len(), 0, "registrations");
    assert_eq!(node.live_runners(), 0, "in the log");

    limits.extend(&node.limits);
    // as they were queued, and as they were begun: the first tells who was overtaken, the second whether a runner's place lay idle
    let mut in_order: Vec<&JobInfo> = jobs.iter().collect();
    let overtaken = lateness(&in_order, began_s, &limits).into_iter().map(|late| late.0).fold(0.0, f64::max);
    in_order.sort_by_key(|job| (job.started_at, job.id));
    let mut late = lateness(&in_order, began_s, &limits);
    late.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (worst, median) = (late[late.len() - 1], late[late.len() / 2].0);
    let longest = late.iter().map(|late| late.1).fold(0.0, f64::max);
    let stats = node.client.stats();
    let asked = world.github.requests();
    let mutations = asked.iter().filter(|asked| asked.method != "GET").count();
    println!(
        "a day: {} jobs, {started} containers (most at once {running_most}, with ended ones {there_most}); {} requests, {} of them 304 \
         ({:.1} %), {mutations} changes, {} refused ({beside} of them \
         beside a registration that was); longest wait {longest:.0} s, at most {:.0} s more than interval, capacity and limits ask for (median {:.0} s, {:.0} s by the order in which they were queued); {} limits; {took:?}",
        jobs.len(),
        stats.requests,
        stats.not_modified,
        100.0 * stats.not_modified as f64 / stats.requests as f64,
        stats.limited,
        worst.0,
        median,
        overtaken,
        node.limits.len(),
    );
    assert!(worst.0 <= SLACK_S, "queued at {:.0} s: {:.0} s later than it could", worst.2, worst.0);
    assert!(stats.limited > 5, "limits were met: {stats:?}");
}
