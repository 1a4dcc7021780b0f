//! What an audit of a long log takes of memory. The most that the process ever held is read from the system, so this test has a
//! process of its own.

#![expect(clippy::unwrap_used, reason = "this file is a test: it stops at the first surprise")]

mod building;

use building::*;
use wfengine_core::replay::{Checking, Expected, Place, Replayer, check_frame};
use wfengine_storage_format::*;

/// A log of one author with so many tasks, each submitted and cancelled.
fn long_log(runs: usize) -> (ClusterId, Vec<Vec<u8>>) {
    let alice = Node::founding("alice");
    let cluster = alice.log.cluster();
    let chain = alice.author.chain;
    let mut prev = alice.log.chain(&chain).unwrap().tip;
    let mut frames = vec![alice.stored.frames[0].bytes().to_vec()];
    let (mut seq, mut n) = (1, 0);
    while n < runs {
        let mut builder = FrameBuilder::new(Some(cluster), chain, seq, Some(prev), vec![]);
        for _ in 0..32 {
            let body = task(&format!("task {n}"));
            let run = body.run();
            let (kind, bytes) = Body::from(body).encode().unwrap();
            let submission = builder.push(seq + 1, n as u64, vec![], vec![], kind, bytes);
            let (kind, bytes) =
                Body::from(RunCancelled { run, submission, reason: String::new() }).encode().unwrap();
            prev = builder.push(seq + 2, n as u64, vec![submission], vec![], kind, bytes);
            seq += 2;
            n += 1;
        }
        frames.push(builder.sign(&alice.author.signer).unwrap().bytes().to_vec());
    }
    (cluster, frames)
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[test]
fn a_hundred_thousand_events_fit_into_little_memory() {
    let (cluster, frames) = long_log(50_000);
    let before = resident_bytes();
    let len = frames.len();
    let mut replayer = Replayer::new(cluster, Frames(frames), 1_000);
    for frame in 0..len {
        let checked = check_frame(&replayer.source().0[frame], Checking::HashesOnly);
        replayer.take(Place { frame: frame as u64, offset: None }, checked);
    }
    let report = replayer.finish(&Expected::default());
    assert!(report.is_clean());
    assert_eq!((report.events, report.runs), (100_033, 50_016));
    assert_eq!(report.events, 1 + 2 * report.runs as u64);
    // 200 MB for a million events, and no more than twice as much for each of so few
    if let (Some(before), Some(after)) = (before, resident_bytes()) {
        assert!(after - before < 40_000_000, "{} MB", (after - before) / 1_000_000);
    }
}
