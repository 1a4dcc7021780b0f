//! The merkle clock: heads, heights, parents, gaps, forks, duplicates, closed chains, and frames that wait.

#![allow(clippy::unwrap_used, clippy::panic, reason = "functions of tests fail by panicking")]

mod building;

use std::collections::BTreeSet;

use building::*;
use wfengine_core::Log;
use wfengine_core::command::Command;
use wfengine_core::log::{Admission, Need, Rejected};
use wfengine_core::pending::{PENDING_BYTES_PER_PEER_MAX, Pending};
use wfengine_storage_format::*;

const OTHER: Kind = Kind::from_number(0x7000);

/// A founder and as many members, all of whom know of all admissions.
fn cluster_of(names: &[&str]) -> Vec<Node> {
    let mut founder = Node::founding("founder");
    for name in names {
        founder.ask(Command::Admit(admitted(peer(name), Roles::MEMBER)));
    }
    let members: Vec<Node> = names
        .iter()
        .map(|name| {
            let mut node = Node::joining(name, founder.log.cluster());
            node.sync_from(&founder);
            node
        })
        .collect();
    [vec![founder], members].concat()
}

fn pair() -> (Node, Node) {
    let mut nodes = cluster_of(&["alice"]);
    let alice = nodes.pop().unwrap();
    (nodes.pop().unwrap(), alice)
}

/// A frame of the node's chain, linked as asked.
fn frame_at(node: &Node, seq: u64, prev: Option<EventId>, parents: Vec<Tip>, height: u64) -> VerifiedFrame {
    let chain = node.author.chain;
    let mut builder = FrameBuilder::new(Some(node.log.cluster()), chain, seq, prev, parents);
    builder.push(height, 0, vec![], vec![], OTHER, vec![]);
    builder.sign(&node.author.signer).unwrap()
}

fn rule_of(outcome: Result<Admission, Rejected>) -> &'static str {
    match outcome {
        Err(Rejected::Links { rule, .. }) => rule,
        other => panic!("{other:?}"),
    }
}

#[test]
fn heads_are_what_nobody_names_and_heights_grow_by_one() {
    let (mut founder, mut alice) = pair();
    assert_eq!(founder.log.heads().count(), 1);
    let first = alice.write_raw(OTHER, b"a");
    let beside = founder.write_raw(OTHER, b"f");
    alice.sync_from(&founder);
    let heads: BTreeSet<EventId> = alice.log.heads().map(|tip| tip.id).collect();
    assert_eq!(heads, BTreeSet::from([first, beside]));
    let joined = alice.write_raw(OTHER, b"b");
    assert_eq!(alice.log.heads().map(|tip| tip.id).collect::<Vec<_>>(), [joined]);
    // founding 1, admission 2, both others 3
    assert_eq!(alice.log.height(), 4);
    assert_eq!(alice.log.locate(&joined, &alice.stored).unwrap().height, 4);
    assert_eq!(alice.log.events_len(), 5);
}

