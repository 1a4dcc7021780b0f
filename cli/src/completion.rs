//! Completion in a shell: what the shell's function asks this program for at each TAB.
//!
//! Verbs and options come from the command line's own description; ids, peers, tags and repositories from the node that serves, this
//! host's or the one that `--node` names. Nothing is opened, made or printed for it, and a node that takes longer than [`WAIT`] is not
//! waited for.
//!
//! Invariant: a candidate is of letters, digits and a few marks that no shell gives a meaning, whatever others named their work.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, Command, CommandFactory};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use serde::de::DeserializeOwned;
use wfengine_api::answers::runners::{RunnerContainerView, RunnerStatusView};
use wfengine_api::answers::{FoundView, PeersView, RunView, RunsView};
use wfengine_api::{Listing, Request};
use wfengine_core::views::job::Status;
use wfengine_store::DataDir;
use wfengine_workflow::tags::Tag;

use crate::args::Cli;
use crate::control::Client;
use crate::home::data_dir_unsaid;
use crate::remote::Remote;

/// Set by a shell's function when it asks, to the shell's name.
pub(crate) const VARIABLE: &str = "WFENGINE_COMPLETE";
/// How long a node may take to answer.
const WAIT: Duration = Duration::from_millis(300);
/// Candidates at most, the newest runs first.
const CANDIDATES_MAX: usize = 300;
/// Characters of a candidate at most.
const LEN_MAX: usize = 128;
/// Characters of what is said beside a candidate.
const HELP_LEN_MAX: usize = 60;

/// Answers a shell, if one asks. Then nothing else is to be done.
pub(crate) fn answered() -> bool {
    if std::env::var_os(VARIABLE).is_none() {
        return false;
    }
    let folder = std::env::current_dir().ok();
    let asked = CompleteEnv::with_factory(command).var(VARIABLE);
    // what goes wrong is no matter for whoever types
    asked.try_complete(std::env::args_os(), folder.as_deref()).unwrap_or(true)
}

/// What a value names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Subject {
    Run,
    Task,
    Status,
    Peer,
    Tag,
    Repository,
    Workflow,
    Runner,
    Pool,
}

impl Subject {
    /// What the value of an argument names, by its verb and its own name.
    fn of(verb: &[&str], argument: &str) -> Option<Self> {
        match (verb, argument) {
            (["task", "complete" | "fail" | "release" | "extend" | "result"], "id") => Some(Self::Task),
            (["show" | "logs" | "cancel" | "rerun" | "priority" | "why"], "id")
            | (["owner"], "ids")
            | (["replay"] | ["log", "export"], "run") => Some(Self::Run),
            (["list"], "status") => Some(Self::Status),
            (["list" | "allow"] | ["peer", "remove"], "peer") | (["replay"], "author") => Some(Self::Peer),
            (["list"], "tag")
            | (["task", "submit" | "next"] | ["work"], "tags")
            | (["check-tags"], "tags" | "words") => Some(Self::Tag),
            (["allow"] | ["runner", "start" | "provision"] | ["discover", _], "repo")
            | (["discover", "dispatch"], "repository")
            | (["runner", "start"], "allow_repo") => Some(Self::Repository),
            (["discover", "dispatch"], "workflow") => Some(Self::Workflow),
            (["runner", "logs"], "name") | (["runner", "stop-container"], "container") => Some(Self::Runner),
            (["runner", "start" | "stop"], "pool") => Some(Self::Pool),
            _ => None,
        }
    }

