//! Who may name whom: the arrows between the crates, the one home of each heavy dependency, and what the manifests share.
//!
//! The tables are the design's house, crates of later layers included; a member that is in no table is a finding. Arrows
//! inside a crate are its own affair.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    File, assert_tidy,
    manifests::{self, Entry, Manifest, Use},
    repository, words,
};

const FORMAT: &str = "storage-format";
const WORKFLOW: &str = "engine/workflow";
const CORE: &str = "engine/core";
const STORE: &str = "engine/store";
const GIT: &str = "engine/git";
const GITHUB: &str = "engine/github";
const DOCKER: &str = "engine/docker";
const PROTOCOL: &str = "replicator/protocol";

/// Which folders a crate may name besides `storage-format`, which all may.
const ARROWS: &[(&str, &[&str])] = &[
    (FORMAT, &[]),
    (WORKFLOW, &[]),
    (CORE, &[]),
    (STORE, &[CORE]),
    (GIT, &[]),
    (GITHUB, &[]),
    (DOCKER, &[]),
    ("engine/discovery", &[STORE, CORE, WORKFLOW, GIT, GITHUB]),
    ("engine/autoscaler", &[STORE, CORE, WORKFLOW, GITHUB, DOCKER]),
    ("engine/executor", &[STORE, CORE, WORKFLOW, GIT, DOCKER]),
    ("engine/api", &[STORE, CORE, WORKFLOW]),
    (PROTOCOL, &[CORE]),
    ("replicator/quic", &[PROTOCOL, STORE, CORE, WORKFLOW]),
];

/// These wire or test everything; nothing names the last two.
const SEES_ALL: [&str; 3] = ["cli", "tests", "benches"];
const NAMED_BY_NOBODY: [&str; 2] = ["tests", "benches"];

/// One heavy dependency, one crate: the folders that may name it. Tests and benches may name anything.
const HOMES: &[(&str, &[&str])] = &[
    ("redb", &[STORE]),
    ("automerge", &[PROTOCOL]),
    ("foca", &[PROTOCOL]),
    ("quinn", &["replicator/quic"]),
    ("rustls", &["replicator/quic", GITHUB]),
    ("saphyr-parser", &[WORKFLOW]),
    ("github-actions-expressions", &[WORKFLOW]),
    ("ed25519-dalek", &[FORMAT, "cli"]),
    ("clap", &["cli"]),
    ("anstream", &["cli"]),
    ("anstyle", &["cli"]),
    ("unicode-width", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("indicatif", &["cli"]),
    ("hostname", &["cli"]),
    ("tracing-subscriber", &["cli"]),
    ("octocrab", &["engine/discovery", GITHUB]),
    ("hyper-rustls", &[GITHUB]),
    ("bollard", &["engine/autoscaler", "engine/executor", DOCKER]),
    ("mdns-sd", &["replicator/quic"]),
    ("axum", &["engine/api"]),
    ("rmcp", &["engine/api"]),
    ("prometheus-client", &["engine/api"]),
    ("ureq", &["cli"]),
    ("toml", &["cli"]),
    ("strsim", &["cli"]),
];

/// Crates without IO, clock or randomness, and what would bring them in.
const PURE: [&str; 4] = [FORMAT, WORKFLOW, CORE, PROTOCOL];
/// With the folders that may name them all the same.
const IMPURE_DEPENDENCIES: [(&str, &[&str]); 9] = [
    ("tokio", &[]),
    ("async-std", &[]),
    ("mio", &[]),
    ("socket2", &[]),
    ("rustix", &[]),
    ("tempfile", &[]),
    ("getrandom", &[]),
    // a generator is pure when its seed is an argument; the root manifest leaves out what would ask the system
    ("rand", &[PROTOCOL]),
    ("rand_chacha", &[PROTOCOL]),
];
const IMPURE_PATHS: [&str; 9] = [
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "std::os",
    "std::io::stdin",
    "Instant::now",
    "SystemTime::now",
];

/// Dev-dependencies that the tables above do not allow: folder, what it names, why its tests need it.
const DEV_ARROWS: &[(&str, &str, &str)] =
    &[("cli", "wfengine-tests", "the program meets the stand-in for GitHub")];

/// The package name of each member, by folder.
fn packages(members: &[Manifest]) -> BTreeMap<&str, &str> {
    let name = |member| Manifest::value(member, "package", "name").unwrap_or_default();
    members.iter().map(|member| (name(member), member.folder.as_str())).collect()
}

/// Why a folder may not name a dependency, if so.
fn refusal(folder: &str, dependency: &str, packages: &BTreeMap<&str, &str>, purpose: Use) -> Option<String> {
    if let Some(&target) = packages.get(dependency) {
        let may = ARROWS.iter().find(|(from, _)| *from == folder).map(|(_, to)| *to);
        let is_allowed = !NAMED_BY_NOBODY.contains(&target)
            && (SEES_ALL.contains(&folder) || may.is_some_and(|to| target == FORMAT || to.contains(&target)));
        return (!is_allowed).then(|| format!("{folder} may not depend on {target} (design, the house)"));
    }
    if NAMED_BY_NOBODY.contains(&folder) {
        return None;
    }
    let home = HOMES.iter().find(|(name, _)| *name == dependency);
    if let Some((_, homes)) = home.filter(|(_, homes)| !homes.contains(&folder)) {
        return Some(format!("`{dependency}` lives in {} alone; go through it", homes.join(", ")));
    }
    let brings = IMPURE_DEPENDENCIES.iter().find(|(name, but)| *name == dependency && !but.contains(&folder));
    (brings.is_some() && PURE.contains(&folder) && purpose == Use::Product).then(|| {
        format!("{folder} has no IO, clock or randomness; take what `{dependency}` gives as an argument")
    })
}

fn arrows(members: &[Manifest], exceptions: &[(&str, &str, &str)]) -> Vec<String> {
    let packages = packages(members);
    let mut unused: BTreeSet<(&str, &str)> = exceptions.iter().map(|(from, to, _)| (*from, *to)).collect();
    let mut findings = Vec::new();
    for member in members {
        let folder = member.folder.as_str();
        if !SEES_ALL.contains(&folder) && !ARROWS.iter().any(|(from, _)| *from == folder) {
            findings.push(format!("{}: a crate that the design's house does not name", member.path()));
        }
        for entry in &member.entries {
            let Some(purpose) = entry.dependency() else { continue };
            let Some(refusal) = refusal(folder, entry.name(), &packages, purpose) else { continue };
            let is_excepted = purpose == Use::Tests && unused.remove(&(folder, entry.name()));
            if !is_excepted {
                findings.push(format!("{}:{}: {refusal}", member.path(), entry.line));
            }
        }
    }
    findings
        .extend(unused.iter().map(|(from, to)| format!("{from} → {to}: not needed; it leaves DEV_ARROWS")));
    findings
}

/// Reads no further than the unit tests, which may do as they like.
fn purity(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        if !PURE.iter().any(|folder| file.path.starts_with(&format!("{folder}/src/"))) {
            continue;
        }
        for (number, line) in words::numbered(file).take_while(|(_, line)| line.trim() != "#[cfg(test)]") {
            let code = line.split("//").next().unwrap_or_default();
            for path in IMPURE_PATHS.iter().filter(|path| words::has_word(code, path)) {
                findings.push(format!("{}:{number}: `{path}`: this crate has no IO and no clock", file.path));
            }
        }
    }
    findings
}

