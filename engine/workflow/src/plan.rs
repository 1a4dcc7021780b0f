//! From a workflow, the facts a submission froze and the results so far to the jobs that can be placed.
//!
//! Pure and deterministic: two nodes with the same rules version and the same arguments plan the same jobs in the same
//! order, which is what lets them record plans independently.

use std::collections::{BTreeMap, BTreeSet};

use wfengine_storage_format::limits::{LIST_LEN_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX};

use crate::{
    diagnostic::{Diagnostic, Position},
    expression::{Contexts, Object, Status, Value},
    frozen::{Conclusion, Frozen, NeedsResult},
    job_contexts, limits,
    matrix::{self, Combination},
    model::{Job, Workflow},
    template::{RenderError, Template, Tree, evaluate_condition},
};

/// The version of these rules. It is recorded with every plan; a plan made by other rules is not compared.
pub const RULES_VERSION: u32 = 1;

/// Jobs that can be placed now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// [`RULES_VERSION`] of the planner.
    pub rules_version: u32,
    /// The concurrency group of the whole run.
    pub run_concurrency_group: Option<String>,
    /// Jobs in the order of the file, legs in the order of the matrix.
    pub jobs: Vec<PlannedJob>,
}

/// Whether a planned job runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobCondition {
    /// It runs.
    Runs,
    /// It is skipped, for this reason. Its conclusion is [`Conclusion::Skipped`]; no node claims it.
    Skipped {
        /// Which condition did not hold.
        reason: String,
    },
}

/// One job to place: a job of the file, or one leg of its matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedJob {
    /// The id of the job in the file.
    pub key: String,
    /// Canonical matrix: sorted by key, values as canonical JSON text. Empty without matrix, and for a skipped job.
    pub matrix: BTreeMap<String, String>,
    /// What people call it.
    pub name: String,
    /// Whether it runs.
    pub condition: JobCondition,
    /// Labels a host must have, all of them. Empty: any host.
    pub runs_on: Vec<String>,
    /// The concurrency group of the job.
    pub concurrency_group: Option<String>,
    /// How many legs of this job may run at once.
    pub max_parallel: Option<u32>,
    /// Whether a failed leg cancels the others.
    pub fail_fast: bool,
    /// Minutes it may run, at least 1.
    pub timeout_minutes: u32,
    /// Whether its failure does not count.
    pub continue_on_error: bool,
    /// The jobs it waited for.
    pub needs: Vec<String>,
}

/// Every job whose needs are all in `results`, or that needs nothing.
///
/// `results` holds a job once all its legs are complete. Jobs already in it are planned again and come out the same: callers
/// tell known from new by job id. A job that is skipped counts as complete at once, so what only waits for skipped jobs is part
/// of the same plan; a result the caller gives for it wins.
///
/// An error means that an expression of a job has no value or a matrix is impossible: the run cannot go on.
pub fn plan(
    workflow: &Workflow,
    frozen: &Frozen,
    results: &BTreeMap<String, NeedsResult>,
) -> Result<Plan, Vec<Diagnostic>> {
    let run = job_contexts::of_run(workflow, frozen);
    let mut known: BTreeMap<String, NeedsResult> = results.clone();
    let mut legs: BTreeMap<usize, Vec<PlannedJob>> = BTreeMap::new();
    let mut errors = Vec::new();
    loop {
        let before = legs.len();
        for (at, job) in workflow.jobs.iter().enumerate() {
            if legs.contains_key(&at) || !job.needs.iter().all(|need| known.contains_key(&need.text)) {
                continue;
            }
            let planned =
                Planner { workflow, run: &run, job, results: &known }.legs().unwrap_or_else(|error| {
                    errors.push(error);
                    Vec::new()
                });
            if planned.iter().all(|leg| leg.condition != JobCondition::Runs) && !planned.is_empty() {
                known.entry(job.id.clone()).or_insert_with(|| NeedsResult::new(Conclusion::Skipped));
            }
            legs.insert(at, planned);
        }
        if legs.len() == before {
            break;
        }
    }
    let jobs: Vec<PlannedJob> = legs.into_values().flatten().collect();
    if jobs.len() > limits::PLANNED_JOBS_MAX {
        let message = format!("the run has {} jobs", jobs.len());
        let expected = format!("at most {}", limits::PLANNED_JOBS_MAX);
        errors.push(Diagnostic::new(&workflow.file, Position { line: 1, column: 1 }, message, expected));
    }
    let run_concurrency_group = run_concurrency_group(workflow, &run).unwrap_or_else(|error| {
        errors.push(error);
        None
    });
    if errors.is_empty() {
        Ok(Plan { rules_version: RULES_VERSION, run_concurrency_group, jobs })
    } else {
        Err(errors)
    }
}

