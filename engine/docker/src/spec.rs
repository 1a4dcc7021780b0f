//! What a container is to be, and its translation into the engine's words.
//!
//! Nothing here decides what is safe: [`ContainerSpec::hardened`] is a base from which a caller opens what it must. Some
//! things cannot be said at all: a privileged container, a restart by the engine, removal by the engine, published ports.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use bollard::models::{
    ContainerCreateBody, DeviceMapping, HostConfig, HostConfigLogConfig, Mount as TheirMount, MountType,
    ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};

use crate::{EngineError, Secret};

/// The value of a variable in a container's environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvValue {
    /// May be shown.
    Plain(String),
    /// Shown as `***` wherever this crate shows it.
    Secret(Secret),
}

impl EnvValue {
    /// A value that may be shown.
    pub fn plain(text: impl Into<String>) -> Self {
        Self::Plain(text.into())
    }

    /// A value that must not be shown.
    pub fn secret(text: impl Into<String>) -> Self {
        Self::Secret(Secret::new(text))
    }

    fn expose(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Secret(secret) => secret.expose(),
        }
    }
}

/// The network a container stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// None: only its own loopback.
    None,
    /// A network by its name.
    Named(String),
    /// The host's own: everything that listens on the host's loopback is open to it.
    Host,
    /// Another container's: both share one loopback.
    ContainerOf(String),
}

/// Where a mount comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSource {
    /// A volume by its name. The engine makes one without labels when there is none.
    Volume(String),
    /// A file or folder of the host; it has to exist.
    HostPath(String),
}

/// Something of the host inside a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it comes from.
    pub source: MountSource,
    /// Its path inside.
    pub target: String,
    /// It cannot be written to.
    pub read_only: bool,
}

/// A device of the host inside a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its path on the host.
    pub on_host: String,
    /// Its path inside.
    pub in_container: String,
    /// Of `rwm`: read, write, make.
    pub permissions: String,
}

/// How much of a container's output the engine keeps: `file_bytes_max` × `files`, the oldest is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimit {
    /// Bytes of one file.
    pub file_bytes_max: u64,
    /// Files.
    pub files: u32,
}

/// What a container is to be. The engine never restarts and never removes it by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerSpec {
    /// The image, by reference or id.
    pub image: String,
    /// `uid`, `uid:gid` or names; none: the image's.
    pub user: Option<String>,
    /// Further groups of its processes: numbers, or names that the image knows.
    pub groups: Vec<String>,
    /// Replaces the image's entry point.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command. Shown in events and inspection: never a secret.
    pub command: Option<Vec<String>>,
    /// The environment, in order.
    pub env: Vec<(String, EnvValue)>,
    /// Labels. Never a secret.
    pub labels: BTreeMap<String, String>,
    /// What it calls itself; none: its id. Must be none in another's network.
    pub hostname: Option<String>,
    /// The folder it starts in; none: the image's.
    pub working_dir: Option<String>,
    /// Memory; with swap it gets no more.
    pub memory_bytes: Option<u64>,
    /// Billionths of a processor.
    pub nano_cpus: Option<u64>,
    /// Processes and threads.
    pub pids_max: Option<u32>,
    /// Open files of each process.
    pub nofile: Option<u32>,
    /// How much of its output is kept; none: the engine's own rule, which is often no bound at all.
    pub log: Option<LogLimit>,
    /// How long it has to end before it is killed, when the engine stops it by itself.
    pub stop_grace: Duration,
    /// The engine's own init is its first process: it reaps, and hands on signals. With it a program that is missing does not
    /// fail the start: the container ends with 127.
    pub init: bool,
    /// Its root file system cannot be written to.
    pub read_only_root: bool,
    /// It starts without any capability.
    pub cap_drop_all: bool,
    /// Capabilities it gets.
    pub cap_add: Vec<String>,
    /// No program in it can gain rights, `sudo` included.
    pub no_new_privileges: bool,
    /// More security options as the engine reads them, such as `seccomp=unconfined`.
    pub security_opts: Vec<String>,
    /// The kernel's files that are hidden or read-only in other containers are not: what makes namespaces of its own needs them.
    pub opens_system_paths: bool,
    /// Its network.
    pub network: Network,
    /// `name:address`, or `name:host-gateway` for the host.
    pub extra_hosts: Vec<String>,
    /// Volumes and paths of the host.
    pub mounts: Vec<Mount>,
    /// Folders in memory with their options. The engine adds `noexec,nosuid,nodev`; say `exec` where programs are built.
    pub tmpfs: Vec<(String, String)>,
    /// Devices of the host.
    pub devices: Vec<Device>,
}

