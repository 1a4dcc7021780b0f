//! The event: one signed fact, past tense, immutable, linked into its author's chain and to other chains.

use serde::{Deserialize, Serialize};

use crate::codec::with_scratch;
use crate::hash::{Hash32, clock_head, sha256};
use crate::id::{BlobId, ChainId, EventId, Incarnation};
use crate::kind::Kind;
use crate::limits::{BLOBS_MAX, EVENT_BYTES_MAX, HEIGHT_MAX, PARENTS_MAX, REFS_MAX};
use crate::wire::put_event;

/// One event of a chain by its place and its id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Tip {
    /// Which chain.
    pub chain: ChainId,
    /// Which place in it, from 0.
    pub seq: u64,
    /// Which event.
    pub id: EventId,
}

/// How much of one of an author's chains counts: the events with `seq < length`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ChainCut {
    /// Which of the author's chains.
    pub incarnation: Incarnation,
    /// Number of events that count.
    pub length: u64,
}

/// The canonical envelope and the body's bytes.
///
/// Its [`EventId`] is `SHA-256("wfengine/event/v1" ‖ postcard of this)`. The cluster is not a field: an event hangs on
/// its cluster's founding event by its links, and the frame that carries it names the cluster under the signature.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// The author's chain.
    pub chain: ChainId,
    /// Place in the chain, from 0.
    pub seq: u64,
    /// The chain's previous event. The first event of a chain names the last tip of the author's previous chain.
    pub prev: Option<EventId>,
    /// Tips of other chains the author knew: authority heads first, then greatest heights. Only a frame's first event
    /// has any.
    pub parents: Vec<Tip>,
    /// 1 + the greatest height of `prev`, parents and refs: the logical clock.
    pub height: u64,
    /// Wall time in milliseconds since 1970, UTC. Advisory: shown, decides nothing.
    pub time_ms: u64,
    /// Events the body speaks of; awaited like parents.
    pub refs: Vec<EventId>,
    /// Blobs the event needs, so that nobody collects them.
    pub blobs: Vec<BlobId>,
    /// What the body is.
    pub kind: Kind,
    /// The canonical body, byte for byte, also of kinds this version does not know.
    pub body: Vec<u8>,
}

impl Event {
    /// The event's id.
    pub fn id(&self) -> EventId {
        let write = |out: &mut Vec<u8>| {
            out.extend_from_slice(b"wfengine/event/v1");
            put_event(out, self);
        };
        EventId::from_bytes(with_scratch(write, sha256))
    }

    /// The merkle clock head that this event's author saw when writing it: the hash of `prev` and the parents.
    pub fn clock_head(&self) -> Hash32 {
        clock_head(self.prev.into_iter().chain(self.parents.iter().map(|tip| tip.id)))
    }

    /// Every event that must be known before this one: `prev`, parents and refs.
    pub fn dependencies(&self) -> impl Iterator<Item = EventId> + '_ {
        self.prev.into_iter().chain(self.parents.iter().map(|tip| tip.id)).chain(self.refs.iter().copied())
    }

    /// The place of the event, given its id.
    pub fn tip(&self, id: EventId) -> Tip {
        Tip { chain: self.chain, seq: self.seq, id }
    }

    /// Which envelope rule the event breaks on its own, without looking at any other event.
    pub(crate) fn broken_rule(&self) -> Option<&'static str> {
        let parents_twice = || {
            let mut chains: Vec<ChainId> = self.parents.iter().map(|tip| tip.chain).collect();
            chains.sort_unstable();
            chains.windows(2).any(|pair| pair[0] == pair[1])
        };
        if self.parents.len() > PARENTS_MAX {
            Some("too many parents")
        } else if self.refs.len() > REFS_MAX {
            Some("too many refs")
        } else if self.blobs.len() > BLOBS_MAX {
            Some("too many blobs")
        } else if self.body.len() > EVENT_BYTES_MAX {
            Some("body too long")
        } else if self.height == 0 || self.height > HEIGHT_MAX {
            Some("height out of range")
        } else if self.seq > 0 && self.prev.is_none() {
            Some("prev is missing")
        } else if self.parents.iter().any(|tip| tip.chain == self.chain) {
            Some("a parent is of the event's own chain")
        } else if parents_twice() {
            Some("two parents are of one chain")
        } else {
            None
        }
    }
}
