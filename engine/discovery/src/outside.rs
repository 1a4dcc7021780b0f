//! The way back to GitHub: runs that no peer takes are handed over, what became of them is followed, jobs are shown beside their
//! commits, and a run that GitHub has queued beside ours is cancelled.
//!
//! An intent is in the log before anything leaves this host. What cannot be known to have happened is not tried again until GitHub
//! itself shows that it did not.
//!
//! Invariants: everything here is done for runs whose canonical submission this member wrote, and whose trigger says what that froze;
//! GitHub is asked for a commit that was judged here, or for nothing; what GitHub refuses for good is asked for once.

mod doubles;
mod fallback;
mod follow;
mod refusals;
mod reports;

pub use reports::{ANNOTATIONS, KeptAnnotation};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wfengine_core::views::run::Run;
use wfengine_storage_format::{JobId, PeerId, RunId, RunSpec, TriggerFired};

use crate::host::Host;
use crate::memory::Memory;
use crate::source::Connection;
use refusals::{Deed, Refusals};

/// A limit is not waited for longer than this: other things are under way, and all of them are tried again.
const PATIENCE: Duration = Duration::from_secs(20);
/// What failed and may pass is tried again after this long.
const TRY_AGAIN_MS: u64 = 20_000;

/// How the state of jobs is shown at GitHub.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reports {
    /// Not at all.
    #[default]
    Off,
    /// As check runs, which only an app may make.
    Checks,
    /// As commit statuses, which any token with push rights may set.
    Statuses,
}

/// What is done about workflows that GitHub would run as well.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doubles {
    /// Nothing; it is said.
    #[default]
    Leave,
    /// GitHub's queued run of the same commit is cancelled once a peer has a job of ours.
    Cancel,
    /// The workflow is disabled there, unless it may fall back.
    Disable,
}

/// What may be done at GitHub.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OutsideOptions {
    /// Hand over what no peer takes.
    pub falls_back: bool,
    /// Let a ref decide who hands over, so that members which do not hear each other do it once. How GitHub's own service behaves
    /// under contention is unproven.
    pub asks_a_ref: bool,
    /// Show jobs beside their commits.
    pub reports: Reports,
    /// What to do about workflows that run twice.
    pub doubles: Doubles,
    /// The address of a run, with `{run}` in it, for whoever reads a report.
    pub details_url: Option<String>,
}

/// What one node does at one GitHub.
#[derive(Debug)]
pub struct Outside<H> {
    host: Arc<H>,
    connection: Connection,
    options: OutsideOptions,
    memory: Memory,
    /// Runs from before are not shown all at once when somebody asks for reports.
    began_ms: u64,
    /// What GitHub refused for good.
    refusals: Refusals,
    /// What failed, and when to try it again.
    later: BTreeMap<(RunId, Deed), u64>,
    reported: reports::Reported,
    /// Runs whose doubles were looked for.
    looked_for_doubles: BTreeSet<RunId>,
    /// Workflows that were disabled.
    disabled: BTreeSet<String>,
}

impl<H: Host> Outside<H> {
    /// The way to one GitHub.
    pub fn new(host: Arc<H>, connection: Connection, options: OutsideOptions) -> Self {
        let client = connection.client.with_patience(PATIENCE);
        Self {
            began_ms: host.wall_ms(),
            host,
            connection: Connection { client, ..connection },
            options,
            memory: Memory::default(),
            refusals: Refusals::default(),
            later: BTreeMap::new(),
            reported: reports::Reported::default(),
            looked_for_doubles: BTreeSet::new(),
            disabled: BTreeSet::new(),
        }
    }

    /// Runs in memory that this node may do something for at this GitHub, of those that `are_wanted`.
    fn own_runs(&self, are_wanted: impl Fn(&Run) -> bool) -> Vec<(Run, Arc<TriggerFired>)> {
        let views = self.host.watcher().views();
        let own = self.host.peer();
        let runs = views.runs().all_live().filter(|run| are_wanted(run));
        runs.filter_map(|run| {
            let trigger = own_trigger(run, own).filter(|trigger| self.is_here(trigger))?;
            Some((run.clone(), Arc::clone(trigger)))
        })
        .collect()
    }

    fn is_here(&self, trigger: &TriggerFired) -> bool {
        trigger.repository.source == self.connection.host
    }

    /// Looks after everything that is under way at GitHub. Says what went wrong, a line each.
    pub async fn tend(&mut self) -> Vec<String> {
        let mut said = self.follow(None).await;
        said.extend(self.show().await);
        said
    }

    /// Shows jobs beside their commits, and sees to what runs twice. Says what is wrong, a line each; what GitHub refuses for good is
    /// said every time and tried once.
    pub async fn show(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        if self.options.reports != Reports::Off {
            said.extend(self.report_all().await);
        }
        if self.options.doubles == Doubles::Cancel {
            said.extend(self.cancel_doubles().await);
        }
        if self.options.doubles == Doubles::Disable {
            said.extend(self.disable_doubles().await);
        }
        said.extend(self.refusals.lines());
        said
    }

    /// Whether something that failed is left alone until its time comes.
    fn rests(&self, run: RunId, deed: Deed) -> bool {
        self.later.get(&(run, deed)).is_some_and(|at| self.host.wall_ms() < *at)
    }

    /// Notes how a deed for a run went: what failed is left alone for a while.
    fn note<T>(&mut self, run: RunId, deed: Deed, outcome: &Result<T, String>) {
        let now = self.host.wall_ms();
        self.later.retain(|_, at| now < *at);
        if outcome.is_err() {
            self.later.insert((run, deed), now.saturating_add(TRY_AGAIN_MS));
        }
    }
}

/// The trigger of a run that a member may act for: it wrote the submission that counts, and the trigger is of what that froze.
/// Otherwise one member could have another one speak to GitHub about any repository and commit.
fn own_trigger(run: &Run, own: PeerId) -> Option<&Arc<TriggerFired>> {
    let (trigger, submitted) = (run.trigger.as_ref()?, run.submitted.as_ref()?);
    let RunSpec::Workflow(spec) = &submitted.spec else { return None };
    let is_own = run.submission().is_some_and(|submission| submission.author == own);
    let agrees = trigger.repository.name == submitted.frozen.repository
        && trigger.sha == submitted.frozen.sha
        && trigger.git_ref == submitted.frozen.ref_name
        && trigger.path == spec.path;
    (is_own && agrees).then_some(trigger)
}

/// A branch or tag without the folder it lies in.
fn short_name(git_ref: &str) -> &str {
    git_ref.strip_prefix("refs/heads/").or_else(|| git_ref.strip_prefix("refs/tags/")).unwrap_or(git_ref)
}

/// The name of a workflow file, by which GitHub knows the workflow.
fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// What was reported of jobs, by job.
type ByJob<T> = BTreeMap<JobId, T>;
