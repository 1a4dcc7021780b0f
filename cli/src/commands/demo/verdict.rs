//! What the demo promises, held against what the log says at the end. Pure.

use schemars::JsonSchema;
use serde::Serialize;
use wfengine_api::answers::{ClaimView, JobView};

use super::proof::Proved;
use super::teller::tenths;

/// How long the step lasts in which a node is killed.
pub(super) const LONG_STEP_MS: u64 = 10_000;
/// How long the demo may take.
pub(super) const TOOK_MS_MAX: u64 = 60_000;
/// Names shown in one line.
const NAMES_SHOWN: usize = 6;

/// One job as the log tells it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct JobFacts {
    /// Id of the job, 64 hexadecimal digits.
    pub(super) job: String,
    /// What people call it.
    pub(super) name: String,
    /// Status word.
    pub(super) status: String,
    /// success, failure, cancelled or skipped; null while it is open.
    pub(super) conclusion: Option<String>,
    /// Name of the peer that completed it; null: nobody did.
    pub(super) peer: Option<String>,
    /// How long its execution took, in milliseconds; null while it has no result.
    pub(super) duration_ms: Option<u64>,
    /// Claims on it, in canonical order.
    pub(super) claims: Vec<ClaimFacts>,
    /// Results beside the canonical one.
    pub(super) duplicates: usize,
    /// Names of peers and their distances in bits, the nearest first.
    pub(super) ranked: Vec<(String, u32)>,
    /// Names of the peers before the one that completed it, and why they did not.
    pub(super) passed_over: Vec<(String, String)>,
}

/// One claim on it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct ClaimFacts {
    /// Name of the peer that claims.
    pub(super) peer: String,
    /// 1 for the first claim, one more for each that takes over.
    pub(super) epoch: u32,
    /// Its first step began.
    pub(super) started: bool,
    /// Steps that ended.
    pub(super) steps_done: u32,
    /// held, released, aborted, completed or failed, with the reason if there is one.
    pub(super) state: String,
}

impl JobFacts {
    pub(super) fn of(job: &JobView, ranked: Vec<(String, u32)>, passed_over: Vec<(String, String)>) -> Self {
        let facts = |claim: &ClaimView| ClaimFacts {
            peer: claim.peer.clone(),
            epoch: claim.epoch,
            started: claim.started,
            steps_done: claim.steps_done,
            state: claim.state.clone(),
        };
        Self {
            job: job.id.clone(),
            name: job.name.clone(),
            status: job.status.clone(),
            conclusion: job.conclusion.clone(),
            peer: job.peer.clone(),
            duration_ms: job.duration_ms,
            claims: job.claims.iter().map(facts).collect(),
            duplicates: job.duplicates.len(),
            ranked,
            passed_over,
        }
    }

    /// Claims with a result.
    fn results(&self) -> usize {
        self.claims.iter().filter(|claim| claim.state == "completed").count() + self.duplicates
    }

    /// Whether a peer claimed it and never came to an end with it.
    fn was_lost_by(&self, peer: &str) -> bool {
        self.claims.iter().any(|claim| claim.peer == peer && claim.state == "held")
    }

    fn epochs(&self) -> Vec<u32> {
        let mut epochs: Vec<u32> = self.claims.iter().map(|claim| claim.epoch).collect();
        epochs.sort_unstable();
        epochs
    }

    /// The peers before the one that completed it for which nobody knows a reason.
    fn unexplained(&self) -> Vec<&str> {
        let before = self.ranked.iter().take_while(|(peer, _)| Some(peer) != self.peer.as_ref());
        let known = |peer: &&str| !self.passed_over.iter().any(|(passed, _)| passed == peer);
        before.map(|(peer, _)| peer.as_str()).filter(known).collect()
    }
}

