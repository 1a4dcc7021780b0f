//! The log: the merkle clock. Which chains exist, how long they are, which events are heads; sealing and admission.
//!
//! Pure: it neither stores nor folds. Callers bring [`VerifiedFrame`]s and a way to look up what is already stored
//! ([`KnownEvents`]); what [`Log::admit`] accepts, the store makes durable before anything is folded.
//!
//! Invariants: every event that a known event names is known; one event per place of a chain; no head is named by a known
//! event; an event's height is one more than the greatest height it names.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use wfengine_storage_format::limits::PARENTS_MAX;
use wfengine_storage_format::{
    Body, ChainId, ClusterId, EventId, ForkProved, FrameHeader, Hash32, PeerId, SignedHeader, Tip,
    VerifiedFrame, clock_head, fork_between,
};

/// Where an event stands and how high.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Location {
    /// Its chain.
    pub chain: ChainId,
    /// Its place.
    pub seq: u64,
    /// Its height.
    pub height: u64,
}

/// What a log can be asked about events that are stored already.
pub trait KnownEvents {
    /// Where an admitted event stands, or `None` if it is not known.
    fn locate(&self, id: &EventId) -> Option<Location>;
    /// The signed header of the stored frame that holds a place, for fork proofs.
    fn header_at(&self, chain: &ChainId, seq: u64) -> Option<SignedHeader>;
}

/// What the log knows of one chain.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Chain {
    /// Number of admitted events.
    pub length: u64,
    /// Id of the last one.
    pub tip: EventId,
    /// Its height.
    pub height: u64,
    /// The author's next chain, once it named this chain's tip.
    pub successor: Option<ChainId>,
    /// The author's chain before this one.
    pub predecessor: Option<ChainId>,
}

/// Something that must arrive before a frame can be admitted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Need {
    /// An event that the frame names.
    Event(EventId),
    /// The events of the frame's own chain before it, from this place on.
    Place {
        /// Which chain.
        chain: ChainId,
        /// The first missing place.
        seq: u64,
    },
    /// The admission of the frame's author as a member.
    Member(PeerId),
}

/// What became of a frame that broke no rule.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use = "an admitted frame must be stored, a waiting one kept, a fork recorded"]
pub enum Admission {
    /// It is part of the log.
    Admitted,
    /// It was already.
    Duplicate,
    /// It waits for these.
    Missing(Vec<Need>),
    /// It contradicts a stored frame of its chain; this is the proof. The frame is not kept.
    Forked(Box<ForkProved>),
}

/// What the log reads of a verified frame: who signed it and what its events name, not what they say.
pub trait Linked {
    /// What its author signed.
    fn header(&self) -> &FrameHeader;
    /// The header with its signature.
    fn signed_header(&self) -> SignedHeader;
    /// The links of its events, in chain order.
    fn links(&self) -> impl Iterator<Item = Links<'_>>;
    /// The peers its events admit.
    fn new_members(&self) -> Vec<PeerId>;
}

/// What an event names, and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Links<'a> {
    /// Its id.
    pub id: &'a EventId,
    /// Its place in its chain.
    pub seq: u64,
    /// Its height.
    pub height: u64,
    /// The chain's previous event.
    pub prev: Option<EventId>,
    /// Tips of other chains.
    pub parents: &'a [Tip],
    /// The events it speaks of.
    pub refs: &'a [EventId],
}

impl Links<'_> {
    /// Every event that must be known before this one.
    fn dependencies(&self) -> impl Iterator<Item = EventId> + '_ {
        self.prev.into_iter().chain(self.parents.iter().map(|tip| tip.id)).chain(self.refs.iter().copied())
    }
}

/// The peer that an event makes a member.
pub(crate) fn new_member(body: &Body) -> Option<PeerId> {
    match body {
        Body::PeerAdmitted(body) => Some(body.peer),
        Body::KeyRotated(body) => Some(body.to),
        _ => None,
    }
}

