//! What is wrong with a workflow file, and where.
//!
//! A diagnostic is for people: it names file, line, column, what was found and what was expected. It decides nothing.

use std::fmt;

/// A place in a file. Lines and columns start at 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// Line, from 1. Zero only where a file has no content at all.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One thing that is wrong. Its text form is `file:line:col: message (expected …)`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// The path given to the reader.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What would have been right; empty when the message says it already.
    pub expected: String,
}

impl Diagnostic {
    /// A diagnostic at a position of `file`.
    pub fn new(file: &str, at: Position, message: impl Into<String>, expected: impl Into<String>) -> Self {
        Diagnostic {
            file: file.to_owned(),
            line: at.line,
            column: at.column,
            message: message.into(),
            expected: expected.into(),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        if !self.expected.is_empty() {
            write!(f, " (expected {})", self.expected)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

/// Collects diagnostics of one file while it is read, in the order found, without repeats.
#[derive(Debug)]
pub(crate) struct Diagnostics<'a> {
    file: &'a str,
    found: Vec<Diagnostic>,
}

impl<'a> Diagnostics<'a> {
    pub(crate) fn new(file: &'a str) -> Self {
        Diagnostics { file, found: Vec::new() }
    }

    pub(crate) fn add(&mut self, at: Position, message: impl Into<String>, expected: impl Into<String>) {
        let diagnostic = Diagnostic::new(self.file, at, message, expected);
        if self.found.len() < crate::limits::DIAGNOSTICS_MAX && !self.found.contains(&diagnostic) {
            self.found.push(diagnostic);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The findings in the order of the file.
    pub(crate) fn into_sorted(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|d| (d.line, d.column));
        self.found
    }
}

/// The candidates that a misspelt word may have meant, nearest first, at most three.
pub(crate) fn near_matches<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Vec<&'c str> {
    let lower = word.to_lowercase();
    let allowed = (lower.chars().count() / 3).clamp(1, 3);
    let mut near: Vec<(usize, &str)> = candidates
        .into_iter()
        .map(|candidate| (edit_distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .collect();
    near.sort();
    near.dedup();
    near.into_iter().take(3).map(|(_, candidate)| candidate).collect()
}

/// `'a', 'b' or 'c'`.
pub(crate) fn quoted_list<'c>(words: impl IntoIterator<Item = &'c str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("'{word}'")).collect();
    match words.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}

/// Levenshtein distance, where a swap of neighbours counts as one edit. Long words are cut: they cannot be near anyway.
fn edit_distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let substitute = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substitute.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_reads_like_a_compiler_error() {
        let at = Position { line: 3, column: 5 };
        let found = Diagnostic::new("ci.yml", at, "unknown key 'step'", "'steps'");
        assert_eq!(found.to_string(), "ci.yml:3:5: unknown key 'step' (expected 'steps')");
        assert_eq!(Diagnostic::new("ci.yml", at, "gone", "").to_string(), "ci.yml:3:5: gone");
    }

    #[test]
    fn near_matches_find_typing_errors_and_nothing_else() {
        let keys = ["runs-on", "steps", "needs", "strategy", "services"];
        assert_eq!(near_matches("run-on", keys), ["runs-on"]);
        assert_eq!(near_matches("setps", keys), ["steps"]);
        assert_eq!(near_matches("Strategy", keys), ["strategy"]);
        assert!(near_matches("colour", keys).is_empty());
    }

    #[test]
    fn lists_read_as_sentences() {
        assert_eq!(quoted_list(["a"]), "'a'");
        assert_eq!(quoted_list(["a", "b", "c"]), "'a', 'b' or 'c'");
    }
}
