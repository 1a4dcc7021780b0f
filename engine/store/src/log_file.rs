//! The redb file of one cluster's log: tables, reading frames, looking things up.
//!
//! Frames are kept under consecutive numbers in the order of admission, each with the wall time at which this node first saw it.
//! Everything else (index, checkpoint) can be rebuilt from them.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use wfengine_core::admitted::Admitted;
use wfengine_core::log::{KnownEvents, Location};
use wfengine_core::time::WallMs;
use wfengine_core::views::runs::History;
use wfengine_storage_format::{ChainId, EventId, RunId, SignedFrame, SignedHeader, VerifiedFrame};

use crate::checksum::{sealed, unsealed};
use crate::error::StoreError;
use crate::index::{INDEX, IndexState, Key, Tail, greatest, lookup, place_key};

/// Encoded frames by number of admission: checksum and wall time of the first admission here (u64 little endian, ms), then the bytes.
pub(crate) const FRAMES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("frames");
/// Small values, each behind its checksum: format, cluster, state of the index, how the log was closed.
pub(crate) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// Version of the tables.
pub(crate) const STORE_FORMAT: u32 = 1;
/// Memory for pages, in bytes.
const CACHE_BYTES: usize = 64 * 1024 * 1024;
/// Events whose places are kept at hand once they were looked up, about.
const LOCATED_EVENTS_MAX: usize = 1 << 16;
/// Entries that a look-up of one entity may yield.
const LOOKUP_ENTRIES_MAX: usize = 1 << 20;

/// A frame as stored.
#[derive(Clone, Debug)]
pub struct StoredFrame {
    /// Its number in the order of admission.
    pub number: u64,
    /// When this node first saw it.
    pub first_seen: WallMs,
    /// The frame. Its signature was checked before it was stored.
    pub frame: VerifiedFrame,
}

/// A frame's value as it lies on disk.
#[derive(Clone, Debug)]
pub(crate) struct RawFrame {
    pub(crate) number: u64,
    pub(crate) first_seen: WallMs,
    pub(crate) bytes: Vec<u8>,
    /// Whether the checksum over the time and the bytes holds.
    pub(crate) is_whole: bool,
}

/// The open file with the part of the index that is in memory.
#[derive(Debug)]
pub(crate) struct LogFile {
    pub(crate) path: PathBuf,
    pub(crate) database: Database,
    pub(crate) index: RwLock<(IndexState, Tail)>,
    located: Mutex<HashMap<EventId, Location>>,
}

