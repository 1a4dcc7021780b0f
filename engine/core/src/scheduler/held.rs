//! The node's own claims: settling, executing, stopping, ending. And what executors report.
//!
//! A claim ends exactly once, by a committed event: released, aborted, completed or failed. Until then beats name it.

use std::time::Duration;

use wfengine_storage_format::{
    AbortReason, Conclusion, EventId, JobAborted, JobClaimed, JobCompleted, JobFailed, JobId, JobReleased,
    JobStarted, ReleaseReason, RunId,
};

use super::beat::NamedClaim;
use super::jobs::Stage;
use super::outlook::{cut, is_placed_at_author};
use super::programs::{Lease, ProgramId};
use super::{Action, Purpose, Scheduler, Timer};
use crate::command::{Command, Refusal};
use crate::time::{Monotonic, Now};
use crate::views::Views;
use crate::views::job::{Job, Status};
use crate::views::run::Run;

/// What the executor of a claim, or the program that holds its lease, reports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Execution {
    /// The first step began.
    Started,
    /// A step began.
    Step {
        /// From 1.
        number: u32,
        /// How far the job is, if known.
        percent: Option<u8>,
    },
    /// It has a result. Its `claim`, `run` and `job` are this claim's.
    Finished(Box<JobCompleted>),
    /// It was stopped as asked.
    Stopped {
        /// Steps that were done.
        steps_done: u32,
    },
    /// It broke down without a result: the executor's fault, not the job's.
    Faulted {
        /// What happened.
        why: String,
        /// Steps that were done.
        steps_done: u32,
    },
    /// It cannot be executed here at all; nothing was started.
    Unable {
        /// Why not.
        why: String,
    },
    /// The program gave it back.
    GivenBack,
    /// The program says that no execution will conclude.
    Failed {
        /// What happened.
        error: String,
        /// Whether the run may be submitted again.
        retry: bool,
    },
}

/// Why an execution has to stop.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum StopReason {
    /// A claim with a greater token is known.
    Superseded,
    /// The run was cancelled, or another leg of the matrix failed.
    Cancelled,
    /// The job ended by somebody else's word.
    Completed,
    /// The node is shutting down.
    Draining,
    /// The program's lease ended.
    LeaseEnded,
}

#[derive(Clone, Debug)]
pub(super) enum HeldStage {
    /// Waits for claims that were written at the same time.
    Settling { until: Monotonic },
    /// Handed to the executor or a program.
    Executing { start_asked: bool },
    /// The executor was told to stop.
    Stopping(StopReason),
    /// The command that ends it is not answered yet; kept to be asked again.
    Ending(Box<Command>),
}

/// What a claim takes up on its node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Room {
    /// One of the slots.
    Slot,
    /// One of the slots for jobs of `placement: author`.
    AtAuthor,
    /// A program's attention.
    Program(ProgramId),
}

/// A claim of this incarnation.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) run: RunId,
    pub(super) job: JobId,
    pub(super) stage: HeldStage,
    pub(super) lease: Option<Lease>,
    pub(super) room: Room,
    step: u32,
    percent: Option<u8>,
}

/// Why a claim is given back when the run's canonical submission changed before its execution began.
pub const NOT_ALLOWED_ANY_MORE: &str =
    "the run's submission is another's now, whose runs this node does not execute";

/// How long an ending that an upgrade holds up waits before it is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(30);

