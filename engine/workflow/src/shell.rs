//! Which program runs a script, and how it is called.

use std::path::Path;

/// A shell of a `run` step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shell {
    /// Nothing was said: bash stopping at the first error; `sh` where there is no bash.
    Unspecified,
    /// `bash`: stops at the first error, also inside pipes, reads no profile.
    Bash,
    /// `sh`
    Sh,
    /// `python`
    Python,
    /// Any other program, as words; one of them holds `{0}`, the script.
    Custom(Vec<String>),
}

/// Why a shell cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShellError {
    /// A shell that GitHub knows and this version does not run.
    #[error("the shell '{0}' is not supported; use bash, sh, python or a command with {{0}}")]
    Unsupported(String),
    /// A command without a place for the script.
    #[error("the shell '{0}' is not known, and as a command it lacks {{0}} for the script")]
    NoScript(String),
}

impl Shell {
    /// Reads the value of a `shell` key.
    pub fn parse(text: &str) -> Result<Shell, ShellError> {
        let text = text.trim();
        match text {
            "" => Ok(Shell::Unspecified),
            "bash" => Ok(Shell::Bash),
            "sh" => Ok(Shell::Sh),
            "python" => Ok(Shell::Python),
            "pwsh" | "powershell" | "cmd" => Err(ShellError::Unsupported(text.to_owned())),
            _ if text.contains("{0}") => {
                let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
                match words.first().map(String::as_str) {
                    Some("pwsh" | "powershell" | "cmd") => Err(ShellError::Unsupported(text.to_owned())),
                    _ => Ok(Shell::Custom(words)),
                }
            }
            _ => Err(ShellError::NoScript(text.to_owned())),
        }
    }

    /// Program and arguments that run the script. For [`Shell::Unspecified`] the caller says whether the host has bash.
    pub fn command(&self, script: &Path, has_bash: bool) -> Vec<String> {
        let script = script.to_string_lossy();
        let words: &[&str] = match self {
            Shell::Unspecified if has_bash => &["bash", "-e", "{0}"],
            Shell::Bash => &["bash", "--noprofile", "--norc", "-eo", "pipefail", "{0}"],
            Shell::Unspecified | Shell::Sh => &["sh", "-e", "{0}"],
            Shell::Python => &["python", "{0}"],
            Shell::Custom(words) => return words.iter().map(|word| word.replace("{0}", &script)).collect(),
        };
        words.iter().map(|word| word.replace("{0}", &script)).collect()
    }

    /// How the script's file name ends.
    pub fn script_extension(&self) -> &'static str {
        match self {
            Shell::Python => ".py",
            Shell::Unspecified | Shell::Bash | Shell::Sh | Shell::Custom(_) => ".sh",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_githubs() {
        let script = Path::new("/t/s.sh");
        assert_eq!(Shell::Unspecified.command(script, true), ["bash", "-e", "/t/s.sh"]);
        assert_eq!(Shell::Unspecified.command(script, false), ["sh", "-e", "/t/s.sh"]);
        let bash = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "/t/s.sh"];
        assert_eq!(Shell::parse("bash").unwrap().command(script, true), bash);
        assert_eq!(Shell::parse("perl -w {0}").unwrap().command(script, true), ["perl", "-w", "/t/s.sh"]);
    }

    #[test]
    fn other_shells_are_refused_by_name() {
        assert!(Shell::parse("pwsh").unwrap_err().to_string().contains("'pwsh'"));
        assert!(Shell::parse("cmd /c {0}").is_err());
        assert!(matches!(Shell::parse("fish"), Err(ShellError::NoScript(_))));
    }
}
