//! Reading an export for import: good frames in batches, what is wrong with the others by name.
//!
//! Whether the frames fit the log is for the log to say; they go through the same door as a peer's. Nothing is handed over before the
//! file's cluster and scope are known to be right: that is the caller's check on the [`Source`].

use wfengine_core::replay::Checking;
use wfengine_core::replay::{Finding, What, check_frame};

use super::AuditError;
use super::source::{Piece, Source};

/// Frames handed over at once.
const FRAMES_AT_ONCE: usize = 256;
/// Their bytes; a frame more may be in it.
const BYTES_AT_ONCE: usize = 2 * 1024 * 1024;

/// Frames that are right by themselves, and what is wrong with others before them.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Encoded frames whose signatures and hashes hold, in order.
    pub(crate) frames: Vec<Vec<u8>>,
    /// What was found on the way.
    pub(crate) findings: Vec<Finding>,
}

/// Reads a source and hands batches over until `each` says that it wants no more.
pub(crate) fn read_batches(
    source: &mut Source,
    mut each: impl FnMut(Batch) -> bool,
    progress: &(dyn Fn((u64, u64)) + Sync),
) -> Result<(), AuditError> {
    source.rewind()?;
    let (mut batch, mut bytes) = (Batch::default(), 0);
    loop {
        let mut pieces = Vec::new();
        let more = source.read(&mut pieces)?;
        progress(source.progress());
        for piece in pieces {
            match piece {
                Piece::Frame(place, frame) => match check_frame(&frame, Checking::Signatures) {
                    Ok(_) => {
                        bytes += frame.len();
                        batch.frames.push(frame);
                    }
                    Err(error) => batch.findings.push(Finding {
                        what: What::Damaged,
                        place: Some(place),
                        detail: error.to_string(),
                    }),
                },
                Piece::Damage(finding) => batch.findings.push(finding),
                Piece::Trailer(_) => {}
            }
            if batch.frames.len() >= FRAMES_AT_ONCE || bytes >= BYTES_AT_ONCE {
                bytes = 0;
                if !each(std::mem::take(&mut batch)) {
                    return Ok(());
                }
            }
        }
        if !more {
            each(batch);
            return Ok(());
        }
    }
}
