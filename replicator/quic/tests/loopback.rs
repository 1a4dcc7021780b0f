//! Two nodes on loopback, through the public API and real sockets.
//!
//! Nothing here is decided by time: the one timeout around each test only keeps a hang from blocking the suite.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests may fail loudly, as tests may"
)]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use wfengine_quic::{
    BlobError, CloseCode, Closed, ConnectError, Connection, DatagramError, Endpoint, EstablishError,
    FramingError, Identity, KeyRefused, Limits, NoRoom, Priority, RecvError, SendError, TransportError,
};

const MIB: usize = 1 << 20;

async fn bounded<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test hangs")
}

fn node_with(seed: u8, limits: Limits) -> Endpoint {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Endpoint::bind(anywhere, 0, Identity::from_seed(&[seed; 32]), limits).unwrap()
}

fn node(seed: u8) -> Endpoint {
    node_with(seed, Limits::default())
}

async fn answer(node: &Endpoint) -> Result<Connection, EstablishError> {
    node.accept().await.expect("the endpoint is open").establish().await
}

/// Connects two nodes: the dialler's end and the answering end.
async fn join(dialler: &Endpoint, other: &Endpoint) -> (Connection, Connection) {
    let address = other.local_addr().unwrap();
    let (dialled, answered) = tokio::join!(dialler.connect(address, Some(other.peer_id())), answer(other));
    (dialled.unwrap(), answered.unwrap())
}

async fn join_authenticated(dialler: &Endpoint, other: &Endpoint) -> (Connection, Connection) {
    let (dialled, answered) = join(dialler, other).await;
    dialled.authenticated();
    answered.authenticated();
    (dialled, answered)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 % 251) as u8).collect()
}

#[tokio::test]
async fn both_ends_know_each_others_key() {
    bounded(async {
        let (alice, bob) = (node(1), node(2));
        let (dialled, answered) = join(&alice, &bob).await;
        assert_eq!(dialled.peer_id(), bob.peer_id());
        assert_eq!(answered.peer_id(), alice.peer_id());
        assert_eq!(dialled.remote_addr(), bob.local_addr().unwrap());
        assert_eq!(answered.remote_addr(), alice.local_addr().unwrap());
    })
    .await;
}

#[tokio::test]
async fn an_address_without_a_known_key_tells_its_key() {
    bounded(async {
        let (alice, bob) = (node(1), node(2));
        let address = bob.local_addr().unwrap();
        let (dialled, answered) = tokio::join!(alice.connect(address, None), answer(&bob));
        assert_eq!(dialled.unwrap().peer_id(), bob.peer_id());
        assert_eq!(answered.unwrap().peer_id(), alice.peer_id());
    })
    .await;
}

#[tokio::test]
async fn another_key_than_the_dialled_one_is_refused_and_named() {
    bounded(async {
        let (alice, bob, expected) = (node(1), node(2), node(3).peer_id());
        let address = bob.local_addr().unwrap();
        let (dialled, answered) = tokio::join!(alice.connect(address, Some(expected)), answer(&bob));
        let ConnectError::Key { address: at, refused } = dialled.unwrap_err() else { panic!("wrong error") };
        assert_eq!(at, address);
        assert_eq!(refused, KeyRefused::OtherPeer { expected, answered: bob.peer_id() });
        assert!(matches!(answered.unwrap_err(), EstablishError::Handshake { .. }));
    })
    .await;
}

#[tokio::test]
async fn a_node_does_not_talk_to_its_own_key() {
    bounded(async {
        let (node, copy) = (node(1), node(1));
        let address = copy.local_addr().unwrap();
        let (dialled, answered) = tokio::join!(node.connect(address, None), answer(&copy));
        assert!(matches!(dialled.unwrap_err(), ConnectError::OwnKey { .. }));
        // whichever end looks first closes; the other may see only that
        assert!(matches!(
            answered.unwrap_err(),
            EstablishError::OwnKey { .. } | EstablishError::Handshake { .. }
        ));
    })
    .await;
}

