//! The gate that every request passes: to whom it was sent, from where, by whom, and whether there is room for it.
//!
//! A page that had its name rebound to this host is of the same origin for its browser and sends no `Origin`, so that the name in `Host`
//! is what tells it; a page of another site says so itself. A token is compared by its hash, in a time that says nothing of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use wfengine_storage_format::sha256;

use super::operations::Access;
use super::places::kept;
use super::{BODY_WAIT, Shared, operations, problem};

/// A secret that opens the door, as its hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token([u8; 32]);

impl Token {
    /// Of the text that clients send.
    pub fn new(text: &str) -> Self {
        Self(sha256(text.trim().as_bytes()))
    }

    fn is(&self, text: &str) -> bool {
        let given = sha256(text.as_bytes());
        // hashes of secrets: where they differ says nothing of the secret, and no byte is left out all the same
        given.iter().zip(&self.0).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// What is let through.
#[derive(Clone, Debug)]
pub struct Gate {
    /// `host:port` that requests may be sent to.
    pub hosts: BTreeSet<String>,
    /// Origins whose pages may ask: `scheme://host:port`.
    pub origins: BTreeSet<String>,
    /// Opens everything.
    pub token: Token,
    /// Opens what submits.
    pub submit_token: Option<Token>,
}

/// Paths that need no token: they say nothing of this node.
const OPEN: [&str; 2] = ["/healthz", "/api/v1/openapi.json"];

/// Lets a request through or says why not.
pub(super) async fn pass(State(shared): State<Shared>, mut request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let passed = checked(&shared.gate, request.method(), request.uri(), request.headers());
    let passed = match passed {
        Ok(passed) => passed,
        Err(refused) => return refused.response(origin),
    };
    if request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    {
        return with_origin(preflight(), origin);
    }
    request.extensions_mut().insert(passed);
    with_origin(answered(&shared, request, next).await, origin)
}

async fn answered(shared: &Shared, request: Request, next: Next) -> Response {
    // what says itself that it is too large is not waited for
    let length =
        text(request.headers(), header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length > super::BODY_BYTES_MAX as u64) {
        return problem::too_large(super::BODY_BYTES_MAX);
    }
    // what has no body is not waited for, and a stream is counted where it begins
    let path = request.uri().path();
    if OPEN.contains(&path) || request.method() == Method::OPTIONS || path.starts_with("/api/v1/live/") {
        return next.run(request).await;
    }
    let mut request = match tokio::time::timeout(BODY_WAIT, bounded(request)).await {
        Ok(Ok(request)) => request,
        Ok(Err(response)) => return response,
        Err(_) => {
            return problem::response(
                StatusCode::REQUEST_TIMEOUT,
                "timeout",
                &format!("the request took more than {} s to arrive", BODY_WAIT.as_secs()),
                &[],
            );
        }
    };
    // counted as a stream where it begins
    if request.uri().path() == "/api/v1/control" {
        return next.run(request).await;
    }
    match shared.room.request() {
        Ok(place) => {
            request.extensions_mut().insert(Arc::clone(&place));
            kept(next.run(request).await, place)
        }
        Err(busy) => problem::of(&busy),
    }
}

/// The request with all of its body, so that whoever answers it waits for nobody.
async fn bounded(request: Request) -> Result<Request, Response> {
    let (parts, body) = request.into_parts();
    match axum::body::to_bytes(body, super::BODY_BYTES_MAX).await {
        Ok(bytes) => Ok(Request::from_parts(parts, axum::body::Body::from(bytes))),
        Err(error) => {
            let text = error.to_string();
            Err(if text.contains("length limit") {
                problem::too_large(super::BODY_BYTES_MAX)
            } else {
                problem::response(StatusCode::BAD_REQUEST, "bad_input", &format!("the body: {text}"), &[])
            })
        }
    }
}

/// A page that was let through may read the answer.
fn with_origin(mut response: Response, origin: Option<HeaderValue>) -> Response {
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
        let names = HeaderValue::from_static("retry-after, mcp-session-id");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, names);
    }
    response
}

/// What whoever asks may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Passed {
    /// Everything.
    Whole,
    /// Submit.
    ToSubmit,
}

