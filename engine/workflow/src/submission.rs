//! Between the planner and what is written: the frozen values of a submission, and plans as events hold them.

use std::collections::BTreeMap;

use wfengine_storage_format::{PlannedKey, PlannedLeg, RunSubmitted};

use crate::diagnostic::Diagnostic;
use crate::frozen::{Frozen, NeedsResult};
use crate::model::Workflow;
use crate::plan::{self, JobCondition, Plan};

/// The frozen values in the planner's terms.
pub fn thaw(submission: &RunSubmitted) -> Frozen {
    let frozen = &submission.frozen;
    let json = |text: &str| serde_json::from_str(text).unwrap_or(serde_json::Value::Null);
    Frozen {
        inputs: frozen.inputs.iter().map(|(name, value)| (name.clone(), json(value))).collect(),
        event: if frozen.event_json.is_empty() { serde_json::json!({}) } else { json(&frozen.event_json) },
        event_name: frozen.event_name.clone(),
        vars: frozen.vars.iter().cloned().collect(),
        actor: frozen.actor.clone(),
        git_ref: frozen.ref_name.clone(),
        sha: frozen.sha.clone(),
        repository: frozen.repository.clone(),
        run_id: submission.run().to_string(),
        run_number: frozen.run_number,
        run_attempt: submission.attempt,
        ..Frozen::default()
    }
}

/// Plans every job that can be planned with these results, grouped by key.
///
/// # Errors
/// What the file forbids, with places.
pub fn plan_keys(
    workflow: &Workflow,
    submission: &RunSubmitted,
    results: &BTreeMap<String, NeedsResult>,
) -> Result<Vec<PlannedKey>, Vec<Diagnostic>> {
    plan::plan(workflow, &thaw(submission), results).map(keys_of)
}

fn keys_of(plan: Plan) -> Vec<PlannedKey> {
    let mut keys: Vec<PlannedKey> = Vec::new();
    let run_group = plan.run_concurrency_group;
    for job in plan.jobs {
        let leg = PlannedLeg {
            name: job.name,
            matrix: job.matrix,
            runs_on: job.runs_on,
            group: job.concurrency_group.or_else(|| run_group.clone()),
            timeout_minutes: job.timeout_minutes,
            continue_on_error: job.continue_on_error,
        };
        match keys.last_mut().filter(|known| known.key == job.key) {
            Some(known) => known.legs.push(leg),
            None => keys.push(PlannedKey {
                key: job.key,
                needs: job.needs,
                skipped: match job.condition {
                    JobCondition::Runs => None,
                    JobCondition::Skipped { reason } => Some(reason),
                },
                max_parallel: job.max_parallel,
                fail_fast: job.fail_fast,
                legs: vec![leg],
            }),
        }
    }
    keys
}
