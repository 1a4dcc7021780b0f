//! The node: store, scheduler, executor and network of one process, wired together.
//!
//! The same node serves for hours or answers one command; what differs is how many slots it has and whether it is on the network.
//! Everything that happens goes through the log: handlers and executions send commands, the drive loop tells the scheduler what was
//! committed, the scheduler says what to do next.

pub(crate) mod autoscaler;
pub(crate) mod discovery;
mod drive;
mod execute;
mod feed;
mod leases;
pub(crate) mod link;
mod meter;
pub(crate) mod network;
mod planning;
mod programs;
mod relays;
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast, mpsc, watch};
use wfengine_api::Failure;
use wfengine_core::command::{Command, Refusal};
use wfengine_core::scheduler::{AUTHOR_SLOTS_DEFAULT, Allow, CommandId, Config, Scheduler};
use wfengine_core::time::{Now, WallMs};
use wfengine_core::views::Views;
use wfengine_storage_format::{ClusterId, EventId, PeerId, RunId};
use wfengine_store::data_dir::DirLock;
use wfengine_store::{AskError, Blobs, Purpose, Receipt, Store, Watcher};

use crate::clock::Clock;
use crate::home::{Home, Settings};
pub(crate) use execute::tracking_prefix;
pub(crate) use feed::{Happening, News, What};
pub(crate) use leases::Lease;
use network::Network;
pub(crate) use planning::{blob, rerun};
pub(crate) use programs::{Handed, Wanted};

/// What a process does with the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// Answers commands; executes only what `run` starts here.
    Command,
    /// Takes part: claims, executes, replicates.
    Serve {
        /// Jobs at once.
        slots: u32,
    },
}

/// A folder and environment that `run` lends to the jobs of its run.
#[derive(Clone, Debug)]
pub(crate) struct Lent {
    /// Where the steps start; left as they leave it.
    pub(crate) workspace: PathBuf,
    /// The asking process's environment, as far as jobs may see it.
    pub(crate) environment: BTreeMap<String, String>,
}

type CommandAnswer = (CommandId, Result<Vec<EventId>, Refusal>);

/// One process's node.
pub(crate) struct Node {
    pub(crate) home: Home,
    pub(crate) cluster: ClusterId,
    pub(crate) store: Store,
    pub(crate) blobs: Blobs,
    pub(crate) clock: Clock,
    pub(crate) mode: Mode,
    scheduler: Mutex<Scheduler>,
    settings: Mutex<Settings>,
    /// Told whenever the settings changed.
    settings_changed: watch::Sender<()>,
    cache: discovery::KeptCache,
    github_answers: discovery::KeptCache,
    clients: Mutex<discovery::Clients>,
    /// One round at a time: they share mirrors.
    discovering: tokio::sync::Mutex<()>,
    /// Why discovery does not get on; empty when it does.
    discovery_trouble: Mutex<String>,
    /// What the autoscaler shows and takes.
    autoscaling: autoscaler::Autoscaling,
    /// Runs that the scheduler wants handed to GitHub, and who does that, until discovery took it.
    hand_overs: (mpsc::UnboundedSender<RunId>, Mutex<Option<mpsc::UnboundedReceiver<RunId>>>),
    lent: Mutex<BTreeMap<RunId, Lent>>,
    running: Mutex<BTreeMap<EventId, execute::Running>>,
    programs: Mutex<programs::Waiting>,
    network: OnceLock<Arc<dyn Network>>,
    /// Where programs ask over HTTP.
    http: OnceLock<String>,
    news: News,
    pub(crate) meter: meter::Meter,
    wake: Notify,
    answers: mpsc::UnboundedSender<CommandAnswer>,
    stopping: watch::Sender<bool>,
    changes: watch::Sender<()>,
    /// How many frames the scheduler was told of.
    told: watch::Sender<u64>,
    /// Set once what an earlier process left behind has its end in the log.
    ready: watch::Sender<bool>,
    /// Set when only what was begun is still awaited.
    leaving: watch::Sender<bool>,
    /// Length of this node's chain when the process began: what is longer, this process wrote.
    inherited_len: u64,
    _lock: DirLock,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    /// Opens the node of a data directory that this process owns and starts its drive loop.
    pub(crate) fn open(home: Home, lock: DirLock, mode: Mode, clock: Clock) -> Result<Arc<Self>, Failure> {
        let cluster = home.cluster(&lock, clock.wall())?;
        Self::open_cluster(home, lock, cluster, mode, clock)
    }

