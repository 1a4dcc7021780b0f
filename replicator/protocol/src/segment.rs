//! How a chain is cut into segments, and where its next frame goes.
//!
//! The cut follows from the lengths of the frames alone: the frame that would take a segment past
//! [`SEGMENT_FRAMES_MAX`] frames or [`SEGMENT_BYTES_MAX`] encoded frame bytes starts the next one. So every node cuts
//! every chain alike, without a word about it on the wire.
//!
//! Pure and small: it holds no frame, reads no log, verifies nothing. Frames must be given in chain order, none left
//! out; their signatures and links are the caller's business.
//!
//! Invariants: a segment holds at least one frame · segment numbers are dense from 0 · a cursor knows a last hash
//! exactly when its segment holds a frame.

use std::fmt;
use std::num::NonZeroU8;
use std::ops::Range;

use sha2::{Digest, Sha256};
use wfengine_storage_format::ChainId;
use wfengine_storage_format::limits::{FRAME_BYTES_MAX, SEGMENT_BYTES_MAX, SEGMENT_FRAMES_MAX};

use crate::chunk::{self, AcceptedChunk, ChangeHash, Chunk};
use crate::filter::{ParsedChunk, Rejected};

// A frame's index fits a byte, which `Place` builds on.
const _: () = assert!(SEGMENT_FRAMES_MAX == 256);
const _: () = assert!(SEGMENT_BYTES_MAX <= u32::MAX as usize);

/// Which segment of its chain, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SegmentNumber(pub u64);

impl fmt::Display for SegmentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The automerge actor of one segment's document, the author of all its changes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentActor([u8; 16]);

impl DocumentActor {
    /// The actor of this segment of this chain.
    pub fn of(chain: &ChainId, segment: SegmentNumber) -> Self {
        let digest = Sha256::new()
            .chain_update(b"wfengine/actor/v1")
            .chain_update(chain.author.as_bytes())
            .chain_update(chain.incarnation.as_bytes())
            .chain_update(segment.0.to_le_bytes())
            .finalize();
        let mut actor = [0; 16];
        actor.copy_from_slice(&digest[..16]);
        Self(actor)
    }

    /// The actor with these bytes, as claimed by a chunk.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The actor's bytes, as they stand in a change.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for DocumentActor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for DocumentActor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Where in its segment a frame goes, and what its change depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The segment's first frame: its change also creates the list.
    First,
    /// Any other frame.
    After {
        /// Index in the segment's list, 1..=255.
        index: NonZeroU8,
        /// Hash of the change that inserted the frame before.
        previous: ChangeHash,
    },
}

impl Place {
    /// Index in the segment's list, counted from 0.
    pub const fn index(&self) -> u8 {
        match self {
            Self::First => 0,
            Self::After { index, .. } => index.get(),
        }
    }

    /// The change this one depends on; none for the first.
    pub const fn previous(&self) -> Option<&ChangeHash> {
        match self {
            Self::First => None,
            Self::After { previous, .. } => Some(previous),
        }
    }
}

/// The segment a frame falls into, and its place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The segment.
    pub segment: SegmentNumber,
    /// The place in it.
    pub place: Place,
}

/// A frame that no segment can hold. Nothing was written; no correct node seals such a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {len} bytes fits no segment: frames are 1..={FRAME_BYTES_MAX} bytes long")]
pub struct FrameLength {
    /// The length that was offered.
    pub len: usize,
}

/// How far a chain has been cut: all that is needed to place its next frame, in 48 bytes.
///
/// A cursor only ever moves forward, by [`append`](Self::append) (own frames, and frames read from the log) or
/// [`accept`](Self::accept) (chunks of a peer). Copy it to look ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentCursor {
    segment: SegmentNumber,
    frames: u32,
    bytes: u32,
    last_hash: ChangeHash,
}

impl SegmentCursor {
    /// Bytes of a stored cursor.
    pub const ENCODED_LEN: usize = 48;

    /// Before the first frame of a chain.
    pub const START: Self = Self::at_segment(SegmentNumber(0));

    /// Before the first frame of a segment. Its first frame is known to start it, so nothing before it is needed.
    pub const fn at_segment(segment: SegmentNumber) -> Self {
        Self { segment, frames: 0, bytes: 0, last_hash: ChangeHash::from_bytes([0; 32]) }
    }

