//! What came of tasks, taken in at the next step.

use tokio::task::JoinError;
use wfengine_core::time::Monotonic;
use wfengine_storage_format::EventId;

use super::{AGAIN_AFTER, Autoscaler, OF_SCOPE, of_scope};
use crate::look::held;
use crate::port::{Containers, Host};
use crate::reconcile::Track;
use crate::work::{Done, Fault};

impl<H: Host, C: Containers> Autoscaler<H, C> {
    pub(super) fn take(&mut self, done: Result<(Option<EventId>, Done), JoinError>) {
        let now = self.shop.host.now();
        let (intent, done) = match done {
            Ok(done) => done,
            Err(error) => {
                self.fail(
                    "task",
                    &Fault {
                        reason: "bug".into(),
                        what: format!("BUG: {error}"),
                        remedy: "report it".into(),
                    },
                );
                return;
            }
        };
        let Some(intent) = intent else {
            match done {
                Done::Pulled(fault) => {
                    self.is_pulling = false;
                    self.backoff.heal("start/pulling");
                    if let Some(fault) = fault {
                        self.fail("start", &fault);
                    }
                }
                Done::Again(fault) => self.fail("clean", &fault),
                _ => {}
            }
            return;
        };
        self.under_way.remove(&intent);
        let runner =
            self.shop.host.watcher().views().runners().get(&intent).map(|runner| runner.into_owned());
        let scope = runner.as_ref().map(|runner| runner.intended.scope.clone()).unwrap_or_default();
        if let Some((name, answer)) = self.stopping.remove(&intent) {
            let _ = answer.send(match &done {
                Done::Kept => Err(Fault {
                    reason: "busy".to_owned(),
                    what: format!("{name} has a job"),
                    remedy: "wait for it, or end it with --force".to_owned(),
                }),
                Done::Again(fault) => Err(fault.clone()),
                _ => Ok(format!("{name} is stopped")),
            });
        }
        match done {
            Done::Started(container) => {
                if let Some((name, answer)) = self.answers.remove(&intent) {
                    let _ = answer.send(Ok((name, container)));
                }
                // only how it ends tells whether the image works
                self.backoff.heal_tried("start/", "start/runner", now);
                self.backoff.heal_all(&of_scope(&scope));
                held(&self.board).wanted_scopes.insert(scope);
            }
            Done::NotStarted(fault) => {
                if let Some((_, answer)) = self.answers.remove(&intent) {
                    let _ = answer.send(Err(fault.clone()));
                }
                // one repository that refuses holds no other one up
                let is_of_scope = OF_SCOPE.contains(&fault.reason.as_str());
                let kind = if is_of_scope { of_scope(&scope) } else { "start/".to_owned() };
                self.fail(kind.trim_end_matches('/'), &fault);
                self.note_change(&scope, now);
            }
            Done::Concluded(fault) => {
                match fault {
                    Some(fault) => self.fail("start", &fault),
                    None => {
                        self.backoff.heal("start/runner");
                    }
                }
                self.note_change(&scope, now);
            }
            Done::Kept => {
                self.tracks.entry(intent).or_insert_with(|| Track::new(now)).keep(now);
                held(&self.board).wanted_scopes.insert(scope);
            }
            Done::Unchanged | Done::Pulled(_) => {}
            Done::Removed => {
                self.tracks.remove(&intent);
                self.not_free.remove(&intent);
                self.ran.remove(&intent);
                self.again.remove(&intent);
                self.replaced.remove(&intent);
                self.backoff.heal_all("clean/");
            }
            Done::Again(fault) => {
                self.fail("clean", &fault);
                let next_try = self.backoff.next_try(&format!("clean/{}", fault.reason));
                self.again.insert(intent, next_try.unwrap_or(now + AGAIN_AFTER));
            }
        }
    }

    /// Nothing that was asked for before this moment tells which jobs of a scope still wait.
    pub(super) fn note_change(&mut self, scope: &str, at: Monotonic) {
        let changed = self.changed.entry(scope.to_owned()).or_insert(at);
        *changed = (*changed).max(at);
    }

    pub(super) fn fail(&mut self, kind: &str, fault: &Fault) {
        let reason = format!("{kind}/{}", fault.reason);
        if self.backoff.fail(&reason, &fault.what, &fault.remedy, self.shop.host.now()) {
            tracing::warn!(pool = self.shop.pool.name, "{}; {}", fault.what, fault.remedy);
        }
    }
}
