//! What tests do to self-hosted runners and their jobs.

use std::time::Duration;

use super::known;
use crate::standin::{
    JobId, JobInfo, Progress, RunId, RunnerEvent, RunnerId, RunnerInfo, RunnerPatience, RunnerRequest,
    Standin, StandinError, WantedJob, WantedRun,
    runners::{Purpose, Runner, RunnerChange, Runners, Scope},
    state::State,
};

impl State {
    /// The repository `owner/name`, or the organisation without a slash.
    pub(crate) fn scope(&self, name: &str) -> Result<Scope, StandinError> {
        if name.contains('/') {
            return self.repository_id(name).map(Scope::Repository);
        }
        let organization = self.account(name).ok_or_else(|| StandinError::NoRepository(name.to_owned()))?;
        Ok(Scope::Organization(organization.id))
    }

    /// Ends a job that is not through, as if somebody had pressed the button. Its runner is told.
    pub(crate) fn cancel_job(&mut self, job: JobId) -> Result<(), StandinError> {
        self.end_job(job, "cancelled")
    }
}

/// Runners.
impl Standin {
    /// Where runners find the stand-in, as their configurations say it.
    pub fn runner_url(&self) -> String {
        let named = { self.state().runner_url.clone() };
        named.unwrap_or_else(|| self.base_url())
    }

    /// Registers a runner that is online and idle, of a repository `owner/name` or an organisation. No process stands behind
    /// it: it takes what [`Standin::take_job`] gives it.
    #[track_caller]
    pub fn add_runner(&self, of: &str, name: &str, labels: &[&str]) -> RunnerId {
        let mut state = self.state();
        let scope = known(state.scope(of));
        let (id, now) = (state.ids.runner(), state.now());
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        state.add_runner(Runner {
            fixed_labels: ["self-hosted", "Linux", "X64"].map(str::to_owned).to_vec(),
            is_online: true,
            away_since: None,
            ..Runner::new(id, scope, name, labels, now)
        })
    }

    /// Says whether a runner is connected and whether it runs something.
    #[track_caller]
    pub fn set_runner(&self, id: RunnerId, is_online: bool, is_busy: bool) {
        let mut state = self.state();
        let runner = known(state.runners.all.get_mut(&id).ok_or(StandinError::NoRunner(id.0)));
        runner.is_online = is_online;
        runner.is_said_busy = is_busy;
        state.runners.changed.notify_waiters();
    }

    /// Removes a runner behind everybody's back, busy or not: its process is turned away.
    #[track_caller]
    pub fn remove_runner(&self, id: RunnerId) {
        let mut state = self.state();
        known(state.runners.all.contains_key(&id).then_some(()).ok_or(StandinError::NoRunner(id.0)));
        state.remove_runner(id, RunnerChange::Deleted);
    }

    /// All runners, in the order of their making.
    pub fn runners(&self) -> Vec<RunnerInfo> {
        self.state().runners.all.values().map(Runners::info).collect()
    }

    /// What happened to runners, in order; those that are gone included.
    pub fn runner_events(&self) -> Vec<RunnerEvent> {
        self.state().runners.events.clone()
    }

    /// What runners' processes asked, in order. It stands in no other log.
    pub fn runner_requests(&self) -> Vec<RunnerRequest> {
        self.state().runner_log.clone()
    }

    /// How long runners that are not heard of are waited for. 60 s until offline and 600 s until their job has failed, else.
    pub fn set_runner_patience(&self, patience: RunnerPatience) {
        self.state().runners.patience = patience;
    }

    /// The next programs that start do this, one each: `crash-first`, `never-connects`, and whatever a job's label may say.
    pub fn order_runners(&self, what: &str, count: usize) {
        self.state().runners.orders.extend(std::iter::repeat_n(what.to_owned(), count));
    }

    /// A token with which runners register, as the API gives it out: for `owner/name` or an organisation.
    #[track_caller]
    pub fn registration_token(&self, of: &str) -> String {
        let mut state = self.state();
        let scope = known(state.scope(of));
        state.runner_token(scope, Purpose::Register).0
    }

    /// Whether a token lets a runner register with a repository `owner/name` or an organisation.
    #[track_caller]
    pub fn accepts_registration(&self, of: &str, token: &str) -> bool {
        let state = self.state();
        let scope = known(state.scope(of));
        state.runners.accepts(token, scope, Purpose::Register, state.now())
    }
}

/// Runners whose process is a test: what one says at `/_runner/`, in one call and without waiting.
impl Standin {
    /// A runner connects with what its configuration proves. Its session, unless it is turned away.
    pub fn connect_runner(&self, id: RunnerId, secret: &str) -> Option<String> {
        let mut state = self.state();
        let session = state.open_session(id, secret).ok()?;
        state.count_connection(&session, true);
        Some(session)
    }

