//! `peer`: members and addresses.

use wfengine_api::answers::{InviteView, PeersView, StatusView};
use wfengine_api::{Exit, Failure, Request};

use super::Globals;
use super::watch::{Cause, watch};
use crate::args::{InviteArgs, PeerVerb, WatchChoice};
use crate::documents::{MessageDocument, PeerIdDocument};
use crate::submission::duration_ms;
use crate::terminal::{self, Column, Page};

pub(super) async fn peer(globals: &Globals, verb: PeerVerb) -> Result<Exit, Failure> {
    match verb {
        PeerVerb::Id => id(globals).await,
        PeerVerb::Invite(args) => invite(globals, args).await,
        PeerVerb::Join(args) => super::join::join(globals, args).await,
        PeerVerb::Add(args) => {
            super::call::<()>(globals, Request::AddAddress { address: args.address.clone() }).await?;
            said(globals, format!("this node connects to {} from here on", args.address));
            Ok(Exit::Success)
        }
        PeerVerb::List(choice) => list(globals, choice).await,
        PeerVerb::Remove(args) => {
            let said: String =
                super::call(globals, Request::RemovePeer { peer: args.peer, reason: args.reason }).await?;
            self::said(globals, said);
            Ok(Exit::Success)
        }
    }
}

/// Says what was done.
fn said(globals: &Globals, message: String) {
    if globals.json {
        terminal::json(&MessageDocument { message });
    } else {
        terminal::line(&message);
    }
}

async fn id(globals: &Globals) -> Result<Exit, Failure> {
    let status: StatusView = super::call(globals, Request::Status).await?;
    if globals.json {
        terminal::json(&PeerIdDocument { peer: status.peer, peer_id: status.peer_id });
    } else {
        terminal::line(&status.peer_id);
    }
    Ok(Exit::Success)
}

async fn invite(globals: &Globals, args: InviteArgs) -> Result<Exit, Failure> {
    let request = Request::Invite {
        expires_ms: duration_ms("--expires", &args.expires)?,
        roles: args.roles,
        labels: args.labels,
        allow_jobs: !args.no_allow_jobs,
    };
    let invite: InviteView = super::call(globals, request).await?;
    if globals.json {
        terminal::json(&invite);
        return Ok(Exit::Success);
    }
    let until = crate::clock::show_wall(invite.expires_ms);
    terminal::note(&format!(
        "for one host, until {until}; whoever has this line can join, so treat it as a password"
    ));
    if invite.allow_jobs {
        terminal::note(
            "--allow-jobs lets the joining host run jobs that other members submit; leave it out if it should not",
        );
    }
    terminal::line(&invite.join_line);
    Ok(Exit::Success)
}

async fn list(globals: &Globals, choice: WatchChoice) -> Result<Exit, Failure> {
    if choice.watch {
        // who is connected is no event
        return watch(globals, Cause::EventsAndTime, || Request::Peers, peers_page).await;
    }
    let peers: PeersView = super::call(globals, Request::Peers).await?;
    if globals.json {
        terminal::json(&peers);
    } else {
        terminal::show(&peers_page(&peers));
    }
    Ok(Exit::Success)
}

const PEERS: &[Column] = &[
    Column::whole("PEER"),
    Column::whole("ID"),
    Column::state("STATE"),
    Column::yielding("ROLES", 2, 2),
    Column::yielding("LABELS", 1, 1),
];

fn peers_page(peers: &PeersView) -> Page {
    let mut page = Page::default();
    let rows: Vec<Vec<String>> = peers
        .peers
        .iter()
        .map(|peer| {
            let state = match (peer.me, &peer.connected, peer.alive) {
                (true, _, _) => "this node".to_owned(),
                (_, Some(address), _) => format!("connected {address}"),
                (_, None, Some(true)) => "alive".to_owned(),
                (_, None, Some(false)) => "not seen".to_owned(),
                (_, None, None) => "unknown".to_owned(),
            };
            vec![
                peer.name.clone(),
                peer.id.get(..10).unwrap_or(&peer.id).to_owned(),
                state,
                peer.roles.join(","),
                peer.labels.join(","),
            ]
        })
        .collect();
    page.table(PEERS, rows);
    if !peers.addresses.is_empty() {
        page.line(format!("connects to: {}", peers.addresses.join(", ")));
    }
    page
}
