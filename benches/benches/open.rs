//! How long a log takes to open after its process was killed (milliseconds).
//!
//! A child process writes a million events through the writer, as frames of 256: 100,000 runs that are open at the end, the rest
//! finished before. Then it aborts, without closing anything. The clock runs from opening until the views can be read. "With a history
//! of 100,000" is the same with a tenth of everything.
//!
//! The reference is redb alone opening the file.
//!
//! `cargo bench -p wfengine-benches --bench open`

#![expect(clippy::expect_used, reason = "a bench stops when what it measures is wrong")]
#![expect(clippy::print_stdout, reason = "a bench reports on stdout")]

use std::path::Path;

use wfengine_benches::history::{History, WALL, incarnation, signer};
use wfengine_benches::measure::{head, in_child, line, median, milliseconds, part, timed};
use wfengine_benches::node;
use wfengine_store::{Purpose, Store};

const ROUNDS: usize = 5;

/// Writes a log and dies.
fn write_and_die(part: &str) -> ! {
    let (events, dir) = part.split_once(' ').expect("a part has two words");
    let (events, dir): (usize, _) = (events.parse().expect("a number"), Path::new(dir));
    let open = events / 10;
    let mut history = History::founded(256);
    node::create(dir, history.cluster(), &history.take_frames());
    let store = node::open(dir, 1);
    let take = |history: &mut History| {
        let frames = history.take_frames();
        let outcomes =
            store.recorder().take_blocking(frames, signer(2).peer_id(), WALL).expect("the disk works");
        assert!(outcomes.iter().all(|outcome| *outcome == wfengine_store::FrameOutcome::Admitted));
    };
    for part in 0..(events - open) / 10_000 {
        history.finished_runs(&format!("part-{part}"), 2_500);
        take(&mut history);
    }
    for part in 0..open / 10_000 {
        history.open_runs(&format!("open-{part}"), 10_000);
        take(&mut history);
    }
    std::process::abort();
}

fn measure(events: usize, goal: &str) {
    let dir = tempfile::tempdir().expect("a scratch directory");
    let status = in_child(&format!("{events} {}", dir.path().display()));
    assert!(!status.success(), "the child aborts");
    let file = dir.path().join("log.redb");
    let (mut ours, mut alone, mut replayed, mut runs) = (Vec::new(), Vec::new(), 0, 0);
    let copies = tempfile::tempdir().expect("a scratch directory");
    for round in 0..ROUNDS {
        // each opens what the dead process left: opening the same file twice would be opening a repaired one
        let copy = |name: &str| {
            let dir = copies.path().join(format!("{name}-{round}"));
            std::fs::create_dir(&dir).expect("the directory is writable");
            std::fs::copy(&file, dir.join("log.redb")).expect("there is room");
            dir
        };
        let of_redb = copy("redb");
        let builder = || {
            let mut builder = redb::Builder::new();
            builder.set_cache_size(64 * 1024 * 1024);
            builder
        };
        let (seconds, database) =
            timed(|| builder().open(of_redb.join("log.redb")).expect("the file is sound"));
        drop(database);
        alone.push(seconds);
        let dir = copy("log");
        let (seconds, (store, opened)) = timed(|| {
            Store::open(&dir, signer(1), Purpose::Serve, incarnation(9), "bench").expect("the log is sound")
        });
        ours.push(seconds);
        assert!(opened.unclean, "nobody closed it");
        replayed = opened.frames_replayed;
        runs = store.watcher().views().runs().len();
        drop(store);
        std::fs::remove_dir_all(&dir).expect("the directory is writable");
        std::fs::remove_dir_all(&of_redb).expect("the directory is writable");
    }
    let (ours, alone) = (median(&ours), median(&alone));
    line(&format!("{events} events"), &milliseconds(ours), &milliseconds(alone), Some(ours / alone), goal);
    println!("{:<48} {runs:>12} {replayed:>12}", "  runs; frames folded after the checkpoint");
}

fn main() {
    if let Some(part) = part() {
        write_and_die(&part);
    }
    head("opening after a kill; reference: redb alone opening the file");
    measure(100_000, "");
    measure(1_000_000, "<= 1 s");
}
