//! `serve`: run this host's node.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::Globals;
use super::interrupt::Interrupts;
use crate::args::ServeArgs;
use crate::clock::Clock;
use crate::control;
use crate::door::own;
use crate::error::{Exit, Failure};
use crate::handlers;
use crate::home::Home;
use crate::node::link::Link;
use crate::node::network::Network;
use crate::node::{Mode, Node, processors};
use crate::submission::duration_ms;
use crate::terminal;

pub(super) async fn serve(globals: &Globals, args: ServeArgs) -> Result<Exit, Failure> {
    if args.background {
        return background(globals, &args).await;
    }
    let grace = Duration::from_millis(duration_ms("--grace", &args.grace)?);
    let home = Home::open(globals.data_dir.clone())?;
    control::check_path(&home.data.control_socket())?;
    let lock = own(&home).await?;
    let slots = args.slots.unwrap_or_else(processors);
    let node = Node::open(home, lock, Mode::Serve { slots }, Clock::start())?;
    let link = node.go_online(&args.network.listen, None, None)?;
    serve_node(globals, node, link, grace, !args.network.no_lan).await
}

/// Starts the same command without `--background` in a process group of its own and waits until it answers.
async fn background(globals: &Globals, args: &ServeArgs) -> Result<Exit, Failure> {
    use std::os::unix::process::CommandExt;
    let home = Home::open(globals.data_dir.clone())?;
    control::check_path(&home.data.control_socket())?;
    drop(own(&home).await?);
    let program = std::env::current_exe().map_err(|error| {
        Failure::new(Exit::Failure, format!("this program does not know where it is: {error}"))
    })?;
    let log = home.data.path().join("serve.log");
    let file = std::fs::File::create(&log).map_err(|error| Failure::io("write", &log, &error))?;
    let errors = file.try_clone().map_err(|error| Failure::io("write", &log, &error))?;
    let mut command = std::process::Command::new(program);
    command.arg("--data-dir").arg(home.data.path()).args([
        "serve",
        "--listen",
        &args.network.listen,
        "--grace",
        &args.grace,
    ]);
    if args.network.no_lan {
        command.arg("--no-lan");
    }
    if let Some(slots) = args.slots {
        command.args(["--slots", &slots.to_string()]);
    }
    command.stdin(std::process::Stdio::null()).stdout(file).stderr(errors).process_group(0);
    let mut child =
        command.spawn().map_err(|error| Failure::new(Exit::Failure, format!("starting: {error}")))?;
    let socket = home.data.control_socket();
    loop {
        if let Some(client) = control::Client::connect(&socket).await {
            let answer = client.ask(&handlers::Request::Status, |_| ()).await?;
            if globals.json {
                terminal::json(&answer);
            } else {
                let listen = answer.get("listen").and_then(|listen| listen.as_str()).unwrap_or("nothing");
                terminal::line(&format!(
                    "node serves on UDP {listen} (pid {}); its log is {}",
                    child.id(),
                    log.display()
                ));
            }
            return Ok(Exit::Success);
        }
        if let Ok(Some(status)) = child.try_wait() {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            return Err(Failure::new(
                Exit::Failure,
                format!("the node ended at once ({status}): {}", said.trim()),
            ));
        }
        // the socket appears once the log is open
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How long a node whose log failed goes on answering what it was asked.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Serves until a signal: the first drains, the second stops at once.
pub(super) async fn serve_node(
    globals: &Globals,
    node: Arc<Node>,
    link: Arc<Link>,
    grace: Duration,
    on_lan: bool,
) -> Result<Exit, Failure> {
    let socket = node.home.data.control_socket();
    let answering = Arc::clone(&node);
    let stopping = Arc::clone(&node);
    let mut interrupts = Interrupts::signals()?;
    let mut server = tokio::spawn(async move {
        let handle = move |request, items| handlers::handle(Arc::clone(&answering), request, items);
        control::serve(&socket, handle, async move { stopping.stopped().await }).await
    });
    let name = node.home.name()?;
    let is_member = node.watcher().views().authority().roster().member(&node.peer_id()).is_some();
    if is_member {
        handlers::describe(&node, name.clone()).await?;
    }
    let discovery = crate::node::discovery::begin(&node, crate::node::discovery::environment());
    let _lan = on_lan.then(|| link.go_on_lan()).flatten();
    let listen = link.local_address();
    if globals.json {
        terminal::json(&json!({ "serving": name, "peer_id": node.peer_id().to_string(), "listen": listen }));
    } else {
        terminal::line(&format!("{name} ({}) serves on UDP {listen}", node.peer_id().short()));
        terminal::line(
            "next: `wfengine peer invite` prints a line that lets another host join; ctrl-c or SIGTERM stops",
        );
    }
    let ended = tokio::select! {
        _ = interrupts.next() => None,
        () = node.stopped() => None,
        ended = &mut server => Some(ended),
    };
    if let Some(ended) = ended.filter(|_| node.store.recorder().fatal().is_none()) {
        // without its control socket nobody could ask this node for anything, or stop it kindly
        link.stop().await;
        node.close()?;
        let broken =
            |error| Failure::new(Exit::Failure, format!("BUG: the control socket broke off: {error}"));
        return ended.map_err(broken)?.map(|()| Exit::Success);
    }
    if node.store.recorder().fatal().is_none() {
        terminal::note(&format!(
            "stopping: running jobs may go on for {} s; a second signal stops at once",
            grace.as_secs()
        ));
        // programs that wait for a task are sent away
        node.leave();
        let drained = async {
            node.drain(grace).await;
            // a hand-over to GitHub that has begun is concluded before the node leaves
            let _ = discovery.await;
            link.hand_over().await;
        };
        tokio::select! {
            () = drained => {}
            () = node.stopped() => {}
            // steps do not outlive the node
            _ = interrupts.next() => node.give_up().await,
        }
    }
    if let Some(error) = node.store.recorder().fatal().cloned() {
        // whoever waits for an answer is told what is known of it
        if !server.is_finished() {
            let _ = tokio::time::timeout(LAST_ANSWERS, server).await;
        }
        return Err(error.into());
    }
    link.stop().await;
    node.close()?;
    let _ = server.await;
    Ok(Exit::Success)
}
