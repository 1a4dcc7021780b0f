//! The main loop: begins and ends pools as the settings say, shares the host between them, and has each make its steps.
//!
//! One loop for all pools, since they share one host. It waits for whatever comes first: other settings, an order, a look that ended, a
//! container that died, a task that is done, an event of another member, or the moment that a step asked for.

mod orders;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use wfengine_api::answers::runners::{P2pShareView, RunnerTroubleView};
use wfengine_api::{Environment, Failure};
use wfengine_autoscaler::firewall::{self, Openings};
use wfengine_autoscaler::pool::RunnerNetwork;
use wfengine_autoscaler::{Autoscaler, Fault, Looked, Looker, Parts, SharedBoard, look};
use wfengine_core::time::Monotonic;
use wfengine_docker::Engine;
use wfengine_storage_format::Body;

use super::host::RunnerHost;
use super::ready::{Ready, ready};
use super::sharing::{Together, share};
use super::{Order, RunnerWishes, loops, pools, prefix, shown};
use crate::node::{Mode, Node, held};

/// A pool that could not begin is tried again after so long, then twice as long, up to the second.
const BEGIN_AGAIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// Tasks that go on when the node stops get so long to end.
const TASKS_END: Duration = Duration::from_secs(10);
/// News that come together are looked at together.
const NEWS_TOGETHER: Duration = Duration::from_millis(50);

/// Starts runners as the settings say, until the node stops. Done once what was begun has an end or can be found again.
pub(crate) fn begin(node: &Arc<Node>, variables: Environment) -> JoinHandle<()> {
    let (orders, ordered) = mpsc::unbounded_channel();
    *held(&node.autoscaling.orders) = Some(orders);
    let service = Service::new(node, variables);
    tokio::spawn(service.run(ordered))
}

struct Running {
    wishes: RunnerWishes,
    scaler: Autoscaler<RunnerHost, Engine>,
    pokes: mpsc::UnboundedSender<BTreeSet<String>>,
    looked: mpsc::UnboundedReceiver<Looked>,
    loops: [JoinHandle<()>; 2],
    problems: Vec<(String, Fault)>,
    limited_until: Option<Monotonic>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.loops.iter().for_each(JoinHandle::abort);
    }
}

/// A pool that cannot begin.
struct Waiting {
    failure: Failure,
    since: Monotonic,
    times: u32,
    next_try: Monotonic,
}

struct Service {
    node: Arc<Node>,
    variables: Environment,
    running: BTreeMap<String, Running>,
    waiting: BTreeMap<String, Waiting>,
    woken: Arc<Notify>,
    p2p_was_last: bool,
    p2p_running: u32,
    said_share: Option<(u32, u32, u32, u32)>,
    p2p: Option<P2pShareView>,
    slots: Option<u32>,
}

impl Service {
    fn new(node: &Arc<Node>, variables: Environment) -> Self {
        Self {
            node: Arc::clone(node),
            variables,
            running: BTreeMap::new(),
            waiting: BTreeMap::new(),
            woken: Arc::new(Notify::new()),
            p2p_was_last: false,
            p2p_running: 0,
            said_share: None,
            p2p: None,
            slots: None,
        }
    }

    fn now(&self) -> Monotonic {
        self.node.clock.monotonic()
    }

    async fn run(mut self, mut ordered: mpsc::UnboundedReceiver<Order>) {
        let mut changes = self.node.settings_changes();
        let mut news = self.node.watcher().subscribe();
        let node = Arc::clone(&self.node);
        loop {
            let next = tokio::select! {
                () = node.stopped() => break,
                () = node.left() => break,
                next = self.turn() => next,
            };
            let sleep = if next > self.now() { next - self.now() } else { Duration::ZERO };
            tokio::select! {
                () = node.stopped() => break,
                () = node.left() => break,
                _ = changes.changed() => {}
                Some(order) = ordered.recv() => self.obey(order).await,
                () = self.woken.notified() => {}
                () = of_runners(&mut news) => tokio::time::sleep(NEWS_TOGETHER).await,
                () = tokio::time::sleep(sleep) => {}
            }
        }
        *held(&node.autoscaling.orders) = None;
        let ending = async {
            for running in self.running.values_mut() {
                running.scaler.settle().await;
            }
        };
        if tokio::time::timeout(TASKS_END, ending).await.is_err() {
            tracing::warn!(
                "a runner was being started or removed when this node stopped: the next start goes on with it"
            );
        }
    }

