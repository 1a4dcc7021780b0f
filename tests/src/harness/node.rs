//! One node: the product's log, pending set, views and scheduler, one writer in front of the disk, and the scripted executor.
//!
//! The writer works as the store's does: requests wait while a commit is under way; own commands are decided against the views
//! as committed, no two about one run in one commit; only when the commit came back are events folded and announced.

mod writer;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use wfengine_core::command::Command;
use wfengine_core::log::{Admission, Log};
use wfengine_core::pending::Pending;
use wfengine_core::scheduler::{
    Action, Allow, Config, Execution as Report, Presence, ProgramAsk, ProgramId, Scheduler,
};
use wfengine_core::seal::Author;
use wfengine_core::time::{Monotonic, Now, WallMs};
use wfengine_core::{Admitted, Views};
use wfengine_storage_format::{ChainId, ClusterId, EventId, Incarnation, PeerId, Signer, VerifiedFrame};

use super::chance::Chance;
use super::checks::{Checker, Violation};
use super::disk::Disk;
use super::executor::{Ending, Execution};
use super::network::Message;
use super::plan::Setup;
use super::workflows;
use writer::{Batch, Request};

/// What a node wants of the simulation.
#[derive(Clone, Debug)]
pub enum Wish {
    /// To be woken after so many milliseconds.
    Wake(u64, Wake),
    /// A message to one node.
    Send(usize, Message),
    /// A message to all others.
    Broadcast(Message),
}

/// Why a node is woken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wake {
    /// The scheduler's timeout.
    Timer,
    /// The commit is done.
    Committed,
    /// Membership and anti-entropy.
    Tick,
    /// An execution goes on.
    Step(EventId),
    /// An execution that was told to stop is dead.
    Dead(EventId),
    /// A program asks for work.
    Program,
}

/// What a running node holds in memory.
pub struct Live {
    author: Author,
    log: Log,
    pending: Pending,
    /// The node's views.
    pub views: Views,
    /// The node's scheduler.
    pub scheduler: Scheduler,
    requests: VecDeque<Request>,
    committing: Option<Batch>,
    executions: BTreeMap<EventId, Execution>,
    heard: BTreeMap<usize, u64>,
    booted_ms: u64,
    armed: Option<u64>,
    programs: u64,
    program_waits: bool,
}

/// A node, running or not.
pub struct Node {
    /// Its number.
    pub index: usize,
    /// Its key.
    pub signer: Signer,
    /// Its disk.
    pub disk: Disk,
    /// Memory, while it runs.
    pub live: Option<Live>,
    /// Starts so far; wakes of earlier ones are void.
    pub starts: u64,
    chance: Chance,
    wall_offset_ms: u64,
    cluster: ClusterId,
    members: Vec<PeerId>,
}

/// A peer nobody heard of for so long is down.
const DOWN_AFTER_MS: u64 = 5_000;
const TICK_MS: u64 = 1_000;
/// Every so many ticks a node compares frontiers with a random peer.
const FRONTIER_TICKS: u64 = 4;
const FRAMES_PER_MESSAGE_MAX: usize = 64;
/// Frames folded in one go at a start.
const FRAMES_AT_ONCE: usize = 256;

impl Node {
    /// A node that never ran.
    pub fn new(seed: u64, index: usize, signer: Signer, cluster: ClusterId, members: Vec<PeerId>) -> Self {
        let mut chance = Chance::new(seed, &format!("node {index}"));
        // wall clocks are off by up to a day; nothing may depend on them
        let wall_offset_ms = 1_000_000_000 + chance.between(0, 86_400_000);
        Self {
            index,
            signer,
            disk: Disk::default(),
            live: None,
            starts: 0,
            chance,
            wall_offset_ms,
            cluster,
            members,
        }
    }

    /// Its peer id.
    pub fn peer(&self) -> PeerId {
        self.signer.peer_id()
    }

    fn now(&self, at_ms: u64) -> Now {
        let booted = self.live.as_ref().map_or(at_ms, |live| live.booted_ms);
        Now { wall: WallMs(self.wall_offset_ms + at_ms), monotonic: Monotonic(7 + at_ms - booted) }
    }