/// The combinations of a job's matrix, in order; one empty combination without matrix.
pub(crate) fn combinations(
    workflow: &Workflow,
    job: &Job,
    contexts: &Contexts,
) -> Result<Vec<Combination>, Diagnostic> {
    let Some(tree) = job.strategy.as_ref().and_then(|strategy| strategy.matrix.as_ref()) else {
        return Ok(vec![Combination::default()]);
    };
    let value = tree.evaluate(contexts).map_err(|error| error.diagnostic(&workflow.file))?;
    matrix::combinations(&value).map_err(|error| {
        let message = format!("job '{}': {error}", job.id);
        Diagnostic::new(&workflow.file, tree.at(), message, error.expected())
    })
}

/// The `strategy` context of one leg.
pub(crate) fn strategy_context(
    job: &Job,
    contexts: &Contexts,
    index: usize,
    total: usize,
) -> Result<Object, RenderError> {
    let (fail_fast, max_parallel) = strategy_limits(job, contexts)?;
    #[expect(clippy::cast_precision_loss, reason = "at most 256 legs")]
    let number = |n: usize| Value::Number(n as f64);
    let mut strategy = Object::new();
    strategy.insert("fail-fast", fail_fast);
    strategy.insert("job-index", number(index));
    strategy.insert("job-total", number(total));
    strategy.insert("max-parallel", max_parallel.map_or(number(total), |max| Value::Number(f64::from(max))));
    Ok(strategy)
}

fn strategy_limits(job: &Job, contexts: &Contexts) -> Result<(bool, Option<u32>), RenderError> {
    let Some(strategy) = &job.strategy else { return Ok((true, None)) };
    let fail_fast = match &strategy.fail_fast {
        Some(template) => as_bool(&template.evaluate(contexts)?),
        None => true,
    };
    let max_parallel = match &strategy.max_parallel {
        Some(template) => whole(template.evaluate(contexts)?.to_number()).filter(|max| *max > 0),
        None => None,
    };
    Ok((fail_fast, max_parallel))
}

fn run_concurrency_group(workflow: &Workflow, run: &Contexts) -> Result<Option<String>, Diagnostic> {
    let Some(concurrency) = &workflow.concurrency else { return Ok(None) };
    let group = concurrency.group.render(run).map_err(|error| error.diagnostic(&workflow.file))?;
    Ok(Some(group).filter(|group| !group.is_empty()))
}

struct Planner<'a> {
    workflow: &'a Workflow,
    run: &'a Contexts,
    job: &'a Job,
    results: &'a BTreeMap<String, NeedsResult>,
}

