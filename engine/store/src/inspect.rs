//! What lies in the directory of a cluster's log, without opening it for work: nothing is written and nothing is repaired.
//!
//! For diagnosis. What is said holds for the moment: whoever wants to rely on it opens the log.

use std::path::Path;

use redb::{DatabaseError, ReadOnlyDatabase, ReadableDatabase};

use crate::checksum::unsealed;
use crate::error::StoreError;
use crate::log_file::{META, STORE_FORMAT, corrupt, guarded};

/// What a log's file says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFound {
    /// It can be opened: the version of its tables, which is this program's.
    Readable {
        /// The version.
        version: u32,
    },
    /// Another process works on it.
    InUse,
    /// It was not closed; the next start puts it in order.
    NotClosed,
    /// There is none.
    Missing,
}

/// Looks at the log in the directory of a cluster.
///
/// # Errors
/// [`StoreError::Version`] if another version wrote it, [`StoreError::Corrupt`] if it is no log, [`StoreError::Io`] if it cannot be
/// read.
pub fn log(dir: &Path) -> Result<LogFound, StoreError> {
    let path = dir.join("log.redb");
    if !path.exists() {
        return Ok(LogFound::Missing);
    }
    guarded(&path, "opening", || {
        let database = match ReadOnlyDatabase::open(&path) {
            Ok(database) => database,
            Err(DatabaseError::DatabaseAlreadyOpen) => return Ok(LogFound::InUse),
            Err(DatabaseError::RepairAborted) => return Ok(LogFound::NotClosed),
            Err(DatabaseError::Storage(redb::StorageError::Io(error))) => {
                return Err(StoreError::Io { action: "open", path: path.clone(), detail: error.to_string() });
            }
            Err(error) => return Err(corrupt(&path, "opening", &error)),
        };
        let read = || -> Result<Option<Vec<u8>>, redb::Error> {
            let table = database.begin_read()?.open_table(META)?;
            Ok(table.get("format")?.map(|value| value.value().to_vec()))
        };
        let value = read().map_err(|error| corrupt(&path, "meta", &error))?;
        let bytes = value.as_deref().and_then(unsealed).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        match bytes.map(u32::from_le_bytes) {
            Some(STORE_FORMAT) => Ok(LogFound::Readable { version: STORE_FORMAT }),
            Some(found) => Err(StoreError::Version { path: path.clone(), found, expected: STORE_FORMAT }),
            None => Err(corrupt(&path, "meta", &"this is no log of wfengine")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::Home;

    #[test]
    fn a_log_is_looked_at_without_being_opened() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(log(dir.path()).unwrap(), LogFound::Missing);
        std::fs::write(dir.path().join("log.redb"), "no database").unwrap();
        assert!(log(dir.path()).is_err());
        let home = Home::new();
        let founded = home.dir.path().join("data/clusters").join(home.cluster.to_string());
        let (store, _) = home.open(1).unwrap();
        assert_eq!(log(&founded).unwrap(), LogFound::InUse);
        store.close().unwrap();
        drop(store);
        assert_eq!(log(&founded).unwrap(), LogFound::Readable { version: STORE_FORMAT });
    }
}
