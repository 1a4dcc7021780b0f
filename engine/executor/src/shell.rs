//! Which program runs a step's script, and with which arguments. Pure but for the look at the search path.
//!
//! | `shell:` | command | script |
//! |---|---|---|
//! | (absent) | `bash -e {0}`, without bash `sh -e {0}` | `.sh` |
//! | `bash` | `bash --noprofile --norc -eo pipefail {0}` | `.sh` |
//! | `sh` | `sh -e {0}` | `.sh` |
//! | `python` | `python {0}`, without python `python3 {0}` | `.py` |
//! | `pwsh` | `pwsh -command ". '{0}'"` | `.ps1` |
//! | text with `{0}` | that text; quotes group words, nothing else is special | none |

use std::path::{Path, PathBuf};

use crate::process::find_program;

/// Why a step has no shell. The step fails.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ShellError {
    /// The program is not on this host.
    #[error(
        "`{program}` is not on this host (looked in PATH: {search_path}); install it or choose another `shell:`"
    )]
    Missing {
        /// The program's name.
        program: String,
        /// Where it was looked for.
        search_path: String,
    },
    /// The text is neither a known name nor a template.
    #[error(
        "`shell: {shell}` is not known: use bash, sh, python, pwsh, or a command with {{0}} where the script's path belongs"
    )]
    Unknown {
        /// What was written.
        shell: String,
    },
    /// It exists on Windows only.
    #[error("`shell: {shell}` exists on Windows only; this host offers bash, sh, python and pwsh")]
    Windows {
        /// What was written.
        shell: String,
    },
    /// A quote is not closed.
    #[error("`shell: {shell}`: a quote is not closed")]
    Quote {
        /// What was written.
        shell: String,
    },
}

/// A shell that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shell {
    /// The program's absolute path.
    pub program: PathBuf,
    /// Its arguments; `{0}` stands for the script's path.
    pub arguments: Vec<String>,
    /// The script's file extension, with its dot.
    pub extension: &'static str,
}

impl Shell {
    /// Finds the shell for `written` in `search_path`; relative folders of it start at `folder`.
    pub fn find(written: Option<&str>, search_path: &str, folder: &Path) -> Result<Self, ShellError> {
        let look = |name: &str| find_program(name, search_path, folder);
        let missing = |program: &str| ShellError::Missing {
            program: program.to_owned(),
            search_path: search_path.to_owned(),
        };
        let first_of =
            |names: &[&str]| names.iter().find_map(|name| look(name)).ok_or_else(|| missing(names[0]));
        let shell = |program, arguments: &[&str], extension| Shell {
            program,
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            extension,
        };
        Ok(match written.map(str::trim) {
            None | Some("") => shell(first_of(&["bash", "sh"])?, &["-e", "{0}"], ".sh"),
            Some("bash") => {
                shell(first_of(&["bash"])?, &["--noprofile", "--norc", "-eo", "pipefail", "{0}"], ".sh")
            }
            Some("sh") => shell(first_of(&["sh"])?, &["-e", "{0}"], ".sh"),
            Some("python") => shell(first_of(&["python", "python3"])?, &["{0}"], ".py"),
            Some("pwsh") => shell(first_of(&["pwsh"])?, &["-command", ". '{0}'"], ".ps1"),
            Some(name @ ("cmd" | "powershell")) => {
                return Err(ShellError::Windows { shell: name.to_owned() });
            }
            Some(custom) if custom.contains("{0}") => {
                let words = words(custom).ok_or_else(|| ShellError::Quote { shell: custom.to_owned() })?;
                let Some((program, arguments)) = words.split_first() else {
                    return Err(ShellError::Unknown { shell: custom.to_owned() });
                };
                Shell {
                    program: look(program).ok_or_else(|| missing(program))?,
                    arguments: arguments.to_vec(),
                    extension: "",
                }
            }
            Some(unknown) => return Err(ShellError::Unknown { shell: unknown.to_owned() }),
        })
    }

    /// The text of the script file.
    pub fn script(&self, run: &str) -> String {
        match self.extension {
            ".ps1" => format!(
                "$ErrorActionPreference = 'stop'\n{run}\nif ((Test-Path -LiteralPath variable:\\LASTEXITCODE)) {{ exit $LASTEXITCODE }}\n"
            ),
            _ if run.ends_with('\n') => run.to_owned(),
            _ => format!("{run}\n"),
        }
    }

    /// The arguments for a script at `path`.
    pub fn arguments_for(&self, path: &str) -> Vec<String> {
        self.arguments.iter().map(|argument| argument.replace("{0}", path)).collect()
    }

    /// As it is shown in the log.
    pub fn shown(&self) -> String {
        format!("{} {}", self.program.display(), self.arguments.join(" "))
    }
}

/// Words separated by blanks; single and double quotes group, also within a word.
fn words(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for character in text.chars() {
        match quote {
            Some(open) if character == open => quote = None,
            None if character == '"' || character == '\'' => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            None if character.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn folder_with(programs: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for program in programs {
            let path = folder.path().join(program);
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        folder
    }

    fn command(written: Option<&str>, programs: &[&str]) -> Result<String, ShellError> {
        let folder = folder_with(programs);
        let shell = Shell::find(written, &folder.path().display().to_string(), Path::new("/"))?;
        let name = shell.program.file_name().unwrap().to_str().unwrap().to_owned();
        Ok(format!("{name} {}", shell.arguments_for("/s p").join("|")))
    }

    #[test]
    fn each_name_has_its_command() {
        let all = ["bash", "sh", "python", "python3", "pwsh", "perl"];
        for (written, expected) in [
            (None, "bash -e|/s p"),
            (Some("bash"), "bash --noprofile|--norc|-eo|pipefail|/s p"),
            (Some("sh"), "sh -e|/s p"),
            (Some("python"), "python /s p"),
            (Some("pwsh"), "pwsh -command|. '/s p'"),
            (Some("perl -w '{0}' \"a b\" c'd'"), "perl -w|/s p|a b|cd"),
        ] {
            assert_eq!(command(written, &all).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn some_names_have_a_second_choice() {
        assert_eq!(command(None, &["sh"]).unwrap(), "sh -e|/s p");
        assert_eq!(command(Some("python"), &["python3"]).unwrap(), "python3 /s p");
    }

    #[test]
    fn what_cannot_be_run_says_so() {
        assert!(
            matches!(command(Some("bash"), &["sh"]), Err(ShellError::Missing { program, .. }) if program == "bash")
        );
        assert!(
            matches!(command(Some("fish {0}"), &["sh"]), Err(ShellError::Missing { program, .. }) if program == "fish")
        );
        assert!(matches!(command(Some("perl"), &["perl"]), Err(ShellError::Unknown { .. })));
        assert!(matches!(command(Some("cmd"), &[]), Err(ShellError::Windows { .. })));
        assert!(matches!(command(Some("perl '{0}"), &["perl"]), Err(ShellError::Quote { .. })));
    }
}
