//! Repositories on a GitHub: listed and read through its interface, their refs and commits by git.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use data_encoding::BASE64;
use wfengine_git::{Git, Reach, Remote, Repository};
use wfengine_github::models::{ContentKind, EntryKind};
use wfengine_github::{ApiError, Client, Origin};
use wfengine_storage_format::RepositoryRef;

use super::{Access, AccessError, FileSeen, Listed, Look, SourceError};
use crate::report::{Report, Requests};
use crate::scope::Scope;
use crate::verdict::{FOLDERS, is_workflow_path};

/// A GitHub under one credential, and where its repositories are mirrored.
#[derive(Clone)]
pub struct Connection {
    /// Speaks to it.
    pub client: Client,
    /// What names it in events: its host.
    pub host: String,
    /// The git program, if this host has one.
    pub git: Option<Git>,
    /// The folder of mirrors.
    pub mirrors: PathBuf,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Connection {
    /// Git access to a repository of it.
    ///
    /// # Errors
    /// [`AccessError`].
    pub async fn access(&self, repository: &RepositoryRef) -> Result<Access, AccessError> {
        let git = self.git.as_ref().ok_or(wfengine_git::GitError::Missing)?;
        let url = self.client.clone_url(&repository.name);
        let token = self.client.clone_token(&repository.name).await;
        let token = token.map_err(|error| AccessError::Credential(error.to_string()))?;
        // what GitHub takes for git: a token as the password of any user
        let header = token.map(|token| {
            format!("Basic {}", BASE64.encode(format!("x-access-token:{}", token.expose()).as_bytes()))
        });
        let reach = if url.starts_with("http://") { Reach::Http } else { Reach::Https };
        let remote = Remote::new(git, &url, header.as_deref(), reach)?;
        let mirror =
            self.mirrors.join(file_name(&self.host)).join(format!("{}.git", file_name(&repository.id)));
        Ok(Access { repository: Repository::bare(git, &mirror).await?, remote: Some(remote) })
    }
}

/// A text as one name in a folder.
fn file_name(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '.') { c } else { '_' }).collect()
}

/// Some of the repositories of a GitHub.
#[derive(Debug)]
pub struct GithubSource {
    connection: Connection,
    scopes: Vec<Scope>,
}

fn failed(error: &ApiError) -> SourceError {
    if error.is_transient() { SourceError::passing(error) } else { SourceError::lasting(error) }
}

impl GithubSource {
    /// What these scopes name.
    pub fn new(connection: Connection, scopes: Vec<Scope>) -> Self {
        Self { connection, scopes }
    }

    pub(super) async fn list(&self, report: &mut Report) -> Vec<Listed> {
        let (mut listed, mut known, mut failures) = (Vec::new(), BTreeSet::new(), 0);
        for scope in &self.scopes {
            let (asked, is_named) = match scope {
                Scope::All => (wfengine_github::Scope::All, false),
                Scope::Owner(owner) => (wfengine_github::Scope::Owner(owner.clone()), false),
                Scope::Repository(name) => (wfengine_github::Scope::Repository(name.clone()), true),
                Scope::Path(_) => continue,
            };
            let listing = match self.connection.client.repositories(&asked).await {
                Ok(listing) => listing,
                Err(error) => {
                    report.problem(&scope.to_string(), "", error);
                    failures += 1;
                    continue;
                }
            };
            if listing.is_cut {
                report.problem(&scope.to_string(), "", "there are more repositories than are listed");
            }
            for repository in listing.items {
                if !known.insert(repository.id) {
                    continue;
                }
                let name = repository.full_name.clone();
                let why = match () {
                    () if repository.archived => Some("archived"),
                    () if repository.disabled => Some("disabled by GitHub"),
                    // what others wrote would run here without anybody asking for it
                    () if repository.fork && !is_named => Some("a fork: name it with --repo to look at it"),
                    () => None,
                };
                match why {
                    Some(why) => report.skip(&name, why),
                    None => listed.push(Listed {
                        pushed_s: repository.pushed_s(),
                        default_branch: repository.default_branch,
                        repository: RepositoryRef {
                            source: self.connection.host.clone(),
                            id: repository.id.to_string(),
                            name,
                        },
                        folder: None,
                    }),
                }
            }
        }
        report.failed |= failures > 0 && listed.is_empty();
        listed
    }

    pub(super) async fn look(&self, listed: &Listed) -> Result<Look, SourceError> {
        let client = self.connection.client.taking_stale();
        let name = &listed.repository.name;
        let Some(branch) = listed.default_branch.clone().filter(|branch| !branch.is_empty()) else {
            return Ok(Look::default());
        };
        let mut look = Look { default_branch: branch.clone(), ..Look::default() };
        // one request for both folders, with git's ids of all files, and "not modified" when nothing was pushed
        let tree = match client.tree(name, &branch, true).await {
            Ok(tree) => tree,
            // an empty repository
            Err(ApiError::Conflict { .. }) => return Ok(look),
            Err(ApiError::TooLarge { .. }) => return self.look_by_folders(listed, look).await,
            Err(error) => return Err(failed(&error)),
        };
        look.is_stale = matches!(tree.origin, Origin::Stale { .. });
        if tree.value.truncated {
            return self.look_by_folders(listed, look).await;
        }
        for entry in tree.value.tree.into_iter().filter(|entry| is_workflow_path(&entry.path)) {
            match entry.sha {
                Some(object) if entry.kind == EntryKind::Blob && entry.mode.starts_with("100") => {
                    look.files.push(FileSeen { path: entry.path, object, size: entry.size });
                }
                _ => look
                    .odd
                    .push((entry.path, "it is a link, a folder or a submodule, not a file".to_owned())),
            }
        }
        Ok(look)
    }

    /// For repositories whose tree is too large for one answer.
    async fn look_by_folders(&self, listed: &Listed, mut look: Look) -> Result<Look, SourceError> {
        let client = self.connection.client.taking_stale();
        for folder in FOLDERS {
            let entries = match client
                .contents_dir(&listed.repository.name, folder, Some(&look.default_branch))
                .await
            {
                Ok(entries) => entries,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(failed(&error)),
            };
            look.is_stale |= matches!(entries.origin, Origin::Stale { .. });
            for entry in entries.value.into_iter().filter(|entry| is_workflow_path(&entry.path)) {
                if entry.kind == ContentKind::File {
                    look.files.push(FileSeen { path: entry.path, object: entry.sha, size: entry.size });
                } else {
                    look.odd
                        .push((entry.path, "it is a link, a folder or a submodule, not a file".to_owned()));
                }
            }
        }
        Ok(look)
    }

    pub(super) async fn read(&self, listed: &Listed, file: &FileSeen) -> Result<Vec<u8>, SourceError> {
        let blob = self.connection.client.blob(&listed.repository.name, &file.object).await;
        blob.map(|blob| blob.value.content.0).map_err(|error| failed(&error))
    }

    pub(super) async fn access(&self, listed: &Listed) -> Result<Access, AccessError> {
        self.connection.access(&listed.repository).await
    }

    pub(super) fn requests(&self) -> Requests {
        let stats = self.connection.client.stats();
        Requests {
            total: stats.requests,
            not_modified: stats.not_modified,
            graphql_points: stats.graphql_points,
        }
    }
}
