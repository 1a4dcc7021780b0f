//! How many tasks a second get their owner by the rule, among 10 and 100 peers (owners/s).
//!
//! What is measured is what a node does for a job it hears of: the key from the submission's clock head and the task hash, then the
//! nearest member. The reference is the key alone, one SHA-256 of 64 bytes; no rule can be faster.
//!
//! `cargo bench -p wfengine-benches --bench owner`

#![expect(clippy::print_stdout, reason = "a bench reports on stdout")]

use std::collections::BTreeMap;
use std::hint::black_box;

use wfengine_benches::history::{History, WALL, signer};
use wfengine_benches::measure::{head, line, median, rate, timed};
use wfengine_core::admitted::Admitted;
use wfengine_core::authority::Authority;
use wfengine_core::ownership::owner;
use wfengine_storage_format::{JobId, PeerId, ownership_key, sha256};

const TASKS: usize = 200_000;
const ROUNDS: usize = 7;

/// The authority of a cluster with this many members.
fn authority(members: u8) -> Authority {
    let mut history = History::founded(256);
    for number in 2..=members {
        history.admit(signer(number).peer_id());
    }
    let mut authority = Authority::new(history.cluster());
    for frame in history.take_frames() {
        for event in Admitted::of_frame(frame, WALL) {
            authority.apply(&event);
        }
    }
    authority
}

fn measure(members: u8, goal: &str) {
    let authority = authority(members);
    let roster = authority.roster();
    assert_eq!(roster.members().len(), usize::from(members), "every admission counts");
    let head = sha256(b"the clock at submission");
    let jobs: Vec<JobId> =
        (0..TASKS as u64).map(|number| JobId::from_bytes(sha256(&number.to_le_bytes()))).collect();
    let (mut ours, mut keys) = (Vec::new(), Vec::new());
    let mut load: BTreeMap<PeerId, usize> = BTreeMap::new();
    for _ in 0..ROUNDS {
        load.clear();
        let (seconds, owners) = timed(|| {
            let owner_of = |job: &JobId| owner(&ownership_key(&head, job), roster, &[]);
            jobs.iter().filter_map(owner_of).map(|ranked| ranked.peer).collect::<Vec<_>>()
        });
        assert_eq!(owners.len(), TASKS, "every task has an owner");
        for peer in owners {
            *load.entry(peer).or_default() += 1;
        }
        let (alone, ()) = timed(|| {
            for job in &jobs {
                black_box(ownership_key(&head, job));
            }
        });
        ours.push(TASKS as f64 / seconds);
        keys.push(TASKS as f64 / alone);
    }
    let (ours, keys) = (median(&ours), median(&keys));
    line(&format!("owner among {members} peers"), &rate(ours), &rate(keys), Some(ours / keys), goal);
    let most = load.values().max().copied().unwrap_or_default() as f64 / (TASKS as f64 / f64::from(members));
    println!("{:<48} {most:>12.3}", "  greatest load over the mean");
}

fn main() {
    head("owners a second; reference: the key alone");
    measure(10, ">= 1.5 M/s");
    measure(100, ">= 500 k/s");
}
