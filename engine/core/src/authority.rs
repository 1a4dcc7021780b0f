//! Authority: who belongs to the cluster, what they may say, and up to where their chains count.
//!
//! One small fold over the authority kinds alone. Each of those events names (refs) the authority heads its author knew, so
//! the closure under any set of heads can be computed: that is the roster an event speaks of. The fold depends only on the
//! set of events, never on the order of their arrival:
//!
//! 1. fork proofs: nodes hold different branches of a forked chain, so what lies above its cut is nowhere looked at again;
//! 2. the rest in canonical order, no revocation looked at: who was ever admitted, and how early (seniority);
//! 3. revocations and rotations by seniority of their author, each unless those before it cut its author off or took away the
//!    admission it speaks by: the cuts;
//! 4. all events below the cuts in canonical order: the members.
//!
//! Invariants: the founder is a member unless revoked, and no cut reaches the founding itself; an invite admits at most one peer;
//! of two concurrent revocations of each other that of the earlier admitted admin holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use wfengine_storage_format::limits::MEMBERS_MAX;
use wfengine_storage_format::{
    Body, ChainCut, ChainId, ClusterId, EventId, Grant, PeerId, Role, Roles, fork_between, rotation_statement,
};

use crate::admitted::Admitted;
use crate::ownership::Points;

/// A member as the authority fold sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// What it called itself when it was admitted.
    pub name: String,
    /// What it may do.
    pub roles: Roles,
    /// Its labels.
    pub labels: BTreeSet<String>,
    /// Labels of its system: operating system and architecture.
    pub system: BTreeSet<String>,
    /// Its points in the ownership rule.
    pub weight: u16,
    /// The event that admitted it.
    pub admitted_by: EventId,
    /// 0 for the founder, then in the order of admission.
    pub seniority: u32,
}

/// Members and cuts under one set of authority heads.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Roster {
    members: BTreeMap<PeerId, Member>,
    former: BTreeMap<PeerId, Member>,
    ever: BTreeSet<PeerId>,
    points: Vec<Points>,
    cuts: BTreeMap<PeerId, BTreeMap<ChainId, u64>>,
    fork_cuts: BTreeMap<ChainId, u64>,
    used_invites: BTreeMap<EventId, PeerId>,
    void: BTreeSet<EventId>,
}

impl Roster {
    /// The members of today, by key.
    pub fn members(&self) -> &BTreeMap<PeerId, Member> {
        &self.members
    }
    /// One member.
    pub fn member(&self, peer: &PeerId) -> Option<&Member> {
        self.members.get(peer)
    }
    /// Whether a peer belonged to the cluster once and was revoked or rotated its key. Such a key is never admitted again.
    pub fn is_former(&self, peer: &PeerId) -> bool {
        self.former.contains_key(peer)
    }
    /// Whether any member ever let this peer in: its frames are admitted, membership and cuts decide what counts.
    pub fn was_ever_member(&self, peer: &PeerId) -> bool {
        self.ever.contains(peer)
    }
    /// Whether a peer may do something today.
    pub fn may(&self, peer: &PeerId, role: Role) -> bool {
        self.members.get(peer).is_some_and(|member| member.roles.has(role))
    }
    /// Whether a peer may or might do something: what a revoked member wrote below its cut keeps the right it had.
    pub fn might(&self, peer: &PeerId, role: Role) -> bool {
        self.members.get(peer).or_else(|| self.former.get(peer)).is_some_and(|member| member.roles.has(role))
    }
    /// What a peer may or might do; `None` if nobody with the right to do so admitted it.
    pub fn standing(&self, peer: &PeerId) -> Option<Roles> {
        self.members.get(peer).or_else(|| self.former.get(peer)).map(|member| member.roles)
    }
    /// The members with their points in the ownership rule, by key.
    pub fn points(&self) -> &[Points] {
        &self.points
    }
    /// Whether an event at this place counts.
    pub fn counts(&self, chain: &ChainId, seq: u64) -> bool {
        if self.is_forked(chain, seq) {
            return false;
        }
        match self.cuts.get(&chain.author) {
            None => true,
            Some(cuts) => cuts.get(chain).is_some_and(|length| seq < *length),
        }
    }
    /// Whether an event at this place lies in the doubtful part of a forked chain: other nodes may hold another one there.
    pub fn is_forked(&self, chain: &ChainId, seq: u64) -> bool {
        self.fork_cuts.get(chain).is_some_and(|cut| seq >= *cut)
    }
    /// The peer an invite was used for.
    pub fn invite_used_by(&self, invite: &EventId) -> Option<PeerId> {
        self.used_invites.get(invite).copied()
    }
    /// Authority events that say nothing after those before them.
    pub fn void(&self) -> &BTreeSet<EventId> {
        &self.void
    }
    /// Chains with a proved fork and the first place that is in doubt.
    pub fn forked_chains(&self) -> &BTreeMap<ChainId, u64> {
        &self.fork_cuts
    }
}

