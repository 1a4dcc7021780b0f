//! Looks at GitHub: which jobs wait, which runners are registered. Fills the [`Board`].
//!
//! Jobs are counted, not runs: a run in progress hides queued jobs. A look at a repository is two lists of runs and the jobs of each of
//! them, all conditional, so that one where nothing happens costs nothing. Runners are listed before jobs: whoever is seen at work
//! then, its job is not seen waiting afterwards.
//!
//! Invariants: an error of one repository leaves the others; what a limit keeps from being asked is asked when it ends, and what is known
//! meanwhile keeps the time of its question.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wfengine_core::time::Monotonic;
use wfengine_github::models::{Job, Progress, WorkflowRun};
use wfengine_github::rest::{RunnerScope, RunsWanted};
use wfengine_github::{ApiError, Client, Scope};
use wfengine_workflow::Workflow;

use crate::board::{Board, JobTaken, Registered, RepositorySeen};
use crate::demand::{QueuedJob, Refusal, Verdict, judge};
use crate::docker_needs::needs_docker;
use crate::pool::{DockerAccess, Pool, Watched};
use crate::reconcile::RegistrationSeen;
use crate::work::Fault;

/// A limit is not waited for inside a look; the next look comes when it has ended.
const PATIENCE: Duration = Duration::from_secs(5);
/// Repositories without a recent push are looked at every so many rounds: a schedule or a dispatch queues jobs without one.
const SELDOM: u64 = 10;
/// Runners of scopes where this node has none are listed every so many rounds, for what was left there.
const SELDOM_LISTED: u64 = 20;
/// Workflows that are remembered, as far as Docker is concerned.
const WORKFLOWS_MAX: usize = 2_000;
/// Bytes of a workflow file.
const WORKFLOW_BYTES_MAX: usize = 512 * 1024;

/// A board that looks fill and plans read.
pub type SharedBoard = Arc<Mutex<Board>>;

/// The board, for as long as it is held.
pub fn held(board: &SharedBoard) -> MutexGuard<'_, Board> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What went wrong in a round.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Looked {
    /// What could not be looked at, and why.
    pub problems: Vec<(String, Fault)>,
    /// A limit holds so much longer; nothing is asked meanwhile.
    pub limited_for: Option<Duration>,
    /// The credential is refused.
    pub is_unauthorised: bool,
}

/// Looks for one pool.
pub struct Looker {
    client: Client,
    pool: Arc<Pool>,
    /// Architecture of the engine, `x64` or `arm64`.
    architecture: String,
    board: SharedBoard,
    /// What jobs of a workflow need, by repository, commit and path. `None`: it cannot be read.
    workflows: BTreeMap<(String, String, String), Option<Arc<Workflow>>>,
    /// Names of this cluster's runners begin so.
    prefix: String,
}

impl std::fmt::Debug for Looker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Looker").field("pool", &self.pool.name).finish_non_exhaustive()
    }
}

impl Looked {
    /// Nothing more is asked in this round.
    fn is_over(&self) -> bool {
        self.limited_for.is_some() || self.is_unauthorised
    }
}

impl Looker {
    /// Looks for a pool whose runners' names begin with `prefix`.
    pub fn new(
        client: &Client,
        pool: Arc<Pool>,
        architecture: &str,
        prefix: &str,
        board: SharedBoard,
    ) -> Self {
        Self {
            client: client.with_patience(PATIENCE),
            pool,
            architecture: architecture.to_owned(),
            board,
            workflows: BTreeMap::new(),
            prefix: prefix.to_owned(),
        }
    }

    /// Looks at everything. `now` is asked before every question.
    pub async fn round(&mut self, now: impl Fn() -> (Monotonic, u64)) -> Looked {
        let mut looked = Looked::default();
        if !self.list(&now, &mut looked).await {
            return looked;
        }
        let rounds = held(&self.board).rounds;
        self.list_runners(rounds.is_multiple_of(SELDOM_LISTED), &now, &mut looked).await;
        let recent_s = (now().1 / 1_000).saturating_sub(u64::from(self.pool.since_days) * 24 * 3_600);
        let names: Vec<String> = {
            let board = held(&self.board);
            let is_due = |name: &&String| {
                let seen = &board.repositories[*name];
                let has_jobs = seen.queued_runs + seen.running_runs > 0;
                rounds.is_multiple_of(SELDOM) || seen.pushed_s >= recent_s || has_jobs
            };
            board.repositories.keys().filter(is_due).cloned().collect()
        };
        for name in names {
            if looked.is_over() {
                break;
            }
            self.look_at(&name, now(), &mut looked).await;
        }
        let mut board = held(&self.board);
        board.rounds += 1;
        board.looked_ms = now().1;
        looked
    }

