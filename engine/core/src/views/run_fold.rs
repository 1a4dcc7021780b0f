//! The fold of one run and its jobs: a pure function of their events in canonical order and of the authority.
//!
//! Validity reads only an event's envelope and body, the events it names, and the authority; never another run, never a clock,
//! never whether something "was known" when the event was written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wfengine_storage_format::{
    AbortReason, Body, Conclusion, EventId, Frozen, JobClaimed, JobId, JobsPlanned, PeerId, Placement,
    PlannedKey, PlannedLeg, ReleaseReason, Role, RunId, RunSpec, RunSubmitted, job_id, ownership_key,
};

use super::job::{Claim, ClaimState, Job, JobResult, Status};
use super::run::{PlannedPart, Run, Submission};
use super::run_effects;
use super::sorted_map::SortedMap;
use crate::admitted::Admitted;
use crate::authority::{Authority, Roster};
use crate::ownership::place_in_ranking;

/// The job key of a task.
pub(crate) const TASK_KEY: &str = "task";

/// Folds the events of a run alone: submissions, plans, cancel, expiry, priority. Jobs are added by [`fold_job`].
pub(crate) fn fold_run(id: RunId, events: &[Arc<Admitted>], authority: &Authority) -> Run {
    let mut run = Run::unknown(id);
    let mut bodies: BTreeMap<EventId, &Arc<RunSubmitted>> = BTreeMap::new();
    let counting = |event: &&Arc<Admitted>| authority.roster().counts(&event.chain, event.seq);
    for event in events.iter().filter(counting) {
        match &event.body {
            Body::RunSubmitted(body) if may_submit(event, authority) => {
                bodies.insert(event.id, body);
                run.submissions.push(Submission {
                    id: event.id,
                    author: event.author(),
                    time_ms: event.time.0,
                    head: event.clock_head(),
                    refs: event.refs.clone(),
                    height: event.height,
                    agrees: false,
                });
            }
            Body::RunSubmitted(_) => run.void.push(event.id),
            _ => {}
        }
    }
    run.canonical = bodies.keys().next().copied();
    let Some(submitted) = run.canonical.and_then(|canonical| bodies.get(&canonical).copied()) else {
        run.reason = "its submission is void".to_owned();
        return run;
    };
    run.conflict = bodies.values().any(|other| asks_differently(submitted, other));
    run.priority_milli = submitted.priority_milli;
    run.submitted = Some(Arc::clone(submitted));
    if matches!(submitted.spec, RunSpec::Task { .. }) {
        run.parts.insert(TASK_KEY.to_owned(), task_part(id));
    }
    let mut plans: BTreeMap<&str, &PlannedKey> = BTreeMap::new();
    for event in events.iter().filter(counting) {
        if !fold_run_event(&mut run, event, &bodies, &mut plans, authority) {
            run.void.push(event.id);
        }
    }
    compare_submissions(&mut run, &bodies, events.iter().filter(counting));
    run
}

/// Says of each submission whether it asks for what the canonical one asks for. Where a run's repository is counts too: of the sources
/// only the commit itself is proved by its name.
fn compare_submissions<'a>(
    run: &mut Run,
    bodies: &BTreeMap<EventId, &Arc<RunSubmitted>>,
    events: impl Iterator<Item = &'a Arc<Admitted>>,
) {
    let (Some(canonical), Some(asked)) = (run.submission().cloned(), run.submitted.clone()) else { return };
    if run.submissions.len() == 1 {
        run.submissions.iter_mut().for_each(|submission| submission.agrees = true);
        return;
    }
    let mut places: BTreeMap<PeerId, (&str, &str)> = BTreeMap::new();
    for event in events {
        let Body::TriggerFired(fired) = &event.body else { continue };
        let author = event.author();
        let bears_out = |known: &Submission| {
            known.author == author
                && bodies
                    .get(&known.id)
                    .is_some_and(|asked| run_effects::disagreement(fired, asked).is_none())
        };
        if run.submissions.iter().any(bears_out) {
            places.entry(author).or_insert((&fired.repository.source, &fired.repository.id));
        }
    }
    let place = run.trigger.as_ref().map(|fired| (&*fired.repository.source, &*fired.repository.id));
    for submission in &mut run.submissions {
        submission.agrees = submission.id == canonical.id
            || (places.get(&submission.author).copied() == place
                && bodies.get(&submission.id).is_some_and(|body| asks_the_same(body, &asked)));
    }
}

