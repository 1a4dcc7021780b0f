//! The filter: what a peer calls a change chunk, read by our own bounded parser before anything else looks at it.
//!
//! A chunk climbs a ladder of types: [`ParsedChunk`] (bounded, one insert of one bytes value, checksum right) gives the
//! frame inside it; the caller verifies that frame and then [`ParsedChunk::matches_rebuilt`] makes it an
//! [`AcceptedChunk`], if it is byte for byte the chunk this node makes of the frame. Nothing here trusts the sender, and
//! nothing here says whether the frame is good.
//!
//! Why so strict: automerge, given foreign bytes, can be made to panic, to allocate without bound, and to take changes
//! that an author never made. A chunk that can be rebuilt leaves a sender nothing to choose.
//!
//! Invariants: no allocation at all; time linear in the input; never panics; a chunk other than a frame's own one, by as
//! much as a bit, is rejected.

use wfengine_storage_format::limits::{FRAME_BYTES_MAX, SEGMENT_FRAMES_MAX};

use crate::chunk::{
    AcceptedChunk, CHUNK_LEN_MAX, COLUMNS, ChangeHash, Column, HASHED_FROM, MAGIC, TYPE_CHANGE, VALUE_COLUMN,
    columns, hash_of, head, seq, start_op,
};
use crate::segment::{DocumentActor, Place};

/// Why bytes of a peer are not a chunk this node takes. Nothing of them was kept or shown to automerge; a peer that sent
/// them broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Longer than the longest frame's chunk.
    #[error("a chunk of {len} bytes: the longest possible has {CHUNK_LEN_MAX}")]
    TooLong {
        /// Bytes that came.
        len: usize,
    },
    /// Does not begin as automerge chunks do.
    #[error("not an automerge chunk")]
    Magic,
    /// A document, a compressed change, a bundle, or nothing known.
    #[error("a chunk of type {found}: only uncompressed changes (type 1) are taken")]
    ChunkType {
        /// The type it says it is.
        found: u8,
    },
    /// The chunk says another length than it has.
    #[error("the chunk announces {announced} bytes and holds {held}")]
    Length {
        /// As its header says.
        announced: u64,
        /// As counted.
        held: usize,
    },
    /// It ends inside a field.
    #[error("the chunk ends inside its {field}")]
    Truncated {
        /// Which field.
        field: &'static str,
    },
    /// A number is not in its shortest form, or greater than 64 bits.
    #[error("the chunk's {field} is not a shortest-form LEB128 number")]
    Number {
        /// Which field.
        field: &'static str,
    },
    /// A field has a value that no chunk of ours has in this place.
    #[error("the chunk's {field} is {found}, which no frame's chunk has there")]
    Field {
        /// Which field.
        field: &'static str,
        /// Its value.
        found: u64,
    },
    /// Its operations are not the insert of one bytes value at the list's end (with the list's creation in the first).
    #[error("the chunk is not one insert of one frame: its column `{column}` differs")]
    NotOneInsert {
        /// The first column that differs.
        column: &'static str,
    },
    /// Its value is no frame by its length.
    #[error("the chunk holds a frame of {len} bytes: frames are 1..={FRAME_BYTES_MAX} bytes long")]
    FrameLength {
        /// Bytes of the value.
        len: usize,
    },
    /// The checksum is not that of the bytes.
    #[error("the chunk's checksum does not fit its bytes")]
    Checksum,
    /// It belongs to another document.
    #[error("the chunk is of document {found}, its frame belongs to {expected}")]
    Actor {
        /// As it claims.
        found: DocumentActor,
        /// As the frame's chain and segment say.
        expected: DocumentActor,
    },
    /// It has another place in its document than its frame.
    #[error("the chunk claims place {found} of its segment, its frame has place {expected}")]
    Index {
        /// As it claims.
        found: u8,
        /// As the chain says.
        expected: u8,
    },
    /// It follows another change than the one of the frame before.
    #[error("the chunk does not follow the change of the frame before it")]
    Previous,
    /// It differs from the rebuilt chunk in some other way.
    #[error("the chunk is not the one its frame makes")]
    NotRebuilt,
}

/// A chunk in which everything is in order but what only its frame and its chain can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParsedChunk<'a> {
    bytes: &'a [u8],
    frame: &'a [u8],
    actor: DocumentActor,
    place: Place,
    hash: ChangeHash,
}

