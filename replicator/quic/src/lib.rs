//! Connections between nodes: QUIC with ed25519 raw public keys, messages, blobs and datagrams.
//!
//! The transport half of the replicator. An [`Endpoint`] binds one UDP port, dials and is dialled; a [`Connection`] knows
//! which key is at its other end and carries bounded messages. What the messages mean is the protocol's business: this
//! half knows neither clusters nor logs, and a key that TLS has proved is not yet a member. So a connection starts small
//! (4 KiB messages, no blobs) until its owner calls [`Connection::authenticated`].
//!
//! Invariants: both ends of every [`Connection`] have proved possession of their key; the dialled key, when known, is the
//! one that answered; no data precedes the handshake and no session is resumed; everything a peer can make this node hold
//! has a bound in [`Limits`].
//!
//! ```
//! use wfengine_quic::{CloseCode, Endpoint, Identity, Limits, Priority};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let loopback = "127.0.0.1:0".parse()?;
//! let alice = Endpoint::bind(loopback, 0, Identity::from_seed(&[1; 32]), Limits::default())?;
//! let bob = Endpoint::bind(loopback, 0, Identity::from_seed(&[2; 32]), Limits::default())?;
//!
//! let address = bob.local_addr()?;
//! let dialled = alice.connect(address, Some(bob.peer_id()));
//! let answered = async { bob.accept().await.ok_or("closed")?.establish().await.map_err(|error| error.to_string()) };
//! let (dialled, answered) = tokio::join!(dialled, answered);
//! let (dialled, answered) = (dialled?, answered?);
//!
//! dialled.send(b"hello".to_vec(), Priority::High)?;
//! assert_eq!(answered.recv().await?, b"hello");
//! assert_eq!(answered.peer_id(), alice.peer_id());
//! answered.close(CloseCode::DONE, "that is all");
//! # Ok(())
//! # }
//! ```

mod admission;
mod blob;
mod closed;
mod connection;
pub mod driver;
mod endpoint;
mod endpoint_error;
pub mod framing;
mod identity;
mod lan;
mod limits;
mod send_queue;

pub use admission::NoRoom;
pub use blob::{BlobError, BlobReceiver, BlobSender};
pub use closed::{CloseCode, Closed};
pub use connection::{Connection, DatagramError, RecvError, SendError};
pub use endpoint::{Endpoint, Incoming};
pub use endpoint_error::{ConnectError, EstablishError, TlsSetup, TransportError};
pub use framing::FramingError;
pub use identity::{Identity, KeyRefused};
pub use lan::{Lan, LanError};
pub use limits::Limits;
pub use send_queue::Priority;
