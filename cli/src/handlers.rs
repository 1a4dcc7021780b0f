//! What can be asked of a node, whoever asks: one set of handlers behind the command line and the control socket.
//!
//! A handler reads views, or sends a command; it holds no state. Answers are plain values that `--json` prints as they are.

pub(crate) mod answers;
mod cluster;
mod discovery;
mod logs;
mod resolve;
mod runners;
mod runs;
mod tasks;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::control::Items;
use crate::error::Failure;
use crate::node::Node;
use crate::node::autoscaler::RunnerWishes;
use crate::node::discovery::{Environment as Variables, Wishes as Looking};
use crate::submission::Wishes;
pub(crate) use cluster::describe;
pub(crate) use runs::exit_of;

/// A task that was handed out, with the token it was handed out with if whoever reports knows it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HeldBy {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) token: Option<String>,
    /// The run that the token is of, where it comes from the environment of a command: nobody says that this task is meant.
    #[serde(default)]
    pub(crate) token_of: Option<String>,
}

/// A question or an order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// Execute a workflow file here and now. Items: [`answers::Progress`]. Answer: [`answers::RunView`].
    Run {
        path: String,
        source: String,
        wishes: Wishes,
        workspace: String,
        environment: std::collections::BTreeMap<String, String>,
    },
    /// Submit a workflow file. Answer: [`answers::Submitted`].
    Submit { path: String, source: String, wishes: Wishes, copies: u32 },
    /// Wait until a run has ended. Items: [`answers::Progress`] if `logs`. Answer: [`answers::RunView`].
    Wait { id: String, logs: bool },
    /// Runs, newest first. Answer: list of [`answers::RunView`].
    List {
        status: Option<String>,
        peer: Option<String>,
        tag: Option<String>,
        since_ms: Option<u64>,
        limit: usize,
    },
    /// One run. Answer: [`answers::RunView`].
    Show { id: String },
    /// Log lines. Items: [`answers::Progress`]. Answer: nothing.
    Logs { id: String, follow: bool },
    /// Cancel a run. Answer: [`answers::RunView`].
    Cancel { id: String, reason: String },
    /// Submit a run again. Answer: [`answers::Submitted`].
    Rerun { id: String },
    /// Change a priority. Answer: [`answers::RunView`].
    Prioritise { id: String, priority_milli: u32 },
    /// Why a job is where it is. Answer: list of [`answers::WhyView`].
    Why { id: String },
    /// Ranked peers. Answer: list of [`answers::OwnerView`].
    Owner { ids: Vec<String> },
    /// Submit a task. Answer: [`answers::Submitted`].
    TaskSubmit { task_id: String, workflow_id: String, tags: Vec<String>, wishes: Wishes, copies: u32 },
    /// Take a task. Answer: [`answers::TaskView`] or null.
    TaskNext { wait: bool, lease_ms: u64, tags: Vec<String> },
    /// Record a task's result. Answer: [`answers::RunView`].
    TaskComplete { task: HeldBy, result_json: String },
    /// Record that a task failed. Answer: [`answers::RunView`].
    TaskFail { task: HeldBy, error: String, retry: bool },
    /// Give a task back. Answer: [`answers::RunView`].
    TaskRelease { task: HeldBy },
    /// Extend a task's lease. Answer: nothing.
    TaskExtend { task: HeldBy, lease_ms: u64 },
    /// This node. Answer: [`answers::StatusView`].
    Status,
    /// The clock. Answer: [`answers::ClockView`].
    Clock,
    /// Open a way in. Answer: [`answers::InviteView`].
    Invite { expires_ms: u64, roles: Vec<String>, labels: Vec<String>, allow_jobs: bool },
    /// Members and addresses. Answer: [`answers::PeersView`].
    Peers,
    /// Remember an address.
    AddAddress { address: String },
    /// Revoke a member or forget an address. Answer: a text.
    RemovePeer { peer: String, reason: String },
    /// Whose jobs run here. Answer: [`answers::AllowView`].
    Allow { peers: Vec<String>, repositories: Vec<String>, any: bool, none: bool },
    /// Name this node and remember addresses.
    Init { name: Option<String>, addresses: Vec<String> },
    /// What peers hold of this log. Answer: [`answers::SyncView`].
    Sync { wait: bool, copies: u32 },
    /// Claim nothing.
    Pause,
    /// Claim again.
    Resume,
    /// Encoded frames in the order of admission, base64. Answer: list of texts.
    Frames { from: u64, len_max: usize },
    /// Admit frames, base64. Answer: [`answers::Imported`].
    Import { frames: Vec<String> },
    /// A blob, base64. Answer: a text.
    Blob { id: String },
    /// Look for tagged workflows once. Answer: [`answers::DiscoveryView`].
    Discover { wishes: Box<Looking>, variables: Variables, dry_run: bool },
    /// Look again and again. Items: [`answers::Progress`]. Answer: nothing.
    Monitor { wishes: Box<Looking>, variables: Variables, dry_run: bool },
    /// What this host looks at from now on; nothing if it is null. Answer: [`answers::WatchView`].
    Watch { wishes: Option<Box<Looking>> },
    /// Tagged workflows that were found. Answer: list of [`answers::FoundView`].
    Discovered,
    /// Start a workflow of a repository. Answer: [`answers::Submitted`].
    Dispatch {
        repository: String,
        workflow: String,
        git_ref: Option<String>,
        inputs: std::collections::BTreeMap<String, serde_json::Value>,
        github: crate::node::discovery::GithubWishes,
        variables: Variables,
    },
    /// Have this host start runners. Answer: [`answers::runners::StartedView`].
    RunnerStart { wishes: Box<RunnerWishes>, variables: Variables },
    /// Start none any more, in one pool or in all. Answer: [`answers::runners::StoppedView`].
    RunnerStop { pool: Option<String> },
    /// How the autoscaler gets on. Answer: [`answers::runners::RunnerStatusView`].
    RunnerStatus,
    /// What is queued at GitHub. Answer: list of [`answers::runners::QueueView`].
    RunnerQueues { variables: Variables },
    /// Containers of runners. Answer: list of [`answers::runners::RunnerContainerView`].
    RunnerContainers,
    /// Start runners once, for these repositories or for all with something queued. Answer: [`answers::runners::ProvisionView`].
    RunnerProvision { repositories: Vec<String>, variables: Variables },
    /// Stop a container. Answer: [`answers::runners::ContainerStoppedView`].
    RunnerStopContainer { container: String, force: bool },
    /// What a runner's container wrote. Items: [`answers::runners::RunnerLogLine`]. Answer: nothing.
    RunnerLogs { name: String, follow: bool },
    /// Replace idle runners. Answer: [`answers::runners::RotatedView`].
    RunnerRotate { outdated: bool },
    /// The digest of the published views, and how far they go. Answer: [`answers::DigestView`].
    Digest,
}

