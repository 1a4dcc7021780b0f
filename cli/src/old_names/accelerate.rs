//! `ipfs-accelerate`: tasks with urgencies, discovery, the autoscaler, the door for agents.
//!
//! Two programs had this name, one with `github`, `mcp` and `p2p-workflow`, the other with `runner`; here they are one. Flags that
//! stood before the verb are taken after it as well, and the other way round.

mod verbs;

use serde_json::{Value, json};
use wfengine_api::answers::{StatusView, WatchView};
use wfengine_api::{Exit, Failure, Request};

use super::{Asking, credential, given, printed};
use crate::commands;
use crate::node::processors;
use crate::terminal;
pub(super) use verbs::Accelerate;
use verbs::{
    AutoscalerArgs, DiscoverVerb, Format, GithubVerb, McpArgs, McpVerb, RunnerVerb, RunnersVerb, StartArgs,
    SubmitArgs, TaskVerb, Verb,
};

/// A command line of our own in the making.
#[derive(Default)]
struct Words(Vec<String>);

impl Words {
    fn of(words: &[&str]) -> Self {
        Self(words.iter().map(|word| (*word).to_owned()).collect())
    }

    /// An option with a value that nothing can be taken for an option of its own.
    fn option(mut self, name: &str, value: Option<impl ToString>) -> Self {
        self.0.extend(value.map(|value| format!("--{name}={}", value.to_string())));
        self
    }

    fn flag(mut self, name: &str, is_on: bool) -> Self {
        self.0.extend(is_on.then(|| format!("--{name}")));
        self
    }
}

pub(super) async fn run(asking: Asking, said: Accelerate) -> Result<Exit, Failure> {
    let Accelerate { json, format, verbose, verb } = said;
    let asking = asking.with_json(json || format == Some(Format::Json));
    match verb {
        Verb::P2pWorkflow(verb) => task(&asking, verb).await,
        Verb::Github(verb) => github(&asking, verb, verbose).await,
        Verb::Runner(verb) => runner(&asking, verb, format, verbose).await,
        Verb::Mcp(McpVerb::Start(args)) => {
            let (words, note) = serving(args);
            terminal::note(&note);
            asking.ours(&words.0).await
        }
    }
}

/// An answer as text.
type Lines = fn(&Value) -> Vec<String>;
/// An answer as JSON, as the older program printed it.
type Document = fn(Value) -> Value;

async fn task(asking: &Asking, verb: TaskVerb) -> Result<Exit, Failure> {
    let (answer, shape, document): (Value, Lines, Document) = match verb {
        TaskVerb::Status => {
            let answer = asking.tool("p2p_scheduler_status", json!({})).await?;
            (answer, printed::scheduler_status, printed::bare)
        }
        TaskVerb::Submit(args) => {
            let SubmitArgs { task_id, workflow_id, name, tags, priority } = args;
            let wanted = json!({
                "task_id": task_id, "workflow_id": workflow_id, "name": name, "tags": tags, "priority": priority,
            });
            let answer = asking.tool("p2p_submit_task", wanted).await?;
            remark_on_tags(&answer);
            if answer.get("already_so") == Some(&Value::Bool(true)) {
                terminal::note("it was submitted before with the same content: it is the same task");
            }
            (answer, printed::task_submitted, printed::bare)
        }
        TaskVerb::Next => {
            let answer = asking.tool("p2p_get_next_task", json!({})).await?;
            if !printed::part(&answer, "task").is_null() {
                terminal::note(
                    "the task is held for ten minutes, then it is offered again unless it was completed",
                );
            }
            (answer, printed::task_taken, |answer| printed::task_document(&answer))
        }
        TaskVerb::Complete { task_id } => {
            let answer = asking.tool("p2p_mark_task_complete", json!({ "task_id": task_id })).await?;
            let shape = |answer: &Value| {
                let mut lines = printed::labelled(answer, &[("Task ID", "task_id")]);
                lines.push("Status: completed".to_owned());
                lines
            };
            (answer, shape, printed::bare)
        }
        TaskVerb::CheckTags { tags } => {
            let answer = asking.tool("p2p_check_workflow_tags", json!({ "tags": tags })).await?;
            remark_on_tags(&answer);
            (answer, printed::tags_checked, printed::bare)
        }
        TaskVerb::Clock => {
            let answer = asking.tool("p2p_get_merkle_clock", json!({})).await?;
            (answer, printed::vector_clock, printed::bare)
        }
    };
    if asking.json() { printed::document(&document(answer)) } else { printed::lines(&shape(&answer)) }
}

