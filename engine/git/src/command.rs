//! One command of git: what it sees, what it may reach, how long it may take, and why it has no answer.
//!
//! Nothing of the host takes part but the program itself: a command sees the variables named here and those it was given, and no
//! configuration but that of the repository at hand, as far as that starts nothing.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::Command;

use crate::running::{Ended, Running};

/// The program's name.
pub const PROGRAM: &str = "git";
/// Bytes of what a command answers.
pub const ANSWER_BYTES_MAX: usize = 8 << 20;
/// How long a command may take, unless something else is said.
const LIMIT: Duration = Duration::from_secs(600);

/// Before each command, so that no repository's own configuration says otherwise.
const SETTINGS: [&str; 13] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.askPass=",
    "core.quotePath=false",
    "credential.helper=",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
    // a signature is checked by a program that the repository names
    "log.showSignature=false",
    // whose folder it is does not matter where nothing that it names is started
    "safe.directory=*",
    "http.followRedirects=initial",
];

const VARIABLES: [(&str, &str); 7] = [
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
    // a commit is what its id says, whatever refs/replace holds
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    // what is missing is said, not fetched behind the back
    ("GIT_NO_LAZY_FETCH", "1"),
    ("LC_ALL", "C"),
];

/// Why a command of git has no answer.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is none.
    #[error("this host has no git program: install git")]
    Missing,
    /// It could not be started, or its pipes broke.
    #[error("{program} cannot be run: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It failed.
    #[error("`git {command}` failed ({status}){}{said}", if said.is_empty() { "" } else { ": " })]
    Failed {
        /// Its first word.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it complained of.
        said: String,
    },
    /// It answered more than is read.
    #[error("`git {command}` answered more than {ANSWER_BYTES_MAX} bytes")]
    TooLong {
        /// Its first word.
        command: String,
    },
    /// It took too long and was killed.
    #[error("`git {command}` took longer than {} s and was stopped", limit.as_secs())]
    Late {
        /// Its first word.
        command: String,
        /// How long it was given.
        limit: Duration,
    },
    /// It was asked for something that makes no sense, or answered such a thing.
    #[error("`git {command}`: this makes no sense: {what}")]
    Odd {
        /// Its first word.
        command: String,
        /// What is wrong.
        what: String,
    },
}

impl GitError {
    /// What it complained of; empty for other failures.
    pub fn said(&self) -> &str {
        match self {
            GitError::Failed { said, .. } => said,
            _ => "",
        }
    }

    /// Whether the other side was reached and has no such commit or ref.
    pub fn is_absent(&self) -> bool {
        ["couldn't find remote ref", "not our ref"].iter().any(|words| self.said().contains(words))
    }
}

/// What a command may reach besides its own repository.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// Nothing.
    Nothing,
    /// Hosts by `https:`.
    Https,
    /// Hosts by `http:` as well, where nothing secret travels or the host is this one.
    Http,
}

/// What a command reads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Input<'a> {
    None,
    Text(&'a str),
    File(&'a File),
}

/// A command to be run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order<'a> {
    /// Where it starts.
    pub(crate) folder: &'a Path,
    /// Options before the command that name its repository.
    pub(crate) repository: &'a [&'a str],
    pub(crate) reach: Reach,
    /// The command. `-c NAME=VALUE` may stand before its first word.
    pub(crate) arguments: &'a [&'a str],
    pub(crate) input: Input<'a>,
}

/// The git program and the environment of its commands.
#[derive(Clone)]
pub struct Git {
    program: PathBuf,
    environment: BTreeMap<OsString, OsString>,
    limit: Option<Duration>,
}

impl fmt::Debug for Git {
    // the value of a variable may be a credential
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Git").field("program", &self.program).finish_non_exhaustive()
    }
}

impl Git {
    /// The git program of a search path (`PATH`).
    ///
    /// # Errors
    /// [`GitError::Missing`].
    pub fn find(search_path: &OsStr) -> Result<Self, GitError> {
        let candidates = std::env::split_paths(search_path).filter(|folder| folder.is_absolute());
        let program = candidates.map(|folder| folder.join(PROGRAM)).find(|path| is_runnable(path));
        let program = program.ok_or(GitError::Missing)?;
        let mut environment: BTreeMap<OsString, OsString> =
            VARIABLES.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        environment.insert("PATH".into(), search_path.to_owned());
        environment.insert("HOME".into(), "/nonexistent".into());
        Ok(Self { program, environment, limit: Some(LIMIT) })
    }

    /// The same, with a variable more for its commands. A credential belongs here, never into arguments, which every user of the host
    /// can read.
    #[must_use]
    pub fn with_variable(&self, name: &str, value: impl Into<OsString>) -> Self {
        let mut with = self.clone();
        with.environment.insert(name.into(), value.into());
        with
    }

    /// The same, with another limit for each command; 10 minutes otherwise.
    #[must_use]
    pub fn with_limit(&self, limit: Duration) -> Self {
        Self { limit: Some(limit), ..self.clone() }
    }

