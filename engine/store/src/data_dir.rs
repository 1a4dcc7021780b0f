//! The data directory of one host: identity, clusters, control socket, lock.
//!
//! ```text
//! identity              secret seed of the node's key (64 hexadecimal digits)
//! lock                  held by the process that owns the directory; its pid inside
//! cluster               id of the cluster the node belongs to
//! control.sock          where a running node answers other commands
//! clusters/<id>/log.redb, blobs/
//! work/                 working directories of jobs
//! config.toml           what the node is told; written by people, read by whoever starts the node
//! ```
//!
//! Directories are 0700 and files 0600: whoever can read the identity is this node.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use wfengine_storage_format::{ClusterId, Signer};

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It belongs to somebody else.
    #[error("{path} belongs to user id {owner}, this is user id {user}: run as that user, or choose another directory with --data-dir", path = .path.display())]
    OtherUser {
        /// Which directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who asks.
        user: u32,
    },
    /// It is something else, and nothing of it is touched.
    #[error("{path} {holds}: choose a new or an empty directory with --data-dir", path = .path.display())]
    NotOurs {
        /// Which path.
        path: PathBuf,
        /// What is wrong with it.
        holds: &'static str,
    },
    /// Another process owns it.
    #[error("{path} is in use by process {pid}: let it end, or stop it with `kill {pid}`", path = .path.display())]
    Locked {
        /// Which directory.
        path: PathBuf,
        /// By whom; 0 if it does not say.
        pid: u32,
    },
    /// A file in it does not hold what it should.
    #[error("{path} does not hold {expected}: restore it from a backup, or move it away to start anew", path = .path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// The operating system refused.
    #[error("{action} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// The directory, checked and ready.
#[derive(Debug, Clone)]
pub struct DataDir {
    path: PathBuf,
    created: bool,
}

/// Proof that this process owns the data directory. Released when dropped or when the process ends, however it ends.
#[derive(Debug)]
#[must_use = "the directory is owned only as long as this lives"]
pub struct DirLock {
    _file: File,
}

impl DataDir {
    /// Opens the directory, creating it 0700 if it is missing.
    ///
    /// # Errors
    /// [`DataDirError`] when it is another user's or cannot be created.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, DataDirError> {
        let path = path.into();
        let io = |action, source| DataDirError::Io { action, path: path.clone(), source };
        let created = !path.exists();
        if !created && !path.is_dir() {
            return Err(DataDirError::NotOurs { path, holds: "is no directory" });
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(|e| io("create", e))?;
        let metadata = fs::metadata(&path).map_err(|e| io("read", e))?;
        let user = rustix::process::geteuid().as_raw();
        if metadata.uid() != user {
            return Err(DataDirError::OtherUser { path, owner: metadata.uid(), user });
        }
        if !created && !is_ours_or_empty(&path) {
            return Err(DataDirError::NotOurs { path, holds: "holds other files" });
        }
        if metadata.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).map_err(|e| io("restrict", e))?;
        }
        Ok(Self { path, created })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// Whether it was made by this call of [`DataDir::open`].
    pub fn was_created(&self) -> bool {
        self.created
    }
    /// Where a running node answers.
    pub fn control_socket(&self) -> PathBuf {
        Self::control_socket_in(&self.path)
    }
    /// Where a running node of a directory answers, for whoever must neither make nor open it.
    pub fn control_socket_in(path: &Path) -> PathBuf {
        path.join("control.sock")
    }
    /// The directory of one cluster.
    pub fn cluster_dir(&self, cluster: &ClusterId) -> PathBuf {
        self.path.join("clusters").join(cluster.to_string())
    }
    /// The blobs of one cluster.
    pub fn blobs_dir(&self, cluster: &ClusterId) -> PathBuf {
        self.cluster_dir(cluster).join("blobs")
    }
    /// Working directories of jobs.
    pub fn work_dir(&self) -> PathBuf {
        self.path.join("work")
    }

    /// Takes the directory for this process.
    ///
    /// # Errors
    /// [`DataDirError::Locked`] when another process has it.
    pub fn lock(&self) -> Result<DirLock, DataDirError> {
        let path = self.path.join("lock");
        let io = |action, source| DataDirError::Io { action, path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|e| io("open", e))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut text = String::new();
            let _ = file.read_to_string(&mut text);
            return Err(DataDirError::Locked {
                path: self.path.clone(),
                pid: text.trim().parse().unwrap_or(0),
            });
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(std::process::id().to_string().as_bytes()));
        written.map_err(|e| io("write", e))?;
        Ok(DirLock { _file: file })
    }

    /// The node's key, made from `fresh_seed` at first use.
    ///
    /// # Errors
    /// [`DataDirError`] when the file is unreadable or holds something else.
    pub fn identity(&self, fresh_seed: impl FnOnce() -> [u8; 32]) -> Result<Signer, DataDirError> {
        if let Some(signer) = self.known_identity()? {
            return Ok(signer);
        }
        let path = self.path.join("identity");
        let signer = Signer::from_seed(&fresh_seed());
        let text = wfengine_storage_format::BlobId::from_bytes(signer.to_seed()).to_string();
        // two first commands at once make two keys: the one that is linked first is the node's
        let draft = self.path.join(format!("identity-{}", std::process::id()));
        self.write_small(&draft, &text)?;
        let linked = fs::hard_link(&draft, &path);
        let _ = fs::remove_file(&draft);
        match linked {
            Ok(()) => Ok(signer),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => self
                .known_identity()?
                .ok_or(DataDirError::Malformed { path, expected: "64 hexadecimal digits" }),
            Err(source) => Err(DataDirError::Io { action: "write", path, source }),
        }
    }

    /// The node's key, if it has one.
    ///
    /// # Errors
    /// [`DataDirError`] when the file is unreadable or holds something else.
    pub fn known_identity(&self) -> Result<Option<Signer>, DataDirError> {
        let path = self.path.join("identity");
        let Some(text) = self.read_small(&path)? else { return Ok(None) };
        let seed = text.trim().parse::<wfengine_storage_format::BlobId>();
        let seed = seed.map_err(|_| DataDirError::Malformed { path, expected: "64 hexadecimal digits" })?;
        Ok(Some(Signer::from_seed(seed.as_bytes())))
    }

    /// The cluster the node belongs to.
    ///
    /// # Errors
    /// [`DataDirError`] when the file is unreadable or holds something else.
    pub fn current_cluster(&self) -> Result<Option<ClusterId>, DataDirError> {
        let path = self.path.join("cluster");
        match self.read_small(&path)? {
            None => Ok(None),
            Some(text) => text.trim().parse().map(Some).map_err(|_| DataDirError::Malformed {
                path,
                expected: "a cluster id (64 hexadecimal digits)",
            }),
        }
    }

    /// Makes a cluster the one the node belongs to. Logs of others stay, closed and replayable.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn set_current_cluster(&self, cluster: &ClusterId) -> Result<(), DataDirError> {
        self.write_small(&self.path.join("cluster"), &cluster.to_string())
    }

    /// Every cluster that has a log here.
    pub fn clusters(&self) -> Vec<ClusterId> {
        let Ok(entries) = fs::read_dir(self.path.join("clusters")) else { return Vec::new() };
        let mut clusters: Vec<ClusterId> =
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        clusters.sort_unstable();
        clusters
    }

    /// A small text file, `None` if it is missing.
    ///
    /// # Errors
    /// [`DataDirError::Io`]; [`DataDirError::Malformed`] when it is no text.
    pub fn read_small(&self, path: &Path) -> Result<Option<String>, DataDirError> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                Err(DataDirError::Malformed { path: path.to_owned(), expected: "text in UTF-8" })
            }
            Err(source) => Err(DataDirError::Io { action: "read", path: path.to_owned(), source }),
        }
    }

    /// Writes a small text file 0600, whole or not at all.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn write_small(&self, path: &Path, text: &str) -> Result<(), DataDirError> {
        let io = |source| DataDirError::Io { action: "write", path: path.to_owned(), source };
        let draft = path.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)
            .map_err(io)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
        fs::rename(&draft, path).map_err(io)?;
        let parent = path.parent().unwrap_or(&self.path);
        File::open(parent).and_then(|dir| dir.sync_all()).map_err(io)
    }
}