fn remark_on_tags(answer: &Value) {
    let unknown = printed::word(answer, "unknown_tags");
    if !unknown.is_empty() && unknown != "-" {
        terminal::note(&format!("no routing tags, kept as labels: {unknown}"));
    }
}

async fn github(asking: &Asking, verb: GithubVerb, verbose: bool) -> Result<Exit, Failure> {
    match verb {
        GithubVerb::P2pDiscover(DiscoverVerb::Monitor { owner, interval }) => {
            let words = Words::of(&["discover", "monitor"]).option("owner", owner);
            asking.ours(&words.option("interval", Some(interval)).0).await
        }
        GithubVerb::P2pDiscover(DiscoverVerb::Once { owner }) => {
            if asking.json() {
                terminal::note("the JSON stands alone, so that a program can read it");
            }
            asking.ours(&Words::of(&["discover", "once"]).option("owner", owner).0).await
        }
        GithubVerb::Autoscaler(args) => autoscaler(asking, args, verbose).await,
        GithubVerb::Runners(RunnersVerb::List { repo }) => {
            let status = asking.tool("runner_get_status", json!({})).await?;
            let runners = printed::part(&printed::part(&status, "data"), "runners");
            listed(asking, &having(runners, "scope", repo.as_deref()))
        }
        GithubVerb::Runners(RunnersVerb::Provision { repo }) => provision(asking, repo).await,
        GithubVerb::Queues { owner } => {
            let queues = queues(asking).await?;
            let prefix = owner.map(|owner| format!("{owner}/"));
            listed(asking, &having(queues, "repo", prefix.as_deref()))
        }
        GithubVerb::Workflows { repo } => {
            let queues = queues(asking).await?;
            listed(asking, &having(queues, "repo", repo.as_deref()))
        }
        GithubVerb::Repos { owner } => {
            let wanted = given(json!({ "owner": owner, "dry_run": true }));
            let found = asking.tool("discover_workflows", wanted).await?;
            listed(asking, &printed::part(&printed::part(&found, "report"), "repositories"))
        }
        GithubVerb::Auth => {
            let seen = credential::seen().await?;
            if asking.json() {
                return printed::document(&seen);
            }
            let fields = [
                ("Authenticated", "authenticated"),
                ("Host", "host"),
                ("User", "user"),
                ("Credential", "credential"),
            ];
            printed::lines(&printed::labelled(&seen, &fields))
        }
    }
}

/// Those whose field is this one, or begins with it where it ends in a slash; all without one. GitHub's names differ in case only in how
/// they are shown.
fn having(rows: Value, field: &str, wanted: Option<&str>) -> Value {
    let Some(wanted) = wanted.map(str::to_ascii_lowercase) else { return rows };
    let fits = |row: &Value| {
        let text = printed::word(row, field).to_ascii_lowercase();
        if wanted.ends_with('/') { text.starts_with(&wanted) } else { text == wanted }
    };
    match rows {
        Value::Array(rows) => rows.into_iter().filter(fits).collect(),
        other => other,
    }
}

/// As text unless JSON was asked for.
fn listed(asking: &Asking, value: &Value) -> Result<Exit, Failure> {
    if asking.json() { printed::document(value) } else { printed::lines(&printed::plain_text(value)) }
}

async fn queues(asking: &Asking) -> Result<Value, Failure> {
    Ok(printed::part(&asking.tool("runner_list_workflows", json!({})).await?, "data"))
}

/// The autoscaler of `github`: it looked for tagged workflows as well.
async fn autoscaler(asking: &Asking, args: AutoscalerArgs, verbose: bool) -> Result<Exit, Failure> {
    let AutoscalerArgs { owner, interval, since_days, max_runners, no_p2p } = args;
    let start = Words::of(&["runner", "start", "--anew"])
        .option("owner", owner.as_ref())
        .option("interval", Some(interval))
        .option("since-days", Some(since_days))
        .option("max-runners", Some(max_runners.unwrap_or_else(processors)))
        .flag("no-p2p", no_p2p)
        .flag("verbose", verbose);
    let status: StatusView = commands::call(&asking.globals, Request::Status).await?;
    let watches = status.discovers;
    if no_p2p {
        if !watches.is_empty() {
            terminal::note(&format!(
                "this host was told to look for tagged workflows in {}, and goes on: `wfengine discover watch --stop` ends that",
                watches.join(", ")
            ));
        }
        return asking.ours(&start.0).await;
    }
    if !watches.is_empty() {
        terminal::note(&format!(
            "this host looks for tagged workflows in {} already, and goes on as it was told to",
            watches.join(", ")
        ));
        return asking.ours(&start.0).await;
    }
    terminal::note(
        "this host looks for tagged workflows from now on, and runs what it finds: `wfengine discover watch --stop` ends that, --no-p2p does without",
    );
    let owners: Vec<String> = owner.into_iter().collect();
    let wishes = json!({ "on": true, "owners": owners, "interval_s": interval });
    let watch = |wishes| commands::call::<WatchView>(&asking.globals, Request::Watch { wishes });
    watch(Some(wishes)).await?;
    let started = asking.ours(&start.0).await;
    if started.is_err() {
        // nothing of a start that came to nothing stays
        watch(None).await?;
    }
    started
}

