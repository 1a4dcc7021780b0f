//! The part of a run's fold that concerns the world outside: why the run exists, and what was handed to GitHub.
//!
//! Pure, as all folds. What is outside is known only by what members wrote of it: an intent is on disk before anything leaves a host,
//! so of a hand-over that nobody concluded it counts that it may have happened.

use std::sync::Arc;

use wfengine_storage_format::{
    Conclusion, DispatchFollowed, Effect, EffectDone, EffectIntended, EffectOutcome, PeerId, TriggerFired,
};

use super::job::Status;
use super::run::{Check, Dispatch, Run};
use crate::admitted::Admitted;

/// The tag, in its canonical spelling, of runs that never reach GitHub.
const PEERS_ONLY: &str = "p2p-only";

/// Whether a run may be handed to GitHub at all: discovery found it, and its tags do not forbid it.
pub(crate) fn may_leave(run: &Run) -> bool {
    let forbidden =
        run.submitted.as_ref().is_none_or(|submitted| submitted.tags.iter().any(|tag| tag == PEERS_ONLY));
    run.is_discovered() && !forbidden
}

/// Why the run exists: by who submitted it. Of several, the first that shares the sources.
pub(super) fn fire(run: &mut Run, author: PeerId, body: &Arc<TriggerFired>) -> bool {
    if !run.is_discovered() || !run.submissions.iter().any(|submission| submission.author == author) {
        return false;
    }
    let replaces = match &run.trigger {
        None => true,
        Some(before) => before.sources.is_none() && body.sources.is_some(),
    };
    if replaces {
        run.trigger = Some(Arc::clone(body));
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
        Effect::Dispatch { .. } if may_leave(run) => run.dispatches.push(Dispatch {
            intent: event.id,
            author,
            time_ms: event.time.0,
            outcome: None,
            seen: None,
        }),
        Effect::Check { job } => {
            run.checks.push(Check { intent: event.id, author, job: *job, outcome: None });
        }
        Effect::Dispatch { .. } => return false,
    }
    true
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

/// Anybody who may submit may say what GitHub shows; what was seen to have ended stays so.
pub(super) fn follow(run: &mut Run, event: &Admitted, body: &DispatchFollowed) -> bool {
    let dispatch = run.dispatches.iter_mut().find(|known| known.intent == body.intent);
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
        Some(EffectOutcome::Unknown(why)) => format!("handed to GitHub, which may have it or not: {why}"),
        _ => at(dispatch),
    };
    let status = if dispatch.seen.is_some() { Status::InProgress } else { Status::Assigned };
    Some((status, reason))
}
