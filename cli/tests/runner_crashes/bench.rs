//! A laboratory whose node goes through doors to its engine and to its GitHub, and a house for the node.

use std::cell::OnceCell;
use std::net::{IpAddr, UdpSocket};
use std::process::Command;

use serde_json::Value as Json;
use wfengine_autoscaler::firewall;
use wfengine_tests::runner_image::SERVICE_HOST;
use wfengine_tests::standin::JobId;

use crate::house::{House, Live, Said, text, until};
use crate::lab::{LABELS, Lab};
use crate::proxy::Proxy;

/// The one repository of these tests.
pub const REPOSITORY: &str = "octo/one";

/// The address of this host that it is reached at from outside: containers reach it too, whatever becomes of an engine's own bridge.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // nothing is sent
    socket.connect("203.0.113.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback())
}

pub struct Bench {
    pub lab: Lab,
    pub house: House,
    pub engine_door: Proxy,
    pub github_door: Proxy,
    github: String,
    peer: OnceCell<String>,
}

impl Bench {
    /// `None` where there is no engine.
    pub fn new(left_unshown: &str) -> Option<Self> {
        Lab::new(&[REPOSITORY], left_unshown).map(Self::of)
    }

    /// A laboratory, with doors in front of its engine and its service.
    pub fn of(mut lab: Lab) -> Self {
        if let Some(address) = own_address() {
            lab.image.host_entry = format!("{SERVICE_HOST}:{address}");
        }
        let house = House::new();
        let engine_door = Proxy::unix(&house.path("engine"), lab.engine.endpoint().path());
        let service = lab.standin.base_url();
        let address = service.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
        let (github_door, address) = Proxy::tcp(address);
        Self {
            lab,
            house,
            engine_door,
            github_door,
            github: format!("http://{address}"),
            peer: OnceCell::new(),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.lab.command(&self.house, arguments);
        command.env("GITHUB_API_URL", &self.github);
        command.env("DOCKER_HOST", format!("unix://{}", self.house.path("engine").display()));
        command
    }

    /// Turns the pool on; the node is this process.
    pub fn start(&self, more: &[&str]) -> Live {
        let runner_url = self.lab.standin.runner_url();
        let port = runner_url.rsplit(':').next().unwrap().trim_end_matches('/').to_owned();
        let more = [&["--listen", "127.0.0.1:0", "--no-lan"], more].concat();
        let mut live = Live::start(self.command(&self.lab.start_arguments(&port, &more)));
        live.wait_for("serves on UDP");
        self.peer();
        live
    }

    /// The node again, which goes on with its pool.
    pub fn serve(&self) -> Live {
        let mut live = Live::start(self.command(&["serve", "--listen", "127.0.0.1:0", "--no-lan"]));
        live.wait_for("serves on UDP");
        live
    }

    /// The id of the node.
    pub fn peer(&self) -> &str {
        self.peer.get_or_init(|| text(&self.house.one(&["status"]), "peer_id").to_owned())
    }

    pub fn status(&self) -> Json {
        self.lab.status(&self.house)
    }

    /// Waits until the status shows something; gives it.
    #[track_caller]
    pub fn until_status(&self, what: &str, is_so: impl Fn(&Json) -> bool) -> Json {
        until(what, || Some(self.status()).filter(|status| is_so(status)))
    }

    /// Waits until the status tells of trouble in these words.
    #[track_caller]
    pub fn until_trouble(&self, part: &str) -> Json {
        self.until_status(&format!("trouble: {part}"), |status| {
            let troubles = status["troubles"].as_array().unwrap();
            troubles
                .iter()
                .any(|trouble| text(trouble, "what").contains(part) && !text(trouble, "remedy").is_empty())
        })
    }

    /// Queues a job that asks for these runners.
    pub fn queue(&self, name: &str) -> JobId {
        self.lab.standin.queue_jobs(REPOSITORY, name, &LABELS, 1)[0]
    }

    /// Waits until a job is with a runner.
    #[track_caller]
    pub fn until_job_runs(&self, job: JobId) {
        until("the job runs", || self.lab.standin.job(job).started_at);
    }

    /// Starts a runner that waits for a job; gives its name once its container runs.
    pub fn provision(&self) -> String {
        self.until_status("the first look was made", |status| status["iterations"] != 0);
        let said =
            Live::start(self.command(&["--json", "runner", "provision", "--repo", REPOSITORY])).end().ends(0);
        let name = text(&said.json()[0]["data"], "name").to_owned();
        assert!(!name.is_empty(), "{said:?}");
        name
    }

    /// Waits until a registered runner is as it should be.
    #[track_caller]
    pub fn until_registered(&self, is_online: bool) {
        until("a runner is registered", || {
            let runners = self.lab.standin.runners();
            runners.iter().any(|runner| runner.is_online == is_online).then_some(())
        });
    }

    /// What is left at the engine: `c`, `n` and `v` for containers, networks, volumes.
    pub fn left(&self) -> String {
        self.lab.left().keys().filter_map(|kind| kind.chars().next()).collect()
    }

    /// Waits until nothing is left, and the log says so.
    #[track_caller]
    pub fn until_all_is_over(&self) {
        self.lab.until_all_jobs_ended();
        self.lab.until_nothing_is_left();
        self.until_status("the log says that all of them are gone", |status| {
            status["runners"] == serde_json::json!([])
        });
    }

    /// Containers that were started, by the engine's own words.
    pub fn started(&self) -> usize {
        self.lab.watched.lock().unwrap().started
    }

    /// Ends the node. The log proves itself, and each runner in it has its end; gives what it tells of them.
    #[track_caller]
    pub fn story(&self, node: Live) -> String {
        node.stop().ends(0);
        self.house.ask(&["replay", "--verify"]).ends(0);
        let story = self.house.ask(&["replay"]).ends(0).out;
        let count = |what: &str| story.lines().filter(|line| line.contains(what)).count();
        assert_eq!(count(" intended for "), count(" is removed"), "{story}");
        self.lab.is_content();
        story
    }

    /// `runner logs` of a runner.
    pub fn logs(&self, name: &str) -> Said {
        self.house.ask(&["runner", "logs", name])
    }
}

/// How many runners a story intends.
pub fn intents(story: &str) -> usize {
    story.lines().filter(|line| line.contains(" intended for ")).count()
}

/// The name of the only runner of a story.
pub fn name_in(story: &str) -> String {
    let at = story.find("wfengine-").unwrap();
    story[at..].split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).next().unwrap().to_owned()
}

impl Drop for Bench {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}\njobs: {:?}", self.house.ask(&["replay"]).out, self.lab.standin.jobs());
            for container in self.lab.containers() {
                let printed = self.lab.runtime.block_on(self.lab.engine.logs_tail(&container.id, 4_096));
                let printed = printed.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                eprintln!("{container:?}: {printed:?}");
            }
        }
        // the pool is still on, and so are its rules
        if let Some(peer) = self.peer.get() {
            let _ = self.lab.runtime.block_on(firewall::open(peer));
        }
    }
}
