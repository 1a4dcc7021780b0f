//! The documents that are kept: at most so many, fed with frames in the order of their chains, made again from stored ones.
//!
//! Pure: frames are brought, nothing is read here, and no clock either. Whether a frame is right was decided before its commit;
//! here automerge sees it, and what automerge makes of it is compared with what this node made of it without automerge.
//!
//! Invariants: the head of an open document is that of its chain's frames up to its length · a document that disagreed is made
//! again once; a chain whose document disagrees a second time has none for the rest of this process.

use std::collections::BTreeMap;

use wfengine_protocol::output::{FramesRead, StoredFrame};
use wfengine_protocol::{
    ChangeHash, DocumentError, FrameLength, Place, Projection, ProjectionError, SegmentCursor, SegmentNumber,
};
use wfengine_storage_format::ChainId;

/// Documents kept at once; the one whose chain was written least recently makes room. Each holds at most 512 KiB of frames, and
/// automerge a small multiple of that.
pub(super) const DOCUMENTS_MAX: usize = 16;

/// The automerge documents that follow the log, in figures.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Documents {
    /// The documents that are open, by chain.
    pub open: Vec<OpenDocument>,
    /// Changes that automerge took, one by one.
    pub changes: u64,
    /// Documents made from stored frames in one go: after a lag, or because their chain was written again.
    pub rebuilt: u64,
    /// How often automerge and this node did not come to the same. Anything but 0 is a fault of the software.
    pub disagreements: u64,
    /// Chains without a document for the rest of this process: theirs could not be made.
    pub given_up: u64,
}

/// The document of the segment that a chain's last frame went to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenDocument {
    /// The chain.
    pub chain: ChainId,
    /// Which of its segments.
    pub segment: SegmentNumber,
    /// The document's only head, as automerge says too.
    pub head: ChangeHash,
    /// How many events the chain has with the document's last frame.
    pub length: u64,
}

/// What became of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Taken {
    /// Its document holds it, or there will be none.
    Yes,
    /// There is no document that it continues: it has to be made from the log.
    Missing,
}

/// How a document and its frames differ.
#[derive(Debug, thiserror::Error)]
enum Disagreement {
    #[error(transparent)]
    Frame(#[from] FrameLength),
    #[error(transparent)]
    Change(#[from] ProjectionError),
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error("the document made of stored frames has another head than their chunks")]
    Heads,
}

/// One document and how far its chain was cut.
#[derive(Debug)]
struct Kept {
    projection: Projection,
    cursor: SegmentCursor,
    next_seq: u64,
    /// Counts up with every frame of any chain: the least was written least recently.
    written: u64,
}

impl Kept {
    fn of_new_chain(chain: &ChainId) -> Self {
        let projection = Projection::open(chain, SegmentNumber(0));
        Self { projection, cursor: SegmentCursor::START, next_seq: 0, written: 0 }
    }

    /// The document of the last segment among these frames, which begin where a segment does; `None` without a frame.
    fn of_frames(chain: &ChainId, read: &FramesRead) -> Result<Option<Self>, Disagreement> {
        let (Some(segment), Some(last)) = (read.segment, read.frames.last()) else { return Ok(None) };
        let mut cursor = SegmentCursor::at_segment(segment);
        let (mut chunk, mut first) = (Vec::new(), 0);
        for (index, frame) in read.frames.iter().enumerate() {
            let before = cursor.segment();
            chunk.clear();
            cursor.append_into(chain, &frame.bytes, &mut chunk)?;
            // the chain may have grown past its segment while it was read
            if cursor.segment() != before {
                first = index;
            }
        }
        let frames = read.frames.iter().skip(first).map(|frame| &frame.bytes);
        let projection = Projection::rebuild(chain, cursor.segment(), frames)?;
        if projection.head() != cursor.last_hash() {
            return Err(Disagreement::Heads);
        }
        Ok(Some(Self { projection, cursor, next_seq: last.end_seq, written: 0 }))
    }

    fn append(&mut self, chain: &ChainId, frame: &StoredFrame) -> Result<(), Disagreement> {
        let segment = self.cursor.segment();
        let chunk = self.cursor.append(chain, &frame.bytes)?;
        let chunk = chunk.as_accepted();
        if chunk.place() == Place::First && self.cursor.segment() != segment {
            self.projection = Projection::open(chain, self.cursor.segment());
        }
        self.projection.append(&chunk)?;
        self.next_seq = frame.end_seq;
        Ok(())
    }

    fn shown(&self, chain: &ChainId) -> Option<OpenDocument> {
        let head = self.projection.head()?;
        Some(OpenDocument { chain: *chain, segment: self.cursor.segment(), head, length: self.next_seq })
    }
}

/// A chain whose document disagreed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trouble {
    /// Once: it is made again from its frames.
    MadeAgain,
    /// Twice, or its frames cannot be read: it is not made any more.
    GivenUp,
}

/// The documents, and what is known of chains whose document disagreed.
#[derive(Debug, Default)]
pub(super) struct KeptDocuments {
    open: BTreeMap<ChainId, Kept>,
    written: u64,
    trouble: BTreeMap<ChainId, Trouble>,
    changes: u64,
    rebuilt: u64,
    disagreements: u64,
}

