//! An event that is part of the log, decoded once, as the folds see it.

use std::sync::Arc;

use wfengine_storage_format::{
    BlobId, Body, ChainId, Event, EventId, Hash32, JobId, Kind, PeerId, RunId, Tip, VerifiedFrame,
};

use crate::time::WallMs;

/// One admitted event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admitted {
    /// Its id.
    pub id: EventId,
    /// Its author's chain.
    pub chain: ChainId,
    /// Its place there.
    pub seq: u64,
    /// Its logical clock.
    pub height: u64,
    /// The author's wall time, advisory.
    pub time: WallMs,
    /// When this node first admitted it. Local: takes part in no fold, only in the queue's ageing.
    pub first_seen: WallMs,
    /// The events it names.
    pub refs: Vec<EventId>,
    /// The blobs it needs.
    pub blobs: Vec<BlobId>,
    /// Causal parents, for showing the clock as a graph.
    pub parents: Vec<Tip>,
    /// The chain's previous event.
    pub prev: Option<EventId>,
    /// What kind it is.
    pub kind: Kind,
    /// What it says.
    pub body: Body,
    // a submission's run is a hash: computed once
    run: Option<RunId>,
}

/// The canonical order in which the events of an entity are folded: it extends causality and is the same everywhere.
pub type CanonicalOrder = (u64, ChainId, u64);

impl Admitted {
    /// Decodes an event's body.
    pub fn new(id: EventId, event: Event, first_seen: WallMs) -> Self {
        let body = Body::decode(event.kind, &event.body);
        Self {
            id,
            chain: event.chain,
            seq: event.seq,
            height: event.height,
            time: WallMs(event.time_ms),
            first_seen,
            refs: event.refs,
            blobs: event.blobs,
            parents: event.parents,
            prev: event.prev,
            kind: event.kind,
            run: body.run(),
            body,
        }
    }

    /// The run the event belongs to.
    pub fn run(&self) -> Option<RunId> {
        self.run
    }

    /// All events of a frame.
    pub fn of_frame(frame: VerifiedFrame, first_seen: WallMs) -> Vec<Arc<Self>> {
        frame
            .into_events()
            .into_iter()
            .map(|(id, event)| Arc::new(Self::new(id, event, first_seen)))
            .collect()
    }

    /// All events of a frame that is still needed: the bytes of their bodies are not copied.
    pub fn of_kept_frame(frame: &VerifiedFrame, first_seen: WallMs) -> Vec<Arc<Self>> {
        let read = |(id, event): &(EventId, Event)| {
            Arc::new(Self::with_body(*id, event, Body::decode(event.kind, &event.body), first_seen))
        };
        frame.events().iter().map(read).collect()
    }

    /// An event that is audited: taken for seen when it was written.
    pub(crate) fn audited((id, event): (EventId, Event)) -> Arc<Self> {
        let first_seen = WallMs(event.time_ms);
        Arc::new(Self::new(id, event, first_seen))
    }

    /// All events of a frame that this node sealed from these bodies, which come in the order of the events.
    pub fn of_own_frame(
        frame: &VerifiedFrame,
        bodies: &mut impl Iterator<Item = Body>,
        first_seen: WallMs,
    ) -> Vec<Arc<Self>> {
        let join = |((id, event), body): (&(EventId, Event), Body)| {
            Arc::new(Self::with_body(*id, event, body, first_seen))
        };
        frame.events().iter().zip(bodies).map(join).collect()
    }

    fn with_body(id: EventId, event: &Event, body: Body, first_seen: WallMs) -> Self {
        Self {
            id,
            chain: event.chain,
            seq: event.seq,
            height: event.height,
            time: WallMs(event.time_ms),
            first_seen,
            refs: event.refs.clone(),
            blobs: event.blobs.clone(),
            parents: event.parents.clone(),
            prev: event.prev,
            kind: event.kind,
            run: body.run(),
            body,
        }
    }

    /// The event as it was written, for a checkpoint. `None` when its body is not understood.
    pub fn to_event(&self) -> Option<Event> {
        let (kind, body) = self.body.encode().ok()?;
        Some(Event {
            chain: self.chain,
            seq: self.seq,
            prev: self.prev,
            parents: self.parents.clone(),
            height: self.height,
            time_ms: self.time.0,
            refs: self.refs.clone(),
            blobs: self.blobs.clone(),
            kind,
            body,
        })
    }

    /// Its place in the canonical order.
    pub fn order(&self) -> CanonicalOrder {
        (self.height, self.chain, self.seq)
    }

    /// Who wrote it.
    pub fn author(&self) -> PeerId {
        self.chain.author
    }

    /// The merkle clock head its author saw.
    pub fn clock_head(&self) -> Hash32 {
        let parents = self.parents.iter().map(|tip| tip.id);
        wfengine_storage_format::clock_head(self.prev.into_iter().chain(parents))
    }

    /// The entities the event belongs to, by the 32 bytes they are indexed under: run, job, runner, peer. A runner's are those of
    /// its intent.
    pub fn entities(&self) -> Vec<[u8; 32]> {
        let run = self.run.map(|run| *run.as_bytes());
        let job = self.body.job().map(|(_, job): (RunId, JobId)| *job.as_bytes());
        let peer = self.body.peer().map(|peer| *peer.as_bytes());
        let is_intent = matches!(self.body, Body::RunnerIntended(_));
        let runner = self.body.runner_intent().or(is_intent.then_some(self.id)).map(|id| *id.as_bytes());
        run.into_iter().chain(job).chain(runner).chain(peer).collect()
    }
}
