//! What is known of GitHub: queued jobs, registered runners, what each repository has going on. Filled by looks, read by the plan.
//!
//! Every entry says when the question was asked that brought it, on the node's own clock: what was asked before something changed here
//! says nothing about it.

use std::collections::{BTreeMap, BTreeSet};

use wfengine_core::time::Monotonic;

use crate::demand::{QueuedJob, Refusal};
use crate::reconcile::RegistrationSeen;

/// A repository that is looked at.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RepositorySeen {
    /// Nobody but those who were let in may see it.
    pub is_private: bool,
    /// The last push, seconds since 1970.
    pub pushed_s: u64,
    /// When it was last asked about.
    pub asked_at: Option<Monotonic>,
    /// Runs that have not begun.
    pub queued_runs: u32,
    /// Runs that have.
    pub running_runs: u32,
    /// Why it could not be looked at, the last time.
    pub trouble: Option<String>,
}

/// A queued job and when it was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobSeen {
    /// The job.
    pub job: QueuedJob,
    /// Seen first then.
    pub since: Monotonic,
    /// The last question that brought it.
    pub asked_at: Monotonic,
}

/// The runners of one scope.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registered {
    /// When the list was asked for.
    pub asked_at: Monotonic,
    /// By name.
    pub by_name: BTreeMap<String, RegistrationSeen>,
}

/// A job at work, by the runner that has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobTaken {
    /// `owner/name`.
    pub repository: String,
    /// The run.
    pub run: u64,
    /// The job.
    pub job: u64,
}

/// Everything that is known.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Board {
    /// By `owner/name`.
    pub repositories: BTreeMap<String, RepositorySeen>,
    /// By GitHub's number.
    pub jobs: BTreeMap<u64, JobSeen>,
    /// By scope.
    pub registered: BTreeMap<String, Registered>,
    /// By runner, of this cluster's runners only.
    pub taken: BTreeMap<String, JobTaken>,
    /// Jobs that the pool could serve and does not, by number.
    pub refused: BTreeMap<u64, (QueuedJob, Refusal)>,
    /// Looks at everything so far.
    pub rounds: u64,
    /// The last of them ended then, milliseconds since 1970.
    pub looked_ms: u64,
    /// Scopes whose runners should be listed at the next look.
    pub wanted_scopes: BTreeSet<String>,
}

impl Board {
    /// What a look at one repository brought takes the place of what was known of it.
    pub fn take(&mut self, repository: &str, asked_at: Monotonic, queued: Vec<QueuedJob>) {
        let mut known: BTreeMap<u64, Monotonic> = BTreeMap::new();
        self.jobs.retain(|id, seen| {
            let is_of = seen.job.repository.eq_ignore_ascii_case(repository);
            if is_of {
                known.insert(*id, seen.since);
            }
            !is_of
        });
        for job in queued {
            let since = known.get(&job.job).copied().unwrap_or(asked_at);
            self.jobs.insert(job.job, JobSeen { job, since, asked_at });
        }
    }

    /// Repositories that are not looked at any more, with all that was known of them.
    pub fn keep_only(&mut self, names: &BTreeSet<String>) {
        self.repositories.retain(|name, _| names.contains(name));
        self.jobs.retain(|_, seen| names.contains(&seen.job.repository));
        self.refused.retain(|_, (job, _)| names.contains(&job.repository));
    }

    /// A runner of a scope.
    pub fn registration(&self, scope: &str, name: &str) -> Option<Option<RegistrationSeen>> {
        self.registered.get(scope).map(|registered| registered.by_name.get(name).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demand::tests::job;

    #[test]
    fn a_look_replaces_what_was_known_of_its_repository_alone() {
        let mut board = Board::default();
        let other = QueuedJob { repository: "octo/two".into(), ..job(9) };
        board.take("octo/two", Monotonic(1), vec![other]);
        board.take("octo/one", Monotonic(1), vec![job(1), job(2)]);
        board.take("octo/one", Monotonic(5), vec![job(2), job(3)]);
        let seen = |id: u64| board.jobs.get(&id).map(|seen| (seen.since.0, seen.asked_at.0));
        assert_eq!((seen(1), seen(2), seen(3), seen(9)), (None, Some((1, 5)), Some((5, 5)), Some((1, 1))));
        board.keep_only(&BTreeSet::from(["octo/one".to_owned()]));
        assert_eq!(board.jobs.len(), 2);
    }
}
