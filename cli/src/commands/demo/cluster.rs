//! The demo's nodes: real processes of this executable, each with a data directory of its own under one temporary directory.
//!
//! Whatever ends the demo, what it started ends with it: [`Cluster::stop`] stops the nodes as an operator would, and dropping
//! kills what is left. A killed node leaves its steps running, as any killed process leaves its children; they are ended by the
//! mark that every step carries in its environment.
//!
//! Invariant: nothing outside of the temporary directory is written, and no process is signalled but those started here.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde::de::DeserializeOwned;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use wfengine_api::answers::{InviteView, PeersView, StatusView};
use wfengine_api::{Exit, Failure, Request};
use wfengine_storage_format::PeerId;

use crate::control::Client;

/// What the nodes are called, in the order in which they come.
const NAMES: [&str; 8] = ["ash", "birch", "cedar", "elm", "fir", "hazel", "larch", "oak"];
/// Jobs each node runs at once: so many that none is ever full.
const SLOTS: &str = "16";
/// How long a node has to do what it is waited for.
const NODE_WAIT: Duration = Duration::from_secs(20);
/// How long a node has to stop by itself.
const STOP_WAIT: Duration = Duration::from_secs(5);
/// How often a node is asked whether something has come about that it does not announce.
const LOOK: Duration = Duration::from_millis(50);
/// Longest path of a unix socket.
const SOCKET_PATH_BYTES_MAX: usize = 100;
/// Variables of the caller that would lead a node elsewhere.
const NOT_INHERITED: [&str; 6] = [
    "WFENGINE_DATA_DIR",
    "WFENGINE_CONFIG",
    "WFENGINE_NODE",
    "P2P_DATA_DIR",
    "P2P_PEER_ID",
    "P2P_BOOTSTRAP_PEERS",
];

/// Asks until there is an answer, up to a deadline.
pub(super) async fn eventually<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    let looking = async {
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let late = || Failure::new(Exit::Failure, format!("waited {} s in vain until {what}", within.as_secs()));
    tokio::time::timeout(within, looking).await.unwrap_or_else(|_| Err(late()))
}

/// One node.
pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) dir: PathBuf,
    pub(super) peer: Option<PeerId>,
    client: Option<Client>,
    process: Option<Child>,
}

impl Member {
    fn new(root: &Path, name: &'static str) -> Self {
        Self { name, dir: root.join(name), peer: None, client: None, process: None }
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("control.sock")
    }

    /// Whether its process was started and not killed.
    pub(super) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().and_then(Child::id)
    }

    /// Asks through its control socket, as every command does.
    pub(super) async fn ask<T: DeserializeOwned>(&self, request: Request) -> Result<T, Failure> {
        let away = || Failure::unreachable(format!("{} is not running", self.name));
        let answer = self.client.as_ref().ok_or_else(away)?.ask(&request, |_| ()).await?;
        serde_json::from_value(answer).map_err(|error| {
            Failure::new(Exit::Failure, format!("{} answered something else: {error}", self.name))
        })
    }

    /// Ends the steps that its killed process left.
    fn end_steps(&self) {
        let Some(peer) = &self.peer else { return };
        let prefix = crate::node::tracking_prefix(peer);
        if let Err(error) = wfengine_executor::clear_leftovers(&self.dir.join("work"), &prefix) {
            tracing::warn!(%error, node = self.name, "what its steps left was not removed");
        }
    }

    /// The end of what it said.
    fn last_words(&self) -> String {
        let said = std::fs::read_to_string(self.dir.with_extension("log")).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        lines.get(lines.len().saturating_sub(5)..).unwrap_or_default().join("\n")
    }
}

/// All of them.
pub(super) struct Cluster {
    pub(super) root: PathBuf,
    pub(super) members: Vec<Member>,
    program: PathBuf,
    keep: bool,
    stopped: bool,
}

