//! What concerns several jobs of a run once each of them is folded: fail-fast, stale inputs, and the run's own status.
//!
//! Pure and repeatable: it reads the jobs' own statuses and may only make an open job cancelled; whoever folds a job of a
//! fail-fast matrix anew folds its siblings too before it settles the run again.

use std::collections::BTreeSet;

use wfengine_storage_format::{EventId, JobId};

use super::job::{Job, Status};
use super::run::Run;
use super::run_effects;

/// What concerns several jobs of the run: fail-fast, stale inputs, and the run's own status.
pub(crate) fn settle_run(run: &mut Run) {
    let failing: Vec<JobId> = run
        .parts
        .values()
        .filter(|part| part.fail_fast && part.jobs.len() > 1)
        .filter(|part| part.jobs.iter().any(|id| run.jobs.get(id).is_some_and(failed_for_good)))
        .flat_map(|part| part.jobs.iter().copied())
        .collect();
    for id in failing {
        if let Some(job) = run.jobs.get_mut(&id).filter(|job| !job.status.is_terminal()) {
            job.status = Status::Cancelled;
            job.reason = "another job of its matrix failed (fail-fast)".to_owned();
        }
    }
    run.stale_input = has_stale_input(run);
    (run.status, run.reason) = status_of(run);
}

fn has_stale_input(run: &Run) -> bool {
    if run.parts.values().all(|part| part.consumed.is_empty()) {
        return false;
    }
    let canonical: BTreeSet<EventId> =
        run.jobs.values().filter_map(|job| job.result.as_ref()).map(|result| result.id).collect();
    run.parts.values().flat_map(|part| &part.consumed).any(|consumed| !canonical.contains(consumed))
}

fn failed_for_good(job: &Job) -> bool {
    job.status == Status::Failed && !job.leg.continue_on_error
}

fn status_of(run: &Run) -> (Status, String) {
    if run.submitted.is_none() {
        return (Status::Pending, run.reason.clone());
    }
    let unplanned = !run.is_planned_whole();
    let any = |status: Status| run.jobs.values().any(|job| job.status == status);
    let all_ended = !unplanned && run.jobs.values().all(|job| job.status.is_terminal());
    if let Some((_, _, why)) =
        run.cancelled.as_ref().filter(|_| unplanned || (all_ended && any(Status::Cancelled)))
    {
        return (Status::Cancelled, why.clone());
    }
    // what GitHub executed ends jobs that nobody planned here, too
    if let Some((status, reason)) = run_effects::ended_elsewhere(run).filter(|_| unplanned) {
        return (status, reason);
    }
    if let Some((status, reason)) = run_effects::is_elsewhere(run).filter(|_| !all_ended && untouched(run)) {
        return (status, reason);
    }
    if run.expired.is_some() && (unplanned || any(Status::Expired)) {
        return (Status::Expired, "no eligible peer was found in time".to_owned());
    }
    if !all_ended {
        let status = if any(Status::InProgress) || run.jobs.values().any(|job| job.status.is_terminal()) {
            Status::InProgress
        } else if any(Status::Assigned) {
            Status::Assigned
        } else {
            Status::Pending
        };
        let waits = status == Status::Pending;
        return (status, run_effects::refused(run).filter(|_| waits).unwrap_or_default());
    }
    let failed = run.jobs.values().find(|job| failed_for_good(job));
    if let Some(job) = failed {
        (Status::Failed, format!("job {} failed{}", job.leg.name, suffix(&job.reason)))
    } else if any(Status::Cancelled) {
        (Status::Cancelled, String::new())
    } else if !run.jobs.is_empty() && run.jobs.values().all(|job| job.status == Status::Skipped) {
        (Status::Skipped, "every job was skipped".to_owned())
    } else {
        let elsewhere =
            run_effects::ended_elsewhere(run).filter(|_| run.jobs.values().any(|job| job.result.is_none()));
        (Status::Completed, elsewhere.map_or_else(String::new, |(_, at)| at))
    }
}

