//! The command lines of the documents that need a GitHub or an engine, with both: a service that stands in for the one, and a real other.
//!
//! A document is read from its first line to its last in one house. Where a line does not end by itself, it is stopped when it has said
//! what it was to say. An image of the world is one that is here (`renaming.rs`).

use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;
use wfengine_tests::standin::{RepositoryOptions, Role, TokenKind};

use crate::documents::words;
use crate::house::{House, Live, is_alive, until};
use crate::lab::{LABELS, Lab};
use crate::lines::{DOCUMENTS, Wanted};
use crate::renaming;
use crate::shapes::{self, Shape};

/// Images that the documents and our own defaults name.
const IMAGES: [&str; 2] = ["ghcr.io/actions/actions-runner:latest", "myoung34/github-runner:latest"];

/// It can be stopped from here on.
const SERVES: &str = "serves on UDP";

/// What a line does where both are there.
#[derive(Clone, Copy)]
enum Then {
    /// It is done, and printed in this shape.
    Done(Shape),
    /// As [`Then::Done`], again until the shape can be held against something: this many rows.
    Rows(Shape, usize),
    /// It goes on until it is stopped, and says these meanwhile, in this order.
    GoesOn(&'static [&'static str]),
    /// As [`Then::GoesOn`], with work of the cluster at hand.
    GoesOnWithWork(&'static [&'static str]),
}

use Then::{Done, GoesOn, GoesOnWithWork, Rows};

const DISCOVERY: &[(&str, Then)] = &[
    ("ipfs-accelerate github p2p-discover monitor", GoesOn(&["Discovery: 1 workflows in 2 repositories"])),
    (
        "ipfs-accelerate github p2p-discover monitor --owner myorg",
        GoesOn(&["Discovery: 1 workflows in 1 repositories"]),
    ),
    (
        "ipfs-accelerate github p2p-discover monitor --owner myorg --interval 180",
        GoesOn(&["Discovery: 1 workflows in 1 repositories"]),
    ),
    ("ipfs-accelerate github p2p-discover once --owner myorg", Done(shapes::discovered)),
    (
        "ipfs-accelerate github p2p-discover once --owner myorg --output-json",
        Done(shapes::discovered_document),
    ),
    (
        "ipfs-accelerate github autoscaler",
        GoesOnWithWork(&["pool default is on", "P2P workflows: ", "Allocating "]),
    ),
    ("ipfs-accelerate github autoscaler --no-p2p", GoesOn(&["pool default is on", SERVES])),
    ("ipfs-accelerate github p2p-discover once --owner myorg", Done(shapes::discovered)),
    ("ipfs-accelerate p2p-workflow status", Done(shapes::scheduler_status)),
    (
        "ipfs-accelerate github autoscaler --owner myorg 2>&1 | tee autoscaler.log",
        GoesOnWithWork(&["pool default is on", "P2P workflows: ", "Allocating ", "P2P Summary: "]),
    ),
];

const RUNNERS: &[(&str, Then)] = &[
    (
        "ipfs-accelerate runner start",
        GoesOn(&["pool default is on: looks every 120 s", "at most   10 runners", SERVES]),
    ),
    (
        "ipfs-accelerate runner start --owner myorg",
        GoesOn(&["pool default is on", "jobs of   myorg", SERVES]),
    ),
    (
        "ipfs-accelerate runner start --owner myorg --interval 60 --max-runners 8 --image myoung34/github-runner:latest",
        GoesOn(&[
            "looks every 60 s",
            "at most   8 runners",
            "image     myoung34/github-runner:latest",
            SERVES,
        ]),
    ),
    ("ipfs-accelerate runner start --owner myorg --background", Done(shapes::started_behind)),
    ("ipfs-accelerate runner status", Done(shapes::runner_status_on)),
    ("ipfs-accelerate runner list-workflows", Rows(shapes::queues_listed, 1)),
    ("ipfs-accelerate runner list-containers", Rows(shapes::containers_listed, 1)),
    ("ipfs-accelerate runner provision --repo owner/repo", Done(shapes::provisioned)),
    ("ipfs-accelerate runner provision", Done(shapes::provisioned)),
    ("ipfs-accelerate runner stop-container --container abc123def456", Done(shapes::container_stopped)),
    ("ipfs-accelerate runner stop", Done(shapes::pool_stopped)),
    ("ipfs-accelerate runner start --verbose", Done(shapes::started_with_settings)),
    ("ipfs-accelerate runner start --owner myorg", Done(shapes::started)),
    ("ipfs-accelerate runner start --background", Done(shapes::started)),
    ("ipfs-accelerate runner status", Done(shapes::runner_status_on)),
    ("ipfs-accelerate runner list-workflows", Rows(shapes::queues_listed, 2)),
    ("ipfs-accelerate runner stop", Done(shapes::pool_stopped)),
    (
        "ipfs-accelerate runner start --owner myorg --interval 60 --max-runners 20 --background",
        Done(shapes::started),
    ),
];

