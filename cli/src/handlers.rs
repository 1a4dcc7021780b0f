//! What can be asked of a node, whoever asks: one set of handlers behind the command line and the control socket.
//!
//! A handler reads views, or sends a command; it holds no state. Answers are plain values that `--json` prints as they are.

mod cluster;
mod discovery;
mod history;
mod listing;
mod logs;
mod metrics;
mod resolve;
mod runners;
mod runs;
mod tasks;

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wfengine_api::{Exit, Failure, Items, Request, Settings};

use crate::node::Node;
pub(crate) use cluster::describe;
pub(crate) use listing::is_disagreed_on;
pub(crate) use runs::exit_of;

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
        Request::List(wanted) => json(&blocking(&node, move |node| listing::list(node, &wanted)).await?),
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
        Request::TaskTake { id, lease_ms } => json(&tasks::take(&node, &id, lease_ms, &items).await?),
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
        Request::History { run, author, kinds, from, limit } => {
            let part = move |node: &Node| history::history(node, run, author, &kinds, from, limit);
            json(&blocking(&node, part).await?)
        }
        Request::Metrics => json(&metrics::metrics(&node).await?),
        Request::Follow { from } => json(&history::follow(&node, from, items).await?),
        Request::Changes => json(&history::changes(&node, items).await?),
        Request::Frames { from, len_max } => json(&cluster::frames(&node, from, len_max)?),
        Request::Import { frames } => json(&cluster::import(&node, &frames).await?),
        Request::Blob { id } => json(&cluster::blob(&node, &id).await?),
        Request::Digest => json(&cluster::digest(&node)),
        Request::Discover { wishes, variables, dry_run } => {
            json(&discovery::once(&node, settings(wishes)?, &variables, dry_run).await?)
        }
        Request::Monitor { wishes, variables, dry_run } => {
            json(&discovery::monitor(&node, settings(wishes)?, &variables, dry_run, items).await?)
        }
        Request::Watch { wishes } => json(&discovery::watch(&node, wishes.map(settings).transpose()?)?),
        Request::Discovered => json(&discovery::discovered(&node)),
        Request::Dispatch { repository, workflow, git_ref, inputs, github, variables } => json(
            &discovery::dispatch(&node, &repository, &workflow, git_ref, inputs, github, &variables).await?,
        ),
        Request::RunnerStart { wishes, anew, variables } => {
            json(&runners::start(&node, settings(wishes)?, anew, &variables).await?)
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

/// Does what reads much from the disk where nobody waits for the thread.
async fn blocking<T: Send + 'static>(
    node: &Arc<Node>,
    work: impl FnOnce(&Node) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let node = Arc::clone(node);
    let done = tokio::task::spawn_blocking(move || work(&node)).await;
    done.map_err(|error| Failure::new(Exit::Failure, format!("BUG: the work broke off: {error}")))?
}

/// Settings of a component as it knows them.
fn settings<T: DeserializeOwned>(document: Settings) -> Result<T, Failure> {
    serde_json::from_value(document)
        .map_err(|error| Failure::bad_input(format!("the settings were not understood: {error}")))
}

fn json(value: &impl Serialize) -> Result<serde_json::Value, Failure> {
    serde_json::to_value(value)
        .map_err(|error| Failure::new(Exit::Failure, format!("BUG: an answer is no JSON: {error}")))
}
