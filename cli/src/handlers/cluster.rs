//! Members, addresses, policy, the clock, and frames for audits.

use std::sync::Arc;

use data_encoding::BASE64;
use wfengine_api::Failure;
use wfengine_api::answers::{
    AllowView, ClockView, DigestView, DocumentsView, Imported, InviteView, PeerView, PeersView, StatusView,
    SyncPeer, SyncView,
};
use wfengine_core::command::Command;
use wfengine_core::views::VIEWS_VERSION;
use wfengine_core::views::job::Status;
use wfengine_protocol::join::JoinLine;
use wfengine_quic::driver::Documents;
use wfengine_storage_format::limits::CUTS_MAX;
use wfengine_storage_format::{
    BlobId, ChainCut, InviteKey, PeerDescribed, PeerInvited, PeerRevoked, Role, Roles, SignedFrame, Signer,
};
use wfengine_store::FrameOutcome;

use super::resolve;
use crate::home::{Settings, random};
use crate::node::{Mode, Node};

fn hex(hash: &[u8; 32]) -> String {
    BlobId::from_bytes(*hash).to_string()
}

pub(super) fn status(node: &Node) -> StatusView {
    let mut counts = std::collections::BTreeMap::<Status, u64>::new();
    let (peer, members) = {
        let views = node.watcher().views();
        for run in views.runs().all_live() {
            *counts.entry(run.status).or_default() += 1;
        }
        for finished in views.runs().finished().values() {
            *counts.entry(finished.status).or_default() += 1;
        }
        (views.peer_name(&node.peer_id()), views.authority().roster().members().len())
    };
    let count = |status: Status| counts.get(&status).copied().unwrap_or(0);
    let (queue_size, here, declines) = node.look(|scheduler, _, now| {
        (scheduler.open_jobs(), scheduler.held_claims().len(), scheduler.declines_all(now.monotonic))
    });
    let frontier = node.watcher().frontier();
    let settings = node.settings();
    StatusView {
        peer,
        peer_id: node.peer_id().to_string(),
        cluster: node.cluster.to_string(),
        serving: node.mode != Mode::Command,
        paused: settings.paused,
        pid: std::process::id(),
        listen: node.network().map(|network| network.local_address()),
        http: node.http(),
        data_dir: node.home.data.path().display().to_string(),
        pending: count(Status::Pending),
        assigned: count(Status::Assigned),
        in_progress: count(Status::InProgress),
        completed: count(Status::Completed),
        failed: count(Status::Failed),
        cancelled: count(Status::Cancelled),
        skipped: count(Status::Skipped),
        expired: count(Status::Expired),
        queue_size: queue_size as u64,
        known_peers: (members as u64).saturating_sub(1),
        connected_peers: node.network().map_or(0, |network| network.connected().len() as u64),
        runs_here: here as u64,
        clock_hash: hex(&frontier.clock_hash()),
        height: frontier.height(),
        events: frontier.events_len,
        frames: frontier.frames_len,
        documents: node.network().map(|network| documents(&network.documents())),
        allows: allows(node, &settings),
        discovers: if settings.discovery.on {
            settings.discovery.scopes().unwrap_or_default()
        } else {
            Vec::new()
        }
        .iter()
        .map(ToString::to_string)
        .collect(),
        discovery_trouble: node.discovery_trouble(),
        declines: declines.map(|reason| reason.text().to_owned()),
    }
}

fn documents(documents: &Documents) -> DocumentsView {
    let Documents { open, changes, rebuilt, disagreements, given_up } = documents;
    DocumentsView {
        open: open.len() as u64,
        changes: *changes,
        rebuilt: *rebuilt,
        disagreements: *disagreements,
        given_up: *given_up,
    }
}

fn allows(node: &Node, settings: &Settings) -> AllowView {
    let views = node.watcher().views();
    let name = |peer: &String| peer.parse().map_or_else(|_| peer.clone(), |id| views.peer_name(&id));
    AllowView {
        any: settings.allow_any,
        peers: settings.allow_peers.iter().map(name).collect(),
        repositories: settings.allow_repositories.iter().cloned().collect(),
    }
}

