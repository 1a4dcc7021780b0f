//! A repository elsewhere, by `https:`: its refs, and commits of it.

use crate::command::{Git, GitError, Input, Reach};
use crate::listing::Refs;
use crate::repository::Repository;

/// A repository behind an address, with what opens it.
#[derive(Clone, Debug)]
pub struct Remote {
    url: String,
    reach: Reach,
    git: Git,
}

impl Remote {
    /// A repository at an address. `authorization` is the value of that header, which goes to this address and nowhere else.
    ///
    /// # Errors
    /// [`GitError::Odd`] for an address that is none, or one by which a secret would travel in the clear to another host.
    pub fn new(git: &Git, url: &str, authorization: Option<&str>, reach: Reach) -> Result<Self, GitError> {
        let allowed = match reach {
            Reach::Nothing => false,
            Reach::Https => url.starts_with("https://"),
            Reach::Http => url.starts_with("https://") || url.starts_with("http://"),
        };
        if !allowed || url.bytes().any(|byte| byte <= b' ' || byte == b'@') {
            let what = "the address is no https address without a user in it".to_owned();
            return Err(GitError::Odd { command: "fetch".to_owned(), what });
        }
        let git = match authorization {
            // a variable, for arguments can be read by every user of the host
            Some(value) => git
                .with_variable("GIT_CONFIG_COUNT", "1")
                .with_variable("GIT_CONFIG_KEY_0", format!("http.{url}.extraHeader"))
                .with_variable("GIT_CONFIG_VALUE_0", format!("authorization: {value}")),
            None => git.clone(),
        };
        Ok(Self { url: url.to_owned(), reach, git })
    }

    /// Its branches and tags, and its default branch.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn refs(&self) -> Result<Refs, GitError> {
        let arguments = ["ls-remote", "--symref", "--", &self.url, "HEAD", "refs/heads/*", "refs/tags/*"];
        let answer = self.git.run(std::path::Path::new("/"), self.reach, &arguments, Input::None).await?;
        Refs::from_remote(&String::from_utf8_lossy(&answer))
    }

    /// Brings commits into a repository on this host, without their history.
    ///
    /// # Errors
    /// [`GitError`]; [`GitError::Failed`] when the other side has not one of them.
    pub async fn fetch(&self, commits: &[&str], into: &Repository) -> Result<(), GitError> {
        for commit in commits {
            into.check(commit, "fetch")?;
        }
        let mut arguments = vec![
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--depth=1",
            "--",
            &self.url,
        ];
        arguments.extend(commits);
        self.git.run(&into.folder, self.reach, &arguments, Input::None).await.map(|_| ())
    }
}