impl Planner<'_> {
    fn legs(&self) -> Result<Vec<PlannedJob>, Diagnostic> {
        let job = self.job;
        if let Some(call) = &job.call {
            let message = format!("job '{}' calls another workflow, which this version cannot run", job.id);
            return Err(Diagnostic::new(&self.workflow.file, call.uses.at, message, ""));
        }
        let mut contexts = job_contexts::of_job(self.run, job, self.results);
        contexts.set_status(self.status());
        let holds =
            evaluate_condition(job.condition.as_ref(), &contexts).map_err(|error| self.place(&error))?;
        if !holds {
            return Ok(vec![self.skipped(self.reason(&contexts))]);
        }
        contexts.set_status(Status::SUCCESS);
        let combinations = combinations(self.workflow, job, &contexts)?;
        if combinations.is_empty() {
            return Ok(vec![self.skipped("'exclude' leaves no combination of the matrix".to_owned())]);
        }
        let total = combinations.len();
        let mut legs = Vec::with_capacity(total);
        let mut seen = BTreeSet::new();
        for (index, combination) in combinations.iter().enumerate() {
            // equal combinations would be one job with two names
            if !seen.insert(combination.canonical()) {
                continue;
            }
            legs.push(self.leg(&contexts, combination, index, total).map_err(|error| self.place(&error))?);
        }
        self.check_bounds(&legs)?;
        Ok(legs)
    }

    /// A plan is recorded in an event, so what a job says must fit there.
    fn check_bounds(&self, legs: &[PlannedJob]) -> Result<(), Diagnostic> {
        let mut total = 0;
        for leg in legs {
            let group =
                leg.concurrency_group.as_deref().map(|group| ("concurrency group", group, TEXT_BYTES_MAX));
            let labels =
                leg.runs_on.iter().map(|label| ("label of 'runs-on'", label.as_str(), NAME_BYTES_MAX));
            let keys = leg.matrix.keys().map(|key| ("matrix key", key.as_str(), NAME_BYTES_MAX));
            let values = leg.matrix.values().map(|value| ("matrix value", value.as_str(), TEXT_BYTES_MAX));
            total += leg.name.len() + leg.key.len();
            for (what, text, len_max) in group.into_iter().chain(labels).chain(keys).chain(values) {
                total += text.len() + 8;
                if text.len() > len_max {
                    return Err(self.too_large(format!("a {what} has {} bytes", text.len()), len_max));
                }
            }
            if leg.runs_on.len() > LIST_LEN_MAX {
                return Err(
                    self.too_large(format!("'runs-on' has {} labels", leg.runs_on.len()), LIST_LEN_MAX)
                );
            }
        }
        if total > limits::PLANNED_KEY_LEN_MAX {
            let message = format!("the combinations of its matrix have {total} bytes together");
            return Err(self.too_large(message, limits::PLANNED_KEY_LEN_MAX));
        }
        Ok(())
    }

    fn too_large(&self, message: String, max: usize) -> Diagnostic {
        let message = format!("job '{}': {message}", self.job.id);
        Diagnostic::new(&self.workflow.file, self.job.at, message, format!("at most {max}"))
    }

    fn place(&self, error: &RenderError) -> Diagnostic {
        let message = format!("job '{}': {error}", self.job.id);
        Diagnostic::new(&self.workflow.file, error.at, message, "")
    }

    /// Over all jobs before this one, not only those it needs itself.
    fn status(&self) -> Status {
        let mut ancestors: BTreeSet<&str> = BTreeSet::new();
        let mut queue: Vec<&str> = self.job.needs.iter().map(|need| need.text.as_str()).collect();
        while let Some(id) = queue.pop() {
            if ancestors.insert(id)
                && let Some(job) = self.workflow.job(id)
            {
                queue.extend(job.needs.iter().map(|need| need.text.as_str()));
            }
        }
        let any = |conclusion| {
            ancestors
                .iter()
                .any(|id| self.results.get(*id).is_some_and(|result| result.conclusion == conclusion))
        };
        let failure = any(Conclusion::Failure);
        let cancelled = any(Conclusion::Cancelled);
        Status { success: !failure && !cancelled && !any(Conclusion::Skipped), failure, cancelled }
    }

    fn reason(&self, contexts: &Contexts) -> String {
        let asks_status = self.job.condition.as_ref().is_some_and(|condition| condition.asks_status());
        let culprit = self.job.needs.iter().find_map(|need| {
            let conclusion = self.results.get(&need.text)?.conclusion;
            (conclusion != Conclusion::Success).then(|| format!("'{}' was {}", need.text, past(conclusion)))
        });
        match (&self.job.condition, culprit) {
            (_, Some(culprit)) if !asks_status && !contexts.status().success => {
                format!("needed job {culprit}")
            }
            (_, None) if !asks_status && !contexts.status().success => {
                "a job before the needed ones did not succeed".to_owned()
            }
            (Some(condition), _) => format!("its condition is false: {}", condition.source()),
            (None, _) => "a needed job did not succeed".to_owned(),
        }
    }

    fn skipped(&self, reason: String) -> PlannedJob {
        PlannedJob {
            key: self.job.id.clone(),
            matrix: BTreeMap::new(),
            name: self.plain_name(),
            condition: JobCondition::Skipped { reason: cut(reason) },
            runs_on: Vec::new(),
            concurrency_group: None,
            max_parallel: None,
            fail_fast: true,
            timeout_minutes: limits::JOB_TIMEOUT_MINUTES,
            continue_on_error: false,
            needs: self.needs(),
        }
    }

    fn plain_name(&self) -> String {
        let name = self.job.name.as_ref().and_then(Template::as_literal).map(Value::to_text);
        cut(name.filter(|name| !name.is_empty()).unwrap_or_else(|| self.job.id.clone()))
    }

    fn needs(&self) -> Vec<String> {
        self.job.needs.iter().map(|need| need.text.clone()).collect()
    }

    fn leg(
        &self,
        around: &Contexts,
        combination: &Combination,
        index: usize,
        total: usize,
    ) -> Result<PlannedJob, RenderError> {
        let job = self.job;
        let mut contexts = around.clone();
        contexts.set("matrix", if combination.is_empty() { Value::Null } else { combination.context() });
        contexts.set("strategy", strategy_context(job, around, index, total)?);
        let (fail_fast, max_parallel) = strategy_limits(job, around)?;
        let name = match &job.name {
            Some(name) if name.as_literal().is_none() => name.render(&contexts)?,
            _ if combination.is_empty() => self.plain_name(),
            _ => format!("{} ({})", self.plain_name(), combination.label()),
        };
        let concurrency_group = match &job.concurrency {
            Some(concurrency) => Some(concurrency.group.render(&contexts)?).filter(|group| !group.is_empty()),
            None => None,
        };
        let timeout_minutes = match &job.timeout_minutes {
            Some(template) => whole(template.evaluate(&contexts)?.to_number())
                .map_or(limits::JOB_TIMEOUT_MINUTES, |m| m.max(1)),
            None => limits::JOB_TIMEOUT_MINUTES,
        };
        let continue_on_error = match &job.continue_on_error {
            Some(template) => as_bool(&template.evaluate(&contexts)?),
            None => false,
        };
        Ok(PlannedJob {
            key: job.id.clone(),
            matrix: combination.canonical(),
            name: if name.trim().is_empty() { self.plain_name() } else { cut(name) },
            condition: JobCondition::Runs,
            runs_on: runs_on(job.runs_on.as_ref(), &contexts)?,
            concurrency_group,
            max_parallel,
            fail_fast,
            timeout_minutes,
            continue_on_error,
            needs: self.needs(),
        })
    }
}

