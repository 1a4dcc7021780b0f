//! Kind numbers. A kind's body never changes: a changed body is a new number.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::CRITICAL_KIND_MIN;

/// The number that says what an event's body is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Kind(u16);

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        impl Kind {
            $($(#[$doc])* pub const $name: Kind = Kind($number);)*

            /// Every kind this version knows, in the order of their numbers.
            pub const ALL: &'static [Kind] = &[$(Kind::$name),*];

            /// The kind's name, if this version knows it.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// The first event of a cluster.
    CLUSTER_FOUNDED = 0x0001, "ClusterFounded";
    /// A way in for one peer.
    PEER_INVITED = 0x0002, "PeerInvited";
    /// A peer became a member.
    PEER_ADMITTED = 0x0003, "PeerAdmitted";
    /// A member lost its membership, up to a cut.
    PEER_REVOKED = 0x0004, "PeerRevoked";
    /// A member goes on under another key.
    KEY_ROTATED = 0x0005, "KeyRotated";
    /// Two signed headers of one chain that cannot both be true.
    FORK_PROVED = 0x0006, "ForkProved";
    /// Labels and weight of a member.
    PEER_LABELLED = 0x0007, "PeerLabelled";
    /// A member's name and addresses, by itself.
    PEER_DESCRIBED = 0x0010, "PeerDescribed";
    /// A run was asked for.
    RUN_SUBMITTED = 0x0020, "RunSubmitted";
    /// Jobs of a run became known.
    JOBS_PLANNED = 0x0021, "JobsPlanned";
    /// A run was cancelled.
    RUN_CANCELLED = 0x0022, "RunCancelled";
    /// A run found nobody for too long.
    RUN_EXPIRED = 0x0023, "RunExpired";
    /// A run's priority changed.
    PRIORITY_CHANGED = 0x0024, "PriorityChanged";
    /// A node said that it runs a job.
    JOB_CLAIMED = 0x0030, "JobClaimed";
    /// A claim was given back.
    JOB_RELEASED = 0x0031, "JobReleased";
    /// The first step of a claim began.
    JOB_STARTED = 0x0032, "JobStarted";
    /// A step ended.
    STEP_FINISHED = 0x0033, "StepFinished";
    /// A job has a conclusion.
    JOB_COMPLETED = 0x0034, "JobCompleted";
    /// An execution stopped before its end.
    JOB_ABORTED = 0x0035, "JobAborted";
    /// No execution of the job will conclude.
    JOB_FAILED = 0x0036, "JobFailed";
    /// A repository was looked at.
    REPOSITORY_SCANNED = 0x0040, "RepositoryScanned";
    /// A tagged workflow is there, with this content.
    WORKFLOW_FOUND = 0x0041, "WorkflowFound";
    /// A tagged workflow is there no more.
    WORKFLOW_VANISHED = 0x0042, "WorkflowVanished";
    /// A workflow became due: why a run exists.
    TRIGGER_FIRED = 0x0043, "TriggerFired";
    /// A member looks for workflows, or no longer does.
    DISCOVERY_CHANGED = 0x0044, "DiscoveryChanged";
    /// Something outside the cluster is about to be changed.
    EFFECT_INTENDED = 0x0050, "EffectIntended";
    /// What came of it.
    EFFECT_DONE = 0x0051, "EffectDone";
    /// What is seen of a run that GitHub executes.
    DISPATCH_FOLLOWED = 0x0052, "DispatchFollowed";
    /// A member began, changed or ended keeping a pool of runners.
    POOL_CHANGED = 0x0060, "PoolChanged";
    /// A runner is about to be registered and its container made.
    RUNNER_INTENDED = 0x0061, "RunnerIntended";
    /// A runner's container runs.
    RUNNER_STARTED = 0x0062, "RunnerStarted";
    /// A runner came to its end.
    RUNNER_EXITED = 0x0063, "RunnerExited";
    /// Nothing of a runner is left.
    RUNNER_REMOVED = 0x0064, "RunnerRemoved";
}

impl Kind {
    /// Any number, known or not.
    pub const fn from_number(number: u16) -> Self {
        Self(number)
    }
    /// The number as written.
    pub const fn number(self) -> u16 {
        self.0
    }
    /// Whether a node that does not know this kind must stop deciding (it goes on replicating).
    pub const fn is_critical(self) -> bool {
        self.0 >= CRITICAL_KIND_MIN
    }
    /// Whether the kind takes part in the authority fold.
    pub const fn is_authority(self) -> bool {
        self.0 >= 0x0001 && self.0 <= 0x0007
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "kind 0x{:04x}", self.0),
        }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_distinct_and_sorted() {
        assert!(Kind::ALL.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(Kind::from_number(0x7777).to_string(), "kind 0x7777");
        assert!(!Kind::from_number(0x7fff).is_critical() && Kind::from_number(0x8000).is_critical());
    }
}
