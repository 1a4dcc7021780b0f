//! The node on the network: the driver's host on one side, the node's [`Network`] on the other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use wfengine_api::Failure;
use wfengine_core::command::{Command, Refusal};
use wfengine_core::scheduler::{Beat, Presence};
use wfengine_core::time::Now;
use wfengine_protocol::{JoinAnswer, JoinDecision, JoinLine, JoinRefusal, JoinRequest};
use wfengine_quic::driver::{Documents, Driver, Host, HostFuture, Start};
use wfengine_quic::{Endpoint, Identity, Lan, LanError, Limits};
use wfengine_storage_format::{BlobId, Body, EventId, Grant, JobId, PeerAdmitted, PeerId};
use wfengine_store::AskError;
use wfengine_store::port::{PeerAsk, PortError, PortFuture};

use super::network::{Connected, Network, reachable_addresses};
use super::relays::Relays;
use super::{Node, held};
use crate::home::random;

/// Ports tried after the one asked for.
const FURTHER_PORTS: u16 = 16;
/// Bytes of a running log given in one answer.
const LOG_PART_BYTES: u64 = 60 * 1024;
/// How long a peer's answer about a log is waited for; one that has nothing new says so before.
const LOG_WAIT: Duration = Duration::from_secs(10);
/// How long copies are waited for.
const COPIES_WAIT: Duration = Duration::from_secs(60);
/// How often peers are asked again.
const COPIES_LOOK: Duration = Duration::from_millis(200);

/// How long a node that stops waits for a peer to hold its last event.
const HAND_OVER_WAIT: Duration = Duration::from_secs(5);
/// How often it asks for that.
const HAND_OVER_LOOK: Duration = Duration::from_millis(20);

/// Told what became of a request to join.
pub(crate) type Answered = tokio::sync::oneshot::Sender<Result<(), Failure>>;

/// The driver as the node's network.
pub(crate) struct Link {
    driver: Arc<Driver>,
    node: std::sync::Weak<Node>,
    relays: Relays,
}

impl Node {
    /// Binds the port, starts the driver and goes on the network. An invite is presented to whoever answers.
    pub(crate) fn go_online(
        self: &Arc<Self>,
        listen: &str,
        join: Option<&JoinLine>,
        answered: Option<Answered>,
    ) -> Result<Arc<Link>, Failure> {
        let address: SocketAddr = listen.parse().map_err(|_| {
            Failure::bad_input(format!(
                "--listen {listen}: expected ADDRESS:PORT, such as [::]:4433 or 0.0.0.0:4433"
            ))
        })?;
        let identity = Identity::new(self.home.signer.clone());
        let endpoint = Endpoint::bind(address, FURTHER_PORTS, identity, Limits::default())
            .map_err(|error| Failure::unreachable(error.to_string()))?;
        let local = endpoint.local_addr().map(|local| local.to_string()).unwrap_or_default();
        let name = self.home.name()?;
        let mut dial: Vec<String> = self.settings().addresses.into_iter().collect();
        if dial.is_empty()
            && let Ok(listed) = std::env::var("P2P_BOOTSTRAP_PEERS")
        {
            crate::terminal::note(
                "P2P_BOOTSTRAP_PEERS is read for compatibility; `wfengine peer add` keeps addresses for good",
            );
            dial.extend(listed.split(',').map(|peer| peer.trim().to_owned()).filter(|peer| !peer.is_empty()));
        }
        dial.extend(
            join.into_iter().flat_map(|line| line.addresses.iter().map(|address| address.to_string())),
        );
        let request = join.map(|line| {
            let system = crate::home::system_labels();
            (line.clone(), line.request(&self.peer_id(), &name, &system))
        });
        let host = NodeHost { node: Arc::clone(self), answered: std::sync::Mutex::new(answered) };
        let driver = Driver::start(Start {
            endpoint,
            recorder: self.store.recorder().clone(),
            watcher: self.watcher().clone(),
            blobs: self.blobs.clone(),
            host: Arc::new(host),
            name,
            software: env!("CARGO_PKG_VERSION").to_owned(),
            addresses: reachable_addresses(&local),
            dial,
            join: request,
            seed: random()?,
        });
        let (driver, node) = (Arc::new(driver), Arc::downgrade(self));
        let link = Arc::new(Link { driver, node, relays: Relays::default() });
        self.connect_network(Arc::clone(&link) as Arc<dyn Network>);
        Ok(link)
    }
}

impl Link {
    /// Waits a moment until a connected peer holds what this node wrote last, so that nobody begins again what ended here while its
    /// end was on the way.
    pub(crate) async fn hand_over(&self) {
        let Some(node) = self.node.upgrade() else { return };
        let chain = node.store.chain();
        let tip = node.watcher().frontier().chains.get(&chain).map(|chain| chain.tip);
        let Some(tip) = tip else { return };
        let handed_over = async {
            while !self.driver.links().is_empty() && self.driver.holders(tip, Vec::new()).await.is_empty() {
                tokio::time::sleep(HAND_OVER_LOOK).await;
            }
        };
        if tokio::time::timeout(HAND_OVER_WAIT, handed_over).await.is_err() {
            crate::terminal::note(
                "no peer said that it holds what this host wrote last: it is on disk here and goes out when this node serves again",
            );
        }
    }

