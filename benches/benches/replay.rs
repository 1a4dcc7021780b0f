//! How fast a history is audited (events/s, seconds and memory for a million events).
//!
//! A million events of finished runs lie in a file of frames. "Decode, hash, fold" is what `replay` does: every hash is computed again
//! and the views are folded, frames checked by as many threads as there are processors and folded by one more; beside it the same on
//! one thread alone. "Verify" is what `replay --verify` does: signatures too. Each runs in a process of its own, so that its peak
//! memory is its own.
//!
//! The reference is a scan of the same file with one SHA-256 over each frame.
//!
//! `cargo bench -p wfengine-benches --bench replay`

#![expect(clippy::print_stdout, reason = "a bench reports on stdout")]
#![expect(clippy::expect_used, reason = "a bench stops when what it measures is wrong")]

use std::collections::BTreeMap;
use std::fs::File;
use std::hint::black_box;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::sync_channel;

use wfengine_benches::history::History;
use wfengine_benches::measure::{head, line, output_of_child, part, peak_memory_bytes, rate, timed};
use wfengine_core::replay::{Checking, Expected, Place, Replayer, Reread, check_frame};
use wfengine_storage_format::{ClusterId, sha256};

/// Events of a history in frames of 64.
const EVENTS: usize = 1_000_000;
/// Events of a history in frames of 1, of which the figures are scaled up.
const EVENTS_SINGLE: usize = 100_000;
/// Finished runs that stay in memory, as in `replay --verify`.
const RUNS_KEPT: usize = 256;
/// Bytes of frames handed on at once.
const BATCH_BYTES: usize = 256 * 1024;

/// Frames one after the other, each after its length.
struct Frames(File);

impl Reread for Frames {
    fn reread(&self, handle: u64) -> Option<Vec<u8>> {
        let mut len = [0; 4];
        self.0.read_exact_at(&mut len, handle).ok()?;
        let mut bytes = vec![0; u32::from_le_bytes(len) as usize];
        self.0.read_exact_at(&mut bytes, handle + 4).ok()?;
        Some(bytes)
    }
}

fn write(path: &Path, events: usize, frame_len: usize) -> ClusterId {
    let mut file = BufWriter::new(File::create(path).expect("the directory is writable"));
    let mut history = History::founded(frame_len);
    // in parts: the whole of it need not be in memory
    for part in 0..events / 4_000 {
        history.finished_runs(&format!("part-{part}"), 1_000);
        for frame in history.take_frames() {
            let len = u32::try_from(frame.bytes().len()).expect("a frame is short");
            file.write_all(&len.to_le_bytes()).expect("there is room");
            file.write_all(frame.bytes()).expect("there is room");
        }
    }
    file.flush().expect("there is room");
    history.cluster()
}

/// Hands batches of frames with their places to a function.
fn read(path: &Path, mut each: impl FnMut(Vec<(Place, Vec<u8>)>)) {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path).expect("it was written"));
    let (mut offset, mut len, mut batch, mut batch_bytes) = (0, [0; 4], Vec::new(), 0);
    for frame in 0.. {
        if file.read_exact(&mut len).is_err() {
            break;
        }
        let mut bytes = vec![0; u32::from_le_bytes(len) as usize];
        file.read_exact(&mut bytes).expect("the file is whole");
        let place = Place { frame, offset: Some(offset) };
        offset += 4 + bytes.len() as u64;
        batch_bytes += bytes.len();
        batch.push((place, bytes));
        if batch_bytes >= BATCH_BYTES {
            each(std::mem::take(&mut batch));
            batch_bytes = 0;
        }
    }
    each(batch);
}

fn on_one_thread(path: &Path, cluster: ClusterId) {
    let mut replayer = Replayer::new(cluster, Frames(File::open(path).expect("it was written")), RUNS_KEPT);
    read(path, |batch| {
        for (place, bytes) in batch {
            replayer.take(place, check_frame(&bytes, Checking::HashesOnly));
        }
    });
    assert!(replayer.finish(&Expected::default()).is_clean(), "the history is sound");
}

