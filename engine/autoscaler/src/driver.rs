//! The driver of one pool: a step at a time it holds the three lists against each other and sets tasks going.
//!
//! Nothing here waits: a step lists containers, looks at the log and at the board, and says when it wants to be asked again. Tasks run
//! beside it, at most one for each runner, and what came of them is taken in at the next step.

mod asked;
mod growing;
mod seeing;
mod status;
mod taking;
mod tending;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use wfengine_core::time::Monotonic;
use wfengine_core::views::runners::Runner;
use wfengine_docker::{EngineInfo, RegistryCredentials};
use wfengine_github::Client;
use wfengine_storage_format::{EventId, RunnerJob};

use crate::backoff::Backoff;
use crate::container::memory_of;
use crate::firewall::Openings;
use crate::idle::idle_min;
use crate::look::{SharedBoard, held};
use crate::pool::{Pool, Watched, fitting};
use crate::port::{Containers, Host};
use crate::reconcile::{Timing, Track};
use crate::work::{Done, Fault, Shop};
use seeing::Sight;
pub use status::{PoolStatus, RefusedShown, RunnerShown, TroubleShown};

/// Tasks at once: an engine is not asked for more at a time.
const TASKS_MAX: usize = 8;
/// Without news a step is wanted after this.
const STEP_EVERY: Duration = Duration::from_secs(5);
/// A registration of ours that no event speaks of is another member's whose events are on their way, or a ghost after this long.
const GHOST_AFTER: Duration = Duration::from_secs(600);
/// A registration of a member that is gone is a ghost after this long.
const ORPHANED_AFTER: Duration = Duration::from_secs(60);
/// Firewall rules are looked at again.
const FIREWALL_EVERY: Duration = Duration::from_secs(30);
/// Networks and volumes that no container tells of are looked for.
const PARTS_EVERY: Duration = Duration::from_secs(60);
/// What tasks of a kind failed is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Volumes and layers are measured so often, or as often as a pool looks at GitHub.
const SIZES_EVERY: Duration = Duration::from_secs(30);
/// But no sooner: every file is gone through.
const SIZES_AGAIN: Duration = Duration::from_secs(5);

/// What a step says.
#[derive(Debug, Default)]
pub struct Stepped {
    /// Ask again then at the latest.
    pub next: Monotonic,
    /// Lines for people, of what is new.
    pub lines: Vec<String>,
    /// Runners changed here: look at these scopes again before anything is concluded from their jobs.
    pub look_at: BTreeSet<String>,
}

/// How much a pool wants of its host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wants {
    /// Runners that are there.
    pub active: u32,
    /// Jobs that wait, and runners that are to wait for jobs.
    pub waiting: u32,
    /// Bytes that its runners hold.
    pub memory_bytes: u64,
}

struct Asked {
    scope: String,
    answer: Provisioned,
}

/// What a pool works with.
pub struct Parts<H, C> {
    /// The node.
    pub host: Arc<H>,
    /// The engine.
    pub engine: C,
    /// Speaks to the GitHub.
    pub client: Client,
    /// The pool.
    pub pool: Arc<Pool>,
    /// What the engine is like.
    pub info: EngineInfo,
    /// For the registry of its images.
    pub credentials: Option<RegistryCredentials>,
}

impl<H, C> std::fmt::Debug for Parts<H, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("pool", &self.pool.name).finish_non_exhaustive()
    }
}

/// Told when a runner that was asked for runs: its name and its container.
type Provisioned = oneshot::Sender<Result<(String, String), Fault>>;

struct StopAsked {
    name: String,
    force: bool,
    answer: oneshot::Sender<Result<String, Fault>>,
}

