//! The calls we make over REST, each as a method of [`Client`](crate::Client), by what they are about.
//!
//! A name that goes into a path is checked and escaped here, so that no text from outside turns one request into another.
//!
//! Not here: what is done with what they bring. Calls that change something say so in their first words.

mod content;
mod reports;
mod repositories;
mod runners;
mod runs;

pub use reports::{
    ANNOTATIONS_MAX, Annotation, AnnotationLevel, CheckConclusion, CheckOutput, CheckRunDraft, CheckState,
    CreatedRef, StatusState,
};
pub(crate) use repositories::Owners;
pub use repositories::Scope;
pub use runners::{JitWanted, RunnerDeleted, RunnerScope};
pub use runs::{Dispatched, RunsWanted};

use crate::error::{ApiError, clean};

/// A checked `owner/name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RepositoryName<'a> {
    owner: &'a str,
    name: &'a str,
}

impl<'a> RepositoryName<'a> {
    pub(crate) fn parse(full_name: &'a str) -> Result<Self, ApiError> {
        let parts = full_name.split_once('/').filter(|(owner, name)| is_name(owner) && is_name(name));
        let (owner, name) = parts.ok_or_else(|| ApiError::Argument {
            what: "name of a repository (owner/name)",
            value: clean(full_name, 100),
        })?;
        Ok(Self { owner, name })
    }

    /// Without the owner.
    pub(crate) fn name(&self) -> &str {
        self.name
    }

    fn path(&self) -> String {
        format!("/repos/{}/{}", self.owner, self.name)
    }
}

/// Letters, digits, `-`, `_` and `.`, as GitHub allows.
fn is_name(text: &str) -> bool {
    let is_legal = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    is_legal && (1..=100).contains(&text.len()) && text != "." && text != ".."
}

pub(crate) fn owner(text: &str) -> Result<&str, ApiError> {
    if is_name(text) {
        Ok(text)
    } else {
        Err(ApiError::Argument { what: "name of an owner", value: clean(text, 100) })
    }
}

/// One segment of a path: a slash in it is escaped.
fn segment(text: &str) -> String {
    escape(text, b"-_.~")
}

/// A path: its slashes stay.
fn segments(text: &str) -> String {
    escape(text, b"-_.~/")
}

fn escape(text: &str, kept: &[u8]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// Something that names a commit, tree or blob, or a path in a repository. `.` and `..` would walk out of the path.
fn reference(text: &str) -> Result<&str, ApiError> {
    let walks = text.split('/').any(|part| part == "." || part == "..");
    let is_legal = !text.is_empty() && text.len() <= 4096 && !walks && !text.contains('\0');
    if is_legal {
        Ok(text)
    } else {
        Err(ApiError::Argument { what: "name inside a repository", value: clean(text, 100) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_turn_into_another_request() {
        for wrong in ["", "a", "a/", "/b", "a/b/c", "a/..", "../b", "a/b?x", "a/b#", "a/b c", "a/é", "a/%2e"]
        {
            assert!(RepositoryName::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(RepositoryName::parse("octo-org/a.b_c").expect("a name").path(), "/repos/octo-org/a.b_c");
        assert_eq!(segment("feature/a b?#%"), "feature%2Fa%20b%3F%23%25");
        assert_eq!(segments(".github/workflows/é.yml"), ".github/workflows/%C3%A9.yml");
        for wrong in ["", "..", "a/../b", "./a"] {
            assert!(reference(wrong).is_err(), "{wrong}");
        }
    }
}
