//! A GitHub that containers reach, an engine that is watched, and a house whose node starts runners there.

#[path = "lab/elsewhere.rs"]
mod elsewhere;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::Value as Json;
use tokio::runtime::Runtime;
use wfengine_docker::{ContainerState, Endpoint, Engine};
use wfengine_tests::runner_image::{RunnerImage, SERVICE_HOST};
use wfengine_tests::standin::{Options, RepositoryOptions, RunnerPatience, Standin, StandinClock, TokenKind};

use self::elsewhere::Elsewhere;
use crate::house::{House, Live, text, until};
use crate::requirements::{Requirement, require};

/// Labels that every job of these tests asks for.
pub const LABELS: [&str; 2] = ["self-hosted", "linux"];

/// What the engine told of the containers of one pool.
#[derive(Default, Debug)]
pub struct Watched {
    running: BTreeSet<String>,
    /// The most that ran at one moment.
    pub most: usize,
    /// Containers of runners that were ever started.
    pub started: usize,
}

/// A service, an engine and a name that no other test uses.
pub struct Lab {
    pub standin: Standin,
    pub token: String,
    pub engine: Engine,
    pub image: RunnerImage,
    pub pool: String,
    /// The label by which its containers, networks and volumes are known.
    label: (&'static str, String),
    _elsewhere: Option<Elsewhere>,
    pub watched: Arc<Mutex<Watched>>,
    pub runtime: Runtime,
}

fn free_name() -> String {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).unwrap();
    format!("t{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

impl Lab {
    /// A service with these private repositories of the user `octo`. `None` where there is no engine.
    pub fn new(repositories: &[&str], left_unshown: &str) -> Option<Self> {
        let socket = require(Requirement::Docker, left_unshown)?;
        let pool = free_name();
        let label = ("dev.wfengine.pool", pool.clone());
        Some(Self::at(&socket, repositories, pool, label, None))
    }

    /// As [`Lab::new`], for the pool of a house's node that has no name and none of the settings of [`Lab::start_arguments`]: its runners
    /// find the service somewhere else than on their host.
    pub fn plain(house: &House, repositories: &[&str], left_unshown: &str) -> Option<Self> {
        let socket = require(Requirement::Docker, left_unshown)?;
        let ip = require(Requirement::Namespaces, left_unshown)?;
        let peer = text(&house.one(&["peer", "id"]), "peer_id").to_owned();
        let label = ("dev.wfengine.peer", peer);
        Some(Self::at(&socket, repositories, "default".to_owned(), label, Some(Elsewhere::new(ip))))
    }

    fn at(
        socket: &Path,
        repositories: &[&str],
        pool: String,
        label: (&'static str, String),
        elsewhere: Option<Elsewhere>,
    ) -> Self {
        let runtime = Runtime::new().unwrap();
        let engine = Engine::new(Endpoint::parse(&socket.display().to_string()).unwrap());
        let image = runtime.block_on(RunnerImage::build(&engine)).unwrap();
        let runner_host =
            elsewhere.as_ref().map_or_else(|| SERVICE_HOST.to_owned(), |there| there.address.clone());
        let options = Options {
            clock: StandinClock::real(),
            listens_everywhere: true,
            runner_host: Some(runner_host),
            ..Options::default()
        };
        let standin = runtime.block_on(Standin::start(options)).unwrap();
        standin.set_runner_patience(RunnerPatience { offline_seconds: 2, lost_seconds: 6 });
        standin.add_user("octo");
        for repository in repositories {
            let options = RepositoryOptions { is_private: true, ..RepositoryOptions::default() };
            standin.add_repository(repository, &options);
            standin.push(repository, "main", &[("README", Some(b"text".as_slice()))], "first");
        }
        let token = standin.token(&TokenKind::classic("octo"));
        let watched = Arc::new(Mutex::new(Watched::default()));
        let lab =
            Self { standin, token, engine, image, pool, label, _elsewhere: elsewhere, watched, runtime };
        lab.watch();
        lab
    }

    fn labels(&self) -> [(&'static str, &str); 1] {
        [(self.label.0, self.label.1.as_str())]
    }

    /// Counts what the engine says of the pool's containers, from now on.
    fn watch(&self) {
        let mut events = self.runtime.block_on(self.engine.events(&self.labels())).unwrap();
        let watched = Arc::clone(&self.watched);
        self.runtime.spawn(async move {
            while let Some(Ok(event)) = events.next().await {
                let mut watched = watched.lock().unwrap();
                match event.action.as_str() {
                    "start" => {
                        watched.running.insert(event.container);
                        watched.started += 1;
                        watched.most = watched.most.max(watched.running.len());
                    }
                    "die" => {
                        watched.running.remove(&event.container);
                    }
                    _ => {}
                }
            }
        });
    }

    /// The port that containers reach the service at.
    fn port(&self) -> String {
        self.standin.runner_url().rsplit(':').next().unwrap().trim_end_matches('/').to_owned()
    }

    /// A command of a house that knows the way here.
    pub fn command(&self, house: &House, arguments: &[&str]) -> Command {
        let mut command = house.command(arguments);
        command.env("GITHUB_TOKEN", &self.token).env("GITHUB_API_URL", self.standin.base_url());
        command.env("DOCKER_HOST", format!("unix://{}", self.engine.endpoint().path().display()));
        command.env("WFENGINE_LOG", "info");
        command
    }

    /// What `runner start` of this pool says.
    pub fn start_arguments<'a>(&'a self, port: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let mut arguments = vec![
            "runner",
            "start",
            "--pool",
            &self.pool,
            "--owner",
            "octo",
            "--image",
            &self.image.reference,
            "--pull",
            "never",
            "--interval",
            "1",
            "--memory",
            "64m",
            "--cpus",
            "0.5",
            "--extra-host",
            &self.image.host_entry,
            "--allow-host-port",
            port,
            "--reserve-memory",
            "0",
        ];
        arguments.extend(more);
        arguments
    }

    /// Turns the pool on in a house, whose node becomes this process.
    pub fn start(&self, house: &House, more: &[&str]) -> Live {
        let port = self.port();
        let arguments =
            self.start_arguments(&port, &[&["--listen", "127.0.0.1:0", "--no-lan"], more].concat());
        let mut live = Live::start(self.command(house, &arguments));
        live.wait_for("serves on UDP");
        live
    }

    /// Turns the pool on in the node that serves in a house.
    pub fn turn_on(&self, house: &House, more: &[&str]) -> crate::house::Said {
        let port = self.port();
        Live::start(self.command(house, &self.start_arguments(&port, more))).end()
    }

    /// Serves in a house that knows the way here.
    pub fn serve(&self, house: &House, more: &[&str]) -> Live {
        let arguments = [&["serve", "--listen", "127.0.0.1:0", "--no-lan"], more].concat();
        let mut live = Live::start(self.command(house, &arguments));
        live.wait_for("serves on UDP");
        live
    }

    /// `runner status` of a house.
    pub fn status(&self, house: &House) -> Json {
        let said = Live::start(self.command(house, &["--json", "runner", "status"])).end().ends(0);
        said.json().remove(0)
    }

    /// Containers of the pool.
    pub fn containers(&self) -> Vec<ContainerState> {
        self.runtime.block_on(self.engine.containers(&self.labels())).unwrap()
    }

    /// What is left of the pool at the engine: containers, networks, volumes.
    pub fn left(&self) -> BTreeMap<&'static str, Vec<String>> {
        let labels = self.labels();
        let names =
            |made: Vec<wfengine_docker::Made>| made.into_iter().map(|made| made.name).collect::<Vec<_>>();
        let mut left = BTreeMap::new();
        left.insert("containers", self.containers().into_iter().map(|state| state.name).collect());
        left.insert("networks", names(self.runtime.block_on(self.engine.networks(&labels)).unwrap()));
        left.insert("volumes", names(self.runtime.block_on(self.engine.volumes(&labels)).unwrap()));
        left.retain(|_, names: &mut Vec<String>| !names.is_empty());
        left
    }

    /// Waits until nothing is left of the pool, at the engine and at GitHub.
    #[track_caller]
    pub fn until_nothing_is_left(&self) {
        let is_empty = || self.left().is_empty() && self.standin.runners().is_empty();
        for _ in 0..600 {
            if is_empty() {
                return;
            }
            self.runtime.block_on(async { tokio::time::sleep(std::time::Duration::from_millis(100)).await });
        }
        panic!("left: {:?}, registered: {:?}", self.left(), self.standin.runners());
    }

    /// Waits until all jobs of the service have ended.
    #[track_caller]
    pub fn until_all_jobs_ended(&self) {
        until("all jobs have ended", || {
            self.standin.jobs().iter().all(|job| job.completed_at.is_some()).then_some(())
        });
    }

    /// Every job was done, by one runner, once.
    #[track_caller]
    pub fn every_job_was_done_once(&self) {
        for job in self.standin.jobs() {
            assert_eq!((job.conclusion.as_deref(), job.handed_out), (Some("success"), 1), "{job:?}");
        }
    }

    /// What must hold whatever happened.
    #[track_caller]
    pub fn is_content(&self) {
        assert_eq!(self.standin.requests_during_limits().len(), 0);
        assert_eq!(self.standin.contract_problems(), [""; 0]);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // a test that failed leaves nothing behind either
        let labels = self.labels();
        self.runtime.block_on(async {
            for container in self.engine.containers(&labels).await.unwrap_or_default() {
                let _ = self.engine.remove_container(&container.id).await;
            }
            for network in self.engine.networks(&labels).await.unwrap_or_default() {
                let _ = self.engine.remove_network(&network.name).await;
            }
            for volume in self.engine.volumes(&labels).await.unwrap_or_default() {
                let _ = self.engine.remove_volume(&volume.name).await;
            }
        });
        remove_chains(&self.port());
        if let ("dev.wfengine.peer", peer) = (self.label.0, self.label.1.as_str()) {
            let _ = self.runtime.block_on(wfengine_autoscaler::firewall::open(peer));
        }
    }
}

/// Removes the firewall's chains of nodes that let their runners reach this port: a node that ended with its pool on left them.
fn remove_chains(port: &str) {
    let iptables = |words: &[&str]| Command::new("iptables").args(["-w", "10"]).args(words).output();
    let Ok(listed) = iptables(&["-S"]) else { return };
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let opens = format!(" --dport {port} ");
    let of_port = listed.lines().filter(|rule| rule.starts_with("-A WFE") && rule.contains(&opens));
    let tags: BTreeSet<&str> =
        of_port.filter_map(|rule| rule.split_whitespace().nth(1)?.strip_suffix("-IN")).collect();
    for tag in tags {
        for (hook, chain) in [("INPUT", format!("{tag}-IN")), ("DOCKER-USER", format!("{tag}-OUT"))] {
            let interface = format!("{}+", tag.to_lowercase());
            let jump = ["-D", hook, "-i", interface.as_str(), "-j", chain.as_str()];
            while iptables(&jump).is_ok_and(|removed| removed.status.success()) {}
            let _ = iptables(&["-F", &chain]);
            let _ = iptables(&["-X", &chain]);
        }
    }
}

/// Every file of a folder, for what must stand in none of them.
pub fn files_with(folder: &Path, secret: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read(&path)
                .is_ok_and(|bytes| bytes.windows(secret.len()).any(|window| window == secret.as_bytes()))
            {
                found.push(path.display().to_string());
            }
        }
    }
    found
}
