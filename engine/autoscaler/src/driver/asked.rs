//! What people ask of a pool: a runner more, one less, others in their place.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Asked, Autoscaler, StopAsked};
use crate::look::held;
use crate::port::{Containers, Host};
use crate::work::Fault;

impl<H: Host, C: Containers> Autoscaler<H, C> {
    /// A runner that somebody asked for. It counts like any other; answered with its name and its container once that runs.
    pub fn provision(&mut self, scope: String) -> oneshot::Receiver<Result<(String, String), Fault>> {
        let (answer, answered) = oneshot::channel();
        let is_private = held(&self.board).repositories.get(&scope).map(|seen| seen.is_private);
        if scope.contains('/') && !self.shop.pool.takes(&scope, is_private.unwrap_or(false)) {
            let refusal = crate::demand::Refusal::Public;
            let what = match is_private {
                Some(_) => format!("{scope}: {}", refusal.why()),
                None => format!("{scope} is none of the repositories that the pool looks at"),
            };
            let remedy = match is_private {
                Some(_) => refusal.remedy(),
                None => "name it with --repo or its owner with --owner when the pool is started",
            };
            let fault = Fault { reason: "refused".to_owned(), what, remedy: remedy.to_owned() };
            let _ = answer.send(Err(fault));
            return answered;
        }
        self.asked.push(Asked { scope, answer });
        answered
    }

    /// Runners that have no job are replaced; those with one end with it. Only those of another image or policy than the pool has now, if
    /// `outdated`: one of which that is not known is left.
    pub async fn rotate(&mut self, outdated: bool) -> Vec<String> {
        let policy = &self.shop.pool.policy;
        let image = self.shop.engine.image(&policy.image).await.ok().map(|image| image.id);
        let digest = policy.digest();
        let mut names = Vec::new();
        for runner in self.own().into_iter().filter(|runner| runner.exited.is_none()) {
            let container = self.last_containers.iter().find(|state| state.name == runner.intended.name);
            let is_old = container.is_some_and(|state| {
                let made_by = state.labels.get(crate::container::LABEL_POLICY);
                image.as_ref().is_some_and(|image| *image != state.image) || made_by != Some(&digest)
            });
            if !outdated || is_old {
                names.push(runner.intended.name.clone());
                self.replaced.insert(runner.intent);
            }
        }
        names
    }

    /// Ends a runner because somebody says so, once nothing else is being done with it. One that has a job is ended only with `force`.
    /// Answered when it has ended.
    pub fn stop_runner(&mut self, name: &str, force: bool) -> oneshot::Receiver<Result<String, Fault>> {
        let (answer, answered) = oneshot::channel();
        self.stops.push(StopAsked { name: name.to_owned(), force, answer });
        self.stop_runners();
        answered
    }

    /// Does what was asked and can be done now.
    pub(super) fn stop_runners(&mut self) {
        for StopAsked { name, force, answer } in std::mem::take(&mut self.stops) {
            let runners = self.own();
            let Some(runner) = runners.iter().find(|runner| runner.intended.name == name) else {
                let _ = answer.send(Err(Fault {
                    reason: "unknown".to_owned(),
                    what: format!("{name} is no runner of this host"),
                    remedy: "see wfengine runner list-containers".to_owned(),
                }));
                continue;
            };
            let intent = runner.intent;
            if runner.exited.is_some() {
                let _ = answer.send(Ok(format!("{name} has ended already")));
                continue;
            }
            if self.under_way.contains(&intent) {
                self.stops.push(StopAsked { name, force, answer });
                continue;
            }
            let registered = held(&self.board).registration(&runner.intended.scope, &name).flatten();
            let started = runner.started.as_ref().map(|(_, _, started)| started.runner);
            let id = registered.map(|seen| seen.id).or(started).filter(|id| *id != 0);
            self.stopping.insert(intent, (name.clone(), answer));
            let (shop, intended) = (Arc::clone(&self.shop), runner.intended.clone());
            let ran = self.ran.get(&intent).cloned();
            self.spawn(intent, async move {
                let why = "somebody stopped it";
                match id {
                    Some(id) if !force => shop.drain(intent, &intended, id, why, false).await,
                    None if !force => shop.drain_named(intent, &intended, why).await,
                    _ => shop.end(intent, &name, why, false, crate::container::STOP_GRACE, ran).await,
                }
            });
        }
    }
}