async fn runner(
    asking: &Asking,
    verb: RunnerVerb,
    format: Option<Format>,
    verbose: bool,
) -> Result<Exit, Failure> {
    let as_text = format == Some(Format::Text);
    let shown = |value: &Value| {
        if as_text { printed::lines(&printed::plain_text(value)) } else { printed::document(value) }
    };
    match verb {
        RunnerVerb::Start(args) => {
            if args.image.is_none() {
                terminal::note("the containers are made from GitHub's own image; --image names another");
            }
            asking.ours(&starting(args, verbose).0).await
        }
        RunnerVerb::Stop => {
            let stopped = asking.tool("runner_stop_autoscaler", json!({})).await?;
            if asking.json() {
                return printed::document(&stopped);
            }
            printed::lines(&[printed::word(&stopped, "message")])
        }
        RunnerVerb::Status => {
            shown(&printed::part(&asking.tool("runner_get_status", json!({})).await?, "data"))
        }
        RunnerVerb::ListWorkflows => shown(&queues(asking).await?),
        RunnerVerb::ListContainers => {
            shown(&printed::part(&asking.tool("runner_list_containers", json!({})).await?, "data"))
        }
        RunnerVerb::Provision { repo } => provision(asking, repo).await,
        RunnerVerb::StopContainer { container } => {
            let stopped = asking.tool("runner_stop_container", json!({ "container": container })).await?;
            if asking.json() {
                return printed::document(&stopped);
            }
            printed::lines(&[printed::word(&stopped, "message")])
        }
    }
}

fn starting(args: StartArgs, verbose: bool) -> Words {
    let StartArgs { owner, interval, max_runners, image, background } = args;
    Words::of(&["runner", "start", "--anew"])
        .option("owner", owner)
        .option("interval", Some(interval))
        .option("max-runners", Some(max_runners))
        .option("image", image)
        .flag("background", background)
        .flag("verbose", verbose)
}

/// One runner: for a repository, or for every one with something queued.
async fn provision(asking: &Asking, repo: Option<String>) -> Result<Exit, Failure> {
    let Some(repo) = repo else {
        return asking.ours(&Words::of(&["runner", "provision"]).0).await;
    };
    let done = asking.tool("runner_provision_for_workflow", json!({ "repo": repo })).await?;
    let ended = if done.get("success") == Some(&Value::Bool(true)) { Exit::Success } else { Exit::Failure };
    if asking.json() {
        printed::document(&done)?;
        return Ok(ended);
    }
    let data = printed::part(&done, "data");
    let message = printed::word(&done, "message");
    let said = if message.is_empty() { printed::word(&data, "status") } else { message };
    let container = match ended {
        Exit::Success => format!(" (container {})", printed::word(&data, "container_id")),
        _ => String::new(),
    };
    printed::lines(&[format!("{}: {said}{container}", printed::word(&data, "repo"))])?;
    Ok(ended)
}

