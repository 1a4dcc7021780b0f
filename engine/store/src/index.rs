//! The index: which frames hold an event, a run, a job, a peer, or a place of a chain.
//!
//! A B-tree insert per event would cost most of the write rate, so entries of 36 bytes (32-byte key, frame number) are collected
//! in memory and written as sorted runs, merged eight at a time, in the transaction that is being committed anyway. The entries
//! still in memory are rebuilt at opening from the last frames. The index can be rebuilt from the frames at any time.
//!
//! Keys are ids as they are, and `SHA-256(author ‖ incarnation)[..24] ‖ first seq (big endian)` for places of chains.

use std::collections::BTreeSet;

use crate::checksum::{sealed, unsealed};
use crate::log_file::{FRAMES, META};
use redb::{ReadTransaction, ReadableTable, TableDefinition, TableError, WriteTransaction};
use serde::{Deserialize, Serialize};
use wfengine_storage_format::{ChainId, sha256};

/// Blocks of sorted entries by `level ‖ run ‖ first entry`.
pub(crate) const INDEX: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("index");

/// Bytes of an entry.
const ENTRY_LEN: usize = 36;
/// Entries of a block: a block and its key fit a 32 KiB page.
const BLOCK_ENTRIES: usize = 900;
/// Entries in memory before they become a run.
pub(crate) const TAIL_ENTRIES_MAX: usize = 16_384;
/// Runs of one level that are merged into one of the next.
const FAN_IN: usize = 8;

/// What an entry is found under.
pub(crate) type Key = [u8; 32];

/// The key of a frame's place in its chain.
pub(crate) fn place_key(chain: &ChainId, first_seq: u64) -> Key {
    let mut key = [0; 32];
    let hash = sha256(&[chain.author.as_bytes().as_slice(), chain.incarnation.as_bytes()].concat());
    key[..24].copy_from_slice(&hash[..24]);
    key[24..].copy_from_slice(&first_seq.to_be_bytes());
    key
}

/// One sorted run on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    level: u8,
    number: u32,
    entries: u64,
}

impl Run {
    fn block_key(self, first: &[u8; ENTRY_LEN]) -> [u8; 5 + ENTRY_LEN] {
        let mut key = [0; 5 + ENTRY_LEN];
        key[0] = self.level;
        key[1..5].copy_from_slice(&self.number.to_be_bytes());
        key[5..].copy_from_slice(first);
        key
    }
}

/// What is on disk, and up to which frame.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct IndexState {
    /// The runs, oldest first.
    pub(crate) runs: Vec<Run>,
    next_number: u32,
    /// Frames below this number are in the runs.
    pub(crate) frames_indexed: u64,
}

/// Entries that are in memory only.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail {
    entries: BTreeSet<(Key, u32)>,
}

impl Tail {
    pub(crate) fn insert(&mut self, key: Key, frame: u32) {
        self.entries.insert((key, frame));
    }
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
    fn range(&self, low: &Key, high: &Key) -> impl DoubleEndedIterator<Item = (Key, u32)> + '_ {
        self.entries.range((*low, 0)..=(*high, u32::MAX)).copied()
    }
}

fn entry_bytes(key: &Key, frame: u32) -> [u8; ENTRY_LEN] {
    let mut bytes = [0; ENTRY_LEN];
    bytes[..32].copy_from_slice(key);
    bytes[32..].copy_from_slice(&frame.to_be_bytes());
    bytes
}

/// The entries of a block, if its checksum holds.
fn entries_of(block: &[u8]) -> Result<&[[u8; ENTRY_LEN]], redb::Error> {
    let damaged = || redb::Error::Corrupted("the checksum of a block of the index does not hold".to_owned());
    Ok(unsealed(block).ok_or_else(damaged)?.as_chunks::<ENTRY_LEN>().0)
}

fn entry_of(bytes: &[u8; ENTRY_LEN]) -> (Key, u32) {
    let (mut key, mut frame) = ([0; 32], [0; 4]);
    key.copy_from_slice(&bytes[..32]);
    frame.copy_from_slice(&bytes[32..]);
    (key, u32::from_be_bytes(frame))
}

