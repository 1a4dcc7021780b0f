//! What `on` asks for: the pushes, instants and requests that start a workflow.
//!
//! Built from a [`Workflow`] that is well formed already. What is refused here and not there is what GitHub's parser lets pass
//! and GitHub then does not run: patterns that are none, filters that exclude each other, time zones that nobody knows.
//!
//! Pure: whether something is due is asked with the push or the instant in hand.

mod on_github;
mod pattern;
mod push;

pub use on_github::{OnGithub, on_github};
pub use pattern::{Pattern, PatternError};
pub use push::{Changed, Push, PushTrigger, PushVerdict};

use crate::{
    diagnostic::{Diagnostic, Diagnostics, Position, quoted_list},
    limits,
    model::{Trigger, Workflow},
    reader::{Node, NodeKind},
    schedule::{Cron, DEFAULT_TIMEZONE, Schedule},
};
use push::{Filter, shown};

/// The triggers of a workflow.
///
/// ```
/// use wfengine_workflow::{Triggers, Workflow, triggers::{Changed, Push, PushVerdict}};
///
/// let source = b"on: {push: {paths: ['data/**']}}\njobs: {a: {runs-on: x}}\n";
/// let workflow = Workflow::read(source, "process.yml").map_err(|errors| errors[0].clone())?;
/// let triggers = Triggers::of(&workflow).map_err(|errors| errors[0].clone())?;
/// let changed = ["data/2024.csv".to_owned()];
/// let push = Push { git_ref: "refs/heads/main", changed: Changed::Known(&changed) };
/// assert!(triggers.push.is_some_and(|trigger| trigger.matches(&push) == PushVerdict::Due));
/// # Ok::<(), wfengine_workflow::Diagnostic>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Triggers {
    /// `push`
    pub push: Option<PushTrigger>,
    /// The entries of `schedule`, in order.
    pub schedules: Vec<Schedule>,
    /// Whether it has `workflow_dispatch`.
    pub dispatch: bool,
    /// The types of `repository_dispatch`; empty stands for all.
    pub repository_dispatch: Option<Vec<String>>,
    /// Whether it has `workflow_call`.
    pub call: bool,
    /// Every other event, in order. Nothing here starts a workflow for one of them.
    pub others: Vec<(String, Position)>,
}

impl Triggers {
    /// The triggers of a workflow, or all that is wrong with them.
    pub fn of(workflow: &Workflow) -> Result<Triggers, Vec<Diagnostic>> {
        let mut diagnostics = Diagnostics::new(&workflow.file);
        let mut triggers = Triggers::default();
        for trigger in &workflow.triggers {
            match trigger.event.as_str() {
                "push" => triggers.push = Some(push_trigger(trigger, &mut diagnostics)),
                "schedule" => {
                    let entries = trigger.filters.as_ref().map(Node::items).unwrap_or_default();
                    if entries.len() > limits::SCHEDULES_MAX {
                        let message = format!("'schedule' has {} entries", entries.len());
                        diagnostics.add(trigger.at, message, format!("at most {}", limits::SCHEDULES_MAX));
                    } else {
                        triggers.schedules = schedules(entries, &mut diagnostics);
                    }
                }
                "workflow_dispatch" => triggers.dispatch = true,
                "workflow_call" => triggers.call = true,
                "repository_dispatch" => {
                    let types = trigger.filters.as_ref().and_then(|filters| filters.entry("types"));
                    triggers.repository_dispatch = Some(types.map(texts).unwrap_or_default());
                }
                event => triggers.others.push((event.to_owned(), trigger.at)),
            }
        }
        if diagnostics.is_empty() { Ok(triggers) } else { Err(diagnostics.into_sorted()) }
    }
}

/// The items of a sequence of texts, or the one text that stands in its place.
fn items(node: &Node) -> &[Node] {
    match &node.kind {
        NodeKind::Sequence(items) => items,
        _ => std::slice::from_ref(node),
    }
}

fn texts(node: &Node) -> Vec<String> {
    items(node).iter().filter_map(Node::text).collect()
}

