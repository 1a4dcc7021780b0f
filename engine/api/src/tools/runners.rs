//! Seven tools of the runner autoscaler.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::shared::{Nothing, named};
use super::{Context, Effect, Tool, tool};
use crate::answers::runners::{
    ContainerStoppedView, ProvisionView, QueueView, RunnerContainerView, RunnerStatusView, StartedView,
    StoppedView,
};
use crate::failure::Failure;
use crate::request::Request;

pub(super) fn tools() -> Vec<Tool> {
    vec![
        tool(
            "runner_start_autoscaler",
            Effect::Sets,
            "Has this host start GitHub runners in containers as jobs are queued, from now on and after restarts. Every other setting is as `wfengine runner start` has it by default; without any argument the pool goes on as it was started last.",
            start,
        )
        .open_world(),
        tool(
            "runner_stop_autoscaler",
            Effect::Ends,
            "Has this host start no more runners. Runners that have a job finish it.",
            stop,
        )
        .open_world(),
        tool(
            "runner_get_status",
            Effect::Reads,
            "How the autoscaler of this host gets on: runners, queued jobs, pools, and what keeps it from getting on.",
            runner_status,
        ),
        tool(
            "runner_list_workflows",
            Effect::Reads,
            "What is queued and runs at GitHub, by repository.",
            list_workflows,
        )
        .open_world(),
        tool(
            "runner_provision_for_workflow",
            Effect::Adds,
            "Starts one runner for a repository now, whether or not it has jobs queued.",
            provision,
        )
        .open_world(),
        tool(
            "runner_list_containers",
            Effect::Reads,
            "Containers of this host's runners, as the engine and the log know them.",
            list_containers,
        ),
        tool(
            "runner_stop_container",
            Effect::Ends,
            "Stops a runner that has no job: at GitHub first, then its container.",
            stop_container,
        )
        .open_world(),
    ]
}

const fn interval_default() -> u64 {
    120
}

const fn runners_default() -> u32 {
    10
}

const fn yes() -> bool {
    true
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Start {
    /// A user or organisation; null: all repositories that the credential sees.
    #[serde(default)]
    owner: Option<String>,
    /// Seconds between two looks, 1 to 86400.
    #[serde(default = "interval_default")]
    #[schemars(range(min = 1, max = 86_400))]
    poll_interval: u64,
    /// Runners at once on this host, 1 to 1000.
    #[serde(default = "runners_default")]
    #[schemars(range(min = 1, max = 1_000))]
    max_runners: u32,
    /// Image of the containers; null: GitHub's own.
    #[serde(default)]
    runner_image: Option<String>,
    /// Taken for the sake of older programs: a node that serves does this in the background always.
    #[serde(default = "yes")]
    background: bool,
}

#[derive(Serialize, JsonSchema)]
struct Started {
    success: bool,
    /// A node serves here, so that it works already.
    running: bool,
    /// One sentence.
    message: String,
    /// Remarks for people.
    notes: Vec<String>,
}

async fn start(context: Context, input: Start) -> Result<Started, Failure> {
    let mut settings = json!({
        "on": true,
        "interval_s": input.poll_interval,
        "max_runners": input.max_runners,
    });
    if let Some(owner) = &input.owner {
        named("owner", owner)?;
        settings["owners"] = json!([owner]);
    }
    if let Some(image) = &input.runner_image {
        named("runner_image", image)?;
        settings["container"] = json!({ "image": image });
    }
    let variables = context.handlers.environment();
    let started: StartedView =
        context.ask(Request::RunnerStart { wishes: settings, anew: false, variables }).await?;
    let mut notes = started.notes;
    if !input.background {
        notes.push("a node works in the background: this call does not wait for it".to_owned());
    }
    Ok(Started { success: started.success, running: started.running, message: started.message, notes })
}

#[derive(Serialize, JsonSchema)]
struct Stopped {
    success: bool,
    /// A pool is still on.
    running: bool,
    /// One sentence.
    message: String,
    /// Names of runners that finish their job first.
    draining: Vec<String>,
}

async fn stop(context: Context, _: Nothing) -> Result<Stopped, Failure> {
    let stopped: StoppedView = context.ask(Request::RunnerStop { pool: None }).await?;
    Ok(Stopped {
        success: stopped.success,
        running: stopped.running,
        message: stopped.message,
        draining: stopped.draining,
    })
}

#[derive(Serialize, JsonSchema)]
struct StatusAnswer {
    success: bool,
    data: RunnerStatusView,
}

async fn runner_status(context: Context, _: Nothing) -> Result<StatusAnswer, Failure> {
    Ok(StatusAnswer { success: true, data: context.ask(Request::RunnerStatus).await? })
}

#[derive(Serialize, JsonSchema)]
struct Queues {
    success: bool,
    data: Vec<QueueView>,
    count: u64,
}

async fn list_workflows(context: Context, _: Nothing) -> Result<Queues, Failure> {
    let variables = context.handlers.environment();
    let data: Vec<QueueView> = context.ask(Request::RunnerQueues { variables }).await?;
    Ok(Queues { success: true, count: data.len() as u64, data })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Provision {
    /// `owner/name`.
    #[schemars(length(min = 1, max = 256))]
    repo: String,
}

/// The runner that was asked for.
#[derive(Serialize, JsonSchema)]
struct Provisioned {
    repo: String,
    /// The first 12 digits; null without one.
    container_id: Option<String>,
    /// GitHub registered it.
    token_generated: bool,
    /// provisioned, failed or token_failed.
    status: String,
    /// The runner's name; empty without one.
    name: String,
}

#[derive(Serialize, JsonSchema)]
struct ProvisionAnswer {
    success: bool,
    data: Provisioned,
    /// One sentence; what to do, if it failed.
    message: String,
}

async fn provision(context: Context, input: Provision) -> Result<ProvisionAnswer, Failure> {
    named("repo", &input.repo)?;
    let variables = context.handlers.environment();
    let request = Request::RunnerProvision { repositories: vec![input.repo.clone()], variables };
    let done: ProvisionView = context.ask(request).await?;
    let found = done.results.into_iter().next();
    let (repo, view) =
        found.ok_or_else(|| Failure::refused(format!("repo {}: {}", input.repo, done.notes.join("; "))))?;
    Ok(ProvisionAnswer {
        success: view.is_success(),
        message: view.message,
        data: Provisioned {
            repo,
            container_id: view.container_id,
            token_generated: view.token_generated,
            status: view.status,
            name: view.name,
        },
    })
}

#[derive(Serialize, JsonSchema)]
struct Containers {
    success: bool,
    data: Vec<RunnerContainerView>,
    count: u64,
}

async fn list_containers(context: Context, _: Nothing) -> Result<Containers, Failure> {
    let data: Vec<RunnerContainerView> = context.ask(Request::RunnerContainers).await?;
    Ok(Containers { success: true, count: data.len() as u64, data })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Container {
    /// Its id, a beginning of it, or its name.
    #[schemars(length(min = 1, max = 256))]
    container: String,
}

async fn stop_container(context: Context, input: Container) -> Result<ContainerStoppedView, Failure> {
    named("container", &input.container)?;
    context.ask(Request::RunnerStopContainer { container: input.container, force: false }).await
}
