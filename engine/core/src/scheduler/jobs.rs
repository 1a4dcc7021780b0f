//! The open jobs as this node keeps them: where each one waits, and the queue of those it may claim.
//!
//! Every open, planned job of the log has one entry here. It waits for its turn in the agenda, for a slot in a queue (the
//! Fibonacci heap with ageing), for a program in the queue of tasks, before a full gate, or for somebody else's claim to end.
//! Nothing of this reaches a view.
//!
//! Invariant: a job is in at most one of the three queues, and only in the stage that says so.

use std::collections::{BTreeMap, BTreeSet};

use wfengine_storage_format::{EventId, JobId, PeerId, RunId};

use super::beat::Decline;
use super::gates::{GateKey, Gates, Precedence};
use super::outlook::Watch;
use crate::queue::Queue;
use crate::time::Monotonic;

/// Where a job waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// For its due time.
    Waiting,
    /// For a slot.
    Ready,
    /// For one of the slots of jobs that run where their run was started.
    ReadyAtAuthor,
    /// For a program.
    Task,
    /// For room in its concurrency group.
    Gated,
    /// Not for this node.
    Declined(Decline),
    /// For the answer to a command.
    Asked,
    /// For its holder, which may be this node.
    Held,
}

/// An open job.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) run: RunId,
    pub(super) job: JobId,
    pub(super) stage: Stage,
    pub(super) first_seen: Monotonic,
    /// Place in time for the queue: the lesser of submission and first sight, wall clock.
    pub(super) base_ms: u64,
    pub(super) priority_milli: u32,
    pub(super) gates: Vec<(GateKey, usize)>,
    pub(super) precedence: Precedence,
    pub(super) watch: Option<Watch>,
    /// The effective claim, if it is held.
    pub(super) holder: Option<EventId>,
    /// Refusals and faults push this node's next try back.
    pub(super) not_before: Monotonic,
    pub(super) setbacks: u32,
    /// Peers before this one, alive or not, when it was last looked at.
    pub(super) turns_behind: u32,
    /// This node tried and cannot.
    pub(super) unable: bool,
}

/// All open jobs.
#[derive(Clone, Debug)]
pub(super) struct Jobs {
    entries: BTreeMap<JobId, Entry>,
    by_run: BTreeMap<RunId, BTreeSet<JobId>>,
    by_holder: BTreeMap<PeerId, BTreeSet<JobId>>,
    by_claim: BTreeMap<EventId, (JobId, PeerId)>,
    declined: BTreeSet<JobId>,
    pub(super) ready: Queue<JobId>,
    pub(super) ready_at_author: Queue<JobId>,
    pub(super) tasks: Queue<JobId>,
    pub(super) gates: Gates,
}

