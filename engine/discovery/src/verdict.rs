//! What one workflow file says to discovery. Pure: bytes in, a verdict out.

use wfengine_workflow::tags::{self, Routing};
use wfengine_workflow::triggers::{OnGithub, Triggers, on_github};
use wfengine_workflow::{Workflow, limits, missing_inputs};

/// The folders whose files are workflows, GitHub's first.
pub const FOLDERS: [&str; 2] = [".github/workflows", ".wfengine/workflows"];

/// Whether a path is a workflow file: directly in one of the folders, named `.yml` or `.yaml`.
pub fn is_workflow_path(path: &str) -> bool {
    let name = FOLDERS.iter().find_map(|folder| path.strip_prefix(folder)?.strip_prefix('/'));
    name.is_some_and(|name| !name.contains('/') && (name.ends_with(".yml") || name.ends_with(".yaml")))
}

/// Whether GitHub looks at a path at all.
pub fn is_on_github(path: &str) -> bool {
    path.starts_with(FOLDERS[0])
}

/// A workflow that is tagged for peers.
#[derive(Clone, Debug)]
pub struct Tagged {
    /// The file.
    pub workflow: Workflow,
    /// Its triggers.
    pub triggers: Triggers,
    /// Where it goes: to peers alone, or to peers first.
    pub routing: Routing,
    /// Canonical tags and free labels.
    pub tags: Vec<String>,
    /// What people should know, a line each.
    pub remarks: Vec<String>,
    /// Why this version cannot run it, naming key and place; empty when it can.
    pub refusals: Vec<String>,
    /// Required inputs without a default: without them it cannot be dispatched.
    pub needs_inputs: Vec<String>,
}

/// What a workflow file says.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Its tags do not name peers.
    Untagged,
    /// It is tagged for peers and for GitHub; GitHub wins. The text says which tags.
    ForGithub(String),
    /// Peers run it.
    Tagged(Box<Tagged>),
    /// It cannot be read as a workflow; the text says where and why.
    Broken(String),
}

impl Verdict {
    /// Reads a file. `path` is its path in the repository.
    pub fn of(source: &[u8], path: &str) -> Self {
        if source.len() > limits::SOURCE_LEN_MAX {
            let (len, max) = (source.len(), limits::SOURCE_LEN_MAX);
            return Self::Broken(format!("it has {len} bytes; at most {max} are read"));
        }
        if source.contains(&0) {
            return Self::Broken("it is binary".to_owned());
        }
        let workflow = match Workflow::read(source, path) {
            Ok(workflow) => workflow,
            Err(errors) => return Self::Broken(errors.first().map(ToString::to_string).unwrap_or_default()),
        };
        let tags = tags::of(&workflow);
        match tags.routing {
            Routing::None => return Self::Untagged,
            Routing::GithubOnly if tags.found.iter().any(|found| found.tag.is_p2p()) => {
                return Self::ForGithub(tags.words().join(", "));
            }
            Routing::GithubOnly => return Self::Untagged,
            Routing::P2pOnly | Routing::P2pEligible => {}
        }
        let triggers = match Triggers::of(&workflow) {
            Ok(triggers) => triggers,
            Err(errors) => return Self::Broken(errors.first().map(ToString::to_string).unwrap_or_default()),
        };
        let remarks = remarks(&workflow, &triggers, tags.routing, path);
        let refusals = workflow.unsupported().into_iter();
        let refusals = refusals
            .map(|found| format!("{path}:{}:{}: {}: {}", found.line, found.column, found.key, found.why));
        Self::Tagged(Box::new(Tagged {
            needs_inputs: missing_inputs(&workflow),
            refusals: refusals.collect(),
            routing: tags.routing,
            tags: tags.words(),
            remarks,
            triggers,
            workflow,
        }))
    }
}

