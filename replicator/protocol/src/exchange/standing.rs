//! How the log of this node and those of its peers differ, for people and for the scheduler.
//!
//! It is as old as the peer's last word: a frontier, a digest that is the same, a frame that names what its author has, a frame
//! that the peer brings itself. What was sent to a peer since counts apart from that ([`Sent`]): the transport took it, nobody said
//! that it arrived. It decides nothing about what is sent, and no copy that somebody relies on is counted by it: who holds an event
//! is asked ([`Question::Holds`](crate::message::Question::Holds)).

use std::collections::BTreeMap;

use wfengine_storage_format::{ChainId, Incarnation, PeerId, VerifiedFrame};

use super::Exchange;
use crate::frontier::ChainEntry;
use crate::limits::OFFERS_MAX;
use crate::output::ConnectionId;
use crate::session::Offer;

/// How a peer's log and this node's differ, as far as is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// Events of open chains that are here, that the peer did not say it has, and that were not sent to it.
    pub lacks: u64,
    /// Events of open chains that were sent to the peer, which has not said yet that it has them.
    pub unconfirmed: u64,
    /// Events that are there and not here, as the peer says.
    pub owes: u64,
}

impl Exchange {
    /// How a connected member's log and this one differ. `None` before the member said anything about that.
    pub fn standing(&self, peer: &PeerId) -> Option<Standing> {
        let session = self.sessions.get(self.connected.get(peer)?)?;
        let said = session.said.as_ref()?;
        let offers = session.offers.lowest_first();
        let owes = total(offers.map(|(chain, offer)| self.owed(&chain, offer)));
        let mut standing = Standing { owes, ..Standing::default() };
        for ChainEntry { chain, length, .. } in self.frontier.open_entries() {
            if !said.contains_key(&chain) && self.goes_on_there(said, &chain) {
                continue;
            }
            let confirmed = said.get(&chain).copied().unwrap_or(0).min(length);
            let reached = session.sent.reach(&chain, confirmed).min(length);
            standing.unconfirmed = standing.unconfirmed.saturating_add(reached - confirmed);
            standing.lacks = standing.lacks.saturating_add(length - reached);
        }
        Some(standing)
    }

    /// Whether a peer that does not list a chain has more than this node of another one by the same author. Then the chain is
    /// closed there, by one that is not here yet, and the peer has all of it.
    fn goes_on_there(&self, said: &BTreeMap<ChainId, u64>, chain: &ChainId) -> bool {
        let first = ChainId { author: chain.author, incarnation: Incarnation::from_bytes([0; 16]) };
        let of_author = said.range(first..);
        let mut of_author = of_author.take_while(|(other, _)| other.author == chain.author);
        of_author.any(|(other, length)| *length > self.frontier.length(other))
    }

    /// Events that some connected member has and this node lacks, as far as members said.
    pub fn behind(&self) -> u64 {
        let mut most: BTreeMap<ChainId, u64> = BTreeMap::new();
        for session in self.sessions.values().filter(|session| session.is_member()) {
            for (chain, offer) in session.offers.lowest_first() {
                let most = most.entry(chain).or_default();
                *most = self.owed(&chain, offer).max(*most);
            }
        }
        total(most.into_values())
    }

    fn owed(&self, chain: &ChainId, offer: Offer) -> u64 {
        offer.length.saturating_sub(self.frontier.length(chain))
    }

    /// A frame's author has what it wrote and what it names, and so has whoever brings a frame of its log.
    pub(super) fn note_held(&mut self, connection: ConnectionId, frame: &VerifiedFrame) {
        let Some(session) = self.sessions.get_mut(&connection) else { return };
        let header = frame.header();
        session.note_said(header.chain, header.end_seq());
        for parent in frame.events().iter().flat_map(|(_, event)| &event.parents) {
            session.note_said(parent.chain, parent.seq.saturating_add(1));
        }
    }

    /// Events of a chain were given to the transport for a peer.
    pub(super) fn note_sent(&mut self, to: ConnectionId, chain: ChainId, first_seq: u64, end_seq: u64) {
        if let Some(session) = self.sessions.get_mut(&to) {
            session.sent.note(chain, first_seq, end_seq);
        }
    }
}

