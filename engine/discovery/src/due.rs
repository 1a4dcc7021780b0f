//! A workflow that is due: from what happened to a submission with everything its run may read, frozen.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use wfengine_git::CommitFacts;
use wfengine_storage_format::limits::{JSON_BYTES_MAX, NAME_BYTES_MAX};
use wfengine_storage_format::{
    BlobId, Frozen, Origin, Placement, RepositoryRef, RunSpec, RunSubmitted, Trigger, TriggerFired,
    WorkflowSpec,
};
use wfengine_workflow::{InputError, RULES_VERSION, resolve_inputs};

use crate::policy::Priorities;
use crate::verdict::Tagged;

/// A workflow that is to run.
#[derive(Clone, Debug)]
pub struct Due {
    /// Of which repository.
    pub repository: RepositoryRef,
    /// The branch that is the repository's default, short; empty when unknown.
    pub default_branch: String,
    /// The file's path.
    pub path: String,
    /// What happened.
    pub trigger: Trigger,
    /// The full ref.
    pub git_ref: String,
    /// The commit.
    pub sha: String,
    /// Makes it one run.
    pub key: Vec<u8>,
    /// The file's bytes at that commit.
    pub source: Vec<u8>,
    /// What it says.
    pub tagged: Tagged,
    /// Inputs of a dispatch.
    pub inputs: BTreeMap<String, Json>,
}

/// Why a workflow that is due is not submitted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotSubmitted {
    /// A required input has no value.
    #[error("needs input: {}", .0.join(", "))]
    NeedsInput(Vec<String>),
    /// An input is wrong.
    #[error("{0}")]
    Input(String),
    /// This version cannot run it.
    #[error("cannot run here: {0}")]
    Unsupported(String),
    /// It cannot be planned.
    #[error("cannot be planned: {0}")]
    Plan(String),
}

