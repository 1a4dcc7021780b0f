//! The configuration file: TOML, bounded before it is parsed, every mistake with its line.
//!
//! Not here: what a key means ([`super::keys`]). Values that may hold a secret are never repeated in a mistake, and neither are the
//! file's lines.

use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::keys::{self, Key};
use super::mistake::{Mistake, Place};
use super::value::{Value, beginning};

/// A file beyond this is not looked at.
pub(crate) const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Mistakes that are said of one file.
const MISTAKES_MAX: usize = 100;

/// What a file says.
#[derive(Debug, Default)]
pub(crate) struct FileSays {
    /// Keys that are right, with their lines.
    pub(crate) values: Vec<(&'static Key, Value, usize)>,
    /// Everything that is wrong.
    pub(crate) mistakes: Vec<Mistake>,
}

/// A file that holds no configuration at all.
fn unusable(path: &Path, found: impl Into<String>, allowed: &str) -> FileSays {
    let mistake = Mistake {
        place: Place::File(path.to_owned(), None),
        key: String::new(),
        found: found.into(),
        allowed: allowed.to_owned(),
        near: Vec::new(),
    };
    FileSays { values: Vec::new(), mistakes: vec![mistake] }
}

/// Reads a file; `None` if it is not there.
pub(crate) fn read(path: &Path) -> Option<FileSays> {
    // a pipe without a writer would not open
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0))
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => return Some(unusable(path, error.to_string(), "a file that this user may read")),
    };
    let metadata = match file.metadata() {
        Ok(metadata) => metadata,
        Err(error) => return Some(unusable(path, error.to_string(), "a file that this user may read")),
    };
    if !metadata.is_file() {
        return Some(unusable(path, "no plain file", "a file in TOML"));
    }
    // what stands in it is executed as this user
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user && metadata.uid() != 0 {
        let found = format!("a file of user id {}", metadata.uid());
        return Some(unusable(path, found, "a file of the user that the node runs as, or of root"));
    }
    if metadata.mode() & 0o022 != 0 {
        let allowed = format!("a file that others may not change: `chmod go-w {}`", path.display());
        return Some(unusable(path, format!("mode {:o}", metadata.mode() & 0o777), &allowed));
    }
    let mut bytes = Vec::new();
    if let Err(error) = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes) {
        return Some(unusable(path, error.to_string(), "a file that this user may read"));
    }
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let allowed = format!("at most {FILE_BYTES_MAX} bytes");
        return Some(unusable(path, format!("more than {FILE_BYTES_MAX} bytes"), &allowed));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Some(parse(path, &text)),
        Err(error) => {
            let line = line_of(error.as_bytes(), error.utf8_error().valid_up_to());
            Some(unusable(path, format!("bytes that are no UTF-8 in line {line}"), "a text in UTF-8"))
        }
    }
}

/// The line of a byte, from 1.
fn line_of(text: &[u8], at: usize) -> usize {
    text.iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

/// Reads a text as the file's.
pub(crate) fn parse(path: &Path, text: &str) -> FileSays {
    let mut reading = Reading { path: path.to_owned(), text, read: FileSays::default() };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        // the message alone: with its context it would repeat the line
        let at = error.span().map(|span| span.start);
        reading.wrong(at, "", error.message().lines().next().unwrap_or_default(), "TOML 1.0", Vec::new());
    }
    reading.table("", table.get_ref());
    let mut read = reading.read;
    // what was only half understood is not held against the rest of the file
    read.mistakes.sort_by_key(|mistake| mistake.line());
    read.mistakes.truncate(MISTAKES_MAX);
    read
}

struct Reading<'a> {
    path: PathBuf,
    text: &'a str,
    read: FileSays,
}

