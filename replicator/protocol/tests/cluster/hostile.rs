//! One node against a peer that does what it likes.

use proptest::prelude::*;
use wfengine_core::time::Monotonic;
use wfengine_protocol::limits::{CHAIN_EVENTS_MAX, ENTRIES_MAX, FIRST_MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX};
use wfengine_protocol::message::{
    ChunksMessage, FrontierMessage, Hello, List, Message, NeedMessage, PushMessage, Text,
};
use wfengine_protocol::{ByeCode, ChainEntry, ConnectionId, Output, Role, SegmentCursor, SegmentNumber};
use wfengine_storage_format::{
    ChainId, ClusterId, EventId, FrameBuilder, Incarnation, Kind, PeerId, Signer, VerifiedFrame,
};

use crate::node::{Node, key, signer};

const LINK: ConnectionId = ConnectionId(1);
const NOW: Monotonic = Monotonic(0);

fn hello(cluster: ClusterId) -> Message {
    Message::Hello(Hello {
        version_min: 1,
        version_max: 1,
        cluster,
        name: Text::truncated("mallory"),
        software: Text::truncated("?"),
        addresses: List::default(),
        held: List::default(),
        digest: [9; 32],
    })
}

/// A founder with some events, and mallory's key among the members if asked for.
fn victim(mallory_is_member: bool) -> Node {
    let mut node = Node::founder(1);
    node.write(20);
    if mallory_is_member {
        node.admit_peer(key(66));
    }
    node.restart();
    node
}

fn say(node: &mut Node, message: &[u8]) -> Vec<Output> {
    node.exchange.handle_message(LINK, message, NOW);
    node.drive(NOW)
}

/// Mallory, a member, is connected and has been greeted.
fn greeted() -> Node {
    let mut node = victim(true);
    node.exchange.connected(LINK, key(66), &Role::Answerer, NOW);
    let cluster = node.cluster;
    say(&mut node, &hello(cluster).encode());
    assert!(node.was_told(|output| matches!(output, Output::PeerConnected { .. })));
    node
}

fn ended_with(outputs: &[Output], expected: ByeCode) -> bool {
    outputs.iter().any(|output| matches!(output, Output::Disconnect { code, .. } if *code == expected))
}

fn sent(outputs: &[Output]) -> Vec<Message> {
    let decode = |output: &Output| match output {
        Output::Send { message, .. } => Some(Message::decode(message).unwrap()),
        _ => None,
    };
    outputs.iter().filter_map(decode).collect()
}

fn only_bye(outputs: &[Output]) -> bool {
    sent(outputs).iter().all(|message| matches!(message, Message::Bye(_)))
}

fn frame_of(
    cluster: ClusterId,
    author: &Signer,
    first_seq: u64,
    prev: Option<EventId>,
    body: u8,
) -> VerifiedFrame {
    let chain = ChainId { author: author.peer_id(), incarnation: Incarnation::from_bytes([8; 16]) };
    let mut builder = FrameBuilder::new(Some(cluster), chain, first_seq, prev, vec![]);
    builder.push(first_seq + 1, 0, vec![], vec![], Kind::from_number(0x7abc), vec![body; 100]);
    builder.sign(author).unwrap()
}

fn push_of(frame: &VerifiedFrame, chunk: Vec<u8>) -> Message {
    let header = frame.header();
    Message::Push(PushMessage {
        chain: header.chain,
        first_seq: header.first_seq,
        end_seq: header.end_seq(),
        chunk: chunk.try_into().unwrap(),
    })
}

fn chunk_of(frame: &VerifiedFrame, cursor: &mut SegmentCursor) -> Vec<u8> {
    cursor.append(&frame.header().chain, frame.bytes()).unwrap().into_bytes()
}

fn start() -> SegmentCursor {
    SegmentCursor::START
}

