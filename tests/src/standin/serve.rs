//! From a connection to an answer and back: what happens to every request, whatever it asks for.
//!
//! The order is GitHub's: who is it, is the request well formed, is there a limit, does the operation exist, may they; then the
//! handler; then tags, limits and dates on the answer; then the fault that a test ordered.
//!
//! Invariants: the lock is never held across a wait; every answer is checked against the contract before it is sent, unless a
//! fault spoilt it on purpose.

mod body;
mod identify;

use std::{net::IpAddr, sync::Arc};

use data_encoding::HEXLOWER;
use http_body_util::{BodyExt, Limited};
use hyper::{Response, body::Incoming};
use sha2::{Digest, Sha256};

use super::{
    Shared,
    accounts::Identity,
    answer::{Answer, Content, JSON},
    call::Call,
    clock::http_date,
    control,
    errors::ErrorCase,
    faults::Fault,
    git, graphql,
    limits::{Bucket, primary_refusal},
    log::Logged,
    request::Request,
    rest, runner_side,
    state::State,
};
use body::StandinBody;
pub(crate) use identify::{identify, identity_name};

const BODY_LEN_MAX: usize = 64 * 1024 * 1024;
/// Versions of the interface that GitHub knows.
const API_VERSIONS: [&str; 2] = ["2022-11-28", "2026-03-10"];

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed on purpose")]
pub(crate) struct Closed;

/// An answer with all its headers, and how it is to be spoilt.
struct Finished {
    answer: Answer,
    fault: Option<Fault>,
}

/// Answers one request of a connection.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    request: hyper::Request<Incoming>,
    address: IpAddr,
) -> Result<Response<StandinBody>, Closed> {
    let (parts, body) = request.into_parts();
    let Ok(collected) = Limited::new(body, BODY_LEN_MAX).collect().await else { return Err(Closed) };
    let path_and_query = (parts.uri.path(), parts.uri.query());
    let (method, body) = (parts.method.as_str(), collected.to_bytes());
    let request = Request::new(method, path_and_query, parts.headers, body, address, &shared.host);
    if request.path.starts_with("/_standin") {
        let answer = control::answer(&shared, &request);
        return respond(Finished { answer, fault: None });
    }
    if request.path.starts_with(runner_side::PREFIX) {
        let answer = runner_side::answer(&shared, &request).await;
        return respond(Finished { answer, fault: None });
    }
    if git::http::is_for_git(&request) {
        let answer = git::http::answer(&shared, &request).await;
        return respond(Finished { answer, fault: None });
    }
    let identity = { identity_name(&shared.state(), &request) };
    let entered = Entered::new(&shared, identity);
    let finished = { api(&mut shared.state(), &request) };
    shared.webhooks_waiting.notify_one();
    if let Some(Fault::Slow(delay)) = finished.fault {
        tokio::time::sleep(delay).await;
    }
    drop(entered);
    respond(finished)
}

/// Counts a request as being worked on for as long as it lives.
struct Entered<'a> {
    shared: &'a Shared,
    identity: String,
}

impl<'a> Entered<'a> {
    fn new(shared: &'a Shared, identity: String) -> Self {
        shared.state().limits.enter(&identity);
        Self { shared, identity }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.shared.state().limits.leave(&self.identity);
    }
}

fn is_graphql(request: &Request) -> bool {
    matches!(request.path.as_str(), "/graphql" | "/api/graphql")
}

/// What the steps below find out about a request.
struct Seen {
    identity: Identity,
    bucket: Bucket,
    operation: Option<&'static str>,
    /// Whether the request is counted at all.
    is_counted: bool,
    fault: Option<Fault>,
}

