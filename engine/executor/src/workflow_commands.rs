//! Workflow commands: the lines by which a step speaks to the engine (`::error file=a.c,line=3::text`).
//!
//! This file reads lines; what a command does is decided by the step's runner. As on GitHub today, `set-output` and
//! `save-state` are taken with a warning, `set-env` and `add-path` are refused (the step fails) unless the step's
//! environment holds `ACTIONS_ALLOW_UNSECURE_COMMANDS: true`; a name that is no command is ordinary text. The older
//! spelling `##[error]text` is read at the beginning of a line.
//!
//! Invariant: between `::stop-commands::TOKEN` and `::TOKEN::` nothing is a command.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How grave an annotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// `::notice::`
    Notice,
    /// `::warning::`
    Warning,
    /// `::error::`
    Error,
}

impl Level {
    /// The command's own name.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Notice => "notice",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

/// A remark about the job, perhaps about a place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotation {
    /// How grave it is.
    pub level: Level,
    /// What is said; masked.
    pub message: String,
    /// A heading, if one was given.
    pub title: Option<String>,
    /// The file spoken of.
    pub file: Option<String>,
    /// First line, counted from 1.
    pub line: Option<u32>,
    /// Last line.
    pub end_line: Option<u32>,
    /// First column, counted from 1.
    pub column: Option<u32>,
    /// Last column.
    pub end_column: Option<u32>,
}

impl Annotation {
    /// A remark without a place.
    pub fn plain(level: Level, message: impl Into<String>) -> Self {
        Annotation {
            level,
            message: message.into(),
            title: None,
            file: None,
            line: None,
            end_line: None,
            column: None,
            end_column: None,
        }
    }
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `error`, `warning`, `notice`.
    Annotate(Annotation),
    /// `debug`: shown only when step debugging is on.
    Debug(String),
    /// `group`: following lines fold under this heading.
    Group(String),
    /// `endgroup`.
    EndGroup,
    /// `add-mask`: hide this value from here on.
    AddMask(String),
    /// `set-output name=N::V`, replaced by the output file.
    SetOutput {
        /// The output's name.
        name: String,
        /// Its value.
        value: String,
    },
    /// `set-env name=N::V`, refused unless allowed.
    SetEnv {
        /// The variable's name.
        name: String,
        /// Its value.
        value: String,
    },
    /// `add-path`, refused unless allowed.
    AddPath(String),
    /// `save-state`: has meaning for actions only.
    SaveState,
    /// `echo::on`, `echo::off`: whether commands themselves are shown.
    Echo(bool),
    /// `stop-commands`: nothing is a command until the token comes.
    Stop,
    /// The token came.
    Resume,
    /// `add-matcher`, `remove-matcher`: problem matchers belong to actions.
    Matcher,
}

/// What a line is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Output to be shown.
    Text,
    /// A command.
    Command(Command),
    /// A command that cannot be carried out; the step fails with this message.
    Wrong(String),
}

const NAMES: &[&str] = &[
    "error",
    "warning",
    "notice",
    "debug",
    "group",
    "endgroup",
    "add-mask",
    "set-output",
    "set-env",
    "add-path",
    "save-state",
    "echo",
    "stop-commands",
    "add-matcher",
    "remove-matcher",
];

/// Reads the lines of one step.
#[derive(Debug, Default)]
pub struct CommandReader {
    resume_token: Option<String>,
}

impl CommandReader {
    /// Says what `line` (without its line end) is.
    pub fn read(&mut self, line: &str) -> Reading {
        let Some(raw) = split(line) else { return Reading::Text };
        if let Some(token) = &self.resume_token {
            if raw.name == *token {
                self.resume_token = None;
                return Reading::Command(Command::Resume);
            }
            return Reading::Text;
        }
        let name = raw.name.to_ascii_lowercase();
        if !NAMES.contains(&name.as_str()) {
            return Reading::Text;
        }
        self.command(&name, raw)
    }

    fn command(&mut self, name: &str, mut raw: Raw<'_>) -> Reading {
        let data = unescape_data(raw.data);
        let command = match name {
            "error" => Command::Annotate(raw.annotation(Level::Error, data)),
            "warning" => Command::Annotate(raw.annotation(Level::Warning, data)),
            "notice" => Command::Annotate(raw.annotation(Level::Notice, data)),
            "debug" => Command::Debug(data),
            "group" => Command::Group(data),
            "endgroup" => Command::EndGroup,
            "add-mask" => Command::AddMask(data),
            "set-output" | "set-env" | "save-state" => {
                let Some(key) = raw.properties.remove("name").filter(|key| !key.is_empty()) else {
                    return Reading::Wrong(format!(
                        "`::{name}` needs a name: write `::{name} name=NAME::VALUE`"
                    ));
                };
                match name {
                    "set-output" => Command::SetOutput { name: key, value: data },
                    "set-env" => Command::SetEnv { name: key, value: data },
                    _ => Command::SaveState,
                }
            }
            "add-path" if data.is_empty() => {
                return Reading::Wrong("`::add-path::` needs a folder after it".to_owned());
            }
            "add-path" => Command::AddPath(data),
            "echo" => match data.trim().to_ascii_lowercase().as_str() {
                "on" => Command::Echo(true),
                "off" => Command::Echo(false),
                _ => return Reading::Wrong("`::echo::` takes `on` or `off`".to_owned()),
            },
            "stop-commands" => {
                let taken = NAMES.iter().any(|name| name.eq_ignore_ascii_case(&data));
                if data.is_empty() || taken || data.eq_ignore_ascii_case("pause-logging") {
                    return Reading::Wrong(
                        "`::stop-commands::` needs a token after it that is no command name; use a random one".to_owned(),
                    );
                }
                self.resume_token = Some(data);
                Command::Stop
            }
            _ => Command::Matcher,
        };
        Reading::Command(command)
    }
}

