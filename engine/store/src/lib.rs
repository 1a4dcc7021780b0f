//! The log on disk: redb, one writer, group commit, checkpoints; blobs by hash; handles to write and to read.
//!
//! A [`Store`] is the open log of one cluster. [`Recorder`] turns commands and foreign frames into durable events, one writer
//! thread for all of them; [`Watcher`] reads the published views and subscribes to what is committed. Nobody ever sees a view
//! of something that is not durable.
//!
//! Deliberately not here: what a command may do (`wfengine-core`), what travels between nodes (`wfengine-protocol`), clocks
//! (every request brings its time).
//!
//! Invariants: a commit error means that the outcome is unknown, so the writer stops for good ([`StoreError::OutcomeUnknown`]) and
//! the process has to exit; the next start opens a new incarnation. The same goes for a commit that cannot be folded
//! ([`StoreError::Unfolded`]). Directories are 0700 and files 0600.

pub mod blobs;
mod checkpoint;
mod checksum;
pub mod data_dir;
pub mod disk;
pub mod embed;
mod error;
#[cfg(test)]
mod home;
mod index;
pub mod inspect;
pub mod keyed_cache;
mod log_file;
mod open;
pub mod port;
mod recorder;
mod watcher;
mod writer;

pub use blobs::{BlobError, Blobs};
pub use data_dir::{DataDir, DataDirError};
pub use error::{AskError, StoreError};
pub use keyed_cache::KeyedCache;
pub use log_file::StoredFrame;
pub use open::{Opened, Purpose, Store};
pub use recorder::{Committed, FrameOutcome, Receipt, Recorder};
pub use watcher::{Frontier, Lookup, Watcher};
