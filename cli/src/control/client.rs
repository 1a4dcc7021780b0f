//! The asking end of the control socket.

use std::path::Path;

use serde::Serialize;
use tokio::net::UnixStream;

use super::message::{Reply, read_document, write_document};
use crate::error::{Exit, Failure};

/// A way to the process that owns the data directory.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    socket: std::path::PathBuf,
}

impl Client {
    /// Finds out whether anybody answers.
    pub(crate) async fn connect(socket: &Path) -> Option<Self> {
        UnixStream::connect(socket).await.ok().map(|_| Self { socket: socket.to_owned() })
    }

    /// Asks, hands every item to `each`, and returns the answer.
    pub(crate) async fn ask(
        &self,
        request: &impl Serialize,
        mut each: impl FnMut(serde_json::Value),
    ) -> Result<serde_json::Value, Failure> {
        let gone = |error: std::io::Error| {
            Failure::new(Exit::Unreachable, format!("the node at {} does not answer: {error}", self.socket.display()))
        };
        let mut stream = UnixStream::connect(&self.socket).await.map_err(gone)?;
        write_document(&mut stream, request).await?;
        loop {
            match read_document::<Reply>(&mut stream).await? {
                Some(Reply::Item(item)) => each(item),
                Some(Reply::Done(answer)) => return Ok(answer),
                Some(Reply::Failed(failure)) => return Err(failure),
                None => {
                    return Err(Failure::new(Exit::Unreachable, "the node stopped before it answered; ask again"));
                }
            }
        }
    }
}
