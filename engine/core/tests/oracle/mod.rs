//! What the views must be, computed a second time: slowly, from the frames' events alone, by reading the rules and not the code.
//!
//! Shares with the engine the storage format and nothing else. It looks at all events at once for every question it asks, and
//! keeps no state. It speaks of members and cuts, the effective claim and canonical result of a job, and the status of a run.

#![allow(unreachable_pub, reason = "a module of tests")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "functions of tests fail by panicking")]

mod outside;
mod runners;

use std::collections::{BTreeMap, BTreeSet};

use super::building::Node;
use wfengine_storage_format::*;

struct Fact {
    id: EventId,
    event: Event,
    body: Body,
}

type Cuts = BTreeMap<PeerId, BTreeMap<Incarnation, u64>>;
type Members = BTreeMap<PeerId, (Roles, BTreeSet<String>, u16, usize)>;

struct Oracle {
    cluster: ClusterId,
    facts: Vec<Fact>,
    cuts: Cuts,
    /// Everybody who was admitted by somebody with the right to, also those who were cut off since.
    members: Members,
}

/// Compares a node that received all frames with the oracle.
pub fn compare(cluster: ClusterId, frames: &[VerifiedFrame], node: &Node) {
    let oracle = Oracle::of(cluster, frames);
    let roster = node.views.authority().roster();
    let expected: Members =
        oracle.members.clone().into_iter().filter(|(peer, _)| !oracle.cuts.contains_key(peer)).collect();
    assert_eq!(expected.keys().collect::<Vec<_>>(), roster.members().keys().collect::<Vec<_>>(), "members");
    for (peer, (roles, labels, weight, _)) in &expected {
        let member = roster.member(peer).unwrap();
        assert_eq!((roles, labels, weight), (&member.roles, &member.labels, &member.weight), "{peer}");
    }
    for fact in &oracle.facts {
        assert_eq!(oracle.counts(fact), roster.counts(&fact.event.chain, fact.event.seq), "{:?}", fact.id);
    }
    oracle.compare_runners(node.views.runners());
    let runs: BTreeSet<RunId> = oracle.facts.iter().filter_map(|fact| fact.body.run()).collect();
    for run in runs {
        let Some(shown) = node.views.runs().live(&run) else { panic!("run {run} is missing") };
        let (canonical, status, jobs) = oracle.run(&run);
        assert_eq!(canonical, shown.canonical, "canonical submission of {run}");
        let (trigger, agreeing) = oracle.cause(&run);
        assert_eq!(trigger.as_ref(), shown.trigger.as_deref(), "trigger of {run}");
        let found = shown.submissions.iter().filter(|submission| submission.agrees);
        assert_eq!(agreeing, found.map(|submission| submission.id).collect(), "who asks for {run}");
        let found: BTreeMap<JobId, Verdict> = shown
            .jobs
            .values()
            .map(|job| {
                (job.id, (job.effective, job.result.as_ref().map(|result| result.id), job.status.name()))
            })
            .collect();
        assert_eq!(jobs, found, "jobs of run {run}: {shown:#?}");
        assert_eq!(status, shown.status.name(), "run {run}: {shown:#?}");
    }
}

