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
use wfengine_autoscaler::Containers;
use wfengine_autoscaler::container::SECRET_VARIABLES;
use wfengine_docker::{
    ContainerSpec, ContainerState, Enforced, EngineError, EngineInfo, EnvValue, Image, Made, Moment,
    NetworkSpec, RegistryCredentials, Status,
};
use wfengine_tests::harness::chance::Chance;
use wfengine_tests::standin::{Bucket, JobId, RunnerId, Standin, WantedJob, WantedRun};
use wfengine_tests::virtual_time::{Agenda, Time};

use crate::cuts::Cuts;

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

fn has(labels: &BTreeMap<String, String>, wanted: &[(String, String)]) -> bool {
    wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
}

fn owned(labels: &[(&str, &str)]) -> Vec<(String, String)> {
    labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn made(from: &BTreeMap<String, BTreeMap<String, String>>, wanted: &[(String, String)]) -> Vec<Made> {
    let of = from.iter().filter(|(_, labels)| has(labels, wanted));
    of.map(|(name, labels)| Made { id: name.clone(), name: name.clone(), labels: labels.clone() }).collect()
}

impl Containers for Yard {
    async fn info(&self) -> Answer<EngineInfo> {
        self.with(|_, _| Ok(Self::engine_info("x64"))).await
    }
    async fn image(&self, reference: &str) -> Answer<Image> {
        let reference = reference.to_owned();
        self.with(move |_, _| {
            Ok(Image {
                id: "sha256:0123".to_owned(),
                tags: vec![reference],
                digests: Vec::new(),
                architecture: "x64".to_owned(),
                size_bytes: 1 << 20,
                user: Some("runner".to_owned()),
                entrypoint: Vec::new(),
                command: Vec::new(),
            })
        })
        .await
    }
    async fn pull(&self, reference: &str, _: Option<&RegistryCredentials>) -> Answer<Image> {
        self.image(reference).await
    }
    async fn create_network(&self, spec: &NetworkSpec) -> Answer<String> {
        let (name, labels) = (spec.name.clone(), spec.labels.clone());
        self.with(move |_, state| {
            if state.networks.contains_key(&name) {
                return Err(EngineError::NameTaken { name });
            }
            state.networks.insert(name.clone(), labels);
            Ok(name)
        })
        .await
    }
    async fn remove_network(&self, name: &str) -> Answer<bool> {
        let name = name.to_owned();
        self.with(move |_, state| {
            if state.containers.get(&name).is_some_and(|of| of.state.status == Status::Running) {
                let message = format!("network {name} has active endpoints");
                return Err(EngineError::Conflict { message });
            }
            Ok(state.networks.remove(&name).is_some())
        })
        .await
    }
    async fn networks(&self, labels: &[(&str, &str)]) -> Answer<Vec<Made>> {
        let wanted = owned(labels);
        self.with(move |_, state| Ok(made(&state.networks, &wanted))).await
    }
    async fn create_volume(&self, name: &str, labels: &BTreeMap<String, String>) -> Answer<()> {
        let (name, labels) = (name.to_owned(), labels.clone());
        self.with(move |_, state| {
            state.volumes.insert(name, labels);
            Ok(())
        })
        .await
    }
    async fn remove_volume(&self, name: &str) -> Answer<bool> {
        let name = name.to_owned();
        self.with(move |_, state| {
            if state.containers.contains_key(&name) {
                let message = format!("volume {name} is in use");
                return Err(EngineError::Conflict { message });
            }
            Ok(state.volumes.remove(&name).is_some())
        })
        .await
    }
    async fn volumes(&self, labels: &[(&str, &str)]) -> Answer<Vec<Made>> {
        let wanted = owned(labels);
        self.with(move |_, state| Ok(made(&state.volumes, &wanted))).await
    }
    async fn create_container(&self, name: &str, spec: &ContainerSpec) -> Answer<String> {
        let (name, spec) = (name.to_owned(), spec.clone());
        self.with(move |inner, state| {
            if state.containers.contains_key(&name) {
                return Err(EngineError::NameTaken { name });
            }
            if state.creates_failing > 0 {
                state.creates_failing -= 1;
                return Err(EngineError::Failed { status: 500, message: "devicemapper".to_owned() });
            }
            state.number += 1;
            let id = format!("{:064x}", state.number);
            let container = Container {
                state: ContainerState {
                    id: id.clone(),
                    name: name.clone(),
                    image: spec.image.clone(),
                    labels: spec.labels.clone(),
                    status: Status::Created,
                    created: inner.moment(),
                    started: None,
                    finished: None,
                    exit_code: None,
                    oom_killed: false,
                    error: None,
                    networks: vec![name.clone()],
                },
                env: spec.env.clone(),
                conduct: Conduct::Works,
                session: None,
                job: None,
                printed: String::new(),
            };
            state.containers.insert(name.clone(), container);
            state.there_most = state.there_most.max(state.containers.len());
            if state.creates_unanswered > 0 {
                state.creates_unanswered -= 1;
                return Err(EngineError::TimedOut { what: format!("container {name}") });
            }
            Ok(id)
        })
        .await
    }
    async fn open_folder(&self, container: &str, _: &str) -> Answer<()> {
        let container = container.to_owned();
        self.with(move |_, state| state.known(&container).map(|_| ())).await
    }
    async fn start_container(&self, id: &str) -> Answer<()> {
        let id = id.to_owned();
        self.with(move |inner, state| {
            let name = state.known(&id)?;
            let conduct = state.orders.pop_front().unwrap_or(Conduct::Works);
            let at = inner.time.passed() + CONNECTS_AFTER;
            match conduct {
                Conduct::EndsFirst => state.plan(at, Thing::End(name.clone(), 1)),
                Conduct::NeverConnects => {}
                _ => state.plan(at, Thing::Connect(name.clone())),
            }
            if let Some(container) = state.containers.get_mut(&name) {
                container.conduct = conduct;
                container.state.status = Status::Running;
                container.state.started = Some(inner.moment());
            }
            state.started += 1;
            state.running_most = state.running_most.max(state.running());
            Ok(())
        })
        .await
    }
    async fn stop_container(&self, id: &str, _: Duration) -> Answer<bool> {
        self.kill_container(id).await
    }
    async fn kill_container(&self, id: &str) -> Answer<bool> {
        let id = id.to_owned();
        self.with(move |inner, state| {
            let Some(name) = state.name_of(&id) else { return Ok(false) };
            let was_running =
                state.containers.get(&name).is_some_and(|of| of.state.status == Status::Running);
            inner.end(state, &name, 143);
            Ok(was_running)
        })
        .await
    }
    async fn remove_container(&self, id: &str) -> Answer<bool> {
        let id = id.to_owned();
        self.with(move |inner, state| {
            let Some(name) = state.name_of(&id) else { return Ok(false) };
            inner.end(state, &name, 137);
            Ok(state.containers.remove(&name).is_some())
        })
        .await
    }
    async fn containers(&self, labels: &[(&str, &str)]) -> Answer<Vec<ContainerState>> {
        let wanted = owned(labels);
        self.with(move |_, state| {
            let all = state.containers.values().map(|container| &container.state);
            Ok(all.filter(|state| has(&state.labels, &wanted)).cloned().collect())
        })
        .await
    }
    async fn logs_tail(&self, id: &str, _: usize) -> Answer<Vec<u8>> {
        let id = id.to_owned();
        self.with(move |_, state| {
            let name = state.known(&id)?;
            let printed = state.containers.get(&name).map(|container| container.printed.clone());
            Ok(printed.unwrap_or_default().into_bytes())
        })
        .await
    }
    async fn environment(&self, id: &str) -> Answer<Vec<String>> {
        let id = id.to_owned();
        self.with(move |_, state| {
            let name = state.known(&id)?;
            let of = state.containers.get(&name).map(|container| container.env.clone()).unwrap_or_default();
            Ok(of.iter().map(|(name, value)| format!("{name}={}", shown(value))).collect())
        })
        .await
    }
    async fn size_bytes(&self, _: &str) -> Answer<Option<u64>> {
        self.with(|_, _| Ok(Some(1 << 20))).await
    }
}
