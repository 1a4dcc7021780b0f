//! Whose events a run is made of, kept once for all runs of the same authors: a cluster has few of them and millions of runs.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wfengine_storage_format::PeerId;

/// Distinct sets kept to be shared. A run of other authors holds a set of its own.
const SHARED_LEN_MAX: usize = 1_024;

/// A set of peers, ascending.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Authors(Arc<[PeerId]>);

impl Deref for Authors {
    type Target = [PeerId];
    fn deref(&self) -> &[PeerId] {
        &self.0
    }
}

impl Serialize for Authors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Authors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Vec::deserialize(deserializer)?.into()))
    }
}

/// The sets that finished runs share.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownAuthors {
    sets: BTreeSet<Arc<[PeerId]>>,
    scratch: Vec<PeerId>,
}

impl KnownAuthors {
    /// The set of these peers.
    pub(crate) fn of(&mut self, peers: impl Iterator<Item = PeerId>) -> Authors {
        self.scratch.clear();
        for peer in peers {
            // events of one author mostly follow each other
            if self.scratch.last() != Some(&peer) {
                self.scratch.push(peer);
            }
        }
        self.scratch.sort_unstable();
        self.scratch.dedup();
        match self.sets.get(self.scratch.as_slice()) {
            Some(known) => Authors(Arc::clone(known)),
            None => self.keep(self.scratch.as_slice().into()),
        }
    }

    /// Replaces a set by the one that others hold already.
    pub(crate) fn share(&mut self, authors: &mut Authors) {
        match self.sets.get(&authors.0) {
            Some(known) => authors.0 = Arc::clone(known),
            None => drop(self.keep(Arc::clone(&authors.0))),
        }
    }

    fn keep(&mut self, set: Arc<[PeerId]>) -> Authors {
        if self.sets.len() < SHARED_LEN_MAX {
            self.sets.insert(Arc::clone(&set));
        }
        Authors(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_the_same_authors_share_one_set_whatever_the_order() {
        let (a, b) = (PeerId::from_bytes([1; 32]), PeerId::from_bytes([2; 32]));
        let mut known = KnownAuthors::default();
        let first = known.of([b, b, a, b].into_iter());
        let mut restored = Authors(vec![a, b].into());
        known.share(&mut restored);
        assert_eq!(&*first, [a, b]);
        assert!(Arc::ptr_eq(&first.0, &known.of([a, b].into_iter()).0));
        assert!(Arc::ptr_eq(&first.0, &restored.0));
        assert_ne!(known.of([a].into_iter()), first);
    }
}
