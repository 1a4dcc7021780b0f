//! Nodes with real logs, wired in memory, become equal: from nothing, after divergence, through a third, over links that break.

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod network;
#[cfg(test)]
mod node;
#[cfg(test)]
mod standing;

use std::time::Duration;

use network::Network;
use node::{Node, key};
use wfengine_core::time::Monotonic;
use wfengine_protocol::message::{Datagram, Question, Reply};
use wfengine_protocol::{JoinAnswer, JoinLine, JoinRefusal, Output, Role};
use wfengine_storage_format::{BlobId, Grant, PeerAdmitted, PeerInvited, Roles, sha256};

#[test]
fn two_equal_logs_say_hello_and_nothing_else() {
    let mut network = Network::of_members(2, 1);
    network.nodes[0].write(50);
    network.connect(0, 1);
    network.settle();
    network.assert_equal_logs();
    network.messages = 0;
    for link in network.links() {
        network.cut(link);
    }
    network.connect(1, 0);
    network.settle();
    assert_eq!(network.messages, 2);
    // a comparison of equal logs is one message
    network.messages = 0;
    network.pass(Duration::from_secs(7));
    assert!((2..=4).contains(&network.messages), "{} messages", network.messages);
}

#[test]
fn two_nodes_converge_after_a_thousand_frames_each() {
    let mut network = Network::of_members(2, 2);
    network.nodes[0].write(1_000);
    network.nodes[1].write(1_000);
    network.connect(0, 1);
    network.settle();
    network.assert_equal_logs();
    assert_eq!(network.nodes[0].log.events_len(), 2_002);
    assert_eq!(network.nodes[0].admits, 1_000, "nothing is verified twice");
    assert!(network.messages < 40, "{} messages", network.messages);
}

#[test]
fn new_frames_are_pushed_at_once() {
    let mut network = Network::of_members(2, 3);
    network.connect(0, 1);
    network.settle();
    network.messages = 0;
    network.nodes[0].write(10);
    network.settle();
    network.assert_equal_logs();
    assert_eq!(network.messages, 10);
}

#[test]
fn two_nodes_that_never_meet_converge_through_a_third() {
    let mut network = Network::of_members(3, 4);
    network.nodes[0].write(300);
    network.nodes[2].write(300);
    network.connect(0, 1);
    network.connect(2, 1);
    network.settle();
    network.assert_equal_logs();
    network.nodes[0].write(20);
    network.nodes[2].write(20);
    network.settle();
    network.assert_equal_logs();
}

#[test]
fn a_full_mesh_verifies_each_frame_once() {
    let mut network = Network::of_members(3, 5);
    network.connect(0, 1);
    network.connect(1, 2);
    network.connect(2, 0);
    network.settle();
    network.nodes[0].write(200);
    network.settle();
    network.assert_equal_logs();
    assert_eq!((network.nodes[1].admits, network.nodes[2].admits), (200, 200));
}

#[test]
fn links_that_break_at_random_points_only_delay() {
    for seed in 0..8 {
        let mut network = Network::of_members(3, 100 + seed);
        (0..3).for_each(|at| network.nodes[at].write(400));
        for _ in 0..25 {
            let (one, other) = [(0, 1), (1, 2), (2, 0)][network.pick(3)];
            let link = network.connect(one, other);
            for _ in 0..network.pick(30) {
                network.step();
            }
            let (writer, count) = (network.pick(3), network.pick(5));
            network.nodes[writer].write(count);
            network.cut(link);
        }
        network.connect(0, 1);
        network.connect(1, 2);
        network.pass(Duration::from_secs(120));
        network.assert_equal_logs();
    }
}

#[test]
fn a_disk_that_stands_still_stops_the_asking_and_loses_nothing() {
    let mut network = Network::of_members(2, 18);
    let big = wfengine_storage_format::PeerDescribed {
        name: "big".into(),
        addresses: vec!["x".repeat(200); 256],
        version: String::new(),
    };
    (0..400).for_each(|_| {
        network.nodes[0].write_body(big.clone());
    });
    network.connect(1, 0);
    // frames are verified and none is committed
    let mut ahead = Vec::new();
    for _ in 0..200 {
        network.nodes[1].disk = Some(Default::default());
        network.step();
        ahead.extend(network.nodes[1].disk.take().unwrap());
    }
    let bytes: usize = ahead.iter().map(|(frame, _)| frame.bytes().len()).sum();
    assert!((8 << 20..10 << 20).contains(&bytes), "{bytes} bytes ahead of the disk");
    for (frame, from) in ahead {
        network.nodes[1].take(frame, from);
    }
    network.pass(Duration::from_secs(10));
    network.assert_equal_logs();
    assert_eq!(network.nodes[1].admits, 400);
}

