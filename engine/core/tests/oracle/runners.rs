//! The oracle of runners: each question asked of all events anew.

use super::*;
use wfengine_core::views::runners::{Counts, Runners};

impl Oracle {
    fn of_submitters(&self) -> impl Iterator<Item = &Fact> {
        self.facts
            .iter()
            .filter(|fact| self.counts(fact) && self.has(&fact.event.chain.author, Role::Submitter))
    }

    /// Compares pools, runners and what is counted of them.
    pub(super) fn compare_runners(&self, shown: &Runners) {
        let mut pools: BTreeMap<(PeerId, String), Vec<(&Fact, &PoolChanged)>> = BTreeMap::new();
        for fact in self.of_submitters() {
            if let Body::PoolChanged(body) = &fact.body {
                pools.entry((fact.event.chain.author, body.pool.clone())).or_default().push((fact, body));
            }
        }
        let expected: Vec<_> = pools
            .iter()
            .map(|((author, _), said)| {
                let (last, body) = said[said.len() - 1];
                let on = |at: usize| said[at].1.is_on;
                let turned_on = (1..said.len()).rev().find(|at| on(*at) && !on(at - 1)).unwrap_or(0);
                (*author, last.id, (*body).clone(), said[turned_on].0.event.time_ms, last.event.time_ms)
            })
            .collect();
        let found: Vec<_> = shown
            .all_pools()
            .map(|pool| (pool.author, pool.id, pool.said.clone(), pool.since_ms, pool.time_ms))
            .collect();
        assert_eq!(expected, found, "pools");

        let mut all = BTreeMap::new();
        let mut live = BTreeSet::new();
        let mut counts: BTreeMap<(PeerId, String), Counts> = BTreeMap::new();
        for intent in self.of_submitters() {
            let Body::RunnerIntended(intended) = &intent.body else { continue };
            let author = intent.event.chain.author;
            let later = || {
                self.of_submitters()
                    .filter(|fact| fact.event.chain.author == author && fact.event.refs.contains(&intent.id))
            };
            let started = later().find_map(|fact| match &fact.body {
                Body::RunnerStarted(body) if body.intent == intent.id => {
                    Some((fact.id, fact.event.time_ms, RunnerStarted::clone(body)))
                }
                _ => None,
            });
            let exited = later().find_map(|fact| match &fact.body {
                Body::RunnerExited(body) if body.intent == intent.id => {
                    Some((fact.id, fact.event.time_ms, RunnerExited::clone(body)))
                }
                _ => None,
            });
            let removed = later().find_map(|fact| match &fact.body {
                Body::RunnerRemoved(body) if body.intent == intent.id => Some((fact.id, fact.event.time_ms)),
                _ => None,
            });
            let count = counts.entry((author, intended.pool.clone())).or_default();
            count.intended += 1;
            count.provisioned += u64::from(started.is_some());
            match exited.as_ref().map(|(_, _, body)| &body.end) {
                Some(RunnerEnd::Done { .. }) => count.done += 1,
                Some(RunnerEnd::Failed { .. }) => count.failed += 1,
                Some(RunnerEnd::NeverStarted { .. }) => count.never_started += 1,
                Some(RunnerEnd::Stopped { .. }) => count.stopped += 1,
                None => {}
            }
            if removed.is_none() {
                count.live += 1;
                live.insert(intent.id);
            }
            let said = (RunnerIntended::clone(intended), started, exited, removed);
            all.insert(intent.id, (author, intent.event.time_ms, said));
        }
        let found: BTreeMap<_, _> = shown
            .all()
            .map(|runner| {
                let runner = runner.into_owned();
                let said = (runner.intended, runner.started, runner.exited, runner.removed);
                (runner.intent, (runner.author, runner.time_ms, said))
            })
            .collect();
        assert_eq!(all, found, "runners");
        assert_eq!(live, shown.live().map(|runner| runner.intent).collect(), "live runners");
        let found: BTreeMap<_, _> =
            shown.all_counts().map(|(peer, pool, counts)| ((*peer, pool.to_owned()), *counts)).collect();
        assert_eq!(counts, found, "counts");
    }
}