fn is_bounded(entry: &Entry) -> bool {
    let quoted = |text: &str| text.split('"').nth(1).map(str::to_owned);
    let version = match entry.value.split_once("version") {
        Some((_, rest)) => quoted(rest),
        None if entry.value.starts_with('"') => quoted(&entry.value),
        None => None,
    };
    let number = version.as_deref().map(|version| version.trim_start_matches(['=', '^', '~']));
    number.is_some_and(|number| {
        let parts: Vec<&str> = number.split('.').collect();
        parts.len() >= 2
            && parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()) && !part.is_empty())
    })
}

fn shared_dependencies(root: &Manifest, members: &[Manifest]) -> Vec<String> {
    let mut findings = Vec::new();
    let uses = members.iter().flat_map(|member| &member.entries).filter(|entry| entry.dependency().is_some());
    let used: BTreeSet<&str> = uses.map(Entry::name).collect();
    let mut seen = BTreeSet::new();
    for entry in root.entries.iter().filter(|entry| entry.section == "workspace.dependencies") {
        let mut find =
            |what: &str| findings.push(format!("Cargo.toml:{}: `{}` {what}", entry.line, entry.name()));
        if !seen.insert(entry.name()) {
            find("stands twice");
        }
        if !used.contains(entry.name()) {
            find("is used by no member; remove it");
        }
        if entry.value.contains("path =") {
            continue;
        }
        if !entry.has_comment {
            find("has no comment above it that says what for");
        }
        if !is_bounded(entry) {
            find("has no version that bounds it; write \"=x.y.z\" or \"x.y.z\"");
        }
    }
    for member in members {
        for entry in
            member.entries.iter().filter(|entry| entry.dependency().is_some() && !entry.is_inherited())
        {
            let (path, line, name) = (member.path(), entry.line, entry.name());
            findings.push(format!(
                "{path}:{line}: `{name}` takes its version from the root: `{name}.workspace = true`"
            ));
        }
    }
    findings
}

