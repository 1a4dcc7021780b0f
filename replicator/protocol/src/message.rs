//! Messages and datagrams: what they hold, how they are written, how much they may hold.
//!
//! A message is the postcard of a [`Message`]: a tag, then the fields. Every list, text and byte string carries its bound in
//! its type, so decoding stops at the first element too many. Messages are not hashed and need no canonical form; nothing here
//! says what may be sent when (`session`), or frames messages on a stream (the transport).
//!
//! Invariants: decoding allocates no more than a small multiple of its input; tags and layouts of a version never change; the
//! beginning of a hello (tag, versions) is the same in every version.

use serde::{Deserialize, Serialize};
use wfengine_storage_format::{
    BlobId, ChainId, ClusterId, EventId, Hash32, Incarnation, InviteKey, JobId, Signature,
};

pub use crate::bounded::{Bytes, List, Text};
use crate::chunk::CHUNK_LEN_MAX;
use crate::frontier::{ChainEntry, RangePrefix};
use crate::limits::{
    ADDRESS_BYTES_MAX, ADDRESSES_MAX, BLOB_OFFERS_MAX, BLOB_RANGE_BYTES_MAX, BLOBS_HELD_MAX, CHUNKS_MAX,
    DATAGRAM_BYTES_MAX, ENTRIES_MAX, FIRST_MESSAGE_BYTES_MAX, HELD_MAX, LABEL_BYTES_MAX, LABELS_MAX,
    MESSAGE_BYTES_MAX, NAME_BYTES_MAX, RANGE_ENTRIES_MAX, RANGES_MAX, REASON_BYTES_MAX,
};

/// The oldest version of the protocol this software speaks.
pub const VERSION_MIN: u16 = 1;
/// The newest version of the protocol this software speaks.
pub const VERSION_MAX: u16 = 1;

/// Why bytes are no message. A peer that sent them broke the protocol, unless it speaks another version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Longer than messages may be at this point.
    #[error("a message of {len} bytes, at most {len_max} are allowed here")]
    TooLong {
        /// Its length.
        len: usize,
        /// The limit in force.
        len_max: usize,
    },
    /// A bound was passed, bytes are missing, or the tag is unknown.
    #[error("the message cannot be decoded: {detail}")]
    Malformed {
        /// What the decoder says.
        detail: String,
    },
    /// More bytes than the message has.
    #[error("{len} bytes follow the message")]
    Trailing {
        /// How many.
        len: usize,
    },
    /// A hello of versions none of which is spoken here.
    #[error(
        "the peer speaks versions {min} to {max} of the protocol, this node {VERSION_MIN} to {VERSION_MAX}: upgrade the older one"
    )]
    Version {
        /// The oldest it speaks.
        min: u16,
        /// The newest it speaks.
        max: u16,
    },
    /// The list, text or byte string does not fit its bound (only when making a message).
    #[error("{len} where at most {len_max} are allowed")]
    Bound {
        /// Elements or bytes.
        len: usize,
        /// The bound.
        len_max: usize,
    },
}

/// How much of one of the receiver's own chains the sender holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Held {
    /// Which of the receiver's chains.
    pub incarnation: Incarnation,
    /// Number of events.
    pub length: u64,
    /// Id of the last one.
    pub tip: EventId,
}

/// The first message of a member: the dialler's first, answered by one if the dialler is a member.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// The oldest version of the protocol the sender speaks. With the next field at this place in every version.
    pub version_min: u16,
    /// The newest version the sender speaks; both use the lesser of the two newest.
    pub version_max: u16,
    /// Which cluster it speaks of.
    pub cluster: ClusterId,
    /// What the sender calls itself, for people.
    pub name: Text<NAME_BYTES_MAX>,
    /// Version of its software, for people.
    pub software: Text<NAME_BYTES_MAX>,
    /// Where it can be dialled, as far as it knows.
    pub addresses: List<Text<ADDRESS_BYTES_MAX>, ADDRESSES_MAX>,
    /// What it holds of the receiver's own chains, newest first.
    pub held: List<Held, HELD_MAX>,
    /// Digest of its frontier; equal digests end the exchange.
    pub digest: Hash32,
}

