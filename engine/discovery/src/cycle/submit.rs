//! From what is due to a run: sources are packed, the submission is frozen, and both are written in one go.

use std::collections::BTreeMap;

use wfengine_core::command::Command;
use wfengine_core::views::run::Run;
use wfengine_git::PackError;
use wfengine_storage_format::{BlobId, RepositoryRef, RunSpec};
use wfengine_workflow::plan_keys;

use super::Discovery;
use crate::due::{Due, NotSubmitted};
use crate::host::Host;
use crate::report::Report;
use crate::source::Access;

/// Why something that is due was not submitted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum NotNow {
    /// It stays so until its file, or what it is given, is another.
    #[error("{0}")]
    Refused(String),
    /// It may be otherwise in the next round.
    #[error("{0}")]
    Failed(String),
}

impl From<NotSubmitted> for NotNow {
    fn from(why: NotSubmitted) -> Self {
        Self::Refused(why.to_string())
    }
}

/// What came of starting something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Start {
    /// It runs, by this node's doing or another's; or it would, if anything were to be written.
    Begun,
    /// It cannot be submitted as it is.
    Refused,
    /// It is to be tried again.
    Failed,
}

impl<H: Host> Discovery<H> {
    /// Submits what is due, and notes what came of it.
    pub(super) async fn start(&mut self, access: &Access, due: Due, report: &mut Report) -> Start {
        let (name, path) = (due.repository.name.clone(), due.path.clone());
        let outcome = self.submit(access, &due, report).await;
        let (owner, repo) = name.rsplit_once('/').unwrap_or(("", &name));
        let same = |line: &&mut crate::report::WorkflowLine| {
            line.owner == owner && line.repo == repo && line.workflow_path == path
        };
        let known = report.workflows.iter_mut().find(same);
        if let Ok(Some(_)) = &outcome {
            report.submitted += u64::from(!self.options.dry_run);
        }
        match (known, &outcome) {
            (Some(line), Ok(Some(_))) if self.options.dry_run => {
                line.status = "would be submitted".to_owned()
            }
            (Some(line), Ok(Some(run))) => {
                line.runs.push(run.clone());
                line.status = "submitted".to_owned();
            }
            (Some(line), Err(why)) => line.status = why.to_string(),
            (None, Err(why)) => report.problem(&name, &path, why),
            (_, Ok(_)) => {}
        }
        match outcome {
            Ok(_) => Start::Begun,
            Err(NotNow::Refused(_)) => Start::Refused,
            Err(NotNow::Failed(_)) => Start::Failed,
        }
    }

    /// The run's id, also of one that would be submitted; `None` when somebody submitted it before.
    pub(crate) async fn submit(
        &mut self,
        access: &Access,
        due: &Due,
        report: &mut Report,
    ) -> Result<Option<String>, NotNow> {
        let failed = |error: &dyn std::fmt::Display| NotNow::Failed(error.to_string());
        let facts = access.repository.facts(&due.sha).await.map_err(|error| failed(&error))?;
        let number = self.run_number(&due.repository, &due.path);
        if self.options.dry_run {
            let nowhere = BlobId::from_bytes([0; 32]);
            let submission = due.submission(nowhere, number, &facts, &self.options.priorities)?;
            return Ok(Some(submission.run().to_string()));
        }
        let blob = self.host.blobs().put(&due.source).map_err(|error| failed(&error))?;
        let submission = due.submission(blob, number, &facts, &self.options.priorities)?;
        let planned = plan_keys(&due.tagged.workflow, &submission, &BTreeMap::new());
        let plan = planned.map_err(|errors| {
            NotSubmitted::Plan(errors.first().map(ToString::to_string).unwrap_or_default())
        })?;
        let sources = self.share(access, due, report).await;
        let mut blobs = vec![blob];
        blobs.extend(sources.map(|(blob, _)| blob));
        let run = submission.run();
        let trigger = Box::new(due.fired(&submission, sources));
        let command = Command::Fire { trigger, submission: Box::new(submission), plan, blobs };
        let receipt = self.host.ask(command).await.map_err(|error| failed(&error))?;
        Ok((!receipt.already_so).then(|| run.to_string()))
    }

    /// The commit's files as a blob, for members that do not reach the repository. One for a commit, however many workflows it starts.
    async fn share(&self, access: &Access, due: &Due, report: &mut Report) -> Option<(BlobId, u64)> {
        let is_remote = access.remote.is_some();
        let is_alone = self.host.watcher().views().authority().roster().members().len() < 2;
        // a host alone fetches what it runs; of a checkout nobody else knows where it is
        if is_remote && (!self.options.shares_sources || is_alone) {
            return None;
        }
        let key = format!("{}#{}@{}", due.repository.source, due.repository.id, due.sha);
        let kept = self.host.cache().get("packs", key.as_bytes());
        let kept = kept.and_then(|kept| Some(BlobId::from_bytes(kept.try_into().ok()?)));
        if let Some((blob, len)) = kept.and_then(|blob| Some((blob, self.host.blobs().len(&blob)?))) {
            return Some((blob, len));
        }
        let work = self.host.work_dir();
        // rounds and dispatches may pack the same commit at a time
        let mut name = due.sha.clone();
        if let Ok(random) = self.host.random() {
            random.iter().for_each(|byte| name.push_str(&format!("{byte:02x}")));
        }
        let file = work.join(format!("{name}.pack"));
        let packed = async {
            std::fs::create_dir_all(work)
                .map_err(|source| PackError::Io { path: work.to_owned(), source })?;
            access.repository.pack(&due.sha, &file, self.options.sources_bytes_max).await
        }
        .await;
        let kept = match packed {
            Ok(_) => self.host.blobs().put_file(&file).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let _ = std::fs::remove_file(&file);
        match kept {
            Ok((blob, len)) => {
                self.host.cache().put("packs", key.as_bytes(), blob.as_bytes());
                Some((blob, len))
            }
            Err(why) => {
                report.problem(
                    &due.repository.name,
                    &due.path,
                    format!("its files are not shared with members: {why}"),
                );
                None
            }
        }
    }

    /// Number of the next run of a workflow among those in memory, from 1.
    fn run_number(&self, repository: &RepositoryRef, path: &str) -> u64 {
        let views = self.host.watcher().views();
        let same = |run: &&Run| {
            run.submitted.as_ref().is_some_and(|submitted| match &submitted.spec {
                RunSpec::Workflow(spec) => {
                    spec.path == path && submitted.frozen.repository == repository.name
                }
                RunSpec::Task { .. } => false,
            })
        };
        1 + views.runs().all_live().filter(same).count() as u64
    }
}
