//! Ten tools of the scheduler in the datasets dialect: priorities run the lower number first, tags are in snake case, a workflow is a
//! task for a program. `add_p2p_peer` and `remove_p2p_peer` answer with the fields of the coordinator's as well.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wfengine_storage_format::{BlobId, hamming_distance};
use wfengine_workflow::tags::{Routing, Tag, route};

use super::shared::{
    LEASE_MS, Nothing, add_peer, id_of, my_runs, named, object_text, priority_milli, remove_peer, seconds,
    snake, status, synced_with, total, wishes,
};
use super::{Context, Effect, Tool, tool};
use crate::answers::{ClockView, OwnerView, PeersView, RunView, Submitted, TaskView};
use crate::failure::Failure;
use crate::request::{Request, Wishes};

pub(super) fn tools() -> Vec<Tool> {
    vec![
        tool(
            "initialize_p2p_scheduler",
            Effect::Sets,
            "Names this node and has it connect to peers. The node is there already, and keeps its key and its log.",
            initialize,
        ),
        tool(
            "schedule_p2p_workflow",
            Effect::Sets,
            "Submits a piece of work for a program of some member to take. The rule of ownership says whose it is; nothing is sent there but the event itself. The same workflow_id with the same content is the same work.",
            schedule,
        ),
        tool(
            "get_next_p2p_workflow",
            Effect::Adds,
            "Takes the next piece of work that this node may claim and holds it for ten minutes; afterwards it is offered again, unless it was ended with p2p_mark_task_complete or update_p2p_workflow_status. null if there is none.",
            next,
        ),
        tool(
            "add_p2p_peer",
            Effect::Sets,
            "Has this node connect to a host. To be a member a host joins with an invite; a member is known already.",
            add,
        )
        .open_world(),
        tool(
            "remove_p2p_peer",
            Effect::Ends,
            "Forgets an address that was only added. A member is never revoked by this: `wfengine peer remove` does that.",
            remove,
        ),
        tool(
            "get_p2p_scheduler_status",
            Effect::Reads,
            "The scheduler of this node: its clock, its peers, and how much work waits and is assigned to it.",
            scheduler_status,
        ),
        tool(
            "calculate_peer_distance",
            Effect::Reads,
            "Hamming distance between two SHA-256 hashes: bits in which they differ, 0 to 256.",
            distance,
        ),
        tool("get_workflow_tags", Effect::Reads, "The routing tags, with what each means.", tags),
        tool(
            "merge_merkle_clock",
            Effect::Sets,
            "Says how this node's log and a member's compare, and gives this node's clock. Clocks merge by themselves as signed events are exchanged; the values that are given change nothing.",
            merge_clock,
        )
        .open_world(),
        tool(
            "get_assigned_workflows",
            Effect::Reads,
            "Ids of the open runs and tasks that this node holds.",
            assigned,
        ),
    ]
}

/// The clock as this dialect has it.
#[derive(Serialize, JsonSchema)]
struct CounterClock {
    /// Name of this node's peer.
    peer_id: String,
    /// Height of the log: 1 more than the longest chain of causes before its last event.
    counter: u64,
    /// Id of the last event, 64 hexadecimal digits; null while there is none.
    parent_hash: Option<String>,
    /// Seconds since 1970.
    timestamp: f64,
    /// SHA-256 over the heads of the log, 64 hexadecimal digits.
    hash: String,
}

async fn counter_clock(context: &Context) -> Result<CounterClock, Failure> {
    let clock: ClockView = context.ask(Request::Clock).await?;
    Ok(CounterClock {
        peer_id: clock.node_id,
        counter: clock.height,
        parent_hash: clock.heads.into_iter().next(),
        timestamp: context.now_s(),
        hash: clock.merkle_root,
    })
}

#[derive(Serialize, JsonSchema)]
struct Status {
    /// Name of this node's peer.
    peer_id: String,
    /// Members, this node included.
    num_peers: u64,
    clock: CounterClock,
    /// Jobs in this node's queue.
    queue_size: u64,
    /// Open runs and tasks that this node holds.
    assigned_workflows: u64,
    /// Runs and tasks, ever.
    total_workflows: u64,
}

