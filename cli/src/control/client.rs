//! The asking end of the control socket.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use tokio::net::UnixStream;
use wfengine_api::{Exit, Failure};

use super::message::{Reply, read_document, write_document};

/// How long a process that owns the data directory may take to greet.
const GREETING_WAIT: Duration = Duration::from_secs(10);

/// A way to the process that owns the data directory.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    socket: std::path::PathBuf,
}

/// Nobody took the request: it was not sent, and may be asked of whoever owns the data directory next.
#[derive(Debug)]
pub(crate) struct NotAsked;

impl Client {
    /// Finds out whether anybody answers.
    pub(crate) async fn connect(socket: &Path) -> Option<Self> {
        let client = Self { socket: socket.to_owned() };
        client.greeted().await.map(|_| client)
    }

    /// A connection whose other end has promised to read a request.
    async fn greeted(&self) -> Option<UnixStream> {
        let greeted = async {
            let mut stream = UnixStream::connect(&self.socket).await.ok()?;
            // a process that is about to end drops whoever it has not greeted
            let greeting = read_document(&mut stream).await.ok()?;
            matches!(greeting, Some(Reply::Ready)).then_some(stream)
        };
        tokio::time::timeout(GREETING_WAIT, greeted).await.ok().flatten()
    }

    /// Asks, hands every item to `each`, and returns the answer.
    pub(crate) async fn ask(
        &self,
        request: &impl Serialize,
        each: impl FnMut(serde_json::Value),
    ) -> Result<serde_json::Value, Failure> {
        self.offer(request, each).await.unwrap_or_else(|NotAsked| {
            let text = format!("the node at {} does not answer: is it still running?", self.socket.display());
            Err(Failure::new(Exit::Unreachable, text))
        })
    }

    /// As [`Client::ask`], and tells apart that the process left before it took the request.
    pub(crate) async fn offer(
        &self,
        request: &impl Serialize,
        mut each: impl FnMut(serde_json::Value),
    ) -> Result<Result<serde_json::Value, Failure>, NotAsked> {
        let mut stream = self.greeted().await.ok_or(NotAsked)?;
        let asked = async {
            write_document(&mut stream, request).await?;
            loop {
                match read_document::<Reply>(&mut stream).await? {
                    Some(Reply::Ready) => {}
                    Some(Reply::Item(item)) => each(item),
                    Some(Reply::Done(answer)) => return Ok(answer),
                    Some(Reply::Failed(failure)) => return Err(failure),
                    None => {
                        return Err(Failure::new(
                            Exit::Unreachable,
                            "the node stopped before it answered, and what was asked for may be done all the same: look with `wfengine list` before asking again",
                        ));
                    }
                }
            }
        };
        Ok(asked.await)
    }
}