struct Raw<'a> {
    name: &'a str,
    properties: BTreeMap<String, String>,
    data: &'a str,
}

impl Raw<'_> {
    fn annotation(&mut self, level: Level, message: String) -> Annotation {
        let number = |key: &str| self.properties.get(key).and_then(|text| text.trim().parse().ok());
        let (line, end_line) = (number("line"), number("endline"));
        let (column, end_column) = (number("col"), number("endcolumn"));
        let mut text = |key: &str| self.properties.remove(key).filter(|text| !text.is_empty());
        Annotation {
            level,
            message,
            title: text("title"),
            file: text("file"),
            line,
            end_line,
            column,
            end_column,
        }
    }
}

fn split(line: &str) -> Option<Raw<'_>> {
    let line = line.trim_start();
    let (head, data, separator) = if let Some(rest) = line.strip_prefix("::") {
        let (head, data) = rest.split_once("::")?;
        (head, data, ',')
    } else {
        let (head, data) = line.strip_prefix("##[")?.split_once(']')?;
        (head, data, ';')
    };
    let (name, properties) = head.split_once(' ').unwrap_or((head, ""));
    let properties = properties
        .split(separator)
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.trim().to_ascii_lowercase(), unescape_property(value)))
        .collect();
    (!name.is_empty()).then_some(Raw { name, properties, data })
}

fn unescape_data(text: &str) -> String {
    text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")
}

fn unescape_property(text: &str) -> String {
    text.replace("%0D", "\r").replace("%0A", "\n").replace("%3A", ":").replace("%2C", ",").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Reading {
        CommandReader::default().read(line)
    }

    #[test]
    fn an_error_names_its_place() {
        let Reading::Command(Command::Annotate(annotation)) = one(
            "  ::error file=src/a%2Cb.c,line=3,endLine=4,col=5,endColumn=6,title=Bad::first%0Asecond 100%25",
        ) else {
            panic!("an annotation was expected");
        };
        assert_eq!(annotation.level, Level::Error);
        assert_eq!(annotation.file.as_deref(), Some("src/a,b.c"));
        assert_eq!(
            (annotation.line, annotation.end_line, annotation.column, annotation.end_column),
            (Some(3), Some(4), Some(5), Some(6))
        );
        assert_eq!(annotation.title.as_deref(), Some("Bad"));
        assert_eq!(annotation.message, "first\nsecond 100%");
    }

    #[test]
    fn unknown_names_and_other_text_are_text() {
        for line in [
            "",
            "::",
            "::::",
            "hello",
            "::nothing::x",
            "a ::error::x",
            ":: error::x",
            "std::string::x",
            "::error",
        ] {
            assert_eq!(one(line), Reading::Text, "{line:?}");
        }
    }

    #[test]
    fn the_older_spelling_is_read() {
        assert_eq!(one("##[group]Build"), Reading::Command(Command::Group("Build".into())));
        assert!(
            matches!(one("##[warning file=a;line=2]x"), Reading::Command(Command::Annotate(a)) if a.line == Some(2))
        );
    }

    #[test]
    fn nothing_is_a_command_until_the_token_comes() {
        let mut reader = CommandReader::default();
        assert_eq!(reader.read("::stop-commands::t0k3n"), Reading::Command(Command::Stop));
        assert_eq!(reader.read("::error::quoted"), Reading::Text);
        assert_eq!(reader.read("::T0K3N::"), Reading::Text);
        assert_eq!(reader.read("::t0k3n::"), Reading::Command(Command::Resume));
        assert_eq!(reader.read("::endgroup::"), Reading::Command(Command::EndGroup));
    }

    #[test]
    fn commands_without_what_they_need_are_wrong() {
        for line in [
            "::set-output::x",
            "::set-env name=::x",
            "::echo::maybe",
            "::stop-commands::",
            "::stop-commands::error",
        ] {
            assert!(matches!(one(line), Reading::Wrong(_)), "{line}");
        }
    }
}
