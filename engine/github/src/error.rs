//! What can go wrong with a request, and what to do about it.
//!
//! Every variant says where it happened. Texts from outside are bounded and cleaned before they get here, and no text ever
//! holds a token: a token stands in a header only, and headers are not printed.

use std::fmt;

use crate::limiter::Bucket;

/// Characters kept of a message that GitHub sent.
const MESSAGE_MAX: usize = 300;
/// Characters kept of a body that is not what was expected.
const SNIPPET_MAX: usize = 200;

/// Which request: its method and path, without the query's values that only paging uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// GET, POST, …
    pub method: &'static str,
    /// Path and query under the base address.
    pub path: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// One entry of `errors` in a GraphQL answer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct GraphqlError {
    /// `NOT_FOUND`, `FORBIDDEN`, `RATE_LIMITED`, … Absent for errors in the query itself.
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    /// What GitHub says.
    #[serde(default)]
    pub message: String,
    /// Where in the answer, names and indices joined by dots.
    #[serde(default, deserialize_with = "path")]
    pub path: String,
}

impl GraphqlError {
    /// Whether it may be about this node of a list of nodes: it names it, or it names none.
    pub(crate) fn concerns(&self, index: usize) -> bool {
        let after_nodes = self.path.split('.').skip_while(|part| *part != "nodes").nth(1);
        after_nodes.is_none_or(|named| named == index.to_string())
    }
}

fn path<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let parts: Option<Vec<serde_json::Value>> = serde::Deserialize::deserialize(deserializer)?;
    let shown = parts.unwrap_or_default().into_iter().map(|part| match part {
        serde_json::Value::String(name) => name,
        other => other.to_string(),
    });
    Ok(clean(&shown.collect::<Vec<_>>().join("."), SNIPPET_MAX))
}

