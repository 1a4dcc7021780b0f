//! What does not stand in our text: words of unfinished work, paths of one machine, names of registries.
//!
//! Words are matched whole and line by line; a phrase broken over two lines is not seen. The words are put together from
//! parts, so that this file does not hold them either.

use crate::{File, assert_tidy, repository};

/// Word, whether its case counts, and what to write.
const WORDS: [(&str, bool, &str); 13] = [
    (concat!("st", "ub"), false, "write the real thing, or leave it out"),
    (concat!("st", "ubs"), false, "write the real thing, or leave it out"),
    (concat!("st", "ubbed"), false, "write the real thing, or leave it out"),
    (concat!("place", "holder"), false, "write the real thing, or name what stands there"),
    (concat!("place", "holders"), false, "write the real thing, or name what stands there"),
    (concat!("FIX", "ME"), true, "mend it, or open an issue"),
    (concat!("TO", "DO"), true, "do it, or open an issue"),
    (concat!("XX", "X"), true, "mend it, or open an issue"),
    (concat!("unimple", "mented!"), true, "return a typed refusal that names what is not supported"),
    (concat!("to", "do!"), true, "return a typed refusal that names what is not supported"),
    (concat!("for ", "now"), false, "say what holds, and under which condition"),
    (concat!("in a ", "real"), false, "this is the real one: build it"),
    (concat!("#[ig", "nore]"), true, "a test runs, or asks `requirements::require` and says that it did not"),
];

/// A function whose name begins so is named after what it returns.
const GETTER: &str = concat!("fn get", "_");
/// Names that the standard library gives to its own lookups, and that ours may repeat.
const GETTERS_KNOWN: [&str; 2] = [concat!("get", "_mut"), concat!("get", "_or_insert_with")];

/// Folders of one machine, without the slashes around them; the last is followed by a user's name.
const MACHINE_FOLDERS: [&str; 3] = [concat!("ro", "ot"), concat!("wo", "rk"), concat!("ho", "me")];

/// Hosts that packages come from: whose they are is a matter of the machine's configuration.
const REGISTRIES: [&str; 8] = [
    concat!("registry", ".npmjs.org"),
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("deb.", "debian.org"),
    concat!("pypi", ".org"),
    concat!("files.python", "hosted.org"),
    concat!("proxy.", "golang.org"),
    concat!("registry-1.", "docker.io"),
];
/// Labels that give a private registry away, in the host of an address.
const REGISTRY_LABELS: [&str; 7] = ["registry", "mirror", "mirrors", "artifactory", "nexus", "proxy", "pypi"];
/// The only source that `Cargo.lock` names.
const LOCK_SOURCE: &str = concat!("source = \"registry+https://github.com/rust-lang/", "crates.io-index\"");

/// The lines of a file, from 1.
pub(crate) fn numbered(file: &File) -> impl Iterator<Item = (usize, &str)> {
    file.text.as_deref().unwrap_or_default().lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// The module that a line declares.
pub(crate) fn module_named(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')').map_or("", |(_, rest)| rest).trim_start(),
        Some(rest) => rest.trim_start(),
        None => line,
    };
    let name = line.strip_prefix("mod ")?;
    name.split([';', ' ', '{']).next().filter(|name| !name.is_empty())
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether a line holds a word that nothing lengthens on either side.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    let (line_bytes, word_bytes) = (line.as_bytes(), word.as_bytes());
    let is_joined =
        |a: Option<&u8>, b: Option<&u8>| a.zip(b).is_some_and(|(a, b)| is_word_byte(*a) && is_word_byte(*b));
    line.match_indices(word).any(|(start, _)| {
        let before = start.checked_sub(1).and_then(|index| line_bytes.get(index));
        let after = line_bytes.get(start + word.len());
        !is_joined(before, word_bytes.first()) && !is_joined(word_bytes.last(), after)
    })
}

/// Whose wording is not ours.
fn is_foreign(file: &File) -> bool {
    file.path == "Cargo.lock" || file.path.starts_with("LICENSE-")
}

/// Methods that a trait of a library names so, and the files that have it.
const DEMANDED: [(&str, &str); 3] = [
    ("engine/api/src/mcp.rs", "get_info("),
    ("engine/api/src/mcp.rs", "get_tool("),
    ("engine/api/src/mcp.rs", "get_prompt("),
];

fn unfinished(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| !is_foreign(file)) {
        for (number, line) in numbered(file) {
            let lower = line.to_ascii_lowercase();
            let hits = WORDS
                .iter()
                .filter(|(word, is_exact, _)| has_word(if *is_exact { line } else { &lower }, word));
            findings
                .extend(hits.map(|(word, _, advice)| format!("{}:{number}: `{word}`: {advice}", file.path)));
            let is_demanded = DEMANDED.iter().any(|(path, name)| file.path == *path && line.contains(name));
            if file.is_rust() && has_getter(line) && !is_demanded {
                findings.push(format!(
                    "{}:{number}: `{GETTER}…`: name a getter after what it returns",
                    file.path
                ));
            }
        }
    }
    findings
}

fn has_getter(line: &str) -> bool {
    let name = line.split_once(GETTER).map(|(_, rest)| rest);
    name.is_some_and(|name| {
        let end = name.bytes().position(|byte| !is_word_byte(byte)).unwrap_or(name.len());
        let name = format!("{}{}", concat!("get", "_"), &name[..end]);
        !GETTERS_KNOWN.contains(&name.as_str())
    })
}

