//! The command lines of three older programs, for people and scripts that come from them: `wfengine` called through a link that has
//! one of their names, or as `wfengine as NAME …`.
//!
//! What a verb does is what its tool does at every door, or what our own command does where no tool fits; here are only their words,
//! their flags and the shapes that they printed. Statuses are theirs as well: 0 it is so, 1 it is not, 2 the words make no sense.
//!
//! Invariants: nothing is said to have happened that did not; where an older program answered otherwise, a note on stderr says so.

mod accelerate;
mod credential;
mod datasets;
mod import;
mod kit;
mod kit_state;
mod printed;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;

use clap::{Parser, error::ErrorKind};
use serde_json::Value;
use wfengine_api::tools::{self, Context, Files, Object};
use wfengine_api::{Exit, Failure, Handlers};

use crate::args::{AsArgs, Cli};
use crate::commands::{self, Globals, actor};
use crate::door::{Door, Others};
pub(crate) use import::import;

/// An older program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum OldName {
    Accelerate,
    Datasets,
    Kit,
}

impl OldName {
    const ALL: [Self; 3] = [Self::Accelerate, Self::Datasets, Self::Kit];

    const fn text(self) -> &'static str {
        match self {
            Self::Accelerate => "ipfs-accelerate",
            Self::Datasets => "ipfs-datasets",
            Self::Kit => "ipfs-kit",
        }
    }

    fn find(text: &OsStr) -> Option<Self> {
        Self::ALL.into_iter().find(|name| OsStr::new(name.text()) == text)
    }
}

/// The command line of a process that was called by an older program's name; `None` if it was not.
pub(crate) fn called_by(arguments: impl IntoIterator<Item = OsString>) -> Option<Cli> {
    let mut arguments = arguments.into_iter();
    let name = OldName::find(Path::new(&arguments.next()?).file_stem()?)?;
    let words = ["wfengine", "as", name.text()].map(OsString::from);
    Some(Cli::parse_from(words.into_iter().chain(arguments)))
}

/// `as NAME …`.
pub(crate) async fn run(globals: &Globals, args: AsArgs) -> Result<Exit, Failure> {
    let mut words = args.words.into_iter();
    let named = words.next().unwrap_or_default();
    let Some(name) = OldName::find(&named) else {
        let mut failure = Failure::bad_input(format!(
            "as {}: expected the name of an older program",
            named.to_string_lossy()
        ));
        failure.candidates = OldName::ALL.map(|name| format!("as {}", name.text())).to_vec();
        return Err(failure);
    };
    let asking = Asking { globals: globals.clone() };
    let words = [named].into_iter().chain(words);
    let ended = match name {
        OldName::Accelerate => match parsed::<accelerate::Accelerate>(words) {
            Ok(said) => accelerate::run(asking, said).await,
            Err(exit) => return Ok(exit),
        },
        OldName::Datasets => match parsed::<datasets::Datasets>(words) {
            Ok(said) => datasets::run(asking, said).await,
            Err(exit) => return Ok(exit),
        },
        OldName::Kit => match parsed::<kit::Kit>(words) {
            Ok(said) => kit::run(asking, said).await,
            Err(exit) => return Ok(exit),
        },
    };
    // they knew one status for whatever went wrong
    ended.map_err(|failure| Failure { exit: Exit::Failure, ..failure })
}

/// What was said, or the status with which the process ends: help was printed, or what was not understood.
fn parsed<T: Parser>(words: impl Iterator<Item = OsString>) -> Result<T, Exit> {
    T::try_parse_from(words).map_err(|error| {
        // whoever closed the stream needs no help
        let _ = error.print();
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Success,
            _ => Exit::BadInput,
        }
    })
}

/// The ways to what a verb asks for.
struct Asking {
    globals: Globals,
}

impl Asking {
    /// As if `--json` had been said to our own program.
    fn with_json(mut self, json: bool) -> Self {
        self.globals.json |= json;
        self
    }

    const fn json(&self) -> bool {
        self.globals.json
    }

