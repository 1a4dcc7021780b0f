//! A folder of git checkouts, taken for an owner. Nothing is asked of any host.
//!
//! Repositories are the folder itself if it is one, else those directly in it, else those one folder deeper (`owner/name`).

use std::path::{Path, PathBuf};

use wfengine_git::{Git, Repository};
use wfengine_storage_format::RepositoryRef;

use super::{Access, AccessError, FileSeen, Listed, Look, SourceError};
use crate::report::Report;
use crate::verdict::{FOLDERS, is_workflow_path};

/// Repositories of one folder at most.
const REPOSITORIES_MAX: usize = 10_000;

/// A folder of checkouts.
#[derive(Clone, Debug)]
pub struct FolderSource {
    folder: PathBuf,
    git: Option<Git>,
}

/// Whether a folder is a checkout, a worktree or a bare repository.
fn is_repository(folder: &Path) -> bool {
    folder.join(".git").exists() || (folder.join("HEAD").is_file() && folder.join("objects").is_dir())
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
    /// A folder. Its path should be absolute.
    pub fn new(folder: PathBuf, git: Option<Git>) -> Self {
        Self { folder, git }
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
        let owner = text(&self.folder);
        let listed = found.into_iter().map(|(path, id)| {
            let name = if id.contains('/') { id.clone() } else { format!("{owner}/{id}") };
            let id = if id == owner { id } else { format!("{owner}/{id}") };
            Listed {
                repository: RepositoryRef { source: "path".to_owned(), id, name },
                default_branch: None,
                pushed_s: None,
                folder: Some(path),
            }
        });
        let fits = |listed: &Listed| listed.repository.id.len() <= 250 && listed.repository.name.len() <= 250;
        let mut listed: Vec<Listed> = listed.filter(fits).collect();
        for listed in &mut listed {
            listed.pushed_s = self.last_commit_s(listed).await;
        }
        listed
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

    /// Folders with their paths under this one.
    fn repositories(&self) -> std::io::Result<Vec<(PathBuf, String)>> {
        if is_repository(&self.folder) {
            return Ok(vec![(self.folder.clone(), text(&self.folder))]);
        }
        let mut found = Vec::new();
        for child in folders(&self.folder)? {
            if is_repository(&child) {
                let id = text(&child);
                found.push((child, id));
                continue;
            }
            // a folder that cannot be read is not a checkout of ours
            for grandchild in folders(&child).unwrap_or_default() {
                if is_repository(&grandchild) {
                    let id = format!("{}/{}", text(&child), text(&grandchild));
                    found.push((grandchild, id));
                }
            }
        }
        found.truncate(REPOSITORIES_MAX);
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
        let mut report = Report::default();
        let listed = FolderSource::new(owner.clone(), None).list(&mut report).await;
        let names: Vec<(&str, &str)> = listed
            .iter()
            .map(|listed| (listed.repository.id.as_str(), listed.repository.name.as_str()))
            .collect();
        assert_eq!(
            names,
            [("lab/bare.git", "lab/bare.git"), ("lab/one", "lab/one"), ("lab/team/two", "team/two")]
        );
        let single = FolderSource::new(owner.join("one"), None).list(&mut report).await;
        assert_eq!((single[0].repository.id.as_str(), single.len()), ("one", 1));
        assert!(!report.failed);
        FolderSource::new(owner.join("gone"), None).list(&mut report).await;
        assert!(report.failed && report.problems[0].what.contains("cannot be listed"));
    }
}