    /// The same, for a caller that keeps the time itself and ends a command by dropping its future.
    #[must_use]
    pub fn without_limit(&self) -> Self {
        Self { limit: None, ..self.clone() }
    }

    /// Runs a command and answers what it printed. Dropping the future kills it with all that it started.
    pub(crate) async fn run(&self, order: Order<'_>) -> Result<Vec<u8>, GitError> {
        let answer = self.end(order, Stdio::piped()).await?;
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(GitError::TooLong { command: first_word(order.arguments).to_owned() });
        }
        Ok(answer)
    }

    /// As [`Self::run`]; what it prints goes into a file as it comes.
    pub(crate) async fn run_into(&self, order: Order<'_>, into: File) -> Result<(), GitError> {
        self.end(order, into.into()).await.map(|_| ())
    }

    async fn end(&self, order: Order<'_>, out: Stdio) -> Result<Vec<u8>, GitError> {
        let command = || first_word(order.arguments).to_owned();
        let failed = |source| GitError::Start { program: self.program.clone(), source };
        let mut running = self.start(order, out).map_err(failed)?;
        let text = match order.input {
            Input::Text(text) => text,
            Input::None | Input::File(_) => "",
        };
        let work = running.end(text, ANSWER_BYTES_MAX);
        let ended = match self.limit {
            Some(limit) => match tokio::time::timeout(limit, work).await {
                Ok(ended) => ended,
                Err(_) => return Err(GitError::Late { command: command(), limit }),
            },
            None => work.await,
        };
        let Ended { status, answer, said } = ended.map_err(failed)?;
        if !status.success() {
            return Err(GitError::Failed { command: command(), status, said });
        }
        Ok(answer)
    }

    fn start(&self, order: Order<'_>, out: Stdio) -> io::Result<Running> {
        // a variable, for no repository's own configuration says otherwise then
        let allowed = match order.reach {
            Reach::Nothing => "none",
            Reach::Https => "https",
            Reach::Http => "https:http",
        };
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("GIT_ALLOW_PROTOCOL", allowed)
            .envs(&self.environment)
            .current_dir(order.folder)
            .args(order.repository);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command.args(order.arguments).stdout(out).stderr(Stdio::piped());
        match order.input {
            Input::None => command.stdin(Stdio::null()),
            Input::Text(_) => command.stdin(Stdio::piped()),
            Input::File(file) => command.stdin(file.try_clone()?),
        };
        Running::start(&mut command)
    }
}

