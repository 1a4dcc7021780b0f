//! Folders that a user of the tests names in the environment.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The folder that a variable names, or `None` when the variable is not set. A relative one counts from the top of the
/// workspace, wherever the test of a package runs.
///
/// Panics when it was asked for and is not there: that is an error, not a missing part.
pub(crate) fn folder(variable: &str) -> Option<PathBuf> {
    let named = env::var_os(variable)?;
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = package.ancestors().find(|folder| folder.join("Cargo.lock").is_file()).unwrap_or(package);
    let folder = workspace.join(named);
    assert!(folder.is_dir(), "{variable} names no folder: {}", folder.display());
    Some(folder)
}
