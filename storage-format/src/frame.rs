//! Frames: up to 256 consecutive events of one chain under one signature; the unit of commit and of exchange.
//!
//! `prev` chains the events, so the signature over a header that names the last id vouches for all of them. Foreign bytes
//! climb a ladder of types: [`SignedFrame::decode`] (bounded, canonical, well formed) → [`SignedFrame::verify`] (hashes and
//! signature) → [`VerifiedFrame`]. Whether the events fit into a log is for the log to say.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::codec::{CodecError, from_canonical, to_canonical, with_scratch};
use crate::event::{Event, Tip};
use crate::id::{BlobId, ChainId, ClusterId, EventId};
use crate::kind::Kind;
use crate::limits::{EVENT_BYTES_MAX, FRAME_BYTES_MAX, FRAME_EVENTS_MAX, REFS_MAX};
use crate::signature::{Signature, SignatureError, Signer};
use crate::wire::{Reader, put_chain, put_entry, put_list, put_option, put_tip, put_varint};

/// The format number at the start of every encoded frame.
const FORMAT: u8 = 1;
/// What an event adds to a frame at most beside its body, refs and blobs.
const ENTRY_OVERHEAD_MAX: usize = 32;
/// Shortest encoding of a tip.
const TIP_LEN_MIN: usize = 32 + 16 + 1 + 32;
/// Shortest encoding of an entry: one byte for each number and length.
const ENTRY_LEN_MIN: usize = 6;

/// Why bytes are not an acceptable frame. Nothing of it was kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not the canonical encoding of a frame.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// Written in a format this version does not read.
    #[error("the frame is of format {0}; this version reads format 1: upgrade wfengine")]
    Format(u8),
    /// The header's number of events is not the number of events, or out of range.
    #[error("the frame announces {announced} events and holds {held} (1 to 256 are allowed)")]
    Count {
        /// As the header says.
        announced: u16,
        /// As counted.
        held: usize,
    },
    /// An envelope breaks a rule.
    #[error("event {seq} of chain {chain}: {rule}")]
    Envelope {
        /// Whose chain.
        chain: ChainId,
        /// Which event.
        seq: u64,
        /// Which rule.
        rule: &'static str,
    },
    /// The events' hashes do not lead to the header's last id: something was altered.
    #[error("the events of chain {chain} from {first_seq} hash to {computed}, the header says {announced}")]
    Hash {
        /// Whose chain.
        chain: ChainId,
        /// The frame's first event.
        first_seq: u64,
        /// As computed.
        computed: EventId,
        /// As the header says.
        announced: EventId,
    },
    /// The signature is not the author's.
    #[error("frame of chain {chain} from {first_seq}: {reason}")]
    Signature {
        /// Whose chain.
        chain: ChainId,
        /// The frame's first event.
        first_seq: u64,
        /// What is wrong with it.
        reason: SignatureError,
    },
}

/// What a frame's author signs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FrameHeader {
    /// The cluster's id: keeps frames from being replayed into another cluster.
    pub cluster: ClusterId,
    /// The author's chain.
    pub chain: ChainId,
    /// Place of the frame's first event.
    pub first_seq: u64,
    /// Number of events.
    pub count: u16,
    /// `prev` of the first event.
    pub prev: Option<EventId>,
    /// Id of the last event.
    pub last: EventId,
}

impl FrameHeader {
    /// `"wfengine/frame/v1" ‖ canonical header`: the signed message.
    pub fn statement(&self) -> Vec<u8> {
        [b"wfengine/frame/v1".as_slice(), &to_canonical(self)].concat()
    }
    /// Place after the frame's last event.
    pub fn end_seq(&self) -> u64 {
        self.first_seq.saturating_add(u64::from(self.count))
    }
    /// The chain's tip after the frame.
    pub fn tip(&self) -> Tip {
        Tip { chain: self.chain, seq: self.end_seq().saturating_sub(1), id: self.last }
    }
    /// Whether both headers speak of a place with the same number.
    fn overlaps(&self, other: &Self) -> bool {
        self.first_seq < other.end_seq() && other.first_seq < self.end_seq()
    }
}

/// A header with its signature: half of a fork proof.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SignedHeader {
    /// What was signed.
    pub header: FrameHeader,
    /// By the chain's author.
    pub signature: Signature,
}

impl SignedHeader {
    /// Checks the author's signature.
    ///
    /// # Errors
    /// [`SignatureError`] when it is not the author's.
    pub fn verify(&self) -> Result<(), SignatureError> {
        self.signature.verify(&self.header.chain.author, &self.header.statement())
    }
}

