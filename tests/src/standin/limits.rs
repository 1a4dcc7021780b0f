//! GitHub's limits: what each identity has used, whom they stop, and who asked although it had been told to wait.
//!
//! Primary limits are fixed windows that begin with the first request; secondary ones look at the last minute. Both count on the
//! stand-in's clock. What a client was told is read from the answers themselves, by the order of rules that GitHub documents, so
//! injected errors count like earned ones.

use std::collections::{BTreeMap, VecDeque};

use super::{
    accounts::{Grant, Identity},
    answer::Answer,
};

/// What is counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bucket {
    /// Most of REST.
    Core,
    /// `GET /search/...`, by the minute.
    Search,
    /// `GET /search/code`, by the minute.
    CodeSearch,
    /// Points of GraphQL.
    Graphql,
    /// Registration tokens of runners.
    RunnerRegistration,
}

impl Bucket {
    pub(crate) const ALL: [Self; 5] =
        [Self::Core, Self::Search, Self::CodeSearch, Self::Graphql, Self::RunnerRegistration];

    /// As `x-ratelimit-resource` says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Search => "search",
            Self::CodeSearch => "code_search",
            Self::Graphql => "graphql",
            Self::RunnerRegistration => "actions_runner_registration",
        }
    }

    fn window_seconds(self) -> u64 {
        match self {
            Self::Search | Self::CodeSearch => 60,
            Self::Core | Self::Graphql | Self::RunnerRegistration => 3_600,
        }
    }
}

/// How much an identity has in one window.
#[derive(Debug, Clone)]
pub struct PrimaryLimits {
    /// Requests an hour from one address without a token.
    pub anonymous: u64,
    /// Requests an hour of one user, all tokens together.
    pub user: u64,
    /// Requests an hour of one installation.
    pub installation: u64,
    /// Searches a minute.
    pub search: u64,
    /// Searches of code a minute.
    pub code_search: u64,
    /// Points an hour.
    pub graphql: u64,
    /// Registration tokens an hour.
    pub runner_registration: u64,
}

impl Default for PrimaryLimits {
    fn default() -> Self {
        Self {
            anonymous: 60,
            user: 5_000,
            installation: 5_000,
            search: 30,
            code_search: 10,
            graphql: 5_000,
            runner_registration: 10_000,
        }
    }
}

/// What stops a client that goes too fast.
#[derive(Debug, Clone)]
pub struct SecondaryLimits {
    /// Points a minute over REST: 1 for reading, 5 for changing.
    pub rest_points: u64,
    /// Points a minute over GraphQL.
    pub graphql_points: u64,
    /// Requests a minute that create or change something.
    pub changes: u64,
    /// `retry-after` in the refusal, in seconds; absent as GitHub sometimes leaves it out.
    pub retry_after: Option<u64>,
}

impl Default for SecondaryLimits {
    fn default() -> Self {
        Self { rest_points: 900, graphql_points: 2_000, changes: 80, retry_after: Some(60) }
    }
}

/// A request that its sender knew to be in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuringLimit {
    /// When, by the stand-in's clock.
    pub at: u64,
    /// Whose.
    pub identity: String,
    /// Method and path.
    pub request: String,
    /// Until when it was to wait.
    pub until: u64,
}

/// What the headers of an answer say about a bucket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) limit: u64,
    pub(crate) used: u64,
    pub(crate) reset: u64,
}

impl Standing {
    pub(crate) fn remaining(self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

#[derive(Debug, Clone, Copy)]
struct Window {
    used: u64,
    reset: u64,
}

#[derive(Debug, Clone, Copy)]
struct Recent {
    at: u64,
    points: u64,
    is_graphql: bool,
    is_change: bool,
}

#[derive(Debug, Clone, Copy)]
struct Ordered {
    until: u64,
    with_retry_after: bool,
}

/// All limits of all identities.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) primary: PrimaryLimits,
    pub(crate) secondary: Option<SecondaryLimits>,
    pub(crate) concurrent_max: usize,
    windows: BTreeMap<(String, Bucket), Window>,
    recent: BTreeMap<String, VecDeque<Recent>>,
    in_flight: BTreeMap<String, usize>,
    ordered: Option<Ordered>,
    /// Until when an identity was told to wait, with one bucket or with all.
    told: BTreeMap<(String, Option<Bucket>), u64>,
    pub(crate) in_vain: Vec<DuringLimit>,
}

impl Limits {
    pub(crate) fn new(
        primary: PrimaryLimits,
        secondary: Option<SecondaryLimits>,
        concurrent_max: usize,
    ) -> Self {
        Self {
            primary,
            secondary,
            concurrent_max,
            windows: BTreeMap::new(),
            recent: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            ordered: None,
            told: BTreeMap::new(),
            in_vain: Vec::new(),
        }
    }

