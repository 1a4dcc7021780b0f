//! What a replay remembers of every event: its id, place and height, and which frames hold which run. Some 70 bytes an event.
//!
//! An audit of a million events has to fit beside the views it folds, so ids are kept once, by chain, and found through a table
//! of their places. Runs are found through 64 bits of their ids; whoever collides there on purpose only makes the look-up a little
//! slower.

use std::collections::BTreeMap;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use wfengine_storage_format::{ChainId, EventId, RunId, SignedFrame, SignedHeader};

use super::Reread;
use crate::log::{KnownEvents, Linked, Location};

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

/// Which frames hold events of a run, by their numbers in the order of admission.
#[derive(Clone, Copy, Debug)]
struct FramesOfRun {
    first: u32,
    last: u32,
    /// The place of those between in a list; `u32::MAX` when there are none.
    between: u32,
}

/// Everything admitted so far.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) chains: Vec<KnownChain>,
    numbers: BTreeMap<ChainId, u32>,
    /// Chain and place of every event, found by the id that stands there.
    by_id: HashTable<(u32, u32)>,
    hashing: DefaultHashBuilder,
    by_run: HashMap<u64, FramesOfRun>,
    /// Of runs that lie in more than two frames: those between the first and the last.
    between: Vec<Vec<u32>>,
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
    pub(super) fn add(&mut self, frame: &impl Linked, handle: u64) {
        let header = frame.header();
        let next = narrow(self.chains.len());
        let number = *self.numbers.entry(header.chain).or_insert(next);
        if number == next {
            self.chains.push(KnownChain { id: header.chain, events: Vec::new(), frames: Vec::new() });
        }
        let Some(chain) = self.chains.get_mut(number as usize) else { return };
        self.order.push((number, narrow(chain.frames.len())));
        chain.frames.push(FrameAt { first_seq: header.first_seq, handle });
        let mut places = Vec::with_capacity(usize::from(header.count));
        for event in frame.links() {
            places.push((number, narrow(chain.events.len()), short(event.id.as_bytes())));
            chain.events.push((*event.id, event.height));
        }
        let Self { chains, by_id, hashing, .. } = self;
        let id_at = |(chain, seq): &(u32, u32)| {
            chains.get(*chain as usize).and_then(|chain| chain.events.get(*seq as usize)).map(|(id, _)| id)
        };
        for (chain, seq, id) in places {
            by_id.insert_unique(hashing.hash_one(id), (chain, seq), |place| {
                hashing.hash_one(id_at(place).map_or(0, |id| short(id.as_bytes())))
            });
        }
    }

    /// Remembers that the frame that was added last holds events of a run.
    pub(super) fn add_run(&mut self, run: &RunId) {
        let number = narrow(self.order.len().saturating_sub(1));
        let alone = FramesOfRun { first: number, last: number, between: u32::MAX };
        let frames = self.by_run.entry(short(run.as_bytes())).or_insert(alone);
        if frames.last == number {
            return;
        }
        let before = std::mem::replace(&mut frames.last, number);
        if before == frames.first {
            return;
        }
        match self.between.get_mut(frames.between as usize) {
            Some(list) => list.push(before),
            None => {
                frames.between = narrow(self.between.len());
                self.between.push(vec![before]);
            }
        }
    }

    /// How to read the frames that hold events of a run; some may hold none.
    pub(super) fn frames_of_run(&self, run: &RunId) -> Vec<u64> {
        let Some(frames) = self.by_run.get(&short(run.as_bytes())) else { return Vec::new() };
        let between = self.between.get(frames.between as usize).into_iter().flatten().copied();
        let last = (frames.last != frames.first).then_some(frames.last);
        let numbers = [frames.first].into_iter().chain(between).chain(last);
        let at = numbers.filter_map(|number| self.frame(*self.order.get(number as usize)?));
        at.map(|(_, frame)| frame.handle).collect()
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
        let at = |(chain, seq): &(u32, u32)| {
            let chain = self.chains.get(*chain as usize)?;
            let (known, height) = chain.events.get(*seq as usize)?;
            (known == id).then_some(Location { chain: chain.id, seq: u64::from(*seq), height: *height })
        };
        self.by_id.find(self.hashing.hash_one(short(id.as_bytes())), |place| at(place).is_some()).and_then(at)
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
