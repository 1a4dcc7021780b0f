//! The scheduler: who runs a job, decided by one machine that owns every timer of the protocol.
//!
//! Sans-IO: the world tells it what happened (`handle_*`), it tells the world what it wants (`poll_*`). It opens nothing, reads no
//! clock and draws no random numbers but from its seed; only the monotonic half of [`Now`] times anything. Whatever it decides is a
//! [`Command`], answered by [`Scheduler::handle_committed`]; it never assumes that one succeeds.
//!
//! Each open job of the views waits in one place: for its turn, for a slot, for a program, before a full group, or for somebody
//! else's claim to end. What moves it is [`outlook`](self), a pure look at views, peers and time; events touch only the jobs they
//! concern, and everything that depends on time lies in one ordered agenda.
//!
//! Order of calls: apply the event to the views, then [`Scheduler::handle_event`] for each event, then `handle_committed` for
//! the command that wrote it; then drain the `poll_*` methods; call [`Scheduler::handle_timer`] when [`Scheduler::poll_timeout`] says.
//!
//! Invariants: at most one claim of this incarnation on a job; no execution before its claim is committed; claims of
//! earlier incarnations are never continued; nothing of the scheduler's memory reaches a view.

mod agenda;
mod allow;
mod beat;
mod catching_up;
mod config;
mod duties;
mod elsewhere;
mod gates;
mod held;
mod jobs;
mod load;
mod looking;
mod outlook;
mod peers;
mod programs;
mod telling;
mod why;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use wfengine_storage_format::{ChainId, EventId, JobId, Kind, PeerId, RunId};

use crate::admitted::Admitted;
use crate::command::{Command, Refusal};
use crate::ownership::Token;
use crate::time::{Monotonic, Now};
use crate::views::Views;

pub use allow::{Allow, Allowed};
pub use beat::{
    BEAT_BYTES_MAX, Beat, BeatError, CLAIMS_PER_BEAT_MAX, DECLINES_PER_BEAT_MAX, Decline, NamedClaim,
};
pub use config::{AUTHOR_SLOTS_DEFAULT, Config, SLOTS_MAX, Timing};
pub use held::{Execution, NOT_ALLOWED_ANY_MORE, StopReason};
pub use load::P2pLoad;
pub use outlook::{Place, order_of};
pub use peers::Presence;
pub use programs::{ProgramAsk, ProgramId};
pub use why::{Standing, Why};

use agenda::Agenda;
use duties::Duties;
use held::{Held, Room};
use jobs::{Jobs, Stage};
use peers::PeerTable;
use programs::Programs;

/// Names a command until it is answered. Counted by each scheduler from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct CommandId(pub u64);

/// What the node is asked to do, besides writing commands and sending beats.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Execute a job. The claim is committed; ask [`Scheduler::may_go_on`] before each step.
    Execute {
        /// Of which run.
        run: RunId,
        /// Which job.
        job: JobId,
        /// Under which claim.
        claim: EventId,
        /// The claim's fencing token.
        token: Token,
    },
    /// Stop an execution: no further step, TERM, then KILL. Answered by [`Execution::Stopped`] or [`Execution::Finished`].
    Stop {
        /// Which.
        claim: EventId,
        /// Why.
        reason: StopReason,
    },
    /// Hand a task to a program that asked.
    Hand {
        /// To whom.
        program: ProgramId,
        /// Of which run.
        run: RunId,
        /// Which job.
        job: JobId,
        /// Under which claim.
        claim: EventId,
        /// The claim's fencing token.
        token: Token,
    },
    /// Tell a program that did not want to wait that there is nothing.
    NothingFor {
        /// Whom.
        program: ProgramId,
    },
    /// Plan the keys of a run that can be planned, and submit them; answer with [`Scheduler::handle_planned`].
    Plan {
        /// Which run.
        run: RunId,
    },
    /// Submit a failed run again as the next attempt.
    Resubmit {
        /// Which run.
        run: RunId,
        /// The number of the new attempt.
        attempt: u32,
    },
    /// Hand a run that no peer took to GitHub: this node wrote its canonical submission and may.
    HandOver {
        /// Which run.
        run: RunId,
    },
    /// Keep these for [`Config::seen`] of the next start.
    RememberSeen {
        /// The members seen within a day.
        peers: Vec<PeerId>,
    },
}

