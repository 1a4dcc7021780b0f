//! Replay: the audit. Frames are taken once more from the beginning, every hash, signature, link and height is computed again,
//! the views are folded anew, and whatever does not fit is named.
//!
//! Pure: frames come as bytes, in the order of admission or of an export, and can be asked for again ([`Reread`]). Nothing stops
//! it: a damaged frame is a [`Finding`], what depends on it is reported as unreachable, nothing is dropped in silence.
//!
//! ```text
//! bytes ─check_frame (any thread)─▶ CheckedFrame ─Replayer::take (in order)─▶ Log::admit ─▶ Views::apply ─finish─▶ Report
//! ```
//!
//! Deliberately not here: files and printing (`cli`), planning ([`Planner`] is a port), the container of an export
//! (`wfengine-storage-format`).
//!
//! Invariants: the replay decides by the same [`Log`] and [`Views`] as a running node; it never holds more than one frame beside
//! the views, some 70 bytes an event, and the finished runs it was told to keep.

mod alone;
mod finding;
mod history;
mod known;
mod replan;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wfengine_storage_format::{
    Body, ChainId, ClusterId, EventId, ExportTrailer, FrameError, FrameHeader, Hash32, PeerId, RunId,
    SignedFrame, SignedHeader, Tip, fork_between,
};

pub use alone::{Alone, AloneReport};
pub use finding::{FINDINGS_MAX, Finding, Findings, Place, What};
pub use history::CanonicalHistory;
pub use replan::{CannotReplan, Planner, Replan, Replanned, ResultOfLeg};
pub use state::{Change, Moment, Selection, State, Subject, UnknownEvent, diff};

use crate::admitted::Admitted;
use crate::log::{Admission, Linked, Links, Location, Log, Need, new_member};
use crate::views::runs::Sharing;
use crate::views::{VIEWS_VERSION, Views};
use history::Recall;
use known::{Known, Looking};

/// Where frames can be read a second time.
pub trait Reread {
    /// The bytes of the frame with this [`Place::handle`]; `None` if they cannot be read again.
    fn reread(&self, handle: u64) -> Option<Vec<u8>>;
}

/// How much of a frame is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checking {
    /// Hashes and the author's signature.
    Signatures,
    /// Hashes alone, for a log whose signatures were checked before it was written.
    HashesOnly,
}

/// A frame that is right by itself, its events read.
#[derive(Clone, Debug)]
pub struct CheckedFrame {
    signed: SignedHeader,
    events: Vec<Arc<Admitted>>,
}

impl CheckedFrame {
    /// Its events, in chain order.
    pub fn events(&self) -> &[Arc<Admitted>] {
        &self.events
    }
}

impl Linked for CheckedFrame {
    fn header(&self) -> &FrameHeader {
        &self.signed.header
    }
    fn signed_header(&self) -> SignedHeader {
        self.signed.clone()
    }
    fn links(&self) -> impl Iterator<Item = Links<'_>> {
        self.events.iter().map(|event| Links {
            id: &event.id,
            seq: event.seq,
            height: event.height,
            prev: event.prev,
            parents: &event.parents,
            refs: &event.refs,
        })
    }
    fn new_members(&self) -> Vec<PeerId> {
        self.events.iter().filter_map(|event| new_member(&event.body)).collect()
    }
}

/// A frame that was checked by itself, or what is wrong with it.
pub type Checked = Result<CheckedFrame, Box<FrameError>>;

/// Everything that can be checked of a frame by itself. Needs nothing else, so several threads can share this work.
///
/// # Errors
/// [`FrameError`], to be handed to [`Replayer::take`] as it is.
pub fn check_frame(bytes: &[u8], checking: Checking) -> Checked {
    let signed = SignedFrame::decode(bytes).map_err(Box::new)?;
    let verified = match checking {
        Checking::Signatures => signed.verify(),
        Checking::HashesOnly => signed.trust_signature(),
    };
    let (signed, events) = verified.map_err(Box::new)?.into_parts();
    Ok(CheckedFrame { signed, events: events.into_iter().map(Admitted::audited).collect() })
}