    /// Calls a tool, as every other door does.
    async fn tool(&self, name: &str, arguments: Value) -> Result<Value, Failure> {
        let arguments = match arguments {
            Value::Object(arguments) => arguments,
            _ => Object::new(),
        };
        let door = Arc::new(Door::open(&self.globals, Others::Wait).await?);
        let answer = call(&door, name, arguments).await;
        let closed = door.close();
        let answer = answer?;
        closed?;
        Ok(answer)
    }

    /// Runs a command line of our own.
    async fn ours(&self, words: &[String]) -> Result<Exit, Failure> {
        let own = ["wfengine".to_owned()].into_iter().chain(words.iter().cloned());
        let mut cli = Cli::try_parse_from(own).map_err(|error| Failure::bad_input(error.to_string()))?;
        cli.json |= self.globals.json;
        cli.data_dir.clone_from(&self.globals.data_dir);
        cli.node.clone_from(&self.globals.node);
        cli.token.clone_from(&self.globals.token);
        // our own verbs lead here, so that this one needs a place of its own
        Box::pin(commands::run(cli)).await
    }
}

/// Calls a tool through a door that is open.
async fn call(door: &Arc<Door>, name: &str, arguments: Object) -> Result<Value, Failure> {
    let handlers: Arc<dyn Handlers> = Arc::clone(door) as _;
    let context = Context { handlers, progress: None, files: Files::Own, actor: actor() };
    tools::find(name)?.call(context, arguments).await
}

/// Without what was not said: a tool has its own defaults.
fn given(fields: Value) -> Value {
    match fields {
        Value::Object(fields) => fields.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        other => other,
    }
}

/// A text that has to be JSON.
fn json_of(option: &str, text: Option<&str>) -> Result<Option<Value>, Failure> {
    let read = |text: &str| {
        serde_json::from_str(text)
            .map_err(|error| Failure::bad_input(format!("{option} is not JSON: {error}")))
    };
    text.map(read).transpose()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Verb;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_link_with_an_older_name_speaks_that_programs_words() {
        for (line, name) in [
            ("/usr/local/bin/ipfs-kit p2p stats", "ipfs-kit"),
            ("ipfs-datasets p2p", "ipfs-datasets"),
            ("./ipfs-accelerate.exe runner status", "ipfs-accelerate"),
        ] {
            let cli = called_by(words(line)).unwrap();
            let Verb::As(args) = cli.verb else { unreachable!("{line}") };
            assert_eq!(args.words.first().unwrap(), name);
            assert_eq!(args.words.len(), words(line).len());
        }
        for line in ["wfengine status", "ipfs-kitten p2p", "/ipfs-kit/wfengine", ""] {
            assert!(called_by(words(line)).is_none(), "{line}");
        }
        assert!(called_by(Vec::new()).is_none());
    }

    #[test]
    fn everything_after_as_and_the_name_is_the_older_programs() {
        let line = "wfengine --data-dir D as ipfs-kit --json p2p workflow list --data-dir E --help";
        let cli = Cli::try_parse_from(words(line)).unwrap();
        assert_eq!((cli.json, cli.data_dir.unwrap().to_str()), (false, Some("D")));
        let Verb::As(args) = cli.verb else { unreachable!("{line}") };
        assert_eq!(args.words, words("ipfs-kit --json p2p workflow list --data-dir E --help"));
        assert!(Cli::try_parse_from(["wfengine", "as"]).is_err());
    }

    #[test]
    fn the_three_command_lines_are_well_formed() {
        accelerate::Accelerate::command().debug_assert();
        datasets::Datasets::command().debug_assert();
        kit::Kit::command().debug_assert();
        Cli::command().debug_assert();
    }

    #[test]
    fn what_was_not_said_is_left_to_the_tool() {
        let fields = given(serde_json::json!({ "name": null, "priority": 3.0, "inputs": {} }));
        assert_eq!(fields, serde_json::json!({ "priority": 3.0, "inputs": {} }));
        assert_eq!(json_of("--result", Some("[1]")).unwrap(), Some(serde_json::json!([1])));
        assert!(json_of("--result", Some("{")).unwrap_err().message.starts_with("--result is not JSON"));
    }
}