fn push_trigger(trigger: &Trigger, diagnostics: &mut Diagnostics<'_>) -> PushTrigger {
    let mut filter = |keys: [&'static str; 2]| filter(trigger.filters.as_ref()?, keys, diagnostics);
    PushTrigger {
        at: trigger.at,
        branches: filter(["branches", "branches-ignore"]),
        tags: filter(["tags", "tags-ignore"]),
        paths: filter(["paths", "paths-ignore"]),
    }
}

/// The one of two filters that is there.
fn filter(
    filters: &Node,
    [key, ignore]: [&'static str; 2],
    diagnostics: &mut Diagnostics<'_>,
) -> Option<Filter> {
    match (filters.entry(key), filters.entry(ignore)) {
        (Some(_), Some(other)) => {
            let message = format!("'{key}' and '{ignore}' exclude each other");
            diagnostics.add(other.at, message, format!("'{key}' with '!' before what it leaves out"));
            None
        }
        (Some(node), None) => patterns(node, key, false, diagnostics),
        (None, Some(node)) => patterns(node, ignore, true, diagnostics),
        (None, None) => None,
    }
}

fn patterns(
    node: &Node,
    key: &'static str,
    ignores: bool,
    diagnostics: &mut Diagnostics<'_>,
) -> Option<Filter> {
    let mut patterns = Vec::new();
    let mut len = 0;
    for item in items(node) {
        let text = item.text().unwrap_or_default();
        len += text.chars().count();
        match Pattern::parse(&text) {
            Ok(pattern) if ignores && pattern.is_negative() => {
                let message = format!("'!' has no meaning in '{key}'");
                let positive = key.trim_end_matches("-ignore");
                diagnostics.add(item.at, message, format!("'{positive}' with '!' before what it leaves out"));
            }
            Ok(pattern) => patterns.push(pattern),
            Err(error) => {
                diagnostics.add(item.at, format!("'{}' is no filter pattern: {error}", shown(&text)), "");
            }
        }
    }
    if len > limits::PATTERNS_LEN_MAX {
        let message = format!("the patterns of '{key}' are {len} characters long");
        diagnostics.add(node.at, message, format!("at most {}", limits::PATTERNS_LEN_MAX));
    } else if items(node).is_empty() {
        diagnostics.add(node.at, format!("'{key}' has no patterns"), "at least one pattern, or no such key");
    } else if !patterns.is_empty() && patterns.iter().all(Pattern::is_negative) {
        let message = format!("'{key}' only leaves out, so nothing is left in");
        diagnostics.add(node.at, message, format!("a pattern without '!', or '{key}-ignore'"));
    }
    Some(Filter { key, ignores, patterns })
}

fn schedules(entries: &[Node], diagnostics: &mut Diagnostics<'_>) -> Vec<Schedule> {
    let mut schedules = Vec::new();
    for entry in entries {
        let Some(node) = entry.entry("cron") else { continue };
        // the file was refused if it is none
        let Ok(cron) = Cron::parse(&node.text().unwrap_or_default()) else { continue };
        let zone = entry.entry("timezone");
        let name = zone.and_then(Node::text).unwrap_or_else(|| DEFAULT_TIMEZONE.to_owned());
        match Schedule::new(node.at, cron, &name) {
            Ok(schedule) => schedules.push(schedule),
            Err(unknown) => {
                let near = quoted_list(unknown.near.iter().map(String::as_str));
                let expected =
                    if near.is_empty() { "an IANA name such as 'Europe/Berlin'".to_owned() } else { near };
                diagnostics.add(zone.map_or(node.at, |zone| zone.at), unknown.to_string(), expected);
            }
        }
    }
    schedules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workflow(on: &str) -> Workflow {
        let text = format!("on:\n{on}\njobs: {{a: {{runs-on: x}}}}\n");
        Workflow::read(text.as_bytes(), "f.yml").unwrap_or_else(|errors| panic!("{}", errors[0]))
    }

    fn triggers(on: &str) -> Triggers {
        Triggers::of(&workflow(on)).unwrap_or_else(|errors| panic!("{}", errors[0]))
    }

    fn refusals(on: &str) -> Vec<String> {
        Triggers::of(&workflow(on)).unwrap_err().iter().map(ToString::to_string).collect()
    }

    /// Why a push does not start a workflow; empty when it does.
    fn reason(on_push: &str, git_ref: &str, changed: Changed<'_>) -> String {
        let push = triggers(&format!("  push: {on_push}")).push.unwrap();
        match push.matches(&Push { git_ref, changed }) {
            PushVerdict::Due => String::new(),
            PushVerdict::NotDue { reason } => reason,
        }
    }

    fn branch(on_push: &str, name: &str) -> String {
        reason(on_push, &format!("refs/heads/{name}"), Changed::Unknown)
    }

    fn tag(on_push: &str, name: &str) -> String {
        reason(on_push, &format!("refs/tags/{name}"), Changed::Unknown)
    }

    fn files(on_push: &str, paths: &[&str]) -> String {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        reason(on_push, "refs/heads/main", Changed::Known(&paths))
    }

    #[test]
    fn every_event_finds_its_place() {
        let all = triggers(
            "  push: {branches: main}\n  schedule: [{cron: '0 0 * * *'}, {cron: '5 4 * * 1', timezone: Europe/Berlin}]\n  workflow_dispatch:\n  repository_dispatch: {types: [build, test]}\n  workflow_call:\n  pull_request:\n  issues: {types: opened}",
        );
        assert!(all.push.is_some() && all.dispatch && all.call);
        let schedules: Vec<(&str, &str, u32)> =
            all.schedules.iter().map(|s| (s.cron.text(), s.timezone.as_str(), s.at.line)).collect();
        assert_eq!(schedules, [("0 0 * * *", "UTC", 3), ("5 4 * * 1", "Europe/Berlin", 3)]);
        assert_eq!(all.repository_dispatch, Some(vec!["build".to_owned(), "test".to_owned()]));
        let others: Vec<(&str, u32)> =
            all.others.iter().map(|(event, at)| (event.as_str(), at.line)).collect();
        assert_eq!(others, [("pull_request", 7), ("issues", 8)]);
        let short = triggers("  [push, repository_dispatch, push]");
        assert!(short.push.is_some() && !short.dispatch);
        assert_eq!(short.repository_dispatch, Some(Vec::new()));
        assert!(triggers("  workflow_dispatch").push.is_none());
    }

    #[test]
    fn without_filters_every_branch_and_tag_counts() {
        assert_eq!(branch("", "a/b"), "");
        assert_eq!(tag("", "v1"), "");
        assert_eq!(files("", &[]), "");
        assert_eq!(
            reason("", "refs/pull/1/merge", Changed::Unknown),
            "'refs/pull/1/merge' is neither a branch nor a tag"
        );
    }

    #[test]
    fn a_filter_on_branches_keeps_tags_out_and_the_other_way_round() {
        assert_eq!(branch("{branches: [main, 'releases/**']}", "releases/1/2"), "");
        assert_eq!(
            branch("{branches: [main, 'releases/**']}", "Main"),
            "the branch 'Main' matches none of 'branches'"
        );
        assert_eq!(
            tag("{branches: ['**']}", "v1"),
            "'v1' is a tag, and with 'branches' alone the workflow runs for no tag"
        );
        assert_eq!(
            branch("{tags-ignore: ['**']}", "main"),
            "'main' is a branch, and with 'tags-ignore' alone the workflow runs for no branch"
        );
        assert_eq!(tag("{tags: 'v*', branches: main}", "v1"), "");
        assert_eq!(branch("{tags: 'v*', branches: main}", "main"), "");
        assert_eq!(tag("{tags: 'v*'}", "1"), "the tag '1' matches none of 'tags'");
    }

    #[test]
    fn what_is_ignored_says_by_which_pattern() {
        assert_eq!(
            branch("{branches-ignore: [wip, 'dependabot/**']}", "dependabot/cargo/x"),
            "the branch 'dependabot/cargo/x' matches 'dependabot/**' of 'branches-ignore'"
        );
        assert_eq!(branch("{branches-ignore: [wip]}", "main"), "");
        assert_eq!(
            tag("{tags-ignore: ['*-rc']}", "v1-rc"),
            "the tag 'v1-rc' matches '*-rc' of 'tags-ignore'"
        );
    }

    #[test]
    fn the_last_pattern_that_matches_decides() {
        let ordered = "{branches: ['releases/**', '!releases/**-alpha', 'releases/9-alpha']}";
        assert_eq!(branch(ordered, "releases/10"), "");
        assert_eq!(
            branch(ordered, "releases/beta/3-alpha"),
            "the branch 'releases/beta/3-alpha' is taken out by '!releases/**-alpha' of 'branches'"
        );
        assert_eq!(branch(ordered, "releases/9-alpha"), "");
        assert_eq!(branch("{branches: ['!releases/**-alpha', 'releases/**']}", "releases/1-alpha"), "");
        for (paths, path, runs) in [
            ("['*.md', '!README.md']", "hello.md", true),
            ("['*.md', '!README.md']", "README.md", false),
            ("['*.md', '!README.md']", "docs/hello.md", false),
            ("['*.md', '!README.md', 'README*']", "hello.md", true),
            ("['*.md', '!README.md', 'README*']", "README.md", true),
            ("['*.md', '!README.md', 'README*']", "README.doc", true),
        ] {
            assert_eq!(files(&format!("{{paths: {paths}}}"), &[path]).is_empty(), runs, "{paths} {path}");
        }
    }

    #[test]
    fn one_path_that_matches_is_enough() {
        assert_eq!(files("{paths: ['data/**']}", &["README.md", "data/x"]), "");
        assert_eq!(
            files("{paths: ['data/**']}", &["README.md", "src/a"]),
            "none of 2 changed files matches 'paths'"
        );
        assert_eq!(
            files("{paths: ['data/**']}", &["README.md"]),
            "the changed file 'README.md' matches none of 'paths'"
        );
        assert_eq!(
            files("{paths: ['sub/**', '!sub/docs/**']}", &["sub/docs/a"]),
            "the changed file 'sub/docs/a' is taken out by '!sub/docs/**' of 'paths'"
        );
        assert_eq!(
            files("{paths-ignore: ['docs/**', '*.md']}", &["docs/a", "README.md"]),
            "all 2 changed files match 'paths-ignore'"
        );
        assert_eq!(files("{paths-ignore: ['docs/**']}", &["docs/a", "src/a"]), "");
    }

    #[test]
    fn without_changed_files_path_filters_hold_back_and_unknown_ones_pass() {
        assert_eq!(files("{paths: ['**']}", &[]), "no files changed, and 'paths' asks for some");
        assert_eq!(files("{paths-ignore: [a]}", &[]), "no files changed, and 'paths-ignore' asks for some");
        assert_eq!(branch("{paths: [a]}", "main"), "");
        assert_eq!(branch("{paths-ignore: ['**']}", "main"), "");
    }

    #[test]
    fn paths_are_not_asked_for_tags_and_both_filters_must_let_a_branch_through() {
        let none: Changed<'_> = Changed::Known(&[]);
        assert_eq!(reason("{paths: [a]}", "refs/tags/v1", none), "");
        assert_eq!(reason("{paths: [a], tags: ['v*']}", "refs/tags/v1", none), "");
        assert_eq!(files("{branches: [main], paths: [a]}", &["a"]), "");
        assert_eq!(
            files("{branches: [dev], paths: [a]}", &["a"]),
            "the branch 'main' matches none of 'branches'"
        );
        assert_eq!(
            files("{branches: [main], paths: [a]}", &["b"]),
            "the changed file 'b' matches none of 'paths'"
        );
    }

    #[test]
    fn names_of_strangers_are_shown_cut_and_without_control_characters() {
        let long = "x".repeat(5_000);
        assert!(branch("{branches: ['**']}", &long).len() < 300);
        assert_eq!(
            branch("{branches: [main]}", "a\u{1b}[31mb"),
            "the branch 'a\u{fffd}[31mb' matches none of 'branches'"
        );
    }

    #[test]
    fn what_github_does_not_run_is_refused_with_its_place() {
        assert_eq!(
            refusals(
                "  push:\n    branches: [main]\n    branches-ignore: [dev]\n    paths: [a]\n    paths-ignore: [b]"
            ),
            [
                "f.yml:4:22: 'branches' and 'branches-ignore' exclude each other (expected 'branches' with '!' before what it leaves out)",
                "f.yml:6:19: 'paths' and 'paths-ignore' exclude each other (expected 'paths' with '!' before what it leaves out)",
            ]
        );
        assert_eq!(
            refusals("  push:\n    tags: ['!v1', '!v2']"),
            [
                "f.yml:3:11: 'tags' only leaves out, so nothing is left in (expected a pattern without '!', or 'tags-ignore')"
            ]
        );
        assert_eq!(
            refusals("  push:\n    branches: ['v[0-9', main]"),
            ["f.yml:3:16: 'v[0-9' is no filter pattern: '[' at character 2 is never closed by ']'"]
        );
        assert_eq!(
            refusals("  push:\n    paths-ignore: ['**', '!src/**']"),
            [
                "f.yml:3:26: '!' has no meaning in 'paths-ignore' (expected 'paths' with '!' before what it leaves out)"
            ]
        );
        assert_eq!(
            refusals("  push: {branches: []}"),
            ["f.yml:2:20: 'branches' has no patterns (expected at least one pattern, or no such key)"]
        );
        let many = vec![format!("'{}'", "a".repeat(1_000)); 17].join(", ");
        assert_eq!(
            refusals(&format!("  push: {{paths: [{many}]}}")),
            ["f.yml:2:17: the patterns of 'paths' are 17000 characters long (expected at most 16384)"]
        );
    }

    #[test]
    fn unknown_time_zones_and_too_many_schedules_are_refused() {
        assert_eq!(
            refusals(
                "  schedule:\n  - cron: '0 0 * * *'\n    timezone: Europe/Berln\n  - cron: '0 0 * * *'\n    timezone: noon"
            ),
            [
                "f.yml:4:15: unknown time zone 'Europe/Berln' (expected 'Europe/Berlin')",
                "f.yml:6:15: unknown time zone 'noon' (expected an IANA name such as 'Europe/Berlin')",
            ]
        );
        let many = "  - cron: '0 0 * * *'\n".repeat(101);
        assert_eq!(
            refusals(&format!("  schedule:\n{many}")),
            ["f.yml:2:3: 'schedule' has 101 entries (expected at most 100)"]
        );
    }
}