/// What an answer to a command is about.
#[derive(Clone, Debug)]
enum Purpose {
    Claim { job: JobId, room: Room },
    Fail { job: JobId },
    Orphan { job: JobId },
    Start { claim: EventId },
    End { claim: EventId },
    Other,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Timer {
    Job(JobId),
    Held(EventId),
    Plan(RunId),
    Retry(RunId),
    Expire(RunId),
    HandOver(RunId),
}

/// Due times handled in one call: a burst never makes the loop late.
const TIMERS_PER_CALL_MAX: usize = 2048;

/// The machine. See the module's documentation.
#[derive(Debug)]
pub struct Scheduler {
    chain: ChainId,
    timing: Timing,
    slots: u32,
    author_slots: u32,
    /// Runs of `placement: author` of which a job has ended since the last look at them.
    ended_at_author: BTreeSet<RunId>,
    allow: Allow,
    keeps_tasks: bool,
    jobs: Jobs,
    held: BTreeMap<EventId, Held>,
    peers: PeerTable,
    programs: Programs,
    duties: Duties,
    agenda: Agenda<Timer>,
    commands: VecDeque<(CommandId, Command)>,
    in_flight: BTreeMap<CommandId, Purpose>,
    actions: VecDeque<Action>,
    beats: VecDeque<Beat>,
    next_command: u64,
    beat_number: u64,
    next_beat: Monotonic,
    last_beat: Option<Monotonic>,
    said_last: (u32, u32, Option<Decline>),
    paused: bool,
    drain_until: Option<Monotonic>,
    must_upgrade: Option<Kind>,
    last_now: Monotonic,
    seed: u64,
}

impl Scheduler {
    /// A scheduler for the node that writes `chain`, from the views as they are.
    pub fn open(chain: ChainId, config: Config, views: &Views, now: Now) -> Self {
        let at = now.monotonic;
        let mut scheduler = Self {
            chain,
            timing: config.timing,
            slots: config.slots.min(SLOTS_MAX),
            ended_at_author: BTreeSet::new(),
            author_slots: config.author_slots.clamp(1, SLOTS_MAX),
            allow: config.allow,
            keeps_tasks: config.keeps_tasks,
            jobs: Jobs::new(config.ageing_period_ms),
            held: BTreeMap::new(),
            peers: PeerTable::new(chain.author, config.timing, &config.seen, at),
            programs: Programs::default(),
            duties: Duties::default(),
            agenda: Agenda::new(),
            commands: VecDeque::new(),
            in_flight: BTreeMap::new(),
            actions: VecDeque::new(),
            beats: VecDeque::new(),
            next_command: 1,
            beat_number: 0,
            next_beat: at,
            last_beat: None,
            said_last: (0, 0, None),
            paused: false,
            drain_until: None,
            must_upgrade: views.must_upgrade(),
            last_now: at,
            seed: config.seed,
        };
        scheduler.peers.update_minority(views.authority().roster(), at);
        scheduler.take_all_runs(views, now);
        scheduler.fill(views, at);
        scheduler
    }

    /// An event was committed and applied.
    pub fn handle_event(&mut self, views: &Views, event: &Admitted, now: Now) {
        self.observe(now.monotonic);
        if self.peers.note_event(event) {
            self.look_at_holder(views, &event.author(), now.monotonic);
        }
        self.must_upgrade = views.must_upgrade();
        if event.kind.is_authority() {
            self.take_authority(views, &event.body, now);
        } else if let Some(run) = event.run() {
            self.take_run_event(views, run, event, now);
        }
        self.settle(views, now.monotonic);
    }

    /// Membership says that a peer came or went.
    pub fn handle_peer(&mut self, views: &Views, peer: PeerId, presence: Presence, now: Now) {
        self.observe(now.monotonic);
        if peer == self.chain.author || views.authority().roster().member(&peer).is_none() {
            return;
        }
        if self.peers.set_presence(peer, presence, now.monotonic) {
            self.update_seen(views, now.monotonic);
            self.look_at_holder(views, &peer, now.monotonic);
            if presence == Presence::Alive {
                self.beat_soon(now.monotonic);
            }
        }
        self.settle(views, now.monotonic);
    }

    /// Peers have so many events, as they say, that this node lacks. What looks open here may have been done long ago, so while there
    /// are many, and as long as they become fewer, nothing is claimed. A count that is made up holds this node up for
    /// [`Timing::behind_max`] at a time and for half of the time at most.
    pub fn handle_behind(&mut self, views: &Views, events: u64, now: Now) {
        self.observe(now.monotonic);
        self.peers.set_behind(events, now.monotonic);
        self.settle(views, now.monotonic);
    }