#[test]
fn a_stranger_learns_and_stores_nothing() {
    let chain = |node: &Node| node.author.chain;
    let mut node = victim(false);
    let cluster = node.cluster;
    let need = NeedMessage { need: 0, chain: chain(&node), from_seq: 0, max_bytes: 1_000 };
    for message in [
        hello(cluster),
        Message::Need(need),
        Message::Compare([0; 32]),
        Message::BlobWanted(wfengine_storage_format::BlobId::from_bytes([0; 32])),
    ] {
        let mut node = victim(false);
        node.exchange.connected(LINK, key(66), &Role::Answerer, NOW);
        assert!(node.drive(NOW).is_empty(), "nothing is said first");
        let outputs = say(&mut node, &message.encode());
        assert!(
            only_bye(&outputs) && outputs.iter().any(|output| matches!(output, Output::Disconnect { .. }))
        );
        assert_eq!(node.told.len(), 0);
    }
    // pushing frames and datagrams at the door
    node.exchange.connected(LINK, key(66), &Role::Answerer, NOW);
    node.exchange.handle_datagram(LINK, &[0, 1, 2], NOW);
    let frame = frame_of(cluster, &signer(66), 0, None, 1);
    let push = push_of(&frame, chunk_of(&frame, &mut start())).encode();
    assert!(ended_with(&say(&mut node, &push), ByeCode::Violation));
    assert_eq!((node.admits, node.told.len()), (0, 0));
}

#[test]
fn another_cluster_another_version_and_silence_are_told_apart() {
    let greet = |message: &[u8]| {
        let mut node = victim(true);
        node.exchange.connected(LINK, key(66), &Role::Answerer, NOW);
        say(&mut node, message)
    };
    let mut node = victim(true);
    let elsewhere = hello(ClusterId::from_bytes([5; 32])).encode();
    assert!(ended_with(&greet(&elsewhere), ByeCode::WrongCluster));
    let mut newer = hello(node.cluster).encode();
    newer[1..3].copy_from_slice(&[7, 9]);
    newer.truncate(40);
    let outputs = greet(&newer);
    assert!(ended_with(&outputs, ByeCode::Version));
    assert!(outputs.iter().any(|output| matches!(output, Output::Disconnect { score: 0, .. })));
    node.exchange.connected(LINK, key(66), &Role::Answerer, NOW);
    node.exchange.handle_timeout(Monotonic(10_000));
    assert!(ended_with(&node.drive(NOW), ByeCode::Silent));
}

#[test]
fn garbage_and_oversize_ban_for_an_hour() {
    for message in [vec![0xff; 10], vec![], vec![0; FIRST_MESSAGE_BYTES_MAX + 1]] {
        let mut node = victim(true);
        node.exchange.connected(LINK, key(66), &Role::Answerer, NOW);
        assert!(ended_with(&say(&mut node, &message), ByeCode::Violation));
        node.exchange.connected(ConnectionId(2), key(66), &Role::Answerer, Monotonic(3_599_000));
        assert!(ended_with(&node.drive(NOW), ByeCode::Banned));
        node.exchange.connected(ConnectionId(3), key(66), &Role::Answerer, Monotonic(3_600_000));
        assert!(node.drive(NOW).is_empty());
    }
    let mut node = greeted();
    assert!(ended_with(&say(&mut node, &vec![1; MESSAGE_BYTES_MAX + 1]), ByeCode::Violation));
    // one entry more than a list may have
    let mut node = greeted();
    let chain = node.author.chain;
    let entry = ChainEntry { chain, length: 0, tip: EventId::from_bytes([0; 32]), height: 0 };
    let full = FrontierMessage {
        open: vec![entry; ENTRIES_MAX].try_into().unwrap(),
        closed: [0; 32],
        answer: false,
    };
    assert!(!ended_with(&say(&mut node, &Message::Frontier(full.clone()).encode()), ByeCode::Violation));
    assert!(List::<_, ENTRIES_MAX>::try_from(vec![entry; ENTRIES_MAX + 1]).is_err());
    let mut encoded = Message::Frontier(full).encode();
    // the list's length, 8192 as a varint, becomes 8193, and an entry is added in front
    let one = postcard_of(&entry);
    encoded.splice(1..3, [0x81, 0x40]);
    encoded.splice(3..3, one);
    assert!(ended_with(&say(&mut node, &encoded), ByeCode::Violation));
}

