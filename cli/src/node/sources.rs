//! Where a run's own repository comes from on this host: the pack that came with the run, else the repository itself.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use data_encoding::BASE64;
use wfengine_executor::{Fetched, Fetching, Repository, Sources, SourcesError, Wanted};
use wfengine_storage_format::TriggerFired;
use wfengine_workflow::Revision;

use super::Node;
use super::discovery::{NodeHost, connect, environment};

/// The sources of one run that discovery submitted.
pub(super) struct RunSources {
    node: Arc<Node>,
    trigger: Arc<TriggerFired>,
}

impl fmt::Debug for RunSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunSources").field("sha", &self.trigger.sha).finish_non_exhaustive()
    }
}

impl RunSources {
    pub(super) fn of(node: &Arc<Node>, trigger: Arc<TriggerFired>) -> Arc<dyn Sources> {
        Arc::new(Self { node: Arc::clone(node), trigger })
    }

    /// The run's own commit out of the pack that members share.
    async fn unpack(&self, into: &Repository) -> Result<bool, SourcesError> {
        let Some(blob) = self.trigger.sources else { return Ok(false) };
        let io = |what: String| move |source| SourcesError::Io { what, source };
        if !self.node.blobs.has(&blob) {
            let Some(network) = self.node.network() else { return Ok(false) };
            if let Err(error) = network.fetch_blob(blob).await {
                tracing::warn!(%error, sha = self.trigger.sha, "the sources of a run are with no member that is reached");
                return Ok(false);
            }
        }
        let folder = into.git_folder().join("objects/pack");
        std::fs::create_dir_all(&folder).map_err(io(format!("make {}", folder.display())))?;
        let pack = folder.join(format!("pack-{blob}.pack"));
        std::fs::copy(self.node.blobs.path(&blob), &pack)
            .map_err(io(format!("copy the sources to {}", pack.display())))?;
        into.add_shallow(std::slice::from_ref(&self.trigger.sha))
            .map_err(io("write .git/shallow".to_owned()))?;
        let pack = pack.display().to_string();
        // git's own ids say whether the content is the commit's
        into.run(&["index-pack", "--strict", "--threads=1", &pack]).await?;
        Ok(true)
    }

    /// From the repository itself, as far as this host gets there.
    async fn fetch_remote(&self, wanted: &Wanted, into: &Repository) -> Result<Fetched, SourcesError> {
        let repository = wanted.repository.clone();
        let unknown = |why: String| SourcesError::Unknown { repository: repository.clone(), why };
        if self.trigger.repository.source == "path" {
            return Err(unknown(
                "it is a checkout on the host that found it, which shared only the run's own commit"
                    .to_owned(),
            ));
        }
        let variables = environment();
        let wishes = self.node.settings().discovery;
        let host = NodeHost::new(&self.node, &variables).map_err(|failure| unknown(failure.message))?;
        let (url, token) = match connect(&self.node, &wishes, &variables, &host).await {
            Ok((connection, _)) if connection.host == self.trigger.repository.source => {
                let token = connection.client.clone_token(&wanted.repository).await;
                let token = token.map_err(|error| SourcesError::Unreachable {
                    repository: repository.clone(),
                    why: error.to_string(),
                })?;
                (connection.client.clone_url(&wanted.repository), token)
            }
            // what is public needs no token
            Ok(_) | Err(_) => {
                (format!("https://{}/{}.git", self.trigger.repository.source, wanted.repository), None)
            }
        };
        let authorised;
        let into = match token {
            Some(token) => {
                let header = BASE64.encode(format!("x-access-token:{}", token.expose()).as_bytes());
                authorised = into
                    .with_variable("GIT_CONFIG_COUNT", "1")
                    .with_variable("GIT_CONFIG_KEY_0", &format!("http.{url}.extraHeader"))
                    .with_variable("GIT_CONFIG_VALUE_0", &format!("authorization: Basic {header}"));
                &authorised
            }
            None => into,
        };
        let (reference, git_ref) = self.named(&wanted.revision, into, &url).await?;
        let depth = wanted
            .depth
            .map_or("--depth=2147483647".to_owned(), |depth: NonZeroU32| format!("--depth={depth}"));
        let protocol = if url.starts_with("http://") {
            "protocol.http.allow=always"
        } else {
            "protocol.https.allow=always"
        };
        let tags = if wanted.tags { "--tags" } else { "--no-tags" };
        let fetch = [
            "-c",
            protocol,
            "fetch",
            "--quiet",
            tags,
            "--no-recurse-submodules",
            &depth,
            "--",
            &url,
            &reference,
        ];
        into.run(&fetch).await.map_err(|error| SourcesError::Unreachable {
            repository: repository.clone(),
            why: error.to_string(),
        })?;
        let commit = into.ask(&["rev-parse", "FETCH_HEAD^{commit}"]).await?;
        Ok(Fetched { commit, git_ref, note: None })
    }

    /// What to ask the other side for, and the full ref that it means.
    async fn named(
        &self,
        revision: &Revision,
        into: &Repository,
        url: &str,
    ) -> Result<(String, String), SourcesError> {
        let protocol = if url.starts_with("http://") {
            "protocol.http.allow=always"
        } else {
            "protocol.https.allow=always"
        };
        let listed = |pattern: String| async move {
            let answer = into.ask(&["-c", protocol, "ls-remote", "--symref", "--", url, &pattern]).await?;
            Ok::<_, SourcesError>(answer)
        };
        match revision {
            Revision::Commit { id, git_ref } => Ok((id.clone(), git_ref.clone())),
            Revision::DefaultBranch => {
                let answer = listed("HEAD".to_owned()).await?;
                let branch = answer.lines().find_map(|line| line.strip_prefix("ref: ")?.split('\t').next());
                let branch = branch.unwrap_or("HEAD").to_owned();
                Ok((branch.clone(), if branch == "HEAD" { String::new() } else { branch }))
            }
            Revision::Ref(name) if name.starts_with("refs/") => Ok((name.clone(), name.clone())),
            Revision::Ref(name) => {
                for full in [format!("refs/heads/{name}"), format!("refs/tags/{name}")] {
                    if !listed(full.clone()).await?.is_empty() {
                        return Ok((full.clone(), full));
                    }
                }
                Err(SourcesError::Absent {
                    repository: self.trigger.repository.name.clone(),
                    reference: name.clone(),
                })
            }
        }
    }

    /// Whether a revision is the commit that the run is of.
    fn is_own(&self, wanted: &Wanted) -> bool {
        let own = wanted.repository.eq_ignore_ascii_case(&self.trigger.repository.name);
        own && matches!(&wanted.revision, Revision::Commit { id, .. } if *id == self.trigger.sha)
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