impl KeptDocuments {
    /// Takes a committed frame.
    pub(super) fn take(&mut self, chain: &ChainId, frame: &StoredFrame) -> Taken {
        if self.is_given_up(chain) {
            return Taken::Yes;
        }
        if frame.first_seq == 0 && !self.open.contains_key(chain) {
            self.keep(chain, Kept::of_new_chain(chain));
        }
        let Some(kept) = self.open.get_mut(chain) else { return Taken::Missing };
        if frame.end_seq <= kept.next_seq {
            return Taken::Yes;
        }
        if frame.first_seq != kept.next_seq {
            self.open.remove(chain);
            return Taken::Missing;
        }
        self.written += 1;
        kept.written = self.written;
        let cursor = kept.cursor;
        match kept.append(chain, frame) {
            Ok(()) => {
                self.changes += 1;
                Taken::Yes
            }
            Err(what) => {
                self.disagreed(chain, cursor.segment(), cursor.frames(), &what);
                if self.is_given_up(chain) { Taken::Yes } else { Taken::Missing }
            }
        }
    }

    /// Makes the document of a chain from the stored frames of its last segment. Whether that is settled: it is there, or given up, or
    /// the log holds no frame of the chain.
    pub(super) fn make(&mut self, chain: &ChainId, read: &FramesRead) -> bool {
        if self.is_given_up(chain) {
            return true;
        }
        match Kept::of_frames(chain, read) {
            Ok(Some(kept)) => {
                self.keep(chain, kept);
                self.rebuilt += 1;
                true
            }
            Ok(None) => true,
            Err(what) => {
                let places = u32::try_from(read.frames.len()).unwrap_or(u32::MAX);
                self.disagreed(chain, read.segment.unwrap_or(SegmentNumber(0)), places, &what);
                self.is_given_up(chain)
            }
        }
    }

    fn keep(&mut self, chain: &ChainId, mut kept: Kept) {
        self.written += 1;
        kept.written = self.written;
        self.open.insert(*chain, kept);
        if self.open.len() > DOCUMENTS_MAX
            && let Some(oldest) =
                self.open.iter().min_by_key(|(_, kept)| kept.written).map(|(chain, _)| *chain)
        {
            self.open.remove(&oldest);
        }
    }

    /// Lets go of a document that will not follow its chain.
    pub(super) fn close(&mut self, chain: &ChainId) {
        self.open.remove(chain);
    }

    /// Makes no document of a chain any more.
    pub(super) fn give_up(&mut self, chain: &ChainId) {
        self.open.remove(chain);
        self.trouble.insert(*chain, Trouble::GivenUp);
    }

    /// Whether a chain has its document.
    pub(super) fn is_open(&self, chain: &ChainId) -> bool {
        self.open.contains_key(chain)
    }

    /// Whether a chain will have no document.
    pub(super) fn is_given_up(&self, chain: &ChainId) -> bool {
        self.trouble.get(chain) == Some(&Trouble::GivenUp)
    }

    /// What others see of it.
    pub(super) fn shown(&self) -> Documents {
        let given_up = self.trouble.values().filter(|trouble| **trouble == Trouble::GivenUp).count();
        Documents {
            open: self.open.iter().filter_map(|(chain, kept)| kept.shown(chain)).collect(),
            changes: self.changes,
            rebuilt: self.rebuilt,
            disagreements: self.disagreements,
            given_up: given_up as u64,
        }
    }

    /// Lets the chunk of the chain's next frame name a change that the document does not hold.
    #[cfg(test)]
    pub(super) fn damage(&mut self, chain: &ChainId) {
        let kept = self.open.get_mut(chain).unwrap();
        let mut cursor = kept.cursor.to_bytes();
        *cursor.last_mut().unwrap() ^= 1;
        kept.cursor = SegmentCursor::from_bytes(&cursor).unwrap();
    }

