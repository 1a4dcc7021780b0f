//! Houses of one cluster beside one GitHub: how they come together, and what their logs and GitHub's tell of runners.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use wfengine_autoscaler::container::bridge_prefix;
use wfengine_tests::standin::{JobId, JobInfo, Progress, Role, RunnerChange, TokenKind};

use crate::house::{House, Live, Said, text, until};
use crate::lab::Lab;

/// Longest wait where several nodes, dead ones among them, have to agree.
const LONG: Duration = Duration::from_secs(180);

/// As [`until`], where more patience is needed.
pub fn until_late<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begun.elapsed() < LONG, "not within {} s: {what}", LONG.as_secs());
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

/// A lab whose repositories belong to the organisation `octo`.
pub fn organization(repositories: &[&str], left_unshown: &str) -> Option<Lab> {
    let mut lab = Lab::new(repositories, left_unshown)?;
    lab.standin.add_organization("octo");
    lab.standin.add_member("octo", "keeper", Role::Admin);
    let scopes = ["repo", "workflow", "admin:org"].map(str::to_owned).to_vec();
    lab.token = lab.standin.token(&TokenKind::Classic { user: "keeper".to_owned(), scopes });
    Some(lab)
}

/// A house that has joined the cluster of another one, whose node serves. Its own does not yet.
pub fn member(of: &House, name: &str) -> House {
    let house = House::new();
    let invite = of.one(&["peer", "invite"]);
    let words = text(&invite, "join_line").split_whitespace().skip(1).filter(|word| *word != "--serve");
    let mut arguments: Vec<&str> = words.collect();
    arguments.extend(["--name", name, "--listen", "127.0.0.1:0", "--no-lan"]);
    house.ask(&arguments).ends(0);
    house
}

/// Two houses of one cluster whose nodes serve and have the pool on, each with options of its own.
pub struct Two {
    pub a: House,
    pub node_a: Live,
    pub b: House,
    pub node_b: Live,
}

impl Two {
    pub fn start(lab: &Lab, for_a: &[&str], for_b: &[&str]) -> Self {
        let a = House::new();
        a.ask(&["init", "--name", "a"]).ends(0);
        let node_a = lab.start(&a, for_a);
        let b = member(&a, "b");
        let node_b = lab.start(&b, for_b);
        let two = Self { a, node_a, b, node_b };
        two.until_together();
        two
    }

    /// Waits until both see each other, and each other's pool.
    pub fn until_together(&self) {
        for house in [&self.a, &self.b] {
            until("the other one lives", || {
                let peers = house.one(&["peer", "list"])["peers"].clone();
                let alive =
                    peers.as_array()?.iter().filter(|peer| peer["alive"] == true || peer["me"] == true);
                (alive.count() == 2).then_some(())
            });
            until("both pools are known", || {
                (house.json(&["replay", "--kind", "PoolChanged"]).len() >= 2).then_some(())
            });
        }
    }

    /// Stops both; nothing of them is left, and their logs hold what they should.
    pub fn end(self, lab: &Lab) {
        end(lab, &self.b, self.node_b);
        end(lab, &self.a, self.node_a);
    }
}

/// Turns the pools of a house off and stops its node: nothing of it is left, and its log holds what it should.
#[track_caller]
pub fn end(lab: &Lab, house: &House, node: Live) -> Said {
    house.ask(&["runner", "stop"]).ends(0);
    until("its runners are gone", || {
        let status = lab.status(house);
        let own = status["pools"].as_array()?.iter().all(|pool| pool["active"] == 0);
        own.then_some(())
    });
    until("the rules are gone", || rules_of(house).is_empty().then_some(()));
    let said = node.stop().ends(0);
    house.ask(&["replay", "--verify"]).ends(0);
    lab.is_content();
    said
}

/// The rules of this machine's firewall that are of a house's node.
pub fn rules_of(house: &House) -> Vec<String> {
    let id = house.one(&["peer", "id"]);
    let prefix = bridge_prefix(text(&id, "peer_id"));
    let output = Command::new("iptables").arg("-S").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let all = String::from_utf8(output.stdout).unwrap();
    let is_of = |line: &&str| line.to_lowercase().contains(&prefix);
    all.lines().filter(is_of).map(str::to_owned).collect()
}

/// A runner that somebody intended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The member's name.
    pub author: String,
    pub pool: String,
    pub name: String,
    /// The job it was for.
    pub job: Option<String>,
    /// How it ended, in words, if its end is known.
    pub end: Option<String>,
}

impl Intent {
    /// Nothing came of it: neither a container nor a runner.
    fn came_to_nothing(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.contains("never started"))
    }
}

