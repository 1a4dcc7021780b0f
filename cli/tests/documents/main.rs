//! Runs every command line of the README, the guides and the clients' own pages as it is written, in order, one document after the other on
//! hosts of its own: a namespace, an empty home, the program on the path.
//!
//! A line runs to its end and has to succeed unless [`lines::LINES`] says otherwise; what is not run stands there with its reason, and a row that
//! no document has any more fails. What a line prints is for other tests; here it has to do what it says without an error.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod hosts;
mod lines;
#[path = "../netns/mod.rs"]
mod netns;
mod reading;
#[path = "../../../tests/tests/requirements/mod.rs"]
mod requirements;
mod surroundings;

use std::path::{Path, PathBuf};

use hosts::Shell;
use lines::{How, LINES};
use netns::Network;
use requirements::{Requirement, require};
use surroundings::Surroundings;

/// A folder of the checkout.
fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// All documents that are held to this, by their paths in the checkout.
fn documents() -> Vec<String> {
    let mut documents = vec!["README.md".to_owned()];
    let mut guides: Vec<String> = std::fs::read_dir(checkout().join("cli/guide"))
        .unwrap()
        .map(|entry| format!("cli/guide/{}", entry.unwrap().file_name().to_str().unwrap()))
        .filter(|path| path.ends_with(".md"))
        .collect();
    guides.sort();
    documents.extend(guides);
    documents.extend(
        ["engine/api/clients/javascript/README.md", "engine/api/clients/python/README.md"].map(str::to_owned),
    );
    documents
}

fn commands(document: &str) -> Vec<String> {
    let text = std::fs::read_to_string(checkout().join(document)).unwrap();
    reading::commands(&text).unwrap_or_else(|wrong| panic!("{document}: {wrong}"))
}

fn how(document: &str, line: &str) -> How {
    let key = reading::without_remark(line);
    LINES.iter().find(|row| row.0 == document && row.1 == key).map_or(How::Succeeds, |row| row.2)
}

/// Runs the lines of one document.
fn run(document: &str) {
    let what = format!("the command lines of {document}");
    let Some(ip) = require(Requirement::Namespaces, &what) else { return };
    let lines = commands(document);
    let programs = [
        ("git ", Requirement::Git),
        ("discover ", Requirement::Git),
        ("curl ", Requirement::Curl),
        ("npm ", Requirement::Node),
        ("node ", Requirement::Node),
        ("python3 ", Requirement::Python),
    ];
    for (program, requirement) in programs {
        let runs = |line: &String| line.contains(program) && !matches!(how(document, line), How::NotRun(_));
        if lines.iter().any(runs) && require(requirement, &what).is_none() {
            return;
        }
    }
    let docker = LINES
        .iter()
        .any(|row| row.0 == document && matches!(row.2, How::WithDocker))
        .then(|| require(Requirement::Docker, &format!("lines for runners of {document}")))
        .flatten();
    let mut network = Network::new(ip);
    let (first, second) = (network.host("first"), network.host("second"));
    let _cable = network.connect(&[&first, &second]);
    let surroundings = Surroundings::prepare(document, &first, docker.as_deref());
    let mut here = Shell::start(&first, &surroundings.variables);
    let mut there: Option<Shell> = None;
    for line in lines {
        match how(document, &line) {
            How::Succeeds => drop(here.run(&line)),
            How::GoesOn(ready) => here.begin(&line, ready),
            How::ForSecondHost => {
                let printed = here.run(&line);
                let typed = printed.lines().last().unwrap_or_else(|| panic!("{line} printed nothing"));
                there.get_or_insert_with(|| Shell::start(&second, &[])).begin(typed, "serves on UDP");
            }
            How::WithDocker if docker.is_some() => drop(here.run(&line)),
            How::WithDocker | How::NotRun(_) => {}
        }
    }
    surroundings.is_content();
}

#[test]
fn every_line_of_the_readme_runs_as_it_is_written() {
    run("README.md");
}

#[test]
fn every_line_of_the_guides_runs_as_it_is_written() {
    for document in documents().iter().filter(|path| path.starts_with("cli/guide/")) {
        run(document);
    }
}

#[test]
fn every_line_of_the_clients_pages_runs_as_it_is_written() {
    for document in documents().iter().filter(|path| path.starts_with("engine/")) {
        run(document);
    }
}

#[test]
fn what_is_said_of_lines_is_said_of_lines_that_are_there() {
    let documents = documents();
    for (document, line, how) in LINES {
        assert!(documents.iter().any(|known| known == document), "no document {document}");
        let found = commands(document).iter().filter(|of| reading::without_remark(of) == *line).count();
        assert!(found > 0, "{document} has no line `{line}` any more");
        if let How::NotRun(reason) = how {
            assert!(reason.len() > 10, "{document}: `{line}`: {reason}");
        }
    }
    // whoever adds a document adds lines; none is silently empty
    let all: usize = documents.iter().map(|document| commands(document).len()).sum();
    assert!(all > 60, "{all} lines");
}
