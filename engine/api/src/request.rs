//! What can be asked of a node. One request, one answer, with items before it where its line says so.
//!
//! The command line, the control socket and every other door ask these and nothing else. What a component's settings mean is the
//! component's business: they pass here as the documents that a configuration holds.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Settings of a component, as its part of a node's configuration has them; missing keys have their defaults.
pub type Settings = serde_json::Value;

/// Variables of whoever asks, as far as a way to GitHub depends on them.
pub type Environment = BTreeMap<String, String>;

/// Which GitHub, and how to get there.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GithubWishes {
    /// File to read the token from; null: variables or the gh program give it.
    pub token_file: Option<PathBuf>,
    /// Base address of the REST interface, such as `https://HOST/api/v3`; null: variables, or github.com.
    pub api: Option<String>,
    /// PEM file with authorities to trust besides the usual ones; null: none.
    pub ca_file: Option<PathBuf>,
    /// The token may travel without TLS to an address that begins with `http:`.
    pub insecure: bool,
}

impl GithubWishes {
    /// What is left open is as the others say.
    pub fn or(self, others: Self) -> Self {
        Self {
            // a token is for one place: that of another is not sent to this one
            token_file: self.token_file.or(others.token_file.filter(|_| self.api.is_none())),
            api: self.api.or(others.api),
            ca_file: self.ca_file.or(others.ca_file),
            insecure: self.insecure || others.insecure,
        }
    }
}

/// What a person or program says about a submission besides the file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Wishes {
    /// What to call it.
    pub name: Option<String>,
    /// Dispatch inputs by name.
    pub inputs: BTreeMap<String, serde_json::Value>,
    /// The submitter's own data, a JSON object as text.
    pub metadata: Option<String>,
    /// Thousandths; lower runs first.
    pub priority_milli: Option<u32>,
    /// How often a failed run is submitted again.
    pub retries: u32,
    /// Shortest and longest wait before that, in milliseconds.
    pub backoff_ms: (u64, u64),
    /// Names the run.
    pub id: Option<String>,
    /// What git says about the folder.
    pub repository: GitFacts,
    /// Who asks.
    pub actor: String,
}

/// What a checkout says of itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct GitFacts {
    /// `owner/name`, or empty.
    pub repository: String,
    /// Full ref, or empty.
    pub git_ref: String,
    /// Commit, or empty.
    pub sha: String,
}

/// A task that was handed out, with the token it was handed out with if whoever reports knows it.
#[derive(Debug, Serialize, Deserialize)]
pub struct HeldBy {
    /// The id it was submitted under, or the beginning of its run's or job's id.
    pub id: String,
    /// The fencing token it was handed out with; null: the claim that this node holds is meant.
    #[serde(default)]
    pub token: Option<String>,
    /// The run that the token is of, where it comes from the environment of a command: nobody says that this task is meant.
    #[serde(default)]
    pub token_of: Option<String>,
}

/// Which runs are wanted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Listing {
    /// Only runs with this status word; null: all.
    pub status: Option<String>,
    /// Only runs with a job that this peer holds or completed: its name, id or the beginning of its id; null: all.
    pub peer: Option<String>,
    /// Only runs with this tag, in any spelling of a routing tag; null: all.
    pub tag: Option<String>,
    /// Only runs submitted at most so many milliseconds ago; null: all.
    pub since_ms: Option<u64>,
    /// Only runs that have not ended.
    pub open: bool,
    /// Only runs where hosts disagreed: other content under one id, two plans of one job, more than one result.
    pub disagree: bool,
    /// Go on after this place: the `next` of the part before; null: begin with the newest.
    pub after: Option<String>,
    /// At most so many runs, and never more than 10,000.
    pub limit: usize,
}

