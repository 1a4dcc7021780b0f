//! Why a job is where it is: as data, and as one paragraph for people.

use std::fmt::Write as _;

use wfengine_storage_format::{JobId, PeerId, RunId};

use super::beat::Decline;
use super::jobs::Stage;
use super::outlook::{order_of, standing};
use super::{Scheduler, Timer};
use crate::time::Now;
use crate::views::Views;
use crate::views::job::{Job, Status};
use crate::views::run::Run;

/// One peer a job may be offered to, as this node sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Who.
    pub peer: PeerId,
    /// Its name.
    pub name: String,
    /// 0 if the submission knew it as a member, 1 if it came later.
    pub band: u8,
    /// Place in the band, 0 first.
    pub rank: u32,
    /// Bits between the job's key and the peer.
    pub distance: u32,
    /// Whether it is alive.
    pub alive: bool,
    /// Why it does not take the job, as far as it said.
    pub declined: Option<Decline>,
}

/// Why a job is where it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Why {
    /// Which job.
    pub job: JobId,
    /// Where it stands.
    pub status: Status,
    /// Whose claim is effective and held.
    pub holder: Option<PeerId>,
    /// Everybody it may be offered to, the nearest first.
    pub order: Vec<Standing>,
    /// Why this node does not take it, if it does not.
    pub declined_here: Option<Decline>,
    /// How long this node waits before it looks again, if it waits for time alone.
    pub waits_ms: Option<u64>,
    /// One paragraph.
    pub text: String,
}

impl Scheduler {
    /// Explains a job as this node sees it. `None` if the job is not in memory.
    pub fn why(&self, views: &Views, run: &RunId, job: &JobId, now: Now) -> Option<Why> {
        let (run, job) = views.runs().live_job(run, job)?;
        let outlook = self.outlook(views, now.monotonic);
        let order: Vec<Standing> = order_of(views, run, job)
            .iter()
            .map(|place| {
                let (alive, declined, name) = standing(&outlook, run, job, place);
                let declined =
                    if place.peer == self.chain.author { self.declined_here(&job.id, now) } else { declined };
                Standing {
                    peer: place.peer,
                    name,
                    band: place.band,
                    rank: place.rank,
                    distance: place.distance,
                    alive,
                    declined,
                }
            })
            .collect();
        let due = self.agenda.time_of(&Timer::Job(job.id));
        let waits = due.filter(|due| *due > now.monotonic).map(|due| due - now.monotonic);
        let mut why = Why {
            job: job.id,
            status: job.status,
            holder: job.holder().map(super::super::views::job::Claim::peer),
            declined_here: self.declined_here(&job.id, now),
            waits_ms: waits.map(|waits| u64::try_from(waits.as_millis()).unwrap_or(u64::MAX)),
            order,
            text: String::new(),
        };
        why.text = self.paragraph(views, run, job, &why, now);
        Some(why)
    }

    fn declined_here(&self, job: &JobId, now: Now) -> Option<Decline> {
        let stage = self.jobs.get(job).map(|entry| entry.stage);
        match stage {
            Some(Stage::Declined(reason)) => Some(reason),
            Some(Stage::Ready | Stage::ReadyAtAuthor) => {
                Some(self.declines_all(now.monotonic).unwrap_or(Decline::Full))
            }
            Some(Stage::Task) => Some(self.declines_all(now.monotonic).unwrap_or(Decline::NoProgram)),
            _ => self.declines_all(now.monotonic),
        }
    }

    fn paragraph(&self, views: &Views, run: &Run, job: &Job, why: &Why, now: Now) -> String {
        let mut text = format!("`{}` is {}", job.leg.name, job.status);
        if !job.reason.is_empty() {
            let _ = write!(text, " ({})", job.reason);
        }
        if let Some(claim) = job.effective_claim() {
            let verb = if claim.is_held() && !job.status.is_terminal() { "is held" } else { "was last held" };
            let _ = write!(
                text,
                ": it {verb} by {} (epoch {}, rank {} at a distance of {} bits)",
                views.peer_name(&claim.peer()),
                claim.epoch,
                claim.rank,
                claim.distance
            );
        }
        text.push('.');
        if job.status.is_terminal() {
            return text;
        }
        match why.order.first() {
            None => {
                let labels = job.leg.runs_on.join(", ");
                let _ = write!(
                    text,
                    " No member has the labels it asks for ({labels}): an admin can invite a host that has them (`wfengine peer invite --labels`)."
                );
            }
            Some(nearest) => {
                let _ = write!(text, " The nearest peer is {} ({} bits)", nearest.name, nearest.distance);
                let others: Vec<String> = why.order.iter().map(describe).collect();
                let _ = write!(text, "; in order: {}.", others.join(", "));
            }
        }
        if why.holder.is_none() {
            text.push_str(&self.outcome(run, job, why));
        }
        let outside = self.way_to_github(views, run, now.monotonic);
        if !outside.is_empty() {
            let _ = write!(text, " {outside}");
        }
        text
    }

    fn outcome(&self, run: &Run, job: &Job, why: &Why) -> String {
        let wait = |ms: u64| format!("{}.{} s", ms / 1000, ms % 1000 / 100);
        match (self.jobs.get(&job.id).map(|entry| entry.stage), why.waits_ms) {
            (Some(Stage::Declined(reason)), _) => {
                let who = run.submission().map_or_else(String::new, |submission| submission.author.short());
                let remedy = match reason {
                    Decline::NotAllowed => {
                        format!(" To let it run here: `wfengine allow --peer {who}` on this host.")
                    }
                    _ => String::new(),
                };
                format!(" This node {}.{remedy}", reason.text())
            }
            (Some(Stage::Gated), _) => {
                let group = job.leg.group.as_deref().unwrap_or("its max-parallel limit");
                format!(" It waits until there is room in {group}.")
            }
            (Some(Stage::Ready | Stage::ReadyAtAuthor | Stage::Task), _) => {
                let reason = why.declined_here.unwrap_or(Decline::Full);
                format!(" It may run here, but this node {}.", reason.text())
            }
            (Some(Stage::Waiting), Some(ms)) => {
                format!(" This node takes it in {} unless a peer before it does.", wait(ms))
            }
            (Some(Stage::Asked), _) => " This node is claiming it.".to_owned(),
            _ => String::new(),
        }
    }
}

fn describe(standing: &Standing) -> String {
    let mut text = format!("{} ({} bits", standing.name, standing.distance);
    if !standing.alive {
        text.push_str(", not seen");
    }
    if let Some(declined) = standing.declined {
        let _ = write!(text, ", {}", declined.text());
    }
    text.push(')');
    text
}
