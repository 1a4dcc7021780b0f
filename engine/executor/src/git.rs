//! The git program, run so that nothing of the host's or a user's configuration takes part.
//!
//! No configuration but that of the repository at hand is read: not the system's, not the user's, no attributes or ignored
//! names of either, no templates. No hook runs, no file system monitor, no credential helper, no collection of garbage. By
//! itself no command may reach another repository or host: who wants to, gives `-c protocol.NAME.allow=always` first.
//!
//! Invariants: every command is a process group of its own, which is over when the future that ran it is over or dropped;
//! nothing asks a person; output takes bounded memory.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use tokio::io::{AsyncRead, AsyncReadExt};
use wfengine_workflow::checkout::is_commit_id;

use crate::process::{Exit, Program, StepProcess, find_program};

/// The program's name.
pub(crate) const PROGRAM: &str = "git";
/// Bytes of what a command answers.
pub const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Bytes of what it complains of that are kept: the last ones.
const COMPLAINT_BYTES_MAX: usize = 2 << 10;
const PIECE_BYTES: usize = 32 << 10;

/// Before each command, so that no repository's own configuration says otherwise.
const SETTINGS: [&str; 9] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "credential.helper=",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
    "protocol.allow=never",
];

/// For each command.
const VARIABLES: [(&str, &str); 6] = [
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
    // a commit is what its id says, whatever refs/replace holds
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("LC_ALL", "C"),
];

/// Why a command of git has no answer.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// It could not be started.
    #[error("{program} cannot be started: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It failed.
    #[error("`git {command}` ended with status {status}{said}")]
    Failed {
        /// Its first word.
        command: String,
        /// 128 + signal for a death by signal.
        status: i32,
        /// What it complained of.
        said: Complaint,
    },
    /// It answered more than is read.
    #[error("`git {command}` answered more than {ANSWER_BYTES_MAX} bytes")]
    TooLong {
        /// Its first word.
        command: String,
    },
}

/// What a failed command printed on its standard error: the end of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Complaint(String);

impl Complaint {
    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}

/// Where git is on this host, if it is.
pub(crate) fn find(search_path: &str) -> Option<PathBuf> {
    find_program(PROGRAM, search_path, Path::new("/"))
}

/// The git program and the environment of its commands.
#[derive(Debug, Clone)]
pub(crate) struct Git {
    program: PathBuf,
    environment: BTreeMap<String, String>,
}

impl Git {
    /// `home` is an empty folder; `tracking` is the job's `RUNNER_TRACKING_ID`.
    pub(crate) fn new(program: PathBuf, search_path: &str, home: &Path, tracking: &str) -> Self {
        let mut environment: BTreeMap<String, String> =
            VARIABLES.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        environment.insert("PATH".to_owned(), search_path.to_owned());
        environment.insert("HOME".to_owned(), crate::environment::path_text(home));
        environment.insert("RUNNER_TRACKING_ID".to_owned(), tracking.to_owned());
        Git { program, environment }
    }
}

/// A repository in a folder of a job.
#[derive(Debug, Clone)]
pub struct Repository {
    git: Git,
    folder: PathBuf,
}

impl Repository {
    pub(crate) fn new(git: Git, folder: PathBuf) -> Self {
        Repository { git, folder }
    }

    /// Its work tree.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its `.git`.
    pub fn git_folder(&self) -> PathBuf {
        self.folder.join(".git")
    }

    /// The same, with a variable more for its commands. A credential belongs here, never into arguments, which every user of
    /// the host can read.
    #[must_use]
    pub fn with_variable(&self, name: &str, value: &str) -> Self {
        let mut with = self.clone();
        with.git.environment.insert(name.to_owned(), value.to_owned());
        with
    }

    /// Runs a command in the work tree and answers what it printed. `-c NAME=VALUE` may stand before its first word.
    /// Dropping the future kills it with all that it started.
    pub async fn run(&self, arguments: &[&str]) -> Result<Vec<u8>, GitError> {
        let command = || first_word(arguments).to_owned();
        let settings = SETTINGS.iter().flat_map(|setting| ["-c", setting]);
        let program = Program {
            path: self.git.program.clone(),
            arguments: ["--git-dir=.git", "--work-tree=."]
                .into_iter()
                .chain(settings)
                .chain(arguments.iter().copied())
                .map(Into::into)
                .collect(),
            environment: self.git.environment.clone(),
            folder: self.folder.clone(),
        };
        let started = StepProcess::start(&program);
        let (process, mut pipes) =
            started.map_err(|source| GitError::Start { program: program.path.clone(), source })?;
        let exit = async {
            let exit = process.exited().await;
            // whoever it left behind would hold the pipes open
            process.kill();
            exit
        };
        let (exit, answer, complaint) =
            tokio::join!(exit, first_of(&mut pipes.out, ANSWER_BYTES_MAX), last_of(&mut pipes.err));
        if exit != Exit::Status(0) {
            let said = Complaint(String::from_utf8_lossy(&complaint).trim().replace('\n', "; "));
            return Err(GitError::Failed { command: command(), status: exit.code(), said });
        }
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(GitError::TooLong { command: command() });
        }
        Ok(answer)
    }

    /// Says of commits, before they come, that their parents do not come along: adds them to `.git/shallow`. What is no id of
    /// a commit is left out.
    pub fn add_shallow(&self, commits: &[String]) -> io::Result<()> {
        let path = self.git_folder().join("shallow");
        let known = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            known => known?,
        };
        let is_new =
            |commit: &&String| is_commit_id(commit) && !known.lines().any(|line| line == commit.as_str());
        let added: String = commits.iter().filter(is_new).map(|commit| format!("{commit}\n")).collect();
        if added.is_empty() {
            return Ok(());
        }
        fs::OpenOptions::new().create(true).append(true).open(path)?.write_all(added.as_bytes())
    }

    /// As [`Repository::run`]; the answer as text, without white space around it.
    pub async fn ask(&self, arguments: &[&str]) -> Result<String, GitError> {
        let answer = self.run(arguments).await?;
        Ok(String::from_utf8_lossy(&answer).trim().to_owned())
    }
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

