//! What needs no node: tags, completions, the manual page.

use clap::CommandFactory;
use clap_complete::env::{self, EnvCompleter};
use wfengine_api::{Exit, Failure};
use wfengine_workflow::tags::{Tag, is_p2p_only, should_bypass_github};

use super::Globals;
use crate::args::{CheckTagsArgs, Cli, CompletionsArgs, ManArgs, ShellName};
use crate::documents::{CheckedTagsDocument, TagDocument};
use crate::terminal::{self, Column};

/// What the program is called.
const NAME: &str = "wfengine";

pub(super) fn tags(globals: &Globals) -> Result<Exit, Failure> {
    if globals.json {
        let all: Vec<_> = Tag::ALL
            .iter()
            .map(|tag| TagDocument { tag: tag.name(), description: tag.description() })
            .collect();
        terminal::json(&all);
    } else {
        let rows: Vec<Vec<String>> =
            Tag::ALL.iter().map(|tag| vec![tag.name().to_owned(), tag.description().to_owned()]).collect();
        terminal::table(const { &[Column::whole("TAG"), Column::yielding("MEANS", 1, 1)] }, rows);
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
        let tags = words.iter().map(|word| (*word).to_owned()).collect();
        terminal::json(&CheckedTagsDocument { should_bypass_github: bypass, is_p2p_only: only, tags });
    } else {
        let word = |yes: bool| if yes { "Yes" } else { "No" };
        terminal::line(&format!("Should Bypass GitHub: {}", word(bypass)));
        terminal::line(&format!("P2P Only: {}", word(only)));
    }
    Ok(Exit::Success)
}

pub(super) fn completions(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let shell: &dyn EnvCompleter = match args.shell {
        ShellName::Bash => &env::Bash,
        ShellName::Zsh => &env::Zsh,
        ShellName::Fish => &env::Fish,
        ShellName::Elvish => &env::Elvish,
        ShellName::Powershell => &env::Powershell,
    };
    // called by its name it is found by its name; called by a path it may be found nowhere else
    let called = std::env::args_os().next().unwrap_or_default();
    let is_path = std::path::Path::new(&called).components().count() > 1;
    let program = std::env::current_exe().ok().filter(|_| is_path);
    let program = program.map_or_else(|| NAME.to_owned(), |path| path.to_string_lossy().into_owned());
    let mut script = Vec::new();
    shell.write_registration(crate::completion::VARIABLE, NAME, NAME, &program, &mut script).map_err(
        |error| Failure::new(Exit::Failure, format!("the completion script was not made: {error}")),
    )?;
    terminal::raw(&String::from_utf8_lossy(&script));
    Ok(Exit::Success)
}

/// What the manual says beyond verbs and options.
const MANUAL: &str = r#".SH "EXIT STATUS"
.TP
\fB0\fR
It is as asked; a run that was waited for has completed.
.TP
\fB1\fR
The run failed, or an audit found something.
.TP
\fB2\fR
Bad input: a file, an option, an id.
.TP
\fB3\fR
Refused by the rules, or the data directory is in use.
.TP
\fB4\fR
Another node or the network is needed and not there.
.TP
\fB70\fR
The disk failed; whether the last events were written is unknown until the next start.
.SH ENVIRONMENT
.TP
\fBWFENGINE_DATA_DIR\fR
Where the node's log and key are. \fB\-\-data\-dir\fR comes before it.
.TP
\fBWFENGINE_CONFIG\fR, \fBWFENGINE_HTTP_PORT\fR and others
The configuration file, and keys of it: \fBwfengine config show\fR lists them.
.TP
\fBWFENGINE_LOG\fR
What the program says of itself on standard error: error, warn, info, debug.
.TP
\fBWFENGINE_LOG_FORMAT\fR
text, or json for one JSON object a line.
.TP
\fBNO_COLOR\fR, \fBCLICOLOR_FORCE\fR, \fBTERM=dumb\fR
No colours; colours also where no terminal is; no colours. \fB\-\-color\fR comes before them.
.TP
\fBCOLUMNS\fR
How wide a terminal is that does not say so itself. What is not printed at a terminal is never cut.
.TP
\fBP2P_DATA_DIR\fR, \fBP2P_PEER_ID\fR, \fBP2P_BOOTSTRAP_PEERS\fR
Read, with a note, where wfengine's own variable, name or addresses are not set.
.SH FILES
.TP
\fI$XDG_DATA_HOME/wfengine\fR, \fI~/.local/share/wfengine\fR
The data directory; \fI/var/lib/wfengine\fR for a system service.
.TP
\fIconfig.toml\fR in it
What a serving node is told.
"#;

pub(super) fn man(args: &ManArgs) -> Result<Exit, Failure> {
    terminal::raw(&String::from_utf8_lossy(&page(&args.verb)?));
    Ok(Exit::Success)
}

/// The manual page of the program, or of a verb.
fn page(verb: &[String]) -> Result<Vec<u8>, Failure> {
    let unmade = |error| Failure::new(Exit::Failure, format!("the manual page was not made: {error}"));
    let mut command = Cli::command();
    command.build();
    for word in verb {
        let known: Vec<String> = command.get_subcommands().map(|known| known.get_name().to_owned()).collect();
        command = command.find_subcommand(word).cloned().ok_or_else(|| {
            let mut failure = Failure::bad_input(format!("there is no verb `{}`", verb.join(" ")));
            failure.candidates = known;
            failure
        })?;
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).map_err(unmade)?;
    if verb.is_empty() {
        page.extend_from_slice(MANUAL.as_bytes());
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_page_and_the_first_says_the_exit_statuses() {
        let whole = String::from_utf8(page(&[]).unwrap()).unwrap();
        for wanted in ["EXIT STATUS", "WFENGINE_DATA_DIR", "submit"] {
            assert!(whole.contains(wanted), "{wanted}");
        }
        let join = String::from_utf8(page(&["peer".to_owned(), "join".to_owned()]).unwrap()).unwrap();
        assert!(join.contains("allow"), "{join}");
        let failure = page(&["pear".to_owned()]).unwrap_err();
        assert!(failure.candidates.contains(&"peer".to_owned()), "{failure:?}");
    }

    #[test]
    fn the_overview_fits_one_screen_and_names_every_verb() {
        let overview = crate::args::OVERVIEW;
        assert!(overview.lines().count() <= 25);
        for verb in Cli::command().get_subcommands() {
            assert!(overview.contains(verb.get_name()), "{}", verb.get_name());
        }
    }
}
