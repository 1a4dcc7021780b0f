//! The files by which a step hands values on: `GITHUB_ENV`, `GITHUB_OUTPUT`, `GITHUB_PATH`, `GITHUB_STATE`,
//! `GITHUB_STEP_SUMMARY`.
//!
//! The step owns these files while it runs and may leave anything there; they are read once, after it ended, within
//! a size bound, and only if they still are regular files. Nothing here decides what a value means.
//!
//! Invariant: an error names the file's variable and the line.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

/// Why a file could not be taken over. The step has failed; nothing of the file was used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EnvironmentFileError {
    /// A line is neither `NAME=VALUE` nor `NAME<<DELIMITER`.
    #[error("{file}, line {line}: `{text}` is neither NAME=VALUE nor NAME<<DELIMITER")]
    Format {
        /// The variable that names the file.
        file: &'static str,
        /// Counted from 1.
        line: usize,
        /// The beginning of the line.
        text: String,
    },
    /// Nothing stands before `=` or `<<`.
    #[error("{file}, line {line}: the name before `=` or `<<` is missing")]
    NoName {
        /// The variable that names the file.
        file: &'static str,
        /// Counted from 1.
        line: usize,
    },
    /// Nothing stands after `<<`.
    #[error("{file}, line {line}: the delimiter after `<<` is missing")]
    NoDelimiter {
        /// The variable that names the file.
        file: &'static str,
        /// Counted from 1.
        line: usize,
    },
    /// The file ends inside a value.
    #[error(
        "{file}, line {line}: no later line is exactly `{delimiter}`, so the value of `{name}` has no end"
    )]
    Unterminated {
        /// The variable that names the file.
        file: &'static str,
        /// Where the value begins, counted from 1.
        line: usize,
        /// The value's name.
        name: String,
        /// What was looked for.
        delimiter: String,
    },
    /// The value cannot be put into an environment.
    #[error("{file}, line {line}: `{name}` cannot be set this way ({why})")]
    Refused {
        /// The variable that names the file.
        file: &'static str,
        /// Counted from 1.
        line: usize,
        /// The value's name.
        name: String,
        /// The reason.
        why: &'static str,
    },
    /// More bytes than allowed.
    #[error("{file} is longer than {bytes_max} bytes; write less, or keep it as a file of the workspace")]
    TooLong {
        /// The variable that names the file.
        file: &'static str,
        /// The bound.
        bytes_max: usize,
    },
    /// The file is gone, is not a regular file, or cannot be read.
    #[error("{file} cannot be read ({why}); a step may append to this file but not replace or remove it")]
    Unreadable {
        /// The variable that names the file.
        file: &'static str,
        /// What the system said.
        why: String,
    },
}

/// One `NAME=VALUE` of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Its name; not empty.
    pub name: String,
    /// Its value; may span lines.
    pub value: String,
    /// Where it stands, counted from 1.
    pub line: usize,
}

/// The files of one step.
#[derive(Debug)]
pub struct EnvironmentFiles {
    /// `GITHUB_ENV`
    pub env: PathBuf,
    /// `GITHUB_OUTPUT`
    pub output: PathBuf,
    /// `GITHUB_PATH`
    pub path: PathBuf,
    /// `GITHUB_STATE`
    pub state: PathBuf,
    /// `GITHUB_STEP_SUMMARY`
    pub summary: PathBuf,
}

impl EnvironmentFiles {
    /// Makes the empty files of step `number` in `folder`.
    pub fn create(folder: &Path, number: u32) -> io::Result<Self> {
        let make = |kind: &str| {
            let path = folder.join(format!("{kind}_{number}"));
            File::create_new(&path).map(|_| path)
        };
        Ok(Self {
            env: make("set_env")?,
            output: make("set_output")?,
            path: make("add_path")?,
            state: make("save_state")?,
            summary: make("step_summary")?,
        })
    }

    /// The variables that name the files.
    pub fn variables(&self) -> [(&'static str, &Path); 5] {
        [
            ("GITHUB_ENV", &self.env),
            ("GITHUB_OUTPUT", &self.output),
            ("GITHUB_PATH", &self.path),
            ("GITHUB_STATE", &self.state),
            ("GITHUB_STEP_SUMMARY", &self.summary),
        ]
    }
}

/// Reads at most `bytes_max` bytes of a file that the step may have replaced by anything.
pub fn read_bounded(
    file: &'static str,
    path: &Path,
    bytes_max: usize,
) -> Result<String, EnvironmentFileError> {
    let unreadable = |error: io::Error| EnvironmentFileError::Unreadable { file, why: error.to_string() };
    // Without NONBLOCK the opening of a named pipe would wait for a writer for ever.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits() as i32;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(unreadable)?;
    if !opened.metadata().map_err(unreadable)?.is_file() {
        return Err(EnvironmentFileError::Unreadable { file, why: "it is not a regular file".to_owned() });
    }
    let mut bytes = Vec::new();
    opened.take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > bytes_max {
        return Err(EnvironmentFileError::TooLong { file, bytes_max });
    }
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned())
}

