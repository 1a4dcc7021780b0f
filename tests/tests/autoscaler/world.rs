//! A stand-in with its time and a yard, and what must hold at the end of every test.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use wfengine_autoscaler::Pool;
use wfengine_autoscaler::pool::{Policy, Register, Watched};
use wfengine_tests::standin::{
    JobId, Options, Progress, RepositoryOptions, RunId, Standin, StandinClock, TokenKind,
};
use wfengine_tests::virtual_time::Time;

use crate::cuts::Cuts;
use crate::node::Node;
use crate::yard::{LABELS, Thing, Yard};

/// Everything outside of the node.
pub(crate) struct World {
    pub(crate) github: Arc<Standin>,
    pub(crate) time: Arc<Time>,
    pub(crate) yard: Yard,
    pub(crate) cuts: Arc<Cuts>,
    folder: TempDir,
}

impl World {
    pub(crate) async fn new(options: Options, seed: u64) -> Self {
        let github = Arc::new(Standin::start(options).await.expect("a stand-in"));
        let time = Arc::new(Time::of(github.clock()));
        let cuts = Arc::new(Cuts::default());
        let yard = Yard::new(&github, &time, &cuts, seed);
        Self { github, time, yard, cuts, folder: tempfile::tempdir().expect("a scratch folder") }
    }

    /// One whose time begins at a moment, in seconds since 1970.
    pub(crate) async fn beginning_at(seconds: u64) -> Self {
        Self::new(Options { clock: StandinClock::at(seconds), ..Options::default() }, 1).await
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// A private repository with a commit.
    #[track_caller]
    pub(crate) fn repository(&self, name: &str) {
        self.github.add_repository(name, &RepositoryOptions::private());
        self.github.push(name, "main", &[("README.md", Some(b"a"))], "first");
    }

    /// A token that sees and administers everything of its user.
    pub(crate) fn token(&self) -> String {
        self.github.token(&TokenKind::classic("octo"))
    }

    /// A node of its own.
    pub(crate) async fn node(&self, pool: Pool) -> Node {
        Node::found(self, pool).await
    }

    /// A run is queued now, whose jobs take so many seconds.
    pub(crate) fn queue(&self, repository: &str, seconds: &[u64]) {
        self.yard.now(&Thing::Queue { repository: repository.to_owned(), seconds: seconds.to_vec() });
    }

    /// All jobs that were ever queued.
    pub(crate) fn jobs(&self) -> Vec<JobId> {
        self.github.jobs().iter().map(|job| job.id).collect()
    }

    /// Jobs that are not through.
    pub(crate) fn open_jobs(&self) -> usize {
        self.github.jobs().iter().filter(|job| job.progress != Progress::Completed).count()
    }

    /// A run of a repository is at work elsewhere, on a machine that is none of ours.
    pub(crate) fn run_elsewhere(&self, repository: &str) -> RunId {
        use wfengine_tests::standin::{WantedJob, WantedRun};
        let run = self
            .github
            .queue_run(repository, &WantedRun::new(vec![WantedJob::new("elsewhere", &["ubuntu-latest"])]));
        self.github.start_run(run);
        run
    }

    /// Since the beginning.
    pub(crate) fn passed(&self) -> Duration {
        self.time.passed()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // one failure at a time
        if std::thread::panicking() {
            return;
        }
        assert_eq!(self.github.requests_during_limits(), [], "requests during a limit");
        assert_eq!(self.github.contract_problems(), Vec::<String>::new(), "against GitHub's description");
        let twice = self.github.jobs().into_iter().filter(|job| job.handed_out > 1);
        assert_eq!(twice.map(|job| job.id).collect::<Vec<_>>(), [], "handed out twice");
    }
}

/// A pool of private repositories.
pub(crate) fn pool(runners_max: u32, interval_s: u64) -> Pool {
    Pool {
        name: "default".to_owned(),
        watched: vec![Watched::All],
        register: Register::Repository,
        runner_group: 1,
        labels: [&LABELS[..], &["x64"]].concat().into_iter().map(str::to_owned).collect(),
        runners_max,
        cluster_max: 0,
        idle: Vec::new(),
        interval_ms: interval_s * 1_000,
        since_days: 1,
        allowed: std::collections::BTreeSet::new(),
        allows_public: false,
        allows_forks: false,
        filters_architecture: true,
        shares_with_p2p: false,
        reserve_memory_bytes: 0,
        reserve_cpus_milli: 0,
        engine_socket: None,
        github_url: None,
        // the firewall is the host's own, and no container is here
        policy: Policy { allows_host: true, image: "runner:1".to_owned(), ..Policy::default() },
    }
}
