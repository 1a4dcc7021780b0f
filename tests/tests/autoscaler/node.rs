//! A node that starts runners: its looks and its steps, in the order and at the moments that the program's loops give them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use wfengine_autoscaler::{Autoscaler, Host, Looked, Looker, Parts, Pool, SharedBoard, look, name_prefix};
use wfengine_core::command::Command;
use wfengine_core::time::{Monotonic, WallMs};
use wfengine_github::credential::TokenOrigin;
use wfengine_github::{Client, Credential, MemoryCache, Secret, Settings};
use wfengine_storage_format::{PoolChanged, Signer};
use wfengine_tests::ledger::Ledger;
use wfengine_tests::virtual_time::{HostClock, Time};

use crate::cuts::Cuts;
use crate::member::Member;
use crate::world::World;
use crate::yard::Yard;

/// As the program's own loop of looks has them.
const POKES_TOGETHER: Duration = Duration::from_millis(200);
const LOOKS_APART: Duration = Duration::from_secs(1);
const AFTER_TROUBLE: Duration = Duration::from_secs(10);
/// What a question and its answer take at the least: nothing is asked at the moment of another one.
const ASKING_TAKES: Duration = Duration::from_millis(5);
/// Turns without any time passing: more of them is a bug.
const TURNS_MAX: u32 = 2_000;

/// What outlives a restart.
struct Lasting {
    folder: PathBuf,
    signer: Signer,
    time: Arc<Time>,
    cuts: Arc<Cuts>,
    yard: Yard,
    api: String,
    token: String,
    answers: Arc<MemoryCache>,
    pool: Arc<Pool>,
    architecture: String,
}

/// Whether a process came to the end of its time or was ended before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lived {
    Whole,
    Cut,
}

/// A node, which runs until it is dropped or restarted.
pub(crate) struct Node {
    pub(crate) member: Arc<Member>,
    pub(crate) client: Client,
    pub(crate) scaler: Autoscaler<Member, Yard>,
    pub(crate) looker: Looker,
    pub(crate) lines: Vec<String>,
    /// From when to when nothing could be asked.
    pub(crate) limits: Vec<(Duration, Duration)>,
    lasting: Lasting,
    wake: Arc<Notify>,
    wanted: BTreeSet<String>,
    round_at: Duration,
    not_before: Duration,
    step_at: Duration,
}

fn time_of(at: Monotonic) -> Duration {
    Duration::from_millis(at.0)
}

impl Node {
    pub(crate) async fn found(world: &World, pool: Pool) -> Self {
        Self::found_on(world, pool, "x64").await
    }

    /// On an engine of this architecture.
    pub(crate) async fn found_on(world: &World, pool: Pool, architecture: &str) -> Self {
        let lasting = Lasting {
            folder: world.folder(),
            signer: Signer::from_seed(&[7; 32]),
            time: Arc::clone(&world.time),
            cuts: Arc::clone(&world.cuts),
            yard: world.yard.clone(),
            api: world.github.base_url(),
            token: world.token(),
            answers: Arc::default(),
            pool: Arc::new(pool),
            architecture: architecture.to_owned(),
        };
        let now = WallMs(world.time.wall_ms());
        Ledger::found(&lasting.folder, &lasting.signer, vec!["linux".to_owned()], now).expect("a cluster");
        let node = Self::start(lasting);
        let pool = &node.lasting.pool;
        let said = PoolChanged {
            pool: pool.name.clone(),
            is_on: true,
            source: node.client.settings().host().to_owned(),
            scopes: Vec::new(),
            labels: pool.labels.clone(),
            runners_max: pool.runners_max,
            cluster_max: pool.cluster_max,
            idle_min: 0,
            interval_ms: pool.interval_ms,
            policy_json: String::new(),
        };
        node.member.ledger.ask(Command::ChangePool(said), now.0).await.expect("written");
        node
    }

    fn start(lasting: Lasting) -> Self {
        let member = Member::open(&lasting.folder, &lasting.signer, &lasting.time, &lasting.cuts);
        let settings = Settings::new(&lasting.api).expect("an address");
        let credential = Credential::Token(Secret::new(lasting.token.as_str()), TokenOrigin::Given);
        let clock = Arc::new(HostClock::of(&lasting.time, 0));
        let client = Client::new(settings, &credential, clock, Arc::clone(&lasting.answers) as _, 1)
            .expect("a client");
        let board = SharedBoard::default();
        let prefix = name_prefix(&member.ledger.store.watcher().cluster().to_string());
        let looker = Looker::new(
            &client,
            Arc::clone(&lasting.pool),
            &lasting.architecture,
            &prefix,
            Arc::clone(&board),
        );
        let parts = Parts {
            host: Arc::clone(&member),
            engine: lasting.yard.clone(),
            client: client.clone(),
            pool: Arc::clone(&lasting.pool),
            info: Yard::engine_info("x64"),
            credentials: None,
        };
        let mut scaler = Autoscaler::new(parts, board, prefix);
        let wake = Arc::new(Notify::new());
        scaler.set_wake(Arc::clone(&wake));
        let now = lasting.time.passed();
        Self {
            member,
            client,
            scaler,
            looker,
            lines: Vec::new(),
            limits: Vec::new(),
            lasting,
            wake,
            wanted: BTreeSet::new(),
            round_at: now,
            not_before: now,
            step_at: now,
        }
    }

