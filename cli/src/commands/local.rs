//! This node: `init`, `allow`, `sync`, `pause`, `resume`, `status`, `clock`.

use wfengine_api::answers::{AllowView, ClockView, StatusView, SyncView};
use wfengine_api::{Exit, Failure, Request};

use super::Globals;
use crate::args::{AllowArgs, InitArgs, SyncArgs};
use crate::terminal;

pub(super) async fn init(globals: &Globals, args: InitArgs) -> Result<Exit, Failure> {
    let mut addresses = args.peers;
    if addresses.is_empty()
        && let Ok(listed) = std::env::var("P2P_BOOTSTRAP_PEERS")
    {
        terminal::note(
            "P2P_BOOTSTRAP_PEERS is read for compatibility; `wfengine init --peers` sets addresses for good",
        );
        addresses =
            listed.split(',').map(|peer| peer.trim().to_owned()).filter(|peer| !peer.is_empty()).collect();
    }
    let status: StatusView = super::call(globals, Request::Init { name: args.name, addresses }).await?;
    print_status(globals, &status);
    Ok(Exit::Success)
}

pub(super) async fn status(globals: &Globals) -> Result<Exit, Failure> {
    let status: StatusView = super::call(globals, Request::Status).await?;
    print_status(globals, &status);
    Ok(Exit::Success)
}

fn print_status(globals: &Globals, status: &StatusView) {
    if globals.json {
        terminal::json(status);
        return;
    }
    let serving = match &status.listen {
        Some(listen) => format!("serving on UDP {listen} (pid {})", status.pid),
        None if status.serving => format!("serving without a network (pid {})", status.pid),
        None => "not serving: start `wfengine serve`".to_owned(),
    };
    terminal::line(&format!("Peer: {}", status.peer));
    terminal::line(&format!("Peer ID: {}", status.peer_id));
    terminal::line(&format!("Cluster: {}", status.cluster));
    terminal::line(&format!("Node: {serving}"));
    if let Some(http) = &status.http {
        terminal::line(&format!("HTTP: {http} (token in {}/http-token)", status.data_dir));
    }
    terminal::line(&format!("Data: {}", status.data_dir));
    terminal::line(&format!("Pending Tasks: {}", status.pending));
    terminal::line(&format!("Assigned Tasks: {}", status.assigned + status.in_progress));
    terminal::line(&format!("Completed Tasks: {}", status.completed));
    terminal::line(&format!("Failed Tasks: {}", status.failed));
    terminal::line(&format!("Queue Size: {}", status.queue_size));
    terminal::line(&format!("Known Peers: {} ({} connected)", status.known_peers, status.connected_peers));
    terminal::line(&format!("Runs Here: {}", status.runs_here));
    terminal::line(&format!("Merkle Clock Hash: {}", status.clock_hash));
    terminal::line(&format!("Clock Height: {} ({} events)", status.height, status.events));
    if let Some(documents) = &status.documents {
        terminal::line(&format!("Documents: {documents}"));
    }
    terminal::line(&format!("Runs Jobs Of: {}", whose(&status.allows)));
    if !status.discovers.is_empty() {
        terminal::line(&format!("Discovers: {}", status.discovers.join(", ")));
    }
    if let Some(trouble) = &status.discovery_trouble {
        terminal::line(&format!("Discovery Trouble: {trouble}"));
    }
    if let Some(declines) = &status.declines {
        terminal::line(&format!("Claims Nothing: {declines}"));
    }
}

fn whose(allow: &AllowView) -> String {
    if allow.any {
        return "any member".to_owned();
    }
    let mut whose = vec!["itself".to_owned()];
    whose.extend(allow.peers.iter().cloned());
    whose.extend(allow.repositories.iter().map(|repository| format!("repository {repository}")));
    whose.join(", ")
}

pub(super) async fn allow(globals: &Globals, args: AllowArgs) -> Result<Exit, Failure> {
    let request =
        Request::Allow { peers: args.peer, repositories: args.repo, any: args.any, none: args.none };
    let allow: AllowView = super::call(globals, request).await?;
    if globals.json {
        terminal::json(&allow);
    } else {
        terminal::line(&format!("this host runs jobs of {}", whose(&allow)));
    }
    Ok(Exit::Success)
}

pub(super) async fn sync(globals: &Globals, args: SyncArgs) -> Result<Exit, Failure> {
    let sync: SyncView = super::call(globals, Request::Sync { wait: args.wait, copies: args.copies }).await?;
    if globals.json {
        terminal::json(&sync);
        return Ok(Exit::Success);
    }
    terminal::line(&format!(
        "{} events, clock {}",
        sync.events,
        sync.clock_hash.get(..12).unwrap_or_default()
    ));
    let rows: Vec<Vec<String>> = sync
        .peers
        .iter()
        .map(|peer| {
            let (theirs, ours) = (share(peer.lacks, peer.unconfirmed), share(peer.owes, None));
            vec![peer.name.clone(), peer.address.clone(), theirs, ours, format!("{:.1} ms", peer.rtt_ms)]
        })
        .collect();
    if rows.is_empty() {
        terminal::line("no peer is connected");
    } else {
        terminal::table(&["PEER", "ADDRESS", "HOLDS OF MINE", "I HOLD OF IT", "ROUND TRIP"], &rows);
    }
    if !sync.copies.is_empty() {
        terminal::line(&format!("held by {}", sync.copies.join(", ")));
    }
    Ok(Exit::Success)
}

/// How much of a log somebody holds who lacks so many events of it, and was sent so many more without having said that they came.
fn share(missing: Option<u64>, unconfirmed: Option<u64>) -> String {
    let share = match missing {
        None => return "not compared yet".to_owned(),
        Some(0) => "everything".to_owned(),
        Some(missing) => format!("all but {missing} events"),
    };
    match unconfirmed {
        None | Some(0) => share,
        Some(sent) => format!("{share}, {sent} sent and not confirmed"),
    }
}

pub(super) async fn pause(globals: &Globals, paused: bool) -> Result<Exit, Failure> {
    let request = if paused { Request::Pause } else { Request::Resume };
    let status: StatusView = super::call(globals, request).await?;
    if globals.json {
        terminal::json(&status);
    } else if paused {
        terminal::line("paused: this node claims nothing until `wfengine resume`; what runs goes on");
    } else {
        terminal::line("resumed: this node claims jobs again");
    }
    Ok(Exit::Success)
}

pub(super) async fn clock(globals: &Globals) -> Result<Exit, Failure> {
    let clock: ClockView = super::call(globals, Request::Clock).await?;
    if globals.json {
        terminal::json(&clock);
        return Ok(Exit::Success);
    }
    terminal::line(&format!("Node ID: {}", clock.node_id));
    terminal::line(&format!("Merkle Root: {}", clock.merkle_root));
    terminal::line(&format!("Height: {}", clock.height));
    for head in &clock.heads {
        terminal::line(&format!("Head: {head}"));
    }
    for (author, events) in &clock.vector {
        terminal::line(&format!("{author}: {events}"));
    }
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_only_sent_is_not_said_to_be_held() {
        assert_eq!(share(None, None), "not compared yet");
        assert_eq!(share(Some(0), Some(0)), "everything");
        assert_eq!(share(Some(0), Some(3)), "everything, 3 sent and not confirmed");
        assert_eq!(share(Some(9), Some(3)), "all but 9 events, 3 sent and not confirmed");
        assert_eq!(share(Some(9), None), "all but 9 events");
    }
}
