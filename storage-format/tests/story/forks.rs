//! What carol signed twice: pairs of headers that prove a fork, one for each way to fork a chain.
//!
//! The crate signs deterministically, so a second signature of one header is computed here, with another nonce.

use sha2::{Digest as _, Sha512};
use wfengine_storage_format::{
    ChainId, ClusterId, ForkProved, FrameBuilder, Incarnation, Kind, Signature, SignedHeader, Signer, Tip,
};

/// L, the order of the group that ed25519 signs in, lowest byte first.
pub(super) const GROUP_ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

const CAROL: [u8; 32] = [3; 32];

fn header(cluster: ClusterId, incarnation: u8, first_seq: u64, prev: Tip, body: u8) -> SignedHeader {
    let signer = Signer::from_seed(&CAROL);
    let incarnation = Incarnation::from_bytes([incarnation; 16]);
    let chain = ChainId { author: signer.peer_id(), incarnation };
    let mut frame = FrameBuilder::new(Some(cluster), chain, first_seq, Some(prev.id), Vec::new());
    frame.push(50, 0, vec![], vec![], Kind::from_number(0x7000), vec![body]);
    frame.sign(&signer).unwrap().signed_header()
}

/// Two frames for one place.
pub(super) fn overlapping(cluster: ClusterId, tip: Tip) -> ForkProved {
    ForkProved { first: header(cluster, 0xcf, 3, tip, 1), second: header(cluster, 0xcf, 3, tip, 2) }
}

/// Two signatures of one frame.
pub(super) fn signed_twice(cluster: ClusterId, tip: Tip) -> ForkProved {
    let first = header(cluster, 0xce, 3, tip, 1);
    let signature = sign_with_nonce(&CAROL, &[30; 32], &first.header.statement());
    ForkProved { second: SignedHeader { signature, ..first.clone() }, first }
}

/// A frame that begins where the other ends and names something else; the later one stands first.
pub(super) fn not_linked(cluster: ClusterId, tip: Tip) -> ForkProved {
    ForkProved { first: header(cluster, 0xcd, 4, tip, 1), second: header(cluster, 0xcd, 3, tip, 2) }
}

/// Signs by the formula, S = r + k·a, where an honest signer would have made r out of its seed and the message.
fn sign_with_nonce(seed: &[u8; 32], nonce_seed: &[u8; 32], message: &[u8]) -> Signature {
    let key = Signer::from_seed(seed).peer_id();
    let nonce_point = Signer::from_seed(nonce_seed).peer_id();
    let challenge = Sha512::digest([nonce_point.as_bytes(), key.as_bytes(), message].concat());
    let s = add(&multiply(&secret_scalar(nonce_seed), &ONE), &multiply(&challenge, &secret_scalar(seed)));
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(nonce_point.as_bytes());
    bytes[32..].copy_from_slice(&s);
    Signature::from_bytes(&bytes)
}

const ONE: [u8; 32] = {
    let mut one = [0; 32];
    one[0] = 1;
    one
};

/// The number whose multiple of the base point is the public key of a seed, below L.
fn secret_scalar(seed: &[u8; 32]) -> [u8; 32] {
    let mut scalar = Sha512::digest(seed)[..32].to_vec();
    scalar[0] &= 248;
    scalar[31] = (scalar[31] & 63) | 64;
    multiply(&scalar, &ONE)
}

/// x·y modulo L; x of any length, y below L.
fn multiply(x: &[u8], y: &[u8; 32]) -> [u8; 32] {
    let bits = x.iter().rev().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1));
    bits.fold([0; 32], |product, set| {
        let doubled = add(&product, &product);
        if set { add(&doubled, y) } else { doubled }
    })
}

/// x + y modulo L, both below L.
fn add(x: &[u8; 32], y: &[u8; 32]) -> [u8; 32] {
    let (mut sum, mut carry) = ([0; 32], 0);
    for (place, byte) in sum.iter_mut().enumerate() {
        let total = u16::from(x[place]) + u16::from(y[place]) + carry;
        (*byte, carry) = (total as u8, total >> 8);
    }
    if sum.iter().rev().lt(GROUP_ORDER.iter().rev()) {
        return sum;
    }
    let mut borrow = 0;
    for (byte, order) in sum.iter_mut().zip(GROUP_ORDER) {
        let difference = i16::from(*byte) - i16::from(order) - borrow;
        (*byte, borrow) = (difference as u8, i16::from(difference < 0));
    }
    sum
}
