//! How long a job that does nothing takes on the host, from asking to its being completed (milliseconds).
//!
//! A serving node of the release build in a scratch directory, alone in its cluster. `wfengine submit FILE --wait` asks it through the
//! control socket and ends when the run has completed; its own start and end are part of the figure. The references are `wfengine
//! status`, the same program with a question that does no work, and the bare shell the job's only step starts.
//!
//! `cargo build --release -p wfengine && cargo bench -p wfengine-benches --bench noop_job`; another binary is named by `WFENGINE_BIN`.

#![expect(clippy::expect_used, reason = "a bench stops when what it measures is wrong")]
#![expect(clippy::print_stdout, reason = "a bench reports on stdout")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use wfengine_benches::measure::{head, line, median, milliseconds, percentile, timed};

const ROUNDS: usize = 30;
const WORKFLOW: &str = "\
name: nothing
on: workflow_dispatch
jobs:
  nothing:
    runs-on: ubuntu-latest
    steps:
      - run: ':'
";

/// A serving node, ended when dropped.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn binary() -> Option<PathBuf> {
    let named = std::env::var_os("WFENGINE_BIN").map(PathBuf::from);
    let beside = || {
        let own = std::env::current_exe().ok()?;
        Some(own.parent()?.parent()?.join("wfengine"))
    };
    named.or_else(beside).filter(|path| path.exists())
}

fn wfengine(binary: &Path, data: &Path) -> Command {
    let mut command = Command::new(binary);
    command.arg("--data-dir").arg(data).stdin(Stdio::null());
    command
}

fn seconds_of(command: &mut Command) -> f64 {
    let (seconds, output) = timed(|| command.output().expect("the program starts"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "it failed: {said}");
    seconds
}

fn main() {
    let Some(binary) = binary() else {
        println!(
            "not run: build the program first, `cargo build --release -p wfengine`, or name it by WFENGINE_BIN"
        );
        return;
    };
    let dir = tempfile::tempdir().expect("a scratch directory");
    let (data, file) = (dir.path().join("data"), dir.path().join("nothing.yml"));
    std::fs::write(&file, WORKFLOW).expect("the directory is writable");
    let mut node = wfengine(&binary, &data);
    node.args(["serve", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut serving = Serving(node.spawn().expect("the program starts"));
    let said = BufReader::new(serving.0.stdout.take().expect("it is piped"));
    // the first line comes when the node answers
    said.lines().next().expect("the node says where it listens").expect("it is text");
    let (mut ours, mut asking, mut shell) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let job = seconds_of(wfengine(&binary, &data).args(["submit", "--wait"]).arg(&file));
        let status = seconds_of(wfengine(&binary, &data).arg("status"));
        let step = seconds_of(Command::new("bash").args(["-e", "-c", ":"]));
        if round > 0 {
            ours.push(job);
            asking.push(status);
            shell.push(step);
        }
    }
    drop(serving);
    head("a job that does nothing, from asking to completed; reference: asking for the status");
    let (p50, status) = (median(&ours), median(&asking));
    line("p50, client process included", &milliseconds(p50), &milliseconds(status), Some(p50 / status), "");
    line("p50 beyond asking", &milliseconds(p50 - status), &milliseconds(median(&shell)), None, "<= 50 ms");
    line("p90, client process included", &milliseconds(percentile(&ours, 0.9)), "", None, "");
}
