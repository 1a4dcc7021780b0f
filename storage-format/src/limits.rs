//! Every bound of the format, with its reason. They are the same on every node: an event inside them is never refused by
//! one node and accepted by another. Quotas and rates may delay a local command or slow a peer down, never change these.

/// Events in one frame: one signature then costs less than hashing them.
pub const FRAME_EVENTS_MAX: usize = 256;
/// Bytes of an encoded frame; fits four times into a message.
pub const FRAME_BYTES_MAX: usize = 256 * 1024;
/// Bytes of one event's body. Its envelope is bounded by the lists below.
pub const EVENT_BYTES_MAX: usize = 64 * 1024;
/// Tips of other chains that a frame may name.
pub const PARENTS_MAX: usize = 16;
/// Events a body may speak of.
pub const REFS_MAX: usize = 8;
/// Blobs an event may keep alive.
pub const BLOBS_MAX: usize = 64;
/// Bytes of one text field.
pub const TEXT_BYTES_MAX: usize = 4 * 1024;
/// Bytes of a name that people read in tables.
pub const NAME_BYTES_MAX: usize = 256;
/// Bytes of a JSON text (inputs, metadata, results, outputs) inside an event.
pub const JSON_BYTES_MAX: usize = 32 * 1024;
/// Entries of one list in a body.
pub const LIST_LEN_MAX: usize = 256;
/// Chains that a revocation may cut one by one; an author opens at most 100 a day.
pub const CUTS_MAX: usize = 1024;
/// Files that one look at a repository reports as unreadable; the rest would say the same.
pub const PROBLEMS_MAX: usize = 12;
/// Remarks about one workflow.
pub const REMARKS_MAX: usize = 8;
/// Labels of a runner or a pool; GitHub takes no more.
pub const RUNNER_LABELS_MAX: usize = 100;
/// Bytes of the JSON text that says how a pool's containers are made.
pub const POLICY_BYTES_MAX: usize = 8 * 1024;
/// Bytes of a trigger key.
pub const TRIGGER_KEY_BYTES_MAX: usize = 512;
/// Points of a peer in the ownership rule, so that nobody weighs down the ranking.
pub const WEIGHT_MAX: u16 = 64;
/// Members of a cluster.
pub const MEMBERS_MAX: usize = 1024;
/// Claims of one job by one author that were lost after they started; one more is looked at, later ones are void.
pub const CLAIMS_PER_AUTHOR_MAX: usize = 5;
/// Lost claims after which a job fails for infrastructure reasons.
pub const EPOCHS_MAX: u32 = 5;
/// Height an event may claim. Heights grow by one an event, so this is out of reach and keeps sums from overflowing.
pub const HEIGHT_MAX: u64 = 1 << 48;
/// Smallest and greatest priority, in thousandths.
pub const PRIORITY_MILLI_MAX: u32 = 1_000_000;
/// Priority of a submission that names none, in thousandths.
pub const PRIORITY_MILLI_DEFAULT: u32 = 3_000;
/// First kind number that a node must know before it may take part in decisions.
pub const CRITICAL_KIND_MIN: u16 = 0x8000;
/// Frames in one segment document: the cost of a live change grows with the document.
pub const SEGMENT_FRAMES_MAX: usize = 256;
/// Encoded frame bytes in one segment document.
pub const SEGMENT_BYTES_MAX: usize = 512 * 1024;
/// Bytes of an export's trailer: the tips of some 270,000 chains.
pub const EXPORT_TRAILER_BYTES_MAX: usize = 24 * 1024 * 1024;

const _: () = assert!(EVENT_BYTES_MAX < FRAME_BYTES_MAX);
const _: () = assert!(FRAME_BYTES_MAX <= SEGMENT_BYTES_MAX);
const _: () = assert!(FRAME_EVENTS_MAX <= u16::MAX as usize);
const _: () = assert!(JSON_BYTES_MAX < EVENT_BYTES_MAX);
const _: () = assert!(POLICY_BYTES_MAX <= JSON_BYTES_MAX);
const _: () = assert!(RUNNER_LABELS_MAX * NAME_BYTES_MAX < EVENT_BYTES_MAX);
const _: () = assert!(CUTS_MAX * 32 < EVENT_BYTES_MAX);
const _: () = assert!(NAME_BYTES_MAX <= TEXT_BYTES_MAX);
