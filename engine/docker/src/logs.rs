//! What a container wrote, both of its streams in order.
//!
//! Pieces are the container's writes as the engine cut them, not lines. Nothing is decoded: bytes in, bytes out.

use std::collections::VecDeque;

use bollard::{container::LogOutput, query_parameters::LogsOptions};
use tokio::sync::mpsc;

use crate::{Engine, EngineError, engine::next, error::Subject, reference};

/// Pieces that wait for a reader; then the engine waits.
const PIECES_MAX: usize = 64;
/// Bytes of one piece.
const PIECE_LEN_MAX: usize = 64 * 1024;

/// What a container writes, as it writes it. Dropping it ends the stream.
#[derive(Debug)]
pub struct LogPieces(mpsc::Receiver<Result<Vec<u8>, EngineError>>);

impl LogPieces {
    /// The next piece; none when the container is over. After an error nothing comes.
    pub async fn next(&mut self) -> Option<Result<Vec<u8>, EngineError>> {
        self.0.recv().await
    }
}

impl Engine {
    /// The last bytes of a container's log. The whole log is read; no more than `bytes_max` is kept.
    pub async fn logs_tail(&self, id: &str, bytes_max: usize) -> Result<Vec<u8>, EngineError> {
        let id = reference::name(id)?;
        let subject = Subject::Container(id.to_owned());
        self.call(&subject, self.log, |docker| async move {
            let mut kept = VecDeque::new();
            let mut pieces = Box::pin(docker.logs(id, Some(options(false))));
            while let Some(piece) = next(&mut pieces).await {
                keep(&mut kept, &piece?.into_bytes(), bytes_max);
            }
            Ok(Vec::from(kept))
        })
        .await
    }

    /// A container's log from its beginning, and on until it is over.
    pub async fn follow_logs(&self, id: &str) -> Result<LogPieces, EngineError> {
        let id = reference::name(id)?.to_owned();
        let subject = Subject::Container(id.clone());
        // a stream tells that there is no such container only when it is read
        self.container(&id).await?;
        let docker = self.streaming(&subject)?;
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        let engine = self.clone();
        tokio::spawn(async move {
            let mut pieces = Box::pin(docker.logs(&id, Some(options(true))));
            loop {
                let piece = tokio::select! {
                    piece = next(&mut pieces) => piece,
                    () = sender.closed() => return,
                };
                let Some(piece) = piece else { return };
                if send(&sender, piece.map_err(|error| engine.told(error, &subject))).await.is_err() {
                    return;
                }
            }
        });
        Ok(LogPieces(receiver))
    }
}

/// Nobody listens any more, or there is nothing more to say.
struct Over;

async fn send(
    sender: &mpsc::Sender<Result<Vec<u8>, EngineError>>,
    piece: Result<LogOutput, EngineError>,
) -> Result<(), Over> {
    match piece {
        Ok(piece) => {
            for part in piece.as_ref().chunks(PIECE_LEN_MAX) {
                sender.send(Ok(part.to_vec())).await.map_err(|_| Over)?;
            }
            Ok(())
        }
        Err(error) => {
            // whether anybody heard it or not, nothing comes after it
            let _ = sender.send(Err(error)).await;
            Err(Over)
        }
    }
}

fn options(follow: bool) -> LogsOptions {
    LogsOptions { follow, stdout: true, stderr: true, tail: "all".to_owned(), ..LogsOptions::default() }
}

fn keep(kept: &mut VecDeque<u8>, piece: &[u8], bytes_max: usize) {
    let piece = piece.get(piece.len().saturating_sub(bytes_max)..).unwrap_or_default();
    let too_many = (kept.len() + piece.len()).saturating_sub(bytes_max);
    kept.drain(..too_many.min(kept.len()));
    kept.extend(piece);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_are_kept_however_they_were_cut() {
        let text: Vec<u8> = (0..=255).collect();
        for bytes_max in [0, 1, 7, 255, 256, 1000] {
            for cut in [1, 3, 100, 256] {
                let mut kept = VecDeque::new();
                for piece in text.chunks(cut) {
                    keep(&mut kept, piece, bytes_max);
                }
                assert_eq!(
                    Vec::from(kept),
                    text[text.len().saturating_sub(bytes_max)..],
                    "{bytes_max} {cut}"
                );
            }
        }
    }
}