    /// Looks at some repositories only, and at the runners there.
    pub async fn round_of(&mut self, names: &BTreeSet<String>, now: impl Fn() -> (Monotonic, u64)) -> Looked {
        let mut looked = Looked::default();
        // runners elsewhere are listed with the next round
        let scopes: BTreeSet<String> =
            names.iter().map(|name| self.pool.scope_of(name).to_string()).collect();
        let others = {
            let mut board = held(&self.board);
            let wanted = std::mem::take(&mut board.wanted_scopes);
            let is_asked = |scope: &String| scopes.iter().any(|asked| asked.eq_ignore_ascii_case(scope));
            let (asked, others): (BTreeSet<_>, BTreeSet<_>) = wanted.into_iter().partition(is_asked);
            board.wanted_scopes = asked;
            others
        };
        self.list_runners(false, &now, &mut looked).await;
        held(&self.board).wanted_scopes.extend(others);
        for name in names {
            let known =
                held(&self.board).repositories.keys().find(|known| known.eq_ignore_ascii_case(name)).cloned();
            if let Some(name) = known
                && !looked.is_over()
            {
                self.look_at(&name, now(), &mut looked).await;
            }
        }
        looked
    }

    /// Which repositories there are; what is known stays where that cannot be told. Whether anything can be asked.
    async fn list(&mut self, now: &impl Fn() -> (Monotonic, u64), looked: &mut Looked) -> bool {
        let (mut names, mut is_whole) = (BTreeSet::new(), true);
        for watched in self.pool.watched.clone() {
            let scope = match &watched {
                Watched::All => Scope::All,
                Watched::Owner(owner) => Scope::Owner(owner.clone()),
                Watched::Repository(name) => Scope::Repository(name.clone()),
            };
            match self.client.repositories(&scope).await {
                Ok(listing) => {
                    let mut board = held(&self.board);
                    for repository in listing.items {
                        if repository.archived || repository.disabled {
                            continue;
                        }
                        let pushed_s = repository.pushed_s().unwrap_or(0);
                        let seen = board.repositories.entry(repository.full_name.clone()).or_default();
                        (seen.is_private, seen.pushed_s) = (repository.private, pushed_s);
                        names.insert(repository.full_name);
                    }
                }
                Err(error) => {
                    is_whole = false;
                    Self::note(&watched.to_string(), &error, now().1, looked);
                    if looked.is_over() {
                        return false;
                    }
                }
            }
        }
        if is_whole {
            held(&self.board).keep_only(&names);
        }
        true
    }

    fn note(what: &str, error: &ApiError, now_ms: u64, looked: &mut Looked) {
        if let ApiError::Limited { until_s, .. } = error {
            let now_s = now_ms / 1_000;
            looked.limited_for = Some(Duration::from_secs(until_s.saturating_sub(now_s).max(1)));
            return;
        }
        looked.is_unauthorised |= matches!(error, ApiError::Unauthorised { .. });
        looked.problems.push((what.to_owned(), error.clone().into()));
    }

    /// Scopes in which runners of this pool may be registered.
    fn scopes(&self) -> BTreeSet<String> {
        let board = held(&self.board);
        board.repositories.keys().map(|name| self.pool.scope_of(name).to_string()).collect()
    }

    async fn list_runners(&mut self, all: bool, now: &impl Fn() -> (Monotonic, u64), looked: &mut Looked) {
        let mut wanted = std::mem::take(&mut held(&self.board).wanted_scopes);
        if all {
            wanted.extend(self.scopes());
        }
        for scope in wanted {
            if looked.is_over() {
                // they are asked for at the next look
                held(&self.board).wanted_scopes.insert(scope);
                continue;
            }
            let Ok(parsed) = RunnerScope::parse(&scope) else { continue };
            let asked_at = now().0;
            match self.client.runners(&parsed).await {
                Ok(listing) => {
                    let of = |runner: wfengine_github::models::Runner| {
                        let is_online = runner.status == Some(wfengine_github::models::RunnerStatus::Online);
                        (runner.name, RegistrationSeen { id: runner.id, is_online, is_busy: runner.busy })
                    };
                    let by_name = listing.items.into_iter().map(of).collect();
                    held(&self.board).registered.insert(scope, Registered { asked_at, by_name });
                }
                Err(error) => {
                    held(&self.board).registered.remove(&scope);
                    Self::note(&format!("runners of {scope}"), &error, now().1, looked);
                }
            }
        }
    }

    async fn look_at(&mut self, name: &str, (asked_at, now_ms): (Monotonic, u64), looked: &mut Looked) {
        match self.jobs_of(name).await {
            Ok(found) => {
                let mut board = held(&self.board);
                if let Some(seen) = board.repositories.get_mut(name) {
                    seen.asked_at = Some(asked_at);
                    (seen.queued_runs, seen.running_runs, seen.trouble) =
                        (found.queued_runs, found.running_runs, None);
                }
                board.refused.retain(|_, (job, _)| job.repository != name);
                board.refused.extend(found.refused.into_iter().map(|(job, why)| (job.job, (job, why))));
                board.take(name, asked_at, found.served);
                board.taken.retain(|_, taken| taken.repository != name);
                board.taken.extend(found.taken);
            }
            Err(error) => {
                if !error.is_limited()
                    && let Some(seen) = held(&self.board).repositories.get_mut(name)
                {
                    seen.trouble = Some(error.to_string());
                }
                Self::note(name, &error, now_ms, looked);
            }
        }
    }

