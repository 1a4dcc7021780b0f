//! The oracle of what concerns the world outside: why a run exists, and what GitHub made of it.

use super::*;

impl Oracle {
    /// Why a run exists, and which of its submissions ask for what it executes.
    pub(super) fn cause(&self, run: &RunId) -> (Option<TriggerFired>, BTreeSet<EventId>) {
        let mine = || self.facts.iter().filter(|fact| fact.body.run() == Some(*run) && self.counts(fact));
        let submissions: BTreeMap<EventId, (PeerId, &RunSubmitted)> = mine()
            .filter(|fact| self.has(&fact.event.chain.author, Role::Submitter))
            .filter_map(|fact| match &fact.body {
                Body::RunSubmitted(body) => Some((fact.id, (fact.event.chain.author, &**body))),
                _ => None,
            })
            .collect();
        let Some((canonical, (author, asked))) = submissions.first_key_value() else {
            return (None, BTreeSet::new());
        };
        // of one peer, those that any of these submissions bears out
        let fired = |by: PeerId, any_of: &[&RunSubmitted]| -> Vec<TriggerFired> {
            let fits = |fired: &TriggerFired| {
                any_of.iter().any(|asked| {
                    let RunSpec::Workflow(spec) = &asked.spec else { return false };
                    let said = [&fired.repository.name, &fired.path, &fired.git_ref, &fired.sha];
                    let frozen = &asked.frozen;
                    asked.origin == Origin::Discovery
                        && said == [&frozen.repository, &spec.path, &frozen.ref_name, &frozen.sha]
                })
            };
            let of_peer = mine().filter(|fact| fact.event.chain.author == by);
            let bodies = of_peer.filter_map(|fact| match &fact.body {
                Body::TriggerFired(body) => Some(TriggerFired::clone(body)),
                _ => None,
            });
            bodies.filter(fits).collect()
        };
        let bare = |fired: &TriggerFired| TriggerFired { sources: None, sources_len: 0, ..fired.clone() };
        let said = fired(*author, &[asked]);
        let same = || said.iter().filter(|later| bare(later) == bare(&said[0]));
        let trigger = same().find(|later| later.sources.is_some()).or(said.first()).cloned();
        let place = |fired: &TriggerFired| (fired.repository.source.clone(), fired.repository.id.clone());
        let plain = |body: &RunSubmitted| RunSubmitted {
            name: String::new(),
            priority_milli: 1,
            frozen: Frozen { run_number: 0, ..body.frozen.clone() },
            ..body.clone()
        };
        let agrees = |(id, (by, body)): &(&EventId, &(PeerId, &RunSubmitted))| {
            let of_peer = submissions.values().filter(|other| other.0 == *by);
            let of_peer: Vec<&RunSubmitted> = of_peer.map(|other| other.1).collect();
            *id == canonical
                || (plain(body) == plain(asked)
                    && fired(*by, &of_peer).first().map(place) == trigger.as_ref().map(place))
        };
        (trigger.clone(), submissions.iter().filter(agrees).map(|(id, _)| *id).collect())
    }

    /// Where a run stands at GitHub: whether it ended there, and its status by that.
    pub(super) fn elsewhere(
        &self,
        asked: &RunSubmitted,
        submissions: &BTreeMap<EventId, &Fact>,
        mine: &[&Fact],
    ) -> Option<(bool, &'static str)> {
        if asked.origin != Origin::Discovery || asked.tags.iter().any(|tag| tag == "p2p-only") {
            return None;
        }
        let mut standing: Vec<(bool, &'static str)> = Vec::new();
        let mut intents: BTreeMap<PeerId, u32> = BTreeMap::new();
        for intent in mine {
            let Body::EffectIntended(body) = &intent.body else { continue };
            let own = submissions.get(&body.submission).is_some_and(|submission| {
                submission.event.chain.author == intent.event.chain.author
                    && intent.event.refs.contains(&body.submission)
            });
            if !own || !matches!(body.effect, Effect::Dispatch { .. }) {
                continue;
            }
            let so_far = intents.entry(intent.event.chain.author).or_default();
            *so_far += 1;
            if *so_far > 5 {
                continue;
            }
            let names = |fact: &&&Fact| fact.event.refs.contains(&intent.id);
            let outcomes: Vec<&EffectOutcome> = mine
                .iter()
                .filter(names)
                .filter(|fact| fact.event.chain.author == intent.event.chain.author)
                .filter_map(|fact| match &fact.body {
                    Body::EffectDone(done) if done.intent == intent.id => Some(&done.outcome),
                    _ => None,
                })
                .collect();
            let certain = outcomes.iter().find(|outcome| !matches!(outcome, EffectOutcome::Unknown(_)));
            let seen: Vec<Option<Conclusion>> = mine
                .iter()
                .filter(names)
                .filter(|fact| self.has(&fact.event.chain.author, Role::Submitter))
                .filter(|fact| fact.event.chain.author == intent.event.chain.author)
                .filter_map(|fact| match &fact.body {
                    Body::DispatchFollowed(body) if body.intent == intent.id => Some(body.conclusion),
                    _ => None,
                })
                .collect();
            if matches!(certain, Some(EffectOutcome::Refused(_))) && seen.is_empty() {
                continue;
            }
            standing.push(match seen.iter().flatten().next() {
                Some(Conclusion::Success) => (true, "completed"),
                Some(Conclusion::Failure) => (true, "failed"),
                Some(Conclusion::Cancelled) => (true, "cancelled"),
                Some(Conclusion::Skipped) => (true, "skipped"),
                None if seen.is_empty() => (false, "assigned"),
                None => (false, "in_progress"),
            });
        }
        standing.iter().find(|(ended, _)| *ended).or(standing.first()).copied()
    }

    /// Whether the greatest claim on any job has not ended.
    pub(super) fn anybody_holds(mine: &[&Fact], jobs: &BTreeMap<JobId, Verdict>) -> bool {
        jobs.values().filter_map(|verdict| verdict.0).any(|claim| {
            let chain = mine.iter().find(|fact| fact.id == claim).map(|fact| fact.event.chain);
            !mine.iter().any(|fact| {
                let ends = match &fact.body {
                    Body::JobReleased(body) => Some(body.claim),
                    Body::JobAborted(body) => Some(body.claim),
                    Body::JobCompleted(body) => Some(body.claim),
                    Body::JobFailed(body) => body.claim,
                    _ => None,
                };
                ends == Some(claim) && Some(fact.event.chain) == chain && fact.event.refs.contains(&claim)
            })
        })
    }
}
