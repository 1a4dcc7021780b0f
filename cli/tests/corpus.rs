//! `wfengine run` on every file of the shared corpus of workflow files ends as `corpus/conclusions.tsv` says.
//!
//! Columns: the file · the verdict · the reason where it is not obvious · for a failure a text that its output holds, so that
//! it fails for that and for nothing else. Verdicts: `success` and `failure` (exit status 0 and 1), `success as root` (failure
//! for everybody else), `accepted` (see below), `refused KEY` (exit status 2; file, line, column and the key are named) and
//! `invalid` (exit status 2; file, line and column are named). Where the verdict is not what GitHub's parser says of the
//! file, the row has a reason.
//!
//! `accepted` is for files that begin with a checkout: this version runs all of them, but what their scripts build, test and
//! install is a repository that is not here. No step of theirs is executed: they are handed to `wfengine submit`, which
//! reads, checks and plans them as `run` does and executes nothing, for no node serves the folder of its log.
//!
//! Every file runs in fresh empty folders, with an environment of five variables and a search path that holds [`PROGRAMS`]
//! alone, so a tool that one host has and another has not is missing on both. A file that is to be accepted or refused finds
//! no program at all: were it executed, its steps could do nothing. A file without a row is not run. Whoever adds a row with
//! `success` or `failure` has read the file's scripts first: they run with the rights of the test.
//!
//! Needs the folder of the corpus in `WFENGINE_CORPUS`; without it the test says that it did not run.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it covered, and stops at a broken table or corpus"
)]

#[path = "../../tests/tests/requirements/folder.rs"]
mod folder;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Output, Stdio},
    sync::{Mutex, mpsc},
    thread,
    time::Duration,
};

use folder::folder;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value as Json;
use tempfile::TempDir;

const TABLE: &str = include_str!("corpus/conclusions.tsv");
const HEADER: &str = "file\tverdict\treason\toutput holds";
/// The folders of the corpus.
const FOLDERS: [&str; 2] = ["workflows", "workflow-cases"];
/// All that a step can call by name. Python is left out on purpose: bare machines have none.
const PROGRAMS: [&str; 9] = ["bash", "cat", "chmod", "env", "grep", "ls", "mkdir", "mktemp", "sh"];
/// Where they are taken from.
const PROGRAM_FOLDERS: [&str; 3] = ["/usr/bin", "/bin", "/usr/local/bin"];
/// How long one file may take.
const FILE_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a file whose time is over has to end its steps.
const GRACE: Duration = Duration::from_secs(15);
const AT_ONCE: usize = 2;

#[test]
fn every_file_of_the_corpus_ends_as_the_table_says() {
    let Some(corpus) = folder("WFENGINE_CORPUS") else { return };
    let (rows, files, valid) = (table(), files(&corpus), valid_for_github(&corpus));
    let problems = Mutex::new(Vec::new());
    let problem = |text: String| problems.lock().unwrap().push(text);
    for file in &files {
        if !rows.iter().any(|row| row.file == file) {
            problem(format!("{file}: has no row in cli/tests/corpus/conclusions.tsv, so it was not run"));
        }
    }
    let (programs, nothing) = (programs(), tempfile::tempdir().unwrap());
    let waiting = Mutex::new(rows.iter());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap().next();
                    let Some(row) = next else { break };
                    if !files.contains(row.file) {
                        problem(format!("{}: the table has a row, the corpus has no such file", row.file));
                        continue;
                    }
                    let file = corpus.join(row.file);
                    let search_path = if row.verdict.executes() { &programs } else { &nothing };
                    if let Err(why) =
                        row.check(&file, &ask(row.verdict.question(), &file, search_path.path()))
                    {
                        problem(format!("{}: expected {}, but {why}", row.file, row.verdict.text()));
                    }
                    if row.reason.is_empty()
                        && valid.get(row.file) != Some(&(row.verdict != Verdict::Invalid))
                    {
                        problem(format!(
                            "{}: GitHub's parser says otherwise; the row needs a reason",
                            row.file
                        ));
                    }
                }
            });
        }
    });
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &rows {
        *counts.entry(row.verdict.word()).or_default() += 1;
    }
    println!("{} files: {counts:?}", rows.len());
    let mut problems = problems.into_inner().unwrap();
    problems.sort();
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn the_table_is_sorted_and_says_why_a_file_fails() {
    let rows = table();
    for (row, next) in rows.iter().zip(rows.iter().skip(1)) {
        assert!(row.file < next.file, "{} stands before {}", row.file, next.file);
    }
    for row in &rows {
        let complete = !row.reason.is_empty() && !row.holds.is_empty();
        assert!(
            row.verdict != Verdict::Failure || complete,
            "{}: give the reason and a text of the output",
            row.file
        );
    }
}

