//! Where this host's node lives: the data directory, its key and name, the cluster founded at first use, local settings.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use wfengine_api::{Exit, Failure};
use wfengine_core::seal::Author;
use wfengine_core::time::WallMs;
use wfengine_storage_format::{ChainId, ClusterFounded, ClusterId, Incarnation, PeerId, Signer};
use wfengine_store::data_dir::DirLock;
use wfengine_store::{DataDir, Purpose, Store};

/// What is decided on this host alone and never enters the log.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    /// What the node is called; the host's name if empty.
    pub(crate) name: String,
    /// Addresses to connect to, `host:port`.
    pub(crate) addresses: BTreeSet<String>,
    /// Run what any member submits.
    pub(crate) allow_any: bool,
    /// Run what these members submit.
    pub(crate) allow_peers: BTreeSet<String>,
    /// Run workflows of these repositories.
    pub(crate) allow_repositories: BTreeSet<String>,
    /// Claim nothing.
    pub(crate) paused: bool,
    /// Members seen within a day, by id, with the wall time of the last sight in milliseconds.
    pub(crate) seen: std::collections::BTreeMap<String, u64>,
    /// Which workflows this node looks for.
    pub(crate) discovery: crate::node::discovery::Wishes,
    /// Pools of runners, by name.
    pub(crate) autoscaler: std::collections::BTreeMap<String, crate::node::autoscaler::RunnerWishes>,
    /// Until when programs hold the tasks that short commands handed out, by the id of the claim.
    pub(crate) leases: std::collections::BTreeMap<String, crate::node::Lease>,
}

/// The data directory with everything that does not need the log.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    pub(crate) data: DataDir,
    pub(crate) signer: Signer,
}

/// Finds the data directory: `--data-dir` or WFENGINE_DATA_DIR, P2P_DATA_DIR with a note, else the user's data folder, or
/// /var/lib/wfengine for root without a home.
pub(crate) fn data_dir_path(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    data_dir_with_note(given, crate::terminal::note)
}

/// As [`data_dir_path`], for whoever must not print.
pub(crate) fn data_dir_unsaid(given: Option<PathBuf>) -> Option<PathBuf> {
    data_dir_with_note(given, |_| ()).ok()
}

fn data_dir_with_note(given: Option<PathBuf>, note: impl Fn(&str)) -> Result<PathBuf, Failure> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = given.or_else(|| variable("WFENGINE_DATA_DIR")) {
        return Ok(path);
    }
    if let Some(path) = variable("P2P_DATA_DIR") {
        note("P2P_DATA_DIR is read for compatibility; wfengine's own name is WFENGINE_DATA_DIR");
        return Ok(match path.strip_prefix("~") {
            Ok(rest) => variable("HOME").unwrap_or_default().join(rest),
            Err(_) => path,
        });
    }
    if variable("INVOCATION_ID").is_some() && rustix::process::geteuid().is_root() {
        // started by the service manager
        return Ok(PathBuf::from("/var/lib/wfengine"));
    }
    variable("XDG_DATA_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| variable("HOME").map(|home| home.join(".local/share")))
        .map(|base| base.join("wfengine"))
        .ok_or_else(|| {
            Failure::bad_input("neither HOME nor XDG_DATA_HOME is set: name a directory with --data-dir")
        })
}

/// 32 random bytes of the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        Failure::new(Exit::Failure, format!("the operating system gives no random numbers: {error}"))
    })?;
    Ok(bytes)
}

/// Names this boot of the machine; empty where the system does not say.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

/// Labels of this system: operating system and architecture in GitHub's words.
pub(crate) fn system_labels() -> Vec<String> {
    let os = std::env::consts::OS;
    let arch = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    vec![os.to_owned(), arch.to_owned()]
}

impl Home {
    /// Opens or makes the data directory. First use prints where it is, once.
    pub(crate) fn open(given: Option<PathBuf>) -> Result<Self, Failure> {
        let path = data_dir_path(given)?;
        let path = std::path::absolute(&path).map_err(|error| Failure::io("find", &path, &error))?;
        let data = DataDir::open(path)?;
        if data.was_created() {
            crate::terminal::note(&format!("this node's log and key are kept in {}", data.path().display()));
        }
        if data.known_identity()?.is_none() && !data.clusters().is_empty() {
            let path = data.path().display();
            return Err(Failure::refused(format!(
                "{path}/identity is missing, and without it this host is no member of the clusters in {path}/clusters: put the file back, or move clusters and cluster away to start anew"
            )));
        }
        let seed = random::<32>()?;
        let signer = data.identity(|| seed)?;
        Ok(Self { data, signer })
    }

    /// This node's id.
    pub(crate) fn peer_id(&self) -> PeerId {
        self.signer.peer_id()
    }

    /// The host's own settings.
    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
        let path = self.data.path().join("settings.json");
        match self.data.read_small(&path)? {
            None => Ok(Settings::default()),
            Some(text) => serde_json::from_str(&text).map_err(|error| {
                Failure::bad_input(format!(
                    "{} is damaged: {error}. Correct it, or move it away",
                    path.display()
                ))
            }),
        }
    }

    /// Keeps the host's own settings.
    pub(crate) fn keep_settings(&self, settings: &Settings) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(settings).unwrap_or_default();
        Ok(self.data.write_small(&self.data.path().join("settings.json"), &text)?)
    }

    /// What the node is called.
    pub(crate) fn name(&self) -> Result<String, Failure> {
        let settings = self.settings()?;
        if !settings.name.is_empty() {
            return Ok(settings.name);
        }
        if let Some(name) = std::env::var("P2P_PEER_ID").ok().filter(|name| !name.is_empty()) {
            crate::terminal::note(
                "P2P_PEER_ID is read as this node's name; `wfengine init --name` sets it for good",
            );
            return Ok(name);
        }
        let host = hostname::get().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(if host.is_empty() { self.peer_id().short() } else { host })
    }

    /// The directory of the node's cluster; founds a cluster of one at first use. The caller owns the directory.
    pub(crate) fn cluster(&self, _owned: &DirLock, now: WallMs) -> Result<ClusterId, Failure> {
        if let Some(cluster) = self.data.current_cluster()? {
            return Ok(cluster);
        }
        let chain = ChainId { author: self.peer_id(), incarnation: Incarnation::from_bytes(random()?) };
        let author = Author { signer: self.signer.clone(), chain };
        let body = ClusterFounded { name: self.name()?, nonce: random()?, system: system_labels() };
        let cluster = Store::found(&self.data, &author, body, now)?;
        self.data.set_current_cluster(&cluster)?;
        Ok(cluster)
    }

    /// Opens the log of a cluster for writing.
    pub(crate) fn open_store(&self, cluster: &ClusterId, purpose: Purpose) -> Result<Store, Failure> {
        let dir = self.data.cluster_dir(cluster);
        if !dir.join("log.redb").exists() {
            let file = self.data.path().join("cluster");
            return Err(Failure::new(
                Exit::Failure,
                format!(
                    "the log of cluster {cluster} is missing at {}: restore it, or move {} away to found another cluster",
                    dir.display(),
                    file.display()
                ),
            ));
        }
        let fresh = Incarnation::from_bytes(random()?);
        let (store, opened) = Store::open(&dir, self.signer.clone(), purpose, fresh, &boot_id())?;
        if opened.moved {
            crate::terminal::note(
                "the log's file is a copy or was restored: this node goes on under a new incarnation",
            );
        }
        Ok(store)
    }
}