    async fn jobs_of(&mut self, name: &str) -> Result<Found, ApiError> {
        let is_private =
            held(&self.board).repositories.get(name).is_some_and(|seen: &RepositorySeen| seen.is_private);
        let mut found = Found::default();
        let mut runs: BTreeMap<u64, WorkflowRun> = BTreeMap::new();
        for (status, count) in [("queued", &mut found.queued_runs), ("in_progress", &mut found.running_runs)]
        {
            let wanted = RunsWanted { status: Some(status.to_owned()), ..RunsWanted::default() };
            let listing = self.client.workflow_runs(name, &wanted).await?;
            *count = u32::try_from(listing.items.len()).unwrap_or(u32::MAX);
            runs.extend(listing.items.into_iter().map(|run| (run.id, run)));
        }
        for run in runs.into_values() {
            for job in self.client.run_jobs(name, run.id).await?.items {
                match &job.status {
                    Some(Progress::Queued) => self.sort(name, is_private, &run, job, &mut found).await?,
                    Some(Progress::InProgress) => {
                        if let Some(runner) =
                            job.runner_name.filter(|runner| runner.starts_with(&self.prefix))
                        {
                            let taken = JobTaken { repository: name.to_owned(), run: run.id, job: job.id };
                            found.taken.push((runner, taken));
                        }
                    }
                    _ => {}
                }
            }
        }
        found.served.sort_by_key(|job| (job.created_s, job.job));
        Ok(found)
    }

    async fn sort(
        &mut self,
        name: &str,
        is_private: bool,
        run: &WorkflowRun,
        job: Job,
        found: &mut Found,
    ) -> Result<(), ApiError> {
        let path = run.path.as_deref().map(|path| path.split('@').next().unwrap_or(path).to_owned());
        let file = path.as_deref().map(|path| path.rsplit('/').next().unwrap_or(path).to_owned());
        let mut queued = QueuedJob {
            repository: name.to_owned(),
            is_private,
            run: run.id,
            job: job.id,
            name: job.name,
            workflow: job.workflow_name.or(run.name.clone()).or(file).unwrap_or_default(),
            labels: job.labels,
            event: run.event.clone().unwrap_or_default(),
            head_repository: run
                .head_repository
                .as_ref()
                .map(|of| of.full_name.clone())
                .filter(|name| !name.is_empty()),
            needs_docker: None,
            created_s: job.created_at.as_deref().and_then(wfengine_github::dates::rfc3339_s).unwrap_or(0),
        };
        let mut verdict = judge(&self.pool, &self.architecture, &queued);
        if verdict == Verdict::Served && self.pool.policy.docker == DockerAccess::None {
            let sha = job.head_sha.or(run.head_sha.clone());
            if let (Some(path), Some(sha)) = (path, sha) {
                let workflow = self.workflow(name, &sha, &path).await?;
                queued.needs_docker = workflow.and_then(|workflow| needs_docker(&workflow, &queued.name));
                verdict = judge(&self.pool, &self.architecture, &queued);
            }
        }
        match verdict {
            Verdict::Served => found.served.push(queued),
            Verdict::Refused(why) => found.refused.push((queued, why)),
            Verdict::Others => {}
        }
        Ok(())
    }

    /// The workflow of a commit. One that cannot be read needs nothing that is known.
    async fn workflow(
        &mut self,
        name: &str,
        sha: &str,
        path: &str,
    ) -> Result<Option<Arc<Workflow>>, ApiError> {
        let key = (name.to_owned(), sha.to_owned(), path.to_owned());
        if let Some(known) = self.workflows.get(&key) {
            return Ok(known.clone());
        }
        let read = match self.client.contents_file(name, path, Some(sha)).await {
            Ok(fetched) => {
                let bytes =
                    fetched.value.bytes().ok().flatten().filter(|bytes| bytes.len() <= WORKFLOW_BYTES_MAX);
                bytes.and_then(|bytes| Workflow::read(&bytes, path).ok()).map(Arc::new)
            }
            Err(error) if error.is_limited() || error.is_transient() => return Err(error),
            Err(error) => {
                tracing::debug!(%error, name, path, "whether a job needs Docker is not known");
                None
            }
        };
        if self.workflows.len() >= WORKFLOWS_MAX {
            self.workflows.clear();
        }
        self.workflows.insert(key, read.clone());
        Ok(read)
    }
}

#[derive(Debug, Default)]
struct Found {
    queued_runs: u32,
    running_runs: u32,
    served: Vec<QueuedJob>,
    refused: Vec<(QueuedJob, Refusal)>,
    taken: Vec<(String, JobTaken)>,
}
