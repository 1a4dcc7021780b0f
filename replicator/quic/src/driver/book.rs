//! The address book: whom to dial, where, and when again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wfengine_core::time::Monotonic;
use wfengine_storage_format::PeerId;

/// Wait before an address is dialled again, doubled after each failure.
const AGAIN: Duration = Duration::from_secs(1);
/// Longest such wait.
const AGAIN_MAX: Duration = Duration::from_secs(30);
/// Addresses remembered in all.
const ADDRESSES_MAX: usize = 4_096;

#[derive(Clone, Debug)]
struct Entry {
    /// Whose it is said to be; whoever answers, if unknown.
    peer: Option<PeerId>,
    /// Told by the operator: stays until the operator takes it back.
    by_hand: bool,
    due: Monotonic,
    wait: Duration,
    dialling: bool,
}

/// Addresses and when to dial them.
#[derive(Debug, Default)]
pub(super) struct Book {
    entries: BTreeMap<String, Entry>,
}

impl Book {
    /// An address told by the operator or an invite.
    pub(super) fn add_by_hand(&mut self, address: String, now: Monotonic) {
        let entry = Entry { peer: None, by_hand: true, due: now, wait: AGAIN, dialling: false };
        self.entries.entry(address).and_modify(|known| known.by_hand = true).or_insert(entry);
    }

    /// The operator takes an address back.
    pub(super) fn remove(&mut self, address: &str) {
        self.entries.remove(address);
    }

    /// The addresses a member tells of itself. Others it told before are forgotten.
    pub(super) fn set_of(&mut self, peer: PeerId, addresses: &[String], now: Monotonic) {
        self.entries.retain(|address, entry| {
            entry.peer != Some(peer) || entry.by_hand || addresses.contains(address)
        });
        for address in addresses.iter().take(8) {
            if self.entries.len() >= ADDRESSES_MAX {
                return;
            }
            let entry = Entry { peer: Some(peer), by_hand: false, due: now, wait: AGAIN, dialling: false };
            self.entries.entry(address.clone()).or_insert(entry);
        }
    }

    /// What is to be dialled now: address and the key that has to answer. Nobody who is connected is dialled.
    pub(super) fn due(
        &mut self,
        connected: &BTreeSet<PeerId>,
        now: Monotonic,
    ) -> Vec<(String, Option<PeerId>)> {
        let mut due = Vec::new();
        let mut dialled: BTreeSet<PeerId> =
            self.entries.values().filter(|entry| entry.dialling).filter_map(|entry| entry.peer).collect();
        for (address, entry) in &mut self.entries {
            let known = entry.peer.is_some_and(|peer| connected.contains(&peer) || dialled.contains(&peer));
            if entry.dialling || known || entry.due > now {
                continue;
            }
            entry.dialling = true;
            dialled.extend(entry.peer);
            due.push((address.clone(), entry.peer));
        }
        due
    }

    /// When the next address is due.
    pub(super) fn next_due(&self, connected: &BTreeSet<PeerId>) -> Option<Monotonic> {
        let waits =
            |entry: &&Entry| !entry.dialling && !entry.peer.is_some_and(|peer| connected.contains(&peer));
        self.entries.values().filter(waits).map(|entry| entry.due).min()
    }

    /// A dial reached somebody.
    pub(super) fn reached(&mut self, address: &str, peer: PeerId, now: Monotonic) {
        if let Some(entry) = self.entries.get_mut(address) {
            entry.dialling = false;
            entry.peer = Some(peer);
            entry.wait = AGAIN;
            entry.due = now + AGAIN;
        }
    }

    /// A dial reached nobody, or itself.
    pub(super) fn failed(&mut self, address: &str, now: Monotonic) {
        if let Some(entry) = self.entries.get_mut(address) {
            entry.dialling = false;
            entry.due = now + entry.wait;
            entry.wait = (entry.wait * 2).min(AGAIN_MAX);
        }
    }

    /// A member's connection was lost: it is dialled soon.
    pub(super) fn lost(&mut self, peer: &PeerId, now: Monotonic) {
        for entry in self.entries.values_mut().filter(|entry| entry.peer == Some(*peer)) {
            entry.due = now + AGAIN;
            entry.wait = AGAIN;
        }
    }
}
