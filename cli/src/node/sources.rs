//! Where a run's own repository comes from on this host: the pack that came with the run, else the repository itself.

use std::fmt;
use std::sync::Arc;

use wfengine_core::views::run::Run;
use wfengine_executor::{Fetched, Fetching, Sources, SourcesError, Wanted};
use wfengine_git::{Along, GitError, Reach, Remote, Repository};
use wfengine_storage_format::TriggerFired;
use wfengine_workflow::Revision;

use super::Node;
use super::discovery::{NodeHost, connect, environment};

/// The sources of one run that discovery submitted.
pub(super) struct RunSources {
    node: Arc<Node>,
    trigger: Arc<TriggerFired>,
    /// This node submitted it.
    is_own_run: bool,
}

impl fmt::Debug for RunSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunSources").field("sha", &self.trigger.sha).finish_non_exhaustive()
    }
}

impl RunSources {
    /// `None` for a run that discovery did not find.
    pub(super) fn of(node: &Arc<Node>, run: &Run) -> Option<Arc<dyn Sources>> {
        let trigger = run.trigger.clone()?;
        let is_own_run = run.submission().is_some_and(|canonical| canonical.author == node.peer_id());
        Some(Arc::new(Self { node: Arc::clone(node), trigger, is_own_run }))
    }

    /// The run's own commit out of the pack that members share.
    async fn unpack(&self, into: &Repository) -> Result<bool, SourcesError> {
        let Some(blob) = self.trigger.sources else { return Ok(false) };
        if !self.node.blobs.has(&blob) {
            let Some(network) = self.node.network() else { return Ok(false) };
            if let Err(error) = network.fetch_blob(blob).await {
                tracing::warn!(%error, sha = self.trigger.sha, "the sources of a run are with no member that is reached");
                return Ok(false);
            }
        }
        into.unpack(&self.node.blobs.path(&blob), &self.trigger.sha).await?;
        Ok(true)
    }

    /// From the repository itself, as far as this host gets there.
    async fn fetch_remote(&self, wanted: &Wanted, into: &Repository) -> Result<Fetched, SourcesError> {
        let remote = self.remote(wanted, into).await?;
        let (asked, git_ref) = asked(&remote, wanted).await?;
        let along = Along { depth: wanted.depth, tags: wanted.tags };
        let commit =
            remote.fetch_one(&asked, along, into).await.map_err(|error| failed(error, wanted, &asked))?;
        Ok(Fetched { commit, git_ref, note: None })
    }

    /// Where the repository is, and what opens it.
    async fn remote(&self, wanted: &Wanted, into: &Repository) -> Result<Remote, SourcesError> {
        let repository = &wanted.repository;
        let unknown = |why: String| SourcesError::Unknown { repository: repository.clone(), why };
        if self.trigger.repository.source == "path" {
            return Err(unknown(
                "it is a checkout on the host that found it, which shared only the run's own commit"
                    .to_owned(),
            ));
        }
        let source = &self.trigger.repository.source;
        if !is_host(source) {
            return Err(unknown(format!("`{source}` is no host")));
        }
        let variables = environment();
        let wishes = self.node.settings().discovery;
        let host = NodeHost::new(&self.node, &variables).map_err(|failure| unknown(failure.message))?;
        let (url, header) = match connect(&self.node, &wishes, &variables, &host).await {
            Ok((connection, _)) if connection.host == *source => {
                let header = match self.may_use_the_token(wanted) {
                    true => connection.client.clone_authorization(repository).await,
                    false => Ok(None),
                };
                let header = header.map_err(|error| SourcesError::Unreachable {
                    repository: repository.clone(),
                    why: error.to_string(),
                })?;
                (connection.client.clone_url(repository), header)
            }
            // what is public needs no token
            Ok(_) | Err(_) => (format!("https://{source}/{repository}.git"), None),
        };
        let reach = if url.starts_with("http://") { Reach::Http } else { Reach::Https };
        Ok(Remote::new(into.git(), &url, header.as_ref().map(wfengine_github::Secret::expose), reach)?)
    }

