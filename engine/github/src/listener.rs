//! Listens for GitHub's webhooks and passes on what they hint at.
//!
//! One path, one method, one request for each connection. What is refused is refused as early as possible: the length before
//! the body is read, the signature before the body is parsed. It never waits for whoever takes the hints: one that finds no
//! room is lost, as GitHub itself may lose it, and polling heals both.
//!
//! Not here: TLS. It belongs before a proxy that has it, or on a network of its own.
//!
//! Invariants: at most 64 connections, 10 seconds and 1 MiB each; nothing unsigned reaches the channel.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Body, Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};

use crate::{
    client::lock,
    secret::Secret,
    webhook::{self, BODY_BYTES_MAX, Delivery, Hint, SeenDeliveries},
};

/// Where GitHub has to be told to send to.
pub const PATH: &str = "/webhooks/github";
const CONNECTIONS_MAX: usize = 64;
const LIMIT: Duration = Duration::from_secs(10);
const REMEMBERED: usize = 10_000;
const HEADERS_BYTES_MAX: usize = 32 << 10;
/// A system that is out of handles gets a moment to have some again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why nobody listens.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Without a secret everybody could send hints.
    #[error("the secret of the webhook is empty; give the one that is set at GitHub")]
    NoSecret,
    /// The address cannot be used.
    #[error("{address}: {error}")]
    Address {
        /// Which.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
}

/// What has come so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerStats {
    /// Hints passed on.
    pub passed: u64,
    /// Messages that had come before.
    pub repeated: u64,
    /// Hints for which there was no room.
    pub lost: u64,
    /// Requests that were refused.
    pub refused: u64,
}

#[derive(Default)]
struct Counters {
    passed: AtomicU64,
    repeated: AtomicU64,
    lost: AtomicU64,
    refused: AtomicU64,
}

/// A listener that listens. Dropping it ends it.
#[derive(Debug)]
pub struct BoundListener {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl BoundListener {
    /// The address it listens on, with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has come so far.
    pub fn stats(&self) -> ListenerStats {
        let counters = &self.shared.counters;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ListenerStats {
            passed: count(&counters.passed),
            repeated: count(&counters.repeated),
            lost: count(&counters.lost),
            refused: count(&counters.refused),
        }
    }

    /// Comes back when it has stopped.
    pub async fn stopped(mut self) {
        // it neither panics nor is stopped from elsewhere
        let _ = (&mut self.task).await;
    }
}

impl Drop for BoundListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Shared {
    secret: Secret,
    sender: mpsc::Sender<Hint>,
    seen: Mutex<SeenDeliveries>,
    counters: Counters,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// Listens until `stop` comes back. Connections that are under way then end with their ten seconds.
pub async fn listen(
    address: SocketAddr,
    secret: Secret,
    sender: mpsc::Sender<Hint>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<BoundListener, ListenError> {
    if secret.expose().is_empty() {
        return Err(ListenError::NoSecret);
    }
    let fail = |error| ListenError::Address { address, error };
    let listener = TcpListener::bind(address).await.map_err(fail)?;
    let bound = listener.local_addr().map_err(fail)?;
    let seen = Mutex::new(SeenDeliveries::new(REMEMBERED));
    let shared = Arc::new(Shared { secret, sender, seen, counters: Counters::default() });
    let accepting = accept(listener, Arc::clone(&shared));
    let task = tokio::spawn(async move {
        tokio::select! {
            () = accepting => {}
            () = stop => {}
        }
    });
    Ok(BoundListener { address: bound, shared, task })
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // further ones wait in the system's own queue
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((socket, _)) => {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    // who is slow is dropped; GitHub itself waits no longer
                    let _ = tokio::time::timeout(LIMIT, serve(socket, shared)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a webhook's connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(socket: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(&shared, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(LIMIT)
        .keep_alive(false)
        .max_buf_size(HEADERS_BYTES_MAX)
        .serve_connection(TokioIo::new(socket), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a webhook's connection broke");
    }
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, text) = match take(shared, request).await {
        Ok(text) => (StatusCode::ACCEPTED, text.to_owned()),
        Err((status, text)) => {
            shared.counters.refused.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(status = status.as_u16(), text, "a webhook was refused");
            (status, text)
        }
    };
    let mut response = Response::new(Full::from(format!("{text}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("text/plain; charset=utf-8"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, hyper::header::HeaderValue::from_static("POST"));
    }
    response
}

async fn take(shared: &Shared, request: Request<Incoming>) -> Result<&'static str, (StatusCode, String)> {
    let refuse = |status: StatusCode, text: &dyn ToString| (status, text.to_string());
    if request.uri().path() != PATH {
        return Err(refuse(StatusCode::NOT_FOUND, &"not found"));
    }
    if request.method() != Method::POST {
        return Err(refuse(StatusCode::METHOD_NOT_ALLOWED, &"send a POST"));
    }
    let too_large = || refuse(StatusCode::PAYLOAD_TOO_LARGE, &webhook::DeliveryError::TooLarge);
    let (head, body) = request.into_parts();
    if body.size_hint().lower() > BODY_BYTES_MAX {
        return Err(too_large());
    }
    let limited = Limited::new(body, usize::try_from(BODY_BYTES_MAX).unwrap_or(usize::MAX));
    let body = limited.collect().await.map_err(|error| {
        let is_long = error.is::<http_body_util::LengthLimitError>();
        if is_long { too_large() } else { refuse(StatusCode::BAD_REQUEST, &"the body was cut off") }
    })?;
    let body = body.to_bytes();
    webhook::verify(&shared.secret, &body, header(&head.headers, "x-hub-signature-256"))
        .map_err(|error| refuse(StatusCode::UNAUTHORIZED, &error))?;
    let event = header(&head.headers, "x-github-event");
    let delivery = Delivery::parse(event, header(&head.headers, "x-github-delivery"), &body)
        .map_err(|error| refuse(StatusCode::BAD_REQUEST, &error))?;
    let counters = &shared.counters;
    if !lock(&shared.seen).is_first(&delivery.id) {
        counters.repeated.fetch_add(1, Ordering::Relaxed);
        return Ok("known");
    }
    match shared.sender.try_send(delivery.hint) {
        Ok(()) => {
            counters.passed.fetch_add(1, Ordering::Relaxed);
            Ok("taken")
        }
        Err(_) => {
            counters.lost.fetch_add(1, Ordering::Relaxed);
            lock(&shared.seen).forget(&delivery.id);
            Ok("no room")
        }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
