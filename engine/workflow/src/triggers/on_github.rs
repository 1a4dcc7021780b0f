//! Whether GitHub runs a workflow as well, when a member runs it.
//!
//! A p2p-eligible workflow that stands in a repository is GitHub's too: a push starts it there unless something keeps it from
//! running. Only what is certain is claimed: a guard is a job condition that cannot hold while `vars.WFENGINE` is not set, as on
//! GitHub.

use std::collections::BTreeSet;

use super::Triggers;
use crate::{
    model::{Job, Workflow},
    template::Condition,
};

/// What GitHub does with a workflow by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnGithub {
    /// It runs it too, on its own machines or runners.
    RunsToo,
    /// It waits until somebody starts or calls it there.
    DispatchOnly,
    /// It starts it and skips every job, because each asks for `vars.WFENGINE`.
    Guarded,
    /// It refuses the file.
    NotValid,
}

/// What GitHub does by itself with a workflow that has these triggers.
pub fn on_github(workflow: &Workflow, triggers: &Triggers) -> OnGithub {
    let starts_itself = triggers.push.is_some()
        || !triggers.schedules.is_empty()
        || triggers.repository_dispatch.is_some()
        || !triggers.others.is_empty();
    if !workflow.not_valid_on_github().is_empty() {
        OnGithub::NotValid
    } else if !starts_itself {
        OnGithub::DispatchOnly
    } else if skips_every_job(workflow) {
        OnGithub::Guarded
    } else {
        OnGithub::RunsToo
    }
}

/// Each job is skipped by its own condition, or because it needs one that is and does not ask how that ended.
fn skips_every_job(workflow: &Workflow) -> bool {
    let mut skipped: BTreeSet<&str> = BTreeSet::new();
    loop {
        let before = skipped.len();
        let skips = |job: &&Job| is_guarded(job) || follows(job, &skipped);
        let found: Vec<&str> = workflow.jobs.iter().filter(skips).map(|job| job.id.as_str()).collect();
        skipped.extend(found);
        if skipped.len() == before {
            return skipped.len() == workflow.jobs.len();
        }
    }
}

fn is_guarded(job: &Job) -> bool {
    let expression = job.condition.as_ref().and_then(Condition::expression);
    expression.is_some_and(|expression| expression.is_false_without("vars", "WFENGINE"))
}

fn follows(job: &Job, skipped: &BTreeSet<&str>) -> bool {
    !job.condition.as_ref().is_some_and(Condition::asks_status)
        && job.needs.iter().any(|need| skipped.contains(need.text.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(on: &str, jobs: &str) -> OnGithub {
        let text = format!("on: {on}\njobs:\n{jobs}");
        let workflow =
            Workflow::read(text.as_bytes(), "f.yml").unwrap_or_else(|errors| panic!("{}", errors[0]));
        on_github(&workflow, &Triggers::of(&workflow).unwrap())
    }

    fn job(condition: &str) -> String {
        format!("  a: {{runs-on: x, if: {condition}}}\n")
    }

    #[test]
    fn triggers_that_somebody_has_to_pull_start_nothing() {
        let plain = "  a: {runs-on: x}\n";
        assert_eq!(of("push", plain), OnGithub::RunsToo);
        assert_eq!(of("[workflow_dispatch, workflow_call]", plain), OnGithub::DispatchOnly);
        assert_eq!(of("workflow_dispatch", plain), OnGithub::DispatchOnly);
        assert_eq!(of("[workflow_dispatch, pull_request]", plain), OnGithub::RunsToo);
        assert_eq!(of("repository_dispatch", plain), OnGithub::RunsToo);
        assert_eq!(of("{schedule: [{cron: '0 0 * * *'}]}", plain), OnGithub::RunsToo);
        assert_eq!(of("push", "  a: {steps: [{run: x}]}\n"), OnGithub::NotValid);
    }

    #[test]
    fn a_comparison_that_fails_while_the_variable_is_not_set_guards() {
        for condition in [
            "vars.WFENGINE == 'true'",
            "'true' == vars.WFENGINE",
            "${{ vars.WFENGINE == 'true' }}",
            "vars.wfengine == 'TRUE'",
            "vars['WFENGINE'] == 'true'",
            "vars.WFENGINE == true",
            "vars.WFENGINE != ''",
            "always() && vars.WFENGINE == 'true'",
            "github.ref == 'x' && (vars.WFENGINE == 'true' && (github.actor == 'a' || true))",
        ] {
            assert_eq!(of("push", &job(&format!("\"{condition}\""))), OnGithub::Guarded, "{condition}");
        }
    }

    #[test]
    fn everything_else_may_run() {
        for condition in [
            "vars.WFENGINE != 'true'",
            "vars.WFENGINE == ''",
            "vars.WFENGINE == false",
            // null and the empty text differ here, and GitHub's documents and its evaluator do too
            "vars.WFENGINE < 'a'",
            "vars.WFENGINE == 'true' || github.ref == 'x'",
            "!(vars.WFENGINE == 'true')",
            "${{ vars.WFENGINE == 'true' }} && true",
            "vars.OTHER == 'true'",
            "vars.WFENGINE.x == 'true'",
            "vars.WFENGINE == github.actor",
            "github.vars.WFENGINE == 'true'",
            "contains(vars.WFENGINE, 'true')",
            "true",
        ] {
            assert_eq!(of("push", &job(&format!("\"{condition}\""))), OnGithub::RunsToo, "{condition}");
        }
        assert_eq!(of("push", &job("false")), OnGithub::RunsToo);
    }

    #[test]
    fn every_job_has_to_be_guarded_or_to_need_one_that_is() {
        let guard = "if: \"vars.WFENGINE == 'true'\"";
        let jobs = |second: &str| format!("  b: {{runs-on: x, {second}}}\n  a: {{runs-on: x, {guard}}}\n");
        assert_eq!(of("push", &jobs("needs: a")), OnGithub::Guarded);
        assert_eq!(of("push", &jobs("needs: a, if: github.ref == 'x'")), OnGithub::Guarded);
        assert_eq!(of("push", &jobs("needs: a, if: always()")), OnGithub::RunsToo);
        assert_eq!(of("push", &jobs("name: alone")), OnGithub::RunsToo);
    }
}
