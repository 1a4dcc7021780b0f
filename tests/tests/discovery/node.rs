//! A node that looks for workflows: what runs, what outlives a restart, and what tests do with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use wfengine_core::command::Command;
use wfengine_core::time::WallMs;
use wfengine_core::views::repositories::Repository;
use wfengine_core::views::run::Run;
use wfengine_discovery::source::{Connection, GithubSource, Source};
use wfengine_discovery::{Discovery, Host, Options, Outside, OutsideOptions, Report, scope::Scope};
use wfengine_github::credential::TokenOrigin;
use wfengine_github::{AnswerCache, Client, Clock, Credential, MemoryCache, Secret, Settings};
use wfengine_storage_format::{
    Conclusion, EventId, Grant, JobClaimed, JobCompleted, JobId, PeerAdmitted, Roles, RunId, Signer,
};
use wfengine_store::Receipt;
use wfengine_tests::ledger::Ledger;
use wfengine_tests::virtual_time::HostClock;

use crate::lab::{Lab, git};
use crate::world::World;

/// What is on after a restart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Caches {
    /// What was kept.
    Kept,
    /// Nothing.
    Lost,
}

/// What outlives a restart.
#[derive(Clone)]
struct Lasting {
    folder: PathBuf,
    signer: Signer,
    clock: HostClock,
    api: String,
    token: String,
    answers: Arc<MemoryCache>,
    scopes: Vec<Scope>,
    options: Options,
}

/// A node, which runs until it is dropped or restarted.
pub(crate) struct Node {
    pub(crate) lab: Arc<Lab>,
    pub(crate) client: Client,
    pub(crate) discovery: Discovery<Lab>,
    lasting: Lasting,
}

/// Hosts of this system can run the jobs of these tests.
fn system() -> Vec<String> {
    vec!["linux".to_owned()]
}

impl Node {
    /// A node that founds a cluster of its own.
    pub(crate) fn found(world: &World, name: &str, token: String) -> Self {
        let lasting = Lasting::new(world, name, token);
        let now = WallMs(world.time.wall_ms());
        Ledger::found(&lasting.folder, &lasting.signer, system(), now).expect("a cluster");
        Self::start(lasting)
    }

    /// A second member of this node's cluster; from here on neither hears of the other.
    pub(crate) async fn joined_by(&self, world: &World, name: &str) -> Self {
        let lasting = Lasting::new(world, name, self.lasting.token.clone());
        let grant = Grant::Direct { roles: Roles::MEMBER, labels: vec![] };
        let peer = lasting.signer.peer_id();
        let admitted = PeerAdmitted { peer, name: name.to_owned(), system: system(), grant };
        self.ask(Command::Admit(admitted)).await;
        let cluster = self.lab.ledger.store.watcher().cluster();
        let now = WallMs(world.time.wall_ms());
        Ledger::join(&lasting.folder, cluster, &self.lab.frames(), now).expect("a log");
        Self::start(lasting)
    }

    fn start(lasting: Lasting) -> Self {
        let lab = Lab::open(&lasting.folder, &lasting.signer, &lasting.clock);
        let settings = Settings::new(&lasting.api).expect("an address");
        let credential = Credential::Token(Secret::new(lasting.token.as_str()), TokenOrigin::Given);
        let clock: Arc<dyn Clock> = Arc::new(lasting.clock.clone());
        let kept: Arc<dyn AnswerCache> = Arc::clone(&lasting.answers) as _;
        let client = Client::new(settings, &credential, clock, kept, 1).expect("a client");
        let connection = connection(&client, &lasting.folder);
        let source = Source::Github(Box::new(GithubSource::new(connection, lasting.scopes.clone())));
        let discovery = Discovery::new(Arc::clone(&lab), vec![source], lasting.options.clone());
        Self { lab, client, discovery, lasting }
    }

    /// The process ends and begins anew.
    pub(crate) fn restarted(self, caches: Caches) -> Self {
        self.restarted_with(caches, |_| {})
    }

    fn restarted_with(self, caches: Caches, change: impl FnOnce(&mut Lasting)) -> Self {
        let Self { lab, client, discovery, mut lasting } = self;
        drop((discovery, client));
        let lab = Arc::into_inner(lab).expect("nobody else has the node's log");
        lab.ledger.store.close().expect("closed");
        drop(lab);
        if caches == Caches::Lost {
            std::fs::remove_file(lasting.folder.join("cache.redb")).expect("the cache");
            lasting.answers = Arc::default();
        }
        change(&mut lasting);
        Self::start(lasting)
    }

