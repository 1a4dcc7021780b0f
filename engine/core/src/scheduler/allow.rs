//! Whose jobs this node executes. Local configuration of its operator: never in the log, told to others only as declines.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use wfengine_storage_format::PeerId;

use crate::views::run::Run;

/// The operator's policy. A node's own submissions are always allowed. Whoever guesses a trigger key can submit something else under
/// it: a peer's word counts only for a run that executes what that peer submitted.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Allow {
    /// Everybody's submissions.
    pub any: bool,
    /// The submissions of these peers, also where the run was submitted by another who asks for just the same.
    pub peers: BTreeSet<PeerId>,
    /// Submissions for these repositories, as `owner/name`, without regard to case.
    pub repositories: BTreeSet<String>,
}

impl Allow {
    /// Everybody's submissions.
    pub fn any() -> Self {
        Self { any: true, ..Self::default() }
    }

    /// Whether a node of peer `own` may execute the jobs of a run.
    pub fn covers(&self, run: &Run, own: &PeerId) -> bool {
        if run.submission().is_none() {
            return false;
        }
        if self.any || run.is_asked_by(own) || self.peers.iter().any(|peer| run.is_asked_by(peer)) {
            return true;
        }
        let repository = run.submitted.as_ref().map_or("", |submitted| submitted.frozen.repository.as_str());
        !repository.is_empty()
            && self.repositories.iter().any(|allowed| allowed.eq_ignore_ascii_case(repository))
    }

    /// What others need to know of it.
    pub fn summary(&self) -> Allowed {
        if self.any {
            Allowed::Any
        } else if self.peers.is_empty() && self.repositories.is_empty() {
            Allowed::Own
        } else {
            Allowed::Some
        }
    }
}

/// An operator's policy in a word, as beats carry it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Allowed {
    /// Only the node's own submissions.
    Own,
    /// Those of some peers or repositories; declines tell which not.
    Some,
    /// Everybody's.
    Any,
}