    fn limit(&self, identity: &Identity, bucket: Bucket) -> u64 {
        match bucket {
            Bucket::Core => match identity.grant {
                Grant::Anonymous { .. } => self.primary.anonymous,
                Grant::Classic { .. } | Grant::FineGrained { .. } => self.primary.user,
                Grant::Installation { .. } | Grant::App { .. } => self.primary.installation,
            },
            Bucket::Search => self.primary.search,
            Bucket::CodeSearch => self.primary.code_search,
            Bucket::Graphql if identity.is_anonymous() => 0,
            Bucket::Graphql => self.primary.graphql,
            Bucket::RunnerRegistration => self.primary.runner_registration,
        }
    }

    /// How an identity stands with a bucket.
    pub(crate) fn standing(&self, identity: &Identity, bucket: Bucket, now: u64) -> Standing {
        let window = self.windows.get(&(identity.name.clone(), bucket)).filter(|window| window.reset > now);
        let limit = self.limit(identity, bucket);
        match window {
            Some(window) => Standing { limit, used: window.used.min(limit), reset: window.reset },
            None => Standing { limit, used: 0, reset: now + bucket.window_seconds() },
        }
    }

    /// Takes some of a bucket, or nothing when there is not enough left.
    pub(crate) fn take(&mut self, identity: &Identity, bucket: Bucket, amount: u64, now: u64) -> bool {
        let standing = self.standing(identity, bucket, now);
        if standing.remaining() < amount {
            return false;
        }
        let window = Window { used: standing.used + amount, reset: standing.reset };
        self.windows.insert((identity.name.clone(), bucket), window);
        true
    }

    /// Gives back what turned out to be free.
    pub(crate) fn give_back(&mut self, identity: &Identity, bucket: Bucket) {
        if let Some(window) = self.windows.get_mut(&(identity.name.clone(), bucket)) {
            window.used = window.used.saturating_sub(1);
        }
    }

    /// Uses a bucket up.
    pub(crate) fn exhaust(&mut self, identity: &str, bucket: Bucket, now: u64) {
        let key = (identity.to_owned(), bucket);
        let open = self.windows.get(&key).filter(|window| window.reset > now);
        let reset = open.map_or(now + bucket.window_seconds(), |window| window.reset);
        self.windows.insert(key, Window { used: u64::MAX, reset });
    }

    /// From here on everybody is refused for some seconds.
    pub(crate) fn order_secondary(&mut self, seconds: u64, with_retry_after: bool, now: u64) {
        self.ordered = Some(Ordered { until: now + seconds, with_retry_after });
    }

    /// A request begins. Whether its sender was to wait, and then it is in vain; and the refusal when it is too much at once.
    pub(crate) fn begin(
        &mut self,
        identity: &Identity,
        bucket: Bucket,
        request: (&str, &str),
        is_graphql: bool,
        now: u64,
    ) -> Option<Answer> {
        let (method, path) = request;
        self.note_vain(identity, bucket, request, now);
        let is_change = !matches!(method, "GET" | "HEAD" | "OPTIONS") && !is_graphql;
        let points = if is_change { 5 } else { 1 };
        if let Some(ordered) = self.ordered.filter(|ordered| ordered.until > now) {
            let retry_after = ordered.with_retry_after.then_some(ordered.until - now);
            return Some(secondary_refusal(is_graphql, retry_after));
        }
        if self.in_flight.get(&identity.name).is_some_and(|count| *count > self.concurrent_max) {
            return Some(secondary_refusal(is_graphql, Some(60)));
        }
        let secondary = self.secondary.clone()?;
        let recent = self.recent.entry(identity.name.clone()).or_default();
        recent.retain(|request| request.at + 60 > now);
        recent.push_back(Recent { at: now, points, is_graphql, is_change });
        let of_face = recent.iter().filter(|request| request.is_graphql == is_graphql);
        let used: u64 = of_face.map(|request| request.points).sum();
        let changes = recent.iter().filter(|request| request.is_change).count() as u64;
        let points_max = if is_graphql { secondary.graphql_points } else { secondary.rest_points };
        let is_refused = used > points_max || (is_change && changes > secondary.changes);
        // what asks for nothing but its standing is never too much
        (is_refused && path != "/rate_limit").then(|| secondary_refusal(is_graphql, secondary.retry_after))
    }