/// Folds one event of the run other than its submissions. Says whether it made sense.
fn fold_run_event<'a>(
    run: &mut Run,
    event: &'a Arc<Admitted>,
    submissions: &BTreeMap<EventId, &Arc<RunSubmitted>>,
    plans: &mut BTreeMap<&'a str, &'a PlannedKey>,
    authority: &Authority,
) -> bool {
    let author = event.author();
    let named =
        |submission: &EventId| event.refs.contains(submission) && submissions.contains_key(submission);
    let directs = |run: &Run| {
        run.submissions.iter().any(|submission| submission.author == author)
            || authority.roster().might(&author, Role::Operator)
            || authority.roster().might(&author, Role::Admin)
    };
    match &event.body {
        Body::JobsPlanned(body) => {
            let right = authority.roster().might(&author, Role::Executor)
                || authority.roster().might(&author, Role::Submitter);
            named(&body.submission) && right && plan(run, event.id, body, plans)
        }
        Body::RunCancelled(body) if named(&body.submission) && directs(run) => {
            run.cancelled.get_or_insert((event.id, author, body.reason.clone()));
            true
        }
        Body::RunExpired(body)
            if named(&body.submission) && authority.roster().standing(&author).is_some() =>
        {
            run.expired.get_or_insert(event.id);
            true
        }
        Body::PriorityChanged(body) if named(&body.submission) && directs(run) => {
            run.priority_milli = body.priority_milli;
            true
        }
        Body::TriggerFired(body) => run_effects::fire(run, author, body, submissions),
        Body::EffectIntended(body) if named(&body.submission) => run_effects::intend(run, event, body),
        Body::EffectDone(body) => run_effects::conclude(run, event, body),
        Body::DispatchFollowed(body) if authority.roster().might(&author, Role::Submitter) => {
            run_effects::follow(run, event, body)
        }
        Body::RunSubmitted(_) => true,
        _ => false,
    }
}

fn may_submit(event: &Admitted, authority: &Authority) -> bool {
    authority.roster().might(&event.author(), Role::Submitter)
        && match &event.body {
            Body::RunSubmitted(body) => body.rerun_of.is_none_or(|before| event.refs.contains(&before)),
            _ => false,
        }
}

/// Whether two submissions under one trigger key want different things. Priority, names and wall times may differ.
fn asks_differently(a: &RunSubmitted, b: &RunSubmitted) -> bool {
    let same_spec = match (&a.spec, &b.spec) {
        (RunSpec::Workflow(x), RunSpec::Workflow(y)) => x.source == y.source && x.job_keys == y.job_keys,
        (x, y) => x == y,
    };
    !same_spec || a.frozen.inputs != b.frozen.inputs || a.metadata_json != b.metadata_json
}

/// Whether two submissions of one run lead to the same execution. Two that saw one trigger count the runs before it for themselves.
fn asks_the_same(a: &RunSubmitted, b: &RunSubmitted) -> bool {
    let Frozen {
        event_name,
        event_json,
        event_blob,
        inputs,
        vars,
        actor,
        repository,
        ref_name,
        sha,
        run_number: _,
    } = &a.frozen;
    let c = &b.frozen;
    let same_values = (event_name, event_json, event_blob, inputs, vars)
        == (&c.event_name, &c.event_json, &c.event_blob, &c.inputs, &c.vars)
        && (actor, repository, ref_name, sha) == (&c.actor, &c.repository, &c.ref_name, &c.sha);
    same_values
        && (&a.spec, &a.tags, &a.metadata_json) == (&b.spec, &b.tags, &b.metadata_json)
        && (a.placement, a.origin) == (b.placement, b.origin)
}

fn task_part(run: RunId) -> PlannedPart {
    PlannedPart {
        event: None,
        consumed: Vec::new(),
        needs: Vec::new(),
        skipped: None,
        max_parallel: None,
        fail_fast: false,
        jobs: vec![job_id(&run, TASK_KEY, &BTreeMap::new())],
    }
}

