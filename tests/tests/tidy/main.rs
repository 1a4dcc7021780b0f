//! The rules of the house that no compiler knows: what stands where, who may name whom, which words are not used.
//!
//! Reads text only: it neither builds nor runs anything, and knows no TOML beyond what our manifests use. Files are those
//! git would track (ignored ones are not ours); in a tree without git, everything but build output.
//!
//! Invariants: every finding says the file, the line where there is one, and what to do; a table of exceptions is exact, so
//! an exception that is not needed any more is a finding too; no rule names its words so that it would find itself.

#![expect(clippy::expect_used, reason = "a repository that cannot be read fails the test, with the reason")]

mod arrows;
mod manifests;
mod words;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use wfengine_storage_format::Kind;

/// What stands at the top besides dot-files (design: the house).
const TOP_LEVEL: [&str; 12] = [
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "benches",
    "cli",
    "engine",
    "replicator",
    "storage-format",
    "tests",
];

/// Beyond this a file is read for the second concept in it.
const LINES_MAX: usize = 600;

/// Files that may be longer: which, and why it is still one concept.
const LONG_FILES: &[(&str, &str)] = &[
    (
        "engine/core/tests/convergence.rs",
        "the events of one history and the thousand orders they are admitted in",
    ),
    ("engine/core/tests/scheduler.rs", "one story for each rule of the scheduler, over one small cluster"),
];

/// Stems that hold no concept, and where their content belongs.
const NAMES_BANNED: [(&str, &str); 6] = [
    ("util", "name the file after what it does, or put the function beside its one caller"),
    ("utils", "name the file after what it does, or put the function beside its one caller"),
    ("common", "give the shared concept its own name"),
    ("helpers", "name the file after what it builds (`building`, `harness`) or does"),
    ("manager", "say what it does: `scheduler`, `writer`, `endpoint`"),
    ("types", "put each type into the file of its concept"),
];

/// One file of the repository.
pub(crate) struct File {
    /// Path from the top, with `/`.
    pub(crate) path: String,
    /// Its text; `None` where the bytes are not text.
    pub(crate) text: Option<String>,
}

impl File {
    fn stem(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name.split('.').next().unwrap_or_default()
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package stands in the workspace").to_owned()
}

/// Every file of the repository, sorted by path.
fn repository() -> Vec<File> {
    let top = top();
    let paths = listed_by_git(&top).unwrap_or_else(|| walked(&top));
    let files: Vec<File> = paths
        .into_iter()
        .filter(|path| top.join(path).is_file())
        .map(|path| {
            let bytes = std::fs::read(top.join(&path)).expect("a file that was just listed");
            File { text: String::from_utf8(bytes).ok(), path }
        })
        .collect();
    assert!(files.len() > 50, "the repository has only {} files below {}", files.len(), top.display());
    files
}

fn listed_by_git(top: &Path) -> Option<BTreeSet<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(top)
        .output()
        .ok()
        .filter(|output| output.status.success() && !output.stdout.is_empty())?;
    let text = String::from_utf8(output.stdout).expect("our file names are UTF-8");
    Some(text.split_terminator('\0').map(str::to_owned).collect())
}

fn walked(top: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(top.join(&folder)).expect("a readable folder") {
            let entry = entry.expect("a readable entry");
            let path = folder.join(entry.file_name());
            let name = path.to_str().expect("our file names are UTF-8").to_owned();
            if name == ".git" || name == "target" || name.starts_with("target-") {
                continue;
            }
            if entry.file_type().expect("a file type").is_dir() {
                folders.push(path);
            } else {
                found.insert(name);
            }
        }
    }
    found
}

/// Fails with every finding, one a line.
fn assert_tidy(findings: Vec<String>) {
    assert!(findings.is_empty(), "{} to mend:\n  {}\n", findings.len(), findings.join("\n  "));
}

