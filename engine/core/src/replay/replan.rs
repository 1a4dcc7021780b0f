//! Planning again: does each recorded plan follow from what it says it was planned from?
//!
//! Planning itself needs the workflow's bytes and the rules that read them; both come through [`Planner`]. Results that a plan
//! does not list among those it consumed are taken from the run as it stands; a difference is then no finding, because the
//! planner may have known other results.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wfengine_storage_format::{
    BlobId, Body, Conclusion, EventId, JobsPlanned, PlannedKey, RunId, RunSubmitted,
};

use super::{Finding, Replayer, Reread, What};
use crate::admitted::Admitted;
use crate::views::run::Run;

/// Why a plan could not be made again. No finding: the plan may be right.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
pub enum CannotReplan {
    /// It was planned by other rules.
    #[error("planned by rules version {recorded}, this program has version {ours}")]
    OtherRules {
        /// As recorded.
        recorded: u32,
        /// The planner's.
        ours: u32,
    },
    /// The workflow or the event's payload is not here.
    #[error("a source it was planned from is not here")]
    MissingBlob(BlobId),
    /// The planner does not read the sources.
    #[error("the sources cannot be planned: {0}")]
    Unreadable(String),
    /// A needed job has not ended, or its result is not among the consumed ones and the plan differs.
    #[error("a result it was planned from is not known")]
    ResultUnknown,
    /// The submission it plans is void or unknown.
    #[error("the submission it plans is not known")]
    SubmissionUnknown,
}

/// How one leg of a needed job ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResultOfLeg {
    /// How it ended.
    pub conclusion: Conclusion,
    /// Whether its failure leaves the run successful.
    pub continue_on_error: bool,
    /// Its outputs.
    pub outputs: Vec<(String, String)>,
}

/// What a plan was made from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replan<'a> {
    /// Of which run.
    pub run: RunId,
    /// The submission.
    pub submission: &'a RunSubmitted,
    /// The rules it was planned by.
    pub rules_version: u32,
    /// Results by job key, the legs in the order of their plan.
    pub results: BTreeMap<String, Vec<ResultOfLeg>>,
}

/// Plans a workflow run again.
pub trait Planner {
    /// Every job that can be planned from these results.
    ///
    /// # Errors
    /// [`CannotReplan`] when it cannot be known.
    fn plan(&self, asked: &Replan<'_>) -> Result<Vec<PlannedKey>, CannotReplan>;
}

/// What planning again came to, in job keys.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Replanned {
    /// Came out as recorded.
    pub agreed: u64,
    /// Came out otherwise; each is a finding.
    pub differ: u64,
    /// Could not be planned again, by reason.
    pub not_tried: BTreeMap<String, u64>,
}

impl<S: Reread> Replayer<S> {
    /// Plans every recorded part of every run again. Differences become findings.
    pub fn replan(&mut self, planner: &dyn Planner) -> Replanned {
        self.settle();
        let mut replanned = Replanned::default();
        let runs: Vec<RunId> = self.planned.iter().copied().collect();
        for id in runs {
            let Some(run) = self.run(&id) else { continue };
            let events = self.events_of_run(&id);
            for finding in replan_run(&run, &events, planner, &mut replanned) {
                self.findings.add(finding);
            }
        }
        replanned
    }
}

/// Plans the recorded parts of one run again and says what differs.
pub(super) fn replan_run(
    run: &Run,
    events: &[Arc<Admitted>],
    planner: &dyn Planner,
    replanned: &mut Replanned,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for event in events.iter().filter(|event| !run.void.contains(&event.id)) {
        let Body::JobsPlanned(body) = &event.body else { continue };
        for recorded in &body.jobs {
            match replan_key(run, events, body, recorded, planner) {
                Err(why) => *replanned.not_tried.entry(why.to_string()).or_default() += 1,
                Ok(None) => replanned.agreed += 1,
                Ok(Some(difference)) => {
                    replanned.differ += 1;
                    let detail = format!(
                        "event {} plans job '{}' of run {} otherwise than its sources give: {difference}",
                        event.id, recorded.key, run.id
                    );
                    findings.push(Finding { what: What::Plan, place: None, detail });
                }
            }
        }
    }
    findings
}

