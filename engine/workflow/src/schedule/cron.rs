//! Cron expressions: five fields that say which minutes of the calendar are meant.
//!
//! The language is what GitHub's parser takes: POSIX with names and steps, single spaces or several between the fields, days of
//! the week from 0 (Sunday) to 6, no `@daily`. It knows no time zone and no clock: it steps through civil minutes, field by
//! field, so a year without a match costs a few hundred steps and not half a million.
//!
//! Days follow POSIX: where both the day of the month and the weekday are restricted, a day that fits either is meant. A field
//! is unrestricted when it is `*` (or `*/1`); `*/2` restricts.

use jiff::civil::{Date, DateTime};

use crate::limits;

/// A cron expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    // one bit for each value
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    any_day: bool,
    any_weekday: bool,
}

/// Why a text is no cron expression. GitHub refuses the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// Not five fields.
    #[error("it has {0} fields and not five")]
    Fields(usize),
    /// GitHub takes spaces between the fields only.
    #[error("a space stands before its first or after its last field")]
    Outside,
    /// Neither a number in range nor a name of this field.
    #[error("'{text}' is no {field} (expected {least} to {greatest}{names})")]
    Value {
        /// What was written.
        text: String,
        /// Which field it is.
        field: &'static str,
        /// The least value.
        least: u32,
        /// The greatest value.
        greatest: u32,
        /// The names that may stand for numbers, for the message.
        names: &'static str,
    },
    /// A range whose end comes before its start.
    #[error("the range '{text}' of the {field} runs backwards")]
    Backwards {
        /// What was written.
        text: String,
        /// Which field it is.
        field: &'static str,
    },
    /// A step that is no number, zero, or beyond the field.
    #[error("'{text}' is no step of the {field} (expected 1 to {greatest})")]
    Step {
        /// What was written.
        text: String,
        /// Which field it is.
        field: &'static str,
        /// The greatest step.
        greatest: u32,
    },
}

/// What may stand in one field.
struct Field {
    name: &'static str,
    least: u32,
    greatest: u32,
    names: &'static [&'static str],
    /// The names in a message.
    named: &'static str,
}

const MINUTE: Field = Field { name: "minute", least: 0, greatest: 59, names: &[], named: "" };
const HOUR: Field = Field { name: "hour", least: 0, greatest: 23, names: &[], named: "" };
const DAY: Field = Field { name: "day of the month", least: 1, greatest: 31, names: &[], named: "" };
const MONTH: Field = Field {
    name: "month",
    least: 1,
    greatest: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    named: ", or JAN to DEC",
};
const WEEKDAY: Field = Field {
    name: "weekday",
    least: 0,
    greatest: 6,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    named: ", or SUN to SAT",
};

