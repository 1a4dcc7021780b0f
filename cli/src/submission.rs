//! From a workflow file and options to a submission: everything the run may ever read, frozen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use wfengine_api::{Exit, Failure, GitFacts, Wishes};
use wfengine_storage_format::limits::{PRIORITY_MILLI_DEFAULT, PRIORITY_MILLI_MAX};
use wfengine_storage_format::{
    BlobId, Frozen, Origin, Placement, PlannedKey, RunSpec, RunSubmitted, WorkflowSpec,
};
use wfengine_workflow::checkout::is_commit_id;
use wfengine_workflow::{NeedsResult, RULES_VERSION, Workflow, plan_keys, resolve_inputs, tags};

/// A submission ready to be asked for.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) submission: RunSubmitted,
    pub(crate) plan: Vec<PlannedKey>,
    /// Remarks for people.
    pub(crate) notes: Vec<String>,
}

/// Reads a workflow file, or says what is wrong with it: file, line, column, what was expected.
pub(crate) fn read_workflow(source: &[u8], path: &str) -> Result<Workflow, Failure> {
    Workflow::read(source, path).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failure::bad_input(lines.join("\n"))
    })
}

/// Refuses by name, before anything runs, what this version cannot run.
pub(crate) fn refuse_unsupported(workflow: &Workflow, path: &str) -> Result<(), Failure> {
    let found = workflow.unsupported();
    if found.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = found
        .iter()
        .map(|found| {
            format!(
                "{path}:{}:{}: {} is not supported yet: {}",
                found.line, found.column, found.key, found.why
            )
        })
        .collect();
    Err(Failure::bad_input(lines.join("\n")))
}

/// The workflow's inputs as given and by default, or which of them is wrong.
pub(crate) fn check_inputs(
    workflow: &Workflow,
    given: &BTreeMap<String, serde_json::Value>,
) -> Result<BTreeMap<String, serde_json::Value>, Failure> {
    resolve_inputs(workflow, given)
        .map_err(|error| Failure::bad_input(format!("{error}; give inputs with --input NAME=VALUE")))
}

/// Turns a file and wishes into a submission.
pub(crate) fn prepare(
    workflow: &Workflow,
    path: &str,
    source: BlobId,
    wishes: &Wishes,
    placement: Placement,
    run_number: u64,
    random_key: [u8; 16],
) -> Result<Prepared, Failure> {
    let routing = tags::of(workflow);
    let mut notes: Vec<String> = routing.warnings.iter().map(ToString::to_string).collect();
    if placement == Placement::Rule && routing.routing == tags::Routing::GithubOnly {
        let words = routing.words().join(", ");
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "{path} is tagged {words}: such workflows run on GitHub only. `wfengine run` executes it here all the same"
            ),
        ));
    }
    if placement == Placement::Author && !routing.found.is_empty() {
        notes.push(format!(
            "routing tags ({}) are ignored by `run`: it executes here",
            routing.words().join(", ")
        ));
    }
    notes.extend(workflow.not_valid_on_github().iter().map(|found| format!("not valid on GitHub: {found}")));
    let inputs = check_inputs(workflow, &wishes.inputs)?;
    let trigger_key = match &wishes.id {
        Some(id) => format!("id:{id}").into_bytes(),
        None => [b"random:".as_slice(), &random_key].concat(),
    };
    let frozen = freeze(&inputs, wishes, run_number)?;
    let mut submission = RunSubmitted {
        trigger_key,
        attempt: 1,
        name: named(wishes).unwrap_or_else(|| workflow.display_name().to_owned()),
        spec: RunSpec::Workflow(WorkflowSpec {
            path: path.to_owned(),
            source,
            called: Vec::new(),
            job_keys: workflow.jobs.iter().map(|job| job.id.clone()).collect(),
            rules_version: RULES_VERSION,
        }),
        frozen,
        tags: routing.words(),
        metadata_json: metadata(wishes.metadata.as_deref())?,
        priority_milli: wishes.priority_milli.unwrap_or(PRIORITY_MILLI_DEFAULT),
        placement,
        origin: Origin::Hand,
        retries: wishes.retries,
        backoff_ms: wishes.backoff_ms,
        rerun_of: None,
    };
    submission.name = cut(&submission.name, 200);
    let plan = planned(workflow, &submission, &BTreeMap::new())?;
    if let Some(label) = foreign_label(&plan) {
        notes.push(label);
    }
    Ok(Prepared { submission, plan, notes })
}

