//! What needs no node: tags, completions, the manual page.

use clap::CommandFactory;
use serde_json::json;
use wfengine_workflow::tags::{Tag, is_p2p_only, should_bypass_github};

use super::Globals;
use crate::args::{CheckTagsArgs, Cli, CompletionsArgs, ShellName};
use crate::error::{Exit, Failure};
use crate::terminal;

pub(super) fn tags(globals: &Globals) -> Result<Exit, Failure> {
    if globals.json {
        let all: Vec<_> =
            Tag::ALL.iter().map(|tag| json!({ "tag": tag.name(), "description": tag.description() })).collect();
        terminal::json(&all);
    } else {
        let rows: Vec<Vec<String>> =
            Tag::ALL.iter().map(|tag| vec![tag.name().to_owned(), tag.description().to_owned()]).collect();
        terminal::table(&["TAG", "MEANS"], &rows);
    }
    Ok(Exit::Success)
}

pub(super) fn check_tags(globals: &Globals, args: &CheckTagsArgs) -> Result<Exit, Failure> {
    let words: Vec<&str> = args.tags.iter().chain(&args.words).map(String::as_str).collect();
    for unknown in words.iter().filter(|word| Tag::parse(word).is_none()) {
        terminal::note(&format!("`{unknown}` is no routing tag; `wfengine tags` lists them"));
    }
    let bypass = should_bypass_github(words.iter().copied());
    let only = is_p2p_only(words.iter().copied());
    if globals.json {
        terminal::json(&json!({ "should_bypass_github": bypass, "is_p2p_only": only, "tags": words }));
    } else {
        let word = |yes: bool| if yes { "Yes" } else { "No" };
        terminal::line(&format!("Should Bypass GitHub: {}", word(bypass)));
        terminal::line(&format!("P2P Only: {}", word(only)));
    }
    Ok(Exit::Success)
}

pub(super) fn completions(args: &CompletionsArgs) -> Result<Exit, Failure> {
    use clap_complete::Shell;
    let shell = match args.shell {
        ShellName::Bash => Shell::Bash,
        ShellName::Zsh => Shell::Zsh,
        ShellName::Fish => Shell::Fish,
        ShellName::Elvish => Shell::Elvish,
        ShellName::Powershell => Shell::PowerShell,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "wfengine", &mut script);
    terminal::raw(&String::from_utf8_lossy(&script));
    Ok(Exit::Success)
}

pub(super) fn man() -> Result<Exit, Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command())
        .render(&mut page)
        .map_err(|error| Failure::new(Exit::Failure, format!("the manual page was not made: {error}")))?;
    terminal::raw(&String::from_utf8_lossy(&page));
    Ok(Exit::Success)
}
