//! The node and its cluster: status, clock, members and addresses, whose jobs run here, what peers hold, imports and digests.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// This node.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct StatusView {
    /// Name of this node.
    pub peer: String,
    /// This node's id, 52 base32 characters.
    pub peer_id: String,
    /// Id of its cluster, 64 hexadecimal digits.
    pub cluster: String,
    /// It takes part in the cluster; false: a command alone looked into the log.
    pub serving: bool,
    /// It was told to claim nothing until it is resumed.
    pub paused: bool,
    /// Id of the process that answers.
    pub pid: u32,
    /// UDP address, or null when not serving.
    pub listen: Option<String>,
    /// Where programs ask over HTTP, or null when they cannot.
    pub http: Option<String>,
    /// Directory of its log, key and settings.
    pub data_dir: String,
    /// Runs with the status pending.
    pub pending: u64,
    /// Runs with the status assigned.
    pub assigned: u64,
    /// Runs with the status in_progress.
    pub in_progress: u64,
    /// Runs with the status completed.
    pub completed: u64,
    /// Runs with the status failed.
    pub failed: u64,
    /// Runs with the status cancelled.
    pub cancelled: u64,
    /// Runs with the status skipped.
    pub skipped: u64,
    /// Runs with the status expired.
    pub expired: u64,
    /// Open jobs that this node knows of.
    pub queue_size: u64,
    /// Members of the cluster besides this node.
    pub known_peers: u64,
    /// Peers that are connected; 0 when not serving.
    pub connected_peers: u64,
    /// Jobs that this node holds a claim on.
    pub runs_here: u64,
    /// Hash of the merkle clock, 64 hexadecimal digits; equal hashes mean equal logs.
    pub clock_hash: String,
    /// Greatest height of an event in the log.
    pub height: u64,
    /// Events in the log.
    pub events: u64,
    /// Frames in the log, of one or more events that were written in one go: the place that the log has reached.
    pub frames: u64,
    /// The automerge documents that follow the log, or null when not serving.
    pub documents: Option<DocumentsView>,
    /// Whose jobs run here.
    pub allows: AllowView,
    /// What it looks for workflows in, as scopes; empty: nothing.
    pub discovers: Vec<String>,
    /// Why that does not get on, or null.
    pub discovery_trouble: Option<String>,
    /// Why it claims nothing, or null.
    pub declines: Option<String>,
}

/// The automerge documents kept behind the log, in figures since the node started. They decide nothing.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DocumentsView {
    /// Documents that are open, one a chain.
    pub open: u64,
    /// Changes that automerge took one by one.
    pub changes: u64,
    /// Documents made from stored frames in one go.
    pub rebuilt: u64,
    /// How often automerge and this node did not come to the same; anything but 0 is a fault of the software.
    pub disagreements: u64,
    /// Chains without a document until the node starts anew.
    pub given_up: u64,
}

impl fmt::Display for DocumentsView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} open, {} changes", grouped(self.open), grouped(self.changes))?;
        if self.rebuilt > 0 {
            write!(f, ", {} made from the log", grouped(self.rebuilt))?;
        }
        if self.disagreements > 0 {
            write!(f, ", {} DISAGREEMENTS WITH THE LOG", grouped(self.disagreements))?;
        }
        if self.given_up > 0 {
            write!(f, ", {} GIVEN UP", grouped(self.given_up))?;
        }
        if self.disagreements + self.given_up > 0 {
            write!(f, ": please report what the node printed; the log itself is not touched")?;
        }
        Ok(())
    }
}

/// A number with commas between its thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The merkle clock.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ClockView {
    /// Name of this node.
    pub node_id: String,
    /// Number of events by author: its name, or its id where several have that name.
    pub vector: BTreeMap<String, u64>,
    /// Hash of the heads, 64 hexadecimal digits; equal hashes mean equal logs.
    pub merkle_root: String,
    /// Ids of the events that no other event names yet, 64 hexadecimal digits each.
    pub heads: Vec<String>,
    /// Greatest height of an event in the log.
    pub height: u64,
}

/// An invite.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct InviteView {
    /// The complete command for the other host.
    pub join_line: String,
    /// When it ends, in milliseconds since 1970.
    pub expires_ms: u64,
    /// Addresses at which other hosts may reach this node, `address:port`.
    pub addresses: Vec<String>,
    /// The join line asks the other host to run jobs that members submit.
    pub allow_jobs: bool,
}