/// Whether a directory is empty but for a configuration, or one of this module's, perhaps still being made.
fn is_ours_or_empty(path: &Path) -> bool {
    let Ok(entries) = fs::read_dir(path) else { return true };
    let names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let is_ours = |name: &String| {
        matches!(name.as_str(), "lock" | "cluster" | "clusters") || name.starts_with("identity")
    };
    // a node may be told what it is to do before it is begun
    names.iter().all(|name| name == "config.toml") || names.iter().any(is_ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_is_made_once_and_only_its_owner_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path().join("data")).unwrap();
        assert!(data.was_created());
        let first = data.identity(|| [7; 32]).unwrap();
        let again = data.identity(|| [8; 32]).unwrap();
        assert_eq!(first.peer_id(), again.peer_id());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&data.path().join("identity")), 0o600);
        assert_eq!(mode(data.path()), 0o700);
        fs::write(data.path().join("identity"), "nonsense").unwrap();
        assert!(matches!(data.identity(|| [7; 32]), Err(DataDirError::Malformed { .. })));
    }

    #[test]
    fn a_directory_with_other_files_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("letter"), "dear").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(DataDir::open(dir.path()), Err(DataDirError::NotOurs { .. })));
        assert!(matches!(DataDir::open(dir.path().join("letter")), Err(DataDirError::NotOurs { .. })));
        assert_eq!(fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777, 0o755);
        fs::write(dir.path().join("config.toml"), "").unwrap();
        assert!(matches!(DataDir::open(dir.path()), Err(DataDirError::NotOurs { .. })));
    }

    #[test]
    fn a_directory_with_a_configuration_alone_becomes_a_nodes() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.toml"), "").unwrap();
        assert!(DataDir::open(dir.path()).is_ok());
    }

    #[test]
    fn first_commands_at_once_agree_on_one_identity() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path().join("data")).unwrap();
        // the other command wins while this one makes its key
        let ours =
            data.identity(|| data.identity(|| [1; 32]).unwrap().to_seed().map(|byte| byte + 1)).unwrap();
        assert_eq!(ours.peer_id(), Signer::from_seed(&[1; 32]).peer_id());
    }

    #[test]
    fn one_process_owns_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        let lock = data.lock().unwrap();
        match data.lock() {
            Err(DataDirError::Locked { pid, .. }) => assert_eq!(pid, std::process::id()),
            other => panic!("{other:?}"),
        }
        drop(lock);
        assert!(data.lock().is_ok());
    }
}
