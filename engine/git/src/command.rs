//! One command of git: its environment, its bounds, its end.
//!
//! Invariants: every command is a process group of its own, which is over when the future that ran it is over or dropped; nothing
//! asks a person; output takes bounded memory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// The program's name.
pub const PROGRAM: &str = "git";
/// Bytes of what a command answers.
pub const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Bytes of what it complains of that are kept: the last ones.
const COMPLAINT_BYTES_MAX: usize = 2 << 10;

/// Before each command, so that no repository's own configuration says otherwise.
const SETTINGS: [&str; 12] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.quotePath=false",
    "credential.helper=",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
    // whose folder it is does not matter where no hook and no filter runs
    "safe.directory=*",
    "http.followRedirects=initial",
    "protocol.allow=never",
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
    /// It answered something else than it should.
    #[error("`git {command}` answered something that makes no sense: {what}")]
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

/// The git program and the environment of its commands.
#[derive(Clone, Debug)]
pub struct Git {
    program: PathBuf,
    environment: BTreeMap<OsString, OsString>,
    limit: Duration,
}

impl Git {
    /// The git program of a search path (`PATH`).
    ///
    /// # Errors
    /// [`GitError::Missing`].
    pub fn find(search_path: &std::ffi::OsStr) -> Result<Self, GitError> {
        let candidates = std::env::split_paths(search_path).filter(|folder| folder.is_absolute());
        let program = candidates.map(|folder| folder.join(PROGRAM)).find(|path| path.is_file());
        let program = program.ok_or(GitError::Missing)?;
        let mut environment: BTreeMap<OsString, OsString> =
            VARIABLES.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        environment.insert("PATH".into(), search_path.to_owned());
        environment.insert("HOME".into(), "/nonexistent".into());
        Ok(Self { program, environment, limit: Duration::from_secs(600) })
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
        Self { limit, ..self.clone() }
    }

    /// Runs a command in a folder and answers what it printed.
    pub(crate) async fn run(
        &self,
        folder: &Path,
        reach: Reach,
        arguments: &[&str],
        input: Input<'_>,
    ) -> Result<Vec<u8>, GitError> {
        let mut child = self.start(folder, reach, arguments, &input, Stdio::piped())?;
        let mut out = child.child.stdout.take();
        let word = || first_word(arguments).to_owned();
        let work = async {
            let read = async {
                match &mut out {
                    Some(out) => first_of(out, ANSWER_BYTES_MAX).await,
                    None => Vec::new(),
                }
            };
            let (answer, outcome) = tokio::join!(read, child.end(&input));
            (answer, outcome)
        };
        let (answer, (status, said)) = match tokio::time::timeout(self.limit, work).await {
            Ok((answer, Ok(outcome))) => (answer, outcome),
            Ok((_, Err(source))) => return Err(GitError::Start { program: self.program.clone(), source }),
            Err(_) => return Err(GitError::Late { command: word(), limit: self.limit }),
        };
        if !status.success() {
            return Err(GitError::Failed { command: word(), status, said });
        }
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(GitError::TooLong { command: word() });
        }
        Ok(answer)
    }

    /// Runs a command whose answer goes into a file as it comes.
    pub(crate) async fn run_into(
        &self,
        folder: &Path,
        arguments: &[&str],
        input: Input<'_>,
        into: File,
    ) -> Result<(), GitError> {
        let mut child = self.start(folder, Reach::Nothing, arguments, &input, into.into())?;
        let word = || first_word(arguments).to_owned();
        match tokio::time::timeout(self.limit, child.end(&input)).await {
            Err(_) => Err(GitError::Late { command: word(), limit: self.limit }),
            Ok(Err(source)) => Err(GitError::Start { program: self.program.clone(), source }),
            Ok(Ok((status, said))) if !status.success() => {
                Err(GitError::Failed { command: word(), status, said })
            }
            Ok(Ok(_)) => Ok(()),
        }
    }

    fn start(
        &self,
        folder: &Path,
        reach: Reach,
        arguments: &[&str],
        input: &Input<'_>,
        out: Stdio,
    ) -> Result<Running, GitError> {
        let mut command = Command::new(&self.program);
        command.env_clear().envs(&self.environment).current_dir(folder).process_group(0);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        let allowed: &[&str] = match reach {
            Reach::Nothing => &[],
            Reach::Https => &["protocol.https.allow=always"],
            Reach::Http => &["protocol.https.allow=always", "protocol.http.allow=always"],
        };
        for setting in allowed {
            command.args(["-c", setting]);
        }
        command.args(arguments).stdout(out).stderr(Stdio::piped());
        let failed = |source| GitError::Start { program: self.program.clone(), source };
        match input {
            Input::None => command.stdin(Stdio::null()),
            Input::Text(_) => command.stdin(Stdio::piped()),
            Input::File(file) => command.stdin(file.try_clone().map_err(failed)?),
        };
        let child = command.spawn().map_err(failed)?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Running { child, group })
    }
}