/// Members and addresses.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PeersView {
    /// Members of the cluster, this node among them.
    pub peers: Vec<PeerView>,
    /// Addresses this host was told to connect to, `host:port`.
    pub addresses: Vec<String>,
}

/// A member.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PeerView {
    /// What it calls itself; the beginning of its id where it has no name.
    pub name: String,
    /// 52 base32 characters.
    pub id: String,
    /// It is this node.
    pub me: bool,
    /// Some of admin, executor, submitter and operator.
    pub roles: Vec<String>,
    /// Labels it was given, and those of its operating system and architecture.
    pub labels: Vec<String>,
    /// Its points in the ownership rule, 1 to 64.
    #[schemars(range(min = 1, max = 64))]
    pub weight: u16,
    /// Whether it is alive; null when not serving.
    pub alive: Option<bool>,
    /// Address where it is connected, or null.
    pub connected: Option<String>,
    /// Round-trip time of the connection in milliseconds; null when not connected.
    pub rtt_ms: Option<f64>,
    /// Addresses at which it says it can be reached, `address:port`; empty if it said none.
    pub addresses: Vec<String>,
    /// Version of its program; empty if it did not say.
    pub version: String,
}

/// Whose jobs run here.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AllowView {
    /// Jobs of every member run here.
    pub any: bool,
    /// Names of the members whose jobs run here.
    pub peers: Vec<String>,
    /// Repositories whose workflows run here, `owner/name`.
    pub repositories: Vec<String>,
}

/// What peers hold.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SyncView {
    /// Hash of the merkle clock, 64 hexadecimal digits; equal hashes mean equal logs.
    pub clock_hash: String,
    /// Events in the log.
    pub events: u64,
    /// Frames in the log, of one or more events that were written in one go: the place that the log has reached.
    pub frames: u64,
    /// Peers that are connected; empty when not serving.
    pub peers: Vec<SyncPeer>,
    /// Names of the peers that hold this node's head and sources, when waited for; empty otherwise.
    pub copies: Vec<String>,
}

/// One peer's part of it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SyncPeer {
    /// Name of the peer.
    pub name: String,
    /// Address where it is connected.
    pub address: String,
    /// Round-trip time of the connection in milliseconds.
    pub rtt_ms: f64,
    /// Events here that it did not say it has and that were not sent to it; null before it said anything.
    pub lacks: Option<u64>,
    /// Events that were sent to it and that it has not said yet that it has; null before it said anything.
    pub unconfirmed: Option<u64>,
    /// Events there that this node lacks; null before it said anything.
    pub owes: Option<u64>,
}

/// What became of imported frames.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Imported {
    /// Frames that became part of the log.
    pub admitted: u64,
    /// Frames that the log held before.
    pub duplicate: u64,
    /// Frames that wait for others which are not here yet.
    pub waiting: u64,
    /// Why frames were refused, in words, one for each.
    pub refused: Vec<String>,
}

/// The published views in one hash.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DigestView {
    /// Id of the cluster, 64 hexadecimal digits.
    pub cluster: String,
    /// Hash of everything that the views hold, 64 hexadecimal digits.
    pub view_digest: String,
    /// What the views mean: digests are compared only where this is equal.
    pub views_version: u32,
    /// Hash of the merkle clock that the views go up to, 64 hexadecimal digits.
    pub clock_hash: String,
    /// Events in the log.
    pub events: u64,
    /// Frames in the log.
    pub frames: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_say_what_is_wrong_with_them_and_nothing_else() {
        let well = DocumentsView { open: 3, changes: 1_204, rebuilt: 0, disagreements: 0, given_up: 0 };
        assert_eq!(well.to_string(), "3 open, 1,204 changes");
        let rebuilt = DocumentsView { rebuilt: 2, changes: 12_345_678, ..well.clone() };
        assert_eq!(rebuilt.to_string(), "3 open, 12,345,678 changes, 2 made from the log");
        let wrong = DocumentsView { disagreements: 2, given_up: 1, ..well };
        assert_eq!(
            wrong.to_string(),
            "3 open, 1,204 changes, 2 DISAGREEMENTS WITH THE LOG, 1 GIVEN UP: please report what the node printed; \
             the log itself is not touched"
        );
    }
}
