//! The autoscaler in this node: which pools are on, the loop that plans and starts, and what commands ask of it.

mod conditions;
mod lines;
mod wishes;

use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use super::Node;
use super::discovery::Environment;
use crate::control::Items;
use crate::error::{Exit, Failure};
use crate::handlers::answers::runners::{
    ProvisionView, QueueView, RotatedView, RunnerContainerView, RunnerStatusView, StartedView, StoppedView,
};
pub(crate) use lines::{Line, Lines, follow};
pub(crate) use wishes::{NETWORK_VARIABLE, RunnerWishes, network_word};

fn not_built() -> Failure {
    Failure::new(Exit::Failure, "this build has no autoscaler")
}

pub(crate) fn begin(_node: &Arc<Node>, _variables: Environment) -> JoinHandle<()> {
    tokio::spawn(async {})
}

pub(crate) fn lines(_node: &Node) -> broadcast::Receiver<Line> {
    Lines::default().listen()
}

pub(crate) async fn start(
    _node: &Arc<Node>,
    _wishes: RunnerWishes,
    _variables: &Environment,
) -> Result<StartedView, Failure> {
    Err(not_built())
}

pub(crate) async fn stop(_node: &Arc<Node>, _pool: Option<String>) -> Result<StoppedView, Failure> {
    Err(not_built())
}

pub(crate) async fn status(_node: &Arc<Node>) -> Result<RunnerStatusView, Failure> {
    Err(not_built())
}

pub(crate) async fn queues(_node: &Arc<Node>, _variables: &Environment) -> Result<Vec<QueueView>, Failure> {
    Err(not_built())
}

pub(crate) async fn containers(_node: &Arc<Node>) -> Result<Vec<RunnerContainerView>, Failure> {
    Err(not_built())
}

pub(crate) async fn provision(
    _node: &Arc<Node>,
    _repositories: Vec<String>,
    _variables: &Environment,
) -> Result<ProvisionView, Failure> {
    Err(not_built())
}

pub(crate) async fn stop_container(
    _node: &Arc<Node>,
    _container: &str,
    _force: bool,
) -> Result<String, Failure> {
    Err(not_built())
}

pub(crate) async fn logs(
    _node: &Arc<Node>,
    _name: &str,
    _follow: bool,
    _items: Items,
) -> Result<(), Failure> {
    Err(not_built())
}

pub(crate) async fn rotate(_node: &Arc<Node>, _outdated: bool) -> Result<RotatedView, Failure> {
    Err(not_built())
}
