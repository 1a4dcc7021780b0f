//! What commands ask of the autoscaler, whether its loop runs in this process or not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::oneshot;
use wfengine_api::answers::runners::{
    PoolStatusView, ProvisionView, QueueView, RefusedJobView, RotatedView, RunnerContainerView,
    RunnerStatusView, RunnerTroubleView, RunnerView, StartedView, StoppedView,
};
use wfengine_api::{Environment, Exit, Failure};
use wfengine_autoscaler::pool::{RunnerNetwork, Watched};
use wfengine_autoscaler::{Fault, Looker, Pool, SharedBoard, TroubleShown, container, firewall, look};
use wfengine_core::command::Command;
use wfengine_docker::Engine;
use wfengine_github::rest::RunsWanted;
use wfengine_github::{Client, dates};
use wfengine_storage_format::{PoolChanged, RunnerEnd};

use super::conditions::Condition;
use super::ready::{client, not_accessible, ready};
use super::{Node, Order, RunnerWishes, engine, held, order, pools, prefix, shown};
use crate::node::Mode;

/// What members are told of a pool. No path of this host is part of it.
fn said(node: &Node, wishes: &RunnerWishes, pool: &Pool, source: &str) -> PoolChanged {
    PoolChanged {
        pool: wishes.pool.clone(),
        is_on: wishes.on,
        source: source.to_owned(),
        // all that is seen is said by naming nothing
        scopes: if pool.watched == [Watched::All] { Vec::new() } else { wishes.scopes() },
        labels: pool.labels.clone(),
        runners_max: pool.runners_max,
        cluster_max: pool.cluster_max,
        idle_min: wishes.min_idle.at(node.clock.wall().0 / 1_000),
        interval_ms: pool.interval_ms,
        policy_json: serde_json::to_string(&pool.policy).unwrap_or_default(),
    }
}

/// Turns a pool on: checks that it can begin, keeps its settings, tells the members.
pub(crate) async fn start(
    node: &Arc<Node>,
    wishes: RunnerWishes,
    anew: bool,
    variables: &Environment,
) -> Result<StartedView, Failure> {
    let mut notes = Vec::new();
    let wishes = if anew { wishes } else { resumed(node, wishes, &mut notes) };
    same_openings(node, &wishes)?;
    let ready = ready(node, &wishes, variables).await?;
    let source = ready.client.settings().host().to_owned();
    node.ask(Command::ChangePool(said(node, &wishes, &ready.pool, &source))).await?;
    let kept = wishes.clone();
    node.change_settings(|settings| {
        settings.autoscaler.insert(kept.pool.clone(), kept);
    })?;
    let now_s = node.clock.wall().0 / 1_000;
    let on: Vec<RunnerWishes> = pools(node).into_iter().filter(|pool| pool.on).collect();
    let own = on.iter().filter(|pool| pool.pool == wishes.pool);
    let others = on.iter().filter(|pool| pool.pool != wishes.pool);
    let running = node.mode != Mode::Command;
    let when = if running { "from now on" } else { "once `wfengine serve` runs" };
    Ok(StartedView {
        success: true,
        running,
        message: format!("pool {} starts runners for {} {when}", wishes.pool, wishes.scopes().join(", ")),
        pools: own.chain(others).map(|pool| pool.view(now_s)).collect(),
        notes: notes.into_iter().chain(ready.notes).collect(),
    })
}

/// A pool that was stopped and is started by its name alone goes on as it was.
fn resumed(node: &Node, wishes: RunnerWishes, notes: &mut Vec<String>) -> RunnerWishes {
    let plain = RunnerWishes { on: true, pool: wishes.pool.clone(), ..RunnerWishes::default() };
    let kept = node.settings().autoscaler.get(&wishes.pool).cloned();
    match kept.filter(|kept| wishes == plain && RunnerWishes { on: true, ..kept.clone() } != plain) {
        Some(kept) => {
            notes.push(format!(
                "pool {} goes on as it was started last; any option makes it anew from those that are given, --anew from none",
                kept.pool
            ));
            RunnerWishes { on: true, ..kept }
        }
        None => wishes,
    }
}

