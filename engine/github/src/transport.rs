//! Connections to the one server of the settings: sockets, a tunnel through a proxy, TLS, and octocrab on top.
//!
//! octocrab gets a service of ours, without the layers it would bring by itself: it does not retry, does not follow
//! redirects, does not keep answers and does not know the token. All of that is decided in `client`.
//!
//! Invariant: an error says whether anything can have been sent.

use std::{
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::{Request, Response, Uri, body::Incoming, rt::ReadBufCursor};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        self,
        connect::{Connected, Connection, HttpConnector, proxy::Tunnel},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use octocrab::{AuthState, OctoBody, Octocrab, OctocrabBuilder};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::net::TcpStream;
use tower_service::Service;

use crate::settings::Settings;

/// A connection that is not there by then is not coming.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// GitHub closes idle connections after a minute.
const IDLE: Duration = Duration::from_secs(50);

type BoxError = Box<dyn Error + Send + Sync>;

/// Why no answer came.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Nothing had left this host.
    pub(crate) unsent: bool,
    text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Failure {}

impl From<legacy::Error> for Failure {
    fn from(error: legacy::Error) -> Self {
        Self { unsent: error.is_connect(), text: chain(&error) }
    }
}

/// What went wrong in octocrab's words, or in ours where the cause is ours.
pub(crate) fn failure(error: &octocrab::Error) -> Failure {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(Failure { unsent, text }) = error.downcast_ref() {
            return Failure { unsent: *unsent, text: text.clone() };
        }
        cause = error.source();
    }
    Failure { unsent: false, text: chain(error) }
}

/// An error and its causes in one line, without repeating what a cause already says.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    crate::error::clean(&text, 300)
}

/// octocrab on our connections. A runtime has to be there: it gets a task that lives as long as the client.
pub(crate) fn octocrab(settings: &Settings) -> Result<Octocrab, rustls::Error> {
    let mut sockets = HttpConnector::new();
    sockets.enforce_http(false);
    sockets.set_nodelay(true);
    sockets.set_connect_timeout(Some(CONNECT_LIMIT));
    sockets.set_keepalive(Some(IDLE));
    let way = match &settings.proxy {
        None => Way::Direct(sockets),
        Some(proxy) => {
            let tunnel = Tunnel::new(proxy.uri.clone(), sockets);
            Way::Through(match &proxy.authorization {
                Some(authorization) => tunnel.with_auth(authorization.clone()),
                None => tunnel,
            })
        }
    };
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls(settings)?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(way);
    let client = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .build(connector);
    let Ok(octocrab) =
        OctocrabBuilder::new_empty().with_service(Sender { client }).with_auth(AuthState::None).build();
    Ok(octocrab)
}

fn tls(settings: &Settings) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    if settings.api.origin().starts_with("https:") {
        // what cannot be read of the system's authorities is left out: a server that needs it will say so
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        for authority in &settings.authorities {
            roots.add(authority.clone())?;
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// The service under octocrab.
#[derive(Clone)]
struct Sender {
    client: legacy::Client<HttpsConnector<Way>, OctoBody>,
}

impl Service<Request<OctoBody>> for Sender {
    type Response = Response<Incoming>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<OctoBody>) -> Self::Future {
        let answer = self.client.request(request);
        Box::pin(async move { Ok(answer.await?) })
    }
}

/// How a connection to the server is made, before TLS.
#[derive(Clone)]
enum Way {
    Direct(HttpConnector),
    Through(Tunnel<HttpConnector>),
}

impl Service<Uri> for Way {
    type Response = Socket;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Socket, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Self::Direct(sockets) => sockets.poll_ready(context).map_err(Into::into),
            Self::Through(tunnel) => tunnel.poll_ready(context).map_err(Into::into),
        }
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        match self {
            Self::Direct(sockets) => {
                let socket = sockets.call(server);
                Box::pin(async move { Ok(Socket(socket.await?)) })
            }
            Self::Through(tunnel) => {
                let socket = tunnel.call(with_port(server));
                Box::pin(async move { Ok(Socket(socket.await?)) })
            }
        }
    }
}

/// A tunnel without a port would lead to 443, whatever the scheme.
fn with_port(server: Uri) -> Uri {
    let is_plain = server.scheme_str() == Some("http") && server.port().is_none();
    let named = server.host().filter(|_| is_plain).and_then(|host| format!("http://{host}:80/").parse().ok());
    named.unwrap_or(server)
}

/// A connected socket.
struct Socket(TokioIo<TcpStream>);

impl Connection for Socket {
    fn connected(&self) -> Connected {
        self.0.connected()
    }
}

impl hyper::rt::Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl hyper::rt::Write for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
