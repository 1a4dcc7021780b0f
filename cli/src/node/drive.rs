//! The drive loop: what is committed goes to the scheduler, what the scheduler wants is done.
//!
//! Order matters: an answered command is told only after the events it became. The writer publishes events before it answers,
//! so draining the news before each answer keeps that order.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, watch};
use wfengine_core::admitted::Admitted;
use wfengine_core::command::Command;
use wfengine_core::scheduler::{Action, CommandId};
use wfengine_storage_format::{Placement, RunId};
use wfengine_store::{AskError, Committed};

use super::{CommandAnswer, Node, held};

/// Commits told in one go before timers are looked at.
const COMMITS_AT_ONCE: usize = 64;

pub(super) async fn drive(
    node: Arc<Node>,
    mut news: broadcast::Receiver<Arc<Committed>>,
    mut answers: mpsc::UnboundedReceiver<CommandAnswer>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut frames_told = node.watcher().frontier().frames_len;
    end_orphans(&node).await;
    node.ready.send_replace(true);
    loop {
        node.told.send_replace(frames_told);
        act(&node);
        let now = node.clock.monotonic();
        let due = held(&node.scheduler).poll_timeout();
        let wait = if due > now { due - now } else { Duration::ZERO };
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => return,
            commit = news.recv() => take(&node, commit, &mut news, &mut frames_told),
            Some((id, answer)) = answers.recv() => {
                while let Ok(commit) = news.try_recv() {
                    take(&node, Ok(commit), &mut news, &mut frames_told);
                }
                node.schedule(|scheduler, views, now| scheduler.handle_committed(views, id, answer, now));
            }
            () = node.wake.notified() => {}
            () = tokio::time::sleep(wait) => {
                node.schedule(|scheduler, views, now| scheduler.handle_timer(views, now));
            }
        }
        if node.store.recorder().fatal().is_some() {
            node.stopping.send_replace(true);
            return;
        }
    }
}

/// Ends what was to run for an earlier `wfengine run` of this host and did not end with it. That process is gone, or the data
/// directory would not be this one's; nobody else may execute it, and no later `run` is to find it begun.
async fn end_orphans(node: &Arc<Node>) {
    let own = node.peer_id();
    let orphans: Vec<RunId> = {
        let views = node.watcher().views();
        let open = views.runs().all_live().filter(|run| !run.status.is_terminal());
        let placed = open.filter(|run| {
            let here = run.submission().is_some_and(|submission| submission.author == own);
            here && run.submitted.as_ref().is_some_and(|submitted| submitted.placement == Placement::Author)
        });
        placed.map(|run| run.id).collect()
    };
    for run in orphans {
        let reason = "the `wfengine run` that executed it ended before it did".to_owned();
        if let Err(error) = node.ask(Command::Cancel { run, reason }).await {
            tracing::warn!(%run, %error, "a run whose process is gone was not ended");
        }
    }
}

/// Tells the scheduler of a commit, and of those that came meanwhile.
fn take(
    node: &Arc<Node>,
    commit: Result<Arc<Committed>, broadcast::error::RecvError>,
    news: &mut broadcast::Receiver<Arc<Committed>>,
    frames_told: &mut u64,
) {
    match commit {
        Ok(first) => {
            let mut next = Some(first);
            for _ in 0..COMMITS_AT_ONCE {
                let Some(commit) = next.take() else { break };
                tell_once(node, &commit, frames_told);
                next = news.try_recv().ok();
            }
            if let Some(commit) = next {
                tell_once(node, &commit, frames_told);
            }
        }
        Err(broadcast::error::RecvError::Lagged(_)) => catch_up(node, news, frames_told),
        Err(broadcast::error::RecvError::Closed) => {}
    }
}

/// What was read back from the log may come as news, too.
fn tell_once(node: &Arc<Node>, commit: &Committed, frames_told: &mut u64) {
    if commit.frames_len > *frames_told {
        *frames_told = commit.frames_len;
        let brought = commit.frames.iter().zip(&commit.from).filter(|(_, from)| from.is_some());
        let bytes: usize = brought.map(|(frame, _)| frame.bytes().len()).sum();
        if bytes > 0 {
            node.meter.received(bytes as u64);
        }
        tell(node, &commit.events);
    }
}

