//! The part of a run's fold that concerns the world outside: why the run exists, and what was handed to GitHub.
//!
//! Pure, as all folds. What is outside is known only by what members wrote of it: an intent is on disk before anything leaves a host,
//! so of a hand-over that nobody concluded it counts that it may have happened.

use std::collections::BTreeMap;
use std::sync::Arc;

use wfengine_storage_format::{
    Conclusion, DispatchFollowed, Effect, EffectDone, EffectIntended, EffectOutcome, EventId, Origin, PeerId,
    RunSpec, RunSubmitted, TriggerFired,
};

use super::job::Status;
use super::run::{Check, Dispatch, Run};
use crate::admitted::Admitted;

/// The tag, in its canonical spelling, of runs that never reach GitHub.
const PEERS_ONLY: &str = "p2p-only";

/// How often one member may hand a run to GitHub, each time after all hand-overs before were refused: enough for a limit or a
/// connection that comes back, and an end for what GitHub will never take. Counted by member, so that nobody uses up another's.
pub(crate) const DISPATCHES_MAX: usize = 5;

/// Whether a run may be handed to GitHub at all: discovery found it, and its tags do not forbid it.
pub(crate) fn may_leave(run: &Run) -> bool {
    let forbidden =
        run.submitted.as_ref().is_none_or(|submitted| submitted.tags.iter().any(|tag| tag == PEERS_ONLY));
    run.is_discovered() && !forbidden
}

/// What keeps a member from handing a run to GitHub now. A hand-over that is not known to have come to nothing forbids another.
pub(crate) fn keeps_from_github(run: &Run, author: &PeerId) -> Option<&'static str> {
    let own = || run.dispatches.iter().filter(|dispatch| dispatch.author == *author);
    if !may_leave(run) {
        Some("the run never leaves the peers")
    } else if run.dispatched().is_some() {
        Some("the run was handed to GitHub before")
    } else if own().count() >= DISPATCHES_MAX {
        Some("GitHub refused the run too often")
    } else if run.jobs.values().any(|job| job.holder().is_some() || job.result.is_some()) {
        Some("a peer has a job of the run")
    } else {
        None
    }
}

/// In what a trigger contradicts the submission that it is said to have caused.
pub(crate) fn disagreement(trigger: &TriggerFired, asked: &RunSubmitted) -> Option<&'static str> {
    let path = match &asked.spec {
        RunSpec::Workflow(workflow) => workflow.path.as_str(),
        RunSpec::Task { .. } => return Some("kind"),
    };
    let facts = [
        ("origin", asked.origin == Origin::Discovery),
        ("repository", trigger.repository.name == asked.frozen.repository),
        ("path", trigger.path == path),
        ("ref", trigger.git_ref == asked.frozen.ref_name),
        ("commit", trigger.sha == asked.frozen.sha),
    ];
    facts.into_iter().find(|(_, same)| !same).map(|(what, _)| what)
}

/// Whether two triggers say the same, but for where the sources are.
fn is_same_cause(a: &TriggerFired, b: &TriggerFired) -> bool {
    let TriggerFired { run, repository, path, trigger, git_ref, sha, sources: _, sources_len: _ } = a;
    *run == b.run
        && *repository == b.repository
        && *path == b.path
        && *trigger == b.trigger
        && *git_ref == b.git_ref
        && *sha == b.sha
}

/// Why the run exists: by the word of who wrote the canonical submission, as far as that bears it out. Trigger keys can be guessed:
/// whoever else submits the run must not choose for its author what is fetched or dispatched. The first counts; a later one may add
/// where the sources are.
pub(super) fn fire(
    run: &mut Run,
    author: PeerId,
    body: &Arc<TriggerFired>,
    submissions: &BTreeMap<EventId, &Arc<RunSubmitted>>,
) -> bool {
    let bears_out =
        |id: &EventId| submissions.get(id).is_some_and(|asked| disagreement(body, asked).is_none());
    let Some(canonical) = run.submission().filter(|canonical| canonical.author == author) else {
        return run.submissions.iter().any(|known| known.author == author && bears_out(&known.id));
    };
    if !bears_out(&canonical.id) {
        return false;
    }
    match &run.trigger {
        Some(before) if !is_same_cause(before, body) => return false,
        Some(before) if before.sources.is_some() || body.sources.is_none() => {}
        _ => run.trigger = Some(Arc::clone(body)),
    }
    true
}

