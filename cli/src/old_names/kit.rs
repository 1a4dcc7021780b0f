//! `ipfs-kit p2p`: workflow files with priorities that run the lower number first, peers, figures.
//!
//! What changes something prints a line of text and then JSON; what only looks prints JSON. With `--json` there is no text.

use clap::{Parser, Subcommand};
use serde_json::{Value, json};
use wfengine_api::{Exit, Failure};

use super::{Asking, given, json_of, printed};
use crate::terminal;

/// The verbs of ipfs-kit about peers, answered by wfengine.
#[derive(Parser, Debug)]
#[command(name = "ipfs-kit", version, disable_help_subcommand = true)]
pub(super) struct Kit {
    /// Print JSON alone
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// The coordinator
    #[command(subcommand)]
    P2p(P2pVerb),
}

#[derive(Subcommand, Debug)]
enum P2pVerb {
    /// Workflow files
    #[command(subcommand)]
    Workflow(WorkflowVerb),
    /// Hosts to connect to, and members
    #[command(subcommand)]
    Peer(PeerVerb),
    /// Figures of this node
    Stats,
}

#[derive(Subcommand, Debug)]
enum WorkflowVerb {
    /// Submit a workflow file
    Submit {
        /// The file
        file: String,
        /// What to call it
        #[arg(long)]
        name: Option<String>,
        /// Inputs, a JSON object
        #[arg(long, value_name = "JSON")]
        inputs: Option<String>,
        /// The lower one runs first
        #[arg(long, default_value_t = 5.0)]
        priority: f64,
    },
    /// Say which waiting workflow lies with which peer
    Assign,
    /// One workflow
    Status {
        /// Which; a unique beginning is enough
        id: String,
    },
    /// Workflows, newest first
    List {
        /// pending, assigned, in_progress, completed, failed or cancelled
        #[arg(long)]
        status: Option<String>,
        /// At this peer
        #[arg(long)]
        peer_id: Option<String>,
    },
    /// Record what became of a workflow
    Update {
        /// Which
        id: String,
        /// pending, assigned, in_progress, completed, failed or cancelled
        status: String,
        /// With completed: its result
        #[arg(long, value_name = "JSON")]
        result: Option<String>,
        /// With failed or cancelled: why
        #[arg(long, value_name = "MSG")]
        error: Option<String>,
    },
}

#[derive(Subcommand, Debug)]
enum PeerVerb {
    /// Have this node connect to a host
    Add {
        /// HOST or HOST:PORT
        peer_id: String,
    },
    /// Forget a host that was only added
    Remove {
        /// HOST or HOST:PORT
        peer_id: String,
    },
    /// Members and hosts
    List,
}

pub(super) async fn run(asking: Asking, said: Kit) -> Result<Exit, Failure> {
    let asking = asking.with_json(said.json);
    let Verb::P2p(verb) = said.verb;
    match verb {
        P2pVerb::Workflow(verb) => workflow(&asking, verb).await,
        P2pVerb::Peer(verb) => peer(&asking, verb).await,
        P2pVerb::Stats => printed::document(&asking.tool("get_p2p_stats", json!({})).await?),
    }
}

/// A line, unless JSON alone is wanted, and the document.
fn said(asking: &Asking, answer: &Value) -> Result<Exit, Failure> {
    if !asking.json() {
        terminal::line(&printed::word(answer, "message"));
    }
    printed::document(answer)
}

