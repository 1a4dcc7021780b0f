//! A house for one test: a data directory, a desk to work at, and the program run in them as a person or a script would.
//!
//! Nothing is awaited by sleeping: a test waits for a line that a process prints, for its end, or asks again until an answer fits,
//! each with a bound. Not here: what any answer should be.
//!
//! Invariants: no process that was begun here outlives its [`Live`], nor a step its [`House`]; nothing of the caller's
//! environment that changes what the program does reaches it.
#![allow(clippy::panic, reason = "a test says what went wrong by failing")]
#![allow(dead_code, unreachable_pub, reason = "every test file uses another part of it")]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value as Json;
use tempfile::TempDir;

/// Longest wait for anything. Generous: it is reached only when a test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two questions.
const LOOK: Duration = Duration::from_millis(20);

/// Asks until the answer fits.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begun.elapsed() < PATIENCE, "not within {} s: {what}", PATIENCE.as_secs());
        thread::park_timeout(LOOK);
    }
}

/// Whether a process is there.
pub fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // one that only waits to be collected is gone
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// A string field of an answer.
pub fn text<'a>(answer: &'a Json, field: &str) -> &'a str {
    answer.get(field).and_then(Json::as_str).unwrap_or_else(|| panic!("no text `{field}` in {answer}"))
}

/// A data directory and a desk.
pub struct House {
    dir: TempDir,
}

/// What a process said until it ended.
#[derive(Debug)]
pub struct Said {
    pub out: String,
    pub err: String,
    pub status: ExitStatus,
}

impl Said {
    /// The exit status; a signal fails the test.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by a signal: {self:?}"))
    }
    /// Fails the test unless the exit status is this one. Nothing may panic.
    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "{self:?}");
        assert!(!self.err.contains("panicked") && !self.err.contains("BUG"), "{self:?}");
        self
    }
    /// Fails the test unless stderr holds all of these.
    #[track_caller]
    pub fn complains(self, of: &[&str]) -> Self {
        for part in of {
            assert!(self.err.contains(part), "`{part}` is not in {self:?}");
        }
        self
    }
    /// One JSON document per line of stdout.
    #[track_caller]
    pub fn json(&self) -> Vec<Json> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.out.lines().map(parse).collect()
    }
}

impl House {
    /// An empty one.
    pub fn new() -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join("desk")).unwrap();
        Self { dir }
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
    /// The working directory of commands.
    pub fn desk(&self) -> PathBuf {
        self.dir.path().join("desk")
    }
    /// Any other path in the house.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    /// Writes a file on the desk.
    pub fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.desk().join(name), content).unwrap();
    }
    /// Writes a workflow of one job with one step on the desk; `{desk}` in the script stands for the desk.
    pub fn put_script(&self, name: &str, script: &str) {
        let script =
            script.replace("{desk}", &self.desk().display().to_string()).replace('\n', "\n          ");
        let text = format!(
            "on: workflow_dispatch\njobs:\n  job:\n    runs-on: ubuntu-latest\n    steps:\n      - run: |\n          {script}\n"
        );
        self.put(name, text);
    }

    /// A command of this house, not yet started.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wfengine"));
        for variable in [
            "P2P_DATA_DIR",
            "P2P_PEER_ID",
            "P2P_BOOTSTRAP_PEERS",
            "XDG_DATA_HOME",
            "NO_COLOR",
            "CLICOLOR",
            "CLICOLOR_FORCE",
            "CI",
            "COLUMNS",
            "WFENGINE_CONFIG",
            "WFENGINE_LOG",
            "WFENGINE_LOG_FORMAT",
            "WFENGINE_NODE",
            "WFENGINE_TOKEN",
        ] {
            command.env_remove(variable);
        }
        command.args(arguments).current_dir(self.desk()).stdin(Stdio::null());
        command.env("HOME", self.dir.path()).env("WFENGINE_DATA_DIR", self.data()).process_group(0);
        command
    }

    /// Runs a command to its end.
    pub fn ask<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Said {
        self.begin(arguments).end()
    }

    /// The documents that a command prints with `--json`; it has to succeed.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Vec<Json> {
        self.ask(&[&["--json"], arguments].concat()).ends(0).json()
    }

    /// As [`House::json`], for a command that ends otherwise.
    #[track_caller]
    pub fn json_of(&self, arguments: &[&str], code: i32) -> Vec<Json> {
        self.ask(&[&["--json"], arguments].concat()).ends(code).json()
    }

    /// The one document that a command prints with `--json`.
    #[track_caller]
    pub fn one(&self, arguments: &[&str]) -> Json {
        let mut documents = self.json(arguments);
        assert_eq!(documents.len(), 1, "{documents:?}");
        documents.remove(0)
    }

    /// A run or task as it is.
    #[track_caller]
    pub fn show(&self, id: &str) -> Json {
        self.one(&["show", id])
    }

    /// Waits until a run has a status.
    pub fn until_status(&self, id: &str, status: &str) -> Json {
        until(&format!("{id} is {status}"), || {
            Some(self.show(id)).filter(|run| text(run, "status") == status)
        })
    }

    /// Starts a command.
    pub fn begin<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Live {
        Live::start(self.command(arguments))
    }

    /// Starts a node and waits until it serves.
    pub fn serve(&self) -> Live {
        self.serve_with(&[])
    }

    /// As [`House::serve`], while other commands hold the directory now and then: a node does not wait for them.
    pub fn serve_among_others(&self) -> Live {
        until("the directory is free for a node", || {
            let mut live = self.begin(&["serve", "--listen", "127.0.0.1:0"]);
            let line = live.wait_for_either(&["serves on UDP", "in use by process"]);
            line.contains("serves on UDP").then_some(live)
        })
    }

    /// As [`House::serve`], with further options.
    pub fn serve_with(&self, options: &[&str]) -> Live {
        let arguments = [&["serve", "--listen", "127.0.0.1:0"], options].concat();
        let mut live = self.begin(&arguments);
        live.wait_for("serves on UDP");
        live
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if thread::panicking() {
            // whoever opens the node ends the steps that a killed process left behind
            let _ = self.command(&["status"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}

/// A process that goes on.
pub struct Live {
    child: Child,
    lines: Receiver<(Source, String)>,
    out: String,
    err: String,
    ended: Option<ExitStatus>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Out,
    Err,
}

fn listen(source: Source, pipe: impl Read + Send + 'static, lines: Sender<(Source, String)>) {
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).into_owned();
            line.clear();
            if lines.send((source, text)).is_err() {
                return;
            }
        }
    });
}