/// Writes the tail as a run of level 0 and merges full levels. The caller clears the tail once the transaction is durable.
pub(crate) fn flush(
    transaction: &WriteTransaction,
    state: &mut IndexState,
    tail: &Tail,
    frames_indexed: u64,
) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(INDEX)?;
    let entries: Vec<[u8; ENTRY_LEN]> =
        tail.entries.iter().map(|(key, frame)| entry_bytes(key, *frame)).collect();
    write_run(&mut table, state, 0, &entries)?;
    state.frames_indexed = frames_indexed;
    let mut level = 0;
    loop {
        let full: Vec<Run> = state.runs.iter().filter(|run| run.level == level).copied().collect();
        if full.len() < FAN_IN {
            return Ok(());
        }
        let mut merged: Vec<[u8; ENTRY_LEN]> = Vec::new();
        for run in &full {
            let low = run.block_key(&[0; ENTRY_LEN]);
            let high = run.block_key(&[0xff; ENTRY_LEN]);
            let mut blocks = Vec::new();
            for item in table.range(low.as_slice()..=high.as_slice())? {
                let (key, value) = item?;
                merged.extend_from_slice(entries_of(value.value())?);
                blocks.push(key.value().to_vec());
            }
            for block in blocks {
                table.remove(block.as_slice())?;
            }
        }
        merged.sort_unstable();
        merged.dedup();
        state.runs.retain(|run| !full.contains(run));
        level += 1;
        write_run(&mut table, state, level, &merged)?;
    }
}

fn write_run(
    table: &mut redb::Table<'_, &[u8], &[u8]>,
    state: &mut IndexState,
    level: u8,
    entries: &[[u8; ENTRY_LEN]],
) -> Result<(), redb::Error> {
    let run = Run { level, number: state.next_number, entries: entries.len() as u64 };
    state.next_number = state.next_number.wrapping_add(1);
    for block in entries.chunks(BLOCK_ENTRIES) {
        if let Some(first) = block.first() {
            table.insert(run.block_key(first).as_slice(), sealed(block.as_flattened()).as_slice())?;
        }
    }
    state.runs.push(run);
    Ok(())
}

/// The runs as a transaction sees them. The state in memory is ahead of it while a flush is being committed, and names merged runs
/// whose blocks are not there yet instead of those they were merged from.
fn runs_of(transaction: &ReadTransaction, state: &IndexState) -> Result<Vec<Run>, redb::Error> {
    if state.runs.is_empty() {
        return Ok(Vec::new());
    }
    let table = match transaction.open_table(META) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        other => other?,
    };
    let damaged = || redb::Error::Corrupted("the state of the index cannot be read".to_owned());
    match table.get("index")? {
        None => Ok(Vec::new()),
        Some(value) => {
            let bytes = unsealed(value.value()).ok_or_else(damaged)?;
            postcard::from_bytes::<IndexState>(bytes).map(|seen| seen.runs).map_err(|_| damaged())
        }
    }
}

fn frames_len_of(transaction: &ReadTransaction) -> Result<u64, redb::Error> {
    match transaction.open_table(FRAMES) {
        Err(TableError::TableDoesNotExist(_)) => Ok(0),
        other => Ok(other?.last()?.map_or(0, |(number, _)| number.value() + 1)),
    }
}

