//! How one job looks from this node at one moment: what it may do about it, or until when it waits. Pure.
//!
//! Everything the scheduler decides about a job passes through [`Outlook::verdict`]; the rest of the machine only remembers
//! where jobs wait and writes down what came out.

use std::time::Duration;

use wfengine_storage_format::limits::{EPOCHS_MAX, TEXT_BYTES_MAX};
use wfengine_storage_format::{ChainId, EventId, JobClaimed, JobFailed, PeerId, Placement, ownership_key};

use super::allow::{Allow, Allowed};
use super::beat::Decline;
use super::config::Timing;
use super::gates::Gates;
use super::jobs::Entry;
use super::peers::PeerTable;
use crate::ownership::{Ranked, ranking};
use crate::time::Monotonic;
use crate::views::Views;
use crate::views::job::{Claim, ClaimState, Job};
use crate::views::run::Run;

/// A peer's place in the order in which a job is offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Who.
    pub peer: PeerId,
    /// 0 if the submission knew the peer as a member, 1 if it came later.
    pub band: u8,
    /// Place within the band, 0 first.
    pub rank: u32,
    /// Bits between the job's key and the peer.
    pub distance: u32,
}

/// Everybody a job may be offered to, the nearest first: members the submission knew, then those that came later.
///
/// Empty for a run without a valid submission. For `placement: author` the author alone.
pub fn order_of(views: &Views, run: &Run, job: &Job) -> Vec<Place> {
    let Some(submission) = run.submission() else { return Vec::new() };
    if is_placed_at_author(run) {
        return vec![Place { peer: submission.author, band: 0, rank: 0, distance: 0 }];
    }
    let authority = views.authority();
    let key = ownership_key(&submission.head, &job.id);
    let known = authority.closure_under(&submission.refs);
    let mut late = ranking(&key, authority.roster(), &job.leg.runs_on);
    late.retain(|ranked| known.member(&ranked.peer).is_none());
    let place = |band: u8| {
        move |(rank, ranked): (usize, &Ranked)| Place {
            peer: ranked.peer,
            band,
            rank: u32::try_from(rank).unwrap_or(u32::MAX),
            distance: ranked.distance,
        }
    };
    let early = ranking(&key, &known, &job.leg.runs_on);
    let today = |place: &Place| authority.roster().member(&place.peer).is_some();
    early
        .iter()
        .enumerate()
        .map(place(0))
        .filter(today)
        .chain(late.iter().enumerate().map(place(1)))
        .collect()
}

pub(super) fn is_placed_at_author(run: &Run) -> bool {
    run.submitted.as_ref().is_some_and(|submitted| submitted.placement == Placement::Author)
}

/// What the scheduler remembers of the effective claim on a job.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    pub(super) claim: EventId,
    pub(super) started: Option<Monotonic>,
    pub(super) named: Monotonic,
    pub(super) lost: Option<Monotonic>,
}

/// What to do about a job.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    /// It ended, or is not one of the log's any more.
    Gone,
    /// Somebody holds it; look again then.
    Held(Option<Monotonic>),
    /// This node's turn comes then, unless something happens.
    Wait(Monotonic),
    /// Its concurrency group is full.
    Gated(Option<Monotonic>),
    /// Not here; look again then.
    Declined(Decline, Option<Monotonic>),
    /// It may be claimed for a program that asks.
    Task(JobClaimed),
    /// It may be claimed as soon as a slot is free.
    Claim(JobClaimed),
    /// It is to be claimed now.
    ClaimNow(JobClaimed),
    /// Nobody should try any more.
    Fail(JobFailed),
    /// A claim of this very incarnation that nobody works on.
    Orphan(EventId),
}

/// Everything a verdict depends on.
pub(super) struct Outlook<'a> {
    pub(super) views: &'a Views,
    pub(super) chain: &'a ChainId,
    pub(super) timing: &'a Timing,
    pub(super) peers: &'a PeerTable,
    pub(super) gates: &'a Gates,
    pub(super) allow: &'a Allow,
    pub(super) keeps_tasks: bool,
    pub(super) now: Monotonic,
}

/// Whether a claim is lost, and if not, when to look again.
enum Judged {
    Lost,
    Standing(Option<Monotonic>),
}

