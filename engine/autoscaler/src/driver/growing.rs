//! Starts what is missing: which jobs are this node's business, whether there is room, and whether anything can be started at all.

use std::collections::BTreeSet;
use std::sync::Arc;

use wfengine_core::command::Command;
use wfengine_core::time::Monotonic;
use wfengine_core::views::runners::Runner;
use wfengine_storage_format::{RunnerCause, RunnerIntended};

use super::seeing::Sight;
use super::{Asked, Autoscaler, FIREWALL_EVERY, Stepped, TASKS_MAX};
use crate::firewall;
use crate::look::held;
use crate::pool::{Pull, RunnerNetwork};
use crate::port::{Containers, Host};
use crate::scale::{Answer, Scaling, Waiting, Wish, scale};
use crate::work::{Done, Fault};

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
        let scaled = {
            let waiting = jobs.values().map(|seen| self.waiting(seen)).collect::<Vec<_>>();
            let mut waiting = waiting;
            waiting.sort_by_key(|waiting| (waiting.job.created_s, waiting.job.job));
            let scaling = Scaling {
                pool: &self.shop.pool,
                waiting: if self.is_on { waiting } else { Vec::new() },
                free: self.free(runners, sight, now),
                answers: self.others_answers(),
                floors: self.floors(),
                room,
                turn: self.turn,
                now,
            };
            scale(&scaling)
        };
        if let Some(next) = scaled.next {
            stepped.next = stepped.next.min(next);
        }
        self.last_spare = scaled.spare.values().sum();
        self.last_without_room = scaled.without_room;
        let at_capacity = (scaled.without_room > 0 && active >= most).then_some((active, most));
        if at_capacity.is_some() && self.was_at_capacity != at_capacity {
            stepped.lines.push(format!("At capacity: {active}/{most} runners active"));
        }
        self.was_at_capacity = at_capacity;
        let mut wishes = scaled.wishes;
        let left = usize::try_from(room).unwrap_or(usize::MAX).saturating_sub(wishes.len());
        let mut asked: Vec<Asked> = Vec::new();
        let waiting_asked = std::mem::take(&mut self.asked);
        for one in waiting_asked {
            if asked.len() < left {
                wishes.push(Wish { scope: one.scope.clone(), cause: RunnerCause::Asked });
                asked.push(one);
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
                stepped.next = now;
                self.asked.append(&mut asked);
                return;
            }
            let answer = (wish.cause == RunnerCause::Asked).then(|| asked.pop()).flatten();
            self.begin(wish, answer, stepped).await;
        }
    }

    fn waiting<'a>(&self, seen: &'a crate::board::JobSeen) -> Waiting<'a> {
        let pool = &self.shop.pool;
        let scope = pool.scope_of(&seen.job.repository).to_string();
        let among: Vec<wfengine_storage_format::PeerId> = {
            let views = self.shop.host.watcher().views();
            let serves = |other: &&wfengine_core::views::runners::Pool| {
                other.said.is_on
                    && other.said.runners_max > 0
                    && crate::pool::offers(&other.said.labels, &seen.job.labels)
                    && covers(&other.said.scopes, &seen.job.repository)
            };
            let members: BTreeSet<_> =
                views.runners().all_pools().filter(serves).map(|pool| pool.author).collect();
            members.into_iter().collect()
        };
        Waiting {
            job: &seen.job,
            since: seen.since,
            place: self.shop.host.place_for(&seen.job.job.to_string(), &among),
            is_stale: self.changed.get(&scope).is_some_and(|at| seen.asked_at <= *at),
        }
    }

    fn others_answers(&self) -> Vec<Answer> {
        let own = self.shop.host.peer();
        let board = held(&self.board);
        let views = self.shop.host.watcher().views();
        let others = views.runners().live().filter(|runner| runner.author != own && runner.exited.is_none());
        let answer = |runner: &Runner| {
            let RunnerCause::Job { job, .. } = runner.intended.cause else { return None };
            let registered = board.registration(&runner.intended.scope, &runner.intended.name).flatten();
            Some(Answer {
                job,
                is_alive: self.shop.host.is_alive(&runner.author),
                is_busy: registered.is_some_and(|seen| seen.is_busy),
                since: self
                    .others
                    .get(&runner.intent)
                    .map_or_else(|| self.shop.host.now(), |(_, since)| *since),
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
        let views = self.shop.host.watcher().views();
        let there = views.runners().live().filter(|runner| {
            runner.intended.pool == pool.name
                && runner.exited.is_none()
                && self.shop.host.is_alive(&runner.author)
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
        let found = self.find_image(now).await;
        if let Err(fault) = &found {
            self.fail("start", fault);
        }
        found
    }

    async fn close_the_host(&mut self, now: Monotonic) -> Result<(), Fault> {
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

    async fn find_image(&mut self, now: Monotonic) -> Result<(), Fault> {
        let shop = Arc::clone(&self.shop);
        let policy = &shop.pool.policy;
        let image = match self.shop.engine.image(&policy.image).await {
            Ok(image) => image,
            Err(wfengine_docker::EngineError::ImageMissing { .. }) if policy.pull != Pull::Never => {
                self.pull();
                return Err(Fault {
                    reason: "pulling".to_owned(),
                    what: format!("the image {} is being pulled", policy.image),
                    remedy: "wait".to_owned(),
                });
            }
            Err(error) => return Err(error.into()),
        };
        if image.architecture != self.shop.info.architecture {
            return Err(Fault {
                reason: "image-architecture".to_owned(),
                what: format!(
                    "the image {} is for {}, this engine for {}",
                    policy.image, image.architecture, self.shop.info.architecture
                ),
                remedy: "name an image for this architecture with --image".to_owned(),
            });
        }
        let user = policy.user.clone().or(image.user).unwrap_or_default();
        let is_root = matches!(user.split(':').next().unwrap_or_default(), "" | "0" | "root");
        if is_root {
            return Err(Fault {
                reason: "image-root".to_owned(),
                what: format!("the image {} runs as root", policy.image),
                remedy: "name a user with --user, or another image".to_owned(),
            });
        }
        self.image = Some((image.id, now));
        for healed in ["pulling", "engine-image-missing", "image-architecture", "image-root"] {
            self.backoff.heal(&format!("start/{healed}"));
        }
        Ok(())
    }

    fn pull(&mut self) {
        if self.is_pulling {
            return;
        }
        self.is_pulling = true;
        let shop = Arc::clone(&self.shop);
        self.set_going(None, async move {
            let pulled = shop.engine.pull(&shop.pool.policy.image, shop.credentials.as_ref()).await;
            pulled.map_or_else(|error| Done::Again(error.into()), |_| Done::Adopted)
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
        || scopes.iter().any(|scope| {
            scope == "all" || scope.eq_ignore_ascii_case(repository) || scope.eq_ignore_ascii_case(owner)
        })
}
