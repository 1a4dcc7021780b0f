//! The driver: runs the protocol's `Exchange` and `Membership` over connections, with a store behind them.
//!
//! One task owns both machines. Around it, small tasks carry: one reader and one sender a connection, one that hands verified
//! frames to the writer, short ones that read frames and blobs. None of them decides anything. What the node has to say (who may
//! join, what a beat means) comes through [`Host`]. A thread beside it keeps the automerge documents of what was committed
//! ([`Documents`]); neither waits for the other.
//!
//! Invariants: a frame goes to nobody before its commit · whatever a peer makes this process hold is bounded by the machines'
//! limits and the transport's · losing a connection loses nothing but time.

mod admitting;
mod asking;
mod book;
mod documents;
mod keeping;
mod machine;
mod serving;
mod telling;
mod wire;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use wfengine_core::time::Now;
use wfengine_protocol::Standing;
use wfengine_protocol::join::JoinLine;
use wfengine_protocol::message::{JoinAnswer, JoinRequest};
use wfengine_protocol::output::JoinDecision;
use wfengine_storage_format::{BlobId, ClusterId, EventId, JobId, PeerId};
use wfengine_store::port::PortError;
use wfengine_store::{Blobs, Recorder, Watcher};

use crate::{Endpoint, Lan, LanError};
use documents::DocumentKeeper;
use machine::{Control, Machine};

pub use documents::{Documents, OpenDocument};

/// A future of the host.
pub type HostFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What the node behind a driver decides.
pub trait Host: Send + Sync + 'static {
    /// Both clocks.
    fn now(&self) -> Now;
    /// A member's beat came, from its author or passed on. Whether it was news, so that it is passed on further.
    fn beat(&self, bytes: &[u8]) -> bool;
    /// Membership says that a member came or went.
    fn presence(&self, peer: PeerId, is_alive: bool);
    /// Connected members have so many events that this node lacks, as far as they said.
    fn behind(&self, events: u64);
    /// Somebody presents an invite whose signature is right.
    fn admit(&self, peer: PeerId, request: JoinRequest) -> HostFuture<JoinDecision>;
    /// Part of the log of a job that runs here, and whether it ends there; `None` if it does not run here.
    fn log_part(&self, job: JobId, offset: u64) -> HostFuture<Option<(Vec<u8>, bool)>>;
    /// A peer holds events of this node's own key that this node lacks: a restored or copied data directory.
    fn rolled_back(&self, detail: String);
    /// A request to join was answered.
    fn join_answered(&self, answer: JoinAnswer);
    /// Whoever was asked to let this node in closed the connection for good, and why. Only a joiner is told.
    fn turned_away(&self, reason: String) {
        let _ = reason;
    }
}

/// What a driver is started with.
pub struct Start {
    /// The socket, bound.
    pub endpoint: Endpoint,
    /// Writes frames.
    pub recorder: Recorder,
    /// Reads frames and views.
    pub watcher: Watcher,
    /// Files by hash.
    pub blobs: Blobs,
    /// The node.
    pub host: Arc<dyn Host>,
    /// What this node calls itself.
    pub name: String,
    /// Version of the software, for people.
    pub software: String,
    /// Where this node can be dialled.
    pub addresses: Vec<String>,
    /// Addresses to dial, whoever answers.
    pub dial: Vec<String>,
    /// An invite to present to whoever answers, until this node is a member.
    pub join: Option<(JoinLine, JoinRequest)>,
    /// Random bytes.
    pub seed: [u8; 32],
}

/// A connected member.
#[derive(Clone, Debug)]
pub struct Link {
    /// Who.
    pub peer: PeerId,
    /// Where.
    pub address: SocketAddr,
    /// Round trip.
    pub rtt: Duration,
    /// How its log and this node's differ; `None` before it said anything about that.
    pub standing: Option<Standing>,
}

