//! `peer join`: become a member of a cluster, and serve it if asked.

use std::sync::Arc;
use std::time::Duration;

use wfengine_api::{Exit, Failure};
use wfengine_core::command::Command;
use wfengine_core::views::run::Run;
use wfengine_protocol::JoinLine;
use wfengine_storage_format::{Origin, RunSpec, RunSubmitted};
use wfengine_store::{Blobs, Purpose, Store};

use super::Globals;
use super::serve::{Manner, serve_as};
use crate::args::{JoinArgs, ServingArgs};
use crate::clock::Clock;
use crate::config::{self, Config, Serving};
use crate::documents::JoinedDocument;
use crate::handlers;
use crate::home::Home;
use crate::node::{Mode, Node};
use crate::submission::{planned, read_workflow};
use crate::terminal;

/// How long an answer is waited for.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// An open run of the cluster that is left, with the source of its workflow.
struct Carried {
    submission: RunSubmitted,
    source: Option<Vec<u8>>,
}

pub(super) async fn join(globals: &Globals, args: JoinArgs) -> Result<Exit, Failure> {
    let line: JoinLine = args
        .invite
        .parse()
        .map_err(|error: wfengine_protocol::JoinLineError| Failure::bad_input(error.to_string()))?;
    globals.only_here("peer join")?;
    let options = ServingArgs { network: args.network.clone(), slots: None, grace: None, verbose: false };
    let serving = Config::load(globals, config::given(&options)?)?.serving()?;
    let home = Home::open(globals.data_dir.clone())?;
    if args.serve {
        crate::control::check_path(&home.data.control_socket())?;
    }
    let clock = Clock::start();
    let lock = home.data.lock().map_err(|error| {
        Failure::refused(format!("{error}: stop the node that runs there (`kill` it), then join"))
    })?;
    if let Some(name) = &args.name {
        let mut settings = home.settings()?;
        settings.name.clone_from(name);
        home.keep_settings(&settings)?;
    }
    let before = home.data.current_cluster()?;
    if before == Some(line.cluster) {
        terminal::note("this host is a member of that cluster already");
    }
    let carried = match before.filter(|before| *before != line.cluster) {
        Some(cluster) => open_runs(&home, &cluster, &args)?,
        None => Vec::new(),
    };
    let dir = home.data.cluster_dir(&line.cluster);
    let is_new = !dir.exists();
    if is_new {
        Store::create(&dir, line.cluster, &[], clock.wall())?;
    }
    let node = Node::open_cluster(home.clone(), lock, line.cluster, Mode::Serve { slots: 0 }, clock)?;
    let admitted = ask_to_join(&node, &serving, &line).await;
    let link = match admitted {
        Ok(link) => link,
        Err(failure) => {
            node.close()?;
            drop(node);
            if is_new {
                // nothing of a cluster that did not let this host in stays
                let _ = std::fs::remove_dir_all(&dir);
            }
            return Err(failure);
        }
    };
    home.data.set_current_cluster(&line.cluster)?;
    if args.allow_jobs {
        node.change_settings(|settings| settings.allow_any = true)?;
    }
    node.change_settings(|settings| {
        settings.addresses.extend(line.addresses.iter().map(|address| address.to_string()));
    })?;
    let count = carried.len();
    for run in carried {
        resubmit(&node, run).await?;
    }
    said(globals, &node, &args, count);
    if args.serve {
        node.set_slots(serving.slots);
        return serve_as(globals, node, link, Manner::of(serving)).await;
    }
    handlers::describe(&node, node.home.name()?).await?;
    link.stop().await;
    node.close()?;
    Ok(Exit::Success)
}

fn said(globals: &Globals, node: &Node, args: &JoinArgs, carried: usize) {
    let members = node.watcher().views().authority().roster().members().len();
    if globals.json {
        terminal::json(&JoinedDocument { cluster: node.cluster.to_string(), members, carried });
        return;
    }
    terminal::line(&format!("joined cluster {} with {members} members", node.cluster.short()));
    if carried > 0 {
        terminal::line(&format!("{carried} open runs were submitted there again"));
    }
    if args.allow_jobs {
        terminal::line(
            "this host runs jobs that any member submits (`wfengine allow --none` takes that back)",
        );
    } else {
        terminal::line(
            "this host runs only its own jobs: `wfengine allow --any` lets it run those of other members",
        );
    }
    if !args.serve {
        terminal::line("next: wfengine serve");
    }
}

