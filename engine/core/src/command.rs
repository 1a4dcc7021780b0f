//! What may be asked, and [`decide`]: a command looked at in the light of the views becomes events, or is refused.
//!
//! Pure. A command asks; it may get a [`Refusal`] and then nothing changed. Foreign events never pass through here: what
//! others wrote is judged by the folds.

mod members;
mod outside;
mod refusal;
mod runners;

use wfengine_storage_format::limits::{BLOBS_MAX, REFS_MAX};
use wfengine_storage_format::{
    BlobId, Body, ChainId, Conclusion, DiscoveryChanged, DispatchFollowed, EffectDone, EffectIntended,
    EventId, ForkProved, JobAborted, JobClaimed, JobCompleted, JobFailed, JobId, JobReleased, JobStarted,
    JobsPlanned, KeyRotated, PeerAdmitted, PeerDescribed, PeerId, PeerInvited, PeerLabelled, PeerRevoked,
    Placement, PlannedKey, PoolChanged, RepositoryScanned, Role, RunId, RunSubmitted, RunnerExited,
    RunnerIntended, RunnerRemoved, RunnerStarted, StepFinished, TriggerFired, WorkflowFound,
    WorkflowVanished,
};

use crate::views::Views;
use crate::views::job::Job;
use crate::views::run::Run;
use crate::views::run_fold::place_of;

pub use refusal::Refusal;

/// Something asked of the engine. What it carries becomes the event if it is not refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Submit a run, with the part of its plan that needs no results, and the blobs it needs.
    Submit {
        /// The submission.
        submission: Box<RunSubmitted>,
        /// Jobs without needs; empty for a task.
        plan: Vec<PlannedKey>,
        /// Workflow source, event payload.
        blobs: Vec<BlobId>,
    },
    /// Record jobs that became plannable.
    Plan(JobsPlanned),
    /// Cancel a run.
    Cancel {
        /// Which.
        run: RunId,
        /// Why, for people.
        reason: String,
    },
    /// Submit the next attempt of a failed run, unless it was cancelled or somebody did.
    Retry {
        /// The failed run.
        of: RunId,
        /// The next attempt.
        submission: Box<RunSubmitted>,
        /// Why it exists, if discovery found the run.
        trigger: Option<Box<TriggerFired>>,
        /// The jobs that can be planned at once.
        plan: Vec<PlannedKey>,
        /// Blobs it needs.
        blobs: Vec<BlobId>,
    },
    /// Give a run up after nobody eligible was found.
    Expire {
        /// Which.
        run: RunId,
        /// How long it waited, in milliseconds.
        waited_ms: u64,
    },
    /// Change a run's priority.
    Prioritise {
        /// Which.
        run: RunId,
        /// Lower runs first, thousandths.
        priority_milli: u32,
    },
    /// Claim a job.
    Claim(JobClaimed),
    /// Give a claim back.
    Release(JobReleased),
    /// Say that the first step began.
    Start(JobStarted),
    /// Say that a step ended.
    FinishStep(StepFinished),
    /// Record a result.
    Complete(JobCompleted),
    /// Say that an execution stopped before its end.
    Abort(JobAborted),
    /// Say that no execution will conclude.
    Fail(JobFailed),
    /// Open a way in for one peer.
    Invite(PeerInvited),
    /// Admit a peer.
    Admit(PeerAdmitted),
    /// Revoke a member.
    Revoke(PeerRevoked),
    /// Set a member's labels and weight.
    Label(PeerLabelled),
    /// Describe this peer.
    Describe(PeerDescribed),
    /// Record a fork proof.
    ProveFork(ForkProved),
    /// Go on under another key.
    Rotate(KeyRotated),
    /// Say what this peer looks at.
    Watch(DiscoveryChanged),
    /// Record a look at a repository, unless it saw what this peer's last one saw.
    Scan(RepositoryScanned),
    /// Record a tagged workflow.
    Find(WorkflowFound),
    /// Record that a tagged workflow is there no more.
    Vanish(WorkflowVanished),
    /// Submit a run that became due, and say why.
    Fire {
        /// Why.
        trigger: Box<TriggerFired>,
        /// The submission.
        submission: Box<RunSubmitted>,
        /// Jobs without needs.
        plan: Vec<PlannedKey>,
        /// Blobs that the submission needs.
        blobs: Vec<BlobId>,
    },
    /// Write down what is about to happen outside.
    Intend(EffectIntended),
    /// Write down what came of it.
    Conclude(EffectDone),
    /// Write down what is seen of a run that GitHub executes.
    Follow(DispatchFollowed),
    /// Say what becomes of one of this peer's pools of runners.
    ChangePool(PoolChanged),
    /// Write down that a runner is about to be registered and its container made.
    IntendRunner(RunnerIntended),
    /// Write down that a runner's container runs.
    StartRunner(RunnerStarted),
    /// Write down how a runner came to its end.
    ExitRunner(RunnerExited),
    /// Write down that nothing of a runner is left.
    RemoveRunner(RunnerRemoved),
}

