//! One job as the views show it: claims, the effective one, results, status.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wfengine_storage_format::limits::CLAIMS_PER_AUTHOR_MAX;
use wfengine_storage_format::{ChainId, Conclusion, EventId, JobId, PeerId, PlannedLeg};

use crate::admitted::CanonicalOrder;
use crate::ownership::Token;

/// Status words, the same everywhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// No effective claim.
    Pending,
    /// Claimed.
    Assigned,
    /// Its first step started.
    InProgress,
    /// Concluded with success.
    Completed,
    /// Concluded with failure, or no execution will conclude.
    Failed,
    /// Stopped on request.
    Cancelled,
    /// Its condition was false.
    Skipped,
    /// Nobody eligible was found for too long.
    Expired,
}

impl Status {
    /// Every status, in the order of a run's life.
    pub const ALL: [Status; 8] = [
        Status::Pending,
        Status::Assigned,
        Status::InProgress,
        Status::Completed,
        Status::Failed,
        Status::Cancelled,
        Status::Skipped,
        Status::Expired,
    ];
    /// The word people and programs read.
    pub const fn name(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Assigned => "assigned",
            Status::InProgress => "in_progress",
            Status::Completed => "completed",
            Status::Failed => "failed",
            Status::Cancelled => "cancelled",
            Status::Skipped => "skipped",
            Status::Expired => "expired",
        }
    }
    /// Whether nothing more will happen to it by itself.
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Status::Pending | Status::Assigned | Status::InProgress)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What became of a claim, as far as its author wrote it down.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ClaimState {
    /// Nothing says that it ended.
    Held,
    /// Given back.
    Released(String),
    /// Its execution stopped before the end.
    Aborted(String),
    /// It has a result.
    Completed,
    /// Its author says that no execution will conclude.
    Failed,
}

/// A valid claim on a job.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Claim {
    /// The `JobClaimed`.
    pub id: EventId,
    /// Whose, under which incarnation.
    pub chain: ChainId,
    /// Its place in the chain.
    pub seq: u64,
    /// Its logical clock.
    pub height: u64,
    /// 1 for the first.
    pub epoch: u32,
    /// 0 if the submission knew the peer as a member, 1 if only the claim did.
    pub band: u8,
    /// Place in the ranking of its band.
    pub rank: u32,
    /// Bits between the job's key and the peer.
    pub distance: u32,
    /// Whether it names the canonical submission.
    pub names_canonical_submission: bool,
    /// The claim it takes over from.
    pub supersedes: Option<EventId>,
    /// Whether its first step began.
    pub started: bool,
    /// Steps that ended.
    pub steps_done: u32,
    /// What became of it.
    pub state: ClaimState,
    /// When its author wrote it, advisory, milliseconds since 1970.
    pub time_ms: u64,
}

impl Claim {
    /// Its fencing token.
    pub fn token(&self) -> Token {
        Token::new(self.epoch, self.names_canonical_submission, self.band, self.rank, self.id)
    }
    /// Its place in the canonical order, in which claims fill a concurrency group.
    pub fn order(&self) -> CanonicalOrder {
        (self.height, self.chain, self.seq)
    }
    /// Who claims.
    pub fn peer(&self) -> PeerId {
        self.chain.author
    }
    /// Whether its author may still be working on it.
    pub fn is_held(&self) -> bool {
        self.state == ClaimState::Held
    }
}

/// A result of a job.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JobResult {
    /// The `JobCompleted`.
    pub id: EventId,
    /// The claim that produced it.
    pub claim: EventId,
    /// By whom.
    pub peer: PeerId,
    /// How it ended.
    pub conclusion: Conclusion,
    /// Outputs, sorted by name.
    pub outputs: Vec<(String, String)>,
    /// A task's result as JSON text.
    pub result_json: String,
    /// The log's blob and length.
    pub log: Option<(wfengine_storage_format::BlobId, u64)>,
    /// How long it took.
    pub duration_ms: u64,
    /// What people should know of it.
    pub notes: Vec<String>,
}

/// A job of a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Job {
    /// Its id, the `task_hash` of the ownership rule.
    pub id: JobId,
    /// The job's key in the workflow file.
    pub key: String,
    /// What is executed.
    pub leg: PlannedLeg,
    /// The jobs it needs.
    pub needs: Vec<String>,
    /// Valid claims in canonical order.
    pub claims: Vec<Claim>,
    /// The claim with the greatest token.
    pub effective: Option<EventId>,
    /// The canonical result.
    pub result: Option<Arc<JobResult>>,
    /// Other results: the same job was executed more than once.
    pub duplicates: Vec<Arc<JobResult>>,
    /// Whether a duplicate says something else than the canonical result.
    pub divergent: bool,
    /// The canonical result is not the one that came first.
    pub result_superseded: bool,
    /// Why no execution will conclude.
    pub failed: Option<String>,
    /// Whether the failure was the hosts'.
    pub failed_infrastructure: bool,
    /// Whether the run may be submitted again after the failure.
    pub failed_retry: bool,
    /// Where it stands.
    pub status: Status,
    /// In words.
    pub reason: String,
    /// Events of it that say nothing.
    pub void: Vec<EventId>,
}

impl Job {
    /// The claim with the greatest token, whatever became of it.
    pub fn effective_claim(&self) -> Option<&Claim> {
        self.claims.iter().find(|claim| Some(claim.id) == self.effective)
    }
    /// The claim whose author may be working on the job.
    pub fn holder(&self) -> Option<&Claim> {
        self.effective_claim().filter(|claim| claim.is_held())
    }
    /// One claim.
    pub fn claim(&self, id: &EventId) -> Option<&Claim> {
        self.claims.iter().find(|claim| claim.id == *id)
    }
    /// How the job ended, once it did.
    pub fn conclusion(&self) -> Option<Conclusion> {
        match self.status {
            Status::Completed => Some(Conclusion::Success),
            Status::Failed => Some(Conclusion::Failure),
            Status::Cancelled | Status::Expired => Some(Conclusion::Cancelled),
            Status::Skipped => Some(Conclusion::Skipped),
            Status::Pending | Status::Assigned | Status::InProgress => None,
        }
    }
    /// Whether a peer's next claim would be void because it lost too many after they started. Claims that were given back or
    /// never started cost nothing: a node that drains every night must not lose its job for good.
    pub fn is_used_up(&self, peer: &PeerId) -> bool {
        let lost = |claim: &&Claim| claim.peer() == *peer && claim.started && claim.is_held();
        self.claims.iter().filter(lost).count() > CLAIMS_PER_AUTHOR_MAX
    }
    /// Claims that were lost after they started: epochs that count towards giving up.
    pub fn lost_after_start(&self) -> u32 {
        let superseded = |claim: &Claim| self.claims.iter().any(|later| later.supersedes == Some(claim.id));
        let lost =
            self.claims.iter().filter(|claim| claim.started && claim.is_held() && superseded(claim)).count();
        u32::try_from(lost).unwrap_or(u32::MAX)
    }
}
