//! Self-hosted runners as GitHub knows them: registered, connected or not, busy or not, and the tokens they register with.
//!
//! Here is what is known and how it changes. Who may administer it stands in `rest::runners`, what a runner itself says in
//! `runner_side`, which job it gets in `actions::jobs`.
//!
//! Invariants: a name is taken once in a repository or organisation; a job is with one runner; a secret of a just-in-time
//! configuration opens one session, ever; what was removed comes back under no session and no secret.

mod life;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::sync::Notify;

use super::ids::{AccountId, JobId, RepositoryId, RunnerId};

/// To whom a runner belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Repository(RepositoryId),
    Organization(AccountId),
}

/// A runner.
#[derive(Debug, Clone)]
pub(crate) struct Runner {
    pub(crate) id: RunnerId,
    pub(crate) scope: Scope,
    pub(crate) name: String,
    /// Given by GitHub to those that register by themselves: `self-hosted`, the system, the architecture.
    pub(crate) fixed_labels: Vec<String>,
    pub(crate) labels: Vec<String>,
    pub(crate) is_online: bool,
    /// The job that it runs.
    pub(crate) job: Option<JobId>,
    /// Busy without a job of ours, because a test says so.
    pub(crate) is_said_busy: bool,
    /// Gone after one job.
    pub(crate) is_ephemeral: bool,
    /// Whether its secret opens one session only.
    pub(crate) is_just_in_time: bool,
    /// What its configuration proves itself with.
    pub(crate) secret: Option<String>,
    /// What its process proves itself with once it has connected.
    pub(crate) session: Option<String>,
    /// Requests of its process that wait for an answer: as long as there is one, it lives.
    pub(crate) connections: u32,
    /// Since when there is none.
    pub(crate) away_since: Option<u64>,
}

impl Runner {
    /// A runner that has never connected.
    pub(crate) fn new(id: RunnerId, scope: Scope, name: &str, labels: Vec<String>, now: u64) -> Self {
        Self {
            id,
            scope,
            name: name.to_owned(),
            fixed_labels: Vec::new(),
            labels,
            is_online: false,
            job: None,
            is_said_busy: false,
            is_ephemeral: false,
            is_just_in_time: false,
            secret: None,
            session: None,
            connections: 0,
            away_since: Some(now),
        }
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.is_said_busy || self.job.is_some()
    }

    /// All labels, those that GitHub gave first.
    pub(crate) fn all_labels(&self) -> Vec<String> {
        self.fixed_labels.iter().chain(&self.labels).cloned().collect()
    }

    /// Whether every label of a job is among its own; case does not count.
    pub(crate) fn serves(&self, wanted: &[String]) -> bool {
        let has = |label: &String| {
            self.fixed_labels.iter().chain(&self.labels).any(|own| own.eq_ignore_ascii_case(label))
        };
        !wanted.is_empty() && wanted.iter().all(has)
    }
}

/// What a token of this kind is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Register,
    Remove,
}

/// A token for runners. It can be used several times until it ends.
#[derive(Debug, Clone)]
pub(crate) struct RunnerToken {
    pub(crate) scope: Scope,
    pub(crate) purpose: Purpose,
    pub(crate) expires_at: u64,
}

/// A runner, for tests.
#[derive(Debug, Clone)]
pub struct RunnerInfo {
    /// Its number in answers.
    pub id: RunnerId,
    /// Its name, which is taken only once in its repository or organisation.
    pub name: String,
    /// All its labels.
    pub labels: Vec<String>,
    /// Whether it is connected.
    pub is_online: bool,
    /// Whether it runs a job.
    pub is_busy: bool,
    /// The job that it was given.
    pub job: Option<JobId>,
    /// Whether it goes after one job.
    pub is_ephemeral: bool,
    /// What its just-in-time configuration proves itself with, until it is used.
    pub secret: Option<String>,
}

/// What happened to a runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunnerChange {
    /// It has a number and a name.
    Registered,
    /// Its process opened a session.
    Online,
    /// It was given a job.
    Busy(JobId),
    /// It is through with its job and stays.
    Idle,
    /// Its process was not heard of for too long, or said goodbye.
    Offline,
    /// It was deleted through the API.
    Deleted,
    /// It had its one job.
    Finished,
    /// Another one registered under its name and asked for that.
    Replaced,
    /// It was ephemeral and not connected for a day.
    Forgotten,
}

/// One line of the runners' history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunnerEvent {
    /// When, by the stand-in's clock.
    pub at: u64,
    /// Which runner.
    pub runner: RunnerId,
    /// Its name.
    pub name: String,
    /// What happened.
    pub change: RunnerChange,
}

/// How long the service waits for a runner that is not heard of, in seconds of the stand-in's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunnerPatience {
    /// Until it counts as offline.
    pub offline_seconds: u64,
    /// Until the job that it was given has failed.
    pub lost_seconds: u64,
}

impl Default for RunnerPatience {
    fn default() -> Self {
        Self { offline_seconds: 60, lost_seconds: 600 }
    }
}

/// Why a runner's process is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TurnedAway {
    /// Nobody knows what it proves itself with.
    Unknown,
    /// Its registration was removed.
    Gone,
    /// Its secret is used, or its session is open elsewhere.
    InUse,
}

/// All runners, their tokens and their history.
#[derive(Debug, Default)]
pub(crate) struct Runners {
    pub(crate) all: BTreeMap<RunnerId, Runner>,
    pub(crate) tokens: BTreeMap<String, RunnerToken>,
    pub(crate) events: Vec<RunnerEvent>,
    pub(crate) patience: RunnerPatience,
    /// Secrets and sessions that open nothing any more.
    spent: BTreeSet<String>,
    /// What the next programs are to do, in order.
    pub(crate) orders: Vec<String>,
    /// Rung whenever a runner or a job is not what it was.
    pub(crate) changed: Arc<Notify>,
}

impl Runners {
    pub(crate) fn of(&self, scope: Scope) -> Vec<&Runner> {
        self.all.values().filter(|runner| runner.scope == scope).collect()
    }

    pub(crate) fn named(&self, scope: Scope, name: &str) -> Option<&Runner> {
        self.all.values().find(|runner| runner.scope == scope && runner.name.eq_ignore_ascii_case(name))
    }

    /// Whether a token was given out for a purpose and still holds.
    pub(crate) fn accepts(&self, token: &str, scope: Scope, purpose: Purpose, now: u64) -> bool {
        let known = self.tokens.get(token);
        known.is_some_and(|token| token.scope == scope && token.purpose == purpose && token.expires_at > now)
    }

    /// The runner whose process has this session.
    pub(crate) fn in_session(&self, session: &str) -> Result<&Runner, TurnedAway> {
        let found = self.all.values().find(|runner| runner.session.as_deref() == Some(session));
        let why = if self.spent.contains(session) { TurnedAway::Gone } else { TurnedAway::Unknown };
        found.ok_or(why)
    }

    pub(crate) fn info(runner: &Runner) -> RunnerInfo {
        RunnerInfo {
            id: runner.id,
            name: runner.name.clone(),
            labels: runner.all_labels(),
            is_online: runner.is_online,
            is_busy: runner.is_busy(),
            job: runner.job,
            is_ephemeral: runner.is_ephemeral,
            secret: runner.secret.clone(),
        }
    }
}