impl Linked for VerifiedFrame {
    fn header(&self) -> &FrameHeader {
        self.header()
    }
    fn signed_header(&self) -> SignedHeader {
        self.signed_header()
    }
    fn links(&self) -> impl Iterator<Item = Links<'_>> {
        self.events().iter().map(|(id, event)| Links {
            id,
            seq: event.seq,
            height: event.height,
            prev: event.prev,
            parents: &event.parents,
            refs: &event.refs,
        })
    }
    fn new_members(&self) -> Vec<PeerId> {
        let authority = self.events().iter().filter(|(_, event)| event.kind.is_authority());
        authority.filter_map(|(_, event)| new_member(&Body::decode(event.kind, &event.body))).collect()
    }
}

/// Why a verified frame can never be part of this log. Names whose chain and what rule.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Rejected {
    /// Of another cluster.
    #[error("a frame of cluster {theirs} reached cluster {ours}")]
    ForeignCluster {
        /// The frame's cluster.
        theirs: ClusterId,
        /// This log's cluster.
        ours: ClusterId,
    },
    /// An event's links contradict the log.
    #[error("event {seq} of chain {chain}: {rule}")]
    Links {
        /// Whose chain.
        chain: ChainId,
        /// Which event.
        seq: u64,
        /// Which rule it breaks.
        rule: &'static str,
    },
}

/// Known event ids kept at hand: causal links mostly point to what came last.
const RECENT_LEN_MAX: usize = 1 << 16;
/// Ids of refused branches kept at hand. What falls out is asked for again when somebody names it.
const REFUSED_LEN_MAX: usize = 1 << 14;

/// Headers of the latest frames kept at hand: more than one transaction holds, for the store knows them only after its commit.
const RECENT_HEADERS_MAX: usize = 512;

/// Where events stand, the oldest forgotten first.
#[derive(Clone, Debug, Default)]
struct Places {
    by_id: HashMap<EventId, Location>,
    order: VecDeque<EventId>,
}

impl Places {
    fn remember(&mut self, id: EventId, location: Location, len_max: usize) {
        if len_max == 0 {
            return;
        }
        if self.by_id.insert(id, location).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > len_max {
            if let Some(oldest) = self.order.pop_front() {
                self.by_id.remove(&oldest);
            }
        }
    }
}

/// The merkle clock of one cluster.
#[derive(Clone, Debug)]
pub struct Log {
    cluster: ClusterId,
    chains: BTreeMap<ChainId, Chain>,
    heads: BTreeMap<EventId, Tip>,
    events_len: u64,
    recent: Places,
    recent_len_max: usize,
    recent_headers: VecDeque<SignedHeader>,
    // Events of branches that a fork keeps out of the log. Others may have named them before they knew of the fork: what they
    // wrote must not wait for ever for something this node refuses.
    refused: Places,
    refused_members: BTreeSet<PeerId>,
    forks: BTreeMap<ChainId, ForkProved>,
}

/// A log's state as a checkpoint keeps it: chains and heads. The rest is looked up.
pub type LogParts = (Vec<(ChainId, Chain)>, Vec<Tip>, u64);

impl Log {
    /// The empty log of a cluster.
    pub fn new(cluster: ClusterId) -> Self {
        Self::remembering(cluster, RECENT_LEN_MAX)
    }

    /// The empty log of a cluster, which keeps so many of the latest events at hand and asks [`KnownEvents`] for all others.
    pub fn remembering(cluster: ClusterId, recent_len_max: usize) -> Self {
        Self {
            cluster,
            chains: BTreeMap::new(),
            heads: BTreeMap::new(),
            events_len: 0,
            recent: Places::default(),
            recent_len_max,
            recent_headers: VecDeque::new(),
            refused: Places::default(),
            refused_members: BTreeSet::new(),
            forks: BTreeMap::new(),
        }
    }

    /// The log as a checkpoint kept it.
    pub fn from_parts(cluster: ClusterId, (chains, heads, events_len): LogParts) -> Self {
        let mut log = Self::new(cluster);
        log.chains = chains.into_iter().collect();
        log.heads = heads.into_iter().map(|tip| (tip.id, tip)).collect();
        log.events_len = events_len;
        log
    }

