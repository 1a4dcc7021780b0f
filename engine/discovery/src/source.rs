//! Where repositories are: on a GitHub, or in a folder of checkouts. Both give the same: a listing, the workflow files of a default
//! branch, and git access to refs and commits.

mod access;
mod folder;
mod github;

use std::path::PathBuf;

use wfengine_storage_format::RepositoryRef;

pub use access::{Access, AccessError};
pub use folder::FolderSource;
pub use github::{Connection, GithubSource};

use crate::report::Report;
use crate::scope::Scope;

/// A repository that may be looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// What names it.
    pub repository: RepositoryRef,
    /// Its default branch, short, if the listing says so.
    pub default_branch: Option<String>,
    /// The last push, seconds since 1970, if the listing says so.
    pub pushed_s: Option<u64>,
    /// The folder of a checkout.
    pub folder: Option<PathBuf>,
}

impl Listed {
    /// What names it in duties and logs.
    pub fn duty(&self) -> String {
        format!("{}#{}", self.repository.source, self.repository.id)
    }
}

/// A workflow file of a default branch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileSeen {
    /// Its path.
    pub path: String,
    /// Git's id of its content.
    pub object: String,
    /// Its bytes, if known.
    pub size: Option<u64>,
}

/// What a look at a repository saw.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Look {
    /// Its default branch, short; empty in an empty repository.
    pub default_branch: String,
    /// Its workflow files.
    pub files: Vec<FileSeen>,
    /// Entries of its workflow folders that are no files: path, and what is the matter.
    pub odd: Vec<(String, String)>,
    /// The answer is one that was kept; a limit forbids asking.
    pub is_stale: bool,
}

/// Why a repository or a file could not be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what}")]
pub struct SourceError {
    /// What is the matter, and what to do.
    pub what: String,
    /// Whether it may be otherwise at the next look, so that it is no news for the log.
    pub is_passing: bool,
}

/// A scope that could not be listed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unlisted {
    /// Which.
    pub scope: Scope,
    /// What is the matter.
    pub why: String,
    /// Whether it may be otherwise in the next round.
    pub is_passing: bool,
}

impl SourceError {
    pub(crate) fn lasting(what: impl ToString) -> Self {
        Self { what: what.to_string(), is_passing: false }
    }
    pub(crate) fn passing(what: impl ToString) -> Self {
        Self { what: what.to_string(), is_passing: true }
    }
}

/// A place with repositories.
#[derive(Debug)]
pub enum Source {
    /// A folder of checkouts.
    Folder(FolderSource),
    /// A GitHub.
    Github(Box<GithubSource>),
}

impl Source {
    /// The repositories, in a stable order. What is left out and what cannot be listed goes into the report. `is_new` says which were
    /// never looked at: these cost the most.
    pub async fn list(&mut self, report: &mut Report, is_new: impl Fn(&Listed) -> bool) -> Vec<Listed> {
        match self {
            Self::Folder(folder) => folder.list(report).await,
            Self::Github(github) => github.list(report, is_new).await,
        }
    }

    /// The workflow files of a default branch.
    ///
    /// # Errors
    /// [`SourceError`].
    pub async fn look(&mut self, listed: &Listed) -> Result<Look, SourceError> {
        match self {
            Self::Folder(folder) => folder.look(listed).await,
            Self::Github(github) => github.look(listed).await,
        }
    }

    /// The bytes of a file that a look saw.
    ///
    /// # Errors
    /// [`SourceError`].
    pub async fn read(&mut self, listed: &Listed, file: &FileSeen) -> Result<Vec<u8>, SourceError> {
        match self {
            Self::Folder(folder) => folder.read(listed, file).await,
            Self::Github(github) => github.read(listed, file).await,
        }
    }

    /// Git access to a repository.
    ///
    /// # Errors
    /// [`AccessError`].
    pub async fn access(&mut self, listed: &Listed) -> Result<Access, AccessError> {
        match self {
            Self::Folder(folder) => folder.access(listed),
            Self::Github(github) => github.access(listed).await,
        }
    }

    /// What it is to list.
    pub fn scopes(&self) -> Vec<Scope> {
        match self {
            Self::Folder(folder) => vec![Scope::Path(folder.folder().to_owned())],
            Self::Github(github) => github.scopes().to_vec(),
        }
    }

    /// What the last listing could not list.
    pub fn unlisted(&mut self) -> Vec<Unlisted> {
        match self {
            Self::Folder(_) => Vec::new(),
            Self::Github(github) => github.take_unlisted(),
        }
    }

    /// What it cost so far.
    pub fn requests(&self) -> crate::report::Requests {
        match self {
            Self::Folder(_) => crate::report::Requests::default(),
            Self::Github(github) => github.requests(),
        }
    }
}
