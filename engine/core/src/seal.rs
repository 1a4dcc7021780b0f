//! Sealing: drafts of the node's own become signed frames, linked to what the node knows.
//!
//! A frame's first event names the known tips of other chains; everything else in the frame follows it. Whoever seals has
//! admitted everything that the drafts name.

use std::collections::{BTreeSet, HashMap};

use wfengine_storage_format::limits::{BLOBS_MAX, REFS_MAX};
use wfengine_storage_format::{
    Body, ChainId, ClusterFounded, ClusterId, EventId, FrameBuilder, JobsPlanned, Signer, VerifiedFrame,
};

use crate::command::{Draft, DraftBody, Refusal};
use crate::log::{KnownEvents, Log};
use crate::time::WallMs;

/// Whose events are sealed: the key and the chain of this incarnation.
#[derive(Clone, Debug)]
pub struct Author {
    /// The node's key.
    pub signer: Signer,
    /// The open chain.
    pub chain: ChainId,
}

/// The frame that founds a cluster.
///
/// # Errors
/// [`Refusal::Format`] when the name is too long.
pub fn found(author: &Author, body: ClusterFounded, time: WallMs) -> Result<VerifiedFrame, Refusal> {
    let (kind, bytes) = Body::from(body).encode().map_err(|reason| Refusal::Format(reason.to_string()))?;
    let mut builder = FrameBuilder::new(None, author.chain, 0, None, Vec::new());
    builder.push(1, time.0, Vec::new(), Vec::new(), kind, bytes);
    builder.sign(&author.signer).ok_or_else(|| Refusal::Format("the founding frame is empty".to_owned()))
}

/// Seals drafts into as few frames as the limits allow, in order. `authority_chains` are the chains whose tips are named first.
///
/// # Errors
/// [`Refusal::Format`] when a body breaks a bound or a draft names what is not known. Nothing is sealed then.
pub fn seal(
    log: &Log,
    known: &impl KnownEvents,
    author: &Author,
    authority_chains: &BTreeSet<ChainId>,
    drafts: Vec<Draft>,
    time: WallMs,
) -> Result<Vec<VerifiedFrame>, Refusal> {
    seal_with_bodies(log, known, author, authority_chains, drafts, time).map(|(frames, _)| frames)
}

/// As [`seal`], and gives the bodies back, one for each event: whoever goes on to fold them need not read them from the bytes.
///
/// # Errors
/// As [`seal`].
pub fn seal_with_bodies(
    log: &Log,
    known: &impl KnownEvents,
    author: &Author,
    authority_chains: &BTreeSet<ChainId>,
    drafts: Vec<Draft>,
    time: WallMs,
) -> Result<(Vec<VerifiedFrame>, Vec<Body>), Refusal> {
    let mut bodies = Vec::with_capacity(drafts.len());
    let mut sealing = Sealing::begin(log, known, author, authority_chains);
    let mut frames = Vec::new();
    let mut previous = None;
    for draft in drafts {
        let (body, refs) = match (draft.body, previous) {
            (DraftBody::Ready(body), _) => (*body, draft.refs),
            (DraftBody::PlanOfPrevious { run, rules_version, jobs }, Some(submission)) => {
                let body = JobsPlanned { run, submission, rules_version, consumed: Vec::new(), jobs };
                (Body::from(body), vec![submission])
            }
            (DraftBody::PlanOfPrevious { .. }, None) => {
                return Err(Refusal::Format("a plan without its submission".to_owned()));
            }
        };
        let (kind, bytes) = body.encode().map_err(|reason| Refusal::Format(reason.to_string()))?;
        sealing.check(&refs, draft.blobs.len())?;
        if !sealing.builder.fits(bytes.len(), draft.blobs.len()) {
            frames.extend(sealing.next_frame());
        }
        let height = sealing.height_above(&refs);
        let id = sealing.builder.push(height, time.0, refs, draft.blobs, kind, bytes);
        sealing.heights.insert(id, height);
        sealing.last_height = height;
        previous = Some(id);
        bodies.push(body);
    }
    frames.extend(sealing.finish());
    Ok((frames, bodies))
}

