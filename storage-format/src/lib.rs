//! What is written: events, frames, ids, signatures and limits. Bytes in, bytes out.
//!
//! Layer 0 of the house. This crate does no IO, reads no clock and draws no random numbers; it decides nothing about
//! workflows. It owns every byte that is signed, hashed, stored or sent inside a frame, and SPEC.md beside it describes
//! them well enough for a second implementation.
//!
//! Invariants: encoding is canonical (decoding and encoding again gives the same bytes, or the input is refused); an
//! [`EventId`] depends on the event alone; nothing that is decoded allocates more than a small multiple of its input.
//!
//! The states of foreign bytes are types: [`SignedFrame`] (well formed) becomes a [`VerifiedFrame`] (hashes and signature
//! are right) and only that can be admitted to a log.
//!
//! # The main path
//!
//! An author writes a body, puts it into a frame, signs the frame; somebody else reads the bytes:
//!
//! ```
//! use wfengine_storage_format::{
//!     Body, ChainId, ClusterFounded, FrameBuilder, Incarnation, SignedFrame, Signer,
//! };
//!
//! let signer = Signer::from_seed(&[1; 32]);
//! let chain = ChainId { author: signer.peer_id(), incarnation: Incarnation::from_bytes([2; 16]) };
//! let founding = Body::from(ClusterFounded {
//!     name: "home".to_owned(),
//!     nonce: [3; 16],
//!     system: vec!["linux".to_owned()],
//! });
//! let (kind, body) = founding.encode()?;
//!
//! // The frame that founds a cluster names no cluster: its first event's id becomes the cluster's.
//! let mut frame = FrameBuilder::new(None, chain, 0, None, Vec::new());
//! assert!(frame.fits(body.len(), 0));
//! let id = frame.push(1, 1_800_000_000_000, Vec::new(), Vec::new(), kind, body);
//! let frame = frame.sign(&signer).ok_or("nothing was pushed")?;
//!
//! let received = SignedFrame::decode(frame.bytes())?.verify()?;
//! assert_eq!(received.header().cluster.as_bytes(), id.as_bytes());
//! let (received_id, event) = &received.events()[0];
//! assert_eq!(*received_id, id);
//! assert_eq!(Body::decode(event.kind, &event.body), founding);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Bytes that were changed on the way are refused with the reason:
//!
//! ```
//! # use wfengine_storage_format::*;
//! # let signer = Signer::from_seed(&[1; 32]);
//! # let chain = ChainId { author: signer.peer_id(), incarnation: Incarnation::from_bytes([2; 16]) };
//! # let mut frame = FrameBuilder::new(None, chain, 0, None, Vec::new());
//! # frame.push(1, 0, Vec::new(), Vec::new(), Kind::from_number(0x7abc), vec![0]);
//! # let mut bytes = frame.sign(&signer).ok_or("nothing was pushed")?.bytes().to_vec();
//! if let Some(last) = bytes.last_mut() {
//!     *last ^= 1; // a bit of the last event's body
//! }
//! let outcome = SignedFrame::decode(&bytes).and_then(SignedFrame::verify);
//! assert!(matches!(outcome, Err(FrameError::Hash { .. })));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod body;
mod codec;
mod event;
mod export;
mod frame;
mod hash;
mod id;
mod kind;
pub mod limits;
mod raw;
mod signature;
mod submission;
mod wire;

pub use body::{
    AbortReason, Body, ClusterFounded, Conclusion, DiscoveryChanged, DispatchFollowed, Effect, EffectDone,
    EffectIntended, EffectOutcome, ForkProved, Grant, JobAborted, JobClaimed, JobCompleted, JobFailed,
    JobReleased, JobStarted, JobsPlanned, KeyRotated, PeerAdmitted, PeerDescribed, PeerInvited, PeerLabelled,
    PeerRevoked, PlannedKey, PlannedLeg, PoolChanged, PriorityChanged, ReleaseReason, RepositoryRef,
    RepositoryScanned, Role, Roles, RunCancelled, RunExpired, RunnerCause, RunnerEnd, RunnerExited,
    RunnerIntended, RunnerJob, RunnerRemoved, RunnerStarted, ScanOutcome, StepFinished, Trigger,
    TriggerFired, VoidReason, WorkflowFound, WorkflowVanished,
};
pub use codec::{CodecError, from_canonical, to_canonical, with_canonical};
pub use event::{ChainCut, Event, Tip};
pub use export::{
    EXPORT_HEADER_LEN, EXPORT_MAGIC, EXPORT_RECORD_HEAD_LEN, ExportDamage, ExportError, ExportHeader,
    ExportItem, ExportReader, ExportScope, ExportTrailer, ExportWriter, ExportedFrame,
};
pub use frame::{
    FrameBuilder, FrameError, FrameHeader, SignedFrame, SignedHeader, VerifiedFrame, fork_between,
};
pub use hash::{
    Hash32, canonical_matrix, clock_head, duty_key, hamming_distance, job_id, ownership_key, peer_point,
    run_id, sha256, tie_break, tie_break_text,
};
pub use id::{BlobId, ChainId, ClusterId, EventId, IdError, IdPrefix, Incarnation, JobId, PeerId, RunId};
pub use kind::Kind;
pub use signature::{InviteKey, Signature, SignatureError, Signer, invite_statement, rotation_statement};
pub use submission::{Frozen, Origin, Placement, RunSpec, RunSubmitted, WorkflowSpec};
