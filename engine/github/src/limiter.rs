//! When a request may go: GitHub's primary and secondary limits as a machine without IO, clock or randomness of its own.
//!
//! One [`Limiter`] stands for one credential. [`Limiter::ask`] says whether a request may go; what was allowed comes back with
//! its answer ([`Limiter::answered`]) or without one ([`Limiter::abandoned`]). Every answer updates the state, 304 and errors
//! included. Time is an argument; the chance in the waits comes from a seed.
//!
//! Deliberately not here: whether an answer is an error, whether a request is repeated, who waits how long.
//!
//! Invariants: nothing goes while a told limit holds; of requests that are not urgent one is under way at a time; what
//! changes something is under way alone among its kind and a second after the last; a tenth of `core` is left to urgent
//! requests; how long a limit lasts is reckoned from the answer's own `date`, so a wrong clock on this host does not matter;
//! a 403 that shows no sign of a limit is none.

mod bucket;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

pub use bucket::Bucket;

/// Added to every moment that GitHub names: its clocks are not one clock either.
const MARGIN: Duration = Duration::from_secs(1);
/// Between two requests that change something.
const MUTATION_GAP: Duration = Duration::from_secs(1);
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

/// How fast requests may go where GitHub has told nothing yet. The defaults are GitHub's documented secondary limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// REST points in a minute: 1 for reading, 5 for changing.
    pub rest_points_a_minute: u32,
    /// GraphQL points in a minute.
    pub graphql_points_a_minute: u32,
    /// Changes in an hour.
    pub mutations_an_hour: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { rest_points_a_minute: 900, graphql_points_a_minute: 2000, mutations_an_hour: 500 }
    }
}

/// A request that was allowed and has no answer yet. It must come back to the limiter that gave it.
#[derive(Debug)]
#[must_use = "the limiter counts the request as under way until it is answered or abandoned"]
pub struct Permit {
    bucket: Bucket,
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
    /// The second between two changes.
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
    rest: Recent,
    graphql: Recent,
    mutations: Recent,
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
            rest: Recent::default(),
            graphql: Recent::default(),
            mutations: Recent::default(),
            jitter: Jitter::new(seed),
        }
    }

    /// Whether a request may go at this moment. After [`Ask::Go`] it counts as under way.
    pub fn ask(&mut self, bucket: &Bucket, kind: Kind, urgency: Urgency, now: Duration) -> Ask {
        let is_mutation = kind == Kind::Mutation;
        let is_normal = urgency == Urgency::Normal;
        if let Some(until) = self.silent_until.filter(|until| now < *until) {
            let has_given_up = self.strikes >= STRIKES_MAX;
            return if has_given_up { Ask::GaveUp(until) } else { Ask::WaitUntil(until, Why::Secondary) };
        }
        let is_busy = (is_normal && self.normal_under_way)
            || (is_mutation && self.mutation_under_way)
            || self.under_way >= UNDER_WAY_MAX;
        if let Some(refusal) =
            self.windows.get(bucket).and_then(|window| window.refusal(bucket, is_normal, now))
        {
            return refusal;
        }
        if is_busy {
            return Ask::Busy;
        }
        if let Some(at) = self.paced_until(bucket, kind, now) {
            return Ask::WaitUntil(at, Why::Pace);
        }
        if is_mutation {
            let gap = self.mutation_last.map(|last| last + MUTATION_GAP).filter(|until| now < *until);
            if let Some(until) = gap {
                return Ask::WaitUntil(until, Why::Gap);
            }
            if let Some(until) = self.mutations.full_until(1, self.pace.mutations_an_hour, HOUR, now) {
                return Ask::WaitUntil(until, Why::Hour);
            }
        }
        self.start(bucket, kind, urgency, now)
    }

    fn start(&mut self, bucket: &Bucket, kind: Kind, urgency: Urgency, now: Duration) -> Ask {
        if kind == Kind::Mutation {
            self.mutation_under_way = true;
            self.mutation_last = Some(now);
            self.mutations.push(now, 1);
        }
        if urgency == Urgency::Normal {
            self.normal_under_way = true;
        }
        let points = points(kind);
        if *bucket == Bucket::Graphql { &mut self.graphql } else { &mut self.rest }.push(now, points);
        self.under_way += 1;
        self.windows.entry(bucket.clone()).or_default().under_way += 1;
        Ask::Go(Permit { bucket: bucket.clone(), kind, urgency })
    }

    /// A request came back with an answer.
    pub fn answered(&mut self, permit: Permit, answer: &AnswerHeaders, now: Duration) -> Verdict {
        let asked = permit.bucket.clone();
        self.finish(permit, now);
        let named = answer.resource.clone().filter(|_| asked != Bucket::App).unwrap_or_else(|| asked.clone());
        self.windows.entry(named.clone()).or_default().tell(answer, now);
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

    /// When an urgent or normal request could go as far as limits are concerned; `None` when at once.
    pub fn closed_until(&self, bucket: &Bucket, urgency: Urgency, now: Duration) -> Option<Duration> {
        let silent = self.silent_until.filter(|until| now < *until);
        let window = self.windows.get(bucket);
        let spent = window.and_then(|window| match window.refusal(bucket, urgency == Urgency::Normal, now) {
            Some(Ask::WaitUntil(until, _)) => Some(until),
            _ => None,
        });
        silent.into_iter().chain(spent).max()
    }

    fn finish(&mut self, permit: Permit, now: Duration) {
        self.under_way = self.under_way.saturating_sub(1);
        if permit.kind == Kind::Mutation {
            self.mutation_under_way = false;
            self.mutation_last = Some(now);
        }
        if permit.urgency == Urgency::Normal {
            self.normal_under_way = false;
        }
        if let Some(window) = self.windows.get_mut(&permit.bucket) {
            window.under_way = window.under_way.saturating_sub(1);
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

/// What went in the last while, oldest first.
#[derive(Debug, Default)]
struct Recent {
    went: VecDeque<(Duration, u32)>,
    points: u32,
}

impl Recent {
    fn push(&mut self, now: Duration, points: u32) {
        self.went.push_back((now, points));
        self.points += points;
    }

    /// When there is room for `more` within `max` in any span of this length; `None` when at once.
    fn full_until(&mut self, more: u32, max: u32, span: Duration, now: Duration) -> Option<Duration> {
        while let Some((at, points)) = self.went.front().copied().filter(|(at, _)| *at + span <= now) {
            let _ = at;
            self.points -= points;
            self.went.pop_front();
        }
        let mut left = self.points;
        if left + more <= max {
            return None;
        }
        for (at, points) in &self.went {
            left -= points;
            if left + more <= max {
                return Some(*at + span);
            }
        }
        // a pace too small for this request at all: alone in its span
        self.went.back().map(|(at, _)| *at + span)
    }
}

/// Waits of many hosts should not end together: a small generator (splitmix64), the same for the same seed.
#[derive(Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A part of this time.
    pub(crate) fn up_to(&mut self, most: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let share = (mixed ^ (mixed >> 31)) >> 40;
        most.mul_f64(share as f64 / (1_u64 << 24) as f64)
    }
}