impl Cron {
    /// Reads an expression as GitHub's parser does.
    pub fn parse(text: &str) -> Result<Cron, CronError> {
        let fields: Vec<&str> = text.split(' ').filter(|field| !field.is_empty()).collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(CronError::Fields(fields.len()));
        };
        if text.starts_with(' ') || text.ends_with(' ') {
            return Err(CronError::Outside);
        }
        let (minutes, hours) = (MINUTE.read(minute)?, HOUR.read(hour)?);
        let (days, months, weekdays) = (DAY.read(day)?, MONTH.read(month)?, WEEKDAY.read(weekday)?);
        let unrestricted = |written: &str, values: u64, field: &Field| {
            written.starts_with('*') && values == field.span(field.least, field.greatest, 1)
        };
        Ok(Cron {
            text: text.to_owned(),
            any_day: unrestricted(day, days, &DAY),
            any_weekday: unrestricted(weekday, weekdays, &WEEKDAY),
            minutes,
            hours,
            days,
            months,
            weekdays,
        })
    }

    /// The expression as written: GitHub's `github.event.schedule`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether two of its minutes lie less than five minutes apart: GitHub runs such a schedule at most every 5 minutes.
    pub fn is_shorter_than_github(&self) -> bool {
        const SHORTEST: u32 = 5;
        let minutes: Vec<u32> = (0..60).filter(|minute| has(self.minutes, *minute)).collect();
        if minutes.windows(2).any(|pair| matches!(pair, [a, b] if b - a < SHORTEST)) {
            return true;
        }
        let (Some(first), Some(last)) = (minutes.first(), minutes.last()) else { return false };
        if 60 - last + first >= SHORTEST {
            return false;
        }
        let follows = |hour: u32| has(self.hours, hour) && has(self.hours, hour + 1);
        (0..23).any(follows) || (has(self.hours, 23) && has(self.hours, 0) && self.has_consecutive_days())
    }

    /// Whether a day that is meant follows another: looked for in the 28 years in which the calendar repeats itself.
    fn has_consecutive_days(&self) -> bool {
        let (mut date, mut before) = (Date::constant(2000, 1, 1), false);
        while date.year() < 2028 {
            let meant = self.means(date);
            if meant && before {
                return true;
            }
            before = meant;
            let Ok(tomorrow) = date.tomorrow() else { break };
            date = tomorrow;
        }
        false
    }

    fn means(&self, date: Date) -> bool {
        let day = has(self.days, date.day().unsigned_abs().into());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset().unsigned_abs().into());
        self.means_month(date)
            && match (self.any_day, self.any_weekday) {
                (false, false) => day || weekday,
                _ => day && weekday,
            }
    }

    fn means_month(&self, date: Date) -> bool {
        has(self.months, date.month().unsigned_abs().into())
    }

    /// The first minute that is meant, from `from` on. Nothing when none comes within [`limits::SCHEDULE_YEARS_MAX`]: then
    /// none ever comes.
    pub(super) fn first_from(&self, from: DateTime) -> Option<DateTime> {
        let mut date = from.date();
        let (mut hour, mut minute) = (clock(from.hour()), clock(from.minute()));
        let last_year = date.year().saturating_add(limits::SCHEDULE_YEARS_MAX);
        while date.year() <= last_year {
            if !self.means_month(date) {
                date = date.last_of_month().tomorrow().ok()?;
            } else {
                if self.means(date)
                    && let Some(found) = self.first_of_day(hour, minute)
                {
                    return Some(at(date, found));
                }
                date = date.tomorrow().ok()?;
            }
            (hour, minute) = (0, 0);
        }
        None
    }

    /// The last minute that is meant, up to and with `until`; not searched for before `earliest`, nor longer than
    /// [`limits::SCHEDULE_YEARS_MAX`].
    pub(super) fn last_until(&self, until: DateTime, earliest: Date) -> Option<DateTime> {
        let mut date = until.date();
        let (mut hour, mut minute) = (clock(until.hour()), clock(until.minute()));
        let first_year = date.year().saturating_sub(limits::SCHEDULE_YEARS_MAX);
        while date.year() >= first_year && date >= earliest {
            if !self.means_month(date) {
                date = date.first_of_month().yesterday().ok()?;
            } else {
                if self.means(date)
                    && let Some(found) = self.last_of_day(hour, minute)
                {
                    return Some(at(date, found));
                }
                date = date.yesterday().ok()?;
            }
            (hour, minute) = (23, 59);
        }
        None
    }

    fn first_of_day(&self, hour: u32, minute: u32) -> Option<(u32, u32)> {
        if has(self.hours, hour)
            && let Some(minute) = lowest_from(self.minutes, minute)
        {
            return Some((hour, minute));
        }
        Some((lowest_from(self.hours, hour + 1)?, lowest_from(self.minutes, 0)?))
    }

    fn last_of_day(&self, hour: u32, minute: u32) -> Option<(u32, u32)> {
        if has(self.hours, hour)
            && let Some(minute) = highest_until(self.minutes, minute)
        {
            return Some((hour, minute));
        }
        Some((highest_until(self.hours, hour.checked_sub(1)?)?, highest_until(self.minutes, 59)?))
    }
}

impl Field {
    /// The values of a field, as bits.
    fn read(&self, text: &str) -> Result<u64, CronError> {
        text.split(',').try_fold(0, |values, part| Ok(values | self.part(part)?))
    }

