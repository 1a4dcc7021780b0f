//! A node's one writer: requests wait while a commit is under way, and become true when it comes back.

use std::collections::BTreeSet;
use std::sync::Arc;

use wfengine_core::command::{Command, Decision, Refusal, decide};
use wfengine_core::log::Admission;
use wfengine_core::scheduler::CommandId;
use wfengine_core::seal::seal;
use wfengine_core::time::Now;
use wfengine_core::{Admitted, Views};
use wfengine_storage_format::{Body, ChainId, EventId, PeerId, RunId, VerifiedFrame};

use super::{Node, Wake, Wish};
use crate::harness::checks::{Checker, Violation};
use crate::harness::network::Message;
use crate::harness::plan::Setup;

const COMMANDS_PER_COMMIT_MAX: usize = 64;

/// What waits for the writer.
pub(super) enum Request {
    Command { id: Option<CommandId>, command: Box<Command> },
    Frames { from: PeerId, frames: Vec<Arc<VerifiedFrame>> },
}

/// A commit under way.
#[derive(Default)]
pub(super) struct Batch {
    frames: Vec<(Arc<VerifiedFrame>, bool)>,
    answers: Vec<(CommandId, Result<Vec<EventId>, Refusal>)>,
    submitted: Vec<RunId>,
    woken: Vec<(VerifiedFrame, PeerId)>,
}

impl Node {
    /// Begins a commit: either foreign frames or own commands.
    pub(super) fn write(&mut self, now: Now, checker: &mut Checker, setup: &Setup, wishes: &mut Vec<Wish>) {
        let mut batch = Batch::default();
        let mut runs = BTreeSet::new();
        let mut commands = Vec::new();
        while let Some(live) = &mut self.live {
            match live.requests.front() {
                Some(Request::Command { command, .. })
                    if commands.len() < COMMANDS_PER_COMMIT_MAX
                        && command.run().is_none_or(|run| runs.insert(run)) =>
                {
                    if let Some(Request::Command { id, command }) = live.requests.pop_front() {
                        commands.push((id, *command));
                    }
                }
                Some(Request::Frames { .. }) if commands.is_empty() => {
                    if let Some(Request::Frames { from, frames }) = live.requests.pop_front() {
                        for frame in frames {
                            self.admit(&frame, from, &mut batch, checker);
                        }
                    }
                    break;
                }
                _ => break,
            }
        }
        self.decide(commands, now, &mut batch, checker);
        let delay = if batch.frames.is_empty() { 0 } else { self.chance.between(1, 8) };
        if setup.announces_before_commit {
            let own: Vec<_> = batch.frames.iter().map(|(frame, _)| Arc::clone(frame)).collect();
            for run in &batch.submitted {
                checker.acknowledge(*run);
            }
            if !own.is_empty() {
                wishes.push(Wish::Broadcast(Message::Frames(own)));
            }
        }
        if let Some(live) = &mut self.live {
            live.committing = Some(batch);
        }
        wishes.push(Wish::Wake(delay, Wake::Committed));
    }

    fn admit(&mut self, frame: &Arc<VerifiedFrame>, from: PeerId, batch: &mut Batch, checker: &mut Checker) {
        let Some(live) = &mut self.live else { return };
        let roster = Arc::clone(live.views.authority().roster());
        match live.log.admit(&**frame, |peer| roster.was_ever_member(peer), &self.disk) {
            Ok(Admission::Admitted) => {
                batch.frames.push((Arc::clone(frame), false));
                batch.woken.extend(live.pending.wake(frame));
            }
            Ok(Admission::Duplicate) => {}
            Ok(Admission::Missing(needs)) => drop(live.pending.keep((**frame).clone(), from, needs)),
            Ok(Admission::Forked(_)) => {
                let what = format!("chain {} forked", frame.header().chain);
                checker.report(Violation::Broken { node: self.index, what });
            }
            Err(rejected) => {
                checker.report(Violation::Broken { node: self.index, what: rejected.to_string() });
            }
        }
    }

