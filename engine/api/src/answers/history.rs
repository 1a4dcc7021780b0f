//! Events, as they are told.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One event as `replay --json` prints it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EventLine {
    /// SHA-256 of the event, 64 hexadecimal digits.
    pub id: String,
    /// Id of the peer that wrote it.
    pub author: String,
    /// Its name.
    pub author_name: String,
    /// The chain's incarnation; with the author it names the chain.
    pub incarnation: String,
    /// Place in its chain, from 0.
    pub seq: u64,
    /// The logical clock: greater than that of every event it knew.
    pub height: u64,
    /// RFC 3339, as the author's clock said; it decides nothing.
    pub time: String,
    /// The same in milliseconds since 1970.
    pub time_ms: u64,
    /// What kind of event it is, such as `JobClaimed`.
    pub kind: String,
    /// The kind's number in the format.
    pub kind_number: u16,
    /// What it says, for people.
    pub says: String,
    /// Whether it lies below the cuts of its author's chains, so that it counts.
    pub counts: bool,
    /// `known`, `unknown` or `void`.
    pub body: String,
    /// The run it is about, if one.
    pub run: Option<String>,
    /// The job it is about, if one.
    pub job: Option<String>,
    /// What the kind says besides, by name.
    pub details: BTreeMap<String, String>,
    /// The chain's event before; null: it is the first.
    pub prev: Option<String>,
    /// Events of other chains that its author knew last.
    pub parents: Vec<String>,
    /// Events that it speaks of.
    pub refs: Vec<String>,
    /// Blobs that it needs.
    pub blobs: Vec<String>,
}

/// An event that a live stream tells.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FollowedEvent {
    /// The event.
    #[serde(flatten)]
    pub event: EventLine,
    /// A stream from this place on goes on after it. Events that were written in one go come together: until the last of them this is
    /// the place of the first.
    pub next: u64,
}

/// The log has grown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Changed {
    /// Events in the log.
    pub events: u64,
}

/// A part of the log, in the order in which this node admitted it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct HistoryView {
    /// The events that were asked for.
    pub events: Vec<EventLine>,
    /// Where the next part begins; null: nothing is left.
    pub next: Option<u64>,
}
