//! What a runner's container is made like: the pool's policy in an engine's terms. Pure.
//!
//! | | by default |
//! |---|---|
//! | registration | a just-in-time configuration, one job |
//! | engine's socket | never |
//! | network | a bridge of its own |
//! | capabilities | none |
//! | new privileges | none |
//! | user | the image's, never 0 |
//! | root file system | a layer of its own, thrown away |
//! | limits | memory with swap, processors, processes, open files, log size |
//! | work | a fresh volume, removed with it |
//!
//! Invariants: no secret stands anywhere but in the value of one variable; nothing of the host is mounted unless the pool says so.

use std::collections::BTreeMap;
use std::time::Duration;

use wfengine_docker::{
    ContainerSpec, EngineInfo, EnvValue, LogLimit, Mount, MountSource, Network, NetworkSpec,
};
use wfengine_storage_format::EventId;

use crate::pool::{DockerAccess, Policy, Pool, RunnerNetwork};

/// On everything that wfengine makes at an engine.
pub const LABEL_MANAGED: &str = "dev.wfengine.managed";
/// Whose it is: the peer's id.
pub const LABEL_PEER: &str = "dev.wfengine.peer";
/// What it is part of: the id of the `RunnerIntended`.
pub const LABEL_INTENT: &str = "dev.wfengine.intent";
/// The runner's name.
pub const LABEL_RUNNER: &str = "dev.wfengine.runner";
/// The pool's name.
pub const LABEL_POOL: &str = "dev.wfengine.pool";
/// Where it registers.
pub const LABEL_SCOPE: &str = "dev.wfengine.scope";
/// What of the pool's policy it was made by: equal texts are equal policies.
pub const LABEL_POLICY: &str = "dev.wfengine.policy";

/// The folder of GitHub's runner in its image.
const HOME: &str = "/home/runner";
/// Open files of each process.
const NOFILE: u32 = 16_384;
/// How much of a container's output the engine keeps.
const LOG: LogLimit = LogLimit { file_bytes_max: 10 * 1024 * 1024, files: 2 };
/// How long a runner has to leave its job when it is stopped.
pub const STOP_GRACE: Duration = Duration::from_secs(10);

/// Variables whose values are secrets.
pub const SECRET_VARIABLES: [&str; 2] = ["ACTIONS_RUNNER_INPUT_JITCONFIG", "RUNNER_TOKEN"];

/// What is shorter is no secret.
const SECRET_BYTES_MIN: usize = 8;
/// In place of a secret.
const HIDDEN: &[u8] = b"***";

/// The secrets among the variables of a container, `NAME=value` each.
pub fn secrets(environment: Vec<String>) -> Vec<String> {
    let value = |variable: String| {
        let (name, value) = variable.split_once('=')?;
        (SECRET_VARIABLES.contains(&name) && value.len() >= SECRET_BYTES_MIN).then(|| value.to_owned())
    };
    environment.into_iter().filter_map(value).collect()
}

/// What was printed, with `***` for each secret. Also for what is left of one at the very beginning, where the rest was cut off.
pub fn without(secrets: &[String], printed: Vec<u8>) -> Vec<u8> {
    secrets.iter().map(String::as_bytes).filter(|secret| !secret.is_empty()).fold(
        printed,
        |printed, secret| {
            let is_end = |at: &usize| secret.get(*at..).is_some_and(|end| printed.starts_with(end));
            let cut = (1..secret.len().saturating_sub(SECRET_BYTES_MIN - 1)).find(is_end);
            let mut rest = match cut {
                Some(at) => printed.get(secret.len() - at..).unwrap_or_default(),
                None => printed.as_slice(),
            };
            let mut shown = if cut.is_some() { HIDDEN.to_vec() } else { Vec::with_capacity(printed.len()) };
            while let Some(at) = rest.windows(secret.len()).position(|window| window == secret) {
                shown.extend_from_slice(rest.get(..at).unwrap_or_default());
                shown.extend_from_slice(HIDDEN);
                rest = rest.get(at + secret.len()..).unwrap_or_default();
            }
            shown.extend_from_slice(rest);
            shown
        },
    )
}

/// A runner that is about to be made.
#[derive(Clone, Debug)]
pub struct Making<'a> {
    /// The pool.
    pub pool: &'a Pool,
    /// The engine.
    pub info: &'a EngineInfo,
    /// The id of the image.
    pub image: &'a str,
    /// Its intent.
    pub intent: EventId,
    /// The peer, as text.
    pub peer: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Where it registers.
    pub scope: &'a str,
    /// Address of the GitHub for people, such as `https://github.com`, as runners reach it.
    pub github_url: &'a str,
}

