//! What concerns the world outside: handing runs over that no peer takes, and whose turn it is to look at something.
//!
//! A run is handed over only by the author of its canonical submission, so that it happens at most once; if that member is gone, the
//! run waits, visibly. What GitHub refused is offered to it again, each time after twice the wait. Looking at a repository twice is
//! harmless, so turns there are only manners.

use std::time::Duration;

use wfengine_storage_format::{
    EffectOutcome, PeerId, RunId, duty_key, hamming_distance, peer_point, tie_break,
};

use super::{Action, Scheduler, Timer};
use crate::time::Monotonic;
use crate::views::Views;
use crate::views::run::{Dispatch, Run};
use crate::views::run_effects::{DISPATCHES_MAX, keeps_from_github, may_leave};

impl Scheduler {
    /// Counts how long nobody has had anything of a run that may fall back.
    pub(super) fn watch_hand_over(&mut self, run: &Run, now: Monotonic) {
        let own = run.submission().is_some_and(|submission| submission.author == self.chain.author);
        if own && waits_for_github(run, &self.chain.author) {
            let at = self.agenda.time_of(&Timer::HandOver(run.id)).unwrap_or(now + self.wait_of(run));
            self.agenda.set(Timer::HandOver(run.id), at);
        } else {
            self.agenda.cancel(&Timer::HandOver(run.id));
        }
    }

    pub(super) fn hand_over_is_due(&mut self, views: &Views, id: &RunId, now: Monotonic) {
        let waits = |run: &&Run| waits_for_github(run, &self.chain.author);
        let Some(run) = views.runs().live(id).filter(waits) else { return };
        let wait = self.wait_of(run);
        if self.must_upgrade.is_none() && self.drain_until.is_none() {
            self.actions.push_back(Action::HandOver { run: run.id });
        }
        // whoever is asked may be without a way to GitHub just now
        self.agenda.set(Timer::HandOver(*id), now + wait);
    }

    /// How long a run waits for a peer before GitHub is asked to take it: longer each time it refused.
    fn wait_of(&self, run: &Run) -> Duration {
        let refused = run.dispatches.len().min(DISPATCHES_MAX);
        self.timing.fallback.saturating_mul(1 << refused)
    }

    /// What is to be said of a run's way to GitHub: what came of the last hand-over, and whose turn the next one is. Empty for runs that
    /// do not leave the peers or that have ended.
    pub fn way_to_github(&self, views: &Views, run: &Run, now: Monotonic) -> String {
        if run.status.is_terminal() || !may_leave(run) {
            return String::new();
        }
        if let Some(dispatch) = run.dispatched() {
            return self.hand_over_stands(views, dispatch, now);
        }
        let refusal = |dispatch: &Dispatch| match &dispatch.outcome {
            Some(EffectOutcome::Refused(why)) => {
                let who = views.peer_name(&dispatch.author);
                format!("GitHub did not take it from {who}: {why}. ")
            }
            _ => String::new(),
        };
        let before = run.dispatches.last().map(refusal).unwrap_or_default();
        let Some(author) = run.submission().map(|submission| submission.author) else { return before };
        let next = if keeps_from_github(run, &author).is_some() {
            // a peer has it, or GitHub is not asked again
            if run.dispatches.is_empty() { String::new() } else { "It is left to the peers.".to_owned() }
        } else if author == self.chain.author {
            let due = self.agenda.time_of(&Timer::HandOver(run.id));
            match due.map(|due| due - now).filter(|_| self.must_upgrade.is_none()) {
                Some(wait) => {
                    format!("If no peer takes it, this node hands it to GitHub in {}.", span(wait))
                }
                None => "If no peer takes it, this node may hand it to GitHub.".to_owned(),
            }
        } else {
            match self.waits_for_absent(views, run, now) {
                None => {
                    let who = views.peer_name(&author);
                    format!("If no peer takes it, only {who} may hand it to GitHub.")
                }
                Some(waits) => format!("It {waits}."),
            }
        };
        (before + &next).trim_end().to_owned()
    }

    /// Of a run that no peer has and that may be handed to GitHub: whom that waits for, if that member is gone.
    pub fn waits_for_absent(&self, views: &Views, run: &Run, now: Monotonic) -> Option<String> {
        let author = run.submission()?.author;
        if !waits_for_github(run, &author) {
            return None;
        }
        let silence = self.silence_of(&author, now)?;
        let who = views.peer_name(&author);
        Some(format!("waits: only {who} may hand it to GitHub, and {who} was not heard of {silence}"))
    }

    fn hand_over_stands(&self, views: &Views, dispatch: &Dispatch, now: Monotonic) -> String {
        let who = views.peer_name(&dispatch.author);
        let silence = self.silence_of(&dispatch.author, now);
        let silence = silence.map(|silence| format!(", and {who} was not heard of {silence}"));
        let silence = silence.unwrap_or_default();
        match &dispatch.outcome {
            _ if dispatch.seen.is_some() => {
                format!("GitHub executes it, handed over by {who}{silence}.")
            }
            None => format!(
                "{who} was about to hand it to GitHub and has not said what came of it{silence}: no peer takes it meanwhile."
            ),
            Some(EffectOutcome::Unknown(why)) => format!(
                "Whether GitHub has it is not known ({why}); only {who} can find out{silence}: no peer takes it meanwhile."
            ),
            Some(EffectOutcome::Done { .. } | EffectOutcome::Refused(_)) => {
                format!("{who} handed it to GitHub; what GitHub makes of it only {who} says{silence}.")
            }
        }
    }

    /// Since when a member is not heard of, in words; `None` while it lives.
    fn silence_of(&self, peer: &PeerId, now: Monotonic) -> Option<String> {
        if self.peers.is_alive(peer) {
            return None;
        }
        let left = self.peers.peer(peer).and_then(|known| known.presence);
        Some(match left {
            Some((_, since)) => format!("for {}", span(now - since)),
            None => "since this node started".to_owned(),
        })
    }

    /// How many of these members come before this node in the order of a duty, and live: 0 when it is this node's turn.
    pub fn place_for_duty(&self, kind: &str, what: &str, among: impl IntoIterator<Item = PeerId>) -> usize {
        let key = duty_key(kind, what);
        let place = |peer: &PeerId| (hamming_distance(&key, &peer_point(peer, 0)), tie_break(&key, peer));
        let own = place(&self.chain.author);
        let lives = |peer: &PeerId| *peer != self.chain.author && self.peers.is_alive(peer);
        among.into_iter().filter(|peer| lives(peer) && place(peer) < own).count()
    }
}

/// Whether no peer has begun or ended anything of a run, and its author may hand it to GitHub.
fn waits_for_github(run: &Run, author: &PeerId) -> bool {
    !run.status.is_terminal() && keeps_from_github(run, author).is_none()
}

/// A time, to the greatest unit that is not nothing.
fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
    }
}
