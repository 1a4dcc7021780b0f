//! `wfengine demo` as people run it: it keeps what it promises, and whatever ends it leaves nothing behind.
//!
//! Every demo gets a temporary directory of its own, so what it leaves can be seen: files there, and processes whose arguments or
//! environment name it. One demo at a time, for its nodes judge each other by the clock.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops at what is not there")]

#[path = "schemas/documents.rs"]
mod documents;
mod house;

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::ffi::OsStrExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;
use tempfile::TempDir;

/// The demo gives up before.
const END_WAIT: Duration = Duration::from_secs(150);
/// Nodes of a demo that was told to stop are gone long before.
const STOP_WAIT: Duration = Duration::from_secs(15);

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A running demo, its temporary directory and the lines it prints.
struct Demo {
    process: Child,
    dir: TempDir,
    lines: mpsc::Receiver<String>,
}

impl Demo {
    fn start(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_wfengine"));
        command.args(args).env("TMPDIR", dir.path()).env_remove("WFENGINE_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut process = command.spawn().unwrap();
        let (told, lines) = mpsc::channel();
        let out = BufReader::new(process.stdout.take().unwrap());
        thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
        Self { process, dir, lines }
    }

    /// The next line that holds a text, and with it everything before.
    fn wait_for(&self, text: &str) -> String {
        let until = Instant::now() + END_WAIT;
        let mut before = String::new();
        loop {
            let line = self.lines.recv_timeout(until.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|_| panic!("no line holds `{text}` after:\n{before}"));
            if line.contains(text) {
                return line;
            }
            before.push_str(&line);
            before.push('\n');
        }
    }

    /// Everything it still prints, until it closes its output, and its exit status.
    fn rest(mut self, within: Duration) -> (String, ExitStatus, TempDir) {
        let until = Instant::now() + within;
        let mut rest = String::new();
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => rest.push_str(&(line + "\n")),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let _ = self.process.kill();
                    panic!("the demo did not end within {} s; it said:\n{rest}", within.as_secs());
                }
            }
        }
        (rest, self.process.wait().unwrap(), self.dir)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }
}

/// Nothing of the demo is left: no file in its temporary directory, no process that names it.
fn assert_nothing_left(dir: &Path) {
    let files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.is_empty(), "left behind: {files:?}");
    let processes = processes_that_name(dir);
    assert!(processes.is_empty(), "still running: {processes:?}");
}

fn processes_that_name(dir: &Path) -> Vec<String> {
    let wanted = dir.as_os_str().as_bytes();
    let bytes = |pid: &str, file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let names = |bytes: Vec<u8>| bytes.windows(wanted.len()).any(|window| window == wanted);
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().into_string().ok());
    pids.filter(|pid| pid.parse::<u32>().is_ok() && *pid != std::process::id().to_string())
        .filter(|pid| names(bytes(pid, "cmdline")) || names(bytes(pid, "environ")))
        .map(|pid| format!("{pid}: {}", String::from_utf8_lossy(&bytes(&pid, "cmdline")).replace('\0', " ")))
        .collect()
}

fn epochs(job: &Json) -> Vec<u64> {
    let claims = job["claims"].as_array().unwrap();
    let mut epochs: Vec<u64> = claims.iter().map(|claim| claim["epoch"].as_u64().unwrap()).collect();
    epochs.sort_unstable();
    epochs
}

fn completions(job: &Json) -> usize {
    let completed =
        job["claims"].as_array().unwrap().iter().filter(|claim| claim["state"] == "completed").count();
    completed + usize::try_from(job["duplicates"].as_u64().unwrap()).unwrap()
}

#[test]
fn a_node_is_killed_and_the_others_finish_its_work() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (printed, status, dir) = Demo::start(&["--json", "demo"]).rest(END_WAIT);
    let report: Json = serde_json::from_str(&printed).unwrap();
    documents::Schemas::new(&house::House::new()).hold("demo", std::slice::from_ref(&report));
    assert_eq!(status.code(), Some(0), "{}", report["requirements"]);
    assert_eq!(report["holds"], true);
    assert_eq!(report["requirements"].as_array().unwrap().len(), 8);
    assert!(report["took_ms"].as_u64().unwrap() <= 60_000);

    let jobs = report["jobs"].as_array().unwrap();
    assert_eq!(jobs.len(), 12);
    let victim = &report["killed"]["peer"];
    let inside = report["killed"]["inside"].as_array().unwrap();
    assert!(!inside.is_empty());
    for job in jobs {
        let name = &job["name"];
        assert_eq!((&job["conclusion"], completions(job)), (&Json::from("success"), 1), "{name}");
        let lost = job["claims"]
            .as_array()
            .unwrap()
            .iter()
            .any(|claim| claim["peer"] == *victim && claim["state"] == "held");
        let expected: &[u64] = if lost { &[1, 2] } else { &[1] };
        assert_eq!(epochs(job), expected, "{name}");
        if inside.contains(&job["job"]) {
            assert!(lost, "{name} was in its long step when its node was killed");
            assert!(job["duration_ms"].as_u64().unwrap() >= 10_000, "{name}");
        }
        let nearest = &job["ranked"][0][0];
        let passed_over = job["passed_over"].as_array().unwrap();
        assert!(job["peer"] == *nearest || passed_over.iter().any(|passed| passed[0] == *nearest), "{name}");
    }
    let nodes = report["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 3);
    for node in nodes {
        assert_eq!((&node["clean"], &node["view_digest"]), (&Json::from(true), &nodes[0]["view_digest"]));
    }
    assert_nothing_left(dir.path());
}

#[test]
fn a_demo_that_is_stopped_leaves_nothing_behind() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // while jobs run everywhere, and while a killed node's jobs wait for somebody
    for (moment, signal) in [(" takes ", Signal::INT), ("was killed", Signal::TERM)] {
        let demo = Demo::start(&["demo", "--explain"]);
        demo.wait_for(moment);
        let before = processes_that_name(demo.dir.path());
        assert!(before.len() >= 3, "the demo and its nodes are processes of their own: {before:?}");
        demo.signal(signal);
        let (rest, status, dir) = demo.rest(STOP_WAIT);
        assert_eq!(status.code(), Some(1), "{rest}");
        assert_nothing_left(dir.path());
    }
}

#[test]
fn a_number_of_nodes_that_cannot_be_is_refused() {
    for peers in ["1", "9"] {
        let (printed, status, dir) = Demo::start(&["demo", "--peers", peers]).rest(STOP_WAIT);
        assert_eq!((status.code(), printed.as_str()), (Some(2), ""));
        assert_nothing_left(dir.path());
    }
}
