//! Two and three nodes with real stores on real sockets: logs become equal, blobs follow, strangers stay outside.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by failing")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wfengine_core::command::Command;
use wfengine_core::seal::Author;
use wfengine_core::time::{Monotonic, Now, WallMs};
use wfengine_protocol::{JoinAnswer, JoinDecision, JoinRefusal, JoinRequest};
use wfengine_quic::driver::{Driver, Host, HostFuture, Start};
use wfengine_quic::{Endpoint, Identity, Limits};
use wfengine_storage_format::{
    BlobId, ChainId, ClusterFounded, ClusterId, Frozen, Grant, Incarnation, JobId, Origin, PeerAdmitted,
    PeerId, Placement, Roles, RunSpec, RunSubmitted, Signer, WorkflowSpec,
};
use wfengine_store::{Blobs, DataDir, Purpose, Store};

const NOW: WallMs = WallMs(1_700_000_000_000);
/// A test that waits longer than this has failed.
const DEADLINE: Duration = Duration::from_secs(30);

struct Silent(Instant);

impl Host for Silent {
    fn now(&self) -> Now {
        let monotonic = Monotonic(u64::try_from(self.0.elapsed().as_millis()).unwrap());
        Now { wall: WallMs(NOW.0 + monotonic.0), monotonic }
    }
    fn beat(&self, _bytes: &[u8]) -> bool {
        false
    }
    fn presence(&self, _peer: PeerId, _is_alive: bool) {}
    fn behind(&self, _: u64) {}
    fn admit(&self, _peer: PeerId, _request: JoinRequest) -> HostFuture<JoinDecision> {
        Box::pin(async { Err(JoinRefusal::UnknownInvite) })
    }
    fn log_part(&self, job: JobId, offset: u64) -> HostFuture<Option<(Vec<u8>, bool)>> {
        Box::pin(async move {
            (job.as_bytes() == &[7; 32]).then(|| (format!("from {offset}").into_bytes(), false))
        })
    }
    fn rolled_back(&self, detail: String) {
        panic!("{detail}");
    }
    fn join_answered(&self, _answer: JoinAnswer) {}
}

struct Node {
    _dir: tempfile::TempDir,
    store: Store,
    blobs: Blobs,
    driver: Driver,
}

impl Node {
    fn start(dir: tempfile::TempDir, signer: Signer, cluster: ClusterId, dial: Vec<String>) -> Self {
        let data = DataDir::open(dir.path()).unwrap();
        let fresh = Incarnation::from_bytes(*signer.peer_id().as_bytes().first_chunk::<16>().unwrap());
        let (store, _) =
            Store::open(&data.cluster_dir(&cluster), signer.clone(), Purpose::Serve, fresh, "").unwrap();
        let blobs = Blobs::open(data.blobs_dir(&cluster)).unwrap();
        let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let seed = *signer.peer_id().as_bytes();
        let endpoint = Endpoint::bind(loopback, 0, Identity::new(signer), Limits::default()).unwrap();
        let driver = Driver::start(Start {
            endpoint,
            recorder: store.recorder().clone(),
            watcher: store.watcher().clone(),
            blobs: blobs.clone(),
            host: Arc::new(Silent(Instant::now())),
            name: "a node".into(),
            software: "test".into(),
            addresses: Vec::new(),
            dial,
            join: None,
            seed,
        });
        Self { _dir: dir, store, blobs, driver }
    }

    fn address(&self) -> String {
        self.driver.local_addr().unwrap().to_string()
    }

    async fn ask(&self, command: Command) {
        self.store.recorder().ask(command, NOW).await.unwrap();
    }

    async fn submit(&self, id: &str, source: Option<BlobId>) {
        let spec = match source {
            None => RunSpec::Task { workflow_id: String::new() },
            Some(source) => RunSpec::Workflow(WorkflowSpec {
                path: "a.yml".into(),
                source,
                called: vec![],
                job_keys: vec!["a".into()],
                rules_version: 1,
            }),
        };
        let submission = Box::new(RunSubmitted {
            trigger_key: format!("id:{id}").into_bytes(),
            attempt: 1,
            name: id.to_owned(),
            spec,
            frozen: Frozen::default(),
            tags: vec![],
            metadata_json: String::new(),
            priority_milli: 3000,
            placement: Placement::Rule,
            origin: Origin::Hand,
            retries: 0,
            backoff_ms: (0, 0),
            rerun_of: None,
        });
        self.ask(Command::Submit { submission, plan: vec![], blobs: source.into_iter().collect() }).await;
    }

    fn clock(&self) -> [u8; 32] {
        self.store.watcher().frontier().clock_hash()
    }

    /// Waits until a condition holds, looking after every commit and every 20 ms.
    async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let mut news = self.store.watcher().subscribe();
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
            let _ = tokio::time::timeout(Duration::from_millis(20), news.recv()).await;
        }
    }
}

