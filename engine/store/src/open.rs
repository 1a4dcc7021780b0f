//! Opening a log: format, identity of the file, checkpoint, the frames after it, and which incarnation writes.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use wfengine_core::admitted::Admitted;
use wfengine_core::log::{Admission, Log};
use wfengine_core::seal::{Author, found};
use wfengine_core::time::WallMs;
use wfengine_core::views::Views;
use wfengine_storage_format::{ChainId, ClusterFounded, ClusterId, Incarnation, Signer, VerifiedFrame};

use crate::checkpoint::StoredCheckpoint;
use crate::checksum::sealed;
use crate::data_dir::DataDir;
use crate::error::StoreError;
use crate::index::{IndexState, place_key};
use crate::log_file::{
    FRAMES, LogFile, META, Recalling, STORE_FORMAT, StoredFrame, corrupt, guarded, join_value,
};
use crate::recorder::{Recorder, Request};
use crate::watcher::{Frontier, Shared, Watcher};
use crate::writer::Writer;

/// Requests that wait for the writer before senders are held up.
const QUEUE_LEN: usize = 8_192;
/// Commits that a subscriber may fall behind.
const NEWS_LEN: usize = 4_096;
/// Frames read at once while opening.
const FRAMES_AT_ONCE: usize = 256;

/// What a process opens the log for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// A node that serves: it always writes under a new incarnation.
    Serve,
    /// A short command: it goes on under the last incarnation if the log was closed cleanly, in this boot, and the file is still
    /// the same one.
    Command,
}

/// An open log with its writer.
#[derive(Debug)]
pub struct Store {
    recorder: Recorder,
    watcher: Watcher,
    thread: Mutex<Option<JoinHandle<()>>>,
    author: Author,
}

/// What opening found.
#[derive(Clone, Debug, Default)]
pub struct Opened {
    /// Frames folded since the last checkpoint.
    pub frames_replayed: u64,
    /// Whether the log was not closed cleanly.
    pub unclean: bool,
    /// Whether the file is another one than it was: a copy or a restored backup.
    pub moved: bool,
}

/// How a log was closed, and which file it was.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Closing {
    pub(crate) chain: ChainId,
    pub(crate) clean: bool,
    pub(crate) boot: String,
    pub(crate) file: Option<FileIdentity>,
}

/// Device, inode and birth time of a file: a copy has others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct FileIdentity {
    device: u64,
    inode: u64,
    birth_ns: u64,
}

impl FileIdentity {
    pub(crate) fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = fs::metadata(path).ok()?;
        let birth = metadata.created().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        let birth_ns = u64::try_from(birth.as_nanos()).ok()?;
        Some(Self { device: metadata.dev(), inode: metadata.ino(), birth_ns })
    }
}

/// The path of a cluster's log inside its directory.
pub(crate) fn log_path(dir: &Path) -> PathBuf {
    dir.join("log.redb")
}

impl Store {
    /// Founds a cluster: its log holds the founding frame. Says the cluster's id.
    ///
    /// # Errors
    /// [`StoreError`] when the directory cannot be written.
    pub fn found(
        data: &DataDir,
        author: &Author,
        body: ClusterFounded,
        now: WallMs,
    ) -> Result<ClusterId, StoreError> {
        let frame = found(author, body, now).map_err(|refusal| corrupt(data.path(), "founding", &refusal))?;
        let cluster = frame.header().cluster;
        Self::create(&data.cluster_dir(&cluster), cluster, &[frame], now)?;
        Ok(cluster)
    }

    /// Creates the log of a cluster from its first frames: the founding frame, or none, for a joiner that will be sent them.
    ///
    /// # Errors
    /// [`StoreError`] when the directory cannot be written or holds a log already.
    pub fn create(
        dir: &Path,
        cluster: ClusterId,
        frames: &[VerifiedFrame],
        now: WallMs,
    ) -> Result<(), StoreError> {
        let io = |action, error: std::io::Error| StoreError::Io {
            action,
            path: dir.to_owned(),
            detail: error.to_string(),
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| io("create", e))?;
        let path = log_path(dir);
        if frames.iter().any(|frame| frame.header().cluster != cluster) {
            return Err(corrupt(&path, "creating", &"a frame is of another cluster"));
        }
        let file = LogFile::open(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(|e| io("restrict", e))?;
        if file.meta("format")?.is_some() {
            return Err(corrupt(&path, "creating", &"there is a log already"));
        }
        let write = || -> Result<(), redb::Error> {
            let mut transaction = file.database.begin_write()?;
            transaction.set_quick_repair(true);
            {
                let mut meta = transaction.open_table(META)?;
                meta.insert("format", sealed(&STORE_FORMAT.to_le_bytes()).as_slice())?;
                meta.insert("cluster", sealed(cluster.as_bytes()).as_slice())?;
                let mut table = transaction.open_table(FRAMES)?;
                for (number, frame) in (0u64..).zip(frames) {
                    table.insert(number, join_value(now, frame).as_slice())?;
                }
            }
            transaction.commit()?;
            Ok(())
        };
        guarded(&path, "creating", || write().map_err(|error| corrupt(&path, "creating", &error)))?;
        // the file's name lies in this directory, and this directory's in the one above
        for dir in [Some(dir), dir.parent()].into_iter().flatten().filter(|dir| !dir.as_os_str().is_empty()) {
            fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| io("sync", e))?;
        }
        Ok(())
    }