    /// The values, with what they are.
    fn candidates(self) -> Vec<CompletionCandidate> {
        let mut found = Found::default();
        match self {
            Self::Run => runs().iter().for_each(|run| found.run(run)),
            Self::Task => {
                let tasks = runs().into_iter().filter(|run| run.kind == "task");
                tasks.for_each(|run| found.add(&run.given_id, &format!("{}: {}", run.status, run.name)));
            }
            Self::Status => Status::ALL.iter().for_each(|status| found.add(status.name(), "")),
            Self::Peer => {
                let peers = ask::<PeersView>(Request::Peers).map(|peers| peers.peers).unwrap_or_default();
                for peer in peers {
                    found.add(&peer.name, if peer.me { "this node" } else { &peer.id });
                }
            }
            Self::Tag => {
                Tag::ALL.iter().for_each(|tag| found.add(tag.name(), tag.description()));
                runs().iter().flat_map(|run| &run.tags).for_each(|tag| found.add(tag, ""));
            }
            Self::Repository => {
                workflows().iter().for_each(|workflow| found.add(&workflow.repository, ""));
                runs().iter().for_each(|run| found.add(&run.repository, ""));
            }
            Self::Workflow => {
                workflows().iter().for_each(|workflow| found.add(&workflow.path, &workflow.repository));
            }
            Self::Runner => {
                let containers: Vec<RunnerContainerView> = ask(Request::RunnerContainers).unwrap_or_default();
                containers.iter().for_each(|container| found.add(&container.name, &container.status));
            }
            Self::Pool => {
                let status: RunnerStatusView = ask(Request::RunnerStatus).unwrap_or_default();
                status.pools.iter().for_each(|pool| found.add(&pool.name, ""));
            }
        }
        found.0.into_iter().map(|(value, (place, help))| candidate(value, place, &help)).collect()
    }
}

/// Candidates with their places and what they are, each once.
#[derive(Default)]
struct Found(BTreeMap<String, (usize, String)>);

impl Found {
    fn add(&mut self, value: &str, help: &str) {
        let is_harmless = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '+' | '@');
        // a value that begins like an option would be read as one
        let fits = !value.is_empty()
            && value.chars().count() <= LEN_MAX
            && value.chars().all(is_harmless)
            && !value.starts_with('-');
        let place = self.0.len();
        if fits && place < CANDIDATES_MAX {
            self.0.entry(value.to_owned()).or_insert_with(|| (place, help.to_owned()));
        }
    }

    /// A run by its given id and by its own, which is enough as far as tables show it.
    fn run(&mut self, run: &RunView) {
        let help = format!("{}: {}", run.status, run.name);
        self.add(&run.given_id, &help);
        self.add(run.id.get(..12).unwrap_or(&run.id), &help);
    }
}

fn candidate(value: String, place: usize, help: &str) -> CompletionCandidate {
    let help: String =
        help.chars().map(|c| if c.is_control() { ' ' } else { c }).take(HELP_LEN_MAX).collect();
    let help = Some(help).filter(|help| !help.is_empty()).map(Into::into);
    CompletionCandidate::new(value).help(help).display_order(Some(place))
}

fn runs() -> Vec<RunView> {
    let wanted = Listing { limit: CANDIDATES_MAX, ..Listing::default() };
    ask(Request::List(wanted)).map(|part: RunsView| part.runs).unwrap_or_default()
}

fn workflows() -> Vec<FoundView> {
    ask(Request::Discovered).unwrap_or_default()
}

/// The command line's description, with what values name.
fn command() -> Command {
    with_candidates(Cli::command(), &[])
}

fn with_candidates(command: Command, verb: &[&str]) -> Command {
    let verbs: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    let mut command = command.mut_args(|argument: Arg| match Subject::of(verb, argument.get_id().as_str()) {
        Some(subject) => argument.add(ArgValueCandidates::new(move || subject.candidates())),
        None => argument,
    });
    for name in &verbs {
        let below: Vec<&str> = verb.iter().copied().chain([name.as_str()]).collect();
        command = command.mut_subcommand(name, |command| with_candidates(command, &below));
    }
    command
}

/// Asks the node that the typed words mean.
fn ask<T: DeserializeOwned>(request: Request) -> Option<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let words: Vec<OsString> = std::env::args_os().skip_while(|word| word != "--").skip(1).collect();
    let answer = runtime
        .block_on(async { tokio::time::timeout(WAIT, answer_of(&words, request)).await.ok().flatten() });
    // a node elsewhere that does not answer is left behind
    runtime.shutdown_background();
    serde_json::from_value(answer?).ok()
}