fn layout(files: &[File]) -> Vec<String> {
    let found: BTreeSet<&str> = files.iter().filter_map(|file| file.path.split('/').next()).collect();
    let extra = found.iter().filter(|name| !name.starts_with('.') && !TOP_LEVEL.contains(name));
    let missing = TOP_LEVEL.iter().filter(|name| !found.contains(*name));
    extra
        .map(|name| {
            format!("{name}: the top level is fixed; it belongs into a folder, or its name begins with a dot")
        })
        .chain(missing.map(|name| format!("{name}: missing at the top level")))
        .collect()
}

fn headers(files: &[File]) -> Vec<String> {
    let without = |file: &&File| !file.text.as_deref().is_some_and(|text| text.starts_with("//!"));
    let findings = files.iter().filter(|file| file.is_rust()).filter(without);
    findings
        .map(|file| {
            format!("{}:1: begin with `//!`: what it is, what it does not do, its invariants", file.path)
        })
        .collect()
}

fn lengths(files: &[File], allowed: &[(&str, &str)]) -> Vec<String> {
    let mut unused: BTreeSet<&str> = allowed.iter().map(|(path, _)| *path).collect();
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let lines = file.text.as_deref().map_or(0, |text| text.lines().count());
        if lines > LINES_MAX && !unused.remove(file.path.as_str()) {
            findings.push(format!("{}: {lines} lines; above {LINES_MAX} split it by concept", file.path));
        }
    }
    findings.extend(
        unused.iter().map(|path| format!("{path}: not above {LINES_MAX} lines; it leaves LONG_FILES")),
    );
    findings
}

fn names(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files {
        let folders = file.path.rsplit_once('/').map_or("", |(folders, _)| folders);
        for part in folders.split('/').chain(file.is_rust().then(|| file.stem())) {
            if let Some((_, advice)) = NAMES_BANNED.iter().find(|(name, _)| part == *name) {
                findings.push(format!("{}: `{part}` holds no concept; {advice}", file.path));
            }
        }
        for (number, line) in file.is_rust().then(|| words::numbered(file)).into_iter().flatten() {
            let module = words::module_named(line);
            if let Some((name, advice)) = NAMES_BANNED.iter().find(|(name, _)| module == Some(name)) {
                findings.push(format!("{}:{number}: `{name}` holds no concept; {advice}", file.path));
            }
        }
    }
    findings
}

/// Source files that no module names: cargo never compiles them.
fn forgotten(files: &[File]) -> Vec<String> {
    let mut named = BTreeSet::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
        let is_root = matches!(name, "lib.rs" | "main.rs" | "mod.rs")
            || ["/tests", "/benches", "/examples"].iter().any(|end| folder.ends_with(end));
        let home = if is_root { folder.to_owned() } else { format!("{folder}/{}", file.stem()) };
        for module in words::numbered(file).filter_map(|(_, line)| words::module_named(line)) {
            named.insert(format!("{home}/{module}.rs"));
            named.insert(format!("{home}/{module}/mod.rs"));
        }
    }
    let manifests: String =
        files.iter().filter(|f| f.path.ends_with("Cargo.toml")).flat_map(|f| f.text.clone()).collect();
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust() && !named.contains(&file.path)) {
        let parts: Vec<&str> = file.path.rsplit('/').collect();
        let is_target = match parts.as_slice() {
            ["lib.rs" | "main.rs" | "build.rs", ..] | [_, "tests" | "benches" | "examples", ..] => true,
            [name, folder, ..] => manifests.contains(&format!("{folder}/{name}\"")),
            _ => false,
        };
        if !is_target {
            findings.push(format!(
                "{}: no module names it; add `mod {};` or remove it",
                file.path,
                file.stem()
            ));
        }
    }
    findings
}

