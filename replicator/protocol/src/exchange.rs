//! The set of a node's sessions: makes its log equal to those of all members it is connected with.
//!
//! Sans-IO: the driver tells what happened (`handle_*`), performs what [`Exchange::poll_output`] returns, and comes back at
//! [`Exchange::poll_timeout`]. It owns connections, log, store and clock; this machine owns what is known of peers, what was
//! asked of whom, and what is under way. It holds no frame longer than it takes to verify it.
//!
//! What it does, each in a file of its own: greetings and timers (here), foreign chunks to verified frames (`receiving`),
//! who is asked for what (`wanting`), forks (`branches`), answering others (`serving`), blobs (`blobs`), questions (`asks`).
//!
//! Invariants: nobody but members is answered beyond the greeting · a range of a chain is asked of one peer at a time · a frame
//! is sent to nobody before [`Exchange::handle_committed`] · what one peer can make this node keep is bounded by `limits`.

mod asks;
mod blobs;
mod branches;
mod receiving;
pub(crate) mod serving;
pub(crate) mod standing;
mod wanting;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rand::{Rng, RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wfengine_core::time::Monotonic;
use wfengine_storage_format::{ChainId, ClusterId, PeerId, VerifiedFrame};

use crate::frontier::Frontier;
use crate::limits::{UNSENT_BYTES_ABUSE, UNSENT_BYTES_MAX};
use crate::message::{
    Bye, ByeCode, Datagram, Hello, JoinAnswer, JoinRefusal, JoinRequest, List, Message, Text, VERSION_MAX,
    VERSION_MIN,
};
use crate::output::{Class, ConnectionId, JoinDecision, Output, RequestId};
use crate::scores::{Scores, USELESS};
use crate::segment::SegmentCursor;
use crate::session::{Breach, Heard, Phase, Role, Session};

use blobs::Blobs;
use branches::Suspect;
use receiving::Incoming;

pub use standing::Standing;

/// How long a greeting may take.
const GREETING: Duration = Duration::from_secs(10);
/// Mean time between two comparisons with a random member.
const COMPARE_MS: u64 = 5_000;
/// How far it varies, either way.
const COMPARE_JITTER_MS: u64 = 1_000;

/// Who this node is, and its chance.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node's key.
    pub me: PeerId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// What it calls itself.
    pub name: String,
    /// Version of its software, for people.
    pub software: String,
    /// Where it can be dialled, as far as it knows.
    pub addresses: Vec<String>,
    /// Seed of its choices: which member to compare with, and when.
    pub seed: [u8; 32],
    /// How verifying is shared between peers.
    pub budget: IngestBudget,
}

/// How verifying what peers send is shared between them: in turns, so that a peer that floods costs the others nothing and a peer
/// that is alone has all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IngestBudget {
    /// Bytes verified of one peer before it is the next one's turn.
    pub turn_bytes: usize,
    /// Bytes that checking one signature counts for.
    pub signature_bytes: usize,
}

impl Default for IngestBudget {
    fn default() -> Self {
        // a signature takes about as long as hashing 16 KiB
        Self { turn_bytes: 256 << 10, signature_bytes: 16 << 10 }
    }
}

/// What a read was asked for.
#[derive(Debug)]
enum ReadFor {
    /// To answer a peer's need.
    Serving { connection: ConnectionId, need: u32 },
    /// To learn how far a chain has been cut into segments.
    Cursor { chain: ChainId },
}

/// The exchange of one node with all its peers.
#[derive(Debug)]
pub struct Exchange {
    config: Config,
    now: Monotonic,
    rng: ChaCha8Rng,
    members: BTreeSet<PeerId>,
    frontier: Frontier,
    sessions: BTreeMap<ConnectionId, Session>,
    connected: BTreeMap<PeerId, ConnectionId>,
    scores: Scores,
    outputs: VecDeque<Output>,
    next_number: u64,
    next_compare: Monotonic,
    /// Whether chains may have become available to be asked for.
    unscheduled: bool,
    /// Nothing was asked for because the log does not keep up.
    congested: bool,
    /// Whose chunks were verified last.
    turn: Option<ConnectionId>,

