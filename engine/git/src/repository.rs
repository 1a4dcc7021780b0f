//! A repository on this host: refs, commits, trees, files, what changed between two commits; and any command of git on it.
//!
//! Invariant: every command names its repository; git looks for none, neither in the folders above nor where a variable says.

use std::path::{Path, PathBuf};

use crate::command::{Git, GitError, Input, Order, Reach};
use crate::listing::{Refs, TreeEntry, is_commit};

/// A repository in a folder: a checkout, or a bare one.
#[derive(Clone, Debug)]
pub struct Repository {
    pub(crate) git: Git,
    folder: PathBuf,
    kind: Kind,
}

/// What a folder is to a repository.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// The repository, unless there is a `.git`.
    Any,
    /// Its work tree, whatever its configuration says.
    WorkTree,
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

impl CommitFacts {
    /// Reads the object of a commit: header lines, an empty line, the message. What is odd stays empty.
    fn read(object: &[u8]) -> Self {
        let text = String::from_utf8_lossy(object);
        let (header, message) = text.split_once("\n\n").unwrap_or((&text, ""));
        let cut = |text: &str| text.chars().take(300).collect::<String>();
        let author = header.lines().find_map(|line| line.strip_prefix("author ")).unwrap_or_default();
        let (name, rest) = author.split_once(" <").unwrap_or((author, ""));
        let (email, when) = rest.split_once("> ").unwrap_or((rest, ""));
        // as git's own `%s`: the lines of the first paragraph as one
        let lines: Vec<&str> = message
            .lines()
            .map(str::trim)
            .skip_while(|line| line.is_empty())
            .take_while(|line| !line.is_empty())
            .collect();
        Self {
            author: cut(name),
            email: cut(email),
            time: rfc3339(when).unwrap_or_default(),
            subject: cut(&lines.join(" ")),
        }
    }
}

/// Seconds since 1970 and an offset such as `+0200`, as RFC 3339 writes the two.
fn rfc3339(when: &str) -> Option<String> {
    let (seconds, offset) = when.trim().split_once(' ')?;
    let sign = offset.chars().next().filter(|sign| matches!(sign, '+' | '-'))?;
    let (hours, minutes) = (offset.get(1..3)?.parse::<i32>().ok()?, offset.get(3..5)?.parse::<i32>().ok()?);
    let minutes = (hours * 60 + minutes) * if sign == '-' { -1 } else { 1 };
    let offset = jiff::tz::Offset::from_seconds(minutes * 60).ok()?;
    let at = jiff::Timestamp::from_second(seconds.parse().ok()?).ok()?;
    Some(at.display_with_offset(offset).to_string())
}

impl Repository {
    /// The repository of a folder: its `.git`, which may be the file of a worktree, else the folder itself as a bare one. Whether there
    /// is one shows at the first command.
    pub fn at(git: &Git, folder: &Path) -> Self {
        Self { git: git.clone(), folder: folder.to_owned(), kind: Kind::Any }
    }

    /// The repository whose `.git` is in a folder and whose work tree is that folder, whatever else stands there or above. It need not
    /// be there yet.
    pub fn checkout(git: &Git, folder: &Path) -> Self {
        Self { git: git.clone(), folder: folder.to_owned(), kind: Kind::WorkTree }
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
            repository.run(&["init", "--quiet", "--bare", "--template="]).await?;
        }
        Ok(repository)
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its `.git`; the folder itself if it is a bare one.
    pub fn git_folder(&self) -> PathBuf {
        let inside = self.folder.join(".git");
        if self.kind == Kind::WorkTree || inside.exists() { inside } else { self.folder.clone() }
    }

    /// The git that its commands are run with.
    pub fn git(&self) -> &Git {
        &self.git
    }

    /// A command of it that reaches nothing else.
    pub(crate) fn order<'a>(&'a self, arguments: &'a [&'a str]) -> Order<'a> {
        let repository: &[&str] = match self.kind {
            Kind::WorkTree => &["--git-dir=.git", "--work-tree=."],
            Kind::Any if self.folder.join(".git").exists() => &["--git-dir=.git"],
            Kind::Any => &["--git-dir=."],
        };
        Order { folder: &self.folder, repository, reach: Reach::Nothing, arguments, input: Input::None }
    }

    /// Runs a command that reaches nothing else, and answers what it printed. `-c NAME=VALUE` may stand before its first word.
    /// Dropping the future kills it with all that it started.
    ///
    /// # Errors
    /// [`GitError`].
    pub async fn run(&self, arguments: &[&str]) -> Result<Vec<u8>, GitError> {
        self.git.run(self.order(arguments)).await
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
        self.check(commit, "cat-file")?;
        // the object itself: a `log` may start programs that the repository names, to check a signature for example
        Ok(CommitFacts::read(&self.run(&["cat-file", "commit", commit]).await?))
    }

    /// Where a file or folder of its `.git` is, which several work trees may share.
    pub(crate) async fn path_of(&self, name: &str) -> Result<PathBuf, GitError> {
        let folder = std::path::absolute(&self.folder)
            .map_err(|source| GitError::Start { program: self.folder.clone(), source })?;
        Ok(folder.join(self.ask(&["rev-parse", "--git-path", name]).await?))
    }

    /// Takes over the tags of a repository that shares its objects, and where that one's history is cut. A cut of its own ends where
    /// the commits behind it came.
    pub(crate) async fn take_over(&self, other: &Repository) -> Result<(), GitError> {
        let tags =
            other.ask(&["for-each-ref", "--format=update %(refname) %(objectname)", "refs/tags"]).await?;
        let path = self.path_of("shallow").await?;
        let lines = |path: &Path| match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            other => other.map_err(|source| GitError::Start { program: path.to_owned(), source }),
        };
        let (own, theirs) = (lines(&path)?, lines(&other.path_of("shallow").await?)?);
        let mut cut: Vec<&str> = theirs.lines().collect();
        for commit in own.lines().filter(|commit| is_commit(commit)) {
            if !cut.contains(&commit) && !self.has_parents(commit).await {
                cut.push(commit);
            }
        }
        let text: String = cut.iter().map(|commit| format!("{commit}\n")).collect();
        let failed = |source| GitError::Start { program: path.clone(), source };
        match text.is_empty() {
            true if path.exists() => std::fs::remove_file(&path).map_err(failed)?,
            true => {}
            false => std::fs::write(&path, text).map_err(failed)?,
        }
        if !tags.is_empty() {
            let tags = format!("{tags}\n");
            let order = Order { input: Input::Text(&tags), ..self.order(&["update-ref", "--stdin"]) };
            self.git.run(order).await?;
        }
        Ok(())
    }

    /// Whether all the parents that a commit's object names are here.
    async fn has_parents(&self, commit: &str) -> bool {
        let Ok(object) = self.run(&["cat-file", "commit", commit]).await else { return false };
        let text = String::from_utf8_lossy(&object).into_owned();
        let header = text.split("\n\n").next().unwrap_or_default();
        for parent in header.lines().filter_map(|line| line.strip_prefix("parent ")) {
            if !self.has(parent).await {
                return false;
            }
        }
        true
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
