//! A folder of git checkouts, taken for an owner. Nothing is asked of any host.
//!
//! Repositories are the folder itself if it is one, else those directly in it, else those one folder deeper. Each is named after its
//! folder and the one around it, and known for good by this host and where its objects lie: two folders of one name are two
//! repositories, on one host as on two, and worktrees of one repository are one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use wfengine_git::{Git, Repository};
use wfengine_storage_format::{PeerId, RepositoryRef, sha256};

use super::{Access, AccessError, FileSeen, Listed, Look, SourceError};
use crate::report::Report;
use crate::verdict::{FOLDERS, is_workflow_path};

/// Repositories of one folder at most.
const REPOSITORIES_MAX: usize = 10_000;
/// Bytes of a repository's name at most.
const NAME_BYTES_MAX: usize = 250;

/// A folder of checkouts.
#[derive(Clone, Debug)]
pub struct FolderSource {
    folder: PathBuf,
    git: Option<Git>,
    host: PeerId,
}

/// A checkout as it was found.
#[derive(Debug)]
struct Found {
    folder: PathBuf,
    /// Where its objects lie.
    common: PathBuf,
    is_worktree: bool,
}

/// Bytes of a file that names another place.
const POINTER_BYTES_MAX: u64 = 4_096;

/// A small text file of git's that names a place, from the folder that it is in.
fn pointer(file: &Path, prefix: &str) -> Option<PathBuf> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(file).ok()?.take(POINTER_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(file.parent()?.join(text.strip_prefix(prefix)?.trim()))
}

/// A folder as a checkout, a worktree or a bare repository.
fn repository(folder: &Path) -> Option<Found> {
    let git = folder.join(".git");
    let git = match git.metadata() {
        Ok(meta) if meta.is_file() => pointer(&git, "gitdir:")?,
        Ok(_) => git,
        Err(_) if folder.join("HEAD").is_file() && folder.join("objects").is_dir() => folder.to_owned(),
        Err(_) => return None,
    };
    let common = pointer(&git.join("commondir"), "");
    let is_worktree = common.is_some();
    let common = common.unwrap_or(git);
    let common = common.canonicalize().unwrap_or(common);
    Some(Found { folder: folder.to_owned(), common, is_worktree })
}

/// A checkout's name: its folder's, after that of the folder around it.
fn name_of(folder: &Path) -> String {
    let around = folder.parent().map(text).filter(|around| !around.is_empty());
    around.map_or_else(|| text(folder), |around| format!("{around}/{}", text(folder)))
}

