//! Blobs: files named by their hash, fetched in ranges of 64 KiB from any member that has them, and served.
//!
//! Who wants a blob asks all connected members whether they have it and fetches it from the first that does; when that one
//! leaves, keeps silent or sent other bytes than the hash says, from the next, going on where it stopped. Nothing is kept here
//! but ranges that came before their turn. Hashing and storing are the driver's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use wfengine_core::time::Monotonic;
use wfengine_storage_format::{BlobId, PeerId};

use super::Exchange;
use crate::limits::{BLOB_OFFERS_MAX, BLOB_RANGE_BYTES_MAX, BLOB_RANGES_IN_FLIGHT, BLOBS_IN_FLIGHT};
use crate::message::{Bytes, List, Message};
use crate::output::{Class, ConnectionId, Output, RequestId};
use crate::scores::INVALID_SIGNATURE;
use crate::session::Breach;

/// How long a source may keep silent; also how long until a blob that nobody has is asked for again.
const PATIENCE: Duration = Duration::from_secs(10);
/// Reads of blobs for one peer that wait for the driver.
const READS_MAX: usize = 2 * BLOBS_IN_FLIGHT * BLOB_RANGES_IN_FLIGHT;
/// Blobs that wait to be fetched; further ones are said to be nowhere.
const BLOBS_WAITING_MAX: usize = 4_096;

/// A blob that is being fetched.
#[derive(Debug)]
struct Fetch {
    /// Bytes handed to the driver.
    stored: u64,
    /// Bytes asked for.
    asked_to: u64,
    total: Option<u64>,
    source: Option<ConnectionId>,
    candidates: BTreeMap<ConnectionId, u64>,
    unanswered: BTreeSet<ConnectionId>,
    early: BTreeMap<u64, Vec<u8>>,
    /// All bytes were handed over; the driver checks the hash.
    complete: bool,
    deadline: Monotonic,
}

impl Fetch {
    /// Whether everybody connected has said that it does not have the blob, or nobody is connected.
    fn is_nowhere(&self) -> bool {
        !self.complete && self.source.is_none() && self.candidates.is_empty() && self.unanswered.is_empty()
    }
}

/// The blobs a node fetches.
#[derive(Debug, Default)]
pub(super) struct Blobs {
    active: BTreeMap<BlobId, Fetch>,
    waiting: VecDeque<(BlobId, u64)>,
}

impl Blobs {
    pub(super) fn deadline(&self) -> Option<Monotonic> {
        self.active.values().filter(|fetch| !fetch.complete).map(|fetch| fetch.deadline).min()
    }

    /// Another has the turn; this one waits at the end of the queue.
    fn put_off(&mut self, blob: &BlobId) {
        if let Some(fetch) = self.active.remove(blob) {
            self.waiting.push_back((*blob, fetch.stored));
        }
    }
}

impl Exchange {
    /// Fetches a blob of which the first `stored` bytes are here already. Wanting it twice is wanting it once.
    pub fn want_blob(&mut self, blob: BlobId, stored: u64, now: Monotonic) {
        self.now = now;
        let known =
            self.blobs.active.contains_key(&blob) || self.blobs.waiting.iter().any(|(id, _)| *id == blob);
        if known {
            return;
        }
        if self.blobs.waiting.len() >= BLOBS_WAITING_MAX {
            self.outputs.push_back(Output::BlobNowhere { blob });
            return;
        }
        // blobs that nobody has must not keep out those that somebody may have
        if self.blobs.active.len() >= BLOBS_IN_FLIGHT
            && let Some(idle) =
                self.blobs.active.iter().find(|(_, fetch)| fetch.is_nowhere()).map(|(id, _)| *id)
        {
            self.blobs.put_off(&idle);
            self.blobs.waiting.push_front((blob, stored));
        } else {
            self.blobs.waiting.push_back((blob, stored));
        }
        self.start_fetches();
    }

    /// Stops fetching a blob.
    pub fn forget_blob(&mut self, blob: &BlobId) {
        self.blobs.active.remove(blob);
        self.blobs.waiting.retain(|(id, _)| id != blob);
        self.start_fetches();
    }

    /// The blob's last bytes were stored; whether its hash was right. If not, what was stored is to be thrown away: it is
    /// fetched anew from somebody else.
    pub fn handle_blob_stored(&mut self, blob: &BlobId, is_right: bool, now: Monotonic) {
        self.now = now;
        let Some(fetch) = self.blobs.active.get_mut(blob) else { return };
        if is_right {
            self.forget_blob(blob);
            return;
        }
        let source = fetch.source;
        (fetch.stored, fetch.complete) = (0, false);
        if let Some(source) = source {
            self.punish(source, INVALID_SIGNATURE, "sent other bytes than the blob's");
        }
        self.next_source(blob);
    }

