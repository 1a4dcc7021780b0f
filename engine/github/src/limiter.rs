//! When a request may go: GitHub's primary and secondary limits as a machine without IO, clock or randomness of its own.
//!
//! One [`Limiter`] stands for one credential. [`Limiter::ask`] says whether a request may go; what was allowed comes back with
//! its answer ([`Limiter::answered`]) or without one ([`Limiter::abandoned`]). Every answer updates the state, 304 and errors
//! included. Time is an argument; the chance in the waits comes from a seed.
//!
//! Deliberately not here: whether an answer is an error, whether a request is repeated, who waits how long.
//!
//! What makes runners (configurations and tokens, [`Bucket::ActionsRunnerRegistration`]) has a pace of its own. GitHub counts
//! registrations in a budget of 10,000 an hour (`actions_runner_registration` in the answer of `GET /rate_limit`; announced in
//! issue 1339 of actions/runner), so at most 166 go in a minute and a few at once, without the second between changes and outside
//! of the changes of an hour. Of the points of a minute each costs as much as any change. GitHub has been seen to count tokens in
//! `core` all the same (issue 1386 there); its answers say so, and from then on `core` holds them as well.
//!
//! Invariants: nothing goes while a told limit holds; of requests that are not urgent one is under way at a time; what
//! changes something and makes no runner is under way alone among its kind and a second after the last, and who is urgent goes
//! first; a tenth of `core` is left to urgent requests; how long a limit lasts is reckoned from the answer's own `date`, so a
//! wrong clock on this host does not matter; a 403 that shows no sign of a limit is none.

mod bucket;
mod recent;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

pub use bucket::Bucket;
pub(crate) use recent::Jitter;
use recent::Recent;

/// Added to every moment that GitHub names: its clocks are not one clock either.
const MARGIN: Duration = Duration::from_secs(1);
/// Between two requests that change something.
const MUTATION_GAP: Duration = Duration::from_secs(1);
/// Runners made at once. GitHub wants few requests beside each other; one after the other a burst would take too long.
const REGISTRATIONS_UNDER_WAY_MAX: u32 = 4;
/// A limit without a time: this long, then doubled.
const BACKOFF_MIN: Duration = Duration::from_secs(60);
/// The longest wait after a limit without a time.
const BACKOFF_MAX: Duration = Duration::from_secs(15 * 60);
/// After so many limits in a row nobody waits any more; one request is let through when the wait is over.
const STRIKES_MAX: u32 = 6;
/// Told waits beyond a day are taken for a day: the longest window of GitHub is an hour.
const TOLD_MAX: Duration = Duration::from_secs(24 * 3600);
/// Of `core`, kept for urgent requests.
const RESERVE: u64 = 10;
/// Requests under way at once, the urgent included. GitHub allows a hundred.
const UNDER_WAY_MAX: u32 = 50;
/// An answer may come so many seconds after the end of the window that it tells of.
const DATE_SLACK_S: u64 = 60;
/// Windows that differ by less are the same window.
const WINDOW_SLACK: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_secs(61);
const HOUR: Duration = Duration::from_secs(3601);

/// Whether a request changes something at GitHub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only reads: GET, and GraphQL queries.
    Read,
    /// It changes something: POST, PATCH, PUT, DELETE.
    Mutation,
}

/// Whether a request may use the reserve and go beside another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Looking around: one at a time, and not from the reserve.
    Normal,
    /// Somebody waits for it: a runner's token, a dispatch.
    Urgent,
}

/// Which rules of our own hold for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Read,
    /// One at a time, a second apart.
    Change,
    /// It makes a runner, or lets one be made.
    Registration,
}

impl Manner {
    fn of(bucket: &Bucket, kind: Kind) -> Self {
        match kind {
            Kind::Read => Self::Read,
            Kind::Mutation if *bucket == Bucket::ActionsRunnerRegistration => Self::Registration,
            Kind::Mutation => Self::Change,
        }
    }
}

