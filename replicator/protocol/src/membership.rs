//! Who is alive: foca (SWIM) over datagrams, with a health gate of our own.
//!
//! Sans-IO like everything here: datagrams and time come in, datagrams and [`Liveness`] go out. Liveness decides nothing by itself and
//! never enters the log; who is a member is the roster's to say, so nobody else is ever reported.
//!
//! **Health gate**: a node whose own loop was held up for more than 500 ms has not listened in time, so it judges nobody: what was
//! due is put off by a moment, in which the packets that waited are heard first.
//!
//! Invariants: a peer is reported down only after it was reported up, and the other way round; foreign packets cannot make a
//! stranger appear.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use foca::{
    AccumulatingRuntime, Config, Foca, Identity, NoCustomBroadcast, OwnedNotification, PeriodicParams,
    PostcardCodec, Timer,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use wfengine_core::time::Monotonic;
use wfengine_storage_format::PeerId;

use crate::limits::DATAGRAM_BYTES_MAX;

/// How late a timer may be before this node stops judging others.
const LAG_MAX: Duration = Duration::from_millis(500);
/// How long what was due is put off then.
const GRACE: Duration = Duration::from_secs(1);

/// Something the driver shall do or the node shall know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Liveness {
    /// Send this packet ([`Datagram::Swim`](crate::Datagram::Swim)), or drop it if the peer is not connected.
    Send {
        /// To whom.
        to: PeerId,
        /// The packet.
        packet: Vec<u8>,
    },
    /// A member is alive.
    PeerUp(PeerId),
    /// A member that was alive is not.
    PeerDown(PeerId),
}

/// A node in one of its lives.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Life {
    peer: PeerId,
    generation: u64,
}

impl Identity for Life {
    type Addr = PeerId;
    fn renew(&self) -> Option<Self> {
        Some(Self { peer: self.peer, generation: self.generation.saturating_add(1) })
    }
    fn addr(&self) -> PeerId {
        self.peer
    }
    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.generation > adversary.generation
    }
}

/// The failure detector of one node.
pub struct Membership {
    foca: Foca<Life, PostcardCodec, ChaCha8Rng, NoCustomBroadcast>,
    runtime: AccumulatingRuntime<Life>,
    timers: BTreeMap<(Monotonic, u64), Timer<Life>>,
    timers_made: u64,
    members: BTreeSet<PeerId>,
    answering: BTreeSet<PeerId>,
    alive: BTreeSet<PeerId>,
    outputs: VecDeque<Liveness>,
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").field("alive", &self.alive).finish_non_exhaustive()
    }
}

impl Membership {
    /// The failure detector of this node. `starts` grows with each start of the node (the number of its own chains does), so that
    /// its new life is not taken for the old one.
    pub fn new(me: PeerId, starts: u64, seed: [u8; 32]) -> Self {
        // room for the lives that one start may go through
        let life = Life { peer: me, generation: starts.saturating_mul(1 << 16) };
        Self {
            foca: Foca::new(life, config(), ChaCha8Rng::from_seed(seed), PostcardCodec),
            runtime: AccumulatingRuntime::new(),
            timers: BTreeMap::new(),
            timers_made: 0,
            members: BTreeSet::new(),
            answering: BTreeSet::new(),
            alive: BTreeSet::new(),
            outputs: VecDeque::new(),
        }
    }

    /// The members of the roster, whenever it changes.
    pub fn set_members(&mut self, members: impl IntoIterator<Item = PeerId>) {
        self.members = members.into_iter().collect();
        self.report();
    }

    /// A member was connected: makes the two failure detectors know each other.
    pub fn peer_connected(&mut self, peer: &PeerId, now: Monotonic) {
        // the greeting reaches whatever life the peer is in
        let greeted = self.foca.announce(Life { peer: *peer, generation: 0 }, &mut self.runtime);
        self.settle(greeted, now);
    }

