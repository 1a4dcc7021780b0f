//! What this host's autoscaler is to do, pool by pool: as a command says it, and as the settings keep it.
//!
//! Every option of `runner start` is a field here, with the same defaults. Nothing here looks at GitHub or at the engine.
//!
//! Invariant: wishes that [`RunnerWishes::check`] lets pass open the host to jobs only where `insecure` is set, and
//! [`RunnerWishes::gives_away`] says how.

mod check;
mod egress;
mod idle;
mod pool;
mod privileges;
mod quantity;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use wfengine_api::answers::runners::PoolView;
use wfengine_api::{Failure, GithubWishes};
use wfengine_autoscaler::pool::{
    Contract, DockerAccess, Pull, Register, Registration, RunnerNetwork, system_labels,
};

use crate::args::{GithubArgs, RunnerStartArgs};
use crate::node::discovery::github_wishes;
pub(crate) use egress::Egress;
pub(crate) use idle::IdleFloor;
use quantity::{bytes, cpus_milli, duration_within_ms, within};

/// A variable of the older program: the network of containers.
pub(crate) const NETWORK_VARIABLE: &str = "RUNNER_DOCKER_NETWORK_MODE";

/// How containers are made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ContainerWishes {
    pub(crate) image: String,
    pub(crate) image_contract: Contract,
    /// The image's if not set; never root.
    pub(crate) user: Option<String>,
    pub(crate) pull: Pull,
    pub(crate) registry_credentials: Option<PathBuf>,
    /// Swap included.
    pub(crate) memory_bytes: u64,
    pub(crate) cpus_milli: u32,
    pub(crate) pids: u32,
    pub(crate) workspace_bytes: u64,
    /// Inside the container; relative to where the runner lies.
    pub(crate) work_dir: String,
    pub(crate) job_timeout_ms: u64,
    pub(crate) idle_timeout_ms: u64,
    pub(crate) start_timeout_ms: u64,
    pub(crate) docker: DockerAccess,
    /// Needs [`DockerAccess::RootlessSidecar`]; empty: the default one.
    pub(crate) sidecar_image: Option<String>,
    /// Without `CAP_`, in capitals.
    pub(crate) capabilities: BTreeSet<String>,
    /// Turns no-new-privileges off.
    pub(crate) allow_privilege_gain: bool,
}

impl Default for ContainerWishes {
    fn default() -> Self {
        Self {
            image: "ghcr.io/actions/actions-runner:latest".to_owned(),
            image_contract: Contract::Auto,
            user: None,
            pull: Pull::Missing,
            registry_credentials: None,
            memory_bytes: 4 << 30,
            cpus_milli: 4_000,
            pids: 512,
            workspace_bytes: 20 << 30,
            work_dir: "_work".to_owned(),
            job_timeout_ms: 6 * 3_600_000,
            idle_timeout_ms: 600_000,
            start_timeout_ms: 120_000,
            docker: DockerAccess::None,
            sidecar_image: None,
            capabilities: BTreeSet::new(),
            allow_privilege_gain: false,
        }
    }
}

/// What containers reach.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct NetworkWishes {
    pub(crate) mode: RunnerNetwork,
    pub(crate) host_ports: BTreeSet<u16>,
    pub(crate) host_access: bool,
    /// These and nothing else; empty: everything outside of this host.
    pub(crate) egress: BTreeSet<Egress>,
    /// An address or `host-gateway` by name.
    pub(crate) extra_hosts: BTreeMap<String, String>,
}

/// Whose jobs may run.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct AllowWishes {
    /// These, even though they are public.
    pub(crate) repositories: BTreeSet<String>,
    pub(crate) public: bool,
    pub(crate) forks: bool,
}

/// One pool: runners with one set of settings.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RunnerWishes {
    /// Start runners. A pool that was stopped keeps the rest.
    pub(crate) on: bool,
    pub(crate) pool: String,
    pub(crate) owners: BTreeSet<String>,
    pub(crate) repositories: BTreeSet<String>,
    pub(crate) since_days: u32,
    /// Besides those of every runner here: see [`RunnerWishes::all_labels`].
    pub(crate) labels: Vec<String>,
    pub(crate) no_arch_filter: bool,
    pub(crate) no_p2p: bool,
    pub(crate) allow: AllowWishes,
    pub(crate) interval_s: u64,
    pub(crate) max_runners: u32,
    /// 0: none.
    pub(crate) cluster_max: u32,
    pub(crate) min_idle: IdleFloor,
    pub(crate) reserve_memory_bytes: u64,
    pub(crate) reserve_cpus_milli: u32,
    pub(crate) container: ContainerWishes,
    pub(crate) network: NetworkWishes,
    pub(crate) register: Register,
    pub(crate) runner_group: u64,
    pub(crate) registration: Registration,
    /// Where runners reach the GitHub, if not where this host does.
    pub(crate) runner_url: Option<String>,
    /// `unix://` and a path.
    pub(crate) docker_host: Option<String>,
    pub(crate) insecure: bool,
    pub(crate) github: GithubWishes,
}

