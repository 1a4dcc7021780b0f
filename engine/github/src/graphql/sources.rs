//! Repositories with the texts of their workflow files, as the three queries bring them.
//!
//! Like the models of REST: nothing but names and ids is required, and an entry that cannot be read does not lose its page.

use serde::Deserialize;

use crate::{
    client::Entry,
    models::{EntryKind, Visibility, or_default},
};

/// A repository with its two folders of workflows, at the last commit of its default branch.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepositorySources {
    /// The id in GraphQL.
    pub id: String,
    /// The id in REST.
    #[serde(default)]
    pub database_id: Option<u64>,
    /// `owner/name`.
    #[serde(rename = "nameWithOwner")]
    pub full_name: String,
    /// Who may see it.
    #[serde(default, deserialize_with = "visibility")]
    pub visibility: Option<Visibility>,
    /// Nobody can change it any more.
    #[serde(default, deserialize_with = "or_default")]
    pub is_archived: bool,
    /// GitHub switched it off.
    #[serde(default, deserialize_with = "or_default")]
    pub is_disabled: bool,
    /// It has no commit.
    #[serde(default, deserialize_with = "or_default")]
    pub is_empty: bool,
    /// A copy of another one.
    #[serde(default, deserialize_with = "or_default")]
    pub is_fork: bool,
    /// The last push to any branch, RFC 3339.
    #[serde(default)]
    pub pushed_at: Option<String>,
    /// The branch that `HEAD` names, with its last commit.
    #[serde(default, rename = "defaultBranchRef")]
    pub default_branch: Option<BranchHead>,
    /// `.github/workflows`.
    #[serde(default, deserialize_with = "folder")]
    pub github: Option<SourceFolder>,
    /// `.wfengine/workflows`.
    #[serde(default, deserialize_with = "folder")]
    pub own: Option<SourceFolder>,
    /// GitHub said that something of it could not be had, so what seems absent may be there.
    #[serde(skip)]
    pub has_holes: bool,
}

impl RepositorySources {
    /// Whether everything in both folders came.
    pub fn is_whole(&self) -> bool {
        let folders = [&self.github, &self.own];
        !self.has_holes && folders.into_iter().flatten().all(|folder| folder.unreadable == 0)
    }
}

/// A branch and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct BranchHead {
    /// Its name.
    pub name: String,
    /// Its last commit.
    #[serde(default)]
    target: Option<Target>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Target {
    oid: String,
}

impl BranchHead {
    /// Its last commit.
    pub fn sha(&self) -> Option<&str> {
        self.target.as_ref().map(|target| target.oid.as_str())
    }
}

/// A folder with its files, not those of folders inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFolder {
    /// The id of the tree.
    pub tree_sha: String,
    /// What is in it.
    pub entries: Vec<SourceEntry>,
    /// Entries that could not be read.
    pub unreadable: u32,
}

/// An entry of such a folder.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SourceEntry {
    /// Its name.
    pub name: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: EntryKind,
    /// `0o100644`, `0o120000` for a symbolic link, …
    #[serde(default, deserialize_with = "or_default")]
    pub mode: u32,
    /// The id of the blob.
    #[serde(rename = "oid")]
    pub sha: String,
    #[serde(default)]
    object: Option<SourceText>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SourceText {
    #[serde(default)]
    byte_size: Option<u64>,
    #[serde(default)]
    is_binary: Option<bool>,
    #[serde(default, deserialize_with = "or_default")]
    is_truncated: bool,
    #[serde(default)]
    text: Option<String>,
}

impl SourceEntry {
    /// The whole text. `None` for what is no file, is binary, or was cut: its blob has to be fetched over REST.
    pub fn text(&self) -> Option<&str> {
        let object =
            self.object.as_ref().filter(|object| !object.is_truncated && object.is_binary != Some(true))?;
        let text = object.text.as_deref()?;
        // a text whose bytes were no UTF-8 comes changed
        object.byte_size.is_none_or(|size| size == text.len() as u64).then_some(text)
    }

    /// Its length.
    pub fn bytes(&self) -> Option<u64> {
        self.object.as_ref().and_then(|object| object.byte_size)
    }

    /// GitHub takes it for no text.
    pub fn is_binary(&self) -> bool {
        self.object.as_ref().is_some_and(|object| object.is_binary == Some(true))
    }
}

/// GraphQL shouts what REST says quietly.
fn visibility<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Visibility>, D::Error> {
    let text: Option<String> = Deserialize::deserialize(deserializer)?;
    Ok(text.map(|text| Visibility::from(text.to_ascii_lowercase().as_str())))
}

/// A path may name a file or a submodule; then it is no folder.
fn folder<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<SourceFolder>, D::Error> {
    #[derive(Deserialize)]
    struct Object {
        #[serde(default)]
        oid: Option<String>,
        #[serde(default)]
        entries: Option<Vec<Entry<SourceEntry>>>,
    }
    let object: Option<Object> = Deserialize::deserialize(deserializer)?;
    Ok(object.and_then(|object| {
        let mut unreadable = 0;
        let read = |entry| match entry {
            Entry::Read(entry) => Some(entry),
            Entry::Unreadable(_) => {
                unreadable += 1;
                None
            }
        };
        let entries = object.entries?.into_iter().filter_map(read).collect();
        Some(SourceFolder { tree_sha: object.oid?, entries, unreadable })
    }))
}