fn is_runnable(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

fn first_word<'a>(arguments: &[&'a str]) -> &'a str {
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match *word {
            "-c" => {
                words.next();
            }
            word if word.starts_with('-') => {}
            word => return word,
        }
    }
    ""
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Read;

    use tokio::task::JoinHandle;

    use super::*;

    /// A program in git's place. Written by another process: a file that is open for writing here could not be started, nor while a
    /// child that another test forks has it open.
    pub(crate) fn in_place_of_git(script: &str) -> (tempfile::TempDir, Git) {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join(PROGRAM);
        let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\" && chmod 755 \"$0\"";
        let written = std::process::Command::new("sh").args(["-c", write]).arg(&program).arg(script).status();
        assert!(written.unwrap().success());
        let search_path = format!("{}:/usr/bin:/bin", folder.path().display());
        let git = Git::find(OsStr::new(&search_path)).unwrap();
        assert_eq!(git.program, program);
        (folder, git)
    }

    fn order<'a>(folder: &'a Path, arguments: &'a [&'a str]) -> Order<'a> {
        Order {
            folder,
            repository: &["--git-dir=.git"],
            reach: Reach::Nothing,
            arguments,
            input: Input::None,
        }
    }

    #[tokio::test]
    async fn a_command_sees_nothing_of_the_host() {
        let (folder, git) = in_place_of_git("env; echo \"$@\"");
        let git = git.with_variable("OWN", "1").with_variable("HOME", folder.path());
        let answer = git.run(order(folder.path(), &["status"])).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (variables, arguments) = answer.trim_end().rsplit_once('\n').unwrap();
        let allowed = ["GIT_ALLOW_PROTOCOL", "PATH", "HOME", "OWN", "PWD", "SHLVL", "_", "OLDPWD"];
        for name in variables.lines().filter_map(|line| Some(line.split_once('=')?.0)) {
            assert!(allowed.contains(&name) || VARIABLES.iter().any(|(known, _)| *known == name), "{name}");
        }
        for (name, value) in VARIABLES {
            assert!(variables.lines().any(|line| line == format!("{name}={value}")), "{name}: {variables}");
        }
        let home = format!("HOME={}", folder.path().display());
        assert!(variables.lines().any(|line| line == home), "{variables}");
        assert!(arguments.starts_with("--git-dir=.git -c "), "{arguments}");
        for setting in SETTINGS {
            assert!(arguments.contains(&format!("-c {setting} ")), "{setting}: {arguments}");
        }
        assert!(arguments.ends_with(" status"), "{arguments}");
        assert!(variables.lines().any(|line| line == "GIT_ALLOW_PROTOCOL=none"), "{variables}");
        let far = Order { reach: Reach::Https, ..order(folder.path(), &["fetch"]) };
        let answer = String::from_utf8(git.run(far).await.unwrap()).unwrap();
        assert!(answer.lines().any(|line| line == "GIT_ALLOW_PROTOCOL=https"), "{answer}");
    }

    #[tokio::test]
    async fn a_failure_names_the_command_and_what_it_said() {
        let (folder, git) = in_place_of_git("echo one >&2; echo two >&2; exit 128");
        let arguments = ["-c", "a=b", "--no-pager", "fetch", "x"];
        let error = git.run(order(folder.path(), &arguments)).await.unwrap_err();
        assert_eq!(error.to_string(), "`git fetch` failed (exit status: 128): one; two");
        let (folder, git) = in_place_of_git("yes complaint | head -c 100000 >&2; echo end >&2; exit 1");
        let error = git.run(order(folder.path(), &["gc"])).await.unwrap_err();
        assert!(error.said().len() < 4 << 10 && error.said().ends_with("complaint; end"), "{error}");
    }

    #[tokio::test]
    async fn output_is_bounded_and_nobody_is_left() {
        let script = format!("sleep 600 & yes | head -c {}", ANSWER_BYTES_MAX + 5);
        let (folder, git) = in_place_of_git(&script);
        let answer = git.run(order(folder.path(), &["log"])).await;
        assert!(matches!(answer, Err(GitError::TooLong { command }) if command == "log"));
    }

    /// A command that ignores TERM and starts another, both with a pipe of ours open: its end is read when both are gone.
    fn endless() -> (tempfile::TempDir, Git, JoinHandle<File>) {
        let script = "exec 3> alive; trap '' TERM; sleep 600 & echo up >&3; while :; do sleep 600; done";
        let (folder, git) = in_place_of_git(script);
        let alive = folder.path().join("alive");
        assert!(std::process::Command::new("mkfifo").arg(&alive).status().unwrap().success());
        let up = tokio::task::spawn_blocking(move || {
            let mut pipe = File::open(alive).unwrap();
            // nothing, if it was ended before it came so far
            let _ = pipe.read(&mut [0; 3]);
            pipe
        });
        (folder, git, up)
    }

    fn everybody_is_gone(mut pipe: File) {
        let (end, ends) = std::sync::mpsc::channel();
        std::thread::spawn(move || end.send(pipe.read_to_end(&mut Vec::new())));
        let gone = ends.recv_timeout(Duration::from_secs(60));
        gone.expect("a process of the command is alive").unwrap();
    }

    #[tokio::test]
    async fn a_command_whose_time_is_over_is_ended_with_all_that_it_started() {
        let (folder, git, up) = endless();
        let git = git.with_limit(Duration::from_secs(1));
        let late = git.run(order(folder.path(), &["fetch"])).await.unwrap_err();
        assert_eq!(late.to_string(), "`git fetch` took longer than 1 s and was stopped");
        drop(File::options().read(true).write(true).open(folder.path().join("alive")).unwrap());
        everybody_is_gone(up.await.unwrap());
    }

    #[tokio::test]
    async fn a_command_whose_future_is_dropped_is_ended_with_all_that_it_started() {
        let (folder, git, up) = endless();
        let git = git.without_limit();
        let pipe = tokio::select! {
            ended = git.run(order(folder.path(), &["fetch"])) => panic!("it ended: {ended:?}"),
            pipe = up => pipe.unwrap(),
        };
        everybody_is_gone(pipe);
    }

    #[tokio::test]
    async fn a_command_reads_a_text_and_one_that_reads_nothing_is_no_failure() {
        let (folder, git) = in_place_of_git("[ \"$#\" -gt 100 ] || cat");
        let text = "x".repeat(1 << 20);
        let fed = Order { input: Input::Text(&text), ..order(folder.path(), &["hash-object"]) };
        assert_eq!(git.run(fed).await.unwrap(), text.as_bytes());
        let (folder, git) = in_place_of_git("echo no");
        let fed = Order { input: Input::Text(&text), ..order(folder.path(), &["hash-object"]) };
        assert_eq!(git.run(fed).await.unwrap(), b"no\n");
    }

    #[test]
    fn git_is_found_in_the_search_path_alone() {
        assert!(matches!(Git::find(OsStr::new("/nowhere")), Err(GitError::Missing)));
        assert!(matches!(Git::find(OsStr::new("")), Err(GitError::Missing)));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(PROGRAM), "no program").unwrap();
        assert!(matches!(Git::find(folder.path().as_os_str()), Err(GitError::Missing)));
    }

    #[test]
    fn what_a_variable_holds_is_not_shown() {
        let (_folder, git) = in_place_of_git("");
        let shown = format!("{:?}", git.with_variable("GIT_CONFIG_VALUE_0", "a secret"));
        assert!(shown.contains("/git") && !shown.contains("secret"), "{shown}");
    }
}
