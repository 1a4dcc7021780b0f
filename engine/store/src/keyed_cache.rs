//! A cache on disk: bytes under a name and a key, the oldest forgotten first.
//!
//! For what can be had again from elsewhere: answers of GitHub, what a workflow file said. It never decides whether something happened;
//! a value that is damaged counts as absent, and a file that is damaged is made anew. Writes are durable when [`KeyedCache::flush`] has
//! returned, or some time later.
//!
//! Invariant: the values and keys together never take more than the bound that the cache was opened with.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::checksum::{sealed, unsealed};
use crate::error::StoreError;
use crate::log_file::{corrupt, guarded};

/// Name, zero byte, key: number of the write (u64 little endian), checksum, value.
const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");
/// Number of the write: name, zero byte, key.
const ORDER: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("order");
/// Memory for pages, in bytes.
const PAGES_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of one value at most.
pub const VALUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A cache in one file. Shared between threads; one process at a time.
#[derive(Debug)]
pub struct KeyedCache {
    path: PathBuf,
    database: Database,
    bytes_max: u64,
    /// Bytes of keys and values, and the next number.
    sums: Mutex<(u64, u64)>,
}

impl KeyedCache {
    /// Opens or makes the cache. A file that cannot be read as one is moved away: nothing in it is needed.
    ///
    /// # Errors
    /// [`StoreError`] when no new file can be made either.
    pub fn open(path: &Path, bytes_max: u64) -> Result<Self, StoreError> {
        match Self::open_once(path, bytes_max) {
            Err(StoreError::Corrupt { detail, .. }) => {
                let aside = path.with_extension("damaged");
                tracing::warn!(path = %path.display(), detail, "the cache is damaged and is begun anew");
                std::fs::rename(path, &aside).map_err(|error| StoreError::Io {
                    action: "move away",
                    path: path.to_owned(),
                    detail: error.to_string(),
                })?;
                Self::open_once(path, bytes_max)
            }
            other => other,
        }
    }

    fn open_once(path: &Path, bytes_max: u64) -> Result<Self, StoreError> {
        let damaged = |error: &dyn std::fmt::Display| corrupt(path, "opening", &error);
        guarded(path, "opening", || {
            let opened = redb::Builder::new().set_cache_size(PAGES_BYTES).create(path);
            let database = opened.map_err(|error| match error {
                redb::DatabaseError::DatabaseAlreadyOpen => {
                    StoreError::Locked { path: path.to_owned(), holder: String::new() }
                }
                redb::DatabaseError::Storage(redb::StorageError::Io(error))
                    if !matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
                {
                    StoreError::Io { action: "open", path: path.to_owned(), detail: error.to_string() }
                }
                other => damaged(&other),
            })?;
            private(path)?;
            let sums = summed(&database).map_err(|error| damaged(&error))?;
            Ok(Self { path: path.to_owned(), database, bytes_max, sums: Mutex::new(sums) })
        })
    }

    /// A value, if it is there and whole.
    pub fn get(&self, name: &str, key: &[u8]) -> Option<Vec<u8>> {
        let read = || -> Result<Option<Vec<u8>>, redb::Error> {
            let table = self.database.begin_read()?.open_table(ENTRIES)?;
            let value = table.get(full_key(name, key).as_slice())?;
            Ok(value.and_then(|value| Some(unsealed(value.value().get(8..)?)?.to_vec())))
        };
        let value = guarded(&self.path, "a value of the cache", || {
            read().map_err(|error| corrupt(&self.path, "a value of the cache", &error))
        });
        value.unwrap_or_else(|error| {
            tracing::warn!(%error, "the cache was not read");
            None
        })
    }

    /// Keeps a value in place of the one before. What does not fit is not kept.
    pub fn put(&self, name: &str, key: &[u8], value: &[u8]) {
        let key = full_key(name, key);
        let len = (key.len() + value.len()) as u64;
        if value.len() > VALUE_BYTES_MAX || len > self.bytes_max / 4 {
            return;
        }
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let written = guarded(&self.path, "writing the cache", || {
            self.write(&key, value, &mut sums).map_err(|error| corrupt(&self.path, "writing", &error))
        });
        if let Err(error) = written {
            tracing::warn!(%error, "the cache was not written");
        }
    }

