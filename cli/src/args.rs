//! The command line. Verbs are grouped in the first screen of `--help`; `wfengine VERB --help` says the rest.

mod audit;
mod config;
mod discover;
mod metrics;
mod notify;
mod overview;
mod runner;
mod serving;
mod shell;
mod tasks;
mod watching;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use audit::{ExportArgs, ImportArgs, LogVerb, ReplayArgs};
pub(crate) use config::{ConfigShowArgs, ConfigVerb};
pub(crate) use discover::{
    DiscoverVerb, DispatchArgs, GithubArgs, LookArgs, MonitorArgs, OnceArgs, WatchArgs,
};
pub(crate) use metrics::MetricsVerb;
pub(crate) use notify::NotifyVerb;
pub(crate) use overview::OVERVIEW;
pub(crate) use runner::{
    ProvisionArgs, RotateArgs, RunnerLogsArgs, RunnerStartArgs, RunnerStopArgs, RunnerVerb, StopContainerArgs,
};
pub(crate) use serving::{DoctorArgs, HttpArgs, NetworkArgs, ServeArgs, ServingArgs};
pub(crate) use shell::{CompletionsArgs, ManArgs, SchemaArgs, ShellName};
pub(crate) use tasks::{HeldTaskArgs, TaskCompleteArgs, TaskNextArgs, TaskSubmitArgs, TaskVerb, WorkArgs};
use watching::WATCHING;
pub(crate) use watching::WatchChoice;

/// Heading of the options that every verb has.
const EVERYWHERE: &str = "Options of every verb";

/// A leaderless workflow engine: one node per host.
#[derive(Parser, Debug)]
#[command(name = "wfengine", version, override_help = OVERVIEW, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Print JSON: one document, or a line for each item; `wfengine schema` describes them
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub(crate) json: bool,
    /// Where the node's log and key are [env: WFENGINE_DATA_DIR]
    #[arg(long, global = true, value_name = "DIR", help_heading = EVERYWHERE)]
    pub(crate) data_dir: Option<PathBuf>,
    /// The node's configuration file, instead of config.toml where the log is
    #[arg(long, global = true, value_name = "FILE", env = "WFENGINE_CONFIG", help_heading = EVERYWHERE)]
    pub(crate) config: Option<PathBuf>,
    /// Ask the node at this address instead of this host's
    #[arg(long, global = true, value_name = "URL", env = "WFENGINE_NODE", help_heading = EVERYWHERE)]
    pub(crate) node: Option<String>,
    /// The token of that node
    #[arg(long, global = true, value_name = "TOKEN", env = "WFENGINE_TOKEN", hide_env_values = true, help_heading = EVERYWHERE)]
    pub(crate) token: Option<String>,
    /// Colours: at a terminal unless NO_COLOR is set, or as said
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = EVERYWHERE)]
    pub(crate) color: crate::terminal::colours::When,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What else there is to know about `submit`.
const SUBMIT_NEXT: &str = "\
A run begins once a node serves on a host that may run it: `wfengine serve`
starts one here. Until then the submission is kept. `wfengine run FILE` needs
no node: it executes the file here and now.";

/// What else there is to know about `as`.
const AS_NEXT: &str = "\
A link with that name does the same:

  ln -s \"$(command -v wfengine)\" ~/.local/bin/ipfs-kit
  ipfs-kit p2p workflow list

`wfengine as ipfs-kit --help` lists that program's verbs.";

