//! Every bound of the exchange between nodes, with its reason. Bounds of events and frames are the storage format's.
//!
//! What is said to be *shared* is part of the protocol: a peer that passes it broke the rules. The rest is this node's own
//! affair and only decides how much it asks for and keeps.

use wfengine_storage_format::limits::HEIGHT_MAX;

use crate::chunk::CHUNK_LEN_MAX;

/// Bytes of a message before the hello was accepted (shared): a hello or an invite fits, little else does.
pub const FIRST_MESSAGE_BYTES_MAX: usize = 4 << 10;
/// Bytes of a message afterwards (shared): some chunks of the longest frames fit.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Bytes of a datagram (shared): fits a packet on every path that QUIC accepts.
pub const DATAGRAM_BYTES_MAX: usize = 1_200;
/// Addresses in a hello (shared).
pub const ADDRESSES_MAX: usize = 8;
/// Bytes of one address, `host:port` (shared): a DNS name and a port fit.
pub const ADDRESS_BYTES_MAX: usize = 264;
/// Bytes of a name in a hello or a join request (shared).
pub const NAME_BYTES_MAX: usize = 128;
/// Labels of the system in a join request (shared).
pub const LABELS_MAX: usize = 16;
/// Bytes of one label (shared).
pub const LABEL_BYTES_MAX: usize = 64;
/// Bytes of a reason for people (shared); as many as a QUIC close carries.
pub const REASON_BYTES_MAX: usize = 256;
/// Chains of the peer that a hello lists, newest first (shared): enough to notice a restored backup.
pub const HELD_MAX: usize = 16;
/// Chains in a frontier or a notice (shared): 1 024 members with 8 open chains each.
pub const ENTRIES_MAX: usize = 8_192;
/// Events of a chain, as an entry or a push may say (shared): each is higher than the one before.
pub const CHAIN_EVENTS_MAX: u64 = HEIGHT_MAX;
/// Ranges in one question about closed chains (shared).
pub const RANGES_MAX: usize = 64;
/// Closed chains below which a range is listed and not divided further (shared: it shapes the fingerprints).
pub const RANGE_ENTRIES_MAX: usize = 32;
/// Hexadecimal digits of a range, at most (shared: it shapes the fingerprints).
pub const RANGE_DEPTH_MAX: u8 = 16;
/// Chunks in one message (shared).
pub const CHUNKS_MAX: usize = 1_024;
/// Bytes of chunks that one message is filled with; the longest chunk fits on top of it.
pub const CHUNKS_BYTES: usize = 384 << 10;
/// Needs that a peer may have open at once (shared).
pub const NEEDS_MAX: usize = 64;
/// Bytes one need may ask for (shared).
pub const NEED_BYTES_MAX: u32 = 1 << 20;
/// Bytes one need asks for at least, so that many small chains go in few round trips.
pub const NEED_BYTES_MIN: u32 = 64 << 10;
/// Bytes asked of one peer and not yet answered.
pub const WINDOW_BYTES: u32 = 4 << 20;
/// Bytes handed to the transport for one peer and not taken by it, above which new frames are noticed instead of pushed and
/// serving waits.
pub const UNSENT_BYTES_MAX: usize = 1 << 20;
/// Bytes handed to the transport for one peer that asks and does not read, at which its connection ends.
pub const UNSENT_BYTES_ABUSE: usize = 16 << 20;
/// Reads for one peer's needs that the driver performs at once, each of at most a segment.
pub const SERVING_READS_MAX: usize = 4;
/// Bytes of chunks one peer pushed that wait to be verified; further ones count as notices. What was asked for comes on top: the
/// window, and for each need the chunk that passes its bytes, 20 MiB in the worst case (every frame of 256 KiB).
pub const PUSHED_BYTES_MAX: usize = 2 << 20;
/// Bytes of one chain's frames on their way to the log, above which no more of the chain is taken.
pub const AHEAD_CHAIN_BYTES_MAX: usize = 8 << 20;
/// Bytes of all frames on their way to the log, above which nothing is asked for.
pub const AHEAD_BYTES_MAX: usize = 32 << 20;
/// Bytes of the shortest chunk there can be (shared); keeps the number of chunks in proportion to their bytes.
pub const CHUNK_LEN_MIN: usize = 64;
/// Bytes of one range of a blob (shared).
pub const BLOB_RANGE_BYTES_MAX: usize = 64 << 10;
/// Ranges of one blob asked for and not yet answered.
pub const BLOB_RANGES_IN_FLIGHT: usize = 4;
/// Blobs fetched at once.
pub const BLOBS_IN_FLIGHT: usize = 16;
/// Blobs in one offer (shared).
pub const BLOB_OFFERS_MAX: usize = 256;
/// Blobs in one question about what a peer holds (shared).
pub const BLOBS_HELD_MAX: usize = 64;
/// Questions to one peer, or of one, that wait for an answer (shared).
pub const ASKS_MAX: usize = 64;
/// Chains of one peer's offers that are kept; the rest comes with a later comparison.
pub const OFFERS_MAX: usize = 16_384;
/// Peers whose score is remembered.
pub const SCORES_MAX: usize = 4_096;

const _: () = assert!(CHUNKS_BYTES + CHUNK_LEN_MAX + CHUNKS_MAX * 3 + 256 <= MESSAGE_BYTES_MAX);
// entry: chain 48, length and height at most 10 each, tip 32
const _: () = assert!(ENTRIES_MAX * 100 + 256 <= MESSAGE_BYTES_MAX);
const _: () = assert!(
    ADDRESSES_MAX * (ADDRESS_BYTES_MAX + 2) + HELD_MAX * 68 + 2 * NAME_BYTES_MAX + 128
        <= FIRST_MESSAGE_BYTES_MAX
);
const _: () = assert!(LABELS_MAX * (LABEL_BYTES_MAX + 1) + NAME_BYTES_MAX + 192 <= FIRST_MESSAGE_BYTES_MAX);
const _: () = assert!(RANGES_MAX * (RANGE_ENTRIES_MAX * 100 + 16) <= MESSAGE_BYTES_MAX);
const _: () = assert!(NEED_BYTES_MAX as usize >= CHUNK_LEN_MAX && NEED_BYTES_MAX <= WINDOW_BYTES);