    /// Whether this node's token may open what a job asks for. Whoever wrote the workflow chooses what that is: it opens the run's own
    /// repository and no other, and for another member's run only if this host watches that repository itself.
    fn may_use_the_token(&self, wanted: &Wanted) -> bool {
        let is_of_run = wanted.repository.eq_ignore_ascii_case(&self.trigger.repository.name);
        let is_watched = || {
            let views = self.node.watcher().views();
            let said = views.repositories().watching(&self.node.peer_id());
            said.is_some_and(|said| {
                said.scopes.iter().any(|scope| wfengine_discovery::covers(scope, &self.trigger.repository))
            })
        };
        is_of_run && (self.is_own_run || is_watched())
    }

    /// Whether a revision is the commit that the run is of.
    fn is_own(&self, wanted: &Wanted) -> bool {
        let own = wanted.repository.eq_ignore_ascii_case(&self.trigger.repository.name);
        own && matches!(&wanted.revision, Revision::Commit { id, .. } if *id == self.trigger.sha)
    }
}

/// Whether a text is the name of a host, perhaps with a port: a member wrote it, and it becomes part of an address.
fn is_host(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
    !text.is_empty() && text.len() <= 255 && text.bytes().all(fits) && !text.starts_with('-')
}

/// What to ask the other side for, and the full ref that it means; empty if there is none.
async fn asked(remote: &Remote, wanted: &Wanted) -> Result<(String, String), SourcesError> {
    let branch_or_tag = match &wanted.revision {
        Revision::Commit { id, git_ref } => return Ok((id.clone(), git_ref.clone())),
        Revision::Ref(name) if name.starts_with("refs/") => name.clone(),
        Revision::Ref(name) => {
            let full = remote.full_ref(name).await.map_err(|error| failed(error, wanted, name))?;
            full.ok_or_else(|| absent(wanted, name))?
        }
        Revision::DefaultBranch => {
            let branch = remote.default_branch().await.map_err(|error| failed(error, wanted, "HEAD"))?;
            match branch {
                Some(branch) => branch,
                None => return Ok(("HEAD".to_owned(), String::new())),
            }
        }
    };
    Ok((branch_or_tag.clone(), branch_or_tag))
}

fn absent(wanted: &Wanted, reference: &str) -> SourcesError {
    SourcesError::Absent { repository: wanted.repository.clone(), reference: reference.to_owned() }
}

fn failed(error: GitError, wanted: &Wanted, reference: &str) -> SourcesError {
    let repository = wanted.repository.clone();
    match error {
        error if error.is_absent() => absent(wanted, reference),
        GitError::Failed { .. } => SourcesError::Unreachable { repository, why: error.to_string() },
        error => SourcesError::Git(error),
    }
}

impl Sources for RunSources {
    fn fetch<'a>(&'a self, wanted: &'a Wanted, into: &'a Repository) -> Fetching<'a> {
        Box::pin(async move {
            let one_is_enough = wanted.depth.is_some_and(|depth| depth.get() == 1) && !wanted.tags;
            if self.is_own(wanted)
                && (one_is_enough || self.trigger.repository.source == "path")
                && self.unpack(into).await?
            {
                let note = (!one_is_enough)
                    .then(|| "only the commit itself is here, without its history".to_owned());
                return Ok(Fetched {
                    commit: self.trigger.sha.clone(),
                    git_ref: self.trigger.git_ref.clone(),
                    note,
                });
            }
            match self.fetch_remote(wanted, into).await {
                // offline the commit alone is better than nothing
                Err(error) if self.is_own(wanted) && !one_is_enough => {
                    if !self.unpack(into).await? {
                        return Err(error);
                    }
                    let note = Some(format!("only the commit itself is here, without its history: {error}"));
                    Ok(Fetched {
                        commit: self.trigger.sha.clone(),
                        git_ref: self.trigger.git_ref.clone(),
                        note,
                    })
                }
                other => other,
            }
        })
    }
}
