//! One UDP port: dialling peers and being dialled.
//!
//! Binds the asked port or one of the next free ones, turns dials and knocks into [`Connection`]s with proved keys, and
//! keeps strangers within [`Limits`]. It knows no members: whoever holds some ed25519 key gets a connection, and its
//! owner decides. **A dial that the other end refuses can still succeed here**: TLS lets the dialler finish first, so
//! nothing is settled before an application hello has been answered.
//!
//! Invariants: no [`Connection`] without two proved keys; never one with this node's own key.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ConnectionError, IdleTimeout, TransportConfig, TransportErrorCode, VarInt};
use tokio::task::JoinSet;
use wfengine_storage_format::PeerId;

use crate::admission::{Admission, Direction, HalfOpen, Knock, NoRoom, Slot};
use crate::closed::{CloseCode, Closed, printable, sendable};
use crate::connection::{Connection, RecvError, close_quic};
use crate::endpoint_error::{ConnectError, EstablishError, TlsSetup, TransportError};
use crate::identity::{self, DialledKey, Identity};
use crate::limits::Limits;

/// TLS alert "no application protocol": the other end speaks QUIC but not ours.
const ALERT_NO_APPLICATION_PROTOCOL: u8 = 120;

/// Addresses of one peer dialled at the same time; the rest of a longer list is ignored.
const ADDRESSES_AT_ONCE: usize = 8;

/// A bound UDP port. Clones are handles of the same endpoint.
#[derive(Debug, Clone)]
pub struct Endpoint {
    quic: quinn::Endpoint,
    identity: Identity,
    limits: Arc<Limits>,
    transport: Arc<TransportConfig>,
    admission: Arc<Admission>,
}

impl Endpoint {
    /// Binds `address`, or with a taken port the next free one of the `further_ports` after it. `[::]` also takes IPv4
    /// calls where the system allows it, and becomes `0.0.0.0` where there is no IPv6. Must be called inside a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`TransportError`]; no port is bound.
    pub fn bind(
        address: SocketAddr,
        further_ports: u16,
        identity: Identity,
        limits: Limits,
    ) -> Result<Self, TransportError> {
        if let Some(contradiction) = limits.contradiction() {
            return Err(TransportError::Limits(contradiction));
        }
        let transport = Arc::new(transport_config(&limits));
        let server = server_config(&identity, &limits, transport.clone())?;
        let quic = bind_first_free(address, further_ports)?;
        quic.set_server_config(Some(server));
        let admission = Admission::new(limits.clone());
        Ok(Self { quic, identity, limits: Arc::new(limits), transport, admission })
    }

    /// This node's own key.
    pub fn peer_id(&self) -> PeerId {
        self.identity.peer_id()
    }

