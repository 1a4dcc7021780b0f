//! HTTP: a REST interface over the tools, live streams, the Model Context Protocol, the tunnel of remote commands.
//!
//! Every request passes the same gate first (`access`): the name it was sent to, where a browser says it comes from, the token. What
//! it may take is bounded before it is read: bytes, time, and how many are answered at once; what is too much is told so, and nothing
//! waits for a client that is slow.

mod access;
mod connections;
mod metrics;
mod openapi;
mod operations;
mod places;
mod problem;
mod streams;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};
use rmcp::transport::StreamableHttpServerConfig;
use rmcp::transport::streamable_http_server::StreamableHttpService;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use tokio::net::TcpListener;

use crate::handlers::Handlers;
use crate::mcp;
use crate::tools::Files;
pub use access::{Gate, Token};
pub(crate) use places::Place;
use places::Room;
pub use tls::{TlsError, acceptor};
pub use tokio_rustls::TlsAcceptor;

/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// A client may take so long to send the rest of a request whose head is there.
const BODY_WAIT: Duration = Duration::from_secs(20);
/// Alert rules for Prometheus over what `/metrics` tells, as a file of YAML.
pub const ALERTS: &str = include_str!("../alerts.yml");

/// What the routes share.
#[derive(Clone)]
struct Shared {
    handlers: Arc<dyn Handlers>,
    gate: Arc<Gate>,
    room: Room,
}

fn router(handlers: &Arc<dyn Handlers>, offer: Arc<dyn mcp::Offer>, gate: Gate) -> Router {
    let shared = Shared { handlers: Arc::clone(handlers), gate: Arc::new(gate), room: Room::default() };
    let server = mcp::Server::new(offer);
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

/// Answers at a listener until `stop` is done; what is under way then has a few seconds. With `tls` it speaks nothing else.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    handlers: Arc<dyn Handlers>,
    gate: Gate,
    stop: impl Future<Output = ()>,
) {
    let offer = Arc::new(mcp::Own::new(Arc::clone(&handlers), Files::Sent));
    serve_offer(listener, tls, handlers, offer, gate, stop).await;
}

/// As [`serve`], with something else than a node's own at `/mcp`.
pub async fn serve_offer(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    handlers: Arc<dyn Handlers>,
    offer: Arc<dyn mcp::Offer>,
    gate: Gate,
    stop: impl Future<Output = ()>,
) {
    connections::serve(listener, tls, router(&handlers, offer, gate), stop).await;
}
