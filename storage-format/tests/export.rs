//! Exports: what is written reads back, whatever is changed is named, and the bytes stay what they were.
//!
//! The frames are the first golden ones, so the exports here are exports of one small log. `golden/v1/*.export` are added, never
//! edited; `WFENGINE_GOLDEN_WRITE=1 cargo test -p wfengine-storage-format --test export` writes the ones that are missing.

#![expect(clippy::unwrap_used, reason = "this file is a test: it stops at the first surprise")]

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use wfengine_storage_format::{
    EXPORT_HEADER_LEN, EXPORT_RECORD_HEAD_LEN, ExportDamage, ExportError, ExportHeader, ExportItem,
    ExportReader, ExportScope, ExportTrailer, ExportWriter, RunId, SignedFrame, Signer, VerifiedFrame,
};

const FRAMES: [&str; 12] = [
    "ClusterFounded",
    "PeerInvited",
    "PeerAdmitted",
    "PeerAdmitted-direct",
    "PeerLabelled",
    "PeerDescribed",
    "PeerDescribed-without-parents",
    "RunSubmitted",
    "JobsPlanned",
    "JobClaimed",
    "JobStarted",
    "JobCompleted",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/v1")
}

fn frames() -> Vec<VerifiedFrame> {
    let read = |name: &&str| {
        let bytes = fs::read(folder().join(format!("{name}.frame"))).unwrap();
        SignedFrame::decode(&bytes).unwrap().verify().unwrap()
    };
    FRAMES.iter().map(read).collect()
}

fn write(
    scope: ExportScope,
    frames: &[VerifiedFrame],
    views: Option<(u32, [u8; 32])>,
) -> (Vec<u8>, ExportTrailer) {
    let header = ExportHeader { cluster: frames[0].header().cluster, scope };
    let mut bytes = Vec::new();
    let mut writer = ExportWriter::begin(header, &mut bytes);
    frames.iter().for_each(|frame| writer.frame(frame, &mut bytes).unwrap());
    assert_eq!(writer.frames(), frames.len() as u64);
    let trailer = writer.finish(&Signer::from_seed(&[1; 32]), views, &mut bytes).unwrap();
    (bytes, trailer)
}

fn whole() -> (Vec<u8>, ExportTrailer) {
    write(ExportScope::Whole, &frames(), Some((1, [7; 32])))
}

/// Every item, the bytes coming in pieces of a length.
fn read(bytes: &[u8], piece: usize) -> Vec<ExportItem> {
    let mut reader = ExportReader::new();
    let mut items = Vec::new();
    for piece in bytes.chunks(piece) {
        reader.push(piece);
        while let Some(item) = reader.next_item() {
            items.push(item);
        }
    }
    reader.end();
    while let Some(item) = reader.next_item() {
        items.push(item);
    }
    items
}

fn damage(bytes: &[u8]) -> Vec<ExportDamage> {
    let only = |item| match item {
        ExportItem::Damage(damage) => Some(damage),
        _ => None,
    };
    read(bytes, 4096).into_iter().filter_map(only).collect()
}

fn frame_bytes(items: &[ExportItem]) -> Vec<&[u8]> {
    items
        .iter()
        .filter_map(|item| match item {
            ExportItem::Frame(frame) => Some(frame.bytes.as_slice()),
            _ => None,
        })
        .collect()
}

/// Where each record begins, and the trailer.
fn records(bytes: &[u8]) -> Vec<usize> {
    let mut starts = vec![EXPORT_HEADER_LEN];
    for item in read(bytes, usize::MAX) {
        if let ExportItem::Frame(frame) = item {
            starts.push(usize::try_from(frame.offset).unwrap() + frame.bytes.len());
        }
    }
    starts
}