    /// Opens the node of one of the directory's clusters.
    pub(crate) fn open_cluster(
        home: Home,
        lock: DirLock,
        cluster: ClusterId,
        mode: Mode,
        clock: Clock,
    ) -> Result<Arc<Self>, Failure> {
        let purpose = if mode == Mode::Command { Purpose::Command } else { Purpose::Serve };
        // what can be refused without the log is refused before it is opened
        let settings = home.settings()?;
        let store = home.open_store(&cluster, purpose)?;
        let blobs = Blobs::open(home.data.blobs_dir(&cluster))?;
        blobs.sweep();
        let news = store.watcher().subscribe();
        let scheduler = {
            let views = store.watcher().views();
            Scheduler::open(store.chain(), config(mode, &settings, &views, clock.now())?, &views, clock.now())
        };
        let inherited_len =
            store.watcher().frontier().chains.get(&store.chain()).map_or(0, |chain| chain.length);
        let (answers, answered) = mpsc::unbounded_channel();
        let (stopping, stopped) = watch::channel(false);
        let node = Arc::new(Self {
            home,
            cluster,
            store,
            blobs,
            clock,
            mode,
            scheduler: Mutex::new(scheduler),
            settings: Mutex::new(settings),
            settings_changed: watch::channel(()).0,
            cache: Mutex::default(),
            github_answers: Mutex::default(),
            clients: Mutex::default(),
            discovering: tokio::sync::Mutex::default(),
            discovery_trouble: Mutex::default(),
            autoscaling: autoscaler::Autoscaling::default(),
            hand_overs: {
                let (asked, to_do) = mpsc::unbounded_channel();
                (asked, Mutex::new(Some(to_do)))
            },
            lent: Mutex::default(),
            running: Mutex::default(),
            programs: Mutex::default(),
            network: OnceLock::new(),
            http: OnceLock::new(),
            news: News::new(),
            meter: meter::Meter::default(),
            wake: Notify::new(),
            answers,
            stopping,
            changes: watch::channel(()).0,
            told: watch::Sender::new(0),
            ready: watch::Sender::new(false),
            leaving: watch::Sender::new(false),
            inherited_len,
            _lock: lock,
        });
        execute::clear_leftovers(&node);
        if held(&node.settings).paused {
            node.schedule(|scheduler, views, now| scheduler.handle_pause(views, now));
        }
        tokio::spawn(drive::drive(Arc::clone(&node), news, answered, stopped));
        Ok(node)
    }

