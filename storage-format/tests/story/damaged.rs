//! Frames that must be refused, each for one reason: copies of good frames with one thing wrong.

use std::collections::BTreeMap;

use wfengine_storage_format::{Signer, VerifiedFrame};

use super::Specimen;
use super::forks::GROUP_ORDER;
use crate::by_hand::{RawEvent, RawFrame, RawTip};

/// Where the header's `first_seq` stands: after the format, the cluster and the chain.
const FIRST_SEQ_AT: usize = 1 + 32 + 32 + 16;

/// A point of small order, of which forged signatures are known.
const NEUTRAL: [u8; 32] = {
    let mut key = [0; 32];
    key[0] = 1;
    key
};

/// All damaged files.
pub(super) fn tell(frames: &BTreeMap<String, VerifiedFrame>) -> Vec<Specimen> {
    let (alice, bob) = (Signer::from_seed(&[1; 32]), Signer::from_seed(&[2; 32]));
    let good = RawFrame::of(&frames["RunExpired.frame"]);
    let bytes = good.encode();
    let mut specimens = Vec::new();
    let mut add = |file: &str, bytes: Vec<u8>, outcome| {
        let file = format!("damaged-{file}.frame");
        specimens.push(Specimen { file, bytes, outcomes: vec![outcome] });
    };
    let changed = |change: &dyn Fn(&mut RawFrame)| {
        let mut frame = good.clone();
        change(&mut frame);
        frame
    };

    // The bytes.
    add("empty", Vec::new(), "codec:malformed");
    add("format-2", changed(&|frame| frame.format = 2).encode(), "format");
    add("truncated", bytes[..bytes.len() - 1].to_vec(), "codec:malformed");
    add("trailing-byte", [&bytes[..], &[0]].concat(), "codec:not-canonical");
    let mut padded = changed(&|frame| frame.first_seq = 3).encode();
    padded.splice(FIRST_SEQ_AT..=FIRST_SEQ_AT, [0x83, 0x00]);
    add("padded-varint", padded, "codec:not-canonical");
    let mut overflowing = changed(&|frame| frame.first_seq = 3).encode();
    overflowing.splice(FIRST_SEQ_AT..=FIRST_SEQ_AT, [[0xff; 9].as_slice(), &[0x02]].concat());
    add("varint-of-65-bits", overflowing, "codec:malformed");
    let mut option = changed(&|frame| frame.first_seq = 3).encode();
    option[FIRST_SEQ_AT + 2] = 2;
    add("option-2", option, "codec:malformed");
    let mut huge = good.clone();
    huge.events.clear();
    let mut huge = huge.encode();
    huge.pop();
    huge.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    add("declares-2-to-the-64-events", huge, "codec:malformed");

    // The counts.
    add("count-2", changed(&|frame| frame.count = 2).resigned_by(&alice).encode(), "count");
    add("no-events", changed(&|frame| frame.events.clear()).signed_by(&alice).encode(), "count");
    let many = |frame: &mut RawFrame| frame.events = vec![frame.events[0].clone(); 257];
    add("257-events", changed(&many).signed_by(&alice).encode(), "count");
    let far = changed(&|frame| frame.first_seq = u64::MAX).signed_by(&alice);
    add("seq-out-of-range", far.encode(), "envelope:sequence number out of range");

    // The signature.
    add("signature-of-another", good.clone().resigned_by(&bob).encode(), "signature:wrong");
    add("signature-bit", changed(&|frame| frame.signature[40] ^= 1).encode(), "signature:wrong");
    add("other-cluster", changed(&|frame| frame.cluster[0] ^= 1).encode(), "signature:wrong");
    add("s-not-reduced", changed(&|frame| add_group_order(&mut frame.signature)).encode(), "signature:wrong");
    let forged = changed(&|frame| {
        frame.author = NEUTRAL;
        frame.signature = [0; 64];
        frame.signature[0] = 1;
        frame.last = frame.ids()[0];
    });
    add("small-order-key", forged.encode(), "signature:wrong");
    let no_key = changed(&|frame| frame.author = [0x02; 32]).signed_by(&alice);
    add("author-not-a-key", no_key.encode(), "signature:not-a-key");

    // The hashes.
    let flip = |frame: &mut RawFrame| frame.events[0].body[64] ^= 1;
    add("body-byte", changed(&flip).encode(), "hash");
    add("height-changed", changed(&|frame| frame.events[0].height += 1).encode(), "hash");
    let parent = |n: u8| RawTip { author: [n; 32], incarnation: [n; 16], seq: 0, id: [n; 32] };
    add("parent-added", changed(&|frame| frame.parents.push(parent(1))).encode(), "hash");
    let mut swapped = RawFrame::of(&frames["several-events.frame"]);
    swapped.events.swap(1, 2);
    add("events-swapped", swapped.encode(), "hash");

    // The envelope, signed in earnest.
    let own = |frame: &mut RawFrame| {
        frame.parents = vec![RawTip { author: frame.author, incarnation: frame.incarnation, ..parent(0) }];
    };
    let mut add = |file: &str, change: &dyn Fn(&mut RawFrame), outcome| {
        add(file, changed(change).signed_by(&alice).encode(), outcome);
    };
    let event = |frame: &mut RawFrame, change: &dyn Fn(&mut RawEvent)| change(&mut frame.events[0]);
    add("parent-of-own-chain", &own, "envelope:a parent is of the event's own chain");
    let twice = |frame: &mut RawFrame| frame.parents = vec![parent(1), parent(2), parent(1)];
    add("two-parents-of-one-chain", &twice, "envelope:two parents are of one chain");
    let many = |frame: &mut RawFrame| frame.parents = (0..17).map(parent).collect();
    add("17-parents", &many, "envelope:too many parents");
    let refs = |frame: &mut RawFrame| event(frame, &|event| event.refs = vec![[7; 32]; 9]);
    add("9-refs", &refs, "envelope:too many refs");
    let blobs = |frame: &mut RawFrame| event(frame, &|event| event.blobs = vec![[7; 32]; 65]);
    add("65-blobs", &blobs, "envelope:too many blobs");
    add("height-0", &|frame| event(frame, &|event| event.height = 0), "envelope:height out of range");
    let high = |frame: &mut RawFrame| event(frame, &|event| event.height = (1 << 48) + 1);
    add("height-out-of-range", &high, "envelope:height out of range");
    add("prev-missing", &|frame| frame.prev = None, "envelope:prev is missing");
    specimens
}

/// S + L: the same number to a verifier that does not look.
fn add_group_order(signature: &mut [u8; 64]) {
    let mut carry = 0;
    for (byte, l) in signature[32..].iter_mut().zip(GROUP_ORDER) {
        let sum = u16::from(*byte) + u16::from(l) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
}
