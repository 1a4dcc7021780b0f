//! Identifiers as newtypes, with their text forms and prefixes.
//!
//! Hashes are written in lower-case hexadecimal, peer ids (ed25519 public keys) in lower-case base32 without padding, so
//! that a peer id is also a valid DNS label. All of them can be shortened to a prefix, as git does; resolving a prefix is
//! the caller's business because only a log knows what exists.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Neither hexadecimal nor base32 of the right length.
    #[error("`{text}` is not {expected}")]
    Malformed {
        /// What was given, cut to 80 characters.
        text: String,
        /// What would have been right.
        expected: &'static str,
    },
}

fn malformed(text: &str, expected: &'static str) -> IdError {
    IdError::Malformed { text: text.chars().take(80).collect(), expected }
}

/// The order of 32 bytes, read as one number from the left.
///
/// The first eight bytes decide nearly always, and comparing them needs no call: in a tree of a hundred thousand ids this is
/// half of a look-up.
#[inline]
fn compare_bytes(a: &[u8; 32], b: &[u8; 32]) -> Ordering {
    let first = |bytes: &[u8; 32]| {
        let [b0, b1, b2, b3, b4, b5, b6, b7, ..] = *bytes;
        u64::from_be_bytes([b0, b1, b2, b3, b4, b5, b6, b7])
    };
    first(a).cmp(&first(b)).then_with(|| a[8..].cmp(&b[8..]))
}

macro_rules! ordered_by_bytes {
    ($name:ident) => {
        impl Ord for $name {
            #[inline]
            fn cmp(&self, other: &Self) -> Ordering {
                compare_bytes(&self.0, &other.0)
            }
        }
        impl PartialOrd for $name {
            #[inline]
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }
    };
}

macro_rules! hash_id {
    ($(#[$doc:meta])* $name:ident, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub struct $name(#[serde(with = "crate::raw")] [u8; 32]);

        ordered_by_bytes!($name);

        impl $name {
            /// Wraps 32 raw bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }
            /// The 32 raw bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
            /// The first twelve hexadecimal digits, for people.
            pub fn short(&self) -> String {
                HEXLOWER.encode(&self.0[..6])
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                HEXLOWER_PERMISSIVE
                    .decode(text.as_bytes())
                    .ok()
                    .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
                    .map(Self)
                    .ok_or_else(|| malformed(text, $expected))
            }
        }
    };
}

hash_id!(
    /// SHA-256 of an event's canonical envelope and body.
    EventId, "an event id (64 hexadecimal digits)");
hash_id!(
    /// The [`EventId`] of the cluster's `ClusterFounded`.
    ClusterId, "a cluster id (64 hexadecimal digits)");
hash_id!(
    /// Names a run: the hash of its trigger key and attempt.
    RunId, "a run id (64 hexadecimal digits)");
hash_id!(
    /// Names a job of a run; the `task_hash` of the ownership rule.
    JobId, "a job id (64 hexadecimal digits)");
hash_id!(
    /// SHA-256 of a blob's bytes.
    BlobId, "a blob id (64 hexadecimal digits)");

impl From<EventId> for ClusterId {
    fn from(founding: EventId) -> Self {
        Self(founding.0)
    }
}

/// A peer's ed25519 public key. Whether it is a point of the curve is found out when a signature is checked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PeerId(#[serde(with = "crate::raw")] [u8; 32]);

ordered_by_bytes!(PeerId);

impl PeerId {
    /// Wraps a public key's 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
    /// The public key's 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
    /// The first ten characters of the text form, for people.
    pub fn short(&self) -> String {
        self.to_string().chars().take(10).collect()
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE32_NOPAD.encode(&self.0).to_ascii_lowercase())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({})", self.short())
    }
}

impl FromStr for PeerId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        BASE32_NOPAD
            .decode(text.to_ascii_uppercase().as_bytes())
            .ok()
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .map(Self)
            .ok_or_else(|| malformed(text, "a peer id (52 base32 characters)"))
    }
}

/// One period of an author's life: 16 random bytes, new whenever a sequence number might otherwise be used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(#[serde(with = "crate::raw")] [u8; 16]);

impl Incarnation {
    /// Wraps 16 raw bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
    /// The 16 raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incarnation({})", HEXLOWER.encode(&self.0[..4]))
    }
}

/// One author's events under one incarnation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
pub struct ChainId {
    /// Whose key signs the chain's frames.
    pub author: PeerId,
    /// Which period of the author's life.
    pub incarnation: Incarnation,
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.author.short(), HEXLOWER.encode(&self.incarnation.0[..4]))
    }
}

/// The beginning of an id as a person types it: hexadecimal for hashes, base32 for peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdPrefix {
    digits: String,
}

impl IdPrefix {
    /// Shortest accepted prefix, in characters.
    pub const LEN_MIN: usize = 4;

    /// Reads 4 to 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`IdError`] when the text is shorter, longer or holds another character.
    pub fn hexadecimal(text: &str) -> Result<Self, IdError> {
        let fits = (Self::LEN_MIN..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
        if !fits {
            return Err(malformed(text, "an id or its beginning (4 to 64 hexadecimal digits)"));
        }
        Ok(Self { digits: text.to_ascii_lowercase() })
    }

    /// Whether a hash begins with this prefix.
    pub fn matches(&self, hash: &[u8; 32]) -> bool {
        HEXLOWER.encode(hash).starts_with(&self.digits)
    }

    /// The least and the greatest 32-byte value with this prefix, for range look-ups.
    pub fn range(&self) -> ([u8; 32], [u8; 32]) {
        let fill = |digit: char| {
            let mut text = self.digits.clone();
            while text.len() < 64 {
                text.push(digit);
            }
            let mut bytes = [0; 32];
            if let Ok(decoded) = HEXLOWER.decode(text.as_bytes()) {
                bytes.copy_from_slice(&decoded);
            }
            bytes
        };
        (fill('0'), fill('f'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_their_text_form() {
        let id = EventId::from_bytes([0xab; 32]);
        assert_eq!(id.to_string().parse::<EventId>().unwrap(), id);
        let peer = PeerId::from_bytes([7; 32]);
        assert_eq!(peer.to_string().len(), 52);
        assert_eq!(peer.to_string().parse::<PeerId>().unwrap(), peer);
        assert!("xyz".parse::<RunId>().is_err());
    }

    #[test]
    fn a_prefix_spans_exactly_the_ids_that_begin_with_it() {
        let prefix = IdPrefix::hexadecimal("ABc1f").unwrap();
        let (low, high) = prefix.range();
        assert!(prefix.matches(&low) && prefix.matches(&high));
        let mut outside = low;
        outside[0] = 0xaa;
        assert!(!prefix.matches(&outside));
        assert!(IdPrefix::hexadecimal("abc").is_err());
        assert!(IdPrefix::hexadecimal("abcg").is_err());
    }
}