pub(super) fn clock(node: &Node) -> ClockView {
    let frontier = node.watcher().frontier().clone();
    let views = node.watcher().views();
    let names: Vec<String> = frontier.vector().keys().map(|peer| views.peer_name(peer)).collect();
    let unique = |name: &String| names.iter().filter(|other| *other == name).count() == 1;
    ClockView {
        node_id: views.peer_name(&node.peer_id()),
        vector: frontier
            .vector()
            .into_iter()
            .map(|(peer, events)| {
                let name = views.peer_name(&peer);
                (if unique(&name) { name } else { peer.to_string() }, events)
            })
            .collect(),
        merkle_root: hex(&frontier.clock_hash()),
        heads: frontier.heads.iter().map(|tip| tip.id.to_string()).collect(),
        height: frontier.height(),
    }
}

pub(super) async fn invite(
    node: &Arc<Node>,
    expires_ms: u64,
    roles: &[String],
    labels: Vec<String>,
    allow_jobs: bool,
) -> Result<InviteView, Failure> {
    let mut granted = Roles::NONE;
    for word in roles {
        let role = Role::ALL.into_iter().find(|role| role.name() == word).ok_or_else(|| {
            let words: Vec<&str> = Role::ALL.iter().map(|role| role.name()).collect();
            Failure::bad_input(format!("--roles {word}: expected some of {}", words.join(", ")))
        })?;
        granted = granted.with(role);
    }
    let Some(network) = node.network() else {
        return Err(Failure::unreachable(
            "nobody listens on this host, so nobody could join: start `wfengine serve` first",
        ));
    };
    let addresses = crate::node::network::reachable_addresses(&network.local_address());
    let seed = random::<32>()?;
    let key = Signer::from_seed(&seed);
    let expires = node.clock.wall().0.saturating_add(expires_ms);
    let body = PeerInvited { invite_key: InviteKey::of(&key), roles: granted, labels, expires_ms: expires };
    node.ask(Command::Invite(body)).await?;
    let token = JoinLine::new(node.cluster, seed, allow_jobs, &addresses);
    let flag = if allow_jobs { " --allow-jobs" } else { "" };
    Ok(InviteView {
        join_line: format!("wfengine peer join {token}{flag} --serve"),
        expires_ms: expires,
        addresses,
        allow_jobs,
    })
}

pub(super) fn peers(node: &Node) -> PeersView {
    let connected = node.network().map(|network| network.connected()).unwrap_or_default();
    let alive = node.look(|scheduler, _, _| scheduler.peers_alive());
    let views = node.watcher().views();
    let peers = views
        .authority()
        .roster()
        .members()
        .iter()
        .map(|(id, member)| {
            let me = *id == node.peer_id();
            let link = connected.iter().find(|link| link.peer == *id);
            let described = views.peers().described(id);
            PeerView {
                name: views.peer_name(id),
                id: id.to_string(),
                me,
                roles: member.roles.names().into_iter().map(str::to_owned).collect(),
                labels: member.labels.union(&member.system).cloned().collect(),
                weight: member.weight,
                alive: node.network().map(|_| me || alive.contains(id)),
                connected: link.map(|link| link.address.clone()),
                rtt_ms: link.map(|link| link.rtt_ms),
                addresses: described.map(|described| described.addresses.clone()).unwrap_or_default(),
                version: described.map(|described| described.version.clone()).unwrap_or_default(),
            }
        })
        .collect();
    PeersView { peers, addresses: node.settings().addresses.into_iter().collect() }
}

pub(super) fn add_address(node: &Node, address: String) -> Result<(), Failure> {
    check_address(&address)?;
    node.change_settings(|settings| {
        settings.addresses.insert(address.clone());
    })?;
    if let Some(network) = node.network() {
        network.add_address(address);
    }
    Ok(())
}

fn check_address(address: &str) -> Result<(), Failure> {
    let port = address
        .rsplit_once(':')
        .and_then(|(host, port)| port.parse::<u16>().ok().filter(|_| !host.is_empty()));
    match port {
        Some(_) if address.len() <= 256 => Ok(()),
        _ => Err(Failure::bad_input(format!("`{address}`: expected HOST:PORT, such as lab-3.local:4433"))),
    }
}

