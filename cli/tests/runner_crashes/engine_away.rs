//! The engine is stopped and started again under a node with a pool. It is an engine of the test's own, so that nobody else's
//! containers end with it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use wfengine_docker::{Endpoint, Engine};
use wfengine_tests::runner_image::RunnerImage;

use crate::bench::{Bench, REPOSITORY};
use crate::house::until;
use crate::lab::Lab;
use crate::requirements::{Requirement, require};

/// A bridge for the engine: one that is told to have none takes the other engine's away. Gone when dropped.
struct Bridge {
    ip: PathBuf,
    name: String,
}

impl Bridge {
    fn new(ip: PathBuf) -> Self {
        let mut bytes = [0; 3];
        getrandom::fill(&mut bytes).unwrap();
        let name = format!("wft{:02x}{:02x}{:02x}", bytes[0], bytes[1], bytes[2]);
        let bridge = Self { ip, name };
        let address = format!("10.{}.{}.1/28", bytes[0], bytes[1]);
        bridge.ip(&["link", "add", &bridge.name, "type", "bridge"]);
        bridge.ip(&["addr", "add", &address, "dev", &bridge.name]);
        bridge.ip(&["link", "set", &bridge.name, "up"]);
        bridge
    }

    fn ip(&self, words: &[&str]) {
        assert!(Command::new(&self.ip).args(words).status().unwrap().success(), "ip {words:?}");
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = Command::new(&self.ip).args(["link", "del", &self.name]).status();
    }
}

/// Stopped when dropped.
struct Daemon(Child);

impl Daemon {
    fn start(folder: &Path, bridge: &Bridge) -> Self {
        let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let mut command = Command::new("dockerd");
        command
            .args(["--iptables=false", "--bridge", &bridge.name])
            .args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")])
            .args(["--host", &format!("unix://{}", at("s"))])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("log")).unwrap());
        Self(command.spawn().unwrap())
    }

    /// As the system stops it: containers are ended first.
    fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.end();
        }
    }
}

fn until_it_answers(lab: &Lab) {
    until("the engine answers", || lab.runtime.block_on(lab.engine.info()).ok());
}

#[test]
fn an_engine_that_goes_and_comes_back_is_met_again_and_no_job_is_done_twice() {
    let what = "an engine that is stopped and started again under a node";
    let Some(ip) = require(Requirement::Namespaces, what) else { return };
    let Some(mut lab) = Lab::new(&[REPOSITORY], what) else { return };
    let bridge = Bridge::new(ip);
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(folder.path(), &bridge);
    let socket = folder.path().join("s");
    lab.engine = Engine::new(Endpoint::parse(&socket.display().to_string()).unwrap());
    until_it_answers(&lab);
    lab.image = lab.runtime.block_on(RunnerImage::build(&lab.engine)).unwrap();
    let bench = Bench::of(lab);
    let mut node = bench.start(&["--max-runners", "1"]);
    let first = bench.queue("build");
    bench.until_all_is_over();

    // while nothing runs, and then while a job does
    for name in ["build do-slow-1", "build do-slow-20"] {
        let is_running = name.ends_with("20");
        let job = is_running.then(|| bench.queue(name));
        if let Some(job) = job {
            bench.until_job_runs(job);
        }
        daemon.stop();
        let queued = bench.queue("build");
        bench.until_trouble("Docker is not accessible");
        assert!(node.goes_on());
        daemon = Daemon::start(folder.path(), &bridge);
        until_it_answers(&bench.lab);
        bench.until_all_is_over();
        bench.until_status("what failed is healed", |status| {
            !status["troubles"].to_string().contains("Docker is not accessible")
        });
        for job in [first, queued] {
            let job = bench.lab.standin.job(job);
            assert_eq!((job.conclusion.as_deref(), job.handed_out), (Some("success"), 1), "{job:?}");
        }
        if let Some(job) = job {
            // it went with its container
            let job = bench.lab.standin.job(job);
            assert_ne!((job.conclusion.as_deref(), job.handed_out), (Some("success"), 1), "{job:?}");
            assert_eq!(job.handed_out, 1, "{job:?}");
        }
    }
    bench.story(node);
    drop(bench);
    daemon.stop();
}