    /// Puts frames on the disk before the first start, as a founder or joiner got them.
    pub fn install(&mut self, frames: &[VerifiedFrame]) {
        for frame in frames {
            let events = Admitted::of_frame(frame.clone(), WallMs(self.wall_offset_ms));
            self.disk.commit(Arc::new(frame.clone()), &events);
        }
    }

    /// Opens the disk and starts under a new incarnation.
    pub fn start(&mut self, at_ms: u64, setup: &Setup, seed: u64, checker: &mut Checker) -> Vec<Wish> {
        self.starts += 1;
        let (mut log, mut views) = (Log::new(self.cluster), Views::new(self.cluster));
        for frames in self.disk.frames().chunks(FRAMES_AT_ONCE) {
            let mut events = Vec::new();
            for frame in frames {
                match log.readmit(&**frame, &self.disk) {
                    Ok(Admission::Admitted) => {}
                    other => {
                        let what = format!("a committed frame is not admitted again: {other:?}");
                        checker.report(Violation::Broken { node: self.index, what });
                    }
                }
                events.extend(Admitted::of_kept_frame(frame, WallMs(self.wall_offset_ms + at_ms)));
            }
            views.apply_all(&events, &self.disk);
        }
        let incarnation = Incarnation::from_bytes(self.chance.bytes16());
        let chain = ChainId { author: self.peer(), incarnation };
        let config = Config {
            slots: setup.slots,
            allow: Allow::any(),
            timing: setup.timing,
            seen: self.disk.seen.clone(),
            seed: seed ^ self.starts ^ (self.index as u64) << 32,
            ..Config::default()
        };
        let wall = WallMs(self.wall_offset_ms + at_ms);
        let scheduler = Scheduler::open(chain, config, &views, Now { wall, monotonic: Monotonic(7) });
        self.live = Some(Live {
            author: Author { signer: self.signer.clone(), chain },
            log,
            pending: Pending::default(),
            views,
            scheduler,
            requests: VecDeque::new(),
            committing: None,
            executions: BTreeMap::new(),
            heard: BTreeMap::new(),
            booted_ms: at_ms,
            armed: None,
            programs: 0,
            program_waits: false,
        });
        let mut wishes = vec![Wish::Wake(self.chance.between(1, TICK_MS), Wake::Tick)];
        wishes.push(Wish::Wake(self.chance.between(100, 2_000), Wake::Program));
        self.pump(at_ms, setup, seed, checker, &mut wishes);
        wishes
    }

    /// Loses power: memory and everything uncommitted are gone.
    pub fn crash(&mut self, checker: &mut Checker) {
        if let Some(live) = self.live.take() {
            for execution in live.executions.values() {
                checker.ends(self.index, &execution.job);
            }
        }
    }

    /// A person or program asks for something.
    pub fn ask(&mut self, command: Command) {
        if let Some(live) = &mut self.live {
            live.requests.push_back(Request::Command { id: None, command: Box::new(command) });
        }
    }

    /// It is told to shut down in order.
    pub fn drain(&mut self, at_ms: u64) {
        let now = self.now(at_ms);
        if let Some(live) = &mut self.live {
            live.scheduler.handle_drain(&live.views, Duration::from_secs(4), now);
        }
    }

    /// A message arrives.
    pub fn receive(&mut self, at_ms: u64, from: usize, message: Message, wishes: &mut Vec<Wish>) {
        let now = self.now(at_ms);
        let Some(peer) = self.members.get(from).copied() else { return };
        let Some(live) = &mut self.live else { return };
        live.heard.insert(from, at_ms);
        live.scheduler.handle_peer(&live.views, peer, Presence::Alive, now);
        match message {
            Message::Beat(bytes) => {
                if let Some(beat) = Message::beat(&bytes) {
                    live.scheduler.handle_beat(&live.views, &beat, now);
                }
            }
            Message::Frames(frames) => live.requests.push_back(Request::Frames { from: peer, frames }),
            Message::Frontier { lengths, answer } => {
                let lacking = self.disk.beyond(&lengths, FRAMES_PER_MESSAGE_MAX);
                if !lacking.is_empty() {
                    wishes.push(Wish::Send(from, Message::Frames(lacking)));
                }
                let own = self.disk.frontier();
                let lacks = lengths.iter().any(|(chain, len)| own.get(chain).is_none_or(|own| own < len));
                if answer && lacks {
                    wishes.push(Wish::Send(from, Message::Frontier { lengths: own, answer: false }));
                }
            }
        }
    }

