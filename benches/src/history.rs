//! Histories to measure on: a founded cluster and as many signed events as a bench asks for, the same on every run.
//!
//! A finished run is four events: submitted, claimed, started, completed, as a task of a program leaves them. Sixteen runs go side by
//! side, so frames of 64 hold events of several runs and each run's events lie a little apart.

use std::collections::BTreeMap;

use wfengine_core::command::Command;
use wfengine_core::seal::{Author, found};
use wfengine_core::time::WallMs;
use wfengine_storage_format::{
    Body, ChainId, ClusterFounded, ClusterId, Conclusion, EventId, FrameBuilder, Frozen, Grant, Incarnation,
    JobClaimed, JobCompleted, JobId, JobStarted, Origin, PeerAdmitted, PeerId, Placement, Roles, RunId,
    RunSpec, RunSubmitted, Signer, VerifiedFrame, job_id,
};

/// Runs that are worked on at the same time.
const SIDE_BY_SIDE: usize = 16;
/// Wall time of everything, advisory.
pub const WALL: WallMs = WallMs(1_700_000_000_000);

/// A key that every run of a bench uses.
pub fn signer(number: u8) -> Signer {
    Signer::from_seed(&[number; 32])
}

/// An incarnation that every run of a bench uses.
pub fn incarnation(number: u8) -> Incarnation {
    Incarnation::from_bytes([number; 16])
}

/// A submission of a task, as a program makes it.
pub fn task(name: &str, number: usize) -> RunSubmitted {
    RunSubmitted {
        trigger_key: format!("id:{name}-{number}").into_bytes(),
        attempt: 1,
        name: format!("{name} {number}"),
        spec: RunSpec::Task { workflow_id: "bench".to_owned() },
        frozen: Frozen::default(),
        tags: vec!["p2p-eligible".to_owned()],
        metadata_json: format!("{{\"number\":{number}}}"),
        priority_milli: 3_000,
        placement: Placement::Rule,
        origin: Origin::Hand,
        retries: 0,
        backoff_ms: (0, 0),
        rerun_of: None,
    }
}

/// The command that submits a task.
pub fn submit(name: &str, number: usize) -> Command {
    Command::Submit { submission: Box::new(task(name, number)), plan: Vec::new(), blobs: Vec::new() }
}

/// What a founder calls its cluster.
pub fn founding() -> ClusterFounded {
    ClusterFounded {
        name: "bench".to_owned(),
        nonce: [7; 16],
        system: vec!["linux".to_owned(), "x64".to_owned()],
    }
}

struct Open {
    run: RunId,
    job: JobId,
    submission: EventId,
    claim: EventId,
}

/// A growing history of one author.
pub struct History {
    author: Author,
    cluster: ClusterId,
    authority_head: EventId,
    builder: Option<FrameBuilder>,
    height: u64,
    tip: EventId,
    next_seq: u64,
    frame_len: usize,
    frames: Vec<VerifiedFrame>,
}

impl History {
    /// A founded cluster; further frames hold `frame_len` events.
    pub fn founded(frame_len: usize) -> Self {
        let chain = ChainId { author: signer(1).peer_id(), incarnation: incarnation(1) };
        let author = Author { signer: signer(1), chain };
        let frame = found(&author, founding(), WALL).expect("the founding fits");
        let head = frame.header().last;
        Self {
            author,
            cluster: frame.header().cluster,
            authority_head: head,
            builder: None,
            height: 1,
            tip: head,
            next_seq: 1,
            frame_len,
            frames: vec![frame],
        }
    }

    /// Whose history it is.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The frames so far, oldest first.
    pub fn take_frames(&mut self) -> Vec<VerifiedFrame> {
        self.cut();
        std::mem::take(&mut self.frames)
    }

    /// Admits a member by the founder's word, in a frame of its own.
    pub fn admit(&mut self, peer: PeerId) {
        self.cut();
        let grant = Grant::Direct { roles: Roles::MEMBER, labels: Vec::new() };
        let system = vec!["linux".to_owned(), "x64".to_owned()];
        let body = PeerAdmitted { peer, name: peer.short(), system, grant };
        self.authority_head = self.push(vec![self.authority_head], body);
        self.cut();
    }

    /// Adds runs that were submitted, claimed, started and completed: four events each.
    pub fn finished_runs(&mut self, name: &str, runs: usize) {
        for first in (0..runs).step_by(SIDE_BY_SIDE) {
            let numbers = first..runs.min(first + SIDE_BY_SIDE);
            let mut open: Vec<Open> = numbers.map(|number| self.submission(name, number)).collect();
            for entry in &mut open {
                let Open { run, job, submission, .. } = *entry;
                let body = JobClaimed { run, job, submission, epoch: 1, supersedes: None };
                entry.claim = self.push(vec![submission, self.authority_head], body);
            }
            for Open { run, job, claim, .. } in &open {
                self.push(vec![*claim], JobStarted { run: *run, job: *job, claim: *claim });
            }
            for Open { run, job, claim, .. } in &open {
                let body = JobCompleted {
                    run: *run,
                    job: *job,
                    claim: *claim,
                    conclusion: Conclusion::Success,
                    outputs: Vec::new(),
                    result_json: "{\"ok\":true}".to_owned(),
                    log: None,
                    log_len: 0,
                    summary: None,
                    artifacts: Vec::new(),
                    duration_ms: 12,
                    notes: Vec::new(),
                };
                self.push(vec![*claim], body);
            }
        }
    }

    /// Adds runs that were submitted and wait: one event each.
    pub fn open_runs(&mut self, name: &str, runs: usize) {
        for number in 0..runs {
            self.submission(name, number);
        }
    }

    fn submission(&mut self, name: &str, number: usize) -> Open {
        let submitted = task(name, number);
        let run = submitted.run();
        let job = job_id(&run, "task", &BTreeMap::new());
        let submission = self.push(vec![self.authority_head], submitted);
        Open { run, job, submission, claim: submission }
    }

    fn push(&mut self, refs: Vec<EventId>, body: impl Into<Body>) -> EventId {
        let (kind, bytes) = body.into().encode().expect("the body is within bounds");
        let full = self
            .builder
            .as_ref()
            .is_some_and(|builder| builder.events().len() >= self.frame_len || !builder.fits(bytes.len(), 0));
        if full {
            self.cut();
        }
        let (cluster, chain, seq, tip) = (self.cluster, self.author.chain, self.next_seq, self.tip);
        let builder = self
            .builder
            .get_or_insert_with(|| FrameBuilder::new(Some(cluster), chain, seq, Some(tip), Vec::new()));
        self.height += 1;
        self.next_seq += 1;
        self.tip = builder.push(self.height, WALL.0, refs, Vec::new(), kind, bytes);
        self.tip
    }

    fn cut(&mut self) {
        if let Some(frame) = self.builder.take().and_then(|builder| builder.sign(&self.author.signer)) {
            self.frames.push(frame);
        }
    }
}
