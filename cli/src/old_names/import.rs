//! `import kit`: what the older coordinator's state file says becomes tasks, runs and addresses here.
//!
//! Every workflow keeps its id, so that the same file twice changes nothing. One that waits becomes a task for a program to take, as it
//! was there; where its file is at hand (`--files`), a run that nodes execute. One that has ended becomes a task that has ended so.
//!
//! Invariant: what has ended is never offered to a program. So it is only imported while no node serves here: nobody else can ask for a
//! task between its submission and its end, and an import that was broken off is gone on with.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use wfengine_api::answers::{RunView, StatusView, Submitted, TaskView};
use wfengine_api::{Exit, Failure, HeldBy, Matter, Request, Wishes};
use wfengine_storage_format::limits::{JSON_BYTES_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX};

use super::kit_state::{self, KitState, KitStatus, KitWorkflow};
use crate::args::{ImportVerb, KitStateArgs};
use crate::clock::Clock;
use crate::commands::{Globals, actor, read_source};
use crate::documents::{KitDocument, KitMissedDocument, KitPeerDocument, KitWorkflowDocument};
use crate::door::{Door, Others};
use crate::terminal;

/// Says in a task's data where it comes from.
const ORIGIN: &str = "ipfs-kit";
/// How long an ended task is held while its end is recorded.
const LEASE_MS: u64 = 60_000;
/// A task that another member has the first claim to comes to this node after some seconds.
const TAKE_WAIT: Duration = Duration::from_secs(60);
/// Between two questions for it.
const TAKE_AGAIN: Duration = Duration::from_millis(200);
/// Two submissions of one millisecond would wait in the order of their ids.
const APART: Duration = Duration::from_millis(2);

pub(crate) async fn import(globals: &Globals, verb: ImportVerb) -> Result<Exit, Failure> {
    let ImportVerb::Kit(KitStateArgs { file, files }) = verb;
    let state = kit_state::read(&file).map_err(|error| Failure::bad_input(error.to_string()))?;
    if let Some(folder) = files.as_ref().filter(|folder| !folder.is_dir()) {
        return Err(Failure::bad_input(format!("--files {}: there is no such folder", folder.display())));
    }
    let door = Arc::new(Door::open(globals, Others::Wait).await?);
    let imported = Import { door: Arc::clone(&door), files }.all(state).await;
    let closed = door.close();
    let imported = imported?;
    closed?;
    if globals.json {
        terminal::json(&imported.document(&file));
    } else {
        imported.lines(&file).iter().for_each(|line| terminal::line(line));
    }
    Ok(if imported.missed.is_empty() { Exit::Success } else { Exit::Failure })
}

/// What became of a workflow.
struct Came {
    id: String,
    name: String,
    was: KitStatus,
    was_at: Option<String>,
    /// Its status here.
    status: String,
    /// `task` or `workflow`.
    kind: String,
    already_so: bool,
}

/// What became of all.
struct Imported {
    peer_id: String,
    events: usize,
    came: Vec<Came>,
    peers: Vec<(String, String)>,
    /// What could not be imported, and why.
    missed: Vec<(String, String)>,
}

struct Import {
    door: Arc<Door>,
    files: Option<PathBuf>,
}

impl Import {
    async fn all(&self, state: KitState) -> Result<Imported, Failure> {
        let KitState { peer_id, peers, events, workflows } = state;
        let mut imported =
            Imported { peer_id, events, came: Vec::new(), peers: Vec::new(), missed: Vec::new() };
        let mut known = Vec::new();
        for workflow in workflows {
            known.push((self.known(&workflow.id).await?, workflow));
        }
        let to_end = |(known, workflow): &(Option<RunView>, KitWorkflow)| {
            workflow.status.has_ended() && known.as_ref().is_none_or(is_open)
        };
        if known.iter().any(to_end) {
            self.nobody_else_takes().await?;
        }
        for (known, workflow) in known {
            let (id, was) = (workflow.id.clone(), workflow.status);
            let (name, was_at) = (workflow.name.clone(), workflow.assigned_peer.clone());
            let already_so = known.as_ref().is_some_and(|known| !was.has_ended() || !is_open(known));
            match self.one(known, workflow).await {
                Ok(run) => imported.came.push(Came {
                    id,
                    name,
                    was,
                    was_at,
                    status: run.status,
                    kind: run.kind,
                    already_so,
                }),
                // nothing further would be written either
                Err(failure) if failure.exit == Exit::Disk => return Err(failure),
                Err(failure) => imported.missed.push((id, failure.message)),
            }
        }
        for peer in peers {
            let mut arguments = Map::new();
            arguments.insert("peer_id".to_owned(), json!(peer));
            match super::call(&self.door, "add_p2p_peer", arguments).await {
                Ok(answer) => imported.peers.push((peer, super::printed::word(&answer, "message"))),
                Err(failure) => imported.missed.push((peer, failure.message)),
            }
        }
        Ok(imported)
    }