    /// Where the endpoint is bound, with the port it got.
    ///
    /// # Errors
    /// What the system says of the socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.quic.local_addr()
    }

    /// Dials an address. With `expected` only that key is taken, and this node's key is not shown to another; without,
    /// any key is taken and [`Connection::peer_id`] says which.
    ///
    /// # Errors
    /// [`ConnectError`]. `Ok` does not mean that the other end agrees; see the top of this file.
    pub async fn connect(
        &self,
        address: SocketAddr,
        expected: Option<PeerId>,
    ) -> Result<Connection, ConnectError> {
        let waited_ms = self.limits.handshake_ms;
        match within(waited_ms, self.dial(address, expected)).await {
            Some(outcome) => outcome,
            None => Err(ConnectError::Unreachable { address, waited_ms }),
        }
    }

    /// Dials several addresses of one peer (at most 8) at the same time and keeps the first that answers.
    ///
    /// # Errors
    /// [`ConnectError::All`] with one error per address, or the error itself when there was only one.
    pub async fn connect_any(
        &self,
        addresses: &[SocketAddr],
        expected: Option<PeerId>,
    ) -> Result<Connection, ConnectError> {
        if let [only] = addresses {
            return self.connect(*only, expected).await;
        }
        let mut dials = JoinSet::new();
        for &address in addresses.iter().take(ADDRESSES_AT_ONCE) {
            let endpoint = self.clone();
            dials.spawn(async move { endpoint.connect(address, expected).await });
        }
        let mut errors = Vec::new();
        while let Some(dial) = dials.join_next().await {
            match dial {
                // the set is dropped, which gives up the other dials
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => errors.push(error),
                // the runtime is shutting down
                Err(_cancelled) => return Err(ConnectError::EndpointClosed),
            }
        }
        if errors.is_empty() { Err(ConnectError::NoAddress) } else { Err(ConnectError::All(errors)) }
    }

    async fn dial(&self, address: SocketAddr, expected: Option<PeerId>) -> Result<Connection, ConnectError> {
        let verifier = Arc::new(DialledKey::new(expected));
        let tls = self.identity.client_tls(verifier.clone()).map_err(TlsSetup::from)?;
        let tls = QuicClientConfig::try_from(tls).map_err(TlsSetup::from)?;
        let mut config = quinn::ClientConfig::new(Arc::new(tls));
        config.transport_config(self.transport.clone());
        config.token_store(Arc::new(quinn::NoneTokenStore));

        let connecting = self
            .quic
            .connect_with(config, address, &identity::server_name(expected))
            .map_err(|error| self.not_dialled(address, &error))?;
        let quic = connecting.await.map_err(|error| self.dial_failed(address, &verifier, &error))?;
        let peer = identity::peer_of(&quic).map_err(|refused| ConnectError::Key { address, refused })?;
        if peer == self.peer_id() {
            close_quic(&quic, CloseCode::OWN_KEY, "this is my own key");
            return Err(ConnectError::OwnKey { address });
        }
        let slot = self.place(&quic, peer, Direction::Dialled);
        let slot = slot.map_err(|no_room| ConnectError::NoRoom { address, no_room })?;
        let connection = Connection::dialled(quic, peer, slot, &self.limits).await;
        connection.map_err(|error| ConnectError::Lost { address, error })
    }

    fn not_dialled(&self, address: SocketAddr, error: &quinn::ConnectError) -> ConnectError {
        use quinn::ConnectError as E;
        match error {
            E::EndpointStopping => ConnectError::EndpointClosed,
            E::InvalidRemoteAddress(_) => match self.local_addr() {
                Ok(local) => ConnectError::Unusable { address, local },
                Err(error) => ConnectError::Handshake { address, reason: error.to_string() },
            },
            E::CidsExhausted | E::InvalidServerName(_) | E::NoDefaultClientConfig | E::UnsupportedVersion => {
                ConnectError::Handshake { address, reason: error.to_string() }
            }
        }
    }

    fn dial_failed(
        &self,
        address: SocketAddr,
        verifier: &DialledKey,
        error: &ConnectionError,
    ) -> ConnectError {
        if let Some(refused) = verifier.refused() {
            return ConnectError::Key { address, refused };
        }
        match error {
            ConnectionError::TimedOut => {
                ConnectError::Unreachable { address, waited_ms: self.limits.handshake_ms }
            }
            ConnectionError::LocallyClosed => ConnectError::EndpointClosed,
            ConnectionError::VersionMismatch => ConnectError::NotANode { address },
            ConnectionError::ConnectionClosed(close)
                if close.error_code == TransportErrorCode::crypto(ALERT_NO_APPLICATION_PROTOCOL) =>
            {
                ConnectError::NotANode { address }
            }
            ConnectionError::ConnectionClosed(close)
                if close.error_code == TransportErrorCode::CONNECTION_REFUSED =>
            {
                ConnectError::Busy { address }
            }
            ConnectionError::ApplicationClosed(_) => {
                let error = RecvError::Closed(Closed::from_quinn(error));
                ConnectError::Lost { address, error }
            }
            ConnectionError::ConnectionClosed(_)
            | ConnectionError::TransportError(_)
            | ConnectionError::Reset
            | ConnectionError::CidsExhausted => {
                ConnectError::Handshake { address, reason: printable(error.to_string().as_bytes()) }
            }
        }
    }

    /// The next caller; `None` once the endpoint is closed. Callers beyond the limits are turned away here, or asked to
    /// prove their address. [`Incoming::establish`] belongs in a task of its own, so that a slow caller holds up nobody.
    pub async fn accept(&self) -> Option<Incoming> {
        loop {
            let incoming = self.quic.accept().await?;
            let address = canonical(incoming.remote_address());
            match self.admission.knock(incoming.remote_address_validated()) {
                Knock::Proceed(half_open) => {
                    return Some(Incoming { endpoint: self.clone(), incoming, half_open });
                }
                Knock::Retry => {
                    tracing::debug!(%address, "many half-open connections: asking for a proof of the address");
                    if let Err(error) = incoming.retry() {
                        error.into_incoming().refuse();
                    }
                }
                Knock::Refuse => {
                    tracing::warn!(%address, "refused a caller: too many connections");
                    incoming.refuse();
                }
            }
        }
    }

    /// Takes a place in the counts, or tells the peer that there is none.
    fn place(
        &self,
        quic: &quinn::Connection,
        peer: PeerId,
        direction: Direction,
    ) -> Result<Arc<Slot>, NoRoom> {
        self.admission.admit(peer, direction).inspect_err(|no_room| {
            close_quic(quic, CloseCode::TOO_MANY, &no_room.to_string());
        })
    }

    /// Closes every connection, stops dialling and accepting. [`accept`](Self::accept) answers `None` from then on.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.quic.close(VarInt::from_u32(code.0), sendable(reason));
    }

    /// Waits until every closed connection has told its peer. Call it between [`close`](Self::close) and the end of the
    /// process, else peers notice only after the idle time.
    pub async fn wait_idle(&self) {
        self.quic.wait_idle().await;
    }
}