#[tokio::test]
async fn messages_up_to_a_mebibyte_travel_both_ways_in_order() {
    bounded(async {
        let (alice, bob) = (node(1), node(2));
        let (dialled, answered) = join_authenticated(&alice, &bob).await;
        for (from, to) in [(&dialled, &answered), (&answered, &dialled)] {
            for len in [1, 4096, 4097, 70_000, MIB] {
                from.send(pattern(len), Priority::Normal).unwrap();
                assert_eq!(to.recv().await.unwrap(), pattern(len));
            }
            for number in 0..1000u32 {
                from.send(number.to_le_bytes().to_vec(), Priority::Normal).unwrap();
            }
            for number in 0..1000u32 {
                assert_eq!(to.recv().await.unwrap(), number.to_le_bytes());
            }
        }
    })
    .await;
}

#[tokio::test]
async fn before_authentication_messages_are_short_and_keep_their_order() {
    bounded(async {
        let (alice, bob) = (node(1), node(2));
        let (dialled, answered) = join(&alice, &bob).await;
        let oversize = FramingError::Oversize { declared: 4097, limit: 4096 };
        assert_eq!(dialled.send(pattern(4097), Priority::High), Err(SendError::Framing(oversize)));
        dialled.send(pattern(4096), Priority::Low).unwrap();
        dialled.send(b"after".to_vec(), Priority::High).unwrap();
        assert_eq!(answered.recv().await.unwrap(), pattern(4096));
        assert_eq!(answered.recv().await.unwrap(), b"after");
    })
    .await;
}

#[tokio::test]
async fn a_long_message_before_authentication_closes_the_connection() {
    bounded(async {
        let (rude, bob) = (node_with(1, Limits { first_message_bytes: MIB, ..Limits::default() }), node(2));
        let (dialled, answered) = join(&rude, &bob).await;
        dialled.send(pattern(4097), Priority::High).unwrap();
        let error = FramingError::Oversize { declared: 4097, limit: 4096 };
        assert_eq!(answered.recv().await, Err(RecvError::Framing { peer: rude.peer_id(), error }));
        let closed = dialled.closed().await;
        assert!(matches!(closed, Closed::ByPeer { code: CloseCode::VIOLATION, .. }), "{closed}");
        assert_eq!(answered.recv().await, Err(RecvError::Closed(Closed::Here)));
    })
    .await;
}

#[tokio::test]
async fn a_message_above_a_mebibyte_closes_the_connection() {
    bounded(async {
        let rude = node_with(1, Limits { message_bytes: 2 * MIB, lane_bytes: 4 * MIB, ..Limits::default() });
        let bob = node(2);
        let (dialled, answered) = join_authenticated(&rude, &bob).await;
        dialled.send(pattern(MIB + 1), Priority::Normal).unwrap();
        let error = FramingError::Oversize { declared: MIB + 1, limit: MIB };
        assert_eq!(answered.recv().await, Err(RecvError::Framing { peer: rude.peer_id(), error }));
        let closed = dialled.closed().await;
        assert!(matches!(closed, Closed::ByPeer { code: CloseCode::VIOLATION, .. }), "{closed}");
        let oversize = FramingError::Oversize { declared: MIB + 1, limit: MIB };
        let (honest, _answered) = join_authenticated(&node(3), &bob).await;
        assert_eq!(honest.send(pattern(MIB + 1), Priority::Low), Err(SendError::Framing(oversize)));
    })
    .await;
}

#[tokio::test]
async fn a_slow_reader_gets_full_and_loses_nothing() {
    bounded(async {
        let (alice, bob) = (node(1), node(2));
        let (dialled, answered) = join_authenticated(&alice, &bob).await;
        // the reader's window, the lane and what is being written; anything beyond is a leak
        let most = (512 << 10) + (2 << 20) + (4 << 20);
        let mut sent = 0u32;
        let full = loop {
            let mut message = pattern(64 << 10);
            message[..4].copy_from_slice(&sent.to_le_bytes());
            match dialled.send(message, Priority::Low) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
            assert!((sent as usize) << 16 <= most, "the queue grows without a bound");
            tokio::task::yield_now().await;
        };
        assert_eq!(full, SendError::Full { waiting_bytes: 2 << 20 });
        dialled.send(b"urgent".to_vec(), Priority::High).unwrap();

        let (mut expected, mut urgent) = (0, false);
        while expected < sent || !urgent {
            let message = answered.recv().await.unwrap();
            if message == b"urgent" {
                assert!(expected < sent, "the urgent message overtook nothing");
                urgent = true;
            } else {
                assert_eq!(message[..4], expected.to_le_bytes());
                expected += 1;
            }
        }
        dialled.room(Priority::Low).await;
        dialled.send(b"again".to_vec(), Priority::Low).unwrap();
        assert_eq!(answered.recv().await.unwrap(), b"again");
    })
    .await;
}

