//! A tiny cluster for tests: nodes with deterministic keys that decide, seal, admit and fold with the real code and keep what they
//! stored in memory. What an honest node never writes is sealed by [`Node::write`] and [`Node::write_raw`], past `decide`.
//!
//! No disk, no network, no clock: a node's time is a counter, and frames travel by [`Node::receive`].

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part of this")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "functions of tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wfengine_core::admitted::Admitted;
use wfengine_core::command::{Command, Decision, Draft, DraftBody, Refusal, decide};
use wfengine_core::log::{Admission, KnownEvents, Location, Rejected};
use wfengine_core::pending::Pending;
use wfengine_core::replay::Reread;
use wfengine_core::seal::{Author, found, seal};
use wfengine_core::time::WallMs;
use wfengine_core::views::run::Run;
use wfengine_core::views::runs::History;
use wfengine_core::{Log, Views};
use wfengine_storage_format::*;

/// What a node stored, answering what the log and the folds may ask a store.
#[derive(Clone, Default)]
pub struct Stored {
    pub frames: Vec<VerifiedFrame>,
    places: BTreeMap<EventId, Location>,
    headers: BTreeMap<(ChainId, u64), SignedHeader>,
    by_run: BTreeMap<RunId, Vec<Arc<Admitted>>>,
}

impl Stored {
    pub fn keep(&mut self, frame: &VerifiedFrame, events: &[Arc<Admitted>]) {
        let header = frame.header();
        self.headers.insert((header.chain, header.first_seq), frame.signed_header());
        for event in events {
            let location = Location { chain: event.chain, seq: event.seq, height: event.height };
            self.places.insert(event.id, location);
            if let Some(run) = event.body.run() {
                self.by_run.entry(run).or_default().push(Arc::clone(event));
            }
        }
        self.frames.push(frame.clone());
    }
}

impl KnownEvents for Stored {
    fn locate(&self, id: &EventId) -> Option<Location> {
        self.places.get(id).copied()
    }
    fn header_at(&self, chain: &ChainId, seq: u64) -> Option<SignedHeader> {
        let (_, header) = self.headers.range(..=(*chain, seq)).next_back()?;
        (header.header.chain == *chain && seq < header.header.end_seq()).then(|| header.clone())
    }
}

impl History for Stored {
    fn events_of_run(&self, run: &RunId) -> Option<Vec<Arc<Admitted>>> {
        Some(self.by_run.get(run).cloned().unwrap_or_default())
    }
}

/// Frames in memory, by number, for a replay.
pub struct Frames(pub Vec<Vec<u8>>);

impl Reread for Frames {
    fn reread(&self, handle: u64) -> Option<Vec<u8>> {
        self.0.get(usize::try_from(handle).ok()?).cloned()
    }
}

/// One node.
#[derive(Clone)]
pub struct Node {
    pub author: Author,
    pub log: Log,
    pub views: Views,
    pub stored: Stored,
    pub proofs: Vec<ForkProved>,
    pub clock: u64,
}

pub fn signer(name: &str) -> Signer {
    Signer::from_seed(&sha256(name.as_bytes()))
}

pub fn peer(name: &str) -> PeerId {
    signer(name).peer_id()
}

fn incarnation(name: &str, number: u8) -> Incarnation {
    let hash = sha256(format!("{name}/{number}").as_bytes());
    Incarnation::from_bytes(hash[..16].try_into().unwrap())
}

impl Node {
    /// A node that founds its cluster.
    pub fn founding(name: &str) -> Self {
        let signer = signer(name);
        let chain = ChainId { author: signer.peer_id(), incarnation: incarnation(name, 0) };
        let author = Author { signer, chain };
        let body = ClusterFounded { name: "home".into(), nonce: [0; 16], system: vec!["linux".into()] };
        let frame = found(&author, body, WallMs(1)).unwrap();
        let mut node = Self::empty(author, frame.header().cluster);
        node.receive(&mut Pending::default(), frame);
        node
    }