/// A caller that has not proved anything yet. Dropping it refuses it.
#[derive(Debug)]
#[must_use = "dropping a caller refuses it"]
pub struct Incoming {
    endpoint: Endpoint,
    incoming: quinn::Incoming,
    half_open: HalfOpen,
}

impl Incoming {
    /// Where the call seems to come from.
    pub fn remote_addr(&self) -> SocketAddr {
        canonical(self.incoming.remote_address())
    }

    /// Runs the handshake. The caller's key is then proved and nothing else: the connection is unauthenticated.
    ///
    /// # Errors
    /// [`EstablishError`]; the caller is gone.
    pub async fn establish(self) -> Result<Connection, EstablishError> {
        let address = self.remote_addr();
        let waited_ms = self.endpoint.limits.handshake_ms;
        match within(waited_ms, self.answer(address)).await {
            Some(outcome) => outcome,
            None => Err(EstablishError::TooSlow { address, waited_ms }),
        }
    }

    async fn answer(self, address: SocketAddr) -> Result<Connection, EstablishError> {
        let Self { endpoint, incoming, half_open } = self;
        let failed = |error: ConnectionError| EstablishError::Handshake {
            address,
            reason: printable(error.to_string().as_bytes()),
        };
        let quic = incoming.accept().map_err(failed)?.await.map_err(failed)?;
        let peer = identity::peer_of(&quic).map_err(|refused| EstablishError::Key { address, refused })?;
        if peer == endpoint.peer_id() {
            close_quic(&quic, CloseCode::OWN_KEY, "this is my own key");
            return Err(EstablishError::OwnKey { address });
        }
        let slot = endpoint.place(&quic, peer, Direction::Answered);
        let slot = slot.map_err(|no_room| EstablishError::NoRoom { peer, address, no_room })?;
        let connection = Connection::answered(quic, peer, slot, &endpoint.limits).await;
        drop(half_open);
        connection.map_err(|error| EstablishError::Lost { address, error })
    }
}

async fn within<T>(limit_ms: u32, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(Duration::from_millis(limit_ms.into()), future).await.ok()
}

/// An IPv4 address as such, also when a dual-stack socket shows it as IPv6.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn bind_first_free(address: SocketAddr, further_ports: u16) -> Result<quinn::Endpoint, TransportError> {
    let first = address.port();
    // port 0 lets the system choose, which never collides
    let last = if first == 0 { 0 } else { first.saturating_add(further_ports) };
    for port in first..=last {
        match bind_one(SocketAddr::new(address.ip(), port)) {
            Ok(endpoint) => return Ok(endpoint),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(source) => {
                return Err(TransportError::Bind { address: SocketAddr::new(address.ip(), port), source });
            }
        }
    }
    Err(TransportError::PortsTaken { address, first, last })
}

fn bind_one(address: SocketAddr) -> io::Result<quinn::Endpoint> {
    use io::ErrorKind::{AddrInUse, PermissionDenied};
    // despite its name this is the constructor that makes an IPv6 socket dual-stack
    let bound = quinn::Endpoint::client(address);
    match bound {
        Err(error)
            if address.is_ipv6()
                && address.ip().is_unspecified()
                && !matches!(error.kind(), AddrInUse | PermissionDenied) =>
        {
            tracing::info!(%error, "no IPv6 here, listening on IPv4 only");
            quinn::Endpoint::client(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()))
        }
        bound => bound,
    }
}

/// QUIC's own bounds. A connection starts with the windows of a stranger and grows when it is authenticated.
fn transport_config(limits: &Limits) -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        // the control stream is the only bidirectional one, so a second could only hold memory
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(limits.stream_window))
        .receive_window(VarInt::from_u32(limits.first_window))
        .send_window(limits.connection_window.into())
        .datagram_receive_buffer_size(Some(limits.datagram_bytes))
        .datagram_send_buffer_size(limits.datagram_bytes)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(limits.idle_ms))))
        .keep_alive_interval(Some(Duration::from_millis(limits.keep_alive_ms.into())));
    config
}

fn server_config(
    identity: &Identity,
    limits: &Limits,
    transport: Arc<TransportConfig>,
) -> Result<quinn::ServerConfig, TlsSetup> {
    let tls = QuicServerConfig::try_from(identity.server_tls()?)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(tls));
    let mut no_tokens = quinn::ValidationTokenConfig::default();
    no_tokens.sent(0).log(Arc::new(quinn::NoneTokenLog));
    config
        .transport_config(transport)
        .validation_token_config(no_tokens)
        .max_incoming(limits.incoming_waiting)
        .incoming_buffer_size(limits.incoming_bytes)
        .incoming_buffer_size_total(limits.incoming_bytes_total);
    Ok(config)
}
