//! How much work of the peers there is for this node, for those who share its host with other work. Asks nobody, changes nothing.

use super::held::Room;
use super::jobs::Stage;
use super::outlook::is_placed_at_author;
use super::{Purpose, Scheduler};
use crate::views::Views;

/// Jobs of the peers' runs that take, or would take, slots of this node. Neither tasks for programs nor jobs of
/// `placement: author` do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct P2pLoad {
    /// Open jobs that this node would claim if it had a slot: when their turn here comes, if nobody else takes them before. None while
    /// it claims nothing at all.
    pub pending: u32,
    /// Jobs that have a slot: claimed, about to be, or executed.
    pub running: u32,
}

impl Scheduler {
    /// How much there is to do. One pass over the open jobs.
    pub fn p2p_load(&self, views: &Views) -> P2pLoad {
        let asked = self
            .in_flight
            .values()
            .filter(|purpose| matches!(purpose, Purpose::Claim { room: Room::Slot, .. }));
        let held = self.held.values().filter(|held| held.room == Room::Slot);
        let running = held.count() + asked.count();
        let pending = match self.declines_all(self.last_now) {
            Some(_) => 0,
            None => self.jobs.ready.len() + self.waiting_for_turn(views),
        };
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        P2pLoad { pending: count(pending), running: count(running) }
    }

    fn waiting_for_turn(&self, views: &Views) -> usize {
        let waiting = self.jobs.all().filter(|entry| entry.stage == Stage::Waiting);
        let takes_slot = |run: &crate::views::run::Run| {
            !run.is_task() && !is_placed_at_author(run) && self.allow.covers(run, &self.chain.author)
        };
        waiting.filter(|entry| views.runs().live(&entry.run).is_some_and(takes_slot)).count()
    }
}