#[tokio::test]
async fn receiving_can_be_cancelled_without_losing_bytes() {
    bounded(async {
        let (alice, bob) = (node(1), node(2));
        let (dialled, answered) = join_authenticated(&alice, &bob).await;
        dialled.send(pattern(MIB), Priority::Normal).unwrap();
        let message = loop {
            tokio::select! {
                biased;
                message = answered.recv() => break message,
                () = tokio::task::yield_now() => {}
            }
        };
        assert_eq!(message.unwrap(), pattern(MIB));
    })
    .await;
}

#[tokio::test]
async fn datagrams_travel_both_ways_and_have_a_limit() {
    bounded(async {
        let (alice, bob) = (node(1), node(2));
        let (dialled, answered) = join_authenticated(&alice, &bob).await;
        dialled.send_datagram(b"beat".to_vec()).unwrap();
        assert_eq!(answered.recv_datagram().await.unwrap(), b"beat");
        answered.send_datagram(pattern(1000)).unwrap();
        assert_eq!(dialled.recv_datagram().await.unwrap(), pattern(1000));
        let limit = dialled.datagram_limit().unwrap();
        assert!(limit >= 1000);
        let refused = dialled.send_datagram(pattern(70_000)).unwrap_err();
        assert!(matches!(refused, DatagramError::TooLarge { bytes: 70_000, .. }), "{refused}");
    })
    .await;
}

#[tokio::test]
async fn blobs_arrive_whole_or_visibly_not_at_all() {
    bounded(async {
        let (alice, bob) = (node(1), node(2));
        let (dialled, answered) = join(&alice, &bob).await;
        assert_eq!(dialled.open_blob().await.unwrap_err(), BlobError::NotAuthenticated);
        dialled.authenticated();
        answered.authenticated();

        let send = async {
            let mut blob = dialled.open_blob().await.unwrap();
            blob.write_all(&pattern(3 * MIB)).await.unwrap();
            blob.finish().await
        };
        let receive = async { answered.accept_blob().await.unwrap().read_to_end(3 * MIB).await };
        let (sent, received) = tokio::join!(send, receive);
        sent.unwrap();
        assert_eq!(received.unwrap(), pattern(3 * MIB));

        let mut half = answered.open_blob().await.unwrap();
        half.write_all(&pattern(1000)).await.unwrap();
        let mut receiver = dialled.accept_blob().await.unwrap();
        assert!(receiver.read(&mut [0; 2000]).await.unwrap().is_some());
        drop(half);
        assert_eq!(receiver.read(&mut [0; 2000]).await, Err(BlobError::Aborted(CloseCode::DONE)));

        let mut long = answered.open_blob().await.unwrap();
        long.write_all(&pattern(1000)).await.unwrap();
        let receiver = dialled.accept_blob().await.unwrap();
        assert_eq!(receiver.read_to_end(999).await, Err(BlobError::Aborted(CloseCode::VIOLATION)));
        assert_eq!(long.finish().await, Err(BlobError::Aborted(CloseCode::VIOLATION)));
        assert_eq!(dialled.rtt() > Duration::ZERO, answered.rtt() > Duration::ZERO);
    })
    .await;
}

#[tokio::test]
async fn the_reason_of_a_close_reaches_the_other_end() {
    bounded(async {
        let (alice, bob) = (node(1), node(2));
        let (dialled, answered) = join(&alice, &bob).await;
        let code = CloseCode(CloseCode::FIRST_OF_PROTOCOL.0 + 1);
        answered.close(code, "your invite was used");
        let closed = Closed::ByPeer { code, reason: "your invite was used".to_owned() };
        assert_eq!(dialled.recv().await, Err(RecvError::Closed(closed.clone())));
        assert_eq!(dialled.closed().await, closed);
        assert_eq!(answered.closed().await, Closed::Here);
        dialled.room(Priority::Normal).await;
        let refused = loop {
            // the queue is closed by a task of its own, shortly after the connection
            match dialled.send(b"x".to_vec(), Priority::Normal) {
                Ok(()) => tokio::task::yield_now().await,
                Err(refused) => break refused,
            }
        };
        assert_eq!(refused, SendError::Closed(closed.clone()));
        assert_eq!(dialled.send_datagram(b"x".to_vec()), Err(DatagramError::Closed(closed)));
    })
    .await;
}