fn api(state: &mut State, request: &Request) -> Finished {
    let now = state.now();
    let identified = identify(state, request);
    let is_graphql = is_graphql(request);
    let matched = if is_graphql { None } else { rest::matched(state, request) };
    let mut seen = Seen {
        identity: identified.as_ref().map_or_else(|_| state.anonymous(request.address), Identity::clone),
        bucket: match &matched {
            Some(matched) => matched.route.bucket,
            None if is_graphql => Bucket::Graphql,
            None => Bucket::Core,
        },
        operation: matched.as_ref().map(|matched| matched.route.operation),
        is_counted: !is_graphql,
        fault: None,
    };
    let result = answered(state, request, &mut seen, identified.err(), matched);
    let answer = result.unwrap_or_else(|answer| answer);
    let is_spoilt = seen.fault.as_ref().is_some_and(|fault| !fault.keeps_contract());
    let answer = conditional(state, request, &seen, answer);
    if let Some(operation) = seen.operation.filter(|_| !is_spoilt) {
        state.contract.check_answer(operation, &answer);
    }
    let answer = with_shared_headers(state, request, &seen, answer);
    state.limits.note_answer(&seen.identity, seen.bucket, &answer, now);
    state.log.push(Logged {
        at: now,
        identity: seen.identity.name.clone(),
        method: request.method.clone(),
        path: request.target().trim_start_matches(request.prefix).to_owned(),
        status: if matches!(seen.fault, Some(Fault::LostAnswer)) { 0 } else { answer.status },
        bucket: (seen.is_counted || is_graphql).then_some(seen.bucket),
        operation: seen.operation,
        is_conditional: request.header("if-none-match").is_some(),
        is_git: false,
    });
    Finished { answer, fault: seen.fault }
}

/// Everything between the request and its bare answer.
fn answered(
    state: &mut State,
    request: &Request,
    seen: &mut Seen,
    bad_credentials: Option<Answer>,
    matched: Option<rest::Matched>,
) -> Result<Answer, Answer> {
    let now = state.now();
    if request.header("user-agent").is_none_or(|agent| agent.trim().is_empty()) {
        // it is turned away at the door, before anybody knows what it asks for
        seen.is_counted = false;
        seen.operation = None;
        return Err(ErrorCase::NoUserAgent.answer(now));
    }
    if let Some(version) =
        request.header("x-github-api-version").filter(|version| !API_VERSIONS.contains(version))
    {
        let message =
            format!("The version '{version}' is not supported. Please specify a supported version.");
        return Err(Answer::error(400, &message, "/overview/api-versions"));
    }
    let line = (request.method.as_str(), request.path.as_str());
    let is_graphql = is_graphql(request);
    if let Some(refusal) = state.limits.begin(&seen.identity, seen.bucket, line, is_graphql, now) {
        return Err(refusal);
    }
    seen.is_counted &= request.path != "/rate_limit";
    if seen.is_counted && !state.limits.take(&seen.identity, seen.bucket, 1, now) {
        return Err(primary_refusal(state.limit_status, &seen.identity, seen.bucket));
    }
    let by_name = match &matched {
        Some(matched) => matched.path_by_name.as_str(),
        None if is_graphql => "/graphql",
        None => request.path.as_str(),
    };
    seen.fault = state.faults.next(&request.method, &[&request.path, by_name]);
    if let Some(answer) = seen.fault.as_ref().and_then(|fault| replacement(fault, request, now)) {
        return Err(answer);
    }
    if let Some(answer) = bad_credentials {
        return Err(if is_graphql { ErrorCase::GraphqlBadCredentials.answer(now) } else { answer });
    }
    if is_graphql {
        return graphql::answer(state, request, &seen.identity, seen.fault.as_ref());
    }
    let Some(matched) = matched else {
        state.contract.unknown_path(request);
        return Err(Answer::error(404, "Not Found", ""));
    };
    state.contract.check_request(matched.route.operation, request, &matched.parameters);
    let mut call = Call {
        request,
        identity: &seen.identity,
        parameters: matched.parameters,
        repository: None,
        base: request.base(),
        fault: seen.fault.clone(),
    };
    call.repository = rest::admitted(state, &call, matched.route)?;
    (matched.route.handler)(state, &call)
}

fn replacement(fault: &Fault, request: &Request, now: u64) -> Option<Answer> {
    Some(match fault {
        Fault::Error(case) => case.answer(now),
        Fault::Status { status, body } => Answer::json(*status, body.clone()),
        Fault::HtmlPage { status } => {
            let Answer { media_type, content, .. } = ErrorCase::Unicorn.answer(now);
            Answer { status: *status, media_type, headers: Vec::new(), content }
        }
        Fault::RedirectLoop => {
            let location = format!("http://{}{}", request.host, request.target());
            let body = serde_json::json!({ "message": "Moved Permanently", "url": location });
            Answer::json(301, body).with("location", location)
        }
        _ => return None,
    })
}

