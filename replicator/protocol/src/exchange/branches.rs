//! Forks: finding where a peer's branch of a chain leaves ours, and seeing enough of it.
//!
//! A fork shows when a frame does not follow the one before it here, or when a chain ends otherwise there than here. The proof
//! is two contradicting frames, so the peer's branch is looked at from ever further back until a frame of it connects with
//! what is known; then forward. Later, when frames of others wait for something and there are forked chains, what waits may
//! name events of branches that others hold, and those are asked for. The log keeps no second branch, it only remembers it.
//!
//! Who forked and up to where the chain counts is for the log and the roster to say.

use std::collections::BTreeMap;

use wfengine_storage_format::ChainId;

use super::Exchange;
use super::receiving::Incoming;
use crate::limits::{NEED_BYTES_MIN, NEEDS_MAX};
use crate::output::ConnectionId;
use crate::session::NeedKind;

/// Forked chains one peer is asked about at once.
const BRANCHES_AT_ONCE_MAX: usize = 16;
/// Chains suspected at once; others show again.
const SUSPECTS_MAX: usize = 256;

/// A chain that seems to be forked.
#[derive(Debug)]
pub(super) struct Suspect {
    /// Who holds the other branch.
    connection: ConnectionId,
    /// How far back from our end the branch is looked at.
    distance: u64,
    /// End of the frame that was seen from there, one at a time until it connects.
    first_end: Option<u64>,
    /// It connects: from there on forward.
    forward: bool,
}

impl Exchange {
    /// A chain seems to be forked: the peer's branch is looked at, first the frame before this place.
    pub(super) fn suspect_fork(&mut self, connection: ConnectionId, chain: ChainId, length: u64) {
        let known = self.frontier.cuts().contains_key(&chain)
            || self.forked.contains_key(&chain)
            || self.suspects.contains_key(&chain);
        if !known && self.suspects.len() < SUSPECTS_MAX {
            let distance = self.frontier.length(&chain).saturating_sub(length) + 1;
            self.suspects.insert(chain, Suspect { connection, distance, first_end: None, forward: false });
            self.ask_for_branches();
        }
    }

    /// The log has the proof.
    pub(super) fn note_fork(&mut self, chain: &ChainId, end_seq: u64) {
        self.suspects.remove(chain);
        let first = self.forked.entry(*chain).or_insert(end_seq);
        *first = end_seq.min(*first);
        self.ask_for_branches();
    }

    /// Whether frames wait for those of other chains.
    pub(super) fn waits_for_others(&self) -> bool {
        self.incoming.values().any(Incoming::is_blocked)
    }

    /// A frame of a branch came.
    pub(super) fn note_branch(&mut self, connection: ConnectionId, chain: ChainId, end_seq: u64) {
        if let Some(session) = self.sessions.get_mut(&connection) {
            session.branches.insert(chain, end_seq);
        }
        if let Some(suspect) =
            self.suspects.get_mut(&chain).filter(|suspect| suspect.connection == connection)
        {
            suspect.first_end.get_or_insert(end_seq);
        }
    }

    /// A frame of a branch waits for the one before it: the branch began earlier.
    pub(super) fn look_further_back(&mut self, chain: &ChainId, end_seq: u64) {
        let length = self.frontier.length(chain);
        let Some(suspect) = self.suspects.get_mut(chain).filter(|s| s.first_end == Some(end_seq)) else {
            return;
        };
        let connection = suspect.connection;
        if suspect.distance >= length {
            self.suspects.remove(chain);
            return;
        }
        suspect.distance = suspect.distance.saturating_mul(2);
        suspect.first_end = None;
        if let Some(session) = self.sessions.get_mut(&connection) {
            session.branches.remove(chain);
        }
        self.ask_for_branches();
    }

    /// A frame of a branch is the same as ours: the branches part later.
    pub(super) fn look_forward(&mut self, chain: &ChainId, end_seq: u64) {
        if let Some(suspect) = self.suspects.get_mut(chain).filter(|s| s.first_end == Some(end_seq)) {
            suspect.forward = true;
            self.ask_for_branches();
        }
    }

    /// Asks for branches that are suspected, and, while frames wait for others, for all branches of proved forks: each peer for
    /// its own, going on where it stopped.
    pub(super) fn ask_for_branches(&mut self) {
        let waiting = self.waits_for_others();
        let mut forked = BTreeMap::new();
        if waiting {
            forked
                .extend(self.forked.iter().chain(self.frontier.cuts()).map(|(chain, from)| (*chain, *from)));
        }
        if self.suspects.is_empty() && forked.is_empty() {
            return;
        }
        let mut asks = Vec::new();
        for (connection, session) in self.sessions.iter().filter(|(_, session)| session.is_member()) {
            let room = NEEDS_MAX.saturating_sub(session.needs.len()).min(BRANCHES_AT_ONCE_MAX);
            let suspects = self.suspects.iter().filter(|(_, suspect)| {
                suspect.connection == *connection && (suspect.forward || suspect.first_end.is_none())
            });
            let suspects = suspects.map(|(chain, suspect)| {
                let from = self.frontier.length(chain).saturating_sub(suspect.distance);
                (*chain, from, if suspect.forward { NEED_BYTES_MIN } else { 1 })
            });
            let forked = forked.iter().map(|(chain, from)| (*chain, *from, NEED_BYTES_MIN));
            let asked = |chain: &ChainId| {
                session.needs.values().any(|need| need.chain == *chain && need.kind == NeedKind::Branch)
            };
            for (chain, from, max_bytes) in
                suspects.chain(forked).filter(|(chain, ..)| !asked(chain)).take(room)
            {
                let from_seq = session.branches.get(&chain).map_or(from, |seen| from.max(*seen));
                asks.push((*connection, chain, from_seq, max_bytes));
            }
        }
        for (connection, chain, from_seq, max_bytes) in asks {
            self.open_need(connection, chain, from_seq, max_bytes, NeedKind::Branch);
        }
    }

    pub(super) fn forget_suspects_of(&mut self, connection: ConnectionId) {
        self.suspects.retain(|_, suspect| suspect.connection != connection);
    }
}
