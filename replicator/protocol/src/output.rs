//! What an [`Exchange`](crate::Exchange) wants done, as values, and the answers it takes.
//!
//! The driver performs each output in order and gives the results back by the ids in it. It never has to wait for one output
//! before it performs the next, except where a variant says so.
//!
//! What a driver owes the machine:
//!
//! * **Frames**: for [`Output::Read`] the frames of a chain in order, with their places. A read of a whole segment begins at the start
//!   of the segment that holds the place asked for, or of any earlier one (a store without an index of segment starts begins at the
//!   chain's first frame and says segment 0), and ends not before the frame that holds it.
//! * **Commits**: [`handle_committed`](crate::Exchange::handle_committed) for every frame that becomes durable, own and foreign, in the
//!   order of each chain; then [`set_members`](crate::Exchange::set_members) and
//!   [`set_fork_cuts`](crate::Exchange::set_fork_cuts) if authority changed.
//! * **Outcomes**: one [`handle_outcome`](crate::Exchange::handle_outcome) for each [`Output::Admit`] that was not committed at once:
//!   waiting, no room or duplicate (dropped), forked, rejected. A frame that waited and is then admitted is a commit like any other.
//! * **Backpressure**: [`handle_sent`](crate::Exchange::handle_sent) when the transport took a message, not before.

use std::fmt;
use std::sync::Arc;

use wfengine_storage_format::{BlobId, ChainId, EventId, PeerId, VerifiedFrame};

use crate::frontier::ChainEntry;
use crate::message::{ByeCode, JoinAnswer, JoinRequest, Question, Reply};
use crate::segment::SegmentNumber;

/// A connection, by the driver's own number. Never used twice in the life of a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(pub u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A read that was asked of the driver, by the machine's own number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// A question to a peer, by the machine's own number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AskId(pub u64);

/// How urgent a message is. Messages of one class keep their order; hellos go before everything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    /// Greetings, comparisons, new frames.
    High,
    /// Frames that were asked for, questions and answers.
    Normal,
    /// Ranges of blobs.
    Low,
}

