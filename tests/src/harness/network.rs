//! The network: who can reach whom, how long a message takes, which get lost or doubled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wfengine_core::scheduler::Beat;
use wfengine_storage_format::{ChainId, VerifiedFrame};

use super::chance::Chance;
use super::plan::Faults;

/// What nodes send each other.
#[derive(Clone, Debug)]
pub enum Message {
    /// Frames, in causal order.
    Frames(Vec<Arc<VerifiedFrame>>),
    /// An encoded beat.
    Beat(Vec<u8>),
    /// "This is what I hold; what have you got beyond?" With `answer`, the other way round too.
    Frontier {
        /// Number of events of each chain.
        lengths: BTreeMap<ChainId, u64>,
        /// Whether the receiver's own frontier is wanted.
        answer: bool,
    },
}

impl Message {
    /// The beat that an encoded datagram holds.
    pub fn beat(bytes: &[u8]) -> Option<Beat> {
        Beat::decode(bytes).ok()
    }
}

/// Delay, loss, doubling and cuts.
#[derive(Clone, Debug)]
pub struct Network {
    chance: Chance,
    delay_ms: u64,
    loss_permille: u64,
    doubled_permille: u64,
    /// Nodes that are cut off from the rest, together.
    cut: BTreeSet<usize>,
}

impl Network {
    /// The network of a seed.
    pub fn new(seed: u64, delay_ms: u64, faults: &Faults) -> Self {
        Self {
            chance: Chance::new(seed, "network"),
            delay_ms,
            loss_permille: faults.loss_permille,
            doubled_permille: faults.doubled_permille,
            cut: BTreeSet::new(),
        }
    }

    /// Cuts these nodes off from all others.
    pub fn cut(&mut self, nodes: BTreeSet<usize>) {
        self.cut = nodes;
    }

    /// Ends every fault.
    pub fn heal(&mut self) {
        self.cut.clear();
        self.loss_permille = 0;
        self.doubled_permille = 0;
    }

    /// Whether two nodes can reach each other.
    pub fn connects(&self, a: usize, b: usize) -> bool {
        self.cut.contains(&a) == self.cut.contains(&b)
    }

    /// After how many milliseconds each copy of a message arrives; none if it is lost.
    pub fn send(&mut self, from: usize, to: usize) -> Vec<u64> {
        if !self.connects(from, to) || self.chance.happens(self.loss_permille) {
            return Vec::new();
        }
        let copies = 1 + usize::from(self.chance.happens(self.doubled_permille));
        (0..copies).map(|_| 1 + self.chance.wait_ms(self.delay_ms)).collect()
    }
}