impl ContainerSpec {
    /// Everything shut: no network, no capability, nothing writable but what is mounted. Limits are the caller's.
    pub fn hardened(image: impl Into<String>) -> Self {
        Self {
            image: image.into(),
            user: None,
            groups: Vec::new(),
            entrypoint: None,
            command: None,
            env: Vec::new(),
            labels: BTreeMap::new(),
            hostname: None,
            working_dir: None,
            memory_bytes: None,
            nano_cpus: None,
            pids_max: None,
            nofile: None,
            log: Some(LogLimit { file_bytes_max: 10 * 1024 * 1024, files: 2 }),
            stop_grace: Duration::from_secs(10),
            init: true,
            read_only_root: true,
            cap_drop_all: true,
            cap_add: Vec::new(),
            no_new_privileges: true,
            security_opts: Vec::new(),
            opens_system_paths: false,
            network: Network::None,
            extra_hosts: Vec::new(),
            mounts: Vec::new(),
            tmpfs: Vec::new(),
            devices: Vec::new(),
        }
    }

    /// The values that must not be shown.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.env.iter().filter_map(|(_, value)| match value {
            EnvValue::Secret(secret) => Some(secret.expose()),
            EnvValue::Plain(_) => None,
        })
    }

    /// The engine's words for it.
    pub(crate) fn body(&self) -> Result<ContainerCreateBody, EngineError> {
        let mut env = Vec::with_capacity(self.env.len());
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.expose().contains('\0') {
                let message = format!("`{}` cannot be a variable of an environment", name.escape_debug());
                return Err(EngineError::BadRequest { message });
            }
            env.push(format!("{name}={}", value.expose()));
        }
        Ok(ContainerCreateBody {
            hostname: self.hostname.clone(),
            user: self.user.clone(),
            attach_stdin: Some(false),
            attach_stdout: Some(false),
            attach_stderr: Some(false),
            tty: Some(false),
            open_stdin: Some(false),
            env: Some(env),
            cmd: self.command.clone(),
            entrypoint: self.entrypoint.clone(),
            image: Some(self.image.clone()),
            working_dir: self.working_dir.clone(),
            labels: Some(self.labels.clone().into_iter().collect()),
            stop_timeout: Some(seconds(self.stop_grace).into()),
            host_config: Some(self.host_config()),
            ..ContainerCreateBody::default()
        })
    }

    fn host_config(&self) -> HostConfig {
        let memory = self.memory_bytes.map(signed);
        HostConfig {
            memory,
            memory_swap: memory,
            nano_cpus: self.nano_cpus.map(signed),
            pids_limit: self.pids_max.map(i64::from),
            ulimits: self.nofile.map(|files| {
                let bound = Some(i64::from(files));
                vec![ResourcesUlimits { name: Some("nofile".to_owned()), soft: bound, hard: bound }]
            }),
            init: Some(self.init),
            privileged: Some(false),
            publish_all_ports: Some(false),
            auto_remove: Some(false),
            ipc_mode: Some("private".to_owned()),
            readonly_rootfs: Some(self.read_only_root),
            cap_drop: self.cap_drop_all.then(|| vec!["ALL".to_owned()]),
            group_add: (!self.groups.is_empty()).then(|| self.groups.clone()),
            cap_add: (!self.cap_add.is_empty()).then(|| self.cap_add.clone()),
            security_opt: Some(self.security_opt()),
            // an empty list is none of the engine's own; to leave it out is all of them
            masked_paths: self.opens_system_paths.then(Vec::new),
            readonly_paths: self.opens_system_paths.then(Vec::new),
            network_mode: Some(match &self.network {
                Network::None => "none".to_owned(),
                Network::Host => "host".to_owned(),
                Network::Named(name) => name.clone(),
                Network::ContainerOf(id) => format!("container:{id}"),
            }),
            extra_hosts: (!self.extra_hosts.is_empty()).then(|| self.extra_hosts.clone()),
            mounts: Some(self.mounts.iter().map(mount).collect()),
            tmpfs: (!self.tmpfs.is_empty()).then(|| self.tmpfs.iter().cloned().collect()),
            devices: (!self.devices.is_empty()).then(|| self.devices.iter().map(device).collect()),
            log_config: self.log.map(log_config),
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::NO),
                maximum_retry_count: None,
            }),
            ..HostConfig::default()
        }
    }

    fn security_opt(&self) -> Vec<String> {
        let own = self.no_new_privileges.then(|| "no-new-privileges".to_owned());
        own.into_iter().chain(self.security_opts.iter().cloned()).collect()
    }
}

