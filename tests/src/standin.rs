//! A stand-in for GitHub: REST, GraphQL, git over HTTP and webhooks, with state, limits, faults and a clock that tests move.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use wfengine_tests::standin::{Options, RepositoryOptions, Standin, TokenKind};
//!
//! let github = Standin::start(Options::default()).await?;
//! github.add_repository("octo-org/one", &RepositoryOptions::default());
//! github.push("octo-org/one", "main", &[(".github/workflows/ci.yml", Some(b"on: push\njobs: {}\n"))], "first");
//! let token = github.token(&TokenKind::classic("octo-org"));
//! // point the product at `github.base_url()` with the token, then:
//! assert!(github.requests_during_limits().is_empty());
//! assert!(github.contract_problems().is_empty());
//! # let _ = token;
//! # Ok(())
//! # }
//! ```
//!
//! The path of a request: `serve` (who, limits, faults) → `rest` or `graphql` (operation, access, handler) → state →
//! answer → contract → log → network. Everything but the network happens under one lock and without waiting. Runners speak to
//! a face of their own, `runner_side`.
//!
//! What it does not do: run workflows (its runners only say that they did), take pushes over git, verify the web tokens of apps, speak TLS.
//!
//! Invariants: nothing depends on the machine's clock unless [`StandinClock::real`] is asked for; a request to a path that
//! GitHub does not have, or in a form that it does not describe, is a contract problem; so is an answer.

mod accounts;
mod actions;
mod answer;
mod call;
mod clock;
mod contract;
mod control;
mod driving;
mod errors;
mod faults;
mod fixture;
mod git;
mod graphql;
mod ids;
mod limits;
mod log;
mod repositories;
mod request;
mod rest;
mod results;
mod runner_side;
mod runners;
mod serve;
mod state;
mod webhooks;

use std::{
    env, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::Notify,
    task::{JoinHandle, JoinSet},
};

pub use accounts::{Level, Role, Selection, TokenKind};
pub use actions::{
    Progress, RunInfo,
    jobs::{JobInfo, WantedJob, WantedRun},
};
pub use clock::{START_SECONDS, StandinClock};
pub use contract::{ContractError, OUTSIDE_THE_SUBSET};
pub use errors::ErrorCase;
pub use faults::{Fault, FaultRule};
pub use git::Entry;
pub use ids::{
    AccountId, CheckRunId, HookId, InstallationId, JobId, RepositoryId, RunId, RunnerId, StatusId, WorkflowId,
};
pub use limits::{Bucket, DuringLimit, PrimaryLimits, SecondaryLimits};
pub use log::{Dispatched, Logged, RunnerRequest};
pub use repositories::RepositoryOptions;
pub use results::StatusSet;
pub use runners::{RunnerChange, RunnerEvent, RunnerInfo, RunnerPatience};
pub use state::StandinError;
pub use webhooks::Delivered;

use contract::Contract;
use limits::Limits;
use state::State;

/// Where GitHub's description comes from.
#[derive(Debug, Clone, Default)]
pub enum ContractSource {
    /// `json-schemas.json` in the folder that `WFENGINE_CORPUS` names; nothing is checked when it is not set.
    #[default]
    Environment,
    /// This file.
    File(PathBuf),
    /// Nothing is checked.
    Absent,
}

/// How a stand-in is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// Port on the loopback address; 0 takes a free one.
    pub port: u16,
    /// Whether it listens on every address, for containers, in place of the loopback address alone.
    pub listens_everywhere: bool,
    /// The name of the host as runners in containers know it, such as `github.test`; the address of this host otherwise.
    pub runner_host: Option<String>,
    /// The clock, which tests keep a clone of.
    pub clock: StandinClock,
    /// Against what requests and answers are held.
    pub contract: ContractSource,
    /// Limits by the hour.
    pub primary: PrimaryLimits,
    /// Limits by the minute. Off by default: with a clock that stands still a minute never ends.
    pub secondary: Option<SecondaryLimits>,
    /// Requests of one identity being worked on at once.
    pub concurrent_max: usize,
    /// The status of a primary limit: 403, or 429.
    pub limit_status: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            listens_everywhere: false,
            runner_host: None,
            clock: StandinClock::default(),
            contract: ContractSource::default(),
            primary: PrimaryLimits::default(),
            secondary: None,
            concurrent_max: 100,
            limit_status: 403,
        }
    }
}