/// Takes the parts of a plan that nobody planned before in canonical order. `plans` are those that count so far.
fn plan<'a>(
    run: &mut Run,
    event: EventId,
    body: &'a JobsPlanned,
    plans: &mut BTreeMap<&'a str, &'a PlannedKey>,
) -> bool {
    if run.is_task() {
        return false;
    }
    let keys: BTreeSet<String> = run.job_keys().into_iter().collect();
    let known: Vec<&PlannedKey> = body.jobs.iter().filter(|planned| keys.contains(&planned.key)).collect();
    for planned in &known {
        if let Some(first) = plans.get(planned.key.as_str()) {
            run.divergent_plan |= first != planned;
            continue;
        }
        plans.insert(&planned.key, planned);
        let part = PlannedPart {
            event: Some(event),
            consumed: body.consumed.clone(),
            needs: planned.needs.clone(),
            skipped: planned.skipped.clone(),
            max_parallel: planned.max_parallel,
            fail_fast: planned.fail_fast,
            jobs: planned.job_ids(&run.id).map(|(id, _)| id).collect(),
        };
        run.parts.insert(planned.key.clone(), part);
    }
    !known.is_empty()
}

/// Every planned job before its own events: taken from the plans that count.
pub(crate) fn planned_jobs(run: &Run, run_events: &[Arc<Admitted>]) -> SortedMap<JobId, Job> {
    let mut jobs = SortedMap::new();
    for (key, part) in run.parts.iter() {
        for (index, id) in part.jobs.iter().enumerate() {
            if let Some(job) = blank_job(run, key, part, index, run_events).filter(|_| !jobs.contains_key(id))
            {
                jobs.insert(*id, job);
            }
        }
    }
    jobs
}

/// One job before its own events. `None` while no plan names it.
pub(crate) fn planned_job(run: &Run, id: JobId, run_events: &[Arc<Admitted>]) -> Option<Job> {
    let place = |part: &PlannedPart| part.jobs.iter().position(|known| *known == id);
    let (key, part, index) =
        run.parts.iter().find_map(|(key, part)| place(part).map(|index| (key, part, index)))?;
    blank_job(run, key, part, index, run_events)
}

/// The job at a place of a part. A part lists its jobs in the order of the plan's legs.
fn blank_job(
    run: &Run,
    key: &str,
    part: &PlannedPart,
    index: usize,
    run_events: &[Arc<Admitted>],
) -> Option<Job> {
    let leg = match part.event {
        None => PlannedLeg {
            name: run.name().to_owned(),
            matrix: BTreeMap::new(),
            runs_on: Vec::new(),
            group: None,
            timeout_minutes: u32::MAX,
            continue_on_error: false,
        },
        Some(event) => {
            let known = run_events.iter().find(|known| known.id == event)?;
            let Body::JobsPlanned(body) = &known.body else { return None };
            body.jobs.iter().find(|planned| planned.key == key)?.legs.get(index)?.clone()
        }
    };
    Some(Job {
        id: *part.jobs.get(index)?,
        key: key.to_owned(),
        leg,
        needs: part.needs.clone(),
        claims: Vec::new(),
        effective: None,
        result: None,
        duplicates: Vec::new(),
        divergent: false,
        result_superseded: false,
        failed: None,
        failed_infrastructure: false,
        failed_retry: false,
        status: Status::Pending,
        reason: String::new(),
        void: Vec::new(),
    })
}

/// Folds events of a job, the last in canonical order, on top of what those before them made of it. `results` is every result it
/// has, in canonical order.
pub(crate) fn fold_job(
    run: &Run,
    job: &mut Job,
    results: &mut Vec<Arc<JobResult>>,
    events: &[Arc<Admitted>],
    authority: &Authority,
) {
    for event in events {
        fold_counting(run, job, results, event, authority);
    }
    settle_job(run, job, results);
}

fn fold_counting(
    run: &Run,
    job: &mut Job,
    results: &mut Vec<Arc<JobResult>>,
    event: &Arc<Admitted>,
    authority: &Authority,
) {
    if authority.roster().counts(&event.chain, event.seq)
        && !fold_job_event(run, job, results, event, authority)
    {
        job.void.push(event.id);
    }
}

/// What follows from all claims and results together. Repeatable: it reads nothing that it sets.
pub(crate) fn settle_job(run: &Run, job: &mut Job, results: &[Arc<JobResult>]) {
    job.effective = job.claims.iter().max_by_key(|claim| claim.token()).map(|claim| claim.id);
    settle_results(job, results);
    settle_status(run, job);
}