/// A node with its door at a port, and what people should know of it.
fn serving(args: McpArgs) -> (Words, String) {
    let wants_runners = args.autoscaler_owner.is_some()
        || args.autoscaler_interval.is_some()
        || args.autoscaler_since_days.is_some()
        || args.autoscaler_max_runners.is_some();
    let http = if args.host.contains(':') && !args.host.starts_with('[') {
        format!("[{}]:{}", args.host, args.port)
    } else if args.host == "localhost" {
        format!("127.0.0.1:{}", args.port)
    } else {
        format!("{}:{}", args.host, args.port)
    };
    let door = "the Model Context Protocol is at /mcp of the address that is printed, with the token in the file that is named there";
    if args.disable_autoscaler || !wants_runners {
        let why = match args.disable_autoscaler {
            true => String::new(),
            false => {
                "; no runners are started beside it: --autoscaler-owner asks for them, or `wfengine runner start`"
                    .to_owned()
            }
        };
        return (Words::of(&["serve"]).option("http", Some(http)), format!("{door}{why}"));
    }
    let words = Words::of(&["runner", "start", "--anew"])
        .option("http", Some(http))
        .option("owner", args.autoscaler_owner)
        .option("interval", args.autoscaler_interval)
        .option("since-days", args.autoscaler_since_days)
        .option("max-runners", args.autoscaler_max_runners)
        .flag("no-p2p", args.no_p2p);
    (words, door.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn read(line: &str) -> Result<Accelerate, clap::Error> {
        Accelerate::try_parse_from(["ipfs-accelerate"].into_iter().chain(line.split(' ')))
    }

    #[test]
    fn flags_are_taken_before_and_after_the_verb() {
        for line in
            ["--verbose runner start", "runner --verbose start", "runner start --verbose", "runner start -v"]
        {
            let said = read(line).unwrap();
            assert!(said.verbose && matches!(said.verb, Verb::Runner(RunnerVerb::Start(_))), "{line}");
        }
        for line in ["--format text runner status", "runner status --format text"] {
            assert_eq!(read(line).unwrap().format, Some(Format::Text), "{line}");
        }
        for line in ["p2p-workflow clock --json", "--json p2p-workflow clock"] {
            assert!(read(line).unwrap().json, "{line}");
        }
        assert!(read("github p2p-discover once --owner myorg --output-json").unwrap().json);
    }

    #[test]
    fn a_task_has_the_defaults_that_it_had() {
        let said = read("p2p-workflow submit --task-id t --workflow-id w --name n").unwrap();
        let Verb::P2pWorkflow(TaskVerb::Submit(args)) = said.verb else { unreachable!() };
        assert_eq!((args.tags, args.priority), (vec!["p2p-eligible".to_owned()], 5));
        let line = "p2p-workflow submit --task-id t --workflow-id w --name n --tags p2p-only code-generation --priority 8";
        let Verb::P2pWorkflow(TaskVerb::Submit(args)) = read(line).unwrap().verb else { unreachable!() };
        assert_eq!((args.tags.len(), args.priority), (2, 8));
        for wrong in [
            "p2p-workflow submit --task-id t",
            "p2p-workflow complete",
            "p2p-workflow check-tags",
            "p2p-workflow",
        ] {
            assert_eq!(read(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }

    #[test]
    fn runners_are_started_by_our_own_command_line() {
        let said =
            read("runner start --owner myorg --interval 60 --max-runners 8 --image a/b:latest --background")
                .unwrap();
        let Verb::Runner(RunnerVerb::Start(args)) = said.verb else { unreachable!() };
        assert_eq!(
            starting(args, true).0.join(" "),
            "runner start --anew --owner=myorg --interval=60 --max-runners=8 --image=a/b:latest --background --verbose"
        );
        let Verb::Runner(RunnerVerb::Start(args)) = read("runner start").unwrap().verb else {
            unreachable!()
        };
        assert_eq!(starting(args, false).0.join(" "), "runner start --anew --interval=120 --max-runners=10");
    }

    #[test]
    fn the_door_for_agents_starts_runners_only_when_it_is_told_whose_jobs() {
        let line = |line: &str| {
            let Verb::Mcp(McpVerb::Start(args)) = read(line).unwrap().verb else { unreachable!() };
            let (words, note) = serving(args);
            (words.0.join(" "), note)
        };
        let (words, note) = line("mcp start --port 9001");
        assert_eq!(words, "serve --http=127.0.0.1:9001");
        assert!(note.contains("/mcp") && note.contains("--autoscaler-owner"), "{note}");
        let (words, note) = line("mcp start --host ::1 --disable-autoscaler --autoscaler-owner o");
        assert_eq!(words, "serve --http=[::1]:9000");
        assert!(!note.contains("runners"), "{note}");
        let (words, _) = line("mcp start --autoscaler-owner o --autoscaler-max-runners 3 --no-p2p");
        assert_eq!(words, "runner start --anew --http=127.0.0.1:9000 --owner=o --max-runners=3 --no-p2p");
    }

    #[test]
    fn rows_are_found_by_what_they_are_about() {
        let rows = json!([{ "repo": "Octo/a" }, { "repo": "octo/b" }, { "repo": "octopus/a" }]);
        assert_eq!(having(rows.clone(), "repo", Some("octo/")).as_array().unwrap().len(), 2);
        assert_eq!(having(rows.clone(), "repo", Some("octo/A")), json!([{ "repo": "Octo/a" }]));
        assert_eq!(having(rows.clone(), "repo", None), rows);
    }
}
