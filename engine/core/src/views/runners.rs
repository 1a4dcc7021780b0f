//! Runners: which pools members keep, and the life of every runner from intent to removal.
//!
//! A pool is one entity for each author and name, its events in memory: there are few. A runner is one entity for each
//! `RunnerIntended`, folded from that event and the later ones of its author that name it. Thousands pass through in a day, so no
//! event of a runner stays in memory as such: of each only its id, its place and what it says are kept, and of a runner that is
//! removed these lie packed in one piece of some 300 bytes and its texts. They stay because a changed cut or a late event can
//! bring a runner back, and because its log is asked for long after it is gone.
//!
//! It decides nothing: whether a pool was on when a runner was intended, or a name taken, is looked at before an event is written.
//!
//! Invariants: an event that does not name its intent in `refs`, or is not of the intent's author, is no part of any runner on any
//! node; what the views show does not depend on what is packed; wall times are shown, no more.

mod entity;
mod pools;
mod runner;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wfengine_storage_format::{Body, EventId, PeerId, Role, RunnerEnd};

use crate::admitted::Admitted;
use crate::authority::Authority;
use crate::digest::DigestSum;
use entity::{Entity, Packed};
pub use pools::Pool;
use pools::Pools;
pub use runner::{Phase, Runner};

/// What became of the runners of one pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Intended, ever.
    pub intended: u64,
    /// Whose container ran, ever.
    pub provisioned: u64,
    /// That ended by themselves.
    pub done: u64,
    /// That broke after they started.
    pub failed: u64,
    /// That never ran.
    pub never_started: u64,
    /// That were stopped.
    pub stopped: u64,
    /// Not removed.
    pub live: u64,
}

impl Counts {
    fn of(runner: &Runner) -> Self {
        let ended = runner.exited.as_ref().map(|(_, _, exited)| &exited.end);
        let count = |is: bool| u64::from(is);
        Self {
            intended: 1,
            provisioned: count(runner.started.is_some()),
            done: count(matches!(ended, Some(RunnerEnd::Done { .. }))),
            failed: count(matches!(ended, Some(RunnerEnd::Failed { .. }))),
            never_started: count(matches!(ended, Some(RunnerEnd::NeverStarted { .. }))),
            stopped: count(matches!(ended, Some(RunnerEnd::Stopped { .. }))),
            live: count(runner.is_live()),
        }
    }

    fn combine(&mut self, other: &Self, with: fn(u64, u64) -> u64) {
        for (count, by) in [
            (&mut self.intended, other.intended),
            (&mut self.provisioned, other.provisioned),
            (&mut self.done, other.done),
            (&mut self.failed, other.failed),
            (&mut self.never_started, other.never_started),
            (&mut self.stopped, other.stopped),
            (&mut self.live, other.live),
        ] {
            *count = with(*count, by);
        }
    }
}

/// All that is known of runners, for a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RunnerParts(Vec<(EventId, Packed)>);

impl RunnerParts {
    /// Runners that ever were intended.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// Whether there never was one.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[derive(Clone, Debug)]
struct Live {
    entity: Entity,
    runner: Runner,
    digest: DigestSum,
}

/// All pools and runners of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Runners {
    pools: Pools,
    live: BTreeMap<EventId, Live>,
    /// Removed ones, and those whose intent does not count.
    packed: BTreeMap<EventId, Packed>,
    counts: BTreeMap<PeerId, BTreeMap<String, Counts>>,
    authors: BTreeSet<PeerId>,
    digest: DigestSum,
}

fn counts(event: (&wfengine_storage_format::ChainId, u64), authority: &Authority) -> bool {
    let (chain, seq) = event;
    authority.roster().counts(chain, seq) && authority.roster().might(&chain.author, Role::Submitter)
}

fn digest_of(runner: &Runner) -> DigestSum {
    DigestSum::of_entity("runner", &postcard::to_stdvec(runner).unwrap_or_default())
}

