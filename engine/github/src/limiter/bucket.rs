//! The separate budgets that GitHub counts requests in, and which one a request falls into.
//!
//! What a request will be counted in is a guess from its path; the answer says it for certain.

use std::fmt;

use hyper::Method;

/// One of GitHub's budgets, by the name it has in `x-ratelimit-resource`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bucket {
    /// Everything that is in none of the others.
    Core,
    /// Searches except those in code.
    Search,
    /// Searches in code.
    CodeSearch,
    /// GraphQL, counted in points.
    Graphql,
    /// Tokens and configurations for runners.
    ActionsRunnerRegistration,
    /// Requests that an app signs itself. GitHub counts them apart from those of its installations, under the name `core`.
    App,
    /// Costs nothing: the question what is left.
    Free,
    /// Any other, by name.
    Other(Box<str>),
}

impl Bucket {
    /// The name in `x-ratelimit-resource`; for what has none there, ours.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Core => "core",
            Self::Search => "search",
            Self::CodeSearch => "code_search",
            Self::Graphql => "graphql",
            Self::ActionsRunnerRegistration => "actions_runner_registration",
            Self::App => "app",
            Self::Free => "free",
            Self::Other(name) => name,
        }
    }

    /// The bucket that an answer names. Names beyond 64 bytes are cut.
    pub fn named(name: &str) -> Self {
        match name.trim() {
            "core" => Self::Core,
            "search" => Self::Search,
            "code_search" => Self::CodeSearch,
            "graphql" => Self::Graphql,
            "actions_runner_registration" => Self::ActionsRunnerRegistration,
            other => Self::Other(other.chars().take(64).collect()),
        }
    }

    /// The bucket that a request is likely to be counted in.
    pub fn of(method: &Method, path: &str) -> Self {
        let path = path.split('?').next().unwrap_or_default();
        let makes_runner = ["/registration-token", "/remove-token", "/generate-jitconfig"];
        match path {
            "/rate_limit" => Self::Free,
            "/graphql" => Self::Graphql,
            "/search/code" => Self::CodeSearch,
            _ if path.starts_with("/search/") => Self::Search,
            _ if path.starts_with("/app/") => Self::App,
            _ if method == Method::POST
                && path.contains("/actions/runners/")
                && makes_runner.iter().any(|end| path.ends_with(end)) =>
            {
                Self::ActionsRunnerRegistration
            }
            _ => Self::Core,
        }
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_the_bucket() {
        let of = |method: Method, path: &str| Bucket::of(&method, path);
        assert_eq!(of(Method::GET, "/search/code?q=x"), Bucket::CodeSearch);
        assert_eq!(of(Method::GET, "/search/repositories"), Bucket::Search);
        assert_eq!(of(Method::POST, "/graphql"), Bucket::Graphql);
        assert_eq!(
            of(Method::POST, "/repos/a/b/actions/runners/registration-token"),
            Bucket::ActionsRunnerRegistration
        );
        assert_eq!(of(Method::GET, "/repos/a/b/actions/runners"), Bucket::Core);
        assert_eq!(of(Method::POST, "/app/installations/1/access_tokens"), Bucket::App);
        assert_eq!(of(Method::GET, "/rate_limit"), Bucket::Free);
        for bucket in [Bucket::Core, Bucket::Graphql, Bucket::Other("audit_log".into())] {
            assert_eq!(Bucket::named(bucket.as_str()), bucket);
        }
    }
}
