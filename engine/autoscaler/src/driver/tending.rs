//! One step for each runner that there is, and for what is left of those that were.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use wfengine_core::time::Monotonic;
use wfengine_core::views::runners::Runner;
use wfengine_storage_format::{RunnerCause, RunnerEnd, RunnerJob};

use super::seeing::Sight;
use super::{Autoscaler, GHOST_AFTER, ORPHANED_AFTER, PARTS_EVERY, SIZES_AGAIN, SIZES_EVERY, TASKS_MAX};
use crate::container::{LABEL_INTENT, LABEL_MANAGED, LABEL_PEER, LABEL_POOL};
use crate::look::held;
use crate::port::{Containers, Host};
use crate::reconcile::{ContainerSeen, Seen, Step, Track, Why, decide};
use crate::scale::{FreeRunner, Scaling, Waiting, scale};
use crate::work::{Done, Fault, alive};

impl<H: Host, C: Containers> Autoscaler<H, C> {
    /// One step for each own runner.
    pub(super) fn tend(&mut self, runners: &[Runner], sight: &Sight<'_>, now: Monotonic) {
        let mut spare = self.spare(runners, sight, now);
        for runner in runners {
            let seen = sight.of(runner, self.tracks.get(&runner.intent), now);
            let jobs_wait = {
                let board = held(&self.board);
                let fits = |seen: &&crate::board::JobSeen| {
                    self.shop.pool.scope_of(&seen.job.repository).to_string() == runner.intended.scope
                        && crate::pool::offers(&runner.intended.labels, &seen.job.labels)
                };
                board.jobs.values().any(|seen| fits(&seen))
            };
            if let Some(taken) = held(&self.board).taken.get(&runner.intended.name) {
                let ran = RunnerJob { repository: taken.repository.clone(), run: taken.run, job: taken.job };
                self.ran.insert(runner.intent, ran);
            }
            let track = self.tracks.entry(runner.intent).or_insert_with(|| Track::new(now));
            let was_free = track.is_free(&seen.before_it_ended());
            track.see(&seen, jobs_wait, now);
            let track = *track;
            if was_free && !track.is_free(&seen) && self.not_free.insert(runner.intent) {
                // it has taken a job: what was asked for before may still show that job as waiting
                let at = match seen.container {
                    Seen::There(ContainerSeen::Running) => {
                        sight.asked_at(&runner.intended.scope).unwrap_or(now)
                    }
                    _ => now,
                };
                self.note_change(&runner.intended.scope, at);
            }
            if self.under_way.contains(&runner.intent) || self.tasks.len() >= TASKS_MAX {
                continue;
            }
            if self.again.get(&runner.intent).is_some_and(|at| now < *at) {
                continue;
            }
            let is_unwanted = !self.is_on || self.replaced.contains(&runner.intent);
            let left = spare.entry(runner.intended.scope.clone()).or_default();
            let is_spare = is_unwanted || *left > 0;
            let step = match decide(&track, &seen, &self.timing(is_unwanted), is_spare, now) {
                Step::Drain(_) if is_unwanted => Step::Drain(Why::Unwanted),
                step => step,
            };
            if step == Step::Drain(Why::Idle) && !is_unwanted {
                *left -= 1;
            }
            self.act(runner, step, &track, sight);
        }
    }

    /// Runners that wait beyond what jobs and floors need, by scope.
    pub(super) fn spare(
        &self,
        runners: &[Runner],
        sight: &Sight<'_>,
        now: Monotonic,
    ) -> BTreeMap<String, u32> {
        let free = self.free(runners, sight, now);
        let jobs = held(&self.board).jobs.clone();
        let waiting = jobs.values().map(|seen| Waiting {
            job: &seen.job,
            since: seen.since,
            asked_at: seen.asked_at,
            place: 0,
            is_stale: true,
        });
        let scaling = Scaling {
            pool: &self.shop.pool,
            waiting: waiting.collect(),
            free,
            answers: Vec::new(),
            floors: BTreeMap::new(),
            room: 0,
            turn: self.turn,
            now,
        };
        let mut spare = scale(&scaling).spare;
        for (scope, floor) in self.floors() {
            if let Some(count) = spare.get_mut(&scope) {
                *count = count.saturating_sub(floor);
            }
        }
        spare
    }