impl LogFile {
    /// Opens or creates the file.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let opened = guarded(path, "opening", || {
            redb::Builder::new().set_cache_size(CACHE_BYTES).create(path).map_err(|error| match error {
                redb::DatabaseError::DatabaseAlreadyOpen => {
                    StoreError::Locked { path: path.to_owned(), holder: String::new() }
                }
                redb::DatabaseError::Storage(redb::StorageError::Io(error)) => {
                    StoreError::Io { action: "open", path: path.to_owned(), detail: error.to_string() }
                }
                other => corrupt(path, "opening", &other),
            })
        })?;
        Ok(Self {
            path: path.to_owned(),
            database: opened,
            index: RwLock::default(),
            located: Mutex::default(),
        })
    }

    /// A small value, its checksum checked.
    pub(crate) fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read("meta", |transaction| match transaction.open_table(META) {
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            other => Ok(other?.get(name)?.map(|value| value.value().to_vec())),
        })?
        .map(|value| {
            let damaged = || self.corrupt_at(format!("meta value {name}"), "its checksum does not hold");
            unsealed(&value).map(<[u8]>::to_vec).ok_or_else(damaged)
        })
        .transpose()
    }

    /// Forgets the index on disk; whoever calls builds it again from the frames.
    pub(crate) fn drop_index(&self) -> Result<(), StoreError> {
        let drop = || -> Result<(), redb::Error> {
            let mut transaction = self.database.begin_write()?;
            transaction.set_quick_repair(true);
            transaction.delete_table(INDEX)?;
            transaction.open_table(META)?.remove("index")?;
            transaction.commit()?;
            Ok(())
        };
        guarded(&self.path, "index", || drop().map_err(|error| corrupt(&self.path, "index", &error)))
    }

    /// Marks the index on disk as one that cannot be read: look-ups say so from here on, and the next opening builds it again from
    /// the frames. Nothing is answered from an index that is gone.
    pub(crate) fn distrust_index(&self) {
        let distrust = || -> Result<(), redb::Error> {
            let mut transaction = self.database.begin_write()?;
            transaction.set_quick_repair(true);
            // no checksum holds over nothing
            transaction.open_table(META)?.insert("index", [].as_slice())?;
            transaction.commit()?;
            Ok(())
        };
        let marked =
            guarded(&self.path, "index", || distrust().map_err(|error| corrupt(&self.path, "index", &error)));
        if let Err(error) = marked {
            tracing::error!(%error, "the index is damaged and could not be marked so");
        }
    }

    /// Runs a read transaction. A database that panics on damaged pages is reported as corrupt.
    pub(crate) fn read<T>(
        &self,
        at: &str,
        work: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        guarded(&self.path, at, || {
            self.database
                .begin_read()
                .map_err(redb::Error::from)
                .and_then(|transaction| work(&transaction))
                .map_err(|error| corrupt(&self.path, at, &error))
        })
    }

    /// Number of stored frames.
    pub(crate) fn frames_len(&self) -> Result<u64, StoreError> {
        self.read("frames", |transaction| match transaction.open_table(FRAMES) {
            Err(TableError::TableDoesNotExist(_)) => Ok(0),
            other => Ok(other?.last()?.map_or(0, |(number, _)| number.value() + 1)),
        })
    }

    /// Frames as stored from a number on, at most `len_max`, unchecked.
    pub(crate) fn raw_frames(&self, from: u64, len_max: usize) -> Result<Vec<RawFrame>, StoreError> {
        self.read("frames", |transaction| {
            let table = match transaction.open_table(FRAMES) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                other => other?,
            };
            let mut frames = Vec::new();
            for item in table.range(from..)?.take(len_max) {
                let (number, value) = item?;
                frames.push(RawFrame::of(number.value(), value.value()));
            }
            Ok(frames)
        })
    }

    /// Frames from a number on, at most `len_max`, their hashes checked.
    pub(crate) fn frames(&self, from: u64, len_max: usize) -> Result<Vec<StoredFrame>, StoreError> {
        self.raw_frames(from, len_max)?.into_iter().map(|raw| self.decode(raw)).collect()
    }

    /// One frame.
    pub(crate) fn frame(&self, number: u64) -> Result<StoredFrame, StoreError> {
        let raw = self.read("frames", |transaction| {
            let table = transaction.open_table(FRAMES)?;
            Ok(table.get(number)?.map(|value| RawFrame::of(number, value.value())))
        })?;
        match raw {
            Some(raw) => self.decode(raw),
            None => {
                Err(self.corrupt_at(format!("frame {number}"), "the index names a frame that is not there"))
            }
        }
    }

    fn decode(&self, raw: RawFrame) -> Result<StoredFrame, StoreError> {
        let RawFrame { number, first_seen, bytes, is_whole } = raw;
        let damaged = |detail: &str| self.corrupt_at(format!("frame {number}"), detail);
        let frame = SignedFrame::decode(&bytes)
            .and_then(SignedFrame::trust_signature)
            .map_err(|error| damaged(&error.to_string()))?;
        if !is_whole {
            return Err(damaged("its checksum does not hold"));
        }
        Ok(StoredFrame { number, first_seen, frame })
    }

    pub(crate) fn corrupt_at(&self, at: String, detail: &str) -> StoreError {
        StoreError::Corrupt { path: self.path.clone(), at, detail: detail.to_owned() }
    }

    /// Numbers of the frames indexed under keys from `low` to `high`, with the keys.
    pub(crate) fn entries(
        &self,
        low: &Key,
        high: &Key,
        len_max: usize,
    ) -> Result<Vec<(Key, u32)>, StoreError> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        self.read("index", |transaction| lookup(transaction, &index.0, &index.1, low, high, len_max))
    }

    /// The events that are or concern an entity, in order of admission.
    pub(crate) fn events_of(&self, entity: &Key) -> Result<Vec<Arc<Admitted>>, StoreError> {
        let numbers: BTreeSet<u64> = self
            .entries(entity, entity, LOOKUP_ENTRIES_MAX)?
            .into_iter()
            .map(|(_, number)| u64::from(number))
            .collect();
        let mut events = Vec::new();
        for number in numbers {
            let stored = self.frame(number)?;
            let concerned =
                |event: &Arc<Admitted>| event.id.as_bytes() == entity || event.entities().contains(entity);
            events.extend(Admitted::of_frame(stored.frame, stored.first_seen).into_iter().filter(concerned));
        }
        Ok(events)
    }

    /// One event by its id.
    pub(crate) fn event(&self, id: &EventId) -> Result<Option<Arc<Admitted>>, StoreError> {
        Ok(self.events_of(id.as_bytes())?.into_iter().find(|event| event.id == *id))
    }

    /// The number of the stored frame that holds a place of a chain.
    pub(crate) fn frame_number_at(&self, chain: &ChainId, seq: u64) -> Result<Option<u64>, StoreError> {
        let (low, high) = (place_key(chain, 0), place_key(chain, seq));
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let found =
            self.read("index", |transaction| greatest(transaction, &index.0, &index.1, &low, &high))?;
        Ok(found.map(|(_, number)| u64::from(number)))
    }

    /// Where an event stands, through the index. What the frames looked into hold is remembered: places never change, and many
    /// events name the same few, such as the authority heads.
    fn locate_stored(&self, id: &EventId) -> Result<Option<Location>, StoreError> {
        let located = || self.located.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = located().get(id) {
            return Ok(Some(*known));
        }
        for (_, number) in self.entries(id.as_bytes(), id.as_bytes(), 16)? {
            let stored = self.frame(u64::from(number))?;
            let mut known = located();
            if known.len() >= LOCATED_EVENTS_MAX {
                known.clear();
            }
            known.extend(stored.frame.events().iter().map(|(id, event)| {
                (*id, Location { chain: event.chain, seq: event.seq, height: event.height })
            }));
            if let Some(location) = known.get(id) {
                return Ok(Some(*location));
            }
        }
        Ok(None)
    }
}

