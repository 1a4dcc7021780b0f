//! A pool: which jobs it serves, how many runners it may have, and how their containers are made.
//!
//! What members need to know of a pool is an event ([`wfengine_storage_format::PoolChanged`]); how its containers are made ([`Policy`])
//! is written there as JSON for people and for the node that comes back after a restart. No secret is part of either.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::Digest;
use wfengine_github::rest::RunnerScope;

use crate::idle::IdleRule;

/// What a pool looks at.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Watched {
    /// Everything that the credential sees.
    All,
    /// The repositories of a user or an organisation.
    Owner(String),
    /// One repository, `owner/name`.
    Repository(String),
}

impl std::fmt::Display for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Owner(name) | Self::Repository(name) => f.write_str(name),
        }
    }
}

/// Where runners are registered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Register {
    /// With the repository whose job waits.
    #[default]
    Repository,
    /// With its organisation: any of its jobs may be taken.
    Organization,
}

/// With what a runner registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Registration {
    /// A configuration that is good for one runner and one job. Nothing in the container can be used again.
    #[default]
    Jit,
    /// A registration token, good for an hour and any number of runners: a job that reads it can register its own.
    Token,
}

/// How an image wants to be told what to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contract {
    /// By the image's name: `myoung34/github-runner` is the third party's.
    #[default]
    Auto,
    /// GitHub's own image: `run.sh` with `ACTIONS_RUNNER_INPUT_JITCONFIG`.
    Official,
    /// `REPO_URL`, `RUNNER_TOKEN`, `LABELS`, `EPHEMERAL` and their like.
    ThirdParty,
}

/// When an image is fetched.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pull {
    /// When the engine has none of that name.
    #[default]
    Missing,
    /// Before every runner.
    Always,
    /// Never: somebody else brings it.
    Never,
}

/// What a runner may do with Docker.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DockerAccess {
    /// Nothing. Jobs with containers are not served.
    #[default]
    None,
    /// An engine of its own beside it, without root, gone with the runner.
    RootlessSidecar,
    /// This host's engine. Whoever has it is root on the host.
    Socket,
}

/// The network of a runner.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunnerNetwork {
    /// A bridge of its own, without a way to this host or to other runners.
    #[default]
    Own,
    /// None at all. A runner cannot reach GitHub then; for images that reach it another way.
    None,
    /// This host's. Its loopback services are the job's too.
    Host,
    /// One that the operator made.
    Named(String),
}

/// How the containers of a pool are made. The defaults are the safe ones.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// The image.
    pub image: String,
    /// How it is told what to do.
    pub contract: Contract,
    /// When it is fetched.
    pub pull: Pull,
    /// The user inside, instead of the image's; never 0.
    pub user: Option<String>,
    /// Bytes of memory; swap is part of it.
    pub memory_bytes: u64,
    /// Processors, in thousandths.
    pub cpus_milli: u32,
    /// Processes and threads.
    pub pids_max: u32,
    /// Bytes that its workspace and its own layer may grow to, looked at every few seconds.
    pub workspace_bytes: u64,
    /// A job may take so long, in milliseconds.
    pub job_timeout_ms: u64,
    /// A runner without a job is removed after so long, in milliseconds.
    pub idle_timeout_ms: u64,
    /// A runner has to be connected to GitHub so soon, in milliseconds.
    pub start_timeout_ms: u64,
    /// Its network.
    pub network: RunnerNetwork,
    /// Ports of this host that it may reach all the same.
    pub host_ports: BTreeSet<u16>,
    /// It may reach this host where that cannot be prevented.
    pub allows_host: bool,
    /// Where it may go; everywhere if empty. `ADDRESS/BITS` or `ADDRESS/BITS:PORT`.
    pub egress: Vec<String>,
    /// Names it knows besides, `NAME:ADDRESS`.
    pub extra_hosts: Vec<String>,
    /// Docker inside jobs.
    pub docker: DockerAccess,
    /// The image of the engine beside it.
    pub sidecar_image: String,
    /// Capabilities that it keeps.
    pub capabilities: Vec<String>,
    /// Programs inside may gain privileges (sudo).
    pub allows_privilege_gain: bool,
    /// The folder of its workspace inside, below the runner's own folder if it is no absolute path.
    pub work_dir: String,
    /// With what it registers.
    pub registration: Registration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            image: "ghcr.io/actions/actions-runner:latest".to_owned(),
            contract: Contract::Auto,
            pull: Pull::Missing,
            user: None,
            memory_bytes: 4 << 30,
            cpus_milli: 4_000,
            pids_max: 512,
            workspace_bytes: 20 << 30,
            job_timeout_ms: 6 * 3_600_000,
            idle_timeout_ms: 600_000,
            start_timeout_ms: 120_000,
            network: RunnerNetwork::Own,
            host_ports: BTreeSet::new(),
            allows_host: false,
            egress: Vec::new(),
            extra_hosts: Vec::new(),
            docker: DockerAccess::None,
            sidecar_image: "docker:28-dind-rootless".to_owned(),
            capabilities: Vec::new(),
            allows_privilege_gain: false,
            work_dir: "_work".to_owned(),
            registration: Registration::Jit,
        }
    }
}

impl Policy {
    /// How the image is told what to do.
    pub fn is_third_party(&self) -> bool {
        match self.contract {
            Contract::Official => false,
            Contract::ThirdParty => true,
            Contract::Auto => self.image.contains("myoung34/github-runner"),
        }
    }

