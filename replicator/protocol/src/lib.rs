//! What two nodes say to make their logs equal, without IO.
//!
//! Frames travel as automerge change chunks. A chain is cut into segments ([`segment`]), a segment is one automerge
//! document ([`document`]), a document is one change a frame ([`chunk`]), and what a peer sends is read by our own parser
//! first ([`filter`]). PROTOCOL.md beside this crate describes the bytes well enough for a second implementation.
//!
//! The way of a foreign chunk: [`ParsedChunk::parse`] → verify the frame inside → [`SegmentCursor::accept`] → admit and
//! commit the frame → [`Projection::append`], in a thread of the driver that nothing waits for. The log holds frames; every
//! document can be thrown away and made again from them.
//!
//! [`Exchange`] is the machine that a node drives: it greets, compares [`Frontier`]s, asks, answers, relays. [`Membership`] says who
//! is alive. [`message`] has what they say, [`join`] the line that lets somebody in.
//!
//! This crate opens no socket, starts no thread and reads no clock.

mod bounded;
pub mod chunk;
pub mod document;
mod exchange;
pub mod filter;
pub mod frontier;
pub mod join;
pub mod limits;
pub mod membership;
pub mod message;
pub mod output;
pub mod scores;
pub mod segment;
mod session;

pub use chunk::{AcceptedChunk, CHUNK_LEN_MAX, ChangeHash, Chunk};
pub use document::{
    DOCUMENT_LEN_MAX, DocumentError, DocumentFrames, Projection, ProjectionError, document_bytes,
    export_document, frames_of,
};
pub use exchange::{Config, Exchange, IngestBudget, Standing};
pub use filter::{ParsedChunk, Rejected};
pub use frontier::{ChainEntry, Frontier};
pub use join::{JoinLine, JoinLineError};
pub use membership::Membership;
pub use message::{
    ByeCode, Datagram, JoinAnswer, JoinRefusal, JoinRequest, Message, MessageError, Question, Reply,
};
pub use output::{
    AskId, Class, ConnectionId, FramesRead, JoinDecision, Outcome, Output, RequestId, StoredFrame,
};
pub use segment::{DocumentActor, FrameLength, Place, SegmentCursor, SegmentNumber, Slot, segments_of};
pub use session::Role;