impl KnownEvents for LogFile {
    fn locate(&self, id: &EventId) -> Option<Location> {
        match self.locate_stored(id) {
            Ok(location) => location,
            Err(error) => {
                tracing::error!(%error, event = %id, "looking an event up failed; it is treated as missing");
                None
            }
        }
    }

    fn header_at(&self, chain: &ChainId, seq: u64) -> Option<SignedHeader> {
        let stored = self.frame_number_at(chain, seq).and_then(|number| match number {
            Some(number) => self.frame(number).map(Some),
            None => Ok(None),
        });
        match stored {
            Ok(stored) => stored
                .map(|stored| stored.frame.signed_header())
                .filter(|signed| signed.header.chain == *chain && signed.header.end_seq() > seq),
            Err(error) => {
                tracing::error!(%error, %chain, seq, "looking a frame up failed");
                None
            }
        }
    }
}

impl History for LogFile {
    fn events_of_run(&self, run: &RunId) -> Option<Vec<Arc<Admitted>>> {
        let read = self.events_of(run.as_bytes());
        read.inspect_err(|error| tracing::error!(%error, run = %run, "reading a finished run back failed"))
            .ok()
    }
}

/// Reads finished runs back for a fold that must not go on without them.
pub(crate) struct Recalling<'a> {
    file: &'a LogFile,
    failed: RefCell<Option<StoreError>>,
}

impl<'a> Recalling<'a> {
    pub(crate) fn of(file: &'a LogFile) -> Self {
        Self { file, failed: RefCell::default() }
    }

    /// Whether everything that was asked for could be read. If not, the runs that could not are as they were before the fold, the
    /// views are behind the log for good, and this process must end.
    pub(crate) fn outcome(&self) -> Result<(), StoreError> {
        self.failed.borrow_mut().take().map_or(Ok(()), Err)
    }
}

impl History for Recalling<'_> {
    fn events_of_run(&self, run: &RunId) -> Option<Vec<Arc<Admitted>>> {
        match self.file.events_of(run.as_bytes()) {
            Ok(events) => Some(events),
            Err(error) => {
                self.failed.borrow_mut().get_or_insert(error);
                None
            }
        }
    }
}

impl RawFrame {
    /// Splits the value stored for a frame.
    fn of(number: u64, value: &[u8]) -> Self {
        let split = value.split_first_chunk::<8>().and_then(|(_, rest)| rest.split_first_chunk::<8>());
        let (first_seen, bytes) =
            split.map_or((0, [].as_slice()), |(ms, bytes)| (u64::from_le_bytes(*ms), bytes));
        Self {
            number,
            first_seen: WallMs(first_seen),
            bytes: bytes.to_vec(),
            is_whole: unsealed(value).is_some(),
        }
    }
}

/// The value stored for a frame: checksum, when it was first seen, its bytes.
pub(crate) fn join_value(first_seen: WallMs, frame: &VerifiedFrame) -> Vec<u8> {
    sealed(&[first_seen.0.to_le_bytes().as_slice(), frame.bytes()].concat())
}

pub(crate) fn corrupt(path: &Path, at: &str, error: &impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt { path: path.to_owned(), at: at.to_owned(), detail: error.to_string() }
}

/// redb panics on some damaged files; a panic while reading is damage, not a crash of the node.
pub(crate) fn guarded<T>(
    path: &Path,
    at: &str,
    work: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let detail = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "the database gave up".to_owned());
        Err(StoreError::Corrupt { path: path.to_owned(), at: at.to_owned(), detail })
    })
}
