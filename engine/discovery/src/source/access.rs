//! Git access to one repository: its refs, and commits brought to this host.

use wfengine_git::{GitError, Refs, Remote, Repository};

/// Why git gives nothing.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// git.
    #[error(transparent)]
    Git(#[from] GitError),
    /// What opens the repository could not be had.
    #[error("{0}")]
    Credential(String),
}

impl AccessError {
    /// Whether the other side was reached and has no such commit.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Git(error) if error.is_absent())
    }
}

/// A repository on this host, and where its commits come from if it is a mirror.
#[derive(Clone, Debug)]
pub struct Access {
    /// The repository on this host.
    pub repository: Repository,
    /// What it mirrors; `None` for a checkout, which is read and never written.
    pub remote: Option<Remote>,
}

impl Access {
    /// Where branches and tags stand now.
    ///
    /// # Errors
    /// [`AccessError`].
    pub async fn refs(&self) -> Result<Refs, AccessError> {
        Ok(match &self.remote {
            Some(remote) => remote.refs().await?,
            None => self.repository.refs().await?,
        })
    }

    /// Brings commits here, unless they are.
    ///
    /// # Errors
    /// [`AccessError`]; among others when a commit is nowhere.
    pub async fn bring(&self, commits: &[&str]) -> Result<(), AccessError> {
        let mut missing = Vec::new();
        for commit in commits {
            if !self.repository.has(commit).await {
                missing.push(*commit);
            }
        }
        match &self.remote {
            Some(remote) if !missing.is_empty() => Ok(remote.fetch(&missing, &self.repository).await?),
            _ => Ok(()),
        }
    }
}
