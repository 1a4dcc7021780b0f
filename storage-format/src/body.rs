//! The bodies of all kinds, and the one place that reads them.
//!
//! A body that does not decode canonically, or breaks a bound, is *void*: the event is stored and forwarded, and folded by
//! nobody, on every node alike. A body of an unknown kind is kept byte for byte.

mod authority;
mod effect;
mod job;
mod repository;
mod run;
mod runner;

pub use authority::{
    ClusterFounded, ForkProved, Grant, KeyRotated, PeerAdmitted, PeerDescribed, PeerInvited, PeerLabelled,
    PeerRevoked, Role, Roles,
};
pub use effect::{DispatchFollowed, Effect, EffectDone, EffectIntended, EffectOutcome};
pub use job::{
    AbortReason, Conclusion, JobAborted, JobClaimed, JobCompleted, JobFailed, JobReleased, JobStarted,
    ReleaseReason, StepFinished,
};
pub use repository::{
    DiscoveryChanged, RepositoryRef, RepositoryScanned, ScanOutcome, Trigger, TriggerFired, WorkflowFound,
    WorkflowVanished,
};
pub use run::{JobsPlanned, PlannedKey, PlannedLeg, PriorityChanged, RunCancelled, RunExpired};
pub use runner::{
    PoolChanged, RunnerCause, RunnerEnd, RunnerExited, RunnerIntended, RunnerJob, RunnerRemoved,
    RunnerStarted,
};

use std::sync::Arc;

use crate::codec::{CodecError, from_canonical, to_canonical};
use crate::id::{EventId, JobId, PeerId, RunId};
use crate::kind::Kind;
use crate::limits::{EVENT_BYTES_MAX, JSON_BYTES_MAX, LIST_LEN_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX};
use crate::submission::RunSubmitted;

/// Bounds of a body's fields, checked after decoding. The text names the field that breaks one.
pub(crate) trait Bounded {
    fn broken_bound(&self) -> Option<&'static str>;
}

pub(crate) fn name_fits(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX
}
pub(crate) fn text_fits(text: &str) -> bool {
    text.len() <= TEXT_BYTES_MAX
}
pub(crate) fn json_fits(text: &str) -> bool {
    text.len() <= JSON_BYTES_MAX
}
pub(crate) fn list_fits<T>(list: &[T]) -> bool {
    list.len() <= LIST_LEN_MAX
}
pub(crate) fn names_fit(names: &[String]) -> bool {
    list_fits(names) && names.iter().all(|name| name_fits(name))
}

/// How a body lies in a [`Body`]: as it is, or behind a pointer.
trait Held<T> {
    fn hold(body: T) -> Self;
}
impl<T> Held<T> for T {
    fn hold(body: T) -> Self {
        body
    }
}
impl<T> Held<T> for Arc<T> {
    fn hold(body: T) -> Self {
        Arc::new(body)
    }
}

macro_rules! bodies {
    ($($name:ident as $held:ty = $kind:ident, $what:literal;)*) => {
        /// What an event says. The long ones are shared, so that an event is short and a view need not copy what it shows.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub enum Body {
            $(#[doc = concat!("See [`", stringify!($name), "`].")] $name($held),)*
            /// A kind this version does not know: kept, forwarded, folded by nobody.
            Unknown,
            /// A known kind whose bytes make no sense, with what is wrong: kept, forwarded, folded by nobody.
            Void(VoidReason),
        }

        impl Body {
            /// Reads the body of an event.
            pub fn decode(kind: Kind, bytes: &[u8]) -> Body {
                match kind {
                    $(Kind::$kind => match from_canonical::<$name>($what, bytes, EVENT_BYTES_MAX) {
                        Err(error) => Body::Void(VoidReason::Codec(error)),
                        Ok(body) => match body.broken_bound() {
                            Some(bound) => Body::Void(VoidReason::Bound(bound)),
                            None => Body::$name(Held::hold(body)),
                        },
                    },)*
                    _ => Body::Unknown,
                }
            }

            /// The kind and canonical bytes to put into an event.
            ///
            /// # Errors
            /// [`VoidReason`] when the body would be void: too long, or a bound is broken.
            pub fn encode(&self) -> Result<(Kind, Vec<u8>), VoidReason> {
                let (kind, bytes, bound) = match self {
                    $(Body::$name(body) => {
                        let body: &$name = body;
                        (Kind::$kind, to_canonical(body), body.broken_bound())
                    })*
                    Body::Unknown => return Err(VoidReason::Bound("an unknown kind has no body to write")),
                    Body::Void(reason) => return Err(reason.clone()),
                };
                if let Some(bound) = bound {
                    return Err(VoidReason::Bound(bound));
                }
                if bytes.len() > EVENT_BYTES_MAX {
                    let too_long =
                        CodecError::TooLong { what: "a body", len: bytes.len(), len_max: EVENT_BYTES_MAX };
                    return Err(VoidReason::Codec(too_long));
                }
                Ok((kind, bytes))
            }
        }

        $(impl From<$name> for Body {
            fn from(body: $name) -> Self {
                Body::$name(Held::hold(body))
            }
        })*
    };
}

