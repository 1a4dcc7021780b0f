//! A node in memory: the real log, pending set, authority and exchange, with vectors for a disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use wfengine_core::authority::Authority;
use wfengine_core::command::{Draft, DraftBody};
use wfengine_core::log::{Admission, KnownEvents, Location};
use wfengine_core::pending::Pending;
use wfengine_core::seal::{Author, found, seal};
use wfengine_core::time::{Monotonic, WallMs};
use wfengine_core::{Admitted, Log};
use wfengine_protocol::limits::MESSAGE_BYTES_MAX;
use wfengine_protocol::message::Message;
use wfengine_protocol::{
    Config, Exchange, FramesRead, Frontier, IngestBudget, Outcome, Output, RequestId, SegmentCursor,
    SegmentNumber, StoredFrame,
};
use wfengine_storage_format::{
    BlobId, Body, ChainId, ClusterFounded, ClusterId, EventId, ForkProved, Grant, Incarnation, PeerAdmitted,
    PeerDescribed, PeerId, Roles, SignedHeader, Signer, VerifiedFrame, fork_between,
};

/// What the store knows of admitted events.
#[derive(Default)]
pub(crate) struct Index {
    locations: BTreeMap<EventId, Location>,
    headers: BTreeMap<ChainId, Vec<SignedHeader>>,
}

impl KnownEvents for Index {
    fn locate(&self, id: &EventId) -> Option<Location> {
        self.locations.get(id).copied()
    }
    fn header_at(&self, chain: &ChainId, seq: u64) -> Option<SignedHeader> {
        self.headers.get(chain)?.iter().find(|signed| signed.header.end_seq() > seq).cloned()
    }
}

pub(crate) struct Node {
    pub(crate) author: Author,
    pub(crate) cluster: ClusterId,
    pub(crate) log: Log,
    pub(crate) index: Index,
    pub(crate) frames: BTreeMap<ChainId, Vec<VerifiedFrame>>,
    pub(crate) pending: Pending,
    pub(crate) authority: Authority,
    pub(crate) exchange: Exchange,
    pub(crate) forks: Vec<ForkProved>,
    pub(crate) blobs: BTreeMap<BlobId, Vec<u8>>,
    pub(crate) partial: BTreeMap<BlobId, Vec<u8>>,
    /// Outputs that are the node's to act upon.
    pub(crate) told: Vec<Output>,
    pub(crate) admits: usize,
    /// Frames on their way to the log, if the disk is slow.
    pub(crate) disk: Option<VecDeque<(VerifiedFrame, PeerId)>>,
}

pub(crate) fn signer(seed: u8) -> Signer {
    Signer::from_seed(&[seed; 32])
}

pub(crate) fn key(seed: u8) -> PeerId {
    signer(seed).peer_id()
}

fn chain_of(seed: u8, life: u8) -> ChainId {
    ChainId { author: key(seed), incarnation: Incarnation::from_bytes([life; 16]) }
}

fn config(seed: u8, cluster: ClusterId) -> Config {
    Config {
        me: key(seed),
        cluster,
        name: format!("node {seed}"),
        software: "test".to_owned(),
        addresses: vec![format!("host{seed}:4207")],
        seed: [seed; 32],
        budget: IngestBudget::default(),
    }
}

impl Node {
    /// The founder of a cluster.
    pub(crate) fn founder(seed: u8) -> Self {
        let author = Author { signer: signer(seed), chain: chain_of(seed, 1) };
        let body = ClusterFounded { name: "test".into(), nonce: [0; 16], system: vec![] };
        let frame = found(&author, body, WallMs(1)).unwrap();
        let mut node = Self::empty(seed, frame.header().cluster);
        node.take(frame, node.author.chain.author);
        node.restart();
        node
    }

    /// A node with an empty log of a cluster it may or may not be a member of.
    pub(crate) fn empty(seed: u8, cluster: ClusterId) -> Self {
        let exchange = Exchange::new(config(seed, cluster), Frontier::default(), [], Monotonic(0));
        Self {
            author: Author { signer: signer(seed), chain: chain_of(seed, 1) },
            cluster,
            log: Log::new(cluster),
            index: Index::default(),
            frames: BTreeMap::new(),
            pending: Pending::default(),
            authority: Authority::new(cluster),
            exchange,
            forks: Vec::new(),
            blobs: BTreeMap::new(),
            partial: BTreeMap::new(),
            told: Vec::new(),
            admits: 0,
            disk: None,
        }
    }

