//! What is remembered of how peers behaved. A peer that breaks the protocol is disconnected and kept out for an hour.
//!
//! Scores are this node's own opinion: they are never sent and decide nothing about what frames say. They recover with time.

use std::collections::BTreeMap;
use std::time::Duration;

use wfengine_core::time::Monotonic;
use wfengine_storage_format::PeerId;

use crate::limits::SCORES_MAX;

/// What breaking the protocol costs.
pub const VIOLATION: i32 = -100;
/// What a signature that does not fit costs.
pub const INVALID_SIGNATURE: i32 = -50;
/// What an answer without use costs.
pub const USELESS: i32 = -1;
/// The score at which a peer is kept out.
pub const BANNED: i32 = -100;

/// How long a peer is kept out.
const BAN: Duration = Duration::from_secs(3_600);
/// Time in which one point comes back.
const POINT_MS: u64 = 36_000;

#[derive(Clone, Copy, Debug)]
struct Score {
    points: i32,
    at: Monotonic,
    banned_until: Option<Monotonic>,
}

/// Scores of peers, bounded.
#[derive(Debug, Default)]
pub struct Scores {
    peers: BTreeMap<PeerId, Score>,
}

impl Scores {
    /// Takes points away; returns what is left, 0 being spotless.
    pub fn add(&mut self, peer: PeerId, points: i32, now: Monotonic) -> i32 {
        if !self.peers.contains_key(&peer) && self.peers.len() >= SCORES_MAX {
            self.forget_the_best(now);
        }
        let left = self.of(&peer, now).saturating_add(points).max(2 * VIOLATION);
        let before = self.peers.get(&peer).and_then(|score| score.banned_until);
        let banned_until = if left <= BANNED { Some(now + BAN) } else { before };
        self.peers.insert(peer, Score { points: left, at: now, banned_until });
        left
    }

    /// A peer's score at this time.
    pub fn of(&self, peer: &PeerId, now: Monotonic) -> i32 {
        self.peers.get(peer).map_or(0, |score| recovered(score, now))
    }

    /// Whether a peer is kept out.
    pub fn is_banned(&self, peer: &PeerId, now: Monotonic) -> bool {
        self.peers.get(peer).and_then(|score| score.banned_until).is_some_and(|until| now < until)
    }

    fn forget_the_best(&mut self, now: Monotonic) {
        let banned = |score: &Score| score.banned_until.is_some_and(|until| now < until);
        let best = self.peers.iter().max_by_key(|(_, score)| (!banned(score), recovered(score, now)));
        if let Some(peer) = best.map(|(peer, _)| *peer) {
            self.peers.remove(&peer);
        }
    }
}

fn recovered(score: &Score, now: Monotonic) -> i32 {
    let elapsed_ms = u64::try_from((now - score.at).as_millis()).unwrap_or(u64::MAX);
    let points = i32::try_from(elapsed_ms / POINT_MS).unwrap_or(i32::MAX);
    score.points.saturating_add(points).min(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: PeerId = PeerId::from_bytes([1; 32]);

    #[test]
    fn a_violation_bans_for_an_hour_and_two_bad_signatures_do_too() {
        let mut scores = Scores::default();
        let start = Monotonic(5);
        assert_eq!(scores.add(ALICE, INVALID_SIGNATURE, start), -50);
        assert!(!scores.is_banned(&ALICE, start));
        assert_eq!(scores.add(ALICE, INVALID_SIGNATURE, start), -100);
        assert!(scores.is_banned(&ALICE, start + Duration::from_secs(3_599)));
        assert!(!scores.is_banned(&ALICE, start + Duration::from_secs(3_600)));
    }

    #[test]
    fn points_come_back_with_time() {
        let mut scores = Scores::default();
        (0..10).for_each(|_| {
            scores.add(ALICE, USELESS, Monotonic(0));
        });
        assert_eq!(scores.of(&ALICE, Monotonic(0)), -10);
        assert_eq!(scores.of(&ALICE, Monotonic(5 * POINT_MS)), -5);
        assert_eq!(scores.of(&ALICE, Monotonic(50 * POINT_MS)), 0);
    }

    #[test]
    fn strangers_cannot_fill_the_memory_or_push_out_the_banned() {
        let mut scores = Scores::default();
        scores.add(ALICE, VIOLATION, Monotonic(0));
        for n in 0..2 * SCORES_MAX as u32 {
            let mut key = [0xee; 32];
            key[..4].copy_from_slice(&n.to_le_bytes());
            scores.add(PeerId::from_bytes(key), USELESS, Monotonic(0));
        }
        assert_eq!(scores.peers.len(), SCORES_MAX);
        assert!(scores.is_banned(&ALICE, Monotonic(0)));
    }
}
