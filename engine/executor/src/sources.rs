//! Where the commits of a checkout come from: a port.
//!
//! The executor makes the folder and a repository in it, asks [`Sources::fetch`] for the objects, and puts the commit into
//! the folder. Who implements it knows where objects are: in a pack that came with the run, in a repository on this host,
//! behind an address. It decides alone whether a repository may be fetched at all.
//!
//! Invariant: nothing here names a secret; what a source needs to be let in stays with the source.

use std::{fmt, future::Future, num::NonZeroU32, pin::Pin};

use wfengine_git::{GitError, PackError, Repository};
use wfengine_workflow::Revision;

/// What a checkout asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// `owner/name`: letters, digits, `-`, `_` and `.`, neither part beginning with `-`.
    pub repository: String,
    /// Which commit. A ref is well formed and begins with neither `-` nor `+`.
    pub revision: Revision,
    /// How many commits of the history; `None` for all. More is welcome, less is said in the log.
    pub depth: Option<NonZeroU32>,
    /// Whether tags are wanted too, as `refs/tags/…`.
    pub tags: bool,
}

/// What was brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fetched {
    /// The commit's id, in hexadecimal digits. Where a commit was asked for, it is that one.
    pub commit: String,
    /// The full ref that was meant, where a name or the default branch was asked for: `refs/heads/main`, `refs/tags/v1`.
    /// A branch is checked out as a local branch, everything else as a commit alone. Empty if there is none.
    pub git_ref: String,
    /// A line for the log.
    pub note: Option<String>,
}

/// Why nothing was brought. The step fails and says so.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// No source of the repository is known here.
    #[error("no source of {repository} is known on this host: {why}")]
    Unknown {
        /// The repository.
        repository: String,
        /// What is missing, and what to do.
        why: String,
    },
    /// The repository has no such commit or ref.
    #[error("{repository} has no {reference}")]
    Absent {
        /// The repository.
        repository: String,
        /// What was asked for.
        reference: String,
    },
    /// It is there and must not be fetched.
    #[error("{repository} is not fetched: {why}")]
    Refused {
        /// The repository.
        repository: String,
        /// Why, and what to do.
        why: String,
    },
    /// It could not be reached; later it may be.
    #[error("{repository} cannot be reached: {why}")]
    Unreachable {
        /// The repository.
        repository: String,
        /// What was tried.
        why: String,
    },
    /// git did not do its part.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A pack of commits was not taken in.
    #[error(transparent)]
    Pack(#[from] PackError),
}

/// A fetch on its way.
pub type Fetching<'a> = Pin<Box<dyn Future<Output = Result<Fetched, SourcesError>> + Send + 'a>>;

/// Brings commits.
pub trait Sources: Send + Sync + fmt::Debug {
    /// Brings the objects of what is wanted into a repository that was just made, or that holds an earlier checkout of the
    /// same repository. Touches nothing of it but objects, `refs/tags/…`, `refs/remotes/…`, `FETCH_HEAD` and, for commits whose
    /// parents do not come along, [`Repository::add_shallow`]; the checkout is the caller's.
    ///
    /// Dropping the future, at a cancel or when the step's time is over, must end all that it started; what is run with
    /// [`Repository::git`] of `into` keeps that, and is found by the job's tracking after a crash.
    fn fetch<'a>(&'a self, wanted: &'a Wanted, into: &'a Repository) -> Fetching<'a>;
}
