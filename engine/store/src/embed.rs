//! An engine inside another program: submit tasks, take them by priority, complete them, prove the history. No node, no network.
//!
//! The same log, the same events and the same rules as `wfengine task …`; the directory can be served by a node later, which then shares
//! everything with its cluster. One program at a time owns the directory.
//!
//! ```
//! use wfengine_core::time::WallMs;
//! use wfengine_store::embed::Engine;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let now = WallMs(1_700_000_000_000);
//! let engine = Engine::open(dir.path(), now)?;
//! engine.submit("scrape", r#"{"url":"a"}"#, 3_000, now)?;
//! engine.submit("generate", r#"{"source":"b"}"#, 1_000, now)?;
//!
//! let task = engine.next(now)?.ok_or("nothing to do")?;
//! assert_eq!(task.id, "generate", "lower priorities run first");
//! engine.complete(&task, r#"{"pages":3}"#, now)?;
//! assert_eq!(engine.next(now)?.map(|task| task.id).as_deref(), Some("scrape"));
//!
//! let report = engine.replay()?;
//! assert!(report.is_clean());
//! assert_eq!(report.events, 6); // founded, 2 submitted, 2 claimed, 1 completed
//! engine.close()?;
//! # Ok(())
//! # }
//! ```

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use wfengine_core::command::Command;
use wfengine_core::queue::{AGEING_PERIOD_MS_DEFAULT, Queue};
use wfengine_core::replay::{Checking, Expected, Place, Replayer, Report, Reread, check_frame};
use wfengine_core::seal::Author;
use wfengine_core::time::WallMs;
use wfengine_core::views::job::Status;
use wfengine_core::views::run::Run;
use wfengine_storage_format::{
    ChainId, ClusterFounded, Conclusion, EventId, Frozen, Incarnation, JobClaimed, JobCompleted, JobId,
    Origin, Placement, RunId, RunSpec, RunSubmitted,
};

use crate::data_dir::DirLock;
use crate::{AskError, DataDir, DataDirError, Purpose, Store, StoreError, Watcher};

/// Why an embedded engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// The directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The disk failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It was refused, or the disk failed.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The operating system gives no random numbers.
    #[error("the operating system gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

/// A task taken from the queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Task {
    /// The id it was submitted under.
    pub id: String,
    /// Its run.
    pub run: RunId,
    /// Its one job.
    pub job: JobId,
    /// The claim that completing it needs.
    pub claim: EventId,
    /// What was submitted with it, a JSON text.
    pub metadata_json: String,
}

/// A log of one's own, with a queue over its open tasks.
#[derive(Debug)]
pub struct Engine {
    store: Store,
    queue: Mutex<Queue<JobId>>,
    runs: Mutex<std::collections::BTreeMap<JobId, RunId>>,
    _lock: DirLock,
}

impl Engine {
    /// Opens the engine of a directory, founding a cluster of one at first use.
    ///
    /// # Errors
    /// [`EmbedError`] when the directory is in use, another user's, or damaged.
    pub fn open(dir: &Path, now: WallMs) -> Result<Self, EmbedError> {
        let data = DataDir::open(dir)?;
        let lock = data.lock()?;
        let seed = random::<32>()?;
        let signer = data.identity(|| seed)?;
        let cluster = match data.current_cluster()? {
            Some(cluster) => cluster,
            None => {
                let incarnation = Incarnation::from_bytes(random()?);
                let chain = ChainId { author: signer.peer_id(), incarnation };
                let author = Author { signer: signer.clone(), chain };
                let body = ClusterFounded { name: String::new(), nonce: random()?, system: Vec::new() };
                let cluster = Store::found(&data, &author, body, now)?;
                data.set_current_cluster(&cluster)?;
                cluster
            }
        };
        let fresh = Incarnation::from_bytes(random()?);
        let (store, _) = Store::open(&data.cluster_dir(&cluster), signer, Purpose::Serve, fresh, "")?;
        let engine = Self {
            store,
            queue: Mutex::new(Queue::new(AGEING_PERIOD_MS_DEFAULT)),
            runs: Mutex::default(),
            _lock: lock,
        };
        let mut open: Vec<Run> = {
            let views = engine.store.watcher().views();
            views
                .runs()
                .all_live()
                .filter(|run| run.is_task() && !run.status.is_terminal())
                .cloned()
                .collect()
        };
        open.sort_by_key(|run| run.submission().map(|submission| submission.height));
        open.iter().for_each(|run| engine.enqueue(run));
        Ok(engine)
    }

    fn enqueue(&self, run: &Run) {
        let base_ms = run.submission().map_or(0, |submission| submission.time_ms);
        for job in run.jobs.values().filter(|job| !job.status.is_terminal()) {
            self.queue.lock().unwrap_or_else(PoisonError::into_inner).push(
                job.id,
                run.priority_milli,
                base_ms,
            );
            self.runs.lock().unwrap_or_else(PoisonError::into_inner).insert(job.id, run.id);
        }
    }

