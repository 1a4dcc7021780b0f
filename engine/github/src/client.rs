//! The client: every request to GitHub goes through [`Client`], and this is how it goes.
//!
//! Ask the limiter and wait, within the caller's patience → send → read the body within its bound → tell the limiter → tell
//! refusals apart → parse. Reading is repeated after 5xx and broken connections, three times with growing waits; what changes
//! something is repeated only when nothing was sent. Redirects and links are followed by path, on our host only.
//!
//! Deliberately not here: which calls there are (`rest`, `graphql`), what a limit is (`limiter`), where answers are kept
//! (`cache`).
//!
//! Invariants: no request during a told limit; an answer is kept after its last byte was read and parsed, never before; the
//! `authorization` header goes to the host of the settings and nowhere else.

mod answer;
mod exchange;
mod pages;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicI64},
    time::Duration,
};

use hyper::{Method, header::HeaderValue};
use octocrab::Octocrab;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::Notify;

pub use pages::Listing;
pub(crate) use pages::{Entry, Page};

use crate::{
    app::AppTokens,
    cache::{self, AnswerCache, Kept},
    clock::Clock,
    credential::Credential,
    error::{ApiError, Place},
    limiter::{AnswerHeaders, Bucket, Budget, Jitter, Kind, Limiter, Urgency},
    rest::Owners,
    settings::Settings,
    transport,
};
use answer::Answer;

/// How often reading is repeated.
const REPEATS_MAX: u32 = 3;
/// How often a request is sent again after limits.
const LIMITS_MAX: u32 = 6;
/// How many redirects are followed.
const REDIRECTS_MAX: u32 = 3;
/// How exactly it is kept when an answer was confirmed last.
const CONFIRMED_EVERY_S: u64 = 6 * 3_600;
/// A wait that a failing server asks for is obeyed up to this.
const SERVER_WAIT_MAX: Duration = Duration::from_secs(60);

pub(crate) const JSON: &str = "application/vnd.github+json";

/// A client of one GitHub under one credential. Clones share limits, cache, connections and counters.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    manner: Manner,
}

struct Inner {
    settings: Settings,
    octocrab: Octocrab,
    authority: Authority,
    identity: [u8; 32],
    base: String,
    clock: Arc<dyn Clock>,
    cache: Arc<dyn AnswerCache>,
    limiter: Mutex<Limiter>,
    /// Told whenever a request has come back.
    returned: Notify,
    jitter: Mutex<Jitter>,
    stats: Mutex<Stats>,
    /// GitHub's clock less this host's, in seconds.
    skew_s: AtomicI64,
    owners: Mutex<Owners>,
}

/// What makes requests ours.
pub(crate) enum Authority {
    Nobody,
    Token { header: HeaderValue, token: crate::secret::Secret },
    App(AppTokens),
}

/// How a request behaves towards limits.
#[derive(Clone, Copy, Debug)]
struct Manner {
    patience: Duration,
    urgency: Urgency,
    stale: bool,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The token cannot stand in a header.
    #[error("the token holds characters that no token has")]
    Token,
    /// The app's private key cannot be used.
    #[error("the app's private key cannot be used: {0}")]
    Key(String),
    /// There is no event loop to run on.
    #[error("BUG: a client is made inside a tokio runtime")]
    NoRuntime,
    /// TLS cannot be set up with these authorities.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// GitHub sent it.
    Fresh,
    /// GitHub said that what was kept still holds (304). It cost nothing.
    Unchanged,
    /// A limit holds and the caller takes what was kept, last confirmed at this wall time.
    Stale {
        /// Seconds since 1970.
        confirmed_s: u64,
    },
}

/// A value with what is known about its way here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched<T> {
    /// The value.
    pub value: T,
    /// Where it came from.
    pub origin: Origin,
    /// The path under which it is now, if GitHub said that it moved for good.
    pub moved_to: Option<String>,
}

impl<T> Fetched<T> {
    /// The same with another value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Fetched<U> {
        Fetched { value: f(self.value), origin: self.origin, moved_to: self.moved_to }
    }
}

/// What a client has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests sent.
    pub requests: u64,
    /// Of them, answered with 304.
    pub not_modified: u64,
    /// Of them, without an answer.
    pub unanswered: u64,
    /// By status.
    pub by_status: BTreeMap<u16, u64>,
    /// By the bucket they were sent in.
    pub by_bucket: BTreeMap<Bucket, u64>,
    /// Points that GraphQL answers named as their cost.
    pub graphql_points: u64,
    /// Refusals because of a limit.
    pub limited: u64,
    /// Time spent waiting for limits and between repetitions.
    pub waited: Duration,
}