/// Reads `NAME=VALUE` and `NAME<<DELIMITER … DELIMITER`; empty lines are passed over.
pub fn parse_assignments(file: &'static str, text: &str) -> Result<Vec<Assignment>, EnvironmentFileError> {
    let mut found = Vec::new();
    let mut lines = text.split_inclusive('\n').enumerate();
    while let Some((index, whole)) = lines.next() {
        let (line, number) = (without_line_end(whole), index + 1);
        if line.is_empty() {
            continue;
        }
        let equals = line.find('=').unwrap_or(usize::MAX);
        let heredoc = line.find("<<").unwrap_or(usize::MAX);
        if equals == 0 || heredoc == 0 {
            return Err(EnvironmentFileError::NoName { file, line: number });
        }
        if equals < heredoc {
            let (name, value) = (line[..equals].to_owned(), line[equals + 1..].to_owned());
            found.push(Assignment { name, value, line: number });
        } else if heredoc < equals {
            let (name, delimiter) = (&line[..heredoc], &line[heredoc + 2..]);
            if delimiter.is_empty() {
                return Err(EnvironmentFileError::NoDelimiter { file, line: number });
            }
            let value =
                heredoc_value(&mut lines, delimiter).ok_or_else(|| EnvironmentFileError::Unterminated {
                    file,
                    line: number,
                    name: name.to_owned(),
                    delimiter: delimiter.to_owned(),
                })?;
            found.push(Assignment { name: name.to_owned(), value, line: number });
        } else {
            let text = line.chars().take(60).collect();
            return Err(EnvironmentFileError::Format { file, line: number, text });
        }
    }
    Ok(found)
}

/// As [`parse_assignments`], for values that become environment variables.
pub fn parse_environment(text: &str) -> Result<Vec<Assignment>, EnvironmentFileError> {
    let found = parse_assignments("GITHUB_ENV", text)?;
    for Assignment { name, value, line } in &found {
        let why = if name.eq_ignore_ascii_case("NODE_OPTIONS") {
            "it would change how every later program of Node.js starts"
        } else if name.contains('\0') || value.contains('\0') {
            "an environment variable cannot hold a zero byte"
        } else {
            continue;
        };
        return Err(EnvironmentFileError::Refused {
            file: "GITHUB_ENV",
            line: *line,
            name: name.clone(),
            why,
        });
    }
    Ok(found)
}

/// Reads one folder per line, in the order in which they were written.
pub fn parse_paths(text: &str) -> Vec<String> {
    text.lines().filter(|line| !line.trim().is_empty() && !line.contains('\0')).map(str::to_owned).collect()
}

fn heredoc_value<'a>(lines: &mut impl Iterator<Item = (usize, &'a str)>, delimiter: &str) -> Option<String> {
    let mut value = String::new();
    for (_, whole) in lines {
        if without_line_end(whole) == delimiter {
            // The line end before the delimiter belongs to the delimiter.
            value.truncate(without_line_end(&value).len());
            return Some(value);
        }
        value.push_str(whole);
    }
    None
}

fn without_line_end(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let found = parse_assignments("GITHUB_OUTPUT", text).unwrap();
        found.into_iter().map(|assignment| (assignment.name, assignment.value)).collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn single_lines_keep_everything_after_the_first_equals_sign() {
        assert_eq!(
            pairs("A=1\n\nB=x=y<<z\r\nC= d \nlast="),
            [pair("A", "1"), pair("B", "x=y<<z"), pair("C", " d "), pair("last", "")]
        );
    }

    #[test]
    fn a_heredoc_spans_lines_until_its_delimiter_stands_alone() {
        assert_eq!(
            pairs("A<<EOF\none\n EOF\nA=2\n\nEOF\nB=3\n"),
            [pair("A", "one\n EOF\nA=2\n"), pair("B", "3")]
        );
        assert_eq!(pairs("A<<EOF\nEOF\n"), [pair("A", "")]);
        assert_eq!(pairs("A<<x=y\r\none\r\ntwo\r\nx=y"), [pair("A", "one\r\ntwo")]);
    }

    #[test]
    fn errors_name_the_file_and_the_line() {
        let error = |text| parse_assignments("GITHUB_OUTPUT", text).unwrap_err().to_string();
        assert!(error("A=1\nnonsense\n").starts_with("GITHUB_OUTPUT, line 2: `nonsense`"));
        assert!(error("=1").contains("line 1: the name"));
        assert!(error("\n<<EOF\n").contains("line 2: the name"));
        assert!(error("A<<\n").contains("the delimiter after"));
        assert!(error("A=1\nB<<END\nx\nENDE\n").contains("line 2: no later line is exactly `END`"));
    }

    #[test]
    fn some_variables_are_refused() {
        assert!(
            parse_environment("NODE_OPTIONS=--inspect").unwrap_err().to_string().contains("NODE_OPTIONS")
        );
        assert!(parse_environment("A=x\0y").unwrap_err().to_string().contains("zero byte"));
        assert_eq!(parse_environment("A=1").unwrap().len(), 1);
    }

    #[test]
    fn paths_are_lines() {
        assert_eq!(parse_paths("/a b\n\n/c\r\n"), ["/a b", "/c"]);
    }

    #[test]
    fn what_is_no_regular_file_is_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let files = EnvironmentFiles::create(folder.path(), 1).unwrap();
        std::fs::write(&files.env, "\u{feff}A=1").unwrap();
        assert_eq!(read_bounded("GITHUB_ENV", &files.env, 100).unwrap(), "A=1");
        assert_eq!(
            read_bounded("GITHUB_ENV", &files.env, 3),
            Err(EnvironmentFileError::TooLong { file: "GITHUB_ENV", bytes_max: 3 })
        );
        std::fs::remove_file(&files.output).unwrap();
        assert!(read_bounded("GITHUB_OUTPUT", &files.output, 100).is_err());
        std::os::unix::fs::symlink(&files.env, &files.output).unwrap();
        assert!(read_bounded("GITHUB_OUTPUT", &files.output, 100).is_err());
        std::fs::remove_file(&files.path).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&files.path).status().unwrap();
        assert!(made.success());
        let error = read_bounded("GITHUB_PATH", &files.path, 100).unwrap_err();
        assert!(error.to_string().contains("not a regular file"), "{error}");
    }
}
