//! A checksum against rot of stored values: every change within one 8-byte word is found for sure, others but for one in 2^64.
//!
//! Not cryptographic; events are protected by their hashes and signatures. It covers what those do not (a signature's own bytes, local
//! times, checkpoints, the index), for the database checks its pages only after an unclean stop. Each step is a bijection of the state
//! and of the word, so a single changed word cannot cancel out.

/// The checksum of some bytes.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let tail = [u64::from_le_bytes(last), bytes.len() as u64];
    words
        .iter()
        .map(|word| u64::from_le_bytes(*word))
        .chain(tail)
        .fold(MULTIPLIER, |state, word| (state.rotate_left(23) ^ word).wrapping_mul(MULTIPLIER))
}

/// Bytes with their checksum in front.
pub(crate) fn sealed(bytes: &[u8]) -> Vec<u8> {
    [checksum(bytes).to_le_bytes().as_slice(), bytes].concat()
}

/// The bytes behind a checksum, if it holds.
pub(crate) fn unsealed(value: &[u8]) -> Option<&[u8]> {
    let (sum, bytes) = value.split_first_chunk::<8>()?;
    (u64::from_le_bytes(*sum) == checksum(bytes)).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let bytes: Vec<u8> = (0..61).collect();
        let value = sealed(&bytes);
        assert_eq!(unsealed(&value), Some(bytes.as_slice()));
        for bit in 0..value.len() * 8 {
            let mut damaged = value.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unsealed(&damaged), None, "bit {bit}");
        }
        for len in 0..value.len() {
            assert_eq!(unsealed(&value[..len]), None, "{len} bytes");
        }
    }
}
