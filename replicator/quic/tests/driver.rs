//! Two and three nodes with real stores on real sockets: logs become equal, blobs follow, strangers stay outside.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by failing")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wfengine_core::command::Command;
use wfengine_core::seal::Author;
use wfengine_core::time::{Monotonic, Now, WallMs};
use wfengine_protocol::{
    JoinAnswer, JoinDecision, JoinRefusal, JoinRequest, Projection, SegmentNumber, document_bytes, frames_of,
    segments_of,
};
use wfengine_quic::driver::{Driver, Host, HostFuture, OpenDocument, Start};
use wfengine_quic::{Endpoint, Identity, Limits};
use wfengine_storage_format::{
    BlobId, ChainId, ClusterFounded, ClusterId, Frozen, Grant, Incarnation, JobId, Origin, PeerAdmitted,
    PeerId, Placement, Roles, RunSpec, RunSubmitted, Signer, WorkflowSpec,
};
use wfengine_store::{Blobs, DataDir, Purpose, Store, StoreError};

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
        let submission = submission(id, source, String::new());
        self.ask(Command::Submit { submission, plan: vec![], blobs: source.into_iter().collect() }).await;
    }

    fn clock(&self) -> [u8; 32] {
        self.store.watcher().frontier().clock_hash()
    }

    /// The chain of an author that was written last.
    fn chain_of(&self, author: &Signer) -> ChainId {
        let frontier = self.store.watcher().frontier();
        let chains = frontier.chains.iter().filter(|(chain, _)| chain.author == author.peer_id());
        *chains.max_by_key(|(_, state)| state.height).unwrap().0
    }

    /// The document of a chain's last segment, made of the stored frames.
    fn document(&self, chain: &ChainId) -> OpenDocument {
        let frames = self.store.watcher().chain_frames(chain, 0, usize::MAX).unwrap();
        let segments = segments_of(frames.iter().map(|stored| stored.frame.bytes().len())).unwrap();
        let segment = SegmentNumber(segments.len() as u64 - 1);
        let last = || frames[segments.last().unwrap().clone()].iter().map(|stored| stored.frame.bytes());
        let file = document_bytes(chain, segment, last()).unwrap();
        let head = frames_of(&file).unwrap().head;
        assert_eq!(Projection::rebuild(chain, segment, last()).unwrap().head(), Some(head));
        let length = frames.last().unwrap().frame.header().end_seq();
        OpenDocument { chain: *chain, segment, head, length }
    }

    /// Waits until the documents kept of these chains are those of the stored frames, and says which segments they are.
    async fn has_documents(&self, chains: &[ChainId]) -> Vec<SegmentNumber> {
        let expected: Vec<OpenDocument> = chains.iter().map(|chain| self.document(chain)).collect();
        self.until("the documents are those of the log", || {
            let open = self.driver.documents().open;
            expected.iter().all(|document| open.contains(document))
        })
        .await;
        assert_eq!(self.driver.documents().disagreements, 0);
        expected.iter().map(|document| document.segment).collect()
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

fn submission(id: &str, source: Option<BlobId>, metadata_json: String) -> Box<RunSubmitted> {
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
    Box::new(RunSubmitted {
        trigger_key: format!("id:{id}").into_bytes(),
        attempt: 1,
        name: id.to_owned(),
        spec,
        frozen: Frozen::default(),
        tags: vec![],
        metadata_json,
        priority_milli: 3000,
        placement: Placement::Rule,
        origin: Origin::Hand,
        retries: 0,
        backoff_ms: (0, 0),
        rerun_of: None,
    })
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_follow_the_log_on_every_node() {
    let (cluster, mut dirs) = tokio::task::spawn_blocking(|| cluster(2)).await.unwrap();
    let ((dir_b, b), (dir_a, a)) = (dirs.pop().unwrap(), dirs.pop().unwrap());
    let alice = Node::start(dir_a, a.clone(), cluster, vec![]);
    let bob = Node::start(dir_b, b.clone(), cluster, vec![alice.address()]);
    bob.until("bob knows the cluster", || bob.clock() == alice.clock()).await;
    for n in 0..20 {
        alice.submit(&format!("alice-{n}"), None).await;
        bob.submit(&format!("bob-{n}"), None).await;
    }
    alice.until("alice has everything", || alice.store.watcher().views().runs().len() == 40).await;
    bob.until("the logs are equal", || bob.clock() == alice.clock()).await;
    let chains = [alice.chain_of(&a), alice.chain_of(&b)];
    assert_eq!(alice.has_documents(&chains).await, [SegmentNumber(0); 2]);
    assert_eq!(bob.has_documents(&chains).await, [SegmentNumber(0); 2]);
    // frame by frame into the next segment
    for n in 0..300 {
        alice.submit(&format!("more-{n}"), None).await;
    }
    bob.until("bob has them", || bob.clock() == alice.clock()).await;
    assert_eq!(alice.has_documents(&chains).await, [SegmentNumber(1), SegmentNumber(0)]);
    assert_eq!(bob.has_documents(&chains).await, [SegmentNumber(1), SegmentNumber(0)]);
    for node in [&alice, &bob] {
        assert!(node.driver.documents().changes > 0);
        assert_eq!(node.driver.documents().given_up, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_that_fell_behind_are_made_from_the_log_in_one_go() {
    let (cluster, mut dirs) = tokio::task::spawn_blocking(|| cluster(2)).await.unwrap();
    let ((dir_b, b), (dir_a, a)) = (dirs.pop().unwrap(), dirs.pop().unwrap());
    let alice = Node::start(dir_a, a.clone(), cluster, vec![]);
    // 3 MiB, which take a few frames or many
    let mut writes = tokio::task::JoinSet::new();
    for part in 0..100 {
        let recorder = alice.store.recorder().clone();
        let metadata = format!("\"{}\"", "x".repeat(32_700));
        let submission = submission(&format!("large-{part}"), None, metadata);
        let command = Command::Submit { submission, plan: vec![], blobs: vec![] };
        writes.spawn(async move { recorder.ask(command, NOW).await.unwrap() });
    }
    writes.join_all().await;
    let chain = alice.chain_of(&a);
    alice.has_documents(&[chain]).await;
    // brought at once they are more in one commit than may wait for automerge
    let bob = Node::start(dir_b, b, cluster, vec![]);
    let bring = async |from: u64| {
        let stored = alice.store.watcher().frames(from, 1_000).unwrap();
        let frames: Vec<_> = stored.into_iter().map(|stored| stored.frame).collect();
        bob.store.recorder().take(frames, a.peer_id(), NOW).await.unwrap();
        bob.clock()
    };
    assert_eq!(bring(0).await, alice.clock());
    let chains: Vec<ChainId> = bob.store.watcher().frontier().chains.keys().copied().collect();
    bob.has_documents(&chains).await;
    let behind = bob.driver.documents();
    assert!(behind.rebuilt > 0, "{behind:?}");
    // and it follows from there, change by change
    let known = alice.store.watcher().frontier().frames_len;
    for n in 0..5 {
        alice.submit(&format!("later-{n}"), None).await;
    }
    assert_eq!(bring(known).await, alice.clock());
    bob.has_documents(&chains).await;
    let after = bob.driver.documents();
    assert_eq!((after.changes - behind.changes, after.rebuilt), (5, behind.rebuilt));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_that_ended_leaves_the_log_to_the_next() {
    let (cluster, mut dirs) = tokio::task::spawn_blocking(|| cluster(1)).await.unwrap();
    let (mut dir, signer) = dirs.pop().unwrap();
    for stop in [true, false] {
        let node = Node::start(dir, signer.clone(), cluster, vec![]);
        node.submit(&format!("stop {stop}"), None).await;
        node.has_documents(&[node.chain_of(&signer)]).await;
        if stop {
            node.driver.stop().await;
        }
        let Node { _dir, store, blobs, driver } = node;
        drop((store, blobs, driver));
        // the file has one owner: a thread that went on would keep it
        let at = DataDir::open(_dir.path()).unwrap().cluster_dir(&cluster);
        let begun = Instant::now();
        loop {
            let fresh = Incarnation::from_bytes([u8::from(stop); 16]);
            match Store::open(&at, signer.clone(), Purpose::Serve, fresh, "") {
                Ok(_) => break,
                Err(StoreError::Locked { .. }) if begun.elapsed() < DEADLINE => {
                    tokio::task::yield_now().await
                }
                Err(error) => panic!("{error}"),
            }
        }
        dir = _dir;
    }
}
