//! Runs one job from its first step to its last: asks the plan, starts steps, takes over what they leave.
//!
//! It neither claims nor reports: the caller says when to stop, is asked before each step whether the claim still stands,
//! and hears every line and step through events. What a script and what a checkout need is in the modules below.
//! Invariants: no step starts after a stop that ends everything or after the gate said no; when [`run_job`] returns or is
//! dropped, no process of the job is left and its folders are gone.

mod checkout;
mod script;

use std::{collections::BTreeMap, ffi::OsStr, fs, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinHandle, time::Instant};
use wfengine_git::Git;
use wfengine_workflow::{Conclusion, Contexts, Object};

use crate::{
    console::Console,
    control::{Control, Gate, Stop, StopListener, StopReason},
    environment::{self, JobIdentity},
    folders::{Premises, Workspace},
    hash_files::WorkspaceFiles,
    host::Cause,
    job::{DropReason, DroppedOutput, Ending, JobError, JobEvent, JobInput, JobOutcome, StepResult},
    log::JobLog,
    mask::Masker,
    plan::{Decision, JobPlan, StepEffects, StepPlan, StepWork},
    process::{Exit, StepProcess, end_tracked},
};

/// Runs a job. Everything it says goes through `events`; `stops` tells it to end; `gate` is asked before each step.
///
/// Needs a tokio runtime with io and time. `hashFiles` and the writing of the log block it for as long as the disk takes.
/// Dropping the future ends the job's processes and removes its folders; the log then lacks its end.
pub async fn run_job(
    input: JobInput<'_>,
    events: &mut (dyn FnMut(JobEvent) + Send),
    stops: watch::Receiver<Control>,
    gate: &mut impl Gate,
) -> Result<JobOutcome, JobError> {
    let git = Git::find(OsStr::new(input.search_path())).ok();
    if git.is_none() && needs_git(&input) {
        return Err(JobError::Program {
            program: wfengine_git::PROGRAM,
            search_path: input.search_path().to_owned(),
        });
    }
    let log_failed = |source| JobError::Log { path: input.log_path.clone(), source };
    let log =
        JobLog::create(&input.log_path, input.started_ms, input.limits.log_bytes_max).map_err(log_failed)?;
    let console = Console::new(log, Masker::new(), events);
    let premises = Premises::make(&input.temp_root, &input.workspace)
        .map_err(|source| JobError::Folders { path: input.temp_root.clone(), source })?;
    let mut running = Running {
        survivors: Survivors::of(&input.identity),
        premises,
        console,
        stops: StopListener::new(stops),
        results: Vec::new(),
        ending: Ending::Complete,
        over: false,
        git,
        input: &input,
    };
    let (conclusion, outputs, dropped_outputs) = running.run(gate).await;
    let Running { console, results, ending, .. } = running;
    let (log, annotations) = console.finish().map_err(log_failed)?;
    Ok(JobOutcome { conclusion, ending, outputs, dropped_outputs, steps: results, annotations, log })
}

/// A checkout in a folder that was lent mostly does nothing; where it does not, the step says that git is missing.
fn needs_git(input: &JobInput<'_>) -> bool {
    input.workspace == Workspace::Fresh
        && input.definition.steps().iter().any(|step| step.checkout().is_some())
}

/// Whoever may still live when a step is over.
#[derive(Debug, Default)]
struct Survivors {
    tracking: String,
    steps: Vec<StepProcess>,
    readers: Vec<JoinHandle<()>>,
}

impl Survivors {
    fn of(identity: &JobIdentity) -> Self {
        Survivors { tracking: tracking_id(identity), steps: Vec::new(), readers: Vec::new() }
    }

    fn end(&mut self) {
        for process in &self.steps {
            process.kill();
        }
        self.steps.clear();
        if !self.tracking.is_empty() {
            end_tracked(&self.tracking);
            self.tracking.clear();
        }
        for reader in self.readers.drain(..) {
            reader.abort();
        }
    }
}

impl Drop for Survivors {
    fn drop(&mut self) {
        self.end();
    }
}

/// Fields end in this order when the job is dropped: first whoever lives, then the folders they may write to.
struct Running<'a> {
    survivors: Survivors,
    premises: Premises,
    console: Console<'a>,
    stops: StopListener,
    results: Vec<StepResult>,
    ending: Ending,
    /// No step starts any more.
    over: bool,
    /// Found before the first step, so that none can put another in its place.
    git: Option<Git>,
    input: &'a JobInput<'a>,
}