impl Outlook<'_> {
    pub(super) fn own(&self) -> PeerId {
        self.chain.author
    }

    /// Looks at a job, remembering in `entry` what was learned of its effective claim.
    pub(super) fn verdict(&self, entry: &mut Entry, is_executing: bool) -> Verdict {
        let Some((run, job)) = self.views.runs().live_job(&entry.run, &entry.job) else {
            return Verdict::Gone;
        };
        if job.status.is_terminal() || run.submitted.is_none() {
            return Verdict::Gone;
        }
        let Some(claim) = job.effective_claim() else {
            entry.watch = None;
            return self.offer(entry, run, job, entry.first_seen, None);
        };
        let watch = self.watch(entry, claim);
        if claim.chain == *self.chain && claim.is_held() {
            return match is_executing {
                true => Verdict::Held(None),
                false if self.now < entry.not_before => Verdict::Held(Some(entry.not_before)),
                false if self.keeps_tasks && run.is_task() => Verdict::Held(None),
                false => Verdict::Orphan(claim.id),
            };
        }
        match self.judge(claim, &watch) {
            Judged::Standing(until) => {
                entry.watch = Some(Watch { lost: None, ..watch });
                Verdict::Held(until)
            }
            Judged::Lost => {
                let lost = watch.lost.unwrap_or(self.now);
                entry.watch = Some(Watch { lost: Some(lost), ..watch });
                self.offer(entry, run, job, lost, Some(claim))
            }
        }
    }

    fn watch(&self, entry: &Entry, claim: &Claim) -> Watch {
        let fresh = Watch { claim: claim.id, started: None, named: self.now, lost: None };
        let mut watch = entry.watch.filter(|watch| watch.claim == claim.id).unwrap_or(fresh);
        if claim.started {
            watch.started.get_or_insert(self.now);
        }
        watch
    }

    fn judge(&self, claim: &Claim, watch: &Watch) -> Judged {
        let peer = claim.peer();
        let is_over = !claim.is_held()
            || peer == self.own()
            || self.peers.has_restarted(&claim.chain)
            || self.views.authority().roster().member(&peer).is_none();
        if is_over {
            return Judged::Lost;
        }
        if !self.peers.is_healthy(self.now) {
            return Judged::Standing(self.peers.healthy_at());
        }
        let lost_at = match self.peers.down_since(&peer) {
            Some(since) => {
                let run_time = watch.started.map_or(Duration::ZERO, |started| since - started);
                Some(since + self.peers.grace(run_time))
            }
            None => self.peers.peer(&peer).and_then(|known| known.beats_since).map(|beats| {
                watch.named.max(beats).max(self.peers.judging_since()) + self.timing.unnamed_max
            }),
        };
        match lost_at {
            Some(at) if self.now >= at => Judged::Lost,
            Some(at) => Judged::Standing(Some(at)),
            None => Judged::Standing(Some(self.now + self.timing.unnamed_max)),
        }
    }

    /// What to do about a job nobody works on. `since` is when that was noticed.
    fn offer(
        &self,
        entry: &mut Entry,
        run: &Run,
        job: &Job,
        since: Monotonic,
        lost: Option<&Claim>,
    ) -> Verdict {
        let Some(submission) = run.submission() else { return Verdict::Gone };
        if run.dispatched().is_some() {
            return Verdict::Declined(Decline::OnGithub, None);
        }
        let claim = JobClaimed {
            run: run.id,
            job: job.id,
            submission: submission.id,
            epoch: lost.map_or(1, |before| before.epoch.saturating_add(1)),
            supersedes: lost.map(|before| before.id),
        };
        let order = order_of(self.views, run, job);
        let Some(position) = order.iter().position(|place| place.peer == self.own()) else {
            let elsewhere = is_placed_at_author(run);
            let reason = if elsewhere { Decline::PlacedElsewhere } else { Decline::NotEligible };
            return Verdict::Declined(reason, None);
        };
        entry.turns_behind = u32::try_from(position).unwrap_or(u32::MAX);
        if !self.allow.covers(run, &self.own()) {
            return Verdict::Declined(Decline::NotAllowed, None);
        }
        if lost.is_some() && !self.peers.is_healthy(self.now) {
            return Verdict::Wait(self.peers.healthy_at().unwrap_or(self.now));
        }
        let gone = lost.filter(|before| before.is_held()).map(Claim::peer);
        let better = order.iter().take(position).filter(|place| {
            Some(place.peer) != gone
                && self.peers.is_alive(&place.peer)
                && !job.is_used_up(&place.peer)
                && self.decline_of(&place.peer, run, job).is_none()
        });
        let turns = self.timing.turn.saturating_mul(u32::try_from(better.count()).unwrap_or(u32::MAX));
        let gate = self.gates.outlook(entry, self.timing, self.now);
        let since = since.max(gate.open_since);
        let due = since + turns.min(self.timing.turns_max) + gate.delay;
        let due = due.max(entry.not_before);
        // what looks open after a restart may have been done by others meanwhile; a short command hears of nobody
        let knows_others = !self.keeps_tasks && !is_placed_at_author(run);
        let due = if knows_others { due.max(self.peers.caught_up_at()) } else { due };
        let exhausted = job.is_used_up(&self.own());
        let declined = match entry.unable {
            true => Some(Decline::Unable),
            false => exhausted.then_some(Decline::Exhausted),
        };
        if let Some(hopeless) = self.hopeless(run, job, &order, lost, declined) {
            let patience = if hopeless.waits { self.timing.grace_max } else { Duration::ZERO };
            return match declined {
                _ if self.now >= due + patience => Verdict::Fail(hopeless.event(run, job, submission.id)),
                Some(declined) => Verdict::Declined(declined, Some(due + patience)),
                None => Verdict::Wait(due + patience),
            };
        }
        if let Some(declined) = declined {
            return Verdict::Declined(declined, None);
        }
        if gate.is_full {
            return Verdict::Gated(gate.look_again);
        }
        if self.now < due {
            return Verdict::Wait(due);
        }
        if run.is_task() {
            Verdict::Task(claim)
        } else if is_placed_at_author(run) {
            Verdict::ClaimNow(claim)
        } else {
            Verdict::Claim(claim)
        }
    }

    /// Why a living peer would not take a job, as far as its beats tell.
    pub(super) fn decline_of(&self, peer: &PeerId, run: &Run, job: &Job) -> Option<Decline> {
        let beat = self.peers.peer(peer)?.beat.as_ref()?;
        let own_submission = run.is_asked_by(peer);
        beat.declines_all
            .or_else(|| beat.declines.get(&job.id).copied())
            .or((run.is_task() && beat.programs == 0).then_some(Decline::NoProgram))
            .or((!run.is_task() && beat.free_slots == 0).then_some(Decline::Full))
            .or((beat.allowed == Allowed::Own && !own_submission).then_some(Decline::NotAllowed))
    }

    /// Whether nobody should try any more, and why.
    fn hopeless(
        &self,
        run: &Run,
        job: &Job,
        order: &[Place],
        lost: Option<&Claim>,
        declined: Option<Decline>,
    ) -> Option<Hopeless> {
        let before = lost?;
        let lost_after_start = job.lost_after_start() + u32::from(before.started && before.is_held());
        if lost_after_start >= EPOCHS_MAX {
            let error = format!("its node was lost {lost_after_start} times while it ran");
            return Some(Hopeless { error, waits: false });
        }
        let is_left = |place: &Place| {
            let declined =
                if place.peer == self.own() { declined } else { self.decline_of(&place.peer, run, job) };
            self.peers.is_alive(&place.peer)
                && !job.is_used_up(&place.peer)
                && !matches!(declined, Some(Decline::Unable | Decline::Exhausted))
        };
        if order.iter().any(is_left) {
            return None;
        }
        let last = match &before.state {
            ClaimState::Released(why) | ClaimState::Aborted(why) => format!(": {why}"),
            ClaimState::Held | ClaimState::Completed | ClaimState::Failed => String::new(),
        };
        let error = format!(
            "{} claims on it came to nothing and nobody is left who could run it{last}",
            job.claims.len()
        );
        Some(Hopeless { error, waits: !is_placed_at_author(run) })
    }
}

/// Cut to what a body may hold, at a character.
pub(super) fn cut(mut text: String) -> String {
    let mut end = TEXT_BYTES_MAX.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

struct Hopeless {
    error: String,
    /// Whether a peer that comes back could still try.
    waits: bool,
}

impl Hopeless {
    fn event(self, run: &Run, job: &Job, submission: EventId) -> JobFailed {
        JobFailed {
            run: run.id,
            job: job.id,
            claim: None,
            submission,
            error: cut(self.error),
            infrastructure: true,
            retry: true,
        }
    }
}

/// Peers with their declines, for texts.
pub(super) fn standing(
    outlook: &Outlook<'_>,
    run: &Run,
    job: &Job,
    place: &Place,
) -> (bool, Option<Decline>, String) {
    let alive = outlook.peers.is_alive(&place.peer);
    let declined = if place.peer == outlook.own() { None } else { outlook.decline_of(&place.peer, run, job) };
    (alive, declined.filter(|_| alive), outlook.views.peer_name(&place.peer))
}
