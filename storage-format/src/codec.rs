//! Canonical postcard: one value, one byte string.
//!
//! Postcard itself accepts padded integers and trailing bytes. Whatever is hashed, signed or compared goes through
//! [`from_canonical`], which decodes, encodes again and demands equality, so two different byte strings never mean the same.

use std::cell::RefCell;

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why bytes are not the canonical form of a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Not decodable at all, or bytes are left over.
    #[error("{what} cannot be decoded: {detail}")]
    Malformed {
        /// Which value was expected.
        what: &'static str,
        /// What the decoder says.
        detail: String,
    },
    /// Decodable, but the same value has another encoding.
    #[error("{what} is not in canonical form")]
    NotCanonical {
        /// Which value was expected.
        what: &'static str,
    },
    /// Longer than the format allows.
    #[error("{what} has {len} bytes, at most {len_max} are allowed")]
    TooLong {
        /// Which value was expected.
        what: &'static str,
        /// Bytes given.
        len: usize,
        /// Bytes allowed.
        len_max: usize,
    },
}

/// Bytes of scratch space that a thread keeps.
const SCRATCH_BYTES_MAX: usize = 1024 * 1024;

thread_local! {
    /// Where values are encoded before it is known how long they are.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Hands empty scratch space to `write` and what was written to `read`.
pub(crate) fn with_scratch<T>(write: impl FnOnce(&mut Vec<u8>), read: impl FnOnce(&[u8]) -> T) -> T {
    let mut space = SCRATCH.with(RefCell::take);
    space.clear();
    write(&mut space);
    let outcome = read(&space);
    if space.capacity() <= SCRATCH_BYTES_MAX {
        SCRATCH.with(|scratch| scratch.replace(space));
    }
    outcome
}

struct Growing<'a>(&'a mut Vec<u8>);

impl Flavor for Growing<'_> {
    type Output = ();
    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }
    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Compares instead of writing, so that asking for equality allocates nothing.
struct Comparing<'a>(&'a [u8]);

impl Flavor for Comparing<'_> {
    type Output = bool;
    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        match self.0.split_first() {
            Some((first, rest)) if *first == byte => {
                self.0 = rest;
                Ok(())
            }
            _ => Err(postcard::Error::SerializeBufferFull),
        }
    }
    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0 = self.0.strip_prefix(bytes).ok_or(postcard::Error::SerializeBufferFull)?;
        Ok(())
    }
    fn finalize(self) -> postcard::Result<bool> {
        Ok(self.0.is_empty())
    }
}

fn encodes_to<T: Serialize>(value: &T, bytes: &[u8]) -> bool {
    postcard::serialize_with_flavor(value, Comparing(bytes)).unwrap_or(false)
}

/// Encodes a value. The types of this crate hold nothing that postcard cannot encode.
pub fn to_canonical<T: Serialize>(value: &T) -> Vec<u8> {
    with_canonical(value, <[u8]>::to_vec)
}

/// Encodes a value as [`to_canonical`] does and hands the bytes on, for those who do not keep them.
pub fn with_canonical<T: Serialize, R>(value: &T, read: impl FnOnce(&[u8]) -> R) -> R {
    with_scratch(|out| put_canonical(out, value), read)
}

#[expect(
    clippy::expect_used,
    reason = "postcard into a growing vector fails only for types this crate does not have"
)]
fn put_canonical<T: Serialize>(out: &mut Vec<u8>, value: &T) {
    postcard::serialize_with_flavor(value, Growing(out))
        .expect("BUG: a value of the storage format cannot be encoded");
}

/// Decodes the canonical encoding of `what`, at most `len_max` bytes.
///
/// # Errors
/// [`CodecError`] for anything but the one canonical encoding of a value.
pub fn from_canonical<T: Serialize + DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
    len_max: usize,
) -> Result<T, CodecError> {
    if bytes.len() > len_max {
        return Err(CodecError::TooLong { what, len: bytes.len(), len_max });
    }
    let (value, rest) = postcard::take_from_bytes::<T>(bytes)
        .map_err(|e| CodecError::Malformed { what, detail: e.to_string() })?;
    if !rest.is_empty() || !encodes_to(&value, bytes) {
        return Err(CodecError::NotCanonical { what });
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padded_integers_and_trailing_bytes_are_refused() {
        assert_eq!(from_canonical::<u32>("number", &[1], 8), Ok(1));
        // 0x81 0x00 is the number 1 with a needless second byte
        assert_eq!(
            from_canonical::<u32>("number", &[0x81, 0x00], 8),
            Err(CodecError::NotCanonical { what: "number" })
        );
        assert!(from_canonical::<u32>("number", &[1, 0], 8).is_err());
        assert!(from_canonical::<u32>("number", &[1; 9], 8).is_err());
        assert!(from_canonical::<String>("text", &[200, 1, 65], 8).is_err());
    }
}
