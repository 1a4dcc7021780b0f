//! Containers in memory, and the runners in them: they connect to the stand-in, take jobs by its rule, work as long as a job's name
//! says, and end. All in the time of the test.
//!
//! It is also the agenda of that time: what is queued, cancelled and limited at GitHub happens at its own moment, also while somebody
//! waits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use data_encoding::BASE64;
use serde_json::Value;
use wfengine_autoscaler::container::SECRET_VARIABLES;
use wfengine_docker::{ContainerState, Enforced, EngineError, EngineInfo, EnvValue, Moment, Status};
use wfengine_tests::harness::chance::Chance;
use wfengine_tests::standin::{Bucket, JobId, RunnerId, Standin, WantedJob, WantedRun};
use wfengine_tests::virtual_time::{Agenda, Time};

use crate::cuts::Cuts;

mod engine;

/// From the start of a container until its runner has connected.
const CONNECTS_AFTER: Duration = Duration::from_secs(2);
/// From the end of a job until its runner's container has ended.
const ENDS_AFTER: Duration = Duration::from_secs(1);
pub(crate) const LABELS: [&str; 2] = ["self-hosted", "linux"];

/// What a runner does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Conduct {
    Works,
    /// Ends before it has connected.
    EndsFirst,
    NeverConnects,
    /// Connects and asks for no job.
    NeverAsks,
    /// Is gone in the middle of its job.
    DiesAtWork,
}

/// What happens at its moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Thing {
    /// One run, whose jobs take so many seconds.
    Queue {
        repository: String,
        seconds: Vec<u64>,
    },
    Cancel(JobId),
    Connect(String),
    Finish(String, JobId),
    End(String, i64),
    /// What is left of the hour is used up by somebody else.
    Exhaust,
    /// Everybody is refused for so many seconds.
    Secondary(u64, bool),
}

struct Container {
    state: ContainerState,
    env: Vec<(String, EnvValue)>,
    conduct: Conduct,
    session: Option<String>,
    job: Option<JobId>,
    printed: String,
}

struct State {
    agenda: BTreeMap<(Duration, u64), Thing>,
    number: u64,
    containers: BTreeMap<String, Container>,
    networks: BTreeMap<String, BTreeMap<String, String>>,
    volumes: BTreeMap<String, BTreeMap<String, String>>,
    idle: Vec<String>,
    orders: VecDeque<Conduct>,
    chance: Chance,
    has_died: bool,
    running_most: usize,
    there_most: usize,
    started: u64,
    unreachable_until: Duration,
    creates_failing: u32,
    creates_unanswered: u32,
}

/// The yard, for everybody who deals with it.
#[derive(Clone)]
pub(crate) struct Yard(Arc<Inner>);

pub(crate) struct Inner {
    github: Arc<Standin>,
    time: Arc<Time>,
    cuts: Arc<Cuts>,
    state: Mutex<State>,
}

type Answer<T> = Result<T, EngineError>;