/// What whoever asked for the audit knows already.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Expected {
    /// The cluster it must be.
    pub cluster: Option<ClusterId>,
    /// The clock hash it must have, or an event it must hold: whatever lies before that event is then pinned too.
    pub head: Option<Hash32>,
    /// Version and digest of the views as they were stored.
    pub views: Option<(u32, Hash32)>,
    /// The trailer of the export.
    pub trailer: Option<ExportTrailer>,
}

/// What an audit came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Whose log it is.
    pub cluster: ClusterId,
    /// Frames that were read, good or bad.
    pub frames: u64,
    /// Frames that are part of the log.
    pub frames_admitted: u64,
    /// Events that are part of the log.
    pub events: u64,
    /// Chains with their lengths and tips, by chain.
    pub chains: Vec<(ChainId, u64, EventId)>,
    /// The events nobody names.
    pub heads: Vec<Tip>,
    /// The merkle clock's hash.
    pub clock_hash: Hash32,
    /// The greatest height.
    pub height: u64,
    /// Number of members today.
    pub members: usize,
    /// Number of runs.
    pub runs: usize,
    /// Events of unknown kinds, and void ones: kept, folded by nobody.
    pub not_folded: u64,
    /// Digest of the folded views, and the version that makes it comparable.
    pub views: (u32, Hash32),
    /// What is wrong.
    pub findings: Findings,
    /// What people should know although it is not wrong.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Notes kept in words.
const NOTES_MAX: usize = 1_000;
/// Events between two looks at which finished runs may leave memory, at least.
const LET_GO_EVENTS_MIN: u64 = 4_096;

#[derive(Debug)]
struct Waits {
    place: Place,
    need: Need,
}

#[derive(Clone, Copy)]
struct Shares(&'static Sharing);

impl std::fmt::Debug for Shares {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shares")
    }
}

/// Takes frames in order and becomes a [`Report`].
#[derive(Debug)]
pub struct Replayer<S> {
    log: Log,
    views: Views,
    known: Known,
    source: S,
    findings: Findings,
    notes: Vec<String>,
    // a frame waits for one thing at a time, by number of arrival
    waiting: BTreeMap<u64, Waits>,
    by_need: BTreeMap<Need, BTreeSet<u64>>,
    frames: u64,
    runs_kept: usize,
    sharing: Option<Shares>,
    let_go_at: u64,
    planned: BTreeSet<RunId>,
}

impl<S: Reread> Replayer<S> {
    /// Before the first frame. Of the finished runs the latest `runs_kept` stay in memory; others are read again when needed.
    pub fn new(cluster: ClusterId, source: S, runs_kept: usize) -> Self {
        Self {
            // every event is at hand in `known`
            log: Log::remembering(cluster, 0),
            views: Views::new(cluster),
            known: Known::default(),
            source,
            findings: Findings::default(),
            notes: Vec::new(),
            waiting: BTreeMap::new(),
            by_need: BTreeMap::new(),
            frames: 0,
            runs_kept,
            sharing: None,
            let_go_at: LET_GO_EVENTS_MIN,
            planned: BTreeSet::new(),
        }
    }

    /// Lets several threads share the folding of runs.
    #[must_use]
    pub fn sharing(mut self, sharing: &'static Sharing) -> Self {
        self.sharing = Some(Shares(sharing));
        self
    }

    /// The merkle clock as far as it was replayed.
    pub fn log(&self) -> &Log {
        &self.log
    }
    /// Folds what was taken since the last time: a run is folded once for many of its events. [`Self::finish`] does it too.
    pub fn settle(&mut self) {
        self.views.settle();
    }
    /// The views as far as they were folded: as of the last [`Self::settle`] or [`Self::finish`].
    pub fn views(&self) -> &Views {
        &self.views
    }
    /// Where frames are read again.
    pub fn source(&self) -> &S {
        &self.source
    }
    /// What is wrong so far.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }
    /// Records something that whoever reads the frames found.
    pub fn note_finding(&mut self, finding: Finding) {
        self.findings.add(finding);
    }

    /// Takes the next frame, or what is wrong with it.
    pub fn take(&mut self, place: Place, checked: Checked) {
        let arrival = self.frames;
        self.frames += 1;
        match checked {
            Err(error) => self.findings.at(What::Damaged, place, error),
            Ok(checked) => {
                let mut woken = Vec::new();
                self.admit(arrival, place, checked, false, &mut woken);
                while let Some((arrival, place)) = woken.pop() {
                    match self.check_again(place) {
                        Some(checked) => self.admit(arrival, place, checked, true, &mut woken),
                        None => self.findings.at(What::Damaged, place, "it could not be read a second time"),
                    }
                }
            }
        }
    }

