//! The task that owns the exchange and the failure detector, and performs what they want.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use wfengine_core::time::{Monotonic, WallMs};
use wfengine_protocol::membership::Liveness;
use wfengine_protocol::message::{JoinAnswer, JoinRequest};
use wfengine_protocol::output::JoinDecision;
use wfengine_protocol::{
    AskId, ByeCode, Class, Config, ConnectionId, Datagram, Exchange, FramesRead, Frontier, IngestBudget,
    Membership, Output, Question, Reply, RequestId, Role,
};
use wfengine_storage_format::{BlobId, EventId, JobId, PeerId, VerifiedFrame};
use wfengine_store::{Blobs, Committed, Recorder, Watcher};

use super::admitting::{NotCommitted, carry};
use super::asking::Asked;
use super::book::Book;
use super::keeping::{Keeping, Kept, OFFERED_BYTES_MAX};
use super::serving::SegmentStarts;
use super::wire::{Wire, accept, dial};
use super::{Host, Link, Start};
use crate::{CloseCode, Closed, Connection, Endpoint, Priority};

/// Messages that wait for the machine before readers hold their connections up.
const MESSAGES_WAITING_MAX: usize = 64;
/// Datagrams that wait for the machine; more are dropped, as any network may.
const DATAGRAMS_WAITING_MAX: usize = 1_024;
/// Outputs performed before sockets are looked at again.
const OUTPUTS_AT_ONCE: usize = 64;
/// How often the table of links is brought up to date.
const LINKS_EVERY: Duration = Duration::from_millis(500);
/// How often it is counted what this node lacks.
const BEHIND_EVERY: Duration = Duration::from_millis(100);
/// How long a joiner's own invite is presented again after a connection was lost.
const REDIAL_TICK: Duration = Duration::from_secs(1);

/// Something a small task tells the machine.
#[derive(Debug)]
pub(super) enum Input {
    Connected { connection: Connection, role: Role, dialled: Option<String> },
    DialFailed(String),
    Gone(ConnectionId, Option<Closed>),
    Sent(ConnectionId, usize),
    NotCommitted(Vec<NotCommitted>),
    Frames(RequestId, FramesRead),
    BlobRead(RequestId, Option<(u64, Vec<u8>)>),
    BlobKept(BlobId, Kept),
    JoinDecided(ConnectionId, JoinDecision),
    Replied(ConnectionId, u32, Reply),
}

/// Something the node asks of its driver.
#[derive(Debug)]
pub(super) enum Control {
    Beats(Vec<Vec<u8>>),
    AddAddress(String),
    Seen(PeerId, Vec<String>),
    RemoveAddress(String),
    FetchBlob(BlobId, oneshot::Sender<bool>),
    FollowLog { peer: PeerId, job: JobId, offset: u64, done: oneshot::Sender<Option<Vec<u8>>> },
    Holders { event: EventId, blobs: Vec<BlobId>, done: oneshot::Sender<Vec<PeerId>> },
}

pub(super) struct Machine {
    pub(super) endpoint: Endpoint,
    pub(super) watcher: Watcher,
    pub(super) recorder: Recorder,
    /// The other members, as of the last roster.
    pub(super) members: BTreeSet<PeerId>,
    pub(super) blobs: Blobs,
    pub(super) host: Arc<dyn Host>,
    pub(super) exchange: Exchange,
    pub(super) membership: Membership,
    join: Option<(wfengine_protocol::JoinLine, JoinRequest)>,
    /// Where the invite is being presented.
    presenting: Option<ConnectionId>,
    wires: BTreeMap<ConnectionId, Wire>,
    next_connection: u64,
    pub(super) book: Book,
    keeping: Keeping,
    pub(super) starts: SegmentStarts,
    pub(super) asked: BTreeMap<AskId, Asked>,
    links: Arc<Mutex<Vec<Link>>>,
    links_due: Monotonic,
    pub(super) sent_bytes: Arc<AtomicU64>,
    pub(super) inputs: mpsc::UnboundedSender<Input>,
    messages: mpsc::Sender<(ConnectionId, Vec<u8>)>,
    datagrams: mpsc::Sender<(ConnectionId, Vec<u8>)>,
    admitting: mpsc::UnboundedSender<(VerifiedFrame, PeerId, WallMs)>,
    received: Option<Receivers>,
    pub(super) frames_told: u64,
    /// How many events peers have that this node lacks, and when that is counted again; `None` when it lacks nothing.
    behind: Option<(u64, Monotonic)>,
}

