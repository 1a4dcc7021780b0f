//! One exchange: wait for the limiter, send, read, tell the limiter.
//!
//! It decides nothing about what an answer means beyond limits, and repeats nothing.
//!
//! Invariant: a permit always returns to the limiter, also when the future is dropped half way.

use std::{sync::atomic::Ordering, time::Duration};

use hyper::{
    Request, Response,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, IF_NONE_MATCH, USER_AGENT},
};
use octocrab::OctoBody;
use tokio::time::Instant;

use super::{Authority, Call, Client, Inner, Signed, answer::Answer, lock};
use crate::{
    app::TokenFor,
    error::{ApiError, Place},
    limiter::{AnswerHeaders, Ask, Bucket, Permit, Verdict},
    transport,
};

const API_VERSION: &str = "2022-11-28";
/// A wait is cut into such pieces: what other requests learn, and a host that slept, count soon.
const WAIT_PIECE: Duration = Duration::from_secs(60);

/// A permit on its way back to the limiter.
struct Held<'a> {
    inner: &'a Inner,
    permit: Option<Permit>,
}

impl Held<'_> {
    fn answered(mut self, answer: &AnswerHeaders) -> Verdict {
        let now = self.inner.clock.now();
        match self.permit.take() {
            Some(permit) => lock(&self.inner.limiter).answered(permit, answer, now),
            None => Verdict::Free,
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            let now = self.inner.clock.now();
            lock(&self.inner.limiter).abandoned(permit, now);
        }
        self.inner.returned.notify_waiters();
    }
}

impl Client {
    /// Sends a request once and reads its answer.
    pub(super) async fn exchange(
        &self,
        call: &Call,
        path: &str,
        etag: Option<&str>,
        deadline: Duration,
    ) -> Result<Answer, ApiError> {
        let place = call.place(path);
        let authorization = self.authorization(call).await?;
        let held = self.admit(call, &place, deadline).await?;
        {
            let mut stats = lock(&self.inner.stats);
            stats.requests += 1;
            *stats.by_bucket.entry(call.bucket.clone()).or_default() += 1;
        }
        let answered = self.send(call, path, etag, authorization, &place).await;
        let (mut answer, broken) = match answered {
            Ok(answered) => answered,
            Err(error) => {
                lock(&self.inner.stats).unanswered += 1;
                return Err(error);
            }
        };
        let told = answer.limits(self.inner.clock.wall_s());
        answer.is_limit = held.answered(&told) == Verdict::Limited;
        self.note(&answer, &told);
        match broken {
            // a refusal says enough by its head
            Some(error) if !answer.is_limit && answer.status < 400 => Err(error),
            _ => Ok(answer),
        }
    }

    fn note(&self, answer: &Answer, told: &AnswerHeaders) {
        let mut stats = lock(&self.inner.stats);
        *stats.by_status.entry(answer.status).or_default() += 1;
        stats.not_modified += u64::from(answer.status == 304);
        stats.limited += u64::from(answer.is_limit);
        if let Some(date) = told.date_s {
            let skew =
                i64::try_from(date).unwrap_or_default() - i64::try_from(told.wall_s).unwrap_or_default();
            self.inner.skew_s.store(skew, Ordering::Relaxed);
        }
    }

    /// Waits until the limiter lets the request go.
    async fn admit(&self, call: &Call, place: &Place, deadline: Duration) -> Result<Held<'_>, ApiError> {
        let inner = &*self.inner;
        loop {
            // before asking, so that a return in between is not missed
            let returned = inner.returned.notified();
            let now = inner.clock.now();
            let ask = lock(&inner.limiter).ask(&call.bucket, call.kind, self.manner.urgency, now);
            let limited = |until: Duration, gave_up| {
                self.limited(call, place.clone(), until.saturating_sub(now), gave_up)
            };
            match ask {
                Ask::Go(permit) => return Ok(Held { inner, permit: Some(permit) }),
                Ask::Busy => returned.await,
                Ask::GaveUp(until) => return Err(limited(until, true)),
                Ask::WaitUntil(until, why) if why.is_limit() && until > deadline => {
                    return Err(limited(until, false));
                }
                Ask::WaitUntil(until, why) => {
                    let wait = until.saturating_sub(now).min(WAIT_PIECE);
                    tracing::debug!(bucket = %call.bucket, ?why, ?wait, "waiting before a request to GitHub");
                    lock(&inner.stats).waited += wait;
                    inner.clock.sleep(wait).await;
                }
            }
        }
    }

    async fn send(
        &self,
        call: &Call,
        path: &str,
        etag: Option<&str>,
        authorization: Option<HeaderValue>,
        place: &Place,
    ) -> Result<(Answer, Option<ApiError>), ApiError> {
        let settings = &self.inner.settings;
        let address = call.address.clone().unwrap_or_else(|| settings.api.join(path));
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(address)
            .header(ACCEPT, call.accept)
            .header(USER_AGENT, settings.user_agent.as_str())
            .header("x-github-api-version", API_VERSION);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let body = match &call.body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                OctoBody::from(body.clone())
            }
            None => OctoBody::empty(),
        };
        let request =
            request.body(body).map_err(|_| ApiError::Argument { what: "path", value: path.to_owned() })?;
        let failed = |problem, unsent| ApiError::Transport { place: place.clone(), problem, unsent };
        let limit = Instant::now() + settings.timeout;
        let too_slow = || failed(format!("no whole answer within {} s", settings.timeout.as_secs()), false);
        let answer: Response<_> =
            match tokio::time::timeout_at(limit, self.inner.octocrab.execute(request)).await {
                Err(_) => return Err(too_slow()),
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) => {
                    let failure = transport::failure(&error);
                    return Err(failed(failure.to_string(), failure.unsent));
                }
            };
        let (head, body) = answer.into_parts();
        let read = Answer::body(&head, body, settings.body_bytes_max, place);
        let (body, broken) = match tokio::time::timeout_at(limit, read).await {
            Ok(Ok(body)) => (body, None),
            Ok(Err(error)) => (Vec::new(), Some(error)),
            Err(_) => (Vec::new(), Some(too_slow())),
        };
        Ok((Answer::new(&head, body, call.bucket == Bucket::Graphql), broken))
    }

    /// The header that makes a request ours.
    async fn authorization(&self, call: &Call) -> Result<Option<HeaderValue>, ApiError> {
        match (&self.inner.authority, call.signed) {
            (Authority::Nobody, _) => Ok(None),
            (Authority::Token { header, .. }, _) => Ok(Some(header.clone())),
            (Authority::App(app), Signed::App) => app.signature(self.server_s()).map(Some),
            (Authority::App(app), Signed::Credential) => {
                let token = Box::pin(app.token(self, &TokenFor::Everything)).await?;
                Ok(Some(token.header))
            }
        }
    }

    /// Whether a refused signature can be had anew: an app's tokens end early when they are revoked, and its own signature is
    /// refused when this host's clock was wrong, which is known since the refusal.
    pub(super) async fn sign_anew(&self, call: &Call) -> bool {
        match (&self.inner.authority, call.signed) {
            (Authority::App(app), Signed::Credential) => {
                app.forget(&TokenFor::Everything).await;
                true
            }
            (Authority::App(_), Signed::App) => self.inner.skew_s.load(Ordering::Relaxed).abs() > 20,
            (Authority::Nobody | Authority::Token { .. }, _) => false,
        }
    }

    /// GitHub's wall time, as far as its answers told it.
    pub fn server_s(&self) -> u64 {
        self.inner.clock.wall_s().saturating_add_signed(self.inner.skew_s.load(Ordering::Relaxed))
    }
}
