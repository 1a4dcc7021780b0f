//! Documents on the control socket.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use wfengine_api::{Exit, Failure};

/// Bytes of one document at most.
const DOCUMENT_BYTES_MAX: u32 = 8 * 1024 * 1024;

/// One piece of an answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// The request will be read: said before anything is asked.
    Ready,
    /// One of many.
    Item(serde_json::Value),
    /// The answer; nothing follows.
    Done(serde_json::Value),
    /// It was not done.
    Failed(Failure),
}

fn broken(detail: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Unreachable, format!("the connection to the node broke off: {detail}"))
}

/// Writes a document.
pub(crate) async fn write_document<T: Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    document: &T,
) -> Result<(), Failure> {
    let bytes = serde_json::to_vec(document).map_err(broken)?;
    let len = u32::try_from(bytes.len()).ok().filter(|len| *len <= DOCUMENT_BYTES_MAX);
    let len = len.ok_or_else(|| {
        Failure::bad_input(format!("a request of {} bytes is too large, 8 MiB are allowed", bytes.len()))
    })?;
    stream.write_all(&len.to_le_bytes()).await.map_err(broken)?;
    stream.write_all(&bytes).await.map_err(broken)?;
    stream.flush().await.map_err(broken)
}

/// Reads a document; `None` when the other side closed between two of them.
pub(crate) async fn read_document<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<T>, Failure> {
    let mut len = [0; 4];
    if let Err(error) = stream.read_exact(&mut len).await {
        return if error.kind() == std::io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(broken(error)) };
    }
    let len = u32::from_le_bytes(len);
    if len > DOCUMENT_BYTES_MAX {
        return Err(broken(format!("a document of {len} bytes was announced, 8 MiB are allowed")));
    }
    let mut bytes = vec![0; len as usize];
    stream.read_exact(&mut bytes).await.map_err(broken)?;
    serde_json::from_slice(&bytes).map(Some).map_err(broken)
}