/// The first message of somebody who wants in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JoinRequest {
    /// As in a hello.
    pub version_min: u16,
    /// As in a hello.
    pub version_max: u16,
    /// Which cluster.
    pub cluster: ClusterId,
    /// The invite's public key.
    pub invite_key: InviteKey,
    /// The invite key's signature over the cluster and the key that TLS proved ([`wfengine_storage_format::invite_statement`]).
    pub signature: Signature,
    /// What the joiner calls itself.
    pub name: Text<NAME_BYTES_MAX>,
    /// Labels of its system.
    pub system: List<Text<LABEL_BYTES_MAX>, LABELS_MAX>,
}

/// Why somebody was not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum JoinRefusal {
    /// No such invite is known to the answering node. It may be younger than what that node has heard.
    #[error(
        "the node that was asked does not know this invite; ask the node that made it, or wait a moment and try again"
    )]
    UnknownInvite,
    /// The invite admitted somebody else.
    #[error("the invite was used already; ask for a new one")]
    Used,
    /// The invite's time has passed.
    #[error("the invite has expired; ask for a new one")]
    Expired,
    /// The signature is not the invite key's.
    #[error("the invite's signature does not fit; copy the join line again")]
    Signature,
    /// The cluster has as many members as it can have.
    #[error("the cluster is full")]
    Full,
    /// The node cannot write at the moment.
    #[error("the node that was asked cannot admit anybody at the moment; try again")]
    Busy,
    /// The node must be upgraded before it may say who is a member.
    #[error("the node that was asked must be upgraded before it can admit anybody; ask one that is")]
    MustUpgrade,
}

/// What becomes of a join request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum JoinAnswer {
    /// The joiner is a member by this event, or has been one. The log follows by the ordinary exchange: it proves itself from the
    /// cluster's id on, so the joiner needs to trust nobody for it.
    Admitted(EventId),
    /// It is not.
    Refused(JoinRefusal),
}

/// Why a connection ends. The numbers are the close codes of the transport as well.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[repr(u32)]
pub enum ByeCode {
    /// The key is no member's, and no invite was presented.
    NotAMember = 64,
    /// The peer is of another cluster.
    WrongCluster = 65,
    /// No common version.
    Version = 66,
    /// The peer broke the protocol.
    Violation = 67,
    /// Another connection between the same two is kept.
    Duplicate = 68,
    /// The invite was refused.
    JoinRefused = 69,
    /// The peer broke the protocol not long ago.
    Banned = 70,
    /// The peer did not answer in time.
    Silent = 71,
    /// The peer is no member any more.
    Revoked = 72,
}

/// The last message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bye {
    /// Why.
    pub code: ByeCode,
    /// Why, for people.
    pub reason: Text<REASON_BYTES_MAX>,
}

/// What a node holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FrontierMessage {
    /// Open chains, sorted.
    pub open: List<ChainEntry, ENTRIES_MAX>,
    /// Fingerprint of all closed chains.
    pub closed: Hash32,
    /// Whether the receiver shall send its own.
    pub answer: bool,
}

/// A question about closed chains: is this what you have there?
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RangeAsk {
    /// Where.
    pub prefix: RangePrefix,
    /// What the asker has there.
    pub fingerprint: Hash32,
}

/// The answer for one range that differs; ranges that are equal are left out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RangeAnswer {
    /// The fingerprints of its sixteen parts.
    Parts(RangePrefix, Box<[Hash32; 16]>),
    /// All there is.
    Entries(RangePrefix, List<ChainEntry, RANGE_ENTRIES_MAX>),
}

/// A request for chunks of one chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NeedMessage {
    /// The asker's number, given back in the answers.
    pub need: u32,
    /// Which chain.
    pub chain: ChainId,
    /// The first event that is missing; the first chunk is of the frame that holds it.
    pub from_seq: u64,
    /// After how many bytes of chunks to stop.
    pub max_bytes: u32,
}

/// Chunks of consecutive frames.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChunksMessage {
    /// Which request they answer.
    pub need: u32,
    /// The chunks.
    pub chunks: List<Bytes<CHUNK_LEN_MAX>, CHUNKS_MAX>,
    /// Whether the request is answered herewith.
    pub last: bool,
}

/// A frame that has just become part of the sender's log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PushMessage {
    /// Its chain; known frames are recognised by these three without looking into the chunk.
    pub chain: ChainId,
    /// Its first event.
    pub first_seq: u64,
    /// The place after its last event.
    pub end_seq: u64,
    /// Its chunk.
    pub chunk: Bytes<CHUNK_LEN_MAX>,
}

