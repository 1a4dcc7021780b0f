//! What opens the host to jobs: which of it is refused unless it is asked for by name, and what it gives away.

use wfengine_api::Failure;

use super::{DockerAccess, Registration, RunnerNetwork, RunnerWishes, wrong};

/// Capabilities with which a job can leave its container, rule the host's network or kernel, or see what others do.
const OPENING: [&str; 20] = [
    "ALL",
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "BPF",
    "CHECKPOINT_RESTORE",
    "DAC_READ_SEARCH",
    "IPC_OWNER",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "NET_ADMIN",
    "PERFMON",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_MODULE",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
];

/// The others that there are.
const HARMLESS: [&str; 22] = [
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "KILL",
    "LEASE",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// A capability's name in capitals, without `CAP_`.
pub(super) fn capability(text: &str) -> Result<String, Failure> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if OPENING.contains(&name) || HARMLESS.contains(&name) {
        return Ok(name.to_owned());
    }
    Err(wrong("--cap-add", text, "the name of a capability, such as NET_RAW or SETUID"))
}

/// What needs `--insecure`: the option with its value, and what it gives away.
fn opened(wishes: &RunnerWishes) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    if wishes.container.docker == DockerAccess::Socket {
        found.push((
            "--docker socket".to_owned(),
            "every job gets the engine's socket, and whoever has that is root on this host",
        ));
    }
    if wishes.network.mode == RunnerNetwork::Host {
        found.push((
            "--network host".to_owned(),
            "every job is in this host's own network: it reaches all of the host's services, also those on the \
             loopback address that nobody else reaches",
        ));
    }
    for name in &wishes.container.capabilities {
        if OPENING.contains(&name.as_str()) {
            found.push((
                format!("--cap-add {name}"),
                "a job can leave its container with it, or change this host for all",
            ));
        }
    }
    found
}

/// Refuses what opens the host unless that is asked for by name.
pub(super) fn check(wishes: &RunnerWishes) -> Result<(), Failure> {
    for name in &wishes.container.capabilities {
        capability(name)?;
    }
    match opened(wishes).first() {
        Some((option, what)) if !wishes.insecure => {
            Err(Failure::refused(format!("{option} needs --insecure besides: with it {what}")))
        }
        _ => Ok(()),
    }
}

/// What is given away, a sentence each.
pub(super) fn given_away(wishes: &RunnerWishes) -> Vec<String> {
    let mut said: Vec<String> =
        opened(wishes).into_iter().map(|(option, what)| format!("{option}: {what}")).collect();
    let others = [
        (
            matches!(wishes.network.mode, RunnerNetwork::Named(_)),
            "--network NAME: jobs reach whatever is in that network, this host's services at its gateway, and the addresses at which clouds hand out credentials",
        ),
        (
            wishes.network.host_access,
            "--allow-host-access: jobs reach every service of this host that listens on more than its loopback address, and the addresses at which clouds hand out credentials",
        ),
        (
            wishes.container.allow_privilege_gain,
            "--allow-privilege-gain: jobs can become root inside of their container",
        ),
        (
            wishes.allow.public,
            "--allow-public: jobs of public repositories run here, with code that anybody may have proposed",
        ),
        (wishes.allow.forks, "--allow-forks: whoever can open a pull request has code run on this host"),
        (
            wishes.registration == Registration::Token,
            "--registration token: weaker than jit, for a job can read the token and register runners with it for an hour",
        ),
    ];
    said.extend(others.into_iter().filter(|(is_so, _)| *is_so).map(|(_, text)| text.to_owned()));
    said
}
