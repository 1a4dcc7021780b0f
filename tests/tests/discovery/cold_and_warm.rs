//! What a round finds and what it costs: the first, and one where nothing happened.

use std::collections::BTreeMap;
use std::time::Instant;

use wfengine_discovery::Report;
use wfengine_workflow::Workflow;

use crate::files::{self, DIALECTS, IN_JOBS, IN_SCRIPT, LOOK_ALIKES, TAGGED_IN_USE};
use crate::node::Caches;
use crate::world::World;
use crate::{Requirement, require};

/// Repositories, and workflow files in each.
const REPOSITORIES: usize = 50;
const FILES: usize = 3;

/// What was pushed, and what of it is tagged: `owner/name/path` with the tags.
pub(crate) struct Scene {
    pub(crate) tagged: BTreeMap<String, String>,
}

/// Puts a head before the first file that it fits, and takes that file. A name replaces the file's own.
fn headed(plain: &mut Vec<(String, String)>, head: &str) -> String {
    let key = head.split(':').next().unwrap_or_default();
    let whole = |text: &str| {
        let own_name = |line: &&str| key == "name" && line.starts_with("name:");
        let body: Vec<&str> = text.lines().filter(|line| !own_name(line)).collect();
        format!("{head}{}\n", body.join("\n"))
    };
    let fits = |text: &str| Workflow::read(whole(text).as_bytes(), "f.yml").is_ok();
    let at = plain.iter().position(|(_, text)| fits(text)).expect("a file that it fits");
    whole(&plain.remove(at).1)
}

/// 50 repositories of 3 workflows: all dialects, all look-alikes, real files.
pub(crate) fn scene(world: &World) -> Scene {
    let corpus = require(Requirement::Corpus, "discovery among real workflow files");
    let mut plain = files::plain(corpus.as_deref());
    let mut texts: Vec<(String, String, Option<&str>)> = Vec::new();
    for (name, head, tags) in DIALECTS {
        texts.push((format!("{name}.yml"), headed(&mut plain, head), Some(tags)));
    }
    for (name, text, tags) in IN_JOBS {
        texts.push((format!("{name}.yaml"), text.to_owned(), Some(tags)));
    }
    for (name, head) in LOOK_ALIKES {
        texts.push((format!("{name}.yml"), headed(&mut plain, head), None));
    }
    texts.push(("in-script.yml".to_owned(), IN_SCRIPT.to_owned(), None));
    texts.push(("both.yml".to_owned(), headed(&mut plain, "# P2P: p2p-only, unit-test\n"), None));
    if let Some(corpus) = &corpus {
        let tags = ["p2p-only code-generation", "p2p-only data-processing high-memory"];
        for (name, tags) in TAGGED_IN_USE.into_iter().zip(tags) {
            let text = std::fs::read_to_string(corpus.join("workflows").join(name)).expect("a text");
            texts.push((name.to_owned(), text, Some(tags)));
        }
    }
    let rest = REPOSITORIES * FILES - texts.len();
    texts.extend(plain.into_iter().take(rest).map(|(name, text)| (name, text, None)));
    assert_eq!(texts.len(), REPOSITORIES * FILES);
    let mut tagged = BTreeMap::new();
    for repository in 0..REPOSITORIES {
        let name = format!("octo/r{repository:02}");
        let mut pushed = vec![
            ("README.md".to_owned(), "# P2P: p2p-only\n".to_owned()),
            // places where nobody looks
            (".github/p2p.yml".to_owned(), files::workflow("p2p-only", "push")),
            (".github/workflows/old/p2p.yml".to_owned(), files::workflow("p2p-only", "push")),
            (".github/workflows/p2p.yml.txt".to_owned(), files::workflow("p2p-only", "push")),
        ];
        // every repository gets a file of each third, so that the tagged ones are spread
        for of in 0..FILES {
            let (file, text, tags) = &texts[of * REPOSITORIES + repository];
            let folder = if file.starts_with("labels") { ".wfengine/workflows" } else { ".github/workflows" };
            let path = format!("{folder}/{file}");
            if let Some(tags) = tags {
                tagged.insert(format!("{name}/{path}"), (*tags).to_owned());
            }
            pushed.push((path, text.clone()));
        }
        let pushed: Vec<(&str, &str)> =
            pushed.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        world.repository(&name, &pushed);
    }
    Scene { tagged }
}

/// A report shows exactly what is tagged.
#[track_caller]
pub(crate) fn assert_found(report: &Report, tagged: &BTreeMap<String, String>) {
    let found = found(report);
    let missing: Vec<_> = tagged.iter().filter(|(path, tags)| found.get(*path) != Some(*tags)).collect();
    let more: Vec<_> = found.iter().filter(|(path, _)| !tagged.contains_key(*path)).collect();
    assert!(missing.is_empty() && more.is_empty(), "missing {missing:#?}, and more {more:#?}");
}

/// What a report says is tagged.
pub(crate) fn found(report: &Report) -> BTreeMap<String, String> {
    let line = |line: &wfengine_discovery::report::WorkflowLine| {
        (format!("{}/{}/{}", line.owner, line.repo, line.workflow_path), line.tags.join(" "))
    };
    report.workflows.iter().map(line).collect()
}

#[tokio::test]
async fn a_first_round_finds_exactly_the_tagged_ones_and_a_second_one_costs_next_to_nothing() {
    let Some(world) = World::new().await else { return };
    let scene = scene(&world);
    let mut node = world.node("alice");
    let moment = world.moment();
    let began = Instant::now();
    let cold = node.round().await;
    let cold_took = began.elapsed();
    assert_found(&cold, &scene.tagged);
    let asked = world.asked_since(moment);
    assert!(asked.len() <= 201, "{} requests", asked.len());
    assert_eq!((cold.requests.total, cold.requests.graphql_points), (asked.len() as u64, 0));
    assert_eq!((cold.repositories.len(), cold.files), (REPOSITORIES, (REPOSITORIES * FILES) as u64));
    assert_eq!(cold.for_github.len(), 1, "{:?}", cold.for_github);
    let mut node = node.restarted(Caches::Kept);
    let events = node.lab.events();
    let moment = world.moment();
    let began = Instant::now();
    let warm = node.round().await;
    let warm_took = began.elapsed();
    assert_found(&warm, &scene.tagged);
    let asked = world.asked_since(moment);
    let unchanged = asked.iter().filter(|logged| logged.status == 304).count();
    assert!(asked.len() <= 55 && unchanged >= 50, "{} requests, {unchanged} of them 304", asked.len());
    assert_eq!((warm.submitted, node.lab.events()), (0, events), "nothing is news");
    println!(
        "cold: {} requests, {} submitted, {} problems, {cold_took:?}; warm: {} requests, {unchanged} of them 304, {warm_took:?}",
        cold.requests.total,
        cold.submitted,
        cold.problems.len(),
        asked.len(),
    );
    assert!(warm_took.as_secs() <= 10, "{warm_took:?}");
}