    /// What a checkpoint keeps.
    pub fn to_parts(&self) -> LogParts {
        (
            self.chains.iter().map(|(id, chain)| (*id, chain.clone())).collect(),
            self.heads.values().copied().collect(),
            self.events_len,
        )
    }

    /// Whose log this is.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }
    /// Number of admitted events.
    pub fn events_len(&self) -> u64 {
        self.events_len
    }
    /// Every chain.
    pub fn chains(&self) -> &BTreeMap<ChainId, Chain> {
        &self.chains
    }
    /// One chain.
    pub fn chain(&self, id: &ChainId) -> Option<&Chain> {
        self.chains.get(id)
    }
    /// The events nobody names yet.
    pub fn heads(&self) -> impl Iterator<Item = &Tip> {
        self.heads.values()
    }
    /// The merkle clock's hash: equal hashes mean equal logs.
    pub fn clock_hash(&self) -> Hash32 {
        clock_head(self.heads.keys().copied())
    }
    /// The greatest height.
    pub fn height(&self) -> u64 {
        self.chains.values().map(|chain| chain.height).max().unwrap_or(0)
    }

    /// The causal parents of a frame that `own` is about to write: heads of other chains, those of `first` chains first, then the
    /// greatest heights, 16 in all.
    pub fn parents_for(&self, own: &ChainId, first: &BTreeSet<ChainId>) -> Vec<Tip> {
        let predecessor = self.chains.get(own).map_or_else(|| self.last_chain_of(&own.author), |_| None);
        let mut candidates: Vec<(bool, u64, Tip)> = self
            .heads
            .values()
            .filter(|tip| tip.chain != *own && Some(tip.chain) != predecessor.map(|tip| tip.chain))
            .map(|tip| {
                let height = self.chains.get(&tip.chain).map_or(0, |chain| chain.height);
                (!first.contains(&tip.chain), u64::MAX - height, *tip)
            })
            .collect();
        candidates.sort_unstable();
        candidates.truncate(PARENTS_MAX);
        candidates.into_iter().map(|(_, _, tip)| tip).collect()
    }

    /// The tip of an author's last open chain: what the first event of its next chain names as `prev`.
    pub fn last_chain_of(&self, author: &PeerId) -> Option<Tip> {
        let first = ChainId {
            author: *author,
            incarnation: wfengine_storage_format::Incarnation::from_bytes([0; 16]),
        };
        self.chains
            .range(first..)
            .take_while(|(id, _)| id.author == *author)
            .filter(|(_, chain)| chain.successor.is_none() && chain.length > 0)
            .max_by_key(|(id, chain)| (chain.height, **id))
            .map(|(id, chain)| Tip { chain: *id, seq: chain.length - 1, id: chain.tip })
    }

    /// Where a known event stands, from memory or from the store; also one of a branch that was refused.
    pub fn locate(&self, id: &EventId, known: &impl KnownEvents) -> Option<Location> {
        let recent = self.recent.by_id.get(id).copied();
        recent.or_else(|| known.locate(id)).or_else(|| self.refused.by_id.get(id).copied())
    }

