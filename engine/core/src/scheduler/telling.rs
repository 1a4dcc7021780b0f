//! What this node says of itself: beats on time, and at once when something changes that others wait for.

use wfengine_storage_format::JobId;

use super::Scheduler;
use super::beat::{Beat, CLAIMS_PER_BEAT_MAX, DECLINES_PER_BEAT_MAX, Decline, NamedClaim};
use super::jobs::Stage;
use super::outlook::order_of;
use crate::time::Monotonic;
use crate::views::Views;

impl Scheduler {
    pub(super) fn beat_soon(&mut self, now: Monotonic) {
        let soonest = self.last_beat.map_or(now, |last| (last + self.timing.beat_soon).max(now));
        self.next_beat = self.next_beat.min(soonest);
    }

    pub(super) fn beat(&mut self, views: &Views, now: Monotonic) {
        self.next_beat = now + self.timing.beat;
        self.last_beat = Some(now);
        self.said_last = (self.free_slots(), self.programs.len(), self.declines_all(now));
        let claims = self.named_claims();
        let declines = self.declines_to_tell(views);
        let mut parts: Vec<&[NamedClaim]> = claims.chunks(CLAIMS_PER_BEAT_MAX).collect();
        if parts.is_empty() {
            parts.push(&[]);
        }
        // beats nobody took are worth nothing any more
        self.beats.clear();
        for part in parts {
            self.beat_number += 1;
            self.beats.push_back(Beat {
                chain: self.chain,
                number: self.beat_number,
                healthy: self.peers.is_healthy(now),
                free_slots: self.said_last.0,
                programs: self.said_last.1,
                allowed: self.allow.summary(),
                declines_all: self.said_last.2,
                claims: part.to_vec(),
                declines: declines.clone(),
            });
        }
    }

    /// Declined jobs that others may be waiting for: those this peer would be first for, and those it will never run.
    fn declines_to_tell(&self, views: &Views) -> Vec<(JobId, Decline)> {
        const LOOKED_AT_MAX: usize = 256;
        let mut told = Vec::new();
        for job in self.jobs.declined().iter().take(LOOKED_AT_MAX) {
            let Some(entry) = self.jobs.get(job) else { continue };
            let Stage::Declined(reason) = entry.stage else { continue };
            if matches!(reason, Decline::NotEligible | Decline::PlacedElsewhere) {
                continue;
            }
            let never = matches!(reason, Decline::Unable | Decline::Exhausted);
            let first = never
                || views.runs().live_job(&entry.run, job).is_some_and(|(run, job)| {
                    order_of(views, run, job).first().is_some_and(|place| place.peer == self.chain.author)
                });
            if first {
                told.push((*job, reason));
            }
            if told.len() >= DECLINES_PER_BEAT_MAX {
                break;
            }
        }
        told
    }
}
