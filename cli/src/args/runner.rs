//! What is asked of the autoscaler: `runner` and its verbs.
//!
//! Not here: what a value means. Sizes, durations and the like stay texts until `RunnerWishes::of` reads them, so that what is wrong
//! is said in the same words wherever it was written.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::NetworkArgs;

/// How the verbs of `runner` belong together.
pub(super) const NEXT: &str = "\
An organisation's queued jobs on this host, at most 8 at a time:

  wfengine runner start --owner myorg --max-runners 8 --background
  wfengine runner status
  wfengine runner logs NAME
  wfengine runner stop

GITHUB_TOKEN or `gh auth login` opens GitHub, and Docker Engine has to answer.
What is started stays on: a node that serves again goes on with it.";

const JOBS: &str = "Which jobs";
const CAPACITY: &str = "How many runners, and when";
const CONTAINER: &str = "Their containers";
const NETWORK: &str = "Their network";
const PRIVILEGES: &str = "What jobs may do beyond the defaults";
const GITHUB: &str = "The ways to GitHub and to Docker";
const NODE: &str = "If no node serves here yet";

/// GitHub runners in containers.
#[derive(Subcommand, Debug)]
pub(crate) enum RunnerVerb {
    /// Have this host start runners as jobs are queued; becomes the node if none serves here
    Start(Box<RunnerStartArgs>),
    /// Start no more runners; those that run a job finish it
    Stop(RunnerStopArgs),
    /// How it gets on, as JSON
    #[command(after_help = super::WATCHING)]
    Status(super::WatchChoice),
    /// What is queued and runs in each repository, as JSON
    ListWorkflows,
    /// The containers of this host's runners, as JSON
    #[command(after_help = super::WATCHING)]
    ListContainers(super::WatchChoice),
    /// Start one runner now, for a repository or for every one with something queued
    Provision(ProvisionArgs),
    /// Stop one container
    StopContainer(StopContainerArgs),
    /// Print what a runner's container wrote, also after it is gone
    Logs(RunnerLogsArgs),
    /// Replace idle runners by fresh ones; busy ones finish first
    Rotate(RotateArgs),
}

