//! What discovery looks at.

use std::fmt;
use std::path::PathBuf;

use wfengine_storage_format::RepositoryRef;

/// One thing to look at.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Scope {
    /// Everything that the credential sees.
    All,
    /// The repositories of a user or an organisation.
    Owner(String),
    /// One repository, `owner/name`.
    Repository(String),
    /// A folder of git checkouts, taken for an owner.
    Path(PathBuf),
}

/// Why a text names no scope.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ScopeError {
    /// An owner has letters, digits and hyphens.
    #[error("`{0}` is no owner: expected a user or an organisation, such as octocat")]
    Owner(String),
    /// A repository is two names.
    #[error("`{0}` is no repository: expected OWNER/NAME, such as octocat/hello-world")]
    Repository(String),
}

fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !text.is_empty() && text.len() <= 100 && text.bytes().all(fits) && text != "." && text != ".."
}

impl Scope {
    /// An owner.
    ///
    /// # Errors
    /// [`ScopeError::Owner`].
    pub fn owner(text: &str) -> Result<Self, ScopeError> {
        if is_name(text) { Ok(Self::Owner(text.to_owned())) } else { Err(ScopeError::Owner(cut(text))) }
    }

    /// A repository.
    ///
    /// # Errors
    /// [`ScopeError::Repository`].
    pub fn repository(text: &str) -> Result<Self, ScopeError> {
        let parts = text.split_once('/').filter(|(owner, name)| is_name(owner) && is_name(name));
        parts.map(|_| Self::Repository(text.to_owned())).ok_or_else(|| ScopeError::Repository(cut(text)))
    }

    /// Whether it is on a GitHub rather than on this host.
    pub fn is_remote(&self) -> bool {
        !matches!(self, Self::Path(_))
    }
}

/// Whether a scope as a member wrote it down takes in a repository.
pub fn covers(scope: &str, repository: &RepositoryRef) -> bool {
    let is_remote = repository.source != "path";
    let owner = repository.name.split('/').next().unwrap_or_default();
    match scope.split_once(':') {
        Some(("owner", name)) => is_remote && name.eq_ignore_ascii_case(owner),
        Some(("repository", name)) => is_remote && name.eq_ignore_ascii_case(&repository.name),
        Some(("path", _)) => !is_remote,
        _ => is_remote && scope == "all",
    }
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Owner(owner) => write!(f, "owner:{owner}"),
            Self::Repository(repository) => write!(f, "repository:{repository}"),
            Self::Path(path) => write!(f, "path:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_takes_in_what_it_names() {
        let at = |source: &str, name: &str| RepositoryRef {
            source: source.into(),
            id: "7".into(),
            name: name.into(),
        };
        let github = at("github.com", "Octo/one");
        for (scope, is_in) in [
            ("all", true),
            ("owner:octo", true),
            ("owner:oct", false),
            ("repository:octo/One", true),
            ("repository:octo/two", false),
            ("path:/srv", false),
        ] {
            assert_eq!(covers(scope, &github), is_in, "{scope}");
        }
        assert!(covers("path:/srv", &at("path", "src/one")) && !covers("all", &at("path", "src/one")));
    }

    #[test]
    fn names_that_steer_a_path_are_no_names() {
        assert_eq!(Scope::repository("a-b/c.d_e").unwrap().to_string(), "repository:a-b/c.d_e");
        for bad in ["a", "a/b/c", "../b", "a/..", "a/b?x=1", "a/", "/b", "a b/c"] {
            assert!(Scope::repository(bad).is_err(), "{bad}");
        }
        assert!(Scope::owner("octo cat").is_err() && Scope::owner("octocat").is_ok());
    }
}
