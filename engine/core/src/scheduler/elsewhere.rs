//! What concerns the world outside: handing runs over that no peer takes, and whose turn it is to look at something.
//!
//! A run is handed over only by the author of its canonical submission, so that it happens at most once; if that member is gone, the
//! run waits, visibly. Looking at a repository twice is harmless, so turns there are only manners.

use wfengine_storage_format::{PeerId, RunId, duty_key, hamming_distance, peer_point, tie_break};

use super::{Action, Scheduler, Timer};
use crate::time::Monotonic;
use crate::views::Views;
use crate::views::run::Run;
use crate::views::run_effects::may_leave;

impl Scheduler {
    /// Counts how long nobody has had anything of a run that may fall back.
    pub(super) fn watch_hand_over(&mut self, run: &Run, now: Monotonic) {
        let own = run.submission().is_some_and(|submission| submission.author == self.chain.author);
        let waits = own && may_leave(run) && is_untouched(run);
        if waits {
            let at = self.agenda.time_of(&Timer::HandOver(run.id)).unwrap_or(now + self.timing.fallback);
            self.agenda.set(Timer::HandOver(run.id), at);
        } else {
            self.agenda.cancel(&Timer::HandOver(run.id));
        }
    }

    pub(super) fn hand_over_is_due(&mut self, views: &Views, id: &RunId, now: Monotonic) {
        let Some(run) = views.runs().live(id).filter(|run| is_untouched(run)) else { return };
        if self.must_upgrade.is_none() && self.drain_until.is_none() {
            self.actions.push_back(Action::HandOver { run: run.id });
        }
        // whoever is asked may be without a way to GitHub just now
        self.agenda.set(Timer::HandOver(*id), now + self.timing.fallback);
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

/// Whether no peer has begun or ended anything of a run, and GitHub neither.
fn is_untouched(run: &Run) -> bool {
    let nobody = run.jobs.values().all(|job| job.holder().is_none() && job.result.is_none());
    !run.status.is_terminal() && run.dispatches.is_empty() && nobody
}
