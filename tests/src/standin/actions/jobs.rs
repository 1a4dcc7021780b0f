//! Jobs of GitHub's side one by one: queued, given to a runner, ended.
//!
//! The rule is GitHub's: any runner that is idle and has all labels of a job may get it, whomever it was made for; the oldest
//! job goes first.
//!
//! Invariants: a job is handed out once; what has ended stays as it ended; a run has begun when one of its jobs has, and is
//! over when all are.

use std::time::{Duration, Instant};

use super::{Cause, Job, Progress, Run, payload};
use crate::standin::{
    ids::{JobId, RunId, RunnerId},
    runners::{Runner, RunnerChange, Scope, TurnedAway},
    state::{StandinError, State},
};

/// Lines of one job's log that are kept.
const LOG_LINES_MAX: usize = 10_000;

/// A job to be queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedJob {
    /// Its name.
    pub name: String,
    /// What it runs on.
    pub labels: Vec<String>,
}

impl WantedJob {
    /// A job with a name and labels.
    pub fn new(name: &str, labels: &[&str]) -> Self {
        Self { name: name.to_owned(), labels: labels.iter().map(|label| (*label).to_owned()).collect() }
    }
}

/// A run to be queued.
#[derive(Debug, Clone)]
pub struct WantedRun {
    /// `workflow_dispatch`, `pull_request`.
    pub event: String,
    /// The branch.
    pub head: String,
    /// `owner/name` of the repository that a pull request comes from, where it is another one. It need not exist.
    pub head_repository: Option<String>,
    /// Its jobs.
    pub jobs: Vec<WantedJob>,
}

impl WantedRun {
    /// A run by hand on `main`.
    pub fn new(jobs: Vec<WantedJob>) -> Self {
        Self { event: "workflow_dispatch".to_owned(), head: "main".to_owned(), head_repository: None, jobs }
    }

    /// A run for a pull request from a fork.
    pub fn from_fork(head_repository: &str, jobs: Vec<WantedJob>) -> Self {
        Self {
            event: "pull_request".to_owned(),
            head: "patch-1".to_owned(),
            head_repository: Some(head_repository.to_owned()),
            jobs,
        }
    }
}

/// A job, for tests.
#[derive(Debug, Clone)]
pub struct JobInfo {
    /// Its number in answers.
    pub id: JobId,
    /// Its run.
    pub run: RunId,
    /// `owner/name`.
    pub repository: String,
    /// Its name.
    pub name: String,
    /// What it runs on.
    pub labels: Vec<String>,
    /// How far it is.
    pub progress: Progress,
    /// Its end.
    pub conclusion: Option<String>,
    /// The runner that was given it.
    pub runner: Option<RunnerId>,
    /// The name of that runner.
    pub runner_name: Option<String>,
    /// When it was queued, by the stand-in's clock.
    pub queued_at: u64,
    /// When it began.
    pub started_at: Option<u64>,
    /// When it ended.
    pub completed_at: Option<u64>,
    /// How long it was queued before it began, in real time.
    pub waited: Option<Duration>,
    /// How often it was given to a runner: once at most.
    pub handed_out: u32,
    /// What its runner said while it ran, in order.
    pub log: Vec<String>,
}

impl State {
    /// Adds queued jobs to a run, and tells of them.
    pub(crate) fn add_jobs(&mut self, run: RunId, wanted: &[WantedJob]) -> Result<Vec<JobId>, StandinError> {
        if !self.actions.runs.contains_key(&run) {
            return Err(StandinError::NoRun(run.0));
        }
        let now = self.now();
        let mut made = Vec::new();
        for WantedJob { name, labels } in wanted {
            let id = self.ids.job();
            let job = Job {
                id,
                run,
                name: name.clone(),
                labels: labels.clone(),
                progress: Progress::Queued,
                conclusion: None,
                created_at: now,
                started_at: None,
                completed_at: None,
                runner: None,
                handed_out: 0,
                log: Vec::new(),
                queued: Instant::now(),
                waited: None,
            };
            self.actions.jobs.insert(id, job);
            made.push(id);
        }
        for id in &made {
            self.tell_of_job(*id, "queued");
        }
        self.runners.changed.notify_waiters();
        Ok(made)
    }