pub(super) async fn remove(node: &Arc<Node>, peer: &str, reason: String) -> Result<String, Failure> {
    if node.settings().addresses.contains(peer) {
        node.change_settings(|settings| {
            settings.addresses.remove(peer);
        })?;
        if let Some(network) = node.network() {
            network.remove_address(peer);
        }
        return Ok(format!("forgot the address {peer}; no member was revoked"));
    }
    let id = resolve::peer(node, peer)?;
    if id == node.peer_id() {
        return Err(Failure::refused(format!(
            "`{peer}` is this node itself: ask another admin to remove it, or leave the cluster with `wfengine peer join` of another"
        )));
    }
    let cuts: Vec<ChainCut> = {
        let frontier = node.watcher().frontier();
        let mut chains: Vec<_> = frontier.chains.iter().filter(|(chain, _)| chain.author == id).collect();
        // an event holds so many cuts; of an author with more chains the latest count
        chains.sort_by_key(|(_, state)| std::cmp::Reverse(state.height));
        chains.truncate(CUTS_MAX);
        chains.sort_by_key(|(chain, _)| chain.incarnation);
        chains
            .into_iter()
            .map(|(chain, state)| ChainCut { incarnation: chain.incarnation, length: state.length })
            .collect()
    };
    let name = node.watcher().views().peer_name(&id);
    node.ask(Command::Revoke(PeerRevoked { peer: id, reason, cuts })).await?;
    Ok(format!("revoked {name} ({}): what it wrote until here counts, nothing after", id.short()))
}

pub(super) fn allow(
    node: &Node,
    peers: &[String],
    repositories: &[String],
    any: bool,
    none: bool,
) -> Result<AllowView, Failure> {
    let mut ids = Vec::new();
    for peer in peers {
        ids.push(resolve::peer(node, peer)?.to_string());
    }
    let wrong = repositories
        .iter()
        .find(|repository| repository.split('/').filter(|part| !part.is_empty()).count() != 2);
    if let Some(wrong) = wrong {
        return Err(Failure::bad_input(format!("--repo {wrong}: expected owner/name")));
    }
    let settings = node.change_settings(|settings| {
        if none {
            settings.allow_any = false;
            settings.allow_peers.clear();
            settings.allow_repositories.clear();
        }
        settings.allow_any |= any;
        settings.allow_peers.extend(ids);
        settings.allow_repositories.extend(repositories.iter().cloned());
    })?;
    Ok(allows(node, &settings))
}

pub(super) async fn init(
    node: &Arc<Node>,
    name: Option<String>,
    addresses: Vec<String>,
) -> Result<StatusView, Failure> {
    for address in &addresses {
        check_address(address)?;
    }
    let settings = node.change_settings(|settings| {
        if let Some(name) = &name {
            settings.name.clone_from(name);
        }
        settings.addresses.extend(addresses);
    })?;
    if name.is_some() {
        describe(node, settings.name).await?;
    }
    Ok(status(node))
}

/// Tells the cluster what this node is called and where it can be reached.
pub(crate) async fn describe(node: &Arc<Node>, name: String) -> Result<(), Failure> {
    let local = node.network().map(|network| network.local_address());
    let addresses = local.map(|local| crate::node::network::reachable_addresses(&local)).unwrap_or_default();
    let body = PeerDescribed { name, addresses, version: env!("CARGO_PKG_VERSION").to_owned() };
    node.ask(Command::Describe(body)).await?;
    Ok(())
}

pub(super) async fn sync(node: &Arc<Node>, wait: bool, copies: u32) -> Result<SyncView, Failure> {
    let mut holders = Vec::new();
    if wait {
        let Some(network) = node.network() else {
            return Err(Failure::unreachable(
                "no node is running here: start `wfengine serve`, then ask again",
            ));
        };
        let (head, blobs) = own_head(node);
        if let Some(head) = head {
            let peers = network.wait_for_copies(head, blobs, copies).await;
            let peers = peers.map_err(|error| Failure::unreachable(error.to_string()))?;
            let views = node.watcher().views();
            holders = peers.iter().map(|peer| views.peer_name(peer)).collect();
        }
    }
    let frontier = node.watcher().frontier().clone();
    let connected = node.network().map(|network| network.connected()).unwrap_or_default();
    let views = node.watcher().views();
    let peers = connected
        .into_iter()
        .map(|link| SyncPeer {
            name: views.peer_name(&link.peer),
            address: link.address,
            rtt_ms: link.rtt_ms,
            lacks: link.standing.map(|standing| standing.lacks),
            unconfirmed: link.standing.map(|standing| standing.unconfirmed),
            owes: link.standing.map(|standing| standing.owes),
        })
        .collect();
    Ok(SyncView {
        clock_hash: hex(&frontier.clock_hash()),
        events: frontier.events_len,
        frames: frontier.frames_len,
        peers,
        copies: holders,
    })
}

