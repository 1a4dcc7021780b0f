//! `runner start`: asks the node that serves here, or becomes it.
//!
//! Invariant: a node that was started only to be asked, and said no, does not stay.

use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use wfengine_api::answers::StatusView;
use wfengine_api::answers::runners::{PoolView, StartedView};
use wfengine_api::{Exit, Failure, Request};

use crate::args::{RunnerStartArgs, ServingArgs};
use crate::commands::Globals;
use crate::commands::serve::{Manner, open, serve_as, spawn};
use crate::config::{self, Config};
use crate::control::Client;
use crate::handlers;
use crate::home::Home;
use crate::node::autoscaler::{NETWORK_VARIABLE, RunnerWishes};
use crate::node::discovery::environment;
use crate::terminal;

pub(super) async fn start(globals: &Globals, args: RunnerStartArgs) -> Result<Exit, Failure> {
    let (background, verbose) = (args.background, args.verbose);
    let anew = args.anew;
    let serving = ServingArgs { network: args.node.clone(), slots: None, grace: None, verbose };
    let mode = network_of_environment(&args);
    let wishes = RunnerWishes::of(args, mode.as_deref())?;
    wishes.gives_away().iter().for_each(|text| terminal::note(text));
    let variables = environment();
    let request = Request::RunnerStart { wishes: serde_json::json!(wishes), anew, variables };
    globals.only_here("runner start")?;
    let home = Home::open(globals.data_dir.clone())?;
    if let Some(client) = Client::connect(&home.data.control_socket()).await {
        let status: StatusView = ask(&client, &Request::Status).await?;
        if !status.serving {
            return Err(Failure::refused(format!(
                "process {} is at work on {} and does not serve: wait until it has ended, then ask again",
                status.pid, status.data_dir
            )));
        }
        let started: StartedView = ask(&client, &request).await?;
        print(globals, &started, verbose);
        return Ok(Exit::Success);
    }
    let wanted = Config::load(globals, config::given(&serving)?)?.serving()?;
    if background {
        let spawned = spawn(globals, &home, &serving).await?;
        let started = match ask::<StartedView>(&spawned.client, &request).await {
            Ok(started) => started,
            Err(failure) => {
                spawned.end().await;
                return Err(failure);
            }
        };
        print(globals, &started, verbose);
        if !globals.json {
            terminal::line(&format!(
                "its node is process {} and writes to {}",
                spawned.pid(),
                spawned.log.display()
            ));
        }
        return Ok(Exit::Success);
    }
    let (node, link) = open(home, &wanted).await?;
    let (items, _) = tokio::sync::mpsc::channel(1);
    let answer = handlers::handle(std::sync::Arc::clone(&node), request, items).await;
    let started: StartedView = match answer.and_then(understood) {
        Ok(started) => started,
        Err(failure) => {
            link.stop().await;
            node.close()?;
            return Err(failure);
        }
    };
    print(globals, &started, verbose);
    serve_as(globals, node, link, Manner::of(wanted)).await
}

/// The network that the older program's variable asks for, where no option does.
fn network_of_environment(args: &RunnerStartArgs) -> Option<String> {
    if args.network.is_some() {
        return None;
    }
    let mode = std::env::var(NETWORK_VARIABLE).ok().filter(|mode| !mode.is_empty())?;
    terminal::note(&format!(
        "{NETWORK_VARIABLE} is read for compatibility as --network {mode}; the option comes before it"
    ));
    Some(mode)
}

fn understood<T: DeserializeOwned>(answer: Json) -> Result<T, Failure> {
    serde_json::from_value(answer)
        .map_err(|error| Failure::new(Exit::Failure, format!("the answer was not understood: {error}")))
}

async fn ask<T: DeserializeOwned>(client: &Client, request: &Request) -> Result<T, Failure> {
    client.ask(request, |_| ()).await.and_then(understood)
}

fn print(globals: &Globals, started: &StartedView, verbose: bool) {
    if globals.json {
        terminal::json(started);
        return;
    }
    started.notes.iter().for_each(|note| terminal::note(note));
    let mut pools = started.pools.iter();
    match pools.next() {
        Some(pool) => shown(pool, verbose).iter().for_each(|line| terminal::line(line)),
        None => terminal::line(&started.message),
    }
    let others: Vec<&str> = pools.map(|pool| pool.name.as_str()).collect();
    if !others.is_empty() {
        terminal::line(&format!("on besides: {}", others.join(", ")));
    }
    terminal::line(
        "next: `wfengine runner status` shows how it gets on; `wfengine runner stop` starts no more",
    );
}

/// A pool that is on, for people.
fn shown(pool: &PoolView, verbose: bool) -> Vec<String> {
    let on_all = pool.cluster_max.map(|max| format!(", {max} in the cluster")).unwrap_or_default();
    let idle =
        if pool.min_idle > 0 { format!(", {} of them kept waiting", pool.min_idle) } else { String::new() };
    let mut lines = vec![
        format!("pool {} is on: looks every {} s", pool.name, pool.interval_s),
        format!("  jobs of   {}", pool.scopes.join(", ")),
        format!("  labels    {}", pool.labels.join(", ")),
        format!("  at most   {} runners here{on_all}{idle}", pool.max_runners),
        format!("  image     {}", pool.image),
    ];
    if verbose {
        lines.push(format!("  network   {}", pool.network));
        lines.push(format!("  registers {}", pool.registration));
        let settings = pool.settings.as_object().into_iter().flatten();
        lines.extend(settings.map(|(name, value)| format!("  {name}: {value}")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_is_on_says_whose_jobs_it_takes_and_how_many() {
        let wishes =
            RunnerWishes { owners: ["octo".to_owned()].into(), cluster_max: 30, ..RunnerWishes::default() };
        let pool = PoolView { min_idle: 2, ..wishes.view(0) };
        let lines = shown(&pool, false);
        assert_eq!(lines.first().unwrap(), "pool default is on: looks every 120 s");
        assert_eq!(lines.get(1).unwrap(), "  jobs of   octo");
        assert_eq!(
            lines.get(3).unwrap(),
            "  at most   10 runners here, 30 in the cluster, 2 of them kept waiting"
        );
        assert_eq!(lines.len(), 5);
        assert!(shown(&pool, true).iter().any(|line| line == "  interval_s: 120"));
    }
}
