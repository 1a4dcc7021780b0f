//! What time it is and how to wait, as a trait, so that a simulated day takes a second.
//!
//! Two clocks stand here: monotonic time, which every decision uses, and wall time, which is shown, written into an app's
//! signature, and used in place of an answer's own `date` only where there is none. The bound on one exchange with the
//! server is not waited for here; it belongs to the sockets.

use std::{future::Future, pin::Pin, time::Duration};

/// A future in a box, as a trait that is used behind a pointer needs it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A source of time. Tests bring one that they move themselves.
pub trait Clock: Send + Sync {
    /// Monotonic time since any fixed moment.
    fn now(&self) -> Duration;
    /// Wall time in seconds since 1970.
    fn wall_s(&self) -> u64;
    /// Comes back after this time.
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()>;
}

/// The clocks of this host.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        since_boot()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the clock for a client outside of a node; a node passes its own"
    )]
    fn wall_s(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| since.as_secs())
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// Time since the host was started, its sleep included: a limit of an hour is over when a laptop wakes up after a night.
#[cfg(target_os = "linux")]
fn since_boot() -> Duration {
    Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::Boottime)).unwrap_or_default()
}

#[cfg(not(target_os = "linux"))]
fn since_boot() -> Duration {
    static FIRST: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    FIRST.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_clock_goes_on_while_it_is_waited_for() {
        let before = SystemClock.now();
        SystemClock.sleep(Duration::from_millis(2)).await;
        assert!(SystemClock.now() >= before + Duration::from_millis(2));
        assert!(SystemClock.wall_s() > 1_600_000_000);
    }
}
