//! Where the frames of an audit come from: the log of a data directory, an exported file, or a running node's frames, spooled.
//!
//! Frames are read twice at most and never all held in memory. A file is only ever read.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wfengine_core::replay::{Finding, Place, Reread, What};
use wfengine_storage_format::limits::FRAME_BYTES_MAX;
use wfengine_storage_format::{
    ClusterId, EXPORT_RECORD_HEAD_LEN, ExportDamage, ExportItem, ExportReader, ExportScope, ExportTrailer,
    SignedFrame,
};
use wfengine_store::Watcher;

use super::AuditError;

/// Frames asked for at once.
const FRAMES_AT_ONCE: usize = 256;
/// Bytes read at once.
const BYTES_AT_ONCE: usize = 256 * 1024;

/// Something that stands in a source.
#[derive(Debug)]
pub(super) enum Piece {
    /// A frame, not looked at yet.
    Frame(Place, Vec<u8>),
    /// Something that is wrong with the container.
    Damage(Finding),
    /// The trailer of an export, its signature checked.
    Trailer(Box<ExportTrailer>),
}

/// A way to read single frames of a source again.
#[derive(Clone, Debug)]
pub(crate) enum Again {
    /// By their numbers.
    Store(Watcher),
    /// By their offsets.
    File(Arc<File>),
    /// By their numbers.
    Spool(Arc<Spool>),
}

impl Reread for Again {
    fn reread(&self, handle: u64) -> Option<Vec<u8>> {
        match self {
            Again::Store(watcher) => {
                let (number, bytes) = watcher.raw_frames(handle, 1).ok()?.pop()?;
                (number == handle).then_some(bytes)
            }
            Again::File(file) => {
                let mut len = [0; 4];
                file.read_exact_at(&mut len, handle.checked_sub(EXPORT_RECORD_HEAD_LEN as u64)?).ok()?;
                let len =
                    usize::try_from(u32::from_le_bytes(len)).ok().filter(|len| *len <= FRAME_BYTES_MAX)?;
                let mut bytes = vec![0; len];
                file.read_exact_at(&mut bytes, handle).ok()?;
                Some(bytes)
            }
            Again::Spool(spool) => spool.frame(handle),
        }
    }
}

/// Frames of a running node, kept in a file without a name until the audit is over.
#[derive(Debug)]
pub(crate) struct Spool {
    file: File,
    ends: Mutex<Vec<u64>>,
}

impl Spool {
    /// An empty spool in the system's folder for such files. `random` names it for the moment it has a name.
    pub(crate) fn create(random: [u8; 8]) -> Result<Self, AuditError> {
        let path = std::env::temp_dir().join(format!("wfengine-audit-{:016x}", u64::from_le_bytes(random)));
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(AuditError::io("create", &path))?;
        std::fs::remove_file(&path).map_err(AuditError::io("remove", &path))?;
        Ok(Self { file, ends: Mutex::default() })
    }

    fn ends(&self) -> MutexGuard<'_, Vec<u64>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the next frame in the order of admission and says its number.
    pub(crate) fn add(&self, frame: &[u8]) -> Result<u64, AuditError> {
        let mut ends = self.ends();
        let begin = ends.last().copied().unwrap_or(0);
        self.file.write_all_at(frame, begin).map_err(AuditError::io("write", "the spooled frames"))?;
        ends.push(begin + frame.len() as u64);
        Ok(ends.len() as u64 - 1)
    }

    /// Number of frames.
    pub(crate) fn len(&self) -> u64 {
        self.ends().len() as u64
    }

    /// One frame; `None` if there is none of that number.
    pub(crate) fn frame(&self, number: u64) -> Option<Vec<u8>> {
        let number = usize::try_from(number).ok()?;
        let (begin, end) = {
            let ends = self.ends();
            let before = number.checked_sub(1);
            (before.map_or(Some(0), |before| ends.get(before).copied())?, *ends.get(number)?)
        };
        let mut bytes = vec![0; usize::try_from(end - begin).ok()?];
        self.file.read_exact_at(&mut bytes, begin).ok()?;
        Some(bytes)
    }
}