fn postcard_of(entry: &ChainEntry) -> Vec<u8> {
    let one = FrontierMessage { open: vec![*entry].try_into().unwrap(), closed: [0; 32], answer: false };
    let encoded = Message::Frontier(one).encode();
    // tag and length in front, fingerprint and flag behind
    encoded[2..encoded.len() - 33].to_vec()
}

#[test]
fn a_chunk_changed_by_a_relay_is_refused_and_the_honest_one_still_taken() {
    let mut node = greeted();
    let frame = frame_of(node.cluster, &signer(66), 0, None, 1);
    let honest = chunk_of(&frame, &mut start());
    for at in [9, 30, honest.len() - 1] {
        let mut forged = honest.clone();
        forged[at] ^= 1;
        let mut node = greeted();
        assert!(ended_with(&say(&mut node, &push_of(&frame, forged).encode()), ByeCode::Violation));
        assert_eq!(node.admits, 0);
    }
    // the right frame under another document's actor
    let elsewhere = chunk_of(&frame, &mut SegmentCursor::at_segment(SegmentNumber(3)));
    let mut other = greeted();
    assert!(ended_with(&say(&mut other, &push_of(&frame, elsewhere).encode()), ByeCode::Violation));
    // announced as another range than it has
    let mut other = greeted();
    let Message::Push(mut push) = push_of(&frame, honest.clone()) else { unreachable!() };
    push.end_seq += 1;
    assert!(ended_with(&say(&mut other, &Message::Push(push).encode()), ByeCode::Violation));
    let outputs = say(&mut node, &push_of(&frame, honest).encode());
    assert!(!outputs.iter().any(|output| matches!(output, Output::Disconnect { .. })));
    assert_eq!(node.log.chain(&frame.header().chain).unwrap().length, 1);
}

#[test]
fn frames_in_another_authors_name_cost_the_sender_its_place() {
    let mut node = greeted();
    let genuine = frame_of(node.cluster, &signer(66), 0, None, 1);
    let mut bytes = genuine.bytes().to_vec();
    // somewhere in the signature: the header is 1 + 32 + 48 + 1 + 1 + 1 + 32 bytes long
    bytes[120] ^= 1;
    let chunk = start().append(&genuine.header().chain, &bytes).unwrap().into_bytes();
    let push = push_of(&genuine, chunk).encode();
    assert!(!ended_with(&say(&mut node, &push), ByeCode::Violation));
    assert_eq!(node.exchange.score(&key(66)), -50);
    assert!(ended_with(&say(&mut node, &push), ByeCode::Violation));
    assert_eq!(node.admits, 0);
}

#[test]
fn a_flood_of_frames_out_of_order_keeps_nothing() {
    let mut node = greeted();
    let far = frame_of(node.cluster, &signer(66), 1_000, Some(EventId::from_bytes([1; 32])), 1);
    let push = push_of(&far, chunk_of(&far, &mut start())).encode();
    let mut needs = 0;
    for _ in 0..2_000 {
        needs +=
            sent(&say(&mut node, &push)).iter().filter(|message| matches!(message, Message::Need(_))).count();
    }
    assert_eq!((node.admits, node.pending.len()), (0, 0));
    assert_eq!(needs, 1, "the range before it is asked for once at a time");
}

#[test]
fn frames_that_wait_for_ever_fill_no_more_than_their_share() {
    let mut node = greeted();
    let unknown = EventId::from_bytes([1; 32]);
    let author = signer(66);
    for n in 0..600u32 {
        let mut incarnation = [3; 16];
        incarnation[..4].copy_from_slice(&n.to_le_bytes());
        let chain = ChainId { author: author.peer_id(), incarnation: Incarnation::from_bytes(incarnation) };
        let mut builder = FrameBuilder::new(Some(node.cluster), chain, 0, None, vec![]);
        builder.push(9, 0, vec![unknown], vec![], Kind::from_number(0x7abc), vec![1; 60_000]);
        let frame = builder.sign(&author).unwrap();
        say(&mut node, &push_of(&frame, chunk_of(&frame, &mut start())).encode());
    }
    assert!(node.pending.len() < 70, "{} frames wait", node.pending.len());
}

