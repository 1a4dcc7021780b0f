//! Documents that `--json` prints besides a node's answers: what commands themselves say. Field names are stable; fields may be added.
//!
//! The comments on fields are the descriptions in their schemas, which `wfengine schema VERB` prints.

mod upkeep;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use wfengine_api::answers::TaskView;
use wfengine_api::answers::runners::ProvisionedView;

pub(crate) use upkeep::{
    CheckedConfigDocument, ConfigDocument, DoctorDocument, FileDocument, KeyDocument, MistakeDocument,
    NotifiedDocument, WayDocument,
};

/// `distance`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DistanceDocument {
    /// Bits in which the hashes differ.
    #[schemars(range(max = 256))]
    pub(crate) distance: u32,
    /// The first hash, 64 hexadecimal digits.
    pub(crate) hash_a: String,
    /// The second hash, 64 hexadecimal digits.
    pub(crate) hash_b: String,
}

/// `task next`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct NextDocument {
    /// The task that this node holds now; null: there is none.
    pub(crate) task: Option<TaskView>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<&'static str>,
}

/// `task extend`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ExtendedDocument {
    /// The task, as it was named.
    pub(crate) task: String,
    /// How long it is held from now on, in milliseconds.
    pub(crate) lease_ms: u64,
}

/// `task result`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ResultDocument {
    /// The id that it was submitted under.
    pub(crate) task_id: String,
    /// Status word.
    pub(crate) status: String,
    /// Why it has this status; may be empty.
    pub(crate) reason: String,
    /// Its result; null while it has none.
    pub(crate) result: serde_json::Value,
}

/// A line of a command that goes on.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LineDocument<'a> {
    /// What people read.
    pub(crate) line: &'a str,
}

/// Something was done.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct MessageDocument {
    /// What, in a sentence.
    pub(crate) message: String,
}

/// A node serves.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ServingDocument {
    /// What it is called.
    pub(crate) serving: String,
    /// Its id, 52 base32 characters.
    pub(crate) peer_id: String,
    /// UDP address.
    pub(crate) listen: String,
    /// Where programs ask over HTTP; null: nowhere.
    pub(crate) http: Option<String>,
}

/// `peer id`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PeerIdDocument {
    /// What this node is called.
    pub(crate) peer: String,
    /// Its id, 52 base32 characters.
    pub(crate) peer_id: String,
}

/// `peer join`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct JoinedDocument {
    /// Id of the cluster, 64 hexadecimal digits.
    pub(crate) cluster: String,
    /// Members of it.
    pub(crate) members: usize,
    /// Open runs that were submitted there again.
    pub(crate) carried: usize,
}

/// One routing tag.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TagDocument {
    /// Its name.
    pub(crate) tag: &'static str,
    /// What it means.
    pub(crate) description: &'static str,
}

/// `check-tags`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct CheckedTagsDocument {
    /// They keep work away from GitHub's own runners.
    pub(crate) should_bypass_github: bool,
    /// They never let it run on GitHub.
    pub(crate) is_p2p_only: bool,
    /// The tags, as they were typed.
    pub(crate) tags: Vec<String>,
}

/// One bundled example.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ExampleDocument {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it shows.
    pub(crate) shows: &'static str,
}

/// `example NAME`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WrittenDocument {
    /// Files that were written, or were there with the same content.
    pub(crate) written: Vec<String>,
}

/// `log export`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ExportedDocument {
    /// The file.
    pub(crate) path: String,
    /// The run that it proves; null: all of them.
    pub(crate) run: Option<String>,
    /// Frames in it.
    pub(crate) frames: u64,
    /// Events in it.
    pub(crate) events: u64,
    /// Chains in it.
    pub(crate) chains: usize,
    /// Its length.
    pub(crate) bytes: u64,
    /// Id of the peer that signed it, 52 base32 characters.
    pub(crate) exporter: String,
    /// Id of the cluster, 64 hexadecimal digits.
    pub(crate) cluster: String,
}

/// `log export --automerge`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SegmentsDocument {
    /// The directory.
    pub(crate) path: String,
    /// Documents in it.
    pub(crate) files: u64,
    /// Frames in them.
    pub(crate) frames: u64,
    /// Their length.
    pub(crate) bytes: u64,
}

/// `log import`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ImportedDocument {
    /// Frames that became part of the log.
    pub(crate) admitted: u64,
    /// Frames that the log held before.
    pub(crate) duplicate: u64,
    /// Frames that wait for others which are not here yet.
    pub(crate) waiting: u64,
    /// Why frames were refused, one for each.
    pub(crate) refused: Vec<String>,
    /// What is wrong with the file.
    pub(crate) findings: Vec<String>,
    /// Nothing is wrong, refused or waiting.
    pub(crate) clean: bool,
}