/// Something the driver shall do or tell the node.
#[derive(Debug)]
pub enum Output {
    /// Send a message, and call [`handle_sent`](crate::Exchange::handle_sent) once the transport took it (at once, or when it has
    /// room again).
    Send {
        /// Where.
        to: ConnectionId,
        /// The bytes, without framing.
        message: Vec<u8>,
        /// How urgent.
        class: Class,
    },
    /// Send a datagram, or drop it.
    Datagram {
        /// Where.
        to: ConnectionId,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The connection's peer was accepted: raise the transport's limits before sending or receiving anything else on it.
    Accepted {
        /// Which.
        connection: ConnectionId,
    },
    /// Close the connection. No further call for it is needed; [`Output::PeerDisconnected`] has been given if the peer was connected.
    Disconnect {
        /// Which.
        connection: ConnectionId,
        /// Whose.
        peer: PeerId,
        /// The close code.
        code: ByeCode,
        /// Why, for people.
        reason: String,
        /// The peer's score afterwards; 0 is spotless, -100 is banned.
        score: i32,
    },

    /// Read frames of a chain; answer with [`handle_frames`](crate::Exchange::handle_frames).
    Read {
        /// Number of this read.
        request: RequestId,
        /// Which chain.
        chain: ChainId,
        /// An event of the chain: the first frame wanted is the one that holds it.
        from_seq: u64,
        /// Begin with the first frame of the segment that holds the frame, and say the segment's number.
        whole_segment: bool,
        /// Stop after the frame that passes this many bytes, but not before the frame that holds `from_seq`.
        max_bytes: usize,
    },
    /// A verified frame that no committed event contradicts as far as is known here. Give it to the log. Then call
    /// [`handle_committed`](crate::Exchange::handle_committed) once it is durable, or
    /// [`handle_outcome`](crate::Exchange::handle_outcome) if it is not going to be, or not yet.
    Admit {
        /// The frame.
        frame: VerifiedFrame,
        /// Who brought it.
        from: PeerId,
    },

    /// Read a range of a blob; answer with [`handle_blob`](crate::Exchange::handle_blob).
    ReadBlob {
        /// Number of this read.
        request: RequestId,
        /// Which blob.
        blob: BlobId,
        /// From which byte.
        offset: u64,
        /// How many bytes at most; none only asks for the length.
        len: u32,
    },
    /// Bytes of a blob that was wanted, in order. After the last ones (`offset + bytes == total`) check the blob's hash and call
    /// [`handle_blob_stored`](crate::Exchange::handle_blob_stored).
    StoreBlobRange {
        /// Which blob.
        blob: BlobId,
        /// Where these bytes stand.
        offset: u64,
        /// Length of the blob, as the peer says.
        total: u64,
        /// The bytes.
        bytes: Vec<u8>,
        /// Who sent them.
        from: PeerId,
    },
    /// No connected member has a blob that is wanted. It stays wanted and is asked for again.
    BlobNowhere {
        /// Which.
        blob: BlobId,
    },
    /// A peer asks this node to keep a blob; call [`want_blob`](crate::Exchange::want_blob) if it shall.
    BlobOffered {
        /// Which.
        blob: BlobId,
        /// Its length, as the peer says.
        len: u64,
        /// Who has it.
        from: PeerId,
    },

    /// Somebody presents an invite; its signature is right. Answer with [`answer_join`](crate::Exchange::answer_join).
    JoinAsked {
        /// On which connection.
        connection: ConnectionId,
        /// Who.
        peer: PeerId,
        /// What it says.
        request: Box<JoinRequest>,
    },
    /// This node's own request was answered. When it is admitted the exchange begins by itself on the same connection.
    JoinAnswered {
        /// On which connection.
        connection: ConnectionId,
        /// Who answered.
        peer: PeerId,
        /// What.
        answer: JoinAnswer,
    },
    /// A member is connected.
    PeerConnected {
        /// On which connection.
        connection: ConnectionId,
        /// Who.
        peer: PeerId,
        /// What it calls itself.
        name: String,
        /// Version of its software.
        software: String,
        /// Where it says it can be dialled.
        addresses: Vec<String>,
    },
    /// A member is not connected any more.
    PeerDisconnected {
        /// Which connection ended.
        connection: ConnectionId,
        /// Who.
        peer: PeerId,
    },
    /// A peer holds events of this node's own key that this node does not have: its log was restored from a backup or copied. Write
    /// nothing on that chain, open a new incarnation, alarm. The events are fetched like any other.
    SelfRollback {
        /// Who holds them.
        peer: PeerId,
        /// What it holds.
        theirs: ChainEntry,
        /// How much of that chain this node has.
        ours: u64,
    },

    /// A peer asks; answer with [`reply`](crate::Exchange::reply).
    Asked {
        /// On which connection.
        connection: ConnectionId,
        /// Who.
        peer: PeerId,
        /// The peer's number of it.
        number: u32,
        /// What.
        question: Question,
    },
    /// A question was answered, or cannot be (`None`: the peer left or kept silent).
    Answered {
        /// Which.
        ask: AskId,
        /// What was said.
        reply: Option<Reply>,
    },
    /// A beat for the scheduler.
    Beat {
        /// Whose.
        from: PeerId,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// A packet for [`Membership`](crate::Membership).
    Swim {
        /// Whose.
        from: PeerId,
        /// Its bytes.
        bytes: Vec<u8>,
    },
}

/// One frame as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFrame {
    /// Its first event.
    pub first_seq: u64,
    /// The place after its last event.
    pub end_seq: u64,
    /// The encoded frame.
    pub bytes: Arc<[u8]>,
}

/// Consecutive frames of a chain, the answer to [`Output::Read`].
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct FramesRead {
    /// The segment whose first frame is the first one here; must be said if a whole segment was asked for.
    pub segment: Option<SegmentNumber>,
    /// The frames in order. None: the chain is not there any more.
    pub frames: Vec<StoredFrame>,
}

/// What became of a frame that is not committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It waits for others in the pending set.
    Waiting,
    /// It would have to wait and there is no room, or it was there already.
    Dropped,
    /// The log will never take it.
    Rejected,
    /// It contradicts the log: its author forked the chain. The cut comes by
    /// [`set_fork_cuts`](crate::Exchange::set_fork_cuts) once the proof is an event.
    Forked,
}

/// What became of this node's answer to a joiner, for [`answer_join`](crate::Exchange::answer_join).
pub type JoinDecision = Result<EventId, crate::message::JoinRefusal>;
