//! Starts the protocol's own conformance runner, which knows of no tokens, behind a proxy that adds one.
//!
//! What fails and is not among the expected failures fails the test, and so does an expected failure that passes. A reason stands behind
//! each of them.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::requirements::{Requirement, node_modules, require};

const PROXY: &str = include_str!("proxy.cjs");
/// Longest time of all scenarios together. Generous: it is reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(50);

/// What the runner said.
#[derive(Debug)]
pub(crate) struct Judged {
    /// Scenarios in which something was passed, and nothing failed.
    pub(crate) passed: Vec<String>,
    /// The others, all of them expected.
    pub(crate) failed: Vec<String>,
}

/// A process that goes with its owner.
struct Begun(Child);

impl Drop for Begun {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder of this test alone.
fn scratch() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("conformance-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn proxy(node: &Path, folder: &Path, url: &str, token: &str) -> (Begun, String) {
    let script = folder.join("proxy.cjs");
    fs::write(&script, PROXY).unwrap();
    let mut command = Command::new(node);
    command.arg(script).args([url, token]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut proxy = Begun(command.spawn().unwrap());
    let mut address = String::new();
    BufReader::new(proxy.0.stdout.take().unwrap()).read_line(&mut address).unwrap();
    (proxy, address.trim().to_owned())
}

/// The scenarios of all suites against a server, or a record that this did not run.
pub(crate) fn judged(what: &str, url: &str, token: &str, expected: &str) -> Option<Judged> {
    let node = require(Requirement::McpConformance, what)?;
    let folder = scratch();
    let baseline = folder.join("expected-failures.yml");
    fs::write(&baseline, expected).unwrap();
    let (proxy, address) = proxy(&node, &folder, url, token);
    let said = folder.join("said");
    let out = File::create(&said).unwrap();
    let mut command = Command::new(&node);
    command
        .arg(node_modules().join("@modelcontextprotocol/conformance/dist/index.js"))
        .args(["server", "--url", &format!("{address}/mcp"), "--suite", "all", "--expected-failures"])
        .arg(&baseline)
        .arg("--output-dir")
        .arg(folder.join("results"))
        .current_dir(&folder)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(out.try_clone().unwrap())
        .stderr(out);
    let mut runner = Begun(command.spawn().unwrap());
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = runner.0.try_wait().unwrap() {
            break status;
        }
        let so_far = || fs::read_to_string(&said).unwrap_or_default();
        assert!(begun.elapsed() < PATIENCE, "the runner did not end: {}", so_far());
        thread::park_timeout(LOOK);
    };
    drop(proxy);
    let said = fs::read_to_string(&said).unwrap();
    assert!(status.success(), "{what}: {status}: {said}");
    let judged = read(&said);
    fs::remove_dir_all(folder).unwrap();
    Some(judged)
}

/// The summary: a line for each scenario, `✓ NAME: 1 passed, 0 failed`.
fn read(said: &str) -> Judged {
    let (mut passed, mut failed) = (Vec::new(), Vec::new());
    for line in said.lines() {
        let Some((mark, rest)) = line.trim().split_once(' ') else { continue };
        let Some((name, counts)) = rest.split_once(": ").filter(|(_, counts)| counts.ends_with(" failed"))
        else {
            continue;
        };
        match mark {
            // what only warned has passed nothing
            "✓" if !counts.starts_with("0 ") => passed.push(name.to_owned()),
            _ => failed.push(format!("{name}: {counts}")),
        }
    }
    Judged { passed, failed }
}

/// Fails the test unless every line that names a scenario says why that fails.
pub(crate) fn every_failure_has_a_reason(expected: &str) {
    let named: Vec<&str> = expected.lines().filter(|line| line.trim_start().starts_with("- ")).collect();
    assert!(!named.is_empty());
    for line in named {
        let reason = line.split_once(" # ").map(|(_, reason)| reason.trim());
        assert!(reason.is_some_and(|reason| reason.len() > 20), "{line}");
    }
}
