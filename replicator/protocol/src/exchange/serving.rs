//! Answering needs: stored frames become chunks, as fast as the peer reads them.
//!
//! A chunk depends on the hash of the one before it, so serving begins at the start of a segment unless the peer goes on where
//! it stopped. No document is opened and nothing is kept but a cursor a chain.

use std::collections::BTreeMap;

use wfengine_storage_format::ChainId;
use wfengine_storage_format::limits::SEGMENT_BYTES_MAX;

use super::{Exchange, ReadFor};
use crate::chunk::CHUNK_LEN_MAX;
use crate::limits::{
    CHUNKS_BYTES, CHUNKS_MAX, NEED_BYTES_MAX, NEEDS_MAX, SERVING_READS_MAX, UNSENT_BYTES_MAX,
};
use crate::message::{Bytes, ChunksMessage, List, Message, NeedMessage};
use crate::output::{Class, ConnectionId, FramesRead, Output, RequestId};
use crate::segment::SegmentCursor;
use crate::session::Breach;

/// A need that is being answered.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) chain: ChainId,
    next_seq: u64,
    /// Length of the chain when serving began.
    length: u64,
    left_bytes: u32,
    cursor: Option<SegmentCursor>,
    reading: bool,
}

/// Where serving a chain to one peer stopped.
#[derive(Debug, Default)]
pub(crate) struct ServedTo(BTreeMap<ChainId, (u64, SegmentCursor)>);

impl ServedTo {
    fn cursor(&mut self, chain: &ChainId, from_seq: u64) -> Option<SegmentCursor> {
        self.0.remove(chain).filter(|(seq, _)| *seq == from_seq).map(|(_, cursor)| cursor)
    }
    fn stopped(&mut self, chain: ChainId, seq: u64, cursor: SegmentCursor) {
        if self.0.len() >= NEEDS_MAX {
            self.0.pop_first();
        }
        self.0.insert(chain, (seq, cursor));
    }
}

impl Exchange {
    pub(super) fn hear_need(&mut self, connection: ConnectionId, need: NeedMessage) -> Result<(), Breach> {
        let NeedMessage { need, chain, from_seq, max_bytes } = need;
        let length = self.frontier.length(&chain);
        let Some(session) = self.sessions.get_mut(&connection) else { return Ok(()) };
        if max_bytes > NEED_BYTES_MAX
            || session.serving.len() >= NEEDS_MAX
            || session.serving.contains_key(&need)
        {
            return Err(Breach::violation("asks for more than may be asked for"));
        }
        if from_seq >= length {
            self.send_chunks(connection, need, Vec::new(), true);
            return Ok(());
        }
        let cursor = session.served.cursor(&chain, from_seq);
        let serving =
            Serving { chain, next_seq: from_seq, length, left_bytes: max_bytes, cursor, reading: false };
        session.serving.insert(need, serving);
        self.go_on_serving(connection);
        Ok(())
    }

    /// Reads on for the needs of a peer that has room.
    pub(super) fn go_on_serving(&mut self, connection: ConnectionId) {
        let Some(session) = self.sessions.get_mut(&connection) else { return };
        if session.unsent_bytes > UNSENT_BYTES_MAX {
            return;
        }
        let under_way = session.serving.values().filter(|serving| serving.reading).count();
        let idle = session.serving.iter_mut().filter(|(_, serving)| !serving.reading);
        let mut reads = Vec::new();
        for (need, serving) in idle.take(SERVING_READS_MAX.saturating_sub(under_way)) {
            serving.reading = true;
            let whole_segment = serving.cursor.is_none();
            let max_bytes = if whole_segment { SEGMENT_BYTES_MAX } else { serving.left_bytes as usize };
            let max_bytes = max_bytes.min(SEGMENT_BYTES_MAX);
            reads.push((*need, serving.chain, serving.next_seq, whole_segment, max_bytes));
        }
        for (need, chain, from_seq, whole_segment, max_bytes) in reads {
            let request = RequestId(self.next_number());
            self.reads.insert(request, ReadFor::Serving { connection, need });
            self.outputs.push_back(Output::Read { request, chain, from_seq, whole_segment, max_bytes });
        }
    }

    pub(super) fn serve_frames(&mut self, connection: ConnectionId, need: u32, read: &FramesRead) {
        let Some(session) = self.sessions.get_mut(&connection) else { return };
        let Some(mut serving) = session.serving.remove(&need) else { return };
        serving.reading = false;
        let before = serving.next_seq;
        let messages = serving.chunks_of(read);
        let length = self.frontier.length(&serving.chain);
        // a read that brings nothing on: the chain is not there any more
        let done = serving.left_bytes == 0 || serving.next_seq >= length || serving.next_seq == before;
        let count = messages.len();
        for (index, chunks) in messages.into_iter().enumerate() {
            self.send_chunks(connection, need, chunks, done && index + 1 == count);
        }
        if done && count == 0 {
            self.send_chunks(connection, need, Vec::new(), true);
        }
        self.note_sent(connection, serving.chain, before, serving.next_seq);
        let Some(session) = self.sessions.get_mut(&connection) else { return };
        if !done {
            session.serving.insert(need, serving);
            self.go_on_serving(connection);
            return;
        }
        let chain = serving.chain;
        if let Some(cursor) = serving.cursor {
            session.served.stopped(serving.chain, serving.next_seq, cursor);
        }
        if serving.next_seq < length && serving.length < length {
            // what was committed meanwhile was not pushed
            session.notices.insert(chain);
            self.send_notices(connection);
        }
        self.go_on_serving(connection);
    }

    fn send_chunks(
        &mut self,
        connection: ConnectionId,
        need: u32,
        chunks: Vec<Bytes<CHUNK_LEN_MAX>>,
        last: bool,
    ) {
        let message = ChunksMessage { need, chunks: List::truncated(chunks), last };
        self.send(connection, &Message::Chunks(message), Class::Normal);
    }
}

impl Serving {
    /// Makes chunks of what was read, grouped as messages hold them, and moves past them.
    fn chunks_of(&mut self, read: &FramesRead) -> Vec<Vec<Bytes<CHUNK_LEN_MAX>>> {
        let mut messages = Vec::new();
        let Some(mut cursor) = self.cursor.or(read.segment.map(SegmentCursor::at_segment)) else {
            return messages;
        };
        let (mut chunks, mut bytes) = (Vec::new(), 0);
        for frame in &read.frames {
            if self.left_bytes == 0 || frame.first_seq > self.next_seq {
                break;
            }
            let Ok(chunk) = cursor.append(&self.chain, &frame.bytes) else { break };
            if frame.end_seq <= self.next_seq {
                continue;
            }
            let Ok(chunk) = Bytes::try_from(chunk.into_bytes()) else { break };
            self.next_seq = frame.end_seq;
            self.cursor = Some(cursor);
            self.left_bytes = self.left_bytes.saturating_sub(u32::try_from(chunk.len()).unwrap_or(u32::MAX));
            bytes += chunk.len();
            chunks.push(chunk);
            if bytes >= CHUNKS_BYTES || chunks.len() >= CHUNKS_MAX {
                messages.push(std::mem::take(&mut chunks));
                bytes = 0;
            }
        }
        if !chunks.is_empty() {
            messages.push(chunks);
        }
        messages
    }
}