/// Whether two signed headers prove that their author forked a chain. Returns the first place that is in doubt, the lower first
/// seq of the two. The signatures are the caller's to check.
///
/// An honest author signs each place in exactly one frame, once, and links it to the one before. So two headers of one chain
/// that overlap and differ are a proof, as are two different signatures of one header (the frames' bytes then differ), and two
/// adjacent headers of which the later names another `prev` than the earlier's last.
pub fn fork_between(a: &SignedHeader, b: &SignedHeader) -> Option<u64> {
    let (first, second) = (&a.header, &b.header);
    let one_chain = first.cluster == second.cluster && first.chain == second.chain;
    let contradicts = |earlier: &FrameHeader, later: &FrameHeader| {
        earlier.end_seq() == later.first_seq && later.prev != Some(earlier.last)
    };
    let forked =
        (a != b && first.overlaps(second)) || contradicts(first, second) || contradicts(second, first);
    (one_chain && forked).then(|| first.first_seq.min(second.first_seq))
}

/// One event inside a frame: what the header does not already say.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Entry {
    height: u64,
    time_ms: u64,
    refs: Vec<EventId>,
    blobs: Vec<BlobId>,
    kind: Kind,
    body: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Wire {
    format: u8,
    header: FrameHeader,
    signature: Signature,
    parents: Vec<Tip>,
    entries: Vec<Entry>,
}

impl Wire {
    /// Reads the canonical encoding. `None` for anything else.
    fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > FRAME_BYTES_MAX {
            return None;
        }
        let mut from = Reader::new(bytes);
        let wire = Self {
            format: from.byte()?,
            header: FrameHeader {
                cluster: from.cluster()?,
                chain: from.chain()?,
                first_seq: from.varint(64)?,
                count: u16::try_from(from.varint(16)?).ok()?,
                prev: from.option()?,
                last: from.id()?,
            },
            signature: Signature::from_bytes(&from.array()?),
            parents: from.list(TIP_LEN_MIN, Reader::tip)?,
            entries: from.list(ENTRY_LEN_MIN, Entry::read)?,
        };
        from.is_at_end().then_some(wire)
    }
}

impl Entry {
    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            height: from.varint(64)?,
            time_ms: from.varint(64)?,
            refs: from.list(32, Reader::id)?,
            blobs: from.list(32, Reader::blob)?,
            kind: from.kind()?,
            body: from.bytes()?,
        })
    }
}

/// A frame that is well formed. Nothing is known yet about its hashes and its signature.
#[derive(Clone, Debug)]
pub struct SignedFrame {
    wire: Wire,
    bytes: Arc<[u8]>,
}

impl SignedFrame {
    /// Reads a frame: bounded, canonical, as many events as announced. The envelope rules come after the signature.
    ///
    /// # Errors
    /// [`FrameError`]; the bytes are to be dropped.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        match bytes.first() {
            Some(&FORMAT) | None => {}
            Some(&other) => return Err(FrameError::Format(other)),
        }
        let wire = match Wire::read(bytes) {
            Some(wire) => wire,
            // only to say what is wrong
            None => from_canonical("a frame", bytes, FRAME_BYTES_MAX)?,
        };
        let held = wire.entries.len();
        if held == 0 || held > FRAME_EVENTS_MAX || held != usize::from(wire.header.count) {
            return Err(FrameError::Count { announced: wire.header.count, held });
        }
        if wire.header.first_seq.checked_add(u64::from(wire.header.count)).is_none() {
            return Err(FrameError::Envelope {
                chain: wire.header.chain,
                seq: wire.header.first_seq,
                rule: "sequence number out of range",
            });
        }
        Ok(Self { wire, bytes: Arc::from(bytes) })
    }

    /// The header and signature, as claimed.
    pub fn signed_header(&self) -> SignedHeader {
        SignedHeader { header: self.wire.header.clone(), signature: self.wire.signature }
    }

    /// The header, as claimed.
    pub fn header(&self) -> &FrameHeader {
        &self.wire.header
    }

    /// Checks hashes and signature.
    ///
    /// # Errors
    /// [`FrameError`] naming the chain and place that are wrong.
    pub fn verify(self) -> Result<VerifiedFrame, FrameError> {
        let header = &self.wire.header;
        self.wire.signature.verify(&header.chain.author, &header.statement()).map_err(|reason| {
            FrameError::Signature { chain: header.chain, first_seq: header.first_seq, reason }
        })?;
        self.trust_signature()
    }

    /// Checks the hashes alone, for frames whose signature this node has checked before it stored them.
    ///
    /// # Errors
    /// [`FrameError`] naming the chain and place that are wrong.
    pub fn trust_signature(self) -> Result<VerifiedFrame, FrameError> {
        let Wire { header, signature, parents, entries, .. } = self.wire;
        let (mut prev, mut parents) = (header.prev, Some(parents));
        let mut events = Vec::with_capacity(entries.len());
        // entries first: the range must not be asked for a number after the last event, there may be none
        for (entry, seq) in entries.into_iter().zip(header.first_seq..) {
            let event = Event {
                chain: header.chain,
                seq,
                prev,
                parents: parents.take().unwrap_or_default(),
                height: entry.height,
                time_ms: entry.time_ms,
                refs: entry.refs,
                blobs: entry.blobs,
                kind: entry.kind,
                body: entry.body,
            };
            if let Some(rule) = event.broken_rule() {
                return Err(FrameError::Envelope { chain: header.chain, seq, rule });
            }
            let id = event.id();
            prev = Some(id);
            events.push((id, event));
        }
        let computed = prev.unwrap_or(header.last);
        if computed != header.last {
            return Err(FrameError::Hash {
                chain: header.chain,
                first_seq: header.first_seq,
                computed,
                announced: header.last,
            });
        }
        Ok(VerifiedFrame { header, signature, events, bytes: self.bytes })
    }
}

