//! Beats: what a node says of itself every two seconds. They travel as datagrams and never enter the log.
//!
//! A beat is advice. Losing, doubling or reordering beats changes when something happens, never what is true: they are
//! numbered, and an older one than the last is dropped. One beat fits a QUIC datagram; a node with more claims than fit
//! sends several. Whoever gets a new beat may pass it on to peers that its author does not reach.

use serde::{Deserialize, Serialize};
use wfengine_storage_format::{ChainId, CodecError, EventId, JobId, from_canonical, to_canonical};

use super::allow::Allowed;

/// Bytes of an encoded beat: what fits the smallest QUIC datagram with room for a header.
pub const BEAT_BYTES_MAX: usize = 1150;
/// Claims named in one beat.
pub const CLAIMS_PER_BEAT_MAX: usize = 16;
/// Declined jobs named in one beat.
pub const DECLINES_PER_BEAT_MAX: usize = 10;

/// Why a node does not claim a job, or any job.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Decline {
    /// All slots are taken.
    Full,
    /// Its operator paused it.
    Paused,
    /// It is shutting down.
    Draining,
    /// Its loop lagged.
    Unhealthy,
    /// The log holds events it must be upgraded for.
    MustUpgrade,
    /// It sees a minority of the members.
    Minority,
    /// Its operator did not allow the submitter.
    NotAllowed,
    /// Its role or labels do not fit.
    NotEligible,
    /// The job runs where it was submitted.
    PlacedElsewhere,
    /// No program on it waits for such a task.
    NoProgram,
    /// It tried and could not.
    Unable,
    /// It claimed the job as often as one peer may.
    Exhausted,
    /// It lacks events that its peers have.
    Behind,
    /// The run was handed to GitHub.
    OnGithub,
}

impl Decline {
    /// In words, after "it".
    pub fn text(self) -> &'static str {
        match self {
            Decline::Full => "has no free slot",
            Decline::Paused => "is paused (`wfengine resume`)",
            Decline::Draining => "is shutting down",
            Decline::Unhealthy => "was not on time lately",
            Decline::MustUpgrade => "must be upgraded",
            Decline::Minority => "sees a minority of the members and holds back",
            Decline::NotAllowed => "was not told to run this submitter's jobs (`wfengine allow`)",
            Decline::NotEligible => "does not have the labels or the role",
            Decline::PlacedElsewhere => "is not where the run was started",
            Decline::NoProgram => {
                "has no program waiting for such a task (`wfengine task next`, `wfengine work`)"
            }
            Decline::Unable => "tried and could not run it",
            Decline::Exhausted => "claimed it as often as one peer may",
            Decline::Behind => "is catching up with its peers' log",
            Decline::OnGithub => "leaves the run to GitHub, which has it",
        }
    }
}

/// A claim its author is working on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NamedClaim {
    /// The `JobClaimed`.
    pub claim: EventId,
    /// The step being executed, from 1; 0 before the first.
    pub step: u32,
    /// How far the job is, if its executor knows.
    pub percent: Option<u8>,
}

/// What a node says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Beat {
    /// Who, under which incarnation.
    pub chain: ChainId,
    /// Counts up within the incarnation.
    pub number: u64,
    /// Whether its loop was on time lately.
    pub healthy: bool,
    /// Jobs it could start at once.
    pub free_slots: u32,
    /// Programs that wait for a task.
    pub programs: u32,
    /// Whose jobs it executes.
    pub allowed: Allowed,
    /// Why it claims nothing at all, if so.
    pub declines_all: Option<Decline>,
    /// Claims it is working on; of several beats of one tick each names a part.
    pub claims: Vec<NamedClaim>,
    /// Jobs it would be next for and does not take.
    pub declines: Vec<(JobId, Decline)>,
}

/// Why bytes are no beat.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BeatError {
    /// They are not the encoding of one.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A list is longer than a beat's.
    #[error("a beat names {len} {what}, at most {len_max} fit")]
    Bound {
        /// Which list.
        what: &'static str,
        /// How long it is.
        len: usize,
        /// How long it may be.
        len_max: usize,
    },
}

impl Beat {
    /// The bytes of a datagram.
    pub fn encode(&self) -> Vec<u8> {
        to_canonical(self)
    }

    /// Reads a datagram.
    ///
    /// # Errors
    /// [`BeatError`] when the bytes are too long, not canonical, or break a bound.
    pub fn decode(bytes: &[u8]) -> Result<Self, BeatError> {
        let beat: Self = from_canonical("a beat", bytes, BEAT_BYTES_MAX)?;
        let bounds = [
            ("claims", beat.claims.len(), CLAIMS_PER_BEAT_MAX),
            ("declined jobs", beat.declines.len(), DECLINES_PER_BEAT_MAX),
        ];
        match bounds.into_iter().find(|(_, len, len_max)| len > len_max) {
            Some((what, len, len_max)) => Err(BeatError::Bound { what, len, len_max }),
            None => Ok(beat),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wfengine_storage_format::{Incarnation, PeerId};

    fn fullest() -> Beat {
        let claim = NamedClaim { claim: EventId::from_bytes([255; 32]), step: u32::MAX, percent: Some(255) };
        Beat {
            chain: ChainId {
                author: PeerId::from_bytes([255; 32]),
                incarnation: Incarnation::from_bytes([255; 16]),
            },
            number: u64::MAX,
            healthy: true,
            free_slots: u32::MAX,
            programs: u32::MAX,
            allowed: Allowed::Some,
            declines_all: Some(Decline::Exhausted),
            claims: vec![claim; CLAIMS_PER_BEAT_MAX],
            declines: vec![(JobId::from_bytes([255; 32]), Decline::Exhausted); DECLINES_PER_BEAT_MAX],
        }
    }

    #[test]
    fn the_fullest_beat_fits_a_datagram() {
        let bytes = fullest().encode();
        assert!(bytes.len() <= BEAT_BYTES_MAX, "{} bytes", bytes.len());
        assert_eq!(Beat::decode(&bytes), Ok(fullest()));
    }

    #[test]
    fn foreign_bytes_are_refused() {
        let bytes = fullest().encode();
        for len in 0..bytes.len() {
            assert!(Beat::decode(&bytes[..len]).is_err());
        }
        let mut long = fullest();
        long.claims = vec![long.claims[0]; CLAIMS_PER_BEAT_MAX + 1];
        long.declines.clear();
        assert!(matches!(Beat::decode(&long.encode()), Err(BeatError::Bound { .. })));
        assert!(matches!(Beat::decode(&[0; 5000]), Err(BeatError::Codec(CodecError::TooLong { .. }))));
    }
}
