//! All runs. Open ones live in memory with their events; finished ones can leave it and come back through the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::DefaultHashBuilder;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use wfengine_storage_format::{Body, JobId, PeerId, RunId, with_canonical};

use super::authors::{Authors, KnownAuthors};
use super::job::{Job, JobResult, Status};
use super::run::Run;
use super::run_fold::{fold_job, fold_run, planned_job, planned_jobs, settle_job};
use super::run_status::settle_run;
use super::sorted_map::SortedMap;
use crate::admitted::Admitted;
use crate::authority::Authority;
use crate::digest::DigestSum;

/// The stored events of an entity, for entities that are no longer in memory.
pub trait History {
    /// Every admitted event of a run that was folded before, in any order; `None` when they cannot be read. A fold then leaves the
    /// run as it was, and whoever keeps the history has to say that the views are behind the log.
    fn events_of_run(&self, run: &RunId) -> Option<Vec<Arc<Admitted>>>;
}

/// No history: everything is in memory. For folds that let nothing leave it.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHistory;

impl History for NoHistory {
    fn events_of_run(&self, _run: &RunId) -> Option<Vec<Arc<Admitted>>> {
        Some(Vec::new())
    }
}

/// Stale runs that are worth a second thread.
const SHARED_LEN_MIN: usize = 256;
/// Of these a thread folds so many at a time.
const SHARE_LEN: usize = 32;

/// Calls what it is given, on several threads at once if it likes, and returns when all calls have. How work is shared is for
/// those who have threads.
pub type Sharing = dyn Fn(&(dyn Fn() + Sync)) + Send + Sync;

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
    pub authors: Authors,
}

/// Finished runs that left memory, by id. Of these there may be millions.
pub type FinishedRuns = IndexMap<RunId, Finished, DefaultHashBuilder>;

/// The events of one job in canonical order, and what came of the first of them.
#[derive(Clone, Debug, Default)]
struct JobHistory {
    events: Vec<Arc<Admitted>>,
    /// So many of the events are folded into the run's job; `None` when it has to be folded anew.
    folded: Option<usize>,
    /// The results that these brought, in their order.
    results: Vec<Arc<JobResult>>,
}

impl JobHistory {
    /// Folds what is not folded yet into the job, which is as the plan made it when everything is to be folded.
    fn fold(&mut self, run: &Run, job: &mut Job, authority: &Authority) {
        let folded = self.folded.unwrap_or_else(|| {
            self.results.clear();
            0
        });
        fold_job(run, job, &mut self.results, self.events.get(folded..).unwrap_or_default(), authority);
        self.folded = Some(self.events.len());
    }
}

/// Puts an event in its canonical place among others and returns that place; `None` if it stood there already.
fn place(events: &mut Vec<Arc<Admitted>>, event: &Arc<Admitted>) -> Option<usize> {
    let at = events.partition_point(|known| known.order() < event.order());
    if events.get(at).is_some_and(|known| known.id == event.id) {
        return None;
    }
    if events.is_empty() {
        events.reserve_exact(1);
    }
    events.insert(at, Arc::clone(event));
    Some(at)
}

/// What of an entity is to be folded before it can be looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Stale {
    /// These jobs; empty when everything is folded.
    Jobs(Vec<JobId>),
    /// The run and all its jobs.
    Whole,
}

impl Stale {
    const NOTHING: Stale = Stale::Jobs(Vec::new());
}

#[derive(Clone, Debug)]
struct Entity {
    run_events: Vec<Arc<Admitted>>,
    job_events: SortedMap<JobId, JobHistory>,
    run: Run,
    stale: Stale,
    digest: Option<DigestSum>,
}

impl Entity {
    fn new(id: RunId) -> Self {
        Self {
            run_events: Vec::new(),
            job_events: SortedMap::new(),
            run: Run::unknown(id),
            // also one whose submission is missing says so, whichever of its events comes first
            stale: Stale::Whole,
            digest: None,
        }
    }

    /// The entity with all its events, to be folded; `None` when they cannot be read.
    fn recalled(id: RunId, history: &impl History) -> Option<Self> {
        let events = history.events_of_run(&id)?;
        let mut entity = Self::new(id);
        for event in &events {
            entity.insert(event);
        }
        Some(entity)
    }

