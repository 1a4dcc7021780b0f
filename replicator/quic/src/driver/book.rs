//! The address book: whom to dial, where, and when again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wfengine_core::time::Monotonic;
use wfengine_storage_format::PeerId;

/// Wait before an address is dialled again, doubled after each failure.
const AGAIN: Duration = Duration::from_secs(1);
/// Longest such wait.
const AGAIN_MAX: Duration = Duration::from_secs(30);
/// Longest such wait of a node that is connected with nobody: it was cut off itself, and the way back may open at any moment.
const AGAIN_ALONE_MAX: Duration = Duration::from_secs(3);
/// Addresses remembered of one member and one source.
const ADDRESSES_OF_PEER_MAX: usize = 8;
/// Addresses remembered in all.
const ADDRESSES_MAX: usize = 4_096;

/// Where an address comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    /// Told by the operator: stays until the operator takes it back.
    Hand,
    /// Told by the member itself, in the log or in its greeting.
    Told,
    /// Seen on the local network, where anybody may say anything.
    Lan,
}

#[derive(Clone, Debug)]
struct Entry {
    /// Whose it is said to be; whoever answers, if unknown.
    peer: Option<PeerId>,
    source: Source,
    /// The last attempt ended here, or there was none.
    ended: Monotonic,
    /// How long to wait from then on.
    wait: Duration,
    /// The wait after the next failure.
    next_wait: Duration,
    dialling: bool,
}

impl Entry {
    fn new(peer: Option<PeerId>, source: Source, now: Monotonic) -> Self {
        Self { peer, source, ended: now, wait: Duration::ZERO, next_wait: AGAIN, dialling: false }
    }

    fn due(&self, is_alone: bool) -> Monotonic {
        self.ended + if is_alone { self.wait.min(AGAIN_ALONE_MAX) } else { self.wait }
    }

    /// Dials it soon, and not ever more rarely.
    fn soon(&mut self, now: Monotonic) {
        (self.ended, self.wait, self.next_wait) = (now, AGAIN, AGAIN);
    }
}

/// Addresses and when to dial them.
#[derive(Debug, Default)]
pub(super) struct Book {
    entries: BTreeMap<String, Entry>,
}

impl Book {
    /// An address told by the operator or an invite.
    pub(super) fn add_by_hand(&mut self, address: String, now: Monotonic) {
        let entry = Entry::new(None, Source::Hand, now);
        self.entries.entry(address).and_modify(|known| known.source = Source::Hand).or_insert(entry);
    }

    /// The operator takes an address back.
    pub(super) fn remove(&mut self, address: &str) {
        self.entries.remove(address);
    }

    /// The addresses a member tells of itself. Others it told before are forgotten.
    pub(super) fn set_of(&mut self, peer: PeerId, addresses: &[String], now: Monotonic) {
        self.replace(peer, addresses, Source::Told, now);
    }

    /// Where a member was seen on the local network. Where it was seen there before is forgotten; what it told itself is not.
    pub(super) fn set_seen(&mut self, peer: PeerId, addresses: &[String], now: Monotonic) {
        self.replace(peer, addresses, Source::Lan, now);
    }

    fn replace(&mut self, peer: PeerId, addresses: &[String], source: Source, now: Monotonic) {
        self.entries.retain(|address, entry| {
            entry.peer != Some(peer) || entry.source != source || addresses.contains(address)
        });
        for address in addresses.iter().take(ADDRESSES_OF_PEER_MAX) {
            if self.entries.len() >= ADDRESSES_MAX {
                return;
            }
            self.entries.entry(address.clone()).or_insert(Entry::new(Some(peer), source, now));
        }
    }

