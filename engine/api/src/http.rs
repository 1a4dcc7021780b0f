//! HTTP: a REST interface over the tools, live streams, the Model Context Protocol, the tunnel of remote commands.
//!
//! Every request passes the same gate first ([`access`]): the name it was sent to, where a browser says it comes from, the token. What
//! it may take is bounded before it is read: bytes, time, and how many are answered at once; what is too much is told so, and nothing
//! waits for a client that is slow.

mod access;
mod metrics;
mod openapi;
mod operations;
mod problem;
mod streams;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rmcp::transport::StreamableHttpServerConfig;
use rmcp::transport::streamable_http_server::StreamableHttpService;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::handlers::Handlers;
use crate::mcp;
use crate::tools::Files;
pub use access::{Gate, Token};

/// Connections at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 512;
/// Requests that are answered at once; further ones are told to come later.
const REQUESTS_MAX: usize = 128;
/// Live streams at once, of all clients.
const STREAMS_MAX: usize = 64;
/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// A client may take so long to send the head of a request, and may hold an idle connection so long.
const HEAD_WAIT: Duration = Duration::from_secs(10);
/// It may take so long to send the rest of it.
const BODY_WAIT: Duration = Duration::from_secs(20);
/// Requests that are under way at the end may take so long.
const END_WAIT: Duration = Duration::from_secs(5);
/// Waits of the accept loop after the system refused a connection.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Alert rules for Prometheus over what `/metrics` tells, as a file of YAML.
pub const ALERTS: &str = include_str!("../alerts.yml");

/// What the routes share.
#[derive(Clone)]
struct Shared {
    handlers: Arc<dyn Handlers>,
    gate: Arc<Gate>,
    requests: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

fn router(handlers: &Arc<dyn Handlers>, gate: Gate) -> Router {
    let shared = Shared {
        handlers: Arc::clone(handlers),
        gate: Arc::new(gate),
        requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
        streams: Arc::new(Semaphore::new(STREAMS_MAX)),
    };
    let server = mcp::Server::new(Arc::clone(handlers), Files::Sent);
    // the gate checks hosts and origins, with ports
    let config = StreamableHttpServerConfig::default()
        .disable_allowed_hosts()
        .disable_allowed_origins()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(BODY_BYTES_MAX);
    let mcp = StreamableHttpService::new(
        move || Ok(server.clone()),
        Arc::new(NeverSessionManager::default()),
        config,
    );
    operations::routes(Router::new())
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/api/v1/openapi.json", get(openapi::document))
        .route("/metrics", get(metrics::metrics))
        .route("/api/v1/live/events", get(streams::events))
        .route("/api/v1/live/runs/{id}", get(streams::run))
        .route("/api/v1/control", post(streams::control))
        .nest_service("/mcp", mcp)
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(shared.clone(), access::pass))
        .with_state(shared)
}

/// Answers at a listener until `stop` is done; what is under way then has a few seconds.
pub async fn serve(
    listener: TcpListener,
    handlers: Arc<dyn Handlers>,
    gate: Gate,
    stop: impl Future<Output = ()>,
) {
    let router = router(&handlers, gate);
    let mut connections = JoinSet::new();
    let (ending, ended) = tokio::sync::watch::channel(false);
    tokio::pin!(stop);
    loop {
        let has_room = connections.len() < CONNECTIONS_MAX;
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept(), if has_room => match accepted {
                Ok((stream, _)) => {
                    let (router, mut ended) = (router.clone(), ended.clone());
                    connections.spawn(async move {
                        let io = TokioIo::new(stream);
                        let service = TowerToHyperService::new(router);
                        let connection = http1::Builder::new()
                            .timer(TokioTimer::new())
                            .header_read_timeout(HEAD_WAIT)
                            .max_buf_size(HEAD_BYTES_MAX)
                            .serve_connection(io, service);
                        tokio::pin!(connection);
                        let ending = async move {
                            let _ = ended.wait_for(|ended| *ended).await;
                        };
                        tokio::select! {
                            _ = &mut connection => {}
                            () = ending => {
                                connection.as_mut().graceful_shutdown();
                                let _ = connection.await;
                            }
                        }
                        Ok::<(), Infallible>(())
                    });
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
