//! Outside programs that ask for tasks: who waits, and the leases they get.
//!
//! A task is claimed only when a program on this node asks for one, so nobody holds work that no program takes. A lease is this
//! node's word to its program; it is not in the log, and when it ends the claim is given back.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use wfengine_storage_format::{EventId, RunId};

use super::held::{HeldStage, Room};
use super::jobs::Stage;
use super::outlook::Verdict;
use super::{Action, Scheduler, Timer};
use crate::queue::Queued;
use crate::time::{Monotonic, Now};
use crate::views::Views;

/// Names a program's question until it is answered. The node counts them up, so lower asked earlier.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ProgramId(pub u64);

/// A program asks for a task.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProgramAsk {
    /// Names the question.
    pub program: ProgramId,
    /// The task has to carry all of these tags.
    pub tags: Vec<String>,
    /// The task has to be this run.
    pub only: Option<RunId>,
    /// How long the program may hold the task without extending.
    pub lease: Duration,
    /// Whether it waits until there is one.
    pub waits: bool,
}

/// A program's hold on a claim.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) program: ProgramId,
    pub(super) length: Duration,
    pub(super) until: Monotonic,
}

#[derive(Clone, Debug)]
struct Asked {
    ask: ProgramAsk,
    /// A claim for it is on its way.
    claiming: bool,
}

/// Questions at once; beyond that a program is told that there is nothing.
const PROGRAMS_MAX: usize = 1024;
/// Tasks looked at for one question.
const TASKS_LOOKED_AT_MAX: usize = 1024;

/// The programs that wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Programs {
    asked: BTreeMap<ProgramId, Asked>,
}

impl Programs {
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.asked.values().filter(|asked| !asked.claiming).count()).unwrap_or(u32::MAX)
    }

    pub(super) fn lease_of(&self, program: ProgramId) -> Option<Lease> {
        let asked = self.asked.get(&program)?;
        Some(Lease { program, length: asked.ask.lease, until: Monotonic(u64::MAX) })
    }

    /// The claim for a question came to nothing: it waits again.
    pub(super) fn put_back(&mut self, program: ProgramId) {
        if let Some(asked) = self.asked.get_mut(&program) {
            asked.claiming = false;
        }
    }

    /// A question is answered. Whether the program is still there.
    pub(super) fn hand(&mut self, program: ProgramId) -> bool {
        self.asked.remove(&program).is_some()
    }

    pub(super) fn dismiss_all(&mut self, actions: &mut VecDeque<Action>) {
        for program in std::mem::take(&mut self.asked).into_keys() {
            actions.push_back(Action::NothingFor { program });
        }
    }
}

impl Scheduler {
    /// A program asks for a task. Answered by [`Action::Hand`] or, if it does not wait, [`Action::NothingFor`].
    pub fn handle_program(&mut self, views: &Views, ask: ProgramAsk, now: Now) {
        self.observe(now.monotonic);
        let program = ask.program;
        if self.drain_until.is_some() || self.programs.asked.len() >= PROGRAMS_MAX {
            self.actions.push_back(Action::NothingFor { program });
            return;
        }
        self.programs.asked.insert(program, Asked { ask, claiming: false });
        self.settle(views, now.monotonic);
    }

    /// A program stopped waiting. A claim already made for it is given back.
    pub fn handle_program_gone(&mut self, views: &Views, program: ProgramId, now: Now) {
        self.observe(now.monotonic);
        self.programs.asked.remove(&program);
        self.settle(views, now.monotonic);
    }

    /// A program extends its lease to `length` from now. Whether it still has one.
    pub fn handle_extend(&mut self, claim: EventId, length: Duration, now: Now) -> bool {
        self.observe(now.monotonic);
        let Some(held) = self.held.get_mut(&claim) else { return false };
        let (HeldStage::Executing { .. }, Some(lease)) = (&held.stage, held.lease.as_mut()) else {
            return false;
        };
        // over is over, also when nobody has looked since
        if now.monotonic >= lease.until {
            return false;
        }
        lease.until = now.monotonic + length;
        self.agenda.set(Timer::Held(claim), lease.until);
        true
    }

    /// Claims tasks for programs that wait.
    pub(super) fn serve_programs(&mut self, views: &Views, now: Monotonic) {
        let waiting: Vec<ProgramId> =
            self.programs.asked.iter().filter(|(_, asked)| !asked.claiming).map(|(id, _)| *id).collect();
        let may_claim = self.declines_all(now).is_none();
        for program in waiting {
            let served = may_claim && self.serve(views, program, now);
            let Some(asked) = self.programs.asked.get_mut(&program) else { continue };
            if served {
                asked.claiming = true;
            } else if !asked.ask.waits {
                self.programs.asked.remove(&program);
                self.actions.push_back(Action::NothingFor { program });
            }
        }
    }

    /// Claims the next task that carries the tags a program asked for. Whether there was one.
    fn serve(&mut self, views: &Views, program: ProgramId, now: Monotonic) -> bool {
        let wanted = self.programs.asked.get(&program).map(|asked| (asked.ask.tags.clone(), asked.ask.only));
        let Some((tags, only)) = wanted else { return false };
        let mut passed: Vec<Queued<_>> = Vec::new();
        let mut served = false;
        while passed.len() < TASKS_LOOKED_AT_MAX
            && let Some(next) = self.jobs.tasks.pop()
        {
            let run = self.jobs.run_of(&next.job).and_then(|run| views.runs().live(&run));
            let carried = run.and_then(|run| run.submitted.as_ref()).map(|submitted| &submitted.tags);
            let is_wanted = only.is_none_or(|only| run.is_some_and(|run| run.id == only))
                && tags.iter().all(|tag| carried.is_some_and(|carried| carried.contains(tag)));
            if !is_wanted {
                passed.push(next);
                continue;
            }
            if let Some(entry) = self.jobs.get_mut(&next.job) {
                entry.stage = Stage::Waiting;
            }
            match self.verdict(views, &next.job, now) {
                Verdict::Task(claim) => {
                    self.claim(claim, Room::Program(program), now);
                    served = true;
                    break;
                }
                other => self.put(views, &next.job, other, now),
            }
        }
        for task in passed {
            self.jobs.tasks.push(task.job, task.priority_milli, task.base_ms);
        }
        served
    }
}