/// Gives the answer a tag, and leaves the body out where the client already has it.
fn conditional(state: &mut State, request: &Request, seen: &Seen, answer: Answer) -> Answer {
    let is_tagged = matches!(answer.status, 200 | 201) && !is_graphql(request) && seen.is_counted;
    if !is_tagged || matches!(answer.content, Content::Nothing) {
        return answer;
    }
    let mut hash = Sha256::new();
    for part in [seen.identity.name.as_bytes(), request.accept().as_bytes(), &answer.body()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let tag = format!("\"{}\"", HEXLOWER.encode(&hash.finalize()));
    let weak = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let given = request.header("if-none-match").unwrap_or_default();
    let is_known = given.split(',').any(|given| given.trim() == "*" || weak(given) == tag);
    if !(is_known && answer.status == 200 && matches!(request.method.as_str(), "GET" | "HEAD")) {
        return answer.with("etag", tag);
    }
    if !seen.identity.is_anonymous() {
        state.limits.give_back(&seen.identity, seen.bucket);
    }
    Answer::empty(304).with("etag", tag)
}

/// The headers that all answers have; what an answer brought itself stays.
fn with_shared_headers(state: &mut State, request: &Request, seen: &Seen, mut answer: Answer) -> Answer {
    let now = state.now();
    let standing = state.limits.standing(&seen.identity, seen.bucket, now);
    let skew = match seen.fault {
        Some(Fault::SkewedDate { seconds }) => seconds,
        _ => 0,
    };
    let serial = state.ids.serial();
    let cache = if seen.identity.is_anonymous() { "public" } else { "private" };
    let media = match request.accept() {
        accept if accept.contains("raw") => "github.v3; param=raw; format=json",
        accept if accept.contains("object") => "github.v3; param=object; format=json",
        _ => "github.v3; format=json",
    };
    let mut all = vec![
        ("date", http_date(now.saturating_add_signed(skew))),
        ("server", "github.com".to_owned()),
        ("x-github-media-type", media.to_owned()),
        ("x-github-request-id", format!("5A0D:{serial:06X}:{now:08X}:0:{serial:08X}")),
        (
            "vary",
            "Accept, Authorization, Cookie, X-GitHub-OTP, Accept-Encoding, Accept, X-Requested-With"
                .to_owned(),
        ),
        ("x-ratelimit-limit", standing.limit.to_string()),
        ("x-ratelimit-remaining", standing.remaining().to_string()),
        ("x-ratelimit-used", standing.used.to_string()),
        ("x-ratelimit-reset", standing.reset.to_string()),
        ("x-ratelimit-resource", seen.bucket.name().to_owned()),
        (
            "x-github-api-version-selected",
            request.header("x-github-api-version").unwrap_or(API_VERSIONS[0]).to_owned(),
        ),
        ("x-content-type-options", "nosniff".to_owned()),
    ];
    if answer.status < 400 {
        all.push(("cache-control", format!("{cache}, max-age=60, s-maxage=60")));
    }
    if let super::accounts::Grant::Classic { scopes, .. } = &seen.identity.grant {
        all.push(("x-oauth-scopes", scopes.join(", ")));
    }
    for (name, value) in all {
        if answer.header(name).is_none() {
            answer.headers.push((name.to_owned(), value));
        }
    }
    answer
}

/// Writes an answer the way its fault wants it.
fn respond(finished: Finished) -> Result<Response<StandinBody>, Closed> {
    let Finished { answer, fault } = finished;
    let bytes = answer.body();
    let mut media_type = answer.media_type.clone();
    let body = match fault {
        Some(Fault::LostAnswer) => return Err(Closed),
        Some(Fault::CutBody { after_bytes }) => StandinBody::cut(&bytes, after_bytes),
        Some(Fault::HugeBody { bytes: blanks }) => StandinBody::after_blanks(blanks, bytes.clone()),
        Some(Fault::InvalidJson) => StandinBody::whole(bytes.slice(..bytes.len() / 2)),
        Some(Fault::WrongContentType) => {
            "text/html; charset=utf-8".clone_into(&mut media_type);
            StandinBody::whole(bytes.clone())
        }
        _ => StandinBody::whole(bytes.clone()),
    };
    let mut response = Response::builder().status(answer.status);
    if !matches!(answer.content, Content::Nothing) {
        response = response.header("content-type", if media_type.is_empty() { JSON } else { &media_type });
    }
    if body.is_cut() {
        response = response.header("content-length", bytes.len());
    }
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    response.body(body).map_err(|_| Closed)
}
