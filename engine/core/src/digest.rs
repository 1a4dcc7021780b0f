//! A digest of a set that can be updated one element at a time: the sum of the elements' SHA-256 modulo 2^256.
//!
//! Follows the additive multiset hash of Clarke et al., "Incremental Multiset Hash Functions" (ASIACRYPT 2003). It detects
//! accidents and bugs among honest nodes; nothing is decided by it, so an adversary who searches for collisions gains nothing.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use wfengine_storage_format::Hash32;

/// The sum of a set of entity hashes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DigestSum([u64; 4]);

impl DigestSum {
    /// The sum of one entity: its family and its canonical bytes.
    pub fn of_entity(family: &str, bytes: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"wfengine/view/v1");
        hasher.update((family.len() as u64).to_le_bytes());
        hasher.update(family.as_bytes());
        hasher.update(bytes);
        let hash: Hash32 = hasher.finalize().into();
        let mut limbs = [0; 4];
        for (limb, chunk) in limbs.iter_mut().zip(hash.as_chunks::<8>().0) {
            *limb = u64::from_le_bytes(*chunk);
        }
        Self(limbs)
    }

    /// Adds an entity.
    pub fn add_entity(&mut self, family: &str, bytes: &[u8]) {
        self.add(&Self::of_entity(family, bytes));
    }

    /// Adds a sum.
    pub fn add(&mut self, other: &Self) {
        let mut carry = false;
        for (limb, addend) in self.0.iter_mut().zip(other.0) {
            let (sum, first) = limb.overflowing_add(addend);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            (*limb, carry) = (sum, first || second);
        }
    }

    /// Takes a sum away that was added before.
    pub fn subtract(&mut self, other: &Self) {
        let mut borrow = false;
        for (limb, subtrahend) in self.0.iter_mut().zip(other.0) {
            let (difference, first) = limb.overflowing_sub(subtrahend);
            let (difference, second) = difference.overflowing_sub(u64::from(borrow));
            (*limb, borrow) = (difference, first || second);
        }
    }

    /// The 32-byte digest.
    pub fn finish(&self) -> Hash32 {
        let mut bytes = [0; 32];
        for (chunk, limb) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.0) {
            *chunk = limb.to_le_bytes();
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_subtracting_undoes_adding() {
        let elements: Vec<DigestSum> = (0..100u8).map(|n| DigestSum::of_entity("run", &[n])).collect();
        let sum = |elements: &mut dyn Iterator<Item = &DigestSum>| {
            let mut sum = DigestSum::default();
            elements.for_each(|element| sum.add(element));
            sum
        };
        let all = sum(&mut elements.iter());
        assert_eq!(all, sum(&mut elements.iter().rev()));
        let mut fewer = all;
        fewer.subtract(&elements[7]);
        assert_ne!(fewer, all);
        fewer.add(&elements[7]);
        assert_eq!(fewer, all);
    }
}