impl Jobs {
    pub(super) fn new(ageing_period_ms: u32) -> Self {
        Self {
            entries: BTreeMap::new(),
            by_run: BTreeMap::new(),
            by_holder: BTreeMap::new(),
            by_claim: BTreeMap::new(),
            declined: BTreeSet::new(),
            ready: Queue::new(ageing_period_ms),
            ready_at_author: Queue::new(ageing_period_ms),
            tasks: Queue::new(ageing_period_ms),
            gates: Gates::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
    pub(super) fn all(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }
    pub(super) fn get(&self, job: &JobId) -> Option<&Entry> {
        self.entries.get(job)
    }
    pub(super) fn get_mut(&mut self, job: &JobId) -> Option<&mut Entry> {
        self.entries.get_mut(job)
    }
    pub(super) fn of_run(&self, run: &RunId) -> Vec<JobId> {
        self.by_run.get(run).into_iter().flatten().copied().collect()
    }
    pub(super) fn held_by(&self, peer: &PeerId) -> Vec<JobId> {
        self.by_holder.get(peer).into_iter().flatten().copied().collect()
    }
    pub(super) fn of_claim(&self, claim: &EventId) -> Option<JobId> {
        self.by_claim.get(claim).map(|(job, _)| *job)
    }
    pub(super) fn declined(&self) -> &BTreeSet<JobId> {
        &self.declined
    }
    pub(super) fn run_of(&self, job: &JobId) -> Option<RunId> {
        self.entries.get(job).map(|entry| entry.run)
    }

    pub(super) fn insert(&mut self, entry: Entry, now: Monotonic) {
        self.gates.place(&entry.gates, entry.precedence, false, now);
        self.by_run.entry(entry.run).or_default().insert(entry.job);
        self.entries.insert(entry.job, entry);
    }

    /// Takes a job out of everything.
    pub(super) fn remove(&mut self, job: &JobId, now: Monotonic) {
        self.leave_stage(job);
        let Some(entry) = self.entries.remove(job) else { return };
        self.unwatch(&entry);
        self.gates.remove(&entry.gates, entry.precedence, now);
        if let Some(jobs) = self.by_run.get_mut(&entry.run) {
            jobs.remove(job);
            if jobs.is_empty() {
                self.by_run.remove(&entry.run);
            }
        }
    }

    /// Moves a job to where it waits. `base_ms` orders it in a queue.
    pub(super) fn set_stage(&mut self, job: &JobId, stage: Stage, base_ms: u64) {
        let Some(entry) = self.entries.get(job) else { return };
        let priority = entry.priority_milli;
        let queue = match stage {
            Stage::Ready => Some(&mut self.ready),
            Stage::ReadyAtAuthor => Some(&mut self.ready_at_author),
            Stage::Task => Some(&mut self.tasks),
            _ => None,
        };
        if let Some(queue) = queue
            && entry.stage == stage
            && queue.contains(job)
        {
            queue.reprioritise(job, priority);
            return;
        }
        self.leave_stage(job);
        match stage {
            Stage::Ready => drop(self.ready.push(*job, priority, base_ms)),
            Stage::ReadyAtAuthor => drop(self.ready_at_author.push(*job, priority, base_ms)),
            Stage::Task => drop(self.tasks.push(*job, priority, base_ms)),
            Stage::Declined(_) => drop(self.declined.insert(*job)),
            Stage::Waiting | Stage::Gated | Stage::Asked | Stage::Held => {}
        }
        if let Some(entry) = self.entries.get_mut(job) {
            entry.stage = stage;
        }
    }

    fn leave_stage(&mut self, job: &JobId) {
        match self.entries.get(job).map(|entry| entry.stage) {
            Some(Stage::Ready) => drop(self.ready.remove(job)),
            Some(Stage::ReadyAtAuthor) => drop(self.ready_at_author.remove(job)),
            Some(Stage::Task) => drop(self.tasks.remove(job)),
            Some(Stage::Declined(_)) => drop(self.declined.remove(job)),
            _ => {}
        }
    }

    /// Remembers whose claim is effective, and whether it keeps others away.
    pub(super) fn set_holder(
        &mut self,
        job: &JobId,
        holder: Option<(EventId, PeerId)>,
        claimed: bool,
        now: Monotonic,
    ) {
        let Some(entry) = self.entries.get(job).cloned() else { return };
        if entry.holder != holder.map(|(claim, _)| claim) {
            self.unwatch(&entry);
            if let Some(entry) = self.entries.get_mut(job) {
                entry.holder = holder.map(|(claim, _)| claim);
            }
            if let Some((claim, peer)) = holder {
                self.by_claim.insert(claim, (*job, peer));
                self.by_holder.entry(peer).or_default().insert(*job);
            }
        }
        self.gates.place(&entry.gates, entry.precedence, claimed, now);
    }

    fn unwatch(&mut self, entry: &Entry) {
        let Some((_, peer)) = entry.holder.and_then(|claim| self.by_claim.remove(&claim)) else { return };
        if let Some(jobs) = self.by_holder.get_mut(&peer) {
            jobs.remove(&entry.job);
            if jobs.is_empty() {
                self.by_holder.remove(&peer);
            }
        }
    }

    /// A run's priority changed: its jobs move in the queue and before their gates.
    pub(super) fn set_priority(&mut self, job: &JobId, priority_milli: u32, now: Monotonic) {
        let Some(entry) = self.entries.get_mut(job).filter(|entry| entry.priority_milli != priority_milli)
        else {
            return;
        };
        let before = entry.precedence;
        entry.priority_milli = priority_milli;
        entry.precedence.0 = priority_milli;
        let (gates, precedence, claimed) =
            (entry.gates.clone(), entry.precedence, entry.stage == Stage::Held);
        self.gates.remove(&gates, before, now);
        self.gates.place(&gates, precedence, claimed, now);
        self.ready.reprioritise(job, priority_milli);
        self.ready_at_author.reprioritise(job, priority_milli);
        self.tasks.reprioritise(job, priority_milli);
    }
}
