//! An answer that was read: its head, its body within bounds, and what a refusal means.
//!
//! It decides by status and headers. The message is looked at only to tell a secondary limit from a missing permission.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::{
    HeaderMap,
    body::{Body, Bytes},
    http::response::Parts,
};

use crate::{
    dates,
    error::{self, ApiError, Place},
    limiter::{AnswerHeaders, Bucket},
};

/// A header of an answer longer than this is not kept.
const HEADER_BYTES_MAX: usize = 16 << 10;

pub(super) struct Answer {
    pub(super) status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
    is_graphql: bool,
    /// It is a refusal because of a limit.
    pub(super) is_limit: bool,
}

impl Answer {
    pub(super) fn new(head: &Parts, body: Vec<u8>, is_graphql: bool) -> Self {
        Self {
            status: head.status.as_u16(),
            headers: head.headers.clone(),
            body,
            is_graphql,
            is_limit: false,
        }
    }

    /// Reads a body to its end, or not at all.
    pub(super) async fn body<B>(
        head: &Parts,
        body: B,
        bytes_max: u64,
        place: &Place,
    ) -> Result<Vec<u8>, ApiError>
    where
        B: Body<Data = Bytes>,
    {
        let too_large = || ApiError::TooLarge { place: place.clone(), bytes_max };
        let told =
            head.headers.get("content-length").and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if told.is_some_and(|length| length > bytes_max) {
            return Err(too_large());
        }
        let mut whole = Vec::new();
        let mut body = Box::pin(body);
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return Err(ApiError::Truncated { place: place.clone() }) };
            if let Some(data) = frame.data_ref() {
                if (whole.len() + data.len()) as u64 > bytes_max {
                    return Err(too_large());
                }
                whole.extend_from_slice(data);
            }
        }
        Ok(whole)
    }

    /// A header as text; a very long one is none.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        let value = self.headers.get(name)?.to_str().ok()?;
        (value.len() <= HEADER_BYTES_MAX).then(|| value.to_owned())
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.headers.get(name)?.to_str().ok()?.trim().parse().ok()
    }

    /// What the answer says about limits.
    pub(super) fn limits(&self, wall_s: u64) -> AnswerHeaders {
        let date_s = self.header("date").and_then(|date| dates::http_date_s(&date));
        // a moment in place of seconds
        let until =
            || dates::http_date_s(&self.header("retry-after")?)?.checked_sub(date_s.unwrap_or(wall_s));
        AnswerHeaders {
            status: self.status,
            retry_after: self.number("retry-after").or_else(until),
            limit: self.number("x-ratelimit-limit"),
            remaining: self.number("x-ratelimit-remaining"),
            used: self.number("x-ratelimit-used"),
            reset_s: self.number("x-ratelimit-reset"),
            resource: self.header("x-ratelimit-resource").map(|name| Bucket::named(&name)),
            date_s,
            wall_s,
            secondary_message: self.speaks_of_secondary(),
            graphql_limited: self.is_graphql_limited(),
        }
    }

    /// Of a refusal; GraphQL refuses with 200 as well.
    fn speaks_of_secondary(&self) -> bool {
        #[derive(serde::Deserialize)]
        struct Refusal {
            message: String,
        }
        let is_refusal = matches!(self.status, 403 | 429) || (self.status == 200 && self.is_graphql);
        if !is_refusal || self.body.len() > 8 << 10 {
            return false;
        }
        serde_json::from_slice::<Refusal>(&self.body).is_ok_and(|refusal| {
            let message = refusal.message.to_ascii_lowercase();
            message.contains("secondary rate limit") || message.contains("abuse detection")
        })
    }

    /// `errors` with the type of a limit, in an answer that is otherwise a success.
    fn is_graphql_limited(&self) -> bool {
        #[derive(serde::Deserialize)]
        struct Envelope {
            errors: Vec<error::GraphqlError>,
        }
        self.status == 200
            && self.is_graphql
            && self.body.windows(14).any(|window| window == b"\"RATE_LIMITED\"")
            && serde_json::from_slice::<Envelope>(&self.body).is_ok_and(|envelope| {
                envelope.errors.iter().any(|error| error.kind.as_deref() == Some("RATE_LIMITED"))
            })
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.number("retry-after").map(Duration::from_secs)
    }

    pub(super) fn is_redirect(&self) -> bool {
        matches!(self.status, 301 | 302 | 303 | 307 | 308)
    }

    /// The body of a success, or what the refusal means.
    pub(super) fn success(&self, place: &Place) -> Result<&[u8], ApiError> {
        if matches!(self.status, 200..=299) {
            return Ok(&self.body);
        }
        Err(self.refusal(place.clone()))
    }

    fn refusal(&self, place: Place) -> ApiError {
        let message = if self.body.is_empty() { "(no body)".to_owned() } else { error::message(&self.body) };
        match self.status {
            401 => ApiError::Unauthorised { place, message },
            403 => self.forbidden(place, message),
            404 => ApiError::NotFound { place, needs: self.scopes_missing() },
            409 => ApiError::Conflict { place, message },
            410 => ApiError::Gone { place, message },
            422 => ApiError::Unprocessable { place, message },
            451 => ApiError::Blocked { place, message },
            status @ 500.. => ApiError::Server { place, status, message },
            status if self.is_page() => ApiError::NotJson { place, status, text: error::snippet(&self.body) },
            status => ApiError::Refused { place, status, message },
        }
    }

    fn forbidden(&self, place: Place, message: String) -> ApiError {
        if let Some(sso) = self.header("x-github-sso") {
            let url = sso.split_once("url=").map(|(_, url)| error::clean(url, 200));
            return ApiError::Sso { place, url };
        }
        let accepted = self.header("x-accepted-github-permissions").map(|text| error::clean(&text, 200));
        match accepted.filter(|accepted| !accepted.is_empty()) {
            Some(accepted) => ApiError::MissingPermission { place, accepted, message },
            None if message.starts_with("Resource not accessible") => {
                let accepted = "that this endpoint asks for".to_owned();
                ApiError::MissingPermission { place, accepted, message }
            }
            None if self.is_page() => {
                ApiError::NotJson { place, status: 403, text: error::snippet(&self.body) }
            }
            None => ApiError::Forbidden { place, message },
        }
    }

    /// The scopes of which a classic token needs one, when it has none of them.
    fn scopes_missing(&self) -> Option<String> {
        let accepted = self.header("x-accepted-oauth-scopes").filter(|scopes| !scopes.trim().is_empty())?;
        let has = self.header("x-oauth-scopes")?;
        let has: Vec<&str> = has.split(',').map(str::trim).collect();
        let is_met = accepted.split(',').map(str::trim).any(|scope| has.contains(&scope));
        (!is_met).then(|| error::clean(&accepted, 200))
    }

    fn is_page(&self) -> bool {
        let is_html = self.header("content-type").is_some_and(|kind| kind.starts_with("text/html"));
        is_html || self.body.trim_ascii_start().starts_with(b"<")
    }

    /// The same for a body that may hold a secret: nobody knows which part of it could be shown.
    pub(super) fn hidden(place: Place, problem: &serde_json::Error) -> ApiError {
        match problem.classify() {
            serde_json::error::Category::Eof => ApiError::Truncated { place },
            _ => {
                let problem = "it may hold a secret, so nothing of it is shown".to_owned();
                ApiError::Unexpected { place, problem }
            }
        }
    }

    /// Why a body of a success could not be parsed.
    pub(super) fn misread(&self, place: Place, problem: &serde_json::Error) -> ApiError {
        if self.is_page() {
            return ApiError::NotJson { place, status: self.status, text: error::snippet(&self.body) };
        }
        match problem.classify() {
            serde_json::error::Category::Eof => ApiError::Truncated { place },
            serde_json::error::Category::Data => {
                ApiError::Unexpected { place, problem: error::clean(&problem.to_string(), 200) }
            }
            _ => ApiError::NotJson { place, status: self.status, text: error::snippet(&self.body) },
        }
    }
}