/// What one node asks another, beyond the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Question {
    /// The output of a job the receiver runs, from this byte on.
    LogFollow {
        /// Which job.
        job: JobId,
        /// From where.
        offset: u64,
    },
    /// Whether the receiver holds an event and these blobs, durably.
    Holds {
        /// Which event.
        event: EventId,
        /// Which blobs.
        blobs: List<BlobId, BLOBS_HELD_MAX>,
    },
}

/// What it is told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// Output of the job.
    Log {
        /// Where these bytes stand.
        offset: u64,
        /// The bytes; none when there are no further yet.
        bytes: Bytes<BLOB_RANGE_BYTES_MAX>,
        /// Whether the output ends here.
        end: bool,
    },
    /// The receiver does not run that job.
    Unknown,
    /// The receiver will not say.
    Refused,
    /// Whether the receiver holds what was asked about.
    Holds {
        /// The event.
        event: bool,
        /// All of the blobs.
        blobs: bool,
    },
}

/// A message between two nodes. The order of the variants is the tag and never changes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Message {
    /// 0: greeting of members.
    Hello(Hello),
    /// 1: an invite is presented.
    JoinRequest(JoinRequest),
    /// 2: what became of it.
    JoinAnswer(JoinAnswer),
    /// 3: the connection ends.
    Bye(Bye),
    /// 4: the sender's frontier digest; answered by a frontier if it differs from the receiver's.
    Compare(Hash32),
    /// 5: what the sender holds.
    Frontier(FrontierMessage),
    /// 6: ranges of closed chains to compare.
    RangeAsk(List<RangeAsk, RANGES_MAX>),
    /// 7: those that differ.
    RangeAnswer(List<RangeAnswer, RANGES_MAX>),
    /// 8: chunks are asked for.
    Need(NeedMessage),
    /// 9: chunks that were asked for.
    Chunks(ChunksMessage),
    /// 10: a new frame.
    Push(PushMessage),
    /// 11: chains that grew, told to a slow reader in place of the frames.
    Notice(List<ChainEntry, ENTRIES_MAX>),
    /// 12: does the receiver have this blob?
    BlobWanted(BlobId),
    /// 13: how long it is, or that the sender does not have it.
    BlobHave(BlobId, Option<u64>),
    /// 14: a range of a blob is asked for: offset and length.
    BlobAsk(BlobId, u64, u32),
    /// 15: a range of a blob: its offset and bytes.
    BlobRange(BlobId, u64, Bytes<BLOB_RANGE_BYTES_MAX>),
    /// 16: blobs the sender would like the receiver to fetch, with their lengths.
    BlobOffer(List<(BlobId, u64), BLOB_OFFERS_MAX>),
    /// 17: a question, with the asker's number.
    Ask(u32, Question),
    /// 18: its answer.
    Answer(u32, Reply),
}

