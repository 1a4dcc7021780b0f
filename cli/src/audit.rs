//! The audit behind `replay` and `log`: where frames come from, proving them, telling them, writing and reading exports.
//!
//! What is decided about frames is decided by `wfengine_core::replay`; here are files, threads and words. Needs nothing of the
//! running node: whoever calls brings a [`Source`].
//!
//! Not here: which node is asked, arguments, exit statuses (`commands/replay.rs`, `commands/log.rs`).

mod automerge;
mod export;
mod import;
mod print;
mod source;
mod story;
#[cfg(test)]
mod tests;
mod time;
mod verify;

use std::path::PathBuf;

use wfengine_protocol::DocumentError;
use wfengine_storage_format::{ExportDamage, ExportError, RunId};
use wfengine_store::StoreError;

pub(crate) use automerge::write_segments;
pub(crate) use export::write_export;
pub(crate) use import::{Batch, read_batches};
pub(crate) use print::{ChangeLine, change_line, change_text, event_line, event_text, run_lines};
pub(crate) use source::{Source, Spool};
pub(crate) use story::{StoryLine, story};
pub(crate) use time::{parse_time, rfc3339};
pub(crate) use verify::{Proof, ReportView, prove_run, prove_whole, replay_whole};

/// Why an audit cannot go on. What is merely wrong with the frames is a finding, never one of these.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuditError {
    /// A file cannot be read or written.
    #[error("{action} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is not an export this program reads.
    #[error("{path}: {damage}", path = .path.display())]
    NotAnExport {
        /// Which file.
        path: PathBuf,
        /// What it is instead.
        damage: ExportDamage,
    },
    /// No frame in the file says which cluster it is of.
    #[error("{path}: no frame in it can be read, so it does not say which cluster it is of", path = .path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// Frames that are damaged are not exported.
    #[error(
        "{place} is damaged ({detail}): an export of it would not prove anything. `wfengine replay --verify` lists what is wrong"
    )]
    Damaged {
        /// Where.
        place: String,
        /// What is wrong.
        detail: String,
    },
    /// The export cannot be written.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A segment cannot be written as a document.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Nothing of the run is in the log.
    #[error("no event of run {0} is in this log")]
    UnknownRun(RunId),
    /// The log cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AuditError {
    fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
