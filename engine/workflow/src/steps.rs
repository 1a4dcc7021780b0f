//! What an executor asks of a job: its contexts, its environment, its steps one after the other.
//!
//! The order of use is: [`JobDefinition::contexts`] once, then the executor's own contexts (`runner`, `job`, fields of
//! `github`), [`JobDefinition::job_env`], and for each step `runs`, `env`, and `script` with `shell` or the inputs of
//! [`Step::checkout`]; after each step [`Contexts::set_step`] and [`Contexts::set_job_status`]; at the end
//! [`JobDefinition::outputs`].

use std::collections::BTreeMap;

use crate::{
    diagnostic::Diagnostic,
    expression::{Contexts, EvaluationError, Object, Status, Value},
    frozen::{Conclusion, Frozen, NeedsResult},
    job_contexts, limits, matrix,
    model::{Job, Step, StepAction, Workflow},
    plan::{self, as_bool, whole},
    shell::{Shell, ShellError},
    template::{RenderError, Tree, evaluate_condition},
};

/// A job of a workflow, for the one who executes it.
#[derive(Debug, Clone, Copy)]
pub struct JobDefinition<'w> {
    workflow: &'w Workflow,
    job: &'w Job,
}

/// Why the shell of a step is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepShellError {
    /// The expression in it failed.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// It names a shell that cannot be used.
    #[error(transparent)]
    Shell(#[from] ShellError),
}

impl Workflow {
    /// The job with this id, for execution.
    pub fn job_definition(&self, key: &str) -> Option<JobDefinition<'_>> {
        self.job(key).map(|job| JobDefinition { workflow: self, job })
    }
}

