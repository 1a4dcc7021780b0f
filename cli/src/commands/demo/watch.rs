//! Watching the run: who takes which job and why, as it happens.
//!
//! Everything comes from the views of a node that is up, asked again and again through its control socket; what changed since the
//! last look is told. Nothing here decides anything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wfengine_api::answers::{ClaimView, JobView, OwnerView, PeersView, RankView, RunView, WhyView};
use wfengine_api::{Failure, Request};

use super::cluster::{Cluster, Member, eventually};
use super::teller::{Teller, tenths};
use super::verdict::JobFacts;

/// Key of the jobs with the long step, in the bundled workflow.
const LONG_KEY: &str = "measure";
/// Steps of such a job that are done when the long one is under way.
const STEPS_BEFORE_LONG: u32 = 1;
/// For how long the short jobs are waited for before somebody is killed. The long step has to outlast it.
const SHORT_JOBS_WAIT_MS: u64 = 4_000;
/// How long a phase of the run is waited for; the whole demo has a shorter limit.
const PHASE_WAIT: Duration = Duration::from_secs(90);

/// Who was killed, when, in what.
#[derive(Clone, Debug)]
pub(super) struct Killed {
    pub(super) name: &'static str,
    pub(super) at_ms: u64,
    /// Jobs in whose long step it was.
    pub(super) inside: Vec<String>,
    /// When the others took it for down, since the kill.
    pub(super) down_after_ms: Option<u64>,
}

/// A job that changed hands.
#[derive(Clone, Debug, serde::Serialize, schemars::JsonSchema)]
pub(super) struct TakenOver {
    /// Id of the job, 64 hexadecimal digits.
    pub(super) job: String,
    /// What people call it.
    pub(super) name: String,
    /// Name of the peer that took it over.
    pub(super) by: String,
    /// Milliseconds since the kill.
    pub(super) after_ms: u64,
}

/// What was told of a job.
#[derive(Default)]
struct Told {
    claims: BTreeSet<String>,
    ended: bool,
}