/// The firewall's rules are the same for all runners of a host: pools that open other things do not go together.
fn same_openings(node: &Arc<Node>, wishes: &RunnerWishes) -> Result<(), Failure> {
    let others = pools(node).into_iter().filter(|other| other.on && other.pool != wishes.pool);
    let mut own = others.filter(|other| {
        other.network.mode == RunnerNetwork::Own && wishes.network.mode == RunnerNetwork::Own
    });
    let differs = |other: &RunnerWishes| {
        let opened = |wishes: &RunnerWishes| {
            let network = &wishes.network;
            (network.host_ports.clone(), network.egress.clone(), network.host_access)
        };
        opened(other) != opened(wishes)
    };
    match own.find(differs) {
        Some(other) => Err(Failure::refused(format!(
            "pool {} opens other ports or networks: the rules are one for all runners of a host\nwhat helps: the same --allow-host-port and --egress for both, or another host",
            other.pool
        ))),
        None => Ok(()),
    }
}

/// Turns pools off. Runners that have a job end with it.
pub(crate) async fn stop(node: &Arc<Node>, pool: Option<String>) -> Result<StoppedView, Failure> {
    let known = pools(node);
    if let Some(name) = &pool
        && !known.iter().any(|wishes| wishes.pool == *name)
    {
        return Err(Failure {
            candidates: known.iter().map(|wishes| wishes.pool.clone()).collect(),
            ..Failure::new(Exit::Failure, format!("this host has no pool {name}"))
        });
    }
    let mut stopped = Vec::new();
    for wishes in
        known.into_iter().filter(|wishes| wishes.on && pool.as_ref().is_none_or(|name| *name == wishes.pool))
    {
        let off = RunnerWishes { on: false, ..wishes };
        let source = {
            let views = node.watcher().views();
            views
                .runners()
                .pool(&node.peer_id(), &off.pool)
                .map(|known| known.said.source.clone())
                .unwrap_or_default()
        };
        node.ask(Command::ChangePool(said(node, &off, &off.as_pool(), &source))).await?;
        stopped.push(off.pool.clone());
        node.change_settings(|settings| {
            settings.autoscaler.insert(off.pool.clone(), off);
        })?;
    }
    let draining: Vec<String> = {
        let views = node.watcher().views();
        let own = node.peer_id();
        let left = views
            .runners()
            .live_of(&own)
            .filter(|runner| runner.exited.is_none() && stopped.contains(&runner.intended.pool));
        left.map(|runner| runner.intended.name.clone()).collect()
    };
    let message = match stopped.len() {
        0 => "no pool was on: nothing is started here".to_owned(),
        _ => format!("pool {} starts no more runners", stopped.join(", ")),
    };
    let running = pools(node).iter().any(|wishes| wishes.on);
    let has_runners = node.watcher().views().runners().live_of(&node.peer_id()).next().is_some();
    // a node that serves takes the rules away with its last runner; here nobody else would
    if !stopped.is_empty()
        && !running
        && !has_runners
        && node.mode == Mode::Command
        && let Err(error) = firewall::open(&node.peer_id().to_string()).await
    {
        tracing::debug!(%error, "firewall rules are left");
    }
    Ok(StoppedView { success: true, running, message, pools: stopped, draining, notes: Vec::new() })
}

fn number(value: impl TryInto<u64>) -> u64 {
    value.try_into().unwrap_or(u64::MAX)
}

