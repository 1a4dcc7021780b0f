//! Hostile chunks, built from their fields: each is rejected for its own reason, and none reaches automerge.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, in its own helpers too"
)]

use automerge::transaction::{CommitOptions, Transactable};
use automerge::{ActorId, AutoCommit, ObjId, ObjType, ROOT, ScalarValue};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use wfengine_protocol::chunk::LIST_KEY;
use wfengine_protocol::{
    CHUNK_LEN_MAX, ChangeHash, DOCUMENT_LEN_MAX, DocumentActor, DocumentError, ParsedChunk, Place,
    Projection, ProjectionError, Rejected, SegmentCursor, SegmentNumber, document_bytes, export_document,
    frames_of,
};
use wfengine_storage_format::limits::{FRAME_BYTES_MAX, SEGMENT_BYTES_MAX};
use wfengine_storage_format::{ChainId, Incarnation, PeerId};

const CHAIN: ChainId =
    ChainId { author: PeerId::from_bytes([1; 32]), incarnation: Incarnation::from_bytes([2; 16]) };
const OTHER: ChainId = ChainId { author: PeerId::from_bytes([9; 32]), ..CHAIN };
const SEGMENT: SegmentNumber = SegmentNumber(0);
const FRAME: &[u8] = b"the frame inside";

fn actor() -> DocumentActor {
    DocumentActor::of(&CHAIN, SEGMENT)
}

/// A number in LEB128, with padding bytes behind its shortest form.
#[derive(Clone, Copy)]
struct Number {
    value: u64,
    padding: usize,
}

fn number(value: u64) -> Number {
    Number { value, padding: 0 }
}

fn padded(value: u64) -> Number {
    Number { value, padding: 1 }
}

impl Number {
    fn write(self, out: &mut Vec<u8>) {
        let mut value = self.value;
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
        for _ in 0..self.padding {
            *out.last_mut().unwrap() |= 0x80;
            out.push(0);
        }
    }
}

/// A chunk as its fields, so that a test can bend one of them.
#[derive(Clone)]
struct Forged {
    magic: [u8; 4],
    chunk_type: u8,
    /// Announced instead of the true length.
    len: Option<Number>,
    deps: Vec<[u8; 32]>,
    deps_count: Option<Number>,
    actor: Vec<u8>,
    seq: Number,
    start_op: Number,
    time: Number,
    message: Vec<u8>,
    other_actors: Vec<Vec<u8>>,
    columns_count: Option<Number>,
    columns: Vec<(u8, Option<Number>, Vec<u8>)>,
    trailing: Vec<u8>,
}

impl Forged {
    /// The honest chunk of [`FRAME`] at this place.
    fn honest(place: Place) -> Self {
        let index = u64::from(place.index());
        let meta = |before: &[u8]| {
            let mut out = before.to_vec();
            number(((FRAME.len() as u64) << 4) | 7).write(&mut out);
            out
        };
        let columns = match place {
            Place::First => vec![
                (0x01, vec![0, 1, 0x7f, 0]),
                (0x02, vec![0, 1, 0x7f, 1]),
                (0x13, vec![0, 1, 0x7f, 0]),
                (0x15, [&[0x7f, 6], LIST_KEY.as_bytes(), &[0, 1]].concat()),
                (0x34, vec![1, 1]),
                (0x42, vec![0x7e, 2, 1]),
                (0x56, meta(&[0x7e, 0])),
                (0x57, FRAME.to_vec()),
                (0x70, vec![2, 0]),
            ],
            Place::After { .. } => vec![
                (0x01, vec![0x7f, 0]),
                (0x02, vec![0x7f, 1]),
                (0x11, vec![0x7f, 0]),
                (0x13, vec![0x7f, index as u8 + 1]),
                (0x34, vec![0, 1]),
                (0x42, vec![0x7f, 1]),
                (0x56, meta(&[0x7f])),
                (0x57, FRAME.to_vec()),
                (0x70, vec![0x7f, 0]),
            ],
        };
        Self {
            magic: [0x85, 0x6f, 0x4a, 0x83],
            chunk_type: 1,
            len: None,
            deps: place.previous().map(|hash| *hash.as_bytes()).into_iter().collect(),
            deps_count: None,
            actor: actor().as_bytes().to_vec(),
            seq: number(index + 1),
            start_op: number(if index == 0 { 1 } else { index + 2 }),
            time: number(0),
            message: vec![],
            other_actors: vec![],
            columns_count: None,
            columns: columns.into_iter().map(|(spec, body)| (spec, None, body)).collect(),
            trailing: vec![],
        }
    }