impl<'a> ParsedChunk<'a> {
    /// Reads the one chunk that `bytes` must be, with nothing before or after it.
    ///
    /// # Errors
    /// [`Rejected`], with the first thing that is wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Rejected> {
        if bytes.len() > CHUNK_LEN_MAX {
            return Err(Rejected::TooLong { len: bytes.len() });
        }
        let (len, rest) = parse_header(bytes)?;
        if len != rest.len() as u64 {
            return Err(Rejected::Length { announced: len, held: rest.len() });
        }
        let (actor, place, frame) = parse_change(rest)?;
        let hash = hash_of(bytes);
        if bytes.get(MAGIC.len()..HASHED_FROM) != Some(hash.checksum().as_slice()) {
            return Err(Rejected::Checksum);
        }
        Ok(Self { bytes, frame, actor, place, hash })
    }

    /// Reads the first of several chunks that stand one after the other, and returns what follows it.
    ///
    /// # Errors
    /// [`Rejected`], with the first thing that is wrong.
    pub fn parse_first(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Rejected> {
        let (len, rest) = parse_header(bytes)?;
        let held = rest.len();
        let end = usize::try_from(len)
            .ok()
            .filter(|len| *len <= held)
            .map(|len| bytes.len() - held + len)
            .ok_or(Rejected::Length { announced: len, held })?;
        let (first, after) = bytes.split_at(end);
        Ok((Self::parse(first)?, after))
    }

    /// The frame inside: foreign bytes of which only the length is known to be right.
    pub const fn frame(&self) -> &'a [u8] {
        self.frame
    }

    /// The document it claims to belong to.
    pub const fn actor(&self) -> DocumentActor {
        self.actor
    }

    /// The place it claims there, with the change it claims to follow.
    pub const fn place(&self) -> Place {
        self.place
    }

    /// Hash of the change these bytes are.
    pub const fn hash(&self) -> ChangeHash {
        self.hash
    }

    /// Demands that these bytes are exactly what [`encode`](crate::chunk::encode) makes of `frame` at this place of this
    /// document. `frame` is what the caller verified and will keep.
    ///
    /// # Errors
    /// [`Rejected`], with the first difference.
    pub fn matches_rebuilt(
        &self,
        actor: DocumentActor,
        place: Place,
        frame: &[u8],
    ) -> Result<AcceptedChunk<'a>, Rejected> {
        if self.actor != actor {
            return Err(Rejected::Actor { found: self.actor, expected: actor });
        }
        if self.place.index() != place.index() {
            return Err(Rejected::Index { found: self.place.index(), expected: place.index() });
        }
        if self.place.previous() != place.previous() {
            return Err(Rejected::Previous);
        }
        if self.differs_from_rebuilt(frame) {
            return Err(Rejected::NotRebuilt);
        }
        Ok(AcceptedChunk::new(self.bytes, self.actor, self.place, self.hash))
    }

    /// Compares with the encoder's parts in turn, so that the frame is neither copied nor hashed a second time: `parse`
    /// has hashed these very bytes and held the checksum against them.
    fn differs_from_rebuilt(&self, frame: &[u8]) -> bool {
        let columns = columns(self.place.index(), frame.len());
        let head = head(self.actor, self.place, &columns, frame.len());
        let [.., tail] = &columns;
        let Some((magic, rest)) = self.bytes.split_at_checked(MAGIC.len()) else { return true };
        let Some((_checksum, rest)) = rest.split_at_checked(HASHED_FROM - MAGIC.len()) else { return true };
        let rest = (magic == MAGIC)
            .then_some(rest)
            .and_then(|rest| rest.strip_prefix(&head.as_slice()[HASHED_FROM..]))
            .and_then(|rest| rest.strip_prefix(frame));
        rest != Some(tail.body.as_slice())
    }
}

/// Magic, checksum (not looked at here), type and length; returns the length and what follows.
fn parse_header(bytes: &[u8]) -> Result<(u64, &[u8]), Rejected> {
    let mut reader = Reader { rest: bytes };
    if reader.array::<4>("first four bytes")? != &MAGIC {
        return Err(Rejected::Magic);
    }
    reader.array::<4>("checksum")?;
    let found = reader.byte("type")?;
    if found != TYPE_CHANGE {
        return Err(Rejected::ChunkType { found });
    }
    let len = reader.unsigned("length")?;
    Ok((len, reader.rest))
}