/// Answers a request.
pub(crate) async fn handle(
    node: Arc<Node>,
    request: Request,
    items: Items,
) -> Result<serde_json::Value, Failure> {
    node.ready().await;
    match request {
        Request::Run { path, source, wishes, workspace, environment } => {
            json(&runs::run(&node, path, source, wishes, workspace, environment, items).await?)
        }
        Request::Submit { path, source, wishes, copies } => {
            json(&runs::submit(&node, path, source, wishes, copies).await?)
        }
        Request::Wait { id, logs } => json(&runs::wait(&node, &id, logs, items).await?),
        Request::List { status, peer, tag, since_ms, limit } => {
            json(&runs::list(&node, status, peer, tag, since_ms, limit)?)
        }
        Request::Show { id } => json(&runs::show(&node, &id)?),
        Request::Logs { id, follow } => json(&logs::logs(&node, &id, follow, items).await?),
        Request::Cancel { id, reason } => json(&runs::cancel(&node, &id, reason).await?),
        Request::Rerun { id } => json(&runs::rerun(&node, &id).await?),
        Request::Prioritise { id, priority_milli } => {
            json(&runs::prioritise(&node, &id, priority_milli).await?)
        }
        Request::Why { id } => json(&runs::why(&node, &id)?),
        Request::Owner { ids } => json(&runs::owner(&node, &ids)?),
        Request::TaskSubmit { task_id, workflow_id, tags, wishes, copies } => {
            json(&tasks::submit(&node, &task_id, &workflow_id, &tags, &wishes, copies).await?)
        }
        Request::TaskNext { wait, lease_ms, tags } => {
            json(&tasks::next(&node, wait, lease_ms, tags, &items).await?)
        }
        Request::TaskComplete { task, result_json } => {
            json(&tasks::complete(&node, &task, result_json).await?)
        }
        Request::TaskFail { task, error, retry } => json(&tasks::fail(&node, &task, error, retry).await?),
        Request::TaskRelease { task } => json(&tasks::release(&node, &task).await?),
        Request::TaskExtend { task, lease_ms } => json(&tasks::extend(&node, &task, lease_ms)?),
        Request::Status => json(&cluster::status(&node)),
        Request::Clock => json(&cluster::clock(&node)),
        Request::Invite { expires_ms, roles, labels, allow_jobs } => {
            json(&cluster::invite(&node, expires_ms, &roles, labels, allow_jobs).await?)
        }
        Request::Peers => json(&cluster::peers(&node)),
        Request::AddAddress { address } => json(&cluster::add_address(&node, address)?),
        Request::RemovePeer { peer, reason } => json(&cluster::remove(&node, &peer, reason).await?),
        Request::Allow { peers, repositories, any, none } => {
            json(&cluster::allow(&node, &peers, &repositories, any, none)?)
        }
        Request::Init { name, addresses } => json(&cluster::init(&node, name, addresses).await?),
        Request::Sync { wait, copies } => json(&cluster::sync(&node, wait, copies).await?),
        Request::Pause => json(&cluster::pause(&node, true)?),
        Request::Resume => json(&cluster::pause(&node, false)?),
        Request::Frames { from, len_max } => json(&cluster::frames(&node, from, len_max)?),
        Request::Import { frames } => json(&cluster::import(&node, &frames).await?),
        Request::Blob { id } => json(&cluster::blob(&node, &id).await?),
        Request::Digest => json(&cluster::digest(&node)),
        Request::Discover { wishes, variables, dry_run } => {
            json(&discovery::once(&node, *wishes, &variables, dry_run).await?)
        }
        Request::Monitor { wishes, variables, dry_run } => {
            json(&discovery::monitor(&node, *wishes, &variables, dry_run, items).await?)
        }
        Request::Watch { wishes } => json(&discovery::watch(&node, wishes.map(|wishes| *wishes))?),
        Request::Discovered => json(&discovery::discovered(&node)),
        Request::Dispatch { repository, workflow, git_ref, inputs, github, variables } => json(
            &discovery::dispatch(&node, &repository, &workflow, git_ref, inputs, github, &variables).await?,
        ),
        Request::RunnerStart { wishes, variables } => {
            json(&runners::start(&node, *wishes, &variables).await?)
        }
        Request::RunnerStop { pool } => json(&runners::stop(&node, pool).await?),
        Request::RunnerStatus => json(&runners::status(&node).await?),
        Request::RunnerQueues { variables } => json(&runners::queues(&node, &variables).await?),
        Request::RunnerContainers => json(&runners::containers(&node).await?),
        Request::RunnerProvision { repositories, variables } => {
            json(&runners::provision(&node, repositories, &variables).await?)
        }
        Request::RunnerStopContainer { container, force } => {
            json(&runners::stop_container(&node, &container, force).await?)
        }
        Request::RunnerLogs { name, follow } => json(&runners::logs(&node, &name, follow, items).await?),
        Request::RunnerRotate { outdated } => json(&runners::rotate(&node, outdated).await?),
    }
}

fn json(value: &impl Serialize) -> Result<serde_json::Value, Failure> {
    serde_json::to_value(value).map_err(|error| {
        Failure::new(crate::error::Exit::Failure, format!("BUG: an answer is no JSON: {error}"))
    })
}
