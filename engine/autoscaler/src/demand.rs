//! Which queued jobs of GitHub a pool serves. Pure.
//!
//! A job is served if its labels are offered, its architecture is this host's, and nothing forbids it: public repositories, pull
//! requests of forks, jobs that need Docker where there is none. What is refused is said, with
//! what would allow it. Jobs that ask for labels of others are none of this pool's business and are not reported.

use crate::pool::{DockerAccess, Pool};

/// A job that waits at GitHub.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueuedJob {
    /// `owner/name`.
    pub repository: String,
    /// Nobody but those who were let in may see it.
    pub is_private: bool,
    /// The run.
    pub run: u64,
    /// The job.
    pub job: u64,
    /// Its name, matrix values included.
    pub name: String,
    /// The workflow's file or name.
    pub workflow: String,
    /// What `runs-on` asks for.
    pub labels: Vec<String>,
    /// What started the run.
    pub event: String,
    /// Where the commit comes from, `owner/name`, if GitHub says.
    pub head_repository: Option<String>,
    /// What in it needs Docker, once its workflow was read.
    pub needs_docker: Option<String>,
    /// When GitHub made it, seconds since 1970; 0 when unknown.
    pub created_s: u64,
}

/// What becomes of a queued job here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// A runner of the pool may take it.
    Served,
    /// It is for runners of another kind.
    Others,
    /// It could be taken, and is not.
    Refused(Refusal),
}

/// Why a job is refused that the pool's runners could take.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Refusal {
    /// Anybody can have code run through a public repository.
    Public,
    /// The commit comes from a fork.
    Fork(String),
    /// It needs Docker and the pool has none.
    NeedsDocker(String),
}

impl Refusal {
    /// Why, in words.
    pub fn why(&self) -> String {
        match self {
            Self::Public => {
                "the repository is public: anybody can have code run here by a pull request".to_owned()
            }
            Self::Fork(of) => format!("the commit comes from the fork {of}"),
            Self::NeedsDocker(what) => format!("{what} needs Docker, and runners of this pool have none"),
        }
    }

    /// What would let it run.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Public => "start the pool with --allow-public, or name the repository with --allow-repo",
            Self::Fork(_) => {
                "cancel it, or start the pool with --allow-forks: until then no runner is started there, for GitHub could give it this job"
            }
            Self::NeedsDocker(_) => {
                "start a pool with --docker rootless-sidecar, or tag the workflow for peers"
            }
        }
    }
}

/// Whether a pool on a host of this architecture (`x64`, `arm64`) serves a job.
pub fn judge(pool: &Pool, architecture: &str, job: &QueuedJob) -> Verdict {
    if !pool.offers(&job.labels) {
        return Verdict::Others;
    }
    if pool.filters_architecture
        && wanted_architecture(&job.workflow, &job.labels).is_some_and(|wanted| wanted != architecture)
    {
        return Verdict::Others;
    }
    if !pool.takes(&job.repository, job.is_private) {
        return Verdict::Refused(Refusal::Public);
    }
    if let Some(fork) = fork_of(job)
        && !pool.allows_forks
    {
        return Verdict::Refused(Refusal::Fork(fork));
    }
    match &job.needs_docker {
        Some(what) if pool.policy.docker == DockerAccess::None => {
            Verdict::Refused(Refusal::NeedsDocker(what.clone()))
        }
        _ => Verdict::Served,
    }
}

/// The fork that a pull request comes from. One whose origin GitHub does not name any more is a fork that was deleted.
fn fork_of(job: &QueuedJob) -> Option<String> {
    let is_pull_request = job.event.starts_with("pull_request");
    match &job.head_repository {
        Some(head) if head.eq_ignore_ascii_case(&job.repository) => None,
        Some(head) => Some(head.clone()),
        None => is_pull_request.then(|| "that is gone".to_owned()),
    }
}

