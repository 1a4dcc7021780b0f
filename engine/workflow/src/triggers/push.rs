//! Whether a push is one that `on.push` asks for.
//!
//! GitHub's rules: filters on branches let only branches through and filters on tags only tags, so a trigger with the one runs
//! for nothing of the other; without both it runs for both. Paths are asked for branches only, and both filters must let the
//! push through. In a list the last pattern that matches decides.

use crate::diagnostic::Position;

use super::pattern::{Name, Pattern};

/// `on.push`
#[derive(Debug, Clone)]
pub struct PushTrigger {
    /// Where it stands.
    pub at: Position,
    pub(super) branches: Option<Filter>,
    pub(super) tags: Option<Filter>,
    pub(super) paths: Option<Filter>,
}

/// A push, as far as filters ask. The deletion of a ref is none: GitHub starts nothing for it.
#[derive(Debug, Clone, Copy)]
pub struct Push<'p> {
    /// `refs/heads/…` or `refs/tags/…`
    pub git_ref: &'p str,
    /// The files it changed.
    pub changed: Changed<'p>,
}

/// The files that a push changed.
#[derive(Debug, Clone, Copy)]
pub enum Changed<'p> {
    /// Their paths from the top of the repository. GitHub looks at the first 300 only.
    Known(&'p [String]),
    /// Nobody could say: more than 1,000 commits, or a comparison that GitHub refused. Every path filter lets it through.
    Unknown,
}

/// What a trigger says to a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushVerdict {
    /// The workflow runs.
    Due,
    /// It does not.
    NotDue {
        /// Why, for people.
        reason: String,
    },
}

/// One list of patterns and the key it stands under.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    pub(super) key: &'static str,
    /// Whether the key ends in `-ignore`.
    pub(super) ignores: bool,
    pub(super) patterns: Vec<Pattern>,
}

impl PushTrigger {
    /// Whether a push starts the workflow.
    pub fn matches(&self, push: &Push<'_>) -> PushVerdict {
        match self.objection(push) {
            None => PushVerdict::Due,
            Some(reason) => PushVerdict::NotDue { reason },
        }
    }

    fn objection(&self, push: &Push<'_>) -> Option<String> {
        let (kind, name, own, other) = if let Some(name) = push.git_ref.strip_prefix("refs/heads/") {
            ("branch", name, &self.branches, &self.tags)
        } else if let Some(name) = push.git_ref.strip_prefix("refs/tags/") {
            ("tag", name, &self.tags, &self.branches)
        } else {
            return Some(format!("'{}' is neither a branch nor a tag", shown(push.git_ref)));
        };
        match (own, other) {
            (Some(filter), _) => {
                if let Some(objection) = filter.objection(name) {
                    return Some(format!("the {kind} '{}' {objection}", shown(name)));
                }
            }
            (None, Some(other)) => {
                return Some(format!(
                    "'{}' is a {kind}, and with '{}' alone the workflow runs for no {kind}",
                    shown(name),
                    other.key
                ));
            }
            (None, None) => {}
        }
        match (&self.paths, push.changed) {
            (Some(filter), Changed::Known(paths)) if kind == "branch" => filter.objection_to_all(paths),
            _ => None,
        }
    }
}

impl Filter {
    /// Why a name does not get through.
    fn objection(&self, text: &str) -> Option<String> {
        let key = self.key;
        match (self.last_match(text), self.ignores) {
            (Some(pattern), true) => Some(format!("matches '{}' of '{key}'", pattern.text())),
            (None, true) => None,
            (Some(pattern), false) if pattern.is_negative() => {
                Some(format!("is taken out by '{}' of '{key}'", pattern.text()))
            }
            (Some(_), false) => None,
            (None, false) => Some(format!("matches none of '{key}'")),
        }
    }

    /// Why none of the names gets through.
    fn objection_to_all(&self, names: &[String]) -> Option<String> {
        if names.iter().any(|name| self.objection(name).is_none()) {
            return None;
        }
        let key = self.key;
        Some(match (names, self.ignores) {
            ([], _) => format!("no files changed, and '{key}' asks for some"),
            ([only], _) => {
                format!("the changed file '{}' {}", shown(only), self.objection(only).unwrap_or_default())
            }
            (_, true) => format!("all {} changed files match '{key}'", names.len()),
            (_, false) => format!("none of {} changed files matches '{key}'", names.len()),
        })
    }

    fn last_match(&self, text: &str) -> Option<&Pattern> {
        let name = Name::of(text)?;
        self.patterns.iter().rev().find(|pattern| pattern.matches_name(&name))
    }
}

/// A name of strangers in a message: cut, and without control characters.
pub(super) fn shown(name: &str) -> String {
    const LEN_MAX: usize = 200;
    name.chars().take(LEN_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
