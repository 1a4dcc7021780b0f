//! Handing a run to GitHub, at most once.
//!
//! GitHub takes the name of a branch, not a commit, and reads the workflow there anew: a file that is for peers alone now must not run
//! because an earlier one might. So GitHub is asked where the branch stands right before the intent, and its run is looked at right
//! after.

use std::collections::BTreeMap;

use wfengine_core::command::Command;
use wfengine_core::views::run::Run;
use wfengine_github::rest::CreatedRef;
use wfengine_github::{ApiError, Bucket, Client};
use wfengine_storage_format::{
    Effect, EffectDone, EffectIntended, EffectOutcome, EventId, RunId, RunSpec, TriggerFired,
};

use super::refusals::{Deed, Subject};
use super::{Outside, file_name, own_trigger};
use crate::due::cut;
use crate::host::Host;
use crate::verdict::may_fall_back;

/// Why nothing leaves while the branch is elsewhere.
const MOVED_ON: &str = "the branch moved on since: GitHub would run another commit";
/// The ref was there, and not by us.
const ANOTHER_HAS_IT: &str = "another member has handed it over";
/// How a refusal begins after which the ref is not known to be ours.
const NOT_CLAIMED: &str = "who hands it over was not decided: ";

impl<H: Host> Outside<H> {
    /// Hands a run over. Nothing happened when it fails, or the log says what.
    ///
    /// # Errors
    /// Why not, for people.
    pub async fn hand_over(&mut self, id: RunId) -> Result<(), String> {
        if !self.options.falls_back {
            return Err("this node hands nothing to GitHub".to_owned());
        }
        let run = self.host.watcher().run(&id).ok_or("the run is not known")?;
        if run.trigger.is_none() {
            return Err("nobody knows which workflow it is of".to_owned());
        }
        let trigger = own_trigger(&run, self.host.peer()).cloned();
        let trigger = trigger.ok_or("it is not this node's, or its trigger is of something else")?;
        if !self.is_here(&trigger) {
            return Err(format!("it is of {}, not of {}", trigger.repository.source, self.connection.host));
        }
        is_untouched(&run)?;
        self.may_leave(&run, &trigger)?;
        self.is_free()?;
        let (name, of_run) = (trigger.repository.name.as_str(), id.to_string());
        let subject = Subject { absent: &trigger.path, wrong: &of_run };
        if let Some(why) = self.refusals.of(name, Deed::Dispatch, subject) {
            return Err(format!("GitHub refused it before: {why}"));
        }
        self.stands_there(&trigger).await?;
        // a limit that holds would turn an intent into a hand-over that never was
        self.is_free()?;
        let submission = run.canonical.ok_or("it has no submission")?;
        let effect = Effect::Dispatch {
            repository: trigger.repository.clone(),
            path: trigger.path.clone(),
            git_ref: trigger.git_ref.clone(),
        };
        let receipt = self.host.ask(Command::Intend(EffectIntended { run: id, submission, effect })).await;
        let receipt = receipt.map_err(|error| error.to_string())?;
        let intent = *receipt.events.first().ok_or("it was handed over before")?;
        let outcome = match self.claim(&run, &trigger, subject).await {
            Ok(()) => self.dispatch(&run, &trigger, subject).await,
            Err(why) => EffectOutcome::Refused(cut(&why, 1_000)),
        };
        self.conclude(id, intent, outcome).await
    }

    /// Requests that do not wait for those of a round.
    fn at_once(&self) -> Client {
        self.connection.client.urgent()
    }

    fn is_free(&self) -> Result<(), String> {
        match self.at_once().limited_for(&Bucket::Core) {
            Some(wait) => Err(format!("a limit of GitHub holds for {} s", wait.as_secs())),
            None => Ok(()),
        }
    }

    /// Looks at the file itself once more: a run leaves only if its workflow says so and GitHub can start it.
    fn may_leave(&mut self, run: &Run, trigger: &TriggerFired) -> Result<(), String> {
        let Some(RunSpec::Workflow(spec)) = run.submitted.as_ref().map(|submitted| &submitted.spec) else {
            return Err("it is no workflow".to_owned());
        };
        let tagged = self.memory.tagged(self.host.blobs(), &spec.source, &trigger.path);
        let tagged = tagged.ok_or("its file is not here")?;
        if may_fall_back(&tagged, &trigger.path) {
            Ok(())
        } else {
            Err("its workflow is for peers alone, or GitHub cannot start it: add workflow_dispatch"
                .to_owned())
        }
    }

    /// Whether the branch or tag is still at the commit whose file was judged.
    async fn stands_there(&self, trigger: &TriggerFired) -> Result<(), String> {
        let (client, name) = (self.at_once(), &trigger.repository.name);
        let git_ref = &trigger.git_ref;
        let at = if let Some(branch) = git_ref.strip_prefix("refs/heads/") {
            // GitHub leads from the old name of a branch to the new one, and a dispatch it does not
            let found = client.branch(name, branch).await;
            found.map(|found| Some(found.value).filter(|found| found.name == branch).map(|of| of.commit.sha))
        } else if git_ref.starts_with("refs/tags/") {
            let found = client.commit(name, git_ref.trim_start_matches("refs/")).await;
            found.map(|found| Some(found.value.sha))
        } else {
            return Err(format!("{git_ref} is neither a branch nor a tag"));
        };
        match at {
            Ok(Some(sha)) if sha == trigger.sha => Ok(()),
            Ok(_) => Err(MOVED_ON.to_owned()),
            Err(error) if error.is_not_found() => Err(format!("{git_ref} is gone: {error}")),
            Err(error) => Err(format!("where {git_ref} stands is not known: {error}")),
        }
    }