    /// Submits a task. The same id with the same content is the same task. `priority_milli`: lower runs first, 1 to 1,000,000.
    ///
    /// # Errors
    /// [`EmbedError::Ask`] when the id was used for other content, or the disk failed.
    pub fn submit(
        &self,
        id: &str,
        metadata_json: &str,
        priority_milli: u32,
        now: WallMs,
    ) -> Result<RunId, EmbedError> {
        let submission = Box::new(RunSubmitted {
            trigger_key: format!("id:{id}").into_bytes(),
            attempt: 1,
            name: id.to_owned(),
            spec: RunSpec::Task { workflow_id: String::new() },
            frozen: Frozen::default(),
            tags: Vec::new(),
            metadata_json: metadata_json.to_owned(),
            priority_milli,
            placement: Placement::Rule,
            origin: Origin::Hand,
            retries: 0,
            backoff_ms: (0, 0),
            rerun_of: None,
        });
        let run = submission.run();
        let command = Command::Submit { submission, plan: Vec::new(), blobs: Vec::new() };
        let receipt = self.store.recorder().ask_blocking(command, now)?;
        if let Some(known) = self.store.watcher().run(&run).filter(|_| !receipt.already_so) {
            self.enqueue(&known);
        }
        Ok(run)
    }

    /// Takes the next task: lowest priority first, oldest first among equals. `None` when there is none.
    ///
    /// # Errors
    /// [`EmbedError`] when the claim was refused or the disk failed.
    pub fn next(&self, now: WallMs) -> Result<Option<Task>, EmbedError> {
        loop {
            let next = self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(job) = next.map(|queued| queued.job) else { return Ok(None) };
            let run = self.runs.lock().unwrap_or_else(PoisonError::into_inner).remove(&job);
            let Some(run) = run.and_then(|run| self.store.watcher().run(&run)) else { continue };
            let Some(known) = run
                .jobs
                .get(&job)
                .filter(|known| known.status == Status::Pending || known.holder().is_some())
            else {
                continue;
            };
            let (Some(submission), Some(submitted)) = (run.canonical, run.submitted.as_ref()) else {
                continue;
            };
            // an earlier process of this engine may have held it: its claim ended with that process
            let before = known.effective_claim();
            let claim = JobClaimed {
                run: run.id,
                job,
                submission,
                epoch: before.map_or(1, |before| before.epoch + 1),
                supersedes: before.map(|before| before.id),
            };
            let receipt = self.store.recorder().ask_blocking(Command::Claim(claim), now)?;
            let Some(claim) = receipt.events.first().copied() else { continue };
            let id = submitted.trigger_key.strip_prefix(b"id:").unwrap_or(&submitted.trigger_key);
            return Ok(Some(Task {
                id: String::from_utf8_lossy(id).into_owned(),
                run: run.id,
                job,
                claim,
                metadata_json: submitted.metadata_json.clone(),
            }));
        }
    }

    /// Records a task's result, a JSON text.
    ///
    /// # Errors
    /// [`EmbedError::Ask`] when the task is not held any more, or the disk failed.
    pub fn complete(&self, task: &Task, result_json: &str, now: WallMs) -> Result<(), EmbedError> {
        let body = JobCompleted {
            run: task.run,
            job: task.job,
            claim: task.claim,
            conclusion: Conclusion::Success,
            outputs: Vec::new(),
            result_json: result_json.to_owned(),
            log: None,
            log_len: 0,
            summary: None,
            artifacts: Vec::new(),
            duration_ms: 0,
            notes: Vec::new(),
        };
        self.store.recorder().ask_blocking(Command::Complete(body), now)?;
        Ok(())
    }

    /// Recomputes every hash, link, signature and view of the history.
    ///
    /// # Errors
    /// [`EmbedError::Store`] when the log cannot be read; what is wrong in it stands in the report.
    pub fn replay(&self) -> Result<Report, EmbedError> {
        const FRAMES_AT_ONCE: usize = 256;
        let watcher = self.store.watcher();
        let mut replayer = Replayer::new(watcher.cluster(), Again(watcher.clone()), 1_000);
        let mut next = 0;
        loop {
            let frames = watcher.raw_frames(next, FRAMES_AT_ONCE)?;
            if frames.is_empty() {
                break;
            }
            for (number, bytes) in frames {
                let place = Place { frame: number, offset: None };
                replayer.take(place, check_frame(&bytes, Checking::Signatures));
                next = number + 1;
            }
        }
        Ok(replayer.finish(&Expected::default()))
    }

    /// The log, for everything else.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Closes the log cleanly.
    ///
    /// # Errors
    /// [`EmbedError::Store`] when the last commit failed.
    pub fn close(self) -> Result<(), EmbedError> {
        Ok(self.store.close()?)
    }
}

struct Again(Watcher);

impl Reread for Again {
    fn reread(&self, handle: u64) -> Option<Vec<u8>> {
        self.0.raw_frames(handle, 1).ok()?.into_iter().next().map(|(_, bytes)| bytes)
    }
}

fn random<const N: usize>() -> Result<[u8; N], EmbedError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_an_earlier_process_held_is_offered_again() {
        let dir = tempfile::tempdir().unwrap();
        let now = WallMs(1_700_000_000_000);
        let engine = Engine::open(dir.path(), now).unwrap();
        engine.submit("a", "{}", 3_000, now).unwrap();
        let first = engine.next(now).unwrap().unwrap();
        engine.close().unwrap();
        let engine = Engine::open(dir.path(), now).unwrap();
        let again = engine.next(now).unwrap().unwrap();
        assert_eq!((again.job, again.claim == first.claim), (first.job, false));
        assert!(engine.complete(&first, "{}", now).is_err(), "the first claim is over");
        engine.complete(&again, "{}", now).unwrap();
        assert_eq!(engine.next(now).unwrap(), None);
    }
}
