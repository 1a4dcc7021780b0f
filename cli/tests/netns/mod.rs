//! Hosts of their own on one machine: a network namespace, a host name, a data directory and cables between them.
//!
//! What happens on a host happens by the program itself, its arguments and the `HOME` of the host; nothing else is set. Questions go
//! through the control socket as the program's own commands send them, because a process for each would cost more than its answer.
//!
//! Invariants: whatever a [`Network`] made (processes, namespaces, folders) is gone when it is dropped, also by a panic, except
//! when the test's own process is killed; names carry its process id, so two test runs do not meet.
#![allow(dead_code, reason = "every test file uses another part of it")]

use std::{
    fs,
    io::{Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio, id},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

/// How often a process is asked again.
const LOOK: Duration = Duration::from_millis(25);
/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(60);

static MADE: AtomicU32 = AtomicU32::new(0);

/// Looks until there is something to see. Fails the test when `bound` has passed.
pub(crate) fn until<T>(what: &str, bound: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begun.elapsed() < bound, "not within {} s: {what}", bound.as_secs());
        thread::park_timeout(LOOK);
    }
}

/// Namespaces, cables and folders of one test.
pub(crate) struct Network {
    ip: PathBuf,
    name: String,
    folder: TempDir,
    namespaces: Vec<String>,
    cables: u8,
}

impl Network {
    /// With `ip` of iproute2.
    pub(crate) fn new(ip: PathBuf) -> Self {
        let name = format!("wfe-{}-{}", id(), MADE.fetch_add(1, Ordering::Relaxed));
        let mut network =
            Self { ip, name, folder: TempDir::new().unwrap(), namespaces: Vec::new(), cables: 0 };
        network.add_namespace("hub");
        network
    }

    fn add_namespace(&mut self, name: &str) -> String {
        let namespace = format!("{}-{name}", self.name);
        self.ip(&["netns", "add", &namespace]);
        self.namespaces.push(namespace.clone());
        self.ip(&["-n", &namespace, "link", "set", "lo", "up"]);
        namespace
    }

    /// A host without any cable.
    pub(crate) fn host(&mut self, name: &str) -> Host {
        let namespace = self.add_namespace(name);
        let home = self.folder.path().join(name);
        fs::create_dir(&home).unwrap();
        Host { ip: self.ip.clone(), name: name.to_owned(), namespace, home }
    }

    /// Joins hosts to one segment, as if by a switch: each gets an address that only the others on it reach. Nothing forwards
    /// between segments.
    pub(crate) fn connect(&mut self, hosts: &[&Host]) -> Segment {
        self.cables += 1;
        let (number, hub) = (self.cables, format!("{}-hub", self.name));
        let bridge = format!("br{number}");
        self.ip(&["-n", &hub, "link", "add", &bridge, "type", "bridge"]);
        self.ip(&["-n", &hub, "link", "set", &bridge, "up"]);
        for (place, host) in (1u8..).zip(hosts) {
            let (device, port) = (format!("eth{number}"), format!("{}{number}", host.name));
            self.ip(&[
                "-n",
                &host.namespace,
                "link",
                "add",
                &device,
                "type",
                "veth",
                "peer",
                "name",
                &port,
                "netns",
                &hub,
            ]);
            self.ip(&["-n", &hub, "link", "set", &port, "master", &bridge, "up"]);
            let address = format!("10.77.{number}.{place}/24");
            self.ip(&["-n", &host.namespace, "address", "add", &address, "dev", &device]);
            self.ip(&["-n", &host.namespace, "link", "set", &device, "up"]);
        }
        Segment { ip: self.ip.clone(), hub, number }
    }

    /// A file for the hosts to submit.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn ip(&self, arguments: &[&str]) {
        run_ip(&self.ip, arguments);
    }
}

fn run_ip(ip: &Path, arguments: &[&str]) {
    let done = Command::new(ip).args(arguments).output().unwrap();
    assert!(done.status.success(), "ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&done.stderr));
}

/// The processes in a namespace.
fn processes(ip: &Path, namespace: &str) -> Vec<Pid> {
    let listed = Command::new(ip).args(["netns", "pids", namespace]).output();
    let text = listed.map(|listed| String::from_utf8_lossy(&listed.stdout).into_owned()).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            for pid in processes(&self.ip, namespace) {
                let _ = kill_process(pid, Signal::KILL);
            }
            let _ = Command::new(&self.ip).args(["netns", "del", namespace]).status();
        }
    }
}

/// Hosts that reach each other.
pub(crate) struct Segment {
    ip: PathBuf,
    hub: String,
    number: u8,
}

impl Segment {
    /// Pulls a host's cable out.
    pub(crate) fn cut(&self, host: &Host) {
        self.set(host, "down");
    }
    /// Puts it back.
    pub(crate) fn mend(&self, host: &Host) {
        self.set(host, "up");
    }
    fn set(&self, host: &Host, state: &str) {
        run_ip(&self.ip, &["-n", &self.hub, "link", "set", &format!("{}{}", host.name, self.number), state]);
    }
}

/// A host: everything about it is in its home and its namespace.
pub(crate) struct Host {
    ip: PathBuf,
    pub(crate) name: String,
    namespace: String,
    home: PathBuf,
}