/// What it is to be called, if anything.
fn named(wishes: &Wishes) -> Option<String> {
    wishes.name.clone().filter(|name| !name.trim().is_empty())
}

fn freeze(
    inputs: &BTreeMap<String, serde_json::Value>,
    wishes: &Wishes,
    run_number: u64,
) -> Result<Frozen, Failure> {
    let event = serde_json::json!({ "inputs": inputs });
    let event_json = event.to_string();
    if event_json.len() > wfengine_storage_format::limits::JSON_BYTES_MAX {
        return Err(Failure::bad_input(format!(
            "the inputs take {} bytes; 32 KiB are allowed: put large data into a file that the workflow reads",
            event_json.len()
        )));
    }
    Ok(Frozen {
        event_name: "workflow_dispatch".to_owned(),
        event_json,
        event_blob: None,
        inputs: inputs.iter().map(|(name, value)| (name.clone(), value.to_string())).collect(),
        vars: Vec::new(),
        actor: wishes.actor.clone(),
        repository: wishes.repository.repository.clone(),
        ref_name: wishes.repository.git_ref.clone(),
        sha: wishes.repository.sha.clone(),
        run_number,
    })
}

/// Plans every job that can be planned with these results, grouped by key.
pub(crate) fn planned(
    workflow: &Workflow,
    submission: &RunSubmitted,
    results: &BTreeMap<String, NeedsResult>,
) -> Result<Vec<PlannedKey>, Failure> {
    plan_keys(workflow, submission, results).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failure::bad_input(lines.join("\n"))
    })
}

/// One line about labels of GitHub's hosted machines: here they mean this host.
fn foreign_label(plan: &[PlannedKey]) -> Option<String> {
    let labels: std::collections::BTreeSet<&str> = plan
        .iter()
        .flat_map(|planned| &planned.legs)
        .flat_map(|leg| &leg.runs_on)
        .map(String::as_str)
        .filter(|label| {
            label.starts_with("ubuntu-") || label.starts_with("macos-") || label.starts_with("windows-")
        })
        .collect();
    (!labels.is_empty()).then(|| {
        let labels: Vec<&str> = labels.into_iter().collect();
        format!(
            "runs-on {} means a {} host here, not a GitHub machine",
            labels.join(", "),
            std::env::consts::OS
        )
    })
}

fn metadata(text: Option<&str>) -> Result<String, Failure> {
    let Some(text) = text else { return Ok(String::new()) };
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(value @ serde_json::Value::Object(_)) => Ok(value.to_string()),
        Ok(_) => Err(Failure::bad_input("--metadata: expected a JSON object, such as {\"source\":\"src/\"}")),
        Err(error) => Err(Failure::bad_input(format!("--metadata is not JSON: {error}"))),
    }
}

/// A task for a program.
pub(crate) fn task(
    task_id: &str,
    workflow_id: &str,
    tags: &[String],
    wishes: &Wishes,
) -> Result<(RunSubmitted, Vec<String>), Failure> {
    if task_id.is_empty() || task_id.len() > 256 {
        return Err(Failure::bad_input("--task-id: expected 1 to 256 bytes"));
    }
    let mut notes = Vec::new();
    let mut words = Vec::new();
    for tag in tags.iter().map(|tag| tag.trim()).filter(|tag| !tag.is_empty()) {
        match tags::Tag::parse(tag) {
            Some(known) => words.push(known.name().to_owned()),
            None => {
                notes.push(format!("`{tag}` is no routing tag; it is kept as a free label"));
                words.push(tag.to_owned());
            }
        }
    }
    if tags::route(words.iter().filter_map(|word| tags::Tag::parse(word))) == tags::Routing::GithubOnly {
        return Err(Failure::refused(format!(
            "a task tagged {} would have to run on GitHub: only workflows that discovery finds can",
            words.join(", ")
        )));
    }
    let submission = RunSubmitted {
        trigger_key: format!("id:{task_id}").into_bytes(),
        attempt: 1,
        name: cut(named(wishes).as_deref().unwrap_or(task_id), 200),
        spec: RunSpec::Task { workflow_id: workflow_id.to_owned() },
        frozen: Frozen { actor: wishes.actor.clone(), ..Frozen::default() },
        tags: words,
        metadata_json: metadata(wishes.metadata.as_deref())?,
        priority_milli: wishes.priority_milli.unwrap_or(PRIORITY_MILLI_DEFAULT),
        placement: Placement::Rule,
        origin: Origin::Hand,
        retries: wishes.retries,
        backoff_ms: wishes.backoff_ms,
        rerun_of: None,
    };
    Ok((submission, notes))
}

