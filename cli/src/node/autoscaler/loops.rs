//! The loops beside the main one: looking at GitHub for a pool, and listening to the engine.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use wfengine_autoscaler::{Looked, Looker};
use wfengine_core::time::Monotonic;
use wfengine_docker::Engine;

use crate::clock::Clock;

/// Between two looks that were asked for: what comes together is looked at together.
const POKES_TOGETHER: Duration = Duration::from_millis(200);
/// Between two looks at the same things, whoever asks.
const LOOKS_APART: Duration = Duration::from_secs(1);
/// After a look that failed, at the least.
const AFTER_TROUBLE: Duration = Duration::from_secs(10);
/// A credential that GitHub does not take is shown again after so long, then twice as long, up to the second: somebody has to act.
const REFUSED: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));
/// Before an engine that ended its stream of events is asked for another.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);

/// Looks again and again, and sooner at what is asked for.
pub(super) async fn look(
    mut looker: Looker,
    interval: Duration,
    clock: Clock,
    mut pokes: mpsc::UnboundedReceiver<BTreeSet<String>>,
    looked: mpsc::UnboundedSender<Looked>,
) {
    let now = || (clock.monotonic(), clock.wall().0);
    let until = |at: Monotonic| if at > clock.monotonic() { at - clock.monotonic() } else { Duration::ZERO };
    let mut round_at = clock.monotonic();
    let mut not_before = clock.monotonic();
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    let mut refused = 0;
    loop {
        tokio::select! {
            () = tokio::time::sleep(until(round_at)) => {
                wanted.clear();
                let seen = looker.round(now).await;
                round_at = clock.monotonic() + interval;
                if let Some(pause) = pause(&seen, &mut refused) {
                    not_before = clock.monotonic() + pause;
                    round_at = if seen.limited_for.is_some() { not_before } else { round_at.max(not_before) };
                } else if !seen.problems.is_empty() {
                    not_before = clock.monotonic() + AFTER_TROUBLE.min(interval);
                }
                if looked.send(seen).is_err() {
                    return;
                }
            }
            poked = pokes.recv() => match poked {
                None => return,
                Some(names) => {
                    let was_empty = wanted.is_empty();
                    wanted.extend(names);
                    if was_empty {
                        not_before = not_before.max(clock.monotonic() + POKES_TOGETHER);
                    }
                }
            },
            () = tokio::time::sleep(until(not_before)), if !wanted.is_empty() => {
                let names = std::mem::take(&mut wanted);
                let seen = looker.round_of(&names, now).await;
                not_before = clock.monotonic() + LOOKS_APART;
                if let Some(pause) = pause(&seen, &mut refused) {
                    not_before = clock.monotonic() + pause;
                    round_at = if seen.limited_for.is_some() { not_before } else { round_at.max(not_before) };
                } else if !seen.problems.is_empty() {
                    not_before = clock.monotonic() + AFTER_TROUBLE;
                }
                if looked.send(seen).is_err() {
                    return;
                }
            }
        }
    }
}

/// How long nothing is asked after a look, if it says so. `refused`: how often in a row the credential was not taken.
fn pause(seen: &Looked, refused: &mut u32) -> Option<Duration> {
    if !seen.is_unauthorised {
        *refused = 0;
        return seen.limited_for;
    }
    let wait = REFUSED.0.saturating_mul(1 << (*refused).min(10)).min(REFUSED.1);
    *refused = refused.saturating_add(1);
    Some(wait)
}

/// Says when something happened to a container of this peer's.
pub(super) async fn listen(engine: Engine, peer: String, woken: Arc<tokio::sync::Notify>) {
    let labels = [
        (wfengine_autoscaler::container::LABEL_MANAGED, "1"),
        (wfengine_autoscaler::container::LABEL_PEER, peer.as_str()),
    ];
    loop {
        if let Ok(mut events) = engine.events(&labels).await {
            // what happened before is found by listing
            woken.notify_one();
            while let Some(Ok(event)) = events.next().await {
                if ["die", "destroy", "oom"].contains(&event.action.as_str()) {
                    woken.notify_one();
                }
            }
        }
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}