#[test]
fn slow_disks_and_restarts_only_delay() {
    for seed in 0..6 {
        let mut network = Network::of_members(3, 300 + seed);
        network.nodes.iter_mut().for_each(|node| node.disk = Some(Default::default()));
        (0..3).for_each(|at| network.nodes[at].write(100));
        for life in 2..12 {
            let links = [network.connect(0, 1), network.connect(1, 2), network.connect(2, 0)];
            for _ in 0..network.pick(200) {
                network.step();
            }
            let (writer, count) = (network.pick(3), network.pick(5));
            network.nodes[writer].write(count);
            for _ in 0..network.pick(50) {
                network.step();
            }
            let stopped = network.pick(3);
            links.into_iter().for_each(|link| network.cut(link));
            network.nodes[stopped].restart();
            network.nodes[stopped].new_life(life);
        }
        network.connect(0, 1);
        network.connect(1, 2);
        network.pass(Duration::from_secs(180));
        network.assert_equal_logs();
    }
}

#[test]
fn a_newcomer_catches_up_with_more_interleaved_frames_than_may_wait() {
    let mut network = Network::of_members(4, 17);
    network.connect(0, 1);
    network.connect(1, 2);
    let big = wfengine_storage_format::PeerDescribed {
        name: "big".into(),
        addresses: vec!["x".repeat(200); 200],
        version: String::new(),
    };
    for _ in 0..150 {
        for at in 0..3 {
            network.nodes[at].write_body(big.clone());
            network.settle();
        }
    }
    let bytes: usize = network.nodes[0].frames.values().flatten().map(|frame| frame.bytes().len()).sum();
    assert!(bytes > 4 * wfengine_core::pending::PENDING_BYTES_PER_PEER_MAX);
    network.nodes[3].disk = Some(Default::default());
    network.connect(3, 1);
    network.pass(Duration::from_secs(180));
    network.assert_equal_logs();
    assert!(network.nodes[3].admits < 900, "{} frames verified for 450", network.nodes[3].admits);
}

#[test]
fn a_node_that_restarts_goes_on_in_a_new_chain_and_serves_the_middle_of_segments() {
    let mut network = Network::of_members(2, 6);
    network.connect(0, 1);
    for life in 2..6 {
        network.nodes[0].write(130);
        network.settle();
        let links = network.links();
        links.into_iter().for_each(|link| network.cut(link));
        network.nodes[0].write(37);
        network.nodes[0].restart();
        network.nodes[0].new_life(life);
        network.connect(1, 0);
    }
    network.pass(Duration::from_secs(20));
    network.assert_equal_logs();
}

#[test]
fn a_node_joins_a_cluster_with_a_thousand_closed_chains() {
    let mut founder = Node::founder(1);
    founder.admit_peer(key(2));
    for life in 0..1_000u32 {
        let mut incarnation = [0xaa; 16];
        incarnation[..4].copy_from_slice(&life.to_le_bytes());
        founder.author.chain.incarnation = wfengine_storage_format::Incarnation::from_bytes(incarnation);
        founder.write(1 + life as usize % 3);
    }
    founder.restart();
    let newcomer = Node::empty(2, founder.cluster);
    let mut network = Network::of(vec![founder, newcomer], 7);
    network.connect(1, 0);
    network.pass(Duration::from_secs(30));
    network.assert_equal_logs();
    // one closed chain that only one of them lacks costs a handful of messages
    let links = network.links();
    links.into_iter().for_each(|link| network.cut(link));
    network.nodes[0].write(3);
    network.nodes[0].new_life(3);
    network.nodes[0].write(1);
    network.messages = 0;
    network.connect(1, 0);
    network.settle();
    network.assert_equal_logs();
    assert!(network.messages <= 24, "{} messages", network.messages);
}

#[test]
fn two_connections_of_the_same_two_nodes_become_one() {
    for seed in 0..8 {
        let mut network = Network::of_members(2, 200 + seed);
        network.nodes[0].write(100);
        network.nodes[1].write(100);
        network.connect(0, 1);
        network.connect(1, 0);
        network.pass(Duration::from_secs(15));
        assert_eq!(network.links().len(), 1);
        network.assert_equal_logs();
    }
}