/// `--priority P` (0 < P ≤ 1000, lower first) or `--urgency N` (1..10, 10 first) in thousandths.
pub(crate) fn priority_milli(priority: Option<&str>, urgency: Option<u32>) -> Result<Option<u32>, Failure> {
    if let Some(urgency) = urgency {
        if !(1..=10).contains(&urgency) {
            return Err(Failure::bad_input(format!("--urgency {urgency}: expected 1 to 10, 10 runs first")));
        }
        return Ok(Some((11 - urgency) * 500));
    }
    let Some(text) = priority else { return Ok(None) };
    let wrong = || {
        Failure::bad_input(format!(
            "--priority {text}: expected a number above 0 and at most 1000 with up to three decimals; lower runs first"
        ))
    };
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 || (whole.is_empty() && decimals.is_empty()) {
        return Err(wrong());
    }
    let digits = |text: &str| if text.is_empty() { Ok(0) } else { text.parse::<u32>() };
    let milli = digits(whole)
        .ok()
        .and_then(|whole| whole.checked_mul(1000))
        .zip(digits(&format!("{decimals:0<3}")).ok())
        .and_then(|(whole, decimals)| whole.checked_add(decimals));
    milli.filter(|milli| (1..=PRIORITY_MILLI_MAX).contains(milli)).map(Some).ok_or_else(wrong)
}

/// A duration as people write it: `90s`, `10m`, `2h`, `1d`, `500ms`; a bare number is seconds.
pub(crate) fn duration_ms(option: &str, text: &str) -> Result<u64, Failure> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let factor = match unit {
        "ms" => Some(1),
        "" | "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    factor.zip(digits.parse::<u64>().ok()).and_then(|(factor, number)| number.checked_mul(factor)).ok_or_else(
        || Failure::bad_input(format!("{option} {text}: expected a duration such as 90s, 10m, 2h or 1d")),
    )
}