    fn column(&mut self, spec: u8) -> &mut (u8, Option<Number>, Vec<u8>) {
        self.columns.iter_mut().find(|column| column.0 == spec).unwrap()
    }

    /// The bytes, with the right checksum for them.
    fn bytes(&self) -> Vec<u8> {
        let mut data = vec![];
        self.deps_count.unwrap_or(number(self.deps.len() as u64)).write(&mut data);
        self.deps.iter().for_each(|hash| data.extend(hash));
        number(self.actor.len() as u64).write(&mut data);
        data.extend(&self.actor);
        self.seq.write(&mut data);
        self.start_op.write(&mut data);
        self.time.write(&mut data);
        number(self.message.len() as u64).write(&mut data);
        data.extend(&self.message);
        number(self.other_actors.len() as u64).write(&mut data);
        for other in &self.other_actors {
            number(other.len() as u64).write(&mut data);
            data.extend(other);
        }
        self.columns_count.unwrap_or(number(self.columns.len() as u64)).write(&mut data);
        for (spec, len, body) in &self.columns {
            data.push(*spec);
            len.unwrap_or(number(body.len() as u64)).write(&mut data);
        }
        self.columns.iter().for_each(|(_, _, body)| data.extend(body));
        data.extend(&self.trailing);

        let mut out = [&self.magic[..], &[0; 4], &[self.chunk_type]].concat();
        self.len.unwrap_or(number(data.len() as u64)).write(&mut out);
        out.extend(data);
        repair_checksum(&mut out);
        out
    }
}

fn repair_checksum(chunk: &mut [u8]) {
    let digest = Sha256::digest(&chunk[8..]);
    chunk[4..8].copy_from_slice(&digest[..4]);
}

/// Two places: a document's first frame, and its third.
fn places() -> [Place; 2] {
    let mut cursor = SegmentCursor::START;
    cursor.append(&CHAIN, b"zero").unwrap();
    cursor.append(&CHAIN, b"one").unwrap();
    [Place::First, cursor.place(FRAME.len()).unwrap().place]
}

fn rejection(bend: impl Fn(&mut Forged)) -> [Rejected; 2] {
    places().map(|place| {
        let mut forged = Forged::honest(place);
        bend(&mut forged);
        ParsedChunk::parse(&forged.bytes()).expect_err("a bent chunk")
    })
}

#[track_caller]
fn assert_rejected(expected: Rejected, bend: impl Fn(&mut Forged)) {
    assert_eq!(rejection(bend), [expected; 2]);
}

#[test]
fn the_forge_makes_the_honest_chunk_when_nothing_is_bent() {
    for place in places() {
        let honest = wfengine_protocol::chunk::encode(actor(), place, FRAME).unwrap();
        assert_eq!(Forged::honest(place).bytes(), honest.bytes());
    }
}

#[test]
fn only_uncompressed_changes_are_taken() {
    for found in (0..=255).filter(|found| *found != 1) {
        assert_rejected(Rejected::ChunkType { found }, |chunk| chunk.chunk_type = found);
    }
    assert_rejected(Rejected::Magic, |chunk| chunk.magic[3] ^= 1);
}

