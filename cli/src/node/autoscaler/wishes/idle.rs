//! How many runners wait for jobs, by the hour: a number, and other numbers from the ticks of cron expressions on.
//!
//! Pure: the time is an argument. Between two ticks the number of the last one holds; before the first tick ever, the plain one.

use serde::{Deserialize, Serialize};
use wfengine_api::Failure;
use wfengine_autoscaler::idle::{IdleRule, idle_min};
use wfengine_workflow::schedule::DEFAULT_TIMEZONE;
use wfengine_workflow::{Cron, Position, Schedule};

use super::wrong;

/// Cron expressions of one pool.
const TICKS_MAX: usize = 64;

/// From every tick on, so many.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct IdleFrom {
    pub(crate) cron: String,
    pub(crate) count: u32,
}

/// Runners that wait for jobs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct IdleFloor {
    pub(crate) count: u32,
    pub(crate) from: Vec<IdleFrom>,
    /// An IANA name.
    pub(crate) timezone: String,
}

impl Default for IdleFloor {
    fn default() -> Self {
        Self { count: 0, from: Vec::new(), timezone: DEFAULT_TIMEZONE.to_owned() }
    }
}

fn schedule(cron: &str, timezone: &str, text: &str) -> Result<Schedule, Failure> {
    let cron = Cron::parse(cron).map_err(|error| {
        Failure::bad_input(format!("--min-idle \"{text}\": its cron expression: {error}"))
    })?;
    Schedule::new(Position::default(), cron, timezone).map_err(|unknown| {
        let expected = "the name of a time zone, such as Europe/Berlin or UTC";
        Failure { candidates: unknown.near, ..wrong("--timezone", timezone, expected) }
    })
}

impl IdleFloor {
    /// `N`, or `CRON=N` any number of times.
    pub(super) fn read(texts: &[String], timezone: &str) -> Result<Self, Failure> {
        let number = |text: &str, digits: &str| -> Result<u32, Failure> {
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| plain).ok_or_else(|| {
                wrong(
                    "--min-idle",
                    text,
                    "a number of runners, or a cron expression and one, such as \"0 8 * * 1-5=2\"",
                )
            })
        };
        let mut floor = Self { timezone: timezone.to_owned(), ..Self::default() };
        let mut plain: Option<&str> = None;
        for text in texts {
            match text.rsplit_once('=') {
                Some((cron, digits)) => {
                    floor
                        .from
                        .push(IdleFrom { cron: cron.trim().to_owned(), count: number(text, digits.trim())? });
                }
                None => {
                    if let Some(before) = plain.replace(text) {
                        return Err(wrong(
                            "--min-idle",
                            &format!("{before} and {text}"),
                            "one number without a cron expression",
                        ));
                    }
                    floor.count = number(text, text.trim())?;
                }
            }
        }
        Ok(floor)
    }

    /// Refuses what is never due and more than there may be.
    pub(super) fn check(&self, runners_max: u32) -> Result<(), Failure> {
        if self.from.len() > TICKS_MAX {
            return Err(wrong("--min-idle", &format!("({} of them)", self.from.len()), "64 at most"));
        }
        // a time zone that nothing is reckoned in is wrong all the same
        schedule("0 0 * * *", &self.timezone, "")?;
        for IdleFrom { cron, count } in &self.from {
            let text = format!("{cron}={count}");
            if schedule(cron, &self.timezone, &text)?.next_due(0).is_none() {
                return Err(wrong(
                    "--min-idle",
                    &format!("\"{text}\""),
                    "a cron expression that is due some day",
                ));
            }
        }
        let most = self.from.iter().map(|from| from.count).chain([self.count]).max().unwrap_or_default();
        if most > runners_max {
            return Err(wrong(
                "--min-idle",
                &most.to_string(),
                &format!("--max-runners ({runners_max}) at most"),
            ));
        }
        Ok(())
    }

    /// The same as the autoscaler reads it.
    pub(crate) fn rules(&self) -> Vec<IdleRule> {
        let rule = |cron: Option<&str>, runners| IdleRule {
            cron: cron.map(str::to_owned),
            timezone: self.timezone.clone(),
            runners,
        };
        let ticks = self.from.iter().map(|from| rule(Some(&from.cron), from.count));
        std::iter::once(rule(None, self.count)).chain(ticks).collect()
    }

    /// How many at a unix second.
    pub(crate) fn at(&self, now_s: u64) -> u32 {
        idle_min(&self.rules(), now_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floor(texts: &[&str], timezone: &str) -> Result<IdleFloor, Failure> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let floor = IdleFloor::read(&texts, timezone)?;
        floor.check(10)?;
        Ok(floor)
    }

    #[test]
    fn the_last_tick_decides() {
        let berlin = floor(&["1", "0 8 * * 1-5=4", "0 18 * * 1-5=0"], "Europe/Berlin").unwrap();
        // Monday 6 July 2026, summer time: 8 o'clock in Berlin is 6 UTC
        let monday = 1_783_296_000;
        let hour = |hour: u64| berlin.at(monday + hour * 3_600);
        assert_eq!((hour(5), hour(6), hour(15), hour(16), hour(23)), (0, 4, 4, 0, 0));
        // through the weekend the last of Friday holds
        assert_eq!(hour(24 * 5 + 12), 0);
        assert_eq!(floor(&["3"], "UTC").unwrap().at(monday), 3);
        assert_eq!(floor(&[], "UTC").unwrap(), IdleFloor::default());
        let both = floor(&["0 8 * * *=1", "0 8 * * 1=2"], "UTC").unwrap();
        assert_eq!((both.at(monday + 8 * 3_600), both.at(monday + 32 * 3_600)), (2, 1));
    }

    #[test]
    fn what_is_no_floor_is_named() {
        for (texts, timezone, wanted) in [
            (vec!["two"], "UTC", "--min-idle two: expected a number of runners"),
            (vec!["0 8 * * 1-5=x"], "UTC", "--min-idle 0 8 * * 1-5=x: expected a number of runners"),
            (
                vec!["0 25 * * *=1"],
                "UTC",
                "--min-idle \"0 25 * * *=1\": its cron expression: '25' is no hour",
            ),
            (vec!["* *=1"], "UTC", "it has 2 fields and not five"),
            (vec!["0 0 30 2 *=1"], "UTC", "expected a cron expression that is due some day"),
            (vec!["1", "2"], "UTC", "--min-idle 1 and 2: expected one number"),
            (vec!["11"], "UTC", "--min-idle 11: expected --max-runners (10) at most"),
            (vec!["0 8 * * *=11"], "UTC", "--min-idle 11: expected --max-runners (10) at most"),
            (vec![], "Europe/Berlim", "--timezone Europe/Berlim: expected the name of a time zone"),
        ] {
            let failure = floor(&texts, timezone).unwrap_err();
            assert!(failure.message.contains(wanted), "{texts:?}: {}", failure.message);
        }
        let near = floor(&[], "Europe/Berlim").unwrap_err().candidates;
        assert!(near.contains(&"Europe/Berlin".to_owned()), "{near:?}");
    }
}
