//! How many tasks a second can be submitted and are durable (submissions/s).
//!
//! One at a time: each is asked for when the one before was answered, on logs with 10,000 and 100,000 events. The reference is redb
//! alone with the same settings and a file of the same history, one insert of as many bytes per transaction; both take turns.
//!
//! Many in flight: one thread asks for 100,000 through `Recorder::ask_later` on a fresh log, the clock stops when all are answered;
//! indexes, views and checkpoint included. The reference is redb alone in batches of 256 with as many bytes each. SQLite (WAL, FULL,
//! batches of 256) reached 86 k/s on the same kind of machine; it is not built here.
//!
//! `cargo bench -p wfengine-benches --bench submit`

#![expect(clippy::expect_used, reason = "a bench stops when what it measures is wrong")]

use wfengine_benches::bare::Bare;
use wfengine_benches::history::{History, WALL, submit};
use wfengine_benches::measure::{head, line, median, rate, timed};
use wfengine_benches::node;
use wfengine_core::command::Command;
use wfengine_store::Store;

const ROUNDS: usize = 5;
const ONE_AT_A_TIME: usize = 400;
const IN_FLIGHT: usize = 100_000;

/// A log with a history of finished runs, and redb alone with the same frames.
fn with_history(dir: &std::path::Path, events: usize) -> (Store, Bare) {
    let mut history = History::founded(256);
    history.finished_runs("before", events / 4);
    let cluster = history.cluster();
    let frames = history.take_frames();
    let mut bare = Bare::create(&dir.join("bare.redb"));
    for batch in frames.chunks(16) {
        bare.commit(batch.iter().map(|frame| frame.bytes().as_ref()));
    }
    let log = dir.join("log");
    node::create(&log, cluster, &frames);
    (node::open(&log, 1), bare)
}

fn one_at_a_time(events: usize) {
    let dir = tempfile::tempdir().expect("a scratch directory");
    let (store, mut bare) = with_history(dir.path(), events);
    let (mut ours, mut alone, mut value) = (Vec::new(), Vec::new(), vec![0u8; 512]);
    for round in 0..=ROUNDS {
        let commands: Vec<Command> =
            (0..ONE_AT_A_TIME).map(|number| submit(&format!("round-{round}"), number)).collect();
        let (seconds, ()) = timed(|| {
            for command in commands {
                store.recorder().ask_blocking(command, WALL).expect("it is new");
            }
        });
        let last = store.watcher().frontier().frames_len - 1;
        let frame = store.watcher().raw_frames(last, 1).expect("the log is sound").remove(0).1;
        value.resize(frame.len() + 8, 7);
        let (seconds_alone, ()) = timed(|| {
            for _ in 0..ONE_AT_A_TIME {
                bare.commit([value.as_slice()]);
            }
        });
        // the first round warms both up
        if round > 0 {
            ours.push(ONE_AT_A_TIME as f64 / seconds);
            alone.push(ONE_AT_A_TIME as f64 / seconds_alone);
        }
    }
    let (ours, alone) = (median(&ours), median(&alone));
    let what = format!("one at a time, {events} events, {} bytes each", value.len());
    line(&what, &rate(ours), &rate(alone), Some(ours / alone), "ratio >= 0.8");
}

fn in_flight() -> (f64, f64) {
    let dir = tempfile::tempdir().expect("a scratch directory");
    let log = dir.path().join("log");
    let mut history = History::founded(1);
    node::create(&log, history.cluster(), &history.take_frames());
    let store = node::open(&log, 1);
    let commands: Vec<Command> = (0..IN_FLIGHT).map(|number| submit("flight", number)).collect();
    let (seconds, ()) = timed(|| {
        let answers: Vec<_> = commands
            .into_iter()
            .map(|command| store.recorder().ask_later(command, WALL).expect("the writer lives"))
            .collect();
        for answer in answers {
            answer.blocking_recv().expect("the writer lives").expect("it is new");
        }
    });
    let frames = store.watcher().raw_frames(1, usize::MAX).expect("the log is sound");
    let bytes: usize = frames.iter().map(|(_, bytes)| bytes.len()).sum();
    drop(store);
    let mut bare = Bare::create(&dir.path().join("bare.redb"));
    let value = vec![7; bytes / IN_FLIGHT];
    let (seconds_alone, ()) = timed(|| {
        for _ in 0..IN_FLIGHT / 256 {
            bare.commit(std::iter::repeat_n(value.as_slice(), 256));
        }
    });
    (IN_FLIGHT as f64 / seconds, IN_FLIGHT as f64 / seconds_alone)
}

fn main() {
    head("submissions a second, each durable when it is answered; reference: redb alone");
    one_at_a_time(10_000);
    one_at_a_time(100_000);
    let rounds: Vec<(f64, f64)> = (0..3).map(|_| in_flight()).collect();
    let ours = median(&rounds.iter().map(|round| round.0).collect::<Vec<_>>());
    let alone = median(&rounds.iter().map(|round| round.1).collect::<Vec<_>>());
    let what = format!("{IN_FLIGHT} in flight; reference in batches of 256");
    line(&what, &rate(ours), &rate(alone), Some(ours / alone), ">= 150 k/s");
}
