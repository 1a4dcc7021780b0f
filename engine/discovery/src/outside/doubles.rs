//! Workflows that GitHub runs as well: its queued run of the same commit is cancelled, or the workflow is disabled there.

use wfengine_core::views::run::Run;
use wfengine_github::ApiError;
use wfengine_github::rest::RunsWanted;
use wfengine_storage_format::{BlobId, Trigger, TriggerFired};

use super::refusals::{Deed, Subject};
use super::{Outside, file_name};
use crate::host::Host;
use crate::verdict::{is_on_github, may_fall_back};

/// The word of a tag under which a run may fall back.
const MAY_FALL_BACK: &str = "p2p-eligible";

/// A workflow that runs twice.
struct Double {
    repository: String,
    path: String,
    source: BlobId,
    is_eligible: bool,
}

impl<H: Host> Outside<H> {
    /// Cancels GitHub's queued runs of what peers have begun. Says what is wrong, a line each.
    pub(super) async fn cancel_doubles(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        let is_wanted = |run: &Run| !self.looked_for_doubles.contains(&run.id) && may_be_doubled(run);
        for (run, trigger) in self.own_runs(is_wanted) {
            let name = trigger.repository.name.as_str();
            let is_refused = self.refusals.of(name, Deed::Cancel, WHOLE).is_some();
            if !is_on_github(&trigger.path) || is_refused || self.rests(run.id, Deed::Cancel) {
                continue;
            }
            let cancelled = self.cancel_double(&trigger).await;
            let is_lasting =
                cancelled.as_ref().is_err_and(|error| self.refusals.note(name, Deed::Cancel, WHOLE, error));
            let cancelled = cancelled.map_err(|error| error.to_string());
            self.note(run.id, Deed::Cancel, &cancelled);
            let why = match cancelled {
                Ok(why) => {
                    self.looked_for_doubles.insert(run.id);
                    why
                }
                // said for the whole repository
                Err(_) if is_lasting => None,
                Err(why) => Some(why),
            };
            said.extend(why.map(|why| {
                format!("run {}: GitHub's own run of it was not cancelled: {why}", run.id.short())
            }));
        }
        said
    }

    /// What was not cancelled although it was listed, and never will be.
    async fn cancel_double(&self, trigger: &TriggerFired) -> Result<Option<String>, ApiError> {
        let wanted = RunsWanted {
            head_sha: Some(trigger.sha.clone()),
            status: Some("queued".to_owned()),
            event: Some("push".to_owned()),
            ..RunsWanted::default()
        };
        let (client, name) = (&self.connection.client, &trigger.repository.name);
        let mut why = None;
        for double in client.workflow_runs(name, &wanted).await?.items {
            let path = double.path.as_deref().unwrap_or_default();
            if path.split('@').next() != Some(trigger.path.as_str()) {
                continue;
            }
            match client.cancel_run(name, double.id).await {
                // it ended meanwhile
                Ok(()) | Err(ApiError::Conflict { .. }) => {}
                Err(error) if error.is_not_found() => why = Some(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        Ok(why)
    }

    /// Disables found workflows that GitHub runs as well. One that may fall back is left alone: GitHub dispatches nothing that is
    /// disabled.
    pub(super) async fn disable_doubles(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        for Double { repository, path, source, is_eligible } in self.doubles() {
            let what = format!("{repository}/{path}");
            let subject = Subject { absent: &path, wrong: &path };
            if self.disabled.contains(&what)
                || self.refusals.of(&repository, Deed::Disable, subject).is_some()
            {
                continue;
            }
            let tagged = self.memory.tagged(self.host.blobs(), &source, &path);
            if tagged.map_or(is_eligible, |tagged| may_fall_back(&tagged, &path)) {
                said.push(format!(
                    "{what}: is not disabled at GitHub, for it may fall back there; `if: vars.WFENGINE == 'true'` on its jobs stops the other runs"
                ));
                continue;
            }
            match self.connection.client.disable_workflow(&repository, file_name(&path)).await {
                Ok(()) => {
                    self.disabled.insert(what);
                }
                Err(error) if self.refusals.note(&repository, Deed::Disable, subject, &error) => {}
                Err(error) => said.push(format!("{what}: was not disabled at GitHub: {error}")),
            }
        }
        said
    }

    fn doubles(&self) -> Vec<Double> {
        let own = self.host.peer();
        let views = self.host.watcher().views();
        let here = views.repositories().all().filter(|known| known.key.source == self.connection.host);
        here.flat_map(|known| known.workflows.iter().map(move |(path, found)| (known, path, found)))
            .filter(|(_, path, found)| {
                found.author == own
                    && is_on_github(path)
                    && found.remarks.iter().any(|remark| remark.starts_with("runs twice"))
            })
            .map(|(known, path, found)| Double {
                repository: known.name.clone(),
                path: path.clone(),
                source: found.source,
                is_eligible: found.tags.iter().any(|tag| tag == MAY_FALL_BACK),
            })
            .collect()
    }
}

const WHOLE: Subject<'_> = Subject { absent: "", wrong: "" };

/// Whether a peer has begun what a push started.
fn may_be_doubled(run: &Run) -> bool {
    let pushed = |trigger: &TriggerFired| matches!(trigger.trigger, Trigger::Push { .. } | Trigger::Found);
    run.trigger.as_ref().is_some_and(|trigger| pushed(trigger))
        && run.jobs.values().any(|job| job.holder().is_some() || job.result.is_some())
}
