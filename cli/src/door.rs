//! The way to a node: the one in this process if the data directory is free, else the process that owns it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use wfengine_api::{Asked, Environment, Exit, Failure, GitFacts, Handlers, Items, Request};
use wfengine_core::time::Monotonic;
use wfengine_store::DataDirError;
use wfengine_store::data_dir::DirLock;

use crate::clock::Clock;
use crate::commands::Globals;
use crate::control::{Client, NotAsked};
use crate::handlers;
use crate::home::Home;
use crate::node::discovery::environment;
use crate::node::{Mode, Node};
use crate::remote::Remote;
use crate::submission::git_facts;

/// How long a command waits for another short command to finish.
const BUSY_WAIT: Duration = Duration::from_secs(10);
/// How often it looks.
const BUSY_LOOK: Duration = Duration::from_millis(20);

/// Takes the data directory for this process. Waits for short commands to end; one that answers others is a node or a run.
pub(crate) async fn own(home: &Home) -> Result<DirLock, Failure> {
    let clock = Clock::start();
    loop {
        let locked = match home.data.lock() {
            Ok(lock) => return Ok(lock),
            Err(error @ DataDirError::Locked { .. }) => error,
            Err(error) => return Err(error.into()),
        };
        let answers = Client::connect(&home.data.control_socket()).await.is_some();
        if answers || clock.monotonic() - Monotonic::default() > BUSY_WAIT {
            return Err(Failure::refused(format!(
                "{locked}: a node or a run is at work there; `wfengine status` asks it, `kill` stops it"
            )));
        }
        tokio::time::sleep(BUSY_LOOK).await;
    }
}

/// Where requests go.
#[derive(Clone)]
enum Way {
    /// The node of this process.
    Here(Arc<Node>),
    /// The process that owns the data directory.
    There(Client),
    /// A node on another host.
    Elsewhere(Remote),
}

/// Whether other commands may go through this process while it owns the data directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Others {
    /// They wait until it has ended: it is short.
    Wait,
    /// They are answered.
    Served,
    /// This process never owns it: it only asks whoever does.
    Asked,
}

/// The control socket of a process that is no node of its own.
pub(crate) struct Serving {
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) server: JoinHandle<()>,
}

