//! What a node holds, in a form that two nodes compare in few messages.
//!
//! Open chains are listed one by one. Closed ones (their author has gone on to another chain) only ever grow in number, so they
//! are compared by fingerprints of ranges: a chain's key is the first eight bytes of `SHA-256(author ‖ incarnation)`, a range
//! is a prefix of 0 to 16 hexadecimal digits of keys, and the fingerprint of a range is that of its entries if there are few,
//! else the hash over the fingerprints of its sixteen parts. Two nodes find n differences in O(n log₁₆ chains).
//!
//! A chain with a proved fork counts up to its cut only: beyond it nodes may hold different frames for ever.
//!
//! Pure: made from the chains of a log and told of every committed frame. It says nothing about who is right.
//!
//! Invariant: equal logs with equal fork cuts have equal digests, whatever the order of arrival, as long as authors go on from
//! the end of their chains (an author that does not costs its readers a few messages a comparison, nothing more).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use wfengine_core::log::Chain;
use wfengine_storage_format::{ChainId, EventId, Hash32, Incarnation, PeerId, VerifiedFrame};

use crate::limits::{ENTRIES_MAX, HELD_MAX, RANGE_DEPTH_MAX, RANGE_ENTRIES_MAX};
use crate::message::{FrontierMessage, Held, List, RangeAnswer, RangeAsk};

/// Open chains of one author that are listed; any further ones, which only a misbehaving author has, count as closed.
const OPEN_PER_AUTHOR_MAX: usize = 8;

/// How much there is of one chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChainEntry {
    /// Which chain.
    pub chain: ChainId,
    /// Number of events.
    pub length: u64,
    /// Id of the last one.
    pub tip: EventId,
    /// Its height: what is low can wait for less, so it is asked for first. Part of no digest.
    pub height: u64,
}

/// A range of closed chains: those whose key begins with these digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct RangePrefix {
    /// Number of hexadecimal digits.
    digits: u8,
    /// The digits, left-aligned; the rest is zero.
    bits: u64,
}

impl RangePrefix {
    /// All closed chains.
    pub const ALL: Self = Self { digits: 0, bits: 0 };

    /// Whether it is a prefix at all; foreign ones may not be.
    pub fn is_sound(&self) -> bool {
        self.digits <= RANGE_DEPTH_MAX && self.bits & !self.mask() == 0
    }

    fn mask(&self) -> u64 {
        match self.digits {
            0 => 0,
            digits if digits >= RANGE_DEPTH_MAX => u64::MAX,
            digits => !(u64::MAX >> (4 * u32::from(digits))),
        }
    }

    fn of(key: u64, digits: u8) -> Self {
        let prefix = Self { digits, bits: 0 };
        Self { bits: key & prefix.mask(), ..prefix }
    }

    /// One of its sixteen parts; none when it cannot be divided.
    pub fn part(&self, index: u8) -> Option<Self> {
        (self.digits < RANGE_DEPTH_MAX && index < 16).then(|| Self {
            digits: self.digits + 1,
            bits: self.bits | (u64::from(index) << (60 - 4 * u32::from(self.digits))),
        })
    }

    fn keys(&self) -> std::ops::RangeInclusive<u64> {
        self.bits..=self.bits | !self.mask()
    }
}

/// How this node's part of a chain compares with a peer's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    /// Nothing is to be had: the same, or the peer has less.
    Nothing,
    /// The peer has more; this node has this much.
    Behind {
        /// Number of events here.
        length: u64,
    },
    /// As long here as there, and ends otherwise: one of the chain's frames there contradicts one here.
    Differs,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    length: u64,
    tip: EventId,
    height: u64,
    listed: bool,
}

/// The chains of a log as they are compared with those of others.
#[derive(Debug, Default)]
pub struct Frontier {
    chains: BTreeMap<ChainId, Known>,
    open: BTreeMap<PeerId, BTreeSet<ChainId>>,
    closed: BTreeSet<(u64, ChainId)>,
    cuts: BTreeMap<ChainId, u64>,
    fingerprints: BTreeMap<RangePrefix, Hash32>,
    digest: Option<Hash32>,
}

