//! `mcp`: the Model Context Protocol at standard input and output.
//!
//! Whoever starts it speaks with the node of the data directory, or, where none is running, with the log itself. The log is held only
//! while calls are answered: a client that is open all day keeps no node from starting. What is printed is the protocol and nothing
//! else.

use std::sync::Arc;

use tokio::sync::Mutex;
use wfengine_api::{Asked, Environment, Exit, Failure, GitFacts, Handlers, Items, Request};

use super::Globals;
use crate::args::McpArgs;
use crate::clock::Clock;
use crate::door::{Door, Others, Serving, checkout_of};
use crate::node::discovery::environment;

pub(super) async fn mcp(globals: &Globals, args: McpArgs) -> Result<Exit, Failure> {
    let McpArgs {} = args;
    let visits = Visits { globals: globals.clone(), open: Arc::default() };
    // what is wrong with the data directory is said at once
    drop(visits.enter().await?);
    let open = Arc::clone(&visits.open);
    let served = wfengine_api::mcp::serve_stdio(Arc::new(visits)).await;
    // whoever still asks has nobody to answer to
    let last = open.lock().await.take();
    if let Some(visit) = last {
        close(&visit.door).await?;
    }
    served.map(|()| Exit::Success)
}

/// The way to the node, open as long as somebody asks.
struct Visits {
    globals: Globals,
    open: Arc<Mutex<Option<Visit>>>,
}

struct Visit {
    door: Arc<Door>,
    asking: usize,
}

/// Somebody who asks. Whoever goes last closes the door.
struct Visitor {
    door: Arc<Door>,
    open: Arc<Mutex<Option<Visit>>>,
}

impl Drop for Visitor {
    fn drop(&mut self) {
        let open = Arc::clone(&self.open);
        // also where a call was cancelled, which waits for nothing
        tokio::spawn(async move {
            // closed while nobody may enter: the next one opens it anew
            let mut open = open.lock().await;
            let is_last = open.as_mut().is_some_and(|visit| {
                visit.asking -= 1;
                visit.asking == 0
            });
            if let Some(visit) = open.take_if(|_| is_last)
                && let Err(failure) = close(&visit.door).await
            {
                crate::terminal::note(&format!("closing the log: {failure}"));
            }
        });
    }
}

async fn close(door: &Door) -> Result<(), Failure> {
    if let (Some(Serving { stop, server }), Some(node)) = (door.take_serving(), door.node()) {
        node.leave();
        let _ = stop.send(());
        // other commands that went through this process are answered
        let _ = server.await;
    }
    door.close()
}

impl Visits {
    async fn enter(&self) -> Result<Visitor, Failure> {
        let mut open = self.open.lock().await;
        if open.is_none() {
            let door = Arc::new(Door::open(&self.globals, Others::Served).await?);
            *open = Some(Visit { door, asking: 0 });
        }
        let visit = open.as_mut().ok_or_else(|| Failure::new(Exit::Failure, "BUG: the door is not open"))?;
        visit.asking += 1;
        Ok(Visitor { door: Arc::clone(&visit.door), open: Arc::clone(&self.open) })
    }
}

impl Handlers for Visits {
    fn handle(&self, request: Request, items: Items) -> Asked<'_> {
        Box::pin(async move {
            let visitor = self.enter().await?;
            visitor.door.handle(request, items).await
        })
    }
    fn now_ms(&self) -> u64 {
        Clock::start().wall().0
    }
    fn environment(&self) -> Environment {
        // a node elsewhere has its own; what is secret here stays here
        if self.globals.node.is_some() { Environment::default() } else { environment() }
    }
    fn checkout_of(&self, file: &str) -> GitFacts {
        checkout_of(file)
    }
}