/// Reads what was missed from the log itself.
fn catch_up(node: &Arc<Node>, news: &mut broadcast::Receiver<Arc<Committed>>, frames_told: &mut u64) {
    *news = node.watcher().subscribe();
    let end = node.watcher().frontier().frames_len;
    while *frames_told < end {
        match node.watcher().frames(*frames_told, 256) {
            Ok(frames) if !frames.is_empty() => {
                for stored in frames {
                    *frames_told = stored.number + 1;
                    tell(node, &Admitted::of_frame(stored.frame, stored.first_seen));
                }
            }
            Ok(_) => return,
            Err(error) => {
                tracing::error!(%error, "the log cannot be read back; the scheduler goes on with what it knows");
                return;
            }
        }
    }
}

fn tell(node: &Arc<Node>, events: &[Arc<Admitted>]) {
    let me = node.peer_id();
    node.schedule(|scheduler, views, now| {
        for event in events {
            scheduler.handle_event(views, event, now);
            node.meter.event(event, views, &me);
        }
    });
}

/// Does what the scheduler wants: commands, actions, beats.
fn act(node: &Arc<Node>) {
    let (mut commands, mut actions, mut beats) = (Vec::new(), Vec::new(), Vec::new());
    {
        let mut scheduler = held(&node.scheduler);
        while let Some(command) = scheduler.poll_command() {
            commands.push(command);
        }
        while let Some(action) = scheduler.poll_action() {
            actions.push(action);
        }
        while let Some(beat) = scheduler.poll_datagram() {
            beats.push(beat);
        }
    }
    for (id, command) in commands {
        match node.store.recorder().ask_later(command, node.clock.wall()) {
            Ok(answer) => {
                tokio::spawn(pass_on(node.answers.clone(), id, answer));
            }
            Err(error) => tracing::error!(%error, "a command of the scheduler was not written"),
        }
    }
    for action in actions {
        perform(node, action);
    }
    if let Some(network) = node.network().filter(|_| !beats.is_empty()) {
        network.send_beats(beats);
    }
}

async fn pass_on(
    answers: mpsc::UnboundedSender<CommandAnswer>,
    id: CommandId,
    answer: tokio::sync::oneshot::Receiver<Result<wfengine_store::Receipt, AskError>>,
) {
    let answer = match answer.await {
        Ok(Ok(receipt)) => Ok(receipt.events),
        Ok(Err(AskError::Refused(refusal))) => Err(refusal),
        // the disk failed: the process is about to exit
        Ok(Err(AskError::Store(_))) | Err(_) => return,
    };
    let _ = answers.send((id, answer));
}

fn perform(node: &Arc<Node>, action: Action) {
    match action {
        Action::Execute { run, job, claim, token } => super::execute::begin(node, run, job, claim, token),
        Action::Stop { claim, reason } => super::execute::stop(node, &claim, reason),
        Action::Hand { program, run, job, claim, token } => {
            super::programs::hand(node, program, super::Handed { run, job, claim, token });
        }
        Action::NothingFor { program } => super::programs::nothing_for(node, program),
        Action::Plan { run } => {
            tokio::spawn(super::planning::plan_more(Arc::clone(node), run));
        }
        Action::Resubmit { run, attempt } => {
            tokio::spawn(super::planning::submit_again(Arc::clone(node), run, attempt));
        }
        Action::HandOver { run } => {
            // while discovery does not run here there is no way to GitHub, and the scheduler asks again
            let _ = node.hand_overs.0.send(run);
        }
        Action::RememberSeen { peers } => {
            let now = node.clock.wall().0;
            let mut settings = held(&node.settings);
            settings.seen = peers.iter().map(|peer| (peer.to_string(), now)).collect();
            if let Err(failure) = node.home.keep_settings(&settings) {
                tracing::warn!(%failure, "the members seen today were not kept");
            }
        }
    }
}
