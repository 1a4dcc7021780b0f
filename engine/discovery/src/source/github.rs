//! Repositories on a GitHub: listed and read through its interface, their refs and commits by git.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use wfengine_git::{Git, Reach, Remote, Repository};
use wfengine_github::graphql::RepositorySources;
use wfengine_github::models::{ContentKind, EntryKind};
use wfengine_github::{ApiError, Bucket, Client, Origin, Secret};
use wfengine_storage_format::RepositoryRef;

use super::{Access, AccessError, FileSeen, Listed, Look, SourceError, Unlisted};
use crate::report::{Report, Requests};
use crate::scope::Scope;
use crate::verdict::{FOLDERS, is_workflow_path};

/// Files in the folder of packs of a mirror, about three for each commit.
const MIRROR_FILES_MAX: usize = 300;

/// What is said of an entry that is no file.
const NO_FILE: &str = "it is a link, a folder or a submodule, not a file";

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
        let header = self.client.clone_authorization(&repository.name).await;
        let header = header.map_err(|error| AccessError::Credential(error.to_string()))?;
        let reach = if url.starts_with("http://") { Reach::Http } else { Reach::Https };
        let remote = Remote::new(git, &url, header.as_ref().map(Secret::expose), reach)?;
        let mirror =
            self.mirrors.join(file_name(&self.host)).join(format!("{}.git", file_name(&repository.id)));
        begin_anew_when_full(&mirror);
        Ok(Access { repository: Repository::bare(git, &mirror).await?, remote: Some(remote) })
    }
}

/// A text as one name in a folder.
fn file_name(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '.') { c } else { '_' };
    format!("at-{}", text.chars().map(plain).collect::<String>())
}

/// Every commit that was brought is a pack of its own; of a mirror with many the old ones are not needed again.
fn begin_anew_when_full(mirror: &std::path::Path) {
    let packs = std::fs::read_dir(mirror.join("objects/pack")).map(Iterator::count).unwrap_or(0);
    if packs > MIRROR_FILES_MAX
        && let Err(error) = std::fs::remove_dir_all(mirror)
    {
        tracing::warn!(%error, mirror = %mirror.display(), "an old mirror was not removed");
    }
}

/// Some of the repositories of a GitHub.
#[derive(Debug)]
pub struct GithubSource {
    connection: Connection,
    scopes: Vec<Scope>,
    /// Looks that came for all repositories at once, by id; of this round.
    bulk: Option<Bulk>,
    /// Repositories that the credential lacks a permission for: nobody asks again until it was granted and this begins anew.
    forbidden: BTreeMap<String, SourceError>,
    /// What the last listing could not list.
    unlisted: Vec<Unlisted>,
}

/// Requests that a repository costs that was never looked at, about: its tree and its files.
const REQUESTS_PER_NEW: u64 = 4;
/// A round leaves this part of a budget to others.
const BUDGET_SHARE: u64 = 2;

/// Repositories with their workflow files, as one query in GraphQL brings them.
#[derive(Debug, Default)]
struct Bulk {
    listed: Vec<(Listed, Option<&'static str>)>,
    looks: BTreeMap<String, Look>,
    /// Bytes of files by git's id.
    files: BTreeMap<String, Vec<u8>>,
    /// What could not be had.
    problems: Vec<String>,
}

/// A limit passes like any other trouble of GitHub's, and is no news for the log.
fn is_passing(error: &ApiError) -> bool {
    error.is_transient() || error.is_limited()
}

fn unlistable(scope: &Scope, error: &ApiError) -> Unlisted {
    Unlisted { scope: scope.clone(), why: error.to_string(), is_passing: is_passing(error) }
}

fn failed(error: &ApiError) -> SourceError {
    if is_passing(error) { SourceError::passing(error) } else { SourceError::lasting(error) }
}

impl GithubSource {
    /// What these scopes name.
    pub fn new(connection: Connection, scopes: Vec<Scope>) -> Self {
        Self { connection, scopes, bulk: None, unlisted: Vec::new(), forbidden: BTreeMap::new() }
    }

    pub(super) fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    pub(super) fn take_unlisted(&mut self) -> Vec<Unlisted> {
        std::mem::take(&mut self.unlisted)
    }