    /// Opens a log and starts its writer. `fresh` is 16 random bytes for a new incarnation, `boot` names the boot of the machine.
    ///
    /// # Errors
    /// [`StoreError`] when the log is locked, of another version or cluster, or damaged.
    pub fn open(
        dir: &Path,
        signer: Signer,
        purpose: Purpose,
        fresh: Incarnation,
        boot: &str,
    ) -> Result<(Self, Opened), StoreError> {
        let path = log_path(dir);
        let file = LogFile::open(&path)?;
        let cluster = check_format(&file, &path)?;
        let mut opened = Opened::default();
        let (log, views, frames_len) = guarded(&path, "opening", || restore(&file, cluster, &mut opened))?;
        let incarnation = choose_incarnation(&file, &signer, purpose, fresh, boot, &mut opened)?;
        let chain = ChainId { author: signer.peer_id(), incarnation };
        let author = Author { signer, chain };
        let frontier = Frontier {
            chains: log.chains().clone(),
            heads: log.heads().copied().collect(),
            events_len: log.events_len(),
            frames_len,
        };
        let (news, _) = broadcast::channel(NEWS_LEN);
        let shared = Arc::new(Shared {
            cluster,
            file,
            views: RwLock::new(views),
            frontier: RwLock::new(frontier),
            news,
        });
        let (requests, queue) = sync_channel(QUEUE_LEN);
        let closing = Closing { chain, clean: false, boot: boot.to_owned(), file: FileIdentity::of(&path) };
        let fatal = Arc::<OnceLock<StoreError>>::default();
        let stopped = Arc::clone(&fatal);
        let writer =
            Writer::new(Arc::clone(&shared), log, author.clone(), frames_len, closing, Arc::clone(&fatal));
        let thread = std::thread::Builder::new()
            .name("wfengine-writer".to_owned())
            .spawn({
                let path = path.clone();
                move || {
                    let ran = guarded(&path, "writing", || {
                        writer.run(&queue);
                        Ok(())
                    });
                    if let Err(error) = ran {
                        tracing::error!(%error, "BUG: the writer broke down");
                        // nobody may take a process that writes nothing any more for one that works
                        stopped
                            .get_or_init(|| StoreError::OutcomeUnknown { path, detail: error.to_string() });
                    }
                }
            })
            .map_err(|error| StoreError::Io {
                action: "start the writer of",
                path,
                detail: error.to_string(),
            })?;
        let store = Self {
            recorder: Recorder { requests, fatal },
            watcher: Watcher { shared },
            thread: Mutex::new(Some(thread)),
            author,
        };
        Ok((store, opened))
    }

    /// The handle that writes.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }
    /// The handle that reads.
    pub fn watcher(&self) -> &Watcher {
        &self.watcher
    }
    /// The chain this process writes.
    pub fn chain(&self) -> ChainId {
        self.author.chain
    }
    /// The key this process signs with.
    pub fn signer(&self) -> &Signer {
        &self.author.signer
    }

    /// Commits what waits, marks the log as cleanly closed and stops the writer. A second call does nothing.
    ///
    /// # Errors
    /// [`StoreError`] when the last commit failed.
    pub fn close(&self) -> Result<(), StoreError> {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return Ok(()) };
        let (reply, answer) = sync_channel(1);
        let sent = self.recorder.requests.send(Request::Close(reply)).map_err(|_| self.recorder.stopped());
        // the reply comes when everything queued before is durable; joining cannot wait for anything else
        let closed = sent.and_then(|()| answer.recv().unwrap_or_else(|_| Err(self.recorder.stopped())));
        let _ = thread.join();
        closed
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "closing the log failed");
        }
    }
}

fn check_format(file: &LogFile, path: &Path) -> Result<ClusterId, StoreError> {
    let format = file.meta("format")?;
    let found = match format.as_deref() {
        None => return Err(corrupt(path, "meta", &"this is no log of wfengine")),
        Some(bytes) => <[u8; 4]>::try_from(bytes).map(u32::from_le_bytes).unwrap_or(u32::MAX),
    };
    if found != STORE_FORMAT {
        return Err(StoreError::Version { path: path.to_owned(), found, expected: STORE_FORMAT });
    }
    file.meta("cluster")?
        .and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok())
        .map(ClusterId::from_bytes)
        .ok_or_else(|| corrupt(path, "meta", &"the cluster id is missing"))
}

