//! A repository on this host, read: refs, commits, trees, files, what changed between two commits.

use std::path::{Path, PathBuf};

use crate::command::{Git, GitError, Input, Reach};
use crate::listing::{Refs, TreeEntry, is_commit};

/// A repository in a folder: a checkout, or a bare one.
#[derive(Clone, Debug)]
pub struct Repository {
    pub(crate) git: Git,
    pub(crate) folder: PathBuf,
}

/// What a commit says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CommitFacts {
    /// Who wrote it.
    pub author: String,
    /// Their address.
    pub email: String,
    /// When, as RFC 3339 writes it.
    pub time: String,
    /// The first line of the message.
    pub subject: String,
}

impl Repository {
    /// The repository of a folder; whether there is one shows at the first command.
    pub fn at(git: &Git, folder: &Path) -> Self {
        Self { git: git.clone(), folder: folder.to_owned() }
    }

    /// A bare repository in a folder, made if it is not there.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn bare(git: &Git, folder: &Path) -> Result<Self, GitError> {
        let repository = Self::at(git, folder);
        if !folder.join("HEAD").is_file() {
            std::fs::create_dir_all(folder)
                .map_err(|source| GitError::Start { program: folder.to_owned(), source })?;
            repository.run(&["init", "--quiet", "--bare", "--template=", "."]).await?;
        }
        Ok(repository)
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs a command that reaches nothing else, and answers what it printed.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn run(&self, arguments: &[&str]) -> Result<Vec<u8>, GitError> {
        self.git.run(&self.folder, Reach::Nothing, arguments, Input::None).await
    }

    /// As [`Self::run`]; the answer as text, without white space around it.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn ask(&self, arguments: &[&str]) -> Result<String, GitError> {
        let answer = self.run(arguments).await?;
        Ok(String::from_utf8_lossy(&answer).trim().to_owned())
    }

    /// Its branches and tags, and its head: the branch that its `origin` calls the default if it is here, else the one that is
    /// checked out.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn refs(&self) -> Result<Refs, GitError> {
        let format = "--format=%(objecttype) %(objectname) %(*objecttype) %(*objectname) %(refname)";
        let lines = self.ask(&["for-each-ref", format, "refs/heads", "refs/tags"]).await?;
        let mut text = String::new();
        for line in lines.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [kind, object, peeled_kind, peeled, name] = words.as_slice() else { continue };
            let commit = match (*kind, *peeled_kind) {
                ("commit", _) => object,
                (_, "commit") => peeled,
                _ => continue,
            };
            text.push_str(&format!("{commit} {name}\n"));
        }
        let odd = |error: crate::RefsError| GitError::Odd {
            command: "for-each-ref".to_owned(),
            what: error.to_string(),
        };
        let mut refs = Refs::from_lines(&text).map_err(odd)?;
        let symbolic = |name: &'static str| async move { self.ask(&["symbolic-ref", "-q", name]).await.ok() };
        let of_origin = symbolic("refs/remotes/origin/HEAD").await;
        let of_origin = of_origin
            .and_then(|name| Some(format!("refs/heads/{}", name.strip_prefix("refs/remotes/origin/")?)));
        refs.head = match of_origin.filter(|name| refs.commits.contains_key(name)) {
            Some(name) => Some(name),
            None => symbolic("HEAD").await.filter(|name| refs.commits.contains_key(name)),
        };
        Ok(refs)
    }

    /// Where its `origin` is, if it has one.
    pub async fn origin(&self) -> Option<String> {
        self.ask(&["config", "--local", "--get", "remote.origin.url"])
            .await
            .ok()
            .filter(|url| !url.is_empty())
    }

    /// Whether a commit is here, with its tree.
    pub async fn has(&self, commit: &str) -> bool {
        is_commit(commit) && self.run(&["cat-file", "-e", &format!("{commit}^{{tree}}")]).await.is_ok()
    }

    /// The entries directly in folders of a commit's tree. A folder that is not there has none.
    ///
    /// # Errors
    /// [`GitError`]; among others when the commit is not here.
    pub async fn entries(&self, commit: &str, folders: &[&str]) -> Result<Vec<TreeEntry>, GitError> {
        self.check(commit, "ls-tree")?;
        let folders: Vec<String> =
            folders.iter().map(|folder| format!("{}/", folder.trim_end_matches('/'))).collect();
        let mut arguments = vec!["ls-tree", "-z", "-l", "--full-tree", commit, "--"];
        arguments.extend(folders.iter().map(String::as_str));
        TreeEntry::list(&self.run(&arguments).await?)
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// [`GitError`]; [`GitError::TooLong`] beyond [`crate::ANSWER_BYTES_MAX`].
    pub async fn file(&self, object: &str) -> Result<Vec<u8>, GitError> {
        self.check(object, "cat-file")?;
        self.run(&["cat-file", "blob", object]).await
    }

    /// The paths that differ between two commits; a moved file counts under both names. `None` when there are more than is read.
    ///
    /// # Errors
    /// [`GitError`]; among others when one of the two is not here.
    pub async fn changed_paths(&self, from: &str, to: &str) -> Result<Option<Vec<String>>, GitError> {
        self.check(from, "diff-tree")?;
        self.check(to, "diff-tree")?;
        let arguments = [
            "diff-tree",
            "-r",
            "-z",
            "--name-only",
            "--no-renames",
            "--no-ext-diff",
            "--no-textconv",
            from,
            to,
        ];
        match self.run(&arguments).await {
            Ok(answer) => {
                let paths = answer.split(|byte| *byte == 0).filter(|path| !path.is_empty());
                Ok(Some(paths.map(|path| String::from_utf8_lossy(path).into_owned()).collect()))
            }
            Err(GitError::TooLong { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What a commit says of itself.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn facts(&self, commit: &str) -> Result<CommitFacts, GitError> {
        self.check(commit, "log")?;
        let answer = self.ask(&["log", "-1", "--format=%an%x00%ae%x00%aI%x00%s", commit]).await?;
        let mut parts = answer.split('\0').map(|part| part.chars().take(300).collect::<String>());
        let mut next = || parts.next().unwrap_or_default();
        Ok(CommitFacts { author: next(), email: next(), time: next(), subject: next() })
    }

    /// A commit comes from others: it must not be taken for an option.
    pub(crate) fn check(&self, commit: &str, command: &str) -> Result<(), GitError> {
        if is_commit(commit) {
            return Ok(());
        }
        let what = format!(
            "`{}` is no commit",
            commit.chars().filter(|c| !c.is_control()).take(80).collect::<String>()
        );
        Err(GitError::Odd { command: command.to_owned(), what })
    }
}
