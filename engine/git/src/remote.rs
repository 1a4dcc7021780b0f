//! A repository elsewhere, by `https:`: its refs, its default branch, and commits of it.
//!
//! What is brought into a repository on this host is brought by that repository's own git: with its environment, its limit, and the
//! process tracking of whoever made it.

use std::fmt;
use std::num::NonZeroU32;
use std::path::Path;

use crate::command::{Git, GitError, Input, Order, Reach};
use crate::listing::{Refs, cut, is_commit};
use crate::repository::Repository;

/// What git takes for the whole history, also where it was cut before.
const DEPTH_ALL: u32 = 2_147_483_647;
/// Bytes of the name of a ref.
const REF_LEN_MAX: usize = 1024;

/// A repository behind an address, with what opens it.
#[derive(Clone)]
pub struct Remote {
    url: String,
    reach: Reach,
    git: Git,
    authorization: Option<String>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("url", &self.url).finish_non_exhaustive()
    }
}

/// What comes along with a commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Along {
    /// How many commits of the history, the commit itself among them; `None` for all.
    pub depth: Option<NonZeroU32>,
    /// Whether all tags come too, as `refs/tags/…`.
    pub tags: bool,
}

/// Whether a text asks another repository for one thing: a commit, its head, or a full ref. Others choose it: it must be neither an
/// option nor a pattern, nor name a place here.
fn is_one(text: &str) -> bool {
    let is_forbidden = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    let is_full_ref = || {
        text.starts_with("refs/")
            && text.len() <= REF_LEN_MAX
            && !text.contains(is_forbidden)
            && !text.contains("..")
            && !text.ends_with('/')
    };
    is_commit(text) || text == "HEAD" || is_full_ref()
}

fn odd(command: &str, what: String) -> GitError {
    GitError::Odd { command: command.to_owned(), what }
}