    /// Makes a run of a repository's own workflow for what tests queue.
    pub(crate) fn queue_run(&mut self, full_name: &str, wanted: &WantedRun) -> Result<RunId, StandinError> {
        const PATH: &str = ".github/workflows/queued.yml";
        const TEXT: &str = "on: workflow_dispatch\njobs:\n  queued:\n    runs-on: self-hosted\n    steps:\n    - run: 'true'\n";
        let repository = self.repository_id(full_name)?;
        let head = |state: &Self| {
            let of = state.repositories.get(&repository);
            of.and_then(|of| of.git.resolve(&state.objects, "HEAD"))
        };
        let is_there = head(self).is_some_and(|sha| self.workflow_at(repository, sha, PATH).is_some());
        if !is_there {
            let branch = self.repositories.get(&repository).map_or("main", |of| of.git.head()).to_owned();
            let file = crate::standin::git::Entry::File(TEXT.as_bytes().to_vec());
            self.push(full_name, &branch, &[(PATH, file)], "A workflow for queued jobs", false)?;
        }
        let missing = || StandinError::NoRepository(full_name.to_owned());
        let sha = head(self).ok_or_else(missing)?;
        let workflow = self.workflow_at(repository, sha, PATH).ok_or_else(missing)?;
        let id = self.register_workflow(repository, sha, PATH);
        let actor = self.repositories.get(&repository).map(|of| of.owner);
        let cause = Cause { event: &wanted.event, head: &wanted.head, actor };
        let run = self.make_run(repository, id, &workflow, sha, &cause).ok_or_else(missing)?;
        if let Some(run) = self.actions.runs.get_mut(&run) {
            run.head_repository.clone_from(&wanted.head_repository);
        }
        self.tell_of_run(run, "requested");
        self.add_jobs(run, &wanted.jobs)?;
        Ok(run)
    }

    fn reaches(&self, scope: Scope, run: RunId) -> bool {
        let Some(run) = self.actions.runs.get(&run) else { return false };
        match scope {
            Scope::Repository(id) => id == run.repository,
            Scope::Organization(owner) => {
                self.repositories.get(&run.repository).is_some_and(|of| of.owner == owner)
            }
        }
    }

    /// The oldest queued job that a runner may have.
    fn oldest_for(&self, runner: &Runner) -> Option<JobId> {
        let fits = |job: &&Job| {
            job.progress == Progress::Queued
                && runner.serves(&job.labels)
                && self.reaches(runner.scope, job.run)
                && self
                    .actions
                    .runs
                    .get(&job.run)
                    .is_some_and(|run| self.repositories.contains_key(&run.repository))
        };
        self.actions.jobs.values().find(fits).map(|job| job.id)
    }

    /// Gives the runner of a session a job, if there is one for it.
    pub(crate) fn next_job(&mut self, session: &str) -> Result<Option<JobId>, TurnedAway> {
        let runner = self.runners.in_session(session)?;
        if runner.is_busy() {
            return Ok(None);
        }
        let (id, job) = (runner.id, self.oldest_for(runner));
        if let Some(job) = job {
            self.begin_job(job, id);
        }
        Ok(job)
    }

    /// A runner takes a queued job.
    pub(crate) fn begin_job(&mut self, id: JobId, runner: RunnerId) {
        let now = self.now();
        let Some(taker) = self.runners.all.get_mut(&runner) else { return };
        let Some(job) = self.actions.jobs.get_mut(&id) else { return };
        debug_assert!(job.progress == Progress::Queued, "BUG: a job is handed out twice");
        taker.job = Some(id);
        job.runner = Some((runner, taker.name.clone()));
        job.progress = Progress::InProgress;
        job.started_at = Some(now);
        job.waited = Some(job.queued.elapsed());
        job.handed_out += 1;
        let of = job.run;
        self.note_work(runner, RunnerChange::Busy(id));
        let run = self.actions.runs.get_mut(&of).filter(|run| run.progress == Progress::Queued);
        if let Some(run) = run {
            run.progress = Progress::InProgress;
            run.updated_at = now;
            self.tell_of_run(of, "in_progress");
        }
        self.tell_of_job(id, "in_progress");
    }

