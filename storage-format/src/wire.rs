//! The hot shapes by hand: an event's envelope and a frame, byte for byte what postcard writes for them.
//!
//! Every event is hashed, encoded and decoded many times, and postcard moves ids and bodies one byte after the other. Writing here
//! takes whole ids at once. Reading accepts only the canonical form, so nothing has to be encoded again to find out; what it does
//! not accept, [`crate::codec`] looks at once more and says what is wrong. Tests hold both to the same bytes.

use crate::event::{Event, Tip};
use crate::id::{BlobId, ChainId, ClusterId, EventId, Incarnation, PeerId};
use crate::kind::Kind;

/// What one event adds to a frame's entries, borrowed from the event.
pub(crate) fn put_entry(out: &mut Vec<u8>, event: &Event) {
    put_varint(out, event.height);
    put_varint(out, event.time_ms);
    put_list(out, &event.refs, |out, id| out.extend_from_slice(id.as_bytes()));
    put_list(out, &event.blobs, |out, id| out.extend_from_slice(id.as_bytes()));
    put_varint(out, u64::from(event.kind.number()));
    put_varint(out, event.body.len() as u64);
    out.extend_from_slice(&event.body);
}

/// The envelope and body that an event's id is the hash of.
pub(crate) fn put_event(out: &mut Vec<u8>, event: &Event) {
    put_chain(out, &event.chain);
    put_varint(out, event.seq);
    put_option(out, event.prev.as_ref());
    put_list(out, &event.parents, put_tip);
    put_entry(out, event);
}

pub(crate) fn put_chain(out: &mut Vec<u8>, chain: &ChainId) {
    out.extend_from_slice(chain.author.as_bytes());
    out.extend_from_slice(chain.incarnation.as_bytes());
}

pub(crate) fn put_tip(out: &mut Vec<u8>, tip: &Tip) {
    put_chain(out, &tip.chain);
    put_varint(out, tip.seq);
    out.extend_from_slice(tip.id.as_bytes());
}

pub(crate) fn put_option(out: &mut Vec<u8>, id: Option<&EventId>) {
    out.push(u8::from(id.is_some()));
    out.extend_from_slice(id.map_or(&[], |id| id.as_bytes().as_slice()));
}

pub(crate) fn put_list<T>(out: &mut Vec<u8>, list: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    put_varint(out, list.len() as u64);
    list.iter().for_each(|item| put(out, item));
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads canonical bytes from the front. `None` for anything else.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
    pub(crate) fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }
    /// A number of at most `bits` bits, without needless bytes.
    pub(crate) fn varint(&mut self, bits: u32) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let low = u64::from(byte & 0x7f);
            if shift > 0 && byte == 0 || low.checked_shl(shift)? >> shift != low {
                return None;
            }
            value |= low << shift;
            if byte < 0x80 {
                return (bits == 64 || value >> bits == 0).then_some(value);
            }
        }
        None
    }
    pub(crate) fn id(&mut self) -> Option<EventId> {
        self.array().map(EventId::from_bytes)
    }
    pub(crate) fn cluster(&mut self) -> Option<ClusterId> {
        self.array().map(ClusterId::from_bytes)
    }
    pub(crate) fn blob(&mut self) -> Option<BlobId> {
        self.array().map(BlobId::from_bytes)
    }
    pub(crate) fn chain(&mut self) -> Option<ChainId> {
        let author = PeerId::from_bytes(self.array()?);
        Some(ChainId { author, incarnation: Incarnation::from_bytes(self.array()?) })
    }
    pub(crate) fn tip(&mut self) -> Option<Tip> {
        Some(Tip { chain: self.chain()?, seq: self.varint(64)?, id: self.id()? })
    }
    pub(crate) fn option(&mut self) -> Option<Option<EventId>> {
        match self.byte()? {
            0 => Some(None),
            1 => self.id().map(Some),
            _ => None,
        }
    }
    pub(crate) fn kind(&mut self) -> Option<Kind> {
        u16::try_from(self.varint(16)?).ok().map(Kind::from_number)
    }
    pub(crate) fn bytes(&mut self) -> Option<Vec<u8>> {
        let len = usize::try_from(self.varint(64)?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes.to_vec())
    }
    /// A list whose items take at least `item_len_min` bytes each: a length that cannot be true allocates nothing.
    pub(crate) fn list<T>(
        &mut self,
        item_len_min: usize,
        item: impl Fn(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let len = usize::try_from(self.varint(64)?).ok()?;
        if len > self.0.len() / item_len_min {
            return None;
        }
        let mut items = Vec::with_capacity(len);
        for _ in 0..len {
            items.push(item(self)?);
        }
        Some(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::to_canonical;

    #[test]
    fn numbers_are_written_as_postcard_does_and_read_in_no_other_form() {
        for value in [
            0,
            1,
            0x7f,
            0x80,
            0x3fff,
            0x4000,
            u64::from(u16::MAX),
            u64::from(u32::MAX),
            u64::MAX - 1,
            u64::MAX,
        ] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out, to_canonical(&value));
            assert_eq!(Reader::new(&out).varint(64), Some(value));
            let fits = u16::try_from(value).is_ok();
            assert_eq!(Reader::new(&out).varint(16).is_some(), fits);
        }
        let padded: [&[u8]; 4] = [&[0x80, 0], &[0xff, 0x80, 0], &[0x81], &[0xff; 10]];
        assert!(padded.iter().all(|bytes| Reader::new(bytes).varint(64).is_none()));
        let too_great = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(Reader::new(&too_great).varint(64), None);
    }

    #[test]
    fn an_impossible_length_allocates_nothing() {
        let mut out = Vec::new();
        put_varint(&mut out, u64::MAX);
        assert!(Reader::new(&out).list(32, Reader::id).is_none());
        assert!(Reader::new(&out).bytes().is_none());
    }

    #[test]
    fn an_event_is_written_as_postcard_does() {
        let chain =
            ChainId { author: PeerId::from_bytes([1; 32]), incarnation: Incarnation::from_bytes([2; 16]) };
        let id = EventId::from_bytes([3; 32]);
        for (seq, prev, parents) in [(0, None, 0), (1 << 40, Some(id), 3)] {
            let event = Event {
                chain,
                seq,
                prev,
                parents: vec![Tip { chain, seq: 300, id }; parents],
                height: 129,
                time_ms: 1_700_000_000_000,
                refs: vec![id; parents],
                blobs: vec![BlobId::from_bytes([4; 32]); parents],
                kind: Kind::from_number(0x8001),
                body: vec![5; 200 * parents],
            };
            let mut out = Vec::new();
            put_event(&mut out, &event);
            assert_eq!(out, to_canonical(&event));
        }
    }
}