/// Every entry with a key from `low` to `high`, at most `len_max`, in order of key and frame.
pub(crate) fn lookup(
    transaction: &ReadTransaction,
    state: &IndexState,
    tail: &Tail,
    low: &Key,
    high: &Key,
    len_max: usize,
) -> Result<Vec<(Key, u32)>, redb::Error> {
    let mut found: BTreeSet<(Key, u32)> = tail.range(low, high).take(len_max).collect();
    if !found.is_empty() {
        // the tail is ahead of the disk while a transaction is being committed
        let frames_len = frames_len_of(transaction)?;
        found.retain(|(_, number)| u64::from(*number) < frames_len);
    }
    let table = match transaction.open_table(INDEX) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(found.into_iter().collect()),
        other => other?,
    };
    let (first, last) = (entry_bytes(low, 0), entry_bytes(high, u32::MAX));
    for run in &runs_of(transaction, state)? {
        // the block before the first one that begins inside the range may reach into it
        let start = table
            .range(run.block_key(&[0; ENTRY_LEN]).as_slice()..=run.block_key(&first).as_slice())?
            .next_back()
            .transpose()?
            .map_or_else(|| run.block_key(&first).to_vec(), |(key, _)| key.value().to_vec());
        let mut taken = 0;
        'blocks: for item in table.range(start.as_slice()..=run.block_key(&last).as_slice())? {
            let (_, value) = item?;
            let value = value.value();
            let entries = entries_of(value)?;
            let begin = entries.partition_point(|entry| entry < &first);
            for entry in entries.iter().skip(begin) {
                if entry > &last || taken >= len_max {
                    break 'blocks;
                }
                found.insert(entry_of(entry));
                taken += 1;
            }
        }
    }
    Ok(found.into_iter().take(len_max).collect())
}

/// The greatest entry with a key from `low` to `high`.
pub(crate) fn greatest(
    transaction: &ReadTransaction,
    state: &IndexState,
    tail: &Tail,
    low: &Key,
    high: &Key,
) -> Result<Option<(Key, u32)>, redb::Error> {
    let mut best = tail.range(low, high).next_back();
    let table = match transaction.open_table(INDEX) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(best),
        other => other?,
    };
    let (first, last) = (entry_bytes(low, 0), entry_bytes(high, u32::MAX));
    for run in &runs_of(transaction, state)? {
        let range =
            table.range(run.block_key(&[0; ENTRY_LEN]).as_slice()..=run.block_key(&last).as_slice())?;
        if let Some((_, value)) = range.into_iter().next_back().transpose()? {
            let value = value.value();
            let entries = entries_of(value)?;
            let end = entries.partition_point(|entry| entry <= &last);
            let entry =
                end.checked_sub(1).and_then(|place| entries.get(place)).filter(|entry| **entry >= first);
            best = best.max(entry.map(entry_of));
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::{Database, ReadableDatabase};

    #[test]
    fn what_is_durable_is_found_while_a_merge_is_being_committed() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::create(dir.path().join("log.redb")).unwrap();
        let (mut state, mut tail) = (IndexState::default(), Tail::default());
        let key = |number: u32| sha256(&number.to_le_bytes());
        let found = |state: &IndexState, tail: &Tail, number| {
            let transaction = database.begin_read().unwrap();
            let entries = lookup(&transaction, state, tail, &key(number), &key(number), 16).unwrap();
            let last = greatest(&transaction, state, tail, &key(number), &key(number)).unwrap();
            (entries, last)
        };
        let runs = u32::try_from(FAN_IN).unwrap();
        for number in 0..runs {
            tail.insert(key(number), number);
            assert_eq!(found(&state, &tail, number).0, [], "its frame is not there yet");
            let transaction = database.begin_write().unwrap();
            transaction.open_table(FRAMES).unwrap().insert(u64::from(number), b"frame".as_slice()).unwrap();
            flush(&transaction, &mut state, &tail, u64::from(number) + 1).unwrap();
            let bytes = sealed(&postcard::to_stdvec(&state).unwrap());
            transaction.open_table(META).unwrap().insert("index", bytes.as_slice()).unwrap();
            if number + 1 == runs {
                assert_eq!(state.runs.len(), 1, "the runs are merged");
            }
            // the state in memory is ahead, the transaction is not durable
            for known in 0..number {
                let entry = (key(known), known);
                assert_eq!(found(&state, &tail, known), (vec![entry], Some(entry)), "run {number}");
            }
            transaction.commit().unwrap();
            tail.clear();
            for known in 0..=number {
                assert_eq!(found(&state, &tail, known).0, [(key(known), known)]);
            }
        }
    }
}
