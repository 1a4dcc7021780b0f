//! Planning again for an audit: the same rules as the node's own planning, from blobs that are on this host.

use std::collections::BTreeMap;

use wfengine_core::replay::{CannotReplan, Planner, Replan, ResultOfLeg};
use wfengine_storage_format::{PlannedKey, RunSpec};
use wfengine_store::Blobs;
use wfengine_workflow::{Conclusion, LegResult, NeedsResult, RULES_VERSION};

use crate::submission::{plan_keys, read_workflow};

/// Plans from the blobs of one cluster, if there are any here.
pub(in crate::commands) struct FromBlobs(pub(in crate::commands) Option<Blobs>);

impl Planner for FromBlobs {
    fn plan(&self, asked: &Replan<'_>) -> Result<Vec<PlannedKey>, CannotReplan> {
        if asked.rules_version != RULES_VERSION {
            return Err(CannotReplan::OtherRules { recorded: asked.rules_version, ours: RULES_VERSION });
        }
        let RunSpec::Workflow(spec) = &asked.submission.spec else {
            return Err(CannotReplan::Unreadable("a task has no workflow".to_owned()));
        };
        let source = self.0.as_ref().and_then(|blobs| blobs.read(&spec.source).ok());
        let source = source.ok_or(CannotReplan::MissingBlob(spec.source))?;
        let unreadable = |failure: crate::error::Failure| CannotReplan::Unreadable(failure.message);
        let workflow = read_workflow(&source, &spec.path).map_err(unreadable)?;
        let results: BTreeMap<String, NeedsResult> = asked
            .results
            .iter()
            .map(|(key, legs)| {
                let legs: Vec<LegResult> = legs.iter().map(leg).collect();
                (key.clone(), NeedsResult::of_legs(&legs))
            })
            .collect();
        plan_keys(&workflow, asked.submission, &results).map_err(unreadable)
    }
}

fn leg(leg: &ResultOfLeg) -> LegResult {
    use wfengine_storage_format::Conclusion as Recorded;
    LegResult {
        conclusion: match leg.conclusion {
            Recorded::Success => Conclusion::Success,
            Recorded::Failure => Conclusion::Failure,
            Recorded::Cancelled => Conclusion::Cancelled,
            Recorded::Skipped => Conclusion::Skipped,
        },
        continue_on_error: leg.continue_on_error,
        outputs: leg.outputs.iter().cloned().collect(),
    }
}
