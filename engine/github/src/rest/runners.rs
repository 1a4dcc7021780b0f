//! Self-hosted runners of a repository or an organisation: what there is, and what makes or removes one.
//!
//! Whatever changes a runner is urgent: it may use the reserve of the budget and does not wait behind looking around.
//! Configurations and tokens have a pace of their own (see [`crate::limiter`]), so a burst of jobs is not held up to a second each.
//!
//! Not here: which runners should be there, and what becomes of a configuration.
//!
//! Invariant: the answers that hold secrets are neither kept nor shown, not even where they cannot be read.

use std::fmt;

use hyper::Method;
use serde::Serialize;

use super::{RepositoryName, is_name, owner, segment};
use crate::{
    client::{self, Call, Client, Listing, Repeat},
    error::{ApiError, clean},
    models::{JitConfig, Runner, RunnerToken, Runners},
};

/// 100 runners each: as many as a group of runners may have.
const PAGES_MAX: u32 = 100;
/// The group that is always there, and the only one of a repository.
const DEFAULT_GROUP: u64 = 1;
/// The runner's program takes no longer name.
const NAME_BYTES_MAX: usize = 64;
const LABELS_MAX: usize = 100;
const LABEL_BYTES_MAX: usize = 256;

/// Whose runners.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunnerScope {
    /// Those of one repository, `owner/name`.
    Repository(String),
    /// Those of an organisation, by name.
    Organization(String),
}

impl RunnerScope {
    /// Reads what `Display` writes: `owner/name` or `org`.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let scope = match text.contains('/') {
            true => Self::Repository(text.to_owned()),
            false => Self::Organization(text.to_owned()),
        };
        scope.path("").map(|_| scope)
    }

    /// The path of what this scope has there. The name is checked here, wherever it came from.
    fn path(&self, rest: &str) -> Result<String, ApiError> {
        let scope = match self {
            Self::Repository(full_name) => RepositoryName::parse(full_name)?.path(),
            Self::Organization(name) => format!("/orgs/{}", owner(name)?),
        };
        Ok(format!("{scope}/actions/runners{rest}"))
    }
}

impl fmt::Display for RunnerScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Repository(name) | Self::Organization(name)) = self;
        f.write_str(name)
    }
}

/// What became of a runner that was to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunnerDeleted {
    /// It was there, and is not any more.
    Deleted,
    /// It was not there: it has done its one job, or somebody else was faster.
    AlreadyGone,
    /// It has a job, and stays.
    Busy,
}

/// A runner for one job as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JitWanted {
    /// Its name, which nobody else in the scope may have: 1 to 64 letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Its group.
    pub runner_group_id: u64,
    /// What it offers, 1 to 100 labels. None is added by itself, not even `self-hosted`.
    pub labels: Vec<String>,
    /// The folder for its work, beside its program; `_work` where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub work_folder: Option<String>,
}

impl JitWanted {
    /// A runner in the default group.
    pub fn new(name: impl Into<String>, labels: Vec<String>) -> Self {
        Self { name: name.into(), runner_group_id: DEFAULT_GROUP, labels, work_folder: None }
    }

    fn check(&self) -> Result<(), ApiError> {
        let wrong = |what, value: &str| Err(ApiError::Argument { what, value: clean(value, 100) });
        if !is_name(&self.name) || self.name.len() > NAME_BYTES_MAX {
            return wrong("name of a runner (1 to 64 letters, digits, -, _ and .)", &self.name);
        }
        let is_label = |label: &String| {
            (1..=LABEL_BYTES_MAX).contains(&label.len()) && !label.chars().any(char::is_control)
        };
        if let Some(label) = self.labels.iter().find(|label| !is_label(label)) {
            return wrong("label of a runner (1 to 256 bytes in one line)", label);
        }
        if !(1..=LABELS_MAX).contains(&self.labels.len()) {
            return wrong("number of labels of a runner (1 to 100)", &self.labels.len().to_string());
        }
        Ok(())
    }
}

impl Client {
    /// The runners of a scope. Between two pages they come and go: doubles are dropped, and one may be missed.
    pub async fn runners(&self, scope: &RunnerScope) -> Result<Listing<Runner>, ApiError> {
        self.list::<Runners>(scope.path("?per_page=100")?, |runner| runner.id, PAGES_MAX).await
    }

    /// The runner of this name, which tells whether a configuration was made whose answer was lost.
    pub async fn runner_named(&self, scope: &RunnerScope, name: &str) -> Result<Option<Runner>, ApiError> {
        let path = scope.path(&format!("?name={}&per_page=100", segment(name)))?;
        // a server of an earlier version does not know the filter and lists all
        let listing = self.list::<Runners>(path, |runner| runner.id, PAGES_MAX).await?;
        Ok(listing.items.into_iter().find(|runner| runner.name == name))
    }

