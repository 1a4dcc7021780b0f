//! What this host's node was told: from options, from the environment, from a file, and else by default.
//!
//! One table ([`keys::KEYS`]) says what there is. A value is taken from the first that says one: the option, the variable
//! `WFENGINE_TABLE_KEY`, the file, the default. The file is `config.toml` in the data directory, or the one that `--config` or
//! WFENGINE_CONFIG names. It is read when a node starts, and by the verbs that show it; short commands do not look at it.
//!
//! Not here: what is kept by verbs such as `init`, `allow` and `discover watch` (settings.json, see [`crate::home`]).

mod file;
pub(crate) mod keys;
mod mistake;
mod serving;
mod value;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use wfengine_api::Failure;

use crate::commands::Globals;
use crate::home::data_dir_path;
use keys::Key;
pub(crate) use mistake::Mistake;
use mistake::Place;
pub(crate) use serving::{Http, Network, Serving, given};
use value::{Value, beginning};

/// The file's name in the data directory.
const FILE_NAME: &str = "config.toml";
/// Where another file is named.
const FILE_VARIABLE: &str = "WFENGINE_CONFIG";

/// Who said a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// An option of the command line.
    Option(&'static str),
    /// A variable of the environment.
    Environment(String),
    /// A line of the file.
    File(PathBuf, usize),
    /// Nobody.
    Default,
}

impl Source {
    /// One word for programs.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Option(_) => "option",
            Self::Environment(_) => "environment",
            Self::File(..) => "file",
            Self::Default => "default",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option(name) => f.write_str(name),
            Self::Environment(name) => f.write_str(name),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A key with what holds of it.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) key: &'static Key,
    /// `None`: no value; the key's default says what holds then.
    pub(crate) value: Option<Value>,
    pub(crate) source: Source,
}

impl Held {
    /// The value for people: as the file would have it, and of what may be secret no more than tells it from others.
    pub(crate) fn shown(&self) -> String {
        match &self.value {
            Some(_) if self.is_hidden() => "set, and not shown".to_owned(),
            Some(value) => value.to_string(),
            None => self.key.default_shown(),
        }
    }

    /// What everybody knows is no secret.
    fn is_hidden(&self) -> bool {
        self.key.is_secret && self.source != Source::Default
    }

    /// The value for programs; null where there is none, or where it may be secret.
    pub(crate) fn json(&self) -> Option<serde_json::Value> {
        self.value.as_ref().filter(|_| !self.is_hidden()).map(Value::json)
    }
}

/// What options say: the key's name, its value, and the option.
pub(crate) type Given = Vec<(&'static str, Value, &'static str)>;

/// Everything a node was told.
#[derive(Debug)]
pub(crate) struct Config {
    /// The file that was looked for.
    pub(crate) file: PathBuf,
    /// Whether it is there.
    pub(crate) file_exists: bool,
    /// Every key, in the order of the table.
    pub(crate) held: Vec<Held>,
    /// What is wrong in the file and in the environment.
    pub(crate) mistakes: Vec<Mistake>,
}

/// Where the file is, and whether somebody named it.
fn file_path(globals: &Globals) -> Result<(PathBuf, bool), Failure> {
    match &globals.config {
        Some(path) => Ok((path.clone(), true)),
        None => Ok((data_dir_path(globals.data_dir.clone())?.join(FILE_NAME), false)),
    }
}

impl Config {
    /// Reads the file and the environment of this process; options come before both. Mistakes are kept, not said.
    pub(crate) fn read(globals: &Globals, given: Given) -> Result<Self, Failure> {
        let (path, is_named) = file_path(globals)?;
        let read = file::read(&path);
        if read.is_none() && is_named {
            return Err(Failure::bad_input(format!(
                "{}: no such file; --config or {FILE_VARIABLE} names it",
                path.display()
            )));
        }
        let variable = |name: &str| std::env::var_os(name);
        Ok(Self::of(path, read, &variable, given))
    }

    /// As [`Config::read`], and fails if there is a mistake: what a node is told wrongly it does not do by halves.
    pub(crate) fn load(globals: &Globals, given: Given) -> Result<Self, Failure> {
        let config = Self::read(globals, given)?;
        if config.mistakes.is_empty() {
            return Ok(config);
        }
        let said: Vec<String> = config.mistakes.iter().map(ToString::to_string).collect();
        Err(Failure::bad_input(format!(
            "the configuration is wrong, see `wfengine config check`:\n{}",
            said.join("\n")
        )))
    }