impl Scheduler {
    /// The executor, or a program, reports on a claim. Reports on unknown claims say nothing.
    pub fn handle_execution(&mut self, views: &Views, claim: EventId, report: Execution, now: Now) {
        self.observe(now.monotonic);
        let at = now.monotonic;
        let Some(held) = self.held.get_mut(&claim) else { return };
        let (run, job) = (held.run, held.job);
        let stopping = match &held.stage {
            HeldStage::Stopping(reason) => Some(*reason),
            HeldStage::Ending(_) => return,
            HeldStage::Settling { .. } | HeldStage::Executing { .. } => None,
        };
        let abort = |by, steps_done| Command::Abort(JobAborted { run, job, claim, by, steps_done });
        let release = |reason| Command::Release(JobReleased { run, job, claim, reason });
        match report {
            Execution::Started => self.start_asked(claim),
            Execution::Step { number, percent } => {
                held.step = number;
                held.percent = percent;
                self.start_asked(claim);
            }
            Execution::Finished(body) => {
                self.end(claim, Command::Complete(JobCompleted { run, job, claim, ..*body }))
            }
            Execution::Stopped { steps_done } => {
                let command = match stopping {
                    Some(StopReason::Draining) => release(ReleaseReason::Draining),
                    Some(StopReason::LeaseEnded) => release(ReleaseReason::LeaseEnded),
                    Some(StopReason::Superseded) => abort(AbortReason::Superseded, steps_done),
                    Some(StopReason::Cancelled) => abort(AbortReason::Cancelled, steps_done),
                    Some(StopReason::Completed) => abort(AbortReason::Completed, steps_done),
                    None => abort(AbortReason::Stopped, steps_done),
                };
                self.end(claim, command);
            }
            Execution::Faulted { why, steps_done } => {
                self.set_back(&job, at);
                self.end(claim, abort(AbortReason::Fault(cut(why)), steps_done));
            }
            Execution::Unable { why } => {
                if let Some(entry) = self.jobs.get_mut(&job) {
                    entry.unable = true;
                }
                self.end(claim, release(ReleaseReason::Unable(cut(why))));
            }
            Execution::GivenBack => self.end(claim, release(ReleaseReason::GivenBack)),
            Execution::Failed { error, retry } => {
                let submission = views.runs().live(&run).and_then(|run| run.canonical);
                let Some(submission) = submission else { return };
                let error = cut(error);
                let body = JobFailed {
                    run,
                    job,
                    claim: Some(claim),
                    submission,
                    error,
                    infrastructure: false,
                    retry,
                };
                self.end(claim, Command::Fail(body));
            }
        }
        self.settle(views, at);
    }

    /// Whether the holder of a claim may begin its next step or effect: its token is still the greatest, and the job is open.
    pub fn may_go_on(&self, views: &Views, claim: &EventId) -> bool {
        let Some(held) = self.held.get(claim) else { return false };
        matches!(held.stage, HeldStage::Executing { .. })
            && stop_reason(views, &held.run, &held.job, claim).is_none()
    }

    /// Whether this node executes a run as it stands here: to be asked of the very state that the execution begins from, which another
    /// submission may have changed since the claim.
    pub fn executes(&self, run: &Run) -> bool {
        self.allow.covers(run, &self.chain.author)
    }

    /// The claims this node works on, as beats name them.
    pub(super) fn named_claims(&self) -> Vec<NamedClaim> {
        let named = |(claim, held): (&EventId, &Held)| NamedClaim {
            claim: *claim,
            step: held.step,
            percent: held.percent,
        };
        self.held.iter().map(named).collect()
    }

    pub(super) fn claim(&mut self, claim: JobClaimed, room: Room, now: Monotonic) {
        let job = claim.job;
        let base_ms = self.jobs.get(&job).map_or(0, |entry| entry.base_ms);
        self.jobs.set_stage(&job, Stage::Asked, base_ms);
        self.jobs.set_holder(&job, None, true, now);
        self.agenda.cancel(&Timer::Job(job));
        self.ask(Command::Claim(claim), Purpose::Claim { job, room });
    }

    pub(super) fn release_orphan(&mut self, job: &JobId, claim: EventId) {
        let Some(run) = self.jobs.run_of(job) else { return };
        let reason = ReleaseReason::Unable("the process that held it ended".to_owned());
        let body = JobReleased { run, job: *job, claim, reason };
        self.ask(Command::Release(body), Purpose::Orphan { job: *job });
    }

    pub(super) fn claim_answered(
        &mut self,
        views: &Views,
        job: JobId,
        room: Room,
        answer: Result<Vec<EventId>, Refusal>,
        now: Monotonic,
    ) {
        let run_id = self.jobs.run_of(&job);
        if let Some(entry) = self.jobs.get_mut(&job) {
            entry.stage = Stage::Waiting;
        }
        let found = run_id.and_then(|run| views.runs().live_job(&run, &job));
        let own = |ids: &[EventId]| {
            found
                .and_then(|(run, job)| ids.iter().find_map(|id| job.claim(id)).map(|claim| (run, job, claim)))
        };
        let ids = answer.unwrap_or_default();
        let Some((run, known, claim)) = own(&ids) else {
            self.set_back(&job, now);
            self.look(views, &job, now);
            if let Room::Program(program) = room {
                self.programs.put_back(program);
            }
            return;
        };
        let nearest_first = claim.epoch == 1 && claim.band == 0 && claim.rank == 0;
        let gated = self.jobs.get(&job).is_some_and(|entry| !entry.gates.is_empty());
        let at_author = is_placed_at_author(run);
        let starts = (nearest_first || at_author) && !gated;
        let until = now + if starts { Duration::ZERO } else { self.timing.settle };
        let lease = match room {
            Room::Program(program) => self.programs.lease_of(program),
            Room::Slot | Room::AtAuthor => None,
        };
        let held = Held {
            run: run.id,
            job: known.id,
            stage: HeldStage::Settling { until },
            lease,
            room,
            step: 0,
            percent: None,
        };
        let id = claim.id;
        self.held.insert(id, held);
        self.look(views, &job, now);
        if let Some(Held { stage: HeldStage::Settling { until }, .. }) = self.held.get(&id)
            && *until > now
        {
            self.agenda.set(Timer::Held(id), *until);
        }
    }