#[test]
fn an_export_reads_back_however_its_bytes_arrive() {
    let (bytes, trailer) = whole();
    let frames = frames();
    for piece in [1, 7, 100, 4096, usize::MAX] {
        let items = read(&bytes, piece);
        let header = ExportHeader { cluster: frames[0].header().cluster, scope: ExportScope::Whole };
        assert_eq!(items.first(), Some(&ExportItem::Header(header)));
        assert_eq!(items.last(), Some(&ExportItem::Trailer(trailer.clone())));
        assert_eq!(items.len(), frames.len() + 2);
        let expected: Vec<&[u8]> = frames.iter().map(|frame| &frame.bytes()[..]).collect();
        assert_eq!(frame_bytes(&items), expected);
        for item in &items {
            if let ExportItem::Frame(frame) = item {
                let at = usize::try_from(frame.offset).unwrap();
                assert_eq!(bytes[at..at + frame.bytes.len()], frame.bytes);
            }
        }
    }
    assert_eq!((trailer.frames, trailer.events), (12, 12));
    assert!(trailer.tips.windows(2).all(|pair| pair[0].chain < pair[1].chain));
    assert_eq!(trailer.exporter, Signer::from_seed(&[1; 32]).peer_id());
}

#[test]
fn the_bytes_are_what_they_were() {
    let run = ExportScope::Run(RunId::from_bytes([5; 32]));
    let files = [("whole.export", whole().0), ("run.export", write(run, &frames()[..4], None).0)];
    for (name, bytes) in files {
        let path = folder().join(name);
        if !path.exists() && std::env::var("WFENGINE_GOLDEN_WRITE").is_ok_and(|value| value == "1") {
            fs::write(&path, &bytes).unwrap();
        }
        let committed = fs::read(&path).unwrap();
        assert!(committed == bytes, "{name} is written otherwise than it was: the format changed");
        assert_eq!(damage(&committed), []);
    }
}

#[test]
fn a_dropped_frame_is_named() {
    let (bytes, _) = whole();
    let starts = records(&bytes);
    for dropped in 0..FRAMES.len() {
        let without = [&bytes[..starts[dropped]], &bytes[starts[dropped + 1]..]].concat();
        let found = damage(&without);
        let missing = |damage: &ExportDamage| {
            matches!(damage, ExportDamage::Missing { first, count: 1, offset }
                if *first == dropped as u64 && *offset == starts[dropped] as u64)
        };
        assert!(found.iter().any(missing), "{dropped}: {found:?}");
        assert!(
            found.iter().any(|damage| matches!(damage, ExportDamage::Count { announced: 12, held: 11, .. }))
        );
        assert!(found.iter().any(|damage| matches!(damage, ExportDamage::Digest { .. })));
    }
}

#[test]
fn a_dropped_tail_is_named() {
    let (bytes, _) = whole();
    let starts = records(&bytes);
    // the tail with the trailer
    assert_eq!(
        damage(&bytes[..starts[9]]),
        [ExportDamage::NoTrailer { offset: starts[9] as u64, frames: 9 }]
    );
    // frames before the trailer
    let found = damage(&[&bytes[..starts[9]], &bytes[starts[12]..]].concat());
    assert!(
        found.contains(&ExportDamage::Missing { offset: starts[9] as u64, first: 9, count: 3 }),
        "{found:?}"
    );
    // in the middle of everything
    for len in 0..bytes.len() {
        let found = damage(&bytes[..len]);
        assert!(!found.is_empty(), "{len}");
        assert!(found.iter().all(|damage| damage.offset() <= len as u64));
    }
}

#[test]
fn swapped_and_doubled_frames_are_named() {
    let (bytes, _) = whole();
    let starts = records(&bytes);
    let part = |n: usize| &bytes[starts[n]..starts[n + 1]];
    let head = &bytes[..starts[5]];
    let swapped = [head, part(6), part(5), &bytes[starts[7]..]].concat();
    let found = damage(&swapped);
    let expected = starts[5] + part(6).len();
    assert!(
        found.contains(&ExportDamage::OutOfOrder { offset: expected as u64, number: 5, after: 6 }),
        "{found:?}"
    );
    assert!(found.iter().any(|damage| matches!(damage, ExportDamage::Digest { .. })));
    let doubled = [&bytes[..starts[6]], part(5), &bytes[starts[6]..]].concat();
    let found = damage(&doubled);
    assert!(
        found.contains(&ExportDamage::OutOfOrder { offset: starts[6] as u64, number: 5, after: 5 }),
        "{found:?}"
    );
    assert_eq!(frame_bytes(&read(&doubled, 64)).len(), 13);
}

