//! Segments as automerge documents: written, read back, kept open, exported.
//!
//! A document is a projection of frames that stand in the log: it decides nothing, may be thrown away at any time, and is
//! made again from the frames with the same bytes. Its file is the concatenation of its change chunks, which any automerge
//! library opens: a list `frames` at the root, one bytes value a frame.
//!
//! What it does not do: verify frames, or know which of them the log holds. automerge itself is used only by
//! [`Projection`] and [`export_document`], only on bytes this node made or could have made, and behind `catch_unwind`.
//!
//! Invariant: the only head of a document is the hash of its last chunk.

use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::{ActorId, Automerge, Change, ReadDoc, ScalarValue, Value};
use wfengine_storage_format::ChainId;
use wfengine_storage_format::limits::{SEGMENT_BYTES_MAX, SEGMENT_FRAMES_MAX};

use crate::chunk::{AcceptedChunk, CHUNK_OVERHEAD_MAX, ChangeHash, LIST_KEY};
use crate::filter::{ParsedChunk, Rejected};
use crate::segment::{DocumentActor, FrameLength, SegmentCursor, SegmentNumber};

/// Bytes of one document, at most.
pub const DOCUMENT_LEN_MAX: usize = SEGMENT_BYTES_MAX + SEGMENT_FRAMES_MAX * CHUNK_OVERHEAD_MAX;

/// Why frames are no document, or a document no frames. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// A segment holds at least one frame.
    #[error("a document without a frame")]
    NoFrames,
    /// A frame that no segment can hold.
    #[error("frame {index} of segment {segment}: {source}")]
    FrameLength {
        /// Which segment was being written.
        segment: SegmentNumber,
        /// Place of the frame in it.
        index: usize,
        /// What is wrong.
        source: FrameLength,
    },
    /// The frames belong to more than one segment: cut them with [`segments_of`](crate::segment::segments_of).
    #[error("frame {index} starts the segment after {segment}")]
    NextSegment {
        /// Which segment was being written.
        segment: SegmentNumber,
        /// Place of the first frame that does not belong to it.
        index: usize,
    },
    /// Longer than a document can be.
    #[error("a document of {len} bytes: the longest possible has {DOCUMENT_LEN_MAX}")]
    TooLong {
        /// Bytes that came.
        len: usize,
    },
    /// A chunk of it is not one of ours, or not in its place.
    #[error("chunk {index} of the document: {source}")]
    Chunk {
        /// Which chunk, counted from 0.
        index: usize,
        /// What is wrong with it.
        source: Rejected,
    },
    /// The frames are more bytes than a segment holds.
    #[error(
        "the document's frames pass {SEGMENT_BYTES_MAX} bytes at frame {index}, where the next segment starts"
    )]
    Overfull {
        /// Place of the first frame that does not fit.
        index: usize,
    },
    /// automerge does not read what was written.
    #[error("automerge does not open the document of segment {segment}: {source}")]
    Unreadable {
        /// Which segment.
        segment: SegmentNumber,
        /// What it says.
        source: ProjectionError,
    },
}

/// The document of one segment: all of the segment's frames, from its first on, as change chunks one after the other.
///
/// # Errors
/// [`DocumentError`] when there is no frame, one that fits nowhere, or one that starts the next segment.
pub fn document_bytes<F: AsRef<[u8]>>(
    chain: &ChainId,
    segment: SegmentNumber,
    frames: impl IntoIterator<Item = F>,
) -> Result<Vec<u8>, DocumentError> {
    let mut cursor = SegmentCursor::at_segment(segment);
    let mut out = Vec::new();
    for (index, frame) in frames.into_iter().enumerate() {
        let frame = frame.as_ref();
        let too_long = |source| DocumentError::FrameLength { segment, index, source };
        if cursor.place(frame.len()).map_err(too_long)?.segment != segment {
            return Err(DocumentError::NextSegment { segment, index });
        }
        cursor.append_into(chain, frame, &mut out).map_err(too_long)?;
    }
    if out.is_empty() {
        return Err(DocumentError::NoFrames);
    }
    Ok(out)
}

/// As [`document_bytes`], for files that leave the house: automerge itself has opened it and found the frames.
///
/// # Errors
/// As [`document_bytes`], and [`DocumentError::Unreadable`].
pub fn export_document<F: AsRef<[u8]>>(
    chain: &ChainId,
    segment: SegmentNumber,
    frames: impl IntoIterator<Item = F>,
) -> Result<Vec<u8>, DocumentError> {
    let bytes = document_bytes(chain, segment, frames)?;
    let written = frames_of(&bytes)?;
    let unreadable = |source| DocumentError::Unreadable { segment, source };
    let projection = Projection::load(&bytes, &written).map_err(unreadable)?;
    if projection.frames().map_err(unreadable)? != written.frames {
        return Err(unreadable(ProjectionError::Frames));
    }
    Ok(bytes)
}