    /// Asks a connected member to fetch these blobs from here (id and length). Says whether it is connected.
    pub fn offer_blobs(&mut self, peer: &PeerId, blobs: &[(BlobId, u64)], now: Monotonic) -> bool {
        self.now = now;
        let Some(connection) = self.connected.get(peer).copied() else { return false };
        for part in blobs.chunks(BLOB_OFFERS_MAX) {
            let offers = List::truncated(part.iter().copied());
            self.send(connection, &Message::BlobOffer(offers), Class::Normal);
        }
        true
    }

    /// The answer to [`Output::ReadBlob`]: the blob's length and the bytes, or `None` if it is not here.
    pub fn handle_blob(&mut self, request: RequestId, read: Option<(u64, Vec<u8>)>, now: Monotonic) {
        self.now = now;
        let asked = self.sessions.iter_mut().find_map(|(connection, session)| {
            session.blob_reads.remove(&request).map(|read| (*connection, read))
        });
        let Some((connection, (blob, offset, len))) = asked else { return };
        if len == 0 {
            let total = read.map(|(total, _)| total);
            self.send(connection, &Message::BlobHave(blob, total), Class::Normal);
        } else if let Some(bytes) = read.and_then(|(_, bytes)| Bytes::try_from(bytes).ok()) {
            self.send(connection, &Message::BlobRange(blob, offset, bytes), Class::Low);
        } else {
            self.send(connection, &Message::BlobHave(blob, None), Class::Normal);
        }
    }

    pub(super) fn hear_blob_wanted(&mut self, connection: ConnectionId, blob: BlobId) -> Result<(), Breach> {
        self.read_blob(connection, blob, 0, 0)
    }

    pub(super) fn hear_blob_ask(
        &mut self,
        connection: ConnectionId,
        blob: BlobId,
        offset: u64,
        len: u32,
    ) -> Result<(), Breach> {
        if len == 0 || len as usize > BLOB_RANGE_BYTES_MAX {
            return Err(Breach::violation("asks for more of a blob than may be asked for"));
        }
        self.read_blob(connection, blob, offset, len)
    }

    fn read_blob(
        &mut self,
        connection: ConnectionId,
        blob: BlobId,
        offset: u64,
        len: u32,
    ) -> Result<(), Breach> {
        let request = RequestId(self.next_number());
        let Some(session) = self.sessions.get_mut(&connection) else { return Ok(()) };
        if session.blob_reads.len() >= READS_MAX {
            return Err(Breach::violation("asks for more of blobs than may be asked for at once"));
        }
        session.blob_reads.insert(request, (blob, offset, len));
        self.outputs.push_back(Output::ReadBlob { request, blob, offset, len });
        Ok(())
    }

    pub(super) fn hear_blob_offer(&mut self, connection: ConnectionId, blobs: &[(BlobId, u64)]) {
        let Some(from) = self.sessions.get(&connection).map(|session| session.peer) else { return };
        let offers = blobs.iter().map(|(blob, len)| Output::BlobOffered { blob: *blob, len: *len, from });
        self.outputs.extend(offers);
    }

    pub(super) fn hear_blob_have(&mut self, connection: ConnectionId, blob: BlobId, len: Option<u64>) {
        let deadline = self.now + PATIENCE;
        let Some(fetch) = self.blobs.active.get_mut(&blob) else { return };
        let asked = fetch.unanswered.remove(&connection);
        match len {
            Some(len) if asked && fetch.source != Some(connection) => {
                fetch.candidates.insert(connection, len);
            }
            Some(_) => {}
            None => {
                fetch.candidates.remove(&connection);
                if fetch.source == Some(connection) {
                    fetch.source = None;
                }
            }
        }
        if fetch.source.is_some() {
            return;
        }
        if fetch.candidates.is_empty() {
            if fetch.unanswered.is_empty() {
                // everybody has said no; asked again when the patience ends
                fetch.deadline = deadline;
                self.outputs.push_back(Output::BlobNowhere { blob });
            }
        } else {
            self.next_source(&blob);
        }
    }

    pub(super) fn hear_blob_range(
        &mut self,
        connection: ConnectionId,
        blob: BlobId,
        offset: u64,
        bytes: Vec<u8>,
    ) -> Result<(), Breach> {
        let deadline = self.now + PATIENCE;
        let Some(fetch) = self.blobs.active.get_mut(&blob) else { return Ok(()) };
        let (Some(total), true) = (fetch.total, fetch.source == Some(connection)) else { return Ok(()) };
        if offset < fetch.stored || offset >= fetch.asked_to || fetch.early.contains_key(&offset) {
            return Ok(());
        }
        let aligned = (offset - fetch.stored).is_multiple_of(BLOB_RANGE_BYTES_MAX as u64);
        if !aligned || bytes.len() as u64 != (total - offset).min(BLOB_RANGE_BYTES_MAX as u64) {
            return Err(Breach::violation("a range of a blob that was not asked for"));
        }
        fetch.deadline = deadline;
        fetch.early.insert(offset, bytes);
        let Some(from) = self.sessions.get(&connection).map(|session| session.peer) else { return Ok(()) };
        while let Some(bytes) = fetch.early.remove(&fetch.stored) {
            let offset = fetch.stored;
            fetch.stored += bytes.len() as u64;
            fetch.complete = fetch.stored == total;
            self.outputs.push_back(Output::StoreBlobRange { blob, offset, total, bytes, from });
        }
        self.ask_ranges_of(&blob);
        Ok(())
    }