    fn check_again(&self, place: Place) -> Option<CheckedFrame> {
        // what came through `take` once was checked as far as was asked for
        check_frame(&self.source.reread(place.handle())?, Checking::HashesOnly).ok()
    }

    fn admit(
        &mut self,
        arrival: u64,
        place: Place,
        checked: CheckedFrame,
        late: bool,
        woken: &mut Vec<(u64, Place)>,
    ) {
        let roster = self.views.authority().roster();
        let looking = Looking { known: &self.known, source: &self.source };
        match self.log.admit(&checked, |peer| roster.was_ever_member(peer), &looking) {
            Err(rejected) => self.findings.at(What::Rejected, place, rejected),
            Ok(Admission::Duplicate) => {
                let header = checked.header();
                let detail = format!(
                    "its events {}–{} of chain {} are known already",
                    header.first_seq,
                    header.end_seq() - 1,
                    header.chain
                );
                self.findings.at(What::Doubled, place, detail);
            }
            Ok(Admission::Forked(_)) => {
                let header = checked.header();
                let detail = format!(
                    "it contradicts a frame of chain {} around event {}: its author signed two",
                    header.chain, header.first_seq
                );
                self.findings.at(What::Forked, place, detail);
                self.wake(&checked, woken);
            }
            Ok(Admission::Missing(needs)) => self.wait(arrival, place, &needs),
            Ok(Admission::Admitted) => {
                if late {
                    self.findings.at(What::OutOfOrder, place, "it stands before something that it names");
                }
                self.wake(&checked, woken);
                self.fold(place.handle(), checked);
            }
        }
    }

    fn wait(&mut self, arrival: u64, place: Place, needs: &[Need]) {
        if let Some(need) = needs.first() {
            self.by_need.entry(*need).or_default().insert(arrival);
            self.waiting.insert(arrival, Waits { place, need: *need });
        }
    }

    /// Frames that waited for what a frame brings.
    fn wake(&mut self, checked: &CheckedFrame, woken: &mut Vec<(u64, Place)>) {
        if self.waiting.is_empty() {
            return;
        }
        let header = checked.header();
        let mut met: Vec<Need> = checked.events.iter().map(|event| Need::Event(event.id)).collect();
        let (first, last) = (
            Need::Place { chain: header.chain, seq: 0 },
            Need::Place { chain: header.chain, seq: header.end_seq() },
        );
        met.extend(self.by_need.range(first..=last).map(|(need, _)| *need));
        met.extend(checked.events.iter().filter_map(|event| event.body.peer()).map(Need::Member));
        if checked.events.iter().any(|event| matches!(event.body, Body::ClusterFounded(_))) {
            met.push(Need::Member(header.chain.author));
        }
        for arrival in met.iter().filter_map(|need| self.by_need.remove(need)).flatten() {
            if let Some(waits) = self.waiting.remove(&arrival) {
                woken.push((arrival, waits.place));
            }
        }
    }

    fn fold(&mut self, handle: u64, checked: CheckedFrame) {
        self.known.add(&checked, handle);
        for event in &checked.events {
            if let Some(run) = event.run() {
                self.known.add_run(&run);
                if matches!(event.body, Body::JobsPlanned(_)) {
                    self.planned.insert(run);
                }
            }
            let recall = Recall { known: &self.known, source: &self.source, selection: None };
            self.views.take(event, &recall);
        }
        if self.log.events_len() >= self.let_go_at {
            match &self.sharing {
                Some(sharing) => self.views.settle_shared(sharing.0),
                None => self.views.settle(),
            }
            self.views.runs_mut().let_go(self.runs_kept);
            let runs = self.views.runs();
            let live = runs.len() - runs.finished().len();
            self.let_go_at = self.log.events_len() + LET_GO_EVENTS_MIN.max(live as u64);
        }
    }