impl Message {
    /// The bytes to send. Messages made within the bounds of their types are short enough.
    pub fn encode(&self) -> Vec<u8> {
        #[expect(
            clippy::expect_used,
            reason = "postcard into a growing vector fails only for types this crate does not have"
        )]
        postcard::to_stdvec(self).expect("BUG: a message cannot be encoded")
    }

    /// Reads a message of somebody whose hello was accepted.
    ///
    /// # Errors
    /// [`MessageError`]; the sender broke the protocol.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        Self::decode_within(bytes, MESSAGE_BYTES_MAX)
    }

    /// Reads the first message of a connection. Tells a peer of another version from one that talks nonsense.
    ///
    /// # Errors
    /// [`MessageError`]; of any but [`MessageError::Version`] the sender is to blame.
    pub fn decode_first(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > FIRST_MESSAGE_BYTES_MAX {
            return Err(MessageError::TooLong { len: bytes.len(), len_max: FIRST_MESSAGE_BYTES_MAX });
        }
        if let (Some(0 | 1), Ok(((min, max), _))) =
            (bytes.first(), postcard::take_from_bytes::<(u16, u16)>(bytes.get(1..).unwrap_or_default()))
            && agreed_version(min, max).is_none()
        {
            return Err(MessageError::Version { min, max });
        }
        Self::decode_within(bytes, FIRST_MESSAGE_BYTES_MAX)
    }

    fn decode_within(bytes: &[u8], len_max: usize) -> Result<Self, MessageError> {
        if bytes.len() > len_max {
            return Err(MessageError::TooLong { len: bytes.len(), len_max });
        }
        match postcard::take_from_bytes(bytes) {
            Ok((message, [])) => Ok(message),
            Ok((_, rest)) => Err(MessageError::Trailing { len: rest.len() }),
            Err(error) => Err(MessageError::Malformed { detail: error.to_string() }),
        }
    }

    /// What kind of message it is, for messages to people.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::JoinRequest(_) => "join request",
            Self::JoinAnswer(_) => "join answer",
            Self::Bye(_) => "bye",
            Self::Compare(_) => "compare",
            Self::Frontier(_) => "frontier",
            Self::RangeAsk(_) => "range question",
            Self::RangeAnswer(_) => "range answer",
            Self::Need(_) => "need",
            Self::Chunks(_) => "chunks",
            Self::Push(_) => "push",
            Self::Notice(_) => "notice",
            Self::BlobWanted(_) => "blob wanted",
            Self::BlobHave(..) => "blob have",
            Self::BlobAsk(..) => "blob question",
            Self::BlobRange(..) => "blob range",
            Self::BlobOffer(_) => "blob offer",
            Self::Ask(..) => "question",
            Self::Answer(..) => "answer",
        }
    }
}

/// The version two nodes use: the lesser of their newest, if both speak it.
pub fn agreed_version(peer_min: u16, peer_max: u16) -> Option<u16> {
    let version = peer_max.min(VERSION_MAX);
    (version >= VERSION_MIN && version >= peer_min && peer_min <= peer_max).then_some(version)
}