    /// A job ends; one that has ended stays as it was. Its run ends with the last of them.
    pub(crate) fn end_job(&mut self, id: JobId, conclusion: &str) -> Result<(), StandinError> {
        let now = self.now();
        let job = self.actions.jobs.get_mut(&id).ok_or(StandinError::NoJob(id.0))?;
        if job.progress == Progress::Completed {
            return Ok(());
        }
        job.progress = Progress::Completed;
        job.conclusion = Some(conclusion.to_owned());
        job.completed_at = Some(now);
        let of = job.run;
        self.tell_of_job(id, "completed");
        self.end_run_if_through(of);
        self.runners.changed.notify_waiters();
        Ok(())
    }

    fn end_run_if_through(&mut self, id: RunId) {
        let jobs = self.actions.jobs_of(id);
        if jobs.iter().any(|job| job.progress != Progress::Completed) {
            return;
        }
        let has = |conclusion: &str| jobs.iter().any(|job| job.conclusion.as_deref() == Some(conclusion));
        let conclusion = ["failure", "cancelled"].into_iter().find(|conclusion| has(conclusion));
        let now = self.now();
        let Some(run) = self.actions.runs.get_mut(&id) else { return };
        if run.progress == Progress::Completed {
            return;
        }
        run.progress = Progress::Completed;
        run.conclusion = Some(conclusion.unwrap_or("success").to_owned());
        run.updated_at = now;
        self.tell_of_run(id, "completed");
    }

    /// A runner is through with its job, however the job ended. An ephemeral one goes.
    pub(crate) fn release_runner(&mut self, id: RunnerId) {
        let Some(runner) = self.runners.all.get_mut(&id) else { return };
        runner.job = None;
        if runner.is_ephemeral {
            self.remove_runner(id, RunnerChange::Finished);
        } else {
            self.note_work(id, RunnerChange::Idle);
        }
    }

    /// The runner of a job was not heard of for too long. Its registration stays, offline.
    pub(crate) fn lose_job(&mut self, id: JobId, runner: RunnerId) {
        if let Some(runner) = self.runners.all.get_mut(&runner) {
            runner.job = None;
        }
        self.note_work(runner, RunnerChange::Idle);
        self.add_to_log(id, ["The self-hosted runner lost communication with the server.".to_owned()]);
        // the job is there: the runner had it
        let _ = self.end_job(id, "failure");
    }

    pub(crate) fn add_to_log(&mut self, id: JobId, lines: impl IntoIterator<Item = String>) {
        if let Some(job) = self.actions.jobs.get_mut(&id) {
            let room = LOG_LINES_MAX.saturating_sub(job.log.len());
            job.log.extend(lines.into_iter().take(room));
            self.runners.changed.notify_waiters();
        }
    }

    pub(crate) fn tell_of_job(&mut self, id: JobId, action: &str) {
        let run = self.actions.jobs.get(&id).and_then(|job| self.actions.runs.get(&job.run));
        let Some(repository) = run.map(|run: &Run| run.repository) else { return };
        if let Some(body) = payload::workflow_job(self, id, action) {
            self.emit(repository, "workflow_job", Some(action), body);
        }
    }

    pub(crate) fn job_info(&self, job: &Job) -> JobInfo {
        let repository =
            self.actions.runs.get(&job.run).and_then(|run| self.repositories.get(&run.repository));
        JobInfo {
            id: job.id,
            run: job.run,
            repository: repository.map_or_else(String::new, |of| self.full_name(of)),
            name: job.name.clone(),
            labels: job.labels.clone(),
            progress: job.progress,
            conclusion: job.conclusion.clone(),
            runner: job.runner.as_ref().map(|(id, _)| *id),
            runner_name: job.runner.as_ref().map(|(_, name)| name.clone()),
            queued_at: job.created_at,
            started_at: job.started_at,
            completed_at: job.completed_at,
            waited: job.waited,
            handed_out: job.handed_out,
            log: job.log.clone(),
        }
    }
}
