//! What must hold. The checker watches nodes from outside and keeps its own books; it shares no state with the workload.

use std::collections::{BTreeMap, BTreeSet};

use wfengine_core::Views;
use wfengine_core::scheduler::order_of;
use wfengine_core::views::job::Job;
use wfengine_core::views::run::Run;
use wfengine_storage_format::{EventId, JobId, PeerId, Placement, RunId};

use super::disk::Disk;

/// A broken invariant.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Violation {
    /// The faults ended, the cluster is not quiet.
    #[error("not quiet {waited_ms} ms after the faults ended: {what}")]
    NotQuiet {
        /// How long it was waited for.
        waited_ms: u64,
        /// What still goes on.
        what: String,
    },
    /// Nodes hold the same events and see different things.
    #[error("node {node} sees something else than node 0")]
    Diverged {
        /// Which.
        node: usize,
    },
    /// A submission was acknowledged and is not there.
    #[error("node {node} does not know run {run}, whose submission was acknowledged")]
    LostSubmission {
        /// Where.
        node: usize,
        /// Which.
        run: RunId,
    },
    /// A step began although the node knew better.
    #[error("node {node} began a step of job {job} although {why}")]
    StepAfterBetter {
        /// Where.
        node: usize,
        /// Of which job.
        job: JobId,
        /// What it knew.
        why: String,
    },
    /// Work began under a claim that could still be lost.
    #[error("node {node} executes job {job} under a claim that is not durable")]
    NotDurable {
        /// Where.
        node: usize,
        /// Which job.
        job: JobId,
    },
    /// Something that only faults can excuse.
    #[error("without a fault, {what}")]
    Unexcused {
        /// What happened.
        what: String,
    },
    /// The views contradict themselves.
    #[error("job {job}: {what}")]
    Inconsistent {
        /// Which job.
        job: JobId,
        /// How.
        what: String,
    },
    /// A node took part in more than it may.
    #[error("node {node} wrote a void event: {what}")]
    WroteVoid {
        /// Which.
        node: usize,
        /// What it wrote.
        what: String,
    },
    /// The product's own code refused what the harness knows to be right.
    #[error("node {node}: {what}")]
    Broken {
        /// Where.
        node: usize,
        /// What.
        what: String,
    },
}

/// How often rare things happened: a suite in which one of them never does proves little.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sometimes {
    /// Jobs that ended.
    pub jobs: u64,
    /// Claims with an epoch above 1.
    pub takeovers: u64,
    /// Jobs with more than one result.
    pub duplicates: u64,
    /// Claims that lost against a concurrent one.
    pub rivals: u64,
    /// Jobs given up after too many epochs.
    pub given_up: u64,
    /// Runs that were cancelled.
    pub cancelled: u64,
    /// Runs submitted again after failure.
    pub retried: u64,
    /// Executions stopped before their end.
    pub aborted: u64,
    /// Claims given back.
    pub released: u64,
}

impl Sometimes {
    /// Adds what happened elsewhere.
    pub fn add(&mut self, other: &Sometimes) {
        let pairs = [
            (&mut self.jobs, other.jobs),
            (&mut self.takeovers, other.takeovers),
            (&mut self.duplicates, other.duplicates),
            (&mut self.rivals, other.rivals),
            (&mut self.given_up, other.given_up),
            (&mut self.cancelled, other.cancelled),
            (&mut self.retried, other.retried),
            (&mut self.aborted, other.aborted),
            (&mut self.released, other.released),
        ];
        for (sum, more) in pairs {
            *sum += more;
        }
    }
}

/// Everything the checker knows.
#[derive(Clone, Debug, Default)]
pub struct Checker {
    acknowledged: BTreeSet<RunId>,
    working: BTreeMap<JobId, BTreeSet<usize>>,
    faults_excuse: bool,
    slots_for_all: bool,
    violations: Vec<Violation>,
}

impl Checker {
    /// A checker that demands more of a cluster without faults, and still more when every node has slots for all jobs.
    pub fn new(faults_excuse: bool, slots_for_all: bool) -> Self {
        Self { faults_excuse, slots_for_all, ..Self::default() }
    }

