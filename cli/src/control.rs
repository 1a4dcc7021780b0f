//! The control socket: how a command talks to the process that owns the data directory.
//!
//! One request per connection: a length-prefixed JSON document (u32 little endian, at most 8 MiB). The owner first says that it
//! will read it, so that nothing is lost when one process hands the directory over to the next; the answer is any number of items
//! and then one end. The socket lies in the 0700 directory with mode 0600, and the peer's user id is checked, so there is
//! no other authentication. Not here: what the requests mean (`handlers`).

mod client;
mod message;
mod server;

pub(crate) use client::{Client, NotAsked};
pub(crate) use server::{check_path, serve};
