//! One run as the views show it: submissions, the canonical one, planned keys, jobs, status.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wfengine_storage_format::{
    Conclusion, EffectOutcome, EventId, JobId, Origin, PeerId, Placement, RunId, RunSpec, RunSubmitted,
    TriggerFired, run_id,
};

use super::job::{Job, Status};
use super::sorted_map::SortedMap;

/// One submission of a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Submission {
    /// The `RunSubmitted`.
    pub id: EventId,
    /// By whom.
    pub author: PeerId,
    /// When, advisory, milliseconds since 1970.
    pub time_ms: u64,
    /// The merkle clock head it names.
    pub head: [u8; 32],
    /// The authority heads among its refs rank the peers.
    pub refs: Vec<EventId>,
    /// Its height in the clock.
    pub height: u64,
    /// Whether it asks for what the canonical one asks for, but for what two honest finders of one trigger may see differently. Follows
    /// from the events, so the digest need not cover it.
    #[serde(skip)]
    pub agrees: bool,
}

/// The plan of one job key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PlannedPart {
    /// The `JobsPlanned` that counts; `None` for the one job of a task.
    pub event: Option<EventId>,
    /// The completions it was planned from.
    pub consumed: Vec<EventId>,
    /// The jobs it needs.
    pub needs: Vec<String>,
    /// Why nothing of it is executed.
    pub skipped: Option<String>,
    /// At most so many at once.
    pub max_parallel: Option<u32>,
    /// Whether one failure cancels the rest.
    pub fail_fast: bool,
    /// The ids of its legs, in the plan's order.
    pub jobs: Vec<JobId>,
}

/// A time the run was handed to GitHub. More than one only after refusals, and where members that could not hear each other did it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Dispatch {
    /// The `EffectIntended`.
    pub intent: EventId,
    /// By whom.
    pub author: PeerId,
    /// When, advisory, milliseconds since 1970.
    pub time_ms: u64,
    /// What came of it; `None` while nobody has said.
    pub outcome: Option<EffectOutcome>,
    /// The run there, once somebody saw it: what names it, where people see it, how it ended.
    pub seen: Option<(String, String, Option<Conclusion>)>,
}

impl Dispatch {
    /// Whether GitHub has the run, as far as anybody knows: not when it refused it, unless it was seen there all the same.
    pub fn stands(&self) -> bool {
        self.seen.is_some() || !matches!(self.outcome, Some(EffectOutcome::Refused(_)))
    }
    /// How it ended there.
    pub fn conclusion(&self) -> Option<Conclusion> {
        self.seen.as_ref().and_then(|(_, _, conclusion)| *conclusion)
    }
    /// Where people see it; empty while nobody knows.
    pub fn url(&self) -> &str {
        match (&self.seen, &self.outcome) {
            (Some((_, url, _)), _) | (None, Some(EffectOutcome::Done { url, .. })) => url,
            _ => "",
        }
    }
}

/// A job that is shown beside its commit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Check {
    /// The `EffectIntended`.
    pub intent: EventId,
    /// By whom.
    pub author: PeerId,
    /// Which job.
    pub job: JobId,
    /// What came of it.
    pub outcome: Option<EffectOutcome>,
}

/// A run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// The canonical submission: the least event id.
    pub canonical: Option<EventId>,
    /// Its body.
    pub submitted: Option<Arc<RunSubmitted>>,
    /// All submissions, in canonical order.
    pub submissions: Vec<Submission>,
    /// Submissions under the same trigger key ask for different things.
    pub conflict: bool,
    /// Lower runs first, thousandths.
    pub priority_milli: u32,
    /// Plans by job key.
    pub parts: SortedMap<String, PlannedPart>,
    /// Two plans of one key differ.
    pub divergent_plan: bool,
    /// A plan used a result that is no longer the canonical one.
    pub stale_input: bool,
    /// The jobs by id.
    pub jobs: SortedMap<JobId, Job>,
    /// The event that cancelled it, by whom and why.
    pub cancelled: Option<(EventId, PeerId, String)>,
    /// The event that gave it up.
    pub expired: Option<EventId>,
    /// Why it exists, if discovery submitted it.
    pub trigger: Option<Arc<TriggerFired>>,
    /// The times it was handed to GitHub, in canonical order.
    pub dispatches: Vec<Dispatch>,
    /// Its jobs that are shown beside their commit.
    pub checks: Vec<Check>,
    /// Where it stands.
    pub status: Status,
    /// In words.
    pub reason: String,
    /// Events of it that say nothing.
    pub void: Vec<EventId>,
}

/// The attempt that should follow a failed run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NextAttempt {
    /// Its run.
    pub run: RunId,
    /// From 2 to [`Self::attempts_max`].
    pub attempt: u32,
    /// How many attempts there may be.
    pub attempts_max: u32,
    /// From the failure to the submission: the shortest wait, doubled with every attempt, at most the longest.
    pub backoff: Duration,
}

impl Run {
    /// A run of which nothing is known but its id.
    pub(crate) fn unknown(id: RunId) -> Self {
        Self {
            id,
            canonical: None,
            submitted: None,
            submissions: Vec::new(),
            conflict: false,
            priority_milli: wfengine_storage_format::limits::PRIORITY_MILLI_DEFAULT,
            parts: SortedMap::new(),
            divergent_plan: false,
            stale_input: false,
            jobs: SortedMap::new(),
            cancelled: None,
            expired: None,
            trigger: None,
            dispatches: Vec::new(),
            checks: Vec::new(),
            status: Status::Pending,
            reason: String::new(),
            void: Vec::new(),
        }
    }

