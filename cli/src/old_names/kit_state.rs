//! The state file of the older coordinator: what it says, read as a whole before anything is done with it.
//!
//! Its clock is not taken over: who is to be believed follows from signatures here, and that file has none.
//!
//! Invariants: a file that is too long is not read to its end; whatever is wrong is said with the path of the field.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use wfengine_storage_format::limits::{LIST_LEN_MAX, NAME_BYTES_MAX, PRIORITY_MILLI_MAX, TEXT_BYTES_MAX};

/// Bytes of a state file.
const BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Characters of a value that is shown in an error.
const SHOWN_MAX: usize = 60;

/// Why a state file could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum KitStateError {
    #[error("read {}: {error}", path.display())]
    Unreadable { path: PathBuf, error: std::io::Error },
    #[error("{} is larger than the 16 MiB that a state file may have", path.display())]
    TooLong { path: PathBuf },
    #[error("{}:{line}:{column}: not JSON: {detail}", path.display())]
    NotJson { path: PathBuf, line: usize, column: usize, detail: String },
    #[error("{}: {at}: expected {expected}, found {found}", path.display())]
    Field { path: PathBuf, at: String, expected: String, found: String },
}

/// How a workflow stood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum KitStatus {
    Pending,
    Assigned,
    InProgress,
    Completed,
    Failed,
    Cancelled,
}

impl KitStatus {
    const ALL: [Self; 6] =
        [Self::Pending, Self::Assigned, Self::InProgress, Self::Completed, Self::Failed, Self::Cancelled];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Assigned => "assigned",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub(super) const fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// A workflow of the coordinator.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct KitWorkflow {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) file: String,
    pub(super) inputs: Map<String, Value>,
    pub(super) priority_milli: u32,
    pub(super) tags: Vec<String>,
    pub(super) status: KitStatus,
    pub(super) assigned_peer: Option<String>,
    pub(super) created_at: f64,
    pub(super) result: Value,
    pub(super) error: Option<String>,
}

/// A state file.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct KitState {
    /// What the coordinator called itself.
    pub(super) peer_id: String,
    /// Other peers, without itself.
    pub(super) peers: Vec<String>,
    /// Events of its clock.
    pub(super) events: usize,
    /// Those that ended first, then those that wait in the order in which they did: priority, then age.
    pub(super) workflows: Vec<KitWorkflow>,
}

/// A value and where it stands.
#[derive(Clone)]
struct Place<'v> {
    file: &'v Path,
    at: String,
    value: &'v Value,
}

impl<'v> Place<'v> {
    fn wrong(&self, expected: impl Into<String>) -> KitStateError {
        let text = self.value.to_string();
        let mut found: String = text.chars().take(SHOWN_MAX).collect();
        if found.len() < text.len() {
            found.push('…');
        }
        let at = if self.at.is_empty() { "the document".to_owned() } else { self.at.clone() };
        KitStateError::Field { path: self.file.to_owned(), at, expected: expected.into(), found }
    }

    fn inside(&self, name: &str, value: &'v Value) -> Self {
        let at = if self.at.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at) };
        Place { file: self.file, at, value }
    }

    /// A field; null if there is none.
    fn field(&self, name: &str) -> Self {
        const NONE: &Value = &Value::Null;
        self.inside(name, self.value.get(name).unwrap_or(NONE))
    }

    fn object(&self) -> Result<&'v Map<String, Value>, KitStateError> {
        self.value.as_object().ok_or_else(|| self.wrong("an object"))
    }

    /// An object, or null for an empty one.
    fn object_or_none(&self) -> Result<Map<String, Value>, KitStateError> {
        match self.value {
            Value::Null => Ok(Map::new()),
            _ => self.object().cloned(),
        }
    }

    /// The items of a list; null is an empty one.
    fn items(&self) -> Result<Vec<Self>, KitStateError> {
        let items: &[Value] = match self.value {
            Value::Null => &[],
            Value::Array(items) => items,
            _ => return Err(self.wrong("a list")),
        };
        let item = |(index, value)| Place { file: self.file, at: format!("{}[{index}]", self.at), value };
        Ok(items.iter().enumerate().map(item).collect())
    }

    fn text(&self, bytes_max: usize) -> Result<String, KitStateError> {
        match self.value.as_str() {
            Some(text) if text.len() <= bytes_max => Ok(text.to_owned()),
            _ => Err(self.wrong(format!("a text of at most {bytes_max} bytes"))),
        }
    }

    fn name(&self) -> Result<String, KitStateError> {
        match self.text(NAME_BYTES_MAX) {
            Ok(text) if !text.trim().is_empty() => Ok(text),
            _ => Err(self.wrong(format!("a text of 1 to {NAME_BYTES_MAX} bytes"))),
        }
    }

    fn text_or_none(&self) -> Result<Option<String>, KitStateError> {
        match self.value {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text.clone())),
            _ => Err(self.wrong("a text or null")),
        }
    }

    fn number(&self) -> Result<f64, KitStateError> {
        self.value.as_f64().ok_or_else(|| self.wrong("a number"))
    }
}