/// A way to the node of a data directory. Another process may own it at first and end in between: what it has not begun is then
/// asked of the next owner, which may be this process.
pub(crate) struct Door {
    /// Of this host's node; `None`: the node is elsewhere.
    home: Option<Home>,
    others: Others,
    /// One looks for the node at a time: two would find each other.
    reopening: tokio::sync::Mutex<()>,
    way: Mutex<Way>,
    serving: Mutex<Option<Serving>>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Door {
    /// Finds the node of a data directory, or becomes it for one command.
    pub(crate) async fn open(globals: &Globals, others: Others) -> Result<Self, Failure> {
        if let Some(url) = &globals.node {
            let way = Mutex::new(Way::Elsewhere(Remote::new(url, globals.token.clone())?));
            return Ok(Self {
                home: None,
                others,
                reopening: tokio::sync::Mutex::default(),
                way,
                serving: Mutex::default(),
            });
        }
        let home = Home::open(globals.data_dir.clone())?;
        let way = find(&home).await?;
        let door = Self {
            home: Some(home),
            others,
            reopening: tokio::sync::Mutex::default(),
            way: Mutex::new(way),
            serving: Mutex::default(),
        };
        door.serve_others();
        Ok(door)
    }

    /// A way to a process that answers already, or to a node elsewhere; `None` if nobody answers here. It does not outlive that process.
    pub(crate) async fn of_node(globals: &Globals) -> Result<Option<Self>, Failure> {
        if globals.node.is_some() {
            return Self::open(globals, Others::Asked).await.map(Some);
        }
        let home = Home::open(globals.data_dir.clone())?;
        let client = Client::connect(&home.data.control_socket()).await;
        Ok(client.map(|client| Self {
            home: Some(home),
            others: Others::Asked,
            reopening: tokio::sync::Mutex::default(),
            way: Mutex::new(Way::There(client)),
            serving: Mutex::default(),
        }))
    }

    /// Finds the node again after its process has left.
    async fn reopen(&self) -> Result<(), Failure> {
        if self.others == Others::Asked {
            return Err(Failure::unreachable("the node has gone"));
        }
        let Some(home) = &self.home else { return Ok(()) };
        let _only_one = self.reopening.lock().await;
        if self.node().is_some() {
            return Ok(());
        }
        let way = find(home).await?;
        *held(&self.way) = way;
        self.serve_others();
        Ok(())
    }

    fn serve_others(&self) {
        let Some(node) = self.node().filter(|_| self.others == Others::Served) else { return };
        let (stop, stopped) = oneshot::channel();
        let socket = node.home.data.control_socket();
        let server = tokio::spawn(async move {
            let handle = move |request, items| handlers::handle(Arc::clone(&node), request, items);
            let stop = async {
                let _ = stopped.await;
            };
            if let Err(failure) = crate::control::serve(&socket, handle, stop).await {
                crate::terminal::note(&format!(
                    "other commands have to wait until this one has ended: {failure}"
                ));
            }
        });
        *held(&self.serving) = Some(Serving { stop, server });
    }

    /// The control socket, if other commands go through this process.
    pub(crate) fn take_serving(&self) -> Option<Serving> {
        held(&self.serving).take()
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
        let unreadable = |error: serde_json::Error| {
            Failure::new(Exit::Failure, format!("the answer was not understood: {error}"))
        };
        let mut deliver = |value: serde_json::Value| {
            // an item that this version does not know is skipped
            if let Ok(item) = serde_json::from_value(value) {
                each(item);
            }
        };
        let answer = loop {
            let way = held(&self.way).clone();
            match way {
                Way::Here(node) => break here(node, request, deliver).await?,
                Way::Elsewhere(remote) => break remote.ask(&request, deliver).await?,
                Way::There(client) => match client.offer(&request, &mut deliver).await {
                    Ok(Err(failure)) if failure.not_begun => {
                        // it answers until its last request has ended
                        tokio::time::sleep(BUSY_LOOK).await;
                        self.reopen().await?;
                    }
                    Ok(answer) => break answer?,
                    Err(NotAsked) => self.reopen().await?,
                },
            }
        };
        serde_json::from_value(answer).map_err(unreadable)
    }

    /// Asks, and puts every item where it is wanted; whoever is asked learns when nobody wants them any more.
    async fn ask_into(&self, request: Request, items: Items) -> Result<serde_json::Value, Failure> {
        loop {
            let way = held(&self.way).clone();
            let client = match way {
                Way::Here(node) => return handlers::handle(node, request, items).await,
                Way::There(client) => client,
                Way::Elsewhere(remote) => {
                    let (said, mut to_hand_on) = mpsc::unbounded_channel();
                    let asked = remote.ask(&request, |item| {
                        // whoever listened may have left; that ends the question below
                        let _ = said.send(item);
                    });
                    return handed_on(asked, &mut to_hand_on, &items).await?;
                }
            };
            let (said, mut to_hand_on) = mpsc::unbounded_channel();
            let asked = client.offer(&request, |item| {
                // whoever listened may have left; that ends the question below
                let _ = said.send(item);
            });
            match handed_on(asked, &mut to_hand_on, &items).await? {
                Ok(Err(failure)) if failure.not_begun => {
                    // it answers until its last request has ended
                    tokio::time::sleep(BUSY_LOOK).await;
                    self.reopen().await?;
                }
                Ok(answer) => return answer,
                Err(NotAsked) => self.reopen().await?,
            }
        }
    }

    /// The node of this process, if it is here.
    pub(crate) fn node(&self) -> Option<Arc<Node>> {
        match &*held(&self.way) {
            Way::Here(node) => Some(Arc::clone(node)),
            Way::There(_) | Way::Elsewhere(_) => None,
        }
    }

    /// Closes the log if it was opened here.
    pub(crate) fn close(&self) -> Result<(), Failure> {
        self.node().map_or(Ok(()), |node| node.close())
    }
}

/// Puts every item where it is wanted until the answer is there. Fails when nobody wants it any more.
async fn handed_on<T>(
    asked: impl Future<Output = T>,
    said: &mut mpsc::UnboundedReceiver<serde_json::Value>,
    items: &Items,
) -> Result<T, Failure> {
    tokio::pin!(asked);
    let answer = loop {
        tokio::select! {
            biased;
            Some(item) = said.recv() => {
                if items.send(item).await.is_err() {
                    return Err(nobody_listens());
                }
            }
            () = items.closed() => return Err(nobody_listens()),
            answer = &mut asked => break answer,
        }
    };
    while let Ok(item) = said.try_recv() {
        if items.send(item).await.is_err() {
            return Err(nobody_listens());
        }
    }
    Ok(answer)
}

fn nobody_listens() -> Failure {
    Failure::unreachable("whoever asked has left")
}

impl Handlers for Door {
    fn handle(&self, request: Request, items: Items) -> Asked<'_> {
        Box::pin(self.ask_into(request, items))
    }
    fn now_ms(&self) -> u64 {
        Clock::start().wall().0
    }
    fn environment(&self) -> Environment {
        // a node elsewhere has its own; what is secret here stays here
        if self.home.is_none() { Environment::default() } else { environment() }
    }
    fn checkout_of(&self, file: &str) -> GitFacts {
        checkout_of(file)
    }
}

/// The node of this process, for its doors.
pub(crate) struct Own(pub(crate) Arc<Node>);

impl Handlers for Own {
    fn handle(&self, request: Request, items: Items) -> Asked<'_> {
        Box::pin(handlers::handle(Arc::clone(&self.0), request, items))
    }
    fn now_ms(&self) -> u64 {
        self.0.clock.wall().0
    }
    fn environment(&self) -> Environment {
        environment()
    }
    fn checkout_of(&self, file: &str) -> GitFacts {
        checkout_of(file)
    }
}

/// What git says of the folder that a file lies in.
pub(crate) fn checkout_of(file: &str) -> GitFacts {
    let path = std::path::absolute(file).unwrap_or_default();
    path.parent().map(git_facts).unwrap_or_default()
}

/// Looks who owns the data directory, and takes it if nobody does.
async fn find(home: &Home) -> Result<Way, Failure> {
    let socket = home.data.control_socket();
    let clock = Clock::start();
    loop {
        let pid = match home.data.lock() {
            Ok(lock) => return Ok(Way::Here(Node::open(home.clone(), lock, Mode::Command, clock)?)),
            Err(DataDirError::Locked { pid, .. }) => pid,
            Err(error) => return Err(error.into()),
        };
        if let Some(client) = Client::connect(&socket).await {
            return Ok(Way::There(client));
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
        // another short command is at work, or one that is about to end: it ends by itself
        tokio::time::sleep(BUSY_LOOK).await;
    }
}

/// Answers in this process.
async fn here(
    node: Arc<Node>,
    request: Request,
    mut deliver: impl FnMut(serde_json::Value),
) -> Result<serde_json::Value, Failure> {
    let (items, mut incoming) = mpsc::channel(256);
    let work = handlers::handle(node, request, items);
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
    Ok(answer)
}
