//! What an engine says of itself, and which limits it can hold a container to.
//!
//! An engine without the right control groups takes every limit and enforces none (rootless on old systems does); it has to
//! be asked. What follows from the answer is the caller's decision.

use std::fmt;

use bollard::models::{SystemInfo, SystemInfoCgroupDriverEnum, SystemVersion};

use crate::engine::filled;

/// The oldest interface with everything that a container's settings use.
const API_MIN: (u32, u32) = (1, 40);
/// Warnings kept.
const WARNINGS_MAX: usize = 32;

/// A bound that a container may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// Main memory.
    Memory,
    /// Main memory and swap together. Without it a container can use swap beyond its memory, which is tolerable.
    Swap,
    /// Processor time.
    Cpus,
    /// Number of processes.
    Pids,
}

impl Limit {
    /// Whether a container may run all the same.
    pub fn is_tolerable(self) -> bool {
        self == Self::Swap
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Swap => "swap",
            Self::Cpus => "cpus",
            Self::Pids => "pids",
        })
    }
}

/// Which limits hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enforced {
    /// Main memory.
    pub memory: bool,
    /// Main memory and swap together.
    pub swap: bool,
    /// Processor time.
    pub cpu: bool,
    /// Number of processes.
    pub pids: bool,
}

/// What an engine says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineInfo {
    /// The engine's version.
    pub server_version: String,
    /// The newest version of its interface.
    pub api_version: String,
    /// The processor, in GitHub's words: `x64`, `arm64`, `arm`; others as the engine says.
    pub architecture: String,
    /// The system of its containers: `linux`, `windows`.
    pub os: String,
    /// Processors.
    pub cpus: u32,
    /// Main memory.
    pub memory_bytes: u64,
    /// The folder in which images, containers and volumes lie.
    pub root_dir: String,
    /// `cgroupfs`, `systemd`, or `none`, with which no limit holds.
    pub cgroup_driver: String,
    /// Which limits hold.
    pub enforces: Enforced,
    /// It runs without root.
    pub is_rootless: bool,
    /// Root in a container is another user on the host.
    pub has_userns_remap: bool,
    /// What the engine warns of.
    pub warnings: Vec<String>,
}

impl EngineInfo {
    pub(crate) fn read(version: SystemVersion, info: SystemInfo) -> Self {
        let has_groups = !matches!(info.cgroup_driver, None | Some(SystemInfoCgroupDriverEnum::NONE));
        let holds = |said: Option<bool>| has_groups && said == Some(true);
        let options = info.security_options.unwrap_or_default();
        let has_option = |name: &str| {
            options
                .iter()
                .flat_map(|option| option.split(','))
                .any(|part| part.strip_prefix("name=") == Some(name))
        };
        Self {
            server_version: filled(version.version.or(info.server_version)).unwrap_or_default(),
            api_version: filled(version.api_version).unwrap_or_default(),
            architecture: architecture(&filled(info.architecture.or(version.arch)).unwrap_or_default()),
            os: filled(info.os_type.or(version.os)).unwrap_or_default(),
            cpus: info.ncpu.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
            memory_bytes: info.mem_total.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
            root_dir: filled(info.docker_root_dir).unwrap_or_default(),
            cgroup_driver: info.cgroup_driver.map_or_else(|| "none".to_owned(), |driver| driver.to_string()),
            enforces: Enforced {
                memory: holds(info.memory_limit),
                swap: holds(info.swap_limit),
                cpu: holds(info.cpu_cfs_quota),
                pids: holds(info.pids_limit),
            },
            is_rootless: has_option("rootless"),
            has_userns_remap: has_option("userns"),
            warnings: info
                .warnings
                .into_iter()
                .flatten()
                .take(WARNINGS_MAX)
                .filter_map(|text| filled(Some(text)))
                .collect(),
        }
    }

