//! Jobs shown beside their commit: as check runs, or as commit statuses.

use std::fmt::Write as _;

use wfengine_core::command::Command;
use wfengine_core::views::job::{Job, Status};
use wfengine_core::views::run::Run;
use wfengine_github::dates::rfc3339;
use wfengine_github::rest::{
    Annotation, CheckConclusion, CheckOutput, CheckRunDraft, CheckState, StatusState,
};
use wfengine_storage_format::{
    Body, Effect, EffectDone, EffectIntended, EffectOutcome, EventId, JobCompleted, TriggerFired,
};

use super::{Outside, Reports};
use crate::due::cut;
use crate::host::Host;

/// The artifact in which a job's annotations lie.
pub const ANNOTATIONS: &str = ".wfengine-annotations.json";
/// Bytes of a summary that GitHub takes.
const SUMMARY_BYTES_MAX: usize = 60_000;

impl<H: Host> Outside<H> {
    /// Reports every job of a run that changed since it was reported last.
    pub(super) async fn report(&mut self, run: &Run) -> Result<(), String> {
        let Some(trigger) = run.trigger.clone() else { return Ok(()) };
        for job in run.jobs.values() {
            let state = format!(
                "{}{}",
                job.status,
                job.holder().map_or_else(String::new, |claim| claim.id.to_string())
            );
            let kept = || self.host.cache().get("reported", job.id.as_bytes());
            let before = self.reported.get(&job.id).cloned().or_else(|| String::from_utf8(kept()?).ok());
            if before.as_deref() == Some(state.as_str()) {
                self.reported.insert(job.id, state);
                continue;
            }
            match self.options.reports {
                Reports::Off => {}
                Reports::Checks => self.check(run, &trigger, job).await?,
                Reports::Statuses => self.status(run, &trigger, job).await?,
            }
            self.host.cache().put("reported", job.id.as_bytes(), state.as_bytes());
            self.reported.insert(job.id, state);
        }
        Ok(())
    }

    fn details_url(&self, run: &Run) -> Option<String> {
        self.options.details_url.as_ref().map(|template| template.replace("{run}", &run.id.to_string()))
    }

    async fn status(&self, run: &Run, trigger: &TriggerFired, job: &Job) -> Result<(), String> {
        let state = match job.status {
            Status::Pending | Status::Assigned | Status::InProgress => StatusState::Pending,
            Status::Completed | Status::Skipped => StatusState::Success,
            Status::Failed => StatusState::Failure,
            Status::Cancelled | Status::Expired => StatusState::Error,
        };
        let context = format!("wfengine / {}", job.leg.name);
        let url = self.details_url(run);
        let said = cut(&self.words(run, job), 130);
        let client = &self.connection.client;
        let set = client.create_status(
            &trigger.repository.name,
            &trigger.sha,
            state,
            &context,
            &said,
            url.as_deref(),
        );
        set.await.map(|_| ()).map_err(|error| error.to_string())
    }

    fn words(&self, run: &Run, job: &Job) -> String {
        let views = self.host.watcher().views();
        let peer =
            job.result.as_ref().map(|result| result.peer).or_else(|| job.holder().map(|claim| claim.peer()));
        let on = peer.map_or_else(String::new, |peer| format!(" on {}", views.peer_name(&peer)));
        let reason = if job.reason.is_empty() { String::new() } else { format!(": {}", job.reason) };
        format!("{}{on}{reason} (run {})", job.status, run.id.short())
    }

