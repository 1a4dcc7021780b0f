//! `ipfs-datasets p2p`: work with priorities that run the lower number first, tags in snake case.

use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};
use wfengine_api::{Exit, Failure};

use super::{Asking, given, printed};
use crate::terminal;

/// The verbs of ipfs-datasets about peers, answered by wfengine.
#[derive(Parser, Debug)]
#[command(name = "ipfs-datasets", version, disable_help_subcommand = true)]
pub(super) struct Datasets {
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// The scheduler
    P2p(P2pArgs),
    /// A later group of verbs: those about the scheduler are the same as above
    P2pNetworking {
        /// status, or scheduler init, status or get-next
        #[arg(num_args = 1.., required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

#[derive(Args, Debug)]
struct P2pArgs {
    #[command(subcommand)]
    verb: Option<P2pVerb>,
}

#[derive(Subcommand, Debug)]
enum P2pVerb {
    /// Name this node and have it connect to hosts
    Init {
        /// What it is called from now on
        #[arg(long, short = 'i')]
        peer_id: Option<String>,
        /// Hosts: HOST or HOST:PORT
        #[arg(long, short, value_delimiter = ',')]
        peers: Vec<String>,
    },
    /// Submit a piece of work
    Schedule {
        /// Names it
        #[arg(long)]
        id: String,
        /// What people call it
        #[arg(long)]
        name: String,
        /// Routing tags and labels
        #[arg(long, value_delimiter = ',')]
        tags: Vec<String>,
        /// The lower one runs first
        #[arg(long, default_value_t = 1.0)]
        priority: f64,
    },
    /// Take the next piece of work
    Next,
    /// The scheduler of this node
    Status,
    /// Have this node connect to a host
    AddPeer {
        /// HOST or HOST:PORT
        peer_id: String,
    },
    /// Forget a host that was only added
    RemovePeer {
        /// HOST or HOST:PORT
        peer_id: String,
    },
    /// The routing tags
    Tags,
    /// Work that this node holds
    Assigned,
}

pub(super) async fn run(asking: Asking, said: Datasets) -> Result<Exit, Failure> {
    let asking = asking.with_json(said.json);
    match said.verb {
        Verb::P2p(P2pArgs { verb }) => p2p(&asking, verb.unwrap_or(P2pVerb::Status)).await,
        Verb::P2pNetworking { words } => {
            let json = words.iter().any(|word| word == "--json");
            let words: Vec<&str> =
                words.iter().map(String::as_str).filter(|word| *word != "--json").collect();
            p2p(&asking.with_json(json), networking(&words)?).await
        }
    }
}

/// The verb that says the same.
fn networking(words: &[&str]) -> Result<P2pVerb, Failure> {
    let instead = match words {
        ["status"] | ["scheduler", "status"] => return Ok(P2pVerb::Status),
        ["scheduler", "init"] => return Ok(P2pVerb::Init { peer_id: None, peers: Vec::new() }),
        ["scheduler", "get-next"] => return Ok(P2pVerb::Next),
        ["scheduler", "init", ..] => "`ipfs-datasets p2p init --peer-id NAME --peers A,B`",
        ["scheduler", "submit-task", ..] | ["task", "submit", ..] => "`wfengine task submit --task-id ID`",
        ["scheduler", "mark-complete", ..] => "`wfengine task complete ID`",
        ["task", "get", ..] => "`wfengine show ID`",
        ["task", "delete", ..] => "`wfengine cancel ID`; what is in the log stays",
        ["cache", ..] => "no cache is kept between peers; what jobs write is in their results",
        ["remote", ..] => {
            "members exchange events by themselves, so that every node can be asked for all of it"
        }
        _ => "`wfengine --help` lists what there is",
    };
    Err(Failure::bad_input(format!("p2p-networking {}: {instead}", words.join(" "))))
}

async fn p2p(asking: &Asking, verb: P2pVerb) -> Result<Exit, Failure> {
    match verb {
        P2pVerb::Init { peer_id, peers } => {
            let peers = if peers.is_empty() { bootstrap_peers() } else { Some(peers) };
            let wanted = given(json!({ "peer_id": peer_id, "peers": peers }));
            let answer = asking.tool("initialize_p2p_scheduler", wanted).await?;
            let shape = |answer: &Value| {
                let mut lines = vec![printed::word(answer, "message")];
                lines.extend(printed::counter_status(&printed::part(answer, "status")));
                lines
            };
            shown(asking, answer, shape)
        }
        P2pVerb::Schedule { id, name, tags, priority } => {
            if tags.is_empty() {
                return Err(Failure::bad_input(
                    "--tags: expected at least one; p2p_eligible or p2p_only sends the work to peers, and `ipfs-datasets p2p tags` lists them all",
                ));
            }
            let wanted = json!({ "workflow_id": id, "name": name, "tags": tags, "priority": priority });
            let answer = asking.tool("schedule_p2p_workflow", wanted).await?;
            if answer.get("success") == Some(&Value::Bool(true)) {
                return shown(asking, answer, |answer| printed::scheduled(&printed::part(answer, "result")));
            }
            if asking.json() {
                printed::document(&answer)?;
            }
            let result = printed::part(&answer, "result");
            Err(Failure::refused(format!(
                "{}: {} (tags: {}); p2p_eligible or p2p_only sends it to peers",
                printed::word(&result, "workflow_id"),
                printed::word(&result, "reason"),
                printed::word(&result, "tags"),
            )))
        }
        P2pVerb::Next => {
            let answer = asking.tool("get_next_p2p_workflow", json!({})).await?;
            if !printed::part(&answer, "workflow").is_null() {
                terminal::note(
                    "the work is held for ten minutes, then it is offered again unless `wfengine task complete ID` ended it",
                );
            }
            shown(asking, answer, printed::workflow_taken)
        }
        P2pVerb::Status => {
            let answer = asking.tool("get_p2p_scheduler_status", json!({})).await?;
            shown(asking, answer, |answer| printed::counter_status(&printed::part(answer, "status")))
        }
        P2pVerb::AddPeer { peer_id } => peer(asking, "add_p2p_peer", peer_id).await,
        P2pVerb::RemovePeer { peer_id } => peer(asking, "remove_p2p_peer", peer_id).await,
        P2pVerb::Tags => {
            let answer = asking.tool("get_workflow_tags", json!({})).await?;
            shown(asking, answer, printed::tags_listed)
        }
        P2pVerb::Assigned => {
            let answer = asking.tool("get_assigned_workflows", json!({})).await?;
            shown(asking, answer, printed::assigned)
        }
    }
}

async fn peer(asking: &Asking, tool: &str, peer_id: String) -> Result<Exit, Failure> {
    let answer = asking.tool(tool, json!({ "peer_id": peer_id })).await;
    let answer = answer.inspect_err(|_| {
        if tool == "remove_p2p_peer" {
            terminal::note("the older program said that it had removed it, whether it knew it or not");
        }
    })?;
    let shape = |answer: &Value| {
        let mut lines = vec![printed::word(answer, "message")];
        lines.extend(printed::labelled(answer, &[("Peers", "num_peers")]));
        lines
    };
    shown(asking, answer, shape)
}

/// Hosts of the variable that the document names.
fn bootstrap_peers() -> Option<Vec<String>> {
    let listed = std::env::var("P2P_BOOTSTRAP_PEERS").ok()?;
    let peers: Vec<String> =
        listed.split(',').map(|peer| peer.trim().to_owned()).filter(|peer| !peer.is_empty()).collect();
    if peers.is_empty() {
        return None;
    }
    terminal::note("P2P_BOOTSTRAP_PEERS is read where --peers is not given");
    Some(peers)
}

fn shown(asking: &Asking, answer: Value, shape: fn(&Value) -> Vec<String>) -> Result<Exit, Failure> {
    if asking.json() { printed::document(&answer) } else { printed::lines(&shape(&answer)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Datasets, clap::Error> {
        Datasets::try_parse_from(["ipfs-datasets"].into_iter().chain(line.split(' ')))
    }

    fn verb(line: &str) -> Option<P2pVerb> {
        let Verb::P2p(args) = read(line).unwrap().verb else { unreachable!("{line}") };
        args.verb
    }

    #[test]
    fn the_documents_command_lines_are_read() {
        let Some(P2pVerb::Init { peer_id, peers }) = verb("p2p init --peer-id my-peer --peers peer2,peer3")
        else {
            unreachable!()
        };
        assert_eq!(
            (peer_id.as_deref(), peers),
            (Some("my-peer"), vec!["peer2".to_owned(), "peer3".to_owned()])
        );
        assert!(
            matches!(verb("p2p init -i a -p b"), Some(P2pVerb::Init { peer_id: Some(_), peers }) if peers == ["b"])
        );
        let Some(P2pVerb::Schedule { tags, priority, .. }) =
            verb("p2p schedule --id wf1 --name x --tags p2p_eligible,code_gen")
        else {
            unreachable!()
        };
        assert_eq!((tags.len(), priority.to_bits()), (2, 1.0_f64.to_bits()));
        assert!(verb("p2p").is_none());
        for json in ["--json p2p status", "p2p --json status", "p2p status --json"] {
            assert!(read(json).unwrap().json, "{json}");
        }
        for wrong in
            ["p2p schedule --id wf1", "p2p schedule --id a --name b --priority soon", "p2p add-peer", "cache"]
        {
            assert_eq!(read(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }

    #[test]
    fn the_later_group_of_verbs_leads_to_the_same_scheduler() {
        assert!(matches!(networking(&["scheduler", "get-next"]), Ok(P2pVerb::Next)));
        assert!(matches!(networking(&["status"]), Ok(P2pVerb::Status)));
        for (words, instead) in [
            (["cache", "get"], "no cache"),
            (["task", "delete"], "wfengine cancel"),
            (["scheduler", "mark-complete"], "wfengine task complete"),
        ] {
            let failure = networking(&words).unwrap_err();
            assert!(failure.message.contains(instead), "{failure}");
        }
        let Verb::P2pNetworking { words } = read("p2p-networking scheduler status --json").unwrap().verb
        else {
            unreachable!()
        };
        assert_eq!(words.last().unwrap(), "--json");
    }
}