/// The first folder of one machine in a line, as far as the next slash.
fn machine_path(line: &str) -> Option<String> {
    for folder in MACHINE_FOLDERS {
        let start = format!("/{folder}/");
        for (index, _) in line.match_indices(&start) {
            let before = line[..index].chars().next_back();
            let is_inside = before.is_some_and(|c| c.is_alphanumeric() || "_-.$})~*/>%".contains(c));
            let rest = &line[index + start.len()..];
            let user = rest.bytes().take_while(u8::is_ascii_lowercase).count();
            let is_user = folder != MACHINE_FOLDERS[2] || (user > 0 && rest[user..].starts_with('/'));
            if !is_inside && is_user {
                return Some(start);
            }
        }
    }
    None
}

/// The host of an address that is a registry's, or a well-known registry by itself.
fn registry(line: &str) -> Option<&str> {
    let known = REGISTRIES.iter().find(|host| line.contains(**host)).copied();
    let hosts = line.split("://").skip(1).map(|rest| {
        rest.split(|c: char| !(c.is_ascii_alphanumeric() || "-.".contains(c))).next().unwrap_or_default()
    });
    let is_registry = |host: &&str| host.split(['.', '-']).any(|label| REGISTRY_LABELS.contains(&label));
    known.or_else(|| hosts.into_iter().find(is_registry))
}

fn machine(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files {
        let is_lock = file.path == "Cargo.lock";
        for (number, line) in numbered(file) {
            let at = format!("{}:{number}", file.path);
            if is_lock {
                if line.starts_with("source") && line != LOCK_SOURCE {
                    findings.push(format!(
                        "{at}: a source of this machine; write the lock file with the public one"
                    ));
                }
                continue;
            }
            if let Some(path) = machine_path(line) {
                findings.push(format!(
                    "{at}: `{path}` is a path of one machine; take it as an argument, or use another"
                ));
            }
            if let Some(host) = registry(line) {
                findings.push(format!("{at}: `{host}` is a registry; which one serves is not ours to say"));
            }
            if file.path.starts_with(".cargo/")
                && (line.starts_with("[source") || line.starts_with("[registr"))
            {
                findings
                    .push(format!("{at}: sources and registries are configured on the machine, not here"));
            }
        }
    }
    findings
}

#[test]
fn nothing_is_left_unfinished() {
    assert_tidy(unfinished(&repository()));
}

#[test]
fn no_text_knows_the_machine_it_was_written_on() {
    assert_tidy(machine(&repository()));
}

#[test]
fn a_word_is_found_whole_and_a_module_by_its_name() {
    assert!(has_word("a b c", "b") && has_word("b!", "b") && has_word("(b)", "b"));
    assert!(!has_word("abc", "b") && !has_word("b_c", "b") && !has_word("1b", "b"));
    assert!(has_word("ab b", "b") && has_word("x!y", "x!"));
    assert_eq!(module_named("    pub(crate) mod arrows;"), Some("arrows"));
    assert_eq!(module_named("pub mod tests {"), Some("tests"));
    assert_eq!(module_named("// mod a;"), None);
    assert_eq!(module_named("model.mod ();"), None);
}

#[test]
fn each_rule_about_text_finds_what_is_planted() {
    let file = |path: &str, text: &str| File { path: path.to_owned(), text: Some(text.to_owned()) };
    for (word, _, _) in WORDS {
        let found = unfinished(&[file("a.md", &format!("fine\nso {word} it is\n"))]);
        assert!(
            found.iter().any(|line| line.starts_with(&format!("a.md:2: `{word}`"))),
            "{word}: {found:#?}"
        );
    }
    assert_eq!(unfinished(&[file("a.rs", &format!("    pub {GETTER}name() {{\n"))]).len(), 1);
    assert_eq!(unfinished(&[file("a.rs", &format!("    pub {GETTER}mut() {{\n"))]), [""; 0]);
    assert_eq!(unfinished(&[file("LICENSE-MIT", WORDS[0].0)]), [""; 0]);
    for folder in MACHINE_FOLDERS {
        assert_eq!(machine(&[file("a.md", &format!("see `/{folder}/me/x`"))]).len(), 1, "{folder}");
        assert_eq!(
            machine(&[file("a.md", &format!("see `target/{folder}/me/x` and $X/{folder}/me/"))]),
            [""; 0]
        );
    }
    assert_eq!(machine(&[file("a.md", &format!("/{}/a", MACHINE_FOLDERS[2]))]), [""; 0]);
    for host in REGISTRIES {
        assert_eq!(machine(&[file("a.toml", &format!("x = \"{host}\""))]).len(), 1, "{host}");
    }
    for label in REGISTRY_LABELS {
        assert_eq!(
            machine(&[file("a.toml", &format!("x = \"http://{label}.example/x\""))]).len(),
            1,
            "{label}"
        );
    }
    assert_eq!(machine(&[file("a.md", "https://github.com/x/registry and self.registry.x")]), [""; 0]);
    let lock = format!("{LOCK_SOURCE}\nsource = \"registry+https://elsewhere/index\"\n");
    assert_eq!(machine(&[file("Cargo.lock", &lock)]).len(), 1);
    assert_eq!(machine(&[file(".cargo/config.toml", "[source.x]\n[registries.x]\n")]).len(), 2);
}
