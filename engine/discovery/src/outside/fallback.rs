//! Handing a run to GitHub, at most once, and following it there.

use std::collections::{BTreeMap, BTreeSet};

use wfengine_core::command::Command;
use wfengine_core::views::run::{Dispatch, Run};
use wfengine_github::models::{Conclusion as Ended, Progress, WorkflowRun};
use wfengine_github::rest::{CreatedRef, RunsWanted};
use wfengine_github::{ApiError, Bucket};
use wfengine_storage_format::{
    Conclusion, DispatchFollowed, Effect, EffectDone, EffectIntended, EffectOutcome, EventId, RunId, RunSpec,
    TriggerFired,
};

use super::Outside;
use crate::due::cut;
use crate::host::Host;
use crate::verdict::may_fall_back;

/// The clocks of GitHub and of this host may differ by so much.
const CLOCKS_DIFFER_S: u64 = 120;

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
        let trigger = run.trigger.clone().ok_or("nobody knows which workflow it is of")?;
        if trigger.repository.source != self.connection.host {
            return Err(format!("it is of {}, not of {}", trigger.repository.source, self.connection.host));
        }
        self.may_leave(&run, &trigger)?;
        // a limit that holds would turn an intent into a hand-over that never was
        if let Some(wait) = self.connection.client.limited_for(&Bucket::Core) {
            return Err(format!("a limit of GitHub holds for {} s", wait.as_secs()));
        }
        if self.options.asks_a_ref {
            let name = format!("refs/wfengine/claims/{id}");
            match self.connection.client.create_ref(&trigger.repository.name, &name, &trigger.sha).await {
                Ok(CreatedRef::Created) => {}
                Ok(CreatedRef::Exists) => return Err("another member has handed it over".to_owned()),
                Err(error) => return Err(error.to_string()),
            }
        }
        let submission = run.canonical.ok_or("it has no submission")?;
        let effect = Effect::Dispatch {
            repository: trigger.repository.clone(),
            path: trigger.path.clone(),
            git_ref: trigger.git_ref.clone(),
        };
        let receipt = self.host.ask(Command::Intend(EffectIntended { run: id, submission, effect })).await;
        let receipt = receipt.map_err(|error| error.to_string())?;
        let intent = *receipt.events.first().ok_or("it was handed over before")?;
        self.own_intents.insert(intent);
        let outcome = self.dispatch(&run, &trigger).await;
        self.conclude(id, intent, outcome).await
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

    async fn dispatch(&self, run: &Run, trigger: &TriggerFired) -> EffectOutcome {
        let file = trigger.path.rsplit('/').next().unwrap_or(&trigger.path);
        let inputs: BTreeMap<String, String> = run
            .submitted
            .iter()
            .flat_map(|submitted| &submitted.frozen.inputs)
            .map(|(name, json)| (name.clone(), plain(json)))
            .collect();
        let git_ref = trigger.git_ref.trim_start_matches("refs/heads/").trim_start_matches("refs/tags/");
        let name = &trigger.repository.name;
        match self.connection.client.dispatch_workflow(name, file, git_ref, &inputs).await {
            Ok(dispatched) => {
                let id = dispatched.run_id.map(|id| id.to_string()).unwrap_or_default();
                let url = if id.is_empty() { String::new() } else { self.run_url(name, &id) };
                EffectOutcome::Done { id, url }
            }
            Err(ApiError::Transport { unsent: true, problem, .. }) => {
                EffectOutcome::Refused(cut(&problem, 1_000))
            }
            Err(error) if error.is_transient() => EffectOutcome::Unknown(cut(&error.to_string(), 1_000)),
            Err(error) => EffectOutcome::Refused(cut(&error.to_string(), 1_000)),
        }
    }

    fn run_url(&self, repository: &str, id: &str) -> String {
        let clone = self.connection.client.clone_url(repository);
        format!("{}/actions/runs/{id}", clone.trim_end_matches(".git"))
    }

    async fn conclude(&self, run: RunId, intent: EventId, outcome: EffectOutcome) -> Result<(), String> {
        let refused = match &outcome {
            EffectOutcome::Refused(why) => Some(why.clone()),
            EffectOutcome::Done { .. } | EffectOutcome::Unknown(_) => None,
        };
        let written = self.host.ask(Command::Conclude(EffectDone { run, intent, outcome })).await;
        written.map_err(|error| error.to_string())?;
        refused.map_or(Ok(()), Err)
    }

    /// Writes down what GitHub shows of a run that this node handed over.
    pub(super) async fn follow(&mut self, run: &Run) -> Result<(), String> {
        let own = self.host.peer();
        let open = |dispatch: &&Dispatch| {
            dispatch.author == own && dispatch.stands() && dispatch.conclusion().is_none()
        };
        let (Some(dispatch), Some(trigger)) = (run.dispatches.iter().find(open), run.trigger.clone()) else {
            return Ok(());
        };
        if dispatch.outcome.is_none() {
            if self.own_intents.contains(&dispatch.intent) {
                // it is being sent just now
                return Ok(());
            }
            let why = "this node stopped before it heard from GitHub".to_owned();
            self.conclude(run.id, dispatch.intent, EffectOutcome::Unknown(why)).await?;
        }
        let name = &trigger.repository.name;
        let known = dispatch.seen.as_ref().map(|(id, _, _)| id.clone()).or_else(|| match &dispatch.outcome {
            Some(EffectOutcome::Done { id, .. }) if !id.is_empty() => Some(id.clone()),
            _ => None,
        });
        let seen = match known.and_then(|id| id.parse::<u64>().ok()) {
            Some(id) => self.connection.client.workflow_run(name, id).await.map(|run| Some(run.value)),
            None => self.find(dispatch, &trigger).await,
        };
        let Some(seen) = seen.map_err(|error| error.to_string())? else { return Ok(()) };
        let conclusion = conclusion(&seen);
        let began = seen.status.as_ref().is_some_and(|status| *status == Progress::InProgress);
        if conclusion.is_none() && !(began && dispatch.seen.is_none()) {
            return Ok(());
        }
        let id = seen.id.to_string();
        let url = seen.html_url.clone().unwrap_or_else(|| self.run_url(name, &id));
        let body =
            DispatchFollowed { run: run.id, intent: dispatch.intent, id, url: cut(&url, 1_000), conclusion };
        self.host.ask(Command::Follow(body)).await.map(|_| ()).map_err(|error| error.to_string())
    }

    /// The run at GitHub that a hand-over started, where GitHub did not say: the first of the workflow that somebody dispatched since,
    /// and that is not another run's.
    async fn find(
        &self,
        dispatch: &Dispatch,
        trigger: &TriggerFired,
    ) -> Result<Option<WorkflowRun>, ApiError> {
        let since = (dispatch.time_ms / 1_000).saturating_sub(CLOCKS_DIFFER_S);
        let wanted = RunsWanted {
            workflow: trigger.path.rsplit('/').next().map(str::to_owned),
            event: Some("workflow_dispatch".to_owned()),
            created: Some(format!(">={}", wfengine_github::dates::rfc3339(since))),
            ..RunsWanted::default()
        };
        let listing = self.connection.client.workflow_runs(&trigger.repository.name, &wanted).await?;
        let taken: BTreeSet<String> = {
            let views = self.host.watcher().views();
            let dispatches = views.runs().all_live().flat_map(|run| &run.dispatches);
            dispatches.filter_map(|known| known.seen.as_ref().map(|(id, _, _)| id.clone())).collect()
        };
        let free = listing.items.into_iter().filter(|run| !taken.contains(&run.id.to_string()));
        Ok(free.min_by_key(|run| run.id))
    }
}

/// A JSON text as an input of GitHub's, which are texts.
fn plain(json: &str) -> String {
    match serde_json::from_str(json) {
        Ok(serde_json::Value::String(text)) => text,
        _ => json.to_owned(),
    }
}

/// How a run at GitHub ended, in our words; `None` while it goes on.
fn conclusion(run: &WorkflowRun) -> Option<Conclusion> {
    if run.status.as_ref().is_some_and(|status| *status != Progress::Completed) {
        return None;
    }
    Some(match run.conclusion.as_ref()? {
        Ended::Success | Ended::Neutral => Conclusion::Success,
        Ended::Skipped => Conclusion::Skipped,
        Ended::Cancelled | Ended::Stale => Conclusion::Cancelled,
        _ => Conclusion::Failure,
    })
}
