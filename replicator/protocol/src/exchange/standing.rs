//! How the log of this node and those of its peers differ, for people and for the scheduler.
//!
//! It is as old as the peer's last word: a frontier, a digest that is the same, a frame that names what its author has. It decides
//! nothing about what is sent.

use std::collections::BTreeMap;

use wfengine_storage_format::{ChainId, PeerId, VerifiedFrame};

use super::Exchange;
use crate::frontier::ChainEntry;
use crate::session::Offer;

/// How a peer's log and this node's differ, as far as the peer said.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// Events of open chains that are here and not there.
    pub lacks: u64,
    /// Events that are there and not here.
    pub owes: u64,
}

impl Exchange {
    /// How a connected member's log and this one differ, as far as the member said.
    pub fn standing(&self, peer: &PeerId) -> Option<Standing> {
        let session = self.sessions.get(self.connected.get(peer)?)?;
        let said = session.said.as_ref()?;
        let lacks =
            |entry: ChainEntry| entry.length.saturating_sub(said.get(&entry.chain).copied().unwrap_or(0));
        Some(Standing {
            lacks: self.frontier.open_entries().map(lacks).sum(),
            owes: session.offers.lowest_first().map(|(chain, offer)| self.owed(&chain, offer)).sum(),
        })
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
        most.values().sum()
    }

    fn owed(&self, chain: &ChainId, offer: Offer) -> u64 {
        offer.length.saturating_sub(self.frontier.length(chain))
    }

    /// A frame's author has what it wrote and what it names.
    pub(super) fn note_seen_by(&mut self, frame: &VerifiedFrame) {
        let header = frame.header();
        let connection = self.connected.get(&header.chain.author);
        let Some(session) = connection.and_then(|connection| self.sessions.get_mut(connection)) else {
            return;
        };
        session.note_said(header.chain, header.end_seq());
        for parent in frame.events().iter().flat_map(|(_, event)| &event.parents) {
            session.note_said(parent.chain, parent.seq.saturating_add(1));
        }
    }
}
