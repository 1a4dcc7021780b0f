//! One connection: who is there, messages both ways, blob streams and datagrams.
//!
//! Messages travel on one ordered bidirectional stream, opened by the dialler. Blobs have streams of their own, datagrams
//! none. The connection does not interpret any of it and admits nobody: its owner says
//! [`authenticated`](Connection::authenticated) after a hello, and only then do the windows and the message limit grow.
//!
//! Invariants: what waits to be sent is bounded; a stream that breaks the framing closes the connection; when the last
//! handle is dropped the connection closes, and its place in the endpoint's counts is free as soon as it is closed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{ReadError, SendDatagramError, VarInt};
use tokio::sync::{Mutex, watch};
use wfengine_storage_format::PeerId;

use crate::admission::Slot;
use crate::blob::{BlobError, BlobReceiver, BlobSender};
use crate::closed::{self, CloseCode, Closed};
use crate::framing::{self, FramingError, MessageReader};
use crate::limits::Limits;
use crate::send_queue::{Priority, QueueRefusal, SendQueue};

/// Why a message was not taken for sending. The connection goes on unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The peer reads too slowly: wait for [`Connection::room`] or send less.
    #[error("{waiting_bytes} bytes already wait for a peer that reads slowly")]
    Full {
        /// Bytes waiting in the lane.
        waiting_bytes: usize,
    },
    /// The peer would refuse the message.
    #[error("not sent: {0}")]
    Framing(#[from] FramingError),
    /// The connection is closed.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// Why no further message will come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecvError {
    /// The peer broke the framing; the connection has been closed with [`CloseCode::VIOLATION`].
    #[error("{peer} broke the framing: {error}")]
    Framing {
        /// Who.
        peer: PeerId,
        /// How.
        error: FramingError,
    },
    /// The peer ended the stream of messages; the connection has been closed with [`CloseCode::VIOLATION`].
    #[error("{peer} ended its stream of messages")]
    StreamEnded {
        /// Who.
        peer: PeerId,
    },
    /// The connection is closed.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// Why a datagram was not sent or will not come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatagramError {
    /// It does not fit one packet on the present path.
    #[error("a datagram of {bytes} bytes does not fit a packet ({limit} bytes)")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The longest that fits at the moment; it changes with the path.
        limit: usize,
    },
    /// The peer takes no datagrams.
    #[error("the peer takes no datagrams")]
    Unsupported,
    /// The connection is closed.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// A connection with a peer whose key has been proved. Clones are handles of the same connection.
#[derive(Debug, Clone)]
pub struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    quic: quinn::Connection,
    peer: PeerId,
    limits: Limits,
    queue: Arc<SendQueue>,
    incoming: Mutex<IncomingMessages>,
    authenticated: watch::Sender<bool>,
    slot: Arc<Slot>,
}

#[derive(Debug)]
struct IncomingMessages {
    stream: quinn::RecvStream,
    reader: MessageReader,
}

impl Drop for Shared {
    fn drop(&mut self) {
        close_quic(&self.quic, CloseCode::DONE, "");
    }
}

impl Connection {
    /// The dialler's end: opens the control stream and makes it visible to the other end.
    pub(crate) async fn dialled(
        quic: quinn::Connection,
        peer: PeerId,
        slot: Arc<Slot>,
        limits: &Limits,
    ) -> Result<Self, RecvError> {
        let lost = |error: quinn::ConnectionError| RecvError::Closed(Closed::from_quinn(&error));
        let (mut outgoing, incoming) = quic.open_bi().await.map_err(lost)?;
        // fails only with the connection: the stream is fresh and the peer has nothing to stop yet
        if outgoing.write_all(&framing::PREFACE).await.is_err() {
            return Err(reason_of(&quic).map_or(RecvError::StreamEnded { peer }, RecvError::Closed));
        }
        Ok(Self::start(quic, peer, slot, limits, outgoing, incoming))
    }

    /// The answering end: waits for the control stream.
    pub(crate) async fn answered(
        quic: quinn::Connection,
        peer: PeerId,
        slot: Arc<Slot>,
        limits: &Limits,
    ) -> Result<Self, RecvError> {
        let lost = |error: quinn::ConnectionError| RecvError::Closed(Closed::from_quinn(&error));
        let (outgoing, mut incoming) = quic.accept_bi().await.map_err(lost)?;
        let mut found = [0; framing::PREFACE.len()];
        let refused = match incoming.read_exact(&mut found).await {
            Ok(()) if found == framing::PREFACE => {
                return Ok(Self::start(quic, peer, slot, limits, outgoing, incoming));
            }
            Ok(()) => RecvError::Framing { peer, error: FramingError::Preface { found } },
            Err(_) => reason_of(&quic).map_or(RecvError::StreamEnded { peer }, RecvError::Closed),
        };
        close_quic(&quic, CloseCode::VIOLATION, &refused.to_string());
        Err(refused)
    }

