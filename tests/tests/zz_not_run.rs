//! Says what the tests did not run, one line each, and how to enable it. Its name puts it last in this package.
//!
//! Has no test harness, so that its lines are seen without `--nocapture`. Tests of the package `wfengine` that include
//! `requirements` record like those of this one; those of other packages cannot: it asks for their parts on their behalf. Fails only when `WFENGINE_REQUIRE` asks for a part that is missing.
#![expect(clippy::print_stderr, reason = "its lines are its purpose")]

mod requirements;

use std::{collections::BTreeSet, fs};

use requirements::{Requirement, record, require};

/// What needs a part outside this package.
const ELSEWHERE: [(Requirement, &str); 5] = [
    (Requirement::Corpus, "GitHub's own cases, and the workflow files in use read and run"),
    (Requirement::Documents, "wfengine-workflow: the examples of the documents"),
    (Requirement::Docker, "wfengine-docker and wfengine-autoscaler: containers at a Docker Engine"),
    (Requirement::Git, "checkouts, and discovery in folders of them"),
    (Requirement::Python, "wfengine-executor: steps with `shell: python`"),
];

fn main() {
    // a runner that asks which tests there are
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    for (requirement, what) in ELSEWHERE {
        require(requirement, what);
    }
    let Ok(text) = fs::read_to_string(record()) else { return };
    let lines: BTreeSet<&str> = text.lines().collect();
    eprintln!();
    for line in lines {
        eprintln!("{line}");
    }
    eprintln!();
    if let Err(error) = fs::remove_file(record()) {
        eprintln!("{}: {error}", record().display());
    }
}
