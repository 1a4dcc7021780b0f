//! Ports: what a component needs from another node. Declared here, wired by the binary.

use std::future::Future;
use std::pin::Pin;

use wfengine_storage_format::{BlobId, JobId, PeerId};

/// A future of a port's answer.
pub type PortFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, PortError>> + Send + 'a>>;

/// Why another node did not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PortError {
    /// Nobody connected has it.
    #[error("no connected peer has {what}")]
    NobodyHas {
        /// What was asked for.
        what: String,
    },
    /// This process is not connected to anybody.
    #[error("{what} is not on this host and no node is running to fetch it: start `wfengine serve`")]
    Offline {
        /// What was asked for.
        what: String,
    },
    /// The answer did not fit the question.
    #[error("peer {peer} answered with something else than {what}")]
    Wrong {
        /// Who.
        peer: PeerId,
        /// What was asked for.
        what: String,
    },
}

/// What can be asked of other nodes.
pub trait PeerAsk: Send + Sync {
    /// Brings a blob into the local blob store, from any peer that has it.
    fn fetch_blob(&self, id: BlobId) -> PortFuture<'_, ()>;
    /// The bytes of a running job's log from `offset` on, from the peer that runs it; empty when there is nothing new yet.
    fn follow_log(&self, peer: PeerId, job: JobId, offset: u64) -> PortFuture<'_, Vec<u8>>;
}
