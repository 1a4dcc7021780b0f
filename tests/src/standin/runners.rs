//! Self-hosted runners as GitHub knows them: registered, online or not, busy or not, and the tokens they register with.
//!
//! Only the administration is here. What a runner itself says to the service is another face; it will move what is kept here.

use std::collections::BTreeMap;

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
    /// What its configuration proves itself with, once.
    pub(crate) secret: Option<String>,
}

impl Runner {
    pub(crate) fn is_busy(&self) -> bool {
        self.is_said_busy || self.job.is_some()
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
    /// Whether it goes after one job.
    pub is_ephemeral: bool,
    /// What its just-in-time configuration proves itself with, until it is used.
    pub secret: Option<String>,
}

/// All runners and their tokens.
#[derive(Debug, Default)]
pub(crate) struct Runners {
    pub(crate) all: BTreeMap<RunnerId, Runner>,
    pub(crate) tokens: BTreeMap<String, RunnerToken>,
}

impl Runners {
    pub(crate) fn of(&self, scope: Scope) -> Vec<&Runner> {
        self.all.values().filter(|runner| runner.scope == scope).collect()
    }

    pub(crate) fn is_taken(&self, scope: Scope, name: &str) -> bool {
        self.of(scope).iter().any(|runner| runner.name.eq_ignore_ascii_case(name))
    }

    /// Whether a token was given out for a purpose and still holds.
    pub(crate) fn accepts(&self, token: &str, scope: Scope, purpose: Purpose, now: u64) -> bool {
        let known = self.tokens.get(token);
        known.is_some_and(|token| token.scope == scope && token.purpose == purpose && token.expires_at > now)
    }

    pub(crate) fn info(runner: &Runner) -> RunnerInfo {
        RunnerInfo {
            id: runner.id,
            name: runner.name.clone(),
            labels: runner.fixed_labels.iter().chain(&runner.labels).cloned().collect(),
            is_online: runner.is_online,
            is_busy: runner.is_busy(),
            is_ephemeral: runner.is_ephemeral,
            secret: runner.secret.clone(),
        }
    }
}