    /// Puts an event in its canonical place, unless it stands there already, and notes what is to be folded again.
    fn insert(&mut self, event: &Arc<Admitted>) {
        match event.body.job() {
            None => {
                if place(&mut self.run_events, event).is_some() {
                    self.stale = Stale::Whole;
                }
            }
            Some((_, job)) => {
                if !self.job_events.contains_key(&job) {
                    self.job_events.insert(job, JobHistory::default());
                }
                let Some(history) = self.job_events.get_mut(&job) else { return };
                let Some(at) = place(&mut history.events, event) else { return };
                history.folded = history.folded.filter(|folded| at >= *folded);
                if let Stale::Jobs(jobs) = &mut self.stale
                    && !jobs.contains(&job)
                {
                    jobs.push(job);
                }
            }
        }
    }

    fn is_stale(&self) -> bool {
        self.stale != Stale::NOTHING
    }

    /// Folds what is stale.
    fn fold(&mut self, authority: &Authority) {
        match std::mem::replace(&mut self.stale, Stale::NOTHING) {
            Stale::Whole => self.fold_whole(authority),
            Stale::Jobs(jobs) => {
                for job in &jobs {
                    self.fold_on(*job, authority);
                }
                // fail-fast looks at all legs of a matrix: what it said of the others is undone before it is asked again
                for job in &jobs {
                    for sibling in self.siblings_failing_fast(job) {
                        if !jobs.contains(&sibling) {
                            self.settle_again(sibling);
                        }
                    }
                }
            }
        }
        settle_run(&mut self.run);
        self.digest = None;
    }

    /// Folds a job's last events on top of what those before them came to, or all of them when one came in between.
    fn fold_on(&mut self, id: JobId, authority: &Authority) {
        let Some(history) = self.job_events.get_mut(&id) else { return };
        let mut jobs = std::mem::take(&mut self.run.jobs);
        // while no plan names it, its events wait
        if let Some(job) = jobs.get_mut(&id) {
            if history.folded.is_none()
                && let Some(planned) = planned_job(&self.run, id, &self.run_events)
            {
                *job = planned;
            }
            history.fold(&self.run, job, authority);
        }
        self.run.jobs = jobs;
    }

    fn fold_whole(&mut self, authority: &Authority) {
        self.run = fold_run(self.run.id, &self.run_events, authority);
        for history in self.job_events.values_mut() {
            history.folded = None;
        }
        let mut jobs = planned_jobs(&self.run, &self.run_events);
        for (id, job) in jobs.iter_mut() {
            let mut none = JobHistory::default();
            self.job_events.get_mut(id).unwrap_or(&mut none).fold(&self.run, job, authority);
        }
        self.run.jobs = jobs;
    }

    /// Undoes what fail-fast said of a job.
    fn settle_again(&mut self, id: JobId) {
        let mut jobs = std::mem::take(&mut self.run.jobs);
        if let Some(job) = jobs.get_mut(&id) {
            settle_job(&self.run, job, self.job_events.get(&id).map_or(&[], |history| &history.results));
        }
        self.run.jobs = jobs;
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
        *self.digest.get_or_insert_with(|| with_canonical(run, |bytes| DigestSum::of_entity("run", bytes)))
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
    /// Live runs that are to be folded before they can be looked at.
    stale: Vec<RunId>,
    finished: FinishedRuns,
    authors: KnownAuthors,
}

impl Runs {
    /// Takes an event of a run or of one of its jobs to its entity, which is then stale until [`Self::settle`].
    pub(crate) fn take(&mut self, id: RunId, event: &Arc<Admitted>, history: &impl History) {
        if let Some(entity) = self.live.get_mut(&id) {
            let was_stale = entity.is_stale();
            entity.insert(event);
            if entity.is_stale() && !was_stale {
                self.stale.push(id);
            }
            return;
        }
        // of the finished there may be millions: they are looked through only when a run is not at hand
        let mut entity = if self.finished.contains_key(&id) {
            let Some(entity) = self.recall(&id, history) else { return };
            entity
        } else {
            Box::new(Entity::new(id))
        };
        entity.insert(event);
        self.stale.push(id);
        self.live.insert(id, entity);
    }

