//! Planning again for an audit: the same rules as the node's own planning, from blobs that are on this host.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use wfengine_api::Failure;
use wfengine_core::replay::{CannotReplan, Planner, Replan, ResultOfLeg};
use wfengine_storage_format::{BlobId, PlannedKey, RunSpec, WorkflowSpec};
use wfengine_store::Blobs;
use wfengine_workflow::{Conclusion, LegResult, NeedsResult, RULES_VERSION, Workflow};

use crate::submission::{planned, read_workflow};

/// Workflows kept read: the runs of an audit come in the order of their ids, which mixes workflows.
const WORKFLOWS_KEPT: usize = 64;

/// Plans from the blobs of one cluster, if there are any here.
pub(in crate::commands) struct FromBlobs {
    blobs: Option<Blobs>,
    read: Mutex<BTreeMap<(BlobId, String), Arc<Workflow>>>,
}

impl FromBlobs {
    pub(in crate::commands) fn new(blobs: Option<Blobs>) -> Self {
        Self { blobs, read: Mutex::default() }
    }

    fn workflow(&self, spec: &WorkflowSpec) -> Result<Arc<Workflow>, CannotReplan> {
        let key = (spec.source, spec.path.clone());
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(workflow) = read.get(&key) {
            return Ok(Arc::clone(workflow));
        }
        let source = self.blobs.as_ref().and_then(|blobs| blobs.read(&spec.source).ok());
        let source = source.ok_or(CannotReplan::MissingBlob(spec.source))?;
        let workflow = Arc::new(read_workflow(&source, &spec.path).map_err(unreadable)?);
        if read.len() >= WORKFLOWS_KEPT {
            read.clear();
        }
        read.insert(key, Arc::clone(&workflow));
        Ok(workflow)
    }
}

fn unreadable(failure: Failure) -> CannotReplan {
    CannotReplan::Unreadable(failure.message)
}

impl Planner for FromBlobs {
    fn plan(&self, asked: &Replan<'_>) -> Result<Vec<PlannedKey>, CannotReplan> {
        if asked.rules_version != RULES_VERSION {
            return Err(CannotReplan::OtherRules { recorded: asked.rules_version, ours: RULES_VERSION });
        }
        let RunSpec::Workflow(spec) = &asked.submission.spec else {
            return Err(CannotReplan::Unreadable("a task has no workflow".to_owned()));
        };
        let workflow = self.workflow(spec)?;
        let results: BTreeMap<String, NeedsResult> = asked
            .results
            .iter()
            .map(|(key, legs)| {
                let legs: Vec<LegResult> = legs.iter().map(leg).collect();
                (key.clone(), NeedsResult::of_legs(&legs))
            })
            .collect();
        planned(&workflow, asked.submission, &results).map_err(unreadable)
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
