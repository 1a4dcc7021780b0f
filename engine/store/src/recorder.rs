//! The handle that writes: commands in, receipts out; foreign frames in, outcomes out.

use std::sync::mpsc::SyncSender;
use std::sync::{Arc, OnceLock};

use tokio::sync::oneshot;
use wfengine_core::admitted::Admitted;
use wfengine_core::command::Command;
use wfengine_core::log::Need;
use wfengine_core::time::WallMs;
use wfengine_storage_format::{EventId, PeerId, VerifiedFrame};

use crate::error::{AskError, StoreError};

/// What became of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// The events it became, durable now. Empty when it already held.
    pub events: Vec<EventId>,
    /// The command asked for what already was so.
    pub already_so: bool,
}

/// What became of a foreign frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FrameOutcome {
    /// Durable and folded.
    Admitted,
    /// It was before.
    Duplicate,
    /// It waits for these.
    Waiting(Vec<Need>),
    /// It would have to wait, and there is no room: to be asked for again.
    NoRoom,
    /// It contradicts a stored frame; the proof was recorded.
    Forked,
    /// It can never be part of this log.
    Rejected(String),
}

/// Something that was committed and folded.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The events, in the order of their frames.
    pub events: Vec<Arc<Admitted>>,
    /// The frames, for whoever passes them on.
    pub frames: Vec<VerifiedFrame>,
    /// Who brought each frame; `None` for the node's own.
    pub from: Vec<Option<PeerId>>,
    /// Whether members, roles or cuts changed.
    pub authority: bool,
    /// Number of frames in the log, these included: tells what was heard before.
    pub frames_len: u64,
}

pub(crate) enum Request {
    Ask {
        command: Box<Command>,
        now: WallMs,
        reply: oneshot::Sender<Result<Receipt, AskError>>,
    },
    Take {
        frames: Vec<VerifiedFrame>,
        from: PeerId,
        now: WallMs,
        reply: oneshot::Sender<Result<Vec<FrameOutcome>, StoreError>>,
    },
    ForgetPeer(PeerId),
    Close(SyncSender<Result<(), StoreError>>),
}

/// Writes to the log. Cheap to clone; all clones feed one writer.
#[derive(Clone, Debug)]
pub struct Recorder {
    pub(crate) requests: SyncSender<Request>,
    pub(crate) fatal: Arc<OnceLock<StoreError>>,
}

impl Recorder {
    fn send(&self, request: Request) -> Result<(), StoreError> {
        self.requests.send(request).map_err(|_| self.stopped())
    }

    /// Why the writer takes nothing more.
    pub(crate) fn stopped(&self) -> StoreError {
        self.fatal.get().cloned().unwrap_or(StoreError::Closed)
    }

    /// The error that stopped the writer for good, if one did: the process must exit with status 70. It is known before the views
    /// can be seen that the writer left behind.
    pub fn fatal(&self) -> Option<&StoreError> {
        self.fatal.get()
    }

    /// Asks for a command without waiting for the answer. Blocks while the writer's queue (8,192 requests) is full.
    ///
    /// # Errors
    /// [`StoreError::Closed`] when the writer has stopped.
    pub fn ask_later(
        &self,
        command: Command,
        now: WallMs,
    ) -> Result<oneshot::Receiver<Result<Receipt, AskError>>, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Ask { command: Box::new(command), now, reply })?;
        Ok(answer)
    }

    /// Asks for a command and waits until its events are durable.
    ///
    /// # Errors
    /// [`AskError::Refused`] when nothing changed; [`AskError::Store`] when the disk failed.
    pub async fn ask(&self, command: Command, now: WallMs) -> Result<Receipt, AskError> {
        self.ask_later(command, now)?.await.map_err(|_| self.stopped())?
    }

    /// As [`Recorder::ask`], for threads that are not asynchronous.
    ///
    /// # Errors
    /// As [`Recorder::ask`].
    pub fn ask_blocking(&self, command: Command, now: WallMs) -> Result<Receipt, AskError> {
        self.ask_later(command, now)?.blocking_recv().map_err(|_| self.stopped())?
    }

    /// Brings frames of others in. Each gets an outcome, in order.
    ///
    /// # Errors
    /// [`StoreError`] when the disk failed.
    pub async fn take(
        &self,
        frames: Vec<VerifiedFrame>,
        from: PeerId,
        now: WallMs,
    ) -> Result<Vec<FrameOutcome>, StoreError> {
        self.take_later(frames, from, now)?.await.map_err(|_| self.stopped())?
    }

    /// Brings frames of others in without waiting for their outcomes. Calls of one thread keep their order.
    ///
    /// # Errors
    /// [`StoreError`] when the writer has stopped.
    pub fn take_later(
        &self,
        frames: Vec<VerifiedFrame>,
        from: PeerId,
        now: WallMs,
    ) -> Result<oneshot::Receiver<Result<Vec<FrameOutcome>, StoreError>>, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Take { frames, from, now, reply })?;
        Ok(answer)
    }

    /// As [`Recorder::take`], for threads that are not asynchronous.
    ///
    /// # Errors
    /// As [`Recorder::take`].
    pub fn take_blocking(
        &self,
        frames: Vec<VerifiedFrame>,
        from: PeerId,
        now: WallMs,
    ) -> Result<Vec<FrameOutcome>, StoreError> {
        self.take_later(frames, from, now)?.blocking_recv().map_err(|_| self.stopped())?
    }

    /// Drops the waiting frames that a peer brought.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub fn forget_peer(&self, peer: PeerId) -> Result<(), StoreError> {
        self.send(Request::ForgetPeer(peer))
    }
}
