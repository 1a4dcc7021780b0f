//! The way back to GitHub: runs that no peer takes are handed over, what became of them is followed, jobs are shown beside their
//! commits, and a run that GitHub has queued beside ours is cancelled.
//!
//! An intent is in the log before anything leaves this host. What cannot be known to have happened is not tried again.

mod doubles;
mod fallback;
mod reports;

pub use reports::{ANNOTATIONS, KeptAnnotation};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wfengine_core::views::run::Run;
use wfengine_storage_format::{JobId, RunId};

use crate::host::Host;
use crate::memory::Memory;
use crate::source::Connection;

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
    /// The workflow is disabled there.
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
    /// What was reported of a job last.
    reported: BTreeMap<JobId, String>,
    /// Runs whose doubles were looked for.
    looked_for_doubles: BTreeSet<RunId>,
    /// Workflows that were disabled, or could not be.
    disabled: BTreeSet<String>,
    /// Hand-overs of this process: others of this node were left open by an earlier one.
    own_intents: BTreeSet<wfengine_storage_format::EventId>,
}

impl<H: Host> Outside<H> {
    /// The way to one GitHub.
    pub fn new(host: Arc<H>, connection: Connection, options: OutsideOptions) -> Self {
        Self {
            host,
            connection,
            options,
            memory: Memory::default(),
            reported: BTreeMap::new(),
            looked_for_doubles: BTreeSet::new(),
            disabled: BTreeSet::new(),
            own_intents: BTreeSet::new(),
        }
    }

    /// Runs in memory that this node submitted for a trigger at this GitHub.
    fn own_runs(&self) -> Vec<Run> {
        let views = self.host.watcher().views();
        let own = self.host.peer();
        let here = |run: &&Run| {
            let of_host =
                run.trigger.as_ref().is_some_and(|trigger| trigger.repository.source == self.connection.host);
            of_host && run.submission().is_some_and(|submission| submission.author == own)
        };
        views.runs().all_live().filter(here).cloned().collect()
    }

    /// Looks after everything that is under way at GitHub. Says what went wrong, a line each.
    pub async fn tend(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        for run in self.own_runs() {
            if let Err(why) = self.follow(&run).await {
                said.push(format!("run {}: {why}", run.id.short()));
            }
            if self.options.reports != Reports::Off
                && let Err(why) = self.report(&run).await
            {
                said.push(format!("run {}: its jobs are not shown at GitHub: {why}", run.id.short()));
            }
            if self.options.doubles == Doubles::Cancel
                && let Err(why) = self.cancel_double(&run).await
            {
                said.push(format!("run {}: GitHub's own run of it was not cancelled: {why}", run.id.short()));
            }
        }
        if self.options.doubles == Doubles::Disable {
            said.extend(self.disable_doubles().await);
        }
        said
    }
}
