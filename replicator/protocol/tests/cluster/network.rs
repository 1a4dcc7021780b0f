//! Links between nodes in memory: reliable ordered messages, lossy datagrams, a clock that only tests move, one seed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand::{RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wfengine_core::time::Monotonic;
use wfengine_protocol::{ConnectionId, Output, Role};

use crate::node::Node;

/// One direction of a link.
#[derive(Default)]
struct Lane {
    messages: VecDeque<Vec<u8>>,
}

struct Link {
    ends: [usize; 2],
    /// Towards each end.
    lanes: [Lane; 2],
}

pub(crate) struct Network {
    pub(crate) nodes: Vec<Node>,
    links: BTreeMap<ConnectionId, Link>,
    pub(crate) now: Monotonic,
    rng: ChaCha8Rng,
    next_link: u64,
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    pub(crate) datagram_loss_percent: u32,
}

impl Network {
    /// A founder and further members who all know one another, none connected.
    pub(crate) fn of_members(count: u8, seed: u64) -> Self {
        let mut founder = Node::founder(1);
        (2..=count).for_each(|seed| {
            founder.admit_peer(crate::node::key(seed));
        });
        let cluster = founder.cluster;
        let frames: Vec<_> = founder.frames.values().flatten().cloned().collect();
        let mut nodes = vec![founder];
        for seed in 2..=count {
            let mut node = Node::empty(seed, cluster);
            let me = node.me();
            frames.iter().for_each(|frame| node.take(frame.clone(), me));
            nodes.push(node);
        }
        nodes.iter_mut().for_each(Node::restart);
        Self::of(nodes, seed)
    }

    pub(crate) fn of(nodes: Vec<Node>, seed: u64) -> Self {
        Self {
            nodes,
            links: BTreeMap::new(),
            now: Monotonic(0),
            rng: ChaCha8Rng::seed_from_u64(seed),
            next_link: 0,
            messages: 0,
            bytes: 0,
            datagram_loss_percent: 0,
        }
    }

    pub(crate) fn connect(&mut self, dialler: usize, answerer: usize) -> ConnectionId {
        self.connect_as(dialler, answerer, &Role::Dialler)
    }

    pub(crate) fn connect_as(&mut self, dialler: usize, answerer: usize, role: &Role) -> ConnectionId {
        self.next_link += 1;
        let connection = ConnectionId(self.next_link);
        self.links.insert(connection, Link { ends: [dialler, answerer], lanes: Default::default() });
        let (one, other) = (self.nodes[dialler].me(), self.nodes[answerer].me());
        self.nodes[answerer].exchange.connected(connection, one, &Role::Answerer, self.now);
        self.nodes[dialler].exchange.connected(connection, other, role, self.now);
        connection
    }

    /// The link breaks: what was on its way is lost.
    pub(crate) fn cut(&mut self, connection: ConnectionId) {
        if let Some(link) = self.links.remove(&connection) {
            for end in link.ends {
                self.nodes[end].exchange.disconnected(connection, self.now);
            }
        }
    }

    pub(crate) fn links(&self) -> Vec<ConnectionId> {
        self.links.keys().copied().collect()
    }

    /// Lets every node do what it wants, puts what it sends on the links.
    fn drive(&mut self) {
        for at in 0..self.nodes.len() {
            for output in self.nodes[at].drive(self.now) {
                match output {
                    Output::Send { to, message, .. } => {
                        if let Some(link) = self.links.get_mut(&to) {
                            let towards = usize::from(link.ends[0] == at);
                            link.lanes[towards].messages.push_back(message);
                        }
                    }
                    Output::Datagram { to, bytes } => self.deliver_datagram(at, to, &bytes),
                    Output::Disconnect { connection, .. } => {
                        if let Some(link) = self.links.remove(&connection) {
                            let other = if link.ends[0] == at { link.ends[1] } else { link.ends[0] };
                            self.nodes[other].exchange.disconnected(connection, self.now);
                        }
                        self.nodes[at].told.push(output);
                    }
                    _ => {}
                }
            }
        }
    }

    fn deliver_datagram(&mut self, from: usize, to: ConnectionId, bytes: &[u8]) {
        let lost = self.rng.random_range(0..100) < self.datagram_loss_percent;
        if let Some(link) = self.links.get(&to).filter(|_| !lost) {
            let other = if link.ends[0] == from { link.ends[1] } else { link.ends[0] };
            self.nodes[other].exchange.handle_datagram(to, bytes, self.now);
        }
    }

    /// Delivers one message of a random link. Says whether there was one.
    pub(crate) fn step(&mut self) -> bool {
        self.drive();
        let busy: Vec<(ConnectionId, usize)> = self
            .links
            .iter()
            .flat_map(|(id, link)| {
                [(*id, 0), (*id, 1)].into_iter().filter(|(_, to)| !link.lanes[*to].messages.is_empty())
            })
            .collect();
        let writing: Vec<usize> = (0..self.nodes.len())
            .filter(|at| self.nodes[*at].disk.as_ref().is_some_and(|disk| !disk.is_empty()))
            .collect();
        if !writing.is_empty() && (busy.is_empty() || self.rng.random_range(0..3) > 0) {
            let node = &mut self.nodes[writing[self.rng.random_range(0..writing.len())]];
            if let Some((frame, from)) = node.disk.as_mut().and_then(VecDeque::pop_front) {
                node.take(frame, from);
            }
            return true;
        }
        if busy.is_empty() {
            return false;
        }
        let (connection, towards) = busy[self.rng.random_range(0..busy.len())];
        let Some(link) = self.links.get_mut(&connection) else { return true };
        let Some(message) = link.lanes[towards].messages.pop_front() else { return true };
        let (receiver, sender) = (link.ends[towards], link.ends[1 - towards]);
        self.messages += 1;
        self.bytes += message.len();
        self.nodes[sender].exchange.handle_sent(connection, message.len(), self.now);
        self.nodes[receiver].exchange.handle_message(connection, &message, self.now);
        self.drive();
        true
    }

    /// Until nothing is on its way.
    pub(crate) fn settle(&mut self) {
        for _ in 0..50_000 {
            if !self.step() {
                return;
            }
        }
        panic!("the network does not come to rest");
    }

    /// Lets time pass, timers firing when they are due.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.settle();
            let due = self.nodes.iter().filter_map(|node| node.exchange.poll_timeout()).min();
            match due.filter(|due| *due <= end) {
                Some(due) => self.now = due.max(self.now),
                None => break,
            }
            for node in &mut self.nodes {
                if node.exchange.poll_timeout().is_some_and(|due| due <= self.now) {
                    node.exchange.handle_timeout(self.now);
                }
            }
        }
        self.now = end;
    }

    pub(crate) fn pick(&mut self, bound: usize) -> usize {
        self.rng.random_range(0..bound)
    }

    pub(crate) fn assert_equal_logs(&self) {
        let first = &self.nodes[0].log;
        for node in &self.nodes[1..] {
            assert_eq!(node.log.events_len(), first.events_len(), "node {}", node.seed());
            assert_eq!(node.log.clock_hash(), first.clock_hash(), "node {}", node.seed());
            assert!(node.exchange.is_quiet(), "node {} is still busy", node.seed());
            assert!(node.pending.is_empty(), "node {} has waiting frames", node.seed());
        }
    }
}