impl Runners {
    pub(crate) fn apply(&mut self, event: &Arc<Admitted>, authority: &Authority) {
        match &event.body {
            Body::PoolChanged(body) => self.pools.apply(event, body, authority),
            Body::RunnerIntended(body) => {
                if !self.live.contains_key(&event.id) && !self.packed.contains_key(&event.id) {
                    self.put(event.id, Entity::new(event, body), authority);
                }
            }
            body => {
                // what an event names in its refs was folded before it, on every node
                let Some(intent) = body.runner_intent().filter(|intent| event.refs.contains(intent)) else {
                    return;
                };
                if self.author_of(&intent) != Some(event.author()) {
                    return;
                }
                if let Some(mut entity) = self.take(&intent) {
                    entity.insert(event);
                    self.put(intent, entity, authority);
                }
            }
        }
    }

    fn author_of(&self, intent: &EventId) -> Option<PeerId> {
        match self.live.get(intent) {
            Some(live) => Some(live.entity.author()),
            None => Some(self.packed.get(intent)?.head()?.author),
        }
    }

    /// Takes an entity out, and what it added to sums.
    fn take(&mut self, intent: &EventId) -> Option<Entity> {
        if let Some(live) = self.live.remove(intent) {
            self.discount(&live.runner, &live.digest);
            return Some(live.entity);
        }
        let entity = self.packed.remove(intent)?.unpack()?;
        if let Some(runner) = entity.runner(intent) {
            self.discount(&runner, &digest_of(&runner));
        }
        Some(entity)
    }

    fn discount(&mut self, runner: &Runner, digest: &DigestSum) {
        self.digest.subtract(digest);
        let Some(pools) = self.counts.get_mut(&runner.author) else { return };
        if let Some(counts) = pools.get_mut(&runner.intended.pool) {
            counts.combine(&Counts::of(runner), u64::saturating_sub);
            if *counts == Counts::default() {
                pools.remove(&runner.intended.pool);
            }
        }
        if pools.is_empty() {
            self.counts.remove(&runner.author);
        }
    }

    /// Folds an entity and puts it where it belongs.
    fn put(&mut self, intent: EventId, mut entity: Entity, authority: &Authority) {
        self.authors.insert(entity.author());
        entity.judge(|chain, seq| counts((chain, seq), authority));
        let Some(runner) = entity.runner(&intent) else {
            self.packed.insert(intent, entity.pack());
            return;
        };
        let digest = digest_of(&runner);
        self.digest.add(&digest);
        let pools = self.counts.entry(runner.author).or_default();
        if !pools.contains_key(&runner.intended.pool) {
            pools.insert(runner.intended.pool.clone(), Counts::default());
        }
        if let Some(counts) = pools.get_mut(&runner.intended.pool) {
            counts.combine(&Counts::of(&runner), u64::saturating_add);
        }
        if runner.is_live() {
            self.live.insert(intent, Live { entity, runner, digest });
        } else {
            self.packed.insert(intent, entity.pack());
        }
    }

    /// Folds anew what events of these authors are part of, after their cuts or rights changed.
    pub(crate) fn refold_authors(&mut self, changed: &BTreeSet<PeerId>, authority: &Authority) {
        self.pools.refold_authors(changed, authority);
        if changed.is_disjoint(&self.authors) {
            return;
        }
        let of_live = self.live.iter().map(|(intent, live)| (*intent, live.entity.author()));
        let of_packed =
            self.packed.iter().filter_map(|(intent, packed)| Some((*intent, packed.head()?.author)));
        let concerned: Vec<EventId> = of_live
            .chain(of_packed)
            .filter(|(_, author)| changed.contains(author))
            .map(|(intent, _)| intent)
            .collect();
        for intent in concerned {
            if let Some(entity) = self.take(&intent) {
                self.put(intent, entity, authority);
            }
        }
    }