    /// Everything once. When to come again at the latest.
    async fn turn(&mut self) -> Monotonic {
        self.follow_settings().await;
        self.take_looks();
        let mut next = self.step_all().await;
        self.end_pools().await;
        next = self.waiting.values().map(|waiting| waiting.next_try).fold(next, Monotonic::min);
        self.show();
        next
    }

    /// Pools that are off and have no runner left are gone, and with the last one the rules that kept its runners from the host.
    async fn end_pools(&mut self) {
        let before = self.running.len();
        self.running.retain(|_, running| !running.scaler.is_over());
        if before > 0
            && self.running.is_empty()
            && self.waiting.is_empty()
            && !self.has_runners(None)
            && let Err(error) = firewall::open(&self.node.peer_id().to_string()).await
        {
            tracing::debug!(%error, "firewall rules are left");
        }
    }

    /// Begins, changes and turns off pools. One that is off and has runners left is seen to its end.
    async fn follow_settings(&mut self) {
        let wished = pools(&self.node);
        let names: BTreeSet<String> = wished.iter().map(|wishes| wishes.pool.clone()).collect();
        self.waiting.retain(|name, _| names.contains(name));
        for wishes in wished {
            let is_same = self.running.get(&wishes.pool).map(|running| running.wishes == wishes);
            match (is_same, wishes.on) {
                (Some(true), _) => {}
                (Some(false), false) => {
                    if let Some(running) = self.running.get_mut(&wishes.pool) {
                        running.wishes = wishes;
                        running.scaler.turn_off();
                    }
                }
                // the one that goes on does so until this one can begin
                (Some(false), true) => self.try_to_begin(wishes).await,
                (None, true) => self.try_to_begin(wishes).await,
                (None, false) => {
                    if self.has_runners(Some(&wishes.pool)) {
                        self.try_to_begin(wishes).await;
                    }
                }
            }
        }
    }

    /// Whether something of this node's runners is left: of a pool, or of any.
    fn has_runners(&self, pool: Option<&str>) -> bool {
        let own = self.node.peer_id();
        let views = self.node.watcher().views();
        views.runners().live_of(&own).any(|runner| pool.is_none_or(|pool| runner.intended.pool == pool))
    }

    async fn try_to_begin(&mut self, wishes: RunnerWishes) {
        let name = wishes.pool.clone();
        if self.waiting.get(&name).is_some_and(|waiting| self.now() < waiting.next_try) {
            return;
        }
        // settings can be written by hand
        let ready = match wishes.check() {
            Ok(()) => ready(&self.node, &wishes, &self.variables).await,
            Err(failure) => Err(failure),
        };
        match ready {
            Ok(ready) => {
                // what the one before was doing is done first; the new one finds everything else in the lists
                if let Some(mut before) = self.running.remove(&name) {
                    before.scaler.settle().await;
                }
                self.waiting.remove(&name);
                for note in &ready.notes {
                    self.node.autoscaling.lines.detail(note.as_str());
                }
                let running = self.begin(wishes, ready);
                self.running.insert(name, running);
                self.open_the_firewall().await;
            }
            Err(failure) => {
                let now = self.now();
                let (since, times, was_said) = match self.waiting.get(&name) {
                    Some(waiting) => (waiting.since, waiting.times, waiting.failure == failure),
                    None => (now, 0, false),
                };
                if !was_said {
                    self.node.autoscaling.lines.say(format!("pool {name} cannot begin: {failure}"));
                }
                let wait = BEGIN_AGAIN.0.saturating_mul(1 << times.min(10)).min(BEGIN_AGAIN.1);
                let waiting =
                    Waiting { failure, since, times: times.saturating_add(1), next_try: now + wait };
                self.waiting.insert(name, waiting);
            }
        }
    }