#[test]
fn a_slow_reader_is_told_that_there_is_more_and_not_sent_all_of_it() {
    let mut network = Network::of_members(2, 8);
    let link = network.connect(0, 1);
    network.settle();
    // the transport takes nothing: messages are made but none is reported as sent
    let big = wfengine_storage_format::PeerDescribed {
        name: "big".into(),
        addresses: vec!["x".repeat(200); 200],
        version: String::new(),
    };
    let mut pushed = 0;
    for _ in 0..200 {
        network.nodes[0].write_body(big.clone());
        while let Some(output) = network.nodes[0].exchange.poll_output() {
            if let Output::Send { message, .. } = output {
                pushed += message.len();
            }
        }
    }
    assert!(pushed < 2 << 20, "{pushed} bytes for a reader that does not read");
    network.nodes[0].exchange.handle_sent(link, pushed, Monotonic(0));
    // what was taken above is lost to this test's links: the notice leads to all of it
    network.pass(Duration::from_secs(20));
    network.assert_equal_logs();
}

#[test]
fn beats_travel_as_datagrams_and_may_be_lost() {
    let mut network = Network::of_members(2, 9);
    network.datagram_loss_percent = 50;
    network.connect(0, 1);
    network.settle();
    for _ in 0..100 {
        let peer = key(2);
        assert!(network.nodes[0].exchange.send_datagram(&peer, Datagram::Beat(b"alive")));
    }
    network.settle();
    let beats = network.nodes[1].told.iter().filter(|output| matches!(output, Output::Beat { .. })).count();
    assert!((20..80).contains(&beats), "{beats} of 100 beats");
    assert!(!network.nodes[0].exchange.send_datagram(&key(2), Datagram::Beat(&[0; 1_300])));
    assert!(!network.nodes[0].exchange.send_datagram(&key(9), Datagram::Beat(b"alive")));
}

#[test]
fn an_invited_peer_joins_with_nothing_but_the_join_line() {
    let mut founder = Node::founder(1);
    founder.write(50);
    let line = JoinLine::new(founder.cluster, [77; 32], true, &["10.0.0.1:4207".to_owned()]);
    let invite = founder.write_body(PeerInvited {
        invite_key: line.invite_key(),
        roles: Roles::MEMBER,
        labels: vec![],
        expires_ms: 1,
    });
    let line: JoinLine = line.to_string().parse().unwrap();
    let joiner = Node::empty(5, line.cluster);
    let mut network = Network::of(vec![founder, joiner], 10);
    let request = line.request(&key(5), "laptop", &["linux".to_owned()]);
    let link = network.connect_as(1, 0, &Role::Joiner(Box::new(request.clone())));
    network.settle();
    let Some(Output::JoinAsked { connection, peer, .. }) = network.nodes[0].told.pop() else { panic!() };
    assert_eq!((connection, peer), (link, key(5)));
    let grant = Grant::Invite { invite, signature: request.signature };
    let admitted =
        network.nodes[0].write_body(PeerAdmitted { peer, name: "laptop".into(), system: vec![], grant });
    network.nodes[0].exchange.answer_join(connection, Ok(admitted), Monotonic(0));
    network.settle();
    assert!(network.nodes[1].was_told(|output| {
        matches!(output, Output::JoinAnswered { answer: JoinAnswer::Admitted(_), .. })
    }));
    network.assert_equal_logs();
    assert!(network.nodes[1].authority.roster().members().contains_key(&key(5)));
    network.nodes[1].write(5);
    network.settle();
    network.assert_equal_logs();
}

#[test]
fn a_refused_joiner_is_told_why_and_sees_nothing() {
    let founder = Node::founder(1);
    let line = JoinLine::new(founder.cluster, [77; 32], false, &[]);
    let joiner = Node::empty(5, line.cluster);
    let mut network = Network::of(vec![founder, joiner], 11);
    let request = line.request(&key(5), "laptop", &[]);
    network.connect_as(1, 0, &Role::Joiner(Box::new(request)));
    network.settle();
    let Some(Output::JoinAsked { connection, .. }) = network.nodes[0].told.pop() else { panic!() };
    network.nodes[0].exchange.answer_join(connection, Err(JoinRefusal::Expired), Monotonic(0));
    for _ in 0..4 {
        network.step();
    }
    assert!(network.links().is_empty());
    assert_eq!(network.nodes[1].log.events_len(), 0);
}

