//! A stand-in with its time and a yard, and what must hold at the end of every test.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use wfengine_autoscaler::Pool;
use wfengine_autoscaler::pool::{Policy, Register, Watched};
use wfengine_tests::standin::{
    DuringLimit, JobId, Options, Progress, RepositoryOptions, RunId, Standin, StandinClock, TokenKind,
    WantedJob, WantedRun,
};
use wfengine_tests::virtual_time::Time;

use crate::cuts::Cuts;
use crate::node::Node;
use crate::yard::{LABELS, Thing, Yard};

/// As many registrations as a client has under way.
const REGISTRATIONS_AT_ONCE: usize = 4;

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

    /// Requests of somebody who had been told to wait. Runners are registered up to four at a time: what was on its way beside the one
    /// that was refused first is none of them.
    pub(crate) fn asked_in_vain(&self) -> Vec<DuringLimit> {
        let (asked, mut in_vain) = (self.github.requests(), self.github.requests_during_limits());
        let told_at: BTreeSet<u64> = in_vain.iter().map(|vain| vain.at).collect();
        for at in told_at {
            let refused =
                asked.iter().filter(|asked| asked.at == at && matches!(asked.status, 403 | 429)).count();
            let vain = in_vain.iter().filter(|vain| vain.at == at).count();
            let makes_runners = |vain: &DuringLimit| vain.request.ends_with("/generate-jitconfig");
            let has_first = refused > vain && vain < REGISTRATIONS_AT_ONCE;
            in_vain.retain(|vain| vain.at != at || !has_first || !makes_runners(vain));
        }
        in_vain
    }

    /// A run of a repository is at work elsewhere, on a machine that is none of ours.
    pub(crate) fn run_elsewhere(&self, repository: &str) -> RunId {
        let jobs = vec![WantedJob::new("elsewhere", &["ubuntu-latest"])];
        let run = self.github.queue_run(repository, &WantedRun::new(jobs));
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
        assert_eq!(self.asked_in_vain(), [], "requests during a limit");
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
        allowed: BTreeSet::new(),
        allows_public: false,
        allows_forks: false,
        filters_architecture: true,
        shares_with_p2p: false,
        reserve_memory_bytes: 0,
        reserve_cpus_milli: 0,
        engine_socket: None,
        engine_group: None,
        github_url: None,
        // the firewall is the host's own, and no container is here
        policy: Policy { allows_host: true, image: "runner:1".to_owned(), ..Policy::default() },
    }
}
