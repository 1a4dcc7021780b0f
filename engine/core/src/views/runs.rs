//! All runs. Open ones live in memory with their events; finished ones can leave it and come back through the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wfengine_storage_format::{Body, JobId, PeerId, RunId, to_canonical};

use super::job::{JobResult, Status};
use super::run::Run;
use super::run_fold::{fold_job, fold_job_on, fold_run};
use super::run_status::settle_run;
use super::sorted_map::SortedMap;
use crate::admitted::Admitted;
use crate::authority::Authority;
use crate::digest::DigestSum;

/// The stored events of an entity, for entities that are no longer in memory.
pub trait History {
    /// Every admitted event of a run that was folded before, in any order.
    fn events_of_run(&self, run: &RunId) -> Vec<Arc<Admitted>>;
}

/// No history: everything is in memory. For folds that let nothing leave it.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHistory;

impl History for NoHistory {
    fn events_of_run(&self, _run: &RunId) -> Vec<Arc<Admitted>> {
        Vec::new()
    }
}

/// A finished run that left memory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finished {
    /// How it ended.
    pub status: Status,
    /// Its part of the view digest.
    pub digest: DigestSum,
    /// When it was submitted, advisory, milliseconds since 1970.
    pub submitted_ms: u64,
    /// Whose events it was folded from: whom a changed cut or role concerns.
    pub authors: Vec<PeerId>,
}

/// The events of one job in canonical order, and the results they brought, in theirs.
#[derive(Clone, Debug, Default)]
struct JobHistory {
    events: Vec<Arc<Admitted>>,
    results: Vec<JobResult>,
}

/// Where an event was put among those of its entity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Inserted {
    Last,
    Before,
}

#[derive(Clone, Debug)]
struct Entity {
    run_events: Vec<Arc<Admitted>>,
    job_events: SortedMap<JobId, JobHistory>,
    run: Run,
    digest: Option<DigestSum>,
}

impl Entity {
    fn new(id: RunId) -> Self {
        Self { run_events: Vec::new(), job_events: SortedMap::new(), run: Run::unknown(id), digest: None }
    }

    /// Puts an event in its canonical place. Says where, unless it stood there already.
    fn insert(&mut self, event: &Arc<Admitted>) -> Option<Inserted> {
        let events = match event.body.job() {
            Some((_, job)) => {
                if !self.job_events.contains_key(&job) {
                    self.job_events.insert(job, JobHistory::default());
                }
                &mut self.job_events.get_mut(&job)?.events
            }
            None => &mut self.run_events,
        };
        let place = events.partition_point(|known| known.order() < event.order());
        if events.get(place).is_some_and(|known| known.id == event.id) {
            return None;
        }
        if events.is_empty() {
            events.reserve_exact(1);
        }
        events.insert(place, Arc::clone(event));
        Some(if place + 1 == events.len() { Inserted::Last } else { Inserted::Before })
    }

    fn fold(&mut self, event: &Arc<Admitted>, inserted: Inserted, authority: &Authority) {
        self.digest = None;
        match event.body.job() {
            Some((_, job)) => {
                if inserted == Inserted::Before || !self.fold_last(job, event, authority) {
                    self.fold_one(job, authority);
                }
                // fail-fast looks at all legs of a matrix: what it said of the others is undone before it is asked again
                for sibling in self.siblings_failing_fast(&job) {
                    self.fold_one(sibling, authority);
                }
            }
            None => self.fold_all(authority),
        }
        settle_run(&mut self.run);
    }

    /// Folds a job's last event on top of what those before it came to. Says whether the job was folded before.
    fn fold_last(&mut self, id: JobId, event: &Arc<Admitted>, authority: &Authority) -> bool {
        let Some(history) = self.job_events.get_mut(&id) else { return false };
        let mut jobs = std::mem::take(&mut self.run.jobs);
        let known = jobs.get_mut(&id);
        let folded = known.is_some();
        if let Some(job) = known {
            fold_job_on(&self.run, job, &mut history.results, event, authority);
        }
        self.run.jobs = jobs;
        folded
    }

    fn fold_all(&mut self, authority: &Authority) {
        self.digest = None;
        self.run = fold_run(self.run.id, &self.run_events, authority);
        let mut planned: Vec<JobId> =
            self.run.parts.values().flat_map(|part| part.jobs.iter().copied()).collect();
        planned.sort_unstable();
        planned.dedup();
        for job in planned {
            self.fold_one(job, authority);
        }
    }

    fn fold_one(&mut self, id: JobId, authority: &Authority) {
        let mut none = JobHistory::default();
        let history = self.job_events.get_mut(&id).unwrap_or(&mut none);
        let JobHistory { events, results } = history;
        match fold_job(&self.run, id, &self.run_events, events, results, authority) {
            Some(job) => {
                self.run.jobs.insert(id, job);
            }
            None => {
                self.run.jobs.remove(&id);
            }
        }
    }

    fn siblings_failing_fast(&self, id: &JobId) -> Vec<JobId> {
        let part = self.run.jobs.get(id).and_then(|job| self.run.parts.get(&job.key));
        match part {
            Some(part) if part.fail_fast => part.jobs.iter().filter(|other| *other != id).copied().collect(),
            _ => Vec::new(),
        }
    }

    fn digest(&mut self) -> DigestSum {
        let run = &self.run;
        // a run of which nothing lies below the cuts shows nothing: where a chain forked, other nodes do not know it at all
        if run.submissions.is_empty() && run.void.is_empty() {
            return DigestSum::default();
        }
        *self.digest.get_or_insert_with(|| DigestSum::of_entity("run", &to_canonical(run)))
    }

