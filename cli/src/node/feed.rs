//! What executions say while they happen: for people who watch, never for decisions.

use std::sync::Arc;

use tokio::sync::broadcast;
use wfengine_executor::StepResult;
use wfengine_executor::log::LogLine;
use wfengine_storage_format::{JobId, RunId};

/// Happenings that a slow listener may fall behind before it misses some.
const LEN_MAX: usize = 16_384;

/// Something that happened in a job here.
#[derive(Clone, Debug)]
pub(crate) struct Happening {
    pub(crate) run: RunId,
    pub(crate) job: JobId,
    /// What.
    pub(crate) what: What,
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// The job begins here.
    Started { name: String },
    /// A step begins.
    Step { number: u32, name: String },
    /// A line was printed.
    Line(LogLine),
    /// A step ended.
    StepEnded(StepResult),
    /// The job ended here.
    Ended { conclusion: String },
}

/// The feed of one node.
#[derive(Debug)]
pub(crate) struct News(broadcast::Sender<Arc<Happening>>);

impl News {
    pub(crate) fn new() -> Self {
        Self(broadcast::channel(LEN_MAX).0)
    }
    pub(crate) fn tell(&self, run: RunId, job: JobId, what: What) {
        // nobody listening is no fault
        let _ = self.0.send(Arc::new(Happening { run, job, what }));
    }
    pub(crate) fn listen(&self) -> broadcast::Receiver<Arc<Happening>> {
        self.0.subscribe()
    }
}
