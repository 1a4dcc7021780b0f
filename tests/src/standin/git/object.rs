//! Git's objects: what they are called, how they are written, and all that this process knows.
//!
//! Objects are kept in memory, once for all repositories, because every answer is made of them; a folder that `git` can read is
//! written by [`super::folder`] when somebody clones.

use std::{collections::HashMap, fmt, str::FromStr};

use data_encoding::HEXLOWER_PERMISSIVE;
use hyper::body::Bytes;

use super::sha1::sha1;

/// The name of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectId([u8; 20]);

impl fmt::Display for ObjectId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

/// The text is not 40 hexadecimal digits.
#[derive(Debug)]
pub(crate) struct NotAnId;

impl FromStr for ObjectId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| NotAnId)?;
        bytes.try_into().map(Self).map_err(|_| NotAnId)
    }
}

/// The four kinds of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Blob,
    Tree,
    Commit,
    Tag,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Tree => "tree",
            Self::Commit => "commit",
            Self::Tag => "tag",
        }
    }
}

/// An object as git hashes it, without its header.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) kind: Kind,
    pub(crate) content: Bytes,
}

/// What an entry of a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    File,
    Executable,
    Symlink,
    Directory,
    Submodule,
}

impl Mode {
    /// As the tree holds it and REST shows it, there with a leading zero for directories.
    pub(crate) fn digits(self) -> &'static str {
        match self {
            Self::File => "100644",
            Self::Executable => "100755",
            Self::Symlink => "120000",
            Self::Directory => "40000",
            Self::Submodule => "160000",
        }
    }

    fn of_digits(digits: &[u8]) -> Self {
        match digits {
            b"40000" => Self::Directory,
            b"100755" => Self::Executable,
            b"120000" => Self::Symlink,
            b"160000" => Self::Submodule,
            _ => Self::File,
        }
    }

    /// As GraphQL shows it.
    pub(crate) fn number(self) -> u32 {
        u32::from_str_radix(self.digits(), 8).unwrap_or_default()
    }

    /// The kind of object that it points to.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::File | Self::Executable | Self::Symlink => Kind::Blob,
            Self::Directory => Kind::Tree,
            Self::Submodule => Kind::Commit,
        }
    }
}

/// One line of a tree.
#[derive(Debug, Clone)]
pub(crate) struct TreeEntry {
    pub(crate) mode: Mode,
    pub(crate) name: String,
    pub(crate) id: ObjectId,
}

/// What a commit says.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    pub(crate) tree: ObjectId,
    pub(crate) parents: Vec<ObjectId>,
    pub(crate) author: String,
    pub(crate) email: String,
    pub(crate) seconds: u64,
    pub(crate) message: String,
}

impl Commit {
    fn bytes(&self) -> Vec<u8> {
        use fmt::Write;

        let mut text = format!("tree {}\n", self.tree);
        for parent in &self.parents {
            // writing to a string cannot fail
            let _ = writeln!(text, "parent {parent}");
        }
        let person = format!("{} <{}> {} +0000", self.author, self.email, self.seconds);
        let _ = write!(text, "author {person}\ncommitter {person}\n\n{}\n", self.message);
        text.into_bytes()
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (head, message) = text.split_once("\n\n")?;
        let values = |key: &'static str| {
            head.lines().filter_map(move |line| line.strip_prefix(key)?.strip_prefix(' '))
        };
        let (author, rest) = values("author").next()?.split_once(" <")?;
        let (email, time) = rest.split_once("> ")?;
        Some(Self {
            tree: values("tree").next()?.parse().ok()?,
            parents: values("parent").filter_map(|id| id.parse().ok()).collect(),
            author: author.to_owned(),
            email: email.to_owned(),
            seconds: time.split(' ').next()?.parse().ok()?,
            message: message.trim_end_matches('\n').to_owned(),
        })
    }
}

/// Every object of every repository.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    known: HashMap<ObjectId, Object>,
}

impl Objects {
    pub(crate) fn object(&self, id: ObjectId) -> Option<&Object> {
        self.known.get(&id)
    }

    pub(crate) fn add(&mut self, kind: Kind, content: impl Into<Bytes>) -> ObjectId {
        let content = content.into();
        let header = format!("{} {}\0", kind.name(), content.len());
        let id = ObjectId(sha1(&[header.as_bytes(), &content]));
        self.known.entry(id).or_insert(Object { kind, content });
        id
    }

    /// Sorts the entries as git wants them: a directory counts as if its name ended in a slash.
    pub(crate) fn add_tree(&mut self, mut entries: Vec<TreeEntry>) -> ObjectId {
        let key = |entry: &TreeEntry| {
            let mut name = entry.name.clone().into_bytes();
            if entry.mode == Mode::Directory {
                name.push(b'/');
            }
            name
        };
        entries.sort_by_key(key);
        let mut bytes = Vec::new();
        for entry in &entries {
            bytes.extend_from_slice(entry.mode.digits().as_bytes());
            bytes.push(b' ');
            bytes.extend_from_slice(entry.name.as_bytes());
            bytes.push(0);
            bytes.extend_from_slice(&entry.id.0);
        }
        self.add(Kind::Tree, bytes)
    }