/// How fast requests may go where GitHub has told nothing yet. The defaults are GitHub's documented secondary limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// REST points in a minute: 1 for reading, 5 for changing.
    pub rest_points_a_minute: u32,
    /// GraphQL points in a minute.
    pub graphql_points_a_minute: u32,
    /// Changes in an hour.
    pub mutations_an_hour: u32,
    /// Runners made in a minute, configurations and tokens: GitHub's 10,000 an hour, spread evenly.
    pub registrations_a_minute: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            rest_points_a_minute: 900,
            graphql_points_a_minute: 2000,
            mutations_an_hour: 500,
            registrations_a_minute: 166,
        }
    }
}

/// A request that was allowed and has no answer yet. It must come back to the limiter that gave it.
#[derive(Debug)]
#[must_use = "the limiter counts the request as under way until it is answered or abandoned"]
pub struct Permit {
    bucket: Bucket,
    /// Where it will be counted as well, or instead.
    elsewhere: Option<Bucket>,
    kind: Kind,
    urgency: Urgency,
}

/// Why a request has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// GitHub refused a request for too many in a short time.
    Secondary,
    /// The budget of the bucket is spent.
    Spent,
    /// What is left of the bucket is kept for urgent requests.
    Reserve,
    /// Our own pace, at most a minute; nobody told a limit.
    Pace,
    /// The second between two changes, or the one after it that is left to somebody urgent.
    Gap,
    /// As many changes as an hour may have.
    Hour,
}

impl Why {
    /// Whether it is a limit that the caller's patience is measured against; the others pass by themselves soon.
    pub fn is_limit(self) -> bool {
        !matches!(self, Self::Pace | Self::Gap)
    }
}

/// The answer to a request that wants to go.
#[derive(Debug)]
pub enum Ask {
    /// It may go.
    Go(Permit),
    /// Not before this moment; then ask again.
    WaitUntil(Duration, Why),
    /// Another request is under way that this one must not go beside; ask again when it has come back.
    Busy,
    /// Limited too often in a row. Until this moment nobody should wait for it.
    GaveUp(Duration),
}

/// What the head of an answer (and for a refusal its message) says about limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerHeaders {
    /// The status.
    pub status: u16,
    /// `retry-after`, in seconds.
    pub retry_after: Option<u64>,
    /// `x-ratelimit-limit`.
    pub limit: Option<u64>,
    /// `x-ratelimit-remaining`.
    pub remaining: Option<u64>,
    /// `x-ratelimit-used`.
    pub used: Option<u64>,
    /// `x-ratelimit-reset`, seconds since 1970 by GitHub's clock.
    pub reset_s: Option<u64>,
    /// `x-ratelimit-resource`.
    pub resource: Option<Bucket>,
    /// `date`, seconds since 1970 by GitHub's clock.
    pub date_s: Option<u64>,
    /// This host's wall time, used only where there is no `date`.
    pub wall_s: u64,
    /// The message of a refusal speaks of a secondary limit. GraphQL refuses with 200 too.
    pub secondary_message: bool,
    /// A GraphQL answer with an error of type `RATE_LIMITED`, whatever its status.
    pub graphql_limited: bool,
}

impl AnswerHeaders {
    /// Whether the answer is a refusal because of a limit.
    pub fn is_limit(&self) -> bool {
        let has_sign = self.retry_after.is_some() || self.remaining == Some(0);
        self.graphql_limited
            || self.secondary_message
            || self.status == 429
            || (self.status == 403 && has_sign)
    }
}

/// What an answer meant for the limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No refusal.
    Free,
    /// The request was refused because of a limit and had no effect.
    Limited,
}

/// What is left of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Requests or points in a window.
    pub limit: u64,
    /// Left of them.
    pub remaining: u64,
    /// Until the window ends.
    pub resets_in: Duration,
}

/// The state of all limits of one credential.
#[derive(Debug)]
pub struct Limiter {
    pace: Pace,
    windows: BTreeMap<Bucket, Window>,
    /// A secondary limit: nothing at all goes before.
    silent_until: Option<Duration>,
    strikes: u32,
    under_way: u32,
    normal_under_way: bool,
    mutation_under_way: bool,
    mutation_last: Option<Duration>,
    /// Somebody urgent was held back by the changes of others; those let it go first.
    urgent_is_next: bool,
    registrations_under_way: u32,
    /// Where GitHub counts registrations, when not where it says.
    registrations_counted_in: Option<Bucket>,
    rest: Recent,
    graphql: Recent,
    mutations: Recent,
    registrations: Recent,
    jitter: Jitter,
}

