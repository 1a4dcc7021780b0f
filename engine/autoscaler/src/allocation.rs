//! How a host's runners are shared between jobs of members and jobs of GitHub. Pure.
//!
//! The documents' rule is kept as it stands ([`documented`]): with anything pending, members' jobs get as many as are pending, at most
//! half; GitHub gets the rest, at least one. On top of it ([`allocate`]) a share that one side does not use goes to the other, and
//! where there is only one runner for both sides they take turns.
//!
//! Invariants: the shares never sum to more than the maximum; whoever wants something and finds the other side idle gets it; with both
//! sides wanting and at least two runners, each has at least one.

/// Runners for each side.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Share {
    /// For jobs that members submitted.
    pub p2p: u32,
    /// For GitHub's queue.
    pub github: u32,
}

/// The rule of the documents: `p2p = min(pending, max / 2)`, `github = max(1, max - p2p)`.
pub fn documented(runners_max: u32, pending: u32) -> Share {
    let p2p = pending.min(runners_max / 2);
    Share { p2p, github: runners_max.saturating_sub(p2p).max(1) }
}

/// What both sides want and have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// Runners of this host at once.
    pub runners_max: u32,
    /// Members' jobs that wait for this host or run here.
    pub p2p: u32,
    /// GitHub's jobs that wait for this host, and its runners that are there.
    pub github: u32,
    /// The last one to begin was of a member: where there is one runner for both, GitHub is next.
    pub p2p_was_last: bool,
}

/// Runners that each side may have now.
pub fn allocate(wanted: &Wanted) -> Share {
    let Wanted { runners_max, p2p, github, p2p_was_last } = *wanted;
    if runners_max == 0 {
        return Share::default();
    }
    if runners_max == 1 && p2p > 0 && github > 0 {
        return if p2p_was_last { Share { p2p: 0, github: 1 } } else { Share { p2p: 1, github: 0 } };
    }
    let by_rule = documented(runners_max, p2p);
    let unused = by_rule.github.saturating_sub(github);
    let p2p = p2p.min(by_rule.p2p.saturating_add(unused)).min(runners_max);
    Share { p2p, github: runners_max - p2p }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_documents() {
        for (runners_max, pending, p2p, github) in
            [(8, 3, 3, 5), (8, 100, 4, 4), (2, 1, 1, 1), (8, 0, 0, 8), (1, 5, 0, 1), (64, 40, 32, 32)]
        {
            assert_eq!(documented(runners_max, pending), Share { p2p, github }, "{runners_max} {pending}");
        }
        // with a full queue at GitHub nothing flows, and the rule alone decides
        for runners_max in 2..=64 {
            for p2p in 0..=100 {
                let wanted = Wanted { runners_max, p2p, github: 1_000, p2p_was_last: false };
                assert_eq!(allocate(&wanted), documented(runners_max, p2p), "{wanted:?}");
            }
        }
    }

    #[test]
    fn nobody_starves_and_nothing_lies_idle() {
        for runners_max in 0..=20 {
            for p2p in 0..=25 {
                for github in 0..=25 {
                    for p2p_was_last in [false, true] {
                        let wanted = Wanted { runners_max, p2p, github, p2p_was_last };
                        let share = allocate(&wanted);
                        assert!(share.p2p + share.github <= runners_max, "{wanted:?} {share:?}");
                        let used = share.p2p.min(p2p) + share.github.min(github);
                        assert_eq!(used, runners_max.min(p2p + github), "{wanted:?} {share:?}");
                        if runners_max >= 2 {
                            assert!(p2p == 0 || share.p2p > 0, "{wanted:?} {share:?}");
                            assert!(github == 0 || share.github > 0, "{wanted:?} {share:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn one_runner_for_both_takes_turns() {
        let wanted = Wanted { runners_max: 1, p2p: 3, github: 3, p2p_was_last: false };
        assert_eq!(allocate(&wanted), Share { p2p: 1, github: 0 });
        assert_eq!(allocate(&Wanted { p2p_was_last: true, ..wanted }), Share { p2p: 0, github: 1 });
        assert_eq!(allocate(&Wanted { p2p: 0, ..wanted }), Share { p2p: 0, github: 1 });
        assert_eq!(allocate(&Wanted { github: 0, ..wanted }), Share { p2p: 1, github: 0 });
    }
}