/// A founded cluster whose members are already admitted; everybody but the founder has an empty log.
fn cluster(members: u8) -> (ClusterId, Vec<(tempfile::TempDir, Signer)>) {
    let dirs: Vec<(tempfile::TempDir, Signer)> =
        (1..=members).map(|n| (tempfile::tempdir().unwrap(), Signer::from_seed(&[n; 32]))).collect();
    let (dir, founder) = &dirs[0];
    let data = DataDir::open(dir.path()).unwrap();
    let chain = ChainId { author: founder.peer_id(), incarnation: Incarnation::from_bytes([0xf0; 16]) };
    let author = Author { signer: founder.clone(), chain };
    let body = ClusterFounded { name: "home".into(), nonce: [1; 16], system: vec![] };
    let cluster = Store::found(&data, &author, body, NOW).unwrap();
    let fresh = Incarnation::from_bytes([0xf1; 16]);
    let (store, _) =
        Store::open(&data.cluster_dir(&cluster), founder.clone(), Purpose::Serve, fresh, "").unwrap();
    for (dir, signer) in &dirs[1..] {
        let grant = Grant::Direct { roles: Roles::MEMBER, labels: vec![] };
        let body = PeerAdmitted { peer: signer.peer_id(), name: "m".into(), system: vec![], grant };
        store.recorder().ask_blocking(Command::Admit(body), NOW).unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        Store::create(&data.cluster_dir(&cluster), cluster, &[], NOW).unwrap();
    }
    store.close().unwrap();
    (cluster, dirs)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_member_gets_the_whole_log_and_later_events_both_ways() {
    let (cluster, mut dirs) = tokio::task::spawn_blocking(|| cluster(2)).await.unwrap();
    let ((dir_b, b), (dir_a, a)) = (dirs.pop().unwrap(), dirs.pop().unwrap());
    let alice = Node::start(dir_a, a, cluster, vec![]);
    for n in 0..300 {
        alice.submit(&format!("before-{n}"), None).await;
    }
    let bob = Node::start(dir_b, b, cluster, vec![alice.address()]);
    bob.until("bob has what alice had", || bob.clock() == alice.clock()).await;
    for n in 0..50 {
        alice.submit(&format!("alice-{n}"), None).await;
        bob.submit(&format!("bob-{n}"), None).await;
    }
    alice.until("alice has everything", || alice.store.watcher().views().runs().len() == 400).await;
    bob.until("the logs are equal", || bob.clock() == alice.clock()).await;
    assert_eq!(alice.store.watcher().view_digest(), bob.store.watcher().view_digest());
    assert_eq!(alice.driver.links().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_follow_their_submission_and_missing_blobs_are_fetched() {
    let (cluster, mut dirs) = tokio::task::spawn_blocking(|| cluster(2)).await.unwrap();
    let ((dir_b, b), (dir_a, a)) = (dirs.pop().unwrap(), dirs.pop().unwrap());
    let peer_b = b.peer_id();
    let alice = Node::start(dir_a, a, cluster, vec![]);
    let bob = Node::start(dir_b, b, cluster, vec![alice.address()]);
    alice.until("they are connected", || alice.driver.links().len() == 1).await;
    let source = alice.blobs.put(&vec![b'x'; 300_000]).unwrap();
    alice.submit("with-source", Some(source)).await;
    bob.until("the source is there", || bob.blobs.has(&source)).await;
    let event = alice.store.watcher().frontier().heads[0].id;
    bob.until("bob has the event", || bob.clock() == alice.clock()).await;
    assert_eq!(alice.driver.holders(event, vec![source]).await, vec![peer_b]);
    let later = bob.blobs.put(b"only bob has this").unwrap();
    alice.driver.fetch_blob(later).await.unwrap();
    assert_eq!(alice.blobs.read(&later).unwrap(), b"only bob has this");
    let log = alice.driver.follow_log(peer_b, JobId::from_bytes([7; 32]), 5).await.unwrap();
    assert_eq!(log, b"from 5");
    assert!(alice.driver.follow_log(peer_b, JobId::from_bytes([8; 32]), 0).await.is_err());
    assert!(alice.driver.fetch_blob(BlobId::from_bytes([1; 32])).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_only_meet_the_third_become_equal() {
    let (cluster, mut dirs) = tokio::task::spawn_blocking(|| cluster(3)).await.unwrap();
    let (dir_c, c) = dirs.pop().unwrap();
    let (dir_b, b) = dirs.pop().unwrap();
    let (dir_a, a) = dirs.pop().unwrap();
    let middle = Node::start(dir_a, a, cluster, vec![]);
    let left = Node::start(dir_b, b, cluster, vec![middle.address()]);
    let right = Node::start(dir_c, c, cluster, vec![middle.address()]);
    left.until("left knows the cluster", || left.clock() == middle.clock()).await;
    right.until("right knows the cluster", || right.clock() == middle.clock()).await;
    for n in 0..20 {
        left.submit(&format!("left-{n}"), None).await;
        right.submit(&format!("right-{n}"), None).await;
    }
    let all = |node: &Node| node.store.watcher().views().runs().len() == 40;
    left.until("left has all", || all(&left)).await;
    right.until("right has all", || all(&right)).await;
    middle.until("the middle has all", || all(&middle)).await;
    left.until("equal", || left.clock() == right.clock() && left.clock() == middle.clock()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_told_nothing() {
    let (cluster, mut dirs) = tokio::task::spawn_blocking(|| cluster(1)).await.unwrap();
    let (dir_a, a) = dirs.pop().unwrap();
    let alice = Node::start(dir_a, a, cluster, vec![]);
    alice.submit("secret", None).await;
    let dir = tempfile::tempdir().unwrap();
    let data = DataDir::open(dir.path()).unwrap();
    Store::create(&data.cluster_dir(&cluster), cluster, &[], NOW).unwrap();
    let mallory = Node::start(dir, Signer::from_seed(&[66; 32]), cluster, vec![alice.address()]);
    // the address book dials again after a second: two refusals have happened by the time two seconds are over
    let begun = Instant::now();
    mallory.until("time for two dials", || begun.elapsed() > Duration::from_millis(2_500)).await;
    assert_eq!(mallory.store.watcher().frontier().events_len, 0);
    assert!(alice.driver.links().is_empty());
}