/// The architecture that a workflow is for: by its name, else by the job's labels, else any. A name with both is for arm64.
pub fn wanted_architecture(workflow: &str, labels: &[String]) -> Option<&'static str> {
    const ARM: [&str; 2] = ["arm64", "aarch64"];
    const INTEL: [&str; 3] = ["amd64", "x86", "x64"];
    let workflow = workflow.to_ascii_lowercase();
    let named = |words: &[&str]| words.iter().any(|word| workflow.contains(word));
    let labelled =
        |words: &[&str]| labels.iter().any(|label| words.iter().any(|word| label.eq_ignore_ascii_case(word)));
    if named(&ARM) {
        Some("arm64")
    } else if named(&INTEL) {
        Some("x64")
    } else if labelled(&ARM) {
        Some("arm64")
    } else if labelled(&INTEL) {
        Some("x64")
    } else {
        None
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::pool::{Policy, Register};

    pub(crate) fn pool() -> Pool {
        Pool {
            name: "default".into(),
            watched: Vec::new(),
            register: Register::Repository,
            runner_group: 1,
            labels: ["self-hosted", "linux", "x64"].map(str::to_owned).to_vec(),
            runners_max: 3,
            cluster_max: 0,
            idle: Vec::new(),
            interval_ms: 1_000,
            since_days: 1,
            allowed: BTreeSet::new(),
            allows_public: false,
            allows_forks: false,
            filters_architecture: true,
            shares_with_p2p: true,
            reserve_memory_bytes: 0,
            reserve_cpus_milli: 0,
            engine_socket: None,
            engine_group: None,
            github_url: None,
            policy: Policy::default(),
        }
    }

    pub(crate) fn job(id: u64) -> QueuedJob {
        QueuedJob {
            repository: "octo/one".into(),
            is_private: true,
            run: 7,
            job: id,
            name: "build".into(),
            workflow: ".github/workflows/ci.yml".into(),
            labels: vec!["self-hosted".into()],
            event: "push".into(),
            head_repository: Some("octo/one".into()),
            needs_docker: None,
            created_s: 1,
        }
    }

    #[test]
    fn architectures_by_name_then_by_label() {
        for (workflow, wanted) in [
            ("amd64-ci.yml", Some("x64")),
            ("arm64-ci.yml", Some("arm64")),
            ("test-x64-build", Some("x64")),
            ("test-aarch64-build", Some("arm64")),
            ("generic-test.yml", None),
            ("linux-x86-and-arm64", Some("arm64")),
        ] {
            assert_eq!(wanted_architecture(workflow, &[]), wanted, "{workflow}");
        }
        assert_eq!(wanted_architecture("ci.yml", &["ARM64".into()]), Some("arm64"));
        assert_eq!(wanted_architecture("ci.yml", &["linux".into(), "X64".into()]), Some("x64"));
    }

    #[test]
    fn what_strangers_can_write_is_refused_unless_allowed() {
        let mut pool = pool();
        let public = QueuedJob { is_private: false, ..job(1) };
        assert_eq!(judge(&pool, "x64", &job(1)), Verdict::Served);
        assert_eq!(judge(&pool, "x64", &public), Verdict::Refused(Refusal::Public));
        pool.allowed.insert("Octo/One".into());
        assert_eq!(judge(&pool, "x64", &public), Verdict::Served);
        let fork = QueuedJob {
            event: "pull_request".into(),
            head_repository: Some("stranger/one".into()),
            ..public.clone()
        };
        assert_eq!(judge(&pool, "x64", &fork), Verdict::Refused(Refusal::Fork("stranger/one".into())));
        let gone = QueuedJob { event: "pull_request_target".into(), head_repository: None, ..public.clone() };
        assert!(matches!(judge(&pool, "x64", &gone), Verdict::Refused(Refusal::Fork(_))));
        pool.allows_forks = true;
        assert_eq!(judge(&pool, "x64", &fork), Verdict::Served);
    }

    #[test]
    fn a_job_for_others_is_no_refusal_and_docker_is_said_before_the_start() {
        let mut pool = pool();
        let other = QueuedJob { labels: vec!["ubuntu-latest".into()], is_private: false, ..job(1) };
        assert_eq!(judge(&pool, "x64", &other), Verdict::Others);
        let arm = QueuedJob { workflow: "arm64-ci.yml".into(), ..job(1) };
        assert_eq!(judge(&pool, "x64", &arm), Verdict::Others);
        pool.filters_architecture = false;
        assert_eq!(judge(&pool, "x64", &arm), Verdict::Served);
        let docker = QueuedJob { needs_docker: Some("`services:`".into()), ..job(1) };
        let Verdict::Refused(refusal) = judge(&pool, "x64", &docker) else { panic!("served") };
        assert!(refusal.why().contains("`services:`") && refusal.remedy().contains("rootless-sidecar"));
        pool.policy.docker = DockerAccess::RootlessSidecar;
        assert_eq!(judge(&pool, "x64", &docker), Verdict::Served);
    }
}