fn cut(text: &str, len_max: usize) -> String {
    let mut end = text.len().min(len_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

/// Reads what git keeps in files about the checkout around a folder, without running git.
pub(crate) fn git_facts(folder: &Path) -> GitFacts {
    let Some(git) = GitFolders::around(folder) else { return GitFacts::default() };
    let head = read(&git.own.join("HEAD"));
    let git_ref = followed(&head).unwrap_or_default().to_owned();
    let sha = if git_ref.is_empty() { commit(&head) } else { git.commit_of(&git_ref) };
    let origin = read(&git.shared.join("config"))
        .lines()
        .skip_while(|line| line.trim() != "[remote \"origin\"]")
        .skip(1)
        .take_while(|line| !line.trim_start().starts_with('['))
        .find_map(|line| {
            line.trim().strip_prefix("url").map(|rest| rest.trim_start_matches([' ', '=']).to_owned())
        })
        .unwrap_or_default();
    let path = origin.trim_end_matches('/').trim_end_matches(".git");
    let mut parts = path.rsplit(['/', ':']);
    let repository = match (parts.next(), parts.next()) {
        (Some(name), Some(owner)) if !name.is_empty() && !owner.is_empty() => format!("{owner}/{name}"),
        _ => String::new(),
    };
    GitFacts { repository: cut(&repository, 200), git_ref: cut(&git_ref, 200), sha: sha.unwrap_or_default() }
}

/// Where git keeps what it knows of a checkout.
struct GitFolders {
    /// Of this checkout alone: its head.
    own: PathBuf,
    /// Of all worktrees of the repository: branches, tags, configuration.
    shared: PathBuf,
}

/// Refs that lead to refs, one after the other.
const REFS_FOLLOWED_MAX: usize = 5;

impl GitFolders {
    /// Those of the nearest checkout.
    fn around(folder: &Path) -> Option<Self> {
        let is_one = |git: &PathBuf| git.is_file() || git.join("HEAD").is_file();
        let git = folder.ancestors().map(|folder| folder.join(".git")).find(is_one)?;
        let own = if git.is_file() {
            // of a worktree or a submodule: it says where
            git.parent()?.join(read(&git).trim_end().strip_prefix("gitdir: ")?)
        } else {
            git
        };
        let shared = match read(&own.join("commondir")).trim_end() {
            "" => own.clone(),
            path => own.join(path),
        };
        Some(Self { own, shared })
    }

    /// The commit of a full ref: as a file of its own, else one of those that are packed into one file.
    fn commit_of(&self, git_ref: &str) -> Option<String> {
        let mut git_ref = git_ref.to_owned();
        for _ in 0..REFS_FOLLOWED_MAX {
            let loose = read(&self.shared.join(&git_ref));
            match followed(&loose) {
                Some(next) => next.clone_into(&mut git_ref),
                None if loose.is_empty() => {
                    let packed = read(&self.shared.join("packed-refs"));
                    let mut lines = packed.lines().filter_map(|line| line.split_once(' '));
                    return lines.find(|(_, name)| *name == git_ref).and_then(|(id, _)| commit(id));
                }
                None => return commit(&loose),
            }
        }
        None
    }
}

/// A small file of git's; empty if there is none.
fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The ref that a ref leads to. Where git keeps refs in tables, the head names one that cannot be.
fn followed(text: &str) -> Option<&str> {
    let name = text.trim_end().strip_prefix("ref: ")?;
    (name.starts_with("refs/") && !name.contains("/.")).then_some(name)
}

fn commit(text: &str) -> Option<String> {
    Some(text.trim_end()).filter(|text| is_commit_id(text)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_priority_dialects_meet_in_thousandths() {
        assert_eq!(priority_milli(Some("1.0"), None).unwrap(), Some(1000));
        assert_eq!(priority_milli(Some("0.001"), None).unwrap(), Some(1));
        assert_eq!(priority_milli(Some(".5"), None).unwrap(), Some(500));
        assert_eq!(priority_milli(None, Some(10)).unwrap(), Some(500));
        assert_eq!(priority_milli(None, Some(1)).unwrap(), Some(5000));
        for wrong in ["0", "1000.001", "-1", "x", "", "1.0001", "99999999999"] {
            assert!(priority_milli(Some(wrong), None).is_err(), "{wrong}");
        }
        assert!(priority_milli(None, Some(11)).is_err());
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration_ms("--lease", "10m").unwrap(), 600_000);
        assert_eq!(duration_ms("--lease", "5").unwrap(), 5_000);
        assert!(duration_ms("--lease", "5w").is_err());
        assert!(duration_ms("--lease", "m").is_err());
    }

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn write(top: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let file = top.join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
    }

    fn facts(folder: &Path) -> [String; 3] {
        let GitFacts { repository, git_ref, sha } = git_facts(folder);
        [repository, git_ref, sha]
    }

    #[test]
    fn a_branch_has_a_file_of_its_own_or_is_packed() {
        let top = tempfile::tempdir().unwrap();
        let at = top.path();
        let packed = format!(
            "# pack-refs with: peeled fully-peeled sorted \n{B} refs/heads/main-2\n{A} refs/heads/main\n{B} refs/tags/v1\n^{A}\n"
        );
        let config = "[core]\n\tbare = false\n[remote \"origin\"]\n\turl = git@github.com:o/r.git\n";
        write(
            at,
            &[
                (".git/HEAD", "ref: refs/heads/main\n"),
                (".git/config", config),
                (".git/packed-refs", &packed),
                ("deep/er/x", ""),
            ],
        );
        assert_eq!(facts(&at.join("deep/er")), ["o/r", "refs/heads/main", A]);
        write(at, &[(".git/refs/heads/main", &format!("{B}\n"))]);
        assert_eq!(facts(at), ["o/r", "refs/heads/main", B], "what is packed is older");
        write(at, &[(".git/refs/heads/main", "ref: refs/tags/v1\n")]);
        assert_eq!(facts(at), ["o/r", "refs/heads/main", B]);
        write(at, &[(".git/refs/heads/main", "ref: refs/heads/main\n")]);
        assert_eq!(facts(at)[2], "", "a ref that leads to itself leads nowhere");
        write(at, &[(".git/HEAD", &format!("{A}\n"))]);
        assert_eq!(facts(at), ["o/r", "", A]);
    }

    #[test]
    fn a_branch_without_a_commit_and_what_is_no_checkout_have_none() {
        let top = tempfile::tempdir().unwrap();
        let at = top.path();
        write(at, &[(".git/HEAD", "ref: refs/heads/new\n")]);
        assert_eq!(facts(at), ["", "refs/heads/new", ""]);
        // refs in tables
        write(at, &[(".git/HEAD", "ref: refs/heads/.invalid\n")]);
        assert_eq!(facts(at), ["", "", ""]);
        write(at, &[(".git/HEAD", "ref: refs/../../x\n"), ("x", A)]);
        assert_eq!(facts(at), ["", "", ""]);
        write(at, &[(".git/HEAD", "no commit\n")]);
        assert_eq!(facts(at), ["", "", ""]);
        // an empty `.git` is none, as for git: what is around it counts
        write(at, &[(".git/HEAD", A)]);
        std::fs::create_dir_all(at.join("inner/.git")).unwrap();
        assert_eq!(facts(&at.join("inner")), ["", "", A]);
        // and one that leads nowhere hides it
        write(at, &[("other/.git", "gitdir: nowhere\n"), ("odd/.git", "x")]);
        assert_eq!([facts(&at.join("other")), facts(&at.join("odd"))], [["", "", ""], ["", "", ""]]);
    }

    #[test]
    fn a_worktree_has_its_own_head_and_shares_the_rest() {
        let top = tempfile::tempdir().unwrap();
        let at = top.path();
        let config = "[remote \"origin\"]\n\turl = https://github.com/o/r\n";
        let packed = format!("{A} refs/heads/main\n{B} refs/heads/side\n");
        let absolute = format!("gitdir: {}\n", at.join("main/.git/worktrees/absolute").display());
        write(
            at,
            &[
                ("main/.git/HEAD", "ref: refs/heads/main\n"),
                ("main/.git/config", config),
                ("main/.git/packed-refs", &packed),
                ("main/.git/refs/heads/loose", &format!("{A}\n")),
                ("main/.git/worktrees/relative/HEAD", "ref: refs/heads/side\n"),
                ("main/.git/worktrees/relative/commondir", "../..\n"),
                ("main/.git/worktrees/absolute/HEAD", "ref: refs/heads/loose\n"),
                ("main/.git/worktrees/absolute/commondir", "../..\n"),
                ("relative/.git", "gitdir: ../main/.git/worktrees/relative\n"),
                ("relative/deep/x", ""),
                ("absolute/.git", &absolute),
                // a submodule shares nothing
                ("main/.git/modules/sub/HEAD", &format!("{B}\n")),
                ("main/.git/modules/sub/config", &config.replace("o/r", "o/sub")),
                ("main/sub/.git", "gitdir: ../.git/modules/sub\n"),
            ],
        );
        assert_eq!(facts(&at.join("main")), ["o/r", "refs/heads/main", A]);
        assert_eq!(facts(&at.join("relative/deep")), ["o/r", "refs/heads/side", B]);
        assert_eq!(facts(&at.join("absolute")), ["o/r", "refs/heads/loose", A]);
        assert_eq!(facts(&at.join("main/sub")), ["o/sub", "", B]);
    }
}