    /// Reads the log.
    pub(crate) fn watcher(&self) -> &Watcher {
        self.store.watcher()
    }
    /// This node's id.
    pub(crate) fn peer_id(&self) -> PeerId {
        self.home.peer_id()
    }
    /// What executions say while they happen.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Arc<Happening>> {
        self.news.listen()
    }
    /// The network, if this node is on one.
    pub(crate) fn network(&self) -> Option<&Arc<dyn Network>> {
        self.network.get()
    }
    /// Where programs ask over HTTP, if they may.
    pub(crate) fn http(&self) -> Option<String> {
        self.http.get().cloned()
    }
    /// Programs may ask there from now on.
    pub(crate) fn set_http(&self, url: String) {
        if self.http.set(url).is_err() {
            tracing::error!("BUG: the node has an HTTP door already");
        }
    }
    /// Goes on the network.
    pub(crate) fn connect_network(&self, network: Arc<dyn Network>) {
        if self.network.set(network).is_err() {
            tracing::error!("BUG: the node is on the network already");
        }
    }

    /// Asks for a command and waits until it is durable.
    pub(crate) async fn ask(&self, command: Command) -> Result<Receipt, AskError> {
        let begun = self.clock.monotonic();
        let receipt = self.store.recorder().ask(command, self.clock.wall()).await;
        if receipt.is_ok() {
            self.meter.committed(self.clock.monotonic() - begun);
        }
        receipt
    }

    /// Tells the scheduler something, with the views as they are, and lets the drive loop act on what follows.
    pub(crate) fn schedule<T>(&self, tell: impl FnOnce(&mut Scheduler, &Views, Now) -> T) -> T {
        let told = {
            let mut scheduler = held(&self.scheduler);
            let views = self.watcher().views();
            tell(&mut scheduler, &views, self.clock.now())
        };
        self.wake.notify_one();
        self.changes.send_replace(());
        told
    }

    /// Returns once the scheduler was told of everything that is committed now.
    async fn all_told(&self) {
        let frames = self.watcher().frontier().frames_len;
        let mut told = self.told.subscribe();
        tokio::select! {
            _ = told.wait_for(|told| *told >= frames) => {}
            () = self.stopped() => {}
        }
    }

    /// Whenever the scheduler was told something.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Asks the scheduler something.
    pub(crate) fn look<T>(&self, ask: impl FnOnce(&Scheduler, &Views, Now) -> T) -> T {
        let scheduler = held(&self.scheduler);
        let views = self.watcher().views();
        ask(&scheduler, &views, self.clock.now())
    }

    /// Changes how many jobs run here at once.
    pub(crate) fn set_slots(&self, slots: u32) {
        self.schedule(|scheduler, views, now| scheduler.handle_slots(views, slots, now));
    }

    /// The host's own settings.
    pub(crate) fn settings(&self) -> Settings {
        held(&self.settings).clone()
    }

    /// Whenever the settings changed.
    pub(crate) fn settings_changes(&self) -> watch::Receiver<()> {
        self.settings_changed.subscribe()
    }

    /// Changes the host's own settings and keeps them.
    pub(crate) fn change_settings(&self, change: impl FnOnce(&mut Settings)) -> Result<Settings, Failure> {
        let mut settings = held(&self.settings);
        let mut changed = settings.clone();
        change(&mut changed);
        self.home.keep_settings(&changed)?;
        *settings = changed.clone();
        drop(settings);
        self.settings_changed.send_replace(());
        self.schedule(|scheduler, views, now| {
            scheduler.handle_allow(views, allow(&changed), now);
            if changed.paused {
                scheduler.handle_pause(views, now)
            } else {
                scheduler.handle_resume(views, now)
            }
        });
        Ok(changed)
    }

    /// Lends a folder to the jobs of a run. Before the run is submitted, so that its jobs find it.
    pub(crate) fn lend(&self, run: RunId, lent: Lent) {
        held(&self.lent).insert(run, lent);
    }
    /// Takes a lent folder back.
    pub(crate) fn end_lending(&self, run: &RunId) {
        held(&self.lent).remove(run);
    }

    /// Claims nothing more, finishes what runs for up to `grace`, gives the rest back. No step is left when it returns.
    pub(crate) async fn drain(&self, grace: Duration) {
        self.schedule(|scheduler, views, now| scheduler.handle_drain(views, grace, now));
        let mut news = self.watcher().subscribe();
        // the claim of a cancelled job ends before its step does
        while !(self.look(|scheduler, _, _| scheduler.is_drained()) && held(&self.running).is_empty()) {
            // every claim that ends is a commit; the timer covers one that ended without, and steps
            let _ = tokio::time::timeout(Duration::from_millis(20), news.recv()).await;
        }
    }

    /// Done once the node may be asked: runs whose `wfengine run` ended without them have their end in the log.
    pub(crate) async fn ready(&self) {
        let mut ready = self.ready.subscribe();
        let _ = ready.wait_for(|ready| *ready).await;
    }

    /// Whoever waits here for something that may never come is sent away.
    pub(crate) fn leave(&self) {
        self.leaving.send_replace(true);
    }
    /// Done once this process wants to end.
    pub(crate) async fn left(&self) {
        let mut leaving = self.leaving.subscribe();
        let _ = leaving.wait_for(|leaving| *leaving).await;
    }

    /// Whether a run is executed here for somebody who waits for it.
    pub(crate) fn lends_to(&self, run: &RunId) -> bool {
        held(&self.lent).contains_key(run)
    }

    /// Kills what runs here and gives its claims back; returns when that is on disk, or after a few seconds.
    pub(crate) async fn give_up(&self) {
        const WAIT_MAX: Duration = Duration::from_secs(5);
        execute::kill_all(self);
        let _ = tokio::time::timeout(WAIT_MAX, self.drain(Duration::ZERO)).await;
    }

    /// Stops the drive loop and closes the log.
    pub(crate) fn close(&self) -> Result<(), Failure> {
        self.stopping.send_replace(true);
        Ok(self.store.close()?)
    }

    /// What to say to whoever still waits when the node has stopped: that its log failed, if that is why, else `kindly`.
    pub(crate) fn stopped_with(&self, kindly: &str) -> Failure {
        let fatal = self.store.recorder().fatal().cloned();
        fatal.map_or_else(|| Failure::unreachable(kindly), Failure::from)
    }

    /// Done once the node stops, for whatever reason.
    pub(crate) async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }
}

/// Processors that this process may use, at least 1.
pub(crate) fn processors() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1))
}

/// Whose jobs the operator lets this host run.
fn allow(settings: &Settings) -> Allow {
    Allow {
        any: settings.allow_any,
        peers: settings.allow_peers.iter().filter_map(|peer| peer.parse().ok()).collect(),
        repositories: settings.allow_repositories.clone(),
    }
}

fn config(mode: Mode, settings: &Settings, views: &Views, now: Now) -> Result<Config, Failure> {
    const DAY_MS: u64 = 24 * 3_600_000;
    let slots = match mode {
        Mode::Command => 0,
        Mode::Serve { slots } => slots,
    };
    let recent = |(peer, at): (&String, &u64)| {
        let peer: PeerId = peer.parse().ok()?;
        let member = views.authority().roster().member(&peer).is_some();
        (member && now.wall <= WallMs(at.saturating_add(DAY_MS))).then_some(peer)
    };
    let seen: BTreeSet<PeerId> = settings.seen.iter().filter_map(recent).collect();
    let seed = u64::from_le_bytes(crate::home::random()?);
    // a host with many processors runs more legs of `wfengine run` at once; fewer than the usual number would let runs that start
    // runs wait for each other
    let author_slots = AUTHOR_SLOTS_DEFAULT.max(processors().saturating_mul(2));
    let mut config = Config { slots, author_slots, allow: allow(settings), seen, seed, ..Config::default() };
    config.timing.fallback = Duration::from_millis(settings.discovery.outside.fallback_after_ms.max(1_000));
    if mode == Mode::Command {
        config.keeps_tasks = true;
        // a short command judges no peer, so it need not doubt itself on a slow host
        config.timing.lag_max = Duration::from_secs(24 * 3600);
    }
    Ok(config)
}
