//! Segments as files that any automerge library opens: one document a segment of a chain.
//!
//! Files are named `AUTHOR-INCARNATION-SEGMENT.automerge`. automerge itself opens each document once before it is written.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use wfengine_protocol::{SegmentCursor, SegmentNumber, export_document};
use wfengine_storage_format::{ChainId, SignedFrame};

use super::AuditError;
use super::export::each_frame;
use super::source::Source;

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Segments {
    /// Files.
    pub(crate) files: u64,
    /// Frames in them.
    pub(crate) frames: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

struct Open {
    cursor: SegmentCursor,
    segment: SegmentNumber,
    frames: Vec<Vec<u8>>,
}

/// Writes every segment of a source into a directory, which is made if it is missing.
pub(crate) fn write_segments(
    source: &mut Source,
    directory: &Path,
    progress: &(dyn Fn((u64, u64)) + Sync),
) -> Result<Segments, AuditError> {
    fs::create_dir_all(directory).map_err(AuditError::io("create", directory))?;
    let mut written = Segments::default();
    let mut open: BTreeMap<ChainId, Open> = BTreeMap::new();
    each_frame(
        source,
        |place, frame| {
            let damaged = |detail: String| AuditError::Damaged { place: place.clone(), detail };
            let signed = SignedFrame::decode(&frame).and_then(SignedFrame::verify);
            let chain = signed.map_err(|error| damaged(error.to_string()))?.header().chain;
            let under_way = open.entry(chain).or_insert_with(|| Open {
                cursor: SegmentCursor::START,
                segment: SegmentNumber(0),
                frames: Vec::new(),
            });
            let slot = under_way.cursor.place(frame.len()).map_err(|error| damaged(error.to_string()))?;
            if slot.segment != under_way.segment && !under_way.frames.is_empty() {
                write_one(directory, &chain, under_way, &mut written)?;
            }
            under_way.cursor.append(&chain, &frame).map_err(|error| damaged(error.to_string()))?;
            under_way.segment = slot.segment;
            under_way.frames.push(frame);
            Ok(())
        },
        progress,
    )?;
    for (chain, mut under_way) in open {
        write_one(directory, &chain, &mut under_way, &mut written)?;
    }
    Ok(written)
}

fn write_one(
    directory: &Path,
    chain: &ChainId,
    open: &mut Open,
    written: &mut Segments,
) -> Result<(), AuditError> {
    let frames = std::mem::take(&mut open.frames);
    written.frames += frames.len() as u64;
    let bytes = export_document(chain, open.segment, &frames)?;
    let path =
        directory.join(format!("{}-{}-{:06}.automerge", chain.author, chain.incarnation, open.segment.0));
    fs::write(&path, &bytes).map_err(AuditError::io("write", &path))?;
    written.files += 1;
    written.bytes += bytes.len() as u64;
    Ok(())
}