    /// Those who are members no more are not dialled, unless the operator said so.
    pub(super) fn keep_members(&mut self, members: &BTreeSet<PeerId>) {
        self.entries.retain(|_, entry| {
            entry.source == Source::Hand || entry.peer.is_none_or(|peer| members.contains(&peer))
        });
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
            if entry.dialling || known || entry.due(connected.is_empty()) > now {
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
        self.entries.values().filter(waits).map(|entry| entry.due(connected.is_empty())).min()
    }

    /// A dial reached somebody, who may yet turn out to be a stranger or to refuse this node.
    pub(super) fn reached(&mut self, address: &str, peer: PeerId, now: Monotonic) {
        self.failed(address, now);
        if let Some(entry) = self.entries.get_mut(address) {
            entry.peer = Some(peer);
        }
    }

    /// A dial reached nobody, or itself.
    pub(super) fn failed(&mut self, address: &str, now: Monotonic) {
        if let Some(entry) = self.entries.get_mut(address) {
            entry.dialling = false;
            (entry.ended, entry.wait) = (now, entry.next_wait);
            entry.next_wait = (entry.next_wait * 2).min(AGAIN_MAX);
        }
    }

    /// A member is connected. If it was hard to reach, the way to others is likely to be open again too.
    pub(super) fn connected(&mut self, peer: &PeerId, now: Monotonic) {
        let was_away = |entry: &Entry| entry.next_wait > AGAIN * 2;
        let is_back = self.entries.values().any(|entry| entry.peer == Some(*peer) && was_away(entry));
        for entry in self.entries.values_mut() {
            if entry.peer == Some(*peer) || (is_back && was_away(entry)) {
                entry.soon(now);
            }
        }
    }

    /// A member's connection was lost: it is dialled soon.
    pub(super) fn lost(&mut self, peer: &PeerId, now: Monotonic) {
        for entry in self.entries.values_mut().filter(|entry| entry.peer == Some(*peer)) {
            entry.soon(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic(seconds * 1000)
    }

    fn peer(number: u8) -> PeerId {
        wfengine_storage_format::Signer::from_seed(&[number; 32]).peer_id()
    }

    /// Fails what is due, second by second; when an address was dialled.
    fn dialled(book: &mut Book, connected: &BTreeSet<PeerId>, address: &str, until: u64) -> Vec<u64> {
        let mut times = Vec::new();
        for second in 0..until {
            for (due, _) in book.due(connected, at(second)) {
                if due == address {
                    times.push(second);
                }
                book.failed(&due, at(second));
            }
        }
        times
    }

    #[test]
    fn an_address_that_does_not_answer_is_dialled_ever_more_rarely() {
        let mut book = Book::default();
        book.set_of(peer(1), &["away:1".to_owned()], at(0));
        let times = dialled(&mut book, &BTreeSet::from([peer(2)]), "away:1", 100);
        assert_eq!(times, [0, 1, 3, 7, 15, 31, 61, 91]);
    }

    #[test]
    fn a_node_that_is_alone_goes_on_dialling_every_few_seconds() {
        let mut book = Book::default();
        book.set_of(peer(1), &["away:1".to_owned()], at(0));
        assert_eq!(dialled(&mut book, &BTreeSet::new(), "away:1", 16), [0, 1, 3, 6, 9, 12, 15]);
    }

    #[test]
    fn one_that_answers_again_brings_the_others_nearer() {
        let mut book = Book::default();
        book.set_of(peer(1), &["away:1".to_owned()], at(0));
        book.set_of(peer(2), &["back:1".to_owned()], at(0));
        let others = BTreeSet::from([peer(3)]);
        dialled(&mut book, &others, "away:1", 40);
        book.connected(&peer(2), at(40));
        let others = BTreeSet::from([peer(2), peer(3)]);
        assert_eq!(book.due(&others, at(40)), []);
        assert_eq!(book.due(&others, at(41)), [("away:1".to_owned(), Some(peer(1)))]);
    }

    #[test]
    fn an_address_where_somebody_refuses_is_dialled_ever_more_rarely() {
        let mut book = Book::default();
        book.add_by_hand("foreign:1".to_owned(), at(0));
        let mut times = Vec::new();
        for second in 0..40 {
            if !book.due(&BTreeSet::from([peer(2)]), at(second)).is_empty() {
                times.push(second);
                book.reached("foreign:1", peer(9), at(second));
            }
        }
        assert_eq!(times, [0, 1, 3, 7, 15, 31]);
    }

    #[test]
    fn what_is_seen_on_the_local_network_displaces_nothing_that_was_told() {
        let mut book = Book::default();
        let all = |book: &mut Book| {
            let due = book.due(&BTreeSet::new(), at(9)).into_iter().map(|(address, _)| address);
            book.entries.values_mut().for_each(|entry| entry.dialling = false);
            due.collect::<Vec<String>>()
        };
        book.add_by_hand("hand:1".to_owned(), at(0));
        book.set_of(peer(1), &["told:1".to_owned()], at(0));
        let many: Vec<String> = (0..20).map(|n| format!("lan:{n}")).collect();
        book.set_seen(peer(1), &many, at(0));
        assert_eq!(book.entries.len(), 2 + ADDRESSES_OF_PEER_MAX);
        book.set_seen(peer(1), &["moved:1".to_owned(), "told:1".to_owned()], at(0));
        assert_eq!(book.entries.keys().collect::<Vec<_>>(), ["hand:1", "moved:1", "told:1"]);
        book.set_of(peer(1), &["new:1".to_owned()], at(0));
        assert_eq!(book.entries.keys().collect::<Vec<_>>(), ["hand:1", "moved:1", "new:1"]);
        // one address of a member is dialled at a time
        assert_eq!(all(&mut book).len(), 2);
        book.keep_members(&BTreeSet::new());
        assert_eq!(book.entries.keys().collect::<Vec<_>>(), ["hand:1"]);
    }

    #[test]
    fn a_member_that_was_revoked_is_forgotten_but_not_what_the_operator_said() {
        let mut book = Book::default();
        book.set_of(peer(1), &["one:1".to_owned()], at(0));
        book.add_by_hand("hand:1".to_owned(), at(0));
        book.keep_members(&BTreeSet::new());
        assert_eq!(book.due(&BTreeSet::new(), at(0)), [("hand:1".to_owned(), None)]);
    }

    #[test]
    fn nobody_who_is_connected_or_being_dialled_is_dialled() {
        let mut book = Book::default();
        book.set_of(peer(1), &["one:1".to_owned(), "two:1".to_owned()], at(0));
        assert_eq!(book.due(&BTreeSet::from([peer(1)]), at(0)), []);
        assert_eq!(book.due(&BTreeSet::new(), at(0)).len(), 1);
        assert_eq!(book.due(&BTreeSet::new(), at(9)), []);
    }
}
