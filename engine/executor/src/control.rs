//! How a running job is told to stop, and how it asks whether it may go on.
//!
//! Says nothing about why; the node decides. Invariant: a stop that was sent before anybody listened is heard.

use std::{future::Future, time::Duration};

use tokio::sync::watch;

/// What the caller wants of a running job. Sent through a watch channel; the job reads the latest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    #[default]
    Continue,
    /// End.
    Stop(Stop),
}

/// An order to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Why.
    pub reason: StopReason,
    /// Between TERM and KILL for the step that runs.
    pub grace: Duration,
}

/// Why a job ends before its last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Somebody cancelled it: steps with `always()` or `cancelled()` still run. A second stop of any kind ends those too.
    Cancelled,
    /// A greater token was seen: nothing of it runs any more.
    ClaimLost,
    /// This node goes down: nothing of it runs any more here.
    Shutdown,
}

impl StopReason {
    /// Whether steps that clean up still run.
    pub fn cleans_up(self) -> bool {
        self == StopReason::Cancelled
    }

    /// What the log says.
    pub fn as_str(self) -> &'static str {
        match self {
            StopReason::Cancelled => "the job was cancelled",
            StopReason::ClaimLost => "this peer's claim on the job was lost",
            StopReason::Shutdown => "this node shuts down",
        }
    }
}

/// Asked before each step that would run.
pub trait Gate: Send {
    /// Whether this node's claim still carries the greatest token, and so step `number` may start.
    fn may_start(&mut self, number: u32) -> impl Future<Output = bool> + Send;
}

/// The gate of a job that nobody else can claim.
#[derive(Clone, Copy, Debug)]
pub struct AlwaysOpen;

impl Gate for AlwaysOpen {
    async fn may_start(&mut self, _number: u32) -> bool {
        true
    }
}

/// Hears each stop once.
#[derive(Debug)]
pub(crate) struct StopListener {
    channel: watch::Receiver<Control>,
    heard: Control,
}

impl StopListener {
    pub(crate) fn new(channel: watch::Receiver<Control>) -> Self {
        Self { channel, heard: Control::Continue }
    }

    /// A stop that has not been heard yet.
    pub(crate) fn now(&mut self) -> Option<Stop> {
        let wanted = *self.channel.borrow_and_update();
        self.hear(wanted)
    }

    /// Waits for a stop that has not been heard yet; for ever when nobody can send one.
    pub(crate) async fn next(&mut self) -> Stop {
        loop {
            if let Some(stop) = self.now() {
                return stop;
            }
            if self.channel.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn hear(&mut self, wanted: Control) -> Option<Stop> {
        if wanted == self.heard {
            return None;
        }
        self.heard = wanted;
        match wanted {
            Control::Stop(stop) => Some(stop),
            Control::Continue => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOP: Stop = Stop { reason: StopReason::Cancelled, grace: Duration::from_secs(1) };

    #[tokio::test]
    async fn a_stop_is_heard_once_also_if_it_was_sent_before_and_the_sender_is_gone() {
        let (sender, receiver) = watch::channel(Control::Stop(STOP));
        let mut listener = StopListener::new(receiver);
        assert_eq!(listener.next().await, STOP);
        assert_eq!(listener.now(), None);
        let harder = Stop { reason: StopReason::ClaimLost, ..STOP };
        sender.send_replace(Control::Stop(harder));
        drop(sender);
        assert_eq!(listener.next().await, harder);
        assert_eq!(listener.now(), None);
    }
}
