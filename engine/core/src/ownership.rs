//! Ownership: rank, claim, epoch, token. Who runs a job, computed alike on every node that knows the submission.
//!
//! The key of a job is `SHA-256(head(S) ‖ task_hash)`, where `head(S)` is the merkle clock head that the submission itself names;
//! peers are ranked by the hamming distance of the key to their points, ties by a hash that is new for every key. Nothing here
//! knows who is alive: waiting for better ranks and taking over is the scheduler's business.

use std::cmp::Reverse;

use wfengine_storage_format::{
    EventId, Hash32, PeerId, Role, hamming_distance, peer_point, tie_break, tie_break_text,
};

use crate::authority::{Member, Roster};

/// A member's points in the ownership rule, computed once per roster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Points {
    /// Whose.
    pub peer: PeerId,
    text: String,
    points: Vec<Hash32>,
    may_execute: bool,
}

impl Points {
    /// The points of a member: one for each unit of weight.
    pub fn of(peer: PeerId, member: &Member) -> Self {
        let points = (0..member.weight.max(1)).map(|index| peer_point(&peer, index)).collect();
        Self { peer, text: peer.to_string(), points, may_execute: member.roles.has(Role::Executor) }
    }

    /// Decides between this peer and others at the same distance.
    fn tie(&self, key: &Hash32) -> Hash32 {
        tie_break_text(key, &self.text)
    }

    /// Distance of the nearest point to a key, in bits.
    pub fn distance(&self, key: &Hash32) -> u32 {
        self.points.iter().map(|point| hamming_distance(key, point)).min().unwrap_or(256)
    }
}

/// A peer's place in the ranking of one job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ranked {
    /// Who.
    pub peer: PeerId,
    /// Bits between the job's key and the peer's nearest point.
    pub distance: u32,
}

/// The peer nearest to `key` among `peers` with weight 1: the rule itself, for any program that wants to ask it.
///
/// `None` only when there are no peers. Equal distances are decided by `SHA-256(key ‖ peer id text)`, the least wins.
///
/// ```
/// use wfengine_core::ownership::nearest;
/// use wfengine_storage_format::{PeerId, sha256};
/// let peers = [PeerId::from_bytes([1; 32]), PeerId::from_bytes([2; 32])];
/// let (owner, distance) = nearest(&sha256(b"a key"), &peers).unwrap();
/// assert!(peers.contains(&owner) && distance <= 256);
/// ```
pub fn nearest(key: &Hash32, peers: &[PeerId]) -> Option<(PeerId, u32)> {
    peers
        .iter()
        .map(|peer| (hamming_distance(key, &peer_point(peer, 0)), tie_break(key, peer), *peer))
        .min()
        .map(|(distance, _, peer)| (peer, distance))
}

/// The owner of a key among the executors of a roster whose labels fit: rank 0, without sorting the others.
pub fn owner(key: &Hash32, roster: &Roster, runs_on: &[String]) -> Option<Ranked> {
    let mut best: Option<(u32, Option<Hash32>, PeerId)> = None;
    for points in roster.points().iter().filter(|points| eligible(points, roster, runs_on)) {
        let distance = points.distance(key);
        match &mut best {
            Some((least, _, _)) if distance > *least => {}
            Some((least, tie, peer)) if distance == *least => {
                let held = *tie.get_or_insert_with(|| tie_break(key, peer));
                let other = tie_break(key, &points.peer);
                if other < held {
                    (*tie, *peer) = (Some(other), points.peer);
                }
            }
            _ => best = Some((distance, None, points.peer)),
        }
    }
    best.map(|(distance, _, peer)| Ranked { peer, distance })
}

/// All executors of a roster whose labels fit, nearest first.
pub fn ranking(key: &Hash32, roster: &Roster, runs_on: &[String]) -> Vec<Ranked> {
    let mut ranked: Vec<(u32, Hash32, PeerId)> = roster
        .points()
        .iter()
        .filter(|points| eligible(points, roster, runs_on))
        .map(|points| (points.distance(key), points.tie(key), points.peer))
        .collect();
    ranked.sort_unstable();
    ranked.into_iter().map(|(distance, _, peer)| Ranked { peer, distance }).collect()
}