    fn disagreed(&mut self, chain: &ChainId, segment: SegmentNumber, place: u32, what: &Disagreement) {
        self.disagreements += 1;
        self.open.remove(chain);
        let segment = segment.0;
        if self.trouble.insert(*chain, Trouble::MadeAgain).is_none() {
            tracing::error!(
                %chain, segment, place, %what,
                "BUG: a document disagrees with its frames; it is made again from them, and the log is not touched"
            );
        } else {
            self.give_up(chain);
            tracing::error!(
                %chain, segment, place, %what,
                "BUG: a document disagrees with its frames again; the chain has no document until this node starts anew"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use wfengine_protocol::{document_bytes, frames_of};
    use wfengine_storage_format::{Incarnation, PeerId};

    fn chain(number: u8) -> ChainId {
        ChainId { author: PeerId::from_bytes([7; 32]), incarnation: Incarnation::from_bytes([number; 16]) }
    }

    /// The frame of one event at a place.
    fn frame(seq: u64) -> StoredFrame {
        let bytes = format!("frame {seq}").into_bytes();
        StoredFrame { first_seq: seq, end_seq: seq + 1, bytes: Arc::from(bytes) }
    }

    fn head(chain: &ChainId, segment: u64, seqs: std::ops::Range<u64>) -> ChangeHash {
        let frames: Vec<_> = seqs.map(|seq| frame(seq).bytes).collect();
        let bytes = document_bytes(chain, SegmentNumber(segment), frames).unwrap();
        frames_of(&bytes).unwrap().head
    }

    fn read(segment: u64, seqs: std::ops::Range<u64>) -> FramesRead {
        FramesRead { segment: Some(SegmentNumber(segment)), frames: seqs.map(frame).collect() }
    }

    fn taken(kept: &mut KeptDocuments, chain: &ChainId, seqs: std::ops::Range<u64>) {
        for seq in seqs {
            assert_eq!(kept.take(chain, &frame(seq)), Taken::Yes);
        }
    }

    #[test]
    fn a_document_follows_its_chain_into_the_next_segments() {
        let (mut kept, chain) = (KeptDocuments::default(), chain(1));
        taken(&mut kept, &chain, 0..600);
        let shown = kept.shown();
        let expected =
            OpenDocument { chain, segment: SegmentNumber(2), head: head(&chain, 2, 512..600), length: 600 };
        assert_eq!(shown.open, [expected]);
        assert_eq!((shown.changes, shown.rebuilt, shown.disagreements), (600, 0, 0));
    }

    #[test]
    fn what_was_taken_is_known_and_a_gap_asks_for_the_log() {
        let (mut kept, chain) = (KeptDocuments::default(), chain(1));
        taken(&mut kept, &chain, 0..3);
        taken(&mut kept, &chain, 1..3);
        assert_eq!(kept.shown().changes, 3);
        assert_eq!(kept.take(&chain, &frame(4)), Taken::Missing);
        assert_eq!(kept.shown().open, []);
        assert!(kept.make(&chain, &read(0, 0..6)));
        taken(&mut kept, &chain, 4..7);
        assert_eq!(kept.shown().open[0].head, head(&chain, 0, 0..7));
        assert_eq!((kept.shown().rebuilt, kept.shown().disagreements), (1, 0));
    }

    #[test]
    fn frames_read_past_the_end_of_their_segment_give_the_document_of_the_next() {
        let (mut kept, chain) = (KeptDocuments::default(), chain(1));
        assert!(kept.make(&chain, &read(3, 1000..1300)));
        let shown = kept.shown().open[0];
        assert_eq!((shown.segment, shown.length), (SegmentNumber(4), 1300));
        assert_eq!(shown.head, head(&chain, 4, 1256..1300));
    }

    #[test]
    fn the_chain_that_was_written_least_recently_makes_room() {
        let mut kept = KeptDocuments::default();
        for number in 0..16 {
            taken(&mut kept, &chain(number), 0..1);
        }
        taken(&mut kept, &chain(0), 1..2);
        taken(&mut kept, &chain(16), 0..1);
        assert_eq!(kept.shown().open.len(), DOCUMENTS_MAX);
        assert!(kept.is_open(&chain(0)) && !kept.is_open(&chain(1)));
        assert_eq!(kept.take(&chain(1), &frame(1)), Taken::Missing);
        assert!(kept.make(&chain(1), &read(0, 0..2)));
        assert_eq!(kept.shown().open.len(), DOCUMENTS_MAX);
        assert!(!kept.is_open(&chain(2)));
    }

    #[test]
    fn a_damaged_chunk_is_a_disagreement_and_the_document_is_made_again() {
        let (mut kept, chain) = (KeptDocuments::default(), chain(1));
        taken(&mut kept, &chain, 0..3);
        kept.damage(&chain);
        assert_eq!(kept.take(&chain, &frame(3)), Taken::Missing);
        assert_eq!((kept.shown().open.len(), kept.shown().disagreements), (0, 1));
        assert!(kept.make(&chain, &read(0, 0..4)));
        taken(&mut kept, &chain, 4..5);
        let shown = kept.shown();
        assert_eq!(shown.open[0].head, head(&chain, 0, 0..5));
        assert_eq!((shown.rebuilt, shown.disagreements, shown.given_up), (1, 1, 0));
    }

    #[test]
    fn a_chain_whose_document_disagrees_twice_is_given_up_and_others_are_not() {
        let (mut kept, chains) = (KeptDocuments::default(), [chain(1), chain(2)]);
        let empty = StoredFrame { first_seq: 0, end_seq: 1, bytes: Arc::from([]) };
        assert_eq!(kept.take(&chains[0], &empty), Taken::Missing);
        let read = FramesRead { segment: Some(SegmentNumber(0)), frames: vec![empty] };
        assert!(kept.make(&chains[0], &read));
        taken(&mut kept, &chains[0], 1..9);
        assert!(kept.make(&chains[0], &read));
        taken(&mut kept, &chains[1], 0..2);
        let shown = kept.shown();
        assert_eq!((shown.open.len(), shown.disagreements, shown.given_up), (1, 2, 1));
        assert_eq!(shown.changes, 2);
    }
}
