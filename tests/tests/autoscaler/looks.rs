//! What looks cost: nothing where nothing happens, and only what was asked for.

use std::collections::{BTreeMap, BTreeSet};

use wfengine_autoscaler::look::held;
use wfengine_tests::standin::{Logged, Options};

use crate::node::Node;
use crate::world::{World, pool};

const REPOSITORIES: usize = 200;
/// A list has a hundred on each page.
const LISTING: usize = 2;

fn name(number: usize) -> String {
    format!("octo/r{number:03}")
}

/// What one round asks.
async fn asked_in_round(world: &World, node: &mut Node) -> Vec<Logged> {
    let first = world.github.requests().len();
    let looked = node.looker.round(|| node.member.both()).await;
    assert_eq!((looked.problems, looked.limited_for), (vec![], None));
    world.github.requests_since(first)
}

fn of_runs(asked: &[Logged]) -> BTreeMap<String, usize> {
    let mut by = BTreeMap::new();
    for asked in asked.iter().filter(|asked| asked.bare_path().ends_with("/actions/runs")) {
        let repository = asked.bare_path().split('/').skip(2).take(2).collect::<Vec<_>>().join("/");
        *by.entry(repository).or_default() += 1;
    }
    by
}

#[tokio::test]
async fn two_hundred_quiet_repositories_cost_nothing_but_confirmations() {
    let world = World::new(Options::default(), 1).await;
    for number in 0..REPOSITORIES {
        world.repository(&name(number));
    }
    let mut node = world.node(pool(10, 120)).await;
    let cold = asked_in_round(&world, &mut node).await;
    assert_eq!(cold.len(), LISTING + 3 * REPOSITORIES, "with the runners of each once");
    world.time.pass(std::time::Duration::from_secs(120));
    let warm = asked_in_round(&world, &mut node).await;
    assert_eq!(warm.len(), LISTING + 2 * REPOSITORIES);
    let paid = warm.iter().filter(|asked| asked.status != 304).count();
    assert_eq!(paid, 0, "of {}", warm.len());
    println!("200 repositories: {} requests cold, {} warm, all of them 304", cold.len(), warm.len());
}

#[tokio::test]
async fn repositories_without_a_push_are_looked_at_every_tenth_round_and_those_at_work_each() {
    const QUIET: usize = 12;
    let world = World::new(Options::default(), 1).await;
    for number in 0..QUIET {
        world.repository(&name(number));
    }
    let (at_work, pushed) = (name(QUIET), name(QUIET + 1));
    world.repository(&at_work);
    world.repository(&pushed);
    world.run_elsewhere(&at_work);
    let two_days = std::time::Duration::from_secs(2 * 86_400);
    world.time.pass(two_days);
    world.github.push(&pushed, "main", &[("a.txt", Some(b"b"))], "a change");
    let mut node = world.node(pool(10, 120)).await;
    let mut rounds: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for round in 0..21 {
        for (repository, asked) in of_runs(&asked_in_round(&world, &mut node).await) {
            assert_eq!(asked, 2, "{repository}: those that wait, and those at work");
            rounds.entry(repository).or_default().push(round);
        }
        world.time.pass(std::time::Duration::from_secs(120));
    }
    let every: Vec<usize> = (0..21).collect();
    assert_eq!(rounds[&at_work], every);
    assert_eq!(rounds[&pushed], every);
    for number in 0..QUIET {
        assert_eq!(rounds[&name(number)], [0, 10, 20], "{}", name(number));
    }
}

#[tokio::test]
async fn a_hint_costs_the_requests_of_its_repository_alone() {
    let world = World::new(Options::default(), 1).await;
    for number in 0..20 {
        world.repository(&name(number));
    }
    let mut node = world.node(pool(10, 120)).await;
    asked_in_round(&world, &mut node).await;
    world.queue(&name(7), &[30, 30]);
    // runners of others are there, and are asked for when everything is
    held(node.scaler.board()).wanted_scopes.insert(name(3));
    world.time.pass(std::time::Duration::from_secs(1));
    let first = world.github.requests().len();
    node.looker.round_of(&BTreeSet::from([name(7)]), || node.member.both()).await;
    let asked = world.github.requests_since(first);
    let paths: Vec<&str> = asked.iter().map(Logged::bare_path).collect();
    assert!(paths.iter().all(|path| path.starts_with("/repos/octo/r007/")), "{paths:?}");
    assert_eq!(paths.len(), 4, "two lists of runs, the jobs of one, and its workflow: {paths:?}");
    assert_eq!(held(node.scaler.board()).jobs.len(), 2);
    assert_eq!(held(node.scaler.board()).wanted_scopes, BTreeSet::from([name(3)]));
    // a name that nobody knows, and one in other letters than GitHub's; the workflow is known by now
    let first = world.github.requests().len();
    let names = BTreeSet::from(["octo/nobody".to_owned(), "OCTO/R007".to_owned()]);
    node.looker.round_of(&names, || node.member.both()).await;
    assert_eq!(world.github.requests_since(first).len(), 3);
}