/// How it gets on.
pub(crate) async fn status(node: &Arc<Node>) -> Result<RunnerStatusView, Failure> {
    let shown_now = held(&node.autoscaling.shown).clone();
    let serves = held(&node.autoscaling.orders).is_some();
    let wall_ms = node.clock.wall().0;
    let wished = pools(node);
    let views = node.watcher().views();
    let own = node.peer_id();
    let since = wished
        .iter()
        .filter(|wishes| wishes.on)
        .filter_map(|wishes| views.runners().pool(&own, &wishes.pool).map(|known| known.since_ms));
    let start_time = since.min().map(|ms| dates::rfc3339(ms / 1_000));
    let is_on = wished.iter().any(|wishes| wishes.on);
    let provisioned = views.runners().all_counts().filter(|(peer, ..)| **peer == own);
    let provisioned_runners = provisioned.map(|(_, _, counts)| counts.provisioned).sum();
    let mut pools_shown = Vec::new();
    for wishes in &wished {
        let status =
            shown_now.pools.iter().find(|pool| pool.name == wishes.pool).cloned().unwrap_or_default();
        let elsewhere = views.runners().live().filter(|runner| {
            runner.author != own && runner.intended.pool == wishes.pool && runner.exited.is_none()
        });
        let trouble = status.troubles.first().map(|trouble| trouble.what.clone());
        pools_shown.push(PoolStatusView {
            name: wishes.pool.clone(),
            on: wishes.on,
            scopes: wishes.scopes(),
            labels: wishes.all_labels(),
            image: wishes.container.image.clone(),
            max: wishes.max_runners,
            cluster_max: Some(wishes.cluster_max).filter(|max| *max > 0),
            idle_min: wishes.min_idle.at(wall_ms / 1_000),
            interval_s: wishes.interval_s,
            active: status.active.into(),
            starting: status.starting.into(),
            idle: status.idle.into(),
            busy: status.busy.into(),
            draining: if wishes.on { 0 } else { status.active.into() },
            waiting_jobs: status.queued.into(),
            elsewhere: number(elsewhere.count()),
            trouble,
        });
    }
    let runners = views.runners().live().map(|runner| {
        let state = shown_now
            .pools
            .iter()
            .flat_map(|pool| &pool.runners)
            .find(|shown| shown.name == runner.intended.name);
        let started = runner.started.as_ref();
        RunnerView {
            name: runner.intended.name.clone(),
            pool: runner.intended.pool.clone(),
            scope: runner.intended.scope.clone(),
            phase: state.map_or_else(|| runner.phase().to_string(), |shown| shown.state.clone()),
            container: started.map(|(_, _, started)| started.container.chars().take(12).collect()),
            runner: state.map(|shown| shown.runner).filter(|id| *id != 0),
            busy: state.is_some_and(|shown| shown.state == "busy"),
            cause: match &runner.intended.cause {
                wfengine_storage_format::RunnerCause::Job { repository, run, job } => {
                    format!("{repository} {run}/{job}")
                }
                wfengine_storage_format::RunnerCause::Idle => "idle".to_owned(),
                wfengine_storage_format::RunnerCause::Asked => "asked".to_owned(),
            },
            job: runner
                .exited
                .as_ref()
                .and_then(|(_, _, exited)| exited.ran.as_ref())
                .map(|ran| format!("{} {}/{}", ran.repository, ran.run, ran.job))
                .or_else(|| state.and_then(|shown| shown.job.clone())),
            labels: runner.intended.labels.clone(),
            peer: views.peer_name(&runner.author),
            image: started.map(|(_, _, started)| started.image.clone()).unwrap_or_default(),
            end: runner.exited.as_ref().map(|(_, _, exited)| end(&exited.end)),
            since: Some(dates::rfc3339(started.map_or(runner.time_ms, |(_, at, _)| *at) / 1_000)),
        }
    });
    let runners: Vec<RunnerView> = runners.collect();
    let mut troubles = shown_now.troubles.clone();
    for pool in &shown_now.pools {
        troubles.extend(pool.troubles.iter().map(|trouble| trouble_view(&pool.name, trouble, wall_ms)));
        if pool.without_room > 0 && pool.active >= pool.runners_max {
            let condition =
                Condition::AtCapacity { active: pool.active.into(), max: pool.runners_max.into() };
            troubles.push(RunnerTroubleView {
                what: condition.what(),
                remedy: condition.remedy(),
                about: pool.name.clone(),
                times: 1,
                ..RunnerTroubleView::default()
            });
        }
    }
    let refused = shown_now.pools.iter().flat_map(|pool| &pool.refused);
    let looked = shown_now.pools.iter().map(|pool| pool.looked_ms).max().filter(|ms| *ms > 0);
    Ok(RunnerStatusView {
        running: is_on && serves,
        start_time,
        iterations: shown_now.pools.iter().map(|pool| pool.rounds).sum(),
        active_runners: shown_now.pools.iter().map(|pool| u64::from(pool.active)).sum(),
        queued_workflows: shown_now.pools.iter().map(|pool| u64::from(pool.queued)).sum(),
        repositories_monitored: shown_now.pools.iter().map(|pool| u64::from(pool.repositories)).sum(),
        last_check: looked.map(|ms| dates::rfc3339(ms / 1_000)),
        provisioned_runners,
        pools: pools_shown,
        runners,
        refused: refused
            .map(|refused| RefusedJobView {
                repo: refused.repository.clone(),
                job: if refused.name.is_empty() { refused.job.to_string() } else { refused.name.clone() },
                labels: refused.labels.clone(),
                why: refused.why.clone(),
                remedy: refused.remedy.clone(),
                url: Some(refused.url.clone()),
            })
            .collect(),
        troubles,
        github: shown_now.budgets,
        docker: shown_now.engine,
        p2p: shown_now.p2p,
    })
}