    /// The segment the last frame went to.
    pub const fn segment(&self) -> SegmentNumber {
        self.segment
    }

    /// Frames in that segment so far, which is the index of the next frame unless that starts a new segment.
    pub const fn frames(&self) -> u32 {
        self.frames
    }

    /// Encoded frame bytes in that segment so far.
    pub const fn bytes(&self) -> u32 {
        self.bytes
    }

    /// The only head of that segment's document; none before its first frame.
    pub fn last_hash(&self) -> Option<ChangeHash> {
        (self.frames > 0).then_some(self.last_hash)
    }

    /// Where the chain's next frame goes, if it is `frame_len` encoded bytes long.
    ///
    /// # Errors
    /// [`FrameLength`] when no segment can hold it.
    pub fn place(&self, frame_len: usize) -> Result<Slot, FrameLength> {
        if frame_len == 0 || frame_len > FRAME_BYTES_MAX {
            return Err(FrameLength { len: frame_len });
        }
        let fits = self.bytes as usize + frame_len <= SEGMENT_BYTES_MAX;
        // 256 frames are no index of a byte: the full segment falls out of the same match as the full bytes.
        let index = u8::try_from(self.frames).ok().filter(|_| fits);
        Ok(match index.map(NonZeroU8::new) {
            Some(None) => Slot { segment: self.segment, place: Place::First },
            Some(Some(index)) => {
                Slot { segment: self.segment, place: Place::After { index, previous: self.last_hash } }
            }
            None => Slot { segment: SegmentNumber(self.segment.0.saturating_add(1)), place: Place::First },
        })
    }

    /// Whether a next frame of this length would leave the cursor's segment, which holds some already.
    pub(crate) fn would_start_next(&self, frame_len: usize) -> bool {
        self.place(frame_len).is_ok_and(|slot| slot.segment != self.segment)
    }

    /// Goes past a frame of this length without computing its chunk: for whoever only asks where segments begin. The hash is lost, so
    /// chunks cannot be appended before the next segment.
    ///
    /// # Errors
    /// [`FrameLength`] when no frame has this length.
    pub fn pass(&mut self, frame_len: usize) -> Result<Slot, FrameLength> {
        let slot = self.place(frame_len)?;
        self.advance(slot, frame_len, ChangeHash::from_bytes([0; 32]));
        Ok(slot)
    }

    /// Encodes the chain's next frame as its change chunk and moves past it.
    ///
    /// # Errors
    /// [`FrameLength`] when no segment can hold it; the cursor stays where it was.
    pub fn append(&mut self, chain: &ChainId, frame: &[u8]) -> Result<Chunk, FrameLength> {
        let slot = self.place(frame.len())?;
        let chunk = chunk::encode(DocumentActor::of(chain, slot.segment), slot.place, frame)?;
        self.advance(slot, frame.len(), chunk.hash());
        Ok(chunk)
    }

