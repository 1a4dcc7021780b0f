//! How many runners wait for jobs, by time of day. Pure.
//!
//! A rule holds from each instant that its cron line names until another rule's instant comes; a rule without one holds always. Of the
//! rules that hold, the one whose instant came last counts.

use serde::{Deserialize, Serialize};
use wfengine_workflow::{Cron, Position, Schedule};

/// Instants are looked for this far back: a rule that begins once a week holds all week, and one that begins once a month all month.
const LOOK_BACK_S: i64 = 366 * 24 * 3_600;

/// So many waiting runners, from certain instants on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IdleRule {
    /// From these instants on; from the beginning if `None`. Five fields, as GitHub's schedules.
    pub cron: Option<String>,
    /// The time zone of the instants.
    pub timezone: String,
    /// Runners that wait.
    pub runners: u32,
}

/// Why a rule says nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{text}`: {why}")]
pub struct IdleRuleError {
    /// The cron line or the time zone.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

impl IdleRule {
    fn schedule(&self) -> Result<Option<Schedule>, IdleRuleError> {
        let Some(text) = &self.cron else { return Ok(None) };
        let wrong = |text: &str, why: String| IdleRuleError { text: text.to_owned(), why };
        let cron = Cron::parse(text).map_err(|error| wrong(text, error.to_string()))?;
        let schedule = Schedule::new(Position::default(), cron, &self.timezone);
        schedule.map(Some).map_err(|error| {
            let near = if error.near.is_empty() {
                String::new()
            } else {
                format!("; near: {}", error.near.join(", "))
            };
            wrong(&error.name, format!("no such time zone{near}"))
        })
    }

    /// Whether it can be read.
    ///
    /// # Errors
    /// [`IdleRuleError`].
    pub fn check(&self) -> Result<(), IdleRuleError> {
        self.schedule().map(|_| ())
    }
}

/// Runners that are to wait at a moment, in seconds since 1970.
pub fn idle_min(rules: &[IdleRule], now_s: u64) -> u32 {
    let now_s = i64::try_from(now_s).unwrap_or(i64::MAX);
    let begun = rules.iter().enumerate().filter_map(|(index, rule)| match rule.schedule() {
        Ok(None) => Some((i64::MIN, index, rule.runners)),
        Ok(Some(schedule)) => {
            schedule.latest_due(now_s - LOOK_BACK_S, now_s).map(|at| (at, index, rule.runners))
        }
        Err(_) => None,
    });
    begun.max().map_or(0, |(_, _, runners)| runners)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(cron: Option<&str>, runners: u32) -> IdleRule {
        IdleRule { cron: cron.map(str::to_owned), timezone: "Europe/Berlin".to_owned(), runners }
    }

    #[test]
    fn the_rule_that_began_last_counts() {
        let rules = [rule(None, 0), rule(Some("0 8 * * 1-5"), 2), rule(Some("0 18 * * 1-5"), 1)];
        // Monday 2026-06-01 in Berlin is two hours ahead of UTC
        let monday = 1_780_272_000 - 2 * 3_600;
        let at = |hour: u64| idle_min(&rules, monday + hour * 3_600);
        assert_eq!((at(9), at(17), at(19), at(24 + 7), at(24 + 9)), (2, 2, 1, 1, 2));
        // the weekend goes on as Friday evening ended
        assert_eq!(at(5 * 24 + 12), 1);
        assert_eq!(idle_min(&[], monday), 0);
        assert_eq!(idle_min(&[rule(None, 3)], monday), 3);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        assert!(rule(Some("0 8 * *"), 1).check().unwrap_err().text.contains("0 8 * *"));
        let zone = IdleRule { timezone: "Europe/Berln".into(), ..rule(Some("0 8 * * *"), 1) };
        assert!(zone.check().unwrap_err().why.contains("no such time zone"));
        assert!(rule(None, 1).check().is_ok());
    }
}
