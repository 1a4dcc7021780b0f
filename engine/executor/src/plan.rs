//! What to do next in a job: a pure function of its definition, its contexts and what its steps did so far.
//!
//! No process, file, clock or channel is touched here. Invariants: a step is decided with what the steps before it left
//! and nothing else; a cancelled job stays cancelled, a failed one never becomes a success.

use std::{collections::BTreeMap, time::Duration};

use wfengine_workflow::{
    CheckoutError, CheckoutInputs, Conclusion, Contexts, JobDefinition, Position, RenderError, Step,
    StepAction, Template, Tree, Value, limits::JOB_TIMEOUT_MINUTES,
};

/// Minutes for the steps that clean up after a cancel or at the end of the job's time, as on GitHub.
pub const CANCEL_TIMEOUT_MINUTES: u32 = 5;
/// No limit is longer than this: 35 days, GitHub's bound for a whole run.
const TIMEOUT_MINUTES_MAX: f64 = 35.0 * 24.0 * 60.0;

/// Why something of a job has no meaning under its contexts: what stands there and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct PlanError {
    /// The workflow file.
    pub file: String,
    /// Counted from 1.
    pub line: u32,
    /// Counted from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
}

/// What to do with a step.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Its condition does not hold.
    Skip,
    /// It runs.
    Run(StepPlan),
    /// It fails before it runs.
    Fail(PlanError),
}

/// A step with everything evaluated.
#[derive(Debug, Clone, PartialEq)]
pub struct StepPlan {
    /// What it is called; as long as its first line may be.
    pub name: String,
    /// What it does.
    pub work: StepWork,
    /// `env` of the step alone.
    pub environment: BTreeMap<String, String>,
    /// `timeout-minutes`.
    pub timeout: Option<Duration>,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub enum StepWork {
    /// It runs a script.
    Script(Script),
    /// It checks out a repository.
    Checkout(CheckoutInputs),
}

/// A `run` step's own.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    /// The script.
    pub text: String,
    /// `shell`, of the step, the job or the workflow.
    pub shell: Option<String>,
    /// `working-directory`, likewise; relative to the workspace.
    pub working_directory: Option<String>,
}

/// What a step left behind.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepEffects {
    /// Its outputs.
    pub outputs: BTreeMap<String, String>,
    /// Variables for the steps after it.
    pub environment: BTreeMap<String, String>,
    /// Folders for the search path of the steps after it, in the order in which they came.
    pub paths: Vec<String>,
}

/// A job on its way.
#[derive(Debug, Clone)]
pub struct JobPlan<'a> {
    definition: JobDefinition<'a>,
    contexts: Contexts,
    job_environment: BTreeMap<String, String>,
    file_environment: BTreeMap<String, String>,
    paths: Vec<String>,
    status: Conclusion,
    timeout: Duration,
    cancel_timeout: Duration,
}

impl<'a> JobPlan<'a> {
    /// Begins a job. `contexts` are those of [`JobDefinition::contexts`] and runner.
    pub fn begin(definition: JobDefinition<'a>, contexts: Contexts) -> Result<Self, PlanError> {
        let (workflow, job) = (definition.workflow(), definition.job());
        let mut plan = Self {
            definition,
            contexts,
            job_environment: BTreeMap::new(),
            file_environment: BTreeMap::new(),
            paths: Vec::new(),
            status: Conclusion::Success,
            timeout: minutes(f64::from(JOB_TIMEOUT_MINUTES)),
            cancel_timeout: minutes(f64::from(CANCEL_TIMEOUT_MINUTES)),
        };
        plan.refresh();
        for tree in [workflow.env.as_ref(), job.env.as_ref()].into_iter().flatten() {
            let layer = plan.environment_of(tree, &plan.contexts)?;
            plan.job_environment.extend(layer);
        }
        plan.refresh();
        if let Some(timeout) = plan.minutes_of(job.timeout_minutes.as_ref(), &plan.contexts)? {
            plan.timeout = timeout;
        }
        if let Some(timeout) = plan.minutes_of(job.cancel_timeout_minutes.as_ref(), &plan.contexts)? {
            plan.cancel_timeout = timeout;
        }
        Ok(plan)
    }

