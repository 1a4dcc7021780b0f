//! The end of a process in the middle of what it does: after so many of its doings nothing of it goes on.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

#[derive(Default)]
struct Planned {
    /// Doings until the end.
    left: Option<u64>,
    is_dead: bool,
}

/// Counts what a process does to its log and its engine, and stops it there.
#[derive(Default)]
pub(crate) struct Cuts {
    planned: Mutex<Planned>,
    reached: Notify,
}

impl Cuts {
    fn planned(&self) -> MutexGuard<'_, Planned> {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process ends after so many doings. Before and after each one counts apart.
    pub(crate) fn plan(&self, after: u64) {
        self.planned().left = Some(after);
    }

    /// A new process begins.
    pub(crate) fn revive(&self) {
        *self.planned() = Planned::default();
    }

    /// Comes back when the process is at its end.
    pub(crate) async fn reached(&self) {
        self.reached.notified().await;
    }

    /// Called before and after everything that is done. Never comes back in a process that has ended.
    pub(crate) async fn pass(&self) {
        let is_over = {
            let mut planned = self.planned();
            planned.left = planned.left.map(|left| left.saturating_sub(1));
            if planned.left == Some(0) && !planned.is_dead {
                planned.is_dead = true;
                self.reached.notify_one();
            }
            planned.is_dead
        };
        if is_over {
            std::future::pending::<()>().await;
        }
    }
}