    /// A beat came. Whether it was news: then it may be passed on to peers that its author does not reach.
    pub fn handle_beat(&mut self, views: &Views, beat: &Beat, now: Now) -> bool {
        self.observe(now.monotonic);
        let author = beat.chain.author;
        if author == self.chain.author || views.authority().roster().member(&author).is_none() {
            return false;
        }
        let restarted = self.peers.peer(&author).and_then(|peer| peer.incarnation);
        if !self.peers.take_beat(beat, now.monotonic) {
            return false;
        }
        if restarted.is_some_and(|before| before != beat.chain.incarnation) {
            self.look_at_holder(views, &author, now.monotonic);
        }
        for named in &beat.claims {
            let Some(job) = self.jobs.of_claim(&named.claim) else { continue };
            let Some(entry) = self.jobs.get_mut(&job) else { continue };
            let was_held = entry.stage == Stage::Held;
            if let Some(watch) = entry.watch.as_mut().filter(|watch| watch.claim == named.claim) {
                watch.named = now.monotonic;
            }
            if !was_held {
                self.look(views, &job, now.monotonic);
            }
        }
        self.settle(views, now.monotonic);
        true
    }

    /// Time passed. To be called when [`Self::poll_timeout`] says; earlier does no harm, later makes the node unhealthy.
    pub fn handle_timer(&mut self, views: &Views, now: Now) {
        let at = now.monotonic;
        self.observe(at);
        self.update_seen(views, at);
        for _ in 0..TIMERS_PER_CALL_MAX {
            match self.agenda.pop(at) {
                None => break,
                Some(Timer::Job(job)) => self.look(views, &job, at),
                Some(Timer::Held(claim)) => self.look_at_held(views, &claim, at),
                Some(Timer::Plan(run)) => self.plan_is_due(views, &run, at),
                Some(Timer::Retry(run)) => self.retry_is_due(views, &run, at),
                Some(Timer::Expire(run)) => self.expiry_is_due(views, &run, at),
                Some(Timer::HandOver(run)) => self.hand_over_is_due(views, &run, at),
            }
        }
        self.end_grace(views, at);
        self.settle(views, at);
        if at >= self.next_beat {
            self.beat(views, at);
        }
    }

    /// A command was answered: the ids of the events it became, or a refusal.
    pub fn handle_committed(
        &mut self,
        views: &Views,
        id: CommandId,
        answer: Result<Vec<EventId>, Refusal>,
        now: Now,
    ) {
        self.observe(now.monotonic);
        let at = now.monotonic;
        match self.in_flight.remove(&id) {
            Some(Purpose::Claim { job, room }) => self.claim_answered(views, job, room, answer, at),
            Some(Purpose::Start { claim }) => self.look_at_held(views, &claim, at),
            Some(Purpose::End { claim }) => self.end_answered(views, claim, answer, at),
            Some(Purpose::Fail { job } | Purpose::Orphan { job }) => {
                if let Some(entry) = self.jobs.get_mut(&job) {
                    entry.stage = Stage::Waiting;
                }
                if answer.is_err() {
                    self.set_back(&job, at);
                }
                self.look(views, &job, at);
            }
            Some(Purpose::Other) | None => {}
        }
        self.settle(views, at);
    }

    /// The operator changed whose jobs are executed here.
    pub fn handle_allow(&mut self, views: &Views, allow: Allow, now: Now) {
        self.observe(now.monotonic);
        self.allow = allow;
        self.look_at_declined(now.monotonic);
        self.settle(views, now.monotonic);
    }

    /// The number of jobs executed at once changed.
    pub fn handle_slots(&mut self, views: &Views, slots: u32, now: Now) {
        self.observe(now.monotonic);
        self.slots = slots.min(SLOTS_MAX);
        self.settle(views, now.monotonic);
    }

    /// Claim nothing until [`Self::handle_resume`]; what runs goes on.
    pub fn handle_pause(&mut self, views: &Views, now: Now) {
        self.observe(now.monotonic);
        self.paused = true;
        self.settle(views, now.monotonic);
    }

    /// Claim again.
    pub fn handle_resume(&mut self, views: &Views, now: Now) {
        self.observe(now.monotonic);
        self.paused = false;
        self.settle(views, now.monotonic);
    }

    /// Shut down: claim nothing, give back what has not started, finish what runs for up to `grace`, then give back the rest.
    pub fn handle_drain(&mut self, views: &Views, grace: Duration, now: Now) {
        self.observe(now.monotonic);
        self.drain_until = Some(now.monotonic + grace);
        self.programs.dismiss_all(&mut self.actions);
        for claim in self.held_claims() {
            self.look_at_held(views, &claim, now.monotonic);
        }
        self.settle(views, now.monotonic);
    }

    /// Whether a drain was asked for and nothing is left to wait for.
    pub fn is_drained(&self) -> bool {
        self.drain_until.is_some() && self.held.is_empty() && self.in_flight.is_empty()
    }

