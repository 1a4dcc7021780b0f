//! What the autoscaler needs of a node: a log and blobs on disk, and clocks.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use wfengine_autoscaler::Host;
use wfengine_core::command::Command;
use wfengine_core::scheduler::P2pLoad;
use wfengine_core::time::Monotonic;
use wfengine_storage_format::{PeerId, Signer};
use wfengine_store::{AskError, Blobs, Receipt, Watcher};
use wfengine_tests::ledger::Ledger;
use wfengine_tests::virtual_time::Time;

use crate::cuts::Cuts;

/// Numbers that are never the same twice, in all processes of a test.
static NUMBER: AtomicU64 = AtomicU64::new(1);

/// A node that starts runners.
pub(crate) struct Member {
    pub(crate) ledger: Ledger,
    time: Arc<Time>,
    cuts: Arc<Cuts>,
    /// Added to the wall clock alone.
    wall_wrong_by_ms: AtomicI64,
}

impl Member {
    pub(crate) fn open(folder: &Path, signer: &Signer, time: &Arc<Time>, cuts: &Arc<Cuts>) -> Arc<Self> {
        let fresh = u128::from(NUMBER.fetch_add(1, Ordering::Relaxed)).to_le_bytes();
        Arc::new(Self {
            ledger: Ledger::open(folder, signer, fresh).expect("a log and blobs"),
            time: Arc::clone(time),
            cuts: Arc::clone(cuts),
            wall_wrong_by_ms: AtomicI64::new(0),
        })
    }

    /// Somebody sets the wall clock.
    pub(crate) fn jump_wall(&self, by_s: i64) {
        self.wall_wrong_by_ms.fetch_add(by_s * 1_000, Ordering::Relaxed);
    }

    /// Both clocks, as looks want them.
    pub(crate) fn both(&self) -> (Monotonic, u64) {
        (self.now(), self.wall_ms())
    }
}

impl Host for Member {
    fn watcher(&self) -> &Watcher {
        self.ledger.store.watcher()
    }
    fn blobs(&self) -> &Blobs {
        &self.ledger.blobs
    }
    fn peer(&self) -> PeerId {
        self.ledger.peer()
    }
    async fn ask(&self, command: Command) -> Result<Receipt, AskError> {
        self.cuts.pass().await;
        let done = self.ledger.ask(command, self.wall_ms()).await;
        self.cuts.pass().await;
        done
    }
    fn now(&self) -> Monotonic {
        Monotonic(u64::try_from(self.time.passed().as_millis()).unwrap_or(u64::MAX))
    }
    fn wall_ms(&self) -> u64 {
        self.time.wall_ms().saturating_add_signed(self.wall_wrong_by_ms.load(Ordering::Relaxed))
    }
    async fn sleep(&self, time: Duration) {
        self.time.pass(time);
    }
    fn place_for(&self, _: &str, _: &[PeerId]) -> usize {
        0
    }
    fn is_alive(&self, _: &PeerId) -> bool {
        true
    }
    fn p2p_load(&self) -> P2pLoad {
        P2pLoad::default()
    }
    fn random(&self) -> [u8; 4] {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        u32::try_from(number & 0xffff_ffff).unwrap_or_default().to_be_bytes()
    }
}