bodies! {
    ClusterFounded as ClusterFounded = CLUSTER_FOUNDED, "ClusterFounded";
    PeerInvited as PeerInvited = PEER_INVITED, "PeerInvited";
    PeerAdmitted as Arc<PeerAdmitted> = PEER_ADMITTED, "PeerAdmitted";
    PeerRevoked as PeerRevoked = PEER_REVOKED, "PeerRevoked";
    KeyRotated as KeyRotated = KEY_ROTATED, "KeyRotated";
    ForkProved as Arc<ForkProved> = FORK_PROVED, "ForkProved";
    PeerLabelled as PeerLabelled = PEER_LABELLED, "PeerLabelled";
    PeerDescribed as PeerDescribed = PEER_DESCRIBED, "PeerDescribed";
    RunSubmitted as Arc<RunSubmitted> = RUN_SUBMITTED, "RunSubmitted";
    JobsPlanned as JobsPlanned = JOBS_PLANNED, "JobsPlanned";
    RunCancelled as RunCancelled = RUN_CANCELLED, "RunCancelled";
    RunExpired as RunExpired = RUN_EXPIRED, "RunExpired";
    PriorityChanged as PriorityChanged = PRIORITY_CHANGED, "PriorityChanged";
    JobClaimed as JobClaimed = JOB_CLAIMED, "JobClaimed";
    JobReleased as JobReleased = JOB_RELEASED, "JobReleased";
    JobStarted as JobStarted = JOB_STARTED, "JobStarted";
    StepFinished as StepFinished = STEP_FINISHED, "StepFinished";
    JobCompleted as Arc<JobCompleted> = JOB_COMPLETED, "JobCompleted";
    JobAborted as JobAborted = JOB_ABORTED, "JobAborted";
    JobFailed as JobFailed = JOB_FAILED, "JobFailed";
    RepositoryScanned as Arc<RepositoryScanned> = REPOSITORY_SCANNED, "RepositoryScanned";
    WorkflowFound as Arc<WorkflowFound> = WORKFLOW_FOUND, "WorkflowFound";
    WorkflowVanished as Arc<WorkflowVanished> = WORKFLOW_VANISHED, "WorkflowVanished";
    TriggerFired as Arc<TriggerFired> = TRIGGER_FIRED, "TriggerFired";
    DiscoveryChanged as DiscoveryChanged = DISCOVERY_CHANGED, "DiscoveryChanged";
    EffectIntended as Arc<EffectIntended> = EFFECT_INTENDED, "EffectIntended";
    EffectDone as EffectDone = EFFECT_DONE, "EffectDone";
    DispatchFollowed as DispatchFollowed = DISPATCH_FOLLOWED, "DispatchFollowed";
    PoolChanged as Arc<PoolChanged> = POOL_CHANGED, "PoolChanged";
    RunnerIntended as Arc<RunnerIntended> = RUNNER_INTENDED, "RunnerIntended";
    RunnerStarted as Arc<RunnerStarted> = RUNNER_STARTED, "RunnerStarted";
    RunnerExited as Arc<RunnerExited> = RUNNER_EXITED, "RunnerExited";
    RunnerRemoved as RunnerRemoved = RUNNER_REMOVED, "RunnerRemoved";
}

