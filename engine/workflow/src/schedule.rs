//! Schedules: at which instants a cron expression is due in its time zone.
//!
//! Pure: instants are unix seconds and come from the caller; time zones come from the database that is compiled in, so every
//! node has the same and none reads its own.
//!
//! Daylight saving: a local time that the clock skips is due at the moment the gap ends, as GitHub does it (a schedule for 2:30
//! runs at 3:00, not at 3:30), and all times of one gap are one run. A local time that comes twice is due the first time only.
//!
//! Invariant: of two local times the later is never due earlier. So the next instant is found by stepping through local
//! minutes, field by field, and leaving out the few that are due too early.

mod cron;

use jiff::{
    Timestamp, ToSpan,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase},
};

pub use cron::{Cron, CronError};

use crate::diagnostic::{Position, near_matches};

/// The zone of a schedule that names none.
pub const DEFAULT_TIMEZONE: &str = "UTC";

/// One entry of `on.schedule`.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Where its cron expression stands.
    pub at: Position,
    /// When it is due, in local time.
    pub cron: Cron,
    /// The IANA name of its time zone.
    pub timezone: String,
    zone: TimeZone,
}

/// A name that no time zone has. GitHub does not run the schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown time zone '{name}'")]
pub struct UnknownTimeZone {
    /// What was written.
    pub name: String,
    /// Names that may have been meant, nearest first.
    pub near: Vec<String>,
}

impl Schedule {
    /// A schedule in the time zone of that IANA name, which is found without regard to case.
    pub fn new(at: Position, cron: Cron, timezone: &str) -> Result<Schedule, UnknownTimeZone> {
        let zones = TimeZoneDatabase::bundled();
        match zones.get(timezone) {
            Ok(zone) if !zone.is_unknown() => Ok(Schedule { at, cron, timezone: timezone.to_owned(), zone }),
            _ => {
                let known: Vec<String> = zones.available().map(|name| name.to_string()).collect();
                let near = near_matches(timezone, known.iter().map(String::as_str));
                let near = near.into_iter().map(str::to_owned).collect();
                Err(UnknownTimeZone { name: timezone.to_owned(), near })
            }
        }
    }

    /// The first instant after `after_s` at which it is due; `None` for dates that never come, such as 30 February.
    pub fn next_due(&self, after_s: i64) -> Option<i64> {
        let after = instant(after_s);
        let mut minute = minute_of(self.zone.to_datetime(after));
        loop {
            minute = self.cron.first_from(minute)?;
            match self.due(minute) {
                Some(due) if due > after => return Some(due.as_second()),
                _ => minute = minute.checked_add(1.minute()).ok()?,
            }
        }
    }

    /// The last instant after `after_s`, up to and with `until_s`, at which it was due.
    pub fn latest_due(&self, after_s: i64, until_s: i64) -> Option<i64> {
        let (after, until) = (instant(after_s), instant(until_s));
        if after >= until {
            return None;
        }
        // what is due after `after` is later in local time too
        let earliest = self.zone.to_datetime(after).date();
        let mut minute = minute_of(self.latest_local(until));
        loop {
            minute = self.cron.last_until(minute, earliest)?;
            match self.due(minute) {
                Some(due) if due <= after => return None,
                Some(due) if due <= until => return Some(due.as_second()),
                _ => minute = minute.checked_sub(1.minute()).ok()?,
            }
        }
    }

    /// When a local minute is due; `None` only at the ends of the calendar.
    fn due(&self, minute: DateTime) -> Option<Timestamp> {
        match self.zone.to_ambiguous_timestamp(minute).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(minute).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(minute).ok(),
            AmbiguousOffset::Gap { before, after } => {
                // the gap ends after the first and not after the second
                let (first, second) = (after.to_timestamp(minute).ok()?, before.to_timestamp(minute).ok()?);
                let transitions = self.zone.following(first).map(|transition| transition.timestamp());
                transitions.take_while(|end| *end <= second).last().or(Some(second))
            }
        }
    }

    /// The latest local time that had come up to an instant; while an hour is repeated, that is one of the first pass.
    fn latest_local(&self, until: Timestamp) -> DateTime {
        let local = self.zone.to_datetime(until);
        match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Fold { before, after } if self.zone.to_offset(until) == after => {
                before.to_datetime(until)
            }
            _ => local,
        }
    }
}