/// A peer's place in [`ranking`] among those that `takes_part` names, and its distance, without sorting the others. Hashes for ties
/// are computed only where there is one: a fold asks this for every claim.
pub fn place_in_ranking(
    key: &Hash32,
    roster: &Roster,
    runs_on: &[String],
    peer: &PeerId,
    takes_part: impl Fn(&PeerId) -> bool,
) -> Option<(u32, Ranked)> {
    let among = || {
        roster.points().iter().filter(|points| takes_part(&points.peer) && eligible(points, roster, runs_on))
    };
    let distance = among().find(|points| points.peer == *peer)?.distance(key);
    let mut tie = None;
    let better = among().filter(|points| {
        let other = points.distance(key);
        let own_tie = |tie: &mut Option<Hash32>| *tie.get_or_insert_with(|| tie_break(key, peer));
        points.peer != *peer
            && (other < distance
                || (other == distance
                    && (tie_break(key, &points.peer), points.peer) < (own_tie(&mut tie), *peer)))
    });
    Some((u32::try_from(better.count()).unwrap_or(u32::MAX), Ranked { peer: *peer, distance }))
}

fn eligible(points: &Points, roster: &Roster, runs_on: &[String]) -> bool {
    points.may_execute
        && (runs_on.is_empty()
            || roster.member(&points.peer).is_some_and(|member| labels_fit(member, runs_on)))
}

/// Whether a member can serve every label of `runs-on`, without regard to case.
pub fn labels_fit(member: &Member, runs_on: &[String]) -> bool {
    runs_on.iter().all(|wanted| label_fits(member, &wanted.to_ascii_lowercase()))
}

fn label_fits(member: &Member, wanted: &str) -> bool {
    let has_system = |name: &str| member.system.contains(name);
    let granted = member.labels.iter().any(|label| label.eq_ignore_ascii_case(wanted));
    let hosted = |prefix: &str| {
        wanted.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    granted
        || wanted == "self-hosted"
        || has_system(wanted)
        || (hosted("ubuntu") && has_system("linux"))
        || (hosted("windows") && has_system("windows"))
        || (hosted("macos") && has_system("macos"))
}

/// The fencing order of claims on one job: the greater wins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Token {
    epoch: u32,
    names_canonical_submission: bool,
    band: Reverse<u8>,
    rank: Reverse<u32>,
    claim: EventId,
}

impl Token {
    /// The token of a claim.
    pub fn new(epoch: u32, names_canonical_submission: bool, band: u8, rank: u32, claim: EventId) -> Self {
        Self { epoch, names_canonical_submission, band: Reverse(band), rank: Reverse(rank), claim }
    }
    /// How often the job was claimed anew, from 1.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }
    /// The claim it belongs to.
    pub fn claim(&self) -> EventId {
        self.claim
    }
    /// A text a step can compare with an earlier one: epoch and claim.
    pub fn text(&self) -> String {
        format!("{}-{}", self.epoch, self.claim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use wfengine_storage_format::{Roles, sha256};

    fn member(labels: &[&str]) -> Member {
        Member {
            name: "a".into(),
            roles: Roles::MEMBER,
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            system: BTreeSet::from(["linux".to_owned(), "x64".to_owned()]),
            weight: 1,
            admitted_by: EventId::from_bytes([0; 32]),
            seniority: 0,
        }
    }

    #[test]
    fn a_hosted_label_means_a_host_of_that_system() {
        let wanted = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect::<Vec<_>>();
        assert!(labels_fit(&member(&[]), &wanted(&["ubuntu-latest"])));
        assert!(labels_fit(&member(&[]), &wanted(&["self-hosted", "Linux", "X64"])));
        assert!(!labels_fit(&member(&[]), &wanted(&["windows-2022"])));
        assert!(!labels_fit(&member(&[]), &wanted(&["gpu"])));
        assert!(labels_fit(&member(&["GPU"]), &wanted(&["gpu", "linux"])));
        assert!(!labels_fit(&member(&[]), &wanted(&["ubuntux"])));
    }

    #[test]
    fn a_later_epoch_beats_and_inside_one_the_better_rank() {
        let id = |n| EventId::from_bytes([n; 32]);
        let token = Token::new;
        assert!(token(2, false, 1, 9, id(0)) > token(1, true, 0, 0, id(9)));
        assert!(token(1, true, 0, 1, id(0)) > token(1, false, 0, 0, id(9)));
        assert!(token(1, true, 0, 5, id(0)) > token(1, true, 1, 0, id(9)));
        assert!(token(1, true, 0, 0, id(0)) > token(1, true, 0, 1, id(9)));
        assert!(token(1, true, 0, 0, id(2)) > token(1, true, 0, 0, id(1)));
    }

    #[test]
    fn ties_do_not_favour_the_first_in_the_list() {
        let peers: Vec<PeerId> = (0..3).map(|n| PeerId::from_bytes([n; 32])).collect();
        let mut counts = [0u32; 3];
        for n in 0..30_000u32 {
            let (owner, _) = nearest(&sha256(&n.to_le_bytes()), &peers).unwrap();
            counts[usize::from(owner.as_bytes()[0])] += 1;
        }
        assert!(counts.iter().all(|count| (8_500..11_500).contains(count)), "{counts:?}");
    }
}
