//! GitHub's own side of workflows: which files are workflows, what they are triggered by, and the runs they made.
//!
//! Nothing runs here: a run stays queued until a runner takes its jobs, a test moves it, or a client cancels it. One job stands
//! for each job of the file; matrices are not expanded, and no job waits for another. Jobs one by one: `jobs`.

pub(crate) mod jobs;
mod triggers;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use wfengine_workflow::{Contexts, Value as Evaluated, Workflow};

use super::{
    git::object::{Commit, ObjectId},
    ids::{AccountId, JobId, RepositoryId, RunId, RunnerId, WorkflowId},
    state::{StandinError, State},
    webhooks::payload,
};
use jobs::WantedJob;

/// Where workflow files lie.
pub(crate) const FOLDER: &str = ".github/workflows";

/// A workflow file that the default branch has or had.
#[derive(Debug, Clone)]
pub(crate) struct WorkflowFile {
    pub(crate) id: WorkflowId,
    pub(crate) repository: RepositoryId,
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) is_disabled: bool,
    pub(crate) created_at: u64,
}

/// How far a run or a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing of it has begun.
    Queued,
    /// It runs.
    InProgress,
    /// It has a conclusion.
    Completed,
}

impl Progress {
    /// GitHub's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
        }
    }
}

/// A run.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) id: RunId,
    pub(crate) repository: RepositoryId,
    pub(crate) workflow: WorkflowId,
    pub(crate) workflow_name: String,
    pub(crate) path: String,
    pub(crate) event: String,
    /// The branch, or the tag.
    pub(crate) head: String,
    /// `owner/name` where the change comes from, when it is another repository.
    pub(crate) head_repository: Option<String>,
    pub(crate) sha: ObjectId,
    pub(crate) commit: Commit,
    pub(crate) actor: Option<AccountId>,
    pub(crate) number: u64,
    pub(crate) progress: Progress,
    pub(crate) conclusion: Option<String>,
    pub(crate) created_at: u64,
    pub(crate) updated_at: u64,
}

/// A job of a run.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) run: RunId,
    pub(crate) name: String,
    pub(crate) labels: Vec<String>,
    pub(crate) progress: Progress,
    pub(crate) conclusion: Option<String>,
    pub(crate) created_at: u64,
    pub(crate) started_at: Option<u64>,
    pub(crate) completed_at: Option<u64>,
    /// Who was given it: number and name, which outlive the runner.
    pub(crate) runner: Option<(RunnerId, String)>,
    pub(crate) handed_out: u32,
    pub(crate) log: Vec<String>,
    /// In real time, for tests of how long a job waits.
    pub(crate) queued: Instant,
    pub(crate) waited: Option<Duration>,
}

/// A run, for tests.
#[derive(Debug, Clone)]
pub struct RunInfo {
    /// Its number in answers.
    pub id: RunId,
    /// `owner/name`.
    pub repository: String,
    /// Path of the workflow file.
    pub path: String,
    /// `push`, `workflow_dispatch`.
    pub event: String,
    /// Branch or tag.
    pub head: String,
    /// The commit.
    pub sha: String,
    /// How far it is.
    pub progress: Progress,
    /// Its end.
    pub conclusion: Option<String>,
    /// Whether a client cancelled it.
    pub is_cancelled_by_client: bool,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Actions {
    pub(crate) workflows: BTreeMap<WorkflowId, WorkflowFile>,
    pub(crate) runs: BTreeMap<RunId, Run>,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    /// By a client's request, in order.
    pub(crate) cancelled: Vec<RunId>,
}

impl Actions {
    pub(crate) fn jobs_of(&self, run: RunId) -> Vec<&Job> {
        self.jobs.values().filter(|job| job.run == run).collect()
    }
}

/// What starts a run.
pub(crate) struct Cause<'a> {
    pub(crate) event: &'a str,
    pub(crate) head: &'a str,
    pub(crate) actor: Option<AccountId>,
}

impl State {
    /// The workflow at a path and commit, as GitHub reads it; `None` for what GitHub would refuse.
    pub(crate) fn workflow_at(
        &self,
        repository: RepositoryId,
        sha: ObjectId,
        path: &str,
    ) -> Option<Workflow> {
        let commit = self.objects.commit(sha)?;
        let entry = self.objects.entry_at(commit.tree, path)?;
        let source = &self.objects.object(entry.id)?.content;
        debug_assert!(self.repositories.contains_key(&repository), "BUG: a workflow without a repository");
        Workflow::read(source, path).ok().filter(|workflow| workflow.not_valid_on_github().is_empty())
    }