    fn start(
        quic: quinn::Connection,
        peer: PeerId,
        slot: Arc<Slot>,
        limits: &Limits,
        outgoing: quinn::SendStream,
        incoming: quinn::RecvStream,
    ) -> Self {
        let queue = Arc::new(SendQueue::new(limits));
        let (authenticated, hello) = watch::channel(false);
        tokio::spawn(write_messages(quic.clone(), outgoing, queue.clone()));
        tokio::spawn(watch_over(quic.clone(), hello, limits.hello_ms, queue.clone(), slot.clone()));
        let incoming = Mutex::new(IncomingMessages { stream: incoming, reader: MessageReader::default() });
        Self {
            shared: Arc::new(Shared {
                quic,
                peer,
                limits: limits.clone(),
                queue,
                incoming,
                authenticated,
                slot,
            }),
        }
    }

    /// The key at the other end, proved by the handshake.
    pub fn peer_id(&self) -> PeerId {
        self.shared.peer
    }

    /// Where the peer is at the moment; it can move.
    pub fn remote_addr(&self) -> SocketAddr {
        let address = self.shared.quic.remote_address();
        SocketAddr::new(address.ip().to_canonical(), address.port())
    }

    /// The present estimate of the round-trip time.
    pub fn rtt(&self) -> Duration {
        self.shared.quic.rtt()
    }

    /// A number unique among the connections of this endpoint.
    pub fn stable_id(&self) -> usize {
        self.shared.quic.stable_id()
    }

    /// Opens the connection up: long messages, full windows, blob streams. To be called once the application's hello has
    /// been accepted, by the answering end *before* it sends its answer and by the dialler before it receives again, so that
    /// neither end ever refuses what the other may already send. Calling it again does nothing.
    pub fn authenticated(&self) {
        if self.shared.authenticated.send_replace(true) {
            return;
        }
        self.shared.slot.authenticated();
        self.shared.quic.set_receive_window(VarInt::from_u32(self.shared.limits.connection_window));
        self.shared.quic.set_max_concurrent_uni_streams(VarInt::from_u32(self.shared.limits.blob_streams));
    }

    /// Whether [`authenticated`](Self::authenticated) has been called.
    pub fn is_authenticated(&self) -> bool {
        *self.shared.authenticated.borrow()
    }

    /// Queues a message; does not wait. Until authentication everything goes in the order of the calls, whatever its
    /// priority, so that nothing overtakes a hello.
    ///
    /// # Errors
    /// [`SendError`]; in each case the message was not queued.
    pub fn send(&self, message: impl Into<Arc<[u8]>>, priority: Priority) -> Result<(), SendError> {
        let authenticated = self.is_authenticated();
        let priority = if authenticated { priority } else { Priority::High };
        let limit = self.shared.limits.message_limit(authenticated);
        self.shared.queue.push(message.into(), priority, limit).map_err(|refusal| match refusal {
            QueueRefusal::Full { waiting_bytes } => SendError::Full { waiting_bytes },
            QueueRefusal::Framing(error) => SendError::Framing(error),
            QueueRefusal::Closed => SendError::Closed(self.closed_reason()),
        })
    }

    /// Waits until messages of this priority have room again (their lane is at most half full) or the connection is
    /// closed.
    pub async fn room(&self, priority: Priority) {
        self.shared.queue.room(priority).await;
    }

    /// The next message. Cancel-safe: a message that had begun to arrive is not lost. What had arrived whole before the
    /// peer closed is still delivered; after [`close`](Self::close) here nothing is.
    ///
    /// # Errors
    /// [`RecvError`]; there will be no further message.
    pub async fn recv(&self) -> Result<Vec<u8>, RecvError> {
        let mut incoming = self.shared.incoming.lock().await;
        if let Some(Closed::Here) = reason_of(&self.shared.quic) {
            return Err(Closed::Here.into());
        }
        let IncomingMessages { stream, reader } = &mut *incoming;
        let peer = self.shared.peer;
        let refused = loop {
            match stream.read(reader.space()).await {
                Ok(Some(count)) => {
                    let limit = self.shared.limits.message_limit(self.is_authenticated());
                    match reader.advance(count, limit) {
                        Ok(Some(message)) => return Ok(message),
                        Ok(None) => {}
                        Err(error) => break RecvError::Framing { peer, error },
                    }
                }
                Ok(None) => match reader.finish() {
                    Ok(()) => break RecvError::StreamEnded { peer },
                    Err(error) => break RecvError::Framing { peer, error },
                },
                Err(ReadError::ConnectionLost(error)) => return Err(Closed::from_quinn(&error).into()),
                Err(
                    ReadError::Reset(_)
                    | ReadError::ClosedStream
                    | ReadError::IllegalOrderedRead
                    | ReadError::ZeroRttRejected,
                ) => break RecvError::StreamEnded { peer },
            }
        };
        self.close(CloseCode::VIOLATION, &refused.to_string());
        Err(refused)
    }

