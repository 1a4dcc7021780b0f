//! Workflows, their runs and jobs.
//!
//! What starts or stops something says so. A dispatch is sent once: whether it went through after a broken connection, the list
//! of runs tells.

use std::collections::BTreeMap;

use hyper::Method;
use serde::{Deserialize, Serialize};

use super::{RepositoryName, reference, segment};
use crate::{
    client::{self, Call, Client, Fetched, Listing, Repeat},
    error::ApiError,
    models::{Job, Jobs, Workflow, WorkflowRun, WorkflowRuns, Workflows},
};

/// 100 entries each. GitHub ends the filtered list of runs at 1,000.
const PAGES_MAX: u32 = 10;

/// Which runs of a repository. Nothing set means all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunsWanted {
    /// Of one workflow: its id, or the name of its file.
    pub workflow: Option<String>,
    /// Started by this.
    pub event: Option<String>,
    /// Of this commit.
    pub head_sha: Option<String>,
    /// Of this branch or tag.
    pub branch: Option<String>,
    /// So far, or ended so: `queued`, `in_progress`, `success`, …
    pub status: Option<String>,
    /// Made then: `>=2026-01-02T03:04:05Z`, or any other form of GitHub's search.
    pub created: Option<String>,
}

impl RunsWanted {
    fn query(&self) -> String {
        let filters = [
            ("event", &self.event),
            ("head_sha", &self.head_sha),
            ("branch", &self.branch),
            ("status", &self.status),
            ("created", &self.created),
        ];
        let mut query = "?per_page=100".to_owned();
        for (name, value) in filters {
            if let Some(value) = value {
                query.push_str(&format!("&{name}={}", segment(value)));
            }
        }
        query
    }
}

/// A dispatch that GitHub took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dispatched {
    /// The run, where GitHub names it; else the list of runs has to tell.
    pub run_id: Option<u64>,
}

#[derive(Serialize)]
struct Dispatch<'a> {
    #[serde(rename = "ref")]
    git_ref: &'a str,
    inputs: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    return_run_details: Option<bool>,
}

impl Client {
    /// The workflows of a repository.
    pub async fn workflows(&self, full_name: &str) -> Result<Listing<Workflow>, ApiError> {
        let path = RepositoryName::parse(full_name)?.path();
        let path = format!("{path}/actions/workflows?per_page=100");
        self.list::<Workflows>(path, |workflow| workflow.id, PAGES_MAX).await
    }

    /// Starts a workflow (its id, or the name of its file) on a branch or tag. It is sent once: after an error other than a
    /// refusal nobody knows whether a run was started. No such trigger, wrong inputs and a missing ref are
    /// [`ApiError::Unprocessable`].
    pub async fn dispatch_workflow(
        &self,
        full_name: &str,
        workflow: &str,
        git_ref: &str,
        inputs: &BTreeMap<String, String>,
    ) -> Result<Dispatched, ApiError> {
        let path = RepositoryName::parse(full_name)?.path();
        let path = format!("{path}/actions/workflows/{}/dispatches", segment(reference(workflow)?));
        let wanted = Dispatch { git_ref, inputs, return_run_details: Some(true) };
        let refusal = match self.dispatch(&path, &wanted).await {
            // an own server of an earlier version does not know the field; it has done nothing
            Err(ApiError::Unprocessable { message, .. }) if message.contains("return_run_details") => {
                self.dispatch(&path, &Dispatch { return_run_details: None, ..wanted }).await
            }
            other => other,
        };
        Ok(Dispatched { run_id: refusal? })
    }

    async fn dispatch(&self, path: &str, body: &Dispatch<'_>) -> Result<Option<u64>, ApiError> {
        #[derive(Deserialize)]
        struct Details {
            workflow_run_id: Option<u64>,
        }
        let call = Call { repeat: Repeat::Never, ..Call::change(Method::POST, path, Some(body)) };
        // whatever the body is, the dispatch was taken
        let read = |body: &[u8]| {
            Ok(serde_json::from_slice::<Details>(body).ok().and_then(|details| details.workflow_run_id))
        };
        Ok(self.run(&call, &read).await?.fetched.value)
    }

    /// Runs of a repository, the newest first, at most 1,000.
    pub async fn workflow_runs(
        &self,
        full_name: &str,
        wanted: &RunsWanted,
    ) -> Result<Listing<WorkflowRun>, ApiError> {
        let path = RepositoryName::parse(full_name)?.path();
        let query = wanted.query();
        let path = match &wanted.workflow {
            Some(workflow) => {
                format!("{path}/actions/workflows/{}/runs{query}", segment(reference(workflow)?))
            }
            None => format!("{path}/actions/runs{query}"),
        };
        self.list::<WorkflowRuns>(path, |run| run.id, PAGES_MAX).await
    }

    /// One run.
    pub async fn workflow_run(&self, full_name: &str, run: u64) -> Result<Fetched<WorkflowRun>, ApiError> {
        let path = RepositoryName::parse(full_name)?.path();
        self.read(format!("{path}/actions/runs/{run}")).await
    }

    /// The jobs of the last attempt of a run.
    pub async fn run_jobs(&self, full_name: &str, run: u64) -> Result<Listing<Job>, ApiError> {
        let path = RepositoryName::parse(full_name)?.path();
        self.list::<Jobs>(
            format!("{path}/actions/runs/{run}/jobs?filter=latest&per_page=100"),
            |job| job.id,
            PAGES_MAX,
        )
        .await
    }

    /// Stops a run. One that has ended is [`ApiError::Conflict`].
    pub async fn cancel_run(&self, full_name: &str, run: u64) -> Result<(), ApiError> {
        let path = RepositoryName::parse(full_name)?.path();
        self.change(Method::POST, format!("{path}/actions/runs/{run}/cancel")).await
    }

    /// Switches a workflow (its id, or the name of its file) off at GitHub.
    pub async fn disable_workflow(&self, full_name: &str, workflow: &str) -> Result<(), ApiError> {
        let path = RepositoryName::parse(full_name)?.path();
        self.change(
            Method::PUT,
            format!("{path}/actions/workflows/{}/disable", segment(reference(workflow)?)),
        )
        .await
    }

    /// Where the log of a job lies, good for a minute. It is fetched without the token, and the address itself is a secret.
    pub async fn job_log_location(&self, full_name: &str, job: u64) -> Result<String, ApiError> {
        let path = RepositoryName::parse(full_name)?.path();
        self.location(format!("{path}/actions/jobs/{job}/logs")).await
    }

    async fn location(&self, path: String) -> Result<String, ApiError> {
        let call = Call { follows: false, ..Call::get(path) };
        match self.run(&call, &client::nothing).await {
            Err(ApiError::RedirectElsewhere { location, .. }) => Ok(location),
            Err(error) => Err(error),
            Ok(_) => {
                let problem = "neither a redirect nor an error".to_owned();
                Err(ApiError::Unexpected { place: call.place(&call.path), problem })
            }
        }
    }

    async fn change(&self, method: Method, path: String) -> Result<(), ApiError> {
        let call = Call::change(method, path, None::<&()>);
        self.run(&call, &client::nothing).await.map(|_| ())
    }
}
