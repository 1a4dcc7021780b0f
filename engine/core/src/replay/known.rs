//! What a replay remembers of every event: its id, place and height, and which frames hold which run. Some 70 bytes an event.
//!
//! An audit of a million events has to fit beside the views it folds, so ids are kept once, by chain, and found through 64 bits
//! of them; whoever collides there on purpose only makes the look-up a little slower.

use std::collections::{BTreeMap, HashMap};

use wfengine_storage_format::{ChainId, EventId, RunId, SignedFrame, SignedHeader, VerifiedFrame};

use super::Reread;
use crate::log::{KnownEvents, Location};

/// A frame of a chain: where it begins there, and how to read it again.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameAt {
    pub(super) first_seq: u64,
    pub(super) handle: u64,
}

#[derive(Debug)]
pub(super) struct KnownChain {
    pub(super) id: ChainId,
    /// Id and height by place.
    pub(super) events: Vec<(EventId, u64)>,
    pub(super) frames: Vec<FrameAt>,
}

/// Everything admitted so far.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) chains: Vec<KnownChain>,
    numbers: BTreeMap<ChainId, u32>,
    by_id: HashMap<u64, (u32, u32)>,
    clashes: BTreeMap<EventId, (u32, u32)>,
    by_run: HashMap<u64, Vec<u64>>,
    /// Events of the doubtful part of forked chains, which nobody stores but others named.
    pub(super) doubtful: BTreeMap<EventId, Location>,
    /// Frames in the order of admission, by chain and place among the chain's frames.
    pub(super) order: Vec<(u32, u32)>,
}

fn short(id: &[u8; 32]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&id[..8]);
    u64::from_le_bytes(first)
}

fn narrow(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

impl Known {
    /// Remembers a frame that was admitted.
    pub(super) fn add(&mut self, frame: &VerifiedFrame, handle: u64) {
        let header = frame.header();
        let next = narrow(self.chains.len());
        let number = *self.numbers.entry(header.chain).or_insert(next);
        if number == next {
            self.chains.push(KnownChain { id: header.chain, events: Vec::new(), frames: Vec::new() });
        }
        let Some(chain) = self.chains.get_mut(number as usize) else { return };
        self.order.push((number, narrow(chain.frames.len())));
        chain.frames.push(FrameAt { first_seq: header.first_seq, handle });
        for (id, event) in frame.events() {
            let place = (number, narrow(chain.events.len()));
            chain.events.push((*id, event.height));
            if *self.by_id.entry(short(id.as_bytes())).or_insert(place) != place {
                self.clashes.insert(*id, place);
            }
        }
    }

    /// Remembers that a frame holds events of a run.
    pub(super) fn add_run(&mut self, run: &RunId, handle: u64) {
        let handles = self.by_run.entry(short(run.as_bytes())).or_insert_with(|| Vec::with_capacity(2));
        if handles.last() != Some(&handle) {
            handles.push(handle);
        }
    }

    /// Frames that hold events of a run; some may hold none.
    pub(super) fn frames_of_run(&self, run: &RunId) -> &[u64] {
        self.by_run.get(&short(run.as_bytes())).map_or(&[], Vec::as_slice)
    }

    pub(super) fn chain(&self, id: &ChainId) -> Option<&KnownChain> {
        self.chains.get(*self.numbers.get(id)? as usize)
    }

    pub(super) fn frame(&self, (chain, frame): (u32, u32)) -> Option<(ChainId, FrameAt)> {
        let chain = self.chains.get(chain as usize)?;
        Some((chain.id, *chain.frames.get(frame as usize)?))
    }

    /// Where an admitted event stands.
    pub(super) fn locate(&self, id: &EventId) -> Option<Location> {
        let at = |(chain, seq): (u32, u32)| {
            let chain = self.chains.get(chain as usize)?;
            let (known, height) = chain.events.get(seq as usize)?;
            (known == id).then_some(Location { chain: chain.id, seq: u64::from(seq), height: *height })
        };
        let direct = self.by_id.get(&short(id.as_bytes())).copied().and_then(at);
        direct.or_else(|| self.clashes.get(id).copied().and_then(at))
    }

    fn handle_at(&self, chain: &ChainId, seq: u64) -> Option<u64> {
        let chain = self.chain(chain)?;
        let after = chain.frames.partition_point(|frame| frame.first_seq <= seq);
        chain.frames.get(after.checked_sub(1)?).map(|frame| frame.handle)
    }
}

/// What the log asks while frames are admitted.
pub(super) struct Looking<'a, S> {
    pub(super) known: &'a Known,
    pub(super) source: &'a S,
}

impl<S: Reread> KnownEvents for Looking<'_, S> {
    fn locate(&self, id: &EventId) -> Option<Location> {
        self.known.locate(id).or_else(|| self.known.doubtful.get(id).copied())
    }

    fn header_at(&self, chain: &ChainId, seq: u64) -> Option<SignedHeader> {
        let bytes = self.source.reread(self.known.handle_at(chain, seq)?)?;
        let signed = SignedFrame::decode(&bytes).ok()?.signed_header();
        (signed.header.chain == *chain && signed.header.end_seq() > seq).then_some(signed)
    }
}