impl Frontier {
    /// The frontier of a log with these chains.
    pub fn of(chains: &BTreeMap<ChainId, Chain>) -> Self {
        let mut frontier = Self::default();
        for (chain, known) in chains {
            let entry =
                ChainEntry { chain: *chain, length: known.length, tip: known.tip, height: known.height };
            frontier.set(entry, known.successor.is_none());
        }
        frontier
    }

    /// Takes in a frame that became part of the log.
    pub fn committed(&mut self, frame: &VerifiedFrame) {
        let header = frame.header();
        if header.first_seq == 0
            && let Some(prev) = header.prev
            && let Some(before) = self.open_chain_with_tip(&header.chain.author, &prev)
        {
            self.set(before, false);
        }
        let entry = ChainEntry {
            chain: header.chain,
            length: header.end_seq(),
            tip: header.last,
            height: frame.events().last().map_or(0, |(_, event)| event.height),
        };
        // a chain that goes on after another one named its tip is open, as the log has it
        self.set(entry, true);
    }

    fn open_chain_with_tip(&self, author: &PeerId, tip: &EventId) -> Option<ChainEntry> {
        let chains = self.open.get(author)?.iter();
        chains.filter_map(|chain| self.stored(chain)).find(|entry| entry.tip == *tip)
    }

    fn set(&mut self, entry: ChainEntry, open: bool) {
        let ChainEntry { chain, length, tip, height } = entry;
        let listed = self.chains.get(&chain).is_some_and(|known| known.listed);
        self.chains.insert(chain, Known { length, tip, height, listed });
        let of_author = self.open.entry(chain.author).or_default();
        if open {
            of_author.insert(chain);
        } else {
            of_author.remove(&chain);
        }
        if of_author.is_empty() {
            self.open.remove(&chain.author);
        }
        self.classify(&chain, open);
        if self.open.get(&chain.author).is_some_and(|chains| chains.len() >= OPEN_PER_AUTHOR_MAX) {
            self.classify_author(&chain.author);
        }
        self.digest = None;
    }

    /// An author with more open chains than are listed: the highest ones stay.
    fn classify_author(&mut self, author: &PeerId) {
        let mut chains: Vec<(u64, ChainId)> = self
            .open
            .get(author)
            .into_iter()
            .flatten()
            .filter_map(|chain| self.chains.get(chain).map(|known| (u64::MAX - known.height, *chain)))
            .collect();
        chains.sort_unstable();
        for (rank, (_, chain)) in chains.into_iter().enumerate() {
            self.classify(&chain, rank < OPEN_PER_AUTHOR_MAX);
        }
    }

    fn classify(&mut self, chain: &ChainId, listed: bool) {
        let key = key_of(chain);
        if let Some(known) = self.chains.get_mut(chain) {
            known.listed = listed;
        }
        let was_closed = if listed { self.closed.remove(&(key, *chain)) } else { true };
        if !listed {
            self.closed.insert((key, *chain));
        }
        if was_closed {
            self.forget_fingerprints(key);
        }
    }

    fn forget_fingerprints(&mut self, key: u64) {
        for digits in 0..=RANGE_DEPTH_MAX {
            self.fingerprints.remove(&RangePrefix::of(key, digits));
        }
    }

    /// Says which chains have proved forks, and the first place in doubt of each.
    pub fn set_cuts(&mut self, cuts: &BTreeMap<ChainId, u64>) {
        for (chain, cut) in cuts {
            let before = self.cuts.get(chain).copied();
            if before.is_none_or(|before| *cut < before) {
                self.cuts.insert(*chain, *cut);
                self.forget_fingerprints(key_of(chain));
                self.digest = None;
            }
        }
    }

    /// The chains with proved forks, and the first place in doubt of each.
    pub fn cuts(&self) -> &BTreeMap<ChainId, u64> {
        &self.cuts
    }