/// A sum of numbers that peers made: there may be any number of them, and of any size.
fn total(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}

/// Events of chains that were sent without a gap: the first one's place and that after the last.
type Spans = BTreeMap<ChainId, (u64, u64)>;

/// What was sent to one peer and may not be part of its last word.
///
/// A word that came just after something was sent may have been made before that arrived and was committed, so what was sent counts
/// until the word after the next. It counts as far as it follows what the peer said: what the peer let fall, and all behind it, is
/// seen to be missing.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// Given to the transport, which did not take all of it yet.
    waiting: Spans,
    /// Taken since the peer's last word.
    taken: Spans,
    /// Taken before that, and after the word before.
    earlier: Spans,
}

impl Sent {
    /// Events of a chain were given to the transport.
    pub(super) fn note(&mut self, chain: ChainId, first_seq: u64, end_seq: u64) {
        if first_seq < end_seq {
            add(&mut self.waiting, chain, (first_seq, end_seq));
        }
    }

    /// The transport took everything it was given.
    pub(super) fn note_taken(&mut self) {
        for (chain, span) in std::mem::take(&mut self.waiting) {
            add(&mut self.taken, chain, span);
        }
    }

    /// The peer said what it has.
    pub(super) fn note_word(&mut self) {
        self.earlier = std::mem::take(&mut self.taken);
    }

    /// The peer has everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// How much of a chain the peer has when what was sent arrives, if it has this much without.
    fn reach(&self, chain: &ChainId, confirmed: u64) -> u64 {
        let spans = [&self.earlier, &self.taken].into_iter().filter_map(|spans| spans.get(chain));
        spans.fold(
            confirmed,
            |reached, (first, end)| if *first <= reached { reached.max(*end) } else { reached },
        )
    }
}

/// Adds a span to that of its chain, or puts it in its place if there is a gap between them.
fn add(spans: &mut Spans, chain: ChainId, (first, end): (u64, u64)) {
    let room = spans.len() < OFFERS_MAX;
    match spans.get_mut(&chain) {
        Some(known) if first <= known.1 && known.0 <= end => {
            *known = (first.min(known.0), end.max(known.1));
        }
        Some(known) => *known = (first, end),
        None if room => drop(spans.insert(chain, (first, end))),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(incarnation: u8) -> ChainId {
        ChainId {
            author: PeerId::from_bytes([7; 32]),
            incarnation: Incarnation::from_bytes([incarnation; 16]),
        }
    }

    #[test]
    fn numbers_that_peers_made_up_add_up_to_the_greatest() {
        assert_eq!(total([u64::MAX, u64::MAX, 3].into_iter()), u64::MAX);
        assert_eq!(total([1, 2, 3].into_iter()), 6);
    }

    #[test]
    fn what_was_sent_counts_once_the_transport_took_it_and_until_the_word_after_the_next() {
        let mut sent = Sent::default();
        sent.note(chain(1), 10, 12);
        sent.note(chain(1), 12, 15);
        assert_eq!(sent.reach(&chain(1), 10), 10, "the transport holds it");
        sent.note_taken();
        assert_eq!((sent.reach(&chain(1), 10), sent.reach(&chain(2), 10)), (15, 10));
        sent.note_word();
        assert_eq!(sent.reach(&chain(1), 11), 15, "the word may have crossed it");
        sent.note_word();
        assert_eq!(sent.reach(&chain(1), 11), 11, "this one did not");
    }

    #[test]
    fn what_was_sent_counts_only_if_it_follows_what_the_peer_has() {
        let mut sent = Sent::default();
        sent.note(chain(1), 20, 30);
        sent.note_taken();
        assert_eq!(sent.reach(&chain(1), 19), 19);
        // the peer let fall what came before the word; what comes after does not follow
        sent.note_word();
        sent.note(chain(1), 30, 31);
        sent.note_taken();
        assert_eq!((sent.reach(&chain(1), 20), sent.reach(&chain(1), 10)), (31, 10));
        sent.note_word();
        assert_eq!(sent.reach(&chain(1), 20), 20);
    }
}
