//! What the time of day, the start of a runner and the length of a job decide, and what an architecture does.

use std::time::Duration;

use wfengine_autoscaler::Host;
use wfengine_autoscaler::idle::IdleRule;
use wfengine_autoscaler::look::held;
use wfengine_storage_format::RunnerEnd;
use wfengine_tests::standin::{Options, WantedJob, WantedRun};

use crate::node::Node;
use crate::world::{World, pool};
use crate::yard::{Conduct, LABELS};

/// 2026-06-01 00:00 UTC, a Monday; in Berlin it is two o'clock.
const MONDAY_S: u64 = 1_780_272_000;

fn rule(cron: &str, runners: u32) -> IdleRule {
    IdleRule { cron: Some(cron.to_owned()), timezone: "Europe/Berlin".to_owned(), runners }
}

/// How all runners that ever were have ended.
fn ends(node: &Node) -> Vec<RunnerEnd> {
    let views = node.member.watcher().views();
    views
        .runners()
        .all()
        .filter_map(|runner| runner.exited.as_ref().map(|(_, _, exited)| exited.end.clone()))
        .collect()
}

fn running(world: &World) -> usize {
    world.yard.listed().len()
}

#[tokio::test]
async fn runners_wait_from_eight_to_six_in_berlin() {
    // seven o'clock in Berlin
    let world = World::beginning_at(MONDAY_S + 5 * 3_600).await;
    world.repository("octo/one");
    let mut pool = pool(5, 120);
    pool.watched = vec![wfengine_autoscaler::pool::Watched::Repository("octo/one".to_owned())];
    pool.idle = vec![rule("0 8 * * *", 2), rule("0 18 * * *", 0)];
    let mut node = world.node(pool).await;
    let mut seen = Vec::new();
    // 7:59, 8:05, 17:59, 18:15: the last of them go within the time that a runner may be idle, and a look
    for minutes in [59, 65, 659, 675] {
        node.live_until(Duration::from_secs(minutes * 60)).await;
        seen.push(running(&world));
    }
    assert_eq!(seen, [0, 2, 2, 0]);
    assert!(ends(&node).iter().all(|end| matches!(end, RunnerEnd::Stopped { .. })), "{:?}", ends(&node));
    assert_eq!(world.github.runners().len(), 0);
    let (_, _, started) = world.yard.figures();
    assert_eq!(started, 2, "nobody was replaced while they waited");
}

#[tokio::test]
async fn a_jump_of_the_wall_clock_moves_floors_and_nothing_else() {
    let world = World::beginning_at(MONDAY_S + 7 * 3_600).await;
    world.repository("octo/one");
    world.repository("octo/two");
    let mut pool = pool(5, 120);
    pool.watched = ["octo/one", "octo/two"]
        .map(|name| wfengine_autoscaler::pool::Watched::Repository(name.to_owned()))
        .to_vec();
    // every day the same number, so that a day more or less means nothing
    pool.idle = vec![rule("0 8 * * *", 1), rule("0 18 * * *", 0)];
    let mut node = world.node(pool).await;
    world.queue("octo/one", &[3_000]);
    node.live_for(300).await;
    let names = |world: &World| world.yard.listed().into_iter().map(|of| of.name).collect::<Vec<_>>();
    let before = names(&world);
    assert_eq!(before.len(), 3, "one at work, one waiting for each repository: {:#?}", node.scaler.status());
    for by_s in [86_400, -2 * 86_400, 86_400] {
        node.member.jump_wall(by_s);
        node.live_for(600).await;
        assert_eq!(names(&world), before, "after a jump by {by_s} s");
    }
    assert!(ends(&node).is_empty());
    // into the evening: those that wait go, the one at work stays
    node.member.jump_wall(12 * 3_600);
    node.live_for(900).await;
    assert_eq!(running(&world), 1);
    assert_eq!(world.open_jobs(), 1);
    node.live_for(3_600).await;
    assert_eq!((world.open_jobs(), world.yard.left()), (0, (0, 0, 0)));
}

#[tokio::test]
async fn a_job_that_takes_too_long_and_a_runner_that_never_connects_are_ended_on_time() {
    let world = World::new(Options::default(), 1).await;
    world.repository("octo/one");
    let mut pool = pool(1, 30);
    pool.policy.job_timeout_ms = 1_800_000;
    pool.policy.start_timeout_ms = 180_000;
    let mut node = world.node(pool).await;
    world.queue("octo/one", &[100_000]);
    node.live_for(1_800).await;
    assert_eq!(running(&world), 1, "not before its time");
    node.live_for(120).await;
    let [RunnerEnd::Failed { what }] = &ends(&node)[..] else { panic!("{:?}", ends(&node)) };
    assert!(what.contains("longer than the pool allows"), "{what}");
    // GitHub gives the job up after a while, and then its registration can go
    node.live_for(900).await;
    assert_eq!((world.open_jobs(), world.yard.left(), world.github.runners().len()), (0, (0, 0, 0), 0));

    world.yard.order(Conduct::NeverConnects);
    world.queue("octo/one", &[10]);
    node.live_for(170).await;
    assert_eq!(running(&world), 1);
    assert_eq!(world.open_jobs(), 1);
    node.live_for(130).await;
    assert_eq!(world.open_jobs(), 0, "another runner did it: {:#?}", node.scaler.status());
    node.live_for(60).await;
    let never = ends(&node)
        .into_iter()
        .filter(|end| matches!(end, RunnerEnd::Failed { what } if what.contains("never connected")));
    assert_eq!(never.count(), 1, "{:?}", ends(&node));
}

#[tokio::test]
async fn jobs_for_another_architecture_are_left_alone() {
    for (architecture, other) in [("x64", "arm64"), ("arm64", "x64")] {
        let world = World::new(Options::default(), 1).await;
        world.repository("octo/one");
        let mut pool = pool(3, 30);
        pool.labels = [&LABELS[..], &["x64", "arm64"]].concat().into_iter().map(str::to_owned).collect();
        let mut node = Node::found_on(&world, pool, architecture).await;
        let job = |name: &str, labels: &[&str]| WantedJob::new(name, labels);
        let jobs = vec![
            job("for 10 theirs", &["self-hosted", other]),
            job("for 10 ours", &["self-hosted", architecture]),
            job("for 10 any", &["self-hosted"]),
        ];
        world.github.queue_run("octo/one", &WantedRun::new(jobs));
        node.looker.round(|| node.member.both()).await;
        let board = held(node.scaler.board()).clone();
        let served: Vec<String> = board.jobs.values().map(|seen| seen.job.name.clone()).collect();
        assert_eq!(served, ["for 10 ours", "for 10 any"], "{architecture}");
        assert!(board.refused.is_empty());
        // before they connect: GitHub gives a job to whoever offers its labels, and these runners offer both
        node.live_for(1).await;
        let (_, _, started) = world.yard.figures();
        assert_eq!(started, 2, "{architecture}");
    }
}