#[test]
fn a_restored_backup_is_noticed_on_connecting() {
    let mut network = Network::of_members(2, 12);
    let (backup_log, backup_frames) = (network.nodes[0].log.clone(), network.nodes[0].frames.clone());
    network.nodes[0].write(5);
    let link = network.connect(0, 1);
    network.settle();
    network.cut(link);
    // the founder's disk is put back to what it was
    let mut restored = Node::empty(1, network.nodes[0].cluster);
    let me = restored.me();
    backup_frames.values().flatten().for_each(|frame| restored.take(frame.clone(), me));
    assert_eq!(restored.log.events_len(), backup_log.events_len());
    restored.restart();
    network.nodes[0] = restored;
    network.connect(0, 1);
    network.settle();
    let chain = network.nodes[0].author.chain;
    assert!(network.nodes[0].was_told(|output| {
        matches!(output, Output::SelfRollback { theirs, ours, .. } if theirs.chain == chain && *ours == backup_log.events_len())
    }));
    network.assert_equal_logs();
}

/// The author of a fork gives each of two nodes another branch; both go on writing upon what they saw.
fn forked_network(seed: u64) -> Network {
    let mut network = Network::of_members(3, seed);
    let frames = |node: &Node| node.frames.values().flatten().cloned().collect::<Vec<_>>();
    let before = frames(&network.nodes[2]);
    for (at, count) in [(0, 3), (1, 40)] {
        // the same life begins twice, from the same disk
        let mut twin = Node::empty(3, network.nodes[0].cluster);
        let me = twin.me();
        before.iter().for_each(|frame| twin.take(frame.clone(), me));
        twin.write_body(wfengine_storage_format::PeerDescribed {
            name: format!("branch {at}"),
            addresses: vec![],
            version: String::new(),
        });
        twin.write(count);
        for frame in frames(&twin) {
            network.nodes[at].take(frame, me);
        }
        network.nodes[at].write(10);
    }
    network
}

#[test]
fn nodes_that_hold_different_branches_of_a_fork_admit_everything_else() {
    let mut network = forked_network(16);
    network.connect(0, 1);
    network.pass(Duration::from_secs(30));
    assert_eq!(
        network.nodes[0].forks.len(),
        1,
        "who had less of the chain asked for more and found the proof"
    );
    let proof = network.nodes[0].forks[0].clone();
    network.nodes[0].write_body(proof);
    network.pass(Duration::from_secs(60));
    let [one, other, _] = &mut network.nodes[..] else { panic!() };
    assert!(
        one.pending.is_empty() && other.pending.is_empty(),
        "{} {}",
        one.pending.len(),
        other.pending.len()
    );
    let forked = forked_chain();
    for chain in [one.author.chain, other.author.chain] {
        assert_eq!(one.log.chain(&chain), other.log.chain(&chain));
    }
    assert_ne!(one.log.chain(&forked), other.log.chain(&forked));
    assert_eq!(one.authority.roster().forked_chains().get(&forked), Some(&0));
    // the rest being equal, a comparison ends at once
    network.messages = 0;
    network.pass(Duration::from_secs(10));
    assert!(network.messages <= 6, "{} messages", network.messages);
}

fn forked_chain() -> wfengine_storage_format::ChainId {
    Node::empty(3, Node::founder(1).cluster).author.chain
}