    /// The run of this id, if there is one.
    async fn known(&self, id: &str) -> Result<Option<RunView>, Failure> {
        match self.door.call::<RunView>(Request::Show { id: id.to_owned() }).await {
            // the beginning of another run's id is not meant
            Ok(run) => Ok(Some(run).filter(|run| run.given_id == id)),
            Err(failure) if matches!(failure.matter, Matter::Unknown) => Ok(None),
            Err(failure) if failure.exit == Exit::BadInput => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Refuses where a program could take up what has ended.
    async fn nobody_else_takes(&self) -> Result<(), Failure> {
        let status: StatusView = self.door.call(Request::Status).await?;
        if self.door.node().is_none() {
            return Err(Failure::refused(format!(
                "some of these workflows have ended, and process {pid} is at work on {}, where a program could take them up again before that is recorded: stop it with `kill {pid}`, import, and start it again",
                status.data_dir,
                pid = status.pid,
            )));
        }
        match status.declines {
            Some(why) => Err(Failure::refused(format!(
                "this node claims nothing, for it {why}, and so cannot record how these workflows ended: `wfengine resume`, then import"
            ))),
            None => Ok(()),
        }
    }

    /// Brings one workflow to where it was.
    async fn one(&self, known: Option<RunView>, workflow: KitWorkflow) -> Result<RunView, Failure> {
        if let Some(run) = &known {
            if run.metadata.get("imported_from").and_then(Value::as_str) != Some(ORIGIN) {
                return Err(Failure::conflict(format!(
                    "its id names other work here, `{}`: it was not imported",
                    run.name
                )));
            }
            if !workflow.status.has_ended() || !is_open(run) {
                return Ok(run.clone());
            }
            if run.kind != "task" && workflow.status != KitStatus::Cancelled {
                return Err(Failure::conflict(format!(
                    "it is {} here, as a run that nodes execute: what the file says of its end is not taken over",
                    run.status
                )));
            }
        }
        let result_json = match &workflow.result {
            Value::Null => String::new(),
            result => result.to_string(),
        };
        if result_json.len() > JSON_BYTES_MAX {
            return Err(Failure::bad_input(format!(
                "its result has {} bytes as JSON, and {JSON_BYTES_MAX} are allowed: it was not imported",
                result_json.len()
            )));
        }
        let run = match known {
            Some(run) => run,
            None => self.submit(&workflow).await?,
        };
        let said = workflow.error.as_deref().map(|text| cut(text, TEXT_BYTES_MAX));
        let held = HeldBy { id: workflow.id.clone(), token: None, token_of: None };
        match workflow.status {
            KitStatus::Completed => {
                self.take(&run).await?;
                self.door.call(Request::TaskComplete { task: held, result_json }).await
            }
            KitStatus::Failed => {
                self.take(&run).await?;
                let error = said.unwrap_or_else(|| "failed, as the older coordinator said".to_owned());
                self.door.call(Request::TaskFail { task: held, error, retry: false }).await
            }
            KitStatus::Cancelled => {
                let reason = said.unwrap_or_else(|| "cancelled, as the older coordinator said".to_owned());
                self.door.call(Request::Cancel { id: run.id, reason }).await
            }
            KitStatus::Pending | KitStatus::Assigned | KitStatus::InProgress => Ok(run),
        }
    }

    async fn submit(&self, workflow: &KitWorkflow) -> Result<RunView, Failure> {
        let metadata = json!({
            "imported_from": ORIGIN,
            "workflow_file": workflow.file,
            "inputs": workflow.inputs,
            "created_at": workflow.created_at,
        });
        let wishes = Wishes {
            name: Some(workflow.name.clone()),
            metadata: Some(metadata.to_string()),
            priority_milli: Some(workflow.priority_milli),
            actor: actor(),
            ..Wishes::default()
        };
        let file = self.files.as_ref().filter(|_| !workflow.status.has_ended() && !workflow.file.is_empty());
        // what others wrote names nothing beyond the folder
        let is_below =
            Path::new(&workflow.file).components().all(|part| matches!(part, Component::Normal(_)));
        let file = file.filter(|_| is_below).map(|folder| folder.join(&workflow.file));
        let file = file.filter(|file| file.is_file());
        let request = match file {
            Some(file) => Request::Submit {
                path: workflow.file.clone(),
                source: read_source(&file)?,
                wishes: Wishes {
                    inputs: workflow.inputs.clone().into_iter().collect(),
                    id: Some(workflow.id.clone()),
                    ..wishes
                },
                copies: 0,
            },
            None => Request::TaskSubmit {
                task_id: workflow.id.clone(),
                workflow_id: cut(&workflow.file, NAME_BYTES_MAX),
                tags: workflow.tags.clone(),
                wishes,
                copies: 0,
            },
        };
        let submitted: Submitted = self.door.call(request).await?;
        tokio::time::sleep(APART).await;
        Ok(submitted.run)
    }

    /// Takes a task so that its end can be recorded.
    async fn take(&self, run: &RunView) -> Result<(), Failure> {
        // whoever broke off an earlier import may hold it still
        if run.status != "pending" {
            return Ok(());
        }
        let clock = Clock::start();
        let begun = clock.monotonic();
        loop {
            let request = Request::TaskTake { id: run.id.clone(), lease_ms: LEASE_MS };
            if self.door.call::<Option<TaskView>>(request).await?.is_some() {
                return Ok(());
            }
            if clock.monotonic() - begun > TAKE_WAIT {
                return Err(Failure::conflict(format!(
                    "it is submitted, and its end is not recorded, for this node may not take it (`wfengine why {}` says why): import again later",
                    run.id.get(..12).unwrap_or(&run.id)
                )));
            }
            tokio::time::sleep(TAKE_AGAIN).await;
        }
    }
}

fn is_open(run: &RunView) -> bool {
    matches!(run.status.as_str(), "pending" | "assigned" | "in_progress")
}

fn cut(text: &str, bytes_max: usize) -> String {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

fn counted(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

impl Imported {
    fn lines(&self, file: &Path) -> Vec<String> {
        let known = self.came.iter().filter(|came| came.already_so).count();
        let mut lines = vec![format!(
            "{}: {} of coordinator {} imported, {known} known before, {} not",
            file.display(),
            counted(self.came.len() - known, "workflow"),
            self.peer_id,
            self.missed.len(),
        )];
        for came in &self.came {
            let was = match &came.was_at {
                Some(peer) if !came.was.has_ended() => format!("{} at {peer}", came.was.word()),
                _ => came.was.word().to_owned(),
            };
            let before = if came.already_so { ", known before" } else { "" };
            let what = if came.kind == "task" { "task" } else { "run" };
            lines.push(format!("  {} {}: was {was}; {what} {}{before}", came.id, came.name, came.status));
        }
        lines.extend(self.peers.iter().map(|(peer, message)| format!("  peer {peer}: {message}")));
        lines.extend(self.missed.iter().map(|(what, why)| format!("  not imported: {what}: {why}")));
        lines.push(format!(
            "its clock ({}) is not taken over: this node's log has its own",
            counted(self.events, "event")
        ));
        lines
    }

    fn document(&self, file: &Path) -> KitDocument {
        let workflow = |came: &Came| KitWorkflowDocument {
            workflow_id: came.id.clone(),
            name: came.name.clone(),
            was: came.was.word().to_owned(),
            was_at: came.was_at.clone(),
            status: came.status.clone(),
            kind: came.kind.clone(),
            already_so: came.already_so,
        };
        let peers = self.peers.iter().cloned();
        let missed = self.missed.iter().cloned();
        KitDocument {
            success: self.missed.is_empty(),
            file: file.display().to_string(),
            coordinator: self.peer_id.clone(),
            workflows: self.came.iter().map(workflow).collect(),
            peers: peers.map(|(peer_id, message)| KitPeerDocument { peer_id, message }).collect(),
            not_imported: missed.map(|(what, why)| KitMissedDocument { what, why }).collect(),
            clock_events_left: self.events,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_came_what_was_there_and_what_did_not() {
        let came = |id: &str, was, status: &str, already_so| Came {
            id: id.to_owned(),
            name: "scrape".to_owned(),
            was,
            was_at: Some("peer-1".to_owned()),
            status: status.to_owned(),
            kind: "task".to_owned(),
            already_so,
        };
        let imported = Imported {
            peer_id: "peer-1".to_owned(),
            events: 8,
            came: vec![
                came("66e2", KitStatus::Completed, "completed", false),
                came("0450", KitStatus::Assigned, "pending", true),
            ],
            peers: vec![("peer-2".to_owned(), "this node connects to peer-2:4433".to_owned())],
            missed: vec![("ffff".to_owned(), "too much".to_owned())],
        };
        let wanted = [
            "s.json: 1 workflow of coordinator peer-1 imported, 1 known before, 1 not",
            "  66e2 scrape: was completed; task completed",
            "  0450 scrape: was assigned at peer-1; task pending, known before",
            "  peer peer-2: this node connects to peer-2:4433",
            "  not imported: ffff: too much",
            "its clock (8 events) is not taken over: this node's log has its own",
        ];
        assert_eq!(imported.lines(Path::new("s.json")), wanted);
        let document = serde_json::to_value(imported.document(Path::new("s.json"))).unwrap();
        assert_eq!(document.pointer("/workflows/0/already_so").unwrap(), &json!(false));
        assert_eq!(
            (document.get("success").unwrap(), document.pointer("/not_imported/0/what").unwrap()),
            (&json!(false), &json!("ffff"))
        );
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("zwölf", 3), "zw");
        assert_eq!(cut("zwölf", 4), "zwö");
        assert_eq!(cut("ab", 4), "ab");
    }
}