    /// A file at a commit, as text.
    pub(crate) fn text_at(&self, sha: ObjectId, path: &str) -> Option<String> {
        let commit = self.objects.commit(sha)?;
        let entry = self.objects.entry_at(commit.tree, path)?;
        Some(String::from_utf8_lossy(&self.objects.object(entry.id)?.content).into_owned())
    }

    /// Paths of the workflow files at a commit.
    fn workflow_paths(&self, sha: ObjectId) -> Vec<String> {
        let folder = self.objects.commit(sha).and_then(|commit| self.objects.entry_at(commit.tree, FOLDER));
        let entries = folder.map(|folder| self.objects.tree(folder.id)).unwrap_or_default();
        let is_workflow = |name: &str| name.ends_with(".yml") || name.ends_with(".yaml");
        let names = entries.into_iter().map(|entry| entry.name).filter(|name| is_workflow(name));
        names.map(|name| format!("{FOLDER}/{name}")).collect()
    }

    /// Registers what a branch brings, and lists what the default branch has, in the order of their numbers.
    pub(crate) fn workflows_of(&mut self, repository: RepositoryId) -> Vec<WorkflowFile> {
        let Some(head) =
            self.repositories.get(&repository).and_then(|of| of.git.resolve(&self.objects, "HEAD"))
        else {
            return Vec::new();
        };
        let paths = self.workflow_paths(head);
        for path in &paths {
            self.register_workflow(repository, head, path);
        }
        let of = self.actions.workflows.values().filter(|file| file.repository == repository);
        of.filter(|file| paths.contains(&file.path)).cloned().collect()
    }

    pub(crate) fn register_workflow(
        &mut self,
        repository: RepositoryId,
        sha: ObjectId,
        path: &str,
    ) -> WorkflowId {
        let name = self
            .workflow_at(repository, sha, path)
            .map_or_else(|| path.to_owned(), |workflow| workflow.display_name().to_owned());
        let known = self
            .actions
            .workflows
            .values_mut()
            .find(|file| file.repository == repository && file.path == path);
        if let Some(file) = known {
            file.name = name;
            return file.id;
        }
        let (id, created_at) = (self.ids.workflow(), self.clock.now());
        let path = path.to_owned();
        let file = WorkflowFile { id, repository, path, name, is_disabled: false, created_at };
        self.actions.workflows.insert(id, file);
        id
    }

    /// Starts what GitHub would start for a push to a branch (`heads/...`) or of a tag (`tags/...`).
    pub(crate) fn start_pushed(
        &mut self,
        repository: RepositoryId,
        reference: &str,
        sha: ObjectId,
        actor: Option<AccountId>,
    ) {
        let Some(commit) = self.objects.peeled(sha) else { return };
        let changed = self.changed_paths(commit);
        for path in self.workflow_paths(commit) {
            let Some(workflow) = self.workflow_at(repository, commit, &path) else { continue };
            if !triggers::starts_on_push(&workflow, reference, &changed) {
                continue;
            }
            let id = self.register_workflow(repository, commit, &path);
            if self.actions.workflows.get(&id).is_some_and(|file| file.is_disabled) {
                continue;
            }
            let head = reference.split_once('/').map_or(reference, |(_, name)| name);
            self.start_run(repository, id, &workflow, commit, &Cause { event: "push", head, actor });
        }
    }

    /// Paths that differ between a commit and its first parent.
    fn changed_paths(&self, sha: ObjectId) -> Vec<String> {
        let files = |id: Option<ObjectId>| -> BTreeMap<String, ObjectId> {
            let tree = id.and_then(|id| self.objects.commit(id)).map(|commit| commit.tree);
            let entries = tree.map(|tree| self.objects.walk(tree)).unwrap_or_default();
            entries.into_iter().map(|(path, entry)| (path, entry.id)).collect()
        };
        let parent = self.objects.commit(sha).and_then(|commit| commit.parents.first().copied());
        let (old, new) = (files(parent), files(Some(sha)));
        let all = old.keys().chain(new.keys()).filter(|path| old.get(*path) != new.get(*path));
        all.cloned().collect()
    }

