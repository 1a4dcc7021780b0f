//! Runs a job of a workflow text with real processes and collects what it said. Decides nothing; used by the tests here.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use tempfile::TempDir;
use tokio::sync::watch;
use wfengine_executor::{
    AlwaysOpen, Control, Gate, JobError, JobEvent, JobIdentity, JobInput, JobOutcome, Limits, Sources, Stop,
    StopReason, Workspace,
    environment::visible_of_host,
    log::{LogLine, LogReader, Stream},
    run_job,
};
use wfengine_workflow::{Contexts, Object, Value, Workflow};

/// A stop that is sent when a step prints a certain line.
#[derive(Clone, Copy)]
pub(crate) struct StopAt {
    pub(crate) line: &'static str,
    pub(crate) stop: Stop,
}

pub(crate) fn stop_at(line: &'static str, reason: StopReason, grace_ms: u64) -> StopAt {
    StopAt { line, stop: Stop { reason, grace: Duration::from_millis(grace_ms) } }
}

/// What a job is run with. The first job of the workflow is run.
pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    pub(crate) workflow: String,
    pub(crate) contexts: Contexts,
    pub(crate) workspace: Workspace,
    pub(crate) limits: Limits,
    pub(crate) stops: Vec<StopAt>,
    /// Variables of the host in place of the real ones.
    pub(crate) host: BTreeMap<String, String>,
    pub(crate) sources: Option<Arc<dyn Sources>>,
}

/// What came of it.
pub(crate) struct Ran {
    pub(crate) outcome: JobOutcome,
    pub(crate) events: Vec<JobEvent>,
    pub(crate) lines: Vec<LogLine>,
    pub(crate) bench: Bench,
}

/// A job whose body (indented by four blanks) is given.
pub(crate) fn bench(body: &str) -> Bench {
    let mut contexts = Contexts::new();
    let github = r#"{"repository":"o/r","sha":"abc","ref":"refs/heads/main","event_name":"push","run_id":"77","run_number":5,"event":{"a":[1]}}"#;
    contexts.set("github", Value::from_json(github).unwrap());
    for empty in ["inputs", "vars", "needs", "matrix", "strategy", "steps", "secrets", "job"] {
        contexts.set(empty, Object::new());
    }
    Bench {
        folder: tempfile::tempdir().unwrap(),
        workflow: format!(
            "on: push\nenv:\n  LAYER: workflow\njobs:\n  build:\n    runs-on: ubuntu-latest\n{body}"
        ),
        contexts,
        workspace: Workspace::Fresh,
        limits: Limits::default(),
        stops: Vec::new(),
        host: BTreeMap::new(),
        sources: None,
    }
}

/// A job with these steps (their lines start with `- `, at the margin).
pub(crate) fn steps(steps: &str) -> Bench {
    let indented: String = steps.trim_matches('\n').lines().map(|line| format!("      {line}\n")).collect();
    bench(&format!("    steps:\n{indented}"))
}

pub(crate) async fn run(steps_text: &str) -> Ran {
    steps(steps_text).run().await
}

impl Bench {
    pub(crate) fn temp_root(&self) -> PathBuf {
        self.folder.path().join("jobs")
    }

    pub(crate) fn lend_workspace(&mut self) -> PathBuf {
        let path = self.folder.path().join("lent");
        std::fs::create_dir(&path).unwrap();
        self.workspace = Workspace::Lent(path.clone());
        path
    }

    pub(crate) fn parsed(&self) -> Workflow {
        Workflow::read(self.workflow.as_bytes(), "test.yml")
            .unwrap_or_else(|errors| panic!("{}\n{errors:?}", self.workflow))
    }

    pub(crate) fn input<'a>(&self, workflow: &'a Workflow) -> JobInput<'a> {
        let mut host: Vec<_> = std::env::vars_os().collect();
        host.push(("NODE_CREDENTIAL".into(), "not for jobs".into()));
        let mut host_environment = visible_of_host(host, &[]);
        host_environment.extend(self.host.clone());
        JobInput {
            definition: workflow.job_definition(&workflow.jobs[0].id).unwrap(),
            contexts: self.contexts.clone(),
            identity: JobIdentity {
                run_id: "run-1".into(),
                job_id: "job-1".into(),
                job_key: workflow.jobs[0].id.clone(),
                fencing_token: "3-0-0-aa".into(),
                idempotency_key: "job-1".into(),
                tracking_prefix: format!("wfengine_test_{}", std::process::id()),
                peer_name: "alice".into(),
            },
            workspace: self.workspace.clone(),
            temp_root: self.temp_root(),
            log_path: self.folder.path().join("log"),
            host_environment,
            limits: self.limits.clone(),
            started_ms: 1_700_000_000_000,
            notes: vec!["a note of the caller".into()],
            sources: self.sources.clone(),
        }
    }

    pub(crate) async fn run(self) -> Ran {
        self.run_through(&mut AlwaysOpen).await
    }

    pub(crate) async fn run_through(self, gate: &mut impl Gate) -> Ran {
        let (result, events, bench) = self.try_run(gate).await;
        let outcome = result.unwrap();
        let lines = read_log(&outcome.log.path);
        Ran { outcome, events, lines, bench }
    }

    pub(crate) async fn try_run(
        self,
        gate: &mut impl Gate,
    ) -> (Result<JobOutcome, JobError>, Vec<JobEvent>, Bench) {
        let workflow = self.parsed();
        let input = self.input(&workflow);
        let (sender, receiver) = watch::channel(Control::Continue);
        let mut events = Vec::new();
        let mut hear = |event: JobEvent| {
            if let JobEvent::Line(line) = &event
                && let Some(at) = self.stops.iter().find(|at| line.text == at.line.as_bytes())
            {
                sender.send_replace(Control::Stop(at.stop));
            }
            events.push(event);
        };
        let result = run_job(input, &mut hear, receiver, gate).await;
        (result, events, self)
    }
}

pub(crate) fn read_log(path: &std::path::Path) -> Vec<LogLine> {
    let mut reader = LogReader::open(path).unwrap();
    let mut lines = Vec::new();
    loop {
        let more = reader.read_available().unwrap();
        if more.is_empty() {
            return lines;
        }
        lines.extend(more);
    }
}

impl Ran {
    /// What the steps printed on their standard output.
    pub(crate) fn printed(&self) -> Vec<String> {
        self.of(Stream::Out)
    }

    /// What the engine said.
    pub(crate) fn notes(&self) -> String {
        self.of(Stream::Note).join("\n")
    }

    pub(crate) fn of(&self, stream: Stream) -> Vec<String> {
        let lines = self.lines.iter().filter(|line| line.stream == stream);
        lines.map(|line| String::from_utf8_lossy(&line.text).into_owned()).collect()
    }

    /// `outcome/conclusion` of every step.
    pub(crate) fn verdicts(&self) -> Vec<String> {
        let steps = self.outcome.steps.iter();
        steps.map(|step| format!("{}/{}", step.outcome.name(), step.conclusion.name())).collect()
    }

    /// Everything the job left under its root.
    pub(crate) fn leftovers(&self) -> Vec<PathBuf> {
        std::fs::read_dir(self.bench.temp_root()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}