    /// A short text that is another for another policy.
    pub fn digest(&self) -> String {
        let text = serde_json::to_vec(self).unwrap_or_default();
        data_encoding::HEXLOWER.encode(sha2::Sha256::digest(&text).get(..6).unwrap_or_default())
    }

    /// With what runners register. The third party's image knows tokens alone.
    pub fn registration(&self) -> Registration {
        if self.is_third_party() { Registration::Token } else { self.registration }
    }
}

/// A pool of this node.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Pool {
    /// What people call it.
    pub name: String,
    /// What it looks at.
    pub watched: Vec<Watched>,
    /// Where its runners are registered.
    pub register: Register,
    /// In which group of the organisation; 1 is the default one.
    pub runner_group: u64,
    /// What its runners offer.
    pub labels: Vec<String>,
    /// Its runners at once on this host.
    pub runners_max: u32,
    /// Its runners at once on all hosts together; 0 for no such bound.
    pub cluster_max: u32,
    /// Runners that wait for jobs, by time of day.
    pub idle: Vec<IdleRule>,
    /// Between two looks, in milliseconds.
    pub interval_ms: u64,
    /// Repositories without a push for so many days are looked at more seldom.
    pub since_days: u32,
    /// Owners and repositories whose jobs may run here although they are public.
    pub allowed: BTreeSet<String>,
    /// Jobs of public repositories may run here.
    pub allows_public: bool,
    /// Jobs of pull requests from forks may run here.
    pub allows_forks: bool,
    /// Workflows named for another architecture are left alone.
    pub filters_architecture: bool,
    /// Members' jobs share the runners of this host.
    pub shares_with_p2p: bool,
    /// Bytes of the engine's memory that runners leave to others.
    pub reserve_memory_bytes: u64,
    /// Processors that runners leave to others, in thousandths.
    pub reserve_cpus_milli: u32,
    /// Where the engine listens; the usual place if `None`.
    pub engine_socket: Option<String>,
    /// The group that may open it, for runners that get it.
    pub engine_group: Option<u32>,
    /// Under which address runners reach the GitHub, where it is another than this host's.
    pub github_url: Option<String>,
    /// How containers are made.
    pub policy: Policy,
}

impl Pool {
    /// The scope that a runner for a repository's job registers with.
    pub fn scope_of(&self, repository: &str) -> RunnerScope {
        match self.register {
            Register::Repository => RunnerScope::Repository(repository.to_owned()),
            Register::Organization => {
                RunnerScope::Organization(repository.split('/').next().unwrap_or(repository).to_owned())
            }
        }
    }

    /// Whether a runner of this pool could take a job: all that it asks for is offered, whatever the case of the letters.
    pub fn offers(&self, asked: &[String]) -> bool {
        offers(&self.labels, asked)
    }

    /// Whether jobs of a repository may run here at all.
    pub fn takes(&self, repository: &str, is_private: bool) -> bool {
        is_private || self.allows_public || names(&self.allowed, repository)
    }

    /// Between two looks.
    pub fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms.max(1_000))
    }
}

/// GitHub's rule: every label that a job asks for is among the runner's, without regard to case.
pub fn offers(labels: &[String], asked: &[String]) -> bool {
    let has = |asked: &String| labels.iter().any(|label| label.eq_ignore_ascii_case(asked));
    !asked.is_empty() && asked.iter().all(has)
}

/// What a host of this operating system and architecture offers without being told: GitHub's own words.
pub fn system_labels(architecture: &str) -> Vec<String> {
    ["self-hosted", "linux", architecture].map(str::to_owned).to_vec()
}

/// How many runners fit into a host's memory.
pub fn fitting(memory_total: u64, memory_reserve: u64, memory_bytes: u64) -> u32 {
    let free = memory_total.saturating_sub(memory_reserve);
    u32::try_from(free / memory_bytes.max(1)).unwrap_or(u32::MAX)
}

/// What `--allow-*` opens, by the names that people wrote: an owner or a repository.
pub fn names(list: &BTreeSet<String>, repository: &str) -> bool {
    let owner = repository.split('/').next().unwrap_or_default();
    list.iter().any(|name| name.eq_ignore_ascii_case(repository) || name.eq_ignore_ascii_case(owner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_a_superset_whatever_their_case() {
        let offered = ["self-hosted", "linux", "x64", "gpu"].map(str::to_owned);
        let asks = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect::<Vec<_>>();
        assert!(offers(&offered, &asks(&["Self-Hosted", "Linux"])));
        assert!(offers(&offered, &asks(&["GPU"])));
        assert!(!offers(&offered, &asks(&["self-hosted", "arm64"])));
        assert!(!offers(&offered, &asks(&["ubuntu-latest"])));
        assert!(!offers(&offered, &[]), "a job without labels is nobody's");
    }

    #[test]
    fn memory_is_never_promised_twice() {
        assert_eq!(fitting(16 << 30, 1 << 30, 4 << 30), 3);
        assert_eq!(fitting(2 << 30, 3 << 30, 1 << 30), 0);
        assert_eq!(fitting(1 << 30, 0, 0), 1 << 30);
    }

    #[test]
    fn the_third_partys_image_takes_a_token() {
        let policy = Policy { image: "myoung34/github-runner:latest".into(), ..Policy::default() };
        assert_eq!(policy.registration(), Registration::Token);
        assert_eq!(Policy::default().registration(), Registration::Jit);
    }
}