/// Cuts a text for people to [`limits::PLANNED_NAME_LEN_MAX`].
fn cut(mut text: String) -> String {
    if text.len() > limits::PLANNED_NAME_LEN_MAX {
        text.truncate(text.floor_char_boundary(limits::PLANNED_NAME_LEN_MAX - '…'.len_utf8()));
        text.push('…');
    }
    text
}

fn past(conclusion: Conclusion) -> &'static str {
    match conclusion {
        Conclusion::Success => "successful",
        Conclusion::Failure => "a failure",
        Conclusion::Cancelled => "cancelled",
        Conclusion::Skipped => "skipped",
    }
}

/// Expressions hand on texts: 'false' is false here, though not in the language.
pub(crate) fn as_bool(value: &Value) -> bool {
    match value {
        Value::String(text) if text.eq_ignore_ascii_case("false") => false,
        value => value.truthy(),
    }
}

/// Rounded up and kept in range; `None` for what is no number.
pub(crate) fn whole(n: f64) -> Option<u32> {
    if n.is_nan() {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the range of u32"
    )]
    let whole = n.ceil().clamp(0.0, f64::from(u32::MAX)) as u32;
    Some(whole)
}

fn runs_on(tree: Option<&Tree>, contexts: &Contexts) -> Result<Vec<String>, RenderError> {
    let mut labels = Vec::new();
    if let Some(tree) = tree {
        collect_labels(&tree.evaluate(contexts)?, &mut labels);
    }
    Ok(labels)
}

