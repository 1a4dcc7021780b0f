//! A node's disk: the frames whose commit came back, in that order. A crash loses everything else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wfengine_core::Admitted;
use wfengine_core::log::{KnownEvents, Location};
use wfengine_core::views::runs::History;
use wfengine_storage_format::{ChainId, EventId, PeerId, RunId, SignedHeader, VerifiedFrame};

/// What survives a crash.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    frames: Vec<Arc<VerifiedFrame>>,
    by_chain: BTreeMap<ChainId, Vec<usize>>,
    locations: BTreeMap<EventId, Location>,
    by_run: BTreeMap<RunId, Vec<Arc<Admitted>>>,
    /// The members seen within a day, as the scheduler asked to remember.
    pub seen: BTreeSet<PeerId>,
}

impl Disk {
    /// Makes frames durable.
    pub fn commit(&mut self, frame: Arc<VerifiedFrame>, events: &[Arc<Admitted>]) {
        let index = self.frames.len();
        for (id, event) in frame.events() {
            let place = Location { chain: event.chain, seq: event.seq, height: event.height };
            self.locations.insert(*id, place);
        }
        for event in events {
            if let Some(run) = event.body.run() {
                self.by_run.entry(run).or_default().push(Arc::clone(event));
            }
        }
        self.by_chain.entry(frame.header().chain).or_default().push(index);
        self.frames.push(frame);
    }

    /// Everything committed, oldest first.
    pub fn frames(&self) -> &[Arc<VerifiedFrame>] {
        &self.frames
    }

    /// Number of events of each chain.
    pub fn frontier(&self) -> BTreeMap<ChainId, u64> {
        let length = |indexes: &Vec<usize>| {
            indexes
                .last()
                .and_then(|index| self.frames.get(*index))
                .map_or(0, |frame| frame.header().end_seq())
        };
        self.by_chain.iter().map(|(chain, indexes)| (*chain, length(indexes))).collect()
    }

    /// Up to `len_max` frames that somebody with this frontier lacks, in the order in which they were committed here.
    pub fn beyond(&self, frontier: &BTreeMap<ChainId, u64>, len_max: usize) -> Vec<Arc<VerifiedFrame>> {
        let mut indexes: Vec<usize> = Vec::new();
        for (chain, own) in &self.by_chain {
            let theirs = frontier.get(chain).copied().unwrap_or(0);
            let lacking = own.iter().rev().take_while(|index| {
                self.frames.get(**index).is_some_and(|frame| frame.header().end_seq() > theirs)
            });
            indexes.extend(lacking);
        }
        indexes.sort_unstable();
        indexes.truncate(len_max);
        indexes.into_iter().filter_map(|index| self.frames.get(index).cloned()).collect()
    }
}

impl KnownEvents for Disk {
    fn locate(&self, id: &EventId) -> Option<Location> {
        self.locations.get(id).copied()
    }

    fn header_at(&self, chain: &ChainId, seq: u64) -> Option<SignedHeader> {
        let indexes = self.by_chain.get(chain)?;
        let frames = indexes.iter().filter_map(|index| self.frames.get(*index));
        frames
            .map(|frame| frame.signed_header())
            .find(|signed| (signed.header.first_seq..signed.header.end_seq()).contains(&seq))
    }
}

impl History for Disk {
    fn events_of_run(&self, run: &RunId) -> Option<Vec<Arc<Admitted>>> {
        Some(self.by_run.get(run).cloned().unwrap_or_default())
    }
}