#[derive(Debug, Default)]
struct Window {
    told: Option<Told>,
    /// A refusal named this moment.
    closed_until: Option<Duration>,
    under_way: u64,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    limit: u64,
    remaining: u64,
    /// Monotonic, margin included.
    reset: Duration,
}

impl Limiter {
    /// A limiter that has been told nothing yet.
    pub fn new(seed: u64, pace: Pace) -> Self {
        Self {
            pace,
            windows: BTreeMap::new(),
            silent_until: None,
            strikes: 0,
            under_way: 0,
            normal_under_way: false,
            mutation_under_way: false,
            mutation_last: None,
            urgent_is_next: false,
            registrations_under_way: 0,
            registrations_counted_in: None,
            rest: Recent::default(),
            graphql: Recent::default(),
            mutations: Recent::default(),
            registrations: Recent::default(),
            jitter: Jitter::new(seed),
        }
    }

    /// Whether a request may go at this moment. After [`Ask::Go`] it counts as under way.
    pub fn ask(&mut self, bucket: &Bucket, kind: Kind, urgency: Urgency, now: Duration) -> Ask {
        let manner = Manner::of(bucket, kind);
        let is_normal = urgency == Urgency::Normal;
        if let Some(until) = self.silent_until.filter(|until| now < *until) {
            let has_given_up = self.strikes >= STRIKES_MAX;
            return if has_given_up { Ask::GaveUp(until) } else { Ask::WaitUntil(until, Why::Secondary) };
        }
        if let Some(refusal) = self.refusal(bucket, is_normal, now) {
            return refusal;
        }
        let is_held = manner == Manner::Change && self.mutation_under_way;
        // whoever is urgent and waits for a change of others goes before the next of theirs
        self.urgent_is_next |= is_held && !is_normal;
        let is_busy = (is_normal && self.normal_under_way)
            || is_held
            || (manner == Manner::Registration
                && self.registrations_under_way >= REGISTRATIONS_UNDER_WAY_MAX)
            || self.under_way >= UNDER_WAY_MAX;
        if is_busy {
            return Ask::Busy;
        }
        if let Some(at) = self.paced_until(bucket, kind, now) {
            return Ask::WaitUntil(at, Why::Pace);
        }
        match manner {
            Manner::Read => {}
            Manner::Registration => {
                let max = self.pace.registrations_a_minute;
                if let Some(until) = self.registrations.full_until(1, max, MINUTE, now) {
                    return Ask::WaitUntil(until, Why::Pace);
                }
            }
            Manner::Change => {
                let gap = self.gap_until(is_normal).filter(|until| now < *until);
                if let Some(until) = gap {
                    self.urgent_is_next |= !is_normal;
                    return Ask::WaitUntil(until, Why::Gap);
                }
                if let Some(until) = self.mutations.full_until(1, self.pace.mutations_an_hour, HOUR, now) {
                    return Ask::WaitUntil(until, Why::Hour);
                }
            }
        }
        self.start(bucket, kind, urgency, now)
    }

    /// When the next change may go. Where somebody urgent waits, the others leave the first second to it, and no more: it may
    /// have gone away.
    fn gap_until(&self, is_normal: bool) -> Option<Duration> {
        let gaps = if is_normal && self.urgent_is_next { 2 } else { 1 };
        self.mutation_last.map(|last| last + gaps * MUTATION_GAP)
    }

    /// What the budgets say that a request is counted in.
    fn refusal(&self, bucket: &Bucket, is_normal: bool, now: Duration) -> Option<Ask> {
        let refused_by = |bucket: &Bucket| self.windows.get(bucket)?.refusal(bucket, is_normal, now);
        refused_by(bucket).or_else(|| refused_by(self.elsewhere(bucket)?))
    }