impl Command {
    /// The run a command is about: two commands about one run are never decided in one batch.
    pub fn run(&self) -> Option<RunId> {
        match self {
            Command::Submit { submission, .. } => Some(submission.run()),
            // decided in no batch with a cancel of the failed run
            Command::Retry { of, .. } => Some(*of),
            Command::Plan(body) => Some(body.run),
            Command::Cancel { run, .. } | Command::Expire { run, .. } | Command::Prioritise { run, .. } => {
                Some(*run)
            }
            Command::Claim(body) => Some(body.run),
            Command::Release(body) => Some(body.run),
            Command::Start(body) => Some(body.run),
            Command::FinishStep(body) => Some(body.run),
            Command::Complete(body) => Some(body.run),
            Command::Abort(body) => Some(body.run),
            Command::Fail(body) => Some(body.run),
            Command::Fire { submission, .. } => Some(submission.run()),
            Command::Intend(body) => Some(body.run),
            Command::Conclude(body) => Some(body.run),
            Command::Follow(body) => Some(body.run),
            Command::Watch(_)
            | Command::Scan(_)
            | Command::Find(_)
            | Command::Vanish(_)
            | Command::ChangePool(_)
            | Command::IntendRunner(_)
            | Command::StartRunner(_)
            | Command::ExitRunner(_)
            | Command::RemoveRunner(_)
            | Command::Invite(_)
            | Command::Admit(_)
            | Command::Revoke(_)
            | Command::Label(_)
            | Command::Describe(_)
            | Command::ProveFork(_)
            | Command::Rotate(_) => None,
        }
    }

    /// Whether the command changes who belongs to the cluster: such commands are decided one at a time.
    pub fn is_about_authority(&self) -> bool {
        matches!(
            self,
            Command::Invite(_)
                | Command::Admit(_)
                | Command::Revoke(_)
                | Command::Label(_)
                | Command::ProveFork(_)
                | Command::Rotate(_)
        )
    }
}

/// One event to write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Draft {
    /// What it says.
    pub body: DraftBody,
    /// Events it names, the most important first, at most 8.
    pub refs: Vec<EventId>,
    /// Blobs it needs.
    pub blobs: Vec<BlobId>,
}

/// A body, complete or waiting for the id of the event before it in the same frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DraftBody {
    /// As it will be written.
    Ready(Box<Body>),
    /// The static plan of the submission that is the draft before this one.
    PlanOfPrevious {
        /// Of which run.
        run: RunId,
        /// Version of the planning rules.
        rules_version: u32,
        /// What was planned.
        jobs: Vec<PlannedKey>,
    },
}

/// What a command leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Write these, in this order, in one frame.
    Write(Vec<Draft>),
    /// It was asked before and already holds.
    AlreadySo,
}

