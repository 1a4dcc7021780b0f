//! What the demo says while it goes on: plain lines with the time since it began. With `--json` it says nothing until its report.

use crate::clock::Clock;
use crate::terminal;

/// The demo's voice and its clock.
pub(super) struct Teller {
    clock: Clock,
    silent: bool,
}

impl Teller {
    pub(super) fn new(silent: bool) -> Self {
        Self { clock: Clock::start(), silent }
    }

    /// Milliseconds since the demo began.
    pub(super) fn now_ms(&self) -> u64 {
        self.clock.monotonic().0
    }

    /// A line with the time.
    pub(super) fn say(&self, text: &str) {
        self.line(&format!("{:>5} s  {text}", tenths(self.now_ms())));
    }

    /// A line under the one before.
    pub(super) fn add(&self, text: &str) {
        self.line(&format!("         {text}"));
    }

    /// An empty line and a heading.
    pub(super) fn chapter(&self, text: &str) {
        self.line("");
        self.line(text);
    }

    fn line(&self, text: &str) {
        if !self.silent {
            terminal::line(text);
        }
    }
}

/// Milliseconds as seconds with one digit after the point.
pub(super) fn tenths(ms: u64) -> String {
    format!("{}.{}", ms / 1000, ms % 1000 / 100)
}