    /// One runner; `None` when it is not there. A classic token without the scope for runners is [`ApiError::NotFound`] all the
    /// same: it sees none of them.
    pub async fn runner(&self, scope: &RunnerScope, id: u64) -> Result<Option<Runner>, ApiError> {
        match self.read::<Runner>(scope.path(&format!("/{id}"))?).await {
            Ok(found) => Ok(Some(found.value)),
            Err(ApiError::NotFound { needs: None, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes a runner. An id is never used again, so it is repeated like reading; when an answer was lost and the first
    /// request did delete it, that is [`RunnerDeleted::AlreadyGone`].
    pub async fn delete_runner(&self, scope: &RunnerScope, id: u64) -> Result<RunnerDeleted, ApiError> {
        let path = scope.path(&format!("/{id}"))?;
        let call = Call { repeat: Repeat::Always, ..Call::change(Method::DELETE, path, None::<&()>) };
        match self.urgent().run(&call, &client::nothing).await {
            Ok(_) => Ok(RunnerDeleted::Deleted),
            Err(ApiError::NotFound { needs: None, .. }) => Ok(RunnerDeleted::AlreadyGone),
            Err(ApiError::Unprocessable { .. }) => Ok(RunnerDeleted::Busy),
            Err(error) => Err(error),
        }
    }

    /// Makes a runner for one job. From this moment GitHub lists it.
    ///
    /// It is sent again only when it is known not to have happened: nothing was sent, or a limit refused it. After any other
    /// error without an answer ([`ApiError::is_transient`], [`ApiError::NotJson`], [`ApiError::Unexpected`]) nobody knows, and
    /// what the runner needs is lost in any case: find it by name ([`Client::runner_named`]), delete it, and make another one
    /// under another name. A name that is taken is [`ApiError::Conflict`]; after a lost answer to the same name it means that
    /// the lost request went through. Labels or a group that GitHub does not take, and a group that is full, are
    /// [`ApiError::Unprocessable`].
    pub async fn jit_config(&self, scope: &RunnerScope, wanted: &JitWanted) -> Result<JitConfig, ApiError> {
        wanted.check()?;
        let path = scope.path("/generate-jitconfig")?;
        let call = Call { hides: true, ..Call::change(Method::POST, path, Some(wanted)) };
        Ok(self.urgent().run(&call, &client::json::<JitConfig>).await?.fetched.value)
    }

    /// A token by which runners register themselves. Weaker than [`Client::jit_config`]: it is good for an hour and for any number
    /// of runners.
    pub async fn registration_token(&self, scope: &RunnerScope) -> Result<RunnerToken, ApiError> {
        self.runner_token(scope, "/registration-token").await
    }

    /// A token by which runners remove themselves.
    pub async fn remove_token(&self, scope: &RunnerScope) -> Result<RunnerToken, ApiError> {
        self.runner_token(scope, "/remove-token").await
    }

    async fn runner_token(&self, scope: &RunnerScope, which: &str) -> Result<RunnerToken, ApiError> {
        // a token made twice harms nobody
        let call = Call {
            hides: true,
            repeat: Repeat::Always,
            ..Call::change(Method::POST, scope.path(which)?, None::<&()>)
        };
        Ok(self.urgent().run(&call, &client::json::<RunnerToken>).await?.fetched.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_read_as_it_is_written_or_not_at_all() {
        for (text, path) in
            [("o/r.x", "/repos/o/r.x/actions/runners"), ("octo-org", "/orgs/octo-org/actions/runners")]
        {
            let scope = RunnerScope::parse(text).expect("a scope");
            assert_eq!((scope.to_string().as_str(), scope.path("").expect("a path").as_str()), (text, path));
        }
        for wrong in ["", "/", "o/", "/r", "o/r/x", "..", "o/..", "o?x", "o r", "o%2fr"] {
            assert!(RunnerScope::parse(wrong).is_err(), "{wrong}");
            assert!(RunnerScope::Organization(wrong.to_owned()).path("").is_err(), "{wrong}");
            assert!(RunnerScope::Repository(wrong.to_owned()).path("").is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_runner_that_github_would_not_take_is_not_asked_for() {
        let check = |name: &str, labels: Vec<String>| JitWanted::new(name, labels).check().is_ok();
        let labels = |count: usize| (0..count).map(|number| number.to_string()).collect::<Vec<_>>();
        assert!(check(&"n".repeat(64), labels(100)) && check("a", vec!["é (x)".to_owned()]));
        for wrong in ["", "..", "a b", "a/b", "é", &"n".repeat(65)] {
            assert!(!check(wrong, labels(1)), "{wrong}");
        }
        assert!(!check("a", labels(0)) && !check("a", labels(101)));
        for wrong in [String::new(), "a\nb".to_owned(), "l".repeat(257)] {
            assert!(!check("a", vec![wrong.clone()]), "{wrong}");
        }
    }
}
