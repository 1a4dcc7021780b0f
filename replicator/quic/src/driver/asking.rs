//! Questions: of the node to its peers, and of peers to the node.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use wfengine_protocol::limits::BLOB_RANGE_BYTES_MAX;
use wfengine_protocol::message::{Bytes, List};
use wfengine_protocol::{AskId, ConnectionId, Question, Reply};
use wfengine_storage_format::{BlobId, EventId, PeerId};

use super::machine::{Input, Machine};

/// How long peers are waited for when asked what they hold.
const HOLDERS_WAIT: Duration = Duration::from_secs(2);

/// A question under way, and who waits for its answer.
pub(super) enum Asked {
    Log(oneshot::Sender<Option<Vec<u8>>>),
    Holds(PeerId, mpsc::UnboundedSender<Option<PeerId>>),
}

impl Machine {
    pub(super) fn answer(&self, connection: ConnectionId, number: u32, question: Question) {
        let inputs = self.inputs.clone();
        match question {
            Question::LogFollow { job, offset } => {
                let part = self.host.log_part(job, offset);
                tokio::spawn(async move {
                    let reply = match part.await {
                        Some((mut bytes, end)) => {
                            let end = end && bytes.len() <= BLOB_RANGE_BYTES_MAX;
                            bytes.truncate(BLOB_RANGE_BYTES_MAX);
                            Bytes::try_from(bytes).map_or(Reply::Refused, |bytes| Reply::Log {
                                offset,
                                bytes,
                                end,
                            })
                        }
                        None => Reply::Unknown,
                    };
                    let _ = inputs.send(Input::Replied(connection, number, reply));
                });
            }
            Question::Holds { event, blobs } => {
                let (watcher, kept) = (self.watcher.clone(), self.blobs.clone());
                tokio::task::spawn_blocking(move || {
                    let event = matches!(watcher.event(&event), Ok(Some(_)));
                    let blobs = blobs.iter().all(|blob| kept.has(blob));
                    let _ = inputs.send(Input::Replied(connection, number, Reply::Holds { event, blobs }));
                });
            }
        }
    }

    pub(super) fn answered(&mut self, ask: AskId, reply: Option<Reply>) {
        match self.asked.remove(&ask) {
            Some(Asked::Log(done)) => {
                let bytes = match reply {
                    Some(Reply::Log { bytes, .. }) => Some(bytes.into_inner()),
                    _ => None,
                };
                let _ = done.send(bytes);
            }
            Some(Asked::Holds(peer, told)) => {
                let holds = matches!(reply, Some(Reply::Holds { event: true, blobs: true }));
                let _ = told.send(holds.then_some(peer));
            }
            None => {}
        }
    }

    pub(super) fn ask_holders(
        &mut self,
        event: EventId,
        blobs: &[BlobId],
        done: oneshot::Sender<Vec<PeerId>>,
    ) {
        let now = self.now();
        let (told, mut heard) = mpsc::unbounded_channel();
        let mut waiting = 0usize;
        for peer in self.exchange.connected_members().collect::<Vec<_>>() {
            let question = Question::Holds { event, blobs: List::truncated(blobs.iter().copied()) };
            if let Some(ask) = self.exchange.ask(&peer, question, now) {
                self.asked.insert(ask, Asked::Holds(peer, told.clone()));
                waiting += 1;
            }
        }
        drop(told);
        tokio::spawn(async move {
            let mut holders = Vec::new();
            let collect = async {
                while waiting > 0 {
                    let Some(answer) = heard.recv().await else { break };
                    holders.extend(answer);
                    waiting -= 1;
                }
            };
            let _ = tokio::time::timeout(HOLDERS_WAIT, collect).await;
            let _ = done.send(holders);
        });
    }
}
