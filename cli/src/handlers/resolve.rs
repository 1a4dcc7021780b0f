//! From what a person types to what is meant: beginnings of ids, ids given by users, names of peers.

use wfengine_api::Failure;
use wfengine_storage_format::{IdPrefix, JobId, PeerId, RunId, run_id};
use wfengine_store::Lookup;

use crate::node::Node;

/// A run, or one job of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    pub(crate) run: RunId,
    pub(crate) job: Option<JobId>,
}

/// Finds the run or job that a text names: a given id, or the beginning of a run's, job's or event's id.
pub(crate) fn target(node: &Node, text: &str) -> Result<Target, Failure> {
    if let Some(run) = latest_attempt(node, text) {
        return Ok(Target { run, job: None });
    }
    let Ok(prefix) = IdPrefix::hexadecimal(text) else {
        return Err(unknown(
            node,
            text,
            "neither an id given at submission nor the beginning of an id (at least 4 hexadecimal digits)",
        ));
    };
    let found = node.watcher().candidates(&prefix)?;
    let mut targets = Vec::new();
    for lookup in &found {
        let target = match lookup {
            Lookup::Run(run) => Some(Target { run: *run, job: None }),
            Lookup::Job(run, job) => Some(Target { run: *run, job: Some(*job) }),
            Lookup::Event(id) => node.watcher().event(id)?.and_then(|event| {
                let run = event.run()?;
                Some(Target { run, job: event.body.job().map(|(_, job)| job) })
            }),
        };
        if let Some(target) = target.filter(|target| !targets.contains(target)) {
            targets.push(target);
        }
    }
    match targets.as_slice() {
        [] => Err(unknown(node, text, "no run, job or event begins with it")),
        [one] => Ok(*one),
        several => {
            let mut failure =
                Failure::bad_input(format!("`{text}` is ambiguous: {} ids begin with it", several.len()));
            failure.candidates = several
                .iter()
                .take(8)
                .map(|target| match target.job {
                    Some(job) => format!("job {job}"),
                    None => format!("run {}", target.run),
                })
                .collect();
            Err(failure)
        }
    }
}

/// The latest attempt of a run whose id was given at submission.
fn latest_attempt(node: &Node, text: &str) -> Option<RunId> {
    let key = format!("id:{text}");
    let views = node.watcher().views();
    let known = |attempt: u32| Some(run_id(key.as_bytes(), attempt)).filter(|run| views.runs().contains(run));
    let mut latest = known(1)?;
    let mut attempt = 2;
    while let Some(next) = known(attempt) {
        latest = next;
        attempt += 1;
    }
    Some(latest)
}

fn unknown(node: &Node, text: &str, why: &str) -> Failure {
    let mut failure = Failure::unknown(format!("`{text}` is not known here: {why}"));
    let views = node.watcher().views();
    let near = text.get(..text.len().min(3)).unwrap_or(text);
    failure.candidates = views
        .runs()
        .all_live()
        .filter(|run| run.name().contains(text) || (!near.is_empty() && run.id.to_string().starts_with(near)))
        .take(5)
        .map(|run| format!("{} ({})", run.id.short(), run.name()))
        .collect();
    failure
}

/// Finds a member by name, id or the beginning of its id.
pub(crate) fn peer(node: &Node, text: &str) -> Result<PeerId, Failure> {
    let views = node.watcher().views();
    let members: Vec<PeerId> = views.authority().roster().members().keys().copied().collect();
    let named: Vec<PeerId> =
        members.iter().copied().filter(|member| views.peer_name(member) == text).collect();
    let begins =
        |member: &&PeerId| text.len() >= 4 && member.to_string().starts_with(&text.to_ascii_lowercase());
    let found = if named.is_empty() { members.iter().filter(begins).copied().collect() } else { named };
    match found.as_slice() {
        [one] => Ok(*one),
        several => {
            let what =
                if several.is_empty() { "names no member" } else { "names several members: use an id" };
            let text = format!("`{text}` {what}");
            let mut failure =
                if several.is_empty() { Failure::unknown(text) } else { Failure::bad_input(text) };
            let shown: &[PeerId] = if several.is_empty() { &members } else { several };
            failure.candidates = shown
                .iter()
                .take(8)
                .map(|member| format!("{} ({})", views.peer_name(member), member.short()))
                .collect();
            Err(failure)
        }
    }
}