/// What a document says it holds. The frames are foreign bytes until somebody verifies them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentFrames<'a> {
    /// The actor of all its changes. Compare it with [`DocumentActor::of`] once a frame has told the chain.
    pub actor: DocumentActor,
    /// Hash of its last change, its only head.
    pub head: ChangeHash,
    /// Its frames in order, at least one.
    pub frames: Vec<&'a [u8]>,
}

/// Reads the frames of a document, chunk by chunk through the filter, without automerge. What is accepted is exactly what
/// [`document_bytes`] writes of these frames, but for the actor, which the caller checks.
///
/// # Errors
/// [`DocumentError`], with the first chunk that is wrong.
pub fn frames_of(document: &[u8]) -> Result<DocumentFrames<'_>, DocumentError> {
    if document.len() > DOCUMENT_LEN_MAX {
        return Err(DocumentError::TooLong { len: document.len() });
    }
    if document.is_empty() {
        return Err(DocumentError::NoFrames);
    }
    let mut cursor = SegmentCursor::START;
    let mut frames = Vec::new();
    let mut rest = document;
    let mut actor = None;
    while !rest.is_empty() {
        let index = frames.len();
        let wrong = |source| DocumentError::Chunk { index, source };
        let (chunk, after) = ParsedChunk::parse_first(rest).map_err(wrong)?;
        let actor = *actor.get_or_insert(chunk.actor());
        if cursor.would_start_next(chunk.frame().len()) {
            return Err(DocumentError::Overfull { index });
        }
        cursor.accept_as(actor, &chunk, chunk.frame()).map_err(wrong)?;
        frames.push(chunk.frame());
        rest = after;
    }
    match (actor, cursor.last_hash()) {
        (Some(actor), Some(head)) => Ok(DocumentFrames { actor, head, frames }),
        _ => Err(DocumentError::NoFrames),
    }
}

/// Why a document could not take a change. The log is untouched by it: after anything but
/// [`OutOfPlace`](Self::OutOfPlace) drop the projection and make it again from its frames.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProjectionError {
    /// The chunk belongs to another document, or does not follow its last change. The document is as it was.
    #[error("the chunk does not follow the document's last change")]
    OutOfPlace,
    /// automerge refused a change that it would have written itself.
    #[error("automerge refused the change: {0}")]
    Refused(String),
    /// automerge panicked.
    #[error("automerge panicked; rebuild the document from its frames")]
    Panicked,
    /// automerge took the change and came to other heads.
    #[error("the document's heads are not the hash of its last chunk; rebuild it from its frames")]
    Heads,
    /// automerge holds other frames than were written.
    #[error("the document's list is not its frames; rebuild it from its frames")]
    Frames,
    /// An earlier change failed.
    #[error("the document failed before; rebuild it from its frames")]
    Spent,
}

/// The automerge document of one segment, kept while the segment is open.
///
/// It takes [`AcceptedChunk`]s alone, behind the commit of their frames. Costs 0.1–0.3 ms a change, so it is fed off the
/// critical path; nothing waits for it.
#[derive(Debug)]
pub struct Projection {
    actor: DocumentActor,
    head: Option<ChangeHash>,
    /// `None` once automerge has misbehaved: what it then holds is not looked at again.
    document: Option<Automerge>,
}

impl Projection {
    /// The document of a segment that holds no frame yet.
    pub fn open(chain: &ChainId, segment: SegmentNumber) -> Self {
        let actor = DocumentActor::of(chain, segment);
        let document = Automerge::new().with_actor(ActorId::from(*actor.as_bytes()));
        Self { actor, head: None, document: Some(document) }
    }

    /// The document of a segment, made again from its frames in one go.
    ///
    /// # Errors
    /// [`DocumentError`] when the frames are no document, or automerge does not open it.
    pub fn rebuild<F: AsRef<[u8]>>(
        chain: &ChainId,
        segment: SegmentNumber,
        frames: impl IntoIterator<Item = F>,
    ) -> Result<Self, DocumentError> {
        let bytes = document_bytes(chain, segment, frames)?;
        let written = frames_of(&bytes)?;
        Self::load(&bytes, &written).map_err(|source| DocumentError::Unreadable { segment, source })
    }

    fn load(bytes: &[u8], written: &DocumentFrames<'_>) -> Result<Self, ProjectionError> {
        let document = guarded(|| Automerge::load(bytes))?.map_err(refused)?;
        let actor = written.actor;
        let document = document.with_actor(ActorId::from(*actor.as_bytes()));
        let projection = Self { actor, head: Some(written.head), document: Some(document) };
        projection.check_heads()?;
        Ok(projection)
    }