fn fold_job_event(
    run: &Run,
    job: &mut Job,
    results: &mut Vec<Arc<JobResult>>,
    event: &Arc<Admitted>,
    authority: &Authority,
) -> bool {
    if let Body::JobClaimed(body) = &event.body {
        return match claim_of(run, job, body, event, authority) {
            Some(claim) => {
                job.claims.push(claim);
                true
            }
            None => false,
        };
    }
    if let Body::JobFailed(body) = &event.body {
        return fail(job, event, body, authority);
    }
    let named = match &event.body {
        Body::JobReleased(body) => body.claim,
        Body::JobStarted(body) => body.claim,
        Body::StepFinished(body) => body.claim,
        Body::JobCompleted(body) => body.claim,
        Body::JobAborted(body) => body.claim,
        _ => return false,
    };
    let Some(claim) = own_claim(job, &named, event) else { return false };
    match &event.body {
        Body::JobReleased(body) => claim.state = ClaimState::Released(release_text(&body.reason)),
        Body::JobStarted(_) => claim.started = true,
        Body::StepFinished(_) => claim.steps_done += 1,
        Body::JobAborted(body) => {
            claim.steps_done = claim.steps_done.max(body.steps_done);
            claim.state = ClaimState::Aborted(abort_text(&body.by));
        }
        Body::JobCompleted(body) => {
            claim.state = ClaimState::Completed;
            results.push(Arc::new(JobResult {
                id: event.id,
                claim: named,
                peer: event.author(),
                conclusion: body.conclusion,
                outputs: body.outputs.clone(),
                result_json: body.result_json.clone(),
                log: body.log.map(|log| (log, body.log_len)),
                duration_ms: body.duration_ms,
                notes: body.notes.clone(),
            }));
        }
        _ => return false,
    }
    true
}

/// The claim that an event speaks of, if it is the author's own, still held, and named among the event's refs.
fn own_claim<'a>(job: &'a mut Job, named: &EventId, event: &Admitted) -> Option<&'a mut Claim> {
    let own = |claim: &&mut Claim| {
        claim.id == *named && claim.chain == event.chain && claim.is_held() && event.refs.contains(named)
    };
    job.claims.iter_mut().find(own)
}

/// Reads a claim: who, ranked by which submission. `None` when it says nothing.
fn claim_of(
    run: &Run,
    job: &Job,
    body: &JobClaimed,
    event: &Admitted,
    authority: &Authority,
) -> Option<Claim> {
    let submission = run.submissions.iter().find(|submission| submission.id == body.submission)?;
    let named = |id: &EventId| event.refs.contains(id);
    if !named(&body.submission) || !body.supersedes.as_ref().is_none_or(named) {
        return None;
    }
    let follows = match body.supersedes {
        None => body.epoch == 1,
        Some(before) => {
            job.claim(&before).is_some_and(|claim| claim.epoch.checked_add(1) == Some(body.epoch))
        }
    };
    let doubled = job.claims.iter().any(|claim| claim.chain == event.chain && claim.epoch == body.epoch);
    if !follows || doubled || job.is_used_up(&event.author()) {
        return None;
    }
    let (band, rank, distance) = place_of(run, job, submission, &event.author(), &event.refs, authority)?;
    Some(Claim {
        id: event.id,
        chain: event.chain,
        seq: event.seq,
        height: event.height,
        epoch: body.epoch,
        band,
        rank,
        distance,
        names_canonical_submission: run.canonical == Some(submission.id),
        supersedes: body.supersedes,
        started: false,
        steps_done: 0,
        state: ClaimState::Held,
        time_ms: event.time.0,
    })
}

/// Band, rank and distance of a claim's author under the submission the claim names. `None` if it may not claim the job.
pub(crate) fn place_of(
    run: &Run,
    job: &Job,
    submission: &Submission,
    author: &PeerId,
    refs: &[EventId],
    authority: &Authority,
) -> Option<(u8, u32, u32)> {
    // the closures below may hold a peer whose admission lies above the cut of whoever wrote it
    if !authority.roster().might(author, Role::Executor) {
        return None;
    }
    if run.submitted.as_ref().is_some_and(|submitted| submitted.placement == Placement::Author) {
        return (submission.author == *author).then_some((0, 0, 0));
    }
    let key = ownership_key(&submission.head, &job.id);
    let known_to_submission = authority.closure_under(&submission.refs);
    let band = |band, roster: &Roster, takes_part: &dyn Fn(&PeerId) -> bool| {
        let (rank, ranked) = place_in_ranking(&key, roster, &job.leg.runs_on, author, takes_part)?;
        Some((band, rank, ranked.distance))
    };
    if known_to_submission.member(author).is_some() {
        return band(0, &known_to_submission, &|_| true);
    }
    band(1, &authority.closure_under(refs), &|peer| known_to_submission.member(peer).is_none())
}

