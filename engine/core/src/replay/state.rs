//! The state at a moment: the views of an event's causal past, or of everything up to a wall time; and what changed between two.
//!
//! A moment needs a finished replay. The states hold all their runs in memory.

use std::collections::{BTreeMap, BTreeSet};

use wfengine_storage_format::{ChainId, EventId, JobId, PeerId, RunId};

use super::history::read;
use super::{Replayer, Reread};
use crate::admitted::Admitted;
use crate::authority::Member;
use crate::time::WallMs;
use crate::views::Views;
use crate::views::job::Job;
use crate::views::run::Run;
use crate::views::runs::NoHistory;

/// A point in a log's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// Just after an event, as its author knew the world.
    Event(EventId),
    /// A wall time. Advisory, as all wall times: the events whose authors wrote this time or an earlier one.
    Time(WallMs),
}

/// Which events a state is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Selection {
    /// Of each chain so many events.
    Lengths(BTreeMap<ChainId, u64>),
    /// Events that were written up to a wall time.
    Until(WallMs),
}

impl Selection {
    /// Whether an event belongs to it.
    pub fn covers(&self, event: &Admitted) -> bool {
        match self {
            Selection::Lengths(lengths) => {
                lengths.get(&event.chain).is_some_and(|length| event.seq < *length)
            }
            Selection::Until(time) => event.time <= *time,
        }
    }

    fn touches(&self, chain: &ChainId, first_seq: u64) -> bool {
        match self {
            Selection::Lengths(lengths) => lengths.get(chain).is_some_and(|length| first_seq < *length),
            Selection::Until(_) => true,
        }
    }
}

/// The event is not part of the replayed log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("event {0} is not part of this log")]
pub struct UnknownEvent(pub EventId);

/// Views of a selection of events.
#[derive(Clone, Debug)]
pub struct State {
    /// The views.
    pub views: Views,
    /// Number of events.
    pub events: u64,
    /// The greatest height among them.
    pub height: u64,
}

impl<S: Reread> Replayer<S> {
    /// Which events belong to a moment.
    ///
    /// # Errors
    /// [`UnknownEvent`].
    pub fn selection(&self, moment: &Moment) -> Result<Selection, UnknownEvent> {
        match moment {
            Moment::Time(time) => Ok(Selection::Until(*time)),
            Moment::Event(id) => self.past_of(id).ok_or(UnknownEvent(*id)),
        }
    }

    /// An event and everything it names, directly or not. What an event names was admitted before it, so one walk backwards finds
    /// all of it.
    fn past_of(&self, id: &EventId) -> Option<Selection> {
        let place = self.known.locate(id)?;
        let mut lengths = BTreeMap::from([(place.chain, place.seq + 1)]);
        for (chain, frame) in self.known.order.iter().rev().filter_map(|at| self.known.frame(*at)) {
            let length = lengths.get(&chain).copied().unwrap_or(0);
            if frame.first_seq >= length {
                continue;
            }
            for event in read(&self.source, frame.handle)?.iter().filter(|event| event.seq < length) {
                let parents = event.parents.iter().map(|tip| tip.id);
                for named in event.prev.into_iter().chain(parents).chain(event.refs.iter().copied()) {
                    if let Some(place) = self.known.locate(&named) {
                        let length = lengths.entry(place.chain).or_default();
                        *length = (*length).max(place.seq + 1);
                    }
                }
            }
        }
        Some(Selection::Lengths(lengths))
    }

    /// The views of a selection.
    pub fn state(&self, selection: &Selection) -> State {
        let mut state = State { views: Views::new(self.log.cluster()), events: 0, height: 0 };
        for (chain, frame) in self.known.order.iter().filter_map(|at| self.known.frame(*at)) {
            if !selection.touches(&chain, frame.first_seq) {
                continue;
            }
            for event in read(&self.source, frame.handle).into_iter().flatten() {
                if selection.covers(&event) {
                    state.views.take(&event, &NoHistory);
                    state.events += 1;
                    state.height = state.height.max(event.height);
                }
            }
        }
        state.views.settle();
        state
    }
}

/// What changed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Subject {
    /// A member of the cluster.
    Member(PeerId),
    /// A run.
    Run(RunId),
    /// A job of a run.
    Job(RunId, JobId),
}

/// One thing that is different in two states.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// What it is.
    pub subject: Subject,
    /// What people call it.
    pub name: String,
    /// How it was; `None` if it was not.
    pub before: Option<String>,
    /// How it is; `None` if it is no more.
    pub after: Option<String>,
}

/// What is different between two states: members, then runs, each with its jobs.
pub fn diff(before: &Views, after: &Views) -> Vec<Change> {
    let mut changes = Vec::new();
    let (old, new) = (before.authority().roster().members(), after.authority().roster().members());
    for peer in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let (was, is) = (old.get(peer).map(member_text), new.get(peer).map(member_text));
        let name = after.peer_name(peer);
        push_changed(&mut changes, Subject::Member(*peer), name, was, is);
    }
    let runs = |views: &Views| views.runs().all_live().map(|run| run.id).collect::<Vec<_>>();
    for id in runs(before).into_iter().chain(runs(after)).collect::<BTreeSet<_>>() {
        let (was, is) = (before.runs().live(&id), after.runs().live(&id));
        let name = is.or(was).map_or("", Run::name).to_owned();
        push_changed(&mut changes, Subject::Run(id), name, was.map(run_text), is.map(run_text));
        let jobs =
            |run: Option<&Run>| run.into_iter().flat_map(|run| run.jobs.keys().copied()).collect::<Vec<_>>();
        for job in jobs(was).into_iter().chain(jobs(is)).collect::<BTreeSet<_>>() {
            let of = |run: Option<&Run>, views: &Views| {
                run.and_then(|run| run.jobs.get(&job)).map(|job| job_text(job, views))
            };
            let found =
                is.and_then(|run| run.jobs.get(&job)).or_else(|| was.and_then(|run| run.jobs.get(&job)));
            let name = found.map_or_else(String::new, |job| job.leg.name.clone());
            push_changed(&mut changes, Subject::Job(id, job), name, of(was, before), of(is, after));
        }
    }
    changes
}

fn push_changed(
    changes: &mut Vec<Change>,
    subject: Subject,
    name: String,
    before: Option<String>,
    after: Option<String>,
) {
    if before != after {
        changes.push(Change { subject, name, before, after });
    }
}

fn member_text(member: &Member) -> String {
    let mut text = member.roles.names().join(", ");
    if !member.labels.is_empty() {
        let labels: Vec<&str> = member.labels.iter().map(String::as_str).collect();
        text.push_str(&format!("; labels {}", labels.join(", ")));
    }
    if member.weight != 1 {
        text.push_str(&format!("; weight {}", member.weight));
    }
    text
}

fn run_text(run: &Run) -> String {
    let mut text = run.status.to_string();
    for (holds, word) in [
        (run.conflict, "conflict"),
        (run.divergent_plan, "divergent"),
        (run.stale_input, "stale-input"),
        (run.priority_milli != wfengine_storage_format::limits::PRIORITY_MILLI_DEFAULT, "reprioritised"),
    ] {
        if holds {
            text.push_str(&format!(", {word}"));
        }
    }
    text
}

fn job_text(job: &Job, views: &Views) -> String {
    let mut text = job.status.to_string();
    if let Some(claim) = job.effective_claim() {
        text.push_str(&format!(", {} (epoch {})", views.peer_name(&claim.peer()), claim.epoch));
    }
    if !job.duplicates.is_empty() {
        text.push_str(&format!(", {} results", job.duplicates.len() + 1));
    }
    text
}
