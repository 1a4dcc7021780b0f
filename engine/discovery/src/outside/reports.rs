//! Jobs shown beside their commit: as check runs, or as commit statuses.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use wfengine_core::command::Command;
use wfengine_core::views::job::{Job, Status};
use wfengine_core::views::run::Run;
use wfengine_github::ApiError;
use wfengine_github::dates::rfc3339;
use wfengine_github::rest::{
    ANNOTATIONS_MAX, Annotation, CheckConclusion, CheckOutput, CheckRunDraft, CheckState, StatusState,
};
use wfengine_storage_format::{
    BlobId, Body, Effect, EffectDone, EffectIntended, EffectOutcome, EventId, JobCompleted, RunId,
    TriggerFired,
};

use super::refusals::{Deed, Subject};
use super::{ByJob, Outside, Reports};
use crate::due::cut;
use crate::host::Host;

/// The artifact in which a job's annotations lie.
pub const ANNOTATIONS: &str = ".wfengine-annotations.json";
/// Bytes of a summary that GitHub takes.
const SUMMARY_BYTES_MAX: usize = 60_000;
/// Annotations of a job that are shown; of more it is said how many there are.
const ANNOTATIONS_SHOWN_MAX: usize = 500;
/// How long a report waits for what a job left on another host. It may have left the cluster.
const WAITS_MS: u64 = 600_000;
/// What is added to the state of a job whose report is not whole.
const PARTIAL: &str = " partial";

/// What was reported, as far as this process knows.
#[derive(Debug, Default)]
pub(super) struct Reported {
    /// Of a job last.
    states: ByJob<String>,
    /// Since when something of a job has been missing here.
    waiting: ByJob<u64>,
    /// Runs from before that nobody asked to see.
    old: BTreeSet<RunId>,
}

impl Reported {
    /// Whether there may be something to report: most runs have ended, and were reported so.
    fn may_be_news(&self, run: &Run) -> bool {
        let is_said = |job: &Job| self.states.get(&job.id).is_some_and(|said| *said == state_of(job));
        !self.old.contains(&run.id) && !run.jobs.values().all(is_said)
    }
}

/// What a report says of a job, apart from the words.
fn state_of(job: &Job) -> String {
    format!("{}{}", job.status, job.holder().map_or_else(String::new, |claim| claim.id.to_string()))
}

/// Why a job is not shown.
#[derive(Debug, thiserror::Error)]
enum NotShown {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("{0}")]
    Log(String),
}

/// What is to be done about a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Nothing,
    /// Say it, and whether something is missing.
    Say {
        is_partial: bool,
    },
    /// What was said stays as it is; it is not looked at again.
    Settle,
}

/// What is to be done about a job that is in a state, after what was said of it last. `is_missing` is asked only when it matters.
fn step(state: &str, before: Option<&str>, gave_up: bool, is_missing: impl FnOnce() -> bool) -> Step {
    if before == Some(state) {
        return Step::Nothing;
    }
    let was_partial = before.and_then(|before| before.strip_suffix(PARTIAL)) == Some(state);
    match (was_partial, is_missing()) {
        (true, true) if gave_up => Step::Settle,
        (true, true) => Step::Nothing,
        (_, is_missing) => Step::Say { is_partial: is_missing },
    }
}

impl<H: Host> Outside<H> {
    /// Reports the jobs that changed since they were reported last. Says what is wrong, a line each.
    pub(super) async fn report_all(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        let runs = self.own_runs(|run| self.reported.may_be_news(run));
        for (run, trigger) in runs {
            let name = trigger.repository.name.as_str();
            let subject = Subject { absent: "", wrong: &trigger.sha };
            if self.rests(run.id, Deed::Report) || self.refusals.of(name, Deed::Report, subject).is_some() {
                continue;
            }
            if !self.is_to_be_shown(&run) {
                self.reported.old.insert(run.id);
                continue;
            }
            let shown = self.report(&run, &trigger).await;
            let is_of_all = match &shown {
                Err(NotShown::Api(error)) => {
                    let is_lasting = self.refusals.note(name, Deed::Report, subject, error);
                    is_lasting && !matches!(error, ApiError::Unprocessable { .. })
                }
                _ => false,
            };
            let shown = shown.map_err(|error| error.to_string());
            self.note(run.id, Deed::Report, &shown);
            if let Some(why) = shown.err().filter(|_| !is_of_all) {
                said.push(format!("run {}: its jobs are not shown at GitHub: {why}", run.id.short()));
            }
        }
        said
    }

