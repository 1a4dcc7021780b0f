//! Frames and blobs read for others, and where the segments of a chain begin.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use wfengine_protocol::output::{FramesRead, StoredFrame};
use wfengine_protocol::segment::{Place, SegmentCursor, SegmentNumber};
use wfengine_storage_format::ChainId;
use wfengine_store::{StoreError, Watcher};

/// Bytes of frames read at once while a chain's segments are counted.
const WALK_BYTES: usize = 1024 * 1024;

/// How far one chain was walked, and where its segments begin.
#[derive(Debug)]
struct Walked {
    cursor: SegmentCursor,
    next_seq: u64,
    starts: Vec<u64>,
}

/// Where segments begin, for every chain that was asked for. Grows by one number for 512 KiB of frames. Each chain has a lock of its
/// own, held for one part of a walk: those who ask for other chains do not wait, and those who ask for the same walk it together.
#[derive(Clone, Debug, Default)]
pub(super) struct SegmentStarts(Arc<Mutex<BTreeMap<ChainId, Arc<Mutex<Walked>>>>>);

impl SegmentStarts {
    fn walked(&self, chain: &ChainId) -> Arc<Mutex<Walked>> {
        let mut chains = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let unwalked = || Walked { cursor: SegmentCursor::START, next_seq: 0, starts: Vec::new() };
        Arc::clone(chains.entry(*chain).or_insert_with(|| Arc::new(Mutex::new(unwalked()))))
    }

    /// Walks towards a place, about a megabyte of frames further. Whether it was reached, or never will be: the log holds no such
    /// place.
    pub(super) fn walk_part(&self, watcher: &Watcher, chain: &ChainId, seq: u64) -> Result<bool, StoreError> {
        let walked = self.walked(chain);
        let mut walked = walked.lock().unwrap_or_else(PoisonError::into_inner);
        if walked.next_seq > seq {
            return Ok(true);
        }
        let frames = watcher.chain_frames(chain, walked.next_seq, WALK_BYTES)?;
        let is_end = frames.is_empty();
        for stored in frames {
            let header = stored.frame.header();
            let Ok(slot) = walked.cursor.pass(stored.frame.bytes().len()) else { return Ok(true) };
            if slot.place == Place::First {
                walked.starts.push(header.first_seq);
            }
            walked.next_seq = header.end_seq();
        }
        Ok(is_end || walked.next_seq > seq)
    }

    /// The segment that holds a place, and the place it begins with. Walks what was not walked before.
    fn of(
        &self,
        watcher: &Watcher,
        chain: &ChainId,
        seq: u64,
    ) -> Result<Option<(SegmentNumber, u64)>, StoreError> {
        while !self.walk_part(watcher, chain, seq)? {}
        let walked = self.walked(chain);
        let walked = walked.lock().unwrap_or_else(PoisonError::into_inner);
        if walked.next_seq <= seq {
            return Ok(None);
        }
        let number = walked.starts.partition_point(|start| *start <= seq).checked_sub(1);
        Ok(number.and_then(|number| Some((SegmentNumber(number as u64), *walked.starts.get(number)?))))
    }

    /// Reads frames as the exchange asked for them.
    pub(super) fn read(
        &self,
        watcher: &Watcher,
        chain: &ChainId,
        from_seq: u64,
        whole_segment: bool,
        max_bytes: usize,
    ) -> Result<FramesRead, StoreError> {
        let mut read = FramesRead::default();
        let mut first_seq = from_seq;
        if whole_segment {
            let Some((segment, start)) = self.of(watcher, chain, from_seq)? else { return Ok(read) };
            read.segment = Some(segment);
            first_seq = start;
        }
        let mut bytes = 0;
        'reading: loop {
            let frames = watcher.chain_frames(chain, first_seq, WALK_BYTES.min(max_bytes.max(1)))?;
            if frames.is_empty() {
                break;
            }
            for stored in frames {
                let header = stored.frame.header();
                let (first, end) = (header.first_seq, header.end_seq());
                bytes += stored.frame.bytes().len();
                read.frames.push(StoredFrame {
                    first_seq: first,
                    end_seq: end,
                    bytes: Arc::clone(stored.frame.bytes()),
                });
                first_seq = end;
                if bytes >= max_bytes && end > from_seq {
                    break 'reading;
                }
            }
        }
        Ok(read)
    }
}
