//! One run proved alone: from the frames that hold its events and the authority's, without the rest of the log.
//!
//! Links cannot be followed, because the chains have gaps. What is checked: each frame's hashes and signature, that the cluster was
//! founded here and its authority events name nothing that is not there, that every author was a member, that the run's events
//! find what they name; then the run is folded. What cannot be: that the exporter left none of the run's events out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wfengine_storage_format::{
    Body, ChainId, ClusterId, EventId, ExportTrailer, RunId, SignedHeader, Tip, fork_between,
};

use super::finding::{Finding, Findings, Place, What};
use super::{Checked, Expected};
use crate::admitted::Admitted;
use crate::log::Linked;
use crate::views::Views;
use crate::views::run::Run;
use crate::views::runs::NoHistory;

/// Collects the frames of a partial export.
#[derive(Debug)]
pub struct Alone {
    cluster: ClusterId,
    run: RunId,
    frames: u64,
    events: u64,
    headers: BTreeMap<(ChainId, u64), (SignedHeader, Place)>,
    tips: BTreeMap<ChainId, Tip>,
    ids: BTreeSet<EventId>,
    authority: BTreeMap<EventId, Arc<Admitted>>,
    descriptions: Vec<Arc<Admitted>>,
    of_run: BTreeMap<EventId, (Place, Arc<Admitted>)>,
    findings: Findings,
}

/// What the proof of one run came to.
#[derive(Debug)]
pub struct AloneReport {
    /// Whose log it is from.
    pub cluster: ClusterId,
    /// Frames that were read.
    pub frames: u64,
    /// Events in them.
    pub events: u64,
    /// Events of the run.
    pub events_of_run: Vec<Arc<Admitted>>,
    /// The run, folded; `None` when nothing of it is there.
    pub run: Option<Run>,
    /// The authority and the names of peers.
    pub views: Views,
    /// Who says that this is all of the run.
    pub trailer: Option<ExportTrailer>,
    /// What is wrong.
    pub findings: Findings,
}

impl Alone {
    /// Before the first frame.
    pub fn new(cluster: ClusterId, run: RunId) -> Self {
        Self {
            cluster,
            run,
            frames: 0,
            events: 0,
            headers: BTreeMap::new(),
            tips: BTreeMap::new(),
            ids: BTreeSet::new(),
            authority: BTreeMap::new(),
            descriptions: Vec::new(),
            of_run: BTreeMap::new(),
            findings: Findings::default(),
        }
    }

    /// Records something that whoever reads the frames found.
    pub fn note_finding(&mut self, finding: Finding) {
        self.findings.add(finding);
    }

    /// Takes the next frame, or what is wrong with it.
    pub fn take(&mut self, place: Place, checked: Checked) {
        self.frames += 1;
        let checked = match checked {
            Err(error) => return self.findings.at(What::Damaged, place, error),
            Ok(checked) => checked,
        };
        let header = checked.header();
        if header.cluster != self.cluster {
            let detail = format!("it is of cluster {}", header.cluster);
            return self.findings.at(What::Rejected, place, detail);
        }
        if !self.note_header(place, checked.signed_header()) {
            return;
        }
        let tip = checked.header().tip();
        let last = self.tips.entry(tip.chain).or_insert(tip);
        if tip.seq > last.seq {
            *last = tip;
        }
        self.events += u64::from(checked.header().count);
        for event in checked.events {
            self.ids.insert(event.id);
            if event.kind.is_authority() {
                self.authority.insert(event.id, event);
            } else if matches!(event.body, Body::PeerDescribed(_)) {
                self.descriptions.push(event);
            } else if event.run() == Some(self.run) {
                self.of_run.insert(event.id, (place, event));
            }
        }
    }

    /// Whether a frame is neither doubled nor contradicts its neighbours.
    fn note_header(&mut self, place: Place, signed: SignedHeader) -> bool {
        let chain = signed.header.chain;
        let same = self.headers.get(&(chain, signed.header.first_seq)).filter(|(known, _)| *known == signed);
        if let Some((_, before)) = same {
            self.findings.at(What::Doubled, place, format!("it is {before} again"));
            return false;
        }
        let before = self.headers.range(..=(chain, signed.header.first_seq)).next_back();
        let after = self.headers.range((chain, signed.header.first_seq)..).next();
        let contradicted = [before, after]
            .into_iter()
            .flatten()
            .find(|(_, (known, _))| known.header.chain == chain && fork_between(known, &signed).is_some());
        if let Some((_, (_, other))) = contradicted {
            let detail = format!("it contradicts {other} of the same chain: its author signed two");
            self.findings.at(What::Forked, place, detail);
            return false;
        }
        self.headers.insert((chain, signed.header.first_seq), (signed, place));
        true
    }