    /// Says what is wrong after the last frame. The replay can be asked for states and histories afterwards.
    pub fn finish(&mut self, expected: &Expected) -> Report {
        self.admit_beyond_forks();
        self.views.settle();
        for waits in self.waiting.values() {
            let detail = match waits.need {
                Need::Event(id) => format!("it names event {id}, which is missing"),
                Need::Place { chain, seq } => format!("chain {chain} is missing from event {seq} on"),
                Need::Member(peer) => format!("its author {peer} was never admitted to the cluster"),
            };
            self.findings.at(What::Unreachable, waits.place, detail);
        }
        self.waiting.clear();
        self.by_need.clear();
        let views = (VIEWS_VERSION, self.views.digest());
        self.compare(expected, views);
        self.note_what_to_know();
        let not_folded = self.views.void_len() + self.views.unknown().values().sum::<u64>();
        Report {
            cluster: self.log.cluster(),
            frames: self.frames,
            frames_admitted: self.known.order.len() as u64,
            events: self.log.events_len(),
            chains: self.log.chains().iter().map(|(id, chain)| (*id, chain.length, chain.tip)).collect(),
            heads: self.log.heads().copied().collect(),
            clock_hash: self.log.clock_hash(),
            height: self.log.height(),
            members: self.views.authority().roster().members().len(),
            runs: self.views.runs().len(),
            not_folded,
            views,
            findings: self.findings.clone(),
            notes: self.notes.clone(),
        }
    }

    fn note_what_to_know(&mut self) {
        for (kind, events) in self.views.unknown() {
            let upgrade = if kind.is_critical() {
                ", which a node must understand to decide: upgrade wfengine"
            } else {
                ""
            };
            self.notes.push(format!("{events} events are of {kind}{upgrade}"));
        }
        for (chain, seq) in self.views.authority().roster().forked_chains() {
            self.notes.push(format!("chain {chain} is forked: from event {seq} on it counts for nothing"));
        }
    }

    /// Others may have named events of a branch before they knew of the fork, and no log stores that branch. Such frames are
    /// part of the log all the same, as they are on the nodes that saw the branch.
    fn admit_beyond_forks(&mut self) {
        let forked = self.proved_forks();
        let mut tried = BTreeSet::new();
        while !forked.is_empty() {
            let next = self
                .waiting
                .iter()
                .find(|(arrival, waits)| matches!(waits.need, Need::Event(_)) && !tried.contains(*arrival));
            let Some((arrival, place)) = next.map(|(arrival, waits)| (*arrival, waits.place)) else { return };
            tried.insert(arrival);
            let Some(checked) = self.check_again(place) else { continue };
            let doubtful = self.doubtful_names(&checked, &forked);
            if doubtful.is_empty() {
                continue;
            }
            for (id, location) in doubtful {
                if self.notes.len() < NOTES_MAX {
                    self.notes.push(format!(
                        "{place} names event {id} of a branch of chain {} that a fork proof keeps out of every log",
                        location.chain
                    ));
                }
                self.known.doubtful.insert(id, location);
            }
            if let Some(waits) = self.waiting.remove(&arrival)
                && let Some(arrivals) = self.by_need.get_mut(&waits.need)
            {
                arrivals.remove(&arrival);
            }
            let mut woken = Vec::new();
            self.admit(arrival, place, checked, false, &mut woken);
            while let Some((arrival, place)) = woken.pop() {
                if let Some(checked) = self.check_again(place) {
                    self.admit(arrival, place, checked, false, &mut woken);
                }
            }
        }
    }

    /// Chains with a proved fork, from the first place in doubt. A proof may itself wait for what it explains, so the frames that
    /// wait are looked at too: a proof stands on its own two signatures.
    fn proved_forks(&self) -> BTreeMap<ChainId, u64> {
        let mut forked = self.views.authority().roster().forked_chains().clone();
        let cluster = self.log.cluster();
        for checked in self.waiting.values().filter_map(|waits| self.check_again(waits.place)) {
            for event in &checked.events {
                if let Body::ForkProved(proof) = &event.body
                    && proof.first.header.cluster == cluster
                    && let Some(seq) = fork_between(&proof.first, &proof.second)
                    && proof.first.verify().is_ok()
                    && proof.second.verify().is_ok()
                {
                    let cut = forked.entry(proof.first.header.chain).or_insert(seq);
                    *cut = seq.min(*cut);
                }
            }
        }
        forked
    }

