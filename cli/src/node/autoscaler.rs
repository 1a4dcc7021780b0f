//! The autoscaler in this node: which pools are on, the loop that plans and starts, and what commands ask of it.
//!
//! The crate `wfengine-autoscaler` plans and works; here are the node's log, clock and place for it, the settings of this host, and the
//! way to GitHub and to the engine. That a pool is on is an event, and how it is made a setting: a node that comes back goes on.

mod asked;
mod conditions;
mod host;
mod lines;
mod loops;
mod printed;
mod ready;
mod service;
mod sharing;
mod shown;
mod wishes;

use std::sync::{Arc, Mutex};

use tokio::sync::{broadcast, mpsc, oneshot};
use wfengine_api::Failure;
use wfengine_api::answers::runners::{P2pShareView, ProvisionView, RotatedView, RunnerTroubleView};
use wfengine_autoscaler::Fault;
use wfengine_docker::{Endpoint, Engine};

use super::{Node, held};
pub(crate) use asked::{containers, provision, queues, rotate, start, status, stop, stop_container};
pub(crate) use conditions::Condition;
pub(crate) use lines::{Line, Lines, follow};
pub(crate) use printed::logs;
pub(crate) use service::begin;
pub(crate) use wishes::{NETWORK_VARIABLE, RunnerWishes};

/// What the rest of the node sees of it.
#[derive(Default)]
pub(crate) struct Autoscaling {
    lines: Lines,
    orders: Mutex<Option<mpsc::UnboundedSender<Order>>>,
    shown: Mutex<Shown>,
}

/// What the loop shows of itself.
#[derive(Clone, Default)]
struct Shown {
    pools: Vec<wfengine_autoscaler::PoolStatus>,
    /// What keeps pools from beginning, and looks from being made.
    troubles: Vec<RunnerTroubleView>,
    p2p: Option<P2pShareView>,
    budgets: std::collections::BTreeMap<String, serde_json::Value>,
    engine: std::collections::BTreeMap<String, serde_json::Value>,
}

/// What is asked of the loop.
enum Order {
    Provision {
        repositories: Vec<String>,
        answer: oneshot::Sender<ProvisionView>,
    },
    Stop {
        name: String,
        force: bool,
        answer: oneshot::Sender<Result<String, Fault>>,
    },
    Rotate {
        outdated: bool,
        answer: oneshot::Sender<RotatedView>,
    },
    /// Something was queued, or ended, in a repository.
    Heard {
        repository: String,
    },
}

/// What it says from now on.
pub(crate) fn lines(node: &Node) -> broadcast::Receiver<Line> {
    node.autoscaling.lines.listen()
}

/// GitHub said that something happened to a job of a repository. It hastens a look, no more.
pub(crate) fn heard(node: &Node, repository: &str) {
    order(node, Order::Heard { repository: repository.to_owned() });
}

/// Whether somebody takes orders.
fn order(node: &Node, order: Order) -> bool {
    held(&node.autoscaling.orders).as_ref().is_some_and(|orders| orders.send(order).is_ok())
}

/// The engine that is wished.
fn engine(wishes: &RunnerWishes, variables: &wfengine_api::Environment) -> Result<Engine, Failure> {
    let wished = wishes.docker_host.as_deref().or(variables.get("DOCKER_HOST").map(String::as_str));
    let endpoint = Endpoint::from_docker_host(wished);
    Ok(Engine::new(endpoint.map_err(|error| Failure::bad_input(error.to_string()))?))
}

/// How names of this cluster's runners begin.
fn prefix(node: &Node) -> String {
    wfengine_autoscaler::name_prefix(&node.cluster.to_string())
}

/// The pools of this host by name, as the settings keep them.
fn pools(node: &Arc<Node>) -> Vec<RunnerWishes> {
    node.settings().autoscaler.into_values().collect()
}
