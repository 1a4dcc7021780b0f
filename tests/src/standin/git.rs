//! The git side of a repository: objects, references, pushes.
//!
//! Objects and references live in memory and carry git's own names; [`GitRepository::folder`] writes them into a bare repository
//! for `git http-backend`. So a thousand repositories cost milliseconds, and only those that are cloned touch the disk.
//!
//! Invariants: a reference points to an object of its repository; a folder on disk never lags behind what an answer said.

mod folder;
pub(crate) mod http;
pub(crate) mod object;
mod sha1;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use hyper::body::Bytes;

use folder::Folder;
use object::{Commit, Kind, Mode, ObjectId, Objects, TreeEntry};

/// What a push puts at a path.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A file.
    File(Vec<u8>),
    /// A file that may be executed.
    Executable(Vec<u8>),
    /// A link and where it points.
    Symlink(String),
    /// Another repository at a commit, 40 hexadecimal digits.
    Submodule(String),
    /// Nothing: the path goes.
    Removed,
}

/// Who wrote a commit, when, and why.
#[derive(Debug, Clone)]
pub(crate) struct Note<'a> {
    pub(crate) author: &'a str,
    pub(crate) seconds: u64,
    pub(crate) message: &'a str,
}

/// One repository's references and the objects it may show.
#[derive(Debug)]
pub(crate) struct GitRepository {
    references: BTreeMap<String, ObjectId>,
    owned: BTreeSet<ObjectId>,
    head: String,
    on_disk: Option<Folder>,
}

impl GitRepository {
    pub(crate) fn new(head: &str) -> Self {
        Self { references: BTreeMap::new(), owned: BTreeSet::new(), head: head.to_owned(), on_disk: None }
    }

    /// The default branch.
    pub(crate) fn head(&self) -> &str {
        &self.head
    }

    pub(crate) fn set_head(&mut self, branch: &str) {
        self.head = branch.to_owned();
    }

    /// Full names and what they point to.
    pub(crate) fn references(&self) -> &BTreeMap<String, ObjectId> {
        &self.references
    }

    pub(crate) fn reference(&self, name: &str) -> Option<ObjectId> {
        self.references.get(name).copied()
    }

    pub(crate) fn branch(&self, name: &str) -> Option<ObjectId> {
        self.reference(&format!("refs/heads/{name}"))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.references.is_empty()
    }

    /// Whether an object belongs to this repository.
    pub(crate) fn owns(&self, id: ObjectId) -> bool {
        self.owned.contains(&id)
    }

    pub(crate) fn set_reference(&mut self, name: &str, id: ObjectId) {
        self.references.insert(name.to_owned(), id);
    }

    /// What the reference pointed to.
    pub(crate) fn delete_reference(&mut self, name: &str) -> Option<ObjectId> {
        self.references.remove(name)
    }

    /// The commit that a branch, tag, reference, full or short id, or `HEAD` names.
    pub(crate) fn resolve(&self, objects: &Objects, revision: &str) -> Option<ObjectId> {
        let named = [
            revision.to_owned(),
            format!("refs/{revision}"),
            format!("refs/heads/{revision}"),
            format!("refs/tags/{revision}"),
        ];
        let found = if revision == "HEAD" {
            self.branch(&self.head)
        } else {
            named.iter().find_map(|name| self.reference(name)).or_else(|| self.by_id(revision))
        };
        objects.peeled(found?)
    }

    fn by_id(&self, text: &str) -> Option<ObjectId> {
        if let Ok(id) = text.parse::<ObjectId>() {
            return self.owns(id).then_some(id);
        }
        let is_short = text.len() >= 7 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut matches = self.owned.iter().filter(|id| is_short && id.to_string().starts_with(text));
        matches.next().copied().filter(|_| matches.next().is_none())
    }

