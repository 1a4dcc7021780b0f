//! This node: `init`, `allow`, `sync`, `pause`, `resume`, `status`, `clock`.

use wfengine_api::answers::{AllowView, ClockView, StatusView, SyncView};
use wfengine_api::{Exit, Failure, Request};

use super::Globals;
use super::watch::{Cause, watch};
use crate::args::{AllowArgs, InitArgs, SyncArgs, WatchChoice};
use crate::terminal::{self, Column, Page};

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

pub(super) async fn status(globals: &Globals, choice: WatchChoice) -> Result<Exit, Failure> {
    if choice.watch {
        // who is connected is no event
        return watch(globals, Cause::EventsAndTime, || Request::Status, status_page).await;
    }
    let status: StatusView = super::call(globals, Request::Status).await?;
    print_status(globals, &status);
    Ok(Exit::Success)
}

fn print_status(globals: &Globals, status: &StatusView) {
    if globals.json {
        terminal::json(status);
    } else {
        terminal::show(&status_page(status));
    }
}

fn status_page(status: &StatusView) -> Page {
    let mut page = Page::default();
    let serving = match &status.listen {
        Some(listen) => format!("serving on UDP {listen} (pid {})", status.pid),
        None if status.serving => format!("serving without a network (pid {})", status.pid),
        None => "not serving: start `wfengine serve`".to_owned(),
    };
    page.line(format!("Peer: {}", status.peer));
    page.line(format!("Peer ID: {}", status.peer_id));
    page.line(format!("Cluster: {}", status.cluster));
    page.line(format!("Node: {serving}"));
    if let Some(http) = &status.http {
        page.line(format!("HTTP: {http} (token in {}/http-token)", status.data_dir));
    }
    page.line(format!("Data: {}", status.data_dir));
    page.line(format!("Pending Tasks: {}", status.pending));
    page.line(format!("Assigned Tasks: {}", status.assigned + status.in_progress));
    page.line(format!("Completed Tasks: {}", status.completed));
    page.line(format!("Failed Tasks: {}", status.failed));
    page.line(format!("Queue Size: {}", status.queue_size));
    page.line(format!("Known Peers: {} ({} connected)", status.known_peers, status.connected_peers));
    page.line(format!("Runs Here: {}", status.runs_here));
    page.line(format!("Merkle Clock Hash: {}", status.clock_hash));
    page.line(format!("Clock Height: {} ({} events)", status.height, status.events));
    if let Some(documents) = &status.documents {
        page.line(format!("Documents: {documents}"));
    }
    page.line(format!("Runs Jobs Of: {}", whose(&status.allows)));
    if !status.discovers.is_empty() {
        page.line(format!("Discovers: {}", status.discovers.join(", ")));
    }
    if let Some(trouble) = &status.discovery_trouble {
        page.line(format!("Discovery Trouble: {trouble}"));
    }
    if let Some(declines) = &status.declines {
        page.line(format!("Claims Nothing: {declines}"));
    }
    page
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
    terminal::show(&sync_page(&sync));
    Ok(Exit::Success)
}

const SYNC: &[Column] = &[
    Column::whole("PEER"),
    Column::yielding("ADDRESS", 1, 1),
    Column::yielding("HOLDS OF MINE", 3, 4),
    Column::yielding("I HOLD OF IT", 2, 3),
    Column::yielding("ROUND TRIP", 0, 2),
];

fn sync_page(sync: &SyncView) -> Page {
    let mut page = Page::default();
    page.line(format!("{} events, clock {}", sync.events, sync.clock_hash.get(..12).unwrap_or_default()));
    let rows: Vec<Vec<String>> = sync
        .peers
        .iter()
        .map(|peer| {
            let (theirs, ours) = (share(peer.lacks, peer.unconfirmed), share(peer.owes, None));
            vec![peer.name.clone(), peer.address.clone(), theirs, ours, format!("{:.1} ms", peer.rtt_ms)]
        })
        .collect();
    if rows.is_empty() {
        page.line("no peer is connected");
    } else {
        page.table(SYNC, rows);
    }
    if !sync.copies.is_empty() {
        page.line(format!("held by {}", sync.copies.join(", ")));
    }
    page
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
