//! The words of `ipfs-accelerate`: verbs, flags, defaults.

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The verbs of ipfs-accelerate, answered by wfengine.
#[derive(Parser, Debug)]
#[command(name = "ipfs-accelerate", version, disable_help_subcommand = true)]
pub(in crate::old_names) struct Accelerate {
    /// Print JSON
    #[arg(long, alias = "output-json", global = true)]
    pub(super) json: bool,
    /// What `runner` prints; JSON unless said otherwise
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(super) format: Option<Format>,
    /// Say more of what happens
    #[arg(long, short, global = true)]
    pub(super) verbose: bool,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Format {
    Json,
    Text,
}

#[derive(Subcommand, Debug)]
pub(super) enum Verb {
    /// Tasks for programs; 10 is the most urgent
    #[command(name = "p2p-workflow", subcommand)]
    P2pWorkflow(TaskVerb),
    /// Tagged workflows, the autoscaler, what GitHub knows
    #[command(subcommand)]
    Github(GithubVerb),
    /// Runners in containers
    #[command(subcommand)]
    Runner(RunnerVerb),
    /// The door for agents
    #[command(subcommand)]
    Mcp(McpVerb),
}

#[derive(Subcommand, Debug)]
pub(super) enum TaskVerb {
    /// The scheduler of this node
    Status,
    /// Submit a task
    Submit(SubmitArgs),
    /// Take the next task
    Next,
    /// Record that a task is done
    Complete {
        /// The task
        #[arg(long)]
        task_id: String,
    },
    /// Whether tags send work to peers
    CheckTags {
        /// The tags
        #[arg(long, num_args = 1.., value_delimiter = ',', required = true)]
        tags: Vec<String>,
    },
    /// The merkle clock
    Clock,
}

#[derive(Args, Debug)]
pub(super) struct SubmitArgs {
    /// Names the task
    #[arg(long)]
    pub(super) task_id: String,
    /// What kind of work it is
    #[arg(long)]
    pub(super) workflow_id: String,
    /// What people call it
    #[arg(long)]
    pub(super) name: String,
    /// Routing tags and labels
    #[arg(long, num_args = 1.., value_delimiter = ',', default_value = "p2p-eligible")]
    pub(super) tags: Vec<String>,
    /// 10 runs first, 1 last
    #[arg(long, default_value_t = 5)]
    pub(super) priority: u32,
}

#[derive(Subcommand, Debug)]
pub(super) enum GithubVerb {
    /// Tagged workflows in repositories
    #[command(subcommand)]
    P2pDiscover(DiscoverVerb),
    /// Start runners as jobs are queued, and look for tagged workflows
    Autoscaler(AutoscalerArgs),
    /// Runners of this host
    #[command(subcommand)]
    Runners(RunnersVerb),
    /// What is queued and runs, by repository
    Queues {
        /// Only repositories of this owner
        #[arg(long)]
        owner: Option<String>,
    },
    /// What is queued and runs in one repository, or in all
    Workflows {
        /// owner/name
        repo: Option<String>,
    },
    /// Repositories that are looked at
    Repos {
        /// Only those of this owner
        #[arg(long)]
        owner: Option<String>,
    },
    /// Whether GitHub takes the credential
    Auth,
}

#[derive(Subcommand, Debug)]
pub(super) enum DiscoverVerb {
    /// Look again and again
    Monitor {
        /// Whose repositories; all that are seen otherwise
        #[arg(long)]
        owner: Option<String>,
        /// Seconds between two looks
        #[arg(long, default_value_t = 300)]
        interval: u64,
    },
    /// Look once
    Once {
        /// Whose repositories; all that are seen otherwise
        #[arg(long)]
        owner: Option<String>,
    },
}

#[derive(Args, Debug)]
pub(super) struct AutoscalerArgs {
    /// Whose repositories; all that are seen otherwise
    #[arg(long)]
    pub(super) owner: Option<String>,
    /// Seconds between two looks
    #[arg(long, default_value_t = 60)]
    pub(super) interval: u64,
    /// Look more seldom at repositories without a push for N days
    #[arg(long, default_value_t = 1)]
    pub(super) since_days: u32,
    /// Runners at once; the number of processors otherwise
    #[arg(long)]
    pub(super) max_runners: Option<u32>,
    /// Look for no tagged workflows, and keep no share for peers' jobs
    #[arg(long)]
    pub(super) no_p2p: bool,
}

#[derive(Subcommand, Debug)]
pub(super) enum RunnersVerb {
    /// Runners that are not gone yet
    List {
        /// Only of this repository
        #[arg(long)]
        repo: Option<String>,
    },
    /// Start one runner
    Provision {
        /// For this repository; for every one with something queued otherwise
        #[arg(long)]
        repo: Option<String>,
    },
}

#[derive(Subcommand, Debug)]
pub(super) enum RunnerVerb {
    /// Start runners as jobs are queued
    Start(StartArgs),
    /// Start no more
    Stop,
    /// How it gets on
    Status,
    /// What is queued and runs, by repository
    ListWorkflows,
    /// Containers of this host's runners
    ListContainers,
    /// Start one runner
    Provision {
        /// For this repository; for every one with something queued otherwise
        #[arg(long)]
        repo: Option<String>,
    },
    /// Stop one container
    StopContainer {
        /// Its id, a beginning of it, or its name
        #[arg(long)]
        container: String,
    },
}

#[derive(Args, Debug)]
pub(super) struct StartArgs {
    /// Whose repositories; all that are seen otherwise
    #[arg(long)]
    pub(super) owner: Option<String>,
    /// Seconds between two looks
    #[arg(long, default_value_t = 120)]
    pub(super) interval: u64,
    /// Runners at once
    #[arg(long, default_value_t = 10)]
    pub(super) max_runners: u32,
    /// Image of the containers
    #[arg(long)]
    pub(super) image: Option<String>,
    /// Go into the background once the runners are on
    #[arg(long)]
    pub(super) background: bool,
}

#[derive(Subcommand, Debug)]
pub(super) enum McpVerb {
    /// Serve
    Start(McpArgs),
}

#[derive(Args, Debug)]
pub(super) struct McpArgs {
    /// Port on this host
    #[arg(long, default_value_t = 9000)]
    pub(super) port: u16,
    /// Address on this host
    #[arg(long, default_value = "127.0.0.1")]
    pub(super) host: String,
    /// Start no runners
    #[arg(long)]
    pub(super) disable_autoscaler: bool,
    /// Start runners for this owner's jobs
    #[arg(long)]
    pub(super) autoscaler_owner: Option<String>,
    /// Start runners, with so many seconds between two looks
    #[arg(long)]
    pub(super) autoscaler_interval: Option<u64>,
    /// Start runners, and look more seldom at repositories without a push for N days
    #[arg(long)]
    pub(super) autoscaler_since_days: Option<u32>,
    /// Start runners, at most so many
    #[arg(long)]
    pub(super) autoscaler_max_runners: Option<u32>,
    /// Keep no share of the runners for peers' jobs
    #[arg(long)]
    pub(super) no_p2p: bool,
}
