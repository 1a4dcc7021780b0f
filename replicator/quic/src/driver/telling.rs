//! What was committed is told: to the exchange, which pushes it, and to peers that should keep its blobs.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::broadcast;
use wfengine_storage_format::{BlobId, Body, PeerId};
use wfengine_store::Committed;

use super::keeping::OFFERED_BYTES_MAX;
use super::machine::Machine;

impl Machine {
    pub(super) fn take_commit(
        &mut self,
        commit: Result<Arc<Committed>, broadcast::error::RecvError>,
        news: &mut broadcast::Receiver<Arc<Committed>>,
    ) {
        match commit {
            Ok(commit) => self.committed(&commit),
            Err(broadcast::error::RecvError::Lagged(_)) => {
                *news = self.watcher.subscribe();
                self.catch_up();
            }
            Err(broadcast::error::RecvError::Closed) => {}
        }
    }

    fn committed(&mut self, commit: &Committed) {
        let now = self.now();
        for frame in &commit.frames {
            // what was read back from the log may come as news too, and must not count twice
            let header = frame.header();
            if header.end_seq() > self.exchange.frontier().length(&header.chain) {
                self.frames_told += 1;
                self.exchange.handle_committed(frame, now);
            }
        }
        if commit.authority {
            self.take_roster();
        }
        let me = self.endpoint.peer_id();
        for event in commit.events.iter().filter(|event| event.author() == me && !event.blobs.is_empty()) {
            self.offer(&event.body, &event.blobs);
        }
        for event in &commit.events {
            if let Body::PeerDescribed(body) = &event.body
                && event.author() != me
            {
                self.book.set_of(event.author(), &body.addresses, now);
            }
        }
    }

    /// Commits that were missed are read from the log itself.
    fn catch_up(&mut self) {
        let end = self.watcher.frontier().frames_len;
        let now = self.now();
        while self.frames_told < end {
            match self.watcher.frames(self.frames_told, 256) {
                Ok(frames) if !frames.is_empty() => {
                    for stored in frames {
                        self.frames_told = stored.number + 1;
                        self.exchange.handle_committed(&stored.frame, now);
                    }
                }
                Ok(_) => break,
                Err(error) => {
                    tracing::error!(%error, "the log cannot be read back");
                    break;
                }
            }
        }
        self.take_roster();
    }

    /// Sources, and what was found in repositories, go to every connected member, so that a laptop may close its lid; what a job
    /// leaves behind goes to the submitter and one more.
    fn offer(&mut self, body: &Body, blobs: &[BlobId]) {
        let sized: Vec<(BlobId, u64)> = blobs
            .iter()
            .filter_map(|blob| self.blobs.len(blob).map(|len| (*blob, len)))
            .filter(|(_, len)| *len <= OFFERED_BYTES_MAX)
            .collect();
        let connected: Vec<PeerId> = self.exchange.connected_members().collect();
        let receivers: Vec<PeerId> = match body {
            Body::RunSubmitted(_) | Body::RepositoryScanned(_) | Body::WorkflowFound(_) => connected,
            Body::JobCompleted(body) => {
                let submitter = {
                    let views = self.watcher.views();
                    views.runs().live(&body.run).and_then(|run| run.submission()).map(|found| found.author)
                };
                let (first, others): (Vec<PeerId>, Vec<PeerId>) =
                    connected.into_iter().partition(|peer| Some(*peer) == submitter);
                first.into_iter().chain(others.into_iter().take(1)).collect()
            }
            _ => return,
        };
        let now = self.now();
        for peer in receivers {
            self.exchange.offer_blobs(&peer, &sized, now);
        }
    }

    pub(super) fn take_roster(&mut self) {
        let now = self.now();
        let (members, cuts, described) = {
            let views = self.watcher.views();
            let roster = views.authority().roster();
            let members: Vec<PeerId> = roster.members().keys().copied().collect();
            (members, roster.forked_chains().clone(), views.peers().all().clone())
        };
        self.exchange.set_members(members.iter().copied(), now);
        self.exchange.set_fork_cuts(&cuts);
        let me = self.endpoint.peer_id();
        for (peer, body) in described.iter().filter(|(peer, _)| **peer != me && members.contains(peer)) {
            self.book.set_of(*peer, &body.addresses, now);
        }
        let members: BTreeSet<PeerId> = members.into_iter().filter(|peer| *peer != me).collect();
        self.book.keep_members(&members);
        for removed in self.members.difference(&members) {
            // what a former member brought and nobody can admit yet makes room; a writer that is gone needs none
            let _ = self.recorder.forget_peer(*removed);
        }
        self.members.clone_from(&members);
        self.membership.set_members(members);
    }
}
