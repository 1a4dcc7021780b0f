//! Leases between short commands. Where no node serves, no process lives that could end them: they are written down, and whoever
//! asks for a task next gives back what is held on leases that ended.
//!
//! A lease is counted on the clock that goes on while the host sleeps; one from before the last boot is over.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wfengine_api::Failure;
use wfengine_core::command::Command;
use wfengine_core::views::job::Claim;
use wfengine_storage_format::{EventId, JobReleased, ReleaseReason};

use super::{Mode, Node, held};
use crate::clock::since_boot;
use crate::home::{Settings, boot_id};

/// Until when a program holds a task.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Lease {
    /// Names the boot that the time counts from.
    boot: String,
    /// Milliseconds since then.
    until_ms: u64,
}

impl Lease {
    fn of(length: Duration) -> Self {
        let until = since_boot().saturating_add(length).as_millis();
        Self { boot: boot_id(), until_ms: u64::try_from(until).unwrap_or(u64::MAX) }
    }

    /// How long it lasts from now on; nothing when it is over.
    fn rest(&self) -> Duration {
        if self.boot != boot_id() {
            return Duration::ZERO;
        }
        Duration::from_millis(self.until_ms).saturating_sub(since_boot())
    }
}

impl Node {
    /// Writes down a lease that this process will not live to end. A node that serves counts its leases itself.
    pub(crate) fn keep_lease(&self, claim: EventId, length: Duration) {
        if self.mode == Mode::Command
            && let Err(error) =
                self.keep(|settings| drop(settings.leases.insert(claim.to_string(), Lease::of(length))))
        {
            tracing::warn!(%error.message, "a lease was not written down; the next command ends it");
        }
    }

    /// Extends the lease of a task that an earlier command handed out. Whether there is one that is not over.
    pub(crate) fn extend_kept_lease(&self, claim: &EventId, length: Duration) -> Result<bool, Failure> {
        let mut extended = false;
        self.keep(|settings| {
            if let Some(lease) =
                settings.leases.get_mut(&claim.to_string()).filter(|lease| !lease.rest().is_zero())
            {
                *lease = Lease::of(length);
                extended = true;
            }
        })?;
        Ok(extended)
    }

    /// Gives back the tasks of earlier commands whose lease is over. Says when the next lease ends. What this process handed out is
    /// its scheduler's, a claim included that is written and not answered yet.
    pub(super) async fn end_leases(&self) -> Option<Duration> {
        let ours = self.look(|scheduler, _, _| scheduler.held_claims());
        let leased: Vec<JobReleased> = {
            let views = self.watcher().views();
            let open = views.runs().all_live().filter(|run| run.is_task() && !run.status.is_terminal());
            let held = open.flat_map(|run| run.jobs.values().map(|job| (run.id, job)));
            let kept = held.filter_map(|(run, job)| {
                let is_inherited =
                    |claim: &&Claim| claim.chain == self.store.chain() && claim.seq < self.inherited_len;
                let claim = job.holder().filter(is_inherited)?;
                Some(JobReleased { run, job: job.id, claim: claim.id, reason: ReleaseReason::LeaseEnded })
            });
            kept.collect()
        };
        let leases = self.settings().leases;
        let (mut next, mut ended): (Option<Duration>, bool) = (None, false);
        for body in &leased {
            let rest = leases.get(&body.claim.to_string()).map_or(Duration::ZERO, Lease::rest);
            if !rest.is_zero() {
                next = Some(next.map_or(rest, |next| next.min(rest)));
                continue;
            }
            ended = true;
            if let Err(error) = self.ask(Command::Release(body.clone())).await {
                tracing::warn!(run = %body.run, %error, "a task whose lease is over was not given back");
            }
        }
        if ended {
            self.all_told().await;
        }
        let still = leased.iter().map(|body| &body.claim).chain(&ours);
        let still: BTreeSet<String> = still.map(EventId::to_string).collect();
        let is_held = |claim: &str| still.contains(claim);
        if leases.keys().any(|claim| !is_held(claim)) {
            let kept = self.keep(|settings| {
                settings.leases.retain(|claim, lease| is_held(claim) || !lease.rest().is_zero())
            });
            if let Err(error) = kept {
                tracing::warn!(%error.message, "leases that are over stay written down");
            }
        }
        next
    }

    /// Changes settings that the scheduler has nothing to do with.
    fn keep(&self, change: impl FnOnce(&mut Settings)) -> Result<(), Failure> {
        let mut settings = held(&self.settings);
        let mut changed = settings.clone();
        change(&mut changed);
        if changed != *settings {
            self.home.keep_settings(&changed)?;
            *settings = changed;
        }
        Ok(())
    }
}