#[test]
fn a_blob_comes_from_whoever_has_it_and_goes_on_elsewhere_when_its_source_leaves() {
    let mut network = Network::of_members(3, 13);
    let bytes: Vec<u8> = (0..1_000_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    let blob = BlobId::from_bytes(sha256(&bytes));
    network.nodes[1].blobs.insert(blob, bytes.clone());
    network.nodes[2].blobs.insert(blob, bytes.clone());
    let one = network.connect(0, 1);
    let other = network.connect(0, 2);
    network.settle();
    network.nodes[0].exchange.want_blob(blob, 0, Monotonic(0));
    for _ in 0..14 {
        network.step();
    }
    assert!(!network.nodes[0].partial.get(&blob).is_none_or(Vec::is_empty), "it has begun");
    let source = network.pick(2);
    network.cut([one, other][source]);
    network.pass(Duration::from_secs(30));
    assert_eq!(network.nodes[0].blobs.get(&blob), Some(&bytes));
}

#[test]
fn blobs_are_offered_empty_ones_fetched_and_missing_ones_named() {
    let mut network = Network::of_members(2, 14);
    let empty = BlobId::from_bytes(sha256(b""));
    let missing = BlobId::from_bytes([1; 32]);
    network.nodes[0].blobs.insert(empty, vec![]);
    network.connect(0, 1);
    network.settle();
    assert!(network.nodes[0].exchange.offer_blobs(&key(2), &[(empty, 0)], Monotonic(0)));
    network.settle();
    assert!(
        network.nodes[1]
            .was_told(|output| matches!(output, Output::BlobOffered { blob, len: 0, .. } if *blob == empty))
    );
    network.nodes[1].exchange.want_blob(empty, 0, Monotonic(0));
    network.nodes[1].exchange.want_blob(missing, 0, Monotonic(0));
    network.settle();
    assert_eq!(network.nodes[1].blobs.get(&empty), Some(&vec![]));
    assert!(
        network.nodes[1]
            .was_told(|output| matches!(output, Output::BlobNowhere { blob } if *blob == missing))
    );
}

#[test]
fn a_question_is_answered_or_ends_with_its_connection() {
    let mut network = Network::of_members(2, 15);
    let link = network.connect(0, 1);
    network.settle();
    let job = wfengine_storage_format::JobId::from_bytes([4; 32]);
    let question = Question::LogFollow { job, offset: 7 };
    let ask = network.nodes[0].exchange.ask(&key(2), question.clone(), Monotonic(0)).unwrap();
    network.settle();
    let Some(Output::Asked { connection, number, question: heard, .. }) = network.nodes[1].told.pop() else {
        panic!()
    };
    assert_eq!(heard, question);
    let reply = Reply::Log { offset: 7, bytes: b"hello".to_vec().try_into().unwrap(), end: true };
    network.nodes[1].exchange.reply(connection, number, reply.clone(), Monotonic(0));
    network.settle();
    assert!(network.nodes[0].was_told(|output| {
        matches!(output, Output::Answered { ask: which, reply: Some(said) } if *which == ask && *said == reply)
    }));
    let ask = network.nodes[0].exchange.ask(&key(2), question, Monotonic(0)).unwrap();
    network.cut(link);
    network.settle();
    assert!(
        network.nodes[0].was_told(
            |output| matches!(output, Output::Answered { ask: which, reply: None } if *which == ask)
        )
    );
}

#[test]
fn blobs_that_nobody_has_do_not_keep_out_one_that_somebody_has() {
    let mut network = Network::of_members(2, 17);
    let bytes = b"a source".to_vec();
    let blob = BlobId::from_bytes(sha256(&bytes));
    network.nodes[1].blobs.insert(blob, bytes.clone());
    network.connect(0, 1);
    network.settle();
    for n in 0..40 {
        network.nodes[0].exchange.want_blob(BlobId::from_bytes([n; 32]), 0, Monotonic(0));
        network.settle();
    }
    network.nodes[0].exchange.want_blob(blob, 0, Monotonic(0));
    network.settle();
    assert_eq!(network.nodes[0].blobs.get(&blob), Some(&bytes));
    // one that appears later is found in its turn
    let late = BlobId::from_bytes(sha256(b"late"));
    network.nodes[0].exchange.want_blob(late, 0, network.now);
    network.settle();
    network.nodes[1].blobs.insert(late, b"late".to_vec());
    network.pass(Duration::from_secs(40));
    assert_eq!(network.nodes[0].blobs.get(&late), Some(&b"late".to_vec()));
}

#[test]
fn a_blob_is_said_to_be_nowhere_when_nobody_is_connected() {
    let mut network = Network::of_members(1, 18);
    let blob = BlobId::from_bytes([1; 32]);
    network.nodes[0].exchange.want_blob(blob, 0, Monotonic(0));
    network.pass(Duration::from_secs(11));
    assert!(network.nodes[0].was_told(|output| matches!(output, Output::BlobNowhere { .. })));
}

#[test]
fn a_slow_link_is_no_silence() {
    let mut network = Network::of_members(2, 19);
    for life in 10..30 {
        network.nodes[1].new_life(life);
        network.nodes[1].write(40);
    }
    network.nodes.iter_mut().for_each(Node::restart);
    network.connect(0, 1);
    let needs_wait = std::cell::Cell::new(0);
    for _ in 0..200 {
        network.step();
        network.now = network.now + Duration::from_millis(800);
        for node in &mut network.nodes {
            if node.exchange.poll_timeout().is_some_and(|due| due <= network.now) {
                node.exchange.handle_timeout(network.now);
            }
        }
        needs_wait.set(needs_wait.get() + usize::from(!network.nodes[0].exchange.is_quiet()));
        assert_eq!(network.nodes[0].exchange.score(&key(2)), 0, "it answered all the time");
    }
    assert!(needs_wait.get() > 10, "the answers took longer than one silence may");
    assert_eq!(network.nodes[0].log.clock_hash(), network.nodes[1].log.clock_hash());
}
