//! A node for tests: a real log on disk, a clock that stands still until it is moved, checkouts made with the git program.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part of this")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "functions of tests fail by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wfengine_core::command::Command;
use wfengine_core::seal::Author;
use wfengine_core::time::WallMs;
use wfengine_core::views::run::Run;
use wfengine_discovery::source::{FolderSource, Source};
use wfengine_discovery::{Discovery, Host, HostError, Options};
use wfengine_git::Git;
use wfengine_storage_format::{BlobId, ChainId, ClusterFounded, Incarnation, PeerId, Signer};
use wfengine_store::data_dir::DataDir;
use wfengine_store::{AskError, Blobs, KeyedCache, Purpose, Receipt, Store, Watcher};

/// 2026-01-05 00:00:00 UTC, a Monday.
pub const MONDAY_S: u64 = 1_767_571_200;

/// A node that looks for workflows.
pub struct Lab {
    pub store: Store,
    blobs: Blobs,
    cache: KeyedCache,
    work: PathBuf,
    git: Option<Git>,
    now_ms: AtomicU64,
    /// What members before this one in turn are said to be.
    pub before: AtomicU64,
    number: AtomicU64,
}

/// The git program, if this host has one.
pub fn git() -> Option<Git> {
    Git::find(&std::env::var_os("PATH")?).ok()
}

impl Lab {
    /// A node in a folder; the same folder again is the same node after a restart.
    pub fn open(folder: &Path) -> Arc<Self> {
        let data = DataDir::open(folder.join("data")).unwrap();
        let signer = Signer::from_seed(&[1; 32]);
        let cluster = match data.current_cluster().unwrap() {
            Some(cluster) => cluster,
            None => {
                let chain =
                    ChainId { author: signer.peer_id(), incarnation: Incarnation::from_bytes([0; 16]) };
                let author = Author { signer: signer.clone(), chain };
                let body = ClusterFounded { name: "lab".into(), nonce: [1; 16], system: vec![] };
                let cluster = Store::found(&data, &author, body, WallMs(MONDAY_S * 1_000)).unwrap();
                data.set_current_cluster(&cluster).unwrap();
                cluster
            }
        };
        let mut fresh = [0; 16];
        getrandom::fill(&mut fresh).unwrap();
        let fresh = Incarnation::from_bytes(fresh);
        let (store, _) =
            Store::open(&data.cluster_dir(&cluster), signer, Purpose::Serve, fresh, "boot").unwrap();
        Arc::new(Self {
            store,
            blobs: Blobs::open(folder.join("blobs")).unwrap(),
            cache: KeyedCache::open(&folder.join("cache.redb"), 64 << 20).unwrap(),
            work: folder.join("work"),
            git: git(),
            now_ms: AtomicU64::new(MONDAY_S * 1_000),
            before: AtomicU64::new(0),
            number: AtomicU64::new(0),
        })
    }

    pub fn pass(&self, seconds: u64) {
        self.now_ms.fetch_add(seconds * 1_000, Ordering::Relaxed);
    }

    /// All runs, the oldest first, as event name, ref and path.
    pub fn runs(&self) -> Vec<(String, String, String)> {
        self.all_runs()
            .iter()
            .map(|run| {
                let submitted = run.submitted.as_ref().unwrap();
                let path = String::from_utf8_lossy(&submitted.trigger_key).into_owned();
                let path = path.split(':').nth(2).unwrap().rsplit('/').next().unwrap().to_owned();
                (submitted.frozen.event_name.clone(), submitted.frozen.ref_name.clone(), path)
            })
            .collect()
    }

    pub fn all_runs(&self) -> Vec<Run> {
        let views = self.store.watcher().views();
        let mut runs: Vec<Run> = views.runs().all_live().cloned().collect();
        runs.sort_by_key(|run| run.submission().unwrap().height);
        runs
    }

    pub fn events(&self) -> u64 {
        let frontier = self.store.watcher().frontier();
        frontier.chains.values().map(|chain| chain.length).sum()
    }
}

impl Host for Lab {
    fn watcher(&self) -> &Watcher {
        self.store.watcher()
    }
    fn blobs(&self) -> &Blobs {
        &self.blobs
    }
    fn cache(&self) -> &KeyedCache {
        &self.cache
    }
    fn peer(&self) -> PeerId {
        self.store.chain().author
    }
    async fn ask(&self, command: Command) -> Result<Receipt, AskError> {
        self.store.recorder().ask(command, WallMs(self.wall_ms())).await
    }
    fn wall_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }
    fn place_for(&self, _what: &str, _among: &[PeerId]) -> usize {
        usize::try_from(self.before.load(Ordering::Relaxed)).unwrap()
    }
    async fn bring(&self, blob: &BlobId) -> bool {
        self.blobs.has(blob)
    }
    fn work_dir(&self) -> &Path {
        &self.work
    }
    fn git(&self) -> Option<&Git> {
        self.git.as_ref()
    }
    fn random(&self) -> Result<[u8; 16], HostError> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        Ok(u128::from(number).to_le_bytes())
    }
}

/// A checkout.
#[derive(Clone)]
pub struct Checkout {
    pub folder: PathBuf,
}

impl Checkout {
    pub fn new(folder: PathBuf) -> Self {
        std::fs::create_dir_all(&folder).unwrap();
        let checkout = Self { folder };
        checkout.git(&["init", "--quiet", "-b", "main"]);
        checkout
    }

    pub fn git(&self, arguments: &[&str]) -> String {
        let output = Process::new("git")
            .args(["-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "commit.gpgsign=false"])
            .args(arguments)
            .current_dir(&self.folder)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_COMMITTER_DATE", "2025-12-20T00:00:00Z")
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub fn write(&self, path: &str, text: &str) -> &Self {
        let file = self.folder.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
        self
    }

    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }
}

/// A tagged workflow.
pub fn workflow(tags: &str, on: &str) -> String {
    format!(
        "name: CI\n# P2P: {tags}\non: {on}\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n    - run: echo hi\n"
    )
}

/// Discovery over a folder of checkouts.
pub fn over(lab: &Arc<Lab>, folder: &Path, options: Options) -> Discovery<Lab> {
    let source = Source::Folder(FolderSource::new(folder.to_owned(), git(), lab.peer()));
    Discovery::new(Arc::clone(lab), vec![source], options)
}
