//! The only real clock of the product. Everything else is told what time it is.

use std::time::Duration;

use wfengine_core::time::{Monotonic, Now, WallMs};

/// Reads wall time and the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Duration,
}

impl Clock {
    /// A clock whose monotonic side starts now.
    pub(crate) fn start() -> Self {
        Self { start: since_boot() }
    }

    /// Both clocks.
    pub(crate) fn now(&self) -> Now {
        Now { wall: self.wall(), monotonic: self.monotonic() }
    }

    /// Wall time. A clock before 1970 counts as 1970: it is shown and decides nothing.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    pub(crate) fn wall(&self) -> WallMs {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        WallMs(since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Time since this clock started, the time the host slept included: a laptop that was closed for a night must notice that it
    /// was away, before it judges others or claims what they have done long ago.
    pub(crate) fn monotonic(&self) -> Monotonic {
        let since = since_boot().saturating_sub(self.start);
        Monotonic(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Time since the host was started, its sleep included.
#[cfg(target_os = "linux")]
pub(crate) fn since_boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::try_from(now).unwrap_or_default()
}

/// Elsewhere the process's own monotonic clock, which may stand still while the host sleeps.
#[cfg(not(target_os = "linux"))]
pub(crate) fn since_boot() -> Duration {
    static FIRST: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    FIRST.elapsed()
}

/// Wall time as `2026-11-21 00:14:21Z`. Civil-from-days after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
pub(crate) fn show_wall(ms: u64) -> String {
    wfengine_github::dates::rfc3339(ms / 1_000).replacen('T', " ", 1)
}

/// A duration as people say it: `340ms`, `4.2s`, `3m05s`, `2h10m`.
pub(crate) fn show_duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        60_000..3_600_000 => format!("{}m{:02}s", ms / 60_000, ms / 1000 % 60),
        _ => format!("{}h{:02}m", ms / 3_600_000, ms / 60_000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_is_shown_as_a_date() {
        assert_eq!(show_wall(0), "1970-01-01 00:00:00Z");
        assert_eq!(show_wall(951_782_400_000), "2000-02-29 00:00:00Z");
        assert_eq!(show_wall(1_795_219_199_000), "2026-11-20 23:59:59Z");
    }

    #[test]
    fn durations_are_short() {
        assert_eq!(show_duration(12), "12ms");
        assert_eq!(show_duration(61_000), "1m01s");
        assert_eq!(show_duration(4_210), "4.2s");
        assert_eq!(show_duration(7_800_000), "2h10m");
    }
}