impl<'w> JobDefinition<'w> {
    /// The workflow.
    pub fn workflow(&self) -> &'w Workflow {
        self.workflow
    }

    /// The job as written.
    pub fn job(&self) -> &'w Job {
        self.job
    }

    /// The steps as written.
    pub fn steps(&self) -> &'w [Step] {
        &self.job.steps
    }

    /// The contexts of one leg before its first step: `github`, `inputs`, `vars`, `needs`, `matrix`, `strategy`, empty
    /// `steps`, `secrets`, `env`, `job` and `runner`; status success.
    ///
    /// `planned` is the canonical matrix from the plan, `needs` the results of the jobs this one needs.
    pub fn contexts(
        &self,
        frozen: &Frozen,
        planned: &BTreeMap<String, String>,
        needs: &BTreeMap<String, NeedsResult>,
    ) -> Result<Contexts, Diagnostic> {
        let mut contexts =
            job_contexts::of_job(&job_contexts::of_run(self.workflow, frozen), self.job, needs);
        let combinations = plan::combinations(self.workflow, self.job, &contexts)?;
        let leg = combinations.iter().position(|combination| combination.canonical() == *planned);
        let strategy =
            plan::strategy_context(self.job, &contexts, leg.unwrap_or_default(), combinations.len())
                .map_err(|error| error.diagnostic(&self.workflow.file))?;
        contexts.set("strategy", strategy);
        // the combination keeps the order of the file, which the canonical form has lost
        let matrix = match leg.and_then(|leg| combinations.get(leg)) {
            _ if planned.is_empty() => Value::Null,
            Some(combination) => combination.context(),
            None => matrix::context_of(planned),
        };
        contexts.set("matrix", matrix);
        contexts.set_field("github", "job", self.job.id.as_str());
        for empty in ["steps", "secrets", "job", "runner"] {
            contexts.set(empty, Object::new());
        }
        contexts.set_env::<String, String>([]);
        Ok(contexts)
    }

    /// Evaluates `env` of workflow and job, later ones winning, and makes it the `env` context.
    pub fn job_env(&self, contexts: &mut Contexts) -> Result<Vec<(String, String)>, RenderError> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for env in [&self.workflow.env, &self.job.env].into_iter().flatten() {
            merge(&mut pairs, env_pairs(env, contexts)?);
        }
        contexts.set_env(pairs.clone());
        Ok(pairs)
    }

    /// Whether a step runs, given the status so far.
    pub fn runs(&self, step: &Step, contexts: &Contexts) -> Result<bool, RenderError> {
        evaluate_condition(step.condition.as_ref(), contexts)
    }

    /// The variables a step adds to those of the job. They do not see each other.
    pub fn env(&self, step: &Step, contexts: &Contexts) -> Result<Vec<(String, String)>, RenderError> {
        step.env.as_ref().map_or(Ok(Vec::new()), |env| env_pairs(env, contexts))
    }

    /// The contexts a step's own keys see: `env` holds the step's variables too.
    pub fn step_contexts(&self, step: &Step, contexts: &Contexts) -> Result<Contexts, RenderError> {
        let mut pairs = contexts.env();
        merge(&mut pairs, self.env(step, contexts)?);
        let mut inner = contexts.clone();
        inner.set_env(pairs);
        Ok(inner)
    }

    /// The script of a `run` step; `None` for other steps.
    pub fn script(&self, step: &Step, contexts: &Contexts) -> Result<Option<String>, RenderError> {
        match &step.action {
            StepAction::Run { script, .. } => script.render(contexts).map(Some),
            StepAction::Uses { .. } | StepAction::Control { .. } | StepAction::Parallel { .. } => Ok(None),
        }
    }

    /// The shell of a step: its own, else that of the job, else that of the workflow.
    pub fn shell(&self, step: &Step, contexts: &Contexts) -> Result<Shell, StepShellError> {
        let own = match &step.action {
            StepAction::Run { shell, .. } => shell.as_ref(),
            _ => None,
        };
        let named = own.or(self.job.defaults.shell.as_ref()).or(self.workflow.defaults.shell.as_ref());
        match named {
            Some(template) => Ok(Shell::parse(&template.render(contexts)?)?),
            None => Ok(Shell::Unspecified),
        }
    }

    /// The working directory of a step, relative to the workspace unless absolute; `None`: the workspace.
    pub fn working_directory(&self, step: &Step, contexts: &Contexts) -> Result<Option<String>, RenderError> {
        let own = match &step.action {
            StepAction::Run { working_directory, .. } => working_directory.as_ref(),
            _ => None,
        };
        let named = own.or(self.job.defaults.working_directory.as_ref()).or(self
            .workflow
            .defaults
            .working_directory
            .as_ref());
        let rendered = named.map(|template| template.render(contexts)).transpose()?;
        Ok(rendered.filter(|directory| !directory.is_empty()))
    }

    /// What people call a step: its name, else what it does.
    pub fn step_name(&self, step: &Step, contexts: &Contexts) -> String {
        let named = step
            .name
            .as_ref()
            .and_then(|name| name.render(contexts).ok())
            .filter(|name| !name.trim().is_empty());
        named.unwrap_or_else(|| match &step.action {
            StepAction::Run { script, .. } => {
                let text = script.source();
                format!(
                    "Run {}",
                    text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim()
                )
            }
            StepAction::Uses { action, .. } => format!("Run {}", action.text),
            StepAction::Control { key, .. } => key.text.clone(),
            StepAction::Parallel { .. } => "parallel".to_owned(),
        })
    }

    /// Minutes a step may run; `None`: as long as its job.
    pub fn step_timeout_minutes(&self, step: &Step, contexts: &Contexts) -> Result<Option<u32>, RenderError> {
        let Some(template) = &step.timeout_minutes else { return Ok(None) };
        Ok(whole(template.evaluate(contexts)?.to_number()).map(|minutes| minutes.max(1)))
    }

    /// Whether the failure of a step does not fail the job.
    pub fn step_continues_on_error(&self, step: &Step, contexts: &Contexts) -> Result<bool, RenderError> {
        step.continue_on_error
            .as_ref()
            .map_or(Ok(false), |template| template.evaluate(contexts).map(|v| as_bool(&v)))
    }

    /// The outputs of the job after its last step; refused when they are larger than [`limits::OUTPUT_LEN_MAX`] together.
    pub fn outputs(&self, contexts: &Contexts) -> Result<BTreeMap<String, String>, RenderError> {
        let mut outputs = BTreeMap::new();
        let mut left = limits::OUTPUT_LEN_MAX;
        for (name, template) in &self.job.outputs {
            let value = template.render(contexts)?;
            left = left.checked_sub(value.len()).ok_or_else(|| RenderError {
                at: template.at(),
                expression: template.source(),
                error: EvaluationError::TooLong,
            })?;
            outputs.insert(name.text.clone(), value);
        }
        Ok(outputs)
    }
}

impl Contexts {
    /// Records a finished step under its id: `outcome` before `continue-on-error`, `conclusion` after.
    pub fn set_step(
        &mut self,
        id: &str,
        outputs: &BTreeMap<String, String>,
        outcome: Conclusion,
        conclusion: Conclusion,
    ) {
        let outputs: Object = outputs.iter().map(|(name, value)| (name.clone(), value.as_str())).collect();
        let mut step = Object::new();
        step.insert("outputs", outputs);
        step.insert("outcome", outcome.name());
        step.insert("conclusion", conclusion.name());
        self.set_field("steps", id, step);
    }