fn workflow(id: &str, place: &Place<'_>) -> Result<KitWorkflow, KitStateError> {
    place.object()?;
    let own = place.field("workflow_id");
    if own.name()? != id {
        return Err(own.wrong(format!("{id}, as the workflow is listed under")));
    }
    let priority = place.field("priority");
    let milli = (priority.number()? * 1_000.0).round();
    if !(1.0..=f64::from(PRIORITY_MILLI_MAX)).contains(&milli) {
        return Err(priority.wrong("a number above 0 and at most 1000"));
    }
    let tags = place.field("tags");
    let words = tags.items()?.iter().map(Place::name).collect::<Result<Vec<String>, _>>()?;
    if words.len() > LIST_LEN_MAX {
        return Err(tags.wrong(format!("at most {LIST_LEN_MAX} tags")));
    }
    let status = place.field("status");
    let known = KitStatus::ALL.into_iter().find(|known| status.value.as_str() == Some(known.word()));
    let status = known
        .ok_or_else(|| status.wrong(format!("one of {}", KitStatus::ALL.map(KitStatus::word).join(", "))))?;
    Ok(KitWorkflow {
        id: id.to_owned(),
        name: place.field("name").text(TEXT_BYTES_MAX)?,
        file: place.field("workflow_file").text(TEXT_BYTES_MAX)?,
        inputs: place.field("inputs").object_or_none()?,
        // in bounds, so that nothing is cut off
        priority_milli: milli as u32,
        tags: words,
        status,
        assigned_peer: place.field("assigned_peer").text_or_none()?,
        created_at: place.field("created_at").number()?,
        result: place.field("result").value.clone(),
        error: place.field("error").text_or_none()?,
    })
}

/// Reads a state file.
pub(super) fn read(path: &Path) -> Result<KitState, KitStateError> {
    let mut bytes = Vec::new();
    let unreadable = |error| KitStateError::Unreadable { path: path.to_owned(), error };
    // a pipe or a device does not say how long it is
    std::fs::File::open(path)
        .and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(KitStateError::TooLong { path: path.to_owned() });
    }
    of(path, &bytes)
}

