//! What the dialects have in common: numbers, tags, times, members.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wfengine_storage_format::limits::PRIORITY_MILLI_MAX;
use wfengine_workflow::tags::Tag;

use super::Context;
use crate::answers::{ClockView, PeerView, PeersView, RunView, RunsView, StatusView};
use crate::failure::Failure;
use crate::request::{Listing, Request, Wishes};

/// How long a program holds a task that it took through a tool: 10 minutes, as with the command line.
pub(super) const LEASE_MS: u64 = 600_000;
/// Runs that a listing without parts holds.
pub(super) const LISTED_MAX: usize = 10_000;
/// Runs that are asked for at once.
const PART: usize = 500;
/// The port of a member whose address names none.
const PORT: u16 = 4433;
/// Bytes of a name or id that comes from outside.
const NAME_BYTES_MAX: usize = 256;

/// Nothing is asked for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// The merkle clock, as the quick-start dialect has it.
#[derive(Serialize, JsonSchema)]
pub(super) struct VectorClock {
    /// Name of this node's peer.
    node_id: String,
    /// Number of events by author: by name, by id where two share one.
    vector: BTreeMap<String, u64>,
    /// SHA-256 over the heads of the log, 64 hexadecimal digits.
    merkle_root: String,
}

impl From<ClockView> for VectorClock {
    fn from(clock: ClockView) -> Self {
        Self { node_id: clock.node_id, vector: clock.vector, merkle_root: clock.merkle_root }
    }
}

/// A required text that is not empty.
pub(super) fn named(field: &str, text: &str) -> Result<(), Failure> {
    match text.trim().len() {
        0 => Err(Failure::bad_input(format!("{field}: expected a text that is not empty"))),
        _ if text.len() > NAME_BYTES_MAX => Err(Failure::bad_input(format!(
            "{field}: {} bytes, and {NAME_BYTES_MAX} are allowed",
            text.len()
        ))),
        _ => Ok(()),
    }
}

/// A priority that runs the lower number first, in thousandths.
pub(super) fn priority_milli(priority: f64) -> Result<u32, Failure> {
    let milli = (priority * 1_000.0).round();
    if milli >= 1.0 && milli <= f64::from(PRIORITY_MILLI_MAX) {
        // in bounds, so that nothing is cut off
        return Ok(milli as u32);
    }
    Err(Failure::bad_input(format!(
        "priority {priority}: expected a number above 0 and at most 1000; the lower one runs first"
    )))
}

/// The same of an urgency from 1 to 10, of which 10 runs first.
pub(super) fn urgency_milli(urgency: u32) -> Result<u32, Failure> {
    if (1..=10).contains(&urgency) {
        return Ok((11 - urgency) * 500);
    }
    Err(Failure::bad_input(format!("priority {urgency}: expected 1 to 10; 10 runs first")))
}

/// The urgency that a priority is nearest to.
pub(super) fn urgency_of(priority: f64) -> u32 {
    let steps = (priority * 2.0).round().clamp(1.0, 10.0);
    11 - steps as u32
}

/// Words that are no routing tags, in the order given.
pub(super) fn unknown_tags(tags: &[String]) -> Vec<String> {
    tags.iter().filter(|tag| Tag::parse(tag).is_none()).cloned().collect()
}

/// A tag in the spelling of the datasets dialect; free labels stay as they are.
pub(super) fn snake(tag: &str) -> String {
    match Tag::parse(tag) {
        Some(Tag::CodeGeneration) => "code_gen".to_owned(),
        Some(Tag::WebScraping) => "web_scrape".to_owned(),
        Some(known) => known.name().replace('-', "_"),
        None => tag.to_owned(),
    }
}

/// A JSON object as the text that a submission keeps.
pub(super) fn object_text(field: &str, value: Option<&Value>) -> Result<Option<String>, Failure> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(Value::Object(object.clone()).to_string())),
        Some(_) => Err(Failure::bad_input(format!("{field}: expected an object"))),
    }
}

/// Seconds since 1970.
pub(super) fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

/// What a submission without wishes is.
pub(super) fn wishes(context: &Context) -> Wishes {
    Wishes { actor: context.actor.clone(), ..Wishes::default() }
}

/// The id that whoever submitted a run knows it by.
pub(super) fn id_of(run: &RunView) -> String {
    if run.given_id.is_empty() { run.id.clone() } else { run.given_id.clone() }
}

/// The peer that holds or completed a run's first job with one.
pub(super) fn peer_of(run: &RunView) -> Option<String> {
    run.jobs.iter().find_map(|job| job.peer.clone())
}

/// The runs that are wanted, part by part, up to `wanted.limit`.
pub(super) async fn runs(context: &Context, mut wanted: Listing) -> Result<Vec<RunView>, Failure> {
    let limit = wanted.limit;
    let mut found: Vec<RunView> = Vec::new();
    loop {
        wanted.limit = PART.min(limit - found.len());
        let part: RunsView = context.ask(Request::List(wanted.clone())).await?;
        found.extend(part.runs);
        wanted.after = part.next.filter(|_| found.len() < limit);
        if wanted.after.is_none() {
            return Ok(found);
        }
    }
}

/// The runs that have not ended.
pub(super) async fn open_runs(context: &Context) -> Result<Vec<RunView>, Failure> {
    runs(context, Listing { open: true, limit: usize::MAX, ..Listing::default() }).await
}

/// The open runs that lie with this peer.
pub(super) async fn my_runs(context: &Context, me: &str) -> Result<Vec<RunView>, Failure> {
    let mut runs = open_runs(context).await?;
    runs.retain(|run| {
        matches!(run.status.as_str(), "assigned" | "in_progress")
            && peer_of(run).is_some_and(|peer| peer == me)
    });
    Ok(runs)
}