    /// The status of the job so far: what conditions see, and `job.status`.
    pub fn set_job_status(&mut self, conclusion: Conclusion) {
        self.set_field("job", "status", conclusion.name());
        self.set_status(match conclusion {
            Conclusion::Success => Status::SUCCESS,
            Conclusion::Failure => Status::FAILURE,
            Conclusion::Cancelled => Status::CANCELLED,
            Conclusion::Skipped => Status::SKIPPED,
        });
    }
}

fn env_pairs(env: &Tree, contexts: &Contexts) -> Result<Vec<(String, String)>, RenderError> {
    let pairs = env.pairs(contexts)?;
    Ok(pairs.into_iter().map(|(name, value)| (name, plain(&value))).collect())
}

/// A variable's text; collections, which only an expression can put here, become JSON.
fn plain(value: &Value) -> String {
    if value.is_scalar() { value.to_text() } else { value.to_json_canonical() }
}

fn merge(pairs: &mut Vec<(String, String)>, more: Vec<(String, String)>) {
    for (name, value) in more {
        match pairs.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => pairs.push((name, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "on: push\nenv: {A: workflow, B: '${{ github.sha }}'}\ndefaults: {run: {shell: sh}}\njobs:\n  a:\n    runs-on: x\n    env: {A: job}\n    strategy: {matrix: {v: [1, 2]}}\n    outputs:\n      o: ${{ steps.one.outputs.x }}-${{ strategy.job-index }}\n    steps:\n    - id: one\n      run: echo ${{ matrix.v }} ${{ env.C }}\n      env: {C: 'c${{ env.A }}'}\n    - if: failure()\n      run: echo no\n      shell: python\n      continue-on-error: true\n      timeout-minutes: 2\n";

    #[test]
    fn a_job_is_stepped_through() {
        let workflow = Workflow::read(FILE.as_bytes(), "f.yml").unwrap();
        let job = workflow.job_definition("a").unwrap();
        let frozen = Frozen { sha: "abc".to_owned(), ..Frozen::default() };
        let matrix = [("v".to_owned(), "2".to_owned())].into();
        let mut contexts = job.contexts(&frozen, &matrix, &BTreeMap::new()).unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(job.job_env(&mut contexts).unwrap(), [pair("A", "job"), pair("B", "abc")]);
        let [one, two] = job.steps() else { panic!("two steps") };
        assert!(job.runs(one, &contexts).unwrap());
        assert_eq!(job.env(one, &contexts).unwrap(), [pair("C", "cjob")]);
        let inner = job.step_contexts(one, &contexts).unwrap();
        assert_eq!(job.script(one, &inner).unwrap().unwrap(), "echo 2 cjob");
        assert_eq!(job.shell(one, &inner).unwrap(), Shell::Sh);
        assert_eq!(job.step_name(one, &inner), "Run echo ${{ matrix.v }} ${{ env.C }}");
        contexts.set_step("one", &[pair("x", "y")].into(), Conclusion::Success, Conclusion::Success);
        contexts.set_job_status(Conclusion::Success);
        assert!(!job.runs(two, &contexts).unwrap());
        contexts.set_job_status(Conclusion::Failure);
        assert!(job.runs(two, &contexts).unwrap());
        assert_eq!(job.shell(two, &contexts).unwrap(), Shell::Python);
        assert_eq!(job.step_timeout_minutes(two, &contexts).unwrap(), Some(2));
        assert!(job.step_continues_on_error(two, &contexts).unwrap());
        assert_eq!(job.outputs(&contexts).unwrap()["o"], "y-1");
    }

    #[test]
    fn secrets_are_empty_and_no_error() {
        let text = "on: push\njobs: {a: {runs-on: x, steps: [{run: 'echo [${{ secrets.TOKEN }}]'}]}}\n";
        let workflow = Workflow::read(text.as_bytes(), "f.yml").unwrap();
        let job = workflow.job_definition("a").unwrap();
        let contexts = job.contexts(&Frozen::default(), &BTreeMap::new(), &BTreeMap::new()).unwrap();
        assert_eq!(job.script(&job.steps()[0], &contexts).unwrap().unwrap(), "echo []");
    }
}
