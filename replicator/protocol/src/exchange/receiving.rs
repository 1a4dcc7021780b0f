//! From a foreign chunk to a verified frame: parsed, decoded, verified, placed, compared with the chunk made of it, handed over.
//!
//! Chunks are verified in turns between peers. One that does not continue its chain is not kept: it counts as a notice, and the
//! range before it is asked for. One whose author contradicts the log goes to the log without its chunk having been compared
//! (the sender may honestly hold the other branch); the log answers with the proof.

use std::collections::VecDeque;
use std::time::Duration;

use wfengine_core::time::Monotonic;
use wfengine_storage_format::{ChainId, EventId, FrameError, SignedFrame, VerifiedFrame};

use super::Exchange;
use crate::chunk::CHUNK_LEN_MAX;
use crate::filter::ParsedChunk;
use crate::frontier::ChainEntry;
use crate::limits::{AHEAD_CHAIN_BYTES_MAX, CHAIN_EVENTS_MAX, CHUNK_LEN_MIN, UNSENT_BYTES_MAX};
use crate::message::{Bytes, ChunksMessage, List, Message, PushMessage};
use crate::output::{Class, ConnectionId, Outcome, Output};
use crate::scores::{INVALID_SIGNATURE, USELESS};
use crate::segment::SegmentCursor;
use crate::session::{Breach, NeedKind, Session, Unverified};

/// How long frames may be on their way to the log before the chain is asked for again.
const STALE: Duration = Duration::from_secs(60);

/// How far a chain has come, ahead of its committed part.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(super) next_seq: u64,
    tip: EventId,
    cursor: SegmentCursor,
    /// Ends and cursors of the frames that were handed over and are not committed.
    ahead: VecDeque<(u64, SegmentCursor, usize)>,
    /// Their bytes.
    bytes: usize,
    /// One of them waits for frames of other chains.
    blocked: bool,
    touched: Monotonic,
}

impl Incoming {
    pub(super) fn stale_at(&self) -> Monotonic {
        self.touched + STALE
    }
    /// Whether frames of the chain wait for those of others.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked
    }
    /// Bytes of its frames on their way to the log.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
    /// Whether more of the chain may be asked for.
    pub(super) fn takes_more(&self) -> bool {
        !self.blocked && self.bytes < AHEAD_CHAIN_BYTES_MAX
    }
}

/// Where a chain's next frame belongs.
struct Position {
    next_seq: u64,
    tip: Option<EventId>,
    cursor: Option<SegmentCursor>,
}

/// Why a chunk was not handed over.
enum Unwanted {
    /// The sender broke the protocol.
    Breach(Breach),
    /// Its author's signature does not fit.
    Signature(String),
    /// It is here already, or cannot be used, and nobody is to blame.
    Useless,
}

impl Exchange {
    pub(super) fn hear_chunks(
        &mut self,
        connection: ConnectionId,
        message: ChunksMessage,
    ) -> Result<(), Breach> {
        let deadline = self.now + super::wanting::NEED_PATIENCE;
        let Some(session) = self.sessions.get_mut(&connection) else { return Ok(()) };
        let Some(need) = session.needs.get_mut(&message.need).filter(|need| !need.ended) else {
            let asked_once = message.need < session.next_need;
            return if asked_once { Ok(()) } else { Err(Breach::violation("chunks nobody asked for")) };
        };
        need.received_bytes += message.chunks.iter().map(|chunk| chunk.len()).sum::<usize>();
        need.ended = message.last;
        if need.received_bytes > need.max_bytes as usize + CHUNK_LEN_MAX {
            return Err(Breach::violation("more chunks than were asked for"));
        }
        if message.chunks.iter().any(|chunk| chunk.len() < CHUNK_LEN_MIN) {
            return Err(Breach::violation("a chunk too short to be one"));
        }
        // one that answers is not silent on what it answers later: over a slow link the last need waits for all others
        session.needs.values_mut().for_each(|need| need.deadline = deadline);
        let items = message.chunks.into_inner().into_iter();
        let items = items.map(|chunk| Unverified::Asked { need: message.need, chunk: chunk.into_inner() });
        let end = message.last.then_some(Unverified::End { need: message.need });
        session.unverified.extend(items.chain(end));
        Ok(())
    }