impl Default for RunnerWishes {
    fn default() -> Self {
        Self {
            on: false,
            pool: "default".to_owned(),
            owners: BTreeSet::new(),
            repositories: BTreeSet::new(),
            since_days: 1,
            labels: Vec::new(),
            no_arch_filter: false,
            no_p2p: false,
            allow: AllowWishes::default(),
            interval_s: 120,
            max_runners: 10,
            cluster_max: 0,
            min_idle: IdleFloor::default(),
            reserve_memory_bytes: 512 << 20,
            reserve_cpus_milli: 0,
            container: ContainerWishes::default(),
            network: NetworkWishes::default(),
            register: Register::Repository,
            runner_group: 1,
            registration: Registration::Jit,
            runner_url: None,
            docker_host: None,
            insecure: false,
            github: GithubWishes::default(),
        }
    }
}

fn wrong(option: &str, text: &str, expected: &str) -> Failure {
    Failure::bad_input(format!("{option} {text}: expected {expected}"))
}

/// One of a few words.
fn word<T: Copy>(option: &str, text: &str, words: &[(&str, T)]) -> Result<T, Failure> {
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        wrong(option, text, &known.join(", "))
    })
}

/// A file that is there, by its whole path.
fn file(option: &str, path: PathBuf) -> Result<PathBuf, Failure> {
    let path = std::path::absolute(&path).map_err(|error| Failure::io("find", &path, &error))?;
    if path.is_file() {
        Ok(path)
    } else {
        Err(Failure::bad_input(format!("{option} {}: there is no such file", path.display())))
    }
}

/// `own`, `none`, `host`, or the name of a network; `bridge` and `default` are the engine's own.
fn network_mode(option: &str, text: &str) -> Result<RunnerNetwork, Failure> {
    Ok(match text {
        "own" => RunnerNetwork::Own,
        "none" => RunnerNetwork::None,
        "host" => RunnerNetwork::Host,
        "default" => RunnerNetwork::Named("bridge".to_owned()),
        name if is_network(name) => RunnerNetwork::Named(name.to_owned()),
        _ => return Err(wrong(option, text, "own, none, host, or the name of a network at the engine")),
    })
}

fn is_network(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    name.len() <= 128 && name.bytes().all(fits) && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

fn extra_host(text: &str) -> Result<(String, String), Failure> {
    let is_name = |name: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        (1..=253).contains(&name.len()) && name.bytes().all(fits)
    };
    let is_address = |address: &str| address == "host-gateway" || address.parse::<IpAddr>().is_ok();
    text.split_once(':')
        .filter(|(name, address)| is_name(name) && is_address(address))
        .map(|(name, address)| (name.to_owned(), address.to_owned()))
        .ok_or_else(|| {
            wrong("--extra-host", text, "NAME:ADDRESS, such as cache:10.0.0.5 or github.test:host-gateway")
        })
}

