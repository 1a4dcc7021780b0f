//! Every bound of this crate, with its reason.
//!
//! A workflow file comes from strangers: whatever is parsed or evaluated here ends at one of these numbers with a typed
//! error, never with exhausted memory or a deep stack.

use wfengine_storage_format::limits::{EVENT_BYTES_MAX, LIST_LEN_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX};

/// Bytes of one workflow file. The largest of the 319 real files in the corpus has 36 KB.
pub const SOURCE_LEN_MAX: usize = 512 * 1024;
/// Nesting of sequences and mappings: far beyond what people write, and shallow enough to recurse on.
pub const DEPTH_MAX: usize = 50;
/// Nodes (scalars, sequences, mappings, keys) after aliases are expanded, so an alias bomb ends here.
pub const NODES_MAX: usize = 10_000;
/// Nesting of values inside an evaluation (`fromJSON`, contexts), and of expressions.
pub const VALUE_DEPTH_MAX: usize = 50;
/// Characters of one expression, as on GitHub.
pub const EXPRESSION_LEN_MAX: usize = 21_000;
/// Characters of operators in one expression. A chain `a || b || c` is a tree as deep as it is long, so this bounds the stack.
pub const EXPRESSION_OPERATORS_MAX: usize = 1_000;
/// Bytes of any text an expression produces, also in between, and of all outputs of a job together.
pub const OUTPUT_LEN_MAX: usize = 1024 * 1024;
/// Bytes of all values of one tree (`env`, `matrix`, …) together: many expressions, each within
/// [`OUTPUT_LEN_MAX`], would fill the memory.
pub const TREE_LEN_MAX: usize = 4 * 1024 * 1024;
/// Combinations of one matrix, as on GitHub.
pub const MATRIX_COMBINATIONS_MAX: usize = 256;
/// Jobs of one plan: 16 full matrices.
pub const PLANNED_JOBS_MAX: usize = 4096;
/// Characters of a job or step id.
pub const ID_LEN_MAX: usize = 100;
/// Minutes a job may run when it says nothing, as on GitHub.
pub const JOB_TIMEOUT_MINUTES: u32 = 360;
/// Characters of one pattern of `branches`, `tags` or `paths`: four times what anybody writes.
pub const PATTERN_LEN_MAX: usize = 1024;
/// Characters of all patterns of one list together. With [`MATCHED_NAME_LEN_MAX`] it bounds what one name costs: each character
/// of the one meets each of the other once.
pub const PATTERNS_LEN_MAX: usize = 16 * 1024;
/// Characters of a branch, tag or path that patterns are tried on, as long as the longest path of Linux; a longer one matches
/// nothing.
pub const MATCHED_NAME_LEN_MAX: usize = 4096;
/// Entries of `on.schedule`: each is asked for its next instant again and again.
pub const SCHEDULES_MAX: usize = 100;
/// Calendar years in which a schedule is due at least once if it ever is: from 29 February 1896 to the next are eight.
pub const SCHEDULE_YEARS_MAX: i16 = 8;
/// The most diagnostics reported for one file; the rest would only repeat.
pub const DIAGNOSTICS_MAX: usize = 100;

/// Bytes of a job's legs in a plan: one event has to hold them.
pub const PLANNED_KEY_LEN_MAX: usize = EVENT_BYTES_MAX - 8 * 1024;
/// Bytes of a planned job's name and of the reason why it is skipped; longer ones are cut.
pub const PLANNED_NAME_LEN_MAX: usize = NAME_BYTES_MAX;

const _: () = assert!(MATRIX_COMBINATIONS_MAX <= LIST_LEN_MAX);
const _: () = assert!(PLANNED_NAME_LEN_MAX <= TEXT_BYTES_MAX && ID_LEN_MAX <= NAME_BYTES_MAX);
const _: () = assert!(OUTPUT_LEN_MAX <= TREE_LEN_MAX);
const _: () = assert!(DEPTH_MAX <= NODES_MAX);
const _: () = assert!(VALUE_DEPTH_MAX <= DEPTH_MAX);
const _: () = assert!(PATTERN_LEN_MAX <= PATTERNS_LEN_MAX && PATTERNS_LEN_MAX <= SOURCE_LEN_MAX);