#[test]
fn documents_and_compressed_changes_of_the_library_are_not_taken() {
    let mut document = AutoCommit::new();
    let list = document.put_object(ROOT, LIST_KEY, ObjType::List).unwrap();
    document.insert(&list, 0, ScalarValue::Bytes(vec![0; 2000])).unwrap();
    document.commit_with(CommitOptions::default().with_time(0));
    let mut change = document.get_changes(&[]).remove(0);
    assert!(ParsedChunk::parse(change.raw_bytes()).is_ok());
    assert_eq!(ParsedChunk::parse(&change.bytes()), Err(Rejected::ChunkType { found: 2 }));
    assert_eq!(ParsedChunk::parse(&document.save()), Err(Rejected::ChunkType { found: 0 }));
}

#[test]
fn lengths_that_are_not_the_chunks_own_are_refused_before_anything_is_taken() {
    for place in places() {
        let honest = Forged::honest(place).bytes();
        let held = honest.len() - 10;
        for announced in [0, 1, held as u64 - 1, held as u64 + 1, u64::from(u32::MAX), u64::MAX] {
            let forged = Forged { len: Some(number(announced)), ..Forged::honest(place) };
            assert_eq!(ParsedChunk::parse(&forged.bytes()), Err(Rejected::Length { announced, held }));
        }
        let more = [honest.as_slice(), &[0]].concat();
        assert_eq!(
            ParsedChunk::parse(&more),
            Err(Rejected::Length { announced: held as u64, held: held + 1 })
        );
        for end in 0..honest.len() {
            assert!(ParsedChunk::parse(&honest[..end]).is_err(), "the first {end} bytes");
        }
    }
    let len = CHUNK_LEN_MAX + 1;
    assert_eq!(ParsedChunk::parse(&vec![0x85; len]), Err(Rejected::TooLong { len }));
}

#[test]
fn inner_lengths_are_bounded_by_the_chunk() {
    for great in [1 << 20, u64::from(u32::MAX), u64::MAX] {
        let len = usize::try_from(great).unwrap();
        assert_rejected(Rejected::FrameLength { len }, |chunk| chunk.column(0x57).1 = Some(number(great)));
        assert_rejected(Rejected::NotOneInsert { column: "action" }, |chunk| {
            chunk.column(0x42).1 = Some(number(great));
        });
        assert_rejected(Rejected::Field { field: "number of dependencies", found: great }, |chunk| {
            chunk.deps_count = Some(number(great));
        });
        assert_rejected(Rejected::Field { field: "number of columns", found: great }, |chunk| {
            chunk.columns_count = Some(number(great));
        });
    }
    assert_rejected(Rejected::FrameLength { len: 0 }, |chunk| {
        chunk.column(0x57).2.clear();
    });
    assert_rejected(Rejected::FrameLength { len: FRAME_BYTES_MAX + 1 }, |chunk| {
        chunk.column(0x57).1 = Some(number(FRAME_BYTES_MAX as u64 + 1));
    });
    // A value shorter or longer than its metadata says.
    assert_rejected(Rejected::NotOneInsert { column: "value metadata" }, |chunk| {
        chunk.column(0x57).2.push(0);
    });
}

#[test]
fn padded_numbers_are_refused_in_every_field() {
    let number_of = |field| Rejected::Number { field };
    let one = |chunk: &Forged| padded(chunk.bytes().len() as u64 - 10);
    assert_rejected(number_of("length"), |chunk| chunk.len = Some(one(chunk)));
    assert_rejected(number_of("number of dependencies"), |chunk| {
        chunk.deps_count = Some(padded(chunk.deps.len() as u64));
    });
    assert_rejected(number_of("sequence number"), |chunk| chunk.seq.padding = 1);
    assert_rejected(number_of("first operation"), |chunk| chunk.start_op.padding = 2);
    assert_rejected(number_of("time"), |chunk| chunk.time.padding = 1);
    assert_rejected(number_of("number of columns"), |chunk| chunk.columns_count = Some(padded(9)));
    assert_rejected(number_of("value"), |chunk| chunk.column(0x57).1 = Some(padded(FRAME.len() as u64)));
    assert_rejected(Rejected::NotOneInsert { column: "value metadata" }, |chunk| {
        let body = &mut chunk.column(0x56).2;
        *body.last_mut().unwrap() |= 0x80;
        body.push(0);
    });
    // Ten bytes of LEB128 that pass 64 bits, and eleven.
    let too_great = |last: &[u8]| [&[0xff; 9], last].concat();
    for tail in [&[0x7f][..], &[0x02], &[0xff, 0x01]] {
        let place = Place::First;
        let mut bytes = Forged::honest(place).bytes()[..9].to_vec();
        bytes.extend(too_great(tail));
        assert_eq!(ParsedChunk::parse(&bytes), Err(number_of("length")));
    }
}