/// Reads to the end; keeps the beginning, and one byte more than `bytes_max` if there are more.
async fn first_of(pipe: &mut (impl AsyncRead + Unpin), bytes_max: usize) -> Vec<u8> {
    let (mut kept, mut piece) = (Vec::new(), vec![0; PIECE_BYTES]);
    while let Some(read) = pipe.read(&mut piece).await.ok().filter(|read| *read > 0) {
        let room = (bytes_max + 1).saturating_sub(kept.len());
        kept.extend_from_slice(&piece[..read.min(room)]);
    }
    kept
}

/// Reads to the end; keeps the end.
async fn last_of(pipe: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let (mut kept, mut piece) = (Vec::new(), vec![0; PIECE_BYTES]);
    while let Some(read) = pipe.read(&mut piece).await.ok().filter(|read| *read > 0) {
        kept.extend_from_slice(&piece[..read]);
        kept.drain(..kept.len().saturating_sub(COMPLAINT_BYTES_MAX));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program in git's place. Written by another process: a file that is open for writing here could not be started, nor
    /// while a child that another test forks has it open.
    fn repository(script: &str) -> (tempfile::TempDir, Repository) {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("git");
        let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\" && chmod 755 \"$0\"";
        let written = std::process::Command::new("sh").args(["-c", write]).arg(&program).arg(script).status();
        assert!(written.unwrap().success());
        let git = Git::new(program, "/usr/bin:/bin", folder.path(), "t_1");
        let repository = Repository::new(git, folder.path().to_owned());
        (folder, repository)
    }

    #[tokio::test]
    async fn a_command_sees_nothing_of_the_host() {
        let (folder, repository) = repository("env; echo \"$@\"");
        let answer = repository.with_variable("OWN", "1").ask(&["status"]).await.unwrap();
        let (variables, arguments) = answer.rsplit_once('\n').unwrap();
        let allowed = ["PATH", "HOME", "RUNNER_TRACKING_ID", "OWN", "PWD", "SHLVL", "_", "OLDPWD"];
        for name in variables.lines().filter_map(|line| Some(line.split_once('=')?.0)) {
            assert!(allowed.contains(&name) || VARIABLES.iter().any(|(known, _)| *known == name), "{name}");
        }
        let home = format!("HOME={}", folder.path().display());
        assert!(variables.lines().any(|line| line == home), "{variables}");
        assert!(arguments.contains("core.hooksPath=/dev/null") && arguments.contains("protocol.allow=never"));
        assert!(arguments.ends_with(" status"), "{arguments}");
    }

    #[tokio::test]
    async fn a_failure_names_the_command_and_what_it_said() {
        let (_folder, repository) = repository("echo one >&2; echo two >&2; exit 128");
        let error = repository.run(&["-c", "a=b", "--no-pager", "fetch", "x"]).await.unwrap_err();
        assert_eq!(error.to_string(), "`git fetch` ended with status 128: one; two");
    }

    #[tokio::test]
    async fn output_is_bounded_and_nobody_is_left() {
        let script = format!("sleep 600 & yes | head -c {}", ANSWER_BYTES_MAX + 5);
        let (_folder, repository) = repository(&script);
        assert!(matches!(repository.run(&["log"]).await, Err(GitError::TooLong { .. })));
    }

    #[test]
    fn commits_without_parents_are_listed_once() {
        let (folder, repository) = repository("");
        fs::create_dir(repository.git_folder()).unwrap();
        let (one, two) = ("1".repeat(40), "2".repeat(40));
        let read = || fs::read_to_string(folder.path().join(".git/shallow")).unwrap_or_default();
        repository.add_shallow(&[]).unwrap();
        assert_eq!(read(), "");
        repository.add_shallow(&[one.clone(), "not an id".to_owned()]).unwrap();
        repository.add_shallow(&[one.clone(), two.clone()]).unwrap();
        assert_eq!(read(), format!("{one}\n{two}\n"));
    }

    #[test]
    fn git_is_found_in_the_search_path_alone() {
        assert_eq!(find("/nowhere"), None);
    }
}
