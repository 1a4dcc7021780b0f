//! How fast a node that knows nothing but the members catches up with 100,000 events (events/s).
//!
//! Over QUIC: a node with the whole log and one with the two first frames, joined over loopback in one process; the clock runs from
//! the start of the second until its views hold everything. The pure path is what must happen to each frame all the same: decode,
//! verify, admit, commit, fold, without network and chunks. Histories are finished runs in frames of 64 events and of 1.
//!
//! The reference is automerge alone: it reads the same change chunks and applies them, segment by segment, in memory.
//!
//! `cargo bench -p wfengine-benches --bench catch_up`

#![expect(clippy::expect_used, reason = "a bench stops when what it measures is wrong")]

use automerge::{Automerge, Change};
use wfengine_benches::history::{History, WALL, signer};
use wfengine_benches::measure::{head, line, median, rate, timed};
use wfengine_benches::node::{self, Node};
use wfengine_protocol::SegmentCursor;
use wfengine_protocol::segment::Place;
use wfengine_storage_format::{ClusterId, SignedFrame, VerifiedFrame};

const EVENTS: usize = 100_000;
/// Frames of the log that a new member starts with: the founding and its admission.
const KNOWN: usize = 2;

fn history(frame_len: usize) -> (ClusterId, Vec<VerifiedFrame>) {
    let mut history = History::founded(frame_len);
    history.admit(signer(2).peer_id());
    history.finished_runs("run", EVENTS / 4);
    (history.cluster(), history.take_frames())
}

async fn over_quic(cluster: ClusterId, frames: &[VerifiedFrame]) -> f64 {
    let dir = tempfile::tempdir().expect("a scratch directory");
    let dirs = [dir.path().join("a"), dir.path().join("b")];
    node::create(&dirs[0], cluster, frames);
    node::create(&dirs[1], cluster, &frames[..KNOWN]);
    let a = Node::start(&dirs[0], 1, Vec::new());
    let total = a.store.watcher().frontier().events_len;
    let started = std::time::Instant::now();
    let b = Node::start(&dirs[1], 2, vec![a.address()]);
    let mut news = b.store.watcher().subscribe();
    while b.store.watcher().frontier().events_len < total {
        match news.recv().await {
            Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
            Err(error) => unreachable!("the writer stopped: {error}"),
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    a.driver.stop().await;
    b.driver.stop().await;
    seconds
}

fn pure(cluster: ClusterId, frames: &[VerifiedFrame]) -> f64 {
    let dir = tempfile::tempdir().expect("a scratch directory");
    node::create(dir.path(), cluster, &frames[..KNOWN]);
    let store = node::open(dir.path(), 2);
    let (seconds, ()) = timed(|| {
        let mut answers = Vec::new();
        for batch in frames[KNOWN..].chunks(64) {
            let verified = batch
                .iter()
                .map(|frame| {
                    SignedFrame::decode(frame.bytes()).and_then(SignedFrame::verify).expect("it is sound")
                })
                .collect();
            let taken = store.recorder().take_later(verified, signer(1).peer_id(), WALL);
            answers.push(taken.expect("the writer lives"));
        }
        for answer in answers {
            answer.blocking_recv().expect("the writer lives").expect("the disk works");
        }
    });
    assert_eq!(store.watcher().frontier().frames_len, frames.len() as u64, "every frame was admitted");
    seconds
}

/// The change chunks of a chain, segment by segment.
fn segments(frames: &[VerifiedFrame]) -> Vec<Vec<Vec<u8>>> {
    let mut cursor = SegmentCursor::START;
    let mut segments: Vec<Vec<Vec<u8>>> = Vec::new();
    for frame in frames {
        let slot = cursor.place(frame.bytes().len()).expect("a frame fits");
        let chunk = cursor.append(&frame.header().chain, frame.bytes()).expect("a frame fits");
        if slot.place == Place::First {
            segments.push(Vec::new());
        }
        segments.last_mut().expect("the first frame starts one").push(chunk.bytes().to_vec());
    }
    segments
}

fn automerge_alone(segments: &[Vec<Vec<u8>>]) -> f64 {
    let (seconds, ()) = timed(|| {
        for chunks in segments {
            let mut document = Automerge::new();
            for chunk in chunks {
                let change = Change::from_bytes(chunk.clone()).expect("a chunk is a change");
                document.apply_changes([change]).expect("it follows the one before");
            }
            assert_eq!(document.get_heads().len(), 1, "one change follows the other");
        }
    });
    seconds
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("threads can be started");
    head("events a second from nothing to everything; reference: automerge alone");
    for (frame_len, rounds, goal) in [(64, 3, ">= 150 k/s"), (1, 1, ">= 15 k/s")] {
        let (cluster, frames) = history(frame_len);
        let segments = segments(&frames);
        let (mut quic, mut path, mut alone) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            alone.push(EVENTS as f64 / automerge_alone(&segments));
            path.push(EVENTS as f64 / pure(cluster, &frames));
            quic.push(EVENTS as f64 / runtime.block_on(over_quic(cluster, &frames)));
        }
        let [quic, path, alone] = [quic, path, alone].map(|rates| median(&rates));
        let of = |what: &str| format!("{what}, frames of {frame_len}");
        line(&of("over QUIC"), &rate(quic), &rate(alone), Some(quic / alone), goal);
        line(&of("pure path"), &rate(path), &rate(alone), Some(path / alone), "");
    }
}