#[test]
fn damage_to_a_record_costs_that_frame_alone() {
    let (bytes, _) = whole();
    let starts = records(&bytes);
    for at in 0..EXPORT_RECORD_HEAD_LEN {
        let mut changed = bytes.clone();
        changed[starts[4] + at] ^= 0x20;
        let items = read(&changed, 50);
        assert_eq!(frame_bytes(&items).len(), 11);
        let len = (starts[5] - starts[4]) as u64;
        let lost = ExportDamage::Unreadable { offset: starts[4] as u64, len, number: 4 };
        assert!(items.contains(&ExportItem::Damage(lost)), "{at}: {:?}", damage(&changed));
    }
}

#[test]
fn the_header_says_what_it_is() {
    let (bytes, _) = whole();
    assert_eq!(damage(b"something else"), [ExportDamage::NotAnExport]);
    assert_eq!(damage(&[0; 500]), [ExportDamage::NotAnExport]);
    let mut altered = bytes.clone();
    altered[20] ^= 1;
    assert_eq!(damage(&altered)[0], ExportDamage::Header);
    assert_eq!(frame_bytes(&read(&altered, 4096)).len(), 12);
    // a newer version, its check right
    let mut newer = bytes;
    newer[8] = 2;
    let check = wfengine_storage_format::sha256(&[b"wfengine/export-header/v1", &newer[..74]].concat());
    newer[74..82].copy_from_slice(&check[..8]);
    assert_eq!(damage(&newer), [ExportDamage::Version { found: 2 }]);
}

#[test]
fn a_trailer_of_somebody_else_proves_nothing() {
    let (bytes, _) = whole();
    let end = bytes.len();
    let mut forged = bytes.clone();
    forged[end - 1] ^= 1;
    assert!(matches!(damage(&forged)[..], [ExportDamage::TrailerSignature { .. }]));
    // the trailer of an export of one run does not fit a whole export of the same frames
    let (other, _) = write(ExportScope::Run(RunId::from_bytes([1; 32])), &frames(), Some((1, [7; 32])));
    let moved = [&bytes[..EXPORT_HEADER_LEN], &other[EXPORT_HEADER_LEN..]].concat();
    assert!(matches!(damage(&moved)[..], [ExportDamage::TrailerSignature { .. }]));
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(damage(&longer), [ExportDamage::Trailing { offset: end as u64 }]);
    let mut huge = bytes.clone();
    let trailer = records(&bytes)[12] + EXPORT_RECORD_HEAD_LEN;
    huge[trailer..trailer + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(damage(&huge)[..], [ExportDamage::Trailer { .. }]));
}

#[test]
fn a_frame_of_another_cluster_is_not_exported() {
    let frames = frames();
    let cluster = wfengine_storage_format::ClusterId::from_bytes([1; 32]);
    let mut bytes = Vec::new();
    let mut writer = ExportWriter::begin(ExportHeader { cluster, scope: ExportScope::Whole }, &mut bytes);
    assert!(matches!(writer.frame(&frames[0], &mut bytes), Err(ExportError::ForeignCluster { .. })));
    assert_eq!(bytes.len(), EXPORT_HEADER_LEN);
}

proptest! {
    #[test]
    fn any_changed_byte_is_named(at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let (bytes, _) = whole();
        let at = at.index(bytes.len());
        let mut changed = bytes.clone();
        changed[at] ^= 1 << bit;
        prop_assert!(!damage(&changed).is_empty(), "byte {}", at);
    }

    #[test]
    fn no_bytes_make_the_reader_panic_or_lose_count(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        at in any::<prop::sample::Index>(),
        piece in 1..200usize,
    ) {
        let (export, _) = whole();
        let at = at.index(export.len());
        let spliced = [&export[..at], &bytes[..], &export[at..]].concat();
        let items = read(&spliced, piece);
        prop_assert_eq!(&items, &read(&spliced, usize::MAX));
        let total: usize = frame_bytes(&items).iter().map(|frame| frame.len()).sum();
        prop_assert!(total <= spliced.len());
    }
}
