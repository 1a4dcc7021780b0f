//! Blob streams: one direction, bytes as they are, back-pressure by QUIC's flow control.
//!
//! What a stream carries and how it begins is the protocol's business. Blob streams yield to messages.
//!
//! Invariant: a stream that was not finished by [`BlobSender::finish`] is seen as aborted at the other end, never as
//! complete, even if its sender was dropped half-way.

use quinn::{ReadError, VarInt, WriteError};

use crate::closed::{CloseCode, Closed};

/// Below the control stream's priority, which is QUIC's default of 0.
const BLOB_PRIORITY: i32 = -1;

/// Why a blob stream ended before its time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// Blobs wait until [`Connection::authenticated`](crate::Connection::authenticated) has been called here.
    #[error("no blobs before authentication")]
    NotAuthenticated,
    /// The other end gave up on this stream; the connection goes on.
    #[error("the peer aborted the stream (code {})", .0.0)]
    Aborted(CloseCode),
    /// The stream was used after its end.
    #[error("the stream has already ended")]
    Ended,
    /// The connection is closed.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// The writing end of a blob stream.
#[derive(Debug)]
#[must_use = "a stream that is dropped without `finish` is aborted"]
pub struct BlobSender {
    stream: quinn::SendStream,
    finished: bool,
}

impl BlobSender {
    pub(crate) fn new(stream: quinn::SendStream) -> Self {
        // fails only for a stream that is closed, which the first write reports
        let _closed = stream.set_priority(BLOB_PRIORITY);
        Self { stream, finished: false }
    }

    /// Writes all of `bytes`, waiting while the other end does not read.
    ///
    /// # Errors
    /// [`BlobError`] when the other end stopped reading or the connection is lost.
    pub async fn write_all(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.stream.write_all(bytes).await.map_err(write_error)
    }

    /// Ends the stream and waits until the other end's QUIC has all of it.
    ///
    /// # Errors
    /// [`BlobError`] when the other end stopped reading or the connection is lost before that.
    pub async fn finish(mut self) -> Result<(), BlobError> {
        self.stream.finish().map_err(|_| BlobError::Ended)?;
        self.finished = true;
        match self.stream.stopped().await {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(BlobError::Aborted(close_code(code))),
            Err(quinn::StoppedError::ConnectionLost(error)) => Err(Closed::from_quinn(&error).into()),
            Err(quinn::StoppedError::ZeroRttRejected) => Err(BlobError::Ended),
        }
    }

    /// Gives up; the other end sees [`BlobError::Aborted`].
    pub fn abort(self) {
        drop(self);
    }
}

impl Drop for BlobSender {
    fn drop(&mut self) {
        // QUIC streams count as finished when dropped, which would pass off half a blob as a whole one
        if !self.finished {
            let _already_ended = self.stream.reset(VarInt::from_u32(CloseCode::DONE.0));
        }
    }
}

/// The reading end of a blob stream. Dropping it tells the sender to stop.
#[derive(Debug)]
pub struct BlobReceiver {
    stream: quinn::RecvStream,
}

impl BlobReceiver {
    pub(crate) fn new(stream: quinn::RecvStream) -> Self {
        Self { stream }
    }

    /// Reads the next bytes into `buffer` and says how many; `None` at the end of a whole stream. Cancel-safe.
    ///
    /// # Errors
    /// [`BlobError`] when the sender gave up or the connection is lost.
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, BlobError> {
        self.stream.read(buffer).await.map_err(|error| match error {
            ReadError::Reset(code) => BlobError::Aborted(close_code(code)),
            ReadError::ConnectionLost(error) => Closed::from_quinn(&error).into(),
            ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => {
                BlobError::Ended
            }
        })
    }

    /// Reads the whole stream if it is at most `limit` bytes long.
    ///
    /// # Errors
    /// [`BlobError::Aborted`] with this node's own [`CloseCode::VIOLATION`] when there is more; else as
    /// [`read`](Self::read).
    pub async fn read_to_end(mut self, limit: usize) -> Result<Vec<u8>, BlobError> {
        let (mut bytes, mut piece) = (Vec::new(), vec![0; 16 << 10]);
        while let Some(count) = self.read(&mut piece).await? {
            if bytes.len() + count > limit {
                let _already_ended = self.stream.stop(VarInt::from_u32(CloseCode::VIOLATION.0));
                return Err(BlobError::Aborted(CloseCode::VIOLATION));
            }
            bytes.extend_from_slice(&piece[..count]);
        }
        Ok(bytes)
    }
}

fn write_error(error: WriteError) -> BlobError {
    match error {
        WriteError::Stopped(code) => BlobError::Aborted(close_code(code)),
        WriteError::ConnectionLost(error) => Closed::from_quinn(&error).into(),
        WriteError::ClosedStream | WriteError::ZeroRttRejected => BlobError::Ended,
    }
}

fn close_code(code: VarInt) -> CloseCode {
    CloseCode(u32::try_from(code.into_inner()).unwrap_or(u32::MAX))
}