    /// Takes a frame into the log if everything it names is known. Chains and heads change only when the answer is
    /// [`Admission::Admitted`].
    ///
    /// A frame of a branch that contradicts the stored one is not kept, but where its events stand is remembered: frames of
    /// others that name them can be admitted then. So after [`Admission::Forked`], as after `Admitted`, what waits for the
    /// frame's events is to be woken.
    ///
    /// # Errors
    /// [`Rejected`] when the frame contradicts the rules and no later arrival can mend it.
    pub fn admit(
        &mut self,
        frame: &impl Linked,
        is_member: impl Fn(&PeerId) -> bool,
        known: &impl KnownEvents,
    ) -> Result<Admission, Rejected> {
        let header = frame.header();
        if header.cluster != self.cluster {
            return Err(Rejected::ForeignCluster { theirs: header.cluster, ours: self.cluster });
        }
        let length = self.chains.get(&header.chain).map_or(0, |chain| chain.length);
        if let Some(proof) = self.fork_proof(frame, length, known) {
            return Ok(match self.check_links(frame, known) {
                Ok(missing) if !missing.is_empty() => Admission::Missing(missing.into_iter().collect()),
                links => {
                    if links.is_ok() {
                        self.remember_refused(frame);
                    }
                    self.forks.entry(header.chain).or_insert_with(|| proof.clone());
                    Admission::Forked(Box::new(proof))
                }
            });
        }
        if header.first_seq > length {
            return Ok(Admission::Missing(vec![Need::Place { chain: header.chain, seq: length }]));
        }
        if header.first_seq < length {
            return Ok(Admission::Duplicate);
        }
        if length > 0 && self.chains.get(&header.chain).map(|chain| chain.tip) != header.prev {
            let rule = "it does not follow the chain's last event";
            return Err(Rejected::Links { chain: header.chain, seq: length, rule });
        }
        let founding = header.first_seq == 0
            && frame.links().next().is_some_and(|event| ClusterId::from(*event.id) == self.cluster);
        let author = &header.chain.author;
        if !founding && !is_member(author) && !self.refused_members.contains(author) {
            return Ok(Admission::Missing(vec![Need::Member(*author)]));
        }
        let missing = self.check_links(frame, known)?;
        if !missing.is_empty() {
            return Ok(Admission::Missing(missing.into_iter().collect()));
        }
        self.link(frame, known);
        Ok(Admission::Admitted)
    }