    fn elsewhere(&self, bucket: &Bucket) -> Option<&Bucket> {
        self.registrations_counted_in.as_ref().filter(|_| *bucket == Bucket::ActionsRunnerRegistration)
    }

    fn start(&mut self, bucket: &Bucket, kind: Kind, urgency: Urgency, now: Duration) -> Ask {
        match Manner::of(bucket, kind) {
            Manner::Read => {}
            Manner::Registration => {
                self.registrations_under_way += 1;
                self.registrations.push(now, 1);
            }
            Manner::Change => {
                self.mutation_under_way = true;
                self.mutation_last = Some(now);
                self.mutations.push(now, 1);
                self.urgent_is_next = false;
            }
        }
        if urgency == Urgency::Normal {
            self.normal_under_way = true;
        }
        let points = points(kind);
        if *bucket == Bucket::Graphql { &mut self.graphql } else { &mut self.rest }.push(now, points);
        self.under_way += 1;
        let elsewhere = self.elsewhere(bucket).cloned();
        for bucket in elsewhere.iter().chain([bucket]) {
            self.windows.entry(bucket.clone()).or_default().under_way += 1;
        }
        Ask::Go(Permit { bucket: bucket.clone(), elsewhere, kind, urgency })
    }

    /// A request came back with an answer.
    pub fn answered(&mut self, permit: Permit, answer: &AnswerHeaders, now: Duration) -> Verdict {
        let asked = permit.bucket.clone();
        self.finish(permit, now);
        let named = answer.resource.clone().filter(|_| asked != Bucket::App).unwrap_or_else(|| asked.clone());
        self.windows.entry(named.clone()).or_default().tell(answer, now);
        if asked == Bucket::ActionsRunnerRegistration && answer.resource.is_some() {
            self.registrations_counted_in = Some(named.clone()).filter(|named| *named != asked);
        }
        if !answer.is_limit() {
            if answer.status < 500 {
                self.strikes = 0;
            }
            return Verdict::Free;
        }
        let told = answer.retry_after.map(|seconds| now + told_s(seconds) + MARGIN);
        let is_spent = (answer.remaining == Some(0) || answer.graphql_limited) && !answer.secondary_message;
        let reset = is_spent.then(|| reset(answer, now)).flatten();
        match told.into_iter().chain(reset).max().filter(|_| is_spent) {
            Some(until) => {
                for bucket in [named, asked] {
                    self.windows.entry(bucket).or_default().close(until);
                }
            }
            None => {
                self.strikes = self.strikes.saturating_add(1);
                let until = told.unwrap_or_else(|| now + self.backoff());
                self.silent_until = self.silent_until.max(Some(until));
            }
        }
        Verdict::Limited
    }

    /// A request came to nothing: no answer arrived, or nobody waits for it any more.
    pub fn abandoned(&mut self, permit: Permit, now: Duration) {
        self.finish(permit, now);
    }

    /// What is left of a bucket was told elsewhere than in the head of an answer.
    pub fn told(&mut self, bucket: &Bucket, answer: &AnswerHeaders, now: Duration) {
        self.windows.entry(bucket.clone()).or_default().tell(answer, now);
    }

    /// What is left of a bucket, as far as answers have told.
    pub fn budget(&self, bucket: &Bucket, now: Duration) -> Option<Budget> {
        let told = self.windows.get(bucket)?.told.filter(|told| now < told.reset)?;
        Some(Budget { limit: told.limit, remaining: told.remaining, resets_in: told.reset - now })
    }

    /// What is left of every bucket that answers have told of and whose window has not ended.
    pub fn budgets(&self, now: Duration) -> BTreeMap<Bucket, Budget> {
        self.windows.keys().filter_map(|bucket| Some((bucket.clone(), self.budget(bucket, now)?))).collect()
    }

    /// When an urgent or normal request could go as far as limits are concerned; `None` when at once.
    pub fn closed_until(&self, bucket: &Bucket, urgency: Urgency, now: Duration) -> Option<Duration> {
        let silent = self.silent_until.filter(|until| now < *until);
        let spent = match self.refusal(bucket, urgency == Urgency::Normal, now) {
            Some(Ask::WaitUntil(until, _)) => Some(until),
            _ => None,
        };
        silent.into_iter().chain(spent).max()
    }