#[test]
fn a_field_that_no_frame_of_ours_has_is_refused() {
    let field = |field, found| Rejected::Field { field, found };
    assert_rejected(field("time", 1), |chunk| chunk.time = number(1));
    assert_rejected(field("time", 64), |chunk| chunk.time = number(64));
    assert_rejected(field("length of the message", 2), |chunk| chunk.message = b"hi".to_vec());
    assert_rejected(field("number of other actors", 1), |chunk| chunk.other_actors = vec![vec![1; 16]]);
    assert_rejected(field("length of the actor", 15), |chunk| chunk.actor.truncate(15));
    assert_rejected(field("length of the actor", 17), |chunk| chunk.actor.push(0));
    assert_rejected(field("number of dependencies", 3), |chunk| chunk.deps = vec![[4; 32]; 3]);
    assert_rejected(field("sequence number", 0), |chunk| chunk.seq = number(0));
    assert_rejected(field("sequence number", 257), |chunk| chunk.seq = number(257));
    assert_rejected(field("sequence number", u64::MAX), |chunk| chunk.seq = number(u64::MAX));
    assert_rejected(field("first operation", 0), |chunk| chunk.start_op = number(0));
    assert_rejected(field("first operation", u64::MAX), |chunk| chunk.start_op = number(u64::MAX));
    assert_rejected(field("number of bytes after its columns", 3), |chunk| chunk.trailing = vec![0; 3]);
    assert_rejected(field("number of columns", 10), |chunk| {
        chunk.columns.push((0x94, None, vec![0, 1]));
    });

    // A first change that depends on something, and a later one that does not.
    let [_, third] = places();
    let first = Forged { deps: vec![[4; 32]], ..Forged::honest(Place::First) };
    assert_eq!(ParsedChunk::parse(&first.bytes()), Err(field("number of dependencies", 1)));
    let third = Forged { deps: vec![], ..Forged::honest(third) };
    assert_eq!(ParsedChunk::parse(&third.bytes()), Err(field("number of dependencies", 0)));
}

#[test]
fn operations_other_than_the_one_insert_are_refused() {
    let column = |column| Rejected::NotOneInsert { column };
    // Any column of another kind, the compressed form of each among them.
    for (at, name) in ["object actor", "object counter"].into_iter().enumerate() {
        assert_rejected(column(name), |chunk| chunk.columns[at].0 |= 0x08);
    }
    // Another action: delete (3), or another value type: text (6).
    assert_rejected(column("action"), |chunk| *chunk.column(0x42).2.last_mut().unwrap() = 3);
    assert_rejected(column("value metadata"), |chunk| {
        let body = &mut chunk.column(0x56).2;
        let at = body.len() - 2;
        body[at] = body[at] & 0xf0 | 6;
    });
    // Not an insert, but a replacement of what is there; or of an object elsewhere.
    assert_rejected(column("insert"), |chunk| chunk.column(0x34).2 = vec![2]);
    assert_rejected(column("object counter"), |chunk| *chunk.column(0x02).2.last_mut().unwrap() = 9);
    assert_rejected(column("key counter"), |chunk| *chunk.column(0x13).2.last_mut().unwrap() ^= 2);
    // Overwriting something.
    assert_rejected(column("predecessors"), |chunk| *chunk.column(0x70).2.last_mut().unwrap() = 1);
    // A list under another name.
    let mut first = Forged::honest(Place::First);
    first.column(0x15).2[2] ^= 1;
    assert_eq!(ParsedChunk::parse(&first.bytes()), Err(column("key text")));
}

