//! Runs the steps of a claimed job.
//!
//! [`run_job`] takes a job of a workflow file with everything planning froze and runs its steps as processes of this
//! host, as GitHub's runner would. It writes no event and opens no store: the caller gives it a place for its log, hears
//! [`JobEvent`]s, may stop it through a watch channel, and is asked through [`Gate`] before each step whether its claim
//! still stands. What the caller makes of the [`JobOutcome`] is the caller's.
//!
//! ```text
//! plan (pure) ──▶ drive ──▶ host ──▶ process          decide · the job · one step · one process group
//!                  ▲         │ bytes
//!                  │         ▼
//!   environment_files    console ──▶ mask ──▶ log, events       lines, workflow commands
//! ```
//!
//! A step that checks out a repository needs no script: `drive` ──▶ `checkout` ──▶ `wfengine-git`, and the objects come
//! through the port [`Sources`].
//!
//! ```
//! use std::collections::BTreeMap;
//! use wfengine_executor::{AlwaysOpen, Control, JobIdentity, JobInput, Limits, Workspace, environment, run_job};
//! use wfengine_workflow::{Conclusion, Frozen, Workflow};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
//! # let folder = tempfile::tempdir().unwrap();
//! let source = b"on: push\njobs: {a: {runs-on: x, outputs: {o: '${{ steps.s.outputs.o }}'}, steps: [{id: s, run: 'echo o=1 >> $GITHUB_OUTPUT'}]}}";
//! let workflow = Workflow::read(source, "a.yml").unwrap();
//! let definition = workflow.job_definition("a").unwrap();
//! let (_stop, stops) = tokio::sync::watch::channel(Control::Continue);
//! let input = JobInput {
//!     definition,
//!     contexts: definition.contexts(&Frozen::default(), &BTreeMap::new(), &BTreeMap::new()).unwrap(),
//!     identity: JobIdentity { job_key: "a".into(), tracking_prefix: "wfengine_docs".into(), ..Default::default() },
//!     workspace: Workspace::Fresh,
//!     temp_root: folder.path().join("jobs"),
//!     log_path: folder.path().join("log"),
//!     host_environment: environment::visible_of_host(std::env::vars_os(), &[]),
//!     limits: Limits::default(),
//!     started_ms: 0,
//!     notes: Vec::new(),
//!     sources: None,
//! };
//! let outcome = runtime.block_on(run_job(input, &mut |event| drop(event), stops, &mut AlwaysOpen)).unwrap();
//! assert_eq!((outcome.conclusion, outcome.outputs["o"].as_str()), (Conclusion::Success, "1"));
//! ```
//!
//! Kept here: every step is a process group of its own, and none outlives the job, however the job ends; a step sees a
//! short list of the host's variables and never the node's own environment; nothing is written or told unmasked; a
//! program that is missing, a file that is malformed, a limit that is passed fails the step and says so; the executor
//! itself reaches no network.

mod checkout;
mod console;
mod control;
mod drive;
pub mod environment;
pub mod environment_files;
mod folders;
mod hash_files;
mod host;
mod job;
pub mod log;
pub mod mask;
pub mod plan;
pub mod process;
pub mod shell;
pub mod sources;
pub mod workflow_commands;

pub use console::{
    ANNOTATION_BYTES_MAX, ANNOTATIONS_PER_JOB_MAX, ANNOTATIONS_PER_LEVEL_AND_STEP_MAX, StepAnnotation,
};
pub use control::{AlwaysOpen, Control, Gate, Stop, StopReason};
pub use drive::run_job;
pub use environment::JobIdentity;
pub use folders::{Workspace, clear_leftovers};
pub use host::TIMEOUT_GRACE;
pub use job::{
    DropReason, DroppedOutput, Ending, JobError, JobEvent, JobInput, JobOutcome, Limits, StepResult,
};
pub use sources::{Fetched, Fetching, Sources, SourcesError, Wanted};
pub use wfengine_git::{GitError, PackError, Repository};
