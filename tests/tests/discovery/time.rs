//! The one time of a test: it stands still, and whoever waits for it moves it.
//!
//! The stand-in's clock, the nodes' wall clocks and the clients' waits are all this. A wait is over at once and has taken as long
//! as it was to take.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wfengine_github::{BoxFuture, Clock};
use wfengine_tests::standin::StandinClock;

/// Time since the test began.
#[derive(Debug)]
pub(crate) struct Time {
    began_s: u64,
    passed: Mutex<Duration>,
    standin: StandinClock,
}

impl Time {
    /// The time of a stand-in, from where it stands.
    pub(crate) fn of(standin: &StandinClock) -> Self {
        Self { began_s: standin.now(), passed: Mutex::default(), standin: standin.clone() }
    }

    /// Moves it.
    pub(crate) fn pass(&self, by: Duration) {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        *passed += by;
        self.standin.set(self.began_s + passed.as_secs());
    }

    /// Since the beginning.
    pub(crate) fn passed(&self) -> Duration {
        *self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since 1970, as it is.
    pub(crate) fn wall_ms(&self) -> u64 {
        self.began_s * 1_000 + u64::try_from(self.passed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The clock of one host, whose wall time may be wrong.
#[derive(Clone, Debug)]
pub(crate) struct HostClock {
    time: Arc<Time>,
    wrong_by_s: i64,
}

impl HostClock {
    pub(crate) fn of(time: &Arc<Time>, wrong_by_s: i64) -> Self {
        Self { time: Arc::clone(time), wrong_by_s }
    }

    /// Milliseconds since 1970, as this host believes.
    pub(crate) fn wall_ms(&self) -> u64 {
        self.time.wall_ms().saturating_add_signed(self.wrong_by_s * 1_000)
    }

    pub(crate) fn time(&self) -> &Arc<Time> {
        &self.time
    }
}

impl Clock for HostClock {
    fn now(&self) -> Duration {
        self.time.passed()
    }

    fn wall_s(&self) -> u64 {
        self.wall_ms() / 1_000
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        self.time.pass(duration);
        Box::pin(std::future::ready(()))
    }
}
