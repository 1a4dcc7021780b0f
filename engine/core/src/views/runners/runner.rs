//! A runner as the views show it.

use serde::{Deserialize, Serialize};
use wfengine_storage_format::{EventId, PeerId, RunnerExited, RunnerIntended, RunnerStarted};

/// How far a runner got.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Phase {
    /// It may have a registration or a container, or neither yet.
    Intended,
    /// Its container runs.
    Started,
    /// It came to its end; something of it may be left.
    Exited,
    /// Nothing of it is left.
    Removed,
}

impl Phase {
    /// As shown.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Intended => "intended",
            Phase::Started => "started",
            Phase::Exited => "exited",
            Phase::Removed => "removed",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A runner. Of its author's events the first of each kind counts, in canonical order. Times are advisory, milliseconds since 1970.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Runner {
    /// Its `RunnerIntended`, which names it for good.
    pub intent: EventId,
    /// On whose host it is.
    pub author: PeerId,
    /// When it was intended.
    pub time_ms: u64,
    /// What was intended.
    pub intended: RunnerIntended,
    /// The `RunnerStarted`, when that was, and what it says.
    pub started: Option<(EventId, u64, RunnerStarted)>,
    /// The `RunnerExited`, when that was, and what it says.
    pub exited: Option<(EventId, u64, RunnerExited)>,
    /// The `RunnerRemoved`, and when that was.
    pub removed: Option<(EventId, u64)>,
}

impl Runner {
    /// How far it got.
    pub fn phase(&self) -> Phase {
        if self.removed.is_some() {
            Phase::Removed
        } else if self.exited.is_some() {
            Phase::Exited
        } else if self.started.is_some() {
            Phase::Started
        } else {
            Phase::Intended
        }
    }

    /// Whether something of it may be left.
    pub fn is_live(&self) -> bool {
        self.removed.is_none()
    }
}