/// Whether a request may be sent again after it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It only reads, or twice is the same as once.
    Always,
    /// It changes something: only when nothing was sent, or a limit refused it.
    Unsent,
    /// Twice would be wrong, and not even a refusal is reason enough.
    Never,
}

/// Who signs a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signed {
    /// The credential.
    Credential,
    /// The app itself, with its key.
    App,
}

/// One request, before it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Path and query under the base address.
    pub(crate) path: String,
    /// The whole address where that is not under the base: GraphQL.
    pub(crate) address: Option<String>,
    pub(crate) accept: &'static str,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) kind: Kind,
    pub(crate) repeat: Repeat,
    pub(crate) bucket: Bucket,
    pub(crate) signed: Signed,
    /// A redirect is followed; otherwise its target is what is asked for.
    pub(crate) follows: bool,
    /// The answer holds a secret: of a success nothing is shown, whatever is wrong with it.
    pub(crate) hides: bool,
}

impl Call {
    /// Reads, and keeps the answer.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        let path = path.into();
        Self {
            bucket: Bucket::of(&Method::GET, &path),
            method: Method::GET,
            path,
            address: None,
            accept: JSON,
            body: None,
            kind: Kind::Read,
            repeat: Repeat::Always,
            signed: Signed::Credential,
            follows: true,
            hides: false,
        }
    }

    /// Changes something.
    pub(crate) fn change(method: Method, path: impl Into<String>, body: Option<&impl Serialize>) -> Self {
        let path = path.into();
        // what we send are our own types, whose serialisation does not fail
        let body = body.map(|body| serde_json::to_vec(body).unwrap_or_default());
        let kind = Kind::Mutation;
        let bucket = Bucket::of(&method, &path);
        Self { method, body, kind, repeat: Repeat::Unsent, bucket, ..Self::get(path) }
    }

    pub(crate) fn place(&self, path: &str) -> Place {
        let method = match self.method {
            Method::GET => "GET",
            Method::POST => "POST",
            Method::PATCH => "PATCH",
            Method::PUT => "PUT",
            Method::DELETE => "DELETE",
            _ => "HTTP",
        };
        Place { method, path: path.to_owned() }
    }

    fn is_kept(&self) -> bool {
        self.method == Method::GET && self.signed == Signed::Credential && self.bucket != Bucket::Free
    }
}

/// Turns a whole body into what is wanted.
pub(crate) type Parse<'a, T> = &'a (dyn Fn(&[u8]) -> Result<T, serde_json::Error> + Sync);

/// A body that is JSON.
pub(crate) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(body)
}

/// A body that does not matter.
pub(crate) fn nothing(_: &[u8]) -> Result<(), serde_json::Error> {
    Ok(())
}

/// A value, and the `link` header that came with it.
pub(crate) struct Linked<T> {
    pub(crate) fetched: Fetched<T>,
    pub(crate) link: Option<String>,
}

/// What one exchange led to.
enum Step<T> {
    Done(Linked<T>),
    Follow {
        path: String,
        for_good: bool,
    },
    /// What was kept cannot be read any more.
    Reread,
    Failed {
        error: ApiError,
        wait: Option<Duration>,
        is_limit: bool,
    },
}

