//! How the runners of this host are shared between GitHub's queue and the members' own jobs, over all pools.

use wfengine_autoscaler::allocation::{Share, Wanted, allocate};
use wfengine_core::scheduler::P2pLoad;

/// What all pools of the host want together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Together {
    /// Runners that the pools may have at once.
    pub(super) runners_max: u32,
    /// Runners that there are.
    pub(super) active: u32,
    /// Jobs at GitHub that wait for one.
    pub(super) waiting: u32,
}

/// What follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Shared {
    /// As it is shown.
    pub(super) share: Share,
    /// How many more runners may be started.
    pub(super) room: u32,
    /// How many of the members' jobs may run at once.
    pub(super) slots: u32,
}

/// Shares the host. `p2p_was_last`: whose turn it was where there is one for both.
pub(super) fn share(together: Together, load: P2pLoad, p2p_was_last: bool) -> Shared {
    let Together { runners_max, active, waiting } = together;
    let github = active.saturating_add(waiting);
    let wanted = Wanted { runners_max, p2p: load.pending.saturating_add(load.running), github, p2p_was_last };
    let share = allocate(&wanted);
    let free = runners_max.saturating_sub(active);
    Shared {
        share,
        room: share.github.saturating_sub(active).min(free.saturating_sub(load.running)),
        // what GitHub does not want now, members' jobs need not wait for
        slots: free.min(share.p2p.max(runners_max.saturating_sub(github))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(runners_max: u32, active: u32, waiting: u32, pending: u32, running: u32) -> Shared {
        share(Together { runners_max, active, waiting }, P2pLoad { pending, running }, false)
    }

    #[test]
    fn with_both_queues_full_the_rule_of_the_documents_holds() {
        assert_eq!(shared(8, 0, 100, 3, 0), Shared { share: Share { p2p: 3, github: 5 }, room: 5, slots: 3 });
        // the runners that are there are let finish, and none takes the place of the first that does
        assert_eq!(shared(8, 8, 100, 3, 0), Shared { share: Share { p2p: 3, github: 5 }, room: 0, slots: 0 });
        assert_eq!(shared(8, 7, 100, 3, 0).slots, 1);
        assert_eq!(shared(8, 5, 100, 0, 3), Shared { share: Share { p2p: 3, github: 5 }, room: 0, slots: 3 });
    }

    #[test]
    fn what_one_side_does_not_use_is_the_others() {
        assert_eq!(shared(8, 0, 0, 0, 0), Shared { share: Share { p2p: 0, github: 8 }, room: 8, slots: 8 });
        assert_eq!(shared(8, 0, 2, 20, 0).slots, 6);
        assert_eq!(shared(8, 0, 20, 0, 0).room, 8);
        // members' jobs that run are not counted twice
        assert_eq!(shared(8, 0, 20, 0, 6).room, 2);
    }

    #[test]
    fn both_together_never_pass_the_maximum() {
        for runners_max in 0..=6 {
            for active in 0..=runners_max {
                for running in 0..=(runners_max - active) {
                    for (waiting, pending) in [(0, 0), (0, 9), (9, 0), (9, 9), (1, 1)] {
                        let got = shared(runners_max, active, waiting, pending, running);
                        assert!(active + running + got.room <= runners_max, "{got:?}");
                        assert!(active + got.slots <= runners_max, "{got:?}");
                    }
                }
            }
        }
    }
}