    fn decide(
        &mut self,
        commands: Vec<(Option<CommandId>, Command)>,
        now: Now,
        batch: &mut Batch,
        checker: &mut Checker,
    ) {
        let Some(live) = &mut self.live else { return };
        let events = live.views.authority().events();
        let heads = live.views.authority().heads();
        let authority_chains: BTreeSet<ChainId> =
            heads.iter().filter_map(|id| events.get(id)).map(|event| event.chain).collect();
        for (id, command) in commands {
            let answer = match decide(&live.views, &live.author.chain, &command) {
                Err(refusal) => Err(refusal),
                Ok(Decision::AlreadySo) => Ok(Vec::new()),
                Ok(Decision::Write(drafts)) => {
                    seal(&live.log, &self.disk, &live.author, &authority_chains, drafts, now.wall).map(
                        |frames| {
                            let mut ids = Vec::new();
                            for frame in frames {
                                ids.extend(frame.events().iter().map(|(id, _)| *id));
                                let admitted = live.log.admit(&frame, |_| true, &self.disk);
                                if !matches!(admitted, Ok(Admission::Admitted)) {
                                    let what = format!("its own frame is not admitted: {admitted:?}");
                                    checker.report(Violation::Broken { node: self.index, what });
                                }
                                batch.frames.push((Arc::new(frame), true));
                            }
                            ids
                        },
                    )
                }
            };
            if let (Ok(_), Command::Submit { submission, .. }) = (&answer, &command) {
                batch.submitted.push(submission.run());
            }
            if let Some(id) = id {
                batch.answers.push((id, answer));
            }
        }
    }

    /// A commit came back: now it is true, is folded in one go, told to the scheduler, and leaves the node.
    pub(super) fn committed(
        &mut self,
        at_ms: u64,
        checker: &mut Checker,
        setup: &Setup,
        wishes: &mut Vec<Wish>,
    ) {
        let now = self.now(at_ms);
        let Some(live) = &mut self.live else { return };
        let Some(batch) = live.committing.take() else { return };
        let (mut own, mut events) = (Vec::new(), Vec::new());
        for (frame, is_own) in batch.frames {
            let of_frame = Admitted::of_kept_frame(&frame, now.wall);
            self.disk.commit(Arc::clone(&frame), &of_frame);
            events.extend(of_frame.into_iter().map(|event| (event, is_own)));
            if is_own {
                own.push(frame);
            }
        }
        live.views.apply_all(events.iter().map(|(event, _)| event), &self.disk);
        for (event, is_own) in &events {
            live.scheduler.handle_event(&live.views, event, now);
            if *is_own && let Some(what) = void(&live.views, event) {
                checker.report(Violation::WroteVoid { node: self.index, what });
            }
        }
        for (id, answer) in batch.answers {
            live.scheduler.handle_committed(&live.views, id, answer, now);
        }
        if setup.forgetful && self.index > 0 {
            live.views.runs_mut().let_go(2);
        }
        for run in batch.submitted {
            checker.acknowledge(run);
        }
        for (frame, from) in batch.woken {
            live.requests.push_front(Request::Frames { from, frames: vec![Arc::new(frame)] });
        }
        if !own.is_empty() && !setup.announces_before_commit {
            wishes.push(Wish::Broadcast(Message::Frames(own)));
        }
    }
}

/// What a node wrote and nobody folds.
fn void(views: &Views, event: &Admitted) -> Option<String> {
    let run = views.runs().live(&event.body.run()?)?;
    let job = event.body.job().and_then(|(_, job)| run.jobs.get(&job));
    let is_void = run.void.contains(&event.id) || job.is_some_and(|job| job.void.contains(&event.id));
    let claims = job.map_or(0, |job| job.claims.len());
    (is_void && !matches!(event.body, Body::Unknown)).then(|| format!("{:?} ({claims} claims)", event.body))
}
