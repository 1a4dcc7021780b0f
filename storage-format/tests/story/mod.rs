//! The story that the golden files tell: one small log by four authors, with every kind in it, and its damaged copies.
//!
//! Everything is derived from fixed seeds, so telling it again gives the committed bytes. Frames are added at the end of
//! a chapter and never changed; what a frame is expected to be stands beside it, in words of the index.

mod damaged;
mod forks;
mod log;
mod runners;

use std::collections::BTreeMap;

use wfengine_storage_format::{
    BlobId, Body, ChainId, ClusterId, EventId, FrameBuilder, Incarnation, Kind, Signer, Tip, VerifiedFrame,
    sha256,
};

/// One golden file.
pub(crate) struct Specimen {
    /// Its name without folder.
    pub(crate) file: String,
    /// What is in it.
    pub(crate) bytes: Vec<u8>,
    /// What each of its events is, or the one error.
    pub(crate) outcomes: Vec<&'static str>,
}

/// All golden files, in the order of the index.
pub(crate) fn tell() -> Vec<Specimen> {
    let (mut specimens, frames) = log::tell();
    specimens.extend(damaged::tell(&frames));
    specimens
}

/// Somebody who writes.
struct Author {
    signer: Signer,
    chain: ChainId,
    tip: Option<Tip>,
}

impl Author {
    fn new(seed: u8, incarnation: u8) -> Self {
        let signer = Signer::from_seed(&[seed; 32]);
        let incarnation = Incarnation::from_bytes([incarnation; 16]);
        Self { chain: ChainId { author: signer.peer_id(), incarnation }, signer, tip: None }
    }
    fn tip(&self) -> Tip {
        self.tip.unwrap()
    }
}

/// One event to be written.
struct Saying {
    kind: Kind,
    body: Vec<u8>,
    refs: Vec<EventId>,
    blobs: Vec<BlobId>,
}

impl Saying {
    fn of(body: impl Into<Body>, heads: &[EventId]) -> Self {
        let body = body.into();
        let mut refs = body.named_events();
        refs.extend_from_slice(heads);
        let (kind, body) = body.encode().unwrap();
        Self { kind, body, refs, blobs: Vec::new() }
    }
    fn raw(kind: Kind, body: &[u8]) -> Self {
        Self { kind, body: body.to_vec(), refs: Vec::new(), blobs: Vec::new() }
    }
    fn keeping(mut self, blobs: &[BlobId]) -> Self {
        self.blobs = blobs.to_vec();
        self
    }
}

/// What has been written so far.
#[derive(Default)]
struct Log {
    cluster: Option<ClusterId>,
    heights: BTreeMap<EventId, u64>,
    specimens: Vec<Specimen>,
    frames: BTreeMap<String, VerifiedFrame>,
}

impl Log {
    /// Writes one frame into one file and returns the id of its last event.
    fn write(
        &mut self,
        file: &str,
        author: &mut Author,
        parents: &[Tip],
        sayings: Vec<(Saying, &'static str)>,
    ) -> EventId {
        let first_seq = author.tip.map_or(0, |tip| if tip.chain == author.chain { tip.seq + 1 } else { 0 });
        let prev = author.tip.map(|tip| tip.id);
        let mut frame = FrameBuilder::new(self.cluster, author.chain, first_seq, prev, parents.to_vec());
        let mut outcomes = Vec::new();
        let mut last = prev;
        for (saying, outcome) in sayings {
            let seen =
                last.into_iter().chain(parents.iter().map(|tip| tip.id)).chain(saying.refs.iter().copied());
            let height = 1 + seen.map(|id| self.heights[&id]).max().unwrap_or(0);
            let time_ms = 1_800_000_000_000 + 1_000 * height;
            assert!(frame.fits(saying.body.len(), saying.blobs.len()), "{file} does not fit");
            let id = frame.push(height, time_ms, saying.refs, saying.blobs, saying.kind, saying.body);
            self.heights.insert(id, height);
            last = Some(id);
            outcomes.push(outcome);
        }
        let frame = frame.sign(&author.signer).unwrap();
        author.tip = Some(frame.tip());
        self.cluster = Some(frame.header().cluster);
        let file = format!("{file}.frame");
        self.specimens.push(Specimen { file: file.clone(), bytes: frame.bytes().to_vec(), outcomes });
        self.frames.insert(file, frame);
        author.tip().id
    }

    /// One event of a known kind, alone in a frame named after the kind.
    fn say(&mut self, author: &mut Author, parents: &[Tip], saying: Saying) -> EventId {
        let file = saying.kind.name().unwrap();
        self.write(file, author, parents, vec![(saying, "ok")])
    }
}

fn blob(text: &str) -> BlobId {
    BlobId::from_bytes(sha256(text.as_bytes()))
}