impl Reading<'_> {
    fn wrong(&mut self, at: Option<usize>, key: &str, found: &str, allowed: &str, near: Vec<String>) {
        let line = at.map(|at| line_of(self.text.as_bytes(), at));
        self.read.mistakes.push(Mistake {
            place: Place::File(self.path.clone(), line),
            key: beginning(key),
            found: found.to_owned(),
            allowed: allowed.to_owned(),
            near,
        });
    }

    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let at = name.span().start;
            let path = if prefix.is_empty() {
                name.get_ref().to_string()
            } else {
                format!("{prefix}.{}", name.get_ref())
            };
            if let Some(key) = keys::named(&path) {
                self.value(key, value.get_ref(), at);
                continue;
            }
            let below = format!("{path}.");
            match value.get_ref() {
                DeValue::Table(inner) if keys::KEYS.iter().any(|key| key.name.starts_with(&below)) => {
                    self.table(&path, inner);
                }
                DeValue::Table(inner) if prefix.is_empty() && !inner.is_empty() => {
                    // the keys in it tell better than the table's name what was meant
                    for (name, _) in inner {
                        self.unknown(&format!("{path}.{}", name.get_ref()), name.span().start);
                    }
                }
                _ => self.unknown(&path, at),
            }
        }
    }

    fn unknown(&mut self, path: &str, at: usize) {
        let near = keys::near(path).into_iter().map(str::to_owned).collect();
        self.wrong(
            Some(at),
            path,
            "a key that is not known",
            "the keys that `wfengine config show` lists",
            near,
        );
    }

    fn value(&mut self, key: &'static Key, value: &DeValue<'_>, at: usize) {
        let found = match key.kind.read(value) {
            Ok(value) => match key.kind.check(&value) {
                Ok(()) => {
                    let line = line_of(self.text.as_bytes(), at);
                    self.read.values.push((key, value, line));
                    return;
                }
                Err(found) => found,
            },
            Err(wrong) => wrong.0,
        };
        let found = if key.is_secret { "a value that is not shown".to_owned() } else { found };
        self.wrong(Some(at), key.name, &found, &key.kind.allowed(), Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        parse(Path::new("c.toml"), text).mistakes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn dotted_keys_and_tables_are_the_same() {
        for text in ["http.port = 9\n", "[http]\nport = 9\n", "http = { port = 9 }\n"] {
            let read = parse(Path::new("c.toml"), text);
            assert!(read.mistakes.is_empty(), "{:?}", read.mistakes);
            let values: Vec<_> =
                read.values.iter().map(|(key, value, _)| (key.name, value.clone())).collect();
            assert_eq!(values, [("http.port", Value::Number(9))]);
        }
    }

    #[test]
    fn every_mistake_is_said_with_its_line() {
        let text =
            "[http]\nport = 70000\nprot = 1\nhost = 4\n\n[jobs]\ngrace = \"soon\"\n[colours]\nred = 1\n";
        let said = mistakes(text);
        assert_eq!(said.len(), 5, "{said:#?}");
        for (said, parts) in said.iter().zip([
            ["c.toml:2: http.port", "70000", "0 to 65535"],
            ["c.toml:3: http.prot", "not known", "http.port"],
            ["c.toml:4: http.host", "the number 4", "127.0.0.1"],
            ["c.toml:7: jobs.grace", "soon", "duration"],
            ["c.toml:9: colours.red", "not known", "config show"],
        ]) {
            assert!(parts.iter().all(|part| said.contains(part)), "{said}");
        }
    }

    #[test]
    fn a_damaged_line_does_not_hide_the_others() {
        let said = mistakes("[http]\nport = = 3\nhost = 4\n");
        assert!(said.first().unwrap().starts_with("c.toml:2: "), "{said:#?}");
        assert!(said.iter().any(|said| said.starts_with("c.toml:3: http.host")), "{said:#?}");
        assert!(mistakes("http = 3").iter().any(|said| said.contains("c.toml:1: http")), "{said:#?}");
        // a table twice, a key twice, arrays without an end, and depth
        for text in [
            "[http]\n[http]\n",
            "http.port = 1\nhttp.port = 2\n",
            "a = [",
            &"a=[".repeat(500),
            &"[".repeat(9_000),
        ] {
            assert!(!mistakes(text).is_empty(), "{text}");
            assert!(mistakes(text).len() <= MISTAKES_MAX);
        }
    }

    #[test]
    fn a_file_that_is_too_large_is_not_parsed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, "#".repeat(FILE_BYTES_MAX as usize + 1)).unwrap();
        let read = read(&path).unwrap();
        assert!(read.mistakes.first().unwrap().to_string().contains("at most 65536 bytes"));
        assert!(super::read(&dir.path().join("none")).is_none());
        std::fs::write(&path, b"http.port = 1\n\xff").unwrap();
        assert!(
            super::read(&path).unwrap().mistakes.first().unwrap().to_string().contains("UTF-8 in line 2")
        );
    }

    #[test]
    fn a_file_that_others_may_change_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, "http.port = 1\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        let read = read(&path).unwrap();
        assert!(read.values.is_empty());
        assert!(read.mistakes.first().unwrap().to_string().contains("chmod go-w"));
    }
}
