//! `hashFiles(pattern…)` over a job's workspace: SHA-256 over the SHA-256 of every matching file, in the order of paths.
//!
//! Patterns as on GitHub: `*`, `?`, `[a-z]`, `**` for any number of folders, a leading `!` takes away what earlier patterns
//! found, a pattern that names a folder means everything in it. Links to folders are not followed, so a look ends.
//!
//! Invariant: nothing outside the workspace is read.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use wfengine_workflow::HashFiles;

/// Files and folders looked at before it gives up.
const ENTRIES_MAX: usize = 1_000_000;
const DEPTH_MAX: usize = 128;

/// The files of one workspace.
#[derive(Debug)]
pub(crate) struct WorkspaceFiles {
    pub(crate) root: PathBuf,
}

impl HashFiles for WorkspaceFiles {
    fn hash_files(&self, patterns: &[String]) -> Result<String, String> {
        let root =
            fs::canonicalize(&self.root).map_err(|error| format!("the workspace cannot be read: {error}"))?;
        let patterns =
            patterns.iter().flat_map(|text| text.lines()).filter_map(|line| Pattern::read(line, &root));
        let patterns: Vec<_> = patterns.collect();
        let mut walk = Walk { patterns: &patterns, found: BTreeSet::new(), seen: 0 };
        walk.folder(&root, &mut Vec::new())?;
        if walk.found.is_empty() {
            return Ok(String::new());
        }
        let mut whole = Sha256::new();
        for path in &walk.found {
            let one = hash_file(&root.join(path))
                .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
            whole.update(one);
        }
        Ok(data_encoding::HEXLOWER.encode(&whole.finalize()))
    }
}

struct Walk<'a> {
    patterns: &'a [Pattern],
    found: BTreeSet<PathBuf>,
    seen: usize,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, names: &mut Vec<String>) -> Result<(), String> {
        let failed = |error: io::Error| format!("{} cannot be read: {error}", folder.display());
        for entry in fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            self.seen += 1;
            if self.seen > ENTRIES_MAX || names.len() >= DEPTH_MAX {
                return Err(format!(
                    "the workspace has more than {ENTRIES_MAX} entries or {DEPTH_MAX} levels"
                ));
            }
            let kind = entry.file_type().map_err(failed)?;
            names.push(entry.file_name().to_string_lossy().into_owned());
            if kind.is_dir() {
                self.folder(&entry.path(), names)?;
            } else if kind.is_file() && self.wanted(names) {
                self.found.insert(names.iter().collect());
            }
            names.pop();
        }
        Ok(())
    }

    fn wanted(&self, names: &[String]) -> bool {
        let decided =
            |wanted, pattern: &Pattern| if pattern.matches(names) { !pattern.takes_away } else { wanted };
        self.patterns.iter().fold(false, decided)
    }
}

fn hash_file(path: &Path) -> io::Result<[u8; 32]> {
    let (mut file, mut hash, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 64 << 10]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().into()),
            bytes => hash.update(&buffer[..bytes]),
        }
    }
}

struct Pattern {
    takes_away: bool,
    parts: Vec<Vec<char>>,
}

impl Pattern {
    /// `None` for blank lines, comments, and what lies outside the workspace.
    fn read(line: &str, root: &Path) -> Option<Self> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let (takes_away, text) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest.trim()));
        let relative = match text.strip_prefix(root.to_str()?) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => rest.trim_start_matches('/'),
            _ if text.starts_with('/') => return None,
            _ => text,
        };
        let parts: Vec<_> = relative.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.contains(&"..") {
            return None;
        }
        Some(Pattern { takes_away, parts: parts.iter().map(|part| part.chars().collect()).collect() })
    }

    /// Whether it matches the file or a folder that holds it.
    fn matches(&self, names: &[String]) -> bool {
        // reachable[p]: the names so far can be matched by the first p parts.
        let mut reachable = vec![false; self.parts.len() + 1];
        reachable[0] = true;
        self.pass_stars(&mut reachable);
        for name in names {
            let name: Vec<char> = name.chars().collect();
            let mut next = vec![false; self.parts.len() + 1];
            for (at, part) in self.parts.iter().enumerate() {
                if reachable[at] && is_any_depth(part) {
                    next[at] = true;
                    next[at + 1] |= at + 1 == self.parts.len();
                } else if reachable[at] && part_matches(part, &name) {
                    next[at + 1] = true;
                }
            }
            self.pass_stars(&mut next);
            if next[self.parts.len()] {
                return true;
            }
            reachable = next;
        }
        self.parts.is_empty()
    }

    /// `**` may stand for no folder at all, unless nothing comes after it.
    fn pass_stars(&self, reachable: &mut [bool]) {
        for at in 1..self.parts.len() {
            reachable[at] |= reachable[at - 1] && is_any_depth(&self.parts[at - 1]);
        }
    }
}

