//! Foreign bytes: they never panic, never cost much, and are never taken for what their author did not sign.
//!
//! Frames are attacked in three ways: bytes out of nowhere, golden frames changed afterwards, and frames that a member signs
//! in earnest although they break a rule. For the last the test has its own reading of the envelope rules, so decoder and
//! SPEC.md are compared on both sides of every bound.

#![expect(
    clippy::unwrap_used,
    clippy::result_large_err,
    reason = "this file is a test: it stops at the first surprise, and errors are rare"
)]

mod bodies;
mod by_hand;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use by_hand::{RawEvent, RawFrame, RawTip, varint};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use wfengine_storage_format::limits::{
    EVENT_BYTES_MAX, FRAME_BYTES_MAX, HEIGHT_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX,
};
use wfengine_storage_format::{
    BlobId, Body, CodecError, Conclusion, EventId, FrameBuilder, FrameError, Frozen, JobCompleted, JobId,
    Kind, Origin, Placement, RunId, RunSpec, RunSubmitted, SignedFrame, Signer, VerifiedFrame, VoidReason,
    WorkflowSpec,
};

fn read(bytes: &[u8]) -> Result<VerifiedFrame, FrameError> {
    SignedFrame::decode(bytes)?.verify()
}

/// All golden files, the damaged ones too: good starting points for changes.
fn golden() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/v1");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "frame"));
    paths.sort();
    assert!(paths.len() > Kind::ALL.len());
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// One change of a frame's bytes.
#[derive(Clone, Debug)]
enum Change {
    Flip(Index, u8),
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize),
    Cut(Index),
    SpliceFrom(Index, Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        (at(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, 1 << bit)),
        (at(), select(vec![0, 1, 2, 0x7f, 0x80, 0x81, 0xff])).prop_map(|(at, byte)| Change::Set(at, byte)),
        (at(), vec(any::<u8>(), 1..40)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (at(), 1..70_usize).prop_map(|(at, len)| Change::Remove(at, len)),
        (at(), 1..70_usize).prop_map(|(at, len)| Change::Repeat(at, len)),
        at().prop_map(Change::Cut),
        (at(), at(), 1..200_usize).prop_map(|(from, at, len)| Change::SpliceFrom(from, at, len)),
    ]
}

fn apply(change: &Change, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let len_before = bytes.len();
    if len_before == 0 {
        return;
    }
    let span = |at: usize, len: usize, bytes: &[u8]| at..(at + len).min(bytes.len());
    match change {
        Change::Flip(at, mask) => bytes[at.index(len_before)] ^= mask,
        Change::Set(at, byte) => bytes[at.index(len_before)] = *byte,
        Change::Insert(at, new) => {
            let at = at.index(len_before);
            bytes.splice(at..at, new.iter().copied());
        }
        Change::Remove(at, len) => {
            bytes.drain(span(at.index(len_before), *len, bytes));
        }
        Change::Repeat(at, len) => {
            let span = span(at.index(len_before), *len, bytes);
            let again = bytes[span.clone()].to_vec();
            bytes.splice(span.end..span.end, again);
        }
        Change::Cut(at) => bytes.truncate(at.index(len_before)),
        Change::SpliceFrom(from, at, len) => {
            let other = from.get(corpus);
            let at = at.index(len_before);
            let end = (at + len).min(other.len());
            if at < end {
                let target = span(at, *len, bytes);
                bytes.splice(target, other[at..end].iter().copied());
            }
        }
    }
}

/// A frame that its author signs as it stands, with numbers on both sides of the bounds.
fn earnest() -> impl Strategy<Value = RawFrame> {
    let who = prop_oneof![1 => Just(0_u8), 40 => 1..4_u8];
    let tip = (who, 0..2_u8, any::<u64>(), any::<[u8; 32]>());
    let tips = prop_oneof![5 => vec(tip.clone(), 0..3), 1 => vec(tip, 15..18)];
    let list = |near: usize| prop_oneof![9 => vec(any::<[u8; 32]>(), 0..3), 1 => vec(any::<[u8; 32]>(), near - 1..near + 2)];
    let height = prop_oneof![
        8 => 1..HEIGHT_MAX,
        4 => HEIGHT_MAX - 1..HEIGHT_MAX + 2,
        1 => Just(0),
        1 => Just(u64::MAX),
    ];
    let event = (height, any::<u64>(), list(8), list(64), any::<u16>(), vec(any::<u8>(), 0..40));
    let first_seq =
        prop_oneof![2 => 0..2_u64, 1 => Just(u64::MAX - 1), 1 => Just(u64::MAX), 2 => any::<u64>()];
    (first_seq, proptest::option::of(any::<[u8; 32]>()), tips, vec(event, 0..4)).prop_map(
        |(first_seq, prev, tips, events)| {
            let author = Signer::from_seed(&[1; 32]);
            let parents = tips.into_iter().enumerate().map(|(n, (who, life, seq, id))| {
                // mostly distinct chains; now and then the frame's own (life 1) or another of its author's
                if who == 0 {
                    RawTip { author: *author.peer_id().as_bytes(), incarnation: [life; 16], seq, id }
                } else {
                    RawTip { author: [who; 32], incarnation: [n as u8; 16], seq, id }
                }
            });
            let events = events.into_iter().map(|(height, time_ms, refs, blobs, kind, body)| RawEvent {
                height,
                time_ms,
                refs,
                blobs,
                kind,
                body,
            });
            RawFrame {
                format: 1,
                cluster: [5; 32],
                author: *author.peer_id().as_bytes(),
                incarnation: [1; 16],
                first_seq,
                count: 0,
                prev,
                last: [0; 32],
                signature: [0; 64],
                parents: parents.collect(),
                events: events.collect(),
            }
            .signed_by(&author)
        },
    )
}