/// Loads the checkpoint and the index, then folds the frames after the checkpoint.
fn restore(file: &LogFile, cluster: ClusterId, opened: &mut Opened) -> Result<(Log, Views, u64), StoreError> {
    match file.meta("index") {
        Ok(None) => {}
        Ok(Some(bytes)) => {
            let state: IndexState =
                postcard::from_bytes(&bytes).map_err(|error| corrupt(&file.path, "index", &error))?;
            file.index.write().unwrap_or_else(PoisonError::into_inner).0 = state;
        }
        // the frames hold everything the index says
        Err(error) => {
            tracing::warn!(%error, "the index is built anew");
            file.drop_index()?;
        }
    }
    let frames_len = file.frames_len()?;
    let checkpoint = match file.meta("checkpoint") {
        Ok(None) => None,
        Err(error) => {
            tracing::warn!(%error, "the checkpoint is left out; every frame is folded again");
            None
        }
        Ok(Some(bytes)) => {
            let read = StoredCheckpoint::read(&bytes).filter(|kept| kept.frames_len <= frames_len);
            if read.is_none() {
                tracing::warn!("the checkpoint is not one of this version; every frame is folded again");
            }
            read
        }
    };
    let indexed = file.index.read().unwrap_or_else(PoisonError::into_inner).0.frames_indexed;
    let folded = checkpoint.as_ref().map_or(0, |kept| kept.frames_len);
    index_frames(file, indexed, folded.max(indexed).min(frames_len))?;
    let (mut log, mut views) = match checkpoint {
        Some(kept) => kept.restore(cluster, file),
        None => (Log::new(cluster), Views::new(cluster)),
    };
    let mut next = folded;
    while next < frames_len {
        let frames = file.frames(next, FRAMES_AT_ONCE)?;
        if frames.is_empty() {
            return Err(file.corrupt_at(format!("frame {next}"), "it is missing"));
        }
        let mut events = Vec::new();
        for stored in frames {
            if stored.number != next {
                return Err(file.corrupt_at(format!("frame {next}"), "it is missing"));
            }
            let of_frame = Admitted::of_kept_frame(&stored.frame, stored.first_seen);
            if stored.number >= indexed {
                index_frame(file, &stored, &of_frame);
            }
            readmit(file, &mut log, &stored)?;
            events.extend(of_frame);
            next += 1;
        }
        let recalling = Recalling::of(file);
        views.apply_all(&events, &recalling);
        recalling.outcome().inspect_err(|_| file.distrust_index())?;
    }
    opened.frames_replayed = frames_len - folded;
    Ok((log, views, frames_len))
}

fn readmit(file: &LogFile, log: &mut Log, stored: &StoredFrame) -> Result<(), StoreError> {
    let place = || format!("frame {}", stored.number);
    match log.readmit(&stored.frame, file) {
        Ok(Admission::Admitted) => Ok(()),
        Ok(other) => Err(file.corrupt_at(place(), &format!("it does not fit: {other:?}"))),
        Err(rejected) => Err(file.corrupt_at(place(), &rejected.to_string())),
    }
}

/// Brings frames that a checkpoint covers but no run of the index does into the index's tail.
fn index_frames(file: &LogFile, from: u64, to: u64) -> Result<(), StoreError> {
    let mut next = from;
    while next < to {
        let len = usize::try_from(to - next).unwrap_or(FRAMES_AT_ONCE).min(FRAMES_AT_ONCE);
        let frames = file.frames(next, len)?;
        if frames.is_empty() {
            return Err(file.corrupt_at(format!("frame {next}"), "it is missing"));
        }
        for stored in frames {
            let events = Admitted::of_kept_frame(&stored.frame, stored.first_seen);
            index_frame(file, &stored, &events);
            next = stored.number + 1;
        }
    }
    Ok(())
}

fn index_frame(file: &LogFile, stored: &StoredFrame, events: &[Arc<Admitted>]) {
    let number = u32::try_from(stored.number).unwrap_or(u32::MAX);
    let mut index = file.index.write().unwrap_or_else(PoisonError::into_inner);
    let header = stored.frame.header();
    index.1.insert(place_key(&header.chain, header.first_seq), number);
    for event in events {
        index.1.insert(*event.id.as_bytes(), number);
        for entity in event.entities() {
            index.1.insert(entity, number);
        }
    }
}

fn choose_incarnation(
    file: &LogFile,
    signer: &Signer,
    purpose: Purpose,
    fresh: Incarnation,
    boot: &str,
    opened: &mut Opened,
) -> Result<Incarnation, StoreError> {
    let Some(bytes) = file.meta("closing")? else { return Ok(fresh) };
    let last: Closing = postcard::from_bytes(&bytes).map_err(|error| corrupt(&file.path, "meta", &error))?;
    let here = FileIdentity::of(&file.path);
    opened.unclean = !last.clean;
    opened.moved = here.is_some() && last.file.is_some() && here != last.file;
    let same_file = here.is_some() && here == last.file;
    let goes_on = purpose == Purpose::Command
        && last.clean
        && !boot.is_empty()
        && last.boot == boot
        && same_file
        && last.chain.author == signer.peer_id();
    Ok(if goes_on { last.chain.incarnation } else { fresh })
}