    /// What became due since reports are asked for, and what was reported before.
    fn is_to_be_shown(&self, run: &Run) -> bool {
        let own = self.host.peer();
        let before = |job: &Job| self.host.cache().get("reported", job.id.as_bytes()).is_some();
        run.submission().is_some_and(|submission| submission.time_ms >= self.began_ms)
            || run.checks.iter().any(|check| check.author == own)
            || run.jobs.values().any(before)
    }

    /// Reports every job of a run that changed since it was reported last.
    async fn report(&mut self, run: &Run, trigger: &TriggerFired) -> Result<(), NotShown> {
        for job in run.jobs.values() {
            let state = state_of(job);
            let kept = || self.host.cache().get("reported", job.id.as_bytes());
            let before = self.reported.states.get(&job.id).cloned();
            let before = before.or_else(|| String::from_utf8(kept()?).ok());
            let now = self.host.wall_ms();
            let since = self.reported.waiting.get(&job.id).copied();
            let gave_up = since.is_some_and(|since| now.saturating_sub(since) >= WAITS_MS);
            let is_missing = || self.options.reports == Reports::Checks && self.is_missing(run, job);
            let said = match step(&state, before.as_deref(), gave_up, is_missing) {
                Step::Nothing => {
                    let said = before.unwrap_or(state);
                    if said.ends_with(PARTIAL) {
                        self.reported.waiting.entry(job.id).or_insert(now);
                    }
                    self.reported.states.insert(job.id, said);
                    continue;
                }
                Step::Settle => state,
                Step::Say { is_partial } => {
                    match self.options.reports {
                        Reports::Off => {}
                        Reports::Checks => self.check(run, trigger, job).await?,
                        Reports::Statuses => self.status(run, trigger, job).await?,
                    }
                    if is_partial { format!("{state}{PARTIAL}") } else { state }
                }
            };
            if said.ends_with(PARTIAL) {
                self.reported.waiting.entry(job.id).or_insert(now);
            } else {
                self.reported.waiting.remove(&job.id);
            }
            self.host.cache().put("reported", job.id.as_bytes(), said.as_bytes());
            self.reported.states.insert(job.id, said);
        }
        Ok(())
    }

    /// Whether a job left something on another host that is not here yet.
    fn is_missing(&self, run: &Run, job: &Job) -> bool {
        let Some(completed) = self.completed(run, job) else { return false };
        completed
            .summary
            .into_iter()
            .chain(annotations_of(&completed))
            .any(|blob| !self.host.blobs().has(&blob))
    }

    fn details_url(&self, run: &Run) -> Option<String> {
        self.options.details_url.as_ref().map(|template| template.replace("{run}", &run.id.to_string()))
    }

    async fn status(&self, run: &Run, trigger: &TriggerFired, job: &Job) -> Result<(), NotShown> {
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
        Ok(set.await.map(|_| ())?)
    }

    fn words(&self, run: &Run, job: &Job) -> String {
        let views = self.host.watcher().views();
        let peer =
            job.result.as_ref().map(|result| result.peer).or_else(|| job.holder().map(|claim| claim.peer()));
        let on = peer.map_or_else(String::new, |peer| format!(" on {}", views.peer_name(&peer)));
        let reason = if job.reason.is_empty() { String::new() } else { format!(": {}", job.reason) };
        format!("{}{on}{reason} (run {})", job.status, run.id.short())
    }

