//! Cargo manifests as lists of lines: sections, keys, values, and whether a comment stands above.
//!
//! Not a TOML parser: it reads what our manifests use (one key a line, arrays over several lines) and nothing else. What it
//! cannot read it keeps as text, so a rule that looks for a key does not find it and says so.

use crate::File;

/// One key of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// `dependencies`, `workspace.lints.rust`, …
    pub(crate) section: String,
    /// The key as written, `wfengine-core.workspace`.
    pub(crate) key: String,
    /// The value as written, several lines joined by a space.
    pub(crate) value: String,
    /// Line in the file, from 1.
    pub(crate) line: usize,
    /// Whether the line above is a comment.
    pub(crate) has_comment: bool,
}

impl Entry {
    /// What the key names: a dependency without `.workspace`.
    pub(crate) fn name(&self) -> &str {
        self.key.split('.').next().unwrap_or_default().trim_matches('"')
    }

    /// Whether the value is taken from the root manifest.
    pub(crate) fn is_inherited(&self) -> bool {
        self.value.replace(' ', "").contains("workspace=true")
            || (self.key.ends_with(".workspace") && self.value == "true")
    }

    /// Whether this is a dependency of a member, and for its tests alone.
    pub(crate) fn dependency(&self) -> Option<Use> {
        let table = self.section.rsplit('.').next().unwrap_or_default();
        match table {
            _ if self.section.starts_with("workspace") => None,
            "dependencies" | "build-dependencies" => Some(Use::Product),
            "dev-dependencies" => Some(Use::Tests),
            _ => None,
        }
    }
}

/// What a dependency is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Compiled into what the crate gives to others.
    Product,
    /// Compiled for the crate's own tests, benches and examples.
    Tests,
}

/// One `Cargo.toml`.
pub(crate) struct Manifest {
    /// Folder from the top; empty for the root.
    pub(crate) folder: String,
    /// Its keys in the order of the file.
    pub(crate) entries: Vec<Entry>,
}

impl Manifest {
    /// Reads one manifest.
    pub(crate) fn read(folder: &str, text: &str) -> Self {
        let mut entries: Vec<Entry> = Vec::new();
        let (mut section, mut above, mut is_open) = (String::new(), "", false);
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if is_open {
                if let Some(entry) = entries.last_mut() {
                    entry.value.push(' ');
                    entry.value.push_str(line);
                    is_open = !is_balanced(&entry.value);
                }
            } else if line.starts_with('[') {
                line.trim_matches(['[', ']']).clone_into(&mut section);
            } else if let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
                is_open = !is_balanced(value);
                entries.push(Entry {
                    section: section.clone(),
                    key: key.trim().to_owned(),
                    value: value.trim().to_owned(),
                    line: index + 1,
                    has_comment: above.starts_with('#'),
                });
            }
            above = line;
        }
        Self { folder: folder.to_owned(), entries }
    }

    /// Where the manifest is.
    pub(crate) fn path(&self) -> String {
        let separator = if self.folder.is_empty() { "" } else { "/" };
        format!("{}{separator}Cargo.toml", self.folder)
    }

    /// The value of a key, without quotes.
    pub(crate) fn value(&self, section: &str, key: &str) -> Option<&str> {
        let entry = self.entries.iter().find(|entry| entry.section == section && entry.key == key)?;
        Some(entry.value.trim_matches('"'))
    }

    /// The quoted words of an array.
    pub(crate) fn words(&self, section: &str, key: &str) -> Vec<&str> {
        self.value(section, key).unwrap_or_default().split('"').filter(|word| is_word(word)).collect()
    }
}

fn is_word(text: &str) -> bool {
    !text.trim_matches([' ', ',', '[', ']']).is_empty()
}

fn is_balanced(value: &str) -> bool {
    value.matches(['[', '{']).count() == value.matches([']', '}']).count()
}

/// The root manifest and those of all folders.
pub(crate) fn all(files: &[File]) -> (Manifest, Vec<Manifest>) {
    let mut root = Manifest::read("", "");
    let mut members = Vec::new();
    for file in files {
        let text = file.text.as_deref().unwrap_or_default();
        match file.path.strip_suffix("Cargo.toml") {
            Some("") => root = Manifest::read("", text),
            Some(folder) if folder.ends_with('/') => {
                members.push(Manifest::read(folder.trim_end_matches('/'), text));
            }
            _ => {}
        }
    }
    (root, members)
}

#[test]
fn a_manifest_is_read_line_by_line() {
    let text = "[workspace]\nmembers = [\n  \"a\",\n  \"b/c\",\n]\n\n# why\n[dev-dependencies]\n# for tests\nx.workspace = true\n\
                y = { workspace = true, features = [\"z\"] }\n[target.'cfg(unix)'.dependencies]\nw = \"1\"\n";
    let manifest = Manifest::read("a", text);
    assert_eq!(manifest.path(), "a/Cargo.toml");
    assert_eq!(manifest.words("workspace", "members"), ["a", "b/c"]);
    let seen: Vec<_> = manifest
        .entries
        .iter()
        .map(|entry| (entry.name(), entry.dependency(), entry.is_inherited(), entry.has_comment, entry.line))
        .collect();
    assert_eq!(
        seen,
        [
            ("members", None, false, false, 2),
            ("x", Some(Use::Tests), true, true, 10),
            ("y", Some(Use::Tests), true, false, 11),
            ("w", Some(Use::Product), false, false, 13),
        ]
    );
}
