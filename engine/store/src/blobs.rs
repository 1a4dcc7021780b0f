//! Blobs: files named by the SHA-256 of their bytes. Workflow sources, logs, results that do not belong into events.
//!
//! A blob is complete or absent: bytes are collected in a file of their own, hashed, made durable, and renamed into place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};
use wfengine_storage_format::{BlobId, sha256};

/// Bytes of one blob at most.
pub const BLOB_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// Bytes that [`Blobs::read`] takes into memory at most.
pub const READ_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Why a blob cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// Not here.
    #[error("blob {0} is not on this host")]
    Absent(BlobId),
    /// The file's bytes do not hash to its name.
    #[error("blob {id} at {path} is damaged: remove the file, and it is fetched from a peer again", path = .path.display())]
    Damaged {
        /// Which.
        id: BlobId,
        /// Where.
        path: PathBuf,
    },
    /// Too large.
    #[error("a blob of {len} bytes is larger than {len_max}")]
    TooLarge {
        /// Bytes given.
        len: u64,
        /// Bytes allowed.
        len_max: u64,
    },
    /// Collected bytes are not those that were announced.
    #[error("the bytes received for blob {wanted} hash to {got}")]
    Mismatch {
        /// As announced.
        wanted: BlobId,
        /// As received.
        got: BlobId,
    },
    /// The operating system refused.
    #[error("blob file {path}: {source}", path = .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A directory of blobs.
#[derive(Debug, Clone)]
pub struct Blobs {
    dir: PathBuf,
}

static INCOMING: AtomicU64 = AtomicU64::new(0);

impl Blobs {
    /// Opens or creates the directory.
    ///
    /// # Errors
    /// [`BlobError::Io`].
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, BlobError> {
        let dir = dir.into();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(|source| BlobError::Io { path: dir.clone(), source })?;
        Ok(Self { dir })
    }

    /// Where a blob lies or would lie.
    pub fn path(&self, id: &BlobId) -> PathBuf {
        let text = id.to_string();
        let (shelf, rest) = text.split_at(2);
        self.dir.join(shelf).join(rest)
    }