    /// The process ends, in the middle of whatever it does, and begins anew on the same log.
    pub(crate) async fn restarted(self) -> Self {
        let Self { member, client, scaler, looker, lasting, lines, limits, .. } = self;
        drop((scaler, looker, client));
        // tasks that were cut off let go of the log when they are next looked at
        while Arc::strong_count(&member) > 1 {
            tokio::task::yield_now().await;
        }
        // what was asked for last is written before the log is closed, whether anybody waits for it or not
        member.ledger.store.close().expect("closed");
        let before = member.ledger.store.watcher().view_digest();
        drop(member);
        lasting.cuts.revive();
        let begun = Self::start(lasting);
        let after = begun.member.ledger.store.watcher().view_digest();
        assert_eq!(before, after, "the log says the same after a restart");
        Self { lines, limits, ..begun }
    }

    fn now(&self) -> Duration {
        self.lasting.time.passed()
    }

    /// Whether a task has ended since this was asked last.
    fn is_woken(&self) -> bool {
        let woken = self.wake.notified();
        let mut woken = std::pin::pin!(woken);
        woken.as_mut().enable()
    }

    fn note(&mut self, looked: &Looked, is_round: bool) {
        let now = self.now();
        if let Some(limited) = looked.limited_for {
            self.limits.push((now, now + limited));
            (self.round_at, self.not_before) = (now + limited, now + limited);
        } else if !looked.problems.is_empty() {
            let interval = self.lasting.pool.interval();
            self.not_before = now + if is_round { AFTER_TROUBLE.min(interval) } else { AFTER_TROUBLE };
        }
    }

    async fn look(&mut self) -> bool {
        let (member, time) = (Arc::clone(&self.member), Arc::clone(&self.lasting.time));
        let now = || {
            time.pass(ASKING_TAKES);
            member.both()
        };
        if self.round_at <= self.now() {
            self.wanted.clear();
            let looked = self.looker.round(now).await;
            self.round_at = self.now() + self.lasting.pool.interval();
            self.note(&looked, true);
            return true;
        }
        if !self.wanted.is_empty() && self.not_before <= self.now() {
            let names = std::mem::take(&mut self.wanted);
            let looked = self.looker.round_of(&names, now).await;
            self.not_before = self.now() + LOOKS_APART;
            self.note(&looked, false);
            return true;
        }
        false
    }

    /// Somebody says that something happened in these repositories.
    pub(crate) fn poke(&mut self, names: BTreeSet<String>) {
        if names.is_empty() {
            return;
        }
        if self.wanted.is_empty() {
            self.not_before = self.not_before.max(self.now() + POKES_TOGETHER);
        }
        self.wanted.extend(names);
    }

    /// One step, and everything that it sets going.
    pub(crate) async fn step(&mut self) {
        let stepped = self.scaler.step(u32::MAX).await;
        self.step_at = time_of(stepped.next);
        self.lines.extend(stepped.lines);
        let names: BTreeSet<String> = {
            let board = look::held(self.scaler.board());
            let pool = &self.lasting.pool;
            let of = |name: &&String| stepped.look_at.contains(&pool.scope_of(name).to_string());
            board.repositories.keys().filter(of).cloned().collect()
        };
        self.poke(names);
        self.scaler.settle().await;
    }

    /// Goes on until a moment, unless it is cut off before.
    pub(crate) async fn live_until(&mut self, end: Duration) -> Lived {
        let cuts = Arc::clone(&self.lasting.cuts);
        tokio::select! {
            biased;
            () = cuts.reached() => Lived::Cut,
            () = self.go_on(end) => Lived::Whole,
        }
    }

    /// The same, counted from now.
    pub(crate) async fn live_for(&mut self, seconds: u64) -> Lived {
        let end = self.now() + Duration::from_secs(seconds);
        self.live_until(end).await
    }

    async fn go_on(&mut self, end: Duration) {
        let (mut turns, mut last) = (0, Duration::MAX);
        loop {
            let now = self.now();
            turns = if now == last { turns + 1 } else { 0 };
            assert!(turns < TURNS_MAX, "BUG: steps go on and on without waiting");
            last = now;
            let has_looked = self.look().await;
            let has_died = self.lasting.yard.has_died();
            let is_woken = self.is_woken();
            if has_looked || has_died || is_woken || self.step_at <= self.now() {
                self.step().await;
                continue;
            }
            let poked = (!self.wanted.is_empty()).then_some(self.not_before);
            let moments = [Some(self.round_at), poked, Some(self.step_at), self.lasting.yard.next()];
            let next = moments.into_iter().flatten().min().unwrap_or(end);
            if next > end {
                self.lasting.time.pass_until(end);
                return;
            }
            self.lasting.time.pass_until(next.max(self.now()));
        }
    }

    /// Runners of the log that are not removed.
    pub(crate) fn live_runners(&self) -> usize {
        let views = self.member.watcher().views();
        views.runners().live_of(&self.member.peer()).count()
    }
}