    pub(crate) fn add_commit(&mut self, commit: &Commit) -> ObjectId {
        self.add(Kind::Commit, commit.bytes())
    }

    /// An annotated tag.
    pub(crate) fn add_tag(&mut self, name: &str, target: ObjectId, seconds: u64) -> ObjectId {
        let text = format!(
            "object {target}\ntype commit\ntag {name}\ntagger standin <standin@example.com> {seconds} +0000\n\n{name}\n"
        );
        self.add(Kind::Tag, text)
    }

    /// Entries in git's order; empty for what is no tree.
    pub(crate) fn tree(&self, id: ObjectId) -> Vec<TreeEntry> {
        let Some(object) = self.object(id).filter(|object| object.kind == Kind::Tree) else {
            return Vec::new();
        };
        let mut entries = Vec::new();
        let mut rest: &[u8] = &object.content;
        while let Some(entry) = next_entry(&mut rest) {
            entries.push(entry);
        }
        entries
    }

    pub(crate) fn commit(&self, id: ObjectId) -> Option<Commit> {
        let object = self.object(id).filter(|object| object.kind == Kind::Commit)?;
        Commit::of_bytes(&object.content)
    }

    /// The commit that an annotated tag, or a commit itself, leads to.
    pub(crate) fn peeled(&self, id: ObjectId) -> Option<ObjectId> {
        let object = self.object(id)?;
        match object.kind {
            Kind::Commit => Some(id),
            Kind::Tag => {
                let text = std::str::from_utf8(&object.content).ok()?;
                let target = text.lines().next()?.strip_prefix("object ")?.parse().ok()?;
                self.peeled(target)
            }
            Kind::Blob | Kind::Tree => None,
        }
    }

    /// The entry at a path below a tree.
    pub(crate) fn entry_at(&self, tree: ObjectId, path: &str) -> Option<TreeEntry> {
        let mut found = TreeEntry { mode: Mode::Directory, name: String::new(), id: tree };
        for part in path.split('/').filter(|part| !part.is_empty()) {
            found = self.tree(found.id).into_iter().find(|entry| entry.name == part)?;
        }
        Some(found)
    }

    /// Everything below a tree with its path, directories before what is in them.
    pub(crate) fn walk(&self, tree: ObjectId) -> Vec<(String, TreeEntry)> {
        let mut found = Vec::new();
        self.walk_into(tree, "", &mut found);
        found
    }

    fn walk_into(&self, tree: ObjectId, prefix: &str, found: &mut Vec<(String, TreeEntry)>) {
        for entry in self.tree(tree) {
            let path = format!("{prefix}{}", entry.name);
            let below = (entry.mode == Mode::Directory).then_some(entry.id);
            found.push((path.clone(), entry));
            if let Some(below) = below {
                self.walk_into(below, &format!("{path}/"), found);
            }
        }
    }

    pub(crate) fn blob_length(&self, id: ObjectId) -> usize {
        self.object(id).map_or(0, |object| object.content.len())
    }
}

fn next_entry(rest: &mut &[u8]) -> Option<TreeEntry> {
    let space = rest.iter().position(|byte| *byte == b' ')?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    let id = rest.get(end + 1..end + 21)?.try_into().ok()?;
    let entry = TreeEntry {
        mode: Mode::of_digits(rest.get(..space)?),
        name: String::from_utf8_lossy(rest.get(space + 1..end)?).into_owned(),
        id: ObjectId(id),
    };
    *rest = rest.get(end + 21..)?;
    Some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_have_the_names_that_git_gives_them() {
        let mut objects = Objects::default();
        let blob = objects.add(Kind::Blob, Bytes::from_static(b"hello\n"));
        assert_eq!(blob.to_string(), "ce013625030ba8dba906f756967f9e9ca394464a");
        assert_eq!(objects.add_tree(Vec::new()).to_string(), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
        let entry = |name: &str, mode| TreeEntry { mode, name: name.to_owned(), id: blob };
        let tree = objects.add_tree(vec![entry("b", Mode::Executable), entry("a.txt", Mode::File)]);
        let names: Vec<_> = objects.tree(tree).into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["a.txt", "b"]);
    }

    #[test]
    fn a_commit_is_read_as_it_was_written() {
        let mut objects = Objects::default();
        let tree = objects.add_tree(Vec::new());
        let commit = Commit {
            tree,
            parents: vec![tree],
            author: "Mona".to_owned(),
            email: "mona@example.com".to_owned(),
            seconds: 7,
            message: "one\n\ntwo".to_owned(),
        };
        let id = objects.add_commit(&commit);
        let read = objects.commit(id).expect("a commit");
        assert_eq!((read.message.as_str(), read.seconds, read.parents), ("one\n\ntwo", 7, vec![tree]));
    }
}