    /// A wish of its own comes true.
    pub fn wake(
        &mut self,
        at_ms: u64,
        wake: Wake,
        setup: &Setup,
        seed: u64,
        checker: &mut Checker,
        wishes: &mut Vec<Wish>,
    ) {
        let now = self.now(at_ms);
        match wake {
            Wake::Timer => {
                let Some(live) = &mut self.live else { return };
                live.armed = None;
                if live.scheduler.poll_timeout() <= now.monotonic {
                    live.scheduler.handle_timer(&live.views, now);
                }
            }
            Wake::Committed => self.committed(at_ms, checker, setup, wishes),
            Wake::Tick => self.tick(at_ms, wishes),
            Wake::Step(claim) => self.step(at_ms, claim, setup, checker, wishes),
            Wake::Dead(claim) => {
                let Some(live) = &mut self.live else { return };
                if let Some(execution) = live.executions.remove(&claim) {
                    checker.ends(self.index, &execution.job);
                    let report = Report::Stopped { steps_done: execution.begun };
                    live.scheduler.handle_execution(&live.views, claim, report, now);
                }
            }
            Wake::Program => {
                let Some(live) = &mut self.live else { return };
                if !live.program_waits {
                    live.programs += 1;
                    live.program_waits = true;
                    let ask = ProgramAsk {
                        only: None,
                        program: ProgramId(live.programs),
                        tags: vec![],
                        lease: Duration::from_secs(12),
                        waits: true,
                    };
                    live.scheduler.handle_program(&live.views, ask, now);
                }
            }
        }
        self.pump(at_ms, setup, seed, checker, wishes);
    }

    fn tick(&mut self, at_ms: u64, wishes: &mut Vec<Wish>) {
        let now = self.now(at_ms);
        wishes.push(Wish::Wake(TICK_MS, Wake::Tick));
        let others: Vec<usize> = (0..self.members.len()).filter(|other| *other != self.index).collect();
        let Some(live) = &mut self.live else { return };
        for other in &others {
            let heard = live.heard.get(other).copied().unwrap_or(live.booted_ms);
            if at_ms - heard > DOWN_AFTER_MS
                && let Some(peer) = self.members.get(*other)
            {
                live.scheduler.handle_peer(&live.views, *peer, Presence::Down, now);
            }
        }
        if (at_ms / TICK_MS).is_multiple_of(FRONTIER_TICKS) && !others.is_empty() {
            let index = self.chance.between(0, others.len() as u64);
            let lengths = self.disk.frontier();
            if let Some(other) = others.get(usize::try_from(index).unwrap_or(0)) {
                wishes.push(Wish::Send(*other, Message::Frontier { lengths, answer: true }));
            }
        }
    }

    fn step(
        &mut self,
        at_ms: u64,
        claim: EventId,
        setup: &Setup,
        checker: &mut Checker,
        wishes: &mut Vec<Wish>,
    ) {
        let now = self.now(at_ms);
        let Some(live) = &mut self.live else { return };
        let Some(execution) = live.executions.get_mut(&claim) else { return };
        if execution.stopping {
            return;
        }
        let index = usize::try_from(execution.begun).unwrap_or(usize::MAX);
        if let Some(duration) = execution.steps_ms.get(index).copied() {
            if !setup.executors_never_stop && !live.scheduler.may_go_on(&live.views, &claim) {
                return;
            }
            execution.begun += 1;
            checker.step(self.index, &live.views, &execution.run, &execution.job, &claim);
            let report = Report::Step { number: execution.begun, percent: None };
            wishes.push(Wish::Wake(duration, Wake::Step(claim)));
            live.scheduler.handle_execution(&live.views, claim, report, now);
            return;
        }
        let report = match execution.ending {
            Ending::Concludes(conclusion) => Report::Finished(Box::new(execution.result(conclusion))),
            Ending::BreaksDown => {
                Report::Faulted { why: "the executor broke down".to_owned(), steps_done: execution.begun }
            }
            Ending::Unable => Report::Unable { why: "no such tool here".to_owned() },
            Ending::FallsSilent => return,
        };
        checker.ends(self.index, &execution.job);
        live.executions.remove(&claim);
        live.scheduler.handle_execution(&live.views, claim, report, now);
        wishes.push(Wish::Wake(500, Wake::Program));
    }