    /// Looks at one of the node's own claims: goes on, starts, stops or gives back.
    pub(super) fn look_at_held(&mut self, views: &Views, id: &EventId, now: Monotonic) {
        let Some(held) = self.held.get(id) else { return };
        let stop = stop_reason(views, &held.run, &held.job, id);
        match held.stage.clone() {
            HeldStage::Settling { until } => match stop {
                Some(StopReason::Superseded) => self.give_back(*id, ReleaseReason::Superseded),
                // the job ended: nothing was started and nobody waits for the claim
                Some(_) => self.forget(id),
                None if self.drain_until.is_some() => self.give_back(*id, ReleaseReason::Draining),
                None if now >= until => self.begin(views, *id, now),
                None => {}
            },
            HeldStage::Executing { .. } => {
                let lease_ended = held.lease.is_some_and(|lease| now >= lease.until);
                if let Some(reason) = stop.or(lease_ended.then_some(StopReason::LeaseEnded)) {
                    self.stop(*id, reason);
                }
            }
            HeldStage::Ending(command) if self.agenda.time_of(&Timer::Held(*id)).is_none() => {
                let waits = self
                    .in_flight
                    .values()
                    .any(|purpose| matches!(purpose, Purpose::End { claim } if claim == id));
                if !waits {
                    self.ask(*command, Purpose::End { claim: *id });
                }
            }
            HeldStage::Stopping(_) | HeldStage::Ending(_) => {}
        }
    }

    fn begin(&mut self, views: &Views, id: EventId, now: Monotonic) {
        let Some(held) = self.held.get(&id) else { return };
        let (run, job, lease, room) = (held.run, held.job, held.lease, held.room);
        // while the claim settled another submission may have become the canonical one
        if !views.runs().live(&run).is_some_and(|run| self.executes(run)) {
            return self.give_back(id, ReleaseReason::Unable(NOT_ALLOWED_ANY_MORE.to_owned()));
        }
        let full = self.jobs.get(&job).is_some_and(|entry| {
            self.jobs.gates.is_filled_before(views, entry, |other| self.jobs.run_of(other))
        });
        if full {
            self.set_back(&job, now);
            return self.give_back(id, ReleaseReason::GroupFull);
        }
        let Some(token) =
            views.runs().live_job(&run, &job).and_then(|(_, job)| job.claim(&id)).map(|claim| claim.token())
        else {
            return self.forget(&id);
        };
        let Some(held) = self.held.get_mut(&id) else { return };
        held.stage = HeldStage::Executing { start_asked: false };
        match lease {
            Some(mut lease) => {
                lease.until = now + lease.length;
                held.lease = Some(lease);
                self.agenda.set(Timer::Held(id), lease.until);
                if self.programs.hand(lease.program) {
                    self.actions.push_back(Action::Hand {
                        program: lease.program,
                        run,
                        job,
                        claim: id,
                        token,
                    });
                    self.start_asked(id);
                } else {
                    self.give_back(id, ReleaseReason::GivenBack);
                }
            }
            // a task without a lease: its program left while the claim settled
            None if room != Room::Slot && views.runs().live(&run).is_some_and(Run::is_task) => {
                self.give_back(id, ReleaseReason::GivenBack);
            }
            None => self.actions.push_back(Action::Execute { run, job, claim: id, token }),
        }
    }

    fn start_asked(&mut self, id: EventId) {
        let Some(held) = self.held.get_mut(&id) else { return };
        let body = JobStarted { run: held.run, job: held.job, claim: id };
        if let HeldStage::Executing { start_asked } = &mut held.stage
            && !*start_asked
        {
            *start_asked = true;
            self.ask(Command::Start(body), Purpose::Start { claim: id });
        }
    }

