//! The life of a runner: registered, in session, away, offline, gone.
//!
//! A process is alive for as long as one of its requests waits for an answer: when the process ends, its connections do, and the
//! stand-in sees it without asking any clock but its own.
//!
//! Invariants: every change leaves a line in the history; a job that is with a runner that went away fails after the patience
//! for it and not before.

use super::{Runner, RunnerChange, RunnerEvent, TurnedAway};
use crate::standin::{ids::RunnerId, state::State};

/// An ephemeral runner that is not connected is forgotten after so long.
const FORGOTTEN_SECONDS: u64 = 86_400;

impl State {
    fn note_runner(&mut self, id: RunnerId, change: RunnerChange) {
        let (at, name) = (self.now(), self.runners.all.get(&id).map(|runner| runner.name.clone()));
        let name = name.unwrap_or_default();
        self.runners.events.push(RunnerEvent { at, runner: id, name, change });
        self.runners.changed.notify_waiters();
    }

    /// Takes a new runner in.
    pub(crate) fn add_runner(&mut self, runner: Runner) -> RunnerId {
        let (id, is_online) = (runner.id, runner.is_online);
        self.runners.all.insert(id, runner);
        self.note_runner(id, RunnerChange::Registered);
        if is_online {
            self.note_runner(id, RunnerChange::Online);
        }
        id
    }

    /// Removes a runner; its secret and its session open nothing from here on.
    pub(crate) fn remove_runner(&mut self, id: RunnerId, change: RunnerChange) {
        self.note_runner(id, change);
        if let Some(runner) = self.runners.all.remove(&id) {
            self.runners.spent.extend(runner.secret);
            self.runners.spent.extend(runner.session);
        }
    }

    /// A process proves that it is a runner and is connected from here on.
    pub(crate) fn open_session(&mut self, id: RunnerId, secret: &str) -> Result<String, TurnedAway> {
        let is_spent = self.runners.spent.contains(secret);
        let (now, serial) = (self.now(), self.ids.serial());
        let Some(runner) = self.runners.all.get_mut(&id) else {
            return Err(if is_spent { TurnedAway::Gone } else { TurnedAway::Unknown });
        };
        if is_spent {
            return Err(TurnedAway::InUse);
        }
        if runner.secret.as_deref() != Some(secret) {
            return Err(TurnedAway::Unknown);
        }
        if runner.connections > 0 {
            return Err(TurnedAway::InUse);
        }
        let session = format!("session-{serial:020}");
        let former = runner.session.replace(session.clone());
        runner.away_since = Some(now);
        let was_online = std::mem::replace(&mut runner.is_online, true);
        let used = if runner.is_just_in_time { runner.secret.take() } else { None };
        self.runners.spent.extend(former);
        self.runners.spent.extend(used);
        if !was_online {
            self.note_runner(id, RunnerChange::Online);
        }
        Ok(session)
    }

    /// A process ends its session by itself.
    pub(crate) fn end_session(&mut self, id: RunnerId) {
        let now = self.now();
        let Some(runner) = self.runners.all.get_mut(&id) else { return };
        runner.away_since = Some(now);
        let session = runner.session.take();
        let was_online = std::mem::replace(&mut runner.is_online, false);
        self.runners.spent.extend(session);
        if was_online {
            self.note_runner(id, RunnerChange::Offline);
        }
    }

    /// One more request of a runner's process waits, or one less.
    pub(crate) fn count_connection(&mut self, session: &str, is_more: bool) {
        let now = self.now();
        let holder = self.runners.all.values_mut().find(|runner| runner.session.as_deref() == Some(session));
        let Some(runner) = holder else { return };
        if is_more {
            runner.connections += 1;
            runner.away_since = None;
            let was_online = std::mem::replace(&mut runner.is_online, true);
            let id = runner.id;
            if !was_online {
                self.note_runner(id, RunnerChange::Online);
            }
            return;
        }
        runner.connections = runner.connections.saturating_sub(1);
        if runner.connections == 0 {
            runner.away_since = Some(now);
            self.runners.changed.notify_waiters();
        }
    }

    /// A runner is given a job, or is through with it.
    pub(crate) fn note_work(&mut self, id: RunnerId, change: RunnerChange) {
        self.note_runner(id, change);
    }

    /// What the passing of time does to runners that are away. Whether anything changed.
    pub(crate) fn sweep(&mut self) -> bool {
        let (now, patience) = (self.now(), self.runners.patience);
        let mut due = Vec::new();
        for runner in self.runners.all.values() {
            let Some(since) = runner.away_since else { continue };
            let away_seconds = now.saturating_sub(since);
            if runner.session.is_some() && runner.is_online && away_seconds >= patience.offline_seconds {
                due.push((runner.id, RunnerChange::Offline));
            }
            if let Some(job) = runner.job.filter(|_| away_seconds >= patience.lost_seconds) {
                due.push((runner.id, RunnerChange::Busy(job)));
            }
            if runner.is_ephemeral && !runner.is_busy() && away_seconds >= FORGOTTEN_SECONDS {
                due.push((runner.id, RunnerChange::Forgotten));
            }
        }
        for (id, change) in &due {
            match change {
                RunnerChange::Offline => {
                    if let Some(runner) = self.runners.all.get_mut(id) {
                        runner.is_online = false;
                    }
                    self.note_runner(*id, RunnerChange::Offline);
                }
                RunnerChange::Busy(job) => self.lose_job(*job, *id),
                _ => self.remove_runner(*id, *change),
            }
        }
        !due.is_empty()
    }
}