/// Turns a command of the peer that owns `chain` into events, or refuses it.
///
/// # Errors
/// [`Refusal`]; nothing changed.
pub fn decide(views: &Views, chain: &ChainId, command: &Command) -> Result<Decision, Refusal> {
    if let (Some(kind), true) = (views.must_upgrade(), is_forbidden_before_upgrade(command)) {
        return Err(Refusal::MustUpgrade { kind });
    }
    let asking = Asking { views, chain };
    match command {
        Command::Submit { submission, plan, blobs } => asking.submit(submission, plan, blobs),
        Command::Retry { of, submission, trigger, plan, blobs } => {
            asking.retry(of, submission, trigger.as_deref(), plan, blobs)
        }
        Command::Plan(body) => asking.plan(body),
        Command::Cancel { run, reason } => asking.cancel(run, reason),
        Command::Expire { run, waited_ms } => asking.expire(run, *waited_ms),
        Command::Prioritise { run, priority_milli } => asking.prioritise(run, *priority_milli),
        Command::Claim(body) => asking.claim(body),
        Command::Release(body) => asking.end_claim(body.run, body.job, body.claim, body.clone().into()),
        Command::Start(body) => asking.start(body),
        Command::FinishStep(body) => asking.end_claim(body.run, body.job, body.claim, body.clone().into()),
        Command::Complete(body) => asking.complete(body),
        Command::Abort(body) => asking.end_claim(body.run, body.job, body.claim, body.clone().into()),
        Command::Fail(body) => asking.fail(body),
        Command::Invite(body) => asking.as_admin(body.clone().into()),
        Command::Admit(body) => asking.admit(body),
        Command::Revoke(body) => asking.revoke(body),
        Command::Label(body) => asking.label(body),
        Command::Describe(body) => asking.describe(body),
        Command::ProveFork(body) => asking.prove_fork(body),
        Command::Rotate(body) => asking.write(body.clone().into(), Vec::new()),
        Command::Watch(body) => asking.watch(body),
        Command::Scan(body) => asking.scan(body),
        Command::Find(body) => asking.find(body),
        Command::Vanish(body) => asking.vanish(body),
        Command::Fire { trigger, submission, plan, blobs } => asking.fire(trigger, submission, plan, blobs),
        Command::Intend(body) => asking.intend(body),
        Command::Conclude(body) => asking.conclude(body),
        Command::Follow(body) => asking.follow(body),
        Command::ChangePool(body) => asking.change_pool(body),
        Command::IntendRunner(body) => asking.intend_runner(body),
        Command::StartRunner(body) => asking.start_runner(body),
        Command::ExitRunner(body) => asking.exit_runner(body),
        Command::RemoveRunner(body) => asking.remove_runner(body),
    }
}

/// Whether a submission under a trigger key that is taken asks for something else than the one before. Names, priorities and
/// times may differ.
pub fn asks_differently(before: &RunSubmitted, submission: &RunSubmitted) -> bool {
    before.spec != submission.spec
        || before.frozen.inputs != submission.frozen.inputs
        || before.metadata_json != submission.metadata_json
}

/// Claims, completions and admissions wait for the upgrade; submitting, cancelling and giving back do not.
fn is_forbidden_before_upgrade(command: &Command) -> bool {
    matches!(command, Command::Claim(_) | Command::Complete(_) | Command::Admit(_) | Command::Plan(_))
}

struct Asking<'a> {
    views: &'a Views,
    chain: &'a ChainId,
}