impl Yard {
    pub(crate) fn new(github: &Arc<Standin>, time: &Arc<Time>, cuts: &Arc<Cuts>, seed: u64) -> Self {
        let state = State {
            agenda: BTreeMap::new(),
            number: 0,
            containers: BTreeMap::new(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            idle: Vec::new(),
            orders: VecDeque::new(),
            chance: Chance::new(seed, "yard"),
            has_died: false,
            running_most: 0,
            there_most: 0,
            started: 0,
            unreachable_until: Duration::ZERO,
            creates_failing: 0,
            creates_unanswered: 0,
        };
        let inner = Arc::new(Inner {
            github: Arc::clone(github),
            time: Arc::clone(time),
            cuts: Arc::clone(cuts),
            state: Mutex::new(state),
        });
        let agenda: Arc<dyn Agenda> = Arc::clone(&inner) as _;
        time.follow(Arc::downgrade(&agenda));
        Self(inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state()
    }

    /// Something happens at a moment, counted from the beginning.
    pub(crate) fn plan(&self, at: Duration, thing: Thing) {
        self.state().plan(at, thing);
    }

    /// Something happens now.
    pub(crate) fn now(&self, thing: &Thing) {
        self.0.perform(&mut self.state(), thing);
    }

    /// When the next thing happens.
    pub(crate) fn next(&self) -> Option<Duration> {
        Agenda::next(&*self.0)
    }

    /// Whether a container has ended since this was asked last.
    pub(crate) fn has_died(&self) -> bool {
        std::mem::take(&mut self.state().has_died)
    }

    /// The next containers that start have runners that do this.
    pub(crate) fn order(&self, conduct: Conduct) {
        self.state().orders.push_back(conduct);
    }

    /// The engine does not answer until a moment.
    pub(crate) fn lose_until(&self, at: Duration) {
        self.state().unreachable_until = at;
    }

    /// The next containers are not made: the engine fails, or they are made and nobody hears of it.
    pub(crate) fn fail_creates(&self, failing: u32, unanswered: u32) {
        let mut state = self.state();
        (state.creates_failing, state.creates_unanswered) = (failing, unanswered);
    }

    /// From here on everything is as it should be.
    pub(crate) fn heal(&self) {
        let mut state = self.state();
        state.orders.clear();
        state.unreachable_until = Duration::ZERO;
        (state.creates_failing, state.creates_unanswered) = (0, 0);
    }

    /// Names and states of all containers.
    pub(crate) fn listed(&self) -> Vec<ContainerState> {
        self.state().containers.values().map(|container| container.state.clone()).collect()
    }

    /// Containers, networks and volumes.
    pub(crate) fn left(&self) -> (usize, usize, usize) {
        let state = self.state();
        (state.containers.len(), state.networks.len(), state.volumes.len())
    }

    /// The most containers that ran at once, that were there at once, and all that ever were started.
    pub(crate) fn figures(&self) -> (usize, usize, u64) {
        let state = self.state();
        (state.running_most, state.there_most, state.started)
    }

    /// Removes a container behind everybody's back.
    pub(crate) fn lose_container(&self, name: &str) {
        self.0.end(&mut self.state(), name, 137);
        self.state().containers.remove(name);
    }

    pub(crate) fn engine_info(architecture: &str) -> EngineInfo {
        EngineInfo {
            server_version: "27.0".to_owned(),
            api_version: "1.46".to_owned(),
            architecture: architecture.to_owned(),
            os: "linux".to_owned(),
            cpus: 64,
            memory_bytes: 512 << 30,
            root_dir: "/var/lib/docker".to_owned(),
            cgroup_driver: "systemd".to_owned(),
            enforces: Enforced { memory: true, swap: true, cpu: true, pids: true },
            is_rootless: false,
            has_userns_remap: false,
            warnings: Vec::new(),
        }
    }

    /// One thing that the process does to the engine.
    async fn with<T>(&self, what: impl FnOnce(&Inner, &mut State) -> Answer<T> + Send) -> Answer<T> {
        self.0.cuts.pass().await;
        let done = {
            let mut state = self.state();
            if self.0.time.passed() < state.unreachable_until {
                let endpoint = "unix:///yard.sock".to_owned();
                Err(EngineError::Unreachable { endpoint, reason: "connection refused".to_owned() })
            } else {
                what(&self.0, &mut state)
            }
        };
        self.0.cuts.pass().await;
        done
    }
}

impl State {
    fn plan(&mut self, at: Duration, thing: Thing) {
        self.number += 1;
        self.agenda.insert((at, self.number), thing);
    }

    fn name_of(&self, name_or_id: &str) -> Option<String> {
        let of = |(name, container): (&String, &Container)| {
            (name == name_or_id || container.state.id == name_or_id).then(|| name.clone())
        };
        self.containers.iter().find_map(of)
    }

    fn known(&self, name_or_id: &str) -> Answer<String> {
        let missing = || EngineError::NoSuch { what: format!("container {name_or_id}") };
        self.name_of(name_or_id).ok_or_else(missing)
    }

    fn running(&self) -> usize {
        self.containers.values().filter(|container| container.state.status == Status::Running).count()
    }
}

impl Agenda for Inner {
    fn next(&self) -> Option<Duration> {
        self.state().agenda.keys().next().map(|(at, _)| *at)
    }

    fn happen(&self) {
        let mut state = self.state();
        if let Some((_, thing)) = state.agenda.pop_first() {
            self.perform(&mut state, &thing);
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn perform(&self, state: &mut State, thing: &Thing) {
        match thing {
            Thing::Queue { repository, seconds } => {
                let job = |seconds: &u64| WantedJob::new(&format!("for {seconds}"), &LABELS);
                self.github.queue_run(repository, &WantedRun::new(seconds.iter().map(job).collect()));
                self.hand_out(state);
            }
            Thing::Cancel(job) => {
                self.github.cancel_job(*job);
                let has = |(name, container): (&String, &Container)| {
                    (container.job == Some(*job)).then(|| name.clone())
                };
                if let Some(name) = state.containers.iter().find_map(has) {
                    state.plan(self.time.passed() + ENDS_AFTER, Thing::Finish(name, *job));
                }
            }
            Thing::Connect(name) => self.connect(state, name),
            Thing::Finish(name, job) => {
                let Some(container) = state.containers.get_mut(name).filter(|of| of.job == Some(*job)) else {
                    return;
                };
                container.job = None;
                if let Some(session) = &container.session {
                    self.github.complete_job(session, *job, "success");
                }
                state.plan(self.time.passed() + ENDS_AFTER, Thing::End(name.clone(), 0));
            }
            Thing::End(name, code) => self.end(state, name, *code),
            Thing::Exhaust => self.github.exhaust(Bucket::Core, "user:octo"),
            Thing::Secondary(seconds, says_how_long) => {
                self.github.secondary_limit_for(*seconds, *says_how_long);
            }
        }
    }

    /// As the official runner does it: what is in the configuration proves who it is, once.
    fn connect(&self, state: &mut State, name: &str) {
        let Some(container) = state.containers.get_mut(name) else { return };
        if container.state.status != Status::Running {
            return;
        }
        let proof = container.env.iter().find(|(name, _)| name == SECRET_VARIABLES[0]);
        let session = proof
            .and_then(|(_, value)| proven(shown(value)))
            .and_then(|(id, secret)| self.github.connect_runner(id, &secret));
        match session {
            Some(session) => {
                container.session = Some(session);
                container.printed.push_str("2026-01-02 03:04:05Z: Listening for Jobs\n");
                if container.conduct != Conduct::NeverAsks {
                    state.idle.push(name.to_owned());
                    self.hand_out(state);
                }
            }
            // it is turned away
            None => self.end(state, name, 1),
        }
    }

    /// Runners without a job ask for one, in any order.
    fn hand_out(&self, state: &mut State) {
        let mut asking = state.idle.clone();
        while !asking.is_empty() {
            let at = state.chance.between(0, asking.len() as u64) as usize;
            let name = asking.swap_remove(at);
            let Some(container) = state.containers.get_mut(&name) else { continue };
            let Some(session) = container.session.as_ref() else { continue };
            let Some(job) = self.github.next_job(session) else { continue };
            container.job = Some(job);
            container.printed.push_str("2026-01-02 03:04:05Z: Running job: it\n");
            state.idle.retain(|idle| *idle != name);
            let known = self.github.job(job);
            let seconds =
                known.name.split("for ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
            let length = Duration::from_secs(seconds.unwrap_or(10));
            let conduct = container.conduct;
            let thing = match conduct {
                Conduct::DiesAtWork => Thing::End(name, 137),
                _ => Thing::Finish(name, job),
            };
            state.plan(self.time.passed() + length, thing);
        }
    }

    fn end(&self, state: &mut State, name: &str, code: i64) {
        let Some(container) = state.containers.get_mut(name) else { return };
        if container.state.status != Status::Running {
            return;
        }
        container.state.status = Status::Exited;
        container.state.exit_code = Some(code);
        container.state.finished = Some(self.moment());
        container.job = None;
        if let Some(session) = container.session.take() {
            self.github.lose_runner(&session);
        }
        state.idle.retain(|idle| idle != name);
        state.has_died = true;
    }

    fn moment(&self) -> Moment {
        let unix_s = i64::try_from(self.time.wall_ms() / 1_000).unwrap_or(i64::MAX);
        Moment { text: unix_s.to_string(), unix_s }
    }
}

fn shown(value: &EnvValue) -> &str {
    match value {
        EnvValue::Plain(text) => text,
        EnvValue::Secret(secret) => secret.expose(),
    }
}

/// The runner's number and its secret.
fn proven(configuration: &str) -> Option<(RunnerId, String)> {
    let read = |text: &str| serde_json::from_slice::<Value>(&BASE64.decode(text.as_bytes()).ok()?).ok();
    let files = read(configuration)?;
    let id = read(files[".runner"].as_str()?)?["AgentId"].as_u64()?;
    let secret = read(files[".credentials"].as_str()?)?["Data"]["ClientId"].as_str()?.to_owned();
    Some((RunnerId(id), secret))
}