    /// A node that knows nothing of a cluster yet.
    pub fn joining(name: &str, cluster: ClusterId) -> Self {
        let signer = signer(name);
        let chain = ChainId { author: signer.peer_id(), incarnation: incarnation(name, 0) };
        Self::empty(Author { signer, chain }, cluster)
    }

    fn empty(author: Author, cluster: ClusterId) -> Self {
        Self {
            author,
            log: Log::new(cluster),
            views: Views::new(cluster),
            stored: Stored::default(),
            proofs: Vec::new(),
            clock: 1_000,
        }
    }

    pub fn peer(&self) -> PeerId {
        self.author.chain.author
    }

    /// Goes on under a new incarnation.
    pub fn restart(&mut self, number: u8) {
        self.author.chain.incarnation = incarnation(&self.peer().to_string(), number);
    }

    /// What the log says of one frame; an admitted one is stored and folded.
    pub fn admit(&mut self, frame: &VerifiedFrame) -> Result<Admission, Rejected> {
        let roster = Arc::clone(self.views.authority().roster());
        let admission = self.log.admit(frame, |peer| roster.was_ever_member(peer), &self.stored)?;
        match &admission {
            Admission::Admitted => {
                let events = Admitted::of_frame(frame.clone(), WallMs(self.clock));
                self.stored.keep(frame, &events);
                for event in &events {
                    self.views.apply(event, &self.stored);
                }
            }
            Admission::Forked(proof) => self.proofs.push((**proof).clone()),
            Admission::Duplicate | Admission::Missing(_) => {}
        }
        Ok(admission)
    }

    /// A frame arrives; what waited for it follows.
    pub fn receive(&mut self, pending: &mut Pending, frame: VerifiedFrame) {
        let from = frame.header().chain.author;
        let mut arriving = vec![frame];
        while let Some(frame) = arriving.pop() {
            match self.admit(&frame).unwrap() {
                Admission::Admitted | Admission::Forked(_) => {
                    arriving.extend(pending.wake(&frame).into_iter().map(|(frame, _)| frame));
                }
                Admission::Duplicate => {}
                Admission::Missing(needs) => assert!(pending.keep(frame, from, needs)),
            }
        }
    }

    /// Takes everything another node stored.
    pub fn sync_from(&mut self, other: &Node) {
        let mut pending = Pending::default();
        for frame in &other.stored.frames {
            let known = self.stored.places.contains_key(&frame.header().last);
            if !known {
                self.receive(&mut pending, frame.clone());
            }
        }
    }

    fn seal_drafts(&mut self, drafts: Vec<Draft>) -> Result<Vec<EventId>, Refusal> {
        self.clock += 1;
        let authority = self.views.authority();
        let heads = authority.heads().iter().filter_map(|id| authority.events().get(id));
        let chains: BTreeSet<ChainId> = heads.map(|event| event.chain).collect();
        let time = WallMs(self.clock);
        let frames = seal(&self.log, &self.stored, &self.author, &chains, drafts, time)?;
        let ids = frames.iter().flat_map(|frame| frame.events().iter().map(|(id, _)| *id)).collect();
        for frame in frames {
            // what is written must be readable by others
            let again = SignedFrame::decode(frame.bytes()).unwrap().verify().unwrap();
            assert_eq!(self.admit(&again).unwrap(), Admission::Admitted);
        }
        Ok(ids)
    }

    /// Decides, seals and admits a command.
    pub fn try_ask(&mut self, command: Command) -> Result<Vec<EventId>, Refusal> {
        match decide(&self.views, &self.author.chain, &command)? {
            Decision::AlreadySo => Ok(Vec::new()),
            Decision::Write(drafts) => self.seal_drafts(drafts),
        }
    }

    /// The first event that a command became.
    pub fn ask(&mut self, command: Command) -> EventId {
        self.try_ask(command).unwrap()[0]
    }

    /// Seals a body without asking `decide`; it names what such a body names and all authority heads that fit.
    pub fn write(&mut self, body: impl Into<Body>) -> EventId {
        let body = body.into();
        let mut refs: Vec<EventId> = body
            .named_events()
            .into_iter()
            .filter(|id| self.log.locate(id, &self.stored).is_some())
            .collect();
        let heads = self.views.authority().heads_for_refs(8);
        let room = 8_usize.saturating_sub(refs.len());
        refs.extend(heads.into_iter().take(room));
        self.write_naming(body, refs)
    }

