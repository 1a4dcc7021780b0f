//! Whether this node holds back because its peers have events that it lacks: what looks open here may have been done long ago.
//!
//! What peers say they have may be made up, and nobody can tell before it comes. So words alone hold a node up for a while, and
//! all words together for half of the time at most. The rule:
//!
//! * It holds back from when it lacks 64 events until it lacks none.
//! * It waits [`Timing::behind_max`] (30 s) for them, and anew whenever a sixteenth of them has come or 64 have been added. What has
//!   not come by then is given up: from then on only what is lacking beyond it counts.
//! * When it has held back for [`Timing::behind_total`] (10 min) it gives up whatever is lacking, until it has made up for all of
//!   that. A minute of not holding back, whenever it is, makes up for a minute of holding back.
//!
//! A sixteenth in 30 s is the pace of a node that has caught up in 8 min. Nothing but claiming depends on this, and a job that is
//! claimed too early is at worst executed twice.

use std::time::Duration;

use super::config::Timing;
use crate::time::Monotonic;

/// Events that this node lacks before it holds back, and by which they grow before it waits anew. Fewer are on their way at any
/// time.
const EVENTS_MIN: u64 = 64;
/// By this part of them they have to become fewer.
const PROGRESS: u64 = 16;

/// What is waited for.
#[derive(Clone, Copy, Debug)]
struct Wait {
    /// Events that were lacking when it was counted last, without those that were given up.
    counted: u64,
    until: Monotonic,
}

/// How far this node is behind its peers' logs, and how long it has held back for that.
#[derive(Clone, Copy, Debug)]
pub(super) struct CatchingUp {
    lacking: u64,
    /// Of these, what did not come in time.
    given_up: u64,
    wait: Option<Wait>,
    /// For how long it held back, without what it has made up for.
    held: Duration,
    /// It makes up for all of it before it holds back again.
    resting: bool,
    /// Up to when that was added up.
    passed: Monotonic,
}

impl CatchingUp {
    pub(super) fn new(now: Monotonic) -> Self {
        Self { lacking: 0, given_up: 0, wait: None, held: Duration::ZERO, resting: false, passed: now }
    }

    pub(super) fn holds_back(&self, now: Monotonic) -> bool {
        self.wait.is_some_and(|wait| now < wait.until)
    }

    /// Takes in how many events peers have, as they say, that this node lacks.
    pub(super) fn set_lacking(&mut self, events: u64, timing: &Timing, now: Monotonic) {
        self.pass(timing, now);
        self.lacking = events;
        self.given_up = if self.resting { events } else { self.given_up.min(events) };
        let missing = events - self.given_up;
        let is_news = match self.wait {
            None => missing >= EVENTS_MIN,
            Some(Wait { counted, .. }) => {
                missing < counted - counted / PROGRESS || missing >= counted.saturating_add(EVENTS_MIN)
            }
        };
        if missing == 0 {
            self.wait = None;
        } else if is_news {
            let left = timing.behind_total.saturating_sub(self.held);
            self.wait = Some(Wait { counted: missing, until: now + timing.behind_max.min(left) });
        }
    }