    /// A submission was acknowledged.
    pub fn acknowledge(&mut self, run: RunId) {
        self.acknowledged.insert(run);
    }

    /// Something is wrong.
    pub fn report(&mut self, violation: Violation) {
        if self.violations.len() < 16 {
            self.violations.push(violation);
        }
    }

    /// The first broken invariant.
    pub fn first(&self) -> Option<&Violation> {
        self.violations.first()
    }

    /// A node hands a claim to its executor or to a program.
    pub fn begins(
        &mut self,
        node: usize,
        disk: &Disk,
        views: &Views,
        run: &RunId,
        job: &JobId,
        claim: &EventId,
    ) {
        use wfengine_core::log::KnownEvents as _;
        if disk.locate(claim).is_none() {
            self.report(Violation::NotDurable { node, job: *job });
        }
        self.working.entry(*job).or_default().insert(node);
        if self.faults_excuse {
            return;
        }
        let Some((run, known)) = views.runs().live_job(run, job) else { return };
        let group = |other: &Job| (other.leg.group.is_some(), other.leg.group.clone());
        let alone = |other: &JobId| {
            views
                .runs()
                .all_live()
                .any(|run| run.jobs.get(other).is_some_and(|other| group(other) == group(known)))
        };
        if known.leg.group.is_some() {
            let others = self.working.iter().filter(|(other, nodes)| *other != job && !nodes.is_empty());
            if let Some((other, _)) = others.into_iter().find(|(other, _)| alone(other)) {
                let what = format!("jobs {job} and {other} of one concurrency group run at once");
                self.report(Violation::Unexcused { what });
            }
        }
        let part = run.parts.get(&known.key);
        if let Some((max, part)) = part.and_then(|part| part.max_parallel.map(|max| (max, part))) {
            let at_once =
                part.jobs.iter().filter(|job| self.working.get(job).is_some_and(|nodes| !nodes.is_empty()));
            if at_once.count() > usize::try_from(max).unwrap_or(usize::MAX) {
                let what = format!("more than {max} jobs of `{}` run at once", known.key);
                self.report(Violation::Unexcused { what });
            }
        }
    }

    /// An execution of a node is over, however it ended.
    pub fn ends(&mut self, node: usize, job: &JobId) {
        if let Some(nodes) = self.working.get_mut(job) {
            nodes.remove(&node);
        }
    }

    /// A node begins a step. Looks at the node's own views, without asking its scheduler.
    pub fn step(&mut self, node: usize, views: &Views, run: &RunId, job: &JobId, claim: &EventId) {
        let mut wrong = |why: &str| {
            self.report(Violation::StepAfterBetter { node, job: *job, why: why.to_owned() });
        };
        let Some((run, job)) = views.runs().live_job(run, job) else {
            return wrong("it does not know the job");
        };
        if run.cancelled.is_some() {
            wrong("it knew that the run was cancelled");
        } else if job.result.is_some() {
            wrong("it knew a result");
        } else if job
            .claims
            .iter()
            .map(|claim| (claim.token(), claim.id))
            .max()
            .is_none_or(|(_, id)| id != *claim)
        {
            wrong("it knew a greater token");
        }
    }

    /// Whether a node knows everything that was acknowledged, and all of it has ended. What is open otherwise.
    pub fn open_work(&self, views: &Views) -> Option<String> {
        let missing = self.acknowledged.iter().find(|run| !views.runs().contains(run));
        if let Some(run) = missing {
            return Some(format!("run {} is unknown", run.short()));
        }
        let open = views.runs().all_live().find(|run| !run.status.is_terminal())?;
        let jobs: Vec<String> = open
            .jobs
            .values()
            .filter(|job| !job.status.is_terminal())
            .map(|job| {
                format!("{} {} ({} claims) {}", job.leg.name, job.status, job.claims.len(), job.reason)
            })
            .collect();
        let unplanned = open.unplanned_keys();
        Some(format!(
            "run {} ({}) is {}: {jobs:?}, unplanned {unplanned:?}",
            open.name(),
            open.id.short(),
            open.status
        ))
    }