    /// Announces this node on the local network and looks for members there. Not for a node that only this host can reach, and not a
    /// reason to stop where it is impossible.
    pub(crate) fn go_on_lan(&self) -> Option<Lan> {
        let node = self.node.upgrade()?;
        if self.driver.local_addr().is_ok_and(|local| local.ip().is_loopback()) {
            return None;
        }
        let watcher = node.watcher().clone();
        let is_member = move |peer: &PeerId| watcher.views().authority().roster().member(peer).is_some();
        let lan = self.driver.go_on_lan(node.cluster, node.peer_id(), is_member);
        let say = |error: &LanError| {
            crate::terminal::note(&format!(
                "members on the local network are not found by themselves: {error}; `wfengine peer add` names addresses"
            ));
        };
        lan.inspect_err(say).ok()
    }

    /// Leaves the network.
    pub(crate) async fn stop(&self) {
        self.driver.stop().await;
    }
}

impl PeerAsk for Link {
    fn fetch_blob(&self, id: BlobId) -> PortFuture<'_, ()> {
        Box::pin(self.driver.fetch_blob(id))
    }
    fn follow_log(&self, peer: PeerId, job: JobId, offset: u64) -> PortFuture<'_, Vec<u8>> {
        Box::pin(async move {
            let connected: Vec<PeerId> = self.driver.links().iter().map(|link| link.peer).collect();
            if connected.contains(&peer) {
                return self.log_at(peer, job, offset).await;
            }
            let Some(node) = self.node.upgrade() else { return Err(nobody_has_log(job)) };
            let ask = |through| {
                let driver = Arc::clone(&self.driver);
                async move { driver.follow_log(through, job, offset).await.ok() }
            };
            let read = self.relays.ask(peer, connected, node.clock.monotonic(), ask).await;
            read.ok_or_else(|| nobody_has_log(job))
        })
    }
}

impl Network for Link {
    fn send_beats(&self, beats: Vec<Beat>) {
        self.driver.send_beats(beats.iter().map(Beat::encode).collect());
    }

    fn local_address(&self) -> String {
        self.driver.local_addr().map(|address| address.to_string()).unwrap_or_default()
    }

    fn log_at(&self, peer: PeerId, job: JobId, offset: u64) -> PortFuture<'_, Vec<u8>> {
        Box::pin(async move {
            let answer = tokio::time::timeout(LOG_WAIT, self.driver.follow_log(peer, job, offset)).await;
            answer.unwrap_or_else(|_| Err(nobody_has_log(job)))
        })
    }

    fn connected(&self) -> Vec<Connected> {
        let links = self.driver.links();
        links
            .into_iter()
            .map(|link| Connected {
                peer: link.peer,
                address: link.address.to_string(),
                rtt_ms: link.rtt.as_secs_f64() * 1000.0,
                standing: link.standing,
            })
            .collect()
    }

    fn sent_bytes(&self) -> u64 {
        self.driver.sent_bytes()
    }

    fn documents(&self) -> Documents {
        self.driver.documents()
    }

    fn add_address(&self, address: String) {
        self.driver.add_address(address);
    }

    fn remove_address(&self, address: &str) {
        self.driver.remove_address(address);
    }

    fn wait_for_copies(
        &self,
        event: EventId,
        blobs: Vec<BlobId>,
        copies: u32,
    ) -> PortFuture<'_, Vec<PeerId>> {
        Box::pin(async move {
            let Some(node) = self.node.upgrade() else {
                return Err(PortError::Offline { what: "the submission".to_owned() });
            };
            let begun = node.clock.monotonic();
            loop {
                let holders = self.driver.holders(event, blobs.clone()).await;
                if holders.len() >= copies as usize {
                    return Ok(holders);
                }
                if node.clock.monotonic() - begun > COPIES_WAIT {
                    let what = format!(
                        "{copies} copies of it after {} s: {} of {} connected peers hold it; `wfengine sync --wait` waits again",
                        COPIES_WAIT.as_secs(),
                        holders.len(),
                        self.driver.links().len()
                    );
                    return Err(PortError::NobodyHas { what });
                }
                // peers tell what they hold when asked, not when it changes
                tokio::time::sleep(COPIES_LOOK).await;
            }
        })
    }
}

fn nobody_has_log(job: JobId) -> PortError {
    PortError::NobodyHas { what: format!("the log of job {}", job.short()) }
}

/// What the driver asks of the node.
struct NodeHost {
    node: Arc<Node>,
    answered: std::sync::Mutex<Option<Answered>>,
}

impl Host for NodeHost {
    fn now(&self) -> Now {
        self.node.clock.now()
    }

