//! What `doctor` finds: one line each.

use schemars::JsonSchema;
use serde::Serialize;

/// How something is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// As it should be.
    Ok,
    /// A node works, and somebody should look.
    Warn,
    /// Something does not work.
    Fail,
}

impl State {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Finding {
    /// What was looked at, in a word.
    pub(super) check: &'static str,
    /// How it is.
    pub(super) state: State,
    /// What was seen.
    pub(super) says: String,
    /// What to do; null where there is nothing to do.
    pub(super) remedy: Option<String>,
}

/// It is as it should be.
pub(super) fn ok(check: &'static str, says: impl Into<String>) -> Finding {
    Finding { check, state: State::Ok, says: says.into(), remedy: None }
}

/// Somebody should look.
pub(super) fn warn(check: &'static str, says: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { check, state: State::Warn, says: says.into(), remedy: Some(remedy.into()) }
}

/// It does not work.
pub(super) fn fail(check: &'static str, says: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { check, state: State::Fail, says: says.into(), remedy: Some(remedy.into()) }
}
