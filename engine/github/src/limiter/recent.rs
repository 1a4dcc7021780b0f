//! How much went in the last while, and the chance that spreads the waits of several hosts.
//!
//! Both know nothing of GitHub. Time is an argument; chance comes from a seed.

use std::{collections::VecDeque, time::Duration};

/// What went in the last while, oldest first.
#[derive(Debug, Default)]
pub(super) struct Recent {
    went: VecDeque<(Duration, u32)>,
    points: u32,
}

impl Recent {
    pub(super) fn push(&mut self, now: Duration, points: u32) {
        self.went.push_back((now, points));
        self.points += points;
    }

    /// When there is room for `more` within `max` in any span of this length; `None` when at once.
    pub(super) fn full_until(
        &mut self,
        more: u32,
        max: u32,
        span: Duration,
        now: Duration,
    ) -> Option<Duration> {
        while let Some((at, points)) = self.went.front().copied().filter(|(at, _)| *at + span <= now) {
            let _ = at;
            self.points -= points;
            self.went.pop_front();
        }
        let mut left = self.points;
        if left + more <= max {
            return None;
        }
        for (at, points) in &self.went {
            left -= points;
            if left + more <= max {
                return Some(*at + span);
            }
        }
        // a pace too small for this request at all: alone in its span
        self.went.back().map(|(at, _)| *at + span)
    }
}

/// Waits of many hosts should not end together: a small generator (splitmix64), the same for the same seed.
#[derive(Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A part of this time.
    pub(crate) fn up_to(&mut self, most: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let share = (mixed ^ (mixed >> 31)) >> 40;
        most.mul_f64(share as f64 / (1_u64 << 24) as f64)
    }
}