#[test]
fn a_frame_names_sixteen_tips_authority_first_then_the_highest() {
    let names: Vec<String> = (0..20).map(|n| format!("member {n}")).collect();
    let mut nodes = cluster_of(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut founder = nodes.remove(0);
    for (n, node) in nodes.iter_mut().enumerate() {
        for event in 0..=n {
            node.write_raw(OTHER, &[u8::try_from(event).unwrap()]);
        }
        founder.sync_from(node);
    }
    let lowest = nodes[0].author.chain;
    let own = founder.author.chain;
    let parents = founder.log.parents_for(&own, &BTreeSet::from([lowest]));
    assert_eq!(parents.len(), 16);
    assert_eq!(parents[0].chain, lowest, "authority first");
    let expected: Vec<ChainId> = nodes.iter().rev().take(15).map(|node| node.author.chain).collect();
    assert_eq!(parents[1..].iter().map(|tip| tip.chain).collect::<Vec<_>>(), expected);
    // what did not fit is named by the next frame
    founder.write_raw(OTHER, b"first");
    assert_eq!(founder.log.parents_for(&own, &BTreeSet::new()).len(), 4);
}

#[test]
fn gaps_unknown_names_and_strangers_are_missing() {
    let (founder, mut alice) = pair();
    let mut reader = Node::joining("reader", founder.log.cluster());
    alice.write_raw(OTHER, b"1");
    alice.write_raw(OTHER, b"2");
    let frames = alice.stored.frames.clone();
    let chain = alice.author.chain;
    assert_eq!(reader.admit(&frames[3]), Ok(Admission::Missing(vec![Need::Place { chain, seq: 0 }])));
    assert_eq!(reader.admit(&frames[2]), Ok(Admission::Missing(vec![Need::Member(alice.peer())])));
    assert_eq!(reader.admit(&frames[0]), Ok(Admission::Admitted));
    assert_eq!(reader.admit(&frames[1]), Ok(Admission::Admitted));
    assert_eq!(reader.admit(&frames[3]), Ok(Admission::Missing(vec![Need::Place { chain, seq: 0 }])));
    let unknown = EventId::from_bytes([9; 32]);
    let naming = alice.frame_of(OTHER, b"3", vec![unknown]);
    reader.sync_from(&alice);
    assert_eq!(reader.admit(&naming), Ok(Admission::Missing(vec![Need::Event(unknown)])));
    assert_eq!(reader.admit(&frames[3]), Ok(Admission::Duplicate));
    assert_eq!(reader.log.events_len(), 4);
}

#[test]
fn what_contradicts_the_log_is_rejected_with_the_rule() {
    let (mut founder, mut alice) = pair();
    let tip = *founder.log.heads().next().unwrap();
    let height = "its height is not one more than the greatest it names";
    for wrong in [1, 2, 4, 1 << 40] {
        assert_eq!(rule_of(founder.admit(&frame_at(&alice, 0, None, vec![tip], wrong))), height);
    }
    let elsewhere = Tip { seq: tip.seq - 1, ..tip };
    let place = "a parent does not stand where it is said to stand";
    assert_eq!(rule_of(founder.admit(&frame_at(&alice, 0, None, vec![elsewhere], 3))), place);
    let of_founder = frame_at(&alice, 0, Some(tip.id), vec![], 3);
    assert_eq!(rule_of(founder.admit(&of_founder)), "prev is of another author");
    let foreign = Node::founding("somebody else");
    assert!(matches!(founder.admit(&foreign.stored.frames[0]), Err(Rejected::ForeignCluster { .. })));
    assert_eq!(founder.log.events_len(), 2);
    alice.write_raw(OTHER, b"fine");
    founder.sync_from(&alice);
    assert_eq!(founder.log.events_len(), 3);
}

#[test]
fn two_frames_at_one_place_are_a_proof_that_verifies() {
    let (mut founder, mut alice) = pair();
    alice.write_raw(OTHER, b"shared");
    let mut twin = alice.clone();
    alice.write_raw(OTHER, b"one");
    let after = alice.write_raw(OTHER, b"one more");
    twin.write_raw(OTHER, b"other");
    founder.sync_from(&alice);
    let before = (founder.log.to_parts(), founder.log.clock_hash());
    let Ok(Admission::Forked(proof)) = founder.admit(twin.stored.frames.last().unwrap()) else { panic!() };
    assert!(proof.first.verify().is_ok() && proof.second.verify().is_ok());
    assert_eq!(fork_between(&proof.first, &proof.second), Some(1));
    assert_eq!((founder.log.to_parts(), founder.log.clock_hash()), before, "the other branch is not kept");
    // a frame that goes on at the right place after the wrong event is as much of a proof
    twin.write_raw(OTHER, b"and on");
    twin.write_raw(OTHER, b"and on again");
    for frame in &twin.stored.frames[4..] {
        let Ok(Admission::Forked(proof)) = founder.admit(frame) else { panic!() };
        assert!(fork_between(&proof.first, &proof.second).is_some());
    }
    assert_eq!(founder.log.chain(&alice.author.chain).unwrap().tip, after);
}

#[test]
fn an_event_that_names_the_other_branch_of_a_fork_does_not_wait_for_ever() {
    let mut nodes = cluster_of(&["alice", "bob"]);
    let (mut bob, mut alice, mut founder) =
        (nodes.pop().unwrap(), nodes.pop().unwrap(), nodes.pop().unwrap());
    let mut twin = alice.clone();
    alice.write_raw(OTHER, b"one");
    twin.write_raw(OTHER, b"other");
    twin.write(admitted(peer("carol"), Roles::MEMBER));
    founder.sync_from(&alice);
    bob.sync_from(&twin);
    let mut carol = Node::joining("carol", founder.log.cluster());
    carol.sync_from(&bob);
    carol.write_raw(OTHER, b"let in by a branch");
    bob.sync_from(&carol);
    bob.write_raw(OTHER, b"bob names the other branch");
    let mut pending = Pending::default();
    let theirs: Vec<VerifiedFrame> = bob.stored.frames[3..].to_vec();
    for frame in theirs.iter().rev() {
        founder.receive(&mut pending, frame.clone());
    }
    assert!(pending.is_empty(), "{:?}", pending.needs().collect::<Vec<_>>());
    assert_eq!(founder.log.chain(&bob.author.chain).unwrap().length, 1);
    assert_eq!(founder.proofs.len(), 2);
}

#[test]
fn a_chain_is_closed_by_whoever_names_its_tip_and_opened_by_going_on() {
    let (mut founder, mut alice) = pair();
    alice.write_raw(OTHER, b"1");
    let first = alice.author.chain;
    let mut restored = alice.clone();
    alice.write_raw(OTHER, b"2");
    restored.restart(1);
    let named = restored.log.last_chain_of(&alice.peer()).unwrap();
    restored.write_raw(OTHER, b"after the restore");
    let second = restored.author.chain;
    assert_eq!(named.chain, first);
    // both orders of arrival say the same
    let mut other = founder.clone();
    founder.sync_from(&alice);
    founder.sync_from(&restored);
    other.sync_from(&restored);
    assert_eq!(other.log.chain(&first).unwrap().successor, Some(second));
    other.sync_from(&alice);
    assert_eq!(other.log.to_parts(), founder.log.to_parts());
    assert_eq!(founder.log.chain(&first).unwrap().successor, None, "it went on, so it is open");
    assert_eq!(founder.log.chain(&second).unwrap().predecessor, Some(first));
    assert_eq!(
        Log::from_parts(founder.log.cluster(), founder.log.to_parts()).to_parts(),
        founder.log.to_parts()
    );
}

#[test]
fn the_clock_hash_is_that_of_the_set() {
    let mut nodes = cluster_of(&["alice", "bob"]);
    for round in 0..3 {
        for at in 0..3 {
            nodes[at].write_raw(OTHER, &[round]);
            let source = nodes[at].clone();
            nodes[(at + 1) % 3].sync_from(&source);
        }
    }
    let frames = all_frames(&nodes.iter().collect::<Vec<_>>());
    let hashes: BTreeSet<Hash32> = (0..20)
        .map(|rotate| {
            let mut reader = Node::joining("reader", nodes[0].log.cluster());
            let mut pending = Pending::default();
            let mut order = frames.clone();
            order.rotate_left(rotate % frames.len());
            if rotate.is_multiple_of(2) {
                order.reverse();
            }
            order.into_iter().for_each(|frame| reader.receive(&mut pending, frame));
            assert_eq!(reader.log.events_len(), 3 + 9);
            reader.log.clock_hash()
        })
        .collect();
    assert_eq!(hashes.len(), 1);
    let mut fewer = Node::joining("reader", nodes[0].log.cluster());
    frames
        .iter()
        .take(frames.len() - 1)
        .for_each(|frame| fewer.receive(&mut Pending::default(), frame.clone()));
    assert!(!hashes.contains(&fewer.log.clock_hash()));
}

#[test]
fn frames_of_the_founder_wait_for_the_founding() {
    let mut founder = Node::founding("founder");
    let founding = founder.stored.frames[0].clone();
    founder.restart(1);
    founder.write_raw(OTHER, b"under another incarnation");
    let mut reader = Node::joining("reader", founder.log.cluster());
    let mut pending = Pending::default();
    reader.receive(&mut pending, founder.stored.frames[1].clone());
    assert_eq!(pending.needs().collect::<Vec<_>>(), [&Need::Member(founder.peer())]);
    reader.receive(&mut pending, founding);
    assert!(pending.is_empty());
    assert_eq!(reader.log.clock_hash(), founder.log.clock_hash());
}

#[test]
fn pending_is_bounded_for_each_peer_and_wakes_each_frame_once() {
    let (founder, mut alice) = pair();
    let (first, second) = (alice.write_raw(OTHER, b"1"), alice.write_raw(OTHER, &vec![7; 60_000]));
    let frames = alice.stored.frames.clone();
    let (from, other) = (peer("neighbour"), peer("another neighbour"));
    let mut pending = Pending::default();
    let needs = vec![Need::Event(first), Need::Event(second)];
    assert!(pending.keep(frames[3].clone(), from, needs.clone()));
    assert!(pending.keep(frames[3].clone(), other, needs.clone()), "it waits already");
    assert_eq!((pending.len(), pending.needs().count()), (1, 2));
    assert_eq!(pending.wake(&frames[2]).len(), 1);
    assert!(pending.is_empty() && pending.needs().count() == 0);
    assert!(pending.wake(&frames[2]).is_empty());
    // as many long frames as fit, and not one more, for one peer
    let mut kept = 0;
    let long = |n: u8| alice.frame_of(OTHER, &vec![n; 65_000], vec![]);
    while pending.keep(long(kept), from, needs.clone()) {
        kept += 1;
    }
    assert_eq!(usize::from(kept), PENDING_BYTES_PER_PEER_MAX / long(0).bytes().len());
    assert!(pending.keep(long(200), other, needs.clone()));
    assert!(!pending.keep(long(201), from, needs.clone()));
    pending.forget_peer(&from);
    assert_eq!(pending.len(), 1);
    assert!(pending.keep(long(201), from, needs));
    assert_eq!(founder.log.chains().len(), 1);
}
