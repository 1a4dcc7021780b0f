//! Raw bytes of a fixed length, eight at a time.
//!
//! Serde knows an array of bytes only as a tuple of numbers, so postcard writes and reads an id in 32 calls. Ids are most of what
//! is written, and of numbers postcard writes only floats at full length, as their eight bytes: so an id travels as four of them.
//! The bytes are the same; no value is ever read as a float. In text formats an id is the array that serde makes of it.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An array whose length is a multiple of eight.
pub(crate) trait Raw: Sized {
    /// The same bytes as numbers that postcard writes raw.
    type Words: Serialize + for<'de> Deserialize<'de>;
    fn to_words(&self) -> Self::Words;
    fn of_words(words: &Self::Words) -> Self;
}

macro_rules! raw {
    ($bytes:literal, $words:literal) => {
        impl Raw for [u8; $bytes] {
            type Words = [f64; $words];

            #[inline]
            fn to_words(&self) -> [f64; $words] {
                let mut words = [0.0; $words];
                for (word, bytes) in words.iter_mut().zip(self.as_chunks::<8>().0) {
                    *word = f64::from_bits(u64::from_le_bytes(*bytes));
                }
                words
            }

            #[inline]
            fn of_words(words: &[f64; $words]) -> Self {
                let mut raw = [0; $bytes];
                for (bytes, word) in raw.as_chunks_mut::<8>().0.iter_mut().zip(words) {
                    *bytes = word.to_bits().to_le_bytes();
                }
                raw
            }
        }
    };
}
raw!(16, 2);
raw!(32, 4);

#[inline]
pub(crate) fn serialize<T: Raw + AsRef<[u8]>, S: Serializer>(
    raw: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        serializer.collect_seq(raw.as_ref())
    } else {
        raw.to_words().serialize(serializer)
    }
}

#[inline]
pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Raw + TryFrom<Vec<u8>>,
    D: Deserializer<'de>,
{
    if deserializer.is_human_readable() {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        let len = bytes.len();
        T::try_from(bytes).map_err(|_| D::Error::invalid_length(len, &"as many bytes as an id has"))
    } else {
        T::Words::deserialize(deserializer).map(|words| T::of_words(&words))
    }
}

#[cfg(test)]
mod tests {
    use crate::codec::to_canonical;
    use crate::id::{EventId, Incarnation};

    #[test]
    fn ids_are_their_bytes_and_nothing_else() {
        // among them the patterns that would be infinities and signalling not-a-numbers
        for pattern in [0x00, 0x01, 0x7f, 0x80, 0xf0, 0xf4, 0xf7, 0xf8, 0xff] {
            for position in 0..32 {
                let mut bytes = [pattern; 32];
                bytes[position] = 0x7f;
                bytes[31 - position] = 0xf4;
                let id = EventId::from_bytes(bytes);
                assert_eq!(to_canonical(&id), bytes);
                assert_eq!(postcard::from_bytes::<EventId>(&bytes), Ok(id));
                let half: [u8; 16] = bytes[..16].try_into().unwrap();
                assert_eq!(to_canonical(&Incarnation::from_bytes(half)), half);
                assert_eq!(postcard::from_bytes(&half), Ok(Incarnation::from_bytes(half)));
            }
        }
        assert!(postcard::from_bytes::<EventId>(&[0; 31]).is_err());
    }
}
