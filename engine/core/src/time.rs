//! Time as arguments: wall time for showing, monotonic time for waiting. Nothing here reads a clock.

use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Wall time in milliseconds since 1970, UTC. Advisory: two hosts may disagree by years and nothing but the display changes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct WallMs(pub u64);

/// A point on the node's own monotonic clock, in milliseconds since an arbitrary start. Never leaves the process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Monotonic(pub u64);

impl Add<Duration> for Monotonic {
    type Output = Monotonic;
    fn add(self, rhs: Duration) -> Monotonic {
        Monotonic(self.0.saturating_add(u64::try_from(rhs.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Monotonic {
    type Output = Duration;
    fn sub(self, rhs: Monotonic) -> Duration {
        Duration::from_millis(self.0.saturating_sub(rhs.0))
    }
}

/// Both clocks at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// For showing.
    pub wall: WallMs,
    /// For waiting.
    pub monotonic: Monotonic,
}
