//! What is asked of the history: `replay` and `log`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Args, Debug)]
pub(crate) struct ReplayArgs {
    /// Recompute every hash, link and signature, plan again, compare digests
    #[arg(long)]
    pub(crate) verify: bool,
    /// The state at an event or time
    #[arg(long, value_name = "ID|TIME")]
    pub(crate) at: Option<String>,
    /// What changed between two events or times
    #[arg(long, value_name = "A..B")]
    pub(crate) diff: Option<String>,
    /// One run's story
    #[arg(long, value_name = "ID")]
    pub(crate) run: Option<String>,
    /// Only events of this long ago at most, or since a time
    #[arg(long)]
    pub(crate) since: Option<String>,
    /// Only events of these kinds, e.g. JobClaimed
    #[arg(long, value_delimiter = ',')]
    pub(crate) kind: Vec<String>,
    /// Only events by this peer (name or id)
    #[arg(long)]
    pub(crate) author: Option<String>,
    /// Go on as events are admitted
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Read an exported file instead of this node's log
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
    /// Fail unless the log is of this cluster
    #[arg(long, value_name = "ID")]
    pub(crate) expect_cluster: Option<String>,
    /// Fail unless this event is a head of the log
    #[arg(long, value_name = "ID")]
    pub(crate) expect_head: Option<String>,
}

/// The log as a file.
#[derive(Subcommand, Debug)]
pub(crate) enum LogVerb {
    /// Write the log, or one run with its proof, to a file
    Export(ExportArgs),
    /// Admit the events of an exported file of the same cluster
    Import(ImportArgs),
}

#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// The file, or a directory with --automerge
    pub(crate) path: PathBuf,
    /// Only what proves this run
    #[arg(long, value_name = "ID")]
    pub(crate) run: Option<String>,
    /// Write each segment as an automerge document
    #[arg(long)]
    pub(crate) automerge: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// The file
    pub(crate) file: PathBuf,
}
