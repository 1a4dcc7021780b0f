//! Our encoder against the automerge library: the same change chunks, hashes and heads, and documents it opens.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its own helpers too")]

use automerge::transaction::{CommitOptions, Transactable};
use automerge::{ActorId, AutoCommit, Automerge, Change, ObjType, ROOT, ReadDoc, ScalarValue};
use proptest::prelude::*;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wfengine_protocol::chunk::{CHUNK_OVERHEAD_MAX, LIST_KEY};
use wfengine_protocol::{
    CHUNK_LEN_MAX, DOCUMENT_LEN_MAX, DocumentActor, ParsedChunk, Projection, SegmentCursor, SegmentNumber,
    document_bytes, export_document, frames_of, segments_of,
};
use wfengine_storage_format::limits::{FRAME_BYTES_MAX, SEGMENT_BYTES_MAX, SEGMENT_FRAMES_MAX};
use wfengine_storage_format::{ChainId, Incarnation, PeerId};

const CHAIN: ChainId =
    ChainId { author: PeerId::from_bytes([3; 32]), incarnation: Incarnation::from_bytes([5; 16]) };
const SEGMENT: SegmentNumber = SegmentNumber(0);

/// What the library writes when a program builds the document of these frames with it.
fn by_the_library(segment: SegmentNumber, frames: &[Vec<u8>]) -> Vec<Change> {
    let actor = ActorId::from(*DocumentActor::of(&CHAIN, segment).as_bytes());
    let mut document = AutoCommit::new().with_actor(actor);
    let list = document.put_object(ROOT, LIST_KEY, ObjType::List).unwrap();
    for (index, frame) in frames.iter().enumerate() {
        document.insert(&list, index, ScalarValue::Bytes(frame.clone())).unwrap();
        document.commit_with(CommitOptions::default().with_time(0));
    }
    document.get_changes(&[])
}

fn assert_same_as_the_library(segment: SegmentNumber, frames: &[Vec<u8>]) {
    let mut cursor = SegmentCursor::at_segment(segment);
    let changes = by_the_library(segment, frames);
    assert_eq!(changes.len(), frames.len());
    for (index, (change, frame)) in changes.iter().zip(frames).enumerate() {
        let before = cursor;
        let chunk = cursor.append(&CHAIN, frame).unwrap();
        let lens = frames.iter().map(Vec::len).collect::<Vec<_>>();
        assert!(chunk.bytes() == change.raw_bytes(), "change {index} of frames of {lens:?} bytes");
        assert_eq!(chunk.hash().as_bytes(), &change.hash().0);
        assert!(chunk.bytes().len() <= frame.len() + CHUNK_OVERHEAD_MAX);

        let mut receiver = before;
        let parsed = ParsedChunk::parse(change.raw_bytes()).unwrap();
        assert_eq!(parsed.frame(), frame);
        let accepted = receiver.accept(&CHAIN, &parsed, frame).unwrap();
        assert_eq!(accepted, chunk.as_accepted());
        assert_eq!(receiver, cursor);
    }
}

fn random_frame(rng: &mut ChaCha8Rng, len: usize) -> Vec<u8> {
    let mut frame = vec![0; len];
    rng.fill_bytes(&mut frame);
    frame
}

#[test]
fn a_chunk_of_every_length_boundary_is_the_librarys() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    // Every LEB128 boundary of chunk length, column length and value metadata (length × 16) lies near one of these.
    let near = [1, 8, 16, 100, 128, 1024, 2048, 1 << 14, 1 << 16, 1 << 17, FRAME_BYTES_MAX];
    let lens = near.iter().flat_map(|at: &usize| at.saturating_sub(2)..=at + 2);
    for len in lens.chain(15..200).chain(16_200..16_400) {
        if (1..=FRAME_BYTES_MAX).contains(&len) {
            let frame = random_frame(&mut rng, len);
            assert_same_as_the_library(SEGMENT, &[frame.clone(), frame]);
        }
    }
}

#[test]
fn three_hundred_frames_are_two_documents_and_each_change_is_the_librarys() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let frames: Vec<_> = (0..300)
        .map(|_| {
            let len = rng.random_range(1..1500);
            random_frame(&mut rng, len)
        })
        .collect();
    let segments = segments_of(frames.iter().map(Vec::len)).unwrap();
    assert_eq!(segments, [0..256, 256..300]);
    for (number, range) in segments.into_iter().enumerate() {
        assert_same_as_the_library(SegmentNumber(number as u64), &frames[range]);
    }
}