    /// Seals a body that names exactly these events.
    pub fn write_naming(&mut self, body: impl Into<Body>, refs: Vec<EventId>) -> EventId {
        let body = DraftBody::Ready(Box::new(body.into()));
        self.seal_drafts(vec![Draft { body, refs, blobs: vec![] }]).unwrap()[0]
    }

    /// A frame of one event of any kind and bytes, linked as an honest node links.
    pub fn frame_of(&self, kind: Kind, bytes: &[u8], refs: Vec<EventId>) -> VerifiedFrame {
        let chain = self.author.chain;
        let parents = self.log.parents_for(&chain, &BTreeSet::new());
        let (first_seq, prev) = match self.log.chain(&chain) {
            Some(known) => (known.length, Some(known.tip)),
            None => (0, self.log.last_chain_of(&chain.author).map(|tip| tip.id)),
        };
        let named = prev.iter().copied().chain(parents.iter().map(|tip| tip.id)).chain(refs.iter().copied());
        let height =
            named.filter_map(|id| self.log.locate(&id, &self.stored)).map(|place| place.height).max();
        let mut builder = FrameBuilder::new(Some(self.log.cluster()), chain, first_seq, prev, parents);
        builder.push(height.unwrap_or(0) + 1, self.clock, refs, vec![], kind, bytes.to_vec());
        builder.sign(&self.author.signer).unwrap()
    }

    /// Seals bytes that no honest node writes.
    pub fn write_raw(&mut self, kind: Kind, bytes: &[u8]) -> EventId {
        let frame = self.frame_of(kind, bytes, vec![]);
        assert_eq!(self.admit(&frame).unwrap(), Admission::Admitted);
        frame.header().last
    }

    /// What a revocation by this node would let count of a peer's chains.
    pub fn cuts_of(&self, peer: &PeerId) -> Vec<ChainCut> {
        let chains = self.log.chains().iter().filter(|(chain, _)| chain.author == *peer);
        chains.map(|(id, chain)| ChainCut { incarnation: id.incarnation, length: chain.length }).collect()
    }

    pub fn revoke(&mut self, peer: PeerId) -> EventId {
        let cuts = self.cuts_of(&peer);
        self.write(PeerRevoked { peer, reason: "test".into(), cuts })
    }

    pub fn run(&self, run: &RunId) -> &Run {
        self.views.runs().live(run).unwrap()
    }

    /// The claim that `decide` would accept now.
    pub fn claim_body(&self, run: RunId, job: JobId) -> JobClaimed {
        let known = self.run(&run);
        let before = known.jobs.get(&job).and_then(|job| job.effective_claim());
        JobClaimed {
            run,
            job,
            submission: known.canonical.unwrap(),
            epoch: before.map_or(0, |claim| claim.epoch) + 1,
            supersedes: before.map(|claim| claim.id),
        }
    }

    pub fn claim(&mut self, run: RunId, job: JobId) -> EventId {
        let body = self.claim_body(run, job);
        self.ask(Command::Claim(body))
    }

    pub fn submit_task(&mut self, id: &str) -> (RunId, JobId) {
        let submission = task(id);
        let run = submission.run();
        self.ask(Command::Submit { submission: Box::new(submission), plan: vec![], blobs: vec![] });
        (run, job_id(&run, "task", &BTreeMap::new()))
    }

    /// All that the views show, as text: what must be equal on all nodes with the same events.
    pub fn shown(&mut self) -> String {
        let digest = self.views.digest();
        let runs: Vec<&Run> = self
            .views
            .runs()
            .all_live()
            .filter(|run| !run.submissions.is_empty() || !run.void.is_empty())
            .collect();
        let roster = self.views.authority().roster();
        format!(
            "{digest:02x?}\n{:#?}\n{:#?}\n{:?}\n{:?}\n{:#?}\n{:#?}\n{runs:#?}",
            roster.members(),
            roster.void(),
            roster.forked_chains(),
            self.views.peers().all(),
            self.views.runners().all_pools().collect::<Vec<_>>(),
            self.views.runners().all().collect::<Vec<_>>(),
        )
    }
}