    pub(super) fn free(&self, runners: &[Runner], sight: &Sight<'_>, now: Monotonic) -> Vec<FreeRunner> {
        let is_free = |runner: &&Runner| {
            let track = self.tracks.get(&runner.intent);
            let seen = sight.of(runner, track, now);
            let is_broken = self.replaced.contains(&runner.intent);
            runner.exited.is_none() && !is_broken && track.is_none_or(|track| track.is_free(&seen))
        };
        let free = runners.iter().filter(is_free).map(|runner| FreeRunner {
            scope: runner.intended.scope.clone(),
            labels: runner.intended.labels.clone(),
            job: match &runner.intended.cause {
                RunnerCause::Job { job, .. } => Some(*job),
                RunnerCause::Idle | RunnerCause::Asked => None,
            },
        });
        free.collect()
    }

    fn act(&mut self, runner: &Runner, step: Step, track: &Track, sight: &Sight<'_>) {
        let shop = Arc::clone(&self.shop);
        let (intent, intended) = (runner.intent, runner.intended.clone());
        let ran = self.ran.get(&intent).cloned();
        match step {
            Step::Wait => {}
            Step::Adopt => {
                let Some(container) = sight.container(&intended.name) else { return };
                let (id, image) = (container.id.clone(), container.image.clone());
                self.spawn(intent, async move { shop.adopt(intent, &intended, &id, &image).await });
            }
            Step::GiveUp => self.spawn(intent, async move { shop.give_up(intent).await }),
            Step::Conclude { exit_code: Some(0), out_of_memory: false }
                if !track.was_busy() && ran.is_none() =>
            {
                self.spawn(intent, async move { shop.conclude_unseen(intent, &intended.name).await });
            }
            Step::Conclude { exit_code, out_of_memory } => {
                let (end, fault) =
                    verdict(&intended.name, exit_code, out_of_memory, track.was_busy() || ran.is_some());
                self.spawn(
                    intent,
                    async move { shop.conclude(intent, &intended.name, end, ran, fault).await },
                );
            }
            Step::Drain(why) => {
                let Some(id) = sight.registration(&intended.scope, &intended.name).map(|seen| seen.id) else {
                    return;
                };
                let text = why.text();
                tracing::info!(runner = intended.name, "is removed: {text}");
                self.spawn(
                    intent,
                    async move { shop.drain(intent, &intended, id, text, why.is_fault()).await },
                );
            }
            Step::Kill(why @ Why::Unregistered) => {
                let id = runner.started.as_ref().map_or(0, |(_, _, started)| started.runner);
                self.spawn(intent, async move {
                    shop.end_unregistered(intent, &intended, id, why.text(), ran).await
                });
            }
            Step::Kill(why) => {
                tracing::warn!(runner = intended.name, "is ended: {}", why.text());
                self.spawn(intent, async move {
                    shop.end(intent, &intended.name, why.text(), true, Duration::from_secs(1), ran).await
                });
            }
            Step::Clean => {
                let id = runner.started.as_ref().map_or(0, |(_, _, started)| started.runner);
                self.spawn(intent, async move { shop.clean(intent, &intended, id).await });
            }
        }
    }

    /// What the engine has of this node and this pool, and no event speaks of, is removed: the log it was in is gone, or older.
    pub(super) async fn remove_strangers(&mut self, sight: &Sight<'_>, runners: &[Runner], now: Monotonic) {
        let mut names = sight.strangers(runners);
        names.extend(self.strange_parts(now).await);
        for name in names {
            tracing::warn!(runner = name, "the engine has it and no event speaks of it: it is removed");
            if let Err(fault) = self.shop.remove_container_parts(&name).await {
                self.fail("clean", &fault);
            }
        }
    }

    /// Names of networks and volumes that no event speaks of, whether they have a container or not. Now and then.
    async fn strange_parts(&mut self, now: Monotonic) -> BTreeSet<String> {
        if self.parts_at.is_some_and(|at| now - at < PARTS_EVERY) {
            return BTreeSet::new();
        }
        self.parts_at = Some(now);
        let peer = self.shop.host.peer().to_string();
        let labels =
            [(LABEL_MANAGED, "1"), (LABEL_PEER, peer.as_str()), (LABEL_POOL, self.shop.pool.name.as_str())];
        // an engine that cannot tell now is asked again
        let mut parts = self.shop.engine.networks(&labels).await.unwrap_or_default();
        parts.extend(self.shop.engine.volumes(&labels).await.unwrap_or_default());
        // an intent is in the log before its parts are made, so what was listed is known by now
        let known: BTreeSet<String> = self.own().iter().map(|runner| runner.intent.to_string()).collect();
        let is_strange = |made: &wfengine_docker::Made| {
            made.labels.get(LABEL_INTENT).is_none_or(|intent| !known.contains(intent))
        };
        parts.into_iter().filter(is_strange).map(|made| made.name).collect()
    }