/// Whether no peer has begun anything of it.
fn untouched(run: &Run) -> bool {
    run.jobs.values().all(|job| job.result.is_none() && job.holder().is_none())
}

fn suffix(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::views::run::PlannedPart;
    use std::collections::BTreeMap;
    use wfengine_storage_format::{
        Conclusion, Frozen, Origin, PeerId, Placement, PlannedLeg, RunId, RunSpec, RunSubmitted, WorkflowSpec,
    };

    fn job(n: u8, key: &str, status: Status) -> Job {
        let leg = PlannedLeg {
            name: format!("{key} {n}"),
            matrix: BTreeMap::new(),
            runs_on: vec![],
            group: None,
            timeout_minutes: 1,
            continue_on_error: false,
        };
        Job {
            id: JobId::from_bytes([n; 32]),
            key: key.into(),
            leg,
            needs: vec![],
            claims: vec![],
            effective: None,
            result: None,
            duplicates: vec![],
            divergent: false,
            result_superseded: false,
            failed: None,
            failed_infrastructure: false,
            failed_retry: false,
            status,
            reason: String::new(),
            void: vec![],
        }
    }

    fn part(jobs: &[&Job], fail_fast: bool) -> PlannedPart {
        PlannedPart {
            event: None,
            consumed: vec![],
            needs: vec![],
            skipped: None,
            max_parallel: None,
            fail_fast,
            jobs: jobs.iter().map(|job| job.id).collect(),
        }
    }

    /// A run of the keys `a` and `b`, of which `a` is planned as these legs and `b`, if at all, as one.
    fn run_of(legs: &[Status], b: Option<Status>) -> Run {
        let mut run = Run::unknown(RunId::from_bytes([0; 32]));
        let spec = RunSpec::Workflow(WorkflowSpec {
            path: String::new(),
            source: wfengine_storage_format::BlobId::from_bytes([0; 32]),
            called: vec![],
            job_keys: vec!["a".into(), "b".into()],
            rules_version: 1,
        });
        run.submitted = Some(Arc::new(RunSubmitted {
            trigger_key: vec![],
            attempt: 1,
            name: "n".into(),
            spec,
            frozen: Frozen::default(),
            tags: vec![],
            metadata_json: String::new(),
            priority_milli: 1,
            placement: Placement::Rule,
            origin: Origin::Hand,
            retries: 0,
            backoff_ms: (0, 0),
            rerun_of: None,
        }));
        let legs: Vec<Job> = (1..).zip(legs).map(|(n, status)| job(n, "a", *status)).collect();
        run.parts.insert("a".into(), part(&legs.iter().collect::<Vec<_>>(), false));
        if let Some(status) = b {
            let only = job(99, "b", status);
            run.parts.insert("b".into(), part(&[&only], false));
            run.jobs.insert(only.id, only);
        }
        run.jobs.extend(legs.into_iter().map(|job| (job.id, job)));
        run
    }

    fn settled(mut run: Run) -> Run {
        settle_run(&mut run);
        run
    }

    fn status(legs: &[Status], b: Option<Status>) -> Status {
        settled(run_of(legs, b)).status
    }

    const CANCELLED: (EventId, PeerId, &str) =
        (EventId::from_bytes([1; 32]), PeerId::from_bytes([1; 32]), "why");

    fn cancelled(mut run: Run) -> Run {
        run.cancelled = Some((CANCELLED.0, CANCELLED.1, CANCELLED.2.to_owned()));
        settled(run)
    }

    #[test]
    fn an_open_run_is_as_far_as_its_furthest_job() {
        use Status::*;
        assert_eq!(status(&[Pending, Pending], None), Pending);
        assert_eq!(status(&[Pending, Assigned], Some(Pending)), Assigned);
        assert_eq!(status(&[Assigned, InProgress], Some(Pending)), InProgress);
        assert_eq!(status(&[Completed, Pending], Some(Pending)), InProgress, "one of its jobs has ended");
        assert_eq!(status(&[Completed, Completed], None), InProgress, "a key is not planned yet");
    }

    #[test]
    fn an_ended_run_is_as_bad_as_its_worst_job() {
        use Status::*;
        assert_eq!(status(&[Completed, Skipped], Some(Completed)), Completed);
        assert_eq!(status(&[Skipped, Skipped], Some(Skipped)), Skipped);
        assert_eq!(status(&[Completed, Cancelled], Some(Skipped)), Cancelled);
        let run = settled(run_of(&[Failed, Cancelled], Some(Completed)));
        assert_eq!((run.status, run.reason.as_str()), (Failed, "job a 1 failed"));
        let mut tolerated = run_of(&[Failed], Some(Completed));
        tolerated.jobs.values_mut().for_each(|job| job.leg.continue_on_error = true);
        assert_eq!(settled(tolerated).status, Completed);
    }

    #[test]
    fn a_cancel_ends_what_had_not_ended() {
        use Status::*;
        assert_eq!(cancelled(run_of(&[Completed], None)).status, Cancelled, "the rest is never planned");
        assert_eq!(cancelled(run_of(&[Completed], Some(Cancelled))).status, Cancelled);
        let late = cancelled(run_of(&[Completed], Some(Completed)));
        assert_eq!((late.status, late.reason.as_str()), (Completed, ""), "everything was done already");
        assert_eq!(cancelled(run_of(&[Failed], Some(Cancelled))).reason, CANCELLED.2);
    }

    #[test]
    fn expiry_ends_what_nobody_did() {
        use Status::*;
        let expired = |mut run: Run| {
            run.expired = Some(CANCELLED.0);
            settled(run).status
        };
        assert_eq!(expired(run_of(&[Completed], None)), Expired);
        assert_eq!(expired(run_of(&[Completed], Some(Expired))), Expired);
        assert_eq!(expired(run_of(&[Completed], Some(Completed))), Completed);
        assert_eq!(expired(run_of(&[Completed], Some(Failed))), Failed);
    }

    #[test]
    fn fail_fast_cancels_the_open_legs_of_a_failed_matrix_and_no_others() {
        use Status::*;
        let mut run = run_of(&[Failed, InProgress, Completed, Pending], Some(Pending));
        run.parts.get_mut("a").unwrap().fail_fast = true;
        let statuses = |run: &Run| run.jobs.values().map(|job| job.status).collect::<Vec<_>>();
        let settled_run = settled(run.clone());
        assert_eq!(statuses(&settled_run), [Failed, Cancelled, Completed, Cancelled, Pending]);
        assert_eq!(statuses(&settled(settled_run.clone())), statuses(&settled_run), "settling is repeatable");
        run.jobs.values_mut().for_each(|job| job.leg.continue_on_error = true);
        assert_eq!(statuses(&settled(run)), [Failed, InProgress, Completed, Pending, Pending]);
    }

    #[test]
    fn a_plan_from_a_result_that_is_no_longer_canonical_is_stale() {
        let mut run = run_of(&[Status::Completed], Some(Status::Pending));
        let result = EventId::from_bytes([5; 32]);
        run.parts.get_mut("b").unwrap().consumed = vec![result];
        assert!(settled(run.clone()).stale_input);
        run.jobs.get_mut(&JobId::from_bytes([1; 32])).unwrap().result =
            Some(Arc::new(crate::views::job::JobResult {
                id: result,
                claim: result,
                peer: CANCELLED.1,
                conclusion: Conclusion::Success,
                outputs: vec![],
                result_json: String::new(),
                log: None,
                duration_ms: 1,
                notes: vec![],
            }));
        assert!(!settled(run).stale_input);
    }

    #[test]
    fn a_run_without_a_valid_submission_waits() {
        let mut run = Run::unknown(RunId::from_bytes([0; 32]));
        run.reason = "its submission is void".into();
        let run = settled(run);
        assert_eq!((run.status, run.reason.as_str()), (Status::Pending, "its submission is void"));
    }
}
