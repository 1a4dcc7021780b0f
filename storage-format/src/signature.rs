//! Ed25519: frame signatures, invite keys, statements of joiners and rotated keys.
//!
//! Verification is `verify_strict`: no small-order keys, no malleable signatures, so every node agrees on what is valid.
//! Secret keys never appear in an event; [`Signer`] does not print itself.

use std::cell::Cell;
use std::fmt;

use ed25519_dalek::{Signature as DalekSignature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::id::{ClusterId, IdError, PeerId};

/// Why a signature was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The bytes of the key are no public key.
    #[error("{0} is not an ed25519 public key")]
    NotAKey(PeerId),
    /// The key is fine, the signature is not its.
    #[error("the signature is not one of {0}")]
    Wrong(PeerId),
}

/// 64 bytes of an ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature([u8; 32], [u8; 32]);

impl Signature {
    /// Wraps 64 raw bytes.
    pub fn from_bytes(bytes: &[u8; 64]) -> Self {
        let (mut r, mut s) = ([0; 32], [0; 32]);
        r.copy_from_slice(&bytes[..32]);
        s.copy_from_slice(&bytes[32..]);
        Self(r, s)
    }
    /// The 64 raw bytes.
    pub fn to_bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&self.0);
        bytes[32..].copy_from_slice(&self.1);
        bytes
    }
    /// Checks that `author` signed `message`.
    ///
    /// # Errors
    /// [`SignatureError`] when the key is no key or the signature is not its.
    pub fn verify(&self, author: &PeerId, message: &[u8]) -> Result<(), SignatureError> {
        let key = verifying_key(author)?;
        key.verify_strict(message, &DalekSignature::from_bytes(&self.to_bytes()))
            .map_err(|_| SignatureError::Wrong(*author))
    }
}

thread_local! {
    /// The last author's key as a point of the curve: finding it takes a fifth of a verification, and frames of one author come in
    /// rows.
    static LAST_KEY: Cell<Option<(PeerId, VerifyingKey)>> = const { Cell::new(None) };
}

fn verifying_key(author: &PeerId) -> Result<VerifyingKey, SignatureError> {
    if let Some((_, key)) = LAST_KEY.get().filter(|(known, _)| known == author) {
        return Ok(key);
    }
    let key = VerifyingKey::from_bytes(author.as_bytes()).map_err(|_| SignatureError::NotAKey(*author))?;
    LAST_KEY.set(Some((*author, key)));
    Ok(key)
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({}…)", data_encoding::HEXLOWER.encode(&self.0[..4]))
    }
}

/// A secret key that can sign. Its secret is wiped when dropped.
#[derive(Clone)]
pub struct Signer(SigningKey);

impl Signer {
    /// The key of a 32-byte secret seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }
    /// The secret seed, for the identity file and nothing else.
    pub fn to_seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }
    /// The public key.
    pub fn peer_id(&self) -> PeerId {
        PeerId::from_bytes(self.0.verifying_key().to_bytes())
    }
    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature::from_bytes(&self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.peer_id().short())
    }
}

/// The public half of an invite; its private half travels in the join line and is used once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InviteKey(PeerId);

impl InviteKey {
    /// The invite key of a signer made for one invite.
    pub fn of(signer: &Signer) -> Self {
        Self(signer.peer_id())
    }
    /// Checks the invite key's signature over a joiner.
    ///
    /// # Errors
    /// [`SignatureError`] when the signature is not the invite's.
    pub fn verify(
        &self,
        cluster: &ClusterId,
        joiner: &PeerId,
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        signature.verify(&self.0, &invite_statement(cluster, joiner))
    }
    /// Reads the text form.
    ///
    /// # Errors
    /// [`IdError`] when it is not base32 of 32 bytes.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        text.parse().map(Self)
    }
}

impl fmt::Debug for InviteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InviteKey({})", self.0.short())
    }
}

impl fmt::Display for InviteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What an invite's private key signs: `"wfengine/invite/v1" ‖ cluster ‖ joiner`.
pub fn invite_statement(cluster: &ClusterId, joiner: &PeerId) -> Vec<u8> {
    [b"wfengine/invite/v1".as_slice(), cluster.as_bytes(), joiner.as_bytes()].concat()
}

/// What a new key signs when it takes over from an old one: `"wfengine/rotate/v1" ‖ cluster ‖ old ‖ new`.
pub fn rotation_statement(cluster: &ClusterId, old: &PeerId, new: &PeerId) -> Vec<u8> {
    [b"wfengine/rotate/v1".as_slice(), cluster.as_bytes(), old.as_bytes(), new.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_message_and_author_only() {
        let (alice, bob) = (Signer::from_seed(&[1; 32]), Signer::from_seed(&[2; 32]));
        let signature = alice.sign(b"hello");
        assert_eq!(signature.verify(&alice.peer_id(), b"hello"), Ok(()));
        assert_eq!(signature.verify(&alice.peer_id(), b"hullo"), Err(SignatureError::Wrong(alice.peer_id())));
        assert_eq!(signature.verify(&bob.peer_id(), b"hello"), Err(SignatureError::Wrong(bob.peer_id())));
    }

    #[test]
    fn a_small_order_key_signs_nothing() {
        // the neutral element: every signature of it would verify without the strict rules
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut forged = [0; 64];
        forged[0] = 1;
        assert!(Signature::from_bytes(&forged).verify(&PeerId::from_bytes(neutral), b"anything").is_err());
    }
}