    fn start_fetches(&mut self) {
        while self.blobs.active.len() < BLOBS_IN_FLIGHT
            && let Some((blob, stored)) = self.blobs.waiting.pop_front()
        {
            let fetch = Fetch {
                stored,
                asked_to: stored,
                total: None,
                source: None,
                candidates: BTreeMap::new(),
                unanswered: BTreeSet::new(),
                early: BTreeMap::new(),
                complete: false,
                deadline: self.now + PATIENCE,
            };
            self.blobs.active.insert(blob, fetch);
            self.ask_everybody(&blob);
        }
    }

    fn ask_everybody(&mut self, blob: &BlobId) {
        let connections: Vec<ConnectionId> = self.connected.values().copied().collect();
        let Some(fetch) = self.blobs.active.get_mut(blob) else { return };
        fetch.deadline = self.now + PATIENCE;
        fetch.unanswered.extend(connections.iter().copied());
        for connection in connections {
            self.send(connection, &Message::BlobWanted(*blob), Class::Normal);
        }
    }

    /// Goes on with the next member that has the blob, or asks everybody again.
    fn next_source(&mut self, blob: &BlobId) {
        let Some(fetch) = self.blobs.active.get_mut(blob) else { return };
        fetch.early.clear();
        fetch.asked_to = fetch.stored;
        fetch.source = None;
        fetch.deadline = self.now + PATIENCE;
        match fetch.candidates.pop_first() {
            Some((_, total)) if total < fetch.stored => self.next_source(blob),
            Some((connection, total)) => {
                (fetch.source, fetch.total) = (Some(connection), Some(total));
                if total == fetch.stored {
                    fetch.complete = true;
                    let from = self.sessions.get(&connection).map(|session| session.peer);
                    let (offset, bytes) = (total, Vec::new());
                    let done = |from| Output::StoreBlobRange { blob: *blob, offset, total, bytes, from };
                    self.outputs.extend(from.map(done));
                } else {
                    self.ask_ranges_of(blob);
                }
            }
            None => {}
        }
    }

    fn ask_ranges_of(&mut self, blob: &BlobId) {
        let Some(fetch) = self.blobs.active.get_mut(blob) else { return };
        let (Some(source), Some(total)) = (fetch.source, fetch.total) else { return };
        let window_end = fetch.stored + (BLOB_RANGES_IN_FLIGHT * BLOB_RANGE_BYTES_MAX) as u64;
        let mut asks = Vec::new();
        while fetch.asked_to < total.min(window_end) {
            let len = (total - fetch.asked_to).min(BLOB_RANGE_BYTES_MAX as u64);
            asks.push(Message::BlobAsk(*blob, fetch.asked_to, u32::try_from(len).unwrap_or(u32::MAX)));
            fetch.asked_to += len;
        }
        asks.iter().for_each(|ask| self.send(source, ask, Class::Normal));
    }

    pub(super) fn time_out_blobs(&mut self) {
        let now = self.now;
        let late = self.blobs.active.iter().filter(|(_, fetch)| !fetch.complete && fetch.deadline <= now);
        for blob in late.map(|(blob, _)| *blob).collect::<Vec<_>>() {
            let silent = self.blobs.active.get(&blob).and_then(|fetch| fetch.source);
            self.next_source(&blob);
            if let Some(silent) = silent {
                self.useless(silent, "does not send the blob it has");
            }
            if self.blobs.active.get(&blob).is_some_and(|fetch| fetch.source.is_none()) {
                if self.blobs.waiting.is_empty() {
                    self.ask_everybody(&blob);
                } else {
                    self.blobs.put_off(&blob);
                }
                // who waits for it is not left without an answer by those who keep silent
                self.outputs.push_back(Output::BlobNowhere { blob });
            }
        }
        self.start_fetches();
    }

    /// A connection ended: what came from it comes from another.
    pub(super) fn forget_blob_source(&mut self, connection: ConnectionId) {
        let mut orphans = Vec::new();
        for (blob, fetch) in &mut self.blobs.active {
            fetch.unanswered.remove(&connection);
            fetch.candidates.remove(&connection);
            if fetch.source == Some(connection) && !fetch.complete {
                orphans.push(*blob);
            }
        }
        orphans.iter().for_each(|blob| self.next_source(blob));
    }
}
