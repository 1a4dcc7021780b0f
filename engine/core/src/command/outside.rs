//! Commands about the world outside: repositories that are looked at, runs that became due, effects at GitHub.

use wfengine_storage_format::{
    BlobId, Body, DiscoveryChanged, DispatchFollowed, Effect, EffectDone, EffectIntended, EffectOutcome,
    PlannedKey, RepositoryScanned, Role, RunSubmitted, TriggerFired, WorkflowFound, WorkflowVanished,
};

use super::{Asking, Decision, Refusal};
use crate::views::repositories::{Repository, RepositoryKey};
use crate::views::run::{Dispatch, Run};
use crate::views::run_effects::{disagreement, keeps_from_github};

impl Asking<'_> {
    pub(super) fn watch(&self, body: &DiscoveryChanged) -> Result<Decision, Refusal> {
        self.need_role(Role::Submitter)?;
        let before = self.views.repositories().watching(&self.peer());
        let is_said = before.map_or(body.scopes.is_empty(), |before| before == body);
        if is_said { Ok(Decision::AlreadySo) } else { self.write(body.clone().into(), Vec::new()) }
    }

    fn repository(&self, of: &Body) -> Option<&Repository> {
        self.views.repositories().get(&RepositoryKey::of(of.repository()?))
    }

    /// A look that saw what the peer's last one saw says nothing new, and neither does one that saw what another peer's did, once the
    /// peer is known to see the repository at all.
    pub(super) fn scan(&self, body: &RepositoryScanned) -> Result<Decision, Refusal> {
        self.need_role(Role::Submitter)?;
        let written = Body::from(body.clone());
        let known = self.repository(&written);
        let says = |scan: &crate::views::repositories::Scan| {
            scan.outcome == body.outcome
                && scan.default_branch == body.default_branch
                && scan.head == body.head
                && scan.refs == body.refs
                && scan.files == body.files
                && scan.problems == body.problems
        };
        let is_said = known.is_some_and(|known| {
            let own = known.looks.get(&self.peer());
            let renamed = known.name != body.repository.name;
            let is_news = match (own, &known.seen) {
                (Some(own), _)
                    if !says(own)
                        && own.saw() != (body.outcome == wfengine_storage_format::ScanOutcome::Scanned) =>
                {
                    true
                }
                (Some(own), Some(seen)) => !says(own) && !says(seen),
                (Some(own), None) => !says(own),
                (None, _) => true,
            };
            !renamed && !is_news
        });
        if is_said { Ok(Decision::AlreadySo) } else { self.write(written, body.refs.into_iter().collect()) }
    }

    pub(super) fn find(&self, body: &WorkflowFound) -> Result<Decision, Refusal> {
        self.need_role(Role::Submitter)?;
        let written = Body::from(body.clone());
        let found = self.repository(&written).and_then(|known| known.workflows.get(&body.path));
        let is_said = found.is_some_and(|found| {
            found.source == body.source
                && found.name == body.name
                && found.tags == body.tags
                && found.remarks == body.remarks
        });
        if is_said { Ok(Decision::AlreadySo) } else { self.write(written, vec![body.source]) }
    }

    pub(super) fn vanish(&self, body: &WorkflowVanished) -> Result<Decision, Refusal> {
        self.need_role(Role::Submitter)?;
        let written = Body::from(body.clone());
        match self.repository(&written).filter(|known| known.workflows.contains_key(&body.path)) {
            Some(_) => self.write(written, Vec::new()),
            None => Ok(Decision::AlreadySo),
        }
    }

    pub(super) fn fire(
        &self,
        trigger: &TriggerFired,
        submission: &RunSubmitted,
        plan: &[PlannedKey],
        blobs: &[BlobId],
    ) -> Result<Decision, Refusal> {
        if trigger.run != submission.run() {
            return Err(Refusal::Pointless("the trigger is of another run than the submission"));
        }
        if let Some(what) = disagreement(trigger, submission) {
            return Err(Refusal::TriggerDisagrees { what });
        }
        // one trigger is one run, whatever each of those who saw it made of it
        if self.views.runs().contains(&trigger.run) {
            self.need_role(Role::Submitter)?;
            return Ok(Decision::AlreadySo);
        }
        let submitted = self.submit(submission, plan, blobs)?;
        self.with_trigger(submitted, trigger)
    }

    /// What becomes of a submission that a trigger caused: both in one frame, so that nobody sees the one without the other.
    pub(super) fn with_trigger(
        &self,
        submitted: Decision,
        trigger: &TriggerFired,
    ) -> Result<Decision, Refusal> {
        let Decision::Write(mut drafts) = submitted else { return Ok(submitted) };
        let why = Body::from(trigger.clone());
        why.encode().map_err(|reason| Refusal::Format(reason.to_string()))?;
        drafts.insert(0, self.draft(why, trigger.sources.into_iter().collect()));
        Ok(Decision::Write(drafts))
    }

    /// Only the author of the canonical submission may hand a run over, while no peer has anything of it, and again only after GitHub
    /// refused it.
    pub(super) fn intend(&self, body: &EffectIntended) -> Result<Decision, Refusal> {
        let run = self.run(&body.run)?;
        let canonical = run.submission().filter(|submission| submission.author == self.peer());
        if canonical.is_none_or(|canonical| canonical.id != body.submission) {
            return Err(Refusal::Pointless("only the author of the run's canonical submission may do that"));
        }
        match &body.effect {
            Effect::Dispatch { repository, path, git_ref } => {
                let fired = run.trigger.as_ref();
                let caused = fired.map(|fired| (&fired.repository, &fired.path, &fired.git_ref));
                if caused.is_some_and(|caused| caused != (repository, path, git_ref)) {
                    return Err(Refusal::Pointless("the run is of another workflow or ref"));
                }
                self.may_dispatch(run)?;
            }
            Effect::Check { job } => {
                let own =
                    |check: &&crate::views::run::Check| check.job == *job && check.author == self.peer();
                if run.checks.iter().any(|check| own(&check)) {
                    return Ok(Decision::AlreadySo);
                }
            }
        }
        self.write(body.clone().into(), Vec::new())
    }

    fn may_dispatch(&self, run: &Run) -> Result<(), Refusal> {
        if run.status.is_terminal() {
            return Err(Refusal::Ended { what: format!("run {}", run.id.short()), status: run.status });
        }
        keeps_from_github(run, &self.peer()).map_or(Ok(()), |why| Err(Refusal::Pointless(why)))
    }

    fn dispatch(
        &self,
        run: &wfengine_storage_format::RunId,
        intent: &wfengine_storage_format::EventId,
    ) -> Result<Option<&Dispatch>, Refusal> {
        Ok(self.run(run)?.dispatches.iter().find(|dispatch| dispatch.intent == *intent))
    }

    pub(super) fn conclude(&self, body: &EffectDone) -> Result<Decision, Refusal> {
        let run = self.run(&body.run)?;
        let of_check = run.checks.iter().find(|check| check.intent == body.intent);
        let known = self
            .dispatch(&body.run, &body.intent)?
            .map(|dispatch| (dispatch.author, &dispatch.outcome))
            .or_else(|| of_check.map(|check| (check.author, &check.outcome)));
        match known {
            Some((author, _)) if author != self.peer() => {
                Err(Refusal::Pointless("another peer intended that effect"))
            }
            None => Err(Refusal::Pointless("no such effect was intended")),
            Some((_, Some(before))) if *before == body.outcome => Ok(Decision::AlreadySo),
            Some((_, None | Some(EffectOutcome::Unknown(_)))) => self.write(body.clone().into(), Vec::new()),
            Some((_, Some(_))) => Ok(Decision::AlreadySo),
        }
    }

    pub(super) fn follow(&self, body: &DispatchFollowed) -> Result<Decision, Refusal> {
        self.need_role(Role::Submitter)?;
        let said = Some((body.id.clone(), body.url.clone(), body.conclusion));
        match self.dispatch(&body.run, &body.intent)? {
            None => Err(Refusal::Pointless("the run was not handed to GitHub")),
            Some(known) if known.author != self.peer() => {
                Err(Refusal::Pointless("another peer handed the run to GitHub"))
            }
            Some(known) if known.seen == said || known.conclusion().is_some() => Ok(Decision::AlreadySo),
            Some(_) => self.write(body.clone().into(), Vec::new()),
        }
    }
}
