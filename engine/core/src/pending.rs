//! Verified frames that wait for something they name. Bounded by bytes for each peer that brought them.
//!
//! Nothing waits twice, nothing is folded from here: when what a frame waits for arrives, the frame comes back to be admitted
//! like any other. What does not fit is dropped; anti-entropy brings it again.

use std::collections::{BTreeMap, BTreeSet};

use wfengine_storage_format::{EventId, PeerId, VerifiedFrame};

use crate::log::Need;

/// Bytes of waiting frames that one peer may occupy.
pub const PENDING_BYTES_PER_PEER_MAX: usize = 4 * 1024 * 1024;

/// Frames that wait.
#[derive(Debug, Default)]
pub struct Pending {
    frames: BTreeMap<EventId, Waiting>,
    by_need: BTreeMap<Need, BTreeSet<EventId>>,
    bytes_by_peer: BTreeMap<PeerId, usize>,
}

#[derive(Debug)]
struct Waiting {
    frame: VerifiedFrame,
    from: PeerId,
    needs: Vec<Need>,
}

impl Pending {
    /// Keeps a frame until one of its needs arrives. Says whether there was room.
    pub fn keep(&mut self, frame: VerifiedFrame, from: PeerId, needs: Vec<Need>) -> bool {
        let key = frame.header().last;
        if self.frames.contains_key(&key) {
            return true;
        }
        let used = self.bytes_by_peer.entry(from).or_default();
        if *used + frame.bytes().len() > PENDING_BYTES_PER_PEER_MAX {
            return false;
        }
        *used += frame.bytes().len();
        for need in &needs {
            self.by_need.entry(*need).or_default().insert(key);
        }
        self.frames.insert(key, Waiting { frame, from, needs });
        true
    }

    /// Frames that waited for something an admitted frame brings: its events, its chain's next place, members it admits. To be
    /// asked when the frame's events are folded, so that the members it admits are known as such.
    pub fn wake(&mut self, admitted: &VerifiedFrame) -> Vec<(VerifiedFrame, PeerId)> {
        if self.frames.is_empty() {
            return Vec::new();
        }
        let mut arrived: Vec<Need> = admitted.events().iter().map(|(id, _)| Need::Event(*id)).collect();
        let header = admitted.header();
        // a gap is filled by any frame that reaches the missing place
        let chain = header.chain;
        arrived.extend(
            self.by_need
                .range(Need::Place { chain, seq: 0 }..=Need::Place { chain, seq: header.end_seq() })
                .map(|(need, _)| *need),
        );
        for (_, event) in admitted.events().iter().filter(|(_, event)| event.kind.is_authority()) {
            let body = wfengine_storage_format::Body::decode(event.kind, &event.body);
            arrived.extend(body.peer().map(Need::Member));
            if matches!(body, wfengine_storage_format::Body::ClusterFounded(_)) {
                arrived.push(Need::Member(chain.author));
            }
        }
        let keys: BTreeSet<EventId> =
            arrived.iter().filter_map(|need| self.by_need.get(need)).flatten().copied().collect();
        keys.into_iter().filter_map(|key| self.take(&key)).collect()
    }

    fn take(&mut self, key: &EventId) -> Option<(VerifiedFrame, PeerId)> {
        let waiting = self.frames.remove(key)?;
        for need in &waiting.needs {
            if let Some(keys) = self.by_need.get_mut(need) {
                keys.remove(key);
                if keys.is_empty() {
                    self.by_need.remove(need);
                }
            }
        }
        if let Some(used) = self.bytes_by_peer.get_mut(&waiting.from) {
            *used = used.saturating_sub(waiting.frame.bytes().len());
        }
        Some((waiting.frame, waiting.from))
    }

    /// Drops everything a peer brought, after it left or broke the protocol.
    pub fn forget_peer(&mut self, from: &PeerId) {
        let keys: Vec<EventId> =
            self.frames.iter().filter(|(_, waiting)| waiting.from == *from).map(|(key, _)| *key).collect();
        for key in keys {
            self.take(&key);
        }
        self.bytes_by_peer.remove(from);
    }

    /// What the waiting frames wait for: worth asking every peer.
    pub fn needs(&self) -> impl Iterator<Item = &Need> {
        self.by_need.keys()
    }
    /// Number of waiting frames.
    pub fn len(&self) -> usize {
        self.frames.len()
    }
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}