    /// The canonical submission.
    pub fn submission(&self) -> Option<&Submission> {
        self.submissions.iter().find(|submission| Some(submission.id) == self.canonical)
    }
    /// Whether a peer submitted what the run executes: not if it wrote something else under the trigger key of another's run.
    pub fn is_asked_by(&self, peer: &PeerId) -> bool {
        self.submissions.iter().any(|submission| submission.agrees && submission.author == *peer)
    }
    /// What submits the run again as this attempt: the submission, and why it exists if discovery found it. No fold reads another run,
    /// so each attempt says anew where its sources are. None for a run without a valid submission.
    pub fn again(&self, attempt: u32) -> Option<(RunSubmitted, Option<TriggerFired>)> {
        let before = self.submitted.as_ref()?;
        let submission = RunSubmitted {
            attempt,
            rerun_of: Some(self.canonical?),
            placement: Placement::Rule,
            ..RunSubmitted::clone(before)
        };
        let run = submission.run();
        let trigger =
            self.trigger.as_ref().map(|trigger| TriggerFired { run, ..TriggerFired::clone(trigger) });
        Some((submission, trigger))
    }
    /// Whether discovery submitted it.
    pub fn is_discovered(&self) -> bool {
        self.submitted.as_ref().is_some_and(|submitted| submitted.origin == Origin::Discovery)
    }
    /// The hand-over to GitHub that counts: one that ended there before one that goes on, else the first that was not refused.
    pub fn dispatched(&self) -> Option<&Dispatch> {
        let standing = || self.dispatches.iter().filter(|dispatch| dispatch.stands());
        standing().find(|dispatch| dispatch.conclusion().is_some()).or_else(|| standing().next())
    }
    /// What people call it.
    pub fn name(&self) -> &str {
        self.submitted.as_ref().map_or("", |submitted| submitted.name.as_str())
    }
    /// Whether it is one opaque job for a program that asks.
    pub fn is_task(&self) -> bool {
        self.submitted.as_ref().is_some_and(|submitted| matches!(submitted.spec, RunSpec::Task { .. }))
    }
    /// The job keys of the file in its order; `task` for a task.
    pub fn job_keys(&self) -> Vec<String> {
        match self.submitted.as_ref().map(|submitted| &submitted.spec) {
            Some(RunSpec::Workflow(workflow)) => workflow.job_keys.clone(),
            Some(RunSpec::Task { .. }) => vec![super::run_fold::TASK_KEY.to_owned()],
            None => Vec::new(),
        }
    }
    /// Whether every job key is planned.
    pub fn is_planned_whole(&self) -> bool {
        match self.submitted.as_ref().map(|submitted| &submitted.spec) {
            Some(RunSpec::Workflow(workflow)) => {
                workflow.job_keys.iter().all(|key| self.parts.contains_key(key))
            }
            Some(RunSpec::Task { .. }) => self.parts.contains_key(super::run_fold::TASK_KEY),
            None => true,
        }
    }
    /// The jobs of one key.
    pub fn jobs_of(&self, key: &str) -> impl Iterator<Item = &Job> {
        self.parts.get(key).into_iter().flat_map(|part| &part.jobs).filter_map(|id| self.jobs.get(id))
    }
    /// Job keys that nobody planned yet, in the file's order. Which of them can be planned is for the workflow file to say.
    pub fn unplanned_keys(&self) -> Vec<String> {
        if self.status.is_terminal() {
            return Vec::new();
        }
        self.job_keys().into_iter().filter(|key| !self.parts.contains_key(key)).collect()
    }
    /// The attempt that the run's retries ask for, whether it was submitted or not. None while the run may still succeed, after a
    /// cancel, and when a job failed for good.
    pub fn next_attempt(&self) -> Option<NextAttempt> {
        let submitted = self.submitted.as_ref()?;
        let failed_for_good =
            self.jobs.values().any(|job| job.failed.is_some() && job.result.is_none() && !job.failed_retry);
        let is_wanted = self.status == Status::Failed
            && self.cancelled.is_none()
            && submitted.attempt <= submitted.retries
            && !failed_for_good;
        let attempt = submitted.attempt.checked_add(1).filter(|_| is_wanted)?;
        let (shortest, longest) = submitted.backoff_ms;
        let doubled = shortest.saturating_mul(1 << submitted.attempt.saturating_sub(1).min(20));
        Some(NextAttempt {
            run: run_id(&submitted.trigger_key, attempt),
            attempt,
            attempts_max: submitted.retries.saturating_add(1),
            backoff: Duration::from_millis(doubled.max(shortest).min(longest)),
        })
    }
    /// Planned job keys all of whose legs have ended.
    pub fn finished_keys(&self) -> Vec<&str> {
        let ended = |part: &PlannedPart| {
            part.jobs.iter().all(|id| self.jobs.get(id).is_some_and(|job| job.status.is_terminal()))
        };
        self.parts.iter().filter(|(_, part)| ended(part)).map(|(key, _)| key.as_str()).collect()
    }
}