#[test]
fn two_branches_of_a_chain_prove_the_fork_whoever_brings_them() {
    let mut node = greeted();
    let author = signer(66);
    let first = frame_of(node.cluster, &author, 0, None, 1);
    let prev = Some(first.header().last);
    let (left, right) =
        (frame_of(node.cluster, &author, 1, prev, 2), frame_of(node.cluster, &author, 1, prev, 3));
    let mut cursor = SegmentCursor::START;
    for frame in [&first, &left] {
        say(&mut node, &push_of(frame, chunk_of(frame, &mut cursor)).encode());
    }
    assert_eq!(node.log.chain(&first.header().chain).unwrap().length, 2);
    // a peer with the other branch, one longer, is asked for what comes after; its frame does not continue ours
    let next = frame_of(node.cluster, &author, 2, Some(right.header().last), 4);
    let mut other = SegmentCursor::START;
    chunk_of(&first, &mut other);
    chunk_of(&right, &mut other);
    let outputs = say(&mut node, &push_of(&next, chunk_of(&next, &mut other)).encode());
    assert!(
        !outputs.iter().any(|output| matches!(output, Output::Disconnect { .. })),
        "the sender may be honest"
    );
    let asked = sent(&outputs);
    let Some(Message::Need(need)) = asked.first() else { panic!("{asked:?}") };
    assert_eq!(need.from_seq, 1, "the frame before it");
    let mut other = SegmentCursor::START;
    chunk_of(&first, &mut other);
    let chunks = [&right, &next].map(|frame| chunk_of(frame, &mut other).try_into().unwrap());
    let chunks = chunks.to_vec().try_into().unwrap();
    say(&mut node, &Message::Chunks(ChunksMessage { need: need.need, chunks, last: true }).encode());
    assert_eq!((node.forks.len(), node.pending.len()), (1, 0));
    // as long as ours and different: its last frame is asked for and proves it
    let mut node = greeted();
    let mut cursor = SegmentCursor::START;
    for frame in [&first, &left] {
        say(&mut node, &push_of(frame, chunk_of(frame, &mut cursor)).encode());
    }
    let entry = ChainEntry { chain: first.header().chain, length: 2, tip: right.header().last, height: 2 };
    let frontier = FrontierMessage { open: vec![entry].try_into().unwrap(), closed: [0; 32], answer: false };
    let asked = sent(&say(&mut node, &Message::Frontier(frontier.clone()).encode()));
    let Some(Message::Need(need)) = asked.first() else { panic!("{asked:?}") };
    assert_eq!((need.chain, need.from_seq), (entry.chain, 1));
    let mut other = SegmentCursor::START;
    chunk_of(&first, &mut other);
    let chunks = vec![chunk_of(&right, &mut other).try_into().unwrap()].try_into().unwrap();
    say(&mut node, &Message::Chunks(ChunksMessage { need: need.need, chunks, last: true }).encode());
    assert_eq!(node.forks.len(), 1);
    assert!(sent(&say(&mut node, &Message::Frontier(frontier).encode())).is_empty(), "it is settled");
}

#[test]
fn answers_nobody_asked_for_end_the_connection() {
    let chunks = ChunksMessage { need: 5, chunks: List::default(), last: true };
    for message in [Message::Chunks(chunks), Message::RangeAnswer(List::default())] {
        let mut node = greeted();
        assert!(ended_with(&say(&mut node, &message.encode()), ByeCode::Violation));
    }
    let mut node = greeted();
    let cluster = node.cluster;
    assert!(ended_with(&say(&mut node, &hello(cluster).encode()), ByeCode::Violation), "a second hello");
}