    /// Registrations of this cluster's runners that nobody stands behind.
    pub(super) fn delete_ghosts(&mut self, runners: &[Runner], now: Monotonic) {
        let registered: Vec<(String, String, u64, bool, bool)> = {
            let board = held(&self.board);
            let all = board.registered.iter().flat_map(|(scope, registered)| {
                let ours = registered.by_name.iter().filter(|(name, _)| name.starts_with(&self.prefix));
                ours.map(move |(name, seen)| {
                    (scope.clone(), name.clone(), seen.id, seen.is_online, seen.is_busy)
                })
            });
            all.collect()
        };
        let (own, alive) = (self.shop.host.peer(), alive(&*self.shop.host));
        let mut strange = BTreeMap::new();
        for (scope, name, id, is_online, is_busy) in registered {
            if runners.iter().any(|runner| runner.intended.name == name) || is_online || is_busy {
                continue;
            }
            let limit = {
                let views = self.shop.host.watcher().views();
                match views.runners().live().find(|runner| runner.intended.name == name) {
                    Some(runner) if runner.author == own => continue,
                    Some(runner) if alive.contains(&runner.author) => continue,
                    Some(_) => ORPHANED_AFTER,
                    None => GHOST_AFTER,
                }
            };
            let key = (scope.clone(), name.clone());
            let since = self.strange.get(&key).copied().unwrap_or(now);
            strange.insert(key, since);
            // one member of the cluster does it; the others find it gone
            if now - since >= limit && self.tasks.len() < TASKS_MAX {
                // if it does not go, it is tried again as late
                strange.insert((scope.clone(), name.clone()), now);
                let shop = Arc::clone(&self.shop);
                tracing::warn!(runner = name, scope, "nobody stands behind this registration: it is deleted");
                self.set_going(None, async move {
                    match shop.delete_ghost(&scope, id).await {
                        Ok(()) => Done::Unchanged,
                        Err(fault) => Done::Again(fault),
                    }
                });
            }
        }
        self.strange = strange;
    }

    /// A workspace that grew too large ends its runner, before it fills the disk for all others.
    pub(super) fn measure(&mut self, runners: &[Runner], sight: &Sight<'_>, now: Monotonic) {
        let every = self.shop.pool.interval().clamp(SIZES_AGAIN, SIZES_EVERY);
        if now - self.sizes_at < every {
            return;
        }
        self.sizes_at = now;
        let most = self.shop.pool.policy.workspace_bytes;
        for runner in runners {
            let (intent, name) = (runner.intent, runner.intended.name.clone());
            if !sight.runs(&name) || self.under_way.contains(&intent) || self.tasks.len() >= TASKS_MAX {
                continue;
            }
            let (shop, ran) = (Arc::clone(&self.shop), self.ran.get(&intent).cloned());
            self.spawn(intent, async move {
                // what cannot be measured is said where the pool begins
                let size = shop.engine.size_bytes(&name).await.ok().flatten().unwrap_or(0);
                if size <= most {
                    return Done::Unchanged;
                }
                let why = format!("its workspace grew to {} MiB, {} MiB are allowed", size >> 20, most >> 20);
                tracing::warn!(runner = name, "is ended: {why}");
                shop.end(intent, &name, &why, true, Duration::from_secs(1), ran).await
            });
        }
    }
}

/// How a container's end is written down, and whether it is a failure that others would share.
fn verdict(
    name: &str,
    exit_code: Option<i64>,
    out_of_memory: bool,
    had_a_job: bool,
) -> (RunnerEnd, Option<Fault>) {
    let failed = |what: String, is_start: bool| {
        let fault = is_start.then(|| Fault {
            reason: "runner".to_owned(),
            what: format!("Container failed to start: {name} {what}"),
            remedy: format!("see what it printed: wfengine runner logs {name}"),
        });
        (RunnerEnd::Failed { what }, fault)
    };
    match exit_code {
        None => failed("its container is gone".to_owned(), false),
        Some(_) if out_of_memory => failed("ran out of memory".to_owned(), false),
        Some(0) => (RunnerEnd::Done { exit_code: 0 }, None),
        Some(7) => failed("says that its version is too old for GitHub (7)".to_owned(), true),
        Some(code) => failed(format!("ended with {code}"), !had_a_job),
    }
}