async fn answer_of(words: &[OsString], request: Request) -> Option<serde_json::Value> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(node) = typed(words, "--node").or_else(|| variable("WFENGINE_NODE")) {
        let token = typed(words, "--token").or_else(|| variable("WFENGINE_TOKEN"));
        return Remote::new(&node, token).ok()?.ask(&request, |_| ()).await.ok();
    }
    let path = data_dir_unsaid(typed(words, "--data-dir").map(PathBuf::from))?;
    let client = Client::connect(&DataDir::control_socket_in(&path)).await?;
    client.ask(&request, |_| ()).await.ok()
}

/// The value of an option among words that are not understood yet.
fn typed(words: &[OsString], option: &str) -> Option<String> {
    let mut words = words.iter().filter_map(|word| word.to_str());
    while let Some(word) = words.next() {
        let Some(rest) = word.strip_prefix(option) else { continue };
        let value = match rest.strip_prefix('=') {
            Some(value) if !value.is_empty() => value,
            // bash tells `--node=URL` in three words
            _ if rest.is_empty() => words.by_ref().find(|word| *word != "=")?,
            _ => continue,
        };
        // whoever types has not had the shell expand it yet
        let home = || std::env::var("HOME").ok();
        return match value.strip_prefix("~/").zip(home()) {
            Some((rest, home)) => Some(format!("{home}/{rest}")),
            None => Some(value.to_owned()),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_others_that_a_shell_would_understand_are_left_out() {
        let mut found = Found::default();
        for value in
            ["report-7", "$(reboot)", "a b", "x;y", "-rf", "", "octo/web", "\u{1b}[2J", "zwölf", "a`b`"]
        {
            found.add(value, "");
        }
        assert_eq!(found.0.keys().collect::<Vec<_>>(), ["octo/web", "report-7", "zwölf"]);
    }

    #[test]
    fn an_option_is_found_however_the_shell_tells_it() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert_eq!(typed(&words("wfengine --data-dir /x list"), "--data-dir").unwrap(), "/x");
        assert_eq!(typed(&words("wfengine --data-dir=/x list"), "--data-dir").unwrap(), "/x");
        assert_eq!(typed(&words("wfengine --data-dir = /x list"), "--data-dir").unwrap(), "/x");
        assert_eq!(typed(&words("wfengine list"), "--data-dir"), None);
    }

    #[test]
    fn every_argument_that_names_something_of_the_node_has_candidates() {
        fn walk(command: &Command, verb: &[&str], seen: &mut Vec<String>) {
            for argument in command.get_arguments() {
                if argument.get::<ArgValueCandidates>().is_some() {
                    seen.push(format!("{} {}", verb.join(" "), argument.get_id()));
                }
            }
            for below in command.get_subcommands() {
                let path: Vec<&str> = verb.iter().copied().chain([below.get_name()]).collect();
                walk(below, &path, seen);
            }
        }
        let mut seen = Vec::new();
        walk(&command(), &[], &mut seen);
        // a renamed argument would lose its candidates without a word
        for wanted in [
            "show id",
            "logs id",
            "cancel id",
            "rerun id",
            "priority id",
            "why id",
            "owner ids",
            "replay run",
            "replay author",
            "log export run",
            "list status",
            "list peer",
            "list tag",
            "allow peer",
            "allow repo",
            "peer remove peer",
            "task complete id",
            "task fail id",
            "task release id",
            "task extend id",
            "task result id",
            "task submit tags",
            "task next tags",
            "work tags",
            "check-tags tags",
            "check-tags words",
            "discover once repo",
            "discover monitor repo",
            "discover watch repo",
            "discover dispatch repository",
            "discover dispatch workflow",
            "runner start repo",
            "runner start allow_repo",
            "runner start pool",
            "runner stop pool",
            "runner provision repo",
            "runner logs name",
            "runner stop-container container",
        ] {
            assert!(seen.iter().any(|seen| seen == wanted), "{wanted}: {seen:?}");
        }
    }
}
