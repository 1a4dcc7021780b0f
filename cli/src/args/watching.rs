//! `--watch`, which every list has.

use clap::Args;

/// What else there is to know about `--watch`.
pub(super) const WATCHING: &str = "\
With --watch a terminal shows it anew in place; a pipe gets it once more, whole,
after each change, and with --json a line with all of it. A node that goes away
is waited for. Ctrl-C ends it, with status 0.";

/// Whether a list goes on.
#[derive(Args, Debug, Clone, Copy)]
pub(crate) struct WatchChoice {
    /// Go on, and show it anew whenever it has changed
    #[arg(short, long)]
    pub(crate) watch: bool,
}
