//! A folder of the disk as repositories: `owner/name/...` becomes the repository `owner/name` with one commit.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path};

use super::{Entry, RepositoryOptions, Standin};

/// What git keeps for itself.
const GIT: &str = ".git";

impl Standin {
    /// Makes a repository of every `owner/name` below a folder and pushes what is in it to `main`. Their names, in order.
    ///
    /// A repository that is there already gets the files on top. Folders named `.git` are left out.
    pub fn load_folder(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut loaded = Vec::new();
        for owner in names(folder)? {
            for name in names(&folder.join(&owner))? {
                let mut found = Vec::new();
                collect(&folder.join(&owner).join(&name), "", &mut found)?;
                let full_name = format!("{owner}/{name}");
                let is_new = { self.state().repository_id(&full_name).is_err() };
                if is_new {
                    self.add_repository(&full_name, &RepositoryOptions::default());
                }
                if !found.is_empty() {
                    let changes: Vec<(&str, Entry)> =
                        found.iter().map(|(path, entry)| (path.as_str(), entry.clone())).collect();
                    self.push_entries(&full_name, "main", &changes, "Files of the fixture");
                }
                loaded.push(full_name);
            }
        }
        Ok(loaded)
    }
}

/// Folders in a folder, in order.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn collect(folder: &Path, prefix: &str, found: &mut Vec<(String, Entry)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let (path, kind) = (format!("{prefix}{name}"), entry.file_type()?);
        if kind.is_dir() {
            if name != GIT {
                collect(&entry.path(), &format!("{path}/"), found)?;
            }
        } else if kind.is_symlink() {
            let target = fs::read_link(entry.path())?;
            found.push((path, Entry::Symlink(target.to_string_lossy().into_owned())));
        } else {
            let bytes = fs::read(entry.path())?;
            let is_executable = entry.metadata()?.permissions().mode() & 0o111 != 0;
            found.push((path, if is_executable { Entry::Executable(bytes) } else { Entry::File(bytes) }));
        }
    }
    Ok(())
}
