//! How many strangers, handshakes and connections there may be at once.
//!
//! Counts only; it sees no packets and decides nothing about membership. What was counted is given back by dropping
//! [`HalfOpen`] or by [`Slot::release`], on every path out.
//!
//! Invariant: each count is the number of its living guards.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wfengine_storage_format::PeerId;

use crate::limits::Limits;

/// The counters of one endpoint.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: Limits,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    half_open: usize,
    unauthenticated: usize,
    connections: usize,
    per_peer: BTreeMap<PeerId, usize>,
}

/// What to do with a handshake that wants to begin.
#[derive(Debug)]
pub(crate) enum Knock {
    /// Go on, and keep the guard until the handshake is over.
    Proceed(HalfOpen),
    /// Ask for a proof of the address first.
    Retry,
    /// There are too many.
    Refuse,
}

/// Which end dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Dialled,
    Answered,
}

/// Which limit leaves no room for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// Connections with this key.
    #[error("there are already {0} connections with this key")]
    WithThisKey(usize),
    /// Inbound connections that have not been authenticated.
    #[error("there are already {0} unauthenticated connections")]
    Unauthenticated(usize),
    /// Connections in all.
    #[error("there are already {0} connections")]
    InAll(usize),
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, counts: Mutex::default() })
    }

    /// A stranger's first packet. `validated`: its address has been proved.
    pub(crate) fn knock(self: &Arc<Self>, validated: bool) -> Knock {
        let mut counts = self.lock();
        if counts.half_open >= self.limits.half_open
            || counts.unauthenticated >= self.limits.unauthenticated
            || counts.connections >= self.limits.connections
        {
            return Knock::Refuse;
        }
        if counts.half_open >= self.limits.half_open_before_retry && !validated {
            return Knock::Retry;
        }
        counts.half_open += 1;
        Knock::Proceed(HalfOpen { admission: self.clone() })
    }

    /// A finished handshake with a proved key.
    pub(crate) fn admit(self: &Arc<Self>, peer: PeerId, direction: Direction) -> Result<Arc<Slot>, NoRoom> {
        let mut counts = self.lock();
        let with_this_key = counts.per_peer.get(&peer).copied().unwrap_or(0);
        // a dial is this node's own will, so only callers count as strangers
        let stranger = direction == Direction::Answered;
        if with_this_key >= self.limits.connections_per_peer {
            return Err(NoRoom::WithThisKey(with_this_key));
        }
        if stranger && counts.unauthenticated >= self.limits.unauthenticated {
            return Err(NoRoom::Unauthenticated(counts.unauthenticated));
        }
        if counts.connections >= self.limits.connections {
            return Err(NoRoom::InAll(counts.connections));
        }
        counts.connections += 1;
        counts.unauthenticated += usize::from(stranger);
        counts.per_peer.insert(peer, with_this_key + 1);
        let held = Held { connection: true, stranger };
        Ok(Arc::new(Slot { admission: self.clone(), peer, held: Mutex::new(held) }))
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One handshake that has begun.
#[derive(Debug)]
pub(crate) struct HalfOpen {
    admission: Arc<Admission>,
}

impl Drop for HalfOpen {
    fn drop(&mut self) {
        self.admission.lock().half_open -= 1;
    }
}

/// One connection's place.
#[derive(Debug)]
pub(crate) struct Slot {
    admission: Arc<Admission>,
    peer: PeerId,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    connection: bool,
    stranger: bool,
}

impl Slot {
    /// The peer is no stranger any more.
    pub(crate) fn authenticated(&self) {
        let mut held = self.lock();
        self.admission.lock().unauthenticated -= usize::from(std::mem::take(&mut held.stranger));
    }

    /// Gives the place back; further calls do nothing.
    pub(crate) fn release(&self) {
        let mut held = self.lock();
        let mut counts = self.admission.lock();
        counts.unauthenticated -= usize::from(std::mem::take(&mut held.stranger));
        if !std::mem::take(&mut held.connection) {
            return;
        }
        counts.connections -= 1;
        if let Some(with_this_key) = counts.per_peer.get_mut(&self.peer) {
            *with_this_key -= 1;
            if *with_this_key == 0 {
                counts.per_peer.remove(&self.peer);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission() -> Arc<Admission> {
        Admission::new(Limits {
            half_open_before_retry: 1,
            half_open: 2,
            unauthenticated: 2,
            connections_per_peer: 2,
            connections: 3,
            ..Limits::default()
        })
    }

    fn peer(byte: u8) -> PeerId {
        PeerId::from_bytes([byte; 32])
    }

    #[test]
    fn busy_doors_ask_for_a_proof_and_full_ones_refuse() {
        let admission = admission();
        let first = admission.knock(false);
        assert!(matches!(first, Knock::Proceed(_)));
        assert!(matches!(admission.knock(false), Knock::Retry));
        let second = admission.knock(true);
        assert!(matches!(second, Knock::Proceed(_)));
        assert!(matches!(admission.knock(true), Knock::Refuse));
        drop(first);
        assert!(matches!(admission.knock(true), Knock::Proceed(_)));
    }

    #[test]
    fn one_key_has_few_places_and_gets_them_back() {
        let admission = admission();
        let held = [(); 2].map(|()| admission.admit(peer(1), Direction::Dialled).unwrap());
        assert_eq!(admission.admit(peer(1), Direction::Answered).unwrap_err(), NoRoom::WithThisKey(2));
        held[0].release();
        held[0].release();
        let again = admission.admit(peer(1), Direction::Answered).unwrap();
        drop((held, again));
        let counts = admission.lock();
        assert!(counts.per_peer.is_empty());
        assert_eq!((counts.connections, counts.unauthenticated), (0, 0));
    }

    #[test]
    fn strangers_fill_their_own_limit_until_authenticated() {
        let admission = admission();
        let first = admission.admit(peer(1), Direction::Answered).unwrap();
        let _second = admission.admit(peer(2), Direction::Answered).unwrap();
        assert_eq!(admission.admit(peer(3), Direction::Answered).unwrap_err(), NoRoom::Unauthenticated(2));
        assert!(matches!(admission.knock(true), Knock::Refuse));
        first.authenticated();
        first.authenticated();
        let _third = admission.admit(peer(3), Direction::Answered).unwrap();
        assert_eq!(admission.admit(peer(4), Direction::Dialled).unwrap_err(), NoRoom::InAll(3));
    }
}