    pub(super) fn hear_push(&mut self, connection: ConnectionId, push: PushMessage) -> Result<(), Breach> {
        let PushMessage { chain, first_seq, end_seq, chunk } = push;
        if chunk.len() < CHUNK_LEN_MIN || first_seq >= end_seq {
            return Err(Breach::violation("a push of nothing"));
        }
        if end_seq > CHAIN_EVENTS_MAX {
            return Err(Breach::violation("more events than a chain can have"));
        }
        let (position, committed) = (self.position(&chain), self.frontier.length(&chain));
        if let Some(session) = self.sessions.get_mut(&connection) {
            session.note_has(chain, end_seq, committed);
            session.note_said(chain, end_seq);
            if end_seq <= position.next_seq {
                return Ok(());
            }
            let room = self.incoming.get(&chain).is_none_or(Incoming::takes_more);
            let fits = first_seq <= position.next_seq && position.cursor.is_some() && room;
            let chunk = chunk.into_inner();
            if fits && session.keep_pushed(Unverified::Pushed { chain, first_seq, end_seq, chunk }) {
                return Ok(());
            }
        }
        // does not continue what is here, or there is no room: as good as a notice
        let (tip, height) = (EventId::from_bytes([0; 32]), 0);
        self.hear_offer(connection, &ChainEntry { chain, length: end_seq, tip, height })
    }

    /// Verifies what one peer sent, for one turn. Says whether there was anything to do.
    pub(super) fn verify_a_turn(&mut self) -> bool {
        let waiting = |(connection, session): (&ConnectionId, &Session)| {
            (!session.unverified.is_empty()).then_some(*connection)
        };
        let after = self.turn.map_or(ConnectionId(0), |turn| ConnectionId(turn.0.saturating_add(1)));
        let next = self.sessions.range(after..).find_map(waiting);
        let Some(connection) = next.or_else(|| self.sessions.iter().find_map(waiting)) else { return false };
        self.turn = Some(connection);
        let mut spent_bytes = 0;
        while spent_bytes < self.config.budget.turn_bytes {
            let Some(item) = self.sessions.get_mut(&connection).and_then(Session::take_unverified) else {
                break;
            };
            spent_bytes += item.len() + self.config.budget.signature_bytes;
            self.verify_one(connection, item);
        }
        true
    }

    fn verify_one(&mut self, connection: ConnectionId, item: Unverified) {
        let result = match item {
            Unverified::End { need } => {
                self.end_need(connection, need);
                return;
            }
            Unverified::Asked { need, chunk } => {
                let Some(session) = self.sessions.get_mut(&connection) else { return };
                let Some(need) = session.needs.get_mut(&need) else { return };
                need.received += 1;
                let (chain, kind) = (need.chain, need.kind);
                self.take_chunk(connection, &chunk, chain, None, kind)
            }
            Unverified::Pushed { chain, first_seq, end_seq, chunk } => {
                self.take_chunk(connection, &chunk, chain, Some((first_seq, end_seq)), NeedKind::Range)
            }
        };
        match result {
            Ok(()) => {}
            Err(Unwanted::Breach(breach)) => self.end(connection, breach),
            Err(Unwanted::Signature(reason)) => self.punish(connection, INVALID_SIGNATURE, &reason),
            Err(Unwanted::Useless) => {}
        }
    }