/// What travels as a datagram: it may be lost, doubled or late.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Datagram<'a> {
    /// A beat of the peer's scheduler.
    Beat(&'a [u8]),
    /// A packet of the failure detector.
    Swim(&'a [u8]),
}

impl<'a> Datagram<'a> {
    /// The bytes to send: one that says which, then the content. `None` when it fits no datagram.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let (kind, content) = match self {
            Self::Beat(content) => (0, content),
            Self::Swim(content) => (1, content),
        };
        (content.len() < DATAGRAM_BYTES_MAX).then(|| [&[kind], *content].concat())
    }

    /// Reads a datagram. `None`: neither; datagrams are dropped, not punished.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() > DATAGRAM_BYTES_MAX {
            return None;
        }
        match bytes.split_first()? {
            (0, content) => Some(Self::Beat(content)),
            (1, content) => Some(Self::Swim(content)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wfengine_storage_format::PeerId;

    fn chain() -> ChainId {
        ChainId { author: PeerId::from_bytes([1; 32]), incarnation: Incarnation::from_bytes([2; 16]) }
    }

    fn one_of_each() -> Vec<Message> {
        let entry =
            ChainEntry { chain: chain(), length: 300, tip: EventId::from_bytes([3; 32]), height: 400 };
        let blob = BlobId::from_bytes([4; 32]);
        let invite = wfengine_storage_format::Signer::from_seed(&[5; 32]);
        let cluster = ClusterId::from_bytes([6; 32]);
        let held = Held { incarnation: chain().incarnation, length: 9, tip: entry.tip };
        vec![
            Message::Hello(Hello {
                version_min: 1,
                version_max: 1,
                cluster,
                name: Text::truncated("n"),
                software: Text::truncated("s"),
                addresses: List::truncated([Text::truncated("host:1")]),
                held: List::truncated([held]),
                digest: [7; 32],
            }),
            Message::JoinRequest(JoinRequest {
                version_min: 1,
                version_max: 1,
                cluster,
                invite_key: InviteKey::of(&invite),
                signature: invite.sign(b"x"),
                name: Text::truncated("n"),
                system: List::truncated([Text::truncated("linux")]),
            }),
            Message::JoinAnswer(JoinAnswer::Refused(JoinRefusal::Used)),
            Message::Bye(Bye { code: ByeCode::Duplicate, reason: Text::truncated("why") }),
            Message::Compare([8; 32]),
            Message::Frontier(FrontierMessage {
                open: List::truncated([entry]),
                closed: [9; 32],
                answer: true,
            }),
            Message::RangeAsk(List::truncated([RangeAsk { prefix: RangePrefix::ALL, fingerprint: [1; 32] }])),
            Message::RangeAnswer(List::truncated([RangeAnswer::Parts(
                RangePrefix::ALL,
                Box::new([[2; 32]; 16]),
            )])),
            Message::Need(NeedMessage { need: 1, chain: chain(), from_seq: 2, max_bytes: 3 }),
            Message::Chunks(ChunksMessage {
                need: 1,
                chunks: List::truncated([Bytes::try_from(vec![1, 2]).unwrap()]),
                last: true,
            }),
            Message::Push(PushMessage {
                chain: chain(),
                first_seq: 1,
                end_seq: 2,
                chunk: Bytes::try_from(vec![3]).unwrap(),
            }),
            Message::Notice(List::truncated([entry])),
            Message::BlobWanted(blob),
            Message::BlobHave(blob, Some(5)),
            Message::BlobAsk(blob, 6, 7),
            Message::BlobRange(blob, 8, Bytes::try_from(vec![9]).unwrap()),
            Message::BlobOffer(List::truncated([(blob, 10)])),
            Message::Ask(11, Question::LogFollow { job: JobId::from_bytes([1; 32]), offset: 12 }),
            Message::Answer(13, Reply::Unknown),
        ]
    }

    #[test]
    fn each_message_has_its_tag_and_survives_its_bytes() {
        for (tag, message) in one_of_each().into_iter().enumerate() {
            let bytes = message.encode();
            assert_eq!(usize::from(bytes[0]), tag, "{}", message.name());
            assert_eq!(Message::decode(&bytes), Ok(message));
            let mut longer = bytes.clone();
            longer.push(0);
            assert_eq!(Message::decode(&longer), Err(MessageError::Trailing { len: 1 }));
            for len in 0..bytes.len() {
                assert!(Message::decode(&bytes[..len]).is_err());
            }
        }
        assert!(matches!(Message::decode(&[19]), Err(MessageError::Malformed { .. })));
    }

    #[test]
    fn no_list_text_or_byte_string_is_read_beyond_its_bound() {
        let two: List<u8, 3> = vec![1, 2].try_into().unwrap();
        let four = postcard::to_stdvec(&vec![1u8, 2, 3, 4]).unwrap();
        assert_eq!(postcard::from_bytes::<List<u8, 3>>(&postcard::to_stdvec(&two).unwrap()), Ok(two));
        assert!(postcard::from_bytes::<List<u8, 3>>(&four).is_err());
        assert!(postcard::from_bytes::<Bytes<3>>(&four).is_err());
        assert!(postcard::from_bytes::<Text<3>>(&postcard::to_stdvec("four").unwrap()).is_err());
        assert_eq!(List::<u8, 3>::try_from(vec![0; 4]), Err(MessageError::Bound { len: 4, len_max: 3 }));
        assert_eq!(&*Text::<3>::truncated("aéé"), "aé");
        // a list that announces four thousand million elements and holds none costs nothing
        let announced = [0xff, 0xff, 0xff, 0xff, 0x0f];
        assert!(postcard::from_bytes::<List<u64, 5_000>>(&announced).is_err());
    }

    #[test]
    fn versions_are_agreed_on_or_named() {
        assert_eq!(agreed_version(1, 1), Some(1));
        assert_eq!(agreed_version(1, 9), Some(1));
        assert_eq!(agreed_version(2, 9), None);
        assert_eq!(agreed_version(0, 0), None);
        assert_eq!(agreed_version(1, 0), None);
        let newer = [0, 2, 200, 1, 0xff, 0xff];
        assert_eq!(Message::decode_first(&newer), Err(MessageError::Version { min: 2, max: 200 }));
    }

    #[test]
    fn datagrams_are_told_apart_and_bounded() {
        for datagram in [Datagram::Beat(b"b"), Datagram::Swim(b"")] {
            assert_eq!(Datagram::decode(&datagram.encode().unwrap()), Some(datagram));
        }
        assert_eq!(Datagram::Beat(&[0; DATAGRAM_BYTES_MAX]).encode(), None);
        assert_eq!((Datagram::decode(&[]), Datagram::decode(&[2, 1])), (None, None));
        assert_eq!(Datagram::decode(&[0; DATAGRAM_BYTES_MAX + 1]), None);
    }
}
