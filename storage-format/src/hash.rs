//! Every hash of the format: domain words, parts, and the ownership rule's integers.
//!
//! A hash is SHA-256 over a domain word followed by its parts. Parts of fixed length stand as they are, parts of variable
//! length are preceded by their length as u32 little endian, integers are u64 little endian.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::codec::to_canonical;
use crate::id::{EventId, JobId, PeerId, RunId};

/// A 32-byte digest without a meaning of its own (a ranking key or point).
pub type Hash32 = [u8; 32];

/// Plain SHA-256.
pub fn sha256(bytes: &[u8]) -> Hash32 {
    Sha256::digest(bytes).into()
}

/// SHA-256 over a domain word and parts.
pub(crate) struct Parts(Sha256);

impl Parts {
    pub(crate) fn new(domain: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(domain.as_bytes());
        Self(hasher)
    }
    pub(crate) fn fixed(mut self, bytes: &[u8]) -> Self {
        self.0.update(bytes);
        self
    }
    pub(crate) fn variable(mut self, bytes: &[u8]) -> Self {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.0.update(len.to_le_bytes());
        self.0.update(bytes);
        self
    }
    pub(crate) fn integer(mut self, value: u64) -> Self {
        self.0.update(value.to_le_bytes());
        self
    }
    pub(crate) fn finish(self) -> Hash32 {
        self.0.finalize().into()
    }
}

/// `SHA-256("wfengine/run/v1" ‖ trigger key ‖ attempt)`.
pub fn run_id(trigger_key: &[u8], attempt: u32) -> RunId {
    RunId::from_bytes(
        Parts::new("wfengine/run/v1").variable(trigger_key).integer(u64::from(attempt)).finish(),
    )
}

/// The canonical matrix: postcard of the map sorted by key, values as canonical JSON text.
pub fn canonical_matrix(matrix: &BTreeMap<String, String>) -> Vec<u8> {
    to_canonical(matrix)
}

/// `SHA-256("wfengine/job/v1" ‖ RunId ‖ job key ‖ canonical matrix)`: the `task_hash` of the ownership rule.
pub fn job_id(run: &RunId, job_key: &str, matrix: &BTreeMap<String, String>) -> JobId {
    JobId::from_bytes(
        Parts::new("wfengine/job/v1")
            .fixed(run.as_bytes())
            .variable(job_key.as_bytes())
            .variable(&canonical_matrix(matrix))
            .finish(),
    )
}

/// `SHA-256("wfengine/head/v1" ‖ sorted ids)`: the merkle clock head named by these events. The list is preceded by the
/// number of ids as u32 little endian. For a submission the ids are its `prev` and parents.
pub fn clock_head(ids: impl IntoIterator<Item = EventId>) -> Hash32 {
    let mut sorted: Vec<EventId> = ids.into_iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    let mut parts = Parts::new("wfengine/head/v1");
    parts = parts.fixed(&u32::try_from(sorted.len()).unwrap_or(u32::MAX).to_le_bytes());
    for id in &sorted {
        parts = parts.fixed(id.as_bytes());
    }
    parts.finish()
}

/// `SHA-256(head ‖ task_hash)`: what the distance of a job to a peer is measured from.
pub fn ownership_key(head: &Hash32, task_hash: &JobId) -> Hash32 {
    Parts::new("").fixed(head).fixed(task_hash.as_bytes()).finish()
}

/// `SHA-256("wfengine/duty/v1" ‖ kind ‖ id)`: the ownership key of a duty that no submission stands for.
pub fn duty_key(kind: &str, id: &str) -> Hash32 {
    Parts::new("wfengine/duty/v1").variable(kind.as_bytes()).variable(id.as_bytes()).finish()
}

/// A peer's `index`-th point: `SHA-256(text of the peer id)` for 0, `SHA-256(text ‖ "#" ‖ index as u64 LE)` after it.
pub fn peer_point(peer: &PeerId, index: u16) -> Hash32 {
    let text = peer.to_string();
    match index {
        0 => sha256(text.as_bytes()),
        _ => Parts::new("").fixed(text.as_bytes()).fixed(b"#").integer(u64::from(index)).finish(),
    }
}

/// `SHA-256(key ‖ text of the peer id)`: decides between peers at equal distance, anew for every job.
pub fn tie_break(key: &Hash32, peer: &PeerId) -> Hash32 {
    tie_break_text(key, &peer.to_string())
}

/// [`tie_break`] for a peer id whose text is at hand.
pub fn tie_break_text(key: &Hash32, peer_text: &str) -> Hash32 {
    Parts::new("").fixed(key).fixed(peer_text.as_bytes()).finish()
}

/// Number of bits in which two hashes differ, 0 to 256.
///
/// ```
/// use wfengine_storage_format::{hamming_distance, sha256};
/// assert_eq!(hamming_distance(&sha256(b"alice"), &sha256(b"bob")), 120);
/// ```
pub fn hamming_distance(a: &Hash32, b: &Hash32) -> u32 {
    let mut bits = 0;
    for (x, y) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        bits += (u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y)).count_ones();
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    #[test]
    fn the_published_vectors_hold() {
        assert_eq!(
            HEXLOWER.encode(&sha256(b"peer-1")),
            "37effc81d805811d59f99c1376b393b25529b7482c39ad866c49791b62dc44bb"
        );
        assert_eq!(hamming_distance(&sha256(b"peer-1"), &sha256(b"peer-2")), 130);
        assert_eq!(hamming_distance(&sha256(b"peer-1"), &sha256(b"peer-3")), 123);
        assert_eq!(hamming_distance(&sha256(b"alice"), &sha256(b"bob")), 120);
    }

    #[test]
    fn hashes_of_runs_and_jobs_are_pinned() {
        let run = run_id(b"id:task1", 1);
        let by_hand = sha256(
            &[b"wfengine/run/v1".as_slice(), &8u32.to_le_bytes(), b"id:task1", &1u64.to_le_bytes()].concat(),
        );
        assert_eq!(run.as_bytes(), &by_hand);
        let matrix = BTreeMap::from([("os".to_owned(), "\"linux\"".to_owned())]);
        let canonical = b"\x01\x02os\x07\"linux\"";
        assert_eq!(canonical_matrix(&matrix), canonical);
        let by_hand = sha256(
            &[
                b"wfengine/job/v1".as_slice(),
                run.as_bytes(),
                &5u32.to_le_bytes(),
                b"build",
                &12u32.to_le_bytes(),
                canonical,
            ]
            .concat(),
        );
        assert_eq!(job_id(&run, "build", &matrix).as_bytes(), &by_hand);
    }

    #[test]
    fn a_clock_head_does_not_depend_on_the_order_of_its_events() {
        let (a, b) = (EventId::from_bytes([1; 32]), EventId::from_bytes([2; 32]));
        assert_eq!(clock_head([a, b]), clock_head([b, a, b]));
        assert_ne!(clock_head([a]), clock_head([b]));
        let by_hand = sha256(&[b"wfengine/head/v1".as_slice(), &1u32.to_le_bytes(), &[1; 32]].concat());
        assert_eq!(clock_head([a]), by_hand);
    }
}
