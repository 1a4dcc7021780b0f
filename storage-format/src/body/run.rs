//! Bodies about a whole run. They are events of the run and of each of its jobs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Bounded, list_fits, name_fits, names_fit, text_fits};
use crate::hash::job_id;
use crate::id::{EventId, JobId, RunId};
use crate::limits::PRIORITY_MILLI_MAX;

/// One combination of a job's matrix: what a node executes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PlannedLeg {
    /// What people call it.
    pub name: String,
    /// Values of the matrix as canonical JSON texts; empty without a matrix.
    pub matrix: BTreeMap<String, String>,
    /// Labels a peer must have.
    pub runs_on: Vec<String>,
    /// Concurrency group, if any.
    pub group: Option<String>,
    /// Wall time allowed, in minutes.
    pub timeout_minutes: u32,
    /// Whether its failure leaves the run successful.
    pub continue_on_error: bool,
}

/// All combinations of one job of the workflow file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PlannedKey {
    /// The job's id in the file.
    pub key: String,
    /// The jobs it needs.
    pub needs: Vec<String>,
    /// Why nothing of it is executed; `None` means it runs.
    pub skipped: Option<String>,
    /// At most so many legs at once.
    pub max_parallel: Option<u32>,
    /// Whether one failed leg cancels the others.
    pub fail_fast: bool,
    /// What is executed; for a skipped job one leg that stands for it.
    pub legs: Vec<PlannedLeg>,
}

/// Jobs of a run became known: the part of the plan that could be made with the completions at hand.
///
/// The unit is a [`PlannedKey`]. Of several plans of one key the least event in canonical order counts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JobsPlanned {
    /// Of which run.
    pub run: RunId,
    /// The submission that was planned.
    pub submission: EventId,
    /// Version of the planning rules.
    pub rules_version: u32,
    /// The `JobCompleted` events whose results the plan used.
    pub consumed: Vec<EventId>,
    /// What was planned.
    pub jobs: Vec<PlannedKey>,
}

impl PlannedKey {
    /// The ids of its legs, in order.
    pub fn job_ids<'a>(&'a self, run: &'a RunId) -> impl Iterator<Item = (JobId, &'a PlannedLeg)> + 'a {
        self.legs.iter().map(move |leg| (job_id(run, &self.key, &leg.matrix), leg))
    }
}

impl Bounded for JobsPlanned {
    fn broken_bound(&self) -> Option<&'static str> {
        let legs_differ = |planned: &PlannedKey| {
            let mut matrices: Vec<_> = planned.legs.iter().map(|leg| &leg.matrix).collect();
            matrices.sort_unstable();
            matrices.windows(2).all(|pair| pair[0] != pair[1])
        };
        let leg_fits = |leg: &PlannedLeg| {
            text_fits(&leg.name)
                && leg.matrix.iter().all(|(key, value)| name_fits(key) && text_fits(value))
                && names_fit(&leg.runs_on)
                && leg.group.as_ref().is_none_or(|group| text_fits(group))
        };
        let key_fits = |planned: &PlannedKey| {
            name_fits(&planned.key)
                && names_fit(&planned.needs)
                && planned.skipped.as_ref().is_none_or(|reason| text_fits(reason))
                && list_fits(&planned.legs)
                && !planned.legs.is_empty()
                && planned.legs.iter().all(leg_fits)
                && legs_differ(planned)
        };
        let mut keys: Vec<&str> = self.jobs.iter().map(|planned| planned.key.as_str()).collect();
        keys.sort_unstable();
        if !list_fits(&self.jobs) || self.jobs.is_empty() || !self.jobs.iter().all(key_fits) {
            Some("jobs")
        } else if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            Some("a job is planned twice")
        } else if self.consumed.len() > 4 * crate::limits::LIST_LEN_MAX {
            Some("consumed")
        } else {
            None
        }
    }
}

/// A run was cancelled.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunCancelled {
    /// Which run.
    pub run: RunId,
    /// A submission of it.
    pub submission: EventId,
    /// Why, for people.
    pub reason: String,
}

impl Bounded for RunCancelled {
    fn broken_bound(&self) -> Option<&'static str> {
        (!text_fits(&self.reason)).then_some("reason")
    }
}

/// A run found no eligible peer for too long. Written by a member whose own monotonic clock saw the time pass.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunExpired {
    /// Which run.
    pub run: RunId,
    /// A submission of it.
    pub submission: EventId,
    /// How long it waited, in milliseconds.
    pub waited_ms: u64,
}

impl Bounded for RunExpired {
    fn broken_bound(&self) -> Option<&'static str> {
        None
    }
}

/// A run's priority changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PriorityChanged {
    /// Which run.
    pub run: RunId,
    /// A submission of it.
    pub submission: EventId,
    /// The new priority in thousandths, 1 to 1,000,000.
    pub priority_milli: u32,
}

impl Bounded for PriorityChanged {
    fn broken_bound(&self) -> Option<&'static str> {
        (self.priority_milli == 0 || self.priority_milli > PRIORITY_MILLI_MAX).then_some("priority")
    }
}