struct Sealing<'a, K> {
    log: &'a Log,
    known: &'a K,
    author: &'a Author,
    builder: FrameBuilder,
    heights: HashMap<EventId, u64>,
    last_height: u64,
}

impl<'a, K: KnownEvents> Sealing<'a, K> {
    fn begin(log: &'a Log, known: &'a K, author: &'a Author, authority_chains: &BTreeSet<ChainId>) -> Self {
        let parents = log.parents_for(&author.chain, authority_chains);
        let (first_seq, prev) = match log.chain(&author.chain) {
            Some(chain) => (chain.length, Some(chain.tip)),
            None => (0, log.last_chain_of(&author.chain.author).map(|tip| tip.id)),
        };
        let named = parents.iter().map(|tip| tip.id).chain(prev);
        let last_height =
            named.filter_map(|id| log.locate(&id, known)).map(|place| place.height).max().unwrap_or(0);
        let builder = frame(log.cluster(), author, first_seq, prev, parents);
        Self { log, known, author, builder, heights: HashMap::new(), last_height }
    }

    fn height_of(&self, id: &EventId) -> Option<u64> {
        let own = self.heights.get(id).copied();
        own.or_else(|| self.log.locate(id, self.known).map(|place| place.height))
    }

    /// What every other node would refuse, or wait for in vain, must not be signed: a chain has no second try.
    fn check(&self, refs: &[EventId], blobs: usize) -> Result<(), Refusal> {
        let too_many = |what: &str, len: usize, len_max: usize| {
            Err(Refusal::Format(format!("{len} {what}, at most {len_max} are allowed")))
        };
        if refs.len() > REFS_MAX {
            return too_many("refs", refs.len(), REFS_MAX);
        }
        if blobs > BLOBS_MAX {
            return too_many("blobs", blobs, BLOBS_MAX);
        }
        match refs.iter().find(|id| self.height_of(id).is_none()) {
            Some(id) => Err(Refusal::Format(format!("it names event {id}, which is not known here"))),
            None => Ok(()),
        }
    }

    fn height_above(&self, refs: &[EventId]) -> u64 {
        1 + refs.iter().filter_map(|id| self.height_of(id)).max().unwrap_or(0).max(self.last_height)
    }

    /// Signs what was collected and goes on in a frame that follows it; nothing new is known, so it has no parents.
    fn next_frame(&mut self) -> Option<VerifiedFrame> {
        let next = match self.builder.events().last() {
            None => return None,
            Some((id, event)) => frame(self.log.cluster(), self.author, event.seq + 1, Some(*id), Vec::new()),
        };
        std::mem::replace(&mut self.builder, next).sign(&self.author.signer)
    }

    fn finish(self) -> Option<VerifiedFrame> {
        self.builder.sign(&self.author.signer)
    }
}