    fn note_vain(&mut self, identity: &Identity, bucket: Bucket, request: (&str, &str), now: u64) {
        let keys = [(identity.name.clone(), None), (identity.name.clone(), Some(bucket))];
        let until = keys.iter().filter_map(|key| self.told.get(key)).max().copied().unwrap_or_default();
        let (method, path) = request;
        if until > now && path != "/rate_limit" {
            let (identity, request) = (identity.name.clone(), format!("{method} {path}"));
            self.in_vain.push(DuringLimit { at: now, identity, request, until });
        }
    }

    /// Remembers what an answer tells its reader: `retry-after` first, then the reset of an empty bucket, else a minute.
    pub(crate) fn note_answer(&mut self, identity: &Identity, bucket: Bucket, answer: &Answer, now: u64) {
        let number = |name: &str| answer.header(name).and_then(|value| value.parse::<u64>().ok());
        let is_graphql_limit = answer.status == 200
            && answer.value().and_then(|body| body["errors"][0]["type"].as_str()) == Some("RATE_LIMITED");
        let is_limit = matches!(answer.status, 403 | 429) || is_graphql_limit;
        let says_secondary = answer.value().and_then(|body| body["message"].as_str());
        let is_secondary = says_secondary.is_some_and(|message| message.contains("secondary rate limit"));
        let wait = match (number("retry-after"), number("x-ratelimit-remaining")) {
            (Some(seconds), _) if is_limit || is_secondary => Some((None, now + seconds)),
            (None, Some(0)) if is_limit && !is_secondary => {
                number("x-ratelimit-reset").map(|reset| (Some(bucket), reset))
            }
            (None, _) if is_secondary => Some((None, now + 60)),
            _ => None,
        };
        if let Some((bucket, until)) = wait {
            self.told.insert((identity.name.clone(), bucket), until);
        }
    }

    /// One more request of this identity is being worked on.
    pub(crate) fn enter(&mut self, identity: &str) {
        *self.in_flight.entry(identity.to_owned()).or_default() += 1;
    }

    /// It is answered, or its connection is gone.
    pub(crate) fn leave(&mut self, identity: &str) {
        if let Some(count) = self.in_flight.get_mut(identity) {
            *count = count.saturating_sub(1);
        }
    }
}

/// 403 for a bucket that is empty.
pub(crate) fn primary_refusal(status: u16, identity: &Identity, bucket: Bucket) -> Answer {
    let who = &identity.in_messages;
    if bucket == Bucket::Graphql {
        let message = format!("API rate limit exceeded for {who}.");
        let errors = serde_json::json!([{ "type": "RATE_LIMITED", "message": message }]);
        return Answer::json(200, serde_json::json!({ "errors": errors }));
    }
    let more = match identity.is_anonymous() {
        true => {
            " (But here's the good news: Authenticated requests get a higher rate limit. Check out the documentation for more \
             details.)"
        }
        false => "",
    };
    let message = format!("API rate limit exceeded for {who}.{more}");
    Answer::error(status, &message, "/using-the-rest-api/rate-limits-for-the-rest-api")
}

/// 403 for going too fast; no `status` in the body.
pub(crate) fn secondary_refusal(is_graphql: bool, retry_after: Option<u64>) -> Answer {
    let documentation_url = match is_graphql {
        true => {
            "https://docs.github.com/graphql/overview/rate-limits-and-node-limits-for-the-graphql-api#secondary-rate-limits"
        }
        false => {
            "https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits"
        }
    };
    let message = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";
    let body = serde_json::json!({ "message": message, "documentation_url": documentation_url });
    let answer = Answer::json(403, body);
    match retry_after {
        Some(seconds) => answer.with("retry-after", seconds.to_string()),
        None => answer,
    }
}