/// Whole seconds, rounded up, as the engine counts a grace.
pub(crate) fn seconds(grace: Duration) -> i32 {
    let whole = grace.as_secs().saturating_add(u64::from(grace.subsec_nanos() > 0));
    i32::try_from(whole).unwrap_or(i32::MAX)
}

fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

fn mount(mount: &Mount) -> TheirMount {
    let (typ, source) = match &mount.source {
        MountSource::Volume(name) => (MountType::VOLUME, name),
        MountSource::HostPath(path) => (MountType::BIND, path),
    };
    TheirMount {
        typ: Some(typ),
        source: Some(source.clone()),
        target: Some(mount.target.clone()),
        read_only: Some(mount.read_only),
        ..TheirMount::default()
    }
}

fn device(device: &Device) -> DeviceMapping {
    DeviceMapping {
        path_on_host: Some(device.on_host.clone()),
        path_in_container: Some(device.in_container.clone()),
        cgroup_permissions: Some(device.permissions.clone()),
    }
}

fn log_config(limit: LogLimit) -> HostConfigLogConfig {
    HostConfigLogConfig {
        typ: Some("json-file".to_owned()),
        config: Some(HashMap::from([
            ("max-size".to_owned(), limit.file_bytes_max.to_string()),
            ("max-file".to_owned(), limit.files.to_string()),
        ])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_is_shut() {
        let body = ContainerSpec::hardened("a:1").body().unwrap();
        let host = body.host_config.unwrap();
        assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
        assert_eq!(host.cap_add, None);
        assert_eq!(host.security_opt, Some(vec!["no-new-privileges".to_owned()]));
        assert_eq!(host.network_mode.as_deref(), Some("none"));
        assert_eq!((host.readonly_rootfs, host.init), (Some(true), Some(true)));
        assert_eq!(
            (host.privileged, host.auto_remove, host.publish_all_ports),
            (Some(false), Some(false), Some(false))
        );
        assert_eq!(host.restart_policy.unwrap().name, Some(RestartPolicyNameEnum::NO));
        assert_eq!(host.mounts, Some(vec![]));
        assert_eq!((host.masked_paths, host.readonly_paths), (None, None));
    }

    #[test]
    fn system_paths_are_opened_by_empty_lists() {
        let open = ContainerSpec { opens_system_paths: true, ..ContainerSpec::hardened("a") }.host_config();
        assert_eq!((open.masked_paths, open.readonly_paths), (Some(vec![]), Some(vec![])));
    }

    #[test]
    fn swap_adds_nothing_to_memory() {
        let host =
            ContainerSpec { memory_bytes: Some(64 << 20), ..ContainerSpec::hardened("a") }.host_config();
        assert_eq!((host.memory, host.memory_swap), (Some(64 << 20), Some(64 << 20)));
        assert_eq!(ContainerSpec::hardened("a").host_config().memory_swap, None);
        let most =
            ContainerSpec { memory_bytes: Some(u64::MAX), ..ContainerSpec::hardened("a") }.host_config();
        assert_eq!(most.memory, Some(i64::MAX));
    }

    #[test]
    fn a_secret_reaches_the_engine_and_nobody_else() {
        let env =
            vec![("A".to_owned(), EnvValue::plain("open")), ("B".to_owned(), EnvValue::secret("s3cret"))];
        let spec = ContainerSpec { env, ..ContainerSpec::hardened("a") };
        let shown = format!("{spec:?}");
        assert!(shown.contains("open") && shown.contains("***") && !shown.contains("s3cret"), "{shown}");
        assert_eq!(spec.body().unwrap().env.unwrap(), ["A=open", "B=s3cret"]);
        assert_eq!(spec.secrets().collect::<Vec<_>>(), ["s3cret"]);
    }

    #[test]
    fn a_variable_that_would_be_another_one_is_refused() {
        for (name, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0B=y")] {
            let env = vec![(name.to_owned(), EnvValue::secret(value))];
            let refused = ContainerSpec { env, ..ContainerSpec::hardened("a") }.body();
            assert!(matches!(refused, Err(EngineError::BadRequest { .. })), "{name:?}");
        }
    }

    #[test]
    fn a_grace_is_whole_seconds_rounded_up() {
        assert_eq!(seconds(Duration::ZERO), 0);
        assert_eq!(seconds(Duration::from_millis(1)), 1);
        assert_eq!(seconds(Duration::from_secs(7)), 7);
        assert_eq!(seconds(Duration::MAX), i32::MAX);
    }
}
