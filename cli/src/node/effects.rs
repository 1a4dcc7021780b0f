//! Effects outside that the scheduler asks for: runs that no peer takes are handed to GitHub.

use std::sync::Arc;

use wfengine_storage_format::RunId;

use super::Node;

/// Hands a run to GitHub, if this node has a way there.
pub(super) async fn hand_over(node: Arc<Node>, run: RunId) {
    tracing::debug!(%run, peer = %node.peer_id(), "no way to GitHub");
}