/// The watcher of one run.
pub(super) struct Watch<'a> {
    teller: &'a Teller,
    run: String,
    explain: bool,
    told: BTreeMap<String, Told>,
    ranked: BTreeMap<String, Vec<RankView>>,
    passed_over: BTreeMap<String, Vec<(String, String)>>,
    long_since_ms: Option<u64>,
    pub(super) killed: Option<Killed>,
    pub(super) taken_over: Vec<TakenOver>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(teller: &'a Teller, run: String, explain: bool) -> Self {
        Self {
            teller,
            run,
            explain,
            told: BTreeMap::new(),
            ranked: BTreeMap::new(),
            passed_over: BTreeMap::new(),
            long_since_ms: None,
            killed: None,
            taken_over: Vec::new(),
        }
    }

    /// Watches until there is a good moment to kill a node; says which and in which jobs' long step it is.
    pub(super) async fn until_victim(&mut self, cluster: &Cluster) -> Result<(usize, Vec<String>), Failure> {
        eventually("a node is inside a long step", PHASE_WAIT, async || {
            let run = self.look(cluster).await?;
            Ok(self.victim(cluster, &run))
        })
        .await
    }

    /// The node with the most long steps under way, the submitter last; once the short jobs that may run are done.
    fn victim(&mut self, cluster: &Cluster, run: &RunView) -> Option<(usize, Vec<String>)> {
        let long: Vec<&JobView> = run.jobs.iter().filter(|job| job.key == LONG_KEY).collect();
        let mut inside: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for job in &long {
            let place = job
                .claims
                .iter()
                .filter(|claim| is_inside(claim))
                .find_map(|claim| cluster.named(&claim.peer));
            if let Some(place) = place {
                inside.entry(place).or_default().push(job.id.clone());
            }
        }
        let all_inside = inside.values().map(Vec::len).sum::<usize>() == long.len();
        let others = inside.keys().any(|place| *place != 0);
        if inside.is_empty() || !(others || all_inside) {
            return None;
        }
        let now = self.teller.now_ms();
        let since = *self.long_since_ms.get_or_insert(now);
        // the last job waits for the long ones, all others should be out of the way
        let short_done = run.waiting_jobs.len() <= 1
            && run.jobs.iter().filter(|job| job.key != LONG_KEY).all(|job| job.conclusion.is_some());
        if !(all_inside && short_done) && now.saturating_sub(since) < SHORT_JOBS_WAIT_MS {
            return None;
        }
        inside.into_iter().max_by_key(|(place, jobs)| (*place != 0, jobs.len(), std::cmp::Reverse(*place)))
    }

    /// Watches until the run has ended, as every node that is up sees it.
    pub(super) async fn until_end(&mut self, cluster: &Cluster) -> Result<RunView, Failure> {
        let run = eventually("the run has ended", PHASE_WAIT, async || {
            let run = self.look(cluster).await?;
            self.look_for_down(cluster).await?;
            Ok(is_over(&run).then_some(run))
        })
        .await?;
        for member in cluster.up() {
            let what = format!("{} knows that the run has ended", member.name);
            eventually(&what, PHASE_WAIT, async || {
                let run: RunView = member.ask(Request::Show { id: self.run.clone() }).await?;
                Ok(is_over(&run).then_some(()))
            })
            .await?;
        }
        Ok(run)
    }

    /// What is known of each job at the end.
    pub(super) fn facts(&self, run: &RunView) -> Vec<JobFacts> {
        let of = |job: &JobView| {
            let ranked = self.ranked.get(&job.id).into_iter().flatten();
            let ranked = ranked.map(|rank| (rank.peer.clone(), rank.distance)).collect();
            JobFacts::of(job, ranked, self.passed_over.get(&job.id).cloned().unwrap_or_default())
        };
        run.jobs.iter().map(of).collect()
    }

    /// Asks once and tells what is new.
    async fn look(&mut self, cluster: &Cluster) -> Result<RunView, Failure> {
        let observer = cluster.observer()?;
        let run: RunView = observer.ask(Request::Show { id: self.run.clone() }).await?;
        if run.jobs.iter().any(|job| !self.ranked.contains_key(&job.id)) {
            let owners: Vec<OwnerView> = observer.ask(Request::Owner { ids: vec![self.run.clone()] }).await?;
            self.ranked.extend(owners.into_iter().map(|owner| (owner.job, owner.ranked)));
        }
        for job in &run.jobs {
            for claim in &job.claims {
                if self.told.entry(job.id.clone()).or_default().claims.insert(claim.id.clone()) {
                    self.tell_claim(cluster, job, claim).await?;
                }
            }
            let told = self.told.entry(job.id.clone()).or_default();
            if let Some(conclusion) = &job.conclusion
                && !std::mem::replace(&mut told.ended, true)
            {
                let peer = job.peer.as_deref().unwrap_or("nobody");
                let took = job.duration_ms.map(|ms| format!(" after {} s", tenths(ms))).unwrap_or_default();
                self.say(
                    peer,
                    if conclusion == "success" { "finished" } else { conclusion },
                    &job.name,
                    &took,
                );
            }
        }
        Ok(run)
    }

    fn say(&self, peer: &str, does: &str, job: &str, more: &str) {
        self.teller.say(format!("{peer:<6} {does:<10} {job:<17}{more}").trim_end());
    }

    async fn tell_claim(
        &mut self,
        cluster: &Cluster,
        job: &JobView,
        claim: &ClaimView,
    ) -> Result<(), Failure> {
        let ranked = self.ranked.get(&job.id).cloned().unwrap_or_default();
        let place = ranked.iter().position(|rank| rank.peer == claim.peer).unwrap_or(ranked.len());
        let order: Vec<String> =
            ranked.iter().map(|rank| format!("{} {}", rank.peer, rank.distance)).collect();
        let order = order.join(" < ");
        let mut passed = Vec::new();
        if place > 0 {
            let better: Vec<&str> = ranked.iter().take(place).map(|rank| rank.peer.as_str()).collect();
            passed = self.reasons(cluster, &job.id, claim, &better).await?;
        }
        let why = match passed.as_slice() {
            [] if place == 0 => format!(" nearest: {order} bits"),
            [] => format!(" not the nearest: {order} bits"),
            some => {
                let some: Vec<String> = some.iter().map(|(peer, why)| format!("{peer} {why}")).collect();
                format!(" next nearest: {order} bits; {}", some.join(", "))
            }
        };
        if claim.epoch > 1 {
            let after =
                self.killed.as_ref().map_or(0, |killed| self.teller.now_ms().saturating_sub(killed.at_ms));
            self.say(&claim.peer, "takes over", &job.name, &why);
            self.teller.add(&format!(
                "it claims epoch {} {} s after the kill; a claim with a greater epoch outranks the old one for good",
                claim.epoch,
                tenths(after)
            ));
            let (by, name) = (claim.peer.clone(), job.name.clone());
            self.taken_over.push(TakenOver { job: job.id.clone(), name, by, after_ms: after });
        } else {
            self.say(&claim.peer, "takes", &job.name, &why);
        }
        self.passed_over.insert(job.id.clone(), passed);
        let observer = cluster.observer()?;
        self.explain(observer, &job.id).await
    }

    /// Why each nearer peer did not take a job, as far as the one that did can say.
    async fn reasons(
        &self,
        cluster: &Cluster,
        job: &str,
        claim: &ClaimView,
        better: &[&str],
    ) -> Result<Vec<(String, String)>, Failure> {
        let is_killed = |peer: &str| self.killed.as_ref().is_some_and(|killed| killed.name == peer);
        let claimer = cluster.named(&claim.peer).and_then(|place| cluster.members.get(place));
        let why: Vec<WhyView> = match claimer.filter(|member| member.is_up()) {
            Some(member) if better.iter().any(|peer| !is_killed(peer)) => {
                member.ask(Request::Why { id: job.to_owned() }).await?
            }
            _ => Vec::new(),
        };
        let declined = |peer: &str| {
            let order = why.iter().flat_map(|why| &why.order);
            order.filter(|rank| rank.peer == peer).find_map(|rank| rank.declined.clone())
        };
        let reason = |peer: &&str| {
            let why = if is_killed(peer) { Some("was killed".to_owned()) } else { declined(peer) };
            why.map(|why| ((*peer).to_owned(), why))
        };
        Ok(better.iter().filter_map(reason).collect())
    }

    /// Tells when the others notice that the killed node is gone.
    async fn look_for_down(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        let Some(killed) = self.killed.as_ref().filter(|killed| killed.down_after_ms.is_none()) else {
            return Ok(());
        };
        let (name, at_ms, inside) = (killed.name, killed.at_ms, killed.inside.clone());
        let observer = cluster.observer()?;
        let view: PeersView = observer.ask(Request::Peers).await?;
        if view.peers.iter().any(|peer| peer.name == name && peer.alive == Some(false)) {
            let after = self.teller.now_ms().saturating_sub(at_ms);
            self.teller.say(&format!(
                "{name:<6} is down, says {}, {} s after the kill: probes of several peers went unanswered",
                observer.name,
                tenths(after)
            ));
            self.teller.add("its claims hold for another 10 s, for it may only be slow; then the next nearest peer may claim");
            for job in &inside {
                self.explain(observer, job).await?;
            }
            if let Some(killed) = &mut self.killed {
                killed.down_after_ms = Some(after);
            }
        }
        Ok(())
    }

    /// The paragraph that `wfengine why` prints.
    async fn explain(&self, observer: &Member, job: &str) -> Result<(), Failure> {
        if !self.explain {
            return Ok(());
        }
        let why: Vec<WhyView> = observer.ask(Request::Why { id: job.to_owned() }).await?;
        for why in &why {
            self.teller.add(&format!("why: {}", why.text));
        }
        Ok(())
    }
}

/// Whether a claim's long step is under way.
fn is_inside(claim: &ClaimView) -> bool {
    claim.effective && claim.started && claim.steps_done == STEPS_BEFORE_LONG && claim.state == "held"
}

fn is_over(run: &RunView) -> bool {
    !matches!(run.status.as_str(), "pending" | "assigned" | "in_progress")
}
