//! Pools of runners: of each the author's last word counts, in canonical order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wfengine_storage_format::{Body, EventId, PeerId, PoolChanged};

use super::counts;
use crate::admitted::Admitted;
use crate::authority::Authority;
use crate::digest::DigestSum;

/// A pool as the views show it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pool {
    /// What its author said last.
    pub said: PoolChanged,
    /// The `PoolChanged`.
    pub id: EventId,
    /// On whose host it is.
    pub author: PeerId,
    /// When it was turned on last, advisory, milliseconds since 1970; when it was first spoken of, if it never was on.
    pub since_ms: u64,
    /// When that was said, advisory, milliseconds since 1970.
    pub time_ms: u64,
}

#[derive(Clone, Debug, Default)]
struct Entity {
    /// In canonical order.
    events: Vec<Arc<Admitted>>,
    pool: Option<Pool>,
}

impl Entity {
    fn fold(&mut self, authority: &Authority) {
        self.pool = None;
        for event in self.events.iter().filter(|event| counts((&event.chain, event.seq), authority)) {
            let Body::PoolChanged(body) = &event.body else { continue };
            let turns_on = body.is_on && self.pool.as_ref().is_some_and(|before| !before.said.is_on);
            let since_ms =
                self.pool.as_ref().filter(|_| !turns_on).map_or(event.time.0, |pool| pool.since_ms);
            self.pool = Some(Pool {
                said: PoolChanged::clone(body),
                id: event.id,
                author: event.author(),
                since_ms,
                time_ms: event.time.0,
            });
        }
    }
}

/// All pools of a cluster.
#[derive(Clone, Debug, Default)]
pub(super) struct Pools(BTreeMap<PeerId, BTreeMap<String, Entity>>);

impl Pools {
    pub(super) fn apply(&mut self, event: &Arc<Admitted>, body: &PoolChanged, authority: &Authority) {
        let entity = self.0.entry(event.author()).or_default().entry(body.pool.clone()).or_default();
        let at = entity.events.partition_point(|known| known.order() < event.order());
        if entity.events.get(at).is_none_or(|known| known.id != event.id) {
            entity.events.insert(at, Arc::clone(event));
            entity.fold(authority);
        }
    }

    pub(super) fn refold_authors(&mut self, changed: &BTreeSet<PeerId>, authority: &Authority) {
        for author in changed {
            for entity in self.0.get_mut(author).into_iter().flat_map(|pools| pools.values_mut()) {
                entity.fold(authority);
            }
        }
    }

    pub(super) fn of(&self, peer: &PeerId) -> impl Iterator<Item = &Pool> {
        self.0
            .get(peer)
            .into_iter()
            .flat_map(|pools| pools.values())
            .filter_map(|entity| entity.pool.as_ref())
    }
    pub(super) fn one(&self, peer: &PeerId, name: &str) -> Option<&Pool> {
        self.0.get(peer)?.get(name)?.pool.as_ref()
    }
    pub(super) fn all(&self) -> impl Iterator<Item = &Pool> {
        self.0.values().flat_map(|pools| pools.values()).filter_map(|entity| entity.pool.as_ref())
    }
    pub(super) fn events(&self) -> impl Iterator<Item = &Arc<Admitted>> {
        self.0.values().flat_map(|pools| pools.values()).flat_map(|entity| &entity.events)
    }

    pub(super) fn digest_sum(&self) -> DigestSum {
        let mut sum = DigestSum::default();
        for pool in self.all() {
            sum.add_entity("pool", &postcard::to_stdvec(pool).unwrap_or_default());
        }
        sum
    }
}