type Verdict = (Option<EventId>, Option<EventId>, &'static str);

impl Oracle {
    fn of(cluster: ClusterId, frames: &[VerifiedFrame]) -> Self {
        let mut facts: Vec<Fact> = frames
            .iter()
            .flat_map(|frame| frame.events())
            .map(|(id, event)| Fact {
                id: *id,
                event: event.clone(),
                body: Body::decode(event.kind, &event.body),
            })
            .collect();
        // of a forked chain nothing exists from the least doubtful place on
        let proofs: Vec<(ChainId, u64)> = facts
            .iter()
            .filter_map(|fact| match &fact.body {
                Body::ForkProved(proof) => {
                    let ForkProved { first, second } = &**proof;
                    let genuine = first.verify().is_ok() && second.verify().is_ok();
                    let least = first.header.first_seq.min(second.header.first_seq);
                    (genuine && first != second).then_some((first.header.chain, least))
                }
                _ => None,
            })
            .collect();
        facts.retain(|fact| {
            !proofs.iter().any(|(chain, least)| fact.event.chain == *chain && fact.event.seq >= *least)
        });
        facts.sort_by_key(|fact| (fact.event.height, fact.event.chain, fact.event.seq));
        let mut oracle = Self { cluster, facts, cuts: Cuts::new(), members: Members::new() };
        oracle.cuts = oracle.all_cuts();
        oracle.members = oracle.members_under(&oracle.cuts, |_| true);
        oracle
    }

    fn is_within(cuts: &Cuts, event: &Event) -> bool {
        match cuts.get(&event.chain.author) {
            None => true,
            Some(cuts) => cuts.get(&event.chain.incarnation).is_some_and(|length| event.seq < *length),
        }
    }

    fn counts(&self, fact: &Fact) -> bool {
        Self::is_within(&self.cuts, &fact.event)
    }

    /// Revocations one after the other, those of whoever was admitted first before others.
    fn all_cuts(&self) -> Cuts {
        let everybody = self.members_under(&Cuts::new(), |_| true);
        let age =
            |fact: &&Fact| everybody.get(&fact.event.chain.author).map_or(usize::MAX, |member| member.3);
        let mut ends: Vec<&Fact> = self
            .facts
            .iter()
            .filter(|fact| matches!(fact.body, Body::PeerRevoked(_) | Body::KeyRotated(_)))
            .collect();
        ends.sort_by_key(age); // stable: canonical order within one author's age
        let mut cuts = Cuts::new();
        for end in ends {
            let author = end.event.chain.author;
            if !Self::is_within(&cuts, &end.event) {
                continue;
            }
            let admins = self.members_under(&cuts, |_| true);
            let is_admin = admins.get(&author).is_some_and(|member| member.0.has(Role::Admin));
            let (whom, listed) = match &end.body {
                Body::PeerRevoked(body) if is_admin || body.peer == author => (body.peer, &body.cuts),
                Body::KeyRotated(body) if self.takes_over(author, body) => (author, &body.cuts),
                _ => continue,
            };
            let mut new: BTreeMap<Incarnation, u64> =
                listed.iter().map(|cut| (cut.incarnation, cut.length)).collect();
            if whom == author {
                new.insert(end.event.chain.incarnation, end.event.seq + 1);
            }
            let merged = match cuts.get(&whom) {
                None => new,
                Some(old) => old
                    .iter()
                    .filter_map(|(chain, length)| Some((*chain, *length.min(new.get(chain)?))))
                    .collect(),
            };
            cuts.insert(whom, merged);
        }
        cuts
    }

    fn takes_over(&self, old: PeerId, body: &KeyRotated) -> bool {
        body.signature.verify(&body.to, &rotation_statement(&self.cluster, &old, &body.to)).is_ok()
    }

    /// Who is admitted by the authority events that `is_known` names, with the order of admission.
    fn members_under(&self, cuts: &Cuts, is_known: impl Fn(&EventId) -> bool) -> Members {
        let mut members = Members::new();
        let mut invites: BTreeMap<EventId, Option<&PeerInvited>> = BTreeMap::new();
        let authority = self.facts.iter().filter(|fact| fact.event.kind.is_authority() && is_known(&fact.id));
        for fact in authority {
            let author = fact.event.chain.author;
            if *fact.id.as_bytes() == *self.cluster.as_bytes() {
                members.insert(author, (Roles::ALL, BTreeSet::new(), 1, 0));
                continue;
            }
            let Some((roles, labels, weight, _)) = members.get(&author).cloned() else { continue };
            if !Self::is_within(cuts, &fact.event) {
                continue;
            }
            let is_admin = roles.has(Role::Admin);
            let age = members.len();
            match &fact.body {
                Body::PeerInvited(invite) if is_admin && roles.covers(invite.roles) => {
                    invites.insert(fact.id, Some(invite));
                }
                Body::PeerAdmitted(body) if !members.contains_key(&body.peer) => {
                    let (roles, labels) = match &body.grant {
                        Grant::Direct { roles, labels } if is_admin => (*roles, labels),
                        Grant::Direct { .. } => continue,
                        Grant::Invite { invite, signature } => {
                            let Some(Some(asked)) = invites.get(invite) else { continue };
                            if asked.invite_key.verify(&self.cluster, &body.peer, signature).is_err() {
                                continue;
                            }
                            let asked = *asked;
                            invites.insert(*invite, None);
                            (asked.roles, &asked.labels)
                        }
                    };
                    members.insert(body.peer, (roles, labels.iter().cloned().collect(), 1, age));
                }
                Body::PeerLabelled(body) if is_admin => {
                    if let Some(member) = members.get_mut(&body.peer) {
                        (member.1, member.2) = (body.labels.iter().cloned().collect(), body.weight);
                    }
                }
                Body::KeyRotated(body) if self.takes_over(author, body) => {
                    let heir = (roles, labels, weight, age);
                    members.entry(body.to).or_insert(heir);
                }
                _ => {}
            }
        }
        members
    }

    /// Members under what the authority events among `refs` and everything they name say.
    fn closure(&self, refs: &[EventId]) -> Members {
        let fact = |id: &EventId| {
            let of_authority = |fact: &&Fact| {
                fact.id == *id && fact.event.kind.is_authority() && !matches!(fact.body, Body::Void(_))
            };
            self.facts.iter().find(of_authority)
        };
        let mut known: BTreeSet<EventId> = refs.iter().copied().filter(|id| fact(id).is_some()).collect();
        loop {
            let named = known.iter().filter_map(fact).flat_map(|fact| fact.event.refs.clone());
            let more: BTreeSet<EventId> = named.filter(|id| fact(id).is_some()).collect();
            let before = known.len();
            known.extend(more);
            if known.len() == before {
                break;
            }
        }
        // what was cut within this closure is not told here: a smaller oracle over the same events knows
        let facts = self.facts.iter().filter(|fact| known.contains(&fact.id));
        let facts = facts.map(|f| Fact { id: f.id, event: f.event.clone(), body: f.body.clone() }).collect();
        let mut within = Oracle { cluster: self.cluster, facts, cuts: Cuts::new(), members: Members::new() };
        within.cuts = within.all_cuts();
        let mut members = within.members_under(&within.cuts, |_| true);
        members.retain(|peer, _| !within.cuts.contains_key(peer));
        members
    }

    fn has(&self, peer: &PeerId, role: Role) -> bool {
        self.members.get(peer).is_some_and(|member| member.0.has(role))
    }

    /// Whether everything of a submission's closure and labels lets `peer` come at which place.
    fn rank(&self, submission: &Fact, job: &JobId, claim: &Fact) -> Option<(u8, usize)> {
        let author = claim.event.chain.author;
        let key = sha256(&[submission.event.clock_head().as_slice(), job.as_bytes()].concat());
        let order = |members: &Members| {
            let mut order: Vec<(u32, Hash32, PeerId)> = members
                .iter()
                .filter(|(_, member)| member.0.has(Role::Executor))
                .map(|(peer, member)| {
                    let point = |i| hamming_distance(&key, &peer_point(peer, i));
                    let text = peer.to_string();
                    let tie = sha256(&[key.as_slice(), text.as_bytes()].concat());
                    ((0..member.2).map(point).min().unwrap_or(256), tie, *peer)
                })
                .collect();
            order.sort();
            order.into_iter().map(|(_, _, peer)| peer).collect::<Vec<_>>()
        };
        let early = self.closure(&submission.event.refs);
        let (band, order) = if early.contains_key(&author) {
            (0, order(&early))
        } else {
            let mut late = order(&self.closure(&claim.event.refs));
            late.retain(|peer| !early.contains_key(peer));
            (1, late)
        };
        Some((band, order.iter().position(|peer| *peer == author)?))
    }

    fn run(&self, run: &RunId) -> (Option<EventId>, &'static str, BTreeMap<JobId, Verdict>) {
        let mine: Vec<&Fact> =
            self.facts.iter().filter(|fact| fact.body.run() == Some(*run) && self.counts(fact)).collect();
        let submissions: BTreeMap<EventId, &Fact> = mine
            .iter()
            .filter(|fact| {
                matches!(fact.body, Body::RunSubmitted(_))
                    && self.has(&fact.event.chain.author, Role::Submitter)
            })
            .map(|fact| (fact.id, *fact))
            .collect();
        let Some((canonical, Body::RunSubmitted(asked))) =
            submissions.iter().next().map(|(id, fact)| (*id, &fact.body))
        else {
            return (None, "pending", BTreeMap::new());
        };
        let names = |fact: &Fact, submission: &EventId| {
            fact.event.refs.contains(submission) && submissions.contains_key(submission)
        };
        let directs = |fact: &Fact| {
            let author = fact.event.chain.author;
            submissions.values().any(|submission| submission.event.chain.author == author)
                || self.has(&author, Role::Operator)
                || self.has(&author, Role::Admin)
        };
        let cancelled = mine.iter().any(
            |fact| matches!(&fact.body, Body::RunCancelled(b) if names(fact, &b.submission) && directs(fact)),
        );
        let expired = mine.iter().any(|fact| {
            let member = self.members.contains_key(&fact.event.chain.author);
            matches!(&fact.body, Body::RunExpired(b) if names(fact, &b.submission) && member)
        });
        let elsewhere = self.elsewhere(asked, &submissions, &mine);
        let (keys, mut plans) = match &asked.spec {
            RunSpec::Workflow(spec) => (spec.job_keys.clone(), BTreeMap::new()),
            RunSpec::Task { .. } => {
                let only = (job_id(run, "task", &BTreeMap::new()), false);
                (vec!["task".to_owned()], BTreeMap::from([("task".to_owned(), (false, false, vec![only]))]))
            }
        };
        for fact in &mine {
            let Body::JobsPlanned(body) = &fact.body else { continue };
            let author = fact.event.chain.author;
            let may = self.has(&author, Role::Executor) || self.has(&author, Role::Submitter);
            for part in body
                .jobs
                .iter()
                .filter(|part| may && names(fact, &body.submission) && keys.contains(&part.key))
            {
                let legs = part.legs.iter().map(|l| (job_id(run, &part.key, &l.matrix), l.continue_on_error));
                plans
                    .entry(part.key.clone())
                    .or_insert_with(|| (part.skipped.is_some(), part.fail_fast, legs.collect()));
            }
        }
        let mut jobs: BTreeMap<JobId, Verdict> = BTreeMap::new();
        for (skipped, fail_fast, legs) in plans.values() {
            for (job, _) in legs {
                let facts: Vec<&Fact> =
                    mine.iter().filter(|f| f.body.job() == Some((*run, *job))).copied().collect();
                jobs.insert(
                    *job,
                    self.job(&submissions, &facts, *job, [*skipped, cancelled, expired], elsewhere),
                );
            }
            let failed = legs.iter().any(|(job, tolerated)| !tolerated && jobs[job].2 == "failed");
            for (job, _) in legs.iter().filter(|_| failed && *fail_fast && legs.len() > 1) {
                let status = &mut jobs.get_mut(job).unwrap().2;
                if matches!(*status, "pending" | "assigned" | "in_progress") {
                    *status = "cancelled";
                }
            }
        }
        let unplanned = keys.iter().any(|key| !plans.contains_key(key));
        let is = |status: &str| jobs.values().any(|job| job.2 == status);
        let open = unplanned || is("pending") || is("assigned") || is("in_progress");
        let failed = plans.values().flat_map(|plan| &plan.2).any(|(job, ok)| !ok && jobs[job].2 == "failed");
        let ended = jobs.values().any(|job| !matches!(job.2, "pending" | "assigned" | "in_progress"));
        let touched =
            jobs.iter().any(|(_, verdict)| verdict.1.is_some()) || Self::anybody_holds(&mine, &jobs);
        let status = if cancelled && (unplanned || (!open && is("cancelled"))) {
            "cancelled"
        } else if let Some((true, ended)) = elsewhere.filter(|_| unplanned) {
            ended
        } else if let Some((false, goes_on)) = elsewhere.filter(|_| open && !touched) {
            goes_on
        } else if expired && (unplanned || is("expired")) {
            "expired"
        } else if open {
            let busy = is("in_progress") || ended;
            if busy {
                "in_progress"
            } else if is("assigned") {
                "assigned"
            } else {
                "pending"
            }
        } else if failed {
            "failed"
        } else if is("cancelled") {
            "cancelled"
        } else if jobs.values().all(|job| job.2 == "skipped") {
            "skipped"
        } else {
            "completed"
        };
        (Some(canonical), status, jobs)
    }

    fn job(
        &self,
        submissions: &BTreeMap<EventId, &Fact>,
        facts: &[&Fact],
        job: JobId,
        [skipped, cancelled, expired]: [bool; 3],
        elsewhere: Option<(bool, &'static str)>,
    ) -> Verdict {
        let canonical = submissions.keys().next().copied();
        // claim → (its fact, epoch, token, started, what ended it)
        let mut claims: Vec<(&Fact, u32, Token, bool, Option<&Fact>)> = Vec::new();
        let mut failed = false;
        for fact in facts {
            let author = fact.event.chain.author;
            let named = match &fact.body {
                Body::JobClaimed(body) => {
                    let before = body.supersedes.map(|id| claims.iter().find(|claim| claim.0.id == id));
                    let follows = match before {
                        None => body.epoch == 1,
                        Some(before) => before.is_some_and(|claim| claim.1 + 1 == body.epoch),
                    };
                    let names = fact.event.refs.contains(&body.submission)
                        && body.supersedes.is_none_or(|id| fact.event.refs.contains(&id));
                    let twice =
                        claims.iter().any(|c| c.0.event.chain == fact.event.chain && c.1 == body.epoch);
                    let lost =
                        claims.iter().filter(|c| c.0.event.chain.author == author && c.3 && c.4.is_none());
                    let Some(submission) = submissions.get(&body.submission) else { continue };
                    if follows
                        && names
                        && !twice
                        && lost.count() <= 5
                        && self.has(&author, Role::Executor)
                        && let Some((band, rank)) = self.rank(submission, &job, fact)
                    {
                        let canon = Some(submission.id) == canonical;
                        let worse = (u64::from(band) << 32) + rank as u64;
                        claims.push((
                            fact,
                            body.epoch,
                            (body.epoch, canon, u64::MAX - worse, fact.id),
                            false,
                            None,
                        ));
                    }
                    continue;
                }
                Body::JobFailed(body) => {
                    failed |= body.infrastructure && self.has(&author, Role::Executor);
                    body.claim
                }
                Body::JobReleased(JobReleased { claim, .. })
                | Body::JobStarted(JobStarted { claim, .. })
                | Body::StepFinished(StepFinished { claim, .. })
                | Body::JobAborted(JobAborted { claim, .. }) => Some(*claim),
                Body::JobCompleted(body) => Some(body.claim),
                _ => None,
            };
            let held = claims.iter_mut().find(|claim| {
                Some(claim.0.id) == named
                    && claim.0.event.chain == fact.event.chain
                    && claim.4.is_none()
                    && fact.event.refs.contains(&claim.0.id)
            });
            let Some(claim) = held else { continue };
            match &fact.body {
                Body::JobStarted(_) => claim.3 = true,
                Body::StepFinished(_) => {}
                _ => claim.4 = Some(fact),
            }
            failed |= matches!(fact.body, Body::JobFailed(_));
        }
        let effective = claims.iter().max_by_key(|claim| claim.2);
        let conclusion = |fact: &Fact| match &fact.body {
            Body::JobCompleted(body) => Some(body.conclusion),
            _ => None,
        };
        let results = claims.iter().filter(|claim| claim.4.and_then(conclusion).is_some());
        let result = results.max_by_key(|claim| claim.2).and_then(|claim| claim.4);
        let status = match (result.and_then(conclusion), effective) {
            (Some(Conclusion::Success), _) => "completed",
            (Some(Conclusion::Failure), _) => "failed",
            (Some(Conclusion::Cancelled), _) => "cancelled",
            (Some(Conclusion::Skipped), _) => "skipped",
            (None, _) if skipped => "skipped",
            (None, _) if cancelled => "cancelled",
            (None, _) if failed => "failed",
            (None, _) if matches!(elsewhere, Some((true, _))) => elsewhere.unwrap().1,
            (None, _) if expired => "expired",
            (None, Some((_, _, _, true, None))) => "in_progress",
            (None, Some((_, _, _, false, None))) => "assigned",
            _ if elsewhere.is_some() => elsewhere.unwrap().1,
            _ => "pending",
        };
        (effective.map(|claim| claim.0.id), result.map(|fact| fact.id), status)
    }
}

type Token = (u32, bool, u64, EventId);