/// Everything that is judged.
pub(super) struct Evidence<'a> {
    pub(super) jobs: &'a [JobFacts],
    /// Who was killed.
    pub(super) killed: &'a str,
    /// The jobs in whose long step it was.
    pub(super) inside: &'a [String],
    pub(super) proofs: &'a [Proved],
    /// How many nodes there are.
    pub(super) nodes: usize,
    pub(super) took_ms: u64,
    pub(super) left: &'a [String],
    /// Directories were to be kept.
    pub(super) keep: bool,
}

/// A promise, whether it holds, and what shows it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Requirement {
    /// The promise.
    pub(super) requirement: &'static str,
    /// It was seen to hold.
    pub(super) holds: bool,
    /// What was seen.
    pub(super) detail: String,
}

/// The table at the end.
pub(super) fn requirements(evidence: &Evidence<'_>) -> Vec<Requirement> {
    vec![
        completed_once(evidence),
        killed_inside(evidence),
        taken_over(evidence),
        claimed_once(evidence),
        nearest(evidence),
        proved(evidence),
        in_time(evidence),
        nothing_left(evidence),
    ]
}

fn of(requirement: &'static str, wrong: &[&str], detail: String) -> Requirement {
    let holds = wrong.is_empty();
    Requirement {
        requirement,
        holds,
        detail: if holds { detail } else { format!("not so: {}", list(wrong)) },
    }
}

fn list(names: &[&str]) -> String {
    let shown = names.iter().take(NAMES_SHOWN).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn names<'a>(jobs: impl Iterator<Item = &'a JobFacts>) -> Vec<&'a str> {
    jobs.map(|job| job.name.as_str()).collect()
}

fn completed_once(evidence: &Evidence<'_>) -> Requirement {
    let good = |job: &&JobFacts| job.conclusion.as_deref() == Some("success") && job.results() == 1;
    let mut wrong = names(evidence.jobs.iter().filter(|job| !good(job)));
    if evidence.jobs.is_empty() {
        wrong.push("there are no jobs");
    }
    of(
        "one canonical completion per job",
        &wrong,
        format!("{} of {} jobs", evidence.jobs.len(), evidence.jobs.len()),
    )
}

fn killed_inside(evidence: &Evidence<'_>) -> Requirement {
    let inside = |job: &&JobFacts| evidence.inside.contains(&job.job);
    let good = |job: &&JobFacts| {
        job.claims
            .iter()
            .any(|claim| claim.peer == evidence.killed && claim.steps_done == 1 && claim.state == "held")
            && job.duration_ms.is_some_and(|ms| ms >= LONG_STEP_MS)
    };
    let jobs: Vec<&JobFacts> = evidence.jobs.iter().filter(inside).collect();
    let mut wrong = names(jobs.iter().copied().filter(|job| !good(job)));
    if jobs.is_empty() {
        wrong.push("it was in no such step");
    }
    let named = list(&names(jobs.iter().copied()));
    of("a node was killed inside a step of at least 10 s", &wrong, format!("{} in {named}", evidence.killed))
}

fn taken_over(evidence: &Evidence<'_>) -> Requirement {
    let lost: Vec<&JobFacts> = evidence.jobs.iter().filter(|job| job.was_lost_by(evidence.killed)).collect();
    let good = |job: &&JobFacts| job.epochs() == [1, 2] && job.results() == 1;
    let mut wrong = names(lost.iter().copied().filter(|job| !good(job)));
    wrong.extend(
        evidence.inside.iter().filter(|id| !lost.iter().any(|job| job.job == **id)).map(String::as_str),
    );
    let named = list(&names(lost.iter().copied()));
    of("jobs it held: claims of epochs 1 and 2, one result", &wrong, named)
}

fn claimed_once(evidence: &Evidence<'_>) -> Requirement {
    let others: Vec<&JobFacts> =
        evidence.jobs.iter().filter(|job| !job.was_lost_by(evidence.killed)).collect();
    let wrong = names(others.iter().copied().filter(|job| job.claims.len() != 1));
    of("no other job has two claims", &wrong, format!("{} jobs with one claim", others.len()))
}