/// A document of three frames in the library, where a relay then speaks under the author's actor.
fn relay_speaks(say: impl Fn(&mut AutoCommit, &ObjId)) -> Rejected {
    let frames = [b"zero".as_slice(), b"one", b"two"];
    let bytes = document_bytes(&CHAIN, SEGMENT, frames).unwrap();
    let mut document = AutoCommit::load(&bytes).unwrap().with_actor(ActorId::from(*actor().as_bytes()));
    let (_, list) = automerge::ReadDoc::get(&document, ROOT, LIST_KEY).unwrap().unwrap();
    say(&mut document, &list);
    document.commit_with(CommitOptions::default().with_time(0));
    let forged = document.get_last_local_change().unwrap();
    // automerge takes it: this is why there is a filter.
    let mut victim = AutoCommit::load(&bytes).unwrap();
    victim.load_incremental(forged.raw_bytes()).unwrap();
    assert_eq!(victim.get_heads(), [forged.hash()]);
    ParsedChunk::parse(forged.raw_bytes()).expect_err("a forged change")
}

#[test]
fn changes_that_automerge_takes_from_a_relay_are_refused() {
    let refused = |rejected| matches!(rejected, Rejected::NotOneInsert { .. } | Rejected::Field { .. });
    assert!(refused(relay_speaks(|document, list| document.delete(list, 0).unwrap())));
    assert!(refused(relay_speaks(|document, list| {
        (0..3).for_each(|_| document.delete(list, 0).unwrap());
    })));
    assert!(refused(relay_speaks(|document, list| {
        document.insert(list, 3, ScalarValue::Bytes(b"three".to_vec())).unwrap();
        document.insert(list, 4, ScalarValue::Bytes(b"four".to_vec())).unwrap();
    })));
    assert!(refused(relay_speaks(|document, list| {
        document.insert(list, 0, ScalarValue::Bytes(b"first".to_vec())).unwrap();
    })));
    assert!(refused(relay_speaks(|document, list| document.insert(list, 3, "a text").unwrap())));
    assert!(refused(relay_speaks(|document, list| {
        document.put(list, 0, ScalarValue::Bytes(b"other".to_vec())).unwrap();
    })));
    assert!(refused(relay_speaks(|document, _| document.put(ROOT, LIST_KEY, 1).unwrap())));
    assert!(refused(relay_speaks(|document, list| {
        document.insert_object(list, 3, ObjType::Map).unwrap();
    })));
}

#[test]
fn a_chunk_of_another_document_place_or_past_is_not_its_frames_own() {
    let [first, third] = places();
    let parse = |chunk: &wfengine_protocol::Chunk, actor, place, frame: &[u8]| {
        ParsedChunk::parse(chunk.bytes()).unwrap().matches_rebuilt(actor, place, frame).map(|_| ())
    };
    let encode = wfengine_protocol::chunk::encode;
    let honest = encode(actor(), third, FRAME).unwrap();
    assert_eq!(parse(&honest, actor(), third, FRAME), Ok(()));

    let found = DocumentActor::of(&OTHER, SEGMENT);
    let foreign = encode(found, third, FRAME).unwrap();
    assert_eq!(parse(&foreign, actor(), third, FRAME), Err(Rejected::Actor { found, expected: actor() }));
    assert_eq!(parse(&honest, actor(), first, FRAME), Err(Rejected::Index { found: 2, expected: 0 }));
    let Place::After { index, .. } = third else { panic!("the third place follows another") };
    let elsewhere = Place::After { index, previous: ChangeHash::from_bytes([8; 32]) };
    assert_eq!(parse(&honest, actor(), elsewhere, FRAME), Err(Rejected::Previous));
    assert_eq!(parse(&honest, actor(), third, b"another frame"), Err(Rejected::NotRebuilt));
    assert_eq!(parse(&honest, actor(), third, b"the frame insidf"), Err(Rejected::NotRebuilt));
    assert_eq!(parse(&honest, actor(), third, b""), Err(Rejected::NotRebuilt));
}

