//! What a shell and its user ask the program about itself: `completions`, `schema`, `man`.

use clap::{Args, ValueEnum};

/// What else there is to know about `completions`.
pub(super) const COMPLETIONS_NEXT: &str = "\
  source <(wfengine completions bash)          # in ~/.bashrc
  source <(wfengine completions zsh)           # in ~/.zshrc, after compinit
  wfengine completions fish | source           # in ~/.config/fish/config.fish

At a TAB the program is asked, and it asks the node, for a third of a second at
most. Where no node answers, verbs and options are completed all the same.";

#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    pub(crate) shell: ShellName,
}

#[derive(Args, Debug)]
pub(crate) struct SchemaArgs {
    /// A verb, such as `peer list`; the verbs that print JSON are listed without one
    pub(crate) verb: Vec<String>,
    /// Of what it prints with --watch
    #[arg(short, long)]
    pub(crate) watch: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// A verb, such as `peer join`; the whole program without one
    pub(crate) verb: Vec<String>,
}

/// Shells with completions.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ShellName {
    Bash,
    Zsh,
    Fish,
    Elvish,
    Powershell,
}