    /// `*`, a value or a range, each with an optional step. A value with a step begins a range to the end of the field.
    fn part(&self, text: &str) -> Result<u64, CronError> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(self.step(step)?)),
            None => (text, None),
        };
        let (from, to) = if range == "*" {
            (self.least, self.greatest)
        } else if let Some((from, to)) = range.split_once('-') {
            (self.value(from)?, self.value(to)?)
        } else {
            let from = self.value(range)?;
            (from, if step.is_some() { self.greatest } else { from })
        };
        if from > to {
            return Err(CronError::Backwards { text: range.to_owned(), field: self.name });
        }
        Ok(self.span(from, to, step.unwrap_or(1)))
    }

    fn span(&self, from: u32, to: u32, step: u32) -> u64 {
        (from..=to).step_by(step as usize).fold(0, |values, value| values | 1 << value)
    }

    fn value(&self, text: &str) -> Result<u32, CronError> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let value = match named {
            Some(at) => u32::try_from(at).ok().map(|at| at + self.least),
            None => number(text),
        };
        value.filter(|value| (self.least..=self.greatest).contains(value)).ok_or_else(|| CronError::Value {
            text: text.to_owned(),
            field: self.name,
            least: self.least,
            greatest: self.greatest,
            names: self.named,
        })
    }

    fn step(&self, text: &str) -> Result<u32, CronError> {
        number(text).filter(|step| (1..=self.greatest).contains(step)).ok_or_else(|| CronError::Step {
            text: text.to_owned(),
            field: self.name,
            greatest: self.greatest,
        })
    }
}

fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn has(values: u64, value: u32) -> bool {
    values >> value & 1 == 1
}

fn lowest_from(values: u64, from: u32) -> Option<u32> {
    let rest = values >> from << from;
    (rest != 0).then(|| rest.trailing_zeros())
}

fn highest_until(values: u64, until: u32) -> Option<u32> {
    let rest = values << (63 - until) >> (63 - until);
    (rest != 0).then(|| 63 - rest.leading_zeros())
}

/// An hour or a minute of the calendar, which is never negative.
fn clock(value: i8) -> u32 {
    value.unsigned_abs().into()
}

