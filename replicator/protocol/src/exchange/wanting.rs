//! Who is asked for what: frontiers are compared, chains become offers, offers become needs.
//!
//! A chain is asked of one peer at a time, from where it ends here, the lowest chains first: what is low names less. Several
//! chains are asked for at once, within a window of bytes. A need that brings nothing, or takes too long, ends the offer; the
//! next comparison renews it. Closed chains are compared range by range, one question at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use wfengine_core::time::Monotonic;
use wfengine_storage_format::limits::SEGMENT_BYTES_MAX;
use wfengine_storage_format::{ChainId, EventId, Hash32};

use super::receiving::Incoming;
use super::{Exchange, ReadFor};
use crate::frontier::{ChainEntry, Comparison, RangePrefix};
use crate::limits::{
    AHEAD_BYTES_MAX, CHAIN_EVENTS_MAX, NEED_BYTES_MAX, NEED_BYTES_MIN, NEEDS_MAX, OFFERS_MAX, RANGES_MAX,
    UNSENT_BYTES_MAX, WINDOW_BYTES,
};
use crate::message::{FrontierMessage, Held, List, Message, NeedMessage, RangeAnswer, RangeAsk};
use crate::output::{Class, ConnectionId, FramesRead, Output, RequestId};
use crate::scores::USELESS;
use crate::segment::SegmentCursor;
use crate::session::{Breach, NeedKind, Offer, OpenNeed, Session};

/// How long a peer may keep silent on a need.
pub(super) const NEED_PATIENCE: Duration = Duration::from_secs(10);
/// What one silence costs at most, however much was asked: a peer whose disk or host stands still for a while is not kept out.
const SILENCE: i32 = 20 * USELESS;
/// Chains whose cut into segments is being read at once.
const CURSOR_READS_MAX: usize = 16;
/// Ranges of closed chains waiting to be asked about; the rest comes with a later comparison.
const RANGES_WAITING_MAX: usize = 4_096;

impl Exchange {
    pub(super) fn hear_digest(&mut self, connection: ConnectionId, digest: Hash32) {
        // a peer that does not read what it was sent is not sent more of it
        let slow =
            self.sessions.get(&connection).is_none_or(|session| session.unsent_bytes > UNSENT_BYTES_MAX);
        let same = self.frontier.digest() == digest;
        if same && let Some(session) = self.sessions.get_mut(&connection) {
            let open = self.frontier.open_entries().take(OFFERS_MAX);
            session.said = Some(open.map(|entry| (entry.chain, entry.length)).collect());
            session.sent.clear();
        }
        if !slow && !same {
            let frontier = self.frontier.message(true);
            self.send(connection, &Message::Frontier(frontier), Class::High);
        }
    }

    pub(super) fn hear_frontier(
        &mut self,
        connection: ConnectionId,
        theirs: &FrontierMessage,
    ) -> Result<(), Breach> {
        if theirs.answer {
            let frontier = self.frontier.message(false);
            self.send(connection, &Message::Frontier(frontier), Class::High);
        }
        let waiting = self.waits_for_others();
        if let Some(session) = self.sessions.get_mut(&connection) {
            session.said = Some(BTreeMap::new());
            session.sent.note_word();
        }
        for entry in theirs.open.iter() {
            self.hear_offer(connection, entry)?;
            // what waits may name events of another branch, of which the peer has less than there is of the one here
            if waiting && entry.length > 0 && entry.length < self.frontier.length(&entry.chain) {
                self.suspect_fork(connection, entry.chain, entry.length);
            }
        }
        let fingerprint = self.frontier.fingerprint(&RangePrefix::ALL);
        if theirs.closed != fingerprint
            && theirs.closed != [0; 32]
            && let Some(session) = self.sessions.get_mut(&connection)
            && session.ranges.is_empty()
            && session.ranges_asked == 0
        {
            session.ranges.push_back(RangeAsk { prefix: RangePrefix::ALL, fingerprint });
            self.ask_ranges(connection);
        }
        Ok(())
    }

    fn ask_ranges(&mut self, connection: ConnectionId) {
        let Some(session) = self.sessions.get_mut(&connection) else { return };
        let count = session.ranges.len().min(RANGES_MAX);
        if count > 0 {
            session.ranges_asked = count;
            let asks = List::truncated(session.ranges.drain(..count));
            self.send(connection, &Message::RangeAsk(asks), Class::High);
        }
    }

    pub(super) fn hear_range_asks(
        &mut self,
        connection: ConnectionId,
        asks: &[RangeAsk],
    ) -> Result<(), Breach> {
        if asks.iter().any(|ask| !ask.prefix.is_sound()) {
            return Err(Breach::violation("a range that is none"));
        }
        let answers = List::truncated(asks.iter().filter_map(|ask| self.frontier.answer(ask)));
        self.send(connection, &Message::RangeAnswer(answers), Class::High);
        Ok(())
    }