    /// Looks at the final views of a node.
    pub fn inspect(&mut self, node: usize, views: &Views, sometimes: &mut Sometimes) {
        for run in self.acknowledged.clone() {
            if !views.runs().contains(&run) {
                self.report(Violation::LostSubmission { node, run });
            }
        }
        for run in views.runs().all_live() {
            sometimes.cancelled += u64::from(run.cancelled.is_some());
            sometimes.retried +=
                u64::from(run.submitted.as_ref().is_some_and(|submitted| submitted.attempt > 1));
            for job in run.jobs.values() {
                self.inspect_job(views, run, job, sometimes);
            }
        }
    }

    fn inspect_job(&mut self, views: &Views, run: &Run, job: &Job, sometimes: &mut Sometimes) {
        use wfengine_core::views::job::ClaimState;
        let wrong = |what: &str| Violation::Inconsistent { job: job.id, what: what.to_owned() };
        let greatest = job.claims.iter().max_by_key(|claim| claim.token()).map(|claim| claim.id);
        if greatest != job.effective {
            self.report(wrong("the effective claim is not the one with the greatest token"));
        }
        let token = |claim: &EventId| job.claim(claim).map(|claim| claim.token());
        if let Some(result) = &job.result
            && job.duplicates.iter().any(|other| token(&other.claim) > token(&result.claim))
        {
            self.report(wrong("the canonical result is not that of the greatest token"));
        }
        let results = job.claims.iter().filter(|claim| claim.state == ClaimState::Completed).count();
        if results != job.duplicates.len() + usize::from(job.result.is_some()) {
            self.report(wrong("a result is hidden"));
        }
        sometimes.jobs += 1;
        sometimes.takeovers += job.claims.iter().filter(|claim| claim.epoch > 1).count() as u64;
        sometimes.duplicates += job.duplicates.len() as u64;
        let rivals = |epoch: u32| job.claims.iter().filter(|claim| claim.epoch == epoch).count() > 1;
        sometimes.rivals += u64::from((1..=5).any(rivals));
        sometimes.given_up += u64::from(job.failed_infrastructure && job.result.is_none());
        let ended = |state: fn(&ClaimState) -> bool| {
            job.claims.iter().filter(|claim| state(&claim.state)).count() as u64
        };
        sometimes.aborted += ended(|state| matches!(state, ClaimState::Aborted(_)));
        sometimes.released += ended(|state| matches!(state, ClaimState::Released(_)));
        let runs = run.parts.get(&job.key).is_some_and(|part| part.skipped.is_none());
        if !self.faults_excuse && runs {
            self.inspect_calm(views, run, job);
        }
    }

    /// Without faults one result; with slots for all also one claim, by the nearest peer.
    fn inspect_calm(&mut self, views: &Views, run: &Run, job: &Job) {
        let limited = run.is_task()
            || job.leg.group.is_some()
            || run.parts.get(&job.key).is_some_and(|part| part.max_parallel.is_some());
        let claimants: Vec<PeerId> = job.claims.iter().map(|claim| claim.peer()).collect();
        let nearest = order_of(views, run, job).first().map(|place| place.peer);
        let author = run.submission().map(|submission| submission.author);
        let placed = run.submitted.as_ref().is_some_and(|submitted| submitted.placement == Placement::Author);
        let expected = if placed { author } else { nearest };
        if self.slots_for_all && !limited && (claimants.len() != 1 || claimants.first() != expected.as_ref())
        {
            let what = format!("job {} was claimed by {claimants:?}, nearest is {expected:?}", job.id);
            self.report(Violation::Unexcused { what });
        }
        if !job.duplicates.is_empty() {
            let what = format!("job {} was executed {} times", job.id, job.duplicates.len() + 1);
            self.report(Violation::Unexcused { what });
        }
    }
}
