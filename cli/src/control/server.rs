//! The answering end of the control socket.

use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use wfengine_api::{Exit, Failure, Items};

use super::message::{Reply, read_document, write_document};

/// Requests that are answered at once; further ones wait.
const CONNECTIONS_MAX: usize = 256;
/// Bytes that the path of a socket may take on the systems this runs on.
const PATH_BYTES_MAX: usize = 103;
/// How long a greeted connection may take to ask.
const REQUEST_WAIT: Duration = Duration::from_secs(10);
/// Items on their way to one slow reader.
const ITEMS_WAITING_MAX: usize = 256;

/// Refuses a path that no socket can have.
pub(crate) fn check_path(socket: &Path) -> Result<(), Failure> {
    let len = socket.as_os_str().len();
    if len <= PATH_BYTES_MAX {
        return Ok(());
    }
    Err(Failure::bad_input(format!(
        "{} takes {len} bytes, and the path of a socket may take {PATH_BYTES_MAX}: choose a shorter --data-dir",
        socket.display()
    )))
}

/// Listens on `socket` until `stop` is done; then lets the requests under way finish. A stale socket file is replaced: whoever
/// calls this owns the data directory.
pub(crate) async fn serve<R, H, F>(
    socket: &Path,
    handle: H,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure>
where
    R: DeserializeOwned + Send + 'static,
    H: Fn(R, Items) -> F + Send + Sync + 'static,
    F: Future<Output = Result<serde_json::Value, Failure>> + Send + 'static,
{
    check_path(socket)?;
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
    // from here on the request is read, also when the process wants to end
    if write_document(&mut stream, &Reply::Ready).await.is_err() {
        return;
    }
    let request = match tokio::time::timeout(REQUEST_WAIT, read_document::<R>(&mut stream)).await {
        Ok(Ok(Some(request))) => request,
        // somebody looked whether a node is running, or fell asleep while asking
        Ok(Ok(None)) | Err(_) => return,
        Ok(Err(failure)) => {
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
        Err(panic) => {
            Reply::Failed(Failure::new(Exit::Failure, format!("BUG: the node failed to answer: {panic}")))
        }
    };
    let _ = write_document(&mut stream, &reply).await;
}

fn is_closed(stream: &UnixStream) -> bool {
    let mut byte = [0; 1];
    matches!(stream.try_read(&mut byte), Ok(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Client, NotAsked};

    #[tokio::test]
    async fn a_request_is_answered_or_was_never_taken() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control.sock");
        let bound = UnixListener::bind(&socket).unwrap();
        let client = Client::connect(&socket);
        // an owner that ends before it has greeted whoever waits at its door
        drop(bound);
        assert!(client.await.is_none());

        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (begun, beginning) = tokio::sync::oneshot::channel::<()>();
        let begun = std::sync::Mutex::new(Some(begun));
        let (go_on, may_go_on) = tokio::sync::watch::channel(false);
        let path = socket.clone();
        let server = tokio::spawn(async move {
            let handle = move |request: String, _: Items| {
                drop(begun.lock().unwrap().take());
                let mut may_go_on = may_go_on.clone();
                async move {
                    may_go_on.wait_for(|may| *may).await.unwrap();
                    Ok(serde_json::json!(request))
                }
            };
            serve(&path, handle, async { drop(stopped.await) }).await
        });
        let client = loop {
            match Client::connect(&socket).await {
                Some(client) => break client,
                None => tokio::task::yield_now().await,
            }
        };
        let asker = client.clone();
        let asking = tokio::spawn(async move { asker.offer(&"hello", |_| ()).await });
        let _ = beginning.await;
        stop.send(()).unwrap();
        go_on.send(true).unwrap();
        let answer = asking.await.unwrap();
        assert_eq!(answer.unwrap().unwrap(), "hello");
        server.await.unwrap().unwrap();
        assert!(matches!(client.offer(&"again", |_| ()).await, Err(NotAsked)));
    }

    #[test]
    fn a_path_that_no_socket_can_have_is_refused_by_name() {
        assert!(check_path(Path::new("/run/wfengine/control.sock")).is_ok());
        let long = format!("/{}/control.sock", "d".repeat(100));
        assert!(check_path(Path::new(&long)).unwrap_err().message.contains("--data-dir"));
    }
}