/// A frame whose hashes and signature are right: the only kind a log admits.
#[derive(Clone, Debug)]
pub struct VerifiedFrame {
    header: FrameHeader,
    signature: Signature,
    events: Vec<(EventId, Event)>,
    bytes: Arc<[u8]>,
}

impl VerifiedFrame {
    /// What its author signed.
    pub fn header(&self) -> &FrameHeader {
        &self.header
    }
    /// The header with its signature, for fork proofs and tip lists.
    pub fn signed_header(&self) -> SignedHeader {
        SignedHeader { header: self.header.clone(), signature: self.signature }
    }
    /// The events in chain order with their ids; never empty.
    pub fn events(&self) -> &[(EventId, Event)] {
        &self.events
    }
    /// Takes the events.
    pub fn into_events(self) -> Vec<(EventId, Event)> {
        self.events
    }
    /// Takes what was signed and the events.
    pub fn into_parts(self) -> (SignedHeader, Vec<(EventId, Event)>) {
        (SignedHeader { header: self.header, signature: self.signature }, self.events)
    }
    /// The encoded frame.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }
    /// The chain's tip after this frame.
    pub fn tip(&self) -> Tip {
        self.header.tip()
    }
}

/// Collects consecutive events of the node's own chain and signs them.
#[derive(Debug)]
#[must_use = "events that are not signed are in no frame"]
pub struct FrameBuilder {
    header: FrameHeader,
    parents: Vec<Tip>,
    events: Vec<(EventId, Event)>,
    bytes_len: usize,
}

impl FrameBuilder {
    /// Starts a frame at `first_seq` after `prev`. `cluster` is `None` for the frame that founds a cluster: its first event's
    /// id is then the cluster.
    pub fn new(
        cluster: Option<ClusterId>,
        chain: ChainId,
        first_seq: u64,
        prev: Option<EventId>,
        parents: Vec<Tip>,
    ) -> Self {
        let unset = EventId::from_bytes([0; 32]);
        let header = FrameHeader {
            cluster: cluster.unwrap_or(ClusterId::from(unset)),
            chain,
            first_seq,
            count: 0,
            prev,
            last: prev.unwrap_or(unset),
        };
        let bytes_len = 256 + parents.len() * 96;
        Self { header, parents, events: Vec::new(), bytes_len }
    }

    /// Whether one more event with a body and this many blobs fits.
    pub fn fits(&self, body_len: usize, blobs: usize) -> bool {
        let entry_len = ENTRY_OVERHEAD_MAX + REFS_MAX * 32 + blobs * 32 + body_len;
        self.events.len() < FRAME_EVENTS_MAX
            && body_len <= EVENT_BYTES_MAX
            && self.bytes_len + entry_len <= FRAME_BYTES_MAX
    }