/// All that follows the header, which must be a change that inserts one frame.
fn parse_change(rest: &[u8]) -> Result<(DocumentActor, Place, &[u8]), Rejected> {
    let mut reader = Reader { rest };
    let deps = reader.unsigned("number of dependencies")?;
    let previous = match deps {
        0 => None,
        1 => Some(ChangeHash::from_bytes(*reader.array("dependency")?)),
        found => return Err(Rejected::Field { field: "number of dependencies", found }),
    };
    reader.exactly("length of the actor", 16)?;
    let actor = DocumentActor::from_bytes(*reader.array("actor")?);
    let place = parse_place(reader.unsigned("sequence number")?, deps, previous)?;
    reader.exactly("first operation", start_op(place.index()))?;
    reader.exactly("time", 0)?;
    reader.exactly("length of the message", 0)?;
    reader.exactly("number of other actors", 0)?;
    let frame = parse_columns(&mut reader, place.index())?;
    Ok((actor, place, frame))
}

fn parse_place(seq_found: u64, deps: u64, previous: Option<ChangeHash>) -> Result<Place, Rejected> {
    let index = seq_found
        .checked_sub(seq(0))
        .filter(|index| *index < SEGMENT_FRAMES_MAX as u64)
        .and_then(|index| u8::try_from(index).ok())
        .ok_or(Rejected::Field { field: "sequence number", found: seq_found })?;
    match (core::num::NonZeroU8::new(index), previous) {
        (None, None) => Ok(Place::First),
        (Some(index), Some(previous)) => Ok(Place::After { index, previous }),
        _ => Err(Rejected::Field { field: "number of dependencies", found: deps }),
    }
}

/// The table of columns and their bodies, to the last byte; returns the frame.
fn parse_columns<'a>(reader: &mut Reader<'a>, index: u8) -> Result<&'a [u8], Rejected> {
    reader.exactly("number of columns", COLUMNS as u64)?;
    // The table is compared with the one of a frame as long as the value; that length is only known from the table.
    let table = columns(index, 0);
    let mut lens = [0; COLUMNS];
    for (Column { name, spec, .. }, len) in table.iter().zip(&mut lens) {
        if reader.byte(name)? != *spec {
            return Err(Rejected::NotOneInsert { column: name });
        }
        *len = reader.unsigned(name)?;
    }
    let frame_len = usize::try_from(lens[VALUE_COLUMN]).unwrap_or(usize::MAX);
    if frame_len == 0 || frame_len > FRAME_BYTES_MAX {
        return Err(Rejected::FrameLength { len: frame_len });
    }
    let expected = columns(index, frame_len);
    let mut frame: &[u8] = &[];
    for (at, (Column { name, body, .. }, len)) in expected.iter().zip(lens).enumerate() {
        if at == VALUE_COLUMN {
            frame = reader.take("value", frame_len)?;
            continue;
        }
        let body = body.as_slice();
        if len != body.len() as u64 || reader.take(name, body.len())? != body {
            return Err(Rejected::NotOneInsert { column: name });
        }
    }
    match reader.rest.len() {
        0 => Ok(frame),
        held => Err(Rejected::Field { field: "number of bytes after its columns", found: held as u64 }),
    }
}

/// What is left of the input.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, field: &'static str, len: usize) -> Result<&'a [u8], Rejected> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Rejected::Truncated { field })?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<&'a [u8; N], Rejected> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Rejected::Truncated { field })?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self, field: &'static str) -> Result<u8, Rejected> {
        let [byte] = *self.array(field)?;
        Ok(byte)
    }

    /// Unsigned LEB128 in its shortest form. A zero that is signed in the format reads the same.
    fn unsigned(&mut self, field: &'static str) -> Result<u64, Rejected> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(field)?;
            let bits = u64::from(byte & 0x7f);
            let padded = byte == 0 && shift > 0;
            if padded || (bits << shift) >> shift != bits {
                return Err(Rejected::Number { field });
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Rejected::Number { field })
    }

    fn exactly(&mut self, field: &'static str, expected: u64) -> Result<(), Rejected> {
        match self.unsigned(field)? {
            found if found == expected => Ok(()),
            found => Err(Rejected::Field { field, found }),
        }
    }
}
