//! The peer table: what members say of themselves. The last description in canonical order counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use wfengine_storage_format::{Body, PeerDescribed, PeerId};

use crate::admitted::Admitted;
use crate::authority::Authority;
use crate::digest::DigestSum;

/// Descriptions by peer.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    events: BTreeMap<PeerId, Vec<Arc<Admitted>>>,
    described: BTreeMap<PeerId, PeerDescribed>,
}

impl Peers {
    /// Folds a description.
    pub(crate) fn apply(&mut self, event: &Arc<Admitted>, authority: &Authority) {
        let events = self.events.entry(event.author()).or_default();
        if events.iter().any(|known| known.id == event.id) {
            return;
        }
        let place = events.partition_point(|known| known.order() < event.order());
        events.insert(place, Arc::clone(event));
        self.refold_author(&event.author(), authority);
    }

    /// Folds one peer anew, after its cuts changed.
    pub(crate) fn refold_author(&mut self, author: &PeerId, authority: &Authority) {
        let Some(events) = self.events.get(author) else { return };
        let last =
            events.iter().rev().filter(|event| authority.roster().counts(&event.chain, event.seq)).find_map(
                |event| match &event.body {
                    Body::PeerDescribed(body) => Some(body.clone()),
                    _ => None,
                },
            );
        match last {
            Some(described) => self.described.insert(*author, described),
            None => self.described.remove(author),
        };
    }

    /// What a peer said of itself last.
    pub fn described(&self, peer: &PeerId) -> Option<&PeerDescribed> {
        self.described.get(peer)
    }
    /// All descriptions by peer.
    pub fn all(&self) -> &BTreeMap<PeerId, PeerDescribed> {
        &self.described
    }
    /// The events behind the table, for a checkpoint.
    pub fn events(&self) -> impl Iterator<Item = &Arc<Admitted>> {
        self.events.values().flatten()
    }

    pub(crate) fn digest_sum(&self) -> DigestSum {
        let mut sum = DigestSum::default();
        for entry in &self.described {
            sum.add_entity("peer", &postcard::to_stdvec(&entry).unwrap_or_default());
        }
        sum
    }
}