impl Due {
    /// The event as GitHub names it. New content counts as the first of what could have started the workflow.
    pub fn event_name(&self) -> &'static str {
        match &self.trigger {
            Trigger::Push { .. } => "push",
            Trigger::Schedule { .. } => "schedule",
            Trigger::Dispatch => "workflow_dispatch",
            Trigger::Found if self.tagged.triggers.dispatch => "workflow_dispatch",
            Trigger::Found if self.tagged.triggers.push.is_some() => "push",
            Trigger::Found if !self.tagged.triggers.schedules.is_empty() => "schedule",
            Trigger::Found => "workflow_dispatch",
        }
    }

    fn event(&self, commit: &CommitFacts, inputs: &BTreeMap<String, Json>) -> Json {
        let (owner, name) = self.repository.name.rsplit_once('/').unwrap_or(("", &self.repository.name));
        let mut repository = json!({
            "name": name,
            "full_name": self.repository.name,
            "owner": { "login": owner, "name": owner },
            "default_branch": self.default_branch,
        });
        // a checkout on a host has no page
        if self.repository.source != "path" {
            repository["html_url"] =
                format!("https://{}/{}", self.repository.source, self.repository.name).into();
        }
        let author = json!({ "name": commit.author, "email": commit.email });
        // a commit's author is whoever its maker says; who pushed it, a look at the repository does not tell
        let pusher = json!({ "name": owner });
        match self.event_name() {
            "push" => {
                let before = match &self.trigger {
                    Trigger::Push { before } => before.as_str(),
                    _ => "",
                };
                let zeros = "0".repeat(self.sha.len());
                let head = json!({ "id": self.sha, "message": commit.subject, "timestamp": commit.time, "author": author });
                json!({
                    "ref": self.git_ref,
                    "before": if before.is_empty() { &zeros } else { before },
                    "after": self.sha,
                    "created": before.is_empty(),
                    "deleted": false,
                    "head_commit": head,
                    "pusher": pusher,
                    "repository": repository,
                })
            }
            "schedule" => {
                let cron = match &self.trigger {
                    Trigger::Schedule { cron, .. } => cron.clone(),
                    _ => self
                        .tagged
                        .triggers
                        .schedules
                        .first()
                        .map(|first| first.cron.text().to_owned())
                        .unwrap_or_default(),
                };
                json!({ "schedule": cron, "repository": repository })
            }
            _ => {
                json!({ "inputs": inputs, "ref": self.git_ref, "workflow": self.path, "repository": repository })
            }
        }
    }

    /// The inputs the run gets: those of a dispatch, with defaults.
    fn resolved_inputs(&self) -> Result<BTreeMap<String, Json>, NotSubmitted> {
        if self.event_name() != "workflow_dispatch" || !self.tagged.triggers.dispatch {
            return Ok(BTreeMap::new());
        }
        let missing: Vec<String> = self
            .tagged
            .needs_inputs
            .iter()
            .filter(|name| !self.inputs.keys().any(|given| given.eq_ignore_ascii_case(name)))
            .cloned()
            .collect();
        if !missing.is_empty() {
            return Err(NotSubmitted::NeedsInput(missing));
        }
        resolve_inputs(&self.tagged.workflow, &self.inputs).map_err(|error| match error {
            InputError::Missing { name, .. } => NotSubmitted::NeedsInput(vec![name]),
            other => NotSubmitted::Input(other.to_string()),
        })
    }

    /// The submission. `source` is the file as a blob; `run_number` counts the runs of this workflow, from 1.
    ///
    /// # Errors
    /// [`NotSubmitted`]: what is to be reported in its place.
    pub fn submission(
        &self,
        source: BlobId,
        run_number: u64,
        commit: &CommitFacts,
        priorities: &Priorities,
    ) -> Result<RunSubmitted, NotSubmitted> {
        if let Some(refusal) = self.tagged.refusals.first() {
            return Err(NotSubmitted::Unsupported(refusal.clone()));
        }
        let inputs = self.resolved_inputs()?;
        let mut event_json = self.event(commit, &inputs).to_string();
        if event_json.len() > JSON_BYTES_MAX {
            return Err(NotSubmitted::Input(format!(
                "the event takes {} bytes; 32 KiB are allowed",
                event_json.len()
            )));
        }
        event_json.shrink_to_fit();
        let workflow = &self.tagged.workflow;
        let file_name = self.path.rsplit('/').next().unwrap_or(&self.path);
        let name = match &workflow.name {
            Some(name) if !name.text.trim().is_empty() => name.text.clone(),
            _ => file_name.to_owned(),
        };
        Ok(RunSubmitted {
            trigger_key: self.key.clone(),
            attempt: 1,
            name: cut(&format!("{name} ({})", self.repository.name), 200),
            spec: RunSpec::Workflow(WorkflowSpec {
                path: self.path.clone(),
                source,
                called: Vec::new(),
                job_keys: workflow.jobs.iter().map(|job| job.id.clone()).collect(),
                rules_version: RULES_VERSION,
            }),
            frozen: Frozen {
                event_name: self.event_name().to_owned(),
                event_json,
                event_blob: None,
                inputs: inputs.iter().map(|(name, value)| (name.clone(), value.to_string())).collect(),
                vars: Vec::new(),
                actor: cut(
                    self.repository.name.rsplit_once('/').map_or("", |(owner, _)| owner),
                    NAME_BYTES_MAX,
                ),
                repository: self.repository.name.clone(),
                ref_name: self.git_ref.clone(),
                sha: self.sha.clone(),
                run_number,
            },
            tags: self.tagged.tags.clone(),
            metadata_json: String::new(),
            priority_milli: priorities.of(self.tagged.routing),
            placement: Placement::Rule,
            origin: Origin::Discovery,
            retries: 0,
            backoff_ms: (0, 0),
            rerun_of: None,
        })
    }

    /// What is written of why the run exists.
    pub fn fired(&self, submission: &RunSubmitted, sources: Option<(BlobId, u64)>) -> TriggerFired {
        TriggerFired {
            run: submission.run(),
            repository: self.repository.clone(),
            path: self.path.clone(),
            trigger: self.trigger.clone(),
            git_ref: self.git_ref.clone(),
            sha: self.sha.clone(),
            sources: sources.map(|(blob, _)| blob),
            sources_len: sources.map_or(0, |(_, len)| len),
        }
    }
}