    pub(super) async fn list(
        &mut self,
        report: &mut Report,
        is_new: impl Fn(&Listed) -> bool,
    ) -> Vec<Listed> {
        self.bulk = None;
        let listed = self.list_by_rest(report).await;
        let new = listed.iter().filter(|listed| is_new(listed)).count() as u64;
        let budget = self.connection.client.budget(&Bucket::Core);
        let is_dear = budget.is_some_and(|budget| new * REQUESTS_PER_NEW > budget.remaining / BUDGET_SHARE);
        if is_dear && let Err(error) = self.load_bulk().await {
            tracing::debug!(%error, "repositories are looked at one by one");
        }
        listed
    }

    async fn list_by_rest(&mut self, report: &mut Report) -> Vec<Listed> {
        let (mut listed, mut known, mut unlisted) = (Vec::new(), BTreeSet::new(), Vec::new());
        for scope in &self.scopes.clone() {
            let (asked, is_named) = match scope {
                Scope::All => (wfengine_github::Scope::All, false),
                Scope::Owner(owner) => (wfengine_github::Scope::Owner(owner.clone()), false),
                Scope::Repository(name) => (wfengine_github::Scope::Repository(name.clone()), true),
                Scope::Path(_) => continue,
            };
            let listing = match self.connection.client.repositories(&asked).await {
                Ok(listing) => listing,
                Err(error) if error.is_limited() => match self.load_bulk().await {
                    Ok(()) => return self.listed_in_bulk(report),
                    Err(_) => match self.connection.client.taking_stale().repositories(&asked).await {
                        Ok(listing) => listing,
                        Err(error) => {
                            unlisted.push(unlistable(scope, &error));
                            continue;
                        }
                    },
                },
                Err(error) => {
                    unlisted.push(unlistable(scope, &error));
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
                let why = left_out(repository.archived, repository.disabled, repository.fork && !is_named);
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
        for Unlisted { scope, why, .. } in &unlisted {
            report.problem(&scope.to_string(), "", why);
        }
        report.failed |= !unlisted.is_empty() && listed.is_empty();
        self.unlisted = unlisted;
        listed
    }

    /// Everything of all scopes in as few queries as there are hundreds of repositories.
    async fn load_bulk(&mut self) -> Result<(), ApiError> {
        if self.bulk.is_some() {
            return Ok(());
        }
        let mut bulk = Bulk::default();
        let mut known = BTreeSet::new();
        for scope in &self.scopes {
            let (owner, only) = match scope {
                Scope::All => (None, None),
                Scope::Owner(owner) => (Some(owner.as_str()), None),
                Scope::Repository(name) => (name.split('/').next(), Some(name)),
                Scope::Path(_) => continue,
            };
            let found = self.connection.client.repositories_with_sources(owner).await?;
            bulk.problems
                .extend(found.errors.iter().map(|error| format!("{}: {}", error.path, error.message)));
            for repository in found.repositories {
                let is_wanted = only.is_none_or(|only| only.eq_ignore_ascii_case(&repository.full_name));
                let Some(id) = repository.database_id.filter(|_| is_wanted) else { continue };
                if known.insert(id) {
                    bulk.take(&self.connection.host, id, repository, only.is_some());
                }
            }
        }
        self.bulk = Some(bulk);
        Ok(())
    }

    fn listed_in_bulk(&self, report: &mut Report) -> Vec<Listed> {
        let mut listed = Vec::new();
        for (repository, why) in self.bulk.iter().flat_map(|bulk| &bulk.listed) {
            match why {
                Some(why) => report.skip(&repository.repository.name, why),
                None => listed.push(repository.clone()),
            }
        }
        for problem in self.bulk.iter().flat_map(|bulk| &bulk.problems) {
            report.problem("GraphQL", "", problem);
        }
        listed
    }

    fn look_in_bulk(&self, listed: &Listed) -> Option<Look> {
        self.bulk.as_ref()?.looks.get(&listed.repository.id).cloned()
    }

    pub(super) async fn look(&mut self, listed: &Listed) -> Result<Look, SourceError> {
        if let Some(look) = self.look_in_bulk(listed) {
            return Ok(look);
        }
        if let Some(error) = self.forbidden.get(&listed.repository.id) {
            return Err(error.clone());
        }
        match self.look_by_rest(listed, &self.connection.client).await {
            Err(error) if error.is_limited() => {}
            Err(error) => {
                let is_forbidden = matches!(error, ApiError::MissingPermission { .. } | ApiError::Sso { .. });
                let error = failed(&error);
                if is_forbidden {
                    self.forbidden.insert(listed.repository.id.clone(), error.clone());
                }
                return Err(error);
            }
            Ok(look) => return Ok(look),
        }
        // another budget, and one query for a hundred repositories
        if self.load_bulk().await.is_ok()
            && let Some(look) = self.look_in_bulk(listed)
        {
            return Ok(look);
        }
        let stale = self.connection.client.taking_stale();
        self.look_by_rest(listed, &stale).await.map_err(|error| failed(&error))
    }

    async fn look_by_rest(&self, listed: &Listed, client: &Client) -> Result<Look, ApiError> {
        let name = &listed.repository.name;
        let Some(branch) = listed.default_branch.clone().filter(|branch| !branch.is_empty()) else {
            return Ok(Look::default());
        };
        let mut look = Look { default_branch: branch.clone(), ..Look::default() };
        // one request for both folders, with git's ids of all files, and "not modified" when nothing was pushed
        let tree = match client.tree(name, &branch, true).await {
            Ok(tree) => tree,
            Err(ApiError::Conflict { message, .. }) if message.contains("is empty") => return Ok(look),
            Err(ApiError::TooLarge { .. }) => return look_by_folders(client, listed, look).await,
            Err(error) => return Err(error),
        };
        look.is_stale = matches!(tree.origin, Origin::Stale { .. });
        if tree.value.truncated {
            return look_by_folders(client, listed, look).await;
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

    pub(super) async fn read(&self, listed: &Listed, file: &FileSeen) -> Result<Vec<u8>, SourceError> {
        if let Some(bytes) = self.bulk.as_ref().and_then(|bulk| bulk.files.get(&file.object)) {
            return Ok(bytes.clone());
        }
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

/// For repositories whose tree is too large for one answer.
async fn look_by_folders(client: &Client, listed: &Listed, mut look: Look) -> Result<Look, ApiError> {
    for folder in FOLDERS {
        let entries =
            match client.contents_dir(&listed.repository.name, folder, Some(&look.default_branch)).await {
                Ok(entries) => entries,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error),
            };
        look.is_stale |= matches!(entries.origin, Origin::Stale { .. });
        for entry in entries.value.into_iter().filter(|entry| is_workflow_path(&entry.path)) {
            if entry.kind == ContentKind::File {
                look.files.push(FileSeen { path: entry.path, object: entry.sha, size: entry.size });
            } else {
                look.odd.push((entry.path, NO_FILE.to_owned()));
            }
        }
    }
    Ok(look)
}

/// Why a repository is not looked at, if so.
fn left_out(is_archived: bool, is_disabled: bool, is_foreign: bool) -> Option<&'static str> {
    match () {
        () if is_archived => Some("archived"),
        () if is_disabled => Some("disabled by GitHub"),
        // what others wrote would run here without anybody asking for it
        () if is_foreign => Some("a fork: name it with --repo to look at it"),
        () => None,
    }
}

impl Bulk {
    fn take(&mut self, host: &str, id: u64, found: RepositorySources, is_named: bool) {
        let branch = found.default_branch.as_ref().map(|branch| branch.name.clone());
        let is_whole = found.is_whole();
        let mut look = Look { default_branch: branch.clone().unwrap_or_default(), ..Look::default() };
        let folders = FOLDERS.into_iter().zip([found.github, found.own]);
        for (folder, entries) in folders.filter_map(|(folder, found)| Some((folder, found?.entries))) {
            for entry in entries {
                let path = format!("{folder}/{}", entry.name);
                if !is_workflow_path(&path) {
                    continue;
                }
                if entry.kind != EntryKind::Blob || entry.mode & 0o170_000 != 0o100_000 {
                    look.odd.push((path, NO_FILE.to_owned()));
                    continue;
                }
                if let Some(text) = entry.text() {
                    self.files.insert(entry.sha.clone(), text.as_bytes().to_vec());
                }
                look.files.push(FileSeen { path, size: entry.bytes(), object: entry.sha });
            }
        }
        let why = left_out(found.is_archived, found.is_disabled, found.is_fork && !is_named);
        let pushed_s = found.pushed_at.as_deref().and_then(wfengine_github::dates::rfc3339_s);
        let repository = RepositoryRef { source: host.to_owned(), id: id.to_string(), name: found.full_name };
        // what did not come may be there all the same: it is asked for by itself
        if is_whole {
            self.looks.insert(id.to_string(), look);
        }
        self.listed.push((Listed { repository, default_branch: branch, pushed_s, folder: None }, why));
    }
}