/// A question or an order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Execute a workflow file here and now. Items: [`crate::answers::Progress`]. Answer: [`crate::answers::RunView`].
    Run {
        /// Path of the workflow file as whoever asks knows it; it is recorded, and nothing is read there.
        path: String,
        /// The file's text.
        source: String,
        /// What else is said about the run.
        wishes: Wishes,
        /// Directory on this host in which its steps begin; left as they leave it.
        workspace: String,
        /// Variables of whoever asks, as far as steps may see them.
        environment: BTreeMap<String, String>,
    },
    /// Submit a workflow file. Answer: [`crate::answers::Submitted`].
    Submit {
        /// Path of the workflow file as whoever asks knows it; it is recorded, and nothing is read there.
        path: String,
        /// The file's text.
        source: String,
        /// What else is said about the run.
        wishes: Wishes,
        /// Answer only once so many other peers hold it with its sources; 0: at once.
        copies: u32,
    },
    /// Wait until a run has ended. Items: [`crate::answers::Progress`] if `logs`. Answer: [`crate::answers::RunView`].
    Wait {
        /// Its given id, or the beginning of the id of the run or of a job or event of it, at least 4 digits.
        id: String,
        /// Tell of its jobs, steps and log lines meanwhile.
        logs: bool,
    },
    /// Runs, newest first. Answer: [`crate::answers::RunsView`].
    List(Listing),
    /// One run. Answer: [`crate::answers::RunView`].
    Show {
        /// A given id, or the beginning of the id of a run, job or event, at least 4 hexadecimal digits. A job is shown alone.
        id: String,
    },
    /// Log lines. Items: [`crate::answers::Progress`]. Answer: nothing.
    Logs {
        /// A given id, or the beginning of the id of a run, job or event, at least 4 hexadecimal digits. Of a job: its log alone.
        id: String,
        /// Go on as lines are written, until it has ended.
        follow: bool,
    },
    /// Cancel a run. Answer: [`crate::answers::RunView`].
    Cancel {
        /// Its given id, or the beginning of the id of the run or of a job or event of it, at least 4 digits.
        id: String,
        /// Why, for others to read.
        reason: String,
    },
    /// Submit a run again. Answer: [`crate::answers::Submitted`].
    Rerun {
        /// Its given id, or the beginning of the id of the run or of a job or event of it, at least 4 digits.
        id: String,
    },
    /// Change a priority. Answer: [`crate::answers::RunView`].
    Prioritise {
        /// Its given id, or the beginning of the id of the run or of a job or event of it, at least 4 digits.
        id: String,
        /// Thousandths, 1 to 1,000,000; lower runs first.
        priority_milli: u32,
    },
    /// Why a job is where it is. Answer: list of [`crate::answers::WhyView`].
    Why {
        /// A given id, or the beginning of the id of a run, job or event, at least 4 hexadecimal digits. Of a run: all its jobs.
        id: String,
    },
    /// Ranked peers. Answer: list of [`crate::answers::OwnerView`].
    Owner {
        /// Runs or jobs, each as a given id or the beginning of an id; empty: all open jobs.
        ids: Vec<String>,
    },
    /// Submit a task. Answer: [`crate::answers::Submitted`].
    TaskSubmit {
        /// The task's id, 1 to 256 bytes: the same id with the same content is the same task.
        task_id: String,
        /// What kind of work it is, for the program that takes it; may be empty.
        workflow_id: String,
        /// Routing tags and free labels.
        tags: Vec<String>,
        /// What else is said about the task; inputs, id and repository are not looked at.
        wishes: Wishes,
        /// Answer only once so many other peers hold it; 0: at once.
        copies: u32,
    },
    /// Take a task. Answer: [`crate::answers::TaskView`] or null.
    TaskNext {
        /// Wait until there is one.
        wait: bool,
        /// How long it is held unless that is extended, in milliseconds; more than 0.
        lease_ms: u64,
        /// Only tasks with all of these tags; empty: any.
        tags: Vec<String>,
    },
    /// Take one task, if this node may claim it now. Answer: [`crate::answers::TaskView`] or null.
    TaskTake {
        /// The task.
        id: String,
        /// How long it is held, in milliseconds.
        lease_ms: u64,
    },
    /// Record a task's result. Answer: [`crate::answers::RunView`].
    TaskComplete {
        /// Which task.
        task: HeldBy,
        /// Its result as a JSON text; empty: none.
        result_json: String,
    },
    /// Record that a task failed. Answer: [`crate::answers::RunView`].
    TaskFail {
        /// Which task.
        task: HeldBy,
        /// What went wrong, for people.
        error: String,
        /// Let it be submitted again if it has retries left.
        retry: bool,
    },
    /// Give a task back. Answer: [`crate::answers::RunView`].
    TaskRelease {
        /// Which task.
        task: HeldBy,
    },
    /// Extend a task's lease. Answer: nothing.
    TaskExtend {
        /// Which task.
        task: HeldBy,
        /// How long from now on, in milliseconds.
        lease_ms: u64,
    },
    /// This node. Answer: [`crate::answers::StatusView`].
    Status,
    /// The clock. Answer: [`crate::answers::ClockView`].
    Clock,
    /// Open a way in. Answer: [`crate::answers::InviteView`].
    Invite {
        /// How long it holds, in milliseconds from now on.
        expires_ms: u64,
        /// What the other host may do: some of admin, executor, submitter and operator.
        roles: Vec<String>,
        /// Labels of the other host.
        labels: Vec<String>,
        /// Ask the other host to run jobs that members submit.
        allow_jobs: bool,
    },
    /// Members and addresses. Answer: [`crate::answers::PeersView`].
    Peers,
    /// Remember an address.
    AddAddress {
        /// `HOST:PORT`, at most 256 bytes.
        address: String,
    },
    /// Revoke a member or forget an address. Answer: a text.
    RemovePeer {
        /// A remembered address; or a member's name, id or the beginning of its id, at least 4 characters.
        peer: String,
        /// Why, for others to read; not looked at for an address.
        reason: String,
    },
    /// Whose jobs run here. Answer: [`crate::answers::AllowView`].
    Allow {
        /// Members to allow besides: names, ids or beginnings of ids.
        peers: Vec<String>,
        /// Repositories to allow besides, `owner/name`.
        repositories: Vec<String>,
        /// Run what any member submits.
        any: bool,
        /// Take back first what was allowed before.
        none: bool,
    },
    /// Name this node and remember addresses.
    Init {
        /// What this node is called; null: as before.
        name: Option<String>,
        /// Addresses to connect to from now on besides, `HOST:PORT`.
        addresses: Vec<String>,
    },
    /// What peers hold of this log. Answer: [`crate::answers::SyncView`].
    Sync {
        /// Wait until enough peers hold this node's head and the sources of its open runs.
        wait: bool,
        /// How many peers that are.
        copies: u32,
    },
    /// Claim nothing.
    Pause,
    /// Claim again.
    Resume,
    /// Events in the order of admission, those of a run in the order of their effect. Answer: [`crate::answers::HistoryView`].
    History {
        /// Of this run alone.
        run: Option<String>,
        /// By this peer alone, by name or id.
        author: Option<String>,
        /// Of these kinds alone, such as `JobClaimed`; empty: all.
        kinds: Vec<String>,
        /// Where to begin: 0, or the `next` of the part before.
        from: u64,
        /// Events at most, up to 1000; those that were written in one go come together.
        limit: usize,
    },
    /// Figures of this node. Answer: list of [`crate::answers::Metric`].
    Metrics,
    /// Events as they are admitted. Items: [`crate::answers::FollowedEvent`]. Answer: nothing; it ends when nobody listens.
    Follow {
        /// From this place on, which the log has reached; null: from now on.
        from: Option<u64>,
    },
    /// That the log has grown: once at the beginning, then after events were admitted, several times a second at most. Items:
    /// [`crate::answers::Changed`]. Answer: nothing; it ends when nobody listens.
    Changes,
    /// Encoded frames in the order of admission, base64. Answer: list of texts.
    Frames {
        /// Place of the first in the order of admission, from 0.
        from: u64,
        /// At most so many; never more than 4,096 or 4 MiB.
        len_max: usize,
    },
    /// Admit frames, base64. Answer: [`crate::answers::Imported`].
    Import {
        /// Encoded signed frames, each in base64.
        frames: Vec<String>,
    },
    /// A blob, base64. Answer: a text.
    Blob {
        /// 64 hexadecimal digits.
        id: String,
    },
    /// Look for tagged workflows once. Answer: [`crate::answers::DiscoveryView`].
    Discover {
        /// What to look at and how; what is left open is as this host watches.
        wishes: Settings,
        /// Variables that the way to GitHub depends on.
        variables: Environment,
        /// Submit nothing and write nothing.
        dry_run: bool,
    },
    /// Look again and again. Items: [`crate::answers::Progress`]. Answer: nothing.
    Monitor {
        /// What to look at and how; what is left open is as this host watches.
        wishes: Settings,
        /// Variables that the way to GitHub depends on.
        variables: Environment,
        /// Submit nothing and write nothing.
        dry_run: bool,
    },
    /// What this host looks at from now on; nothing if it is null. Answer: [`crate::answers::WatchView`].
    Watch {
        /// What to look at and how; null: nothing.
        wishes: Option<Settings>,
    },
    /// Tagged workflows that were found. Answer: list of [`crate::answers::FoundView`].
    Discovered,
    /// Start a workflow of a repository. Answer: [`crate::answers::Submitted`].
    Dispatch {
        /// `owner/name`.
        repository: String,
        /// The workflow: its path, its file's name, or its name.
        workflow: String,
        /// The branch or tag to run; null: the default branch.
        git_ref: Option<String>,
        /// Inputs of the workflow by name.
        inputs: BTreeMap<String, serde_json::Value>,
        /// Which GitHub, and how to get there; what is left open is as this host watches.
        github: GithubWishes,
        /// Variables that the way to GitHub depends on.
        variables: Environment,
    },
    /// Have this host start runners. Answer: [`crate::answers::runners::StartedView`].
    RunnerStart {
        /// The pool's settings; a pool's name alone has it go on as it was started last.
        wishes: Settings,
        /// These settings and no others, even where they are the pool's name alone.
        #[serde(default)]
        anew: bool,
        /// Variables that the way to GitHub depends on.
        variables: Environment,
    },
    /// Start none any more, in one pool or in all. Answer: [`crate::answers::runners::StoppedView`].
    RunnerStop {
        /// Name of the pool; null: all.
        pool: Option<String>,
    },
    /// How the autoscaler gets on. Answer: [`crate::answers::runners::RunnerStatusView`].
    RunnerStatus,
    /// What is queued at GitHub. Answer: list of [`crate::answers::runners::QueueView`].
    RunnerQueues {
        /// Variables that the way to GitHub depends on.
        variables: Environment,
    },
    /// Containers of runners. Answer: list of [`crate::answers::runners::RunnerContainerView`].
    RunnerContainers,
    /// Start runners once, for these repositories or for all with something queued. Answer: [`crate::answers::runners::ProvisionView`].
    RunnerProvision {
        /// Repositories, `owner/name`, one runner for each; empty: every one with jobs that wait.
        repositories: Vec<String>,
        /// Variables of whoever asks; the node goes by its own.
        variables: Environment,
    },
    /// Stop a container. Answer: [`crate::answers::runners::ContainerStoppedView`].
    RunnerStopContainer {
        /// Name of the runner, or the beginning of its container's id.
        container: String,
        /// Even if it runs a job, which fails then.
        force: bool,
    },
    /// What a runner's container wrote. Items: [`crate::answers::runners::RunnerLogLine`]. Answer: nothing.
    RunnerLogs {
        /// Name of the runner, or the beginning of its container's id.
        name: String,
        /// Go on as lines are written, until it has ended.
        follow: bool,
    },
    /// Replace idle runners. Answer: [`crate::answers::runners::RotatedView`].
    RunnerRotate {
        /// Only runners with another image or other settings than the pool has now.
        outdated: bool,
    },
    /// The digest of the published views, and how far they go. Answer: [`crate::answers::DigestView`].
    Digest,
}

impl Request {
    /// Makes it a request of somebody who may submit and nothing else: nobody knows who that is, or where the file comes from.
    ///
    /// # Errors
    /// It asks for something else.
    pub fn only_submits(&mut self) -> Result<(), Failure> {
        let (wishes, copies) = match self {
            Request::Submit { wishes, copies, .. } | Request::TaskSubmit { wishes, copies, .. } => {
                (wishes, copies)
            }
            _ => return Err(Failure::refused(Self::SUBMITS_ONLY)),
        };
        if *copies > 0 {
            return Err(Failure::refused(format!(
                "{}: it does not wait for copies (--copies)",
                Self::SUBMITS_ONLY
            )));
        }
        wishes.actor = "http".to_owned();
        wishes.repository = GitFacts::default();
        Ok(())
    }

    /// What whoever holds the submitting token is told who asks for something else.
    pub const SUBMITS_ONLY: &str = "this token submits and does nothing else";

    /// Why whoever asks has to be on this host, if so: what is asked for is done with folders and programs of the asker's own.
    pub fn only_here(&self) -> Option<&'static str> {
        match self {
            Request::Run { .. } => Some("`run` executes a file in the folder in which it is typed"),
            _ => None,
        }
    }
}
