//! The log, told event by event.

use std::sync::Arc;
use std::time::Duration;

use wfengine_api::answers::{Changed, HistoryView};
use wfengine_api::{Failure, Items};
use wfengine_core::admitted::Admitted;

use super::resolve;
use crate::audit::event_line;
use crate::node::Node;

/// Events of one answer.
const EVENTS_MAX: usize = 1_000;
/// Frames that are looked at for one answer.
const FRAMES_LOOKED_AT_MAX: usize = 65_536;
const FRAMES_AT_ONCE: usize = 1_024;
/// Between two words about changes at least: whoever looks after each is no burden.
const CHANGES_APART: Duration = Duration::from_millis(100);

pub(super) fn history(
    node: &Node,
    run: Option<String>,
    author: Option<String>,
    kinds: &[String],
    from: u64,
    limit: usize,
) -> Result<HistoryView, Failure> {
    Ok(part(node, run, author, kinds, from, limit)?.0)
}

/// A part of the history, and the place after it.
fn part(
    node: &Node,
    run: Option<String>,
    author: Option<String>,
    kinds: &[String],
    from: u64,
    limit: usize,
) -> Result<(HistoryView, u64), Failure> {
    let run = run.map(|run| resolve::target(node, &run)).transpose()?.map(|target| target.run);
    let author = author.map(|author| resolve::peer(node, &author)).transpose()?;
    let is_wanted = |event: &Admitted| {
        author.is_none_or(|author| event.author() == author)
            && (kinds.is_empty()
                || kinds.iter().any(|kind| kind.eq_ignore_ascii_case(&event.kind.to_string())))
    };
    let limit = limit.clamp(1, EVENTS_MAX);
    let mut view = HistoryView::default();
    if let Some(run) = run {
        let events = node.watcher().events_of_run(&run)?;
        let views = node.watcher().views();
        let mut place = from;
        for event in events.iter().skip(usize::try_from(from).unwrap_or(usize::MAX)) {
            if view.events.len() >= limit {
                view.next = Some(place);
                break;
            }
            place += 1;
            if is_wanted(event) {
                view.events.push(event_line(event, &views));
            }
        }
        return Ok((view, place));
    }
    let end = node.watcher().frontier().frames_len;
    let mut place = from;
    while place < end && usize::try_from(place - from).is_ok_and(|looked_at| looked_at < FRAMES_LOOKED_AT_MAX)
    {
        let frames = node.watcher().frames(place, FRAMES_AT_ONCE)?;
        if frames.is_empty() {
            break;
        }
        for stored in frames {
            if view.events.len() >= limit {
                view.next = Some(place);
                return Ok((view, place));
            }
            place = stored.number + 1;
            for (id, _) in stored.frame.events() {
                let Some(event) = node.watcher().event(id)? else { continue };
                if is_wanted(&event) {
                    view.events.push(event_line(&event, &node.watcher().views()));
                }
            }
        }
    }
    view.next = (place < end).then_some(place);
    Ok((view, place))
}

/// Tells every event from a place on, as it is admitted, until nobody listens.
pub(super) async fn follow(node: &Arc<Node>, from: Option<u64>, items: Items) -> Result<(), Failure> {
    let mut commits = node.watcher().subscribe();
    let mut place = from.unwrap_or_else(|| node.watcher().frontier().frames_len);
    loop {
        let (told, after) = part(node, None, None, &[], place, EVENTS_MAX)?;
        place = after;
        for event in &told.events {
            let event = serde_json::to_value(event).unwrap_or_default();
            if items.send(event).await.is_err() {
                return Ok(());
            }
        }
        if told.next.is_some() {
            continue;
        }
        tokio::select! {
            // one that was missed is in the log all the same
            _ = commits.recv() => {}
            () = items.closed() => return Ok(()),
            () = node.stopped() => return Err(node.stopped_with("the node stops")),
        }
    }
}

/// Says that the log has grown, once at the beginning, until nobody listens.
pub(super) async fn changes(node: &Arc<Node>, items: Items) -> Result<(), Failure> {
    let mut commits = node.watcher().subscribe();
    loop {
        let changed = Changed { events: node.watcher().frontier().events_len };
        let changed = serde_json::to_value(changed).unwrap_or_default();
        if items.send(changed).await.is_err() {
            return Ok(());
        }
        tokio::select! {
            // one that was missed is in the log all the same
            _ = commits.recv() => {}
            () = items.closed() => return Ok(()),
            () = node.stopped() => return Err(node.stopped_with("the node stops")),
        }
        tokio::time::sleep(CHANGES_APART).await;
        while commits.try_recv().is_ok() {}
    }
}