/// A running driver. Dropping it ends the driver.
pub struct Driver {
    controls: mpsc::UnboundedSender<Control>,
    links: Arc<Mutex<Vec<Link>>>,
    sent_bytes: Arc<AtomicU64>,
    endpoint: Endpoint,
    documents: DocumentKeeper,
    stop: watch::Sender<bool>,
    stopped: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Driver {
    /// Starts to serve, dial and exchange. Inside a tokio runtime.
    pub fn start(start: Start) -> Self {
        let (controls, controlled) = mpsc::unbounded_channel();
        let links = Arc::<Mutex<Vec<Link>>>::default();
        let (stop, stopping) = watch::channel(false);
        let endpoint = start.endpoint.clone();
        let machine = Machine::new(start, controls.clone(), Arc::clone(&links));
        let sent_bytes = Arc::clone(&machine.sent_bytes);
        let (watcher, starts) = (machine.watcher.clone(), machine.starts.clone());
        let documents = DocumentKeeper::start(watcher, starts, stopping.clone());
        let task = tokio::spawn(machine.run(controlled, stopping));
        Self { controls, links, sent_bytes, endpoint, documents, stop, stopped: Mutex::new(Some(task)) }
    }

    /// The UDP address this node listens on.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// The members connected now.
    pub fn links(&self) -> Vec<Link> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bytes of messages that went to peers since the start; datagrams are not counted.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    /// The automerge documents that follow the log. They decide nothing.
    pub fn documents(&self) -> Documents {
        self.documents.shown()
    }

    /// Sends beats to every connected member.
    pub fn send_beats(&self, beats: Vec<Vec<u8>>) {
        let _ = self.controls.send(Control::Beats(beats));
    }

    /// Dials an address, now and whenever it is not connected.
    pub fn add_address(&self, address: String) {
        let _ = self.controls.send(Control::AddAddress(address));
    }

    /// Makes this node known on the local network and looks for members there, until what it gives is dropped.
    ///
    /// # Errors
    /// [`LanError`] when multicast DNS does not start.
    pub fn go_on_lan(
        &self,
        cluster: ClusterId,
        me: PeerId,
        is_member: impl Fn(&PeerId) -> bool + Send + 'static,
    ) -> Result<Lan, LanError> {
        let port = self.endpoint.local_addr().map_err(LanError::Socket)?.port();
        let controls = self.controls.clone();
        Lan::start(cluster, me, port, is_member, move |peer, addresses| {
            let _ = controls.send(Control::Seen(peer, addresses));
        })
    }

    /// Dials it no more.
    pub fn remove_address(&self, address: &str) {
        let _ = self.controls.send(Control::RemoveAddress(address.to_owned()));
    }

    /// Brings a blob here from any connected peer that has it.
    ///
    /// # Errors
    /// [`PortError::NobodyHas`] when no connected peer has it now; it stays wanted.
    pub async fn fetch_blob(&self, blob: BlobId) -> Result<(), PortError> {
        let nobody = || PortError::NobodyHas { what: format!("blob {blob}") };
        let (done, answer) = oneshot::channel();
        self.controls.send(Control::FetchBlob(blob, done)).map_err(|_| nobody())?;
        match answer.await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(nobody()),
        }
    }

    /// Part of the log of a job that another peer runs.
    ///
    /// # Errors
    /// [`PortError`] when the peer is not connected, does not run the job or keeps silent.
    pub async fn follow_log(&self, peer: PeerId, job: JobId, offset: u64) -> Result<Vec<u8>, PortError> {
        let what = || format!("the log of job {}", job.short());
        let (done, answer) = oneshot::channel();
        let asked = self.controls.send(Control::FollowLog { peer, job, offset, done });
        asked.map_err(|_| PortError::NobodyHas { what: what() })?;
        match answer.await {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) | Err(_) => Err(PortError::NobodyHas { what: what() }),
        }
    }

    /// Which connected members hold an event and these blobs, as they say themselves when asked.
    pub async fn holders(&self, event: EventId, blobs: Vec<BlobId>) -> Vec<PeerId> {
        let (done, answer) = oneshot::channel();
        if self.controls.send(Control::Holders { event, blobs, done }).is_err() {
            return Vec::new();
        }
        answer.await.unwrap_or_default()
    }

    /// Ends every connection and the driver.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let task = self.stopped.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = task.await;
        }
        self.documents.ended().await;
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}