    fn begin(&self, wishes: RunnerWishes, ready: Ready) -> Running {
        let board = SharedBoard::default();
        let prefix = prefix(&self.node);
        let looker = Looker::new(
            &ready.client,
            Arc::clone(&ready.pool),
            &ready.info.architecture,
            &prefix,
            Arc::clone(&board),
        );
        let (pokes, poked) = mpsc::unbounded_channel();
        let (looks, looked) = mpsc::unbounded_channel();
        let (clock, interval) = (self.node.clock, ready.pool.interval());
        let woken = Arc::clone(&self.woken);
        let looking = tokio::spawn(async move {
            let (seen, mut to_pass) = mpsc::unbounded_channel();
            let pass = async {
                while let Some(looked) = to_pass.recv().await {
                    if looks.send(looked).is_err() {
                        return;
                    }
                    woken.notify_one();
                }
            };
            tokio::join!(loops::look(looker, interval, clock, poked, seen), pass);
        });
        let peer = self.node.peer_id().to_string();
        let listening = tokio::spawn(loops::listen(ready.engine.clone(), peer, Arc::clone(&self.woken)));
        let host = Arc::new(RunnerHost(Arc::clone(&self.node)));
        let parts = Parts {
            host,
            engine: ready.engine,
            client: ready.client,
            pool: ready.pool,
            info: ready.info,
            credentials: ready.credentials,
        };
        let mut scaler = Autoscaler::new(parts, board, prefix);
        scaler.set_wake(Arc::clone(&self.woken));
        if !wishes.on {
            scaler.turn_off();
        }
        Running {
            wishes,
            scaler,
            pokes,
            looked,
            loops: [looking, listening],
            problems: Vec::new(),
            limited_until: None,
        }
    }

    /// The firewall is one for all pools of the host.
    async fn open_the_firewall(&mut self) {
        let mut openings = Openings::default();
        for running in self.running.values() {
            let policy = &running.scaler.pool().policy;
            openings.host_ports.extend(&policy.host_ports);
            openings.egress.extend(policy.egress.iter().cloned());
        }
        let mut closes = false;
        for running in self.running.values_mut() {
            let policy = &running.scaler.pool().policy;
            closes |= policy.network == RunnerNetwork::Own && !policy.allows_host;
            running.scaler.set_openings(openings.clone());
        }
        // those that run already need what is open for them
        if closes && let Err(error) = firewall::close(&self.node.peer_id().to_string(), &openings).await {
            tracing::warn!(%error, "{}", error.remedy());
        }
    }

    fn take_looks(&mut self) {
        let now = self.now();
        for (name, running) in &mut self.running {
            while let Ok(looked) = running.looked.try_recv() {
                running.limited_until = looked.limited_for.map(|limited| now + limited);
                for (what, why) in &looked.problems {
                    if !running.problems.iter().any(|known| known == &(what.clone(), why.clone())) {
                        self.node.autoscaling.lines.say(format!("pool {name}: {what}: {}", why.what));
                    }
                }
                running.problems = looked.problems;
            }
        }
    }

    fn together(&self, sharing_only: bool) -> (Together, u64) {
        let mut together = Together::default();
        let mut memory = 0_u64;
        for running in self.running.values() {
            let wants = running.scaler.wants();
            memory = memory.saturating_add(wants.memory_bytes);
            if sharing_only && running.wishes.no_p2p {
                continue;
            }
            if running.wishes.on {
                together.runners_max = together.runners_max.saturating_add(running.wishes.max_runners);
            }
            together.active = together.active.saturating_add(wants.active);
            together.waiting = together.waiting.saturating_add(wants.waiting);
        }
        (together, memory)
    }

    async fn step_all(&mut self) -> Monotonic {
        let mut next = self.now() + Duration::from_secs(60);
        let is_shared = self.running.values().any(|running| running.wishes.on && !running.wishes.no_p2p);
        let mut room = if is_shared { self.share() } else { u32::MAX };
        self.give_slots_back(is_shared);
        let names: Vec<String> = self.running.keys().cloned().collect();
        for name in names {
            let (_, memory) = self.together(false);
            let Some(running) = self.running.get_mut(&name) else { continue };
            let own_room = if running.wishes.no_p2p { u32::MAX } else { room };
            let before = running.scaler.wants().active;
            let host = running.scaler.memory_room(memory).min(running.scaler.cpu_room(before));
            let stepped = running.scaler.step(own_room.min(host)).await;
            let started = running.scaler.wants().active.saturating_sub(before);
            if !running.wishes.no_p2p {
                room = room.saturating_sub(started);
            }
            if started > 0 {
                self.p2p_was_last = false;
            }
            stepped.lines.iter().for_each(|line| self.node.autoscaling.lines.say(line.as_str()));
            next = next.min(stepped.next);
            poke(running, &stepped.look_at);
        }
        next
    }

