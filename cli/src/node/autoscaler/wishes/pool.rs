//! From what is wished to the pool that the autoscaler works with.

use wfengine_autoscaler::pool::{Policy, Pool, Watched};

use super::RunnerWishes;

impl RunnerWishes {
    /// The pool.
    pub(crate) fn as_pool(&self) -> Pool {
        let (container, network) = (&self.container, &self.network);
        let plain = Policy::default();
        let policy = Policy {
            image: container.image.clone(),
            contract: container.image_contract,
            user: container.user.clone(),
            pull: container.pull,
            memory_bytes: container.memory_bytes,
            cpus_milli: container.cpus_milli,
            pids_max: container.pids,
            workspace_bytes: container.workspace_bytes,
            job_timeout_ms: container.job_timeout_ms,
            idle_timeout_ms: container.idle_timeout_ms,
            start_timeout_ms: container.start_timeout_ms,
            network: network.mode.clone(),
            host_ports: network.host_ports.clone(),
            allows_host: network.host_access,
            egress: network.egress.iter().map(ToString::to_string).collect(),
            extra_hosts: network.extra_hosts.iter().map(|(name, at)| format!("{name}:{at}")).collect(),
            docker: container.docker,
            sidecar_image: container.sidecar_image.clone().unwrap_or(plain.sidecar_image),
            capabilities: container.capabilities.iter().cloned().collect(),
            allows_privilege_gain: container.allow_privilege_gain,
            work_dir: container.work_dir.clone(),
            registration: self.registration,
        };
        Pool {
            name: self.pool.clone(),
            watched: self.watched(),
            register: self.register,
            runner_group: self.runner_group,
            labels: self.all_labels(),
            runners_max: self.max_runners,
            cluster_max: self.cluster_max,
            idle: self.min_idle.rules(),
            interval_ms: self.interval_s.saturating_mul(1_000),
            since_days: self.since_days,
            allowed: self.allow.repositories.clone(),
            allows_public: self.allow.public,
            allows_forks: self.allow.forks,
            filters_architecture: !self.no_arch_filter,
            shares_with_p2p: !self.no_p2p,
            reserve_memory_bytes: self.reserve_memory_bytes,
            reserve_cpus_milli: self.reserve_cpus_milli,
            engine_socket: self
                .docker_host
                .as_deref()
                .map(|url| url.trim_start_matches("unix://").to_owned()),
            // read from the socket where the pool begins
            engine_group: None,
            github_url: self.runner_url.clone(),
            policy,
        }
    }

    fn watched(&self) -> Vec<Watched> {
        let owners = self.owners.iter().cloned().map(Watched::Owner);
        let named: Vec<Watched> =
            owners.chain(self.repositories.iter().cloned().map(Watched::Repository)).collect();
        if named.is_empty() { vec![Watched::All] } else { named }
    }

    /// What is looked at, in words.
    pub(crate) fn scopes(&self) -> Vec<String> {
        self.watched().iter().map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_wished_is_the_safe_policy_for_all_that_is_seen() {
        let pool = RunnerWishes::default().as_pool();
        assert_eq!(pool.policy, Policy::default());
        assert_eq!(pool.watched, [Watched::All]);
        assert_eq!(
            (pool.interval_ms, pool.runners_max, pool.allows_public, pool.allows_forks),
            (120_000, 10, false, false)
        );
        assert!(pool.filters_architecture && pool.shares_with_p2p && pool.allowed.is_empty());
    }

    #[test]
    fn what_is_named_is_looked_at_and_nothing_else() {
        let wishes = RunnerWishes {
            owners: ["octo".to_owned()].into(),
            repositories: ["a/b".to_owned()].into(),
            ..RunnerWishes::default()
        };
        let owner = Watched::Owner("octo".to_owned());
        assert_eq!(wishes.as_pool().watched, [owner, Watched::Repository("a/b".to_owned())]);
        assert_eq!(wishes.scopes(), ["octo", "a/b"]);
    }
}