    fn finish(&mut self, permit: Permit, now: Duration) {
        self.under_way = self.under_way.saturating_sub(1);
        match Manner::of(&permit.bucket, permit.kind) {
            Manner::Read => {}
            Manner::Registration => {
                self.registrations_under_way = self.registrations_under_way.saturating_sub(1);
            }
            Manner::Change => {
                self.mutation_under_way = false;
                self.mutation_last = Some(now);
            }
        }
        if permit.urgency == Urgency::Normal {
            self.normal_under_way = false;
        }
        for bucket in permit.elsewhere.iter().chain([&permit.bucket]) {
            if let Some(window) = self.windows.get_mut(bucket) {
                window.under_way = window.under_way.saturating_sub(1);
            }
        }
    }

    fn paced_until(&mut self, bucket: &Bucket, kind: Kind, now: Duration) -> Option<Duration> {
        let (recent, max) = match bucket {
            Bucket::Graphql => (&mut self.graphql, self.pace.graphql_points_a_minute),
            _ => (&mut self.rest, self.pace.rest_points_a_minute),
        };
        recent.full_until(points(kind), max, MINUTE, now)
    }

    /// A minute after the first limit without a time, twice as long after each further one, and up to a tenth more.
    fn backoff(&mut self) -> Duration {
        let doubled = BACKOFF_MIN * 2_u32.pow(self.strikes.saturating_sub(1).min(8));
        let wait = doubled.min(BACKOFF_MAX);
        wait + self.jitter.up_to(wait / 10)
    }
}

impl Window {
    fn refusal(&self, bucket: &Bucket, is_normal: bool, now: Duration) -> Option<Ask> {
        if let Some(until) = self.closed_until.filter(|until| now < *until) {
            return Some(Ask::WaitUntil(until, Why::Spent));
        }
        let told = self.told.filter(|told| now < told.reset && *bucket != Bucket::Free)?;
        let reserve = if *bucket == Bucket::Core && is_normal { told.limit.div_ceil(RESERVE) } else { 0 };
        if told.remaining <= reserve {
            let why = if told.remaining == 0 { Why::Spent } else { Why::Reserve };
            return Some(Ask::WaitUntil(told.reset, why));
        }
        // what is under way may have cost nothing: its answer tells
        (told.remaining - reserve <= self.under_way).then_some(Ask::Busy)
    }

    fn tell(&mut self, answer: &AnswerHeaders, now: Duration) {
        let (Some(limit), Some(remaining)) = (answer.limit, answer.remaining) else { return };
        let Some(reset) = reset(answer, now) else { return };
        if remaining == 0 {
            // whichever window it is of: so long it was told
            self.close(reset);
        }
        let fresh = Told { limit, remaining, reset };
        self.told = Some(match self.told.filter(|told| now < told.reset) {
            Some(told) if fresh.reset + WINDOW_SLACK < told.reset => told,
            Some(told) if fresh.reset <= told.reset + WINDOW_SLACK => {
                Told { limit, remaining: told.remaining.min(remaining), reset: told.reset.max(fresh.reset) }
            }
            _ => fresh,
        });
    }

    fn close(&mut self, until: Duration) {
        self.closed_until = self.closed_until.max(Some(until));
    }
}

/// When the window of an answer ends, by this host's monotonic clock; `None` when that is past or not told.
fn reset(answer: &AnswerHeaders, now: Duration) -> Option<Duration> {
    let reset_s = answer.reset_s?;
    // a date long after the end that the same answer tells is not GitHub's: something in between has put in its own
    let theirs = answer.date_s.filter(|date_s| *date_s <= reset_s + DATE_SLACK_S).unwrap_or(answer.wall_s);
    let left = reset_s.checked_sub(theirs).filter(|left| *left > 0)?;
    Some(now + told_s(left) + MARGIN)
}

fn told_s(seconds: u64) -> Duration {
    Duration::from_secs(seconds).min(TOLD_MAX)
}

fn points(kind: Kind) -> u32 {
    match kind {
        Kind::Read => 1,
        Kind::Mutation => 5,
    }
}
