//! The views: everything that is derived from the log. Folded event by event, published together.
//!
//! Authority first, then many small entities, each a pure fold over its own events in canonical order, below the cuts. Nodes that
//! hold the same events have byte-identical views, whatever the order of arrival: [`Views::digest`] compares them. A late event
//! re-folds its one entity; a changed cut re-folds the entities its author touched.
//!
//! Invariant: `apply` cannot fail. What makes no sense is void, on every node alike, and listed as such.

pub mod authors;
pub mod job;
pub mod peers;
pub mod repositories;
pub mod run;
pub(crate) mod run_effects;
pub(crate) mod run_fold;
mod run_status;
pub mod runners;
pub mod runs;
pub mod sorted_map;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wfengine_storage_format::{Body, ClusterId, EventId, Hash32, Kind, PeerId, RunId};

use crate::admitted::Admitted;
use crate::authority::Authority;
use crate::digest::DigestSum;
use peers::Peers;
use repositories::Repositories;
use runners::{RunnerParts, Runners};
use runs::{History, Runs, Sharing};

/// What the views mean: digests are compared only between nodes whose views have this version. How a checkpoint lays them out has a
/// version of its own, in the store.
///
/// 1 knew no repositories, triggers and effects, 3 no pools and runners.
pub const VIEWS_VERSION: u32 = 4;

/// What an event changed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// The run it belongs to.
    pub run: Option<RunId>,
    /// Whether members, roles or cuts changed.
    pub authority: bool,
}

/// Events that belong to no entity, as a checkpoint keeps them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Leftovers {
    unknown: BTreeMap<Kind, u64>,
    void: BTreeMap<EventId, String>,
    void_len: u64,
}

/// All views of one cluster.
#[derive(Clone, Debug)]
pub struct Views {
    authority: Authority,
    runs: Runs,
    peers: Peers,
    repositories: Repositories,
    runners: Runners,
    unknown: BTreeMap<Kind, u64>,
    void: BTreeMap<EventId, String>,
    void_len: u64,
}

/// Void events listed by name; beyond that they are only counted.
const VOID_LISTED_MAX: usize = 1024;

impl Views {
    /// The views of a cluster before its first event.
    pub fn new(cluster: ClusterId) -> Self {
        Self {
            authority: Authority::new(cluster),
            runs: Runs::default(),
            peers: Peers::default(),
            repositories: Repositories::default(),
            runners: Runners::default(),
            unknown: BTreeMap::new(),
            void: BTreeMap::new(),
            void_len: 0,
        }
    }

    /// Folds an admitted event. `history` is asked for the events of entities that are no longer in memory.
    pub fn apply(&mut self, event: &Arc<Admitted>, history: &impl History) -> Applied {
        let applied = self.take(event, history);
        self.settle();
        applied
    }

