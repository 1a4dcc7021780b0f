//! A second writer of frames, made after SPEC.md alone: integers, lists and options put down byte by byte, without serde.
//!
//! Golden files are encoded again with it, so the document and the crate cannot drift apart, and broken frames are built
//! with it, because the crate's own builder has no way to say something wrong. It checks nothing and decides nothing.

use wfengine_storage_format::{Signer, VerifiedFrame, sha256};

/// One parent as it stands in a frame.
#[derive(Clone, Debug)]
pub(crate) struct RawTip {
    pub(crate) author: [u8; 32],
    pub(crate) incarnation: [u8; 16],
    pub(crate) seq: u64,
    pub(crate) id: [u8; 32],
}

/// One event as it stands in a frame.
#[derive(Clone, Debug)]
pub(crate) struct RawEvent {
    pub(crate) height: u64,
    pub(crate) time_ms: u64,
    pub(crate) refs: Vec<[u8; 32]>,
    pub(crate) blobs: Vec<[u8; 32]>,
    pub(crate) kind: u16,
    pub(crate) body: Vec<u8>,
}

/// A frame of which every field may be wrong.
#[derive(Clone, Debug)]
pub(crate) struct RawFrame {
    pub(crate) format: u8,
    pub(crate) cluster: [u8; 32],
    pub(crate) author: [u8; 32],
    pub(crate) incarnation: [u8; 16],
    pub(crate) first_seq: u64,
    pub(crate) count: u16,
    pub(crate) prev: Option<[u8; 32]>,
    pub(crate) last: [u8; 32],
    pub(crate) signature: [u8; 64],
    pub(crate) parents: Vec<RawTip>,
    pub(crate) events: Vec<RawEvent>,
}

/// Seven bits a byte, the lowest first, the top bit set on all but the last.
pub(crate) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 128 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

fn option(out: &mut Vec<u8>, value: Option<&[u8; 32]>) {
    match value {
        None => out.push(0),
        Some(id) => {
            out.push(1);
            out.extend_from_slice(id);
        }
    }
}

fn ids(out: &mut Vec<u8>, ids: &[[u8; 32]]) {
    varint(out, ids.len() as u64);
    ids.iter().for_each(|id| out.extend_from_slice(id));
}

fn tips(out: &mut Vec<u8>, tips: &[RawTip]) {
    varint(out, tips.len() as u64);
    for tip in tips {
        out.extend_from_slice(&tip.author);
        out.extend_from_slice(&tip.incarnation);
        varint(out, tip.seq);
        out.extend_from_slice(&tip.id);
    }
}

impl RawEvent {
    fn tail(&self, out: &mut Vec<u8>) {
        ids(out, &self.refs);
        ids(out, &self.blobs);
        varint(out, u64::from(self.kind));
        varint(out, self.body.len() as u64);
        out.extend_from_slice(&self.body);
    }
}

impl RawFrame {
    /// What a good frame says.
    pub(crate) fn of(frame: &VerifiedFrame) -> Self {
        let header = frame.header();
        let first = &frame.events()[0].1;
        let parents = first.parents.iter().map(|tip| RawTip {
            author: *tip.chain.author.as_bytes(),
            incarnation: *tip.chain.incarnation.as_bytes(),
            seq: tip.seq,
            id: *tip.id.as_bytes(),
        });
        let events = frame.events().iter().map(|(_, event)| RawEvent {
            height: event.height,
            time_ms: event.time_ms,
            refs: event.refs.iter().map(|id| *id.as_bytes()).collect(),
            blobs: event.blobs.iter().map(|id| *id.as_bytes()).collect(),
            kind: event.kind.number(),
            body: event.body.clone(),
        });
        Self {
            format: 1,
            cluster: *header.cluster.as_bytes(),
            author: *header.chain.author.as_bytes(),
            incarnation: *header.chain.incarnation.as_bytes(),
            first_seq: header.first_seq,
            count: header.count,
            prev: header.prev.map(|id| *id.as_bytes()),
            last: *header.last.as_bytes(),
            signature: frame.signed_header().signature.to_bytes(),
            parents: parents.collect(),
            events: events.collect(),
        }
    }

    fn header(&self) -> Vec<u8> {
        let mut out = [self.cluster.as_slice(), &self.author, &self.incarnation].concat();
        varint(&mut out, self.first_seq);
        varint(&mut out, u64::from(self.count));
        option(&mut out, self.prev.as_ref());
        out.extend_from_slice(&self.last);
        out
    }

    /// The encoded frame.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.format];
        out.extend_from_slice(&self.header());
        out.extend_from_slice(&self.signature);
        tips(&mut out, &self.parents);
        varint(&mut out, self.events.len() as u64);
        for event in &self.events {
            varint(&mut out, event.height);
            varint(&mut out, event.time_ms);
            event.tail(&mut out);
        }
        out
    }

    /// The ids of the events, each linked to the one before.
    pub(crate) fn ids(&self) -> Vec<[u8; 32]> {
        let mut prev = self.prev;
        let mut ids = Vec::new();
        for (index, event) in self.events.iter().enumerate() {
            let mut out = [b"wfengine/event/v1".as_slice(), &self.author, &self.incarnation].concat();
            varint(&mut out, self.first_seq.wrapping_add(index as u64));
            option(&mut out, prev.as_ref());
            tips(&mut out, if index == 0 { &self.parents } else { &[] });
            varint(&mut out, event.height);
            varint(&mut out, event.time_ms);
            event.tail(&mut out);
            let id = sha256(&out);
            ids.push(id);
            prev = Some(id);
        }
        ids
    }

    /// Fills in count, last id and signature as an author would who means what it says.
    pub(crate) fn signed_by(mut self, signer: &Signer) -> Self {
        self.count = self.events.len() as u16;
        self.last = self.ids().last().copied().unwrap_or(self.last);
        self.resigned_by(signer)
    }

    /// Signs the header as it stands.
    pub(crate) fn resigned_by(mut self, signer: &Signer) -> Self {
        let statement = [b"wfengine/frame/v1".as_slice(), &self.header()].concat();
        self.signature = signer.sign(&statement).to_bytes();
        self
    }
}
