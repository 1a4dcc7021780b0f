//! A careful client of Docker Engine: containers, networks, volumes, images, and what the engine says of itself.
//!
//! It knows nothing of workflows, of GitHub's runners or of the log, and decides nothing: a caller brings a
//! [`ContainerSpec`], and every rule about what may stand in one is the caller's. It speaks to an engine on this host
//! through a Unix socket alone, and it is the one place that names the client library: no type of that library leaves.
//!
//! Invariants:
//! - every call has a bound in time; what is kept of an answer has a bound in size; no answer makes it panic;
//! - no name or reference reaches a request's path unless it is of the engine's own grammar, so none can lead elsewhere;
//! - a secret value never stands in an error, in `Debug`, or in an inspected document;
//! - removing what is not there is no error, so that a caller may repeat after a crash.
//!
//! What it cannot hold: the library keeps a whole answer in memory before it is read (an engine is root on its host and is
//! trusted that far), and it writes request bodies, environment included, to the `log` facade at the level debug. Do not
//! join that facade to anything for the target `bollard`.

mod container;
mod endpoint;
mod engine;
mod error;
mod event;
mod folder;
mod image;
mod info;
mod logs;
mod network;
mod reference;
mod secret;
mod spec;
mod state;
mod volume;

pub use endpoint::{Endpoint, EndpointError};
pub use engine::{Engine, Made};
pub use error::EngineError;
pub use event::{EngineEvent, Events};
pub use image::{Image, RegistryCredentials};
pub use info::{Enforced, EngineInfo, Limit};
pub use logs::LogPieces;
pub use network::NetworkSpec;
pub use secret::Secret;
pub use spec::{ContainerSpec, Device, EnvValue, LogLimit, Mount, MountSource, Network};
pub use state::{ContainerState, Moment, Status};
