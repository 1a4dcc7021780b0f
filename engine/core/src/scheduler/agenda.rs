//! Due times: at most one for each thing, the earliest first. Every change costs O(log n); nothing is ever scanned.

use std::collections::{BTreeMap, BTreeSet};

use crate::time::Monotonic;

/// What is due when.
#[derive(Clone, Debug)]
pub(super) struct Agenda<T> {
    by_time: BTreeSet<(Monotonic, T)>,
    times: BTreeMap<T, Monotonic>,
}

impl<T: Ord + Copy> Agenda<T> {
    pub(super) fn new() -> Self {
        Self { by_time: BTreeSet::new(), times: BTreeMap::new() }
    }

    /// Makes `what` due at `time`, whenever it was due before.
    pub(super) fn set(&mut self, what: T, time: Monotonic) {
        if let Some(before) = self.times.insert(what, time) {
            self.by_time.remove(&(before, what));
        }
        self.by_time.insert((time, what));
    }

    /// Makes `what` due at `time` unless it is due earlier.
    pub(super) fn set_earlier(&mut self, what: T, time: Monotonic) {
        if self.times.get(&what).is_none_or(|before| time < *before) {
            self.set(what, time);
        }
    }

    pub(super) fn cancel(&mut self, what: &T) {
        if let Some(before) = self.times.remove(what) {
            self.by_time.remove(&(before, *what));
        }
    }

    pub(super) fn time_of(&self, what: &T) -> Option<Monotonic> {
        self.times.get(what).copied()
    }

    pub(super) fn earliest(&self) -> Option<Monotonic> {
        self.by_time.first().map(|(time, _)| *time)
    }

    /// Takes out what is due at `now`.
    pub(super) fn pop(&mut self, now: Monotonic) -> Option<T> {
        let (time, what) = *self.by_time.first().filter(|(time, _)| *time <= now)?;
        self.by_time.remove(&(time, what));
        self.times.remove(&what);
        Some(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_due_once_and_the_earliest_comes_first() {
        let mut agenda = Agenda::new();
        agenda.set("a", Monotonic(5));
        agenda.set("b", Monotonic(3));
        agenda.set("a", Monotonic(1));
        agenda.set_earlier("b", Monotonic(9));
        assert_eq!((agenda.earliest(), agenda.time_of(&"b")), (Some(Monotonic(1)), Some(Monotonic(3))));
        assert_eq!((agenda.pop(Monotonic(2)), agenda.pop(Monotonic(2))), (Some("a"), None));
        agenda.cancel(&"b");
        assert_eq!((agenda.pop(Monotonic(9)), agenda.earliest()), (None, None));
    }
}