/// The authority events of a cluster and everything computed from them.
#[derive(Debug)]
pub struct Authority {
    cluster: ClusterId,
    events: BTreeMap<EventId, Arc<Admitted>>,
    heads: BTreeSet<EventId>,
    current: Arc<Roster>,
    memo: Mutex<Memo>,
}

/// Results of pure computations that are asked for again and again.
#[derive(Debug, Default)]
struct Memo {
    /// Rosters under sets of heads; valid until the fork cuts change.
    closures: BTreeMap<Vec<EventId>, Arc<Roster>>,
    genuine: Genuine,
}

/// Whether the signatures inside an authority event's body are right.
type Genuine = BTreeMap<EventId, bool>;

/// Rosters kept at hand; beyond that they are computed again.
const CLOSURES_LEN_MAX: usize = 256;

impl Clone for Authority {
    fn clone(&self) -> Self {
        Self {
            cluster: self.cluster,
            events: self.events.clone(),
            heads: self.heads.clone(),
            current: Arc::clone(&self.current),
            memo: Mutex::default(),
        }
    }
}

impl Authority {
    /// The authority of a cluster before its founding event.
    pub fn new(cluster: ClusterId) -> Self {
        Self {
            cluster,
            events: BTreeMap::new(),
            heads: BTreeSet::new(),
            current: Arc::default(),
            memo: Mutex::default(),
        }
    }

    /// Takes an authority event in. Returns the authors whose cuts or rights changed: entities their chains touched fold anew.
    pub fn apply(&mut self, event: &Arc<Admitted>) -> BTreeSet<PeerId> {
        if self.events.insert(event.id, Arc::clone(event)).is_some() {
            return BTreeSet::new();
        }
        let before = Arc::clone(&self.current);
        let memo = match self.memo.get_mut() {
            Ok(memo) => memo,
            Err(poisoned) => poisoned.into_inner(),
        };
        self.current = Arc::new(fold(self.cluster, self.events.values(), &mut memo.genuine));
        let mut changed = changed_authors(&before, &self.current);
        if before.fork_cuts == self.current.fork_cuts {
            if !self.current.is_forked(&event.chain, event.seq) {
                for named in &event.refs {
                    self.heads.remove(named);
                }
                self.heads.insert(event.id);
            }
            return changed;
        }
        memo.closures.clear();
        self.heads = self.heads_below_forks();
        // closures that held a forked authority event are others than before: every claim may be ranked anew
        if self.events.values().any(|event| self.current.is_forked(&event.chain, event.seq)) {
            changed.extend(&self.current.ever);
        }
        changed
    }

    fn heads_below_forks(&self) -> BTreeSet<EventId> {
        let standing =
            || self.events.values().filter(|event| !self.current.is_forked(&event.chain, event.seq));
        let named: BTreeSet<EventId> = standing().flat_map(|event| event.refs.iter().copied()).collect();
        standing().map(|event| event.id).filter(|id| !named.contains(id)).collect()
    }