    /// The open chains of one author.
    pub fn open_of(&self, author: &PeerId) -> impl Iterator<Item = ChainId> + '_ {
        self.open.get(author).into_iter().flatten().copied()
    }

    /// Number of events of a chain in the log.
    pub fn length(&self, chain: &ChainId) -> u64 {
        self.chains.get(chain).map_or(0, |known| known.length)
    }

    /// Id of a chain's last event in the log.
    pub fn tip(&self, chain: &ChainId) -> Option<EventId> {
        self.chains.get(chain).map(|known| known.tip)
    }

    /// Number of chains.
    pub fn len(&self) -> usize {
        self.chains.len()
    }

    /// Whether there is no chain.
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty()
    }

    /// What the log holds of a chain.
    pub fn stored(&self, chain: &ChainId) -> Option<ChainEntry> {
        let known = self.chains.get(chain)?;
        Some(ChainEntry { chain: *chain, length: known.length, tip: known.tip, height: known.height })
    }

    /// What is told of a chain: the part below a proved fork.
    pub fn entry(&self, chain: &ChainId) -> Option<ChainEntry> {
        let entry = self.stored(chain)?;
        Some(match self.cuts.get(chain) {
            Some(cut) if entry.length >= *cut => {
                ChainEntry { length: *cut, tip: EventId::from_bytes([0; 32]), ..entry }
            }
            _ => entry,
        })
    }

    /// The chains of one author, newest first, as a hello lists them.
    pub fn held_of(&self, author: &PeerId) -> List<Held, HELD_MAX> {
        let first = ChainId { author: *author, incarnation: Incarnation::from_bytes([0; 16]) };
        let last = ChainId { author: *author, incarnation: Incarnation::from_bytes([0xff; 16]) };
        let mut chains: Vec<(u64, Held)> = self
            .chains
            .range(first..=last)
            .map(|(chain, known)| {
                let held = Held { incarnation: chain.incarnation, length: known.length, tip: known.tip };
                (known.height, held)
            })
            .collect();
        chains.sort_unstable_by_key(|(height, held)| (u64::MAX - height, held.incarnation));
        List::truncated(chains.into_iter().map(|(_, held)| held))
    }

    /// What a peer's entry has that this node does not.
    pub fn compare(&self, theirs: &ChainEntry) -> Comparison {
        let cut = self.cuts.get(&theirs.chain).copied().unwrap_or(u64::MAX);
        let ours = self.chains.get(&theirs.chain);
        let length = ours.map_or(0, |known| known.length);
        if length >= cut || theirs.length < length {
            Comparison::Nothing
        } else if theirs.length > length {
            Comparison::Behind { length }
        } else if ours.is_some_and(|known| known.tip != theirs.tip) {
            Comparison::Differs
        } else {
            Comparison::Nothing
        }
    }

    /// Digest of everything.
    pub fn digest(&mut self) -> Hash32 {
        if let Some(digest) = self.digest {
            return digest;
        }
        let mut hasher = Sha256::new();
        hasher.update(b"wfengine/frontier/v1");
        hasher.update(self.fingerprint(&RangePrefix::ALL));
        for entry in self.open_entries() {
            hash_entry(&mut hasher, &entry);
        }
        let digest = hasher.finalize().into();
        self.digest = Some(digest);
        digest
    }

    /// What is told of every open chain.
    pub fn open_entries(&self) -> impl Iterator<Item = ChainEntry> + '_ {
        let listed = |chain: &&ChainId| self.chains.get(chain).is_some_and(|known| known.listed);
        self.open.values().flatten().filter(listed).filter_map(|chain| self.entry(chain))
    }

    /// The frontier as it is sent.
    pub fn message(&mut self, answer: bool) -> FrontierMessage {
        FrontierMessage {
            open: List::<_, ENTRIES_MAX>::truncated(self.open_entries()),
            closed: self.fingerprint(&RangePrefix::ALL),
            answer,
        }
    }

    /// Fingerprint of a range of closed chains; zeros if there are none.
    pub fn fingerprint(&mut self, prefix: &RangePrefix) -> Hash32 {
        if let Some(fingerprint) = self.fingerprints.get(prefix) {
            return *fingerprint;
        }
        let fingerprint = match self.few_entries(prefix) {
            Some(entries) if entries.is_empty() => return [0; 32],
            Some(entries) => {
                let mut hasher = Sha256::new();
                hasher.update(b"wfengine/range/v1");
                entries.iter().for_each(|entry| hash_entry(&mut hasher, entry));
                hasher.finalize().into()
            }
            None => {
                let mut hasher = Sha256::new();
                hasher.update(b"wfengine/ranges/v1");
                self.part_fingerprints(prefix).iter().for_each(|part| hasher.update(part));
                hasher.finalize().into()
            }
        };
        self.fingerprints.insert(*prefix, fingerprint);
        fingerprint
    }

    fn part_fingerprints(&mut self, prefix: &RangePrefix) -> [Hash32; 16] {
        let mut parts = [[0; 32]; 16];
        for (index, part) in (0..16u8).zip(&mut parts) {
            *part = prefix.part(index).map_or([0; 32], |part| self.fingerprint(&part));
        }
        parts
    }

    /// The entries of a range that is not divided further.
    fn few_entries(&self, prefix: &RangePrefix) -> Option<Vec<ChainEntry>> {
        let keys = prefix.keys();
        let first =
            ChainId { author: PeerId::from_bytes([0; 32]), incarnation: Incarnation::from_bytes([0; 16]) };
        let last = ChainId {
            author: PeerId::from_bytes([0xff; 32]),
            incarnation: Incarnation::from_bytes([0xff; 16]),
        };
        let chains = || self.closed.range((*keys.start(), first)..=(*keys.end(), last));
        let few = prefix.digits == RANGE_DEPTH_MAX
            || chains().take(RANGE_ENTRIES_MAX + 1).count() <= RANGE_ENTRIES_MAX;
        few.then(|| chains().filter_map(|(_, chain)| self.entry(chain)).collect())
    }

    /// Answers a question about a range; nothing if both have the same there.
    pub fn answer(&mut self, ask: &RangeAsk) -> Option<RangeAnswer> {
        if !ask.prefix.is_sound() || self.fingerprint(&ask.prefix) == ask.fingerprint {
            return None;
        }
        Some(match self.few_entries(&ask.prefix) {
            Some(entries) => RangeAnswer::Entries(ask.prefix, List::truncated(entries)),
            None => RangeAnswer::Parts(ask.prefix, Box::new(self.part_fingerprints(&ask.prefix))),
        })
    }

    /// Which parts of a range to ask about next, given a peer's fingerprints of them.
    pub fn differing_parts(&mut self, prefix: &RangePrefix, theirs: &[Hash32; 16]) -> Vec<RangeAsk> {
        let mut asks = Vec::new();
        for (index, theirs) in (0..16u8).zip(theirs) {
            if let Some(prefix) = prefix.part(index).filter(|_| *theirs != [0; 32]) {
                let fingerprint = self.fingerprint(&prefix);
                if fingerprint != *theirs {
                    asks.push(RangeAsk { prefix, fingerprint });
                }
            }
        }
        asks
    }
}

