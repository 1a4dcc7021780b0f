//! What discovery remembers on this host: saves work, decides nothing.
//!
//! Verdicts on files by git's id of their content, and where the refs of a repository stood at the last look. Losing it costs
//! requests; a stale one costs nothing, for the trigger keys make every trigger one run.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wfengine_core::views::repositories::RepositoryKey;
use wfengine_git::Refs;
use wfengine_storage_format::{BlobId, sha256};
use wfengine_store::{Blobs, KeyedCache};
use wfengine_workflow::Schedule;

use crate::verdict::{Tagged, Verdict};

/// Another version may judge otherwise.
const VERSION: &str = concat!("verdict/", env!("CARGO_PKG_VERSION"), "/1");
/// Parsed workflows at hand.
const PARSED_MAX: usize = 512;

/// A verdict without the parsed workflow.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Kept {
    Untagged,
    ForGithub(String),
    Tagged(BlobId),
    Broken(String),
}

/// A verdict, with the content of what peers run.
#[derive(Clone, Debug)]
pub enum Judged {
    /// Its tags do not name peers.
    Untagged,
    /// Its tags name peers, but GitHub wins.
    ForGithub(String),
    /// Peers run it.
    Tagged(BlobId, Arc<Tagged>),
    /// It cannot be read as a workflow.
    Broken(String),
}

/// The memory of one node.
#[derive(Debug, Default)]
pub struct Memory {
    parsed: HashMap<(BlobId, String), Arc<Tagged>>,
}

fn verdict_key(object: &str, path: &str) -> [u8; 32] {
    sha256(format!("{VERSION}\n{object}\n{path}").as_bytes())
}

impl Memory {
    /// What was judged of a file before, if its content is at hand where it is needed.
    pub fn judged(&mut self, cache: &KeyedCache, blobs: &Blobs, object: &str, path: &str) -> Option<Judged> {
        let kept: Kept = serde_json::from_slice(&cache.get("verdicts", &verdict_key(object, path))?).ok()?;
        Some(match kept {
            Kept::Untagged => Judged::Untagged,
            Kept::ForGithub(tags) => Judged::ForGithub(tags),
            Kept::Broken(why) => Judged::Broken(why),
            Kept::Tagged(blob) => Judged::Tagged(blob, self.tagged(blobs, &blob, path)?),
        })
    }

    /// Judges a file, keeps the verdict, and the content of what peers run.
    ///
    /// # Errors
    /// What could not be kept, as text.
    pub fn judge(
        &mut self,
        cache: &KeyedCache,
        blobs: &Blobs,
        object: &str,
        path: &str,
        source: &[u8],
    ) -> Result<Judged, String> {
        let (kept, judged) = match Verdict::of(source, path) {
            Verdict::Untagged => (Kept::Untagged, Judged::Untagged),
            Verdict::ForGithub(tags) => (Kept::ForGithub(tags.clone()), Judged::ForGithub(tags)),
            Verdict::Broken(why) => (Kept::Broken(why.clone()), Judged::Broken(why)),
            Verdict::Tagged(tagged) => {
                let blob = blobs.put(source).map_err(|error| error.to_string())?;
                let tagged: Arc<Tagged> = Arc::from(tagged);
                self.remember(blob, path, &tagged);
                (Kept::Tagged(blob), Judged::Tagged(blob, tagged))
            }
        };
        cache.put("verdicts", &verdict_key(object, path), &serde_json::to_vec(&kept).unwrap_or_default());
        Ok(judged)
    }

    fn remember(&mut self, blob: BlobId, path: &str, tagged: &Arc<Tagged>) {
        if self.parsed.len() >= PARSED_MAX {
            self.parsed.clear();
        }
        self.parsed.insert((blob, path.to_owned()), Arc::clone(tagged));
    }

    /// The tagged workflow in a blob, if it is here and is one.
    pub fn tagged(&mut self, blobs: &Blobs, blob: &BlobId, path: &str) -> Option<Arc<Tagged>> {
        if let Some(known) = self.parsed.get(&(*blob, path.to_owned())) {
            return Some(Arc::clone(known));
        }
        let source = blobs.read(blob).ok()?;
        let Verdict::Tagged(tagged) = Verdict::of(&source, path) else { return None };
        let tagged: Arc<Tagged> = Arc::from(tagged);
        self.remember(*blob, path, &tagged);
        Some(tagged)
    }

    /// Where the refs of a repository stood when it was looked at last, and when that was, in milliseconds since 1970.
    pub fn refs(&self, cache: &KeyedCache, key: &RepositoryKey) -> Option<(BTreeMap<String, String>, u64)> {
        let kept = cache.get("refs", repository_key(key).as_bytes())?;
        let (at_ms, text) = std::str::from_utf8(&kept).ok()?.split_once('\n')?;
        Some((Refs::from_lines(text).ok()?.commits, at_ms.parse().ok()?))
    }

    /// Remembers where they stand.
    pub fn remember_refs(&self, cache: &KeyedCache, key: &RepositoryKey, refs: &Refs, now_ms: u64) {
        let kept = format!("{now_ms}\n{}", refs.to_lines());
        cache.put("refs", repository_key(key).as_bytes(), kept.as_bytes());
    }

    /// The last push, in seconds since 1970, of which a look at a repository missed nothing.
    pub fn pushed_s(&self, cache: &KeyedCache, key: &RepositoryKey) -> Option<u64> {
        let kept = cache.get("pushed", repository_key(key).as_bytes())?;
        std::str::from_utf8(&kept).ok()?.parse().ok()
    }

    /// Remembers that push.
    pub fn remember_pushed_s(&self, cache: &KeyedCache, key: &RepositoryKey, pushed_s: u64) {
        if self.pushed_s(cache, key) != Some(pushed_s) {
            cache.put("pushed", repository_key(key).as_bytes(), pushed_s.to_string().as_bytes());
        }
    }

    /// Since when this host knows each of a workflow's schedules, in seconds since 1970: an edit that leaves a schedule alone does
    /// not begin it anew. New ones are remembered from now on, and those that are gone are forgotten.
    pub fn schedules_since(
        &self,
        cache: &KeyedCache,
        key: &RepositoryKey,
        path: &str,
        schedules: &[Schedule],
        now_s: u64,
    ) -> Vec<u64> {
        let place = format!("{}\n{path}", repository_key(key));
        let kept = cache.get("schedules", place.as_bytes());
        let before: BTreeMap<String, u64> =
            kept.and_then(|kept| serde_json::from_slice(&kept).ok()).unwrap_or_default();
        let name = |schedule: &Schedule| format!("{}|{}", schedule.cron.text(), schedule.timezone);
        let since: Vec<u64> = schedules
            .iter()
            // a clock that was ahead must not silence a schedule
            .map(|schedule| before.get(&name(schedule)).map_or(now_s, |since_s| (*since_s).min(now_s)))
            .collect();
        let now: BTreeMap<String, u64> = schedules.iter().map(name).zip(since.iter().copied()).collect();
        if now != before {
            cache.put("schedules", place.as_bytes(), &serde_json::to_vec(&now).unwrap_or_default());
        }
        since
    }
}

fn repository_key(key: &RepositoryKey) -> String {
    format!("{}\n{}", key.source, key.id)
}
