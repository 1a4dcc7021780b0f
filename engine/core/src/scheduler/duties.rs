//! Duties toward whole runs: planning what became plannable, submitting failed runs again, giving up what nobody may run.
//!
//! Any member may do them; so that not all do at once, the one who caused the duty comes first, the others in the order of the duty's
//! key, TURN apart. Doing one twice is harmless: plans of one key coincide, attempts have one id, a run expires once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use wfengine_storage_format::{Body, Origin, PeerId, RunId, duty_key};

use super::{Action, Purpose, Scheduler, Timer};
use crate::admitted::Admitted;
use crate::command::Command;
use crate::ownership::ranking;
use crate::time::{Monotonic, Now};
use crate::views::Views;
use crate::views::run::{NextAttempt, Run};

/// How often a run that may expire is looked at.
const EXPIRY_LOOK: Duration = Duration::from_secs(600);
/// Before something that was asked for and did not happen is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// How often a re-submission is asked for.
const RETRY_ASKS_MAX: u32 = 5;

#[derive(Clone, Copy, Debug, Default)]
struct Planning {
    /// Finished keys when the run was last planned here, plus one.
    considered: usize,
    failures: u32,
}

#[derive(Clone, Copy, Debug)]
struct Expiring {
    eligible: Monotonic,
}

/// A run that failed and has attempts left. It may leave memory before its time has come.
#[derive(Clone, Copy, Debug)]
struct Retrying {
    attempt: u32,
    next: RunId,
    asks: u32,
}

/// Runs this node may have a duty towards.
#[derive(Clone, Debug, Default)]
pub(super) struct Duties {
    planning: BTreeMap<RunId, Planning>,
    expiring: BTreeMap<RunId, Expiring>,
    retrying: BTreeMap<RunId, Retrying>,
}

impl Scheduler {
    /// The node planned a run, or could not: then it is asked again later. Plans are submitted as commands.
    pub fn handle_planned(&mut self, run: RunId, could: bool, now: Now) {
        self.observe(now.monotonic);
        if let Some(planning) = self.duties.planning.get_mut(&run)
            && !could
        {
            planning.considered = 0;
            planning.failures = planning.failures.saturating_add(1);
            let wait = ASK_AGAIN.saturating_mul(planning.failures.min(20));
            self.agenda.set(Timer::Plan(run), now.monotonic + wait);
        }
    }

    /// Looks at a run after an event of it, or at the start.
    pub(super) fn watch_run(&mut self, views: &Views, run: &Run, event: Option<&Admitted>, now: Monotonic) {
        self.watch_planning(views, run, event, now);
        self.watch_retry(views, run, now);
        self.watch_expiry(run, now);
        self.watch_hand_over(run, now);
    }

    fn watch_planning(&mut self, views: &Views, run: &Run, event: Option<&Admitted>, now: Monotonic) {
        if run.unplanned_keys().is_empty() {
            self.duties.planning.remove(&run.id);
            self.agenda.cancel(&Timer::Plan(run.id));
            return;
        }
        let finished = run.finished_keys().len();
        let considered = self.duties.planning.entry(run.id).or_default().considered;
        let never = run.parts.is_empty() && considered == 0;
        if !never && (finished == 0 || finished < considered) {
            return;
        }
        let own = self.chain.author;
        let caused = match event.map(|event| &event.body) {
            Some(Body::JobCompleted(_) | Body::JobFailed(_)) => {
                event.is_some_and(|event| event.author() == own)
            }
            _ => run.parts.is_empty() && run.submission().is_some_and(|submission| submission.author == own),
        };
        let wait = if caused { Duration::ZERO } else { self.turns_for(views, "plan", &run.id, None) };
        self.agenda.set_earlier(Timer::Plan(run.id), now + wait);
    }

    pub(super) fn plan_is_due(&mut self, views: &Views, run: &RunId, _now: Monotonic) {
        let Some(known) = views.runs().live(run).filter(|known| !known.unplanned_keys().is_empty()) else {
            self.duties.planning.remove(run);
            return;
        };
        self.duties.planning.entry(*run).or_default().considered = known.finished_keys().len() + 1;
        if self.must_upgrade.is_none() {
            self.actions.push_back(Action::Plan { run: *run });
        }
    }