    /// As [`append`](Self::append), with the chunk's bytes appended to `out`; returns the change's hash.
    ///
    /// # Errors
    /// [`FrameLength`] when no segment can hold it; cursor and `out` are as they were.
    pub fn append_into(
        &mut self,
        chain: &ChainId,
        frame: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<ChangeHash, FrameLength> {
        let slot = self.place(frame.len())?;
        let hash = chunk::encode_into(out, DocumentActor::of(chain, slot.segment), slot.place, frame)?;
        self.advance(slot, frame.len(), hash);
        Ok(hash)
    }

    /// Takes a peer's chunk for the chain's next frame, if it is byte for byte the one this node would have made of
    /// `frame`, and moves past it. Otherwise the cursor stays where it was.
    ///
    /// `frame` is what the caller verified: signature, chain, limits, and that it follows the frame before.
    ///
    /// # Errors
    /// [`Rejected`] names the first difference; the peer that sent the chunk broke the protocol.
    pub fn accept<'a>(
        &mut self,
        chain: &ChainId,
        chunk: &ParsedChunk<'a>,
        frame: &[u8],
    ) -> Result<AcceptedChunk<'a>, Rejected> {
        let slot = self.place(frame.len()).map_err(|error| Rejected::FrameLength { len: error.len })?;
        self.accept_in(slot, DocumentActor::of(chain, slot.segment), chunk, frame)
    }

    /// As [`accept`](Self::accept), for a document whose chain nobody has told yet.
    pub(crate) fn accept_as<'a>(
        &mut self,
        actor: DocumentActor,
        chunk: &ParsedChunk<'a>,
        frame: &[u8],
    ) -> Result<AcceptedChunk<'a>, Rejected> {
        let slot = self.place(frame.len()).map_err(|error| Rejected::FrameLength { len: error.len })?;
        self.accept_in(slot, actor, chunk, frame)
    }

    fn accept_in<'a>(
        &mut self,
        slot: Slot,
        actor: DocumentActor,
        chunk: &ParsedChunk<'a>,
        frame: &[u8],
    ) -> Result<AcceptedChunk<'a>, Rejected> {
        let accepted = chunk.matches_rebuilt(actor, slot.place, frame)?;
        self.advance(slot, frame.len(), accepted.hash());
        Ok(accepted)
    }

    fn advance(&mut self, slot: Slot, frame_len: usize, hash: ChangeHash) {
        let before = match slot.place {
            Place::First => 0,
            Place::After { .. } => self.bytes,
        };
        *self = Self {
            segment: slot.segment,
            frames: u32::from(slot.place.index()) + 1,
            // At most SEGMENT_BYTES_MAX, because `place` gave the slot.
            bytes: before + frame_len as u32,
            last_hash: hash,
        };
    }

    /// The cursor as it is stored: segment (u64 LE), frames (u32 LE), bytes (u32 LE), last hash (32 bytes).
    pub fn to_bytes(&self) -> [u8; Self::ENCODED_LEN] {
        let mut out = [0; Self::ENCODED_LEN];
        out[..8].copy_from_slice(&self.segment.0.to_le_bytes());
        out[8..12].copy_from_slice(&self.frames.to_le_bytes());
        out[12..16].copy_from_slice(&self.bytes.to_le_bytes());
        out[16..].copy_from_slice(self.last_hash.as_bytes());
        out
    }

    /// Reads a stored cursor. `None` means it is damaged: cut the chain again from its start, or from a segment's.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (segment, rest) = bytes.split_first_chunk::<8>()?;
        let (frames, rest) = rest.split_first_chunk::<4>()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let cursor = Self {
            segment: SegmentNumber(u64::from_le_bytes(*segment)),
            frames: u32::from_le_bytes(*frames),
            bytes: u32::from_le_bytes(*len),
            last_hash: ChangeHash::from_bytes(rest.try_into().ok()?),
        };
        let sound = if cursor.frames == 0 {
            cursor == Self::at_segment(cursor.segment)
        } else {
            cursor.frames as usize <= SEGMENT_FRAMES_MAX
                && cursor.bytes >= cursor.frames
                && cursor.bytes as usize <= SEGMENT_BYTES_MAX
        };
        sound.then_some(cursor)
    }
}

