//! Answers that were kept with their tag, so that asking again costs nothing when nothing changed.
//!
//! A key holds everything that an answer depends on ([`key`]): who asked, which host, which form was wanted, which path.
//! So a tag is used only under the credential that got it. What is kept was answered with 200, read to its end and understood;
//! the client sees to that before it calls [`AnswerCache::put`].
//!
//! Not here: a cache that outlives the process. Whoever has a data directory brings one behind the same trait.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use sha2::{Digest, Sha256};

/// What is kept of one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The tag, as it was sent, `W/` included.
    pub etag: String,
    /// The `link` header: a 304 does not repeat it.
    pub link: Option<String>,
    /// The whole body.
    pub body: Vec<u8>,
    /// Wall time at which GitHub last sent it or said that it still holds, to some hours; shown with a stale answer.
    pub confirmed_s: u64,
}

/// A place for answers. It may forget at any time, and must not make up or cut anything.
pub trait AnswerCache: Send + Sync {
    /// What was kept under a key.
    fn get(&self, key: &[u8; 32]) -> Option<Kept>;
    /// Keeps an answer, in place of an earlier one. A cache that cannot write forgets instead.
    fn put(&self, key: &[u8; 32], kept: &Kept);
}

/// The key of an answer: SHA-256 over who asks, the base address, the wanted form and the path with its query.
pub fn key(identity: &[u8; 32], base: &str, accept: &str, path_and_query: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"wfengine/github-answer/v1");
    hash.update(identity);
    for part in [base, accept, "GET", path_and_query] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

/// A bounded cache in memory. When it is full, the answers that were not used for the longest time go.
#[derive(Debug)]
pub struct MemoryCache {
    bytes_max: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    answers: BTreeMap<[u8; 32], (u64, Kept)>,
    by_use: BTreeMap<u64, [u8; 32]>,
    uses: u64,
    bytes: usize,
}

impl MemoryCache {
    /// A cache for at most this many bytes of bodies, tags and links.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, held: Mutex::default() }
    }
}

impl Default for MemoryCache {
    /// 32 MiB: the workflow files of some thousand repositories.
    fn default() -> Self {
        Self::new(32 << 20)
    }
}

impl AnswerCache for MemoryCache {
    fn get(&self, key: &[u8; 32]) -> Option<Kept> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = &mut *held;
        let (used, kept) = held.answers.get_mut(key)?;
        held.by_use.remove(used);
        held.uses += 1;
        *used = held.uses;
        held.by_use.insert(held.uses, *key);
        Some(kept.clone())
    }

    fn put(&self, key: &[u8; 32], kept: &Kept) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.remove(key);
        let size = size(kept);
        if size > self.bytes_max {
            return;
        }
        while held.bytes + size > self.bytes_max {
            let Some((_, oldest)) = held.by_use.first_key_value() else { break };
            let oldest = *oldest;
            held.remove(&oldest);
        }
        held.uses += 1;
        let uses = held.uses;
        held.bytes += size;
        held.by_use.insert(uses, *key);
        held.answers.insert(*key, (uses, kept.clone()));
    }
}

impl Held {
    fn remove(&mut self, key: &[u8; 32]) {
        if let Some((used, kept)) = self.answers.remove(key) {
            self.by_use.remove(&used);
            self.bytes -= size(&kept);
        }
    }
}

fn size(kept: &Kept) -> usize {
    128 + kept.etag.len() + kept.link.as_ref().map_or(0, String::len) + kept.body.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(body: usize) -> Kept {
        Kept { etag: "\"a\"".to_owned(), link: None, body: vec![b' '; body], confirmed_s: 0 }
    }

    #[test]
    fn who_asks_and_what_for_make_different_keys() {
        let ours = key(&[1; 32], "https://api", "json", "/user");
        assert_ne!(ours, key(&[2; 32], "https://api", "json", "/user"));
        assert_ne!(ours, key(&[1; 32], "https://api2", "json", "/user"));
        assert_ne!(ours, key(&[1; 32], "https://api", "raw", "/user"));
        assert_ne!(ours, key(&[1; 32], "https://api", "json", "/user?page=2"));
        assert_ne!(key(&[1; 32], "ab", "c", "d"), key(&[1; 32], "a", "bc", "d"));
    }

    #[test]
    fn the_longest_unused_answer_goes_first() {
        let cache = MemoryCache::new(3 * (131 + 100));
        for number in 1..=3 {
            cache.put(&[number; 32], &kept(100));
        }
        assert!(cache.get(&[1; 32]).is_some());
        cache.put(&[4; 32], &kept(100));
        assert!(cache.get(&[2; 32]).is_none(), "it was used before the others");
        assert!(
            cache.get(&[1; 32]).is_some() && cache.get(&[3; 32]).is_some() && cache.get(&[4; 32]).is_some()
        );
        cache.put(&[1; 32], &kept(10_000));
        assert!(cache.get(&[1; 32]).is_none(), "larger than the whole cache: forgotten, the others stay");
        assert!(cache.get(&[3; 32]).is_some());
    }
}
