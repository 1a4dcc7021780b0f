//! A workflow file as it was written: every key GitHub knows, with places, nothing evaluated.
//!
//! [`Workflow::read`] is the only way in. What it accepts is well formed in itself (types, ids, needs, expressions and the
//! contexts they may use); whether this version can run it is asked with [`Workflow::unsupported`].
//!
//! Invariants: job ids are unique without regard to case, every `needs` names a job of the workflow, needs have no cycle.

mod convert;
mod graph;
mod hints;
mod triggers;
mod unsupported;

pub use unsupported::{RequiredProgram, Unsupported};

use crate::{
    diagnostic::{Diagnostic, Diagnostics, Position},
    reader::{self, Comment, Node},
    schema,
    template::{Condition, Template, Tree},
};

/// A text and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Where it stands.
    pub at: Position,
    /// The text.
    pub text: String,
}

/// A workflow file.
#[derive(Debug, Clone)]
pub struct Workflow {
    /// The path given to [`Workflow::read`].
    pub file: String,
    /// `name`
    pub name: Option<Word>,
    /// `description`
    pub description: Option<Word>,
    /// `run-name`
    pub run_name: Option<Template>,
    /// `on`, in the order of the file. Empty when the key is absent.
    pub triggers: Vec<Trigger>,
    /// Inputs of `workflow_dispatch`.
    pub dispatch_inputs: Vec<InputDefinition>,
    /// Inputs of `workflow_call`.
    pub call_inputs: Vec<InputDefinition>,
    /// `env`
    pub env: Option<Tree>,
    /// `defaults.run`
    pub defaults: RunDefaults,
    /// `concurrency`
    pub concurrency: Option<Concurrency>,
    /// `permissions`, kept as read: it says what a token may do, and this system issues none.
    pub permissions: Option<Node>,
    /// Top-level `labels`: not valid on GitHub.
    pub labels: Vec<Word>,
    /// `jobs`, in the order of the file.
    pub jobs: Vec<Job>,
    /// Real comments, in the order of the file.
    pub comments: Vec<Comment>,
    notes: Vec<Diagnostic>,
    hints: Vec<Diagnostic>,
}

/// One event of `on`.
#[derive(Debug, Clone)]
pub struct Trigger {
    /// Where it stands.
    pub at: Position,
    /// The event's name.
    pub event: String,
    /// Filters and types as read; absent when the event stands alone.
    pub filters: Option<Node>,
}

/// The type of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputType {
    /// Any text.
    String,
    /// `true` or `false`.
    Boolean,
    /// A number.
    Number,
    /// One of the options.
    Choice,
    /// The name of an environment; any text here.
    Environment,
}

impl InputType {
    /// The word in the file.
    pub fn name(self) -> &'static str {
        match self {
            InputType::String => "string",
            InputType::Boolean => "boolean",
            InputType::Number => "number",
            InputType::Choice => "choice",
            InputType::Environment => "environment",
        }
    }
}

/// An input of `workflow_dispatch` or `workflow_call`.
#[derive(Debug, Clone)]
pub struct InputDefinition {
    /// Where it stands.
    pub at: Position,
    /// Its name; found without regard to case.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Its type; string when not said.
    pub kind: InputType,
    /// Whether it must be given.
    pub required: bool,
    /// Its value when it is not given.
    pub default: Option<Template>,
    /// What may be chosen.
    pub options: Vec<String>,
}

/// `defaults.run`
#[derive(Debug, Clone, Default)]
pub struct RunDefaults {
    /// `shell`
    pub shell: Option<Template>,
    /// `working-directory`
    pub working_directory: Option<Template>,
}

/// `concurrency`
#[derive(Debug, Clone)]
pub struct Concurrency {
    /// Where it stands.
    pub at: Position,
    /// `group`
    pub group: Template,
    /// `cancel-in-progress`
    pub cancel_in_progress: Option<Template>,
    /// `queue`
    pub queue: Option<Template>,
}

/// `strategy`
#[derive(Debug, Clone)]
pub struct Strategy {
    /// Where it stands.
    pub at: Position,
    /// `matrix`: a mapping, or an expression that makes one.
    pub matrix: Option<Tree>,
    /// `fail-fast`
    pub fail_fast: Option<Template>,
    /// `max-parallel`
    pub max_parallel: Option<Template>,
}

/// One job of the file: with a matrix, several jobs of a run.
#[derive(Debug, Clone)]
pub struct Job {
    /// Where its id stands.
    pub at: Position,
    /// Its id.
    pub id: String,
    /// `name`
    pub name: Option<Template>,
    /// `needs`, as ids of this workflow.
    pub needs: Vec<Word>,
    /// `if`
    pub condition: Option<Condition>,
    /// `runs-on`; absent is not valid on GitHub and means any host here.
    pub runs_on: Option<Tree>,
    /// `strategy`
    pub strategy: Option<Strategy>,
    /// `timeout-minutes`
    pub timeout_minutes: Option<Template>,
    /// `cancel-timeout-minutes`
    pub cancel_timeout_minutes: Option<Template>,
    /// `continue-on-error`
    pub continue_on_error: Option<Template>,
    /// `env`
    pub env: Option<Tree>,
    /// `defaults.run`
    pub defaults: RunDefaults,
    /// `outputs`, in order.
    pub outputs: Vec<(Word, Template)>,
    /// `steps`
    pub steps: Vec<Step>,
    /// `concurrency`
    pub concurrency: Option<Concurrency>,
    /// `container`
    pub container: Option<Tree>,
    /// `services`
    pub services: Option<Tree>,
    /// `environment`
    pub environment: Option<Tree>,
    /// `permissions`, as read.
    pub permissions: Option<Node>,
    /// `snapshot`
    pub snapshot: Option<Tree>,
    /// `uses`, `with` and `secrets` of a job that calls another workflow.
    pub call: Option<WorkflowCall>,
    /// `labels`: not valid on GitHub.
    pub labels: Vec<Word>,
}

