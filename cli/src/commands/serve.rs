//! `serve`: run this host's node.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use wfengine_api::{Exit, Failure, Handlers};

use super::Globals;
use super::interrupt::Interrupts;
use crate::args::{ServeArgs, ServingArgs};
use crate::clock::Clock;
use crate::config::{self, Config, Http, Network as NetworkWanted, Serving};
use crate::control;
use crate::documents::{LineDocument, ServingDocument};
use crate::door::{Own, own};
use crate::handlers;
use crate::home::Home;
use crate::http;
use crate::node::discovery::environment;
use crate::node::link::Link;
use crate::node::network::Network;
use crate::node::{Mode, Node, autoscaler};
use crate::notify;
use crate::terminal;

pub(super) async fn serve(globals: &Globals, args: ServeArgs) -> Result<Exit, Failure> {
    globals.only_here("serve")?;
    if args.background {
        return background(globals, &args).await;
    }
    let serving = Config::load(globals, config::given(&args.serving)?)?.serving()?;
    let home = Home::open(globals.data_dir.clone())?;
    let (node, link) = open(home, &serving).await?;
    serve_as(globals, node, link, Manner::of(serving)).await
}

/// Takes the data directory and puts its node on the network.
pub(super) async fn open(home: Home, serving: &Serving) -> Result<(Arc<Node>, Arc<Link>), Failure> {
    control::check_path(&home.data.control_socket())?;
    let lock = own(&home).await?;
    let node = Node::open(home, lock, Mode::Serve { slots: serving.slots }, Clock::start())?;
    let link = node.go_online(&serving.network.listen, None, None)?;
    Ok((node, link))
}

/// A node in a process of its own that answers.
pub(super) struct Spawned {
    process: std::process::Child,
    pub(super) client: control::Client,
    /// What it says.
    pub(super) log: PathBuf,
}

impl Spawned {
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Stops it as an operator would, and waits until it has ended.
    pub(super) async fn end(mut self) {
        if let Some(pid) = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        // it may take as long as its jobs; it has none yet
        let _ = tokio::task::spawn_blocking(move || self.process.wait()).await;
    }
}