    /// The same node after a restart with other wishes.
    pub(crate) fn wishing(self, options: Options) -> Self {
        self.restarted_with(Caches::Kept, |lasting| lasting.options = options)
    }

    /// The same node after a restart, looking at something else.
    pub(crate) fn looking_at(self, scopes: Vec<Scope>) -> Self {
        self.restarted_with(Caches::Kept, |lasting| lasting.scopes = scopes)
    }

    /// The same node after a restart with another token.
    pub(crate) fn with_token(self, token: String) -> Self {
        self.restarted_with(Caches::Kept, |lasting| lasting.token = token)
    }

    /// The same node after a restart, asking at another address.
    pub(crate) fn asking_at(self, api: String) -> Self {
        self.restarted_with(Caches::Kept, |lasting| lasting.api = api)
    }

    /// The same node after a restart on a host whose clock is wrong.
    pub(crate) fn with_clock_wrong_by(self, seconds: i64) -> Self {
        self.restarted_with(Caches::Kept, |lasting| {
            lasting.clock = HostClock::of(lasting.clock.time(), seconds);
        })
    }

    /// One round.
    pub(crate) async fn round(&mut self) -> Report {
        self.discovery.round().await
    }

    /// Its way to GitHub, as after a start.
    pub(crate) fn outside(&self, options: OutsideOptions) -> Outside<Lab> {
        Outside::new(Arc::clone(&self.lab), connection(&self.client, &self.lasting.folder), options)
    }

    /// All its runs, the oldest first.
    pub(crate) fn runs(&self) -> Vec<Run> {
        let views = self.lab.watcher().views();
        let mut runs: Vec<Run> = views.runs().all_live().cloned().collect();
        runs.sort_by_key(|run| run.submission().map(|submission| (submission.height, submission.id)));
        runs
    }

    /// What its log says of a repository.
    pub(crate) fn knows(&self, name: &str) -> Option<Repository> {
        let views = self.lab.watcher().views();
        views.repositories().all().find(|known| known.name == name).cloned()
    }

    /// Asks its log for something that has to work.
    pub(crate) async fn ask(&self, command: Command) -> Receipt {
        self.lab.ask(command).await.expect("written")
    }

    /// Claims the first job of a run. The job and the claim.
    pub(crate) async fn claim(&self, run: RunId) -> (JobId, EventId) {
        let known = self.lab.watcher().run(&run).expect("known");
        let job = *known.jobs.keys().next().expect("a job");
        let submission = known.canonical.expect("a submission");
        let claim = JobClaimed { run, job, submission, epoch: 1, supersedes: None };
        (job, self.ask(Command::Claim(claim)).await.events[0])
    }

    /// Ends a claimed job.
    pub(crate) async fn complete(&self, run: RunId, job: JobId, claim: EventId, conclusion: Conclusion) {
        let done = JobCompleted {
            run,
            job,
            claim,
            conclusion,
            outputs: vec![],
            result_json: String::new(),
            log: None,
            log_len: 0,
            summary: None,
            artifacts: vec![],
            duration_ms: 1_500,
            notes: vec![],
        };
        self.ask(Command::Complete(done)).await;
    }
}

/// Two nodes hear everything of each other.
pub(crate) async fn exchange(one: &Node, other: &Node) {
    for (from, to) in [(one, other), (other, one)] {
        let now = WallMs(to.lab.wall_ms());
        to.lab.ledger.store.recorder().take(from.lab.frames(), from.lab.peer(), now).await.expect("taken");
    }
}

fn connection(client: &Client, folder: &Path) -> Connection {
    let host = client.settings().host().to_owned();
    Connection { client: client.clone(), host, git: git(), mirrors: folder.join("mirrors") }
}

impl Lasting {
    fn new(world: &World, name: &str, token: String) -> Self {
        Self {
            folder: world.folder(name),
            signer: signer(name),
            clock: HostClock::of(&world.time, 0),
            api: world.github.base_url(),
            token,
            answers: Arc::default(),
            scopes: vec![Scope::All],
            options: Options::default(),
        }
    }
}

fn signer(name: &str) -> Signer {
    let mut seed = [0; 32];
    let bytes = name.as_bytes();
    let len = bytes.len().min(32);
    seed[..len].copy_from_slice(&bytes[..len]);
    Signer::from_seed(&seed)
}