#[test]
fn a_peer_that_offers_without_end_is_kept_within_bounds() {
    let mut node = greeted();
    for n in 0..20u32 {
        let entries: Vec<ChainEntry> = (0..ENTRIES_MAX as u32)
            .map(|m| {
                let mut author = [7; 32];
                author[..4].copy_from_slice(&(n * 10_000 + m).to_le_bytes());
                let chain = ChainId {
                    author: PeerId::from_bytes(author),
                    incarnation: Incarnation::from_bytes([0; 16]),
                };
                ChainEntry { chain, length: 5, tip: EventId::from_bytes([1; 32]), height: 1 }
            })
            .collect();
        let outputs = say(&mut node, &Message::Notice(entries.try_into().unwrap()).encode());
        let needs = sent(&outputs).iter().filter(|message| matches!(message, Message::Need(_))).count();
        assert!(needs <= 64);
    }
    // it answers none of them: the needs end, the peer loses points, the node goes on
    let mut rounds = 0;
    while node.exchange.score(&key(66)) > -100 && rounds < 10 {
        rounds += 1;
        node.exchange.handle_timeout(Monotonic(rounds * 10_000));
        node.drive(NOW);
    }
    assert!(rounds < 10 && node.exchange.is_quiet());
}

#[test]
fn numbers_of_events_that_are_made_up_neither_overflow_nor_go_unpunished() {
    let entry = |incarnation: u32, length: u64| {
        let mut bytes = [4; 16];
        bytes[..4].copy_from_slice(&incarnation.to_le_bytes());
        let chain = ChainId { author: key(66), incarnation: Incarnation::from_bytes(bytes) };
        ChainEntry { chain, length, tip: EventId::from_bytes([1; 32]), height: u64::from(incarnation) }
    };
    let frontier = |entries: Vec<ChainEntry>| {
        Message::Frontier(FrontierMessage { open: List::truncated(entries), closed: [0; 32], answer: false })
    };
    // as long as a chain can be: believed as far as it goes
    let mut node = greeted();
    let most = frontier((0..8_000).map(|n| entry(n, CHAIN_EVENTS_MAX)).collect());
    assert!(!ended_with(&say(&mut node, &most.encode()), ByeCode::Violation));
    assert_eq!(node.exchange.behind(), 8_000 * CHAIN_EVENTS_MAX);
    assert_eq!(node.exchange.standing(&key(66)).unwrap().owes, 8_000 * CHAIN_EVENTS_MAX);

    let far = frame_of(node.cluster, &signer(66), u64::MAX - 1, Some(EventId::from_bytes([1; 32])), 1);
    for message in [
        frontier(vec![entry(1, u64::MAX), entry(2, u64::MAX)]),
        Message::Notice(List::truncated(vec![entry(1, u64::MAX), entry(2, CHAIN_EVENTS_MAX + 1)])),
        push_of(&far, vec![0; 200]),
    ] {
        let mut node = greeted();
        assert!(ended_with(&say(&mut node, &message.encode()), ByeCode::Violation), "{}", message.name());
        assert_eq!((node.exchange.behind(), node.admits), (0, 0));
    }
}

fn any_message() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        (0u8..20, prop::collection::vec(any::<u8>(), 0..400)).prop_map(|(tag, mut rest)| {
            rest.insert(0, tag);
            rest
        }),
        (0u8..20, prop::collection::vec(0u8..3, 0..400)).prop_map(|(tag, mut rest)| {
            rest.insert(0, tag);
            rest
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_a_node_panic(messages in prop::collection::vec(any_message(), 1..12), member in any::<bool>()) {
        let mut node = Node::founder(1);
        node.admit_peer(key(66));
        node.restart();
        node.exchange.connected(LINK, key(66), &Role::Answerer, NOW);
        if member {
            let cluster = node.cluster;
            say(&mut node, &hello(cluster).encode());
        }
        for message in messages {
            say(&mut node, &message);
            node.exchange.handle_datagram(LINK, &message, NOW);
        }
        node.exchange.handle_timeout(Monotonic(100_000));
        node.drive(NOW);
        prop_assert_eq!(node.log.events_len(), 2);
    }

    #[test]
    fn a_message_survives_its_bytes_and_a_changed_one_is_an_error_or_another_message(at in 0usize..4_000, bit in 0u8..8) {
        let mut bytes = hello(ClusterId::from_bytes([1; 32])).encode();
        prop_assert_eq!(Message::decode_first(&bytes), Ok(hello(ClusterId::from_bytes([1; 32]))));
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let _ = Message::decode_first(&bytes);
    }
}
