//! `schema`: what `--json` prints, described.

use clap::{Command, CommandFactory};
use wfengine_api::{Exit, Failure};

use super::Globals;
use crate::args::{Cli, SchemaArgs};
use crate::documents::VerbDocument;
use crate::schemas::{printed, without};
use crate::terminal::{self, Column};

const VERBS: &[Column] = &[Column::whole("VERB"), Column::yielding("PRINTS WITH --json", 1, 1)];

pub(super) fn schema(globals: &Globals, args: &SchemaArgs) -> Result<Exit, Failure> {
    if args.verb.is_empty() {
        list(globals);
        return Ok(Exit::Success);
    }
    let words: Vec<&str> = args.verb.iter().flat_map(|word| word.split(' ')).collect();
    let verb = words.join(" ");
    let found = printed(&words).ok_or_else(|| match without(&words) {
        Some(why) => Failure::bad_input(format!("`{verb}` prints no JSON: it {why}")),
        None => {
            let mut failure =
                Failure::bad_input(format!("there is no verb `{verb}`; `wfengine schema` lists them"));
            failure.candidates =
                verbs(&Cli::command()).into_iter().filter(|known| known.contains(&verb)).take(8).collect();
            failure
        }
    })?;
    let schema = found.schema(&verb, args.watch);
    if globals.json {
        terminal::json(&schema);
    } else {
        let text = serde_json::to_string_pretty(&schema)
            .map_err(|error| Failure::new(Exit::Failure, format!("BUG: a schema is no JSON: {error}")))?;
        terminal::raw(&format!("{text}\n"));
    }
    Ok(Exit::Success)
}

fn list(globals: &Globals) {
    let documents: Vec<VerbDocument> = verbs(&Cli::command())
        .into_iter()
        .filter_map(|verb| {
            let documents = printed(&verb.split(' ').collect::<Vec<_>>())?.documents;
            Some(VerbDocument { verb, documents })
        })
        .collect();
    if globals.json {
        terminal::json(&documents);
    } else {
        let row = |said: VerbDocument| vec![said.verb, said.documents.to_owned()];
        terminal::table(VERBS, documents.into_iter().map(row).collect());
    }
}

/// The verbs that do something, with the words before them.
pub(crate) fn verbs(command: &Command) -> Vec<String> {
    let mut verbs = Vec::new();
    for below in command.get_subcommands() {
        let name = below.get_name();
        if below.has_subcommands() {
            verbs.extend(self::verbs(below).into_iter().map(|verb| format!("{name} {verb}")));
        } else {
            verbs.push(name.to_owned());
        }
    }
    verbs
}
