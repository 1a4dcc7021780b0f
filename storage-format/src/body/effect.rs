//! Bodies about what a run does outside the cluster. The intent is in the log before anything leaves the host.

use serde::{Deserialize, Serialize};

use super::{Bounded, name_fits, text_fits};
use crate::body::RepositoryRef;
use crate::id::{EventId, JobId, RunId};

/// Something that changes the world outside the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Effect {
    /// Hand the run to GitHub: its workflow is dispatched there, at most once.
    Dispatch {
        /// Whose workflow.
        repository: RepositoryRef,
        /// Its path.
        path: String,
        /// On which ref.
        git_ref: String,
    },
    /// Show a job's state beside its commit, as a check run of GitHub's.
    Check {
        /// Which job.
        job: JobId,
    },
}

/// A member is about to cause an effect outside.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EffectIntended {
    /// For which run.
    pub run: RunId,
    /// A submission of it.
    pub submission: EventId,
    /// What is to happen.
    pub effect: Effect,
}

impl Bounded for EffectIntended {
    fn broken_bound(&self) -> Option<&'static str> {
        match &self.effect {
            Effect::Dispatch { repository, path, git_ref } => {
                let names = [&repository.source, &repository.id, &repository.name, git_ref];
                (!names.iter().all(|text| name_fits(text)) || !text_fits(path)).then_some("dispatch")
            }
            Effect::Check { .. } => None,
        }
    }
}

/// What came of an intended effect.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum EffectOutcome {
    /// It happened.
    Done {
        /// What names it outside; empty when that is not known yet.
        id: String,
        /// Where people see it; empty when that is not known yet.
        url: String,
    },
    /// It did not happen and will not; the text says why.
    Refused(String),
    /// Nobody can say whether it happened; it is not tried again.
    Unknown(String),
}

/// An intended effect has its outcome.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EffectDone {
    /// For which run.
    pub run: RunId,
    /// The `EffectIntended`.
    pub intent: EventId,
    /// What came of it.
    pub outcome: EffectOutcome,
}

impl Bounded for EffectDone {
    fn broken_bound(&self) -> Option<&'static str> {
        let fits = match &self.outcome {
            EffectOutcome::Done { id, url } => name_fits(id) && text_fits(url),
            EffectOutcome::Refused(why) | EffectOutcome::Unknown(why) => text_fits(why),
        };
        (!fits).then_some("outcome")
    }
}

/// What is seen of a run that was handed to GitHub.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DispatchFollowed {
    /// Which run.
    pub run: RunId,
    /// The `EffectIntended` that handed it over.
    pub intent: EventId,
    /// What names it at GitHub.
    pub id: String,
    /// Where people see it.
    pub url: String,
    /// How it ended there; `None` while it goes on.
    pub conclusion: Option<super::Conclusion>,
}

impl Bounded for DispatchFollowed {
    fn broken_bound(&self) -> Option<&'static str> {
        (!name_fits(&self.id) || !text_fits(&self.url)).then_some("id or url")
    }
}
