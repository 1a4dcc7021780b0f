//! The stand-in's clock and how GitHub writes times.
//!
//! Limits, expiry and every time in an answer come from here and from nowhere else.
//!
//! Invariants: the clock never goes back by itself; it moves only when a test moves it, unless it was made to follow the
//! machine's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Where a clock stands that nobody set: 2026-01-02T03:04:05Z, the time of the examples in GitHub's description.
pub const START_SECONDS: u64 = 1_767_323_045;

/// Wall time in whole seconds since 1970, as the stand-in believes it. Clones show the same time.
#[derive(Debug, Clone)]
pub struct StandinClock {
    seconds: Arc<AtomicU64>,
    runs_since: Option<Instant>,
}

impl StandinClock {
    /// A clock that stands still at a time until somebody moves it.
    pub fn at(seconds: u64) -> Self {
        Self { seconds: Arc::new(AtomicU64::new(seconds)), runs_since: None }
    }

    /// A clock that starts at the machine's time and runs. It can still be moved on.
    ///
    /// For product processes, whose own clock is the machine's.
    #[expect(
        clippy::disallowed_methods,
        reason = "a process under test reads the machine's clock, and the two must agree"
    )]
    pub fn real() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { seconds: Arc::new(AtomicU64::new(now.as_secs())), runs_since: Some(Instant::now()) }
    }

    /// Seconds since 1970.
    pub fn now(&self) -> u64 {
        let run = self.runs_since.map_or(0, |since| since.elapsed().as_secs());
        self.seconds.load(Ordering::SeqCst) + run
    }

    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        self.seconds.fetch_add(by.as_secs(), Ordering::SeqCst);
    }

    /// Sets the clock, also back.
    pub fn set(&self, seconds: u64) {
        let run = self.runs_since.map_or(0, |since| since.elapsed().as_secs());
        self.seconds.store(seconds.saturating_sub(run), Ordering::SeqCst);
    }
}

impl Default for StandinClock {
    fn default() -> Self {
        Self::at(START_SECONDS)
    }
}

/// Year, month and day of a count of days since 1970, in the Gregorian calendar.
fn date(days: u64) -> (u64, u64, u64) {
    // years begin in March, so that the leap day is their last
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// As in bodies: `2026-01-02T03:04:05Z`.
pub(crate) fn iso(seconds: u64) -> String {
    let (year, month, day) = date(seconds / 86_400);
    let of_day = seconds % 86_400;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", of_day / 3_600, of_day / 60 % 60, of_day % 60)
}

/// As in headers: `Fri, 02 Jan 2026 03:04:05 GMT`.
pub(crate) fn http_date(seconds: u64) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let days = seconds / 86_400;
    let (year, month, day) = date(days);
    let weekday = WEEKDAYS.get((days % 7) as usize).unwrap_or(&"Thu");
    let month = MONTHS.get(month as usize - 1).unwrap_or(&"Jan");
    let of_day = seconds % 86_400;
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_github_writes_them() {
        assert_eq!(iso(START_SECONDS), "2026-01-02T03:04:05Z");
        assert_eq!(http_date(START_SECONDS), "Fri, 02 Jan 2026 03:04:05 GMT");
        assert_eq!(iso(0), "1970-01-01T00:00:00Z");
        assert_eq!(iso(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn a_clock_stands_still_until_it_is_moved() {
        let clock = StandinClock::at(10);
        let same = clock.clone();
        clock.advance(Duration::from_secs(5));
        assert_eq!(same.now(), 15);
        same.set(3);
        assert_eq!(clock.now(), 3);
    }
}