    async fn check(&self, run: &Run, trigger: &TriggerFired, job: &Job) -> Result<(), NotShown> {
        let known = run.checks.iter().find(|check| check.job == job.id && check.author == self.host.peer());
        let completed = self.completed(run, job);
        let mut notes = completed.as_ref().map(|completed| self.notes(job, completed)).unwrap_or_default();
        let first = notes.next_batch();
        let draft = self.draft(run, trigger, job, completed.as_ref(), &notes, first);
        let name = &trigger.repository.name;
        let id = known.and_then(|check| match &check.outcome {
            Some(EffectOutcome::Done { id, .. }) => id.parse::<u64>().ok(),
            _ => None,
        });
        let client = &self.connection.client;
        let id = match id {
            Some(id) => client.update_check_run(name, id, &draft).await?.id,
            None => {
                let intent = match known {
                    // an earlier process meant to: whether it did nobody knows, and a second check run of the same name replaces
                    // the first
                    Some(check) => check.intent,
                    None => self.intend(run, job).await?,
                };
                let made = client.create_check_run(name, &draft).await?;
                let outcome = EffectOutcome::Done { id: made.id.to_string(), url: String::new() };
                let body = EffectDone { run: run.id, intent, outcome };
                let written = self.host.ask(Command::Conclude(body)).await;
                written.map_err(|error| NotShown::Log(error.to_string()))?;
                made.id
            }
        };
        self.keep_sent(job, &notes);
        // GitHub adds the annotations of an update to those that are there
        let output = draft.output.unwrap_or_default();
        loop {
            let annotations = notes.next_batch();
            if annotations.is_empty() {
                return Ok(());
            }
            let output = CheckOutput { annotations, ..output.clone() };
            let more = CheckRunDraft { output: Some(output), ..CheckRunDraft::default() };
            client.update_check_run(name, id, &more).await?;
            self.keep_sent(job, &notes);
        }
    }

    async fn intend(&self, run: &Run, job: &Job) -> Result<EventId, NotShown> {
        let submission = run.canonical.ok_or_else(|| NotShown::Log("it has no submission".to_owned()))?;
        let body = EffectIntended { run: run.id, submission, effect: Effect::Check { job: job.id } };
        let receipt = self.host.ask(Command::Intend(body)).await;
        let receipt = receipt.map_err(|error| NotShown::Log(error.to_string()))?;
        receipt.events.first().copied().ok_or_else(|| NotShown::Log("it was meant before".to_owned()))
    }

