//! Which jobs are looked at when, and where each is put afterwards.
//!
//! An event touches the jobs of its run that it concerns, a peer the jobs it holds, time the jobs that are due. Whatever changes
//! more than that (a revocation, an operator's word) makes jobs due and lets the agenda spread the work.

use wfengine_storage_format::{Body, EventId, JobId, PeerId, RunId};

use super::gates::gates_of;
use super::held::Room;
use super::jobs::{Entry, Stage};
use super::outlook::{Outlook, Verdict};
use super::{Purpose, Scheduler, Timer};
use crate::admitted::Admitted;
use crate::command::Command;
use crate::time::{Monotonic, Now};
use crate::views::Views;
use crate::views::job::Job;
use crate::views::run::Run;

impl Scheduler {
    pub(super) fn take_authority(&mut self, views: &Views, body: &Body, now: Now) {
        self.peers.keep_members(views.authority().roster());
        self.update_seen(views, now.monotonic);
        let cuts = matches!(body, Body::PeerRevoked(_) | Body::KeyRotated(_) | Body::ForkProved(_));
        if cuts {
            self.take_all_runs(views, now);
            for claim in self.held_claims() {
                self.look_at_held(views, &claim, now.monotonic);
            }
        } else {
            self.look_at_declined(now.monotonic);
        }
    }

    pub(super) fn take_all_runs(&mut self, views: &Views, now: Now) {
        for run in views.runs().all_live() {
            self.take_jobs(run, now);
            self.watch_run(views, run, None, now.monotonic);
            for job in self.jobs.of_run(&run.id) {
                self.agenda.set_earlier(Timer::Job(job), now.monotonic);
            }
        }
    }

    /// Opens entries for the jobs of a run that have none.
    fn take_jobs(&mut self, run: &Run, now: Now) {
        for job in run.jobs.values().filter(|job| !job.status.is_terminal()) {
            if self.jobs.get(&job.id).is_none() {
                self.open_job(run, job, now);
            }
        }
    }

    fn open_job(&mut self, run: &Run, job: &Job, now: Now) {
        let Some(submission) = run.submission() else { return };
        let entry = Entry {
            run: run.id,
            job: job.id,
            stage: Stage::Waiting,
            first_seen: now.monotonic,
            base_ms: submission.time_ms.min(now.wall.0),
            priority_milli: run.priority_milli,
            gates: gates_of(run, job),
            precedence: (run.priority_milli, submission.height, job.id),
            watch: None,
            holder: None,
            not_before: now.monotonic,
            setbacks: 0,
            turns_behind: 0,
            unable: false,
        };
        self.jobs.insert(entry, now.monotonic);
    }

    pub(super) fn take_run_event(&mut self, views: &Views, id: RunId, event: &Admitted, now: Now) {
        let at = now.monotonic;
        let Some(run) = views.runs().live(&id) else { return };
        let about = event.body.job().map(|(_, job)| job);
        let alone = about.and_then(|job| run.jobs.get(&job)).is_some_and(|job| {
            let fails_fast = run.parts.get(&job.key).is_some_and(|part| part.fail_fast);
            !(fails_fast && job.status.is_terminal())
        });
        match about.filter(|_| alone) {
            Some(job) => {
                if let Some(open) = run.jobs.get(&job).filter(|open| !open.status.is_terminal())
                    && self.jobs.get(&job).is_none()
                {
                    self.open_job(run, open, now);
                }
                self.look(views, &job, at);
            }
            None => {
                self.take_jobs(run, now);
                for job in self.jobs.of_run(&id) {
                    self.jobs.set_priority(&job, run.priority_milli, at);
                    self.look(views, &job, at);
                }
            }
        }
        self.watch_run(views, run, Some(event), at);
    }

    pub(super) fn look_at_declined(&mut self, now: Monotonic) {
        for job in self.jobs.declined().iter().copied() {
            self.agenda.set_earlier(Timer::Job(job), now);
        }
    }

    pub(super) fn look_at_holder(&mut self, views: &Views, peer: &PeerId, now: Monotonic) {
        for job in self.jobs.held_by(peer) {
            self.look(views, &job, now);
        }
    }

    /// Looks at one job and puts it where it belongs.
    pub(super) fn look(&mut self, views: &Views, job: &JobId, now: Monotonic) {
        let verdict = self.verdict(views, job, now);
        self.put(views, job, verdict, now);
        if let Some(claim) = self.own_claim_on(job) {
            self.look_at_held(views, &claim, now);
        }
    }

    fn own_claim_on(&self, job: &JobId) -> Option<EventId> {
        let run = self.jobs.run_of(job);
        match run {
            Some(_) => self.held.iter().find(|(_, held)| held.job == *job).map(|(claim, _)| *claim),
            None => None,
        }
    }

    pub(super) fn verdict(&mut self, views: &Views, job: &JobId, now: Monotonic) -> Verdict {
        let is_executing = self.held.values().any(|held| held.job == *job);
        let Some(mut entry) = self.jobs.get(job).cloned() else { return Verdict::Gone };
        let verdict = self.outlook(views, now).verdict(&mut entry, is_executing);
        if let Some(known) = self.jobs.get_mut(job) {
            known.watch = entry.watch;
            known.turns_behind = entry.turns_behind;
        }
        verdict
    }

    pub(super) fn outlook<'a>(&'a self, views: &'a Views, now: Monotonic) -> Outlook<'a> {
        Outlook {
            views,
            chain: &self.chain,
            timing: &self.timing,
            peers: &self.peers,
            gates: &self.jobs.gates,
            allow: &self.allow,
            keeps_tasks: self.keeps_tasks,
            now,
        }
    }