/// The envelope rules as SPEC.md has them.
fn allowed(frame: &RawFrame) -> bool {
    let chains: BTreeSet<_> = frame.parents.iter().map(|tip| (tip.author, tip.incarnation)).collect();
    !frame.events.is_empty()
        && frame.first_seq.checked_add(frame.events.len() as u64).is_some()
        && (frame.first_seq == 0 || frame.prev.is_some())
        && frame.parents.len() <= 16
        && chains.len() == frame.parents.len()
        && !chains.contains(&(frame.author, frame.incarnation))
        && frame.events.iter().all(|event| {
            (1..=1 << 48).contains(&event.height) && event.refs.len() <= 8 && event.blobs.len() <= 64
        })
}

proptest! {
    #[test]
    fn bytes_out_of_nowhere_are_no_frame(mut bytes in vec(any::<u8>(), 0..2_000), format in any::<bool>()) {
        if let (true, Some(first)) = (format, bytes.first_mut()) {
            *first = 1;
        }
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn bytes_out_of_nowhere_are_a_canonical_body_or_void(
        bytes in prop_oneof![vec(any::<u8>(), 0..400), vec(0..4_u8, 0..400)],
    ) {
        for kind in Kind::ALL {
            match Body::decode(*kind, &bytes) {
                Body::Void(_) => {}
                Body::Unknown => prop_assert!(false, "{kind} is known"),
                body => prop_assert_eq!(body.encode(), Ok((*kind, bytes.clone()))),
            }
        }
    }

    #[test]
    fn a_body_survives_its_bytes(body in bodies::any_body()) {
        let (kind, bytes) = match body.encode() {
            Ok(encoded) => encoded,
            Err(VoidReason::Codec(CodecError::TooLong { .. })) => return Err(TestCaseError::reject("too long")),
            Err(reason) => return Err(TestCaseError::fail(reason.to_string())),
        };
        prop_assert_eq!(Body::decode(kind, &bytes), body);
    }

    #[test]
    fn a_changed_body_is_void_or_says_what_its_bytes_say(
        body in bodies::any_body(),
        changes in vec(change(), 1..4),
    ) {
        let Ok((kind, mut bytes)) = body.encode() else { return Ok(()) };
        let corpus = [vec![0; 64], vec![0xff; 64]];
        changes.iter().for_each(|change| apply(change, &mut bytes, &corpus));
        match Body::decode(kind, &bytes) {
            Body::Void(_) => {}
            again => prop_assert_eq!(again.encode(), Ok((kind, bytes))),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_changed_frame_is_never_taken_for_another(which in any::<Index>(), changes in vec(change(), 1..4)) {
        let corpus = golden();
        let mut bytes = which.get(&corpus).clone();
        changes.iter().for_each(|change| apply(change, &mut bytes, &corpus));
        if read(&bytes).is_ok() {
            prop_assert!(corpus.contains(&bytes), "a changed frame was accepted");
        }
    }

    #[test]
    fn a_frame_signed_in_earnest_is_taken_exactly_if_no_rule_is_broken(frame in earnest()) {
        let bytes = frame.encode();
        match read(&bytes) {
            Ok(read) => {
                prop_assert!(allowed(&frame), "accepted against the rules");
                prop_assert_eq!(&read.bytes()[..], &bytes);
                let ids: Vec<[u8; 32]> = read.events().iter().map(|(id, _)| *id.as_bytes()).collect();
                prop_assert_eq!(ids, frame.ids());
            }
            Err(error) => prop_assert!(!allowed(&frame), "refused although right: {}", error),
        }
    }
}

#[test]
fn any_field_changed_after_signing_is_found() {
    let changes: [fn(&mut RawFrame); 17] = [
        |frame| frame.cluster[31] ^= 1,
        |frame| frame.author[31] ^= 1,
        |frame| frame.incarnation[0] ^= 1,
        |frame| frame.first_seq += 1,
        |frame| frame.count += 1,
        |frame| frame.prev = if frame.prev.is_some() { None } else { Some([0; 32]) },
        |frame| frame.last[0] ^= 1,
        |frame| frame.signature[0] ^= 1,
        |frame| frame.signature[63] ^= 1,
        |frame| {
            let tip = RawTip { author: [9; 32], incarnation: [9; 16], seq: 0, id: [9; 32] };
            frame.parents.push(tip);
        },
        |frame| frame.events.push(frame.events[0].clone()),
        |frame| frame.events[0].height += 1,
        |frame| frame.events[0].time_ms ^= 1,
        |frame| frame.events[0].refs.push([1; 32]),
        |frame| frame.events[0].blobs.push([1; 32]),
        |frame| frame.events[0].kind ^= 1,
        |frame| frame.events[0].body.push(0),
    ];
    let good: Vec<VerifiedFrame> = golden().iter().filter_map(|bytes| read(bytes).ok()).collect();
    assert!(good.len() > Kind::ALL.len());
    for frame in good {
        for (number, change) in changes.iter().enumerate() {
            let mut changed = RawFrame::of(&frame);
            change(&mut changed);
            assert!(read(&changed.encode()).is_err(), "change {number} of {:?}", frame.header());
        }
    }
}

#[test]
fn lengths_declared_and_not_held_are_refused_before_anything_is_allocated() {
    let frame = RawFrame {
        format: 1,
        cluster: [0; 32],
        author: [0; 32],
        incarnation: [0; 16],
        first_seq: 0,
        count: 1,
        prev: None,
        last: [0; 32],
        signature: [0; 64],
        parents: Vec::new(),
        events: Vec::new(),
    };
    // The encoding ends with two empty lists: parents and events.
    let encoded = frame.encode();
    let head = &encoded[..encoded.len() - 2];
    for declared in [3, 1 << 20, 1 << 32, 1 << 60, u64::MAX] {
        let mut count = Vec::new();
        varint(&mut count, declared);
        let event = [1, 0];
        let places: [&[&[u8]]; 5] = [
            &[head, &count],
            &[head, &[0], &count],
            &[head, &[0, 1], &event, &count],
            &[head, &[0, 1], &event, &[0], &count],
            &[head, &[0, 1], &event, &[0, 0, 1], &count],
        ];
        for parts in places {
            let error = SignedFrame::decode(&parts.concat()).unwrap_err();
            assert!(matches!(error, FrameError::Codec(CodecError::Malformed { .. })), "{error}");
        }
        for kind in Kind::ALL {
            for zeros in [0, 1, 16, 32, 33, 64, 65, 96, 97, 128] {
                let bytes = [&vec![0; zeros][..], &count, &[0; 8]].concat();
                let body = Body::decode(*kind, &bytes);
                assert!(matches!(body, Body::Void(_)) || body.encode() == Ok((*kind, bytes)));
            }
        }
    }
}

#[test]
fn a_frame_of_as_many_events_as_bytes_can_hold_is_refused_by_its_count() {
    let mut frame = RawFrame {
        format: 1,
        cluster: [0; 32],
        author: [0; 32],
        incarnation: [0; 16],
        first_seq: 0,
        count: 256,
        prev: None,
        last: [0; 32],
        signature: [0; 64],
        parents: Vec::new(),
        events: Vec::new(),
    };
    let least = RawEvent { height: 1, time_ms: 0, refs: vec![], blobs: vec![], kind: 1, body: vec![] };
    frame.events = vec![least; (FRAME_BYTES_MAX - 300) / 6];
    let held = frame.events.len();
    let bytes = frame.encode();
    assert_eq!(SignedFrame::decode(&bytes).unwrap_err(), FrameError::Count { announced: 256, held });
}

#[test]
fn too_many_bytes_are_refused_unread() {
    let mut bytes = vec![0; FRAME_BYTES_MAX + 1];
    bytes[0] = 1;
    let error = SignedFrame::decode(&bytes).unwrap_err();
    assert!(matches!(error, FrameError::Codec(CodecError::TooLong { .. })), "{error}");
    for kind in Kind::ALL {
        let body = Body::decode(*kind, &vec![0; EVENT_BYTES_MAX + 1]);
        assert!(matches!(body, Body::Void(VoidReason::Codec(CodecError::TooLong { .. }))));
    }
}

#[test]
fn a_body_may_have_64_kibibytes_and_not_one_more() {
    let author = Signer::from_seed(&[1; 32]);
    let incarnation = wfengine_storage_format::Incarnation::from_bytes([1; 16]);
    let chain = wfengine_storage_format::ChainId { author: author.peer_id(), incarnation };
    for (len, fits) in [(EVENT_BYTES_MAX, true), (EVENT_BYTES_MAX + 1, false)] {
        let mut frame = FrameBuilder::new(None, chain, 0, None, Vec::new());
        assert_eq!(frame.fits(len, 0), fits);
        frame.push(1, 0, vec![], vec![], Kind::from_number(0x7abc), vec![7; len]);
        let read = read(frame.sign(&author).unwrap().bytes());
        match read {
            Ok(_) => assert!(fits),
            Err(FrameError::Envelope { rule: "body too long", .. }) => assert!(!fits),
            Err(error) => panic!("{error}"),
        }
    }
}

fn calling(called: Vec<(String, BlobId)>) -> Body {
    let source = BlobId::from_bytes([1; 32]);
    let (path, job_keys) = ("build.yml".to_owned(), vec!["test".to_owned()]);
    RunSubmitted {
        trigger_key: b"id:1".to_vec(),
        attempt: 1,
        name: String::new(),
        spec: RunSpec::Workflow(WorkflowSpec { path, source, called, job_keys, rules_version: 1 }),
        frozen: Frozen::default(),
        tags: Vec::new(),
        metadata_json: String::new(),
        priority_milli: 1,
        placement: Placement::Rule,
        origin: Origin::Hand,
        retries: 0,
        backoff_ms: (0, 0),
        rerun_of: None,
    }
    .into()
}

fn leaving(artifacts: Vec<(String, BlobId)>) -> Body {
    JobCompleted {
        run: RunId::from_bytes([1; 32]),
        job: JobId::from_bytes([2; 32]),
        claim: EventId::from_bytes([3; 32]),
        conclusion: Conclusion::Success,
        outputs: Vec::new(),
        result_json: String::new(),
        log: None,
        log_len: 0,
        summary: None,
        artifacts: artifacts.into_iter().map(|(name, blob)| (name, blob, u64::MAX)).collect(),
        duration_ms: 0,
        notes: Vec::new(),
    }
    .into()
}

#[test]
fn called_files_and_artifacts_are_written_exactly_within_their_bounds() {
    let blob = BlobId::from_bytes([4; 32]);
    let named = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), blob)).collect::<Vec<_>>();
    let many = |count: usize| (0..count).map(|n| (format!("{n:03}"), blob)).collect::<Vec<_>>();
    let kinds = [
        (calling as fn(_) -> Body, TEXT_BYTES_MAX, VoidReason::Bound("workflow")),
        (leaving, NAME_BYTES_MAX, VoidReason::Bound("artifacts")),
    ];
    for (body_with, name_bytes_max, broken) in kinds {
        let longest = "n".repeat(name_bytes_max);
        let good = [named(&[]), named(&["", "a", "a-", "b"]), named(&[&longest]), many(256)];
        for list in good {
            let body = body_with(list);
            let (kind, bytes) = body.encode().unwrap();
            assert_eq!(Body::decode(kind, &bytes), body);
        }
        let too_long = format!("{longest}n");
        for list in [named(&["b", "a"]), named(&["a", "a"]), named(&[&too_long]), many(257)] {
            assert_eq!(body_with(list).encode(), Err(broken.clone()));
        }
    }
}

#[test]
fn a_builder_that_says_it_fits_makes_frames_that_are_read() {
    let author = Signer::from_seed(&[1; 32]);
    let life = |byte| wfengine_storage_format::Incarnation::from_bytes([byte; 16]);
    let chain = |byte| wfengine_storage_format::ChainId { author: author.peer_id(), incarnation: life(byte) };
    let id = EventId::from_bytes([3; 32]);
    let tip = |byte| wfengine_storage_format::Tip { chain: chain(byte), seq: u64::MAX, id };
    let blob = BlobId::from_bytes([4; 32]);
    for body_len in [0, 1, 127, 128, 900, 16_384, EVENT_BYTES_MAX] {
        let parents = (1..=16).map(tip).collect();
        let mut frame = FrameBuilder::new(None, chain(0), 1 << 63, Some(id), parents);
        let mut count = 0;
        while frame.fits(body_len, 64) {
            let kind = Kind::from_number(u16::MAX);
            frame.push(HEIGHT_MAX, u64::MAX, vec![id; 8], vec![blob; 64], kind, vec![0; body_len]);
            count += 1;
        }
        let read = read(frame.sign(&author).unwrap().bytes()).unwrap();
        assert_eq!(read.events().len(), count);
    }
}