fn text(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The folders in a folder, by name; hidden ones are left out.
fn folders(of: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(of)?.take(REPOSITORIES_MAX) {
        let path = entry?.path();
        if path.is_dir() && !text(&path).starts_with('.') {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

impl FolderSource {
    /// A folder of this host, by its peer id. The path should be absolute.
    pub fn new(folder: PathBuf, git: Option<Git>, host: PeerId) -> Self {
        Self { folder, git, host }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) async fn list(&self, report: &mut Report) -> Vec<Listed> {
        let found = match self.repositories() {
            Ok(found) => found,
            Err(error) => {
                report.problem(&self.folder.display().to_string(), "", format!("cannot be listed: {error}"));
                report.failed = true;
                return Vec::new();
            }
        };
        let mut listed: Vec<Listed> = Vec::new();
        let mut first_at: BTreeMap<PathBuf, String> = BTreeMap::new();
        for found in found {
            let name = name_of(&found.folder);
            if let Some(first) = first_at.get(&found.common) {
                report.skip(&name, &format!("a worktree of {first}"));
                continue;
            }
            if name.len() > NAME_BYTES_MAX {
                report.skip(&name, "its name is too long");
                continue;
            }
            let id = self.id_of(&found.common);
            first_at.insert(found.common, name.clone());
            listed.push(Listed {
                repository: RepositoryRef { source: "path".to_owned(), id, name },
                default_branch: None,
                pushed_s: None,
                folder: Some(found.folder),
            });
        }
        listed.sort_by(|one, other| one.folder.cmp(&other.folder));
        for listed in &mut listed {
            listed.pushed_s = self.last_commit_s(listed).await;
        }
        listed
    }

    /// What names a repository of this host for good, without telling members where it is.
    fn id_of(&self, common: &Path) -> String {
        let place = [self.host.as_bytes().as_slice(), common.as_os_str().as_encoded_bytes()].concat();
        let hash = sha256(&place);
        hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// When the youngest commit of any branch was made: a checkout knows no pushes.
    async fn last_commit_s(&self, listed: &Listed) -> Option<u64> {
        let youngest = [
            "for-each-ref",
            "--sort=-committerdate",
            "--count=1",
            "--format=%(committerdate:unix)",
            "refs/heads",
        ];
        self.repository(listed).ok()?.ask(&youngest).await.ok()?.parse().ok()
    }

    /// Repositories are before their worktrees.
    fn repositories(&self) -> std::io::Result<Vec<Found>> {
        if let Some(own) = repository(&self.folder) {
            return Ok(vec![own]);
        }
        let mut found = Vec::new();
        for child in folders(&self.folder)? {
            match repository(&child) {
                Some(own) => found.push(own),
                // a folder that cannot be read is not a checkout of ours
                None => found.extend(
                    folders(&child).unwrap_or_default().iter().filter_map(|folder| repository(folder)),
                ),
            }
        }
        found.truncate(REPOSITORIES_MAX);
        found.sort_by(|one, other| (one.is_worktree, &one.folder).cmp(&(other.is_worktree, &other.folder)));
        Ok(found)
    }

    fn repository(&self, listed: &Listed) -> Result<Repository, SourceError> {
        let git = self.git.as_ref().ok_or_else(|| SourceError::lasting(wfengine_git::GitError::Missing))?;
        Ok(Repository::at(git, listed.folder.as_deref().unwrap_or(&self.folder)))
    }

    pub(super) async fn look(&self, listed: &Listed) -> Result<Look, SourceError> {
        let repository = self.repository(listed)?;
        let refs = repository.refs().await.map_err(SourceError::lasting)?;
        let mut look = Look::default();
        let Some((head, commit)) = refs.head.as_deref().zip(refs.head_commit()) else { return Ok(look) };
        look.default_branch = head.trim_start_matches("refs/heads/").to_owned();
        for entry in repository.entries(commit, &FOLDERS).await.map_err(SourceError::lasting)? {
            if !is_workflow_path(&entry.path) {
                continue;
            }
            if entry.is_file() {
                look.files.push(FileSeen { path: entry.path, object: entry.object, size: entry.size });
            } else {
                look.odd.push((entry.path, "it is a link, a folder or a submodule, not a file".to_owned()));
            }
        }
        Ok(look)
    }

    pub(super) async fn read(&self, listed: &Listed, file: &FileSeen) -> Result<Vec<u8>, SourceError> {
        self.repository(listed)?.file(&file.object).await.map_err(SourceError::lasting)
    }

    pub(super) fn access(&self, listed: &Listed) -> Result<Access, AccessError> {
        let repository = self.repository(listed).map_err(|error| AccessError::Credential(error.what))?;
        Ok(Access { repository, remote: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn checkouts_are_found_beside_and_below_each_other() {
        let top = tempfile::tempdir().unwrap();
        let owner = top.path().join("lab");
        for path in ["one/.git", "team/two/.git", "bare.git/objects", "not/a/repo/.git", ".hidden/.git"] {
            std::fs::create_dir_all(owner.join(path)).unwrap();
        }
        std::fs::write(owner.join("bare.git/HEAD"), "ref: refs/heads/main\n").unwrap();
        let worktree = owner.join("one-more");
        std::fs::create_dir_all(owner.join("one/.git/worktrees/more")).unwrap();
        std::fs::write(owner.join("one/.git/worktrees/more/commondir"), "../..\n").unwrap();
        std::fs::create_dir_all(&worktree).unwrap();
        let pointer = format!("gitdir: {}\n", owner.join("one/.git/worktrees/more").display());
        std::fs::write(worktree.join(".git"), pointer).unwrap();
        let mut report = Report::default();
        let (host, other) = (PeerId::from_bytes([1; 32]), PeerId::from_bytes([2; 32]));
        let at = |folder: PathBuf, host: PeerId| FolderSource::new(folder, None, host);
        let listed = at(owner.clone(), host).list(&mut report).await;
        let names: Vec<&str> = listed.iter().map(|listed| listed.repository.name.as_str()).collect();
        assert_eq!(names, ["lab/bare.git", "lab/one", "team/two"]);
        assert_eq!(report.skipped["a worktree of lab/one"], ["lab/one-more"]);
        let ids: std::collections::BTreeSet<&str> =
            listed.iter().map(|listed| listed.repository.id.as_str()).collect();
        assert_eq!(ids.len(), 3);
        let single = at(owner.join("one"), host).list(&mut report).await;
        assert_eq!(single, [listed[1].clone()], "however it is reached");
        let elsewhere = at(owner.join("one"), other).list(&mut report).await;
        assert_ne!(elsewhere[0].repository.id, single[0].repository.id, "another host's is another one");
        let through = at(worktree, host).list(&mut report).await;
        assert_eq!(through[0].repository.id, single[0].repository.id);
        assert!(!report.failed);
        at(owner.join("gone"), host).list(&mut report).await;
        assert!(report.failed && report.problems[0].what.contains("cannot be listed"));
    }
}