fn key_of(chain: &ChainId) -> u64 {
    let digest = Sha256::new()
        .chain_update(chain.author.as_bytes())
        .chain_update(chain.incarnation.as_bytes())
        .finalize();
    let mut key = [0; 8];
    key.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(key)
}

fn hash_entry(hasher: &mut Sha256, entry: &ChainEntry) {
    hasher.update(entry.chain.author.as_bytes());
    hasher.update(entry.chain.incarnation.as_bytes());
    hasher.update(entry.length.to_le_bytes());
    hasher.update(entry.tip.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(author: u8, incarnation: u32, length: u64) -> ChainEntry {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&incarnation.to_le_bytes());
        let chain =
            ChainId { author: PeerId::from_bytes([author; 32]), incarnation: Incarnation::from_bytes(bytes) };
        ChainEntry {
            chain,
            length,
            tip: EventId::from_bytes([length as u8; 32]),
            height: u64::from(incarnation),
        }
    }

    fn frontier(closed: impl IntoIterator<Item = ChainEntry>) -> Frontier {
        let mut frontier = Frontier::default();
        closed.into_iter().for_each(|entry| frontier.set(entry, false));
        frontier
    }

    /// One node asks another until nothing is left to ask; returns what it found and in how many rounds.
    fn walk(asker: &mut Frontier, answerer: &mut Frontier) -> (Vec<ChainEntry>, usize) {
        let fingerprint = asker.fingerprint(&RangePrefix::ALL);
        let mut asks = vec![RangeAsk { prefix: RangePrefix::ALL, fingerprint }];
        let (mut found, mut rounds) = (Vec::new(), 0);
        while !asks.is_empty() {
            rounds += 1;
            let answers: Vec<RangeAnswer> = asks.iter().filter_map(|ask| answerer.answer(ask)).collect();
            asks.clear();
            for answer in answers {
                match answer {
                    RangeAnswer::Parts(prefix, parts) => asks.extend(asker.differing_parts(&prefix, &parts)),
                    RangeAnswer::Entries(_, entries) => found.extend(
                        entries.iter().filter(|entry| asker.compare(entry) != Comparison::Nothing).copied(),
                    ),
                }
            }
        }
        (found, rounds)
    }

    #[test]
    fn one_difference_among_ten_thousand_closed_chains_is_found_in_five_rounds() {
        let all: Vec<ChainEntry> = (0..10_000).map(|n| entry(n as u8 % 5, n, 3)).collect();
        let mut full = frontier(all.iter().copied());
        let mut lacking = frontier(all.iter().copied().filter(|entry| entry.height != 7_777));
        let (found, rounds) = walk(&mut lacking, &mut full);
        assert_eq!(found, [all[7_777]]);
        assert!(rounds <= 5, "{rounds} rounds");
        lacking.set(all[7_777], false);
        assert_eq!(lacking.digest(), full.digest());
        assert_eq!(walk(&mut lacking, &mut full).0, []);
    }

    #[test]
    fn everything_is_found_by_a_node_that_has_nothing() {
        let all: Vec<ChainEntry> = (0..3_000).map(|n| entry(1, n, u64::from(n) + 1)).collect();
        let (found, rounds) = walk(&mut Frontier::default(), &mut frontier(all.iter().copied()));
        assert_eq!(found.len(), all.len());
        assert!(rounds <= 4, "{rounds} rounds");
    }

    #[test]
    fn the_digest_depends_on_neither_the_order_of_arrival_nor_the_cache() {
        let all: Vec<ChainEntry> = (0..500).map(|n| entry(2, n, 4)).collect();
        let mut forward = Frontier::default();
        for entry in &all {
            forward.set(*entry, false);
            forward.digest();
        }
        let mut backward = frontier(all.iter().rev().copied());
        assert_eq!(forward.digest(), backward.digest());
        backward.set(entry(2, 17, 5), false);
        assert_ne!(forward.digest(), backward.digest());
    }

    #[test]
    fn an_author_with_too_many_open_chains_does_not_crowd_out_the_others() {
        let mut one = Frontier::default();
        (0..1_000).for_each(|n| one.set(entry(3, n, 1), true));
        one.set(entry(4, 1, 1), true);
        assert_eq!(one.message(true).open.len(), OPEN_PER_AUTHOR_MAX + 1);
        let mut other = Frontier::default();
        other.set(entry(4, 1, 1), true);
        (0..1_000).rev().for_each(|n| other.set(entry(3, n, 1), true));
        assert_eq!(one.digest(), other.digest());
    }

    #[test]
    fn beyond_the_cut_of_a_fork_all_branches_are_one() {
        let (mut left, mut right) = (Frontier::default(), Frontier::default());
        left.set(entry(5, 1, 9), true);
        right.set(entry(5, 1, 7), true);
        assert_eq!(right.compare(&entry(5, 1, 9)), Comparison::Behind { length: 7 });
        let cuts = BTreeMap::from([(entry(5, 1, 0).chain, 6)]);
        left.set_cuts(&cuts);
        right.set_cuts(&cuts);
        assert_eq!(left.digest(), right.digest());
        assert_eq!(right.compare(&entry(5, 1, 9)), Comparison::Nothing);
    }

    #[test]
    fn a_foreign_prefix_that_is_none_is_not_answered() {
        let mut full = frontier((0..100).map(|n| entry(1, n, 1)));
        for prefix in [RangePrefix { digits: 17, bits: 0 }, RangePrefix { digits: 1, bits: 1 }] {
            assert_eq!(full.answer(&RangeAsk { prefix, fingerprint: [1; 32] }), None);
        }
    }
}