#[test]
fn a_cursor_stays_where_it_was_when_a_chunk_is_refused() {
    let mut author = SegmentCursor::START;
    let zero = author.append(&CHAIN, b"zero").unwrap();
    let one = author.append(&CHAIN, b"one").unwrap();
    let mut cursor = SegmentCursor::START;
    let parsed = ParsedChunk::parse(one.bytes()).unwrap();
    let early = cursor.accept(&CHAIN, &parsed, parsed.frame());
    assert_eq!(early, Err(Rejected::Index { found: 1, expected: 0 }));
    assert_eq!(cursor, SegmentCursor::START);
    let parsed = ParsedChunk::parse(zero.bytes()).unwrap();
    cursor.accept(&CHAIN, &parsed, parsed.frame()).unwrap();
    let twice = cursor.accept(&CHAIN, &parsed, parsed.frame());
    assert_eq!(twice, Err(Rejected::Index { found: 0, expected: 1 }));
}

#[test]
fn every_flipped_bit_is_refused_even_with_a_repaired_checksum() {
    for place in places() {
        let honest = Forged::honest(place).bytes();
        for at in 0..honest.len() {
            for bit in 0..8 {
                let mut flipped = honest.clone();
                flipped[at] ^= 1 << bit;
                assert!(ParsedChunk::parse(&flipped).is_err(), "byte {at}, bit {bit}");

                repair_checksum(&mut flipped);
                if flipped == honest {
                    continue; // The flip was in the checksum itself.
                }
                let taken = ParsedChunk::parse(&flipped)
                    .and_then(|chunk| chunk.matches_rebuilt(actor(), place, FRAME).map(|_| ()));
                assert!(taken.is_err(), "byte {at}, bit {bit}, with the checksum repaired");
            }
        }
    }
}

#[test]
fn a_wrong_checksum_is_refused() {
    for place in places() {
        let mut bytes = Forged::honest(place).bytes();
        bytes[4..8].fill(0);
        assert_eq!(ParsedChunk::parse(&bytes), Err(Rejected::Checksum));
    }
}

#[test]
fn a_document_with_a_chunk_missing_doubled_swapped_or_foreign_is_refused() {
    let chunks = |chain: &ChainId| {
        let mut cursor = SegmentCursor::START;
        [b"zero".as_slice(), b"one", b"two"].map(|frame| cursor.append(chain, frame).unwrap().into_bytes())
    };
    let [zero, one, two] = chunks(&CHAIN);
    let [_, foreign, _] = chunks(&OTHER);
    let wrong =
        |parts: &[&Vec<u8>]| match frames_of(&parts.iter().copied().flatten().copied().collect::<Vec<_>>()) {
            Err(DocumentError::Chunk { index, source }) => (index, source),
            other => panic!("{other:?}"),
        };
    assert_eq!(wrong(&[&one, &two]), (0, Rejected::Index { found: 1, expected: 0 }));
    assert_eq!(wrong(&[&zero, &two]), (1, Rejected::Index { found: 2, expected: 1 }));
    assert_eq!(wrong(&[&zero, &zero]), (1, Rejected::Index { found: 0, expected: 1 }));
    let found = DocumentActor::of(&OTHER, SEGMENT);
    assert_eq!(wrong(&[&zero, &foreign]), (1, Rejected::Actor { found, expected: actor() }));
    let mut cut_off = two.clone();
    cut_off.pop();
    assert!(matches!(wrong(&[&zero, &one, &cut_off]), (2, Rejected::Length { .. })));
    assert!(matches!(wrong(&[&zero, &one, &two, &vec![0]]), (3, Rejected::Truncated { .. })));

    assert_eq!(frames_of(&[]), Err(DocumentError::NoFrames));
    let len = DOCUMENT_LEN_MAX + 1;
    assert_eq!(frames_of(&vec![0; len]), Err(DocumentError::TooLong { len }));
    let frames: Vec<Vec<u8>> = vec![];
    assert_eq!(export_document(&CHAIN, SEGMENT, frames), Err(DocumentError::NoFrames));
}