fn files(corpus: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in FOLDERS {
        for entry in fs::read_dir(corpus.join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if [".yml", ".yaml"].iter().any(|ending| name.ends_with(ending)) {
                found.insert(format!("{folder}/{name}"));
            }
        }
    }
    found
}

/// What GitHub's parser says of each file.
fn valid_for_github(corpus: &Path) -> BTreeMap<String, bool> {
    let mut valid = BTreeMap::new();
    for folder in FOLDERS {
        let text = fs::read_to_string(corpus.join(folder).join("expected.json")).unwrap();
        for entry in serde_json::from_str::<Vec<Json>>(&text).unwrap() {
            let name = entry["file"].as_str().unwrap();
            valid.insert(format!("{folder}/{name}"), entry["valid"].as_bool().unwrap());
        }
    }
    valid
}

/// A folder with links to [`PROGRAMS`] and nothing else.
fn programs() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for program in PROGRAMS {
        let found =
            PROGRAM_FOLDERS.iter().map(|folder| Path::new(folder).join(program)).find(|path| path.is_file());
        let Some(found) = found else {
            panic!("{program} is in none of {PROGRAM_FOLDERS:?}: this test needs it")
        };
        std::os::unix::fs::symlink(found, folder.path().join(program)).unwrap();
    }
    folder
}

#[derive(PartialEq, Eq)]
enum Verdict {
    Success,
    SuccessAsRoot,
    Failure,
    Accepted,
    Refused(&'static str),
    Invalid,
}

struct Row {
    file: &'static str,
    verdict: Verdict,
    reason: &'static str,
    holds: &'static str,
}

fn table() -> Vec<Row> {
    let mut lines = TABLE.lines();
    assert_eq!(lines.next(), Some(HEADER), "the head of the table");
    let row = |line: &'static str| {
        let mut cells = line.split('\t');
        let mut cell = || cells.next().unwrap_or_default();
        let (file, verdict, reason, holds) = (cell(), cell(), cell(), cell());
        let verdict = match verdict {
            "success" => Verdict::Success,
            "success as root" => Verdict::SuccessAsRoot,
            "failure" => Verdict::Failure,
            "accepted" => Verdict::Accepted,
            "invalid" => Verdict::Invalid,
            _ => match verdict.strip_prefix("refused ") {
                Some(key) => Verdict::Refused(key),
                None => panic!("{file}: the verdict '{verdict}' is not known"),
            },
        };
        Row { file, verdict, reason, holds }
    };
    lines.map(row).collect()
}

impl Verdict {
    fn executes(&self) -> bool {
        matches!(self, Verdict::Success | Verdict::SuccessAsRoot | Verdict::Failure)
    }

    /// How the program is asked about such a file.
    fn question(&self) -> &'static [&'static str] {
        if *self == Verdict::Accepted { &["--json", "submit"] } else { &["run"] }
    }

    fn word(&self) -> &'static str {
        match self {
            Verdict::Success => "success",
            Verdict::SuccessAsRoot => "success as root",
            Verdict::Failure => "failure",
            Verdict::Accepted => "accepted",
            Verdict::Refused(_) => "refused",
            Verdict::Invalid => "invalid",
        }
    }

    fn text(&self) -> String {
        match self {
            Verdict::Refused(key) => format!("refused {key}"),
            other => other.word().to_owned(),
        }
    }

    fn status(&self) -> i32 {
        match self {
            Verdict::Success | Verdict::Accepted => 0,
            Verdict::SuccessAsRoot if rustix::process::geteuid().is_root() => 0,
            Verdict::SuccessAsRoot | Verdict::Failure => 1,
            Verdict::Refused(_) | Verdict::Invalid => 2,
        }
    }
}