/// Everything that can be asked.
#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// Execute a workflow file here and now, and stream its log
    Run(RunArgs),
    /// Hand a workflow file to the cluster; the ownership rule decides which host runs it
    #[command(after_help = SUBMIT_NEXT)]
    Submit(SubmitArgs),
    /// List runs
    #[command(after_help = WATCHING)]
    List(ListArgs),
    /// Show one run with its jobs
    #[command(after_help = WATCHING)]
    Show(ShowArgs),
    /// Print a run's or job's log
    Logs(LogsArgs),
    /// Cancel a run
    Cancel(CancelArgs),
    /// Submit a run again as its next attempt
    Rerun(IdArgs),
    /// Change a run's priority
    Priority(PriorityArgs),
    /// Say in one paragraph why a run or job is where it is
    Why(IdArgs),
    /// Show the ranked peers of jobs, with distances
    #[command(after_help = WATCHING)]
    Owner(OwnerArgs),
    /// Hamming distance between two hashes (64 hexadecimal digits) or texts (hashed first)
    Distance(DistanceArgs),
    /// Tasks: work that programs of your own take, do and report
    #[command(subcommand, after_help = tasks::NEXT, subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
    Task(TaskVerb),
    /// Take tasks in a loop and run a command for each
    Work(WorkArgs),
    /// Tagged workflows in repositories: find them and have them run when they are due
    #[command(subcommand, after_help = discover::NEXT, subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
    Discover(DiscoverVerb),
    /// GitHub runners in containers on this host, as jobs are queued
    #[command(subcommand, after_help = runner::NEXT, subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
    Runner(RunnerVerb),
    /// List the routing tags
    Tags,
    /// Say what routing tags mean together
    CheckTags(CheckTagsArgs),
    /// Name this node and remember peers to connect to
    Init(InitArgs),
    /// Run this host's node
    Serve(ServeArgs),
    /// Members and addresses
    #[command(subcommand)]
    Peer(PeerVerb),
    /// What this host's node is told: by options, environment and file
    #[command(subcommand, after_help = config::NEXT, subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
    Config(ConfigVerb),
    /// Look at everything a node needs on this host, and say what to do
    Doctor(DoctorArgs),
    /// Hear of the end of runs and of alarms
    #[command(subcommand, after_help = notify::NEXT, subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
    Notify(NotifyVerb),
    /// Say whose work this host runs
    Allow(AllowArgs),
    /// Show or wait for what peers hold of this node's log
    Sync(SyncArgs),
    /// Claim nothing until resumed
    Pause,
    /// Claim again
    Resume,
    /// This node in a few lines
    #[command(after_help = WATCHING)]
    Status(WatchChoice),
    /// The merkle clock
    Clock,
    /// Print, prove or follow the history
    Replay(ReplayArgs),
    /// Export or import the log
    #[command(subcommand)]
    Log(LogVerb),
    /// Write example workflows that run offline
    Example(ExampleArgs),
    /// A cluster of real nodes on this host, one of which is killed
    Demo(DemoArgs),
    /// A door for agents: the Model Context Protocol
    Mcp(McpArgs),
    /// What Prometheus needs to watch this node
    #[command(subcommand, after_help = metrics::NEXT, subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
    Metrics(MetricsVerb),
    /// Take over what an older program kept
    #[command(subcommand, subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
    Import(ImportVerb),
    /// Speak an older program's words: ipfs-accelerate, ipfs-datasets or ipfs-kit
    #[command(after_help = AS_NEXT)]
    As(AsArgs),
    /// Print a shell completion script, which asks the node for ids, peers, tags and repositories
    #[command(after_help = shell::COMPLETIONS_NEXT)]
    Completions(CompletionsArgs),
    /// Print the JSON Schema of what a verb prints with --json
    Schema(SchemaArgs),
    /// Print the manual page of the program, or of one verb
    Man(ManArgs),
}

#[derive(Args, Debug)]
pub(crate) struct IdArgs {
    /// Run, job, event, or an id given with --task-id; a unique beginning is enough
    pub(crate) id: String,
}

#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) id: IdArgs,
    #[command(flatten)]
    pub(crate) watch: WatchChoice,
}