async fn workflow(asking: &Asking, verb: WorkflowVerb) -> Result<Exit, Failure> {
    match verb {
        WorkflowVerb::Submit { file, name, inputs, priority } => {
            let inputs = json_of("--inputs", inputs.as_deref())?;
            let wanted = given(json!({
                "workflow_file": file, "name": name, "inputs": inputs, "priority": priority,
            }));
            let answer = asking.tool("submit_p2p_workflow", wanted).await?;
            let notes = printed::part(&answer, "notes");
            let notes = notes.as_array().into_iter().flatten().filter_map(Value::as_str);
            notes.for_each(terminal::note);
            said(asking, &answer)
        }
        WorkflowVerb::Assign => said(asking, &asking.tool("assign_p2p_workflows", json!({})).await?),
        WorkflowVerb::Status { id } => {
            printed::document(&asking.tool("get_p2p_workflow_status", json!({ "workflow_id": id })).await?)
        }
        WorkflowVerb::List { status, peer_id } => {
            let wanted = given(json!({ "status": status, "peer_id": peer_id }));
            printed::document(&asking.tool("list_p2p_workflows", wanted).await?)
        }
        WorkflowVerb::Update { id, status, result, error } => {
            let result = json_of("--result", result.as_deref())?;
            let wanted =
                given(json!({ "workflow_id": id, "status": status, "result": result, "error": error }));
            said(asking, &asking.tool("update_p2p_workflow_status", wanted).await?)
        }
    }
}

async fn peer(asking: &Asking, verb: PeerVerb) -> Result<Exit, Failure> {
    match verb {
        PeerVerb::Add { peer_id } => {
            said(asking, &asking.tool("add_p2p_peer", json!({ "peer_id": peer_id })).await?)
        }
        PeerVerb::Remove { peer_id } => {
            let answer = asking.tool("remove_p2p_peer", json!({ "peer_id": peer_id })).await;
            let answer = answer.inspect_err(|_| {
                terminal::note("the older program said that it had removed it, whether it knew it or not");
            })?;
            said(asking, &answer)
        }
        PeerVerb::List => printed::document(&peers(&asking.tool("list_peers", json!({})).await?)),
    }
}

/// Members by name and hosts that were only added: this dialect tells no difference.
fn peers(answer: &Value) -> Value {
    let listed = |name: &str| printed::part(answer, name).as_array().cloned().unwrap_or_default();
    let members = listed("peers");
    let name = |peer: &Value| printed::part(peer, "name");
    let me = members.iter().find(|peer| peer.get("me") == Some(&Value::Bool(true))).map(name);
    let mut peers: Vec<Value> = members.iter().map(name).collect();
    peers.extend(listed("addresses"));
    json!({ "success": true, "count": peers.len(), "peer_id": me, "peers": peers })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Kit, clap::Error> {
        Kit::try_parse_from(["ipfs-kit"].into_iter().chain(line.split(' ')))
    }

    fn workflow(line: &str) -> WorkflowVerb {
        let Verb::P2p(P2pVerb::Workflow(verb)) = read(line).unwrap().verb else { unreachable!("{line}") };
        verb
    }

    #[test]
    fn json_is_taken_before_the_verb_and_everywhere_else() {
        for line in ["--json p2p stats", "p2p --json stats", "p2p stats --json", "p2p --json workflow list"] {
            assert!(read(line).unwrap().json, "{line}");
        }
        assert!(!read("p2p stats").unwrap().json);
    }

    #[test]
    fn a_workflow_has_the_priority_that_it_had() {
        let WorkflowVerb::Submit { priority, inputs, .. } = workflow("p2p workflow submit w.yml") else {
            unreachable!()
        };
        assert_eq!((priority.to_bits(), inputs), (5.0_f64.to_bits(), None));
        let WorkflowVerb::Update { id, status, result, error } =
            workflow("p2p workflow update ID completed --result {} --error no")
        else {
            unreachable!()
        };
        assert_eq!((id.as_str(), status.as_str()), ("ID", "completed"));
        assert_eq!((result.as_deref(), error.as_deref()), (Some("{}"), Some("no")));
        for wrong in ["p2p workflow submit", "p2p workflow update ID", "p2p peer add", "p2p", "stats"] {
            assert_eq!(read(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }

    #[test]
    fn members_and_hosts_are_one_list() {
        let answer = json!({ "peers": [{ "name": "a", "me": true }, { "name": "b", "me": false }], "addresses": ["c:4433"] });
        assert_eq!(
            peers(&answer),
            json!({ "success": true, "count": 3, "peer_id": "a", "peers": ["a", "b", "c:4433"] })
        );
    }
}