/// Every kind is written down for a second implementation and has bytes that never change.
fn kinds(files: &[File]) -> Vec<String> {
    let spec = files.iter().find(|file| file.path == "storage-format/SPEC.md");
    let spec = spec.and_then(|file| file.text.as_deref()).unwrap_or_default();
    let mut findings = Vec::new();
    for kind in Kind::ALL {
        let (name, number) = (kind.to_string(), format!("0x{:04x}", kind.number()));
        let is_said = spec.lines().any(|line| words::has_word(line, &name) && line.contains(&number));
        if !is_said {
            findings.push(format!("storage-format/SPEC.md: no line names {name} with its number {number}"));
        }
        let golden = format!("/{name}.frame");
        let is_golden =
            |file: &File| file.path.starts_with("storage-format/golden/v") && file.path.ends_with(&golden);
        if !files.iter().any(is_golden) {
            findings.push(format!("storage-format/golden: no {name}.frame in any version; write one"));
        }
    }
    findings
}

#[test]
fn the_top_level_holds_what_the_design_names() {
    assert_tidy(layout(&repository()));
}

#[test]
fn every_source_file_says_what_it_is() {
    assert_tidy(headers(&repository()));
}

#[test]
fn no_source_file_is_long_without_a_reason() {
    assert_tidy(lengths(&repository(), LONG_FILES));
}

#[test]
fn every_name_holds_a_concept() {
    assert_tidy(names(&repository()));
}

#[test]
fn every_source_file_belongs_to_a_module() {
    assert_tidy(forgotten(&repository()));
}

#[test]
fn every_event_kind_is_specified_and_has_a_golden_file() {
    assert_tidy(kinds(&repository()));
}

#[test]
fn a_tree_without_git_is_walked_without_build_output() {
    let tree = tempfile::tempdir().expect("a scratch directory");
    for folder in [".git", "target/debug", "target-x", "cli/src/target"] {
        std::fs::create_dir_all(tree.path().join(folder)).expect("a folder");
        std::fs::write(tree.path().join(folder).join("a.rs"), "").expect("a file");
    }
    assert_eq!(listed_by_git(tree.path()), None, "a scratch directory lies in no repository");
    assert_eq!(walked(tree.path()).into_iter().collect::<Vec<_>>(), ["cli/src/target/a.rs"]);
}

#[test]
fn each_rule_about_files_finds_what_is_planted() {
    let file = |path: &str, text: &str| File { path: path.to_owned(), text: Some(text.to_owned()) };
    let long = "//!\n".repeat(LINES_MAX + 1);
    let planted = [
        file("notes.md", ""),
        file("cli/src/main.rs", "//! x\nmod util;\n#[cfg(test)]\nmod tests {\n"),
        file("cli/src/util.rs", "fn main() {}\n"),
        file("cli/src/lost.rs", "//! x\n"),
        file("cli/tests/common/mod.rs", "//! x\n"),
        file("cli/src/commands/run.rs", &long),
    ];
    let has = |findings: Vec<String>, expected: &[&str]| {
        for start in expected {
            assert!(findings.iter().any(|line| line.starts_with(start)), "{start:?} not in {findings:#?}");
        }
        findings.len()
    };
    assert_eq!(has(layout(&planted), &["notes.md:", "README.md: missing"]), TOP_LEVEL.len());
    assert_eq!(has(headers(&planted), &["cli/src/util.rs:1:"]), 1);
    assert_eq!(has(lengths(&planted, &[]), &["cli/src/commands/run.rs: 601 lines"]), 1);
    assert_eq!(
        has(lengths(&planted, &[("cli/src/commands/run.rs", ""), ("gone.rs", "")]), &["gone.rs: not"]),
        1
    );
    assert_eq!(
        has(names(&planted), &["cli/src/main.rs:2:", "cli/src/util.rs:", "cli/tests/common/mod.rs:"]),
        3
    );
    let lost = ["cli/src/lost.rs:", "cli/tests/common/mod.rs:", "cli/src/commands/run.rs:"];
    assert_eq!(has(forgotten(&planted), &lost), 3);
    assert_eq!(kinds(&planted).len(), 2 * Kind::ALL.len());
}
