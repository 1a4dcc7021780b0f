//! What runners print: from their container while that is there, from what was kept after it.

use std::sync::Arc;

use wfengine_api::answers::runners::RunnerLogLine;
use wfengine_api::{Exit, Failure, Items};
use wfengine_autoscaler::container;
use wfengine_docker::EngineError;

use super::asked::{end, nobody, runner_named};
use super::{Node, engine};

/// Bytes of a runner's output that are shown of one that still runs.
const LOG_BYTES_MAX: usize = 1024 * 1024;

/// What a runner printed: from its container while that is there, from what was kept after it.
pub(crate) async fn logs(node: &Arc<Node>, name: &str, follow: bool, items: Items) -> Result<(), Failure> {
    let name = runner_named(node, name)?;
    let runner = node.watcher().views().runners().by_name(&name).map(|runner| runner.into_owned());
    let Some(runner) = runner else { return Err(nobody()) };
    if let Some((_, _, exited)) = &runner.exited {
        match &exited.log {
            Some(blob) => {
                if !node.blobs.has(blob)
                    && let Some(network) = node.network()
                {
                    let brought = network.fetch_blob(*blob).await;
                    brought.map_err(|error| {
                        Failure::unreachable(format!(
                            "no member that is reached has what {name} printed: {error}"
                        ))
                    })?;
                }
                send_lines(&items, &node.blobs.read(blob)?).await;
            }
            None => note(&items, "it printed nothing, or nothing that was kept").await,
        }
        note(&items, &end(&exited.end)).await;
        return Ok(());
    }
    if runner.author != node.peer_id() {
        let views = node.watcher().views();
        let message = format!(
            "{name} runs on {}: ask there, or wait until it has ended",
            views.peer_name(&runner.author)
        );
        return Err(Failure::new(Exit::Failure, message));
    }
    let wishes = node.settings().autoscaler.get(&runner.intended.pool).cloned().unwrap_or_default();
    let engine = engine(&wishes, &crate::node::discovery::environment())?;
    let said = |error: EngineError| Failure::new(Exit::Failure, format!("{error}; {}", error.remedy()));
    let secrets = container::secrets(engine.environment(&name).await.map_err(said)?);
    if !follow {
        let printed = engine.logs_tail(&name, LOG_BYTES_MAX).await.map_err(said)?;
        send_lines(&items, &container::without(&secrets, printed)).await;
        return Ok(());
    }
    let mut pieces = engine.follow_logs(&name).await.map_err(said)?;
    // of a secret that a piece cuts in two, neither part is shown
    let longest = secrets.iter().map(String::len).max().unwrap_or(0);
    let mut rest: Vec<u8> = Vec::new();
    while let Some(piece) = pieces.next().await {
        rest.extend(piece.map_err(said)?);
        if let Some(at) = rest.iter().rposition(|byte| *byte == b'\n') {
            let whole: Vec<u8> = rest.drain(..=at).collect();
            send_lines(&items, &container::without(&secrets, whole)).await;
        }
        // a line without an end is shown in parts
        if rest.len() > LOG_BYTES_MAX {
            let mut shown = container::without(&secrets, std::mem::take(&mut rest));
            rest = shown.split_off(shown.len().saturating_sub(longest));
            send_lines(&items, &shown).await;
        }
        if items.is_closed() {
            return Ok(());
        }
    }
    send_lines(&items, &container::without(&secrets, rest)).await;
    Ok(())
}

async fn send_lines(items: &Items, bytes: &[u8]) {
    for line in String::from_utf8_lossy(bytes).lines() {
        let line = RunnerLogLine { stream: "out".to_owned(), text: line.to_owned() };
        // whoever listened may have left
        if items.send(serde_json::to_value(&line).unwrap_or_default()).await.is_err() {
            return;
        }
    }
}

async fn note(items: &Items, text: &str) {
    let line = RunnerLogLine { stream: "note".to_owned(), text: text.to_owned() };
    let _ = items.send(serde_json::to_value(&line).unwrap_or_default()).await;
}