    /// Shares the host with members' jobs. How many more runners may be started.
    fn share(&mut self) -> u32 {
        let load = self.node.look(|scheduler, views, _| scheduler.p2p_load(views));
        if load.running > self.p2p_running {
            self.p2p_was_last = true;
        }
        self.p2p_running = load.running;
        let (together, _) = self.together(true);
        let shared = share(together, load, self.p2p_was_last);
        if self.slots != Some(shared.slots) {
            self.slots = Some(shared.slots);
            self.node.set_slots(shared.slots);
        }
        let said = (load.pending, load.running, shared.share.p2p, shared.share.github);
        if self.said_share != Some(said) {
            let lines = &self.node.autoscaling.lines;
            let was_quiet = self.said_share.is_none_or(|(pending, running, ..)| pending + running == 0);
            if load.pending + load.running > 0 || !was_quiet {
                lines.say(format!("P2P workflows: {} pending, {} assigned", load.pending, load.running));
                lines.say(format!(
                    "Allocating {} runners for P2P tasks, {} for GitHub workflows",
                    shared.share.p2p, shared.share.github
                ));
                lines.say(format!(
                    "P2P Summary: {} pending, {} assigned, {} runners allocated for P2P",
                    load.pending, load.running, shared.share.p2p
                ));
            }
            self.said_share = Some(said);
        }
        self.p2p = Some(P2pShareView {
            pending: load.pending.into(),
            share: shared.share.p2p.into(),
            running: load.running.into(),
        });
        shared.room
    }

    /// Without a pool that shares, members' jobs have the slots that the node was started with.
    fn give_slots_back(&mut self, is_shared: bool) {
        if is_shared || self.slots.take().is_none() {
            return;
        }
        (self.p2p, self.said_share) = (None, None);
        if let Mode::Serve { slots } = self.node.mode {
            self.node.set_slots(slots);
        }
    }

    fn show(&self) {
        let now = self.now();
        let wall_ms = self.node.clock.wall().0;
        let mut all = super::Shown { p2p: self.p2p.clone(), ..super::Shown::default() };
        for (name, waiting) in &self.waiting {
            let mut said = waiting.failure.message.splitn(2, "\nwhat helps: ");
            all.troubles.push(RunnerTroubleView {
                what: said.next().unwrap_or_default().to_owned(),
                remedy: said.next().unwrap_or_default().to_owned(),
                about: name.clone(),
                times: waiting.times.into(),
                since: Some(shown::past(wall_ms, now, waiting.since)),
                next_try: Some(shown::future(wall_ms, now, waiting.next_try)),
            });
        }
        for (name, running) in &self.running {
            all.pools.push(running.scaler.status());
            if let Some(until) = running.limited_until.filter(|until| now < *until) {
                all.troubles.push(RunnerTroubleView {
                    what: "GitHub's limit is spent: nothing is asked until it ends".to_owned(),
                    remedy: "nothing: it goes on by itself".to_owned(),
                    about: name.clone(),
                    times: 1,
                    since: None,
                    next_try: Some(shown::future(wall_ms, now, until)),
                });
            }
            all.troubles.extend(running.problems.iter().map(|(what, why)| {
                let (what, remedy) = match why.reason.as_str() {
                    "github-unauthorised" => shown::condition(why, what),
                    _ => (format!("{what}: {}", why.what), why.remedy.clone()),
                };
                RunnerTroubleView {
                    what,
                    remedy,
                    about: name.clone(),
                    times: 1,
                    ..RunnerTroubleView::default()
                }
            }));
            all.budgets.extend(shown::budgets(running.scaler.client()));
            all.engine.insert("socket".to_owned(), running.scaler.engine().endpoint().to_string().into());
        }
        *held(&self.node.autoscaling.shown) = all;
    }
}

/// Has the repositories of scopes looked at again.
fn poke(running: &Running, scopes: &BTreeSet<String>) {
    if scopes.is_empty() {
        return;
    }
    let board = look::held(running.scaler.board());
    let pool = running.scaler.pool();
    let of = |name: &&String| scopes.contains(&pool.scope_of(name).to_string());
    let names: BTreeSet<String> = board.repositories.keys().filter(of).cloned().collect();
    drop(board);
    let _ = running.pokes.send(names);
}

/// Comes back when an event that may matter was committed.
async fn of_runners(news: &mut tokio::sync::broadcast::Receiver<Arc<wfengine_store::Committed>>) {
    loop {
        match news.recv().await {
            Ok(commit) => {
                let matters = |body: &Body| {
                    matches!(
                        body,
                        Body::RunnerIntended(_)
                            | Body::RunnerExited(_)
                            | Body::RunSubmitted(_)
                            | Body::JobsPlanned(_)
                            | Body::JobClaimed(_)
                            | Body::JobCompleted(_)
                            | Body::JobReleased(_)
                            | Body::JobAborted(_)
                            | Body::JobFailed(_)
                    )
                };
                if commit.events.iter().any(|event| matters(&event.body)) {
                    return;
                }
            }
            Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => return,
            Err(tokio::sync::broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}
