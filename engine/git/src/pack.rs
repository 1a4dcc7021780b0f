//! A commit's objects as one pack: how sources travel between members that do not all reach the repository.
//!
//! A pack holds the commit, its trees and files, and nothing of its history. Whoever takes it in names the commit beforehand: git's own
//! object ids say whether the content is that commit's. What was here before stays as it was: a commit that is here with its history
//! keeps it.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::command::{GitError, Input, Order};
use crate::listing::is_commit;
use crate::repository::Repository;

/// Why a pack was not made or not taken in.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// git did not do its part.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A file.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is larger than wanted.
    #[error("the commit's files take {len} bytes packed; at most {len_max} are shared")]
    TooLarge {
        /// Its bytes.
        len: u64,
        /// The bound.
        len_max: u64,
    },
    /// The pack does not hold the commit.
    #[error("the pack does not hold commit {0}")]
    Other(String),
}

/// A pack in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packed {
    /// Its bytes.
    pub len: u64,
}

impl Repository {
    /// Writes a commit without its history into a file, as one pack.
    ///
    /// # Errors
    /// [`PackError`]; the file is then removed.
    pub async fn pack(&self, commit: &str, into: &Path, len_max: u64) -> Result<Packed, PackError> {
        self.check(commit, "pack-objects")?;
        let failed = |source| PackError::Io { path: into.to_owned(), source };
        let file = File::create(into).map_err(failed)?;
        // a shallow line makes the commit one without parents
        let wanted = format!("--shallow {commit}\n{commit}\n");
        let arguments = ["pack-objects", "--revs", "--stdout", "--quiet", "--threads=1"];
        let packed = async {
            let order = Order { input: Input::Text(&wanted), ..self.order(&arguments) };
            self.git.run_into(order, file).await?;
            let len = std::fs::metadata(into).map_err(failed)?.len();
            if len > len_max {
                return Err(PackError::TooLarge { len, len_max });
            }
            Ok(Packed { len })
        }
        .await;
        if packed.is_err() {
            let _ = std::fs::remove_file(into);
        }
        packed
    }

    /// Takes a pack of one commit into this repository, whose history ends there. Does nothing if the commit is here.
    ///
    /// # Errors
    /// [`PackError`]: the pack is damaged, or holds something else.
    pub async fn unpack(&self, pack: &Path, commit: &str) -> Result<(), PackError> {
        self.check(commit, "index-pack")?;
        let file = File::open(pack).map_err(|source| PackError::Io { path: pack.to_owned(), source })?;
        if self.has(commit).await {
            return Ok(());
        }
        self.add_shallow(&[commit]).await?;
        let arguments = ["index-pack", "--stdin", "--strict", "--threads=1"];
        self.git.run(Order { input: Input::File(&file), ..self.order(&arguments) }).await?;
        if self.has(commit).await { Ok(()) } else { Err(PackError::Other(commit.to_owned())) }
    }

    /// Says of commits, before they come, that their parents do not come along. What is no id of a commit is left out.
    ///
    /// # Errors
    /// [`PackError`].
    pub async fn add_shallow(&self, commits: &[&str]) -> Result<(), PackError> {
        // beside the objects, which several work trees may share
        let path = self.path_of("shallow").await?;
        let failed = |source| PackError::Io { path: path.clone(), source };
        let known = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            known => known.map_err(failed)?,
        };
        let is_new = |commit: &&&str| is_commit(commit) && !known.lines().any(|line| line == **commit);
        let added: String = commits.iter().filter(is_new).map(|commit| format!("{commit}\n")).collect();
        if added.is_empty() {
            return Ok(());
        }
        let file = File::options().create(true).append(true).open(&path);
        file.and_then(|mut file| file.write_all(added.as_bytes())).map_err(failed)
    }
}