#[test]
fn any_number_of_frames_up_to_a_full_segment_is_the_librarys() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for count in [1, 2, 3, 62, 63, 64, 65, 126, 127, 128, 129, 254, 255, 256] {
        let frames: Vec<_> = (0..count).map(|_| random_frame(&mut rng, 40)).collect();
        assert_same_as_the_library(SegmentNumber(u64::from(count as u8)), &frames);
    }
}

#[test]
fn automerge_loads_the_concatenated_chunks_and_finds_the_frames() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    for count in [1, 2, 100, SEGMENT_FRAMES_MAX] {
        let frames: Vec<_> = (0..count)
            .map(|_| {
                let len = rng.random_range(1..2000);
                random_frame(&mut rng, len)
            })
            .collect();
        let bytes = document_bytes(&CHAIN, SEGMENT, &frames).unwrap();
        let read = frames_of(&bytes).unwrap();
        assert_eq!(read.frames, frames);
        assert_eq!(read.actor, DocumentActor::of(&CHAIN, SEGMENT));

        let document = Automerge::load(&bytes).unwrap();
        assert_eq!(document.get_heads(), [automerge::ChangeHash(*read.head.as_bytes())]);
        let (_, list) = document.get(ROOT, LIST_KEY).unwrap().unwrap();
        assert_eq!(document.length(&list), count);
        for (index, frame) in frames.iter().enumerate() {
            let (value, _) = document.get(&list, index).unwrap().unwrap();
            assert_eq!(value.as_bytes(), Some(frame.as_slice()));
        }
        assert_eq!(document.get_changes(&[]).len(), count);
        assert_eq!(export_document(&CHAIN, SEGMENT, &frames).unwrap(), bytes);
    }
}

#[test]
fn the_greatest_document_keeps_its_bounds() {
    let frames = vec![vec![1; FRAME_BYTES_MAX]; SEGMENT_BYTES_MAX / FRAME_BYTES_MAX];
    let bytes = export_document(&CHAIN, SegmentNumber(u64::MAX), &frames).unwrap();
    assert!(bytes.len() <= DOCUMENT_LEN_MAX);
    assert_eq!(frames_of(&bytes).unwrap().frames, frames);

    // The overhead's bound is reached by a frame of the greatest length at a late index.
    let mut cursor = SegmentCursor::START;
    for _ in 0..SEGMENT_FRAMES_MAX - 1 {
        cursor.append(&CHAIN, &[1]).unwrap();
    }
    let last = cursor.append(&CHAIN, &vec![1; FRAME_BYTES_MAX]).unwrap();
    assert_eq!(last.bytes().len(), CHUNK_LEN_MAX);
}

#[test]
fn a_projection_fed_change_by_change_equals_the_one_loaded_at_once() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let frames: Vec<_> = (0..SEGMENT_FRAMES_MAX).map(|_| random_frame(&mut rng, 300)).collect();
    let mut cursor = SegmentCursor::START;
    let mut live = Projection::open(&CHAIN, SEGMENT);
    assert_eq!((live.head(), live.frames().unwrap().len()), (None, 0));
    for frame in &frames {
        let chunk = cursor.append(&CHAIN, frame).unwrap();
        live.append(&chunk.as_accepted()).unwrap();
        assert_eq!(live.head(), Some(chunk.hash()));
    }
    let rebuilt = Projection::rebuild(&CHAIN, SEGMENT, &frames).unwrap();
    assert_eq!(rebuilt.head(), live.head());
    assert_eq!(rebuilt.frames().unwrap(), frames);
    assert_eq!(live.frames().unwrap(), frames);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_frames_are_the_librarys_changes(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..600), 1..24),
        segment in any::<u64>(),
    ) {
        assert_same_as_the_library(SegmentNumber(segment), &frames);
    }

    #[test]
    fn any_frames_are_read_back_from_their_document(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..3000), 1..64),
    ) {
        let bytes = document_bytes(&CHAIN, SEGMENT, &frames).unwrap();
        prop_assert_eq!(&document_bytes(&CHAIN, SEGMENT, &frames).unwrap(), &bytes);
        prop_assert_eq!(frames_of(&bytes).unwrap().frames, frames);
    }
}