#[derive(Args, Debug)]
pub(crate) struct InputArgs {
    /// An input of the workflow (`on.workflow_dispatch.inputs`); repeat for more
    #[arg(long = "input", value_name = "NAME=VALUE")]
    pub(crate) inputs: Vec<String>,
    /// Inputs as one JSON object
    #[arg(long = "inputs", value_name = "JSON")]
    pub(crate) inputs_json: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// The workflow file, such as .github/workflows/ci.yml
    #[arg(required_unless_present = "example")]
    pub(crate) file: Option<PathBuf>,
    /// Run a bundled example instead of a file; `wfengine example` lists them
    #[arg(long, value_name = "NAME", conflicts_with = "file")]
    pub(crate) example: Option<String>,
    #[command(flatten)]
    pub(crate) inputs: InputArgs,
    /// What to call the run
    #[arg(long)]
    pub(crate) name: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct PriorityChoice {
    /// Lower runs first: 1 critical, 3 normal (the default), 5 background; above 0, at most 1000
    #[arg(long, value_name = "P")]
    pub(crate) priority: Option<String>,
    /// The same the other way round, instead of --priority: 10 runs first, 1 last
    #[arg(long, value_name = "N", conflicts_with = "priority")]
    pub(crate) urgency: Option<u32>,
}

#[derive(Args, Debug)]
pub(crate) struct BackoffChoice {
    /// Wait A before the first retry and twice as long before each further one, at most B
    #[arg(long, value_name = "A..B", default_value = "10s..5m")]
    pub(crate) backoff: String,
}

#[derive(Args, Debug)]
pub(crate) struct SubmitArgs {
    /// The workflow file, such as .github/workflows/ci.yml
    pub(crate) file: PathBuf,
    /// Wait until the run, with its retries, has ended; the exit status is that of the last attempt
    #[arg(long)]
    pub(crate) wait: bool,
    /// As --wait, and print the log as it is written
    #[arg(long)]
    pub(crate) follow: bool,
    /// What to call the run
    #[arg(long)]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) inputs: InputArgs,
    /// Data of your own to keep with the run, a JSON object
    #[arg(long, value_name = "JSON")]
    pub(crate) metadata: Option<String>,
    #[command(flatten)]
    pub(crate) priority: PriorityChoice,
    /// Submit again up to N times when the run fails
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) retries: u32,
    #[command(flatten)]
    pub(crate) backoff: BackoffChoice,
    /// Return only once N other peers hold the submission and its sources
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) copies: u32,
    /// Submit at most once: the same id with the same content is the same run, wherever it is submitted
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Only runs with this status
    #[arg(long)]
    pub(crate) status: Option<String>,
    /// Only runs with a job at this peer (name or id)
    #[arg(long)]
    pub(crate) peer: Option<String>,
    /// Only runs with this tag
    #[arg(long)]
    pub(crate) tag: Option<String>,
    /// Only runs of this long ago at most, e.g. 2h
    #[arg(long, value_name = "DURATION")]
    pub(crate) since: Option<String>,
    /// At most so many, newest first
    #[arg(long, default_value_t = 50)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) watch: WatchChoice,
}

#[derive(Args, Debug)]
pub(crate) struct LogsArgs {
    /// Run or job
    pub(crate) id: String,
    /// Go on as lines are written
    #[arg(short, long)]
    pub(crate) follow: bool,
}

#[derive(Args, Debug)]
pub(crate) struct CancelArgs {
    /// Run
    pub(crate) id: String,
    /// Why, for others to read
    #[arg(long, default_value = "cancelled by hand")]
    pub(crate) reason: String,
}

#[derive(Args, Debug)]
pub(crate) struct PriorityArgs {
    /// Run
    pub(crate) id: String,
    /// Lower runs first (above 0, at most 1000)
    #[arg(required_unless_present = "urgency")]
    pub(crate) priority: Option<String>,
    /// The other direction: 10 first, 1 last
    #[arg(long, value_name = "N", conflicts_with = "priority")]
    pub(crate) urgency: Option<u32>,
}

#[derive(Args, Debug)]
pub(crate) struct OwnerArgs {
    /// Runs or jobs; all open jobs without one
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) watch: WatchChoice,
}

#[derive(Args, Debug)]
pub(crate) struct DistanceArgs {
    /// One hash or text
    pub(crate) a: String,
    /// The other
    pub(crate) b: String,
}

#[derive(Args, Debug)]
pub(crate) struct CheckTagsArgs {
    /// The tags
    #[arg(long = "tags", num_args = 1.., value_delimiter = ',', required_unless_present = "words")]
    pub(crate) tags: Vec<String>,
    /// The tags
    pub(crate) words: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct InitArgs {
    /// What this node is called
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Addresses to connect to
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',')]
    pub(crate) peers: Vec<String>,
}

/// The Model Context Protocol.
#[derive(Args, Debug)]
pub(crate) struct McpArgs {}

