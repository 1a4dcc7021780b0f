//! `config`: what this host's node is told, who says it, and what is wrong with it.
//!
//! Asks no node and makes no data directory: it shows what a node would find that starts here and now.

use wfengine_api::{Exit, Failure};

use super::Globals;
use crate::args::{ConfigShowArgs, ConfigVerb};
use crate::config::{self, Config, Held};
use crate::documents::{CheckedConfigDocument, ConfigDocument, KeyDocument};
use crate::terminal::{self, Column};

pub(super) fn config(globals: &Globals, verb: ConfigVerb) -> Result<Exit, Failure> {
    globals.only_here("config")?;
    match verb {
        ConfigVerb::Show(args) => show(globals, &args),
        ConfigVerb::Check => check(globals),
    }
}

fn show(globals: &Globals, args: &ConfigShowArgs) -> Result<Exit, Failure> {
    let config = Config::read(globals, config::given(&args.serving)?)?;
    if globals.json {
        let keys: Vec<_> = config.held.iter().map(document).collect();
        terminal::json(&ConfigDocument {
            file: config.file.display().to_string(),
            file_exists: config.file_exists,
            keys,
            mistakes: config.mistakes.iter().map(config::Mistake::document).collect(),
        });
    } else {
        let rows: Vec<Vec<String>> = config
            .held
            .iter()
            .map(|held| {
                let key = held.key;
                let unit = key.unit.to_owned();
                vec![key.name.to_owned(), held.shown(), unit, key.kind.allowed(), held.source.to_string()]
            })
            .collect();
        terminal::table(KEYS, rows);
        let is_there = if config.file_exists { "" } else { " (not there)" };
        terminal::line(&format!("file: {}{is_there}", config.file.display()));
    }
    Ok(said(&config, globals.json))
}

const KEYS: &[Column] = &[
    Column::whole("KEY"),
    Column::yielding("VALUE", 2, 2),
    Column::yielding("UNIT", 0, 1),
    Column::yielding("ALLOWED", 0, 2),
    Column::yielding("FROM", 1, 1),
];

fn document(held: &Held) -> KeyDocument {
    let key = held.key;
    let (file, line) = match &held.source {
        config::Source::File(path, line) => (Some(path.display().to_string()), Some(*line)),
        _ => (None, None),
    };
    KeyDocument {
        key: key.name,
        value: held.json(),
        shown: held.shown(),
        unit: key.unit,
        allowed: key.kind.allowed(),
        default: key.default_shown(),
        source: held.source.word(),
        from: held.source.to_string(),
        file,
        line,
        variable: key.variable(),
        option: (!key.flag.is_empty()).then_some(key.flag),
        secret: key.is_secret,
        help: key.help,
    }
}

fn check(globals: &Globals) -> Result<Exit, Failure> {
    let config = Config::read(globals, Vec::new())?;
    if globals.json {
        terminal::json(&CheckedConfigDocument {
            file: config.file.display().to_string(),
            file_exists: config.file_exists,
            ok: config.mistakes.is_empty(),
            mistakes: config.mistakes.iter().map(config::Mistake::document).collect(),
        });
    } else if config.mistakes.is_empty() {
        let file = config.file.display();
        terminal::line(&match config.file_exists {
            true => {
                format!("{file} and the environment are right: `wfengine config show` says what they come to")
            }
            false => format!("{file} is not there, and the environment is right: the defaults hold"),
        });
    }
    Ok(said(&config, globals.json))
}

/// Says the mistakes, and what follows from there being any.
fn said(config: &Config, json: bool) -> Exit {
    if config.mistakes.is_empty() {
        return Exit::Success;
    }
    if !json {
        config.mistakes.iter().for_each(|mistake| terminal::error(&mistake.to_string()));
    }
    Exit::BadInput
}
