//! What others say of a commit, and what GitHub says of us: check runs, statuses, hooks, limits.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Conclusion, Progress, open::or_default};
use crate::client::Entry;

/// A check run.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CheckRun {
    /// The id.
    pub id: u64,
    /// Its name.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// The commit.
    #[serde(default)]
    pub head_sha: Option<String>,
    /// What its author calls it.
    #[serde(default)]
    pub external_id: Option<String>,
    /// How far it is.
    #[serde(default)]
    pub status: Option<Progress>,
    /// How it ended.
    #[serde(default)]
    pub conclusion: Option<Conclusion>,
    /// Its page.
    #[serde(default)]
    pub html_url: Option<String>,
}

/// A status of a commit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CommitStatus {
    /// The id.
    #[serde(default)]
    pub id: Option<u64>,
    /// `error`, `failure`, `pending` or `success`.
    #[serde(default, deserialize_with = "or_default")]
    pub state: String,
    /// Which of several statuses.
    #[serde(default, deserialize_with = "or_default")]
    pub context: String,
    /// In words.
    #[serde(default)]
    pub description: Option<String>,
    /// Where to read more.
    #[serde(default)]
    pub target_url: Option<String>,
}

/// A webhook of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Hook {
    /// The id.
    pub id: u64,
    /// Whether it delivers.
    #[serde(default, deserialize_with = "or_default")]
    pub active: bool,
    /// What it delivers.
    #[serde(default, deserialize_with = "or_default")]
    pub events: Vec<String>,
}

/// What is left of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct RateLimit {
    /// Requests or points in a window.
    pub limit: u64,
    /// Left.
    pub remaining: u64,
    /// Seconds since 1970 by GitHub's clock.
    pub reset: u64,
    /// Used.
    #[serde(default)]
    pub used: Option<u64>,
}

/// What is left of every bucket, by name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RateLimits {
    /// By the names that [`crate::Bucket`] has.
    #[serde(deserialize_with = "readable")]
    pub resources: BTreeMap<String, RateLimit>,
}

/// A bucket of another shape does not lose the others.
fn readable<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, RateLimit>, D::Error> {
    let all: BTreeMap<String, Entry<RateLimit>> = Deserialize::deserialize(deserializer)?;
    let read = |(name, entry)| match entry {
        Entry::Read(limit) => Some((name, limit)),
        Entry::Unreadable(_) => None,
    };
    Ok(all.into_iter().filter_map(read).collect())
}
