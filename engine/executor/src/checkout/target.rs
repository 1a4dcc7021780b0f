//! The folder of a checkout: found without following a link, made where it is missing, emptied where that is allowed.
//!
//! Invariants: nothing outside of the workspace is made or removed; nothing is ever removed from a folder that was lent.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::folders::remove_tree;

/// Why a folder cannot take a checkout.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    /// It, or a folder above it, is something else.
    #[error(
        "{path} is {found}: a checkout goes into folders only and follows no link out of the workspace; remove it, or choose another `path`"
    )]
    InTheWay {
        /// What stands there.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// It cannot be made, read or emptied.
    #[error("{path}: {source}")]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn failed(path: &Path) -> impl Fn(io::Error) -> TargetError {
    let path = path.to_owned();
    move |source| TargetError::Io { path: path.clone(), source }
}

/// Where a job's steps start, and whose it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub(crate) workspace: &'a Path,
    /// Somebody else's folder, to be left as it was but for what is asked for.
    pub(crate) is_lent: bool,
}

impl Ground<'_> {
    /// Finds the folder `relative`, whose parts are names, and makes what is missing of it.
    pub(super) fn folder(&self, relative: &str) -> Result<PathBuf, TargetError> {
        let mut path = self.workspace.to_owned();
        // people may reach their own folder through a link; one that was made for the job can only have become one
        if !self.is_lent {
            make(&path)?;
        }
        for part in relative.split('/').filter(|part| !part.is_empty()) {
            path.push(part);
            make(&path)?;
        }
        Ok(path)
    }
}

fn make(path: &Path) -> Result<(), TargetError> {
    let in_the_way = |found| Err(TargetError::InTheWay { path: path.to_owned(), found });
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(metadata) if metadata.is_symlink() => in_the_way("a link"),
        Ok(_) => in_the_way("no folder"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir(path).map_err(failed(path)),
        Err(error) => Err(failed(path)(error)),
    }
}

pub(super) fn is_empty(folder: &Path) -> Result<bool, TargetError> {
    Ok(fs::read_dir(folder).map_err(failed(folder))?.next().is_none())
}

/// Whether there is a `.git` that is a folder and not something that leads elsewhere.
pub(super) fn holds_repository(folder: &Path) -> bool {
    fs::symlink_metadata(folder.join(".git")).is_ok_and(|metadata| metadata.is_dir())
}

/// Removes everything in a folder, and no folder that a link in it leads to.
pub(super) fn clear(folder: &Path) -> Result<(), TargetError> {
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        let is_folder = fs::symlink_metadata(&path).map_err(failed(&path))?.is_dir();
        let removed = if is_folder { remove_tree(&path) } else { fs::remove_file(&path) };
        removed.map_err(failed(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn ground(workspace: &Path, is_lent: bool) -> Ground<'_> {
        Ground { workspace, is_lent }
    }

    #[test]
    fn folders_are_made_and_links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let (workspace, outside) = (root.path().join("w"), root.path().join("outside"));
        fs::create_dir(&outside).unwrap();
        let ground = ground(&workspace, false);
        assert_eq!(ground.folder("a/b").unwrap(), workspace.join("a/b"));
        assert!(workspace.join("a/b").is_dir());
        assert_eq!(ground.folder("").unwrap(), workspace);
        symlink(&outside, workspace.join("out")).unwrap();
        fs::write(workspace.join("file"), "").unwrap();
        for (relative, found) in [("out", "a link"), ("out/x", "a link"), ("file/x", "no folder")] {
            let error = ground.folder(relative).unwrap_err().to_string();
            assert!(error.contains(found), "{relative}: {error}");
        }
        assert!(is_empty(&outside).unwrap());
    }

    #[test]
    fn a_workspace_may_be_reached_through_a_link_only_if_it_was_lent() {
        let root = tempfile::tempdir().unwrap();
        let (real, link) = (root.path().join("real"), root.path().join("link"));
        fs::create_dir(&real).unwrap();
        symlink(&real, &link).unwrap();
        assert!(matches!(ground(&link, false).folder("a"), Err(TargetError::InTheWay { .. })));
        assert!(ground(&link, true).folder("a").is_ok() && real.join("a").is_dir());
    }

    #[test]
    fn clearing_removes_links_and_not_what_they_lead_to() {
        let root = tempfile::tempdir().unwrap();
        let (folder, outside) = (root.path().join("f"), root.path().join("outside"));
        fs::create_dir_all(folder.join("deep/er")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "").unwrap();
        symlink(&outside, folder.join("link")).unwrap();
        symlink(outside.join("kept"), folder.join("deep/link")).unwrap();
        fs::write(folder.join(".hidden"), "").unwrap();
        clear(&folder).unwrap();
        assert!(is_empty(&folder).unwrap() && outside.join("kept").exists());
    }

    #[test]
    fn a_git_folder_that_leads_elsewhere_is_none() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/.git")).unwrap();
        fs::create_dir(root.path().join("b")).unwrap();
        fs::write(root.path().join("b/.git"), "gitdir: ../a/.git").unwrap();
        assert!(holds_repository(&root.path().join("a")) && !holds_repository(&root.path().join("b")));
    }
}
