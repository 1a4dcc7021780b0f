//! What a command can end with: a text that says what, where and what to do, and an exit status.
//!
//! 0 success · 1 the run failed, or something asked for is not so · 2 bad input (file, arguments) · 3 refused ·
//! 4 not reachable · 70 the disk failed and what became of the last commit cannot be said.

use serde::{Deserialize, Serialize};
use wfengine_store::{AskError, DataDirError, StoreError};

/// Exit statuses, the same for every command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Exit {
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
    pub(crate) const fn code(self) -> u8 {
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

/// Why a command did not do what was asked. Travels over the control socket as it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    /// What, where, what to do.
    pub(crate) message: String,
    /// The exit status that follows.
    pub(crate) exit: Exit,
    /// Ids that may have been meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) candidates: Vec<String>,
    /// The node was stopping and nothing was done: the same may be asked of whoever owns the data directory next.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) not_begun: bool,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { message: message.into(), exit, candidates: Vec::new(), not_begun: false }
    }
    pub(crate) fn bad_input(message: impl Into<String>) -> Self {
        Self::new(Exit::BadInput, message)
    }
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(Exit::Refused, message)
    }
    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self::new(Exit::Unreachable, message)
    }
    pub(crate) fn io(action: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
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
            AskError::Refused(refusal) => Self::refused(refusal.to_string()),
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