    /// Where the next frame of a chain goes, behind its committed part.
    cursors: BTreeMap<ChainId, SegmentCursor>,
    /// Chains of which frames are on their way to the log.
    incoming: BTreeMap<ChainId, Incoming>,
    /// Of whom a chain is being asked.
    asked: BTreeMap<ChainId, ConnectionId>,
    /// Chains that had no room to wait; asked for again once something was committed.
    held_back: BTreeSet<ChainId>,
    /// Chains with a frame that the log will never take.
    refused: BTreeSet<ChainId>,
    /// Chains that seem to be forked.
    suspects: BTreeMap<ChainId, Suspect>,
    /// Chains of which the log has a proof, and a place of the other branch.
    forked: BTreeMap<ChainId, u64>,
    /// Own chains of which a peer had more, told once.
    rollbacks: BTreeSet<ChainId>,
    reads: BTreeMap<RequestId, ReadFor>,
    cursor_reads: BTreeMap<ChainId, RequestId>,
    blobs: Blobs,
}

impl Exchange {
    /// The exchange of a node with this log. `members` are those of its roster; a node that is not yet among them itself (it has
    /// just joined) takes any node it dials for a member: frames prove themselves.
    pub fn new(
        config: Config,
        frontier: Frontier,
        members: impl IntoIterator<Item = PeerId>,
        now: Monotonic,
    ) -> Self {
        let rng = ChaCha8Rng::from_seed(config.seed);
        let mut exchange = Self {
            config,
            now,
            rng,
            members: members.into_iter().collect(),
            frontier,
            sessions: BTreeMap::new(),
            connected: BTreeMap::new(),
            scores: Scores::default(),
            outputs: VecDeque::new(),
            next_number: 0,
            next_compare: now,
            unscheduled: false,
            congested: false,
            turn: None,
            cursors: BTreeMap::new(),
            incoming: BTreeMap::new(),
            asked: BTreeMap::new(),
            held_back: BTreeSet::new(),
            refused: BTreeSet::new(),
            suspects: BTreeMap::new(),
            forked: BTreeMap::new(),
            rollbacks: BTreeSet::new(),
            reads: BTreeMap::new(),
            cursor_reads: BTreeMap::new(),
            blobs: Blobs::default(),
        };
        exchange.plan_comparison();
        exchange
    }