    /// A packet came from a connected member.
    pub fn handle_datagram(&mut self, packet: &[u8], now: Monotonic) {
        if packet.len() < DATAGRAM_BYTES_MAX {
            let heard = self.foca.handle_data(packet, &mut self.runtime);
            self.settle(heard, now);
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Monotonic) {
        let held_up = self.poll_timeout().is_some_and(|due| now - due > LAG_MAX);
        let mut due = Vec::new();
        while let Some(entry) = self.timers.first_entry().filter(|entry| entry.key().0 <= now) {
            due.push(entry.remove());
        }
        // several at once are given in foca's own order of precedence
        due.sort();
        for timer in due {
            if held_up {
                self.plan(timer, now + GRACE);
            } else {
                let handled = self.foca.handle_timer(timer, &mut self.runtime);
                self.settle(handled, now);
            }
        }
    }

    /// Says goodbye, so that the others need not find out.
    pub fn leave(&mut self, now: Monotonic) {
        let left = self.foca.leave_cluster(&mut self.runtime);
        self.settle(left, now);
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Liveness> {
        self.outputs.pop_front()
    }

    /// The members believed alive, this node not among them.
    pub fn alive(&self) -> &BTreeSet<PeerId> {
        &self.alive
    }

    /// Takes over what foca wants done. Its errors concern one packet or one round of probing and are mended by the next.
    fn settle(&mut self, _outcome: Result<(), foca::Error>, now: Monotonic) {
        while let Some((to, packet)) = self.runtime.to_send() {
            self.outputs.push_back(Liveness::Send { to: to.peer, packet: packet.to_vec() });
        }
        while let Some((after, timer)) = self.runtime.to_schedule() {
            self.plan(timer, now + after);
        }
        while let Some(notification) = self.runtime.to_notify() {
            match notification {
                OwnedNotification::MemberUp(life) => {
                    self.answering.insert(life.peer);
                }
                OwnedNotification::MemberDown(life) => {
                    self.answering.remove(&life.peer);
                }
                OwnedNotification::Rename(..)
                | OwnedNotification::Active
                | OwnedNotification::Idle
                | OwnedNotification::Defunct
                | OwnedNotification::Rejoin(_) => {}
            }
        }
        self.report();
    }

    fn plan(&mut self, timer: Timer<Life>, at: Monotonic) {
        self.timers_made += 1;
        self.timers.insert((at, self.timers_made), timer);
    }

    fn report(&mut self) {
        let believed: BTreeSet<PeerId> = self.answering.intersection(&self.members).copied().collect();
        let up = believed.difference(&self.alive).map(|peer| Liveness::PeerUp(*peer));
        let down = self.alive.difference(&believed).map(|peer| Liveness::PeerDown(*peer));
        self.outputs.extend(up.chain(down));
        self.alive = believed;
    }
}

/// A peer that stops is down for everybody within about ten seconds; a minute without a packet is possible on a bad path, so a
/// suspect may always answer.
fn config() -> Config {
    let few = |count: usize| NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
    let every =
        |seconds, num_members| Some(PeriodicParams { frequency: Duration::from_secs(seconds), num_members });
    Config {
        probe_period: Duration::from_millis(1_500),
        probe_rtt: Duration::from_millis(500),
        num_indirect_probes: few(3),
        max_transmissions: NonZeroU8::new(10).unwrap_or(NonZeroU8::MIN),
        suspect_to_down_after: Duration::from_secs(5),
        remove_down_after: Some(Duration::from_secs(24 * 3_600)),
        max_packet_size: few(DATAGRAM_BYTES_MAX - 1),
        notify_down_members: true,
        periodic_announce: every(30, few(1)),
        periodic_announce_to_down_members: every(60, few(2)),
        periodic_gossip: every(1, few(3)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn peer(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    /// Detectors whose packets arrive at once, but for those to and from the cut off and the stopped.
    struct Cluster {
        nodes: BTreeMap<PeerId, Membership>,
        stopped: BTreeSet<PeerId>,
        reports: Vec<(PeerId, Liveness)>,
        now: Monotonic,
    }

    impl Cluster {
        fn new(count: u8) -> Self {
            let all: Vec<PeerId> = (1..=count).map(peer).collect();
            let nodes = all.iter().map(|me| {
                let mut node = Membership::new(*me, 1, *me.as_bytes());
                node.set_members(all.iter().copied());
                (*me, node)
            });
            let nodes = nodes.collect();
            let mut cluster = Self { nodes, stopped: BTreeSet::new(), reports: vec![], now: Monotonic(0) };
            for me in &all {
                for other in all.iter().filter(|other| *other > me) {
                    let now = cluster.now;
                    cluster.nodes.get_mut(me).unwrap().peer_connected(other, now);
                }
            }
            cluster
        }

        fn deliver(&mut self) {
            loop {
                let mut packets = Vec::new();
                for (me, node) in &mut self.nodes {
                    while let Some(output) = node.poll_output() {
                        match output {
                            Liveness::Send { to, packet } if !self.stopped.contains(me) => {
                                packets.push((to, packet))
                            }
                            Liveness::Send { .. } => {}
                            report => self.reports.push((*me, report)),
                        }
                    }
                }
                if packets.is_empty() {
                    return;
                }
                for (to, packet) in packets {
                    if let Some(node) = self.nodes.get_mut(&to).filter(|_| !self.stopped.contains(&to)) {
                        node.handle_datagram(&packet, self.now);
                    }
                }
            }
        }

        fn run(&mut self, time: Duration) {
            let end = self.now + time;
            self.deliver();
            while self.now < end {
                self.now = self.now + Duration::from_millis(50);
                for (me, node) in &mut self.nodes {
                    if !self.stopped.contains(me) {
                        node.handle_timeout(self.now);
                    }
                }
                self.deliver();
            }
        }
    }

    #[test]
    fn a_node_that_stops_is_down_for_all_within_fifteen_seconds_and_up_again_when_it_returns() {
        let mut cluster = Cluster::new(4);
        cluster.run(5 * SECOND);
        assert!(cluster.nodes.values().all(|node| node.alive().len() == 3));
        cluster.stopped.insert(peer(4));
        cluster.run(15 * SECOND);
        for me in 1..4 {
            assert!(cluster.reports.contains(&(peer(me), Liveness::PeerDown(peer(4)))), "node {me}");
        }
        cluster.stopped.clear();
        let now = cluster.now;
        let mut returned = Membership::new(peer(4), 2, [9; 32]);
        returned.set_members((1..=4).map(peer));
        returned.peer_connected(&peer(1), now);
        cluster.nodes.insert(peer(4), returned);
        cluster.run(10 * SECOND);
        assert!(cluster.nodes.values().all(|node| node.alive().len() == 3));
    }

    #[test]
    fn a_node_that_was_held_up_judges_nobody() {
        let mut cluster = Cluster::new(3);
        cluster.run(5 * SECOND);
        cluster.reports.clear();
        // node 1 hangs for a minute while the others stand still too: nothing is heard, everything falls due at once
        cluster.now = cluster.now + 60 * SECOND;
        cluster.run(20 * SECOND);
        assert_eq!(cluster.reports, []);
        assert!(cluster.nodes.values().all(|node| node.alive().len() == 2));
    }

    #[test]
    fn nobody_outside_the_roster_is_reported_and_garbage_is_survived() {
        let mut cluster = Cluster::new(3);
        cluster.nodes.get_mut(&peer(1)).unwrap().set_members([peer(1), peer(2)]);
        cluster.run(5 * SECOND);
        assert_eq!(cluster.nodes[&peer(1)].alive(), &BTreeSet::from([peer(2)]));
        let now = cluster.now;
        let node = cluster.nodes.get_mut(&peer(1)).unwrap();
        for len in 0..300 {
            let garbage: Vec<u8> = (0..len).map(|n| (n * 31 + len) as u8).collect();
            node.handle_datagram(&garbage, now);
        }
        cluster.run(5 * SECOND);
        assert_eq!(cluster.nodes[&peer(1)].alive(), &BTreeSet::from([peer(2)]));
    }
}
