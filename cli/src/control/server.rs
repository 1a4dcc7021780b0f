//! The answering end of the control socket.

use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::message::{Reply, read_document, write_document};
use crate::error::{Exit, Failure};

/// Requests that are answered at once; further ones wait.
const CONNECTIONS_MAX: usize = 256;
/// Items on their way to one slow reader.
const ITEMS_WAITING_MAX: usize = 256;

/// Where a handler puts the items of its answer. A vanished reader is noticed at the next item.
pub(crate) type Items = mpsc::Sender<serde_json::Value>;

/// Listens on `socket` until `stop` is done; then lets the requests under way finish. A stale socket file is replaced: whoever
/// calls this owns the data directory.
pub(crate) async fn serve<R, H, F>(socket: &Path, handle: H, stop: impl Future<Output = ()>) -> Result<(), Failure>
where
    R: DeserializeOwned + Send + 'static,
    H: Fn(R, Items) -> F + Send + Sync + 'static,
    F: Future<Output = Result<serde_json::Value, Failure>> + Send + 'static,
{
    let _ = std::fs::remove_file(socket);
    let io = |error: std::io::Error| Failure::io("listen on", socket, &error);
    let listener = UnixListener::bind(socket).map_err(io)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600)).map_err(io)?;
    let handle = Arc::new(handle);
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let room = connections.len() < CONNECTIONS_MAX;
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept(), if room => match accepted {
                Ok((stream, _)) => {
                    let handle = Arc::clone(&handle);
                    connections.spawn(async move { answer(stream, &*handle).await });
                }
                Err(error) => tracing::warn!(%error, "a connection to the control socket was not accepted"),
            },
            _ = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    drop(listener);
    let _ = std::fs::remove_file(socket);
    while connections.join_next().await.is_some() {}
    Ok(())
}

async fn answer<R, H, F>(mut stream: UnixStream, handle: &H)
where
    R: DeserializeOwned,
    H: Fn(R, Items) -> F,
    F: Future<Output = Result<serde_json::Value, Failure>> + Send + 'static,
{
    let own = rustix::process::geteuid().as_raw();
    if stream.peer_cred().map(|peer| peer.uid()).ok() != Some(own) {
        tracing::warn!("another user knocked at the control socket and was sent away");
        return;
    }
    let request = match read_document::<R>(&mut stream).await {
        Ok(Some(request)) => request,
        // somebody looked whether a node is running
        Ok(None) => return,
        Err(failure) => {
            let told = Failure::new(Exit::BadInput, format!("the request was not understood: {failure}"));
            let _ = write_document(&mut stream, &Reply::Failed(told)).await;
            return;
        }
    };
    let (items, mut outgoing) = mpsc::channel(ITEMS_WAITING_MAX);
    let mut work = tokio::spawn(handle(request, items));
    let outcome = loop {
        tokio::select! {
            biased;
            Some(item) = outgoing.recv() => {
                if write_document(&mut stream, &Reply::Item(item)).await.is_err() {
                    // dropping the receiver tells the handler that nobody listens
                    drop(outgoing);
                    let _ = work.await;
                    return;
                }
            }
            done = &mut work => break done,
            // a reader that goes away while nothing is written
            gone = stream.readable() => {
                if gone.is_err() || is_closed(&stream) {
                    drop(outgoing);
                    let _ = work.await;
                    return;
                }
            }
        }
    };
    while let Ok(item) = outgoing.try_recv() {
        if write_document(&mut stream, &Reply::Item(item)).await.is_err() {
            return;
        }
    }
    let reply = match outcome {
        Ok(Ok(answer)) => Reply::Done(answer),
        Ok(Err(failure)) => Reply::Failed(failure),
        Err(panic) => Reply::Failed(Failure::new(Exit::Failure, format!("BUG: the node failed to answer: {panic}"))),
    };
    let _ = write_document(&mut stream, &reply).await;
}

fn is_closed(stream: &UnixStream) -> bool {
    let mut byte = [0; 1];
    matches!(stream.try_read(&mut byte), Ok(0))
}
