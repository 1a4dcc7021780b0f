//! What tells a long command to stop: INT, TERM, HUP, or a reader of stdout that went away.
//!
//! Signals are listened to from the moment this is made; none is lost between two questions. A HUP that the parent had
//! ignored (`nohup`) stays ignored.

use tokio::signal::unix::{Signal, SignalKind, signal};
use wfengine_api::{Exit, Failure};

use crate::terminal;

/// The signals of this process.
pub(super) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Option<Signal>,
    reader_left: bool,
}

impl Interrupts {
    pub(super) fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Failure::new(Exit::Failure, format!("signals cannot be heard: {error}")))
        };
        let hang_up = if hang_up_is_ignored() { None } else { Some(listen(SignalKind::hangup())?) };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up,
            reader_left: false,
        })
    }

    /// As [`Interrupts::listen`], for a command that goes on when nobody reads its output.
    pub(super) fn signals() -> Result<Self, Failure> {
        Ok(Self { reader_left: true, ..Self::listen()? })
    }

    /// The next reason to stop, in words.
    pub(super) async fn next(&mut self) -> &'static str {
        let hang_up = async {
            match &mut self.hang_up {
                Some(signal) => drop(signal.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => "interrupted",
            _ = self.terminate.recv() => "terminated",
            () = hang_up => "its terminal was closed",
            () = terminal::reader_left(), if !self.reader_left => {
                self.reader_left = true;
                "whoever read its output went away"
            }
        }
    }
}

/// Whether the process was started with HUP ignored, as Linux tells it.
fn hang_up_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}
