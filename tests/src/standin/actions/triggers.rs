//! Whether a push starts a workflow on GitHub: `on: push` with its filters.
//!
//! Patterns know `*`, `**`, `?` and `!`; the other signs of GitHub's patterns stand for themselves.

use wfengine_workflow::{Workflow, reader::Node};

/// Whether a push to `heads/...` or `tags/...` that changed these paths starts it.
pub(crate) fn starts_on_push(workflow: &Workflow, reference: &str, changed: &[String]) -> bool {
    let pushes = workflow.triggers.iter().filter(|trigger| trigger.event == "push");
    pushes.into_iter().any(|trigger| match &trigger.filters {
        Some(filters) => Filters(filters).pass(reference, changed),
        None => true,
    })
}

struct Filters<'n>(&'n Node);

impl Filters<'_> {
    fn patterns(&self, key: &str) -> Option<Vec<String>> {
        let node = self.0.entry(key)?;
        let single = node.text();
        let many = || node.items().iter().filter_map(Node::text).collect();
        Some(single.map_or_else(many, |text| vec![text]))
    }

    fn pass(&self, reference: &str, changed: &[String]) -> bool {
        let (only, but, other) = match reference.split_once('/') {
            Some(("tags", _)) => ("tags", "tags-ignore", ["branches", "branches-ignore"]),
            _ => ("branches", "branches-ignore", ["tags", "tags-ignore"]),
        };
        let name = reference.split_once('/').map_or(reference, |(_, name)| name);
        let is_named = match (self.patterns(only), self.patterns(but)) {
            (Some(patterns), _) => passes(&patterns, name),
            (None, Some(patterns)) => !passes(&patterns, name),
            // filters for tags alone leave branches out, and the other way round
            (None, None) => other.iter().all(|key| self.0.entry(key).is_none()),
        };
        let is_touched = match (self.patterns("paths"), self.patterns("paths-ignore")) {
            _ if reference.starts_with("tags/") => true,
            (Some(patterns), _) => changed.iter().any(|path| passes(&patterns, path)),
            (None, Some(patterns)) => changed.iter().any(|path| !passes(&patterns, path)),
            (None, None) => true,
        };
        is_named && is_touched
    }
}

/// The last pattern that fits decides; one with `!` takes back.
fn passes(patterns: &[String], text: &str) -> bool {
    patterns.iter().fold(false, |passes, pattern| match pattern.strip_prefix('!') {
        Some(pattern) if fits(pattern, text) => false,
        None if fits(pattern, text) => true,
        _ => passes,
    })
}

fn fits(pattern: &str, text: &str) -> bool {
    if let Some(rest) = pattern.strip_prefix("**") {
        let rest = rest.strip_prefix('/').filter(|rest| fits(rest, text)).map_or(rest, |_| "");
        return rest.is_empty() || ends(text).any(|tail| fits(rest, tail));
    }
    if let Some(rest) = pattern.strip_prefix('*') {
        let within = text.find('/').unwrap_or(text.len());
        return ends(text).take_while(|tail| text.len() - tail.len() <= within).any(|tail| fits(rest, tail));
    }
    let mut letters = pattern.chars();
    let Some(letter) = letters.next() else { return text.is_empty() };
    let rest = letters.as_str();
    if let Some(after) = rest.strip_prefix('?') {
        return fits(after, text) || text.strip_prefix(letter).is_some_and(|tail| fits(after, tail));
    }
    text.strip_prefix(letter).is_some_and(|tail| fits(rest, tail))
}

/// A text without more and more of its beginning.
fn ends(text: &str) -> impl Iterator<Item = &str> {
    text.char_indices().map(|(at, _)| &text[at..]).chain([""])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(on: &str, reference: &str, changed: &[&str]) -> bool {
        let source = format!("on:\n  {on}\njobs:\n  a:\n    runs-on: x\n    steps:\n    - run: echo\n");
        let workflow = Workflow::read(source.as_bytes(), "w.yml").expect("a workflow");
        let changed: Vec<String> = changed.iter().map(|path| (*path).to_owned()).collect();
        starts_on_push(&workflow, reference, &changed)
    }

    #[test]
    fn filters_of_a_push_are_kept() {
        assert!(starts("push:", "heads/main", &[]));
        assert!(!starts("workflow_dispatch:", "heads/main", &[]));
        let branches = "push: { branches: [main, 'rel/**', '!rel/old'] }";
        for (name, is_started) in [("main", true), ("rel/a/b", true), ("rel/old", false), ("x", false)] {
            assert_eq!(starts(branches, &format!("heads/{name}"), &[]), is_started, "{name}");
        }
        assert!(!starts(branches, "tags/v1", &[]));
        assert!(starts("push: { tags: ['v*'] }", "tags/v1", &[]));
        assert!(!starts("push: { tags: ['v*'] }", "heads/main", &[]));
        assert!(starts("push: { paths: ['**.rs'] }", "heads/main", &["a/b.rs"]));
        assert!(!starts("push: { paths: ['src/*'] }", "heads/main", &["src/a/b.rs", "c"]));
        assert!(!starts("push: { paths-ignore: ['docs/**'] }", "heads/main", &["docs/a"]));
    }
}