impl Host {
    /// The program with these arguments on this host.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.ip);
        // a host name of its own, and the program itself as the child that is started here
        let script = "hostname \"$1\" && shift && exec \"$@\"";
        command
            .args([
                "netns",
                "exec",
                &self.namespace,
                "unshare",
                "--uts",
                "sh",
                "-c",
                script,
                "sh",
                &self.name,
            ])
            .arg(env!("CARGO_BIN_EXE_wfengine"))
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.home)
            .env("XDG_DATA_HOME", self.home.join("share"))
            .current_dir(&self.home)
            .stdin(Stdio::null());
        command
    }

    /// Its home.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// A shell on this host that has its home and nothing else of the caller's environment.
    pub(crate) fn shell(&self) -> Command {
        let mut command = Command::new(&self.ip);
        let script = "hostname \"$1\" && exec bash";
        command.args([
            "netns",
            "exec",
            &self.namespace,
            "unshare",
            "--uts",
            "sh",
            "-c",
            script,
            "sh",
            &self.name,
        ]);
        command.env_clear().env("HOME", &self.home).env("TERM", "dumb").current_dir(&self.home);
        command
    }

    /// Brings the calling thread into the namespace: what it opens then, it opens there.
    pub(crate) fn enter(&self) {
        let namespace = fs::File::open(format!("/var/run/netns/{}", self.namespace)).unwrap();
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }

    /// Runs a command to its end, whatever it is.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command that has to succeed; what it printed.
    pub(crate) fn says(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments);
        let errors = String::from_utf8_lossy(&done.stderr);
        assert!(
            done.status.success(),
            "{}: wfengine {}: {}\n{errors}",
            self.name,
            arguments.join(" "),
            done.status
        );
        String::from_utf8(done.stdout).unwrap()
    }

    /// The same with `--json`.
    pub(crate) fn json(&self, arguments: &[&str]) -> Json {
        let text = self.says(&[&["--json"], arguments].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}: {text}", arguments.join(" ")))
    }

    /// Starts a command that goes on until it is stopped, and waits until it answers.
    pub(crate) fn start(&self, arguments: &[&str]) -> Process {
        let mut process = self.spawn(arguments);
        until(&format!("{} answers", self.name), ANSWER_MAX, || {
            assert!(
                process.ended().is_none(),
                "{}: wfengine {} ended: {}",
                self.name,
                arguments.join(" "),
                process.said()
            );
            self.try_ask(&json!("status")).ok()
        });
        process
    }

    /// Starts a command.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Process {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let said = self.home.join(format!("said-{number}"));
        let file = fs::File::create(&said).unwrap();
        let mut command = self.command(arguments);
        command.stdout(file.try_clone().unwrap()).stderr(file);
        Process { child: command.spawn().unwrap(), said }
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.home.join("share/wfengine")
    }

    /// The clusters whose log is kept here.
    pub(crate) fn clusters(&self) -> usize {
        fs::read_dir(self.data().join("clusters")).map_or(0, Iterator::count)
    }

    /// How many processes there are on this host.
    pub(crate) fn processes(&self) -> usize {
        processes(&self.ip, &self.namespace).len()
    }

    /// Asks the node of this host.
    pub(crate) fn ask(&self, request: &Json) -> Json {
        self.try_ask(request).unwrap_or_else(|error| panic!("{}: {request}: {error}", self.name))
    }

    /// Asks the node of this host; the text of the failure if it does not answer or refuses.
    pub(crate) fn try_ask(&self, request: &Json) -> Result<Json, String> {
        let broken = |error: std::io::Error| error.to_string();
        let mut stream = UnixStream::connect(self.data().join("control.sock")).map_err(broken)?;
        stream.set_read_timeout(Some(ANSWER_MAX)).map_err(broken)?;
        let bytes = serde_json::to_vec(request).unwrap();
        stream.write_all(&(bytes.len() as u32).to_le_bytes()).map_err(broken)?;
        stream.write_all(&bytes).map_err(broken)?;
        loop {
            let mut len = [0; 4];
            stream.read_exact(&mut len).map_err(broken)?;
            let mut reply = vec![0; u32::from_le_bytes(len) as usize];
            stream.read_exact(&mut reply).map_err(broken)?;
            let reply: Json = serde_json::from_slice(&reply).unwrap();
            if let Some(answer) = reply.get("done") {
                return Ok(answer.clone());
            }
            if let Some(failure) = reply.get("failed") {
                return Err(failure["message"].as_str().unwrap_or_default().to_owned());
            }
        }
    }

    /// The peers this node is connected with, by name.
    pub(crate) fn connected(&self) -> Vec<String> {
        let peers = self.ask(&json!("peers"));
        let all = peers["peers"].as_array().unwrap().iter();
        let connected = all.filter(|peer| !peer["connected"].is_null());
        connected.map(|peer| peer["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Whether it is connected with exactly these.
    pub(crate) fn is_connected(&self, others: &[&Host]) -> bool {
        let connected = self.connected();
        connected.len() == others.len() && others.iter().all(|other| connected.contains(&other.name))
    }

    /// Its clock's root and the digest of its views.
    pub(crate) fn state(&self) -> (Json, Json) {
        let digest = self.ask(&json!("digest"));
        (digest["clock_hash"].clone(), digest["view_digest"].clone())
    }

    /// A run as it is known here.
    pub(crate) fn show(&self, run: &str) -> Json {
        self.ask(&json!({ "show": { "id": run } }))
    }
}

/// A command that goes on. Killed when dropped.
pub(crate) struct Process {
    child: Child,
    said: PathBuf,
}

impl Process {
    /// What it printed so far, on both streams.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self, bound: Duration) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(
                begun.elapsed() < bound,
                "it did not end within {} s; it said:\n{}",
                bound.as_secs(),
                self.said()
            );
            thread::park_timeout(LOOK);
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