    fn of(
        path: PathBuf,
        read: Option<file::FileSays>,
        variable: &dyn Fn(&str) -> Option<OsString>,
        given: Given,
    ) -> Self {
        let file_exists = read.is_some();
        let file::FileSays { values, mut mistakes } = read.unwrap_or_default();
        let mut in_file: BTreeMap<&str, (Value, usize)> =
            values.into_iter().map(|(key, value, line)| (key.name, (value, line))).collect();
        let mut options: BTreeMap<&str, (Value, &'static str)> =
            given.into_iter().map(|(name, value, option)| (name, (value, option))).collect();
        let mut held = Vec::new();
        for key in keys::KEYS {
            let said = variable(&key.variable()).filter(|text| !text.is_empty());
            let in_environment = said.and_then(|text| match of_variable(key, &text.to_string_lossy()) {
                Ok(value) => Some(value),
                Err(mistake) => {
                    mistakes.push(*mistake);
                    None
                }
            });
            let (value, source) = if let Some((value, option)) = options.remove(key.name) {
                (Some(value), Source::Option(option))
            } else if let Some(value) = in_environment {
                (Some(value), Source::Environment(key.variable()))
            } else if let Some((value, line)) = in_file.remove(key.name) {
                (Some(value), Source::File(path.clone(), line))
            } else {
                (key.default_value(), Source::Default)
            };
            held.push(Held { key, value, source });
        }
        mistakes.extend(unsigned(&held));
        Self { file: path, file_exists, held, mistakes }
    }

    fn value(&self, name: &str) -> Option<&Value> {
        debug_assert!(keys::named(name).is_some(), "BUG: {name} is no key");
        self.held.iter().find(|held| held.key.name == name).and_then(|held| held.value.as_ref())
    }

    fn is_on(&self, name: &str) -> bool {
        matches!(self.value(name), Some(Value::Switch(true)))
    }

    fn number(&self, name: &str) -> Option<u64> {
        match self.value(name) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    fn text(&self, name: &str) -> String {
        match self.value(name) {
            Some(Value::Text(text)) => text.clone(),
            _ => String::new(),
        }
    }

    fn list(&self, name: &str) -> Vec<String> {
        match self.value(name) {
            Some(Value::List(texts)) => texts.clone(),
            _ => Vec::new(),
        }
    }
}

/// A webhook without a secret: nobody could tell its messages from forged ones.
fn unsigned(held: &[Held]) -> Option<Mistake> {
    let of = |name: &str| held.iter().find(|held| held.key.name == name && held.value.is_some());
    let webhook = of("notify.webhook").filter(|_| of("notify.secret_file").is_none())?;
    let place = match &webhook.source {
        Source::File(path, line) => Place::File(path.clone(), Some(*line)),
        Source::Environment(name) => Place::Variable(name.clone()),
        Source::Option(_) | Source::Default => return None,
    };
    Some(Mistake {
        place,
        key: webhook.key.name.to_owned(),
        found: "no notify.secret_file beside it".to_owned(),
        allowed: "both or neither: what is posted is signed".to_owned(),
        near: Vec::new(),
    })
}

fn of_variable(key: &Key, text: &str) -> Result<Value, Box<Mistake>> {
    let mistake = |found: String| {
        let found = if key.is_secret { "a value that is not shown".to_owned() } else { beginning(&found) };
        Box::new(Mistake {
            place: Place::Variable(key.variable()),
            key: key.name.to_owned(),
            found,
            allowed: key.kind.allowed(),
            near: Vec::new(),
        })
    };
    let value = key.kind.of_variable(text).map_err(|wrong| mistake(wrong.0))?;
    key.kind.check(&value).map_err(mistake)?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(text: &str, variables: &[(&str, &str)], given: Given) -> Config {
        let path = Path::new("c.toml");
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        Config::of(path.to_owned(), Some(file::parse(path, text)), &variable, given)
    }

    fn port(config: &Config) -> (u64, String) {
        let held = config.held.iter().find(|held| held.key.name == "http.port").unwrap();
        (config.number("http.port").unwrap(), held.source.to_string())
    }

    #[test]
    fn an_option_comes_before_the_environment_before_the_file_before_the_default() {
        let file = "\n[http]\nport = 3\n";
        let variable = [("WFENGINE_HTTP_PORT", "2")];
        let given = || vec![("http.port", Value::Number(1), "--http")];
        assert_eq!(port(&config(file, &variable, given())), (1, "--http".to_owned()));
        assert_eq!(port(&config(file, &variable, vec![])), (2, "WFENGINE_HTTP_PORT".to_owned()));
        assert_eq!(port(&config(file, &[("WFENGINE_HTTP_PORT", "")], vec![])), (3, "c.toml:3".to_owned()));
        assert_eq!(port(&config("", &[], vec![])), (8080, "default".to_owned()));
    }

    #[test]
    fn a_wrong_variable_is_a_mistake_even_where_an_option_comes_before_it() {
        let given = vec![("http.port", Value::Number(1), "--http")];
        let config = config("", &[("WFENGINE_HTTP_PORT", "x"), ("WFENGINE_HTTP_ENABLED", "maybe")], given);
        let said: Vec<String> = config.mistakes.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(
            said.iter().any(|said| said.starts_with("WFENGINE_HTTP_PORT: http.port: found `x`")),
            "{said:?}"
        );
    }
}