fn collect_labels(value: &Value, labels: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_labels(item, labels)),
        Value::Object(object) => {
            if let Some(inner) = object.value("labels") {
                collect_labels(inner, labels);
            }
        }
        scalar => {
            let label = scalar.to_text();
            if !label.is_empty() && !labels.contains(&label) {
                labels.push(label);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workflow(jobs: &str) -> Workflow {
        let indented: String = jobs.lines().map(|line| format!("  {line}\n")).collect();
        Workflow::read(format!("on: push\njobs:\n{indented}").as_bytes(), "f.yml").unwrap()
    }

    fn planned(workflow: &Workflow, results: &[(&str, Conclusion)]) -> Vec<(String, bool)> {
        let results = results.iter().map(|(id, c)| ((*id).to_owned(), NeedsResult::new(*c))).collect();
        let plan = plan(workflow, &Frozen::default(), &results).unwrap();
        plan.jobs.into_iter().map(|job| (job.name, job.condition == JobCondition::Runs)).collect()
    }

    fn pairs(pairs: &[(&str, bool)]) -> Vec<(String, bool)> {
        pairs.iter().map(|(name, runs)| ((*name).to_owned(), *runs)).collect()
    }

    const CHAIN: &str = "a: {runs-on: x}\nb: {runs-on: x, needs: a}\nc: {runs-on: x, needs: b, if: always()}\nd: {runs-on: x, needs: c}";

    #[test]
    fn only_jobs_whose_needs_are_complete_are_planned() {
        let workflow = workflow(CHAIN);
        assert_eq!(planned(&workflow, &[]), pairs(&[("a", true)]));
        assert_eq!(planned(&workflow, &[("a", Conclusion::Success)]), pairs(&[("a", true), ("b", true)]));
    }

    #[test]
    fn a_failure_skips_what_follows_except_what_always_runs() {
        let workflow = workflow(CHAIN);
        let failed = [("a", Conclusion::Failure)];
        assert_eq!(planned(&workflow, &failed), pairs(&[("a", true), ("b", false), ("c", true)]));
        let later = [("a", Conclusion::Failure), ("c", Conclusion::Success)];
        assert_eq!(
            planned(&workflow, &later),
            pairs(&[("a", true), ("b", false), ("c", true), ("d", false)])
        );
    }

    #[test]
    fn skipped_jobs_say_why() {
        let workflow = workflow("a: {runs-on: x, if: \"github.ref == 'y'\"}\nb: {runs-on: x, needs: a}");
        let plan = plan(&workflow, &Frozen::default(), &BTreeMap::new()).unwrap();
        let reasons: Vec<&JobCondition> = plan.jobs.iter().map(|job| &job.condition).collect();
        let skipped = |reason: &str| JobCondition::Skipped { reason: reason.to_owned() };
        let first = skipped("its condition is false: github.ref == 'y'");
        assert_eq!(reasons, [&first, &skipped("needed job 'a' was skipped")]);
    }

    #[test]
    fn status_functions_see_all_jobs_before() {
        let workflow = workflow(
            "a: {runs-on: x}\nb: {runs-on: x, needs: a, if: always()}\nc: {runs-on: x, needs: b, if: failure()}",
        );
        let results = [("a", Conclusion::Failure), ("b", Conclusion::Success)];
        assert_eq!(planned(&workflow, &results)[2], ("c".to_owned(), true));
    }

    #[test]
    fn a_leg_carries_its_matrix_in_all_its_keys() {
        let workflow = workflow(
            "a:\n  runs-on: [\"${{ matrix.os }}\", gpu]\n  strategy:\n    max-parallel: 2\n    fail-fast: false\n    matrix:\n      os: [l, w]\n      include: [{os: w, exp: true}]\n  continue-on-error: ${{ matrix.exp || false }}\n  concurrency: g-${{ matrix.os }}\n  timeout-minutes: 5",
        );
        let plan = plan(&workflow, &Frozen::default(), &BTreeMap::new()).unwrap();
        let [first, second] = plan.jobs.as_slice() else { panic!("two legs") };
        assert_eq!(first.name, "a (l)");
        assert_eq!(first.runs_on, ["l", "gpu"]);
        assert_eq!(first.matrix["os"], "\"l\"");
        assert_eq!((first.max_parallel, first.fail_fast, first.timeout_minutes), (Some(2), false, 5));
        assert!(!first.continue_on_error && second.continue_on_error);
        assert_eq!(second.concurrency_group.as_deref(), Some("g-w"));
        assert_eq!(second.name, "a (w)");
    }

    #[test]
    fn a_matrix_may_come_from_the_output_of_a_needed_job() {
        let workflow = workflow(
            "a: {runs-on: x}\nb:\n  runs-on: x\n  needs: a\n  name: v${{ matrix.v }}\n  strategy: {matrix: \"${{ fromJSON(needs.a.outputs.m) }}\"}",
        );
        let mut result = NeedsResult::new(Conclusion::Success);
        result.outputs.insert("m".to_owned(), r#"{"v":[1,2]}"#.to_owned());
        let results = [("a".to_owned(), result.clone())].into();
        let names: Vec<String> = plan(&workflow, &Frozen::default(), &results)
            .unwrap()
            .jobs
            .into_iter()
            .map(|job| job.name)
            .collect();
        assert_eq!(names, ["a", "v1", "v2"]);
        result.outputs.insert("m".to_owned(), "nonsense".to_owned());
        let errors = plan(&workflow, &Frozen::default(), &[("a".to_owned(), result)].into()).unwrap_err();
        assert!(errors[0].to_string().contains("fromJSON"), "{errors:?}");
    }

    #[test]
    fn what_an_event_cannot_hold_is_refused() {
        let error = |job: &str| {
            let errors = plan(&workflow(job), &Frozen::default(), &BTreeMap::new()).unwrap_err();
            errors[0].to_string()
        };
        let long = "x".repeat(5000);
        assert!(error(&format!("a: {{runs-on: {long}}}")).contains("a label of 'runs-on' has 5000 bytes"));
        assert!(error(&format!("a: {{runs-on: x, concurrency: {long}}}")).contains("concurrency group"));
        let values = (0..200).map(|n| format!("{n}{}", "y".repeat(300))).collect::<Vec<_>>().join(", ");
        let matrix = format!("a: {{runs-on: x, strategy: {{matrix: {{v: [{values}]}}}}}}");
        assert!(error(&matrix).contains("bytes together"));
        let named = workflow(&format!("a: {{runs-on: x, name: {}}}", "é".repeat(400)));
        let plan = plan(&named, &Frozen::default(), &BTreeMap::new()).unwrap();
        assert!(plan.jobs[0].name.len() <= limits::PLANNED_NAME_LEN_MAX && plan.jobs[0].name.ends_with('…'));
    }

    #[test]
    fn the_same_arguments_give_the_same_plan() {
        let workflow = workflow(CHAIN);
        let plans: Vec<Plan> =
            (0..3).map(|_| plan(&workflow, &Frozen::default(), &BTreeMap::new()).unwrap()).collect();
        assert!(plans.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn a_job_without_runs_on_may_run_anywhere() {
        let workflow = workflow("a: {steps: [{run: x}]}");
        let plan = plan(&workflow, &Frozen::default(), &BTreeMap::new()).unwrap();
        assert!(plan.jobs[0].runs_on.is_empty());
        assert_eq!(workflow.not_valid_on_github().len(), 1);
    }
}
