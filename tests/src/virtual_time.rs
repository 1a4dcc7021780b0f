//! The one time of a test: it stands still, and whoever waits for it moves it.
//!
//! The stand-in's clock, the nodes' wall clocks and the clients' waits are all this. A wait is over at once and has taken as long
//! as it was to take; what was to happen meanwhile has happened, each thing at its own time.
//!
//! Invariants: it never goes back; a host's wall time may be wrong, its monotonic time is not.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use wfengine_github::{BoxFuture, Clock};

use crate::standin::StandinClock;

/// What happens by itself as time passes.
pub trait Agenda: Send + Sync {
    /// When the next thing happens, counted from the beginning.
    fn next(&self) -> Option<Duration>;
    /// It happens: the time is now. What it brings about in turn is no earlier.
    fn happen(&self);
}

/// Time since the test began.
pub struct Time {
    began_s: u64,
    passed: Mutex<Duration>,
    standin: StandinClock,
    agenda: Mutex<Option<Weak<dyn Agenda>>>,
}

impl fmt::Debug for Time {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Time").field("passed", &self.passed()).finish_non_exhaustive()
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Time {
    /// The time of a stand-in, from where it stands.
    pub fn of(standin: &StandinClock) -> Self {
        Self {
            began_s: standin.now(),
            passed: Mutex::default(),
            standin: standin.clone(),
            agenda: Mutex::new(None),
        }
    }

    /// From here on these things happen as time passes.
    pub fn follow(&self, agenda: Weak<dyn Agenda>) {
        *held(&self.agenda) = Some(agenda);
    }

    /// Moves it.
    pub fn pass(&self, by: Duration) {
        self.pass_until(self.passed() + by);
    }

    /// Moves it to a moment, counted from the beginning.
    pub fn pass_until(&self, end: Duration) {
        let agenda = { held(&self.agenda).clone() }.and_then(|agenda| agenda.upgrade());
        if let Some(agenda) = agenda {
            while let Some(at) = agenda.next().filter(|at| *at <= end) {
                self.set(at);
                agenda.happen();
            }
        }
        self.set(end);
    }

    fn set(&self, at: Duration) {
        let mut passed = held(&self.passed);
        *passed = at.max(*passed);
        self.standin.set(self.began_s + passed.as_secs());
    }

    /// Since the beginning.
    pub fn passed(&self) -> Duration {
        *held(&self.passed)
    }

    /// Milliseconds since 1970, as it is.
    pub fn wall_ms(&self) -> u64 {
        self.began_s * 1_000 + u64::try_from(self.passed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The clock of one host, whose wall time may be wrong.
#[derive(Clone, Debug)]
pub struct HostClock {
    time: Arc<Time>,
    wrong_by_s: i64,
}

impl HostClock {
    /// A clock that is wrong by so many seconds.
    pub fn of(time: &Arc<Time>, wrong_by_s: i64) -> Self {
        Self { time: Arc::clone(time), wrong_by_s }
    }

    /// Milliseconds since 1970, as this host believes.
    pub fn wall_ms(&self) -> u64 {
        self.time.wall_ms().saturating_add_signed(self.wrong_by_s * 1_000)
    }

    /// The time behind it.
    pub fn time(&self) -> &Arc<Time> {
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
