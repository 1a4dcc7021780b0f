//! A workflow that somebody asks for.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use wfengine_git::Refs;
use wfengine_storage_format::{RunId, Trigger};

use super::Discovery;
use super::visit::{Here, display_name};
use crate::due::Due;
use crate::host::Host;
use crate::plan;
use crate::report::Report;
use crate::verdict::Tagged;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Dispatch<'a> {
    /// `owner/name`, or a checkout's name.
    pub repository: &'a str,
    /// A path, a file's name, or a workflow's name.
    pub workflow: &'a str,
    /// A branch or tag; the default branch if none.
    pub git_ref: Option<String>,
    /// Inputs by name.
    pub inputs: BTreeMap<String, Json>,
}

/// Why nothing was started.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DispatchError {
    /// No such repository.
    #[error("no repository {0} is in what this host looks at: `wfengine discover list` shows what was found")]
    NoRepository(String),
    /// No such branch or tag.
    #[error("{repository} has no branch or tag {git_ref}")]
    NoRef {
        /// Where.
        repository: String,
        /// What was asked for.
        git_ref: String,
    },
    /// No such tagged workflow.
    #[error("{repository} has no workflow {workflow} that is tagged for peers{}", listed_others(.others))]
    NoWorkflow {
        /// Where.
        repository: String,
        /// What was asked for.
        workflow: String,
        /// What there is.
        others: Vec<String>,
    },
    /// It was found and cannot be started.
    #[error("{0}")]
    NotStarted(String),
}

fn listed_others(others: &[String]) -> String {
    if others.is_empty() { String::new() } else { format!("; there is {}", others.join(", ")) }
}

/// The full ref and commit of a name; the head's without one.
fn named<'r>(refs: &'r Refs, name: Option<&str>) -> Option<(String, &'r str)> {
    let Some(name) = name else {
        return Some((refs.head.clone()?, refs.head_commit()?));
    };
    let candidates = [name.to_owned(), format!("refs/heads/{name}"), format!("refs/tags/{name}")];
    candidates.into_iter().find_map(|full| refs.commits.get(&full).map(|commit| (full, commit.as_str())))
}

impl<H: Host> Discovery<H> {
    /// Starts a workflow because somebody asks for it, whatever the policy. The problems of the report are remarks.
    ///
    /// # Errors
    /// [`DispatchError`].
    pub async fn dispatch(&mut self, wanted: Dispatch<'_>) -> Result<(RunId, Report), DispatchError> {
        let mut report = Report::default();
        let mut sources = std::mem::take(&mut self.sources);
        let mut started = Err(DispatchError::NoRepository(wanted.repository.to_owned()));
        for source in &mut sources {
            let listed = source.list(&mut report, |_| false).await;
            let same = |listed: &&crate::source::Listed| {
                listed.repository.name.eq_ignore_ascii_case(wanted.repository)
            };
            let Some(listed) = listed.iter().find(same) else { continue };
            let access = source.access(listed).await.map_err(|error| error.to_string());
            started = match access {
                Ok(access) => self.dispatch_in(listed, &access, &wanted, &mut report).await,
                Err(why) => Err(DispatchError::NotStarted(why)),
            };
            break;
        }
        self.sources = sources;
        self.host.cache().flush();
        Ok((started?, report))
    }

    async fn dispatch_in(
        &mut self,
        listed: &crate::source::Listed,
        access: &crate::source::Access,
        wanted: &Dispatch<'_>,
        report: &mut Report,
    ) -> Result<RunId, DispatchError> {
        let repository = listed.repository.name.clone();
        let failed = |why: String| DispatchError::NotStarted(why);
        let refs = access.refs().await.map_err(|error| failed(error.to_string()))?;
        let absent = || DispatchError::NoRef {
            repository: repository.clone(),
            git_ref: wanted.git_ref.clone().unwrap_or_else(|| "at all".to_owned()),
        };
        let (git_ref, commit) = named(&refs, wanted.git_ref.as_deref()).ok_or_else(absent)?;
        let there = self.at_commit(listed, access, commit, report).await;
        let there = there.ok_or_else(|| {
            failed(report.problems.last().map(|problem| problem.what.clone()).unwrap_or_default())
        })?;
        let fits = |path: &str, here: &Here| {
            let file = path.rsplit('/').next().unwrap_or(path);
            [path, file].contains(&wanted.workflow) || display_name(&here.tagged, path) == wanted.workflow
        };
        let Some((path, (here, source))) = there.iter().find(|(path, (here, _))| fits(path, here)) else {
            let (workflow, others) = (wanted.workflow.to_owned(), there.keys().cloned().collect());
            return Err(DispatchError::NoWorkflow { repository, workflow, others });
        };
        let random = self.host.random().map_err(|error| failed(error.to_string()))?;
        let branch = refs.head.as_deref().unwrap_or_default();
        let due = Due {
            repository: listed.repository.clone(),
            default_branch: branch.trim_start_matches("refs/heads/").to_owned(),
            path: path.clone(),
            trigger: Trigger::Dispatch,
            git_ref,
            sha: commit.to_owned(),
            key: plan::dispatch_key(&listed.repository, path, random),
            source: source.clone(),
            tagged: Tagged::clone(&here.tagged),
            inputs: wanted.inputs.clone(),
        };
        let run = plan::run_of(&due.key);
        self.submit(access, &due, report).await.map_err(|why| failed(why.to_string()))?;
        Ok(run)
    }
}