    /// The next command to decide, seal and commit. Every one is answered once.
    pub fn poll_command(&mut self) -> Option<(CommandId, Command)> {
        self.commands.pop_front()
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next beat to send to every member that can be reached.
    pub fn poll_datagram(&mut self) -> Option<Beat> {
        self.beats.pop_front()
    }

    /// When [`Self::handle_timer`] is to be called next.
    pub fn poll_timeout(&self) -> Monotonic {
        let later = |at: Option<Monotonic>| at.filter(|at| *at > self.last_now);
        let holds = later(self.peers.holds_until()).into_iter().chain(later(self.peers.healthy_at()));
        let fixed = self.agenda.earliest().into_iter().chain(later(self.drain_until));
        holds.chain(fixed).fold(self.next_beat, Monotonic::min)
    }

    /// Open jobs this node knows of.
    pub fn open_jobs(&self) -> usize {
        self.jobs.len()
    }
    /// The run of an open job. In logarithmic time, for those who know nothing but the job.
    pub fn run_of(&self, job: &JobId) -> Option<RunId> {
        self.jobs.run_of(job)
    }
    /// Jobs that wait for a slot here.
    pub fn ready_jobs(&self) -> usize {
        self.jobs.ready.len()
    }
    /// Claims this node holds.
    pub fn held_claims(&self) -> Vec<EventId> {
        self.held.keys().copied().collect()
    }
    /// The peers that are alive, without this one.
    pub fn peers_alive(&self) -> Vec<PeerId> {
        self.peers.alive().copied().collect()
    }
    /// Concurrency groups and limits with jobs before them.
    pub fn gates_len(&self) -> usize {
        self.jobs.gates.len()
    }
    /// The unknown critical kind that forbids deciding anything.
    pub fn must_upgrade(&self) -> Option<Kind> {
        self.must_upgrade
    }

    /// Why this node claims nothing at all, if so.
    pub fn declines_all(&self, now: Monotonic) -> Option<Decline> {
        if self.must_upgrade.is_some() {
            Some(Decline::MustUpgrade)
        } else if self.drain_until.is_some() {
            Some(Decline::Draining)
        } else if self.paused {
            Some(Decline::Paused)
        } else if !self.peers.is_healthy(now) && self.peers.has_others() {
            Some(Decline::Unhealthy)
        } else if self.peers.is_behind(now) {
            Some(Decline::Behind)
        } else if self.peers.is_holding(now) {
            Some(Decline::Minority)
        } else {
            None
        }
    }

    fn observe(&mut self, now: Monotonic) {
        self.last_now = self.last_now.max(now);
        if now > self.next_beat + self.timing.lag_max {
            self.peers.lagged(now);
            // one long sleep is one lag, however many calls follow it
            self.next_beat = now;
        }
    }

    fn update_seen(&mut self, views: &Views, now: Monotonic) {
        let roster = views.authority().roster();
        self.peers.update_minority(roster, now);
        if let Some(peers) = self.peers.seen_to_report(roster) {
            self.actions.push_back(Action::RememberSeen { peers });
        }
    }

    /// Everything that may follow from a change: opened gates, free slots, waiting programs, news for others.
    fn settle(&mut self, views: &Views, now: Monotonic) {
        for job in self.jobs.gates.woken() {
            self.look(views, &job, now);
        }
        self.fill(views, now);
        self.fill_at_author(views, now);
        self.serve_programs(views, now);
        let says = (self.free_slots(), self.programs.len(), self.declines_all(now));
        let notable = (says.0 == 0) != (self.said_last.0 == 0)
            || (says.1 == 0) != (self.said_last.1 == 0)
            || says.2 != self.said_last.2;
        if notable {
            self.beat_soon(now);
        }
    }

    fn ask(&mut self, command: Command, purpose: Purpose) {
        let id = CommandId(self.next_command);
        self.next_command += 1;
        self.in_flight.insert(id, purpose);
        self.commands.push_back((id, command));
    }

    /// Pushes this node's next try on a job back, further each time.
    fn set_back(&mut self, job: &JobId, now: Monotonic) {
        let spread = self.draw(500);
        let timing = self.timing;
        if let Some(entry) = self.jobs.get_mut(job) {
            let doubled = timing.backoff.saturating_mul(1 << entry.setbacks.min(10)).min(timing.backoff_max);
            entry.setbacks = entry.setbacks.saturating_add(1);
            entry.not_before = now + doubled + Duration::from_millis(spread);
        }
    }

    /// A number below `limit`: splitmix64.
    fn draw(&mut self, limit: u64) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit.max(1)
    }
}