    pub(super) fn put(&mut self, views: &Views, job: &JobId, verdict: Verdict, now: Monotonic) {
        let Some(entry) = self.jobs.get(job) else { return };
        let asked = entry.stage == Stage::Asked;
        if asked && !matches!(verdict, Verdict::Gone) {
            return;
        }
        let run = views.runs().live(&entry.run);
        let holder = run.and_then(|run| run.jobs.get(job)).and_then(Job::holder);
        let holder = holder.map(|claim| (claim.id, claim.peer()));
        let (base_ms, turns_behind) = (entry.base_ms, entry.turns_behind);
        self.agenda.cancel(&Timer::Job(*job));
        let (stage, due) = match verdict {
            Verdict::Gone => {
                if let Some(claim) = self.own_claim_on(job) {
                    self.look_at_held(views, &claim, now);
                }
                self.jobs.remove(job, now);
                return;
            }
            Verdict::Held(due) => (Stage::Held, due),
            Verdict::Wait(due) => (Stage::Waiting, Some(due)),
            Verdict::Gated(due) => (Stage::Gated, due),
            Verdict::Declined(why, due) => (Stage::Declined(why), due),
            Verdict::Task(_) => (Stage::Task, None),
            Verdict::Claim(_) => (Stage::Ready, None),
            Verdict::ClaimNow(claim) => {
                if self.must_upgrade.is_none() && self.drain_until.is_none() {
                    if self.free(Room::AtAuthor) > 0 || !self.goes_on_at_author(&claim.run) {
                        self.claim(claim, Room::AtAuthor, now);
                    } else {
                        self.jobs.set_stage(job, Stage::ReadyAtAuthor, base_ms);
                    }
                } else {
                    self.jobs.set_stage(job, Stage::Waiting, base_ms);
                    self.agenda.set(Timer::Job(*job), now + self.timing.backoff_max);
                }
                return;
            }
            Verdict::Fail(_) if self.must_upgrade.is_some() => {
                (Stage::Waiting, Some(now + self.timing.backoff_max))
            }
            Verdict::Fail(body) => {
                self.jobs.set_stage(job, Stage::Asked, base_ms);
                self.ask(Command::Fail(body), Purpose::Fail { job: *job });
                return;
            }
            Verdict::Orphan(claim) => {
                self.jobs.set_stage(job, Stage::Asked, base_ms);
                self.release_orphan(job, claim);
                return;
            }
        };
        // a node prefers the jobs it is nearest to among those that came at about the same time
        let later = self.timing.turn.saturating_mul(turns_behind).as_millis();
        let later = u64::try_from(later).unwrap_or(u64::MAX);
        self.jobs.set_stage(job, stage, base_ms.saturating_add(later));
        self.jobs.set_holder(job, holder, stage == Stage::Held, now);
        if let Some(due) = due {
            self.agenda.set(Timer::Job(*job), due);
        }
    }

    /// Slots for jobs this node executes itself.
    pub(super) fn free_slots(&self) -> u32 {
        self.free(Room::Slot)
    }

    fn free(&self, room: Room) -> u32 {
        let slots = if room == Room::AtAuthor { self.author_slots } else { self.slots };
        let taken = self.held.values().filter(|held| held.room == room).count();
        let is_asked = |purpose: &&Purpose| matches!(purpose, Purpose::Claim { room: of, .. } if *of == room);
        let asked = self.in_flight.values().filter(is_asked).count();
        slots.saturating_sub(u32::try_from(taken + asked).unwrap_or(u32::MAX))
    }

    /// Whether a job of a run of `placement: author` is under way. Each run may have one whatever else goes on: a job may wait for a
    /// run that it started, and so may all of them.
    fn goes_on_at_author(&self, run: &RunId) -> bool {
        let is_asked = |purpose: &Purpose| match purpose {
            Purpose::Claim { job, room: Room::AtAuthor } => self.jobs.run_of(job) == Some(*run),
            _ => false,
        };
        self.held.values().any(|held| held.room == Room::AtAuthor && held.run == *run)
            || self.in_flight.values().any(is_asked)
    }

    /// Claims jobs of `placement: author`, which wait only when very many of them run.
    pub(super) fn fill_at_author(&mut self, views: &Views, now: Monotonic) {
        for run in std::mem::take(&mut self.ended_at_author) {
            let waits =
                |job: &JobId| self.jobs.get(job).is_some_and(|entry| entry.stage == Stage::ReadyAtAuthor);
            if !self.goes_on_at_author(&run)
                && let Some(job) = self.jobs.of_run(&run).into_iter().find(waits)
            {
                let verdict = self.verdict(views, &job, now);
                self.put(views, &job, verdict, now);
            }
        }
        while !self.jobs.ready_at_author.is_empty() && self.free(Room::AtAuthor) > 0 {
            let Some(next) = self.jobs.ready_at_author.pop() else { return };
            if let Some(entry) = self.jobs.get_mut(&next.job) {
                entry.stage = Stage::Waiting;
            }
            let verdict = self.verdict(views, &next.job, now);
            self.put(views, &next.job, verdict, now);
        }
    }

    /// Claims ready jobs while slots are free.
    pub(super) fn fill(&mut self, views: &Views, now: Monotonic) {
        if self.declines_all(now).is_some() {
            return;
        }
        while self.free_slots() > 0 {
            let Some(next) = self.jobs.ready.pop() else { return };
            if let Some(entry) = self.jobs.get_mut(&next.job) {
                entry.stage = Stage::Waiting;
            }
            match self.verdict(views, &next.job, now) {
                Verdict::Claim(claim) => self.claim(claim, Room::Slot, now),
                other => self.put(views, &next.job, other, now),
            }
        }
    }
}
