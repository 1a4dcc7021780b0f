//! What this node knows of the others: alive or not, their last beat, their incarnation; and how healthy it is itself.
//!
//! Membership (SWIM, outside) says who is alive; beats say what the living do. Everything is timed on this node's monotonic clock
//! from the moment it learned something, and a node whose own loop was late starts all those waits anew before it judges.
//!
//! Invariant: only members are kept, so the table is bounded by the cluster's size.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use wfengine_storage_format::{ChainId, EventId, Incarnation, JobId, PeerId};

use super::allow::Allowed;
use super::beat::{Beat, Decline};
use super::catching_up::CatchingUp;
use super::config::Timing;
use crate::admitted::Admitted;
use crate::authority::Roster;
use crate::time::Monotonic;

/// What membership says of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// It answers, itself or through others.
    Alive,
    /// It does not.
    Down,
}

/// Incarnations of a peer that are known to be over.
const RETIRED_LEN_MAX: usize = 16;

/// What a beat said that outlives it.
#[derive(Clone, Debug)]
pub(super) struct LastBeat {
    pub(super) number: u64,
    pub(super) free_slots: u32,
    pub(super) programs: u32,
    pub(super) allowed: Allowed,
    pub(super) declines_all: Option<Decline>,
    pub(super) declines: BTreeMap<JobId, Decline>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    /// Alive or down since then; `None` alive means membership never said.
    pub(super) presence: Option<(Presence, Monotonic)>,
    /// Alive at that moment, for majorities.
    pub(super) seen: Option<Monotonic>,
    pub(super) incarnation: Option<Incarnation>,
    retired: VecDeque<Incarnation>,
    tip: Option<EventId>,
    pub(super) beat: Option<LastBeat>,
    /// Since when its beats come without a break.
    pub(super) beats_since: Option<Monotonic>,
}

