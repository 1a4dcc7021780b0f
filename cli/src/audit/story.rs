//! One run's story for people: who asked for it, what was planned, who ran what and why, and how it ended.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use wfengine_core::admitted::Admitted;
use wfengine_core::views::Views;
use wfengine_core::views::job::{Claim, ClaimState, Job};
use wfengine_core::views::run::Run;
use wfengine_storage_format::EventId;

use super::print::{clean, words};
use super::time::rfc3339;

/// A line of a story.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub(crate) struct StoryLine {
    /// `run`, `event`, `job`, `claim`, `result` or `remark`.
    pub(crate) part: &'static str,
    /// The event it tells of, if it tells of one.
    pub(crate) event: Option<String>,
    /// What people read.
    pub(crate) text: String,
}

fn line(part: &'static str, event: Option<EventId>, text: &str) -> StoryLine {
    StoryLine { part, event: event.map(|id| id.to_string()), text: clean(text) }
}

/// The story of a run from its view and its events in canonical order.
pub(crate) fn story(run: &Run, events: &[Arc<Admitted>], views: &Views) -> Vec<StoryLine> {
    let mut lines = vec![line("run", None, &head(run))];
    for remark in remarks(run) {
        lines.push(line("remark", None, remark));
    }
    let begin = run.submissions.first().map_or(0, |submission| submission.time_ms);
    for event in events {
        let void = run.void.contains(&event.id) || run.jobs.values().any(|job| job.void.contains(&event.id));
        let counts = views.authority().roster().counts(&event.chain, event.seq);
        let remark = match (counts, void) {
            (false, _) => " (cut off: counts for nothing)",
            (true, true) => " (void: makes no sense after what came before)",
            (true, false) => "",
        };
        let text = format!(
            "{} {:>9}  {} {}{remark}",
            event.id.short(),
            since(begin, event.time.0),
            views.peer_name(&event.author()),
            words(event, views)
        );
        lines.push(line("event", Some(event.id), &text));
    }
    for key in ordered_keys(run) {
        if let Some(skipped) = run.parts.get(&key).and_then(|part| part.skipped.as_ref()) {
            lines.push(line("job", None, &format!("{key}: skipped, {skipped}")));
            continue;
        }
        for job in run.jobs_of(&key) {
            tell_job(job, views, &mut lines);
        }
    }
    lines
}

fn head(run: &Run) -> String {
    let reason = if run.reason.is_empty() { String::new() } else { format!(", {}", run.reason) };
    let when = run
        .submissions
        .first()
        .map_or_else(String::new, |first| format!(", submitted {}", rfc3339(first.time_ms)));
    format!("run {} '{}': {}{reason}{when}", run.id, run.name(), run.status)
}

fn remarks(run: &Run) -> Vec<&'static str> {
    [
        (run.submissions.len() > 1, "it was submitted more than once; the least event id counts"),
        (run.conflict, "conflict: its submissions ask for different things under one id"),
        (run.divergent_plan, "divergent: two plans of one job differ; the first in canonical order counts"),
        (run.stale_input, "stale-input: a plan used a result that is no longer the canonical one"),
    ]
    .into_iter()
    .filter_map(|(holds, text)| holds.then_some(text))
    .collect()
}

/// Keys in the order of the file, then any other.
fn ordered_keys(run: &Run) -> Vec<String> {
    let mut keys = run.job_keys();
    keys.retain(|key| run.parts.contains_key(key));
    let rest: Vec<String> = run.parts.keys().filter(|key| !keys.contains(key)).cloned().collect();
    keys.extend(rest);
    keys
}

fn tell_job(job: &Job, views: &Views, lines: &mut Vec<StoryLine>) {
    let reason = if job.reason.is_empty() { String::new() } else { format!(", {}", job.reason) };
    lines.push(line("job", None, &format!("{} [{}] {}{reason}", job.leg.name, job.id.short(), job.status)));
    for claim in &job.claims {
        let effective = if Some(claim.id) == job.effective { ", effective" } else { "" };
        let band = if claim.band == 0 { "" } else { " among those who joined after the submission" };
        let text = format!(
            "  epoch {}: {} at rank {}{band}, distance {}: {}{effective}",
            claim.epoch,
            views.peer_name(&claim.peer()),
            claim.rank,
            claim.distance,
            claim_words(claim)
        );
        lines.push(line("claim", Some(claim.id), &text));
    }
    if let Some(result) = &job.result {
        let superseded = if job.result_superseded {
            " (result-superseded: it is not the one that came first)"
        } else {
            ""
        };
        let text = format!(
            "  result: {} by {} in {} ms{superseded}",
            result.conclusion,
            views.peer_name(&result.peer),
            result.duration_ms
        );
        lines.push(line("result", Some(result.id), &text));
        lines.extend(
            result.notes.iter().map(|note| line("remark", Some(result.id), &format!("  note: {note}"))),
        );
    }
    for duplicate in &job.duplicates {
        let differs = if job.divergent { ", divergent" } else { "" };
        let text = format!(
            "  executed once more by {}: {}{differs}",
            views.peer_name(&duplicate.peer),
            duplicate.conclusion
        );
        lines.push(line("result", Some(duplicate.id), &text));
    }
}

fn claim_words(claim: &Claim) -> String {
    let progress = match (claim.started, claim.steps_done) {
        (false, _) => "never started".to_owned(),
        (true, 0) => "started".to_owned(),
        (true, steps) => format!("started, {steps} steps done"),
    };
    match &claim.state {
        ClaimState::Held => format!("{progress}, held"),
        ClaimState::Released(why) => format!("{progress}, given back ({why})"),
        ClaimState::Aborted(why) => format!("{progress}, stopped ({why})"),
        ClaimState::Completed => "completed".to_owned(),
        ClaimState::Failed => "failed for good".to_owned(),
    }
}

/// Time since the submission, as the authors' clocks have it.
fn since(begin_ms: u64, at_ms: u64) -> String {
    let (sign, ms) = if at_ms < begin_ms { ('-', begin_ms - at_ms) } else { ('+', at_ms - begin_ms) };
    match ms {
        0..100_000 => format!("{sign}{}.{:03}s", ms / 1000, ms % 1000),
        100_000..7_200_000 => format!("{sign}{}m{:02}s", ms / 60_000, ms / 1000 % 60),
        _ => format!("{sign}{}h{:02}m", ms / 3_600_000, ms / 60_000 % 60),
    }
}