fn is_any_depth(part: &[char]) -> bool {
    part == ['*', '*']
}

/// One part against one name; the usual backtracking to the last star, so the time is at most their product.
fn part_matches(part: &[char], name: &[char]) -> bool {
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        let step = part.get(p).and_then(|character| match character {
            '*' => None,
            '[' => class_length(&part[p..], name[n]),
            '?' => Some(1),
            other => (*other == name[n]).then_some(1),
        });
        if let Some(length) = step {
            p += length;
            n += 1;
        } else if part.get(p) == Some(&'*') {
            star = Some((p, n));
            p += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            (p, n) = (at + 1, from + 1);
        } else {
            return false;
        }
    }
    part[p..].iter().all(|character| *character == '*')
}

/// Length of the class at the beginning of `part` if it holds `wanted`; an unclosed `[` stands for itself.
fn class_length(part: &[char], wanted: char) -> Option<usize> {
    let Some(end) = part.iter().skip(2).position(|character| *character == ']').map(|at| at + 2) else {
        return (wanted == '[').then_some(1);
    };
    let negated = matches!(part[1], '!' | '^');
    let set = &part[if negated { 2 } else { 1 }..end];
    let mut holds = false;
    let mut at = 0;
    while at < set.len() {
        if at + 2 < set.len() && set[at + 1] == '-' {
            holds |= (set[at]..=set[at + 2]).contains(&wanted);
            at += 3;
        } else {
            holds |= set[at] == wanted;
            at += 1;
        }
    }
    (holds != negated).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        let names: Vec<_> = path.split('/').map(str::to_owned).collect();
        Pattern::read(pattern, Path::new("/base")).is_some_and(|pattern| pattern.matches(&names))
    }

    #[test]
    fn patterns_are_githubs() {
        for (pattern, path) in [
            ("**/package-lock.json", "package-lock.json"),
            ("**/package-lock.json", "a/b/package-lock.json"),
            ("*.lock", "Cargo.lock"),
            ("src", "src/a/b.c"),
            ("src/**", "src/a/b.c"),
            ("src/**/*.c", "src/b.c"),
            ("/base/a?c", "abc"),
            ("[a-c]x[!z]", "bxy"),
            ("**", "a/b"),
            ("a*b*c", "aXbYbZc"),
        ] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("*.lock", "a/Cargo.lock"),
            ("src/**/*.c", "srcs/b.c"),
            ("/elsewhere/*", "a"),
            ("../*", "a"),
            ("[a-c]x", "dx"),
            ("src", "srcs/a"),
            ("# comment", "# comment"),
        ] {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
    }

    #[test]
    fn the_hash_is_over_the_hashes_of_the_files_in_order() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("d")).unwrap();
        for (name, text) in [("b.txt", "2"), ("a.txt", "1"), ("d/c.txt", "3"), ("d/other", "4")] {
            fs::write(root.path().join(name), text).unwrap();
        }
        std::os::unix::fs::symlink("/etc", root.path().join("link")).unwrap();
        let files = WorkspaceFiles { root: root.path().to_owned() };
        let hash = |patterns: &[&str]| {
            let patterns: Vec<_> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
            files.hash_files(&patterns).unwrap()
        };
        let expected = |texts: &[&str]| {
            let mut whole = Sha256::new();
            texts.iter().for_each(|text| whole.update(Sha256::digest(text)));
            data_encoding::HEXLOWER.encode(&whole.finalize())
        };
        assert_eq!(hash(&["**/*.txt"]), expected(&["1", "2", "3"]));
        assert_eq!(hash(&["**/*.txt", "!a*"]), expected(&["2", "3"]));
        assert_eq!(hash(&["d"]), expected(&["3", "4"]));
        assert_eq!(hash(&["absent", "link/**"]), "");
    }
}