struct Receivers {
    inputs: mpsc::UnboundedReceiver<Input>,
    messages: mpsc::Receiver<(ConnectionId, Vec<u8>)>,
    datagrams: mpsc::Receiver<(ConnectionId, Vec<u8>)>,
    news: broadcast::Receiver<Arc<Committed>>,
}

impl Machine {
    pub(super) fn new(
        start: Start,
        _controls: mpsc::UnboundedSender<Control>,
        links: Arc<Mutex<Vec<Link>>>,
    ) -> Self {
        let (inputs, input) = mpsc::unbounded_channel();
        let (messages, message) = mpsc::channel(MESSAGES_WAITING_MAX);
        let (datagrams, datagram) = mpsc::channel(DATAGRAMS_WAITING_MAX);
        let (admitting, admitted) = mpsc::unbounded_channel();
        let recorder = start.recorder;
        tokio::spawn(carry(admitted, recorder.clone(), inputs.clone()));
        let now = start.host.now().monotonic;
        let news = start.watcher.subscribe();
        let (frontier, frames_told, starts) = {
            let frontier = start.watcher.frontier();
            let own = frontier.chains.keys().filter(|chain| chain.author == start.endpoint.peer_id()).count();
            (Frontier::of(&frontier.chains), frontier.frames_len, own as u64 + 1)
        };
        let me = start.endpoint.peer_id();
        let config = Config {
            me,
            cluster: start.watcher.cluster(),
            name: start.name,
            software: start.software,
            addresses: start.addresses,
            seed: start.seed,
            budget: IngestBudget::default(),
        };
        let mut other_seed = start.seed;
        other_seed.reverse();
        let mut book = Book::default();
        for address in start.dial {
            book.add_by_hand(address, now);
        }
        let mut machine = Self {
            exchange: Exchange::new(config, frontier, [], now),
            membership: Membership::new(me, starts, other_seed),
            endpoint: start.endpoint,
            watcher: start.watcher,
            recorder,
            members: BTreeSet::new(),
            blobs: start.blobs,
            host: start.host,
            join: start.join,
            presenting: None,
            wires: BTreeMap::new(),
            next_connection: 0,
            book,
            keeping: Keeping::default(),
            starts: SegmentStarts::default(),
            asked: BTreeMap::new(),
            links,
            links_due: now,
            sent_bytes: Arc::default(),
            inputs,
            messages,
            datagrams,
            admitting,
            received: Some(Receivers { inputs: input, messages: message, datagrams: datagram, news }),
            frames_told,
            behind: None,
        };
        machine.take_roster();
        machine
    }

    pub(super) fn now(&self) -> Monotonic {
        self.host.now().monotonic
    }