    /// Adds up the time since the last call, and ends a wait that was in vain.
    fn pass(&mut self, timing: &Timing, now: Monotonic) {
        let held_until = self.wait.map_or(self.passed, |wait| wait.until.min(now));
        self.held += held_until - self.passed;
        self.resting |= self.held >= timing.behind_total;
        if self.wait.is_some_and(|wait| wait.until <= now) {
            self.wait = None;
            self.given_up = self.lacking;
        }
        self.held = self.held.saturating_sub(now - held_until);
        self.resting &= !self.held.is_zero();
        self.passed = self.passed.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells the same node one count after the other, each so many seconds after the one before.
    struct Node {
        catching_up: CatchingUp,
        now: Monotonic,
    }

    impl Node {
        fn new() -> Self {
            Self { catching_up: CatchingUp::new(Monotonic(0)), now: Monotonic(0) }
        }

        fn hears(&mut self, events: u64) -> bool {
            self.catching_up.set_lacking(events, &Timing::default(), self.now);
            self.holds_back()
        }

        fn holds_back(&self) -> bool {
            self.catching_up.holds_back(self.now)
        }

        fn after(&mut self, seconds: u64) -> &mut Self {
            self.now = self.now + Duration::from_secs(seconds);
            self
        }

        /// Seconds of holding back while every second another count is heard.
        fn held_through(&mut self, counts: impl IntoIterator<Item = u64>) -> u64 {
            counts.into_iter().map(|events| u64::from(self.after(1).hears(events))).sum()
        }
    }

    #[test]
    fn a_node_that_comes_nearer_holds_back_until_it_lacks_nothing() {
        let mut node = Node::new();
        assert!(!node.hears(63), "a few are on their way at any time");
        assert!(node.hears(1_000_000));
        // ten windows: a sixteenth in each is enough
        for left in [930_000, 860_000, 800_000, 740_000, 690_000, 640_000, 400_000, 100_000, 500, 20] {
            assert!(node.after(29).hears(left), "{left}");
        }
        assert!(!node.hears(0));
        assert!(node.after(1).hears(64), "and again for the next");
    }

    #[test]
    fn what_does_not_become_much_fewer_in_time_is_given_up() {
        let mut node = Node::new();
        assert!(node.hears(1_000_000_000));
        // one real frame every 25 s
        assert!(node.after(25).hears(999_999_999));
        assert!(!node.after(25).hears(999_999_998));
        assert!(!node.after(25).hears(999_999_997) && !node.after(3_600).hears(999_999_000));
    }

    #[test]
    fn what_was_given_up_does_not_hide_what_is_lacking_beyond_it() {
        let mut node = Node::new();
        assert!(node.hears(100));
        assert!(!node.after(31).hears(100) && !node.after(5).hears(163));
        assert!(node.after(5).hears(50_100), "50,000 more are no reason to go on claiming");
        assert!(node.after(20).hears(7_000) && node.after(20).hears(150));
        assert!(!node.after(1).hears(100), "caught up but for what nobody gives");
        // a busy cluster: bursts on top of what is stuck
        assert!(node.after(60).hears(180) && !node.after(1).hears(100));
    }

    #[test]
    fn what_is_told_bit_by_bit_is_waited_for_as_a_whole() {
        let mut node = Node::new();
        assert!(node.hears(100));
        assert!(node.after(10).hears(60_000));
        assert!(node.after(25).hears(55_000), "a sixteenth of the 60,000 has come");
        assert!(node.after(25).hears(40_000));
    }

    #[test]
    fn no_invention_holds_a_node_up_for_more_than_half_of_the_time() {
        const HOURS: u64 = 24;
        type Lacking = fn(u64) -> u64;
        let patterns: [(&str, Lacking); 5] = [
            ("grows", |second| 1_000 + 64 * second),
            ("grows in leaps", |second| 100 << (second / 29).min(40)),
            ("comes and goes", |second| if second % 29 == 28 { 0 } else { 1_000_000 }),
            ("shrinks as it has to, again and again", |second| (1 << 40) >> ((second / 29) % 30)),
            ("stands still", |_| 1_000_000),
        ];
        for (name, pattern) in patterns {
            let mut node = Node::new();
            let mut longest = 0;
            let mut at_once = 0;
            let mut held = 0;
            for second in 0..HOURS * 3_600 {
                if node.after(1).hears(pattern(second)) {
                    held += 1;
                    at_once += 1;
                } else {
                    at_once = 0;
                }
                longest = longest.max(at_once);
            }
            assert!(longest <= 600, "{name}: {longest} s at a stretch");
            assert!(held <= HOURS * 1_800 + 600, "{name}: {held} s");
        }
    }

    #[test]
    fn holding_back_is_made_up_for_before_it_begins_again() {
        let mut node = Node::new();
        assert_eq!(node.held_through((0..600).map(|second| 1_000 + 64 * second)), 600);
        assert_eq!(node.held_through((600..1_200).map(|second| 1_000 + 64 * second)), 0);
        assert_eq!(node.held_through((1_200..1_300).map(|second| 1_000 + 64 * second)), 100);
        // what it makes up for in between counts as well
        let mut node = Node::new();
        let mut bursts = (0..7_200).map(|second| if second % 10 < 2 { 500 } else { 0 });
        assert_eq!(node.held_through(bursts.by_ref()), 7_200 / 5);
    }
}
