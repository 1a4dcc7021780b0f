//! What a submission froze, and what jobs handed on: all that planning and evaluation may know.
//!
//! Nothing here comes from a clock, a host or a network: two nodes with the same values plan the same jobs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The facts fixed when a run was submitted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Frozen {
    /// Resolved inputs, as [`crate::inputs::resolve_inputs`] returns them.
    pub inputs: BTreeMap<String, serde_json::Value>,
    /// The event payload: `github.event`.
    pub event: serde_json::Value,
    /// `github.event_name`; empty counts as `workflow_dispatch`.
    pub event_name: String,
    /// `vars`. `WFENGINE` is always 'true', whatever stands here.
    pub vars: BTreeMap<String, String>,
    /// `github.actor`
    pub actor: String,
    /// `github.triggering_actor`; empty counts as the actor.
    pub triggering_actor: String,
    /// `github.ref`, such as `refs/heads/main`.
    pub git_ref: String,
    /// `github.ref_name`, such as `main`; empty is derived from `git_ref`.
    pub ref_name: String,
    /// `github.head_ref`
    pub head_ref: String,
    /// `github.base_ref`
    pub base_ref: String,
    /// `github.sha`
    pub sha: String,
    /// `github.repository`: `owner/name`.
    pub repository: String,
    /// `github.run_id`
    pub run_id: String,
    /// `github.run_number`
    pub run_number: u64,
    /// `github.run_attempt`, from 1; 0 counts as 1.
    pub run_attempt: u32,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// Every step that counts went well.
    Success,
    /// Something failed.
    Failure,
    /// It was cancelled.
    Cancelled,
    /// It did not run.
    Skipped,
}

impl Conclusion {
    /// The word expressions compare with.
    pub fn name(self) -> &'static str {
        match self {
            Conclusion::Success => "success",
            Conclusion::Failure => "failure",
            Conclusion::Cancelled => "cancelled",
            Conclusion::Skipped => "skipped",
        }
    }
}

/// What a job hands to those that need it: the result of all its matrix legs together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeedsResult {
    /// `needs.<id>.result`
    pub conclusion: Conclusion,
    /// `needs.<id>.outputs`
    pub outputs: BTreeMap<String, String>,
}

/// How one leg of a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegResult {
    /// How it ended.
    pub conclusion: Conclusion,
    /// Whether the plan said that its failure does not count.
    pub continue_on_error: bool,
    /// Its outputs.
    pub outputs: BTreeMap<String, String>,
}

impl NeedsResult {
    /// A job without outputs.
    pub fn new(conclusion: Conclusion) -> Self {
        NeedsResult { conclusion, outputs: BTreeMap::new() }
    }

    /// Joins the legs of one job, given in the order of the plan: a failure that counts wins over a cancelled leg, that over
    /// success; skipped only when every leg was. Of equally named outputs the last that is not empty stays.
    pub fn of_legs<'a>(legs: impl IntoIterator<Item = &'a LegResult>) -> Self {
        let mut joined: Option<Conclusion> = None;
        let mut outputs = BTreeMap::new();
        for leg in legs {
            let conclusion = match leg.conclusion {
                Conclusion::Failure if leg.continue_on_error => Conclusion::Success,
                other => other,
            };
            let weight = |conclusion: Conclusion| match conclusion {
                Conclusion::Failure => 3,
                Conclusion::Cancelled => 2,
                Conclusion::Success => 1,
                Conclusion::Skipped => 0,
            };
            if joined.is_none_or(|before| weight(conclusion) > weight(before)) {
                joined = Some(conclusion);
            }
            for (name, value) in &leg.outputs {
                if !value.is_empty() || !outputs.contains_key(name) {
                    outputs.insert(name.clone(), value.clone());
                }
            }
        }
        NeedsResult { conclusion: joined.unwrap_or(Conclusion::Skipped), outputs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg(conclusion: Conclusion, continue_on_error: bool, output: &str) -> LegResult {
        let outputs = [("o".to_owned(), output.to_owned())].into();
        LegResult { conclusion, continue_on_error, outputs }
    }

    #[test]
    fn legs_join_to_the_worst_that_counts() {
        use Conclusion::{Cancelled, Failure, Skipped, Success};
        let joined = |legs: &[LegResult]| NeedsResult::of_legs(legs).conclusion;
        assert_eq!(joined(&[leg(Success, false, ""), leg(Failure, false, "")]), Failure);
        assert_eq!(joined(&[leg(Success, false, ""), leg(Failure, true, "")]), Success);
        assert_eq!(joined(&[leg(Cancelled, false, ""), leg(Success, false, "")]), Cancelled);
        assert_eq!(joined(&[leg(Skipped, false, ""), leg(Success, false, "")]), Success);
        assert_eq!(joined(&[]), Skipped);
    }

    #[test]
    fn an_empty_output_never_hides_a_full_one() {
        let legs = [leg(Conclusion::Success, false, "a"), leg(Conclusion::Success, false, "")];
        assert_eq!(NeedsResult::of_legs(&legs).outputs["o"], "a");
    }
}