#[derive(Debug)]
enum Kind {
    Store { watcher: Watcher, frames_len: u64 },
    File(Box<Exported>),
    Spool(Arc<Spool>),
}

#[derive(Debug)]
struct Exported {
    path: PathBuf,
    file: Arc<File>,
    at: u64,
    len: u64,
    reader: ExportReader,
    ended: bool,
    read_ahead: VecDeque<Piece>,
}

/// Frames of one cluster, in order.
#[derive(Debug)]
pub(crate) struct Source {
    kind: Kind,
    cluster: ClusterId,
    scope: ExportScope,
    next: u64,
}

impl Source {
    /// The log of an open data directory, as far as it goes now.
    pub(crate) fn of_store(watcher: Watcher) -> Self {
        let (cluster, frames_len) = (watcher.cluster(), watcher.frontier().frames_len);
        Self { kind: Kind::Store { watcher, frames_len }, cluster, scope: ExportScope::Whole, next: 0 }
    }

    /// The frames of a running node.
    pub(crate) fn of_spool(cluster: ClusterId, spool: Arc<Spool>) -> Self {
        Self { kind: Kind::Spool(spool), cluster, scope: ExportScope::Whole, next: 0 }
    }

    /// An exported file.
    pub(crate) fn of_file(path: &Path) -> Result<Self, AuditError> {
        let file = File::open(path).map_err(AuditError::io("open", path))?;
        let len = file.metadata().map_err(AuditError::io("read", path))?.len();
        let mut exported = Box::new(Exported {
            path: path.to_owned(),
            file: Arc::new(file),
            at: 0,
            len,
            reader: ExportReader::new(),
            ended: false,
            read_ahead: VecDeque::new(),
        });
        let (cluster, scope) = exported.begin()?;
        Ok(Self { kind: Kind::File(exported), cluster, scope, next: 0 })
    }

    /// Whose frames they are. If a file's header is damaged, its first readable frame says so.
    pub(crate) fn cluster(&self) -> ClusterId {
        self.cluster
    }
    /// Whether they are a whole log.
    pub(crate) fn scope(&self) -> ExportScope {
        self.scope
    }
    /// A way to read single frames again.
    pub(crate) fn again(&self) -> Again {
        match &self.kind {
            Kind::Store { watcher, .. } => Again::Store(watcher.clone()),
            Kind::File(exported) => Again::File(Arc::clone(&exported.file)),
            Kind::Spool(spool) => Again::Spool(Arc::clone(spool)),
        }
    }
    /// How far the reading is, and how far it goes, in frames or bytes.
    pub(crate) fn progress(&self) -> (u64, u64) {
        match &self.kind {
            Kind::Store { frames_len, .. } => (self.next, *frames_len),
            Kind::File(exported) => (exported.at, exported.len),
            Kind::Spool(spool) => (self.next, spool.len()),
        }
    }

    /// Goes back to the beginning.
    pub(super) fn rewind(&mut self) -> Result<(), AuditError> {
        self.next = 0;
        if let Kind::File(exported) = &mut self.kind {
            exported.at = 0;
            exported.reader = ExportReader::new();
            exported.ended = false;
            exported.read_ahead.clear();
            exported.begin()?;
        }
        Ok(())
    }

    /// The next pieces. Says whether there may be more.
    pub(super) fn read(&mut self, pieces: &mut Vec<Piece>) -> Result<bool, AuditError> {
        match &mut self.kind {
            Kind::File(exported) => exported.read(pieces),
            Kind::Store { watcher, frames_len } => {
                Ok(read_store(watcher, *frames_len, &mut self.next, pieces))
            }
            Kind::Spool(spool) => {
                let end = spool.len().min(self.next + FRAMES_AT_ONCE as u64);
                for number in self.next..end {
                    let place = Place { frame: number, offset: None };
                    pieces.push(match spool.frame(number) {
                        Some(bytes) => Piece::Frame(place, bytes),
                        None => {
                            damage(What::Missing, place, "it cannot be read back from the spool".to_owned())
                        }
                    });
                }
                self.next = end;
                Ok(end < spool.len())
            }
        }
    }
}

