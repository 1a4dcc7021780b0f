//! The change chunk of a frame: exactly the bytes automerge itself would write, made without automerge.
//!
//! Stateless but for the hash of the change before, so catching up and serving a peer need no document. Only this one
//! shape is known: an insert of one bytes value at the end of the list `frames`, uncompressed, time 0, no message; the
//! first change of a document creates that list as well. Reading foreign bytes is `filter`'s task.
//!
//! Invariants: the same (actor, place, frame) gives the same bytes on every node · the hash is that of the bytes ·
//! a chunk is longer than its frame by at most [`CHUNK_OVERHEAD_MAX`].

use std::fmt;

use sha2::{Digest, Sha256};
use wfengine_storage_format::limits::FRAME_BYTES_MAX;

use crate::segment::{DocumentActor, FrameLength, Place};

/// Bytes a chunk adds to its frame, at most.
pub const CHUNK_OVERHEAD_MAX: usize = 110;

/// Bytes of one chunk, at most.
pub const CHUNK_LEN_MAX: usize = FRAME_BYTES_MAX + CHUNK_OVERHEAD_MAX;

/// The first bytes of every automerge chunk.
pub(crate) const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
/// The type of an uncompressed change, the only chunk there is here.
pub(crate) const TYPE_CHANGE: u8 = 1;
/// Where the checksum ends and the hashed part begins.
pub(crate) const HASHED_FROM: usize = 8;
/// Columns of a change, first or not; the eighth holds the frame.
pub(crate) const COLUMNS: usize = 9;
/// Which of the columns holds the frame.
pub(crate) const VALUE_COLUMN: usize = 7;

/// The root key of the list of frames.
pub const LIST_KEY: &str = "frames";

/// Hash of one automerge change: SHA-256 over its chunk from the type byte on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeHash([u8; 32]);

impl ChangeHash {
    /// The hash with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hash's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn checksum(&self) -> [u8; 4] {
        [self.0[0], self.0[1], self.0[2], self.0[3]]
    }
}

impl fmt::Debug for ChangeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ChangeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A chunk this node made of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    bytes: Vec<u8>,
    actor: DocumentActor,
    place: Place,
    hash: ChangeHash,
}

impl Chunk {
    /// The bytes to send.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes to send, without a copy.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Hash of the change, the document's only head after it.
    pub const fn hash(&self) -> ChangeHash {
        self.hash
    }

    /// The chunk as a document takes it: what this node made needs no filter.
    pub fn as_accepted(&self) -> AcceptedChunk<'_> {
        AcceptedChunk { bytes: &self.bytes, actor: self.actor, place: self.place, hash: self.hash }
    }
}

/// A chunk that equals the one this node makes of the same frame; only such bytes ever reach automerge.
///
/// Made by [`Chunk::as_accepted`] and by [`ParsedChunk::matches_rebuilt`](crate::filter::ParsedChunk::matches_rebuilt).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptedChunk<'a> {
    bytes: &'a [u8],
    actor: DocumentActor,
    place: Place,
    hash: ChangeHash,
}

impl<'a> AcceptedChunk<'a> {
    pub(crate) const fn new(bytes: &'a [u8], actor: DocumentActor, place: Place, hash: ChangeHash) -> Self {
        Self { bytes, actor, place, hash }
    }

    /// The chunk's bytes: what is relayed to others as it is.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The document it belongs to.
    pub const fn actor(&self) -> DocumentActor {
        self.actor
    }

    /// Its place there.
    pub const fn place(&self) -> Place {
        self.place
    }

    /// Hash of the change, the document's only head after it.
    pub const fn hash(&self) -> ChangeHash {
        self.hash
    }
}

/// Makes the chunk of one frame.
///
/// # Errors
/// [`FrameLength`] when the frame is empty or longer than a frame may be.
pub fn encode(actor: DocumentActor, place: Place, frame: &[u8]) -> Result<Chunk, FrameLength> {
    let mut bytes = Vec::with_capacity(frame.len() + CHUNK_OVERHEAD_MAX);
    let hash = encode_into(&mut bytes, actor, place, frame)?;
    Ok(Chunk { bytes, actor, place, hash })
}