/// A job that is another workflow.
#[derive(Debug, Clone)]
pub struct WorkflowCall {
    /// `uses`
    pub uses: Word,
    /// `with`
    pub with: Option<Tree>,
    /// `secrets`
    pub secrets: Option<Tree>,
}

/// One step of a job.
#[derive(Debug, Clone)]
pub struct Step {
    /// Where it begins.
    pub at: Position,
    /// `id`
    pub id: Option<Word>,
    /// `name`
    pub name: Option<Template>,
    /// `if`
    pub condition: Option<Condition>,
    /// What it does.
    pub action: StepAction,
    /// `env`
    pub env: Option<Tree>,
    /// `timeout-minutes`
    pub timeout_minutes: Option<Template>,
    /// `continue-on-error`
    pub continue_on_error: Option<Template>,
    /// `background`
    pub background: Option<Position>,
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum StepAction {
    /// `run`
    Run {
        /// The script.
        script: Template,
        /// `shell`
        shell: Option<Template>,
        /// `working-directory`
        working_directory: Option<Template>,
    },
    /// `uses`
    Uses {
        /// The action.
        action: Word,
        /// `with`
        with: Option<Tree>,
    },
    /// `wait`, `wait-all`, `cancel`: they act on background steps.
    Control {
        /// Which key it is.
        key: Word,
        /// Its value.
        value: Tree,
    },
    /// `parallel`
    Parallel {
        /// Where the key stands.
        at: Position,
        /// The steps beside each other.
        steps: Vec<Step>,
    },
}

/// What two readers say of one file.
#[derive(Debug)]
pub struct Verdict {
    /// What GitHub would object to.
    pub github: Result<(), Vec<Diagnostic>>,
    /// The workflow, or what `run`, `submit` and `discover` object to.
    pub wfengine: Result<Workflow, Vec<Diagnostic>>,
}

impl Verdict {
    /// Reads a file for both.
    pub fn of(source: &[u8], path: &str) -> Self {
        let wfengine = Workflow::read(source, path);
        let github = match &wfengine {
            Ok(workflow) if workflow.notes.is_empty() => Ok(()),
            Ok(workflow) => Err(workflow.notes.clone()),
            Err(errors) => Err(errors.clone()),
        };
        Verdict { github, wfengine }
    }
}

impl Workflow {
    /// Reads a workflow file. `path` is only used in messages.
    ///
    /// Beyond GitHub's language it accepts `labels` on workflow and jobs, an absent `on` and an absent `runs-on`; each such use
    /// is listed by [`Workflow::not_valid_on_github`].
    pub fn read(source: &[u8], path: &str) -> Result<Workflow, Vec<Diagnostic>> {
        let document = reader::read(source, path)?;
        let mut diagnostics = Diagnostics::new(path);
        let mut notes = Diagnostics::new(path);
        schema::check(&document.root, &mut diagnostics, &mut notes);
        if !diagnostics.is_empty() {
            return Err(located(diagnostics.into_sorted(), source));
        }
        let mut workflow = convert::workflow(&document, path, &mut diagnostics);
        graph::check(&mut workflow.jobs, &mut diagnostics);
        if !diagnostics.is_empty() {
            return Err(located(diagnostics.into_sorted(), source));
        }
        workflow.notes = notes.into_sorted();
        let mut hints = Diagnostics::new(path);
        hints::of_numbers(&document.root, &mut hints);
        hints::of_conditions(&workflow.jobs, &mut hints);
        workflow.hints = hints.into_sorted();
        Ok(workflow)
    }

    /// What is accepted here and refused by GitHub: such a workflow can never fall back to GitHub. Empty for most files.
    pub fn not_valid_on_github(&self) -> &[Diagnostic] {
        &self.notes
    }

    /// What is valid and probably not meant, such as `3.10`, which is 3.1. For people; nothing depends on it.
    pub fn hints(&self) -> &[Diagnostic] {
        &self.hints
    }

    /// The job with this id.
    pub fn job(&self, id: &str) -> Option<&Job> {
        self.jobs.iter().find(|job| job.id == id)
    }

    /// What people call it: `name`, else the path.
    pub fn display_name(&self) -> &str {
        self.name.as_ref().map_or(&self.file, |name| &name.text)
    }
}

/// Moves a diagnostic about an expression inside a long scalar to the line where the expression stands.
fn located(mut diagnostics: Vec<Diagnostic>, source: &[u8]) -> Vec<Diagnostic> {
    let text = String::from_utf8_lossy(source);
    let lines: Vec<&str> = text.lines().collect();
    for diagnostic in &mut diagnostics {
        let Some((_, raw)) = diagnostic.message.rsplit_once(schema::IN_EXPRESSION) else { continue };
        let raw = raw.trim_end_matches('`').lines().next().unwrap_or_default().to_owned();
        let from = usize::try_from(diagnostic.line).unwrap_or(1).saturating_sub(1);
        let found =
            lines.iter().enumerate().skip(from).take(2000).find_map(|(at, line)| {
                line.find(&raw).map(|byte| (at + 1, line[..byte].chars().count() + 1))
            });
        if let Some((line, column)) = found
            && !raw.is_empty()
        {
            diagnostic.line = u32::try_from(line).unwrap_or(diagnostic.line);
            diagnostic.column = u32::try_from(column).unwrap_or(diagnostic.column);
        }
    }
    diagnostics
}