    /// Adds one change.
    ///
    /// # Errors
    /// [`ProjectionError`]; after anything but [`ProjectionError::OutOfPlace`] the projection is spent.
    pub fn append(&mut self, chunk: &AcceptedChunk<'_>) -> Result<(), ProjectionError> {
        let document = self.document.as_mut().ok_or(ProjectionError::Spent)?;
        if chunk.actor() != self.actor || chunk.place().previous() != self.head.as_ref() {
            return Err(ProjectionError::OutOfPlace);
        }
        self.head = Some(chunk.hash());
        let applied = guarded(|| {
            let change = Change::from_bytes(chunk.bytes().to_vec()).map_err(refused)?;
            document.apply_changes([change]).map_err(refused)
        });
        let result = applied.and_then(|applied| applied).and_then(|()| self.check_heads());
        if result.is_err() {
            self.document = None;
        }
        result
    }

    /// The document's only head; none before its first frame.
    pub const fn head(&self) -> Option<ChangeHash> {
        self.head
    }

    /// The frames as automerge holds them.
    ///
    /// # Errors
    /// [`ProjectionError::Frames`] when its list is anything but bytes values; [`ProjectionError::Spent`] after a failure.
    pub fn frames(&self) -> Result<Vec<Vec<u8>>, ProjectionError> {
        let document = self.document.as_ref().ok_or(ProjectionError::Spent)?;
        if self.head.is_none() {
            return Ok(Vec::new());
        }
        guarded(|| {
            let (_, list) = document.get(automerge::ROOT, LIST_KEY).ok()??;
            (0..document.length(&list))
                .map(|index| match document.get(&list, index) {
                    Ok(Some((Value::Scalar(value), _))) => match value.as_ref() {
                        ScalarValue::Bytes(frame) => Some(frame.clone()),
                        _ => None,
                    },
                    _ => None,
                })
                .collect::<Option<Vec<_>>>()
        })?
        .ok_or(ProjectionError::Frames)
    }

    fn check_heads(&self) -> Result<(), ProjectionError> {
        let document = self.document.as_ref().ok_or(ProjectionError::Spent)?;
        let heads = guarded(|| document.get_heads())?;
        let expected = self.head.map(|head| automerge::ChangeHash(*head.as_bytes()));
        if heads.as_slice() != expected.as_slice() {
            return Err(ProjectionError::Heads);
        }
        Ok(())
    }
}

/// Runs automerge. Its state after a panic is not looked at: every caller drops the document then.
fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, ProjectionError> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|_| ProjectionError::Panicked)
}

fn refused(error: impl std::fmt::Display) -> ProjectionError {
    ProjectionError::Refused(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::Place;
    use wfengine_storage_format::{Incarnation, PeerId};

    const CHAIN: ChainId =
        ChainId { author: PeerId::from_bytes([7; 32]), incarnation: Incarnation::from_bytes([9; 16]) };
    const SEGMENT: SegmentNumber = SegmentNumber(0);

    #[test]
    fn a_projection_that_automerge_refused_is_spent() {
        let honest = SegmentCursor::at_segment(SEGMENT).append(&CHAIN, b"frame").unwrap();
        let mut bytes = honest.bytes().to_vec();
        bytes.truncate(20);
        let mut projection = Projection::open(&CHAIN, SEGMENT);
        let damaged =
            AcceptedChunk::new(&bytes, DocumentActor::of(&CHAIN, SEGMENT), Place::First, honest.hash());
        assert!(matches!(projection.append(&damaged), Err(ProjectionError::Refused(_))));
        assert_eq!(projection.append(&honest.as_accepted()), Err(ProjectionError::Spent));
        assert_eq!(projection.frames(), Err(ProjectionError::Spent));
    }

    #[test]
    fn a_projection_whose_heads_are_not_the_chunks_hash_is_spent() {
        let honest = SegmentCursor::at_segment(SEGMENT).append(&CHAIN, b"frame").unwrap();
        let mut projection = Projection::open(&CHAIN, SEGMENT);
        let wrong_hash = ChangeHash::from_bytes([1; 32]);
        let actor = DocumentActor::of(&CHAIN, SEGMENT);
        let misnamed = AcceptedChunk::new(honest.bytes(), actor, Place::First, wrong_hash);
        assert_eq!(projection.append(&misnamed), Err(ProjectionError::Heads));
        assert_eq!(projection.frames(), Err(ProjectionError::Spent));
    }

    #[test]
    fn a_panic_inside_is_an_error_outside() {
        assert_eq!(guarded(|| panic!("as automerge might")), Err::<(), _>(ProjectionError::Panicked));
    }

    #[test]
    fn a_rebuilt_projection_goes_on_where_its_frames_end() {
        let frames = [b"zero".as_slice(), b"one"];
        let mut projection = Projection::rebuild(&CHAIN, SEGMENT, frames).unwrap();
        let mut cursor = SegmentCursor::at_segment(SEGMENT);
        for frame in frames {
            cursor.append(&CHAIN, frame).unwrap();
        }
        assert_eq!(projection.head(), cursor.last_hash());
        let two = cursor.append(&CHAIN, b"two").unwrap();
        projection.append(&two.as_accepted()).unwrap();
        assert_eq!(projection.frames().unwrap(), [b"zero".to_vec(), b"one".to_vec(), b"two".to_vec()]);
    }
}