/// This node's last event and the sources of its open runs.
fn own_head(node: &Node) -> (Option<wfengine_storage_format::EventId>, Vec<BlobId>) {
    let own = node.peer_id();
    let head = {
        let frontier = node.watcher().frontier();
        let chains = frontier.chains.iter().filter(|(chain, _)| chain.author == own);
        chains.max_by_key(|(_, state)| state.height).map(|(_, state)| state.tip)
    };
    let views = node.watcher().views();
    let sources = views
        .runs()
        .all_live()
        .filter(|run| !run.status.is_terminal())
        .filter(|run| run.submission().is_some_and(|submission| submission.author == own))
        .filter_map(|run| match &run.submitted.as_ref()?.spec {
            wfengine_storage_format::RunSpec::Workflow(spec) => Some(spec.source),
            wfengine_storage_format::RunSpec::Task { .. } => None,
        })
        .collect();
    (head, sources)
}

pub(super) fn pause(node: &Node, paused: bool) -> Result<StatusView, Failure> {
    node.change_settings(|settings| settings.paused = paused)?;
    Ok(status(node))
}

pub(super) fn frames(node: &Node, from: u64, len_max: usize) -> Result<Vec<String>, Failure> {
    const BYTES_MAX: usize = 4 * 1024 * 1024;
    let mut bytes = 0;
    let frames = node.watcher().raw_frames(from, len_max.min(4096))?;
    let fits = |(_, frame): &(u64, Vec<u8>)| {
        let first = bytes == 0;
        bytes += frame.len();
        first || bytes <= BYTES_MAX
    };
    Ok(frames.into_iter().take_while(fits).map(|(_, frame)| BASE64.encode(&frame)).collect())
}

pub(super) async fn import(node: &Arc<Node>, frames: &[String]) -> Result<Imported, Failure> {
    let mut verified = Vec::new();
    for text in frames {
        let bytes = BASE64.decode(text.as_bytes()).map_err(|error| Failure::bad_input(error.to_string()))?;
        let frame = SignedFrame::decode(&bytes).and_then(SignedFrame::verify);
        verified.push(frame.map_err(|error| Failure::bad_input(error.to_string()))?);
    }
    let outcomes = node.store.recorder().take(verified, node.peer_id(), node.clock.wall()).await?;
    let mut imported = Imported::default();
    for outcome in outcomes {
        match outcome {
            FrameOutcome::Admitted => imported.admitted += 1,
            FrameOutcome::Duplicate => imported.duplicate += 1,
            FrameOutcome::Waiting(_) => imported.waiting += 1,
            FrameOutcome::NoRoom => imported.refused.push("too many frames wait for others".to_owned()),
            FrameOutcome::Forked => {
                imported.refused.push("a frame contradicts the log: a fork was proved".to_owned())
            }
            FrameOutcome::Rejected(why) => imported.refused.push(why),
        }
    }
    Ok(imported)
}

pub(super) async fn blob(node: &Node, id: &str) -> Result<String, Failure> {
    let id: BlobId = id
        .parse()
        .map_err(|error: wfengine_storage_format::IdError| Failure::bad_input(error.to_string()))?;
    Ok(BASE64.encode(&crate::node::blob(node, id).await?))
}

pub(super) fn digest(node: &Node) -> DigestView {
    let view_digest = hex(&node.watcher().view_digest());
    let frontier = node.watcher().frontier();
    DigestView {
        cluster: node.cluster.to_string(),
        view_digest,
        views_version: VIEWS_VERSION,
        clock_hash: hex(&frontier.clock_hash()),
        events: frontier.events_len,
        frames: frontier.frames_len,
    }
}
