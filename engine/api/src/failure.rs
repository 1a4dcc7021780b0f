//! What a command can end with: a text that says what, where and what to do, and an exit status.
//!
//! 0 success · 1 the run failed, or something asked for is not so · 2 bad input (file, arguments) · 3 refused ·
//! 4 not reachable · 70 the disk failed and what became of the last commit cannot be said.

use serde::{Deserialize, Serialize};
use wfengine_core::command::Refusal;
use wfengine_store::{AskError, DataDirError, StoreError};

/// Exit statuses, the same for every command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It is as asked.
    Success,
    /// The run failed, or an audit found something.
    Failure,
    /// Bad input.
    BadInput,
    /// Refused by the rules.
    Refused,
    /// Another node or the network is needed and not there.
    Unreachable,
    /// The disk failed.
    Disk,
}

impl Exit {
    /// The process's status.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Failure => 1,
            Exit::BadInput => 2,
            Exit::Refused => 3,
            Exit::Unreachable => 4,
            Exit::Disk => 70,
        }
    }
}

/// What an exit status does not tell apart, and other doors do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Matter {
    /// The exit status says it all.
    #[default]
    Plain,
    /// What was named is not known here.
    Unknown,
    /// It is in a state that does not allow this.
    Conflict,
    /// Too much is asked at once: later it may be done.
    Busy,
}

/// Why a command did not do what was asked. Travels over the control socket as it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What, where, what to do.
    pub message: String,
    /// The exit status that follows.
    pub exit: Exit,
    /// What it is about, beyond that.
    #[serde(default)]
    pub matter: Matter,
    /// Ids that may have been meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<String>,
    /// The node was stopping and nothing was done: the same may be asked of whoever owns the data directory next.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not_begun: bool,
}

impl Failure {
    /// A failure with this exit status and message.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            exit,
            matter: Matter::Plain,
            candidates: Vec::new(),
            not_begun: false,
        }
    }
    /// What was given is wrong: exit status 2.
    pub fn bad_input(message: impl Into<String>) -> Self {
        Self::new(Exit::BadInput, message)
    }
    /// What was named is not known here: exit status 2.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self { matter: Matter::Unknown, ..Self::bad_input(message) }
    }
    /// It is in a state that does not allow this: exit status 3.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self { matter: Matter::Conflict, ..Self::refused(message) }
    }
    /// Too much is asked at once: exit status 4.
    pub fn busy(message: impl Into<String>) -> Self {
        Self { matter: Matter::Busy, ..Self::unreachable(message) }
    }
    /// One word for programs.
    pub const fn word(&self) -> &'static str {
        match (self.matter, self.exit) {
            (Matter::Unknown, _) => "unknown",
            (Matter::Conflict, _) => "conflict",
            (Matter::Busy, _) => "busy",
            (Matter::Plain, Exit::BadInput) => "bad_input",
            (Matter::Plain, Exit::Refused) => "refused",
            (Matter::Plain, Exit::Unreachable) => "unreachable",
            (Matter::Plain, Exit::Disk) => "disk",
            (Matter::Plain, Exit::Success | Exit::Failure) => "failure",
        }
    }

    /// The rules refuse it: exit status 3.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Exit::Refused, message)
    }
    /// Another node or the network is needed and not there: exit status 4.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self::new(Exit::Unreachable, message)
    }
    /// A file could not be used: `action` and `path` say what was tried, exit status 2.
    pub fn io(action: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(Exit::BadInput, format!("{action} {}: {error}", path.display()))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        if matches!(error, StoreError::Closed) {
            // the writer finishes what it took before it closes, so this was not taken
            let stopping =
                Self::unreachable("the node is stopping and takes nothing more; ask again once it is back");
            return Self { not_begun: true, ..stopping };
        }
        let exit = match error {
            StoreError::OutcomeUnknown { .. } | StoreError::Unfolded { .. } => Exit::Disk,
            StoreError::Locked { .. } => Exit::Refused,
            StoreError::Version { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Io { .. }
            | StoreError::OtherCluster { .. }
            | StoreError::Closed => Exit::Failure,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Refused(refusal) => {
                let matter = match &refusal {
                    Refusal::UnknownRun(_) | Refusal::UnknownJob { .. } => Matter::Unknown,
                    Refusal::Conflict { .. }
                    | Refusal::Claimed { .. }
                    | Refusal::NotHeld { .. }
                    | Refusal::Ended { .. }
                    | Refusal::Cancelled(_) => Matter::Conflict,
                    _ => Matter::Plain,
                };
                Self { matter, ..Self::refused(refusal.to_string()) }
            }
            AskError::Store(error) => error.into(),
        }
    }
}

impl From<DataDirError> for Failure {
    fn from(error: DataDirError) -> Self {
        Self::new(Exit::Refused, error.to_string())
    }
}

impl From<wfengine_store::BlobError> for Failure {
    fn from(error: wfengine_store::BlobError) -> Self {
        Self::new(Exit::Failure, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_may_have_been_heard_is_not_told_that_it_failed() {
        let (path, at, detail) = (std::path::PathBuf::from("log.redb"), "index".to_owned(), "rot".to_owned());
        let failure = |error: StoreError| Failure::from(AskError::from(error));
        let unfolded =
            failure(StoreError::Unfolded { path: path.clone(), at: at.clone(), detail: detail.clone() });
        assert_eq!((unfolded.exit.code(), unfolded.not_begun), (70, false));
        assert!(unfolded.message.contains("corrupt at index: rot"), "{unfolded}");
        let unknown = StoreError::OutcomeUnknown { path: path.clone(), detail: detail.clone() };
        assert_eq!(failure(unknown).exit, Exit::Disk);
        // what cannot be read was not written to either
        assert_eq!(failure(StoreError::Corrupt { path, at, detail }).exit, Exit::Failure);
    }
}