    /// Adds a commit to a branch, with its changes on top of the branch's tree or of nothing.
    pub(crate) fn commit(
        &mut self,
        objects: &mut Objects,
        branch: &str,
        onto: Option<ObjectId>,
        changes: &[(&str, Entry)],
        note: &Note<'_>,
    ) -> ObjectId {
        let base = onto.and_then(|id| objects.commit(id)).map(|commit| commit.tree);
        let by_path: Vec<(Vec<&str>, &Entry)> = changes
            .iter()
            .map(|(path, entry)| (path.split('/').filter(|part| !part.is_empty()).collect(), entry))
            .collect();
        let tree = match self.changed(objects, base, &by_path, 0) {
            Some(tree) => tree,
            None => self.own(objects.add_tree(Vec::new())),
        };
        let email = format!("{}@users.noreply.github.com", note.author);
        let commit = Commit {
            tree,
            parents: onto.into_iter().collect(),
            author: note.author.to_owned(),
            email,
            seconds: note.seconds,
            message: note.message.to_owned(),
        };
        let id = self.own(objects.add_commit(&commit));
        self.set_reference(&format!("refs/heads/{branch}"), id);
        id
    }

    fn own(&mut self, id: ObjectId) -> ObjectId {
        self.owned.insert(id);
        id
    }

    /// The tree with its changes; `None` when nothing is left in it. Paths count from `depth`.
    fn changed(
        &mut self,
        objects: &mut Objects,
        tree: Option<ObjectId>,
        changes: &[(Vec<&str>, &Entry)],
        depth: usize,
    ) -> Option<ObjectId> {
        let old = tree.map(|tree| objects.tree(tree)).unwrap_or_default();
        let mut entries: BTreeMap<String, TreeEntry> =
            old.into_iter().map(|entry| (entry.name.clone(), entry)).collect();
        let mut below: BTreeMap<&str, Vec<(Vec<&str>, &Entry)>> = BTreeMap::new();
        for (path, entry) in changes {
            let Some(name) = path.get(depth) else { continue };
            if path.len() > depth + 1 {
                below.entry(name).or_default().push((path.clone(), entry));
                continue;
            }
            match self.added(objects, entry) {
                Some((mode, id)) => {
                    entries.insert((*name).to_owned(), TreeEntry { mode, name: (*name).to_owned(), id });
                }
                None => {
                    entries.remove(*name);
                }
            }
        }
        for (name, changes) in below {
            let inner = entries.get(name).filter(|entry| entry.mode == Mode::Directory).map(|entry| entry.id);
            match self.changed(objects, inner, &changes, depth + 1) {
                Some(id) => {
                    let entry = TreeEntry { mode: Mode::Directory, name: name.to_owned(), id };
                    entries.insert(name.to_owned(), entry);
                }
                None => {
                    entries.remove(name);
                }
            }
        }
        if entries.is_empty() {
            return None;
        }
        let id = objects.add_tree(entries.into_values().collect());
        Some(self.own(id))
    }

    fn added(&mut self, objects: &mut Objects, entry: &Entry) -> Option<(Mode, ObjectId)> {
        let (mode, content) = match entry {
            Entry::File(content) => (Mode::File, content.clone()),
            Entry::Executable(content) => (Mode::Executable, content.clone()),
            Entry::Symlink(target) => (Mode::Symlink, target.clone().into_bytes()),
            // the commit belongs to another repository
            Entry::Submodule(id) => return id.parse().ok().map(|id| (Mode::Submodule, id)),
            Entry::Removed => return None,
        };
        let id = objects.add(Kind::Blob, Bytes::from(content));
        Some((mode, self.own(id)))
    }

    /// Adds a tag to a commit: a reference, or an object of its own when annotated.
    pub(crate) fn tag(
        &mut self,
        objects: &mut Objects,
        name: &str,
        target: ObjectId,
        annotated_at: Option<u64>,
    ) {
        let id = match annotated_at {
            Some(seconds) => self.own(objects.add_tag(name, target, seconds)),
            None => target,
        };
        self.set_reference(&format!("refs/tags/{name}"), id);
    }

    /// A bare repository on disk that says what this one says.
    pub(crate) fn folder(&mut self, objects: &Objects, path: impl FnOnce() -> PathBuf) -> io::Result<&Path> {
        let mut folder = match self.on_disk.take() {
            Some(folder) => folder,
            None => Folder::create(path())?,
        };
        folder.write(objects, &self.owned, &self.references, &self.head)?;
        Ok(self.on_disk.insert(folder).path())
    }
}