/// What people should know of a tagged workflow: that GitHub runs it as well, that it cannot fall back, what never fires here.
fn remarks(workflow: &Workflow, triggers: &Triggers, routing: Routing, path: &str) -> Vec<String> {
    let mut remarks = Vec::new();
    let mut say = |text: String| remarks.push(text);
    match on_github(workflow, triggers) {
        _ if !is_on_github(path) => {
            if routing == Routing::P2pEligible {
                say("no fallback: GitHub does not look into .wfengine".to_owned());
            }
        }
        OnGithub::RunsToo => {
            say("runs twice: GitHub runs it as well; `if: vars.WFENGINE == 'true'` on its jobs stops that"
                .to_owned());
        }
        OnGithub::DispatchOnly | OnGithub::Guarded | OnGithub::NotValid => {}
    }
    let is_valid = workflow.not_valid_on_github().is_empty();
    if routing == Routing::P2pEligible && is_on_github(path) && is_valid && !triggers.dispatch {
        say("no fallback: add workflow_dispatch".to_owned());
    }
    if !is_valid && is_on_github(path) {
        say("no fallback: GitHub refuses the file".to_owned());
    }
    let never: Vec<&str> = triggers.others.iter().map(|(event, _)| event.as_str()).collect();
    if !never.is_empty() {
        say(format!("never fires here: {}", never.join(", ")));
    }
    let short = triggers.schedules.iter().any(|schedule| schedule.cron.is_shorter_than_github());
    if short {
        say("GitHub runs a schedule every 5 minutes at most; here it runs as written".to_owned());
    }
    remarks
}

/// Whether a run of this workflow may be handed to GitHub.
pub fn may_fall_back(tagged: &Tagged, path: &str) -> bool {
    tagged.routing == Routing::P2pEligible
        && is_on_github(path)
        && tagged.triggers.dispatch
        && tagged.workflow.not_valid_on_github().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOBS: &str = "jobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n    - run: echo hi\n";

    fn of(head: &str) -> Verdict {
        Verdict::of(format!("{head}\n{JOBS}").as_bytes(), ".github/workflows/a.yml")
    }

    fn tagged(head: &str) -> Tagged {
        match of(head) {
            Verdict::Tagged(tagged) => *tagged,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_files_in_the_two_folders_count() {
        assert!(
            is_workflow_path(".github/workflows/a.yml") && is_workflow_path(".wfengine/workflows/b.yaml")
        );
        for no in [
            ".github/workflows/sub/a.yml",
            ".github/a.yml",
            "a.yml",
            ".github/workflows/a.json",
            ".github/workflowsx/a.yml",
        ] {
            assert!(!is_workflow_path(no), "{no}");
        }
    }

    #[test]
    fn untagged_forbidden_and_broken_files_are_told_apart() {
        assert!(matches!(of("on: push"), Verdict::Untagged));
        assert!(matches!(of("# Tags: unit-test\non: push"), Verdict::Untagged));
        assert!(matches!(of("# P2P: p2p-only, unit-test\non: push"), Verdict::ForGithub(_)));
        let Verdict::Broken(why) = of("on: push\nnames: x") else { panic!() };
        assert!(why.starts_with(".github/workflows/a.yml:2:1:"), "{why}");
        assert!(matches!(Verdict::of(b"a\0b", "p"), Verdict::Broken(why) if why == "it is binary"));
        let long = vec![b'#'; limits::SOURCE_LEN_MAX + 1];
        assert!(matches!(Verdict::of(&long, "p"), Verdict::Broken(why) if why.contains("at most")));
    }

    #[test]
    fn people_are_told_what_github_does_with_it() {
        let twice = tagged("# P2P: p2p-only\non: push");
        assert!(twice.remarks[0].starts_with("runs twice"), "{:?}", twice.remarks);
        assert_eq!(tagged("# P2P: p2p-only\non: workflow_dispatch").remarks, [""; 0]);
        let no_fallback = tagged("# P2P: p2p-eligible\non: {schedule: [{cron: '0 0 * * *'}]}");
        assert!(no_fallback.remarks.contains(&"no fallback: add workflow_dispatch".to_owned()));
        let never = tagged("# P2P: p2p-only\non: [workflow_dispatch, pull_request]");
        assert!(never.remarks.contains(&"never fires here: pull_request".to_owned()), "{:?}", never.remarks);
    }

    #[test]
    fn what_cannot_run_here_names_its_key() {
        let text = "# P2P: p2p-only\non: push\njobs: {a: {runs-on: x, steps: [{uses: a/b@v1}]}}\n";
        let Verdict::Tagged(tagged) = Verdict::of(text.as_bytes(), "a.yml") else { panic!() };
        assert!(tagged.refusals[0].contains("jobs.a.steps[0].uses"), "{:?}", tagged.refusals);
    }
}
