//! Errors as `application/problem+json` (RFC 9457), the same document for the same mistake as at every other door.

use axum::http::header::{self, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::failure::{Exit, Failure, Matter};

/// The status that says the same as a failure.
pub(super) const fn status(failure: &Failure) -> StatusCode {
    match (failure.matter, failure.exit) {
        (Matter::Unknown, _) => StatusCode::NOT_FOUND,
        (Matter::Conflict, _) => StatusCode::CONFLICT,
        (Matter::Busy, _) => StatusCode::TOO_MANY_REQUESTS,
        (Matter::Plain, Exit::BadInput) => StatusCode::BAD_REQUEST,
        (Matter::Plain, Exit::Refused) => StatusCode::FORBIDDEN,
        (Matter::Plain, Exit::Unreachable) => StatusCode::SERVICE_UNAVAILABLE,
        (Matter::Plain, Exit::Success | Exit::Failure | Exit::Disk) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

pub(super) fn response(status: StatusCode, kind: &str, detail: &str, candidates: &[String]) -> Response {
    let document = json!({
        "type": format!("urn:wfengine:problem:{kind}"),
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "detail": detail,
        "kind": kind,
        "candidates": candidates,
    });
    let mut response = (status, document.to_string()).into_response();
    let json = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

pub(super) fn of(failure: &Failure) -> Response {
    response(status(failure), failure.word(), &failure.message, &failure.candidates)
}

pub(super) fn too_large(bytes_max: usize) -> Response {
    let detail = format!("the body is larger than the {bytes_max} bytes that are allowed");
    response(StatusCode::PAYLOAD_TOO_LARGE, "too_large", &detail, &[])
}

pub(super) async fn no_such_path(uri: Uri) -> Response {
    of(&Failure::unknown(format!("{}: there is no such path; /api/v1/openapi.json lists them", uri.path())))
}

pub(super) async fn no_such_method(method: Method, uri: Uri) -> Response {
    if method == Method::OPTIONS {
        return super::access::preflight();
    }
    let detail =
        format!("{method} {}: there is no such operation; /api/v1/openapi.json lists them", uri.path());
    response(StatusCode::METHOD_NOT_ALLOWED, "bad_input", &detail, &[])
}