/// Runs and tasks by our status words.
pub(super) fn counts(node: &StatusView) -> [(&'static str, u64); 8] {
    [
        ("pending", node.pending),
        ("assigned", node.assigned),
        ("in_progress", node.in_progress),
        ("completed", node.completed),
        ("failed", node.failed),
        ("cancelled", node.cancelled),
        ("skipped", node.skipped),
        ("expired", node.expired),
    ]
}

/// Runs and tasks, ever.
pub(super) fn total(node: &StatusView) -> u64 {
    counts(node).iter().map(|(_, count)| count).sum()
}

/// What became of an address or a member.
pub(super) struct Remembered {
    /// One sentence.
    pub(super) message: String,
    /// Members besides this node, and addresses of others that were only added.
    pub(super) peers: u64,
}

fn find<'p>(peers: &'p PeersView, peer_id: &str) -> Option<&'p PeerView> {
    let begins = |peer: &&PeerView| peer_id.len() >= 8 && peer.id.starts_with(&peer_id.to_ascii_lowercase());
    peers
        .peers
        .iter()
        .find(|peer| peer.name == peer_id)
        .or_else(|| peers.peers.iter().find(|peer| peer.id == peer_id))
        .or_else(|| peers.peers.iter().find(begins))
}

/// `HOST:PORT` of a name that is no member's.
fn address_of(peer_id: &str) -> Result<String, Failure> {
    named("peer_id", peer_id)?;
    let (host, port) = match peer_id.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().ok()),
        _ => (peer_id, Some(PORT)),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '[' | ']' | ':');
    match port {
        Some(port) if !host.is_empty() && host.chars().all(fits) => Ok(format!("{host}:{port}")),
        _ => Err(Failure::bad_input(format!(
            "peer_id {peer_id}: expected the name of a member, or HOST or HOST:PORT of one, such as lab-3.local:4433"
        ))),
    }
}

fn count(peers: &PeersView) -> u64 {
    let members = peers.peers.iter().filter(|peer| !peer.me).count();
    (members + peers.addresses.len()) as u64
}

/// Remembers where a peer can be reached; a member is known already.
pub(super) async fn add_peer(context: &Context, peer_id: &str) -> Result<Remembered, Failure> {
    named("peer_id", peer_id)?;
    let peers: PeersView = context.ask(Request::Peers).await?;
    if let Some(member) = find(&peers, peer_id) {
        let message = if member.me {
            format!("{peer_id} is this node itself")
        } else {
            format!("{peer_id} is a member already")
        };
        return Ok(Remembered { message, peers: count(&peers) });
    }
    let address = address_of(peer_id)?;
    context.ask::<Value>(Request::AddAddress { address: address.clone() }).await?;
    let peers: PeersView = context.ask(Request::Peers).await?;
    let message = format!(
        "this node connects to {address}; to be a member it joins with the line that `wfengine peer invite` prints"
    );
    Ok(Remembered { message, peers: count(&peers) })
}

/// Forgets an address that was only added. A member stays one.
pub(super) async fn remove_peer(context: &Context, peer_id: &str) -> Result<Remembered, Failure> {
    named("peer_id", peer_id)?;
    let peers: PeersView = context.ask(Request::Peers).await?;
    let known = |address: &String| peers.addresses.iter().any(|known| known == address);
    let address = Some(peer_id.to_owned()).filter(known).or_else(|| address_of(peer_id).ok().filter(known));
    let Some(address) = address else {
        if find(&peers, peer_id).is_some() {
            return Err(Failure::conflict(format!(
                "{peer_id} is a member, and this only forgets addresses: `wfengine peer remove {peer_id}` revokes a member, for good"
            )));
        }
        let mut failure =
            Failure::unknown(format!("`{peer_id}` is neither a member nor an address that was added"));
        failure.candidates = peers.addresses;
        return Err(failure);
    };
    let message: String =
        context.ask(Request::RemovePeer { peer: address, reason: "removed by a program".to_owned() }).await?;
    let peers: PeersView = context.ask(Request::Peers).await?;
    Ok(Remembered { message, peers: count(&peers) })
}

/// What this node knows of another's log, in one sentence. Logs are merged all the time by the replication; no call does it.
pub(super) async fn synced_with(context: &Context, peer_id: &str) -> Result<String, Failure> {
    named("peer_id", peer_id)?;
    let peers: PeersView = context.ask(Request::Peers).await?;
    let Some(member) = find(&peers, peer_id) else {
        let mut failure = Failure::unknown(format!("`{peer_id}` names no member"));
        failure.candidates =
            peers.peers.iter().filter(|peer| !peer.me).map(|peer| peer.name.clone()).collect();
        return Err(failure);
    };
    if member.me {
        return Ok(format!("{peer_id} is this node itself; its clock is the one below"));
    }
    let sync: crate::answers::SyncView = context.ask(Request::Sync { wait: false, copies: 0 }).await?;
    let name = &member.name;
    Ok(match sync.peers.iter().find(|peer| peer.name == member.name) {
        None => format!("{name} is not connected; its events come, and ours go, as soon as it is"),
        Some(peer) => match (peer.owes, peer.lacks) {
            (Some(0), Some(0)) => format!("{name} and this node hold the same events"),
            (Some(owes), Some(lacks)) => {
                format!("{name} holds {owes} events that are on their way here, and lacks {lacks} of ours")
            }
            _ => format!("{name} is connected and is being compared with"),
        },
    })
}

/// Name, members and figures of this node.
pub(super) async fn status(context: &Context) -> Result<StatusView, Failure> {
    context.ask(Request::Status).await
}