    fn stop(&mut self, id: EventId, reason: StopReason) {
        let Some(held) = self.held.get_mut(&id) else { return };
        held.stage = HeldStage::Stopping(reason);
        let (run, job, step, outside) = (held.run, held.job, held.step, held.lease.is_some());
        self.actions.push_back(Action::Stop { claim: id, reason });
        if !outside {
            return;
        }
        // a program cannot be stopped from here; what it still reports says nothing
        let abort = |by| Command::Abort(JobAborted { run, job, claim: id, by, steps_done: step });
        let command = match reason {
            StopReason::Superseded => abort(AbortReason::Superseded),
            StopReason::Cancelled => abort(AbortReason::Cancelled),
            StopReason::Completed => abort(AbortReason::Completed),
            StopReason::Draining => {
                Command::Release(JobReleased { run, job, claim: id, reason: ReleaseReason::Draining })
            }
            StopReason::LeaseEnded => {
                Command::Release(JobReleased { run, job, claim: id, reason: ReleaseReason::LeaseEnded })
            }
        };
        self.end(id, command);
    }

    fn give_back(&mut self, id: EventId, reason: ReleaseReason) {
        let Some(held) = self.held.get(&id) else { return };
        let body = JobReleased { run: held.run, job: held.job, claim: id, reason };
        if let Some(lease) = held.lease {
            self.programs.put_back(lease.program);
        }
        self.end(id, Command::Release(body));
    }

    pub(super) fn end(&mut self, id: EventId, command: Command) {
        self.agenda.cancel(&Timer::Held(id));
        if let Some(held) = self.held.get_mut(&id) {
            held.stage = HeldStage::Ending(Box::new(command.clone()));
            self.ask(command, Purpose::End { claim: id });
        }
    }

    fn forget(&mut self, id: &EventId) {
        self.agenda.cancel(&Timer::Held(*id));
        let Some(held) = self.held.remove(id) else { return };
        if held.room == Room::AtAuthor {
            self.ended_at_author.insert(held.run);
        }
        if let Some(lease) = held.lease {
            self.programs.put_back(lease.program);
        }
    }

    pub(super) fn end_answered(
        &mut self,
        views: &Views,
        id: EventId,
        answer: Result<Vec<EventId>, Refusal>,
        now: Monotonic,
    ) {
        let Some(held) = self.held.get_mut(&id) else { return };
        let job = held.job;
        match (answer, &mut held.stage) {
            (Err(Refusal::Cancelled(_)), HeldStage::Ending(command)) => {
                if let Command::Complete(body) = command.as_mut()
                    && body.conclusion != Conclusion::Cancelled
                {
                    body.conclusion = Conclusion::Cancelled;
                    body.notes.push("it ended after the run was cancelled".to_owned());
                    let command = command.as_ref().clone();
                    self.ask(command, Purpose::End { claim: id });
                    return;
                }
                self.forget(&id);
            }
            (Err(Refusal::MustUpgrade { .. }), _) => {
                self.agenda.set(Timer::Held(id), now + ASK_AGAIN);
                return;
            }
            (Err(Refusal::Format(why)), HeldStage::Ending(command))
                if !matches!(**command, Command::Abort(_)) =>
            {
                let by = AbortReason::Fault(cut(format!("its result cannot be written: {why}")));
                let body = JobAborted { run: held.run, job, claim: id, by, steps_done: held.step };
                self.set_back(&job, now);
                self.end(id, Command::Abort(body));
                return;
            }
            _ => self.forget(&id),
        }
        self.look(views, &job, now);
    }

    /// After the grace of a drain what still runs is stopped.
    pub(super) fn end_grace(&mut self, _views: &Views, now: Monotonic) {
        if self.drain_until.is_none_or(|until| now < until) {
            return;
        }
        let running: Vec<EventId> = self
            .held
            .iter()
            .filter(|(_, held)| matches!(held.stage, HeldStage::Executing { .. }))
            .map(|(id, _)| *id)
            .collect();
        for id in running {
            self.stop(id, StopReason::Draining);
        }
    }
}

/// Why the holder of a claim has to stop, as far as the views tell.
fn stop_reason(views: &Views, run: &RunId, job: &JobId, claim: &EventId) -> Option<StopReason> {
    let Some((run, job)) = views.runs().live_job(run, job) else { return Some(StopReason::Completed) };
    let superseded = (job.effective != Some(*claim)).then_some(StopReason::Superseded);
    if run.cancelled.is_some() {
        return Some(StopReason::Cancelled);
    }
    ended(job).or(superseded)
}

fn ended(job: &Job) -> Option<StopReason> {
    match job.status {
        Status::Pending | Status::Assigned | Status::InProgress => None,
        Status::Cancelled if job.result.is_none() => Some(StopReason::Cancelled),
        _ => Some(StopReason::Completed),
    }
}
