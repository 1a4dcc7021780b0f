//! What every node of a test has in its folder: a real log and real blobs, so that opening the folder again is a restart.
//!
//! What else a node needs (a clock, a cache, a place among members) is its test's own.

use std::path::Path;

use wfengine_core::command::Command;
use wfengine_core::seal::Author;
use wfengine_core::time::WallMs;
use wfengine_storage_format::{
    ChainId, ClusterFounded, ClusterId, Incarnation, PeerId, Signer, VerifiedFrame,
};
use wfengine_store::data_dir::{DataDir, DataDirError};
use wfengine_store::{AskError, BlobError, Blobs, Purpose, Receipt, Store, StoreError};

/// A log and blobs on disk.
pub struct Ledger {
    /// The log.
    pub store: Store,
    /// The blobs.
    pub blobs: Blobs,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The folder.
    #[error(transparent)]
    Folder(#[from] DataDirError),
    /// The log.
    #[error(transparent)]
    Log(#[from] StoreError),
    /// The blobs.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// The folder was never made one of a node.
    #[error("no cluster was founded or joined in this folder")]
    NoCluster,
}

impl Ledger {
    /// Founds a cluster of its own in a folder.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn found(
        folder: &Path,
        signer: &Signer,
        system: Vec<String>,
        now: WallMs,
    ) -> Result<(), LedgerError> {
        let data = DataDir::open(folder.join("data"))?;
        let chain = ChainId { author: signer.peer_id(), incarnation: Incarnation::from_bytes([0; 16]) };
        let body = ClusterFounded { name: "lab".to_owned(), nonce: [1; 16], system };
        let cluster = Store::found(&data, &Author { signer: signer.clone(), chain }, body, now)?;
        Ok(data.set_current_cluster(&cluster)?)
    }

    /// Begins in a folder with what another member's log holds.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn join(
        folder: &Path,
        cluster: ClusterId,
        frames: &[VerifiedFrame],
        now: WallMs,
    ) -> Result<(), LedgerError> {
        let data = DataDir::open(folder.join("data"))?;
        Store::create(&data.cluster_dir(&cluster), cluster, frames, now)?;
        Ok(data.set_current_cluster(&cluster)?)
    }

    /// Opens what a folder holds. `fresh`: random bytes, different at every start.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn open(folder: &Path, signer: &Signer, fresh: [u8; 16]) -> Result<Self, LedgerError> {
        let data = DataDir::open(folder.join("data"))?;
        let cluster = data.current_cluster()?.ok_or(LedgerError::NoCluster)?;
        let fresh = Incarnation::from_bytes(fresh);
        let (store, _) =
            Store::open(&data.cluster_dir(&cluster), signer.clone(), Purpose::Serve, fresh, "boot")?;
        Ok(Self { store, blobs: Blobs::open(folder.join("blobs"))? })
    }

    /// Whose it is.
    pub fn peer(&self) -> PeerId {
        self.store.chain().author
    }

    /// Asks for a command and waits until it is durable.
    ///
    /// # Errors
    /// As [`wfengine_store::Recorder::ask`].
    pub async fn ask(&self, command: Command, wall_ms: u64) -> Result<Receipt, AskError> {
        self.store.recorder().ask(command, WallMs(wall_ms)).await
    }

    /// All frames of the log, in the order in which they came.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn frames(&self) -> Result<Vec<VerifiedFrame>, StoreError> {
        let stored = self.store.watcher().frames(0, usize::MAX)?;
        Ok(stored.into_iter().map(|stored| stored.frame).collect())
    }

    /// Events in the log.
    pub fn events(&self) -> u64 {
        self.store.watcher().frontier().events_len
    }
}
