//! A thousand repositories.

use std::collections::BTreeSet;

use wfengine_discovery::{Options, Policies, Policy};
use wfengine_tests::standin::{Bucket, RepositoryOptions};

use crate::cold_and_warm::found;
use crate::files::{untagged, workflow};
use crate::world::World;

const REPOSITORIES: usize = 1_000;
/// One of so many is tagged.
const TAGGED_EVERY: usize = 50;

#[tokio::test]
async fn a_thousand_repositories_are_looked_at_within_the_budget() {
    let Some(world) = World::new().await else { return };
    let mut tagged = BTreeSet::new();
    for number in 0..REPOSITORIES {
        let name = format!("octo/r{number:03}");
        world.github.add_repository(&name, &RepositoryOptions::default());
        let mut files: Vec<(String, String)> = (0..3)
            .map(|file| (format!(".github/workflows/f{file}.yml"), untagged(number * 3 + file)))
            .collect();
        if number % TAGGED_EVERY == 7 {
            files[number % 3].1 = workflow("p2p-only", "push");
            tagged.insert(format!("{name}/{}", files[number % 3].0));
        }
        let files: Vec<(&str, &str)> =
            files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        world.push(&name, &files);
    }
    let policies = Policies { default: Policy::Manual, ..Policies::default() };
    let mut node = world.node("alice").wishing(Options { policies, ..Options::default() });
    let began = std::time::Instant::now();
    let cold = node.round().await;
    let took = began.elapsed();
    assert_eq!(found(&cold).into_keys().collect::<BTreeSet<_>>(), tagged, "{:#?}", cold.problems);
    assert_eq!((cold.repositories.len(), cold.files), (REPOSITORIES, 3 * REPOSITORIES as u64));
    assert_eq!(cold.problems, []);
    let left = world.github.remaining(Bucket::Core, &world.token());
    assert!(left > Some(500), "{left:?}: a tenth is for what is urgent");
    let began = std::time::Instant::now();
    let warm = node.round().await;
    assert_eq!(found(&warm).into_keys().collect::<BTreeSet<_>>(), tagged);
    println!(
        "1,000 repositories: {} requests, {} points, {took:?}; again: {} requests, {:?}; {left:?} of core left",
        cold.requests.total,
        cold.requests.graphql_points,
        warm.requests.total,
        began.elapsed(),
    );
}