/// `runner provision` for one repository, in the older program's shape.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ProvisionedOneDocument<'a> {
    /// A runner runs.
    pub(crate) success: bool,
    /// What became of it.
    pub(crate) data: ProvisionedDataDocument<'a>,
    /// One sentence; what to do, if it failed.
    pub(crate) message: &'a str,
    /// Remarks for people.
    pub(crate) notes: &'a [String],
}

/// What became of one runner.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ProvisionedDataDocument<'a> {
    /// `owner/name`.
    pub(crate) repo: &'a str,
    /// The first 12 digits of its container's id; null without one.
    pub(crate) container_id: Option<&'a str>,
    /// GitHub gave it a registration.
    pub(crate) token_generated: bool,
    /// provisioned, failed or token_failed.
    pub(crate) status: &'a str,
    /// The runner's name; empty without one.
    pub(crate) name: &'a str,
}

/// `runner provision` for all repositories.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ProvisionedAllDocument<'a> {
    /// All of them run.
    pub(crate) success: bool,
    /// What became of them, by repository.
    pub(crate) results: &'a BTreeMap<String, ProvisionedView>,
    /// Remarks for people.
    pub(crate) notes: &'a [String],
}

/// `replay --at`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct StateDocument {
    /// The event or time, as it was typed.
    pub(crate) at: String,
    /// Events up to there.
    pub(crate) events: u64,
    /// Greatest height among them.
    pub(crate) height: u64,
    /// Members then.
    pub(crate) members: Vec<MemberThenDocument>,
    /// Runs then that had not left memory.
    pub(crate) runs: Vec<RunThenDocument>,
}

/// A member at some moment.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct MemberThenDocument {
    /// 52 base32 characters.
    pub(crate) id: String,
    /// What it called itself.
    pub(crate) name: String,
    /// Some of admin, executor, submitter and operator.
    pub(crate) roles: Vec<&'static str>,
}

/// A run at some moment.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RunThenDocument {
    /// 64 hexadecimal digits.
    pub(crate) id: String,
    /// What people call it.
    pub(crate) name: String,
    /// Status word.
    pub(crate) status: &'static str,
    /// Why it had this status; may be empty.
    pub(crate) reason: String,
    /// Its jobs.
    pub(crate) jobs: Vec<JobThenDocument>,
}

/// A job at some moment.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct JobThenDocument {
    /// 64 hexadecimal digits.
    pub(crate) id: String,
    /// What people call it.
    pub(crate) name: String,
    /// Status word.
    pub(crate) status: &'static str,
    /// Name of the peer whose claim counted; null: none did.
    pub(crate) peer: Option<String>,
    /// That claim's epoch.
    pub(crate) epoch: Option<u32>,
}

/// `import kit`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct KitDocument {
    /// Everything was imported.
    pub(crate) success: bool,
    /// The file.
    pub(crate) file: String,
    /// The coordinator's name for itself.
    pub(crate) coordinator: String,
    /// Workflows that are here.
    pub(crate) workflows: Vec<KitWorkflowDocument>,
    /// Its peers, and what was done about them.
    pub(crate) peers: Vec<KitPeerDocument>,
    /// What is not here, and why.
    pub(crate) not_imported: Vec<KitMissedDocument>,
    /// Events of the coordinator's own clock, which mean nothing here.
    pub(crate) clock_events_left: usize,
}

/// A workflow of the coordinator.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct KitWorkflowDocument {
    /// Its id there and here.
    pub(crate) workflow_id: String,
    /// What people call it.
    pub(crate) name: String,
    /// Its status there.
    pub(crate) was: String,
    /// The peer that it was assigned to there, or null.
    pub(crate) was_at: Option<String>,
    /// Its status here.
    pub(crate) status: String,
    /// `task` or `workflow`.
    pub(crate) kind: String,
    /// It was imported before.
    pub(crate) already_so: bool,
}

/// A peer of the coordinator.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct KitPeerDocument {
    /// Its name there.
    pub(crate) peer_id: String,
    /// What was done about it.
    pub(crate) message: String,
}

/// What was not imported.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct KitMissedDocument {
    /// What.
    pub(crate) what: String,
    /// Why.
    pub(crate) why: String,
}

/// A verb that prints JSON.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct VerbDocument {
    /// Its words, such as `peer list`.
    pub(crate) verb: String,
    /// How its documents come.
    pub(crate) documents: &'static str,
}