impl Peer {
    fn retire(&mut self, now: Incarnation) {
        if let Some(before) = self.incarnation.replace(now).filter(|before| *before != now) {
            if self.retired.len() >= RETIRED_LEN_MAX {
                self.retired.pop_front();
            }
            self.retired.push_back(before);
            self.tip = None;
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct PeerTable {
    own: PeerId,
    timing: Timing,
    peers: BTreeMap<PeerId, Peer>,
    opened: Monotonic,
    /// Others were seen within the day before it opened.
    was_with_others: bool,
    /// Nobody is judged by what was, or was not, heard before.
    judging_since: Monotonic,
    unhealthy_until: Option<Monotonic>,
    minority_since: Option<Monotonic>,
    catching_up: CatchingUp,
    reported: BTreeSet<PeerId>,
}

impl PeerTable {
    pub(super) fn new(own: PeerId, timing: Timing, seen: &BTreeSet<PeerId>, now: Monotonic) -> Self {
        let known = |peer: &PeerId| (*peer, Peer { seen: Some(now), ..Peer::default() });
        Self {
            own,
            timing,
            peers: seen.iter().filter(|peer| **peer != own).map(known).collect(),
            opened: now,
            was_with_others: seen.iter().any(|peer| *peer != own),
            judging_since: now,
            unhealthy_until: None,
            minority_since: None,
            catching_up: CatchingUp::new(now),
            reported: seen.clone(),
        }
    }

    /// Keeps members only.
    pub(super) fn keep_members(&mut self, roster: &Roster) {
        self.peers.retain(|peer, _| roster.member(peer).is_some());
    }

    pub(super) fn peer(&self, peer: &PeerId) -> Option<&Peer> {
        self.peers.get(peer)
    }

    pub(super) fn alive(&self) -> impl Iterator<Item = &PeerId> {
        self.peers
            .iter()
            .filter(|(_, peer)| matches!(peer.presence, Some((Presence::Alive, _))))
            .map(|(id, _)| id)
    }

    pub(super) fn is_alive(&self, peer: &PeerId) -> bool {
        *peer == self.own
            || matches!(self.peers.get(peer), Some(Peer { presence: Some((Presence::Alive, _)), .. }))
    }

    /// Since when a peer is not alive, as far as this node may judge.
    pub(super) fn down_since(&self, peer: &PeerId) -> Option<Monotonic> {
        if self.is_alive(peer) {
            return None;
        }
        let since = self.peers.get(peer).and_then(|known| known.presence).map(|(_, since)| since);
        Some(since.unwrap_or(self.opened).max(self.judging_since))
    }

    pub(super) fn judging_since(&self) -> Monotonic {
        self.judging_since
    }

    /// When a node that others were seen with has had the time to hear what they wrote while it was away. Half a turn: peers
    /// that wait for it give it a whole one.
    pub(super) fn caught_up_at(&self) -> Monotonic {
        if self.was_with_others { self.opened + self.timing.turn / 2 } else { self.opened }
    }

    /// Takes in what membership says. Whether it is news.
    pub(super) fn set_presence(&mut self, id: PeerId, presence: Presence, now: Monotonic) -> bool {
        let peer = self.peers.entry(id).or_default();
        if presence == Presence::Alive {
            peer.seen = Some(now);
        }
        if matches!(peer.presence, Some((before, _)) if before == presence) {
            return false;
        }
        if presence == Presence::Alive && matches!(peer.presence, Some((Presence::Down, _))) {
            peer.beats_since = None;
        }
        peer.presence = Some((presence, now));
        if presence == Presence::Down {
            peer.beat = None;
            peer.beats_since = None;
        }
        true
    }

    /// Takes in a beat. Whether it is newer than what was known.
    pub(super) fn take_beat(&mut self, beat: &Beat, now: Monotonic) -> bool {
        let peer = self.peers.entry(beat.chain.author).or_default();
        let incarnation = beat.chain.incarnation;
        if peer.retired.contains(&incarnation) {
            return false;
        }
        if peer.incarnation != Some(incarnation) {
            peer.retire(incarnation);
            (peer.beat, peer.beats_since) = (None, None);
        }
        if peer.beat.as_ref().is_some_and(|last| last.number >= beat.number) {
            return false;
        }
        peer.beats_since.get_or_insert(now);
        peer.beat = Some(LastBeat {
            number: beat.number,
            free_slots: beat.free_slots,
            programs: beat.programs,
            allowed: beat.allowed,
            declines_all: beat.declines_all,
            declines: beat.declines.iter().copied().collect(),
        });
        true
    }

    /// Takes in where an event stands: a chain that follows the author's last one ends what came before. Whether it did.
    pub(super) fn note_event(&mut self, event: &Admitted) -> bool {
        let author = event.author();
        if author == self.own {
            return false;
        }
        let Some(peer) = self.peers.get_mut(&author) else { return false };
        let incarnation = event.chain.incarnation;
        if peer.incarnation.is_none() {
            peer.incarnation = Some(incarnation);
        }
        if peer.incarnation == Some(incarnation) {
            peer.tip = Some(event.id);
            return false;
        }
        let follows = event.seq == 0 && event.prev.is_some() && event.prev == peer.tip;
        if follows {
            peer.retire(incarnation);
            peer.tip = Some(event.id);
            (peer.beat, peer.beats_since) = (None, None);
        }
        follows
    }

    /// Whether the author of a chain has started anew since.
    pub(super) fn has_restarted(&self, chain: &ChainId) -> bool {
        self.peers.get(&chain.author).is_some_and(|peer| peer.retired.contains(&chain.incarnation))
    }

    /// The node's own loop was late: what it did not hear meanwhile says nothing about the others.
    pub(super) fn lagged(&mut self, now: Monotonic) {
        let healthy_at = now + self.timing.healthy_after;
        self.unhealthy_until = Some(healthy_at);
        self.judging_since = healthy_at;
    }

    /// Takes in how many events peers have, as they say, that this node lacks.
    pub(super) fn set_behind(&mut self, events: u64, now: Monotonic) {
        self.catching_up.set_lacking(events, &self.timing, now);
    }

    pub(super) fn is_behind(&self, now: Monotonic) -> bool {
        self.catching_up.holds_back(now)
    }

    /// Whether others were seen within a day: a node alone has nobody to wait for.
    pub(super) fn has_others(&self) -> bool {
        self.peers.values().any(|peer| peer.seen.is_some())
    }

    pub(super) fn is_healthy(&self, now: Monotonic) -> bool {
        self.unhealthy_until.is_none_or(|until| now >= until)
    }

    pub(super) fn healthy_at(&self) -> Option<Monotonic> {
        self.unhealthy_until
    }

    /// Counts again who is seen. Majority and minority are told apart among the members seen within a day; of two halves
    /// the one with the least key is no minority.
    pub(super) fn update_minority(&mut self, roster: &Roster, now: Monotonic) {
        let lasting = self.timing.seen;
        for peer in self.peers.values_mut() {
            if matches!(peer.presence, Some((Presence::Alive, _))) {
                peer.seen = Some(now);
            }
            peer.seen = peer.seen.filter(|seen| now - *seen < lasting);
        }
        let counted = |(id, peer): &(&PeerId, &Peer)| peer.seen.is_some() && roster.member(id).is_some();
        let others: Vec<(&PeerId, &Peer)> = self.peers.iter().filter(counted).collect();
        let total = others.len() + 1;
        let visible = 1 + others.iter().filter(|(id, _)| self.is_alive(id)).count();
        let least = others.iter().map(|(id, _)| **id).chain([self.own]).min();
        let holds_least = least.is_some_and(|least| self.is_alive(&least));
        let minority = 2 * visible < total || (2 * visible == total && !holds_least);
        match (minority, self.minority_since) {
            (true, None) => self.minority_since = Some(now),
            (false, _) => self.minority_since = None,
            (true, Some(_)) => {}
        }
    }

    /// Until when this node holds back because it became a minority.
    pub(super) fn holds_until(&self) -> Option<Monotonic> {
        self.minority_since.map(|since| since + self.timing.minority_hold)
    }

    pub(super) fn is_holding(&self, now: Monotonic) -> bool {
        self.holds_until().is_some_and(|until| now < until)
    }

    /// The members seen within a day, if they changed since the last report.
    pub(super) fn seen_to_report(&mut self, roster: &Roster) -> Option<Vec<PeerId>> {
        let seen: BTreeSet<PeerId> = self
            .peers
            .iter()
            .filter(|(id, peer)| peer.seen.is_some() && roster.member(id).is_some())
            .map(|(id, _)| *id)
            .collect();
        if seen == self.reported {
            return None;
        }
        self.reported = seen;
        Some(self.reported.iter().copied().collect())
    }

    pub(super) fn grace(&self, run_time: Duration) -> Duration {
        (run_time / 10).clamp(self.timing.grace_min, self.timing.grace_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    fn beat(n: u8, incarnation: u8, number: u64) -> Beat {
        Beat {
            chain: ChainId { author: peer(n), incarnation: Incarnation::from_bytes([incarnation; 16]) },
            number,
            healthy: true,
            free_slots: 1,
            programs: 0,
            allowed: Allowed::Any,
            declines_all: None,
            claims: vec![],
            declines: vec![],
        }
    }

    #[test]
    fn an_old_or_double_beat_says_nothing() {
        let mut table = PeerTable::new(peer(1), Timing::default(), &BTreeSet::new(), Monotonic(0));
        assert!(table.take_beat(&beat(2, 1, 5), Monotonic(1)));
        assert!(!table.take_beat(&beat(2, 1, 5), Monotonic(2)));
        assert!(!table.take_beat(&beat(2, 1, 4), Monotonic(2)));
        assert!(table.take_beat(&beat(2, 2, 1), Monotonic(3)), "a new incarnation counts anew");
        assert!(!table.take_beat(&beat(2, 1, 6), Monotonic(4)), "one that is over does not come back");
        assert!(table.has_restarted(&beat(2, 1, 0).chain) && !table.has_restarted(&beat(2, 2, 0).chain));
    }

    #[test]
    fn a_late_loop_gives_everybody_new_time() {
        let mut table = PeerTable::new(peer(1), Timing::default(), &BTreeSet::new(), Monotonic(0));
        table.set_presence(peer(2), Presence::Down, Monotonic(1_000));
        assert_eq!(table.down_since(&peer(2)), Some(Monotonic(1_000)));
        table.lagged(Monotonic(50_000));
        assert!(!table.is_healthy(Monotonic(59_999)) && table.is_healthy(Monotonic(60_000)));
        assert_eq!(table.down_since(&peer(2)), Some(Monotonic(60_000)));
    }
}
