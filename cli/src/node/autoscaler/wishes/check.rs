//! What wishes cannot be, whoever wrote them: a command, or a hand in the settings.

use wfengine_api::Failure;
use wfengine_discovery::Scope;

use super::quantity::{self, within};
use super::{
    ContainerWishes, DockerAccess, NetworkWishes, Register, RunnerNetwork, RunnerWishes, network_word,
    privileges, wrong,
};

/// Longest name of a pool: with what is put around it, it names a runner.
const POOL_BYTES_MAX: usize = 32;
/// Longest label that GitHub takes.
const LABEL_BYTES_MAX: usize = 256;
/// Labels of one pool.
const LABELS_MAX: usize = 32;
/// Longest name of an image.
const IMAGE_BYTES_MAX: usize = 512;
/// Owners, repositories and the like of one pool.
const NAMES_MAX: usize = 256;

fn is_image(text: &str) -> bool {
    (1..=IMAGE_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

impl RunnerWishes {
    /// Refuses what cannot be, and what opens the host without a word.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.check_jobs()?;
        self.check_capacity()?;
        self.check_container()?;
        self.check_network()?;
        privileges::check(self)
    }

    fn check_jobs(&self) -> Result<(), Failure> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let pool = self.pool.as_str();
        if !(1..=POOL_BYTES_MAX).contains(&pool.len())
            || !pool.bytes().all(fits)
            || pool.starts_with('-')
            || pool.ends_with('-')
        {
            return Err(wrong("--pool", pool, "1 to 32 lower-case letters, digits and hyphens between them"));
        }
        for (option, names) in [
            ("--owner", &self.owners),
            ("--repo", &self.repositories),
            ("--allow-repo", &self.allow.repositories),
        ] {
            if names.len() > NAMES_MAX {
                return Err(wrong(option, &format!("({} of them)", names.len()), "256 at most"));
            }
            for name in names {
                let read = if option == "--owner" { Scope::owner(name) } else { Scope::repository(name) };
                read.map_err(|error| Failure::bad_input(format!("{option} {name}: {error}")))?;
            }
        }
        if self.labels.len() > LABELS_MAX {
            return Err(wrong("--labels", &format!("({} of them)", self.labels.len()), "32 at most"));
        }
        for label in &self.labels {
            let fits = |c: char| !c.is_control() && c != ',';
            if !(1..=LABEL_BYTES_MAX).contains(&label.len()) || !label.chars().all(fits) {
                return Err(wrong("--labels", label, "labels of 1 to 256 bytes, with commas between them"));
            }
        }
        within("--since-days", self.since_days, 1, 3_650)?;
        if self.runner_group == 0 {
            return Err(wrong("--runner-group", "0", "the group's number, 1 or more"));
        }
        if self.register == Register::Organization && self.owners.is_empty() {
            return Err(wrong("--register", "organization", "the organization's name with --owner besides"));
        }
        if self.register == Register::Repository && self.runner_group != 1 {
            let group = self.runner_group.to_string();
            return Err(wrong(
                "--runner-group",
                &group,
                "--register organization besides: repositories have no groups",
            ));
        }
        Ok(())
    }

    fn check_capacity(&self) -> Result<(), Failure> {
        within("--interval", self.interval_s, 1, 86_400)?;
        within("--max-runners", self.max_runners, 1, 1_000)?;
        self.min_idle.check(self.max_runners)
    }

    fn check_container(&self) -> Result<(), Failure> {
        let ContainerWishes { image, work_dir, sidecar_image, docker, .. } = &self.container;
        for (option, image) in [("--image", Some(image)), ("--sidecar-image", sidecar_image.as_ref())] {
            if let Some(image) = image.filter(|image| !is_image(image)) {
                return Err(wrong(
                    option,
                    image,
                    "an image, such as ghcr.io/actions/actions-runner@sha256:…",
                ));
            }
        }
        if sidecar_image.is_some() && *docker != DockerAccess::RootlessSidecar {
            return Err(wrong("--sidecar-image", "without a sidecar", "--docker rootless-sidecar besides"));
        }
        let steps_back = work_dir.split('/').any(|part| part == "..");
        if work_dir.is_empty() || work_dir.len() > 256 || work_dir.chars().any(char::is_control) || steps_back
        {
            return Err(wrong("--work-dir", work_dir, "a path inside the container, such as _work"));
        }
        quantity::check_bytes("--memory", self.container.memory_bytes, 16 << 20)?;
        quantity::check_bytes("--workspace-size", self.container.workspace_bytes, 1 << 20)?;
        within("--pids", self.container.pids, 16, 4_194_304)?;
        if self.container.cpus_milli < 10 {
            return Err(wrong("--cpus", &quantity::cpus(self.container.cpus_milli), "0.01 or more"));
        }
        if let Some(host) = &self.docker_host
            && host.strip_prefix("unix://").is_none_or(|path| !path.starts_with('/'))
        {
            return Err(wrong(
                "--docker-host",
                host,
                "unix:// and a path, such as unix:///var/run/docker.sock: the engine has to be on this host",
            ));
        }
        Ok(())
    }

    fn check_network(&self) -> Result<(), Failure> {
        let NetworkWishes { mode, host_ports, host_access, egress, .. } = &self.network;
        if host_ports.contains(&0) {
            return Err(wrong("--allow-host-port", "0", "1 to 65535"));
        }
        if let Some(v6) = egress.iter().find(|egress| egress.address.is_ipv6()) {
            return Err(wrong(
                "--egress",
                &v6.to_string(),
                "an IPv4 network: runners have no other addresses",
            ));
        }
        if *host_access && !egress.is_empty() {
            return Err(wrong(
                "--egress",
                "with --allow-host-access",
                "one of the two: this host would be a way around",
            ));
        }
        if matches!(mode, RunnerNetwork::Named(_)) && self.container.docker == DockerAccess::RootlessSidecar {
            return Err(wrong(
                "--docker rootless-sidecar",
                &format!("with --network {}", network_word(mode)),
                "--network own: whoever is in that network could use the engine",
            ));
        }
        if *mode == RunnerNetwork::Own {
            return Ok(());
        }
        let needs = |option| {
            wrong(
                option,
                &format!("with --network {}", network_word(mode)),
                "--network own, where it is enforced",
            )
        };
        if !host_ports.is_empty() {
            return Err(needs("--allow-host-port"));
        }
        if *host_access {
            return Err(needs("--allow-host-access"));
        }
        if !egress.is_empty() {
            return Err(needs("--egress"));
        }
        Ok(())
    }
}