    /// How long the job may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How long cleaning up may take after that, or after a cancel.
    pub fn cancel_timeout(&self) -> Duration {
        self.cancel_timeout
    }

    /// How the job stands: what it concludes with if nothing else happens.
    pub fn status(&self) -> Conclusion {
        self.status
    }

    /// The variables in force before a step's own: of workflow, job and environment files.
    pub fn layers(&self) -> [&BTreeMap<String, String>; 2] {
        [&self.job_environment, &self.file_environment]
    }

    /// What steps put in front of the search path, in the order in which they did.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// The job's name as shown; `None` when it has none or it cannot be evaluated.
    pub fn job_name(&self) -> Option<String> {
        self.definition
            .job()
            .name
            .as_ref()
            .and_then(|name| name.render(&self.contexts).ok())
            .filter(|name| !name.is_empty())
    }

    /// From here on only steps run that ask for it with `always()` or `cancelled()`.
    pub fn cancel(&mut self) {
        self.status = Conclusion::Cancelled;
        self.refresh();
    }

    /// The job fails, whatever comes.
    pub fn fail(&mut self) {
        if self.status == Conclusion::Success {
            self.status = Conclusion::Failure;
            self.refresh();
        }
    }

    /// What to do with the step at `index`.
    pub fn decide(&self, index: usize) -> Decision {
        let step = &self.definition.steps()[index];
        let asks = step.condition.as_ref().is_some_and(|condition| condition.asks_status());
        if !asks && self.status != Conclusion::Success {
            return Decision::Skip;
        }
        match self.decide_in_detail(step) {
            Ok(decision) => decision,
            Err(error) => Decision::Fail(error),
        }
    }

    fn decide_in_detail(&self, step: &Step) -> Result<Decision, PlanError> {
        let mut contexts = self.contexts.clone();
        let mut environment = BTreeMap::new();
        if let Some(tree) = &step.env {
            environment = self.environment_of(tree, &contexts)?;
            let layers = self.layers().into_iter().chain([&environment]);
            contexts.set_env(layers.flatten().map(|(name, value)| (name.clone(), value.clone())));
        }
        let holds = self.definition.runs(step, &contexts);
        if !holds.map_err(|error| self.failed(&error, "the step's `if`"))? {
            return Ok(Decision::Skip);
        }
        let (work, name) = match (&step.action, step.checkout()) {
            (StepAction::Run { shell, .. }, _) => {
                let script = self.script_of(step, shell.as_ref(), &contexts)?;
                let name = run_name(&script.text);
                (StepWork::Script(script), name)
            }
            (_, Some(checkout)) => {
                let inputs = checkout.inputs(&contexts).map_err(|error| match error {
                    CheckoutError::Render(error) => self.failed(&error, "`with`"),
                    other => self.wrong(checkout.action().at, other.to_string()),
                })?;
                (StepWork::Checkout(inputs), format!("Run {}", checkout.action().text))
            }
            (_, None) => {
                let message = "only `run` steps and actions/checkout can be executed by this version";
                return Err(self.wrong(step.at, message));
            }
        };
        let given = step.name.as_ref().map(|name| name.render(&contexts)).transpose();
        let name = given.map_err(|error| self.failed(&error, "the step's name"))?.unwrap_or(name);
        let timeout = self.minutes_of(step.timeout_minutes.as_ref(), &contexts)?;
        Ok(Decision::Run(StepPlan { name, work, environment, timeout }))
    }

    fn script_of(
        &self,
        step: &Step,
        shell: Option<&Template>,
        contexts: &Contexts,
    ) -> Result<Script, PlanError> {
        let (workflow, job) = (self.definition.workflow(), self.definition.job());
        let shell = shell.or(job.defaults.shell.as_ref()).or(workflow.defaults.shell.as_ref());
        let shell = shell.map(|shell| shell.render(contexts)).transpose();
        let text = self.definition.script(step, contexts).map_err(|error| self.failed(&error, "`run`"))?;
        let folder = self.definition.working_directory(step, contexts);
        Ok(Script {
            text: text.unwrap_or_default(),
            shell: shell.map_err(|error| self.failed(&error, "`shell`"))?.filter(|shell| !shell.is_empty()),
            working_directory: folder.map_err(|error| self.failed(&error, "`working-directory`"))?,
        })
    }

