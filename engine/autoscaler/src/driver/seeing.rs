//! The three lists side by side, for one step.

use std::collections::{BTreeMap, BTreeSet};

use wfengine_core::time::Monotonic;
use wfengine_core::views::runners::{Phase as Logged, Runner};
use wfengine_docker::{ContainerState, Status};

use crate::board::Registered;
use crate::container::{LABEL_INTENT, Making};
use crate::look::{SharedBoard, held};
use crate::reconcile::{ContainerSeen, Phase, RegistrationSeen, RunnerSeen, Seen, Track};

/// What one step sees.
pub(super) struct Sight<'a> {
    containers: Option<BTreeMap<&'a str, &'a ContainerState>>,
    registered: BTreeMap<String, Registered>,
}

impl<'a> Sight<'a> {
    pub(super) fn new(board: &SharedBoard, listed: Option<&'a [ContainerState]>, runners: &[Runner]) -> Self {
        let scopes: BTreeSet<&String> = runners.iter().map(|runner| &runner.intended.scope).collect();
        let registered = {
            let board = held(board);
            let of = board.registered.iter().filter(|(scope, _)| scopes.contains(scope));
            of.map(|(scope, registered)| (scope.clone(), registered.clone())).collect()
        };
        let by_name = |listed: &'a [ContainerState]| {
            listed.iter().map(|container| (container.name.as_str(), container)).collect()
        };
        Self { containers: listed.map(by_name), registered }
    }

    pub(super) fn container(&self, name: &str) -> Option<&'a ContainerState> {
        self.containers.as_ref()?.get(name).copied()
    }
    pub(super) fn runs(&self, name: &str) -> bool {
        self.container(name).is_some_and(|container| container.status == Status::Running)
    }
    pub(super) fn registration(&self, scope: &str, name: &str) -> Option<RegistrationSeen> {
        self.registered.get(scope)?.by_name.get(name).copied()
    }

    /// When the runners of a scope were asked for.
    pub(super) fn asked_at(&self, scope: &str) -> Option<Monotonic> {
        self.registered.get(scope).map(|registered| registered.asked_at)
    }

    /// Names of containers that none of these runners is, without the engines beside them.
    pub(super) fn strangers(&self, runners: &[Runner]) -> BTreeSet<String> {
        let Some(containers) = &self.containers else { return BTreeSet::new() };
        let known: BTreeSet<String> = runners.iter().map(|runner| runner.intent.to_string()).collect();
        let is_strange = |container: &&&ContainerState| {
            container.labels.get(LABEL_INTENT).is_none_or(|intent| !known.contains(intent))
        };
        let beside = Making::sidecar_name("");
        let strangers = containers.values().filter(is_strange);
        strangers.map(|container| container.name.trim_end_matches(&beside).to_owned()).collect()
    }

    /// What is known of a runner. A list of registrations that is older than the runner says nothing about it.
    pub(super) fn of(&self, runner: &Runner, track: Option<&Track>, now: Monotonic) -> RunnerSeen {
        let phase = match runner.phase() {
            Logged::Intended => Phase::Intended,
            Logged::Started => Phase::Started,
            Logged::Exited | Logged::Removed => Phase::Exited,
        };
        let container = match &self.containers {
            None => Seen::Unknown,
            Some(containers) => match containers.get(runner.intended.name.as_str()) {
                None => Seen::Absent,
                Some(container) => Seen::There(match &container.status {
                    Status::Created => ContainerSeen::Created,
                    status if status.is_over() => ContainerSeen::Ended {
                        exit_code: container.exit_code.unwrap_or(-1),
                        out_of_memory: container.oom_killed,
                    },
                    _ => ContainerSeen::Running,
                }),
            },
        };
        let started = track.and_then(Track::started).unwrap_or(now);
        let registration = match self.registered.get(&runner.intended.scope) {
            Some(registered) => match registered.by_name.get(&runner.intended.name) {
                Some(seen) => Seen::There(*seen),
                None if registered.asked_at > started => Seen::Absent,
                None => Seen::Unknown,
            },
            None => Seen::Unknown,
        };
        RunnerSeen { phase, container, registration }
    }
}