    pub(super) fn hear_range_answers(
        &mut self,
        connection: ConnectionId,
        answers: Vec<RangeAnswer>,
    ) -> Result<(), Breach> {
        let Some(session) = self.sessions.get_mut(&connection) else { return Ok(()) };
        if std::mem::take(&mut session.ranges_asked) < answers.len().max(1) {
            return Err(Breach::violation("answers about ranges nobody asked about"));
        }
        for answer in answers {
            match answer {
                RangeAnswer::Parts(prefix, parts) if prefix.is_sound() => {
                    let asks = self.frontier.differing_parts(&prefix, &parts);
                    if let Some(session) = self.sessions.get_mut(&connection)
                        && session.ranges.len() < RANGES_WAITING_MAX
                    {
                        session.ranges.extend(asks);
                    }
                }
                RangeAnswer::Parts(..) => return Err(Breach::violation("a range that is none")),
                RangeAnswer::Entries(_, entries) => {
                    entries.iter().try_for_each(|entry| self.hear_offer(connection, entry))?;
                }
            }
        }
        self.ask_ranges(connection);
        Ok(())
    }

    /// A peer holds events of this node's own key: they should be known here.
    pub(super) fn compare_own_chains(
        &mut self,
        connection: ConnectionId,
        held: &[Held],
    ) -> Result<(), Breach> {
        held.iter().copied().try_for_each(|Held { incarnation, length, tip }| {
            let chain = ChainId { author: self.config.me, incarnation };
            self.hear_offer(connection, &ChainEntry { chain, length, tip, height: 0 })
        })
    }

    /// A peer says how much it has of a chain.
    pub(super) fn hear_offer(&mut self, connection: ConnectionId, theirs: &ChainEntry) -> Result<(), Breach> {
        let ChainEntry { chain, length, height, .. } = *theirs;
        if length > CHAIN_EVENTS_MAX {
            return Err(Breach::violation("more events than a chain can have"));
        }
        let committed = self.frontier.length(&chain);
        let Some(session) = self.sessions.get_mut(&connection) else { return Ok(()) };
        session.note_has(chain, length, committed);
        session.note_said(chain, length);
        if chain.author == self.config.me && length > committed && self.rollbacks.insert(chain) {
            let (theirs, ours, peer) = (*theirs, committed, session.peer);
            self.outputs.push_back(Output::SelfRollback { peer, theirs, ours });
        }
        if self.refused.contains(&chain) || self.forked.contains_key(&chain) {
            return Ok(());
        }
        match self.frontier.compare(theirs) {
            Comparison::Behind { .. } => {
                session.offers.insert(chain, Offer { length, height });
                self.unscheduled = true;
            }
            Comparison::Differs => {
                // a cut chain has no tip to compare with
                let unknown = theirs.tip == EventId::from_bytes([0; 32]);
                if !unknown && session.differing.len() < OFFERS_MAX && session.differing.insert(chain) {
                    self.suspect_fork(connection, chain, length);
                }
            }
            Comparison::Nothing => {}
        }
        Ok(())
    }

    /// Asks for as much as the windows allow.
    pub(super) fn schedule(&mut self) {
        if self.incoming.values().map(Incoming::bytes).sum::<usize>() > AHEAD_BYTES_MAX {
            self.congested = true;
            return;
        }
        let offering =
            |(_, session): &(&ConnectionId, &Session)| session.is_member() && session.offers.len() > 0;
        let connections: Vec<ConnectionId> =
            self.sessions.iter().filter(offering).map(|(connection, _)| *connection).collect();
        for connection in connections {
            self.ask_of(connection);
        }
    }

    fn ask_of(&mut self, connection: ConnectionId) {
        let Some(session) = self.sessions.get(&connection) else { return };
        let share = WINDOW_BYTES / u32::try_from(session.offers.len()).unwrap_or(u32::MAX).max(1);
        let max_bytes = share.clamp(NEED_BYTES_MIN, NEED_BYTES_MAX);
        let mut room = ((WINDOW_BYTES.saturating_sub(session.window_used)) / max_bytes) as usize;
        room = room.min(NEEDS_MAX - session.needs.len().min(NEEDS_MAX));
        let (mut chosen, mut settled, mut uncut) = (Vec::new(), Vec::new(), Vec::new());
        let mut congested = false;
        for (chain, offer) in session.offers.lowest_first() {
            if chosen.len() >= room {
                break;
            }
            if self.asked.contains_key(&chain) || self.held_back.contains(&chain) {
                continue;
            }
            let committed = self.frontier.length(&chain);
            let incoming = self.incoming.get(&chain);
            if self.refused.contains(&chain) || committed >= offer.length {
                settled.push(chain);
            } else if let Some(incoming) = incoming {
                if !incoming.takes_more() {
                    congested |= !incoming.is_blocked();
                } else if incoming.next_seq < offer.length {
                    chosen.push((chain, incoming.next_seq));
                }
            } else if self.cursor(&chain).is_some() {
                chosen.push((chain, committed));
            } else if uncut.len() < CURSOR_READS_MAX {
                uncut.push(chain);
            }
        }
        self.congested |= congested;
        uncut.iter().for_each(|chain| self.learn_cursor(chain));
        if let Some(session) = self.sessions.get_mut(&connection) {
            settled.iter().for_each(|chain| session.offers.remove(chain));
        }
        for (chain, from_seq) in chosen {
            self.asked.insert(chain, connection);
            self.open_need(connection, chain, from_seq, max_bytes, NeedKind::Range);
        }
    }