impl Row {
    fn check(&self, file: &Path, ended: &Ended) -> Result<(), String> {
        let Some(output) = &ended.output else {
            return Err(format!("it took longer than {FILE_TIME_MAX:?}"));
        };
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.code() != Some(self.verdict.status()) {
            return Err(format!("it ended with {}:\n{err}{out}", output.status));
        }
        if self.verdict.executes() {
            let holds = out.contains(self.holds) || err.contains(self.holds);
            return if holds {
                Ok(())
            } else {
                Err(format!("'{}' is not in its output:\n{err}{out}", self.holds))
            };
        }
        if ended.wrote {
            return Err("something was written to the workspace or HOME".to_owned());
        }
        if self.verdict == Verdict::Accepted {
            return if is_only_planned(&out) {
                Ok(())
            } else {
                Err(format!("it was not accepted, or not only that:\n{err}{out}"))
            };
        }
        let findings = findings(&err, file)?;
        let Verdict::Refused(key) = self.verdict else {
            let refused = findings.iter().any(|finding| finding.message.contains("is not supported yet"));
            return if refused { Err(format!("a key was refused:\n{err}")) } else { Ok(()) };
        };
        let (word, told) = match key.strip_prefix("inputs.") {
            Some(input) => {
                (input, vec![format!("the input '{input}' "), format!("the default of the input '{input}' ")])
            }
            None => (key.rsplit('.').next().unwrap_or(key), vec![format!("{key} is not supported yet: ")]),
        };
        if !told.iter().any(|told| findings[0].message.starts_with(told)) {
            return Err(format!("the key is not named first:\n{err}"));
        }
        // a mapping stands where its first key stands: on the line after its name
        let source = fs::read_to_string(file).unwrap();
        let line = findings[0].line;
        let near = source.lines().skip(line.saturating_sub(2)).take(2).any(|text| text.contains(word));
        if near { Ok(()) } else { Err(format!("'{word}' is not at line {line}:\n{err}")) }
    }
}

/// Whether an answer tells of jobs that wait or are skipped, and of nobody who has one.
fn is_only_planned(answer: &str) -> bool {
    let answer: Json = serde_json::from_str(answer).unwrap_or_default();
    let is_waiting = |job: &Json| {
        (job["status"] == "pending" || job["status"] == "skipped")
            && job["peer"].is_null()
            && job["claims"].as_array().is_some_and(Vec::is_empty)
    };
    answer["run"]["jobs"].as_array().is_some_and(|jobs| !jobs.is_empty() && jobs.iter().all(is_waiting))
}

struct Finding<'a> {
    line: usize,
    message: &'a str,
}

/// What stderr says, line by line, each with its place: `FILE:LINE:COLUMN: message`.
fn findings<'a>(err: &'a str, file: &Path) -> Result<Vec<Finding<'a>>, String> {
    let finding = |text: &'a str| {
        let text = text.strip_prefix("error: ").unwrap_or(text);
        let mut parts = text.strip_prefix(&format!("{}:", file.display()))?.splitn(3, ':');
        let (line, column) = (parts.next()?.parse().ok()?, parts.next()?.parse::<usize>().ok()?);
        let message = parts.next()?.trim_start();
        (line > 0 && column > 0 && !message.is_empty()).then_some(Finding { line, message })
    };
    let lines = err.lines().filter(|line| !line.is_empty() && !line.starts_with("note: "));
    let found: Option<Vec<Finding<'a>>> = lines.map(finding).collect();
    found
        .filter(|found| !found.is_empty())
        .ok_or_else(|| format!("a line names no file, line and column:\n{err}"))
}

struct Ended {
    /// Nothing when its time was over.
    output: Option<Output>,
    /// Whether anything is in its workspace or its HOME.
    wrote: bool,
}

fn ask(question: &[&str], file: &Path, search_path: &Path) -> Ended {
    let place = tempfile::tempdir().unwrap();
    let folder = |name: &str| {
        let folder = place.path().join(name);
        fs::create_dir(&folder).unwrap();
        folder
    };
    let (workspace, home) = (folder("workspace"), folder("home"));
    let child = Command::new(env!("CARGO_BIN_EXE_wfengine"))
        .args(question)
        .arg(file)
        .current_dir(&workspace)
        .env_clear()
        .env("PATH", search_path)
        .env("HOME", &home)
        .env("TMPDIR", folder("tmp"))
        .env("LANG", "C.UTF-8")
        .env("WFENGINE_DATA_DIR", place.path().join("data"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let group = Pid::from_child(&child);
    let (sender, receiver) = mpsc::channel();
    let waiting = thread::spawn(move || sender.send(child.wait_with_output()));
    let output = receiver.recv_timeout(FILE_TIME_MAX).ok().map(Result::unwrap);
    if output.is_none() {
        // its steps are groups of their own, which it ends itself when it is interrupted
        let _ = kill_process_group(group, Signal::INT);
        if receiver.recv_timeout(GRACE).is_err() {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
    let _ = waiting.join();
    let wrote = [workspace, home].iter().any(|folder| fs::read_dir(folder).unwrap().next().is_some());
    Ended { output, wrote }
}