fn nearest(evidence: &Evidence<'_>) -> Requirement {
    let is_known =
        |job: &&JobFacts| job.peer.is_some() && !job.ranked.is_empty() && job.unexplained().is_empty();
    let wrong = names(evidence.jobs.iter().filter(|job| !is_known(job)));
    let at_nearest = |job: &&JobFacts| job.ranked.first().map(|(peer, _)| peer) == job.peer.as_ref();
    let (near, far): (Vec<_>, Vec<_>) = evidence.jobs.iter().partition(at_nearest);
    let why = |job: &JobFacts| {
        let reasons: Vec<String> =
            job.passed_over.iter().map(|(peer, why)| format!("{peer} {why}")).collect();
        format!("{}: {}", job.name, reasons.join(", "))
    };
    let far: Vec<String> = far.into_iter().map(why).collect();
    let far: Vec<&str> = far.iter().map(String::as_str).collect();
    let rest = if far.is_empty() { String::new() } else { format!("; elsewhere {}", list(&far)) };
    of(
        "each job lies with its nearest peer, or why not",
        &wrong,
        format!("{} with the nearest{rest}", near.len()),
    )
}

fn proved(evidence: &Evidence<'_>) -> Requirement {
    let mut wrong: Vec<&str> =
        evidence.proofs.iter().filter(|proof| !proof.clean).map(|proof| proof.node.as_str()).collect();
    let first = evidence.proofs.first();
    let digest = first.and_then(|proof| proof.view_digest.clone()).unwrap_or_default();
    if digest.is_empty() || evidence.proofs.iter().any(|proof| proof.view_digest.as_ref() != Some(&digest)) {
        wrong.push("the digests differ");
    }
    if evidence.proofs.len() != evidence.nodes {
        wrong.push("not every node was proved");
    }
    let events = first.map_or(0, |proof| proof.events);
    let digest = digest.get(..12).unwrap_or(&digest);
    let detail = format!("{} nodes, {events} events, digest {digest}", evidence.proofs.len());
    of("replay --verify is clean on all nodes, equal digests", &wrong, detail)
}

fn in_time(evidence: &Evidence<'_>) -> Requirement {
    let took = format!("{} s", tenths(evidence.took_ms));
    let wrong = if evidence.took_ms <= TOOK_MS_MAX { vec![] } else { vec![took.as_str()] };
    of("at most 60 s in all", &wrong, took.clone())
}

