//! A commit's objects as one pack: how sources travel between members that do not all reach the repository.
//!
//! A pack holds the commit, its trees and files, and nothing of its history. Whoever takes it in names the commit beforehand: git's own
//! object ids say whether the content is that commit's.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::command::{GitError, Input, Reach};
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
            self.git.run_into(&self.folder, &arguments, Input::Text(&wanted), file).await?;
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

    /// Takes a pack of one commit into this repository, whose history ends there.
    ///
    /// # Errors
    /// [`PackError`]: the pack is damaged, or holds something else.
    pub async fn unpack(&self, pack: &Path, commit: &str) -> Result<(), PackError> {
        self.check(commit, "index-pack")?;
        let file = File::open(pack).map_err(|source| PackError::Io { path: pack.to_owned(), source })?;
        let git_folder = self.ask(&["rev-parse", "--absolute-git-dir"]).await?;
        let shallow = Path::new(&git_folder).join("shallow");
        let failed = |source| PackError::Io { path: shallow.clone(), source };
        let before = match std::fs::read_to_string(&shallow) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(error)),
        };
        if !before.lines().any(|line| line == commit) {
            std::fs::write(&shallow, format!("{before}{commit}\n")).map_err(failed)?;
        }
        let arguments = ["index-pack", "--stdin", "--strict", "--threads=1"];
        self.git.run(&self.folder, Reach::Nothing, &arguments, Input::File(file)).await?;
        if self.has(commit).await { Ok(()) } else { Err(PackError::Other(commit.to_owned())) }
    }
}
