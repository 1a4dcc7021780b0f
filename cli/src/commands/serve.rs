//! `serve`: run this host's node; `peer join`: become a member and, if asked, serve.

use std::sync::Arc;
use std::time::Duration;

use super::Globals;
use crate::args::{JoinArgs, ServeArgs};
use crate::clock::Clock;
use crate::control;
use crate::error::{Exit, Failure};
use crate::handlers;
use crate::home::Home;
use crate::node::{Mode, Node};
use crate::submission::duration_ms;
use crate::terminal;

pub(super) async fn serve(globals: &Globals, args: ServeArgs) -> Result<Exit, Failure> {
    let grace = Duration::from_millis(duration_ms("--grace", &args.grace)?);
    let home = Home::open(globals.data_dir.clone())?;
    let lock = home.data.lock()?;
    let slots = args.slots.unwrap_or_else(processors);
    let node = Node::open(home, lock, Mode::Serve { slots }, Clock::start())?;
    serve_node(node, grace).await
}

fn processors() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1))
}

/// Serves until a signal: the first drains, the second stops at once.
async fn serve_node(node: Arc<Node>, grace: Duration) -> Result<Exit, Failure> {
    let socket = node.home.data.control_socket();
    let answering = Arc::clone(&node);
    let stopping = Arc::clone(&node);
    let server = tokio::spawn(async move {
        let handle = move |request, items| handlers::handle(Arc::clone(&answering), request, items);
        control::serve(&socket, handle, async move { stopping.stopped().await }).await
    });
    terminal::line(&format!("node {} serves; stop it with ctrl-c or SIGTERM", node.peer_id().short()));
    signal().await?;
    terminal::note(&format!("stopping: running jobs may go on for {} s; a second signal stops at once", grace.as_secs()));
    tokio::select! {
        () = node.drain(grace) => {}
        again = signal() => again?,
    }
    node.close()?;
    let _ = server.await;
    Ok(Exit::Success)
}

async fn signal() -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|error| Failure::new(Exit::Failure, format!("signals: {error}")));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

pub(super) async fn join(_globals: &Globals, _args: JoinArgs) -> Result<Exit, Failure> {
    Err(Failure::bad_input("join"))
}