/// All runners that a house knows to have been intended.
pub fn intents(house: &House) -> Vec<Intent> {
    let detail = |event: &Json, name: &str| event["details"][name].as_str().map(str::to_owned);
    let ends = house.json(&["replay", "--kind", "RunnerExited"]);
    let end = |event: &Json| {
        ends.iter()
            .find(|end| end["details"]["intent"] == event["id"])
            .map(|end| text(end, "says").to_owned())
    };
    let of = |event: &Json| Intent {
        end: end(event),
        author: text(event, "author_name").to_owned(),
        pool: detail(event, "pool").unwrap(),
        name: detail(event, "runner").unwrap(),
        job: detail(event, "job"),
    };
    house.json(&["replay", "--kind", "RunnerIntended"]).iter().map(of).collect()
}

/// How many of these each member intended.
pub fn by_author(intents: &[Intent]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for intent in intents {
        *counts.entry(intent.author.as_str()).or_default() += 1;
    }
    counts
}

/// How many runners were ever registered.
pub fn registered(lab: &Lab) -> usize {
    let events = lab.standin.runner_events();
    events.iter().filter(|event| event.change == RunnerChange::Registered).count()
}

/// As many runners as jobs: at GitHub, at the engine, and in the log, where no job is the cause of two. What an engine that was
/// overloaded did not start is no runner.
#[track_caller]
pub fn every_job_had_one_runner(lab: &Lab, house: &House) {
    lab.every_job_was_done_once();
    let jobs = lab.standin.jobs().len();
    let story = || intents(house).iter().map(|intent| format!("{intent:?}")).collect::<Vec<_>>().join("\n");
    assert_eq!(registered(lab), jobs, "registered; {}\n{}", story(), happened(lab));
    assert_eq!(lab.watched.lock().unwrap().started, jobs, "started; {}", story());
    let all = until("every runner is known", || {
        let all = intents(house);
        (all.len() >= jobs && all.iter().all(|intent| intent.end.is_some())).then_some(all)
    });
    // a runner takes whatever job is next, so the next one may be for a job that has had its intent
    let runners = all.iter().filter(|intent| !intent.came_to_nothing()).count();
    assert_eq!(runners, jobs, "{}", story());
}

/// What happened to jobs and runners, for a test that failed.
pub fn happened(lab: &Lab) -> String {
    let jobs =
        lab.standin.jobs().into_iter().map(|job| {
            format!("job {} {} by {:?} after {:?}", job.id, job.name, job.runner_name, job.waited)
        });
    let events = lab.standin.runner_events().into_iter();
    let events = events.map(|event| format!("{} {} {:?}", event.at, event.name, event.change));
    jobs.chain(events).collect::<Vec<_>>().join("\n")
}

/// Jobs that are at work now.
pub fn at_work(lab: &Lab) -> usize {
    lab.standin.jobs().iter().filter(|job| job.progress == Progress::InProgress).count()
}

/// Waits until a job is as it should be.
#[track_caller]
pub fn until_job(lab: &Lab, id: JobId, what: &str, is_so: impl Fn(&JobInfo) -> bool) -> JobInfo {
    until(&format!("job {id} {what}"), || Some(lab.standin.job(id)).filter(|job| is_so(job)))
}

/// Waits until so many jobs are at work at one moment.
#[track_caller]
pub fn until_at_work(lab: &Lab, count: usize) {
    until(&format!("{count} jobs are at work"), || (at_work(lab) == count).then_some(()));
}

/// Runners that wait for a job at GitHub, by name.
pub fn waiting(lab: &Lab) -> BTreeSet<String> {
    let runners = lab.standin.runners().into_iter();
    runners.filter(|runner| runner.is_online && !runner.is_busy).map(|runner| runner.name).collect()
}

/// Waits until so many runners wait for jobs; their names.
#[track_caller]
pub fn until_waiting(lab: &Lab, count: usize) -> BTreeSet<String> {
    until(&format!("{count} runners wait"), || Some(waiting(lab)).filter(|names| names.len() == count))
}

/// Waits until a node has looked so often since it has the pool.
#[track_caller]
pub fn until_looked(lab: &Lab, house: &House, times: u64) -> Json {
    until("looks were made", || {
        Some(lab.status(house)).filter(|status| status["iterations"].as_u64().unwrap() >= times)
    })
}

/// Waits until all jobs have ended, however long other members' ends take.
#[track_caller]
pub fn until_all_jobs_ended(lab: &Lab) {
    until_late("all jobs have ended", || {
        lab.standin.jobs().iter().all(|job| job.completed_at.is_some()).then_some(())
    });
}
