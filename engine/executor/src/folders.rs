//! The folders of one job on disk, and their removal.
//!
//! ```text
//! TEMP_ROOT/job-XXXXXX/        0700, one per job, removed with it
//!   workspace/                 where steps start, unless the caller lent a folder of its own
//!   temp/                      RUNNER_TEMP
//!   tools/                     RUNNER_TOOL_CACHE
//!   files/                     scripts and environment files, the event payload
//! ```
//!
//! Invariant: a folder that was lent is never removed, nor anything in it.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::{
    environment::{JobFolders, path_text},
    process::end_tracked,
};

const PREFIX: &str = "job-";

/// Where the steps of a job start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Workspace {
    /// A new empty folder, removed with the job.
    Fresh,
    /// A folder of the caller, left as the steps leave it. Absolute.
    Lent(PathBuf),
}

#[derive(Debug)]
pub(crate) struct Premises {
    /// `None` once it was removed.
    folder: Option<TempDir>,
    pub(crate) workspace: PathBuf,
    pub(crate) files: PathBuf,
    pub(crate) names: JobFolders,
}

impl Premises {
    pub(crate) fn make(temp_root: &Path, workspace: &Workspace) -> io::Result<Self> {
        fs::create_dir_all(temp_root)?;
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(fs::canonicalize(temp_root)?)?;
        let part = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir(&path).map(|()| path)
        };
        let (temp, tools, files) = (part("temp")?, part("tools")?, part("files")?);
        let workspace = match workspace {
            Workspace::Fresh => part("workspace")?,
            Workspace::Lent(path) if path.is_absolute() && path.is_dir() => path.clone(),
            Workspace::Lent(path) => {
                let text = format!("the workspace {} must be an absolute path of a folder", path.display());
                return Err(io::Error::new(io::ErrorKind::NotADirectory, text));
            }
        };
        let names = JobFolders {
            workspace: path_text(&workspace),
            temp: path_text(&temp),
            tool_cache: path_text(&tools),
            event_file: path_text(&files.join("event.json")),
        };
        Ok(Self { folder: Some(folder), workspace, files, names })
    }

    /// Removes the folders; answers what could not be removed.
    pub(crate) fn remove(&mut self) -> io::Result<()> {
        self.folder.take().map_or(Ok(()), |folder| remove_tree(&folder.keep()))
    }
}

impl Drop for Premises {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

/// After a crash of the node: ends the processes that its former jobs left and removes their folders. To be called before
/// the first job, by the only process that uses `temp_root` and `tracking_prefix`.
pub fn clear_leftovers(temp_root: &Path, tracking_prefix: &str) -> io::Result<()> {
    if !tracking_prefix.is_empty() {
        end_tracked(&format!("{tracking_prefix}_"));
    }
    let entries = match fs::read_dir(temp_root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) && entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a tree in which steps may have taken write permission from folders (module caches do), and in which a process
/// that is just dying may add a last file.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    const TRIES: usize = 5;
    let mut last = Ok(());
    for _ in 0..TRIES {
        last = match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => return Ok(()),
        };
        open_folders(path);
    }
    last
}

fn open_folders(path: &Path) {
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_folders(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_workspace_goes_and_a_lent_one_stays() {
        let root = tempfile::tempdir().unwrap();
        let premises = Premises::make(&root.path().join("new"), &Workspace::Fresh).unwrap();
        let (fresh, folder) = (premises.workspace.clone(), premises.files.parent().unwrap().to_owned());
        assert!(fresh.is_dir());
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        drop(premises);
        assert!(!folder.exists());
        let lent = root.path().join("lent");
        fs::create_dir(&lent).unwrap();
        let premises = Premises::make(root.path(), &Workspace::Lent(lent.clone())).unwrap();
        assert_eq!(premises.workspace, lent);
        drop(premises);
        assert!(lent.is_dir());
        assert!(Premises::make(root.path(), &Workspace::Lent("relative".into())).is_err());
    }

    #[test]
    fn folders_without_write_permission_go_too() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("f"), "").unwrap();
        for path in [&deep, &root.path().join("a")] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o500)).unwrap();
        }
        remove_tree(&root.path().join("a")).unwrap();
        assert!(!root.path().join("a").exists());
    }

    #[test]
    fn leftovers_of_a_crash_are_removed_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        for name in ["job-1/workspace/x", "other"] {
            fs::create_dir_all(root.path().join(name)).unwrap();
        }
        clear_leftovers(root.path(), "").unwrap();
        assert!(!root.path().join("job-1").exists() && root.path().join("other").exists());
        clear_leftovers(&root.path().join("absent"), "").unwrap();
    }
}