/// Members and addresses.
#[derive(Subcommand, Debug)]
pub(crate) enum PeerVerb {
    /// Print this node's id
    Id,
    /// Print a line that lets one host join
    Invite(InviteArgs),
    /// Join a cluster with such a line
    Join(JoinArgs),
    /// Remember an address to connect to
    Add(AddressArgs),
    /// List members and addresses
    #[command(after_help = WATCHING)]
    List(WatchChoice),
    /// Revoke a member, or forget an address
    Remove(RemoveArgs),
}

#[derive(Args, Debug)]
pub(crate) struct InviteArgs {
    /// How long the invite holds
    #[arg(long, default_value = "24h")]
    pub(crate) expires: String,
    /// What the joiner may do
    #[arg(long, value_delimiter = ',', default_value = "executor,submitter")]
    pub(crate) roles: Vec<String>,
    /// Labels of the joiner
    #[arg(long, value_delimiter = ',')]
    pub(crate) labels: Vec<String>,
    /// Do not suggest that the joiner runs other peers' jobs
    #[arg(long)]
    pub(crate) no_allow_jobs: bool,
}

#[derive(Args, Debug)]
pub(crate) struct JoinArgs {
    /// The invite, as `peer invite` printed it
    pub(crate) invite: String,
    /// Submit this node's open runs again in the new cluster
    #[arg(long, conflicts_with = "leave")]
    pub(crate) carry: bool,
    /// Leave this node's open runs behind
    #[arg(long)]
    pub(crate) leave: bool,
    /// Run jobs that other members submit
    #[arg(long)]
    pub(crate) allow_jobs: bool,
    /// What this node is called
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Serve afterwards, in this process
    #[arg(long)]
    pub(crate) serve: bool,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
}

#[derive(Args, Debug)]
pub(crate) struct AddressArgs {
    /// HOST:PORT
    pub(crate) address: String,
}

#[derive(Args, Debug)]
pub(crate) struct RemoveArgs {
    /// A member's name or id, or an address that was only added
    pub(crate) peer: String,
    /// Why, for others to read
    #[arg(long, default_value = "removed by hand")]
    pub(crate) reason: String,
}

#[derive(Args, Debug)]
pub(crate) struct AllowArgs {
    /// Run what this member submits (name or id)
    #[arg(long)]
    pub(crate) peer: Vec<String>,
    /// Run workflows of this repository, owner/name
    #[arg(long)]
    pub(crate) repo: Vec<String>,
    /// Run what any member submits
    #[arg(long)]
    pub(crate) any: bool,
    /// Take everything back
    #[arg(long, conflicts_with_all = ["peer", "repo", "any"])]
    pub(crate) none: bool,
}

#[derive(Args, Debug)]
pub(crate) struct SyncArgs {
    /// Wait until enough peers hold this node's head and the sources of its open runs
    #[arg(long)]
    pub(crate) wait: bool,
    /// How many peers
    #[arg(long, default_value_t = 1)]
    pub(crate) copies: u32,
}

#[derive(Args, Debug)]
pub(crate) struct ExampleArgs {
    /// Which example; all are listed without one
    pub(crate) name: Option<String>,
    /// Write all of them into this directory
    #[arg(long, value_name = "DIR", conflicts_with = "name")]
    pub(crate) all: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// How many nodes, 2 to 8
    #[arg(long, default_value_t = 3)]
    pub(crate) peers: u32,
    /// Say why each job is where it is
    #[arg(long)]
    pub(crate) explain: bool,
    /// Leave the nodes' directories behind
    #[arg(long)]
    pub(crate) keep: bool,
}

/// What older programs kept.
#[derive(Subcommand, Debug)]
pub(crate) enum ImportVerb {
    /// The state file of ipfs-kit's coordinator: coordinator_state_PEER.json
    Kit(KitStateArgs),
}

#[derive(Args, Debug)]
pub(crate) struct KitStateArgs {
    /// The file, at most 16 MiB
    pub(crate) file: PathBuf,
    /// Where the workflow files are: those that wait become runs, which nodes execute, instead of tasks for programs
    #[arg(long, value_name = "DIR")]
    pub(crate) files: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct AsArgs {
    /// The older program's name, then its words
    #[arg(value_name = "NAME …", required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<std::ffi::OsString>,
}
