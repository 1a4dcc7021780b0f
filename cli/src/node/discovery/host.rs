//! The node as discovery sees it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wfengine_api::{Environment, Failure};
use wfengine_core::command::Command;
use wfengine_discovery::{Host, HostError};
use wfengine_git::Git;
use wfengine_github::{AnswerCache, Kept};
use wfengine_storage_format::{BlobId, PeerId};
use wfengine_store::{AskError, Blobs, KeyedCache, Receipt, Watcher};

use crate::node::Node;

/// A node that looks for workflows.
#[derive(Debug)]
pub(crate) struct NodeHost {
    node: Arc<Node>,
    cache: Arc<KeyedCache>,
    git: Option<Git>,
    work: PathBuf,
}

impl NodeHost {
    pub(crate) fn new(node: &Arc<Node>, variables: &Environment) -> Result<Self, Failure> {
        let path = variables.get("PATH").map(std::ffi::OsString::from).unwrap_or_default();
        Ok(Self {
            cache: node.cache()?,
            git: Git::find(&path).ok(),
            work: node.home.data.path().join("mirrors"),
            node: Arc::clone(node),
        })
    }

    /// The git program, if this host has one.
    pub(crate) fn git_program(&self) -> Option<Git> {
        self.git.clone()
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl Host for NodeHost {
    fn watcher(&self) -> &Watcher {
        self.node.watcher()
    }
    fn blobs(&self) -> &Blobs {
        &self.node.blobs
    }
    fn cache(&self) -> &KeyedCache {
        &self.cache
    }
    fn peer(&self) -> PeerId {
        self.node.peer_id()
    }
    async fn ask(&self, command: Command) -> Result<Receipt, AskError> {
        self.node.ask(command).await
    }
    fn wall_ms(&self) -> u64 {
        self.node.clock.wall().0
    }
    fn place_for(&self, what: &str, among: &[PeerId]) -> usize {
        self.node.look(|scheduler, _, _| scheduler.place_for_duty("scan", what, among.iter().copied()))
    }
    async fn bring(&self, blob: &BlobId) -> bool {
        if self.node.blobs.has(blob) {
            return true;
        }
        let Some(network) = self.node.network() else { return false };
        let brought = network.fetch_blob(*blob).await;
        if let Err(error) = &brought {
            tracing::debug!(%error, %blob, "no member that is reached has it");
        }
        brought.is_ok()
    }
    fn work_dir(&self) -> &Path {
        &self.work
    }
    fn git(&self) -> Option<&Git> {
        self.git.as_ref()
    }
    fn random(&self) -> Result<[u8; 16], HostError> {
        crate::home::random().map_err(|failure| HostError(failure.message))
    }
}

/// Answers of GitHub in the cache on disk.
pub(super) struct Answers(pub(super) Arc<KeyedCache>);

#[derive(Serialize, Deserialize)]
struct Answer {
    etag: String,
    link: Option<String>,
    confirmed_s: u64,
    body: Vec<u8>,
}

impl AnswerCache for Answers {
    fn get(&self, key: &[u8; 32]) -> Option<Kept> {
        let answer: Answer = postcard::from_bytes(&self.0.get("answers", key)?).ok()?;
        let Answer { etag, link, confirmed_s, body } = answer;
        Some(Kept { etag, link, body, confirmed_s })
    }

    fn put(&self, key: &[u8; 32], kept: &Kept) {
        let Kept { etag, link, body, confirmed_s } = kept.clone();
        let bytes = postcard::to_stdvec(&Answer { etag, link, confirmed_s, body });
        self.0.put("answers", key, &bytes.unwrap_or_default());
    }
}