async fn status_of(context: &Context) -> Result<Status, Failure> {
    let node = status(context).await?;
    Ok(Status {
        num_peers: node.known_peers + 1,
        clock: counter_clock(context).await?,
        queue_size: node.queue_size,
        assigned_workflows: my_runs(context, &node.peer).await?.len() as u64,
        total_workflows: total(&node),
        peer_id: node.peer,
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Initialize {
    /// What this node is called from now on; null: as it is.
    #[serde(default)]
    peer_id: Option<String>,
    /// Hosts to connect to: HOST or HOST:PORT.
    #[serde(default)]
    peers: Option<Vec<String>>,
}

#[derive(Serialize, JsonSchema)]
struct Initialized {
    success: bool,
    /// One sentence.
    message: String,
    status: Status,
}

async fn initialize(context: Context, input: Initialize) -> Result<Initialized, Failure> {
    if let Some(name) = &input.peer_id {
        named("peer_id", name)?;
    }
    let peers = input.peers.unwrap_or_default();
    for peer in &peers {
        named("peers", peer)?;
    }
    let was: PeersView = context.ask(Request::Peers).await?;
    let mine = was.peers.iter().find(|peer| peer.me).map(|peer| peer.name.clone()).unwrap_or_default();
    if let Some(name) = input.peer_id.filter(|name| *name != mine) {
        context.ask::<Value>(Request::Init { name: Some(name), addresses: Vec::new() }).await?;
    }
    let mut added = 0;
    for peer in &peers {
        add_peer(&context, peer).await?;
        added += 1;
    }
    let status = status_of(&context).await?;
    let message = format!("this node is {}; {added} peers were named", status.peer_id);
    Ok(Initialized { success: true, message, status })
}

const fn priority_default() -> f64 {
    1.0
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Schedule {
    /// Names the work in the whole cluster; 1 to 256 bytes.
    #[schemars(length(min = 1, max = 256))]
    workflow_id: String,
    /// What people call it.
    #[schemars(length(min = 1))]
    name: String,
    /// Routing tags and labels; one of them asks for peers.
    #[schemars(length(min = 1))]
    tags: Vec<String>,
    /// The lower one runs first; above 0, at most 1000.
    #[serde(default = "priority_default")]
    #[schemars(range(min = 0.001, max = 1000))]
    priority: f64,
    /// Data for the program that takes it.
    #[serde(default)]
    metadata: Option<serde_json::Map<String, Value>>,
}

/// What the rule says, or why it was not asked.
#[derive(Serialize, JsonSchema)]
struct Scheduled {
    success: bool,
    workflow_id: String,
    /// Name of the peer that the rule ranks first; null if it was refused.
    assigned_peer: Option<String>,
    /// Whether that is this node; null if it was refused.
    is_local: Option<bool>,
    /// Jobs in this node's queue; null if it was refused or lies elsewhere.
    queue_size: Option<u64>,
    /// Hash of the clock after it, 64 hexadecimal digits; null if it was refused.
    clock_hash: Option<String>,
    /// Why it was refused; null if it was not.
    reason: Option<String>,
    /// The tags in this dialect's spelling.
    tags: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct ScheduleAnswer {
    success: bool,
    workflow_id: String,
    result: Scheduled,
    /// Seconds since 1970.
    timestamp: f64,
}

async fn schedule(context: Context, input: Schedule) -> Result<ScheduleAnswer, Failure> {
    named("workflow_id", &input.workflow_id)?;
    named("name", &input.name)?;
    if input.tags.is_empty() {
        return Err(Failure::bad_input("tags: expected at least one; get_workflow_tags lists them"));
    }
    for tag in &input.tags {
        named("tags", tag)?;
    }
    let tags: Vec<String> = input.tags.iter().map(|tag| snake(tag)).collect();
    let timestamp = context.now_s();
    let asks_for_peers = matches!(
        route(input.tags.iter().filter_map(|tag| Tag::parse(tag))),
        Routing::P2pOnly | Routing::P2pEligible
    );
    let milli = priority_milli(input.priority)?;
    if !asks_for_peers {
        let result = Scheduled {
            success: false,
            workflow_id: input.workflow_id.clone(),
            assigned_peer: None,
            is_local: None,
            queue_size: None,
            clock_hash: None,
            reason: Some("Workflow requires GitHub API".to_owned()),
            tags,
        };
        return Ok(ScheduleAnswer { success: false, workflow_id: input.workflow_id, result, timestamp });
    }
    let wishes = Wishes {
        name: Some(input.name),
        metadata: object_text("metadata", input.metadata.map(Value::Object).as_ref())?,
        priority_milli: Some(milli),
        ..wishes(&context)
    };
    let request = Request::TaskSubmit {
        task_id: input.workflow_id.clone(),
        workflow_id: input.workflow_id.clone(),
        tags: input.tags,
        wishes,
        copies: 0,
    };
    let submitted: Submitted = context.ask(request).await?;
    let owners: Vec<OwnerView> = context.ask(Request::Owner { ids: vec![submitted.run.id.clone()] }).await?;
    let first = owners.first().and_then(|owner| {
        owner.holder.clone().or_else(|| owner.ranked.first().map(|ranked| ranked.peer.clone()))
    });
    let node = status(&context).await?;
    let is_local = first.as_ref() == Some(&node.peer);
    let result = Scheduled {
        success: true,
        workflow_id: input.workflow_id.clone(),
        assigned_peer: first,
        is_local: Some(is_local),
        queue_size: is_local.then_some(node.queue_size),
        clock_hash: Some(node.clock_hash),
        reason: None,
        tags,
    };
    Ok(ScheduleAnswer { success: true, workflow_id: input.workflow_id, result, timestamp })
}

/// A piece of work that was handed out.
#[derive(Serialize, JsonSchema)]
struct Workflow {
    workflow_id: String,
    name: String,
    /// In this dialect's spelling.
    tags: Vec<String>,
    /// The lower one runs first.
    priority: f64,
    /// When it was submitted, seconds since 1970.
    created_at: f64,
    /// The submitter's data; empty if there is none.
    metadata: serde_json::Map<String, Value>,
    /// Greater than every earlier holder's; whoever ends the work may give it.
    fencing_token: String,
}

#[derive(Serialize, JsonSchema)]
struct WorkflowTaken {
    success: bool,
    /// null: there is none.
    workflow: Option<Workflow>,
    /// Why there is none; null if there is one.
    message: Option<String>,
    /// Seconds since 1970.
    timestamp: f64,
}

async fn next(context: Context, _: Nothing) -> Result<WorkflowTaken, Failure> {
    let request = Request::TaskNext { wait: false, lease_ms: LEASE_MS, tags: Vec::new() };
    let taken: Option<TaskView> = context.ask(request).await?;
    let workflow = match taken {
        None => None,
        Some(task) => {
            let run: RunView = context.ask(Request::Show { id: task.run }).await?;
            Some(Workflow {
                workflow_id: task.task_id,
                name: task.name,
                tags: task.tags.iter().map(|tag| snake(tag)).collect(),
                priority: task.priority,
                created_at: seconds(run.submitted_ms),
                metadata: task.metadata.as_object().cloned().unwrap_or_default(),
                fencing_token: task.fencing_token,
            })
        }
    };
    let message = workflow.is_none().then(|| "No workflows in queue".to_owned());
    Ok(WorkflowTaken { success: true, workflow, message, timestamp: context.now_s() })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Peer {
    /// Name or id of a member, or HOST or HOST:PORT.
    #[schemars(length(min = 1, max = 256))]
    peer_id: String,
}

#[derive(Serialize, JsonSchema)]
struct PeerChanged {
    success: bool,
    peer_id: String,
    /// What was done, in one sentence.
    message: String,
    /// Members besides this node, and addresses that were added.
    num_peers: u64,
    /// Seconds since 1970.
    timestamp: f64,
}

async fn add(context: Context, input: Peer) -> Result<PeerChanged, Failure> {
    let done = add_peer(&context, &input.peer_id).await?;
    let timestamp = context.now_s();
    Ok(PeerChanged {
        success: true,
        peer_id: input.peer_id,
        message: done.message,
        num_peers: done.peers,
        timestamp,
    })
}

async fn remove(context: Context, input: Peer) -> Result<PeerChanged, Failure> {
    let done = remove_peer(&context, &input.peer_id).await?;
    let timestamp = context.now_s();
    Ok(PeerChanged {
        success: true,
        peer_id: input.peer_id,
        message: done.message,
        num_peers: done.peers,
        timestamp,
    })
}

#[derive(Serialize, JsonSchema)]
struct StatusAnswer {
    success: bool,
    status: Status,
    /// Seconds since 1970.
    timestamp: f64,
}

async fn scheduler_status(context: Context, _: Nothing) -> Result<StatusAnswer, Failure> {
    let status = status_of(&context).await?;
    Ok(StatusAnswer { success: true, status, timestamp: context.now_s() })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Hashes {
    /// 64 hexadecimal digits.
    hash1: String,
    /// 64 hexadecimal digits.
    hash2: String,
}

#[derive(Serialize, JsonSchema)]
struct Distance {
    success: bool,
    /// Bits in which they differ, 0 to 256.
    #[schemars(range(min = 0, max = 256))]
    distance: u32,
    hash1: String,
    hash2: String,
    /// Seconds since 1970.
    timestamp: f64,
}

async fn distance(context: Context, input: Hashes) -> Result<Distance, Failure> {
    let hash = |field: &str, text: &str| {
        text.parse::<BlobId>().map_err(|_| {
            Failure::bad_input(format!("{field} {text}: expected 64 hexadecimal digits, a SHA-256 hash"))
        })
    };
    let (one, other) = (hash("hash1", &input.hash1)?, hash("hash2", &input.hash2)?);
    Ok(Distance {
        success: true,
        distance: hamming_distance(one.as_bytes(), other.as_bytes()),
        hash1: input.hash1,
        hash2: input.hash2,
        timestamp: context.now_s(),
    })
}

#[derive(Serialize, JsonSchema)]
struct TagsAnswer {
    success: bool,
    /// All seven, in this dialect's spelling.
    tags: Vec<String>,
    /// What each means.
    descriptions: BTreeMap<String, String>,
    /// Seconds since 1970.
    timestamp: f64,
}

async fn tags(context: Context, _: Nothing) -> Result<TagsAnswer, Failure> {
    let described = Tag::ALL.map(|tag| (snake(tag.name()), tag.description().to_owned()));
    Ok(TagsAnswer {
        success: true,
        tags: described.iter().map(|(name, _)| name.clone()).collect(),
        descriptions: described.into_iter().collect(),
        timestamp: context.now_s(),
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "what the older clock said of itself is taken and decides nothing")]
struct OtherClock {
    /// Name or id of a member.
    #[schemars(length(min = 1, max = 256))]
    other_peer_id: String,
    /// Its counter.
    other_counter: u64,
    /// Hash of its clock before.
    #[serde(default)]
    other_parent_hash: Option<String>,
    /// When, seconds since 1970.
    #[serde(default)]
    other_timestamp: Option<f64>,
}

#[derive(Serialize, JsonSchema)]
struct Merged {
    success: bool,
    /// How the logs compare, and that nothing was changed by this call.
    message: String,
    new_clock: CounterClock,
    /// Seconds since 1970.
    timestamp: f64,
}

async fn merge_clock(context: Context, input: OtherClock) -> Result<Merged, Failure> {
    let compared = synced_with(&context, &input.other_peer_id).await?;
    let message = format!(
        "{compared}. Events come by themselves, signed by whoever wrote them; this call changes nothing"
    );
    let new_clock = counter_clock(&context).await?;
    Ok(Merged { success: true, message, new_clock, timestamp: context.now_s() })
}

#[derive(Serialize, JsonSchema)]
struct Assigned {
    success: bool,
    /// Ids as they were given at submission, else those of runs.
    assigned_workflows: Vec<String>,
    count: u64,
    /// Seconds since 1970.
    timestamp: f64,
}

async fn assigned(context: Context, _: Nothing) -> Result<Assigned, Failure> {
    let node = status(&context).await?;
    let ids: Vec<String> = my_runs(&context, &node.peer).await?.iter().map(id_of).collect();
    Ok(Assigned {
        success: true,
        count: ids.len() as u64,
        assigned_workflows: ids,
        timestamp: context.now_s(),
    })
}
