//! A simulated day: a round every five minutes, limits of all kinds, pushes, and no request while a limit holds.

use std::collections::BTreeMap;

use wfengine_discovery::Report;
use wfengine_tests::standin::{Bucket, Options, PrimaryLimits, RepositoryOptions};

use crate::files::{untagged, workflow};
use crate::node::Node;
use crate::world::World;

const REPOSITORIES: usize = 50;
const ROUNDS: usize = 288;
const EVERY_S: u64 = 300;
/// Of the repositories, those with a tagged workflow.
const TAGGED: usize = 2;
const CI: &str = ".github/workflows/ci.yml";

fn name(number: usize) -> String {
    format!("octo/r{number:02}")
}

/// What a day brought.
#[derive(Default)]
struct Day {
    reports: Vec<Report>,
    /// Commits that were pushed.
    pushed: Vec<String>,
}

async fn live_through(world: &World, node: &mut Node) -> Day {
    let mut day = Day::default();
    for round in 0..ROUNDS {
        match round % 24 {
            5 => world.github.secondary_limit_for(90, true),
            11 => world.github.secondary_limit_for(200, false),
            17 => world.github.exhaust(Bucket::Core, "user:octo"),
            _ => {}
        }
        if round % 96 == 60 {
            world.github.exhaust(Bucket::Graphql, "user:octo");
        }
        // a repository is pushed to again only after it was looked at
        if round % 4 == 2 {
            let to = name(round / 4 % TAGGED);
            let commit = match round / 4 % 3 {
                0 => world.push(&to, &[(CI, &workflow(&format!("p2p-only, n{round}"), "push"))]),
                _ => world.push(&to, &[("src/a.txt", &format!("{round}"))]),
            };
            day.pushed.push(commit);
        }
        if round % 30 == 7 {
            world.push(&name(TAGGED + round % 20), &[(CI, &untagged(1_000 + round))]);
        }
        let began = world.time.passed();
        day.reports.push(node.round().await);
        let took = (world.time.passed() - began).as_secs();
        world.pass(EVERY_S.saturating_sub(took));
    }
    day
}

#[tokio::test]
async fn no_request_goes_out_during_a_limit_over_a_whole_day_and_every_push_runs_once() {
    let primary = PrimaryLimits { user: 500, graphql: 500, ..PrimaryLimits::default() };
    let Some(world) = World::with(Options { primary, ..Options::default() }).await else { return };
    for number in 0..REPOSITORIES {
        world.github.add_repository(&name(number), &RepositoryOptions::default());
        let tagged = workflow("p2p-only", "push");
        let ci = if number < TAGGED { tagged } else { untagged(number) };
        world.push(&name(number), &[(CI, &ci)]);
    }
    let mut node = world.node("alice");
    let began = std::time::Instant::now();
    let day = live_through(&world, &mut node).await;
    let took = began.elapsed();
    // limits are over: what is still open is seen
    world.pass(3_700);
    node.round().await;
    let mut runs: BTreeMap<String, usize> = BTreeMap::new();
    for run in node.runs() {
        let sha = run.trigger.as_ref().expect("a trigger").sha.clone();
        *runs.entry(sha).or_default() += 1;
    }
    let not_once: Vec<&String> = day.pushed.iter().filter(|sha| runs.get(*sha) != Some(&1)).collect();
    assert_eq!(not_once, Vec::<&String>::new(), "of {}", day.pushed.len());
    assert_eq!(runs.values().sum::<usize>(), day.pushed.len() + TAGGED, "and nothing else ran");
    assert_eq!(world.github.requests_during_limits(), []);
    assert!(day.reports.iter().all(|report| report.vanished.is_empty() && !report.failed));
    let stats = node.client.stats();
    assert!(stats.limited > 10, "limits were met: {stats:?}");
    println!(
        "a day: {} requests, {} of them 304, {} refused, {} points, waited {:?}; {} pushes; {took:?}",
        stats.requests,
        stats.not_modified,
        stats.limited,
        stats.graphql_points,
        stats.waited,
        day.pushed.len(),
    );
}