impl Live {
    /// Starts a command with both outputs listened to.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        listen(Source::Out, child.stdout.take().unwrap(), sender.clone());
        listen(Source::Err, child.stderr.take().unwrap(), sender);
        Self { child, lines, out: String::new(), err: String::new(), ended: None }
    }

    /// Waits for a line, of stdout or stderr, that holds a text; gives the line.
    #[track_caller]
    pub fn wait_for(&mut self, part: &str) -> String {
        self.wait_for_either(&[part])
    }

    /// As [`Live::wait_for`], with any of several texts.
    #[track_caller]
    pub fn wait_for_either(&mut self, parts: &[&str]) -> String {
        let begun = Instant::now();
        loop {
            match self.lines.recv_timeout(PATIENCE.saturating_sub(begun.elapsed())) {
                Ok((source, line)) => {
                    self.keep(source, &line);
                    if parts.iter().any(|part| line.contains(part)) {
                        return line;
                    }
                }
                Err(_) => panic!("none of {parts:?} was ever said; out: {} err: {}", self.out, self.err),
            }
        }
    }

    fn keep(&mut self, source: Source, line: &str) {
        match source {
            Source::Out => self.out.push_str(line),
            Source::Err => self.err.push_str(line),
        }
    }

    /// The process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Sends a signal to the process alone.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid()).unwrap(), signal).unwrap();
    }

    /// Kills the process, and nothing else, and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.ended = Some(self.child.wait().unwrap());
    }

    /// Whether it goes on.
    pub fn goes_on(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the end.
    #[track_caller]
    pub fn end(mut self) -> Said {
        let begun = Instant::now();
        loop {
            match self.lines.recv_timeout(PATIENCE.saturating_sub(begun.elapsed())) {
                Ok((source, line)) => self.keep(source, &line),
                // both outputs are closed
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                    panic!("it did not end; out: {} err: {}", self.out, self.err)
                }
            }
        }
        let status = self.child.wait().unwrap();
        self.ended = Some(status);
        Said { out: std::mem::take(&mut self.out), err: std::mem::take(&mut self.err), status }
    }

    /// Tells it to stop and waits for the end.
    #[track_caller]
    pub fn stop(self) -> Said {
        self.signal(Signal::TERM);
        self.end()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// The process id that a step or program wrote into a file.
pub fn pid_in(file: &Path) -> i32 {
    until(&format!("{} holds a process id", file.display()), || {
        let text = std::fs::read_to_string(file).ok()?;
        text.strip_suffix('\n')?.parse().ok()
    })
}
