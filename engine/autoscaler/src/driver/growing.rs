//! Starts what is missing: which jobs are this node's business, whether there is room, and whether anything can be started at all.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use wfengine_core::command::Command;
use wfengine_core::time::Monotonic;
use wfengine_core::views::runners::Runner;
use wfengine_storage_format::{RunnerCause, RunnerIntended};

use super::seeing::Sight;
use super::{Asked, Autoscaler, FIREWALL_EVERY, Stepped, TASKS_MAX, of_scope};
use crate::demand::Refusal;
use crate::firewall;
use crate::look::held;
use crate::pool::{DockerAccess, Pull, RunnerNetwork};
use crate::port::{Containers, Host};
use crate::scale::{Answer, Scaling, Waiting, Wish, scale};
use crate::work::{Done, Fault, alive};

impl<H: Host, C: Containers> Autoscaler<H, C> {
    /// Starts what is missing.
    pub(super) async fn grow(
        &mut self,
        runners: &[Runner],
        sight: &Sight<'_>,
        room: u32,
        now: Monotonic,
        stepped: &mut Stepped,
    ) {
        let (active, most) = (self.wants().active, self.shop.pool.runners_max);
        let room = room.min(most.saturating_sub(active)).min(self.cluster_room());
        let jobs = held(&self.board).jobs.clone();
        self.backoff.forget(now);
        let mut floors = self.floors();
        floors.retain(|scope, _| self.backoff.held_until(&of_scope(scope), now).is_none());
        let scaled = {
            let mut waiting = Vec::new();
            for seen in jobs.values() {
                let scope = self.shop.pool.scope_of(&seen.job.repository).to_string();
                match self.backoff.held_until(&of_scope(&scope), now) {
                    None => waiting.push(self.waiting(seen)),
                    Some(until) => stepped.next = stepped.next.min(until),
                }
            }
            waiting.sort_by_key(|waiting| (waiting.job.created_s, waiting.job.job));
            let scaling = Scaling {
                pool: &self.shop.pool,
                waiting: if self.is_on { waiting } else { Vec::new() },
                free: self.free(runners, sight, now),
                answers: self.others_answers(),
                floors,
                room,
                turn: self.turn,
                now,
            };
            scale(&scaling)
        };
        if let Some(next) = scaled.next {
            stepped.next = stepped.next.min(next);
        }
        self.last_without_room = scaled.without_room;
        let at_capacity = (scaled.without_room > 0 && active >= most).then_some((active, most));
        if at_capacity.is_some() && self.was_at_capacity != at_capacity {
            stepped.lines.push(format!("At capacity: {active}/{most} runners active"));
        }
        self.was_at_capacity = at_capacity;
        let mut wishes = scaled.wishes;
        let refused = self.scopes_with_strangers();
        wishes.retain(|wish| !refused.contains(&wish.scope));
        // after a failure one is tried before all of them are
        if self.backoff.troubles().any(|(reason, _)| reason.starts_with("start/")) {
            wishes.truncate(1);
        }
        let left = usize::try_from(room).unwrap_or(usize::MAX).saturating_sub(wishes.len());
        let mut asked: VecDeque<Asked> = VecDeque::new();
        let waiting_asked = std::mem::take(&mut self.asked);
        for one in waiting_asked {
            if asked.len() < left {
                wishes.push(Wish { scope: one.scope.clone(), cause: RunnerCause::Asked });
                asked.push_back(one);
            } else {
                let what = format!("At capacity: {active}/{most} runners active");
                let remedy = "raise --max-runners, or stop runners that are not needed".to_owned();
                let _ = one.answer.send(Err(Fault { reason: "capacity".to_owned(), what, remedy }));
            }
        }
        if wishes.is_empty() {
            return;
        }
        if let Err(fault) = self.ready_to_start(now).await {
            for one in asked {
                let _ = one.answer.send(Err(fault.clone()));
            }
            if let Some(until) = self.backoff.held_until("start/", now) {
                stepped.next = stepped.next.min(until);
            }
            return;
        }
        for wish in wishes {
            if self.tasks.len() >= TASKS_MAX {
                // the end of a task calls for the next step
                self.asked.extend(asked);
                return;
            }
            let answer = (wish.cause == RunnerCause::Asked).then(|| asked.pop_front()).flatten();
            self.begin(wish, answer, stepped).await;
        }
    }

