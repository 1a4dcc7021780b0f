//! Bodies that end well, end early, or take very long to begin.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use hyper::body::{Body, Bytes, Frame, SizeHint};

const BLANKS: &[u8] = &[b' '; 64 * 1024];

/// The body of an answer on its way out.
pub(crate) struct StandinBody {
    blanks: u64,
    bytes: Bytes,
    is_cut: bool,
    is_sized: bool,
    /// What was given has had its turn to leave.
    is_flushed: bool,
}

/// The body ends before its length.
#[derive(Debug, thiserror::Error)]
#[error("the body is cut on purpose")]
pub(crate) struct Cut;

impl StandinBody {
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self { blanks: 0, bytes, is_cut: false, is_sized: true, is_flushed: false }
    }

    /// Only the beginning, and then an end without notice.
    pub(crate) fn cut(bytes: &Bytes, after: usize) -> Self {
        let bytes = bytes.slice(..after.min(bytes.len()));
        Self { blanks: 0, bytes, is_cut: true, is_sized: false, is_flushed: false }
    }

    /// Of a length that nobody is told.
    pub(crate) fn after_blanks(blanks: u64, bytes: Bytes) -> Self {
        Self { blanks, bytes, is_cut: false, is_sized: false, is_flushed: false }
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }
}

impl Body for StandinBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if self.blanks > 0 {
            let length = self.blanks.min(BLANKS.len() as u64);
            self.blanks -= length;
            let blanks = Bytes::from_static(BLANKS).slice(..length as usize);
            return Poll::Ready(Some(Ok(Frame::data(blanks))));
        }
        if !self.bytes.is_empty() {
            let bytes = std::mem::take(&mut self.bytes);
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if self.is_cut && !self.is_flushed {
            // an error at once would take with it what has not left yet
            self.is_flushed = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.is_cut.then_some(Err(Cut)))
    }

    fn is_end_stream(&self) -> bool {
        self.blanks == 0 && self.bytes.is_empty() && !self.is_cut
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_sized { SizeHint::with_exact(self.bytes.len() as u64) } else { SizeHint::default() }
    }
}