    /// Bytes of a blob, if it is here.
    pub fn len(&self, id: &BlobId) -> Option<u64> {
        fs::metadata(self.path(id)).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len())
    }

    /// Whether a blob is here.
    pub fn has(&self, id: &BlobId) -> bool {
        self.len(id).is_some()
    }

    /// Keeps bytes as a blob.
    ///
    /// # Errors
    /// [`BlobError`] when they are too many or the disk refuses.
    pub fn put(&self, bytes: &[u8]) -> Result<BlobId, BlobError> {
        let id = BlobId::from_bytes(sha256(bytes));
        if !self.has(&id) {
            let mut incoming = self.incoming()?;
            incoming.write(bytes)?;
            incoming.keep(Some(id))?;
        }
        Ok(id)
    }

    /// Moves a finished file into the store.
    ///
    /// # Errors
    /// [`BlobError`].
    pub fn put_file(&self, path: &Path) -> Result<(BlobId, u64), BlobError> {
        let io = |source| BlobError::Io { path: path.to_owned(), source };
        let mut source = File::open(path).map_err(io)?;
        let mut incoming = self.incoming()?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = source.read(&mut buffer).map_err(io)?;
            if read == 0 {
                break;
            }
            incoming.write(buffer.get(..read).unwrap_or_default())?;
        }
        let len = incoming.len;
        Ok((incoming.keep(None)?, len))
    }

    /// A whole blob, checked against its name.
    ///
    /// # Errors
    /// [`BlobError`] when it is absent, damaged or larger than 256 MiB.
    pub fn read(&self, id: &BlobId) -> Result<Vec<u8>, BlobError> {
        let path = self.path(id);
        let len = self.len(id).ok_or(BlobError::Absent(*id))?;
        if len > READ_BYTES_MAX {
            return Err(BlobError::TooLarge { len, len_max: READ_BYTES_MAX });
        }
        let bytes = fs::read(&path).map_err(|source| BlobError::Io { path: path.clone(), source })?;
        if sha256(&bytes) != *id.as_bytes() {
            return Err(BlobError::Damaged { id: *id, path });
        }
        Ok(bytes)
    }

    /// Part of a blob, at most `len_max` bytes from `offset`; unchecked, for sending: the receiver checks the whole.
    ///
    /// # Errors
    /// [`BlobError`] when it is absent or the disk refuses.
    pub fn range(&self, id: &BlobId, offset: u64, len_max: usize) -> Result<Vec<u8>, BlobError> {
        let path = self.path(id);
        let io = |source| BlobError::Io { path: path.clone(), source };
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(BlobError::Absent(*id)),
            other => other.map_err(io)?,
        };
        file.seek(SeekFrom::Start(offset)).map_err(io)?;
        let mut bytes = Vec::new();
        file.take(len_max as u64).read_to_end(&mut bytes).map_err(io)?;
        Ok(bytes)
    }

    /// Begins to collect a blob whose bytes come piece by piece.
    ///
    /// # Errors
    /// [`BlobError::Io`].
    pub fn incoming(&self) -> Result<IncomingBlob, BlobError> {
        let number = INCOMING.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("incoming-{}-{number}", std::process::id()));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| BlobError::Io { path: path.clone(), source })?;
        Ok(IncomingBlob { blobs: self.clone(), file, path, hasher: Sha256::new(), len: 0, kept: false })
    }

    /// Removes what an earlier process left half collected.
    pub fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let own = format!("incoming-{}-", std::process::id());
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("incoming-") && !name.starts_with(&own) {
                // a file that cannot be removed costs room and nothing else
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// A blob that is being collected. Dropped unfinished, it leaves nothing.
#[derive(Debug)]
#[must_use = "an incoming blob is absent until it is kept"]
pub struct IncomingBlob {
    blobs: Blobs,
    file: File,
    path: PathBuf,
    hasher: Sha256,
    len: u64,
    kept: bool,
}

impl IncomingBlob {
    fn io(&self, source: io::Error) -> BlobError {
        BlobError::Io { path: self.path.clone(), source }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`BlobError`] when the blob grows beyond 2 GiB or the disk refuses.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.len += bytes.len() as u64;
        if self.len > BLOB_BYTES_MAX {
            return Err(BlobError::TooLarge { len: self.len, len_max: BLOB_BYTES_MAX });
        }
        self.hasher.update(bytes);
        self.file.write_all(bytes).map_err(|source| self.io(source))
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes it a blob, durable under its hash.
    ///
    /// # Errors
    /// [`BlobError::Mismatch`] when the bytes are not those of `wanted`; [`BlobError::Io`].
    pub fn keep(mut self, wanted: Option<BlobId>) -> Result<BlobId, BlobError> {
        let got = BlobId::from_bytes(std::mem::take(&mut self.hasher).finalize().into());
        if let Some(wanted) = wanted.filter(|wanted| *wanted != got) {
            return Err(BlobError::Mismatch { wanted, got });
        }
        let target = self.blobs.path(&got);
        let shelf = target.parent().unwrap_or(&self.blobs.dir).to_owned();
        let steps = (|| {
            self.file.sync_data()?;
            let is_new = !shelf.exists();
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&shelf)?;
            fs::rename(&self.path, &target)?;
            File::open(&shelf)?.sync_all()?;
            if is_new { File::open(&self.blobs.dir)?.sync_all() } else { Ok(()) }
        })();
        steps.map_err(|source| self.io(source))?;
        self.kept = true;
        Ok(got)
    }
}

impl Drop for IncomingBlob {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_found_under_its_hash_and_a_damaged_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path().join("blobs")).unwrap();
        let id = blobs.put(b"hello").unwrap();
        assert_eq!(blobs.read(&id).unwrap(), b"hello");
        assert_eq!(blobs.range(&id, 1, 3).unwrap(), b"ell");
        assert_eq!(blobs.put(b"hello").unwrap(), id);
        fs::write(blobs.path(&id), b"hullo").unwrap();
        assert!(matches!(blobs.read(&id), Err(BlobError::Damaged { .. })));
        let absent = BlobId::from_bytes([1; 32]);
        assert!(matches!(blobs.read(&absent), Err(BlobError::Absent(_))));
    }

    #[test]
    fn an_unfinished_or_wrong_blob_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        let mut incoming = blobs.incoming().unwrap();
        incoming.write(b"half").unwrap();
        drop(incoming);
        let mut incoming = blobs.incoming().unwrap();
        incoming.write(b"other").unwrap();
        let wanted = BlobId::from_bytes([1; 32]);
        assert!(matches!(incoming.keep(Some(wanted)), Err(BlobError::Mismatch { .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