    /// What a step is called that may not run at all.
    pub fn step_name(&self, index: usize) -> String {
        let step = &self.definition.steps()[index];
        self.definition.step_name(step, &self.contexts)
    }

    /// Takes over what the step at `index` did; answers its conclusion.
    pub fn record(
        &mut self,
        index: usize,
        outcome: Conclusion,
        effects: StepEffects,
    ) -> Result<Conclusion, PlanError> {
        let step = &self.definition.steps()[index];
        self.file_environment.extend(effects.environment);
        self.paths.extend(effects.paths);
        let forgiven = match outcome {
            Conclusion::Failure => self.definition.step_continues_on_error(step, &self.contexts),
            Conclusion::Success | Conclusion::Cancelled | Conclusion::Skipped => Ok(false),
        };
        let conclusion = if matches!(forgiven, Ok(true)) { Conclusion::Success } else { outcome };
        if let Some(id) = &step.id {
            self.contexts.set_step(&id.text, &effects.outputs, outcome, conclusion);
        }
        match conclusion {
            Conclusion::Failure => self.fail(),
            Conclusion::Cancelled => self.status = Conclusion::Cancelled,
            Conclusion::Success | Conclusion::Skipped => {}
        }
        self.refresh();
        forgiven.map(|_| conclusion).map_err(|error| self.failed(&error, "`continue-on-error`"))
    }

    /// The job's outputs as they are now; empty ones are left out. A faulty one is reported beside the others.
    pub fn outputs(&self) -> (BTreeMap<String, String>, Vec<PlanError>) {
        let (mut outputs, mut errors) = (BTreeMap::new(), Vec::new());
        for (name, template) in &self.definition.job().outputs {
            match template.render(&self.contexts) {
                Ok(value) if value.is_empty() => {}
                Ok(value) => {
                    outputs.insert(name.text.clone(), value);
                }
                Err(error) => errors.push(self.failed(&error, &format!("the job's output `{}`", name.text))),
            }
        }
        (outputs, errors)
    }

    /// Brings the contexts up to date.
    fn refresh(&mut self) {
        let layers = [&self.job_environment, &self.file_environment];
        let pairs: BTreeMap<_, _> =
            layers.into_iter().flatten().map(|(n, v)| (n.clone(), v.clone())).collect();
        self.contexts.set_env(pairs);
        self.contexts.set_job_status(self.status);
    }

    fn environment_of(
        &self,
        tree: &Tree,
        contexts: &Contexts,
    ) -> Result<BTreeMap<String, String>, PlanError> {
        let failed = |error: RenderError| self.failed(&error, "`env`");
        let mut environment = BTreeMap::new();
        let mut set = |name: String, value: &Value| {
            let value = value.to_text();
            if let Some(why) = crate::environment::unusable(&name, &value) {
                return Err(
                    self.wrong(tree.at(), format!("`env`: the variable `{name}` cannot be set: {why}"))
                );
            }
            environment.insert(name, value);
            Ok(())
        };
        if let Tree::Scalar(template) = tree {
            if let Value::Object(object) = template.evaluate(contexts).map_err(failed)? {
                object.iter().try_for_each(|(name, value)| set(name.to_owned(), value))?;
            }
            return Ok(environment);
        }
        for (name, value) in tree.entries() {
            set(name.render(contexts).map_err(failed)?, &value.evaluate(contexts).map_err(failed)?)?;
        }
        Ok(environment)
    }

    fn minutes_of(
        &self,
        template: Option<&Template>,
        contexts: &Contexts,
    ) -> Result<Option<Duration>, PlanError> {
        let Some(template) = template else { return Ok(None) };
        let number = template
            .evaluate(contexts)
            .map_err(|error| self.failed(&error, "`timeout-minutes`"))?
            .to_number();
        if number > 0.0 {
            return Ok(Some(minutes(number)));
        }
        Err(self.wrong(template.at(), "`timeout-minutes` must be a number above 0"))
    }