    /// Takes back a frame that was admitted before this process began, in its place. What it names of a branch that a fork keeps
    /// out of the log was known then and is nowhere now; it stays part of the log all the same.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn readmit(&mut self, frame: &impl Linked, known: &impl KnownEvents) -> Result<Admission, Rejected> {
        let header = frame.header();
        let (length, tip) =
            self.chains.get(&header.chain).map_or((0, header.prev), |chain| (chain.length, Some(chain.tip)));
        let follows = header.first_seq == length && header.prev == tip;
        match self.admit(frame, |_| true, known)? {
            Admission::Missing(needs)
                if follows && needs.iter().all(|need| matches!(need, Need::Event(_))) =>
            {
                self.link(frame, known);
                Ok(Admission::Admitted)
            }
            other => Ok(other),
        }
    }

    /// The proof that a frame belongs to another branch of its chain than the stored one: it contradicts a stored frame, or goes
    /// on where a refused one ended.
    fn fork_proof(&self, frame: &impl Linked, length: u64, known: &impl KnownEvents) -> Option<ForkProved> {
        let header = frame.header();
        if header.first_seq > length {
            let before = self.refused.by_id.get(&header.prev?)?;
            return self.forks.get(&header.chain).filter(|_| before.chain == header.chain).cloned();
        }
        let first = self.contradicting(frame, length, known)?;
        Some(ForkProved { first, second: frame.signed_header() })
    }

    fn remember_refused(&mut self, frame: &impl Linked) {
        let chain = frame.header().chain;
        for event in frame.links() {
            let location = Location { chain, seq: event.seq, height: event.height };
            self.refused.remember(*event.id, location, REFUSED_LEN_MAX);
        }
        self.refused_members.extend(frame.new_members());
    }

    /// The stored header that a frame starting inside or right after the known part of its chain contradicts.
    fn contradicting(
        &self,
        frame: &impl Linked,
        length: u64,
        known: &impl KnownEvents,
    ) -> Option<SignedHeader> {
        let header = frame.header();
        let chain = self.chains.get(&header.chain)?;
        if header.first_seq == length {
            if header.prev == Some(chain.tip) {
                return None;
            }
            return self.header_at(&header.chain, length.checked_sub(1)?, known);
        }
        self.header_at(&header.chain, header.first_seq, known)
            .filter(|stored| fork_between(stored, &frame.signed_header()).is_some())
    }

    /// The signed header of the admitted frame that holds a place, stored or about to be.
    fn header_at(&self, chain: &ChainId, seq: u64, known: &impl KnownEvents) -> Option<SignedHeader> {
        let holds = |signed: &&SignedHeader| {
            let header = &signed.header;
            header.chain == *chain && (header.first_seq..header.end_seq()).contains(&seq)
        };
        known.header_at(chain, seq).or_else(|| self.recent_headers.iter().rev().find(holds).cloned())
    }

    /// Checks heights and links of a frame that continues its chain; what is missing comes back.
    fn check_links(&self, frame: &impl Linked, known: &impl KnownEvents) -> Result<BTreeSet<Need>, Rejected> {
        let chain = frame.header().chain;
        let mut missing = BTreeSet::new();
        let mut within: HashMap<EventId, u64> = HashMap::with_capacity(usize::from(frame.header().count));
        for (index, event) in frame.links().enumerate() {
            let broken = |rule| Rejected::Links { chain, seq: event.seq, rule };
            let mut height_max = 0;
            for dependency in event.dependencies() {
                let height = match within.get(&dependency) {
                    Some(height) => Some(*height),
                    None => self.locate(&dependency, known).map(|location| location.height),
                };
                match height {
                    Some(height) => height_max = height_max.max(height),
                    None => {
                        missing.insert(Need::Event(dependency));
                    }
                }
            }
            if index == 0 {
                self.check_first(&chain, &event, known, &missing).map_err(broken)?;
            }
            if missing.is_empty() && event.height != height_max + 1 {
                return Err(broken("its height is not one more than the greatest it names"));
            }
            within.insert(*event.id, event.height);
        }
        Ok(missing)
    }

    /// Rules of a frame's first event: parents stand where they say, and a chain begins where its author's last one ended.
    fn check_first(
        &self,
        chain: &ChainId,
        event: &Links<'_>,
        known: &impl KnownEvents,
        missing: &BTreeSet<Need>,
    ) -> Result<(), &'static str> {
        for parent in event.parents.iter().filter(|parent| !missing.contains(&Need::Event(parent.id))) {
            let place = self.locate(&parent.id, known).map(|location| (location.chain, location.seq));
            if place != Some((parent.chain, parent.seq)) {
                return Err("a parent does not stand where it is said to stand");
            }
        }
        match event.prev {
            Some(prev) if event.seq == 0 && !missing.contains(&Need::Event(prev)) => {
                let author = self.locate(&prev, known).map(|location| location.chain.author);
                if author == Some(chain.author) { Ok(()) } else { Err("prev is of another author") }
            }
            _ => Ok(()),
        }
    }

    /// Records a frame whose links are in order.
    fn link(&mut self, frame: &impl Linked, known: &impl KnownEvents) {
        let header = frame.header();
        let previous = (header.first_seq == 0).then_some(header.prev).flatten();
        let predecessor = previous.and_then(|prev| self.locate(&prev, known)).map(|location| location.chain);
        if let Some(before) = predecessor.and_then(|id| self.chains.get_mut(&id))
            && Some(before.tip) == header.prev
        {
            // of several chains that go on from one tip the least is named, whichever came first
            before.successor = Some(before.successor.map_or(header.chain, |other| other.min(header.chain)));
        }
        let mut height = 0;
        for event in frame.links() {
            for named in event.dependencies() {
                self.heads.remove(&named);
            }
            let location = Location { chain: header.chain, seq: event.seq, height: event.height };
            self.recent.remember(*event.id, location, self.recent_len_max);
            height = event.height;
        }
        if self.recent_headers.len() >= RECENT_HEADERS_MAX {
            self.recent_headers.pop_front();
        }
        self.recent_headers.push_back(frame.signed_header());
        let tip = header.tip();
        let chain = self.chains.entry(header.chain).or_insert(Chain {
            length: 0,
            tip: tip.id,
            height,
            successor: None,
            predecessor,
        });
        chain.length = header.end_seq();
        chain.tip = tip.id;
        chain.height = height;
        if header.first_seq > 0 {
            // a chain that went on after another one named its tip, as after a restored backup, is open
            chain.successor = None;
        }
        self.heads.insert(tip.id, tip);
        self.events_len += u64::from(header.count);
    }
}