    /// Checks what can be checked together, and folds the run.
    pub fn finish(mut self, expected: &Expected) -> AloneReport {
        let mut views = Views::new(self.cluster);
        let mut ordered: Vec<Arc<Admitted>> = self.authority.values().cloned().collect();
        ordered.sort_by_key(|event| event.order());
        let mut of_run: Vec<Arc<Admitted>> =
            self.of_run.values().map(|(_, event)| Arc::clone(event)).collect();
        of_run.sort_by_key(|event| event.order());
        views.apply_all(ordered.iter().chain(&self.descriptions).chain(&of_run), &NoHistory);
        self.check_authority(&views);
        self.check_run(&views);
        self.compare(expected, &views);
        let run = views.runs().live(&self.run).cloned();
        if run.as_ref().is_none_or(|run| run.submissions.is_empty()) {
            self.findings
                .of_whole(What::Missing, format!("no valid submission of run {} is in the file", self.run));
        }
        AloneReport {
            cluster: self.cluster,
            frames: self.frames,
            events: self.events,
            events_of_run: of_run,
            run,
            views,
            trailer: expected.trailer.clone(),
            findings: self.findings,
        }
    }

    fn check_authority(&mut self, views: &Views) {
        let founding = EventId::from_bytes(*self.cluster.as_bytes());
        if !self.authority.contains_key(&founding) {
            let detail = format!("the founding event of cluster {} is not in the file", self.cluster);
            self.findings.of_whole(What::Missing, detail);
        }
        let forked = !views.authority().roster().forked_chains().is_empty();
        for event in self.authority.values() {
            // of a forked chain some branch is stored nowhere
            for named in event.refs.iter().filter(|named| !self.ids.contains(*named) && !forked) {
                let detail = format!(
                    "authority event {} names {named}, which is not in the file: the closure has a gap",
                    event.id
                );
                self.findings.add(Finding { what: What::Missing, place: None, detail });
            }
        }
        let roster = views.authority().roster();
        let mut strangers = BTreeSet::new();
        for ((chain, _), (_, place)) in &self.headers {
            if !roster.was_ever_member(&chain.author) && strangers.insert(chain.author) {
                let detail = format!("its author {} was never admitted to the cluster", chain.author);
                self.findings.at(What::Unreachable, *place, detail);
            }
        }
    }

    fn check_run(&mut self, views: &Views) {
        let forked = !views.authority().roster().forked_chains().is_empty();
        for (place, event) in self.of_run.values() {
            let attempt_before = match &event.body {
                Body::RunSubmitted(body) => body.rerun_of,
                _ => None,
            };
            let absent = |named: &&EventId| Some(**named) != attempt_before && !self.ids.contains(*named);
            for named in event.refs.iter().filter(absent).filter(|_| !forked) {
                let detail = format!("event {} of the run names {named}, which is not in the file", event.id);
                self.findings.at(What::Missing, *place, detail);
            }
        }
    }

    fn compare(&mut self, expected: &Expected, views: &Views) {
        if let Some(wanted) = expected.cluster.filter(|wanted| *wanted != self.cluster) {
            let detail = format!("cluster {wanted} was expected, this is {}", self.cluster);
            self.findings.of_whole(What::Mismatch, detail);
        }
        if let Some(head) = expected.head.map(EventId::from_bytes)
            && !self.ids.contains(&head)
        {
            let detail = format!("the expected head {head} is not an event of this file");
            self.findings.of_whole(What::Mismatch, detail);
        }
        let Some(trailer) = &expected.trailer else { return };
        if !views.authority().roster().was_ever_member(&trailer.exporter) {
            let detail = format!(
                "the export is signed by {}, who never was a member of the cluster",
                trailer.exporter
            );
            self.findings.of_whole(What::Mismatch, detail);
        }
        let held: Vec<Tip> = self.tips.values().copied().collect();
        if held != trailer.tips {
            let signed: BTreeSet<&Tip> = trailer.tips.iter().collect();
            let here: BTreeSet<&Tip> = held.iter().collect();
            for tip in signed.symmetric_difference(&here) {
                let (what, verb) = if signed.contains(tip) {
                    (
                        What::Missing,
                        "is signed by the exporter as the last of its chain and is not so in the file",
                    )
                } else {
                    (What::Mismatch, "is the last of its chain in the file, which the exporter did not sign")
                };
                self.findings.of_whole(
                    what,
                    format!("event {} of chain {} (place {}) {verb}", tip.id, tip.chain, tip.seq),
                );
            }
        }
    }
}