fn trouble_view(pool: &str, trouble: &TroubleShown, wall_ms: u64) -> RunnerTroubleView {
    let (kind, reason) = trouble.reason.rsplit_once('/').unwrap_or_default();
    let fault =
        Fault { reason: reason.to_owned(), what: trouble.what.clone(), remedy: trouble.remedy.clone() };
    let (what, remedy) = shown::condition(&fault, kind.strip_prefix("scope/").unwrap_or("the repository"));
    let at = |ms: u64| dates::rfc3339(ms / 1_000);
    RunnerTroubleView {
        what,
        remedy,
        about: pool.to_owned(),
        times: trouble.times.into(),
        since: Some(at(wall_ms.saturating_sub(trouble.for_s.saturating_mul(1_000)))),
        next_try: Some(at(wall_ms.saturating_add(trouble.next_try_s.saturating_mul(1_000)))),
    }
}

pub(super) fn end(end: &RunnerEnd) -> String {
    match end {
        RunnerEnd::Done { exit_code } => format!("done ({exit_code})"),
        RunnerEnd::Failed { what } => format!("failed: {what}"),
        RunnerEnd::NeverStarted { what } => format!("never started: {what}"),
        RunnerEnd::Stopped { why } => format!("stopped: {why}"),
    }
}

/// What is queued in the repositories that pools look at: of the pools of this host, or of all that is seen if it has none.
pub(crate) async fn queues(node: &Arc<Node>, variables: &Environment) -> Result<Vec<QueueView>, Failure> {
    let mut wished: Vec<RunnerWishes> = pools(node).into_iter().filter(|wishes| wishes.on).collect();
    if wished.is_empty() {
        wished.push(RunnerWishes::default());
    }
    let mut queues: BTreeMap<String, QueueView> = BTreeMap::new();
    for wishes in wished {
        let (client, _) = client(node, &wishes, variables).await?;
        let pool = Arc::new(wishes.as_pool());
        let board = SharedBoard::default();
        let architecture = crate::home::system_labels().pop().unwrap_or_default();
        let mut looker = Looker::new(&client, pool, &architecture, &prefix(node), Arc::clone(&board));
        let clock = node.clock;
        let looked = looker.round(|| (clock.monotonic(), clock.wall().0)).await;
        if looked.is_unauthorised {
            let detail = looked.problems.first().map(|(_, why)| why.what.clone()).unwrap_or_default();
            return Err(Condition::NotAuthenticated { detail }.into());
        }
        let board = std::mem::take(&mut *look::held(&board));
        let since_s = (clock.wall().0 / 1_000).saturating_sub(u64::from(wishes.since_days.max(1)) * 86_400);
        for (name, seen) in &board.repositories {
            let view = queues
                .entry(name.clone())
                .or_insert_with(|| QueueView { repo: name.clone(), ..QueueView::default() });
            (view.running, view.pending) = (seen.running_runs.into(), seen.queued_runs.into());
            view.failed = failed_runs(&client, name, since_s).await;
            view.total_workflows = view.running + view.pending + view.failed;
            view.served_jobs +=
                number(board.jobs.values().filter(|seen| seen.job.repository == *name).count());
            for (job, why) in board.refused.values().filter(|(job, _)| job.repository == *name) {
                *view.unserved.entry(format!("{}: {}", job.labels.join(", "), why.why())).or_default() += 1;
            }
            view.queued_jobs = view.served_jobs + view.unserved.values().sum::<u64>();
            view.problem = seen.trouble.clone();
        }
        if let Some(limited) = looked.limited_for.filter(|_| queues.is_empty()) {
            return Err(Failure::unreachable(format!(
                "GitHub's limit is spent: nothing can be asked for {} s more",
                limited.as_secs()
            )));
        }
        if queues.is_empty()
            && let Some((what, why)) = looked.problems.first()
        {
            return Err(Failure::unreachable(format!("{what}: {}", why.what)));
        }
    }
    Ok(queues.into_values().collect())
}

async fn failed_runs(client: &Client, name: &str, since_s: u64) -> u64 {
    let created = Some(format!(">={}", dates::rfc3339(since_s / 3_600 * 3_600)));
    let wanted = RunsWanted { status: Some("failure".to_owned()), created, ..RunsWanted::default() };
    client.workflow_runs(name, &wanted).await.map_or(0, |listing| number(listing.items.len()))
}