    fn events(&self) -> impl Iterator<Item = &Arc<Admitted>> {
        self.run_events.iter().chain(self.job_events.values().flat_map(|history| &history.events))
    }

    fn submitted_ms(&self) -> u64 {
        self.run.submissions.first().map_or(0, |submission| submission.time_ms)
    }
}

/// All runs of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Runs {
    // boxed: the nodes of the tree stay small however much a run holds
    live: BTreeMap<RunId, Box<Entity>>,
    finished: BTreeMap<RunId, Finished>,
}

impl Runs {
    /// Folds an event of a run or of one of its jobs.
    pub(crate) fn apply(
        &mut self,
        id: RunId,
        event: &Arc<Admitted>,
        authority: &Authority,
        history: &impl History,
    ) {
        // of the finished there may be millions: they are looked through only when a run is not at hand
        if !self.live.contains_key(&id) && self.finished.contains_key(&id) {
            self.recall(id, authority, history);
        }
        let entity = self.live.entry(id).or_insert_with(|| Box::new(Entity::new(id)));
        if let Some(inserted) = entity.insert(event) {
            entity.fold(event, inserted, authority);
        }
    }

    /// Brings a finished run back into memory.
    fn recall(&mut self, id: RunId, authority: &Authority, history: &impl History) {
        if self.finished.remove(&id).is_none() {
            return;
        }
        let mut entity = Entity::new(id);
        for event in history.events_of_run(&id) {
            entity.insert(&event);
        }
        entity.fold_all(authority);
        settle_run(&mut entity.run);
        self.live.insert(id, Box::new(entity));
    }

    /// Folds anew every run that events of these authors are part of, after their cuts or rights changed.
    pub(crate) fn refold_authors(
        &mut self,
        changed: &BTreeSet<PeerId>,
        authority: &Authority,
        history: &impl History,
    ) {
        if changed.is_empty() {
            return;
        }
        let touched = |event: &Arc<Admitted>| changed.contains(&event.author());
        let concerned = |finished: &Finished| finished.authors.iter().any(|author| changed.contains(author));
        let away: Vec<RunId> =
            self.finished.iter().filter(|(_, finished)| concerned(finished)).map(|(id, _)| *id).collect();
        for entity in self.live.values_mut() {
            if entity.events().any(touched) {
                entity.fold_all(authority);
                settle_run(&mut entity.run);
            }
        }
        for id in away {
            self.recall(id, authority, history);
        }
    }

    /// Lets the oldest finished runs leave memory until at most `keep` remain. Their events must be in the log.
    pub fn let_go(&mut self, keep: usize) {
        let mut ended: Vec<(u64, RunId)> = self
            .live
            .iter()
            .filter(|(_, entity)| entity.run.status.is_terminal())
            .map(|(id, entity)| (entity.submitted_ms(), *id))
            .collect();
        if ended.len() <= keep {
            return;
        }
        ended.sort_unstable();
        ended.truncate(ended.len() - keep);
        for (submitted_ms, id) in ended {
            if let Some(mut entity) = self.live.remove(&id) {
                let digest = entity.digest();
                let authors: BTreeSet<PeerId> = entity.events().map(|event| event.author()).collect();
                let authors = authors.into_iter().collect();
                self.finished
                    .insert(id, Finished { status: entity.run.status, digest, submitted_ms, authors });
            }
        }
    }

    /// A run in memory.
    pub fn live(&self, id: &RunId) -> Option<&Run> {
        self.live.get(id).map(|entity| &entity.run)
    }
    /// Runs in memory: every open one and the latest finished ones.
    pub fn all_live(&self) -> impl Iterator<Item = &Run> {
        self.live.values().map(|entity| &entity.run)
    }
    /// Finished runs that left memory.
    pub fn finished(&self) -> &BTreeMap<RunId, Finished> {
        &self.finished
    }
    /// Puts back what a checkpoint said of finished runs.
    pub fn restore_finished(&mut self, finished: BTreeMap<RunId, Finished>) {
        self.finished = finished;
    }
    /// A run, in memory or folded again from the log.
    pub fn run(&self, id: &RunId, authority: &Authority, history: &impl History) -> Option<Run> {
        if let Some(entity) = self.live.get(id) {
            return Some(entity.run.clone());
        }
        self.finished.get(id)?;
        let mut entity = Entity::new(*id);
        for event in history.events_of_run(id) {
            entity.insert(&event);
        }
        entity.fold_all(authority);
        settle_run(&mut entity.run);
        Some(entity.run)
    }
    /// A job in memory, with its run.
    pub fn live_job(&self, run: &RunId, job: &JobId) -> Option<(&Run, &super::job::Job)> {
        let run = self.live(run)?;
        run.jobs.get(job).map(|job| (run, job))
    }
    /// Whether anything of a run is known.
    pub fn contains(&self, id: &RunId) -> bool {
        self.live.contains_key(id) || self.finished.contains_key(id)
    }
    /// Number of runs.
    pub fn len(&self) -> usize {
        self.live.len() + self.finished.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The events of the runs in memory, for a checkpoint.
    pub fn live_events(&self) -> impl Iterator<Item = &Arc<Admitted>> {
        self.live.values().flat_map(|entity| entity.events())
    }

    pub(crate) fn digest_sum(&mut self) -> DigestSum {
        let mut sum = DigestSum::default();
        for entity in self.live.values_mut() {
            sum.add(&entity.digest());
        }
        for finished in self.finished.values() {
            sum.add(&finished.digest);
        }
        sum
    }
}

/// Whether an event is one of a run rather than of one of its jobs.
pub fn is_of_whole_run(body: &Body) -> bool {
    body.job().is_none() && body.run().is_some()
}