impl RunnerWishes {
    /// What a command says. `network` is the network where it names none, as [`NETWORK_VARIABLE`] has it.
    pub(crate) fn of(args: RunnerStartArgs, network: Option<&str>) -> Result<Self, Failure> {
        let mode = match (&args.network, network) {
            (Some(text), _) => network_mode("--network", text)?,
            (None, Some(text)) => network_mode(NETWORK_VARIABLE, text)?,
            (None, None) => RunnerNetwork::Own,
        };
        let container = ContainerWishes {
            image: args.image,
            image_contract: word(
                "--image-contract",
                &args.image_contract,
                &[
                    ("official", Contract::Official),
                    ("third-party", Contract::ThirdParty),
                    ("auto", Contract::Auto),
                ],
            )?,
            user: args.user,
            pull: word(
                "--pull",
                &args.pull,
                &[("missing", Pull::Missing), ("always", Pull::Always), ("never", Pull::Never)],
            )?,
            registry_credentials: args
                .registry_credentials
                .map(|path| file("--registry-credentials", path))
                .transpose()?,
            memory_bytes: bytes("--memory", &args.memory)?,
            cpus_milli: cpus_milli("--cpus", &args.cpus)?,
            pids: args.pids,
            workspace_bytes: bytes("--workspace-size", &args.workspace_size)?,
            work_dir: args.work_dir,
            job_timeout_ms: duration_within_ms("--job-timeout", &args.job_timeout, "5d")?,
            idle_timeout_ms: duration_within_ms("--idle-timeout", &args.idle_timeout, "1d")?,
            start_timeout_ms: duration_within_ms("--start-timeout", &args.start_timeout, "1h")?,
            docker: word(
                "--docker",
                &args.docker,
                &[
                    ("none", DockerAccess::None),
                    ("rootless-sidecar", DockerAccess::RootlessSidecar),
                    ("socket", DockerAccess::Socket),
                ],
            )?,
            sidecar_image: args.sidecar_image,
            capabilities: args
                .cap_add
                .iter()
                .map(|text| privileges::capability(text))
                .collect::<Result<_, _>>()?,
            allow_privilege_gain: args.allow_privilege_gain,
        };
        let wishes = Self {
            on: true,
            pool: args.pool,
            owners: args.owner.into_iter().collect(),
            repositories: args.repo.into_iter().collect(),
            since_days: args.since_days,
            labels: args.labels.iter().map(|label| label.trim().to_owned()).collect(),
            no_arch_filter: args.no_arch_filter,
            no_p2p: args.no_p2p,
            allow: AllowWishes {
                repositories: args.allow_repo.into_iter().collect(),
                public: args.allow_public,
                forks: args.allow_forks,
            },
            interval_s: args.interval,
            max_runners: args.max_runners,
            cluster_max: args.cluster_max.map_or(Ok(0), |max| within("--cluster-max", max, 1, 100_000))?,
            min_idle: IdleFloor::read(&args.min_idle, &args.timezone)?,
            reserve_memory_bytes: bytes("--reserve-memory", &args.reserve_memory)?,
            reserve_cpus_milli: cpus_milli("--reserve-cpus", &args.reserve_cpus)?,
            container,
            network: NetworkWishes {
                mode,
                host_ports: args.allow_host_port.into_iter().collect(),
                host_access: args.allow_host_access,
                egress: args.egress.iter().map(|text| text.parse()).collect::<Result<_, _>>()?,
                extra_hosts: args.extra_host.iter().map(|text| extra_host(text)).collect::<Result<_, _>>()?,
            },
            register: word(
                "--register",
                &args.register,
                &[("repository", Register::Repository), ("organization", Register::Organization)],
            )?,
            runner_group: args.runner_group,
            registration: word(
                "--registration",
                &args.registration,
                &[("jit", Registration::Jit), ("token", Registration::Token)],
            )?,
            runner_url: args.runner_url,
            docker_host: args.docker_host,
            insecure: args.insecure,
            github: github_wishes(GithubArgs {
                token_file: args.token_file,
                api: args.api,
                ca_file: args.ca_file,
                insecure: args.insecure,
            })?,
        };
        wishes.check()?;
        Ok(wishes)
    }

    /// The pool at a unix second, for people to read.
    pub(crate) fn view(&self, now_s: u64) -> PoolView {
        let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        PoolView {
            name: self.pool.clone(),
            scopes: self.scopes(),
            labels: self.all_labels(),
            image: self.container.image.clone(),
            max_runners: self.max_runners,
            cluster_max: Some(self.cluster_max).filter(|max| *max > 0),
            min_idle: self.min_idle.at(now_s),
            interval_s: self.interval_s,
            network: network_word(&self.network.mode).to_owned(),
            registration: word(serde_json::json!(self.as_pool().policy.registration())),
            settings: serde_json::json!(self),
        }
    }

    /// What it gives away of this host or of GitHub, in words for whoever turns it on.
    pub(crate) fn gives_away(&self) -> Vec<String> {
        privileges::given_away(self)
    }

    /// The labels that runners register with: those of every runner here, then the pool's own.
    pub(crate) fn all_labels(&self) -> Vec<String> {
        let architecture = crate::home::system_labels().pop().unwrap_or_default();
        let mut labels: Vec<String> = Vec::new();
        for label in system_labels(&architecture).into_iter().chain(self.labels.iter().cloned()) {
            if !labels.iter().any(|known| known.eq_ignore_ascii_case(&label)) {
                labels.push(label);
            }
        }
        labels
    }
}

/// A network as people name it.
pub(crate) fn network_word(network: &RunnerNetwork) -> &str {
    match network {
        RunnerNetwork::Own => "own",
        RunnerNetwork::None => "none",
        RunnerNetwork::Host => "host",
        RunnerNetwork::Named(name) => name,
    }
}

#[cfg(test)]
mod tests;