/// Presents the invite and waits until this node sees itself as a member.
async fn ask_to_join(
    node: &Arc<Node>,
    serving: &Serving,
    line: &JoinLine,
) -> Result<Arc<crate::node::link::Link>, Failure> {
    let (answered, answer) = tokio::sync::oneshot::channel();
    let mut news = node.watcher().subscribe();
    let link = node.go_online(&serving.network.listen, Some(line), Some(answered))?;
    let is_member = || node.watcher().views().authority().roster().member(&node.peer_id()).is_some();
    let joined = async {
        if !is_member() {
            match answer.await {
                Ok(answer) => answer?,
                Err(_) => return Err(Failure::unreachable("the network stopped before anybody answered")),
            }
            while !is_member() {
                let _ = news.recv().await;
            }
        }
        Ok(())
    };
    let tried: Vec<String> = line.addresses.iter().map(|address| address.to_string()).collect();
    match tokio::time::timeout(ANSWER_WAIT, joined).await {
        Ok(Ok(())) => Ok(link),
        Ok(Err(failure)) => {
            link.stop().await;
            Err(failure)
        }
        Err(_) => {
            link.stop().await;
            Err(Failure::unreachable(format!(
                "nobody answered within {} s at {}: is `wfengine serve` running there, and does its firewall let that UDP port in?",
                ANSWER_WAIT.as_secs(),
                tried.join(", ")
            )))
        }
    }
}

/// The runs this host submitted that are still open in the cluster it leaves.
fn open_runs(
    home: &Home,
    cluster: &wfengine_storage_format::ClusterId,
    args: &JoinArgs,
) -> Result<Vec<Carried>, Failure> {
    let store = home.open_store(cluster, Purpose::Command)?;
    let blobs = Blobs::open(home.data.blobs_dir(cluster))?;
    let open: Vec<Arc<RunSubmitted>> = {
        let views = store.watcher().views();
        let own = |run: &&Run| run.submission().is_some_and(|submission| submission.author == home.peer_id());
        let runs = views.runs().all_live().filter(|run| !run.status.is_terminal()).filter(own);
        runs.filter_map(|run| run.submitted.clone()).collect()
    };
    store.close()?;
    if open.is_empty() || args.leave {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = open.iter().take(5).map(|run| run.name.as_str()).collect();
    let question = format!("{} open runs of this host ({}…)", open.len(), names.join(", "));
    if !args.carry && !terminal::can_ask() {
        return Err(Failure::refused(format!(
            "{question}: say --carry to submit them again there, or --leave"
        )));
    }
    if !args.carry && !terminal::ask(&format!("{question}: submit them again in the new cluster?")) {
        return Ok(Vec::new());
    }
    open.into_iter()
        .map(|submission| {
            let source = match &submission.spec {
                RunSpec::Workflow(spec) => Some(blobs.read(&spec.source)?),
                RunSpec::Task { .. } => None,
            };
            Ok(Carried { submission: Arc::unwrap_or_clone(submission), source })
        })
        .collect()
}

async fn resubmit(node: &Arc<Node>, run: Carried) -> Result<(), Failure> {
    let submission = RunSubmitted { origin: Origin::Carried, rerun_of: None, ..run.submission };
    let (mut plan, mut blobs) = (Vec::new(), Vec::new());
    if let (RunSpec::Workflow(spec), Some(source)) = (&submission.spec, &run.source) {
        let workflow = read_workflow(source, &spec.path)?;
        plan = planned(&workflow, &submission, &std::collections::BTreeMap::new())?;
        blobs.push(node.blobs.put(source)?);
    }
    node.ask(Command::Submit { submission: Box::new(submission), plan, blobs }).await?;
    Ok(())
}