    /// Adds an event and says its id. The caller has asked [`FrameBuilder::fits`] and computed the height.
    pub fn push(
        &mut self,
        height: u64,
        time_ms: u64,
        refs: Vec<EventId>,
        blobs: Vec<BlobId>,
        kind: Kind,
        body: Vec<u8>,
    ) -> EventId {
        let event = Event {
            chain: self.header.chain,
            seq: self.header.end_seq(),
            prev: self.events.last().map_or(self.header.prev, |(id, _)| Some(*id)),
            parents: if self.events.is_empty() { self.parents.clone() } else { Vec::new() },
            height,
            time_ms,
            refs,
            blobs,
            kind,
            body,
        };
        self.bytes_len +=
            ENTRY_OVERHEAD_MAX + event.refs.len() * 32 + event.blobs.len() * 32 + event.body.len();
        let id = event.id();
        if self.header.count == 0 && self.header.cluster.as_bytes() == &[0; 32] {
            self.header.cluster = ClusterId::from(id);
        }
        self.header.count += 1;
        self.header.last = id;
        self.events.push((id, event));
        id
    }

    /// The events so far.
    pub fn events(&self) -> &[(EventId, Event)] {
        &self.events
    }

    /// Signs and encodes. `None` when nothing was pushed.
    pub fn sign(self, signer: &Signer) -> Option<VerifiedFrame> {
        if self.events.is_empty() {
            return None;
        }
        let signature = signer.sign(&self.header.statement());
        let write = |out: &mut Vec<u8>| {
            let header = &self.header;
            out.push(FORMAT);
            out.extend_from_slice(header.cluster.as_bytes());
            put_chain(out, &header.chain);
            put_varint(out, header.first_seq);
            put_varint(out, u64::from(header.count));
            put_option(out, header.prev.as_ref());
            out.extend_from_slice(header.last.as_bytes());
            out.extend_from_slice(&signature.to_bytes());
            put_list(out, &self.parents, put_tip);
            put_list(out, &self.events, |out, (_, event)| put_entry(out, event));
        };
        let bytes: Arc<[u8]> = with_scratch(write, |bytes| Arc::from(bytes));
        Some(VerifiedFrame { header: self.header, signature, events: self.events, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Incarnation, PeerId};

    fn frame_of(count: usize, signer: &Signer) -> VerifiedFrame {
        let chain = ChainId { author: signer.peer_id(), incarnation: Incarnation::from_bytes([3; 16]) };
        let mut builder = FrameBuilder::new(None, chain, 0, None, Vec::new());
        for n in 0..count {
            assert!(builder.fits(5, 0));
            builder.push(n as u64 + 1, 1_000, vec![], vec![], Kind::from_number(0x7000), vec![n as u8; 5]);
        }
        builder.sign(signer).unwrap()
    }

    #[test]
    fn both_readers_of_a_frame_agree_on_every_damaged_byte() {
        let signer = Signer::from_seed(&[1; 32]);
        let bytes = frame_of(3, &signer).bytes().to_vec();
        let agree = |bytes: &[u8]| {
            let slow = from_canonical::<Wire>("a frame", bytes, FRAME_BYTES_MAX).ok();
            assert_eq!(Wire::read(bytes), slow);
            if let Some(wire) = slow {
                assert_eq!(to_canonical(&wire), bytes);
            }
        };
        agree(&bytes);
        for place in 0..bytes.len() {
            agree(&bytes[..place]);
            for value in [0, 1, 2, 0x7f, 0x80, 0xff, bytes[place] ^ 1, bytes[place] ^ 0x80] {
                let mut damaged = bytes.clone();
                damaged[place] = value;
                agree(&damaged);
                damaged.insert(place, value);
                agree(&damaged);
                damaged.remove(place);
                damaged.remove(place);
                agree(&damaged);
            }
        }
        agree(&[bytes.as_slice(), &[0]].concat());
    }

    #[test]
    fn a_frame_survives_its_bytes() {
        let signer = Signer::from_seed(&[1; 32]);
        for count in [1, 2, 256] {
            let frame = frame_of(count, &signer);
            let again = SignedFrame::decode(frame.bytes()).unwrap().verify().unwrap();
            assert_eq!(again.events(), frame.events());
            assert_eq!(again.header(), frame.header());
            assert_eq!(again.header().cluster.as_bytes(), frame.events()[0].0.as_bytes());
        }
    }

    #[test]
    fn any_flipped_bit_is_found() {
        let signer = Signer::from_seed(&[1; 32]);
        let bytes = frame_of(3, &signer).bytes().to_vec();
        for position in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1 << (position % 8);
            let outcome = SignedFrame::decode(&damaged).and_then(SignedFrame::verify);
            assert!(outcome.is_err(), "byte {position} was flipped unnoticed");
        }
        for len in 0..bytes.len() {
            assert!(SignedFrame::decode(&bytes[..len]).is_err());
        }
    }

    #[test]
    fn another_authors_signature_is_refused() {
        let (alice, bob) = (Signer::from_seed(&[1; 32]), Signer::from_seed(&[2; 32]));
        let frame = frame_of(1, &alice);
        let mut wire = SignedFrame::decode(frame.bytes()).unwrap().wire;
        wire.signature = bob.sign(&wire.header.statement());
        let outcome = SignedFrame::decode(&to_canonical(&wire)).unwrap().verify();
        assert!(matches!(outcome, Err(FrameError::Signature { .. })));
    }

    #[test]
    fn overlapping_headers_that_differ_prove_a_fork() {
        let signer = Signer::from_seed(&[1; 32]);
        let (short, long) = (frame_of(2, &signer), frame_of(3, &signer));
        assert_eq!(fork_between(&short.signed_header(), &long.signed_header()), Some(0));
        assert_eq!(fork_between(&short.signed_header(), &short.signed_header()), None);
        let mut elsewhere = long.signed_header();
        elsewhere.header.chain.author = PeerId::from_bytes([9; 32]);
        assert_eq!(fork_between(&short.signed_header(), &elsewhere), None);
        let mut next = short.signed_header();
        (next.header.first_seq, next.header.prev) = (2, Some(short.header().last));
        assert_eq!(fork_between(&short.signed_header(), &next), None);
        next.header.prev = Some(long.header().last);
        assert_eq!(fork_between(&short.signed_header(), &next), Some(0), "adjacent headers that do not link");
        let mut twice = short.signed_header();
        twice.signature = long.signed_header().signature;
        assert_eq!(fork_between(&short.signed_header(), &twice), Some(0), "one header, two signatures");
        assert!(long.signed_header().verify().is_ok());
    }

    #[test]
    fn a_frame_of_another_format_says_upgrade() {
        let mut bytes = frame_of(1, &Signer::from_seed(&[1; 32])).bytes().to_vec();
        bytes[0] = 2;
        assert_eq!(SignedFrame::decode(&bytes).unwrap_err(), FrameError::Format(2));
    }

    #[test]
    fn the_greatest_places_of_a_chain_are_read_and_the_one_after_them_is_refused() {
        let signer = Signer::from_seed(&[1; 32]);
        let chain = ChainId { author: signer.peer_id(), incarnation: Incarnation::from_bytes([3; 16]) };
        let prev = Some(EventId::from_bytes([1; 32]));
        let frame_at = |first_seq| {
            let mut builder = FrameBuilder::new(None, chain, first_seq, prev, vec![]);
            builder.push(1, 0, vec![], vec![], Kind::from_number(1), vec![]);
            SignedFrame::decode(builder.sign(&signer).unwrap().bytes()).and_then(SignedFrame::verify)
        };
        assert_eq!(frame_at(u64::MAX - 1).unwrap().tip().seq, u64::MAX - 1);
        assert!(matches!(
            frame_at(u64::MAX),
            Err(FrameError::Envelope { rule: "sequence number out of range", .. })
        ));
    }

    #[test]
    fn a_parent_of_the_own_chain_or_a_missing_prev_is_refused() {
        let signer = Signer::from_seed(&[1; 32]);
        let chain = ChainId { author: signer.peer_id(), incarnation: Incarnation::from_bytes([3; 16]) };
        let own = Tip { chain, seq: 0, id: EventId::from_bytes([1; 32]) };
        let mut builder = FrameBuilder::new(None, chain, 0, None, vec![own]);
        builder.push(1, 0, vec![], vec![], Kind::from_number(1), vec![]);
        let bytes = builder.sign(&signer).unwrap().bytes().to_vec();
        assert!(matches!(
            SignedFrame::decode(&bytes).unwrap().verify(),
            Err(FrameError::Envelope { rule: "a parent is of the event's own chain", .. })
        ));
        let mut builder = FrameBuilder::new(None, chain, 5, None, vec![]);
        builder.push(1, 0, vec![], vec![], Kind::from_number(1), vec![]);
        let bytes = builder.sign(&signer).unwrap().bytes().to_vec();
        assert!(matches!(
            SignedFrame::decode(&bytes).unwrap().verify(),
            Err(FrameError::Envelope { rule: "prev is missing", .. })
        ));
    }
}
