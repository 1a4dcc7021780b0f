//! What is in a repository: trees, blobs, folders, branches, commits.

use data_encoding::BASE64;
use serde::{Deserialize, Deserializer, de::Error};

use super::{open::or_default, open_enum};

open_enum! {
    /// What an entry of a tree is.
    EntryKind {
        /// A file or a symbolic link.
        Blob = "blob",
        /// A folder.
        Tree = "tree",
        /// A submodule.
        Commit = "commit",
    }
}

open_enum! {
    /// What an entry of a folder is.
    ContentKind {
        /// A file.
        File = "file",
        /// A folder.
        Dir = "dir",
        /// A symbolic link.
        Symlink = "symlink",
        /// A submodule.
        Submodule = "submodule",
    }
}

/// An entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TreeEntry {
    /// The path under the tree.
    pub path: String,
    /// `100644`, `100755`, `120000`, `040000` or `160000`.
    #[serde(default, deserialize_with = "or_default")]
    pub mode: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: EntryKind,
    /// Its id.
    #[serde(default)]
    pub sha: Option<String>,
    /// Bytes of a file.
    #[serde(default)]
    pub size: Option<u64>,
}

/// A tree.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Tree {
    /// Its id.
    pub sha: String,
    /// What is in it.
    #[serde(default, deserialize_with = "or_default")]
    pub tree: Vec<TreeEntry>,
    /// There was more than GitHub sends at once: fetch the folders one by one.
    #[serde(default, deserialize_with = "or_default")]
    pub truncated: bool,
}

/// A blob with its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Blob {
    /// Its id.
    pub sha: String,
    /// Its length.
    #[serde(default)]
    pub size: Option<u64>,
    /// Its bytes, decoded.
    #[serde(flatten)]
    pub content: Bytes,
}

/// Bytes as GitHub sends them inside JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Encoded {
            content: String,
            #[serde(default)]
            encoding: Option<String>,
        }
        let Encoded { content, encoding } = Deserialize::deserialize(deserializer)?;
        match decoded(&content, encoding.as_deref()).map_err(D::Error::custom)? {
            Some(bytes) => Ok(Self(bytes)),
            None => Err(D::Error::custom("a blob without its content")),
        }
    }
}

/// The bytes of a content; `None` where GitHub left them out because they are too many.
fn decoded(content: &str, encoding: Option<&str>) -> Result<Option<Vec<u8>>, &'static str> {
    match encoding {
        Some("base64") => {
            let packed: Vec<u8> = content.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
            BASE64.decode(&packed).map(Some).map_err(|_| "content that is not base64")
        }
        Some("utf-8") => Ok(Some(content.as_bytes().to_vec())),
        Some("none") | None => Ok(None),
        Some(_) => Err("content in an unknown encoding"),
    }
}

/// An entry of a folder, or a file with its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ContentEntry {
    /// The name without the folder.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// The path from the top of the repository.
    pub path: String,
    /// Its id.
    #[serde(default, deserialize_with = "or_default")]
    pub sha: String,
    /// Bytes of a file.
    #[serde(default)]
    pub size: Option<u64>,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: ContentKind,
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    encoding: Option<String>,
}

impl ContentEntry {
    /// The bytes of a file; `None` for an entry of a folder, and for a file above 1 MB, whose blob has to be fetched.
    pub fn bytes(&self) -> Result<Option<Vec<u8>>, &'static str> {
        match &self.content {
            Some(content) => decoded(content, self.encoding.as_deref()),
            None => Ok(None),
        }
    }
}

/// A commit, as far as it names its tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Commit {
    /// Its id.
    #[serde(default, deserialize_with = "or_default")]
    pub sha: String,
    /// The commit inside.
    #[serde(default, deserialize_with = "or_default")]
    commit: Inner,
    /// The commits before it.
    #[serde(default, deserialize_with = "or_default")]
    pub parents: Vec<Parent>,
}

/// One commit before another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Parent {
    /// Its id.
    #[serde(default, deserialize_with = "or_default")]
    pub sha: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Inner {
    #[serde(default)]
    message: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    tree: Parent,
}

impl Commit {
    /// The id of its tree.
    pub fn tree_sha(&self) -> Option<&str> {
        Some(self.commit.tree.sha.as_str()).filter(|sha| !sha.is_empty())
    }

    /// What its author wrote.
    pub fn message(&self) -> Option<&str> {
        self.commit.message.as_deref()
    }
}

/// A branch.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Branch {
    /// Its name.
    pub name: String,
    /// Its last commit.
    #[serde(default, deserialize_with = "or_default")]
    pub commit: Commit,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_comes_in_lines_of_base64() {
        let blob: Blob = serde_json::from_str(
            r#"{"sha":"a","size":5,"encoding":"base64","content":"aGVs\nbG8=\n","new":1}"#,
        )
        .expect("a blob");
        assert_eq!(blob.content.0, b"hello");
        let wrong = r#"{"sha":"a","encoding":"base64","content":"%"}"#;
        assert!(serde_json::from_str::<Blob>(wrong).is_err());
    }

    #[test]
    fn a_large_file_comes_without_its_bytes() {
        let text = r#"{"path":"a","sha":"b","type":"file","size":2000000,"content":"","encoding":"none"}"#;
        let entry: ContentEntry = serde_json::from_str(text).expect("an entry");
        assert_eq!(entry.bytes(), Ok(None));
    }
}
