//! A founded log in a directory of its own, for the tests of this crate that look behind the handles.

use std::path::PathBuf;
use std::sync::Arc;

use wfengine_core::admitted::Admitted;
use wfengine_core::command::Command;
use wfengine_core::seal::Author;
use wfengine_core::time::WallMs;
use wfengine_core::views::Views;
use wfengine_core::views::runs::NoHistory;
use wfengine_storage_format::{
    ChainId, ClusterFounded, ClusterId, Frozen, Grant, Hash32, Incarnation, Origin, PeerAdmitted, Placement,
    Roles, RunId, RunSpec, RunSubmitted, Signer, VerifiedFrame,
};

use crate::data_dir::DataDir;
use crate::error::StoreError;
use crate::open::{Opened, Purpose, Store};

pub(crate) const NOW: WallMs = WallMs(1_700_000_000_000);

/// A cluster whose founder is alice, and who may be let in.
pub(crate) struct Home {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) cluster: ClusterId,
    founded: PathBuf,
}

pub(crate) fn signer(seed: u8) -> Signer {
    Signer::from_seed(&[seed; 32])
}

impl Home {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path().join("data")).unwrap();
        let chain = ChainId { author: signer(1).peer_id(), incarnation: Incarnation::from_bytes([0xf0; 16]) };
        let author = Author { signer: signer(1), chain };
        let body = ClusterFounded { name: "home".into(), nonce: [1; 16], system: vec!["linux".into()] };
        let cluster = Store::found(&data, &author, body, NOW).unwrap();
        Self { founded: data.cluster_dir(&cluster), dir, cluster }
    }

    /// Opens alice's log under an incarnation.
    pub(crate) fn open(&self, fresh: u8) -> Result<(Store, Opened), StoreError> {
        let fresh = Incarnation::from_bytes([fresh; 16]);
        Store::open(&self.founded, signer(1), Purpose::Serve, fresh, "boot")
    }

    /// Lets bob in and opens his log, which begins as alice's is.
    pub(crate) fn with_bob(&self, alice: &Store) -> Store {
        let grant = Grant::Direct { roles: Roles::MEMBER, labels: vec![] };
        let admitted = PeerAdmitted { peer: signer(2).peer_id(), name: "bob".into(), system: vec![], grant };
        alice.recorder().ask_blocking(Command::Admit(admitted), NOW).unwrap();
        let dir = self.dir.path().join("bob");
        Store::create(&dir, self.cluster, &frames(alice, 0), NOW).unwrap();
        Store::open(&dir, signer(2), Purpose::Serve, Incarnation::from_bytes([2; 16]), "boot").unwrap().0
    }
}

/// The frames of a log from a number on.
pub(crate) fn frames(store: &Store, from: u64) -> Vec<VerifiedFrame> {
    store.watcher().frames(from, usize::MAX).unwrap().into_iter().map(|stored| stored.frame).collect()
}

/// The digest of views that were folded from a log's frames alone, one event after the other.
pub(crate) fn folded_anew(store: &Store) -> Hash32 {
    let mut views = Views::new(store.watcher().cluster());
    for frame in frames(store, 0) {
        for event in Admitted::of_frame(frame, NOW) {
            views.apply(&Arc::clone(&event), &NoHistory);
        }
    }
    views.digest()
}

pub(crate) fn task(id: &str) -> RunSubmitted {
    RunSubmitted {
        trigger_key: format!("id:{id}").into_bytes(),
        attempt: 1,
        name: id.to_owned(),
        spec: RunSpec::Task { workflow_id: "w".into() },
        frozen: Frozen::default(),
        tags: vec![],
        metadata_json: String::new(),
        priority_milli: 3000,
        placement: Placement::Rule,
        origin: Origin::Hand,
        retries: 0,
        backoff_ms: (0, 0),
        rerun_of: None,
    }
}

pub(crate) fn submission(id: &str) -> Command {
    Command::Submit { submission: Box::new(task(id)), plan: vec![], blobs: vec![] }
}

pub(crate) fn submit(store: &Store, id: &str) -> RunId {
    store.recorder().ask_blocking(submission(id), NOW).unwrap();
    task(id).run()
}

/// Submits a run and ends it, unclaimed.
pub(crate) fn end(store: &Store, run: RunId) {
    store.recorder().ask_blocking(Command::Cancel { run, reason: String::new() }, NOW).unwrap();
}