fn nothing_left(evidence: &Evidence<'_>) -> Requirement {
    let wrong: Vec<&str> = evidence.left.iter().map(String::as_str).collect();
    let detail = if evidence.keep { "directories are kept, as asked" } else { "looked for all three" };
    of("no process, socket or directory is left", &wrong, detail.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(peer: &str, epoch: u32, state: &str) -> ClaimFacts {
        ClaimFacts { peer: peer.to_owned(), epoch, started: true, steps_done: 1, state: state.to_owned() }
    }

    fn job(name: &str, claims: Vec<ClaimFacts>) -> JobFacts {
        let peer = claims.iter().find(|claim| claim.state == "completed").map(|claim| claim.peer.clone());
        JobFacts {
            job: format!("id of {name}"),
            name: name.to_owned(),
            status: "completed".to_owned(),
            conclusion: peer.is_some().then(|| "success".to_owned()),
            peer,
            duration_ms: Some(10_400),
            claims,
            duplicates: 0,
            ranked: vec![("birch".to_owned(), 110), ("ash".to_owned(), 120), ("cedar".to_owned(), 130)],
            passed_over: Vec::new(),
        }
    }

    fn proof(node: &str, digest: &str) -> Proved {
        Proved {
            node: node.to_owned(),
            clean: true,
            view_digest: Some(digest.to_owned()),
            events: 9,
            findings: Vec::new(),
        }
    }

    /// A job that birch did, and one that ash took over from it.
    fn good() -> Vec<JobFacts> {
        let mut lost = job("lost", vec![claim("birch", 1, "held"), claim("ash", 2, "completed")]);
        lost.passed_over = vec![("birch".to_owned(), "was killed".to_owned())];
        vec![job("near", vec![claim("birch", 1, "completed")]), lost]
    }

    /// Everything but the jobs.
    struct Case {
        inside: Vec<String>,
        proofs: Vec<Proved>,
        took_ms: u64,
        left: Vec<String>,
    }

    fn failing(jobs: &[JobFacts], change: impl FnOnce(&mut Case)) -> Vec<&'static str> {
        let mut case = Case {
            inside: vec!["id of lost".to_owned()],
            proofs: vec![proof("ash", "d1"), proof("birch", "d1")],
            took_ms: 40_000,
            left: vec![],
        };
        change(&mut case);
        let evidence = Evidence {
            jobs,
            killed: "birch",
            inside: &case.inside,
            proofs: &case.proofs,
            nodes: 2,
            took_ms: case.took_ms,
            left: &case.left,
            keep: false,
        };
        requirements(&evidence).into_iter().filter(|row| !row.holds).map(|row| row.requirement).collect()
    }

    #[test]
    fn a_good_run_keeps_every_promise() {
        assert_eq!(failing(&good(), |_| ()), Vec::<&str>::new());
    }

    #[test]
    fn a_job_without_a_result_or_with_two_is_told() {
        let once = "one canonical completion per job";
        let mut jobs = good();
        jobs[0].duplicates = 1;
        assert_eq!(failing(&jobs, |_| ()), [once]);
        jobs[0] = job("near", vec![claim("ash", 1, "released: drained")]);
        let not_near = "each job lies with its nearest peer, or why not";
        assert_eq!(failing(&jobs, |_| ()), [once, not_near]);
        assert!(failing(&[], |_| ()).contains(&once), "no jobs prove nothing");
    }

    #[test]
    fn a_second_claim_without_a_death_is_told() {
        let mut jobs = good();
        jobs[0].claims.push(claim("ash", 1, "aborted: superseded"));
        assert_eq!(failing(&jobs, |_| ()), ["no other job has two claims"]);
    }

    #[test]
    fn a_lost_job_needs_both_epochs_and_one_result() {
        let over = "jobs it held: claims of epochs 1 and 2, one result";
        let mut jobs = good();
        jobs[1].claims[1].epoch = 3;
        assert_eq!(failing(&jobs, |_| ()), [over]);
        let mut jobs = good();
        jobs[1].claims.push(claim("cedar", 2, "aborted: superseded"));
        assert_eq!(failing(&jobs, |_| ()), [over]);
    }

    #[test]
    fn the_kill_has_to_hit_a_long_step() {
        let inside = "a node was killed inside a step of at least 10 s";
        let mut jobs = good();
        jobs[1].duration_ms = Some(9_999);
        assert_eq!(failing(&jobs, |_| ()), [inside]);
        assert_eq!(failing(&good(), |case| case.inside.clear()), [inside]);
    }

    #[test]
    fn a_job_far_from_its_owner_needs_a_reason() {
        let mut jobs = good();
        jobs[1].passed_over.clear();
        assert_eq!(failing(&jobs, |_| ()), ["each job lies with its nearest peer, or why not"]);
    }

    #[test]
    fn every_node_has_to_prove_the_same_history() {
        let same = "replay --verify is clean on all nodes, equal digests";
        let mut dirty = proof("birch", "d1");
        dirty.clean = false;
        let cases = [
            vec![proof("ash", "d1"), proof("birch", "d2")],
            vec![proof("ash", "d1"), dirty],
            vec![proof("ash", "d1")],
            vec![proof("ash", ""), proof("birch", "")],
        ];
        for proofs in cases {
            assert_eq!(failing(&good(), |case| case.proofs = proofs), [same]);
        }
    }

    #[test]
    fn lateness_and_leftovers_are_told() {
        assert_eq!(failing(&good(), |case| case.took_ms = 60_001), ["at most 60 s in all"]);
        let left = |case: &mut Case| case.left.push("process 7".to_owned());
        assert_eq!(failing(&good(), left), ["no process, socket or directory is left"]);
    }
}