    pub(super) fn open_need(
        &mut self,
        connection: ConnectionId,
        chain: ChainId,
        from_seq: u64,
        max_bytes: u32,
        kind: NeedKind,
    ) {
        let deadline = self.now + NEED_PATIENCE;
        let Some(session) = self.sessions.get_mut(&connection) else { return };
        let need = session.next_need;
        session.next_need = need.wrapping_add(1);
        session.window_used += max_bytes;
        let (received_bytes, received, ended) = (0, 0, false);
        let open = OpenNeed { chain, from_seq, max_bytes, received_bytes, received, ended, deadline, kind };
        session.needs.insert(need, open);
        self.send(connection, &Message::Need(NeedMessage { need, chain, from_seq, max_bytes }), Class::High);
    }

    /// Every chunk of a need was verified.
    pub(super) fn end_need(&mut self, connection: ConnectionId, need: u32) {
        let Some(open) = self.close_need(connection, need) else { return };
        let reached = self.incoming.get(&open.chain).map_or(0, |incoming| incoming.next_seq);
        let reached = reached.max(self.frontier.length(&open.chain));
        if open.kind == NeedKind::Branch {
            if open.received == 0 {
                self.suspects.remove(&open.chain);
            } else {
                self.ask_for_branches();
            }
        } else if reached <= open.from_seq {
            if let Some(session) = self.sessions.get_mut(&connection) {
                session.offers.remove(&open.chain);
            }
            if open.received == 0 {
                self.useless(connection, "offers what it does not have");
            }
        }
    }

    fn close_need(&mut self, connection: ConnectionId, need: u32) -> Option<OpenNeed> {
        let session = self.sessions.get_mut(&connection)?;
        let open = session.needs.remove(&need)?;
        session.window_used = session.window_used.saturating_sub(open.max_bytes);
        if open.kind != NeedKind::Branch && self.asked.get(&open.chain) == Some(&connection) {
            self.asked.remove(&open.chain);
        }
        self.unscheduled = true;
        Some(open)
    }

    pub(super) fn time_out_needs(&mut self) {
        let now = self.now;
        let late = |need: &OpenNeed| !need.ended && need.deadline <= now;
        let mut silent: Vec<(ConnectionId, u32)> = Vec::new();
        for (connection, session) in &self.sessions {
            let needs = session.needs.iter().filter(|(_, need)| late(need));
            silent.extend(needs.map(|(need, _)| (*connection, *need)));
        }
        let mut costs: BTreeMap<ConnectionId, i32> = BTreeMap::new();
        for (connection, need) in silent {
            if let Some(open) = self.close_need(connection, need)
                && let Some(session) = self.sessions.get_mut(&connection)
            {
                session.offers.remove(&open.chain);
                *costs.entry(connection).or_default() += USELESS;
            }
        }
        for (connection, cost) in costs {
            self.punish(connection, cost.max(SILENCE), "does not answer what it is asked");
        }
        self.drop_stale();
    }

    /// Reads how far a chain has been cut into segments; needed before its next chunk is made or compared.
    pub(super) fn learn_cursor(&mut self, chain: &ChainId) {
        let length = self.frontier.length(chain);
        if length == 0 || self.cursor_reads.contains_key(chain) || self.cursor_reads.len() >= CURSOR_READS_MAX
        {
            return;
        }
        let request = RequestId(self.next_number());
        self.cursor_reads.insert(*chain, request);
        self.reads.insert(request, ReadFor::Cursor { chain: *chain });
        self.outputs.push_back(Output::Read {
            request,
            chain: *chain,
            from_seq: length - 1,
            whole_segment: true,
            max_bytes: SEGMENT_BYTES_MAX,
        });
    }

    /// The answer to [`Output::Read`].
    pub fn handle_frames(&mut self, request: RequestId, read: &FramesRead, now: Monotonic) {
        self.now = now;
        match self.reads.remove(&request) {
            Some(ReadFor::Serving { connection, need }) => self.serve_frames(connection, need, read),
            Some(ReadFor::Cursor { chain }) => {
                self.cursor_reads.remove(&chain);
                self.unscheduled = true;
                let length = self.frontier.length(&chain);
                let Some(segment) = read.segment else { return };
                let mut cursor = SegmentCursor::at_segment(segment);
                for frame in read.frames.iter().take_while(|frame| frame.end_seq <= length) {
                    if cursor.append(&chain, &frame.bytes).is_err() {
                        return;
                    }
                    if frame.end_seq == length {
                        self.cursors.insert(chain, cursor);
                    }
                }
            }
            None => {}
        }
    }
}