    fn failed(&self, error: &RenderError, what: &str) -> PlanError {
        self.wrong(error.at, format!("{what}: {error}"))
    }

    fn wrong(&self, at: Position, message: impl Into<String>) -> PlanError {
        PlanError {
            file: self.definition.workflow().file.clone(),
            line: at.line,
            column: at.column,
            message: message.into(),
        }
    }
}

fn minutes(number: f64) -> Duration {
    Duration::from_secs_f64(number.min(TIMEOUT_MINUTES_MAX) * 60.0)
}

fn run_name(script: &str) -> String {
    format!("Run {}", script.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use wfengine_workflow::{Frozen, Workflow};

    use super::*;

    fn workflow(job: &str) -> Workflow {
        let text = format!(
            "on: push\nenv: {{A: workflow, B: workflow}}\ndefaults: {{run: {{shell: sh}}}}\njobs:\n  a:\n    runs-on: x\n{job}"
        );
        Workflow::read(text.as_bytes(), "f.yml").unwrap_or_else(|errors| panic!("{errors:?}"))
    }

    fn plan(workflow: &Workflow) -> JobPlan<'_> {
        try_plan(workflow).unwrap()
    }

    fn try_plan(workflow: &Workflow) -> Result<JobPlan<'_>, PlanError> {
        let definition = workflow.job_definition("a").unwrap();
        let frozen = Frozen { sha: "abc".to_owned(), ..Frozen::default() };
        let contexts = definition.contexts(&frozen, &BTreeMap::new(), &BTreeMap::new()).unwrap();
        JobPlan::begin(definition, contexts)
    }

    fn step_plan(plan: &JobPlan<'_>, index: usize) -> StepPlan {
        match plan.decide(index) {
            Decision::Run(step) => step,
            other => panic!("{other:?}"),
        }
    }

    fn script(plan: &JobPlan<'_>, index: usize) -> Script {
        match step_plan(plan, index).work {
            StepWork::Script(script) => script,
            other => panic!("{other:?}"),
        }
    }

    fn outputs(pairs: &[(&str, &str)]) -> StepEffects {
        let outputs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        StepEffects { outputs, ..StepEffects::default() }
    }

    #[test]
    fn a_step_is_evaluated_with_all_layers() {
        let workflow = workflow(
            "    env: {B: job}\n    steps:\n    - run: |\n\n        echo ${{ env.A }} ${{ env.B }} ${{ env.C }}\n      env: {C: '${{ env.B }}!'}\n      timeout-minutes: 0.5\n    - run: x\n      shell: python\n      working-directory: ${{ github.sha }}\n      name: n ${{ job.status }}\n",
        );
        let plan = plan(&workflow);
        let (first, its) = (step_plan(&plan, 0), script(&plan, 0));
        assert_eq!(its.text, "\necho workflow job job!\n");
        assert_eq!(first.name, "Run echo workflow job job!");
        assert_eq!((its.shell.as_deref(), its.working_directory), (Some("sh"), None));
        assert_eq!(first.timeout, Some(Duration::from_secs(30)));
        assert_eq!(first.environment, BTreeMap::from([("C".to_owned(), "job!".to_owned())]));
        let (second, its) = (step_plan(&plan, 1), script(&plan, 1));
        assert_eq!((second.name.as_str(), its.shell.as_deref()), ("n success", Some("python")));
        assert_eq!(its.working_directory.as_deref(), Some("abc"));
        assert_eq!(plan.timeout(), Duration::from_secs(360 * 60));
        assert_eq!(plan.cancel_timeout(), Duration::from_secs(5 * 60));
    }

    #[test]
    fn a_checkout_is_evaluated_with_the_steps_contexts() {
        let workflow = workflow(
            "    steps:\n    - uses: actions/checkout@v4\n      env: {SUB: there}\n      with: {path: 'a/${{ env.SUB }}'}\n",
        );
        let step = step_plan(&plan(&workflow), 0);
        assert_eq!(step.name, "Run actions/checkout@v4");
        let StepWork::Checkout(inputs) = step.work else { panic!("{step:?}") };
        assert_eq!(inputs.folder, "a/there");
    }

    #[test]
    fn what_steps_leave_reaches_those_after_them_and_the_job() {
        let workflow = workflow(
            "    outputs: {o: '${{ steps.one.outputs.x }}', bad: '${{ fromJSON(steps.one.outputs.x) }}', none: '${{ steps.two.outputs.x }}'}\n    steps:\n    - {id: one, run: a}\n    - {id: two, run: 'echo ${{ env.LATER }} ${{ steps.one.outputs.x }}'}\n",
        );
        let mut plan = plan(&workflow);
        let mut effects = outputs(&[("x", "y")]);
        effects.environment.insert("LATER".to_owned(), "l".to_owned());
        effects.paths.push("/p".to_owned());
        assert_eq!(plan.record(0, Conclusion::Success, effects), Ok(Conclusion::Success));
        assert_eq!(script(&plan, 1).text, "echo l y");
        assert_eq!(plan.paths(), ["/p"]);
        let (found, errors) = plan.outputs();
        assert_eq!(found, BTreeMap::from([("o".to_owned(), "y".to_owned())]));
        assert!(errors.len() == 1 && errors[0].message.contains("the job's output `bad`"), "{errors:?}");
    }

    #[test]
    fn a_failed_job_stays_failed_and_a_cancelled_one_cancelled() {
        let steps = "    steps:\n    - {run: a, continue-on-error: true}\n    - {run: b}\n    - {if: failure(), run: c}\n    - {if: cancelled(), run: d}\n";
        let workflow = workflow(steps);
        let mut plan = plan(&workflow);
        assert_eq!(plan.record(0, Conclusion::Failure, StepEffects::default()), Ok(Conclusion::Success));
        assert!(matches!(plan.decide(1), Decision::Run(_)));
        assert_eq!(plan.record(1, Conclusion::Failure, StepEffects::default()), Ok(Conclusion::Failure));
        assert!(matches!(plan.decide(2), Decision::Run(_)) && plan.decide(3) == Decision::Skip);
        plan.record(2, Conclusion::Success, StepEffects::default()).unwrap();
        assert_eq!(plan.status(), Conclusion::Failure);
        plan.cancel();
        assert!(plan.decide(2) == Decision::Skip && matches!(plan.decide(3), Decision::Run(_)));
        plan.record(3, Conclusion::Failure, StepEffects::default()).unwrap();
        assert_eq!(plan.status(), Conclusion::Cancelled);
    }

    #[test]
    fn what_makes_no_sense_fails_with_its_place() {
        let workflow_of = |steps: &str| workflow(&format!("    steps:\n    - {steps}\n"));
        for (steps, expected) in [
            ("{run: a, env: {'x=y': 1}}", "f.yml:8:21: `env`"),
            ("{run: a, timeout-minutes: '${{ 0 }}'}", "must be a number above 0"),
            ("{run: a, if: \"fromJSON('{')\"}", "the step's `if`"),
            ("{run: a, working-directory: \"${{ fromJSON('{') }}\"}", "`working-directory`"),
            ("{uses: actions/checkout@v4, with: {ref: \"${{ fromJSON('{') }}\"}}", "f.yml:8:47: `with`"),
            ("{uses: actions/checkout@v4, with: {path: ..}}", "f.yml:8:14: the input 'path' is '..'"),
            ("{uses: actions/cache@v4}", "only `run` steps and actions/checkout"),
        ] {
            let workflow = workflow_of(steps);
            let Decision::Fail(error) = plan(&workflow).decide(0) else { panic!("{steps}") };
            assert!(error.to_string().contains(expected), "{error}");
        }
        let workflow = workflow("    timeout-minutes: ${{ fromJSON('-1') }}\n    steps: [{run: a}]\n");
        assert!(try_plan(&workflow).unwrap_err().to_string().starts_with("f.yml:7:22: `timeout-minutes`"));
    }
}
