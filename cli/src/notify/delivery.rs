//! One way of delivering: attempt, wait, attempt again, give up.
//!
//! Invariants: an attempt ends at its timeout; attempts are bounded; a way delivers in the order in which it was told.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use wfengine_api::Failure;

use super::command::Program;
use super::webhook::Webhook;
use super::{Notification, Wanted};

/// The wait after the first attempt; doubled with every further one.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// The longest wait.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// What came of an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Outcome {
    /// It was taken.
    pub(crate) is_ok: bool,
    /// Another attempt may do better.
    pub(crate) may_retry: bool,
    /// Exit status, or HTTP status; `None` if there is none.
    pub(crate) status: Option<i32>,
    /// What came back, for people.
    pub(crate) says: String,
    /// How long it took, in milliseconds.
    pub(crate) took_ms: u64,
}

/// A way.
#[derive(Clone, Debug)]
pub(super) enum Way {
    Command(Program),
    Webhook(Webhook),
}

impl Way {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Command(_) => "command",
            Self::Webhook(_) => "webhook",
        }
    }

    pub(super) async fn attempt(&self, notification: &Notification) -> Outcome {
        match self {
            Self::Command(program) => program.run(notification).await,
            Self::Webhook(webhook) => webhook.post(notification).await,
        }
    }
}

/// The ways that are wanted. Fails if one of them cannot work at all.
pub(super) fn ways(wanted: &Wanted) -> Result<Vec<Way>, Failure> {
    let mut ways = Vec::new();
    if let Some(program) = Program::of(wanted) {
        ways.push(Way::Command(program));
    }
    if let Some(webhook) = Webhook::of(wanted)? {
        ways.push(Way::Webhook(webhook));
    }
    Ok(ways)
}

/// Waits before an attempt, by how many there were.
fn backoff(attempts: u32) -> Duration {
    let doubled = BACKOFF_FIRST.saturating_mul(1 << attempts.saturating_sub(1).min(10));
    doubled.min(BACKOFF_MAX)
}

/// Delivers whatever comes, until nothing more can come.
pub(super) async fn deliver(way: Way, mut waiting: mpsc::Receiver<Arc<Notification>>, attempts_max: u32) {
    while let Some(notification) = waiting.recv().await {
        let mut attempts = 0;
        loop {
            let outcome = way.attempt(&notification).await;
            attempts += 1;
            let (way, event, delivery) = (way.name(), &notification.event, &notification.id);
            if outcome.is_ok {
                tracing::info!(way, event, delivery, attempts, "notified");
                break;
            }
            if !outcome.may_retry || attempts >= attempts_max {
                tracing::warn!(
                    way,
                    event,
                    delivery,
                    attempts,
                    says = outcome.says,
                    "a notification was not delivered"
                );
                break;
            }
            tokio::time::sleep(backoff(attempts)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wait_is_twice_the_one_before_and_none_is_endless() {
        let waits: Vec<u64> = (1..=9).map(|attempts| backoff(attempts).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff(u32::MAX), BACKOFF_MAX);
    }
}