    async fn check(&mut self, run: &Run, trigger: &TriggerFired, job: &Job) -> Result<(), String> {
        let known = run.checks.iter().find(|check| check.job == job.id && check.author == self.host.peer());
        let draft = self.draft(run, trigger, job).await;
        let name = &trigger.repository.name;
        let id = known.and_then(|check| match &check.outcome {
            Some(EffectOutcome::Done { id, .. }) => id.parse::<u64>().ok(),
            _ => None,
        });
        if let Some(id) = id {
            let updated = self.connection.client.update_check_run(name, id, &draft).await;
            return updated.map(|_| ()).map_err(|error| error.to_string());
        }
        let intent = match known {
            // an earlier process meant to: whether it did nobody knows, and a second check run of the same name replaces the first
            Some(check) => check.intent,
            None => self.intend(run, job).await?,
        };
        match self.connection.client.create_check_run(name, &draft).await {
            Ok(made) => {
                let outcome = EffectOutcome::Done { id: made.id.to_string(), url: String::new() };
                let body = EffectDone { run: run.id, intent, outcome };
                self.host.ask(Command::Conclude(body)).await.map(|_| ()).map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    async fn intend(&self, run: &Run, job: &Job) -> Result<EventId, String> {
        let submission = run.canonical.ok_or("it has no submission")?;
        let body = EffectIntended { run: run.id, submission, effect: Effect::Check { job: job.id } };
        let receipt = self.host.ask(Command::Intend(body)).await.map_err(|error| error.to_string())?;
        receipt.events.first().copied().ok_or_else(|| "it was meant before".to_owned())
    }

    async fn draft(&self, run: &Run, trigger: &TriggerFired, job: &Job) -> CheckRunDraft {
        let (status, conclusion) = match job.status {
            Status::Pending | Status::Assigned => (CheckState::Queued, None),
            Status::InProgress => (CheckState::InProgress, None),
            Status::Completed => (CheckState::Completed, Some(CheckConclusion::Success)),
            Status::Failed => (CheckState::Completed, Some(CheckConclusion::Failure)),
            Status::Skipped => (CheckState::Completed, Some(CheckConclusion::Skipped)),
            Status::Cancelled => (CheckState::Completed, Some(CheckConclusion::Cancelled)),
            Status::Expired => (CheckState::Completed, Some(CheckConclusion::TimedOut)),
        };
        let completed = self.completed(run, job);
        let mut summary = format!("`{}`\n", self.words(run, job));
        let mut annotations = Vec::new();
        if let Some(completed) = &completed {
            let _ = writeln!(summary, "\nIt took {} ms.", completed.duration_ms);
            for note in &completed.notes {
                let _ = writeln!(summary, "\n{note}");
            }
            let text = completed.summary.and_then(|blob| self.host.blobs().read(&blob).ok());
            summary.push_str(&cut(&String::from_utf8_lossy(&text.unwrap_or_default()), SUMMARY_BYTES_MAX));
            annotations = self.annotations(completed);
        }
        let now = rfc3339(self.host.wall_ms() / 1_000);
        let ended = status == CheckState::Completed;
        CheckRunDraft {
            name: Some(format!("wfengine / {}", job.leg.name)),
            head_sha: Some(trigger.sha.clone()),
            external_id: Some(job.id.to_string()),
            details_url: self.details_url(run),
            status: Some(status),
            conclusion,
            started_at: None,
            completed_at: ended.then_some(now),
            output: Some(CheckOutput {
                title: cut(&self.words(run, job), 200),
                summary,
                text: None,
                annotations,
            }),
        }
    }

    /// The event of a job's canonical result, which says more than the views keep.
    fn completed(&self, run: &Run, job: &Job) -> Option<JobCompleted> {
        let result = job.result.as_ref()?;
        let events = self.host.watcher().events_of_run(&run.id).ok()?;
        let event = events.iter().find(|event| event.id == result.id)?;
        match &event.body {
            Body::JobCompleted(body) => Some(JobCompleted::clone(body)),
            _ => None,
        }
    }

    fn annotations(&self, completed: &JobCompleted) -> Vec<Annotation> {
        let blob =
            completed.artifacts.iter().find(|(name, _, _)| name == ANNOTATIONS).map(|(_, blob, _)| *blob);
        let bytes = blob.and_then(|blob| self.host.blobs().read(&blob).ok()).unwrap_or_default();
        let kept: Vec<KeptAnnotation> = serde_json::from_slice(&bytes).unwrap_or_default();
        kept.into_iter().filter_map(KeptAnnotation::shown).collect()
    }
}

/// An annotation as the executing node kept it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct KeptAnnotation {
    /// `notice`, `warning` or `error`.
    pub level: String,
    /// In words.
    pub message: String,
    /// In a few words.
    pub title: Option<String>,
    /// The file, from the top of the repository.
    pub file: Option<String>,
    /// The line, from 1.
    pub line: Option<u32>,
    /// The last line.
    pub end_line: Option<u32>,
}

impl KeptAnnotation {
    /// As GitHub takes it; without a file there is no place to show it.
    fn shown(self) -> Option<Annotation> {
        use wfengine_github::rest::AnnotationLevel;
        let line = self.line.unwrap_or(1).max(1);
        Some(Annotation {
            path: self.file?,
            start_line: line,
            end_line: self.end_line.unwrap_or(line).max(line),
            annotation_level: match self.level.to_ascii_lowercase().as_str() {
                "error" => AnnotationLevel::Failure,
                "warning" => AnnotationLevel::Warning,
                _ => AnnotationLevel::Notice,
            },
            message: self.message,
            title: self.title,
        })
    }
}
