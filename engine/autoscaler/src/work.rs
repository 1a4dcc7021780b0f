//! What is done to one runner, from intent to removal, as tasks that know nothing of each other.
//!
//! Every task may be cut off after any of its steps: what it did is found again in the lists, and what it did not is done by another one.
//! So the order of steps matters: into the log before anything exists, out of GitHub before out of the engine, and "removed" last.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use wfengine_core::command::Command;
use wfengine_core::views::runners::Phase;
use wfengine_docker::{EngineError, EngineInfo, NetworkSpec, RegistryCredentials};
use wfengine_github::rest::{JitWanted, RunnerDeleted, RunnerScope};
use wfengine_github::{ApiError, Client};
use wfengine_storage_format::{
    EventId, PeerId, RunnerEnd, RunnerExited, RunnerIntended, RunnerJob, RunnerRemoved, RunnerStarted,
};
use wfengine_store::AskError;

use crate::container::{Making, STOP_GRACE, Ticket, secrets, without};
use crate::pool::{Pool, Pull, Registration};
use crate::port::{Containers, Host};

/// Bytes of a runner's output that are kept.
const LOG_BYTES_MAX: usize = 1024 * 1024;
/// Members that begin at the same moment see each other's intents after this long.
const SETTLE: Duration = Duration::from_millis(500);
/// What a runner prints when it has got a job, and when it has done it: of a long output only the end is there.
const JOB_LINES: [&[u8]; 2] = [b"Running job: ", b" completed with result: "];
/// How often a network is made again that the engine lost while it made it.
const NETWORK_TRIES: u32 = 3;
/// Characters of a reason in the log.
const REASON_MAX: usize = 1_000;

/// What all tasks of a pool share.
pub(crate) struct Shop<H, C> {
    pub(crate) host: Arc<H>,
    pub(crate) engine: C,
    pub(crate) client: Client,
    pub(crate) pool: Arc<Pool>,
    pub(crate) info: EngineInfo,
    pub(crate) credentials: Option<RegistryCredentials>,
}

/// Why something did not go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// A short word for the reason, by which it is waited out.
    pub reason: String,
    /// In words.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Self {
        Self { reason: format!("engine-{}", error.kind()), what: error.to_string(), remedy: error.remedy() }
    }
}

impl From<ApiError> for Fault {
    fn from(error: ApiError) -> Self {
        let (reason, remedy) = match &error {
            ApiError::Limited { .. } => ("limit", "wait: it goes on by itself when the limit ends"),
            ApiError::Unauthorised { .. } => ("unauthorised", "log in: gh auth login, or set GITHUB_TOKEN"),
            ApiError::MissingPermission { .. } | ApiError::Forbidden { .. } | ApiError::Sso { .. } => (
                "permission",
                "give the token the permission to administer runners of this repository or organisation",
            ),
            ApiError::NotFound { .. } => (
                "not-found",
                "check that the repository exists and that the token may administer it: gh auth status",
            ),
            ApiError::Conflict { .. } => ("name-taken", "nothing: another name is taken"),
            _ if error.is_transient() => ("unreachable", "nothing: it is tried again"),
            _ => ("refused", "see what GitHub says"),
        };
        Self { reason: format!("github-{reason}"), what: error.to_string(), remedy: remedy.to_owned() }
    }
}

impl From<AskError> for Fault {
    fn from(error: AskError) -> Self {
        let remedy = "see `wfengine status`: the node's own log does not take it".to_owned();
        Self { reason: "log".to_owned(), what: error.to_string(), remedy }
    }
}

/// Authors of live runners that live themselves. The scheduler is asked while no view is held: it looks at them too.
pub(crate) fn alive<H: Host>(host: &H) -> BTreeSet<PeerId> {
    let authors: BTreeSet<PeerId> = {
        let views = host.watcher().views();
        views.runners().live().map(|runner| runner.author).collect()
    };
    authors.into_iter().filter(|author| host.is_alive(author)).collect()
}

/// What came of a task.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Done {
    /// Its container runs; its id.
    Started(String),
    /// It will not start, and the log says so.
    NotStarted(Fault),
    /// An image was pulled, or why not.
    Pulled(Option<Fault>),
    /// It goes on as it is.
    Unchanged,
    /// It has ended, and the log says so. Whether it was a failure.
    Concluded(Option<Fault>),
    /// GitHub keeps it: it has just got a job.
    Kept,
    /// Nothing of it is left, and the log says so.
    Removed,
    /// It did not go; it is tried again.
    Again(Fault),
}

fn short(text: &str) -> String {
    text.chars().take(REASON_MAX).collect()
}

impl<H: Host, C: Containers> Shop<H, C> {
    fn scope(scope: &str) -> Result<RunnerScope, Fault> {
        Ok(RunnerScope::parse(scope)?)
    }