    pub(crate) fn me(&self) -> PeerId {
        self.author.chain.author
    }

    /// The process starts again with what is on disk; everything that was in memory is lost.
    pub(crate) fn restart(&mut self) {
        let seed = self.seed();
        let members: Vec<PeerId> = self.authority.roster().members().keys().copied().collect();
        self.pending = Pending::default();
        self.disk = self.disk.take().map(|_| VecDeque::new());
        self.exchange =
            Exchange::new(config(seed, self.cluster), Frontier::of(self.log.chains()), members, Monotonic(0));
        self.exchange.set_fork_cuts(self.authority.roster().forked_chains());
    }

    pub(crate) fn seed(&self) -> u8 {
        self.author.signer.to_seed()[0]
    }

    /// The node goes on in a new chain.
    pub(crate) fn new_life(&mut self, life: u8) {
        self.author.chain = chain_of(self.seed(), life);
    }

    /// Writes events, each in a frame of its own.
    pub(crate) fn write(&mut self, count: usize) {
        for n in 0..count {
            let name = format!("{n}");
            self.write_body(PeerDescribed { name, addresses: vec![], version: "x".repeat(n % 200) });
        }
    }

    pub(crate) fn write_body(&mut self, body: impl Into<Body>) -> EventId {
        let body: Body = body.into();
        let (kind, _) = body.encode().unwrap();
        let refs = if kind.is_authority() { self.authority.heads_for_refs(8) } else { vec![] };
        let draft = Draft { body: DraftBody::Ready(Box::new(body)), refs, blobs: vec![] };
        let frames =
            seal(&self.log, &self.index, &self.author, &BTreeSet::new(), vec![draft], WallMs(1)).unwrap();
        let id = frames[0].header().last;
        let me = self.me();
        frames.into_iter().for_each(|frame| self.take(frame, me));
        id
    }

    pub(crate) fn admit_peer(&mut self, peer: PeerId) -> EventId {
        let grant = Grant::Direct { roles: Roles::ALL, labels: vec![] };
        self.write_body(PeerAdmitted { peer, name: "peer".into(), system: vec![], grant })
    }

    /// The way of a frame into the log, as the store does it.
    pub(crate) fn take(&mut self, frame: VerifiedFrame, from: PeerId) {
        let mut frames = vec![(frame, from)];
        while let Some((frame, from)) = frames.pop() {
            let (chain, end_seq) = (frame.header().chain, frame.header().end_seq());
            let roster = Arc::clone(self.authority.roster());
            let outcome = self.log.admit(&frame, |peer| roster.was_ever_member(peer), &self.index);
            let outcome = match outcome {
                Ok(Admission::Admitted) => {
                    self.commit(frame.clone());
                    frames.extend(self.pending.wake(&frame));
                    continue;
                }
                Ok(Admission::Duplicate) => Outcome::Dropped,
                Ok(Admission::Missing(needs)) => {
                    if self.pending.keep(frame, from, needs) {
                        Outcome::Waiting
                    } else {
                        Outcome::Dropped
                    }
                }
                Ok(Admission::Forked(proof)) => {
                    assert!(fork_between(&proof.first, &proof.second).is_some());
                    if self.forks.iter().all(|known| known.first.header.chain != chain) {
                        self.forks.push(*proof);
                    }
                    frames.extend(self.pending.wake(&frame));
                    Outcome::Forked
                }
                Err(_) => Outcome::Rejected,
            };
            self.exchange.handle_outcome(&chain, end_seq, outcome, Monotonic(self.now()));
        }
    }

    fn now(&self) -> u64 {
        0
    }

    fn commit(&mut self, frame: VerifiedFrame) {
        let chain = frame.header().chain;
        for (id, event) in frame.events() {
            let location = Location { chain, seq: event.seq, height: event.height };
            self.index.locations.insert(*id, location);
        }
        self.index.headers.entry(chain).or_default().push(frame.signed_header());
        self.frames.entry(chain).or_default().push(frame.clone());
        self.exchange.handle_committed(&frame, Monotonic(self.now()));
        let mut changed = false;
        for event in Admitted::of_frame(frame, WallMs(1)) {
            if event.kind.is_authority() {
                self.authority.apply(&event);
                changed = true;
            }
        }
        if changed {
            let roster = Arc::clone(self.authority.roster());
            self.exchange.set_members(roster.members().keys().copied(), Monotonic(self.now()));
            self.exchange.set_fork_cuts(roster.forked_chains());
        }
    }