    fn take_chunk(
        &mut self,
        connection: ConnectionId,
        bytes: &[u8],
        chain: ChainId,
        claimed: Option<(u64, u64)>,
        kind: NeedKind,
    ) -> Result<(), Unwanted> {
        let breach = |reason: String| Unwanted::Breach(Breach::violation(reason));
        let from = self.sessions.get(&connection).map(|session| session.peer).ok_or(Unwanted::Useless)?;
        let parsed = ParsedChunk::parse(bytes).map_err(|rejected| breach(rejected.to_string()))?;
        let frame = SignedFrame::decode(parsed.frame()).map_err(|error| match error {
            // of a newer format, which the sender may know
            FrameError::Format(_) => Unwanted::Useless,
            error => breach(error.to_string()),
        })?;
        let header = frame.header();
        if header.cluster != self.config.cluster {
            return Err(breach("a frame of another cluster".to_owned()));
        }
        let place = (header.first_seq, header.end_seq());
        if header.chain != chain || claimed.is_some_and(|claimed| claimed != place) {
            return Err(breach("a chunk of another frame than was said".to_owned()));
        }
        let position = self.position(&chain);
        let known = header.end_seq() <= position.next_seq;
        if kind == NeedKind::Range && (known || header.first_seq > position.next_seq) {
            return Err(Unwanted::Useless);
        }
        if kind == NeedKind::Branch {
            self.note_branch(connection, chain, place.1);
        }
        let connects = kind == NeedKind::Range
            && header.first_seq == position.next_seq
            && (position.next_seq == 0 || header.prev == position.tip);
        let frame = frame.verify().map_err(|error| match error {
            FrameError::Signature { .. } => Unwanted::Signature(error.to_string()),
            error => breach(error.to_string()),
        })?;
        if connects {
            let mut cursor = position.cursor.ok_or(Unwanted::Useless)?;
            cursor.accept(&chain, &parsed, frame.bytes()).map_err(|rejected| breach(rejected.to_string()))?;
            self.advance(&frame, cursor);
            let committed = self.frontier.length(&chain);
            if let Some(session) = self.sessions.get_mut(&connection) {
                session.note_has(chain, frame.header().end_seq(), committed);
            }
            self.note_held(connection, &frame);
        }
        self.outputs.push_back(Output::Admit { frame, from });
        if !connects && kind == NeedKind::Range {
            self.suspect_fork(connection, chain, position.next_seq);
        }
        Ok(())
    }

    /// Where the next frame of a chain belongs: behind what is committed and what is on its way.
    fn position(&self, chain: &ChainId) -> Position {
        if let Some(incoming) = self.incoming.get(chain) {
            let (tip, cursor) = (Some(incoming.tip), Some(incoming.cursor));
            return Position { next_seq: incoming.next_seq, tip, cursor };
        }
        let next_seq = self.frontier.length(chain);
        let cursor = self.cursor(chain);
        Position { next_seq, tip: self.frontier.tip(chain), cursor }
    }

    /// Where a chain's next frame goes, behind its committed part, if that is known.
    pub(super) fn cursor(&self, chain: &ChainId) -> Option<SegmentCursor> {
        match self.frontier.length(chain) {
            0 => Some(SegmentCursor::START),
            _ => self.cursors.get(chain).copied(),
        }
    }

    fn advance(&mut self, frame: &VerifiedFrame, cursor: SegmentCursor) {
        let header = frame.header();
        let incoming = self.incoming.entry(header.chain).or_insert(Incoming {
            next_seq: 0,
            tip: header.last,
            cursor,
            ahead: VecDeque::new(),
            bytes: 0,
            blocked: false,
            touched: self.now,
        });
        incoming.next_seq = header.end_seq();
        incoming.tip = header.last;
        incoming.cursor = cursor;
        incoming.touched = self.now;
        incoming.bytes += frame.bytes().len();
        incoming.ahead.push_back((header.end_seq(), cursor, frame.bytes().len()));
    }

    /// A frame handed over by [`Output::Admit`] is not committed, or not yet.
    pub fn handle_outcome(&mut self, chain: &ChainId, end_seq: u64, outcome: Outcome, now: Monotonic) {
        self.now = now;
        let on_its_way = |incoming: &Incoming| incoming.ahead.iter().any(|(end, ..)| *end == end_seq);
        match outcome {
            Outcome::Waiting => {
                if let Some(incoming) = self.incoming.get_mut(chain).filter(|incoming| on_its_way(incoming)) {
                    incoming.blocked = true;
                    incoming.touched = now;
                    self.ask_for_branches();
                } else {
                    self.look_further_back(chain, end_seq);
                }
            }
            Outcome::Dropped => {
                self.look_forward(chain, end_seq);
                if self.incoming.get(chain).is_some_and(on_its_way) {
                    self.incoming.remove(chain);
                    self.held_back.insert(*chain);
                }
            }
            Outcome::Rejected => {
                self.incoming.remove(chain);
                self.refused.insert(*chain);
            }
            Outcome::Forked => {
                self.incoming.remove(chain);
                for session in self.sessions.values_mut() {
                    session.offers.remove(chain);
                }
                self.note_fork(chain, end_seq);
            }
        }
        self.unscheduled = true;
    }

