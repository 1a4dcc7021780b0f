//! Reading a replayed log a second time: the events of one run, and all events in canonical order.
//!
//! Frames are read again through [`Reread`]; nothing here remembers events.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;

use wfengine_storage_format::{ChainId, EventId, IdPrefix, RunId};

use super::known::Known;
use super::state::Selection;
use super::{Checking, Replayer, Reread, check_frame};
use crate::admitted::Admitted;
use crate::views::runs::History;

/// Events of runs that left memory, read again.
pub(super) struct Recall<'a, S> {
    pub(super) known: &'a Known,
    pub(super) source: &'a S,
    pub(super) selection: Option<&'a Selection>,
}

impl<S: Reread> History for Recall<'_, S> {
    fn events_of_run(&self, run: &RunId) -> Option<Vec<Arc<Admitted>>> {
        let handles = self.known.frames_of_run(run).into_iter();
        // a frame that cannot be read again leaves a gap; whoever reads it says so
        let frames = handles.filter_map(|handle| read(self.source, handle));
        let events = frames
            .flatten()
            .filter(|event| event.run() == Some(*run))
            .filter(|event| self.selection.is_none_or(|selection| selection.covers(event)));
        Some(events.collect())
    }
}

/// The events of one frame; `None` when it cannot be read again.
pub(super) fn read<S: Reread>(source: &S, handle: u64) -> Option<Vec<Arc<Admitted>>> {
    let checked = check_frame(&source.reread(handle)?, Checking::HashesOnly).ok()?;
    Some(checked.events)
}

/// All events of a log in canonical order: ascending by height, chain, place. Holds one frame of each chain that is under way.
#[derive(Debug)]
pub struct CanonicalHistory<'a, S> {
    known: &'a Known,
    source: &'a S,
    next: BinaryHeap<Reverse<(u64, ChainId, u64)>>,
    under_way: BTreeMap<ChainId, VecDeque<Arc<Admitted>>>,
}

impl<S: Reread> Replayer<S> {
    /// All admitted events in canonical order.
    pub fn history(&self) -> CanonicalHistory<'_, S> {
        let first = |chain: &super::known::KnownChain| {
            chain.events.first().map(|(_, height)| Reverse((*height, chain.id, 0)))
        };
        CanonicalHistory {
            known: &self.known,
            source: &self.source,
            next: self.known.chains.iter().filter_map(first).collect(),
            under_way: BTreeMap::new(),
        }
    }

    /// The admitted events whose ids begin so, at most `len_max`.
    pub fn events_beginning(&self, prefix: &IdPrefix, len_max: usize) -> Vec<EventId> {
        let (low, high) = prefix.range();
        let events = self.known.chains.iter().flat_map(|chain| &chain.events).map(|(id, _)| *id);
        events.filter(|id| (low..=high).contains(id.as_bytes())).take(len_max).collect()
    }

    /// All events of a run, in canonical order.
    pub fn events_of_run(&self, run: &RunId) -> Vec<Arc<Admitted>> {
        let recall = Recall { known: &self.known, source: &self.source, selection: None };
        let mut events = recall.events_of_run(run).unwrap_or_default();
        events.sort_by_key(|event| event.order());
        events
    }

    /// A run as the views show it, in memory or folded again.
    pub fn run(&self, run: &RunId) -> Option<crate::views::run::Run> {
        let recall = Recall { known: &self.known, source: &self.source, selection: None };
        self.views.runs().run(run, self.views.authority(), &recall)
    }
}

impl<S: Reread> CanonicalHistory<'_, S> {
    fn event_at(&mut self, chain: &ChainId, seq: u64) -> Option<Arc<Admitted>> {
        let events = self.under_way.entry(*chain).or_default();
        if events.is_empty() {
            let frames = &self.known.chain(chain)?.frames;
            let frame = frames.get(frames.partition_point(|frame| frame.first_seq <= seq).checked_sub(1)?)?;
            events.extend(read(self.source, frame.handle)?);
        }
        // a frame is entered at its first event, so this is the one that is asked for
        let event = events.pop_front()?;
        if events.is_empty() {
            self.under_way.remove(chain);
        }
        (event.seq == seq).then_some(event)
    }
}

impl<S: Reread> Iterator for CanonicalHistory<'_, S> {
    type Item = Arc<Admitted>;

    fn next(&mut self) -> Option<Arc<Admitted>> {
        // a frame that cannot be read again leaves a gap; whoever reads it says so
        loop {
            let Reverse((_, chain, seq)) = self.next.pop()?;
            let events = &self.known.chain(&chain)?.events;
            let after = usize::try_from(seq).ok().and_then(|seq| events.get(seq + 1));
            if let Some((_, height)) = after {
                self.next.push(Reverse((*height, chain, seq + 1)));
            }
            if let Some(event) = self.event_at(&chain, seq) {
                return Some(event);
            }
        }
    }
}
