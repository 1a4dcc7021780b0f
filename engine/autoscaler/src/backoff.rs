//! Failures are waited out by their reason: what failed is tried again after five seconds, then twice as long, up to ten minutes. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use wfengine_core::time::Monotonic;

const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(600);
/// What could be tried again for so long, and was not, is not wanted any more.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Reasons that are remembered.
const REASONS_MAX: usize = 64;

/// Something that does not work now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trouble {
    /// What, in words.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
    /// Since when.
    pub since: Monotonic,
    /// How often in a row.
    pub times: u32,
    /// When it is tried again.
    pub next_try: Monotonic,
}

/// Everything that does not work, by a short word for the reason.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Backoff {
    troubles: BTreeMap<String, Trouble>,
}

impl Backoff {
    /// Notes a failure. Whether it is news: the first of its reason, or in other words than before.
    pub fn fail(&mut self, reason: &str, what: &str, remedy: &str, now: Monotonic) -> bool {
        if self.troubles.len() >= REASONS_MAX && !self.troubles.contains_key(reason) {
            self.troubles.retain(|_, trouble| now < trouble.next_try);
        }
        let known = self.troubles.get(reason);
        let (since, times, was_said) =
            known.map_or((now, 0, false), |known| (known.since, known.times, known.what == what));
        let wait = FIRST.saturating_mul(1 << times.min(10)).min(LONGEST);
        // what was begun before the reason was known is no further try
        let held = known.filter(|known| now < known.next_try).map(|known| (known.times, known.next_try));
        let (times, next_try) = held.unwrap_or((times.saturating_add(1), now + wait));
        let trouble = Trouble { what: what.to_owned(), remedy: remedy.to_owned(), since, times, next_try };
        self.troubles.insert(reason.to_owned(), trouble);
        !was_said
    }

    /// A reason is gone.
    pub fn heal(&mut self, reason: &str) -> bool {
        self.troubles.remove(reason).is_some()
    }

    /// Reasons of a kind are gone: those that begin like this.
    pub fn heal_all(&mut self, prefix: &str) {
        self.troubles.retain(|reason, _| !reason.starts_with(prefix));
    }

    /// What was tried again has worked: reasons of a kind are gone, but for those that are still waited out, and for one.
    pub fn heal_tried(&mut self, prefix: &str, kept: &str, now: Monotonic) {
        let is_healed = |reason: &str, trouble: &Trouble| {
            reason.starts_with(prefix) && reason != kept && trouble.next_try <= now
        };
        self.troubles.retain(|reason, trouble| !is_healed(reason, trouble));
    }

    /// What nobody tried again for so long that it could have been is nobody's trouble any more.
    pub fn forget(&mut self, now: Monotonic) {
        self.troubles.retain(|_, trouble| now < trouble.next_try + FORGOTTEN_AFTER);
    }

    /// Until when nothing is begun, for a reason that begins like this.
    pub fn held_until(&self, prefix: &str, now: Monotonic) -> Option<Monotonic> {
        let of = self.troubles.iter().filter(|(reason, _)| reason.starts_with(prefix));
        of.map(|(_, trouble)| trouble.next_try).filter(|until| now < *until).max()
    }

    /// When what failed for a reason is tried again, if that is to come.
    pub fn next_try(&self, reason: &str) -> Option<Monotonic> {
        self.troubles.get(reason).map(|trouble| trouble.next_try)
    }

    /// What does not work.
    pub fn troubles(&self) -> impl Iterator<Item = (&str, &Trouble)> {
        self.troubles.iter().map(|(reason, trouble)| (reason.as_str(), trouble))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_until_ten_minutes_and_end_with_the_reason() {
        let mut backoff = Backoff::default();
        let mut now = Monotonic(0);
        let mut waits = Vec::new();
        for _ in 0..9 {
            backoff.fail("start/image", "no image", "pull it", now);
            let until = backoff.held_until("start", now).unwrap();
            waits.push((until - now).as_secs());
            now = until;
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
        assert_eq!(backoff.held_until("start", now), None, "it is tried again");
        assert_eq!(backoff.held_until("look", Monotonic(0)), None);
        assert!(backoff.heal("start/image") && !backoff.heal("start/image"));
        assert!(
            backoff.fail("start/image", "no image", "pull it", now),
            "after it was healed it is news again"
        );
        assert!(!backoff.fail("start/image", "no image", "pull it", now));
        assert!(backoff.fail("start/image", "no space", "make some", now));
        backoff.heal_all("start/");
        assert_eq!(backoff.troubles().count(), 0);
    }

    #[test]
    fn what_fails_together_is_one_failure() {
        let mut backoff = Backoff::default();
        for millis in 0..8 {
            backoff.fail("start/disk", "no space", "make some", Monotonic(millis));
        }
        assert_eq!(backoff.next_try("start/disk"), Some(Monotonic(5_000)));
        assert!(backoff.troubles().all(|(_, trouble)| trouble.times == 1));
        backoff.fail("start/disk", "no space", "make some", Monotonic(5_000));
        assert_eq!(backoff.next_try("start/disk"), Some(Monotonic(15_000)));
        // one that began before and worked tells nothing; one that was a further try does
        backoff.fail("start/runner", "it ended at once", "see its log", Monotonic(5_000));
        backoff.heal_tried("start/", "start/runner", Monotonic(14_999));
        assert_eq!(backoff.troubles().count(), 2);
        backoff.heal_tried("start/", "start/runner", Monotonic(15_000));
        assert_eq!(backoff.troubles().map(|(reason, _)| reason).collect::<Vec<_>>(), ["start/runner"]);
        backoff.forget(Monotonic(69_999));
        assert_eq!(backoff.troubles().count(), 1);
        backoff.forget(Monotonic(70_000));
        assert_eq!(backoff.troubles().count(), 0);
    }
}