    /// A runner asks for a job: the oldest that it may have is its own from here on. `None` when there is none, or it is turned away.
    pub fn next_job(&self, session: &str) -> Option<JobId> {
        let job = { self.state().next_job(session) };
        self.shared.webhooks_waiting.notify_one();
        job.ok().flatten()
    }

    /// A runner is through with its job. Whether it was its own to end.
    pub fn complete_job(&self, session: &str, job: JobId, conclusion: &str) -> bool {
        let mut state = self.state();
        let id = state.runners.in_session(session).ok().filter(|runner| runner.job == Some(job));
        let Some(id) = id.map(|runner| runner.id) else { return false };
        let is_ended = state.end_job(job, conclusion).is_ok();
        state.release_runner(id);
        drop(state);
        self.shared.webhooks_waiting.notify_one();
        is_ended
    }

    /// A runner's process is gone without a word.
    pub fn lose_runner(&self, session: &str) {
        self.state().count_connection(session, false);
    }
}

/// Jobs.
impl Standin {
    /// Queues a run whose jobs are not those of a file.
    #[track_caller]
    pub fn queue_run(&self, repository: &str, wanted: &WantedRun) -> RunId {
        let queued = { self.state().queue_run(repository, wanted) };
        self.shared.webhooks_waiting.notify_one();
        known(queued)
    }

    /// Queues a run with so many jobs of the same labels, named `NAME 1` and so on.
    #[track_caller]
    pub fn queue_jobs(&self, repository: &str, name: &str, labels: &[&str], count: usize) -> Vec<JobId> {
        let jobs = (1..=count).map(|at| WantedJob::new(&format!("{name} {at}"), labels)).collect();
        let run = self.queue_run(repository, &WantedRun::new(jobs));
        self.state().actions.jobs_of(run).iter().map(|job| job.id).collect()
    }

    /// Queues more jobs in a run that may have begun, as those are that needed others.
    #[track_caller]
    pub fn add_jobs(&self, run: RunId, jobs: &[WantedJob]) -> Vec<JobId> {
        let added = { self.state().add_jobs(run, jobs) };
        self.shared.webhooks_waiting.notify_one();
        known(added)
    }

    /// All jobs, in the order of their making.
    pub fn jobs(&self) -> Vec<JobInfo> {
        let state = self.state();
        state.actions.jobs.values().map(|job| state.job_info(job)).collect()
    }

    /// One job.
    #[track_caller]
    pub fn job(&self, id: JobId) -> JobInfo {
        let state = self.state();
        let job = known(state.actions.jobs.get(&id).ok_or(StandinError::NoJob(id.0)));
        state.job_info(job)
    }

    /// Cancels one job, queued or running; the runner that has it is told.
    #[track_caller]
    pub fn cancel_job(&self, id: JobId) {
        let cancelled = { self.state().cancel_job(id) };
        self.shared.webhooks_waiting.notify_one();
        known(cancelled);
    }

    /// An idle runner, made with [`Standin::add_runner`], takes a queued job before anybody else does.
    #[track_caller]
    pub fn take_job(&self, runner: RunnerId, job: JobId) {
        let mut state = self.state();
        known(state.runners.all.get(&runner).map(|_| ()).ok_or(StandinError::NoRunner(runner.0)));
        let queued = state.actions.jobs.get(&job).map(|job| job.progress == Progress::Queued);
        let is_queued = known(queued.ok_or(StandinError::NoJob(job.0)));
        known(if is_queued { Ok(()) } else { Err(StandinError::NotQueued(job.0)) });
        state.begin_job(job, runner);
        drop(state);
        self.shared.webhooks_waiting.notify_one();
    }

    /// The job of a runner that has no process ends: `success`, `failure`.
    #[track_caller]
    pub fn end_job(&self, id: JobId, conclusion: &str) {
        let mut state = self.state();
        let runner = known(state.actions.jobs.get(&id).ok_or(StandinError::NoJob(id.0))).runner.clone();
        known(state.end_job(id, conclusion));
        if let Some((runner, _)) = runner {
            state.release_runner(runner);
        }
        drop(state);
        self.shared.webhooks_waiting.notify_one();
    }

    /// Waits until runners and jobs are as a test wants them; `false` when they were not so within this (real) time.
    pub async fn wait_until(&self, within: Duration, is_so: impl Fn(&Self) -> bool) -> bool {
        let changed = { std::sync::Arc::clone(&self.state().runners.changed) };
        let waiting = async {
            loop {
                let ring = changed.notified();
                tokio::pin!(ring);
                ring.as_mut().enable();
                if is_so(self) {
                    return;
                }
                ring.await;
            }
        };
        tokio::time::timeout(within, waiting).await.is_ok()
    }
}