    fn draft(
        &self,
        run: &Run,
        trigger: &TriggerFired,
        job: &Job,
        completed: Option<&JobCompleted>,
        notes: &Notes,
        annotations: Vec<Annotation>,
    ) -> CheckRunDraft {
        let (status, conclusion) = match job.status {
            Status::Pending | Status::Assigned => (CheckState::Queued, None),
            Status::InProgress => (CheckState::InProgress, None),
            Status::Completed => (CheckState::Completed, Some(CheckConclusion::Success)),
            Status::Failed => (CheckState::Completed, Some(CheckConclusion::Failure)),
            Status::Skipped => (CheckState::Completed, Some(CheckConclusion::Skipped)),
            Status::Cancelled => (CheckState::Completed, Some(CheckConclusion::Cancelled)),
            Status::Expired => (CheckState::Completed, Some(CheckConclusion::TimedOut)),
        };
        let mut summary = format!("`{}`\n", self.words(run, job));
        if let Some(completed) = completed {
            let _ = writeln!(summary, "\nIt took {} ms.", completed.duration_ms);
            for note in &completed.notes {
                let _ = writeln!(summary, "\n{note}");
            }
            if notes.left_out > 0 {
                let _ = writeln!(summary, "\n{} more annotations are not shown here.", notes.left_out);
            }
            let text = completed.summary.and_then(|blob| self.host.blobs().read(&blob).ok());
            summary.push_str(&cut(&String::from_utf8_lossy(&text.unwrap_or_default()), SUMMARY_BYTES_MAX));
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

    /// The annotations of a result that GitHub does not have yet.
    fn notes(&self, job: &Job, completed: &JobCompleted) -> Notes {
        let bytes = annotations_of(completed).and_then(|blob| self.host.blobs().read(&blob).ok());
        let kept: Vec<KeptAnnotation> =
            serde_json::from_slice(&bytes.unwrap_or_default()).unwrap_or_default();
        let shown = kept.into_iter().filter_map(KeptAnnotation::shown).collect();
        let sent = self.host.cache().get("annotated", &sent_key(job)).unwrap_or_default();
        let sent = String::from_utf8(sent).ok().and_then(|sent| sent.parse().ok()).unwrap_or_default();
        Notes::new(shown, sent)
    }

    /// Remembers how many annotations of a result GitHub has, so that none is there twice.
    fn keep_sent(&self, job: &Job, notes: &Notes) {
        if notes.sent > 0 {
            self.host.cache().put("annotated", &sent_key(job), notes.sent.to_string().as_bytes());
        }
    }
}

/// Another result of a job has annotations of its own.
fn sent_key(job: &Job) -> Vec<u8> {
    let mut key = job.id.as_bytes().to_vec();
    key.extend(job.result.as_ref().map(|result| *result.id.as_bytes()).unwrap_or_default());
    key
}

fn annotations_of(completed: &JobCompleted) -> Option<BlobId> {
    completed.artifacts.iter().find(|(name, _, _)| name == ANNOTATIONS).map(|(_, blob, _)| *blob)
}

/// Annotations on their way, in batches that GitHub takes.
#[derive(Debug, Default)]
struct Notes {
    shown: Vec<Annotation>,
    /// How many of them GitHub has, or has with the batch that was taken last.
    sent: usize,
    /// How many there are besides.
    left_out: usize,
}

impl Notes {
    fn new(mut shown: Vec<Annotation>, sent: usize) -> Self {
        let left_out = shown.len().saturating_sub(ANNOTATIONS_SHOWN_MAX);
        shown.truncate(ANNOTATIONS_SHOWN_MAX);
        Self { sent: sent.min(shown.len()), shown, left_out }
    }

    fn next_batch(&mut self) -> Vec<Annotation> {
        let batch: Vec<Annotation> =
            self.shown.iter().skip(self.sent).take(ANNOTATIONS_MAX).cloned().collect();
        self.sent += batch.len();
        batch
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_is_not_whole_is_completed_once_or_given_up() {
        let (here, missing) = (|| false, || true);
        assert_eq!(step("completed", None, false, here), Step::Say { is_partial: false });
        assert_eq!(step("completed", Some("completed"), false, missing), Step::Nothing);
        assert_eq!(step("completed", Some("in_progress"), false, missing), Step::Say { is_partial: true });
        let partial = Some("completed partial");
        assert_eq!(step("completed", partial, false, missing), Step::Nothing, "it waits");
        assert_eq!(step("completed", partial, false, here), Step::Say { is_partial: false });
        assert_eq!(step("completed", partial, true, missing), Step::Settle);
        assert_eq!(step("failed", partial, true, missing), Step::Say { is_partial: true }, "another result");
    }

    #[test]
    fn annotations_leave_in_batches_each_once_and_what_is_left_out_is_counted() {
        let note = |line| {
            KeptAnnotation {
                level: "warning".to_owned(),
                message: "m".to_owned(),
                title: None,
                file: Some("a".to_owned()),
                line: Some(line),
                end_line: None,
            }
            .shown()
        };
        let shown: Vec<Annotation> = (1..=620).filter_map(note).collect();
        let mut notes = Notes::new(shown.clone(), 0);
        let mut sizes = Vec::new();
        let mut lines = BTreeSet::new();
        loop {
            let batch = notes.next_batch();
            if batch.is_empty() {
                break;
            }
            sizes.push(batch.len());
            lines.extend(batch.iter().map(|note| note.start_line));
        }
        assert_eq!((sizes, lines.len(), notes.left_out), (vec![50; 10], 500, 120));
        let mut rest = Notes::new(shown, 490);
        assert_eq!((rest.next_batch().len(), rest.next_batch().len()), (10, 0), "after a failure, the rest");
    }
}