/// Containers of this host's runners.
pub(crate) async fn containers(node: &Arc<Node>) -> Result<Vec<RunnerContainerView>, Failure> {
    let variables = crate::node::discovery::environment();
    let mut engines: BTreeMap<String, Engine> = BTreeMap::new();
    let mut wished = pools(node);
    if wished.is_empty() {
        wished.push(RunnerWishes::default());
    }
    for wishes in &wished {
        let engine = engine(wishes, &variables)?;
        engines.insert(engine.endpoint().to_string(), engine);
    }
    let peer = node.peer_id().to_string();
    let mut found = Vec::new();
    for engine in engines.values() {
        let labels = [(container::LABEL_MANAGED, "1"), (container::LABEL_PEER, peer.as_str())];
        let listed = engine.containers(&labels).await.map_err(|error| not_accessible(engine, &error))?;
        let views = node.watcher().views();
        let shown_now = held(&node.autoscaling.shown).clone();
        for state in listed {
            let label = |name: &str| state.labels.get(name).cloned().unwrap_or_default();
            let name = label(container::LABEL_RUNNER);
            let shown =
                shown_now.pools.iter().flat_map(|pool| &pool.runners).find(|shown| shown.name == name);
            found.push(RunnerContainerView {
                container_id: state.id.chars().take(12).collect(),
                repo: label(container::LABEL_SCOPE),
                status: format!("{:?}", state.status).to_lowercase(),
                created_at: dates::rfc3339(u64::try_from(state.created.unix_s).unwrap_or(0)),
                pool: label(container::LABEL_POOL),
                image: state.image.clone(),
                runner: shown.map(|shown| shown.runner).filter(|id| *id != 0),
                busy: shown.is_some_and(|shown| shown.state == "busy"),
                job: shown.and_then(|shown| shown.job.clone()),
                known: views.runners().live().any(|runner| runner.intended.name == name),
                name: state.name,
            });
        }
    }
    Ok(found)
}

pub(super) fn nobody() -> Failure {
    Failure::refused("no node serves here, and runners are its business: `wfengine runner start`")
}

/// Starts runners because somebody asks.
pub(crate) async fn provision(
    node: &Arc<Node>,
    repositories: Vec<String>,
    _variables: &Environment,
) -> Result<ProvisionView, Failure> {
    let (answer, answered) = oneshot::channel();
    if !order(node, Order::Provision { repositories, answer }) {
        return Err(nobody());
    }
    answered.await.map_err(|_| nobody())
}

/// The runner that a text names: by its own name, or by the beginning of its container's id.
pub(super) fn runner_named(node: &Node, text: &str) -> Result<String, Failure> {
    let views = node.watcher().views();
    if views.runners().by_name(text).is_some() {
        return Ok(text.to_owned());
    }
    let named = views.runners().live().filter(|runner| {
        runner.started.as_ref().is_some_and(|(_, _, started)| started.container.starts_with(text))
    });
    let found: BTreeSet<String> = named.map(|runner| runner.intended.name.clone()).collect();
    match found.len() {
        1 => found.into_iter().next().ok_or_else(nobody),
        0 => {
            let near = views.runners().live().map(|runner| runner.intended.name.clone()).take(10).collect();
            let message = format!("there is no runner {text}; `wfengine runner list-containers` lists them");
            Err(Failure { exit: Exit::Failure, candidates: near, ..Failure::unknown(message) })
        }
        _ => Err(Failure {
            candidates: found.into_iter().collect(),
            ..Failure::bad_input(format!("{text} is the beginning of more than one container's id"))
        }),
    }
}

/// Ends a runner.
pub(crate) async fn stop_container(
    node: &Arc<Node>,
    container: &str,
    force: bool,
) -> Result<String, Failure> {
    let name = runner_named(node, container)?;
    let (answer, answered) = oneshot::channel();
    if !order(node, Order::Stop { name, force, answer }) {
        return Err(nobody());
    }
    let stopped = answered.await.map_err(|_| nobody())?;
    stopped.map_err(|fault| Failure::refused(format!("{}\nwhat helps: {}", fault.what, fault.remedy)))
}

/// Replaces runners.
pub(crate) async fn rotate(node: &Arc<Node>, outdated: bool) -> Result<RotatedView, Failure> {
    let (answer, answered) = oneshot::channel();
    if !order(node, Order::Rotate { outdated, answer }) {
        return Err(nobody());
    }
    answered.await.map_err(|_| nobody())
}
