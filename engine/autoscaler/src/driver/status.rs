//! What a pool shows of itself.

use serde::{Deserialize, Serialize};
use wfengine_core::time::Monotonic;
use wfengine_storage_format::RunnerCause;

use super::Autoscaler;
use crate::look::held;
use crate::port::{Containers, Host};

/// A runner as it is shown.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RunnerShown {
    /// Its name.
    pub name: String,
    /// Where it is registered.
    pub scope: String,
    /// `intended`, `started`, `exited`.
    pub phase: String,
    /// Container, first twelve characters.
    pub container: String,
    /// GitHub's number; 0 when unknown.
    pub runner: u64,
    /// `starting`, `offline`, `idle`, `busy`, `ended`.
    pub state: String,
    /// Why it was started.
    pub cause: String,
    /// When it was intended, milliseconds since 1970.
    pub since_ms: u64,
    /// The job that it has, as far as GitHub says: `owner/name run/job`.
    pub job: Option<String>,
}

/// A job that the pool could serve and does not.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RefusedShown {
    /// `owner/name`.
    pub repository: String,
    /// GitHub's number.
    pub job: u64,
    /// What people call it.
    pub name: String,
    /// What it asks for.
    pub labels: Vec<String>,
    /// Why not.
    pub why: String,
    /// What would allow it.
    pub remedy: String,
    /// Where people see it.
    pub url: String,
}

/// Something that does not work now.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TroubleShown {
    /// A short word.
    pub reason: String,
    /// In words.
    pub what: String,
    /// What to do.
    pub remedy: String,
    /// How often in a row.
    pub times: u32,
    /// Since when, seconds.
    pub for_s: u64,
    /// Until it is tried again, seconds.
    pub next_try_s: u64,
}

/// A pool as it is shown.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PoolStatus {
    /// Its name.
    pub name: String,
    /// It starts runners.
    pub is_on: bool,
    /// What its runners offer.
    pub labels: Vec<String>,
    /// Its runners at once.
    pub runners_max: u32,
    /// Runners that are to wait, now.
    pub idle_min: u32,
    /// Runners that are there.
    pub active: u32,
    /// Of them, those that wait for a job.
    pub idle: u32,
    /// Of them, those at work.
    pub busy: u32,
    /// Of them, those not connected yet.
    pub starting: u32,
    /// Jobs that wait.
    pub queued: u32,
    /// Jobs that wait and have no room.
    pub without_room: u32,
    /// Repositories that are looked at.
    pub repositories: u32,
    /// Looks so far.
    pub rounds: u64,
    /// The last one, milliseconds since 1970; 0 if there was none.
    pub looked_ms: u64,
    /// Runners whose container ran, ever, on this host.
    pub provisioned: u64,
    /// Runners of it.
    pub runners: Vec<RunnerShown>,
    /// Jobs that it could serve and does not.
    pub refused: Vec<RefusedShown>,
    /// What does not work.
    pub troubles: Vec<TroubleShown>,
}

impl<H: Host, C: Containers> Autoscaler<H, C> {
    /// What there is to show.
    pub fn status(&self) -> PoolStatus {
        let (host, pool) = (&self.shop.host, &self.shop.pool);
        let now = host.now();
        let own = self.own();
        let provisioned = host.watcher().views().runners().counts(&host.peer(), &pool.name).provisioned;
        let board = held(&self.board);
        let runners: Vec<RunnerShown> = own
            .iter()
            .map(|runner| {
                let registered = board.registration(&runner.intended.scope, &runner.intended.name).flatten();
                let state = match (runner.exited.is_some(), registered) {
                    (true, _) => "ended",
                    (false, Some(seen)) if seen.is_busy => "busy",
                    (false, Some(seen)) if seen.is_online => "idle",
                    (false, Some(_))
                        if self.tracks.get(&runner.intent).is_some_and(|track| track.was_online()) =>
                    {
                        "offline"
                    }
                    (false, _) => "starting",
                };
                let started = runner.started.as_ref().map(|(_, _, started)| started);
                RunnerShown {
                    name: runner.intended.name.clone(),
                    scope: runner.intended.scope.clone(),
                    phase: runner.phase().to_string(),
                    container: started
                        .map(|started| started.container.chars().take(12).collect())
                        .unwrap_or_default(),
                    runner: registered
                        .map(|seen| seen.id)
                        .or(started.map(|started| started.runner))
                        .unwrap_or(0),
                    state: state.to_owned(),
                    cause: match &runner.intended.cause {
                        RunnerCause::Job { repository, job, .. } => format!("job {job} of {repository}"),
                        RunnerCause::Idle => "idle".to_owned(),
                        RunnerCause::Asked => "asked".to_owned(),
                    },
                    since_ms: runner.time_ms,
                    job: board
                        .taken
                        .get(&runner.intended.name)
                        .map(|taken| format!("{} {}/{}", taken.repository, taken.run, taken.job)),
                }
            })
            .collect();
        let count = |state: &str| number(runners.iter().filter(|runner| runner.state == state).count());
        let web = &self.client().settings().web;
        let refused = board.refused.values().map(|(job, why)| RefusedShown {
            repository: job.repository.clone(),
            job: job.job,
            name: job.name.clone(),
            labels: job.labels.clone(),
            why: why.why(),
            remedy: why.remedy().to_owned(),
            url: format!("{web}/{}/actions/runs/{}/job/{}", job.repository, job.run, job.job),
        });
        let troubles = self.backoff.troubles().map(|(reason, trouble)| TroubleShown {
            reason: reason.to_owned(),
            what: trouble.what.clone(),
            remedy: trouble.remedy.clone(),
            times: trouble.times,
            for_s: seconds(trouble.since, now),
            next_try_s: seconds(now, trouble.next_try),
        });
        PoolStatus {
            name: pool.name.clone(),
            is_on: self.is_on,
            labels: pool.labels.clone(),
            runners_max: pool.runners_max,
            idle_min: crate::idle::idle_min(&pool.idle, host.wall_ms() / 1_000),
            active: number(runners.iter().filter(|runner| runner.state != "ended").count()),
            idle: count("idle"),
            busy: count("busy"),
            starting: count("starting"),
            queued: number(board.jobs.len()),
            without_room: self.last_without_room,
            repositories: number(board.repositories.len()),
            rounds: board.rounds,
            looked_ms: board.looked_ms,
            provisioned,
            refused: refused.collect(),
            troubles: troubles.collect(),
            runners,
        }
    }

    /// Containers of the pool as they were listed last, with the scope each is for.
    pub fn containers(&self) -> Vec<(wfengine_docker::ContainerState, String)> {
        let scope = |state: &wfengine_docker::ContainerState| {
            state.labels.get(crate::container::LABEL_SCOPE).cloned().unwrap_or_default()
        };
        self.last_containers.iter().map(|state| (state.clone(), scope(state))).collect()
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn seconds(from: Monotonic, to: Monotonic) -> u64 {
    (to - from).as_secs()
}
