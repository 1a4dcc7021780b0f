//! Connections: how many there are, how they are secured, and how long they wait for a client that does nothing.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;

/// Connections at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 512;
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// A client may take so long to send the head of a request, and may hold an idle connection so long.
const HEAD_WAIT: Duration = Duration::from_secs(10);
/// It may take so long to agree on a key.
const TLS_WAIT: Duration = Duration::from_secs(10);
/// It may take nothing of an answer for so long.
const WRITE_WAIT: Duration = Duration::from_secs(30);
/// A client that says nothing for so long is asked by the system whether it is still there, again and again in shorter times.
const SILENT: Duration = Duration::from_secs(30);
const ASKED_AGAIN: Duration = Duration::from_secs(10);
/// Requests that are under way at the end may take so long.
const END_WAIT: Duration = Duration::from_secs(5);
/// Waits of the accept loop after the system refused a connection.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Answers at a listener until `stop` is done; what is under way then has a few seconds.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    stop: impl Future<Output = ()>,
) {
    let mut connections = JoinSet::new();
    let (ending, ended) = watch::channel(false);
    tokio::pin!(stop);
    loop {
        let has_room = connections.len() < CONNECTIONS_MAX;
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept(), if has_room => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(secured(stream, tls.clone(), router.clone(), ended.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection to the HTTP door was not accepted");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            },
            _ = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    drop(listener);
    ending.send_replace(true);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(END_WAIT, all).await.is_err() {
        tracing::info!("clients of the HTTP door that were slow were sent away");
    }
}

async fn secured(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    mut ended: watch::Receiver<bool>,
) {
    // whoever waits for hours and has lost its network is not waited for
    let keepalive = TcpKeepalive::new().with_time(SILENT).with_interval(ASKED_AGAIN);
    if let Err(error) = SockRef::from(&stream).set_tcp_keepalive(&keepalive) {
        tracing::debug!(%error, "a client that vanishes will be noticed late");
    }
    let Some(tls) = tls else { return answered(stream, router, ended).await };
    let agreed = tokio::time::timeout(TLS_WAIT, tls.accept(stream));
    let agreed = tokio::select! {
        agreed = agreed => agreed,
        _ = ended.wait_for(|ended| *ended) => return,
    };
    match agreed {
        Ok(Ok(stream)) => answered(stream, router, ended).await,
        Ok(Err(error)) => tracing::debug!(%error, "a client of the HTTP door spoke no TLS"),
        Err(_) => tracing::debug!("a client of the HTTP door was slow to agree on a key"),
    }
}

async fn answered(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    router: Router,
    mut ended: watch::Receiver<bool>,
) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_WAIT));
    let io = TokioIo::new(Box::pin(stream));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(io, TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ending = async move {
        let _: Result<_, _> = ended.wait_for(|ended| *ended).await;
        Ok::<(), Infallible>(())
    };
    tokio::select! {
        _ = &mut connection => {}
        _ = ending => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}
