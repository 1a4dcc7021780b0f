//! Workflows that GitHub runs as well: its queued run of the same commit is cancelled, or the workflow is disabled there.

use wfengine_core::views::run::Run;
use wfengine_github::ApiError;
use wfengine_github::rest::RunsWanted;
use wfengine_storage_format::{RunSpec, Trigger};

use super::Outside;
use crate::host::Host;
use crate::verdict::is_on_github;

impl<H: Host> Outside<H> {
    /// Cancels GitHub's queued run of what a peer has begun. Looked for once.
    pub(super) async fn cancel_double(&mut self, run: &Run) -> Result<(), String> {
        let Some(trigger) = run.trigger.clone() else { return Ok(()) };
        let began = run.jobs.values().any(|job| job.holder().is_some() || job.result.is_some());
        let pushed = matches!(trigger.trigger, Trigger::Push { .. } | Trigger::Found);
        if !began || !pushed || !is_on_github(&trigger.path) || !self.looked_for_doubles.insert(run.id) {
            return Ok(());
        }
        if !matches!(run.submitted.as_ref().map(|submitted| &submitted.spec), Some(RunSpec::Workflow(_))) {
            return Ok(());
        }
        let wanted = RunsWanted {
            head_sha: Some(trigger.sha.clone()),
            status: Some("queued".to_owned()),
            event: Some("push".to_owned()),
            ..RunsWanted::default()
        };
        let name = &trigger.repository.name;
        let queued =
            self.connection.client.workflow_runs(name, &wanted).await.map_err(|error| error.to_string())?;
        for double in queued.items {
            let path = double.path.as_deref().unwrap_or_default();
            if path.split('@').next() != Some(trigger.path.as_str()) {
                continue;
            }
            match self.connection.client.cancel_run(name, double.id).await {
                // it ended meanwhile
                Ok(()) | Err(ApiError::Conflict { .. }) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    /// Disables found workflows that GitHub runs as well. Each is tried once by this process.
    pub(super) async fn disable_doubles(&mut self) -> Vec<String> {
        let own = self.host.peer();
        let doubles: Vec<(String, String)> = {
            let views = self.host.watcher().views();
            let here = views.repositories().all().filter(|known| known.key.source == self.connection.host);
            here.flat_map(|known| {
                known.workflows.iter().map(|(path, found)| (known.name.clone(), path.clone(), found.clone()))
            })
            .filter(|(_, path, found)| {
                found.author == own
                    && is_on_github(path)
                    && found.remarks.iter().any(|remark| remark.starts_with("runs twice"))
            })
            .map(|(name, path, _)| (name, path))
            .collect()
        };
        let mut said = Vec::new();
        for (name, path) in doubles {
            if !self.disabled.insert(format!("{name}/{path}")) {
                continue;
            }
            let file = path.rsplit('/').next().unwrap_or(&path);
            if let Err(error) = self.connection.client.disable_workflow(&name, file).await {
                said.push(format!("{name}/{path}: was not disabled at GitHub: {error}"));
            }
        }
        said
    }
}