/// The beginning of a text, at most so many bytes of it.
pub(crate) fn cut(text: &str, len_max: usize) -> String {
    let mut end = text.len().min(len_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Verdict;

    fn due(on: &str, trigger: Trigger) -> Due {
        let text = format!(
            "name: CI\n# P2P: p2p-eligible, data-processing\non: {on}\njobs: {{a: {{runs-on: x, steps: [{{run: ls}}]}}}}\n"
        );
        let Verdict::Tagged(tagged) = Verdict::of(text.as_bytes(), ".github/workflows/ci.yml") else {
            panic!()
        };
        Due {
            repository: RepositoryRef { source: "github.com".into(), id: "7".into(), name: "o/r".into() },
            default_branch: "main".into(),
            path: ".github/workflows/ci.yml".into(),
            trigger,
            git_ref: "refs/heads/main".into(),
            sha: "a".repeat(40),
            key: b"github:x".to_vec(),
            source: text.into_bytes(),
            tagged: *tagged,
            inputs: BTreeMap::new(),
        }
    }

    fn submitted(due: &Due) -> Result<RunSubmitted, NotSubmitted> {
        due.submission(BlobId::from_bytes([1; 32]), 3, &CommitFacts::default(), &Priorities::default())
    }

    #[test]
    fn a_push_freezes_what_github_would_tell() {
        let due = due("push", Trigger::Push { before: "b".repeat(40) });
        let run = submitted(&due).unwrap();
        let event: Json = serde_json::from_str(&run.frozen.event_json).unwrap();
        assert_eq!(
            (event["before"].as_str(), event["created"].as_bool()),
            (Some("b".repeat(40).as_str()), Some(false))
        );
        assert_eq!(event["repository"]["owner"]["login"], "o");
        assert_eq!(event["repository"]["html_url"], "https://github.com/o/r");
        assert_eq!(
            (run.frozen.event_name.as_str(), run.frozen.run_number, run.priority_milli),
            ("push", 3, 2_500)
        );
        assert_eq!((run.frozen.actor.as_str(), event["pusher"]["name"].as_str()), ("o", Some("o")));
        assert_eq!((run.origin, run.name.as_str()), (Origin::Discovery, "CI (o/r)"));
        assert_eq!(run.tags, ["p2p-eligible", "data-processing"]);
    }

    #[test]
    fn an_input_without_a_value_is_named_and_nothing_is_submitted() {
        let on = "{workflow_dispatch: {inputs: {module: {required: true}, level: {default: a}}}, push: {}}";
        assert_eq!(submitted(&due(on, Trigger::Found)).unwrap_err().to_string(), "needs input: module");
        let mut given = due(on, Trigger::Dispatch);
        given.inputs.insert("module".into(), "x".into());
        let run = submitted(&given).unwrap();
        assert_eq!(run.frozen.inputs, [("level".into(), "\"a\"".into()), ("module".into(), "\"x\"".into())]);
        given.inputs.insert("nonsense".into(), "x".into());
        assert!(matches!(submitted(&given), Err(NotSubmitted::Input(_))));
        let pushed = submitted(&due(on, Trigger::Push { before: String::new() })).unwrap();
        assert!(pushed.frozen.inputs.is_empty(), "a push gives no inputs");
    }

    #[test]
    fn new_content_runs_as_what_could_have_started_it() {
        assert_eq!(due("[push, workflow_dispatch]", Trigger::Found).event_name(), "workflow_dispatch");
        assert_eq!(due("push", Trigger::Found).event_name(), "push");
        assert_eq!(due("{schedule: [{cron: '0 0 * * *'}]}", Trigger::Found).event_name(), "schedule");
    }
}