#[derive(Args, Debug)]
pub(crate) struct RunnerStartArgs {
    /// What the pool is called: runners with one set of settings
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) pool: String,
    /// Go by the options given here, even if there are none, and not by those of the last start
    #[arg(long)]
    pub(crate) anew: bool,
    /// Say more of what happens
    #[arg(long)]
    pub(crate) verbose: bool,

    /// Jobs of this user's or organisation's repositories; without any scope, all that the token sees
    #[arg(long, value_name = "OWNER", help_heading = JOBS)]
    pub(crate) owner: Vec<String>,
    /// Jobs of this repository
    #[arg(long, value_name = "OWNER/NAME", help_heading = JOBS)]
    pub(crate) repo: Vec<String>,
    /// Look more seldom at repositories without a push for N days
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = JOBS)]
    pub(crate) since_days: u32,
    /// Labels of the runners besides self-hosted and those of this system; a job's runs-on has to be among them
    #[arg(long, value_name = "A,B", value_delimiter = ',', help_heading = JOBS)]
    pub(crate) labels: Vec<String>,
    /// Take jobs that ask for another architecture too
    #[arg(long, help_heading = JOBS)]
    pub(crate) no_arch_filter: bool,
    /// Keep no share of the capacity for the cluster's own jobs
    #[arg(long, help_heading = JOBS)]
    pub(crate) no_p2p: bool,

    /// Seconds between two looks
    #[arg(long, value_name = "S", default_value_t = 120, help_heading = CAPACITY)]
    pub(crate) interval: u64,
    /// Runners at once on this host
    #[arg(long, value_name = "N", default_value_t = 10, help_heading = CAPACITY)]
    pub(crate) max_runners: u32,
    /// Runners of this pool at once on all hosts of the cluster
    #[arg(long, value_name = "N", help_heading = CAPACITY)]
    pub(crate) cluster_max: Option<u32>,
    /// Runners to keep waiting for jobs: N, or from every tick of a cron expression on; repeat for more
    #[arg(long, value_name = "N|CRON=N", help_heading = CAPACITY)]
    pub(crate) min_idle: Vec<String>,
    /// Time zone of those cron expressions
    #[arg(long, value_name = "ZONE", default_value = "UTC", help_heading = CAPACITY)]
    pub(crate) timezone: String,
    /// Memory of this host that runners leave alone
    #[arg(long, value_name = "SIZE", default_value = "512m", help_heading = CAPACITY)]
    pub(crate) reserve_memory: String,
    /// Processors of this host that runners leave alone
    #[arg(long, value_name = "N", default_value = "0", help_heading = CAPACITY)]
    pub(crate) reserve_cpus: String,

    /// The image, best with its digest
    #[arg(long, value_name = "IMAGE", default_value = "ghcr.io/actions/actions-runner:latest", help_heading = CONTAINER)]
    pub(crate) image: String,
    /// How the image takes its registration: official (actions/runner), third-party (REPO_URL, RUNNER_TOKEN …) or auto
    #[arg(long, value_name = "WHICH", default_value = "auto", help_heading = CONTAINER)]
    pub(crate) image_contract: String,
    /// The user that runs in the container, instead of the image's; never root
    #[arg(long, value_name = "USER", help_heading = CONTAINER)]
    pub(crate) user: Option<String>,
    /// When the image is pulled: missing, always or never
    #[arg(long, value_name = "WHEN", default_value = "missing", help_heading = CONTAINER)]
    pub(crate) pull: String,
    /// Credentials for the image's registry, in the form of Docker's config.json
    #[arg(long, value_name = "FILE", help_heading = CONTAINER)]
    pub(crate) registry_credentials: Option<PathBuf>,
    /// Memory of each, swap included
    #[arg(long, value_name = "SIZE", default_value = "4g", help_heading = CONTAINER)]
    pub(crate) memory: String,
    /// Processors of each
    #[arg(long, value_name = "N", default_value = "4", help_heading = CONTAINER)]
    pub(crate) cpus: String,
    /// Processes of each
    #[arg(long, value_name = "N", default_value_t = 512, help_heading = CONTAINER)]
    pub(crate) pids: u32,
    /// What the workspace of each may grow to
    #[arg(long, value_name = "SIZE", default_value = "20g", help_heading = CONTAINER)]
    pub(crate) workspace_size: String,
    /// Where a runner works inside its container
    #[arg(long, value_name = "PATH", default_value = "_work", help_heading = CONTAINER)]
    pub(crate) work_dir: String,
    /// A job gets so long
    #[arg(long, value_name = "DURATION", default_value = "6h", help_heading = CONTAINER)]
    pub(crate) job_timeout: String,
    /// A runner waits so long for a job
    #[arg(long, value_name = "DURATION", default_value = "10m", help_heading = CONTAINER)]
    pub(crate) idle_timeout: String,
    /// A runner has to be there after so long
    #[arg(long, value_name = "DURATION", default_value = "2m", help_heading = CONTAINER)]
    pub(crate) start_timeout: String,

    /// own (one for each runner), none, the NAME of a network at the engine, or host (needs --insecure) [default: own]
    #[arg(long, value_name = "WHICH", help_heading = NETWORK)]
    pub(crate) network: Option<String>,
    /// A port of this host that jobs may reach
    #[arg(long, value_name = "PORT", help_heading = NETWORK)]
    pub(crate) allow_host_port: Vec<u16>,
    /// Let jobs reach all of this host's ports
    #[arg(long, help_heading = NETWORK)]
    pub(crate) allow_host_access: bool,
    /// Let jobs reach these addresses and no others; repeat for more
    #[arg(long, value_name = "CIDR[:PORT]", help_heading = NETWORK)]
    pub(crate) egress: Vec<String>,
    /// A name that jobs find at this address; `host-gateway` stands for this host
    #[arg(long, value_name = "NAME:ADDR", help_heading = NETWORK)]
    pub(crate) extra_host: Vec<String>,

    /// What jobs get of Docker: none, a rootless-sidecar of their own, or this host's socket (needs --insecure)
    #[arg(long, value_name = "WHAT", default_value = "none", help_heading = PRIVILEGES)]
    pub(crate) docker: String,
    /// The sidecar's image
    #[arg(long, value_name = "IMAGE", help_heading = PRIVILEGES)]
    pub(crate) sidecar_image: Option<String>,
    /// A capability for the containers, which have none; those that open the host need --insecure
    #[arg(long, value_name = "CAP", help_heading = PRIVILEGES)]
    pub(crate) cap_add: Vec<String>,
    /// Let programs gain privileges, as sudo does
    #[arg(long, help_heading = PRIVILEGES)]
    pub(crate) allow_privilege_gain: bool,
    /// Run jobs of this repository even though it is public
    #[arg(long, value_name = "OWNER/NAME", help_heading = PRIVILEGES)]
    pub(crate) allow_repo: Vec<String>,
    /// Run jobs of all public repositories
    #[arg(long, help_heading = PRIVILEGES)]
    pub(crate) allow_public: bool,
    /// Run jobs of pull requests from forks
    #[arg(long, help_heading = PRIVILEGES)]
    pub(crate) allow_forks: bool,
    /// Allow what opens this host to jobs, or sends the token without TLS; says what that gives away
    #[arg(long, help_heading = PRIVILEGES)]
    pub(crate) insecure: bool,

    /// Register runners with the repository, or with the organization
    #[arg(long, value_name = "WHERE", default_value = "repository", help_heading = GITHUB)]
    pub(crate) register: String,
    /// The organization's runner group, by its number
    #[arg(long, value_name = "ID", default_value_t = 1, help_heading = GITHUB)]
    pub(crate) runner_group: u64,
    /// jit: good for one job; token: weaker, the container can register more runners for an hour
    #[arg(long, value_name = "HOW", default_value = "jit", help_heading = GITHUB)]
    pub(crate) registration: String,
    /// Read the token from this file instead of GITHUB_TOKEN, GH_TOKEN or the gh program
    #[arg(long, value_name = "FILE", help_heading = GITHUB)]
    pub(crate) token_file: Option<PathBuf>,
    /// Another GitHub than github.com, such as https://HOST/api/v3 [env: GITHUB_API_URL]
    #[arg(long, value_name = "URL", help_heading = GITHUB)]
    pub(crate) api: Option<String>,
    /// Certificates of authorities to trust besides the usual ones, PEM
    #[arg(long, value_name = "FILE", help_heading = GITHUB)]
    pub(crate) ca_file: Option<PathBuf>,
    /// Address under which runners reach the GitHub, if not as this host does, such as `https://github.example.org`
    #[arg(long, value_name = "URL", help_heading = GITHUB)]
    pub(crate) runner_url: Option<String>,
    /// The engine's socket, such as unix:///run/user/1000/docker.sock [env: DOCKER_HOST]
    #[arg(long, value_name = "URL", help_heading = GITHUB)]
    pub(crate) docker_host: Option<String>,

    /// Go into the background once the runners are on
    #[arg(long, help_heading = NODE)]
    pub(crate) background: bool,
    #[command(flatten, next_help_heading = NODE)]
    pub(crate) node: NetworkArgs,
}

#[derive(Args, Debug)]
pub(crate) struct RunnerStopArgs {
    /// Only this pool
    #[arg(long, value_name = "NAME")]
    pub(crate) pool: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct ProvisionArgs {
    /// For this repository; for every one with something queued otherwise
    #[arg(long, value_name = "OWNER/NAME")]
    pub(crate) repo: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct StopContainerArgs {
    /// The container: its id, a beginning of it, or its name
    #[arg(long, value_name = "ID|NAME")]
    pub(crate) container: String,
    /// Even if it runs a job, which fails then
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args, Debug)]
pub(crate) struct RunnerLogsArgs {
    /// The runner, as `runner status` and `runner list-containers` name it
    pub(crate) name: String,
    /// Go on as lines are written
    #[arg(short, long)]
    pub(crate) follow: bool,
}

#[derive(Args, Debug)]
pub(crate) struct RotateArgs {
    /// Only those with an older image or other settings than new ones get
    #[arg(long)]
    pub(crate) outdated: bool,
}