/// One pool at work.
pub struct Autoscaler<H, C> {
    shop: Arc<Shop<H, C>>,
    board: SharedBoard,
    /// Names of this cluster's runners begin so.
    prefix: String,
    is_on: bool,
    turn: Duration,
    tracks: BTreeMap<EventId, Track>,
    under_way: BTreeSet<EventId>,
    tasks: JoinSet<(Option<EventId>, Done)>,
    again: BTreeMap<EventId, Monotonic>,
    backoff: Backoff,
    /// When the runners of a scope changed last, anywhere in the cluster.
    changed: BTreeMap<String, Monotonic>,
    /// Runners that are not free any more, of this node and of others.
    not_free: BTreeSet<EventId>,
    /// Runners of other members that live, with their scope.
    others: BTreeMap<EventId, (String, Monotonic)>,
    /// Registrations that no event speaks of, and since when.
    strange: BTreeMap<(String, String), Monotonic>,
    asked: Vec<Asked>,
    answers: BTreeMap<EventId, (String, Provisioned)>,
    stops: Vec<StopAsked>,
    stopping: BTreeMap<EventId, (String, oneshot::Sender<Result<String, Fault>>)>,
    /// What runners were seen to run.
    ran: BTreeMap<EventId, RunnerJob>,
    replaced: BTreeSet<EventId>,
    is_pulling: bool,
    firewall_at: Option<Monotonic>,
    openings: Openings,
    sizes_at: Monotonic,
    parts_at: Option<Monotonic>,
    was_at_capacity: Option<(u32, u32)>,
    last_containers: Vec<wfengine_docker::ContainerState>,
    last_without_room: u32,
    wake: Arc<Notify>,
}

impl<H, C> std::fmt::Debug for Autoscaler<H, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Autoscaler").field("pool", &self.shop.pool.name).finish_non_exhaustive()
    }
}

/// What GitHub says of one repository or organisation and not of the others.
const OF_SCOPE: [&str; 4] = ["github-permission", "github-not-found", "github-refused", "github-name-taken"];

/// How the reasons begin that keep runners of one scope alone from being started.
fn of_scope(scope: &str) -> String {
    format!("scope/{scope}/")
}

/// How the names of a cluster's runners begin.
pub fn name_prefix(cluster: &str) -> String {
    let plain: String = cluster.chars().filter(char::is_ascii_alphanumeric).take(6).collect();
    format!("wfengine-{plain}-")
}

impl<H: Host, C: Containers> Autoscaler<H, C> {
    /// A pool that is on. What earlier processes left is found at the first step.
    pub fn new(parts: Parts<H, C>, board: SharedBoard, prefix: String) -> Self {
        let Parts { host, engine, client, pool, info, credentials } = parts;
        let openings = Openings {
            host_ports: pool.policy.host_ports.clone(),
            egress: pool.policy.egress.iter().cloned().collect(),
        };
        Self {
            shop: Arc::new(Shop { host, engine, client, pool, info, credentials }),
            board,
            prefix,
            is_on: true,
            turn: Duration::from_secs(2),
            tracks: BTreeMap::new(),
            under_way: BTreeSet::new(),
            tasks: JoinSet::new(),
            again: BTreeMap::new(),
            backoff: Backoff::default(),
            changed: BTreeMap::new(),
            not_free: BTreeSet::new(),
            others: BTreeMap::new(),
            strange: BTreeMap::new(),
            asked: Vec::new(),
            answers: BTreeMap::new(),
            stops: Vec::new(),
            stopping: BTreeMap::new(),
            ran: BTreeMap::new(),
            replaced: BTreeSet::new(),
            is_pulling: false,
            firewall_at: None,
            openings,
            sizes_at: Monotonic::default(),
            parts_at: None,
            was_at_capacity: None,
            last_containers: Vec::new(),
            last_without_room: 0,
            wake: Arc::new(Notify::new()),
        }
    }