/// Appends the chunk of one frame to `out` and returns the change's hash.
///
/// # Errors
/// [`FrameLength`] when the frame is empty or longer than a frame may be; `out` is as it was.
pub fn encode_into(
    out: &mut Vec<u8>,
    actor: DocumentActor,
    place: Place,
    frame: &[u8],
) -> Result<ChangeHash, FrameLength> {
    if frame.is_empty() || frame.len() > FRAME_BYTES_MAX {
        return Err(FrameLength { len: frame.len() });
    }
    let columns = columns(place.index(), frame.len());
    let start = out.len();
    out.extend_from_slice(head(actor, place, &columns, frame.len()).as_slice());
    out.extend_from_slice(frame);
    for column in &columns[VALUE_COLUMN + 1..] {
        out.extend_from_slice(column.body.as_slice());
    }
    let hash = hash_of(&out[start..]);
    out[start + MAGIC.len()..start + HASHED_FROM].copy_from_slice(&hash.checksum());
    Ok(hash)
}

/// The hash of a whole chunk. The checksum in front of the hashed part is not looked at.
pub(crate) fn hash_of(chunk: &[u8]) -> ChangeHash {
    ChangeHash(Sha256::digest(&chunk[HASHED_FROM..]).into())
}

/// Everything of a chunk that stands before the frame; the checksum is left zero.
pub(crate) fn head(
    actor: DocumentActor,
    place: Place,
    columns: &[Column; COLUMNS],
    frame_len: usize,
) -> Inline<CHUNK_OVERHEAD_MAX> {
    // What follows the chunk's own length: change fields, column table, column bodies.
    let mut fields = Inline::<CHUNK_OVERHEAD_MAX>::new();
    match place.previous() {
        None => fields.push(0),
        Some(previous) => {
            fields.push(1);
            fields.extend(previous.as_bytes());
        }
    }
    fields.unsigned(16);
    fields.extend(actor.as_bytes());
    fields.unsigned(seq(place.index()));
    fields.unsigned(start_op(place.index()));
    // Time, length of the message, number of other actors.
    fields.extend(&[0, 0, 0]);
    fields.unsigned(COLUMNS as u64);
    let mut bodies_len = 0;
    for (at, column) in columns.iter().enumerate() {
        let len = if at == VALUE_COLUMN { frame_len } else { column.body.as_slice().len() };
        fields.push(column.spec);
        fields.unsigned(len as u64);
        bodies_len += len;
    }

    let mut out = Inline::<CHUNK_OVERHEAD_MAX>::new();
    out.extend(&MAGIC);
    out.extend(&[0; 4]);
    out.push(TYPE_CHANGE);
    out.unsigned((fields.as_slice().len() + bodies_len) as u64);
    out.extend(fields.as_slice());
    for column in &columns[..VALUE_COLUMN] {
        out.extend(column.body.as_slice());
    }
    out
}

/// Number of a change in its document, counted from 1.
pub(crate) fn seq(index: u8) -> u64 {
    u64::from(index) + 1
}

/// Number of a change's first operation. The first change makes two: it creates the list (1) and inserts frame 0 (2).
pub(crate) fn start_op(index: u8) -> u64 {
    match index {
        0 => 1,
        _ => u64::from(index) + 2,
    }
}

/// What one column holds; the longest is the list's key.
type Body = Inline<10>;

/// One column of a change's operations.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    /// What the column is, for messages.
    pub(crate) name: &'static str,
    /// automerge's column specification: id in the upper bits, type in the lower.
    pub(crate) spec: u8,
    /// What it holds. Empty for the column that holds the frame.
    pub(crate) body: Body,
}