    /// The limits that the engine takes and does not hold. [`Limit::is_tolerable`] tells which of them matter.
    pub fn unenforced(&self) -> Vec<Limit> {
        let Enforced { memory, swap, cpu, pids } = self.enforces;
        [(Limit::Memory, memory), (Limit::Swap, swap), (Limit::Cpus, cpu), (Limit::Pids, pids)]
            .into_iter()
            .filter_map(|(limit, holds)| (!holds).then_some(limit))
            .collect()
    }

    /// Whether its interface is too old to be given a container with all its limits.
    pub fn is_too_old(&self) -> bool {
        let Some((major, minor)) = self.api_version.split_once('.') else { return true };
        match (major.parse::<u32>(), minor.parse::<u32>()) {
            (Ok(major), Ok(minor)) => (major, minor) < API_MIN,
            _ => true,
        }
    }
}

pub(crate) fn architecture(theirs: &str) -> String {
    match theirs {
        "x86_64" | "amd64" => "x64",
        "aarch64" | "arm64" => "arm64",
        "armv7l" | "armv6l" | "armhf" => "arm",
        other => other,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> SystemInfo {
        SystemInfo {
            architecture: Some("x86_64".to_owned()),
            ncpu: Some(4),
            mem_total: Some(8 << 30),
            cgroup_driver: Some(SystemInfoCgroupDriverEnum::SYSTEMD),
            memory_limit: Some(true),
            swap_limit: Some(true),
            cpu_cfs_quota: Some(true),
            pids_limit: Some(true),
            ..SystemInfo::default()
        }
    }

    fn read(info: SystemInfo) -> EngineInfo {
        let version = SystemVersion { api_version: Some("1.41".to_owned()), ..SystemVersion::default() };
        EngineInfo::read(version, info)
    }

    #[test]
    fn processors_go_by_the_names_of_labels() {
        for (theirs, ours) in [("x86_64", "x64"), ("aarch64", "arm64"), ("armv7l", "arm"), ("s390x", "s390x")]
        {
            assert_eq!(architecture(theirs), ours);
        }
        assert_eq!(read(info()).architecture, "x64");
    }

    #[test]
    fn an_engine_without_control_groups_holds_no_limit() {
        assert_eq!(read(info()).unenforced(), []);
        let all = [Limit::Memory, Limit::Swap, Limit::Cpus, Limit::Pids];
        for driver in [None, Some(SystemInfoCgroupDriverEnum::NONE)] {
            assert_eq!(read(SystemInfo { cgroup_driver: driver, ..info() }).unenforced(), all);
        }
        assert_eq!(read(SystemInfo { pids_limit: None, ..info() }).unenforced(), [Limit::Pids]);
    }

    #[test]
    fn swap_alone_is_tolerable() {
        let missing = read(SystemInfo { swap_limit: Some(false), ..info() }).unenforced();
        assert_eq!(missing, [Limit::Swap]);
        assert!(missing.iter().all(|limit| limit.is_tolerable()));
        assert!(!Limit::Memory.is_tolerable() && !Limit::Cpus.is_tolerable() && !Limit::Pids.is_tolerable());
    }

    #[test]
    fn security_options_are_read_by_name() {
        let options =
            ["name=seccomp,profile=default", "name=rootless", "name=userns"].map(str::to_owned).to_vec();
        let told = read(SystemInfo { security_options: Some(options), ..info() });
        assert!(told.is_rootless && told.has_userns_remap);
        let told = read(SystemInfo { security_options: Some(vec!["name=rootlesskit".to_owned()]), ..info() });
        assert!(!told.is_rootless && !told.has_userns_remap);
    }

    #[test]
    fn the_age_of_the_interface_is_compared_as_numbers() {
        let aged = |api: &str| EngineInfo { api_version: api.to_owned(), ..read(info()) }.is_too_old();
        assert!(!aged("1.41") && !aged("1.100") && !aged("2.0") && !aged("1.40"));
        assert!(aged("1.39") && aged("1.4") && aged("") && aged("x.y"));
    }

    #[test]
    fn nonsense_in_numbers_is_nothing() {
        let told = read(SystemInfo { ncpu: Some(-1), mem_total: Some(i64::MIN), ..info() });
        assert_eq!((told.cpus, told.memory_bytes), (0, 0));
    }
}