    /// The roster under everything known.
    pub fn roster(&self) -> &Arc<Roster> {
        &self.current
    }
    /// Authority events nobody names yet.
    pub fn heads(&self) -> &BTreeSet<EventId> {
        &self.heads
    }
    /// Whose authority this is.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }
    /// All authority events.
    pub fn events(&self) -> &BTreeMap<EventId, Arc<Admitted>> {
        &self.events
    }

    /// Authority heads for the refs of a new event: at most `room`, greatest heights first.
    pub fn heads_for_refs(&self, room: usize) -> Vec<EventId> {
        let mut heads: Vec<(u64, EventId)> = self
            .heads
            .iter()
            .filter_map(|id| self.events.get(id))
            .map(|event| (u64::MAX - event.height, event.id))
            .collect();
        heads.sort_unstable();
        heads.into_iter().take(room).map(|(_, id)| id).collect()
    }

    /// The roster under the authority events among `refs` and everything they name: what an event's author knew.
    pub fn closure_under(&self, refs: &[EventId]) -> Arc<Roster> {
        let mut named: Vec<EventId> =
            refs.iter().filter(|id| self.undoubted(id).is_some()).copied().collect();
        named.sort_unstable();
        named.dedup();
        if named.len() == self.heads.len() && named.iter().all(|id| self.heads.contains(id)) {
            return Arc::clone(&self.current);
        }
        let mut memo = match self.memo.lock() {
            Ok(memo) => memo,
            Err(poisoned) => poisoned.into_inner(),
        };
        if let Some(roster) = memo.closures.get(&named) {
            return Arc::clone(roster);
        }
        let ancestry = self.ancestry(&named);
        let roster = Arc::new(fold(self.cluster, ancestry.into_iter(), &mut memo.genuine));
        if memo.closures.len() >= CLOSURES_LEN_MAX {
            memo.closures.clear();
        }
        memo.closures.insert(named, Arc::clone(&roster));
        roster
    }

    /// An authority event that every node may come to hold: not in the doubtful part of a forked chain.
    fn undoubted(&self, id: &EventId) -> Option<&Arc<Admitted>> {
        self.events.get(id).filter(|event| !self.current.is_forked(&event.chain, event.seq))
    }

    fn ancestry(&self, heads: &[EventId]) -> Vec<&Arc<Admitted>> {
        let mut reached: BTreeSet<EventId> = BTreeSet::new();
        let mut open: Vec<EventId> = heads.to_vec();
        while let Some(id) = open.pop() {
            if let Some(event) = self.undoubted(&id)
                && reached.insert(id)
            {
                open.extend(event.refs.iter().copied());
            }
        }
        reached.iter().filter_map(|id| self.events.get(id)).collect()
    }
}

fn changed_authors(before: &Roster, after: &Roster) -> BTreeSet<PeerId> {
    let mut changed = BTreeSet::new();
    for author in before.cuts.keys().chain(after.cuts.keys()) {
        if before.cuts.get(author) != after.cuts.get(author) {
            changed.insert(*author);
        }
    }
    for chain in before.fork_cuts.keys().chain(after.fork_cuts.keys()) {
        if before.fork_cuts.get(chain) != after.fork_cuts.get(chain) {
            changed.insert(chain.author);
        }
    }
    let peers =
        |roster: &Roster| roster.members.keys().chain(roster.former.keys()).copied().collect::<Vec<_>>();
    for peer in peers(before).into_iter().chain(peers(after)) {
        if before.standing(&peer) != after.standing(&peer) {
            changed.insert(peer);
        }
    }
    changed
}