    /// The pool.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.shop.pool
    }
    /// What is known of GitHub.
    pub fn board(&self) -> &SharedBoard {
        &self.board
    }
    /// Speaks to its GitHub.
    pub fn client(&self) -> &Client {
        &self.shop.client
    }
    /// Its engine.
    pub fn engine(&self) -> &C {
        &self.shop.engine
    }
    /// Where the firewall is open: of all pools of a host together.
    pub fn set_openings(&mut self, openings: Openings) {
        self.openings = openings;
        self.firewall_at = None;
    }

    /// Told whenever a task has ended, so that a step is made.
    pub fn set_wake(&mut self, wake: Arc<Notify>) {
        self.wake = wake;
    }

    /// Starts nothing more; runners that have no job go, the others end with theirs.
    pub fn turn_off(&mut self) {
        self.is_on = false;
    }

    /// Own runners of this pool that are not removed.
    fn own(&self) -> Vec<Runner> {
        let peer = self.shop.host.peer();
        let views = self.shop.host.watcher().views();
        let own = views.runners().live_of(&peer);
        own.filter(|runner| runner.intended.pool == self.shop.pool.name).cloned().collect()
    }

    /// Whether nothing of this pool is left: it is off, and all its runners are gone.
    pub fn is_over(&self) -> bool {
        !self.is_on && self.own().is_empty() && self.tasks.is_empty()
    }

    /// Waits until every task that goes on has ended.
    pub async fn settle(&mut self) {
        while let Some(done) = self.tasks.join_next().await {
            self.take(done);
        }
    }

    fn spawn(&mut self, intent: EventId, work: impl Future<Output = Done> + Send + 'static) {
        self.under_way.insert(intent);
        self.set_going(Some(intent), work);
    }

    fn set_going(&mut self, intent: Option<EventId>, work: impl Future<Output = Done> + Send + 'static) {
        let wake = Arc::clone(&self.wake);
        self.tasks.spawn(async move {
            let done = work.await;
            wake.notify_one();
            (intent, done)
        });
    }

    fn timing(&self, is_unwanted: bool) -> Timing {
        let policy = &self.shop.pool.policy;
        let start = Duration::from_millis(policy.start_timeout_ms);
        // what is looked at seldom is not judged by what was seen long ago
        let patience = self.shop.pool.interval().saturating_mul(2);
        Timing {
            start: if is_unwanted { Duration::ZERO } else { start.max(patience) },
            offline: Duration::from_secs(60).max(patience),
            gone: Duration::from_secs(30).max(patience),
            idle: if is_unwanted { Duration::ZERO } else { Duration::from_millis(policy.idle_timeout_ms) },
            stuck: start.max(patience),
            job: Duration::from_millis(policy.job_timeout_ms),
        }
    }

    /// Scopes where runners are to wait, and how many.
    fn floors(&self) -> BTreeMap<String, u32> {
        let pool = &self.shop.pool;
        let floor = if self.is_on { idle_min(&pool.idle, self.shop.host.wall_ms() / 1_000) } else { 0 };
        let board = held(&self.board);
        // under the name that GitHub shows, and only where its jobs may run
        let named = |name: &str| {
            let found = board.repositories.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            found.filter(|(known, seen)| pool.takes(known, seen.is_private)).map(|(known, _)| known.clone())
        };
        let scopes = pool.watched.iter().filter_map(|watched| match (watched, pool.register) {
            (Watched::Repository(name), _) => Some(pool.scope_of(&named(name)?).to_string()),
            (Watched::Owner(owner), crate::pool::Register::Organization) => Some(owner.clone()),
            _ => None,
        });
        if floor == 0 { BTreeMap::new() } else { scopes.map(|scope| (scope, floor)).collect() }
    }

    /// How much it wants now.
    pub fn wants(&self) -> Wants {
        let runners = self.own();
        let active = runners.iter().filter(|runner| runner.exited.is_none()).count();
        let active = u32::try_from(active).unwrap_or(u32::MAX);
        let free = runners.iter().filter(|runner| {
            let track = self.tracks.get(&runner.intent);
            runner.exited.is_none() && track.is_none_or(|track| !track.was_busy())
        });
        let free = u32::try_from(free.count()).unwrap_or(u32::MAX);
        let waiting = u32::try_from(held(&self.board).jobs.len()).unwrap_or(u32::MAX);
        let floor: u32 = self.floors().values().sum();
        let memory_bytes = memory_of(&self.shop.pool.policy).saturating_mul(u64::from(active));
        let waiting = if self.is_on { waiting.saturating_add(floor).saturating_sub(free) } else { 0 };
        Wants { active, waiting, memory_bytes }
    }

    /// How many more runners the host's processors have room for beyond the reserve, when so many run. Without a reserve there is no such
    /// bound: what is lent out twice is only slower.
    pub fn cpu_room(&self, active: u32) -> u32 {
        let pool = &self.shop.pool;
        if pool.reserve_cpus_milli == 0 {
            return u32::MAX;
        }
        let free = self.shop.info.cpus.saturating_mul(1_000).saturating_sub(pool.reserve_cpus_milli);
        let each = pool.policy.cpus_milli.min(free).max(1);
        (free / each).saturating_sub(active)
    }

    /// How many more runners the host's memory has room for, when so much of it is held.
    pub fn memory_room(&self, memory_held: u64) -> u32 {
        let pool = &self.shop.pool;
        fitting(
            self.shop.info.memory_bytes,
            pool.reserve_memory_bytes.saturating_add(memory_held),
            memory_of(&pool.policy),
        )
    }

    /// One step. `room`: how many more runners its host may have.
    pub async fn step(&mut self, room: u32) -> Stepped {
        while let Some(done) = self.tasks.try_join_next() {
            self.take(done);
        }
        self.stop_runners();
        let mut stepped = Stepped { next: self.shop.host.now() + STEP_EVERY, ..Stepped::default() };
        let listed = self.list_containers().await;
        let now = self.shop.host.now();
        self.watch_others(now);
        let runners = self.own();
        let sight = Sight::new(&self.board, listed.as_deref(), &runners);
        self.tracks.retain(|intent, _| runners.iter().any(|runner| runner.intent == *intent));
        self.tend(&runners, &sight, now);
        if listed.is_some() {
            self.remove_strangers(&sight, &runners, now).await;
        }
        self.delete_ghosts(&runners, now);
        if !runners.is_empty()
            && let Err(fault) = self.close_the_host(now).await
        {
            self.fail("start", &fault);
        }
        self.measure(&runners, &sight, now);
        self.grow(&runners, &sight, room, now, &mut stepped).await;
        self.last_containers = listed.unwrap_or_else(|| std::mem::take(&mut self.last_containers));
        let scopes: BTreeSet<String> = self.own().into_iter().map(|runner| runner.intended.scope).collect();
        held(&self.board).wanted_scopes.extend(scopes);
        stepped.look_at = self.stale_scopes();
        stepped
    }

    /// Scopes whose runners changed after their jobs were asked for.
    fn stale_scopes(&self) -> BTreeSet<String> {
        let board = held(&self.board);
        let is_stale = |scope: &&String| {
            board.repositories.iter().any(|(name, seen)| {
                self.shop.pool.scope_of(name).to_string() == **scope
                    && (seen.queued_runs > 0 || seen.running_runs > 0 || seen.asked_at.is_none())
                    && seen
                        .asked_at
                        .is_none_or(|asked| self.changed.get(*scope).is_some_and(|at| asked <= *at))
            })
        };
        self.changed.keys().filter(is_stale).cloned().collect()
    }

    async fn list_containers(&mut self) -> Option<Vec<wfengine_docker::ContainerState>> {
        let peer = self.shop.host.peer().to_string();
        let labels = [
            (crate::container::LABEL_MANAGED, "1"),
            (crate::container::LABEL_PEER, peer.as_str()),
            (crate::container::LABEL_POOL, self.shop.pool.name.as_str()),
        ];
        match self.shop.engine.containers(&labels).await {
            Ok(containers) => {
                self.backoff.heal_all("list/");
                Some(containers)
            }
            Err(error) => {
                let fault = Fault::from(error);
                self.fail("list", &fault);
                None
            }
        }
    }

    /// What other members' runners do to what is known of their scopes.
    fn watch_others(&mut self, now: Monotonic) {
        let own = self.shop.host.peer();
        let (mut live, mut busy) = (BTreeMap::new(), Vec::new());
        {
            let views = self.shop.host.watcher().views();
            let board = held(&self.board);
            let others =
                views.runners().live().filter(|runner| runner.author != own && runner.exited.is_none());
            for runner in others {
                let scope = runner.intended.scope.clone();
                let registered = board.registered.get(&scope);
                let seen = registered.and_then(|all| all.by_name.get(&runner.intended.name));
                if let (Some(of), true) = (registered, seen.is_some_and(|seen| seen.is_busy)) {
                    busy.push((runner.intent, scope.clone(), of.asked_at));
                }
                live.insert(runner.intent, scope);
            }
        }
        for (intent, scope, asked_at) in busy {
            // which of the jobs that were asked for before it has, nobody can tell
            if self.not_free.insert(intent) {
                self.note_change(&scope, asked_at);
            }
        }
        let gone: Vec<EventId> =
            self.others.keys().filter(|intent| !live.contains_key(intent)).copied().collect();
        for intent in gone {
            self.not_free.remove(&intent);
            if let Some((scope, _)) = self.others.remove(&intent) {
                self.note_change(&scope, now);
            }
        }
        for (intent, scope) in live {
            self.others.entry(intent).or_insert((scope, now));
        }
    }
}
