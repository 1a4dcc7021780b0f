//! What programs that do their own work ask: `task` and its verbs, and `work`.

use clap::{Args, Subcommand};

use super::{BackoffChoice, IdArgs, PriorityChoice};

/// How the verbs of `task` belong together.
pub(super) const NEXT: &str = "\
A task goes from `submit` to one program, which takes it with `next` and ends
it with `complete` or `fail`. A program that falls silent loses its task when
the lease ends, and another may take it.

  wfengine task submit --task-id report-7
  wfengine task next --lease 10m
  wfengine task complete report-7 --result '{\"pages\": 3}'
  wfengine task result report-7

`wfengine work -- COMMAND` does `next`, then `complete` or `fail`, in a loop.";

/// Tasks for programs.
#[derive(Subcommand, Debug)]
pub(crate) enum TaskVerb {
    /// Submit a task for a program to take
    Submit(TaskSubmitArgs),
    /// Take the next task this node may claim
    Next(TaskNextArgs),
    /// Record a task's result
    Complete(TaskCompleteArgs),
    /// Record that a task failed
    Fail(TaskFailArgs),
    /// Give a task back, for another program to take
    Release(HeldTaskArgs),
    /// Hold a task for longer
    Extend(TaskExtendArgs),
    /// Print a task's result
    Result(IdArgs),
}

#[derive(Args, Debug)]
pub(crate) struct TaskSubmitArgs {
    /// The task's id: the same id with the same content is the same task
    #[arg(long, value_name = "ID")]
    pub(crate) task_id: String,
    /// What kind of work it is, for the program that takes it
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub(crate) workflow_id: String,
    /// What people call it; the id by default
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Routing tags (`wfengine tags` lists them) and labels of your own
    #[arg(long, value_name = "TAG", num_args = 1.., value_delimiter = ',')]
    pub(crate) tags: Vec<String>,
    /// Data for the program that takes it, a JSON object
    #[arg(long, value_name = "JSON")]
    pub(crate) metadata: Option<String>,
    #[command(flatten)]
    pub(crate) priority: PriorityChoice,
    /// Submit again up to N times when it fails under `work`, or by `task fail --retry`
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) retries: u32,
    #[command(flatten)]
    pub(crate) backoff: BackoffChoice,
    /// Return only once N other peers hold the submission
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) copies: u32,
}

#[derive(Args, Debug)]
pub(crate) struct TaskNextArgs {
    /// Wait until there is one
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long the task is held before it is offered again
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    pub(crate) lease: String,
    /// Only tasks with all of these tags
    #[arg(long, value_name = "TAG", num_args = 1.., value_delimiter = ',')]
    pub(crate) tags: Vec<String>,
}

/// A task that was handed out.
#[derive(Args, Debug)]
pub(crate) struct HeldTaskArgs {
    /// The task's id
    pub(crate) id: String,
    /// The fencing token it was handed out with: refused if it was handed to somebody else since. A command
    /// of `wfengine work` that reports on its own task need not give it
    #[arg(long, value_name = "TOKEN")]
    pub(crate) fencing_token: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct TaskCompleteArgs {
    #[command(flatten)]
    pub(crate) task: HeldTaskArgs,
    /// Its result: a JSON text, or @FILE
    #[arg(long, value_name = "JSON|@FILE")]
    pub(crate) result: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct TaskFailArgs {
    #[command(flatten)]
    pub(crate) task: HeldTaskArgs,
    /// What went wrong, for people to read
    #[arg(long, value_name = "TEXT")]
    pub(crate) error: String,
    /// Let it be submitted again if it has retries left
    #[arg(long)]
    pub(crate) retry: bool,
}

#[derive(Args, Debug)]
pub(crate) struct TaskExtendArgs {
    #[command(flatten)]
    pub(crate) task: HeldTaskArgs,
    /// How long from now
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    pub(crate) lease: String,
}

#[derive(Args, Debug)]
pub(crate) struct WorkArgs {
    /// How long a task is held; extended while the command runs
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    pub(crate) lease: String,
    /// Only tasks with all of these tags
    #[arg(long, value_name = "TAG", num_args = 1.., value_delimiter = ',')]
    pub(crate) tags: Vec<String>,
    /// Stop after N tasks
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Stop when there is no task instead of waiting
    #[arg(long)]
    pub(crate) until_empty: bool,
    /// The command; the task comes as JSON on its standard input, what it prints is the result
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<String>,
}