impl Remote {
    /// A repository at an address. `authorization` is the value of that header, which goes to this address, and where its host sends
    /// git on: whoever answers there is trusted with it.
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
            return Err(odd("fetch", "the address is no https address without a user in it".to_owned()));
        }
        Ok(Self {
            url: url.to_owned(),
            reach,
            git: git.clone(),
            authorization: authorization.map(str::to_owned),
        })
    }

    /// Its branches and tags, and its default branch.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn refs(&self) -> Result<Refs, GitError> {
        self.listed(&["HEAD", "refs/heads/*", "refs/tags/*"]).await
    }

    /// Its default branch, as a full ref; `None` if it names none.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn default_branch(&self) -> Result<Option<String>, GitError> {
        Ok(self.listed(&["HEAD"]).await?.head)
    }

    /// The full ref that a name stands for: a branch, else a tag; `None` if it has neither.
    ///
    /// # Errors
    /// [`GitError`]; [`GitError::Odd`] for what cannot be the name of a ref.
    pub async fn full_ref(&self, name: &str) -> Result<Option<String>, GitError> {
        let candidates = [format!("refs/heads/{name}"), format!("refs/tags/{name}")];
        if name.is_empty() || !candidates.iter().all(|full| is_one(full)) {
            return Err(odd("ls-remote", format!("`{}` is no name of a ref", cut(name))));
        }
        let refs = self.listed(&candidates.each_ref().map(String::as_str)).await?;
        // git also lists refs whose last parts are these
        Ok(candidates.into_iter().find(|full| refs.commits.contains_key(full)))
    }

    /// Brings commits into a repository on this host, without their history.
    ///
    /// # Errors
    /// [`GitError`]; [`GitError::is_absent`] when the other side has not one of them.
    pub async fn fetch(&self, commits: &[&str], into: &Repository) -> Result<(), GitError> {
        for commit in commits {
            into.check(commit, "fetch")?;
        }
        let options = ["--no-tags", "--no-write-fetch-head", "--depth=1"];
        self.fetch_into(&options, commits, into).await
    }

    /// Brings a commit, or what a full ref or `HEAD` leads to, into a repository on this host and answers the commit's id. No branch
    /// there moves.
    ///
    /// The repository's own configuration takes no part: it may be a job's, and could name a proxy, or another place, to which what
    /// opens the remote would go. A repository of its own fetches, and shares the folder of objects.
    ///
    /// # Errors
    /// [`GitError`]; [`GitError::is_absent`] when the other side has it not.
    pub async fn fetch_one(&self, wanted: &str, along: Along, into: &Repository) -> Result<String, GitError> {
        if !is_one(wanted) {
            return Err(odd("fetch", format!("`{}` is neither a commit nor a full ref", cut(wanted))));
        }
        let depth = along.depth.map_or(DEPTH_ALL, |depth| depth.get().min(DEPTH_ALL));
        let depth = format!("--depth={depth}");
        let tags = if along.tags { "--tags" } else { "--no-tags" };
        let folder = tempfile::tempdir()
            .map_err(|source| GitError::Start { program: std::env::temp_dir(), source })?;
        let objects = into.path_of("objects").await?;
        // ids of 40 or of 64 digits, as those objects have
        let format = into.ask(&["rev-parse", "--show-object-format"]).await?;
        let git =
            into.git.with_variable("GIT_OBJECT_DIRECTORY", objects).with_variable("GIT_DEFAULT_HASH", format);
        let apart = Repository::bare(&git, folder.path()).await?;
        self.fetch_into(&[tags, &depth], &[wanted], &apart).await?;
        // what was asked for stands first, whatever tags came along
        let commit = apart.ask(&["rev-parse", "--verify", "FETCH_HEAD^{commit}"]).await?;
        into.take_over(&apart).await?;
        Ok(commit)
    }

    async fn fetch_into(&self, options: &[&str], wanted: &[&str], into: &Repository) -> Result<(), GitError> {
        let arguments =
            [&["fetch", "--quiet", "--no-recurse-submodules"], options, &["--", &self.url], wanted].concat();
        let order = Order { reach: self.reach, ..into.order(&arguments) };
        self.opened(&into.git).run(order).await.map(|_| ())
    }

    async fn listed(&self, patterns: &[&str]) -> Result<Refs, GitError> {
        let arguments = [&["ls-remote", "--symref", "--", &self.url], patterns].concat();
        let order = Order {
            folder: Path::new("/"),
            // none: git would take one that is there by chance
            repository: &["--git-dir=/dev/null"],
            reach: self.reach,
            arguments: &arguments,
            input: Input::None,
        };
        let answer = self.opened(&self.git).run(order).await?;
        Refs::from_remote(&String::from_utf8_lossy(&answer))
    }

    /// git with what opens the repository.
    fn opened(&self, git: &Git) -> Git {
        match &self.authorization {
            // a variable, for arguments can be read by every user of the host
            Some(value) => git
                .with_variable("GIT_CONFIG_COUNT", "1")
                .with_variable("GIT_CONFIG_KEY_0", format!("http.{}.extraHeader", self.url))
                .with_variable("GIT_CONFIG_VALUE_0", format!("authorization: {value}")),
            None => git.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::tests::in_place_of_git;

    const URL: &str = "https://git.example.org/o/r.git";

    #[test]
    fn one_thing_is_asked_for_and_never_an_option_or_a_pattern() {
        let commit = "a".repeat(40);
        for good in ["HEAD", "refs/heads/main", "refs/pull/7/merge", "refs/heads/dependabot/@a/é", &commit] {
            assert!(is_one(good), "{good}");
        }
        let long = format!("refs/{}", "x".repeat(REF_LEN_MAX));
        for bad in [
            "",
            "main",
            "-x",
            "--upload-pack=id",
            "+refs/heads/a",
            "^refs/heads/a",
            "refs/heads/*",
            "refs/",
            &long,
            "refs/heads/a:refs/heads/b",
            "refs/heads/a b",
            "refs/heads/a..b",
            "refs/heads/a\n",
            "abc",
        ] {
            assert!(!is_one(bad), "{bad}");
        }
    }

    #[tokio::test]
    async fn what_opens_a_repository_is_in_no_argument_and_not_shown() {
        let script = "case \"$*\" in *secret*) exit 3;; *rev-parse*) echo of-the-job; exit 0;; *' init '*) exit 0;; esac; \
            [ \"$OWN\" = \"$1\" ] || exit 4; env | grep -E 'GIT_(CONFIG|OBJECT)_' >&2; echo \"in $(pwd)\" >&2; exit 1";
        let (folder, git) = in_place_of_git(script);
        let git = git.with_variable("OWN", "--git-dir=/dev/null");
        let remote = Remote::new(&git, URL, Some("Basic secret"), Reach::Https).unwrap();
        let said = remote.refs().await.unwrap_err().to_string();
        assert!(said.contains(&format!("GIT_CONFIG_KEY_0=http.{URL}.extraHeader")), "{said}");
        assert!(said.contains("GIT_CONFIG_VALUE_0=authorization: Basic secret"), "{said}");
        assert!(!format!("{remote:?}").contains("secret"), "{remote:?}");

        // into a repository: with the variables of its own git, but not with its configuration
        let git = git.with_variable("OWN", "--git-dir=.");
        let into = Repository::checkout(&git, folder.path());
        let along = Along { depth: None, tags: false };
        let said = remote.fetch_one("HEAD", along, &into).await.unwrap_err().to_string();
        assert!(said.contains("GIT_CONFIG_VALUE_0=authorization: Basic secret"), "{said}");
        let objects = folder.path().join("of-the-job");
        assert!(said.contains(&format!("GIT_OBJECT_DIRECTORY={}", objects.display())), "{said}");
        assert!(!said.contains(&format!("in {}", folder.path().display())), "{said}");
    }

    #[tokio::test]
    async fn nothing_odd_reaches_git() {
        let (folder, git) = in_place_of_git("touch ran");
        let remote = Remote::new(&git, URL, None, Reach::Https).unwrap();
        let into = Repository::checkout(&git, folder.path());
        let along = Along { depth: None, tags: true };
        assert!(matches!(remote.fetch_one("--x", along, &into).await, Err(GitError::Odd { .. })));
        assert!(matches!(remote.fetch(&["--x"], &into).await, Err(GitError::Odd { .. })));
        for name in ["", "*", "a:b", "x\u{7}"] {
            assert!(matches!(remote.full_ref(name).await, Err(GitError::Odd { .. })), "{name}");
        }
        assert!(!folder.path().join("ran").exists());
    }
}