    /// Runs until it is told to stop.
    pub(super) async fn run(
        mut self,
        mut controls: mpsc::UnboundedReceiver<Control>,
        mut stop: watch::Receiver<bool>,
    ) {
        let Some(mut received) = self.received.take() else { return };
        let accepting = tokio::spawn(accept(self.endpoint.clone(), self.inputs.clone()));
        loop {
            // here and not in a branch below, where whoever sends without a break would keep it from ever being reached
            self.pass_time();
            self.dial_due();
            let more = self.perform_some();
            self.show_links();
            self.tell_behind();
            let due = self.next_due();
            let now = self.now();
            let soon = more || due <= now;
            let wait = if soon { Duration::ZERO } else { due - now };
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                Some(input) = received.inputs.recv() => self.take_input(input),
                commit = received.news.recv() => self.take_commit(commit, &mut received.news),
                Some(control) = controls.recv() => self.take_control(control),
                Some((id, bytes)) = received.datagrams.recv() => {
                    let now = self.now();
                    self.exchange.handle_datagram(id, &bytes, now);
                }
                Some((id, bytes)) = received.messages.recv() => {
                    let now = self.now();
                    self.exchange.handle_message(id, &bytes, now);
                }
                // a sleep of nothing lasts until the clock of the runtime ticks
                () = tokio::task::yield_now(), if soon => {}
                () = tokio::time::sleep(wait), if !soon => {}
            }
        }
        let now = self.now();
        self.membership.leave(now);
        while self.perform_some() {}
        accepting.abort();
        for wire in self.wires.values() {
            wire.connection.close(CloseCode::STOPPING, "the node stops");
        }
        self.endpoint.close(CloseCode::STOPPING, "the node stops");
        let _ = tokio::time::timeout(Duration::from_secs(1), self.endpoint.wait_idle()).await;
    }

    fn pass_time(&mut self) {
        let now = self.now();
        if self.exchange.poll_timeout().is_some_and(|due| due <= now) {
            self.exchange.handle_timeout(now);
        }
        if self.membership.poll_timeout().is_some_and(|due| due <= now) {
            self.membership.handle_timeout(now);
        }
    }

    fn next_due(&self) -> Monotonic {
        let connected: BTreeSet<PeerId> = self.exchange.connected_members().collect();
        let dial = self.book.next_due(&connected).map(|due| due.max(self.now() + Duration::from_millis(50)));
        let behind = self.behind.map(|(_, due)| due);
        [self.exchange.poll_timeout(), self.membership.poll_timeout(), dial, behind]
            .into_iter()
            .flatten()
            .fold(self.links_due, Monotonic::min)
    }

    /// Performs outputs until there are none, or many. Whether there may be more.
    fn perform_some(&mut self) -> bool {
        while let Some(liveness) = self.membership.poll_output() {
            match liveness {
                Liveness::Send { to, packet } => {
                    self.exchange.send_datagram(&to, Datagram::Swim(&packet));
                }
                Liveness::PeerUp(peer) => self.host.presence(peer, true),
                Liveness::PeerDown(peer) => self.host.presence(peer, false),
            }
        }
        for _ in 0..OUTPUTS_AT_ONCE {
            match self.exchange.poll_output() {
                Some(output) => self.perform(output),
                None => return false,
            }
        }
        true
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Send { to, message, class } => {
                if let Some(wire) = self.wires.get(&to) {
                    let priority = match class {
                        Class::High => Priority::High,
                        Class::Normal => Priority::Normal,
                        Class::Low => Priority::Low,
                    };
                    let _ = wire.outgoing.send((message, priority));
                }
            }
            Output::Datagram { to, bytes } => {
                if let Some(wire) = self.wires.get(&to) {
                    // a datagram that is lost is lost; the next one tells the same
                    let _ = wire.connection.send_datagram(bytes);
                }
            }
            Output::Accepted { connection } => {
                if let Some(wire) = self.wires.get_mut(&connection) {
                    wire.connection.authenticated();
                }
            }
            Output::Disconnect { connection, code, reason, score, .. } => {
                self.turned_away(connection, CloseCode(code as u32), &reason);
                if let Some(wire) = self.wires.remove(&connection) {
                    let is_expected = self.join.is_some() || code == ByeCode::Duplicate;
                    tell_end(&wire, is_expected, &format!("{reason} (score {score})"));
                    wire.connection.close(CloseCode(code as u32), &reason);
                    self.lost(&wire);
                }
            }
            Output::Read { request, chain, from_seq, whole_segment, max_bytes } => {
                let (starts, watcher, inputs) =
                    (self.starts.clone(), self.watcher.clone(), self.inputs.clone());
                tokio::task::spawn_blocking(move || {
                    let read = starts.read(&watcher, &chain, from_seq, whole_segment, max_bytes);
                    let read = read.unwrap_or_else(|error| {
                        tracing::error!(%error, %chain, "frames for a peer cannot be read");
                        FramesRead::default()
                    });
                    let _ = inputs.send(Input::Frames(request, read));
                });
            }
            Output::Admit { frame, from } => {
                let _ = self.admitting.send((frame, from, self.host.now().wall));
            }
            Output::ReadBlob { request, blob, offset, len } => {
                let (blobs, inputs) = (self.blobs.clone(), self.inputs.clone());
                tokio::task::spawn_blocking(move || {
                    let read = blobs.len(&blob).and_then(|total| {
                        let bytes =
                            if len == 0 { Ok(Vec::new()) } else { blobs.range(&blob, offset, len as usize) };
                        bytes.ok().map(|bytes| (total, bytes))
                    });
                    let _ = inputs.send(Input::BlobRead(request, read));
                });
            }
            Output::StoreBlobRange { blob, offset, total, bytes, .. } => {
                self.keeping.take(&self.blobs, blob, offset, total, &bytes, &self.inputs);
            }
            Output::BlobNowhere { blob } => self.keeping.tell(&blob, false),
            Output::BlobOffered { blob, len, .. } => {
                if len <= OFFERED_BYTES_MAX && !self.blobs.has(&blob) {
                    let now = self.now();
                    self.exchange.want_blob(blob, 0, now);
                }
            }
            Output::JoinAsked { connection, peer, request } => {
                let (decision, inputs) = (self.host.admit(peer, *request), self.inputs.clone());
                tokio::spawn(async move {
                    let decision = decision.await;
                    let _ = inputs.send(Input::JoinDecided(connection, decision));
                });
            }
            Output::JoinAnswered { answer, .. } => {
                if matches!(answer, JoinAnswer::Admitted(_)) {
                    self.join = None;
                }
                self.host.join_answered(answer);
            }
            Output::PeerConnected { connection, peer, addresses, .. } => {
                let now = self.now();
                if let Some(wire) = self.wires.get_mut(&connection) {
                    wire.is_member = true;
                }
                self.book.connected(&peer, now);
                self.book.set_of(peer, &addresses, now);
                self.membership.peer_connected(&peer, now);
                self.links_due = now;
            }
            Output::PeerDisconnected { peer, .. } => {
                let now = self.now();
                self.book.lost(&peer, now);
                self.links_due = now;
            }
            Output::SelfRollback { peer, theirs, ours } => {
                self.host.rolled_back(format!(
                    "peer {} holds {} events of this node's chain {}, this node {ours}: its data directory was restored or copied",
                    peer.short(),
                    theirs.length,
                    theirs.chain
                ));
            }
            Output::Asked { connection, number, question, .. } => self.answer(connection, number, question),
            Output::Answered { ask, reply } => self.answered(ask, reply),
            Output::Beat { from, bytes } => {
                if self.host.beat(&bytes) {
                    self.pass_on(&from, &bytes);
                }
            }
            Output::Swim { bytes, .. } => {
                let now = self.now();
                self.membership.handle_datagram(&bytes, now);
            }
        }
    }

    /// Beats reach members that their author is not connected with.
    fn pass_on(&mut self, from: &PeerId, beat: &[u8]) {
        let others: Vec<PeerId> = self.exchange.connected_members().filter(|peer| peer != from).collect();
        for peer in others {
            self.exchange.send_datagram(&peer, Datagram::Beat(beat));
        }
    }

    fn take_input(&mut self, input: Input) {
        let now = self.now();
        match input {
            Input::Connected { connection, role, dialled } => self.connected(connection, &role, dialled),
            Input::DialFailed(address) => self.book.failed(&address, now),
            Input::Gone(id, closed) => {
                if let Some(Closed::ByPeer { code, reason }) = &closed {
                    self.turned_away(id, *code, reason);
                }
                if let Some(wire) = self.wires.remove(&id) {
                    // the end may overtake the message that says the same
                    if let Some(closed) = closed {
                        let refusals =
                            [ByeCode::NotAMember, ByeCode::WrongCluster, ByeCode::Version, ByeCode::Banned];
                        let is_refusal = matches!(&closed, Closed::ByPeer { code, .. }
                            if refusals.iter().any(|refusal| *refusal as u32 == code.0));
                        tell_end(&wire, self.join.is_some() || !is_refusal, &closed.to_string());
                    }
                    self.exchange.disconnected(id, now);
                    self.lost(&wire);
                }
            }
            Input::Sent(id, bytes) => {
                self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                self.exchange.handle_sent(id, bytes, now);
            }
            Input::NotCommitted(frames) => {
                for (chain, end_seq, outcome) in frames {
                    self.exchange.handle_outcome(&chain, end_seq, outcome, now);
                }
            }
            Input::Frames(request, read) => self.exchange.handle_frames(request, &read, now),
            Input::BlobRead(request, read) => self.exchange.handle_blob(request, read, now),
            Input::BlobKept(blob, Kept::NotWritten) => {
                tracing::warn!(%blob, "a blob from a peer cannot be written here");
                self.exchange.forget_blob(&blob);
                self.keeping.tell(&blob, false);
            }
            Input::BlobKept(blob, kept) => {
                self.exchange.handle_blob_stored(&blob, kept == Kept::Yes, now);
                if kept == Kept::Yes {
                    self.keeping.tell(&blob, true);
                }
            }
            Input::JoinDecided(id, decision) => self.exchange.answer_join(id, decision, now),
            Input::Replied(id, number, reply) => self.exchange.reply(id, number, reply, now),
        }
    }

    /// A joiner that is told why it cannot come in need not try again. The reason may arrive as a message or only with the end of
    /// the connection.
    fn turned_away(&self, id: ConnectionId, code: CloseCode, reason: &str) {
        let last_words = [ByeCode::WrongCluster, ByeCode::Version, ByeCode::JoinRefused, ByeCode::Banned];
        if self.presenting == Some(id)
            && self.join.is_some()
            && last_words.iter().any(|last| *last as u32 == code.0)
        {
            self.host.turned_away(reason.to_owned());
        }
    }

    fn lost(&mut self, wire: &Wire) {
        let now = self.now();
        if wire.is_member {
            self.book.lost(&wire.peer, now);
        }
        self.links_due = now;
    }

    fn connected(&mut self, connection: Connection, role: &Role, dialled: Option<String>) {
        let (now, peer) = (self.now(), connection.peer_id());
        if let Some(address) = &dialled {
            self.book.reached(address, peer, now);
        }
        self.next_connection += 1;
        let id = ConnectionId(self.next_connection);
        if matches!(role, Role::Joiner(_)) {
            self.presenting = Some(id);
        }
        let wire = Wire::start(id, connection, self.messages.clone(), self.datagrams.clone(), &self.inputs);
        self.wires.insert(id, wire);
        self.exchange.connected(id, peer, role, now);
    }

    fn take_control(&mut self, control: Control) {
        let now = self.now();
        match control {
            Control::Beats(beats) => {
                let members: Vec<PeerId> = self.exchange.connected_members().collect();
                for (peer, beat) in members.iter().flat_map(|peer| beats.iter().map(move |beat| (peer, beat)))
                {
                    self.exchange.send_datagram(peer, Datagram::Beat(beat));
                }
            }
            Control::AddAddress(address) => self.book.add_by_hand(address, now),
            Control::Seen(peer, addresses) => {
                if self.members.contains(&peer) {
                    self.book.set_seen(peer, &addresses, now);
                }
            }
            Control::RemoveAddress(address) => self.book.remove(&address),
            Control::FetchBlob(blob, done) => {
                if self.blobs.has(&blob) {
                    let _ = done.send(true);
                } else {
                    self.keeping.wait(blob, done);
                    self.exchange.want_blob(blob, 0, now);
                }
            }
            Control::FollowLog { peer, job, offset, done } => {
                match self.exchange.ask(&peer, Question::LogFollow { job, offset }, now) {
                    Some(ask) => {
                        self.asked.insert(ask, Asked::Log(done));
                    }
                    None => {
                        let _ = done.send(None);
                    }
                }
            }
            Control::Holders { event, blobs, done } => self.ask_holders(event, &blobs, done),
        }
    }

    /// Dials what is due. A node that still has an invite to present presents it to whoever answers.
    fn dial_due(&mut self) {
        let connected: BTreeSet<PeerId> = self.exchange.connected_members().collect();
        let now = self.now();
        if self.join.is_some() && !self.wires.is_empty() {
            return;
        }
        for (address, peer) in self.book.due(&connected, now) {
            let role = match &self.join {
                Some((_, request)) => Role::Joiner(Box::new(request.clone())),
                None => Role::Dialler,
            };
            tokio::spawn(dial(self.endpoint.clone(), address, peer, role, self.inputs.clone()));
        }
    }

    /// Says how far this node is behind its peers, whenever that changed.
    fn tell_behind(&mut self) {
        let now = self.now();
        if self.behind.is_some_and(|(_, due)| now < due) {
            return;
        }
        let events = self.exchange.behind();
        if events != self.behind.map_or(0, |(events, _)| events) {
            self.host.behind(events);
        }
        self.behind = (events > 0).then_some((events, now + BEHIND_EVERY));
    }

    fn show_links(&mut self) {
        let now = self.now();
        if now < self.links_due {
            return;
        }
        self.links_due = now + if self.join.is_some() { REDIAL_TICK } else { LINKS_EVERY };
        let members: BTreeSet<PeerId> = self.exchange.connected_members().collect();
        let mut shown: Vec<Link> = self
            .wires
            .values()
            .filter(|wire| wire.is_member && members.contains(&wire.peer))
            .map(|wire| Link {
                peer: wire.peer,
                address: wire.connection.remote_addr(),
                rtt: wire.connection.rtt(),
                standing: self.exchange.standing(&wire.peer),
            })
            .collect();
        shown.sort_by_key(|link| link.peer);
        shown.dedup_by_key(|link| link.peer);
        *self.links.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    }
}

/// Says that a connection ended: in passing among members, and loudly when one side takes the other for a stranger.
fn tell_end(wire: &Wire, is_expected: bool, reason: &str) {
    let (peer, address) = (wire.peer, wire.connection.remote_addr());
    if wire.is_member || is_expected {
        tracing::info!(%peer, %address, reason, "disconnected");
    } else {
        tracing::warn!(%peer, %address, reason, "a stranger was turned away, or turns this node away");
    }
}