    /// What this node holds, as compared with others.
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }
    /// The members connected at the moment.
    pub fn connected_members(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.connected.keys().copied()
    }
    /// A peer's score: 0 is spotless, -100 is banned.
    pub fn score(&self, peer: &PeerId) -> i32 {
        self.scores.of(peer, self.now)
    }
    /// Whether nothing is asked for, being verified, or on its way to the log.
    pub fn is_quiet(&self) -> bool {
        let busy = |session: &Session| {
            !session.needs.is_empty() || !session.unverified.is_empty() || session.ranges_asked > 0
        };
        self.incoming.is_empty() && self.asked.is_empty() && !self.sessions.values().any(busy)
    }

    /// The members of the roster, whenever it changes. Connections with anybody else end.
    pub fn set_members(&mut self, members: impl IntoIterator<Item = PeerId>, now: Monotonic) {
        self.now = now;
        self.members = members.into_iter().collect();
        if !self.members.contains(&self.config.me) {
            return;
        }
        let strangers = self.sessions.iter().filter(|(_, session)| {
            session.is_member() && !session.admitted && !self.members.contains(&session.peer)
        });
        for connection in strangers.map(|(connection, _)| *connection).collect::<Vec<_>>() {
            self.end(connection, Breach::harmless(ByeCode::Revoked, "not a member any more"));
        }
        for session in self.sessions.values_mut() {
            session.admitted &= !self.members.contains(&session.peer);
        }
    }

    /// The proved forks of the roster, whenever they change.
    pub fn set_fork_cuts(&mut self, cuts: &BTreeMap<ChainId, u64>) {
        self.frontier.set_cuts(cuts);
    }

    /// A connection with this key was made. The greeting begins.
    pub fn connected(&mut self, connection: ConnectionId, peer: PeerId, role: &Role, now: Monotonic) {
        self.now = now;
        let session = Session::new(self.config.me, peer, role, now + GREETING);
        self.sessions.insert(connection, session);
        if self.scores.is_banned(&peer, now) {
            self.end(connection, Breach::harmless(ByeCode::Banned, "broke the protocol not long ago"));
            return;
        }
        match role {
            Role::Dialler => self.send_hello(connection, peer),
            Role::Joiner(request) => {
                self.send(connection, &Message::JoinRequest((**request).clone()), Class::High);
            }
            Role::Answerer => {}
        }
    }

    /// A connection ended, by whomever but this machine.
    pub fn disconnected(&mut self, connection: ConnectionId, now: Monotonic) {
        self.now = now;
        self.forget(connection);
    }

    /// A message came.
    pub fn handle_message(&mut self, connection: ConnectionId, bytes: &[u8], now: Monotonic) {
        self.now = now;
        let Some(session) = self.sessions.get(&connection) else { return };
        let outcome = match session.hear(bytes) {
            Ok(_) if session.unsent_bytes > UNSENT_BYTES_ABUSE => {
                Err(Breach::harmless(ByeCode::Silent, "asks and does not read"))
            }
            Ok(Heard::Hello(hello)) => self.hear_hello(connection, &hello),
            Ok(Heard::JoinRequest(request)) => self.hear_join_request(connection, request),
            Ok(Heard::JoinAnswer(answer)) => self.hear_join_answer(connection, answer),
            Ok(Heard::Bye(bye)) => {
                Err(Breach::harmless(bye.code, format!("the peer says: {}", &*bye.reason)))
            }
            Ok(Heard::Member(message)) => self.hear_member(connection, message),
            Err(breach) => Err(breach),
        };
        if let Err(breach) = outcome {
            self.end(connection, breach);
        }
    }

    /// A datagram came. Those of strangers are dropped.
    pub fn handle_datagram(&mut self, connection: ConnectionId, bytes: &[u8], now: Monotonic) {
        self.now = now;
        let Some(from) = self.sessions.get(&connection).filter(|s| s.is_member()).map(|s| s.peer) else {
            return;
        };
        match Datagram::decode(bytes) {
            Some(Datagram::Beat(beat)) => self.outputs.push_back(Output::Beat { from, bytes: beat.to_vec() }),
            Some(Datagram::Swim(swim)) => self.outputs.push_back(Output::Swim { from, bytes: swim.to_vec() }),
            None => {}
        }
    }

    /// Sends a datagram to a connected member. Says whether it is connected and the datagram fits.
    pub fn send_datagram(&mut self, peer: &PeerId, datagram: Datagram<'_>) -> bool {
        match (self.connected.get(peer), datagram.encode()) {
            (Some(to), Some(bytes)) => {
                self.outputs.push_back(Output::Datagram { to: *to, bytes });
                true
            }
            _ => false,
        }
    }

    /// The transport took a message of this length ([`Output::Send`]).
    pub fn handle_sent(&mut self, connection: ConnectionId, bytes: usize, now: Monotonic) {
        self.now = now;
        let Some(session) = self.sessions.get_mut(&connection) else { return };
        session.unsent_bytes = session.unsent_bytes.saturating_sub(bytes);
        if session.unsent_bytes == 0 {
            session.sent.note_taken();
        }
        if session.unsent_bytes <= UNSENT_BYTES_MAX / 2 {
            self.send_notices(connection);
            self.go_on_serving(connection);
        }
    }

    /// A frame is part of the log and durable, whoever wrote it. Every committed frame is told, in the order of its chain.
    pub fn handle_committed(&mut self, frame: &VerifiedFrame, now: Monotonic) {
        self.now = now;
        self.take_committed(frame);
    }

    /// What the node decided about [`Output::JoinAsked`]. An admission must be committed first.
    pub fn answer_join(&mut self, connection: ConnectionId, decision: JoinDecision, now: Monotonic) {
        self.now = now;
        let asked = |session: &&mut Session| session.phase == Phase::JoinAsked;
        let Some(session) = self.sessions.get_mut(&connection).filter(asked) else { return };
        match decision {
            Ok(event) => {
                session.phase = Phase::AwaitHello;
                session.admitted = true;
                session.greeting_deadline = now + GREETING;
                self.send(connection, &Message::JoinAnswer(JoinAnswer::Admitted(event)), Class::High);
            }
            Err(refusal) => {
                self.send(connection, &Message::JoinAnswer(JoinAnswer::Refused(refusal)), Class::High);
                self.end(connection, Breach::harmless(ByeCode::JoinRefused, refusal.to_string()));
            }
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), at the latest.
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        let greetings = self.sessions.values().filter(|s| !s.is_member()).map(|s| s.greeting_deadline);
        let needs = self
            .sessions
            .values()
            .flat_map(|s| s.needs.values().filter(|need| !need.ended).map(|need| need.deadline));
        let asks = self.sessions.values().flat_map(|s| s.asks.values().map(|(_, deadline)| *deadline));
        let compare = (!self.connected.is_empty()).then_some(self.next_compare);
        let incoming = self.incoming.values().map(Incoming::stale_at);
        greetings.chain(needs).chain(asks).chain(compare).chain(incoming).chain(self.blobs.deadline()).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Monotonic) {
        self.now = now;
        let late = |session: &Session| !session.is_member() && session.greeting_deadline <= now;
        let silent = self.sessions.iter().filter(|(_, session)| late(session));
        for connection in silent.map(|(connection, _)| *connection).collect::<Vec<_>>() {
            self.end(connection, Breach::harmless(ByeCode::Silent, "no greeting in time"));
        }
        self.time_out_needs();
        self.time_out_asks();
        self.time_out_blobs();
        if self.next_compare <= now {
            self.plan_comparison();
            self.compare_with_one();
        }
    }

    /// The next thing to do. Verifies chunks when nothing else is left, a turn at a time; so a driver that has sockets to attend
    /// to may stop asking at any point and come back.
    pub fn poll_output(&mut self) -> Option<Output> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            let verified = self.verify_a_turn();
            if std::mem::take(&mut self.unscheduled) {
                self.schedule();
            } else if !verified {
                return None;
            }
        }
    }

    fn plan_comparison(&mut self) {
        let wait_ms = COMPARE_MS - COMPARE_JITTER_MS + self.rng.random_range(0..=2 * COMPARE_JITTER_MS);
        self.next_compare = self.now + Duration::from_millis(wait_ms);
    }

    fn compare_with_one(&mut self) {
        let connections: Vec<ConnectionId> = self.connected.values().copied().collect();
        if connections.is_empty() {
            return;
        }
        // what had no room gets another chance even if nothing was committed meanwhile
        self.held_back.clear();
        let index = usize::try_from(self.rng.next_u64()).unwrap_or(0) % connections.len();
        let digest = self.frontier.digest();
        self.send(connections[index], &Message::Compare(digest), Class::High);
        self.unscheduled = true;
        self.ask_for_branches();
    }

    fn send_hello(&mut self, connection: ConnectionId, peer: PeerId) {
        let addresses = self.config.addresses.iter().map(|address| Text::truncated(address));
        let hello = Hello {
            version_min: VERSION_MIN,
            version_max: VERSION_MAX,
            cluster: self.config.cluster,
            name: Text::truncated(&self.config.name),
            software: Text::truncated(&self.config.software),
            addresses: List::truncated(addresses),
            held: self.frontier.held_of(&peer),
            digest: self.frontier.digest(),
        };
        self.send(connection, &Message::Hello(hello), Class::High);
    }

    fn hear_hello(&mut self, connection: ConnectionId, hello: &Hello) -> Result<(), Breach> {
        let Some(session) = self.sessions.get(&connection) else { return Ok(()) };
        let (peer, dialled_here) = (session.peer, session.dialled_here);
        let joining = dialled_here && !self.members.contains(&self.config.me);
        if !(self.members.contains(&peer) || session.admitted || joining) {
            return Err(Breach::harmless(ByeCode::NotAMember, "this key is no member of the cluster"));
        }
        if hello.cluster != self.config.cluster {
            return Err(Breach::harmless(ByeCode::WrongCluster, "of another cluster"));
        }
        self.outputs.push_back(Output::Accepted { connection });
        if !dialled_here {
            self.send_hello(connection, peer);
        }
        if let Some(session) = self.sessions.get_mut(&connection) {
            session.phase = Phase::Member;
        }
        self.outputs.push_back(Output::PeerConnected {
            connection,
            peer,
            name: hello.name.to_string(),
            software: hello.software.to_string(),
            addresses: hello.addresses.iter().map(|address| address.to_string()).collect(),
        });
        self.keep_one_connection(connection, peer);
        // so that the first new frame can be pushed, either way
        let authors = [self.config.me, peer];
        let open = authors.iter().flat_map(|author| self.frontier.open_of(author));
        for chain in open.collect::<Vec<_>>() {
            if self.cursor(&chain).is_none() {
                self.learn_cursor(&chain);
            }
        }
        self.compare_own_chains(connection, &hello.held)?;
        if !dialled_here {
            self.hear_digest(connection, hello.digest);
        }
        Ok(())
    }

    /// Of two connections between the same two nodes one is kept: that of the lesser dialler, or else the newer.
    fn keep_one_connection(&mut self, connection: ConnectionId, peer: PeerId) {
        let dialler = |connection| self.sessions.get(&connection).map(|session| session.dialled_by);
        let before = self.connected.get(&peer).copied();
        let keep_before = before.is_some_and(|before| dialler(before) < dialler(connection));
        if self.connected.is_empty() {
            self.plan_comparison();
        }
        let other = if keep_before {
            Some(connection)
        } else {
            self.connected.insert(peer, connection);
            before
        };
        if let Some(other) = other {
            self.end(other, Breach::harmless(ByeCode::Duplicate, "another connection is kept"));
        }
    }

    fn hear_join_request(&mut self, connection: ConnectionId, request: JoinRequest) -> Result<(), Breach> {
        let Some(session) = self.sessions.get_mut(&connection) else { return Ok(()) };
        let peer = session.peer;
        if request.cluster != self.config.cluster {
            return Err(Breach::harmless(ByeCode::WrongCluster, "of another cluster"));
        }
        if request.invite_key.verify(&request.cluster, &peer, &request.signature).is_err() {
            self.scores.add(peer, USELESS, self.now);
            self.send(
                connection,
                &Message::JoinAnswer(JoinAnswer::Refused(JoinRefusal::Signature)),
                Class::High,
            );
            return Err(Breach::harmless(ByeCode::JoinRefused, JoinRefusal::Signature.to_string()));
        }
        session.phase = Phase::JoinAsked;
        self.outputs.push_back(Output::JoinAsked { connection, peer, request: Box::new(request) });
        Ok(())
    }

    fn hear_join_answer(&mut self, connection: ConnectionId, answer: JoinAnswer) -> Result<(), Breach> {
        let Some(session) = self.sessions.get_mut(&connection) else { return Ok(()) };
        let peer = session.peer;
        self.outputs.push_back(Output::JoinAnswered { connection, peer, answer: answer.clone() });
        match answer {
            JoinAnswer::Admitted(_) => {
                session.phase = Phase::HelloSent;
                session.admitted = true;
                session.greeting_deadline = self.now + GREETING;
                self.send_hello(connection, peer);
                Ok(())
            }
            JoinAnswer::Refused(refusal) => Err(Breach::harmless(ByeCode::JoinRefused, refusal.to_string())),
        }
    }

    fn hear_member(&mut self, connection: ConnectionId, message: Message) -> Result<(), Breach> {
        match message {
            Message::Compare(digest) => self.hear_digest(connection, digest),
            Message::Frontier(frontier) => self.hear_frontier(connection, &frontier)?,
            Message::RangeAsk(asks) => self.hear_range_asks(connection, &asks)?,
            Message::RangeAnswer(answers) => self.hear_range_answers(connection, answers.into_inner())?,
            Message::Need(need) => self.hear_need(connection, need)?,
            Message::Chunks(chunks) => self.hear_chunks(connection, chunks)?,
            Message::Push(push) => self.hear_push(connection, push)?,
            Message::Notice(entries) => {
                entries.iter().try_for_each(|entry| self.hear_offer(connection, entry))?;
            }
            Message::BlobWanted(blob) => self.hear_blob_wanted(connection, blob)?,
            Message::BlobHave(blob, len) => self.hear_blob_have(connection, blob, len),
            Message::BlobAsk(blob, offset, len) => self.hear_blob_ask(connection, blob, offset, len)?,
            Message::BlobRange(blob, offset, bytes) => {
                self.hear_blob_range(connection, blob, offset, bytes.into_inner())?;
            }
            Message::BlobOffer(blobs) => self.hear_blob_offer(connection, &blobs),
            Message::Ask(number, question) => self.hear_question(connection, number, question)?,
            Message::Answer(number, reply) => self.hear_reply(connection, number, reply),
            // taken care of by the session
            Message::Hello(_) | Message::JoinRequest(_) | Message::JoinAnswer(_) | Message::Bye(_) => {}
        }
        Ok(())
    }

    fn send(&mut self, to: ConnectionId, message: &Message, class: Class) {
        let bytes = message.encode();
        self.send_encoded(to, bytes, class);
    }

    fn send_encoded(&mut self, to: ConnectionId, message: Vec<u8>, class: Class) {
        if let Some(session) = self.sessions.get_mut(&to) {
            session.unsent_bytes += message.len();
            self.outputs.push_back(Output::Send { to, message, class });
        }
    }

    fn next_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Ends a connection from this side.
    fn end(&mut self, connection: ConnectionId, breach: Breach) {
        let Some(peer) = self.sessions.get(&connection).map(|session| session.peer) else { return };
        let score = match breach.points {
            0 => self.scores.of(&peer, self.now),
            points => self.scores.add(peer, points, self.now),
        };
        let bye = Bye { code: breach.code, reason: Text::truncated(&breach.reason) };
        self.send(connection, &Message::Bye(bye), Class::High);
        self.forget(connection);
        let Breach { code, reason, .. } = breach;
        self.outputs.push_back(Output::Disconnect { connection, peer, code, reason, score });
    }

    /// Takes points from a peer; ends its connection when it has none left.
    fn punish(&mut self, connection: ConnectionId, points: i32, reason: &str) {
        let Some(peer) = self.sessions.get(&connection).map(|session| session.peer) else { return };
        self.scores.add(peer, points, self.now);
        if self.scores.is_banned(&peer, self.now) {
            self.end(connection, Breach { points: 0, ..Breach::violation(reason) });
        }
    }

    /// Lets go of a connection and of everything that was under way on it.
    fn forget(&mut self, connection: ConnectionId) {
        let Some(session) = self.sessions.remove(&connection) else { return };
        let peer = session.peer;
        self.asked.retain(|_, of| *of != connection);
        self.reads
            .retain(|_, read| !matches!(read, ReadFor::Serving { connection: of, .. } if *of == connection));
        self.forget_suspects_of(connection);
        self.forget_blob_source(connection);
        for (ask, _) in session.asks.values() {
            self.outputs.push_back(Output::Answered { ask: *ask, reply: None });
        }
        if session.is_member() {
            if self.connected.get(&peer) == Some(&connection) {
                self.connected.remove(&peer);
            }
            self.outputs.push_back(Output::PeerDisconnected { connection, peer });
        }
        self.unscheduled = true;
    }
}