fn damage(what: What, place: Place, detail: String) -> Piece {
    Piece::Damage(Finding { what, place: Some(place), detail })
}

fn read_store(watcher: &Watcher, frames_len: u64, next: &mut u64, pieces: &mut Vec<Piece>) -> bool {
    let wanted = usize::try_from(frames_len.saturating_sub(*next)).unwrap_or(usize::MAX).min(FRAMES_AT_ONCE);
    if wanted == 0 {
        return false;
    }
    let here = Place { frame: *next, offset: None };
    let frames = match watcher.raw_frames(*next, wanted) {
        Ok(frames) => frames,
        Err(error) => {
            pieces.push(damage(
                What::Damaged,
                here,
                format!("from here on the database cannot be read: {error}"),
            ));
            return false;
        }
    };
    for (number, bytes) in frames {
        if number >= frames_len {
            break;
        }
        if number > *next {
            let place = Place { frame: *next, offset: None };
            pieces.push(damage(What::Missing, place, format!("the database goes on with frame {number}")));
        }
        *next = number + 1;
        pieces.push(Piece::Frame(Place { frame: number, offset: None }, bytes));
    }
    if pieces.is_empty() {
        pieces.push(damage(What::Missing, here, format!("the log should have {frames_len} frames")));
        return false;
    }
    *next < frames_len
}

impl Exported {
    /// Reads up to the header, or without one to the first frame that says its cluster.
    fn begin(&mut self) -> Result<(ClusterId, ExportScope), AuditError> {
        loop {
            let more = self.push_more()?;
            while let Some(item) = self.reader.next_item() {
                let said = match &item {
                    ExportItem::Header(header) => Some((header.cluster, header.scope)),
                    ExportItem::Frame(frame) => SignedFrame::decode(&frame.bytes)
                        .ok()
                        .map(|frame| (frame.header().cluster, ExportScope::Whole)),
                    ExportItem::Damage(
                        damage @ (ExportDamage::NotAnExport | ExportDamage::Version { .. }),
                    ) => {
                        return Err(AuditError::NotAnExport {
                            path: self.path.clone(),
                            damage: damage.clone(),
                        });
                    }
                    ExportItem::Damage(_) | ExportItem::Trailer(_) => None,
                };
                self.read_ahead.extend(piece_of(item));
                if let Some(said) = said {
                    return Ok(said);
                }
            }
            if !more {
                return Err(AuditError::Empty { path: self.path.clone() });
            }
        }
    }

    fn push_more(&mut self) -> Result<bool, AuditError> {
        if self.ended {
            return Ok(false);
        }
        let mut bytes = vec![0; BYTES_AT_ONCE];
        let len = self.file.read_at(&mut bytes, self.at).map_err(AuditError::io("read", &self.path))?;
        self.at += len as u64;
        match bytes.get(..len) {
            Some(bytes) if len > 0 => self.reader.push(bytes),
            _ => {
                self.reader.end();
                self.ended = true;
            }
        }
        Ok(true)
    }

    fn read(&mut self, pieces: &mut Vec<Piece>) -> Result<bool, AuditError> {
        pieces.extend(self.read_ahead.drain(..));
        loop {
            while let Some(item) = self.reader.next_item() {
                pieces.extend(piece_of(item));
            }
            if !pieces.is_empty() {
                return Ok(true);
            }
            if !self.push_more()? {
                return Ok(false);
            }
        }
    }
}

fn piece_of(item: ExportItem) -> Option<Piece> {
    match item {
        ExportItem::Header(_) => None,
        ExportItem::Frame(frame) => {
            Some(Piece::Frame(Place { frame: frame.number, offset: Some(frame.offset) }, frame.bytes))
        }
        ExportItem::Trailer(trailer) => Some(Piece::Trailer(Box::new(trailer))),
        ExportItem::Damage(damage) => Some(Piece::Damage(damage.into())),
    }
}