/// The instant of a unix second; beyond the calendar, the end of the calendar.
fn instant(second: i64) -> Timestamp {
    let within = second.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    Timestamp::from_second(within).unwrap_or_default()
}

fn minute_of(local: DateTime) -> DateTime {
    local.date().at(local.hour(), local.minute(), 0, 0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn schedule(cron: &str, timezone: &str) -> Schedule {
        Schedule::new(Position::default(), Cron::parse(cron).unwrap(), timezone).unwrap()
    }

    fn second(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    /// All instants in (after, until], found one by one.
    fn all_due(schedule: &Schedule, after: &str, until: &str) -> Vec<String> {
        let (mut at, until) = (second(after), second(until));
        let mut found = Vec::new();
        while let Some(due) = schedule.next_due(at).filter(|due| *due <= until) {
            found.push(instant(due).to_string());
            at = due;
        }
        found
    }

    #[test]
    fn the_next_and_the_latest_instant_are_found() {
        let nightly = schedule("30 4 * * *", "UTC");
        let at = second("2024-05-01T04:30:00Z");
        assert_eq!(nightly.next_due(at - 1), Some(at));
        assert_eq!(nightly.next_due(at), Some(at + 86_400));
        assert_eq!(nightly.latest_due(at - 1, at), Some(at));
        assert_eq!(nightly.latest_due(at, at + 86_399), None);
        assert_eq!(nightly.latest_due(0, at + 10 * 86_400 - 1), Some(at + 9 * 86_400));
        assert_eq!(nightly.latest_due(at, at), None);
        assert_eq!(nightly.latest_due(at + 1, at), None);
    }

    #[test]
    fn local_time_is_that_of_the_zone() {
        let morning = schedule("30 5 * * 1-5", "America/New_York");
        assert_eq!(
            all_due(&morning, "2024-03-07T12:00:00Z", "2024-03-12T00:00:00Z"),
            ["2024-03-08T10:30:00Z", "2024-03-11T09:30:00Z"]
        );
        assert_eq!(schedule("0 0 * * *", "asia/kolkata").next_due(0), Some(66_600));
    }

    #[test]
    fn a_local_time_that_is_skipped_is_due_when_the_gap_ends() {
        let within = schedule("30 2 * * *", "America/New_York");
        assert_eq!(
            all_due(&within, "2024-03-09T00:00:00Z", "2024-03-11T23:00:00Z"),
            ["2024-03-09T07:30:00Z", "2024-03-10T07:00:00Z", "2024-03-11T06:30:00Z"]
        );
        // several times of the gap, and one at its end, are one run
        let often = schedule("*/20 2,3 * * *", "America/New_York");
        assert_eq!(
            all_due(&often, "2024-03-10T00:00:00Z", "2024-03-10T07:30:00Z"),
            ["2024-03-10T07:00:00Z", "2024-03-10T07:20:00Z"]
        );
        let until = second("2024-03-10T07:10:00Z");
        assert_eq!(often.latest_due(0, until), Some(second("2024-03-10T07:00:00Z")));
        // a whole day that was left out
        let noon = schedule("0 12 * * *", "Pacific/Apia");
        assert_eq!(
            all_due(&noon, "2011-12-29T00:00:00Z", "2011-12-31T00:00:00Z"),
            ["2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"]
        );
    }

    #[test]
    fn a_local_time_that_comes_twice_is_due_once() {
        let within = schedule("30 1 * * *", "America/New_York");
        assert_eq!(
            all_due(&within, "2024-11-03T00:00:00Z", "2024-11-04T12:00:00Z"),
            ["2024-11-03T05:30:00Z", "2024-11-04T06:30:00Z"]
        );
        // asked during the second pass
        let asked = second("2024-11-03T06:10:00Z");
        assert_eq!(
            within.latest_due(second("2024-11-03T00:00:00Z"), asked),
            Some(second("2024-11-03T05:30:00Z"))
        );
        assert_eq!(within.latest_due(second("2024-11-03T05:30:00Z"), asked), None);
        let often = schedule("*/30 * * * *", "America/New_York");
        assert_eq!(often.next_due(asked), Some(second("2024-11-03T07:00:00Z")));
    }

    #[test]
    fn dates_that_never_come_end_the_search() {
        let never = schedule("0 0 30 2 *", "Europe/Berlin");
        assert_eq!(never.next_due(0), None);
        assert_eq!(never.latest_due(i64::MIN, i64::MAX), None);
        let leap = schedule("0 0 29 2 *", "UTC");
        assert_eq!(leap.next_due(second("2096-03-01T00:00:00Z")), Some(second("2104-02-29T00:00:00Z")));
        assert_eq!(leap.latest_due(0, second("2104-02-28T00:00:00Z")), Some(second("2096-02-29T00:00:00Z")));
    }

    #[test]
    fn the_ends_of_the_calendar_are_no_trap() {
        for zone in ["UTC", "America/New_York", "Pacific/Apia", "Europe/Dublin"] {
            let always = schedule("* * * * *", zone);
            assert!(always.next_due(i64::MIN).is_some());
            assert_eq!(always.next_due(i64::MAX), None);
            assert!(always.latest_due(i64::MIN, i64::MAX).is_some());
            assert_eq!(always.latest_due(i64::MIN, i64::MIN), None);
        }
    }

    #[test]
    fn unknown_time_zones_name_their_neighbours() {
        let cron = || Cron::parse("0 0 * * *").unwrap();
        let error = Schedule::new(Position::default(), cron(), "Europe/Berlim").unwrap_err();
        assert_eq!(error.to_string(), "unknown time zone 'Europe/Berlim'");
        assert_eq!(error.near.first().map(String::as_str), Some("Europe/Berlin"));
        for name in ["", "Etc/Unknown", "+02:00", "../../etc/passwd", "EST5EDT,M3.2.0,M11.1.0"] {
            assert!(Schedule::new(Position::default(), cron(), name).is_err(), "{name}");
        }
    }

    /// One field: its text and the values it means.
    fn field(least: u32, greatest: u32) -> impl Strategy<Value = (String, BTreeSet<u32>)> {
        let part =
            (least..=greatest, least..=greatest, 0u32..6, 0u32..5).prop_map(move |(a, b, step, kind)| {
                let (from, to) = (a.min(b), a.max(b));
                let (text, range) = match kind {
                    0 => (format!("{a}"), a..=a),
                    1 => (format!("{from}-{to}"), from..=to),
                    _ => ("*".to_owned(), least..=greatest),
                };
                match (step, kind) {
                    (0, _) | (_, 4) => (text, range.collect::<BTreeSet<u32>>()),
                    (_, 0) => (format!("{text}/{step}"), (a..=greatest).step_by(step as usize).collect()),
                    _ => (format!("{text}/{step}"), range.step_by(step as usize).collect()),
                }
            });
        proptest::collection::vec(part, 1..3).prop_map(|parts| {
            let text: Vec<String> = parts.iter().map(|(text, _)| text.clone()).collect();
            (text.join(","), parts.into_iter().flat_map(|(_, values)| values).collect())
        })
    }

    /// A field that is mostly `*`, so that most expressions mean something in three days.
    fn loose(least: u32, greatest: u32) -> impl Strategy<Value = (String, BTreeSet<u32>)> {
        prop_oneof![3 => Just(("*".to_owned(), (least..=greatest).collect())), 1 => field(least, greatest)]
    }

    /// The zones of the model test, each with an instant near which its clock jumps.
    const JUMPS: [(&str, &str); 9] = [
        ("UTC", "2024-02-29T00:00:00Z"),
        ("America/New_York", "2024-03-10T07:00:00Z"),
        ("America/New_York", "2024-11-03T06:00:00Z"),
        ("Europe/Berlin", "2023-03-26T01:00:00Z"),
        ("Australia/Lord_Howe", "2024-04-06T15:00:00Z"),
        ("Australia/Lord_Howe", "2024-10-05T15:30:00Z"),
        ("America/Sao_Paulo", "2018-11-04T03:00:00Z"),
        ("Pacific/Apia", "2011-12-30T10:00:00Z"),
        ("Africa/Casablanca", "2024-04-14T02:00:00Z"),
    ];
    const MINUTES: i64 = 3 * 24 * 60;

    type Meant = [(String, BTreeSet<u32>); 5];

    fn means(meant: &Meant, local: DateTime) -> bool {
        let [minute, hour, day, month, weekday] = meant;
        let holds =
            |field: &(String, BTreeSet<u32>), value: i8| field.1.contains(&u32::try_from(value).unwrap());
        let all =
            |field: &(String, BTreeSet<u32>), number| field.0.starts_with('*') && field.1.len() == number;
        let (on_day, on_weekday) =
            (holds(day, local.day()), holds(weekday, local.weekday().to_sunday_zero_offset()));
        let on_date =
            if all(day, 31) || all(weekday, 7) { on_day && on_weekday } else { on_day || on_weekday };
        holds(minute, local.minute()) && holds(hour, local.hour()) && holds(month, local.month()) && on_date
    }

    /// Looks at every minute around a jump: which local time shows the clock, has it shown it before, what did it skip?
    fn naive(meant: &Meant, zone: &TimeZone, start: i64) -> Vec<i64> {
        let mut due = Vec::new();
        let mut shown: BTreeSet<DateTime> = BTreeSet::new();
        let mut before = zone.to_datetime(instant(start - 60 * 60 * 25));
        for at in (start - 60 * 60 * 25..start + MINUTES * 60).step_by(60) {
            let local = zone.to_datetime(instant(at));
            let mut found = shown.insert(local) && means(meant, local);
            let mut skipped = before.checked_add(1.minute()).unwrap();
            while skipped < local {
                found |= means(meant, skipped);
                skipped = skipped.checked_add(1.minute()).unwrap();
            }
            if found && at >= start {
                due.push(at);
            }
            before = local;
        }
        due
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn instants_are_those_of_a_clock_that_is_watched_every_minute(
            meant in [field(0, 59).boxed(), field(0, 23).boxed(), loose(1, 31).boxed(), loose(1, 12).boxed(), loose(0, 6).boxed()],
            (zone, jump) in proptest::sample::select(&JUMPS[..]),
            shift in 0..MINUTES,
            asked in proptest::collection::vec((-1..MINUTES * 60, -1..MINUTES * 60), 20),
        ) {
            let text: Vec<&str> = meant.iter().map(|(text, _)| text.as_str()).collect();
            let schedule = schedule(&text.join(" "), zone);
            let start = second(jump) - shift * 60;
            let due = naive(&meant, &schedule.zone, start);
            for (a, b) in asked {
                let (after, until) = (start + a.min(b), start + a.max(b));
                let latest = due.iter().copied().rfind(|at| *at > after && *at <= until);
                prop_assert_eq!(schedule.latest_due(after, until), latest, "({}, {}]", after, until);
                if let Some(next) = due.iter().copied().find(|at| *at > after) {
                    prop_assert_eq!(schedule.next_due(after), Some(next), "after {}", after);
                } else if let Some(next) = schedule.next_due(after) {
                    prop_assert!(next >= start + MINUTES * 60, "{} after {}", next, after);
                }
            }
        }
    }
}