    /// Does everything the scheduler wants, and goes on writing.
    pub fn pump(
        &mut self,
        at_ms: u64,
        setup: &Setup,
        seed: u64,
        checker: &mut Checker,
        wishes: &mut Vec<Wish>,
    ) {
        let now = self.now(at_ms);
        loop {
            let Some(live) = &mut self.live else { return };
            if let Some((id, command)) = live.scheduler.poll_command() {
                live.requests.push_back(Request::Command { id: Some(id), command: Box::new(command) });
            } else if let Some(action) = live.scheduler.poll_action() {
                self.act(action, now, setup, seed, checker, wishes);
            } else if let Some(beat) = live.scheduler.poll_datagram() {
                wishes.push(Wish::Broadcast(Message::Beat(beat.encode())));
            } else if live.committing.is_none() && !live.requests.is_empty() {
                self.write(now, checker, setup, wishes);
            } else {
                break;
            }
        }
        if let Some(live) = &mut self.live {
            let due = live.booted_ms + live.scheduler.poll_timeout().0 - 7;
            if live.armed.is_none_or(|armed| armed > due) {
                live.armed = Some(due);
                wishes.push(Wish::Wake(due.saturating_sub(at_ms), Wake::Timer));
            }
        }
    }

    fn act(
        &mut self,
        action: Action,
        now: Now,
        setup: &Setup,
        seed: u64,
        checker: &mut Checker,
        wishes: &mut Vec<Wish>,
    ) {
        let Some(live) = &mut self.live else { return };
        match action {
            Action::Execute { run, job, claim, .. } | Action::Hand { run, job, claim, .. } => {
                let is_task = live.views.runs().live(&run).is_some_and(|run| run.is_task());
                live.program_waits &= !is_task;
                let execution = Execution::draw(seed, run, job, claim, &setup.faults, is_task);
                checker.begins(self.index, &self.disk, &live.views, &run, &job, &claim);
                live.executions.insert(claim, execution);
                wishes.push(Wish::Wake(2, Wake::Step(claim)));
            }
            Action::Stop { claim, .. } => {
                if setup.executors_never_stop {
                    return;
                }
                if let Some(execution) = live.executions.get_mut(&claim) {
                    execution.stopping = true;
                    wishes.push(Wish::Wake(self.chance.between(1, 400), Wake::Dead(claim)));
                    wishes.push(Wish::Wake(500, Wake::Program));
                }
            }
            Action::NothingFor { .. } => {
                live.program_waits = false;
                wishes.push(Wish::Wake(3_000, Wake::Program));
            }
            Action::Plan { run } => {
                let plan = live.views.runs().live(&run).and_then(workflows::plan);
                if let Some(plan) = plan {
                    live.requests
                        .push_back(Request::Command { id: None, command: Box::new(Command::Plan(plan)) });
                }
                live.scheduler.handle_planned(run, true, now);
            }
            Action::Resubmit { run, attempt } => {
                let failed = live.views.runs().run(&run, live.views.authority(), &self.disk);
                let next = failed.and_then(|run| workflows::resubmission(&run, attempt));
                if let Some((submission, plan)) = next {
                    let submission = Box::new(submission);
                    let command = Command::Retry { of: run, submission, trigger: None, plan, blobs: vec![] };
                    live.requests.push_back(Request::Command { id: None, command: Box::new(command) });
                }
            }
            // no GitHub is simulated: a run that may leave waits on
            Action::HandOver { .. } => {}
            Action::RememberSeen { peers } => self.disk.seen = peers.into_iter().collect(),
        }
    }

    /// Whether nothing is under way in it.
    pub fn is_idle(&self) -> bool {
        self.live.as_ref().is_some_and(|live| {
            live.requests.is_empty() && live.committing.is_none() && live.scheduler.held_claims().is_empty()
        })
    }
}
