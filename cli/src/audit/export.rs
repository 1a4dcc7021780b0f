//! Writing an export: the whole log, or one run with what proves it.
//!
//! The file appears under its name when it is complete: a broken-off export leaves nothing that looks like one.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use wfengine_core::replay::{Checking, Reread, check_frame};
use wfengine_storage_format::{
    Body, EventId, ExportHeader, ExportScope, ExportTrailer, ExportWriter, Hash32, RunId, SignedFrame,
    Signer, VerifiedFrame,
};

use super::AuditError;
use super::source::{Piece, Source};

/// Bytes collected before they are written.
const WRITE_BYTES: usize = 1024 * 1024;

/// What was written.
#[derive(Debug)]
pub(crate) struct Exported {
    /// What was signed.
    pub(crate) trailer: ExportTrailer,
    /// Bytes of the file.
    pub(crate) bytes: u64,
}

/// Writes the frames of a source to a file: all of them, or those that prove a run. `views` are version and digest of the views of
/// exactly the source's events.
pub(crate) fn write_export(
    source: &mut Source,
    run: Option<RunId>,
    path: &Path,
    signer: &Signer,
    views: Option<(u32, Hash32)>,
    progress: &(dyn Fn((u64, u64)) + Sync),
) -> Result<Exported, AuditError> {
    let scope = run.map_or(ExportScope::Whole, ExportScope::Run);
    let header = ExportHeader { cluster: source.cluster(), scope };
    let chosen = run.map(|run| frames_of_run(source, run)).transpose()?;
    let mut out = Draft::create(path)?;
    let mut writer = ExportWriter::begin(header, &mut out.buffer);
    match chosen {
        Some(handles) => {
            let again = source.again();
            for handle in handles {
                let bytes = again
                    .reread(handle)
                    .ok_or_else(|| damaged(&format!("frame {handle}"), "it cannot be read again"))?;
                writer.frame(&verified(&format!("frame {handle}"), &bytes)?, &mut out.buffer)?;
                out.flush(WRITE_BYTES)?;
            }
        }
        None => each_frame(
            source,
            |place, frame| {
                writer.frame(&verified(&place, &frame)?, &mut out.buffer)?;
                out.flush(WRITE_BYTES)
            },
            progress,
        )?,
    }
    let views = views.filter(|_| run.is_none());
    let trailer = writer.finish(signer, views, &mut out.buffer)?;
    let bytes = out.finish()?;
    Ok(Exported { trailer, bytes })
}

fn damaged(place: &str, detail: &str) -> AuditError {
    AuditError::Damaged { place: place.to_owned(), detail: detail.to_owned() }
}

fn verified(place: &str, bytes: &[u8]) -> Result<VerifiedFrame, AuditError> {
    // an export vouches for what it holds: signatures too, whatever this disk was told before
    SignedFrame::decode(bytes)
        .and_then(SignedFrame::verify)
        .map_err(|error| damaged(place, &error.to_string()))
}

/// Every frame of a source; stops at the first that is damaged.
pub(super) fn each_frame(
    source: &mut Source,
    mut each: impl FnMut(String, Vec<u8>) -> Result<(), AuditError>,
    progress: &(dyn Fn((u64, u64)) + Sync),
) -> Result<(), AuditError> {
    source.rewind()?;
    loop {
        let mut pieces = Vec::new();
        let more = source.read(&mut pieces)?;
        progress(source.progress());
        for piece in pieces {
            match piece {
                Piece::Frame(place, bytes) => each(place.to_string(), bytes)?,
                Piece::Damage(finding) => return Err(damaged("the source", &finding.to_string())),
                Piece::Trailer(_) => {}
            }
        }
        if !more {
            return Ok(());
        }
    }
}

/// The frames with the run's and the authority's events, descriptions of peers, and whatever those events name besides, in order.
fn frames_of_run(source: &mut Source, run: RunId) -> Result<Vec<u64>, AuditError> {
    let mut chosen = BTreeSet::new();
    let (mut named, mut present): (BTreeSet<EventId>, BTreeSet<EventId>) = (BTreeSet::new(), BTreeSet::new());
    let mut found = false;
    each_handle(source, |handle, bytes| {
        let checked = check_frame(bytes, Checking::HashesOnly)
            .map_err(|error| damaged(&format!("frame {handle}"), &error.to_string()))?;
        let mut wanted = false;
        for event in checked.events() {
            let of_run = event.run() == Some(run);
            found |= of_run;
            if of_run || event.kind.is_authority() {
                named.extend(&event.refs);
                wanted = true;
            }
            wanted |= matches!(event.body, Body::PeerDescribed(_));
        }
        if wanted {
            chosen.insert(handle);
            present.extend(checked.events().iter().map(|event| event.id));
        }
        Ok(())
    })?;
    if !found {
        return Err(AuditError::UnknownRun(run));
    }
    let absent: BTreeSet<EventId> = named.difference(&present).copied().collect();
    if !absent.is_empty() {
        each_handle(source, |handle, bytes| {
            let frame = SignedFrame::decode(bytes).and_then(SignedFrame::trust_signature);
            let frame = frame.map_err(|error| damaged(&format!("frame {handle}"), &error.to_string()))?;
            if frame.events().iter().any(|(id, _)| absent.contains(id)) {
                chosen.insert(handle);
            }
            Ok(())
        })?;
    }
    Ok(chosen.into_iter().collect())
}

fn each_handle(
    source: &mut Source,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), AuditError>,
) -> Result<(), AuditError> {
    source.rewind()?;
    loop {
        let mut pieces = Vec::new();
        let more = source.read(&mut pieces)?;
        for piece in pieces {
            match piece {
                Piece::Frame(place, bytes) => each(place.handle(), &bytes)?,
                Piece::Damage(finding) => return Err(damaged("the source", &finding.to_string())),
                Piece::Trailer(_) => {}
            }
        }
        if !more {
            return Ok(());
        }
    }
}

/// A file that gets its name when it is complete. Removed if it never is.
struct Draft {
    path: PathBuf,
    draft: PathBuf,
    file: File,
    buffer: Vec<u8>,
    bytes: u64,
    complete: bool,
}

impl Draft {
    fn create(path: &Path) -> Result<Self, AuditError> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let draft = path.with_file_name(name);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)
            .map_err(AuditError::io("create", &draft))?;
        Ok(Self { path: path.to_owned(), draft, file, buffer: Vec::new(), bytes: 0, complete: false })
    }

    fn flush(&mut self, from: usize) -> Result<(), AuditError> {
        if self.buffer.len() >= from {
            self.file.write_all(&self.buffer).map_err(AuditError::io("write", &self.draft))?;
            self.bytes += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }

    fn finish(mut self) -> Result<u64, AuditError> {
        self.flush(0)?;
        self.file.sync_all().map_err(AuditError::io("write", &self.draft))?;
        std::fs::rename(&self.draft, &self.path).map_err(AuditError::io("name", &self.path))?;
        self.complete = true;
        Ok(self.bytes)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.complete {
            let _ = std::fs::remove_file(&self.draft);
        }
    }
}
