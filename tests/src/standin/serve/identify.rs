//! Who sent a request, by its `authorization`.
//!
//! Web tokens of apps are looked at and not verified: three parts, `RS256`, an issuer.

use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::Value;

use crate::standin::{
    accounts::{Grant, Identity},
    answer::Answer,
    request::Request,
    state::State,
};

/// The token of a request in any of the forms that GitHub takes.
pub(crate) fn token(request: &Request) -> Option<String> {
    let (scheme, value) = request.header("authorization")?.split_once(' ')?;
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" | "token" => Some(value.trim().to_owned()),
        "basic" => {
            let decoded = BASE64.decode(value.trim().as_bytes()).ok()?;
            let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
            // a token may stand in either place
            Some(if password.is_empty() || password == "x-oauth-basic" { user } else { password }.to_owned())
        }
        _ => None,
    }
}

/// The sender; an error when it says who it is and that is not so.
pub(crate) fn identify(state: &State, request: &Request) -> Result<Identity, Answer> {
    if request.header("authorization").is_none() {
        return Ok(state.anonymous(request.address));
    }
    let token = token(request).ok_or_else(Answer::bad_credentials)?;
    if let Some(issuer) = app(&token) {
        return Ok(state.identity(Grant::App { issuer }));
    }
    state.identity_of(&token).ok_or_else(Answer::bad_credentials)
}

/// The name that a request is counted under.
pub(crate) fn identity_name(state: &State, request: &Request) -> String {
    identify(state, request).unwrap_or_else(|_| state.anonymous(request.address)).name
}

/// The issuer of an app's web token.
fn app(token: &str) -> Option<String> {
    let mut parts = token.split('.');
    let (header, claims, signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || signature.is_empty() || BASE64URL_NOPAD.decode(signature.as_bytes()).is_err()
    {
        return None;
    }
    let read = |part: &str| -> Option<Value> {
        serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).ok()?).ok()
    };
    let (header, claims) = (read(header)?, read(claims)?);
    if header["alg"] != "RS256" {
        return None;
    }
    match &claims["iss"] {
        Value::String(issuer) => Some(issuer.clone()),
        Value::Number(issuer) => Some(issuer.to_string()),
        _ => None,
    }
}