pub fn pool(name: &str, is_on: bool) -> PoolChanged {
    PoolChanged {
        pool: name.to_owned(),
        is_on,
        source: "github.com".into(),
        scopes: vec![],
        labels: vec!["linux".into()],
        runners_max: 3,
        cluster_max: 0,
        idle_min: 0,
        interval_ms: 1_000,
        policy_json: "{}".into(),
    }
}

pub fn runner(pool: &str, name: &str) -> RunnerIntended {
    RunnerIntended {
        pool: pool.to_owned(),
        name: name.to_owned(),
        source: "github.com".into(),
        scope: "octo/a".into(),
        labels: vec!["linux".into()],
        cause: RunnerCause::Job { repository: "octo/a".into(), run: 1, job: 2 },
    }
}

pub fn started(intent: EventId, runner: u64) -> RunnerStarted {
    RunnerStarted { intent, runner, container: "c".into(), image: "i".into() }
}

pub fn exited(intent: EventId, end: RunnerEnd) -> RunnerExited {
    RunnerExited { intent, end, log: None, ran: None }
}

/// Every frame that any of the nodes stored, once.
pub fn all_frames(nodes: &[&Node]) -> Vec<VerifiedFrame> {
    let mut seen = BTreeSet::new();
    let frames = nodes.iter().flat_map(|node| &node.stored.frames);
    frames.filter(|frame| seen.insert(frame.header().last)).cloned().collect()
}

pub fn task(id: &str) -> RunSubmitted {
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

pub fn workflow(id: &str, keys: &[&str]) -> RunSubmitted {
    let spec = RunSpec::Workflow(WorkflowSpec {
        path: "ci.yml".into(),
        source: BlobId::from_bytes([7; 32]),
        called: vec![],
        job_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        rules_version: 1,
    });
    RunSubmitted { spec, ..task(id) }
}

/// A planned key with one leg for each value of a matrix.
pub fn planned(key: &str, values: &[&str]) -> PlannedKey {
    let leg = |value: &&str| PlannedLeg {
        name: format!("{key} {value}"),
        matrix: BTreeMap::from([("v".to_owned(), format!("\"{value}\""))]),
        runs_on: vec![],
        group: None,
        timeout_minutes: 60,
        continue_on_error: false,
    };
    PlannedKey {
        key: key.to_owned(),
        needs: vec![],
        skipped: None,
        max_parallel: None,
        fail_fast: true,
        legs: values.iter().map(leg).collect(),
    }
}

pub fn job_of(run: &RunId, planned: &PlannedKey, leg: usize) -> JobId {
    job_id(run, &planned.key, &planned.legs[leg].matrix)
}

pub fn completed(
    run: RunId,
    job: JobId,
    claim: EventId,
    conclusion: Conclusion,
    result: &str,
) -> JobCompleted {
    JobCompleted {
        run,
        job,
        claim,
        conclusion,
        outputs: vec![],
        result_json: result.into(),
        log: None,
        log_len: 0,
        summary: None,
        artifacts: vec![],
        duration_ms: 1,
        notes: vec![],
    }
}

pub fn admitted(peer: PeerId, roles: Roles) -> PeerAdmitted {
    PeerAdmitted {
        peer,
        name: String::new(),
        system: vec!["linux".into()],
        grant: Grant::Direct { roles, labels: vec![] },
    }
}

pub fn admitted_by_invite(cluster: &ClusterId, peer: PeerId, invite: EventId, key: &Signer) -> PeerAdmitted {
    let signature = key.sign(&invite_statement(cluster, &peer));
    PeerAdmitted { grant: Grant::Invite { invite, signature }, ..admitted(peer, Roles::NONE) }
}

pub fn invited(key: &Signer, roles: Roles) -> PeerInvited {
    PeerInvited { invite_key: InviteKey::of(key), roles, labels: vec!["gpu".into()], expires_ms: 1 }
}
