//! Lists, texts and byte strings whose bound is part of their type.
//!
//! Decoding stops at the first element too many, and reserves nothing by what a sender announces. Encoded they are what postcard
//! makes of a `Vec`, a `str` and bytes. They say nothing of what they hold.

use std::fmt;
use std::ops::Deref;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::message::MessageError;

/// A list of at most `N` elements.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct List<T, const N: usize>(Vec<T>);

/// A text of at most `N` bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Text<const N: usize>(String);

/// A byte string of at most `N` bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Bytes<const N: usize>(Vec<u8>);

impl<T, const N: usize> Default for List<T, N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const N: usize> List<T, N> {
    /// The elements that fit; the rest is left out.
    pub fn truncated(items: impl IntoIterator<Item = T>) -> Self {
        Self(items.into_iter().take(N).collect())
    }
    /// All elements.
    pub fn into_inner(self) -> Vec<T> {
        self.0
    }
}

impl<T, const N: usize> TryFrom<Vec<T>> for List<T, N> {
    type Error = MessageError;
    fn try_from(items: Vec<T>) -> Result<Self, MessageError> {
        if items.len() > N {
            Err(MessageError::Bound { len: items.len(), len_max: N })
        } else {
            Ok(Self(items))
        }
    }
}

impl<T, const N: usize> Deref for List<T, N> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Serialize, const N: usize> Serialize for List<T, N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for List<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T, const N: usize>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Elements<T, N> {
            type Value = Vec<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {N} elements")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
                // not reserved by what the sender announces: memory grows with what is there
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    if items.len() == N {
                        return Err(de::Error::invalid_length(N + 1, &self));
                    }
                    items.push(item);
                }
                Ok(items)
            }
        }
        deserializer.deserialize_seq(Elements::<T, N>(std::marker::PhantomData)).map(Self)
    }
}

impl<const N: usize> Text<N> {
    /// The text, cut at a character boundary if it is too long.
    pub fn truncated(text: &str) -> Self {
        Self(text[..text.floor_char_boundary(N)].to_owned())
    }
}

impl<const N: usize> Deref for Text<N> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl<const N: usize> Serialize for Text<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Text<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&str>::deserialize(deserializer)?;
        if text.len() > N {
            return Err(de::Error::invalid_length(text.len(), &"a shorter text"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl<const N: usize> Bytes<N> {
    /// The bytes.
    pub fn into_inner(self) -> Vec<u8> {
        self.0
    }
}

impl<const N: usize> TryFrom<Vec<u8>> for Bytes<N> {
    type Error = MessageError;
    fn try_from(bytes: Vec<u8>) -> Result<Self, MessageError> {
        if bytes.len() > N {
            Err(MessageError::Bound { len: bytes.len(), len_max: N })
        } else {
            Ok(Self(bytes))
        }
    }
}

impl<const N: usize> Deref for Bytes<N> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<const N: usize> fmt::Debug for Bytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl<const N: usize> Serialize for Bytes<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Bytes<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        if bytes.len() > N {
            return Err(de::Error::invalid_length(bytes.len(), &"fewer bytes"));
        }
        Ok(Self(bytes.to_owned()))
    }
}