    fn write(&self, key: &[u8], value: &[u8], sums: &mut (u64, u64)) -> Result<(), redb::Error> {
        let (mut bytes, number) = *sums;
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::None)?;
        {
            let mut entries = transaction.open_table(ENTRIES)?;
            let mut order = transaction.open_table(ORDER)?;
            let stored = [number.to_le_bytes().as_slice(), &sealed(value)].concat();
            if let Some(before) = entries.insert(key, stored.as_slice())? {
                bytes = bytes.saturating_sub(size_of(key, before.value()));
                if let Some(before) = number_of(before.value()) {
                    order.remove(before)?;
                }
            }
            order.insert(number, key)?;
            bytes += size_of(key, &stored);
            while bytes > self.bytes_max {
                let Some((_, oldest)) = order.pop_first()? else { break };
                let oldest = oldest.value().to_vec();
                if let Some(gone) = entries.remove(oldest.as_slice())? {
                    bytes = bytes.saturating_sub(size_of(&oldest, gone.value()));
                }
            }
        }
        transaction.commit()?;
        *sums = (bytes, number + 1);
        Ok(())
    }

    /// Makes durable what was put.
    pub fn flush(&self) {
        let flush = || -> Result<(), redb::Error> {
            let mut transaction = self.database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            Ok(transaction.commit()?)
        };
        if let Err(error) = flush() {
            tracing::warn!(%error, path = %self.path.display(), "the cache was not made durable");
        }
    }
}

/// What private repositories answered is nobody else's to read.
fn private(path: &Path) -> Result<(), StoreError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let failed = |error: std::io::Error| StoreError::Io {
            action: "make private",
            path: path.to_owned(),
            detail: error.to_string(),
        };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    }
    Ok(())
}

fn full_key(name: &str, key: &[u8]) -> Vec<u8> {
    [name.as_bytes(), &[0], key].concat()
}

fn size_of(key: &[u8], stored: &[u8]) -> u64 {
    (key.len() + stored.len()) as u64
}

fn number_of(stored: &[u8]) -> Option<u64> {
    stored.first_chunk::<8>().map(|number| u64::from_le_bytes(*number))
}

/// Bytes and the next number of what is there.
fn summed(database: &Database) -> Result<(u64, u64), redb::Error> {
    let transaction = database.begin_write()?;
    let sums = {
        let entries = transaction.open_table(ENTRIES)?;
        let order = transaction.open_table(ORDER)?;
        let mut bytes = 0;
        for entry in entries.iter()? {
            let (key, stored) = entry?;
            bytes += size_of(key.value(), stored.value());
        }
        let last = order.last()?.map_or(0, |(number, _)| number.value() + 1);
        (bytes, last)
    };
    transaction.commit()?;
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("cache.redb")
    }

    #[test]
    fn values_stay_over_a_restart_and_names_keep_them_apart() {
        let folder = tempfile::tempdir().unwrap();
        let cache = KeyedCache::open(&at(&folder), 1 << 20).unwrap();
        cache.put("answers", b"k", b"one");
        cache.put("files", b"k", b"two");
        cache.put("answers", b"k", b"three");
        cache.flush();
        drop(cache);
        let cache = KeyedCache::open(&at(&folder), 1 << 20).unwrap();
        assert_eq!(cache.get("answers", b"k").as_deref(), Some(b"three".as_slice()));
        assert_eq!(cache.get("files", b"k").as_deref(), Some(b"two".as_slice()));
        assert_eq!(cache.get("files", b"x"), None);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(at(&folder)).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn the_oldest_is_forgotten_and_the_bound_holds() {
        let folder = tempfile::tempdir().unwrap();
        let cache = KeyedCache::open(&at(&folder), 4_000).unwrap();
        for round in 0..3_u8 {
            for key in 0..40_u8 {
                cache.put("n", &[key], &[round; 100]);
                assert!(cache.sums.lock().unwrap().0 <= 4_000);
            }
        }
        let kept: Vec<u8> = (0..40).filter(|key| cache.get("n", &[*key]).is_some()).collect();
        assert!(kept.len() > 20 && kept.windows(2).all(|pair| pair[0] + 1 == pair[1]) && kept.contains(&39));
        let sums = *cache.sums.lock().unwrap();
        drop(cache);
        assert_eq!(*KeyedCache::open(&at(&folder), 4_000).unwrap().sums.lock().unwrap(), sums);
    }

    #[test]
    fn what_does_not_fit_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let cache = KeyedCache::open(&at(&folder), 4_000).unwrap();
        cache.put("n", b"k", &[0; 2_000]);
        assert_eq!(cache.get("n", b"k"), None);
    }

    #[test]
    fn a_damaged_file_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(at(&folder), b"no database").unwrap();
        let cache = KeyedCache::open(&at(&folder), 4_000).unwrap();
        cache.put("n", b"k", b"v");
        assert_eq!(cache.get("n", b"k").as_deref(), Some(b"v".as_slice()));
        assert!(folder.path().join("cache.damaged").exists());
    }
}
