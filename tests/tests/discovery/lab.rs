//! What discovery needs of a node: a log, blobs and a cache on disk, git, a clock.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wfengine_core::command::Command;
use wfengine_discovery::{Host, HostError};
use wfengine_git::Git;
use wfengine_storage_format::{BlobId, PeerId, Signer, VerifiedFrame};
use wfengine_store::{AskError, Blobs, KeyedCache, Receipt, Watcher};
use wfengine_tests::ledger::Ledger;
use wfengine_tests::virtual_time::HostClock;

/// Bytes of a node's cache.
const CACHE_BYTES_MAX: u64 = 64 << 20;

/// What discovery needs of a node.
pub(crate) struct Lab {
    pub(crate) ledger: Ledger,
    cache: KeyedCache,
    work: PathBuf,
    git: Option<Git>,
    clock: HostClock,
    number: AtomicU64,
}

impl Lab {
    pub(crate) fn open(folder: &Path, signer: &Signer, clock: &HostClock) -> Arc<Self> {
        let mut fresh = [0; 16];
        getrandom::fill(&mut fresh).expect("random bytes");
        Arc::new(Self {
            ledger: Ledger::open(folder, signer, fresh).expect("a log and blobs"),
            cache: KeyedCache::open(&folder.join("cache.redb"), CACHE_BYTES_MAX).expect("a cache"),
            work: folder.join("work"),
            git: git(),
            clock: clock.clone(),
            number: AtomicU64::new(0),
        })
    }

    /// All frames of the log, in the order in which they came.
    pub(crate) fn frames(&self) -> Vec<VerifiedFrame> {
        self.ledger.frames().expect("frames")
    }

    /// Events in the log.
    pub(crate) fn events(&self) -> u64 {
        self.ledger.events()
    }
}

impl Host for Lab {
    fn watcher(&self) -> &Watcher {
        self.ledger.store.watcher()
    }
    fn blobs(&self) -> &Blobs {
        &self.ledger.blobs
    }
    fn cache(&self) -> &KeyedCache {
        &self.cache
    }
    fn peer(&self) -> PeerId {
        self.ledger.peer()
    }
    async fn ask(&self, command: Command) -> Result<Receipt, AskError> {
        self.ledger.ask(command, self.wall_ms()).await
    }
    fn wall_ms(&self) -> u64 {
        self.clock.wall_ms()
    }
    fn place_for(&self, _what: &str, _among: &[PeerId]) -> usize {
        0
    }
    async fn bring(&self, blob: &BlobId) -> bool {
        self.ledger.blobs.has(blob)
    }
    fn work_dir(&self) -> &Path {
        &self.work
    }
    fn git(&self) -> Option<&Git> {
        self.git.as_ref()
    }
    fn random(&self) -> Result<[u8; 16], HostError> {
        Ok(u128::from(self.number.fetch_add(1, Ordering::Relaxed)).to_le_bytes())
    }
}

/// The git program.
pub(crate) fn git() -> Option<Git> {
    Git::find(&std::env::var_os("PATH")?).ok()
}
