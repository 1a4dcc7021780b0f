//! The port behind every door.

use std::pin::Pin;

use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::failure::{Exit, Failure};
use crate::request::{Environment, GitFacts, Request};

/// Where the items of an answer go. Its receiver being gone tells a handler that nobody listens any more.
pub type Items = mpsc::Sender<serde_json::Value>;

/// An answer that is being made.
pub type Asked<'a> = Pin<Box<dyn Future<Output = Result<serde_json::Value, Failure>> + Send + 'a>>;

/// Answers requests.
pub trait Handlers: Send + Sync + 'static {
    /// Answers one. The future may be dropped; what was begun by then is done or not, and the log says which.
    fn handle(&self, request: Request, items: Items) -> Asked<'_>;

    /// Milliseconds since 1970, as the host's clock says.
    fn now_ms(&self) -> u64;

    /// Variables of this process that a way to GitHub depends on.
    fn environment(&self) -> Environment;

    /// What git says about the folder that a file of this host lies in.
    fn checkout_of(&self, file: &str) -> GitFacts;
}

impl dyn Handlers {
    /// Asks for an answer of a type; items are dropped.
    ///
    /// # Errors
    /// What the handler says; `Failure` if the answer is of another type.
    pub async fn ask<T: DeserializeOwned>(&self, request: Request) -> Result<T, Failure> {
        let (items, mut unread) = mpsc::channel(1);
        let work = self.handle(request, items);
        tokio::pin!(work);
        let answer = loop {
            tokio::select! {
                biased;
                Some(_) = unread.recv() => {}
                answer = &mut work => break answer?,
            }
        };
        serde_json::from_value(answer).map_err(|error| {
            Failure::new(Exit::Failure, format!("BUG: the answer was not understood: {error}"))
        })
    }
}