/// What a command reads.
#[derive(Debug)]
pub(crate) enum Input<'a> {
    None,
    Text(&'a str),
    File(File),
}

/// A command that runs; killed with all that it started when this is dropped.
struct Running {
    child: Child,
    group: Option<Pid>,
}

impl Running {
    /// Feeds it, waits for it, and says how it ended and what it complained of.
    async fn end(&mut self, input: &Input<'_>) -> io::Result<(ExitStatus, String)> {
        let mut stdin = self.child.stdin.take();
        let mut stderr = self.child.stderr.take();
        let feed = async {
            if let (Some(pipe), Input::Text(text)) = (&mut stdin, input) {
                // a command that ended reads no more, and says itself why
                let _ = pipe.write_all(text.as_bytes()).await;
            }
            drop(stdin);
        };
        let complain = async {
            match &mut stderr {
                Some(pipe) => last_of(pipe).await,
                None => Vec::new(),
            }
        };
        let group = self.group;
        let child = &mut self.child;
        let wait = async {
            let status = child.wait().await;
            // whoever it left behind would hold the pipes open
            kill(group);
            status
        };
        let ((), complaint, status) = tokio::join!(feed, complain, wait);
        let said = String::from_utf8_lossy(&complaint).trim().replace('\n', "; ");
        self.group = None;
        Ok((status?, said))
    }
}

fn kill(group: Option<Pid>) {
    if let Some(group) = group {
        // it may be gone: then there is nobody to kill
        let _ = kill_process_group(group, Signal::KILL);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        kill(self.group);
    }
}

fn first_word<'a>(arguments: &[&'a str]) -> &'a str {
    arguments.iter().find(|word| !word.starts_with('-')).copied().unwrap_or_default()
}

/// Reads to the end; keeps the beginning, and one byte more than `bytes_max` if there are more.
async fn first_of(pipe: &mut (impl AsyncRead + Unpin), bytes_max: usize) -> Vec<u8> {
    let (mut kept, mut piece) = (Vec::new(), vec![0; 32 << 10]);
    while let Some(read) = pipe.read(&mut piece).await.ok().filter(|read| *read > 0) {
        let room = (bytes_max + 1).saturating_sub(kept.len());
        kept.extend_from_slice(piece.get(..read.min(room)).unwrap_or_default());
    }
    kept
}

/// Reads to the end; keeps the end.
async fn last_of(pipe: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let (mut kept, mut piece) = (Vec::new(), vec![0; 4 << 10]);
    while let Some(read) = pipe.read(&mut piece).await.ok().filter(|read| *read > 0) {
        kept.extend_from_slice(piece.get(..read).unwrap_or_default());
        kept.drain(..kept.len().saturating_sub(COMPLAINT_BYTES_MAX));
    }
    kept
}