#[test]
fn a_document_past_its_segment_is_refused() {
    // 256 frames fill a segment: one more is the next segment's, however it is chained on.
    let too_many = vec![[7]; 257];
    let past = Err(DocumentError::NextSegment { segment: SEGMENT, index: 256 });
    assert_eq!(document_bytes(&CHAIN, SEGMENT, &too_many), past);
    let full = document_bytes(&CHAIN, SEGMENT, &too_many[..256]).unwrap();
    let one_more = [full.clone(), document_bytes(&CHAIN, SEGMENT, &too_many[..1]).unwrap()].concat();
    assert_eq!(frames_of(&one_more), Err(DocumentError::Overfull { index: 256 }));

    // Frame bytes past the segment's, each chunk in its place.
    let encode = wfengine_protocol::chunk::encode;
    let great = vec![7; FRAME_BYTES_MAX];
    let mut document = vec![];
    let mut place = Place::First;
    for index in 1..=SEGMENT_BYTES_MAX / FRAME_BYTES_MAX {
        let chunk = encode(actor(), place, &great).unwrap();
        document.extend(chunk.bytes());
        place = Place::After { index: (index as u8).try_into().unwrap(), previous: chunk.hash() };
    }
    assert!(frames_of(&document).is_ok());
    document.extend(encode(actor(), place, &[1]).unwrap().bytes());
    assert_eq!(frames_of(&document), Err(DocumentError::Overfull { index: 2 }));
}

#[test]
fn a_projection_takes_only_the_change_that_follows() {
    let mut cursor = SegmentCursor::START;
    let zero = cursor.append(&CHAIN, b"zero").unwrap();
    let one = cursor.append(&CHAIN, b"one").unwrap();
    let mut other = SegmentCursor::START;
    let foreign = other.append(&OTHER, b"zero").unwrap();
    let mut projection = Projection::open(&CHAIN, SEGMENT);
    for early in [&one, &foreign] {
        assert_eq!(projection.append(&early.as_accepted()), Err(ProjectionError::OutOfPlace));
    }
    projection.append(&zero.as_accepted()).unwrap();
    assert_eq!(projection.append(&zero.as_accepted()), Err(ProjectionError::OutOfPlace));
    projection.append(&one.as_accepted()).unwrap();
    assert_eq!(projection.frames().unwrap(), [b"zero".to_vec(), b"one".to_vec()]);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(ParsedChunk::parse(&bytes).is_err());
        prop_assert!(frames_of(&bytes).is_err());
        let _ = SegmentCursor::from_bytes(&bytes);
    }

    #[test]
    fn arbitrary_bytes_behind_a_right_header_never_panic(
        data in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut bytes = [&[0x85, 0x6f, 0x4a, 0x83][..], &[0; 4], &[1]].concat();
        number(data.len() as u64).write(&mut bytes);
        bytes.extend(&data);
        repair_checksum(&mut bytes);
        prop_assert!(ParsedChunk::parse(&bytes).is_err());
        prop_assert!(frames_of(&bytes).is_err());
    }

    #[test]
    fn a_chunk_with_bytes_exchanged_is_refused_or_another_frames_own(
        third in any::<bool>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let place = places()[usize::from(third)];
        let honest = Forged::honest(place).bytes();
        let mut bent = honest.clone();
        for (at, byte) in edits {
            let at = at.index(bent.len());
            bent[at] = byte;
        }
        repair_checksum(&mut bent);
        if let Ok(chunk) = ParsedChunk::parse(&bent) {
            let rebuilt = wfengine_protocol::chunk::encode(chunk.actor(), chunk.place(), chunk.frame()).unwrap();
            prop_assert_eq!(rebuilt.bytes(), bent.as_slice());
            prop_assert!(chunk.matches_rebuilt(chunk.actor(), chunk.place(), chunk.frame()).is_ok());
            prop_assert!(bent == honest || chunk.matches_rebuilt(actor(), place, FRAME).is_err());
        }
    }
}
