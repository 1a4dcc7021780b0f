//! The way to a node: the one in this process if the data directory is free, else the process that owns it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use wfengine_store::DataDirError;

use crate::clock::Clock;
use crate::control::Client;
use crate::error::{Exit, Failure};
use crate::handlers::{self, Request};
use crate::home::Home;
use crate::node::{Mode, Node};

/// How long a command waits for another short command to finish.
const BUSY_WAIT: Duration = Duration::from_secs(10);
/// How often it looks.
const BUSY_LOOK: Duration = Duration::from_millis(20);

/// Where requests go.
pub(crate) enum Door {
    /// The node of this process.
    Here(Arc<Node>),
    /// The process that owns the data directory.
    There(Client),
}

impl Door {
    /// Finds the node of a data directory, or becomes it for one command.
    pub(crate) async fn open(data_dir: Option<PathBuf>) -> Result<Self, Failure> {
        let home = Home::open(data_dir)?;
        let socket = home.data.control_socket();
        let clock = Clock::start();
        loop {
            let pid = match home.data.lock() {
                Ok(lock) => return Ok(Door::Here(Node::open(home, lock, Mode::Command, clock)?)),
                Err(DataDirError::Locked { pid, .. }) => pid,
                Err(error) => return Err(error.into()),
            };
            if let Some(client) = Client::connect(&socket).await {
                return Ok(Door::There(client));
            }
            if clock.monotonic().0 > BUSY_WAIT.as_millis() as u64 {
                return Err(Failure::new(
                    Exit::Refused,
                    format!(
                        "{} is in use by process {pid}, which does not answer: wait for it, or stop it with `kill {pid}`",
                        home.data.path().display()
                    ),
                ));
            }
            // another short command is at work: it ends by itself
            tokio::time::sleep(BUSY_LOOK).await;
        }
    }

    /// Asks and waits for the answer.
    pub(crate) async fn call<T: DeserializeOwned>(&self, request: Request) -> Result<T, Failure> {
        self.stream(request, |_: serde_json::Value| ()).await
    }

    /// Asks, hands every item to `each` as it comes, and waits for the answer.
    pub(crate) async fn stream<I: DeserializeOwned, T: DeserializeOwned>(
        &self,
        request: Request,
        mut each: impl FnMut(I),
    ) -> Result<T, Failure> {
        let unreadable =
            |error: serde_json::Error| Failure::new(Exit::Failure, format!("the answer was not understood: {error}"));
        let mut deliver = |value: serde_json::Value| {
            // an item that this version does not know is skipped
            if let Ok(item) = serde_json::from_value(value) {
                each(item);
            }
        };
        let answer = match self {
            Door::There(client) => client.ask(&request, deliver).await?,
            Door::Here(node) => {
                let (items, mut incoming) = mpsc::channel(256);
                let work = handlers::handle(Arc::clone(node), request, items);
                tokio::pin!(work);
                let answer = loop {
                    tokio::select! {
                        biased;
                        Some(item) = incoming.recv() => deliver(item),
                        answer = &mut work => break answer?,
                    }
                };
                while let Ok(item) = incoming.try_recv() {
                    deliver(item);
                }
                answer
            }
        };
        serde_json::from_value(answer).map_err(unreadable)
    }

    /// The node of this process, if it is here.
    pub(crate) fn node(&self) -> Option<&Arc<Node>> {
        match self {
            Door::Here(node) => Some(node),
            Door::There(_) => None,
        }
    }

    /// Closes the log if it was opened here.
    pub(crate) fn close(&self) -> Result<(), Failure> {
        match self {
            Door::Here(node) => node.close(),
            Door::There(_) => Ok(()),
        }
    }
}
