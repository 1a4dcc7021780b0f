//! Seeded chance. Each part of a simulation draws from its own stream, so that a change in one does not shift the others.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// One stream of random numbers.
#[derive(Clone, Debug)]
pub struct Chance(ChaCha8Rng);

impl Chance {
    /// The stream `name` of a seed.
    pub fn new(seed: u64, name: &str) -> Self {
        let mut bytes = Vec::from(seed.to_le_bytes());
        bytes.extend_from_slice(name.as_bytes());
        Self(ChaCha8Rng::from_seed(wfengine_storage_format::sha256(&bytes)))
    }

    /// A number from `from` up to and without `to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        if to <= from { from } else { self.0.random_range(from..to) }
    }

    /// True in `permille` of a thousand cases.
    pub fn happens(&mut self, permille: u64) -> bool {
        self.between(0, 1000) < permille
    }

    /// A wait with about this mean in milliseconds and a long tail, at most eleven times the mean.
    pub fn wait_ms(&mut self, mean_ms: u64) -> u64 {
        // -ln(u) = (leading zeros + the rest between 0 and 1) · ln 2, in integers: the same on every processor
        let drawn = self.between(1, 1 << 16);
        let zeros = u64::from(drawn.leading_zeros() - 48);
        let rest = (drawn << zeros) & 0x7fff;
        (zeros * 1000 + (0x8000 - rest) * 1000 / 0x8000) * mean_ms * 693 / 1_000_000
    }

    /// Sixteen random bytes.
    pub fn bytes16(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.0.fill(&mut bytes);
        bytes
    }
}