    /// Folds admitted events together, in any order that keeps each after what it names: the same as [`Self::apply`] for one after
    /// the other, but a run is folded once however many of them are its own.
    pub fn apply_all<'a>(
        &mut self,
        events: impl IntoIterator<Item = &'a Arc<Admitted>>,
        history: &impl History,
    ) {
        for event in events {
            self.take(event, history);
        }
        self.settle();
    }

    /// Folds the runs that events were taken for. Until then runs are not to be looked at.
    pub(crate) fn settle(&mut self) {
        self.runs.settle(&self.authority);
    }

    /// As [`Self::settle`], the work shared as the caller likes.
    pub(crate) fn settle_shared(&mut self, sharing: &Sharing) {
        self.runs.settle_shared(&self.authority, sharing);
    }

    /// Takes an event to its entity: the authority and peers are folded at once, runs by [`Self::settle`].
    pub(crate) fn take(&mut self, event: &Arc<Admitted>, history: &impl History) -> Applied {
        match &event.body {
            Body::Unknown => {
                *self.unknown.entry(event.kind).or_default() += 1;
                Applied::default()
            }
            Body::Void(reason) => {
                self.void_len += 1;
                self.void.insert(event.id, reason.to_string());
                if self.void.len() > VOID_LISTED_MAX {
                    // the least ids are listed, so that the list does not depend on the order of arrival
                    self.void.pop_last();
                }
                Applied::default()
            }
            _ if event.kind.is_authority() => {
                let changed = self.authority.apply(event);
                self.runs.refold_authors(&changed, history);
                self.repositories.refold_authors(&changed, &self.authority);
                self.runners.refold_authors(&changed, &self.authority);
                for author in &changed {
                    self.peers.refold_author(author, &self.authority);
                }
                Applied { run: None, authority: true }
            }
            Body::PeerDescribed(_) => {
                self.peers.apply(event, &self.authority);
                Applied::default()
            }
            Body::RepositoryScanned(_)
            | Body::WorkflowFound(_)
            | Body::WorkflowVanished(_)
            | Body::DiscoveryChanged(_) => {
                self.repositories.apply(event, &self.authority);
                Applied::default()
            }
            Body::PoolChanged(_)
            | Body::RunnerIntended(_)
            | Body::RunnerStarted(_)
            | Body::RunnerExited(_)
            | Body::RunnerRemoved(_) => {
                self.runners.apply(event, &self.authority);
                Applied::default()
            }
            _ => {
                let run = event.run();
                if let Some(run) = run {
                    self.runs.take(run, event, history);
                }
                Applied { run, authority: false }
            }
        }
    }

    /// The events behind all that is in memory, for a checkpoint: finished runs that left it come as what is known of them, and
    /// runners as their parts.
    pub fn events(&self) -> impl Iterator<Item = &Arc<Admitted>> {
        let authority = self.authority.events().values();
        let few = self.peers.events().chain(self.repositories.events()).chain(self.runners.events());
        authority.chain(few).chain(self.runs.live_events())
    }

    /// Puts back what a checkpoint kept of runners. Who is a member is known before.
    pub fn restore_runners(&mut self, parts: RunnerParts) {
        self.runners.restore(parts, &self.authority);
    }

    /// What a checkpoint keeps of events that belong to no entity.
    pub fn leftovers(&self) -> Leftovers {
        Leftovers { unknown: self.unknown.clone(), void: self.void.clone(), void_len: self.void_len }
    }
    /// Puts back what a checkpoint kept.
    pub fn restore_leftovers(&mut self, leftovers: Leftovers) {
        (self.unknown, self.void, self.void_len) = (leftovers.unknown, leftovers.void, leftovers.void_len);
    }

    /// Members, roles, cuts.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }
    /// Runs and their jobs.
    pub fn runs(&self) -> &Runs {
        &self.runs
    }
    /// Runs and their jobs, to let finished ones leave memory.
    pub fn runs_mut(&mut self) -> &mut Runs {
        &mut self.runs
    }
    /// Names and addresses of peers.
    pub fn peers(&self) -> &Peers {
        &self.peers
    }
    /// Repositories, and who looks at them.
    pub fn repositories(&self) -> &Repositories {
        &self.repositories
    }
    /// Pools of runners, and runners.
    pub fn runners(&self) -> &Runners {
        &self.runners
    }
    /// Kinds this version does not know, with the number of events.
    pub fn unknown(&self) -> &BTreeMap<Kind, u64> {
        &self.unknown
    }
    /// Whether an unknown critical kind forbids deciding anything: the operator must upgrade.
    pub fn must_upgrade(&self) -> Option<Kind> {
        self.unknown.keys().copied().find(|kind| kind.is_critical())
    }
    /// Events whose body says nothing, with the reason; the 1,024 least ids of them.
    pub fn void(&self) -> &BTreeMap<EventId, String> {
        &self.void
    }
    /// Number of events whose body says nothing.
    pub fn void_len(&self) -> u64 {
        self.void_len
    }

    /// The name of a peer as people know it.
    pub fn peer_name(&self, peer: &PeerId) -> String {
        let described = self.peers.described(peer).map(|described| described.name.clone());
        let admitted = || self.authority.roster().member(peer).map(|member| member.name.clone());
        described.or_else(admitted).filter(|name| !name.is_empty()).unwrap_or_else(|| peer.short())
    }

    /// One hash over everything folded. Equal event sets give equal digests; different views give different ones.
    pub fn digest(&mut self) -> Hash32 {
        let mut sum = self.runs.digest_sum();
        sum.add(&self.peers.digest_sum());
        sum.add(&self.repositories.digest_sum());
        sum.add(&self.runners.digest_sum());
        for (peer, member) in self.authority.roster().members() {
            let bytes = postcard::to_stdvec(&(
                peer,
                &member.name,
                member.roles,
                &member.labels,
                &member.system,
                member.weight,
                member.admitted_by,
            ));
            sum.add_entity("member", &bytes.unwrap_or_default());
        }
        // void bodies take no part: above a fork cut nodes hold different ones
        let void = postcard::to_stdvec(self.authority.roster().void());
        sum.add_entity("void", &void.unwrap_or_default());
        sum.add_entity("version", &VIEWS_VERSION.to_le_bytes());
        DigestSum::finish(&sum)
    }
}