    /// Answers [`Output::Read`] as the store would, from a list of segment starts.
    pub(crate) fn read(
        &self,
        chain: &ChainId,
        from_seq: u64,
        whole_segment: bool,
        max_bytes: usize,
    ) -> FramesRead {
        let none = Vec::new();
        let frames = self.frames.get(chain).unwrap_or(&none);
        let Some(mut at) = frames.iter().position(|frame| frame.header().end_seq() > from_seq) else {
            return FramesRead::default();
        };
        let wanted = at;
        let mut segment = None;
        if whole_segment {
            let mut cursor = SegmentCursor::START;
            let mut starts: Vec<(usize, SegmentNumber)> = Vec::new();
            for (index, frame) in frames.iter().enumerate().take(at + 1) {
                cursor.append(chain, frame.bytes()).unwrap();
                if cursor.frames() == 1 {
                    starts.push((index, cursor.segment()));
                }
            }
            let (start, number) = *starts.last().unwrap();
            (at, segment) = (start, Some(number));
        }
        let mut read = FramesRead { segment, frames: vec![] };
        let mut bytes = 0;
        for (index, frame) in frames.iter().enumerate().skip(at) {
            if bytes >= max_bytes && index > wanted {
                break;
            }
            bytes += frame.bytes().len();
            read.frames.push(StoredFrame {
                first_seq: frame.header().first_seq,
                end_seq: frame.header().end_seq(),
                bytes: Arc::clone(frame.bytes()),
            });
        }
        read
    }

    fn answer_read(&mut self, request: RequestId, read: &FramesRead) {
        self.exchange.handle_frames(request, read, Monotonic(self.now()));
    }

    /// Performs what the exchange wants; what is to be sent comes back.
    pub(crate) fn drive(&mut self, now: Monotonic) -> Vec<Output> {
        let mut sends = Vec::new();
        while let Some(output) = self.exchange.poll_output() {
            match output {
                Output::Send { ref message, .. } => {
                    assert!(!message.is_empty() && message.len() <= MESSAGE_BYTES_MAX);
                    sends.push(output);
                }
                Output::Disconnect { .. } | Output::Datagram { .. } => sends.push(output),
                Output::Read { request, chain, from_seq, whole_segment, max_bytes } => {
                    let read = self.read(&chain, from_seq, whole_segment, max_bytes);
                    self.answer_read(request, &read);
                }
                Output::Admit { frame, from } => {
                    self.admits += 1;
                    match &mut self.disk {
                        Some(disk) => disk.push_back((frame, from)),
                        None => self.take(frame, from),
                    }
                }
                Output::ReadBlob { request, blob, offset, len } => {
                    let read = self.blobs.get(&blob).map(|bytes| {
                        let start = usize::try_from(offset).unwrap().min(bytes.len());
                        let end = (start + len as usize).min(bytes.len());
                        (bytes.len() as u64, bytes[start..end].to_vec())
                    });
                    self.exchange.handle_blob(request, read, now);
                }
                Output::StoreBlobRange { blob, offset, total, bytes, .. } => {
                    let partial = self.partial.entry(blob).or_default();
                    assert_eq!(partial.len() as u64, offset);
                    partial.extend_from_slice(&bytes);
                    if partial.len() as u64 == total {
                        let whole = self.partial.remove(&blob).unwrap();
                        let is_right = wfengine_storage_format::sha256(&whole) == *blob.as_bytes();
                        if is_right {
                            self.blobs.insert(blob, whole);
                        }
                        self.exchange.handle_blob_stored(&blob, is_right, now);
                    }
                }
                Output::Accepted { .. } => {}
                other => self.told.push(other),
            }
        }
        sends
    }

    /// What it says when it is asked what it has.
    pub(crate) fn frontier_message(&self) -> Vec<u8> {
        Message::Frontier(Frontier::of(self.log.chains()).message(false)).encode()
    }

    pub(crate) fn was_told(&self, which: impl Fn(&Output) -> bool) -> bool {
        self.told.iter().any(which)
    }
}