impl Passed {
    /// An answer without what this one may not see: whoever submits what was submitted before is shown it as it was submitted, and does
    /// not learn what came of it.
    pub(super) fn may_see(self, mut answer: Value) -> Value {
        if self == Passed::ToSubmit
            && let Some(run) = answer.get_mut("run").and_then(Value::as_object_mut)
        {
            let none = || Value::Array(Vec::new());
            for (name, value) in [
                ("status", Value::from("pending")),
                ("reason", Value::from("")),
                ("github", Value::Null),
                ("conflict", Value::from(false)),
                ("divergent_plan", Value::from(false)),
                ("stale_input", Value::from(false)),
                ("waiting_jobs", none()),
                ("jobs", none()),
            ] {
                run.insert(name.to_owned(), value);
            }
        }
        answer
    }
}

/// Why a request was not let through.
struct Refused {
    status: StatusCode,
    kind: &'static str,
    detail: String,
    /// Whether the page that asked may read that.
    may_be_read: bool,
}

impl Refused {
    /// Of whoever may ask, but not so.
    fn of_known(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self { status, kind, detail: detail.into(), may_be_read: true }
    }
    fn of_stranger(status: StatusCode, kind: &'static str, detail: String) -> Self {
        Self { status, kind, detail, may_be_read: false }
    }
    fn response(self, origin: Option<HeaderValue>) -> Response {
        let mut response = problem::response(self.status, self.kind, &self.detail, &[]);
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"wfengine\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if self.may_be_read { with_origin(response, origin) } else { response }
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

fn checked(gate: &Gate, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Passed, Refused> {
    let mut hosts = headers.get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or("?"));
    let (named, more) = (hosts.next(), hosts.next());
    let authority = uri.authority().map(|authority| authority.as_str());
    let host = authority.or(named).unwrap_or_default().to_ascii_lowercase();
    let differ = authority.zip(named).is_some_and(|(one, other)| !one.eq_ignore_ascii_case(other));
    if more.is_some() || differ || !gate.hosts.contains(&host) {
        let detail = format!(
            "this node does not answer to the name {host:?}: ask at {}, or allow the name with --http-host",
            gate.hosts.first().map(String::as_str).unwrap_or("its own address")
        );
        return Err(Refused::of_stranger(StatusCode::MISDIRECTED_REQUEST, "wrong_host", detail));
    }
    if let Some(origin) = text(headers, header::ORIGIN) {
        let is_own = gate.hosts.contains(origin.split("://").nth(1).unwrap_or(origin));
        if !gate.origins.contains(origin) && !is_own {
            let detail = format!(
                "pages of {origin} may not ask this node: the key http.allowed_origins of its configuration, or `serve --http-origin`, names those that may"
            );
            return Err(Refused::of_stranger(StatusCode::FORBIDDEN, "cross_site", detail));
        }
    } else if let Some(site) = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok())
        && !matches!(site, "same-origin" | "none")
    {
        let detail = "a page of another site may not ask this node".to_owned();
        return Err(Refused::of_stranger(StatusCode::FORBIDDEN, "cross_site", detail));
    }
    if OPEN.contains(&uri.path()) || method == Method::OPTIONS {
        return Ok(Passed::Whole);
    }
    let given = text(headers, header::AUTHORIZATION).and_then(|given| {
        let (scheme, token) = given.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let Some(given) = given else {
        let detail =
            "a token is needed: Authorization: Bearer …; `wfengine status` names the file that holds it";
        return Err(Refused::of_known(StatusCode::UNAUTHORIZED, "unauthorised", detail));
    };
    if gate.token.is(given) {
        return Ok(Passed::Whole);
    }
    if gate.submit_token.is_some_and(|token| token.is(given)) {
        if operations::access(method, uri.path()) != Access::All {
            return Ok(Passed::ToSubmit);
        }
        return Err(Refused::of_known(StatusCode::FORBIDDEN, "refused", crate::Request::SUBMITS_ONLY));
    }
    Err(Refused::of_known(StatusCode::UNAUTHORIZED, "unauthorised", "the token is not this node's"))
}

/// A browser asks whether it may ask.
pub(super) fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    let names =
        "authorization, content-type, idempotency-key, last-event-id, mcp-protocol-version, mcp-session-id";
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(names));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}