impl Cluster {
    /// Makes the directory; no process yet.
    pub(super) fn create(len: usize, keep: bool) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(|error| {
            Failure::new(Exit::Failure, format!("this program does not know where it is: {error}"))
        })?;
        let name = format!("wfengine-demo-{:08x}", u32::from_le_bytes(crate::home::random()?));
        let mut root = std::env::temp_dir().join(&name);
        if root.join("birch/control.sock").as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            root = Path::new("/tmp").join(&name);
        }
        let made = std::fs::DirBuilder::new().mode(0o700).create(&root);
        made.map_err(|error| Failure::io("create", &root, &error))?;
        let members = NAMES.iter().take(len).map(|name| Member::new(&root, name)).collect();
        Ok(Self { root, members, program, keep, stopped: false })
    }

    /// A member by its name.
    pub(super) fn named(&self, name: &str) -> Option<usize> {
        self.members.iter().position(|member| member.name == name)
    }

    pub(super) fn up(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.is_up())
    }

    /// Somebody who can be asked.
    pub(super) fn observer(&self) -> Result<&Member, Failure> {
        self.up().next().ok_or_else(|| Failure::unreachable("no node of the demo is running"))
    }

    fn command(&self, dir: &Path) -> Command {
        let mut command = Command::new(&self.program);
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        // nor is what this host's own node is told, such as whom to notify
        for key in crate::config::keys::KEYS {
            command.env_remove(key.variable());
        }
        // ctrl-c at the terminal is for the demo alone: it ends its nodes itself
        command
            .arg("--json")
            .arg("--data-dir")
            .arg(dir)
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    /// Runs a command of this executable on a node's data directory to its end: its status and what it printed.
    pub(super) fn ended(
        &self,
        dir: &Path,
        args: &[&str],
    ) -> impl Future<Output = Result<(ExitStatus, Vec<u8>, String), Failure>> + Send + 'static {
        let mut command = self.command(dir);
        let output = command.args(args).output();
        let what = args.join(" ");
        async move {
            let output = tokio::time::timeout(NODE_WAIT, output).await;
            let late = || {
                Failure::new(
                    Exit::Failure,
                    format!("`wfengine {what}` did not end in {} s", NODE_WAIT.as_secs()),
                )
            };
            let output = output.map_err(|_| late())?;
            let output = output.map_err(|error| {
                Failure::new(Exit::Failure, format!("`wfengine {what}` did not start: {error}"))
            })?;
            Ok((output.status, output.stdout, String::from_utf8_lossy(&output.stderr).trim().to_owned()))
        }
    }

    /// Names the first node and founds its cluster of one.
    pub(super) async fn found(&mut self) -> Result<(), Failure> {
        let Some(first) = self.members.first() else { return Ok(()) };
        let (status, _, said) = self.ended(&first.dir, &["init", "--name", first.name]).await?;
        if !status.success() {
            return Err(Failure::new(Exit::Failure, format!("founding a cluster failed: {said}")));
        }
        self.serve(0)?;
        self.answers(0).await
    }

    /// Lets all others join with an invite each, and serve.
    pub(super) async fn join_others(&mut self) -> Result<(), Failure> {
        let mut joining = JoinSet::new();
        let founder = self.observer()?;
        for member in self.members.iter().skip(1) {
            let roles = vec!["executor".to_owned(), "submitter".to_owned()];
            let request =
                Request::Invite { expires_ms: 600_000, roles, labels: Vec::new(), allow_jobs: true };
            let invite: InviteView = founder.ask(request).await?;
            // the line people would copy; the node is started apart, with more slots than it would get by itself
            let words: Vec<&str> =
                invite.join_line.split_whitespace().skip(1).filter(|word| *word != "--serve").collect();
            let more = ["--name", member.name, "--listen", "127.0.0.1:0"];
            let ended = self.ended(&member.dir, &[&words[..], &more[..]].concat());
            let name = member.name;
            joining.spawn(async move {
                let (status, _, said) = ended.await?;
                let failed = || Failure::new(Exit::Failure, format!("{name} did not join: {said}"));
                if status.success() { Ok(()) } else { Err(failed()) }
            });
        }
        while let Some(joined) = joining.join_next().await {
            joined
                .map_err(|error| Failure::new(Exit::Failure, format!("BUG: joining broke off: {error}")))??;
        }
        for place in 1..self.members.len() {
            self.serve(place)?;
        }
        for place in 1..self.members.len() {
            self.answers(place).await?;
        }
        Ok(())
    }

    /// Starts a node's process.
    pub(super) fn serve(&mut self, place: usize) -> Result<(), Failure> {
        let Some(member) = self.members.get(place) else { return Ok(()) };
        let log = member.dir.with_extension("log");
        let opened = std::fs::OpenOptions::new().create(true).append(true).open(&log);
        let file = opened.map_err(|error| Failure::io("write", &log, &error))?;
        let errors = file.try_clone().map_err(|error| Failure::io("write", &log, &error))?;
        let mut command = self.command(&member.dir);
        command.args(["serve", "--listen", "127.0.0.1:0", "--slots", SLOTS, "--grace", "0s"]);
        let spawned = command.stdout(file).stderr(errors).spawn();
        let process = spawned
            .map_err(|error| Failure::new(Exit::Failure, format!("starting {}: {error}", member.name)))?;
        if let Some(member) = self.members.get_mut(place) {
            member.process = Some(process);
        }
        Ok(())
    }

    /// Waits until a started node answers.
    pub(super) async fn answers(&mut self, place: usize) -> Result<(), Failure> {
        let Some(member) = self.members.get_mut(place) else { return Ok(()) };
        let what = format!("{} answers", member.name);
        let status: StatusView = eventually(&what, NODE_WAIT, async || {
            if let Some(process) = &mut member.process
                && let Ok(Some(status)) = process.try_wait()
            {
                let words = member.last_words();
                return Err(Failure::new(
                    Exit::Failure,
                    format!("{} ended at once ({status}): {words}", member.name),
                ));
            }
            member.client = Client::connect(&member.socket()).await;
            Ok(member.ask(Request::Status).await.ok())
        })
        .await?;
        member.peer = status.peer_id.parse().ok();
        Ok(())
    }

    /// Waits until every node is connected with every other and takes it for alive.
    pub(super) async fn meet(&self) -> Result<(), Failure> {
        let all = self.up().count();
        for member in self.up() {
            let what = format!("{} is connected with all others", member.name);
            eventually(&what, NODE_WAIT, async || {
                let view: PeersView = member.ask(Request::Peers).await?;
                let met = view.peers.iter().filter(|peer| peer.me || peer.connected.is_some()).count();
                let alive = view.peers.iter().filter(|peer| peer.alive == Some(true)).count();
                Ok((met == all && alive == all).then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    /// Ends a node without warning, and its steps with it, as if its host had lost power.
    pub(super) async fn kill(&mut self, place: usize) -> Result<(), Failure> {
        let Some(member) = self.members.get_mut(place) else { return Ok(()) };
        let Some(mut process) = member.process.take() else { return Ok(()) };
        let killed = process.kill().await;
        member.client = None;
        member.end_steps();
        killed.map_err(|error| {
            Failure::new(Exit::Failure, format!("{} could not be killed: {error}", member.name))
        })
    }

    /// Stops every node and removes the directory. Says what is left all the same.
    pub(super) async fn stop(mut self) -> Vec<String> {
        let mut left = Vec::new();
        for member in &self.members {
            if let Some(pid) = member.pid().and_then(pid_of) {
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        for member in &mut self.members {
            if let Some(mut process) = member.process.take()
                && tokio::time::timeout(STOP_WAIT, process.wait()).await.is_err()
            {
                left.push(format!(
                    "{} did not stop within {} s and was killed",
                    member.name,
                    STOP_WAIT.as_secs()
                ));
                let _ = process.kill().await;
            }
        }
        self.members.iter().for_each(Member::end_steps);
        left.extend(processes_that_name(&self.root).into_iter().map(|pid| format!("process {pid}")));
        let sockets = self.members.iter().map(Member::socket).filter(|socket| socket.exists());
        left.extend(sockets.map(|socket| format!("socket {}", socket.display())));
        self.clear();
        if !self.keep && self.root.exists() {
            left.push(format!("directory {}", self.root.display()));
        }
        left
    }

    fn clear(&mut self) {
        const TRIES: usize = 5;
        self.stopped = true;
        if self.keep {
            return;
        }
        // a process that is just dying may add a last file
        for _ in 0..TRIES {
            if std::fs::remove_dir_all(&self.root).is_ok() || !self.root.exists() {
                return;
            }
        }
        tracing::warn!(root = %self.root.display(), "the demo's directory was not removed");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.stopped {
            return;
        }
        for member in &mut self.members {
            let Some(mut process) = member.process.take() else { continue };
            let pid = process.id().and_then(pid_of);
            let _ = process.start_kill();
            if let Some(pid) = pid {
                // its files are removed next
                let _ = waitpid(Some(pid), WaitOptions::empty());
            }
        }
        for member in &self.members {
            member.end_steps();
            let _ = std::fs::remove_file(member.socket());
        }
        self.clear();
    }
}

fn pid_of(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

/// Processes whose arguments or environment name the demo's directory: its nodes, their steps, what those started.
fn processes_that_name(root: &Path) -> Vec<u32> {
    use std::os::unix::ffi::OsStrExt;
    let wanted = root.as_os_str().as_bytes();
    let names = |pid: &u32| {
        ["cmdline", "environ"].iter().any(|file| {
            let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            bytes.windows(wanted.len()).any(|window| window == wanted)
        })
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(names).collect()
}