/// Why there is no stand-in.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No port, or no scratch folder.
    #[error("the stand-in does not start: {0}")]
    Io(#[from] io::Error),
    /// The description cannot be used.
    #[error(transparent)]
    Contract(#[from] ContractError),
}

/// What connections, deliveries and tests share.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Address and port, as this process calls itself.
    host: String,
    webhooks_waiting: Notify,
    webhooks_quiet: Notify,
}

impl Shared {
    /// The state. A handler that broke off leaves it as it was then, which is good enough for a failing test.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.sweep() {
            self.webhooks_waiting.notify_one();
        }
        state
    }
}

/// A running stand-in. It ends when this is dropped.
pub struct Standin {
    shared: Arc<Shared>,
    clock: StandinClock,
    tasks: Vec<JoinHandle<()>>,
    _folder: TempDir,
}

impl Standin {
    /// Starts listening.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let contract = Contract::read(contract_file(&options.contract).as_deref())?;
        let address = if options.listens_everywhere { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
        let listener = TcpListener::bind(SocketAddr::from((address, options.port))).await?;
        let port = listener.local_addr()?.port();
        let host = format!("127.0.0.1:{port}");
        let folder = tempfile::tempdir()?;
        let limits = Limits::new(options.primary, options.secondary, options.concurrent_max);
        let base = format!("http://{host}");
        let mut state =
            State::new(options.clock.clone(), limits, contract, folder.path().to_path_buf(), base);
        state.limit_status = options.limit_status;
        state.runner_url = options.runner_host.map(|name| format!("http://{name}:{port}"));
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            host,
            webhooks_waiting: Notify::new(),
            webhooks_quiet: Notify::new(),
        });
        let tasks = vec![
            tokio::spawn(listen(listener, Arc::clone(&shared))),
            tokio::spawn(webhooks::deliver::run(Arc::clone(&shared))),
        ];
        Ok(Self { shared, clock: options.clock, tasks, _folder: folder })
    }

    /// `http://127.0.0.1:PORT`: what `https://api.github.com` is otherwise.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.shared.host)
    }

    /// `http://127.0.0.1:PORT/api/v3`: the same as an enterprise server offers it.
    pub fn enterprise_url(&self) -> String {
        format!("{}/api/v3", self.base_url())
    }

    /// What `https://github.com` is otherwise; repositories are cloned from `{git_url}/{owner}/{name}.git`.
    pub fn git_url(&self) -> String {
        self.base_url()
    }

    /// The clock, which only tests move.
    pub fn clock(&self) -> &StandinClock {
        &self.clock
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn contract_file(source: &ContractSource) -> Option<PathBuf> {
    match source {
        ContractSource::Absent => None,
        ContractSource::File(path) => Some(path.clone()),
        ContractSource::Environment => {
            let named = env::var_os("WFENGINE_CORPUS")?;
            // a relative folder counts from the top of the workspace, wherever a test runs
            let package = Path::new(env!("CARGO_MANIFEST_DIR"));
            let workspace = package.ancestors().find(|folder| folder.join("Cargo.lock").is_file());
            Some(workspace.unwrap_or(package).join(named).join("json-schemas.json"))
        }
    }
}

/// Takes connections until it is aborted, and with it they end.
async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        // a connection that is gone before it is taken is nobody's problem
        let Ok((stream, peer)) = listener.accept().await else { continue };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let answer = service_fn(move |request| serve::serve(Arc::clone(&shared), request, peer.ip()));
            // how a connection ends is between its two ends
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}