/// Bytes of a variable's value that the head of a step shows.
const SHOWN_VALUE_BYTES_MAX: usize = 1024;

const NAME_CHARS_MAX: usize = 200;

type Handed = (Conclusion, BTreeMap<String, String>, Vec<DroppedOutput>);

/// How one step went, before `continue-on-error`.
struct StepRun {
    outcome: Conclusion,
    exit_code: Option<i32>,
    effects: StepEffects,
    summary: Option<String>,
}

impl StepRun {
    fn failed() -> Self {
        StepRun {
            outcome: Conclusion::Failure,
            exit_code: None,
            effects: StepEffects::default(),
            summary: None,
        }
    }
}

impl Running<'_> {
    async fn run(&mut self, gate: &mut impl Gate) -> Handed {
        for note in &self.input.notes {
            self.console.note(0, note);
        }
        let contexts = self.contexts();
        let mut plan = match JobPlan::begin(self.input.definition, contexts) {
            Ok(plan) => plan,
            Err(error) => {
                self.console.error(0, &error.to_string());
                self.skip_all();
                return (Conclusion::Failure, BTreeMap::new(), Vec::new());
            }
        };
        let reserved = environment::reserved(
            &self.input.identity,
            &self.premises.names,
            &self.input.contexts,
            &self.survivors.tracking,
        );
        let mut ends_at = Instant::now() + plan.timeout();
        for index in 0..self.input.definition.steps().len() {
            if let Some(stop) = self.stops.now() {
                self.stop(stop, &mut plan, &mut ends_at);
            }
            if Instant::now() >= ends_at {
                self.time_is_over(&mut plan, &mut ends_at);
            }
            self.step(index, &mut plan, &mut ends_at, &reserved, gate).await;
            if self.console.has_failed() {
                self.over = true;
            }
        }
        // One that came during the last step.
        if let Some(stop) = self.stops.now() {
            self.stop(stop, &mut plan, &mut ends_at);
        }
        self.end_survivors().await;
        let (outputs, dropped) = self.outputs(&mut plan);
        let conclusion = plan.status();
        self.console.note(0, &format!("Job {}: {}", self.input.identity.job_key, conclusion.name()));
        self.console.flush();
        (conclusion, outputs, dropped)
    }

    async fn step(
        &mut self,
        index: usize,
        plan: &mut JobPlan<'_>,
        ends_at: &mut Instant,
        reserved: &BTreeMap<String, String>,
        gate: &mut impl Gate,
    ) {
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        let mut decision = if self.over { Decision::Skip } else { plan.decide(index) };
        if decision != Decision::Skip && !gate.may_start(number).await {
            self.console.note(
                0,
                &format!("##[warning]{}: no further step is started.", StopReason::ClaimLost.as_str()),
            );
            self.end_everything(Ending::Stopped(StopReason::ClaimLost), plan);
            decision = Decision::Skip;
        }
        let began = Instant::now();
        let (name, run) = match decision {
            Decision::Skip => {
                let name = self.shown_name(&plan.step_name(index));
                let skipped = StepRun { outcome: Conclusion::Skipped, ..StepRun::failed() };
                (name, skipped)
            }
            Decision::Fail(error) => {
                let name = self.started(number, &plan.step_name(index));
                self.console.error(number, &error.to_string());
                (name, StepRun::failed())
            }
            Decision::Run(step) => {
                let name = self.started(number, &step.name);
                (name, self.execute(number, &step, plan, ends_at, reserved).await)
            }
        };
        let StepRun { outcome, exit_code, effects, summary } = run;
        let conclusion = plan.record(index, outcome, effects).unwrap_or_else(|error| {
            self.console.error(number, &error.to_string());
            outcome
        });
        if outcome == Conclusion::Failure && conclusion == Conclusion::Success {
            self.console.note(number, "The step failed; the job goes on because of `continue-on-error`.");
        }
        self.console.flush();
        let result = StepResult {
            number,
            id: self.input.definition.steps()[index].id.as_ref().map(|id| id.text.clone()),
            name,
            outcome,
            conclusion,
            duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            exit_code,
            summary,
        };
        self.console.tell(JobEvent::StepFinished(result.clone()));
        self.results.push(result);
    }

    /// Masked before it is cut, so that no half of a hidden value is left.
    fn shown_name(&self, name: &str) -> String {
        self.console.masker.mask_text(name).chars().take(NAME_CHARS_MAX).collect()
    }

    /// No step of a job that makes no sense runs.
    fn skip_all(&mut self) {
        let definition = self.input.definition;
        for (number, step) in (1..).zip(definition.steps()) {
            let result = StepResult {
                number,
                id: step.id.as_ref().map(|id| id.text.clone()),
                name: self.shown_name(&definition.step_name(step, &self.input.contexts)),
                outcome: Conclusion::Skipped,
                conclusion: Conclusion::Skipped,
                duration_ms: 0,
                exit_code: None,
                summary: None,
            };
            self.console.tell(JobEvent::StepFinished(result.clone()));
            self.results.push(result);
        }
    }

    fn started(&mut self, number: u32, name: &str) -> String {
        let name = self.shown_name(name);
        self.console.tell(JobEvent::StepStarted { number, name: name.clone() });
        name
    }

    async fn execute(
        &mut self,
        number: u32,
        step: &StepPlan,
        plan: &mut JobPlan<'_>,
        ends_at: &mut Instant,
        reserved: &BTreeMap<String, String>,
    ) -> StepRun {
        match &step.work {
            StepWork::Script(script) => self.run_script(number, step, script, plan, ends_at, reserved).await,
            StepWork::Checkout(inputs) => self.check_out(number, step, inputs, plan, ends_at).await,
        }
    }

    /// The variables that were declared for a step, for its head in the log.
    fn show_variables(&mut self, number: u32, layers: &[&BTreeMap<String, String>]) {
        let shown: BTreeMap<_, _> = layers.iter().flat_map(|layer| layer.iter()).collect();
        if !shown.is_empty() {
            self.console.note(number, "env:");
        }
        for (name, value) in shown {
            self.show_value(number, name, value);
        }
    }

    fn show_value(&mut self, number: u32, name: &str, value: &str) {
        let end = value.floor_char_boundary(SHOWN_VALUE_BYTES_MAX);
        let more = if end < value.len() { "…" } else { "" };
        let value = if more.is_empty() { value.to_owned() } else { self.console.masker.mask_text(value) };
        let end = value.floor_char_boundary(end);
        self.console.note(number, &format!("  {name}: {}{more}", &value[..end]));
    }

    /// What the end of the process means for the step and the job.
    fn judge(
        &mut self,
        number: u32,
        step: &StepPlan,
        exit: Exit,
        cause: Cause,
        plan: &mut JobPlan<'_>,
        ends_at: &mut Instant,
    ) -> Conclusion {
        match cause {
            Cause::Exited => match exit {
                Exit::Status(0) => Conclusion::Success,
                Exit::Status(status) => {
                    self.console.error(number, &format!("The step ended with exit code {status}."));
                    Conclusion::Failure
                }
                Exit::Signal(signal) => {
                    let name = signal_name(signal);
                    self.console.error(number, &format!("The step was ended by signal {signal}{name}."));
                    Conclusion::Failure
                }
            },
            Cause::StepTimeout => {
                let limit = shown_minutes(step.timeout.unwrap_or_default());
                self.console.error(number, &format!("The step was ended: it took longer than its {limit}."));
                Conclusion::Failure
            }
            Cause::JobTimeout => {
                self.time_is_over(plan, ends_at);
                Conclusion::Cancelled
            }
            Cause::Stopped(stop) => {
                self.stop(stop, plan, ends_at);
                Conclusion::Cancelled
            }
        }
    }

    fn stop(&mut self, stop: Stop, plan: &mut JobPlan<'_>, ends_at: &mut Instant) {
        self.console.note(0, &format!("##[warning]Stopping: {}.", stop.reason.as_str()));
        if stop.reason.cleans_up() && self.ending == Ending::Complete {
            self.ending = Ending::Stopped(stop.reason);
            plan.cancel();
            *ends_at = Instant::now() + plan.cancel_timeout();
        } else {
            self.end_everything(Ending::Stopped(stop.reason), plan);
        }
    }

    fn time_is_over(&mut self, plan: &mut JobPlan<'_>, ends_at: &mut Instant) {
        if self.ending == Ending::Complete {
            let limit = shown_minutes(plan.timeout());
            self.console.error(0, &format!("The job was ended: it took longer than its {limit}."));
            self.ending = Ending::TimedOut;
            plan.cancel();
            *ends_at = Instant::now() + plan.cancel_timeout();
        } else {
            let limit = shown_minutes(plan.cancel_timeout());
            self.console.error(0, &format!("Cleaning up was ended: it took longer than its {limit}."));
            self.end_everything(self.ending, plan);
        }
    }

    fn end_everything(&mut self, ending: Ending, plan: &mut JobPlan<'_>) {
        self.ending = ending;
        self.over = true;
        plan.cancel();
    }

    async fn end_survivors(&mut self) {
        let mut survivors = std::mem::take(&mut self.survivors);
        // Looking through the processes of a busy host takes milliseconds.
        if tokio::task::spawn_blocking(move || survivors.end()).await.is_err() {
            self.console.warning(0, "processes left by the job may not have been ended");
        }
        if let Err(error) = self.premises.remove() {
            self.console.warning(0, &format!("the job's folder could not be removed: {error}"));
        }
    }

    fn outputs(&mut self, plan: &mut JobPlan<'_>) -> (BTreeMap<String, String>, Vec<DroppedOutput>) {
        let (found, errors) = plan.outputs();
        for error in errors {
            self.console.error(0, &error.to_string());
            plan.fail();
        }
        let (mut outputs, mut dropped) = (BTreeMap::new(), Vec::new());
        let mut room = self.input.limits.outputs_bytes_max;
        for (name, value) in found {
            let bytes = name.len() + value.len();
            let why = if self.console.masker.finds(value.as_bytes()) {
                Some(DropReason::Masked)
            } else {
                (bytes > room).then_some(DropReason::TooLong)
            };
            match why {
                None => {
                    room -= bytes;
                    outputs.insert(name, value);
                }
                Some(why) => {
                    let text = match why {
                        DropReason::Masked => "it holds a masked value".to_owned(),
                        DropReason::TooLong => {
                            format!(
                                "the job's outputs may have {} bytes together",
                                self.input.limits.outputs_bytes_max
                            )
                        }
                    };
                    self.console.warning(0, &format!("The output `{name}` is not handed on: {text}."));
                    dropped.push(DroppedOutput { name, why });
                }
            }
        }
        (outputs, dropped)
    }

    /// The contexts of planning and what only this host knows.
    fn contexts(&mut self) -> Contexts {
        let mut contexts = self.input.contexts.clone();
        let names = &self.premises.names;
        let event = contexts.value("github").map(|github| github.field("event")).unwrap_or_default();
        if let Err(error) = fs::write(&names.event_file, event.to_json_pretty()) {
            self.console.warning(0, &format!("the event's file could not be written: {error}"));
        }
        for (field, value) in [
            ("workspace", names.workspace.as_str()),
            ("event_path", &names.event_file),
            ("job", &self.input.identity.job_key),
        ] {
            contexts.set_field("github", field, value);
        }
        let runner: Object = [
            ("name", self.input.identity.peer_name.as_str()),
            ("os", environment::runner_os()),
            ("arch", environment::runner_arch()),
            ("temp", &names.temp),
            ("tool_cache", &names.tool_cache),
            ("workspace", &names.workspace),
            ("environment", "self-hosted"),
            ("debug", ""),
        ]
        .into_iter()
        .collect();
        contexts.set("runner", runner);
        contexts.set_hash_files(Arc::new(WorkspaceFiles { root: self.premises.workspace.clone() }));
        contexts
    }
}

fn tracking_id(identity: &JobIdentity) -> String {
    let mut bytes = [0; 8];
    // Without randomness a job would only be mistaken for another of this node.
    let _ = getrandom::fill(&mut bytes);
    let prefix = if identity.tracking_prefix.is_empty() { "wfengine" } else { &identity.tracking_prefix };
    format!("{prefix}_{}", data_encoding::HEXLOWER.encode(&bytes))
}

fn shown_minutes(limit: Duration) -> String {
    let minutes = limit.as_secs_f64() / 60.0;
    format!("{minutes} minutes (`timeout-minutes`)")
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        2 => " (INT)",
        6 => " (ABRT)",
        9 => " (KILL: perhaps the host ran out of memory)",
        11 => " (SEGV)",
        15 => " (TERM)",
        _ => "",
    }
}