fn frame(
    cluster: ClusterId,
    author: &Author,
    first_seq: u64,
    prev: Option<EventId>,
    parents: Vec<wfengine_storage_format::Tip>,
) -> FrameBuilder {
    FrameBuilder::new(Some(cluster), author.chain, first_seq, prev, parents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admitted::Admitted;
    use crate::command::{Command, Decision, decide};
    use crate::log::{Admission, Location};
    use crate::views::Views;
    use crate::views::job::Status;
    use crate::views::runs::NoHistory;
    use wfengine_storage_format::{
        Frozen, Incarnation, JobClaimed, JobCompleted, JobStarted, Origin, Placement, RunSpec, RunSubmitted,
        SignedHeader,
    };

    struct Nothing;
    impl KnownEvents for Nothing {
        fn locate(&self, _: &EventId) -> Option<Location> {
            None
        }
        fn header_at(&self, _: &ChainId, _: u64) -> Option<SignedHeader> {
            None
        }
    }

    struct Node {
        author: Author,
        log: Log,
        views: Views,
    }

    impl Node {
        fn founded() -> Self {
            let signer = Signer::from_seed(&[1; 32]);
            let chain = ChainId { author: signer.peer_id(), incarnation: Incarnation::from_bytes([1; 16]) };
            let author = Author { signer, chain };
            let body = ClusterFounded { name: "home".into(), nonce: [0; 16], system: vec!["linux".into()] };
            let frame = found(&author, body, WallMs(1)).unwrap();
            let cluster = frame.header().cluster;
            let mut node = Self { author, log: Log::new(cluster), views: Views::new(cluster) };
            node.take(frame);
            node
        }

        fn take(&mut self, frame: VerifiedFrame) {
            let roster = std::sync::Arc::clone(self.views.authority().roster());
            let outcome = self.log.admit(&frame, |peer| roster.was_ever_member(peer), &Nothing).unwrap();
            assert_eq!(outcome, Admission::Admitted);
            for event in Admitted::of_frame(frame, WallMs(5)) {
                self.views.apply(&event, &NoHistory);
            }
        }

        fn ask(&mut self, command: Command) -> Result<Vec<EventId>, Refusal> {
            let Decision::Write(drafts) = decide(&self.views, &self.author.chain, &command)? else {
                return Ok(Vec::new());
            };
            let frames = seal(&self.log, &Nothing, &self.author, &BTreeSet::new(), drafts, WallMs(2))?;
            let ids = frames.iter().flat_map(|frame| frame.events()).map(|(id, _)| *id).collect();
            frames.into_iter().for_each(|frame| self.take(frame));
            Ok(ids)
        }
    }

    fn task(id: &str) -> RunSubmitted {
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

    #[test]
    fn a_task_goes_from_submission_to_completion() {
        let mut node = Node::founded();
        let submission = Box::new(task("one"));
        let run = submission.run();
        let ids = node.ask(Command::Submit { submission, plan: vec![], blobs: vec![] }).unwrap();
        let job = node.views.runs().live(&run).unwrap().jobs.values().next().unwrap().id;
        assert_eq!(node.views.runs().live(&run).unwrap().status, Status::Pending);
        let claim = JobClaimed { run, job, submission: ids[0], epoch: 1, supersedes: None };
        let claim = node.ask(Command::Claim(claim)).unwrap()[0];
        assert_eq!(node.views.runs().live(&run).unwrap().status, Status::Assigned);
        node.ask(Command::Start(JobStarted { run, job, claim })).unwrap();
        assert_eq!(node.views.runs().live(&run).unwrap().status, Status::InProgress);
        let done = JobCompleted {
            run,
            job,
            claim,
            conclusion: wfengine_storage_format::Conclusion::Success,
            outputs: vec![],
            result_json: "{}".into(),
            log: None,
            log_len: 0,
            summary: None,
            artifacts: vec![],
            duration_ms: 1,
            notes: vec![],
        };
        node.ask(Command::Complete(done.clone())).unwrap();
        let seen = node.views.runs().live(&run).unwrap();
        assert_eq!((seen.status, seen.void.len()), (Status::Completed, 0));
        assert!(matches!(node.ask(Command::Complete(done)), Err(Refusal::NotHeld { .. })));
        let again = Command::Submit { submission: Box::new(task("one")), plan: vec![], blobs: vec![] };
        assert_eq!(decide(&node.views, &node.author.chain, &again), Ok(Decision::AlreadySo));
        let mut other = task("one");
        other.metadata_json = "{\"x\":1}".into();
        let other = Command::Submit { submission: Box::new(other), plan: vec![], blobs: vec![] };
        assert!(matches!(node.ask(other), Err(Refusal::Conflict { .. })));
    }

    #[test]
    fn many_drafts_become_few_frames() {
        let mut node = Node::founded();
        let mut drafts = Vec::new();
        for n in 0..600 {
            let submission = Box::new(task(&format!("t{n}")));
            let command = Command::Submit { submission, plan: vec![], blobs: vec![] };
            let Ok(Decision::Write(more)) = decide(&node.views, &node.author.chain, &command) else {
                panic!()
            };
            drafts.extend(more);
        }
        let frames = seal(&node.log, &Nothing, &node.author, &BTreeSet::new(), drafts, WallMs(2)).unwrap();
        assert_eq!(frames.len(), 3);
        frames.into_iter().for_each(|frame| node.take(frame));
        assert_eq!(node.views.runs().len(), 600);
        assert_eq!(node.log.heads().count(), 1);
        let before = node.views.digest();
        let mut small = node.views.clone();
        small.runs_mut().let_go(10);
        assert_eq!(small.digest(), before, "open runs never leave memory");
    }
}