fn fail(
    job: &mut Job,
    event: &Admitted,
    body: &wfengine_storage_format::JobFailed,
    authority: &Authority,
) -> bool {
    let by_claim = match body.claim {
        None => false,
        Some(claim) => match own_claim(job, &claim, event) {
            None => false,
            Some(claim) => {
                claim.state = ClaimState::Failed;
                true
            }
        },
    };
    let for_hosts = body.infrastructure && authority.roster().might(&event.author(), Role::Executor);
    if (by_claim || for_hosts) && job.failed.is_none() {
        job.failed = Some(body.error.clone());
        job.failed_infrastructure = body.infrastructure;
        job.failed_retry = body.retry;
    }
    by_claim || for_hosts
}

fn settle_results(job: &mut Job, results: &[Arc<JobResult>]) {
    let token = |result: &JobResult| job.claim(&result.claim).map(Claim::token);
    let Some(canonical) = results.iter().max_by_key(|result| token(result)).cloned() else { return };
    job.result_superseded = results.first().is_some_and(|first| first.id != canonical.id);
    job.duplicates = results.iter().filter(|result| result.id != canonical.id).cloned().collect();
    job.divergent = job.duplicates.iter().any(|other| {
        other.conclusion != canonical.conclusion
            || other.outputs != canonical.outputs
            || other.result_json != canonical.result_json
    });
    job.result = Some(canonical);
}

fn settle_status(run: &Run, job: &mut Job) {
    let skipped = run.parts.get(&job.key).and_then(|part| part.skipped.clone());
    let (status, reason) = if let Some(result) = &job.result {
        let status = match result.conclusion {
            Conclusion::Success => Status::Completed,
            Conclusion::Failure => Status::Failed,
            Conclusion::Cancelled => Status::Cancelled,
            Conclusion::Skipped => Status::Skipped,
        };
        (status, String::new())
    } else if let Some(why) = skipped {
        (Status::Skipped, why)
    } else if let Some((_, _, why)) = &run.cancelled {
        let working = job.holder().is_some_and(|claim| claim.started);
        let still = if working { " (the execution is being stopped)" } else { "" };
        (Status::Cancelled, format!("{why}{still}"))
    } else if let Some(error) = &job.failed {
        (Status::Failed, error.clone())
    } else if let Some(ended) = run_effects::ended_elsewhere(run) {
        ended
    } else if run.expired.is_some() {
        (Status::Expired, "no eligible peer was found in time".to_owned())
    } else if let (None, Some(elsewhere)) = (job.holder(), run_effects::is_elsewhere(run)) {
        elsewhere
    } else {
        match job.effective_claim() {
            Some(claim) if claim.is_held() && claim.started => (Status::InProgress, String::new()),
            Some(claim) if claim.is_held() => (Status::Assigned, String::new()),
            Some(Claim { state: ClaimState::Released(why), .. }) => {
                (Status::Pending, format!("given back: {why}"))
            }
            Some(Claim { state: ClaimState::Aborted(why), .. }) => {
                (Status::Pending, format!("aborted: {why}"))
            }
            _ => (Status::Pending, run_effects::refused(run).unwrap_or_default()),
        }
    };
    (job.status, job.reason) = (status, reason);
}

fn release_text(reason: &ReleaseReason) -> String {
    match reason {
        ReleaseReason::Draining => "its node is shutting down".to_owned(),
        ReleaseReason::GroupFull => "its concurrency group is full".to_owned(),
        ReleaseReason::Superseded => "another claim is greater".to_owned(),
        ReleaseReason::LeaseEnded => "the program's lease ended".to_owned(),
        ReleaseReason::GivenBack => "the program gave it back".to_owned(),
        ReleaseReason::Unable(why) => why.clone(),
    }
}

fn abort_text(reason: &AbortReason) -> String {
    match reason {
        AbortReason::Superseded => "another claim is greater".to_owned(),
        AbortReason::Cancelled => "the run was cancelled".to_owned(),
        AbortReason::Completed => "another node completed it".to_owned(),
        AbortReason::Stopped => "its node stopped".to_owned(),
        AbortReason::Fault(why) => why.clone(),
    }
}