    fn beat(&self, bytes: &[u8]) -> bool {
        match Beat::decode(bytes) {
            Ok(beat) => self.node.schedule(|scheduler, views, now| scheduler.handle_beat(views, &beat, now)),
            Err(error) => {
                tracing::debug!(%error, "a beat was not understood");
                false
            }
        }
    }

    fn presence(&self, peer: PeerId, is_alive: bool) {
        let presence = if is_alive { Presence::Alive } else { Presence::Down };
        tracing::info!(%peer, ?presence, "membership");
        self.node.schedule(|scheduler, views, now| scheduler.handle_peer(views, peer, presence, now));
    }

    fn behind(&self, events: u64) {
        self.node.schedule(|scheduler, views, now| scheduler.handle_behind(views, events, now));
    }

    fn admit(&self, peer: PeerId, request: JoinRequest) -> HostFuture<JoinDecision> {
        let node = Arc::clone(&self.node);
        Box::pin(async move { admit(&node, peer, request).await })
    }

    fn log_part(&self, job: JobId, offset: u64) -> HostFuture<Option<(Vec<u8>, bool)>> {
        let path = self.node.running_log(&job);
        let node = Arc::clone(&self.node);
        Box::pin(async move {
            let Some(path) = path else { return relayed_log_part(&node, job, offset).await };
            tokio::task::spawn_blocking(move || {
                use std::io::{Read, Seek, SeekFrom};
                let mut file = std::fs::File::open(path).ok()?;
                file.seek(SeekFrom::Start(offset)).ok()?;
                let mut bytes = Vec::new();
                file.take(LOG_PART_BYTES).read_to_end(&mut bytes).ok()?;
                Some((bytes, false))
            })
            .await
            .ok()
            .flatten()
        })
    }

    fn rolled_back(&self, detail: String) {
        tracing::error!(
            detail,
            "this node fetches its own missing events and goes on under a new incarnation"
        );
    }

    fn join_answered(&self, answer: JoinAnswer) {
        if let Some(answered) = held(&self.answered).take() {
            let _ = answered.send(match answer {
                JoinAnswer::Admitted(_) => Ok(()),
                JoinAnswer::Refused(refusal) => Err(Failure::refused(refusal.to_string())),
            });
        }
    }

    fn turned_away(&self, reason: String) {
        if let Some(answered) = held(&self.answered).take() {
            let text = format!("the node that was asked turned this host away: {reason}");
            let _ = answered.send(Err(Failure::refused(text)));
        }
    }
}

/// Part of the log of a job that runs on a connected peer, for somebody who does not reach that peer. Never over a second peer in
/// between, so a question goes round in no circle.
async fn relayed_log_part(node: &Arc<Node>, job: JobId, offset: u64) -> Option<(Vec<u8>, bool)> {
    let network = node.network()?;
    let holder = node.look(|scheduler, views, _| {
        let run = scheduler.run_of(&job)?;
        let (_, job) = views.runs().live_job(&run, &job)?;
        job.holder().map(|claim| claim.peer())
    })?;
    let bytes = network.log_at(holder, job, offset).await.ok()?;
    Some((bytes, false))
}

/// Looks an invite up and admits its bearer.
async fn admit(node: &Arc<Node>, peer: PeerId, request: JoinRequest) -> JoinDecision {
    let invite = {
        let views = node.watcher().views();
        let authority = views.authority();
        if let Some(member) = authority.roster().member(&peer) {
            return Ok(member.admitted_by);
        }
        let known = authority.events().values().find_map(|event| match &event.body {
            Body::PeerInvited(body) if body.invite_key == request.invite_key => {
                Some((event.id, body.expires_ms))
            }
            _ => None,
        });
        let (invite, expires_ms) = known.ok_or(JoinRefusal::UnknownInvite)?;
        if authority.roster().invite_used_by(&invite).is_some() {
            return Err(JoinRefusal::Used);
        }
        if node.clock.wall().0 > expires_ms {
            return Err(JoinRefusal::Expired);
        }
        invite
    };
    let body = PeerAdmitted {
        peer,
        name: request.name.to_string(),
        system: request.system.iter().map(|label| label.to_string()).collect(),
        grant: Grant::Invite { invite, signature: request.signature },
    };
    match node.ask(Command::Admit(body)).await {
        Ok(receipt) => receipt.events.first().copied().ok_or(JoinRefusal::Busy),
        Err(AskError::Refused(Refusal::Invite { why, .. })) => {
            tracing::warn!(%peer, why, "an invite was refused");
            Err(JoinRefusal::Used)
        }
        Err(AskError::Refused(refusal @ Refusal::MustUpgrade { .. })) => {
            tracing::warn!(%peer, %refusal, "a peer was not admitted");
            Err(JoinRefusal::MustUpgrade)
        }
        Err(error) => {
            tracing::warn!(%peer, %error, "a peer was not admitted");
            Err(JoinRefusal::Busy)
        }
    }
}
