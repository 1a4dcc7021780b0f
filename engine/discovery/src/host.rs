//! What discovery needs of the node it runs in.

use std::path::Path;

use wfengine_core::command::Command;
use wfengine_git::Git;
use wfengine_storage_format::{BlobId, PeerId};
use wfengine_store::{AskError, Blobs, KeyedCache, Receipt, Watcher};

/// Something the node could not do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct HostError(pub String);

/// The node: its log, its blobs, its clock, its place among the members.
pub trait Host: Send + Sync + 'static {
    /// Reads the log.
    fn watcher(&self) -> &Watcher;
    /// Keeps files by hash.
    fn blobs(&self) -> &Blobs;
    /// Keeps what saves work.
    fn cache(&self) -> &KeyedCache;
    /// This node's id.
    fn peer(&self) -> PeerId;
    /// Asks for a command and waits until it is durable.
    fn ask(&self, command: Command) -> impl Future<Output = Result<Receipt, AskError>> + Send;
    /// The wall clock, milliseconds since 1970.
    fn wall_ms(&self) -> u64;
    /// How many of these members live and come before this node in looking at `what`.
    fn place_for(&self, what: &str, among: &[PeerId]) -> usize;
    /// Brings a blob here from members, unless it is. Says whether it is here then.
    fn bring(&self, blob: &BlobId) -> impl Future<Output = bool> + Send;
    /// A folder for mirrors of repositories and for what is being packed.
    fn work_dir(&self) -> &Path;
    /// The git program, if this host has one.
    fn git(&self) -> Option<&Git>;
    /// 16 random bytes.
    ///
    /// # Errors
    /// [`HostError`]: the operating system gives none.
    fn random(&self) -> Result<[u8; 16], HostError>;
}