    /// A finished run with its events, to be folded; `None` when it cannot be read and stays as it was.
    fn recall(&mut self, id: &RunId, history: &impl History) -> Option<Box<Entity>> {
        let entity = Entity::recalled(*id, history)?;
        self.finished.swap_remove(id);
        Some(Box::new(entity))
    }

    /// Folds what events were taken for.
    pub(crate) fn settle(&mut self, authority: &Authority) {
        for id in self.stale.drain(..) {
            if let Some(entity) = self.live.get_mut(&id) {
                entity.fold(authority);
            }
        }
    }

    /// As [`Self::settle`], and sums up the runs that ended, the work shared as the caller likes.
    pub(crate) fn settle_shared(&mut self, authority: &Authority, sharing: &Sharing) {
        if self.stale.len() < SHARED_LEN_MIN {
            return self.settle(authority);
        }
        self.stale.clear();
        let entities = self.live.values_mut().map(Box::as_mut);
        let mut stale: Vec<&mut Entity> = entities.filter(|entity| entity.is_stale()).collect();
        let shares = Mutex::new(stale.chunks_mut(SHARE_LEN));
        let fold = || {
            let next = || shares.lock().unwrap_or_else(PoisonError::into_inner).next();
            while let Some(share) = next() {
                for entity in share {
                    entity.fold(authority);
                    if entity.run.status.is_terminal() {
                        entity.digest();
                    }
                }
            }
        };
        sharing(&fold);
        // whoever shares may not have called it at all
        fold();
    }

    /// Every run that events of these authors are part of is to be folded anew, after their cuts or rights changed.
    pub(crate) fn refold_authors(&mut self, changed: &BTreeSet<PeerId>, history: &impl History) {
        if changed.is_empty() {
            return;
        }
        let touched = |event: &Arc<Admitted>| changed.contains(&event.author());
        let concerned = |finished: &Finished| finished.authors.iter().any(|author| changed.contains(author));
        let away: Vec<RunId> =
            self.finished.iter().filter(|(_, finished)| concerned(finished)).map(|(id, _)| *id).collect();
        for (id, entity) in &mut self.live {
            if entity.events().any(touched) {
                if !entity.is_stale() {
                    self.stale.push(*id);
                }
                entity.stale = Stale::Whole;
            }
        }
        for id in away {
            if let Some(entity) = self.recall(&id, history) {
                self.stale.push(id);
                self.live.insert(id, entity);
            }
        }
    }

    /// Lets the oldest finished runs leave memory until at most `keep` remain. Their events must be in the log.
    pub fn let_go(&mut self, keep: usize) {
        let mut ended: Vec<(u64, RunId)> = self
            .live
            .iter()
            .filter(|(_, entity)| entity.run.status.is_terminal() && !entity.is_stale())
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
                let authors = self.authors.of(entity.events().map(|event| event.author()));
                self.finished
                    .insert(id, Finished { status: entity.run.status, digest, submitted_ms, authors });
            }
        }
    }

    /// A run in memory.
    pub fn live(&self, id: &RunId) -> Option<&Run> {
        debug_assert!(self.stale.is_empty(), "the views were looked at before they were settled");
        self.live.get(id).map(|entity| &entity.run)
    }
    /// Runs in memory: every open one and the latest finished ones.
    pub fn all_live(&self) -> impl Iterator<Item = &Run> {
        debug_assert!(self.stale.is_empty(), "the views were looked at before they were settled");
        self.live.values().map(|entity| &entity.run)
    }
    /// Finished runs that left memory.
    pub fn finished(&self) -> &FinishedRuns {
        &self.finished
    }
    /// Puts back what a checkpoint said of finished runs.
    pub fn restore_finished(&mut self, finished: FinishedRuns) {
        self.finished = finished;
        for finished in self.finished.values_mut() {
            self.authors.share(&mut finished.authors);
        }
    }
    /// A run, in memory or folded again from the log; `None` if there is none or its events cannot be read.
    pub fn run(&self, id: &RunId, authority: &Authority, history: &impl History) -> Option<Run> {
        if let Some(run) = self.live(id) {
            return Some(run.clone());
        }
        self.finished.get(id)?;
        let mut entity = Entity::recalled(*id, history)?;
        entity.fold(authority);
        Some(entity.run)
    }
    /// A job in memory, with its run.
    pub fn live_job(&self, run: &RunId, job: &JobId) -> Option<(&Run, &Job)> {
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
