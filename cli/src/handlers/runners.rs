//! The autoscaler: start, stop, look, provision.
//!
//! What comes in is checked here, whoever asks; what is done about it is the autoscaler's business.

use std::sync::Arc;

use wfengine_api::answers::runners::{
    ContainerStoppedView, ProvisionView, QueueView, RotatedView, RunnerContainerView, RunnerStatusView,
    StartedView, StoppedView,
};
use wfengine_api::{Environment, Failure, Items};
use wfengine_discovery::Scope;

use crate::node::Node;
use crate::node::autoscaler::{self, RunnerWishes};

/// Longest name of a container, and more digits than its id has.
const CONTAINER_BYTES_MAX: usize = 128;

pub(super) async fn start(
    node: &Arc<Node>,
    wishes: RunnerWishes,
    anew: bool,
    variables: &Environment,
) -> Result<StartedView, Failure> {
    wishes.check()?;
    autoscaler::start(node, wishes, anew, variables).await
}

pub(super) async fn stop(node: &Arc<Node>, pool: Option<String>) -> Result<StoppedView, Failure> {
    autoscaler::stop(node, pool).await
}

pub(super) async fn status(node: &Arc<Node>) -> Result<RunnerStatusView, Failure> {
    autoscaler::status(node).await
}

pub(super) async fn queues(node: &Arc<Node>, variables: &Environment) -> Result<Vec<QueueView>, Failure> {
    autoscaler::queues(node, variables).await
}

pub(super) async fn containers(node: &Arc<Node>) -> Result<Vec<RunnerContainerView>, Failure> {
    autoscaler::containers(node).await
}

pub(super) async fn provision(
    node: &Arc<Node>,
    repositories: Vec<String>,
    variables: &Environment,
) -> Result<ProvisionView, Failure> {
    for name in &repositories {
        Scope::repository(name).map_err(|error| Failure::bad_input(format!("--repo {name}: {error}")))?;
    }
    autoscaler::provision(node, repositories, variables).await
}

/// Something that may be a container's id or name, or a runner's name.
fn named(option: &str, name: &str) -> Result<(), Failure> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if (1..=CONTAINER_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits) {
        return Ok(());
    }
    Err(Failure::bad_input(format!(
        "{option} {name}: expected an id or a name; `wfengine runner list-containers` lists them"
    )))
}

pub(super) async fn stop_container(
    node: &Arc<Node>,
    container: &str,
    force: bool,
) -> Result<ContainerStoppedView, Failure> {
    named("--container", container)?;
    let message = autoscaler::stop_container(node, container, force).await?;
    Ok(ContainerStoppedView { success: true, message })
}

pub(super) async fn logs(node: &Arc<Node>, name: &str, follow: bool, items: Items) -> Result<(), Failure> {
    named("logs", name)?;
    autoscaler::logs(node, name, follow, items).await
}

pub(super) async fn rotate(node: &Arc<Node>, outdated: bool) -> Result<RotatedView, Failure> {
    autoscaler::rotate(node, outdated).await
}