fn replan_key(
    run: &Run,
    events: &[Arc<Admitted>],
    body: &JobsPlanned,
    recorded: &PlannedKey,
    planner: &dyn Planner,
) -> Result<Option<String>, CannotReplan> {
    let submission = events
        .iter()
        .find_map(|event| match &event.body {
            Body::RunSubmitted(submitted) if event.id == body.submission => Some(submitted),
            _ => None,
        })
        .ok_or(CannotReplan::SubmissionUnknown)?;
    let mut results = BTreeMap::new();
    let mut all_consumed = true;
    for key in ancestors(run, &recorded.needs) {
        let (legs, consumed) =
            results_of(run, &key, events, &body.consumed).ok_or(CannotReplan::ResultUnknown)?;
        all_consumed &= consumed;
        results.insert(key, legs);
    }
    let asked = Replan { run: run.id, submission, rules_version: body.rules_version, results };
    let planned = planner.plan(&asked)?;
    let difference = match planned.iter().find(|planned| planned.key == recorded.key) {
        Some(planned) if planned == recorded => return Ok(None),
        Some(planned) => difference(planned, recorded),
        None => "it cannot be planned yet".to_owned(),
    };
    if all_consumed { Ok(Some(difference)) } else { Err(CannotReplan::ResultUnknown) }
}

/// The keys a job waits for, directly or not, as far as they were planned.
fn ancestors(run: &Run, needs: &[String]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open: Vec<String> = needs.to_vec();
    while let Some(key) = open.pop() {
        if found.insert(key.clone())
            && let Some(part) = run.parts.get(&key)
        {
            open.extend(part.needs.iter().cloned());
        }
    }
    found
}

/// The results of a key's legs, and whether all of them are among the consumed ones.
fn results_of(
    run: &Run,
    key: &str,
    events: &[Arc<Admitted>],
    consumed: &[EventId],
) -> Option<(Vec<ResultOfLeg>, bool)> {
    let part = run.parts.get(key)?;
    let mut all_consumed = true;
    let mut legs = Vec::new();
    for id in &part.jobs {
        let job = run.jobs.get(id)?;
        let continue_on_error = job.leg.continue_on_error;
        let completion = events.iter().find_map(|event| match &event.body {
            Body::JobCompleted(body) if body.job == *id && consumed.contains(&event.id) => Some(body),
            _ => None,
        });
        legs.push(match completion {
            Some(body) => {
                ResultOfLeg { conclusion: body.conclusion, continue_on_error, outputs: body.outputs.clone() }
            }
            None => {
                all_consumed &= part.skipped.is_some();
                let conclusion = if part.skipped.is_some() { Conclusion::Skipped } else { job.conclusion()? };
                let outputs = job.result.as_ref().map_or_else(Vec::new, |result| result.outputs.clone());
                ResultOfLeg { conclusion, continue_on_error, outputs }
            }
        });
    }
    Some((legs, all_consumed))
}

fn difference(planned: &PlannedKey, recorded: &PlannedKey) -> String {
    if planned.skipped != recorded.skipped {
        let text = |skipped: &Option<String>| match skipped {
            Some(reason) => format!("skipped ({reason})"),
            None => "to be executed".to_owned(),
        };
        return format!("{} and not {}", text(&planned.skipped), text(&recorded.skipped));
    }
    if planned.legs.len() != recorded.legs.len() {
        return format!("{} legs and not {}", planned.legs.len(), recorded.legs.len());
    }
    match planned.legs.iter().zip(&recorded.legs).find(|(one, other)| one != other) {
        Some((one, other)) => {
            format!("leg '{}' and not '{}', or with other properties", one.name, other.name)
        }
        None => "other needs, max-parallel or fail-fast".to_owned(),
    }
}