/// The columns of the change that inserts a frame of this length at this index.
///
/// Runs are automerge's run-length code: `n v` repeats v, `-n v…` is n literal values, `0 n` is n nulls. Columns that
/// would hold only nulls are absent, as automerge leaves them out.
pub(crate) fn columns(index: u8, frame_len: usize) -> [Column; COLUMNS] {
    const ONE: u8 = 0x7f;
    let column = |name, spec, body: &[u8]| {
        let mut bytes = Body::new();
        bytes.extend(body);
        Column { name, spec, body: bytes }
    };
    // Length of the value, and 7 for "bytes".
    let value_meta = ((frame_len as u64) << 4) | 7;
    let mut meta = Body::new();
    if index == 0 {
        // Operation 1: make a list (action 2, no value) at the root's key. Operation 2: insert (action 1) the frame at the
        // head of object 1.
        let mut key = Body::new();
        key.extend(&[ONE, LIST_KEY.len() as u8]);
        key.extend(LIST_KEY.as_bytes());
        key.extend(&[0, 1]);
        meta.extend(&[0x7e, 0]);
        meta.unsigned(value_meta);
        [
            column("object actor", 0x01, &[0, 1, ONE, 0]),
            column("object counter", 0x02, &[0, 1, ONE, 1]),
            column("key counter", 0x13, &[0, 1, ONE, 0]),
            column("key text", 0x15, key.as_slice()),
            column("insert", 0x34, &[1, 1]),
            column("action", 0x42, &[0x7e, 2, 1]),
            column("value metadata", 0x56, meta.as_slice()),
            column("value", 0x57, &[]),
            column("predecessors", 0x70, &[2, 0]),
        ]
    } else {
        // One operation: insert the frame into object 1, after the element that the operation before made.
        let mut after = Body::new();
        after.push(ONE);
        after.signed_of_unsigned(start_op(index) - 1);
        meta.push(ONE);
        meta.unsigned(value_meta);
        [
            column("object actor", 0x01, &[ONE, 0]),
            column("object counter", 0x02, &[ONE, 1]),
            column("key actor", 0x11, &[ONE, 0]),
            column("key counter", 0x13, after.as_slice()),
            column("insert", 0x34, &[0, 1]),
            column("action", 0x42, &[ONE, 1]),
            column("value metadata", 0x56, meta.as_slice()),
            column("value", 0x57, &[]),
            column("predecessors", 0x70, &[ONE, 0]),
        ]
    }
}

/// A few bytes without an allocation. What does not fit is a mistake in this file and shows in every test.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inline<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Inline<N> {
    const fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, byte: u8) {
        self.extend(&[byte]);
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Unsigned LEB128, shortest form.
    fn unsigned(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }

    /// Signed LEB128, shortest form, of a number that is not negative: its last byte must keep bit 6 clear.
    fn signed_of_unsigned(&mut self, mut value: u64) {
        while value >= 0x40 {
            self.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::{SegmentCursor, SegmentNumber};
    use wfengine_storage_format::{ChainId, Incarnation, PeerId};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Made by hand from PROTOCOL.md, with neither this encoder nor automerge: whatever else changes, these bytes may not.
    #[test]
    fn the_first_two_chunks_of_a_document_are_those_of_the_protocol_page() {
        let chain =
            ChainId { author: PeerId::from_bytes([7; 32]), incarnation: Incarnation::from_bytes([9; 16]) };
        let mut cursor = SegmentCursor::at_segment(SegmentNumber(1));
        let first = cursor.append(&chain, b"a").unwrap();
        assert_eq!(
            hex(first.bytes()),
            "856f4a83a24bf5e1014b0010807d7e654a4bf85e6870fedf85fe8016010100000009010402041304\
             150a3402420356035701700200017f0000017f0100017f007f066672616d6573000101017e02017e\
             0017610200"
        );
        assert_eq!(
            first.hash().to_string(),
            "a24bf5e17f56ba207484dc7cdc15a0e2498986e5b08b18f2a62f4c95d1355360"
        );
        let second = cursor.append(&chain, b"b").unwrap();
        assert_eq!(
            hex(second.bytes()),
            "856f4a833e9423c4015b01a24bf5e17f56ba207484dc7cdc15a0e2498986e5b08b18f2a62f4c95d1\
             35536010807d7e654a4bf85e6870fedf85fe80160203000000090102020211021302340242025602\
             570170027f007f017f007f0200017f017f17627f00"
        );
        assert_eq!(
            second.hash().to_string(),
            "3e9423c4911e76dba565304bccad4997a94687055f149f3846c8ed33aa491ddb"
        );
        assert_eq!(cursor.last_hash(), Some(second.hash()));
    }

    #[test]
    fn a_frame_that_no_segment_holds_leaves_the_output_alone() {
        let actor = DocumentActor::from_bytes([1; 16]);
        let mut out = vec![1, 2, 3];
        for len in [0, FRAME_BYTES_MAX + 1] {
            assert_eq!(encode_into(&mut out, actor, Place::First, &vec![0; len]), Err(FrameLength { len }));
            assert_eq!(out, [1, 2, 3]);
        }
    }
}