#[tokio::test]
async fn dropping_the_last_handle_closes_the_connection() {
    bounded(async {
        let (alice, bob) = (node(1), node(2));
        let (dialled, answered) = join(&alice, &bob).await;
        let second = answered.clone();
        drop(answered);
        second.send(b"still here".to_vec(), Priority::Normal).unwrap();
        assert_eq!(dialled.recv().await.unwrap(), b"still here");
        drop(second);
        assert!(matches!(dialled.closed().await, Closed::ByPeer { code: CloseCode::DONE, .. }));
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_never_says_hello_is_closed() {
    bounded(async {
        let (alice, bob) = (node(1), node_with(2, Limits { hello_ms: 1, ..Limits::default() }));
        let (dialled, _answered) = join(&alice, &bob).await;
        assert!(matches!(dialled.closed().await, Closed::ByPeer { code: CloseCode::NO_HELLO, .. }));
    })
    .await;
}

#[tokio::test]
async fn a_taken_port_gives_the_next_free_one() {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    // a free port whose successor is free too, so that the range below has exactly one taken port in front
    let (taken, first) = loop {
        let taken = UdpSocket::bind(anywhere).unwrap();
        let first = taken.local_addr().unwrap().port();
        if first < u16::MAX && UdpSocket::bind((Ipv4Addr::LOCALHOST, first + 1)).is_ok() {
            break (taken, first);
        }
    };
    let address = taken.local_addr().unwrap();
    let bind = |further| Endpoint::bind(address, further, Identity::from_seed(&[1; 32]), Limits::default());
    let TransportError::PortsTaken { last, .. } = bind(0).unwrap_err() else { panic!("wrong error") };
    assert_eq!(last, first);
    let got = bind(20).unwrap().local_addr().unwrap().port();
    assert!(got > first && got <= first.saturating_add(20), "{got}");
}

#[tokio::test]
async fn contradictory_limits_are_refused() {
    let limits = Limits { lane_bytes: 10, ..Limits::default() };
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let refused = Endpoint::bind(anywhere, 0, Identity::from_seed(&[1; 32]), limits).unwrap_err();
    assert!(matches!(refused, TransportError::Limits(_)));
}

#[tokio::test]
async fn an_endpoint_on_every_address_takes_ipv4_calls() {
    bounded(async {
        let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let bob = Endpoint::bind(everywhere, 0, Identity::from_seed(&[2; 32]), Limits::default()).unwrap();
        let alice = node(1);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, bob.local_addr().unwrap().port()));
        let (dialled, answered) = tokio::join!(alice.connect(address, Some(bob.peer_id())), answer(&bob));
        dialled.unwrap();
        assert_eq!(answered.unwrap().remote_addr(), alice.local_addr().unwrap());
    })
    .await;
}

#[tokio::test]
async fn one_key_has_four_connections_and_gets_places_back() {
    bounded(async {
        let (alice, again, bob) = (node(1), node(1), node(2));
        let mut held = Vec::new();
        for dialler in [&alice, &alice, &again, &again] {
            held.push(join(dialler, &bob).await);
        }
        let address = bob.local_addr().unwrap();
        let (dialled, answered) = tokio::join!(again.connect(address, None), answer(&bob));
        let EstablishError::NoRoom { peer, no_room, .. } = answered.unwrap_err() else {
            panic!("wrong error")
        };
        assert_eq!((peer, no_room), (alice.peer_id(), NoRoom::WithThisKey(4)));
        // the dial itself may still have succeeded; the refusal follows
        match dialled {
            Ok(dialled) => {
                assert!(matches!(dialled.closed().await, Closed::ByPeer { code: CloseCode::TOO_MANY, .. }));
            }
            Err(error) => assert!(matches!(error, ConnectError::Lost { .. }), "{error}"),
        }

        let (_, answered) = held.remove(0);
        answered.close(CloseCode::DONE, "making room");
        loop {
            // the place is free once both ends have noticed
            let (dialled, answered) = tokio::join!(alice.connect(address, None), answer(&bob));
            if let (Ok(_), Ok(_)) = (dialled, answered) {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_dialler_keeps_to_its_own_limit() {
    bounded(async {
        let alice = node_with(1, Limits { connections_per_peer: 1, ..Limits::default() });
        let bob = node(2);
        let _held = join(&alice, &bob).await;
        let (dialled, _) = tokio::join!(alice.connect(bob.local_addr().unwrap(), None), answer(&bob));
        let ConnectError::NoRoom { no_room, .. } = dialled.unwrap_err() else { panic!("wrong error") };
        assert_eq!(no_room, NoRoom::WithThisKey(1));
    })
    .await;
}

#[tokio::test]
async fn strangers_are_bounded_and_members_are_not_strangers() {
    bounded(async {
        let bob = node_with(2, Limits { unauthenticated: 1, ..Limits::default() });
        let (alice, carol) = (node(1), node(3));
        let (_dialled, answered) = join(&alice, &bob).await;
        let address = bob.local_addr().unwrap();
        tokio::select! {
            dialled = carol.connect(address, None) => {
                assert!(matches!(dialled.unwrap_err(), ConnectError::Busy { .. }));
            }
            _ = bob.accept() => panic!("a stranger too many"),
        }
        answered.authenticated();
        join(&carol, &bob).await;
    })
    .await;
}

#[tokio::test]
async fn a_busy_endpoint_asks_for_a_proof_of_the_address_and_goes_on() {
    bounded(async {
        let bob = node_with(2, Limits { half_open_before_retry: 0, ..Limits::default() });
        let (dialled, answered) = join(&node(1), &bob).await;
        dialled.send(b"after a retry".to_vec(), Priority::High).unwrap();
        assert_eq!(answered.recv().await.unwrap(), b"after a retry");
    })
    .await;
}

#[tokio::test]
async fn nobody_there_names_the_address_the_port_and_what_to_open() {
    bounded(async {
        // bound and silent: packets arrive and nobody answers
        let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = silent.local_addr().unwrap();
        let alice = node_with(1, Limits { handshake_ms: 50, ..Limits::default() });
        let error = alice.connect(address, None).await.unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable { .. }));
        let text = error.to_string();
        assert!(text.contains(&address.to_string()), "{text}");
        assert!(text.contains(&format!("UDP port {} is open", address.port())), "{text}");

        let error = alice.connect("[::1]:4433".parse().unwrap(), None).await.unwrap_err();
        assert!(matches!(error, ConnectError::Unusable { .. }), "{error}");
    })
    .await;
}

#[tokio::test]
async fn of_several_addresses_the_first_that_answers_is_taken() {
    bounded(async {
        let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (dead, ipv6) = (silent.local_addr().unwrap(), "[::1]:4433".parse().unwrap());
        let (alice, bob) = (node_with(1, Limits { handshake_ms: 5_000, ..Limits::default() }), node(2));
        let addresses = [dead, ipv6, bob.local_addr().unwrap()];
        let (dialled, answered) =
            tokio::join!(alice.connect_any(&addresses, Some(bob.peer_id())), answer(&bob));
        assert_eq!(dialled.unwrap().peer_id(), bob.peer_id());
        answered.unwrap();

        let alice = node_with(1, Limits { handshake_ms: 50, ..Limits::default() });
        let error = alice.connect_any(&[dead, ipv6], None).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&dead.to_string()) && text.contains(&ipv6.to_string()), "{text}");
        assert!(matches!(alice.connect_any(&[], None).await, Err(ConnectError::NoAddress)));
    })
    .await;
}

#[tokio::test]
async fn closing_an_endpoint_ends_accepting_and_every_connection() {
    bounded(async {
        let (alice, bob) = (node(1), node(2));
        let (dialled, _answered) = join(&alice, &bob).await;
        let accepting = tokio::spawn({
            let bob = bob.clone();
            async move { bob.accept().await.is_none() }
        });
        tokio::task::yield_now().await;
        bob.close(CloseCode::STOPPING, "shutting down");
        assert!(accepting.await.unwrap());
        let closed = Closed::ByPeer { code: CloseCode::STOPPING, reason: "shutting down".to_owned() };
        assert_eq!(dialled.closed().await, closed);
        bob.wait_idle().await;
        let refused = bob.connect(alice.local_addr().unwrap(), None).await.unwrap_err();
        assert!(matches!(refused, ConnectError::EndpointClosed), "{refused}");
    })
    .await;
}