    /// The address of the GitHub for people, as runners reach it.
    fn github_url(&self) -> String {
        match &self.pool.github_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => {
                let clone = self.client.clone_url("o/r");
                clone.strip_suffix("/o/r.git").unwrap_or(&clone).to_owned()
            }
        }
    }

    /// Registers, makes and starts a runner whose intent is in the log.
    pub(crate) async fn start(&self, intent: EventId, intended: &RunnerIntended) -> Done {
        match self.try_start(intent, intended).await {
            Ok(container) => Done::Started(container),
            Err(fault) => {
                let what = short(&fault.what);
                let exited =
                    RunnerExited { intent, end: RunnerEnd::NeverStarted { what }, log: None, ran: None };
                match self.host.ask(Command::ExitRunner(exited)).await {
                    Ok(_) => Done::NotStarted(fault),
                    Err(error) => Done::Again(error.into()),
                }
            }
        }
    }

    async fn try_start(&self, intent: EventId, intended: &RunnerIntended) -> Result<String, Fault> {
        self.wait_for_the_cluster(intent).await?;
        let image = match self.pool.policy.pull {
            Pull::Always => self.engine.pull(&self.pool.policy.image, self.credentials.as_ref()).await?,
            Pull::Missing | Pull::Never => self.engine.image(&self.pool.policy.image).await?,
        };
        let peer = self.host.peer().to_string();
        let github_url = self.github_url();
        let making = Making {
            pool: &self.pool,
            info: &self.info,
            image: &image.id,
            intent,
            peer: &peer,
            name: &intended.name,
            scope: &intended.scope,
            github_url: &github_url,
        };
        // what costs nothing comes before what GitHub counts
        if let Some(network) = making.network() {
            self.make_network(&network).await?;
        }
        self.engine.create_volume(&intended.name, &making.labels()).await?;
        let beside = match making.sidecar() {
            None => None,
            Some(spec) => {
                let id = self.engine.create_container(&Making::sidecar_name(&intended.name), &spec).await?;
                self.engine.open_folder(&id, &making.work_folder()).await?;
                self.engine.start_container(&id).await?;
                Some(id)
            }
        };
        let scope = Self::scope(&intended.scope)?;
        let (ticket, runner) = match self.pool.policy.registration() {
            Registration::Jit => {
                let wanted = JitWanted {
                    name: intended.name.clone(),
                    runner_group_id: self.pool.runner_group,
                    labels: intended.labels.clone(),
                    work_folder: Some(self.pool.policy.work_dir.clone()),
                };
                let made = self.client.jit_config(&scope, &wanted).await?;
                (Ticket::Jit(made.encoded.expose().to_owned()), made.runner.id)
            }
            Registration::Token => {
                let token = self.client.registration_token(&scope).await?;
                (Ticket::Token(token.token.expose().to_owned()), 0)
            }
        };
        let spec = making.runner(&ticket, beside.as_deref());
        let container = self.engine.create_container(&intended.name, &spec).await?;
        if beside.is_none() {
            self.engine.open_folder(&container, &making.work_folder()).await?;
        }
        self.engine.start_container(&container).await?;
        let started = RunnerStarted { intent, runner, container: container.clone(), image: image.id.clone() };
        self.host.ask(Command::StartRunner(started)).await?;
        Ok(container)
    }

    /// An engine that makes and removes several networks at a time says now and then that the one it is just making is not there.
    async fn make_network(&self, network: &NetworkSpec) -> Result<(), EngineError> {
        let mut tries = 0;
        loop {
            match self.engine.create_network(network).await {
                Err(EngineError::NoSuch { .. }) if tries < NETWORK_TRIES => {
                    tries += 1;
                    // what there may be of it would hold the name
                    self.engine.remove_network(&network.name).await?;
                }
                made => return made.map(|_| ()),
            }
        }
    }

    /// Where all hosts together have a bound, those that began at the same moment sort out who goes on.
    async fn wait_for_the_cluster(&self, intent: EventId) -> Result<(), Fault> {
        let most = self.pool.cluster_max;
        if most == 0 {
            return Ok(());
        }
        let earlier: BTreeSet<EventId> = {
            let views = self.host.watcher().views();
            views.runners().live().map(|runner| runner.intent).filter(|known| *known != intent).collect()
        };
        self.host.sleep(SETTLE).await;
        let alive = alive(&*self.host);
        let before = {
            let views = self.host.watcher().views();
            let lives = |peer| alive.contains(peer);
            let of_pool = views.runners().live().filter(|runner| {
                runner.intended.pool == self.pool.name
                    && lives(&runner.author)
                    && runner.phase() < Phase::Exited
            });
            of_pool
                .filter(|runner| {
                    runner.phase() == Phase::Started
                        || earlier.contains(&runner.intent)
                        || runner.intent < intent
                })
                .count()
        };
        if before < most as usize {
            return Ok(());
        }
        Err(Fault {
            reason: "cluster".to_owned(),
            what: format!("all hosts together have their {most} runners of this pool"),
            remedy: "raise --cluster-max".to_owned(),
        })
    }

    /// Takes over what an earlier process started.
    pub(crate) async fn adopt(
        &self,
        intent: EventId,
        intended: &RunnerIntended,
        container: &str,
        image: &str,
    ) -> Done {
        let adopted = async {
            let runner = self.client.runner_named(&Self::scope(&intended.scope)?, &intended.name).await?;
            let started = RunnerStarted {
                intent,
                runner: runner.map_or(0, |runner| runner.id),
                container: container.to_owned(),
                image: image.to_owned(),
            };
            self.host.ask(Command::StartRunner(started)).await?;
            Ok::<(), Fault>(())
        };
        adopted.await.map_or_else(Done::Again, |()| Done::Unchanged)
    }

    /// What an earlier process did not bring to its start is given up.
    pub(crate) async fn give_up(&self, intent: EventId) -> Done {
        let what = "the node ended while it was being started".to_owned();
        let exited = RunnerExited { intent, end: RunnerEnd::NeverStarted { what }, log: None, ran: None };
        match self.host.ask(Command::ExitRunner(exited)).await {
            Ok(_) => Done::Concluded(None),
            Err(error) => Done::Again(error.into()),
        }
    }

    /// Keeps what it printed and writes down how it ended.
    pub(crate) async fn conclude(
        &self,
        intent: EventId,
        name: &str,
        end: RunnerEnd,
        ran: Option<RunnerJob>,
        fault: Option<Fault>,
    ) -> Done {
        let (log, _) = self.keep_log(name).await;
        self.write_end(RunnerExited { intent, end, log, ran }, fault).await
    }

    /// As [`Self::conclude`], for one that ended with 0 and was not seen to have a job: what it printed tells whether it had one.
    pub(crate) async fn conclude_unseen(&self, intent: EventId, name: &str) -> Done {
        let (log, had_a_job) = self.keep_log(name).await;
        if had_a_job {
            let end = RunnerEnd::Done { exit_code: 0 };
            return self.write_end(RunnerExited { intent, end, log, ran: None }, None).await;
        }
        let what = "ended without having had a job".to_owned();
        let fault = Fault {
            reason: "runner".to_owned(),
            what: format!("Container failed to start: {name} {what}"),
            remedy: format!("see what it printed: wfengine runner logs {name}"),
        };
        self.write_end(RunnerExited { intent, end: RunnerEnd::Failed { what }, log, ran: None }, Some(fault))
            .await
    }

    async fn write_end(&self, exited: RunnerExited, fault: Option<Fault>) -> Done {
        match self.host.ask(Command::ExitRunner(exited)).await {
            Ok(_) => Done::Concluded(fault),
            Err(error) => Done::Again(error.into()),
        }
    }

    /// Its output without what it registered with, and whether it tells of a job. A log that cannot be had is none.
    async fn keep_log(&self, name: &str) -> (Option<wfengine_storage_format::BlobId>, bool) {
        let printed = match self.engine.logs_tail(name, LOG_BYTES_MAX).await {
            Ok(printed) if !printed.is_empty() => printed,
            Ok(_) => return (None, false),
            Err(error) => {
                tracing::debug!(%error, name, "what a runner printed is not kept");
                return (None, false);
            }
        };
        let environment = match self.engine.environment(name).await {
            Ok(environment) => environment,
            Err(error) => {
                tracing::debug!(%error, name, "what a runner printed is not kept: what in it is secret is not known");
                return (None, false);
            }
        };
        // as the runner's own program says it
        let has = |line: &&[u8]| printed.windows(line.len()).any(|window| window == *line);
        let had_a_job = JOB_LINES.iter().any(has);
        let bytes = without(&secrets(environment), printed);
        let kept = self.host.blobs().put(&bytes);
        if let Err(error) = &kept {
            tracing::warn!(%error, name, "what a runner printed is not kept");
        }
        (kept.ok(), had_a_job)
    }

    /// Out of GitHub first. If it has just got a job it stays; else its container ends.
    pub(crate) async fn drain(
        &self,
        intent: EventId,
        intended: &RunnerIntended,
        id: u64,
        why: &str,
        is_fault: bool,
    ) -> Done {
        let deleted = match Self::scope(&intended.scope) {
            Ok(scope) => self.client.delete_runner(&scope, id).await.map_err(Fault::from),
            Err(fault) => Err(fault),
        };
        match deleted {
            Ok(RunnerDeleted::Busy) => Done::Kept,
            Ok(RunnerDeleted::Deleted | RunnerDeleted::AlreadyGone) => {
                self.end(intent, &intended.name, why, is_fault, STOP_GRACE, None).await
            }
            Err(fault) => Done::Again(fault),
        }
    }

    /// Ends a container, and writes down why.
    pub(crate) async fn end(
        &self,
        intent: EventId,
        name: &str,
        why: &str,
        is_fault: bool,
        grace: Duration,
        ran: Option<RunnerJob>,
    ) -> Done {
        if let Err(error) = self.engine.stop_container(name, grace).await {
            return Done::Again(error.into());
        }
        let end = if is_fault {
            RunnerEnd::Failed { what: why.to_owned() }
        } else {
            RunnerEnd::Stopped { why: why.to_owned() }
        };
        // what a job did to its runner is no reason for others to wait
        let fault = (is_fault && ran.is_none()).then(|| Fault {
            reason: "runner".to_owned(),
            what: why.to_owned(),
            remedy: format!("see what it printed: wfengine runner logs {name}"),
        });
        self.conclude(intent, name, end, ran, fault).await
    }

    /// Removes what is left of a runner that has ended. The log says so when there is nothing any more.
    pub(crate) async fn clean(&self, intent: EventId, intended: &RunnerIntended, runner: u64) -> Done {
        match self.try_clean(intent, intended, runner).await {
            Ok(()) => Done::Removed,
            Err(fault) => Done::Again(fault),
        }
    }

    async fn try_clean(&self, intent: EventId, intended: &RunnerIntended, runner: u64) -> Result<(), Fault> {
        self.remove_container_parts(&intended.name).await?;
        let scope = Self::scope(&intended.scope)?;
        let registered = match runner {
            0 => self.client.runner_named(&scope, &intended.name).await,
            id => self.client.runner(&scope, id).await,
        };
        let registered = match registered {
            Ok(registered) => registered,
            // a repository that is gone took its runners along
            Err(ApiError::NotFound { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(registered) = registered
            && self.client.delete_runner(&scope, registered.id).await? == RunnerDeleted::Busy
        {
            return Err(Fault {
                reason: "github-busy".to_owned(),
                what: format!("GitHub holds {} for busy although it has ended", intended.name),
                remedy: "nothing: GitHub gives its job up after some minutes".to_owned(),
            });
        }
        self.host.ask(Command::RemoveRunner(RunnerRemoved { intent })).await?;
        Ok(())
    }

    /// Removes containers, network and volume of this name.
    pub(crate) async fn remove_container_parts(&self, name: &str) -> Result<(), Fault> {
        self.engine.remove_container(name).await?;
        self.engine.remove_container(&Making::sidecar_name(name)).await?;
        self.engine.remove_network(name).await?;
        self.engine.remove_volume(name).await?;
        Ok(())
    }

    /// Ends a container whose registration no list shows any more, if GitHub says of it alone that it is gone.
    pub(crate) async fn end_unregistered(
        &self,
        intent: EventId,
        intended: &RunnerIntended,
        id: u64,
        why: &str,
        ran: Option<RunnerJob>,
    ) -> Done {
        let registered = match Self::scope(&intended.scope) {
            Ok(scope) if id == 0 => self.client.runner_named(&scope, &intended.name).await,
            Ok(scope) => self.client.runner(&scope, id).await,
            Err(fault) => return Done::Again(fault),
        };
        match registered {
            // a list may miss one between two pages
            Ok(Some(_)) => Done::Kept,
            Ok(None) | Err(ApiError::NotFound { .. }) => {
                self.end(intent, &intended.name, why, true, Duration::from_secs(1), ran).await
            }
            Err(error) => Done::Again(error.into()),
        }
    }

    /// Ends a runner that may have a job, which GitHub knows by its name.
    pub(crate) async fn drain_named(&self, intent: EventId, intended: &RunnerIntended, why: &str) -> Done {
        let registered = match Self::scope(&intended.scope) {
            Ok(scope) => self.client.runner_named(&scope, &intended.name).await.map_err(Fault::from),
            Err(fault) => Err(fault),
        };
        match registered {
            Ok(Some(runner)) => self.drain(intent, intended, runner.id, why, false).await,
            Ok(None) => self.end(intent, &intended.name, why, false, STOP_GRACE, None).await,
            Err(fault) => Done::Again(fault),
        }
    }

    /// Deletes a registration that no container stands behind.
    pub(crate) async fn delete_ghost(&self, scope: &str, id: u64) -> Result<(), Fault> {
        let scope = Self::scope(scope)?;
        // the list that it stood in may be old
        let is_there = |runner: wfengine_github::models::Runner| {
            runner.busy || runner.status == Some(wfengine_github::models::RunnerStatus::Online)
        };
        if !self.client.runner(&scope, id).await?.is_some_and(is_there) {
            self.client.delete_runner(&scope, id).await?;
        }
        Ok(())
    }
}