fn replay(path: &Path, cluster: ClusterId, checking: Checking) {
    let checkers = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let frames = Frames(File::open(path).expect("it was written"));
    let mut replayer = Replayer::new(cluster, frames, RUNS_KEPT).sharing(&share);
    let (batches, to_check) = sync_channel::<(u64, Vec<(Place, Vec<u8>)>)>(2 * checkers);
    let (checked, ready) = sync_channel(2 * checkers);
    let to_check = &Mutex::new(to_check);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut number = 0;
            read(path, |batch| {
                batches.send((number, batch)).expect("somebody checks");
                number += 1;
            });
        });
        for _ in 0..checkers {
            let checked = checked.clone();
            scope.spawn(move || {
                loop {
                    let Ok((number, batch)) = to_check.lock().expect("no checker panics").recv() else {
                        return;
                    };
                    let pieces: Vec<_> = batch
                        .into_iter()
                        .map(|(place, bytes)| (place, check_frame(&bytes, checking)))
                        .collect();
                    checked.send((number, pieces)).expect("somebody folds");
                }
            });
        }
        drop(checked);
        let (mut early, mut next) = (BTreeMap::new(), 0);
        for (number, pieces) in ready {
            early.insert(number, pieces);
            while let Some(pieces) = early.remove(&next) {
                next += 1;
                pieces.into_iter().for_each(|(place, frame)| replayer.take(place, frame));
            }
        }
    });
    assert!(replayer.finish(&Expected::default()).is_clean(), "the history is sound");
}

/// As the binary does.
fn share(work: &(dyn Fn() + Sync)) {
    std::thread::scope(|scope| {
        for _ in 1..std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get) {
            scope.spawn(work);
        }
        work();
    });
}

fn scan(path: &Path) {
    read(path, |batch| {
        for (_, bytes) in batch {
            black_box(sha256(&bytes));
        }
    });
}

/// A part in a process of its own: seconds and peak bytes.
fn measured(what: &str, path: &Path, cluster: ClusterId) -> (f64, u64) {
    let output = output_of_child(&format!("{what} {cluster} {}", path.display()));
    let mut words = output.split_whitespace();
    let seconds = words.next().and_then(|word| word.parse().ok()).expect("the child says its seconds");
    let bytes = words.next().and_then(|word| word.parse().ok()).expect("the child says its memory");
    (seconds, bytes)
}

fn child(part: &str) {
    let mut words = part.splitn(3, ' ');
    let mut word = || words.next().expect("a part has three words");
    let (what, cluster, path) = (word(), word().parse().expect("a cluster id"), word());
    let (seconds, ()) = timed(|| match what {
        "replay" => replay(Path::new(path), cluster, Checking::HashesOnly),
        "verify" => replay(Path::new(path), cluster, Checking::Signatures),
        "one-thread" => on_one_thread(Path::new(path), cluster),
        _ => scan(Path::new(path)),
    });
    println!("{seconds} {}", peak_memory_bytes().unwrap_or_default());
}

fn main() {
    if let Some(part) = part() {
        return child(&part);
    }
    let dir = tempfile::tempdir().expect("a scratch directory");
    head("events a second, and a million of them; reference: scan + SHA-256 of the frames");
    for (frame_len, events) in [(64, EVENTS), (1, EVENTS_SINGLE)] {
        let path = dir.path().join(format!("frames-of-{frame_len}"));
        let cluster = write(&path, events, frame_len);
        let (scanned, _) = measured("scan", &path, cluster);
        let (replayed, replay_bytes) = measured("replay", &path, cluster);
        let (single, _) = measured("one-thread", &path, cluster);
        let (verified, verify_bytes) = measured("verify", &path, cluster);
        let per_second = |seconds: f64| rate(events as f64 / seconds);
        let (goal, verify_goal) = if frame_len == 1 {
            ("", "<= 25 s a million")
        } else {
            (">= 1.5 M/s", "<= 3 s a million, <= 200 MB")
        };
        let alone = per_second(scanned);
        line(
            &format!("decode, hash, fold; frames of {frame_len}"),
            &per_second(replayed),
            &alone,
            Some(scanned / replayed),
            goal,
        );
        line("  on one thread", &per_second(single), &alone, Some(scanned / single), "");
        line(
            &format!("verify; frames of {frame_len}"),
            &per_second(verified),
            &alone,
            Some(scanned / verified),
            verify_goal,
        );
        let seconds = format!("{:.1} s", verified * 1e6 / events as f64);
        println!("{:<48} {seconds:>12}", "  verify, a million events");
        let mega = |bytes: u64| format!("{} MB", bytes / 1_000_000);
        println!(
            "{:<48} {:>12} {:>12}",
            "  peak memory: verify, replay",
            mega(verify_bytes),
            mega(replay_bytes)
        );
    }
}
