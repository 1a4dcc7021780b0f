//! What is asked of discovery: `discover` and its verbs.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::InputArgs;

/// How the verbs of `discover` belong together.
pub(super) const NEXT: &str = "\
Without a GitHub, on a folder of git checkouts:

  wfengine discover once --path ~/src --dry-run
  wfengine discover watch --path ~/src

With one, GITHUB_TOKEN or `gh auth login` opens what is to be seen:

  wfengine discover once --owner octocat --dry-run
  wfengine discover watch --owner octocat

`watch` is kept: `wfengine serve` looks from then on. `watch --stop` ends it.";

/// Tagged workflows in repositories.
#[derive(Subcommand, Debug)]
pub(crate) enum DiscoverVerb {
    /// Look once, submit what is due, and say what was found
    Once(OnceArgs),
    /// Look again and again, and say what changed
    Monitor(MonitorArgs),
    /// Have this host's node look from now on, whenever it serves
    Watch(WatchArgs),
    /// List the tagged workflows that members found
    #[command(after_help = super::WATCHING)]
    List(super::WatchChoice),
    /// Start a workflow of a repository
    Dispatch(DispatchArgs),
}

/// What to look at.
#[derive(Args, Debug, Clone)]
pub(crate) struct ScopeArgs {
    /// The repositories of this user or organisation; without any scope, all that the token sees
    #[arg(long, value_name = "OWNER")]
    pub(crate) owner: Vec<String>,
    /// This repository
    #[arg(long, value_name = "OWNER/NAME")]
    pub(crate) repo: Vec<String>,
    /// The git checkouts in this folder; asks no GitHub
    #[arg(long, value_name = "DIR")]
    pub(crate) path: Vec<PathBuf>,
}

/// How to look, and what to do with what is found.
#[derive(Args, Debug, Clone)]
pub(crate) struct LookArgs {
    #[command(flatten)]
    pub(crate) scope: ScopeArgs,
    /// Leave out repositories without a push for N days, once they were looked at
    #[arg(long, value_name = "N")]
    pub(crate) since_days: Option<u32>,
    /// auto, on-trigger, on-discovery or manual; for one OWNER or OWNER/NAME if named
    #[arg(long, value_name = "[NAME=]POLICY")]
    pub(crate) policy: Vec<String>,
    /// Do not share the files of a commit that is to run with members; each fetches them itself
    #[arg(long)]
    pub(crate) no_share: bool,
    #[command(flatten)]
    pub(crate) github: GithubArgs,
}

/// Which GitHub, and how to get there.
#[derive(Args, Debug, Clone)]
pub(crate) struct GithubArgs {
    /// Read the token from this file instead of GITHUB_TOKEN, GH_TOKEN or the gh program
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Another GitHub than github.com, such as https://HOST/api/v3 [env: GITHUB_API_URL]
    #[arg(long, value_name = "URL")]
    pub(crate) api: Option<String>,
    /// Certificates of authorities to trust besides the usual ones, PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Let the token travel without TLS to an --api of http:
    #[arg(long)]
    pub(crate) insecure: bool,
}

#[derive(Args, Debug)]
pub(crate) struct OnceArgs {
    #[command(flatten)]
    pub(crate) look: LookArgs,
    /// Submit nothing and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The older name of --json
    #[arg(long, hide = true)]
    pub(crate) output_json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct MonitorArgs {
    #[command(flatten)]
    pub(crate) look: LookArgs,
    /// Seconds between two looks
    #[arg(long, value_name = "S", default_value_t = 300)]
    pub(crate) interval: u64,
    /// Submit nothing and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Args, Debug)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) look: LookArgs,
    /// Seconds between two looks
    #[arg(long, value_name = "S", default_value_t = 300)]
    pub(crate) interval: u64,
    /// Show jobs at GitHub: as checks (an app's credential) or statuses
    #[arg(long, value_name = "HOW", default_value = "off")]
    pub(crate) report: String,
    /// A link in such a report; {run} stands for the run
    #[arg(long, value_name = "URL")]
    pub(crate) details_url: Option<String>,
    /// Never hand a run to GitHub that no peer takes
    #[arg(long)]
    pub(crate) no_fallback: bool,
    /// Hand a p2p-eligible run to GitHub after so long without a peer; read when the node starts
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    pub(crate) fallback_after: String,
    /// Let a ref at GitHub decide who hands a run over, for members that may not hear each other (unproven against the live service)
    #[arg(long)]
    pub(crate) arbiter_ref: bool,
    /// Where GitHub would run a workflow as well: leave it, cancel its queued run, or disable the workflow there
    #[arg(long, value_name = "WHAT", default_value = "leave")]
    pub(crate) doubles: String,
    /// Priority of runs by tag, such as p2p-only=1.5; lower runs first
    #[arg(long, value_name = "TAG=P")]
    pub(crate) priority: Vec<String>,
    /// Listen here for GitHub's webhooks (push, workflow_run); polling goes on
    #[arg(long, value_name = "ADDR:PORT", requires = "webhook_secret_file")]
    pub(crate) webhook: Option<String>,
    /// The webhook's secret
    #[arg(long, value_name = "FILE")]
    pub(crate) webhook_secret_file: Option<PathBuf>,
    /// Look no more
    #[arg(long, conflicts_with_all = ["owner", "repo", "path"])]
    pub(crate) stop: bool,
}

#[derive(Args, Debug)]
pub(crate) struct DispatchArgs {
    /// The repository, as `discover list` names it
    pub(crate) repository: String,
    /// The workflow: its path, its file's name, or its name
    pub(crate) workflow: String,
    /// The branch or tag to run; the default branch otherwise
    #[arg(long = "ref", value_name = "REF")]
    pub(crate) git_ref: Option<String>,
    #[command(flatten)]
    pub(crate) inputs: InputArgs,
    #[command(flatten)]
    pub(crate) github: GithubArgs,
}