    /// A failed run with attempts left is submitted again, by its submitter's node first.
    fn watch_retry(&mut self, views: &Views, run: &Run, now: Monotonic) {
        let Some(next) = missing_attempt(views, run) else {
            self.duties.retrying.remove(&run.id);
            self.agenda.cancel(&Timer::Retry(run.id));
            return;
        };
        if self.duties.retrying.contains_key(&run.id) {
            return;
        }
        let Some(submission) = run.submission() else { return };
        // a further attempt is this node's own submission: it vouches for no more than it would execute
        if !self.executes(run) {
            return;
        }
        let turns = match submission.author == self.chain.author {
            true => Duration::ZERO,
            false => self.turns_for(views, "retry", &run.id, Some(submission.author)),
        };
        let NextAttempt { run: id, attempt, backoff, .. } = next;
        self.duties.retrying.insert(run.id, Retrying { attempt, next: id, asks: 0 });
        self.agenda.set(Timer::Retry(run.id), now + backoff + turns);
    }

    pub(super) fn retry_is_due(&mut self, views: &Views, id: &RunId, now: Monotonic) {
        let Some(retrying) = self.duties.retrying.get_mut(id) else { return };
        let known = views.runs().live(id);
        let over = retrying.asks >= RETRY_ASKS_MAX
            || views.runs().contains(&retrying.next)
            || known.is_some_and(|run| run.next_attempt().is_none());
        if over {
            self.duties.retrying.remove(id);
            return;
        }
        retrying.asks += 1;
        self.actions.push_back(Action::Resubmit { run: *id, attempt: retrying.attempt });
        self.agenda.set(Timer::Retry(*id), now + ASK_AGAIN);
    }

    fn watch_expiry(&mut self, run: &Run, now: Monotonic) {
        let may_expire =
            run.submitted.as_ref().is_some_and(|submitted| submitted.origin == Origin::Discovery);
        if !may_expire || run.status.is_terminal() {
            if self.duties.expiring.remove(&run.id).is_some() {
                self.agenda.cancel(&Timer::Expire(run.id));
            }
            return;
        }
        if let Entry::Vacant(vacant) = self.duties.expiring.entry(run.id) {
            vacant.insert(Expiring { eligible: now });
            self.agenda.set(Timer::Expire(run.id), now + EXPIRY_LOOK);
        }
    }

    pub(super) fn expiry_is_due(&mut self, views: &Views, id: &RunId, now: Monotonic) {
        let Some(run) = views.runs().live(id).filter(|run| !run.status.is_terminal()) else {
            self.duties.expiring.remove(id);
            return;
        };
        let reachable = self.is_reachable(views, run, now) || self.must_upgrade.is_some();
        let turns = self.turns_for(views, "expire", id, None);
        let Some(expiring) = self.duties.expiring.get_mut(id) else { return };
        if reachable {
            expiring.eligible = now;
        }
        let at = expiring.eligible + self.timing.expiry + turns;
        if now < at {
            self.agenda.set(Timer::Expire(*id), at.min(now + EXPIRY_LOOK));
            return;
        }
        let waited_ms = u64::try_from((now - expiring.eligible).as_millis()).unwrap_or(u64::MAX);
        self.agenda.set(Timer::Expire(*id), now + EXPIRY_LOOK);
        self.ask(Command::Expire { run: *id, waited_ms }, Purpose::Other);
    }

    /// Whether any open job of a run is held, or a living peer may execute it.
    fn is_reachable(&self, views: &Views, run: &Run, now: Monotonic) -> bool {
        let outlook = self.outlook(views, now);
        let own = self.chain.author;
        if run.dispatched().is_some() {
            return true;
        }
        run.jobs.values().filter(|job| !job.status.is_terminal()).any(|job| {
            job.holder().is_some()
                || super::order_of(views, run, job).iter().any(|place| {
                    if place.peer == own {
                        return self.allow.covers(run, &own);
                    }
                    let declined = outlook.decline_of(&place.peer, run, job);
                    self.peers.is_alive(&place.peer)
                        && !matches!(
                            declined,
                            Some(
                                super::Decline::NotAllowed
                                    | super::Decline::Unable
                                    | super::Decline::NotEligible
                            )
                        )
                })
        })
    }

    /// How long this node leaves a duty to others: TURN for whoever caused it, and for each living member before it in rank.
    fn turns_for(&self, views: &Views, kind: &str, run: &RunId, first: Option<PeerId>) -> Duration {
        let key = duty_key(kind, &run.to_string());
        let order = ranking(&key, views.authority().roster(), &[]);
        let before = order
            .iter()
            .take_while(|ranked| ranked.peer != self.chain.author)
            .filter(|ranked| Some(ranked.peer) != first && self.peers.is_alive(&ranked.peer))
            .count();
        let turns = u32::try_from(before + 1).unwrap_or(u32::MAX);
        self.timing.turn.saturating_mul(turns).min(self.timing.turns_max)
    }
}

/// The attempt that should follow a run, if one should and nobody submitted it.
fn missing_attempt(views: &Views, run: &Run) -> Option<NextAttempt> {
    run.next_attempt().filter(|next| !views.runs().contains(&next.run))
}