fn at(date: Date, (hour, minute): (u32, u32)) -> DateTime {
    // both come from bits below 60
    let part = |value: u32| i8::try_from(value).unwrap_or(0);
    date.at(part(hour), part(minute), 0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cron(text: &str) -> Cron {
        Cron::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn what_githubs_parser_takes_is_taken() {
        for text in [
            "0 0 * * *",
            "0 000 001 * *",
            "15 * * * *",
            "2,10 4,5 * * *",
            "30 4-6 * * *",
            "0 4-4 * * *",
            "20/15 * * * *",
            "28 */4 * * *",
            "28 5,*/4,6-8 * * *",
            "0 0 * * sun",
            "0 0 * * SUN-TUE",
            "0 0 * * SUN-2",
            "0 2-4/5 * * *",
            "0   0  *  *               *",
            "*/15 1,13 1-7 JAN-mar MON",
        ] {
            cron(text);
        }
    }

    #[test]
    fn what_githubs_parser_refuses_is_refused_with_the_part_that_is_wrong() {
        for (text, said) in [
            ("", "it has 0 fields and not five"),
            ("$cron-weekly", "it has 1 fields and not five"),
            ("@daily", "it has 1 fields and not five"),
            ("0 0 * *", "it has 4 fields and not five"),
            ("0 0 * * * * *", "it has 7 fields and not five"),
            ("0 0\t* * *", "it has 4 fields and not five"),
            (" 0 0 * * *", "a space stands before its first or after its last field"),
            ("0 0 * * * ", "a space stands before its first or after its last field"),
            ("60 * * * *", "'60' is no minute (expected 0 to 59)"),
            ("0 -1 * * *", "'' is no hour (expected 0 to 23)"),
            ("0 1- * * *", "'' is no hour (expected 0 to 23)"),
            ("0 /1 * * *", "'' is no hour (expected 0 to 23)"),
            ("0 1/ * * *", "'' is no step of the hour (expected 1 to 23)"),
            ("0 1, * * *", "'' is no hour (expected 0 to 23)"),
            ("0 5--5 * * *", "'-5' is no hour (expected 0 to 23)"),
            ("0 *//5 * * *", "'/5' is no step of the hour (expected 1 to 23)"),
            ("0 */* * * *", "'*' is no step of the hour (expected 1 to 23)"),
            ("0 */0 * * *", "'0' is no step of the hour (expected 1 to 23)"),
            ("0 */24 * * *", "'24' is no step of the hour (expected 1 to 23)"),
            ("0 2/4-5 * * *", "'4-5' is no step of the hour (expected 1 to 23)"),
            ("0 ** * * *", "'**' is no hour (expected 0 to 23)"),
            ("0 *-4 * * *", "'*' is no hour (expected 0 to 23)"),
            ("0 2-4-6 * * *", "'4-6' is no hour (expected 0 to 23)"),
            ("0 12-4 * * *", "the range '12-4' of the hour runs backwards"),
            ("* * 0 * *", "'0' is no day of the month (expected 1 to 31)"),
            ("0 0 * SUN *", "'SUN' is no month (expected 1 to 12, or JAN to DEC)"),
            ("0 0 * * BUN", "'BUN' is no weekday (expected 0 to 6, or SUN to SAT)"),
            ("0 0 * * 7", "'7' is no weekday (expected 0 to 6, or SUN to SAT)"),
            ("0 0 * * FRI-TUE", "the range 'FRI-TUE' of the weekday runs backwards"),
            ("0 * * */FEB *", "'FEB' is no step of the month (expected 1 to 12)"),
        ] {
            assert_eq!(Cron::parse(text).unwrap_err().to_string(), said, "{text}");
        }
    }

    #[test]
    fn minutes_are_found_forwards_and_backwards() {
        let minute = |text: &str| text.parse::<DateTime>().unwrap();
        for (text, from, next, last) in [
            ("30 4 * * *", "2024-05-01T04:30", "2024-05-01T04:30", "2024-05-01T04:30"),
            ("30 4 * * *", "2024-05-01T04:31", "2024-05-02T04:30", "2024-05-01T04:30"),
            ("20/15 * * * *", "2024-05-01T00:51", "2024-05-01T01:20", "2024-05-01T00:50"),
            ("0 0 29 2 *", "2096-03-01T00:00", "2104-02-29T00:00", "2096-02-29T00:00"),
            ("0 0 1 1 *", "2023-12-31T23:59", "2024-01-01T00:00", "2023-01-01T00:00"),
            ("5 */6 * * 1-5", "2024-05-04T00:00", "2024-05-06T00:05", "2024-05-03T18:05"),
        ] {
            let cron = cron(text);
            assert_eq!(cron.first_from(minute(from)), Some(minute(next)), "{text} from {from}");
            let earliest = Date::constant(1900, 1, 1);
            assert_eq!(cron.last_until(minute(from), earliest), Some(minute(last)), "{text} until {from}");
        }
        let never = cron("0 0 30 2 *");
        assert_eq!(never.first_from(minute("2024-01-01T00:00")), None);
        assert_eq!(never.last_until(minute("2024-01-01T00:00"), Date::MIN), None);
        let yearly = cron("0 0 1 1 *");
        assert_eq!(yearly.last_until(minute("2024-06-01T00:00"), Date::constant(2024, 2, 1)), None);
    }

    #[test]
    fn a_day_that_fits_either_restriction_is_meant() {
        let meant = |text: &str| {
            let cron = cron(text);
            let days = (1..=14).filter(|day| cron.means(Date::constant(2024, 5, *day)));
            days.collect::<Vec<_>>()
        };
        // 2024-05-01 is a Wednesday
        assert_eq!(meant("0 0 3 * MON"), [3, 6, 13]);
        assert_eq!(meant("0 0 * * MON"), [6, 13]);
        assert_eq!(meant("0 0 3 * *"), [3]);
        assert_eq!(meant("0 0 3 * */1"), [3]);
        assert_eq!(meant("0 0 */5 * MON"), [1, 6, 11, 13]);
        assert_eq!(meant("0 0 1-31 * MON").len(), 14);
        assert_eq!(meant("0 0 3 6 MON"), [0; 0]);
    }

    #[test]
    fn less_than_five_minutes_apart_is_more_than_github_runs() {
        for text in
            ["* * * * *", "*/4 * * * *", "0,4 3 * * *", "*/7 * * * *", "58,0 1,2 * * *", "58,0 0,23 * * *"]
        {
            assert!(cron(text).is_shorter_than_github(), "{text}");
        }
        for text in [
            "*/5 * * * *",
            "0 0 * * *",
            "7/10 * * * *",
            "58,0 1,3 * * *",
            "58,0 0,23 * * MON",
            "58,0 0,23 30 2 *",
        ] {
            assert!(!cron(text).is_shorter_than_github(), "{text}");
        }
    }
}