/// Starts `serve` with these arguments in a process group of its own and waits until it answers.
pub(super) async fn spawn(globals: &Globals, home: &Home, args: &ServingArgs) -> Result<Spawned, Failure> {
    use std::os::unix::process::CommandExt;
    control::check_path(&home.data.control_socket())?;
    drop(own(home).await?);
    let program = std::env::current_exe().map_err(|error| {
        Failure::new(Exit::Failure, format!("this program does not know where it is: {error}"))
    })?;
    let log = home.data.path().join("serve.log");
    let file = std::fs::File::create(&log).map_err(|error| Failure::io("write", &log, &error))?;
    let errors = file.try_clone().map_err(|error| Failure::io("write", &log, &error))?;
    let mut command = std::process::Command::new(program);
    // a copy that is called like an older program would speak that one's words
    command.arg0("wfengine");
    command.arg("--data-dir").arg(home.data.path());
    if let Some(file) = &globals.config {
        command.arg("--config").arg(file);
    }
    command.arg("serve").args(options(args));
    command.stdin(std::process::Stdio::null()).stdout(file).stderr(errors).process_group(0);
    let mut process =
        command.spawn().map_err(|error| Failure::new(Exit::Failure, format!("starting: {error}")))?;
    let socket = home.data.control_socket();
    loop {
        if let Some(client) = control::Client::connect(&socket).await {
            return Ok(Spawned { process, client, log });
        }
        if let Ok(Some(status)) = process.try_wait() {
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

/// These options as they were given: what was left out is for the node to find where it begins.
fn options(args: &ServingArgs) -> Vec<String> {
    let ServingArgs { network, slots, grace, verbose } = args;
    let http = &network.http;
    let mut options = Vec::new();
    let mut valued = |name: &str, value: Option<String>| {
        options.extend(value.into_iter().flat_map(|value| [name.to_owned(), value]));
    };
    valued("--listen", network.listen.clone());
    valued("--grace", grace.clone());
    valued("--slots", slots.map(|slots| slots.to_string()));
    valued("--http", http.http.clone());
    let path = |file: &Option<PathBuf>| file.as_ref().map(|file| file.display().to_string());
    valued("--http-cert", path(&http.http_cert));
    valued("--http-key", path(&http.http_key));
    http.http_host.iter().for_each(|host| valued("--http-host", Some(host.clone())));
    http.http_origin.iter().for_each(|origin| valued("--http-origin", Some(origin.clone())));
    let switches = [("--no-lan", network.no_lan), ("--no-http", http.no_http), ("--verbose", *verbose)];
    options.extend(switches.iter().filter(|(_, is_on)| *is_on).map(|(name, _)| (*name).to_owned()));
    options
}

async fn background(globals: &Globals, args: &ServeArgs) -> Result<Exit, Failure> {
    // what is wrong is said here, not in a file that nobody looks at
    Config::load(globals, config::given(&args.serving)?)?;
    let home = Home::open(globals.data_dir.clone())?;
    let spawned = spawn(globals, &home, &args.serving).await?;
    let answer = spawned.client.ask(&wfengine_api::Request::Status, |_| ()).await?;
    if globals.json {
        terminal::json(&answer);
    } else {
        let listen = answer.get("listen").and_then(|listen| listen.as_str()).unwrap_or("nothing");
        terminal::line(&format!(
            "node serves on UDP {listen} (pid {}); its log is {}",
            spawned.pid(),
            spawned.log.display()
        ));
    }
    Ok(Exit::Success)
}

/// How long a node whose log failed goes on answering what it was asked.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// How a node serves.
pub(super) struct Manner {
    /// Running jobs may go on so long after a stop signal.
    pub(super) grace: Duration,
    /// Announced on the local network.
    pub(super) on_lan: bool,
    /// Says more of what the autoscaler does.
    pub(super) verbose: bool,
    /// The door for programs.
    pub(super) http: Http,
    /// Who hears of what.
    pub(super) notify: notify::Wanted,
}

impl Manner {
    pub(super) fn of(serving: Serving) -> Self {
        let Serving { network: NetworkWanted { lan, http, .. }, grace, verbose, notify, .. } = serving;
        Self { grace, on_lan: lan, verbose, http, notify }
    }
}

/// Serves until a signal: the first drains, the second stops at once.
pub(super) async fn serve_as(
    globals: &Globals,
    node: Arc<Node>,
    link: Arc<Link>,
    manner: Manner,
) -> Result<Exit, Failure> {
    let Manner { grace, on_lan, verbose, http, notify } = manner;
    let socket = node.home.data.control_socket();
    let answering = Arc::clone(&node);
    let stopping = Arc::clone(&node);
    let mut interrupts = Interrupts::signals()?;
    let opened = http::open(&node.home, &http).await;
    let opened = opened.and_then(|door| Ok((door, notify::begin(&node, &notify)?)));
    let (door, notifying) = match opened {
        Ok(opened) => opened,
        Err(failure) => {
            // what it was told is wrong; the log is closed all the same
            link.stop().await;
            node.close()?;
            return Err(failure);
        }
    };
    let mut server = tokio::spawn(async move {
        let handle = move |request, items| handlers::handle(Arc::clone(&answering), request, items);
        control::serve(&socket, handle, async move { stopping.stopped().await }).await
    });
    let name = node.home.name()?;
    let is_member = node.watcher().views().authority().roster().member(&node.peer_id()).is_some();
    if is_member {
        handlers::describe(&node, name.clone()).await?;
    }
    let discovery = crate::node::discovery::begin(&node, environment());
    let saying =
        tokio::spawn(autoscaler::follow(autoscaler::lines(&node), verbose, print_line(globals.json)));
    let autoscaling = autoscaler::begin(&node, environment());
    let _lan = on_lan.then(|| link.go_on_lan()).flatten();
    let listen = link.local_address();
    let url = door.as_ref().map(|door| door.url.clone());
    if let Some(url) = &url {
        node.set_http(url.clone());
    }
    if globals.json {
        let peer_id = node.peer_id().to_string();
        terminal::json(&ServingDocument { serving: name, peer_id, listen, http: url });
    } else {
        terminal::line(&format!("{name} ({}) serves on UDP {listen}", node.peer_id().short()));
        if let Some(door) = &door {
            terminal::line(&format!(
                "programs ask at {} with the token in {}",
                door.url,
                door.token_file.display()
            ));
        }
        terminal::line(
            "next: `wfengine peer invite` prints a line that lets another host join; ctrl-c or SIGTERM stops",
        );
    }
    let programs = door.map(|door| {
        let handlers: Arc<dyn Handlers> = Arc::new(Own(Arc::clone(&node)));
        let stopping = Arc::clone(&node);
        // whoever holds a task may report on it until the node has ended
        tokio::spawn(wfengine_api::http::serve(door.listener, door.tls, handlers, door.gate, async move {
            stopping.stopped().await;
        }))
    });
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
            // nor does a container that was asked for stay unknown
            let _ = autoscaling.await;
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
        notifying.end().await;
        return Err(error.into());
    }
    link.stop().await;
    notifying.end().await;
    saying.abort();
    node.close()?;
    let _ = server.await;
    if let Some(programs) = programs {
        let _ = programs.await;
    }
    Ok(Exit::Success)
}

/// How lines of the autoscaler are printed.
fn print_line(json: bool) -> impl Fn(&str) + Send + Sync + 'static {
    move |text| {
        if json {
            terminal::json(&LineDocument { line: text });
        } else {
            terminal::line(text);
        }
    }
}
