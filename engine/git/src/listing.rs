//! What git lists: refs with their commits, and the entries of a tree.

use std::collections::BTreeMap;

use crate::GitError;

/// Refs in one list.
const REFS_MAX: usize = 50_000;

/// Why a list of refs cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RefsError {
    /// A line is not `commit ref`.
    #[error("line {0} is not a commit and a ref")]
    Line(usize),
    /// There are too many.
    #[error("more than {REFS_MAX} refs")]
    TooMany,
}

/// Branches and tags with the commits they lead to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Refs {
    /// By full name, such as `refs/heads/main`: the commit, in hexadecimal digits.
    pub commits: BTreeMap<String, String>,
    /// The branch that is checked out, or the default branch, as a full name, if it is known.
    pub head: Option<String>,
}

/// Whether a text is a commit id as git writes it.
pub(crate) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl Refs {
    /// The commit of the head.
    pub fn head_commit(&self) -> Option<&str> {
        self.commits.get(self.head.as_ref()?).map(String::as_str)
    }

    /// As the lines that members share: `commit ref`, ascending by ref.
    pub fn to_lines(&self) -> String {
        self.commits.iter().map(|(name, commit)| format!("{commit} {name}\n")).collect()
    }

    /// Reads such lines back.
    ///
    /// # Errors
    /// [`RefsError`]: others wrote them.
    pub fn from_lines(text: &str) -> Result<Self, RefsError> {
        let mut refs = Self::default();
        for (number, line) in text.lines().enumerate() {
            let parts = line.split_once(' ').filter(|(commit, name)| is_commit(commit) && is_ref(name));
            let (commit, name) = parts.ok_or(RefsError::Line(number + 1))?;
            refs.commits.insert(name.to_owned(), commit.to_owned());
            if refs.commits.len() > REFS_MAX {
                return Err(RefsError::TooMany);
            }
        }
        Ok(refs)
    }

    /// Reads `commit<TAB>ref`, as `ls-remote --symref` prints it: peeled tags stand for themselves, the head's branch comes first.
    pub(crate) fn from_remote(text: &str) -> Result<Self, GitError> {
        let odd = |what: String| GitError::Odd { command: "ls-remote".to_owned(), what };
        let mut refs = Self::default();
        for line in text.lines() {
            let (left, name) =
                line.split_once('\t').ok_or_else(|| odd(format!("the line `{}`", cut(line))))?;
            if let Some(branch) = left.strip_prefix("ref: ") {
                if name == "HEAD" && is_ref(branch) {
                    refs.head = Some(branch.to_owned());
                }
                continue;
            }
            if !is_commit(left) {
                return Err(odd(format!("the commit `{}`", cut(left))));
            }
            let name = name.strip_suffix("^{}").unwrap_or(name);
            // others, such as refs/pull, are nobody's branches or tags
            if is_ref(name) {
                refs.commits.insert(name.to_owned(), left.to_owned());
            }
            if refs.commits.len() > REFS_MAX {
                return Err(odd(format!("more than {REFS_MAX} refs")));
            }
        }
        Ok(refs)
    }
}

fn is_ref(name: &str) -> bool {
    let short = name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/"));
    short.is_some_and(|short| !short.is_empty())
        && name.len() <= 255
        && !name.bytes().any(|b| b <= b' ' || b == 0x7f)
}

/// A message of others, short enough for one of ours.
pub(crate) fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

/// An entry of a tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TreeEntry {
    /// Its path from the top of the repository.
    pub path: String,
    /// `100644`, `100755`, `120000` for a symbolic link, `160000` for a submodule, `040000` for a folder.
    pub mode: String,
    /// Its object.
    pub object: String,
    /// Bytes of a file.
    pub size: Option<u64>,
}

impl TreeEntry {
    /// Whether it is a file, neither link nor folder.
    pub fn is_file(&self) -> bool {
        self.mode.starts_with("100")
    }

    /// Reads what `ls-tree -z -l` prints. Paths that are no text are left out: no workflow has one.
    pub(crate) fn list(answer: &[u8]) -> Result<Vec<Self>, GitError> {
        let odd =
            || GitError::Odd { command: "ls-tree".to_owned(), what: "an entry without its parts".to_owned() };
        let mut entries = Vec::new();
        for entry in answer.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()) {
            let at = entry.iter().position(|byte| *byte == b'\t').ok_or_else(odd)?;
            let (facts, path) = entry.split_at(at);
            let facts = String::from_utf8_lossy(facts);
            let mut facts = facts.split_ascii_whitespace();
            let (Some(mode), Some(_), Some(object), Some(size)) =
                (facts.next(), facts.next(), facts.next(), facts.next())
            else {
                return Err(odd());
            };
            let Some(path) = path.get(1..).and_then(|path| std::str::from_utf8(path).ok()) else { continue };
            entries.push(Self {
                path: path.to_owned(),
                mode: mode.to_owned(),
                object: object.to_owned(),
                size: size.parse().ok(),
            });
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    #[test]
    fn refs_survive_their_lines_and_others_lines_are_checked() {
        let commits = [("refs/heads/main", A), ("refs/tags/v1", B)];
        let commits =
            commits.into_iter().map(|(name, commit)| (name.to_owned(), commit.to_owned())).collect();
        let refs = Refs { commits, head: None };
        assert_eq!(Refs::from_lines(&refs.to_lines()), Ok(refs));
        assert_eq!(Refs::from_lines(&format!("{A} refs/heads/a\nx refs/heads/b\n")), Err(RefsError::Line(2)));
        assert_eq!(Refs::from_lines(&format!("{A} HEAD")), Err(RefsError::Line(1)));
        assert_eq!(Refs::from_lines(&format!("{A} refs/heads/\u{7}")), Err(RefsError::Line(1)));
    }

    #[test]
    fn a_remote_names_its_head_and_peels_its_tags() {
        let text = format!(
            "ref: refs/heads/main\tHEAD\n{A}\tHEAD\n{A}\trefs/heads/main\n{A}\trefs/pull/1/head\n{B}\trefs/tags/v1\n{A}\trefs/tags/v1^{{}}\n"
        );
        let refs = Refs::from_remote(&text).unwrap();
        assert_eq!(refs.head_commit(), Some(A));
        assert_eq!(refs.commits.keys().collect::<Vec<_>>(), ["refs/heads/main", "refs/tags/v1"]);
        assert_eq!(refs.commits["refs/tags/v1"], A);
        let odd =
            Refs::from_remote("ref: --exec=x\tHEAD\nref: refs/heads/a\trefs/remotes/origin/HEAD\n").unwrap();
        assert_eq!(odd.head, None);
        assert!(Refs::from_remote("<html>").is_err() && Refs::from_remote("z\trefs/heads/a").is_err());
    }

    #[test]
    fn a_tree_is_read_with_sizes_and_odd_names() {
        let answer = format!(
            "100644 blob {A}      12\tdir/a b.yml\0120000 blob {B}       3\tlink\0040000 tree {B}       -\tsub\0"
        );
        let entries = TreeEntry::list(answer.as_bytes()).unwrap();
        assert_eq!(entries.iter().map(TreeEntry::is_file).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(
            (entries[0].path.as_str(), entries[0].size, entries[2].size),
            ("dir/a b.yml", Some(12), None)
        );
        assert!(TreeEntry::list(b"nonsense\0").is_err());
    }
}
