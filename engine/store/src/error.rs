//! What can go wrong with the disk, each variant with its consequence.

use std::path::{Path, PathBuf};

use wfengine_core::command::Refusal;
use wfengine_storage_format::ClusterId;

/// Why a store cannot be opened, read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Another process has the log open.
    #[error("{path} is in use by another process{holder}: stop it, or let this command talk to it through its control socket", path = .path.display())]
    Locked {
        /// Which file.
        path: PathBuf,
        /// Who, if known, for example ` (pid 4711)`.
        holder: String,
    },
    /// Written by another version.
    #[error("{path} has store format {found}, this version of wfengine reads {expected}: use the version that wrote it, or export and import the log", path = .path.display())]
    Version {
        /// Which file.
        path: PathBuf,
        /// As stored.
        found: u32,
        /// As this version needs.
        expected: u32,
    },
    /// The file does not hold what it should.
    #[error("{path} is corrupt at {at}: {detail}. Keep a copy; `wfengine log export` from another member, or a backup, brings the events back", path = .path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// Where in it.
        at: String,
        /// What is wrong.
        detail: String,
    },
    /// The operating system refused.
    #[error("{action} {path}: {detail}", path = .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system says.
        detail: String,
    },
    /// A commit failed. Whether the transaction is on disk is unknown; the process must exit with status 70 and be started anew.
    #[error("a commit to {path} failed and its outcome is unknown: {detail}. The node stops; what was acknowledged is safe", path = .path.display())]
    OutcomeUnknown {
        /// Which file.
        path: PathBuf,
        /// What the database says.
        detail: String,
    },
    /// A commit is on disk, but a run that it concerns cannot be read back, so the views stay behind the log. Whoever asked for
    /// something at that time cannot be told what became of it; the process must exit with status 70 and be started anew.
    #[error("{path} is corrupt at {at}: {detail}. What was asked for may be on disk and done all the same: look before asking again. The node stops; what was acknowledged is safe, and the next start reads the log anew", path = .path.display())]
    Unfolded {
        /// Which file.
        path: PathBuf,
        /// Where in it.
        at: String,
        /// What is wrong.
        detail: String,
    },
    /// The log is of another cluster than asked for.
    #[error("{path} holds cluster {found}, not {expected}", path = .path.display())]
    OtherCluster {
        /// Which file.
        path: PathBuf,
        /// As stored.
        found: ClusterId,
        /// As asked.
        expected: ClusterId,
    },
    /// The writer has stopped because the store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// What a failure means once the commit before it is on disk: nobody may take it for a refusal.
    pub(crate) fn after_commit(self, log: &Path) -> Self {
        match self {
            StoreError::Corrupt { path, at, detail } => StoreError::Unfolded { path, at, detail },
            other => {
                let (path, at) = (log.to_owned(), "folding".to_owned());
                StoreError::Unfolded { path, at, detail: other.to_string() }
            }
        }
    }
}

/// Why a command did not become durable events.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AskError {
    /// It was refused; nothing changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The disk failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
