//! The node as the autoscaler sees it.

use std::sync::Arc;
use std::time::Duration;

use wfengine_autoscaler::Host;
use wfengine_core::command::Command;
use wfengine_core::scheduler::P2pLoad;
use wfengine_core::time::Monotonic;
use wfengine_storage_format::PeerId;
use wfengine_store::{AskError, Blobs, Receipt, Watcher};

use crate::node::Node;

/// A node that starts runners.
#[derive(Debug)]
pub(super) struct RunnerHost(pub(super) Arc<Node>);

impl Host for RunnerHost {
    fn watcher(&self) -> &Watcher {
        self.0.watcher()
    }
    fn blobs(&self) -> &Blobs {
        &self.0.blobs
    }
    fn peer(&self) -> PeerId {
        self.0.peer_id()
    }
    async fn ask(&self, command: Command) -> Result<Receipt, AskError> {
        self.0.ask(command).await
    }
    fn now(&self) -> Monotonic {
        self.0.clock.monotonic()
    }
    fn wall_ms(&self) -> u64 {
        self.0.clock.wall().0
    }
    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
    fn place_for(&self, what: &str, among: &[PeerId]) -> usize {
        self.0.look(|scheduler, _, _| scheduler.place_for_duty("provision", what, among.iter().copied()))
    }
    fn is_alive(&self, peer: &PeerId) -> bool {
        *peer == self.0.peer_id() || self.0.look(|scheduler, _, _| scheduler.peers_alive()).contains(peer)
    }
    fn p2p_load(&self) -> P2pLoad {
        self.0.look(|scheduler, views, _| scheduler.p2p_load(views))
    }
    fn random(&self) -> [u8; 4] {
        // without random numbers a name is not free twice, and the log refuses it
        crate::home::random().unwrap_or_default()
    }
}