/// Why a body of a known kind says nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum VoidReason {
    /// The bytes are not the canonical encoding.
    #[error(transparent)]
    Codec(CodecError),
    /// A field is longer than the format allows; the text names it.
    #[error("out of bounds: {0}")]
    Bound(&'static str),
}

impl Body {
    /// The run an event belongs to.
    pub fn run(&self) -> Option<RunId> {
        match self {
            Body::RunSubmitted(body) => Some(body.run()),
            Body::JobsPlanned(body) => Some(body.run),
            Body::RunCancelled(body) => Some(body.run),
            Body::RunExpired(body) => Some(body.run),
            Body::PriorityChanged(body) => Some(body.run),
            Body::TriggerFired(body) => Some(body.run),
            Body::EffectIntended(body) => Some(body.run),
            Body::EffectDone(body) => Some(body.run),
            Body::DispatchFollowed(body) => Some(body.run),
            _ => self.job().map(|(run, _)| run),
        }
    }

    /// The repository an event of one repository belongs to.
    pub fn repository(&self) -> Option<&RepositoryRef> {
        match self {
            Body::RepositoryScanned(body) => Some(&body.repository),
            Body::WorkflowFound(body) => Some(&body.repository),
            Body::WorkflowVanished(body) => Some(&body.repository),
            _ => None,
        }
    }

    /// The `RunnerIntended` of the runner whose later event this is.
    pub fn runner_intent(&self) -> Option<EventId> {
        match self {
            Body::RunnerStarted(body) => Some(body.intent),
            Body::RunnerExited(body) => Some(body.intent),
            Body::RunnerRemoved(body) => Some(body.intent),
            _ => None,
        }
    }

    /// The run and job an event of one job belongs to.
    pub fn job(&self) -> Option<(RunId, JobId)> {
        match self {
            Body::JobClaimed(body) => Some((body.run, body.job)),
            Body::JobReleased(body) => Some((body.run, body.job)),
            Body::JobStarted(body) => Some((body.run, body.job)),
            Body::StepFinished(body) => Some((body.run, body.job)),
            Body::JobCompleted(body) => Some((body.run, body.job)),
            Body::JobAborted(body) => Some((body.run, body.job)),
            Body::JobFailed(body) => Some((body.run, body.job)),
            _ => None,
        }
    }

    /// The peer a membership event speaks of.
    pub fn peer(&self) -> Option<PeerId> {
        match self {
            Body::PeerAdmitted(body) => Some(body.peer),
            Body::PeerRevoked(body) => Some(body.peer),
            Body::PeerLabelled(body) => Some(body.peer),
            Body::KeyRotated(body) => Some(body.to),
            Body::ForkProved(body) => Some(body.first.header.chain.author),
            _ => None,
        }
    }

    /// The events that the body itself names and an author must list in `refs`, most important first.
    pub fn named_events(&self) -> Vec<EventId> {
        match self {
            Body::JobsPlanned(body) => vec![body.submission],
            Body::RunCancelled(body) => vec![body.submission],
            Body::RunExpired(body) => vec![body.submission],
            Body::PriorityChanged(body) => vec![body.submission],
            Body::EffectIntended(body) => vec![body.submission],
            Body::EffectDone(body) => vec![body.intent],
            Body::DispatchFollowed(body) => vec![body.intent],
            Body::JobClaimed(body) => {
                let mut named = vec![body.submission];
                named.extend(body.supersedes);
                named
            }
            Body::JobReleased(body) => vec![body.claim],
            Body::JobStarted(body) => vec![body.claim],
            Body::StepFinished(body) => vec![body.claim],
            Body::JobCompleted(body) => vec![body.claim],
            Body::JobAborted(body) => vec![body.claim],
            Body::JobFailed(body) => body.claim.into_iter().chain([body.submission]).collect(),
            Body::PeerAdmitted(body) => match &body.grant {
                Grant::Invite { invite, .. } => vec![*invite],
                Grant::Direct { .. } => Vec::new(),
            },
            Body::RunSubmitted(body) => body.rerun_of.into_iter().collect(),
            _ => self.runner_intent().into_iter().collect(),
        }
    }
}
