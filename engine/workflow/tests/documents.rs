//! The examples of the documents this project answers are read, and go where their documents say.
//!
//! Needs the folder of the documents in `WFENGINE_DOCUMENTS`; without it the test says that it did not run.

#[path = "../../../tests/tests/requirements/folder.rs"]
mod folder;

use folder::folder;
use wfengine_workflow::{
    Verdict,
    tags::{self, Routing},
};

/// Document, line of its example's first line, whether GitHub takes it, where it goes.
const EXAMPLES: &[(&str, usize, bool, Routing)] = &[
    ("discovery.md", 22, true, Routing::P2pOnly),
    ("discovery.md", 69, false, Routing::P2pOnly),
    ("discovery.md", 263, true, Routing::P2pOnly),
    ("discovery.md", 289, true, Routing::P2pEligible),
    ("discovery.md", 312, true, Routing::P2pEligible),
    ("quick-reference.md", 83, false, Routing::P2pOnly),
    ("quick-start.md", 104, true, Routing::P2pOnly),
    ("scheduler.md", 282, true, Routing::P2pEligible),
];

/// Blocks of YAML that hold jobs, each with the line of its first line.
fn examples(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (at, line) in text.lines().enumerate() {
        match &mut open {
            Some(_) if line.starts_with("```") => found.extend(open.take()),
            Some((_, block)) => {
                block.push_str(line);
                block.push('\n');
            }
            None if line.starts_with("```yaml") => open = Some((at + 2, String::new())),
            None => {}
        }
    }
    found.retain(|(_, block)| block.contains("jobs:"));
    found
}

#[test]
fn examples_are_read_and_routed() {
    let Some(folder) = folder("WFENGINE_DOCUMENTS") else { return };
    let mut seen = Vec::new();
    for name in
        ["discovery.md", "quick-reference.md", "quick-start.md", "runner-autoscaling.md", "scheduler.md"]
    {
        let text = std::fs::read_to_string(folder.join(name)).expect("a document is missing");
        for (line, block) in examples(&text) {
            let verdict = Verdict::of(block.as_bytes(), name);
            let valid = verdict.github.is_ok();
            let workflow = verdict.wfengine.unwrap_or_else(|errors| panic!("{name}:{line}: {}", errors[0]));
            seen.push((name, line, valid, tags::of(&workflow).routing));
        }
    }
    assert_eq!(seen, EXAMPLES);
}