impl Client {
    /// A client. It has to be made inside a tokio runtime. `seed` spreads the waits of several hosts.
    pub fn new(
        settings: Settings,
        credential: &Credential,
        clock: Arc<dyn Clock>,
        cache: Arc<dyn AnswerCache>,
        seed: u64,
    ) -> Result<Self, ClientError> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(ClientError::NoRuntime);
        }
        let authority = match credential {
            Credential::Anonymous => Authority::Nobody,
            Credential::Token(token, _) => Authority::Token {
                header: token.bearer().map_err(|_| ClientError::Token)?,
                token: token.clone(),
            },
            Credential::App(app) => Authority::App(AppTokens::new(app).map_err(ClientError::Key)?),
        };
        let inner = Inner {
            octocrab: transport::octocrab(&settings)?,
            authority,
            identity: credential.identity(),
            base: settings.api.to_string(),
            clock,
            cache,
            limiter: Mutex::new(Limiter::new(seed, settings.pace)),
            returned: Notify::new(),
            jitter: Mutex::new(Jitter::new(seed ^ 0x6A69_7474_6572)),
            stats: Mutex::default(),
            skew_s: AtomicI64::new(0),
            owners: Mutex::default(),
            settings,
        };
        let manner = Manner { patience: Duration::from_secs(120), urgency: Urgency::Normal, stale: false };
        Ok(Self { inner: Arc::new(inner), manner })
    }

    /// The same client, whose requests wait this long for a limit to end before they give up with [`ApiError::Limited`].
    /// The default is two minutes.
    #[must_use]
    pub fn with_patience(&self, patience: Duration) -> Self {
        Self { inner: Arc::clone(&self.inner), manner: Manner { patience, ..self.manner } }
    }

    /// The same client, whose requests may use the reserve and go beside others.
    #[must_use]
    pub fn urgent(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), manner: Manner { urgency: Urgency::Urgent, ..self.manner } }
    }

    /// The same client, which answers from what it kept ([`Origin::Stale`]) where a limit outlasts its patience.
    #[must_use]
    pub fn taking_stale(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), manner: Manner { stale: true, ..self.manner } }
    }

    /// What was done so far, by all clones together.
    pub fn stats(&self) -> Stats {
        lock(&self.inner.stats).clone()
    }

    /// What is left of a bucket, as far as answers told.
    pub fn budget(&self, bucket: &Bucket) -> Option<Budget> {
        lock(&self.inner.limiter).budget(bucket, self.inner.clock.now())
    }

    /// What is left of every bucket that answers have told of.
    pub fn budgets(&self) -> BTreeMap<Bucket, Budget> {
        lock(&self.inner.limiter).budgets(self.inner.clock.now())
    }

    /// How long a limit still holds for requests of this client in a bucket; `None` when none does.
    pub fn limited_for(&self, bucket: &Bucket) -> Option<Duration> {
        let now = self.inner.clock.now();
        lock(&self.inner.limiter)
            .closed_until(bucket, self.manner.urgency, now)
            .map(|until| until.saturating_sub(now))
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// A hash that tells its credential from others, for whoever keeps things by credential.
    pub fn identity(&self) -> &[u8; 32] {
        &self.inner.identity
    }

    /// The address that git clones a repository from, without credentials.
    pub fn clone_url(&self, full_name: &str) -> String {
        self.inner.settings.web.join(&format!("/{full_name}.git"))
    }

    pub(crate) fn now(&self) -> Duration {
        self.inner.clock.now()
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.inner.authority
    }

    pub(crate) fn owners(&self) -> MutexGuard<'_, Owners> {
        lock(&self.inner.owners)
    }

    pub(crate) fn count_points(&self, points: u64) {
        lock(&self.inner.stats).graphql_points += points;
    }

    pub(crate) fn told(&self, bucket: &Bucket, answer: &AnswerHeaders) {
        lock(&self.inner.limiter).told(bucket, answer, self.inner.clock.now());
    }

    /// Reads JSON.
    pub(crate) async fn read<T: DeserializeOwned + Send>(
        &self,
        path: impl Into<String>,
    ) -> Result<Fetched<T>, ApiError> {
        Ok(self.run(&Call::get(path), &json::<T>).await?.fetched)
    }

    /// Sends a request until it is answered, refused, or beyond patience.
    pub(crate) async fn run<T: Send>(&self, call: &Call, parse: Parse<'_, T>) -> Result<Linked<T>, ApiError> {
        let deadline = self.inner.clock.now().saturating_add(self.manner.patience);
        let mut path = call.path.clone();
        let mut moved_to = None;
        let (mut redirects, mut failures, mut limits) = (0, 0, 0);
        let (mut uses_kept, mut has_signed_anew) = (true, false);
        loop {
            let key = call
                .is_kept()
                .then(|| cache::key(&self.inner.identity, &self.inner.base, call.accept, &path));
            let kept = key.as_ref().filter(|_| uses_kept).and_then(|key| self.inner.cache.get(key));
            let step = self.step(call, &path, key.as_ref(), kept.as_ref(), deadline, parse).await;
            match step {
                Step::Done(mut linked) => {
                    linked.fetched.moved_to = moved_to;
                    return Ok(linked);
                }
                Step::Reread => uses_kept = false,
                Step::Follow { path: to, for_good } => {
                    redirects += 1;
                    if redirects > REDIRECTS_MAX {
                        return Err(ApiError::Moved { place: call.place(&call.path), location: to });
                    }
                    if for_good {
                        moved_to = Some(to.clone());
                    }
                    path = to;
                }
                Step::Failed { error, is_limit: true, .. } => {
                    limits += 1;
                    if limits > LIMITS_MAX || call.repeat == Repeat::Never {
                        return Err(error);
                    }
                }
                Step::Failed { error: ApiError::Unauthorised { .. }, .. }
                    if !has_signed_anew && self.sign_anew(call).await =>
                {
                    has_signed_anew = true;
                }
                Step::Failed { error, wait, .. } => {
                    let unsent = matches!(error, ApiError::Transport { unsent: true, .. });
                    let may_repeat = match call.repeat {
                        Repeat::Always => error.is_transient(),
                        Repeat::Unsent | Repeat::Never => unsent,
                    };
                    if !may_repeat || failures >= REPEATS_MAX {
                        return Err(error);
                    }
                    self.pause(failures, wait).await;
                    failures += 1;
                }
            }
        }
    }

    async fn step<T: Send>(
        &self,
        call: &Call,
        path: &str,
        key: Option<&[u8; 32]>,
        kept: Option<&Kept>,
        deadline: Duration,
        parse: Parse<'_, T>,
    ) -> Step<T> {
        let etag = kept.map(|kept| kept.etag.as_str());
        let answer = match self.exchange(call, path, etag, deadline).await {
            Ok(answer) => answer,
            Err(error) => {
                let stale = kept.filter(|_| self.manner.stale && error.is_limited());
                return match stale.and_then(|kept| Some((kept, parse(&kept.body).ok()?))) {
                    Some((kept, value)) => {
                        done(value, Origin::Stale { confirmed_s: kept.confirmed_s }, kept.link.clone())
                    }
                    None => Step::Failed { error, wait: None, is_limit: false },
                };
            }
        };
        let place = call.place(path);
        if let (304, Some(kept)) = (answer.status, kept) {
            let Ok(value) = parse(&kept.body) else { return Step::Reread };
            let now_s = self.inner.clock.wall_s();
            // whole trees are kept: each is written anew a few times a day, not at every look
            if let Some(key) = key
                && now_s.abs_diff(kept.confirmed_s) >= CONFIRMED_EVERY_S
            {
                let kept = Kept { confirmed_s: now_s, ..kept.clone() };
                self.inner.cache.put(key, &kept);
            }
            return done(value, Origin::Unchanged, kept.link.clone());
        }
        if answer.is_redirect() {
            return self.redirect(call, place, &answer);
        }
        if answer.is_limit {
            // what the caller sees where the request is not to be sent again; else the limiter makes it wait
            let error = self.limited(call, place, self.limited_for(&call.bucket).unwrap_or_default(), false);
            return Step::Failed { error, wait: None, is_limit: true };
        }
        let body = match answer.success(&place) {
            Ok(body) => body,
            Err(error) => {
                return Step::Failed { wait: answer.retry_after(), is_limit: false, error };
            }
        };
        match parse(body) {
            Ok(value) => {
                self.keep(key, &answer, body);
                done(value, Origin::Fresh, answer.header("link"))
            }
            Err(problem) => {
                let error = match call.hides {
                    true => Answer::hidden(place, &problem),
                    false => answer.misread(place, &problem),
                };
                Step::Failed { error, wait: None, is_limit: false }
            }
        }
    }

    fn limited(&self, call: &Call, place: Place, left: Duration, gave_up: bool) -> ApiError {
        let until_s = self.inner.clock.wall_s() + left.as_secs_f64().ceil() as u64;
        ApiError::Limited { place, bucket: call.bucket.clone(), until_s, gave_up }
    }

    fn keep(&self, key: Option<&[u8; 32]>, answer: &Answer, body: &[u8]) {
        let Some((key, etag)) = key.filter(|_| answer.status == 200).zip(answer.header("etag")) else {
            return;
        };
        let kept = Kept {
            etag,
            link: answer.header("link"),
            body: body.to_vec(),
            confirmed_s: self.inner.clock.wall_s(),
        };
        self.inner.cache.put(key, &kept);
    }

    /// A redirect is followed on our host. A request that changes something keeps its method, or is not followed.
    fn redirect<T>(&self, call: &Call, place: Place, answer: &Answer) -> Step<T> {
        let fail = |error| Step::Failed { error, wait: None, is_limit: false };
        let Some(location) = answer.header("location") else {
            return fail(ApiError::Unexpected {
                place,
                problem: format!("{} without a location", answer.status),
            });
        };
        let Some(path) = self.inner.settings.api.path_under(&location).filter(|_| call.follows) else {
            return fail(ApiError::RedirectElsewhere { place, location });
        };
        let keeps_method = matches!(answer.status, 307 | 308);
        if call.address.is_some() || (call.method != Method::GET && !keeps_method) || answer.status == 303 {
            return fail(ApiError::Moved { place, location: path });
        }
        Step::Follow { path, for_good: matches!(answer.status, 301 | 308) }
    }

    /// Waits before a repetition: one second, two, four, and up to half as much again.
    pub(crate) async fn pause(&self, failures: u32, told: Option<Duration>) {
        let grown = Duration::from_secs(1 << failures.min(6));
        let wait = told.unwrap_or(grown).clamp(grown, SERVER_WAIT_MAX);
        let wait = wait + lock(&self.inner.jitter).up_to(wait / 2);
        lock(&self.inner.stats).waited += wait;
        self.inner.clock.sleep(wait).await;
    }
}

fn done<T>(value: T, origin: Origin, link: Option<String>) -> Step<T> {
    Step::Done(Linked { fetched: Fetched { value, origin, moved_to: None }, link })
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
