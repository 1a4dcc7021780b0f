//! What this node counts while it serves: how long things took, and what became of claims. Starts from nothing with the process.
//!
//! Only what this node did itself is counted, so that the figures of all nodes add up.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use wfengine_api::answers::{Metric, MetricKind, Sample};
use wfengine_core::admitted::Admitted;
use wfengine_core::views::Views;
use wfengine_storage_format::{Body, PeerId};

/// Bounds of durations, in seconds.
const BOUNDS: [f64; 14] =
    [0.005, 0.02, 0.1, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0];
/// Pairs of repository and workflow that have figures of their own; further ones are counted together.
const NAMED_MAX: usize = 100;
/// What further ones are called.
const OTHERS: &str = "other";

#[derive(Clone, Debug, Default)]
struct Histogram {
    sum: f64,
    count: u64,
    /// One for each bound.
    buckets: [u64; BOUNDS.len()],
}

impl Histogram {
    fn observe(&mut self, seconds: f64) {
        self.sum += seconds;
        self.count += 1;
        let place = BOUNDS.iter().position(|bound| seconds <= *bound);
        if let Some(bucket) = place.and_then(|place| self.buckets.get_mut(place)) {
            *bucket += 1;
        }
    }

    fn sample(&self, labels: BTreeMap<String, String>) -> Sample {
        let buckets = BOUNDS.into_iter().zip(self.buckets).collect();
        Sample { labels, value: self.sum, count: self.count, buckets }
    }
}

/// Repository and workflow.
type Work = (String, String);

#[derive(Debug, Default)]
struct Counts {
    starts: BTreeMap<Work, Histogram>,
    runs: BTreeMap<Work, Histogram>,
    runner_starts: Histogram,
    commits: Histogram,
    claims_won: u64,
    claims_lost: u64,
    claims_conflicting: u64,
    received_bytes: u64,
}

/// The counters of one node.
#[derive(Debug, Default)]
pub(crate) struct Meter(Mutex<Counts>);

fn seconds(from_ms: u64, to_ms: u64) -> f64 {
    to_ms.saturating_sub(from_ms) as f64 / 1_000.0
}

fn of(all: &mut BTreeMap<Work, Histogram>, work: Work) -> &mut Histogram {
    let known = all.contains_key(&work) || all.len() < NAMED_MAX;
    all.entry(if known { work } else { (OTHERS.to_owned(), OTHERS.to_owned()) }).or_default()
}

impl Meter {
    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An event that was admitted, with the views that it led to.
    pub(super) fn event(&self, event: &Admitted, views: &Views, me: &PeerId) {
        let is_own = event.author() == *me;
        let mut counts = self.counts();
        match &event.body {
            Body::JobClaimed(claimed) => {
                let job = views.runs().live_job(&claimed.run, &claimed.job);
                let rivals = job.is_some_and(|(_, job)| {
                    job.claims.iter().any(|claim| claim.id != event.id && claim.epoch == claimed.epoch)
                });
                // of two claims that met, each node counts its own
                if rivals && is_own {
                    counts.claims_conflicting += 1;
                }
            }
            Body::JobAborted(_) if is_own => counts.claims_lost += 1,
            Body::RunnerStarted(started) if is_own => {
                let intended = views.runners().live().find(|runner| runner.intent == started.intent);
                if let Some(runner) = intended {
                    counts.runner_starts.observe(seconds(runner.time_ms, event.time.0));
                }
            }
            _ => {}
        }
        let Some(run) = event.run().filter(|_| is_own).and_then(|run| views.runs().live(&run)) else {
            return;
        };
        let (Some(submission), Some(submitted)) = (run.submission(), run.submitted.as_ref()) else { return };
        let work = (submitted.frozen.repository.clone(), submitted.name.clone());
        match &event.body {
            Body::JobStarted(_) => {
                of(&mut counts.starts, work).observe(seconds(submission.time_ms, event.time.0));
            }
            Body::JobCompleted(_) | Body::JobFailed(_) => {
                counts.claims_won += 1;
                if run.status.is_terminal() {
                    of(&mut counts.runs, work).observe(seconds(submission.time_ms, event.time.0));
                }
            }
            _ => {}
        }
    }

    /// A command of this node became durable.
    pub(super) fn committed(&self, took: std::time::Duration) {
        self.counts().commits.observe(took.as_secs_f64());
    }

    /// Frames that a peer brought.
    pub(super) fn received(&self, bytes: u64) {
        self.counts().received_bytes += bytes;
    }

    /// All of it.
    pub(crate) fn metrics(&self) -> Vec<Metric> {
        let counts = self.counts();
        let by_work = |all: &BTreeMap<Work, Histogram>| {
            let sample = |((repository, workflow), histogram): (&Work, &Histogram)| {
                let labels = [("repository", repository), ("workflow", workflow)];
                histogram.sample(labels.map(|(name, value)| (name.to_owned(), value.clone())).into())
            };
            all.iter().map(sample).collect()
        };
        let histogram = |name: &str, help: &str, samples: Vec<Sample>| Metric {
            name: name.to_owned(),
            help: help.to_owned(),
            kind: MetricKind::Histogram,
            samples,
        };
        let claims = [
            ("won", counts.claims_won),
            ("lost", counts.claims_lost),
            ("conflicting", counts.claims_conflicting),
        ];
        vec![
            histogram(
                "wfengine_job_start_seconds",
                "Seconds from a run's submission until a job of it began here",
                by_work(&counts.starts),
            ),
            histogram(
                "wfengine_run_seconds",
                "Seconds from a run's submission until it ended here",
                by_work(&counts.runs),
            ),
            histogram(
                "wfengine_runner_start_seconds",
                "Seconds from the decision to start a runner until its container ran",
                vec![counts.runner_starts.sample(BTreeMap::new())],
            ),
            histogram(
                "wfengine_commit_seconds",
                "Seconds until a command of this node was durable",
                vec![counts.commits.sample(BTreeMap::new())],
            ),
            Metric::of(
                MetricKind::Counter,
                "wfengine_claims",
                "Claims of this node by what became of them; conflicting: another peer claimed the same",
                claims.map(|(outcome, count)| (vec![("outcome", outcome.to_owned())], count as f64)).into(),
            ),
            Metric::one(
                MetricKind::Counter,
                "wfengine_replication_received_bytes",
                "Bytes of frames that peers brought and that were admitted",
                counts.received_bytes as f64,
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_first_bucket_that_holds_it() {
        let mut histogram = Histogram::default();
        for seconds in [0.005, 0.006, 100_000.0] {
            histogram.observe(seconds);
        }
        assert_eq!((histogram.count, histogram.buckets[0], histogram.buckets[1]), (3, 1, 1));
        assert_eq!(histogram.buckets.iter().sum::<u64>(), 2);
    }

    #[test]
    fn names_are_bounded() {
        let mut all = BTreeMap::new();
        for n in 0..NAMED_MAX + 50 {
            of(&mut all, (format!("octo/{n:03}"), "ci".to_owned())).observe(1.0);
        }
        assert_eq!(all.len(), NAMED_MAX + 1);
        assert_eq!(all[&(OTHERS.to_owned(), OTHERS.to_owned())].count, 50);
    }
}