/// Cuts a whole chain: for each segment, which of the chain's frames it holds. The segment's number is its place in the
/// list.
///
/// # Errors
/// [`FrameLength`] for the first frame that no segment can hold.
pub fn segments_of(frame_lens: impl IntoIterator<Item = usize>) -> Result<Vec<Range<usize>>, FrameLength> {
    let mut cursor = SegmentCursor::START;
    let mut segments: Vec<Range<usize>> = Vec::new();
    for (at, len) in frame_lens.into_iter().enumerate() {
        match (cursor.pass(len)?.place, segments.last_mut()) {
            (Place::After { .. }, Some(segment)) => segment.end = at + 1,
            _ => segments.push(at..at + 1),
        }
    }
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use wfengine_storage_format::{Incarnation, PeerId};

    const CHAIN: ChainId =
        ChainId { author: PeerId::from_bytes([7; 32]), incarnation: Incarnation::from_bytes([9; 16]) };

    fn cut(frame_lens: &[usize]) -> Vec<(u64, u8)> {
        let mut cursor = SegmentCursor::START;
        frame_lens
            .iter()
            .map(|len| {
                let slot = cursor.place(*len).unwrap();
                let frame = vec![0x5a; *len];
                cursor.append(&CHAIN, &frame).unwrap();
                (slot.segment.0, slot.place.index())
            })
            .collect()
    }

    #[test]
    fn the_frame_after_256_starts_the_next_segment() {
        let slots = cut(&[1; 600]);
        assert_eq!(slots[255], (0, 255));
        assert_eq!(slots[256], (1, 0));
        assert_eq!(slots[511], (1, 255));
        assert_eq!(slots[512], (2, 0));
        assert_eq!(segments_of([1; 600]), Ok(vec![0..256, 256..512, 512..600]));
    }

    #[test]
    fn the_frame_that_would_pass_512_kib_starts_the_next_segment() {
        let half = FRAME_BYTES_MAX;
        assert_eq!(cut(&[half, half, 1]), [(0, 0), (0, 1), (1, 0)]);
        assert_eq!(cut(&[half, half - 1, 1, 1]), [(0, 0), (0, 1), (0, 2), (1, 0)]);
        assert_eq!(cut(&[1, half, half]), [(0, 0), (0, 1), (1, 0)]);
    }

    #[test]
    fn no_segment_takes_an_empty_or_oversized_frame() {
        for len in [0, FRAME_BYTES_MAX + 1, usize::MAX] {
            assert_eq!(SegmentCursor::START.place(len), Err(FrameLength { len }));
        }
        let mut cursor = SegmentCursor::START;
        assert!(cursor.append(&CHAIN, &[]).is_err());
        assert_eq!(cursor, SegmentCursor::START);
    }

    #[test]
    fn each_segment_of_each_chain_has_its_own_actor() {
        let other = ChainId { incarnation: Incarnation::from_bytes([10; 16]), ..CHAIN };
        let actors = [
            DocumentActor::of(&CHAIN, SegmentNumber(0)),
            DocumentActor::of(&CHAIN, SegmentNumber(1)),
            DocumentActor::of(&other, SegmentNumber(0)),
        ];
        assert_eq!(actors[0], DocumentActor::of(&CHAIN, SegmentNumber(0)));
        assert!(actors[0] != actors[1] && actors[0] != actors[2] && actors[1] != actors[2]);
        // Pinned: it is part of the format, every node must derive the same.
        assert_eq!(actors[1].to_string(), "807d7e654a4bf85e6870fedf85fe8016");
    }

    #[test]
    fn a_stored_cursor_comes_back_and_a_damaged_one_does_not() {
        let mut cursor = SegmentCursor::START;
        assert_eq!(SegmentCursor::from_bytes(&cursor.to_bytes()), Some(cursor));
        for _ in 0..3 {
            cursor.append(&CHAIN, b"frame").unwrap();
            assert_eq!(SegmentCursor::from_bytes(&cursor.to_bytes()), Some(cursor));
        }
        let stored = cursor.to_bytes();
        let with_u32 = |at: usize, value: u32| {
            let mut damaged = stored;
            damaged[at..at + 4].copy_from_slice(&value.to_le_bytes());
            SegmentCursor::from_bytes(&damaged)
        };
        assert_eq!(with_u32(8, 0), None, "no frames, but bytes");
        assert_eq!(with_u32(8, 257), None, "too many frames");
        assert_eq!(with_u32(12, 2), None, "fewer bytes than frames");
        assert_eq!(with_u32(12, SEGMENT_BYTES_MAX as u32 + 1), None, "too many bytes");
        assert_eq!(SegmentCursor::from_bytes(&stored[..47]), None);
        assert_eq!(SegmentCursor::from_bytes(&[stored.as_slice(), &[0]].concat()), None);
    }

    proptest! {
        #[test]
        fn every_cut_keeps_the_limits_and_starts_a_segment_only_when_it_must(
            lens in prop::collection::vec(prop_oneof![1usize..400, 1usize..=FRAME_BYTES_MAX], 1..80),
        ) {
            let slots = cut(&lens);
            let mut bytes = 0;
            for (at, (segment, index)) in slots.iter().enumerate() {
                if *index == 0 {
                    let must = at == 0 || bytes + lens[at] > SEGMENT_BYTES_MAX || slots[at - 1].1 == 255;
                    prop_assert!(must);
                    prop_assert_eq!(*segment, if at == 0 { 0 } else { slots[at - 1].0 + 1 });
                    bytes = 0;
                } else {
                    prop_assert_eq!((*segment, *index), (slots[at - 1].0, slots[at - 1].1 + 1));
                }
                bytes += lens[at];
                prop_assert!(bytes <= SEGMENT_BYTES_MAX);
            }
        }
    }
}