fn fold<'a>(
    cluster: ClusterId,
    events: impl Iterator<Item = &'a Arc<Admitted>>,
    genuine: &mut Genuine,
) -> Roster {
    let mut every: Vec<&Arc<Admitted>> = events.collect();
    every.sort_unstable_by_key(|event| event.order());
    let forks = Roster { fork_cuts: fork_cuts_of(cluster, &every, genuine), ..Roster::default() };
    let ordered: Vec<&Arc<Admitted>> =
        every.iter().copied().filter(|event| !forks.is_forked(&event.chain, event.seq)).collect();
    let cuts = cuts_of(cluster, &ordered, forks, genuine);
    let mut roster = members_of(cluster, &ordered, &cuts, genuine);
    let cut_off: Vec<PeerId> = roster.cuts.keys().copied().collect();
    for peer in cut_off {
        if let Some(member) = roster.members.remove(&peer) {
            roster.former.insert(peer, member);
        }
    }
    // grows only: an event that was admitted once must be admissible on every node, whoever's invite turns out to be used up
    roster.ever = every
        .iter()
        .filter_map(|event| match &event.body {
            Body::ClusterFounded(_) => Some(event.author()),
            Body::PeerAdmitted(body) => Some(body.peer),
            Body::KeyRotated(body) => Some(body.to),
            _ => None,
        })
        .collect();
    roster.points = roster.members.iter().map(|(peer, member)| Points::of(*peer, member)).collect();
    roster
}

/// Pass 1: the least place in doubt of every chain with a proved fork.
fn fork_cuts_of(
    cluster: ClusterId,
    ordered: &[&Arc<Admitted>],
    genuine: &mut Genuine,
) -> BTreeMap<ChainId, u64> {
    let mut fork_cuts: BTreeMap<ChainId, u64> = BTreeMap::new();
    for event in ordered {
        let Body::ForkProved(proof) = &event.body else { continue };
        let Some(seq) = fork_between(&proof.first, &proof.second) else { continue };
        let is_genuine = genuine.entry(event.id).or_insert_with(|| {
            proof.first.header.cluster == cluster
                && proof.first.verify().is_ok()
                && proof.second.verify().is_ok()
        });
        if *is_genuine {
            let cut = fork_cuts.entry(proof.first.header.chain).or_insert(seq);
            *cut = seq.min(*cut);
        }
    }
    fork_cuts
}

/// Passes 2 and 3: what the revocations and rotations leave of whom.
fn cuts_of(
    cluster: ClusterId,
    ordered: &[&Arc<Admitted>],
    mut cuts: Roster,
    genuine: &mut Genuine,
) -> Roster {
    let everybody = members_of(cluster, ordered, &cuts, genuine);
    let seniority = |peer: &PeerId| everybody.members.get(peer).map_or(u32::MAX, |member| member.seniority);
    let mut ends: Vec<&Arc<Admitted>> = ordered
        .iter()
        .copied()
        .filter(|event| matches!(event.body, Body::PeerRevoked(_) | Body::KeyRotated(_)))
        .collect();
    ends.sort_unstable_by_key(|event| (seniority(&event.chain.author), event.order()));
    // an admin let in by a member above its cut must not speak for it
    let mut standing = everybody.clone();
    for event in ends {
        let author = event.chain.author;
        if !cuts.counts(&event.chain, event.seq) {
            continue;
        }
        let (peer, listed) = match &event.body {
            Body::PeerRevoked(body) if body.peer == author || standing.may(&author, Role::Admin) => {
                (body.peer, &body.cuts)
            }
            Body::KeyRotated(body) if rotation_is_signed(cluster, event.id, &author, body, genuine) => {
                (author, &body.cuts)
            }
            _ => continue,
        };
        let mut kept: BTreeMap<ChainId, u64> = listed
            .iter()
            .map(|ChainCut { incarnation, length }| {
                (ChainId { author: peer, incarnation: *incarnation }, *length)
            })
            .collect();
        if peer == author {
            kept.insert(event.chain, event.seq + 1);
        }
        // several revocations of one peer: each chain counts as far as the least of them says
        match cuts.cuts.get_mut(&peer) {
            None => {
                cuts.cuts.insert(peer, kept);
            }
            Some(before) => {
                before.retain(|chain, _| kept.contains_key(chain));
                for (chain, length) in before {
                    *length = kept.get(chain).map_or(0, |other| (*length).min(*other));
                }
            }
        }
        standing = members_of(cluster, ordered, &cuts, genuine);
    }
    cuts
}

