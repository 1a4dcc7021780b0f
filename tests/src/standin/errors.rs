//! The errors of `error-bodies.json` by name, to be injected.
//!
//! The wording stands here a second time, so that the stand-in needs no files; a test compares the two.

use serde_json::{Value, json};

use super::answer::Answer;

const RATE_DOCS: &str = "https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api";
const SECONDARY: &str =
    "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";

/// One of the documented errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after its case in error-bodies.json, which describes it")]
pub enum ErrorCase {
    BadCredentials,
    RequiresAuthentication,
    NotFoundOrHidden,
    ResourceNotAccessible,
    PrimaryLimit,
    PrimaryLimitAnonymous,
    SecondaryLimitWithRetryAfter,
    SecondaryLimitWithoutRetryAfter,
    ValidationFailed,
    DispatchWithoutTrigger,
    JitNameTaken,
    DeleteBusyRunner,
    EmptyRepository,
    BadJson,
    NoUserAgent,
    Unicorn,
    GraphqlPrimaryLimit,
    GraphqlSecondaryLimit,
    GraphqlPartial,
    GraphqlResourceLimits,
    GraphqlTimeout,
    GraphqlBadCredentials,
}

impl ErrorCase {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::BadCredentials,
        Self::RequiresAuthentication,
        Self::NotFoundOrHidden,
        Self::ResourceNotAccessible,
        Self::PrimaryLimit,
        Self::PrimaryLimitAnonymous,
        Self::SecondaryLimitWithRetryAfter,
        Self::SecondaryLimitWithoutRetryAfter,
        Self::ValidationFailed,
        Self::DispatchWithoutTrigger,
        Self::JitNameTaken,
        Self::DeleteBusyRunner,
        Self::EmptyRepository,
        Self::BadJson,
        Self::NoUserAgent,
        Self::Unicorn,
        Self::GraphqlPrimaryLimit,
        Self::GraphqlSecondaryLimit,
        Self::GraphqlPartial,
        Self::GraphqlResourceLimits,
        Self::GraphqlTimeout,
        Self::GraphqlBadCredentials,
    ];

    /// Its name in `error-bodies.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::BadCredentials => "bad-credentials",
            Self::RequiresAuthentication => "requires-authentication",
            Self::NotFoundOrHidden => "not-found-or-hidden",
            Self::ResourceNotAccessible => "resource-not-accessible",
            Self::PrimaryLimit => "primary-limit",
            Self::PrimaryLimitAnonymous => "primary-limit-anonymous",
            Self::SecondaryLimitWithRetryAfter => "secondary-limit-with-retry-after",
            Self::SecondaryLimitWithoutRetryAfter => "secondary-limit-without-retry-after",
            Self::ValidationFailed => "validation-failed",
            Self::DispatchWithoutTrigger => "dispatch-without-trigger",
            Self::JitNameTaken => "jit-name-taken",
            Self::DeleteBusyRunner => "delete-busy-runner",
            Self::EmptyRepository => "empty-repository",
            Self::BadJson => "bad-json",
            Self::NoUserAgent => "no-user-agent",
            Self::Unicorn => "unicorn",
            Self::GraphqlPrimaryLimit => "graphql-primary-limit",
            Self::GraphqlSecondaryLimit => "graphql-secondary-limit",
            Self::GraphqlPartial => "graphql-partial",
            Self::GraphqlResourceLimits => "graphql-resource-limits",
            Self::GraphqlTimeout => "graphql-timeout",
            Self::GraphqlBadCredentials => "graphql-bad-credentials",
        }
    }

    /// The answer, with the headers that make it what it is.
    pub(crate) fn answer(self, now: u64) -> Answer {
        let limited = |answer: Answer, resource: &str| {
            answer
                .with("x-ratelimit-remaining", "0")
                .with("x-ratelimit-reset", (now + 3_600).to_string())
                .with("x-ratelimit-resource", resource)
        };
        let answer = match self.text() {
            Some((status, media_type, text)) => Answer::bytes(status, media_type, text),
            None => {
                let (status, body) = self.body();
                Answer::json(status, body)
            }
        };
        match self {
            Self::ResourceNotAccessible => {
                answer.with("x-accepted-github-permissions", "administration=write")
            }
            Self::PrimaryLimit => {
                limited(answer, "core").with("x-ratelimit-limit", "5000").with("x-ratelimit-used", "5000")
            }
            Self::PrimaryLimitAnonymous => {
                limited(answer, "core").with("x-ratelimit-limit", "60").with("x-ratelimit-used", "60")
            }
            Self::GraphqlPrimaryLimit => limited(answer, "graphql"),
            Self::SecondaryLimitWithRetryAfter => {
                answer.with("retry-after", "60").with("x-ratelimit-remaining", "4211")
            }
            Self::SecondaryLimitWithoutRetryAfter => answer.with("x-ratelimit-remaining", "14"),
            Self::GraphqlSecondaryLimit => answer.with("retry-after", "60"),
            _ => answer,
        }
    }

    fn text(self) -> Option<(u16, &'static str, &'static str)> {
        match self {
            Self::NoUserAgent => Some((403, "text/html", NO_USER_AGENT)),
            Self::Unicorn => Some((502, "text/html; charset=utf-8", UNICORN)),
            _ => None,
        }
    }

    fn body(self) -> (u16, Value) {
        let error = |status: u16, message: &str, documentation: &str| {
            let url = format!("https://docs.github.com/{documentation}");
            (status, json!({ "message": message, "documentation_url": url, "status": status.to_string() }))
        };
        match self {
            Self::BadCredentials => error(401, "Bad credentials", "rest"),
            Self::RequiresAuthentication => error(
                401,
                "Requires authentication",
                "rest/repos/repos#list-repositories-for-the-authenticated-user",
            ),
            Self::NotFoundOrHidden => error(404, "Not Found", "rest/repos/repos#get-a-repository"),
            Self::ResourceNotAccessible => error(
                403,
                "Resource not accessible by personal access token",
                "rest/actions/self-hosted-runners#create-a-registration-token-for-a-repository",
            ),
            Self::PrimaryLimit => (
                403,
                json!({
                    "message": "API rate limit exceeded for user ID 1.",
                    "documentation_url": RATE_DOCS, "status": "403",
                }),
            ),
            Self::PrimaryLimitAnonymous => (
                403,
                json!({
                    "message": "API rate limit exceeded for 203.0.113.7. (But here's the good news: Authenticated requests get \
                                a higher rate limit. Check out the documentation for more details.)",
                    "documentation_url":
                        "https://docs.github.com/rest/overview/resources-in-the-rest-api#rate-limiting",
                }),
            ),
            Self::SecondaryLimitWithRetryAfter | Self::SecondaryLimitWithoutRetryAfter => (
                403,
                json!({
                    "message": SECONDARY,
                    "documentation_url": format!("{RATE_DOCS}#about-secondary-rate-limits"),
                }),
            ),
            Self::ValidationFailed => (
                422,
                json!({
                    "message": "Validation Failed",
                    "errors": [{ "resource": "Label", "code": "invalid", "field": "color" }],
                    "documentation_url": "https://docs.github.com/rest/reference/issues#create-a-label",
                }),
            ),
            Self::DispatchWithoutTrigger => error(
                422,
                "Workflow does not have 'workflow_dispatch' trigger",
                "rest/actions/workflows#create-a-workflow-dispatch-event",
            ),
            Self::JitNameTaken => error(
                409,
                "Already exists - A runner with the name wf-1 already exists.",
                "rest/actions/self-hosted-runners#create-configuration-for-a-just-in-time-runner-for-a-repository",
            ),
            Self::DeleteBusyRunner => error(
                422,
                "Runner \"wf-1\" is still running a job",
                "rest/actions/self-hosted-runners#delete-a-self-hosted-runner-from-a-repository",
            ),
            Self::EmptyRepository => error(409, "Git Repository is empty.", "rest/git/trees#get-a-tree"),
            Self::BadJson => error(400, "Problems parsing JSON", "rest"),
            Self::GraphqlPrimaryLimit => (
                200,
                json!({ "errors": [{ "type": "RATE_LIMITED", "message": "API rate limit exceeded for user ID 1." }] }),
            ),
            Self::GraphqlSecondaryLimit => (
                403,
                json!({
                    "documentation_url": "https://docs.github.com/graphql/overview/\
                        rate-limits-and-node-limits-for-the-graphql-api#secondary-rate-limits",
                    "message": SECONDARY,
                }),
            ),
            Self::GraphqlPartial => (
                200,
                json!({
                    "data": { "a": { "nameWithOwner": "octo-org/with-workflows" }, "b": null },
                    "errors": [{
                        "type": "NOT_FOUND", "path": ["b"], "locations": [{ "line": 1, "column": 60 }],
                        "message": "Could not resolve to a Repository with the name 'octo-org/gone'.",
                    }],
                }),
            ),
            Self::GraphqlResourceLimits => (
                200,
                json!({
                    "data": { "repositoryOwner": null },
                    "errors": [{
                        "type": "RESOURCE_LIMITS_EXCEEDED", "path": ["repositoryOwner"],
                        "message": "Resource limits for this query exceeded.",
                    }],
                }),
            ),
            Self::GraphqlTimeout => (
                502,
                json!({
                    "data": null,
                    "errors": [{
                        "message": "Something went wrong while executing your query. This may be the result of a timeout, or it \
                                    could be a GitHub bug.",
                    }],
                }),
            ),
            Self::GraphqlBadCredentials => error(401, "Bad credentials", "graphql"),
            Self::NoUserAgent | Self::Unicorn => (500, Value::Null),
        }
    }
}

const NO_USER_AGENT: &str =
    "Request forbidden by administrative rules. Please make sure your request has a User-Agent header.";
const UNICORN: &str =
    "<!DOCTYPE html><html><head><title>Unicorn! &middot; GitHub</title></head><body></body></html>";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_a_name_of_its_own_and_an_answer() {
        let names: std::collections::BTreeSet<_> = ErrorCase::ALL.iter().map(|case| case.name()).collect();
        assert_eq!(names.len(), ErrorCase::ALL.len());
        assert!(ErrorCase::ALL.iter().all(|case| !case.answer(0).body().is_empty()));
    }
}