    pub(super) fn take_committed(&mut self, frame: &VerifiedFrame) {
        let header = frame.header();
        let (chain, end_seq) = (header.chain, header.end_seq());
        if end_seq <= self.frontier.length(&chain) {
            return;
        }
        if let Some(author) = self.connected.get(&chain.author).copied() {
            self.note_held(author, frame);
        }
        let before = self.cursor(&chain);
        let mut after = self.settle_incoming(&chain, end_seq);
        self.frontier.committed(frame);
        let targets = self.targets_of(&chain, end_seq);
        let mut chunk = None;
        let append_for = !targets.is_empty() || (after.is_none() && !self.connected.is_empty());
        if let Some(mut cursor) = before.filter(|_| append_for)
            && let Ok(made) = cursor.append(&chain, frame.bytes())
        {
            (chunk, after) = (Some(made), Some(cursor));
        }
        match after {
            Some(cursor) => self.cursors.insert(chain, cursor),
            // with nobody to send to nothing is hashed; it is read again when somebody comes
            None => self.cursors.remove(&chain),
        };
        let push = chunk.and_then(|chunk| Bytes::try_from(chunk.into_bytes()).ok()).map(|chunk| {
            Message::Push(PushMessage { chain, first_seq: header.first_seq, end_seq, chunk }).encode()
        });
        for target in targets {
            let slow =
                self.sessions.get(&target).is_some_and(|session| session.unsent_bytes > UNSENT_BYTES_MAX);
            match &push {
                Some(push) if !slow => {
                    self.send_encoded(target, push.clone(), Class::High);
                    self.note_sent(target, chain, header.first_seq, end_seq);
                }
                _ => {
                    if let Some(session) = self.sessions.get_mut(&target) {
                        session.notices.insert(chain);
                    }
                    if push.is_none() {
                        self.learn_cursor(&chain);
                    }
                    self.send_notices(target);
                }
            }
        }
        if !self.held_back.is_empty() {
            self.held_back.clear();
            self.unscheduled = true;
        }
    }

    /// A frame that may have been on its way has arrived; gives the cursor behind it.
    fn settle_incoming(&mut self, chain: &ChainId, end_seq: u64) -> Option<SegmentCursor> {
        let incoming = self.incoming.get_mut(chain)?;
        let mut settled = None;
        while let Some((end, cursor, len)) =
            incoming.ahead.front().copied().filter(|(end, ..)| *end <= end_seq)
        {
            settled = Some(cursor).filter(|_| end == end_seq);
            incoming.ahead.pop_front();
            incoming.bytes -= len;
        }
        self.unscheduled |= std::mem::take(&mut self.congested);
        incoming.touched = self.now;
        if incoming.ahead.is_empty() || settled.is_none() {
            let unblocked = incoming.blocked;
            self.incoming.remove(chain);
            self.unscheduled |= unblocked;
        }
        settled
    }

    /// Who is told of a frame: the connected members that are not known to have it and are not being served its chain.
    fn targets_of(&mut self, chain: &ChainId, end_seq: u64) -> Vec<ConnectionId> {
        let mut targets = Vec::new();
        for (connection, session) in &mut self.sessions {
            let has = session.has.get(chain).copied().unwrap_or(0);
            if has <= end_seq {
                session.has.remove(chain);
            }
            if session.offers.get(chain).is_some_and(|offer| offer.length <= end_seq) {
                session.offers.remove(chain);
            }
            let served = session.serving.values().any(|serving| serving.chain == *chain);
            if session.is_member() && has < end_seq && !served {
                targets.push(*connection);
            }
        }
        targets
    }

    /// Tells a slow reader which chains grew, once it reads again.
    pub(super) fn send_notices(&mut self, connection: ConnectionId) {
        let Some(session) = self.sessions.get_mut(&connection) else { return };
        if session.notices.is_empty() || session.unsent_bytes > UNSENT_BYTES_MAX {
            return;
        }
        let chains = std::mem::take(&mut session.notices);
        let entries = List::truncated(chains.iter().filter_map(|chain| self.frontier.entry(chain)));
        self.send(connection, &Message::Notice(entries), Class::High);
    }

    pub(super) fn drop_stale(&mut self) {
        let now = self.now;
        self.incoming.retain(|_, incoming| now < incoming.stale_at());
    }

    pub(super) fn useless(&mut self, connection: ConnectionId, reason: &str) {
        self.punish(connection, USELESS, reason);
    }
}