    /// Opens a blob stream; waits while the peer allows no further one. The peer learns of it with the first byte.
    ///
    /// # Errors
    /// [`BlobError::NotAuthenticated`], or [`BlobError::Closed`].
    pub async fn open_blob(&self) -> Result<BlobSender, BlobError> {
        if !self.is_authenticated() {
            return Err(BlobError::NotAuthenticated);
        }
        let stream = self.shared.quic.open_uni().await;
        stream.map(BlobSender::new).map_err(|error| Closed::from_quinn(&error).into())
    }

    /// The next blob stream the peer opened. None comes before authentication. Cancel-safe.
    ///
    /// # Errors
    /// [`BlobError::Closed`].
    pub async fn accept_blob(&self) -> Result<BlobReceiver, BlobError> {
        let stream = self.shared.quic.accept_uni().await;
        stream.map(BlobReceiver::new).map_err(|error| Closed::from_quinn(&error).into())
    }

    /// Sends one datagram, which may be lost, doubled or late. When too many wait the oldest is dropped.
    ///
    /// # Errors
    /// [`DatagramError`]; nothing was sent.
    pub fn send_datagram(&self, datagram: Vec<u8>) -> Result<(), DatagramError> {
        let bytes = datagram.len();
        self.shared.quic.send_datagram(datagram.into()).map_err(|error| match error {
            SendDatagramError::TooLarge => {
                DatagramError::TooLarge { bytes, limit: self.datagram_limit().unwrap_or(0) }
            }
            SendDatagramError::UnsupportedByPeer | SendDatagramError::Disabled => DatagramError::Unsupported,
            SendDatagramError::ConnectionLost(error) => Closed::from_quinn(&error).into(),
        })
    }

    /// The next datagram. Cancel-safe. Owners ignore those that come before authentication.
    ///
    /// # Errors
    /// [`DatagramError::Closed`].
    pub async fn recv_datagram(&self) -> Result<Vec<u8>, DatagramError> {
        match self.shared.quic.read_datagram().await {
            Ok(datagram) => Ok(datagram.into()),
            Err(error) => Err(Closed::from_quinn(&error).into()),
        }
    }

    /// The longest datagram that fits at the moment; `None` if the peer takes none.
    pub fn datagram_limit(&self) -> Option<usize> {
        self.shared.quic.max_datagram_size()
    }

    /// Closes at once: messages not yet acknowledged may be lost. The peer sees [`Closed::ByPeer`] with this code and
    /// the first 256 bytes of the reason.
    pub fn close(&self, code: CloseCode, reason: &str) {
        close_quic(&self.shared.quic, code, reason);
    }

    /// Waits until the connection is closed, by whomever.
    pub async fn closed(&self) -> Closed {
        Closed::from_quinn(&self.shared.quic.closed().await)
    }

    fn closed_reason(&self) -> Closed {
        reason_of(&self.shared.quic).unwrap_or(Closed::Here)
    }
}

/// Closes unless it is closed: quinn would replace the peer's reason by "closed here".
pub(crate) fn close_quic(quic: &quinn::Connection, code: CloseCode, reason: &str) {
    if quic.close_reason().is_none() {
        quic.close(VarInt::from_u32(code.0), closed::sendable(reason));
    }
}

fn reason_of(quic: &quinn::Connection) -> Option<Closed> {
    quic.close_reason().as_ref().map(Closed::from_quinn)
}

/// Writes what is queued until the connection is closed.
async fn write_messages(quic: quinn::Connection, mut stream: quinn::SendStream, queue: Arc<SendQueue>) {
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            _ = quic.closed() => return,
            () = queue.next_batch(&mut batch) => {}
        }
        if stream.write_all(&batch).await.is_err() {
            // the peer stopped reading messages but keeps the connection; of a lost connection nothing is left to close
            close_quic(&quic, CloseCode::VIOLATION, "the stream of messages was stopped");
            return;
        }
    }
}

/// Closes a connection that is not authenticated in time, and gives back what a closed one holds.
async fn watch_over(
    quic: quinn::Connection,
    mut hello: watch::Receiver<bool>,
    hello_ms: u32,
    queue: Arc<SendQueue>,
    slot: Arc<Slot>,
) {
    let patience = Duration::from_millis(hello_ms.into());
    tokio::select! {
        // an error means that the last handle is gone, and with it the connection
        _ = hello.wait_for(|authenticated| *authenticated) => {}
        _ = quic.closed() => {}
        () = tokio::time::sleep(patience) => close_quic(&quic, CloseCode::NO_HELLO, "no hello in time"),
    }
    quic.closed().await;
    queue.close();
    slot.release();
}