fn inheritance(files: &[File], root: &Manifest, members: &[Manifest]) -> Vec<String> {
    let mut findings = Vec::new();
    let listed = root.words("workspace", "members");
    let found: Vec<&str> = members.iter().map(|member| member.folder.as_str()).collect();
    findings.extend(
        listed
            .iter()
            .filter(|name| !found.contains(name))
            .map(|name| format!("{name}: member without a manifest")),
    );
    findings.extend(
        found
            .iter()
            .filter(|name| !listed.contains(name))
            .map(|name| format!("{name}: not a member of the workspace")),
    );
    for member in members {
        if member.value("lints", "workspace") != Some("true") {
            findings.push(format!("{}: add `[lints]` with `workspace = true`", member.path()));
        }
        for key in ["version", "edition", "rust-version", "license", "publish"] {
            if member.value("package", &format!("{key}.workspace")) != Some("true") {
                findings.push(format!("{}: write `{key}.workspace = true`", member.path()));
            }
        }
    }
    for file in files {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        let is_nested = file.path.contains('/')
            && ["clippy.toml", "rustfmt.toml"].contains(&name.trim_start_matches('.'));
        if is_nested {
            findings.push(format!("{}: the nearest file wins and the root's is lost; remove it", file.path));
        }
    }
    findings
}

#[test]
fn crates_name_only_those_that_the_design_allows() {
    let (_, members) = manifests::all(&repository());
    assert!(members.len() >= 10, "only {} manifests were found", members.len());
    assert_tidy(arrows(&members, DEV_ARROWS));
}

#[test]
fn pure_crates_touch_neither_files_nor_clocks() {
    assert_tidy(purity(&repository()));
}

#[test]
fn every_shared_dependency_is_explained_bounded_and_used() {
    let (root, members) = manifests::all(&repository());
    assert_tidy(shared_dependencies(&root, &members));
}

#[test]
fn every_member_inherits_lints_and_package_keys() {
    let files = repository();
    let (root, members) = manifests::all(&files);
    assert_tidy(inheritance(&files, &root, &members));
}

#[test]
fn each_rule_about_manifests_finds_what_is_planted() {
    let root = Manifest::read(
        "",
        "[workspace]\nmembers = [\"engine/core\", \"gone\"]\n[workspace.dependencies]\ncore = { path = \"engine/core\" }\n\
         bare = \"1.2\"\n# why\nloose = \"*\"\n# why\ngit = { git = \"x\" }\n# why\nwell = { version = \"=1.2.3\" }\n",
    );
    let core = "[package]\nname = \"core\"\n[dependencies]\nstore.workspace = true\nredb = \"4.4\"\nwell.workspace = true\n\
                tokio.workspace = true\n[dev-dependencies]\nstore.workspace = true\nrand.workspace = true\n";
    let members = [
        Manifest::read(CORE, core),
        Manifest::read(
            STORE,
            "[package]\nname = \"store\"\n[dependencies]\ncore.workspace = true\nredb.workspace = true\n",
        ),
        Manifest::read("engine/more", "[package]\nname = \"more\"\n"),
        Manifest::read(
            "tests",
            "[package]\nname = \"whole\"\n[dependencies]\nstore.workspace = true\nquinn.workspace = true\n",
        ),
        Manifest::read("cli", "[package]\nname = \"bin\"\n[dev-dependencies]\nwhole.workspace = true\n"),
    ];
    let findings = arrows(&members, &[]);
    assert_eq!(findings.len(), 6, "{findings:#?}");
    let (from_core, others) = findings.split_at(4);
    let lines = [4, 5, 7, 9].map(|line| format!("engine/core/Cargo.toml:{line}:"));
    assert!(from_core.iter().zip(&lines).all(|(found, line)| found.starts_with(line)), "{from_core:#?}");
    assert!(
        others[0].starts_with("engine/more/Cargo.toml:") && others[1].starts_with("cli/Cargo.toml:4:"),
        "{others:#?}"
    );
    let excepted = arrows(&members, &[(CORE, "store", "x"), (CORE, "gone", "x")]);
    assert_eq!(
        excepted.len(),
        6,
        "one less for the exception, one more for the one that is not needed: {excepted:#?}"
    );

    let shared = shared_dependencies(&root, &members);
    assert_eq!(
        shared,
        [
            "Cargo.toml:5: `bare` is used by no member; remove it",
            "Cargo.toml:5: `bare` has no comment above it that says what for",
            "Cargo.toml:7: `loose` is used by no member; remove it",
            "Cargo.toml:7: `loose` has no version that bounds it; write \"=x.y.z\" or \"x.y.z\"",
            "Cargo.toml:9: `git` is used by no member; remove it",
            "Cargo.toml:9: `git` has no version that bounds it; write \"=x.y.z\" or \"x.y.z\"",
            "engine/core/Cargo.toml:5: `redb` takes its version from the root: `redb.workspace = true`",
        ]
    );

    let file = |path: &str, text: &str| File { path: path.to_owned(), text: Some(text.to_owned()) };
    let files = [
        file("engine/core/.clippy.toml", ""),
        file("engine/core/src/a.rs", "//! std::fs\nuse std::fs;\n#[cfg(test)]\nuse std::env;\n"),
        file("engine/store/src/a.rs", "use std::fs;\n"),
    ];
    assert_eq!(purity(&files), ["engine/core/src/a.rs:2: `std::fs`: this crate has no IO and no clock"]);
    let inherited = inheritance(&files, &root, &members[..1]);
    assert_eq!(
        inherited.len(),
        1 + 1 + 5 + 1,
        "a member gone, lints, five keys, a nested file: {inherited:#?}"
    );
}