fn rotation_is_signed(
    cluster: ClusterId,
    event: EventId,
    old: &PeerId,
    body: &wfengine_storage_format::KeyRotated,
    genuine: &mut Genuine,
) -> bool {
    let verify = || body.signature.verify(&body.to, &rotation_statement(&cluster, old, &body.to)).is_ok();
    *genuine.entry(event).or_insert_with(verify)
}

/// Passes 2 and 4: the members, given what counts.
fn members_of(
    cluster: ClusterId,
    ordered: &[&Arc<Admitted>],
    cuts: &Roster,
    genuine: &mut Genuine,
) -> Roster {
    let mut roster =
        Roster { cuts: cuts.cuts.clone(), fork_cuts: cuts.fork_cuts.clone(), ..Roster::default() };
    let mut invites: BTreeMap<EventId, &wfengine_storage_format::PeerInvited> = BTreeMap::new();
    let mut seniority = 0;
    for event in ordered {
        let author = event.chain.author;
        let speaks = match &event.body {
            Body::ClusterFounded(_) => ClusterId::from(event.id) == cluster,
            _ => roster.counts(&event.chain, event.seq) && roster.members.contains_key(&author),
        };
        let is_admin = roster.may(&author, Role::Admin);
        let now_seniority = seniority;
        let mut admit = |roster: &mut Roster, peer: PeerId, member: Member| {
            let free = roster.members.len() < MEMBERS_MAX && !roster.members.contains_key(&peer);
            if free {
                seniority += 1;
                roster.members.insert(peer, member);
            }
            free
        };
        let said = speaks
            && match &event.body {
                Body::ClusterFounded(body) => {
                    let founder = Member {
                        name: body.name.clone(),
                        roles: Roles::ALL,
                        labels: BTreeSet::new(),
                        system: body.system.iter().cloned().collect(),
                        weight: 1,
                        admitted_by: event.id,
                        seniority: 0,
                    };
                    admit(&mut roster, author, founder)
                }
                Body::PeerInvited(body) => {
                    let covered =
                        roster.member(&author).is_some_and(|inviter| inviter.roles.covers(body.roles));
                    if is_admin && covered {
                        invites.insert(event.id, body);
                    }
                    is_admin && covered
                }
                Body::PeerAdmitted(body) => {
                    let right = match &body.grant {
                        Grant::Direct { roles, labels } => is_admin.then(|| (*roles, labels.clone())),
                        Grant::Invite { invite, signature } => invites
                            .get(invite)
                            .filter(|_| !roster.used_invites.contains_key(invite))
                            .filter(|asked| {
                                *genuine.entry(event.id).or_insert_with(|| {
                                    asked.invite_key.verify(&cluster, &body.peer, signature).is_ok()
                                })
                            })
                            .map(|asked| (asked.roles, asked.labels.clone())),
                    };
                    match right {
                        None => false,
                        Some((roles, labels)) => {
                            let member = Member {
                                name: body.name.clone(),
                                roles,
                                labels: labels.into_iter().collect(),
                                system: body.system.iter().cloned().collect(),
                                weight: 1,
                                admitted_by: event.id,
                                seniority: now_seniority,
                            };
                            let admitted = admit(&mut roster, body.peer, member);
                            if let (true, Grant::Invite { invite, .. }) = (admitted, &body.grant) {
                                roster.used_invites.insert(*invite, body.peer);
                            }
                            admitted
                        }
                    }
                }
                Body::PeerLabelled(body) => match roster.members.get_mut(&body.peer) {
                    Some(member) if is_admin => {
                        member.labels = body.labels.iter().cloned().collect();
                        member.weight = body.weight;
                        true
                    }
                    _ => false,
                },
                Body::KeyRotated(body) => {
                    let old = roster.members.get(&author).cloned();
                    match old.filter(|_| rotation_is_signed(cluster, event.id, &author, body, genuine)) {
                        None => false,
                        Some(old) => admit(&mut roster, body.to, old),
                    }
                }
                Body::PeerRevoked(body) => body.peer == author || is_admin,
                Body::ForkProved(_) => true,
                _ => false,
            };
        if !said {
            roster.void.insert(event.id);
        }
    }
    roster
}