    /// Makes a run with its jobs, all queued.
    pub(crate) fn start_run(
        &mut self,
        repository: RepositoryId,
        workflow_id: WorkflowId,
        workflow: &Workflow,
        sha: ObjectId,
        cause: &Cause<'_>,
    ) -> Option<RunId> {
        let id = self.make_run(repository, workflow_id, workflow, sha, cause)?;
        let wanted = workflow.jobs.iter().map(|job| WantedJob {
            name: job.name.as_ref().map_or(job.id.clone(), |name| name.source()),
            labels: job.runs_on.as_ref().map(labels).unwrap_or_default(),
        });
        let wanted: Vec<WantedJob> = wanted.collect();
        self.tell_of_run(id, "requested");
        self.add_jobs(id, &wanted).ok()?;
        Some(id)
    }

    /// Makes a run without jobs, of which nobody is told.
    fn make_run(
        &mut self,
        repository: RepositoryId,
        workflow_id: WorkflowId,
        workflow: &Workflow,
        sha: ObjectId,
        cause: &Cause<'_>,
    ) -> Option<RunId> {
        let commit = self.objects.commit(sha)?;
        let (id, now) = (self.ids.run(), self.now());
        let earlier = self.actions.runs.values().filter(|run| run.workflow == workflow_id).count() as u64;
        let run = Run {
            id,
            repository,
            workflow: workflow_id,
            workflow_name: workflow.display_name().to_owned(),
            path: workflow.file.clone(),
            event: cause.event.to_owned(),
            head: cause.head.to_owned(),
            head_repository: None,
            sha,
            commit,
            actor: cause.actor,
            number: earlier + 1,
            progress: Progress::Queued,
            conclusion: None,
            created_at: now,
            updated_at: now,
        };
        self.actions.runs.insert(id, run);
        Some(id)
    }

    /// Moves a run and those of its jobs that are not through.
    pub(crate) fn move_run(
        &mut self,
        id: RunId,
        progress: Progress,
        conclusion: Option<&str>,
    ) -> Result<(), StandinError> {
        let now = self.now();
        let run = self.actions.runs.get_mut(&id).ok_or(StandinError::NoRun(id.0))?;
        run.progress = progress;
        run.conclusion = conclusion.map(str::to_owned);
        run.updated_at = now;
        for job in self.actions.jobs.values_mut() {
            if job.run != id || job.progress == Progress::Completed {
                continue;
            }
            job.progress = progress;
            job.conclusion = conclusion.map(str::to_owned);
            if progress != Progress::Queued {
                job.started_at = job.started_at.or(Some(now));
            }
            job.completed_at = (progress == Progress::Completed).then_some(now);
        }
        self.tell_of_run(id, progress.name());
        self.tell_of_jobs(id, progress.name());
        self.runners.changed.notify_waiters();
        Ok(())
    }

    fn tell_of_run(&mut self, id: RunId, action: &str) {
        let Some(repository) = self.actions.runs.get(&id).map(|run| run.repository) else { return };
        if let Some(body) = payload::workflow_run(self, id, action) {
            self.emit(repository, "workflow_run", Some(action), body);
        }
    }

    fn tell_of_jobs(&mut self, id: RunId, action: &str) {
        let jobs: Vec<JobId> = self.actions.jobs_of(id).iter().map(|job| job.id).collect();
        for job in jobs {
            self.tell_of_job(job, action);
        }
    }

    pub(crate) fn run_info(&self, run: &Run) -> RunInfo {
        RunInfo {
            id: run.id,
            repository: self
                .repositories
                .get(&run.repository)
                .map_or_else(String::new, |repository| self.full_name(repository)),
            path: run.path.clone(),
            event: run.event.clone(),
            head: run.head.clone(),
            sha: run.sha.to_string(),
            progress: run.progress,
            conclusion: run.conclusion.clone(),
            is_cancelled_by_client: self.actions.cancelled.contains(&run.id),
        }
    }
}

/// The labels of a job, as far as they need no context.
fn labels(runs_on: &wfengine_workflow::Tree) -> Vec<String> {
    fn texts(value: &Evaluated) -> Vec<String> {
        match value.to_serde() {
            serde_json::Value::Array(items) => {
                items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
            }
            serde_json::Value::Object(fields) => match fields.get("labels") {
                Some(serde_json::Value::Array(items)) => {
                    items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
                }
                Some(serde_json::Value::String(label)) => vec![label.clone()],
                _ => Vec::new(),
            },
            serde_json::Value::String(label) => vec![label],
            _ => Vec::new(),
        }
    }
    runs_on.evaluate(&Contexts::new()).map(|value| texts(&value)).unwrap_or_default()
}
