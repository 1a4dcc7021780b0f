//! What commands and webhooks ask of the loop.

use std::collections::BTreeSet;

use tokio::sync::oneshot;
use wfengine_api::answers::runners::{ProvisionView, ProvisionedView, RotatedRunnerView, RotatedView};
use wfengine_autoscaler::{Fault, look};

use super::Service;
use crate::node::autoscaler::{Order, shown};

impl Service {
    pub(super) async fn obey(&mut self, order: Order) {
        match order {
            Order::Heard { repository } => {
                for running in self.running.values() {
                    let _ = running.pokes.send(BTreeSet::from([repository.clone()]));
                }
            }
            Order::Provision { repositories, answer } => self.provision(repositories, answer).await,
            Order::Stop { name, force, answer } => {
                let asked: Vec<_> = self
                    .running
                    .values_mut()
                    .map(|running| running.scaler.stop_runner(&name, force))
                    .collect();
                tokio::spawn(async move {
                    let mut stopped = Err(Fault {
                        reason: "unknown".to_owned(),
                        what: format!("{name} is no runner of this host"),
                        remedy: "see wfengine runner list-containers".to_owned(),
                    });
                    for one in asked {
                        // a pool that knows it not says so at once
                        match one.await {
                            Ok(Err(fault)) if fault.reason == "unknown" => {}
                            Ok(said) => stopped = said,
                            Err(_) => {}
                        }
                    }
                    let _ = answer.send(stopped);
                });
            }
            Order::Rotate { outdated, answer } => {
                let mut view = RotatedView { success: true, ..RotatedView::default() };
                for (pool, running) in &mut self.running {
                    let why =
                        if outdated { "its image is another than the pool's" } else { "it was asked for" };
                    let names = running.scaler.rotate(outdated).await;
                    view.runners.extend(names.into_iter().map(|name| RotatedRunnerView {
                        name,
                        pool: pool.clone(),
                        what: "draining".to_owned(),
                        why: why.to_owned(),
                    }));
                }
                view.message = match view.runners.len() {
                    0 => "no runner has to be replaced".to_owned(),
                    many => format!(
                        "{many} runners go as soon as they have no job; others take their place when jobs wait"
                    ),
                };
                let _ = answer.send(view);
            }
        }
    }

    /// A runner for each of these, or for each repository where jobs wait. Answered when all of them run or do not.
    async fn provision(&mut self, repositories: Vec<String>, answer: oneshot::Sender<ProvisionView>) {
        let mut view = ProvisionView::default();
        let mut expected = Vec::new();
        let Some(running) = self.running.values_mut().find(|running| running.wishes.on) else {
            view.notes.push("no pool is on: `wfengine runner start`".to_owned());
            let _ = answer.send(view);
            return;
        };
        let repositories = if repositories.is_empty() {
            let board = look::held(running.scaler.board());
            let waiting: BTreeSet<String> =
                board.jobs.values().map(|seen| seen.job.repository.clone()).collect();
            waiting.into_iter().collect()
        } else {
            repositories
        };
        for repository in repositories {
            let scope = running.scaler.pool().scope_of(&repository).to_string();
            let runs = look::held(running.scaler.board())
                .repositories
                .get(&repository)
                .map_or(0, |seen| u64::from(seen.queued_runs + seen.running_runs));
            expected.push((repository, runs, running.scaler.provision(scope)));
        }
        tokio::spawn(async move {
            for (repository, workflows, started) in expected {
                let provisioned = match started.await {
                    Ok(Ok((name, container))) => ProvisionedView {
                        status: "provisioned".to_owned(),
                        container_id: Some(container.chars().take(12).collect()),
                        token_generated: true,
                        workflows,
                        message: format!("runner {name} runs"),
                        name,
                    },
                    Ok(Err(fault)) => {
                        let is_token = fault.reason.starts_with("github-");
                        let condition = shown::condition_of(&fault, &repository);
                        ProvisionedView {
                            status: if is_token { "token_failed" } else { "failed" }.to_owned(),
                            token_generated: !is_token,
                            workflows,
                            message: condition,
                            ..ProvisionedView::default()
                        }
                    }
                    Err(_) => ProvisionedView {
                        status: "failed".to_owned(),
                        workflows,
                        message: "the node is stopping".to_owned(),
                        ..ProvisionedView::default()
                    },
                };
                view.results.insert(repository, provisioned);
            }
            let _ = answer.send(view);
        });
    }
}
