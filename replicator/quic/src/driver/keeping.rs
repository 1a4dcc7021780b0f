//! Blobs on their way into the store: pieces in order into a file, checked when the last one came; and who waits for them.

use std::collections::BTreeMap;

use tokio::sync::{mpsc, oneshot};
use wfengine_storage_format::BlobId;
use wfengine_store::Blobs;
use wfengine_store::blobs::{BlobError, IncomingBlob};

use super::machine::Input;

/// Longest blob that is kept because a peer offers it, in bytes; longer ones are fetched when they are needed.
pub(super) const OFFERED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What became of a blob's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kept {
    /// It is in the store.
    Yes,
    /// They are not the blob's: the sender is to blame.
    OtherBytes,
    /// This host could not write them: nobody else is to blame.
    NotWritten,
}

/// Blobs being collected and the requests that wait for them.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    incoming: BTreeMap<BlobId, IncomingBlob>,
    waiting: BTreeMap<BlobId, Vec<oneshot::Sender<bool>>>,
}

impl Keeping {
    /// Somebody waits for a blob.
    pub(super) fn wait(&mut self, blob: BlobId, done: oneshot::Sender<bool>) {
        self.waiting.entry(blob).or_default().push(done);
    }

    /// Tells those who wait.
    pub(super) fn tell(&mut self, blob: &BlobId, is_here: bool) {
        for done in self.waiting.remove(blob).unwrap_or_default() {
            let _ = done.send(is_here);
        }
    }

    /// Takes a piece. The last one makes the blob durable in a thread of its own and brings [`Input::BlobKept`].
    pub(super) fn take(
        &mut self,
        blobs: &Blobs,
        blob: BlobId,
        offset: u64,
        total: u64,
        bytes: &[u8],
        inputs: &mpsc::UnboundedSender<Input>,
    ) {
        let started = if offset == 0 { blobs.incoming().ok() } else { self.incoming.remove(&blob) };
        let fits = started.filter(|incoming| incoming.len() == offset);
        let written = fits.and_then(|mut incoming| incoming.write(bytes).ok().map(|()| incoming));
        let Some(incoming) = written else {
            let _ = inputs.send(Input::BlobKept(blob, Kept::NotWritten));
            return;
        };
        if incoming.len() < total {
            self.incoming.insert(blob, incoming);
            return;
        }
        let inputs = inputs.clone();
        tokio::task::spawn_blocking(move || {
            let kept = match incoming.keep(Some(blob)) {
                Ok(_) => Kept::Yes,
                Err(error) => {
                    tracing::warn!(%error, "a blob from a peer was not kept");
                    match error {
                        BlobError::Mismatch { .. } => Kept::OtherBytes,
                        _ => Kept::NotWritten,
                    }
                }
            };
            let _ = inputs.send(Input::BlobKept(blob, kept));
        });
    }
}