/// An intent counts only by the author of the submission that it names: nobody hands over what is not theirs.
pub(super) fn intend(run: &mut Run, event: &Admitted, body: &EffectIntended) -> bool {
    let author = event.author();
    let of_own = run.submissions.iter().any(|known| known.id == body.submission && known.author == author);
    if !of_own {
        return false;
    }
    match &body.effect {
        Effect::Dispatch { .. } if may_leave(run) && has_room(run, &author) => {
            run.dispatches.push(Dispatch {
                intent: event.id,
                author,
                time_ms: event.time.0,
                outcome: None,
                seen: None,
            });
        }
        Effect::Check { job } => {
            run.checks.push(Check { intent: event.id, author, job: *job, outcome: None });
        }
        Effect::Dispatch { .. } => return false,
    }
    true
}

/// Whether a fold takes one more intent of a member. Those of others are no matter: members that could not hear each other may all
/// have acted, and what may have happened must not be left out.
fn has_room(run: &Run, author: &PeerId) -> bool {
    run.dispatches.iter().filter(|dispatch| dispatch.author == *author).count() < DISPATCHES_MAX
}

/// The first outcome counts, but whoever did not know may find out.
fn takes(outcome: &mut Option<EffectOutcome>, said: &EffectOutcome) {
    if matches!(outcome, None | Some(EffectOutcome::Unknown(_))) {
        *outcome = Some(said.clone());
    }
}

pub(super) fn conclude(run: &mut Run, event: &Admitted, body: &EffectDone) -> bool {
    let author = event.author();
    if !event.refs.contains(&body.intent) {
        return false;
    }
    let dispatch =
        run.dispatches.iter_mut().find(|known| known.intent == body.intent && known.author == author);
    if let Some(dispatch) = dispatch {
        takes(&mut dispatch.outcome, &body.outcome);
        return true;
    }
    let check = run.checks.iter_mut().find(|known| known.intent == body.intent && known.author == author);
    check.is_some_and(|check| {
        takes(&mut check.outcome, &body.outcome);
        true
    })
}

/// Only whoever handed the run over says what GitHub shows of it; what was seen to have ended stays so.
pub(super) fn follow(run: &mut Run, event: &Admitted, body: &DispatchFollowed) -> bool {
    let author = event.author();
    let dispatch =
        run.dispatches.iter_mut().find(|known| known.intent == body.intent && known.author == author);
    let Some(dispatch) = dispatch.filter(|_| event.refs.contains(&body.intent)) else { return false };
    if dispatch.conclusion().is_none() {
        dispatch.seen = Some((body.id.clone(), body.url.clone(), body.conclusion));
    }
    true
}

fn at(dispatch: &Dispatch) -> String {
    match dispatch.url() {
        "" => "on GitHub".to_owned(),
        url => format!("on GitHub: {url}"),
    }
}

/// Why GitHub does not have a run that it was asked to take.
pub(crate) fn refused(run: &Run) -> Option<String> {
    if run.dispatched().is_some() {
        return None;
    }
    let mut reasons = run.dispatches.iter().filter_map(|dispatch| match &dispatch.outcome {
        Some(EffectOutcome::Refused(why)) => Some(why),
        _ => None,
    });
    let times = run.dispatches.len();
    let counted = if times > 1 { format!(" (asked {times} times)") } else { String::new() };
    reasons.next_back().map(|why| format!("GitHub did not take it{counted}: {why}"))
}

/// How the run ended at GitHub.
pub(crate) fn ended_elsewhere(run: &Run) -> Option<(Status, String)> {
    let dispatch = run.dispatched()?;
    let status = match dispatch.conclusion()? {
        Conclusion::Success => Status::Completed,
        Conclusion::Failure => Status::Failed,
        Conclusion::Cancelled => Status::Cancelled,
        Conclusion::Skipped => Status::Skipped,
    };
    Some((status, at(dispatch)))
}

/// Whether GitHub has the run and goes on.
pub(crate) fn is_elsewhere(run: &Run) -> Option<(Status, String)> {
    let dispatch = run.dispatched()?;
    if dispatch.conclusion().is_some() {
        return None;
    }
    let reason = match &dispatch.outcome {
        Some(EffectOutcome::Unknown(why)) if dispatch.seen.is_none() => {
            format!("handed to GitHub, which may have it or not: {why}")
        }
        _ => at(dispatch),
    };
    let status = if dispatch.seen.is_some() { Status::InProgress } else { Status::Assigned };
    Some((status, reason))
}