    /// Scopes where a job of a fork waits that may not run here. GitHub gives a runner any job that it matches, so none is started there.
    fn scopes_with_strangers(&self) -> BTreeSet<String> {
        let board = held(&self.board);
        let strangers = board.refused.values().filter(|(_, why)| matches!(why, Refusal::Fork(_)));
        strangers.map(|(job, _)| self.shop.pool.scope_of(&job.repository).to_string()).collect()
    }

    fn waiting<'a>(&self, seen: &'a crate::board::JobSeen) -> Waiting<'a> {
        let pool = &self.shop.pool;
        let scope = pool.scope_of(&seen.job.repository).to_string();
        let source = self.shop.client.settings().host();
        let among: Vec<wfengine_storage_format::PeerId> = {
            let views = self.shop.host.watcher().views();
            let serves = |other: &&wfengine_core::views::runners::Pool| {
                other.said.is_on
                    && other.said.runners_max > 0
                    && crate::pool::offers(&other.said.labels, &seen.job.labels)
                    && other.said.source == source
                    && covers(&other.said.scopes, &seen.job.repository)
            };
            let members: BTreeSet<_> =
                views.runners().all_pools().filter(serves).map(|pool| pool.author).collect();
            members.into_iter().collect()
        };
        Waiting {
            job: &seen.job,
            since: seen.since,
            asked_at: seen.asked_at,
            place: self.shop.host.place_for(&seen.job.job.to_string(), &among),
            is_stale: self.changed.get(&scope).is_some_and(|at| seen.asked_at <= *at),
        }
    }

    fn others_answers(&self) -> Vec<Answer> {
        let own = self.shop.host.peer();
        let alive = alive(&*self.shop.host);
        let now = self.shop.host.now();
        let board = held(&self.board);
        let views = self.shop.host.watcher().views();
        let others = views.runners().live().filter(|runner| runner.author != own && runner.exited.is_none());
        let answer = |runner: &Runner| {
            let registered = board.registration(&runner.intended.scope, &runner.intended.name).flatten();
            let job = match &runner.intended.cause {
                RunnerCause::Job { job, .. } => Some(*job),
                // it waits there for whatever comes
                _ if registered.is_some_and(|seen| seen.is_online && !seen.is_busy) => None,
                _ => return None,
            };
            Some(Answer {
                scope: runner.intended.scope.clone(),
                labels: runner.intended.labels.clone(),
                job,
                is_alive: alive.contains(&runner.author),
                busy_at: board
                    .registered
                    .get(&runner.intended.scope)
                    .filter(|_| self.not_free.contains(&runner.intent))
                    .map(|registered| registered.asked_at),
                since: self.others.get(&runner.intent).map_or(now, |(_, since)| *since),
            })
        };
        others.filter_map(answer).collect()
    }

    /// How many more all hosts together may have.
    fn cluster_room(&self) -> u32 {
        let pool = &self.shop.pool;
        if pool.cluster_max == 0 {
            return u32::MAX;
        }
        let alive = alive(&*self.shop.host);
        let views = self.shop.host.watcher().views();
        let there = views.runners().live().filter(|runner| {
            runner.intended.pool == pool.name && runner.exited.is_none() && alive.contains(&runner.author)
        });
        pool.cluster_max.saturating_sub(u32::try_from(there.count()).unwrap_or(u32::MAX))
    }

    /// Whether anything can be started now: nothing holds it off, the host is closed to runners, the image is there.
    async fn ready_to_start(&mut self, now: Monotonic) -> Result<(), Fault> {
        if let Some((_, trouble)) = self.backoff.troubles().find(|(reason, trouble)| {
            (reason.starts_with("start/") || reason.starts_with("list/")) && now < trouble.next_try
        }) {
            return Err(Fault {
                reason: "held-off".to_owned(),
                what: trouble.what.clone(),
                remedy: trouble.remedy.clone(),
            });
        }
        if let Err(fault) = self.close_the_host(now).await {
            self.fail("start", &fault);
            return Err(fault);
        }
        let found = self.find_images().await;
        if let Err(fault) = &found {
            self.fail("start", fault);
        }
        found
    }

    pub(super) async fn close_the_host(&mut self, now: Monotonic) -> Result<(), Fault> {
        let policy = &self.shop.pool.policy;
        if policy.network != RunnerNetwork::Own || policy.allows_host {
            return Ok(());
        }
        if self.firewall_at.is_some_and(|at| now - at < FIREWALL_EVERY) {
            return Ok(());
        }
        firewall::close(&self.shop.host.peer().to_string(), &self.openings).await.map_err(|error| Fault {
            reason: "firewall".to_owned(),
            what: error.to_string(),
            remedy: error.remedy().to_owned(),
        })?;
        self.firewall_at = Some(now);
        self.backoff.heal("start/firewall");
        Ok(())
    }

    /// The images that a runner is made from: the pool's, and that of the engine beside it.
    async fn find_images(&mut self) -> Result<(), Fault> {
        let policy = &self.shop.pool.policy;
        let mut images = vec![(policy.image.clone(), policy.user.clone())];
        if policy.docker == DockerAccess::RootlessSidecar {
            images.push((policy.sidecar_image.clone(), None));
        }
        for (reference, user) in images {
            self.find_image(&reference, user).await?;
        }
        for healed in ["pulling", "engine-image-missing", "image-architecture", "image-root"] {
            self.backoff.heal(&format!("start/{healed}"));
        }
        Ok(())
    }

    async fn find_image(&mut self, reference: &str, user: Option<String>) -> Result<(), Fault> {
        let image = match self.shop.engine.image(reference).await {
            Ok(image) => image,
            Err(wfengine_docker::EngineError::ImageMissing { .. })
                if self.shop.pool.policy.pull != Pull::Never =>
            {
                self.pull(reference);
                return Err(Fault {
                    reason: "pulling".to_owned(),
                    what: format!("the image {reference} is being pulled"),
                    remedy: "wait".to_owned(),
                });
            }
            Err(error) => return Err(error.into()),
        };
        if image.architecture != self.shop.info.architecture {
            return Err(Fault {
                reason: "image-architecture".to_owned(),
                what: format!(
                    "the image {reference} is for {}, this engine for {}",
                    image.architecture, self.shop.info.architecture
                ),
                remedy: "name an image for this architecture".to_owned(),
            });
        }
        let user = user.or(image.user).unwrap_or_default();
        if matches!(user.split(':').next().unwrap_or_default(), "" | "0" | "root") {
            let remedy = match self.shop.pool.policy.is_third_party() {
                true => "name the user of its runner: --user runner",
                false => "name a user with --user, or another image",
            };
            return Err(Fault {
                reason: "image-root".to_owned(),
                what: format!("the image {reference} runs as root"),
                remedy: remedy.to_owned(),
            });
        }
        Ok(())
    }

    fn pull(&mut self, reference: &str) {
        if self.is_pulling {
            return;
        }
        self.is_pulling = true;
        let (shop, reference) = (Arc::clone(&self.shop), reference.to_owned());
        self.set_going(None, async move {
            let pulled = shop.engine.pull(&reference, shop.credentials.as_ref()).await;
            Done::Pulled(pulled.err().map(Fault::from))
        });
    }

    /// Writes the intent down, and sets to work.
    async fn begin(&mut self, wish: Wish, asked: Option<Asked>, stepped: &mut Stepped) {
        let random = self.shop.host.random();
        let name = format!("{}{}", self.prefix, data_encoding::HEXLOWER.encode(&random));
        let intended = RunnerIntended {
            pool: self.shop.pool.name.clone(),
            name: name.clone(),
            source: self.shop.client.settings().host().to_owned(),
            scope: wish.scope.clone(),
            labels: self.shop.pool.labels.clone(),
            cause: wish.cause,
        };
        let receipt = match self.shop.host.ask(Command::IntendRunner(intended.clone())).await {
            Ok(receipt) => receipt,
            Err(error) => {
                let fault = Fault::from(error);
                self.fail("start", &fault);
                if let Some(asked) = asked {
                    let _ = asked.answer.send(Err(fault));
                }
                return;
            }
        };
        let Some(intent) = receipt.events.first().copied() else { return };
        stepped.lines.push(format!("starting {name} for {}", wish.scope));
        if let Some(asked) = asked {
            self.answers.insert(intent, (name, asked.answer));
        }
        let shop = Arc::clone(&self.shop);
        self.spawn(intent, async move { shop.start(intent, &intended).await });
    }
}

/// Whether what a member's pool looks at takes in a repository.
fn covers(scopes: &[String], repository: &str) -> bool {
    let owner = repository.split('/').next().unwrap_or_default();
    scopes.is_empty()
        || scopes
            .iter()
            .any(|scope| scope.eq_ignore_ascii_case(repository) || scope.eq_ignore_ascii_case(owner))
}