/// Why a request gave nothing. Unless a variant says otherwise, nothing changed at GitHub.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// 401.
    #[error(
        "{place}: 401 {message}: the token is wrong, expired or revoked, or none was given; give another one"
    )]
    Unauthorised {
        /// Where.
        place: Place,
        /// GitHub's words.
        message: String,
    },
    /// 403 for want of a permission. Repeating it is useless.
    #[error("{place}: 403 {message}: the token needs the permission {accepted}; grant it and start again")]
    MissingPermission {
        /// Where.
        place: Place,
        /// What GitHub would accept, such as `administration=write`.
        accepted: String,
        /// GitHub's words.
        message: String,
    },
    /// 403 because the organisation wants single sign-on.
    #[error("{place}: 403: the organisation wants single sign-on for this token; authorise it{}", at(.url))]
    Sso {
        /// Where.
        place: Place,
        /// The page on which to authorise the token.
        url: Option<String>,
    },
    /// 403 for a reason that GitHub does not name by header.
    #[error("{place}: 403 {message}")]
    Forbidden {
        /// Where.
        place: Place,
        /// GitHub's words.
        message: String,
    },
    /// 404: it does not exist, or this credential may not see it.
    #[error("{place}: 404: it does not exist, or the token may not see it{}", hint(.needs))]
    NotFound {
        /// Where.
        place: Place,
        /// Scopes of which a classic token would need one and has none.
        needs: Option<String>,
    },
    /// 410: it was there once.
    #[error("{place}: 410 {message}: it is gone for good")]
    Gone {
        /// Where.
        place: Place,
        /// GitHub's words.
        message: String,
    },
    /// 451: blocked for legal reasons, or the repository was taken down.
    #[error("{place}: 451 {message}: access is blocked; leave it out")]
    Blocked {
        /// Where.
        place: Place,
        /// GitHub's words.
        message: String,
    },
    /// 409: an empty repository, a name that is taken, a run that has ended.
    #[error("{place}: 409 {message}")]
    Conflict {
        /// Where.
        place: Place,
        /// GitHub's words.
        message: String,
    },
    /// 422: GitHub understood the request and does not take it.
    #[error("{place}: 422 {message}")]
    Unprocessable {
        /// Where.
        place: Place,
        /// GitHub's words with the fields they speak of.
        message: String,
    },
    /// Any other status that is no success.
    #[error("{place}: {status} {message}")]
    Refused {
        /// Where.
        place: Place,
        /// The status.
        status: u16,
        /// GitHub's words.
        message: String,
    },
    /// A limit holds beyond the caller's patience. Nothing was sent, or what was sent was refused for the limit.
    #[error(
        "{place}: the limit `{bucket}` holds until {}{}",
        crate::dates::rfc3339(*.until_s),
        if *.gave_up { "; GitHub refused six times in a row" } else { "" }
    )]
    Limited {
        /// Where.
        place: Place,
        /// Which budget.
        bucket: Bucket,
        /// Wall time of this host at which to try again.
        until_s: u64,
        /// Refused so often in a row that waiting for it is no use.
        gave_up: bool,
    },
    /// 5xx. For a request that changes something its effect is unknown.
    #[error("{place}: {status} {message}: GitHub has a problem of its own; try again later")]
    Server {
        /// Where.
        place: Place,
        /// The status.
        status: u16,
        /// GitHub's words, or the beginning of the page it sent.
        message: String,
    },
    /// A body that is not JSON: a page of a proxy or portal, most likely.
    #[error(
        "{place}: {status}: the answer is not JSON but `{text}`; is there a proxy or login page in between?"
    )]
    NotJson {
        /// Where.
        place: Place,
        /// The status.
        status: u16,
        /// Its beginning.
        text: String,
    },
    /// JSON of another shape than GitHub describes.
    #[error("{place}: the answer has another shape than described: {problem}")]
    Unexpected {
        /// Where.
        place: Place,
        /// What does not fit.
        problem: String,
    },
    /// The body ended early. It was not kept.
    #[error("{place}: the answer was cut off; try again")]
    Truncated {
        /// Where.
        place: Place,
    },
    /// The body is larger than we read. It was not kept.
    #[error("{place}: the answer is larger than {bytes_max} bytes; it was not read")]
    TooLarge {
        /// Where.
        place: Place,
        /// The bound.
        bytes_max: u64,
    },
    /// No answer. When something was sent that changes something, its effect is unknown.
    #[error("{place}: {problem}{}", if *.unsent { "; nothing was sent" } else { "" })]
    Transport {
        /// Where.
        place: Place,
        /// What happened.
        problem: String,
        /// Nothing had left this host.
        unsent: bool,
    },
    /// A redirect that is not followed: too many, or of a request that must not turn into another one.
    #[error("{place}: moved to {location}; use the new name")]
    Moved {
        /// Where.
        place: Place,
        /// The new path on the same host.
        location: String,
    },
    /// A redirect to another host, which must not get the token.
    #[error("{place}: answered with an address on another host ({}); it was not followed", host(.location))]
    RedirectElsewhere {
        /// Where.
        place: Place,
        /// The whole address. It may hold a short-lived signature: do not log it.
        location: String,
    },
    /// A link to a further page that leads to another host.
    #[error("{place}: the next page is said to be on {host}, which is not the configured host; not followed")]
    ForeignLink {
        /// Where.
        place: Place,
        /// The host named.
        host: String,
    },
    /// A GraphQL answer without data.
    #[error("{place}: {}", first(.errors))]
    Graphql {
        /// Where.
        place: Place,
        /// What GitHub says, at most 20 entries.
        errors: Vec<GraphqlError>,
    },
    /// The request could not even be made.
    #[error("`{value}` is no {what}")]
    Argument {
        /// What it should be.
        what: &'static str,
        /// What it is.
        value: String,
    },
    /// The app's key or installation cannot be used.
    #[error("{problem}")]
    App {
        /// What is wrong and what to do.
        problem: String,
    },
}

impl ApiError {
    /// Whether the same request may well succeed a moment later, without anybody doing anything. A limit is not: it has its
    /// own time.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Server { .. } | Self::Truncated { .. } | Self::Transport { .. })
    }

    /// Whether GitHub says that it does not exist for this credential.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::Gone { .. })
    }

    /// Whether a limit is the reason.
    pub fn is_limited(&self) -> bool {
        matches!(self, Self::Limited { .. })
    }
}

