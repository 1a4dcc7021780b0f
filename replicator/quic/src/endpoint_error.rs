//! Why there is no endpoint, no dialled connection, no answered connection.
//!
//! One enum per thing an endpoint does. Each text says what, where and what to do; words that came from a peer are made
//! printable before they get here.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use quinn::crypto::rustls::NoInitialCipherSuite;
use wfengine_storage_format::PeerId;

use crate::admission::NoRoom;
use crate::connection::RecvError;
use crate::identity::KeyRefused;

/// Why there is no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// Every port of the range is in use.
    #[error("UDP ports {first} to {last} on {} are all in use; free one or choose another port", address.ip())]
    PortsTaken {
        /// The address that was asked for.
        address: SocketAddr,
        /// The first port tried.
        first: u16,
        /// The last port tried.
        last: u16,
    },
    /// The system refused the socket for another reason.
    #[error("cannot listen on UDP {address}: {source}")]
    Bind {
        /// The address that was tried.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The limits contradict each other.
    #[error("the limits of the transport contradict each other: {0}")]
    Limits(&'static str),
    /// TLS cannot be set up as required.
    #[error("TLS 1.3 with ed25519 raw public keys cannot be set up: {0}")]
    Tls(#[from] TlsSetup),
}

/// Why TLS cannot be set up: the build lacks what the transport requires.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetup {
    /// No TLS 1.3.
    #[error(transparent)]
    Versions(#[from] rustls::Error),
    /// No AES-128-GCM, which QUIC's first packets need.
    #[error(transparent)]
    Cipher(#[from] NoInitialCipherSuite),
}

/// Why a dial gave no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answered.
    #[error(
        "no answer from {address} within {} s: check that a node runs there and that UDP port {} is open towards it (firewall, router, cloud security group)",
        waited_ms.div_ceil(1000), address.port()
    )]
    Unreachable {
        /// The address tried.
        address: SocketAddr,
        /// How long.
        waited_ms: u32,
    },
    /// The address cannot be dialled from this socket.
    #[error(
        "{address} cannot be dialled from {local}: an IPv4 socket reaches no IPv6 address, and port 0 is no port"
    )]
    Unusable {
        /// The address asked for.
        address: SocketAddr,
        /// Where this endpoint is bound.
        local: SocketAddr,
    },
    /// The wrong key answered, or none.
    #[error("{address} is not the peer that was dialled: {refused}")]
    Key {
        /// The address dialled.
        address: SocketAddr,
        /// What is wrong with the key.
        refused: KeyRefused,
    },
    /// The address leads back to this node, or to a copy of its data directory.
    #[error(
        "{address} answers with this node's own key: it is this node itself, or a copy of its data directory"
    )]
    OwnKey {
        /// The address dialled.
        address: SocketAddr,
    },
    /// QUIC answers there, but no node.
    #[error(
        "{address} speaks QUIC but not wfengine/1: another program or another version listens on that UDP port"
    )]
    NotANode {
        /// The address dialled.
        address: SocketAddr,
    },
    /// The other end is full.
    #[error("{address} takes no further connections at the moment; try again later")]
    Busy {
        /// The address dialled.
        address: SocketAddr,
    },
    /// This end is full.
    #[error("not connected to {address}: {no_room}")]
    NoRoom {
        /// The address dialled.
        address: SocketAddr,
        /// Which limit.
        no_room: NoRoom,
    },
    /// The handshake failed otherwise.
    #[error("the handshake with {address} failed: {reason}")]
    Handshake {
        /// The address dialled.
        address: SocketAddr,
        /// What QUIC or TLS says.
        reason: String,
    },
    /// The connection ended before it could be used.
    #[error("{address}: {error}")]
    Lost {
        /// The address dialled.
        address: SocketAddr,
        /// How it ended.
        error: RecvError,
    },
    /// None of several addresses gave a connection.
    #[error("no address led to the peer: {}", Listed(.0))]
    All(Vec<Self>),
    /// The list of addresses was empty.
    #[error("no address of the peer is known")]
    NoAddress,
    /// The endpoint was closed.
    #[error("this node's endpoint is closed")]
    EndpointClosed,
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsSetup),
}

struct Listed<'a>(&'a [ConnectError]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if position == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// Why a caller did not become a connection. Nothing was admitted; the endpoint goes on.
#[derive(Debug, thiserror::Error)]
pub enum EstablishError {
    /// The handshake failed: no key, a wrong kind of key, no proof, or the caller went away.
    #[error("the handshake of {address} failed: {reason}")]
    Handshake {
        /// The caller's address.
        address: SocketAddr,
        /// What QUIC or TLS says.
        reason: String,
    },
    /// The caller was too slow.
    #[error("{address} did not finish its handshake within {waited_ms} ms")]
    TooSlow {
        /// The caller's address.
        address: SocketAddr,
        /// How long.
        waited_ms: u32,
    },
    /// The key is none of ours to talk to.
    #[error("{address}: {refused}")]
    Key {
        /// The caller's address.
        address: SocketAddr,
        /// What is wrong with it.
        refused: KeyRefused,
    },
    /// The caller has this node's own key: the data directory was copied, or the node dialled itself.
    #[error(
        "{address} called with this node's own key: the data directory was copied, or the node dialled itself"
    )]
    OwnKey {
        /// The caller's address.
        address: SocketAddr,
    },
    /// A limit is reached; the caller was told.
    #[error("{peer} at {address} was refused: {no_room}")]
    NoRoom {
        /// The caller.
        peer: PeerId,
        /// Its address.
        address: SocketAddr,
        /// Which limit.
        no_room: NoRoom,
    },
    /// The connection ended before it could be used.
    #[error("{address}: {error}")]
    Lost {
        /// The caller's address.
        address: SocketAddr,
        /// How it ended.
        error: RecvError,
    },
}
