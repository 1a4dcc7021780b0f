//! What we read of GitHub's answers: few fields, and none of them required that GitHub has ever left out.
//!
//! Invariants: `null`, an absent field, an unknown field and an unknown value of an enumeration never lose an entry; ids have 64
//! bits; what is not known is kept as text. Nothing here asks GitHub anything.

mod actions;
mod content;
mod open;
mod reports;
mod repository;
mod runners;

pub use actions::{Conclusion, Job, Progress, RepositoryNamed, Step, Workflow, WorkflowRun};
pub(crate) use actions::{Jobs, WorkflowRuns, Workflows};
pub use content::{Blob, Branch, Commit, ContentEntry, ContentKind, EntryKind, Tree, TreeEntry};
pub use reports::{CheckRun, CommitStatus, Hook, RateLimit, RateLimits};
pub(crate) use repository::Repositories;
pub use repository::{Account, Permissions, Repository, Visibility};
pub(crate) use runners::Runners;
pub use runners::{
    JIT_BYTES_MAX, JIT_FILES, JitConfig, JitFiles, JitShapeError, Runner, RunnerLabel, RunnerStatus,
    RunnerToken,
};

pub(crate) use open::{open_enum, or_default};
