//! Connections as the machine holds them, and the small tasks that carry bytes between them and it.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::mpsc;
use wfengine_protocol::{ConnectionId, Role};
use wfengine_storage_format::PeerId;

use super::machine::Input;
use crate::{Connection, Endpoint, Priority, RecvError};

/// Where the messages and datagrams of a connection go.
pub(super) type Bytes = mpsc::Sender<(ConnectionId, Vec<u8>)>;

/// One connection's tasks.
pub(super) struct Wire {
    pub(super) connection: Connection,
    pub(super) peer: PeerId,
    pub(super) outgoing: mpsc::UnboundedSender<(Vec<u8>, Priority)>,
    tasks: tokio::task::JoinSet<()>,
    pub(super) is_member: bool,
}

impl Wire {
    /// Starts the tasks of a connection.
    pub(super) fn start(
        id: ConnectionId,
        connection: Connection,
        messages: Bytes,
        datagrams: Bytes,
        inputs: &mpsc::UnboundedSender<Input>,
    ) -> Self {
        let peer = connection.peer_id();
        let (outgoing, sending) = mpsc::unbounded_channel();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(send_all(id, connection.clone(), sending, inputs.clone()));
        tasks.spawn(receive_all(id, connection.clone(), messages, inputs.clone()));
        tasks.spawn(receive_datagrams(id, connection.clone(), datagrams));
        Self { connection, peer, outgoing, tasks, is_member: false }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

pub(super) async fn accept(endpoint: Endpoint, inputs: mpsc::UnboundedSender<Input>) {
    while let Some(incoming) = endpoint.accept().await {
        let inputs = inputs.clone();
        tokio::spawn(async move {
            match incoming.establish().await {
                Ok(connection) => {
                    let _ = inputs.send(Input::Connected { connection, role: Role::Answerer, dialled: None });
                }
                Err(error) => tracing::debug!(%error, "a caller was not accepted"),
            }
        });
    }
}

pub(super) async fn dial(
    endpoint: Endpoint,
    address: String,
    peer: Option<PeerId>,
    role: Role,
    inputs: mpsc::UnboundedSender<Input>,
) {
    let found: Vec<SocketAddr> = match tokio::net::lookup_host(&address).await {
        Ok(found) => found.collect(),
        Err(error) => {
            tracing::info!(address, %error, "the address cannot be looked up");
            Vec::new()
        }
    };
    let input = match endpoint.connect_any(&found, peer).await {
        Ok(connection) => Input::Connected { connection, role, dialled: Some(address) },
        Err(error) => {
            tracing::info!(address, %error, "dialling failed");
            Input::DialFailed(address)
        }
    };
    let _ = inputs.send(input);
}

async fn send_all(
    id: ConnectionId,
    connection: Connection,
    mut messages: mpsc::UnboundedReceiver<(Vec<u8>, Priority)>,
    inputs: mpsc::UnboundedSender<Input>,
) {
    while let Some((message, priority)) = messages.recv().await {
        let (len, message): (usize, Arc<[u8]>) = (message.len(), Arc::from(message));
        loop {
            match connection.send(Arc::clone(&message), priority) {
                Ok(()) => break,
                Err(crate::SendError::Full { .. }) => connection.room(priority).await,
                Err(error) => {
                    tracing::debug!(%error, "a message was not sent");
                    return;
                }
            }
        }
        let _ = inputs.send(Input::Sent(id, len));
    }
}

async fn receive_all(
    id: ConnectionId,
    connection: Connection,
    messages: Bytes,
    inputs: mpsc::UnboundedSender<Input>,
) {
    loop {
        match connection.recv().await {
            Ok(bytes) => {
                if messages.send((id, bytes)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a connection ended");
                let closed = match error {
                    RecvError::Closed(closed) => Some(closed),
                    RecvError::Framing { .. } | RecvError::StreamEnded { .. } => None,
                };
                let _ = inputs.send(Input::Gone(id, closed));
                return;
            }
        }
    }
}

async fn receive_datagrams(id: ConnectionId, connection: Connection, datagrams: Bytes) {
    while let Ok(bytes) = connection.recv_datagram().await {
        if let Err(mpsc::error::TrySendError::Closed(_)) = datagrams.try_send((id, bytes)) {
            return;
        }
    }
}
