//! Colours: whether a stream gets any, and which state has which.
//!
//! Whether: `--color`, then `NO_COLOR`, `CLICOLOR_FORCE` and `TERM`, then whether people read the stream. One choice for the whole
//! process, which clap's help follows too. A colour never says what the word beside it does not.

use anstream::ColorChoice;
use anstyle::{AnsiColor, Style};
use clap::ValueEnum;

/// What was asked for with `--color`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum When {
    /// At a terminal.
    #[default]
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

impl When {
    /// What the words of a command line ask for, before they are understood: help and complaints are coloured by it.
    pub(crate) fn early(words: impl IntoIterator<Item = std::ffi::OsString>) -> Self {
        let mut words = words.into_iter().take_while(|word| word != "--");
        let mut said = None;
        while let Some(word) = words.next() {
            let Some(word) = word.to_str() else { continue };
            if word == "--color" {
                said = words.next().and_then(|word| word.into_string().ok());
            } else if let Some(word) = word.strip_prefix("--color=") {
                said = Some(word.to_owned());
            }
        }
        said.and_then(|word| Self::from_str(&word, false).ok()).unwrap_or_default()
    }

    /// Makes this the choice of the process.
    pub(crate) fn choose(self) {
        let choice = match self {
            Self::Auto => ColorChoice::Auto,
            Self::Always => ColorChoice::Always,
            Self::Never => ColorChoice::Never,
        };
        choice.write_global();
    }
}

/// Whether what goes to stdout is coloured.
pub(crate) fn on_stdout() -> bool {
    anstream::AutoStream::choice(&std::io::stdout()) != ColorChoice::Never
}

/// Whether what goes to stderr is coloured.
pub(crate) fn on_stderr() -> bool {
    anstream::AutoStream::choice(&std::io::stderr()) != ColorChoice::Never
}

/// Of a heading.
pub(super) const HEADING: Style = Style::new().bold();
/// Of the word before an error.
pub(super) const ERROR: Style = AnsiColor::Red.on_default().bold();
/// Of the word before a remark.
pub(super) const NOTE: Style = AnsiColor::Cyan.on_default().bold();

/// Of a state: that of a run, a job, a runner or a peer.
pub(super) fn of_state(state: &str) -> Style {
    match state.split([' ', ':']).next().unwrap_or_default() {
        "completed" | "success" | "connected" | "alive" => AnsiColor::Green.on_default(),
        "failed" | "failure" => AnsiColor::Red.on_default(),
        "assigned" | "in_progress" | "running" => AnsiColor::Yellow.on_default(),
        "cancelled" | "skipped" | "expired" | "unknown" => Style::new().dimmed(),
        "pending" => AnsiColor::Cyan.on_default(),
        _ => Style::new(),
    }
}

/// A text in a style; as it is where the style is none.
pub(super) fn painted(text: &str, style: Style) -> String {
    format!("{style}{text}{style:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn early(words: &[&str]) -> When {
        When::early(words.iter().map(std::ffi::OsString::from))
    }

    #[test]
    fn colours_are_asked_for_before_the_command_line_is_understood() {
        assert_eq!(early(&["wfengine", "list"]), When::Auto);
        assert_eq!(early(&["wfengine", "--color", "always", "list"]), When::Always);
        assert_eq!(early(&["wfengine", "list", "--color=never"]), When::Never);
        assert_eq!(early(&["wfengine", "list", "--color=green"]), When::Auto);
        assert_eq!(early(&["wfengine", "work", "--", "ls", "--color=never"]), When::Auto);
    }

    #[test]
    fn a_state_has_its_colour_and_other_words_have_none() {
        assert_eq!(painted("failed", of_state("failed")), "\u{1b}[31mfailed\u{1b}[0m");
        assert_eq!(of_state("connected 127.0.0.1:4433"), of_state("completed"));
        assert_eq!(painted("this node", of_state("this node")), "this node");
    }
}