/// A house, a GitHub with an organisation and a user, and an engine.
pub struct Stage {
    pub house: House,
    pub lab: Lab,
}

impl Stage {
    pub fn new(left_unshown: &str) -> Option<Self> {
        let house = House::new();
        let mut lab = Lab::plain(&house, &[], left_unshown)?;
        lab.standin.add_user("owner");
        lab.standin.add_organization("myorg");
        lab.standin.add_member("myorg", "owner", Role::Admin);
        for repository in ["myorg/one", "owner/repo"] {
            lab.standin.add_repository(repository, &RepositoryOptions::private());
            lab.standin.push(repository, "main", &[("README", Some(b"text".as_slice()))], "first");
        }
        let scopes = ["repo", "workflow", "admin:org"].map(str::to_owned).to_vec();
        lab.token = lab.standin.token(&TokenKind::Classic { user: "owner".to_owned(), scopes });
        let names = IMAGES.map(|name| (name.to_owned(), lab.image.reference.clone())).to_vec();
        renaming::open(&house.path("engine.sock"), lab.engine.endpoint().path().to_owned(), names);
        Some(Self { house, lab })
    }

    pub fn command(&self, name: &str, words: &[String]) -> Command {
        let mut command = crate::command(&self.house, name, words);
        command
            .env("GITHUB_TOKEN", &self.lab.token)
            .env("GITHUB_API_URL", self.lab.standin.base_url())
            .env("DOCKER_HOST", format!("unix://{}", self.house.path("engine.sock").display()))
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    /// A workflow of the cluster whose job goes on until the file `go` is on the desk.
    pub fn work(&self) {
        let _ = std::fs::remove_file(self.house.desk().join("go"));
        let go = self.house.desk().join("go").display().to_string();
        let number = self.lab.standin.requests().len();
        let text = format!(
            "name: Work {number}\n# P2P: p2p-only\non: push\njobs:\n  work:\n    runs-on: ubuntu-latest\n    steps:\n    - run: until test -e {go}; do sleep 0.1; done\n"
        );
        let path = ".github/workflows/work.yml";
        self.lab.standin.push("myorg/one", "main", &[(path, Some(text.as_bytes()))], "work");
    }

    /// Lets it end.
    pub fn go(&self) {
        self.house.put("go", "");
    }

    /// Runs a line and holds what it says against what it was to say.
    fn run(&self, line: &str, then: Then, containers: &mut Vec<String>) {
        let mut said = words(line.split(" 2>&1").next().unwrap_or(line));
        for word in &mut said {
            if word == "abc123def456" {
                *word = containers.pop().unwrap();
            }
        }
        let (name, rest) = said.split_first().unwrap();
        let begin = || Live::start(self.command(name, rest));
        match then {
            Done(shape) => {
                let said = begin().end().ends(0);
                shape(rest, &said);
                containers.extend(shapes::container_in(&said));
            }
            Rows(shape, wanted) => {
                let said = until(&format!("{line}: {wanted} rows"), || {
                    let said = begin().end().ends(0);
                    let rows: Json = serde_json::from_str(&said.out).unwrap();
                    let rows = rows.as_array().unwrap();
                    // a container is made before it runs
                    let runs = |row: &Json| row.get("status").is_none_or(|status| status == "running");
                    (rows.len() == wanted && rows.iter().all(runs)).then_some(said)
                });
                shape(rest, &said);
            }
            GoesOn(says) => self.stops(begin(), says),
            GoesOnWithWork(says) => {
                self.work();
                self.stops(begin(), says);
            }
        }
    }

    fn stops(&self, mut live: Live, says: &[&str]) {
        for part in says {
            live.wait_for(part);
        }
        self.go();
        live.stop().ends(0);
    }

    /// Waits until a runner has each job that has not ended.
    fn until_jobs_run(&self) {
        let runs = || {
            let jobs = self.lab.standin.jobs();
            jobs.iter().all(|job| job.started_at.is_some() || job.completed_at.is_some())
        };
        until("the jobs run", || runs().then_some(()));
    }

    /// Ends all jobs, whoever has them.
    fn cancel_all(&self) {
        let jobs = self.lab.standin.jobs().into_iter();
        jobs.filter(|job| job.completed_at.is_none()).for_each(|job| self.lab.standin.cancel_job(job.id));
    }

    /// The node that a line left behind.
    fn node(&self) -> Option<Pid> {
        let said = self.house.ask(&["--json", "status"]);
        let status: Json = serde_json::from_str(&said.out).ok()?;
        let pid = status["pid"].as_i64().filter(|_| status["serving"] == true)?;
        Pid::from_raw(i32::try_from(pid).ok()?)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(node) = self.node()
        {
            let _ = kill_process(node, Signal::KILL);
        }
    }
}

#[test]
fn nothing_that_needs_a_github_or_an_engine_is_left_out() {
    for (name, listed) in DOCUMENTS {
        let with_both: Vec<&str> = match *name {
            "discovery.md" => DISCOVERY.iter().map(|(line, _)| *line).collect(),
            "runner-autoscaling.md" => RUNNERS.iter().map(|(line, _)| *line).collect(),
            _ => Vec::new(),
        };
        if with_both.is_empty() {
            assert!(!listed.iter().any(|(_, wanted)| matches!(wanted, Wanted::Needs(_))), "{name}");
            continue;
        }
        let ours = listed.iter().filter(|(_, wanted)| !matches!(wanted, Wanted::Another));
        assert_eq!(ours.map(|(line, _)| *line).collect::<Vec<_>>(), with_both, "{name}");
    }
}

#[test]
fn the_lines_of_discovery_do_what_they_say() {
    let Some(stage) = Stage::new("discovery's command lines with a GitHub and an engine") else { return };
    stage.work();
    stage.go();
    for (line, then) in DISCOVERY {
        stage.run(line, *then, &mut Vec::new());
    }
    stage.lab.until_nothing_is_left();
    stage.lab.is_content();
}

#[test]
fn the_lines_of_the_runners_do_what_they_say() {
    let Some(stage) = Stage::new("the runners' command lines with a GitHub and an engine") else { return };
    let mut containers = Vec::new();
    for (line, then) in RUNNERS {
        if line.ends_with("--background") && containers.is_empty() {
            // a node that begins goes on with the pool that is on, and that one's runners do not find this GitHub
            stage.house.ask(&["runner", "stop"]).ends(0);
            // one that stays
            stage.lab.standin.queue_jobs("myorg/one", "build do-slow-600", &LABELS, 1);
        }
        if line.ends_with("provision --repo owner/repo") {
            // in the document every line stands alone: these are for all that the credential sees, with something queued in one of them
            stage.until_jobs_run();
            stage.cancel_all();
            stage.lab.until_nothing_is_left();
            stage.lab.standin.queue_jobs("owner/repo", "build do-slow-600", &LABELS, 1);
            stage.run("ipfs-accelerate runner start", Done(shapes::started), &mut containers);
            // so that what is provisioned stays idle
            stage.until_jobs_run();
        }
        stage.run(line, *then, &mut containers);
    }
    stage.cancel_all();
    stage.house.ask(&["runner", "stop"]).ends(0);
    stage.lab.until_nothing_is_left();
    let node = stage.node().unwrap();
    kill_process(node, Signal::TERM).unwrap();
    until("the node has ended", || (!is_alive(node.as_raw_nonzero().get())).then_some(()));
    stage.lab.is_content();
}
