//! Notifications: a command or a signed webhook of this host's operator hears of the end of runs and of alarms.
//!
//! Who tells, without a leader and (as far as the members hear each other) once: of a run, the node on which it was submitted; of a
//! member that left, the one that the hamming rule names among those that live; of its disk, each node. [`watch`] notices, [`delivery`]
//! delivers. Both only read: nothing here writes to the log, and nothing waits for a delivery. What does not fit the queue is dropped
//! and counted in the node's own log.
//!
//! Not durable: what is queued when the node ends is tried for a few seconds more and then lost.

mod command;
mod delivery;
mod watch;
mod webhook;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use wfengine_api::Failure;

pub(crate) use delivery::Outcome;
pub(crate) use watch::begin;

/// Notifications that wait for one way at most.
const WAITING_MAX: usize = 256;

/// What can be heard of.
pub(crate) const EVENTS: &[&str] =
    &["run.completed", "run.failed", "run.cancelled", "conflict", "disk.low", "node.left"];

/// How this host's operator wants to hear of it.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Program and arguments; empty: none.
    pub(crate) command: Vec<String>,
    /// Where to post to; empty: nowhere.
    pub(crate) webhook: String,
    /// The file with the secret that signs.
    pub(crate) secret_file: PathBuf,
    /// Which of [`EVENTS`].
    pub(crate) events: Vec<String>,
    /// How long one attempt may take.
    pub(crate) timeout: Duration,
    /// Attempts at most.
    pub(crate) attempts: u32,
    /// How long a member has to be away.
    pub(crate) left_after: Duration,
}

/// One notification, as it is sent.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Notification {
    /// Names the delivery; the same in every attempt.
    pub(crate) id: String,
    /// One of [`EVENTS`], or `test`.
    pub(crate) event: String,
    /// RFC 3339.
    pub(crate) time: String,
    /// The same in milliseconds since 1970.
    pub(crate) time_ms: u64,
    /// The node that tells: its name and id.
    pub(crate) node: Named,
    /// Its cluster.
    pub(crate) cluster: String,
    /// For people.
    pub(crate) text: String,
    /// The run that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) run: Option<RunTold>,
    /// The member that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) member: Option<Named>,
    /// Free bytes where the log lies, where it is about the disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) free_bytes: Option<u64>,
}

/// A node.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) id: String,
}

/// A run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RunTold {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) attempt: u32,
    pub(crate) repository: String,
}

impl Notification {
    /// About nothing in particular.
    pub(crate) fn new(
        event: &str,
        node: Named,
        cluster: String,
        text: String,
        now_ms: u64,
    ) -> Result<Self, Failure> {
        Ok(Self {
            id: data_encoding::HEXLOWER.encode(&crate::home::random::<16>()?),
            event: event.to_owned(),
            time: wfengine_github::dates::rfc3339(now_ms / 1_000),
            time_ms: now_ms,
            node,
            cluster,
            text,
            run: None,
            member: None,
            free_bytes: None,
        })
    }
}

/// The ways that a notification goes, each with a queue of its own: one that is slow holds up no other.
#[derive(Debug)]
pub(crate) struct Ways {
    queues: Vec<(&'static str, mpsc::Sender<Arc<Notification>>)>,
    workers: Vec<JoinHandle<()>>,
}

impl Ways {
    /// Opens those that are wanted; none if none are.
    pub(crate) fn open(wanted: &Wanted) -> Result<Self, Failure> {
        let (mut queues, mut workers) = (Vec::new(), Vec::new());
        for way in delivery::ways(wanted)? {
            let (queue, waiting) = mpsc::channel(WAITING_MAX);
            queues.push((way.name(), queue));
            workers.push(tokio::spawn(delivery::deliver(way, waiting, wanted.attempts)));
        }
        Ok(Self { queues, workers })
    }

    /// Whether anybody wants to hear of anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Hands a notification on, at once: a way whose queue is full misses it.
    pub(crate) fn send(&self, notification: Notification) {
        let notification = Arc::new(notification);
        for (way, queue) in &self.queues {
            if queue.try_send(Arc::clone(&notification)).is_err() {
                tracing::warn!(
                    way,
                    event = notification.event,
                    "a notification was dropped: too many wait for this way"
                );
            }
        }
    }

    /// Takes nothing more, and waits for what is queued, but not for long.
    pub(crate) async fn close(self, wait_max: Duration) {
        drop(self.queues);
        let aborts: Vec<_> = self.workers.iter().map(JoinHandle::abort_handle).collect();
        let all = async {
            for worker in self.workers {
                let _ = worker.await;
            }
        };
        if tokio::time::timeout(wait_max, all).await.is_err() {
            tracing::warn!("notifications that were not delivered yet are lost with the end of the node");
            aborts.iter().for_each(tokio::task::AbortHandle::abort);
        }
    }
}

/// Whether every way that is wanted could be gone.
pub(crate) fn check(wanted: &Wanted) -> Result<(), Failure> {
    delivery::ways(wanted).map(drop)
}

/// Sends one notification by every way, once, and says what came back.
pub(crate) async fn try_once(
    wanted: &Wanted,
    notification: &Notification,
) -> Result<Vec<(&'static str, Outcome)>, Failure> {
    let mut outcomes = Vec::new();
    for way in delivery::ways(wanted)? {
        outcomes.push((way.name(), way.attempt(notification).await));
    }
    Ok(outcomes)
}