impl Asking<'_> {
    fn peer(&self) -> PeerId {
        self.chain.author
    }

    fn need_role(&self, role: Role) -> Result<(), Refusal> {
        if self.views.authority().roster().may(&self.peer(), role) {
            return Ok(());
        }
        let (article, hint) = match role {
            Role::Admin => ("an", ": ask an admin, or run this on an admin's host"),
            Role::Operator => ("an", ": ask an operator or the submitter"),
            Role::Executor => ("an", ": an admin can invite it with that role"),
            Role::Submitter => ("a", ": an admin can invite it with that role"),
        };
        Err(Refusal::Role { peer: self.views.peer_name(&self.peer()), article, role: role.name(), hint })
    }

    fn run(&self, run: &RunId) -> Result<&Run, Refusal> {
        match self.views.runs().live(run) {
            Some(known) if known.submitted.is_some() => Ok(known),
            _ => match self.views.runs().finished().get(run) {
                Some(finished) => {
                    Err(Refusal::Ended { what: format!("run {}", run.short()), status: finished.status })
                }
                None => Err(Refusal::UnknownRun(*run)),
            },
        }
    }

    fn job(&self, run: &RunId, job: &JobId) -> Result<(&Run, &Job), Refusal> {
        let known = self.run(run)?;
        known.jobs.get(job).map(|found| (known, found)).ok_or(Refusal::UnknownJob { run: *run, job: *job })
    }

    fn draft(&self, body: Body, blobs: Vec<BlobId>) -> Draft {
        let mut refs = body.named_events();
        let names_authority = matches!(body, Body::RunSubmitted(_) | Body::JobClaimed(_))
            || body.encode().is_ok_and(|(kind, _)| kind.is_authority());
        if names_authority {
            for head in self.views.authority().heads_for_refs(REFS_MAX) {
                if refs.len() < REFS_MAX && !refs.contains(&head) {
                    refs.push(head);
                }
            }
        }
        Draft { body: DraftBody::Ready(Box::new(body)), refs, blobs }
    }

    fn write(&self, body: Body, blobs: Vec<BlobId>) -> Result<Decision, Refusal> {
        body.encode().map_err(|reason| Refusal::Format(reason.to_string()))?;
        Ok(Decision::Write(vec![self.draft(body, blobs)]))
    }

    fn submit(
        &self,
        submission: &RunSubmitted,
        plan: &[PlannedKey],
        blobs: &[BlobId],
    ) -> Result<Decision, Refusal> {
        self.need_role(Role::Submitter)?;
        let run = submission.run();
        if let Some(known) = self.views.runs().live(&run) {
            if let Some(before) = &known.submitted {
                return if asks_differently(before, submission) {
                    Err(Refusal::Conflict { name: before.name.clone(), run })
                } else {
                    Ok(Decision::AlreadySo)
                };
            }
        } else if self.views.runs().contains(&run) {
            return Ok(Decision::AlreadySo);
        }
        let body = Body::from(submission.clone());
        body.encode().map_err(|reason| Refusal::Format(reason.to_string()))?;
        if blobs.len() > BLOBS_MAX {
            return Err(Refusal::Format(format!("{} blobs, at most {BLOBS_MAX} are allowed", blobs.len())));
        }
        let mut drafts = vec![self.draft(body, blobs.to_vec())];
        if !plan.is_empty() {
            let rules_version = match &submission.spec {
                wfengine_storage_format::RunSpec::Workflow(spec) => spec.rules_version,
                wfengine_storage_format::RunSpec::Task { .. } => 0,
            };
            let unset = EventId::from_bytes([0; 32]);
            let as_written = JobsPlanned {
                run,
                submission: unset,
                rules_version,
                consumed: Vec::new(),
                jobs: plan.to_vec(),
            };
            Body::from(as_written).encode().map_err(|reason| {
                Refusal::Format(format!("the plan of the workflow's first jobs: {reason}"))
            })?;
            drafts.push(Draft {
                body: DraftBody::PlanOfPrevious { run, rules_version, jobs: plan.to_vec() },
                refs: Vec::new(),
                blobs: Vec::new(),
            });
        }
        Ok(Decision::Write(drafts))
    }

    fn retry(
        &self,
        of: &RunId,
        submission: &RunSubmitted,
        trigger: Option<&TriggerFired>,
        plan: &[PlannedKey],
        blobs: &[BlobId],
    ) -> Result<Decision, Refusal> {
        // a run that left memory can be cancelled no more
        let known = self.views.runs().live(of);
        let next = known.map(|known| known.next_attempt().map(|next| next.run));
        if next.is_some_and(|next| next != Some(submission.run())) {
            return Err(Refusal::Pointless("the run is not to be tried again"));
        }
        match trigger {
            Some(trigger) => self.fire(trigger, submission, plan, blobs),
            None => self.submit(submission, plan, blobs),
        }
    }

    fn plan(&self, body: &JobsPlanned) -> Result<Decision, Refusal> {
        if self.need_role(Role::Executor).is_err() {
            self.need_role(Role::Submitter)?;
        }
        let run = self.run(&body.run)?;
        if run.status.is_terminal() {
            return Err(Refusal::Ended { what: format!("run {}", body.run.short()), status: run.status });
        }
        if body.jobs.iter().all(|planned| run.parts.contains_key(&planned.key)) {
            return Ok(Decision::AlreadySo);
        }
        self.write(body.clone().into(), Vec::new())
    }

    /// The submitter of a run, an operator or an admin.
    fn need_direction(&self, run: &Run) -> Result<EventId, Refusal> {
        let own = run.submissions.iter().find(|submission| submission.author == self.peer());
        if own.is_none() && self.need_role(Role::Admin).is_err() {
            self.need_role(Role::Operator)?;
        }
        own.map(|submission| submission.id).or(run.canonical).ok_or(Refusal::UnknownRun(run.id))
    }

    fn cancel(&self, run: &RunId, reason: &str) -> Result<Decision, Refusal> {
        let known = self.run(run)?;
        let submission = self.need_direction(known)?;
        if known.cancelled.is_some() {
            return Ok(Decision::AlreadySo);
        }
        // a failed run whose next attempt is still to come can be told that there is to be none
        let comes_again = known.next_attempt().is_some_and(|next| !self.views.runs().contains(&next.run));
        if known.status.is_terminal() && !comes_again {
            return Err(Refusal::Ended { what: format!("run {}", run.short()), status: known.status });
        }
        let body = wfengine_storage_format::RunCancelled { run: *run, submission, reason: reason.to_owned() };
        self.write(body.into(), Vec::new())
    }

    fn expire(&self, run: &RunId, waited_ms: u64) -> Result<Decision, Refusal> {
        self.need_member(&self.peer())?;
        let known = self.run(run)?;
        let Some(submission) = known.canonical.filter(|_| !known.status.is_terminal()) else {
            return Ok(Decision::AlreadySo);
        };
        let body = wfengine_storage_format::RunExpired { run: *run, submission, waited_ms };
        self.write(body.into(), Vec::new())
    }

    fn prioritise(&self, run: &RunId, priority_milli: u32) -> Result<Decision, Refusal> {
        let known = self.run(run)?;
        let submission = self.need_direction(known)?;
        if known.status.is_terminal() {
            return Err(Refusal::Ended { what: format!("run {}", run.short()), status: known.status });
        }
        if known.priority_milli == priority_milli {
            return Ok(Decision::AlreadySo);
        }
        let body = wfengine_storage_format::PriorityChanged { run: *run, submission, priority_milli };
        self.write(body.into(), Vec::new())
    }

    fn claim(&self, body: &JobClaimed) -> Result<Decision, Refusal> {
        self.need_role(Role::Executor)?;
        let (run, job) = self.job(&body.run, &body.job)?;
        if job.status.is_terminal() {
            return Err(Refusal::Ended { what: format!("job {}", job.leg.name), status: job.status });
        }
        if run.dispatched().is_some() {
            return Err(Refusal::NotEligible { job: body.job, why: "the run was handed to GitHub" });
        }
        let placed_elsewhere = run.submitted.as_ref().is_some_and(|s| s.placement == Placement::Author)
            && run.submission().is_some_and(|submission| submission.author != self.peer());
        if placed_elsewhere {
            return Err(Refusal::NotEligible {
                job: body.job,
                why: "it runs where it was started (`wfengine run`)",
            });
        }
        let follows = match job.effective_claim() {
            None => body.epoch == 1 && body.supersedes.is_none(),
            Some(before) => {
                let own_held = before.chain == *self.chain && before.is_held();
                !own_held
                    && body.supersedes == Some(before.id)
                    && before.epoch.checked_add(1) == Some(body.epoch)
            }
        };
        match (follows, job.effective_claim()) {
            (true, _) => self.claim_if_eligible(run, job, body),
            (false, Some(before)) => Err(Refusal::Claimed {
                job: body.job,
                holder: self.views.peer_name(&before.peer()),
                epoch: before.epoch,
            }),
            (false, None) => Err(Refusal::Pointless("a first claim has epoch 1 and supersedes nothing")),
        }
    }

    /// What the fold would call void is refused here, or the node would claim the job again and again.
    fn claim_if_eligible(&self, run: &Run, job: &Job, body: &JobClaimed) -> Result<Decision, Refusal> {
        let not_eligible = |why| Err(Refusal::NotEligible { job: body.job, why });
        let named = run.submissions.iter().find(|submission| submission.id == body.submission);
        let Some(submission) = named else { return not_eligible("the claim names no submission of the run") };
        let draft = self.draft(body.clone().into(), Vec::new());
        let authority = self.views.authority();
        if place_of(run, job, submission, &self.peer(), &draft.refs, authority).is_none() {
            return not_eligible("this peer's labels do not fit, or the run belongs to its submitter's host");
        }
        self.write(body.clone().into(), Vec::new())
    }

    fn held(&self, run: &RunId, job: &JobId, claim: &EventId) -> Result<(&Run, &Job), Refusal> {
        let (known, found) = self.job(run, job)?;
        let why = match found.claim(claim) {
            None => "no such claim is valid",
            Some(held) if held.chain != *self.chain => {
                "it is of another peer or of an earlier start of this one"
            }
            Some(held) if !held.is_held() => "it has ended",
            Some(_) => return Ok((known, found)),
        };
        Err(Refusal::NotHeld { job: *job, claim: *claim, why })
    }

    fn end_claim(&self, run: RunId, job: JobId, claim: EventId, body: Body) -> Result<Decision, Refusal> {
        self.held(&run, &job, &claim)?;
        self.write(body, Vec::new())
    }

    fn start(&self, body: &JobStarted) -> Result<Decision, Refusal> {
        let (run, job) = self.held(&body.run, &body.job, &body.claim)?;
        if run.cancelled.is_some() {
            return Err(Refusal::Cancelled(body.run));
        }
        if job.status.is_terminal() {
            return Err(Refusal::Ended { what: format!("job {}", job.leg.name), status: job.status });
        }
        match job.effective_claim() {
            Some(effective) if effective.id != body.claim => Err(Refusal::Claimed {
                job: body.job,
                holder: self.views.peer_name(&effective.peer()),
                epoch: effective.epoch,
            }),
            Some(claim) if claim.started => Ok(Decision::AlreadySo),
            _ => self.write(body.clone().into(), Vec::new()),
        }
    }

    fn complete(&self, body: &JobCompleted) -> Result<Decision, Refusal> {
        let (run, _) = self.held(&body.run, &body.job, &body.claim)?;
        if run.cancelled.is_some() && body.conclusion != Conclusion::Cancelled {
            return Err(Refusal::Cancelled(body.run));
        }
        let artifacts = body.artifacts.iter().map(|(_, blob, _)| *blob);
        let blobs: Vec<BlobId> = body.log.into_iter().chain(body.summary).chain(artifacts).collect();
        if blobs.len() > BLOBS_MAX {
            return Err(Refusal::Format(format!("{} blobs, at most {BLOBS_MAX} are allowed", blobs.len())));
        }
        self.write(body.clone().into(), blobs)
    }

    fn fail(&self, body: &JobFailed) -> Result<Decision, Refusal> {
        let (_, job) = self.job(&body.run, &body.job)?;
        if job.status.is_terminal() {
            return Err(Refusal::Ended { what: format!("job {}", job.leg.name), status: job.status });
        }
        match body.claim {
            Some(claim) => {
                self.held(&body.run, &body.job, &claim)?;
            }
            None => self.need_role(Role::Executor)?,
        }
        self.write(body.clone().into(), Vec::new())
    }
}