/// With what it registers.
#[derive(Clone, Debug)]
pub enum Ticket {
    /// A just-in-time configuration, encoded.
    Jit(String),
    /// A registration token.
    Token(String),
}

/// How the interfaces of the bridges of a node's runners begin: fifteen characters are all that there is room for, and eight of them tell
/// the runners apart. A firewall rule knows them by this beginning.
pub fn bridge_prefix(peer: &str) -> String {
    let tag: String = peer.chars().filter(char::is_ascii_alphanumeric).take(4).collect();
    format!("wfe{}", tag.to_lowercase())
}

impl Making<'_> {
    fn policy(&self) -> &Policy {
        &self.pool.policy
    }

    /// Labels of all that is made for it.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let labels = [
            (LABEL_MANAGED, "1"),
            (LABEL_PEER, self.peer),
            (LABEL_RUNNER, self.name),
            (LABEL_POOL, &self.pool.name),
            (LABEL_SCOPE, self.scope),
        ];
        let mut labels: BTreeMap<String, String> =
            labels.into_iter().map(|(label, value)| (label.to_owned(), value.to_owned())).collect();
        labels.insert(LABEL_INTENT.to_owned(), self.intent.to_string());
        labels.insert(LABEL_POLICY.to_owned(), self.policy().digest());
        labels
    }

    /// The network that it gets for itself, if it does.
    pub fn network(&self) -> Option<NetworkSpec> {
        let tail: String = self.name.chars().rev().take(8).collect::<Vec<char>>().into_iter().rev().collect();
        (self.policy().network == RunnerNetwork::Own).then(|| NetworkSpec {
            name: self.name.to_owned(),
            labels: self.labels(),
            bridge_interface: Some(format!("{}{tail}", bridge_prefix(self.peer))),
            is_internal: false,
            containers_may_talk: false,
        })
    }

    /// The folder of its work, inside.
    pub fn work_folder(&self) -> String {
        let folder = &self.policy().work_dir;
        match (folder.starts_with('/'), self.policy().is_third_party()) {
            (true, _) => folder.clone(),
            (false, false) => format!("{HOME}/{folder}"),
            (false, true) => format!("/{folder}"),
        }
    }

    fn has_sidecar(&self) -> bool {
        self.policy().docker == DockerAccess::RootlessSidecar
    }

    fn attached(&self) -> Network {
        match &self.policy().network {
            RunnerNetwork::Own => Network::Named(self.name.to_owned()),
            RunnerNetwork::None => Network::None,
            RunnerNetwork::Host => Network::Host,
            RunnerNetwork::Named(name) => Network::Named(name.clone()),
        }
    }

    /// Processors that it gets: no more than there are without the reserve.
    fn nano_cpus(&self) -> u64 {
        let there = u64::from(self.info.cpus) * 1_000;
        let free = there.saturating_sub(u64::from(self.pool.reserve_cpus_milli)).max(100);
        u64::from(self.policy().cpus_milli).min(free) * 1_000_000
    }

    fn bounded(&self, image: &str) -> ContainerSpec {
        let policy = self.policy();
        ContainerSpec {
            labels: self.labels(),
            memory_bytes: Some(policy.memory_bytes),
            nano_cpus: Some(self.nano_cpus()),
            pids_max: Some(policy.pids_max),
            nofile: Some(NOFILE),
            log: Some(LOG),
            stop_grace: STOP_GRACE,
            // the layer of an image that writes beside its program is thrown away with the container
            read_only_root: false,
            ..ContainerSpec::hardened(image)
        }
    }

    fn work_mount(&self) -> Mount {
        Mount {
            source: MountSource::Volume(self.name.to_owned()),
            target: self.work_folder(),
            read_only: false,
        }
    }

    /// The container of the runner. `beside`: the engine that was started for it, whose network it shares.
    pub fn runner(&self, ticket: &Ticket, beside: Option<&str>) -> ContainerSpec {
        let policy = self.policy();
        let mut spec = self.bounded(self.image);
        spec.user.clone_from(&policy.user);
        spec.cap_add.clone_from(&policy.capabilities);
        spec.no_new_privileges = !policy.allows_privilege_gain;
        spec.mounts = vec![self.work_mount()];
        spec.env = self.environment(ticket);
        if !policy.is_third_party() {
            spec.entrypoint = Some(vec![format!("{HOME}/run.sh")]);
            spec.working_dir = Some(HOME.to_owned());
        }
        match beside {
            Some(id) => {
                spec.network = Network::ContainerOf(id.to_owned());
                spec.env.push(("DOCKER_HOST".to_owned(), EnvValue::plain("tcp://127.0.0.1:2375")));
            }
            None => {
                spec.network = self.attached();
                spec.extra_hosts.clone_from(&policy.extra_hosts);
                spec.hostname = (policy.network != RunnerNetwork::Host).then(|| self.name.to_owned());
            }
        }
        if policy.docker == DockerAccess::Socket {
            let socket = "/var/run/docker.sock".to_owned();
            let source =
                MountSource::HostPath(self.pool.engine_socket.clone().unwrap_or_else(|| socket.clone()));
            spec.mounts.push(Mount { source, target: socket, read_only: false });
            // a runner is nobody, and the socket is root's and its group's
            spec.groups.extend(self.pool.engine_group.map(|group| group.to_string()));
        }
        spec
    }

    /// The engine beside it, if it gets one: without root, gone with the runner. What its program needs to make namespaces of its own is
    /// let through; it is not privileged.
    pub fn sidecar(&self) -> Option<ContainerSpec> {
        let unconfined = ["seccomp=unconfined", "apparmor=unconfined"];
        self.has_sidecar().then(|| ContainerSpec {
            network: self.attached(),
            extra_hosts: self.policy().extra_hosts.clone(),
            hostname: (self.policy().network != RunnerNetwork::Host).then(|| self.name.to_owned()),
            // without a folder for certificates it listens without TLS: in a network that it has alone with the runner
            env: vec![("DOCKER_TLS_CERTDIR".to_owned(), EnvValue::plain(""))],
            // the jobs' folders are the same to both
            mounts: vec![self.work_mount()],
            cap_drop_all: false,
            no_new_privileges: false,
            security_opts: unconfined.map(str::to_owned).to_vec(),
            // the command line's `systempaths=unconfined`, which engines themselves do not know
            opens_system_paths: true,
            ..self.bounded(&self.policy().sidecar_image)
        })
    }

    fn environment(&self, ticket: &Ticket) -> Vec<(String, EnvValue)> {
        let plain = |name: &str, value: &str| (name.to_owned(), EnvValue::plain(value));
        let token = match ticket {
            Ticket::Jit(blob) => {
                return vec![
                    (SECRET_VARIABLES[0].to_owned(), EnvValue::secret(blob.as_str())),
                    // its script tells how the runner ended, instead of 0 in any case
                    plain("ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE", "1"),
                    plain("RUNNER_MANUALLY_TRAP_SIG", "1"),
                ];
            }
            Ticket::Token(token) => token,
        };
        let mut environment = match self.scope.contains('/') {
            true => vec![plain("REPO_URL", &format!("{}/{}", self.github_url, self.scope))],
            false => vec![plain("RUNNER_SCOPE", "org"), plain("ORG_NAME", self.scope)],
        };
        let work = self.work_folder();
        environment.extend([
            (SECRET_VARIABLES[1].to_owned(), EnvValue::secret(token.as_str())),
            plain("RUNNER_NAME", self.name),
            plain("LABELS", &self.pool.labels.join(",")),
            plain("RUNNER_WORKDIR", &work),
            plain("EPHEMERAL", "true"),
            // the container has a user of its own, and the image would refuse that
            plain("RUN_AS_ROOT", "false"),
            plain("DISABLE_AUTO_UPDATE", "true"),
            // with a registration token it could not, and it is done from outside
            plain("DISABLE_AUTOMATIC_DEREGISTRATION", "true"),
            // jobs do not get the token to see
            plain("UNSET_CONFIG_VARS", "true"),
        ]);
        let host = self.github_url.split("://").nth(1).unwrap_or(self.github_url);
        if host != "github.com" {
            environment.push(plain("GITHUB_HOST", host));
        }
        environment
    }

    /// The name of the engine beside it.
    pub fn sidecar_name(name: &str) -> String {
        format!("{name}-docker")
    }
}

/// Bytes of memory that a runner of a pool takes, with the engine beside it.
pub fn memory_of(policy: &Policy) -> u64 {
    let beside = policy.docker == DockerAccess::RootlessSidecar;
    policy.memory_bytes.saturating_mul(if beside { 2 } else { 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_in_no_piece_of_output() {
        let environment = ["PATH=/bin", "RUNNER_TOKEN=abcdefghijkl", "ACTIONS_RUNNER_INPUT_JITCONFIG=short"];
        let secrets = secrets(environment.map(str::to_owned).to_vec());
        assert_eq!(secrets, ["abcdefghijkl"]);
        let shown = |printed: &str| String::from_utf8(without(&secrets, printed.into())).unwrap();
        assert_eq!(shown("a abcdefghijkl b abcdefghijklabcdefghijkl"), "a *** b ******");
        assert_eq!(shown("cdefghijkl is what a cut left"), "*** is what a cut left");
        assert_eq!(shown("kl is too little to tell"), "kl is too little to tell");
        assert_eq!(without(&secrets, vec![0xff, 0xfe]), [0xff, 0xfe]);
    }
}
