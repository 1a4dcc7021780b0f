//! The log, told event by event.

use std::sync::Arc;
use std::time::Duration;

use wfengine_api::answers::{Changed, FollowedEvent, HistoryView};
use wfengine_api::{Failure, Items};
use wfengine_core::admitted::Admitted;

use super::{blocking, resolve};
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
        for (place, event) in (0..).zip(&events).skip(usize::try_from(from).unwrap_or(usize::MAX)) {
            if view.events.len() >= limit {
                view.next = Some(place);
                break;
            }
            if is_wanted(event) {
                view.events.push(event_line(event, &views));
            }
        }
        return Ok(view);
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
                return Ok(view);
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
    Ok(view)
}

/// Events of the next frames, the place after them, and whether there are more already.
fn followed(node: &Node, from: u64) -> Result<(Vec<FollowedEvent>, u64, bool), Failure> {
    let frames = node.watcher().frames(from, FRAMES_AT_ONCE)?;
    let (mut told, mut place) = (Vec::new(), from);
    for stored in frames {
        let first = stored.number;
        place = first + 1;
        for (id, _) in stored.frame.events() {
            let Some(event) = node.watcher().event(id)? else { continue };
            let event = event_line(&event, &node.watcher().views());
            told.push(FollowedEvent { event, next: first });
        }
        if let Some(last) = told.last_mut() {
            last.next = place;
        }
    }
    Ok((told, place, place > from && place < node.watcher().frontier().frames_len))
}

/// Tells every event from a place on, as it is admitted, until nobody listens.
pub(super) async fn follow(node: &Arc<Node>, from: Option<u64>, items: Items) -> Result<(), Failure> {
    let mut commits = node.watcher().subscribe();
    let end = node.watcher().frontier().frames_len;
    let mut place = from.unwrap_or(end);
    if place > end {
        return Err(Failure::bad_input(format!(
            "from {place}: the log has reached {end}; begin there or before"
        )));
    }
    loop {
        let (told, after, goes_on) = blocking(node, move |node| followed(node, place)).await?;
        place = after;
        for event in told {
            let event = serde_json::to_value(event).unwrap_or_default();
            if items.send(event).await.is_err() {
                return Ok(());
            }
        }
        if goes_on {
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