fn of(path: &Path, bytes: &[u8]) -> Result<KitState, KitStateError> {
    let document: Value = serde_json::from_slice(bytes).map_err(|error| KitStateError::NotJson {
        path: path.to_owned(),
        line: error.line(),
        column: error.column(),
        detail: error.to_string(),
    })?;
    let whole = Place { file: path, at: String::new(), value: &document };
    whole.object()?;
    let peer_id = whole.field("peer_id").name()?;
    let mut peers = Vec::new();
    for peer in whole.field("peer_list").items()? {
        let peer = peer.name()?;
        if peer != peer_id && !peers.contains(&peer) {
            peers.push(peer);
        }
    }
    let listed = whole.field("workflows");
    let mut workflows = Vec::new();
    for (id, value) in listed.object()? {
        let place = listed.inside(id, value);
        if id.is_empty() || id.len() > NAME_BYTES_MAX {
            return Err(place.wrong(format!("to be listed under an id of 1 to {NAME_BYTES_MAX} bytes")));
        }
        workflows.push(workflow(id, &place)?);
    }
    workflows.sort_by(|a, b| {
        let key = |workflow: &KitWorkflow| (!workflow.status.has_ended(), workflow.priority_milli);
        key(a).cmp(&key(b)).then(a.created_at.total_cmp(&b.created_at)).then_with(|| a.id.cmp(&b.id))
    });
    let events = whole.field("merkle_clock").field("nodes").items()?.len();
    Ok(KitState { peer_id, peers, events, workflows })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(id: &str, priority: f64, status: &str, created_at: f64) -> Value {
        json!({
            "workflow_id": id, "name": "n", "workflow_file": "w.yml", "inputs": { "url": "u" },
            "priority": priority, "tags": ["p2p-workflow"], "status": status, "assigned_peer": null,
            "created_at": created_at, "started_at": null, "completed_at": null, "result": null, "error": null,
        })
    }

    fn document(workflows: Value) -> Value {
        json!({
            "peer_id": "a", "peer_list": ["a", "b", "c", "b"],
            "merkle_clock": { "nodes": [{}, {}] }, "workflows": workflows, "saved_at": 1.5,
        })
    }

    fn told(document: &Value) -> Result<KitState, KitStateError> {
        of(Path::new("state.json"), document.to_string().as_bytes())
    }

    #[test]
    fn what_ended_comes_first_and_what_waits_in_its_order() {
        let workflows = json!({
            "scrape": entry("scrape", 3.0, "assigned", 1.0),
            "generate": entry("generate", 1.0, "pending", 2.0),
            "process": entry("process", 2.0, "in_progress", 3.0),
            "older": entry("older", 3.0, "pending", 0.5),
            "done": entry("done", 9.0, "completed", 4.0),
        });
        let state = told(&document(workflows)).unwrap();
        let ids: Vec<&str> = state.workflows.iter().map(|workflow| workflow.id.as_str()).collect();
        assert_eq!(ids, ["done", "generate", "process", "older", "scrape"]);
        assert_eq!((state.peer_id.as_str(), state.events), ("a", 2));
        assert_eq!(state.peers, ["b", "c"]);
        let scrape = state.workflows.last().unwrap();
        assert_eq!((scrape.priority_milli, scrape.inputs.len()), (3_000, 1));
    }

    #[test]
    fn whatever_is_wrong_is_said_with_its_path() {
        let with = |field: &str, value: Value| {
            let mut one = entry("x", 1.0, "pending", 1.0);
            one[field] = value;
            document(json!({ "x": one }))
        };
        let mut no_peer = document(json!({}));
        no_peer["peer_id"] = json!(7);
        for (document, wanted) in [
            (
                with("priority", json!(0)),
                "workflows.x.priority: expected a number above 0 and at most 1000, found 0",
            ),
            (with("priority", json!("1")), "workflows.x.priority: expected a number, found \"1\""),
            (
                with("status", json!("done")),
                "workflows.x.status: expected one of pending, assigned, in_progress",
            ),
            (with("tags", json!(["a", 1])), "workflows.x.tags[1]: expected a text"),
            (with("inputs", json!([])), "workflows.x.inputs: expected an object, found []"),
            (with("workflow_id", json!("y")), "workflows.x.workflow_id: expected x"),
            (with("error", json!({})), "workflows.x.error: expected a text or null"),
            (with("created_at", Value::Null), "workflows.x.created_at: expected a number, found null"),
            (
                with("name", json!("n".repeat(5_000))),
                "workflows.x.name: expected a text of at most 4096 bytes",
            ),
            (document(json!([])), "workflows: expected an object, found []"),
            (document(json!({ "x": 1 })), "workflows.x: expected an object, found 1"),
            (no_peer, "peer_id: expected a text of 1 to 256 bytes, found 7"),
            (json!([1]), "the document: expected an object, found [1]"),
        ] {
            let said = told(&document).unwrap_err().to_string();
            assert!(said.starts_with("state.json: ") && said.contains(wanted), "{said}");
        }
        let said = of(Path::new("state.json"), b"{\n  \"peer_id\" 1}").unwrap_err().to_string();
        assert!(said.starts_with("state.json:2:13: not JSON"), "{said}");
    }

    #[test]
    fn a_file_that_never_ends_is_not_read_to_its_end() {
        let said = read(Path::new("/dev/zero")).unwrap_err().to_string();
        assert_eq!(said, "/dev/zero is larger than the 16 MiB that a state file may have");
        let said = read(Path::new("/nonexistent/state.json")).unwrap_err().to_string();
        assert!(said.starts_with("read /nonexistent/state.json: "), "{said}");
    }
}