    /// The events a frame names that may lie in the doubtful part of a forked chain; empty if something else is missing too.
    fn doubtful_names(
        &self,
        frame: &CheckedFrame,
        forked: &BTreeMap<ChainId, u64>,
    ) -> Vec<(EventId, Location)> {
        let within: BTreeSet<EventId> = frame.events.iter().map(|event| event.id).collect();
        let is_known = |id: &EventId| {
            within.contains(id) || self.known.locate(id).is_some() || self.known.doubtful.contains_key(id)
        };
        let mut names = Vec::new();
        for event in &frame.events {
            let height = event.height.saturating_sub(1);
            for parent in event.parents.iter().filter(|parent| !is_known(&parent.id)) {
                if forked.get(&parent.chain).is_none_or(|cut| parent.seq < *cut) {
                    return Vec::new();
                }
                names.push((parent.id, Location { chain: parent.chain, seq: parent.seq, height }));
            }
            // a ref does not say its chain
            let chain = forked.iter().next().map(|(chain, seq)| (*chain, *seq));
            for id in event.refs.iter().filter(|id| !is_known(id)) {
                let Some((chain, seq)) = chain else { return Vec::new() };
                names.push((*id, Location { chain, seq, height }));
            }
        }
        names
    }

    fn compare(&mut self, expected: &Expected, views: (u32, Hash32)) {
        let cluster = self.log.cluster();
        if let Some(wanted) = expected.cluster.filter(|wanted| *wanted != cluster) {
            self.findings
                .of_whole(What::Mismatch, format!("cluster {wanted} was expected, this is {cluster}"));
        }
        if let Some(head) = &expected.head
            && *head != self.log.clock_hash()
            && self.known.locate(&EventId::from_bytes(*head)).is_none()
        {
            let head = EventId::from_bytes(*head);
            self.findings.of_whole(
                What::Mismatch,
                format!("the expected head {head} is neither the clock hash nor an event of this log"),
            );
        }
        let recorded = expected.trailer.as_ref().and_then(|trailer| trailer.views);
        for (whose, said) in [("stored with the log", expected.views), ("in the export's trailer", recorded)]
        {
            match said {
                Some((version, _)) if version != views.0 => self.notes.push(format!(
                    "the view digest {whose} is of views version {version}, this program folds version {}: not compared",
                    views.0
                )),
                Some((_, digest)) if digest != views.1 => {
                    let (digest, folded) = (EventId::from_bytes(digest), EventId::from_bytes(views.1));
                    self.findings.of_whole(
                        What::Mismatch,
                        format!("the views folded from these events have digest {folded}, the one {whose} is {digest}"),
                    );
                }
                _ => {}
            }
        }
        if let Some(trailer) = &expected.trailer {
            self.compare_trailer(trailer);
        }
    }

    fn compare_trailer(&mut self, trailer: &ExportTrailer) {
        if !self.views.authority().roster().was_ever_member(&trailer.exporter) {
            let detail = format!(
                "the export is signed by {}, who never was a member of the cluster",
                trailer.exporter
            );
            self.findings.of_whole(What::Mismatch, detail);
        }
        let signed: BTreeMap<ChainId, &Tip> = trailer.tips.iter().map(|tip| (tip.chain, tip)).collect();
        let held = |chain: &ChainId| self.log.chain(chain).map_or(0, |chain| chain.length);
        for (chain, tip) in &signed {
            let (length, announced) = (held(chain), tip.seq.saturating_add(1));
            let id = self.log.chain(chain).map(|chain| chain.tip);
            let detail = if length < announced {
                format!(
                    "chain {chain} ends after {length} events, the exporter signed {announced}: its tail is missing"
                )
            } else if length > announced {
                format!("chain {chain} has {length} events, the exporter signed {announced}")
            } else if id != Some(tip.id) {
                format!("chain {chain} ends with another event than the exporter signed ({})", tip.id)
            } else {
                continue;
            };
            let what = if length < announced { What::Missing } else { What::Mismatch };
            self.findings.of_whole(what, detail);
        }
        for chain in self.log.chains().keys().filter(|chain| !signed.contains_key(chain)) {
            self.findings
                .of_whole(What::Mismatch, format!("chain {chain} is not among those the exporter signed"));
        }
    }
}