    /// Lets a ref decide, where that is asked for. After the intent: what was decided by a process that ended then is in the log.
    async fn claim(&mut self, run: &Run, trigger: &TriggerFired, subject: Subject<'_>) -> Result<(), String> {
        if !self.options.asks_a_ref {
            return Ok(());
        }
        let name = format!("refs/wfengine/claims/{}", run.id);
        match self.at_once().create_ref(&trigger.repository.name, &name, &trigger.sha).await {
            Ok(CreatedRef::Created) => Ok(()),
            Ok(CreatedRef::Exists) if has_claimed(run, self.host.peer()) => Ok(()),
            Ok(CreatedRef::Exists) => Err(ANOTHER_HAS_IT.to_owned()),
            Err(error) => {
                self.refusals.note(&trigger.repository.name, Deed::Dispatch, subject, &error);
                Err(format!("{NOT_CLAIMED}{error}"))
            }
        }
    }

    async fn dispatch(&mut self, run: &Run, trigger: &TriggerFired, subject: Subject<'_>) -> EffectOutcome {
        let inputs: BTreeMap<String, String> = run
            .submitted
            .iter()
            .flat_map(|submitted| &submitted.frozen.inputs)
            .map(|(name, json)| (name.clone(), plain(json)))
            .collect();
        let name = &trigger.repository.name;
        // the full name: there may be a tag of the branch's name
        let client = self.at_once();
        match client.dispatch_workflow(name, file_name(&trigger.path), &trigger.git_ref, &inputs).await {
            Ok(dispatched) => match dispatched.run_id {
                Some(id) => self.begun(trigger, id).await,
                None => EffectOutcome::Unknown("GitHub took it and does not name its run".to_owned()),
            },
            Err(ApiError::Transport { unsent: true, problem, .. }) => {
                EffectOutcome::Refused(cut(&problem, 1_000))
            }
            Err(error) if error.is_transient() => EffectOutcome::Unknown(cut(&error.to_string(), 1_000)),
            Err(error) => {
                self.refusals.note(name, Deed::Dispatch, subject, &error);
                EffectOutcome::Refused(cut(&error.to_string(), 1_000))
            }
        }
    }

    /// Looks at the run that GitHub began: somebody may have pushed between the question and the dispatch.
    async fn begun(&self, trigger: &TriggerFired, id: u64) -> EffectOutcome {
        let name = &trigger.repository.name;
        // GitHub may not show it yet; then it is looked at when it is followed
        if let Ok(begun) = self.at_once().workflow_run(name, id).await
            && is_another(&begun.value, trigger)
        {
            return EffectOutcome::Refused(cut(&self.stop_another(name, id).await, 1_000));
        }
        let id = id.to_string();
        EffectOutcome::Done { url: self.run_url(name, &id), id }
    }

    /// Stops a run of ours that is of another commit, as far as GitHub lets us. What to say of it.
    pub(super) async fn stop_another(&self, name: &str, id: u64) -> String {
        let url = self.run_url(name, &id.to_string());
        let what = format!("somebody pushed at that moment: GitHub began another commit ({url})");
        match self.at_once().cancel_run(name, id).await {
            Ok(()) => format!("{what}, and was told to cancel it"),
            Err(error) => format!("{what}, and it could not be cancelled: {error}"),
        }
    }

    pub(super) fn run_url(&self, repository: &str, id: &str) -> String {
        let clone = self.connection.client.clone_url(repository);
        format!("{}/actions/runs/{id}", clone.trim_end_matches(".git"))
    }

    pub(super) async fn conclude(
        &self,
        run: RunId,
        intent: EventId,
        outcome: EffectOutcome,
    ) -> Result<(), String> {
        let refused = match &outcome {
            EffectOutcome::Refused(why) => Some(why.clone()),
            EffectOutcome::Done { .. } | EffectOutcome::Unknown(_) => None,
        };
        let written = self.host.ask(Command::Conclude(EffectDone { run, intent, outcome })).await;
        written.map_err(|error| error.to_string())?;
        refused.map_or(Ok(()), Err)
    }
}

/// Whether a run at GitHub is of another commit than the one that was found.
pub(super) fn is_another(run: &wfengine_github::models::WorkflowRun, trigger: &TriggerFired) -> bool {
    run.head_sha.as_ref().is_some_and(|sha| *sha != trigger.sha)
}

/// Nothing is asked of GitHub for a run that the log would refuse to hand over.
fn is_untouched(run: &Run) -> Result<(), String> {
    if run.status.is_terminal() {
        return Err(format!("it is {}", run.status));
    }
    if run.dispatches.iter().any(|dispatch| dispatch.stands()) {
        return Err("it was handed over before".to_owned());
    }
    if run.jobs.values().any(|job| job.holder().is_some() || job.result.is_some()) {
        return Err("a peer has a job of it".to_owned());
    }
    Ok(())
}

/// Whether the ref of a run was made by this member: an earlier intent came past it, or ended where it may have made it.
fn has_claimed(run: &Run, own: wfengine_storage_format::PeerId) -> bool {
    run.dispatches.iter().filter(|dispatch| dispatch.author == own).any(|dispatch| {
        matches!(&dispatch.outcome, Some(EffectOutcome::Refused(why))
            if why != ANOTHER_HAS_IT && !why.starts_with(NOT_CLAIMED))
    })
}

/// A JSON text as an input of GitHub's, which are texts.
fn plain(json: &str) -> String {
    match serde_json::from_str(json) {
        Ok(serde_json::Value::String(text)) => text,
        _ => json.to_owned(),
    }
}
