//! Verified frames on their way to the writer: handed over in order, their outcomes brought back.

use tokio::sync::mpsc;
use wfengine_core::time::WallMs;
use wfengine_protocol::output::Outcome;
use wfengine_storage_format::{ChainId, PeerId, VerifiedFrame};
use wfengine_store::{FrameOutcome, Recorder};

use super::machine::Input;

/// Frames handed to the writer at once.
const FRAMES_AT_ONCE: usize = 64;

/// What became of a frame that was not committed: its chain, the place after it, what.
pub(super) type NotCommitted = (ChainId, u64, Outcome);

/// Carries frames to the writer until the sender is dropped. The writer's queue is the bound: this task waits for its answers
/// while others arrive, four batches ahead.
pub(super) async fn carry(
    mut frames: mpsc::UnboundedReceiver<(VerifiedFrame, PeerId, WallMs)>,
    recorder: Recorder,
    inputs: mpsc::UnboundedSender<Input>,
) {
    let ahead = std::sync::Arc::new(tokio::sync::Semaphore::new(4));
    let mut waiting = Vec::new();
    while frames.recv_many(&mut waiting, FRAMES_AT_ONCE).await > 0 {
        let mut rest = std::mem::take(&mut waiting).into_iter().peekable();
        while let Some((first, from, now)) = rest.next() {
            let mut batch = vec![first];
            while let Some((frame, _, _)) = rest.next_if(|(_, other, _)| *other == from) {
                batch.push(frame);
            }
            let Ok(permit) = std::sync::Arc::clone(&ahead).acquire_owned().await else { return };
            let places: Vec<(ChainId, u64)> =
                batch.iter().map(|frame| (frame.header().chain, frame.header().end_seq())).collect();
            let answer = match recorder.take_later(batch, from, now) {
                Ok(answer) => answer,
                // the writer has stopped for good, and with it the process
                Err(_) => return,
            };
            let inputs = inputs.clone();
            tokio::spawn(async move {
                if let Ok(Ok(outcomes)) = answer.await {
                    let not_committed: Vec<NotCommitted> =
                        places.into_iter().zip(outcomes).filter_map(not_committed).collect();
                    if !not_committed.is_empty() {
                        let _ = inputs.send(Input::NotCommitted(not_committed));
                    }
                }
                drop(permit);
            });
        }
    }
}

fn not_committed(((chain, end_seq), outcome): ((ChainId, u64), FrameOutcome)) -> Option<NotCommitted> {
    let outcome = match outcome {
        // told by the news of the commit
        FrameOutcome::Admitted => return None,
        FrameOutcome::Duplicate | FrameOutcome::NoRoom => Outcome::Dropped,
        FrameOutcome::Waiting(_) => Outcome::Waiting,
        FrameOutcome::Forked => Outcome::Forked,
        FrameOutcome::Rejected(why) => {
            tracing::warn!(%chain, why, "a frame was rejected");
            Outcome::Rejected
        }
    };
    Some((chain, end_seq, outcome))
}