/// One line of printable text of bounded length, whatever came in.
pub(crate) fn clean(text: &str, chars_max: usize) -> String {
    let mut cleaned = String::new();
    let mut count = 0;
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if count > 0 {
            cleaned.push(' ');
            count += 1;
        }
        for c in word.chars() {
            if count >= chars_max {
                cleaned.push('…');
                return cleaned;
            }
            cleaned.push(c);
            count += 1;
        }
    }
    cleaned
}

/// The beginning of a body that is not what it should be.
pub(crate) fn snippet(body: &[u8]) -> String {
    clean(&String::from_utf8_lossy(&body[..body.len().min(4 * SNIPPET_MAX)]), SNIPPET_MAX)
}

/// GitHub's message out of the body of a refusal, with what it says about single fields.
pub(crate) fn message(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Refusal {
        #[serde(default)]
        message: String,
        #[serde(default)]
        errors: Option<serde_json::Value>,
    }
    let Ok(refusal) = serde_json::from_slice::<Refusal>(body) else { return snippet(body) };
    let details = refusal.errors.as_ref().and_then(serde_json::Value::as_array).map(|errors| {
        errors.iter().take(5).map(detail).filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ")
    });
    match details.filter(|text| !text.is_empty()) {
        Some(details) => clean(&format!("{} ({details})", refusal.message), MESSAGE_MAX),
        None => clean(&refusal.message, MESSAGE_MAX),
    }
}

fn detail(error: &serde_json::Value) -> String {
    let text = |name: &str| error.get(name).and_then(serde_json::Value::as_str);
    match (error.as_str(), text("message")) {
        (Some(text), _) | (None, Some(text)) => text.to_owned(),
        (None, None) => {
            ["resource", "field", "code"].iter().filter_map(|name| text(name)).collect::<Vec<_>>().join(" ")
        }
    }
}

fn at(url: &Option<String>) -> String {
    url.as_ref().map(|url| format!(" at {url}")).unwrap_or_default()
}

fn hint(needs: &Option<String>) -> String {
    needs.as_ref().map(|needs| format!(" (it has none of the scopes {needs})")).unwrap_or_default()
}

fn host(location: &str) -> String {
    let rest = location.split_once("://").map_or(location, |(_, rest)| rest);
    clean(rest.split(['/', '?', '#']).next().unwrap_or_default(), SNIPPET_MAX)
}

fn first(errors: &[GraphqlError]) -> String {
    let first = errors.first().map(|error| clean(&error.message, MESSAGE_MAX)).unwrap_or_default();
    match errors.len() {
        0 => "neither data nor an error".to_owned(),
        1 => first,
        more => format!("{first} (and {} more)", more - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_becomes_one_bounded_line() {
        assert_eq!(clean("a\n\tb\u{7}c  d", 100), "a b c d");
        assert_eq!(clean(&"x".repeat(500), 200).chars().count(), 201);
        assert_eq!(snippet(b"<html>\n<title>Unicorn!"), "<html> <title>Unicorn!");
    }

    #[test]
    fn a_refusal_names_the_fields() {
        let body = br#"{"message":"Validation Failed","errors":[{"resource":"Label","code":"invalid","field":"color"}]}"#;
        assert_eq!(message(body), "Validation Failed (Label color invalid)");
        assert_eq!(message(br#"{"message":"No","errors":["first","second"]}"#), "No (first; second)");
        assert_eq!(message(b"<html>"), "<html>");
        assert_eq!(message(br#"{"message":"Bad credentials"}"#), "Bad credentials");
    }

    #[test]
    fn a_short_lived_address_is_not_printed() {
        let place = Place { method: "GET", path: "/repos/a/b/actions/jobs/1/logs".to_owned() };
        let error =
            ApiError::RedirectElsewhere { place, location: "https://blobs.test/x?sig=secret".to_owned() };
        assert!(error.to_string().contains("blobs.test") && !error.to_string().contains("secret"));
    }
}