    /// A member's pools by name, those that are off included.
    pub fn pools(&self, peer: &PeerId) -> impl Iterator<Item = (&str, &Pool)> {
        self.pools.of(peer).map(|pool| (pool.said.pool.as_str(), pool))
    }
    /// One pool of a member.
    pub fn pool(&self, peer: &PeerId, name: &str) -> Option<&Pool> {
        self.pools.one(peer, name)
    }
    /// All pools, by author and name, those that are off included.
    pub fn all_pools(&self) -> impl Iterator<Item = &Pool> {
        self.pools.all()
    }

    /// The runner of an intent.
    pub fn get(&self, intent: &EventId) -> Option<Cow<'_, Runner>> {
        match self.live.get(intent) {
            Some(live) => Some(Cow::Borrowed(&live.runner)),
            None => Some(Cow::Owned(self.packed.get(intent)?.unpack()?.runner(intent)?)),
        }
    }
    /// All of them: live ones, then removed ones, each by intent. Reads every one that ever was.
    pub fn all(&self) -> impl Iterator<Item = Cow<'_, Runner>> {
        let live = self.live.values().map(|live| Cow::Borrowed(&live.runner));
        let packed = self.packed.iter();
        live.chain(packed.filter_map(|(intent, packed)| Some(Cow::Owned(packed.unpack()?.runner(intent)?))))
    }
    /// Those that are not removed, by intent.
    pub fn live(&self) -> impl Iterator<Item = &Runner> {
        self.live.values().map(|live| &live.runner)
    }
    /// Those of one member that are not removed, by intent.
    pub fn live_of(&self, peer: &PeerId) -> impl Iterator<Item = &Runner> {
        let peer = *peer;
        self.live().filter(move |runner| runner.author == peer)
    }
    /// The runner of a name: a live one if there is one, or else the one that was intended last.
    pub fn by_name(&self, name: &str) -> Option<Cow<'_, Runner>> {
        if let Some(runner) = self.live().find(|runner| runner.intended.name == name) {
            return Some(Cow::Borrowed(runner));
        }
        let named =
            self.packed.iter().filter(|(_, packed)| packed.head().is_some_and(|head| head.name == name));
        let found = named.filter_map(|(intent, packed)| {
            let entity = packed.unpack()?;
            Some((entity.order(), entity.runner(intent)?))
        });
        found.max_by(|(a, _), (b, _)| a.cmp(b)).map(|(_, runner)| Cow::Owned(runner))
    }
    /// What became of the runners of a pool.
    pub fn counts(&self, peer: &PeerId, pool: &str) -> Counts {
        self.counts.get(peer).and_then(|pools| pools.get(pool)).copied().unwrap_or_default()
    }
    /// What became of the runners of every pool that had any, by author and pool.
    pub fn all_counts(&self) -> impl Iterator<Item = (&PeerId, &str, &Counts)> {
        let pools = self.counts.iter();
        pools.flat_map(|(peer, pools)| pools.iter().map(move |(pool, counts)| (peer, pool.as_str(), counts)))
    }

    /// The events behind the pools, for a checkpoint. Runners come as [`Self::parts`].
    pub fn events(&self) -> impl Iterator<Item = &Arc<Admitted>> {
        self.pools.events()
    }
    /// What is kept of all runners, for a checkpoint.
    pub fn parts(&self) -> RunnerParts {
        let live = self.live.iter().map(|(intent, live)| (*intent, live.entity.pack()));
        RunnerParts(
            live.chain(self.packed.iter().map(|(intent, packed)| (*intent, packed.clone()))).collect(),
        )
    }
    pub(crate) fn restore(&mut self, parts: RunnerParts, authority: &Authority) {
        for (intent, packed) in parts.0 {
            if let Some(entity) = packed.unpack() {
                self.put(intent, entity, authority);
            }
        }
    }

    pub(crate) fn digest_sum(&self) -> DigestSum {
        let mut sum = self.digest;
        sum.add(&self.pools.digest_sum());
        sum
    }
}
