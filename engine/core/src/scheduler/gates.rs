//! Concurrency groups and `max-parallel`: how many of some jobs may be executed at once.
//!
//! A gate is full when as many of its jobs are claimed as fit. While it is not, its unclaimed jobs are offered one after the other,
//! in the order of priority and submission, so that nodes do not all claim different jobs of it at once. Who fills it is decided after
//! SETTLE by the canonical order of the claims; this file only remembers which jobs stand before which gate.
//!
//! Pure bookkeeping over views: across a partition two nodes may let jobs through at once, and that is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wfengine_storage_format::{JobId, RunId};

use super::config::Timing;
use super::jobs::Entry;
use crate::time::Monotonic;
use crate::views::Views;
use crate::views::job::Job;
use crate::views::run::Run;

/// What limits how many jobs run at once.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum GateKey {
    /// `concurrency:` of a repository.
    Group { repository: String, name: String },
    /// `strategy.max-parallel` of a job key.
    Part { run: RunId, key: String },
}

/// Place of a job before its gates: priority, height of the submission, id.
pub(super) type Precedence = (u32, u64, JobId);

#[derive(Clone, Debug)]
struct Gate {
    capacity: usize,
    unclaimed: BTreeSet<Precedence>,
    claimed: BTreeSet<JobId>,
    open_since: Monotonic,
}

/// How far down the queue before a gate positions are told apart.
const POSITIONS_MAX: usize = 16;
/// Jobs looked at when a gate opens.
const WOKEN_MAX: usize = 4;
/// How often the first jobs before a full gate are looked at even if nothing happened.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// All gates with jobs before them.
#[derive(Clone, Debug, Default)]
pub(super) struct Gates {
    gates: BTreeMap<GateKey, Gate>,
    dirty: BTreeSet<GateKey>,
}

/// What a verdict reads of a job's gates.
pub(super) struct GateOutlook {
    pub(super) is_full: bool,
    /// Since when there is room.
    pub(super) open_since: Monotonic,
    /// Others come first.
    pub(super) delay: Duration,
    pub(super) look_again: Option<Monotonic>,
}

/// The gates of a job, with their capacity.
pub(super) fn gates_of(run: &Run, job: &Job) -> Vec<(GateKey, usize)> {
    let repository =
        || run.submitted.as_ref().map(|submitted| submitted.frozen.repository.to_ascii_lowercase());
    let group = job.leg.group.as_ref().map(|name| {
        let key = GateKey::Group { repository: repository().unwrap_or_default(), name: name.to_lowercase() };
        (key, 1)
    });
    let part = run.parts.get(&job.key).and_then(|part| part.max_parallel).map(|max| {
        let key = GateKey::Part { run: run.id, key: job.key.clone() };
        (key, usize::try_from(max.max(1)).unwrap_or(usize::MAX))
    });
    group.into_iter().chain(part).collect()
}

impl Gates {
    /// Puts a job before its gates, claimed or not.
    pub(super) fn place(&mut self, keys: &[(GateKey, usize)], at: Precedence, claimed: bool, now: Monotonic) {
        for (key, capacity) in keys {
            let gate = self.gates.entry(key.clone()).or_insert_with(|| Gate {
                capacity: *capacity,
                unclaimed: BTreeSet::new(),
                claimed: BTreeSet::new(),
                open_since: now,
            });
            gate.capacity = *capacity;
            if claimed {
                gate.unclaimed.remove(&at);
                gate.claimed.insert(at.2);
            } else {
                let was_full = gate.claimed.len() >= gate.capacity;
                gate.unclaimed.insert(at);
                if gate.claimed.remove(&at.2) {
                    if was_full {
                        gate.open_since = now;
                    }
                    self.dirty.insert(key.clone());
                }
            }
        }
    }

    /// Takes a job away: it ended.
    pub(super) fn remove(&mut self, keys: &[(GateKey, usize)], at: Precedence, now: Monotonic) {
        for (key, _) in keys {
            let Some(gate) = self.gates.get_mut(key) else { continue };
            let was_full = gate.claimed.len() >= gate.capacity;
            gate.unclaimed.remove(&at);
            if gate.claimed.remove(&at.2) && was_full {
                gate.open_since = now;
            }
            self.dirty.insert(key.clone());
            if gate.unclaimed.is_empty() && gate.claimed.is_empty() {
                self.gates.remove(key);
            }
        }
    }

    /// The jobs to look at because a gate opened.
    pub(super) fn woken(&mut self) -> Vec<JobId> {
        let mut woken = Vec::new();
        for key in std::mem::take(&mut self.dirty) {
            if let Some(gate) = self.gates.get(&key) {
                let room = gate.capacity.saturating_sub(gate.claimed.len()).min(POSITIONS_MAX);
                woken.extend(gate.unclaimed.iter().take(room + WOKEN_MAX).map(|(_, _, job)| *job));
            }
        }
        woken
    }

    pub(super) fn outlook(&self, entry: &Entry, timing: &Timing, now: Monotonic) -> GateOutlook {
        let mut outlook =
            GateOutlook { is_full: false, open_since: Monotonic(0), delay: Duration::ZERO, look_again: None };
        for gate in entry.gates.iter().filter_map(|(key, _)| self.gates.get(key)) {
            let claimed = gate.claimed.iter().filter(|job| **job != entry.job).count();
            let room = gate.capacity.saturating_sub(claimed);
            let position =
                gate.unclaimed.iter().take(POSITIONS_MAX).take_while(|at| at.2 != entry.job).count();
            outlook.is_full |= room == 0;
            outlook.open_since = outlook.open_since.max(gate.open_since);
            let turns = u32::try_from((position + 1).saturating_sub(room.max(1))).unwrap_or(u32::MAX);
            outlook.delay = outlook.delay.max(timing.turn.saturating_mul(turns));
            if position < WOKEN_MAX {
                outlook.look_again = Some(now + LOOK_AGAIN);
            }
        }
        outlook
    }

    /// Whether earlier claims, in canonical order, leave no room for this one.
    pub(super) fn is_filled_before(
        &self,
        views: &Views,
        entry: &Entry,
        runs: impl Fn(&JobId) -> Option<RunId>,
    ) -> bool {
        let Some((_, job)) = views.runs().live_job(&entry.run, &entry.job) else { return false };
        let Some(own) = job.effective_claim() else { return false };
        entry.gates.iter().filter_map(|(key, _)| self.gates.get(key)).any(|gate| {
            let earlier = gate.claimed.iter().filter(|other| **other != entry.job).filter(|other| {
                runs(other)
                    .and_then(|run| views.runs().live_job(&run, other))
                    .and_then(|(_, job)| job.holder())
                    .is_some_and(|claim| claim.started || claim.order() < own.order())
            });
            earlier.count() >= gate.capacity
        })
    }

    pub(super) fn len(&self) -> usize {
        self.gates.len()
    }
}
